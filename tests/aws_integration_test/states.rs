//! What executions of state machines do, on every backend.

use std::time::Duration;

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::store::States;
use agent_mesh::mesh::store::states::{
    Execution, ExecutionStatus, NewExecution, PAYLOAD_BYTES_MAX, Started,
};
use aws_sdk_sfn::types::StateMachineType;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::backend::Stage;

crate::cases![
    an_execution_runs_to_its_end,
    a_failure_has_its_error_and_its_cause,
    the_same_name_starts_nothing_twice,
    a_start_whose_answer_was_lost_is_done_once,
    an_execution_is_stopped,
    stopping_what_has_ended_changes_nothing,
    the_history_begins_with_the_newest_step,
    what_is_not_there_is_told,
    an_input_that_is_too_large_is_not_sent,
    an_express_machine_is_refused,
    a_version_is_started,
    machines_are_checked,
];

/// How long an execution may take that has nothing to wait for.
const END_TIME_MAX: Duration = Duration::from_secs(30);

const ROLE: &str = "arn:aws:iam::000000000000:role/agent-mesh-test";

impl Stage {
    /// Makes a state machine: by its API, or in the cloud of this process as a file.
    async fn machine(&self, definition: &Value) -> String {
        let name = format!("m-{}", self.tenant);
        let Some(folder) = &self.folder else {
            let made = self.make(definition, StateMachineType::Standard).await;
            return made.state_machine_arn;
        };
        let folder = folder.join("workflows");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.asl.json"));
        std::fs::write(path, definition.to_string()).unwrap();
        format!("arn:aws:states:us-west-2:000000000000:stateMachine:{name}")
    }

    async fn make(
        &self,
        definition: &Value,
        kind: StateMachineType,
    ) -> aws_sdk_sfn::operation::create_state_machine::CreateStateMachineOutput {
        aws_sdk_sfn::Client::new(&self.sdk)
            .create_state_machine()
            .name(format!("m-{}", self.tenant))
            .definition(definition.to_string())
            .role_arn(ROLE)
            .r#type(kind)
            .publish(true)
            .send()
            .await
            .unwrap()
    }

    async fn start(&self, execution: &NewExecution) -> Started {
        let started = self.states.start(&self.tenant, execution).await;
        started.unwrap()
    }

    async fn describe(&self, execution: &str) -> Execution {
        let found = self.states.describe(&self.tenant, execution).await;
        found.unwrap().unwrap()
    }

    async fn end_of(&self, execution: &str) -> Execution {
        let ended = async {
            loop {
                let found = self.describe(execution).await;
                if found.status.has_ended() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(END_TIME_MAX, ended).await.unwrap()
    }
}

fn pass() -> Value {
    json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}})
}

fn fail() -> Value {
    let state = json!({"Type": "Fail", "Error": "Order.Failed", "Cause": "no such item"});
    json!({"StartAt": "F", "States": {"F": state}})
}

/// A machine whose executions last longer than any case.
fn wait() -> Value {
    let state = json!({"Type": "Wait", "Seconds": 3600, "End": true});
    json!({"StartAt": "W", "States": {"W": state}})
}

fn new(machine: &str, input: &Value) -> NewExecution {
    NewExecution {
        machine: machine.to_owned(),
        name: format!("run-{}", Ulid::generate()),
        input: input.to_string(),
    }
}

fn arn_of(started: &Started) -> &str {
    match started {
        Started::Running { execution, .. } | Started::AlreadyExists { execution } => execution,
    }
}

async fn an_execution_runs_to_its_end(stage: Stage) {
    let machine = stage.machine(&pass()).await;
    let input = json!({"tenant": {"tenant_id": "acme"}, "input": ["grüße 🦀", 1.5]});
    let execution = new(&machine, &input);
    let started = stage.start(&execution).await;
    assert!(matches!(started, Started::Running { .. }), "{started:?}");
    assert_eq!(
        arn_of(&started),
        stage.states.execution(&machine, &execution.name)
    );
    let ended = stage.end_of(arn_of(&started)).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded);
    let output: Value = serde_json::from_str(ended.output.as_deref().unwrap()).unwrap();
    assert_eq!(output, input);
    assert!(ended.stopped_at.unwrap() >= ended.started_at);
    assert_eq!((ended.error, ended.cause), (None, None));
}

async fn a_failure_has_its_error_and_its_cause(stage: Stage) {
    let machine = stage.machine(&fail()).await;
    let started = stage.start(&new(&machine, &json!({}))).await;
    let ended = stage.end_of(arn_of(&started)).await;
    assert_eq!(ended.status, ExecutionStatus::Failed);
    assert_eq!(ended.error.as_deref(), Some("Order.Failed"));
    assert_eq!(ended.cause.as_deref(), Some("no such item"));
    assert_eq!(ended.output, None);
}

async fn the_same_name_starts_nothing_twice(stage: Stage) {
    let machine = stage.machine(&wait()).await;
    let execution = new(&machine, &json!({"a": 1}));
    let first = stage.start(&execution).await;
    // Step Functions says that it runs, an emulator that there is one already; both name the first.
    let again = stage.start(&execution).await;
    assert_eq!(arn_of(&again), arn_of(&first));
    let other = NewExecution {
        input: "{\"a\":2}".to_owned(),
        ..execution.clone()
    };
    let other = stage.start(&other).await;
    assert!(matches!(other, Started::AlreadyExists { .. }), "{other:?}");
    assert_eq!(arn_of(&other), arn_of(&first));
    let stopped = stage.states.stop(&stage.tenant, arn_of(&first), None).await;
    assert!(stopped.unwrap());
    let late = stage.start(&execution).await;
    assert!(matches!(late, Started::AlreadyExists { .. }), "{late:?}");
}

