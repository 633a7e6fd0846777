//! Secrets as the SDK meets them, and what becomes of files that somebody has changed.

use std::fs;
use std::path::PathBuf;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};

use super::*;
use crate::outbound::embedded::{Fault, Service};

const CANARY: &str = "canary-7f3a \"quoted\"\nä";

fn secrets(cloud: &EmbeddedCloud) -> Client {
    let no_retry = aws_sdk_secretsmanager::config::retry::RetryConfig::disabled();
    let config = aws_sdk_secretsmanager::config::Builder::from(&config(cloud));
    Client::from_conf(config.retry_config(no_retry).build())
}

async fn create(client: &Client, name: &str, text: &str) {
    let create = client.create_secret().name(name).secret_string(text);
    create.send().await.unwrap();
}

async fn put(client: &Client, name: &str, text: &str) -> Result<(), String> {
    let put = client.put_secret_value().secret_id(name);
    told(put.secret_string(text).send().await.map(drop))
}

/// The text, or the code and the message of the refusal.
async fn get(client: &Client, name: &str) -> Result<String, String> {
    let got = client.get_secret_value().secret_id(name).send().await;
    told(got.map(|got| got.secret_string.unwrap()))
}

fn told<T>(result: Result<T, impl ProvideErrorMetadata>) -> Result<T, String> {
    result.map_err(|error| {
        let (code, message) = (error.code(), error.message());
        format!(
            "{}: {}",
            code.unwrap_or_default(),
            message.unwrap_or_default()
        )
    })
}

async fn names(client: &Client, prefix: &str) -> Vec<String> {
    let filter = Filter::builder()
        .key(FilterNameStringType::Name)
        .values(prefix)
        .build();
    let (mut names, mut next) = (Vec::new(), None);
    loop {
        let page = client.list_secrets().filters(filter.clone());
        let page = page.max_results(2).set_next_token(next).send().await;
        let page = page.unwrap();
        let list = page.secret_list.unwrap();
        assert!(list.len() <= 2);
        names.extend(list.into_iter().map(|one| one.name.unwrap()));
        match page.next_token {
            Some(token) => next = Some(token),
            None => return names,
        }
    }
}

/// The files of the secrets.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("secrets")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The file of the secret `name`.
fn file(folder: &Path, name: &str) -> PathBuf {
    let quoted = format!("\"{name}\"");
    let mut files = files(folder).into_iter();
    files
        .find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&quoted)))
        .unwrap()
}

/// Every byte below `folder`.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => bytes.extend(all_bytes(&path)),
            false => bytes.extend(fs::read(&path).unwrap()),
        }
    }
    bytes
}

#[tokio::test]
async fn a_secret_is_created_read_changed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let client = secrets(&cloud(folder.path()));
    let absent = get(&client, "a/b").await.unwrap_err();
    assert!(absent.starts_with("ResourceNotFoundException"), "{absent}");
    let absent = put(&client, "a/b", "x").await.unwrap_err();
    assert!(absent.starts_with("ResourceNotFoundException"), "{absent}");
    create(&client, "a/b", CANARY).await;
    assert_eq!(get(&client, "a/b").await.unwrap(), CANARY);
    put(&client, "a/b", "second").await.unwrap();
    assert_eq!(get(&client, "a/b").await.unwrap(), "second");
    // Another process sees the same.
    assert_eq!(
        get(&secrets(&cloud(folder.path())), "a/b").await.unwrap(),
        "second"
    );
    let again = client.create_secret().name("a/b").secret_string("x");
    let again = told(again.send().await).unwrap_err();
    assert!(again.starts_with("ResourceExistsException"), "{again}");
    let found = client
        .describe_secret()
        .secret_id("a/b")
        .send()
        .await
        .unwrap();
    assert!(found.created_date.unwrap() <= found.last_changed_date.unwrap());
    client
        .restore_secret()
        .secret_id("a/b")
        .send()
        .await
        .unwrap();
    let delete = || client.delete_secret().secret_id("a/b");
    let gentle = told(delete().send().await).unwrap_err();
    assert!(gentle.starts_with("InvalidParameterException"), "{gentle}");
    for _ in 0..2 {
        delete()
            .force_delete_without_recovery(true)
            .send()
            .await
            .unwrap();
        assert!(get(&client, "a/b").await.is_err());
    }
}

#[tokio::test]
async fn a_repeated_request_changes_nothing_and_another_of_its_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let client = secrets(&cloud(folder.path()));
    let create = |text: &str| {
        let create = client.create_secret().name("a").secret_string(text);
        create.client_request_token("t1").send()
    };
    create("one").await.unwrap();
    create("one").await.unwrap();
    let other = told(create("two").await).unwrap_err();
    assert!(other.starts_with("ResourceExistsException"), "{other}");
    let put = |token: &str, text: &str| {
        let put = client.put_secret_value().secret_id("a").secret_string(text);
        put.client_request_token(token).send()
    };
    put("t2", "two").await.unwrap();
    put("t2", "two").await.unwrap();
    let other = told(put("t2", "three").await).unwrap_err();
    assert!(other.starts_with("ResourceExistsException"), "{other}");
    assert_eq!(get(&client, "a").await.unwrap(), "two");
}

