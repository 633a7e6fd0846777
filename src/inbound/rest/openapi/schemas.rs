//! What the answers of the façade look like that are no tool's own results.

use serde_json::{Value, json};

/// The schemas that the description refers to, by their names.
pub(super) fn schemas() -> Value {
    json!({
        "Failed": failed(),
        "UpstreamResult": upstream_result(),
        "ToolList": tool_list(),
        "ResourceList": resource_list(),
        "ResourceContents": resource_contents(),
        "Info": info(),
    })
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

fn list(of: &Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn whole(what: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": what })
}

/// A failed call, or a request that is none. What failed in an integrated server is that server's own result.
fn failed() -> Value {
    let error = object(
        &json!({
            "code": { "type": "string", "description": "One word that programs can act on.", "example": "CONFLICT" },
            "message": { "type": "string", "description": "What is wrong." },
            "fix": { "type": "string", "description": "What to do about it." },
            "retryable": { "type": "boolean", "description": "Whether the same call may work later unchanged." },
            "retry_after_ms": whole("After how long."),
            "request_id": { "type": "string", "description": "The request in events and in the server's log." },
            "details": { "type": "object", "description": "Further facts by name." },
        }),
        &["code", "message"],
    );
    json!({ "anyOf": [object(&json!({ "error": error }), &["error"]), upstream_failed()] })
}

fn upstream_result() -> Value {
    let mut result = object(
        &json!({
            "content": list(&json!({ "type": "object" })),
            "structuredContent": {},
            "isError": { "type": "boolean" },
            "_meta": { "type": "object" },
        }),
        &["content"],
    );
    result["description"] = "The integrated server's own result, as tools/call has it.".into();
    result
}

fn upstream_failed() -> Value {
    object(
        &json!({
            "content": list(&json!({ "type": "object" })),
            "isError": { "const": true },
        }),
        &["content", "isError"],
    )
}

fn tool_list() -> Value {
    let tool = object(
        &json!({
            "name": text(),
            "title": text(),
            "description": text(),
            "inputSchema": { "type": "object" },
            "outputSchema": { "type": "object" },
            "annotations": { "type": "object" },
        }),
        &["name", "inputSchema"],
    );
    object(&json!({ "tools": list(&tool) }), &["tools"])
}

fn resource_list() -> Value {
    let resource = object(
        &json!({
            "uri": text(),
            "name": text(),
            "title": text(),
            "description": text(),
            "mimeType": text(),
            "size": whole("Bytes."),
        }),
        &["uri", "name"],
    );
    let members = json!({ "resources": list(&resource), "nextCursor": text() });
    object(&members, &["resources"])
}

fn resource_contents() -> Value {
    let contents = object(
        &json!({
            "uri": text(),
            "mimeType": text(),
            "text": text(),
            "blob": { "type": "string", "contentEncoding": "base64" },
        }),
        &["uri"],
    );
    object(&json!({ "contents": list(&contents) }), &["contents"])
}

fn info() -> Value {
    let limits = object(
        &json!({
            "body_bytes": whole("The longest body of a request, in bytes."),
            "resource_read_bytes": whole("The most of a resource that one read hands out, in bytes."),
            "call_time_ms": whole("How long a call may take unless its tool says otherwise."),
            "requests_per_minute": whole("How many requests your tenant has in a minute."),
            "calls_in_flight": whole("How many calls of your tenant may run at once."),
        }),
        &["body_bytes", "requests_per_minute", "calls_in_flight"],
    );
    let caller = object(
        &json!({
            "tenant_id": text(),
            "user_id": text(),
            "role": { "type": "string", "enum": ["viewer", "user", "admin"] },
            "permissions": list(&text()),
            "org_id": text(),
            "expires_at": { "type": "string", "format": "date-time" },
        }),
        &["tenant_id", "user_id", "role", "permissions"],
    );
    object(
        &json!({
            "name": text(),
            "title": text(),
            "version": text(),
            "protocol_versions": list(&text()),
            "toolsets": list(&text()),
            "read_only": { "type": "boolean" },
            "limits": limits,
            "caller": caller,
        }),
        &[
            "name",
            "version",
            "protocol_versions",
            "toolsets",
            "read_only",
            "limits",
            "caller",
        ],
    )
}
