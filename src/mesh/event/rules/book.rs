//! The rule book: for each tenant with records, the rules and alerts that are in force, at most 5 s old.
//!
//! A tenant's copy is one consistent query of the partition of its rules. It is used for
//! [`COPY_AGE_MAX`] from when that query began, so that a change by any process is in force for every
//! record that is looked at later than that; [`RuleBook::changed`] ends a copy of this process at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::mesh::event::rule::{Alert, Rule};
use crate::mesh::store::Table;
use crate::mesh::store::key::{ALERT_PREFIX, Keyspace, RULE_PREFIX};
use crate::mesh::store::table::Range;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error};

/// How old a copy may be.
pub const COPY_AGE_MAX: Duration = Duration::from_secs(5);

/// From which age on a copy is renewed while it is still used.
pub const RENEWAL_AGE: Duration = Duration::from_secs(4);

/// Of how many tenants there are copies at most.
pub const TENANTS_MAX: usize = 8192;

/// How much all copies may weigh: bytes of patterns and names, as [`TenantRules::weight`] counts them.
pub const WEIGHT_MAX: usize = 64 << 20;

/// The most copies that are loaded at once.
const LOADS_MAX: usize = 16;

/// Rows of one page of a query, and the most pages of one tenant's rules: more than 8 MiB of patterns.
const PAGE_ROWS: u32 = 1000;
const PAGES_MAX: usize = 16;

/// What a rule or an alert weighs beside its texts.
const ENTRY_WEIGHT: usize = 512;

/// What an empty copy weighs.
const COPY_WEIGHT: usize = 128;

/// The rules and alerts of one tenant, as they are in the table.
#[derive(Debug, Default)]
pub struct TenantRules {
    rules: Vec<Rule>,
    alerts: Vec<Alert>,
    unreadable: Vec<String>,
}

impl TenantRules {
    /// Every rule, also those that are not in force.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Every alert.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// The names of rows that could not be read, which do nothing.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// About how many bytes it takes up.
    pub fn weight(&self) -> usize {
        let rules = self.rules.iter().map(|rule| rule.pattern.len());
        let unreadable = self.unreadable.iter().map(String::len);
        let texts: usize = rules.chain(unreadable).sum();
        COPY_WEIGHT + texts + (self.rules.len() + self.alerts.len()) * ENTRY_WEIGHT
    }
}

/// What the book has of a tenant at once.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A copy that is in force, and whether it is time to renew it.
    Fresh(Arc<TenantRules>, bool),
    /// None that may still be used.
    Stale,
}

/// The rules of the tenants that have records.
pub struct RuleBook {
    table: Arc<dyn Table>,
    clock: Arc<dyn Clock>,
    copies: Mutex<Copies>,
    loads: Semaphore,
}

#[derive(Clone, Debug)]
struct Copy {
    rules: Arc<TenantRules>,
    /// When the query began that it is of.
    since: Duration,
    weight: usize,
}

/// Copies, those that were used of late and those that were used before: when there are too many of the
/// former, the latter go and they take their place.
#[derive(Debug, Default)]
struct Copies {
    recent: HashMap<TenantId, Copy>,
    before: HashMap<TenantId, Copy>,
    recent_weight: usize,
    /// Of how many changes this process knows: a query that began before one of them keeps no copy.
    changes: u64,
}

impl RuleBook {
    /// An empty book over `table`.
    pub fn new(table: Arc<dyn Table>, clock: Arc<dyn Clock>) -> Self {
        Self {
            table,
            clock,
            copies: Mutex::default(),
            loads: Semaphore::new(LOADS_MAX),
        }
    }

    /// The rules of `tenant`, read anew where there is no copy that may be used.
    ///
    /// # Errors
    /// What the table says.
    pub async fn of(&self, tenant: &TenantId) -> Result<Arc<TenantRules>, Error> {
        match self.lookup(tenant) {
            Lookup::Fresh(rules, _) => Ok(rules),
            Lookup::Stale => self.renew(tenant).await,
        }
    }

