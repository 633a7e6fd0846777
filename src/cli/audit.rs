//! `audit`: checks the audit log.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::json;

use super::output::Paint;
use super::{ExitStatus, Output, tell, tell_text};
use crate::app::oversight::audit_seal;
use crate::config::{Config, audit_key};
use crate::outbound::audit::verify::{Report, VerifyError, verify, verify_log};

/// The arguments of `audit`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with the audit log.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check that no line was altered, removed, inserted or moved
    Verify(Verify),
}

/// The arguments of `audit verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is changed, and the log may be written meanwhile. Exit status: 0 where all is well, \
                  3 where something is wrong: the first line of each file is named."
)]
struct Verify {
    /// A file, or a folder with all files of a log [default: that of AGENT_MESH_AUDIT_LOG]
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
    /// The file of the key that the lines are sealed with [default: AGENT_MESH_AUDIT_KEY_FILE]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks the audit log.
pub(super) fn run(arguments: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    let Command::Verify(arguments) = &arguments.command;
    let seal = match key(arguments.key_file.as_deref(), config) {
        Ok(key) => audit_seal(key.as_ref()),
        Err(message) => {
            tell_text(&format!("--key-file: {message}"), None, None, output);
            return ExitStatus::Usage;
        }
    };
    let seal = match seal {
        Ok(seal) => seal,
        Err(error) => {
            tell(&error, output);
            return ExitStatus::Failure;
        }
    };
    let verified = match (&arguments.path, &config.audit) {
        (Some(path), _) => verify(path, &seal),
        (None, Some(audit)) => verify_log(&audit.log, &seal),
        (None, None) => {
            let fix = "name a file or a folder, or set AGENT_MESH_AUDIT_LOG";
            tell_text("no audit log is configured", None, Some(fix), output);
            return ExitStatus::Usage;
        }
    };
    match verified {
        Ok(report) => {
            print(&report, arguments.json, output);
            match report.findings.is_empty() {
                true => ExitStatus::Success,
                false => ExitStatus::Found,
            }
        }
        Err(error) => refuse(&error, output),
    }
}

/// The key that is named, or that of the settings.
fn key(named: Option<&Path>, config: &Config) -> Result<Option<SecretString>, String> {
    match named {
        Some(path) => audit_key(path).map(Some),
        None => Ok(config.audit.as_ref().and_then(|audit| audit.key.clone())),
    }
}

fn refuse(error: &VerifyError, output: &mut Output) -> ExitStatus {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let (fix, status) = match error {
        VerifyError::NeedsKey => (Some("give it with --key-file"), ExitStatus::Usage),
        VerifyError::Nothing(_) => (
            Some("name the file, or the folder that holds it"),
            ExitStatus::Failure,
        ),
        VerifyError::Read(..) => (None, ExitStatus::Failure),
    };
    tell_text(&error.to_string(), cause.as_deref(), fix, output);
    status
}

fn print(report: &Report, as_json: bool, output: &mut Output) {
    let is_right = report.findings.is_empty();
    if as_json {
        let mut told = json!({"ok": is_right});
        if let (Some(told), Ok(serde_json::Value::Object(report))) =
            (told.as_object_mut(), serde_json::to_value(report))
        {
            told.extend(report);
        }
        output.json(&told);
        return;
    }
    for finding in &report.findings {
        let file = finding.file.display();
        let place = match (finding.line, finding.seq) {
            (Some(line), Some(seq)) => format!("{file}, line {line} (number {seq})"),
            (Some(line), None) => format!("{file}, line {line}"),
            (None, _) => file.to_string(),
        };
        output.line(format!(
            "{} {place}: {}",
            Paint::Bad.on("wrong"),
            finding.message
        ));
    }
    for note in &report.notes {
        output.line(format!("{} {note}", Paint::Warning.on("note")));
    }
    for chain in &report.chains {
        let (first, last) = (chain.first_seq, chain.last_seq);
        let seal = &chain.seal;
        let keyed = if chain.is_keyed {
            ", sealed with the key"
        } else {
            ""
        };
        output.line(format!(
            "chain {}: lines {first} to {last}{keyed}; the last is {seal}",
            chain.chain
        ));
    }
    let (files, lines) = (report.files, report.lines);
    let verdict = match is_right {
        true => Paint::Good.on("right"),
        false => Paint::Bad.on("not right"),
    };
    output.line(format!("{files} files, {lines} lines: {verdict}"));
}
