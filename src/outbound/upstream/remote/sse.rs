//! The older HTTP with server-sent events (2024-11-05): one stream in, and a request for each message out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, StatusCode, Url};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::super::link::{Incoming, Link, Opened, Outgoing};
use super::event_stream::{self, EventStream};
use super::failure::Failure;
use super::outlet::Outlet;
use super::sends::{Sends, within};
use super::server::{RemoteServer, body, content_type};
use crate::mesh::Error;
use crate::mesh::store::Reply;

/// How long a server may take to say where messages go.
pub(super) const ENDPOINT_TIME_MAX: Duration = Duration::from_secs(20);

/// How long a message may take to be accepted; its answer comes later, by the stream.
pub(super) const ACCEPT_TIME_MAX: Duration = Duration::from_secs(10);

/// The most that is read of what accepts a message, in bytes.
const ACCEPTANCE_BYTES_MAX: usize = 64 << 10;

/// A link by the older HTTP.
struct EventSource {
    channel: Arc<Channel>,
}

struct Channel {
    server: RemoteServer,
    endpoint: Url,
    outlet: Outlet,
    sends: Sends,
}

/// Opens the stream of `server` and waits until it has said where messages go.
///
/// # Errors
/// What the server did instead.
pub(super) async fn open(server: RemoteServer) -> Result<Opened, Error> {
    let connected = timeout(ENDPOINT_TIME_MAX, connect(&server)).await;
    let (events, endpoint) = connected
        .unwrap_or_else(|_| Err(Failure::timed_out()))
        .map_err(|failure| failure.error)?;
    let (outlet, incoming) = Outlet::new();
    let channel = Arc::new(Channel {
        server,
        endpoint,
        outlet,
        sends: Sends::new(),
    });
    tokio::spawn(read(Arc::clone(&channel), events));
    Ok(Opened {
        link: Arc::new(EventSource { channel }),
        incoming,
    })
}

async fn connect(server: &RemoteServer) -> Result<(EventStream, Url), Failure> {
    let build = || {
        let request = server.request(Method::GET, server.url().clone());
        request.header(ACCEPT, "text/event-stream")
    };
    let response = server.send(build).await?;
    if response.status() != StatusCode::OK {
        return Err(Failure::of_status(response.status(), response.headers()));
    }
    if content_type(&response) != "text/event-stream" {
        return Err(Failure::garbage(
            "answered with what is no stream of events",
        ));
    }
    let mut events = event_stream::events(response);
    loop {
        let event = events
            .next()
            .await
            .unwrap_or_else(|| Err(Failure::broken_off()))?;
        if event.event.as_deref() == Some("endpoint") {
            let endpoint = endpoint(server.url(), &event.data.unwrap_or_default())?;
            return Ok((events, endpoint));
        }
    }
}

/// Where messages go: nowhere else than to the server itself, whatever it says.
fn endpoint(server: &Url, text: &str) -> Result<Url, Failure> {
    let joined = server.join(text.trim()).ok();
    let is_own = |url: &Url| url.origin() == server.origin() && url.username().is_empty();
    let endpoint = joined.filter(|url| is_own(url) && url.password().is_none());
    endpoint.ok_or_else(|| Failure::garbage("wants its messages sent to another server"))
}

/// Passes on what the stream says, until it ends.
async fn read(channel: Arc<Channel>, mut events: EventStream) {
    loop {
        let event = tokio::select! {
            biased;
            () = channel.outlet.closing.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                let is_message = matches!(event.event.as_deref(), None | Some("" | "message"));
                if let Some(text) = event.data.filter(|text| is_message && !text.is_empty()) {
                    channel.outlet.tell(Incoming::Message(text)).await;
                }
            }
            Some(Err(failure)) => return channel.outlet.end(failure.error).await,
            None => return channel.outlet.end(Failure::broken_off().error).await,
        }
    }
}

impl Link for EventSource {
    fn send(&self, message: Outgoing) -> Reply<'_, ()> {
        Arc::clone(&self.channel).send(message).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.channel.outlet.closing.cancel();
        futures::future::ready(()).boxed()
    }
}

impl Drop for EventSource {
    fn drop(&mut self) {
        self.channel.outlet.closing.cancel();
    }
}

impl Channel {
    async fn send(self: Arc<Self>, message: Outgoing) -> Result<(), Error> {
        let slot = self.sends.begin(&self.outlet)?;
        let is_initialized = message.method.as_deref() == Some("notifications/initialized");
        let carried = tokio::spawn(self.carry(message, slot));
        if is_initialized {
            // What comes next must not overtake it.
            let _ = carried.await;
        }
        Ok(())
    }

    async fn carry(self: Arc<Self>, message: Outgoing, slot: OwnedSemaphorePermit) {
        let request_id = message.request_id;
        let time = message.timeout.min(ACCEPT_TIME_MAX);
        let posted = within(&self.outlet, time, self.post(message.text)).await;
        drop(slot);
        if let Err(failure) = posted {
            self.outlet.failed(request_id, failure).await;
        }
    }

    async fn post(&self, text: String) -> Result<(), Failure> {
        let text = Bytes::from(text);
        let build = || {
            let request = self.server.request(Method::POST, self.endpoint.clone());
            request
                .header(CONTENT_TYPE, "application/json")
                .body(text.clone())
        };
        let response = self.server.send(build).await?;
        if !response.status().is_success() {
            return Err(Failure::of_status(response.status(), response.headers()));
        }
        // Read to its end the connection can be used again.
        let _ = body(response, ACCEPTANCE_BYTES_MAX).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_to_the_server_itself_alone() {
        let server = Url::parse("https://mcp.example.com/sse?x=1").unwrap();
        let admitted = |text: &str| endpoint(&server, text).map(String::from).ok();
        for (text, url) in [
            ("/messages?id=7", "https://mcp.example.com/messages?id=7"),
            ("messages", "https://mcp.example.com/messages"),
            ("https://mcp.example.com:443/m", "https://mcp.example.com/m"),
            ("  /m\n", "https://mcp.example.com/m"),
        ] {
            assert_eq!(admitted(text).as_deref(), Some(url));
        }
        for elsewhere in [
            "https://evil.example/m",
            "//evil.example/m",
            "\\\\evil.example\\m",
            "http://mcp.example.com/m",
            "https://mcp.example.com:8443/m",
            "https://mcp.example.com@evil.example/m",
            "https://user@mcp.example.com/m",
            "file:///etc/passwd",
            "javascript:1",
        ] {
            assert_eq!(admitted(elsewhere), None, "{elsewhere}");
        }
    }
}
