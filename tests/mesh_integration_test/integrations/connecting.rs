//! Connections made over others, beside their removal, and with faults at every step: whole or not at all.
#![expect(
    clippy::disallowed_types,
    reason = "all secrets that there are is more than a SecretStore tells anybody"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_mesh::mesh::ManualClock;
use agent_mesh::outbound::embedded::{ACCESS_KEY_ID, Fault, REGION, SECRET_ACCESS_KEY, Service};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::config::BehaviorVersion;
use aws_types::SdkConfig;
use aws_types::region::Region;
use serde_json::{Value, json};

use super::{URL, files, names, only};
use crate::support::upstreams::Script;
use crate::support::world::stopped_clock;
use crate::support::{Caller, Failure, Plan, World};

/// How often a fault is met: one request with all its attempts, also where others in the background come between;
/// and every request from there on.
const SOME: u32 = 6;
const ALL: u32 = 200;

/// The most requests that one of the calls below makes.
const STEPS_MAX: u32 = 60;

/// When an attempt that was cut off no longer counts.
const ATTEMPT_OVER: Duration = Duration::from_secs(61);

fn signed() -> Value {
    let mut signed = files();
    signed["auth_method"] = json!("bearer");
    signed
}

fn connect(token: &str) -> Value {
    json!({"service_id": "files", "credentials": {"token": token}})
}

/// The names of all secrets that there are.
async fn secrets(world: &World) -> Vec<String> {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "tests");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(world.cloud().http_client())
        .build();
    let client = aws_sdk_secretsmanager::Client::new(&sdk);
    let listed = client.list_secrets().send().await.unwrap();
    let listed = listed.secret_list.unwrap_or_default().into_iter();
    listed.filter_map(|secret| secret.name).collect()
}

/// What the server was last signed in with.
fn last_sign_in(script: &Script) -> String {
    let sign_ins = script.sign_ins.lock().unwrap();
    sign_ins.last().unwrap()["authorization"].clone()
}

async fn knocked(script: &Script, times: u64) {
    while script.knocks.load(Ordering::SeqCst) < times {
        tokio::task::yield_now().await;
    }
}

struct Faulty {
    world: World,
    clock: Arc<ManualClock>,
    caller: Caller,
}

impl Faulty {
    async fn open() -> Self {
        let clock = stopped_clock();
        let world = Plan::default().clock(&clock).open().await;
        let caller = world.caller().await;
        Self {
            world,
            clock,
            caller,
        }
    }

    /// Calls while the requests to `service` after the first `step` meet `fault`. Whether it succeeded, and whether
    /// there was a fault at all.
    async fn call(
        &self,
        (service, fault, times): (Service, Fault, u32),
        step: u32,
        (tool, arguments): (&str, Value),
    ) -> (bool, bool) {
        let faults = self.world.faults();
        faults.inject(service, "*", Fault::Delay(Duration::ZERO), step);
        faults.inject(service, "*", fault, times);
        let answer = self.caller.call(tool, arguments).await.unwrap();
        let was_met = faults.waiting() < u64::from(times);
        faults.clear();
        (!answer.is_error, was_met)
    }

    /// Long enough for every attempt to be over, and for every limit to have been forgotten.
    fn later(&self) {
        self.clock.advance(ATTEMPT_OVER);
    }
}

const WAYS: [(Service, Fault, u32); 6] = [
    (Service::DynamoDb, Fault::ServerError, SOME),
    (Service::DynamoDb, Fault::LoseAnswer, SOME),
    (Service::DynamoDb, Fault::ServerError, ALL),
    (Service::Secrets, Fault::ServerError, SOME),
    (Service::Secrets, Fault::LoseAnswer, SOME),
    (Service::Secrets, Fault::ServerError, ALL),
];

/// Those after which nothing can be taken back, or nobody knows what was done.
fn harsh_ways() -> impl Iterator<Item = (Service, Fault, u32)> {
    let is_harsh =
        |(_, fault, times): &(Service, Fault, u32)| *times == ALL || *fault == Fault::LoseAnswer;
    WAYS.into_iter().filter(is_harsh)
}

