//! A stand-in for AWS over plain HTTP that answers after a fixed time and counts what it was given.
//!
//! It speaks as much of DynamoDB, EventBridge and S3 as the server uses here. A thread serves a connection and
//! sleeps on its own: a runtime's timer goes by the millisecond, and calls that follow each other would lock
//! on to its ticks and all seem to take the same time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Result;

/// The most connections at a time, each with a thread.
const CONNECTIONS_MAX: usize = 256;

/// The longest body of a request that is read, in bytes.
const BODY_BYTES_MAX: usize = 32 << 20;

/// How long an idle connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How often a closed bus is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What the bus does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bus {
    /// It takes events.
    Up,
    /// It answers 503.
    Unavailable,
    /// Nobody listens at its address.
    Gone,
}

/// The stand-in, until it is dropped.
pub(crate) struct Stub {
    shared: Arc<Shared>,
    address: SocketAddr,
    bus_address: SocketAddr,
}

struct Shared {
    delay: Duration,
    ended: AtomicBool,
    connections: AtomicUsize,
    bus: Mutex<Bus>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The values that were put, by partition and sort key.
    rows: HashMap<(String, String), String>,
    /// The ids of the events that the bus has taken.
    events: HashSet<String>,
    /// How many requests of each operation were answered.
    requests: BTreeMap<String, u64>,
}

/// One request.
struct Request {
    method: String,
    path: String,
    target: String,
    body: Vec<u8>,
}

/// An answer.
struct Reply {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Stub {
    /// A stand-in that answers each request after `delay`.
    pub(crate) fn start(delay: Duration) -> Result<Self> {
        let shared = Arc::new(Shared {
            delay,
            ended: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            bus: Mutex::new(Bus::Up),
            seen: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let bus_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, bus_address) = (listener.local_addr()?, bus_listener.local_addr()?);
        for (listener, is_bus) in [(listener, false), (bus_listener, true)] {
            let shared = Arc::clone(&shared);
            thread::spawn(move || listen(&shared, listener, is_bus));
        }
        Ok(Self {
            shared,
            address,
            bus_address,
        })
    }

    /// What leads the SDK here.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            (
                "AWS_ENDPOINT_URL_EVENTBRIDGE",
                format!("http://{}", self.bus_address),
            ),
            ("AWS_ACCESS_KEY_ID", "load".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "load".to_owned()),
            ("AWS_REGION", "us-west-2".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AGENT_MESH_BUCKET_OWNER", "000000000000".to_owned()),
        ]
    }

    /// Lets the bus fail, or work again.
    pub(crate) fn set_bus(&self, bus: Bus) {
        *self.shared.bus() = bus;
    }

    /// The keys of a value that was put.
    pub(crate) fn a_row(&self) -> Option<(String, String)> {
        self.shared.seen().rows.keys().next().cloned()
    }

    /// How many of `events` the bus has not taken yet.
    pub(crate) fn missing(&self, events: &HashSet<String>) -> usize {
        let seen = self.shared.seen();
        events
            .iter()
            .filter(|event| !seen.events.contains(*event))
            .count()
    }

    /// How many requests of each operation were answered, and forgets them.
    pub(crate) fn take_requests(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.shared.seen().requests)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn bus(&self) -> MutexGuard<'_, Bus> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn is_gone(&self, is_bus: bool) -> bool {
        is_bus && *self.bus() == Bus::Gone
    }
}

/// Takes connections until the end. While the bus is gone its address is free, and refuses.
fn listen(shared: &Arc<Shared>, listener: TcpListener, is_bus: bool) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut listening = listener.set_nonblocking(true).is_ok().then_some(listener);
    while !shared.has_ended() {
        if shared.is_gone(is_bus) {
            listening = None;
        } else if listening.is_none() {
            listening = TcpListener::bind(address).ok();
            listening
                .iter()
                .for_each(|listener| drop(listener.set_nonblocking(true)));
        }
        match listening.as_ref().map(TcpListener::accept) {
            Some(Ok((stream, _)))
                if shared.connections.load(Ordering::Relaxed) < CONNECTIONS_MAX =>
            {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(shared);
                thread::spawn(move || {
                    // A connection that breaks off is the client's to open again.
                    let _ = serve(&shared, stream, is_bus);
                    shared.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
            _ => thread::sleep(LOOK),
        }
    }
}

fn serve(shared: &Shared, stream: TcpStream, is_bus: bool) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_MAX))?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read(&mut input, &mut output)? {
        if shared.has_ended() || shared.is_gone(is_bus) {
            break;
        }
        thread::sleep(shared.delay);
        let reply = answer(shared, &request)?;
        let text = format!(
            "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\netag: \"0\"\r\nx-amzn-requestid: load\r\n\r\n{}",
            reply.status,
            reply.content_type,
            reply.body.len(),
            reply.body
        );
        output.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// The next request on a connection, or nothing at its end.
fn read(input: &mut BufReader<TcpStream>, output: &mut TcpStream) -> Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (mut target, mut length) = (String::new(), 0_usize);
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => target = value.trim().to_owned(),
            "content-length" => length = value.trim().parse()?,
            "expect" => output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?,
            _ => {}
        }
    }
    if length > BODY_BYTES_MAX {
        return Err("a body is too long".into());
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(Request {
        method,
        path,
        target,
        body,
    }))
}