#[tokio::test]
async fn names_are_listed_in_order_by_what_they_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let client = secrets(&cloud(folder.path()));
    assert_eq!(names(&client, "t/").await, [""; 0]);
    for name in ["t/c", "t/a", "t/b", "t/b/c", "u/a", "t"] {
        create(&client, name, "x").await;
    }
    assert_eq!(names(&client, "t/").await, ["t/a", "t/b", "t/b/c", "t/c"]);
    assert_eq!(names(&client, "t/x").await, [""; 0]);
}

#[tokio::test]
async fn what_aws_would_refuse_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let client = secrets(&cloud(folder.path()));
    let longest = "x".repeat(512);
    create(&client, &longest, &"y".repeat(64 << 10)).await;
    assert_eq!(get(&client, &longest).await.unwrap().len(), 64 << 10);
    for (name, text) in [
        ("", "x".to_owned()),
        ("a b", "x".to_owned()),
        ("a~b", "x".to_owned()),
        (&*"x".repeat(513), "x".to_owned()),
        ("a", String::new()),
        ("a", "y".repeat((64 << 10) + 1)),
    ] {
        let create = client.create_secret().name(name).secret_string(text);
        assert!(create.send().await.is_err(), "{name}");
    }
    assert_eq!(names(&client, "").await, [longest]);
}

#[tokio::test]
async fn nothing_of_a_secret_is_in_plain_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = secrets(&cloud);
    create(&client, "a", CANARY).await;
    put(&client, "a", &format!("{CANARY} again")).await.unwrap();
    create(&client, "b", CANARY).await;
    let bytes = all_bytes(folder.path());
    for plain in ["canary-7f3a", "Y2FuYXJ5", "63616e617279"] {
        assert!(
            !bytes
                .windows(plain.len())
                .any(|found| found == plain.as_bytes())
        );
    }
    // The same text is never sealed the same way twice.
    let sealed = |name: &str| {
        let text = fs::read_to_string(file(folder.path(), name)).unwrap();
        let lines: serde_json::Value = serde_json::from_str(&text).unwrap();
        (lines["nonce"].to_string(), lines["sealed"].to_string())
    };
    let before = sealed("b");
    put(&client, "b", CANARY).await.unwrap();
    let after = sealed("b");
    assert!(before.0 != after.0 && before.1 != after.1);
}

#[cfg(unix)]
#[tokio::test]
async fn key_and_secrets_are_their_owners_alone_and_others_are_shut_out_again() {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path(), folder.path().join("secrets.key"));
    // What a process left behind that was killed at the worst moment.
    fs::write(folder.path().join("secrets.key.new"), "half").unwrap();
    let client = secrets(&cloud(path));
    create(&client, "a", "x").await;
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&path.join("secrets")), 0o700);
    assert_eq!(mode(&file(path, "a")), 0o600);
    for wide in [0o644, 0o660, 0o604] {
        fs::set_permissions(&key, fs::Permissions::from_mode(wide)).unwrap();
        assert_eq!(get(&client, "a").await.unwrap(), "x");
        assert_eq!(mode(&key), 0o600);
    }
}

#[tokio::test]
async fn a_changed_file_is_told_and_mended_by_a_new_value_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let client = secrets(&cloud(path));
    for name in ["a", "b", "c"] {
        create(&client, name, &format!("text of {name}")).await;
    }
    let (own, other) = (file(path, "a"), file(path, "b"));
    let whole = fs::read_to_string(&own).unwrap();
    let lines: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let with = |member: &str, value: serde_json::Value| {
        let mut lines = lines.clone();
        lines[member] = value;
        lines.to_string()
    };
    let sealed = lines["sealed"].as_str().unwrap();
    let flipped = match sealed.strip_prefix('A') {
        Some(rest) => format!("B{rest}"),
        None => format!("A{}", &sealed[1..]),
    };
    for (what, text) in [
        ("empty", String::new()),
        ("torn", whole[..whole.len() / 2].to_owned()),
        ("foreign", "{\"hello\": 1}".to_owned()),
        ("of another format", with("format", 2.into())),
        ("flipped", with("sealed", flipped.into())),
        ("without its text", with("sealed", "".into())),
        ("no base64", with("nonce", "!".into())),
        ("a nonce too short", with("nonce", "AAAA".into())),
        ("older than it says", with("changed_ms", 1.into())),
        ("of another version", with("version", "x".into())),
        ("another's", fs::read_to_string(&other).unwrap()),
    ] {
        fs::write(&own, text).unwrap();
        let refused = get(&client, "a").await.unwrap_err();
        assert!(
            refused.starts_with("EmbeddedSecretDamaged: "),
            "{what}: {refused}"
        );
        assert_eq!(get(&client, "b").await.unwrap(), "text of b");
        let listed = names(&client, "").await;
        assert!(
            listed.ends_with(&["b".to_owned(), "c".to_owned()]),
            "{what}: {listed:?}"
        );
        put(&client, "a", "mended").await.unwrap();
        assert_eq!(get(&client, "a").await.unwrap(), "mended", "{what}");
    }
    // A name that was written over another's, both text and name, is no way to pass for it.
    let renamed = fs::read_to_string(&other)
        .unwrap()
        .replace("\"b\"", "\"a\"");
    fs::write(&own, renamed).unwrap();
    let refused = get(&client, "a").await.unwrap_err();
    assert!(refused.starts_with("EmbeddedSecretDamaged: "), "{refused}");
    // It can also be removed.
    fs::write(&own, "torn").unwrap();
    let delete = client.delete_secret().secret_id("a");
    delete
        .force_delete_without_recovery(true)
        .send()
        .await
        .unwrap();
    let gone = get(&client, "a").await.unwrap_err();
    assert!(gone.starts_with("ResourceNotFoundException"), "{gone}");
}

