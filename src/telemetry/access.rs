//! The access log: one line for each HTTP request, with nothing of what it carried.

use std::time::Duration;

use ulid::Ulid;

use crate::mesh::trace::TraceParent;

/// The target of its lines, for `RUST_LOG`.
pub const ACCESS: &str = "access";

/// What is told of a request. There is no place in it for a path with ids, a query, a header or a token.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Its method.
    pub method: &'static str,
    /// The template of its path.
    pub route: &'static str,
    /// The status of its answer.
    pub status: u16,
    /// The bytes of the answer's body, where they are known when it begins.
    pub bytes: Option<u64>,
    /// How long it took until its answer began.
    pub took: Duration,
    /// Whose it was, where that is known.
    pub tenant: Option<&'a str>,
    /// The call that it led to.
    pub request_id: Option<Ulid>,
    /// The trace that it belongs to.
    pub trace: Option<TraceParent>,
}

impl Access<'_> {
    /// Writes its line.
    pub fn log(&self) {
        let Self {
            method,
            route,
            status,
            bytes,
            tenant,
            request_id,
            ..
        } = self;
        let ms = (self.took.as_secs_f64() * 1e6).round() / 1e3;
        let trace_id = self.trace.map(TraceParent::trace_id);
        tracing::info!(
            target: ACCESS,
            method,
            route,
            status,
            bytes,
            ms,
            tenant,
            request_id = request_id.map(tracing::field::display),
            trace_id,
        );
    }
}
