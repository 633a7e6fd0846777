//! Rows and bus, cut off at every step and pulled at by several at once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use ulid::Ulid;

use super::*;
use crate::mesh::Timestamp;
use crate::mesh::tenant::PermissionSet;

/// What happens at the step at which a run is cut off.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// It is not done.
    Before,
    /// It is done, and nobody hears of it.
    After,
}

/// A table and a bus in memory that are cut off after so many steps, and let others go first as they please.
struct World {
    tenant: TenantId,
    rows: Mutex<BTreeMap<String, NativeRow>>,
    bus: Mutex<BTreeMap<String, BusRule>>,
    /// How the bus refuses every rule.
    refusal: Option<ErrorKind>,
    steps: AtomicUsize,
    cut: Option<(usize, Cut)>,
    /// Decides who goes first; 0 is nobody.
    chance: Mutex<u64>,
    versions: AtomicUsize,
}

impl World {
    fn new(cut: Option<(usize, Cut)>) -> Self {
        Self {
            tenant: "acme".parse().unwrap(),
            rows: Mutex::default(),
            bus: Mutex::default(),
            refusal: None,
            steps: AtomicUsize::new(0),
            cut,
            chance: Mutex::new(0),
            versions: AtomicUsize::new(0),
        }
    }

    /// The world as the next process finds it, with nobody to cut it off.
    fn afterwards(self) -> Self {
        Self {
            cut: None,
            refusal: None,
            ..self
        }
    }

    fn native(&self) -> NativeRules<'_> {
        NativeRules {
            tenant: &self.tenant,
            bus: self,
            rows: self,
            machines: self,
        }
    }

    /// Does a step, or is cut off at it.
    async fn step<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        for _ in 0..self.patience() {
            tokio::task::yield_now().await;
        }
        let number = self.steps.fetch_add(1, Ordering::SeqCst);
        let lost = || Err(Error::new(ErrorKind::AwsUnavailable, "cut off"));
        match self.cut {
            Some((at, Cut::Before)) if number >= at => lost(),
            Some((at, Cut::After)) if number > at => lost(),
            Some((at, Cut::After)) if number == at => {
                work();
                lost()
            }
            _ => Ok(work()),
        }
    }

    fn patience(&self) -> u64 {
        let mut chance = self.chance.lock().unwrap();
        if *chance == 0 {
            return 0;
        }
        *chance ^= *chance << 13;
        *chance ^= *chance >> 7;
        *chance ^= *chance << 17;
        *chance % 4
    }

    /// What the service does before it hands on: the row is written as pending.
    async fn write(&self, rule: &Rule) -> Result<(), Error> {
        self.step(|| {
            let row = NativeRow {
                rule: rule.clone(),
                state: NativeState::Pending,
                version: self.version(),
            };
            self.rows.lock().unwrap().insert(rule.name.clone(), row);
        })
        .await
    }

    fn version(&self) -> String {
        self.versions.fetch_add(1, Ordering::SeqCst).to_string()
    }

    async fn make(&self, rule: &Rule, is_new: bool) -> Result<(), Error> {
        self.write(rule).await?;
        self.native().create(&rule.name, is_new).await
    }

    /// That rows and bus say the same, and nothing is under way.
    fn assert_agreed(&self, why: &str) {
        let rows = self.rows.lock().unwrap();
        let bus = self.bus.lock().unwrap();
        let asked: BTreeMap<String, BusRule> = rows
            .values()
            .map(|row| {
                assert_eq!(row.state, NativeState::Active, "{why}: {row:?}");
                let rule = self.native().bus_rule(&row.rule).unwrap();
                (rule.name.clone(), rule)
            })
            .collect();
        assert_eq!(asked, *bus, "{why}");
    }
}

impl BusRules for World {
    fn put<'a>(&'a self, _tenant: &'a TenantId, rule: &'a BusRule) -> Reply<'a, ()> {
        async move {
            if let Some(kind) = self.refusal {
                return Err(Error::new(kind, "refused"));
            }
            self.step(|| {
                let mut bus = self.bus.lock().unwrap();
                bus.insert(rule.name.clone(), rule.clone());
            })
            .await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, _tenant: &'a TenantId, name: &'a str) -> Reply<'a, ()> {
        async move {
            self.step(|| drop(self.bus.lock().unwrap().remove(name)))
                .await
        }
        .boxed()
    }

    fn list<'a>(&'a self, _tenant: &'a TenantId) -> Reply<'a, Vec<ListedRule>> {
        async move {
            self.step(|| {
                let bus = self.bus.lock().unwrap();
                let listed = bus.values().map(|rule| ListedRule {
                    name: rule.name.clone(),
                    // As a bus might give it back.
                    pattern: rule.pattern.replace(',', ", "),
                    enabled: rule.enabled,
                });
                listed.collect()
            })
            .await
        }
        .boxed()
    }
}

