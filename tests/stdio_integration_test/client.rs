//! A client of JSON-RPC over a server's pipes, which distrusts every line that it reads.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use serde_json::{Value, json};

use crate::server::{Server, Start};

/// The newest revision of the protocol that opens with `initialize`.
pub(crate) const NEWEST_SESSION: &str = "2025-11-25";

/// A session, or what becomes one.
pub(crate) struct Client {
    server: Server,
    next_id: u64,
    /// Answers that came before they were asked for, by id.
    answers: HashMap<u64, Value>,
    /// Messages that answer nothing.
    others: Vec<Value>,
}

impl Client {
    /// Starts a server and opens a session with it.
    pub(crate) fn open(start: &Start) -> Self {
        let mut client = Self::of(start.spawn());
        client.initialize(NEWEST_SESSION);
        client
    }

    /// A client without a session.
    pub(crate) fn of(server: Server) -> Self {
        Self {
            server,
            next_id: 1,
            answers: HashMap::new(),
            others: Vec::new(),
        }
    }

    /// The handshake; returns what the server answers.
    pub(crate) fn initialize(&mut self, version: &str) -> Value {
        let answer = self.request("initialize", initialize_params(version));
        self.notify("notifications/initialized", json!({}));
        answer["result"].clone()
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: &Value) {
        self.try_send(message).expect("the server reads");
    }

    /// Sends a request and returns its id.
    pub(crate) fn post(&mut self, method: &str, params: Value) -> u64 {
        self.try_post(method, params).expect("the server reads")
    }

    /// Sends a request; `None` where the server has gone.
    pub(crate) fn try_post(&mut self, method: &str, params: Value) -> Option<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.try_send(&message).map(|()| id)
    }

    /// Sends a call of a tool and returns its id.
    pub(crate) fn post_call(&mut self, tool: &str, arguments: Value) -> u64 {
        self.post("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Sends a notification.
    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.post(method, params);
        self.answer(id)
    }

    /// The answer to a request.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        self.try_answer(id)
            .unwrap_or_else(|| panic!("the server ended; its log:\n{}", self.server.log()))
    }

    /// The answer to a request; `None` where the server ended before.
    pub(crate) fn try_answer(&mut self, id: u64) -> Option<Value> {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return Some(answer);
            }
            let message = self.message()?;
            self.keep(message);
        }
    }

    fn keep(&mut self, message: Value) {
        let is_answer = message.get("method").is_none();
        match message["id"].as_u64().filter(|_| is_answer) {
            Some(id) => {
                let twice = self.answers.insert(id, message);
                assert!(twice.is_none(), "two answers to {id}: {twice:?}");
            }
            None => self.others.push(message),
        }
    }

    /// Waits until so many requests have been answered whose answers nobody has taken; `false` where the
    /// server ended before.
    pub(crate) fn wait_for_answers(&mut self, count: usize) -> bool {
        while self.answers.len() < count {
            let Some(message) = self.message() else {
                return false;
            };
            self.keep(message);
        }
        true
    }

    /// The next message, whatever it is; `None` at the end.
    pub(crate) fn message(&mut self) -> Option<Value> {
        self.server.line().map(|line| parse(&line))
    }

    /// Calls a tool; the whole result.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.post_call(tool, arguments);
        result_of(self.answer(id))
    }

    /// A call that must work: what the tool answers.
    pub(crate) fn ask(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{tool}: {result}");
        result["structuredContent"].clone()
    }

    /// A call that must fail: the error that the tool answers with.
    pub(crate) fn fail(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        result["structuredContent"]["error"].clone()
    }

    /// Messages so far that answered nothing.
    pub(crate) fn others(&self) -> &[Value] {
        &self.others
    }

    /// Takes the first of those messages that has this method; whether there was one.
    pub(crate) fn take_other(&mut self, method: &str) -> bool {
        let found = self
            .others
            .iter()
            .position(|other| other["method"] == method);
        found.map(|position| self.others.remove(position)).is_some()
    }

    fn try_send(&mut self, message: &Value) -> Option<()> {
        self.server.write(format!("{message}\n").as_bytes()).ok()
    }
}

impl Deref for Client {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// What `initialize` asks for.
pub(crate) fn initialize_params(version: &str) -> Value {
    json!({
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "stdio_integration_test", "version": "1"},
    })
}

/// The message of a line, which must be one of the protocol: one object of JSON-RPC on one line, without
/// members that say nothing. Batches are looked into.
pub(crate) fn parse(line: &[u8]) -> Value {
    let shown = || String::from_utf8_lossy(&line[..line.len().min(500)]).into_owned();
    assert!(line.ends_with(b"\n"), "a line without its end: {}", shown());
    let message: Value = serde_json::from_slice(line)
        .unwrap_or_else(|error| panic!("stdout has a line that is no JSON ({error}): {}", shown()));
    let one = std::slice::from_ref(&message);
    for message in message.as_array().map_or(one, Vec::as_slice) {
        assert_eq!(message["jsonrpc"], "2.0", "{}", shown());
        let members = message.as_object().expect("an object");
        assert!(
            !members.values().any(Value::is_null),
            "a member is null: {}",
            shown()
        );
        let parts = ["method", "result", "error"].map(|part| members.contains_key(part));
        assert_eq!(parts.iter().filter(|part| **part).count(), 1, "{}", shown());
    }
    message
}

/// The result of a `tools/call`, of which the text must say what the structure says.
pub(crate) fn result_of(answer: Value) -> Value {
    let result = answer["result"].clone();
    assert!(result.is_object(), "no result: {answer}");
    let text = result["content"][0]["text"].as_str().expect("text content");
    let said: Value = serde_json::from_str(text).expect("text that is JSON");
    assert_eq!(
        said, result["structuredContent"],
        "text and structure differ"
    );
    result
}
