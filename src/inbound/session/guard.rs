//! Stands before a handler: its panics are answered, and its handshake is remembered.

use std::any::Any;
use std::borrow::Cow;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use rmcp::model::{
    ClientNotification, ClientRequest, ProtocolVersion, ServerConfig, ServerResult,
    SubscriptionFilter,
};
use rmcp::service::{NotificationContext, RequestContext, Service};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

/// A handler that is asked before a stream is acknowledged: the library acknowledges one before it asks
/// the handler anything but what may be streamed.
pub trait Gatekeeper: ServerHandler {
    /// Refuses `requested`, or leaves in the extensions of `context` what the stream will need.
    fn before_listening(
        &self,
        requested: &SubscriptionFilter,
        context: &mut RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<(), ErrorData>> + Send;
}

/// A handler whose faults stay its own.
pub(super) struct Guarded<H> {
    handler: H,
    draining: CancellationToken,
}

impl<H: Gatekeeper> Guarded<H> {
    /// `draining` is cancelled when the session begins to end.
    pub(super) fn new(handler: H, draining: CancellationToken) -> Self {
        Self { handler, draining }
    }
}

impl<H: Gatekeeper> Service<RoleServer> for Guarded<H> {
    async fn handle_request(
        &self,
        request: ClientRequest,
        mut context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let handshake = match &request {
            ClientRequest::InitializeRequest(request) => {
                Some((context.peer.clone(), request.params.clone()))
            }
            _ => None,
        };
        let is_subscription = matches!(&request, ClientRequest::SubscriptionsListenRequest(_));
        let cancelled = context.ct.clone();
        let handled = survive(async move {
            if let ClientRequest::SubscriptionsListenRequest(request) = &request {
                let requested = &request.params.notifications;
                self.handler
                    .before_listening(requested, &mut context)
                    .await?;
            }
            Service::<RoleServer>::handle_request(&self.handler, request, context).await
        });
        let result = if is_subscription {
            // A subscription lasts as long as the session; it would otherwise keep the session from
            // ending.
            let ends = async {
                self.draining.cancelled().await;
                cancelled.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                result = handled => result,
                () = ends => Ok(Err(ErrorData::internal_error("internal error", None))),
            }
        } else {
            handled.await
        };
        let result = result.unwrap_or_else(|panic| Err(internal_error(&*panic)));
        if let (Some((peer, mut params)), Ok(ServerResult::InitializeResult(answer))) =
            (handshake, &result)
        {
            // Later requests are in the revision that was agreed on, not in the one that was asked for.
            params.protocol_version = answer.protocol_version.clone();
            peer.set_peer_info(params);
        }
        result
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let handled = survive(async move {
            Service::<RoleServer>::handle_notification(&self.handler, notification, context).await
        });
        handled
            .await
            .unwrap_or_else(|panic| Err(internal_error(&*panic)))
    }

    fn get_info(&self) -> ServerConfig {
        self.handler.get_info()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        ServerHandler::supported_protocol_versions(&self.handler)
    }
}

/// The outcome, or what the panic carried. The handler's state is shared by design, and its locks notice
/// by themselves that a holder panicked.
fn survive<T>(
    handled: impl Future<Output = T>,
) -> impl Future<Output = Result<T, Box<dyn Any + Send>>> {
    AssertUnwindSafe(handled).catch_unwind()
}

/// What the caller is told of a panic; the log has the rest under the same id.
fn internal_error(panic: &(dyn Any + Send)) -> ErrorData {
    let request_id = Ulid::generate().to_string();
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words");
    tracing::error!(request_id, message, "a handler panicked");
    let data = serde_json::json!({ "request_id": request_id });
    ErrorData::internal_error("internal error", Some(data))
}
