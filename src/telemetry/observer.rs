//! Watches calls for the metrics and the traces.

use std::sync::Arc;

use tracing::Span;

use super::metrics::Metrics;
use super::trace;
use crate::mesh::call::Backplane;
use crate::mesh::call::observer::{CallObserver, CallSpan, EndedCall};
use crate::mesh::call::request::Request;
use crate::mesh::call::tool::Tool;
use crate::mesh::tenant::IdentityError;

/// What watches a process: its metrics, its traces, both or neither.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// What is counted; nothing where nobody can read it.
    pub metrics: Option<Arc<Metrics>>,
    /// Whether spans are recorded.
    pub is_traced: bool,
}

struct Observer(Watch);

impl Watch {
    /// From now on the figures of `backplane` are read whenever metrics are.
    pub fn see(&self, backplane: &Arc<Backplane>) {
        if let Some(metrics) = &self.metrics {
            metrics.watch(backplane);
        }
    }

    /// What watches its calls; nothing where there is nothing to be seen, so that calls then cost nothing more.
    pub fn observer(&self) -> Option<Arc<dyn CallObserver>> {
        let sees = self.metrics.is_some() || self.is_traced;
        sees.then(|| Arc::new(Observer(self.clone())) as Arc<dyn CallObserver>)
    }
}

impl CallObserver for Observer {
    fn begin(&self, request: &Request, tool: Tool) -> CallSpan {
        if !self.0.is_traced {
            let (span, trace) = (Span::none(), None);
            return CallSpan { span, trace };
        }
        let span = trace::call_span(tool.name(), request.id, request.trace);
        // A trace that nobody records is nothing to look for, unless the caller named it.
        let recorded = trace::context_of(&span);
        let trace = recorded.filter(|own| own.is_sampled() || request.trace.is_some());
        CallSpan { span, trace }
    }

    fn ended(&self, call: &EndedCall<'_>) {
        if let Some(metrics) = &self.0.metrics {
            metrics.ended(call);
        }
        if self.0.is_traced {
            trace::end_call_span(&Span::current(), call);
        }
    }

    fn unidentified(&self, _tool: Tool, error: &IdentityError) {
        if let Some(metrics) = &self.0.metrics {
            metrics.unidentified(error);
        }
        if self.0.is_traced {
            trace::end_span(&Span::current(), "unidentified", true);
        }
    }
}
