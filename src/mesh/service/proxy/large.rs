//! Results that are too large for an answer: the whole becomes an artifact, the answer has its beginning.

use bytes::Bytes;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::origin::ResultShape;
use super::{Called, McpProxy};
use crate::mesh::call::grant::Granted;
use crate::mesh::service::address::Address;
use crate::mesh::store::artifacts::ArtifactKey;
use crate::mesh::store::bucket::{ObjectAttributes, ObjectCondition, PutOutcome};
use crate::mesh::store::key::Scope;
use crate::mesh::{Error, ErrorKind};

/// How much of a result that is too large an answer holds: bytes.
const HEAD_BYTES: usize = 16 << 10;

/// The folder of such artifacts.
const FOLDER: &str = "mcp-results";

/// The result as it is where it has at most `bytes_max` bytes; else its beginning, its size and the
/// address of the whole.
///
/// # Errors
/// Where the whole cannot be kept, so that the caller is told what became of its call: it was done.
pub(super) async fn kept<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    called: Called,
    bytes_max: usize,
) -> Result<Called, Error> {
    if called.result.get().len() <= bytes_max {
        return Ok(called);
    }
    let text = called.result.get();
    let head = &text[..text.floor_char_boundary(HEAD_BYTES)];
    let size = text.len();
    let kept = keep(proxy, call, text).await;
    let whole = match &kept {
        Ok(address) => format!("the whole is {address}"),
        Err(error) => format!("the whole could not be kept: {}", error.message()),
    };
    let note = format!(
        "The result of `{}.{}` has {size} bytes, more than the {bytes_max} that an answer holds; {whole}. It \
         begins so:\n{head}",
        proxy.service, proxy.tool
    );
    let mut content = vec![json!({"type": "text", "text": note})];
    if let Ok(address) = &kept {
        content.push(json!({
            "type": "resource_link",
            "uri": address,
            "name": format!("the result of {}.{}", proxy.service, proxy.tool),
            "mimeType": "application/json",
            "size": size,
        }));
    }
    let mut result = json!({
        "content": content,
        "isError": called.shape.is_error(),
        "_meta": {"com.agent-mesh/truncated": {"truncated": true, "size": size}},
    });
    if let Ok(address) = &kept {
        result["_meta"]["com.agent-mesh/truncated"]["uri"] = json!(address);
    }
    let result = to_raw_value(&result)
        .map_err(|error| Error::internal("a notice is no JSON").caused_by(error))?;
    let shape = ResultShape::of(&result).unwrap_or_default();
    Ok(Called {
        result,
        shape,
        ..called
    })
}

/// Keeps the whole as an artifact of the caller's, and tells its address.
async fn keep<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    text: &str,
) -> Result<String, Error> {
    let artifacts = call.artifacts_besides().ok_or_else(|| {
        Error::new(
            ErrorKind::PermissionDenied,
            "that needs the permission artifacts.write",
        )
    })?;
    let key = format!(
        "{FOLDER}/{}/{}/{}.json",
        proxy.service,
        proxy.tool,
        call.request_id()
    );
    let key = ArtifactKey::parse("tool_name", key)?;
    let attributes = ObjectAttributes {
        content_type: "application/json".to_owned(),
        ..ObjectAttributes::default()
    };
    let body = Bytes::copy_from_slice(text.as_bytes());
    match artifacts
        .put(&key, body, &attributes, ObjectCondition::Always)
        .await?
    {
        PutOutcome::Done(_) => Ok(Address::new(Scope::User, key).to_string()),
        PutOutcome::ConditionFailed => Err(Error::internal("an unconditional write was refused")),
    }
}
