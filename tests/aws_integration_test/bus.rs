//! What the bus does, on every backend.

use agent_mesh::mesh::Timestamp;
use agent_mesh::mesh::store::Bus;
use agent_mesh::mesh::store::bus::{BusEntry, ENTRIES_MAX};

use crate::backend::Stage;

crate::cases![
    entries_are_taken,
    a_full_batch_is_taken,
    no_entries_need_no_request,
    the_bus_is_checked,
    who_calls_is_told,
];

impl Stage {
    pub(crate) fn entry(&self, detail: &str) -> BusEntry {
        BusEntry {
            time: Timestamp::from_millis(1_700_000_000_123),
            source: format!("agent-mesh.{}", self.tenant),
            detail_type: "KV.Set".to_owned(),
            detail: detail.to_owned(),
        }
    }
}

async fn entries_are_taken(stage: Stage) {
    let entries = [stage.entry("{}"), stage.entry("{\"text\":\"grüße 🦀\"}")];
    let results = stage.bus.put(&entries).await.unwrap();
    assert_eq!(results, [Ok(()), Ok(())]);
}

async fn a_full_batch_is_taken(stage: Stage) {
    let detail = format!("{{\"text\":\"{}\"}}", "x".repeat(20_000));
    let entries = vec![stage.entry(&detail); ENTRIES_MAX];
    let results = stage.bus.put(&entries).await.unwrap();
    assert_eq!(results, vec![Ok(()); ENTRIES_MAX]);
}

async fn no_entries_need_no_request(stage: Stage) {
    assert!(stage.bus.put(&[]).await.unwrap().is_empty());
    assert_eq!(stage.wire.carried(), 0);
}

async fn the_bus_is_checked(stage: Stage) {
    stage.bus.check().await.unwrap();
}

async fn who_calls_is_told(stage: Stage) {
    let identity = stage.connection.caller_identity().await.unwrap();
    let is_account =
        |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    assert!(is_account(&identity.account), "{identity:?}");
    assert!(identity.arn.contains(&identity.account), "{identity:?}");
}
