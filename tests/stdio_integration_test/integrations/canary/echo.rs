//! A server at an address that says back all that it is sent, wherever there is a place for words.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, accept_hdr};

/// The token that it gives.
pub(super) const TOKEN: &str = "tok-canary-access/77+d0";

/// The tools that say it back by going wrong, each in its own way.
pub(super) const FAILING: [&str; 7] = [
    "refuse", "status", "down", "garbage", "markup", "stream", "leave",
];

/// The tool whose result says it back.
pub(super) const SPEAKING: &str = "speak";

/// It listens for as long as the test runs.
pub(super) struct Echo {
    port: u16,
}

/// What is said to a message.
enum Said {
    Json(Value),
    Status(u16),
    Text(&'static str),
    Left,
    Nothing,
}

struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

type Stream = Arc<Mutex<Option<TcpStream>>>;

impl Echo {
    /// By HTTP of both kinds, and a giver of tokens.
    pub(super) fn over_http() -> Self {
        let stream = Stream::default();
        Self::start(move |tcp| {
            let _ = serve(tcp, &stream);
        })
    }

    /// By WebSocket.
    pub(super) fn over_websocket() -> Self {
        Self::start(|tcp| {
            let _ = serve_websocket(tcp);
        })
    }

    fn start(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let serve = serve.clone();
                thread::spawn(move || serve(tcp));
            }
        });
        Self { port }
    }

    pub(super) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}{path}", self.port)
    }
}

/// What was sent, as it came and as programs write it: in one line, which a header can hold.
fn echo<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>, body: &str) -> String {
    let mut all = vec![body.replace(['\r', '\n'], " ")];
    // What differs each time would make another tool of each that is listed.
    let differs = |name: &str| ["content-length", "sec-websocket-key"].contains(&name);
    for (name, value) in headers.into_iter().filter(|(name, _)| !differs(name)) {
        let secret = value.split_once(' ').map_or(value, |(_, secret)| secret);
        all.push(format!("{name}: {value}"));
        all.push(utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string());
        all.push(STANDARD.encode(secret));
        all.push(STANDARD.encode(format!("x{secret}")));
        all.push(Value::from(secret).to_string());
        if let Ok(pair) = STANDARD.decode(secret) {
            let pair = String::from_utf8_lossy(&pair).into_owned();
            let password = pair
                .split_once(':')
                .map(|(_, password)| password.to_owned());
            all.extend([pair].into_iter().chain(password));
        }
    }
    all.join(" | ")
}

impl Asked {
    fn read(from: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            from.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, value)| value.parse().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        from.read_exact(&mut body).ok()?;
        Some(Self {
            method,
            path,
            headers,
            body: String::from_utf8(body).ok()?,
        })
    }

    fn echo(&self) -> String {
        let headers = self.headers.iter();
        echo(
            headers.map(|(name, value)| (name.as_str(), value.as_str())),
            if self.path.ends_with("token") {
                &self.body
            } else {
                ""
            },
        )
    }
}

/// What the message is answered with.
fn answer(message: &Value, echo: &str) -> Said {
    let id = &message["id"];
    let result = |result: Value| Said::Json(json!({"jsonrpc": "2.0", "id": id, "result": result}));
    let error = |code: i64| {
        let error = json!({"code": code, "message": echo, "data": {echo: [echo]}});
        Said::Json(json!({"jsonrpc": "2.0", "id": id, "error": error}))
    };
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => result(json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": echo, "version": echo},
        })),
        "tools/list" => {
            let tool = |name: &&str| {
                json!({"name": name, "title": echo, "description": format!("Says {echo}"),
                    "inputSchema": {"type": "object", "properties": {"text": {"default": echo}}}})
            };
            let tools: Vec<Value> = FAILING.iter().chain([&SPEAKING]).map(tool).collect();
            result(json!({ "tools": tools }))
        }
        "tools/call" => match message["params"]["name"].as_str().unwrap_or_default() {
            SPEAKING => result(json!({"content": [{"type": "text", "text": echo}]})),
            "status" => Said::Status(400),
            "down" => Said::Status(503),
            "garbage" => Said::Text("application/json"),
            "markup" => Said::Text("text/html"),
            "stream" => Said::Text("text/event-stream"),
            "leave" => Said::Left,
            _ => error(-32_000),
        },
        "ping" => result(json!({})),
        method if method.starts_with("notifications/") => Said::Nothing,
        _ => error(-32_601),
    }
}

