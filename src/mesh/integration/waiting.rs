//! Calls of integrated servers that wait for input of a caller who brings it by another call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use crate::mesh::tenant::{TenantId, UserId};
use crate::mesh::upstream::{InputRequest, UpstreamFault};
use crate::mesh::{Error, ErrorKind};

/// How long a call waits for its input before it is given up.
pub const WAIT_MAX: Duration = Duration::from_mins(5);

/// The most calls of one user that wait for input.
pub const WAITING_PER_USER_MAX: usize = 8;

/// The most calls of one tenant that wait for input.
pub const WAITING_PER_TENANT_MAX: usize = 32;

/// The most calls of all tenants that wait for input.
pub const WAITING_MAX: usize = 1024;

/// What the state of a waiting call begins with, as its caller gets it; the rest cannot be guessed.
pub const STATE_PREFIX: &str = "agent-mesh:";

/// The calls of this process that wait for input.
#[derive(Clone, Default)]
pub struct WaitingTable(Arc<Mutex<HashMap<Uuid, Entry>>>);

struct Entry {
    tenant: TenantId,
    user: UserId,
    purpose: String,
    call: RunningCall,
}

/// A call that runs at an upstream, whoever waits for it. Dropped, it is cancelled there.
pub struct RunningCall {
    /// How it ends.
    pub result: oneshot::Receiver<Result<Box<RawValue>, UpstreamFault>>,
    /// What the upstream asks meanwhile.
    pub input: mpsc::Receiver<InputRequest>,
    /// What it has asked and not been answered, by the names that the caller knows the requests by.
    pub asked: HashMap<String, oneshot::Sender<Box<RawValue>>>,
    /// Cancels it.
    pub guard: DropGuard,
}

/// The waiting calls of one user.
pub struct WaitingCalls<'call> {
    table: &'call WaitingTable,
    tenant: &'call TenantId,
    user: &'call UserId,
}

impl WaitingTable {
    pub(in crate::mesh) fn of<'call>(
        &'call self,
        tenant: &'call TenantId,
        user: &'call UserId,
    ) -> WaitingCalls<'call> {
        WaitingCalls {
            table: self,
            tenant,
            user,
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitingCalls<'_> {
    /// Keeps a call until its caller comes back with what is returned, for at most [`WAIT_MAX`].
    /// `purpose` says what is called: whoever comes back has to mean the same.
    ///
    /// # Errors
    /// `OVERLOADED` where too many wait already; the call is cancelled then.
    pub fn keep(&self, purpose: &str, call: RunningCall) -> Result<String, Error> {
        self.keep_for(WAIT_MAX, purpose, call)
    }

    fn keep_for(&self, time: Duration, purpose: &str, call: RunningCall) -> Result<String, Error> {
        let id = Uuid::new_v4();
        {
            let mut entries = self.table.entries();
            let own = entries.values().filter(|entry| self.is_own(entry)).count();
            let tenants = entries
                .values()
                .filter(|entry| entry.tenant == *self.tenant)
                .count();
            let is_full = own >= WAITING_PER_USER_MAX
                || tenants >= WAITING_PER_TENANT_MAX
                || entries.len() >= WAITING_MAX;
            if is_full {
                return Err(Error::new(
                    ErrorKind::Overloaded,
                    "too many calls wait for input already",
                )
                .fix("Answer one of them first, or let it end; each waits for 5 minutes."));
            }
            let entry = Entry {
                tenant: self.tenant.clone(),
                user: self.user.clone(),
                purpose: purpose.to_owned(),
                call,
            };
            entries.insert(id, entry);
        }
        let table = self.table.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            table.entries().remove(&id);
        });
        Ok(format!("{STATE_PREFIX}{id}"))
    }

    /// The call that was kept as `state`. It is another user's, or for another purpose: there is none.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn take(&self, state: &str, purpose: &str) -> Result<RunningCall, Error> {
        let id = state.strip_prefix(STATE_PREFIX).map(Uuid::parse_str);
        let mut entries = self.table.entries();
        let found = match id {
            Some(Ok(id)) => entries
                .get(&id)
                .is_some_and(|entry| self.is_own(entry) && entry.purpose == purpose)
                .then(|| entries.remove(&id))
                .flatten(),
            _ => None,
        };
        found.map(|entry| entry.call).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "no call waits for this input: it was given up, or was answered already",
            )
            .fix("Make the call again from its beginning.")
        })
    }

    fn is_own(&self, entry: &Entry) -> bool {
        entry.tenant == *self.tenant && entry.user == *self.user
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn call() -> (RunningCall, CancellationToken) {
        let cancelled = CancellationToken::new();
        let call = RunningCall {
            result: oneshot::channel().1,
            input: mpsc::channel(1).1,
            asked: HashMap::new(),
            guard: cancelled.clone().drop_guard(),
        };
        (call, cancelled)
    }

    #[tokio::test]
    async fn a_waiting_call_is_its_callers_alone_and_for_what_it_was_made() {
        let table = WaitingTable::default();
        let (acme, other): (TenantId, TenantId) =
            ("acme".parse().unwrap(), "other".parse().unwrap());
        let (ada, bob): (UserId, UserId) = ("ada".parse().unwrap(), "bob".parse().unwrap());
        let state = table.of(&acme, &ada).keep("a.b", call().0).unwrap();
        for (tenant, user, purpose) in [
            (&other, &ada, "a.b"),
            (&acme, &bob, "a.b"),
            (&acme, &ada, "a.c"),
        ] {
            let refused = table.of(tenant, user).take(&state, purpose);
            assert_eq!(refused.err().unwrap().kind(), ErrorKind::NotFound);
        }
        assert!(table.of(&acme, &ada).take(&state, "a.b").is_ok());
        assert!(table.of(&acme, &ada).take(&state, "a.b").is_err());
    }

    #[tokio::test]
    async fn calls_wait_for_a_while_and_not_too_many() {
        let table = WaitingTable::default();
        let tenant: TenantId = "acme".parse().unwrap();
        let user: UserId = "ada".parse().unwrap();
        let waiting = table.of(&tenant, &user);
        let mut cancelled = Vec::new();
        for _ in 0..WAITING_PER_USER_MAX {
            let (call, token) = call();
            waiting
                .keep_for(Duration::from_millis(200), "a.b", call)
                .unwrap();
            cancelled.push(token);
        }
        let (one_more, token) = call();
        let refused = waiting.keep("a.b", one_more).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        assert!(token.is_cancelled());
        for token in &cancelled {
            token.cancelled().await;
        }
        waiting.keep("a.b", call().0).unwrap();
    }
}
