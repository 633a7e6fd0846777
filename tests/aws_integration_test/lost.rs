//! Answers that are lost after the work is done, on every backend: the repetition is ours and is told so.

use agent_mesh::mesh::Timestamp;
use agent_mesh::mesh::store::bucket::{ObjectCondition, PutOutcome};
use agent_mesh::mesh::store::table::{Addition, Condition, Replaced, Row, WriteOutcome};
use agent_mesh::mesh::store::{Bucket, Table};
use agent_mesh::outbound::aws::bucket::PART_BYTES;

use crate::backend::Stage;

crate::cases![
    a_row_that_was_created_is_ours,
    a_row_that_was_replaced_is_ours,
    a_row_of_another_is_not_ours,
    a_row_that_was_overwritten_is_not_told_as_replaced,
    a_deletion_that_was_done_is_done,
    a_deletion_of_another_row_is_not_done,
    an_addition_counts_once,
    an_object_that_was_created_is_ours,
    an_object_that_was_replaced_is_ours,
    an_object_of_another_is_not_ours,
    an_object_in_parts_is_ours,
    a_deletion_of_an_object_is_done,
];

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn row(version: &str) -> Row {
    Row::new().with_text("version", version)
}

fn absent() -> Condition {
    Condition::Absent { now: NOW }
}

fn version(version: &str) -> Condition {
    Condition::Version {
        version: version.to_owned(),
        now: NOW,
    }
}

fn is_done_unseen(outcome: &WriteOutcome) -> bool {
    let unknown = Replaced::Unknown;
    *outcome == WriteOutcome::Done { replaced: unknown }
}

async fn a_row_that_was_created_is_ours(stage: Stage) {
    stage.wire.lose(&["PutItem"], 1);
    let outcome = stage.put_row("K#a", row("v1"), absent()).await;
    assert!(is_done_unseen(&outcome), "{outcome:?}");
    assert_eq!(stage.wire.left(), 0);
    let outcome = stage.put_row("K#a", row("v2"), absent()).await;
    assert!(
        matches!(outcome, WriteOutcome::ConditionFailed { .. }),
        "{outcome:?}"
    );
}

async fn a_row_that_was_replaced_is_ours(stage: Stage) {
    stage.put_row("K#a", row("v1"), absent()).await;
    stage.wire.lose(&["PutItem"], 2);
    let outcome = stage.put_row("K#a", row("v2"), version("v1")).await;
    assert!(is_done_unseen(&outcome), "{outcome:?}");
    assert_eq!(stage.wire.left(), 0);
}

async fn a_row_of_another_is_not_ours(stage: Stage) {
    stage.put_row("K#a", row("theirs"), absent()).await;
    stage.wire.lose(&["PutItem"], 1);
    let outcome = stage.put_row("K#a", row("ours"), absent()).await;
    let current = Some(row("theirs"));
    assert_eq!(outcome, WriteOutcome::ConditionFailed { current });
}

async fn a_row_that_was_overwritten_is_not_told_as_replaced(stage: Stage) {
    stage.put_row("K#a", row("v1"), Condition::Always).await;
    stage.wire.lose(&["PutItem"], 1);
    let outcome = stage.put_row("K#a", row("v2"), Condition::Always).await;
    assert!(is_done_unseen(&outcome), "{outcome:?}");
}

async fn a_deletion_that_was_done_is_done(stage: Stage) {
    for condition in [Condition::Always, version("v1")] {
        stage.put_row("K#a", row("v1"), absent()).await;
        stage.wire.lose(&["DeleteItem"], 1);
        let outcome = stage.delete_row("K#a", condition).await;
        assert!(is_done_unseen(&outcome), "{outcome:?}");
        assert_eq!(stage.get_row("K#a").await, None);
    }
}

async fn a_deletion_of_another_row_is_not_done(stage: Stage) {
    stage.put_row("K#a", row("theirs"), absent()).await;
    stage.wire.lose(&["DeleteItem"], 1);
    let outcome = stage.delete_row("K#a", version("ours")).await;
    let current = Some(row("theirs"));
    assert_eq!(outcome, WriteOutcome::ConditionFailed { current });
}

async fn an_addition_counts_once(stage: Stage) {
    let key = stage.row("ARTIFACTS");
    let additions = [Addition {
        name: "bytes",
        delta: 7,
        ceiling: 10,
    }];
    stage.wire.lose(&["UpdateItem"], 1);
    assert!(stage.table.add(&key, &additions).await.unwrap().value);
    let row = stage.get_row("ARTIFACTS").await.unwrap();
    assert_eq!(row.number("bytes"), Some(7));
    stage.wire.lose(&["UpdateItem"], 1);
    assert!(!stage.table.add(&key, &additions).await.unwrap().value);
}

async fn an_object_that_was_created_is_ours(stage: Stage) {
    stage.wire.lose(&["PUT"], 1);
    let outcome = stage.store("a", b"1", ObjectCondition::Absent).await;
    let head = stage
        .bucket
        .head(&stage.object("a"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(outcome, PutOutcome::Done(head.etag));
    assert_eq!(stage.wire.left(), 0);
    assert!(head.metadata.is_empty());
}

async fn an_object_that_was_replaced_is_ours(stage: Stage) {
    let PutOutcome::Done(etag) = stage.store("a", b"1", ObjectCondition::Always).await else {
        panic!("nothing was stored");
    };
    stage.wire.lose(&["PUT"], 1);
    let outcome = stage.store("a", b"2", ObjectCondition::Etag(etag)).await;
    let head = stage
        .bucket
        .head(&stage.object("a"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(outcome, PutOutcome::Done(head.etag));
    assert_eq!(stage.content("a").await.unwrap(), "2");
}

async fn an_object_of_another_is_not_ours(stage: Stage) {
    stage.store("a", b"theirs", ObjectCondition::Absent).await;
    stage.wire.lose(&["PUT"], 1);
    let outcome = stage.store("a", b"ours", ObjectCondition::Absent).await;
    assert_eq!(outcome, PutOutcome::ConditionFailed);
    assert_eq!(stage.content("a").await.unwrap(), "theirs");
}

async fn an_object_in_parts_is_ours(stage: Stage) {
    let body = vec![7; PART_BYTES + 1];
    for condition in [ObjectCondition::Absent, ObjectCondition::Always] {
        // Only the last request of an upload in parts has both.
        stage.wire.lose(&["POST", "uploadId="], 1);
        let outcome = stage.store("large", &body, condition).await;
        let head = stage
            .bucket
            .head(&stage.object("large"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(outcome, PutOutcome::Done(head.etag));
        assert_eq!(stage.wire.left(), 0);
        stage
            .bucket
            .delete(&stage.object("large"), ObjectCondition::Always)
            .await
            .unwrap();
    }
}

async fn a_deletion_of_an_object_is_done(stage: Stage) {
    let PutOutcome::Done(etag) = stage.store("a", b"1", ObjectCondition::Always).await else {
        panic!("nothing was stored");
    };
    stage.wire.lose(&["DELETE"], 1);
    let key = stage.object("a");
    let condition = ObjectCondition::Etag(etag);
    assert!(stage.bucket.delete(&key, condition).await.unwrap());
    assert_eq!(stage.content("a").await, None);
}
