//! The history of a tenant: its events of the last days, newest or oldest first, page by page.
//!
//! A day's events lie in one partition for each shard, by ULID. A page merges the shards of a day, then
//! goes to the next day, and stops when it has read enough, wherever that is.

mod filter;
mod merge;
mod single;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ulid::Ulid;

use self::merge::{Bounds, Merge};
use super::detail::Detail;
use super::record::{Outcome, Priority};
use crate::mesh::store::bucket::GetOutcome;
use crate::mesh::store::key::{Keyspace, SHARDS_PREFIX};
use crate::mesh::store::table::{Range, Row};
use crate::mesh::store::{Bucket, Metered, Table};
use crate::mesh::{Clock, Error, Timestamp};

pub use self::filter::Filter;
pub(super) use self::filter::Traits;

/// The attribute of an event's row with its detail, as on the bus.
pub(super) const DETAIL_ATTRIBUTE: &str = "detail";

/// The attribute of an event's row with its type.
pub(super) const TYPE_ATTRIBUTE: &str = "detail_type";

/// The attribute of an event's row with the size of its body, where that lies in the bucket.
pub(super) const BODY_BYTES_ATTRIBUTE: &str = "body_bytes";

/// What one page reads at most, in bytes of rows.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// How many questions one page asks the table at most, so that a window of empty days ends as well.
pub const QUERIES_MAX: usize = 128;

/// The longest window, in days; nothing is kept longer.
pub const WINDOW_DAYS_MAX: i64 = 400;

/// The most events of a page.
pub const PAGE_EVENTS_MAX: usize = 1000;

const DAY_MS: i64 = 86_400_000;

/// The latest time that a ULID can have.
const ULID_MS_MAX: i64 = (1 << 48) - 1;

/// The history of one tenant.
pub struct History {
    table: Arc<dyn Table>,
    bucket: Arc<dyn Bucket>,
    keyspace: Keyspace,
    shards: u16,
    clock: Arc<dyn Clock>,
}

/// In which order events come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The newest first.
    #[default]
    Desc,
    /// The oldest first.
    Asc,
}

/// Where a page ended, to go on from there: relative to the tenant, and worth nothing to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPosition {
    /// Everything up to this id, in the direction of reading, has been looked at.
    pub after: Ulid,
    /// The direction.
    pub order: Order,
}

/// What is asked of a history.
#[derive(Clone, Debug)]
pub struct Query {
    /// The first moment of the window.
    pub start: Timestamp,
    /// The last moment of the window.
    pub end: Timestamp,
    /// Which events.
    pub filter: Filter,
    /// In which order; that of `after` where there is one.
    pub order: Order,
    /// At most so many: 1 to [`PAGE_EVENTS_MAX`].
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<HistoryPosition>,
    /// How many bytes of bodies may be fetched from the bucket; larger ones are left out and said so.
    pub body_bytes_max: usize,
}

/// An event as it is told.
#[derive(Clone, Debug, Serialize)]
pub struct ReportedEvent {
    /// Its id.
    pub event_id: Ulid,
    /// When it was recorded.
    pub time: Timestamp,
    /// What happened.
    pub detail_type: String,
    /// What its sender calls its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its detail; left out where it is too large for the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<RawValue>>,
    /// Whether the detail was left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Size of the detail, where it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail_bytes: Option<u64>,
    /// Where the whole event can be read, where the detail was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The tool or method.
    pub tool: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// How many calls it stands for, where it is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How urgent it is.
    pub priority: Priority,
    /// Who did it.
    pub user_id: String,
    /// Its sender's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// The call.
    pub request_id: Ulid,
    /// How long the call took, in milliseconds.
    pub duration_ms: f64,
}

/// A page of a history.
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// The events that fit; maybe fewer than wanted, or none, although there are more.
    pub events: Vec<ReportedEvent>,
    /// Where to go on, if there may be more.
    pub next: Option<HistoryPosition>,
    /// Up to when the window has been searched, where not all of it has.
    pub searched_until: Option<Timestamp>,
}

