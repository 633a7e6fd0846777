//! Which events somebody wants, of those that were and of those that come.

use std::collections::BTreeMap;

use crate::mesh::event::record::{Outcome, Priority};
use crate::mesh::tenant::UserId;

/// Which events are wanted: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this type.
    pub detail_type: Option<String>,
    /// Of this source, as the sender calls it.
    pub source: Option<String>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// Of this priority.
    pub priority: Option<Priority>,
    /// Of this user.
    pub user_id: Option<UserId>,
    /// With all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Of this tool.
    pub tool: Option<String>,
}

/// What a filter looks at.
pub(in crate::mesh::event) struct Traits<'event> {
    pub(in crate::mesh::event) detail_type: &'event str,
    pub(in crate::mesh::event) source: Option<&'event str>,
    pub(in crate::mesh::event) tool: &'event str,
    pub(in crate::mesh::event) outcome: Outcome,
    pub(in crate::mesh::event) priority: Priority,
    pub(in crate::mesh::event) user_id: &'event str,
    pub(in crate::mesh::event) tags: Option<&'event BTreeMap<String, String>>,
}

impl Filter {
    /// Whether an event with these traits is wanted.
    pub(in crate::mesh::event) fn fits(&self, event: &Traits<'_>) -> bool {
        let is = |wanted: &Option<String>, held: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| held == Some(wanted))
        };
        let has_tag = |(name, value): (&String, &String)| {
            event.tags.and_then(|tags| tags.get(name)) == Some(value)
        };
        is(&self.detail_type, Some(event.detail_type))
            && is(&self.source, event.source)
            && is(&self.tool, Some(event.tool))
            && self.outcome.is_none_or(|wanted| wanted == event.outcome)
            && self.priority.is_none_or(|wanted| wanted == event.priority)
            && self
                .user_id
                .as_ref()
                .is_none_or(|wanted| wanted.as_str() == event.user_id)
            && self.tags.iter().all(has_tag)
    }
}
