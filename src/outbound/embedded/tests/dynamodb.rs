//! The table: conditions, queries, batches, expiry.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, PutRequest, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem, WriteRequest,
};

use super::*;
use crate::mesh::{ManualClock, Timestamp};

pub(super) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn row(partition: &str, sort: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("PK".to_owned(), text(partition)),
        ("SK".to_owned(), text(sort)),
    ])
}

#[tokio::test]
async fn a_conditional_put_happens_once_and_shows_what_was_in_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    let put = |version: &str| {
        let mut item = row("p", "s");
        item.insert("version".to_owned(), text(version));
        client
            .put_item()
            .table_name(TABLE)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(PK) OR version = :v")
            .expression_attribute_values(":v", text("1"))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    let first = put("1").await.unwrap();
    assert_eq!(first.attributes(), None);
    assert_eq!(
        first.consumed_capacity().unwrap().capacity_units(),
        Some(1.0)
    );
    let second = put("2").await.unwrap();
    assert_eq!(second.attributes().unwrap()["version"], text("1"));
    let refused = put("3").await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(
        refused,
    ) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.item().unwrap()["version"], text("2"));

    let added = |amount: i64| {
        client
            .update_item()
            .table_name(TABLE)
            .set_key(Some(row("p", "count")))
            .update_expression("ADD used :n")
            .condition_expression("attribute_not_exists(used) OR used <= :room")
            .expression_attribute_values(":n", AttributeValue::N(amount.to_string()))
            .expression_attribute_values(":room", AttributeValue::N((10 - amount).to_string()))
            .return_values(ReturnValue::AllNew)
            .send()
    };
    added(6).await.unwrap();
    let full = added(4).await.unwrap();
    assert_eq!(
        full.attributes().unwrap()["used"],
        AttributeValue::N("10".to_owned())
    );
    let refused = added(1).await.unwrap_err();
    assert_eq!(refused.code(), Some("ConditionalCheckFailedException"));
}

#[tokio::test]
async fn a_query_pages_through_a_partition_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    for batch in 0..4 {
        put_rows(
            &client,
            "p",
            (0..25).map(|at| format!("k{:03}", batch * 25 + at)),
            10,
        )
        .await;
    }
    put_rows(&client, "p", ["l".to_owned()].into_iter(), 10).await;
    put_rows(&client, "p#", ["k000".to_owned()].into_iter(), 10).await;
    for (ascending, limit) in [(true, 7), (false, 30), (true, 100), (false, 1000)] {
        let mut keys = Vec::new();
        let mut start = None;
        loop {
            let page = client
                .query()
                .table_name(TABLE)
                .key_condition_expression("PK = :p AND begins_with(SK, :k)")
                .expression_attribute_values(":p", text("p"))
                .expression_attribute_values(":k", text("k"))
                .scan_index_forward(ascending)
                .limit(limit)
                .set_exclusive_start_key(start)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .unwrap();
            assert!(page.items().len() <= usize::try_from(limit).unwrap());
            assert!(page.consumed_capacity().unwrap().capacity_units().unwrap() >= 0.5);
            keys.extend(
                page.items()
                    .iter()
                    .map(|item| item["SK"].as_s().unwrap().clone()),
            );
            start = page.last_evaluated_key().cloned();
            if start.is_none() {
                break;
            }
        }
        if !ascending {
            keys.reverse();
        }
        let expected: Vec<String> = (0..100).map(|at| format!("k{at:03}")).collect();
        assert_eq!(keys, expected, "{ascending} {limit}");
    }
}

#[tokio::test]
async fn a_page_ends_at_a_mebibyte_whatever_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    for at in 0..8 {
        put_rows(&client, "p", [format!("{at}")].into_iter(), 300_000).await;
    }
    let mut pages = Vec::new();
    let mut start = None;
    loop {
        let page = client
            .query()
            .table_name(TABLE)
            .key_condition_expression("PK = :p")
            .expression_attribute_values(":p", text("p"))
            .set_exclusive_start_key(start)
            .send()
            .await
            .unwrap();
        pages.push(page.items().len());
        assert_eq!(page.consumed_capacity(), None);
        start = page.last_evaluated_key().cloned();
        if start.is_none() {
            break;
        }
    }
    assert_eq!(pages, [3, 3, 2], "a page is never larger than 1 MiB");
}

