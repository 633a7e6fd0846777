//! Executions: throttles, lost answers, machines that are not what they should be, and what AWS denies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_mesh::mesh::store::States;
use agent_mesh::mesh::store::states::{ExecutionStatus, NewExecution, Started};
use agent_mesh::mesh::{Clock, Error, ErrorKind, ManualClock, SystemClock, Timestamp};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::{Answer, Cloud, Wire, json_error, settings, tenant};

super::scripted![
    a_throttle_is_waited_for,
    throttles_without_end_are_told,
    a_start_that_never_answers_is_a_timeout,
    a_standard_machine_is_looked_at_once_in_a_while,
    who_may_not_look_at_a_machine_may_start_it,
    an_express_machine_that_may_not_be_looked_at_is_told_by_its_start,
    every_refusal_has_its_kind,
    every_status_is_known,
    a_stop_that_comes_too_late_is_no_error,
    a_history_is_read_page_by_page,
];

const MACHINE: &str = "arn:aws:states:us-west-2:123456789012:stateMachine:refund";
const EXECUTION: &str = "arn:aws:states:us-west-2:123456789012:execution:refund:run-1";

fn execution() -> NewExecution {
    NewExecution {
        machine: MACHINE.to_owned(),
        name: "run-1".to_owned(),
        input: "{}".to_owned(),
    }
}

async fn start(cloud: &Cloud) -> Result<Started, Error> {
    cloud.states.start(&tenant("acme"), &execution()).await
}

/// The operation that a request is for.
fn operation(request: &HttpRequest) -> &str {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    target.strip_prefix("AWSStepFunctions.").unwrap_or(target)
}

fn machine(kind: &str) -> Answer {
    let body = format!(
        r#"{{"stateMachineArn":"{MACHINE}","name":"refund","definition":"{{}}","roleArn":"arn:aws:iam::123456789012:role/r","type":"{kind}","creationDate":1.0}}"#
    );
    Some((200, body))
}

fn started(kind: &str) -> Answer {
    let arn = EXECUTION.replace(":execution:", &format!(":{kind}:"));
    Some((
        200,
        format!(r#"{{"executionArn":"{arn}","startDate":1700000000.123}}"#),
    ))
}

async fn a_throttle_is_waited_for() {
    let starts = AtomicUsize::new(0);
    let (cloud, wire) = Cloud::answering(move |request| match operation(request) {
        "StartExecution" if starts.fetch_add(1, Ordering::SeqCst) < 2 => {
            json_error(400, "ThrottlingException")
        }
        "StartExecution" => started("execution"),
        _ => machine("STANDARD"),
    });
    let running = Started::Running {
        execution: EXECUTION.to_owned(),
        started_at: Timestamp::from_millis(1_700_000_000_123),
    };
    assert_eq!(start(&cloud).await.unwrap(), running);
    assert_eq!(wire.count(), 4);
}

async fn throttles_without_end_are_told() {
    for code in ["ThrottlingException", "ExecutionLimitExceeded"] {
        let (cloud, _) = Cloud::answering(move |_| json_error(400, code));
        let error = start(&cloud).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AwsThrottled, "{code}");
        assert!(!error.may_be_done());
        assert!(error.wait().is_some());
    }
}

async fn a_start_that_never_answers_is_a_timeout() {
    let wire = Wire::new(|request| match operation(request) {
        "StartExecution" => None,
        _ => machine("STANDARD"),
    });
    let mut settings = settings(SharedHttpClient::new(wire.clone()));
    settings.timeouts.attempt = Duration::from_millis(20);
    settings.timeouts.operation = Duration::from_millis(45);
    let cloud = Cloud::on(settings, Arc::new(SystemClock::new()));
    let error = start(&cloud).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.may_be_done());
}

async fn a_standard_machine_is_looked_at_once_in_a_while() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let wire = Wire::new(move |request| match operation(request) {
        "StartExecution" => started("execution"),
        _ => {
            counted.fetch_add(1, Ordering::SeqCst);
            machine("STANDARD")
        }
    });
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_700_000_000)));
    let settings = settings(SharedHttpClient::new(wire));
    let cloud = Cloud::on(settings, Arc::clone(&clock) as Arc<dyn Clock>);
    for _ in 0..3 {
        start(&cloud).await.unwrap();
    }
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(600));
    start(&cloud).await.unwrap();
    assert_eq!(looks.load(Ordering::SeqCst), 2);
}

async fn who_may_not_look_at_a_machine_may_start_it() {
    let (cloud, _) = Cloud::answering(|request| match operation(request) {
        "StartExecution" => started("execution"),
        _ => json_error(400, "AccessDeniedException"),
    });
    let running = start(&cloud).await.unwrap();
    assert!(matches!(running, Started::Running { .. }), "{running:?}");
    let error = cloud.states.check(MACHINE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsCredentials);
}

