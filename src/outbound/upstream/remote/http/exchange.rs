//! One message and what is answered to it: JSON, a stream of events, or a status.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use sse_stream::Sse;

use super::super::super::link::{Incoming, Outgoing};
use super::super::event_stream::{self, EventStream};
use super::super::failure::Failure;
use super::super::headers;
use super::super::server::{body, content_type};
use super::{Channel, answer, parameters};
use crate::mesh::upstream::MESSAGE_BYTES_MAX;

/// How often a stream that breaks off is taken up again in a row without anything coming.
pub(in super::super) const RESUMES_MAX: u32 = 5;

/// The least and the most that is waited before a stream is taken up again, whatever the server asks for.
const RESUME_WAIT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(10)];

/// What is waited where the server does not say.
const RESUME_WAIT_UNSAID: Duration = Duration::from_millis(500);

/// The longest id of an event that is given back, in bytes.
const EVENT_ID_BYTES_MAX: usize = 1024;

/// The most that is read of an answer that nobody waits for, in bytes.
const LEFTOVER_BYTES_MAX: usize = 64 << 10;

/// Where a stream stands, for taking it up again.
#[derive(Debug)]
pub(super) struct Bookmark {
    last_id: Option<HeaderValue>,
    wait: Duration,
    in_vain: u32,
}

/// The request that an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    id: i64,
    /// Whether the answer says which arguments go into headers.
    lists_tools: bool,
}

/// Sends `message` and passes on what is answered, up to the answer of a request.
pub(super) async fn exchange(channel: &Arc<Channel>, message: Outgoing) -> Result<(), Failure> {
    let (request_id, method) = (message.request_id, message.method.clone());
    let (response, in_session) = post(channel, message).await?;
    let status = response.status();
    if status == StatusCode::NOT_FOUND && in_session {
        return Err(channel.session_ended());
    }
    if !status.is_success() {
        let asked = request_id.map(|id| (id, method.as_deref()));
        return refused(channel, asked, in_session, response).await;
    }
    if method.as_deref() == Some("initialize") {
        channel.keep_session(response.headers());
    }
    let Some(request_id) = request_id else {
        // Read to its end the connection can be used again.
        if content_type(&response) != "text/event-stream" {
            let _ = body(response, LEFTOVER_BYTES_MAX).await;
        }
        return Ok(());
    };
    let asked = Asked {
        id: request_id,
        lists_tools: method.as_deref() == Some("tools/list") && channel.is_stateless(),
    };
    match content_type(&response).as_str() {
        "text/event-stream" => {
            let events = event_stream::events(response);
            follow(channel, events, Some(asked), Bookmark::default()).await
        }
        "application/json" => {
            let text = text(body(response, MESSAGE_BYTES_MAX).await?)?;
            match deliver(channel, text, Some(asked)).await? {
                true => Ok(()),
                false => Err(Failure::garbage("answered something else than was asked")),
            }
        }
        _ => Err(Failure::garbage(
            "answered with what is neither JSON nor a stream of events",
        )),
    }
}

/// Sends `message`; tells whether it was sent in a session.
async fn post(channel: &Channel, message: Outgoing) -> Result<(Response, bool), Failure> {
    let version = channel.state().version.clone();
    let mut headers = headers::of_message(&message, version.as_deref());
    if let Some(name) = &message.name {
        channel
            .state()
            .parameters
            .add(name, &message.text, &mut headers);
    }
    let in_session = channel.session(&mut headers);
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = Bytes::from(message.text);
    let build = || {
        let request = channel
            .server
            .request(Method::POST, channel.server.url().clone());
        request.headers(headers.clone()).body(body.clone())
    };
    Ok((channel.server.send(build).await?, in_session))
}

/// What a status that is no success says: an error of the protocol where there is one, which the client of
/// the link understands better.
async fn refused(
    channel: &Channel,
    asked: Option<(i64, Option<&str>)>,
    in_session: bool,
    response: Response,
) -> Result<(), Failure> {
    let status = response.status();
    let failure = Failure::of_status(status, response.headers());
    if matches!(status.as_u16(), 401 | 403 | 429) || status.is_redirection() {
        return Err(failure);
    }
    let said = match content_type(&response) == "application/json" {
        true => body(response, LEFTOVER_BYTES_MAX).await.ok(),
        false => None,
    };
    let said = said.and_then(|said| String::from_utf8(said).ok());
    let denied = said.as_deref().is_some_and(answer::denies_session);
    if status == StatusCode::BAD_REQUEST && in_session && denied {
        return Err(channel.session_ended());
    }
    let Some((request_id, method)) = asked else {
        return Err(failure);
    };
    let mut answer = said.and_then(|said| answer::error_of(&said, request_id));
    if answer.is_none() && method == Some("server/discover") && status.is_client_error() {
        // A server of the older kind knows no such method, and what stands before it may say so in its own way.
        let error = format!(
            r#"{{"code":-32600,"message":"refused with status {}"}}"#,
            status.as_u16()
        );
        answer = Some(answer::refusal(request_id, &error));
    }
    match answer {
        Some(text) => {
            channel.outlet.tell(Incoming::Message(text)).await;
            Ok(())
        }
        None => Err(failure),
    }
}

