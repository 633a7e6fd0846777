//! AWS clients that answer from a script: throttles, partial failures, broken credentials.
//!
//! There is no network.

mod buckets;
mod credentials;
mod executions;
mod native;
mod notices;
mod outcomes;
mod secrets;
mod tables;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_mesh::mesh::store::key;
use agent_mesh::mesh::tenant::TenantId;
use agent_mesh::mesh::{Clock, SystemClock};
use agent_mesh::outbound::aws::{
    AwsBucket, AwsBus, AwsSecrets, AwsSettings, AwsStates, AwsTable, AwsTopics, Connection,
};
use agent_mesh::outbound::embedded::{EmbeddedCloud, EmbeddedSettings};
use aws_smithy_mocks::{MockResponseInterceptor, Rule, RuleMode, create_mock_http_client};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use futures::future::BoxFuture;
use libtest_mimic::Trial;

/// A scripted case.
struct Scripted {
    name: &'static str,
    run: fn() -> BoxFuture<'static, ()>,
}

/// Lists the cases of a module.
macro_rules! scripted {
    ($($name:ident),* $(,)?) => {
        pub(super) const CASES: &[super::Scripted] = &[$(super::Scripted {
            name: stringify!($name),
            run: || Box::pin($name()),
        }),*];
    };
}
use scripted;

/// Every scripted case.
pub(crate) fn trials() -> Vec<Trial> {
    let families = [
        ("secrets", secrets::CASES),
        ("tables", tables::CASES),
        ("buckets", buckets::CASES),
        ("credentials", credentials::CASES),
        ("executions", executions::CASES),
        ("native", native::CASES),
        ("notices", notices::CASES),
        ("outcomes", outcomes::CASES),
    ];
    let mut trials = Vec::new();
    for (family, cases) in families {
        for Scripted { name, run } in cases {
            let run = *run;
            trials.push(Trial::test(
                format!("scripted::{family}::{name}"),
                move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()?;
                    runtime.block_on(run());
                    Ok(())
                },
            ));
        }
    }
    trials
}

/// The adapters on one connection.
struct Cloud {
    table: AwsTable,
    bucket: AwsBucket,
    bus: AwsBus,
    states: AwsStates,
    topics: AwsTopics,
    secrets: AwsSecrets,
}

impl Cloud {
    fn on(settings: AwsSettings, clock: Arc<dyn Clock>) -> Self {
        let connection = Connection::new(settings, clock);
        Self {
            table: AwsTable::new(connection.clone()),
            bucket: AwsBucket::new(connection.clone()),
            bus: AwsBus::new(connection.clone()),
            states: AwsStates::new(connection.clone()),
            topics: AwsTopics::new(connection.clone()),
            secrets: AwsSecrets::new(connection),
        }
    }

    /// Answers by `rules`, one after the other.
    fn by(rules: &[&Rule]) -> Self {
        let script = MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny);
        let script = rules
            .iter()
            .fold(script, |script, rule| script.with_rule(rule));
        let mut settings = settings(create_mock_http_client());
        settings.interceptors = vec![SharedInterceptor::new(script)];
        Self::on(settings, Arc::new(SystemClock::new()))
    }

    /// Answers as the embedded cloud in `folder` does.
    fn in_folder(folder: &std::path::Path) -> Self {
        let cloud = EmbeddedCloud::open(EmbeddedSettings {
            folder: folder.to_owned(),
            table: "table".to_owned(),
            bucket: "bucket".to_owned(),
            bus: "bus".to_owned(),
            clock: Arc::new(SystemClock::new()),
        });
        let settings = settings(cloud.unwrap().http_client());
        Self::on(settings, Arc::new(SystemClock::new()))
    }

    /// Answers by `answer`.
    fn answering(answer: impl Fn(&HttpRequest) -> Answer + Send + Sync + 'static) -> (Self, Wire) {
        let wire = Wire::new(answer);
        let settings = settings(SharedHttpClient::new(wire.clone()));
        (Self::on(settings, Arc::new(SystemClock::new())), wire)
    }
}

fn settings(http_client: SharedHttpClient) -> AwsSettings {
    let mut settings = AwsSettings::embedded(http_client, "table", "bucket", "bus");
    settings.backoff_max = Duration::from_millis(1);
    settings
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn row_key(sort: &str) -> key::RowKey {
    key::trial::row(&tenant("acme"), "KV#T", sort)
}

fn object_key(name: &str) -> key::ObjectKey {
    key::trial::object(&tenant("acme"), &format!("t/{name}"))
}

/// Status and body of an answer; none is never given.
type Answer = Option<(u16, String)>;

/// The body of an error as DynamoDB and EventBridge write it.
fn json_error(status: u16, code: &str) -> Answer {
    Some((
        status,
        format!(r#"{{"__type":"com.amazon#{code}","message":"by script"}}"#),
    ))
}

/// The body of an error as S3 writes it.
fn xml_error(status: u16, code: &str) -> Answer {
    Some((
        status,
        format!("<Error><Code>{code}</Code><Message>by script</Message></Error>"),
    ))
}

/// In place of a status: the connection breaks before the answer.
const BROKEN: u16 = 0;

/// Where a write leaves its mark.
const MARK: &str = "x-amz-meta-agent-mesh-write";

/// An HTTP client that answers from a function and remembers what it was asked.
#[derive(Clone)]
struct Wire {
    answer: Arc<dyn Fn(&HttpRequest) -> Answer + Send + Sync>,
    requests: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicUsize>,
    /// The mark that the last write left, as the bucket would keep it.
    mark: Arc<Mutex<String>>,
}

impl Wire {
    fn new(answer: impl Fn(&HttpRequest) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            requests: Arc::default(),
            count: Arc::default(),
            mark: Arc::default(),
        }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Method and address of each request.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Wire")
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.count.fetch_add(1, Ordering::SeqCst);
        let line = format!("{} {}", request.method(), request.uri());
        self.requests.lock().unwrap().push(line);
        if let Some(mark) = request.headers().get(MARK) {
            *self.mark.lock().unwrap() = mark.to_owned();
        }
        match (self.answer)(&request) {
            Some((BROKEN, text)) => {
                HttpConnectorFuture::ready(Err(ConnectorError::io(text.into())))
            }
            Some((status, body)) => {
                let status = status.try_into().unwrap();
                let mut response = HttpResponse::new(status, SdkBody::from(body));
                if request.method() == "HEAD" {
                    let mark = self.mark.lock().unwrap().clone();
                    response.headers_mut().insert(MARK, mark);
                    response.headers_mut().insert("etag", "\"head\"");
                }
                HttpConnectorFuture::ready(Ok(response))
            }
            None => HttpConnectorFuture::new(std::future::pending()),
        }
    }
}

impl HttpClient for Wire {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// Lets everything that can run do so.
async fn settle(mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never happened");
}

/// Asserts that `future` has not ended after 50 ms.
async fn goes_on<F: Future + Unpin>(future: &mut F) {
    let ended = tokio::time::timeout(Duration::from_millis(50), future).await;
    assert!(ended.is_err(), "it ended");
}
