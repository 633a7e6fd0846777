//! The handle to a tenant's rules on the bus itself: their rows, and what stands on the bus.

use futures::FutureExt as _;

use super::Reply;
use super::bus_rules::BusRules;
use super::key::{Keyspace, RULE_PREFIX, RowKey};
use super::rules::{PAGE_ROWS, ROW_PAGES_MAX};
use super::table::{Condition, Range, Row, WriteOutcome};
use crate::mesh::Error;
use crate::mesh::call::grant::Reach;
use crate::mesh::event::native_rules::{
    Machines, NativeRow, NativeRows, NativeRules, NativeState, Repaired,
};
use crate::mesh::event::rule::Rule;
use crate::mesh::limit::{Direction, RosterOf, RosterUnits};

/// The attribute of a native rule's row that says how far it is.
const STATE: &str = "native_state";

/// The native rules of the caller's tenant, to be made and removed by operations that may manage rules.
pub struct Native<'call> {
    reach: Reach<'call>,
    keys: Keyspace,
    bus: &'call dyn BusRules,
}

/// How far the native rule in `row` is.
pub(super) fn state_of(row: &Row) -> Option<NativeState> {
    row.text(STATE).map(NativeState::of_name)
}

/// The row of `rule`; one of a native rule says how far it is.
pub(super) fn row_of(rule: &Rule, state: NativeState) -> Row {
    match rule.native {
        true => rule.to_row().with_text(STATE, state.name()),
        false => rule.to_row(),
    }
}

impl<'call> Native<'call> {
    pub(in crate::mesh) fn new(reach: Reach<'call>, bus: &'call dyn BusRules) -> Self {
        Self {
            keys: reach.keyspace(),
            reach,
            bus,
        }
    }

    /// Refuses a rule that the bus cannot have.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` that names the argument.
    pub fn check(&self, rule: &Rule) -> Result<(), Error> {
        self.rules().bus_rule(rule).map(drop)
    }

    /// Brings a rule to the bus whose row has just been written.
    ///
    /// # Errors
    /// What the bus or the table says.
    pub async fn create(&self, name: &str, is_new: bool) -> Result<(), Error> {
        self.rules().create(name, is_new).await
    }

    /// Takes a rule off the bus and deletes its row; whether there was one.
    ///
    /// # Errors
    /// What the bus or the table says.
    pub async fn remove(&self, name: &str) -> Result<bool, Error> {
        self.rules().remove(name).await
    }

    /// Puts right what crashes have left.
    ///
    /// # Errors
    /// What the bus or the table says.
    pub async fn repair(&self) -> Result<Repaired, Error> {
        self.rules().repair().await
    }

    fn rules(&self) -> NativeRules<'_> {
        NativeRules {
            tenant: self.reach.tenant_id(),
            bus: self.bus,
            rows: self,
            machines: self,
        }
    }

    fn native_row(sort: &str, row: &Row) -> Result<Option<NativeRow>, Error> {
        let rule = Rule::of_row(sort, row)?;
        let version = row
            .version()
            .ok_or_else(|| Error::internal("a rule's row has no version"))?;
        Ok(rule.native.then(|| NativeRow {
            rule,
            state: state_of(row).unwrap_or(NativeState::Pending),
            version: version.to_owned(),
        }))
    }

    fn unchanged(&self, row: &NativeRow) -> Condition {
        Condition::Version {
            version: row.version.clone(),
            now: self.reach.now(),
        }
    }

    async fn all_rows(&self) -> Result<Vec<NativeRow>, Error> {
        let mut range = Range {
            prefix: RULE_PREFIX.to_owned(),
            limit: PAGE_ROWS,
            consistent: true,
            ..Range::default()
        };
        let mut found = Vec::new();
        for _ in 0..ROW_PAGES_MAX {
            let answer = self.reach.table().query(&self.keys.rules(), &range).await?;
            self.reach.spend(Direction::DynamodbRead, answer.units);
            for (sort, row) in &answer.value.rows {
                found.extend(Self::native_row(sort, row)?);
            }
            range.after = answer.value.next;
            if range.after.is_none() {
                return Ok(found);
            }
        }
        Err(Error::internal("a tenant has more rules than can be read"))
    }

    async fn give_places_back(&self, rule: &Rule) {
        for of in [RosterOf::NativeRules, RosterOf::Rules] {
            let mut units = RosterUnits::default();
            let roster = self.reach.roster(of);
            let left = roster.leave(&rule.name, rule.id, self.reach.now(), &mut units);
            let left = left.await;
            self.reach.spend(Direction::DynamodbRead, units.read);
            self.reach.spend(Direction::DynamodbWrite, units.write);
            if let Err(error) = left {
                tracing::warn!(?error, "the place of a deleted rule is given back later");
            }
        }
    }
}

impl NativeRows for Native<'_> {
    fn row<'a>(&'a self, name: &'a str) -> Reply<'a, Option<NativeRow>> {
        async move {
            let key: RowKey = self.keys.rule(name);
            let answer = self.reach.table().get(&key, true).await?;
            self.reach.spend(Direction::DynamodbRead, answer.units);
            let row = answer.value;
            row.map_or(Ok(None), |row| Self::native_row(key.sort(), &row))
        }
        .boxed()
    }

    fn rows(&self) -> Reply<'_, Vec<NativeRow>> {
        self.all_rows().boxed()
    }

    fn mark<'a>(&'a self, row: &'a NativeRow, state: NativeState) -> Reply<'a, bool> {
        async move {
            let key = self.keys.rule(&row.rule.name);
            let answer = self
                .reach
                .table()
                .put(&key, row_of(&row.rule, state), self.unchanged(row))
                .await?;
            self.reach.spend(Direction::DynamodbWrite, answer.units);
            Ok(matches!(answer.value, WriteOutcome::Done { .. }))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, row: &'a NativeRow) -> Reply<'a, bool> {
        async move {
            let key = self.keys.rule(&row.rule.name);
            let answer = self.reach.table().delete(&key, self.unchanged(row)).await?;
            self.reach.spend(Direction::DynamodbWrite, answer.units);
            let is_gone = match answer.value {
                WriteOutcome::Done { .. } => true,
                WriteOutcome::ConditionFailed { current } => current.is_none(),
            };
            if is_gone {
                self.give_places_back(&row.rule).await;
            }
            Ok(is_gone)
        }
        .boxed()
    }
}

impl Machines for Native<'_> {
    fn machine(&self, name: &str) -> Option<String> {
        self.reach.workflows().machine(self.reach.tenant_id(), name)
    }
}
