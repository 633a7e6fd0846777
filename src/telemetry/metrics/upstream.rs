//! Calls of integrated servers, by the kind of server and how they ended.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Label;

/// What is counted of calls of integrated servers; nothing where it was made by [`Default`].
#[derive(Clone, Debug, Default)]
pub struct UpstreamMetrics(Option<Family<[Label; 2], Counter>>);

impl UpstreamMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let calls = Family::default();
        registry.register(
            "upstream_calls",
            "Calls of integrated servers that ended, by kind of server and outcome",
            calls.clone(),
        );
        Self(Some(calls))
    }

    /// A call of a server of the kind `kind` has ended in `outcome`.
    pub fn called(&self, kind: &'static str, outcome: &'static str) {
        if let Some(calls) = &self.0 {
            calls
                .get_or_create(&[("kind", kind), ("outcome", outcome)])
                .inc();
        }
    }
}
