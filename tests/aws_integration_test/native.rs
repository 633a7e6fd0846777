//! Native rules on a bus: made, listed and removed, and what they let through.

mod calls;

use std::time::Duration;

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::event::pattern::{Pattern, bus_name};
use agent_mesh::mesh::store::bus::BusEntry;
use agent_mesh::mesh::store::bus_rules::{BusRule, ListedRule};
use agent_mesh::mesh::store::{Bus, BusRules};
use agent_mesh::mesh::tenant::TenantId;
use agent_mesh::outbound::aws::AwsBusRules;
use aws_sdk_sfn::config::{BehaviorVersion, Credentials, Region};
use serde_json::{Value, json};

use crate::backend::{Stage, tenant};
use calls::calls_make_mend_and_remove_rules;

crate::cases![
    a_rule_is_made_listed_and_removed,
    a_rule_becomes_what_it_should_be,
    what_is_not_there_is_removed_without_an_error,
    a_rule_with_a_strange_target_is_removed_too,
    rules_of_another_tenant_are_neither_listed_nor_removed,
    more_rules_than_a_page_are_listed,
    lost_answers_change_nothing,
    a_pattern_that_is_not_taken_is_told,
    without_a_role_no_rule_is_made,
    only_the_tenants_own_events_start_the_workflow,
    calls_make_mend_and_remove_rules,
];

/// How often it is looked whether something has happened, a tenth of a second apart.
const LOOKS_MAX: usize = 200;

impl Stage {
    fn rules(&self) -> AwsBusRules {
        let role = "arn:aws:iam::000000000000:role/agent-mesh-events";
        AwsBusRules::new(self.connection.clone(), Some(role))
    }

    fn rule(&self, name: &str) -> BusRule {
        rule_of(&self.tenant, name)
    }

    async fn listed(&self) -> Vec<ListedRule> {
        self.rules().list(&self.tenant).await.unwrap()
    }

    /// The targets of a rule, as id, ARN and role.
    async fn targets(&self, name: &str) -> Vec<[String; 3]> {
        let answer = self
            .eventbridge()
            .list_targets_by_rule()
            .rule(name)
            .event_bus_name(&self.connection.settings().bus)
            .send()
            .await
            .unwrap();
        let targets = answer.targets.unwrap_or_default().into_iter();
        let each = |target: aws_sdk_eventbridge::types::Target| {
            [target.id, target.arn, target.role_arn.unwrap_or_default()]
        };
        targets.map(each).collect()
    }

    fn states(&self) -> aws_sdk_sfn::Client {
        let settings = self.connection.settings();
        let mut config = aws_sdk_sfn::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-west-2"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        config.set_endpoint_url(settings.endpoint_url.clone());
        config.set_http_client(settings.http_client.clone());
        aws_sdk_sfn::Client::from_conf(config.build())
    }
}

