//! The façade described in OpenAPI 3.1, from the table of tools and the kinds of errors.

mod examples;
mod schemas;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::arguments::IDEMPOTENCY_KEY;
use crate::inbound::error::http_status;
use crate::inbound::tool::catalog::Catalog;
use crate::inbound::tool::idempotency::takes_key;
use crate::mesh::ErrorKind;
use crate::mesh::call::tool::{Tool, Toolset};
use crate::mesh::store::idempotency::KEY_BYTES_MAX;

/// What is said of the whole.
const ABOUT: &str = "The tools of this server for those who have no MCP client. The body of a call is its \
                     arguments, one JSON object, under any content type; its answer is the tool's result. A call \
                     that fails answers `{\"error\": {code, message, fix}}` with a fitting status: do what `fix` \
                     says, and repeat a call unchanged only where `retryable` is true. Where what an argument may \
                     be is said in words alone, one that does not fit is a 400 that names it.";

/// The document for the tools that `catalog` offers, at `public_url`. It says nothing of tenants.
pub(super) fn description(catalog: &Catalog, public_url: &str) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Agent Mesh",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": public_url }],
        "security": [{ "bearer": [] }],
        "tags": tags(catalog),
        "paths": paths(catalog),
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of this server's: a JWT of an issuer that it trusts, or a static one.",
                },
            },
            "schemas": schemas::schemas(),
            "responses": errors(),
            "parameters": parameters(),
        },
    })
}

/// The errors by their status, and the words that their bodies have as codes.
fn codes() -> BTreeMap<u16, Vec<&'static str>> {
    let mut codes: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    // Nobody reads that a call was cancelled: its caller has gone.
    let kinds = ErrorKind::ALL
        .into_iter()
        .filter(|kind| *kind != ErrorKind::Cancelled);
    for kind in kinds {
        let status = http_status(kind).as_u16();
        codes.entry(status).or_default().push(kind.code());
    }
    // What is wrong before there is a call.
    for (status, code) in [
        (400, "INVALID_REQUEST"),
        (401, "UNAUTHENTICATED"),
        (403, "TENANT_SUSPENDED"),
        (403, "FORBIDDEN"),
        (408, "TIMEOUT"),
        (503, "UNAVAILABLE"),
    ] {
        codes.entry(status).or_default().push(code);
    }
    codes
}

/// The table of API.md: each status, and what the body says under it.
pub(super) fn statuses_markdown() -> String {
    let mut table = String::from("| status | `error.code` |\n|---|---|\n");
    for (status, codes) in codes() {
        let _ = writeln!(table, "| {status} | `{}` |", codes.join("` `"));
    }
    table
}

fn errors() -> Value {
    let described = codes().into_iter().map(|(status, codes)| {
        let mut response = json!({
            "description": format!("`{}`", codes.join("`, `")),
            "content": { "application/json": { "schema": reference("schemas", "Failed") } },
        });
        if let Some(headers) = headers(status) {
            response["headers"] = headers;
        }
        (error_name(status), response)
    });
    described.collect::<Map<_, _>>().into()
}

fn error_name(status: u16) -> String {
    format!("Error{status}")
}

/// What the headers of an error say.
fn headers(status: u16) -> Option<Value> {
    match status {
        401 | 403 => Some(json!({ "WWW-Authenticate": {
            "description": "How to sign in; of 403, with which scope, where the token's is what is missing.",
            "schema": { "type": "string" },
        }})),
        429 | 503 => Some(json!({ "Retry-After": {
            "description": "After how many seconds to come back.",
            "schema": { "type": "integer", "minimum": 1 },
        }})),
        _ => None,
    }
}

