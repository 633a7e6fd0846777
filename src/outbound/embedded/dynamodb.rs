//! The table's engine: DynamoDB's operations, each on the connection where it keeps nobody waiting.
//!
//! Reads never wait for a writer, in this process or another: the database is in WAL mode and they have
//! connections of their own. Writes run in turn on one thread, which also waits for other processes.

mod batch;
mod query;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::faults::Service;
use super::folder::{Failure, Folder};
use super::lane::{Lane, Refused};
use super::newborn::Newborn;
use super::wire::{Answer, INSUFFICIENT_STORAGE, JSON_1_0, storage_code};
use super::{ACCOUNT, REGION};
use crate::mesh::Error;
use crate::mesh::store::table::EXPIRY_ATTRIBUTE;

/// Connections for reads of one item, which runtime workers use directly.
const POINT_READERS: usize = 2;

/// Connections, and with them threads, for reads that may take milliseconds.
const PAGE_READERS: usize = 2;

/// The largest request body in bytes: what DynamoDB takes in one batch.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The error code for what the embedded cloud does not have.
const UNKNOWN_OPERATION: &str = "com.amazon.coral.service#UnknownOperationException";

/// The engine of one database.
#[derive(Debug)]
pub(super) struct Dynamo {
    writer: Lane<Database>,
    point_readers: Vec<Reader>,
    page_readers: Arc<PageReaders>,
    next: AtomicUsize,
}

/// One connection. Its own mutex lets one read at a time through.
#[derive(Clone)]
struct Reader(Database);

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Reader")
    }
}

#[derive(Debug)]
struct PageReaders {
    readers: Vec<Reader>,
    free: Arc<Semaphore>,
    next: AtomicUsize,
}

/// How an operation is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// At once, by whoever asks.
    Point,
    /// On a thread for blocking work.
    Page,
    /// In turn, on the writer's thread.
    Write,
}

const OPERATIONS: &[(&str, Kind)] = &[
    ("GetItem", Kind::Point),
    ("DescribeTable", Kind::Point),
    ("DescribeTimeToLive", Kind::Point),
    ("DescribeContinuousBackups", Kind::Point),
    ("UpdateContinuousBackups", Kind::Point),
    ("Query", Kind::Page),
    ("BatchGetItem", Kind::Page),
    ("TransactGetItems", Kind::Page),
    ("ListTables", Kind::Page),
    ("PutItem", Kind::Write),
    ("UpdateItem", Kind::Write),
    ("DeleteItem", Kind::Write),
    ("BatchWriteItem", Kind::Write),
    ("TransactWriteItems", Kind::Write),
    ("CreateTable", Kind::Write),
    ("UpdateTimeToLive", Kind::Write),
    ("TagResource", Kind::Write),
    ("ListTagsOfResource", Kind::Page),
];

impl Dynamo {
    /// Opens the database and creates the table where it is missing. The caller holds the folder's
    /// opening lock.
    pub(super) fn open(folder: &Folder, table: &str) -> Result<Self, Error> {
        let path = folder.table_path();
        let lock = folder.lock("table.lock")?;
        let connections = {
            // No writer of another process may be in the way of a migration.
            let _held = lock
                .hold(super::lock::WAIT_MAX)
                .map_err(|error| folder.refusal(error))?;
            let _newborn = Newborn::at(&path).map_err(|error| folder.refusal(error))?;
            let connections = (0..1 + POINT_READERS + PAGE_READERS)
                .map(|_| connect(&path))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| folder.refusal(error))?;
            if let Some(first) = connections.first() {
                create_table(first, table).map_err(|error| creation_refusal(folder, error))?;
            }
            connections
        };
        let mut connections = connections.into_iter();
        let writer = connections
            .next()
            .ok_or_else(|| Error::internal("no connection to the table was made"))?;
        let point_readers = connections.by_ref().take(POINT_READERS).map(Reader);
        let point_readers = point_readers.collect();
        let page_readers = PageReaders {
            readers: connections.map(Reader).collect(),
            free: Arc::new(Semaphore::new(PAGE_READERS)),
            next: AtomicUsize::new(0),
        };
        let reopen = move || connect(&path).ok();
        let writer = Lane::start("embedded-table", writer, lock, reopen)
            .map_err(|error| folder.refusal(error))?;
        Ok(Self {
            writer,
            point_readers,
            page_readers: Arc::new(page_readers),
            next: AtomicUsize::new(0),
        })
    }

    /// The operation of that name, or the empty name where there is none of it here.
    pub(super) fn operation(name: &str) -> &'static str {
        kind(name).map_or("", |(name, _)| name)
    }

    /// The answer to a read of one item; none where the operation is of another kind.
    pub(super) fn answer_at_once(&self, operation: &str, body: &[u8]) -> Option<Answer> {
        if kind(operation)?.1 != Kind::Point {
            return None;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let reader = self.point_readers.get(turn % POINT_READERS)?;
        Some(run(&reader.0, operation, body))
    }

    /// The answer to any operation.
    pub(super) async fn answer(&self, operation: &'static str, body: Bytes) -> Answer {
        if body.len() > BODY_BYTES_MAX {
            return Answer::json_error(
                JSON_1_0,
                413,
                "com.amazon.coral.service#RequestEntityTooLarge",
                "The request is larger than 16 MiB.",
            );
        }
        match kind(operation) {
            None => Answer::json_error(
                JSON_1_0,
                400,
                UNKNOWN_OPERATION,
                "The embedded cloud does not have this operation.",
            ),
            Some((_, Kind::Point)) => self
                .answer_at_once(operation, &body)
                .unwrap_or_else(|| Answer::server_error(Service::DynamoDb)),
            Some((_, Kind::Page)) => self.page_readers.answer(operation, body).await,
            Some((_, Kind::Write)) => {
                let work = move |database: &mut Database| run(database, operation, &body);
                match self.writer.run(work).await {
                    Ok(answer) => answer,
                    Err(Refused::Full) => Answer::throttled(Service::DynamoDb),
                    Err(Refused::Locked) => {
                        tracing::warn!(operation, "another process holds the table for too long");
                        Answer::server_error(Service::DynamoDb)
                    }
                    Err(Refused::Broken) => {
                        tracing::error!(operation, "a write to the table broke down");
                        Answer::server_error(Service::DynamoDb)
                    }
                }
            }
        }
    }
}

