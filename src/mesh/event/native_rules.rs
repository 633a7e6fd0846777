//! Native rules: what a tenant's rows ask for and what stands on the bus, brought to agree.
//!
//! The row is the truth. It is written first, as [`NativeState::Pending`], then the rule is put on the bus,
//! then the row becomes [`NativeState::Active`]; removal marks the row [`NativeState::Leaving`], takes the
//! rule off the bus, then deletes the row. So whatever was cut off, by a crash or a lost answer, stands in
//! the row, and one step, [`NativeRules::settle`], carries it to its end from anywhere. It may run in several
//! processes at once: nobody leaves before the row is still what the bus was brought to.

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::{Pattern, bus_name, bus_name_prefix};
use super::rule::Rule;
use crate::mesh::store::Reply;
use crate::mesh::store::bus_rules::{BusRule, BusRules, ListedRule};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind};

/// How often a rule is looked at again that others change meanwhile.
const ROUNDS_MAX: usize = 8;

/// How far a native rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeState {
    /// It is to be on the bus, and may not be yet, or not as its row says.
    Pending,
    /// It is on the bus.
    Active,
    /// It is to be deleted, and may still be on the bus.
    Leaving,
}

impl NativeState {
    /// The word in rows and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Leaving => "leaving",
        }
    }

    /// The state of that word. A word that is none is read as one that has to be looked after.
    pub fn of_name(name: &str) -> Self {
        match name {
            "active" => Self::Active,
            "leaving" => Self::Leaving,
            _ => Self::Pending,
        }
    }
}

/// The row of a native rule.
#[derive(Clone, Debug)]
pub struct NativeRow {
    /// The rule.
    pub rule: Rule,
    /// How far it is.
    pub state: NativeState,
    /// The version of the row; each write gives it another one.
    pub version: String,
}

/// The rows of one tenant's native rules. Every read is consistent.
pub trait NativeRows: Send + Sync {
    /// The native rule `name`; none where there is none of that name or it is not native.
    fn row<'a>(&'a self, name: &'a str) -> Reply<'a, Option<NativeRow>>;

    /// Every native rule.
    fn rows(&self) -> Reply<'_, Vec<NativeRow>>;

    /// Gives the row another state, under a new version; whether it still was of the version of `row`.
    fn mark<'a>(&'a self, row: &'a NativeRow, state: NativeState) -> Reply<'a, bool>;

    /// Deletes the row; whether it still was of the version of `row`.
    fn delete<'a>(&'a self, row: &'a NativeRow) -> Reply<'a, bool>;
}

/// Knows the state machines of the tenant by their logical names.
pub trait Machines: Send + Sync {
    /// The ARN of the workflow `name`.
    fn machine(&self, name: &str) -> Option<String>;
}

/// The native rules of one tenant.
#[derive(Clone, Copy)]
pub struct NativeRules<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// What stands on the bus.
    pub bus: &'a dyn BusRules,
    /// What the tenant asks for.
    pub rows: &'a dyn NativeRows,
    /// Where matching events may go.
    pub machines: &'a dyn Machines,
}

/// What a repair has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Rules that were put on the bus.
    pub put: usize,
    /// Rules that were taken off it.
    pub removed: usize,
    /// Rules that could not be brought to agree; the log says why.
    pub failed: usize,
}

/// What settling a rule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The rule is on the bus as its row says.
    Put,
    /// There is no such rule any more, on the bus or as a row.
    Removed,
}

