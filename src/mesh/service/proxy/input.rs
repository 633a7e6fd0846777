//! Servers that need input to go on: their requests reach the caller in the way of its own revision.
//!
//! There are four cases. A server with sessions asks while the call runs: a client with sessions is asked at
//! once, and a stateless one gets the requests as its answer and calls again, while the call goes on at the
//! server. A stateless server asks by its answer: a stateless client gets that as it is, and a client with
//! sessions is asked, and the server called again, here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::McpProxy;
use super::origin::ResultShape;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::request::{Continued, InputMethods, InputWay};
use crate::mesh::integration::waiting::{RunningCall, STATE_PREFIX, WAIT_MAX};
use crate::mesh::store::integrations::Reached;
use crate::mesh::upstream::{Era, InputRequest, Upstream, UpstreamCall, UpstreamFault};
use crate::mesh::{Error, ErrorKind};

/// How often a server may ask before a call is given up.
const ROUNDS_MAX: usize = 10;

/// How many requests of one answer a caller is asked.
const REQUESTS_MAX: usize = 16;

/// How many requests of a server may wait to be passed on.
const QUEUE: usize = 4;

/// How long further requests of a server are waited for, so that what it asks at once is passed on at once.
const GATHERING: Duration = Duration::from_millis(20);

/// Calls the tool, and has the caller asked for whatever the server needs meanwhile.
pub(super) async fn call<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    reached: &Reached,
) -> Result<Box<RawValue>, UpstreamFault> {
    let upstream = &reached.upstream;
    match call.input() {
        InputWay::Refused => upstream.call(plain(proxy, call)).await,
        InputWay::Asked { requests, .. } => asking(proxy, call, upstream, requests).await,
        InputWay::Returned { methods } => match waiting(call.continued()) {
            Some((state, continued)) => resumed(proxy, call, state, continued, *methods).await,
            None if proxy.idempotency_key.is_none() && upstream.identity().era == Era::Sessions => {
                suspending(proxy, call, upstream, *methods).await
            }
            None => {
                let members = call.continued().map(members);
                let mut plain = plain(proxy, call);
                plain.continued = members.as_deref();
                upstream.call(plain).await
            }
        },
    }
}

fn plain<'a, 'call: 'a>(proxy: &'a McpProxy, call: &Granted<'call, McpProxy>) -> UpstreamCall<'a> {
    UpstreamCall {
        tool: &proxy.tool,
        arguments: proxy.arguments.as_deref(),
        continued: None,
        timeout: proxy.timeout,
        trace: call.trace(),
        progress: call.progress_reports(),
        input: None,
        cancelled: call.cancellation(),
    }
}

/// The state of a call that waits here, if that is what the caller comes back to.
fn waiting(continued: Option<&Continued>) -> Option<(&str, &Continued)> {
    let continued = continued?;
    let state = continued.state.as_deref()?;
    state
        .starts_with(STATE_PREFIX)
        .then_some((state, continued))
}

/// What a stateless caller brings along, for a stateless server.
fn members(continued: &Continued) -> Box<RawValue> {
    let mut members = json!({"inputResponses": continued.responses});
    if let Some(state) = &continued.state {
        members["requestState"] = json!(state);
    }
    to_raw_value(&members).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A caller with sessions: whatever the server asks, and however, is asked of it at once.
async fn asking<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    upstream: &Arc<dyn Upstream>,
    requests: &mpsc::Sender<InputRequest>,
) -> Result<Box<RawValue>, UpstreamFault> {
    let mut continued: Option<Box<RawValue>> = None;
    for _ in 0..ROUNDS_MAX {
        let result = asked_meanwhile(proxy, call, upstream, requests, continued.as_deref()).await?;
        let asks = ResultShape::of(&result).is_some_and(|shape| shape.asks_for_input().is_some());
        if !asks {
            return Ok(result);
        }
        continued = Some(answered(&result, requests).await?);
    }
    Err(UpstreamFault::Garbage(Error::new(
        ErrorKind::UpstreamError,
        format!("the server asked for input {ROUNDS_MAX} times and did not go on"),
    )))
}

/// One call of a server, which may ask the caller while it runs. Who is asked may take as long as a call
/// waits for its input; that time is not the server's.
async fn asked_meanwhile<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    upstream: &Arc<dyn Upstream>,
    requests: &mpsc::Sender<InputRequest>,
    continued: Option<&RawValue>,
) -> Result<Box<RawValue>, UpstreamFault> {
    let (sender, mut asked) = mpsc::channel::<InputRequest>(QUEUE);
    let mut next = plain(proxy, call);
    next.input = Some(sender);
    next.continued = continued;
    next.timeout = proxy.timeout + WAIT_MAX;
    let mut running = std::pin::pin!(upstream.call(next));
    let mut left = proxy.timeout;
    loop {
        let begun = call.monotonic();
        let request = tokio::select! {
            biased;
            ended = &mut running => return ended,
            Some(request) = asked.recv() => request,
            () = tokio::time::sleep(left) => return Err(UpstreamFault::TimedOut),
        };
        left = left.saturating_sub(call.monotonic().saturating_sub(begun));
        let (answer, answered) = oneshot::channel();
        let passed_on = InputRequest {
            method: request.method,
            params: request.params,
            answer,
        };
        if requests.send(passed_on).await.is_err() {
            continue;
        }
        tokio::select! {
            biased;
            ended = &mut running => return ended,
            // Dropped without an answer, the server is told that there is none.
            answered = tokio::time::timeout(WAIT_MAX, answered) => {
                if let Ok(Ok(given)) = answered {
                    let _ = request.answer.send(given);
                }
            }
        }
    }
}

