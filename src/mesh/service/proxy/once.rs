//! A call under an idempotency key: made once, and its answer given again for a day.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::origin::ResultShape;
use super::{Called, McpProxy, REMEMBERED_BYTES_MAX, attempt};
use crate::mesh::call::grant::Granted;
use crate::mesh::store::idempotency::{self, Begun, Claim, Idempotency};
use crate::mesh::{Error, ErrorKind};

/// What is remembered of a call that has ended.
#[derive(Serialize, Deserialize)]
struct Remembered<'a> {
    /// The server, and what it answered.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer<'a>>,
    /// What went wrong where it did not answer, or may have had an effect nobody knows of.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

#[derive(Serialize, Deserialize)]
struct Answer<'a> {
    server: String,
    size: u64,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct Failure {
    is_unknown: bool,
    message: String,
}

/// How often a call that is slower than others to take over an abandoned key looks again.
const TAKE_OVERS_MAX: u32 = 3;

/// Calls the tool, unless a call under `key` has come before: then its answer, once it has one. A call
/// whose process died is never made again: its outcome is unknown for good.
///
/// # Errors
/// As [`attempt::call`]; `CONFLICT` where the call before had other arguments.
pub(super) async fn call<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    key: &str,
) -> Result<Called, Error> {
    let keys = call.idempotency();
    let arguments = idempotency::arguments_hash(&fingerprint(proxy));
    for _ in 0..TAKE_OVERS_MAX {
        let begun = keys.begin(key, &arguments, "", proxy.timeout).await?;
        match begun {
            Begun::First(claim) => return first(proxy, call, &keys, claim).await,
            Begun::Done { result } => return remembered(&result),
            Begun::Running => break,
            Begun::OtherArguments => return Err(idempotency::other_arguments()),
            Begun::Abandoned(abandoned) => {
                if let Some(claim) = keys.take_over(&abandoned).await? {
                    let unknown =
                        unknown("the server ended while the first call under this key ran");
                    settle(&keys, claim, &Err(unknown)).await;
                    return Err(self::unknown(
                        "the server ended while the first call under this key ran",
                    ));
                }
            }
        }
    }
    Err(idempotency::still_running())
}

async fn first<'call>(
    proxy: &McpProxy,
    call: &Granted<'call, McpProxy>,
    keys: &Idempotency<'call>,
    mut claim: Claim<'call>,
) -> Result<Called, Error> {
    let work = attempt::call(proxy, call, REMEMBERED_BYTES_MAX);
    let called = keys.renewing(&mut claim, work).await;
    settle(keys, claim, &called).await;
    called
}

/// Settles the key: by the answer, by what is not known, or by giving it back where certainly nothing was
/// done.
async fn settle<'call>(
    keys: &Idempotency<'call>,
    claim: Claim<'call>,
    called: &Result<Called, Error>,
) {
    let settled = match called {
        // What the server asks for first is no answer: the caller comes again with what it was asked.
        Ok(called) if called.shape.asks_for_input().is_some() => keys.release(claim).await,
        Ok(called) => {
            let answer = Answer {
                server: called.server.clone(),
                size: called.size,
                result: &called.result,
            };
            finish(keys, claim, Some(answer), None).await
        }
        Err(error) if error.may_be_done() => {
            let failure = Failure {
                is_unknown: true,
                message: error.message().to_owned(),
            };
            finish(keys, claim, None, Some(failure)).await
        }
        Err(error) if error.kind() == ErrorKind::UpstreamError => {
            let failure = Failure {
                is_unknown: false,
                message: error.message().to_owned(),
            };
            finish(keys, claim, None, Some(failure)).await
        }
        Err(_) => keys.release(claim).await,
    };
    if let Err(error) = settled {
        tracing::warn!(%error, "an idempotency key is not settled");
    }
}

async fn finish<'call>(
    keys: &Idempotency<'call>,
    claim: Claim<'call>,
    answer: Option<Answer<'_>>,
    failure: Option<Failure>,
) -> Result<(), Error> {
    let text = serde_json::to_string(&Remembered { answer, failure })
        .map_err(|error| Error::internal("what is remembered is no JSON").caused_by(error))?;
    keys.finish(claim, &text).await.map(drop)
}

/// The answer that was given before.
fn remembered(text: &str) -> Result<Called, Error> {
    let broken = || Error::internal("what was remembered cannot be read");
    let remembered: Remembered<'_> =
        serde_json::from_str(text).map_err(|error| broken().caused_by(error))?;
    match remembered {
        Remembered {
            answer: Some(answer),
            ..
        } => {
            let result = to_raw_value(answer.result).map_err(|error| broken().caused_by(error))?;
            Ok(Called {
                shape: ResultShape::of(&result).ok_or_else(broken)?,
                result,
                server: answer.server,
                remembered: true,
                repeated: false,
                size: answer.size,
            })
        }
        Remembered {
            failure: Some(failure),
            ..
        } => Err(match failure.is_unknown {
            true => unknown(&failure.message),
            false => Error::new(ErrorKind::UpstreamError, failure.message)
                .fix("Use another `idempotency_key` for a new try."),
        }),
        _ => Err(broken()),
    }
}

fn unknown(message: &str) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, message).maybe_done()
}

/// What makes a call the same call again: the tool, the connection and the arguments, however those are
/// laid out.
fn fingerprint(proxy: &McpProxy) -> String {
    let given = proxy.arguments.as_deref().map_or("{}", RawValue::get);
    let arguments = match serde_json::from_str::<Value>(given) {
        Ok(mut value) => {
            value.sort_all_objects();
            value.to_string()
        }
        Err(_) => given.to_owned(),
    };
    format!("{}\n{arguments}", proxy.purpose())
}
