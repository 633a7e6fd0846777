//! What machines may reach, and what they may not.

use serde_json::{Value, json};

use super::super::asl::DynamoDbAction;
use super::request::{check_item, events, publication};
use crate::mesh::tenant::TenantId;

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn item(partition: &Value, action: DynamoDbAction) -> Result<(), String> {
    let member = match action {
        DynamoDbAction::Put => "Item",
        _ => "Key",
    };
    let mut arguments = json!({"TableName": "t"});
    arguments[member] = json!({"PK": partition, "SK": {"S": "x"}});
    check_item(&acme(), "t", action, &arguments).map_err(|error| error.error)
}

#[test]
fn a_machine_reaches_shared_values_and_its_own_partitions_and_nothing_else() {
    let actions = [
        DynamoDbAction::Get,
        DynamoDbAction::Put,
        DynamoDbAction::Update,
        DynamoDbAction::Delete,
    ];
    for action in actions {
        for partition in ["T#acme#KV#T", "T#acme#APP#orders", "T#acme#APP#a#b"] {
            assert_eq!(
                item(&json!({"S": partition}), action),
                Ok(()),
                "{partition}"
            );
        }
        for partition in [
            "",
            "T#",
            "T#acme",
            "T#acme#",
            "T#acm#KV#T",
            "T#acme2#KV#T",
            "T#other#KV#T",
            "T#other#APP#x",
            "T#acme#KV#U#ada",
            "T#acme#KV#T#",
            "T#acme#WF",
            "T#acme#RULE",
            "T#acme#CFG",
            "T#acme#IDEM",
            "T#acme#Q",
            "T#acme#EV#20260101#0",
            "T#acme#AG#20260101",
            "T#acme#INT",
            "T#acme#APP#",
            "t#acme#KV#T",
            " T#acme#KV#T",
            "T#acme#app#x",
            "APP#x",
        ] {
            let refused = item(&json!({"S": partition}), action);
            assert_eq!(
                refused,
                Err("DynamoDB.AccessDeniedException".to_owned()),
                "{partition}"
            );
        }
        for partition in [
            json!({"B": "VCNhY21lI0tWI1Q="}),
            json!("T#acme#KV#T"),
            json!(null),
        ] {
            assert!(item(&partition, action).is_err(), "{partition}");
        }
    }
    let other = json!({"TableName": "other", "Key": {"PK": {"S": "T#acme#KV#T"}}});
    let refused = check_item(&acme(), "t", DynamoDbAction::Get, &other).unwrap_err();
    assert_eq!(refused.error, "DynamoDB.ResourceNotFoundException");
}

#[test]
fn events_have_the_tenants_source_whatever_the_machine_says() {
    let sent = events(
        &acme(),
        json!({"Entries": [
            {"DetailType": "A", "Detail": {"a": 1}, "Time": "2026-01-31T00:00:00.5Z"},
            {"Source": "agent-mesh.acme", "DetailType": "A", "Detail": "{}"},
        ]}),
    )
    .unwrap();
    assert_eq!(sent["Entries"][0]["Source"], "agent-mesh.acme");
    assert_eq!(sent["Entries"][0]["Detail"], "{\"a\":1}");
    assert_eq!(sent["Entries"][0]["Time"], 1_769_817_600.5);
    assert_eq!(sent["Entries"][1]["Detail"], "{}");
    for source in [
        json!("agent-mesh.other"),
        json!("agent-mesh.acme2"),
        json!("x"),
        json!(["agent-mesh.acme"]),
    ] {
        let refused = events(&acme(), json!({"Entries": [{"Source": source}]})).unwrap_err();
        assert_eq!(refused.error, "EventBridge.AccessDeniedException");
    }
    assert!(events(&acme(), json!({"Entries": [1]})).is_err());
    assert!(events(&acme(), json!({"Entries": [{"Time": "soon"}]})).is_err());
}

#[test]
fn a_notice_goes_to_no_other_tenants_topic() {
    let topic = |name: &str| format!("arn:aws:sns:us-west-2:000000000000:{name}");
    let published = |name: &str| {
        let arguments = json!({
            "TopicArn": topic(name),
            "Message": {"a": 1},
            "Subject": "S",
            "MessageAttributes": {"to": {"DataType": "String", "StringValue": "ada@example.com"}},
        });
        publication(&acme(), &arguments)
    };
    let told = published("agent-mesh-alerts-acme").unwrap();
    assert_eq!(told.topic, topic("agent-mesh-alerts-acme"));
    assert_eq!(
        (told.subject.as_deref(), told.message.as_str()),
        (Some("S"), "{\"a\":1}")
    );
    let attribute = (
        "to".to_owned(),
        "String".to_owned(),
        "ada@example.com".to_owned(),
    );
    assert_eq!(told.attributes, [attribute]);
    assert!(published("ops").is_ok());
    for other in [
        "agent-mesh-alerts-other",
        "agent-mesh-alerts-acme2",
        "agent-mesh-alerts-",
        "agent-mesh-alerts-acm",
    ] {
        let refused = published(other).unwrap_err();
        assert_eq!(refused.error, "SNS.AuthorizationErrorException", "{other}");
    }
}