fn serve(tcp: TcpStream, stream: &Stream) -> std::io::Result<()> {
    let mut reader = BufReader::new(tcp.try_clone()?);
    let mut tcp = tcp;
    while let Some(asked) = Asked::read(&mut reader) {
        let echo = asked.echo();
        let respond = |tcp: &mut TcpStream, status: u16, kind: &str, body: &str| {
            write!(
                tcp,
                "HTTP/1.1 {status} {echo}\r\ncontent-type: {kind}\r\nwww-authenticate: {echo}\r\n\
                 x-echo: {echo}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let message = || serde_json::from_str(&asked.body).unwrap_or_default();
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/token") => {
                let token =
                    json!({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600});
                respond(&mut tcp, 200, "application/json", &token.to_string())?;
            }
            ("POST", "/no-token") => {
                let refusal = json!({"error": echo, "error_description": echo});
                respond(&mut tcp, 400, "application/json", &refusal.to_string())?;
            }
            ("GET", "/sse") => {
                write!(
                    tcp,
                    "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n\
                     : {echo}\n\nevent: endpoint\ndata: /messages\n\n"
                )?;
                stream.lock().unwrap().replace(tcp.try_clone()?);
            }
            ("POST", "/messages") => {
                let mut events = stream.lock().unwrap();
                let events = events.as_mut().expect("a stream");
                match answer(&message(), &echo) {
                    Said::Status(status) => {
                        respond(&mut tcp, status, "text/plain", &echo)?;
                        continue;
                    }
                    Said::Json(value) => write!(events, "data: {value}\n\n")?,
                    // It ends with it, so that nobody waits for more.
                    Said::Text(_) | Said::Left => {
                        write!(events, "data: {echo}\n\n")?;
                        events.shutdown(Shutdown::Both)?;
                    }
                    Said::Nothing => {}
                }
                respond(&mut tcp, 202, "text/plain", &echo)?;
            }
            ("POST", "/mcp") => match answer(&message(), &echo) {
                Said::Json(value) => {
                    respond(&mut tcp, 200, "application/json", &value.to_string())?;
                }
                Said::Status(status) => respond(&mut tcp, status, "text/plain", &echo)?,
                Said::Text(kind) => respond(&mut tcp, 200, kind, &format!("data: {echo}\n\n"))?,
                Said::Left => tcp.shutdown(Shutdown::Both)?,
                Said::Nothing => respond(&mut tcp, 202, "text/plain", &echo)?,
            },
            _ => respond(&mut tcp, 401, "text/plain", &echo)?,
        }
    }
    Ok(())
}

fn serve_websocket(tcp: TcpStream) -> Result<(), Box<dyn std::error::Error>> {
    let mut seen = String::new();
    let callback = |request: &Request, mut response: Response| {
        let headers = request.headers().iter();
        seen = echo(
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))),
            "",
        );
        let said = seen.parse().expect("a header");
        if request.uri().path() == "/refuse" {
            let mut refusal = ErrorResponse::new(Some(seen.clone()));
            *refusal.status_mut() = http::StatusCode::FORBIDDEN;
            refusal.headers_mut().insert("x-echo", said);
            return Err(refusal);
        }
        let headers = response.headers_mut();
        headers.insert("x-echo", said);
        headers.insert("sec-websocket-protocol", "mcp".parse().expect("a header"));
        Ok(response)
    };
    let mut socket = accept_hdr(tcp, callback).map_err(|_| "refused")?;
    while let Message::Text(text) = socket.read()? {
        match answer(&serde_json::from_str(&text)?, &seen) {
            Said::Json(value) => socket.send(Message::text(value.to_string()))?,
            Said::Nothing => {}
            // A reason has so many bytes at most.
            Said::Status(_) | Said::Left => {
                let secret = seen.find("authorization: ").unwrap_or_default();
                let reason: String = seen[secret..].chars().take(120).collect();
                socket.close(Some(CloseFrame {
                    code: CloseCode::Policy,
                    reason: reason.into(),
                }))?;
            }
            Said::Text(_) => {
                socket.send(Message::text(seen.clone()))?;
                return Ok(());
            }
        }
    }
    Ok(())
}