#[tokio::test]
async fn a_fault_at_any_step_of_connecting_leaves_the_old_connection_or_the_new_one() {
    let here = Faulty::open().await;
    let script = here.world.scripts.at(URL);
    let mut failures = 0;
    for way in WAYS {
        for step in 0..STEPS_MAX {
            here.caller.ok("integration_register", signed()).await;
            here.caller.ok("integration_connect", connect("one")).await;
            let again = ("integration_connect", connect("two"));
            let (is_connected, was_met) = here.call(way, step, again).await;
            if !is_connected {
                failures += 1;
                assert_eq!(here.world.upstreams.connected().len(), 1, "{way:?} {step}");
            }
            here.later();
            here.world.upstreams.break_all("none");
            here.caller.ok("integration_test", only("files")).await;
            let signed_in = last_sign_in(&script);
            let expected = if is_connected {
                "Bearer two"
            } else {
                "Bearer one"
            };
            // A write that was done and looks failed cannot be taken back while all answers are lost: then it is the
            // new one, whole.
            let may_be_done = way.1 == Fault::LoseAnswer && signed_in == "Bearer two";
            assert!(
                signed_in == expected || may_be_done,
                "{way:?} {step}: {signed_in}"
            );
            here.caller
                .ok("integration_unregister", only("files"))
                .await;
            assert_eq!(
                secrets(&here.world).await,
                Vec::<String>::new(),
                "{way:?} {step}"
            );
            here.later();
            if !was_met {
                break;
            }
            assert!(step + 1 < STEPS_MAX);
        }
    }
    assert!(failures > 10, "{failures}");
}

#[tokio::test]
async fn a_fault_at_any_step_of_ending_leaves_nothing_once_it_is_repeated() {
    let here = Faulty::open().await;
    for tool in ["integration_disconnect", "integration_unregister"] {
        for way in harsh_ways() {
            for step in 0..STEPS_MAX {
                here.caller.ok("integration_register", signed()).await;
                here.caller.ok("integration_connect", connect("one")).await;
                let (is_ended, was_met) = here.call(way, step, (tool, only("files"))).await;
                here.later();
                if !is_ended {
                    here.caller.ok(tool, only("files")).await;
                }
                assert_eq!(
                    secrets(&here.world).await,
                    Vec::<String>::new(),
                    "{way:?} {step}"
                );
                assert!(here.world.upstreams.connected().is_empty());
                here.caller.ok("integration_register", signed()).await;
                let listed = here.caller.ok("integration_list", json!({})).await;
                assert_eq!(listed["integrations"][0]["connections"], json!([]));
                here.later();
                if !was_met {
                    break;
                }
                assert!(step + 1 < STEPS_MAX);
            }
        }
    }
}

#[tokio::test]
async fn a_first_connect_that_fails_at_any_step_leaves_nothing() {
    let here = Faulty::open().await;
    for way in harsh_ways() {
        for step in 0..STEPS_MAX {
            here.caller.ok("integration_register", signed()).await;
            let first = ("integration_connect", connect("one"));
            let (is_connected, was_met) = here.call(way, step, first).await;
            if !is_connected {
                assert!(
                    here.world.upstreams.connected().is_empty(),
                    "{way:?} {step}"
                );
            }
            here.later();
            here.caller
                .ok("integration_unregister", only("files"))
                .await;
            assert_eq!(
                secrets(&here.world).await,
                Vec::<String>::new(),
                "{way:?} {step}"
            );
            here.later();
            if !was_met {
                assert!(is_connected);
                break;
            }
            assert!(step + 1 < STEPS_MAX);
        }
    }
}

