//! Requests for input of integrated servers, asked of the client in the way of its revision.

use rmcp::model::*;
use rmcp::service::RequestContext;
use rmcp::{Peer, RoleServer};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;

use super::{Server, is_stateless};
use crate::mesh::call::request::{Continued, InputMethods, InputWay};
use crate::mesh::upstream::InputRequest;

/// How many requests for input may wait to be asked.
const INPUT_QUEUE: usize = 4;

/// The requests for input of one call, to be asked of its client.
pub(super) struct Questions {
    peer: Peer<RoleServer>,
    methods: InputMethods,
    requests: mpsc::Receiver<InputRequest>,
}

impl Server {
    /// How the client of a call can be asked for input, and what is to be asked of it meanwhile. Where
    /// requests bring tokens nothing is asked of a client with sessions: nothing unsolicited is sent then.
    pub(super) fn input_way(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> (InputWay, Option<Questions>) {
        let methods = methods(context.client_capabilities());
        if methods == InputMethods::default() {
            return (InputWay::Refused, None);
        }
        if is_stateless(context) {
            return (InputWay::Returned { methods }, None);
        }
        if self.is_untold() {
            return (InputWay::Refused, None);
        }
        let (sender, requests) = mpsc::channel(INPUT_QUEUE);
        let questions = Questions {
            peer: context.peer.clone(),
            methods,
            requests,
        };
        let way = InputWay::Asked {
            requests: sender,
            methods,
        };
        (way, Some(questions))
    }
}

/// What the parameters of a call bring along that was asked for by the answer to an earlier one.
pub(super) fn continued(params: &mut CallToolRequestParams) -> Option<Continued> {
    let responses = params.input_responses.take();
    let state = params.request_state.take();
    (responses.is_some() || state.is_some()).then(|| Continued {
        responses: responses.unwrap_or_default().into_iter().collect(),
        state,
    })
}

fn methods(capabilities: Option<ClientCapabilities>) -> InputMethods {
    let capabilities = capabilities.unwrap_or_default();
    InputMethods {
        elicitation: capabilities.elicitation.is_some(),
        sampling: capabilities.sampling.is_some(),
        roots: capabilities.roots.is_some(),
    }
}

impl Questions {
    /// Asks one after the other, until the call ends and this is dropped.
    pub(super) async fn ask(&mut self) {
        while let Some(request) = self.requests.recv().await {
            // Dropped without an answer, a request is declined.
            if self.methods.has(&request.method)
                && let Some(answer) = asked(&self.peer, &request).await
            {
                let _ = request.answer.send(answer);
            }
        }
        std::future::pending().await
    }
}

/// What the client answers; nothing where it refuses, or its answer cannot be read.
async fn asked(peer: &Peer<RoleServer>, request: &InputRequest) -> Option<Box<RawValue>> {
    let params = match &request.params {
        Some(params) => Some(serde_json::from_str(params.get()).ok()?),
        None => None,
    };
    let question = CustomRequest::new(request.method.clone(), params);
    match peer
        .send_request(ServerRequest::CustomRequest(question))
        .await
    {
        Ok(answer) => to_raw_value(&answer).ok(),
        Err(error) => {
            tracing::debug!(method = request.method, %error, "a client gave no input");
            None
        }
    }
}
