//! What one user has of the integrations of their tenant: a copy that calls use without asking the table.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::direct::{self, DirectTools};
use super::id::{ConnectionId, ServiceId};
use super::listing::{Listing, ServicePins};
use super::row::{Connected, Registered};
use super::search::Index;
use super::tools::KnownTools;
use crate::mesh::tenant::{TenantId, UserId};
use crate::mesh::upstream::{ConnectionKey, UpstreamTool};

/// What an entry weighs beside its texts.
const ENTRY_WEIGHT: usize = 512;

/// How often the text of a definition counts: it is kept, hashed and indexed.
const TEXT_FACTOR: usize = 3;

/// What a tool of a connection weighs, its words in the index included.
const TOOL_WEIGHT: usize = 1024;

/// The integrations of a tenant, and what is pinned of their tools.
#[derive(Debug, Default)]
pub struct Roll {
    pub(super) services: BTreeMap<ServiceId, Arc<Registered>>,
    pub(super) pins: HashMap<ServiceId, Arc<ServicePins>>,
    pub(super) stamp: Option<String>,
}

/// The integrations of a tenant and one user's connections to them.
#[derive(Debug)]
pub struct View {
    pub(super) roll: Arc<Roll>,
    pub(super) owned: BTreeMap<(ServiceId, ConnectionId), Arc<Owned>>,
    pub(super) stamp: Option<String>,
    pub(super) index: Mutex<Option<Arc<Index>>>,
    pub(super) direct: Mutex<Option<Arc<DirectTools>>>,
}

/// A user's connection: its row, and what is known of its tools.
#[derive(Debug)]
pub struct Owned {
    /// Its row.
    pub row: Connected,
    /// The integration.
    pub registered: Arc<Registered>,
    /// Under what it is opened.
    pub key: Arc<ConnectionKey>,
    /// As what it is opened.
    pub revision: String,
    /// What is pinned of the integration's tools.
    pub pins: Arc<ServicePins>,
    live: Mutex<Option<Live>>,
    kept: OnceLock<Arc<KnownTools>>,
    /// One at a time writes what is new in a list.
    pub(in crate::mesh) learning: tokio::sync::Mutex<()>,
    is_listed_anew: AtomicBool,
}

/// What was last made of a list of tools.
#[derive(Clone, Debug)]
struct Live {
    list: Arc<Vec<UpstreamTool>>,
    listing: Arc<Listing>,
    tools: Option<Arc<KnownTools>>,
}

impl Roll {
    /// The integration `service`, if it is there and is not being removed.
    pub fn service(&self, service: &ServiceId) -> Option<&Arc<Registered>> {
        self.services.get(service).filter(|found| !found.leaving)
    }

    /// Every integration that is not being removed, in the order of their ids.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Registered>> {
        self.services.values().filter(|service| !service.leaving)
    }

    /// What is pinned of the tools of `service`.
    pub fn pins(&self, service: &ServiceId) -> Option<&Arc<ServicePins>> {
        self.pins.get(service)
    }

    /// About how many bytes it takes up.
    pub(super) fn weight(&self) -> usize {
        let pins = self.pins.values();
        let pins = pins.map(|pins| pins.len() * ENTRY_WEIGHT + pins.text_bytes() * TEXT_FACTOR);
        ENTRY_WEIGHT * (1 + 4 * self.services.len()) + pins.sum::<usize>()
    }
}

impl View {
    /// The tenant's part.
    pub fn roll(&self) -> &Arc<Roll> {
        &self.roll
    }

    /// The user's connection, if there is one.
    pub fn owned(&self, service: &ServiceId, connection: &ConnectionId) -> Option<&Arc<Owned>> {
        self.owned.get(&(service.clone(), connection.clone()))
    }

    /// Whether the user has the connection of `key`, and has it as `revision`.
    pub fn is_current(&self, key: &ConnectionKey, revision: &str) -> bool {
        let owned = self.owned(&key.service, &key.connection);
        owned.is_some_and(|owned| owned.revision == revision)
    }

