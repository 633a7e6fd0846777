//! A quick MCP server to stand behind the proxy: over pipes or plain HTTP, with as many tools as wanted, and
//! as badly behaved as wanted.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Result;

/// The longest body of a request that is read, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How a server behaves once it has been shaken hands with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Behaviour {
    /// It answers.
    Plain,
    /// It never answers a call.
    Hang,
    /// It answers a call with what is no message.
    Garbage,
    /// It sends notifications without end.
    Flood,
}

impl Behaviour {
    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Hang => "hang",
            Self::Garbage => "garbage",
            Self::Flood => "flood",
        }
    }
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// Words for the tools' descriptions, so that there is something to find.
const WORDS: [&str; 16] = [
    "invoice", "customer", "ticket", "branch", "deploy", "metric", "calendar", "message", "image",
    "file", "contract", "payment", "server", "report", "employee", "shipment",
];

/// Serves over standard input and output until the input ends.
pub(crate) fn serve_pipes(tools: usize, behaviour: Behaviour) -> Result<bool> {
    if behaviour == Behaviour::Flood {
        thread::spawn(flood);
    }
    let input = std::io::stdin().lock();
    for line in input.lines() {
        if let Some(answer) = answer(&line?, tools, behaviour) {
            let mut output = std::io::stdout().lock();
            output.write_all(answer.as_bytes())?;
            output.write_all(b"\n")?;
            output.flush()?;
        }
    }
    Ok(true)
}

fn flood() {
    let noise = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"noise\"}}\n";
    let noise = noise.repeat(100);
    loop {
        thread::sleep(Duration::from_millis(1));
        if std::io::stdout()
            .lock()
            .write_all(noise.as_bytes())
            .is_err()
        {
            return;
        }
    }
}

/// Serves over plain HTTP on loopback until this process ends: where.
pub(crate) fn serve_http(tools: usize) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || converse(connection, tools));
        }
    });
    Ok(address)
}

fn converse(connection: TcpStream, tools: usize) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut output = connection.try_clone()?;
    let mut input = BufReader::new(connection);
    while let Some((is_post, body)) = http_request(&mut input)? {
        let answer = match is_post {
            true => answer(&body, tools, Behaviour::Plain),
            false => None,
        };
        let (status, body) = match (is_post, answer) {
            (false, _) => ("405 Method Not Allowed", String::new()),
            (true, None) => ("202 Accepted", String::new()),
            (true, Some(answer)) => ("200 OK", answer),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        output.write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

/// Whether the next request is a POST, and its body; nothing at the end.
pub(crate) fn http_request(input: &mut impl BufRead) -> Result<Option<(bool, String)>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let is_post = line.starts_with("POST");
    Ok(Some((is_post, http_body(input)?)))
}

/// What follows the first line of a request or an answer: its headers, and the body that they tell the length
/// of.
pub(crate) fn http_body(input: &mut impl BufRead) -> Result<String> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    if length > BODY_BYTES_MAX {
        return Err("a body is too long".into());
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}

/// The answer to a message; nothing for one that wants none.
fn answer(line: &str, tools: usize, behaviour: Behaviour) -> Option<String> {
    let request: Request<'_> = serde_json::from_str(line).ok()?;
    let id = request.id?.get();
    let result = match request.method? {
        "initialize" => "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\
             \"serverInfo\":{\"name\":\"load\",\"version\":\"1\"}}"
            .to_owned(),
        "ping" => "{}".to_owned(),
        "tools/list" => list(tools),
        "tools/call" => match behaviour {
            Behaviour::Hang => return None,
            Behaviour::Garbage => {
                return Some("{\"jsonrpc\":\"2.0\",\"id\":[],\"result\"".to_owned());
            }
            Behaviour::Plain | Behaviour::Flood => {
                let said = request.params.map_or(0, |params| params.get().len());
                format!("{{\"content\":[{{\"type\":\"text\",\"text\":\"{said} bytes\"}}]}}")
            }
        },
        _ => {
            return Some(format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32601,\"message\":\"unknown\"}}}}"
            ));
        }
    };
    Some(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}"
    ))
}

fn list(tools: usize) -> String {
    let mut listed = String::from("{\"tools\":[");
    for number in 0..tools {
        let comma = if number == 0 { "" } else { "," };
        let word = |step: usize| WORDS[(number * 7 + step * 5) % WORDS.len()];
        let (one, two, three) = (word(0), word(1), word(2));
        let _ = write!(
            listed,
            "{comma}{{\"name\":\"{one}_{two}_{number}\",\"description\":\"Finds the {one} of a {two} and tells its \
             {three}.\",\"inputSchema\":{{\"type\":\"object\",\"properties\":{{\"{two}_id\":{{\"type\":\"string\",\
             \"description\":\"The {two} that is meant.\"}},\"limit\":{{\"type\":\"integer\"}}}}}},\
             \"annotations\":{{\"readOnlyHint\":true}}}}"
        );
    }
    listed.push_str("]}");
    listed
}
