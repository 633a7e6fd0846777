//! Alerts as clients make and delete them, and as they are told to those who listen.

use std::path::PathBuf;
use std::time::Duration;

use agent_mesh::mesh::channels::WAITING_MAX;
use agent_mesh::mesh::event::rules::AlertRaised;
use agent_mesh::mesh::tenant::Permission;
use agent_mesh::outbound::embedded::{Fault, Service};
use futures::future::join_all;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::support::bus::Heard;
use crate::support::client::patiently;
use crate::support::token::claims;
use crate::support::{Caller, Plan, World};

const CREATE: &str = "events_create_alert";
const DELETE: &str = "events_delete_alert";
const LIST: &str = "events_list_rules";

fn pattern() -> Value {
    json!({"detail-type": ["Order.Failed"]})
}

fn by_topic(name: &str) -> Value {
    json!({"name": name, "pattern": pattern(), "method": "sns", "topic": "ops"})
}

fn by_mail(name: &str, address: &str) -> Value {
    json!({"name": name, "pattern": pattern(), "method": "email", "email": address})
}

async fn make_rule(caller: &Caller, name: &str) {
    let rule = json!({"name": name, "pattern": pattern()});
    caller.ok("events_create_rule", rule).await;
}

/// Every alert, those of rules first.
async fn alerts(caller: &Caller) -> Vec<Value> {
    let listed = caller.ok(LIST, json!({})).await;
    let of_rules = listed["rules"].as_array().expect("rules").iter();
    let of_rules = of_rules.flat_map(|rule| rule["alerts"].as_array().expect("alerts"));
    let own = listed["alerts"].as_array().expect("alerts");
    of_rules.chain(own).cloned().collect()
}

fn names(alerts: &[Value]) -> Vec<&str> {
    let names = alerts.iter().map(|alert| alert["alert"].as_str());
    names.map(|name| name.expect("a name")).collect()
}

#[tokio::test]
async fn an_alert_is_made_shown_with_its_rule_and_ends_with_it() {
    let world = World::open().await;
    let caller = world.caller().await;
    make_rule(&caller, "orders").await;
    let arguments = json!({"name": "tell-ops", "rule": "orders", "method": "sns", "topic": "ops"});
    let made = caller.ok(CREATE, arguments.clone()).await;
    assert_eq!(
        made,
        json!({"alert": "tell-ops", "state": "active", "change": "created"})
    );
    let again = caller.ok(CREATE, arguments.clone()).await;
    assert_eq!(again["change"], "unchanged");
    caller.ok(CREATE, by_topic("own")).await;

    let listed = caller.ok(LIST, json!({})).await;
    let (of_rule, own) = (&listed["rules"][0]["alerts"][0], &listed["alerts"][0]);
    assert_eq!(
        of_rule,
        &json!({
            "alert": "tell-ops", "rule": "orders", "method": "sns", "topic": "ops",
            "state": "active", "created_at": of_rule["created_at"], "created_by": "ada",
        })
    );
    assert_eq!(
        own,
        &json!({
            "alert": "own", "pattern": pattern(), "method": "sns", "topic": "ops",
            "state": "active", "created_at": own["created_at"], "created_by": "ada",
        })
    );
    for other in [
        json!({"name": "tell-ops", "pattern": pattern(), "method": "sns", "topic": "ops"}),
        by_mail("tell-ops", "ops@example.com"),
        by_mail("own", "ops@example.com"),
    ] {
        let conflict = caller.fail(CREATE, other.clone()).await;
        assert_eq!(conflict.code(), "CONFLICT", "{other}");
        assert!(conflict.fix().unwrap().contains(DELETE), "{conflict:?}");
    }

    let gone = caller
        .ok("events_delete_rule", json!({"name": "orders"}))
        .await;
    assert_eq!(gone["alerts_deleted"], json!(["tell-ops"]));
    make_rule(&caller, "orders").await;
    let left = alerts(&caller).await;
    assert_eq!(
        names(&left),
        ["own"],
        "a new rule of the name has none of its alerts"
    );
    let gone = |existed: bool| json!({"alert": "own", "existed": existed});
    assert_eq!(caller.ok(DELETE, json!({"name": "own"})).await, gone(true));
    assert_eq!(caller.ok(DELETE, json!({"name": "own"})).await, gone(false));
}

