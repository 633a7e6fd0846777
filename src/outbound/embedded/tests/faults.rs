//! Injected faults, as the SDKs meet them.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;

use super::dynamodb::{is_there, row};
use super::*;
use crate::outbound::embedded::{Fault, Service};

fn once(cloud: &EmbeddedCloud) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(&config(cloud))
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

#[tokio::test]
async fn each_service_throttles_and_fails_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let faults = cloud.faults();
    for (fault, dynamodb_code, s3_code, events_code) in [
        (
            Fault::Throttle,
            "ProvisionedThroughputExceededException",
            "SlowDown",
            "ThrottlingException",
        ),
        (
            Fault::ServerError,
            "InternalServerError",
            "InternalError",
            "InternalException",
        ),
    ] {
        for service in [Service::DynamoDb, Service::S3, Service::EventBridge] {
            faults.inject(service, "*", fault, 1);
        }
        let error = once(&cloud)
            .get_item()
            .table_name(TABLE)
            .set_key(Some(row("p", "s")))
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(dynamodb_code));
        let no_retry = RetryConfig::disabled();
        let conf = bucket(&cloud)
            .config()
            .to_builder()
            .retry_config(no_retry.clone());
        let error = aws_sdk_s3::Client::from_conf(conf.build())
            .list_objects_v2()
            .bucket(BUCKET)
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(s3_code));
        let conf = bus(&cloud).config().to_builder().retry_config(no_retry);
        let error = aws_sdk_eventbridge::Client::from_conf(conf.build())
            .describe_event_bus()
            .name(BUS)
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(events_code));
        assert_eq!(faults.waiting(), 0);
    }
}

#[tokio::test]
async fn the_sdk_gets_over_a_throttle_a_fault_and_a_lost_answer() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = table(&cloud);
    let faults = cloud.faults();
    for fault in [Fault::Throttle, Fault::ServerError, Fault::LoseAnswer] {
        faults.inject(Service::DynamoDb, "PutItem", fault, 1);
        let put = client.put_item().table_name(TABLE);
        put.set_item(Some(row("p", "s"))).send().await.unwrap();
        assert_eq!(faults.waiting(), 0);
    }
    // What was lost was only the answer: the condition does not hold the second time.
    faults.inject(Service::DynamoDb, "PutItem", Fault::LoseAnswer, 1);
    let error = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(row("p", "new")))
        .condition_expression("attribute_not_exists(PK)")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("ConditionalCheckFailedException"));
    assert!(is_there(&client, "p", "new").await);
}

#[tokio::test]
async fn a_call_hangs_until_it_is_given_up_and_another_is_slow() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = once(&cloud);
    let faults = cloud.faults();
    let put = |sort: &str| {
        let put = client.put_item().table_name(TABLE);
        put.set_item(Some(row("p", sort))).send()
    };
    faults.inject(Service::DynamoDb, "PutItem", Fault::Hang, 1);
    let hung = tokio::time::timeout(Duration::from_millis(50), put("hung")).await;
    assert!(hung.is_err());
    assert!(!is_there(&client, "p", "hung").await);
    faults.inject(
        Service::DynamoDb,
        "PutItem",
        Fault::Delay(Duration::from_millis(50)),
        1,
    );
    let start = Instant::now();
    put("slow").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(is_there(&client, "p", "slow").await);
}
