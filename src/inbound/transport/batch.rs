//! Several requests on one line, answered on one line: revision 2025-03-26 asks servers to take that.

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{ErrorCode, ProtocolVersion};
use tokio::io::AsyncRead;

use super::LineTransport;
use super::flight::Flight;
use super::id::Id;
use super::message::{Message, Refusal};

/// The answers to one batch, until all are there.
#[derive(Default)]
pub(super) struct Batch {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    missing: usize,
    answers: Answers,
}

/// The answers that go on one line, and the requests that wait for it to be written.
#[derive(Default)]
pub(super) struct Answers {
    texts: Vec<Vec<u8>>,
    pub(super) held: Vec<Arc<Flight>>,
}

impl Batch {
    /// A batch of `messages`, each of which calls [`Self::done`] once.
    pub(super) fn new(messages: usize) -> Arc<Self> {
        let state = State {
            missing: messages,
            answers: Answers::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    /// One message is done, with an answer or without. Returns the line when it was the last one.
    pub(super) fn done(
        &self,
        answer: Option<Vec<u8>>,
        held: Option<Arc<Flight>>,
    ) -> Option<Answers> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answers.texts.extend(answer);
        state.answers.held.extend(held);
        state.missing = state.missing.saturating_sub(1);
        if state.missing > 0 {
            return None;
        }
        let answers = std::mem::take(&mut state.answers);
        (!answers.texts.is_empty()).then_some(answers)
    }
}

impl Answers {
    /// The array of the answers as JSON text.
    pub(super) fn write(&self, line: &mut Vec<u8>) {
        line.push(b'[');
        line.extend(self.texts.join(&b','));
        line.push(b']');
    }
}

impl<R: AsyncRead + Send + Unpin> LineTransport<R> {
    /// Takes the messages of a batch one by one. Only revision 2025-03-26 knows batches; in others each
    /// request is refused by itself, because nothing else could bear its id.
    pub(super) fn take_batch(&mut self, messages: Vec<Message>) {
        let version = self.link.traffic.version();
        if version == Some(ProtocolVersion::V_2025_03_26) {
            let batch = Batch::new(messages.len());
            let messages = self.fitting(messages);
            self.queued
                .extend(messages.map(|message| (message, Some(Arc::clone(&batch)))));
            return;
        }
        let refuse = |id| Refusal {
            id,
            code: ErrorCode::INVALID_REQUEST,
            reason: "only revision 2025-03-26 of the protocol has batches".to_owned(),
        };
        let mut refusals = Vec::new();
        for message in messages {
            match message {
                Message::Request(incoming) => refusals.push(refuse(Id::Usable(incoming.id))),
                Message::Refused(refusal) if refusal.id.can_be_answered() => {
                    refusals.push(refuse(refusal.id));
                }
                _ => {}
            }
        }
        if refusals.is_empty() {
            refusals.push(refuse(Id::Unusable));
        }
        for refusal in refusals {
            self.link.refuse(&refusal, None);
        }
    }

    /// The messages of a batch, with a refusal in place of each request that does not fit in flight together
    /// with those before it: nothing of a batch leaves before all of it is answered, so it would wait for ever.
    fn fitting(&self, messages: Vec<Message>) -> impl Iterator<Item = Message> + use<R> {
        let most = self.limits.bytes_in_flight;
        let mut sum = 0_usize;
        messages.into_iter().map(move |message| match message {
            Message::Request(incoming) => {
                let with = sum.saturating_add(incoming.weight());
                if sum > 0 && with > most {
                    return Message::Refused(Refusal {
                        id: Id::Usable(incoming.id),
                        code: ErrorCode::INVALID_REQUEST,
                        reason: "this is too much for one batch: send it by itself".to_owned(),
                    });
                }
                sum = with;
                Message::Request(incoming)
            }
            message => message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_comes_with_the_last_message_and_holds_only_answers() {
        let batch = Batch::new(3);
        assert!(batch.done(Some(b"1".to_vec()), None).is_none());
        assert!(batch.done(None, None).is_none());
        let answers = batch.done(Some(b"2".to_vec()), None).unwrap();
        let mut line = Vec::new();
        answers.write(&mut line);
        assert_eq!(line, b"[1,2]");
    }

    #[test]
    fn a_batch_of_notifications_has_no_answer() {
        let batch = Batch::new(2);
        assert!(batch.done(None, None).is_none());
        assert!(batch.done(None, None).is_none());
    }
}
