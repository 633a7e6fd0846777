//! Four processes on one folder, under load and killed again and again: nothing acknowledged is lost.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};

use super::dynamodb::{row, text};
use super::*;

/// Names the folder to a child, which is this test executable again.
const FOLDER_VARIABLE: &str = "EMBEDDED_TEST_FOLDER";

/// Names the child.
const WRITER_VARIABLE: &str = "EMBEDDED_TEST_WRITER";

/// How long a child writes at most.
const CHILD_TIME_MAX: Duration = Duration::from_secs(60);

const WRITERS: usize = 4;

/// How often each of the writers is killed in all.
const KILLS: usize = 6;

/// The child: writes rows, batches and objects, and notes in a file of its own what was acknowledged.
/// Nothing happens where it is run as an ordinary test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(FOLDER_VARIABLE) else {
        return;
    };
    let writer = std::env::var(WRITER_VARIABLE).unwrap();
    let path = Path::new(&path);
    let cloud = cloud(&path.join("data"));
    let (table, bucket) = (table(&cloud), bucket(&cloud));
    let topics = aws_sdk_sns::Client::new(&config(&cloud));
    let secrets = aws_sdk_secretsmanager::Client::new(&config(&cloud));
    let mut notes = File::options()
        .append(true)
        .create(true)
        .open(path.join(format!("acknowledged-{writer}")))
        .unwrap();
    // Should whoever started it die first, it must not fill the disk.
    let start = Instant::now();
    for turn in (0_u64..).take_while(|_| start.elapsed() < CHILD_TIME_MAX) {
        let name = format!("{writer}-{turn}");
        let mut item = row("rows", &name);
        item.insert("value".to_owned(), text(&name));
        let put = table.put_item().table_name(TABLE);
        put.set_item(Some(item)).send().await.unwrap();
        writeln!(notes, "row {name}").unwrap();
        if turn % 5 == 0 {
            let put = |at: usize| {
                let item = row("batches", &format!("{name}-{at:02}"));
                let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
                WriteRequest::builder().put_request(put).build()
            };
            let batch = table.batch_write_item();
            let batch = batch.request_items(TABLE, (0..25).map(put).collect());
            batch.send().await.unwrap();
            writeln!(notes, "batch {name}").unwrap();
        }
        let object = bucket.put_object().bucket(BUCKET).key(&name);
        object.body(body_of(&name).into()).send().await.unwrap();
        writeln!(notes, "object {name}").unwrap();
        let shared = bucket.put_object().bucket(BUCKET).key("shared");
        shared.body(body_of(&name).into()).send().await.unwrap();
        let add = table.update_item().table_name(TABLE);
        add.set_key(Some(row("counters", "all")))
            .update_expression("ADD used :one")
            .expression_attribute_values(
                ":one",
                aws_sdk_dynamodb::types::AttributeValue::N("1".to_owned()),
            )
            .send()
            .await
            .unwrap();
        writeln!(notes, "added {name}").unwrap();
        if turn % 5 == 0 {
            tell(&topics, &name).await;
            writeln!(notes, "mail {name}").unwrap();
            keep(&secrets, &name).await;
            writeln!(notes, "secret {name}").unwrap();
        }
    }
}

/// Makes a topic, subscribes the one address to it, and publishes `name` to it.
async fn tell(topics: &aws_sdk_sns::Client, name: &str) {
    let topic = topics.create_topic().name("agent-mesh-alerts-all").send();
    let topic = topic.await.unwrap().topic_arn.unwrap();
    let subscribe = topics.subscribe().topic_arn(&topic).protocol("email");
    subscribe.endpoint("all@example.com").send().await.unwrap();
    let publish = topics.publish().topic_arn(&topic).message(body_text(name));
    publish.send().await.unwrap();
}

/// Keeps a secret of its own, and one that all of them replace.
async fn keep(secrets: &aws_sdk_secretsmanager::Client, name: &str) {
    let create = secrets.create_secret().name(name);
    create.secret_string(name).send().await.unwrap();
    let shared = secrets.create_secret().name("shared").secret_string(name);
    if shared.send().await.is_err() {
        let put = secrets.put_secret_value().secret_id("shared");
        put.secret_string(name).send().await.unwrap();
    }
}

/// Ends with the name, so that a torn mail shows.
fn body_text(name: &str) -> String {
    format!("{}\n{name};", "line\n".repeat(500))
}

/// Its own name over and over, so that a torn object shows.
fn body_of(name: &str) -> Vec<u8> {
    let bytes = 100 + name.bytes().map(usize::from).sum::<usize>() * 7;
    format!("{name};")
        .repeat(bytes / (name.len() + 1))
        .into_bytes()
}

/// A child that does not outlive the test, however that ends.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(folder: &Path, writer: &str) -> Writer {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("outbound::embedded::tests::processes::child_that_writes_until_it_is_killed")
        .env(FOLDER_VARIABLE, folder)
        .env(WRITER_VARIABLE, writer)
        .stdout(Stdio::null())
        .stderr(Stdio::from(
            File::create(folder.join(format!("stderr-{writer}"))).unwrap(),
        ))
        .spawn()
        .unwrap();
    Writer(child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_writers_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut children: Vec<(String, Writer)> = Vec::new();
    for round in 0..KILLS {
        for writer in 0..WRITERS {
            let name = format!("w{writer}r{round}");
            children.push((name.clone(), spawn(folder.path(), &name)));
        }
        // Killed one after another, at moments that have nothing to do with what they are doing.
        for (at, (name, child)) in children.iter_mut().enumerate() {
            let pause = Duration::from_millis(150 + (round * 37 + at * 53) as u64 % 180);
            tokio::time::sleep(pause).await;
            let ended = child.0.try_wait().unwrap();
            let stderr = fs::read_to_string(folder.path().join(format!("stderr-{name}")));
            assert!(ended.is_none(), "{name} ended by itself: {stderr:?}");
            child.0.kill().unwrap();
            child.0.wait().unwrap();
        }
        children.clear();
    }
    let counted = check(folder.path()).await;
    println!("acknowledged and found: {counted:?}");
    for kind in ["row", "batch", "object", "added", "mail", "secret"] {
        assert!(
            counted.get(kind).copied().unwrap_or_default() > 4,
            "{counted:?}"
        );
    }
}

