//! What is measured: one file for each part.

mod bus;
mod calls;
mod memory;
mod proxy;
mod rules;
mod share;
mod start;
mod tenants;
mod unread;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;

use crate::Result;
use crate::figure::Figure;
use crate::server::{Server, Setup};

/// One part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// From the start to the handshake.
    Start,
    /// Resident memory, idle and after calls.
    Memory,
    /// Calls a second, latency and processor time on the embedded cloud.
    Calls,
    /// What the server adds to a bare call of the SDK.
    Share,
    /// Events while the bus is down.
    Bus,
    /// From an event to the start of the workflow that its rule starts.
    Rules,
    /// What the proxy adds to calls of other servers.
    Proxy,
    /// Memory for each of many tenants.
    Tenants,
    /// A client that never reads.
    Unread,
}

/// What all parts need to know.
pub(crate) struct Plan {
    binary: PathBuf,
    quick: bool,
}

impl Part {
    /// Those of `only`, in their order here; all where none is named.
    pub(crate) fn chosen(only: &[Self]) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|part| only.is_empty() || only.contains(part))
            .collect()
    }

    pub(crate) fn measure(self, plan: &Plan) -> Result<Vec<Figure>> {
        match self {
            Self::Start => start::measure(plan),
            Self::Memory => memory::measure(plan),
            Self::Calls => calls::measure(plan),
            Self::Share => share::measure(plan),
            Self::Bus => bus::measure(plan),
            Self::Rules => rules::measure(plan),
            Self::Proxy => proxy::measure(plan),
            Self::Tenants => tenants::measure(plan),
            Self::Unread => unread::measure(plan),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl Plan {
    pub(crate) fn new(binary: &Path, quick: bool) -> Result<Self> {
        let binary = binary.canonicalize().map_err(|error| {
            format!(
                "{}: {error}; build it with cargo build --release",
                binary.display()
            )
        })?;
        Ok(Self { binary, quick })
    }

    /// `count`, or a tenth of it when it must be quick.
    fn count(&self, count: usize) -> usize {
        if self.quick { count / 10 } else { count }
    }

    /// A running server.
    fn start(&self, setup: Setup) -> Result<Server> {
        self.start_again(&Arc::new(setup))
    }

    /// A running server in a folder that may have been used.
    fn start_again(&self, setup: &Arc<Setup>) -> Result<Server> {
        setup.start(&self.binary)
    }
}

/// How many keys calls go round.
const KEYS: usize = 100;

/// The bodies of requests.
mod body {
    use super::KEYS;

    pub(super) fn ping(_: usize, line: &mut String) {
        line.push_str("\"method\":\"ping\"");
    }

    pub(super) fn kv_get(number: usize, line: &mut String) {
        tool(
            "kv_get",
            &format!("{{\"key\":\"key-{}\"}}", number % KEYS),
            None,
            line,
        );
    }

    pub(super) fn kv_set(number: usize, line: &mut String) {
        let value = format!(
            "{{\"step\":{number},\"state\":\"running\",\"notes\":\"{}\",\"weights\":[1,2.5,3e10]}}",
            "one line of what an agent remembers; ".repeat(4)
        );
        let arguments = format!("{{\"key\":\"key-{}\",\"value\":{value}}}", number % KEYS);
        tool("kv_set", &arguments, None, line);
    }

    pub(super) fn events_send(number: usize, line: &mut String) {
        let arguments = format!(
            "{{\"detail_type\":\"Order.Placed\",\"detail\":{{\"order\":{number},\"total\":99.5,\"items\":[\"a\",\"b\"]}}}}"
        );
        tool("events_send", &arguments, None, line);
    }

    /// A call of a tool, with the token that says whose it is where there must be one.
    pub(super) fn tool(name: &str, arguments: &str, token: Option<&str>, line: &mut String) {
        line.push_str("\"method\":\"tools/call\",\"params\":{\"name\":\"");
        line.push_str(name);
        line.push_str("\",\"arguments\":");
        line.push_str(arguments);
        if let Some(token) = token {
            line.push_str(",\"_meta\":{\"com.agent-mesh/identity\":\"");
            line.push_str(token);
            line.push_str("\"}");
        }
        line.push('}');
    }
}
