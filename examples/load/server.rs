//! The server under load: a child process, its pipes, and requests kept in flight on them.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::process::{self, Memory};
use crate::{Result, stub};

/// How long one server may live: whatever hangs ends in an error then.
const LIFE_MAX: Duration = Duration::from_secs(240);

/// How long a server may take to publish what it has recorded.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// How much is read from a server at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// How much of a server's log is shown when it fails, in bytes.
const LOG_SHOWN_BYTES: usize = 2_000;

/// The ids of requests that nobody waits for begin here.
const UNWATCHED: u64 = 1 << 40;

/// How a server is started.
pub(crate) struct Setup {
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
    folder: TempDir,
}

/// A running server. Dropped, its process is killed; its folder goes with the last server in it.
pub(crate) struct Server {
    process: Arc<Mutex<Child>>,
    id: u32,
    input: Option<ChildStdin>,
    output: ChildStdout,
    buffer: Vec<u8>,
    consumed: usize,
    calls: u64,
    setup: Arc<Setup>,
    ready: Duration,
    _alive: Sender<()>,
}

/// What calls took.
pub(crate) struct Run {
    /// From each request's writing to its answer's reading.
    pub(crate) latencies: Vec<Duration>,
    /// All of them together.
    pub(crate) elapsed: Duration,
    /// The server's processor time, that of publishing their events included.
    pub(crate) cpu: Option<Duration>,
    /// How long after the last answer the server was still at work.
    pub(crate) settled: Duration,
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: u64,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Setup {
    /// A server on the embedded cloud, in a new folder, with limits that no figure meets.
    pub(crate) fn embedded() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("use-aws-mcp-load-")
            .tempdir()?;
        let setup = Self {
            variables: Vec::new(),
            arguments: Vec::new(),
            folder,
        };
        std::fs::write(
            setup.path("tenants.toml"),
            format!("{}[tenants.local]\n", raised_limits()),
        )?;
        Ok(setup
            .with("AGENT_MESH_DATA_DIR", "data")
            .with("AGENT_MESH_TENANTS_FILE", "tenants.toml")
            .with_value("AGENT_MESH_BACKEND", "embedded"))
    }

    /// A server on AWS, which `stub` stands in for.
    pub(crate) fn aws(stub: &stub::Stub) -> Result<Self> {
        let mut setup = Self::embedded()?.with_value("AGENT_MESH_BACKEND", "aws");
        for (name, value) in stub.variables() {
            setup = setup.with_value(name, &value);
        }
        Ok(setup)
    }

    /// With a variable that names a file in the server's folder.
    pub(crate) fn with(self, variable: &str, file: &str) -> Self {
        let path = self.path(file).display().to_string();
        self.with_value(variable, &path)
    }

    /// With a variable.
    pub(crate) fn with_value(mut self, variable: &str, value: &str) -> Self {
        self.variables.retain(|(name, _)| name != variable);
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// With these words on its command line.
    pub(crate) fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// A file in the server's folder.
    pub(crate) fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    /// Starts it and shakes hands. Nothing of this process's environment reaches it.
    pub(crate) fn start(self: &Arc<Self>, binary: &Path) -> Result<Server> {
        let begun = Instant::now();
        let mut process = Command::new(binary)
            .args(&self.arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(self.path("log"))?,
            )
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", binary.display()))?;
        let (id, input, output) = (process.id(), process.stdin.take(), process.stdout.take());
        let process = Arc::new(Mutex::new(process));
        let alive = watch(Arc::clone(&process));
        let output = output.ok_or("a child has no stdout")?;
        let mut server = Server {
            process,
            id,
            input,
            output,
            buffer: Vec::new(),
            consumed: 0,
            calls: 0,
            setup: Arc::clone(self),
            ready: Duration::ZERO,
            _alive: alive,
        };
        server.shake_hands()?;
        server.ready = begun.elapsed();
        Ok(server)
    }
}

/// Limits raised so far that nothing here meets them; they are checked all the same.
pub(crate) fn raised_limits() -> String {
    let rates = [
        "dynamodb_read",
        "dynamodb_write",
        "s3_get",
        "s3_put",
        "s3_list",
        "eventbridge",
        "secrets",
        "upstream",
    ];
    let rates: String = rates
        .iter()
        .map(|name| format!("{name} = 1000000000\n"))
        .collect();
    format!(
        "[defaults.limits]\nrequests_per_minute = 1000000000\ncalls_in_flight = 1024\nworkflows_running = 1000000\nintegrations = 1000\nchildren = 1000\n{rates}"
    )
}

/// Kills `process` when its time is up. It ends when what is handed back is dropped.
fn watch(process: Arc<Mutex<Child>>) -> Sender<()> {
    let (alive, ended) = mpsc::channel();
    thread::spawn(move || {
        if ended.recv_timeout(LIFE_MAX) == Err(RecvTimeoutError::Timeout) {
            let _ = process
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .kill();
        }
    });
    alive
}

impl Server {
    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Its resident memory.
    pub(crate) fn memory(&self) -> Option<Memory> {
        process::memory(self.id)
    }

    /// From before its start to the answer of the handshake.
    pub(crate) fn ready(&self) -> Duration {
        self.ready
    }