impl History {
    /// The history of the tenant whose keys `keyspace` forms, over at least `shards` shards.
    pub(in crate::mesh) fn new(
        table: Arc<dyn Table>,
        bucket: Arc<dyn Bucket>,
        keyspace: Keyspace,
        shards: u16,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            table,
            bucket,
            keyspace,
            shards: shards.max(1),
            clock,
        }
    }

    /// A page of the events that fit, and what it cost in read units.
    ///
    /// # Errors
    /// What the table answers, such as `AWS_THROTTLED`.
    pub async fn query(&self, query: &Query) -> Result<Metered<HistoryPage>, Error> {
        let order = query.after.map_or(query.order, |after| after.order);
        let mut page = HistoryPage::default();
        let mut spent = Spent::default();
        let Some(window) = self.window(query) else {
            return Ok(page.metered(spent));
        };
        let limit = query.limit.clamp(1, PAGE_EVENTS_MAX);
        let mut found = Vec::new();
        let mut day = window.first_day(order);
        let stopped = loop {
            if spent.is_used_up() {
                break Some(before_day(day, order));
            }
            let bounds = window.of_day(day);
            let shards = self.shards_of(day, &mut spent).await?;
            let mut merge = Merge::new(&self.keyspace, day * DAY_MS, shards, bounds, order, limit);
            let stopped = loop {
                match merge.next(&*self.table, &mut spent).await? {
                    merge::Step::Row(id, row) => {
                        found.extend(self.read(id, &row, &query.filter));
                        if found.len() >= limit {
                            break Some(id);
                        }
                    }
                    merge::Step::Pause(id) => break Some(id),
                    merge::Step::End => break None,
                }
            };
            if stopped.is_some() {
                break stopped;
            }
            match window.next_day(day, order) {
                Some(next) => day = next,
                None => break None,
            }
        };
        self.fetch_bodies(&mut found, query.body_bytes_max).await;
        page.events = found.into_iter().map(|(event, _)| event).collect();
        // What the window's last id was is known, so that a full window needs no further page.
        let edge = match order {
            Order::Desc => window.0.first,
            Order::Asc => window.0.last,
        };
        if let Some(after) = stopped.filter(|&after| after != edge) {
            page.next = Some(HistoryPosition { after, order });
            page.searched_until = Some(time_of(after));
        }
        Ok(page.metered(spent))
    }

    /// The part of the query's window in which events can be and which has not been searched.
    fn window(&self, query: &Query) -> Option<Window> {
        let latest = self.clock.now().as_millis().saturating_add(DAY_MS);
        let end = query.end.as_millis().min(latest).clamp(0, ULID_MS_MAX);
        let earliest = end.saturating_sub(WINDOW_DAYS_MAX * DAY_MS);
        let start = query.start.as_millis().max(earliest).clamp(0, ULID_MS_MAX);
        let mut bounds = Bounds {
            first: first_of(start),
            last: last_of(end),
        };
        match query.after {
            Some(HistoryPosition {
                after,
                order: Order::Desc,
            }) => bounds.last = bounds.last.min(Ulid(after.0.checked_sub(1)?)),
            Some(HistoryPosition {
                after,
                order: Order::Asc,
            }) => bounds.first = bounds.first.max(Ulid(after.0.checked_add(1)?)),
            None => {}
        }
        (start <= end && bounds.first <= bounds.last).then_some(Window(bounds))
    }

    /// Over how many shards the events of a day are spread: at least as many as are configured now, and
    /// as many as any writer of that day has written down.
    async fn shards_of(&self, day: i64, spent: &mut Spent) -> Result<u16, Error> {
        let partition = self
            .keyspace
            .events(Timestamp::from_millis(day * DAY_MS), 0);
        let range = Range {
            prefix: SHARDS_PREFIX.to_owned(),
            descending: true,
            limit: 1,
            ..Range::default()
        };
        let marks = self.table.query(&partition, &range).await?;
        spent.add(0, marks.units);
        let marked = marks.value.rows.first().and_then(|(sort, _)| {
            sort.strip_prefix(SHARDS_PREFIX)
                .and_then(|count| count.parse::<u16>().ok())
        });
        Ok(self.shards.max(marked.unwrap_or(1)))
    }

    /// The event in `row` if it fits, and the size of its body where that lies in the bucket.
    fn read(&self, id: Ulid, row: &Row, filter: &Filter) -> Option<(ReportedEvent, Option<u64>)> {
        if row.is_expired(self.clock.now()) {
            return None;
        }
        let detail_type = row.text(TYPE_ATTRIBUTE)?;
        let parsed = serde_json::from_str::<Detail<'_>>(row.text(DETAIL_ATTRIBUTE)?);
        let detail = match parsed {
            Ok(detail) => detail,
            Err(error) => {
                tracing::warn!(event_id = %id, %error, "an event of the history cannot be read");
                return None;
            }
        };
        let traits = Traits {
            detail_type,
            source: detail.source.as_deref(),
            tool: &detail.tool,
            outcome: detail.outcome,
            priority: detail.priority,
            user_id: &detail.user_id,
            tags: detail.tags.as_deref(),
        };
        if !filter.fits(&traits) {
            return None;
        }
        let body_bytes = row.number(BODY_BYTES_ATTRIBUTE);
        let event = ReportedEvent {
            event_id: id,
            time: time_of(id),
            detail_type: detail_type.to_owned(),
            source: detail.source.map(|text| text.into_owned()),
            detail: detail.data.map(|data| data.into_owned()),
            truncated: false,
            detail_bytes: None,
            uri: None,
            tool: detail.tool.into_owned(),
            outcome: detail.outcome,
            error_code: detail.error_code.map(|text| text.into_owned()),
            count: detail.count,
            priority: detail.priority,
            user_id: detail.user_id.into_owned(),
            tags: detail.tags.map(|tags| tags.into_owned()),
            request_id: detail.request_id,
            duration_ms: detail.duration_ms,
        };
        Some((event, body_bytes.map(|bytes| bytes.max(0).unsigned_abs())))
    }

    /// Fetches the bodies that lie in the bucket, in order, as far as `bytes_max` reaches.
    async fn fetch_bodies(&self, found: &mut [(ReportedEvent, Option<u64>)], bytes_max: usize) {
        let mut left = bytes_max as u64;
        let mut wanted = Vec::new();
        for (event, body_bytes) in found {
            let Some(bytes) = *body_bytes else { continue };
            event.truncated = true;
            event.detail_bytes = Some(bytes);
            if bytes <= left {
                left -= bytes;
                wanted.push((event, bytes));
            }
        }
        join_all(wanted.into_iter().map(async |(event, bytes)| {
            match self.fetch_body(event.event_id, bytes).await {
                Ok(Some(body)) => {
                    event.detail = Some(body);
                    event.truncated = false;
                    event.detail_bytes = None;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(event_id = %event.event_id, ?error, "the body of an event cannot be read");
                }
            }
        }))
        .await;
    }

    async fn fetch_body(&self, id: Ulid, bytes: u64) -> Result<Option<Box<RawValue>>, Error> {
        let key = self.keyspace.event_body(&id.to_string());
        let GetOutcome::Found(object) = self.bucket.get(&key, None, bytes).await? else {
            return Ok(None);
        };
        let body = serde_json::from_slice::<Box<RawValue>>(&object.body)
            .map_err(|cause| Error::internal("the body of an event is no JSON").caused_by(cause))?;
        Ok(Some(body))
    }
}

