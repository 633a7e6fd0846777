//! `integrations import`: registers what a desktop client has configured, with its secrets moved into the store.

mod convert;
mod source;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use crate::cli::in_process::{InProcess, tell_fault};
use crate::cli::init::client::{Client, Scope};
use crate::cli::output::Paint;
use crate::cli::tools::tell_failure;
use crate::cli::{ExitStatus, Output, tell, tell_text};
use crate::config::{Config, Environment};
use crate::inbound::tool::CallFault;
use crate::mesh::call::tool::Tool;
use crate::mesh::store::key::Scope as Keeper;
use crate::mesh::store::secrets::named::NamedSecrets;
use convert::{Plan, convert};
use source::Found;

/// The arguments of `integrations import`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only what this client has configured; without it, what any of them has
    #[arg(long, value_enum)]
    client: Option<ClientName>,
    /// The client's file, where it is not in its usual place
    #[arg(long, value_name = "FILE", requires = "client")]
    path: Option<PathBuf>,
    /// Register everything without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Show what would be registered, and register nothing
    #[arg(long)]
    dry_run: bool,
}

/// A client by the name that the command line has for it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ClientName {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Vscode,
}

impl ClientName {
    const ALL: [Self; 4] = [
        Self::ClaudeDesktop,
        Self::ClaudeCode,
        Self::Cursor,
        Self::Vscode,
    ];

    const fn client(self) -> Client {
        match self {
            Self::ClaudeDesktop => Client::ClaudeDesktop,
            Self::ClaudeCode => Client::ClaudeCode,
            Self::Cursor => Client::Cursor,
            Self::Vscode => Client::Vscode,
        }
    }
}

/// How a person is asked whether to register a server.
trait Confirm {
    /// Whether to register it; nothing where nobody can be asked.
    fn confirm(&mut self) -> Option<bool>;
}

/// Nobody is asked.
struct Always;

impl Confirm for Always {
    fn confirm(&mut self) -> Option<bool> {
        Some(true)
    }
}

/// The person at the terminal.
struct Terminal;

impl Confirm for Terminal {
    fn confirm(&mut self) -> Option<bool> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let mut stderr = std::io::stderr();
        stderr.write_all(b"Register it? [y/N] ").ok()?;
        stderr.flush().ok()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).ok()?;
        Some(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }
}

/// Registers what clients have configured.
pub(super) fn run(
    arguments: &Arguments,
    config: &Config,
    environment: &Environment,
    output: &mut Output,
) -> ExitStatus {
    let mut confirm: Box<dyn Confirm> = match arguments.yes {
        true => Box::new(Always),
        false => Box::new(Terminal),
    };
    import(arguments, config, environment, confirm.as_mut(), output)
}

fn import(
    arguments: &Arguments,
    config: &Config,
    environment: &Environment,
    confirm: &mut dyn Confirm,
    output: &mut Output,
) -> ExitStatus {
    let found = match find(arguments, environment) {
        Ok(found) => found,
        Err(message) => {
            tell_text(&message, None, None, output);
            return ExitStatus::Failure;
        }
    };
    if found.is_empty() {
        output.line("Nothing to import: no client has other servers configured.");
        return ExitStatus::Success;
    }
    let mut status = ExitStatus::Success;
    let mut chosen = Vec::new();
    for found in &found {
        let plan = match convert(found, environment) {
            Ok(plan) => plan,
            Err(reason) => {
                show_title(found, output);
                output.line(format!("  {} {reason}", Paint::Warning.on("left out:")));
                continue;
            }
        };
        show(found, &plan, output);
        if arguments.dry_run {
            continue;
        }
        match confirm.confirm() {
            Some(true) => chosen.push(plan),
            Some(false) => output.line("  not registered"),
            None => {
                let fix = "pass --yes to register all of them, or --dry-run to see them only";
                tell_text("there is no terminal to ask at", None, Some(fix), output);
                status = ExitStatus::Usage;
                break;
            }
        }
    }
    if status != ExitStatus::Success || chosen.is_empty() {
        return status;
    }
    InProcess::run(config, output, async |server, output| {
        register_all(server, chosen, output).await
    })
}

