//! Finding events: one's own, or everyone's of the tenant for those who may.

use std::str::FromStr as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::resource::{EVENT_TYPE, EventAddress};
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{EventsRead, Operation, Report, ResourceLink, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::history::{
    Filter, HistoryPosition, Order, PAGE_EVENTS_MAX, Query, ReportedEvent, WINDOW_DAYS_MAX,
};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::cursor;
use crate::mesh::tenant::Permission;
use crate::mesh::{Error, ErrorKind, Timestamp};

/// The most events on one page.
pub const LIMIT_MAX: u32 = PAGE_EVENTS_MAX as u32;

/// How far back a query looks where the caller does not say.
const WINDOW: Duration = Duration::from_hours(24);

/// How long a query waits for events of this process that are on their way.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How much of the answer's text the events may take: bytes, of 60,000.
const EVENTS_BYTES_MAX: usize = 56_000;

/// The largest detail that is shown; a larger one is left out and said so.
const DETAIL_BYTES_MAX: usize = 48_000;

/// The most links to events of which not all is shown; each of the rest says its address, too.
const LINKS_MAX: usize = 20;

/// What a query is expected to read: units of 4 KiB.
const EXPECTED_UNITS: f64 = 8.0;

/// Finds events.
#[derive(Debug)]
pub struct EventsQuery {
    /// Which.
    pub filter: Filter,
    /// From when on; a day ago if left out.
    pub start: Option<Timestamp>,
    /// Until when; now if left out.
    pub end: Option<Timestamp>,
    /// The newest or the oldest first.
    pub order: Order,
    /// How many at most: 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// Where the page before ended, as it stood in the cursor.
    pub position: Option<String>,
}

/// What [`EventsQuery`] answers.
#[derive(Debug, Serialize)]
pub struct EventsQueryAnswer {
    events: Vec<ReportedEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    searched_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pending: bool,
    #[serde(skip)]
    links: Vec<ResourceLink>,
}

impl EventsQuery {
    /// What a cursor of this query is bound to.
    pub fn filters(&self) -> Vec<String> {
        let Filter {
            detail_type,
            source,
            outcome,
            priority,
            user_id,
            tags,
            tool,
        } = &self.filter;
        vec![
            Tool::EventsQuery.name().to_owned(),
            format!("{detail_type:?}{source:?}{tool:?}"),
            format!("{outcome:?}{priority:?}{user_id:?}{tags:?}"),
            format!("{:?}{:?}{:?}", self.start, self.end, self.order),
        ]
    }

    /// The window, which must not end before it begins.
    pub fn check_window(
        start: Option<Timestamp>,
        end: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp), Error> {
        let end = end.unwrap_or(now);
        let start = start.unwrap_or_else(|| end.minus(WINDOW));
        if end < start {
            return Err(
                Error::invalid("end_time", "`end_time` lies before `start_time`")
                    .fix("Exchange them, or leave `end_time` out for now."),
            );
        }
        let days = end.since(start).as_secs() / 86_400;
        if i64::try_from(days).unwrap_or(i64::MAX) >= WINDOW_DAYS_MAX {
            return Err(Error::invalid(
                "start_time",
                format!("the window has {days} days; it may have {WINDOW_DAYS_MAX}"),
            ));
        }
        Ok((start, end))
    }
}

impl Operation for EventsQuery {
    const TOOL: Tool = Tool::EventsQuery;
    type Needs = EventsRead;
    type Answer = EventsQueryAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with_some("detail_type", self.filter.detail_type.clone())
            .with_some("tool", self.filter.tool.clone())
            .with_some(
                "user_id",
                self.filter.user_id.as_ref().map(ToString::to_string),
            )
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, EXPECTED_UNITS)
    }

    async fn serve<'call>(
        mut self,
        call: &Granted<'call, Self>,
    ) -> Result<EventsQueryAnswer, Error> {
        let filters = self.filters();
        let (start, end) = Self::check_window(self.start, self.end, call.now())?;
        narrow(&mut self.filter, call)?;
        let settled = call.settled(PATIENCE).await;
        call.progress(0.0, None, "searching");
        let query = Query {
            start,
            end,
            filter: self.filter,
            order: self.order,
            limit: self.limit as usize,
            after: self.position.as_deref().and_then(read_position),
            body_bytes_max: DETAIL_BYTES_MAX,
        };
        let page = call.events().query(&query).await?;
        let order = query.after.map_or(query.order, |after| after.order);
        let (events, cut) = fitting(page.events);
        let links = events.iter().filter_map(link).take(LINKS_MAX).collect();
        let next = match (cut, events.last()) {
            (true, Some(last)) => Some(HistoryPosition {
                after: last.event_id,
                order,
            }),
            _ => page.next,
        };
        let filters: Vec<_> = filters.iter().map(String::as_str).collect();
        Ok(EventsQueryAnswer {
            events,
            next_cursor: next.map(|next| cursor::seal(&position(next), &filters)),
            searched_until: page.searched_until.filter(|_| !cut),
            pending: !settled,
            links,
        })
    }

    fn report(answer: &EventsQueryAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("events", answer.events.len().into())],
        }
    }

    fn links(answer: &EventsQueryAnswer) -> Vec<ResourceLink> {
        answer.links.clone()
    }
}

