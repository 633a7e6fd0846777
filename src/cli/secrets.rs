//! `secrets`: keeps secrets by name, so that none of them passes through a conversation.

mod value;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::in_process::{InProcess, tell_fault};
use super::output::Paint;
use super::{ExitStatus, Output, tell, tell_text};
use crate::config::{Config, Environment};
use crate::inbound::tool::CallFault;
use crate::mesh::integration::SecretName;
use crate::mesh::store::key::Scope;
use crate::mesh::store::secrets::named::NamedSecrets;
use value::Source;

/// The arguments of `secrets`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with secrets.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Keep a secret: typed at a prompt that does not show it, from standard input, a variable or a file,
    /// never as an argument
    Set(Set),
    /// List the names of the secrets that are kept; their texts are shown nowhere
    List(List),
    /// Remove a secret
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
struct Set {
    /// Its name: 1 to 64 of A-Z, a-z, 0-9 and . _ -; integrations refer to it as ${secret:NAME}
    name: SecretName,
    /// Whose it is: yours, or shared by all users of the tenant; yours goes before the tenant's
    #[arg(long, value_parser = scope(), default_value = "user")]
    scope: Scope,
    /// The variable of the environment that holds it
    #[arg(long, value_name = "VAR", conflicts_with = "from_file")]
    from_env: Option<String>,
    /// The file that holds it; the end of its last line is left out
    #[arg(long, value_name = "PATH")]
    from_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only yours, or only those shared by the tenant
    #[arg(long, value_parser = scope())]
    scope: Option<Scope>,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// Its name
    name: SecretName,
    /// Whose it is: yours, or shared by all users of the tenant
    #[arg(long, value_parser = scope(), default_value = "user")]
    scope: Scope,
}

fn scope() -> impl clap::builder::TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(["user", "tenant"]).map(|name| match name.as_str() {
        "tenant" => Scope::Tenant,
        _ => Scope::User,
    })
}

/// Sets, lists or removes.
pub(super) fn run(
    arguments: &Arguments,
    config: &Config,
    environment: &Environment,
    output: &mut Output,
) -> ExitStatus {
    match &arguments.command {
        Command::Set(set) => self::set(set, config, environment, output),
        Command::List(list) => with_secrets(config, output, async |secrets, output| {
            self::list(list, secrets, output).await
        }),
        Command::Remove(remove) => with_secrets(config, output, async |secrets, output| {
            self::remove(remove, secrets, output).await
        }),
    }
}

fn set(set: &Set, config: &Config, environment: &Environment, output: &mut Output) -> ExitStatus {
    let source = match (&set.from_env, &set.from_file) {
        (Some(variable), _) => Source::Variable(variable),
        (None, Some(path)) => Source::File(path),
        (None, None) => Source::of_process(),
    };
    // Asked for before anything is opened: nobody types against a time limit.
    let text = match source.read(&set.name, environment) {
        Ok(text) => text,
        Err(message) => {
            tell_text(&message, None, None, output);
            return ExitStatus::Usage;
        }
    };
    with_secrets(config, output, async |secrets, output| {
        let name = &set.name;
        match secrets.set(set.scope, name, &text).await {
            Ok(()) => {
                tracing::info!(scope = set.scope.name(), %name, "a secret was set");
                let whose = whose(set.scope);
                output.line(Paint::Good.on(format!("{name} is set{whose}.")));
                output.line(format!("Integrations refer to it as ${{secret:{name}}}."));
                ExitStatus::Success
            }
            Err(error) => {
                tell(&error, output);
                ExitStatus::Failure
            }
        }
    })
}

async fn list(list: &List, secrets: &NamedSecrets<'_>, output: &mut Output) -> ExitStatus {
    let scopes: Vec<Scope> = match list.scope {
        Some(scope) => vec![scope],
        None => [Scope::User, Scope::Tenant]
            .into_iter()
            .filter(|&scope| secrets.may_reach(scope))
            .collect(),
    };
    // Who may reach neither is told so.
    let scopes = if scopes.is_empty() {
        vec![Scope::User]
    } else {
        scopes
    };
    for scope in scopes {
        let names = match secrets.names(scope).await {
            Ok(names) => names,
            Err(error) => {
                tell(&error, output);
                return ExitStatus::Failure;
            }
        };
        for name in names {
            let whose = match list.scope {
                Some(_) => "",
                None => whose(scope),
            };
            output.line(format!("{name}{}", Paint::Faint.on(whose)));
        }
    }
    ExitStatus::Success
}

async fn remove(remove: &Remove, secrets: &NamedSecrets<'_>, output: &mut Output) -> ExitStatus {
    let (name, whose) = (&remove.name, whose(remove.scope));
    match secrets.remove(remove.scope, name).await {
        Ok(true) => {
            tracing::info!(scope = remove.scope.name(), %name, "a secret was removed");
            output.line(Paint::Good.on(format!("{name} is removed{whose}.")));
            ExitStatus::Success
        }
        Ok(false) => {
            let message = format!("there is no secret {name}{whose}");
            let fix = "`use_aws_mcp secrets list` tells which there are";
            tell_text(&message, None, Some(fix), output);
            ExitStatus::Failure
        }
        Err(error) => {
            tell(&error, output);
            ExitStatus::Failure
        }
    }
}

const fn whose(scope: Scope) -> &'static str {
    match scope {
        Scope::User => "",
        Scope::Tenant => " (shared by the tenant)",
    }
}

/// Does `work` with the secrets of whoever the settings name, on the server of the settings.
fn with_secrets(
    config: &Config,
    output: &mut Output,
    work: impl AsyncFnOnce(&NamedSecrets<'_>, &mut Output) -> ExitStatus,
) -> ExitStatus {
    InProcess::run(config, output, async |server, output| {
        match server.caller().await {
            Ok(caller) => {
                let secrets = NamedSecrets::new(server.secret_store(), &caller);
                work(&secrets, output).await
            }
            Err(error) => {
                tell_fault(&CallFault::Identity(error), output);
                ExitStatus::Failure
            }
        }
    })
}

#[cfg(test)]
mod tests;
