//! Merges the shards of one day into one stream of rows in the order of their ids, each id once.
//!
//! An event that is made again, such as that of an alert or of the end of a run, has the same id and is the
//! same event; but the process that made it again may keep it in another shard.

use std::collections::VecDeque;

use ulid::Ulid;

use super::{Order, Spent};
use crate::mesh::store::Table;
use crate::mesh::store::key::{Keyspace, Partition};
use crate::mesh::store::table::{Attribute, Range, Row};
use crate::mesh::{Error, Timestamp};

/// The fewest rows that are read of a shard at once: of 64 shards with rows of 17 KiB that is 4 MiB.
const ROWS_MIN: usize = 4;

/// The most rows that are read of a shard at first.
const ROWS_FIRST_MAX: usize = 200;

/// The most rows that are read of a shard at once.
const ROWS_MAX: usize = 1000;

/// Ids from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: Ulid,
    pub(super) last: Ulid,
}

/// What comes next.
pub(super) enum Step {
    /// This row.
    Row(Ulid, Row),
    /// Enough has been read; everything up to this id has been told.
    Pause(Ulid),
    /// Nothing.
    End,
}

/// The rows of one day.
pub(super) struct Merge {
    shards: Vec<Shard>,
    order: Order,
    /// The last id that was told, or the one before the first.
    told: Ulid,
    has_begun: bool,
}

struct Shard {
    partition: Partition,
    /// What has not been read; nothing where everything has.
    bounds: Option<Bounds>,
    rows: VecDeque<(Ulid, Row)>,
    at_once: usize,
}

impl Merge {
    /// The rows within `bounds` of the day that begins at `day_ms`; about `wanted` of them are expected.
    pub(super) fn new(
        keyspace: &Keyspace,
        day_ms: i64,
        shards: u16,
        bounds: Bounds,
        order: Order,
        wanted: usize,
    ) -> Self {
        let day = Timestamp::from_millis(day_ms);
        let at_once = (2 * wanted / usize::from(shards)).clamp(ROWS_MIN, ROWS_FIRST_MAX);
        let shards = (0..shards).map(|shard| Shard {
            partition: keyspace.events(day, shard),
            bounds: Some(bounds),
            rows: VecDeque::new(),
            at_once,
        });
        let told = match order {
            Order::Desc => Ulid(bounds.last.0.saturating_add(1)),
            Order::Asc => Ulid(bounds.first.0.saturating_sub(1)),
        };
        Self {
            shards: shards.collect(),
            order,
            told,
            has_begun: false,
        }
    }

    /// The next row. At least one is told before it pauses.
    pub(super) async fn next(
        &mut self,
        table: &dyn Table,
        spent: &mut Spent,
    ) -> Result<Step, Error> {
        for shard in &mut self.shards {
            if self.has_begun {
                shard.rows.pop_front_if(|(id, _)| *id == self.told);
            }
            while shard.rows.is_empty() && shard.bounds.is_some() {
                if self.has_begun && spent.is_used_up() {
                    return Ok(Step::Pause(self.told));
                }
                shard.read(table, self.order, spent).await?;
            }
        }
        self.has_begun = true;
        let heads = self
            .shards
            .iter_mut()
            .filter(|shard| !shard.rows.is_empty());
        let head = |shard: &&mut Shard| shard.rows.front().map(|(id, _)| *id);
        let next = match self.order {
            Order::Desc => heads.max_by_key(head),
            Order::Asc => heads.min_by_key(head),
        };
        Ok(match next.and_then(|shard| shard.rows.pop_front()) {
            Some((id, row)) => {
                self.told = id;
                Step::Row(id, row)
            }
            None => Step::End,
        })
    }
}

impl Shard {
    async fn read(
        &mut self,
        table: &dyn Table,
        order: Order,
        spent: &mut Spent,
    ) -> Result<(), Error> {
        let Some(bounds) = self.bounds else {
            return Ok(());
        };
        let range = Range {
            from: Some(bounds.first.to_string()),
            to: Some(bounds.last.to_string()),
            descending: order == Order::Desc,
            // At most 1000.
            limit: self.at_once as u32,
            ..Range::default()
        };
        let page = table.query(&self.partition, &range).await?;
        let rows = page.value.rows;
        spent.add(rows.iter().map(row_bytes).sum(), page.units);
        self.at_once = (self.at_once * 2).min(ROWS_MAX);
        let end = page
            .value
            .next
            .and_then(|sort| Ulid::from_string(&sort).ok());
        self.bounds = end.and_then(|end| beyond(bounds, end, order));
        for (sort, row) in rows {
            if let Ok(id) = Ulid::from_string(&sort) {
                self.rows.push_back((id, row));
            }
        }
        Ok(())
    }
}

/// What is left of `bounds` beyond `id`.
fn beyond(bounds: Bounds, id: Ulid, order: Order) -> Option<Bounds> {
    let left = match order {
        Order::Desc => Bounds {
            last: Ulid(id.0.checked_sub(1)?),
            ..bounds
        },
        Order::Asc => Bounds {
            first: Ulid(id.0.checked_add(1)?),
            ..bounds
        },
    };
    (left.first <= left.last).then_some(left)
}

fn row_bytes((sort, row): &(String, Row)) -> usize {
    let size = |attribute: &Attribute| match attribute {
        Attribute::Text(text) => text.len(),
        Attribute::Number(_) => 8,
        Attribute::Bytes(bytes) => bytes.len(),
    };
    let attributes = [
        super::DETAIL_ATTRIBUTE,
        super::TYPE_ATTRIBUTE,
        super::BODY_BYTES_ATTRIBUTE,
        crate::mesh::store::table::EXPIRY_ATTRIBUTE,
    ];
    let held: usize = attributes
        .iter()
        .filter_map(|&name| Some(name.len() + size(row.get(name)?)))
        .sum();
    sort.len() + held
}
