//! Whatever breaks, what rules say of a record is done once and told at least once, for its own tenant alone.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use serde_json::json;
use serde_json::value::RawValue;

use super::*;
use crate::mesh::Error;
use crate::mesh::channels::Channels;
use crate::mesh::event::history::TYPE_ATTRIBUTE;
use crate::mesh::event::outbox::acks_of_two_ways;
use crate::mesh::event::rule::{Alert, DEPTH_MAX, Delivery, Rule, Trigger};
use crate::mesh::event::rules::{ALERT_RAISED, ALERTS_LIMITED, AlertRaised, RuleBook};
use crate::mesh::store::Reply;
use crate::mesh::store::key::Keyspace;
use crate::mesh::store::table::Condition;
use crate::mesh::store::topics::{MailSubscription, Mailbox, Notice, Topics};
use crate::mesh::tenant::{Limits, Role, TenantRecord, TenantStatus};
use crate::mesh::workflow::{Launcher, NewRun, WorkflowNames};

/// Workflows and topics in memory, and what tenants may do with them.
pub(super) struct Ruled {
    /// Each run as it was first started.
    runs: Mutex<BTreeMap<Ulid, (TenantId, NewRun)>>,
    launches: AtomicUsize,
    /// What was published: whose, to which topic, what.
    notices: Mutex<Vec<(TenantId, String, Notice)>>,
    /// Workflows and topics that fail, and how.
    failing: Mutex<BTreeMap<String, ErrorKind>>,
    /// Tenants whose workflows never answer.
    stuck: Mutex<BTreeSet<TenantId>>,
    /// Before and after how many more actions the process hangs, to be killed.
    fuse: Mutex<Option<usize>>,
    alerts: Arc<Channels<AlertRaised>>,
    alerts_per_day: u32,
}

impl Ruled {
    fn new() -> Self {
        Self {
            runs: Mutex::default(),
            launches: AtomicUsize::new(0),
            notices: Mutex::default(),
            failing: Mutex::default(),
            stuck: Mutex::default(),
            fuse: Mutex::default(),
            alerts: Arc::default(),
            // What is told again after a crash counts again.
            alerts_per_day: 1_000_000,
        }
    }

    pub(super) fn parts(
        self: &Arc<Self>,
        table: &Arc<FakeTable>,
        clock: &Arc<dyn Clock>,
    ) -> RuleParts {
        RuleParts {
            book: Arc::new(RuleBook::new(table.clone(), clock.clone())),
            launcher: self.clone(),
            workflows: WorkflowNames::new(self.clone(), None),
            topics: self.clone(),
            alerts: self.alerts.clone(),
        }
    }

    async fn point(&self) {
        let is_blown = {
            let mut fuse = self.fuse.lock().unwrap();
            match fuse.as_mut() {
                None => false,
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
            }
        };
        if is_blown {
            std::future::pending::<()>().await;
        }
    }

    fn is_blown(&self) -> bool {
        *self.fuse.lock().unwrap() == Some(0)
    }

    pub(super) fn fail(&self, name: &str, kind: ErrorKind) {
        self.failing.lock().unwrap().insert(name.to_owned(), kind);
    }

    pub(super) fn recover(&self) {
        self.failing.lock().unwrap().clear();
    }

    fn fault(&self, name: &str) -> Result<(), Error> {
        match self.failing.lock().unwrap().get(name) {
            Some(&kind) => Err(Error::new(kind, format!("{name} fails"))),
            None => Ok(()),
        }
    }

    /// Which events have started a workflow of `tenant`: the rule, and the event's id.
    fn started(&self, tenant: &str) -> BTreeSet<(String, String)> {
        let runs = self.runs.lock().unwrap();
        let ours = runs.values().filter(|(owner, _)| owner.as_str() == tenant);
        ours.map(|(_, run)| (run.rule.clone().unwrap(), run.cause.unwrap().to_string()))
            .collect()
    }

    pub(super) fn run_count(&self) -> usize {
        self.runs.lock().unwrap().len()
    }

    fn notices_to(&self, topic: &str) -> Vec<Notice> {
        let notices = self.notices.lock().unwrap();
        let ours = notices.iter().filter(|(_, held, _)| held == topic);
        ours.map(|(_, _, notice)| notice.clone()).collect()
    }
}