impl NativeRows for World {
    fn row<'a>(&'a self, name: &'a str) -> Reply<'a, Option<NativeRow>> {
        async move {
            self.step(|| self.rows.lock().unwrap().get(name).cloned())
                .await
        }
        .boxed()
    }

    fn rows(&self) -> Reply<'_, Vec<NativeRow>> {
        async move {
            self.step(|| self.rows.lock().unwrap().values().cloned().collect())
                .await
        }
        .boxed()
    }

    fn mark<'a>(&'a self, row: &'a NativeRow, state: NativeState) -> Reply<'a, bool> {
        async move {
            self.step(|| {
                let mut rows = self.rows.lock().unwrap();
                match rows.get_mut(&row.rule.name) {
                    Some(found) if found.version == row.version => {
                        found.state = state;
                        found.version = self.version();
                        true
                    }
                    _ => false,
                }
            })
            .await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, row: &'a NativeRow) -> Reply<'a, bool> {
        async move {
            self.step(|| {
                let mut rows = self.rows.lock().unwrap();
                let same = rows
                    .get(&row.rule.name)
                    .is_some_and(|found| found.version == row.version);
                if same {
                    rows.remove(&row.rule.name);
                }
                same
            })
            .await
        }
        .boxed()
    }
}

impl Machines for World {
    fn machine(&self, name: &str) -> Option<String> {
        (name == "refund").then(|| "arn:aws:states:us-west-2:0:stateMachine:refund".to_owned())
    }
}

fn rule(name: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        id: Ulid::generate(),
        pattern: r#"{"detail-type":["Order.Failed"],"detail":{"total":[1,2]}}"#.to_owned(),
        description: None,
        enabled: true,
        workflow: Some("refund".to_owned()),
        native: true,
        created_at: Timestamp::from_millis(0),
        created_by: "ada".parse().unwrap(),
        permissions: PermissionSet::EMPTY,
    }
}

#[tokio::test]
async fn a_rule_is_made_changed_and_removed() {
    let world = World::new(None);
    world.make(&rule("a"), true).await.unwrap();
    world.assert_agreed("made");
    let bus_rule = world.bus.lock().unwrap()["agent-mesh.acme.a"].clone();
    assert_eq!(
        bus_rule.pattern,
        r#"{"detail":{"total":[1,2]},"detail-type":["Order.Failed"],"source":["agent-mesh.acme"]}"#
    );
    assert_eq!(
        (bus_rule.rule.as_str(), bus_rule.user.as_str()),
        ("a", "ada")
    );

    let mut changed = rule("a");
    changed.enabled = false;
    world.make(&changed, false).await.unwrap();
    world.assert_agreed("changed");
    assert!(!world.bus.lock().unwrap()["agent-mesh.acme.a"].enabled);

    assert!(world.native().remove("a").await.unwrap());
    world.assert_agreed("removed");
    assert!(world.bus.lock().unwrap().is_empty());
    assert!(!world.native().remove("a").await.unwrap());
    assert_eq!(world.native().repair().await.unwrap(), Repaired::default());
}

#[tokio::test]
async fn wherever_it_is_cut_off_a_repair_makes_rows_and_bus_agree() {
    let mut cuts = 0;
    for at in 0.. {
        let mut is_over = true;
        for cut in [Cut::Before, Cut::After] {
            let world = World::new(Some((at, cut)));
            let mut changed = rule("a");
            changed.pattern = r#"{"detail-type":["Order.Paid"]}"#.to_owned();
            let ended = async {
                world.make(&rule("a"), true).await?;
                world.make(&changed, false).await?;
                world.native().remove("a").await
            };
            if ended.await.is_err() {
                is_over = false;
                cuts += 1;
            }
            let world = world.afterwards();
            let repaired = world.native().repair().await.unwrap();
            assert_eq!(repaired.failed, 0);
            world.assert_agreed(&format!("cut at {at}, {cut:?}"));
            assert_eq!(world.native().repair().await.unwrap(), Repaired::default());
        }
        if is_over {
            break;
        }
    }
    assert!(cuts >= 20, "{cuts}");
}

