//! Every code that the contract names and that can happen here, made to happen.
//!
//! That each failure has the members of the contract, that text and structured content are the same, and
//! that nothing of the server's machine or of AWS is told, is held for every answer that any test reads.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::store::key::trial;
use agent_mesh::mesh::store::table::{Condition, Row};
use agent_mesh::outbound::embedded::{Fault, Service};
use futures::future::BoxFuture;
use serde_json::json;

use crate::support::client::patiently;
use crate::support::{Failure, Plan, World};

/// Codes that only integrated servers can cause, of which there are none yet, and the one that nobody is
/// told because its caller has gone: `protocol.rs` looks for it among the events.
const NOT_HERE: [ErrorKind; 4] = [
    ErrorKind::UpstreamUnavailable,
    ErrorKind::UpstreamError,
    ErrorKind::OutcomeUnknown,
    ErrorKind::Cancelled,
];

/// Makes a code happen.
type Cause = fn() -> BoxFuture<'static, Failure>;

const CAUSES: [(ErrorKind, Cause); 14] = [
    (
        ErrorKind::InvalidParameter,
        || Box::pin(invalid_parameter()),
    ),
    (ErrorKind::NotFound, || Box::pin(not_found())),
    (ErrorKind::Conflict, || Box::pin(conflict())),
    (
        ErrorKind::PermissionDenied,
        || Box::pin(permission_denied()),
    ),
    (ErrorKind::RateLimited, || Box::pin(rate_limited())),
    (ErrorKind::QuotaExceeded, || Box::pin(quota_exceeded())),
    (ErrorKind::Overloaded, || Box::pin(overloaded())),
    (ErrorKind::TooLarge, || Box::pin(too_large())),
    (ErrorKind::AwsCredentials, || Box::pin(aws_credentials())),
    (ErrorKind::AwsThrottled, || Box::pin(aws_throttled())),
    (ErrorKind::AwsUnavailable, || Box::pin(aws_unavailable())),
    (ErrorKind::NotSupported, || Box::pin(not_supported())),
    (ErrorKind::Timeout, || Box::pin(timeout())),
    (ErrorKind::Internal, || Box::pin(internal())),
];

#[test]
fn every_code_has_its_cause() {
    let caused: BTreeSet<_> = CAUSES.iter().map(|(kind, _)| kind.code()).collect();
    let not_here: BTreeSet<_> = NOT_HERE.iter().map(|kind| kind.code()).collect();
    let all: BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(
        caused.union(&not_here).copied().collect::<BTreeSet<_>>(),
        all
    );
    assert_eq!(caused.intersection(&not_here).count(), 0);
}

#[tokio::test]
async fn every_code_of_the_contract_is_told_when_its_cause_happens() {
    // All at once, because one of them is a matter of waiting.
    let causes = CAUSES
        .iter()
        .map(|(kind, cause)| async move { (kind, cause().await) });
    for (kind, failure) in futures::future::join_all(causes).await {
        assert_eq!(failure.code(), kind.code(), "{failure:?}");
        let repairable = *kind != ErrorKind::Internal;
        assert!(
            failure.fix().is_some() || !repairable,
            "what to do about it: {failure:?}"
        );
    }
}

async fn invalid_parameter() -> Failure {
    let caller = World::open().await.caller().await;
    caller.fail("kv_get", json!({"kye": "a"})).await
}

async fn not_found() -> Failure {
    let world = World::open().await;
    let params = json!({"uri": "mesh://artifacts/user/none"});
    let fault = world
        .caller()
        .await
        .request("resources/read", params)
        .await
        .unwrap_err();
    assert_eq!(fault.code, -32002);
    Failure::of(fault.data)
}

async fn conflict() -> Failure {
    let caller = World::open().await.caller().await;
    caller
        .fail("kv_set", json!({"key": "a", "value": 1, "if_version": "x"}))
        .await
}

