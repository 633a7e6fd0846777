//! The bus as the server expects it.

use aws_sdk_eventbridge::operation::create_event_bus::CreateEventBusError;
use aws_sdk_eventbridge::types::Tag;

use super::{PlannedResource, Resource, TAG, Tell};
use crate::mesh::Error;
use crate::outbound::aws::clients::Connection;
use crate::outbound::aws::error::{Part, fault};

pub(super) async fn plan(connection: &Connection) -> Result<PlannedResource, Error> {
    let name = &connection.settings().bus;
    let client = connection.eventbridge().await;
    let exists = match client.describe_event_bus().name(name).send().await {
        Ok(_) => true,
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception()) =>
        {
            false
        }
        Err(error) => return Err(fault(Part::Bus, error)),
    };
    Ok(PlannedResource {
        resource: Resource::Bus,
        name: name.clone(),
        exists,
        properties: Vec::new(),
    })
}

pub(super) async fn apply(
    connection: &Connection,
    planned: &PlannedResource,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    if planned.exists {
        return Ok(());
    }
    let tag = Tag::builder().key(TAG.0).value(TAG.1).build();
    let tag = tag.map_err(|error| {
        Error::internal("a request to create the bus could not be made").caused_by(error)
    })?;
    let answer = connection
        .eventbridge()
        .await
        .create_event_bus()
        .name(&planned.name)
        .tags(tag)
        .send()
        .await;
    match answer {
        Ok(_) => tell("created"),
        Err(error)
            if matches!(
                error.as_service_error(),
                Some(CreateEventBusError::ResourceAlreadyExistsException(_))
            ) =>
        {
            tell("was created by somebody else in the meantime");
        }
        Err(error) => return Err(fault(Part::Bus, error)),
    }
    Ok(())
}
