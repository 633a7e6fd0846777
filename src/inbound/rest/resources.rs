//! `GET /resources` and `GET /resources/read`: what `resources/list` and `resources/read` say.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use rmcp::model::{ListResourcesResult, ReadResourceResult};
use serde::Serialize;
use serde_json::json;

use super::answer::{internal, of_fault};
use super::{Answered, Rest, arguments, attended};
use crate::inbound::server::RequestHead;
use crate::inbound::transport::http::answer::json_text;
use crate::mesh::Error;

/// Lists resources.
pub(super) async fn list(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let work = |head, _| rest.resource_list(head, &parts.uri);
    rest.answer(&parts, work).await
}

/// Reads one resource.
pub(super) async fn read(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let work = |head, _| rest.resource(head, &parts.uri);
    rest.answer(&parts, work).await
}

impl Rest {
    async fn resource_list(&self, head: RequestHead, uri: &Uri) -> Answered {
        let [cursor] = arguments::query(uri, ["cursor"])?;
        let shared = Arc::clone(self.shared());
        if !shared.has_resources() {
            return Ok(told(&json!({ "resources": [] })));
        }
        let page = attended(head.cancelled.clone(), async move {
            shared.resource_page(cursor.as_deref(), &head).await
        });
        match page.await? {
            Ok(ListResourcesResult {
                resources,
                next_cursor,
                ..
            }) => {
                let mut page = json!({ "resources": resources });
                if let Some(cursor) = next_cursor {
                    page["nextCursor"] = cursor.into();
                }
                Ok(told(&page))
            }
            Err(fault) => Err(of_fault(fault, &self.http.front)),
        }
    }

    async fn resource(&self, head: RequestHead, uri: &Uri) -> Answered {
        let [address] = arguments::query(uri, ["uri"])?;
        let Some(address) = address else {
            let error = Error::invalid("uri", "`uri` is missing");
            let fix = "Give the address of a resource, such as mesh://artifacts/user/report.md.";
            return Err(error.fix(fix).into());
        };
        let shared = Arc::clone(self.shared());
        let found = attended(head.cancelled.clone(), async move {
            shared.resource(address, &head).await
        });
        match found.await? {
            Ok(ReadResourceResult { contents, .. }) => Ok(told(&Contents { contents })),
            Err(fault) => Err(of_fault(fault, &self.http.front)),
        }
    }
}

/// What was read, written without a tree of values between: it may be long.
#[derive(Serialize)]
struct Contents<T> {
    contents: T,
}

fn told(body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => json_text(StatusCode::OK, text),
        Err(error) => {
            tracing::error!(%error, "a list or a resource is no JSON");
            internal()
        }
    }
}
