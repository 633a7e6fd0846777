//! The table as the server expects it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    PointInTimeRecoveryStatus, ScalarAttributeType, TableDescription, TableStatus, Tag,
    TimeToLiveSpecification, TimeToLiveStatus,
};

use super::{POLL, POLLS_MAX, PlannedResource, Resource, TAG, Tell, on_off, property};
use crate::mesh::store::table::EXPIRY_ATTRIBUTE;
use crate::mesh::{Error, ErrorKind};
use crate::outbound::aws::clients::Connection;
use crate::outbound::aws::error::{Part, fault};

const KEYS: &str = "keys";
const BILLING: &str = "billing";
const TIME_TO_LIVE: &str = "time to live";
const RECOVERY: &str = "point-in-time recovery";
const PROTECTION: &str = "deletion protection";

pub(super) async fn plan(connection: &Connection) -> Result<PlannedResource, Error> {
    let client = connection.dynamodb(None).await;
    let name = &connection.settings().table;
    let table = describe(&client, name).await?;
    let (time_to_live, recovery) = match &table {
        Some(_) => (
            Some(time_to_live(&client, name).await?),
            Some(recovery(&client, name).await?),
        ),
        None => (None, None),
    };
    let found = |tell: fn(&TableDescription) -> String| table.as_ref().map(tell);
    Ok(PlannedResource {
        resource: Resource::Table,
        name: name.clone(),
        exists: table.is_some(),
        properties: vec![
            property(KEYS, "PK (S), SK (S)", found(keys), false),
            property(BILLING, "on demand", found(billing), false),
            property(
                PROTECTION,
                on_off(true),
                found(|table| on_off(table.deletion_protection_enabled == Some(true)).to_owned()),
                true,
            ),
            property(TIME_TO_LIVE, EXPIRY_ATTRIBUTE, time_to_live, true),
            property(
                RECOVERY,
                on_off(true),
                recovery.map(|on| on_off(on).to_owned()),
                true,
            ),
        ],
    })
}

fn keys(table: &TableDescription) -> String {
    let kind = |name: &str| {
        let definitions = table.attribute_definitions.as_deref().unwrap_or_default();
        definitions
            .iter()
            .find(|definition| definition.attribute_name == name)
            .map_or_else(String::new, |definition| {
                format!(" ({})", definition.attribute_type)
            })
    };
    let schema = table.key_schema.as_deref().unwrap_or_default();
    let keys = schema
        .iter()
        .map(|key| format!("{}{}", key.attribute_name, kind(&key.attribute_name)));
    keys.collect::<Vec<_>>().join(", ")
}

fn billing(table: &TableDescription) -> String {
    let mode = table
        .billing_mode_summary
        .as_ref()
        .and_then(|summary| summary.billing_mode.clone());
    match mode {
        Some(BillingMode::PayPerRequest) => "on demand".to_owned(),
        _ => "provisioned".to_owned(),
    }
}

pub(super) async fn apply(
    connection: &Connection,
    planned: &PlannedResource,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    let client = connection.dynamodb(None).await;
    let name = &connection.settings().table;
    if !planned.exists {
        create(&client, name).await?;
        tell("created, waiting until it is active");
        wait_until_active(&client, name).await?;
        tell("active");
    } else if planned.wants(PROTECTION) {
        client
            .update_table()
            .table_name(name)
            .deletion_protection_enabled(true)
            .send()
            .await
            .map_err(|error| fault(Part::Table, error))?;
        wait_until_active(&client, name).await?;
        tell("deletion protection switched on");
    }
    if planned.wants(TIME_TO_LIVE) && time_to_live(&client, name).await? != EXPIRY_ATTRIBUTE {
        switch_time_to_live_on(&client, name).await?;
        tell("time to live switched on");
    }
    if planned.wants(RECOVERY) && !recovery(&client, name).await? {
        switch_recovery_on(&client, name).await?;
        tell("point-in-time recovery switched on");
    }
    Ok(())
}

