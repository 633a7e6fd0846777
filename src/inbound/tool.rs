//! The table of tools: what a client sees of each, and how its arguments become a typed call.

pub mod argument;
pub mod artifacts;
pub mod catalog;
pub mod description;
pub mod document;
pub mod events;
pub mod idempotency;
pub mod integrations;
pub mod kv;
pub mod proxy;
pub mod workflows;

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use argument::Arguments;
use description::Description;

use crate::mesh::call::operation::{Operation, ResourceLink};
use crate::mesh::call::request::Request;
use crate::mesh::call::tool::Tool;
use crate::mesh::call::{Answer, Backplane};
use crate::mesh::integration::ServiceId;
use crate::mesh::service::cursor::{self, InvalidCursor};
use crate::mesh::service::proxy::{McpProxy, McpProxyAnswer};
use crate::mesh::tenant::{IdentityError, Permission};
use crate::mesh::{Error, ErrorKind};

use super::error::tool_error;
use super::sign_in::missing_scope;

/// Why a call of a tool is a fault of the protocol, and no tool ran.
#[derive(Debug, thiserror::Error)]
pub enum CallFault {
    /// It has no tenant.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its cursor does not fit.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
}

/// What a client means by the name of a tool.
#[derive(Clone, Debug)]
pub enum Called {
    /// One of our own.
    Own(Tool),
    /// One of an integrated server.
    Direct(DirectName),
}

/// A tool of an integrated server by the name under which it is listed beside our own.
#[derive(Clone, Debug)]
pub struct DirectName {
    /// The integration.
    pub service: ServiceId,
    /// The tool, by the server's own name.
    pub tool: String,
    /// Whether it may be called only if it changes nothing.
    pub only_reads: bool,
}

impl Called {
    /// The tool of ours that does the work.
    pub const fn tool(&self) -> Tool {
        match self {
            Self::Own(tool) => *tool,
            Self::Direct(_) => Tool::McpProxy,
        }
    }
}

/// What a tool answers, ready for the wire.
#[derive(Debug)]
pub struct Reply {
    /// The result R: the text of one JSON object; empty where another server's takes its place.
    pub result: String,
    /// Whether the tool failed.
    pub is_error: bool,
    /// Resources that hold what the result does not.
    pub links: Vec<ResourceLink>,
    /// Why the call failed, where that was not in an integrated server.
    pub failure: Option<Failure>,
    /// The result of an integrated server, which takes the place of ours.
    upstream: Option<Box<McpProxyAnswer>>,
}

/// Why a call failed, for transports that say more of it than the result does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind, whose code the result has.
    pub kind: ErrorKind,
    /// How long to wait before the same call can succeed.
    pub wait: Option<Duration>,
    /// What the scope of the caller's token leaves out, where the call failed for that alone.
    pub missing_scope: Option<Permission>,
}

/// What a client sees of `tool`; nothing for a method that is no tool.
pub fn describe(tool: Tool) -> Option<Description> {
    Some(match tool {
        Tool::KvGet => kv::describe_get(),
        Tool::KvSet => kv::describe_set(),
        Tool::KvDelete => kv::describe_delete(),
        Tool::KvList => kv::describe_list(),
        Tool::ArtifactsGet => artifacts::describe_get(),
        Tool::ArtifactsPut => artifacts::describe_put(),
        Tool::ArtifactsDelete => artifacts::describe_delete(),
        Tool::ArtifactsList => artifacts::describe_list(),
        Tool::EventsSend => events::describe_send(),
        Tool::EventsQuery => events::query::describe(),
        Tool::EventsAnalytics => events::analytics::describe(),
        Tool::EventsHealthCheck => events::describe_health_check(),
        Tool::EventsCreateRule => events::rules::describe_create(),
        Tool::EventsListRules => events::rules::describe_list(),
        Tool::EventsDeleteRule => events::rules::describe_delete(),
        Tool::EventsCreateAlert => events::alerts::describe_create(),
        Tool::EventsDeleteAlert => events::alerts::describe_delete(),
        Tool::WorkflowList => workflows::describe_list(),
        Tool::WorkflowStart => workflows::describe_start(),
        Tool::WorkflowStatus => workflows::describe_status(),
        Tool::WorkflowStop => workflows::describe_stop(),
        Tool::IntegrationApprove => integrations::describe_approve(),
        Tool::IntegrationConnect => integrations::describe_connect(),
        Tool::IntegrationDisconnect => integrations::describe_disconnect(),
        Tool::IntegrationList => integrations::describe_list(),
        Tool::IntegrationRegister => integrations::register::describe(),
        Tool::IntegrationTest => integrations::describe_test(),
        Tool::IntegrationUnregister => integrations::describe_unregister(),
        Tool::McpListTools => integrations::tools::describe(),
        Tool::McpProxy => proxy::describe(),
        Tool::Complete
        | Tool::ResourcesList
        | Tool::ResourcesRead
        | Tool::ValuesRead
        | Tool::EventRead
        | Tool::ResourcesSubscribe
        | Tool::AlertsRead
        | Tool::AlertsSubscribe => {
            return None;
        }
    })
}