pub(super) async fn put_rows(
    client: &aws_sdk_dynamodb::Client,
    partition: &str,
    sorts: impl Iterator<Item = String>,
    bytes: usize,
) {
    let requests: Vec<_> = sorts
        .map(|sort| {
            let mut item = row(partition, &sort);
            item.insert("value".to_owned(), text("x".repeat(bytes)));
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    let answer = client
        .batch_write_item()
        .request_items(TABLE, requests)
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .send()
        .await
        .unwrap();
    assert!(answer.unprocessed_items().is_none_or(HashMap::is_empty));
    let units = answer.consumed_capacity()[0].capacity_units().unwrap();
    assert!(units >= 1.0, "{units}");
}

#[tokio::test]
async fn a_batch_that_dynamodb_would_refuse_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    let put = |sort: String, bytes: usize| {
        let mut item = row("p", &sort);
        item.insert("value".to_owned(), text("x".repeat(bytes)));
        let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let too_many = (0..26).map(|at| put(at.to_string(), 1)).collect();
    let twice = vec![put("a".to_owned(), 1), put("a".to_owned(), 2)];
    let too_large = vec![put("a".to_owned(), 1), put("b".to_owned(), 410_000)];
    for requests in [too_many, twice, too_large] {
        let refused = client
            .batch_write_item()
            .request_items(TABLE, requests)
            .send()
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Some("ValidationException"), "{refused:?}");
    }
    let none = client
        .query()
        .table_name(TABLE)
        .key_condition_expression("PK = :p")
        .expression_attribute_values(":p", text("p"))
        .send()
        .await
        .unwrap();
    assert_eq!(none.count(), 0);
    let unknown = client
        .batch_write_item()
        .request_items("another-table", vec![put("a".to_owned(), 1)])
        .send()
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Some("ResourceNotFoundException"));
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    let put = |sort: &str| {
        let put = Put::builder()
            .table_name(TABLE)
            .set_item(Some(row("p", sort)))
            .condition_expression("attribute_not_exists(PK)")
            .build()
            .unwrap();
        TransactWriteItem::builder().put(put).build()
    };
    let delete = Delete::builder()
        .table_name(TABLE)
        .set_key(Some(row("p", "a")))
        .build()
        .unwrap();
    let delete = TransactWriteItem::builder().delete(delete).build();
    let write = |items| {
        client
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
    };
    write(vec![put("a"), put("b")]).await.unwrap();
    let refused = write(vec![put("c"), put("b")]).await.unwrap_err();
    assert_eq!(refused.code(), Some("TransactionCanceledException"));
    assert!(!is_there(&client, "p", "c").await);
    write(vec![put("c"), delete]).await.unwrap();
    assert!(is_there(&client, "p", "c").await);
    assert!(!is_there(&client, "p", "a").await);
}

pub(super) async fn is_there(
    client: &aws_sdk_dynamodb::Client,
    partition: &str,
    sort: &str,
) -> bool {
    client
        .get_item()
        .table_name(TABLE)
        .set_key(Some(row(partition, sort)))
        .consistent_read(true)
        .send()
        .await
        .unwrap()
        .item
        .is_some()
}

#[tokio::test]
async fn expired_rows_are_swept_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::from_seconds(1_800_000_000);
    let clock = Arc::new(ManualClock::at(now));
    let settings = settings_at(folder.path(), Arc::clone(&clock) as Arc<dyn Clock>);
    let cloud = EmbeddedCloud::open(settings.clone()).unwrap();
    let client = table(&cloud);
    let put = |sort: String, expiry: Option<i64>| {
        let mut item = row("p", &sort);
        if let Some(expiry) = expiry {
            item.insert("exp".to_owned(), AttributeValue::N(expiry.to_string()));
        }
        client
            .put_item()
            .table_name(TABLE)
            .set_item(Some(item))
            .send()
    };
    for at in 0..250 {
        put(format!("old{at}"), Some(now.as_seconds() - 1))
            .await
            .unwrap();
    }
    put("now".to_owned(), Some(now.as_seconds())).await.unwrap();
    put("later".to_owned(), Some(now.as_seconds() + 100))
        .await
        .unwrap();
    put("always".to_owned(), None).await.unwrap();
    let other = EmbeddedCloud::open(settings).unwrap();
    assert_eq!(cloud.sweep().unwrap().rows, 250);
    assert_eq!(other.sweep().unwrap().rows, 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(other.sweep().unwrap().rows, 1);
    for (sort, expected) in [
        ("old0", false),
        ("now", false),
        ("later", true),
        ("always", true),
    ] {
        assert_eq!(is_there(&client, "p", sort).await, expected, "{sort}");
    }
}

#[tokio::test]
async fn the_table_describes_itself_and_its_expiry() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    let described = client
        .describe_table()
        .table_name(TABLE)
        .send()
        .await
        .unwrap();
    let described = described.table().unwrap();
    assert_eq!(described.table_status().unwrap().as_str(), "ACTIVE");
    let keys: Vec<_> = described
        .key_schema()
        .iter()
        .map(|key| (key.attribute_name(), key.key_type().as_str()))
        .collect();
    assert_eq!(keys, [("PK", "HASH"), ("SK", "RANGE")]);
    let expiry = client
        .describe_time_to_live()
        .table_name(TABLE)
        .send()
        .await
        .unwrap();
    let expiry = expiry.time_to_live_description().unwrap();
    assert_eq!(expiry.attribute_name(), Some("exp"));
    assert_eq!(expiry.time_to_live_status().unwrap().as_str(), "ENABLED");
    let backups = client
        .describe_continuous_backups()
        .table_name(TABLE)
        .send()
        .await
        .unwrap();
    let backups = backups.continuous_backups_description().unwrap();
    let recovery = backups.point_in_time_recovery_description().unwrap();
    assert_eq!(
        recovery.point_in_time_recovery_status().unwrap().as_str(),
        "DISABLED"
    );
    let unknown = client
        .describe_table()
        .table_name("another")
        .send()
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Some("ResourceNotFoundException"));
    let unknown = client.scan().table_name(TABLE).send().await.unwrap_err();
    assert_eq!(unknown.code(), Some("UnknownOperationException"));
}

#[tokio::test]
async fn who_the_caller_is_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = aws_sdk_sts::Client::new(&config(&cloud));
    let identity = client.get_caller_identity().send().await.unwrap();
    assert_eq!(identity.account(), Some("000000000000"));
}
