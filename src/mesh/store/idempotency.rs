//! What was answered to an idempotency key, so that a repeated call has its effect once.
//!
//! The first call under a key holds the key's row on a lease until it settles it. Whoever comes later
//! waits for that, and gets its answer. A lease is over when somebody has seen its row unchanged for as
//! long as it lasts, by a clock that never jumps: neither a wall clock that is set wrong nor two machines
//! that disagree about the time make a call that still runs look abandoned.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::key::RowKey;
use super::table::{Condition, EXPIRY_ATTRIBUTE, Row, VERSION_ATTRIBUTE, WriteOutcome};
use crate::mesh::call::grant::Reach;
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::Direction;
use crate::mesh::{Error, ErrorKind};

/// How long an answer is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_hours(24);

/// The longest idempotency key: bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 256;

/// How long a key is held without a sign of life of the call that holds it. A call that may take longer
/// renews its lease by [`Idempotency::renewing`].
pub const LEASE: Duration = Duration::from_secs(10);

/// How long a call that needs no answer sooner waits for another one under the same key: long enough to
/// see a whole lease end.
pub const PATIENCE: Duration = Duration::from_secs(14);

/// How often a lease is renewed while it lasts.
const RENEWALS_PER_LEASE: u32 = 3;

/// The pause before a waiting call looks for the first time, and after it, doubled each time, up to the
/// longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How often a row is written whose version turns out to be another of its holder's.
const WRITES_MAX: usize = 2;

const ARGUMENTS: &str = "arguments";
const LEASE_MS: &str = "lease_ms";
const OWNER: &str = "owner";
const RESULT: &str = "result";
const STATE: &str = "state";

const DONE: &str = "done";
const RUNNING: &str = "running";

/// The rows of one tool's idempotency keys.
pub struct Idempotency<'call> {
    reach: Reach<'call>,
    tool: Tool,
    lease: Duration,
}

/// What is known of a key when a call begins.
#[derive(Debug)]
pub enum Begun<'call> {
    /// Nothing: this call is the first, and the key is its own until it settles it.
    First(Claim<'call>),
    /// A call with the same arguments has ended; this is what it answered.
    Done {
        /// The answer's JSON text.
        result: String,
    },
    /// A call with the same arguments still ran when the caller's patience ended.
    Running,
    /// A call with the same arguments gave no sign of life for a whole lease. Whether it had its effect
    /// is not known: the caller decides whether to repeat it, by [`Idempotency::take_over`], or to say so.
    Abandoned(Abandoned<'call>),
    /// A call with other arguments came before.
    OtherArguments,
}

/// A key that a call holds. Dropped without being settled, it is abandoned when its lease ends.
#[derive(Debug)]
pub struct Claim<'call> {
    brand: PhantomData<Reach<'call>>,
    key: RowKey,
    arguments: String,
    owner: String,
    version: String,
    promise: String,
    /// When the lease ends at the earliest, by the monotonic clock.
    ends: Duration,
}

/// A key whose holder gave no sign of life for a whole lease.
#[derive(Debug)]
pub struct Abandoned<'call> {
    brand: PhantomData<Reach<'call>>,
    key: RowKey,
    arguments: String,
    version: String,
    promise: String,
}

impl Claim<'_> {
    /// What the call said at its beginning that it would answer, or that the one before it said whose key
    /// it took over.
    pub fn promise(&self) -> &str {
        &self.promise
    }
}

impl Claim<'_> {
    /// Whether a write was refused only because a renewal of this claim was done whose answer nobody
    /// waited for; its version is then the one to go by.
    fn is_renewed(&mut self, refused: WriteOutcome) -> bool {
        match refused {
            WriteOutcome::ConditionFailed { current: Some(row) }
                if row.text(OWNER) == Some(&self.owner) =>
            {
                self.version = row.version().unwrap_or_default().to_owned();
                true
            }
            _ => false,
        }
    }
}

impl Abandoned<'_> {
    /// What the call said at its beginning that it would answer.
    pub fn promise(&self) -> &str {
        &self.promise
    }
}

/// The row of a key as a waiting call has seen it.
struct Seen {
    row: Row,
    since: Duration,
}

impl Seen {
    fn note(self, row: Row, now: Duration) -> Self {
        match row.version() == self.row.version() {
            true => self,
            false => Self { row, since: now },
        }
    }
}

impl<'call> Idempotency<'call> {
    pub(in crate::mesh) fn new(reach: Reach<'call>, tool: Tool) -> Self {
        Self {
            reach,
            tool,
            lease: LEASE,
        }
    }

