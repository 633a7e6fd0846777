//! What the parts of a call cost: who calls, arguments and reply, the outbox, the bare path, a read of a value.
#![expect(clippy::unwrap_used, reason = "a bench stops where it goes wrong")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use agent_mesh::app::App;
use agent_mesh::config::{Config, Environment, Flags, MetricsSettings};
use agent_mesh::inbound::tool::{self, Reply};
use agent_mesh::mesh::call::grant::Granted;
use agent_mesh::mesh::call::observer::EndedCall;
use agent_mesh::mesh::call::operation::{KvRead, Operation, Subject};
use agent_mesh::mesh::call::request::Request;
use agent_mesh::mesh::call::tool::Tool;
use agent_mesh::mesh::event::{Event, Outbox, OutboxSettings, Outcome, Target, Weight};
use agent_mesh::mesh::limit::Cost;
use agent_mesh::mesh::tenant::{
    EnvironmentIdentity, KeySet, KeySource, KeysUnavailable, Limits, Presented, Resolver, Role,
    SignatureKey, TenantDirectory, TenantId, TenantRecord, TenantStatus, Token, TokenSettings,
};
use agent_mesh::mesh::{Clock, Error, SystemClock, Timestamp};
use agent_mesh::telemetry::Watch;
use agent_mesh::telemetry::metrics::Metrics;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use futures::future::{BoxFuture, FutureExt};
use serde_json::json;
use tokio::runtime::Runtime;

/// The moment at which the tokens here hold: seconds.
const NOW: i64 = 1_800_000_000;

struct One(Arc<TenantRecord>);

impl TenantDirectory for One {
    fn find(&self, tenant: &TenantId) -> Option<Arc<TenantRecord>> {
        (*tenant == self.0.id).then(|| Arc::clone(&self.0))
    }
}

struct Keys(KeySet);

impl KeySource for Keys {
    fn key<'a>(
        &'a self,
        kid: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<SignatureKey>>, KeysUnavailable>> {
        async move { Ok(self.0.find(kid)) }.boxed()
    }
}

/// An operation that does nothing.
struct Nothing;

impl Operation for Nothing {
    const TOOL: Tool = Tool::KvGet;
    type Needs = KvRead;
    type Answer = ();

    fn subject(&self) -> Subject {
        Subject::none().with("key", "key-1")
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(self, _: &Granted<'call, Self>) -> Result<(), Error> {
        Ok(())
    }
}

fn acme() -> Arc<One> {
    Arc::new(One(Arc::new(TenantRecord {
        id: "acme".parse().unwrap(),
        status: TenantStatus::Active,
        issuers: vec!["https://id.example".to_owned()],
        event_shards: 1,
        limits: Arc::new(Limits::default()),
        workflows: Default::default(),
        alert_topics: Default::default(),
    })))
}

/// A key set and a token that its key has signed.
fn signed() -> (KeySet, String) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()),
                     "kid": "bench", "alg": "EdDSA", "use": "sig"});
    let header = json!({"alg": "EdDSA", "kid": "bench", "typ": "JWT"}).to_string();
    let claims = json!({"iss": "https://id.example", "aud": "mesh", "iat": NOW, "exp": NOW + 300,
                        "sub": "ada", "tenant_id": "acme", "role": "user"})
    .to_string();
    let message = format!("{}.{}", text(header.as_bytes()), text(claims.as_bytes()));
    let signature = text(pair.sign(message.as_bytes()).as_ref());
    let keys = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
    (keys, format!("{message}.{signature}"))
}

fn resolve(criterion: &mut Criterion) {
    let now = Timestamp::from_seconds(NOW);
    let identity = EnvironmentIdentity {
        tenant: "acme".parse().unwrap(),
        user: "ada".parse().unwrap(),
        role: Role::User,
    };
    let by_environment = Resolver::of_environment(identity, Arc::default(), acme());
    let nobody = Presented::default();
    criterion.bench_function("resolve the tenant of the environment", |bencher| {
        bencher.iter(|| {
            by_environment
                .resolve_now(black_box(&nobody), now)
                .unwrap()
                .unwrap()
        });
    });

    let (keys, token) = signed();
    let settings = TokenSettings::of_messages(
        vec!["https://id.example".to_owned()],
        vec!["mesh".to_owned()],
    );
    let by_token = Resolver::of_tokens(settings, Arc::new(Keys(keys)), acme());
    let presented = Presented {
        token: Some(Token::new(token)),
        foreign: false,
        ..Presented::default()
    };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(by_token.resolve(&presented, now)).unwrap();
    criterion.bench_function("resolve the tenant of a token seen before", |bencher| {
        bencher.iter(|| {
            by_token
                .resolve_now(black_box(&presented), now)
                .unwrap()
                .unwrap()
        });
    });
}

