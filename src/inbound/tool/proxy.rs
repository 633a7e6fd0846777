//! `mcp_proxy`: what a client sees of it, and its arguments.

use std::time::Duration;

use serde_json::json;

use super::argument::Arguments;
use super::description::{Description, optional, required, text};
use super::integrations::connection_id;
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::ServiceId;
use crate::mesh::service::proxy::{McpProxy, TIMEOUT_DEFAULT, TIMEOUT_MAX};
use crate::mesh::store::idempotency::KEY_BYTES_MAX;

/// `mcp_proxy`.
pub fn describe() -> Description {
    Description {
        tool: Tool::McpProxy,
        title: "Call a tool of an integration",
        text: "Call a tool of an integrated server, by the name and with the arguments that mcp_list_tools \
               shows (`detail: schema`). Returns the server's own result, unchanged. A call that only reads is \
               repeated by itself when the server was away; one that writes is not, and answers \
               OUTCOME_UNKNOWN where it may have been done: give an `idempotency_key` where a call may be \
               repeated, and it is done once.",
        arguments: vec![
            required(
                "tool_name",
                text(),
                "`<service>.<tool>`, from mcp_list_tools.",
            ),
            optional(
                "arguments",
                json!({"type": "object"}),
                "What the tool takes; {} if left out.",
            ),
            optional(
                "connection_id",
                text(),
                "Which of your connections; `default` if left out.",
            ),
            optional(
                "timeout_ms",
                json!({"type": "integer", "minimum": 100, "maximum": 55_000, "default": 30_000}),
                "When to give up.",
            ),
            optional(
                "idempotency_key",
                text(),
                "1 to 256 bytes; remembered for 24 hours.",
            ),
        ],
        one_of: Vec::new(),
        results: Vec::new(),
        destructive: true,
        idempotent: false,
    }
}

/// The arguments of `mcp_proxy`.
pub fn parse(text: Option<&str>) -> Result<McpProxy, Error> {
    let mut arguments = Arguments::of(text)?;
    let (service, tool) = tool_name(&mut arguments)?;
    let given = arguments.optional_json("arguments")?;
    if given.is_some_and(|given| !given.get().starts_with('{')) {
        return Err(arguments.wrong("arguments", "must be an object".to_owned()));
    }
    let connection = connection_id(&mut arguments)?;
    let most = u32::try_from(TIMEOUT_MAX.as_millis()).unwrap_or(u32::MAX);
    let default = u32::try_from(TIMEOUT_DEFAULT.as_millis()).unwrap_or(most);
    let timeout = arguments.number("timeout_ms", default, 100, most)?;
    let idempotency_key: Option<String> = arguments.optional("idempotency_key")?;
    if let Some(key) = &idempotency_key
        && !(1..=KEY_BYTES_MAX).contains(&key.len())
    {
        let what = format!("must have 1 to {KEY_BYTES_MAX} bytes");
        return Err(arguments.wrong("idempotency_key", what));
    }
    arguments.finish()?;
    Ok(McpProxy {
        service,
        tool,
        arguments: given.map(ToOwned::to_owned),
        connection,
        timeout: Duration::from_millis(timeout.into()),
        idempotency_key,
    })
}

/// The argument `tool_name`: the integration, and the tool by the upstream's own name.
fn tool_name(arguments: &mut Arguments<'_>) -> Result<(ServiceId, String), Error> {
    let name: String = arguments.required("tool_name")?;
    let parts = name.split_once('.');
    let parts = parts.filter(|(_, tool)| (1..=128).contains(&tool.len()));
    let Some((service, tool)) = parts else {
        return Err(arguments
            .wrong("tool_name", "must be `<service>.<tool>`".to_owned())
            .fix("Take the name as mcp_list_tools shows it, such as `github.create_issue`."));
    };
    let service = service
        .parse()
        .map_err(|error| arguments.wrong("tool_name", format!("names a service that {error}")))?;
    Ok((service, tool.to_owned()))
}
