//! What `init aws` shows and creates: the table, the bucket and the bus, as the server expects them.
//!
//! What is there already is never changed unless that is asked for: a plan says where it differs.

mod bucket;
mod bus;
mod table;

use std::fmt;

use super::clients::Connection;
use crate::mesh::Error;

/// The tag that everything carries which is created here.
const TAG: (&str, &str) = ("managed-by", "use_aws_mcp");

/// How long creating one thing may take, in polls of [`POLL`].
const POLLS_MAX: u32 = 180;

/// The pause between two looks at something that is being created.
const POLL: std::time::Duration = std::time::Duration::from_secs(1);

/// One of the three things that the server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The table.
    Table,
    /// The bucket.
    Bucket,
    /// The event bus.
    Bus,
}

impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Table => "DynamoDB table",
            Self::Bucket => "S3 bucket",
            Self::Bus => "EventBridge event bus",
        })
    }
}

/// A property as it should be, and as it is where the thing is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// As the server expects it.
    pub wanted: String,
    /// As it is; none where the thing is not there yet.
    pub found: Option<String>,
    /// Whether it can be changed where it differs.
    pub can_change: bool,
}

impl Property {
    /// Whether it is there and not as it should be.
    pub fn differs(&self) -> bool {
        self.found
            .as_ref()
            .is_some_and(|found| *found != self.wanted)
    }
}

/// What is, or would be, of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedResource {
    /// Which one.
    pub resource: Resource,
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub exists: bool,
    /// Its properties.
    pub properties: Vec<Property>,
}

impl PlannedResource {
    /// The properties that are not as they should be.
    pub fn differences(&self) -> impl Iterator<Item = &Property> {
        self.properties.iter().filter(|property| property.differs())
    }

    fn wants(&self, name: &str) -> bool {
        let is_missing = |property: &Property| !self.exists || property.differs();
        self.properties
            .iter()
            .any(|property| property.name == name && property.can_change && is_missing(property))
    }
}

/// What is there, and what would be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The account of the credentials.
    pub account: String,
    /// The region.
    pub region: String,
    /// The table, the bucket and the bus.
    pub resources: Vec<PlannedResource>,
}

impl Plan {
    /// Whether all is there and as it should be.
    pub fn is_complete(&self) -> bool {
        self.resources
            .iter()
            .all(|resource| resource.exists && resource.differences().next().is_none())
    }
}

/// What to do about things that are there and differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differences {
    /// Nothing.
    Leave,
    /// Change what can be changed in place; finishes a creation that was interrupted.
    Repair,
}

/// One step of carrying out a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub resource: Resource,
    /// What is done, such as `created` or `time to live switched on`.
    pub message: String,
}

/// Looks at what is there. Changes nothing.
///
/// # Errors
/// Where AWS refuses to answer, or where the bucket's name is another account's.
pub async fn plan(connection: &Connection) -> Result<Plan, Error> {
    let identity = connection.caller_identity().await?;
    Ok(Plan {
        account: identity.account,
        region: connection.region().await,
        resources: vec![
            table::plan(connection).await?,
            bucket::plan(connection).await?,
            bus::plan(connection).await?,
        ],
    })
}

/// Creates what the plan says is not there, waits until it can be used, and repairs differences if asked
/// to. Can be repeated: what has been created in between is left as it is.
///
/// # Errors
/// The first thing that failed; what was done before stays done.
pub async fn apply(
    connection: &Connection,
    plan: &Plan,
    differences: Differences,
    mut progress: impl FnMut(Step) + Send,
) -> Result<(), Error> {
    for planned in &plan.resources {
        if planned.exists && differences == Differences::Leave {
            continue;
        }
        let resource = planned.resource;
        let mut told = |message: &str| {
            progress(Step {
                resource,
                message: message.to_owned(),
            });
        };
        match resource {
            Resource::Table => table::apply(connection, planned, &mut told).await?,
            Resource::Bucket => bucket::apply(connection, planned, &mut told).await?,
            Resource::Bus => bus::apply(connection, planned, &mut told).await?,
        }
    }
    Ok(())
}

/// Tells of a step that is done.
type Tell<'a> = dyn FnMut(&str) + Send + 'a;

fn property(
    name: &'static str,
    wanted: impl Into<String>,
    found: Option<String>,
    can_change: bool,
) -> Property {
    Property {
        name,
        wanted: wanted.into(),
        found,
        can_change,
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// The table as it is found.
pub(super) async fn table_as_found(connection: &Connection) -> Result<PlannedResource, Error> {
    table::plan(connection).await
}

/// The bucket as it is found.
pub(super) async fn bucket_as_found(connection: &Connection) -> Result<PlannedResource, Error> {
    bucket::plan(connection).await
}
