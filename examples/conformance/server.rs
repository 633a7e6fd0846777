//! The handler: what the suite lists, reads, calls and watches.

#![expect(
    deprecated,
    reason = "the revisions with sessions have logging, and clients of them use it"
)]

use std::borrow::Cow;
use std::sync::Arc;

use agent_mesh::inbound::session::Gatekeeper;
use agent_mesh::inbound::transport::RawArguments;
use agent_mesh::inbound::transport::http::Mirrored;
use agent_mesh::mesh::Clock;
use rmcp::model::*;
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::catalog::{Catalog, complete};
use crate::input::{Inputs, Round};
use crate::task::Tasks;

/// How often the lists have changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) tools: u64,
    pub(crate) prompts: u64,
}

/// What a stream has yet to hear of.
#[derive(Clone)]
struct Unheard(watch::Receiver<Changes>);

/// Everything that the suite asks for. What is remembered is shared by all that ask.
#[derive(Clone)]
pub(crate) struct Fixtures {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) inputs: Arc<Inputs>,
    pub(crate) tasks: Tasks,
    pub(crate) changes: Arc<watch::Sender<Changes>>,
}

impl Fixtures {
    /// Fixtures whose tasks have their times by `clock`.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> crate::Result<Self> {
        let catalog = Arc::new(Catalog::read()?);
        Ok(Self {
            inputs: Arc::new(Inputs::new(Arc::clone(&catalog))?),
            tasks: Tasks::new(clock),
            changes: Arc::new(watch::channel(Changes::default()).0),
            catalog,
        })
    }

    /// The headers that repeat arguments of `tool`.
    pub(crate) fn mirrored(&self, tool: &str) -> Vec<Mirrored> {
        self.catalog.mirrored(tool)
    }

    fn prompt(&self, name: &str, arguments: &Value) -> Result<GetPromptResponse, ErrorData> {
        let argument = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
        let user = |content: Value| json!({"role": "user", "content": content});
        let text = |text: &str| user(json!({"type": "text", "text": text}));
        let messages = match name {
            "test_simple_prompt" => json!([text("This is a simple prompt for testing.")]),
            "test_prompt_with_arguments" => json!([text(&format!(
                "Prompt with arguments: arg1='{}', arg2='{}'",
                argument("arg1"),
                argument("arg2")
            ))]),
            "test_prompt_with_embedded_resource" => json!([
                user(
                    json!({"type": "resource", "resource": {"uri": argument("resourceUri"),
                    "mimeType": "text/plain", "text": "Embedded resource content for testing."}})
                ),
                text("Please process the embedded resource above."),
            ]),
            "test_prompt_with_image" => {
                let image = self
                    .catalog
                    .contents("test://static-binary")
                    .unwrap_or_default();
                json!([
                    user(json!({"type": "image", "data": image["blob"], "mimeType": "image/png"})),
                    text("Please analyze the image above."),
                ])
            }
            _ => return Err(ErrorData::invalid_params("there is no such prompt", None)),
        };
        complete::<GetPromptResult>(json!({"messages": messages})).map(GetPromptResponse::from)
    }
}

impl Gatekeeper for Fixtures {
    async fn before_listening(
        &self,
        _: &SubscriptionFilter,
        context: &mut RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        // What changes right after the acknowledgment is told too.
        let unheard = Unheard(self.changes.subscribe());
        context.extensions.insert(unheard);
        Ok(())
    }
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_logging()
            .enable_completions()
            .enable_tasks();
        let mut info = ServerConfig::new(capabilities.build());
        info.server_info = Implementation::new("agent-mesh-conformance", env!("CARGO_PKG_VERSION"));
        info
    }

    /// The handshake of the older revisions, which know nothing of extensions.
    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        result.capabilities.extensions = None;
        Ok(result)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.catalog.tools()?))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        // The transport leaves arguments as the text that came.
        let given = context.extensions.get::<RawArguments>();
        let arguments = match given {
            Some(given) => serde_json::from_str(given.get()).unwrap_or_default(),
            None => Value::Object(params.arguments.unwrap_or_default()),
        };
        let round = Round {
            responses: params.input_responses.unwrap_or_default(),
            state: params.request_state,
        };
        self.call(&params.name, &arguments, round, &context).await
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(
            self.catalog.prompts.clone(),
        ))
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let round = Round {
            responses: params.input_responses.unwrap_or_default(),
            state: params.request_state,
        };
        if params.name == "test_input_required_result_prompt" {
            return self.inputs.prompt(&round);
        }
        let arguments = Value::Object(params.arguments.unwrap_or_default());
        self.prompt(&params.name, &arguments)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(
            self.catalog.resources.clone(),
        ))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(
            self.catalog.templates.clone(),
        ))
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let Some(contents) = self.catalog.contents(&params.uri) else {
            let data = json!({"uri": params.uri});
            return Err(ErrorData::resource_not_found(
                "Resource not found",
                Some(data),
            ));
        };
        complete::<ReadResourceResult>(json!({"contents": [contents]}))
            .map(ReadResourceResponse::from)
    }

    async fn complete(
        &self,
        params: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let known = ["paris", "park", "party"].into_iter();
        let fitting = known.filter(|known| known.starts_with(&params.argument.value));
        let values = fitting.map(str::to_owned).collect();
        let completion = CompletionInfo::new(values)
            .map_err(|reason| ErrorData::internal_error(reason, None))?;
        Ok(CompleteResult::new(completion))
    }

    /// Every level is taken: what is logged is logged at `info`.
    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        match is_stateless(&context) {
            true => Err(ErrorData::method_not_found::<SetLevelRequestMethod>()),
            false => Ok(()),
        }
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let unheard = context.request_context().extensions.get::<Unheard>();
        let Some(Unheard(mut changes)) = unheard.cloned() else {
            return Err(ErrorData::internal_error("nothing to listen to", None));
        };
        let mut heard = *changes.borrow();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = changes.changed() => if changed.is_err() {
                    return Ok(());
                },
            }
            let now = *changes.borrow_and_update();
            let (sink, accepted) = (context.sink(), context.accepted());
            if now.tools != heard.tools && accepted.tools_list_changed == Some(true) {
                let _ = sink.notify_tool_list_changed().await;
            }
            if now.prompts != heard.prompts && accepted.prompts_list_changed == Some(true) {
                let _ = sink.notify_prompt_list_changed().await;
            }
            heard = now;
        }
    }

    async fn get_task(
        &self,
        params: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks.get(&params.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        params: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.answer(&params.task_id, params.input_responses)
    }

    async fn cancel_task(
        &self,
        params: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel(&params.task_id)
    }
}

/// Whether the request is made in a revision without sessions.
pub(crate) fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}
