//! One call, made again where that cannot do any harm: a read that met a dead server, or what was never sent.

use std::time::Duration;

use serde_json::value::RawValue;

use super::origin::ResultShape;
use super::{Called, McpProxy, Way, input, large};
use crate::mesh::call::grant::Granted;
use crate::mesh::integration::KnownTool;
use crate::mesh::integration::unseen::escaped;
use crate::mesh::store::integrations::Reached;
use crate::mesh::upstream::UpstreamFault;
use crate::mesh::{Error, ErrorKind};

/// How often a call is made again after its connection broke.
const REPETITIONS_MAX: u32 = 2;

/// How much of what a server says of an error is told: characters, and bytes of its data.
const MESSAGE_CHARS_MAX: usize = 1000;
const DATA_BYTES_MAX: usize = 4096;

/// Calls the tool. A result of more than `bytes_max` bytes becomes an artifact of the caller's.
///
/// # Errors
/// Those of the contract. One that may have had an effect says so ([`Error::may_be_done`]).
pub(super) async fn call<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    bytes_max: usize,
) -> Result<Called, Error> {
    let integrations = call.integrations();
    let mut reached = integrations
        .reach(&proxy.service, &proxy.connection)
        .await
        .map_err(Error::not_done)?;
    let mut repetitions = 0;
    loop {
        let tool = callable(&reached, proxy).map_err(Error::not_done)?;
        let fault = match input::call(proxy, call, &reached).await {
            Ok(result) => {
                let called = called(result, &reached, repetitions > 0)?;
                return large::kept(proxy, call, called, bytes_max).await;
            }
            Err(fault) => fault,
        };
        if repetitions == REPETITIONS_MAX || !may_repeat(&fault, proxy, tool) {
            return Err(error(fault, proxy, tool));
        }
        repetitions += 1;
        reached = match integrations.reconnect(&reached).await {
            Ok(reached) => reached,
            Err(unavailable) => return Err(unrepeated(fault, unavailable, proxy, tool)),
        };
    }
}

/// The tool that is meant, if it may be called.
fn callable<'reached>(
    reached: &'reached Reached,
    proxy: &McpProxy,
) -> Result<&'reached KnownTool, Error> {
    let (service, tool) = (&proxy.service, &proxy.tool);
    let Some(known) = reached.tools.find(tool) else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("`{service}` has no tool `{tool}`"),
        )
        .fix("Find its tools with mcp_list_tools.")
        .detail("parameter", "tool_name"));
    };
    known.require_pinned(service)?;
    match proxy.way {
        Way::Direct { .. } if !reached.registered().definition.lists_directly(tool) => {
            Err(not_direct(proxy))
        }
        Way::Direct { only_reads: true } if !known.read_only => Err(not_a_read(proxy)),
        Way::Direct { .. } | Way::Proxy => Ok(known),
    }
}

fn not_direct(proxy: &McpProxy) -> Error {
    let (service, tool) = (&proxy.service, &proxy.tool);
    let message =
        format!("`{tool}` is not one of the tools of `{service}` that are listed directly");
    Error::new(ErrorKind::NotFound, message).fix(format!(
        "Call it with mcp_proxy {{\"tool_name\": \"{service}.{tool}\"}}."
    ))
}

fn not_a_read(proxy: &McpProxy) -> Error {
    let (service, tool) = (&proxy.service, &proxy.tool);
    let message = format!("`{service}.{tool}` may change something, and this server is read-only");
    Error::new(ErrorKind::NotSupported, message)
        .fix("Call it through a server that was not started with --read-only.")
}

fn called(result: Box<RawValue>, reached: &Reached, repeated: bool) -> Result<Called, Error> {
    let shape = ResultShape::of(&result).ok_or_else(|| {
        Error::new(
            ErrorKind::UpstreamError,
            "the integrated server answered with what is no result",
        )
        .maybe_done()
    })?;
    Ok(Called {
        size: result.get().len() as u64,
        shape,
        result,
        server: reached.upstream.identity().name,
        remembered: false,
        repeated,
    })
}

/// Whether a call may be made again: what was never sent, a read, and what a caller has named by a key and
/// the server says may be done twice.
fn may_repeat(fault: &UpstreamFault, proxy: &McpProxy, tool: &KnownTool) -> bool {
    match fault {
        // A server that says when to come again, or has no room, is as it was a moment later.
        UpstreamFault::NotSent(error) => {
            error.kind() == ErrorKind::UpstreamUnavailable && error.wait().is_none()
        }
        UpstreamFault::Lost(_) => {
            tool.read_only || (tool.idempotent && proxy.idempotency_key.is_some())
        }
        UpstreamFault::TimedOut
        | UpstreamFault::Cancelled
        | UpstreamFault::Refused { .. }
        | UpstreamFault::Garbage(_) => false,
    }
}

/// A call that was to be made again and could not: what is known of its first try decides.
fn unrepeated(
    fault: UpstreamFault,
    unavailable: Error,
    proxy: &McpProxy,
    tool: &KnownTool,
) -> Error {
    match fault {
        UpstreamFault::Lost(_) if !tool.read_only => error(fault, proxy, tool),
        _ => unavailable.not_done(),
    }
}

fn error(fault: UpstreamFault, proxy: &McpProxy, tool: &KnownTool) -> Error {
    let service = &proxy.service;
    match fault {
        UpstreamFault::NotSent(error) => error.not_done(),
        UpstreamFault::Lost(error) if tool.read_only => error.not_done(),
        UpstreamFault::Lost(cause) => Error::new(
            ErrorKind::OutcomeUnknown,
            format!("the connection to `{service}` broke before it answered"),
        )
        .maybe_done()
        .caused_by(cause),
        UpstreamFault::TimedOut => timed_out(service.as_str(), proxy.timeout, tool.read_only),
        UpstreamFault::Cancelled => {
            Error::new(ErrorKind::Cancelled, "the caller cancelled the call").maybe_done()
        }
        UpstreamFault::Refused {
            code,
            message,
            data,
        } => refused(service.as_str(), code, &message, data.as_deref()),
        UpstreamFault::Garbage(error) if tool.read_only => error,
        UpstreamFault::Garbage(error) if error.kind() == ErrorKind::Overloaded => {
            Error::new(ErrorKind::OutcomeUnknown, error.message().to_owned()).maybe_done()
        }
        UpstreamFault::Garbage(error) => error.maybe_done(),
    }
}

fn timed_out(service: &str, limit: Duration, is_read: bool) -> Error {
    let millis = limit.as_millis();
    let message = format!("`{service}` gave no answer within {millis} ms");
    match is_read {
        true => Error::new(ErrorKind::Timeout, message)
            .not_done()
            .fix("Try again with a larger `timeout_ms`, or ask for less at once."),
        false => Error::new(ErrorKind::OutcomeUnknown, message).maybe_done(),
    }
}

/// What a server's own refusal is told as: its words, but nothing that a terminal or a model could take
/// for something else.
fn refused(service: &str, code: i64, message: &str, data: Option<&RawValue>) -> Error {
    let shown: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let said = escaped(&shown);
    let error = Error::new(
        ErrorKind::UpstreamError,
        format!("`{service}` refused the call: {said}"),
    )
    .fix(
        "See the tool's definition by mcp_list_tools with detail schema, and change the arguments.",
    )
    .detail("upstream_code", code);
    match data {
        Some(data) if data.get().len() <= DATA_BYTES_MAX => {
            let data = serde_json::from_str::<serde_json::Value>(&escaped(data.get()));
            error.detail("upstream_data", data.unwrap_or_default())
        }
        _ => error,
    }
}
