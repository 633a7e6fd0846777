//! A query, read in pieces, so that a page never costs the memory of the whole partition.

use dynoxide::actions::query::{QueryRequest, QueryResponse};
use dynoxide::types::AttributeValue;
use dynoxide::{Database, DynoxideError};
use std::collections::HashMap;

use super::parse;

/// Rows of the first piece. Rows may have 400 KiB, so it is small.
const FIRST_ROWS: usize = 16;

/// Rows of one piece at most.
const ROWS_MAX: usize = 1024;

/// Where DynamoDB ends a page, in bytes.
const PAGE_BYTES: f64 = 1_048_576.0;

/// What one unit of a strongly consistent read covers, in bytes.
const UNIT_BYTES: f64 = 4096.0;

/// Runs the query in `body`: the engine would read all rows up to the limit, however large, before it
/// ends the page at 1 MiB.
pub(super) fn run(database: &Database, body: &[u8]) -> Result<QueryResponse, DynoxideError> {
    let first: QueryRequest = parse(body)?;
    let limit = first.limit;
    let asked = first
        .return_consumed_capacity
        .as_deref()
        .is_some_and(|mode| mode != "NONE");
    let unit_bytes = match first.consistent_read {
        Some(true) => UNIT_BYTES,
        _ => UNIT_BYTES * 2.0,
    };
    if limit.is_some_and(|limit| limit <= FIRST_ROWS) {
        return database.query(first);
    }
    let mut request = first;
    let mut rows = FIRST_ROWS;
    let mut whole: Option<QueryResponse> = None;
    let mut bytes = 0.0;
    loop {
        request.limit = Some(rows);
        if !asked {
            request.return_consumed_capacity = Some("TOTAL".to_owned());
        }
        let piece = database.query(request)?;
        let units = units(&piece);
        bytes += units * unit_bytes;
        let ended = piece.last_evaluated_key.is_none() || piece.scanned_count < rows;
        let next = piece.last_evaluated_key.clone();
        let page = merge(whole.take(), piece);
        let left = limit.map_or(usize::MAX, |limit| limit.saturating_sub(page.scanned_count));
        if ended || left == 0 || bytes >= PAGE_BYTES {
            return Ok(finish(page, asked));
        }
        rows = next_rows(page.scanned_count, bytes).min(left);
        whole = Some(page);
        request = go_on(body, next)?;
    }
}

/// How many rows are likely to fill the rest of the page, judged by those that were read.
fn next_rows(read: usize, bytes: f64) -> usize {
    let mean = (bytes / read.max(1) as f64).max(1.0);
    let rows = ((PAGE_BYTES - bytes) / mean).ceil();
    (rows as usize).clamp(1, ROWS_MAX)
}

fn go_on(
    body: &[u8],
    start: Option<HashMap<String, AttributeValue>>,
) -> Result<QueryRequest, DynoxideError> {
    let mut request: QueryRequest = parse(body)?;
    request.exclusive_start_key = start;
    request.exclusive_start_key_raw = None;
    Ok(request)
}

fn units(page: &QueryResponse) -> f64 {
    page.consumed_capacity
        .as_ref()
        .map_or(0.0, |capacity| capacity.capacity_units)
}

fn merge(whole: Option<QueryResponse>, piece: QueryResponse) -> QueryResponse {
    let Some(mut whole) = whole else {
        return piece;
    };
    let units = units(&whole) + units(&piece);
    if let (Some(items), Some(more)) = (&mut whole.items, piece.items) {
        items.extend(more);
    }
    whole.count += piece.count;
    whole.scanned_count += piece.scanned_count;
    whole.last_evaluated_key = piece.last_evaluated_key;
    whole.consumed_capacity = piece.consumed_capacity;
    if let Some(capacity) = &mut whole.consumed_capacity {
        capacity.capacity_units = units;
    }
    whole
}

fn finish(mut page: QueryResponse, asked: bool) -> QueryResponse {
    if !asked {
        page.consumed_capacity = None;
    }
    page
}
