//! Batches of puts in one transaction.

use std::collections::HashSet;

use dynoxide::actions::batch_write_item::BatchWriteItemRequest;
use dynoxide::types::{AttributeValue, Item, MAX_ITEM_SIZE, item_size};
use dynoxide::{Database, DynoxideError};
use serde_json::{Value, json};

use super::parse;

/// The most rows of one batch.
const ROWS_MAX: usize = 25;

/// What one write unit covers, in bytes.
const UNIT_BYTES: usize = 1024;

/// Runs the batch in `body`.
///
/// The engine commits a batch row by row, which costs three times as much for 25 rows as its bulk insert
/// in one transaction does. So a batch that only puts goes the second way, and whatever is unusual about
/// a batch goes the first way, which has DynamoDB's own words for it.
pub(super) fn write(database: &Database, body: &[u8]) -> Result<Value, DynoxideError> {
    let request: BatchWriteItemRequest = parse(body)?;
    match put_at_once(database, request) {
        Some(response) => Ok(response),
        None => {
            let response = database.batch_write_item(parse(body)?)?;
            serde_json::to_value(response)
                .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
        }
    }
}

/// The answer, where every row was put in one transaction; else nothing was done.
fn put_at_once(database: &Database, request: BatchWriteItemRequest) -> Option<Value> {
    let wants_capacity = match request.return_consumed_capacity.as_deref() {
        None | Some("NONE") => false,
        Some("TOTAL") => true,
        Some(_) => return None,
    };
    if request.request_items.len() != 1 || request.return_item_collection_metrics.is_some() {
        return None;
    }
    let (table, rows) = request.request_items.into_iter().next()?;
    if rows.is_empty() || rows.len() > ROWS_MAX {
        return None;
    }
    let mut items = Vec::with_capacity(rows.len());
    let mut keys = HashSet::with_capacity(rows.len());
    let mut units = 0;
    for row in rows {
        if row.delete_request.is_some() {
            return None;
        }
        let item = row.put_request?.item;
        let size = item_size(&item);
        if size > MAX_ITEM_SIZE || !keys.insert((key(&item, "PK")?, key(&item, "SK")?)) {
            return None;
        }
        units += size.div_ceil(UNIT_BYTES).max(1);
        items.push(item);
    }
    // One transaction: where it fails, nothing was written.
    database
        .import_items(&table, items, dynoxide::ImportOptions::default())
        .ok()?;
    let mut response = json!({"UnprocessedItems": {}});
    if wants_capacity && let Some(response) = response.as_object_mut() {
        let capacity = json!([{"TableName": table, "CapacityUnits": units}]);
        response.insert("ConsumedCapacity".to_owned(), capacity);
    }
    Some(response)
}

fn key(item: &Item, name: &str) -> Option<String> {
    match item.get(name)? {
        AttributeValue::S(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}
