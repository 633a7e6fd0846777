//! What is known of a tenant: its state, its limits and quotas, who may sign in to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::TenantId;

/// A tenant's record, shared by the calls that run under it.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantRecord {
    /// The tenant.
    pub id: TenantId,
    /// Whether it may call.
    pub status: TenantStatus,
    /// The issuers whose tokens may name it; the first one's subjects are its plain user ids.
    pub issuers: Vec<String>,
    /// Over how many partitions a day's events are spread: 1 to 64.
    pub event_shards: u16,
    /// What it may use.
    pub limits: Arc<Limits>,
    /// The state machines that it may start, by the names that it knows them by: ARNs.
    pub workflows: Arc<BTreeMap<String, String>>,
    /// The operator's topics that its alerts may go to, by the names that it knows them by: ARNs.
    pub alert_topics: Arc<BTreeMap<String, String>>,
}

/// Whether a tenant may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantStatus {
    /// It may.
    Active,
    /// Every call is refused.
    Suspended,
}

/// What a tenant may use; the fields bear the names of `tenants.toml`, and the defaults are the
/// contract's. Rates are per second, and a burst is one second's worth, unless the name says otherwise.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "each field is the setting of that name, described in the contract and docs"
)]
pub struct Limits {
    pub requests_per_minute: u32,
    pub calls_in_flight: u32,
    pub dynamodb_read: u32,
    pub dynamodb_write: u32,
    pub s3_get: u32,
    pub s3_put: u32,
    pub s3_list: u32,
    pub eventbridge: u32,
    pub sns: u32,
    pub states: u32,
    pub secrets: u32,
    pub upstream: u32,
    pub artifact_bytes: u64,
    pub artifact_objects: u64,
    pub rules: u32,
    pub alerts: u32,
    pub integrations: u32,
    pub children: u32,
    pub workflows_running: u32,
    pub alerts_per_day: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_minute: 60_000,
            calls_in_flight: 64,
            dynamodb_read: 1000,
            dynamodb_write: 500,
            s3_get: 500,
            s3_put: 350,
            s3_list: 10,
            eventbridge: 1000,
            sns: 100,
            states: 100,
            secrets: 100,
            upstream: 200,
            artifact_bytes: 100 << 30,
            artifact_objects: 100_000,
            rules: 50,
            alerts: 20,
            integrations: 50,
            children: 16,
            workflows_running: 100,
            alerts_per_day: 1000,
        }
    }
}

/// Where tenants' records come from; the file is the first such place, rows in the table may follow.
pub trait TenantDirectory: Send + Sync + 'static {
    /// The record of `tenant`, or nothing where it is unknown.
    fn find(&self, tenant: &TenantId) -> Option<Arc<TenantRecord>>;
}