async fn permission_denied() -> Failure {
    let world = Plan::default()
        .set("AGENT_MESH_ROLE", "viewer")
        .open()
        .await;
    let failure = world
        .caller()
        .await
        .fail("kv_set", json!({"key": "a", "value": 1}))
        .await;
    assert_eq!(failure.detail("permission"), "kv.write");
    failure
}

async fn rate_limited() -> Failure {
    let toml = "[defaults.limits]\nrequests_per_minute = 1\n";
    let caller = Plan::default().tenants(toml).open().await.caller().await;
    caller.ok("kv_get", json!({"key": "a"})).await;
    let failure = caller.fail("kv_get", json!({"key": "a"})).await;
    assert_eq!(failure.detail("limit"), "requests_per_minute");
    assert!(
        failure
            .retry_after_ms()
            .is_some_and(|wait| (1..=60_000).contains(&wait))
    );
    failure
}

async fn quota_exceeded() -> Failure {
    let toml = "[defaults.limits]\nartifact_objects = 0\n";
    let caller = Plan::default().tenants(toml).open().await.caller().await;
    let failure = caller
        .fail("artifacts_put", json!({"key": "a", "content": "x"}))
        .await;
    assert_eq!(failure.detail("quota"), "artifact_objects", "{failure:?}");
    failure
}

async fn overloaded() -> Failure {
    let toml = "[defaults.limits]\ncalls_in_flight = 1\n";
    let world = Plan::default().tenants(toml).open().await;
    let caller = world.caller().await;
    world
        .faults()
        .inject(Service::DynamoDb, "GetItem", Fault::Hang, 1);
    let hangs = caller.call_params("kv_get", r#"{"key":"a"}"#);
    let hanging = caller
        .client
        .begin(caller.client.new_id(), "tools/call", &hangs)
        .await;
    while world.faults().waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let failure = caller.fail("kv_get", json!({"key": "a"})).await;
    assert_eq!(failure.detail("limit"), "calls_in_flight");
    drop(hanging);
    failure
}

async fn too_large() -> Failure {
    let caller = World::open().await.caller().await;
    caller
        .fail("kv_set", json!({"key": "a", "value": "x".repeat(360_000)}))
        .await
}

async fn aws_throttled() -> Failure {
    let world = World::open().await;
    world
        .faults()
        .inject(Service::DynamoDb, "GetItem", Fault::Throttle, 50);
    let failure = world
        .caller()
        .await
        .fail("kv_get", json!({"key": "a"}))
        .await;
    assert!(
        failure.retry_after_ms().is_some_and(|wait| wait > 0),
        "{failure:?}"
    );
    failure
}

async fn aws_unavailable() -> Failure {
    let world = World::open().await;
    world
        .faults()
        .inject(Service::S3, "*", Fault::ServerError, 50);
    world
        .caller()
        .await
        .fail("artifacts_get", json!({"key": "a"}))
        .await
}

async fn not_supported() -> Failure {
    let caller = World::open().await.caller().await;
    caller
        .ok("artifacts_put", json!({"key": "a", "content": "x"}))
        .await;
    caller
        .fail("artifacts_get", json!({"key": "a", "as": "url"}))
        .await
}

async fn timeout() -> Failure {
    let world = World::open().await;
    world
        .faults()
        .inject(Service::DynamoDb, "GetItem", Fault::Hang, 50);
    world
        .caller()
        .await
        .fail("kv_get", json!({"key": "a"}))
        .await
}

/// A row that no server of ours wrote.
#[expect(
    clippy::disallowed_methods,
    reason = "a damaged row cannot be made through the tools"
)]
async fn internal() -> Failure {
    let world = World::open().await;
    let key = trial::row(&"local".parse().unwrap(), "KV#T", "K#damaged");
    let row = Row::new()
        .with_text("value", "no JSON")
        .with_text("secret", "value of the row");
    let table = &world.app.shared().backplane.table;
    table.put(&key, row, Condition::Always).await.unwrap();
    let failure = world
        .caller()
        .await
        .fail("kv_get", json!({"key": "damaged", "scope": "tenant"}))
        .await;
    assert!(!failure.message().contains("row") && !failure.message().contains("damaged"));
    failure
}

