//! The handle to a tenant's rules and alerts: their rows, the quotas on them, and who is told of changes.

use std::marker::PhantomData;

use serde::{Serialize, Serializer};
use ulid::Ulid;

use super::key::{ALERT_PREFIX, Keyspace, RULE_PREFIX, RowKey};
use super::native;
use super::table::{Condition, Range, Row, VERSION_ATTRIBUTE, WriteOutcome};
use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{AlertsManage, Allows, EventsRead, Needs, RulesManage};
use crate::mesh::event::native_rules::NativeState;
use crate::mesh::event::rule::{Alert, Delivery, Rule};
use crate::mesh::event::rules::AlertRaised;
use crate::mesh::limit::{Direction, RosterOf, RosterUnits};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind};

/// Rows of one page of a query.
pub(super) const PAGE_ROWS: u32 = 500;

/// The most pages of rules or alerts that are read at once: more rows than a roster has names.
pub(super) const ROW_PAGES_MAX: usize = 16;

/// How often a row is deleted anew while others change it.
const DELETE_ROUNDS_MAX: usize = 4;

/// A row as it was read: what it holds, and the version that a change of it must find.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    /// What it holds.
    pub thing: T,
    /// How far a rule of the bus itself is.
    pub native_state: Option<NativeState>,
    version: String,
}

/// How a write ended.
#[derive(Clone, Debug)]
pub enum Placed<T> {
    /// It was done.
    Done,
    /// Something else is there now, or nothing.
    Other(Option<Stored<T>>),
}

/// The alerts of one tenant, which a caller watches: made from an admitted call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedAlerts(TenantId);

impl WatchedAlerts {
    /// Whether `raised` is one of them.
    pub fn include(&self, raised: &AlertRaised) -> bool {
        raised.tenant == self.0
    }
}

impl Serialize for WatchedAlerts {
    /// Nothing of it is for the client.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// A permission with which alerts may be ended: that to manage alerts, and that to delete the rules that
/// they are about.
pub trait EndsAlerts: Needs {}

impl EndsAlerts for AlertsManage {}
impl EndsAlerts for RulesManage {}

/// Rules and alerts of the caller's tenant, to the extent of the permission `P`.
pub struct Rules<'call, P> {
    reach: Reach<'call>,
    keys: Keyspace,
    permission: PhantomData<P>,
}

