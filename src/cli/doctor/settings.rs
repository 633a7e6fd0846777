//! What is configured, and where from.

use super::report::{Check, Set};
use crate::config::{Config, ConfigErrors, Source};

/// Every setting that is not at its default.
pub(super) fn set(config: &Config) -> Vec<Set> {
    let values = config.values.iter();
    values
        .filter(|value| value.source != Source::Default)
        .map(|value| Set {
            name: value.setting.variable,
            value: value.value.clone(),
            set_by: value.source.to_string(),
        })
        .collect()
}

/// The backend and why it is that one, and what the configuration warns of.
pub(super) fn look(config: &Config) -> Vec<Check> {
    let mut checks = vec![Check::ok("backend", &config.backend.reason)];
    for warning in &config.warnings {
        // A warning says by itself what to set.
        let (what, fix) = warning
            .split_once("; ")
            .unwrap_or((warning, "see `use_aws_mcp config show`"));
        checks.push(Check::warning("configuration", what, fix));
    }
    checks
}

/// Every mistake of a configuration that cannot be used.
pub(super) fn mistakes(errors: &ConfigErrors) -> Vec<Check> {
    let mistakes = errors.mistakes().iter();
    mistakes
        .map(|mistake| {
            let fix = match &mistake.place {
                Some(place) => format!("correct {place}"),
                None => format!("correct {}, or leave it out for the default", mistake.name),
            };
            Check::fault(
                "configuration",
                format!("{}: {}", mistake.name, mistake.message),
                fix,
            )
        })
        .collect()
}
