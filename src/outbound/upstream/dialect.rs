//! The revisions of the protocol that are spoken, and what this client says of itself in each.

use super::message::Object;
use crate::mesh::trace::{TRACEPARENT, TraceParent};
use crate::mesh::upstream::Era;

/// The revision without sessions.
pub(super) const STATELESS: &str = "2026-07-28";

/// The revision that the older handshake offers.
pub(super) const OFFERED: &str = "2025-11-25";

/// The revisions of the older handshake that servers may answer with.
const WITH_SESSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", OFFERED];

/// Who this client says it is: the text of an object.
const CLIENT_INFO: &str = concat!(
    r#"{"name":"agent-mesh","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// What a server may ask for: passed on to the caller where it can take it, else refused.
const CAPABILITIES: &str = r#"{"elicitation":{},"roots":{},"sampling":{}}"#;

/// The revision that is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Its name.
    pub(super) revision: &'static str,
    /// Its handshake.
    pub(super) era: Era,
}

impl Dialect {
    /// The one without sessions.
    pub(super) const STATELESS: Self = Self {
        revision: STATELESS,
        era: Era::Stateless,
    };

    /// The revision of that name, where it is known.
    pub(super) fn of(revision: &str) -> Option<Self> {
        if revision == STATELESS {
            return Some(Self::STATELESS);
        }
        let known = WITH_SESSIONS.into_iter().find(|known| *known == revision);
        known.map(|revision| Self {
            revision,
            era: Era::Sessions,
        })
    }

    /// `_meta` of a request, where there is something to be said in it: the text of an object.
    pub(super) fn meta(
        self,
        progress_token: Option<i64>,
        trace: Option<TraceParent>,
    ) -> Option<String> {
        if self.era == Era::Sessions && progress_token.is_none() && trace.is_none() {
            return None;
        }
        let mut meta = Object::new();
        if self.era == Era::Stateless {
            meta = meta
                .member("io.modelcontextprotocol/protocolVersion", "\"2026-07-28\"")
                .member("io.modelcontextprotocol/clientInfo", CLIENT_INFO)
                .member("io.modelcontextprotocol/clientCapabilities", CAPABILITIES);
        }
        if let Some(token) = progress_token {
            meta = meta.member("progressToken", &token.to_string());
        }
        if let Some(trace) = trace {
            meta = meta.member(TRACEPARENT, &format!("\"{trace}\""));
        }
        Some(meta.end())
    }
}

/// The parameters of `initialize`.
pub(super) fn initialize() -> String {
    Object::new()
        .member("protocolVersion", &format!("\"{OFFERED}\""))
        .member("capabilities", CAPABILITIES)
        .member("clientInfo", CLIENT_INFO)
        .end()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_request_without_a_session_says_who_asks() {
        let meta = Dialect::STATELESS.meta(None, None).unwrap();
        let meta: Value = serde_json::from_str(&meta).unwrap();
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], STATELESS);
        let client = &meta["io.modelcontextprotocol/clientInfo"];
        assert_eq!(client["name"], "agent-mesh");
        assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
    }

    #[test]
    fn a_request_of_a_session_says_only_what_is_asked_for() {
        let dialect = Dialect::of("2024-11-05").unwrap();
        assert_eq!(dialect.meta(None, None), None);
        assert_eq!(
            dialect.meta(Some(7), None).unwrap(),
            r#"{"progressToken":7}"#
        );
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let meta = dialect.meta(None, trace.parse().ok()).unwrap();
        assert_eq!(meta, format!(r#"{{"traceparent":"{trace}"}}"#));
        assert_eq!(Dialect::of("2099-01-01"), None);
    }
}