    /// With leases of this length instead of [`LEASE`].
    #[must_use]
    pub fn leased_for(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Takes `key` for a call whose arguments have this hash and which is about to answer `promise`,
    /// unless one has come before; waits up to `patience` for that one to end.
    pub async fn begin(
        &self,
        key: &str,
        arguments: &str,
        promise: &str,
        patience: Duration,
    ) -> Result<Begun<'call>, Error> {
        let started = self.monotonic();
        let mut claim = Claim {
            brand: PhantomData,
            key: self.row_key(key),
            arguments: arguments.to_owned(),
            owner: self.reach.request_id().to_string(),
            version: String::new(),
            promise: promise.to_owned(),
            ends: Duration::ZERO,
        };
        let mut pause = PAUSE_MIN;
        let mut seen: Option<Seen> = None;
        loop {
            let row = match &seen {
                Some(_) => self.read(&claim.key).await?,
                None => None,
            };
            let row = match row {
                Some(row) => row,
                None => match self.take(&mut claim).await? {
                    None => return Ok(Begun::First(claim)),
                    Some(row) => row,
                },
            };
            let now = self.monotonic();
            let noted = match seen.take() {
                Some(seen) => seen.note(row, now),
                None => Seen { row, since: now },
            };
            if let Some(begun) = judge(&claim, &noted, now) {
                return Ok(begun);
            }
            if now.saturating_sub(started) >= patience {
                return Ok(Begun::Running);
            }
            seen = Some(noted);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Takes the key of an abandoned call, whose promise it keeps. Where somebody else has been faster,
    /// there is none to take: begin again.
    pub async fn take_over(
        &self,
        abandoned: &Abandoned<'call>,
    ) -> Result<Option<Claim<'call>>, Error> {
        let mut claim = Claim {
            brand: PhantomData,
            key: abandoned.key.clone(),
            arguments: abandoned.arguments.clone(),
            owner: self.reach.request_id().to_string(),
            version: abandoned.version.clone(),
            promise: abandoned.promise.clone(),
            ends: Duration::ZERO,
        };
        let is_taken =
            self.write(&mut claim, RUNNING, None, self.lease).await? && self.is_ours(&claim);
        Ok(is_taken.then_some(claim))
    }

    /// Does `work`, which may take longer than a lease, and renews the lease meanwhile.
    pub async fn renewing<T>(&self, claim: &mut Claim<'call>, work: impl Future<Output = T>) -> T {
        match select(pin!(work), pin!(self.renew(claim))).await {
            Either::Left((result, _)) => result,
            Either::Right((never, _)) => match never {},
        }
    }

    /// Settles the key: from now on `result` is the answer. `false` where another call has taken the key
    /// over meanwhile, and settles it.
    pub async fn finish(&self, mut claim: Claim<'call>, result: &str) -> Result<bool, Error> {
        self.write(&mut claim, DONE, Some(result), Duration::ZERO)
            .await
    }

    /// Gives the key back, for a call that certainly had no effect: the next one is the first again.
    pub async fn release(&self, mut claim: Claim<'call>) -> Result<(), Error> {
        for _ in 0..WRITES_MAX {
            let condition = Condition::Version {
                version: claim.version.clone(),
                now: self.reach.now(),
            };
            let answer = self.reach.table().delete(&claim.key, condition).await?;
            self.reach.spend(Direction::DynamodbWrite, answer.units);
            if !claim.is_renewed(answer.value) {
                break;
            }
        }
        Ok(())
    }

    /// Ends the lease of a call of which it is not known whether it had its effect, so that nobody waits
    /// for it.
    pub async fn abandon(&self, mut claim: Claim<'call>) -> Result<(), Error> {
        self.write(&mut claim, RUNNING, None, Duration::ZERO)
            .await?;
        Ok(())
    }

    async fn renew(&self, claim: &mut Claim<'call>) -> Infallible {
        loop {
            tokio::time::sleep(self.lease / RENEWALS_PER_LEASE).await;
            match self.write(claim, RUNNING, None, self.lease).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!("the idempotency key of a running call was taken over"),
                Err(error) => tracing::warn!(%error, "the lease of a call could not be renewed"),
            }
        }
    }

    /// Puts the row of a first call; answers the row that is there instead.
    async fn take(&self, claim: &mut Claim<'call>) -> Result<Option<Row>, Error> {
        let now = self.reach.now();
        let begun = self.monotonic();
        let (row, version) = self.row(claim, RUNNING, None, self.lease);
        let answer = self
            .reach
            .table()
            .put(&claim.key, row.clone(), Condition::Absent { now })
            .await?;
        self.reach.spend(Direction::DynamodbWrite, answer.units);
        match answer.value {
            WriteOutcome::Done { .. } => {
                claim.version = version;
                claim.ends = begun + self.lease;
                if self.is_ours(claim) || self.write(claim, RUNNING, None, self.lease).await? {
                    return Ok(None);
                }
                // It took longer than the lease, and somebody has taken it over.
                Ok(Some(row))
            }
            WriteOutcome::ConditionFailed { current: Some(row) } => Ok(Some(row)),
            WriteOutcome::ConditionFailed { current: None } => {
                Err(Error::internal("a refused row has no current one"))
            }
        }
    }

