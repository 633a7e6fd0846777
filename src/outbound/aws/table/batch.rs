//! Many rows at once: batches of 25, what is left over sent again.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, ReturnConsumedCapacity, WriteRequest};
use futures::{StreamExt, stream};

use super::item::{ItemMap, PARTITION, SORT, item_of};
use super::units;
use crate::mesh::Error;
use crate::mesh::store::Metered;
use crate::mesh::store::key::RowKey;
use crate::mesh::store::table::Row;
use crate::outbound::aws::clients::Connection;
use crate::outbound::aws::error::{Part, fault};

/// The most rows of one batch.
const BATCH_MAX: usize = 25;

/// The most batches on their way at once.
const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// How often what is left over of a batch is sent.
const ROUNDS_MAX: u32 = 6;

/// The pause before the first repetition; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// What became of one batch.
struct Sent {
    left: Vec<usize>,
    units: f64,
    error: Option<Error>,
}

/// Puts `rows`; see the seam.
pub(super) async fn put_all(
    connection: &Connection,
    rows: &[(RowKey, Row)],
) -> Result<Metered<Vec<usize>>, Error> {
    let client = &connection.dynamodb(None).await;
    let table = &connection.settings().table;
    let positions = without_overwritten(rows);
    let mut sends = Vec::with_capacity(positions.len().div_ceil(BATCH_MAX));
    for batch in positions.chunks(BATCH_MAX) {
        sends.push(send(client, table, rows, batch));
    }
    let batches: Vec<Sent> = stream::iter(sends)
        .buffered(BATCHES_IN_FLIGHT_MAX)
        .collect()
        .await;
    let mut left = Vec::new();
    let mut units = 0.0;
    let mut first_error = None;
    for batch in batches {
        left.extend(batch.left);
        units += batch.units;
        first_error = first_error.or(batch.error);
    }
    match first_error {
        Some(error) if left.len() == positions.len() => Err(error),
        first_error => {
            if let Some(error) = first_error {
                tracing::warn!(?error, rows = left.len(), "some rows could not be written");
            }
            left.sort_unstable();
            Ok(Metered { value: left, units })
        }
    }
}

/// The positions of the rows, without those that a later one overwrites: DynamoDB refuses a batch with
/// two rows of one key.
fn without_overwritten(rows: &[(RowKey, Row)]) -> Vec<usize> {
    let last: HashMap<_, _> = rows
        .iter()
        .enumerate()
        .map(|(position, (key, _))| (key, position))
        .collect();
    let mut positions: Vec<usize> = last.into_values().collect();
    positions.sort_unstable();
    positions
}

async fn send(client: &Client, table: &str, rows: &[(RowKey, Row)], batch: &[usize]) -> Sent {
    let mut sent = Sent {
        left: batch.to_vec(),
        units: 0.0,
        error: None,
    };
    let mut pause = PAUSE_FIRST;
    for round in 1..=ROUNDS_MAX {
        let requests = sent
            .left
            .iter()
            .filter_map(|&position| request(rows.get(position)?))
            .collect();
        let answer = client
            .batch_write_item()
            .request_items(table, requests)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                sent.error = Some(fault(Part::Table, error));
                return sent;
            }
        };
        let consumed = answer.consumed_capacity.unwrap_or_default();
        sent.units += consumed.iter().map(|each| units(Some(each))).sum::<f64>();
        let unprocessed: Vec<WriteRequest> = answer
            .unprocessed_items
            .unwrap_or_default()
            .into_values()
            .flatten()
            .collect();
        sent.left.retain(|&position| {
            rows.get(position)
                .is_some_and(|(key, _)| unprocessed.iter().any(|request| is_of(request, key)))
        });
        if sent.left.is_empty() {
            return sent;
        }
        if round < ROUNDS_MAX {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
    sent
}

fn request((key, row): &(RowKey, Row)) -> Option<WriteRequest> {
    let item = item_of(key, row.clone());
    let put = PutRequest::builder().set_item(Some(item)).build().ok()?;
    Some(WriteRequest::builder().put_request(put).build())
}

fn is_of(request: &WriteRequest, key: &RowKey) -> bool {
    let holds = |item: &ItemMap, name: &str, text: &str| matches!(item.get(name), Some(AttributeValue::S(held)) if held == text);
    request.put_request.as_ref().is_some_and(|put| {
        holds(&put.item, PARTITION, key.partition()) && holds(&put.item, SORT, key.sort())
    })
}