impl Launcher for Ruled {
    fn launch<'a>(&'a self, tenant: &'a TenantId, run: NewRun) -> Reply<'a, ()> {
        Box::pin(async move {
            self.launches.fetch_add(1, Ordering::SeqCst);
            self.point().await;
            if self.stuck.lock().unwrap().contains(tenant) {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            self.fault(&run.workflow)?;
            assert_eq!(run.machine, format!("arn:{tenant}:{}", run.workflow));
            {
                let mut runs = self.runs.lock().unwrap();
                runs.entry(run.run_id).or_insert((tenant.clone(), run));
            }
            self.point().await;
            Ok(())
        })
    }
}

impl Topics for Ruled {
    fn tenant_topic<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, String> {
        Box::pin(async move { Ok(format!("mail:{tenant}")) })
    }

    fn subscribe<'a>(&'a self, _: &'a TenantId, _: Mailbox<'a>) -> Reply<'a, MailSubscription> {
        unreachable!("the publisher subscribes nobody")
    }

    fn subscription<'a>(&'a self, _: &'a TenantId, _: Mailbox<'a>) -> Reply<'a, MailSubscription> {
        unreachable!("the publisher asks for no subscription")
    }

    fn unsubscribe<'a>(&'a self, _: &'a TenantId, _: Mailbox<'a>) -> Reply<'a, bool> {
        unreachable!("the publisher unsubscribes nobody")
    }

    fn publish<'a>(
        &'a self,
        tenant: &'a TenantId,
        topic: &'a str,
        notice: &'a Notice,
    ) -> Reply<'a, ()> {
        Box::pin(async move {
            self.point().await;
            tokio::task::yield_now().await;
            self.fault(topic)?;
            let told = (tenant.clone(), topic.to_owned(), notice.clone());
            self.notices.lock().unwrap().push(told);
            self.point().await;
            Ok(())
        })
    }

    fn check<'a>(&'a self, _topic: &'a str) -> Reply<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl TenantDirectory for Ruled {
    fn find(&self, tenant: &TenantId) -> Option<Arc<TenantRecord>> {
        let workflow = |name: &str| (name.to_owned(), format!("arn:{tenant}:{name}"));
        let workflows = ["refund", "audit"].map(workflow);
        let topics = [("ops".to_owned(), "arn:ops".to_owned())];
        Some(Arc::new(TenantRecord {
            id: tenant.clone(),
            status: TenantStatus::Active,
            issuers: Vec::new(),
            event_shards: 1,
            limits: Arc::new(Limits {
                alerts_per_day: self.alerts_per_day,
                ..Limits::default()
            }),
            workflows: Arc::new(workflows.into()),
            alert_topics: Arc::new(topics.into()),
        }))
    }
}

pub(super) fn rule(name: &str, pattern: Value, workflow: Option<&str>) -> Rule {
    Rule {
        name: name.to_owned(),
        id: Ulid::generate(),
        pattern: pattern.to_string(),
        description: None,
        enabled: true,
        workflow: workflow.map(str::to_owned),
        native: false,
        created_at: Timestamp::from_millis(0),
        created_by: "ada".parse().unwrap(),
        permissions: Role::User.permissions(),
    }
}

fn mailed(name: &str, trigger: Trigger) -> Alert {
    Alert {
        name: name.to_owned(),
        id: Ulid::generate(),
        trigger,
        delivery: Delivery::Mail {
            address: format!("{name}@example.com"),
            subscription: None,
        },
        created_at: Timestamp::from_millis(0),
        created_by: "ada".parse().unwrap(),
    }
}

fn told(name: &str, trigger: Trigger) -> Alert {
    Alert {
        delivery: Delivery::Topic {
            name: "ops".to_owned(),
        },
        ..mailed(name, trigger)
    }
}

fn of_rule(name: &str) -> Trigger {
    Trigger::Rule(name.to_owned())
}

fn of_pattern(pattern: &Value) -> Trigger {
    Trigger::Pattern(pattern.to_string())
}

/// What every event of these tests matches that is none about alerts.
pub(super) fn every() -> Value {
    json!({ "tool": ["kv_set"] })
}

impl World {
    pub(super) fn with_rules() -> Self {
        Self {
            ruled: Some(Arc::new(Ruled::new())),
            ..Self::new()
        }
    }

    /// With a rule of `tenant` that starts a workflow for each event, and two alerts about it.
    pub(super) async fn with_rule_and_alerts(tenant: &str) -> Self {
        let world = Self::with_rules();
        world
            .rule(tenant, &rule("all", every(), Some("refund")))
            .await;
        world.alert(tenant, &mailed("mailed", of_rule("all"))).await;
        world.alert(tenant, &told("told", of_rule("all"))).await;
        world
    }

    /// Asserts that of `tenant` each of the events has started its workflow once, and that none else has.
    pub(super) fn assert_started(&self, tenant: &str, ids: &[String]) {
        assert!(self.ruled().started(tenant) == pairs("all", ids));
        assert_eq!(self.ruled().run_count(), ids.len());
    }

