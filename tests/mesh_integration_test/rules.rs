//! Rules as clients make, try, list and delete them.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_mesh::mesh::Timestamp;
use agent_mesh::mesh::tenant::Permission;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::bus::Heard;
use crate::support::token::claims;
use crate::support::{Caller, Plan, World};

const CREATE: &str = "events_create_rule";
const LIST: &str = "events_list_rules";
const DELETE: &str = "events_delete_rule";

fn failed_orders() -> Value {
    json!({"detail-type": ["Order.Failed"], "detail": {"total": [{"numeric": [">", 100]}]}})
}

async fn send_order(caller: &Caller, detail_type: &str, total: u32) {
    let event = json!({"detail_type": detail_type, "detail": {"total": total}});
    caller.ok("events_send", event).await;
}

/// What a pattern would have matched.
async fn preview(caller: &Caller, pattern: Value) -> Value {
    let arguments = json!({"name": "tried", "pattern": pattern, "dry_run": true});
    caller.ok(CREATE, arguments).await["preview"].clone()
}

pub(crate) async fn names(caller: &Caller) -> Vec<String> {
    let listed = caller.ok(LIST, json!({})).await;
    assert!(listed.get("next_cursor").is_none(), "{listed}");
    let rules = listed["rules"].as_array().expect("rules").iter();
    let name = |rule: &Value| rule["rule"].as_str().expect("a name").to_owned();
    rules.map(name).collect()
}

/// Somebody of acme who holds just these permissions.
async fn holding(world: &World, user: &str, permissions: &[Permission]) -> Caller {
    let names: Vec<_> = permissions.iter().map(|held| held.name()).collect();
    let mut claims = claims("acme", user, "admin", world.now());
    claims["scope"] = json!(names.join(" "));
    world.bearer(&world.token(&claims)).await
}

