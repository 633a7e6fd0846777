//! Commands: one file each, parsed by clap.

mod audit;
mod child;
mod completions;
mod config;
mod demo;
mod doctor;
mod events;
mod in_process;
mod init;
mod integrations;
mod json_text;
pub mod output;
mod secrets;
mod serve;
mod settings;
pub mod stdio;
mod tokens;
mod tools;
mod version;
mod workflows;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::environment::arguments;
use crate::config::setting::{LOG_LEVEL, RUST_LOG};
use crate::config::{Config, ConfigErrors, Environment, LogLevel, LogSettings, Source};
use crate::mesh::Error;
use crate::telemetry::Telemetry;
use output::Paint;

pub use output::Output;
pub use settings::SettingFlags;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// It did what it should.
    Success = 0,
    /// It could not.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A check found something.
    Found = 3,
    /// The configuration is wrong.
    Configuration = 78,
}

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "use_aws_mcp",
    version = version::text(),
    about = "An MCP server that gives agents key-values, artifacts and events, on AWS or in a folder",
    long_about = "An MCP server that gives agents key-values, artifacts and events, for many tenants apart \
                  from each other, on AWS or, without an account, in a folder of this machine.\n\n\
                  Without a command it serves one client over standard input and output: see it work with \
                  `use_aws_mcp demo`, add it to a desktop client with `use_aws_mcp init`.",
    after_help = "Settings are flags, variables of the environment or lines of a --config file; \
                  --help lists them, `use_aws_mcp config show` shows those in force.",
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub struct CommandLine {
    /// A TOML file of settings; `use_aws_mcp config example` prints one
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do; nothing named is serving over standard input and output.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show what it does, on a server of its own in a temporary folder; needs no account and no network
    Demo,
    /// Check what is configured: backend, credentials, resources, permissions, folders
    Doctor(doctor::Arguments),
    /// Add this server to a desktop client, or create what it needs on AWS
    Init(init::Arguments),
    /// Serve clients by address: streamable HTTP, with sign-in
    Serve(serve::Arguments),
    /// List, describe and call the tools
    Tools(tools::Arguments),
    /// See what has happened
    Events(events::Arguments),
    /// Keep, list and remove the secrets that integrations refer to
    Secrets(secrets::Arguments),
    /// Make, list and revoke the tokens by which clients sign in over HTTP
    Tokens(tokens::Arguments),
    /// Check, list and run workflows
    Workflows(workflows::Arguments),
    /// Import integrations from desktop clients, and see their processes
    Integrations(integrations::Arguments),
    /// Check the audit log
    Audit(audit::Arguments),
    /// Show, check or explain the settings
    Config(config::Arguments),
    /// Print a shell's completions
    Completions(completions::Arguments),
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    // What becomes a child has no settings, no log and little time.
    if let Some(code) = child::run(arguments()) {
        return code;
    }
    let environment = Environment::of_process();
    let mut output = Output::of_process(environment.allows_colour());
    let status = run(arguments(), &environment, &mut output);
    output.finish(status).into()
}

/// Parses `arguments` and runs the command that they name.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    output: &mut Output,
) -> ExitStatus {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) if error.use_stderr() => {
            output.error(&error.render().ansi().to_string());
            return ExitStatus::Usage;
        }
        Err(text) => {
            output.text(&text.render().ansi().to_string());
            return ExitStatus::Success;
        }
    };
    // Those that work without settings run even where the settings are wrong.
    match &line.command {
        Some(Command::Completions(arguments)) => {
            return completions::run(arguments, &mut CommandLine::command(), output);
        }
        Some(Command::Demo) => return demo::run(environment, output),
        Some(Command::Config(arguments)) => {
            if let config::Command::Example(example) = &arguments.command {
                return config::example(example, output);
            }
        }
        _ => {}
    }
    let config = Config::load(&line.settings.flags(), environment, line.config.as_deref());
    match (line.command, config) {
        (Some(Command::Config(arguments)), config) => config::run(&arguments, config, output),
        (Some(Command::Doctor(arguments)), Err(errors)) => {
            doctor::run_unconfigured(&arguments, &errors, output)
        }
        (command, Ok(config)) => run_configured(command, &config, environment, output),
        (_, Err(errors)) => refuse(&errors, output),
    }
}

