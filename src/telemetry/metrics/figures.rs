//! Figures that are read when metrics are: of the outbox, the publisher, the limiter, connections and streams.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::{HttpFigures, Label};
use crate::mesh::call::Backplane;
use crate::mesh::event::publisher::{PublisherStats, WayStats};
use crate::mesh::upstream::Phase;

/// Tells what a listener is at.
type Listener = Box<dyn Fn() -> HttpFigures + Send + Sync>;

/// Where figures are read, once it is there.
#[derive(Default)]
pub(super) struct Sources {
    /// Read while it lives.
    pub(super) backplane: OnceLock<Weak<Backplane>>,
    pub(super) listener: OnceLock<Listener>,
}

/// Reads the figures of its sources.
pub(super) struct Figures(pub(super) Arc<Sources>);

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        if let Some(listener) = self.0.listener.get() {
            http(&mut page, &listener())?;
        }
        let Some(backplane) = self.0.backplane.get().and_then(Weak::upgrade) else {
            return Ok(());
        };
        let stats = backplane.publisher.stats();
        outbox(&mut page, &stats)?;
        publisher(&mut page, &stats)?;
        page.gauge(
            "calls_in_flight",
            "Calls that are in flight",
            f64::from(backplane.limiter.in_flight()),
        )?;
        page.gauge(
            "tenants_active",
            "Tenants with calls in flight, or with limits that are not full again yet",
            backplane.limiter.tenants() as f64,
        )?;
        upstreams(&mut page, &backplane)
    }
}

fn http(page: &mut Page<'_>, figures: &HttpFigures) -> fmt::Result {
    page.gauge(
        "http_connections",
        "Connections that are open",
        figures.connections as f64,
    )?;
    let streams = figures.streams.iter();
    page.gauges(
        "http_streams",
        "Streams that are open, by kind",
        streams.map(|(kind, count)| ([("kind", *kind)], *count)),
    )?;
    let refused = figures.refused.iter();
    page.counters(
        "http_refused",
        "What was refused before anybody looked at what it wants, by reason",
        refused.map(|(reason, times)| ([("reason", *reason)], *times)),
    )
}

fn outbox(page: &mut Page<'_>, stats: &PublisherStats) -> fmt::Result {
    let outbox = &stats.outbox;
    for (name, help, figure) in [
        (
            "outbox_records",
            "Events that wait to be published",
            outbox.records,
        ),
        (
            "outbox_torn_records",
            "Records found that were never finished",
            outbox.torn_records,
        ),
        (
            "outbox_adopted_records",
            "Records taken over from processes that are gone",
            outbox.adopted_records,
        ),
        (
            "outbox_disk_full",
            "Whether the disk of the outbox is full",
            u64::from(outbox.is_disk_full),
        ),
    ] {
        page.gauge(name, help, figure as f64)?;
    }
    for (name, help, figure) in [
        (
            "outbox",
            "What the events that wait and the calls under way take up in the outbox",
            outbox.bytes,
        ),
        (
            "outbox_disk",
            "What the files of the outbox take up",
            outbox.disk_bytes,
        ),
        (
            "outbox_limit",
            "What the outbox may take up",
            outbox.bytes_max,
        ),
    ] {
        page.gauge_in(name, help, Unit::Bytes, figure as f64)?;
    }
    let oldest = stats.oldest_age_ms.unwrap_or_default() as f64 / 1e3;
    page.gauge_in(
        "outbox_oldest",
        "How long the oldest event waits that is still to be published",
        Unit::Seconds,
        oldest,
    )
}

fn publisher(page: &mut Page<'_>, stats: &PublisherStats) -> fmt::Result {
    let ways = [
        ("history", &stats.history),
        ("bus", &stats.bus),
        ("rules", &stats.rules),
    ];
    let by_way =
        |figure: fn(&WayStats) -> u64| ways.map(|(way, stats)| ([("way", way)], figure(stats)));
    page.gauges(
        "publisher_waiting_records",
        "Events that have yet to leave, by way",
        by_way(|way| way.records),
    )?;
    page.gauges(
        "publisher_failing",
        "Whether nothing goes out on a way since its last try",
        by_way(|way| u64::from(way.fault.is_some())),
    )?;
    page.gauges(
        "publisher_deferred_tenants",
        "Tenants whose events wait while others' go on, by way",
        by_way(|way| way.deferred_tenants as u64),
    )?;
    page.counters(
        "publisher_batches",
        "Batches that were sent, by way",
        by_way(|way| way.batches),
    )?;
    page.counters(
        "publisher_failed_batches",
        "Batches that could not be sent and are tried again, by way",
        by_way(|way| way.failed_batches),
    )?;
    page.counters(
        "publisher_refused_records",
        "Events that were refused as wrong in themselves, by way",
        by_way(|way| way.set_aside),
    )
}

fn upstreams(page: &mut Page<'_>, backplane: &Backplane) -> fmt::Result {
    let mut counts: HashMap<[Label; 2], u64> = HashMap::new();
    for kind in ["stdio", "http", "sse", "websocket"] {
        for phase in Phase::ALL {
            counts.insert([("kind", kind), ("state", phase.name())], 0);
        }
    }
    for state in backplane.integrations.upstreams().states(None) {
        let labels = [("kind", state.kind), ("state", state.phase.name())];
        *counts.entry(labels).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable();
    page.gauges(
        "upstream_connections",
        "Connections to integrated servers, by kind of server and state",
        counts,
    )
}

/// What figures are written on.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, figure: f64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, &sentence(help), None, MetricType::Gauge)?;
        ConstGauge::new(figure).encode(encoder)
    }

    fn gauge_in(&mut self, name: &str, help: &str, unit: Unit, figure: f64) -> fmt::Result {
        let encoder =
            self.0
                .encode_descriptor(name, &sentence(help), Some(&unit), MetricType::Gauge)?;
        ConstGauge::new(figure).encode(encoder)
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        figures: impl IntoIterator<Item = ([Label; N], u64)>,
    ) -> fmt::Result {
        let mut family =
            self.0
                .encode_descriptor(name, &sentence(help), None, MetricType::Gauge)?;
        for (labels, figure) in figures {
            ConstGauge::new(figure as f64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        figures: impl IntoIterator<Item = ([Label; N], u64)>,
    ) -> fmt::Result {
        let mut family =
            self.0
                .encode_descriptor(name, &sentence(help), None, MetricType::Counter)?;
        for (labels, figure) in figures {
            ConstCounter::new(figure).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// With its full stop, as the registry ends the others.
fn sentence(help: &str) -> String {
    format!("{help}.")
}

impl fmt::Debug for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Figures").finish_non_exhaustive()
    }
}
