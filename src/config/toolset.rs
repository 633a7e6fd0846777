//! The families of tools, and which of them are offered.

use super::check;
use super::source::Shown;

/// A family of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toolset {
    /// `kv_*`.
    Kv,
    /// `artifacts_*`.
    Artifacts,
    /// `events_*`.
    Events,
    /// `workflow_*`.
    Workflows,
    /// `integration_*` and `mcp_*`.
    Integrations,
}

/// Which families are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toolsets(u8);

impl Toolset {
    /// Every family, in the order of documents.
    pub const ALL: [Self; 5] = [
        Self::Kv,
        Self::Artifacts,
        Self::Events,
        Self::Workflows,
        Self::Integrations,
    ];

    /// Its name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Artifacts => "artifacts",
            Self::Events => "events",
            Self::Workflows => "workflows",
            Self::Integrations => "integrations",
        }
    }
}

impl Toolsets {
    /// All families.
    pub const ALL: Self = Self((1 << Toolset::ALL.len()) - 1);

    /// Whether `toolset` is offered.
    pub const fn contains(self, toolset: Toolset) -> bool {
        self.0 & (1 << toolset as u8) != 0
    }

    /// The families that are offered, in the order of [`Toolset::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Toolset> {
        Toolset::ALL
            .into_iter()
            .filter(move |&toolset| self.contains(toolset))
    }

    /// The families that `text` names, separated by commas.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let words = Toolset::ALL.map(|toolset| (toolset.name(), toolset));
        let mut set = Self(0);
        let mut wrong = Vec::new();
        for item in check::list(text)? {
            match check::word(&item, &words) {
                Ok(toolset) => set.0 |= 1 << toolset as u8,
                Err(message) => wrong.push(format!("\"{item}\": {message}")),
            }
        }
        if wrong.is_empty() {
            Ok(set)
        } else {
            Err(wrong.join("; "))
        }
    }
}

impl Shown for Toolsets {
    fn shown(&self) -> Option<String> {
        let names: Vec<&str> = self.iter().map(Toolset::name).collect();
        Some(names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolsets_are_parsed_and_every_unknown_one_is_told() {
        let some = Toolsets::parse("events, kv,kv").unwrap();
        assert_eq!(some.shown().as_deref(), Some("kv,events"));
        assert!(!some.contains(Toolset::Artifacts));
        assert_eq!(
            Toolsets::parse("kv,artifacts,events,workflows,integrations"),
            Ok(Toolsets::ALL)
        );
        let message = Toolsets::parse("kv,event,storage").unwrap_err();
        assert!(message.contains("did you mean `events`?"), "{message}");
        assert!(message.contains("\"storage\""), "{message}");
    }
}