impl NativeRules<'_> {
    /// The rule for the bus that `rule` asks for. Whoever writes a native rule's row asks this before.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` that names the argument, where it can be none.
    pub fn bus_rule(&self, rule: &Rule) -> Result<BusRule, Error> {
        let name = bus_name(self.tenant, &rule.name)?;
        let pattern = Pattern::parse_callers(&rule.pattern)
            .and_then(|pattern| pattern.on_bus(self.tenant))
            .map_err(|fault| {
                Error::invalid("pattern", format!("`pattern` is none for the bus: {fault}"))
                    .fix("Change the pattern, or leave `native` out.")
            })?;
        let Some(workflow) = &rule.workflow else {
            let message =
                "a native rule needs a `workflow`: the bus has nowhere else to send events";
            return Err(
                Error::invalid("workflow", message).fix("Name a workflow, or leave `native` out.")
            );
        };
        let target = self.machines.machine(workflow).ok_or_else(|| {
            Error::invalid("workflow", format!("there is no workflow `{workflow}`"))
                .fix("Name one that the operator has given you.")
        })?;
        Ok(BusRule {
            name,
            pattern,
            target,
            rule: rule.name.clone(),
            user: rule.created_by.clone(),
            enabled: rule.enabled,
        })
    }

    /// Carries the making of a rule to its end, whose row has just been written as
    /// [`NativeState::Pending`]. Where `is_new`, and the bus will never take it, the row is deleted again.
    ///
    /// # Errors
    /// What the bus or the table says. Unless the row was deleted again, a repair or the same call goes on
    /// where this one stopped.
    pub async fn create(&self, name: &str, is_new: bool) -> Result<(), Error> {
        let Err(error) = self.settle(name).await else {
            return Ok(());
        };
        let is_final = matches!(
            error.kind(),
            ErrorKind::InvalidParameter | ErrorKind::QuotaExceeded | ErrorKind::NotSupported
        );
        if is_new
            && is_final
            && let Err(again) = self.remove(name).await
        {
            tracing::warn!(error = ?again, "a native rule that the bus refused is removed later");
        }
        Err(error)
    }

    /// Removes a rule from the bus, and then its row; whether there was one.
    ///
    /// # Errors
    /// What the bus or the table says. A repair or the same call goes on where this one stopped.
    pub async fn remove(&self, name: &str) -> Result<bool, Error> {
        let mut existed = false;
        for _ in 0..ROUNDS_MAX {
            let Some(row) = self.rows.row(name).await? else {
                break;
            };
            existed = true;
            if row.state == NativeState::Leaving
                || self.rows.mark(&row, NativeState::Leaving).await?
            {
                break;
            }
        }
        self.settle(name).await?;
        Ok(existed)
    }

    /// Brings the bus to what the row of `name` says, and notes that it is so.
    ///
    /// # Errors
    /// What the bus or the table says.
    pub async fn settle(&self, name: &str) -> Result<Settled, Error> {
        for _ in 0..ROUNDS_MAX {
            match self.rows.row(name).await? {
                Some(row) if row.state != NativeState::Leaving => {
                    let rule = self.bus_rule(&row.rule)?;
                    self.bus.put(self.tenant, &rule).await?;
                    if self.rows.mark(&row, NativeState::Active).await? {
                        return Ok(Settled::Put);
                    }
                }
                row => {
                    let bus_name = bus_name(self.tenant, name)?;
                    self.bus.remove(self.tenant, &bus_name).await?;
                    let is_gone = match &row {
                        Some(row) => self.rows.delete(row).await?,
                        // One that was made meanwhile has just lost its rule.
                        None => self.rows.row(name).await?.is_none(),
                    };
                    if is_gone {
                        return Ok(Settled::Removed);
                    }
                }
            }
        }
        Err(Error::new(
            ErrorKind::Overloaded,
            format!("the rule `{name}` is being changed by others again and again"),
        )
        .fix("Repeat the call."))
    }

    /// Brings everything to agree that a crash, a lost answer or a person left apart: rows that are not
    /// carried to their end, rules without rows and rows without rules.
    ///
    /// # Errors
    /// What the bus or the table says when it is asked what there is. What fails for one rule does not keep
    /// the others from being repaired.
    pub async fn repair(&self) -> Result<Repaired, Error> {
        let prefix = bus_name_prefix(self.tenant);
        // The bus first: what stands there and has no row afterwards has lost it.
        let listed = self.bus.list(self.tenant).await?;
        let on_bus: BTreeMap<&str, &ListedRule> = listed
            .iter()
            .filter_map(|rule| Some((rule.name.strip_prefix(&prefix)?, rule)))
            .collect();
        let rows = self.rows.rows().await?;
        let agreed: BTreeSet<&str> = rows
            .iter()
            .filter(|row| self.agrees(row, on_bus.get(row.rule.name.as_str()).copied()))
            .map(|row| row.rule.name.as_str())
            .collect();
        let asked_for = rows.iter().map(|row| row.rule.name.as_str());
        let all: BTreeSet<&str> = asked_for.chain(on_bus.keys().copied()).collect();
        let mut repaired = Repaired::default();
        for name in all.difference(&agreed) {
            match self.settle(name).await {
                Ok(Settled::Put) => repaired.put += 1,
                Ok(Settled::Removed) => repaired.removed += 1,
                Err(error) => {
                    repaired.failed += 1;
                    tracing::warn!(?error, "a native rule could not be repaired");
                }
            }
        }
        Ok(repaired)
    }

    /// Whether a row has been carried to its end and the bus has what it asks for.
    fn agrees(&self, row: &NativeRow, listed: Option<&ListedRule>) -> bool {
        let (NativeState::Active, Some(listed)) = (row.state, listed) else {
            return false;
        };
        self.bus_rule(&row.rule).is_ok_and(|rule| {
            rule.enabled == listed.enabled && is_same_json(&rule.pattern, &listed.pattern)
        })
    }
}

fn is_same_json(left: &str, right: &str) -> bool {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    left == right || value(left).is_some_and(|left| value(right) == Some(left))
}

#[cfg(test)]
mod tests;
