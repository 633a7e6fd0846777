//! MCP methods to calls and back: one server for each session, over what all sessions share.

mod attended;
mod direct;
mod input;
mod resource;
mod shared;
mod subscription;
mod task;
mod tool_list;

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::*;
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, Peer, RoleServer, ServerHandler};

use super::error::{about_resource, cursor_error, identity_error};
use super::prompt;
use super::session::Gatekeeper;
use super::sign_in::ScopeSlot;
use super::tool::catalog::Catalog;
use super::tool::{CallFault, Called, Reply};
use super::transport::{RawArguments, ReplySlot};
use crate::mesh::call::Backplane;
use crate::mesh::call::operation::Operation;
use crate::mesh::call::request::Request;
use crate::mesh::call::tool::Toolset;
use crate::mesh::tenant::{IdentityError, TenantContext};

pub(in crate::inbound) use shared::{MethodFault, RequestHead};
pub use subscription::Streams;
use subscription::Subscriptions;
use tool_list::ShownTools;

/// The server's name in the protocol.
pub const SERVER_NAME: &str = "agent-mesh";

/// How long a client may keep lists that rest on permissions: milliseconds.
const LIST_FRESH_MS: u64 = 60_000;

/// What all sessions share.
pub struct Shared {
    /// The path of a call.
    pub backplane: Arc<Backplane>,
    /// The tools that are offered.
    pub catalog: Catalog,
    /// The streams that are open.
    pub streams: Streams,
}

/// One session's server.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    subscriptions: Arc<Subscriptions>,
    shown_tools: Arc<ShownTools>,
    unasked: Unasked,
}

/// What a client is told that is no answer to a request that is under way.
#[derive(Clone, Debug)]
pub enum Unasked {
    /// Whatever concerns it: one caller is at the other end for as long as the session lasts.
    Told,
    /// Nothing: each request is another caller's.
    Untold,
    /// What concerns it, on this stream of its own where it has opened one; its requests come one by one.
    Streamed(Option<Peer<RoleServer>>),
}

impl Server {
    /// A server for a new session, whose client is told `unasked`.
    pub fn new(shared: Arc<Shared>, unasked: Unasked) -> Self {
        Self {
            shared,
            unasked,
            subscriptions: Arc::default(),
            shown_tools: Arc::default(),
        }
    }

    /// Where a client is told what it has not asked for; nothing where it is not.
    fn listener(&self, context: &RequestContext<RoleServer>) -> Option<Peer<RoleServer>> {
        match &self.unasked {
            Unasked::Told => Some(context.peer.clone()),
            Unasked::Untold => None,
            Unasked::Streamed(stream) => stream.clone(),
        }
    }

    /// Whether this client is told nothing that it has not asked for.
    fn is_untold(&self) -> bool {
        matches!(self.unasked, Unasked::Untold)
    }

    fn request(&self, context: &RequestContext<RoleServer>, arguments: Option<&str>) -> Request {
        RequestHead::of(context).into_request(arguments)
    }

    async fn run<O: Operation>(
        &self,
        context: &RequestContext<RoleServer>,
        operation: O,
    ) -> Result<(O::Answer, ulid::Ulid), ErrorData> {
        let answer = self.shared.run(&RequestHead::of(context), operation).await;
        answer.map_err(|fault| fault.told(context))
    }

