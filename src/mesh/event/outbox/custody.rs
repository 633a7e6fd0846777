//! What else the publisher asks of the outbox: room for its own events, and for what goes through the bucket.

use ulid::Ulid;

use super::share::{Way, Weight};
use super::{Committed, Outbox, Slot};
use crate::mesh::Error;
use crate::mesh::event::record::Event;
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
    /// Records an event that the publisher itself makes of a record that is in the outbox, and that must be
    /// recorded before that record may leave: neither want of room nor a shutdown refuses it.
    ///
    /// # Errors
    /// As [`Slot::commit`].
    pub(in crate::mesh::event) fn append(&self, event: &Event) -> Result<Committed, Error> {
        let slot = Slot {
            outbox: self.0.clone(),
            tenant: event.tenant_id.clone(),
            weight: Weight::Health,
            reserved: 0,
            intent: 0,
        };
        slot.commit(std::slice::from_ref(event))
    }

    /// Bytes of a tenant's records that have yet to leave on `way`.
    pub(in crate::mesh::event) fn backlog(&self, way: Way, tenant: &TenantId) -> u64 {
        self.0.share().backlog(way, tenant)
    }
}
