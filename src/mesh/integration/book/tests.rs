//! Reading the book at once: one read for a tenant, and none that another tenant's changes make void.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use secrecy::SecretString;
use tokio::sync::broadcast;

use super::*;
use crate::mesh::ManualClock;
use crate::mesh::Timestamp;
use crate::mesh::integration::ServiceId;
use crate::mesh::integration::news::ConnectionChanged;
use crate::mesh::store::key::{Partition, SecretKey, SecretPrefix};
use crate::mesh::store::secrets::SecretNames;
use crate::mesh::store::table::{Addition, Page, WriteOutcome};
use crate::mesh::store::{Metered, Reply};
use crate::mesh::upstream::ConnectionKey;
use crate::mesh::upstream::{ConnectionPlan, ConnectionState, ConnectionTarget, Upstream};

/// Without rows; a query waits until it is let go.
struct HeldTable {
    gate: Semaphore,
    /// The queries that were made, by their partitions.
    asked: Mutex<Vec<String>>,
    now: AtomicUsize,
}

/// What the book does not use here.
struct Unused;

fn unused<T: Send + 'static>() -> Reply<'static, T> {
    async { Err(Error::internal("not used")) }.boxed()
}

impl Table for HeldTable {
    fn get<'a>(&'a self, _: &'a RowKey, _: bool) -> Reply<'a, Metered<Option<Row>>> {
        async {
            let value = Some(Row::new().with_text(VERSION_ATTRIBUTE, "1"));
            Ok(Metered { value, units: 1.0 })
        }
        .boxed()
    }

    fn put<'a>(&'a self, _: &'a RowKey, _: Row, _: Condition) -> Reply<'a, Metered<WriteOutcome>> {
        unused()
    }

    fn delete<'a>(&'a self, _: &'a RowKey, _: Condition) -> Reply<'a, Metered<WriteOutcome>> {
        unused()
    }

    fn query<'a>(&'a self, partition: &'a Partition, _: &'a Range) -> Reply<'a, Metered<Page>> {
        async {
            self.asked.lock().unwrap().push(partition.key().to_owned());
            self.now.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            let value = Page {
                rows: Vec::new(),
                next: None,
            };
            Ok(Metered { value, units: 1.0 })
        }
        .boxed()
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

impl SecretStore for Unused {
    fn get<'a>(&'a self, _: &'a SecretKey) -> Reply<'a, Option<SecretString>> {
        unused()
    }

    fn put<'a>(&'a self, _: &'a SecretKey, _: &'a SecretString) -> Reply<'a, ()> {
        unused()
    }

    fn delete<'a>(&'a self, _: &'a SecretKey) -> Reply<'a, bool> {
        unused()
    }

    fn list<'a>(&'a self, _: &'a SecretPrefix, _: Option<&'a str>) -> Reply<'a, SecretNames> {
        unused()
    }
}

impl Upstreams for Unused {
    fn connect(&self, _: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>> {
        unused()
    }

    fn try_out(&self, _: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>> {
        unused()
    }

    fn take_over(&self, _: &ConnectionKey, _: &str) {}

    fn retire<'a>(&'a self, _: &'a ConnectionKey, _: &'a str) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn open(&self, _: &ConnectionKey, _: &str) -> Option<Arc<dyn Upstream>> {
        None
    }

    fn disconnect<'a>(&'a self, _: &'a ConnectionKey) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn forget<'a>(&'a self, _: &'a TenantId, _: &'a ServiceId) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn states(&self, _: Option<&TenantId>) -> Vec<ConnectionState> {
        Vec::new()
    }

    fn watch(&self, _: &TenantId) -> broadcast::Receiver<ConnectionChanged> {
        broadcast::channel(1).1
    }

    fn check(&self, _: &ConnectionTarget) -> Result<(), Error> {
        Ok(())
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

fn book() -> (IntegrationBook, Arc<HeldTable>) {
    let table = Arc::new(HeldTable {
        gate: Semaphore::new(0),
        asked: Mutex::default(),
        now: AtomicUsize::new(0),
    });
    let book = IntegrationBook::new(BookParts {
        table: Arc::clone(&table) as _,
        secrets: Arc::new(Unused),
        upstreams: Arc::new(Unused),
        clock: Arc::new(ManualClock::at(Timestamp::from_seconds(1_700_000_000))),
    });
    (book, table)
}

async fn asked(table: &HeldTable, count: usize) {
    let reached = async {
        while table.now.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(60), reached);
    reached.await.expect("it is asked for");
}

fn see(
    book: &IntegrationBook,
    tenant: &str,
    user: &str,
) -> impl Future<Output = Seen> + Send + 'static {
    let (book, tenant, user) = (book.clone(), tenant.parse().unwrap(), user.parse().unwrap());
    async move { book.view(&tenant, &user).await.unwrap() }
}

#[tokio::test]
async fn all_users_of_a_tenant_wait_for_one_read_and_nobody_else_does() {
    let (book, table) = book();
    let users =
        (0..2 * LOADS_MAX).map(|number| tokio::spawn(see(&book, "acme", &format!("u{number}"))));
    let users: Vec<_> = users.collect();
    asked(&table, 1).await;
    // Those who wait take up nothing that another tenant needs.
    let other = tokio::spawn(see(&book, "umbra", "ada"));
    asked(&table, 2).await;
    table.gate.add_permits(1000);
    other.await.unwrap();
    for user in join_all(users).await {
        user.unwrap();
    }
    let asked = table.asked.lock().unwrap();
    let of = |tenant: &str| asked.iter().filter(|key| key.contains(tenant)).count();
    assert_eq!((of("acme"), of("umbra")), (1, 1), "{asked:?}");
}

#[tokio::test]
async fn what_one_tenant_changes_makes_no_read_of_another_void() {
    for (changed, is_void) in [("umbra", false), ("acme", true)] {
        let (book, table) = book();
        let reading = tokio::spawn(see(&book, "acme", "ada"));
        asked(&table, 1).await;
        let tenant = changed.parse().unwrap();
        book.roll_changed(&tenant);
        book.connections_changed(&tenant, &"ada".parse().unwrap());
        table.gate.add_permits(1000);
        reading.await.unwrap();
        let again = see(&book, "acme", "ada").await;
        assert_eq!(again.units > 0.0, is_void, "{changed}");
    }
}
