//! Whether the operator's policy service allows a call: asked for each, remembered for a moment, refused without it.

mod breaker;
mod memory;
mod places;

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::mesh::call::arguments::ArgumentsHash;
use crate::mesh::call::operation::Subject;
use crate::mesh::tenant::{TenantId, UserId};
use crate::mesh::{Clock, Error, ErrorKind};

use breaker::Breaker;
use memory::{Key, Memory};
use places::{Place, Places};

pub use memory::{REMEMBERED_MAX, REMEMBERED_PER_TENANT_MAX};
pub use places::ASKED_AT_ONCE_MAX;

/// The longest that an answer is remembered, whatever the service and the settings say.
pub const REMEMBERED_FOR_MAX: Duration = Duration::from_secs(60);

/// The longest reason that a caller is told, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// After how long a call that was not decided is worth repeating, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A service that decides about calls.
pub trait Authorizer: Send + Sync + 'static {
    /// Asks once. The caller bounds the time.
    fn verify(&self, question: Arc<Question>) -> BoxFuture<'_, Result<Ruling, Undecided>>;
}

/// What a policy service is asked: who wants to call what. It holds no argument's value.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The user.
    pub user_id: UserId,
    /// The user's role.
    pub role: &'static str,
    /// The tool or method.
    pub tool: &'static str,
    /// The permission that it needs, which the caller has.
    pub permission: &'static str,
    /// The arguments.
    pub arguments_sha256: ArgumentsHash,
    /// The names and keys that the call's event will tell.
    pub subject: Subject,
    /// The call.
    pub request_id: Ulid,
    /// The caller's trace, 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// What a policy service answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// Whether the call may be made.
    pub allow: bool,
    /// Why not, for the caller.
    pub reason: Option<String>,
    /// How long the answer holds at the most.
    pub ttl: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Undecided {
    /// The service is down, too slow or broken: asking it less is better.
    #[error("the policy service does not work")]
    Outage(#[source] Box<dyn StdError + Send + Sync>),
    /// It answered this question in a way that decides nothing.
    #[error("the policy service's answer decides nothing")]
    Answer(#[source] Box<dyn StdError + Send + Sync>),
}

/// How the service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicySettings {
    /// How long one question may take.
    pub timeout: Duration,
    /// How long an answer is remembered where the service does not say; zero remembers nothing, and calls
    /// that are alike do not share an answer either.
    pub remember_for: Duration,
}

/// Proof that the policy does not stand against a call. Only a [`Policy`] makes one.
#[derive(Debug)]
pub struct Permit(());

/// The operator's policy about calls.
pub struct Policy(Option<Arc<Asking>>);

struct Asking {
    authorizer: Arc<dyn Authorizer>,
    settings: PolicySettings,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    flights: std::collections::HashMap<Key, Flight>,
    places: Places,
    breaker: Breaker,
}

/// A question under way; calls that are alike wait for the same one.
type Flight = Shared<BoxFuture<'static, Decision>>;

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    Denied(Option<Arc<str>>),
    Undecided { retry_after: Duration },
    NoPlace,
}

impl Policy {
    /// There is no policy service: every call has its permit by the configuration.
    pub const fn off() -> Self {
        Self(None)
    }

    /// What `authorizer` says, within a tokio runtime.
    pub fn asking(
        authorizer: Arc<dyn Authorizer>,
        settings: PolicySettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Some(Arc::new(Asking {
            authorizer,
            settings,
            clock,
            state: Mutex::default(),
        })))
    }

    /// Whether anybody is asked.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The permit for the call that `question` is about, unless it is cancelled first.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` where the service says no; `UPSTREAM_UNAVAILABLE` where it does not say;
    /// `OVERLOADED` where too many questions are under way; `CANCELLED`.
    pub(in crate::mesh) async fn permit(
        &self,
        cancelled: &CancellationToken,
        question: impl FnOnce() -> Question,
    ) -> Result<Permit, Error> {
        let Some(asking) = &self.0 else {
            return Ok(Permit(()));
        };
        let question = question();
        let permission = question.permission;
        let decision = tokio::select! {
            biased;
            () = cancelled.cancelled() => {
                let error = Error::new(ErrorKind::Cancelled, "the caller cancelled the call");
                return Err(error.not_done());
            }
            decision = asking.decision(question) => decision,
        };
        match decision {
            Decision::Allowed => Ok(Permit(())),
            Decision::Denied(reason) => Err(denied(permission, reason.as_deref())),
            Decision::Undecided { retry_after } => Err(undecided(retry_after)),
            Decision::NoPlace => Err(no_place()),
        }
    }
}

fn denied(permission: &str, reason: Option<&str>) -> Error {
    let message = match reason {
        Some(reason) => format!("the operator's policy does not allow this call: {reason}"),
        None => "the operator's policy does not allow this call".to_owned(),
    };
    Error::new(ErrorKind::PermissionDenied, message)
        .fix("Ask whoever runs this server; the role is not what is missing.")
        .detail("permission", permission)
        .detail("decided_by", "policy")
}

