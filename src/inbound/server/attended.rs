//! Calls whose clients are attended to meanwhile: told of progress, and asked for what another server needs.

use rmcp::RoleServer;
use rmcp::model::ProgressNotificationParam;
use rmcp::service::RequestContext;
use tokio::sync::mpsc;

use super::Server;
use crate::inbound::tool::{self, CallFault, Called, Reply};
use crate::mesh::call::request::{Progress, Request};
use crate::mesh::call::tool::Tool;

/// How many reports of progress may wait to be sent.
const PROGRESS_QUEUE: usize = 8;

impl Server {
    /// Runs a tool while its progress is sent to the client, and the client is asked what the tool needs.
    pub(super) async fn call_attended(
        &self,
        called: &Called,
        mut request: Request,
        arguments: Option<&str>,
        context: &RequestContext<RoleServer>,
    ) -> Result<Reply, CallFault> {
        let backplane = &self.shared.backplane;
        let mut questions = None;
        if called.tool() == Tool::McpProxy {
            (request.input, questions) = self.input_way(context);
        }
        let token = context.meta.get_progress_token();
        if token.is_none() && questions.is_none() {
            return tool::call_named(backplane, called, request, arguments).await;
        }
        let (sender, mut reports) = mpsc::channel::<Progress>(PROGRESS_QUEUE);
        request.progress = token.is_some().then_some(sender);
        let call = tool::call_named(backplane, called, request, arguments);
        let mut call = std::pin::pin!(call);
        let mut asking = std::pin::pin!(async {
            match &mut questions {
                Some(questions) => questions.ask().await,
                None => std::future::pending().await,
            }
        });
        let tell = async |report: Progress| {
            let Some(token) = &token else { return };
            let mut params = ProgressNotificationParam::new(token.clone(), report.done);
            params.total = report.total;
            params.message = Some(report.message);
            let _ = context.peer.notify_progress(params).await;
        };
        let reply = loop {
            tokio::select! {
                reply = &mut call => break reply,
                Some(report) = reports.recv() => tell(report).await,
                () = &mut asking => {}
            }
        };
        // A call that never had to wait has reported and ended in one step.
        while let Ok(report) = reports.try_recv() {
            tell(report).await;
        }
        reply
    }
}
