//! The handle to a caller's values: rows of JSON text with a version and an expiry.

use std::marker::PhantomData;

use serde_json::value::RawValue;
use ulid::Ulid;

use super::key::{Keyspace, Scope, VALUE_PREFIX};
use super::table::{
    Condition, EXPIRY_ATTRIBUTE, Range, Replaced, Row, VERSION_ATTRIBUTE, WriteOutcome,
};
use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{Allows, KvRead, KvWrite};
use crate::mesh::limit::Direction;
use crate::mesh::{Error, Timestamp};

/// The largest value: bytes of its JSON text. DynamoDB's item limit is 400 KB with keys and attributes.
pub const VALUE_BYTES_MAX: usize = 350 * 1024;

/// The longest key: bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 512;

const VALUE: &str = "value";
const CREATED_AT: &str = "created_at";
const SIZE: &str = "size";

/// A key of 1 to [`KEY_BYTES_MAX`] bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueKey(String);

impl ValueKey {
    /// Parses the argument `parameter`.
    pub fn parse(parameter: &str, text: String) -> Result<Self, Error> {
        let refuse = |what: &str| {
            Error::invalid(parameter, format!("`{parameter}` {what}")).fix(format!(
                "Use a key of 1 to {KEY_BYTES_MAX} bytes without control characters."
            ))
        };
        if text.is_empty() {
            return Err(refuse("is empty"));
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(refuse(&format!("has {} bytes", text.len())));
        }
        if text.chars().any(char::is_control) {
            return Err(refuse("holds a control character"));
        }
        Ok(Self(text))
    }

    /// The key as the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value as it is stored.
#[derive(Clone, Debug)]
pub struct StoredValue {
    /// The value's JSON text, exact to the digit.
    pub text: String,
    /// What is known of it.
    pub head: ValueHead,
}

/// What is known of a value without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueHead {
    /// A ULID, new with each write.
    pub version: String,
    /// Bytes of the value's JSON text.
    pub size: u64,
    /// When this version was written.
    pub created_at: Timestamp,
    /// From when on it reads as absent.
    pub expires_at: Option<Timestamp>,
}

/// What must hold for a value to be written or deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ValueCondition {
    /// Whatever is there.
    #[default]
    Always,
    /// Nothing is there.
    Absent,
    /// This version is there.
    Version(String),
}

/// How a conditional write of a value ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written<T> {
    /// It was done.
    Done(T),
    /// The condition did not hold; this is what is there.
    ConditionFailed(Option<ValueHead>),
}

/// One page of a listing: keys as the caller names them.
#[derive(Clone, Debug, Default)]
pub struct ValuePage {
    /// Keys and what is known of their values.
    pub items: Vec<(String, ValueHead)>,
    /// Where there may be more: the key to go on after.
    pub next: Option<String>,
}

/// Values of one scope of the caller, to the extent of the permission `P`.
pub struct Values<'call, P> {
    reach: Reach<'call>,
    scope: Scope,
    keys: Keyspace,
    permission: PhantomData<P>,
}

