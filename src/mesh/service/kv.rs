//! Key-values: JSON under a key, private to a user or shared by the tenant, kept for a while or for ever.

mod resource;

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::cursor;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{KvRead, KvWrite, Operation, Report, ResourceLink, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::key::Scope;
use crate::mesh::store::values::{
    StoredValue, VALUE_BYTES_MAX, ValueCondition, ValueHead, ValueKey, Written,
};
use crate::mesh::{Error, ErrorKind, Timestamp};

pub use resource::{VALUE_TYPE, ValueAddress, ValueRead, ValueReadAnswer};

/// The longest time to live: hours (100 years).
pub const TTL_HOURS_MAX: f64 = 876_000.0;

/// The most keys on one page.
pub const LIST_LIMIT_MAX: u32 = 1000;

/// Reads one value.
#[derive(Debug)]
pub struct KvGet {
    /// Which.
    pub key: ValueKey,
    /// Whose.
    pub scope: Scope,
    /// See every write that was answered before, at twice the cost.
    pub consistent: bool,
}

/// What [`KvGet`] answers; all but the first two are left out where nothing is found.
#[derive(Debug, Default, Serialize)]
pub struct KvGetAnswer {
    key: String,
    found: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// The resource that holds the value, where the answer does not.
    #[serde(skip)]
    link: Option<ResourceLink>,
}

/// The largest value that an answer holds: bytes of its JSON text, of 60,000.
pub const INLINE_BYTES_MAX: usize = 56_000;

impl KvGetAnswer {
    fn absent(key: &ValueKey) -> Self {
        Self {
            key: key.as_str().to_owned(),
            ..Self::default()
        }
    }

    fn found(address: ValueAddress, stored: StoredValue) -> Result<Self, Error> {
        let mut answer = Self {
            key: address.key.as_str().to_owned(),
            found: true,
            version: Some(stored.head.version),
            created_at: Some(stored.head.created_at),
            expires_at: stored.head.expires_at,
            size: Some(stored.head.size),
            ..Self::default()
        };
        if stored.text.len() <= INLINE_BYTES_MAX {
            let value = RawValue::from_string(stored.text)
                .map_err(|error| Error::internal("a stored value is no JSON").caused_by(error))?;
            answer.value = Some(value);
            return Ok(answer);
        }
        let uri = address.to_string();
        answer.truncated = true;
        answer.uri = Some(uri.clone());
        answer.link = Some(ResourceLink {
            uri,
            name: answer.key.clone(),
            content_type: VALUE_TYPE.to_owned(),
            size: stored.head.size,
        });
        Ok(answer)
    }
}

impl Operation for KvGet {
    const TOOL: Tool = Tool::KvGet;
    type Needs = KvRead;
    type Answer = KvGetAnswer;

    fn subject(&self) -> Subject {
        subject(&self.key, self.scope)
    }

    fn cost(&self) -> Cost {
        Cost::of(
            Direction::DynamodbRead,
            if self.consistent { 1.0 } else { 0.5 },
        )
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<KvGetAnswer, Error> {
        let found = call
            .values(self.scope)
            .get(&self.key, self.consistent)
            .await?;
        match found {
            Some(stored) => KvGetAnswer::found(ValueAddress::new(self.scope, self.key), stored),
            None => Ok(KvGetAnswer::absent(&self.key)),
        }
    }

    fn report(answer: &KvGetAnswer) -> Report {
        Report {
            bytes: answer.size,
            facts: vec![("found", answer.found.into())],
        }
    }

    fn link(answer: &KvGetAnswer) -> Option<&ResourceLink> {
        answer.link.as_ref()
    }
}

/// Stores one value.
#[derive(Debug)]
pub struct KvSet {
    /// Under which key.
    pub key: ValueKey,
    /// The value's JSON text, as the caller wrote it.
    pub value: Box<RawValue>,
    /// For how long; for ever where there is none.
    pub time_to_live: Option<Duration>,
    /// Whose.
    pub scope: Scope,
    /// What must hold.
    pub condition: ValueCondition,
}

/// What [`KvSet`] answers.
#[derive(Debug, Serialize)]
pub struct KvSetAnswer {
    key: String,
    version: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl KvSet {
    /// The time to live that an argument in hours means: none for 0.
    pub fn time_to_live(hours: f64) -> Result<Option<Duration>, Error> {
        if !(0.0..=TTL_HOURS_MAX).contains(&hours) {
            return Err(Error::invalid(
                "ttl_hours",
                // Its exponent, where it has one: 1e300 would otherwise be three hundred digits.
                format!("`ttl_hours` is {hours:?}; it may be 0 to {TTL_HOURS_MAX}"),
            )
            .fix(
                "Give the hours to keep the value, such as 0.5 or 24, or 0 to keep it for ever.",
            ));
        }
        Ok((hours > 0.0).then(|| Duration::from_secs_f64(hours * 3600.0)))
    }

    /// Refuses a value that no row can hold.
    pub fn check_size(value: &RawValue) -> Result<(), Error> {
        let size = value.get().len();
        if size <= VALUE_BYTES_MAX {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TooLarge,
            format!("the value has {size} bytes of JSON; a value may have {VALUE_BYTES_MAX}"),
        )
        .fix("Store it with artifacts_put and keep its key here.")
        .detail("limit", VALUE_BYTES_MAX)
        .detail("size", size))
    }
}

impl Operation for KvSet {
    const TOOL: Tool = Tool::KvSet;
    type Needs = KvWrite;
    type Answer = KvSetAnswer;

    fn subject(&self) -> Subject {
        subject(&self.key, self.scope)
    }

    fn cost(&self) -> Cost {
        let bytes = self.value.get().len() + self.key.as_str().len() + ROW_OVERHEAD_BYTES;
        Cost::of(
            Direction::DynamodbWrite,
            bytes.div_ceil(WRITE_UNIT_BYTES) as f64,
        )
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<KvSetAnswer, Error> {
        // The table keeps whole seconds: rounded up, so that nothing expires before its time.
        let expires_at = self.time_to_live.map(|time_to_live| {
            let end = call
                .now()
                .plus(time_to_live)
                .plus(Duration::from_millis(999));
            Timestamp::from_seconds(end.as_seconds())
        });
        let values = call.values(self.scope);
        match values
            .set(&self.key, &self.value, expires_at, self.condition)
            .await?
        {
            Written::Done(head) => Ok(KvSetAnswer {
                key: self.key.as_str().to_owned(),
                version: head.version,
                size: head.size,
                expires_at: head.expires_at,
            }),
            Written::ConditionFailed(current) => Err(condition_failed(&self.key, current)),
        }
    }

    fn report(answer: &KvSetAnswer) -> Report {
        Report {
            bytes: Some(answer.size),
            facts: vec![("version", answer.version.clone().into())],
        }
    }
}

/// Deletes one value.
#[derive(Debug)]
pub struct KvDelete {
    /// Which.
    pub key: ValueKey,
    /// Whose.
    pub scope: Scope,
    /// What must hold.
    pub condition: ValueCondition,
}

/// What [`KvDelete`] answers.
#[derive(Debug, Serialize)]
pub struct KvDeleteAnswer {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    existed: Option<bool>,
}

impl Operation for KvDelete {
    const TOOL: Tool = Tool::KvDelete;
    type Needs = KvWrite;
    type Answer = KvDeleteAnswer;

    fn subject(&self) -> Subject {
        subject(&self.key, self.scope)
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbWrite, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<KvDeleteAnswer, Error> {
        match call
            .values(self.scope)
            .delete(&self.key, self.condition)
            .await?
        {
            Written::Done(existed) => Ok(KvDeleteAnswer {
                key: self.key.as_str().to_owned(),
                existed,
            }),
            Written::ConditionFailed(current) => Err(condition_failed(&self.key, current)),
        }
    }

    fn report(answer: &KvDeleteAnswer) -> Report {
        let facts = answer.existed.map(|existed| ("existed", existed.into()));
        Report {
            bytes: None,
            facts: facts.into_iter().collect(),
        }
    }
}

/// Lists keys.
#[derive(Debug)]
pub struct KvList {
    /// What every key begins with.
    pub prefix: String,
    /// Whose.
    pub scope: Scope,
    /// How many at most: 1 to [`LIST_LIMIT_MAX`].
    pub limit: u32,
    /// The key to go on after.
    pub after: Option<String>,
}

/// What [`KvList`] answers.
#[derive(Debug, Serialize)]
pub struct KvListAnswer {
    items: Vec<KvItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct KvItem {
    key: String,
    version: String,
    size: u64,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// What one item of a listing adds to the answer's text besides its key: bytes.
const ITEM_OVERHEAD_BYTES: usize = 190;

/// How much of the answer's text the items may take: bytes, of 60,000.
const ITEMS_BYTES_MAX: usize = 56_000;

impl KvList {
    /// What a cursor of this listing is bound to.
    pub fn filters(prefix: &str, scope: Scope) -> [String; 3] {
        [
            Tool::KvList.name().to_owned(),
            scope.name().to_owned(),
            prefix.to_owned(),
        ]
    }
}

impl Operation for KvList {
    const TOOL: Tool = Tool::KvList;
    type Needs = KvRead;
    type Answer = KvListAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("prefix", self.prefix.as_str())
            .with("scope", self.scope.name())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, f64::from(self.limit.div_ceil(20)))
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<KvListAnswer, Error> {
        let values = call.values(self.scope);
        let page = values
            .list(&self.prefix, self.after.as_deref(), self.limit)
            .await?;
        let mut next = page.next;
        let mut items: Vec<KvItem> = Vec::with_capacity(page.items.len());
        let mut bytes = 0;
        for (key, head) in page.items {
            // Control characters are not in keys, so at most every character is escaped once.
            bytes += key.len() * 2 + ITEM_OVERHEAD_BYTES;
            if bytes > ITEMS_BYTES_MAX && !items.is_empty() {
                next = items.last().map(|item| item.key.clone());
                break;
            }
            items.push(KvItem::of(key, head));
        }
        let filters = Self::filters(&self.prefix, self.scope);
        let next_cursor =
            next.map(|key| cursor::seal(&key, &filters.each_ref().map(String::as_str)));
        Ok(KvListAnswer { items, next_cursor })
    }

    fn report(answer: &KvListAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("items", answer.items.len().into())],
        }
    }
}

impl KvItem {
    fn of(key: String, head: ValueHead) -> Self {
        Self {
            key,
            version: head.version,
            size: head.size,
            created_at: head.created_at,
            expires_at: head.expires_at,
        }
    }
}

/// DynamoDB charges writes by this many bytes.
const WRITE_UNIT_BYTES: usize = 1024;

/// What a row has besides the key and the value: names, version, times and the partition key.
const ROW_OVERHEAD_BYTES: usize = 200;

fn subject(key: &ValueKey, scope: Scope) -> Subject {
    Subject::none()
        .with("key", key.as_str())
        .with("scope", scope.name())
}

fn condition_failed(key: &ValueKey, current: Option<ValueHead>) -> Error {
    let key = key.as_str();
    match current {
        Some(head) => Error::new(
            ErrorKind::Conflict,
            format!("`{key}` is there in version {}", head.version),
        )
        .fix("Read it with kv_get and try again with the version that it has now.")
        .detail("version", head.version),
        None => Error::new(
            ErrorKind::Conflict,
            format!("`{key}` is not there, or has expired"),
        )
        .fix("Leave `if_version` out, or set the value first."),
    }
}
