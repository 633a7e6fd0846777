//! The rule book: for each tenant with records, the rules and alerts that are in force, at most 5 s old.
//!
//! A tenant's copy is one consistent query of the partition of its rules. It is used for
//! [`COPY_AGE_MAX`] from when that query began, so that a change by any process is in force for every
//! record that is looked at later than that; [`RuleBook::changed`] ends a copy of this process at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::alarm::Raised;
use super::{ALERT_RAISED, ALERTS_LIMITED};
use crate::mesh::event::pattern::{Pattern, Seen, Viewed};
use crate::mesh::event::record::Event;
use crate::mesh::event::rule::{Alert, Rule, Trigger};
use crate::mesh::store::Table;
use crate::mesh::store::key::{ALERT_PREFIX, Keyspace, RULE_PREFIX};
use crate::mesh::store::table::Range;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error, Timestamp};

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

/// What a compiled pattern weighs beside its text, for each condition and value.
const CONDITION_WEIGHT: usize = 128;

/// How much earlier than a rule an event may have been recorded that it matches, by clocks that differ. What
/// is older was there before the rule, however late it is looked at.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(60);

/// The rules and alerts of one tenant, as they are in the table.
#[derive(Debug, Default)]
pub struct TenantRules {
    rules: Vec<(Rule, Option<Pattern>)>,
    alerts: Vec<(Alert, Option<Pattern>)>,
    unreadable: Vec<String>,
    is_idle: bool,
}

/// What an event matches.
#[derive(Debug, Default)]
pub(super) struct Matches<'a> {
    /// Rules, in the order of their names.
    pub(super) rules: Vec<&'a Rule>,
    /// Alerts, in the order of their names, and the rule behind each that has no pattern of its own.
    pub(super) alerts: Vec<Raised<'a>>,
}