    /// Whose request it is.
    async fn caller(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<TenantContext, IdentityError> {
        self.shared.caller(&RequestHead::of(context)).await
    }

    /// Refuses a request without a tenant: for what is no call and is yet not told to anybody.
    async fn require_caller(&self, context: &RequestContext<RoleServer>) -> Result<(), ErrorData> {
        let caller = self.caller(context).await;
        caller.map(|_| ()).map_err(identity_error)
    }

    /// Whether there is anything that a stream could tell of.
    fn has_streams(&self) -> bool {
        self.shared.has_resources() || self.has_changing_tools()
    }

    /// Whether anything here can be watched.
    fn has_changing_resources(&self) -> bool {
        self.shared.catalog.has(Toolset::Artifacts) || self.shared.catalog.has(Toolset::Events)
    }

    fn capabilities(&self) -> ServerCapabilities {
        let mut capabilities = ServerCapabilities::default();
        let mut tools = ToolsCapability::default();
        tools.list_changed = self.has_changing_tools().then_some(true);
        capabilities.tools = Some(tools);
        if self.has_tasks() {
            let mut extensions = ExtensionCapabilities::new();
            extensions.insert(TASKS_EXTENSION_ID.to_owned(), JsonObject::new());
            capabilities.extensions = Some(extensions);
        }
        if !prompt::list(&self.shared.catalog).is_empty() {
            capabilities.prompts = Some(PromptsCapability::default());
        }
        if self.shared.has_resources() {
            capabilities.completions = Some(JsonObject::new());
            let mut resources = ResourcesCapability::default();
            resources.subscribe = Some(self.has_changing_resources());
            resources.list_changed = Some(self.shared.catalog.has(Toolset::Artifacts));
            capabilities.resources = Some(resources);
        }
        capabilities
    }
}

impl Gatekeeper for Server {
    async fn before_listening(
        &self,
        requested: &SubscriptionFilter,
        context: &mut RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        // The library refuses what there is not, in a revision that does not have it or without resources.
        match is_stateless(context) && self.has_streams() {
            true => self.prepare_stream(requested, context).await,
            false => Ok(()),
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut implementation = Implementation::new(SERVER_NAME, env!("CARGO_PKG_VERSION"));
        implementation.title = Some("Agent Mesh".to_owned());
        let mut info = ServerConfig::new(self.capabilities());
        info.server_info = implementation;
        info.instructions = Some(self.shared.catalog.instructions());
        info
    }

    async fn call_tool(
        &self,
        mut params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let continued = input::continued(&mut params);
        let name = params.name.as_ref();
        let head = RequestHead::of(&context);
        let Some(called) = self.shared.called(name, &head).await else {
            self.require_caller(&context).await?;
            return Err(unknown_tool(name));
        };
        let given = context.extensions.get::<RawArguments>().cloned();
        let given = match (given, params.arguments) {
            (Some(given), _) => Some(given),
            (None, Some(members)) => Some(RawArguments::new(
                serde_json::Value::Object(members).to_string(),
            )),
            (None, None) => None,
        };
        let arguments = given.as_ref().map(RawArguments::get);
        // What is for another server names nobody to us.
        let own = arguments.filter(|_| matches!(called, Called::Own(_)));
        let mut request = head.into_request(own);
        request.continued = continued;
        let request_id = request.id;
        let reply = match self
            .call_attended(&called, request, arguments, &context)
            .await
        {
            Ok(reply) => reply,
            Err(CallFault::Cursor(error)) => {
                self.require_caller(&context).await?;
                return Err(cursor_error(error));
            }
            Err(CallFault::Identity(error)) => match error.tool_error() {
                // A model can repair what it put among the arguments, so it is told as a tool's error.
                Some(error) => Reply::failed(&error, request_id),
                None => return Err(identity_error(error)),
            },
        };
        ScopeSlot::note(&context.extensions, reply.missing_scope());
        if let Some(task) = self.started_task(called.tool(), &reply, &context) {
            return Ok(CallToolResponse::Task(task));
        }
        let json = reply.to_json(is_stateless(&context));
        answer_exactly::<CallToolResult>(&context, json).map(CallToolResponse::from)
    }

    /// The handshake of the older revisions, in which there are no tasks, and nothing is told but of what a
    /// session watches; where requests bring tokens nothing unsolicited is sent at all.
    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        result.capabilities.extensions = None;
        if let Some(tools) = &mut result.capabilities.tools {
            tools.list_changed = tools.list_changed.filter(|_| !self.is_untold());
        }
        if let Some(resources) = &mut result.capabilities.resources {
            resources.list_changed = None;
            resources.subscribe = resources.subscribe.filter(|_| !self.is_untold());
        }
        Ok(result)
    }

    async fn get_task(
        &self,
        params: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.task(&params.task_id, &context).await
    }

    async fn update_task(
        &self,
        _: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.refuse_input(&context).await
    }

    async fn cancel_task(
        &self,
        params: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.stop_task(&params.task_id, &context).await
    }

