//! Native rules: throttles, refusals, what fails in part, and what others do meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_mesh::mesh::store::BusRules;
use agent_mesh::mesh::store::bus_rules::BusRule;
use agent_mesh::mesh::{Error, ErrorKind, SystemClock};
use agent_mesh::outbound::aws::{AwsBusRules, Connection};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::{Answer, Wire, json_error, settings, tenant};

super::scripted![
    each_step_waits_for_throttles,
    throttles_without_end_are_told,
    a_full_bus_is_told_as_a_quota,
    a_refused_pattern_is_told_without_names,
    a_denial_is_told_without_names,
    a_target_that_is_not_taken_is_no_rule,
    a_rule_that_goes_while_it_is_made_is_told,
    a_rule_that_goes_while_it_is_removed_is_gone,
    a_target_that_stays_keeps_the_rule,
    somebody_else_at_the_same_rule_is_told,
    a_rule_of_aws_is_told_as_a_conflict,
    what_the_bus_lists_of_others_is_not_looked_at,
    lists_without_end_are_not_followed,
];

/// Rules on a bus that answers each operation by its name.
fn rules(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> (AwsBusRules, Wire) {
    let wire = Wire::new(move |request| {
        let target = request.headers().get("x-amz-target").unwrap_or("");
        answer(target.trim_start_matches("AWSEvents."))
    });
    let settings = settings(SharedHttpClient::new(wire.clone()));
    let connection = Connection::new(settings, Arc::new(SystemClock::new()));
    let role = "arn:aws:iam::123456789012:role/secret";
    (AwsBusRules::new(connection, Some(role)), wire)
}

/// What a bus answers where all goes well.
fn well(operation: &str) -> Answer {
    let body = match operation {
        "PutRule" => r#"{"RuleArn":"arn:aws:events:us-west-2:123456789012:rule/bus/x"}"#,
        "ListTargetsByRule" => r#"{"Targets":[{"Id":"workflow","Arn":"arn:aws:states:::x"}]}"#,
        "PutTargets" | "RemoveTargets" => r#"{"FailedEntryCount":0,"FailedEntries":[]}"#,
        "ListRules" => r#"{"Rules":[]}"#,
        _ => "{}",
    };
    Some((200, body.to_owned()))
}

fn rule() -> BusRule {
    BusRule {
        name: "agent-mesh.acme.late".to_owned(),
        pattern: r#"{"detail-type":["Order.Late"],"source":["agent-mesh.acme"]}"#.to_owned(),
        target: "arn:aws:states:us-west-2:123456789012:stateMachine:secret".to_owned(),
        rule: "late".to_owned(),
        user: "ada".parse().unwrap(),
        enabled: true,
    }
}

async fn put(rules: &AwsBusRules) -> Result<(), Error> {
    rules.put(&tenant("acme"), &rule()).await
}

async fn remove(rules: &AwsBusRules) -> Result<(), Error> {
    rules.remove(&tenant("acme"), &rule().name).await
}

/// The failure of putting a rule where `operation` is answered with `code`.
async fn refused(operation: &'static str, code: &'static str) -> Error {
    let (rules, _) = rules(move |asked| match asked == operation {
        true => json_error(400, code),
        false => well(asked),
    });
    put(&rules).await.unwrap_err()
}

async fn each_step_waits_for_throttles() {
    for throttled in [
        "PutRule",
        "PutTargets",
        "ListTargetsByRule",
        "RemoveTargets",
        "DeleteRule",
        "ListRules",
    ] {
        let times = AtomicUsize::new(2);
        let (rules, _) = rules(move |operation| {
            let left = || {
                times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
            };
            match operation == throttled && left().is_ok() {
                true => json_error(400, "ThrottlingException"),
                false => well(operation),
            }
        });
        put(&rules).await.unwrap();
        remove(&rules).await.unwrap();
        rules.list(&tenant("acme")).await.unwrap();
    }
}

async fn throttles_without_end_are_told() {
    let (rules, wire) = rules(|_| json_error(400, "ThrottlingException"));
    let error = put(&rules).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsThrottled);
    assert!(error.wait().is_some());
    assert_eq!(wire.count(), 3);
}

async fn a_full_bus_is_told_as_a_quota() {
    for operation in ["PutRule", "PutTargets"] {
        let error = refused(operation, "LimitExceededException").await;
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{operation}");
        assert!(error.fix_text().unwrap().contains("native"), "{error:?}");
    }
}