    /// The user's connections, in the order of their services and ids.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Owned>> {
        self.owned.values()
    }

    /// An index of `sources`: the one that was made last, where it is of the same.
    pub fn index(&self, sources: Vec<(Arc<Owned>, Arc<KnownTools>)>) -> Arc<Index> {
        let mut held = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(index) if index.is_of(&sources) => Arc::clone(index),
            _ => {
                let index = Arc::new(Index::of(sources));
                *held = Some(Arc::clone(&index));
                index
            }
        }
    }

    pub(super) fn held_direct_tools(&self) -> MutexGuard<'_, Option<Arc<DirectTools>>> {
        self.direct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// About how many bytes it takes up, the roll apart.
    pub(super) fn weight(&self) -> usize {
        let owned = self.owned.values();
        let owned = owned.map(|owned| 4 * ENTRY_WEIGHT + owned.row.tools.len() * TOOL_WEIGHT);
        let services = self.roll.services();
        let lists = services.map(|found| found.definition.direct_tools.is_empty());
        let direct = match lists.into_iter().all(|is_empty| is_empty) {
            true => 0,
            false => direct::BYTES_MAX,
        };
        ENTRY_WEIGHT + owned.sum::<usize>() + direct
    }
}

impl Owned {
    pub(super) fn new(
        tenant: &TenantId,
        user: &UserId,
        row: Connected,
        registered: Arc<Registered>,
        pins: Arc<ServicePins>,
    ) -> Self {
        let key = ConnectionKey {
            tenant: tenant.clone(),
            user: user.clone(),
            service: row.service.clone(),
            connection: row.connection.clone(),
        };
        Self {
            key: Arc::new(key),
            revision: revision(&row),
            row,
            registered,
            pins,
            live: Mutex::default(),
            kept: OnceLock::new(),
            learning: tokio::sync::Mutex::default(),
            is_listed_anew: AtomicBool::new(false),
        }
    }

    /// Takes over what `before` has made of a list, so that it need not be hashed again.
    pub(super) fn inherit(&self, before: &Self) {
        let Some(mut live) = before.live().clone() else {
            return;
        };
        if !Arc::ptr_eq(&self.pins, &before.pins) {
            live.tools = None;
        }
        *self.live() = Some(live);
    }

    /// The tools of `list`, where they are known already.
    pub fn known(&self, list: &Arc<Vec<UpstreamTool>>) -> Option<Arc<KnownTools>> {
        let live = self.live();
        let live = live.as_ref().filter(|live| Arc::ptr_eq(&live.list, list))?;
        live.tools.clone()
    }

    /// The tools that were known last, whatever list they are of.
    pub fn known_last(&self) -> Option<Arc<KnownTools>> {
        self.live().as_ref().and_then(|live| live.tools.clone())
    }

    /// The tools as its row has them, for as long as it has not been opened.
    pub fn kept(&self) -> Arc<KnownTools> {
        let kept = self.kept.get_or_init(|| {
            let listing = Listing::of_row(&self.row.tools, &self.pins);
            Arc::new(listing.known(&self.pins))
        });
        Arc::clone(kept)
    }

    /// What `list` says, hashed once.
    pub(in crate::mesh) fn listing(&self, list: &Arc<Vec<UpstreamTool>>) -> Arc<Listing> {
        let held = self.live().clone();
        match held.filter(|live| Arc::ptr_eq(&live.list, list)) {
            Some(live) => live.listing,
            None => Arc::new(Listing::of(list)),
        }
    }

    /// From now on these are its tools while its list is `list`.
    pub(in crate::mesh) fn know(
        &self,
        list: Arc<Vec<UpstreamTool>>,
        listing: Arc<Listing>,
        tools: Arc<KnownTools>,
    ) {
        *self.live() = Some(Live {
            list,
            listing,
            tools: Some(tools),
        });
    }

    /// Claims to have its tools listed anew; nobody else does until that is over.
    pub(in crate::mesh) fn claim_listing(self: &Arc<Self>) -> Option<ListingClaim> {
        let is_first = !self.is_listed_anew.swap(true, Ordering::AcqRel);
        is_first.then(|| ListingClaim(Arc::clone(self)))
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That somebody has the tools of a connection listed anew.
#[derive(Debug)]
pub(in crate::mesh) struct ListingClaim(Arc<Owned>);

impl Drop for ListingClaim {
    fn drop(&mut self) {
        self.0.is_listed_anew.store(false, Ordering::Release);
    }
}

/// As what the connection of `row` is opened: another one after each `integration_connect` and each
/// registration.
pub(in crate::mesh) fn revision(row: &Connected) -> String {
    format!("{}.{}", row.of, row.revision)
}