/// Asks the caller for everything that a stateless server's answer asks for, and gives what its next call
/// has to bring along.
async fn answered(
    result: &RawValue,
    requests: &mpsc::Sender<InputRequest>,
) -> Result<Box<RawValue>, UpstreamFault> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        #[serde(default)]
        input_requests: HashMap<String, Question>,
        request_state: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Question {
        method: String,
        params: Option<Box<RawValue>>,
    }
    let garbage = |what: &str| {
        UpstreamFault::Garbage(Error::new(
            ErrorKind::UpstreamError,
            format!("the server asked for input in a way that is not understood: {what}"),
        ))
    };
    let asked: Asked =
        serde_json::from_str(result.get()).map_err(|_| garbage("no list of requests"))?;
    if asked.input_requests.len() > REQUESTS_MAX {
        return Err(garbage("too many requests at once"));
    }
    let mut responses = Map::new();
    for (name, question) in asked.input_requests {
        let (answer, answered) = oneshot::channel();
        let request = InputRequest {
            method: question.method,
            params: question.params,
            answer,
        };
        let sent = requests.send(request).await.is_ok();
        let response = match sent {
            true => answered.await.ok(),
            false => None,
        };
        let Some(response) = response else {
            return Err(UpstreamFault::Garbage(
                Error::new(
                    ErrorKind::NotSupported,
                    "the server needs input that this client cannot give",
                )
                .fix("Use a client that supports elicitation and sampling."),
            ));
        };
        let response: Value = serde_json::from_str(response.get()).unwrap_or_default();
        responses.insert(name, response);
    }
    Ok(members(&Continued {
        responses,
        state: asked.request_state,
    }))
}

/// A stateless caller and a server with sessions: the call runs by itself, and waits where it asks.
async fn suspending<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    upstream: &Arc<dyn Upstream>,
    methods: InputMethods,
) -> Result<Box<RawValue>, UpstreamFault> {
    let cancelled = CancellationToken::new();
    let (sender, result) = oneshot::channel();
    let (requests, input) = mpsc::channel(QUEUE);
    let task = {
        let upstream = Arc::clone(upstream);
        let (tool, arguments) = (proxy.tool.clone(), proxy.arguments.clone());
        let trace = call.trace();
        let progress = call.progress_reports();
        let (timeout, cancelled) = (proxy.timeout, cancelled.clone());
        async move {
            let call = UpstreamCall {
                tool: &tool,
                arguments: arguments.as_deref(),
                continued: None,
                // Its caller's time is counted apart from that of whom it asks.
                timeout: timeout + WAIT_MAX,
                trace,
                progress,
                input: Some(requests),
                cancelled,
            };
            let _ = sender.send(upstream.call(call).await);
        }
    };
    tokio::spawn(task);
    let running = RunningCall {
        result,
        input,
        asked: HashMap::new(),
        guard: cancelled.drop_guard(),
    };
    ended_or_asked(proxy, call, running, methods).await
}

/// A stateless caller comes back with what it was asked for.
async fn resumed<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    state: &str,
    continued: &Continued,
    methods: InputMethods,
) -> Result<Box<RawValue>, UpstreamFault> {
    let mut running = call
        .waiting_calls()
        .take(state, &proxy.purpose())
        .map_err(UpstreamFault::NotSent)?;
    for (name, answer) in running.asked.drain() {
        let response = continued.responses.get(&name);
        if let Some(response) = response.and_then(|response| to_raw_value(response).ok()) {
            let _ = answer.send(response);
        }
    }
    ended_or_asked(proxy, call, running, methods).await
}

/// The result of a running call, or, where the server asks first, the answer that passes that on.
async fn ended_or_asked<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    mut running: RunningCall,
    methods: InputMethods,
) -> Result<Box<RawValue>, UpstreamFault> {
    let mut asked = Map::new();
    let mut deadline = std::pin::pin!(tokio::time::sleep(proxy.timeout));
    loop {
        let gathered = async {
            match asked.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(GATHERING).await,
            }
        };
        let request = tokio::select! {
            biased;
            ended = &mut running.result => return ended.unwrap_or_else(|_| Err(lost())),
            Some(request) = running.input.recv() => request,
            () = gathered => break,
            // Dropped, it is cancelled at the server.
            () = &mut deadline => return Err(UpstreamFault::TimedOut),
        };
        // Dropped, it is declined: the server is told that there is no answer.
        if !methods.has(&request.method) || asked.len() == REQUESTS_MAX {
            continue;
        }
        let name = format!("input-{}", asked.len() + 1);
        let mut question = json!({"method": request.method});
        if let Some(params) = &request.params {
            question["params"] = serde_json::from_str(params.get()).unwrap_or_default();
        }
        asked.insert(name.clone(), question);
        running.asked.insert(name, request.answer);
    }
    let state = call
        .waiting_calls()
        .keep(&proxy.purpose(), running)
        .map_err(UpstreamFault::Garbage)?;
    let answer = json!({
        "resultType": "input_required",
        "inputRequests": asked,
        "requestState": state,
    });
    to_raw_value(&answer).map_err(|error| {
        UpstreamFault::Garbage(Error::internal("requests for input are no JSON").caused_by(error))
    })
}

fn lost() -> UpstreamFault {
    UpstreamFault::Lost(Error::internal("the task of a call ended without a result"))
}