/// What is configured, of all clients or of one, without ourselves.
fn find(arguments: &Arguments, environment: &Environment) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    match arguments.client {
        Some(name) => {
            let client = name.client();
            let path = match &arguments.path {
                Some(path) => {
                    environment.absolute(&path.to_string_lossy(), &environment.working_dir)
                }
                None => client.file(Scope::User, environment)?,
            };
            if !path.exists() {
                return Err(format!("{} has no file {}", client.title(), path.display()));
            }
            all.extend(source::read(client, &path, environment)?);
        }
        None => {
            for name in ClientName::ALL {
                let client = name.client();
                let path = client.file(Scope::User, environment)?;
                if path.exists() {
                    all.extend(source::read(client, &path, environment)?);
                }
            }
        }
    }
    Ok(all)
}

async fn register_all(server: &InProcess, plans: Vec<Plan>, output: &mut Output) -> ExitStatus {
    let caller = match server.caller().await {
        Ok(caller) => caller,
        Err(error) => {
            tell_fault(&CallFault::Identity(error), output);
            return ExitStatus::Failure;
        }
    };
    let secrets = NamedSecrets::new(server.secret_store(), &caller);
    let mut status = ExitStatus::Success;
    for plan in plans {
        if !register(server, &secrets, &plan, output).await {
            status = ExitStatus::Failure;
        }
    }
    status
}

/// Registers one server and keeps its secrets; `false` where that failed. The registration comes first, since
/// it is what may be refused, and a reference to a secret that is not there yet harms nobody.
async fn register(
    server: &InProcess,
    secrets: &NamedSecrets<'_>,
    plan: &Plan,
    output: &mut Output,
) -> bool {
    let service = &plan.service;
    let arguments = plan.arguments.to_string();
    let reply = match server.call(Tool::IntegrationRegister, &arguments).await.1 {
        Ok(reply) => reply,
        Err(fault) => {
            tell_fault(&fault, output);
            return false;
        }
    };
    let result = reply.result.to_string();
    let answer: serde_json::Value = serde_json::from_str(&result).unwrap_or_default();
    if reply.is_error {
        if answer["error"]["code"] == "CONFLICT" {
            output.line(format!(
                "{service}: an integration of that name is registered already"
            ));
            return true;
        }
        output.line(format!("{service}: {}", Paint::Bad.on("not registered")));
        tell_failure(&result, output);
        return false;
    }
    if answer["change"] == "unchanged" {
        output.line(format!("{service}: registered already"));
        return true;
    }
    for (name, text) in &plan.secrets {
        if let Err(error) = secrets.set(Keeper::User, name, text).await {
            tell(&error, output);
            let missing = format!("{service} is registered, but its secret {name} is not kept");
            let fix = format!("run `use_aws_mcp secrets set {name}`");
            tell_text(&missing, None, Some(&fix), output);
            return false;
        }
    }
    output.line(Paint::Good.on(format!("{service}: registered")));
    true
}

fn show_title(found: &Found, output: &mut Output) {
    let name = Paint::Strong.on(shown(&found.name));
    output.line(format!("{name} ({})", found.client.title()));
}

/// Shows what would run or be reached, with references in the place of secrets.
fn show(found: &Found, plan: &Plan, output: &mut Output) {
    show_title(found, output);
    output.line(format!("  as       {}", plan.service));
    for line in plan.lines() {
        output.line(format!("  {line}"));
    }
    for name in plan.secrets.keys() {
        output.line(format!("  secret   {name}, moved into the store"));
    }
    for note in &plan.notes {
        output.line(format!("  {} {note}", Paint::Warning.on("note:")));
    }
}

/// A text of a file that somebody else may have written: nothing in it moves the cursor.
fn shown(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
