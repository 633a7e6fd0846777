//! Tools and resources as plain JSON over HTTP, for those who have no MCP client: the same calls, the same errors.

mod answer;
mod arguments;
mod call;
mod info;
mod openapi;
mod resources;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, StatusCode, Uri};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::front::MeshFront;
use super::server::{RequestHead, Shared};
use super::transport::http::answer::{fault, json_text};
use super::transport::http::{Http, Share};
use super::transport::{PresentedIdentity, PresentedTrace};
use crate::mesh::tenant::TenantContext;
use answer::refused;

/// For how long the description may be kept: it changes with the server's version and settings.
const DESCRIPTION_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// What the routes share.
struct Rest {
    http: Arc<Http<MeshFront>>,
    /// The text of the description.
    description: Bytes,
}

/// What a request of a tenant's is answered by, or why it is not.
type Answered = Result<Response, Response>;

/// The routes of the façade, beside those of `http`, and what is answered where there is no route at all.
/// `public_url` is the address by which clients reach the server.
pub fn routes(http: &Arc<Http<MeshFront>>, public_url: &str) -> Router {
    let description = openapi::description(&http.front.shared().catalog, public_url);
    let rest = Arc::new(Rest {
        http: Arc::clone(http),
        description: description.to_string().into(),
    });
    Router::new()
        .route("/tools", get(tools))
        .route("/tools/{name}", post(call::post))
        .route("/resources", get(resources::list))
        .route("/resources/read", get(resources::read))
        .route("/info", get(info))
        .route("/openapi.json", get(description_text))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        // Bodies are bounded where they are read.
        .layer(DefaultBodyLimit::disable())
        .with_state(rest)
}

/// The statuses of failed requests and what their bodies say, as API.md has them.
pub fn statuses_markdown() -> String {
    openapi::statuses_markdown()
}

impl Rest {
    fn shared(&self) -> &Arc<Shared> {
        self.http.front.shared()
    }

    /// Has `work` answer whoever makes a request.
    async fn answer<F>(
        &self,
        parts: &Parts,
        work: impl FnOnce(RequestHead, TenantContext) -> F,
    ) -> Response
    where
        F: Future<Output = Answered>,
    {
        let (head, caller) = match self.head(parts).await {
            Ok(asked) => asked,
            Err(refused) => return refused,
        };
        let _place = match self.http.place() {
            Ok(place) => place,
            Err(overloaded) => return overloaded,
        };
        let share = Share(caller.tenant_id().as_str().into());
        let (Ok(mut response) | Err(mut response)) = work(head, caller).await;
        response.extensions_mut().insert(share);
        response
    }

    /// Whose request it is, and what goes on from it to its calls.
    async fn head(&self, parts: &Parts) -> Result<(RequestHead, TenantContext), Response> {
        let front = &self.http.front;
        let token = front.token(&parts.headers).map_err(refused)?;
        let caller = front.resolve(token).await.map_err(refused)?;
        let trace = parts.extensions.get::<PresentedTrace>();
        let head = RequestHead {
            identity: PresentedIdentity {
                token: token.map(str::to_owned),
                foreign: false,
            },
            trace: trace.map(|trace| trace.0),
            cancelled: CancellationToken::new(),
        };
        Ok((head, caller))
    }
}

/// The tools that the caller may call, as `tools/list` says them.
async fn tools(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let work = async |_, caller: TenantContext| {
        arguments::query(&parts.uri, [])?;
        let (list, _) = rest.shared().tool_list(&caller).await;
        Ok(json_text(StatusCode::OK, format!("{{\"tools\":{list}}}")))
    };
    rest.answer(&parts, work).await
}

/// What this server is, and who asks.
async fn info(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let work = async |_, caller: TenantContext| {
        arguments::query(&parts.uri, [])?;
        let info = info::info(&rest.shared().catalog, &caller);
        Ok(json_text(StatusCode::OK, info.to_string()))
    };
    rest.answer(&parts, work).await
}

/// The description, which says nothing of tenants and is for everybody.
async fn description_text(State(rest): State<Arc<Rest>>, uri: Uri) -> Response {
    if let Err(error) = arguments::query(&uri, []) {
        return error.into();
    }
    let mut response = json_text(StatusCode::OK, rest.description.clone());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, DESCRIPTION_CACHE);
    response
}

/// For every address that no route of this server has.
async fn not_found() -> Response {
    fault(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        "there is nothing at this address: /mcp is for MCP clients, and /openapi.json describes the others",
    )
}

/// The router says in `Allow` which there are.
async fn method_not_allowed() -> Response {
    fault(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "this address has other methods: Allow names them, and /openapi.json describes them",
    )
}

/// Runs `work` to its end, or until its client has gone, which cancels what is under way: it ends by itself then,
/// and its event says how.
async fn attended<T: Send + 'static>(
    cancelled: CancellationToken,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Response> {
    let _gone = cancelled.drop_guard();
    tokio::spawn(work.in_current_span()).await.map_err(|error| {
        tracing::error!(%error, "the answer to a request was not made");
        answer::internal()
    })
}
