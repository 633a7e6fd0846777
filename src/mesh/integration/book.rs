//! The book of integrations: for each tenant and user that calls, what they have, at most 5 s old.
//!
//! Integrations and pins of a tenant are one copy (a [`Roll`]), the connections of a user another (a
//! [`View`]), so that nobody's copy holds anything of another user. Whoever changes one writes its stamp as
//! well, before and after: a copy is renewed by reading the stamp alone, and read whole only where that is
//! new, or after [`WHOLE_AGE_MAX`] in case a change was broken off between its row and its stamp. Changes of
//! this process are seen at once.

mod impatient;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::copies::{Copies, Copy};
use super::listing::ServicePins;
use super::news::IntegrationsChanged;
use super::row::{Connected, Pin, Registered, new_version};
use super::view::{Owned, Roll, View};
use crate::mesh::channels::Channels;
use crate::mesh::store::key::{
    CONNECTION_PREFIX, INTEGRATION_PREFIX, Keyspace, PIN_PREFIX, RowKey,
};
use crate::mesh::store::table::{Condition, Range, Row, VERSION_ATTRIBUTE};
use crate::mesh::store::{SecretStore, Table};
use crate::mesh::tenant::{TenantId, UserId};
use crate::mesh::upstream::{ConnectionState, Upstreams};
use crate::mesh::{Clock, Error, Timestamp};

/// How old a copy may be.
pub const COPY_AGE_MAX: Duration = Duration::from_secs(5);

/// From which age on a copy is renewed while it is still used.
pub const RENEWAL_AGE: Duration = Duration::from_secs(3);

/// After what time a copy is read whole, whatever its stamp says.
pub const WHOLE_AGE_MAX: Duration = Duration::from_secs(60);

/// Of how many tenants there are copies at most.
pub const TENANTS_MAX: usize = 4096;

/// Of how many users there are copies at most.
pub const USERS_MAX: usize = 16_384;

/// About how many bytes the copies of tenants may take up together.
pub const TENANTS_WEIGHT_MAX: usize = 256 << 20;

/// About how many bytes the copies of users may take up together, their indexes included.
pub const USERS_WEIGHT_MAX: usize = 128 << 20;

/// The most connections that one user has to one integration.
pub const CONNECTIONS_MAX: usize = 16;

/// The most copies that are read at once, and the most queries for one.
const LOADS_MAX: usize = 16;
const QUERIES_AT_ONCE: usize = 16;

/// Rows of one page of a query, and the most pages of one tenant's integrations or pins.
const PAGE_ROWS: u32 = 1000;
const PAGES_MAX: usize = 1024;

/// What the book is made of.
#[derive(Clone)]
pub struct BookParts {
    /// The table.
    pub table: Arc<dyn Table>,
    /// The secret store, where credentials are removed with the connections that had them.
    pub secrets: Arc<dyn SecretStore>,
    /// The connections of this process.
    pub upstreams: Arc<dyn Upstreams>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What each tenant and user that calls has of integrations. Clones are the same book.
#[derive(Clone)]
pub struct IntegrationBook(Arc<Inner>);

struct Inner {
    parts: BookParts,
    rolls: Mutex<Copies<TenantId, Roll>>,
    views: Mutex<Copies<(TenantId, UserId), View>>,
    loads: Semaphore,
    impatient: Arc<Semaphore>,
    changes: Channels<IntegrationsChanged>,
}

/// A copy and what reading it has cost: read units.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The copy.
    pub view: Arc<View>,
    /// Read units of the table; none where a copy was there.
    pub units: f64,
}

