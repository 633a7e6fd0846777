//! The clients as they are made, kept and shared.

use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::mesh::SystemClock;

fn connection() -> Arc<Connection> {
    let http = infallible_client_fn(|_| http::Response::new(SdkBody::from("{}")));
    let settings = AwsSettings::embedded(http, "table", "bucket", "bus");
    Connection::new(settings, Arc::new(SystemClock::new()))
}

fn tenant(number: usize) -> TenantId {
    format!("tenant-{number}").parse().unwrap()
}

#[tokio::test]
async fn tenants_have_retries_of_their_own_and_share_the_rest() {
    let connection = connection();
    let shared = connection.shared().await;
    let one = connection.clients(shared, Some(&tenant(1)));
    let again = connection.clients(shared, Some(&tenant(1)));
    let two = connection.clients(shared, Some(&tenant(2)));
    assert!(Arc::ptr_eq(&one.0, &again.0));
    assert!(!Arc::ptr_eq(&one.0, &two.0));
    let partition = |client: &aws_sdk_dynamodb::Client| {
        client.config().retry_partition().map(ToString::to_string)
    };
    let client = connection.dynamodb(Some(&tenant(1))).await;
    assert_eq!(partition(&client).as_deref(), Some("agent-mesh-tenant-1"));
    let client = connection.dynamodb(None).await;
    assert_eq!(partition(&client).as_deref(), Some("agent-mesh"));
}

#[test]
fn the_clients_of_whoever_has_been_idle_for_longest_go_first() {
    let mut tenants = Tenants::default();
    let first = tenants.of(&tenant(0));
    for number in 1..TENANT_CLIENTS_MAX {
        tenants.of(&tenant(number));
    }
    assert!(Arc::ptr_eq(&first.0, &tenants.of(&tenant(0)).0));
    assert_eq!(tenants.clients.len(), TENANT_CLIENTS_MAX);
    tenants.of(&tenant(TENANT_CLIENTS_MAX));
    assert_eq!(tenants.clients.len(), TENANT_CLIENTS_MAX);
    assert!(tenants.clients.contains_key(&tenant(0)));
    assert!(!tenants.clients.contains_key(&tenant(1)));
}

#[tokio::test]
async fn the_embedded_cloud_needs_to_ask_nobody() {
    let connection = connection();
    assert_eq!(connection.region().await, DEFAULT_REGION);
    assert_eq!(
        connection.account().await.unwrap(),
        super::super::settings::EMBEDDED_ACCOUNT
    );
}

#[tokio::test]
async fn every_client_has_limits_of_time_and_of_attempts() {
    let client = connection().dynamodb(None).await;
    let timeouts = client.config().timeout_config().unwrap();
    assert_eq!(timeouts.operation_timeout(), Some(Duration::from_secs(12)));
    assert_eq!(
        timeouts.operation_attempt_timeout(),
        Some(Duration::from_secs(5))
    );
    let retries = client.config().retry_config().unwrap();
    assert_eq!(retries.max_attempts(), ATTEMPTS_MAX);
}
