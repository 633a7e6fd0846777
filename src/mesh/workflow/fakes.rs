//! Stand-ins for table and Step Functions that keep what they are given and fail as they are told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use tokio::sync::Semaphore;
use ulid::Ulid;

use super::meter::Meter;
use super::row::Kept;
use super::{Launcher as _, NewRun, RunBook, RunBookParts, WatchPace};
use crate::mesh::event::{Outbox, OutboxSettings, Target};
use crate::mesh::store::key::{Keyspace, Partition, RUNNING_PREFIX, RowKey};
use crate::mesh::store::states::{
    Execution, ExecutionEvent, ExecutionStatus, NewExecution, Started, States,
};
use crate::mesh::store::table::{
    Addition, Attribute, Condition, Page, Range, Replaced, Row, Table, WriteOutcome,
};
use crate::mesh::store::{Metered, Reply};
use crate::mesh::tenant::{
    Limits, Permission, PermissionSet, TenantDirectory, TenantId, TenantRecord, TenantStatus,
};
use crate::mesh::{Clock, Error, ErrorKind, ManualClock, Timestamp};

/// A table in memory, with conditions and additions as DynamoDB has them.
#[derive(Default)]
pub(super) struct MemoryTable {
    pub(super) rows: Mutex<BTreeMap<(String, String), Row>>,
    /// How many more writes succeed before every further one fails; nothing for all.
    pub(super) writes_left: Mutex<Option<u64>>,
    /// Where it is there, each write that was made waits for a permit before it answers.
    held: Mutex<Option<Arc<Semaphore>>>,
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

    /// What has been written is answered when a test lets it.
    async fn answer(&self) {
        let held = self.held.lock().unwrap().clone();
        if let Some(held) = held {
            held.acquire().await.unwrap().forget();
        }
    }

    /// From now on each put answers when a permit is added.
    pub(super) fn hold_answers(&self) -> Arc<Semaphore> {
        let held = Arc::new(Semaphore::new(0));
        *self.held.lock().unwrap() = Some(Arc::clone(&held));
        held
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
            let current = {
                let mut rows = self.rows.lock().unwrap();
                let current = rows.get(&key).cloned();
                if !holds(&condition, current.as_ref()) {
                    return Ok(metered(WriteOutcome::ConditionFailed { current }));
                }
                rows.insert(key, row);
                current
            };
            self.answer().await;
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
}

impl ScriptedStates {
    pub(super) fn new(clock: &Arc<ManualClock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            executions: Mutex::default(),
            start_faults: Mutex::default(),
            starts: AtomicUsize::new(0),
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

/// A book of runs over a table and executions in memory.
pub(super) struct Bench {
    pub(super) table: Arc<MemoryTable>,
    pub(super) states: Arc<ScriptedStates>,
    pub(super) book: RunBook,
    pub(super) tenant: TenantId,
    folder: tempfile::TempDir,
}

impl Bench {
    /// One whose tenants may have so many workflows running.
    pub(super) fn new(workflows_running: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let table = Arc::new(MemoryTable::default());
        let states = Arc::new(ScriptedStates::new(&clock));
        let book = book(&folder, &table, &states, workflows_running);
        Self {
            table,
            states,
            book,
            tenant: "acme".parse().unwrap(),
            folder,
        }
    }

    /// Another process over the same table and executions.
    pub(super) fn other(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            table: Arc::clone(&self.table),
            states: Arc::clone(&self.states),
            book: book(&folder, &self.table, &self.states, 100),
            tenant: self.tenant.clone(),
            folder,
        }
    }

    pub(super) async fn launch(&self, run: &NewRun) -> Result<(), Error> {
        self.book.launch(&self.tenant, run.clone()).await
    }

    pub(super) async fn kept(&self, run: &NewRun) -> Option<Kept> {
        let mut meter = Meter::default();
        let rows = self.book.rows(&self.tenant);
        rows.find(run.run_id, &mut meter).await.unwrap()
    }

    pub(super) fn marks(&self) -> usize {
        let runs = Keyspace::of(&self.tenant).runs();
        self.table.sorts(&runs, RUNNING_PREFIX).len()
    }

    /// What the quota's row says.
    pub(super) fn used(&self) -> i64 {
        let row = self
            .table
            .row(&Keyspace::of(&self.tenant).quota("WORKFLOWS"));
        row.and_then(|row| row.number("running")).unwrap_or(0)
    }

    pub(super) fn started(&self) -> usize {
        self.states.starts.load(Ordering::SeqCst)
    }

    /// How many events this process has recorded.
    pub(super) fn events(&self) -> u64 {
        self.book.parts().outbox.stats().records
    }

    /// The text of the outbox, in which the events stand.
    pub(super) fn outbox(&self) -> String {
        fn read(folder: &std::path::Path, text: &mut String) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    read(&path, text);
                } else if path.extension().is_some_and(|extension| extension == "log") {
                    text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
                }
            }
        }
        let mut text = String::new();
        read(self.folder.path(), &mut text);
        text
    }
}

fn book(
    folder: &tempfile::TempDir,
    table: &Arc<MemoryTable>,
    states: &Arc<ScriptedStates>,
    workflows_running: u32,
) -> RunBook {
    let clock = Arc::clone(&states.clock);
    let outbox = Outbox::open(OutboxSettings {
        root: folder.path().to_owned(),
        target: Target {
            backend: "test".to_owned(),
            endpoint: String::new(),
            region: String::new(),
            account: String::new(),
            table: "t".to_owned(),
            bus: "b".to_owned(),
        },
        bytes_max: 1 << 24,
        clock: Arc::clone(&clock) as _,
    })
    .unwrap();
    RunBook::new(RunBookParts {
        table: Arc::clone(table) as _,
        states: Arc::clone(states) as _,
        outbox,
        tenants: Arc::new(Allowing(workflows_running)),
        clock,
        pace: WatchPace::EMBEDDED,
        retention_days: 30,
    })
}

/// A run that a client starts.
pub(super) fn run() -> NewRun {
    NewRun {
        run_id: Ulid::generate(),
        workflow: "refund".to_owned(),
        machine: "arn:refund".to_owned(),
        input: r#"{"order": 1.50}"#.to_owned(),
        user: "ada".parse().unwrap(),
        permissions: PermissionSet::of(&[Permission::KvRead]),
        rule: None,
        cause: None,
        depth: 0,
    }
}