/// Tells every mistake of the configuration.
fn refuse(errors: &ConfigErrors, output: &mut Output) -> ExitStatus {
    output.error(&errors.to_string());
    ExitStatus::Configuration
}

/// Runs a command that needs settings, with logging started.
fn run_configured(
    command: Option<Command>,
    config: &Config,
    environment: &Environment,
    output: &mut Output,
) -> ExitStatus {
    let colour = environment.allows_colour() && std::io::stderr().is_terminal();
    let serves = matches!(command, None | Some(Command::Serve(_)));
    let log = log_settings(config, serves);
    let telemetry = Telemetry::start(&log, config.traces.as_ref().filter(|_| serves), colour);
    if let Err(error) = &telemetry {
        output.error(&format!("logging could not be started: {error}"));
        return ExitStatus::Failure;
    }
    if serves {
        tracing::info!("backend: {}", config.backend.reason);
    }
    for warning in &config.warnings {
        match command {
            _ if serves => tracing::warn!("{warning}"),
            // The doctor tells them itself.
            Some(Command::Doctor(_)) => {}
            _ => output.error(&format!("{} {warning}", Paint::Warning.on("warning:"))),
        }
    }
    if command.is_none() {
        for warning in &config.stdio_warnings {
            tracing::warn!("{warning}");
        }
    }
    match command {
        Some(Command::Doctor(arguments)) => doctor::run(&arguments, config, output),
        Some(Command::Serve(arguments)) => serve::run(&arguments, config, output),
        Some(Command::Init(arguments)) => init::run(&arguments, config, environment, output),
        Some(Command::Tools(arguments)) => tools::run(&arguments, config, output),
        Some(Command::Events(arguments)) => events::run(&arguments, config, output),
        Some(Command::Audit(arguments)) => audit::run(&arguments, config, output),
        Some(Command::Secrets(arguments)) => secrets::run(&arguments, config, environment, output),
        Some(Command::Tokens(arguments)) => tokens::run(&arguments, config, output),
        Some(Command::Workflows(arguments)) => workflows::run(&arguments, config, output),
        Some(Command::Integrations(arguments)) => {
            integrations::run(&arguments, config, environment, output)
        }
        None => stdio::run(config, output),
        Some(Command::Config(_) | Command::Completions(_) | Command::Demo) => {
            output.error(&CommandLine::command().render_help().ansi().to_string());
            ExitStatus::Usage
        }
    }
}

/// The runtime of a command that serves or calls.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// Tells the operator of a failure: what is wrong, what it came from, what to do about it.
fn tell(error: &Error, output: &mut Output) {
    let causes = error.causes();
    tell_text(error.message(), causes.as_deref(), error.fix_text(), output);
}

fn tell_text(message: &str, cause: Option<&str>, fix: Option<&str>, output: &mut Output) {
    output.error(&format!("{} {message}", Paint::Bad.on("error:")));
    if let Some(cause) = cause {
        output.error(&format!("  cause: {cause}"));
    }
    if let Some(fix) = fix {
        output.error(&format!("  {} {fix}", Paint::Strong.on("fix:")));
    }
}

/// What is logged: what the settings say, but where nobody set a level, only the server says more than
/// errors; a person who runs a command asked for its result, and is told its warnings with it.
fn log_settings(config: &Config, serves: bool) -> LogSettings {
    let is_set = [&LOG_LEVEL, &RUST_LOG].into_iter().any(|setting| {
        config
            .value(setting)
            .is_some_and(|value| value.source != Source::Default)
    });
    let mut log = config.log.clone();
    if !serves {
        // Its readers want to know what the server did, not which commands somebody has run.
        log.folder = None;
        if !is_set {
            log.level = LogLevel::Error;
        }
    }
    log
}

#[cfg(test)]
mod tests;
