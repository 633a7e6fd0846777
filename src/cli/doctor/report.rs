//! What the doctor found, for a person or as JSON.

use serde::Serialize;

use super::super::Output;
use super::super::output::Paint;
use super::super::version;
use crate::outbound::aws::probe;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    Fault,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    pub(super) part: String,
    pub(super) state: State,
    /// What was found; it may name accounts, ARNs and folders, for it is the operator who reads it.
    pub(super) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

/// A setting that somebody has set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Set {
    pub(super) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    /// Where it was set: a flag, a variable, a line of a file.
    pub(super) set_by: String,
}

/// All of it, section by section.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Nothing where they cannot be used.
    settings: Option<Vec<Set>>,
    sections: Vec<(&'static str, Vec<Check>)>,
}

/// A check as JSON has it.
#[derive(Serialize)]
struct Row<'report> {
    section: &'static str,
    #[serde(flatten)]
    check: &'report Check,
}

/// The report as JSON.
#[derive(Serialize)]
struct Document<'report> {
    ok: bool,
    version: &'static str,
    faults: usize,
    warnings: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<&'report [Set]>,
    checks: Vec<Row<'report>>,
}

impl Check {
    /// All is well.
    pub(super) fn ok(part: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            state: State::Ok,
            message: message.into(),
            fix: None,
        }
    }

    /// Somebody should look at it.
    pub(super) fn warning(
        part: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Warning,
            fix: Some(fix.into()),
            ..Self::ok(part, message)
        }
    }

    /// It does not work.
    pub(super) fn fault(
        part: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Fault,
            fix: Some(fix.into()),
            ..Self::ok(part, message)
        }
    }
}

impl From<probe::Finding> for Check {
    fn from(finding: probe::Finding) -> Self {
        Self {
            part: finding.part.to_owned(),
            state: match finding.state {
                probe::State::Ok => State::Ok,
                probe::State::Warning => State::Warning,
                probe::State::Fault => State::Fault,
            },
            message: finding.message,
            fix: finding.fix,
        }
    }
}

impl Report {
    /// A report under these settings, with no check yet.
    pub(super) fn new(settings: Option<Vec<Set>>) -> Self {
        Self {
            settings,
            sections: Vec::new(),
        }
    }

    /// One more section.
    pub(super) fn extend(&mut self, section: &'static str, checks: Vec<Check>) {
        self.sections.push((section, checks));
    }

    /// Whether something does not work.
    pub(super) fn has_faults(&self) -> bool {
        self.count(State::Fault) > 0
    }

    /// Prints it.
    pub(super) fn print(&self, json: bool, output: &mut Output) {
        if json {
            output.json(&self.document());
        } else {
            self.print_text(output);
        }
    }

    fn document(&self) -> Document<'_> {
        let rows = self
            .sections
            .iter()
            .flat_map(|(section, checks)| checks.iter().map(|check| Row { section, check }));
        Document {
            ok: !self.has_faults(),
            version: version::text(),
            faults: self.count(State::Fault),
            warnings: self.count(State::Warning),
            settings: self.settings.as_deref(),
            checks: rows.collect(),
        }
    }

    fn print_text(&self, output: &mut Output) {
        output.line(format!("use_aws_mcp {}", version::text()));
        self.print_settings(output);
        let parts = self.checks().map(|check| check.part.chars().count());
        let width = parts.max().unwrap_or(0);
        for (section, checks) in &self.sections {
            output.line(format!("\n{}", Paint::Strong.on(section)));
            for check in checks {
                print_check(check, width, output);
            }
        }
        let (faults, warnings) = (self.count(State::Fault), self.count(State::Warning));
        let warned = match warnings {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            count => format!(", {count} warnings"),
        };
        let verdict = match faults {
            0 => Paint::Good.on("Nothing is wrong"),
            1 => Paint::Bad.on("1 fault"),
            count => Paint::Bad.on(format!("{count} faults")),
        };
        output.line(format!("\n{verdict}{warned}."));
    }

    fn print_settings(&self, output: &mut Output) {
        let Some(settings) = &self.settings else {
            return;
        };
        output.line(format!("\n{}", Paint::Strong.on("set")));
        if settings.is_empty() {
            output.line("  nothing: all defaults (`use_aws_mcp config show` tells them)");
        }
        for set in settings {
            let value = set.value.as_deref().unwrap_or("-");
            let by = if set.set_by == set.name {
                String::new()
            } else {
                Paint::Faint.on(format!("  (by {})", set.set_by))
            };
            output.line(format!("  {}={value}{by}", set.name));
        }
    }

    fn checks(&self) -> impl Iterator<Item = &Check> {
        self.sections.iter().flat_map(|(_, checks)| checks)
    }

    fn count(&self, state: State) -> usize {
        self.checks().filter(|check| check.state == state).count()
    }
}

fn print_check(check: &Check, width: usize, output: &mut Output) {
    let state = match check.state {
        State::Ok => Paint::Good.on("ok     "),
        State::Warning => Paint::Warning.on("warning"),
        State::Fault => Paint::Bad.on("fault  "),
    };
    output.line(format!(
        "  {state}  {:width$}  {}",
        check.part, check.message
    ));
    if let Some(fix) = &check.fix {
        let fix = format!("{} {fix}", Paint::Strong.on("fix:"));
        output.line(format!("{:1$}{fix}", "", width + 13));
    }
}