fn render(criterion: &mut Criterion) {
    let arguments = r#"{"key": "agents/planner/state", "value": {"step": 7, "done": ["a", "b"]}, "ttl_hours": 2}"#;
    criterion.bench_function("parse the arguments of kv_set", |bencher| {
        bencher.iter(|| tool::kv::set(Some(black_box(arguments))).unwrap());
    });
    let result = r#"{"key":"agents/planner/state","found":true,"value":{"step":7,"done":["a","b"]},"version":"01K0000000000000000000000A","created_at":"2026-11-20T09:28:10.129Z","size":31}"#;
    let reply = Reply::of_result(result.to_owned(), false);
    criterion.bench_function("render the reply of kv_get", |bencher| {
        bencher.iter(|| black_box(&reply).to_json(false));
    });
}

/// An event as a read of a value leaves it.
fn event() -> Event {
    let id = "01K0000000000000000000000A";
    serde_json::from_value(json!({
        "event_id": id, "time": "2026-11-20T09:28:10.129Z", "detail_type": "KV.Get", "tenant_id": "acme",
        "user_id": "ada", "tool": "kv_get", "outcome": "ok", "request_id": id, "duration_ms": 0.213,
        "bytes": 31, "priority": "medium", "depth": 0, "data": {"key": "agents/planner/state", "found": true},
    }))
    .unwrap()
}

fn record(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let target = Target {
        backend: "embedded".to_owned(),
        endpoint: String::new(),
        region: String::new(),
        account: String::new(),
        table: "table".to_owned(),
        bus: "bus".to_owned(),
    };
    let outbox = Outbox::open(OutboxSettings {
        root: folder.path().to_owned(),
        target,
        // Nobody publishes here.
        bytes_max: 1 << 40,
        clock,
    })
    .unwrap();
    let tenant = "acme".parse().unwrap();
    let event = [event()];
    criterion.bench_function(
        "reserve a place in the outbox and commit an event",
        |bencher| {
            bencher.iter(|| {
                let slot = outbox.reserve(black_box(&tenant), Weight::Read).unwrap();
                slot.commit(&event).unwrap()
            });
        },
    );
}

fn call(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let tenants = folder.path().join("tenants.toml");
    let limits =
        "[defaults.limits]\nrequests_per_minute = 1000000000\ndynamodb_read = 1000000000\n";
    std::fs::write(&tenants, format!("{limits}[tenants.local]\n")).unwrap();
    let variables = [
        ("AGENT_MESH_DATA_DIR", folder.path().display().to_string()),
        ("AGENT_MESH_TENANTS_FILE", tenants.display().to_string()),
        // What a flood of reads records is the outbox's and the publisher's to show.
        ("AGENT_MESH_EVENT_READS", "rollup".to_owned()),
    ];
    let environment = Environment {
        variables: variables
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        working_dir: folder.path().to_owned(),
        ..Environment::default()
    };
    let config = Config::load(&Flags::default(), &environment, None).unwrap();
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(App::open(&config)).unwrap();
    let backplane = Arc::clone(&app.shared().backplane);
    let request = || Request::new(Presented::default());
    criterion.bench_function("the path of a call that does nothing", |bencher| {
        bencher.iter(|| {
            let answer = runtime
                .block_on(backplane.call(request(), Ok(Nothing)))
                .unwrap();
            answer.into_result().unwrap();
        });
    });

    let set = r#"{"key": "key", "value": {"step": 7, "done": ["a", "b"]}}"#;
    let stored = runtime.block_on(tool::call(&backplane, Tool::KvSet, request(), Some(set)));
    assert!(!stored.unwrap().is_error);
    criterion.bench_function(
        "kv_get on the embedded cloud, from arguments to reply",
        |bencher| {
            bencher.iter(|| {
                let call = tool::call(
                    &backplane,
                    Tool::KvGet,
                    request(),
                    Some(r#"{"key": "key"}"#),
                );
                let reply = runtime.block_on(call).unwrap();
                assert!(!reply.is_error);
                reply.to_json(false)
            });
        },
    );
    runtime.block_on(app.close(Duration::from_secs(1)));
}

/// What a call costs more where it is counted.
fn watch(criterion: &mut Criterion) {
    let tenant = "acme".parse().unwrap();
    let call = EndedCall {
        tool: Tool::KvGet,
        tenant: &tenant,
        outcome: Outcome::Ok,
        error: None,
        refused_by: None,
        duration: Duration::from_micros(30),
    };
    for (name, tenants) in [
        ("count a call", 0),
        ("count a call, and its tenant among the busiest", 20),
    ] {
        let settings = MetricsSettings {
            bind: None,
            tenants,
        };
        let watch = Watch {
            metrics: Some(Metrics::new(&settings, &SystemClock::new())),
            is_traced: false,
        };
        let observer = watch.observer().unwrap();
        let request = Request::new(Presented::default());
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                drop(observer.begin(black_box(&request), Tool::KvGet));
                observer.ended(black_box(&call));
            });
        });
    }
}

criterion_group!(parts, resolve, render, record, call, watch);
criterion_main!(parts);
