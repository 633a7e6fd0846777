//! `init`: adds this server to a desktop client, and leaves everything else in its file as it was; or creates
//! what it needs on AWS.

mod aws;
pub(in crate::cli) mod client;
mod difference;
mod entry;
pub(in crate::cli) mod file;
pub(in crate::cli) mod merge;

use std::path::PathBuf;

use client::{Client, Scope};
use entry::Entry;
use file::ClientFile;

use super::output::Paint;
use super::{ExitStatus, Output};
use crate::config::{Config, Environment};
use crate::mesh::{Clock, SystemClock};

/// The arguments of `init`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    target: Target,
}

/// What to set up.
#[derive(Debug, clap::Subcommand)]
enum Target {
    /// Add this server to Claude Desktop
    ClaudeDesktop(Options),
    /// Add this server to Claude Code
    ClaudeCode(Options),
    /// Add this server to Cursor
    Cursor(Options),
    /// Add this server to Visual Studio Code
    Vscode(Options),
    /// Create the table, the bucket and the event bus on AWS
    Aws(aws::Aws),
}

/// How to add it.
#[derive(Debug, clap::Args)]
struct Options {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The client's file, where it is not in its usual place
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Add it for every folder you work in, or for this one only
    #[arg(long, value_enum, default_value_t = Scope::User)]
    scope: Scope,
}

/// Adds this server to a client, or sets AWS up.
pub(super) fn run(
    arguments: &Arguments,
    config: &Config,
    environment: &Environment,
    output: &mut Output,
) -> ExitStatus {
    let (client, options) = match &arguments.target {
        Target::ClaudeDesktop(options) => (Client::ClaudeDesktop, options),
        Target::ClaudeCode(options) => (Client::ClaudeCode, options),
        Target::Cursor(options) => (Client::Cursor, options),
        Target::Vscode(options) => (Client::Vscode, options),
        Target::Aws(arguments) => return aws::run(arguments, config, output),
    };
    match add(client, options, config, environment, output) {
        Ok(()) => ExitStatus::Success,
        Err(message) => {
            output.error(&format!("{} {message}", Paint::Bad.on("error:")));
            ExitStatus::Failure
        }
    }
}

fn add(
    client: Client,
    options: &Options,
    config: &Config,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), String> {
    let path = match &options.path {
        Some(path) => environment.absolute(&path.to_string_lossy(), &environment.working_dir),
        None => client.file(options.scope, environment)?,
    };
    let entry = Entry::of(config, environment)?;
    let file = ClientFile::read(&path)?;
    let shown = path.display();
    let merged = merge::merge(file.text(), client, &entry)
        .map_err(|fault| format!("{shown}:{fault}; the file was left as it is"))?;
    if let Some(note) = entry::note(environment) {
        output.error(&format!("{} {note}", Paint::Warning.on("note:")));
    }
    let Some(text) = merged else {
        output.line(format!(
            "Nothing to do: {} has this server already, in {shown}.",
            client.title()
        ));
        return Ok(());
    };
    if options.dry_run {
        output.line(difference::show(&shown.to_string(), file.text(), &text));
        return Ok(());
    }
    let backup = file.replace(&text, SystemClock::new().now())?;
    let done = format!("{} has this server now, in {shown}.", client.title());
    output.line(Paint::Good.on(done));
    if let Some(backup) = backup {
        output.line(format!("The file as it was: {}", backup.display()));
    }
    output.line(format!("{} to load it.", client.reload()));
    Ok(())
}

#[cfg(test)]
mod tests;