#[tokio::test]
async fn credentials_that_are_written_while_the_integration_is_removed_do_not_outlive_it() {
    for is_anew in [false, true] {
        let world = World::open().await;
        let caller = world.caller().await;
        caller.ok("integration_register", signed()).await;
        if is_anew {
            caller.ok("integration_connect", connect("one")).await;
        }
        let faults = world.faults();
        let slow = Fault::Delay(Duration::from_millis(300));
        faults.inject(Service::Secrets, "PutSecretValue", slow, 1);
        let (_, ()) = tokio::join!(caller.call("integration_connect", connect("two")), async {
            while faults.waiting() > 0 {
                tokio::task::yield_now().await;
            }
            caller.ok("integration_unregister", only("files")).await;
            assert_eq!(secrets(&world).await, Vec::<String>::new());
        });
        assert_eq!(secrets(&world).await, Vec::<String>::new());
        assert!(world.upstreams.connected().is_empty());
        caller.ok("integration_register", signed()).await;
        let listed = caller.ok("integration_list", json!({})).await;
        assert_eq!(listed["integrations"][0]["connections"], json!([]));
    }
}

#[tokio::test]
async fn what_is_removed_during_the_handshake_is_not_there_after_it() {
    for is_anew in [false, true] {
        let world = World::open().await;
        let caller = world.caller().await;
        let script = world.scripts.at(URL);
        caller.ok("integration_register", signed()).await;
        if is_anew {
            caller.ok("integration_connect", connect("one")).await;
        }
        let door = script.door.lock().await;
        let knocks = script.knocks.load(Ordering::SeqCst);
        let (failed, ()) =
            tokio::join!(caller.fail("integration_connect", connect("two")), async {
                knocked(&script, knocks + 1).await;
                caller.ok("integration_unregister", only("files")).await;
                drop(door);
            });
        let expected = if is_anew { "CONFLICT" } else { "NOT_FOUND" };
        assert_eq!(failed.code(), expected, "{failed:?}");
        assert_eq!(secrets(&world).await, Vec::<String>::new());
        assert!(world.upstreams.connected().is_empty());
    }
}

#[tokio::test]
async fn of_two_who_make_the_same_connection_one_succeeds() {
    let world = World::open().await;
    let caller = world.caller().await;
    let script = world.scripts.at(URL);
    caller.ok("integration_register", signed()).await;
    caller.ok("integration_connect", connect("one")).await;
    let door = script.door.lock().await;
    let knocks = script.knocks.load(Ordering::SeqCst);
    let (left, right, ()) = tokio::join!(
        caller.call("integration_connect", connect("left")),
        caller.call("integration_connect", connect("right")),
        async {
            knocked(&script, knocks + 2).await;
            drop(door);
        }
    );
    let (left, right) = (left.unwrap(), right.unwrap());
    let (winner, loser) = match left.is_error {
        false => ("Bearer left", right),
        true => ("Bearer right", left),
    };
    assert_eq!(Failure::of(loser.value()).code(), "CONFLICT");
    assert_eq!(world.upstreams.connected().len(), 1);
    world.upstreams.break_all("none");
    caller.ok("integration_test", only("files")).await;
    assert_eq!(last_sign_in(&script), winner);
    assert_eq!(secrets(&world).await.len(), 1);
}

#[tokio::test]
async fn a_connection_that_is_ended_elsewhere_while_it_is_opened_is_not_kept_open() {
    let clock = stopped_clock();
    let here = Plan::default().clock(&clock).open().await;
    let there = Plan::default().clock(&clock).beside(&here).open().await;
    let (caller, other) = (here.caller().await, there.caller().await);
    caller.ok("integration_register", files()).await;
    caller.ok("integration_connect", only("files")).await;
    let script = here.scripts.at(URL);
    let door = script.door.lock().await;
    let knocks = script.knocks.load(Ordering::SeqCst);
    let (failed, ()) = tokio::join!(
        other.fail("mcp_proxy", json!({"tool_name": "files.echo"})),
        async {
            knocked(&script, knocks + 1).await;
            caller.ok("integration_disconnect", only("files")).await;
            clock.advance(Duration::from_secs(5));
            let listed = other.ok("mcp_list_tools", json!({})).await;
            assert_eq!(names(&listed), Vec::<&str>::new());
            drop(door);
        }
    );
    assert_eq!(failed.code(), "NOT_FOUND");
    assert!(there.upstreams.connected().is_empty());
}