#[tokio::test]
async fn a_rule_is_tried_on_what_has_happened_made_shown_and_deleted() {
    let world = World::open().await;
    let caller = world.caller().await;
    for total in [50, 100, 101, 500] {
        send_order(&caller, "Order.Failed", total).await;
    }
    send_order(&caller, "Order.Paid", 500).await;
    let mut rule = json!({
        "name": "failed-orders", "pattern": failed_orders(), "description": "dear ones",
        "dry_run": true,
    });
    let tried = caller.ok(CREATE, rule.clone()).await;
    let expected = json!({
        "rule": "failed-orders", "enabled": true, "change": "created", "dry_run": true,
        "preview": {
            "matched": 2, "examined": 5, "since": tried["preview"]["since"], "events_of": "tenant",
        },
    });
    assert_eq!(tried, expected);
    let since: Timestamp = tried["preview"]["since"].as_str().unwrap().parse().unwrap();
    assert!(
        world.now().since(since) >= Duration::from_hours(30 * 24),
        "all of the window was looked at"
    );
    assert_eq!(names(&caller).await, Vec::<String>::new(), "a dry run");

    rule["dry_run"] = json!(false);
    let made = caller.ok(CREATE, rule.clone()).await;
    assert_eq!(
        (&made["change"], &made["preview"]["matched"]),
        (&json!("created"), &json!(2))
    );
    assert!(made.get("dry_run").is_none());
    let listed = caller.ok(LIST, json!({})).await;
    let shown = &listed["rules"][0];
    let expected = json!({
        "rule": "failed-orders", "pattern": failed_orders(), "description": "dear ones",
        "enabled": true, "created_at": shown["created_at"], "created_by": "ada", "alerts": [],
    });
    assert_eq!(
        listed,
        json!({"rules": [expected], "alerts": []}),
        "nothing else is told"
    );

    let gone = caller.ok(DELETE, json!({"name": "failed-orders"})).await;
    let absent =
        |existed: bool| json!({"rule": "failed-orders", "existed": existed, "alerts_deleted": []});
    assert_eq!(gone, absent(true));
    let again = caller.ok(DELETE, json!({"name": "failed-orders"})).await;
    assert_eq!(again, absent(false));
    assert_eq!(names(&caller).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_same_rule_again_is_the_same_rule_and_another_pattern_is_a_conflict() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "admin").await;
    let bob = world.user("acme", "bob", "admin").await;
    let rule = json!({"name": "r", "pattern": {"source": ["till"], "tool": ["events_send"]}});
    assert_eq!(ada.ok(CREATE, rule.clone()).await["change"], "created");
    let first = ada.ok(LIST, json!({})).await;
    let mut reordered = rule.clone();
    reordered["pattern"] = json!(r#" { "tool" : ["events_send"], "source" : ["till"] } "#);
    for same in [&rule, &reordered] {
        for caller in [&ada, &bob] {
            let again = caller.ok(CREATE, same.clone()).await;
            assert_eq!(again["change"], "unchanged", "{same}");
        }
    }
    assert_eq!(ada.ok(LIST, json!({})).await, first, "it is still ada's");

    let mut off = rule.clone();
    off["enabled"] = json!(false);
    off["description"] = json!("off for now");
    let mut trial = off.clone();
    trial["dry_run"] = json!(true);
    assert_eq!(bob.ok(CREATE, trial).await["change"], "updated");
    assert_eq!(ada.ok(LIST, json!({})).await, first, "that was a dry run");
    let updated = bob.ok(CREATE, off).await;
    assert_eq!(
        (&updated["change"], &updated["enabled"]),
        (&json!("updated"), &json!(false))
    );
    let shown = ada.ok(LIST, json!({})).await["rules"][0].clone();
    assert_eq!(
        (
            &shown["enabled"],
            &shown["description"],
            &shown["created_by"]
        ),
        (&json!(false), &json!("off for now"), &json!("bob")),
        "who set it is its maker"
    );
    assert_eq!(shown["created_at"], first["rules"][0]["created_at"]);
    assert_eq!(ada.ok(CREATE, rule.clone()).await["change"], "updated");
    let shown = ada.ok(LIST, json!({})).await["rules"][0].clone();
    assert!(shown.get("description").is_none(), "what is left out goes");

    let mut other = rule.clone();
    other["pattern"]["source"] = json!(["shop"]);
    let conflict = ada.fail(CREATE, other.clone()).await;
    assert_eq!(
        (conflict.code(), conflict.detail("rule")),
        ("CONFLICT", json!("r"))
    );
    assert!(conflict.fix().unwrap().contains(DELETE), "{conflict:?}");
    other["dry_run"] = json!(true);
    assert_eq!(ada.ok(CREATE, other.clone()).await["change"], "conflict");
    ada.ok(DELETE, json!({"name": "r"})).await;
    other["dry_run"] = json!(false);
    assert_eq!(ada.ok(CREATE, other).await["change"], "created");
}

#[tokio::test]
async fn what_is_no_rule_is_refused_by_name() {
    let world = World::open().await;
    let caller = world.caller().await;
    let with = |name: &str, value: Value| {
        let mut rule = json!({"name": "r", "pattern": failed_orders()});
        rule[name] = value;
        rule
    };
    for (arguments, parameter) in [
        (json!({"pattern": {"source": ["a"]}}), "name"),
        (with("name", json!("")), "name"),
        (with("name", json!("a".repeat(65))), "name"),
        (with("name", json!("-a")), "name"),
        (with("name", json!("a b")), "name"),
        (with("name", json!("a#b")), "name"),
        (with("name", json!("ä")), "name"),
        (with("name", json!("../a")), "name"),
        (json!({"name": "r"}), "pattern"),
        (with("pattern", json!({})), "pattern"),
        (with("pattern", json!([])), "pattern"),
        (with("pattern", json!("no JSON")), "pattern"),
        (with("pattern", json!({"source": "till"})), "pattern"),
        (with("pattern", json!({"tenant_id": ["globex"]})), "pattern"),
        (with("pattern", json!({"account": ["1"]})), "pattern"),
        (
            with("pattern", json!({"$or": [{"writer": ["x"]}]})),
            "pattern",
        ),
        (
            with("pattern", json!({"source": [{"wildcard": "**"}]})),
            "pattern",
        ),
        (
            with("pattern", json!({"source": ["x".repeat(3000)]})),
            "pattern",
        ),
        (with("pattern", json!(" ".repeat(70_000))), "pattern"),
        (with("description", json!("")), "description"),
        (with("description", json!("é".repeat(513))), "description"),
        (with("description", json!("a\nb")), "description"),
        (with("workflow", json!("")), "workflow"),
        (with("workflow", json!("w".repeat(129))), "workflow"),
        (with("enabled", json!("yes")), "enabled"),
    ] {
        let failure = caller.fail(CREATE, arguments.clone()).await;
        let told = (failure.code().to_owned(), failure.parameter());
        assert_eq!(
            told,
            ("INVALID_PARAMETER".to_owned(), parameter.to_owned()),
            "{arguments}"
        );
    }
    let absent = caller.fail(CREATE, with("workflow", json!("refund"))).await;
    assert_eq!(
        (absent.code(), absent.parameter().as_str()),
        ("NOT_FOUND", "workflow")
    );
    let native = caller.fail(CREATE, with("native", json!(true))).await;
    assert_eq!(native.code(), "NOT_SUPPORTED");
    assert!(
        native
            .fix()
            .unwrap()
            .contains("AGENT_MESH_NATIVE_RULES_MAX")
    );
    for (tool, arguments) in [
        (DELETE, json!({"name": "a/b"})),
        ("events_delete_alert", json!({"name": ""})),
    ] {
        assert_eq!(caller.fail(tool, arguments).await.parameter(), "name");
    }
    assert_eq!(names(&caller).await, Vec::<String>::new());
    for fits in [
        with("name", json!("a".repeat(64))),
        with("name", json!("9._-")),
        with("description", json!("é".repeat(512))),
    ] {
        caller.ok(CREATE, fits.clone()).await;
        caller.ok(DELETE, json!({"name": fits["name"]})).await;
    }
}

#[tokio::test]
async fn a_preview_is_tried_on_what_the_caller_may_read() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "user").await;
    let bob = world.user("acme", "bob", "user").await;
    let eve = world.user("globex", "ada", "admin").await;
    send_order(&ada, "Order.Failed", 500).await;
    send_order(&bob, "Order.Failed", 500).await;
    send_order(&bob, "Order.Failed", 600).await;
    send_order(&eve, "Order.Failed", 700).await;
    use Permission::{EventsRead, EventsReadAll, RulesManage};
    for (permissions, matched, events_of) in [
        (vec![RulesManage, EventsRead, EventsReadAll], 3, "tenant"),
        (vec![RulesManage, EventsRead], 1, "user"),
        (vec![RulesManage, EventsReadAll], 0, "nobody"),
        (vec![RulesManage], 0, "nobody"),
    ] {
        let caller = holding(&world, "ada", &permissions).await;
        let seen = preview(&caller, failed_orders()).await;
        assert_eq!(
            (&seen["matched"], &seen["events_of"]),
            (&json!(matched), &json!(events_of)),
            "{permissions:?}"
        );
        if events_of == "nobody" {
            assert_eq!(seen["examined"], 0);
        }
    }
    assert_eq!(preview(&eve, failed_orders()).await["matched"], 1);
}

