//! `POST /tools/{name}`: one call of a tool, whose arguments are the body.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ulid::Ulid;

use super::answer::{of_reply, refused};
use super::{Answered, Rest, arguments, attended};
use crate::inbound::server::{RequestHead, Shared, no_such_tool};
use crate::inbound::tool::{self, CallFault, Called, Reply, idempotency, wrong_cursor};
use crate::mesh::tenant::IdentityError;
use crate::mesh::{Error, ErrorKind};

/// Calls the tool that the path names.
pub(super) async fn post(
    State(rest): State<Arc<Rest>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    // A web page can have a browser send a body of text to any address, also where nobody has to sign in, but
    // no such header; and so the content type may be any.
    if !parts.headers.contains_key(AUTHORIZATION) {
        return refused(rest.http.front.refused(IdentityError::Missing));
    }
    // What is no text names no tool.
    let name = name.map_or_else(|_| "\u{fffd}".to_owned(), |Path(name)| name);
    let work = |head, _| rest.call(name, head, &parts.headers, body);
    rest.answer(&parts, work).await
}

impl Rest {
    async fn call(
        &self,
        name: String,
        head: RequestHead,
        headers: &HeaderMap,
        body: Body,
    ) -> Answered {
        let front = &self.http.front;
        let key = arguments::idempotency_key(headers)?;
        let read = self.http.read_body(body).await?;
        let given = arguments::of_body(read.bytes)?;
        let (shared, place) = (Arc::clone(self.shared()), read.place);
        let reply = attended(head.cancelled.clone(), async move {
            let reply = reply(&shared, &name, head, given, key).await;
            drop(place);
            reply
        });
        match reply.await? {
            Ok(reply) => Ok(of_reply(&reply, front)),
            Err(error) => Err(refused(front.refused(error))),
        }
    }
}

/// What the tool `name` answers.
async fn reply(
    shared: &Shared,
    name: &str,
    head: RequestHead,
    given: Option<String>,
    key: Option<String>,
) -> Result<Reply, IdentityError> {
    let Some(called) = shared.called(name, &head).await else {
        let error = Error::new(ErrorKind::NotFound, no_such_tool(name));
        let error = error.fix("Use a name that GET /tools lists.");
        return Ok(Reply::failed(&error, Ulid::generate()));
    };
    let mut arguments = given;
    if let (Called::Own(tool), Some(key)) = (&called, key) {
        let text = arguments.as_deref().unwrap_or("{}");
        arguments = Some(idempotency::with_key(*tool, text, || key).into_owned());
    }
    let arguments = arguments.as_deref();
    // What is for another server names nobody to us.
    let own = arguments.filter(|_| matches!(called, Called::Own(_)));
    let request = head.into_request(own);
    let request_id = request.id;
    match tool::call_named(&shared.backplane, &called, request, arguments).await {
        Ok(reply) => Ok(reply),
        Err(CallFault::Cursor(fault)) => Ok(Reply::failed(&wrong_cursor(fault), request_id)),
        Err(CallFault::Identity(error)) => match error.tool_error() {
            Some(error) => Ok(Reply::failed(&error, request_id)),
            None => Err(error),
        },
    }
}