    async fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if params.is_some_and(|params| params.cursor.is_some()) {
            return Err(cursor_error(crate::mesh::service::cursor::InvalidCursor));
        }
        let tools = self.listed_tools(&context).await?;
        let freshness = match is_stateless(&context) {
            true => {
                format!(
                    ",\"resultType\":\"complete\",\"ttlMs\":{LIST_FRESH_MS},\"cacheScope\":\"private\""
                )
            }
            false => String::new(),
        };
        answer_exactly(&context, format!("{{\"tools\":{tools}{freshness}}}"))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.require_caller(&context).await?;
        let mut result = ListPromptsResult::with_all_items(prompt::list(&self.shared.catalog));
        result.ttl_ms = Some(LIST_FRESH_MS);
        result.cache_scope = Some(CacheScope::Private);
        Ok(result)
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.require_caller(&context).await?;
        let arguments = params.arguments.unwrap_or_default();
        let arguments = arguments
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        prompt::get(&self.shared.catalog, &params.name, arguments)
            .map(GetPromptResponse::from)
            .map_err(|error| ErrorData::invalid_params(error.to_string(), None))
    }

    async fn list_resources(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.require_resources::<ListResourcesRequestMethod>()?;
        let cursor = params.and_then(|params| params.cursor);
        let head = RequestHead::of(&context);
        let page = self.shared.resource_page(cursor.as_deref(), &head).await;
        page.map_err(|fault| fault.told(&context))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.require_resources::<ListResourceTemplatesRequestMethod>()?;
        self.require_caller(&context).await?;
        Ok(self.resource_templates())
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.require_resources::<ReadResourceRequestMethod>()?;
        let head = RequestHead::of(&context);
        let found = self.shared.resource(params.uri.clone(), &head).await;
        found
            .map(ReadResourceResponse::from)
            .map_err(|fault| about_resource(fault.told(&context), params.uri))
    }

    async fn complete(
        &self,
        params: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        self.require_resources::<CompleteRequestMethod>()?;
        self.completion(params, &context).await
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.has_streams()
            .then(|| self.acceptable_filter(requested))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.listen_to_changes(context).await
    }

    async fn subscribe(
        &self,
        params: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.require_resources::<SubscribeRequestMethod>()?;
        self.subscribe_to_resource(&params.uri, context).await
    }

    async fn unsubscribe(
        &self,
        params: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.require_caller(&context).await?;
        self.subscriptions.remove(&params.uri);
        Ok(())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS)
    }

    async fn discover(&self, _: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        let mut result = DiscoverResult::from_server_info(versions, self.get_info());
        result.cache_scope = CacheScope::Private;
        Ok(result)
    }
}

impl Server {
    fn require_resources<M: ConstString>(&self) -> Result<(), ErrorData> {
        match self.shared.has_resources() {
            true => Ok(()),
            false => Err(ErrorData::method_not_found::<M>()),
        }
    }
}

/// Leaves the exact text of the result with the transport and returns a result that is not looked at; over
/// a transport that takes no text, the result that the text says.
fn answer_exactly<T>(context: &RequestContext<RoleServer>, json: String) -> Result<T, ErrorData>
where
    T: serde::de::DeserializeOwned + Default,
{
    match ReplySlot::of(&context.extensions) {
        Some(slot) => {
            slot.fill(json);
            Ok(T::default())
        }
        None => serde_json::from_str(&json).map_err(|error| {
            tracing::error!(%error, "an answer does not fit the protocol's types");
            ErrorData::internal_error("an internal error", None)
        }),
    }
}

/// Whether the request is made in a revision without sessions, whose results say more of themselves.
fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

fn invalid(message: &str) -> ErrorData {
    ErrorData::invalid_params(message.to_owned(), None)
}

fn unknown_tool(name: &str) -> ErrorData {
    ErrorData::invalid_params(no_such_tool(name), None)
}

/// What whoever calls a tool is told that there is not.
pub(in crate::inbound) fn no_such_tool(name: &str) -> String {
    let shown: String = name.chars().take(128).collect();
    format!("there is no tool `{shown}` here; tools/list names those that there are")
}
