//! The proxy: a tool of an integrated server is called as its caller, and its result passes through unchanged.

mod attempt;
mod input;
mod large;
mod once;
pub mod origin;

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Operation, ProxyCall, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::waiting::WAIT_MAX;
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::limit::{Cost, Direction};

use origin::{Origin, ResultShape};

/// How long a call may take where its caller names no time, and at most: milliseconds.
pub const TIMEOUT_MS_DEFAULT: u32 = 30_000;
/// See [`TIMEOUT_MS_DEFAULT`].
pub const TIMEOUT_MS_MAX: u32 = 600_000;

/// The largest result that an answer holds: bytes of its JSON text. The whole of a larger one becomes an
/// artifact.
pub const RESULT_BYTES_MAX: usize = 1 << 20;

/// The same where an answer is remembered, in one row of the table.
pub const REMEMBERED_BYTES_MAX: usize = 256 << 10;

/// What a call may take besides the upstream's own time: connecting, storing a large result.
const OVERHEAD_MAX: Duration = Duration::from_secs(90);

/// Calls a tool of an integrated server.
#[derive(Debug)]
pub struct McpProxy {
    /// The integration.
    pub service: ServiceId,
    /// The tool, by the server's own name.
    pub tool: String,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
    /// The arguments: the text of a JSON object.
    pub arguments: Option<Box<RawValue>>,
    /// How long the server may take: at most [`TIMEOUT_MS_MAX`].
    pub timeout: Duration,
    /// Under which key the answer is remembered.
    pub idempotency_key: Option<String>,
    /// By which of its names it is called.
    pub way: Way,
}

/// By which of its names a tool of an integrated server is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through `mcp_proxy`, which reaches every tool.
    Proxy,
    /// As one that is listed beside our own; only one that changes nothing where `only_reads`.
    Direct {
        /// This server is read-only.
        only_reads: bool,
    },
}

/// What [`McpProxy`] answers: the server's own result.
#[derive(Debug)]
pub struct McpProxyAnswer {
    result: Box<RawValue>,
    shape: ResultShape,
    service: ServiceId,
    tool: String,
    connection: ConnectionId,
    server: String,
    remembered: bool,
    repeated: bool,
    size: u64,
}

impl McpProxyAnswer {
    /// The text of the result of `tools/call`, with the mark of where it came from. `complete` adds the
    /// member that the stateless revisions want, where the server did not write it.
    pub fn to_result(&self, complete: bool) -> String {
        let origin = Origin {
            service_id: self.service.as_str(),
            tool: &self.tool,
            connection_id: self.connection.as_str(),
            server: &self.server,
            remembered: self.remembered,
            repeated: self.repeated,
        };
        self.shape.marked(&self.result, &origin, complete)
    }

    /// Whether the tool says that it failed.
    pub fn is_error(&self) -> bool {
        self.shape.is_error()
    }

    /// The texts of the result, for those who take no more than that.
    pub fn text(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Content {
            #[serde(default)]
            content: Vec<Block>,
        }
        #[derive(serde::Deserialize)]
        struct Block {
            text: Option<String>,
        }
        let content = serde_json::from_str::<Content>(self.result.get());
        let blocks = content.map(|content| content.content).unwrap_or_default();
        let texts: Vec<String> = blocks.into_iter().filter_map(|block| block.text).collect();
        match texts.is_empty() {
            true => "the tool failed without a word".to_owned(),
            false => texts.join("\n"),
        }
    }
}

impl Serialize for McpProxyAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.result.serialize(serializer)
    }
}

impl Operation for McpProxy {
    const TOOL: Tool = Tool::McpProxy;
    type Needs = ProxyCall;
    type Answer = McpProxyAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("service_id", self.service.as_str())
            .with("tool", self.tool.as_str())
            .with("connection_id", self.connection.as_str())
    }

    fn cost(&self) -> Cost {
        let call = Cost::of(Direction::Upstream, 1.0);
        match self.idempotency_key {
            Some(_) => call.and(Direction::DynamodbWrite, 2.0),
            None => call,
        }
    }

    fn time_max(&self, _: Duration) -> Duration {
        // Whoever is asked for input meanwhile has time of their own.
        self.timeout + OVERHEAD_MAX + WAIT_MAX
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<McpProxyAnswer, Error> {
        let called = match &self.idempotency_key {
            Some(key) => once::call(&self, call, key).await?,
            None => attempt::call(&self, call, RESULT_BYTES_MAX).await?,
        };
        Ok(McpProxyAnswer {
            size: called.size,
            shape: called.shape,
            result: called.result,
            service: self.service,
            tool: self.tool,
            connection: self.connection,
            server: called.server,
            remembered: called.remembered,
            repeated: called.repeated,
        })
    }

    fn report(answer: &McpProxyAnswer) -> Report {
        let mut facts = vec![("is_error", answer.is_error().into())];
        if answer.repeated {
            facts.push(("repeated", true.into()));
        }
        if answer.remembered {
            facts.push(("remembered", true.into()));
        }
        if let Some(asks) = answer.shape.asks_for_input() {
            facts.push(("input_required", asks.into()));
        }
        Report {
            bytes: Some(answer.size),
            facts,
        }
    }
}

impl McpProxy {
    /// What is called, for people and for what belongs to one tool alone.
    fn purpose(&self) -> String {
        format!("{}.{}.{}", self.service, self.connection, self.tool)
    }
}

/// A result and how it came about.
#[derive(Debug)]
struct Called {
    result: Box<RawValue>,
    shape: ResultShape,
    server: String,
    remembered: bool,
    repeated: bool,
    /// Bytes of what the server answered, of which `result` may hold less.
    size: u64,
}
