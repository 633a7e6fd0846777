//! What the transport hands on beside a request, in its extensions.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::Extensions;

use super::flight::Flight;
use crate::mesh::trace::TraceParent;

/// The exact text of the arguments of a `tools/call`: a JSON object that is well formed, but not yet
/// decoded, so that decoding may still find it nested too deeply. Absent when the call has no arguments.
#[derive(Clone)]
pub struct RawArguments {
    line: Arc<String>,
    range: Range<usize>,
}

impl RawArguments {
    /// Arguments that did not come over a transport of this module.
    pub fn new(text: impl Into<String>) -> Self {
        let line = Arc::new(text.into());
        let range = 0..line.len();
        Self { line, range }
    }

    /// The part `range` of a line that is kept as a whole, which spares a copy.
    pub(super) fn within(line: Arc<String>, range: Range<usize>) -> Self {
        Self { line, range }
    }

    /// The JSON text.
    pub fn get(&self) -> &str {
        self.line.get(self.range.clone()).unwrap_or_default()
    }
}

/// Says how long the arguments are, never what they are.
impl fmt::Debug for RawArguments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RawArguments({} bytes)", self.range.len())
    }
}

/// Which identity a request presents. It is in the extensions of every request and nowhere else: the
/// transport takes it out of the message.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PresentedIdentity {
    /// The token in `_meta["com.agent-mesh/identity"]`.
    pub token: Option<String>,
    /// Whether the request carries an identity in another way: `tenant_id` or `user_id` beside `params`,
    /// or something that is no text where the token should be.
    pub foreign: bool,
}

impl PresentedIdentity {
    /// The member of `_meta` that carries the token.
    pub const META_KEY: &str = "com.agent-mesh/identity";
}

/// Says whether there is a token, never which.
impl fmt::Debug for PresentedIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PresentedIdentity")
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("foreign", &self.foreign)
            .finish()
    }
}

/// The token under which the requests of a connection are made; none where its client is anonymous. A session
/// whose client comes back with a newer token goes on under that.
#[derive(Default)]
pub struct Bearer(Mutex<Option<String>>);

impl Bearer {
    /// A connection that brings `token`.
    pub fn new(token: Option<String>) -> Self {
        Self(Mutex::new(token))
    }

    /// Goes on under `token`.
    pub fn renew(&self, token: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// What a request of this connection presents.
    pub(super) fn identity(&self) -> PresentedIdentity {
        let token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        PresentedIdentity {
            token: token.clone(),
            foreign: false,
        }
    }
}

/// Says whether there is a token, never which.
impl fmt::Debug for Bearer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bearer({:?})", self.identity())
    }
}

/// The trace that a transport's own request belongs to, such as the span of an HTTP request. What the message
/// says of its trace in `_meta` comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentedTrace(pub TraceParent);

/// Where a handler leaves the exact JSON text of its result. Whatever result it returns to the service
/// loop afterwards is then not serialized; an error still is, and the text is forgotten.
///
/// The text is the whole `result` object, in the shape of the revision that the request is made in. As
/// long as a clone of it, and with it the extensions of the request, is kept, the request counts as in
/// flight: background work must not keep it.
#[derive(Clone)]
pub struct ReplySlot(Arc<Flight>);

impl ReplySlot {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self(flight)
    }

    /// The slot of the request that these extensions belong to.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Answers with `result`, which must be the text of a JSON object. The last text counts.
    pub fn fill(&self, result: String) {
        self.0.fill(result);
    }
}

impl fmt::Debug for ReplySlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReplySlot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown() {
        let identity = PresentedIdentity {
            token: Some("eyJhbGciOi".to_owned()),
            foreign: false,
        };
        assert!(!format!("{identity:?}").contains("eyJ"));
        let arguments = RawArguments::new(r#"{"value":"secret"}"#);
        assert_eq!(arguments.get(), r#"{"value":"secret"}"#);
        assert_eq!(format!("{arguments:?}"), "RawArguments(18 bytes)");
    }
}
