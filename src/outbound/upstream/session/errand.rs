//! What is sent besides requests: answers to the server's own requests, and word of what nobody waits for any more.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Core, SEND_TIME_MAX};
use crate::outbound::upstream::link::Outgoing;
use crate::outbound::upstream::message;

/// How many errands may wait; one more is left undone, as a server that does not read would make them pile up.
pub(super) const QUEUE: usize = 256;

/// How many requests for input of one server may wait for their answers.
pub(super) const INPUTS_MAX: usize = 16;

/// The code for a request that this client does not take.
pub(super) const NOT_TAKEN: i64 = -32601;

/// The code for a request for input that nobody answered.
const NOT_ANSWERED: i64 = -1;

/// Something to do besides the requests.
#[derive(Debug)]
pub(super) enum Errand {
    /// Send this.
    Send {
        text: String,
        method: Option<String>,
    },
    /// Answer a request for input when its answer is there.
    Await {
        id: Box<RawValue>,
        method: String,
        answer: oneshot::Receiver<Box<RawValue>>,
    },
    /// The server no longer wants the answer to its request.
    Forget(String),
}

impl Errand {
    /// Tells the server that the answer to the request `id` is not wanted any more.
    pub(super) fn cancel(id: i64) -> Self {
        let params = format!(r#"{{"requestId":{id},"reason":"it is not waited for any more"}}"#);
        Self::tell("notifications/cancelled", &params)
    }

    /// Tells the server something.
    pub(super) fn tell(method: &str, params: &str) -> Self {
        Self::Send {
            text: message::notification(method, params),
            method: Some(method.to_owned()),
        }
    }

    /// Answers a request of the server's.
    pub(super) fn reply(text: String) -> Self {
        Self::Send { text, method: None }
    }
}

/// What is said to a request for input that nobody answers.
pub(super) fn unanswered(id: &RawValue, method: &str, code: i64) -> String {
    match method {
        "elicitation/create" => message::answer(id, r#"{"action":"cancel"}"#),
        "roots/list" => message::answer(id, r#"{"roots":[]}"#),
        _ => message::refuse(id, code, "there is nobody who can answer this"),
    }
}

/// Runs errands until the session ends.
pub(super) async fn run(core: Arc<Core>, mut errands: mpsc::Receiver<Errand>) {
    let mut inputs: FuturesUnordered<BoxFuture<'_, (String, Option<String>)>> =
        FuturesUnordered::new();
    let mut forgotten: HashMap<String, CancellationToken> = HashMap::new();
    loop {
        let errand = tokio::select! {
            // What has ended makes room before more is taken in.
            biased;
            Some((id, reply)) = inputs.next(), if !inputs.is_empty() => {
                forgotten.remove(&id);
                reply.map(Errand::reply)
            }
            errand = errands.recv() => errand,
        };
        match errand {
            Some(Errand::Send { text, method }) => core.send(text, method).await,
            Some(Errand::Await { id, method, answer })
                if inputs.len() < INPUTS_MAX && !forgotten.contains_key(id.get()) =>
            {
                let is_forgotten = CancellationToken::new();
                forgotten.insert(id.get().to_owned(), is_forgotten.clone());
                inputs.push(Box::pin(input(id, method, answer, is_forgotten)));
            }
            Some(Errand::Await { id, method, .. }) => {
                core.send(unanswered(&id, &method, NOT_ANSWERED), None)
                    .await;
            }
            Some(Errand::Forget(id)) => {
                if let Some(is_forgotten) = forgotten.get(&id) {
                    is_forgotten.cancel();
                }
            }
            None if core.closed.is_cancelled() => return,
            None => {}
        }
    }
}

async fn input(
    id: Box<RawValue>,
    method: String,
    answer: oneshot::Receiver<Box<RawValue>>,
    is_forgotten: CancellationToken,
) -> (String, Option<String>) {
    let reply = tokio::select! {
        answer = answer => Some(match answer {
            Ok(result) => message::answer(&id, result.get()),
            Err(_) => unanswered(&id, &method, NOT_ANSWERED),
        }),
        () = is_forgotten.cancelled() => None,
    };
    (id.get().to_owned(), reply)
}

impl Core {
    /// Does something soon, or leaves it undone where too much is to be done already.
    pub(super) fn run(&self, errand: Errand) {
        if self.errands.try_send(errand).is_err() {
            tracing::debug!("a message to a server was left out: too many wait already");
        }
    }

    async fn send(&self, text: String, method: Option<String>) {
        let outgoing = Outgoing {
            text,
            request_id: None,
            method,
            name: None,
            timeout: SEND_TIME_MAX,
            trace: None,
        };
        let Some(link) = self.link() else {
            return;
        };
        let sent = timeout(SEND_TIME_MAX, link.send(outgoing)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::debug!("a message to a server could not be sent");
        }
    }
}