fn rule_of(tenant: &TenantId, name: &str) -> BusRule {
    let pattern = Pattern::parse_callers(r#"{"detail-type":["Order.Failed"]}"#).unwrap();
    BusRule {
        name: bus_name(tenant, name).unwrap(),
        pattern: pattern.on_bus(tenant).unwrap(),
        target: "arn:aws:states:us-west-2:000000000000:stateMachine:refund".to_owned(),
        rule: name.to_owned(),
        user: "ada".parse().unwrap(),
        enabled: true,
    }
}

async fn a_rule_is_made_listed_and_removed(stage: Stage) {
    let (rules, rule) = (stage.rules(), stage.rule("a"));
    rules.put(&stage.tenant, &rule).await.unwrap();
    let expected = ListedRule {
        name: rule.name.clone(),
        pattern: rule.pattern.clone(),
        enabled: true,
    };
    assert_eq!(stage.listed().await, [expected]);
    let role = "arn:aws:iam::000000000000:role/agent-mesh-events";
    assert_eq!(
        stage.targets(&rule.name).await,
        [["workflow", rule.target.as_str(), role].map(str::to_owned)]
    );
    rules.remove(&stage.tenant, &rule.name).await.unwrap();
    assert_eq!(stage.listed().await, []);
}

async fn a_rule_becomes_what_it_should_be(stage: Stage) {
    let (rules, mut rule) = (stage.rules(), stage.rule("a"));
    rules.put(&stage.tenant, &rule).await.unwrap();
    rules.put(&stage.tenant, &rule).await.unwrap();
    rule.enabled = false;
    rule.target = "arn:aws:states:us-west-2:000000000000:stateMachine:other".to_owned();
    let pattern = Pattern::parse_callers(r#"{"detail":{"a":[1]}}"#).unwrap();
    rule.pattern = pattern.on_bus(&stage.tenant).unwrap();
    rules.put(&stage.tenant, &rule).await.unwrap();
    let listed = stage.listed().await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].pattern, listed[0].enabled),
        (&rule.pattern, false)
    );
    let targets = stage.targets(&rule.name).await;
    assert_eq!((targets.len(), &targets[0][1]), (1, &rule.target));
    rules.remove(&stage.tenant, &rule.name).await.unwrap();
}

async fn what_is_not_there_is_removed_without_an_error(stage: Stage) {
    let name = bus_name(&stage.tenant, "none").unwrap();
    stage.rules().remove(&stage.tenant, &name).await.unwrap();
}

async fn a_rule_with_a_strange_target_is_removed_too(stage: Stage) {
    let (rules, rule) = (stage.rules(), stage.rule("a"));
    rules.put(&stage.tenant, &rule).await.unwrap();
    let strange = aws_sdk_eventbridge::types::Target::builder()
        .id("by-hand")
        .arn("arn:aws:sqs:us-west-2:000000000000:somewhere")
        .build()
        .unwrap();
    stage
        .eventbridge()
        .put_targets()
        .rule(&rule.name)
        .event_bus_name(&stage.connection.settings().bus)
        .targets(strange)
        .send()
        .await
        .unwrap();
    assert_eq!(stage.targets(&rule.name).await.len(), 2);
    rules.remove(&stage.tenant, &rule.name).await.unwrap();
    assert_eq!(stage.listed().await, []);
}

