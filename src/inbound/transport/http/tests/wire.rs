//! The same cases over each way in: memory, WebSocket, and the event streams of the first revision.
//!
//! A test speaks in lines whatever the way is; here each line becomes a message of the wire, and each message a line.

use std::sync::atomic::Ordering;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message as Text;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::inbound::session::probe;
use crate::inbound::session::{EndCause, Ended};
use crate::inbound::transport::Limits;

/// What a pipe of the test holds.
const PIPE_BYTES: usize = 64 * 1024;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Memory,
    WebSocket,
    Sse,
}

tokio::task_local! {
    static WIRE: Wire;
}

/// Runs cases, which are functions without arguments, over each wire.
macro_rules! over_each_wire {
    ($($case:ident),* $(,)?) => {
        over_each_wire!(@ memory, Memory, $($case),*);
        over_each_wire!(@ over_websocket, WebSocket, $($case),*);
        over_each_wire!(@ over_sse, Sse, $($case),*);
    };
    (@ $module:ident, $wire:ident, $($case:ident),*) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $case() {
                    let wire = $crate::inbound::transport::http::tests::wire::Wire::$wire;
                    wire.run(super::$case()).await;
                }
            )*
        }
    };
}
pub(crate) use over_each_wire;

/// Runs cases over memory and over WebSocket: those that need messages to go fast, or after the server has begun
/// to end, where requests of their own are none any more.
macro_rules! over_one_connection {
    ($($case:ident),* $(,)?) => {
        over_each_wire!(@ one_connection_of_memory, Memory, $($case),*);
        over_each_wire!(@ one_websocket, WebSocket, $($case),*);
    };
}
pub(crate) use over_one_connection;

impl Wire {
    /// Runs `case` over this wire.
    pub(crate) async fn run(self, case: impl Future<Output = ()>) {
        WIRE.scope(self, case).await;
    }
}

/// A session over the wire of the test.
pub(crate) async fn open() -> probe::Client {
    let wire = WIRE.try_with(|wire| *wire).unwrap_or(Wire::Memory);
    if wire == Wire::Memory {
        return probe::Client::new(Limits::default());
    }
    let world = World::open().await;
    let (end, ours) = tokio::io::duplex(PIPE_BYTES);
    let (reader, writer) = tokio::io::split(ours);
    let reader = BufReader::new(reader);
    let (seen, gate) = (Arc::clone(&world.seen), Arc::clone(&world.gate));
    let begin = world.begin.clone();
    let session = match wire {
        Wire::WebSocket => tokio::spawn(websocket_of(world.socket("ada").await, reader, writer)),
        _ => tokio::spawn(sse_of(
            Listening::open(&world, "ada").await,
            world,
            reader,
            writer,
        )),
    };
    probe::Client::at(end, seen, gate, begin, session)
}

pub(super) type Socket = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

impl World {
    /// A WebSocket of whoever `token` is of.
    pub(super) async fn socket(&self, token: &str) -> Socket {
        self.try_socket(&[("authorization", &format!("Bearer {token}"))])
            .await
            .unwrap()
    }

    /// A WebSocket with these headers, or the status that refuses it.
    pub(super) async fn try_socket(
        &self,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, StatusCode> {
        let tcp = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let url = format!("ws://{}/ws", self.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match client_async(request, tcp).await {
            Ok((socket, _)) => Ok(socket),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn websocket_of(
    socket: Socket,
    mut reader: BufReader<ReadHalf<DuplexStream>>,
    mut writer: WriteHalf<DuplexStream>,
) -> Ended {
    let (mut sink, mut stream) = socket.split();
    let sending = async {
        let mut line = String::new();
        while reader.read_line(&mut line).await.unwrap() > 0 {
            let text = line.trim_end_matches('\n').to_owned();
            line.clear();
            if sink.send(Text::text(text)).await.is_err() {
                break;
            }
        }
        let _ = sink.send(Text::Close(None)).await;
        std::future::pending::<()>().await;
    };
    let receiving = async {
        let mut cause = EndCause::ClientLeft;
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Text::Text(text) => {
                    let line = format!("{text}\n");
                    if writer.write_all(line.as_bytes()).await.is_err() {
                        break;
                    }
                }
                Text::Close(Some(frame)) if frame.code == CloseCode::Away => {
                    cause = EndCause::Shutdown;
                }
                _ => {}
            }
        }
        cause
    };
    let cause = tokio::select! {
        cause = receiving => cause,
        () = sending => EndCause::Fault,
    };
    Ended {
        cause,
        unfinished: 0,
    }
}

/// An event stream that is open, and where its messages go.
pub(super) struct Listening {
    pub(super) response: Response,
    pub(super) endpoint: String,
    /// What has come and is no whole event yet.
    text: String,
}

impl Listening {
    pub(super) async fn open(world: &World, token: &str) -> Self {
        let response = world.listen(token).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut listening = Self {
            response,
            endpoint: String::new(),
            text: String::new(),
        };
        let (kind, data) = listening.event().await.unwrap();
        assert_eq!(kind, "endpoint");
        listening.endpoint = format!("http://{}{data}", world.address);
        listening
    }

    /// The next event: its kind and its data.
    pub(super) async fn event(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
                };
                let found = field("event: ").zip(field("data: "));
                self.text = rest.to_owned();
                match found {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk());
            let chunk = chunk.await.unwrap().ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

impl World {
    pub(super) async fn listen(&self, token: &str) -> Response {
        let request = self.client.get(format!("http://{}/sse", self.address));
        let request = request.header("accept", "text/event-stream");
        request.bearer_auth(token).send().await.unwrap()
    }

    pub(super) async fn tell(&self, endpoint: &str, token: &str, message: &str) -> StatusCode {
        let request = self.client.post(endpoint).bearer_auth(token);
        let request = request.header("content-type", "application/json");
        let sent = request.body(message.to_owned()).send().await;
        sent.map_or(StatusCode::BAD_GATEWAY, |response| response.status())
    }
}

async fn sse_of(
    mut listening: Listening,
    world: World,
    mut reader: BufReader<ReadHalf<DuplexStream>>,
    mut writer: WriteHalf<DuplexStream>,
) -> Ended {
    let endpoint = listening.endpoint.clone();
    let sending = async {
        let mut line = String::new();
        while reader.read_line(&mut line).await.unwrap() > 0 {
            world.tell(&endpoint, "ada", &line).await;
            line.clear();
        }
    };
    let receiving = async {
        while let Some((kind, data)) = listening.event().await {
            assert_eq!(kind, "message");
            let line = format!("{data}\n");
            if writer.write_all(line.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
    let cause = match world.begin.is_cancelled() {
        true => EndCause::Shutdown,
        false => EndCause::ClientLeft,
    };
    drop(listening);
    // The session has ended too, or the place would never be free again.
    let gone = async {
        while world.http.sessions.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(world.seen.running.load(Ordering::SeqCst), 0);
    Ended {
        cause,
        unfinished: 0,
    }
}
