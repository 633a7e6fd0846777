//! What is asked of the outbox when its records leave it for the bucket, and when they come from there.

use ulid::Ulid;

use super::Outbox;
use super::share::Way;
use crate::mesh::tenant::TenantId;

impl Outbox {
    /// Where the events are bound for, in one word: equal for equal targets, and for no others.
    pub(in crate::mesh::event) fn target_name(&self) -> &str {
        let name = self.0.target.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    /// Whether this disk has an outbox of `writer`, whose records are then published from there.
    pub(in crate::mesh::event) fn has_folder(&self, writer: Ulid) -> bool {
        self.0.target.join(writer.to_string()).exists()
    }

    /// Records the calls that are still under way as of unknown outcome: nobody will hear of another one.
    pub(in crate::mesh::event) fn give_up_calls(&self) {
        self.0.log.orphan_all();
        self.mend();
    }

    /// So many records of `tenant`, of so many bytes, have left on `way`.
    pub(in crate::mesh::event) fn settle_all(
        &self,
        way: Way,
        tenant: &TenantId,
        bytes: u64,
        records: u64,
    ) {
        self.0.share().settle(way, tenant, bytes, records);
    }
}