/// Passes on what a stream says, and takes it up again where it breaks off, until the answer has come. A
/// stream that answers no request is followed until it can no longer be had.
pub(super) async fn follow(
    channel: &Channel,
    mut events: EventStream,
    asked: Option<Asked>,
    mut bookmark: Bookmark,
) -> Result<(), Failure> {
    loop {
        let broken = loop {
            let event = match events.next().await {
                Some(Ok(event)) => event,
                Some(Err(failure)) => break failure,
                None => break Failure::broken_off(),
            };
            bookmark.note(&event);
            let Some(data) = event.data.filter(|data| !data.trim().is_empty()) else {
                continue;
            };
            if is_message(event.event.as_deref()) && deliver(channel, data, asked).await? {
                return Ok(());
            }
        };
        events = match bookmark.resume(channel, asked.is_none()).await {
            Some(resumed) => resumed?,
            None => return Err(broken),
        };
    }
}

/// Passes on the messages of `text`; whether one answered the request.
async fn deliver(channel: &Channel, text: String, asked: Option<Asked>) -> Result<bool, Failure> {
    let Some(asked) = asked else {
        channel.outlet.tell(Incoming::Message(text)).await;
        return Ok(false);
    };
    let no_message = |_| Failure::garbage("sent what is no message of the protocol");
    let mut answered = false;
    for said in answer::read(text, asked.id).map_err(no_message)? {
        answered |= said.answers;
        let (text, request_id) = (said.text, asked.id);
        if said.answers && asked.lists_tools {
            let learned = parameters::listed(&text);
            channel.state().parameters.learn(learned);
        }
        channel
            .outlet
            .tell(match said.asks {
                true => Incoming::Related { request_id, text },
                false => Incoming::Message(text),
            })
            .await;
    }
    Ok(answered)
}

/// Events of other names are none of the protocol's.
fn is_message(event: Option<&str>) -> bool {
    matches!(event, None | Some("" | "message"))
}

pub(super) fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::garbage("sent what is no text"))
}

impl Default for Bookmark {
    fn default() -> Self {
        Self {
            last_id: None,
            wait: RESUME_WAIT_UNSAID,
            in_vain: 0,
        }
    }
}

impl Bookmark {
    fn note(&mut self, event: &Sse) {
        self.in_vain = 0;
        if let Some(id) = &event.id {
            let fits = id.len() <= EVENT_ID_BYTES_MAX && !id.is_empty();
            self.last_id = HeaderValue::from_str(id).ok().filter(|_| fits);
        }
        if let Some(milliseconds) = event.retry {
            let [least, most] = RESUME_WAIT;
            self.wait = Duration::from_millis(milliseconds).clamp(least, most);
        }
    }

    /// The stream from where it broke off; nothing where that is not possible or has been in vain too often.
    /// What is no answer to a request can be had `anew`, too.
    async fn resume(
        &mut self,
        channel: &Channel,
        anew: bool,
    ) -> Option<Result<EventStream, Failure>> {
        while self.in_vain < RESUMES_MAX && (anew || self.last_id.is_some()) {
            tokio::time::sleep(self.wait * (1 << self.in_vain)).await;
            self.in_vain += 1;
            match get(channel, self.last_id.clone()).await {
                Ok(Some(events)) => return Some(Ok(events)),
                Ok(None) => return None,
                Err(failure) if failure.closes => return Some(Err(failure)),
                Err(_) => {}
            }
        }
        None
    }
}

/// Asks for a stream; nothing where the server has none to give.
pub(super) async fn get(
    channel: &Channel,
    last_id: Option<HeaderValue>,
) -> Result<Option<EventStream>, Failure> {
    let mut headers = HeaderMap::new();
    if let Some(version) = &channel.state().version {
        headers::put_version(&mut headers, version);
    }
    let in_session = channel.session(&mut headers);
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Some(id) = last_id {
        headers.insert(headers::LAST_EVENT_ID, id);
    }
    let build = || {
        let request = channel
            .server
            .request(Method::GET, channel.server.url().clone());
        request.headers(headers.clone())
    };
    let response = channel.server.send(build).await?;
    let status = response.status();
    match (status, content_type(&response).as_str()) {
        (StatusCode::NOT_FOUND, _) if in_session => Err(channel.session_ended()),
        (StatusCode::OK, "text/event-stream") => Ok(Some(event_stream::events(response))),
        _ if status.is_server_error() => Err(Failure::of_status(status, response.headers())),
        _ => Ok(None),
    }
}
