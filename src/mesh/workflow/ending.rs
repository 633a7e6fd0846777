//! The end of a run becomes an event exactly once, whoever sees it first and whoever dies meanwhile.
//!
//! The row is written as ended under the condition that nobody has done so, and with the time of this
//! claim; who wrote it commits the event to the outbox and then removes the mark. A mark whose row has
//! ended is therefore a claim whose owner died or is late. After a lease it is taken over by the same kind
//! of write. The event of a run has the same id each time it is made, and is not made again once the
//! history has it.

use std::time::Duration;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::book::{KEPT_DAYS_MIN, RunBook};
use super::meter::Meter;
use super::quota::RunQuota;
use super::row::Kept;
use super::run::{Run, RunState};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::{Event, Outcome, Priority, Weight};
use crate::mesh::store::key::Keyspace;
use crate::mesh::store::states::{Execution, ExecutionStatus};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, Timestamp};

/// The error of a run whose execution never came to be.
pub const NOT_STARTED: &str = "Mesh.NotStarted";

/// The error of a run whose execution is no longer known.
pub const LOST: &str = "Mesh.Lost";

/// The most characters that are kept of the name of an error.
const ERROR_CHARS_MAX: usize = 256;

const DAY: Duration = Duration::from_hours(24);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mesh) struct End {
    /// As which.
    status: ExecutionStatus,
    /// When.
    stopped_at: Timestamp,
    /// The name of the error.
    error: Option<String>,
}

/// What became of recording an end.
#[derive(Clone, Debug)]
pub(in crate::mesh) struct Ended {
    /// The run as it now is.
    pub(in crate::mesh) run: Run,
    /// Whether its end is recorded, by this very call. Else somebody else has changed its row.
    pub(super) recorded: bool,
}

impl End {
    /// How `execution` ended; nothing while it runs.
    pub(in crate::mesh) fn of(execution: &Execution, now: Timestamp) -> Option<Self> {
        execution.status.has_ended().then(|| Self {
            status: execution.status,
            stopped_at: execution.stopped_at.unwrap_or(now),
            error: execution.error.as_deref().map(shortened),
        })
    }

    /// The run as it is once this is recorded.
    pub(in crate::mesh) fn applied_to(self, run: &Run) -> Run {
        Run {
            state: RunState::Known(self.status),
            stopped_at: Some(self.stopped_at),
            error: self.error,
            ..run.clone()
        }
    }

    /// A run that has no execution.
    pub(in crate::mesh) fn without_execution(kept: &Kept, now: Timestamp) -> Self {
        let error = match kept.run.state {
            RunState::Starting => NOT_STARTED,
            RunState::Known(_) => LOST,
        };
        Self {
            status: ExecutionStatus::Failed,
            stopped_at: now,
            error: Some(error.to_owned()),
        }
    }
}

impl RunBook {
    /// Records that a run has ended, unless somebody has; answers the run as it then is.
    ///
    /// # Errors
    /// The table's, and `OVERLOADED` where the outbox has no room: it is then recorded later.
    pub(in crate::mesh) async fn end(
        &self,
        tenant: &TenantId,
        kept: &Kept,
        end: End,
        meter: &mut Meter,
    ) -> Result<Ended, Error> {
        let parts = self.parts();
        let by_others = |run: Run| Ended {
            run,
            recorded: false,
        };
        if kept.run.state.has_ended() {
            return Ok(by_others(kept.run.clone()));
        }
        // A run that has ended makes way for what rules want to start, whose events fill the outbox meanwhile.
        let slot = parts.outbox.reserve(tenant, Weight::Relief)?;
        let now = parts.clock.now();
        let mut ended = kept.next();
        ended.run = end.applied_to(&kept.run);
        ended.claimed_at = Some(now);
        ended.expires_at = Some(now.plus(DAY * KEPT_DAYS_MIN.max(parts.retention_days)));
        let rows = self.rows(tenant);
        match rows.replace(kept, &ended, meter).await? {
            Ok(()) => {}
            Err(Some(current)) => return Ok(by_others(current.run)),
            Err(None) => return Ok(by_others(ended.run)),
        }
        slot.commit(&[event(tenant, &ended.run)])?;
        RunQuota::new(&parts.table, rows.keys(), 0)
            .give_back(meter)
            .await?;
        rows.unmark(kept.run.run_id, None, meter).await?;
        Ok(Ended {
            run: ended.run,
            recorded: true,
        })
    }

    /// Completes what somebody else has claimed and not completed within a lease. The quota is left as it
    /// is, since it may have been given back: the next count corrects it. `false` where it is too early.
    ///
    /// # Errors
    /// As [`RunBook::end`].
    pub(super) async fn complete(
        &self,
        tenant: &TenantId,
        kept: &Kept,
        meter: &mut Meter,
    ) -> Result<bool, Error> {
        let parts = self.parts();
        let now = parts.clock.now();
        let claimed_at = kept.claimed_at.unwrap_or(now);
        if claimed_at <= now && now.since(claimed_at) < parts.pace.lease {
            return Ok(false);
        }
        let slot = parts.outbox.reserve(tenant, Weight::Relief)?;
        let mut claimed = kept.next();
        claimed.claimed_at = Some(now);
        let rows = self.rows(tenant);
        if rows.replace(kept, &claimed, meter).await?.is_err() {
            return Ok(false);
        }
        let event = event(tenant, &claimed.run);
        if !self.is_recorded(tenant, &event, meter).await? {
            slot.commit(&[event])?;
        }
        rows.unmark(kept.run.run_id, None, meter).await?;
        Ok(true)
    }