async fn a_refused_pattern_is_told_without_names() {
    let body = |reason: &str| {
        let code = "InvalidEventPatternException";
        let message = format!("Event pattern is not valid. Reason: {reason}");
        Some((
            400,
            format!(r#"{{"__type":"{code}","message":"{message}"}}"#),
        ))
    };
    for (reason, is_told) in [
        (
            "Rule is too complex - try using fewer wildcard characters",
            true,
        ),
        ("at arn:aws:events:us-west-2:123456789012:rule/x", false),
    ] {
        let (rules, _) = rules(move |_| body(reason));
        let error = put(&rules).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        assert_eq!(error.details()["parameter"], "pattern");
        assert_eq!(error.message().contains(reason), is_told, "{error}");
        assert!(!error.message().contains("123456789012"), "{error}");
    }
}

async fn a_denial_is_told_without_names() {
    let error = refused("PutTargets", "AccessDeniedException").await;
    assert_eq!(error.kind(), ErrorKind::AwsCredentials);
    for text in [error.message(), error.fix_text().unwrap()] {
        assert!(!text.contains("arn:") && !text.contains("secret"), "{text}");
    }
}

async fn a_target_that_is_not_taken_is_no_rule() {
    for (code, kind) in [
        ("ConcurrentModificationException", ErrorKind::AwsUnavailable),
        ("LimitExceededException", ErrorKind::QuotaExceeded),
        ("ThrottlingException", ErrorKind::AwsThrottled),
        ("ResourceNotFoundException", ErrorKind::AwsUnavailable),
        ("Strange", ErrorKind::Internal),
    ] {
        let (rules, _) = rules(move |operation| match operation {
            "PutTargets" => Some((
                200,
                format!(
                    r#"{{"FailedEntryCount":1,"FailedEntries":[{{"TargetId":"workflow","ErrorCode":"{code}"}}]}}"#
                ),
            )),
            _ => well(operation),
        });
        assert_eq!(put(&rules).await.unwrap_err().kind(), kind, "{code}");
    }
}

async fn a_rule_that_goes_while_it_is_made_is_told() {
    let error = refused("PutTargets", "ResourceNotFoundException").await;
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    assert!(
        error.message().contains("while it was being made"),
        "{error}"
    );
}

async fn a_rule_that_goes_while_it_is_removed_is_gone() {
    for operation in ["ListTargetsByRule", "RemoveTargets", "DeleteRule"] {
        let (rules, _) = rules(move |asked| match asked == operation {
            true => json_error(400, "ResourceNotFoundException"),
            false => well(asked),
        });
        remove(&rules).await.unwrap();
    }
}

async fn a_target_that_stays_keeps_the_rule() {
    let (rules, wire) = rules(|operation| {
        match operation {
        "RemoveTargets" => Some((
            200,
            r#"{"FailedEntryCount":1,"FailedEntries":[{"TargetId":"workflow","ErrorCode":"InternalException"}]}"#
                .to_owned(),
        )),
        _ => well(operation),
    }
    });
    let error = remove(&rules).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    // The rule is not deleted: AWS would refuse that, and it is tried again as a whole.
    assert_eq!(wire.count(), 2);
}

async fn somebody_else_at_the_same_rule_is_told() {
    for operation in ["PutRule", "PutTargets"] {
        let error = refused(operation, "ConcurrentModificationException").await;
        assert_eq!(error.kind(), ErrorKind::AwsUnavailable, "{operation}");
        assert!(error.kind().is_retryable());
    }
}

async fn a_rule_of_aws_is_told_as_a_conflict() {
    let error = refused("PutRule", "ManagedRuleException").await;
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

async fn what_the_bus_lists_of_others_is_not_looked_at() {
    let (rules, _) = rules(|_| {
        let names = [
            "agent-mesh.acme-2.a",
            "agent-mesh.acme.b",
            "agent-mesh",
            "x",
        ];
        let rule =
            |name| format!(r#"{{"Name":"{name}","EventPattern":"{{}}","State":"DISABLED"}}"#);
        let listed = names.map(rule).join(",");
        Some((200, format!(r#"{{"Rules":[{listed}]}}"#)))
    });
    let listed = rules.list(&tenant("acme")).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].name.as_str(), listed[0].enabled),
        ("agent-mesh.acme.b", false)
    );
}

async fn lists_without_end_are_not_followed() {
    let (rules, wire) = rules(|_| Some((200, r#"{"NextToken":"more"}"#.to_owned())));
    let error = rules.list(&tenant("acme")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(wire.count(), 20);
    let error = remove(&rules).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(wire.count(), 24);
}