/// Calls what a client has named.
///
/// # Errors
///
/// As [`call`].
pub async fn call_named(
    backplane: &Backplane,
    called: &Called,
    request: Request,
    arguments: Option<&str>,
) -> Result<Reply, CallFault> {
    match called {
        Called::Own(tool) => call(backplane, *tool, request, arguments).await,
        Called::Direct(name) => {
            let mut request = request;
            backplane.note_arguments(&mut request, || proxy::arguments_of(name, arguments));
            proxied(backplane, request, proxy::direct(name, arguments)).await
        }
    }
}

/// Calls `tool` with `arguments`, the text of a JSON object.
///
/// # Errors
///
/// A [`CallFault`] where no tool could run; everything else is in the reply.
pub async fn call(
    backplane: &Backplane,
    tool: Tool,
    mut request: Request,
    arguments: Option<&str>,
) -> Result<Reply, CallFault> {
    backplane.note_arguments(&mut request, || arguments.unwrap_or("{}"));
    match tool {
        Tool::KvGet => answered(backplane, request, kv::get(arguments)).await,
        Tool::KvSet => answered(backplane, request, kv::set(arguments)).await,
        Tool::KvDelete => answered(backplane, request, kv::delete(arguments)).await,
        Tool::KvList => listed(backplane, request, kv::list(arguments)).await,
        Tool::ArtifactsGet => answered(backplane, request, artifacts::get(arguments)).await,
        Tool::ArtifactsPut => answered(backplane, request, artifacts::put(arguments)).await,
        Tool::ArtifactsDelete => answered(backplane, request, artifacts::delete(arguments)).await,
        Tool::ArtifactsList => listed(backplane, request, artifacts::list(arguments)).await,
        Tool::EventsSend => answered(backplane, request, events::send(arguments)).await,
        Tool::EventsQuery => listed(backplane, request, events::query::parse(arguments)).await,
        Tool::EventsAnalytics => {
            answered(backplane, request, events::analytics::parse(arguments)).await
        }
        Tool::EventsHealthCheck => {
            answered(backplane, request, events::health_check(arguments)).await
        }
        Tool::EventsCreateRule
        | Tool::EventsListRules
        | Tool::EventsDeleteRule
        | Tool::EventsCreateAlert
        | Tool::EventsDeleteAlert => call_rules(backplane, tool, request, arguments).await,
        Tool::WorkflowList => listed(backplane, request, workflows::list(arguments)).await,
        Tool::WorkflowStart => answered(backplane, request, workflows::start(arguments)).await,
        Tool::WorkflowStatus => answered(backplane, request, workflows::status(arguments)).await,
        Tool::WorkflowStop => answered(backplane, request, workflows::stop(arguments)).await,
        Tool::McpProxy => proxied(backplane, request, proxy::parse(arguments)).await,
        Tool::IntegrationApprove
        | Tool::IntegrationConnect
        | Tool::IntegrationDisconnect
        | Tool::IntegrationList
        | Tool::IntegrationRegister
        | Tool::IntegrationTest
        | Tool::IntegrationUnregister
        | Tool::McpListTools => call_integrations(backplane, tool, request, arguments).await,
        Tool::Complete
        | Tool::ResourcesList
        | Tool::ResourcesRead
        | Tool::ValuesRead
        | Tool::EventRead
        | Tool::ResourcesSubscribe
        | Tool::AlertsRead
        | Tool::AlertsSubscribe => Ok(no_tool(&request)),
    }
}

