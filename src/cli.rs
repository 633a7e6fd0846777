//! Commands: one file each, parsed by clap.

mod completions;
mod config;
mod init;
pub mod output;
mod settings;
pub mod stdio;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::environment::arguments;
use crate::config::setting::{LOG_LEVEL, RUST_LOG};
use crate::config::{Config, ConfigErrors, Environment, LogLevel, LogSettings, Source};
use crate::telemetry::Telemetry;

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
    version,
    about = "An MCP server that gives agents key-values, artifacts and events, on AWS or in a folder",
    long_about = "An MCP server that gives agents key-values, artifacts and events, for many tenants apart \
                  from each other, on AWS or, without an account, in a folder of this machine.\n\n\
                  Without a command it serves one client over standard input and output: add it to a \
                  desktop client with `use_aws_mcp init`.",
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
    /// Add this server to a desktop client
    Init(init::Arguments),
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
    let log = log_settings(config, command.is_none());
    let telemetry = Telemetry::start(&log, colour);
    if let Err(error) = &telemetry {
        output.error(&format!("logging could not be started: {error}"));
        return ExitStatus::Failure;
    }
    if command.is_none() {
        tracing::info!("backend: {}", config.backend.reason);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match command {
        Some(Command::Init(arguments)) => init::run(&arguments, config, environment, output),
        None => stdio::run(config, output),
        Some(Command::Config(_) | Command::Completions(_)) => {
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

/// What is logged: what the settings say, but where nobody set a level, only the server says more than
/// warnings; a person who runs a command asked for its result.
fn log_settings(config: &Config, serves: bool) -> LogSettings {
    let is_set = [&LOG_LEVEL, &RUST_LOG].into_iter().any(|setting| {
        config
            .value(setting)
            .is_some_and(|value| value.source != Source::Default)
    });
    let mut log = config.log.clone();
    if !serves && !is_set {
        log.level = LogLevel::Warn;
    }
    log
}

#[cfg(test)]
mod tests;