fn parameters() -> Value {
    json!({ "IdempotencyKey": {
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "required": false,
        "description": "Stands for the argument idempotency_key where the body has none.",
        "schema": { "type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX },
        "example": "order-4711",
    }})
}

fn tags(catalog: &Catalog) -> Vec<Value> {
    let offered = Toolset::ALL
        .into_iter()
        .filter(|toolset| catalog.has(*toolset));
    let tools = offered.map(|toolset| json!({ "name": toolset.name() }));
    tools.chain([json!({ "name": "server" })]).collect()
}

fn paths(catalog: &Catalog) -> Value {
    let mut paths = Map::new();
    paths.insert("/tools".to_owned(), json!({ "get": tool_list() }));
    for (tool, text) in catalog.tools() {
        // The text is our own, and is JSON.
        let shown: Value = serde_json::from_str(text).unwrap_or_default();
        let call = json!({ "post": call(tool, &shown) });
        paths.insert(format!("/tools/{}", tool.name()), call);
    }
    if catalog.has(Toolset::Integrations) {
        paths.insert("/tools/{name}".to_owned(), json!({ "post": direct_call() }));
    }
    paths.insert("/resources".to_owned(), json!({ "get": resource_list() }));
    paths.insert("/resources/read".to_owned(), json!({ "get": resource() }));
    paths.insert("/info".to_owned(), json!({ "get": info() }));
    paths.insert("/openapi.json".to_owned(), json!({ "get": document() }));
    paths.into()
}

/// One tool: its schemas stand here as `tools/list` shows them.
fn call(tool: Tool, shown: &Value) -> Value {
    let arguments = &shown["inputSchema"];
    let result = match shown.get("outputSchema") {
        Some(schema) => schema.clone(),
        None => reference("schemas", "UpstreamResult"),
    };
    let is_required = arguments.get("required").is_some() || arguments.get("anyOf").is_some();
    let mut call = json!({
        "operationId": tool.name(),
        "tags": [tool.toolset().name()],
        "summary": shown["title"],
        "description": format!("{} Needs `{}`.", shown["description"].as_str().unwrap_or_default(), tool.permission().name()),
        "requestBody": {
            "required": is_required,
            "content": { "application/json": {
                "schema": arguments,
                "examples": { "call": { "value": examples::arguments(tool) } },
            }},
        },
        "responses": responses("What the tool answers.", result),
    });
    if takes_key(tool) {
        call["parameters"] = json!([reference("parameters", "IdempotencyKey")]);
    }
    call
}

fn direct_call() -> Value {
    json!({
        "operationId": "call_by_name",
        "tags": [Toolset::Integrations.name()],
        "summary": "Call a tool by its name",
        "description": "Calls any tool that GET /tools lists, so also those of integrated servers \
                        (`<service>__<tool>`), whose arguments and results are those servers' own.",
        "parameters": [{
            "name": "name",
            "in": "path",
            "required": true,
            "description": "The tool, as GET /tools names it.",
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$" },
            "example": "notes__search",
        }],
        "requestBody": {
            "required": false,
            "content": { "application/json": {
                "schema": { "type": "object" },
                "examples": { "call": { "value": { "query": "june" } } },
            }},
        },
        "responses": responses("What the tool answers.", json!({ "type": "object" })),
    })
}

fn tool_list() -> Value {
    json!({
        "operationId": "list_tools",
        "tags": ["server"],
        "summary": "List tools",
        "description": "The tools that you may call, with their schemas: what tools/list says.",
        "responses": responses("The tools.", reference("schemas", "ToolList")),
    })
}

fn resource_list() -> Value {
    json!({
        "operationId": "list_resources",
        "tags": ["server"],
        "summary": "List resources",
        "description": "Your artifacts, then the tenant's, and the alerts that were raised: what resources/list \
                        says. Returns a page, and `nextCursor` if there are more.",
        "parameters": [{
            "name": "cursor",
            "in": "query",
            "required": false,
            "description": "`nextCursor` of the page before.",
            "schema": { "type": "string" },
        }],
        "responses": responses("A page of resources.", reference("schemas", "ResourceList")),
    })
}

fn resource() -> Value {
    json!({
        "operationId": "read_resource",
        "tags": ["server"],
        "summary": "Read a resource",
        "description": "What resources/read says: text as it is, anything else in base64. Add `?range=first-last` \
                        to the resource's address for a part of it.",
        "parameters": [{
            "name": "uri",
            "in": "query",
            "required": true,
            "description": "The address of the resource.",
            "schema": { "type": "string" },
            "example": "mesh://artifacts/user/reports/june.md",
        }],
        "responses": responses("The resource.", reference("schemas", "ResourceContents")),
    })
}

fn info() -> Value {
    json!({
        "operationId": "info",
        "tags": ["server"],
        "summary": "Describe the server and its caller",
        "description": "What this server is and offers, the limits that a client should know, and who you are to it.",
        "responses": responses("What this server is.", reference("schemas", "Info")),
    })
}

fn document() -> Value {
    json!({
        "operationId": "description",
        "tags": ["server"],
        "summary": "Read this description",
        "description": "This document. It needs no token.",
        "security": [],
        "responses": {
            "200": answer("This document.", json!({ "type": "object" })),
            "400": reference("responses", &error_name(400)),
        },
    })
}

fn responses(text: &str, schema: Value) -> Value {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), answer(text, schema));
    for status in codes().into_keys() {
        let error = reference("responses", &error_name(status));
        responses.insert(status.to_string(), error);
    }
    responses.into()
}

fn answer(text: &str, schema: Value) -> Value {
    json!({ "description": text, "content": { "application/json": { "schema": schema } } })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text behind a `$ref`.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member.as_str()) {
                        ("$ref", Some(target)) => found.push(target.to_owned()),
                        _ => references(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_error_is_described_and_every_reference_leads_somewhere() {
        let described = description(&Catalog::new(&Toolset::ALL, false), "https://mesh.example");
        let responses = &described["components"]["responses"];
        for kind in ErrorKind::ALL {
            if kind == ErrorKind::Cancelled {
                continue;
            }
            let name = error_name(http_status(kind).as_u16());
            let text = responses[&name]["description"].as_str().unwrap();
            assert!(text.contains(kind.code()), "{name}: {text}");
            assert_ne!(http_status(kind), http::StatusCode::UNAUTHORIZED);
        }
        let mut found = Vec::new();
        references(&described, &mut found);
        assert!(found.len() > 100);
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(described.pointer(pointer).is_some(), "{target}");
        }
    }
}