fn undecided(retry_after: Duration) -> Error {
    let message = "the policy service that decides about calls did not answer, so nothing was done";
    Error::new(ErrorKind::UpstreamUnavailable, message)
        .fix("Try again in a moment; if it stays, tell whoever runs this server.")
        .retry_after(retry_after)
        .not_done()
}

fn no_place() -> Error {
    let message = "too many calls of this tenant wait for the policy service at once";
    Error::new(ErrorKind::Overloaded, message)
        .fix("Try again, with fewer calls at once.")
        .retry_after(RETRY_AFTER)
        .not_done()
}

impl Asking {
    async fn decision(self: &Arc<Self>, question: Question) -> Decision {
        let key = Key::of(&question);
        let flight = match self.step(key, question) {
            Ok(decision) => return decision,
            Err(flight) => flight,
        };
        flight.await
    }

    /// What is known already, or the question that is under way.
    fn step(self: &Arc<Self>, key: Key, question: Question) -> Result<Decision, Flight> {
        let now = self.clock.monotonic();
        let shares = !self.settings.remember_for.is_zero();
        let mut state = self.state();
        if shares {
            if let Some(decision) = state.memory.get(&key, now) {
                return Ok(decision);
            }
            if let Some(flight) = state.flights.get(&key) {
                return Err(flight.clone());
            }
        }
        let Some(place) = state.places.take(&key.tenant) else {
            return Ok(Decision::NoPlace);
        };
        if let Err(retry_after) = state.breaker.pass(now) {
            state.places.give_back(&place);
            return Ok(Decision::Undecided { retry_after });
        }
        let asking = Arc::clone(self);
        let asked_for = key.clone();
        // A task of its own, so that it survives the caller who happened to ask.
        let asked = tokio::spawn(async move { asking.ask(asked_for, place, question).await });
        let flight = asked
            .map(|ended| {
                ended.unwrap_or(Decision::Undecided {
                    retry_after: RETRY_AFTER,
                })
            })
            .boxed()
            .shared();
        if shares {
            state.flights.insert(key, flight.clone());
        }
        Err(flight)
    }

    async fn ask(&self, key: Key, place: Place, question: Question) -> Decision {
        let ending = Ending {
            asking: self,
            key,
            place,
            failed: true,
        };
        let request_id = question.request_id;
        let asked = self.authorizer.verify(Arc::new(question));
        let ruling = match tokio::time::timeout(self.settings.timeout, asked).await {
            Ok(ruling) => ruling,
            Err(elapsed) => Err(Undecided::Outage(elapsed.into())),
        };
        if let Err(error) = &ruling {
            let error = error as &(dyn StdError + 'static);
            tracing::warn!(%request_id, error, "a call could not be decided and is refused");
        }
        ending.with(ruling)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a question, also one whose task panics or is dropped.
struct Ending<'policy> {
    asking: &'policy Asking,
    key: Key,
    place: Place,
    failed: bool,
}

impl Ending<'_> {
    fn with(mut self, ruling: Result<Ruling, Undecided>) -> Decision {
        let settings = self.asking.settings;
        let now = self.asking.clock.monotonic();
        let ruling = match ruling {
            Ok(ruling) => ruling,
            Err(error) => {
                self.failed = matches!(error, Undecided::Outage(_));
                return Decision::Undecided {
                    retry_after: RETRY_AFTER,
                };
            }
        };
        self.failed = false;
        let decision = match ruling.allow {
            true => Decision::Allowed,
            false => Decision::Denied(ruling.reason.as_deref().and_then(told)),
        };
        let remember_for = settings
            .remember_for
            .min(ruling.ttl.unwrap_or(REMEMBERED_FOR_MAX))
            .min(REMEMBERED_FOR_MAX);
        if !remember_for.is_zero() {
            let until = now.saturating_add(remember_for);
            let mut state = self.asking.state();
            state.memory.put(&self.key, decision.clone(), until, now);
        }
        decision
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let now = self.asking.clock.monotonic();
        let mut state = self.asking.state();
        state.flights.remove(&self.key);
        state.places.give_back(&self.place);
        match self.failed {
            true => state.breaker.failed(now),
            false => state.breaker.worked(),
        }
    }
}

/// A reason as a caller is told it: one line, bounded, without what could disguise it.
fn told(reason: &str) -> Option<Arc<str>> {
    let plain = |character: char| match character {
        character if character.is_control() => ' ',
        // Marks that turn the direction of what stands around them, and such as are not seen at all.
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => ' ',
        character => character,
    };
    let mut text: String = reason
        .trim()
        .chars()
        .take(REASON_CHARS_MAX)
        .map(plain)
        .collect();
    if reason.trim().chars().nth(REASON_CHARS_MAX).is_some() {
        text.push_str("...");
    }
    (!text.is_empty()).then(|| text.into())
}

impl Key {
    fn of(question: &Question) -> Self {
        let mut hash = Sha256::new();
        for part in [
            question.user_id.as_str(),
            question.role,
            question.tool,
            question.permission,
        ] {
            // None of them holds a zero byte.
            hash.update(part);
            hash.update([0]);
        }
        hash.update(question.arguments_sha256.as_bytes());
        hash.update(serde_json::to_vec(&question.subject).unwrap_or_default());
        Self {
            tenant: question.tenant_id.clone(),
            asked: hash.finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests;