#[tokio::test]
async fn without_the_key_nothing_opens_and_no_other_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let key = path.join("secrets.key");
    let client = secrets(&cloud(path));
    create(&client, "a", "x").await;
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    for refused in [
        get(&client, "a").await.map(drop),
        put(&client, "a", "y").await,
        told(
            client
                .create_secret()
                .name("b")
                .secret_string("y")
                .send()
                .await,
        )
        .map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(
            refused.starts_with("EmbeddedSecretsKey: ") && refused.contains("gone"),
            "{refused}"
        );
    }
    assert!(!key.exists());
    for wrong in [
        &b""[..],
        b"half",
        b"agent-mesh-secrets-key-v1 AAAA\n",
        b"\xff\xfe",
        &[b'x'; 4096],
    ] {
        fs::write(&key, wrong).unwrap();
        let refused = get(&client, "a").await.unwrap_err();
        assert!(
            refused.starts_with("EmbeddedSecretsKey: ") && refused.contains("damaged"),
            "{refused}"
        );
        let refused = put(&client, "a", "y").await.unwrap_err();
        assert!(refused.starts_with("EmbeddedSecretsKey: "), "{refused}");
    }
    // A key of another folder is a key, and says that it is not the right one.
    let elsewhere = tempfile::tempdir().unwrap();
    create(&secrets(&cloud(elsewhere.path())), "a", "x").await;
    fs::copy(elsewhere.path().join("secrets.key"), &key).unwrap();
    let refused = get(&client, "a").await.unwrap_err();
    assert!(refused.contains("another key"), "{refused}");
    fs::write(&key, kept).unwrap();
    assert_eq!(get(&client, "a").await.unwrap(), "x");
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_is_a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    create(&secrets(&cloud(elsewhere.path())), "a", "x").await;
    let theirs = elsewhere.path().join("secrets.key");
    std::os::unix::fs::symlink(theirs, folder.path().join("secrets.key")).unwrap();
    let client = secrets(&cloud(folder.path()));
    let create = client.create_secret().name("a").secret_string("x");
    let refused = told(create.send().await).unwrap_err();
    assert!(refused.starts_with("EmbeddedSecretsKey: "), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_secrets_of_several_processes_share_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let clouds: Vec<EmbeddedCloud> = (0..4).map(|_| cloud(folder.path())).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, cloud) in clouds.iter().enumerate() {
        let client = secrets(cloud);
        tasks.spawn(async move {
            for turn in 0..10 {
                let name = format!("s/{number}-{turn}");
                create(&client, &name, &name).await;
                // One that all of them fight over.
                let shared = client.create_secret().name("shared").secret_string(&name);
                if shared.send().await.is_err() {
                    put(&client, "shared", &name).await.unwrap();
                }
                assert!(get(&client, "shared").await.unwrap().starts_with("s/"));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let client = secrets(&cloud(folder.path()));
    let all = names(&client, "s/").await;
    assert_eq!(all.len(), 40);
    for name in all {
        assert_eq!(get(&client, &name).await.unwrap(), name);
    }
}

#[tokio::test]
async fn secrets_manager_throttles_and_fails_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = secrets(&cloud);
    for (fault, code) in [
        (Fault::Throttle, "ThrottlingException"),
        (Fault::ServerError, "InternalServiceError"),
    ] {
        cloud
            .faults()
            .inject(Service::Secrets, "GetSecretValue", fault, 1);
        let refused = get(&client, "a").await.unwrap_err();
        assert!(refused.starts_with(code), "{refused}");
    }
    cloud
        .faults()
        .inject(Service::Secrets, "CreateSecret", Fault::LoseAnswer, 1);
    let create = client.create_secret().name("a").secret_string("x");
    create.send().await.unwrap_err();
    assert_eq!(get(&client, "a").await.unwrap(), "x");
    assert_eq!(cloud.faults().waiting(), 0);
}