    /// Writes the row of a key that is held; `false` where it no longer is.
    async fn write(
        &self,
        claim: &mut Claim<'call>,
        state: &'static str,
        result: Option<&str>,
        lease: Duration,
    ) -> Result<bool, Error> {
        for _ in 0..WRITES_MAX {
            let now = self.reach.now();
            let begun = self.monotonic();
            let (row, version) = self.row(claim, state, result, lease);
            let condition = Condition::Version {
                version: claim.version.clone(),
                now,
            };
            let answer = self.reach.table().put(&claim.key, row, condition).await?;
            self.reach.spend(Direction::DynamodbWrite, answer.units);
            if let WriteOutcome::Done { .. } = answer.value {
                claim.version = version;
                claim.ends = begun + lease;
                return Ok(true);
            }
            if !claim.is_renewed(answer.value) {
                break;
            }
        }
        Ok(false)
    }

    async fn read(&self, key: &RowKey) -> Result<Option<Row>, Error> {
        let answer = self.reach.table().get(key, true).await?;
        self.reach.spend(Direction::DynamodbRead, answer.units);
        let now = self.reach.now();
        Ok(answer.value.filter(|row| !row.is_expired(now)))
    }

    fn row(
        &self,
        claim: &Claim<'_>,
        state: &'static str,
        result: Option<&str>,
        lease: Duration,
    ) -> (Row, String) {
        let version = Ulid::generate().to_string();
        let expiry = self.reach.now().plus(REMEMBERED_FOR);
        let row = Row::new()
            .with_text(VERSION_ATTRIBUTE, version.as_str())
            .with_text(ARGUMENTS, claim.arguments.as_str())
            .with_text(OWNER, claim.owner.as_str())
            .with_number(LEASE_MS, millis(lease))
            .with_text(STATE, state)
            .with_text(RESULT, result.unwrap_or(&claim.promise))
            .with_number(EXPIRY_ATTRIBUTE, expiry.as_seconds());
        (row, version)
    }

    fn is_ours(&self, claim: &Claim<'_>) -> bool {
        self.monotonic() < claim.ends
    }

    fn monotonic(&self) -> Duration {
        self.reach.clock().monotonic()
    }

    fn row_key(&self, key: &str) -> RowKey {
        let user = self.reach.user_id().as_str();
        let mut hash = Sha256::new();
        hash.update((user.len() as u64).to_be_bytes());
        hash.update(user);
        hash.update(key);
        self.reach
            .keyspace()
            .idempotency(self.tool.name(), &hex(&hash.finalize()))
    }
}

/// What a call that found this row is to do; nothing where it has to wait.
fn judge<'call>(claim: &Claim<'call>, seen: &Seen, now: Duration) -> Option<Begun<'call>> {
    let row = &seen.row;
    if row.text(ARGUMENTS) != Some(&claim.arguments) {
        return Some(Begun::OtherArguments);
    }
    let result = row.text(RESULT).unwrap_or_default().to_owned();
    if row.text(STATE) == Some(DONE) {
        return Some(Begun::Done { result });
    }
    let lease = row.number(LEASE_MS).unwrap_or_else(|| millis(LEASE));
    let watched = millis(now.saturating_sub(seen.since));
    (watched >= lease).then(|| {
        Begun::Abandoned(Abandoned {
            brand: PhantomData,
            key: claim.key.clone(),
            arguments: claim.arguments.clone(),
            version: row.version().unwrap_or_default().to_owned(),
            promise: result,
        })
    })
}

/// The failure of a call that came while another one under its key still ran.
pub fn still_running() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        "a call with the same `idempotency_key` is still running",
    )
    .fix("Repeat the call later, with the same key and arguments, to get its answer.")
    .retry_after(LEASE)
    .detail("parameter", "idempotency_key")
}

/// The failure of a call whose key came before with other arguments.
pub fn other_arguments() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "`idempotency_key` came before with other arguments",
    )
    .fix("Use a new key for a new call; repeat a call with the very same arguments.")
    .detail("parameter", "idempotency_key")
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The hash of a call's arguments, as it is remembered.
pub fn arguments_hash(arguments: &str) -> String {
    hex(&Sha256::digest(arguments))
}

/// `bytes` in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(digits);
    text
}
