//! The alerts that were raised, as a resource that clients read and watch.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use ulid::Ulid;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{EventsRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::history::{Filter, Order, Query, ReportedEvent};
use crate::mesh::event::rules::ALERT_RAISED;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::{Error, Timestamp};

pub use crate::mesh::store::rules::WatchedAlerts;

/// The address of the resource.
pub const ADDRESS: &str = "mesh://alerts";

/// Its media type.
pub const MEDIA_TYPE: &str = "application/json";

/// How many alerts it has at the most: the newest.
pub const ALERTS_MAX: usize = 100;

/// How far back it looks.
const WINDOW: Duration = Duration::from_hours(30 * 24);

/// The most pages of the history that one read takes; a page is at most 4 MiB.
const PAGES_MAX: usize = 3;

/// How long a read waits for events of this process that are on their way.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a read is expected to cost: units of 4 KiB.
const EXPECTED_UNITS: f64 = 16.0;

/// How many bytes of details are told; they hold names and ids.
const DETAIL_BYTES_MAX: usize = 16 << 10;

/// Reads the newest alerts that were raised in the tenant.
#[derive(Debug)]
pub struct AlertsRead;

/// What [`AlertsRead`] answers.
#[derive(Debug, Serialize)]
pub struct RaisedAlerts {
    alerts: Vec<RaisedAlert>,
    /// Up to when the last 30 days were searched, where not all of them were.
    #[serde(skip_serializing_if = "Option::is_none")]
    searched_until: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct RaisedAlert {
    event_id: Ulid,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Box<RawValue>>,
}

impl Operation for AlertsRead {
    const TOOL: Tool = Tool::AlertsRead;
    type Needs = EventsRead;
    type Answer = RaisedAlerts;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, EXPECTED_UNITS)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<RaisedAlerts, Error> {
        call.settled(PATIENCE).await;
        let end = call.now();
        let mut query = Query {
            start: end.minus(WINDOW),
            end,
            filter: Filter {
                detail_type: Some(ALERT_RAISED.to_owned()),
                ..Filter::default()
            },
            order: Order::Desc,
            limit: ALERTS_MAX,
            after: None,
            body_bytes_max: DETAIL_BYTES_MAX,
        };
        let mut found = RaisedAlerts {
            alerts: Vec::new(),
            searched_until: None,
        };
        for _ in 0..PAGES_MAX {
            query.limit = ALERTS_MAX - found.alerts.len();
            let page = call.events().query(&query).await?;
            let alerts = page.events.into_iter().map(RaisedAlert::of);
            found.alerts.extend(alerts);
            query.after = page.next;
            found.searched_until = page.searched_until;
            if query.after.is_none() || found.alerts.len() >= ALERTS_MAX {
                break;
            }
        }
        Ok(found)
    }

    fn report(answer: &RaisedAlerts) -> Report {
        Report {
            bytes: None,
            facts: vec![("alerts", answer.alerts.len().into())],
        }
    }
}

impl RaisedAlert {
    fn of(event: ReportedEvent) -> Self {
        Self {
            event_id: event.event_id,
            time: event.time,
            detail: event.detail,
        }
    }
}

/// Checks that the caller may watch the alerts of its tenant.
#[derive(Debug)]
pub struct AlertsSubscribe;

impl Operation for AlertsSubscribe {
    const TOOL: Tool = Tool::AlertsSubscribe;
    type Needs = EventsRead;
    type Answer = WatchedAlerts;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<WatchedAlerts, Error> {
        Ok(call.rules().watch())
    }
}
