//! State machines as SDK clients start and follow them, and processes that are killed while they run some.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEventType};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use ulid::Ulid;

use super::*;
use crate::mesh::tenant::TenantId;
use crate::mesh::workflow::run::execution_name;
use crate::mesh::workflow::{ToolCaller, ToolTask};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::embedded::states::name::machine_arn;
use crate::outbound::embedded::{Fault, Service};

/// Names the folder to a child, which is this test executable again.
const FOLDER_VARIABLE: &str = "EMBEDDED_TEST_STATES_FOLDER";

/// Names the child.
const RUNNER_VARIABLE: &str = "EMBEDDED_TEST_STATES_RUNNER";

/// How long a child runs at most.
const CHILD_TIME_MAX: Duration = Duration::from_secs(60);

/// How often a pair of children is killed.
const ROUNDS: usize = 10;

/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

fn states(cloud: &EmbeddedCloud) -> aws_sdk_sfn::Client {
    aws_sdk_sfn::Client::new(&config(cloud))
}

fn define(folder: &Path, name: &str, definition: &Value) {
    let workflows = folder.join("workflows");
    fs::create_dir_all(&workflows).unwrap();
    fs::write(
        workflows.join(format!("{name}.asl.json")),
        definition.to_string(),
    )
    .unwrap();
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn run_name() -> String {
    execution_name(&acme(), Ulid::generate())
}

/// The end of an execution: its status and its output.
async fn end(client: &aws_sdk_sfn::Client, arn: &str) -> (ExecutionStatus, String) {
    let start = Instant::now();
    loop {
        let found = client
            .describe_execution()
            .execution_arn(arn)
            .send()
            .await
            .unwrap();
        if found.status != ExecutionStatus::Running {
            let told = found.output.or(found.cause).unwrap_or_default();
            return (found.status, told);
        }
        assert!(start.elapsed() < PATIENCE, "{arn} does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn tool(name: &str, parameters: Value, more: Value) -> Value {
    let mut task = json!({
        "Type": "Task",
        "Resource": format!("arn:aws:states:::agent-mesh:{name}"),
        "Parameters": parameters,
    });
    for (name, value) in more.as_object().unwrap() {
        task[name] = value.clone();
    }
    task
}

/// Answers with the tool, the tenant and the arguments; `kv_delete` fails.
struct Echo;

impl ToolCaller for Echo {
    fn call(&self, task: ToolTask) -> BoxFuture<'_, Result<String, Error>> {
        async move {
            if task.tool == "kv_delete" {
                return Err(Error::new(ErrorKind::QuotaExceeded, "too much").fix("less"));
            }
            let arguments: Value = serde_json::from_str(&task.arguments).unwrap();
            Ok(
                json!({"tool": task.tool, "tenant": task.tenant.as_str(), "arguments": arguments})
                    .to_string(),
            )
        }
        .boxed()
    }

    fn only_tenant(&self) -> Option<TenantId> {
        None
    }
}

#[tokio::test]
async fn a_machine_calls_tools_as_the_tenant_in_the_executions_name() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    assert!(cloud.set_tool_caller(Arc::new(Echo)));
    assert!(!cloud.set_tool_caller(Arc::new(Echo)));
    let catch = json!({
        "Catch": [{"ErrorEquals": ["QUOTA_EXCEEDED"], "ResultPath": "$.error", "Next": "After"}],
        "Next": "After",
    });
    let machine = json!({"StartAt": "Get", "States": {
        "Get": tool("kv_get", json!({"key.$": "$.key"}), json!({"ResultPath": "$.got", "Next": "Break"})),
        "Break": tool("kv_delete", json!({}), catch),
        "After": {"Type": "Pass", "End": true},
    }});
    define(folder.path(), "m", &machine);
    let client = states(&cloud);
    let started = client
        .start_execution()
        .state_machine_arn(machine_arn("m"))
        .name(run_name())
        .input("{\"key\":\"k\",\"tenant\":{\"tenant_id\":\"other\"}}")
        .send()
        .await
        .unwrap();
    let (status, output) = end(&client, &started.execution_arn).await;
    assert_eq!(status, ExecutionStatus::Succeeded, "{output}");
    let output: Value = serde_json::from_str(&output).unwrap();
    let got = json!({"tool": "kv_get", "tenant": "acme", "arguments": {"key": "k"}});
    assert_eq!(output["got"], got);
    assert_eq!(
        output["error"],
        json!({"Error": "QUOTA_EXCEEDED", "Cause": "too much; less"})
    );
    let history = client
        .get_execution_history()
        .execution_arn(&started.execution_arn)
        .send()
        .await
        .unwrap();
    let failed = history
        .events()
        .iter()
        .find(|event| event.r#type == HistoryEventType::TaskFailed)
        .and_then(|event| event.task_failed_event_details())
        .unwrap();
    assert_eq!(failed.error(), Some("QUOTA_EXCEEDED"));
    assert_eq!(
        (failed.resource_type(), failed.resource()),
        ("agent-mesh", "kv_delete")
    );
    // An execution that is no run of ours is nobody's.
    let stranger = client
        .start_execution()
        .state_machine_arn(machine_arn("m"))
        .input("{\"key\":\"k\"}")
        .send()
        .await
        .unwrap();
    let (status, cause) = end(&client, &stranger.execution_arn).await;
    assert_eq!(status, ExecutionStatus::Failed);
    assert!(cause.contains("none of a run"), "{cause}");
}

#[tokio::test]
async fn the_sdk_reads_errors_and_faults_as_those_of_step_functions() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = states(&cloud);
    let start = || {
        client
            .start_execution()
            .state_machine_arn(machine_arn("m"))
            .send()
    };
    let missing = start().await.unwrap_err().into_service_error();
    assert!(missing.is_state_machine_does_not_exist(), "{missing:?}");
    define(folder.path(), "m", &json!({"StartAt": "A", "States": {}}));
    let wrong = start().await.unwrap_err();
    assert_eq!(wrong.code(), Some("InvalidDefinition"));
    define(
        folder.path(),
        "m",
        &json!({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}),
    );
    cloud
        .faults()
        .inject(Service::States, "StartExecution", Fault::Throttle, 1);
    start().await.unwrap();
    assert_eq!(cloud.faults().waiting(), 0);
    let described = client
        .describe_state_machine()
        .state_machine_arn(machine_arn("m"))
        .send()
        .await
        .unwrap();
    assert!(described.definition().contains("StartAt"));
    let checked = client
        .validate_state_machine_definition()
        .definition("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(checked.result().as_str(), "FAIL");
    assert!(!checked.diagnostics().is_empty());
}

#[tokio::test]
async fn a_machine_uses_the_table_and_the_bus_of_its_tenant_and_of_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let item = |operation: &str, parameters: Value, next: &str| {
        json!({
            "Type": "Task",
            "Resource": format!("arn:aws:states:::dynamodb:{operation}"),
            "Parameters": parameters,
            "ResultPath": format!("$.{operation}"),
            "Next": next,
        })
    };
    let key = json!({"PK": {"S": "T#acme#APP#orders"}, "SK": {"S.$": "$.order"}});
    let put = json!({"TableName": TABLE, "Item": {"PK": {"S": "T#acme#APP#orders"}, "SK": {"S.$": "$.order"}, "n": {"N": "1"}},
        "ConditionExpression": "attribute_not_exists(PK)"});
    let update = json!({"TableName": TABLE, "Key": key, "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}}, "ReturnValues": "ALL_NEW"});
    let other = json!({"TableName": TABLE, "Key": {"PK": {"S.$": "$.theirs"}, "SK": {"S": "x"}}});
    let mut twice = item("putItem", put.clone(), "Theirs");
    twice["Catch"] = json!([{"ErrorEquals": ["DynamoDB.ConditionalCheckFailedException"], "ResultPath": "$.twice", "Next": "Theirs"}]);
    let mut theirs = item("getItem", other, "Never");
    theirs["Catch"] = json!([{"ErrorEquals": ["DynamoDB.AccessDeniedException"], "ResultPath": "$.refused", "Next": "Send"}]);
    let machine = json!({"StartAt": "Put", "States": {
        "Put": item("putItem", put, "Update"),
        "Update": item("updateItem", update, "Get"),
        "Get": item("getItem", json!({"TableName": TABLE, "Key": key}), "Twice"),
        "Twice": twice,
        "Theirs": theirs,
        "Send": {
            "Type": "Task",
            "Resource": "arn:aws:states:::events:putEvents",
            "Parameters": {"Entries": [{"DetailType": "Order.Done", "Detail": {"order.$": "$.order"}, "EventBusName": BUS, "Source": "agent-mesh.acme"}]},
            "ResultPath": "$.sent",
            "Next": "Delete",
        },
        "Delete": item("deleteItem", json!({"TableName": TABLE, "Key": key}), "End"),
        "Never": {"Type": "Fail"},
        "End": {"Type": "Succeed"},
    }});
    define(folder.path(), "m", &machine);
    let client = states(&cloud);
    let started = client
        .start_execution()
        .state_machine_arn(machine_arn("m"))
        .name(run_name())
        .input("{\"order\":\"o1\",\"theirs\":\"T#other#KV#T\"}")
        .send()
        .await
        .unwrap();
    let (status, output) = end(&client, &started.execution_arn).await;
    assert_eq!(status, ExecutionStatus::Succeeded, "{output}");
    let output: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(output["getItem"]["Item"]["n"]["N"], "2");
    assert_eq!(output["updateItem"]["Attributes"]["n"]["N"], "2");
    assert_eq!(
        output["twice"]["Error"],
        "DynamoDB.ConditionalCheckFailedException"
    );
    assert_eq!(output["refused"]["Error"], "DynamoDB.AccessDeniedException");
    assert_eq!(output["sent"]["FailedEntryCount"], 0);
    assert_eq!(cloud.events_taken(), 1);
}

/// Calls that leave a trace in a file: when they begin and when they end.
struct Traced {
    trace: std::sync::Mutex<File>,
    name: String,
}

impl Traced {
    fn at(folder: &Path, name: &str) -> Arc<Self> {
        Arc::new(Self {
            trace: std::sync::Mutex::new(append(&folder.join("trace"))),
            name: name.to_owned(),
        })
    }

    fn note(&self, what: &str, task: &ToolTask) {
        let line = format!("{what} {} {}\n", self.name, task.step);
        self.trace
            .lock()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }
}

impl ToolCaller for Traced {
    fn call(&self, task: ToolTask) -> BoxFuture<'_, Result<String, Error>> {
        async move {
            self.note("begin", &task);
            tokio::time::sleep(Duration::from_millis(15)).await;
            self.note("end", &task);
            Ok(task.arguments)
        }
        .boxed()
    }

    fn only_tenant(&self) -> Option<TenantId> {
        None
    }
}

fn append(path: &Path) -> File {
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

/// Effects one after another, side by side and after a pause: 1 + 4 + 2 + 1 of them.
fn busy_machine() -> Value {
    let branch = |name: &str| json!({"StartAt": name, "States": {name: tool("kv_set", json!({"branch": name}), json!({"End": true}))}});
    json!({"StartAt": "First", "States": {
        "First": tool("kv_set", json!({"id.$": "States.UUID()"}), json!({"ResultPath": "$.first", "Next": "Each"})),
        "Each": {
            "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2, "ResultPath": "$.each", "Next": "Rest",
            "ItemProcessor": {"StartAt": "Item", "States": {
                "Item": tool("kv_set", json!({"item.$": "$"}), json!({"OutputPath": "$.item", "End": true})),
            }},
        },
        "Rest": {"Type": "Wait", "Seconds": 1, "Next": "Both"},
        "Both": {"Type": "Parallel", "Branches": [branch("L"), branch("R")], "ResultPath": "$.both", "Next": "Last"},
        "Last": tool("kv_set", json!({"all.$": "$"}), json!({"OutputPath": "$.all", "End": true})),
    }})
}

/// The child: starts executions and runs them until it is killed. Nothing happens where it is run as an
/// ordinary test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_runs_machines_until_it_is_killed() {
    let Ok(path) = std::env::var(FOLDER_VARIABLE) else {
        return;
    };
    let name = std::env::var(RUNNER_VARIABLE).unwrap();
    let path = Path::new(&path);
    let cloud = cloud(&path.join("data"));
    cloud.set_tool_caller(Traced::at(path, &name));
    let client = states(&cloud);
    let mut notes = append(&path.join(format!("started-{name}")));
    let start = Instant::now();
    while start.elapsed() < CHILD_TIME_MAX {
        let started = client
            .start_execution()
            .state_machine_arn(machine_arn("busy"))
            .name(run_name())
            .input("{\"items\":[1,2,3,4]}")
            .send()
            .await
            .unwrap();
        writeln!(notes, "{}", started.execution_arn).unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

/// A child that does not outlive the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(folder: &Path, name: &str) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("outbound::embedded::tests::states::child_that_runs_machines_until_it_is_killed")
        .env(FOLDER_VARIABLE, folder)
        .env(RUNNER_VARIABLE, name)
        .stdout(Stdio::null())
        .stderr(Stdio::from(
            File::create(folder.join(format!("stderr-{name}"))).unwrap(),
        ))
        .spawn()
        .unwrap();
    Killed(child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_survive_the_death_of_whoever_runs_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    define(&path.join("data"), "busy", &busy_machine());
    let mut names = Vec::new();
    // Always two at once, killed in turn at moments that have nothing to do with what they are doing.
    let mut alive: Vec<(String, Killed)> = Vec::new();
    for round in 0..ROUNDS {
        while alive.len() < 2 {
            let name = format!("r{round}n{}", alive.len());
            alive.push((name.clone(), spawn(path, &name)));
            names.push(name);
        }
        tokio::time::sleep(Duration::from_millis(500 + (round * 137) as u64 % 400)).await;
        let (name, mut child) = alive.remove(0);
        let stderr = fs::read_to_string(path.join(format!("stderr-{name}")));
        let ended = child.0.try_wait().unwrap();
        assert!(ended.is_none(), "{name} ended by itself: {stderr:?}");
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        let line = format!("killed {name} -\n");
        append(&path.join("trace"))
            .write_all(line.as_bytes())
            .unwrap();
    }
    for (name, child) in alive {
        drop(child);
        let line = format!("killed {name} -\n");
        append(&path.join("trace"))
            .write_all(line.as_bytes())
            .unwrap();
    }
    let cloud = cloud(&path.join("data"));
    cloud.set_tool_caller(Traced::at(path, "last"));
    let client = states(&cloud);
    let mut executions = 0;
    for name in &names {
        let started = fs::read_to_string(path.join(format!("started-{name}")));
        for arn in started.unwrap_or_default().lines() {
            let (status, output) = end(&client, arn).await;
            assert_eq!(status, ExecutionStatus::Succeeded, "{arn} {output}");
            let output: Value = serde_json::from_str(&output).unwrap();
            assert_eq!(output["each"], json!([1, 2, 3, 4]), "{arn}");
            assert_eq!(
                output["both"],
                json!([{"branch": "L"}, {"branch": "R"}]),
                "{arn}"
            );
            executions += 1;
        }
    }
    let again = check_trace(&fs::read_to_string(path.join("trace")).unwrap());
    println!("{executions} executions, {again} steps taken again after a death");
    assert!(executions > ROUNDS, "{executions}");
    assert!(again > 0, "nobody was killed while a step was under way");
}

/// A step is begun again only after the death of the process that began it. How many were.
fn check_trace(trace: &str) -> usize {
    let mut dead: BTreeSet<&str> = BTreeSet::new();
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut again = 0;
    for line in trace.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [what, name, step] = parts[..] else {
            panic!("{line}");
        };
        match what {
            "killed" => {
                dead.insert(name);
            }
            "begin" => {
                assert!(!dead.contains(name), "{name} works after its death");
                if let Some(before) = begun.insert(step, name) {
                    assert!(
                        dead.contains(before),
                        "{name} takes a step of {before}, who lives: {step}"
                    );
                    again += 1;
                }
                *times.entry(step).or_default() += 1;
            }
            _ => {}
        }
    }
    assert!(times.values().all(|times| *times <= 4), "{times:?}");
    again
}

/// Prints how long a start takes until it is answered: the execution is then on the disk and under way.
#[ignore = "it prints figures, which mean something on a machine that does nothing else"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_starts_at_200_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    cloud.set_tool_caller(Arc::new(Echo));
    let machine = json!({"StartAt": "A", "States": {
        "A": tool("kv_set", json!({"a": 1}), json!({"Next": "B"})),
        "B": {"Type": "Pass", "End": true},
    }});
    define(folder.path(), "m", &machine);
    let client = states(&cloud);
    let mut tasks = Vec::new();
    let begun = Instant::now();
    for number in 0..400_u32 {
        let due = begun + Duration::from_millis(5) * number;
        tokio::time::sleep_until(due.into()).await;
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let start = Instant::now();
            let started = client
                .start_execution()
                .state_machine_arn(machine_arn("m"))
                .name(run_name())
                .send()
                .await
                .unwrap();
            (start.elapsed(), started.execution_arn)
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        let (time, arn) = task.await.unwrap();
        times.push(time);
        assert_eq!(end(&client, &arn).await.0, ExecutionStatus::Succeeded);
    }
    times.sort_unstable();
    println!(
        "StartExecution at 200 a second: median {:?}, p99 {:?}, most {:?}; all ended after {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
        begun.elapsed()
    );
}