async fn rules_of_another_tenant_are_neither_listed_nor_removed(stage: Stage) {
    let rules = stage.rules();
    // Its id begins with that of the other.
    let longer: TenantId = format!("{}-2", stage.tenant).parse().unwrap();
    let other = rule_of(&longer, "a");
    rules.put(&longer, &other).await.unwrap();
    assert_eq!(stage.listed().await, []);
    let error = rules.remove(&stage.tenant, &other.name).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    let error = rules.put(&stage.tenant, &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(rules.list(&longer).await.unwrap().len(), 1);
    rules.remove(&longer, &other.name).await.unwrap();
}

async fn more_rules_than_a_page_are_listed(stage: Stage) {
    let rules = stage.rules();
    let names: Vec<_> = (100..205).map(|number| format!("r{number}")).collect();
    for name in &names {
        rules.put(&stage.tenant, &stage.rule(name)).await.unwrap();
    }
    let listed = stage.listed().await;
    assert_eq!(listed.len(), names.len());
    for rule in listed {
        rules.remove(&stage.tenant, &rule.name).await.unwrap();
    }
    assert_eq!(stage.listed().await, []);
}

async fn lost_answers_change_nothing(stage: Stage) {
    let (rules, rule) = (stage.rules(), stage.rule("a"));
    for lost in ["PutRule", "PutTargets"] {
        stage.wire.lose(leaked(lost), 1);
        rules.put(&stage.tenant, &rule).await.unwrap();
        assert_eq!(stage.wire.left(), 0, "{lost}");
    }
    assert_eq!(stage.listed().await.len(), 1);
    for lost in ["ListTargetsByRule", "RemoveTargets", "DeleteRule"] {
        rules.put(&stage.tenant, &rule).await.unwrap();
        stage.wire.lose(leaked(lost), 1);
        rules.remove(&stage.tenant, &rule.name).await.unwrap();
        assert_eq!(stage.wire.left(), 0, "{lost}");
        assert_eq!(stage.listed().await, [], "{lost}");
    }
}

/// The wire keeps what it looks for as long as the program runs.
fn leaked(target: &'static str) -> &'static [&'static str] {
    Box::leak(Box::new([target]))
}

async fn a_pattern_that_is_not_taken_is_told(stage: Stage) {
    let source = format!("agent-mesh.{}", stage.tenant);
    let mut rule = stage.rule("a");
    rule.pattern = format!(r#"{{"source":["{source}"],"detail":{{"a":[{{"regex":"x"}}]}}}}"#);
    let error = stage.rules().put(&stage.tenant, &rule).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error:?}");
    assert_eq!(error.details()["parameter"], "pattern");
    assert!(error.message().contains("regex"), "{error}");
    assert_eq!(stage.listed().await, []);
}

async fn without_a_role_no_rule_is_made(stage: Stage) {
    let rules = AwsBusRules::new(stage.connection.clone(), None);
    let error = rules
        .put(&stage.tenant, &stage.rule("a"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(
        error
            .fix_text()
            .unwrap()
            .contains("AGENT_MESH_EVENTS_ROLE_ARN")
    );
    assert_eq!(stage.wire.carried(), 0);
}

async fn only_the_tenants_own_events_start_the_workflow(stage: Stage) {
    let states = stage.states();
    let machine = states
        .create_state_machine()
        .name(format!("native-{}", stage.tenant))
        .role_arn("arn:aws:iam::000000000000:role/agent-mesh-states")
        .definition(r#"{"StartAt":"Done","States":{"Done":{"Type":"Succeed"}}}"#)
        .send()
        .await
        .unwrap()
        .state_machine_arn;
    let mut rule = stage.rule("late");
    rule.target.clone_from(&machine);
    stage.rules().put(&stage.tenant, &rule).await.unwrap();

    let other = tenant();
    let entry = |source: String, detail_type: &str, number: usize| BusEntry {
        source,
        detail_type: detail_type.to_owned(),
        detail: json!({ "number": number }).to_string(),
        ..stage.entry("{}")
    };
    let own = format!("agent-mesh.{}", stage.tenant);
    let entries = [
        entry(format!("agent-mesh.{other}"), "Order.Failed", 1),
        entry(format!("{own}-2"), "Order.Failed", 2),
        entry(own.to_uppercase(), "Order.Failed", 3),
        entry(own.clone(), "Order.Paid", 4),
        entry(own.clone(), "Order.Failed", 5),
        entry(format!("x.{own}"), "Order.Failed", 6),
    ];
    let results = stage.bus.put(&entries).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");

    let mut runs = Vec::new();
    for _ in 0..LOOKS_MAX {
        let listed = states.list_executions().state_machine_arn(&machine);
        runs = listed.send().await.unwrap().executions;
        if !runs.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(runs.len(), 1, "{runs:?}");
    let run = states
        .describe_execution()
        .execution_arn(&runs[0].execution_arn);
    let input = run.send().await.unwrap().input.unwrap();
    let input: Value = serde_json::from_str(&input).unwrap();
    assert_eq!(
        input["tenant"],
        json!({"tenant_id": stage.tenant.as_str(), "user_id": "ada"})
    );
    let told = &input["input"];
    assert_eq!(told["rule"], "late");
    assert_eq!(told["detail_type"], "Order.Failed");
    assert_eq!(told["source"], own);
    assert_eq!(told["detail"], json!({"number": 5}));
    assert!(
        told["event_id"].is_string() && told["time"].is_string(),
        "{told}"
    );
    stage
        .rules()
        .remove(&stage.tenant, &rule.name)
        .await
        .unwrap();
}
