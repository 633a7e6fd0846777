//! Tests of rosters over a table that keeps rows, conditions and turns, and nothing else.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::join_all;

use super::*;
use crate::mesh::store::Reply;
use crate::mesh::store::key::Partition;
use crate::mesh::store::table::{Addition, Page, Range, Replaced};
use crate::mesh::tenant::TenantId;

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Rows in memory; each request gives way to others first, so that calls at once meet.
#[derive(Default)]
struct Rows {
    rows: Mutex<HashMap<RowKey, Row>>,
    requests: AtomicUsize,
}

impl Rows {
    fn put_thing(&self, name: &str) {
        let key = keys().rule(name);
        self.rows.lock().unwrap().insert(key, Row::new());
    }
}

fn unused<T: Send + 'static>() -> Reply<'static, T> {
    async { Err(Error::internal("a roster does not use this")) }.boxed()
}

impl Table for Rows {
    fn get<'a>(&'a self, key: &'a RowKey, consistent: bool) -> Reply<'a, Metered<Option<Row>>> {
        assert!(consistent, "a stale roster admits too many");
        async move {
            self.requests.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            let value = self.rows.lock().unwrap().get(key).cloned();
            Ok(Metered { value, units: 1.0 })
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
            tokio::task::yield_now().await;
            let mut rows = self.rows.lock().unwrap();
            let held = rows.get(key).cloned();
            let holds = match &condition {
                Condition::Always => true,
                Condition::Absent { .. } => held.is_none(),
                Condition::Version { version, .. } => {
                    held.as_ref().and_then(Row::version) == Some(version)
                }
            };
            let value = match holds {
                true => {
                    rows.insert(key.clone(), row);
                    let replaced = Replaced::Known(held);
                    WriteOutcome::Done { replaced }
                }
                false => WriteOutcome::ConditionFailed { current: held },
            };
            Ok(Metered { value, units: 1.0 })
        }
        .boxed()
    }

    fn delete<'a>(&'a self, _: &'a RowKey, _: Condition) -> Reply<'a, Metered<WriteOutcome>> {
        unused()
    }

    fn query<'a>(&'a self, _: &'a Partition, _: &'a Range) -> Reply<'a, Metered<Page>> {
        unused()
    }

    fn add<'a>(&'a self, _: &'a RowKey, _: &'a [Addition]) -> Reply<'a, Metered<bool>> {
        unused()
    }

    fn put_all<'a>(&'a self, _: &'a [(RowKey, Row)]) -> Reply<'a, Metered<Vec<usize>>> {
        unused()
    }

    fn check(&self) -> Reply<'_, ()> {
        unused()
    }
}

fn keys() -> Keyspace {
    let tenant: TenantId = "acme".parse().unwrap();
    Keyspace::of(&tenant)
}

fn roster(rows: &Arc<Rows>, allowed: u32) -> Roster {
    let table: Arc<dyn Table> = Arc::clone(rows) as _;
    Roster::new(table, keys(), RosterOf::Rules, allowed.into())
}

/// An id that was made `seconds` before [`START`].
fn id(seconds: u64) -> Ulid {
    let millis = START.as_millis().unsigned_abs() - seconds * 1000;
    Ulid::from_parts(millis, Ulid::generate().random())
}

async fn enter(roster: &Roster, name: &str, id: Ulid) -> Result<(), ErrorKind> {
    let entered = roster
        .enter(name, id, START, &mut RosterUnits::default())
        .await;
    entered.map_err(|error| error.kind())
}

async fn leave(roster: &Roster, name: &str, id: Ulid) {
    let mut units = RosterUnits::default();
    let left = roster.leave(name, id, START, &mut units);
    left.await.unwrap();
}

#[tokio::test]
async fn a_roster_takes_as_many_names_as_the_quota_and_not_one_more() {
    let rows = Arc::new(Rows::default());
    let roster = roster(&rows, 2);
    let first = id(0);
    assert_eq!(enter(&roster, "a", first).await, Ok(()));
    assert_eq!(enter(&roster, "b", id(0)).await, Ok(()));
    assert_eq!(
        enter(&roster, "c", id(0)).await,
        Err(ErrorKind::QuotaExceeded)
    );
    let again = id(0);
    assert_eq!(enter(&roster, "a", again).await, Ok(()), "it has its place");
    leave(&roster, "a", first).await;
    assert_eq!(
        enter(&roster, "c", id(0)).await,
        Err(ErrorKind::QuotaExceeded),
        "the place is another one's by now"
    );
    leave(&roster, "a", again).await;
    leave(&roster, "a", again).await;
    assert_eq!(enter(&roster, "c", id(0)).await, Ok(()));
    assert_eq!(
        enter(&self::roster(&rows, 0), "d", id(0)).await,
        Err(ErrorKind::QuotaExceeded)
    );
}

#[tokio::test]
async fn what_a_crash_has_left_gives_its_place_back_and_what_is_there_or_under_way_does_not() {
    let rows = Arc::new(Rows::default());
    let roster = roster(&rows, 4);
    rows.put_thing("old");
    for (name, seconds) in [("old", 900), ("left", 900), ("now", 100), ("edge", 180)] {
        enter(&roster, name, id(seconds)).await.unwrap();
    }
    let before = rows.requests.load(Ordering::Relaxed);
    assert_eq!(enter(&roster, "x", id(0)).await, Ok(()));
    let looks = rows.requests.load(Ordering::Relaxed) - before;
    assert!(looks <= 5, "one look at each old name: {looks}");
    assert_eq!(
        enter(&roster, "y", id(0)).await,
        Err(ErrorKind::QuotaExceeded),
        "only one of them was left behind"
    );
    let names = rows.rows.lock().unwrap()[&keys().quota("RULES")]
        .text(NAMES)
        .unwrap()
        .split_terminator(' ')
        .map(|entry| entry.split(':').next().unwrap().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(names, ["old", "now", "edge", "x"]);
}

#[tokio::test]
async fn those_who_come_at_once_get_no_more_places_than_there_are() {
    let rows = Arc::new(Rows::default());
    let rosters: Vec<_> = (0..30).map(|_| roster(&rows, 7)).collect();
    let names: Vec<_> = (0..30).map(|number| format!("n{number}")).collect();
    let entering = rosters
        .iter()
        .zip(&names)
        .map(|(roster, name)| enter(roster, name, id(0)));
    let entered = join_all(entering).await;
    let taken = entered.iter().filter(|entered| entered.is_ok()).count();
    assert_eq!(taken, 7, "{entered:?}");
    assert!(
        entered
            .iter()
            .all(|entered| matches!(entered, Ok(()) | Err(ErrorKind::QuotaExceeded))),
        "{entered:?}"
    );
}

#[tokio::test]
async fn a_roster_has_an_end_whatever_the_quota() {
    let rows = Arc::new(Rows::default());
    let roster = roster(&rows, u32::MAX);
    let names: String = (0..NAMES_MAX)
        .map(|number| format!("{number:064}:{} ", id(0)))
        .collect();
    assert!(names.len() < 350 << 10, "{} bytes fit a row", names.len());
    let row = Row::new()
        .with_text(VERSION_ATTRIBUTE, "1")
        .with_text(NAMES, names);
    let key = keys().quota("RULES");
    rows.rows.lock().unwrap().insert(key, row);
    assert_eq!(
        enter(&roster, "one-more", id(0)).await,
        Err(ErrorKind::QuotaExceeded)
    );
}
