//! A rule: what it looks for, why it is one, and what to do where it is broken.

pub(crate) mod architecture;
pub(crate) mod files;
pub(crate) mod names;

use crate::source::Tree;

/// A rule that the text of the sources keeps.
pub(crate) struct Rule {
    /// The rule.
    pub(crate) name: &'static str,
    /// Why it is one.
    pub(crate) why: &'static str,
    /// What to do where it is broken.
    pub(crate) remedy: &'static str,
    /// Finds where it is broken.
    pub(crate) check: fn(&Tree) -> Vec<Finding>,
}

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, relative to the package.
    pub(crate) path: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong there.
    pub(crate) what: String,
}

impl Finding {
    /// At `line` of `path`.
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl Rule {
    /// What a person reads who broke it.
    pub(crate) fn report(&self, findings: &[Finding]) -> String {
        use std::fmt::Write as _;
        let mut text = format!("\n{} ({} places)\n\n", self.name, findings.len());
        for Finding { path, line, what } in findings {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{path}:{line}: {what}");
        }
        let _ = write!(text, "\nWhy: {}\nDo:  {}\n", self.why, self.remedy);
        text
    }
}

/// What `rule` finds in a package of these files, as `path:line`.
#[cfg(test)]
pub(crate) fn found(rule: &Rule, files: &[(&str, &str)]) -> Vec<String> {
    let (_folder, tree) = crate::source::planted(files);
    (rule.check)(&tree)
        .iter()
        .map(|finding| format!("{}:{}", finding.path, finding.line))
        .collect()
}

#[test]
fn a_report_names_place_rule_reason_and_remedy() {
    let findings = [Finding::new("src/a.rs", 3, "it is wrong")];
    let report = files::SIZE.report(&findings);
    for part in [
        "src/a.rs:3: it is wrong",
        files::SIZE.name,
        files::SIZE.why,
        files::SIZE.remedy,
    ] {
        assert!(report.contains(part), "{report}");
    }
}
