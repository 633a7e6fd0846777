//! A WebSocket from its first message to its last: reading, writing, signs of life, and saying why it ends.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::super::http::body::{BodyBudget, ReadBody};
use super::meter::{Meter, Metered};

/// How long the answer to the request may take to be written.
const UPGRADE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long nothing may come before the client is asked whether it is there; twice that is the end.
pub(in crate::inbound) const PING_AFTER: Duration = Duration::from_secs(30);

/// How long a client may take to take in a message.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// How long saying goodbye may take.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);

/// What is read and written at once, in bytes. It is kept for each connection.
const BUFFER_BYTES: usize = 16 << 10;

/// What a ping or a pong of a client takes besides what it carries, in bytes.
const CONTROL_BYTES: usize = 6;

/// Why the server ends a connection, as its client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inbound) struct Farewell {
    code: CloseCode,
    reason: &'static str,
}

/// What goes on over a connection.
pub(in crate::inbound) trait Conversation: Send + Sync + 'static {
    /// Takes a message of the client; what it waits for, the client waits for.
    ///
    /// # Errors
    /// The conversation is over.
    fn hear(&self, message: ReadBody) -> impl Future<Output = Result<(), Farewell>> + Send;

    /// Waits for what the client is told next: whole lines, each a message. Dropped while it waits, it loses
    /// nothing.
    ///
    /// # Errors
    /// The conversation is over.
    fn say(&self) -> impl Future<Output = Result<Vec<u8>, Farewell>> + Send;

    /// Something was said, or nothing for a while.
    fn settle(&self) {}
}

/// What a connection goes over.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

type Socket<S> = WebSocketStream<Metered<S>>;

impl Farewell {
    /// All is said.
    pub(in crate::inbound) const DONE: Self = Self::new(CloseCode::Normal, "");
    /// The server ends.
    pub(in crate::inbound) const SHUTDOWN: Self =
        Self::new(CloseCode::Away, "the server is shutting down");
    /// The token has ended.
    pub(in crate::inbound) const TOKEN_ENDED: Self = Self::new(
        CloseCode::Policy,
        "the token has ended: connect with a new one",
    );
    /// Others needed the place.
    pub(in crate::inbound) const GAVE_WAY: Self = Self::new(
        CloseCode::Again,
        "this connection was idle and others needed its place",
    );
    const NO_TEXT: Self = Self::new(CloseCode::Unsupported, "messages are text");
    const TOO_LARGE: Self = Self::new(CloseCode::Size, "the message is too large");
    const NO_ROOM: Self = Self::new(
        CloseCode::Again,
        "too many large messages are being read; try again shortly",
    );
    const MALFORMED: Self = Self::new(CloseCode::Protocol, "this is no WebSocket");
    const NO_UTF_8: Self = Self::new(CloseCode::Invalid, "the text is no UTF-8");
    const SILENT: Self = Self::new(CloseCode::Policy, "no sign of life came in time");

    const fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason }
    }

    fn of_error(error: &Error) -> Option<Self> {
        match error {
            Error::Capacity(_) => Some(Self::TOO_LARGE),
            Error::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => Some(Self::NO_ROOM),
            Error::Utf8(_) => Some(Self::NO_UTF_8),
            Error::Protocol(_) => Some(Self::MALFORMED),
            _ => None,
        }
    }
}

/// Holds `conversation` over the connection of `upgrade`, in messages of at most `bytes_max`, until either side
/// ends it.
pub(in crate::inbound) async fn talk(
    upgrade: OnUpgrade,
    budget: BodyBudget,
    bytes_max: usize,
    conversation: impl Conversation,
) {
    let Ok(Ok(upgraded)) = timeout(UPGRADE_TIME_MAX, upgrade).await else {
        return;
    };
    hold(
        TokioIo::new(upgraded),
        budget,
        bytes_max,
        PING_AFTER,
        conversation,
    )
    .await;
}

/// [`talk`] over a connection that is open; a client that says nothing for `ping_after` is asked whether it is there.
async fn hold(
    wire: impl Wire,
    budget: BodyBudget,
    bytes_max: usize,
    ping_after: Duration,
    conversation: impl Conversation,
) {
    let meter = Meter::new(budget);
    let config = WebSocketConfig::default()
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max))
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES);
    let stream = Metered::new(wire, meter.clone());
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut sink, mut stream) = socket.split();
    let (ask, mut asked) = mpsc::channel(1);
    let farewell = tokio::select! {
        farewell = read(&mut stream, &meter, &ask, ping_after, &conversation) => farewell,
        farewell = write(&mut sink, &mut asked, &conversation) => farewell,
    };
    // Whatever else is to be said is nobody's any more.
    drop(conversation);
    let goodbye = async {
        if let Some(Farewell { code, reason }) = farewell {
            let reason = Utf8Bytes::from_static(reason);
            let close = Message::Close(Some(CloseFrame { code, reason }));
            sink.send(close).await?;
        }
        // A connection that is closed with bytes unread takes back what was written last.
        while let Some(Ok(_)) = stream.next().await {
            meter.take();
        }
        Ok::<_, Error>(())
    };
    let _ = timeout(FAREWELL_TIME_MAX, goodbye).await;
}