/// Calls a listing. One whose cursor does not fit takes the path of a call all the same, so that it is
/// charged, recorded and refused like any other, and ends as a fault of the protocol.
async fn listed<O: Operation>(
    backplane: &Backplane,
    request: Request,
    parsed: Result<Result<O, Error>, CallFault>,
) -> Result<Reply, CallFault> {
    let fault = match parsed {
        Ok(operation) => return answered(backplane, request, operation).await,
        Err(CallFault::Cursor(fault)) => fault,
        Err(fault) => return Err(fault),
    };
    let refused = backplane.call::<O>(request, Err(wrong_cursor(fault)));
    let refused = refused.await?;
    match refused.result() {
        Err(error) if is_wrong_cursor(error) => Err(CallFault::Cursor(fault)),
        _ => Ok(Reply::of(&refused)),
    }
}

/// What is recorded of a call whose cursor does not fit.
pub(super) fn wrong_cursor(fault: InvalidCursor) -> Error {
    Error::invalid("cursor", fault.to_string())
}

/// Whether a call got so far that its cursor is what is wrong with it.
pub(super) fn is_wrong_cursor(error: &Error) -> bool {
    let parameter = error.details().get("parameter");
    error.kind() == ErrorKind::InvalidParameter
        && parameter.and_then(serde_json::Value::as_str) == Some("cursor")
}

/// The tools of rules and alerts.
async fn call_rules(
    backplane: &Backplane,
    tool: Tool,
    request: Request,
    arguments: Option<&str>,
) -> Result<Reply, CallFault> {
    use events::{alerts, rules};
    match tool {
        Tool::EventsCreateRule => answered(backplane, request, rules::create(arguments)).await,
        Tool::EventsListRules => listed(backplane, request, rules::list(arguments)).await,
        Tool::EventsDeleteRule => answered(backplane, request, rules::delete(arguments)).await,
        Tool::EventsCreateAlert => answered(backplane, request, alerts::create(arguments)).await,
        Tool::EventsDeleteAlert => answered(backplane, request, alerts::delete(arguments)).await,
        _ => Ok(no_tool(&request)),
    }
}

/// The tools that manage integrations.
async fn call_integrations(
    backplane: &Backplane,
    tool: Tool,
    request: Request,
    arguments: Option<&str>,
) -> Result<Reply, CallFault> {
    use integrations as parse;
    match tool {
        Tool::IntegrationApprove => answered(backplane, request, parse::approve(arguments)).await,
        Tool::IntegrationConnect => answered(backplane, request, parse::connect(arguments)).await,
        Tool::IntegrationDisconnect => {
            answered(backplane, request, parse::disconnect(arguments)).await
        }
        Tool::IntegrationList => listed(backplane, request, parse::list(arguments)).await,
        Tool::IntegrationRegister => {
            answered(backplane, request, parse::register::parse(arguments)).await
        }
        Tool::IntegrationTest => answered(backplane, request, parse::test(arguments)).await,
        Tool::IntegrationUnregister => {
            answered(backplane, request, parse::unregister(arguments)).await
        }
        Tool::McpListTools => listed(backplane, request, parse::tools::parse(arguments)).await,
        _ => Ok(no_tool(&request)),
    }
}

fn no_tool(request: &Request) -> Reply {
    let error = Error::internal("a method was called as a tool");
    Reply::failed(&error, request.id)
}

/// Calls a tool of an integrated server, whose result takes the place of one of ours.
async fn proxied(
    backplane: &Backplane,
    request: Request,
    operation: Result<McpProxy, Error>,
) -> Result<Reply, CallFault> {
    let answer = backplane.call(request, operation).await?;
    let request_id = answer.request_id();
    Ok(match answer.into_result() {
        Ok(answer) => Reply::passed_on(answer),
        Err(error) => Reply::failed(&error, request_id),
    })
}

async fn answered<O: Operation>(
    backplane: &Backplane,
    request: Request,
    operation: Result<O, Error>,
) -> Result<Reply, CallFault> {
    let answer = backplane.call(request, operation).await?;
    let links = answer.result().as_ref().map(O::links);
    Ok(Reply {
        links: links.unwrap_or_default(),
        ..Reply::of(&answer)
    })
}

impl Reply {
    fn of<T: Serialize>(answer: &Answer<T>) -> Self {
        match answer.result() {
            Ok(result) => match serde_json::to_string(result) {
                Ok(result) => Self::of_result(result, false),
                Err(error) => {
                    let error = Error::internal("an answer is no JSON").caused_by(error);
                    tracing::error!(request_id = %answer.request_id(), ?error, "a call failed");
                    Self::failed(&error, answer.request_id())
                }
            },
            Err(error) => Self::failed(error, answer.request_id()),
        }
    }

