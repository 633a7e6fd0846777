//! One data folder over the life of several processes: restarts, newer versions, full and read-only disks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::client::Client;
use crate::requirement::left_out;
use crate::server::Start;

/// The size of a disk that is soon full. An empty folder takes about 2 MB of it.
const SMALL_DISK: &str = "size=16m";

/// What is freed when it is full: enough for the journals to be put in order and the outbox to have its
/// reserve again.
const ROOM_BYTES: usize = 8 << 20;

/// A disk in memory at a folder; it is unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one; `None` where this user may not.
    fn mount(folder: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        if !mounted {
            left_out("tmpfs", "mounting a small disk takes root");
        }
        mounted.then(|| Self(folder.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Values and artifacts whose looks must survive to the digit.
fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(0.1),
        json!(-1),
        json!(9_007_199_254_740_993_u64),
        json!("Grüße, 世界 \u{1f980}\u{0000}"),
        json!([[], {}, {"z": 1, "a": 2}]),
        json!("x".repeat(300 << 10)),
    ]
}

/// The value that `kv_get` found, from the resource that it names where the value is too large for the
/// answer.
fn value_of(client: &mut Client, found: &Value) -> Value {
    if found.get("truncated").is_none() {
        return found["value"].clone();
    }
    let read = client.request("resources/read", json!({"uri": found["uri"]}));
    let text = read["result"]["contents"][0]["text"].as_str().unwrap();
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_one_process_stored_the_next_one_has() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let mut client = Client::open(&start);
    let mut versions = Vec::new();
    for (number, value) in values().into_iter().enumerate() {
        let stored = client.ask(
            "kv_set",
            json!({"key": format!("v{number}"), "value": value, "ttl_hours": 0}),
        );
        versions.push(stored["version"].clone());
    }
    let put = json!({"key": "ordner/notiz 世界.md", "content": "# Grüße\n", "metadata": {"label": "one"},
        "content_type": "text/markdown"});
    let artifact = client.ask("artifacts_put", put);
    client.ask("kv_set", json!({"key": "deleted", "value": 1}));
    client.ask("kv_delete", json!({"key": "deleted"}));
    client.finish();

    let mut client = Client::open(&start);
    for (number, value) in values().into_iter().enumerate() {
        let found = client.ask("kv_get", json!({"key": format!("v{number}")}));
        assert_eq!(found["version"], versions[number]);
        assert!(
            value_of(&mut client, &found) == value,
            "v{number} is another one"
        );
    }
    assert_eq!(
        client.ask("kv_get", json!({"key": "deleted"}))["found"],
        false
    );
    let found = client.ask("artifacts_get", json!({"key": "ordner/notiz 世界.md"}));
    assert_eq!(found["content"], "# Grüße\n");
    assert_eq!(found["etag"], artifact["etag"]);
    assert_eq!(found["metadata"], json!({"label": "one"}));
    client.finish();
}

#[test]
fn a_folder_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    Client::open(&start).finish();
    let format = start.data().join("format");
    let before = fs::read_to_string(&format).unwrap();
    fs::write(&format, "2\n").unwrap();
    let output = start.run();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let told = String::from_utf8(output.stderr).unwrap();
    for word in [
        "format 2",
        "up to 1",
        "newer use_aws_mcp",
        "AGENT_MESH_DATA_DIR",
    ] {
        assert!(told.contains(word), "{word} is missing:\n{told}");
    }
    assert_eq!(fs::read_to_string(&format).unwrap(), "2\n");
    fs::write(&format, before).unwrap();
    Client::open(&start).finish();
}

/// Starts a server where it cannot write, and asserts that it says so and what to do.
fn assert_refused_as_read_only(start: &Start) {
    let output = start.run();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(output.stdout, b"");
    for word in ["cannot be written", "AGENT_MESH_DATA_DIR"] {
        assert!(told.contains(word), "{word} is missing:\n{told}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    if rustix::process::geteuid().is_root() {
        // No permissions hold root back; a disk that is mounted for reading does.
        if let Some(_disk) = Disk::mount(&start.data(), "ro") {
            assert_refused_as_read_only(&start);
        }
    } else {
        fs::create_dir(start.data()).unwrap();
        fs::set_permissions(start.data(), fs::Permissions::from_mode(0o555)).unwrap();
        assert_refused_as_read_only(&start);
        fs::set_permissions(start.data(), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    fs::write(start.data(), "a file").unwrap();
    let output = start.run();
    assert_eq!(
        output.status.code(),
        Some(78),
        "that is a mistake of the configuration"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("AGENT_MESH_DATA_DIR"));
    assert_eq!(fs::read_to_string(start.data()).unwrap(), "a file");
}

#[test]
fn a_full_disk_is_said_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).generous();
    let Some(_disk) = Disk::mount(&start.data(), SMALL_DISK) else {
        return;
    };
    let mut client = Client::open(&start);
    // Removed later, as a person would make room.
    let room = start.data().join("room");
    fs::write(&room, vec![1; ROOM_BYTES]).unwrap();

    let value = |number: usize| json!(format!("{number}-{}", "x".repeat(100 << 10)));
    let mut stored = Vec::new();
    let mut refusals = Vec::new();
    for number in 0..120 {
        let result = client.call(
            "kv_set",
            json!({"key": format!("k{number}"), "value": value(number)}),
        );
        match result["isError"] == false {
            true => stored.push(number),
            false => refusals.push(result["structuredContent"]["error"].clone()),
        }
        if refusals.len() == 5 {
            break;
        }
    }
    assert!(!stored.is_empty(), "nothing fits: {refusals:?}");
    assert!(!refusals.is_empty(), "the disk is never full");
    for error in &refusals {
        let code = error["code"].as_str().unwrap();
        assert!(["OVERLOADED", "AWS_UNAVAILABLE"].contains(&code), "{error}");
        assert!(
            error["message"].as_str().unwrap().contains("full"),
            "{error}"
        );
        assert!(error["fix"].is_string(), "{error}");
    }
    // It lives, and says what is wrong.
    let health = client.ask("events_health_check", json!({}));
    assert_ne!(health["status"], "healthy", "{health}");

    fs::remove_file(&room).unwrap();
    let mut wrote_again = false;
    for _ in 0..100 {
        let result = client.call("kv_set", json!({"key": "after", "value": 1}));
        wrote_again = result["isError"] == false;
        if wrote_again {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(
        wrote_again,
        "it stays shut when there is room again; {}",
        client.log()
    );
    client.finish();

    let mut client = Client::open(&start);
    for number in stored {
        let found = client.ask("kv_get", json!({"key": format!("k{number}")}));
        assert_eq!(found["found"], true, "k{number} was acknowledged");
        assert!(
            value_of(&mut client, &found) == value(number),
            "k{number} is another one"
        );
    }
    client.finish();
}

#[test]
fn a_disk_that_is_full_from_the_start_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let Some(_disk) = Disk::mount(&start.data(), SMALL_DISK) else {
        return;
    };
    let room = start.data().join("room");
    // It writes until nothing more fits.
    let _ = fs::write(&room, vec![1; 32 << 20]);
    let output = start.run();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("full"), "{told}");
    fs::remove_file(&room).unwrap();
    let mut client = Client::open(&start);
    client.ask("kv_set", json!({"key": "a", "value": 1}));
    client.finish();
}
