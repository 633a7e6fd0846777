//! What the two directions of a session share: the answers on their way out and the requests in flight.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    ErrorCode, ErrorData, JsonRpcMessage, ProtocolVersion, RequestId, ServerJsonRpcMessage,
    ServerNotification, ServerResult,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::flight::{Flight, Running, Traffic};
use super::id::Id;
use super::limits::Limits;
use super::message::{Message, Refusal};
use super::output::{Kind, Lines, Output};
use crate::inbound::sign_in::ScopeSlot;

/// The code of what a server that is shutting down does not do any more.
pub(super) const SHUTTING_DOWN: ErrorCode = ErrorCode(-32012);

/// What reading, writing and the session's end have in common.
pub(crate) struct Link {
    pub(super) traffic: Arc<Traffic>,
    pub(super) output: Arc<Output>,
    /// Cancelled when nothing more will be read.
    pub(super) input_ended: CancellationToken,
    /// Messages that came by another way than this session's input.
    injected: Mutex<VecDeque<Message>>,
    /// What the ids of our own requests begin with, where they have to differ from those of other sessions.
    id_prefix: Option<String>,
    /// Where handlers leave what a token's scope lacks, where the client can be told so.
    scope: ScopeSlot,
    /// The code of the first answer that is an error; 0 while there is none.
    first_error: AtomicI32,
    refusals: AtomicU64,
}

/// How many messages may wait that came by another way.
const INJECTED_MAX: usize = 64;

impl Link {
    pub(super) fn new(limits: Limits, id_prefix: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            traffic: Traffic::new(limits),
            output: Arc::default(),
            input_ended: CancellationToken::new(),
            injected: Mutex::default(),
            id_prefix,
            scope: ScopeSlot::default(),
            first_error: AtomicI32::new(0),
            refusals: AtomicU64::new(0),
        })
    }

    /// Hands over a message that came by another way. Beyond what may wait it is dropped.
    pub(super) fn inject(&self, message: Message) {
        let mut injected = self.injected();
        if injected.len() < INJECTED_MAX {
            injected.push_back(message);
        }
        drop(injected);
        self.traffic.wake();
    }

    /// The next message that came by another way.
    pub(super) fn take_injected(&self) -> Option<Message> {
        self.injected().pop_front()
    }

    fn injected(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.injected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The code of the first answer that is an error, where one has been given.
    pub(super) fn first_error(&self) -> Option<ErrorCode> {
        let code = self.first_error.load(Ordering::Relaxed);
        (code != 0).then_some(ErrorCode(code))
    }

    /// Where handlers leave what a token's scope lacks.
    pub(super) fn scope(&self) -> &ScopeSlot {
        &self.scope
    }

    /// The lines that have gathered for the client, for one who sends them on by himself.
    pub(super) async fn take(&self) -> Option<Lines> {
        self.output.take().await
    }

    /// Nobody takes the lines any more: the session ends.
    pub(super) fn leave(&self) {
        self.output.abandon();
        self.traffic.wake();
    }

    /// The id that the client gets for a request of ours.
    fn outgoing_id(&self, id: RequestId) -> RequestId {
        match (&self.id_prefix, id) {
            (Some(prefix), RequestId::Number(number)) => {
                RequestId::String(format!("{prefix}-{number}").into())
            }
            (_, id) => id,
        }
    }

    /// Refuses new requests from now on; the transport ends when what is in flight has been answered.
    pub(crate) fn drain(&self) {
        self.traffic.drain();
    }

    /// Waits until the client has closed its end.
    pub(crate) async fn input_ended(&self) {
        self.input_ended.cancelled().await;
    }

    /// Answers what is still in flight with an error, lets nothing more out after it, and returns how many
    /// requests that were.
    pub(crate) fn abandon(&self) -> usize {
        let left = self.traffic.take_all();
        let count = left.len();
        for (id, running) in left {
            let reason = "the server shut down before this ended; it may have taken effect";
            let refusal = Refusal {
                id: Id::Usable(id),
                code: SHUTTING_DOWN,
                reason: reason.to_owned(),
            };
            self.refuse(&refusal, running.batch.as_ref());
        }
        self.output.close();
        count
    }

    /// Waits until all answers are written.
    pub(crate) async fn flushed(&self) {
        let _ = self.output.below(0).await;
    }

    /// Takes a message of the service loop. Returns the position in the output that its sender waits for;
    /// for answers there is none, because the request they answer holds its place until they are written.
    pub(super) fn send(&self, message: ServerJsonRpcMessage) -> io::Result<Option<u64>> {
        match message {
            JsonRpcMessage::Response(response) => {
                self.respond(&response.id, Ok(response.result));
                Ok(None)
            }
            JsonRpcMessage::Error(error) => {
                if let Some(id) = error.id {
                    self.respond(&id, Err(error.error));
                }
                Ok(None)
            }
            JsonRpcMessage::Request(mut request) => {
                self.traffic.ask(request.id.clone());
                request.id = self.outgoing_id(request.id);
                self.write(&JsonRpcMessage::<_, ServerResult, ServerNotification>::Request(request))
                    .map(Some)
            }
            JsonRpcMessage::Notification(mut notification) => {
                if let ServerNotification::CancelledNotification(cancelled) =
                    &mut notification.notification
                    && let Some(id) = cancelled.params.request_id.take()
                {
                    self.traffic.asked(&id);
                    cancelled.params.request_id = Some(self.outgoing_id(id));
                }
                self.write(&notification).map(Some)
            }
        }
    }

    /// Answers a line that was not taken. Without a usable id that is only possible where the revision
    /// knows errors without one, which is from 2025-11-25 on: to an older client such a line is no
    /// message at all, and some take a server that sends one out of service. Null is never sent for an id.
    pub(super) fn refuse(&self, refusal: &Refusal, batch: Option<&Arc<Batch>>) {
        self.log_refusal(refusal.code);
        let has_id = refusal.id.can_be_answered();
        let is_sent = has_id || (batch.is_none() && self.takes_errors_without_id());
        let text = is_sent.then(|| error_text(&refusal.id, refusal.code, &refusal.reason, None));
        self.deliver(text, None, batch);
    }

    /// A message is done without an answer.
    pub(super) fn skip(&self, batch: Option<&Arc<Batch>>) {
        self.deliver(None, None, batch);
    }

    fn takes_errors_without_id(&self) -> bool {
        let version = self.traffic.version();
        version.is_none_or(|version| version >= ProtocolVersion::V_2025_11_25)
    }

    fn respond(&self, id: &RequestId, result: Result<ServerResult, ErrorData>) {
        if let Ok(ServerResult::InitializeResult(result)) = &result {
            self.traffic.agree(result.protocol_version.clone());
        }
        let Some(Running { flight, batch }) = self.traffic.answer(id) else {
            tracing::debug!("an answer that nobody waits for is dropped");
            return;
        };
        if let Err(error) = &result {
            self.log_refusal(error.code);
        }
        let reply = flight.take_reply();
        let kind = match self.traffic.has_one() {
            true => Kind::LoneAnswer,
            false => Kind::Answer,
        };
        let write = |line: &mut Vec<u8>| write_answer(line, id, result, reply);
        if batch.is_some() {
            let mut text = Vec::new();
            let written = write(&mut text).map(|()| text);
            self.deliver(written.ok(), Some(flight), batch.as_ref());
        } else {
            // A client that has gone is noticed by the writer.
            let _ = self.output.line([flight], kind, write);
        }
    }

    fn deliver(
        &self,
        text: Option<Vec<u8>>,
        held: Option<Arc<Flight>>,
        batch: Option<&Arc<Batch>>,
    ) {
        let _ = match (batch, text) {
            (Some(batch), text) => match batch.done(text, held) {
                Some(mut answers) => {
                    let held = std::mem::take(&mut answers.held);
                    self.output.line(held, Kind::Answer, |line| {
                        answers.write(line);
                        Ok(())
                    })
                }
                None => Ok(0),
            },
            (None, Some(text)) => self
                .output
                .line(held, Kind::Answer, |line| line.write_all(&text)),
            (None, None) => Ok(0),
        };
    }

    fn write(&self, message: &impl serde::Serialize) -> io::Result<u64> {
        self.output.line([], Kind::Message, |line| {
            serde_json::to_writer(line, message).map_err(io::Error::from)
        })
    }

    /// Says that messages are refused, ever more rarely: whoever floods the server does not flood the log.
    /// The reason may repeat what stood in the message, so it is not logged.
    fn log_refusal(&self, code: ErrorCode) {
        let (none, relaxed) = (0, Ordering::Relaxed);
        let _ = self
            .first_error
            .compare_exchange(none, code.0, relaxed, relaxed);
        let count = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(code = code.0, count, "a message is refused");
        } else {
            tracing::debug!(code = code.0, count, "a message is refused");
        }
    }
}