    /// How many notices each of the ways out of the mesh has got.
    pub(super) fn told(&self, tenant: &str) -> [usize; 2] {
        let topics = [format!("mail:{tenant}"), "arn:ops".to_owned()];
        topics.map(|topic| self.ruled().notices_to(&topic).len())
    }

    pub(super) fn ruled(&self) -> &Arc<Ruled> {
        self.ruled.as_ref().unwrap()
    }

    pub(super) async fn rule(&self, tenant: &str, rule: &Rule) {
        let key = Keyspace::of(&tenant.parse().unwrap()).rule(&rule.name);
        let put = self.table.put(&key, rule.to_row(), Condition::Always);
        put.await.unwrap();
    }

    async fn alert(&self, tenant: &str, alert: &Alert) {
        let key = Keyspace::of(&tenant.parse().unwrap()).alert(&alert.name);
        let put = self.table.put(&key, alert.to_row(), Condition::Always);
        put.await.unwrap();
    }

    /// The events of a type in the history of `tenant`.
    pub(super) fn recorded(&self, tenant: &str, detail_type: &str) -> Vec<Value> {
        let rows = self.table.rows.lock().unwrap();
        rows.iter()
            .filter(|((partition, _), row)| {
                partition.starts_with(&format!("T#{tenant}#EV#"))
                    && row.text(TYPE_ATTRIBUTE) == Some(detail_type)
            })
            .map(|(_, row)| serde_json::from_str(row.text("detail").unwrap()).unwrap())
            .collect()
    }
}

/// Rule and event of each.
fn pairs(rule: &str, ids: &[String]) -> BTreeSet<(String, String)> {
    ids.iter().map(|id| (rule.to_owned(), id.clone())).collect()
}