#[tokio::test]
async fn what_is_no_alert_is_refused_by_name() {
    let world = World::open().await;
    let caller = world.caller().await;
    let with = |name: &str, value: Value| {
        let mut alert = by_mail("a", "a@example.com");
        alert[name] = value;
        alert
    };
    let without = |name: &str| {
        let mut alert = by_mail("a", "a@example.com");
        alert.as_object_mut().unwrap().remove(name);
        alert
    };
    for (arguments, parameter) in [
        (without("name"), "name"),
        (without("pattern"), "rule"),
        (without("method"), "method"),
        (without("email"), "email"),
        (with("name", json!("a b")), "name"),
        (with("rule", json!("r")), "pattern"),
        (with("pattern", json!({"x": [1]})), "pattern"),
        (with("method", json!("pager")), "method"),
        (with("topic", json!("ops")), "topic"),
        (with("method", json!("sns")), "email"),
        (with("email", json!("nobody")), "email"),
        (
            with("email", json!("a@b.co\r\nBcc: eve@evil.example")),
            "email",
        ),
        (with("email", json!("a@exаmple.com")), "email"),
        (
            json!({"name": "a", "rule": "a b", "method": "sns", "topic": "ops"}),
            "rule",
        ),
        (
            json!({"name": "a", "pattern": pattern(), "method": "sns"}),
            "topic",
        ),
        (
            json!({
                "name": "a", "pattern": pattern(), "method": "sns",
                "topic": "arn:aws:sns:us-west-2:000000000000:ops",
            }),
            "topic",
        ),
    ] {
        let failure = caller.fail(CREATE, arguments.clone()).await;
        let told = (failure.code().to_owned(), failure.parameter());
        assert_eq!(
            told,
            ("INVALID_PARAMETER".to_owned(), parameter.to_owned()),
            "{arguments}"
        );
        assert!(
            !failure.message().contains("evil") && !failure.message().contains("nobody"),
            "an address is not repeated: {failure:?}"
        );
    }
    for (arguments, fix) in [
        (
            json!({"name": "a", "rule": "none", "method": "sns", "topic": "ops"}),
            "events_create_rule",
        ),
        (
            json!({"name": "a", "pattern": pattern(), "method": "sns", "topic": "oops"}),
            "ops",
        ),
    ] {
        let absent = caller.fail(CREATE, arguments.clone()).await;
        assert_eq!(absent.code(), "NOT_FOUND", "{arguments}");
        assert!(absent.fix().unwrap().contains(fix), "{absent:?}");
    }
    assert_eq!(alerts(&caller).await, Vec::<Value>::new());
}

#[tokio::test]
async fn mail_goes_to_the_operators_domains_alone() {
    let world = Plan::default()
        .set("AGENT_MESH_ALERT_DOMAINS", "example.com,ops.example")
        .open()
        .await;
    let caller = world.caller().await;
    for (name, address) in [("a", "a@example.com"), ("b", "b@OPS.Example")] {
        let made = caller.ok(CREATE, by_mail(name, address)).await;
        assert_eq!(made["change"], "created", "{address}");
    }
    for address in [
        "a@sub.example.com",
        "a@example.org",
        "a@evilexample.com",
        "a@example.com.evil.example",
    ] {
        let refused = caller.fail(CREATE, by_mail("c", address)).await;
        let told = (refused.code().to_owned(), refused.parameter());
        assert_eq!(
            told,
            ("INVALID_PARAMETER".to_owned(), "email".to_owned()),
            "{address}"
        );
        assert!(refused.fix().unwrap().contains("AGENT_MESH_ALERT_DOMAINS"));
    }
    let listed = alerts(&caller).await;
    assert_eq!(
        (&listed[0]["email"], &listed[1]["email"]),
        (&json!("a@example.com"), &json!("b@ops.example"))
    );
}