    /// Whether the history has the event.
    async fn is_recorded(
        &self,
        tenant: &TenantId,
        event: &Event,
        meter: &mut Meter,
    ) -> Result<bool, Error> {
        let record = self.parts().tenants.find(tenant);
        let shards = record.map_or(1, |record| record.event_shards.max(1));
        let (keys, name) = (Keyspace::of(tenant), event.event_id.to_string());
        for shard in 0..shards {
            let key = keys.event(event.time, shard, &name);
            let found = self.parts().table.get(&key, true).await?;
            meter.read(found.units);
            if found.value.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn shortened(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}

/// The event of a run's end: the same each time, since everything in it is in the run's row.
fn event(tenant: &TenantId, run: &Run) -> Event {
    let status = match run.state {
        RunState::Known(status) => status,
        RunState::Starting => ExecutionStatus::Failed,
    };
    let stopped_at = run.stopped_at.unwrap_or(run.started_at);
    Event {
        event_id: event_id(tenant, run.run_id, stopped_at),
        time: stopped_at,
        detail_type: end_detail_type(status).into(),
        tenant_id: tenant.clone(),
        user_id: run.user.clone(),
        org_id: None,
        tool: Tool::WorkflowStart.name().into(),
        outcome: match status {
            ExecutionStatus::Running | ExecutionStatus::Succeeded => Outcome::Ok,
            _ => Outcome::Error,
        },
        error_code: None,
        count: None,
        request_id: run.run_id,
        trace_id: None,
        duration_ms: stopped_at.since(run.started_at).as_secs_f64() * 1e3,
        bytes: None,
        source: None,
        priority: Priority::Medium,
        tags: None,
        cause: run.cause,
        depth: run.depth,
        data: data(run),
    }
}

/// Whether events of that type are ends of runs.
pub(in crate::mesh) fn is_end(detail_type: &str) -> bool {
    ExecutionStatus::ALL
        .into_iter()
        .filter(|status| status.has_ended())
        .any(|status| end_detail_type(status) == detail_type)
}

/// What the event of a run's end is called.
const fn end_detail_type(status: ExecutionStatus) -> &'static str {
    match status {
        // A run that goes on has no end to be recorded.
        ExecutionStatus::Running | ExecutionStatus::Succeeded => "Workflow.Succeeded",
        ExecutionStatus::Failed => "Workflow.Failed",
        ExecutionStatus::TimedOut => "Workflow.TimedOut",
        ExecutionStatus::Aborted => "Workflow.Aborted",
    }
}

/// Names and keys of the run; never what went in or came out.
fn data(run: &Run) -> Box<RawValue> {
    let mut data = serde_json::Map::new();
    data.insert("run_id".to_owned(), run.run_id.to_string().into());
    data.insert("name".to_owned(), run.workflow.as_str().into());
    if let Some(rule) = &run.rule {
        data.insert("rule".to_owned(), rule.as_str().into());
    }
    if let Some(error) = &run.error {
        data.insert("error".to_owned(), error.as_str().into());
    }
    serde_json::value::to_raw_value(&data).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The id of the event of a run's end: its time is that of the end, the rest is of the run alone.
pub(super) fn event_id(tenant: &TenantId, run_id: Ulid, stopped_at: Timestamp) -> Ulid {
    let mut hash = Sha256::new();
    hash.update(tenant.as_str());
    hash.update(b"#end#");
    hash.update(run_id.0.to_be_bytes());
    let digest = hash.finalize();
    let mut random = [0; 16];
    random[6..].copy_from_slice(&digest[..10]);
    let millis = stopped_at.as_millis().max(0).unsigned_abs();
    Ulid::from_parts(millis, u128::from_be_bytes(random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::event::counters::tally::Tally;
    use crate::mesh::workflow::row::Kept;

    #[test]
    fn the_end_of_a_run_is_counted_as_an_event_and_not_as_a_call_of_a_tool() {
        let kept = Kept::starting(
            &crate::mesh::workflow::fakes::run(),
            "arn".to_owned(),
            Timestamp::from_seconds(1_790_000_000),
        );
        let end = End {
            status: ExecutionStatus::Failed,
            stopped_at: Timestamp::from_seconds(1_790_086_400),
            error: Some("x".repeat(1000)),
        };
        let mut tally = Tally::default();
        let event = event(&"acme".parse().unwrap(), &end.applied_to(&kept.run));
        assert!(is_end(&event.detail_type) && !is_end("Workflow.Started"));
        tally.add(&event);
        assert_eq!((tally.events, tally.tools.len()), (1, 0));
        assert_eq!(tally.types.ranked(), [("Workflow.Failed", 1)]);
    }
}
