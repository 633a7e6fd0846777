//! Has logs compacted while an older record waits, so that one tenant's trouble takes up no more than what it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{LaidLog, Lanes, MEND_EVERY, Shared};
use crate::mesh::event::outbox::log::compaction::Needs;
use crate::mesh::event::outbox::log::{Log, Position};
use crate::mesh::event::outbox::share::Way;
use crate::mesh::tenant::TenantId;

/// For how many times as long as a compaction took there is none: it takes half of a core at most.
const PAUSES: u32 = 1;

/// For how long there is none at most, where the last ones have freed nothing.
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// What the ways out of a log still need of it.
struct LaneNeeds {
    lanes: Lanes,
    lows: [Position; Way::COUNT],
    is_over: Arc<AtomicBool>,
}

/// Tells a compaction that nobody waits for it any more.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Needs for LaneNeeds {
    fn is_needed(&self, place: Position, tenant: &TenantId, seq: u64) -> bool {
        let mut ways = self.lanes.iter().zip(self.lows);
        ways.any(|(lane, low)| place >= low && lane.holds(tenant, seq))
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Compacts the logs whenever that is worth it: this process's own, of these ways, and the adopted ones.
    pub(super) async fn compact(self: Arc<Self>, lanes: Lanes) {
        let own = self.settings.outbox.log().clone();
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = own.rolled().notified() => {}
                () = tokio::time::sleep(MEND_EVERY) => {}
            }
            if !self.settings.outbox.wants_compaction() {
                continue;
            }
            let begun = Instant::now();
            let mut logs: Vec<LaidLog> = vec![(own.clone(), lanes.clone())];
            logs.extend(self.adopted().iter().cloned());
            let mut freed = 0;
            for (log, lanes) in logs {
                freed += compact(log, lanes).await;
            }
            pause = match freed {
                0 => (pause * 2).clamp(MEND_EVERY, PAUSE_LONGEST),
                _ => Duration::ZERO,
            };
            tokio::time::sleep(pause.max(begun.elapsed() * PAUSES)).await;
        }
    }
}

/// Compacts a log; answers how many bytes that has freed.
async fn compact(log: Arc<Log>, lanes: Lanes) -> u64 {
    let is_over = Arc::new(AtomicBool::new(false));
    let _over = Over(is_over.clone());
    let compacting = tokio::task::spawn_blocking(move || {
        let needs = LaneNeeds {
            lows: Way::ALL.map(|way| log.low(way)),
            lanes,
            is_over,
        };
        log.compact(&needs).unwrap_or_else(|error| {
            tracing::warn!(writer = %log.writer(), %error, "an outbox cannot be compacted now");
            0
        })
    });
    // It fails only where the runtime goes down.
    compacting.await.unwrap_or_default()
}
