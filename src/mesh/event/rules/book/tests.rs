//! The rule book: what a copy holds, how long it lasts, and what ends it sooner.

use std::sync::atomic::Ordering;

use ulid::Ulid;

use super::*;
use crate::mesh::event::fakes::FakeTable;
use crate::mesh::event::rule::{Delivery, Trigger};
use crate::mesh::store::table::{Condition, Row};
use crate::mesh::tenant::PermissionSet;
use crate::mesh::{ManualClock, Timestamp};

struct World {
    table: Arc<FakeTable>,
    clock: Arc<ManualClock>,
    book: RuleBook,
}

impl World {
    fn new() -> Self {
        let table = Arc::new(FakeTable::default());
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        let book = RuleBook::new(table.clone(), clock.clone());
        Self { table, clock, book }
    }

    async fn put_rule(&self, owner: &str, name: &str) {
        let key = Keyspace::of(&tenant(owner)).rule(name);
        let put = self.table.put(&key, rule(name).to_row(), Condition::Always);
        put.await.unwrap();
    }

    async fn names(&self, of: &str) -> Vec<String> {
        let rules = self.book.of(&tenant(of)).await.unwrap();
        rules.rules().map(|rule| rule.name.clone()).collect()
    }

    fn queries(&self) -> usize {
        self.table.queries.load(Ordering::SeqCst)
    }
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn rule(name: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        id: Ulid::generate(),
        pattern: r#"{"tool":["kv_set"]}"#.to_owned(),
        description: None,
        enabled: true,
        workflow: None,
        native: false,
        created_at: Timestamp::from_millis(0),
        created_by: "ada".parse().unwrap(),
        permissions: PermissionSet::EMPTY,
    }
}

fn alert(name: &str, rule: &str) -> Alert {
    Alert {
        name: name.to_owned(),
        id: Ulid::generate(),
        trigger: Trigger::Rule(rule.to_owned()),
        delivery: Delivery::Topic {
            name: "ops".to_owned(),
        },
        created_at: Timestamp::from_millis(0),
        created_by: "ada".parse().unwrap(),
    }
}

#[tokio::test]
async fn a_copy_has_the_rules_and_alerts_of_its_tenant_and_of_no_other() {
    let world = World::new();
    world.put_rule("acme", "one").await;
    world.put_rule("acme-2", "two").await;
    world.put_rule("acm", "three").await;
    let key = Keyspace::of(&tenant("acme")).alert("told");
    let row = alert("told", "one").to_row();
    world.table.put(&key, row, Condition::Always).await.unwrap();
    assert_eq!(world.names("acme").await, ["one"]);
    assert_eq!(world.names("nobody").await, [""; 0]);
    let alerts = world.book.of(&tenant("acme")).await.unwrap();
    assert_eq!(alerts.alerts().next().unwrap().name, "told");
    let alerts = world.book.of(&tenant("acm")).await.unwrap();
    assert_eq!(alerts.alerts().count(), 0);
}

#[tokio::test]
async fn a_copy_is_used_for_five_seconds_and_no_longer() {
    let world = World::new();
    assert_eq!(world.names("acme").await, [""; 0]);
    // Another process makes a rule.
    world.put_rule("acme", "late").await;
    world.clock.advance(COPY_AGE_MAX - Duration::from_millis(1));
    assert_eq!((world.names("acme").await.len(), world.queries()), (0, 1));
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.names("acme").await, ["late"]);
    assert_eq!(world.queries(), 2);
}

#[tokio::test]
async fn a_copy_is_to_be_renewed_before_it_is_too_old() {
    let world = World::new();
    let acme = tenant("acme");
    assert!(matches!(world.book.lookup(&acme), Lookup::Stale));
    world.book.of(&acme).await.unwrap();
    assert!(matches!(world.book.lookup(&acme), Lookup::Fresh(_, false)));
    world.clock.advance(RENEWAL_AGE);
    assert!(matches!(world.book.lookup(&acme), Lookup::Fresh(_, true)));
    assert!(matches!(world.book.lookup(&acme), Lookup::Fresh(_, false)));
    world.book.renew(&acme).await.unwrap();
    assert!(matches!(world.book.lookup(&acme), Lookup::Fresh(_, false)));
    world.clock.advance(COPY_AGE_MAX);
    assert!(matches!(world.book.lookup(&acme), Lookup::Stale));
}

#[tokio::test]
async fn a_change_by_this_process_is_in_force_at_once() {
    let world = World::new();
    assert_eq!(world.names("acme").await, [""; 0]);
    world.put_rule("acme", "new").await;
    world.book.changed(&tenant("acme"));
    assert_eq!(world.names("acme").await, ["new"]);
}

#[tokio::test]
async fn a_query_that_began_before_a_change_is_not_kept() {
    let world = World::new();
    *world.table.delay.lock().unwrap() = Duration::from_millis(100);
    let acme = tenant("acme");
    let old = world.book.renew(&acme);
    let change = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.book.changed(&acme);
    };
    futures::join!(async { old.await.unwrap() }, change);
    assert!(matches!(world.book.lookup(&acme), Lookup::Stale));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_and_the_others_are_in_force() {
    let world = World::new();
    let key = Keyspace::of(&tenant("acme")).rule("broken");
    let row = Row::new().with_text("pattern", "{}");
    world.table.put(&key, row, Condition::Always).await.unwrap();
    world.put_rule("acme", "sound").await;
    assert_eq!(world.names("acme").await, ["sound"]);
    let rules = world.book.of(&tenant("acme")).await.unwrap();
    assert_eq!(rules.unreadable(), ["R#broken"]);
}

#[tokio::test]
async fn a_table_that_is_away_is_told_and_leaves_the_copy_in_force() {
    let world = World::new();
    world.put_rule("acme", "kept").await;
    assert_eq!(world.names("acme").await, ["kept"]);
    world.table.is_down.store(true, Ordering::SeqCst);
    assert!(world.book.renew(&tenant("acme")).await.is_err());
    assert_eq!(world.names("acme").await, ["kept"]);
    world.clock.advance(COPY_AGE_MAX);
    assert!(world.book.of(&tenant("acme")).await.is_err());
}

#[tokio::test]
async fn the_book_holds_only_so_many_tenants_and_those_that_are_used_stay() {
    let world = World::new();
    world.put_rule("busy", "kept").await;
    world.names("busy").await;
    for number in 0..TENANTS_MAX * 2 {
        world.names(&format!("t{number}")).await;
        world.names("busy").await;
        let copies = world.book.copies();
        assert!(copies.recent.len() + copies.before.len() <= TENANTS_MAX);
    }
    // Each tenant was read once, the busy one too.
    assert_eq!(world.queries(), TENANTS_MAX * 2 + 1);
}

#[test]
fn the_book_holds_only_so_much_of_large_patterns() {
    let mut copies = Copies::default();
    for number in 0..1000 {
        let mut large = rule("large");
        large.pattern = "x".repeat(1 << 20);
        let rules = TenantRules {
            rules: vec![(large, None)],
            ..TenantRules::default()
        };
        let copy = Copy {
            weight: rules.weight(),
            rules: Arc::new(rules),
            since: Duration::ZERO,
            is_renewed: false,
        };
        copies.put(tenant(&format!("t{number}")), copy);
        let held = copies.recent.values().chain(copies.before.values());
        assert!(held.map(|copy| copy.weight).sum::<usize>() <= WEIGHT_MAX);
    }
}
