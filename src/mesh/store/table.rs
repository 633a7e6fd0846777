//! The seam to the one table: rows of attributes under a partition and a sort key.

use std::borrow::Cow;

use bytes::Bytes;

use super::key::{Partition, RowKey};
use super::{Metered, Reply};
use crate::mesh::Timestamp;

/// The TTL attribute of the table: whole seconds since 1970.
pub const EXPIRY_ATTRIBUTE: &str = "exp";

/// The attribute that conditional writes compare: a ULID, new with each write.
pub const VERSION_ATTRIBUTE: &str = "version";

/// The value of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Bytes.
    Bytes(Bytes),
}

/// A row's attributes without its keys, in the order they were set; a name occurs once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(Vec<(Cow<'static, str>, Attribute)>);

impl Row {
    /// A row without attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `attribute` under `name`, in place of what was there.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, attribute: Attribute) -> Self {
        let name = name.into();
        self.0.retain(|(held, _)| *held != name);
        self.0.push((name, attribute));
        self
    }

    /// With a text under `name`.
    #[must_use]
    pub fn with_text(self, name: &'static str, text: impl Into<String>) -> Self {
        self.with(name, Attribute::Text(text.into()))
    }

    /// With a number under `name`.
    #[must_use]
    pub fn with_number(self, name: &'static str, number: i64) -> Self {
        self.with(name, Attribute::Number(number))
    }

    /// The text under `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Attribute::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The number under `name`.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Attribute::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The attribute under `name`.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, attribute)| attribute)
    }

    /// The attributes, in the order they were set.
    pub fn into_attributes(self) -> impl Iterator<Item = (Cow<'static, str>, Attribute)> {
        self.0.into_iter()
    }

    /// The row's version.
    pub fn version(&self) -> Option<&str> {
        self.text(VERSION_ATTRIBUTE)
    }

    /// Whether the row reads as absent at `now`, however late the table deletes it.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.number(EXPIRY_ATTRIBUTE)
            .is_some_and(|expiry| expiry <= now.as_seconds())
    }
}

impl FromIterator<(Cow<'static, str>, Attribute)> for Row {
    fn from_iter<I: IntoIterator<Item = (Cow<'static, str>, Attribute)>>(attributes: I) -> Self {
        Self(attributes.into_iter().collect())
    }
}

/// What must hold for a write to happen. A row whose expiry is at or before `now` counts as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Whatever is there.
    Always,
    /// No live row is there.
    Absent {
        /// When the caller asked.
        now: Timestamp,
    },
    /// A live row of this version is there.
    Version {
        /// The version.
        version: String,
        /// When the caller asked.
        now: Timestamp,
    },
}

/// How a conditional write ended.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteOutcome {
    /// It was done. `replaced` is the row that was there, expired or not.
    Done {
        /// The row that was there. For a delete whose first answer was lost and that the SDK repeated
        /// it is not known.
        replaced: Replaced,
    },
    /// The condition did not hold; nothing was changed.
    ConditionFailed {
        /// The row that is there.
        current: Option<Row>,
    },
}

/// What a write found in its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Replaced {
    /// This row, or none.
    Known(Option<Row>),
    /// The answer that would have told was lost.
    Unknown,
}

/// Which rows of a partition to read: those whose sort key begins with `prefix`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// What every sort key begins with.
    pub prefix: String,
    /// Read only keys at or after this one; it begins with `prefix`.
    pub from: Option<String>,
    /// Read only keys at or before this one; it begins with `prefix`.
    pub to: Option<String>,
    /// Go on after this sort key, in the direction of reading.
    pub after: Option<String>,
    /// From the last to the first.
    pub descending: bool,
    /// At most this many rows are looked at: 1 to 1000.
    pub limit: u32,
    /// Rows are as the last write that was answered left them, for twice the read units.
    pub consistent: bool,
    /// Only these attributes are wanted; none means all.
    pub attributes: Vec<&'static str>,
}

/// One page of a query. DynamoDB ends a page at 1 MiB.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Sort key and attributes of each row.
    pub rows: Vec<(String, Row)>,
    /// Where there may be more: the sort key to go on after.
    pub next: Option<String>,
}

/// One number of a row that is added to under a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The attribute.
    pub name: &'static str,
    /// What is added to it; an absent one counts as 0.
    pub delta: i64,
    /// What it must not exceed afterwards; only looked at where `delta` is positive.
    pub ceiling: i64,
}

/// The one table.
pub trait Table: Send + Sync + 'static {
    /// The row under `key`. Expired rows come back too: the handle decides what is absent.
    fn get<'a>(&'a self, key: &'a RowKey, consistent: bool) -> Reply<'a, Metered<Option<Row>>>;

    /// Puts `row` under `key`. A repetition of our own write whose answer was lost is recognized by the
    /// row's version and is `Done`.
    fn put<'a>(
        &'a self,
        key: &'a RowKey,
        row: Row,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>>;

    /// Deletes the row under `key`. Deleting what is not there is `Done`, also under
    /// [`Condition::Version`] when the SDK had to repeat the request.
    fn delete<'a>(
        &'a self,
        key: &'a RowKey,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>>;

    /// A page of the rows of `partition`.
    fn query<'a>(&'a self, partition: &'a Partition, range: &'a Range) -> Reply<'a, Metered<Page>>;

    /// Adds to numbers of one row, all or none; nothing where one of them would exceed its ceiling.
    fn add<'a>(&'a self, key: &'a RowKey, additions: &'a [Addition]) -> Reply<'a, Metered<bool>>;

    /// Puts many rows (any number; cut into batches of 25), in no order and not atomically. Answers the
    /// positions of those that could not be written after the retries; an error means that none of the
    /// remaining could be.
    fn put_all<'a>(&'a self, rows: &'a [(RowKey, Row)]) -> Reply<'a, Metered<Vec<usize>>>;

    /// Whether the table is there and usable, without changing it.
    fn check(&self) -> Reply<'_, ()>;
}
