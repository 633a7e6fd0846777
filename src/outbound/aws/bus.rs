//! The bus on EventBridge.

use std::sync::Arc;

use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use futures::FutureExt;

use super::clients::Connection;
use super::error::{Part, fault, kind_of_code};
use crate::mesh::store::bus::{BusEntry, EntryFault};
use crate::mesh::store::{Bus, Reply};
use crate::mesh::{Error, ErrorKind};

/// The bus of a [`Connection`].
#[derive(Clone, Debug)]
pub struct AwsBus {
    connection: Arc<Connection>,
}

impl AwsBus {
    /// The bus that `connection` names.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    fn name(&self) -> &str {
        &self.connection.settings().bus
    }

    async fn put_entries(
        &self,
        entries: &[BusEntry],
    ) -> Result<Vec<Result<(), EntryFault>>, Error> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.connection.eventbridge().await;
        let requests = entries.iter().map(|entry| self.request(entry)).collect();
        let answer = client
            .put_events()
            .set_entries(Some(requests))
            .send()
            .await
            .map_err(|error| fault(Part::Bus, error))?;
        let results: Vec<_> = answer
            .entries
            .unwrap_or_default()
            .into_iter()
            .map(result)
            .collect();
        if results.len() != entries.len() {
            return Err(Error::new(
                ErrorKind::AwsUnavailable,
                "the event bus answered for another number of events than it was given",
            )
            .fix("try again"));
        }
        Ok(results)
    }

    fn request(&self, entry: &BusEntry) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(self.name())
            .time(DateTime::from_secs(entry.time.as_seconds()))
            .source(&entry.source)
            .detail_type(&entry.detail_type)
            .detail(&entry.detail)
            .build()
    }

    async fn look(&self) -> Result<(), Error> {
        let client = self.connection.eventbridge().await;
        client
            .describe_event_bus()
            .name(self.name())
            .send()
            .await
            .map(drop)
            .map_err(|error| fault(Part::Bus, error))
    }
}

impl Bus for AwsBus {
    fn put<'a>(&'a self, entries: &'a [BusEntry]) -> Reply<'a, Vec<Result<(), EntryFault>>> {
        self.put_entries(entries).boxed()
    }

    fn check(&self) -> Reply<'_, ()> {
        self.look().boxed()
    }
}

/// What the bus says of one entry.
fn result(entry: PutEventsResultEntry) -> Result<(), EntryFault> {
    let Some(code) = entry.error_code else {
        return Ok(());
    };
    let message = entry.error_message.unwrap_or_default();
    let kind = match kind_of_code(&code, &message, 400) {
        ErrorKind::Internal => ErrorKind::InvalidParameter,
        kind => kind,
    };
    Err(EntryFault {
        kind,
        message: format!("{code}: {message}"),
    })
}
