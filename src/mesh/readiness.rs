//! Whether this process can serve, and how it is as a whole, for whoever runs it and for nobody else.

use std::time::Duration;

use serde::Serialize;

use super::call::Backplane;
use super::call::health::{PartHealth, Status};
use super::event::publisher::PublisherStats;
use super::upstream::Phase;

/// How long the keys that verify tokens are waited for; their loading goes on beyond it.
const KEYS_TIME_MAX: Duration = Duration::from_millis(500);

/// Whether the process can take calls. What all replicas depend on alike, such as AWS, is no part of it: taking
/// every one of them away would help nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<NotReady>,
}

/// Why a process takes no calls now. It tells nothing of any tenant and no figure of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotReady {
    /// It is about to end.
    Draining,
    /// The outbox has no room for another event.
    OutboxFull,
    /// The disk of the outbox is full.
    OutboxDiskFull,
    /// The keys that verify tokens could not be loaded yet.
    KeysMissing,
}

/// How the process is as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessHealth {
    /// The worst of its parts'.
    pub status: Status,
    /// The version that runs.
    pub version: &'static str,
    /// Whether it takes calls.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// The parts that all tenants share.
    pub parts: Vec<PartHealth>,
    /// What waits to be published, of all tenants.
    pub publisher: PublisherStats,
    /// Connections to integrated servers, of all tenants.
    pub upstreams: UpstreamCounts,
    /// Calls in flight, of all tenants.
    pub calls_in_flight: u32,
}

/// Connections to integrated servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of `Phase`")]
pub struct UpstreamCounts {
    pub connecting: usize,
    pub connected: usize,
    pub degraded: usize,
    pub down: usize,
}

impl Backplane {
    /// Whether calls can be taken; `is_draining` where the process is about to end.
    pub async fn readiness(&self, is_draining: bool) -> Readiness {
        let outbox = self.outbox.stats();
        let is_outbox_full =
            outbox.bytes >= outbox.bytes_max || outbox.disk_bytes >= outbox.bytes_max;
        let keys = tokio::time::timeout(KEYS_TIME_MAX, self.resolver.has_keys()).await;
        let reasons: Vec<NotReady> = [
            (is_draining, NotReady::Draining),
            (is_outbox_full, NotReady::OutboxFull),
            (outbox.is_disk_full, NotReady::OutboxDiskFull),
            (!keys.unwrap_or(false), NotReady::KeysMissing),
        ]
        .into_iter()
        .filter_map(|(is_so, reason)| is_so.then_some(reason))
        .collect();
        Readiness {
            ready: reasons.is_empty(),
            reasons,
        }
    }

    /// How the process is as a whole. It asks AWS, and so is not for everyone who can reach the process.
    pub async fn process_health(&self, is_draining: bool) -> ProcessHealth {
        let (readiness, parts) = futures::join!(self.readiness(is_draining), self.shared_parts());
        let worst = parts.iter().map(|part| part.status).max();
        let status = match readiness.ready {
            true => worst.unwrap_or(Status::Healthy),
            false => Status::Unhealthy,
        };
        ProcessHealth {
            status,
            version: env!("CARGO_PKG_VERSION"),
            readiness,
            parts,
            publisher: self.publisher.stats(),
            upstreams: UpstreamCounts::of(self),
            calls_in_flight: self.limiter.in_flight(),
        }
    }
}

impl UpstreamCounts {
    fn of(backplane: &Backplane) -> Self {
        let mut counts = Self::default();
        for state in backplane.integrations.upstreams().states(None) {
            *match state.phase {
                Phase::Connecting => &mut counts.connecting,
                Phase::Connected => &mut counts.connected,
                Phase::Degraded => &mut counts.degraded,
                Phase::Down => &mut counts.down,
            } += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests;
