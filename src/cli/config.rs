//! `config`: shows, checks and explains the settings.

use serde_json::{Value, json};

use super::output::Paint;
use super::{ExitStatus, Output, refuse};
use crate::config::integrations::templates;
use crate::config::setting::Setting;
use crate::config::{Config, ConfigErrors, Source, tenants};

/// The arguments of `config`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do with the settings.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show every setting with its value and where it came from
    Show(Format),
    /// Check the settings: exit status 0, or 78 with every mistake
    Check(Format),
    /// Print an example of a settings file
    Example(Example),
}

/// How a command prints.
#[derive(Debug, clap::Args)]
pub(super) struct Format {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which example to print.
#[derive(Debug, clap::Args)]
pub(super) struct Example {
    /// Print an example of a tenants file instead
    #[arg(long)]
    tenants: bool,
    /// Print an example of a templates file instead
    #[arg(long, conflicts_with = "tenants")]
    templates: bool,
}

/// Shows or checks what the settings come to.
pub(super) fn run(
    arguments: &Arguments,
    config: Result<Config, ConfigErrors>,
    output: &mut Output,
) -> ExitStatus {
    let config = match (&arguments.command, config) {
        (_, Ok(config)) => config,
        (Command::Check(Format { json: true }), Err(errors)) => {
            output.json(&json!({"ok": false, "mistakes": mistakes(&errors)}));
            return ExitStatus::Configuration;
        }
        (_, Err(errors)) => return refuse(&errors, output),
    };
    match &arguments.command {
        Command::Show(Format { json: true }) => output.json(&shown(&config)),
        Command::Show(_) => show(&config, output),
        Command::Check(Format { json: true }) => {
            output.json(&json!({"ok": true, "mistakes": [], "warnings": config.warnings}));
        }
        Command::Check(_) => {
            warn(&config, output);
            output.line(Paint::Good.on("The configuration is right."));
        }
        Command::Example(arguments) => return example(arguments, output),
    }
    ExitStatus::Success
}

/// Prints an example; needs no settings.
pub(super) fn example(arguments: &Example, output: &mut Output) -> ExitStatus {
    if arguments.tenants {
        output.text(tenants::EXAMPLE);
    } else if arguments.templates {
        output.text(templates::EXAMPLE);
    } else {
        output.text(&crate::config::example());
    }
    ExitStatus::Success
}

/// Every setting, one a line, and why the backend is the one it is.
fn show(config: &Config, output: &mut Output) {
    let name_width = width(config, |value| value.setting.variable);
    let value_width = width(config, |value| value.value.as_deref().unwrap_or("-"));
    for value in &config.values {
        let text = value.value.as_deref().unwrap_or("-");
        let source = match value.source {
            Source::Default => Paint::Faint.on("default"),
            _ => Paint::Strong.on(&value.source),
        };
        let name = value.setting.variable;
        output.line(format!("{name:name_width$}  {text:value_width$}  {source}"));
    }
    output.line(format!("\nBackend: {}.", config.backend.reason));
    warn(config, output);
}

fn warn(config: &Config, output: &mut Output) {
    for warning in &config.warnings {
        output.error(&format!("{} {warning}", Paint::Warning.on("warning:")));
    }
}

/// The longest text that still lines the next column up; longer ones push it out for their own line only.
const COLUMN_MAX: usize = 44;

fn width<'config>(
    config: &'config Config,
    text: impl Fn(&'config crate::config::SettingValue) -> &'config str,
) -> usize {
    let lengths = config
        .values
        .iter()
        .map(|value| text(value).chars().count());
    lengths.max().unwrap_or(0).min(COLUMN_MAX)
}

/// The same as JSON.
fn shown(config: &Config) -> Value {
    let settings: Vec<Value> = config
        .values
        .iter()
        .map(|value| {
            let setting: &Setting = value.setting;
            let mut entry = json!({
                "name": setting.variable,
                "flag": format!("--{}", setting.flag()),
                "key": setting.key(),
                "source": value.source.word(),
            });
            if let Some(text) = &value.value {
                entry["value"] = json!(text);
            }
            if value.source != Source::Default {
                entry["set_by"] = json!(value.source.to_string());
            }
            entry
        })
        .collect();
    json!({
        "backend": {"name": config.backend.backend.name(), "reason": config.backend.reason},
        "settings": settings,
        "warnings": config.warnings,
    })
}

fn mistakes(errors: &ConfigErrors) -> Vec<Value> {
    errors
        .mistakes()
        .iter()
        .map(|mistake| {
            let mut entry = json!({"name": mistake.name, "message": mistake.message});
            if let Some(place) = &mistake.place {
                entry["file"] = json!(place.path);
                entry["line"] = json!(place.line);
            }
            entry
        })
        .collect()
}
