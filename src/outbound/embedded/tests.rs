//! The embedded cloud as SDK clients meet it.
//!
//! These tests name the SDKs, which only `outbound/aws` does otherwise, because the engines have no other
//! callers to be tested by.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "the SDK is the caller here, a variable chooses the part of a child process, and a test tells \
              one story"
)]

mod dynamodb;
mod eventbridge;
mod faults;
mod figures;
mod folder;
mod processes;
mod s3;
mod secrets;
mod sns;
mod states;

use std::path::Path;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_types::SdkConfig;
use aws_types::region::Region;

use super::{ACCESS_KEY_ID, EmbeddedCloud, EmbeddedSettings, REGION, SECRET_ACCESS_KEY};
use crate::mesh::{Clock, SystemClock};

const TABLE: &str = "agent-mesh-kv";
const BUCKET: &str = "agent-mesh-artifacts";
const BUS: &str = "agent-mesh-events";

fn settings(folder: &Path) -> EmbeddedSettings {
    settings_at(folder, Arc::new(SystemClock::new()))
}

fn settings_at(folder: &Path, clock: Arc<dyn Clock>) -> EmbeddedSettings {
    EmbeddedSettings {
        folder: folder.to_owned(),
        table: TABLE.to_owned(),
        bucket: BUCKET.to_owned(),
        bus: BUS.to_owned(),
        clock,
    }
}

fn cloud(folder: &Path) -> EmbeddedCloud {
    EmbeddedCloud::open(settings(folder)).unwrap()
}

fn config(cloud: &EmbeddedCloud) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "embedded");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(
            aws_credential_types::provider::SharedCredentialsProvider::new(credentials),
        )
        .http_client(cloud.http_client())
        .sleep_impl(aws_smithy_async_sleep())
        .build()
}

fn aws_smithy_async_sleep() -> aws_sdk_dynamodb::config::SharedAsyncSleep {
    aws_sdk_dynamodb::config::SharedAsyncSleep::new(TokioSleep)
}

/// Retries and timeouts of the SDK need a way to sleep.
#[derive(Debug)]
struct TokioSleep;

impl aws_sdk_dynamodb::config::AsyncSleep for TokioSleep {
    fn sleep(&self, duration: std::time::Duration) -> aws_sdk_dynamodb::config::Sleep {
        aws_sdk_dynamodb::config::Sleep::new(tokio::time::sleep(duration))
    }
}

fn table(cloud: &EmbeddedCloud) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::new(&config(cloud))
}

fn bucket(cloud: &EmbeddedCloud) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(&config(cloud))
        .force_path_style(true)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

fn bus(cloud: &EmbeddedCloud) -> aws_sdk_eventbridge::Client {
    aws_sdk_eventbridge::Client::new(&config(cloud))
}