impl HistoryPage {
    fn metered(self, spent: Spent) -> Metered<Self> {
        Metered {
            value: self,
            units: spent.units,
        }
    }
}

/// What a page has read so far.
#[derive(Debug, Default)]
struct Spent {
    bytes: usize,
    queries: usize,
    units: f64,
}

impl Spent {
    fn add(&mut self, bytes: usize, units: f64) {
        self.bytes += bytes;
        self.queries += 1;
        self.units += units;
    }

    /// Whether nothing more may be read; a page of the table has at most 1 MiB.
    fn is_used_up(&self) -> bool {
        self.bytes + (1 << 20) > READ_BYTES_MAX || self.queries >= QUERIES_MAX
    }
}

/// The ids of a window, which is not empty.
struct Window(Bounds);

impl Window {
    fn first_day(&self, order: Order) -> i64 {
        match order {
            Order::Desc => day_of(self.0.last),
            Order::Asc => day_of(self.0.first),
        }
    }

    fn next_day(&self, day: i64, order: Order) -> Option<i64> {
        match order {
            Order::Desc => (day > day_of(self.0.first)).then_some(day - 1),
            Order::Asc => (day < day_of(self.0.last)).then_some(day + 1),
        }
    }

    fn of_day(&self, day: i64) -> Bounds {
        Bounds {
            first: self.0.first.max(first_of(day * DAY_MS)),
            last: self.0.last.min(last_of(day * DAY_MS + DAY_MS - 1)),
        }
    }
}

/// The id after which, in the direction of reading, `day` begins.
fn before_day(day: i64, order: Order) -> Ulid {
    match order {
        Order::Desc => first_of((day + 1) * DAY_MS),
        Order::Asc => last_of(day * DAY_MS - 1),
    }
}

/// The shard of a writer's events.
pub(super) fn shard_of(writer: &str, shards: u16) -> u16 {
    let shards = u32::from(shards.max(1));
    // The remainder is less than `shards`.
    (crc32fast::hash(writer.as_bytes()) % shards) as u16
}

fn first_of(millis: i64) -> Ulid {
    Ulid::from_parts(millis.clamp(0, ULID_MS_MAX).unsigned_abs(), 0)
}

fn last_of(millis: i64) -> Ulid {
    Ulid::from_parts(millis.clamp(0, ULID_MS_MAX).unsigned_abs(), u128::MAX)
}

fn time_of(id: Ulid) -> Timestamp {
    Timestamp::from_millis(i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX))
}

fn day_of(id: Ulid) -> i64 {
    time_of(id).as_millis().div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests;