#[tokio::test]
async fn addresses_are_shown_to_those_who_manage_alerts() {
    let world = World::of_two_tenants().await;
    let admin = world.user("acme", "amy", "admin").await;
    let viewer = world.user("acme", "vic", "viewer").await;
    admin.ok(CREATE, by_mail("a", "a@example.com")).await;
    let shown = alerts(&viewer).await;
    assert_eq!(
        (&shown[0]["alert"], &shown[0]["method"]),
        (&json!("a"), &json!("email"))
    );
    assert!(shown[0].get("email").is_none(), "{shown:?}");
    assert_eq!(alerts(&admin).await[0]["email"], "a@example.com");
    let mut narrow = claims("acme", "amy", "admin", world.now());
    narrow["scope"] = json!(Permission::EventsRead.name());
    let narrow = world.bearer(&world.token(&narrow)).await;
    assert!(alerts(&narrow).await[0].get("email").is_none());
    for user in [&viewer, &narrow] {
        let denied = user.fail(CREATE, by_topic("b")).await;
        assert_eq!(denied.detail("permission"), "alerts.manage");
    }
}

const THREE_ALERTS: &str = r#"
[defaults.limits]
dynamodb_read = 1000000
dynamodb_write = 1000000
sns = 1000000
alerts = 3
"#;

#[tokio::test]
async fn no_more_alerts_come_to_be_than_the_quota_has_room_for() {
    let world = Plan::default().tenants(THREE_ALERTS).open().await;
    let caller = world.caller().await;
    let calls = (0..10).map(|number| caller.call(CREATE, by_topic(&format!("a{number}"))));
    let answers = join_all(calls).await;
    let failed = answers
        .iter()
        .filter(|answer| answer.as_ref().unwrap().is_error);
    assert_eq!(failed.count(), 7);
    let made = alerts(&caller).await;
    assert_eq!(made.len(), 3);
    let refused = caller.fail(CREATE, by_topic("x")).await;
    assert_eq!(
        (refused.code(), refused.detail("quota")),
        ("QUOTA_EXCEEDED", json!("alerts"))
    );
    caller.ok(DELETE, json!({"name": names(&made)[0]})).await;
    caller.ok(CREATE, by_topic("x")).await;
}

#[tokio::test]
async fn an_address_has_one_subscription_that_ends_with_its_last_alert() {
    let world = World::open().await;
    let caller = world.caller().await;
    for name in ["a", "b"] {
        let made = caller.ok(CREATE, by_mail(name, "ops@example.com")).await;
        assert_eq!(made["state"], "active", "mails are files here");
    }
    caller.ok(DELETE, json!({"name": "a"})).await;
    let left = alerts(&caller).await;
    assert_eq!(
        (names(&left), &left[0]["state"]),
        (vec!["b"], &json!("active")),
        "the other one's mail goes on"
    );
    caller.ok(DELETE, json!({"name": "b"})).await;
    let made = caller.ok(CREATE, by_mail("c", "ops@example.com")).await;
    assert_eq!(made["state"], "active");
}

#[tokio::test]
async fn an_alert_whose_mail_cannot_be_set_up_is_not_made() {
    let world = World::open().await;
    let caller = world.caller().await;
    let faults = world.faults();
    faults.inject(Service::Sns, "Subscribe", Fault::ServerError, 50);
    let failure = caller.fail(CREATE, by_mail("a", "ops@example.com")).await;
    assert_eq!(failure.code(), "AWS_UNAVAILABLE");
    faults.clear();
    assert_eq!(alerts(&caller).await, Vec::<Value>::new());
    let made = caller.ok(CREATE, by_mail("a", "ops@example.com")).await;
    assert_eq!(made["change"], "created");

    faults.inject(Service::Sns, "Unsubscribe", Fault::ServerError, 50);
    let failure = caller.fail(DELETE, json!({"name": "a"})).await;
    assert_eq!(failure.code(), "AWS_UNAVAILABLE");
    faults.clear();
    assert_eq!(names(&alerts(&caller).await), ["a"], "and can be repeated");
    let gone = caller.ok(DELETE, json!({"name": "a"})).await;
    assert_eq!(gone["existed"], true);
}