    /// Closes its input and waits until it has ended by itself.
    pub(crate) fn end(mut self) -> Result<()> {
        self.input = None;
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest)?;
        let status = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(self.ended())
        }
    }

    fn shake_hands(&mut self) -> Result<()> {
        let hello = "\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\
                     \"capabilities\":{},\"clientInfo\":{\"name\":\"load\",\"version\":\"1\"}}";
        self.call(hello)?;
        // Nobody waits for what a notification comes to.
        self.write(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")
    }

    /// One request and its answer. `body` is what a request says besides its id.
    pub(crate) fn call(&mut self, body: &str) -> Result<String> {
        let mut answer = String::new();
        let mut request = |_: usize, line: &mut String| line.push_str(body);
        self.drive(1, 1, &mut request, &mut |text| answer = text.to_owned())?;
        Ok(answer)
    }

    /// `count` calls with `in_flight` of them under way at any time, and what publishing them took. The
    /// body of the request number n is what `request` appends for n.
    pub(crate) fn run(
        &mut self,
        count: usize,
        in_flight: usize,
        request: &mut dyn FnMut(usize, &mut String),
    ) -> Result<Run> {
        let cpu = process::cpu(self.id);
        let started = Instant::now();
        let latencies = self.drive(count, in_flight, request, &mut |_| {})?;
        let elapsed = started.elapsed();
        let settled = process::settle(self.id, SETTLE_MAX);
        let used = process::cpu(self.id).zip(cpu);
        let cpu = used.map(|(after, before)| after.saturating_sub(before));
        Ok(Run {
            latencies,
            elapsed,
            cpu,
            settled,
        })
    }

    /// As [`Server::run`], with each result's text, and without waiting for anything afterwards.
    pub(crate) fn drive(
        &mut self,
        count: usize,
        in_flight: usize,
        request: &mut dyn FnMut(usize, &mut String),
        answered: &mut dyn FnMut(&str),
    ) -> Result<Vec<Duration>> {
        let first = self.calls;
        let mut begun = Vec::with_capacity(count);
        let mut latencies = Vec::with_capacity(count);
        let mut lines = String::new();
        while latencies.len() < count {
            lines.clear();
            let room = in_flight.saturating_sub(begun.len() - latencies.len());
            let last = count.min(begun.len() + room);
            for number in begun.len()..last {
                lines.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
                lines.push_str(&(first + number as u64).to_string());
                lines.push(',');
                request(number, &mut lines);
                lines.push_str("}\n");
            }
            begun.resize(last, Instant::now());
            self.write(lines.as_bytes())?;
            self.read()?;
            let now = Instant::now();
            while let Some(line) = self.next_line() {
                let Some((id, result)) = check(&line)? else {
                    continue;
                };
                let number = usize::try_from(id.wrapping_sub(first))?;
                let start = begun.get(number).ok_or("an answer to no request")?;
                latencies.push(now.duration_since(*start));
                answered(result);
            }
        }
        self.calls += count as u64;
        Ok(latencies)
    }

    /// Sends a request and waits for nothing: its answer, whatever it is, is passed over.
    pub(crate) fn post(&mut self, body: &str) -> Result<()> {
        let id = UNWATCHED + self.calls;
        self.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{body}}}\n").as_bytes())
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(process.try_wait(), Ok(None))
    }

    /// The pipe into it, for who writes there alone.
    pub(crate) fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.input.as_mut().ok_or("the server's input is gone")?;
        input.write_all(bytes).map_err(|_| self.ended())
    }

    /// Reads until there is at least one whole line.
    fn read(&mut self) -> Result<()> {
        loop {
            if self.buffer[self.consumed..].contains(&b'\n') {
                return Ok(());
            }
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
            let end = self.buffer.len();
            self.buffer.resize(end + READ_BYTES, 0);
            let count = self.output.read(&mut self.buffer[end..])?;
            self.buffer.truncate(end + count);
            if count == 0 {
                return Err(self.ended());
            }
        }
    }

    fn next_line(&mut self) -> Option<String> {
        let rest = &self.buffer[self.consumed..];
        let length = rest.iter().position(|&byte| byte == b'\n')?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.consumed += length + 1;
        Some(line)
    }

    /// Why there is no server any more, with the end of its log.
    fn ended(&self) -> Box<dyn std::error::Error + Send + Sync> {
        let log = std::fs::read_to_string(self.setup.path("log")).unwrap_or_default();
        let skipped = log.len().saturating_sub(LOG_SHOWN_BYTES);
        let end: String = log.chars().skip(skipped).collect();
        format!(
            "the server has ended, or took longer than {} s; its log: {end}",
            LIFE_MAX.as_secs()
        )
        .into()
    }
}

/// The number and the result of an answer that is no error; nothing for one that nobody waits for.
fn check(line: &str) -> Result<Option<(u64, &str)>> {
    let answer: Answer<'_> =
        serde_json::from_str(line).map_err(|error| format!("{error} in the answer {line}"))?;
    if answer.id >= UNWATCHED {
        return Ok(None);
    }
    match answer.result.map(RawValue::get) {
        Some(result) if answer.error.is_none() && !result.contains("\"isError\":true") => {
            Ok(Some((answer.id, result)))
        }
        _ => Err(format!("a call was answered {line}").into()),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = process.kill();
        let _ = process.wait();
    }
}