/// Takes messages, and asks a silent client whether it is there. Why the connection ends, where the client does not
/// know.
async fn read<S: Wire>(
    stream: &mut SplitStream<Socket<S>>,
    meter: &Meter,
    ask: &mpsc::Sender<()>,
    ping_after: Duration,
    conversation: &impl Conversation,
) -> Option<Farewell> {
    let mut was_asked = false;
    loop {
        let next = timeout(ping_after, stream.next()).await;
        let Ok(next) = next else {
            if was_asked {
                return Some(Farewell::SILENT);
            }
            was_asked = true;
            conversation.settle();
            // Where something is being written the client is to show that it takes it.
            let _ = ask.try_send(());
            continue;
        };
        was_asked = false;
        match next {
            Some(Ok(Message::Text(text))) => {
                let place = meter.take();
                let bytes = Vec::from(Bytes::from(text));
                if let Err(farewell) = conversation.hear(ReadBody { bytes, place }).await {
                    return Some(farewell);
                }
            }
            Some(Ok(Message::Ping(carried) | Message::Pong(carried))) => {
                meter.leave_out(CONTROL_BYTES + carried.len());
            }
            Some(Ok(Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => return Some(Farewell::NO_TEXT),
            Some(Ok(Message::Close(_))) | None => return None,
            Some(Err(error)) => return Farewell::of_error(&error),
        }
    }
}

/// Writes what is to be said, until there is nothing more.
async fn write<S: Wire>(
    sink: &mut SplitSink<Socket<S>, Message>,
    asked: &mut mpsc::Receiver<()>,
    conversation: &impl Conversation,
) -> Option<Farewell> {
    loop {
        let said = tokio::select! {
            Some(()) = asked.recv() => {
                send(sink, Message::Ping(Bytes::new())).await?;
                continue;
            }
            said = conversation.say() => said,
        };
        let lines = match said {
            Ok(lines) => Bytes::from(lines),
            Err(farewell) => return Some(farewell),
        };
        let mut rest = lines;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', &rest).unwrap_or(rest.len());
            let line = rest.split_to(end);
            let _ = rest.split_to(rest.len().min(1));
            if let Ok(text) = Utf8Bytes::try_from(line) {
                send(sink, Message::Text(text)).await?;
            }
        }
        conversation.settle();
    }
}

/// Sends `message`; nothing where the client does not take it.
async fn send<S: Wire>(sink: &mut SplitSink<Socket<S>, Message>, message: Message) -> Option<()> {
    timeout(WRITE_TIME_MAX, sink.send(message)).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use tokio::sync::Mutex;

    use super::*;

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Says again what it hears.
    struct Echo {
        sender: mpsc::Sender<Vec<u8>>,
        heard: Mutex<mpsc::Receiver<Vec<u8>>>,
    }

    impl Conversation for Echo {
        async fn hear(&self, message: ReadBody) -> Result<(), Farewell> {
            let heard = self.sender.send(message.bytes).await;
            heard.map_err(|_| Farewell::DONE)
        }

        async fn say(&self) -> Result<Vec<u8>, Farewell> {
            let heard = self.heard.lock().await.recv().await;
            heard.ok_or(Farewell::DONE)
        }
    }

    async fn open(ping_after: Duration) -> WebSocketStream<tokio::io::DuplexStream> {
        let (client, server) = tokio::io::duplex(4096);
        let (sender, heard) = mpsc::channel(4);
        let echo = Echo {
            sender,
            heard: Mutex::new(heard),
        };
        let budget = BodyBudget::new(1 << 20);
        tokio::spawn(hold(server, budget, 1 << 20, ping_after, echo));
        WebSocketStream::from_raw_socket(client, Role::Client, None).await
    }

    async fn next(socket: &mut WebSocketStream<tokio::io::DuplexStream>) -> Message {
        let next = timeout(PATIENCE, socket.next()).await;
        next.unwrap().unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_silent_client_is_asked_and_then_left() {
        let client = open(Duration::from_millis(30)).await;
        // Its raw bytes are read, so that nothing answers the ping.
        let mut raw = client.into_inner();
        let mut bytes = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut raw, &mut bytes);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        assert_eq!(bytes.get(..2), Some(&[0x89, 0][..]));
        let code = u16::from(CloseCode::Policy).to_be_bytes();
        assert_eq!(bytes.get(4..6), Some(&code[..]), "{bytes:?}");
    }

    #[tokio::test]
    async fn a_client_that_answers_pings_stays() {
        let mut client = open(Duration::from_millis(30)).await;
        for _ in 0..4 {
            assert!(matches!(next(&mut client).await, Message::Ping(_)));
        }
        client.send(Message::text("still here")).await.unwrap();
        loop {
            match next(&mut client).await {
                Message::Text(text) => return assert_eq!(text, "still here"),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn each_line_is_a_message_and_text_that_is_none_ends_the_connection() {
        let mut client = open(PATIENCE).await;
        client.send(Message::text("one\ntwo\n")).await.unwrap();
        assert_eq!(next(&mut client).await, Message::text("one"));
        assert_eq!(next(&mut client).await, Message::text("two"));
        let mut raw = client.into_inner();
        let bad = [0x81, 0x81, 0, 0, 0, 0, 0xff];
        tokio::io::AsyncWriteExt::write_all(&mut raw, &bad)
            .await
            .unwrap();
        let mut bytes = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut raw, &mut bytes);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        let code = u16::from(CloseCode::Invalid).to_be_bytes();
        assert_eq!(bytes.get(2..4), Some(&code[..]), "{bytes:?}");
    }
}