/// The answer to a message that nothing else will answer.
pub(super) fn refusal_text(refusal: &Refusal) -> Vec<u8> {
    error_text(&refusal.id, refusal.code, &refusal.reason, None)
}

fn write_answer(
    line: &mut Vec<u8>,
    id: &RequestId,
    result: Result<ServerResult, ErrorData>,
    reply: Option<String>,
) -> io::Result<()> {
    let start = line.len();
    let id = Id::Usable(id.clone());
    let error = match result {
        Ok(result) => {
            write!(line, r#"{{"jsonrpc":"2.0","id":{id},"result":"#)?;
            let body = line.len();
            let written = match reply {
                Some(reply) => {
                    line.extend_from_slice(reply.as_bytes());
                    // A line break in JSON text can only stand between its tokens.
                    for byte in line.iter_mut().skip(body) {
                        if matches!(byte, b'\n' | b'\r') {
                            *byte = b' ';
                        }
                    }
                    Ok(())
                }
                None => serde_json::to_writer(&mut *line, &result),
            };
            match written {
                Ok(()) => {
                    line.push(b'}');
                    return Ok(());
                }
                Err(_) => {
                    tracing::error!("a result cannot be written as JSON");
                    ErrorData::internal_error("internal error", None)
                }
            }
        }
        Err(error) => error,
    };
    line.truncate(start);
    line.extend(error_text(
        &id,
        error.code,
        &error.message,
        error.data.as_ref(),
    ));
    Ok(())
}

/// An error as JSON text, in which what is not there is left out.
fn error_text(id: &Id, code: ErrorCode, message: &str, data: Option<&Value>) -> Vec<u8> {
    let mut text = r#"{"jsonrpc":"2.0","#.to_owned();
    if id.can_be_answered() {
        text += &format!(r#""id":{id},"#);
    }
    let message = Value::from(message);
    text += &format!(r#""error":{{"code":{},"message":{message}"#, code.0);
    if let Some(data) = data.filter(|data| !data.is_null()) {
        text += &format!(r#","data":{data}"#);
    }
    text += "}}";
    text.into_bytes()
}