async fn a_start_whose_answer_was_lost_is_done_once(stage: Stage) {
    let machine = stage.machine(&pass()).await;
    let execution = new(&machine, &json!({"a": 1}));
    stage.wire.lose(&["StartExecution"], 1);
    let started = stage.start(&execution).await;
    assert_eq!(stage.wire.left(), 0);
    let ended = stage.end_of(arn_of(&started)).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded);
    let history = stage.states.history(&stage.tenant, arn_of(&started), 1000);
    let kinds: Vec<String> = history
        .await
        .unwrap()
        .into_iter()
        .map(|step| step.kind)
        .collect();
    let starts = kinds.iter().filter(|kind| *kind == "ExecutionStarted");
    assert_eq!(starts.count(), 1, "{kinds:?}");
}

async fn an_execution_is_stopped(stage: Stage) {
    let machine = stage.machine(&wait()).await;
    let started = stage.start(&new(&machine, &json!({}))).await;
    let execution = arn_of(&started);
    assert_eq!(
        stage.describe(execution).await.status,
        ExecutionStatus::Running
    );
    for _ in 0..2 {
        let stopped = stage
            .states
            .stop(&stage.tenant, execution, Some("grüße: not needed"));
        assert!(stopped.await.unwrap());
    }
    let ended = stage.end_of(execution).await;
    assert_eq!(ended.status, ExecutionStatus::Aborted);
    assert_eq!(ended.cause.as_deref(), Some("grüße: not needed"));
    assert!(ended.stopped_at.is_some());
}

async fn stopping_what_has_ended_changes_nothing(stage: Stage) {
    let machine = stage.machine(&pass()).await;
    let started = stage.start(&new(&machine, &json!({}))).await;
    let execution = arn_of(&started);
    let ended = stage.end_of(execution).await;
    assert!(
        stage
            .states
            .stop(&stage.tenant, execution, Some("late"))
            .await
            .unwrap()
    );
    assert_eq!(stage.describe(execution).await, ended);
}

async fn the_history_begins_with_the_newest_step(stage: Stage) {
    let machine = stage.machine(&fail()).await;
    let started = stage.start(&new(&machine, &json!({}))).await;
    let execution = arn_of(&started);
    stage.end_of(execution).await;
    let all = stage
        .states
        .history(&stage.tenant, execution, 1000)
        .await
        .unwrap();
    let kinds: Vec<&str> = all.iter().map(|step| step.kind.as_str()).collect();
    assert_eq!(kinds.first(), Some(&"ExecutionFailed"), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"ExecutionStarted"), "{kinds:?}");
    assert!(
        all.windows(2).all(|pair| pair[0].id > pair[1].id),
        "{all:?}"
    );
    assert_eq!(all[0].error.as_deref(), Some("Order.Failed"));
    let entered = all.iter().find(|step| step.kind == "FailStateEntered");
    assert_eq!(entered.unwrap().state.as_deref(), Some("F"), "{all:?}");
    let newest = stage
        .states
        .history(&stage.tenant, execution, 1)
        .await
        .unwrap();
    assert_eq!(newest, all[..1]);
}

async fn what_is_not_there_is_told(stage: Stage) {
    let machine = stage.machine(&pass()).await;
    let absent = stage.states.execution(&machine, "absent");
    let tenant = &stage.tenant;
    assert_eq!(stage.states.describe(tenant, &absent).await.unwrap(), None);
    assert!(!stage.states.stop(tenant, &absent, None).await.unwrap());
    assert_eq!(stage.states.history(tenant, &absent, 10).await.unwrap(), []);
    let elsewhere = machine.replace(":m-", ":absent-");
    let error = stage
        .states
        .start(tenant, &new(&elsewhere, &json!({})))
        .await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(!error.message().contains("absent"), "{error}");
}

async fn an_input_that_is_too_large_is_not_sent(stage: Stage) {
    let machine = stage.machine(&pass()).await;
    let carried = stage.wire.carried();
    let text = "x".repeat(PAYLOAD_BYTES_MAX - 1);
    let execution = new(&machine, &json!(text));
    let error = stage.states.start(&stage.tenant, &execution).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(stage.wire.carried(), carried);
    let text = &text[1..];
    let started = stage.start(&new(&machine, &json!(text))).await;
    let ended = stage.end_of(arn_of(&started)).await;
    assert_eq!(ended.output.unwrap().len(), PAYLOAD_BYTES_MAX);
}

async fn an_express_machine_is_refused(stage: Stage) {
    let made = stage.make(&pass(), StateMachineType::Express).await;
    let machine = made.state_machine_arn;
    for error in [
        stage.states.check(&machine).await.unwrap_err(),
        stage
            .states
            .start(&stage.tenant, &new(&machine, &json!({})))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotSupported, "{error:?}");
        assert!(error.fix_text().is_some());
    }
}

async fn a_version_is_started(stage: Stage) {
    let made = stage.make(&pass(), StateMachineType::Standard).await;
    let version = made.state_machine_version_arn.unwrap();
    stage.states.check(&version).await.unwrap();
    let execution = new(&version, &json!({}));
    let started = stage.start(&execution).await;
    assert_eq!(
        arn_of(&started),
        stage.states.execution(&version, &execution.name)
    );
    let ended = stage.end_of(arn_of(&started)).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded);
}

async fn machines_are_checked(stage: Stage) {
    let machine = stage.machine(&pass()).await;
    stage.states.check(&machine).await.unwrap();
    let absent = machine.replace(":m-", ":absent-");
    let error = stage.states.check(&absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}