/// As many of `events` as fit into one answer, and whether that left any out. A detail that fits into no
/// answer is left out of its event.
fn fitting(events: Vec<ReportedEvent>) -> (Vec<ReportedEvent>, bool) {
    let mut fitting: Vec<ReportedEvent> = Vec::with_capacity(events.len());
    let mut bytes = 0;
    for mut event in events {
        if let Some(detail) = event
            .detail
            .take_if(|detail| detail.get().len() > DETAIL_BYTES_MAX)
        {
            event.detail_bytes = Some(detail.get().len() as u64);
            event.truncated = true;
        }
        if event.truncated {
            event.uri = Some(EventAddress::new(event.event_id).to_string());
        }
        bytes += serde_json::to_string(&event).map_or(0, |text| text.len() + 1);
        if bytes > EVENTS_BYTES_MAX && !fitting.is_empty() {
            return (fitting, true);
        }
        fitting.push(event);
    }
    (fitting, false)
}

/// Where to read an event of which not all is shown, and how much that is.
fn link(event: &ReportedEvent) -> Option<ResourceLink> {
    let (uri, detail_bytes) = (event.uri.clone()?, event.detail_bytes?);
    let mut whole = event.clone();
    (whole.truncated, whole.detail_bytes, whole.uri) = (false, None, None);
    whole.detail = Some(RawValue::NULL.to_owned());
    let rest = serde_json::to_string(&whole).map_or(0, |text| text.len());
    Some(ResourceLink {
        uri,
        name: event.detail_type.clone(),
        content_type: EVENT_TYPE.to_owned(),
        size: detail_bytes + rest.saturating_sub(RawValue::NULL.get().len()) as u64,
    })
}

fn position(position: HistoryPosition) -> String {
    let order = match position.order {
        Order::Asc => "asc",
        Order::Desc => "desc",
    };
    format!("{order}:{}", position.after)
}

fn read_position(text: &str) -> Option<HistoryPosition> {
    let (order, after) = text.split_once(':')?;
    let order = match order {
        "asc" => Order::Asc,
        _ => Order::Desc,
    };
    Some(HistoryPosition {
        after: Ulid::from_str(after).ok()?,
        order,
    })
}

/// Has `filter` find only events of the caller's own, where it may not see those of others.
pub(super) fn narrow<O: Operation>(
    filter: &mut Filter,
    call: &Granted<'_, O>,
) -> Result<(), Error> {
    if !call.also_holds(Permission::EventsReadAll) {
        let own = call.user_id();
        if filter.user_id.as_ref().is_some_and(|user| user != own) {
            return Err(others_events());
        }
        filter.user_id = Some(own.clone());
    }
    Ok(())
}

fn others_events() -> Error {
    let permission = Permission::EventsReadAll.name();
    Error::new(
        ErrorKind::PermissionDenied,
        format!("other users' events need the permission `{permission}`"),
    )
    .fix("Leave `user_id` out to see your own, or ask an administrator of the tenant.")
    .detail("permission", permission)
}