    /// The reply to a call that failed.
    pub fn failed(error: &Error, request_id: ulid::Ulid) -> Self {
        Self {
            failure: Some(Failure {
                kind: error.kind(),
                wait: error.wait(),
                missing_scope: missing_scope(error),
            }),
            ..Self::of_result(tool_error(error, request_id).to_string(), true)
        }
    }

    /// The reply whose result R is the text of this JSON object.
    pub fn of_result(result: String, is_error: bool) -> Self {
        Self {
            result,
            is_error,
            links: Vec::new(),
            failure: None,
            upstream: None,
        }
    }

    /// What the scope of the caller's token leaves out, where the call failed for that alone.
    pub fn missing_scope(&self) -> Option<Permission> {
        self.failure?.missing_scope
    }

    /// The result of an integrated server, as it is.
    fn passed_on(answer: McpProxyAnswer) -> Self {
        let is_error = answer.is_error();
        Self {
            upstream: Some(Box::new(answer)),
            ..Self::of_result(String::new(), is_error)
        }
    }

    /// What an integrated server says of a tool that failed there.
    pub fn upstream_error(&self) -> Option<Error> {
        let answer = self.upstream.as_ref().filter(|_| self.is_error)?;
        Some(Error::new(ErrorKind::UpstreamError, answer.text()))
    }

    /// The result R, or the whole result of an integrated server.
    pub fn shown(&self) -> Cow<'_, str> {
        match &self.upstream {
            Some(answer) => Cow::Owned(answer.to_result(false)),
            None => Cow::Borrowed(&self.result),
        }
    }

    /// The whole result of `tools/call` as JSON text. The result R stands in it twice, exact to the digit:
    /// as it is for clients that know structured content, and as text for those that do not.
    /// `complete` adds the member that the stateless revisions want.
    pub fn to_json(&self, complete: bool) -> String {
        if let Some(answer) = &self.upstream {
            return answer.to_result(complete);
        }
        let mut json = String::with_capacity(self.result.len() * 2 + self.result.len() / 4 + 160);
        json.push_str("{\"content\":[{\"type\":\"text\",\"text\":");
        push_string(&mut json, &self.result);
        json.push('}');
        for link in &self.links {
            json.push_str(",{\"type\":\"resource_link\",\"uri\":");
            push_string(&mut json, &link.uri);
            json.push_str(",\"name\":");
            push_string(&mut json, &link.name);
            json.push_str(",\"mimeType\":");
            push_string(&mut json, &link.content_type);
            json.push_str(",\"size\":");
            json.push_str(&link.size.to_string());
            json.push('}');
        }
        json.push_str("],\"structuredContent\":");
        json.push_str(&self.result);
        json.push_str(if self.is_error {
            ",\"isError\":true"
        } else {
            ",\"isError\":false"
        });
        if complete {
            json.push_str(",\"resultType\":\"complete\"");
        }
        json.push('}');
        json
    }
}

/// Appends `text` as a JSON string.
fn push_string(json: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(text) => json.push_str(&text),
        Err(_) => json.push_str("\"\""),
    }
}

/// The argument `prefix` of a listing.
fn prefix(arguments: &mut Arguments<'_>, bytes_max: usize) -> Result<String, Error> {
    let prefix: String = arguments.or("prefix", String::new())?;
    if prefix.len() > bytes_max || prefix.chars().any(char::is_control) {
        let what = format!("may have {bytes_max} bytes and no control characters");
        return Err(arguments.wrong("prefix", what));
    }
    Ok(prefix)
}

/// Replaces the cursor of a parsed listing by the position that it seals. `place` tells where the cursor
/// stands and what it must have been given for.
fn opened<C>(
    parsed: Result<C, Error>,
    place: impl for<'call> FnOnce(&'call mut C) -> (&'call mut Option<String>, Vec<String>),
) -> Result<Result<C, Error>, CallFault> {
    let Ok(mut call) = parsed else {
        return Ok(parsed);
    };
    let (position, filters) = place(&mut call);
    if let Some(cursor) = position.as_mut() {
        let filters: Vec<_> = filters.iter().map(String::as_str).collect();
        *cursor = cursor::open(cursor, &filters)?;
    }
    Ok(Ok(call))
}
