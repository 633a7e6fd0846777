//! The handle to a tenant's events: its history and its counters.

use std::marker::PhantomData;
use std::time::Duration;

use ulid::Ulid;

use crate::mesh::Error;
use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{Allows, EventsRead};
use crate::mesh::event::analytics::{self, Analytics, AnalyticsQuery};
use crate::mesh::event::history::{Filter, History, HistoryPage, Query, ReportedEvent};
use crate::mesh::event::live::EventFeed;
use crate::mesh::limit::Direction;
use crate::mesh::store::Metered;

/// The events of the caller's tenant, to the extent of the permission `P`.
pub struct Events<'call, P> {
    reach: Reach<'call>,
    permission: PhantomData<P>,
}

impl<'call, P> Events<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>) -> Self {
        Self {
            reach,
            permission: PhantomData,
        }
    }

    /// A page of the events that fit `query`.
    ///
    /// # Errors
    /// What the table answers.
    pub async fn query(&self, query: &Query) -> Result<HistoryPage, Error>
    where
        P: Allows<EventsRead>,
    {
        Ok(self.query_metered(query).await?.value)
    }

    /// The same, with the read units that it cost.
    ///
    /// # Errors
    /// What the table answers.
    pub async fn query_metered(&self, query: &Query) -> Result<Metered<HistoryPage>, Error>
    where
        P: Allows<EventsRead>,
    {
        let answer = self.history().query(query).await?;
        self.reach.spend(Direction::DynamodbRead, answer.units);
        Ok(answer)
    }

    /// The events that fit `filter`, as this process records them from now on.
    pub fn watch(&self, filter: Filter) -> EventFeed
    where
        P: Allows<EventsRead>,
    {
        let live = self.reach.live_events();
        live.watch(self.reach.tenant_id(), filter)
    }

    /// Waits up to `patience` for this process's own events of the tenant to be in the history, and
    /// answers whether they are.
    pub async fn settled(&self, patience: Duration) -> bool
    where
        P: Allows<EventsRead>,
    {
        self.reach.settled(patience).await
    }

    /// The event with this id, whole.
    ///
    /// # Errors
    /// What the table and the bucket answer.
    pub async fn event(&self, id: Ulid) -> Result<Option<ReportedEvent>, Error>
    where
        P: Allows<EventsRead>,
    {
        let answer = self.history().event(id).await?;
        self.reach.spend(Direction::DynamodbRead, answer.units);
        Ok(answer.value)
    }

    /// Figures over a window.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` for a window that cannot be; what the table answers.
    pub async fn summarize(&self, query: &AnalyticsQuery) -> Result<Analytics, Error>
    where
        P: Allows<EventsRead>,
    {
        let (table, clock) = (self.reach.table(), self.reach.clock());
        let answer =
            analytics::summarize(&**table, &self.reach.keyspace(), query, &**clock).await?;
        self.reach.spend(Direction::DynamodbRead, answer.units);
        Ok(answer.value)
    }

    fn history(&self) -> History {
        History::new(
            self.reach.table().clone(),
            self.reach.bucket().clone(),
            self.reach.keyspace(),
            self.reach.event_shards(),
            self.reach.clock().clone(),
        )
    }
}