#[tokio::test]
async fn listing_tells_what_was_last_known_while_subscriptions_cannot_be_asked_for() {
    let world = World::open().await;
    let caller = world.caller().await;
    caller.ok(CREATE, by_mail("a", "ops@example.com")).await;
    world
        .faults()
        .inject(Service::Sns, "*", Fault::ServerError, 500);
    assert_eq!(alerts(&caller).await[0]["state"], "active");
}

#[tokio::test]
async fn the_events_of_alerts_tell_no_addresses() {
    let world = World::open().await;
    let heard = Heard::at(&world);
    let caller = world.caller().await;
    caller.ok(CREATE, by_mail("a", "ops@example.com")).await;
    caller.ok(CREATE, by_topic("b")).await;
    caller.ok(DELETE, json!({"name": "a"})).await;
    let events = heard.wait(3, |_| true).await;
    let told: Vec<_> = events
        .iter()
        .map(|(event, detail)| {
            let text = detail.to_string();
            assert!(
                !text.contains("example.com") && !text.contains("Order"),
                "{text}"
            );
            (event.detail_type.as_str(), detail["data"].clone())
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "Events.AlertCreated",
                json!({"alert": "a", "method": "email", "state": "active", "change": "created"})
            ),
            (
                "Events.AlertCreated",
                json!({
                    "alert": "b", "method": "sns", "topic": "ops", "state": "active",
                    "change": "created",
                })
            ),
            (
                "Events.AlertDeleted",
                json!({"alert": "a", "existed": true})
            ),
        ]
    );
}

fn raise(world: &World, tenant: &str) {
    let raised = AlertRaised {
        tenant: tenant.parse().expect("a tenant"),
        alert: "a".to_owned(),
        event_id: Ulid::generate(),
        time: world.now(),
    };
    world.app.shared().backplane.alerts.announce(raised);
}

