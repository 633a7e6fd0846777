//! The client of the demonstration: an ordinary one, whose every request says by a token who is calling.

use std::fmt;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, ClientConfig, ClientRequest, ErrorData, Implementation, JsonObject,
    ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, Request, RequestMetaObject,
    RequestOptionalParam, ResourceContents, ServerPeerInfo, ServerResult,
};
use rmcp::service::{RunningService, ServiceError};
use rmcp::{RoleClient, serve_client};
use serde_json::Value;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::people::Person;
use super::token::Signer;
use crate::inbound::transport::PresentedIdentity;
use crate::mesh::{Clock, SystemClock};

/// How long a handshake or a call may take.
const CALL_TIME_MAX: Duration = Duration::from_secs(15);

/// A client that is connected.
pub(super) struct Client {
    service: RunningService<RoleClient, ClientConfig>,
    signer: Signer,
    clock: SystemClock,
}

/// What a call came to.
#[derive(Debug)]
pub(super) enum Reply {
    /// The tool's result.
    Done(Value),
    /// The tool's error: code, message, fix.
    Failed(Value),
    /// An error of the protocol: no tool ran.
    Fault(ErrorData),
}

impl Client {
    /// Shakes hands with the server at the other end of the pipes.
    pub(super) async fn connect(
        stdout: ChildStdout,
        stdin: ChildStdin,
        signer: Signer,
    ) -> Result<Self, String> {
        let mut config = ClientConfig::default();
        config.client_info = Implementation::new("use_aws_mcp demo", env!("CARGO_PKG_VERSION"));
        let service = timeout(CALL_TIME_MAX, serve_client(config, (stdout, stdin))).await;
        let service = service
            .map_err(|_| late("the handshake"))?
            .map_err(|error| format!("no handshake: {error}"))?;
        Ok(Self {
            service,
            signer,
            clock: SystemClock::new(),
        })
    }

    /// What the server said of itself.
    pub(super) fn server(&self) -> Result<std::sync::Arc<ServerPeerInfo>, String> {
        let server = self.service.peer().peer_info();
        server.ok_or_else(|| "the server has said nothing of itself".to_owned())
    }

    /// The tools that are offered.
    pub(super) async fn tools(&self, who: &Person) -> Result<ListToolsResult, String> {
        let mut params = PaginatedRequestParams::default();
        params.meta = Some(meta(self.token(who)));
        let request = RequestOptionalParam::with_param(params);
        match self.send(ClientRequest::ListToolsRequest(request)).await? {
            Ok(ServerResult::ListToolsResult(result)) => Ok(result),
            other => Err(format!("a list of tools was due, and this came: {other:?}")),
        }
    }

    /// Calls a tool as `who`.
    pub(super) async fn call(
        &self,
        who: &Person,
        tool: &'static str,
        arguments: Value,
    ) -> Result<Reply, String> {
        self.call_with(Some(self.token(who)), tool, arguments).await
    }

    /// Calls a tool with any token, or with none.
    pub(super) async fn call_with(
        &self,
        token: Option<String>,
        tool: &'static str,
        arguments: Value,
    ) -> Result<Reply, String> {
        let mut params = CallToolRequestParams::new(tool);
        params.arguments = arguments.as_object().cloned();
        params.meta = token.map(meta);
        let result = match self
            .send(ClientRequest::CallToolRequest(Request::new(params)))
            .await?
        {
            Ok(ServerResult::CallToolResult(result)) => result,
            Ok(other) => return Err(format!("not the result of a tool: {other:?}")),
            Err(fault) => return Ok(Reply::Fault(fault)),
        };
        let is_error = result.is_error == Some(true);
        let mut value = result
            .structured_content
            .ok_or("the result has no structured content")?;
        Ok(if is_error {
            Reply::Failed(value["error"].take())
        } else {
            Reply::Done(value)
        })
    }

    /// Reads a resource as `who`: its text.
    pub(super) async fn read(&self, who: &Person, uri: &str) -> Result<Reply, String> {
        let mut params = ReadResourceRequestParams::new(uri);
        params.meta = Some(meta(self.token(who)));
        let request = ClientRequest::ReadResourceRequest(Request::new(params));
        let result = match self.send(request).await? {
            Ok(ServerResult::ReadResourceResult(result)) => result,
            Ok(other) => return Err(format!("not a resource: {other:?}")),
            Err(fault) => return Ok(Reply::Fault(fault)),
        };
        match result.contents.into_iter().next() {
            Some(ResourceContents::TextResourceContents { text, .. }) => {
                Ok(Reply::Done(Value::String(text)))
            }
            other => Err(format!("not a text: {other:?}")),
        }
    }

    /// A token for `who`, signed for this request.
    fn token(&self, who: &Person) -> String {
        self.token_by(&self.signer, who)
    }

    /// A token that says to be `who`'s, signed by anybody.
    pub(super) fn token_by(&self, signer: &Signer, who: &Person) -> String {
        signer.token(who, self.clock.now())
    }

    /// Closes the connection, and with it the server's input.
    pub(super) async fn close(&mut self) {
        // How the loop ended says nothing that the server's own end does not.
        let _ = self.service.close().await;
    }

    /// Sends a request past the library's cache of answers, which does not tell one caller from another.
    async fn send(
        &self,
        request: ClientRequest,
    ) -> Result<Result<ServerResult, ErrorData>, String> {
        match timeout(CALL_TIME_MAX, self.service.send_request(request)).await {
            Ok(Ok(result)) => Ok(Ok(result)),
            Ok(Err(ServiceError::McpError(fault))) => Ok(Err(fault)),
            Ok(Err(error)) => Err(format!("the connection broke: {error}")),
            Err(_) => Err(late("the call")),
        }
    }
}

impl Reply {
    /// The result of a call that should have been done.
    pub(super) fn done(self) -> Result<Value, String> {
        match self {
            Self::Done(value) => Ok(value),
            other => Err(format!("a result was due, and this came: {other}")),
        }
    }

    /// The error of a tool that should have failed with `code`.
    pub(super) fn failed(self, code: &str) -> Result<Value, String> {
        match self {
            Self::Failed(error) if error["code"] == code => Ok(error),
            other => Err(format!("the error {code} was due, and this came: {other}")),
        }
    }

    /// The message of a fault of the protocol that should have had `code`.
    pub(super) fn fault(self, code: i32) -> Result<String, String> {
        match self {
            Self::Fault(fault) if fault.code.0 == code => Ok(fault.message.into_owned()),
            other => Err(format!("the fault {code} was due, and this came: {other}")),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(value) => write!(formatter, "the result {value}"),
            Self::Failed(error) => write!(formatter, "the error {error}"),
            Self::Fault(fault) => {
                write!(formatter, "the fault {}: {}", fault.code.0, fault.message)
            }
        }
    }
}

fn meta(token: String) -> RequestMetaObject {
    let mut meta = JsonObject::new();
    meta.insert(PresentedIdentity::META_KEY.to_owned(), Value::String(token));
    RequestMetaObject::from(meta)
}

fn late(what: &str) -> String {
    format!(
        "{what} was not answered within {} s",
        CALL_TIME_MAX.as_secs()
    )
}
