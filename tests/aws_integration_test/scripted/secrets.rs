//! Secrets: throttles, deletions that are going on, lost answers, what AWS denies, and what the log shows.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agent_mesh::mesh::store::SecretStore;
use agent_mesh::mesh::store::key::{self, Scope, SecretKey};
use agent_mesh::mesh::{Error, ErrorKind};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use secrecy::{ExposeSecret as _, SecretString};
use tracing::instrument::WithSubscriber as _;

use super::{Answer, BROKEN, Cloud, json_error, tenant};

super::scripted![
    throttles_are_waited_for_and_those_without_end_are_told,
    a_secret_that_is_missing_is_created,
    one_that_another_creates_meanwhile_is_replaced,
    one_that_is_scheduled_for_deletion_is_restored,
    a_deletion_that_goes_on_is_waited_for_and_then_told,
    a_change_whose_answers_are_all_lost_may_have_been_made,
    a_deletion_whose_answer_was_lost_was_ours,
    bytes_are_no_text,
    only_names_of_the_prefix_are_told,
    every_refusal_has_its_kind,
    the_log_at_its_finest_shows_no_secret,
];

const CANARY: &str = "canary-51c0ffee";

/// The error of a secret in the wrong state, in AWS's words.
const SCHEDULED: &str =
    "You can't perform this operation on the secret because it was marked for deletion.";

fn secret() -> SecretKey {
    let user = "ada".parse().unwrap();
    key::trial::secret(&tenant("acme"), Scope::User, &user, "name")
}

fn text() -> SecretString {
    SecretString::from(CANARY)
}

fn operation(request: &HttpRequest) -> String {
    let target = request.headers().get("x-amz-target").unwrap();
    target.strip_prefix("secretsmanager.").unwrap().to_owned()
}

fn ok(body: &str) -> Answer {
    Some((200, body.to_owned()))
}