async fn an_express_machine_that_may_not_be_looked_at_is_told_by_its_start() {
    let (cloud, _) = Cloud::answering(|request| match operation(request) {
        "StartExecution" => started("express"),
        _ => json_error(400, "AccessDeniedException"),
    });
    let error = start(&cloud).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    let (cloud, wire) = Cloud::answering(|_| machine("EXPRESS"));
    let error = start(&cloud).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert_eq!(wire.count(), 1, "nothing is started");
}

async fn every_refusal_has_its_kind() {
    for (code, kind) in [
        ("StateMachineDoesNotExist", ErrorKind::NotFound),
        ("StateMachineDeleting", ErrorKind::NotFound),
        ("InvalidArn", ErrorKind::NotFound),
        ("InvalidExecutionInput", ErrorKind::InvalidParameter),
        ("AccessDeniedException", ErrorKind::AwsCredentials),
        ("KmsAccessDeniedException", ErrorKind::AwsCredentials),
    ] {
        let (cloud, _) = Cloud::answering(move |request| match operation(request) {
            "StartExecution" => json_error(400, code),
            _ => machine("STANDARD"),
        });
        let error = start(&cloud).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}");
        assert!(error.fix_text().is_some(), "{code}");
        assert!(!error.message().contains("refund"), "{code}: {error}");
    }
    let (cloud, _) = Cloud::answering(|request| match operation(request) {
        "StartExecution" => json_error(400, "ExecutionAlreadyExists"),
        _ => machine("STANDARD"),
    });
    let exists = Started::AlreadyExists {
        execution: EXECUTION.to_owned(),
    };
    assert_eq!(start(&cloud).await.unwrap(), exists);
}

fn described(status: &str) -> Answer {
    let body = format!(
        r#"{{"executionArn":"{EXECUTION}","stateMachineArn":"{MACHINE}","name":"run-1","status":"{status}","startDate":1.5,"stopDate":2.5,"output":"{{}}","error":"E","cause":"C"}}"#
    );
    Some((200, body))
}

async fn every_status_is_known() {
    for (word, status) in [
        ("RUNNING", ExecutionStatus::Running),
        ("PENDING_REDRIVE", ExecutionStatus::Running),
        ("SUCCEEDED", ExecutionStatus::Succeeded),
        ("FAILED", ExecutionStatus::Failed),
        ("TIMED_OUT", ExecutionStatus::TimedOut),
        ("ABORTED", ExecutionStatus::Aborted),
    ] {
        let (cloud, _) = Cloud::answering(move |_| described(word));
        let found = cloud.states.describe(&tenant("acme"), EXECUTION).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.status, status);
        assert_eq!(found.output.is_some(), word == "SUCCEEDED", "{word}");
        assert_eq!(found.stopped_at, Some(Timestamp::from_millis(2500)));
    }
    let (cloud, _) = Cloud::answering(|_| described("SLEEPING"));
    let error = cloud.states.describe(&tenant("acme"), EXECUTION).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Internal);
}

async fn a_stop_that_comes_too_late_is_no_error() {
    for (word, is_over) in [("SUCCEEDED", true), ("RUNNING", false)] {
        let (cloud, _) = Cloud::answering(move |request| match operation(request) {
            "StopExecution" => json_error(400, "ValidationException"),
            _ => described(word),
        });
        let stopped = cloud.states.stop(&tenant("acme"), EXECUTION, None).await;
        assert_eq!(stopped.is_ok(), is_over, "{word}");
    }
}

async fn a_history_is_read_page_by_page() {
    let (cloud, wire) = Cloud::answering(|_| {
        let event = r#"{"timestamp":1.0,"type":"TaskStateEntered","id":7,"previousEventId":6,"stateEnteredEventDetails":{"name":"Pay"}}"#;
        let failed = r#"{"timestamp":1.0,"type":"TaskFailed","id":6,"previousEventId":5,"taskFailedEventDetails":{"resourceType":"sns","resource":"publish","error":"Pay.Failed"}}"#;
        let body = format!(r#"{{"events":[{event},{failed}],"nextToken":"next"}}"#);
        Some((200, body))
    });
    let tenant = tenant("acme");
    let steps = cloud.states.history(&tenant, EXECUTION, 5).await.unwrap();
    assert_eq!(steps.len(), 5);
    assert_eq!(wire.count(), 3);
    assert_eq!(steps[0].state.as_deref(), Some("Pay"));
    assert_eq!(steps[1].error.as_deref(), Some("Pay.Failed"));
    // An answer that never says that it was the last one is not read for ever.
    let steps = cloud
        .states
        .history(&tenant, EXECUTION, 1000)
        .await
        .unwrap();
    assert_eq!(steps.len(), 20);
    assert_eq!(wire.count(), 13);
}
