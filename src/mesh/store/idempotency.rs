//! What was answered to an idempotency key, so that a repeated call has its effect once.

use std::time::Duration;

use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::key::RowKey;
use super::table::{Condition, EXPIRY_ATTRIBUTE, Row, VERSION_ATTRIBUTE, WriteOutcome};
use crate::mesh::Error;
use crate::mesh::call::grant::Reach;
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::Direction;

/// How long an answer is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_hours(24);

/// The longest idempotency key: bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 256;

const ARGUMENTS: &str = "arguments";
const RESULT: &str = "result";
const STATE: &str = "state";
const DONE: &str = "done";

/// The rows of one tool's idempotency keys.
pub struct Idempotency<'call> {
    reach: Reach<'call>,
    tool: Tool,
}

/// What was known of a key when a call began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: this call is the first.
    First,
    /// A call with the same arguments came before and was to answer this; `done` says whether its effect
    /// is certain.
    Again {
        /// The answer's JSON text.
        result: String,
        /// Whether the effect is certain.
        done: bool,
    },
    /// A call with other arguments came before.
    OtherArguments,
}

impl<'call> Idempotency<'call> {
    pub(in crate::mesh) fn new(reach: Reach<'call>, tool: Tool) -> Self {
        Self { reach, tool }
    }

    /// Notes that a call under `key` with arguments of this hash is about to answer `result`, unless one
    /// has come before.
    pub async fn begin(&self, key: &str, arguments: &str, result: &str) -> Result<Begun, Error> {
        let now = self.reach.now();
        let row = Row::new()
            .with_text(VERSION_ATTRIBUTE, Ulid::generate().to_string())
            .with_text(ARGUMENTS, arguments)
            .with_text(RESULT, result)
            .with_text(STATE, "begun")
            .with_number(EXPIRY_ATTRIBUTE, now.plus(REMEMBERED_FOR).as_seconds());
        let answer = self
            .reach
            .table()
            .put(&self.row_key(key), row, Condition::Absent { now })
            .await?;
        self.reach.spend(Direction::DynamodbWrite, answer.units);
        let WriteOutcome::ConditionFailed { current } = answer.value else {
            return Ok(Begun::First);
        };
        let current = current.ok_or_else(|| Error::internal("a refused row has no current one"))?;
        if current.text(ARGUMENTS) != Some(arguments) {
            return Ok(Begun::OtherArguments);
        }
        let result = current.text(RESULT).unwrap_or_default().to_owned();
        Ok(Begun::Again {
            result,
            done: current.text(STATE) == Some(DONE),
        })
    }

    /// Notes that the effect of the call under `key` is certain.
    pub async fn finish(&self, key: &str, arguments: &str, result: &str) -> Result<(), Error> {
        let now = self.reach.now();
        let row = Row::new()
            .with_text(VERSION_ATTRIBUTE, Ulid::generate().to_string())
            .with_text(ARGUMENTS, arguments)
            .with_text(RESULT, result)
            .with_text(STATE, DONE)
            .with_number(EXPIRY_ATTRIBUTE, now.plus(REMEMBERED_FOR).as_seconds());
        let answer = self
            .reach
            .table()
            .put(&self.row_key(key), row, Condition::Always)
            .await?;
        self.reach.spend(Direction::DynamodbWrite, answer.units);
        Ok(())
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

/// The hash of a call's arguments, as it is remembered.
pub fn arguments_hash(arguments: &str) -> String {
    hex(&Sha256::digest(arguments))
}

/// `bytes` in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