impl<'call, P> Values<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>, scope: Scope) -> Self {
        Self {
            keys: reach.keyspace(),
            reach,
            scope,
            permission: PhantomData,
        }
    }

    /// The value under `key`.
    pub async fn get(&self, key: &ValueKey, consistent: bool) -> Result<Option<StoredValue>, Error>
    where
        P: Allows<KvRead>,
    {
        let row_key = self
            .keys
            .value(self.scope, self.reach.user_id(), key.as_str());
        let answer = self.reach.table().get(&row_key, consistent).await?;
        self.reach.spend(Direction::DynamodbRead, answer.units);
        let now = self.reach.now();
        match answer.value {
            Some(row) if !row.is_expired(now) => StoredValue::of(row).map(Some),
            _ => Ok(None),
        }
    }

    /// Stores `value` under `key`; answers what is known of it now.
    pub async fn set(
        &self,
        key: &ValueKey,
        value: &RawValue,
        expires_at: Option<Timestamp>,
        condition: ValueCondition,
    ) -> Result<Written<ValueHead>, Error>
    where
        P: Allows<KvWrite>,
    {
        let now = self.reach.now();
        let head = ValueHead {
            version: Ulid::generate().to_string(),
            size: value.get().len() as u64,
            created_at: now,
            expires_at,
        };
        let row_key = self
            .keys
            .value(self.scope, self.reach.user_id(), key.as_str());
        let row = head.to_row(value.get());
        let answer = self
            .reach
            .table()
            .put(&row_key, row, condition.at(now))
            .await?;
        self.reach.spend(Direction::DynamodbWrite, answer.units);
        Ok(match answer.value {
            WriteOutcome::Done { .. } => Written::Done(head),
            WriteOutcome::ConditionFailed { current } => {
                Written::ConditionFailed(live_head(current, now)?)
            }
        })
    }

    /// Deletes the value under `key`; answers whether there was one, where that is known.
    pub async fn delete(
        &self,
        key: &ValueKey,
        condition: ValueCondition,
    ) -> Result<Written<Option<bool>>, Error>
    where
        P: Allows<KvWrite>,
    {
        let now = self.reach.now();
        let row_key = self
            .keys
            .value(self.scope, self.reach.user_id(), key.as_str());
        let answer = self
            .reach
            .table()
            .delete(&row_key, condition.at(now))
            .await?;
        self.reach.spend(Direction::DynamodbWrite, answer.units);
        Ok(match answer.value {
            WriteOutcome::Done {
                replaced: Replaced::Unknown,
            } => Written::Done(None),
            WriteOutcome::Done {
                replaced: Replaced::Known(row),
            } => Written::Done(Some(row.is_some_and(|row| !row.is_expired(now)))),
            WriteOutcome::ConditionFailed { current } => {
                Written::ConditionFailed(live_head(current, now)?)
            }
        })
    }

    /// A page of at most `limit` keys that begin with `prefix`, in the order of their UTF-8 bytes.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ValuePage, Error>
    where
        P: Allows<KvRead>,
    {
        let partition = self.keys.values(self.scope, self.reach.user_id());
        let mut range = Range {
            prefix: format!("{VALUE_PREFIX}{prefix}"),
            after: after.map(|key| format!("{VALUE_PREFIX}{key}")),
            limit,
            attributes: vec![VERSION_ATTRIBUTE, SIZE, CREATED_AT, EXPIRY_ATTRIBUTE],
            ..Range::default()
        };
        let now = self.reach.now();
        let mut page = ValuePage::default();
        for _ in 0..LIST_PAGES_MAX {
            range.limit = limit - u32::try_from(page.items.len()).unwrap_or(limit);
            let answer = self.reach.table().query(&partition, &range).await?;
            self.reach.spend(Direction::DynamodbRead, answer.units);
            for (sort, row) in answer.value.rows {
                if !row.is_expired(now) {
                    page.items.push((caller_key(&sort)?, ValueHead::of(&row)?));
                }
            }
            page.next = answer.value.next.as_deref().map(caller_key).transpose()?;
            if page.next.is_none() || page.items.len() >= limit as usize {
                break;
            }
            range.after = answer.value.next;
        }
        Ok(page)
    }
}

/// How many pages of the table one listing reads: a page is at most 1 MiB, and one full of expired rows
/// or of large values shows few keys.
const LIST_PAGES_MAX: usize = 4;

impl ValueCondition {
    fn at(self, now: Timestamp) -> Condition {
        match self {
            Self::Always => Condition::Always,
            Self::Absent => Condition::Absent { now },
            Self::Version(version) => Condition::Version { version, now },
        }
    }
}

impl StoredValue {
    fn of(row: Row) -> Result<Self, Error> {
        let head = ValueHead::of(&row)?;
        match row.text(VALUE) {
            Some(text) => Ok(Self {
                text: text.to_owned(),
                head,
            }),
            None => Err(Error::internal("a value's row has no value")),
        }
    }
}

impl ValueHead {
    fn of(row: &Row) -> Result<Self, Error> {
        let missing = |name: &str| Error::internal(format!("a value's row has no {name}"));
        Ok(Self {
            version: row
                .version()
                .ok_or_else(|| missing(VERSION_ATTRIBUTE))?
                .to_owned(),
            size: row
                .number(SIZE)
                .ok_or_else(|| missing(SIZE))?
                .unsigned_abs(),
            created_at: Timestamp::from_millis(
                row.number(CREATED_AT).ok_or_else(|| missing(CREATED_AT))?,
            ),
            expires_at: row.number(EXPIRY_ATTRIBUTE).map(Timestamp::from_seconds),
        })
    }

    fn to_row(&self, text: &str) -> Row {
        let row = Row::new()
            .with_text(VALUE, text)
            .with_text(VERSION_ATTRIBUTE, self.version.as_str())
            .with_number(SIZE, i64::try_from(self.size).unwrap_or(i64::MAX))
            .with_number(CREATED_AT, self.created_at.as_millis());
        match self.expires_at {
            Some(time) => row.with_number(EXPIRY_ATTRIBUTE, time.as_seconds()),
            None => row,
        }
    }
}

fn live_head(row: Option<Row>, now: Timestamp) -> Result<Option<ValueHead>, Error> {
    row.filter(|row| !row.is_expired(now))
        .as_ref()
        .map(ValueHead::of)
        .transpose()
}

fn caller_key(sort: &str) -> Result<String, Error> {
    sort.strip_prefix(VALUE_PREFIX)
        .map(str::to_owned)
        .ok_or_else(|| Error::internal("a row among the values has another prefix"))
}