async fn describe(client: &Client, name: &str) -> Result<Option<TableDescription>, Error> {
    match client.describe_table().table_name(name).send().await {
        Ok(answer) => Ok(answer.table),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception()) =>
        {
            Ok(None)
        }
        Err(error) => Err(fault(Part::Table, error)),
    }
}

async fn create(client: &Client, name: &str) -> Result<(), Error> {
    let text = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
    };
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
    };
    let tag = Tag::builder().key(TAG.0).value(TAG.1).build();
    let answer = client
        .create_table()
        .table_name(name)
        .attribute_definitions(text("PK").map_err(incomplete)?)
        .attribute_definitions(text("SK").map_err(incomplete)?)
        .key_schema(key("PK", KeyType::Hash).map_err(incomplete)?)
        .key_schema(key("SK", KeyType::Range).map_err(incomplete)?)
        .billing_mode(BillingMode::PayPerRequest)
        .deletion_protection_enabled(true)
        .tags(tag.map_err(incomplete)?)
        .send()
        .await;
    match answer {
        Ok(_) => Ok(()),
        // Somebody else was faster, or our own first request was.
        Err(error)
            if matches!(
                error.as_service_error(),
                Some(CreateTableError::ResourceInUseException(_))
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(fault(Part::Table, error)),
    }
}

fn incomplete(error: aws_sdk_dynamodb::error::BuildError) -> Error {
    Error::internal("a request to create the table could not be made").caused_by(error)
}

async fn wait_until_active(client: &Client, name: &str) -> Result<(), Error> {
    for _ in 0..POLLS_MAX {
        let table = describe(client, name).await?;
        if table.and_then(|table| table.table_status) == Some(TableStatus::Active) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Error::new(ErrorKind::Timeout, "the table did not become active").fix("run it again later"))
}

/// The attribute that rows expire by, or `off`.
async fn time_to_live(client: &Client, name: &str) -> Result<String, Error> {
    let answer = client.describe_time_to_live().table_name(name).send().await;
    let description = answer
        .map_err(|error| fault(Part::Table, error))?
        .time_to_live_description;
    Ok(description
        .filter(|description| {
            matches!(
                description.time_to_live_status,
                Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
            )
        })
        .and_then(|description| description.attribute_name)
        .unwrap_or_else(|| on_off(false).to_owned()))
}

async fn switch_time_to_live_on(client: &Client, name: &str) -> Result<(), Error> {
    let specification = TimeToLiveSpecification::builder()
        .attribute_name(EXPIRY_ATTRIBUTE)
        .enabled(true)
        .build()
        .map_err(incomplete)?;
    client
        .update_time_to_live()
        .table_name(name)
        .time_to_live_specification(specification)
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Table, error))
}

async fn recovery(client: &Client, name: &str) -> Result<bool, Error> {
    let answer = client
        .describe_continuous_backups()
        .table_name(name)
        .send()
        .await
        .map_err(|error| fault(Part::Table, error))?;
    let status = answer
        .continuous_backups_description
        .and_then(|backups| backups.point_in_time_recovery_description)
        .and_then(|recovery| recovery.point_in_time_recovery_status);
    Ok(status == Some(PointInTimeRecoveryStatus::Enabled))
}

async fn switch_recovery_on(client: &Client, name: &str) -> Result<(), Error> {
    let specification = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(true)
        .build()
        .map_err(incomplete)?;
    // A table that has just become active has no backups for a while yet.
    for _ in 0..POLLS_MAX {
        let answer = client
            .update_continuous_backups()
            .table_name(name)
            .point_in_time_recovery_specification(specification.clone())
            .send()
            .await;
        match answer {
            Ok(_) => return Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_continuous_backups_unavailable_exception()) =>
            {
                tokio::time::sleep(POLL).await;
            }
            Err(error) => return Err(fault(Part::Table, error)),
        }
    }
    Err(Error::new(
        ErrorKind::Timeout,
        "the table's backups did not become available",
    )
    .fix("run it again later"))
}
