//! The table on DynamoDB.

mod batch;
mod condition;
mod item;
mod range;

use std::sync::Arc;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure, TableStatus,
};
use futures::FutureExt;
use ulid::Ulid;

use super::attempts::LostAnswers;
use super::clients::Connection;
use super::error::{Part, fault};
use crate::mesh::store::key::{Partition, RowKey};
use crate::mesh::store::table::{Addition, Condition, Page, Range, Replaced, Row, WriteOutcome};
use crate::mesh::store::{Metered, Reply, Table};
use crate::mesh::{Error, ErrorKind};

use condition::{Expression, addition, condition};
use item::{ItemMap, PARTITION, SORT, item_of, key_of, row_of};

/// The table of a [`Connection`].
#[derive(Clone, Debug)]
pub struct AwsTable {
    connection: Arc<Connection>,
}

impl AwsTable {
    /// The table that `connection` names.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    fn name(&self) -> &str {
        &self.connection.settings().table
    }

    async fn get_row(&self, key: &RowKey, consistent: bool) -> Result<Metered<Option<Row>>, Error> {
        let client = self.connection.dynamodb(Some(key.tenant())).await;
        let answer = client
            .get_item()
            .table_name(self.name())
            .set_key(Some(key_of(key)))
            .consistent_read(consistent)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| fault(Part::Table, error))?;
        Ok(Metered {
            units: units(answer.consumed_capacity.as_ref()),
            value: answer.item.map(row_of),
        })
    }

    async fn put_row(
        &self,
        key: &RowKey,
        row: Row,
        wanted: Condition,
    ) -> Result<Metered<WriteOutcome>, Error> {
        let version = row.version().map(str::to_owned);
        let lost = LostAnswers::default();
        let is_ours = |held: &Row| version.is_some() && held.version() == version.as_deref();
        let Expression {
            text,
            names,
            values,
        } = condition(&wanted);
        let client = self.connection.dynamodb(Some(key.tenant())).await;
        let answer = client
            .put_item()
            .table_name(self.name())
            .set_item(Some(item_of(key, row)))
            .set_condition_expression(text)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .interceptor(lost.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let replaced = match answer.attributes.map(row_of) {
                    // What we replaced is what we had written: the first answer was lost.
                    Some(row) if is_ours(&row) => Replaced::Unknown,
                    row => Replaced::Known(row),
                };
                let units = units(answer.consumed_capacity.as_ref());
                Ok(done(replaced, units))
            }
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failure)) => {
                    let current = failure.item.clone().map(row_of);
                    match current {
                        Some(row) if is_ours(&row) => Ok(done(Replaced::Unknown, FAILED_UNITS)),
                        current => Ok(not_done(current)),
                    }
                }
                _ => Err(lost.fault(Part::Table, error)),
            },
        }
    }

    async fn delete_row(
        &self,
        key: &RowKey,
        wanted: Condition,
    ) -> Result<Metered<WriteOutcome>, Error> {
        let lost = LostAnswers::default();
        let Expression {
            text,
            names,
            values,
        } = condition(&wanted);
        let client = self.connection.dynamodb(Some(key.tenant())).await;
        let answer = client
            .delete_item()
            .table_name(self.name())
            .set_key(Some(key_of(key)))
            .set_condition_expression(text)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .interceptor(lost.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let replaced = match answer.attributes.map(row_of) {
                    // Nothing is there, perhaps because the request whose answer was lost deleted it.
                    None if lost.any() => Replaced::Unknown,
                    row => Replaced::Known(row),
                };
                Ok(done(replaced, units(answer.consumed_capacity.as_ref())))
            }
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(failure)) => {
                    match failure.item.clone().map(row_of) {
                        None if lost.any() => Ok(done(Replaced::Unknown, FAILED_UNITS)),
                        current => Ok(not_done(current)),
                    }
                }
                _ => Err(lost.fault(Part::Table, error)),
            },
        }
    }

    async fn query_rows(
        &self,
        partition: &Partition,
        wanted: &Range,
    ) -> Result<Metered<Page>, Error> {
        let Some(bounds) = range::bounds(wanted) else {
            return Ok(Metered {
                value: Page::default(),
                units: 0.0,
            });
        };
        let (projection, mut names) = range::projection(&wanted.attributes);
        let (condition, values) = bounds.condition(partition.key(), &mut names);
        let start = bounds.after.as_ref().map(|after| {
            ItemMap::from([
                (
                    PARTITION.to_owned(),
                    AttributeValue::S(partition.key().to_owned()),
                ),
                (SORT.to_owned(), AttributeValue::S(after.clone())),
            ])
        });
        let client = self.connection.dynamodb(Some(partition.tenant())).await;
        let answer = client
            .query()
            .table_name(self.name())
            .key_condition_expression(condition)
            .set_projection_expression(projection)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .set_exclusive_start_key(start)
            .scan_index_forward(!wanted.descending)
            .consistent_read(wanted.consistent)
            .limit(i32::try_from(wanted.limit.clamp(1, range::LIMIT_MAX)).unwrap_or(1))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| fault(Part::Table, error))?;
        let next = answer
            .last_evaluated_key
            .and_then(|mut key| item::text(key.remove(SORT)))
            .filter(|sort| bounds.may_follow(sort, wanted));
        let rows = answer
            .items
            .unwrap_or_default()
            .into_iter()
            .filter_map(|mut item| {
                let sort = item::text(item.remove(SORT))?;
                sort.starts_with(&wanted.prefix)
                    .then(|| (sort, row_of(item)))
            })
            .collect();
        Ok(Metered {
            value: Page { rows, next },
            units: units(answer.consumed_capacity.as_ref()),
        })
    }

    async fn add_to_row(
        &self,
        key: &RowKey,
        additions: &[Addition],
    ) -> Result<Metered<bool>, Error> {
        if additions.is_empty() {
            return Ok(Metered {
                value: true,
                units: 0.0,
            });
        }
        let lost = LostAnswers::default();
        let id = Ulid::generate().to_string();
        let (
            update,
            Expression {
                text,
                names,
                values,
            },
        ) = addition(additions, &id);
        let client = self.connection.dynamodb(Some(key.tenant())).await;
        let answer = client
            .update_item()
            .table_name(self.name())
            .set_key(Some(key_of(key)))
            .update_expression(update)
            .set_condition_expression(text)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .interceptor(lost.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Metered {
                value: true,
                units: units(answer.consumed_capacity.as_ref()),
            }),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failure)) => {
                    let last = failure
                        .item
                        .as_ref()
                        .and_then(|row| row.get(item::ADDITION));
                    Ok(Metered {
                        value: last.is_some_and(|last| *last == AttributeValue::S(id)),
                        units: FAILED_UNITS,
                    })
                }
                _ => Err(lost.fault(Part::Table, error)),
            },
        }
    }

    async fn look(&self) -> Result<(), Error> {
        let client = self.connection.dynamodb(None).await;
        let answer = client.describe_table().table_name(self.name()).send().await;
        let answer = answer.map_err(|error| fault(Part::Table, error))?;
        match answer.table.and_then(|table| table.table_status) {
            Some(TableStatus::Active | TableStatus::Updating) => Ok(()),
            status => Err(
                Error::new(ErrorKind::AwsUnavailable, "the table is not ready")
                    .fix("wait until it is active")
                    .caused_by(format!("its status is {status:?}")),
            ),
        }
    }
}

