//! What Task states ask of the table, the bus and topics, held to the tenant of the run.

use serde_json::{Value, json};

use super::super::asl::{DynamoDbAction, StateError, StateResult};
use crate::mesh::Timestamp;
use crate::mesh::store::key::{is_open_to_workflows, open_to_workflows};
use crate::mesh::store::topics::TENANT_TOPIC_PREFIX;
use crate::mesh::tenant::TenantId;
use crate::outbound::embedded::sns::Publication;

/// The operation of DynamoDB behind an action.
pub(super) fn table_operation(action: DynamoDbAction) -> &'static str {
    match action {
        DynamoDbAction::Get => "GetItem",
        DynamoDbAction::Put => "PutItem",
        DynamoDbAction::Update => "UpdateItem",
        DynamoDbAction::Delete => "DeleteItem",
    }
}

/// Refuses an item that is not the tenant's, or that the server keeps for itself: values of single users, runs
/// and what they may do, rules, limits.
pub(super) fn check_item(
    tenant: &TenantId,
    table: &str,
    action: DynamoDbAction,
    arguments: &Value,
) -> StateResult<()> {
    if arguments["TableName"] != table {
        return Err(StateError::new(
            "DynamoDB.ResourceNotFoundException",
            format!("The embedded cloud has the table {table} alone; say so as TableName."),
        ));
    }
    let member = match action {
        DynamoDbAction::Put => "Item",
        _ => "Key",
    };
    let partition = arguments[member]["PK"]["S"].as_str().unwrap_or_default();
    if is_open_to_workflows(tenant, partition) {
        return Ok(());
    }
    Err(StateError::new(
        "DynamoDB.AccessDeniedException",
        format!(
            "A workflow may use the partitions {} alone; {member}.PK.S says which.",
            open_to_workflows(tenant)
        ),
    ))
}

/// The events to be sent, under the tenant's own source.
pub(super) fn events(tenant: &TenantId, mut arguments: Value) -> StateResult<Value> {
    let source = format!("agent-mesh.{tenant}");
    let entries = arguments.get_mut("Entries").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let Some(entry) = entry.as_object_mut() else {
            return Err(malformed("each of Entries is an object"));
        };
        if entry.get("Source").is_some_and(|said| *said != source) {
            return Err(StateError::new(
                "EventBridge.AccessDeniedException",
                format!("A workflow sends events from the source {source} alone."),
            ));
        }
        entry.insert("Source".to_owned(), source.clone().into());
        if let Some(detail) = entry.get_mut("Detail")
            && detail.is_object()
        {
            *detail = detail.to_string().into();
        }
        if let Some(time) = entry.get_mut("Time") {
            *time = seconds(time).ok_or_else(|| malformed("Time is an RFC 3339 time"))?;
        }
    }
    Ok(arguments)
}

/// A time as machines write it, as the protocol has it.
fn seconds(time: &Value) -> Option<Value> {
    match time {
        Value::String(text) => {
            let time: Timestamp = text.parse().ok()?;
            Some(json!(time.as_millis() as f64 / 1000.0))
        }
        Value::Number(_) => Some(time.clone()),
        _ => None,
    }
}

fn malformed(what: &str) -> StateError {
    StateError::new(
        "EventBridge.ValidationException",
        format!("The entries are malformed: {what}."),
    )
}

/// What is to be published: to the tenant's topic, or to one that is no tenant's.
pub(super) fn publication(tenant: &TenantId, arguments: &Value) -> StateResult<Publication> {
    let topic = arguments["TopicArn"].as_str().unwrap_or_default();
    let name = topic.rsplit(':').next().unwrap_or_default();
    let owner = name.strip_prefix(TENANT_TOPIC_PREFIX);
    if owner.is_some_and(|owner| owner != tenant.as_str()) {
        return Err(StateError::new(
            "SNS.AuthorizationErrorException",
            format!(
                "Of the topics of tenants a workflow reaches {TENANT_TOPIC_PREFIX}{tenant} alone."
            ),
        ));
    }
    let message = match &arguments["Message"] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attributes = arguments["MessageAttributes"].as_object();
    let attributes = attributes.into_iter().flatten().map(|(name, attribute)| {
        let (kind, value) = (&attribute["DataType"], &attribute["StringValue"]);
        (name.clone(), text(kind), text(value))
    });
    Ok(Publication {
        topic: topic.to_owned(),
        subject: arguments["Subject"].as_str().map(str::to_owned),
        message,
        attributes: attributes.collect(),
    })
}