impl<'call, P> Rules<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>) -> Self {
        Self {
            keys: reach.keyspace(),
            reach,
            permission: PhantomData,
        }
    }

    /// A fresh id for a rule or an alert.
    pub fn new_id(&self) -> Ulid {
        let time = self.reach.now().as_millis().max(0).unsigned_abs();
        Ulid::from_parts(time, Ulid::generate().random())
    }

    /// The rule `name`.
    ///
    /// # Errors
    /// What the table says.
    pub async fn rule(&self, name: &str) -> Result<Option<Stored<Rule>>, Error>
    where
        P: Allows<RulesManage>,
    {
        self.read(&self.keys.rule(name)).await
    }

    /// Takes a place among the rules of the tenant for one that is about to be written.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` where there is none.
    pub async fn enter_rule(&self, rule: &Rule) -> Result<(), Error>
    where
        P: Allows<RulesManage>,
    {
        self.enter(RosterOf::Rules, &rule.name, rule.id).await?;
        if rule.native
            && let Err(error) = self.enter(RosterOf::NativeRules, &rule.name, rule.id).await
        {
            self.leave(RosterOf::Rules, &rule.name, rule.id).await;
            return Err(error);
        }
        Ok(())
    }

    /// Writes a rule that is not there yet.
    ///
    /// # Errors
    /// What the table says.
    pub async fn add_rule(&self, rule: &Rule) -> Result<Placed<Rule>, Error>
    where
        P: Allows<RulesManage>,
    {
        let now = self.reach.now();
        let key = self.keys.rule(&rule.name);
        self.put(&key, rule.to_row(), Condition::Absent { now })
            .await
    }

    /// Writes a rule in place of `before`.
    ///
    /// # Errors
    /// What the table says.
    pub async fn replace_rule(
        &self,
        before: &Stored<Rule>,
        rule: &Rule,
    ) -> Result<Placed<Rule>, Error>
    where
        P: Allows<RulesManage>,
    {
        let key = self.keys.rule(&rule.name);
        let row = native::row_of(rule, NativeState::Pending);
        self.put(&key, row, self.unchanged(before)).await
    }

    /// Deletes the rule `name`, whatever it is by now; answers the one that was there.
    ///
    /// # Errors
    /// What the table says.
    pub async fn delete_rule(&self, name: &str) -> Result<Option<Rule>, Error>
    where
        P: Allows<RulesManage>,
    {
        for _ in 0..DELETE_ROUNDS_MAX {
            let Some(rule) = self.rule(name).await? else {
                return Ok(None);
            };
            if self.delete(&self.keys.rule(name), &rule).await? {
                self.leave(RosterOf::Rules, name, rule.thing.id).await;
                return Ok(Some(rule.thing));
            }
        }
        Err(changing(name))
    }

    /// The alerts that are about the rule `rule`.
    ///
    /// # Errors
    /// What the table says.
    pub async fn alerts_of_rule(&self, rule: &str) -> Result<Vec<Stored<Alert>>, Error>
    where
        P: Allows<RulesManage>,
    {
        let mut alerts = self.all_alerts().await?;
        alerts.retain(|alert| alert.thing.is_about(rule));
        Ok(alerts)
    }

    /// Whether there is a rule `name`, and whether it is one of the bus itself.
    ///
    /// # Errors
    /// What the table says.
    pub async fn has_rule(&self, name: &str) -> Result<Option<bool>, Error>
    where
        P: Allows<AlertsManage>,
    {
        let rule: Option<Stored<Rule>> = self.read(&self.keys.rule(name)).await?;
        Ok(rule.map(|rule| rule.thing.native))
    }

    /// The alert `name`.
    ///
    /// # Errors
    /// What the table says.
    pub async fn alert(&self, name: &str) -> Result<Option<Stored<Alert>>, Error>
    where
        P: Allows<AlertsManage>,
    {
        self.read(&self.keys.alert(name)).await
    }

    /// Takes a place among the alerts of the tenant for one that is about to be written.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` where there is none.
    pub async fn enter_alert(&self, alert: &Alert) -> Result<(), Error>
    where
        P: Allows<AlertsManage>,
    {
        self.enter(RosterOf::Alerts, &alert.name, alert.id).await
    }

    /// Writes an alert that is not there yet.
    ///
    /// # Errors
    /// What the table says.
    pub async fn add_alert(&self, alert: &Alert) -> Result<Placed<Alert>, Error>
    where
        P: Allows<AlertsManage>,
    {
        let now = self.reach.now();
        let key = self.keys.alert(&alert.name);
        self.put(&key, alert.to_row(), Condition::Absent { now })
            .await
    }

    /// Deletes an alert, if it is still as it was read; whether it is gone.
    ///
    /// # Errors
    /// What the table says.
    pub async fn delete_alert(&self, alert: &Stored<Alert>) -> Result<bool, Error>
    where
        P: EndsAlerts,
    {
        let Alert { name, id, .. } = &alert.thing;
        let is_gone = self.delete(&self.keys.alert(name), alert).await?;
        if is_gone {
            self.leave(RosterOf::Alerts, name, *id).await;
        }
        Ok(is_gone)
    }

    /// The other alerts that are mailed to the address of `alert`.
    ///
    /// # Errors
    /// What the table says.
    pub async fn fellows_of(&self, alert: &Alert) -> Result<Vec<Stored<Alert>>, Error>
    where
        P: EndsAlerts,
    {
        let mut alerts = self.all_alerts().await?;
        alerts.retain(|other| other.thing.id != alert.id && other.thing.shares_mailbox(alert));
        Ok(alerts)
    }

    /// A page of the rules in the order of their names, and the name after which there may be more.
    ///
    /// # Errors
    /// What the table says.
    pub async fn rules_after(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<(Vec<Stored<Rule>>, Option<String>), Error>
    where
        P: Allows<EventsRead>,
    {
        let mut range = Range {
            prefix: RULE_PREFIX.to_owned(),
            after: after.map(|name| format!("{RULE_PREFIX}{name}")),
            limit,
            consistent: true,
            ..Range::default()
        };
        let mut rules = Vec::new();
        while rules.len() < limit as usize {
            let (page, next) = self.page::<Rule>(&range).await?;
            rules.extend(page);
            range.after = next;
            if range.after.is_none() {
                break;
            }
        }
        let next = range.after.as_deref();
        let next = next.and_then(|sort| sort.strip_prefix(RULE_PREFIX));
        Ok((rules, next.map(str::to_owned)))
    }

    /// Every alert, in the order of the names.
    ///
    /// # Errors
    /// What the table says.
    pub async fn alerts(&self) -> Result<Vec<Stored<Alert>>, Error>
    where
        P: Allows<EventsRead>,
    {
        self.all_alerts().await
    }

    /// Notes what has become known of an alert's subscription. It is no change of the caller's, and where
    /// the alert has changed meanwhile nothing is noted.
    ///
    /// # Errors
    /// What the table says.
    pub async fn note_subscription(
        &self,
        before: &Stored<Alert>,
        known: Option<String>,
    ) -> Result<(), Error> {
        let mut alert = before.thing.clone();
        let Delivery::Mail { subscription, .. } = &mut alert.delivery else {
            return Ok(());
        };
        if *subscription == known {
            return Ok(());
        }
        *subscription = known;
        let key = self.keys.alert(&alert.name);
        let noted = self.put::<Alert>(&key, alert.to_row(), self.unchanged(before));
        noted.await.map(drop)
    }

    /// The alerts of the tenant, to be watched.
    pub fn watch(&self) -> WatchedAlerts
    where
        P: Allows<EventsRead>,
    {
        WatchedAlerts(self.reach.tenant_id().clone())
    }

    /// From now on this process matches records with the rules as they are.
    pub fn announce(&self) {
        self.reach.rules_changed();
    }

    async fn all_alerts(&self) -> Result<Vec<Stored<Alert>>, Error> {
        let mut range = Range {
            prefix: ALERT_PREFIX.to_owned(),
            limit: PAGE_ROWS,
            consistent: true,
            ..Range::default()
        };
        let mut alerts = Vec::new();
        for _ in 0..ROW_PAGES_MAX {
            let (page, next) = self.page::<Alert>(&range).await?;
            alerts.extend(page);
            range.after = next;
            if range.after.is_none() {
                return Ok(alerts);
            }
        }
        Err(Error::internal("a tenant has more alerts than can be read"))
    }

    async fn page<T: Kept>(
        &self,
        range: &Range,
    ) -> Result<(Vec<Stored<T>>, Option<String>), Error> {
        let answer = self.reach.table().query(&self.keys.rules(), range).await?;
        self.reach.spend(Direction::DynamodbRead, answer.units);
        let mut found = Vec::with_capacity(answer.value.rows.len());
        for (sort, row) in answer.value.rows {
            match stored(&sort, &row) {
                Ok(stored) => found.push(stored),
                // One row that cannot be read must not hide the others.
                Err(error) => tracing::error!(?error, "a rule or an alert cannot be read"),
            }
        }
        Ok((found, answer.value.next))
    }

    async fn read<T: Kept>(&self, key: &RowKey) -> Result<Option<Stored<T>>, Error> {
        let answer = self.reach.table().get(key, true).await?;
        self.reach.spend(Direction::DynamodbRead, answer.units);
        answer.value.map(|row| stored(key.sort(), &row)).transpose()
    }

    async fn put<T: Kept>(
        &self,
        key: &RowKey,
        row: Row,
        condition: Condition,
    ) -> Result<Placed<T>, Error> {
        let answer = self.reach.table().put(key, row, condition).await?;
        self.reach.spend(Direction::DynamodbWrite, answer.units);
        Ok(match answer.value {
            WriteOutcome::Done { .. } => Placed::Done,
            WriteOutcome::ConditionFailed { current } => {
                Placed::Other(current.map(|row| stored(key.sort(), &row)).transpose()?)
            }
        })
    }

    fn unchanged<T>(&self, before: &Stored<T>) -> Condition {
        Condition::Version {
            version: before.version.clone(),
            now: self.reach.now(),
        }
    }

    /// Deletes a row if it is as it was read; whether it is gone.
    async fn delete<T>(&self, key: &RowKey, before: &Stored<T>) -> Result<bool, Error> {
        let answer = self
            .reach
            .table()
            .delete(key, self.unchanged(before))
            .await?;
        self.reach.spend(Direction::DynamodbWrite, answer.units);
        Ok(match answer.value {
            WriteOutcome::Done { .. } => true,
            WriteOutcome::ConditionFailed { current } => current.is_none(),
        })
    }

    async fn enter(&self, of: RosterOf, name: &str, id: Ulid) -> Result<(), Error> {
        let mut units = RosterUnits::default();
        let entered = self
            .reach
            .roster(of)
            .enter(name, id, self.reach.now(), &mut units)
            .await;
        self.spend(units);
        entered
    }

    /// Gives the place of a thing back that is gone. What fails here is put right when the place is wanted.
    async fn leave(&self, of: RosterOf, name: &str, id: Ulid) {
        let mut units = RosterUnits::default();
        let left = self
            .reach
            .roster(of)
            .leave(name, id, self.reach.now(), &mut units)
            .await;
        self.spend(units);
        if let Err(error) = left {
            tracing::warn!(
                ?error,
                "the place of a deleted rule or alert is given back later"
            );
        }
    }

    fn spend(&self, units: RosterUnits) {
        self.reach.spend(Direction::DynamodbRead, units.read);
        self.reach.spend(Direction::DynamodbWrite, units.write);
    }
}

/// What such a row can hold.
trait Kept: Sized {
    fn of_row(sort: &str, row: &Row) -> Result<Self, Error>;
}

impl Kept for Rule {
    fn of_row(sort: &str, row: &Row) -> Result<Self, Error> {
        Self::of_row(sort, row)
    }
}

impl Kept for Alert {
    fn of_row(sort: &str, row: &Row) -> Result<Self, Error> {
        Self::of_row(sort, row)
    }
}

fn stored<T: Kept>(sort: &str, row: &Row) -> Result<Stored<T>, Error> {
    let version = row.version();
    let version = version
        .ok_or_else(|| Error::internal(format!("the row `{sort}` has no `{VERSION_ATTRIBUTE}`")))?;
    Ok(Stored {
        thing: T::of_row(sort, row)?,
        native_state: native::state_of(row),
        version: version.to_owned(),
    })
}

fn changing(name: &str) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!("`{name}` is being changed by others again and again"),
    )
    .fix("Repeat the call.")
}