impl IntegrationBook {
    /// An empty book.
    pub fn new(parts: BookParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            rolls: Mutex::new(Copies::new(TENANTS_MAX, TENANTS_WEIGHT_MAX)),
            views: Mutex::new(Copies::new(USERS_MAX, USERS_WEIGHT_MAX)),
            loads: Semaphore::new(LOADS_MAX),
            impatient: Arc::new(Semaphore::new(LOADS_MAX)),
            changes: Channels::default(),
        }))
    }

    /// What it is made of.
    pub fn parts(&self) -> &BookParts {
        &self.0.parts
    }

    /// The connections of this process.
    pub fn upstreams(&self) -> &dyn Upstreams {
        &*self.0.parts.upstreams
    }

    /// What `user` of `tenant` has, at most [`COPY_AGE_MAX`] old.
    ///
    /// # Errors
    /// What the table says.
    pub async fn view(&self, tenant: &TenantId, user: &UserId) -> Result<Seen, Error> {
        let key = (tenant.clone(), user.clone());
        if let Some(view) = self.held(&key) {
            return Ok(Seen { view, units: 0.0 });
        }
        let turn = self.views().turn(&key);
        let _turn = turn.lock().await;
        match self.find(&key) {
            Some((view, _)) => Ok(Seen { view, units: 0.0 }),
            None => self.renew(&key, true).await,
        }
    }

    /// What `user` of `tenant` has now, for who misses something that may be newer than a copy.
    ///
    /// # Errors
    /// What the table says.
    pub async fn view_now(&self, tenant: &TenantId, user: &UserId) -> Result<Seen, Error> {
        self.renew(&(tenant.clone(), user.clone()), false).await
    }

    /// This process has changed integrations or pins of `tenant`.
    pub fn roll_changed(&self, tenant: &TenantId) {
        self.rolls().changed(|held| held == tenant);
        self.views().changed(|(held, _)| held == tenant);
        self.announce(tenant, None);
    }

    /// This process has changed connections of `user`.
    pub fn connections_changed(&self, tenant: &TenantId, user: &UserId) {
        self.views()
            .changed(|(held, of)| held == tenant && of == user);
        self.announce(tenant, Some(user));
    }

    /// Writes a stamp, so that every process reads what has changed.
    ///
    /// # Errors
    /// What the table says.
    pub(in crate::mesh) async fn stamp(&self, key: &RowKey) -> Result<f64, Error> {
        let row = Row::new().with_text(VERSION_ATTRIBUTE, new_version());
        let written = self.0.parts.table.put(key, row, Condition::Always).await?;
        Ok(written.units)
    }

    /// The copy that may be used, which is renewed meanwhile where it is due.
    fn held(&self, key: &(TenantId, UserId)) -> Option<Arc<View>> {
        let (view, is_due) = self.find(key)?;
        if is_due {
            let (book, key) = (self.clone(), key.clone());
            tokio::spawn(async move {
                if let Err(error) = book.renew(&key, true).await {
                    tracing::warn!(
                        ?error,
                        "the integrations of a tenant could not be read again"
                    );
                }
            });
        }
        Some(view)
    }

    /// The copy that may be used, and whether it is to be renewed by who hears it.
    fn find(&self, key: &(TenantId, UserId)) -> Option<(Arc<View>, bool)> {
        let now = self.0.parts.clock.monotonic();
        let mut views = self.views();
        let copy = views.find(key)?;
        let age = now.saturating_sub(copy.since);
        if copy.is_stale || age >= COPY_AGE_MAX {
            return None;
        }
        let is_due = age >= RENEWAL_AGE && !std::mem::replace(&mut copy.is_renewed, true);
        Some((Arc::clone(&copy.value), is_due))
    }

    /// Reads what is new; a copy of the tenant's part that is young enough is taken where `may_share`.
    async fn renew(&self, key: &(TenantId, UserId), may_share: bool) -> Result<Seen, Error> {
        let mut units = 0.0;
        let (tenant, user) = key;
        let reading = self.views().begin(key);
        let now = self.0.parts.clock.monotonic();
        let began = self.0.parts.clock.now();
        let (roll, roll_since) = self.roll(tenant, may_share, &mut units).await?;
        let _permit = self.permit().await?;
        let keys = Keyspace::of(tenant);
        let stamp = self
            .read_stamp(&keys.integrations_stamp(Some(user)), &mut units)
            .await?;
        let before = self.views().find(key).cloned();
        let is_same = before.as_ref().is_some_and(|before| {
            before.value.stamp == stamp
                && Arc::ptr_eq(&before.value.roll, &roll)
                && now.saturating_sub(before.read) < WHOLE_AGE_MAX
        });
        let copy = match before.clone().filter(|_| is_same) {
            Some(before) => Copy {
                since: now.min(roll_since),
                is_renewed: false,
                ..before
            },
            None => {
                let old = before.as_ref().map(|before| &*before.value);
                let view = self.load_view(key, roll, stamp, old, &mut units).await?;
                Copy {
                    weight: view.weight(),
                    value: Arc::new(view),
                    since: now.min(roll_since),
                    read: now,
                    is_renewed: false,
                    is_stale: false,
                }
            }
        };
        let view = Arc::clone(&copy.value);
        self.views().keep(key.clone(), copy, &reading);
        if !is_same {
            self.announce(tenant, Some(user));
            self.end_those_gone(key, &view, began);
        }
        Ok(Seen { view, units })
    }

    /// The tenant's part, and when it was known to be what the table has.
    async fn roll(
        &self,
        tenant: &TenantId,
        may_share: bool,
        units: &mut f64,
    ) -> Result<(Arc<Roll>, Duration), Error> {
        // Who waits for the tenant's own turn holds no permit, which others may need.
        let turn = self.rolls().turn(tenant);
        let _turn = turn.lock().await;
        let now = self.0.parts.clock.monotonic();
        let (held, reading) = {
            let mut rolls = self.rolls();
            (rolls.find(tenant).cloned(), rolls.begin(tenant))
        };
        if let Some(held) = held.as_ref().filter(|_| may_share)
            && !held.is_stale
            && now.saturating_sub(held.since) < RENEWAL_AGE / 2
        {
            return Ok((Arc::clone(&held.value), held.since));
        }
        let _permit = self.permit().await?;
        let keys = Keyspace::of(tenant);
        let stamp = self
            .read_stamp(&keys.integrations_stamp(None), units)
            .await?;
        let is_same = |held: &Copy<Roll>| {
            held.value.stamp == stamp && now.saturating_sub(held.read) < WHOLE_AGE_MAX
        };
        let copy = match held.filter(is_same) {
            Some(held) => Copy { since: now, ..held },
            None => {
                let roll = self.load_roll(tenant, stamp, units).await?;
                Copy {
                    weight: roll.weight(),
                    value: Arc::new(roll),
                    since: now,
                    read: now,
                    is_renewed: false,
                    is_stale: false,
                }
            }
        };
        let roll = Arc::clone(&copy.value);
        self.rolls().keep(tenant.clone(), copy, &reading);
        Ok((roll, now))
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        let permit = self.0.loads.acquire().await;
        permit.map_err(|_| Error::internal("the book of integrations is closed"))
    }

    async fn read_stamp(&self, key: &RowKey, units: &mut f64) -> Result<Option<String>, Error> {
        let found = self.0.parts.table.get(key, true).await?;
        *units += found.units;
        Ok(found.value.and_then(|row| row.version().map(str::to_owned)))
    }

    async fn load_roll(
        &self,
        tenant: &TenantId,
        stamp: Option<String>,
        units: &mut f64,
    ) -> Result<Roll, Error> {
        let mut roll = Roll {
            stamp,
            ..Roll::default()
        };
        for (sort, row) in self
            .rows(tenant, INTEGRATION_PREFIX.to_owned(), units)
            .await?
        {
            match Registered::of_row(&sort, &row) {
                Ok(found) => {
                    let service = found.definition.service.clone();
                    roll.services.insert(service, Arc::new(found));
                }
                Err(error) => {
                    tracing::error!(%tenant, sort, ?error, "an integration cannot be read")
                }
            }
        }
        let mut pins: HashMap<_, ServicePins> = HashMap::new();
        if roll.services.is_empty() {
            return Ok(roll);
        }
        for (sort, row) in self.rows(tenant, PIN_PREFIX.to_owned(), units).await? {
            let id = sort.strip_prefix(PIN_PREFIX).unwrap_or_default();
            match Pin::of_row(&sort, id, &row) {
                Ok(pin) => {
                    let registered = roll.services.get(&pin.service);
                    if registered.is_some_and(|registered| registered.id == pin.of) {
                        pins.entry(pin.service.clone()).or_default().put(pin);
                    }
                }
                Err(error) => tracing::error!(%tenant, sort, ?error, "a pin cannot be read"),
            }
        }
        roll.pins = pins
            .into_iter()
            .map(|(service, pins)| (service, Arc::new(pins)))
            .collect();
        Ok(roll)
    }

    async fn load_view(
        &self,
        (tenant, user): &(TenantId, UserId),
        roll: Arc<Roll>,
        stamp: Option<String>,
        before: Option<&View>,
        units: &mut f64,
    ) -> Result<View, Error> {
        let services: Vec<_> = roll.services().cloned().collect();
        let queries = services.iter().map(async |registered| {
            let prefix = Keyspace::connections_prefix(&registered.definition.service, Some(user));
            let mut units = 0.0;
            let rows = self.rows(tenant, prefix, &mut units).await?;
            Ok::<_, Error>((registered, rows, units))
        });
        // Without a stamp the user has never been connected to anything.
        let queries: Vec<_> = match stamp {
            Some(_) => queries.collect(),
            None => Vec::new(),
        };
        let found: Vec<_> = stream::iter(queries)
            .buffer_unordered(QUERIES_AT_ONCE)
            .try_collect()
            .await?;
        let mut owned = std::collections::BTreeMap::new();
        for (registered, rows, cost) in found {
            *units += cost;
            let pins = roll
                .pins(&registered.definition.service)
                .cloned()
                .unwrap_or_default();
            for (sort, row) in rows {
                let id = sort.strip_prefix(CONNECTION_PREFIX).unwrap_or_default();
                let row = match Connected::of_row(&sort, id, &row) {
                    Ok(row) => row,
                    Err(error) => {
                        tracing::error!(%tenant, sort, ?error, "a connection cannot be read");
                        continue;
                    }
                };
                if row.pending || row.of != registered.id || row.user != *user {
                    continue;
                }
                let place = (row.service.clone(), row.connection.clone());
                let (registered, pins) = (Arc::clone(registered), Arc::clone(&pins));
                let new = Owned::new(tenant, user, row, registered, pins);
                let held = before.and_then(|before| before.owned.get(&place));
                if let Some(held) = held.filter(|held| held.revision == new.revision) {
                    new.inherit(held);
                }
                owned.insert(place, Arc::new(new));
            }
        }
        Ok(View {
            roll,
            owned,
            stamp,
            index: Mutex::default(),
            direct: Mutex::default(),
        })
    }

    /// Every row of the tenant's integrations whose sort key begins with `prefix`.
    async fn rows(
        &self,
        tenant: &TenantId,
        prefix: String,
        units: &mut f64,
    ) -> Result<Vec<(String, Row)>, Error> {
        let partition = Keyspace::of(tenant).integrations();
        let mut range = Range {
            prefix,
            limit: PAGE_ROWS,
            consistent: true,
            ..Range::default()
        };
        let mut rows = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.0.parts.table.query(&partition, &range).await?;
            *units += page.units;
            rows.extend(page.value.rows);
            range.after = page.value.next;
            if range.after.is_none() {
                return Ok(rows);
            }
        }
        Err(Error::internal(
            "a tenant has more integrations than can be read",
        ))
    }

    /// Ends the user's connections in this process that are none any more: another process has ended them or made
    /// them anew. What is younger than the copy, which was read from `began` on, is left to whoever has opened it.
    fn end_those_gone(&self, (tenant, user): &(TenantId, UserId), view: &View, began: Timestamp) {
        let states = self.upstreams().states(Some(tenant)).into_iter();
        let own = states.filter(|state| state.key.user == *user && state.since < began);
        for ConnectionState { key, revision, .. } in own {
            if view.is_current(&key, &revision) {
                continue;
            }
            let upstreams = Arc::clone(&self.0.parts.upstreams);
            tokio::spawn(async move { upstreams.retire(&key, &revision).await });
        }
    }

    fn rolls(&self) -> MutexGuard<'_, Copies<TenantId, Roll>> {
        self.0.rolls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn views(&self) -> MutexGuard<'_, Copies<(TenantId, UserId), View>> {
        self.0.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
