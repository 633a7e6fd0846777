//! `mcp_proxy`: what a client sees of it, and its arguments; its result is the integrated server's own.

use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use super::DirectName;
use super::argument::Arguments;
use super::description::{Description, number, optional, required, text};
use super::integrations::connection_id;
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::tools::{NAME_BYTES_MAX, is_tool_name};
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::service::proxy::{McpProxy, TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX, Way};
use crate::mesh::store::idempotency::KEY_BYTES_MAX;

/// What a client sees of `mcp_proxy`.
pub fn describe() -> Description {
    Description {
        tool: Tool::McpProxy,
        title: "Call a tool of an integrated server",
        text: "Call a tool of an MCP server that is registered here and that you are connected to; \
               mcp_list_tools finds tools and shows their arguments. Returns the server's own result, \
               unchanged. A read that meets a broken connection is repeated by itself; a write is not, and \
               then says OUTCOME_UNKNOWN: give an idempotency_key to be able to ask for its answer again. A \
               result over 1 MiB (256 KiB with a key) becomes an artifact, and its beginning is returned.",
        arguments: vec![
            required(
                "tool_name",
                text(),
                "`<service>.<tool>`, as mcp_list_tools names it.",
            ),
            optional(
                "arguments",
                json!({"type": "object"}),
                "The tool's arguments, by its own schema.",
            ),
            optional(
                "connection_id",
                text(),
                "Which of your connections to the service; `default` if left out.",
            ),
            optional(
                "timeout_ms",
                number(1, TIMEOUT_MS_MAX, TIMEOUT_MS_DEFAULT),
                "How long the server may take.",
            ),
            optional(
                "idempotency_key",
                text(),
                "The same key within 24 h gives the first answer again and calls nothing.",
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
    let name: String = arguments.required("tool_name")?;
    let (service, tool) = split(&name).map_err(|what| arguments.wrong("tool_name", what))?;
    let given = arguments.optional_json("arguments")?;
    if given.is_some_and(|given| !given.get().starts_with('{')) {
        return Err(arguments.wrong("arguments", "must be a JSON object".to_owned()));
    }
    let connection = connection_id(&mut arguments)?;
    let timeout_ms = arguments.number("timeout_ms", TIMEOUT_MS_DEFAULT, 1, TIMEOUT_MS_MAX)?;
    let call = McpProxy {
        service,
        tool: tool.to_owned(),
        connection,
        arguments: given.map(ToOwned::to_owned),
        timeout: Duration::from_millis(timeout_ms.into()),
        idempotency_key: idempotency_key(&mut arguments)?,
        way: Way::Proxy,
    };
    arguments.finish()?;
    Ok(call)
}

/// A call of a tool by the name under which it is listed beside our own. Its arguments are all the server's.
pub fn direct(name: &DirectName, arguments: Option<&str>) -> Result<McpProxy, Error> {
    let given = arguments.map(|text| RawValue::from_string(text.to_owned()));
    let given = given.transpose().ok();
    let is_object = |given: &Option<Box<RawValue>>| {
        given
            .as_ref()
            .is_none_or(|given| given.get().starts_with('{'))
    };
    let Some(arguments) = given.filter(is_object) else {
        return Err(Error::invalid(
            "arguments",
            "`arguments` must be a JSON object",
        ));
    };
    Ok(McpProxy {
        service: name.service.clone(),
        tool: name.tool.clone(),
        connection: ConnectionId::default(),
        arguments,
        timeout: Duration::from_millis(TIMEOUT_MS_DEFAULT.into()),
        idempotency_key: None,
        way: Way::Direct {
            only_reads: name.only_reads,
        },
    })
}

/// The arguments of `mcp_proxy` that a call by the name of a tool stands for.
pub fn arguments_of(name: &DirectName, arguments: Option<&str>) -> String {
    let called = serde_json::Value::from(format!("{}.{}", name.service, name.tool));
    match arguments {
        Some(arguments) => format!("{{\"arguments\":{arguments},\"tool_name\":{called}}}"),
        None => format!("{{\"tool_name\":{called}}}"),
    }
}

/// The service and the tool that `<service>.<tool>` names; also `<service>__<tool>`, as clients show tools.
fn split(name: &str) -> Result<(ServiceId, &str), String> {
    let parts = name.split_once('.').or_else(|| name.split_once("__"));
    let Some((service, tool)) = parts else {
        return Err("must be `<service>.<tool>`, as mcp_list_tools names it".to_owned());
    };
    if !is_tool_name(tool) {
        return Err(format!(
            "names no tool: behind the service's id stand 1 to {NAME_BYTES_MAX} of A-Z, a-z, 0-9, _ . and -"
        ));
    }
    match service.parse() {
        Ok(service) => Ok((service, tool)),
        Err(what) => Err(format!("begins with a service's id, which {what}")),
    }
}

fn idempotency_key(arguments: &mut Arguments<'_>) -> Result<Option<String>, Error> {
    let key: Option<String> = arguments.optional("idempotency_key")?;
    match &key {
        Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
            let what = format!("must have 1 to {KEY_BYTES_MAX} bytes");
            Err(arguments.wrong("idempotency_key", what))
        }
        _ => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Result<(String, String), String> {
        let arguments = json!({"tool_name": name}).to_string();
        parse(Some(&arguments))
            .map(|call| (call.service.to_string(), call.tool))
            .map_err(|error| error.details()["parameter"].to_string())
    }

    #[test]
    fn a_tool_is_named_behind_its_service() {
        let is = |service: &str, tool: &str| Ok((service.to_owned(), tool.to_owned()));
        assert_eq!(named("files.read"), is("files", "read"));
        assert_eq!(named("files.a.b"), is("files", "a.b"));
        assert_eq!(named("my-files__read__all"), is("my-files", "read__all"));
        for wrong in [
            "",
            "files",
            "files.",
            ".read",
            "Files.read",
            "kv.get",
            "a.b c",
            "a.ä",
        ] {
            assert_eq!(named(wrong), Err("\"tool_name\"".to_owned()), "{wrong}");
        }
    }

    #[test]
    fn arguments_are_an_object_and_stay_as_they_were_written() {
        let call = parse(Some(
            r#"{"tool_name":"a.b","arguments":{"x": 1.50},"timeout_ms":5}"#,
        ));
        let call = call.unwrap();
        assert_eq!(call.arguments.unwrap().get(), r#"{"x": 1.50}"#);
        assert_eq!(call.timeout, Duration::from_millis(5));
        for (wrong, parameter) in [
            (r#"{"tool_name":"a.b","arguments":[]}"#, "arguments"),
            (r#"{"tool_name":"a.b","timeout_ms":0}"#, "timeout_ms"),
            (r#"{"tool_name":"a.b","timeout_ms":600001}"#, "timeout_ms"),
            (
                r#"{"tool_name":"a.b","connection_id":"a#b"}"#,
                "connection_id",
            ),
            (
                r#"{"tool_name":"a.b","idempotency_key":""}"#,
                "idempotency_key",
            ),
        ] {
            let error = parse(Some(wrong)).unwrap_err();
            assert_eq!(error.details()["parameter"], parameter, "{wrong}");
        }
    }
}