/// On AWS and without credentials. The chain that looks for them reads the environment of the process, so
/// it is another process: this one, asked for the one test below.
async fn aws_credentials() -> Failure {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none");
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "errors::a_call_without_credentials",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env_clear()
        .env("HOME", folder.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", &nowhere)
        .env("AWS_SHARED_CREDENTIALS_FILE", &nowhere)
        .output();
    let output = patiently(output).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told = text
        .lines()
        .find_map(|line| line.split_once(MARK))
        .expect("the failure")
        .1;
    Failure::of(serde_json::from_str(told).unwrap())
}

/// What stands before the failure in the other process's output.
const MARK: &str = "failure: ";

#[tokio::test]
#[ignore = "it needs a process without credentials, and is run in one by the test above"]
async fn a_call_without_credentials() {
    let world = Plan::default()
        .set("AGENT_MESH_BACKEND", "aws")
        .open()
        .await;
    let caller = world.caller().await;
    assert!(
        !caller.tool_names().await.is_empty(),
        "the list needs no credentials"
    );
    for (tool, arguments) in [
        ("kv_get", json!({"key": "a"})),
        ("artifacts_put", json!({"key": "a", "content": "x"})),
    ] {
        let answer = caller.call(tool, arguments).await.unwrap();
        let failure = Failure::of(answer.value());
        assert_eq!(failure.detail("reason"), "missing", "{failure:?}");
        println!("{MARK}{}", answer.text);
    }
    let health = caller.ok("events_health_check", json!({})).await;
    assert_eq!(health["status"], "unhealthy");
}

#[tokio::test]
async fn a_fault_that_passes_within_the_retries_is_not_told() {
    let world = World::open().await;
    let caller = world.caller().await;
    for fault in [Fault::Throttle, Fault::ServerError, Fault::LoseAnswer] {
        world
            .faults()
            .inject(Service::DynamoDb, "PutItem", fault, 1);
        let set = caller.ok("kv_set", json!({"key": "a", "value": 1})).await;
        world
            .faults()
            .inject(Service::DynamoDb, "GetItem", fault, 1);
        let got = caller
            .ok("kv_get", json!({"key": "a", "consistent": true}))
            .await;
        assert_eq!(got["version"], set["version"], "{fault:?}");
        world.faults().inject(Service::S3, "PutObject", fault, 1);
        caller
            .ok("artifacts_put", json!({"key": "a", "content": "x"}))
            .await;
        world.faults().inject(Service::S3, "GetObject", fault, 1);
        assert_eq!(
            caller.ok("artifacts_get", json!({"key": "a"})).await["content"],
            "x"
        );
        assert_eq!(world.faults().waiting(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_conditional_write_whose_answer_was_lost_is_recognized_as_done() {
    let world = World::open().await;
    let caller = world.caller().await;
    let lose = |service, operation| {
        assert!(
            world
                .faults()
                .inject(service, operation, Fault::LoseAnswer, 1)
        );
    };
    lose(Service::DynamoDb, "PutItem");
    let set = caller
        .ok("kv_set", json!({"key": "a", "value": 1, "if_absent": true}))
        .await;
    lose(Service::DynamoDb, "PutItem");
    let again = json!({"key": "a", "value": 2, "if_version": set["version"]});
    let set = caller.ok("kv_set", again).await;
    lose(Service::DynamoDb, "DeleteItem");
    caller
        .ok(
            "kv_delete",
            json!({"key": "a", "if_version": set["version"]}),
        )
        .await;
    assert_eq!(
        caller.ok("kv_get", json!({"key": "a"})).await["found"],
        false
    );
    lose(Service::S3, "PutObject");
    let put = caller
        .ok(
            "artifacts_put",
            json!({"key": "a", "content": "1", "if_absent": true}),
        )
        .await;
    lose(Service::S3, "PutObject");
    let again = json!({"key": "a", "content": "2", "if_etag": put["etag"]});
    let put = caller.ok("artifacts_put", again).await;
    lose(Service::S3, "DeleteObject");
    let gone = caller
        .ok(
            "artifacts_delete",
            json!({"key": "a", "if_etag": put["etag"]}),
        )
        .await;
    assert_eq!(gone["existed"], true);
    assert_eq!(
        caller.ok("artifacts_get", json!({"key": "a"})).await["found"],
        false
    );
    assert_eq!(world.faults().waiting(), 0);
}

/// The outcome of the newest event of `tool`.
async fn recorded_outcome(caller: &crate::support::Caller, tool: &str) -> String {
    let filter = json!({"tool": tool, "limit": 1});
    let found = caller.ok("events_query", filter).await;
    assert_eq!(found.get("pending"), None, "{found}");
    let outcome = &found["events"][0]["outcome"];
    outcome
        .as_str()
        .unwrap_or_else(|| panic!("{tool}: {found}"))
        .to_owned()
}

#[tokio::test]
async fn a_change_whose_answers_are_all_lost_is_recorded_as_unknown_and_was_done() {
    let world = World::open().await;
    let caller = world.caller().await;
    let changes = [
        (
            Service::DynamoDb,
            "PutItem",
            "kv_set",
            json!({"key": "a", "value": 1}),
        ),
        (
            Service::DynamoDb,
            "DeleteItem",
            "kv_delete",
            json!({"key": "a"}),
        ),
        (
            Service::S3,
            "PutObject",
            "artifacts_put",
            json!({"key": "a", "content": "x"}),
        ),
        (
            Service::S3,
            "DeleteObject",
            "artifacts_delete",
            json!({"key": "a"}),
        ),
    ];
    for (service, operation, tool, arguments) in changes {
        for (fault, outcome) in [
            (Fault::Throttle, "error"),
            (Fault::ServerError, "unknown"),
            (Fault::LoseAnswer, "unknown"),
        ] {
            world.faults().inject(service, operation, fault, 3);
            let failure = caller.fail(tool, arguments.clone()).await;
            assert_eq!(world.faults().waiting(), 0, "{tool}: {fault:?}");
            let is_unknown = outcome == "unknown";
            assert_eq!(
                failure.detail("outcome") == "unknown",
                is_unknown,
                "{failure:?}"
            );
            let reads = failure.fix().unwrap().contains("read before you repeat it");
            assert_eq!(reads, is_unknown, "{failure:?}");
            assert_eq!(
                recorded_outcome(&caller, tool).await,
                outcome,
                "{tool}: {fault:?}"
            );
        }
        let is_there = match service {
            Service::S3 => caller.ok("artifacts_get", json!({"key": "a"})).await,
            _ => {
                caller
                    .ok("kv_get", json!({"key": "a", "consistent": true}))
                    .await
            }
        };
        let stores = tool.ends_with("set") || tool.ends_with("put");
        assert_eq!(is_there["found"], stores, "{tool} was done");
    }
    // The place in the quota is all that is in doubt here, and nothing of the caller's.
    world
        .faults()
        .inject(Service::DynamoDb, "UpdateItem", Fault::LoseAnswer, 3);
    let failure = caller
        .fail("artifacts_put", json!({"key": "b", "content": "x"}))
        .await;
    assert!(failure.detail("outcome").is_null(), "{failure:?}");
    assert_eq!(recorded_outcome(&caller, "artifacts_put").await, "error");
    let found = caller.ok("artifacts_get", json!({"key": "b"})).await;
    assert_eq!(found["found"], false);
}