#[tokio::test]
async fn a_call_that_is_repeated_goes_on_where_it_stopped() {
    for at in 0..4 {
        for cut in [Cut::Before, Cut::After] {
            let world = World::new(Some((at, cut)));
            assert!(world.make(&rule("a"), true).await.is_err());
            let world = world.afterwards();
            world.make(&rule("a"), false).await.unwrap();
            world.assert_agreed("made");
            assert_eq!(world.bus.lock().unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn what_several_do_at_once_ends_in_agreement_without_a_repair() {
    for chance in 1..=400 {
        let world = World::new(None);
        *world.chance.lock().unwrap() = chance * 0x9E37_79B9;
        let mut other = rule("a");
        other.pattern = r#"{"detail":{"other":[true]}}"#.to_owned();
        let (first, second) = (rule("a"), rule("b"));
        let native = world.native();
        let ended = futures::join!(
            world.make(&first, true),
            world.make(&other, false),
            world.make(&second, true),
            native.remove("a"),
            native.repair(),
            native.remove("b"),
            native.repair(),
        );
        ended.0.unwrap();
        ended.1.unwrap();
        ended.2.unwrap();
        ended.3.unwrap();
        assert_eq!(ended.4.unwrap().failed, 0);
        ended.5.unwrap();
        assert_eq!(ended.6.unwrap().failed, 0);
        world.assert_agreed(&format!("chance {chance}"));
    }
}

#[tokio::test]
async fn what_others_did_to_the_bus_is_put_right() {
    let world = World::new(None);
    for name in ["a", "b", "c"] {
        world.make(&rule(name), true).await.unwrap();
    }
    {
        let mut bus = world.bus.lock().unwrap();
        bus.remove("agent-mesh.acme.a");
        bus.get_mut("agent-mesh.acme.b").unwrap().pattern = r#"{"source":["x"]}"#.to_owned();
        bus.get_mut("agent-mesh.acme.c").unwrap().enabled = false;
        let stray = world.native().bus_rule(&rule("stray")).unwrap();
        bus.insert(stray.name.clone(), stray);
    }
    let repaired = world.native().repair().await.unwrap();
    assert_eq!((repaired.put, repaired.removed, repaired.failed), (3, 1, 0));
    world.assert_agreed("repaired");
}

#[tokio::test]
async fn a_new_rule_that_the_bus_will_never_take_leaves_nothing() {
    for kind in [ErrorKind::InvalidParameter, ErrorKind::QuotaExceeded] {
        let world = World {
            refusal: Some(kind),
            ..World::new(None)
        };
        let error = world.make(&rule("a"), true).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(world.rows.lock().unwrap().is_empty());
    }
    // What may pass is tried again, and an older rule of the name is not lost for it.
    for (kind, is_new) in [
        (ErrorKind::AwsThrottled, true),
        (ErrorKind::QuotaExceeded, false),
    ] {
        let world = World {
            refusal: Some(kind),
            ..World::new(None)
        };
        world.make(&rule("a"), is_new).await.unwrap_err();
        assert_eq!(world.rows.lock().unwrap()["a"].state, NativeState::Pending);
        let world = world.afterwards();
        assert_eq!(world.native().repair().await.unwrap().put, 1);
        world.assert_agreed("repaired");
    }
}

#[test]
fn what_can_be_no_rule_of_the_bus_is_refused_by_its_argument() {
    let world = World::new(None);
    let refused = |change: fn(&mut Rule)| {
        let mut wrong = rule("a");
        change(&mut wrong);
        let error = world.native().bus_rule(&wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        assert!(error.fix_text().is_some());
        error.details()["parameter"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused(|rule| rule.workflow = None), "workflow");
    assert_eq!(
        refused(|rule| rule.workflow = Some("x".to_owned())),
        "workflow"
    );
    assert_eq!(refused(|rule| rule.name = "n".repeat(49)), "name");
    assert_eq!(
        refused(|rule| rule.pattern = r#"{"tool":["kv_set"]}"#.to_owned()),
        "pattern"
    );
    let mut longest = rule("a");
    longest.name = "n".repeat(48);
    assert_eq!(world.native().bus_rule(&longest).unwrap().name.len(), 64);
}

#[test]
fn a_state_reads_back_and_a_strange_one_is_looked_after() {
    for state in [
        NativeState::Pending,
        NativeState::Active,
        NativeState::Leaving,
    ] {
        assert_eq!(NativeState::of_name(state.name()), state);
    }
    assert_eq!(NativeState::of_name("?"), NativeState::Pending);
}
