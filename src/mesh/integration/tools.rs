//! The tools of one connection, as its owner may know and call them.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::id::ServiceId;
use super::pin::Difference;
use super::unseen::Unseen;
use crate::mesh::{Error, ErrorKind};

/// The tools of one connection, sorted by name.
#[derive(Debug, Default)]
pub struct KnownTools {
    tools: Vec<KnownTool>,
    refused: Vec<RefusedTool>,
}

/// One tool of a connection.
#[derive(Clone, Debug)]
pub struct KnownTool {
    /// Its name at the upstream: 1 to 128 of `[A-Za-z0-9_.-]`.
    pub name: Arc<str>,
    /// Its definition, to the last member.
    pub definition: Arc<RawValue>,
    /// Whether it is what was pinned.
    pub state: ToolState,
    /// Its annotations say that it changes nothing.
    pub read_only: bool,
    /// Its annotations say that the same call again changes nothing more.
    pub idempotent: bool,
    /// What stands in its texts that nobody sees.
    pub unseen: Unseen,
}

/// Whether a tool is what was pinned.
#[derive(Clone, Debug)]
pub enum ToolState {
    /// It is what it was at first sight, or what an admin has approved since.
    Pinned,
    /// It says something else than what was pinned, and is not called until that is approved.
    HeldBack(Arc<Difference>),
}

/// A tool of an upstream that can be neither listed nor called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedTool {
    /// Its name, escaped and cut.
    pub name: String,
    /// Why.
    pub reason: RefusedBecause,
}

/// Why a tool of an upstream can be neither listed nor called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedBecause {
    /// Its name is not 1 to 128 of `[A-Za-z0-9_.-]`.
    Name,
    /// There is another one of the name.
    Twice,
    /// Its definition is too large to be kept.
    TooLarge,
    /// The integration has shown more tools than are kept.
    TooMany,
}

/// The longest name of a tool: bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Whether `name` is one that the protocol allows.
pub fn is_tool_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

impl KnownTools {
    /// From tools in any order.
    pub(in crate::mesh) fn new(mut tools: Vec<KnownTool>, refused: Vec<RefusedTool>) -> Self {
        tools.sort_by(|one, other| one.name.cmp(&other.name));
        Self { tools, refused }
    }

    /// The tool `name`, also one that is held back.
    pub fn find(&self, name: &str) -> Option<&KnownTool> {
        let found = self.tools.binary_search_by(|tool| (*tool.name).cmp(name));
        found.ok().and_then(|position| self.tools.get(position))
    }

    /// Every tool, also those that are held back, in the order of their names.
    pub fn iter(&self) -> std::slice::Iter<'_, KnownTool> {
        self.tools.iter()
    }

    /// The tool at `position` in the order of names.
    pub fn get(&self, position: usize) -> Option<&KnownTool> {
        self.tools.get(position)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Those that can be neither listed nor called.
    pub fn refused(&self) -> &[RefusedTool] {
        &self.refused
    }
}

impl<'tools> IntoIterator for &'tools KnownTools {
    type Item = &'tools KnownTool;
    type IntoIter = std::slice::Iter<'tools, KnownTool>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl KnownTool {
    /// Whether it is held back.
    pub const fn is_held_back(&self) -> bool {
        matches!(self.state, ToolState::HeldBack(_))
    }

    /// Refuses a tool that is held back. It is a conflict of two definitions of one name, and no question of
    /// what the caller may do: an administrator may not call it either before it is approved.
    ///
    /// # Errors
    /// `CONFLICT`.
    pub fn require_pinned(&self, service: &ServiceId) -> Result<(), Error> {
        match self.state {
            ToolState::Pinned => Ok(()),
            ToolState::HeldBack(_) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the tool `{service}.{}` no longer says what was approved and is held back",
                    self.name
                ),
            )
            .fix(
                "Ask an administrator of the tenant to look at the difference (integration_list) and to \
                 approve it (integration_approve).",
            )
            .detail("service_id", service.as_str())
            .detail("tool", &*self.name)),
        }
    }
}

impl fmt::Display for RefusedBecause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Name => "its name is not 1 to 128 of A-Z, a-z, 0-9 and _ . -",
            Self::Twice => "there is another tool of this name",
            Self::TooLarge => "its definition is larger than 64 KiB",
            Self::TooMany => "the integration has shown more tools than are kept",
        })
    }
}