impl PageReaders {
    async fn answer(self: &Arc<Self>, operation: &'static str, body: Bytes) -> Answer {
        let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else {
            return Answer::server_error(Service::DynamoDb);
        };
        let readers = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let turn = readers.next.fetch_add(1, Ordering::Relaxed);
            let answer = readers
                .readers
                .get(turn % PAGE_READERS)
                .map(|reader| run(&reader.0, operation, &body));
            drop(permit);
            answer
        });
        match done.await {
            Ok(Some(answer)) => answer,
            _ => Answer::server_error(Service::DynamoDb),
        }
    }
}

fn kind(operation: &str) -> Option<(&'static str, Kind)> {
    OPERATIONS
        .iter()
        .find(|(name, _)| *name == operation)
        .copied()
}

fn run(database: &Database, operation: &str, body: &[u8]) -> Answer {
    dispatch(database, operation, body).unwrap_or_else(|error| refuse(operation, error))
}

fn dispatch(database: &Database, operation: &str, body: &[u8]) -> Result<Answer, DynoxideError> {
    match operation {
        "GetItem" => answer(&database.get_item(parse(body)?)?),
        "PutItem" => answer(&database.put_item(parse(body)?)?),
        "UpdateItem" => answer(&database.update_item(parse(body)?)?),
        "DeleteItem" => answer(&database.delete_item(parse(body)?)?),
        "Query" => answer(&query::run(database, body)?),
        "BatchGetItem" => answer(&database.batch_get_item(parse(body)?)?),
        "BatchWriteItem" => answer(&batch::write(database, body)?),
        "TransactWriteItems" => answer(&database.transact_write_items(parse(body)?)?),
        "TransactGetItems" => answer(&database.transact_get_items(parse(body)?)?),
        "CreateTable" => answer(&database.create_table(parse(body)?)?),
        "DescribeTable" => describe_table(database, body),
        "ListTables" => answer(&database.list_tables(parse(body)?)?),
        "UpdateTimeToLive" => answer(&database.update_time_to_live(parse(body)?)?),
        "DescribeTimeToLive" => answer(&database.describe_time_to_live(parse(body)?)?),
        "TagResource" => answer(&database.tag_resource(parse(body)?)?),
        "ListTagsOfResource" => answer(&database.list_tags_of_resource(parse(body)?)?),
        "DescribeContinuousBackups" => describe_backups(database, body),
        "UpdateContinuousBackups" => Ok(Answer::json_error(
            JSON_1_0,
            400,
            "com.amazonaws.dynamodb.v20120810#ContinuousBackupsUnavailableException",
            "The embedded cloud keeps no backups; copy its folder instead.",
        )),
        _ => Ok(Answer::json_error(
            JSON_1_0,
            400,
            UNKNOWN_OPERATION,
            "The embedded cloud does not have this operation.",
        )),
    }
}

