//! What there is to list, and the answers that are always the same, from catalog.json.

use std::collections::BTreeMap;

use agent_mesh::inbound::transport::http::Mirrored;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, InputRequest, InputRequests, Prompt, Resource, ResourceTemplate, Tool,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Everything of catalog.json.
#[derive(Deserialize)]
pub(crate) struct Catalog {
    pub(crate) tools: Vec<Value>,
    /// Results of tools that always return the same.
    answers: BTreeMap<String, Value>,
    /// What a client with a session is asked by tools that ask it, as schemas.
    questions: BTreeMap<String, Value>,
    /// Requests for input, by the name under which the client answers them.
    inputs: BTreeMap<String, InputRequest>,
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) templates: Vec<ResourceTemplate>,
    /// What the resources hold.
    contents: BTreeMap<String, Value>,
}

impl Catalog {
    /// Reads it.
    pub(crate) fn read() -> crate::Result<Self> {
        let mut catalog: Self = serde_json::from_str(include_str!("catalog.json"))?;
        for tool in &mut catalog.tools {
            if tool.get("inputSchema").is_none() {
                tool["inputSchema"] = json!({"type": "object", "properties": {}});
            }
        }
        Ok(catalog)
    }

    /// The tools, in the order of the file.
    pub(crate) fn tools(&self) -> Result<Vec<Tool>, ErrorData> {
        decode(Value::Array(self.tools.clone()))
    }

    /// The answer of a tool that always gives the same one.
    pub(crate) fn answer(&self, tool: &str) -> Option<Result<CallToolResult, ErrorData>> {
        self.answers.get(tool).cloned().map(complete)
    }

    /// What `tool` asks a client with a session.
    pub(crate) fn question(&self, tool: &str) -> Value {
        self.questions.get(tool).cloned().unwrap_or_default()
    }

    /// The requests for input that have these names.
    pub(crate) fn inputs(&self, names: &[&str]) -> InputRequests {
        let named = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.inputs.get(*name)?.clone())));
        named.collect()
    }

    /// What the resource at `uri` holds.
    pub(crate) fn contents(&self, uri: &str) -> Option<Value> {
        let mut contents = match self.contents.get(uri) {
            Some(contents) => contents.clone(),
            None => template_contents(uri)?,
        };
        contents["uri"] = uri.into();
        Some(contents)
    }

    /// The headers that repeat arguments of `tool`, each with the way to its argument.
    pub(crate) fn mirrored(&self, tool: &str) -> Vec<Mirrored> {
        let is_meant = |listed: &&Value| listed["name"] == tool;
        let listed = self.tools.iter().find(is_meant);
        let properties = listed.and_then(|listed| listed["inputSchema"]["properties"].as_object());
        let properties = properties.into_iter().flatten();
        let mirrored = properties.filter_map(|(name, schema)| {
            let header = schema["x-mcp-header"].as_str()?;
            Some(Mirrored {
                header: header.to_owned(),
                path: vec![name.clone()],
            })
        });
        mirrored.collect()
    }
}

/// `test://template/{id}/data`.
fn template_contents(uri: &str) -> Option<Value> {
    let id = uri
        .strip_prefix("test://template/")?
        .strip_suffix("/data")?;
    let text =
        json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")}).to_string();
    Some(json!({"mimeType": "application/json", "text": text}))
}

/// JSON as one of the protocol's types.
pub(crate) fn decode<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// JSON as a result that says that it is one; the revisions with sessions are not told so.
pub(crate) fn complete<T: DeserializeOwned>(mut value: Value) -> Result<T, ErrorData> {
    value["resultType"] = "complete".into();
    decode(value)
}

/// A result of one text.
pub(crate) fn text(text: &str) -> CallToolResult {
    CallToolResult::success(vec![rmcp::model::ContentBlock::text(text)])
}