async fn check(folder: &Path) -> HashMap<String, usize> {
    let start = Instant::now();
    let cloud = cloud(&folder.join("data"));
    println!("opened after the last kill in {:?}", start.elapsed());
    let (table, bucket) = (table(&cloud), bucket(&cloud));
    let mails = mails(&folder.join("data/mail"));
    let secrets = aws_sdk_secretsmanager::Client::new(&config(&cloud));
    let mut counted: HashMap<String, usize> = HashMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        if !file
            .file_name()
            .to_string_lossy()
            .starts_with("acknowledged-")
        {
            continue;
        }
        for line in fs::read_to_string(file.path()).unwrap().lines() {
            let (kind, name) = line.split_once(' ').unwrap();
            *counted.entry(kind.to_owned()).or_default() += 1;
            if kind == "mail" {
                assert!(mails.contains(name), "{name}");
            } else if kind == "secret" {
                for id in [name, "shared"] {
                    let got = secrets.get_secret_value().secret_id(id).send().await;
                    let text = got.expect(name).secret_string.unwrap();
                    assert!(text == name || id == "shared", "{name}");
                }
            } else {
                check_one(&table, &bucket, kind, name).await;
            }
        }
    }
    let got = bucket
        .get_object()
        .bucket(BUCKET)
        .key("shared")
        .send()
        .await
        .unwrap();
    let shared = got.body.collect().await.unwrap().to_vec();
    let name = String::from_utf8(shared.clone()).unwrap();
    assert_eq!(shared, body_of(name.split(';').next().unwrap()));
    let counter = table.get_item().table_name(TABLE);
    let counter = counter
        .set_key(Some(row("counters", "all")))
        .send()
        .await
        .unwrap();
    let used: usize = counter.item().unwrap()["used"]
        .as_n()
        .unwrap()
        .parse()
        .unwrap();
    // Each child may have been killed between the addition and its note.
    let added = counted.get("added").copied().unwrap_or_default();
    assert!(
        (added..=added + WRITERS * KILLS).contains(&used),
        "{used} {added}"
    );
    counted
}

/// The names that the mails in the folder end with.
fn mails(folder: &Path) -> HashSet<String> {
    let paths = fs::read_dir(folder).unwrap();
    let paths = paths.map(|entry| entry.unwrap().path());
    let whole = paths.filter(|path| path.extension().is_some_and(|ending| ending == "eml"));
    let names = whole.map(|path| {
        let text = fs::read_to_string(path).unwrap();
        let name = text.trim_end().rsplit('\n').next().unwrap();
        name.strip_suffix(';').unwrap().to_owned()
    });
    names.collect()
}

async fn check_one(
    table: &aws_sdk_dynamodb::Client,
    bucket: &aws_sdk_s3::Client,
    kind: &str,
    name: &str,
) {
    match kind {
        "row" => {
            let got = table.get_item().table_name(TABLE);
            let got = got.set_key(Some(row("rows", name))).send().await.unwrap();
            assert_eq!(got.item().expect(name)["value"], text(name));
        }
        "batch" => {
            let rows = table.query().table_name(TABLE);
            let rows = rows
                .key_condition_expression("PK = :p AND begins_with(SK, :s)")
                .expression_attribute_values(":p", text("batches"))
                .expression_attribute_values(":s", text(format!("{name}-")))
                .send()
                .await
                .unwrap();
            assert_eq!(rows.count(), 25, "{kind} {name}");
        }
        "object" => {
            let got = bucket.get_object().bucket(BUCKET).key(name);
            let got = got.send().await.expect(name).body.collect().await.unwrap();
            assert_eq!(got.to_vec(), body_of(name), "{kind} {name}");
        }
        _ => assert_eq!(kind, "added"),
    }
}

#[tokio::test]
async fn a_stuck_process_blocks_writes_for_a_while_but_never_reads() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    let put = |sort: &str| {
        let put = client.put_item().table_name(TABLE);
        put.set_item(Some(row("p", sort))).send()
    };
    put("before").await.unwrap();
    let stuck = crate::outbound::embedded::lock::ProcessLock::at(&folder.path().join("table.lock"));
    let stuck = stuck.unwrap();
    // Whoever wrote last may still be about to let go of it.
    let until = Instant::now() + Duration::from_secs(10);
    let held = loop {
        if let Some(held) = stuck.try_hold().unwrap() {
            break held;
        }
        assert!(Instant::now() < until, "nobody holds it between two writes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let waiting = tokio::spawn(put("during"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    let start = Instant::now();
    assert!(dynamodb::is_there(&client, "p", "before").await);
    assert!(start.elapsed() < Duration::from_secs(1));
    drop(held);
    waiting.await.unwrap().unwrap();
    assert!(dynamodb::is_there(&client, "p", "during").await);
}
