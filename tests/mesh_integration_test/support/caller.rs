//! Somebody who calls tools over a session: the process's own user, or whoever a token names.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use tokio::sync::oneshot;

use super::answer::{Answer, Failure, Fault};
use super::client::{Client, Response};

/// The member of `_meta` that carries a token.
pub(crate) const IDENTITY: &str = "com.agent-mesh/identity";

/// What the tools say their results are, by name.
pub(crate) type Schemas = Arc<HashMap<String, Value>>;

/// A caller. Clones are the same one over the same session.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) client: Arc<Client>,
    /// What stands in `_meta` of every request.
    meta: Map<String, Value>,
    schemas: Schemas,
}

impl Caller {
    pub(crate) fn new(client: Arc<Client>, schemas: Schemas) -> Self {
        Self {
            client,
            meta: Map::new(),
            schemas,
        }
    }

    /// The same, with `value` under `name` in `_meta` of every request.
    pub(crate) fn with_meta(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.meta.insert(name.to_owned(), value.into());
        self
    }

    /// The same in the revision of 2026-07-28, in which every request says what a handshake would have.
    pub(crate) fn stateless(self) -> Self {
        self.with_meta("io.modelcontextprotocol/protocolVersion", "2026-07-28")
            .with_meta("io.modelcontextprotocol/clientCapabilities", json!({}))
            .with_meta(
                "io.modelcontextprotocol/clientInfo",
                json!({"name": "test", "version": "1"}),
            )
    }

    /// Parameters with this caller's `_meta`.
    pub(crate) fn params(&self, mut params: Value) -> String {
        if !self.meta.is_empty() {
            params["_meta"] = Value::Object(self.meta.clone());
        }
        params.to_string()
    }

    /// Any request.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Response {
        self.client.request(method, &self.params(params)).await
    }

    /// Any request that works.
    pub(crate) async fn get(&self, method: &str, params: Value) -> Value {
        let result = self.request(method, params).await;
        let result = result.unwrap_or_else(|fault| panic!("{method}: {fault:?}"));
        serde_json::from_str(&result).expect("JSON")
    }

    /// The parameters of a call whose arguments are JSON text.
    pub(crate) fn call_params(&self, tool: &str, arguments: &str) -> String {
        let meta = match self.meta.is_empty() {
            true => String::new(),
            false => format!(",\"_meta\":{}", Value::Object(self.meta.clone())),
        };
        format!(
            "{{\"name\":{},\"arguments\":{arguments}{meta}}}",
            json!(tool)
        )
    }

    /// Calls a tool with arguments as JSON text.
    pub(crate) async fn call_text(&self, tool: &str, arguments: &str) -> Result<Answer, Fault> {
        let result = self
            .client
            .request("tools/call", &self.call_params(tool, arguments))
            .await?;
        Ok(self.read(tool, &result))
    }

    /// Reads the result of a call of `tool` and holds it to the contract.
    pub(crate) fn read(&self, tool: &str, result: &str) -> Answer {
        Answer::read(tool, result, self.schemas.get(tool))
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<Answer, Fault> {
        self.call_text(tool, &arguments.to_string()).await
    }

    /// Calls a tool and does not wait for its answer; answers the id of the request, too.
    pub(crate) async fn begin(
        &self,
        tool: &str,
        arguments: Value,
    ) -> (u64, oneshot::Receiver<Response>) {
        let id = self.client.new_id();
        let params = self.call_params(tool, &arguments.to_string());
        (id, self.client.begin(id, "tools/call", &params).await)
    }

    /// Calls a tool that works.
    pub(crate) async fn ok(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        let answer = answer.unwrap_or_else(|fault| panic!("{tool}: {fault:?}"));
        assert!(!answer.is_error, "{tool}: {}", answer.text);
        answer.value()
    }

    /// Calls a tool that fails.
    pub(crate) async fn fail(&self, tool: &str, arguments: Value) -> Failure {
        let answer = self.call(tool, arguments).await;
        let answer = answer.unwrap_or_else(|fault| panic!("{tool}: {fault:?}"));
        assert!(answer.is_error, "{tool}: {}", answer.text);
        Failure::of(answer.value())
    }

    /// Calls a tool and gets an error of the protocol.
    pub(crate) async fn fault(&self, tool: &str, arguments: Value) -> Fault {
        match self.call(tool, arguments).await {
            Err(fault) => fault,
            Ok(answer) => panic!("{tool}: {}", answer.text),
        }
    }

    /// Every item of a listing, page by page, and the number of pages.
    pub(crate) async fn list_all(&self, tool: &str, arguments: Value) -> (Vec<Value>, usize) {
        let (mut items, mut pages) = (Vec::new(), 0);
        let mut arguments = arguments;
        loop {
            let page = self.ok(tool, arguments.clone()).await;
            items.extend(page["items"].as_array().expect("items").iter().cloned());
            pages += 1;
            match page.get("next_cursor") {
                Some(cursor) => arguments["cursor"] = cursor.clone(),
                None => return (items, pages),
            }
        }
    }

    /// The tools that this caller is shown.
    pub(crate) async fn tools(&self) -> Vec<Value> {
        let list = self.get("tools/list", json!({})).await;
        list["tools"].as_array().expect("a list").clone()
    }

    /// The names of those tools.
    pub(crate) async fn tool_names(&self) -> Vec<String> {
        let tools = self.tools().await;
        tools
            .iter()
            .map(|tool| tool["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}