/// What is known of the table but its counts: AWS refreshes those every six hours, and to count means
/// to read the whole table.
fn describe_table(database: &Database, body: &[u8]) -> Result<Answer, DynoxideError> {
    let request: dynoxide::actions::describe_table::DescribeTableRequest = parse(body)?;
    let table = existing(database, &request.table_name)?;
    let schema = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    answer(&json!({"Table": {
        "TableName": table.table_name,
        "TableArn": format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{}", table.table_name),
        "TableId": table.table_id,
        "TableStatus": table.table_status,
        "CreationDateTime": table.created_at,
        "KeySchema": schema(&table.key_schema),
        "AttributeDefinitions": schema(&table.attribute_definitions),
        "BillingModeSummary": {"BillingMode": table.billing_mode},
        "DeletionProtectionEnabled": table.deletion_protection_enabled,
    }}))
}

fn describe_backups(database: &Database, body: &[u8]) -> Result<Answer, DynoxideError> {
    let request: dynoxide::actions::describe_table::DescribeTableRequest = parse(body)?;
    existing(database, &request.table_name)?;
    answer(&json!({"ContinuousBackupsDescription": {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
    }}))
}

fn existing(database: &Database, name: &str) -> Result<dynoxide::TableMetadata, DynoxideError> {
    database.get_table_metadata(name)?.ok_or_else(|| {
        DynoxideError::ResourceNotFoundException(format!(
            "Requested resource not found: Table: {name} not found"
        ))
    })
}

fn answer(response: &impl Serialize) -> Result<Answer, DynoxideError> {
    serde_json::to_vec(response)
        .map(|body| Answer::ok(JSON_1_0, body))
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

/// Reads a request. The engine's own readers say by a mark what kind of fault they met.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let text = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(text, _)| text);
        match text.split_once(':') {
            Some((mark, rest)) if mark.starts_with("VALIDATION") => {
                DynoxideError::ValidationException(rest.to_owned())
            }
            Some((mark, rest)) if mark.starts_with("SERIALIZATION") => {
                DynoxideError::SerializationException(rest.to_owned())
            }
            _ => DynoxideError::SerializationException(text.to_owned()),
        }
    })
}

fn refuse(operation: &str, error: DynoxideError) -> Answer {
    let status = error.status_code();
    if status < 500 {
        return Answer {
            status,
            content_type: JSON_1_0,
            body: error.to_json().into_bytes(),
        };
    }
    let failure = Failure::from(error);
    tracing::warn!(operation, cause = %failure, "the embedded table failed");
    match storage_code(failure.cause) {
        Some((code, message)) => Answer::json_error(JSON_1_0, INSUFFICIENT_STORAGE, code, message),
        None => Answer::server_error(Service::DynamoDb),
    }
}

fn connect(path: &Path) -> Result<Database, DynoxideError> {
    let path: PathBuf = path.to_owned();
    let Some(text) = path.to_str() else {
        return Err(DynoxideError::InternalServerError(
            "the folder's path is not UTF-8".to_owned(),
        ));
    };
    let database = Database::new(text)?;
    // This sets `synchronous=NORMAL`: in WAL mode a commit then survives the death of the process, and
    // no write waits for the disk.
    database.disable_bulk_loading()?;
    Ok(database)
}

fn create_table(database: &Database, name: &str) -> Result<(), DynoxideError> {
    if database.get_table_metadata(name)?.is_none() {
        let request = json!({
            "TableName": name,
            "KeySchema": [
                {"AttributeName": "PK", "KeyType": "HASH"},
                {"AttributeName": "SK", "KeyType": "RANGE"},
            ],
            "AttributeDefinitions": [
                {"AttributeName": "PK", "AttributeType": "S"},
                {"AttributeName": "SK", "AttributeType": "S"},
            ],
            "BillingMode": "PAY_PER_REQUEST",
        });
        database.create_table(parse(request.to_string().as_bytes())?)?;
    }
    // A process may have been killed between the two, so each is looked at.
    let held = database.get_table_metadata(name)?;
    if !held.is_some_and(|table| table.ttl_enabled) {
        let request = json!({
            "TableName": name,
            "TimeToLiveSpecification": {"Enabled": true, "AttributeName": EXPIRY_ATTRIBUTE},
        });
        database.update_time_to_live(parse(request.to_string().as_bytes())?)?;
    }
    Ok(())
}

fn creation_refusal(folder: &Folder, error: DynoxideError) -> Error {
    if error.status_code() < 500 {
        return Error::invalid(
            "kv_table",
            "The name of the table is not one that DynamoDB takes.",
        )
        .fix("Use 3 to 255 letters, digits, dots, dashes and underscores.")
        .caused_by(error.to_string());
    }
    folder.refusal(error)
}