impl Table for AwsTable {
    fn get<'a>(&'a self, key: &'a RowKey, consistent: bool) -> Reply<'a, Metered<Option<Row>>> {
        self.get_row(key, consistent).boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a RowKey,
        row: Row,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>> {
        self.put_row(key, row, condition).boxed()
    }

    fn delete<'a>(
        &'a self,
        key: &'a RowKey,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>> {
        self.delete_row(key, condition).boxed()
    }

    fn query<'a>(&'a self, partition: &'a Partition, range: &'a Range) -> Reply<'a, Metered<Page>> {
        self.query_rows(partition, range).boxed()
    }

    fn add<'a>(&'a self, key: &'a RowKey, additions: &'a [Addition]) -> Reply<'a, Metered<bool>> {
        self.add_to_row(key, additions).boxed()
    }

    fn put_all<'a>(&'a self, rows: &'a [(RowKey, Row)]) -> Reply<'a, Metered<Vec<usize>>> {
        batch::put_all(&self.connection, rows).boxed()
    }

    fn check(&self) -> Reply<'_, ()> {
        self.look().boxed()
    }
}

/// What DynamoDB charges at least for a write whose condition fails, and does not report.
const FAILED_UNITS: f64 = 1.0;

fn units(capacity: Option<&ConsumedCapacity>) -> f64 {
    capacity
        .and_then(|capacity| capacity.capacity_units)
        .unwrap_or_default()
}

fn done(replaced: Replaced, units: f64) -> Metered<WriteOutcome> {
    Metered {
        value: WriteOutcome::Done { replaced },
        units,
    }
}

fn not_done(current: Option<Row>) -> Metered<WriteOutcome> {
    Metered {
        value: WriteOutcome::ConditionFailed { current },
        units: FAILED_UNITS,
    }
}
