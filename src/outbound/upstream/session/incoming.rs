//! What a server sends: answers to those who wait, progress to who wants it, its own requests to who can take them.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Core;
use super::errand::{Errand, NOT_TAKEN, unanswered};
use super::ledger::Answer;
use crate::mesh::call::request::Progress;
use crate::mesh::upstream::InputRequest;
use crate::mesh::{Error, ErrorKind};
use crate::outbound::upstream::link::Incoming;
use crate::outbound::upstream::message::{self, Message};

/// How many messages in a row may be none before the connection is given up: some servers print a banner.
pub(super) const GARBAGE_MAX: usize = 1000;

/// The longest id of a server's own request.
const REQUEST_ID_BYTES_MAX: usize = 256;

/// How much a server may say in [`PACE_TIME`]: a message weighs one, and one more for each [`PACE_BYTES`].
const PACE_WEIGHT_MAX: usize = 5_000;
const PACE_TIME: Duration = Duration::from_millis(250);
const PACE_BYTES: usize = 16 << 10;

/// How much of a message about progress is passed on.
const PROGRESS_CHARS_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProgressParams<'a> {
    #[serde(borrow)]
    progress_token: &'a RawValue,
    progress: f64,
    #[serde(default)]
    total: Option<f64>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelledParams<'a> {
    #[serde(borrow)]
    request_id: &'a RawValue,
}

/// Reads until the link ends or sends nothing but garbage.
pub(super) async fn read(core: Arc<Core>, mut incoming: mpsc::Receiver<Incoming>) {
    let mut garbage = 0;
    let mut pace = Pace::new();
    while let Some(received) = incoming.recv().await {
        pace.keep(&received).await;
        match received {
            Incoming::Message(text) => core.receive(&text, None, &mut garbage),
            Incoming::Related { request_id, text } => {
                core.receive(&text, Some(request_id), &mut garbage);
            }
            Incoming::Failed {
                request_id,
                not_sent,
                error,
            } => {
                let error = core.scrubber.clean_error(error);
                core.hand_over(request_id, Answer::Failed { not_sent, error });
            }
            Incoming::Closed(error) => return core.end_with(core.scrubber.clean_error(error)),
        }
        if garbage > GARBAGE_MAX {
            return core.end_with(Error::new(
                ErrorKind::UpstreamError,
                "the server sent too much that is no message of the protocol",
            ));
        }
    }
    core.end_with(Error::new(
        ErrorKind::UpstreamUnavailable,
        "the server has ended the connection",
    ));
}

/// How fast a server may speak: one that floods us is read no faster than this, and waits in its own pipe.
struct Pace {
    since: Instant,
    weight: usize,
}

impl Pace {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            weight: 0,
        }
    }

    async fn keep(&mut self, received: &Incoming) {
        let length = match received {
            Incoming::Message(text) | Incoming::Related { text, .. } => text.len(),
            Incoming::Failed { .. } | Incoming::Closed(_) => 0,
        };
        self.weight += 1 + length / PACE_BYTES;
        if self.weight < PACE_WEIGHT_MAX {
            return;
        }
        tokio::time::sleep_until(self.since + PACE_TIME).await;
        *self = Self::new();
    }
}

impl Core {
    fn receive(&self, text: &str, related: Option<i64>, garbage: &mut usize) {
        message::each(text, &mut |message| {
            let is_garbage = match message {
                Message::Result { id, result } => {
                    if let Some(waiting) = self.ledger.take(id) {
                        let _ = waiting.answer.send(Answer::Result(result.to_owned()));
                    }
                    false
                }
                Message::Refused {
                    id: Some(id),
                    refusal,
                } => {
                    self.hand_over(id, Answer::Refused(refusal));
                    false
                }
                Message::Refused { id: None, refusal } => match self.ledger.take_only() {
                    Some(waiting) => waiting.answer.send(Answer::Refused(refusal)).is_err(),
                    None => true,
                },
                Message::Request { id, method, params } => {
                    self.asked(id, method, params, related);
                    false
                }
                Message::Notification { method, params } => {
                    self.notified(&method, params);
                    false
                }
                Message::Garbage { id } => {
                    if let Some(id) = id {
                        self.hand_over(id, Answer::Garbage);
                    }
                    true
                }
            };
            *garbage = if is_garbage { *garbage + 1 } else { 0 };
        });
    }

    fn hand_over(&self, id: i64, answer: Answer) {
        if let Some(waiting) = self.ledger.take(id) {
            let _ = waiting.answer.send(answer);
        }
    }

    fn notified(&self, method: &str, params: Option<&RawValue>) {
        match method {
            "notifications/progress" => self.progressed(params),
            "notifications/tools/list_changed" => self.tools.changed(),
            "notifications/cancelled" => {
                if let Some(cancelled) = message::read::<CancelledParams<'_>>(params) {
                    self.run(Errand::Forget(cancelled.request_id.get().to_owned()));
                }
            }
            _ => {}
        }
    }

    fn progressed(&self, params: Option<&RawValue>) {
        let Some(told) = message::read::<ProgressParams<'_>>(params) else {
            return;
        };
        let id = message::own_id(told.progress_token);
        if let Some(progress) = id.and_then(|id| self.ledger.progress_of(id)) {
            let message = told.message.unwrap_or_default();
            let _ = progress.try_send(Progress {
                done: told.progress,
                total: told.total,
                message: self.progress_message(&message),
            });
        }
    }

    fn progress_message(&self, said: &str) -> String {
        let clean = self.scrubber.clean(said);
        clean.chars().take(PROGRESS_CHARS_MAX).collect()
    }

    fn asked(
        &self,
        id: &RawValue,
        method: String,
        params: Option<&RawValue>,
        related: Option<i64>,
    ) {
        if id.get().len() > REQUEST_ID_BYTES_MAX {
            return;
        }
        match method.as_str() {
            "ping" => self.run(Errand::reply(message::answer(id, "{}"))),
            "elicitation/create" | "sampling/createMessage" | "roots/list" => {
                self.asked_for_input(id, method, params, related);
            }
            _ => {
                let reply = message::refuse(id, NOT_TAKEN, "this client does not know the method");
                self.run(Errand::reply(reply));
            }
        }
    }

    fn asked_for_input(
        &self,
        id: &RawValue,
        method: String,
        params: Option<&RawValue>,
        related: Option<i64>,
    ) {
        let (sender, answer) = oneshot::channel();
        let request = InputRequest {
            method: method.clone(),
            params: params.map(ToOwned::to_owned),
            answer: sender,
        };
        let taker = self.ledger.input_of(related);
        let is_taken = taker.is_some_and(|taker| taker.try_send(request).is_ok());
        self.run(match is_taken {
            true => Errand::Await {
                id: id.to_owned(),
                method,
                answer,
            },
            false => Errand::reply(unanswered(id, &method, NOT_TAKEN)),
        });
    }
}