#[tokio::test]
async fn a_workflow_needs_the_permission_to_run_it() {
    let world = World::of_two_tenants().await;
    let rule = json!({"name": "r", "pattern": failed_orders(), "workflow": "refund"});
    let may_not = holding(&world, "ada", &[Permission::RulesManage]).await;
    let denied = may_not.fail(CREATE, rule.clone()).await;
    assert_eq!(
        (denied.code(), denied.detail("permission")),
        ("PERMISSION_DENIED", json!("workflow.run"))
    );
    let may = world.user("acme", "ada", "admin").await;
    let absent = may.fail(CREATE, rule).await;
    assert_eq!(
        absent.code(),
        "NOT_FOUND",
        "and only who may run one learns that it is not there"
    );
}

#[tokio::test]
async fn a_preview_looks_at_pages_of_events_and_at_large_ones() {
    let world = World::open().await;
    let caller = world.caller().await;
    let of = |number: usize| json!({"detail_type": "Row.Added", "detail": {"n": number % 10}});
    for page in 0..130 {
        let events: Vec<_> = (0..10).map(|number| of(page * 10 + number)).collect();
        caller.ok("events_send", json!({ "events": events })).await;
    }
    let large = json!({"filler": "x".repeat(40_000), "inside": {"deep": "yes"}});
    let event = json!({"detail_type": "Row.Added", "detail": large});
    caller.ok("events_send", event).await;
    let seen = preview(&caller, json!({"detail": {"n": [3]}})).await;
    assert_eq!(
        (&seen["matched"], &seen["examined"]),
        (&json!(130), &json!(1301)),
        "{seen}"
    );
    let seen = preview(&caller, json!({"detail": {"inside": {"deep": ["yes"]}}})).await;
    assert_eq!(
        seen["matched"], 1,
        "a body that lies in the bucket is looked at"
    );

    let id = caller.client.new_id();
    let params = json!({
        "name": CREATE, "_meta": {"progressToken": "p"},
        "arguments": {"name": "r", "pattern": {"source": ["x"]}, "dry_run": true},
    });
    let answer = caller
        .client
        .begin(id, "tools/call", &params.to_string())
        .await;
    answer.await.unwrap().unwrap();
    let told = caller.client.others_so_far().await;
    let progress: Vec<_> = told
        .iter()
        .filter(|told| told["method"] == "notifications/progress")
        .map(|told| told["params"]["progress"].as_f64().unwrap())
        .collect();
    assert!(
        progress.len() >= 2 && progress.windows(2).all(|pair| pair[0] < pair[1]),
        "{told:?}"
    );
}

