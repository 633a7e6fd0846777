//! `mcp_list_tools`: what a client sees of it, and its arguments.

use serde_json::json;

use super::super::argument::Arguments;
use super::super::description::{Description, cursor, number, optional, result, text};
use super::super::{CallFault, opened};
use super::optional_service;
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::service::integrations::{Detail, LIMIT_MAX, McpListTools, QUERY_BYTES_MAX};

/// How many tools a page has where the caller does not say.
const LIMIT: u32 = 50;

/// `mcp_list_tools`.
pub fn describe() -> Description {
    Description {
        tool: Tool::McpListTools,
        title: "Find tools of integrations",
        text: "Find tools of the integrated servers that you are connected to. With `query` they are ranked by \
               relevance over names, titles, descriptions and parameters, so that one among thousands is found \
               without reading them all; without it they come by name. `summary` shows what each does, \
               `schema` also its arguments. Call one with mcp_proxy. Servers that cannot be listed now are \
               named in `unavailable` and delay nothing. integration_list shows the servers themselves.",
        arguments: vec![
            optional("service_id", text(), "Only tools of this integration."),
            optional("query", text(), "What you want to do, in words."),
            optional(
                "detail",
                json!({"type": "string", "enum": ["name", "summary", "schema"], "default": "summary"}),
                "How much of each.",
            ),
            optional("limit", number(1, LIMIT_MAX, LIMIT), "How many at most."),
            cursor(),
        ],
        one_of: Vec::new(),
        results: vec![
            result(
                "tools",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
            result("total", json!({"type": "integer"})),
            result(
                "unavailable",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
            result("next_cursor", text()),
            result("truncated", json!({"type": "boolean"})),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// The arguments of `mcp_list_tools`.
pub fn parse(text: Option<&str>) -> Result<Result<McpListTools, Error>, CallFault> {
    let parse = || {
        let mut arguments = Arguments::of(text)?;
        let service = optional_service(&mut arguments)?;
        let query: Option<String> = arguments.optional("query")?;
        if query
            .as_ref()
            .is_some_and(|query| query.len() > QUERY_BYTES_MAX)
        {
            let what = format!("may have {QUERY_BYTES_MAX} bytes");
            return Err(arguments.wrong("query", what));
        }
        let word: Option<String> = arguments.optional("detail")?;
        let detail = match word.as_deref() {
            Some("name") => Detail::Name,
            None | Some("summary") => Detail::Summary,
            Some("schema") => Detail::Schema,
            Some(_) => {
                let what = "must be `name`, `summary` or `schema`".to_owned();
                return Err(arguments.wrong("detail", what));
            }
        };
        let call = McpListTools {
            service,
            query: query.filter(|query| !query.trim().is_empty()),
            detail,
            limit: arguments.number("limit", LIMIT, 1, LIMIT_MAX)?,
            position: arguments.optional("cursor")?,
        };
        arguments.finish()?;
        Ok(call)
    };
    opened(parse(), |call| {
        let filters = call.filters();
        (&mut call.position, filters)
    })
}