#[tokio::test]
async fn who_subscribed_to_the_alerts_is_told_of_those_of_its_tenant() {
    let world = World::open().await;
    let caller = world.caller().await;
    let other = world.caller().await;
    let uri = json!({"uri": "mesh://alerts"});
    let updated = json!({
        "jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": {"uri": "mesh://alerts"},
    });
    caller.get("resources/subscribe", uri.clone()).await;
    raise(&world, "globex");
    raise(&world, "local");
    assert_eq!(caller.client.other().await, updated);
    caller.get("resources/unsubscribe", uri.clone()).await;
    raise(&world, "local");
    caller
        .get(
            "resources/subscribe",
            json!({"uri": "mesh://artifacts/user/w"}),
        )
        .await;
    raise(&world, "local");
    other
        .ok("artifacts_put", json!({"key": "w", "content": "x"}))
        .await;
    assert_eq!(
        caller.client.other().await["params"]["uri"],
        "mesh://artifacts/user/w",
        "neither another tenant's nor what is watched no more"
    );
    assert_eq!(other.client.others_so_far().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_stream_tells_of_the_alerts_of_its_tenant() {
    let world = World::of_two_tenants().await;
    let mut narrow = claims("acme", "ada", "viewer", world.now());
    narrow["scope"] = json!(Permission::EventsRead.name());
    let listener = world.bearer(&world.token(&narrow)).await.stateless();
    let id = listener.client.new_id();
    let params = json!({"notifications": {"resourceSubscriptions": ["mesh://alerts"]}});
    let answer = listener
        .client
        .begin(id, "subscriptions/listen", &listener.params(params))
        .await;
    tokio::spawn(answer);
    let acknowledged = listener.client.other().await;
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    raise(&world, "globex");
    raise(&world, "acme");
    let told = listener.client.other().await;
    assert_eq!(
        told,
        json!({
            "jsonrpc": "2.0", "method": "notifications/resources/updated",
            "params": {
                "_meta": {"io.modelcontextprotocol/subscriptionId": id}, "uri": "mesh://alerts",
            },
        })
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(listener.client.others_so_far().await, Vec::<Value>::new());

    let lists = json!({"notifications": {"resourcesListChanged": true}});
    let refused = listener.request("subscriptions/listen", lists).await;
    assert!(
        refused.unwrap_err().message.contains("artifacts.read"),
        "lists are for those who may list"
    );
    narrow["scope"] = json!(Permission::KvRead.name());
    let blind = world.bearer(&world.token(&narrow)).await.stateless();
    let alerts = json!({"notifications": {"resourceSubscriptions": ["mesh://alerts"]}});
    let refused = blind.request("subscriptions/listen", alerts).await;
    let data = refused.unwrap_err().data;
    assert_eq!(data["error"]["code"], "PERMISSION_DENIED", "{data}");
}

/// Mails of the embedded cloud, in the data folder.
fn mails(world: &World) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(world.path("data").join("mail"));
    let entries = folder
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .collect()
}

#[tokio::test]
async fn an_alert_that_is_raised_is_mailed_told_and_read() {
    let world = World::open().await;
    let caller = world.caller().await;
    make_rule(&caller, "orders").await;
    let alert = json!({
        "name": "tell", "rule": "orders", "method": "email", "email": "ops@example.com",
    });
    caller.ok(CREATE, alert).await;
    let uri = json!({"uri": "mesh://alerts"});
    caller.get("resources/subscribe", uri.clone()).await;
    let sent = json!({"detail_type": "Order.Failed", "detail": {"order": 7}});
    let sent = caller.ok("events_send", sent).await;
    let told = caller.client.other().await;
    assert_eq!(told["params"]["uri"], "mesh://alerts");
    let raised = patiently(async {
        loop {
            let read = caller.get("resources/read", uri.clone()).await;
            let text = read["contents"][0]["text"].as_str().expect("a text");
            let read: Value = serde_json::from_str(text).expect("JSON");
            if read["alerts"]
                .as_array()
                .is_some_and(|alerts| !alerts.is_empty())
            {
                return read;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let detail = &raised["alerts"][0]["detail"];
    assert_eq!(
        (&detail["alert"], &detail["rule"], &detail["event_id"]),
        (&json!("tell"), &json!("orders"), &sent["event_id"])
    );
    let mailed = patiently(async {
        loop {
            let found = mails(&world);
            if !found.is_empty() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let text = std::fs::read_to_string(&mailed[0]).expect("a mail");
    assert!(text.contains("ops@example.com"), "{text}");
}

#[tokio::test]
async fn a_flood_of_another_tenants_alerts_is_no_news() {
    let world = World::open().await;
    let caller = world.caller().await;
    let other = world.caller().await;
    let artifact = "mesh://artifacts/user/w";
    let updated = |uri: &str| {
        json!({
            "jsonrpc": "2.0", "method": "notifications/resources/updated",
            "params": {"uri": uri},
        })
    };
    for uri in ["mesh://alerts", artifact] {
        caller.get("resources/subscribe", json!({"uri": uri})).await;
    }
    for content in ["x", "y"] {
        for _ in 0..=WAITING_MAX {
            raise(&world, "globex");
        }
        other
            .ok("artifacts_put", json!({"key": "w", "content": content}))
            .await;
        assert_eq!(caller.client.other().await, updated(artifact));
        raise(&world, "local");
        assert_eq!(caller.client.other().await, updated("mesh://alerts"));
    }
}