    /// What there is of `tenant` without asking the table.
    pub fn lookup(&self, tenant: &TenantId) -> Lookup {
        let now = self.clock.monotonic();
        let mut copies = self.copies();
        let Some(copy) = copies.find(tenant) else {
            return Lookup::Stale;
        };
        let age = now.saturating_sub(copy.since);
        if age >= COPY_AGE_MAX {
            return Lookup::Stale;
        }
        Lookup::Fresh(copy.rules.clone(), age >= RENEWAL_AGE)
    }

    /// Reads the rules of `tenant` from the table and keeps them.
    ///
    /// # Errors
    /// What the table says.
    pub async fn renew(&self, tenant: &TenantId) -> Result<Arc<TenantRules>, Error> {
        let permit = self.loads.acquire().await;
        let _permit = permit.map_err(|_| Error::internal("the rule book is closed"))?;
        let since = self.clock.monotonic();
        let changes = self.copies().changes;
        let rules = Arc::new(self.load(tenant).await?);
        let copy = Copy {
            weight: rules.weight(),
            rules: rules.clone(),
            since,
        };
        self.copies().keep(tenant, copy, changes);
        Ok(rules)
    }

    /// This process has changed the rules or alerts of `tenant`: every record that is accepted from now on
    /// meets them as they are now.
    pub fn changed(&self, tenant: &TenantId) {
        let mut copies = self.copies();
        copies.changes += 1;
        copies.remove(tenant);
    }

    async fn load(&self, tenant: &TenantId) -> Result<TenantRules, Error> {
        let partition = Keyspace::of(tenant).rules();
        let mut range = Range {
            limit: PAGE_ROWS,
            consistent: true,
            ..Range::default()
        };
        let mut found = TenantRules::default();
        for _ in 0..PAGES_MAX {
            let page = self.table.query(&partition, &range).await?.value;
            for (sort, row) in page.rows {
                let read = match sort.get(..2) {
                    Some(RULE_PREFIX) => {
                        Rule::of_row(&sort, &row).map(|rule| found.rules.push(rule))
                    }
                    Some(ALERT_PREFIX) => {
                        Alert::of_row(&sort, &row).map(|alert| found.alerts.push(alert))
                    }
                    _ => continue,
                };
                if let Err(error) = read {
                    tracing::error!(%tenant, ?error, "a rule or an alert cannot be read and does nothing");
                    found.unreadable.push(sort);
                }
            }
            range.after = page.next;
            if range.after.is_none() {
                return Ok(found);
            }
        }
        Err(Error::internal("a tenant has more rules than can be read"))
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copies {
    fn find(&mut self, tenant: &TenantId) -> Option<&Copy> {
        if !self.recent.contains_key(tenant) {
            let copy = self.before.remove(tenant)?;
            self.put(tenant.clone(), copy);
        }
        self.recent.get(tenant)
    }

    /// Keeps what a query has found that began when there were so many `changes`.
    fn keep(&mut self, tenant: &TenantId, copy: Copy, changes: u64) {
        let held = self.recent.get(tenant).or_else(|| self.before.get(tenant));
        let is_older = held.is_some_and(|held| held.since > copy.since);
        if changes == self.changes && !is_older {
            self.remove(tenant);
            self.put(tenant.clone(), copy);
        }
    }

    fn put(&mut self, tenant: TenantId, copy: Copy) {
        let is_full = self.recent.len() >= TENANTS_MAX / 2
            || self.recent_weight + copy.weight > WEIGHT_MAX / 2;
        if is_full {
            self.before = std::mem::take(&mut self.recent);
            self.recent_weight = 0;
        }
        self.recent_weight += copy.weight;
        self.recent.insert(tenant, copy);
    }

    fn remove(&mut self, tenant: &TenantId) {
        self.before.remove(tenant);
        if let Some(copy) = self.recent.remove(tenant) {
            self.recent_weight -= copy.weight;
        }
    }
}

#[cfg(test)]
mod tests;
