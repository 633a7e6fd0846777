//! A server's list of tools as it was told: what of it can be used, and what each tool says, hashed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::pin::{Difference, PinHash, pinned};
use super::row::Pin;
use super::tools::{KnownTool, KnownTools, RefusedBecause, RefusedTool, ToolState, is_tool_name};
use super::unseen::{self, Unseen};
use super::written;
use crate::mesh::upstream::UpstreamTool;

/// The most bytes of the definition of one tool.
pub const DEFINITION_BYTES_MAX: usize = 64 << 10;

/// The most tools of one integration that are ever pinned: twice what one server may have, so that those of
/// another version have room beside them.
pub const PINS_MAX: usize = 4000;

/// The most bytes of definitions that are kept of one integration; beyond them only hashes are.
pub const DEFINITIONS_BYTES_MAX: usize = 1 << 20;

/// The most tools that are named as refused, and the most characters of a name that are shown.
const REFUSED_MAX: usize = 20;
const REFUSED_NAME_CHARS_MAX: usize = 60;

/// The tools of one list that can be used, and those that cannot.
#[derive(Debug, Default)]
pub struct Listing {
    tools: Vec<ListedTool>,
    refused: Vec<RefusedTool>,
}

/// A tool as it was told.
#[derive(Clone, Debug)]
pub struct ListedTool {
    /// Its name.
    pub name: Arc<str>,
    /// Its definition.
    pub definition: Arc<RawValue>,
    /// What it says.
    pub hash: PinHash,
    read_only: bool,
    idempotent: bool,
    unseen: Unseen,
}

/// What is pinned of one integration.
#[derive(Debug, Default)]
pub struct ServicePins {
    pins: HashMap<Arc<str>, Pin>,
    text_bytes: usize,
}

/// What of a listing is new to what is pinned.
#[derive(Debug, Default)]
pub struct News<'listing> {
    /// Tools that are seen for the first time.
    pub fresh: Vec<&'listing ListedTool>,
    /// Tools that say what nobody has approved, and are not yet known to.
    pub changed: Vec<(&'listing ListedTool, Pin)>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "readOnlyHint")]
    read_only: bool,
    #[serde(default, rename = "idempotentHint")]
    idempotent: bool,
}

impl ServicePins {
    /// What is pinned of `tool`.
    pub fn find(&self, tool: &str) -> Option<&Pin> {
        self.pins.get(tool)
    }

    /// Every pin, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.pins.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pins.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty()
    }

    /// Bytes of the definitions that are kept.
    pub const fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Takes a pin up, in place of the one of its tool.
    pub(in crate::mesh) fn put(&mut self, pin: Pin) {
        self.text_bytes += pin.text_bytes();
        if let Some(before) = self.pins.insert(Arc::clone(&pin.tool), pin) {
            self.text_bytes -= before.text_bytes();
        }
    }

    /// The same with `pins` in place of those of their tools.
    pub(in crate::mesh) fn with(&self, pins: Vec<Pin>) -> Self {
        let mut all = Self {
            pins: self.pins.clone(),
            text_bytes: self.text_bytes,
        };
        for pin in pins {
            all.put(pin);
        }
        all
    }
}

impl Listing {
    /// Of a list as a server told it.
    pub fn of(list: &[UpstreamTool]) -> Self {
        let mut listing = Self::default();
        let mut names = HashSet::with_capacity(list.len());
        for tool in list {
            let reason = if !is_tool_name(&tool.name) {
                RefusedBecause::Name
            } else if !names.insert(tool.name.as_str()) {
                RefusedBecause::Twice
            } else if tool.definition.get().len() > DEFINITION_BYTES_MAX {
                RefusedBecause::TooLarge
            } else if let Ok(hash) = PinHash::of(&tool.definition) {
                listing.tools.push(ListedTool::of(tool, hash));
                continue;
            } else {
                RefusedBecause::TooLarge
            };
            listing.refuse(&tool.name, reason);
        }
        listing
    }

    /// Of what a row knows of a list that was told before, with the definitions that are pinned.
    pub fn of_row(tools: &[(Arc<str>, PinHash)], pins: &ServicePins) -> Self {
        let tools = tools.iter().map(|(name, hash)| {
            let pin = pins.find(name);
            let newest = pin.filter(|pin| pin.approved.first() == Some(hash));
            let definition = newest.and_then(|pin| pin.definition.clone());
            match definition {
                Some(definition) => ListedTool::new(Arc::clone(name), definition, *hash),
                None => ListedTool::unread(Arc::clone(name), *hash),
            }
        });
        Self {
            tools: tools.collect(),
            refused: Vec::new(),
        }
    }

