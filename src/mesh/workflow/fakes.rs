//! Stand-ins for table and Step Functions that keep what they are given and fail as they are told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;

use crate::mesh::store::key::{Partition, RowKey};
use crate::mesh::store::states::{
    Execution, ExecutionEvent, ExecutionStatus, NewExecution, Started, States,
};
use crate::mesh::store::table::{
    Addition, Attribute, Condition, Page, Range, Replaced, Row, Table, WriteOutcome,
};
use crate::mesh::store::{Metered, Reply};
use crate::mesh::tenant::{Limits, TenantDirectory, TenantId, TenantRecord, TenantStatus};
use crate::mesh::{Clock, Error, ErrorKind, ManualClock, Timestamp};

/// A table in memory, with conditions and additions as DynamoDB has them.
#[derive(Default)]
pub(super) struct MemoryTable {
    pub(super) rows: Mutex<BTreeMap<(String, String), Row>>,
    /// How many more writes succeed before every further one fails; nothing for all.
    pub(super) writes_left: Mutex<Option<u64>>,
    pub(super) queries: AtomicUsize,
}

fn metered<T>(value: T) -> Metered<T> {
    Metered { value, units: 1.0 }
}

fn holds(condition: &Condition, current: Option<&Row>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent { now } => current.is_none_or(|row| row.is_expired(*now)),
        Condition::Version { version, now } => {
            current.is_some_and(|row| row.version() == Some(version) && !row.is_expired(*now))
        }
    }
}

impl MemoryTable {
    /// Whether this write is made, or the process is as good as dead.
    async fn begin(&self) -> Result<(), Error> {
        tokio::task::yield_now().await;
        match self.writes_left.lock().unwrap().as_mut() {
            None => Ok(()),
            Some(0) => Err(Error::new(ErrorKind::AwsUnavailable, "the table is down")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// From now on only `count` writes succeed.
    pub(super) fn die_after(&self, count: u64) {
        *self.writes_left.lock().unwrap() = Some(count);
    }

    /// Everything succeeds again.
    pub(super) fn revive(&self) {
        *self.writes_left.lock().unwrap() = None;
    }

    /// The row of a key's parts.
    pub(super) fn row(&self, key: &RowKey) -> Option<Row> {
        let key = (key.partition().to_owned(), key.sort().to_owned());
        self.rows.lock().unwrap().get(&key).cloned()
    }

    /// The sort keys of a partition that begin with `prefix`.
    pub(super) fn sorts(&self, partition: &Partition, prefix: &str) -> Vec<String> {
        let rows = self.rows.lock().unwrap();
        let found = rows
            .keys()
            .filter(|(own, sort)| own == partition.key() && sort.starts_with(prefix));
        found.map(|(_, sort)| sort.clone()).collect()
    }
}

impl Table for MemoryTable {
    fn get<'a>(&'a self, key: &'a RowKey, _consistent: bool) -> Reply<'a, Metered<Option<Row>>> {
        async move {
            tokio::task::yield_now().await;
            Ok(metered(self.row(key)))
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a RowKey,
        row: Row,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>> {
        async move {
            self.begin().await?;
            let key = (key.partition().to_owned(), key.sort().to_owned());
            let mut rows = self.rows.lock().unwrap();
            let current = rows.get(&key).cloned();
            if !holds(&condition, current.as_ref()) {
                return Ok(metered(WriteOutcome::ConditionFailed { current }));
            }
            rows.insert(key, row);
            let replaced = Replaced::Known(current);
            Ok(metered(WriteOutcome::Done { replaced }))
        }
        .boxed()
    }

    fn delete<'a>(
        &'a self,
        key: &'a RowKey,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>> {
        async move {
            self.begin().await?;
            let key = (key.partition().to_owned(), key.sort().to_owned());
            let mut rows = self.rows.lock().unwrap();
            let current = rows.get(&key).cloned();
            if current.is_some() && !holds(&condition, current.as_ref()) {
                return Ok(metered(WriteOutcome::ConditionFailed { current }));
            }
            rows.remove(&key);
            let replaced = Replaced::Known(current);
            Ok(metered(WriteOutcome::Done { replaced }))
        }
        .boxed()
    }

    fn query<'a>(&'a self, partition: &'a Partition, range: &'a Range) -> Reply<'a, Metered<Page>> {
        async move {
            tokio::task::yield_now().await;
            self.queries.fetch_add(1, Ordering::SeqCst);
            let mut sorts = self.sorts(partition, &range.prefix);
            if range.descending {
                sorts.reverse();
            }
            let is_after = |sort: &String, after: &String| match range.descending {
                true => sort < after,
                false => sort > after,
            };
            sorts.retain(|sort| {
                range
                    .after
                    .as_ref()
                    .is_none_or(|after| is_after(sort, after))
                    && range.from.as_ref().is_none_or(|from| sort >= from)
                    && range.to.as_ref().is_none_or(|to| sort <= to)
            });
            let has_more = sorts.len() > range.limit as usize;
            sorts.truncate(range.limit as usize);
            let rows = self.rows.lock().unwrap();
            let next = sorts.last().filter(|_| has_more).cloned();
            let found = sorts.into_iter().map(|sort| {
                let row = rows[&(partition.key().to_owned(), sort.clone())].clone();
                (sort, row)
            });
            Ok(metered(Page {
                rows: found.collect(),
                next,
            }))
        }
        .boxed()
    }

    fn add<'a>(&'a self, key: &'a RowKey, additions: &'a [Addition]) -> Reply<'a, Metered<bool>> {
        async move {
            self.begin().await?;
            let key = (key.partition().to_owned(), key.sort().to_owned());
            let mut rows = self.rows.lock().unwrap();
            let mut row = rows.get(&key).cloned().unwrap_or_default();
            for each in additions {
                let sum = row.number(each.name).unwrap_or(0) + each.delta;
                if each.delta > 0 && sum > each.ceiling {
                    return Ok(metered(false));
                }
                row = row.with(each.name, Attribute::Number(sum));
            }
            rows.insert(key, row);
            Ok(metered(true))
        }
        .boxed()
    }

