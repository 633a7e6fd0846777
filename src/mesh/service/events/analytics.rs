//! Figures about a tenant's events, from the hourly counters.

use std::time::Duration;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{EventsRead, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::analytics::{Analytics, AnalyticsQuery, Granularity, Metric};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::{Error, Timestamp};

/// How long this waits for events of this process that are on their way.
const PATIENCE: Duration = Duration::from_secs(1);

/// What it is expected to read: units of 4 KiB.
const EXPECTED_UNITS: f64 = 4.0;

/// Summarizes events.
#[derive(Debug)]
pub struct EventsAnalytics {
    /// How far back from the end; ignored where `start` is given.
    pub time_range: Duration,
    /// From when on.
    pub start: Option<Timestamp>,
    /// Until when; now if left out.
    pub end: Option<Timestamp>,
    /// Which figures.
    pub metrics: Vec<Metric>,
    /// How finely; by what suits the window if left out.
    pub granularity: Option<Granularity>,
}

/// The longest window that is told by the hour where the caller does not say.
const HOURLY_MAX: Duration = Duration::from_hours(48);

impl Operation for EventsAnalytics {
    const TOOL: Tool = Tool::EventsAnalytics;
    type Needs = EventsRead;
    type Answer = Analytics;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, EXPECTED_UNITS)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<Analytics, Error> {
        call.settled(PATIENCE).await;
        let end = self.end.unwrap_or_else(|| call.now());
        let start = self.start.unwrap_or_else(|| end.minus(self.time_range));
        let granularity = self
            .granularity
            .unwrap_or(match end.since(start) <= HOURLY_MAX {
                true => Granularity::Hour,
                false => Granularity::Day,
            });
        let query = AnalyticsQuery {
            start,
            end,
            metrics: self.metrics,
            granularity,
        };
        call.events().summarize(&query).await
    }
}