fn answer(shared: &Shared, request: &Request) -> Result<Reply> {
    let operation = request.target.rsplit('.').next().unwrap_or_default();
    let name = if operation.is_empty() {
        &request.method
    } else {
        operation
    };
    let json = |body: &str| Reply {
        status: "200 OK",
        content_type: "application/x-amz-json-1.0",
        body: body.to_owned(),
    };
    const CAPACITY: &str =
        r#""ConsumedCapacity":{"TableName":"agent-mesh-kv","CapacityUnits":1.0}"#;
    if operation == "PutEvents" && *shared.bus() == Bus::Unavailable {
        let body = r#"{"__type":"ServiceUnavailable","message":"down"}"#;
        return Ok(Reply {
            status: "503 Service Unavailable",
            ..json(body)
        });
    }
    let mut seen = shared.seen();
    *seen.requests.entry(name.to_owned()).or_default() += 1;
    Ok(match operation {
        "GetItem" => {
            let get: GetItem = serde_json::from_slice(&request.body)?;
            match seen.rows.get(&(get.key.partition.text, get.key.sort.text)) {
                Some(row) => json(&format!("{{\"Item\":{row},{CAPACITY}}}")),
                None => json(&format!("{{{CAPACITY}}}")),
            }
        }
        "PutItem" => {
            let put: PutItem<'_> = serde_json::from_slice(&request.body)?;
            let key: Key = serde_json::from_str(put.item.get())?;
            // Only values are read again.
            if key.sort.text.starts_with("K#") {
                seen.rows.insert(
                    (key.partition.text, key.sort.text),
                    put.item.get().to_owned(),
                );
            }
            json(&format!("{{{CAPACITY}}}"))
        }
        "UpdateItem" | "DeleteItem" => json(&format!("{{{CAPACITY}}}")),
        "BatchWriteItem" => json(r#"{"UnprocessedItems":{}}"#),
        "TransactWriteItems" => json("{}"),
        "Query" => json(&format!(
            "{{\"Items\":[],\"Count\":0,\"ScannedCount\":0,{CAPACITY}}}"
        )),
        "DescribeTable" => json(r#"{"Table":{"TableStatus":"ACTIVE"}}"#),
        "DescribeEventBus" => json(r#"{"Name":"agent-mesh-events"}"#),
        "PutEvents" => json(&take_events(&mut seen, &request.body)?),
        "" => object_reply(request),
        _ => Reply {
            status: "400 Bad Request",
            ..json(r#"{"__type":"UnknownOperationException"}"#)
        },
    })
}

/// Notes the ids of the events in `body`. What PutEvents answers.
fn take_events(seen: &mut Seen, body: &[u8]) -> Result<String> {
    let put: PutEvents = serde_json::from_slice(body)?;
    let mut results = Vec::new();
    for entry in put.entries {
        let detail: Detail = serde_json::from_str(&entry.detail)?;
        results.push(format!("{{\"EventId\":\"{}\"}}", detail.event_id));
        seen.events.insert(detail.event_id);
    }
    Ok(format!(
        "{{\"FailedEntryCount\":0,\"Entries\":[{}]}}",
        results.join(",")
    ))
}

/// A bucket in which nothing is.
fn object_reply(request: &Request) -> Reply {
    let xml = |status, body: &str| Reply {
        status,
        content_type: "application/xml",
        body: body.to_owned(),
    };
    match request.method.as_str() {
        "GET" if request.path.contains("list-type=2") => xml(
            "200 OK",
            "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        ),
        "GET" | "HEAD" => xml("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>"),
        _ => xml("200 OK", ""),
    }
}

#[derive(Deserialize)]
struct GetItem {
    #[serde(rename = "Key")]
    key: Key,
}

#[derive(Deserialize)]
struct PutItem<'a> {
    #[serde(borrow, rename = "Item")]
    item: &'a RawValue,
}

#[derive(Deserialize)]
struct Key {
    #[serde(rename = "PK")]
    partition: Attribute,
    #[serde(rename = "SK")]
    sort: Attribute,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "S")]
    text: String,
}

#[derive(Deserialize)]
struct PutEvents {
    #[serde(rename = "Entries")]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "Detail")]
    detail: String,
}

#[derive(Deserialize)]
struct Detail {
    event_id: String,
}