fn done() -> Answer {
    ok(r#"{"ARN":"arn","Name":"n","VersionId":"v"}"#)
}

fn scheduled() -> Answer {
    Some((
        400,
        format!(r#"{{"__type":"InvalidRequestException","Message":"{SCHEDULED}"}}"#),
    ))
}

fn absent() -> Answer {
    json_error(400, "ResourceNotFoundException")
}

/// Answers by a script of operations and answers, each used once, in order.
fn scripted(script: Vec<(&'static str, Answer)>) -> (Cloud, Arc<AtomicUsize>) {
    let at = Arc::new(AtomicUsize::new(0));
    let next = Arc::clone(&at);
    let (cloud, _) = Cloud::answering(move |request| {
        let number = next.fetch_add(1, Ordering::SeqCst);
        let (expected, answer) = script.get(number).expect("no more requests");
        assert_eq!(&operation(request), expected, "request {number}");
        answer.clone()
    });
    (cloud, at)
}

async fn put_by(script: Vec<(&'static str, Answer)>) -> Result<(), Error> {
    let length = script.len();
    let (cloud, asked) = scripted(script);
    let result = cloud.secrets.put(&secret(), &text()).await;
    assert_eq!(asked.load(Ordering::SeqCst), length);
    result
}

async fn throttles_are_waited_for_and_those_without_end_are_told() {
    let throttled = || ("PutSecretValue", json_error(400, "ThrottlingException"));
    put_by(vec![throttled(), throttled(), ("PutSecretValue", done())])
        .await
        .unwrap();
    let error = put_by(vec![throttled(), throttled(), throttled()])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsThrottled);
    assert!(!error.may_be_done() && error.wait().is_some());
}

async fn a_secret_that_is_missing_is_created() {
    put_by(vec![("PutSecretValue", absent()), ("CreateSecret", done())])
        .await
        .unwrap();
}

async fn one_that_another_creates_meanwhile_is_replaced() {
    put_by(vec![
        ("PutSecretValue", absent()),
        ("CreateSecret", json_error(400, "ResourceExistsException")),
        ("PutSecretValue", done()),
    ])
    .await
    .unwrap();
}

async fn one_that_is_scheduled_for_deletion_is_restored() {
    put_by(vec![
        ("PutSecretValue", scheduled()),
        ("RestoreSecret", done()),
        ("PutSecretValue", done()),
    ])
    .await
    .unwrap();
    let (cloud, _) = scripted(vec![("GetSecretValue", scheduled())]);
    assert!(cloud.secrets.get(&secret()).await.unwrap().is_none());
}

async fn a_deletion_that_goes_on_is_waited_for_and_then_told() {
    let round = || {
        [
            ("PutSecretValue", absent()),
            ("CreateSecret", scheduled()),
            ("RestoreSecret", absent()),
        ]
    };
    let mut script: Vec<_> = [round(), round()].concat();
    script.extend([("PutSecretValue", absent()), ("CreateSecret", done())]);
    put_by(script).await.unwrap();
    let script = (0..5).flat_map(|_| round()).collect();
    let error = put_by(script).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    assert!(!error.may_be_done(), "{error}");
}

async fn a_change_whose_answers_are_all_lost_may_have_been_made() {
    let lost = || ("PutSecretValue", Some((BROKEN, "cut".to_owned())));
    let error = put_by(vec![lost(), lost(), lost()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    assert!(error.may_be_done());
    put_by(vec![lost(), ("PutSecretValue", done())])
        .await
        .unwrap();
}

async fn a_deletion_whose_answer_was_lost_was_ours() {
    let described = || ("DescribeSecret", done());
    let cut = || ("DeleteSecret", Some((BROKEN, "cut".to_owned())));
    for (script, was_there) in [
        (vec![("DescribeSecret", absent())], false),
        (vec![described(), ("DeleteSecret", done())], true),
        (vec![described(), cut(), ("DeleteSecret", absent())], true),
        (vec![described(), ("DeleteSecret", absent())], false),
        (
            vec![
                ("DescribeSecret", ok(r#"{"Name":"n","DeletedDate":1.7e9}"#)),
                ("DeleteSecret", done()),
            ],
            false,
        ),
    ] {
        let (cloud, _) = scripted(script);
        assert_eq!(cloud.secrets.delete(&secret()).await.unwrap(), was_there);
    }
    let (cloud, _) = scripted(vec![described(), cut(), cut(), cut()]);
    let error = cloud.secrets.delete(&secret()).await.unwrap_err();
    assert!(error.may_be_done());
}

async fn bytes_are_no_text() {
    let (cloud, _) = scripted(vec![(
        "GetSecretValue",
        ok(r#"{"Name":"n","SecretBinary":"AAAA"}"#),
    )]);
    let error = cloud.secrets.get(&secret()).await.unwrap_err();
    assert!(error.fix_text().unwrap().contains("secrets set"));
}

async fn only_names_of_the_prefix_are_told() {
    // A filter that ignores case and order of words finds more than was asked for.
    let (cloud, _) = scripted(vec![
        (
            "ListSecrets",
            ok(
                r#"{"NextToken":"2","SecretList":[{"Name":"agent-mesh/acme/u/ada/one"},{"Name":"agent-mesh/acme/u/Ada/no"},{"Name":"agent-mesh/acme2/u/ada/no"},{"Name":"x/agent-mesh/acme/u/ada/no"},{}]}"#,
            ),
        ),
        ("ListSecrets", ok(r#"{"NextToken":"","SecretList":[]}"#)),
    ]);
    let prefix = key::trial::secrets(&tenant("acme"), Scope::User, &"ada".parse().unwrap());
    let page = cloud.secrets.list(&prefix, None).await.unwrap();
    assert_eq!(page.names, ["one"]);
    let last = cloud
        .secrets
        .list(&prefix, page.next.as_deref())
        .await
        .unwrap();
    assert_eq!((last.names.len(), last.next), (0, None));
}

async fn every_refusal_has_its_kind() {
    for (status, code, kind) in [
        (400, "AccessDeniedException", ErrorKind::AwsCredentials),
        (
            400,
            "UnrecognizedClientException",
            ErrorKind::AwsCredentials,
        ),
        (400, "DecryptionFailure", ErrorKind::AwsUnavailable),
        (400, "EncryptionFailure", ErrorKind::AwsUnavailable),
        (400, "LimitExceededException", ErrorKind::QuotaExceeded),
        (400, "InvalidRequestException", ErrorKind::AwsUnavailable),
        (
            400,
            "PreconditionNotMetException",
            ErrorKind::AwsUnavailable,
        ),
        (400, "EmbeddedSecretsKey", ErrorKind::AwsUnavailable),
        (400, "EmbeddedSecretDamaged", ErrorKind::AwsUnavailable),
        (507, "EmbeddedStorageFull", ErrorKind::AwsUnavailable),
        (500, "InternalServiceError", ErrorKind::AwsUnavailable),
        (400, "MalformedPolicyDocumentException", ErrorKind::Internal),
    ] {
        let (cloud, _) = Cloud::answering(move |_| json_error(status, code));
        let put = cloud.secrets.put(&secret(), &text()).await.unwrap_err();
        let get = cloud.secrets.get(&secret()).await.unwrap_err();
        for error in [put, get] {
            assert_eq!(error.kind(), kind, "{code}");
            assert!(
                kind == ErrorKind::Internal || error.fix_text().is_some(),
                "{code}"
            );
            let told = format!("{error:?} {:?} {:?}", error.fix_text(), error.details());
            assert!(
                !told.contains(CANARY) && !error.message().contains("agent-mesh/"),
                "{told}"
            );
        }
    }
}

/// Everything that was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Even where the operator has asked the SDK itself for everything.
async fn the_log_at_its_finest_shows_no_secret() {
    let lines = Lines::default();
    // While there is only one, what threads without one meet first is never logged by anyone.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let work = async {
        let folder = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_folder(folder.path());
        cloud.secrets.put(&secret(), &text()).await.unwrap();
        cloud.secrets.put(&secret(), &text()).await.unwrap();
        let found = cloud.secrets.get(&secret()).await.unwrap().unwrap();
        assert_eq!(found.expose_secret(), CANARY);
        assert!(!format!("{found:?}").contains(CANARY));
        let (cloud, _) = Cloud::answering(|_| json_error(400, "DecryptionFailure"));
        cloud.secrets.put(&secret(), &text()).await.unwrap_err();
    };
    work.with_subscriber(subscriber).await;
    let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(
        told.contains("transmitting request"),
        "the SDK logged nothing"
    );
    let escaped: Vec<String> = CANARY.bytes().map(|byte| byte.to_string()).collect();
    for plain in [CANARY, &escaped.join(", ")] {
        let found = told.lines().find(|line| line.contains(plain));
        assert_eq!(found, None);
    }
}
