//! Opening: again, after an abrupt end, of a newer format, where nothing may be written.

use std::fs;

use super::dynamodb::{is_there, put_rows, row};
use super::*;
use crate::mesh::ErrorKind;

#[tokio::test]
async fn what_was_written_is_there_when_the_folder_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    {
        let cloud = cloud(folder.path());
        let put = table(&cloud).put_item().table_name(TABLE);
        put.set_item(Some(row("p", "s"))).send().await.unwrap();
        let put = bucket(&cloud).put_object().bucket(BUCKET).key("k");
        put.body(b"bytes".to_vec().into()).send().await.unwrap();
    }
    let again = cloud(folder.path());
    assert!(is_there(&table(&again), "p", "s").await);
    let got = bucket(&again)
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"bytes");
}

#[test]
fn a_newer_folder_is_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    drop(cloud(folder.path()));
    fs::write(folder.path().join("format"), "2\n").unwrap();
    let before = fs::read(folder.path().join("table.sqlite")).unwrap();
    let error = EmbeddedCloud::open(settings(folder.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(error.fix_text().unwrap().contains("newer"));
    assert_eq!(
        fs::read(folder.path().join("table.sqlite")).unwrap(),
        before
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_place_that_cannot_be_written_is_said_to_be_so() {
    // Nobody, not even root, may create a folder here.
    let error = EmbeddedCloud::open(settings(Path::new("/sys/agent-mesh"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    assert_eq!(error.message(), "The data folder cannot be written.");
    assert!(!error.message().contains("/sys"));
}

#[test]
fn names_that_aws_would_not_take_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = settings(folder.path());
    wrong.table = "a b".to_owned();
    let error = EmbeddedCloud::open(wrong).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter);
    let mut wrong = settings(folder.path());
    wrong.bucket = "No".to_owned();
    let error = EmbeddedCloud::open(wrong).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter);
}

#[test]
fn many_open_a_new_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    std::thread::scope(|scope| {
        let openers: Vec<_> = (0..8).map(|_| scope.spawn(|| cloud(&path))).collect();
        for opener in openers {
            opener.join().unwrap();
        }
    });
}

/// A journal only starts over when nobody reads, so a long read lets it grow; the sweep cuts it again.
#[tokio::test]
async fn a_journal_that_has_grown_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    let journal = || {
        let journal = fs::metadata(folder.path().join("table.sqlite-wal"));
        journal.unwrap().len()
    };
    {
        let reader = rusqlite::Connection::open(folder.path().join("table.sqlite")).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        let _: i64 = reader
            .query_row("SELECT count(*) FROM _tables", [], |row| row.get(0))
            .unwrap();
        for batch in 0..6 {
            let sorts = (0..10).map(|at| format!("{batch}-{at}"));
            put_rows(&client, "p", sorts, 350_000).await;
        }
        assert!(journal() > 16 << 20, "{}", journal());
    }
    cloud.sweep().unwrap();
    assert_eq!(journal(), 0);
    assert!(is_there(&client, "p", "5-9").await);
}