impl TenantRules {
    /// Every rule, also those that are not in force.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|(rule, _)| rule)
    }

    /// Every alert.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().map(|(alert, _)| alert)
    }

    /// The sort keys of rows that could not be read, or whose pattern is none, and which do nothing.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// Whether nothing can come of any record.
    pub fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// About how many bytes it takes up.
    pub fn weight(&self) -> usize {
        let of = |pattern: &Option<Pattern>| {
            let size = pattern.as_ref().map(Pattern::size).unwrap_or_default();
            ENTRY_WEIGHT + (size.conditions + size.values) * CONDITION_WEIGHT
        };
        let rules = self.rules.iter().map(|(rule, pattern)| {
            let description = rule.description.as_ref().map_or(0, String::len);
            of(pattern) + 2 * rule.pattern.len() + description
        });
        let alerts = self.alerts.iter().map(|(_, pattern)| of(pattern));
        let unreadable = self.unreadable.iter().map(String::len);
        COPY_WEIGHT + rules.chain(alerts).chain(unreadable).sum::<usize>()
    }

    /// What `event` matches of what is in force.
    ///
    /// # Errors
    /// `INTERNAL` where the event's data is no JSON, or where a pattern broke down.
    pub(super) async fn matching(&self, event: &Event) -> Result<Matches<'_>, Error> {
        let viewed = Viewed::of(&Seen::of(event))?;
        let is_after = |created_at: Timestamp| event.time.plus(CLOCK_DIFFERENCE_MAX) >= created_at;
        let mut found = Matches::default();
        for (rule, pattern) in &self.rules {
            if is_after(rule.created_at) && fits(pattern.as_ref(), &viewed).await? {
                found.rules.push(rule);
            }
        }
        // Of an alert none is raised, so that one that matches everything does not feed on itself.
        if [ALERT_RAISED, ALERTS_LIMITED].contains(&&*event.detail_type) {
            return Ok(found);
        }
        for (alert, pattern) in &self.alerts {
            if !is_after(alert.created_at) {
                continue;
            }
            match &alert.trigger {
                Trigger::Rule(name) => {
                    let rule = found.rules.iter().find(|rule| rule.name == *name);
                    found.alerts.extend(rule.map(|rule| (alert, Some(*rule))));
                }
                Trigger::Pattern(_) => {
                    if fits(pattern.as_ref(), &viewed).await? {
                        found.alerts.push((alert, None));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Takes a rule up; its pattern is compiled where the rule is in force.
    fn add_rule(&mut self, rule: Rule) -> Result<(), Error> {
        let is_in_force = rule.enabled && !rule.native;
        let pattern = is_in_force.then(|| compile(&rule.pattern)).transpose()?;
        self.rules.push((rule, pattern));
        Ok(())
    }

    fn add_alert(&mut self, alert: Alert) -> Result<(), Error> {
        let pattern = match &alert.trigger {
            Trigger::Pattern(pattern) => Some(compile(pattern)?),
            Trigger::Rule(_) => None,
        };
        self.alerts.push((alert, pattern));
        Ok(())
    }

    /// Everything has been taken up.
    fn finish(&mut self) {
        let has_alert = |rule: &Rule| {
            let named = |alert: &Alert| alert.trigger == Trigger::Rule(rule.name.clone());
            self.alerts.iter().any(|(alert, _)| named(alert))
        };
        let acts = |(rule, pattern): &(Rule, Option<Pattern>)| {
            pattern.is_some() && (rule.workflow.is_some() || has_alert(rule))
        };
        let has_pattern = |(_, pattern): &(Alert, Option<Pattern>)| pattern.is_some();
        self.is_idle = !self.rules.iter().any(acts) && !self.alerts.iter().any(has_pattern);
    }
}

async fn fits(pattern: Option<&Pattern>, event: &Viewed) -> Result<bool, Error> {
    match pattern {
        Some(pattern) => pattern.fits(event).await,
        None => Ok(false),
    }
}

fn compile(pattern: &str) -> Result<Pattern, Error> {
    Pattern::parse_callers(pattern)
        .map_err(|fault| Error::internal("a stored pattern is none").caused_by(fault.to_string()))
}

/// What the book has of a tenant at once.
#[derive(Clone, Debug)]
pub(super) enum Lookup {
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
    /// Where those wait who all want the rules of the same tenant.
    gates: Mutex<HashMap<TenantId, Arc<Gate>>>,
    loads: Semaphore,
}

type Gate = tokio::sync::Mutex<()>;

#[derive(Clone, Debug)]
struct Copy {
    rules: Arc<TenantRules>,
    /// When the query began that it is of.
    since: Duration,
    weight: usize,
    /// Whether somebody has been told to renew it.
    is_renewed: bool,
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
            gates: Mutex::default(),
            loads: Semaphore::new(LOADS_MAX),
        }
    }

    /// The rules of `tenant`, read anew where there is no copy that may be used.
    ///
    /// # Errors
    /// What the table says.
    pub async fn of(&self, tenant: &TenantId) -> Result<Arc<TenantRules>, Error> {
        if let Some((rules, _)) = self.find(tenant) {
            return Ok(rules);
        }
        // One asks the table, and the others wait for what it finds.
        let gate = self.gates().entry(tenant.clone()).or_default().clone();
        let turn = gate.lock().await;
        let found = match self.find(tenant) {
            Some((rules, _)) => Ok(rules),
            None => self.renew(tenant).await,
        };
        drop(turn);
        let mut gates = self.gates();
        // This one and the map's; a gate that others wait at is theirs to remove.
        if Arc::strong_count(&gate) <= 2 {
            gates.remove(tenant);
        }
        found
    }

    /// What there is of `tenant` without asking the table. Of each copy one caller hears that it is to be
    /// renewed.
    pub(super) fn lookup(&self, tenant: &TenantId) -> Lookup {
        match self.find(tenant) {
            Some((rules, is_due)) => {
                let is_first = is_due && self.copies().claim_renewal(tenant);
                Lookup::Fresh(rules, is_first)
            }
            None => Lookup::Stale,
        }
    }

    /// The copy of `tenant` that may be used, and whether it is to be renewed.
    fn find(&self, tenant: &TenantId) -> Option<(Arc<TenantRules>, bool)> {
        let now = self.clock.monotonic();
        let mut copies = self.copies();
        let copy = copies.find(tenant)?;
        let age = now.saturating_sub(copy.since);
        (age < COPY_AGE_MAX).then(|| (copy.rules.clone(), age >= RENEWAL_AGE))
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
            is_renewed: false,
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
                let read = if sort.starts_with(RULE_PREFIX) {
                    Rule::of_row(&sort, &row).and_then(|rule| found.add_rule(rule))
                } else if sort.starts_with(ALERT_PREFIX) {
                    Alert::of_row(&sort, &row).and_then(|alert| found.add_alert(alert))
                } else {
                    continue;
                };
                if let Err(error) = read {
                    tracing::error!(%tenant, sort, ?error, "a rule or an alert cannot be read and does nothing");
                    found.unreadable.push(sort);
                }
            }
            range.after = page.next;
            if range.after.is_none() {
                found.finish();
                return Ok(found);
            }
        }
        Err(Error::internal("a tenant has more rules than can be read"))
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Gate>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn claim_renewal(&mut self, tenant: &TenantId) -> bool {
        let copy = self.recent.get_mut(tenant);
        copy.is_some_and(|copy| !std::mem::replace(&mut copy.is_renewed, true))
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
