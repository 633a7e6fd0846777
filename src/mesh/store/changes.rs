//! What this process changes among the artifacts, for those who watch them: one channel for each tenant
//! that has somebody watching, so that the changes of one tenant crowd out nobody else's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{self, Receiver, Sender};

use super::artifacts::Change;
use crate::mesh::tenant::TenantId;

/// How many changes of one tenant may wait to be told. Who falls further behind is told that anything may
/// have changed.
pub const CHANGES_WAITING_MAX: usize = 256;

/// The channels of the tenants that have somebody watching.
#[derive(Debug, Default)]
pub struct Changes(Mutex<HashMap<TenantId, Sender<Change>>>);

impl Changes {
    /// Listens to the changes of `tenant` from now on.
    pub fn watch(&self, tenant: &TenantId) -> Receiver<Change> {
        let mut channels = self.channels();
        // Watching begins seldom, so that it can afford to forget whom nobody watches any more.
        channels.retain(|_, channel| channel.receiver_count() > 0);
        channels
            .entry(tenant.clone())
            .or_insert_with(|| broadcast::channel(CHANGES_WAITING_MAX).0)
            .subscribe()
    }

    /// Tells whoever watches the artifacts of the change's tenant.
    pub fn announce(&self, change: Change) {
        let mut channels = self.channels();
        let tenant = change.tenant().clone();
        if let Some(channel) = channels.get(&tenant)
            && channel.send(change).is_err()
        {
            channels.remove(&tenant);
        }
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<TenantId, Sender<Change>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_tenants_flood_reaches_its_own_watchers_alone() {
        let changes = Changes::default();
        let (loud, quiet) = (tenant("loud"), tenant("quiet"));
        let mut of_loud = changes.watch(&loud);
        let mut of_quiet = changes.watch(&quiet);
        for _ in 0..=CHANGES_WAITING_MAX {
            changes.announce(Change::of(&loud));
        }
        changes.announce(Change::of(&quiet));
        assert!(matches!(of_loud.try_recv(), Err(TryRecvError::Lagged(_))));
        assert_eq!(of_quiet.try_recv().unwrap().tenant(), &quiet);
        assert!(matches!(of_quiet.try_recv(), Err(TryRecvError::Empty)));
    }

    #[test]
    fn channels_that_nobody_listens_to_are_dropped() {
        let changes = Changes::default();
        for number in 0..100 {
            drop(changes.watch(&tenant(&format!("t{number}"))));
        }
        let kept = changes.watch(&tenant("kept"));
        assert_eq!(changes.channels().len(), 1);
        drop(kept);
        changes.announce(Change::of(&tenant("kept")));
        changes.announce(Change::of(&tenant("nobody")));
        assert_eq!(changes.channels().len(), 0);
    }
}