const THREE_RULES: &str = r#"
[defaults.limits]
dynamodb_read = 1000000
dynamodb_write = 1000000
rules = 3
"#;

/// Makes `count` rules at once by turns through `callers`; answers the codes of those that failed.
async fn make_at_once(callers: &[&Caller], count: usize) -> Vec<String> {
    let calls = (0..count).map(|number| {
        let caller = callers[number % callers.len()];
        let rule = json!({"name": format!("r{number}"), "pattern": {"source": ["x"]}});
        caller.call(CREATE, rule)
    });
    let answers = join_all(calls).await.into_iter();
    let answers = answers.map(|answer| answer.expect("an answer"));
    let failed = answers.filter(|answer| answer.is_error);
    let code = |value: Value| value["error"]["code"].as_str().unwrap().to_owned();
    failed.map(|answer| code(answer.value())).collect()
}

#[tokio::test]
async fn no_more_rules_come_to_be_than_the_quota_has_room_for() {
    let world = Plan::default().tenants(THREE_RULES).open().await;
    let beside = Plan::default()
        .tenants(THREE_RULES)
        .beside(&world)
        .open()
        .await;
    let (one, other) = (world.caller().await, beside.caller().await);
    let failed = make_at_once(&[&one, &other], 14).await;
    assert_eq!(failed, vec!["QUOTA_EXCEEDED"; 11]);
    let made = names(&one).await;
    assert_eq!(made.len(), 3, "{made:?}");

    let refused = one
        .fail(CREATE, json!({"name": "x", "pattern": {"source": ["x"]}}))
        .await;
    assert_eq!(
        (
            refused.detail("quota"),
            refused.detail("allowed"),
            refused.detail("used")
        ),
        (json!("rules"), json!(3), json!(3))
    );
    let again = json!({"name": made[0], "pattern": {"source": ["x"]}, "enabled": false});
    assert_eq!(
        one.ok(CREATE, again).await["change"],
        "updated",
        "what is there needs no room"
    );
    other.ok(DELETE, json!({"name": made[0]})).await;
    let failed = make_at_once(&[&one, &other], 14).await;
    // Those that are there are made again, and one of the others finds room.
    assert_eq!(failed, vec!["QUOTA_EXCEEDED"; 11]);
    assert_eq!(names(&other).await.len(), 3);
}