    /// The names and what each says, as a connection's row keeps them.
    pub fn tools_for_row(&self) -> Vec<(Arc<str>, PinHash)> {
        let tools = self.tools.iter();
        tools
            .map(|tool| (Arc::clone(&tool.name), tool.hash))
            .collect()
    }

    /// What of it is new to `pins`; tools beyond what may be pinned are left out.
    pub fn news(&self, pins: &ServicePins) -> News<'_> {
        let mut news = News::default();
        let mut room = PINS_MAX.saturating_sub(pins.len());
        for tool in &self.tools {
            match pins.find(&tool.name) {
                None if room == 0 => {}
                None => {
                    room -= 1;
                    news.fresh.push(tool);
                }
                Some(pin) if pin.approves(tool.hash) => {}
                Some(pin) if pin.held.as_ref().is_some_and(|held| held.hash == tool.hash) => {}
                Some(pin) => news.changed.push((tool, pin.clone())),
            }
        }
        news
    }

    /// The tools as their owner may know and call them by what is pinned.
    pub fn known(&self, pins: &ServicePins) -> KnownTools {
        let mut refused = self.refused.clone();
        let mut tools = Vec::with_capacity(self.tools.len());
        for tool in &self.tools {
            let state = match pins.find(&tool.name) {
                Some(pin) if pin.approves(tool.hash) => ToolState::Pinned,
                Some(pin) => {
                    let pinned = pin.definition.as_deref();
                    let difference = Difference::between(pinned, &tool.definition);
                    ToolState::HeldBack(Arc::new(difference))
                }
                None => {
                    push_refused(&mut refused, &tool.name, RefusedBecause::TooMany);
                    continue;
                }
            };
            tools.push(KnownTool {
                name: Arc::clone(&tool.name),
                definition: Arc::clone(&tool.definition),
                state,
                read_only: tool.read_only,
                idempotent: tool.idempotent,
                unseen: tool.unseen,
            });
        }
        KnownTools::new(tools, refused)
    }

    fn refuse(&mut self, name: &str, reason: RefusedBecause) {
        push_refused(&mut self.refused, name, reason);
    }
}

fn push_refused(refused: &mut Vec<RefusedTool>, name: &str, reason: RefusedBecause) {
    if refused.len() < REFUSED_MAX {
        refused.push(RefusedTool {
            name: unseen::excerpt(name, REFUSED_NAME_CHARS_MAX),
            reason,
        });
    }
}

impl ListedTool {
    fn of(tool: &UpstreamTool, hash: PinHash) -> Self {
        Self::new(
            tool.name.as_str().into(),
            Arc::clone(&tool.definition),
            hash,
        )
    }

    fn new(name: Arc<str>, definition: Arc<RawValue>, hash: PinHash) -> Self {
        let mut annotations = Vec::new();
        let mut unseen = Unseen::default();
        for (member, written) in pinned(&definition).unwrap_or_default() {
            written::unseen(written, &mut unseen);
            if member == "annotations" {
                annotations.push(Annotations::of(written));
            }
        }
        // Of those that stand there twice, parsers take the one or the other.
        let annotations = annotations.into_iter().reduce(Annotations::both);
        let annotations = annotations.unwrap_or_default();
        Self {
            name,
            definition,
            hash,
            read_only: annotations.read_only,
            idempotent: annotations.idempotent,
            unseen,
        }
    }

    /// One of which only the name is known.
    fn unread(name: Arc<str>, hash: PinHash) -> Self {
        let definition = serde_json::json!({ "name": &*name }).to_string();
        let definition =
            RawValue::from_string(definition).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self {
            name,
            definition: Arc::from(definition),
            hash,
            read_only: false,
            idempotent: false,
            unseen: Unseen::default(),
        }
    }
}

impl Annotations {
    /// What they say; nothing where one of them is of another type.
    fn of(written: &RawValue) -> Self {
        serde_json::from_str(written.get()).unwrap_or_default()
    }

    const fn both(self, other: Self) -> Self {
        Self {
            read_only: self.read_only && other.read_only,
            idempotent: self.idempotent && other.idempotent,
        }
    }
}

#[cfg(test)]
mod tests;