async fn is_through(process: &Process) {
    until("everything has left", || {
        process.outbox.stats().records == 0
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_matches_starts_its_workflow_with_the_event_as_its_maker() {
    let world = World::with_rules();
    let refunds = rule(
        "refunds",
        json!({"detail-type": ["Order.Failed"]}),
        Some("refund"),
    );
    world.rule("acme", &refunds).await;
    let process = world.start();
    let mut failed = now("acme");
    failed.detail_type = "Order.Failed".into();
    failed.source = Some("shop".to_owned());
    failed.depth = 2;
    failed.data = RawValue::from_string(r#"{"order": 7.10}"#.to_owned()).unwrap();
    process.send(failed.clone());
    process.send_many("acme", 5);
    is_through(&process).await;
    let runs = world.ruled().runs.lock().unwrap();
    let (tenant, run) = runs.values().next().unwrap();
    assert_eq!((tenant.as_str(), runs.len()), ("acme", 1));
    let expected = format!(
        r#"{{"event_id":"{}","time":"{}","rule":"refunds","detail_type":"Order.Failed","source":"shop","detail":{{"order": 7.10}}}}"#,
        failed.event_id, failed.time
    );
    assert_eq!(run.input, expected, "exact to the digit");
    assert_eq!(run.user, refunds.created_by);
    assert_eq!(run.permissions, refunds.permissions);
    assert_eq!((run.cause, run.depth), (Some(failed.event_id), 3));
    let (notes, waiting) = process.publisher.rules(tenant);
    assert_eq!((notes.started, notes.fault, waiting), (1, None, 0));
}

#[tokio::test]
async fn disabled_native_and_idle_rules_do_nothing() {
    let world = World::with_rules();
    let mut disabled = rule("disabled", every(), Some("refund"));
    disabled.enabled = false;
    let mut native = rule("native", every(), Some("refund"));
    native.native = true;
    for rule in [disabled, native, rule("idle", every(), None)] {
        world.rule("acme", &rule).await;
    }
    world.alert("acme", &mailed("a", of_rule("disabled"))).await;
    let process = world.start();
    process.send_many("acme", 20);
    is_through(&process).await;
    assert_eq!(world.ruled().launches.load(Ordering::SeqCst), 0);
    assert!(world.ruled().notices.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_mail_and_one_notice_a_topic_tell_all_alerts_of_an_event() {
    let world = World::with_rules();
    world.rule("acme", &rule("all", every(), None)).await;
    let alerts = [
        mailed("ada", of_rule("all")),
        mailed("ben", of_pattern(&every())),
        mailed("other", of_pattern(&json!({"tool": ["kv_get"]}))),
        told("first", of_rule("all")),
        told("second", of_pattern(&every())),
    ];
    for alert in &alerts {
        world.alert("acme", alert).await;
    }
    let mut listener = world.ruled().alerts.watch(&tenant("acme"));
    let process = world.start();
    let event = now("acme");
    process.send(event.clone());
    until("all is recorded", || {
        world.recorded("acme", ALERT_RAISED).len() == 4
    })
    .await;
    is_through(&process).await;
    let [mail] = world.ruled().notices_to("mail:acme").try_into().unwrap();
    let mail: Notice = mail;
    assert_eq!(mail.addresses, ["ada@example.com", "ben@example.com"]);
    assert_eq!(
        mail.alerts,
        [alerts[0].id, alerts[1].id].map(|id| id.to_string())
    );
    let [topic] = world.ruled().notices_to("arn:ops").try_into().unwrap();
    let topic: Notice = topic;
    assert_eq!(
        topic.alerts,
        [alerts[3].id, alerts[4].id].map(|id| id.to_string())
    );
    let recorded = world.recorded("acme", ALERT_RAISED);
    let names: BTreeSet<&str> = recorded
        .iter()
        .map(|detail| detail["data"]["alert"].as_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["ada", "ben", "first", "second"]));
    for detail in &recorded {
        assert_eq!(detail["cause"], event.event_id.to_string());
        assert_eq!(detail["data"]["event_id"], event.event_id.to_string());
        assert_eq!(detail["depth"], 1);
        assert!(!detail.to_string().contains("example.com"), "{detail}");
        let has_rule = ["ada", "first"].contains(&detail["data"]["alert"].as_str().unwrap());
        assert_eq!(detail["data"].get("rule").is_some(), has_rule);
    }
    let mut heard = BTreeSet::new();
    while let Ok(raised) = listener.try_recv() {
        assert_eq!(
            (raised.tenant.as_str(), raised.event_id),
            ("acme", event.event_id)
        );
        heard.insert(raised.alert);
    }
    assert_eq!(heard.len(), 4);
}

#[tokio::test]
async fn of_an_alert_none_is_raised_but_a_workflow_may_be_started() {
    let world = World::with_rules();
    let everything = json!({"outcome": ["ok"]});
    world
        .rule("acme", &rule("all", everything.clone(), Some("audit")))
        .await;
    world
        .alert("acme", &told("all", of_pattern(&everything)))
        .await;
    let process = world.start();
    process.send_many("acme", 3);
    until("all is recorded", || {
        world.recorded("acme", ALERT_RAISED).len() == 3
    })
    .await;
    is_through(&process).await;
    assert_eq!(world.ruled().notices_to("arn:ops").len(), 3);
    assert_eq!(world.ruled().run_count(), 6);
}

#[tokio::test]
async fn killed_at_any_point_each_run_is_started_once_and_each_alert_told_at_least_once() {
    // Two workflows, a mail and a topic, each with a moment before and one after.
    for point in 0..=8 {
        let world = World::with_rules();
        world
            .rule("acme", &rule("one", every(), Some("refund")))
            .await;
        world
            .rule("acme", &rule("two", every(), Some("audit")))
            .await;
        world.alert("acme", &mailed("mailed", of_rule("one"))).await;
        world.alert("acme", &told("told", of_rule("two"))).await;
        *world.ruled().fuse.lock().unwrap() = Some(point);
        let process = world.start();
        let ids = process.send_many("acme", 1);
        until("it hangs", || world.ruled().is_blown()).await;
        if point == 8 {
            // Everything is done, and nothing of it acknowledged.
            until("it is recorded", || {
                world.recorded("acme", ALERT_RAISED).len() == 2
            })
            .await;
        }
        process.kill().await;
        *world.ruled().fuse.lock().unwrap() = None;
        let next = world.start();
        until("it was adopted", || {
            next.outbox.stats().adopted_folders == 1
        })
        .await;
        is_through(&next).await;
        let mut expected = pairs("one", &ids);
        expected.extend(pairs("two", &ids));
        assert_eq!(world.ruled().started("acme"), expected, "{point}");
        assert_eq!(world.ruled().run_count(), 2, "{point}");
        for topic in ["mail:acme", "arn:ops"] {
            let told = world.ruled().notices_to(topic).len();
            assert!((1..=2).contains(&told), "{topic} at {point}: {told}");
        }
        // However often they were raised, they are the same events.
        assert_eq!(world.recorded("acme", ALERT_RAISED).len(), 2, "{point}");
        assert!(world.stored("acme").contains(&ids[0]));
        let drained = next.publisher.drain(SOON).await;
        assert_eq!(drained, Drained { left: 0 });
    }
}

#[tokio::test]
async fn a_thousand_events_and_twenty_kills_start_each_workflow_once() {
    let world = World::with_rules();
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    world.alert("acme", &told("told", of_rule("all"))).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let process = world.start();
        ids.extend(process.send_many("acme", 50));
        tokio::time::sleep(Duration::from_millis(15)).await;
        process.kill().await;
    }
    let last = world.start();
    until("every workflow was started", || {
        world.ruled().run_count() == 1000
    })
    .await;
    until("all were adopted", || world.folders() == 1).await;
    is_through(&last).await;
    assert!(world.ruled().started("acme") == pairs("all", &ids));
    assert_eq!(world.ruled().run_count(), 1000);
    let told: BTreeSet<String> = world
        .ruled()
        .notices_to("arn:ops")
        .iter()
        .map(|notice| {
            let value: Value = serde_json::from_str(&notice.text).unwrap();
            value["event_id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(told == ids.iter().cloned().collect());
    let stored = world.stored("acme");
    assert!(ids.iter().all(|id| stored.contains(id)));
    assert_eq!(world.recorded("acme", ALERT_RAISED).len(), 1000);
}

#[tokio::test]
async fn only_what_failed_is_done_again() {
    let world = World::with_rules();
    world
        .rule("acme", &rule("good", every(), Some("refund")))
        .await;
    world
        .rule("acme", &rule("bad", every(), Some("audit")))
        .await;
    world
        .alert("acme", &mailed("mailed", of_rule("good")))
        .await;
    world.alert("acme", &told("told", of_rule("good"))).await;
    world.ruled().fail("audit", ErrorKind::QuotaExceeded);
    world.ruled().fail("arn:ops", ErrorKind::AwsThrottled);
    let process = world.start();
    let ids = process.send_many("acme", 1);
    let launches = || world.ruled().launches.load(Ordering::SeqCst);
    until("it was tried often", || launches() > 5).await;
    assert_eq!(world.ruled().started("acme"), pairs("good", &ids));
    assert_eq!(world.ruled().notices_to("mail:acme").len(), 1);
    let (notes, waiting) = process.publisher.rules(&tenant("acme"));
    assert_eq!(notes.fault.unwrap().code, "QUOTA_EXCEEDED");
    assert!(waiting > 0);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    assert_eq!(process.publisher.stats().history.records, 0);
    world.ruled().recover();
    is_through(&process).await;
    assert_eq!(world.ruled().run_count(), 2);
    assert_eq!(world.ruled().notices_to("mail:acme").len(), 1);
    assert_eq!(world.ruled().notices_to("arn:ops").len(), 1);
    let (notes, waiting) = process.publisher.rules(&tenant("acme"));
    assert_eq!((notes.fault, notes.started, waiting), (None, 2, 0));
}

#[tokio::test]
async fn what_can_never_be_done_is_told_and_holds_nothing_back() {
    let world = World::with_rules();
    world
        .rule("acme", &rule("gone", every(), Some("no-such")))
        .await;
    world
        .rule("acme", &rule("poison", every(), Some("audit")))
        .await;
    world
        .rule("acme", &rule("sound", every(), Some("refund")))
        .await;
    let mut lost = told("lost", of_rule("sound"));
    lost.delivery = Delivery::Topic {
        name: "unknown".to_owned(),
    };
    world.alert("acme", &lost).await;
    world.ruled().fail("audit", ErrorKind::NotFound);
    let process = world.start();
    let ids = process.send_many("acme", 4);
    until("all is recorded", || {
        world.recorded("acme", ALERT_RAISED).len() == 4
    })
    .await;
    is_through(&process).await;
    assert_eq!(world.ruled().started("acme"), pairs("sound", &ids));
    let (notes, _) = process.publisher.rules(&tenant("acme"));
    assert_eq!((notes.refused, notes.started), (12, 4));
    assert!(notes.trouble.is_some());
    for detail in world.recorded("acme", ALERT_RAISED) {
        assert_eq!(detail["data"]["delivered"], false);
    }
}

#[tokio::test]
async fn a_chain_is_cut_at_its_greatest_depth_and_that_is_told() {
    let world = World::with_rules();
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    let process = world.start();
    let mut expected = Vec::new();
    for depth in [DEPTH_MAX - 1, DEPTH_MAX, u8::MAX] {
        let mut event = now("acme");
        event.depth = depth;
        if depth < DEPTH_MAX {
            expected.push(event.event_id.to_string());
        }
        process.send(event);
    }
    is_through(&process).await;
    assert_eq!(world.ruled().started("acme"), pairs("all", &expected));
    let (notes, _) = process.publisher.rules(&tenant("acme"));
    assert_eq!((notes.cut, notes.started), (2, 1));
    assert!(notes.trouble.unwrap().1.contains("cut"));
}

#[tokio::test]
async fn over_the_limit_of_the_day_alerts_are_not_delivered_and_that_is_told_once() {
    let mut world = World::with_rules();
    world.ruled = Some(Arc::new(Ruled {
        alerts_per_day: 5,
        ..Ruled::new()
    }));
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    world.alert("acme", &told("one", of_rule("all"))).await;
    world.alert("acme", &told("two", of_rule("all"))).await;
    let process = world.start();
    process.send_many("acme", 10);
    until("the limit is told", || {
        world.recorded("acme", ALERTS_LIMITED).len() == 1
    })
    .await;
    is_through(&process).await;
    assert_eq!(world.recorded("acme", ALERT_RAISED).len(), 5);
    assert_eq!(world.recorded("acme", ALERTS_LIMITED).len(), 1);
    let delivered: usize = world
        .ruled()
        .notices_to("arn:ops")
        .iter()
        .map(|notice| notice.alerts.len())
        .sum();
    assert_eq!(delivered, 5);
    assert_eq!(world.ruled().run_count(), 10, "workflows go on");
    let (notes, _) = process.publisher.rules(&tenant("acme"));
    assert_eq!((notes.raised, notes.limited), (5, 15));
    // Another tenant has a day of its own.
    world
        .alert("beta", &told("own", of_pattern(&every())))
        .await;
    process.send_many("beta", 1);
    until("it is recorded", || {
        world.recorded("beta", ALERT_RAISED).len() == 1
    })
    .await;
    let rows = world.table.rows.lock().unwrap();
    let mut days = rows
        .iter()
        .filter(|((_, sort), _)| sort.starts_with("ALERTS#"));
    assert!(
        days.all(|(_, row)| row.number("exp").is_some()),
        "they go by themselves"
    );
}

#[tokio::test]
async fn one_tenants_slow_workflows_hold_up_nobody_else() {
    let world = World::with_rules();
    world
        .rule("slow", &rule("all", every(), Some("refund")))
        .await;
    world
        .rule("quick", &rule("all", every(), Some("refund")))
        .await;
    world.ruled().stuck.lock().unwrap().insert(tenant("slow"));
    let process = world.start();
    process.send_many("slow", 700);
    let mut expected = BTreeSet::new();
    for _ in 0..20 {
        let ids = process.send_many("quick", 10);
        expected.extend(pairs("all", &ids));
        until("the other's have started", || {
            world.ruled().started("quick") == expected
        })
        .await;
    }
    assert!(process.publisher.stored(&tenant("slow"), SOON).await);
    until("the bus has all", || world.bus.count() == 900).await;
    let held = process.publisher.stats().rules;
    assert!((700..=900).contains(&held.records), "{held:?}");
    // No more of its workflows were asked for than one tenant may have under way.
    let asked = world.ruled().launches.load(Ordering::SeqCst) - 200;
    assert!(asked <= 8 + 16, "{asked}");
}

#[tokio::test]
async fn a_tenant_whose_rules_cannot_be_read_waits_and_nobody_else_does() {
    let world = World::with_rules();
    for tenant in ["away", "here"] {
        world
            .rule(tenant, &rule("all", every(), Some("refund")))
            .await;
    }
    let throttled = || world.table.throttled.lock().unwrap();
    throttled().insert("T#away#RULE".to_owned());
    let process = world.start();
    let waiting = process.send_many("away", 100);
    let ids = process.send_many("here", 100);
    until("the other's have started", || {
        world.ruled().started("here") == pairs("all", &ids)
    })
    .await;
    assert!(process.publisher.stored(&tenant("away"), SOON).await);
    assert!(world.ruled().started("away").is_empty());
    let (notes, _) = process.publisher.rules(&tenant("away"));
    assert_eq!(notes.fault.unwrap().code, "AWS_THROTTLED");
    throttled().clear();
    is_through(&process).await;
    assert_eq!(world.ruled().started("away"), pairs("all", &waiting));
}

#[tokio::test]
async fn tenants_without_rules_cost_one_query_for_seconds_of_records() {
    let mut world = World::with_rules();
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    world.clock = clock.clone();
    let process = world.start();
    process.send_many("acme", 1);
    is_through(&process).await;
    for _ in 0..50 {
        process.send_many("acme", 20);
        is_through(&process).await;
    }
    assert_eq!(world.table.queries.load(Ordering::SeqCst), 1);
    // A rule of another process is in force 5 s later.
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    clock.advance(Duration::from_secs(5));
    let ids = process.send_many("acme", 30);
    is_through(&process).await;
    assert_eq!(world.ruled().started("acme"), pairs("all", &ids));
    assert_eq!(world.table.queries.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_happened_before_a_rule_was_made_starts_nothing() {
    let world = World::with_rules();
    let mut late = rule("late", every(), Some("refund"));
    late.created_at = SystemClock::new().now();
    world.rule("acme", &late).await;
    world.alert("acme", &mailed("late", of_rule("late"))).await;
    let process = world.start();
    let hour_ago = late.created_at.minus(Duration::from_secs(3600));
    process.send(event("acme", hour_ago.as_millis().unsigned_abs()));
    let ids = process.send_many("acme", 1);
    is_through(&process).await;
    assert_eq!(world.ruled().started("acme"), pairs("late", &ids));
}

#[tokio::test]
async fn a_full_outbox_is_freed_although_alerts_are_recorded_in_it() {
    let mut world = World::with_rules();
    world.bytes_max = 1 << 20;
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    world.alert("acme", &told("told", of_rule("all"))).await;
    world.ruled().fail("refund", ErrorKind::AwsUnavailable);
    let process = world.start();
    let mut ids = Vec::new();
    let acme = tenant("acme");
    while let Ok(slot) = process.outbox.reserve(&acme, Weight::Read) {
        let mut event = now("acme");
        event.data =
            RawValue::from_string(json!({ "text": "x".repeat(4000) }).to_string()).unwrap();
        ids.push(event.event_id.to_string());
        slot.commit(&[event]).unwrap();
        tokio::task::yield_now().await;
    }
    assert!(ids.len() > 100);
    world.ruled().recover();
    until("everything was started", || {
        world.ruled().run_count() == ids.len()
    })
    .await;
    is_through(&process).await;
    until("there is room", || process.outbox.stats().bytes == 0).await;
    assert_eq!(world.ruled().started("acme"), pairs("all", &ids));
    assert_eq!(world.recorded("acme", ALERT_RAISED).len(), ids.len());
}

#[tokio::test]
async fn a_drain_does_what_rules_say_and_publishes_what_comes_of_it() {
    let world = World::with_rules();
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    world.alert("acme", &told("told", of_rule("all"))).await;
    let process = world.start();
    let ids = process.send_many("acme", 200);
    let drained = process.publisher.drain(SOON).await;
    assert_eq!(drained, Drained { left: 0 });
    assert_eq!(world.ruled().started("acme"), pairs("all", &ids));
    assert_eq!(world.recorded("acme", ALERT_RAISED).len(), 200);
    assert_eq!((world.bus.count(), world.folders()), (400, 0));
}

#[tokio::test]
async fn the_log_of_a_version_without_rules_is_taken_over_from_what_is_left_of_it() {
    let world = World::with_rules();
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    let older = World {
        ruled: None,
        root: tempfile::tempdir().unwrap(),
        ..World::new()
    };
    let process = older.start();
    process.send_many("acme", 10);
    is_through(&process).await;
    let writer = process.outbox.writer();
    let end = process.outbox.log().tail().0;
    let ids = {
        older.bus.is_down.store(true, Ordering::SeqCst);
        let ids = process.send_many("acme", 10);
        assert!(process.publisher.stored(&tenant("acme"), SOON).await);
        ids
    };
    let later = process.outbox.log().tail().0;
    process.kill().await;
    let folder = std::fs::read_dir(older.root.path())
        .unwrap()
        .next()
        .unwrap();
    let acks = folder.unwrap().path().join(writer.to_string()).join("acks");
    std::fs::write(acks, acks_of_two_ways(later, end)).unwrap();
    let heir = World {
        root: older.root,
        ..world
    };
    let next = heir.start();
    until("it was adopted", || {
        next.outbox.stats().adopted_folders == 1
    })
    .await;
    is_through(&next).await;
    assert_eq!(heir.ruled().started("acme"), pairs("all", &ids));
    assert_eq!(heir.bus.count(), 10);
}

#[tokio::test]
async fn what_rules_could_not_do_is_handed_over_and_done_elsewhere() {
    let mut world = World::with_rules();
    world.hand_over = true;
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    world.ruled().fail("refund", ErrorKind::AwsUnavailable);
    let process = world.start();
    let ids = process.send_many("acme", 30);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    until("the bus has all", || world.bus.count() == 30).await;
    let drained = process.publisher.drain(Duration::from_millis(600)).await;
    assert_eq!(drained, Drained { left: 0 });
    assert_eq!(world.handed_over("acme").len(), 1);
    world.ruled().recover();
    let other = world.elsewhere();
    let next = other.start();
    let more = next.send_many("acme", 1);
    until("the object is gone", || {
        other.handed_over("acme").is_empty()
    })
    .await;
    is_through(&next).await;
    let mut expected = pairs("all", &ids);
    expected.extend(pairs("all", &more));
    assert_eq!(world.ruled().started("acme"), expected);
    assert_eq!(world.bus.count(), 31, "nothing went to the bus again");
}

#[tokio::test]
async fn what_a_version_without_rules_has_handed_over_is_published_and_starts_nothing() {
    let mut world = World::with_rules();
    world.hand_over = true;
    world.set_down(false, true);
    let (_, ids) = world.leave(20).await;
    let key = world.handed_over("acme").remove(0);
    {
        let mut objects = world.bucket.objects.lock().unwrap();
        let text = std::str::from_utf8(&objects[&key]).unwrap().to_owned();
        assert!(!text.contains(r#""rules""#), "they have all passed");
        let older = text.replace(r#""version":2"#, r#""version":1"#);
        objects.insert(key, older.into());
    }
    world.set_down(false, false);
    world
        .rule("acme", &rule("all", every(), Some("refund")))
        .await;
    let other = world.elsewhere();
    let next = other.start();
    let more = next.send_many("acme", 1);
    until("the object is gone", || {
        other.handed_over("acme").is_empty()
    })
    .await;
    is_through(&next).await;
    assert_eq!(world.bus.count(), ids.len() + 1);
    assert_eq!(world.ruled().started("acme"), pairs("all", &more));
}

/// A tenant's rules, as its patterns, and events of tenants, as what they are of.
#[derive(Clone, Debug)]
struct Case {
    patterns: Vec<(usize, Value)>,
    events: Vec<(usize, &'static str)>,
}

const TENANTS: [&str; 4] = ["a", "a-b", "ab", "b"];

fn cases() -> impl Strategy<Value = Case> {
    let pattern = prop_oneof![
        Just(json!({ "tool": ["kv_set"] })),
        Just(json!({ "detail-type": [{ "prefix": "" }] })),
        Just(json!({ "detail": { "tenant": ["a", "b", "ab", "a-b"] } })),
        Just(json!({ "$or": [{ "outcome": ["ok"] }, { "source": [{ "wildcard": "*" }] }] })),
        Just(json!({ "detail-type": ["Order.Failed"] })),
    ];
    let kind = prop_oneof![Just("KV.Set"), Just("Order.Failed")];
    (
        proptest::collection::vec((0..TENANTS.len(), pattern), 1..8),
        proptest::collection::vec((0..TENANTS.len(), kind), 1..40),
    )
        .prop_map(|(patterns, events)| Case { patterns, events })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_rule_never_sees_an_event_of_another_tenant(case in cases()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::with_rules();
            for (number, (owner, pattern)) in case.patterns.iter().enumerate() {
                let rule = rule(&format!("r{number}"), pattern.clone(), Some("refund"));
                world.rule(TENANTS[*owner], &rule).await;
                let alert = told(&format!("a{number}"), of_rule(&rule.name));
                world.alert(TENANTS[*owner], &alert).await;
            }
            let process = world.start();
            let mut owners = BTreeMap::new();
            for (owner, kind) in &case.events {
                let mut event = now(TENANTS[*owner]);
                event.detail_type = (*kind).into();
                event.data = RawValue::from_string(format!(r#"{{"tenant":"{}"}}"#, TENANTS[*owner])).unwrap();
                owners.insert(event.event_id, TENANTS[*owner]);
                process.send(event);
            }
            is_through(&process).await;
            let rules_of = |tenant: &str| case.patterns.iter().filter(|(owner, _)| TENANTS[*owner] == tenant).count();
            for (tenant, run) in world.ruled().runs.lock().unwrap().values() {
                let Some(owner) = owners.get(&run.cause.unwrap()) else {
                    // Of an event that tells of an alert.
                    continue;
                };
                assert_eq!(*owner, tenant.as_str());
                assert!(rules_of(tenant.as_str()) > 0);
            }
            for (tenant, _, notice) in world.ruled().notices.lock().unwrap().iter() {
                let value: Value = serde_json::from_str(&notice.text).unwrap();
                let event_id = value["event_id"].as_str().unwrap().parse().unwrap();
                assert_eq!(owners.get(&event_id), Some(&tenant.as_str()));
                assert_eq!(value["tenant_id"], tenant.as_str());
            }
            // What must match does.
            for (event_id, owner) in &owners {
                let runs = world.ruled().runs.lock().unwrap();
                let started = runs.values().filter(|(_, run)| run.cause == Some(*event_id)).count();
                let sure = case.patterns.iter().filter(|(of, pattern)| TENANTS[*of] == *owner && pattern.get("tool").is_some());
                assert!(started >= sure.count());
            }
        });
    }
}
