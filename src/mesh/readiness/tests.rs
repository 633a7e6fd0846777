//! What a probe is told.

use super::*;

#[test]
fn a_probe_is_told_reasons_and_no_figures() {
    let all = [
        NotReady::Draining,
        NotReady::OutboxFull,
        NotReady::OutboxDiskFull,
        NotReady::KeysMissing,
    ];
    let readiness = Readiness {
        ready: false,
        reasons: all.to_vec(),
    };
    assert_eq!(
        serde_json::to_string(&readiness).unwrap(),
        r#"{"ready":false,"reasons":["draining","outbox_full","outbox_disk_full","keys_missing"]}"#
    );
}