#[tokio::test]
async fn of_two_who_make_one_rule_at_once_one_makes_it() {
    let world = World::open().await;
    let beside = Plan::default().beside(&world).open().await;
    let (one, other) = (world.caller().await, beside.caller().await);
    for round in 0..8 {
        let rule =
            |source: &str| json!({"name": format!("r{round}"), "pattern": {"source": [source]}});
        let (first, second) = tokio::join!(one.ok(CREATE, rule("a")), other.ok(CREATE, rule("a")));
        let changes: BTreeSet<_> = [&first, &second]
            .map(|made| made["change"].as_str().unwrap())
            .into();
        assert_eq!(changes, BTreeSet::from(["created", "unchanged"]));
        one.ok(DELETE, json!({"name": format!("r{round}")})).await;

        let (first, second) =
            tokio::join!(one.call(CREATE, rule("b")), other.call(CREATE, rule("c")));
        let ended: BTreeSet<_> = [first.unwrap(), second.unwrap()]
            .map(|made| match made.is_error {
                true => made.value()["error"]["code"].as_str().unwrap().to_owned(),
                false => made.value()["change"].as_str().unwrap().to_owned(),
            })
            .into();
        assert_eq!(
            ended,
            BTreeSet::from(["created".to_owned(), "CONFLICT".to_owned()])
        );
    }
    assert_eq!(names(&one).await.len(), 8);
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let world = World::open().await;
    let caller = world.caller().await;
    let filler = "x".repeat(1_900);
    for number in 0..45 {
        let pattern = json!({"source": [format!("{filler}{number:02}")]});
        let rule = json!({"name": format!("r{number:02}"), "pattern": pattern});
        caller.ok(CREATE, rule).await;
    }
    for number in 0..20 {
        let alert = json!({
            "name": format!("a{number:02}"), "pattern": {"source": [format!("{filler}{number:02}")]},
            "method": "sns", "topic": "ops",
        });
        caller.ok("events_create_alert", alert).await;
    }
    let (mut rules, mut alerts, mut pages) = (Vec::new(), Vec::new(), 0);
    let mut arguments = json!({});
    loop {
        let page = caller.ok(LIST, arguments.clone()).await;
        let told = |of: &str, name: &str| -> Vec<String> {
            let items = page[of].as_array().unwrap().iter();
            items
                .map(|item| item[name].as_str().unwrap().to_owned())
                .collect()
        };
        rules.extend(told("rules", "rule"));
        alerts.extend(told("alerts", "alert"));
        pages += 1;
        match page.get("next_cursor") {
            Some(cursor) => arguments["cursor"] = cursor.clone(),
            None => break,
        }
    }
    let expected = |letter: &str, count: usize| -> Vec<String> {
        (0..count)
            .map(|number| format!("{letter}{number:02}"))
            .collect()
    };
    assert_eq!((rules, alerts), (expected("r", 45), expected("a", 20)));
    assert!(pages >= 3, "{pages}");
    let foreign = caller.ok("kv_list", json!({"limit": 1})).await;
    assert!(foreign.get("next_cursor").is_none());
    let fault = caller.fault(LIST, json!({"cursor": "e30"})).await;
    assert_eq!(fault.code, -32602);
}

#[tokio::test]
async fn a_rule_outlives_the_process_and_is_seen_by_others_at_once() {
    let world = World::open().await;
    let caller = world.caller().await;
    let rule = json!({"name": "kept", "pattern": failed_orders()});
    caller.ok(CREATE, rule.clone()).await;
    let beside = Plan::default().beside(&world).open().await;
    drop(caller);
    drop(world);
    let caller = beside.caller().await;
    assert_eq!(names(&caller).await, ["kept"]);
    assert_eq!(caller.ok(CREATE, rule).await["change"], "unchanged");
}

#[tokio::test]
async fn the_events_of_rules_tell_names_alone() {
    let world = World::open().await;
    let heard = Heard::at(&world);
    let caller = world.caller().await;
    let rule = json!({
        "name": "secret-plan", "pattern": {"source": ["pattern-text"]}, "description": "words",
    });
    caller.ok(CREATE, rule).await;
    caller.ok(LIST, json!({})).await;
    caller.ok(DELETE, json!({"name": "secret-plan"})).await;
    let events = heard.wait(3, |_| true).await;
    let told: Vec<_> = events
        .iter()
        .map(|(event, detail)| {
            let text = detail.to_string();
            assert!(
                !text.contains("pattern-text") && !text.contains("words"),
                "{text}"
            );
            (event.detail_type.as_str(), detail["data"].clone())
        })
        .collect();
    let expected = [
        (
            "Events.RuleCreated",
            json!({
                "rule": "secret-plan", "enabled": true, "native": false, "dry_run": false,
                "change": "created", "matched": 0, "examined": 0,
            }),
        ),
        ("Events.RulesListed", json!({"rules": 1, "alerts": 0})),
        (
            "Events.RuleDeleted",
            json!({"rule": "secret-plan", "existed": true, "alerts_deleted": 0}),
        ),
    ];
    assert_eq!(told, expected);
}