    fn put_all<'a>(&'a self, _rows: &'a [(RowKey, Row)]) -> Reply<'a, Metered<Vec<usize>>> {
        unreachable!("runs are written one at a time")
    }

    fn check(&self) -> Reply<'_, ()> {
        async { Ok(()) }.boxed()
    }
}

/// Executions that end when a test says so.
pub(super) struct ScriptedStates {
    pub(super) clock: Arc<ManualClock>,
    pub(super) executions: Mutex<BTreeMap<String, (NewExecution, Execution)>>,
    /// What the next starts fail with, and whether the execution is started all the same.
    pub(super) start_faults: Mutex<VecDeque<(ErrorKind, bool)>>,
    /// How often an execution came to be.
    pub(super) starts: AtomicUsize,
    /// How often it was asked how an execution is.
    pub(super) describes: AtomicUsize,
}

impl ScriptedStates {
    pub(super) fn new(clock: &Arc<ManualClock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            executions: Mutex::default(),
            start_faults: Mutex::default(),
            starts: AtomicUsize::new(0),
            describes: AtomicUsize::new(0),
        }
    }

    /// Ends the execution of that ARN.
    pub(super) fn end(&self, execution: &str, status: ExecutionStatus, error: Option<&str>) {
        let mut executions = self.executions.lock().unwrap();
        let found = &mut executions.get_mut(execution).unwrap().1;
        found.status = status;
        found.stopped_at = Some(self.clock.now());
        found.output = (status == ExecutionStatus::Succeeded).then(|| "{}".to_owned());
        found.error = error.map(str::to_owned);
    }

    /// The input that the execution was started with.
    pub(super) fn input(&self, execution: &str) -> String {
        self.executions.lock().unwrap()[execution].0.input.clone()
    }
}

impl States for ScriptedStates {
    fn start<'a>(
        &'a self,
        _tenant: &'a TenantId,
        execution: &'a NewExecution,
    ) -> Reply<'a, Started> {
        async move {
            tokio::task::yield_now().await;
            let arn = self.execution(&execution.machine, &execution.name);
            let fault = self.start_faults.lock().unwrap().pop_front();
            if let Some((kind, false)) = fault {
                return Err(Error::new(kind, "no"));
            }
            let started_at = self.clock.now();
            let mut executions = self.executions.lock().unwrap();
            let known = executions.get(&arn).map(|(_, known)| known.clone());
            if known.is_none() {
                self.starts.fetch_add(1, Ordering::SeqCst);
                let fresh = Execution {
                    status: ExecutionStatus::Running,
                    started_at,
                    stopped_at: None,
                    output: None,
                    error: None,
                    cause: None,
                };
                executions.insert(arn.clone(), (execution.clone(), fresh));
            }
            if let Some((kind, true)) = fault {
                return Err(Error::new(kind, "the answer was lost"));
            }
            Ok(match known {
                Some(known) if known.status.has_ended() => {
                    Started::AlreadyExists { execution: arn }
                }
                Some(known) => Started::Running {
                    execution: arn,
                    started_at: known.started_at,
                },
                None => Started::Running {
                    execution: arn,
                    started_at,
                },
            })
        }
        .boxed()
    }

    fn describe<'a>(
        &'a self,
        _tenant: &'a TenantId,
        execution: &'a str,
    ) -> Reply<'a, Option<Execution>> {
        async move {
            tokio::task::yield_now().await;
            self.describes.fetch_add(1, Ordering::SeqCst);
            let executions = self.executions.lock().unwrap();
            Ok(executions.get(execution).map(|(_, known)| known.clone()))
        }
        .boxed()
    }

    fn stop<'a>(
        &'a self,
        _tenant: &'a TenantId,
        execution: &'a str,
        _reason: Option<&'a str>,
    ) -> Reply<'a, bool> {
        async move {
            let is_there = self.executions.lock().unwrap().contains_key(execution);
            if is_there {
                self.end(execution, ExecutionStatus::Aborted, None);
            }
            Ok(is_there)
        }
        .boxed()
    }

    fn history<'a>(
        &'a self,
        _tenant: &'a TenantId,
        _execution: &'a str,
        _limit: u32,
    ) -> Reply<'a, Vec<ExecutionEvent>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn execution(&self, machine: &str, name: &str) -> String {
        format!("{machine}:{name}")
    }

    fn check<'a>(&'a self, _machine: &'a str) -> Reply<'a, ()> {
        async { Ok(()) }.boxed()
    }
}

/// Every tenant is known and may have so many workflows running.
pub(super) struct Allowing(pub(super) u32);

impl TenantDirectory for Allowing {
    fn find(&self, tenant: &TenantId) -> Option<Arc<TenantRecord>> {
        Some(Arc::new(TenantRecord {
            id: tenant.clone(),
            status: TenantStatus::Active,
            issuers: Vec::new(),
            event_shards: 1,
            limits: Arc::new(Limits {
                workflows_running: self.0,
                ..Limits::default()
            }),
            workflows: Default::default(),
            alert_topics: Default::default(),
        }))
    }
}

/// A clock at a moment of 2026.
pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)))
}
