//! One event, found by its id and told whole.

use futures::future::try_join_all;
use ulid::Ulid;

use super::{Filter, History, ReportedEvent, Spent, day_of, time_of};
use crate::mesh::Error;
use crate::mesh::store::Metered;

impl History {
    /// The event with this id, with all of its detail, and what it cost in read units.
    ///
    /// # Errors
    /// What the table and the bucket answer.
    pub async fn event(&self, id: Ulid) -> Result<Metered<Option<ReportedEvent>>, Error> {
        let mut spent = Spent::default();
        let shards = self.shards_of(day_of(id), &mut spent).await?;
        let name = id.to_string();
        let keys: Vec<_> = (0..shards)
            .map(|shard| self.keyspace.event(time_of(id), shard, &name))
            .collect();
        // The id does not tell who wrote it, and with that in which shard it lies.
        let rows = try_join_all(keys.iter().map(|key| self.table.get(key, false))).await?;
        let mut found = None;
        for row in rows {
            spent.add(0, row.units);
            if let Some(row) = row.value {
                found = found.or(self.read(id, &row, &Filter::default()));
            }
        }
        let event = match found {
            Some((mut event, Some(bytes))) => {
                event.detail = self.fetch_body(id, bytes).await?;
                Some(event)
            }
            Some((event, None)) => Some(event),
            None => None,
        };
        Ok(Metered {
            value: event,
            units: spent.units,
        })
    }
}
