//! What a pattern would have matched: tried on the newest events that the caller may read.

use std::time::Duration;

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Allows, Operation, RulesManage};
use crate::mesh::event::history::{Filter, Order, PAGE_EVENTS_MAX, Query, ReportedEvent};
use crate::mesh::event::pattern::{Pattern, Seen, Viewed};
use crate::mesh::store::Metered;
use crate::mesh::tenant::Permission;
use crate::mesh::{Error, Timestamp};

/// The most events that a preview looks at.
pub const EVENTS_MAX: usize = 10_000;

/// How far back a preview looks.
pub const WINDOW: Duration = Duration::from_hours(30 * 24);

/// How much a preview reads: units of the table. About 16 MiB.
const UNITS_MAX: f64 = 2048.0;

/// How long a preview looks.
const TIME_MAX: Duration = Duration::from_secs(5);

/// How many bytes of large details are fetched for one page of events.
const BODY_BYTES_MAX: usize = 2 << 20;

/// The most pages: those of empty stretches of the history, too.
const PAGES_MAX: usize = 40;

/// How long a preview waits for events of this process that are on their way.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a preview is expected to read: units of 4 KiB.
pub const EXPECTED_UNITS: f64 = 16.0;

/// What a pattern would have matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// How many of the events.
    pub matched: usize,
    /// How many events it was tried on.
    pub examined: usize,
    /// From when on those are all that the caller may read.
    pub since: Timestamp,
    /// Whose events those are.
    pub events_of: EventsOf,
    /// How many could not be tried, because their details are too large to be fetched for this.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped: usize,
}

/// Whose events a caller may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventsOf {
    /// Everyone's of the tenant.
    Tenant,
    /// The caller's own.
    User,
    /// Nobody's.
    Nobody,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Tries `pattern` on the newest events that the caller may read.
///
/// # Errors
/// What the table says.
pub async fn of<'call, O>(call: &Granted<'call, O>, pattern: &Pattern) -> Result<Preview, Error>
where
    O: Operation,
    O::Needs: Allows<RulesManage>,
{
    let now = call.now();
    let mut preview = Preview {
        matched: 0,
        examined: 0,
        since: now,
        events_of: EventsOf::Nobody,
        skipped: 0,
    };
    let Some(events) = call.events_besides() else {
        return Ok(preview);
    };
    let mut filter = Filter::default();
    preview.events_of = EventsOf::Tenant;
    if !call.also_holds(Permission::EventsReadAll) {
        preview.events_of = EventsOf::User;
        filter.user_id = Some(call.user_id().clone());
    }
    events.settled(PATIENCE).await;
    let started = call.monotonic();
    let mut query = Query {
        start: now.minus(WINDOW),
        // Nothing that was recorded before this call may lie behind the end of the window.
        end: call.now(),
        filter,
        order: Order::Desc,
        limit: PAGE_EVENTS_MAX,
        after: None,
        body_bytes_max: BODY_BYTES_MAX,
    };
    let mut units = 0.0;
    for _ in 0..PAGES_MAX {
        let looked_at = preview.examined + preview.skipped;
        call.progress(
            looked_at as f64,
            Some(EVENTS_MAX as f64),
            "trying the pattern on recent events",
        );
        query.limit = PAGE_EVENTS_MAX.min(EVENTS_MAX - looked_at);
        let Metered {
            value: page,
            units: read,
        } = events.query_metered(&query).await?;
        units += read;
        preview.add(pattern, &page.events).await;
        query.after = page.next;
        if query.after.is_none() {
            preview.since = query.start;
            break;
        }
        preview.since = page.searched_until.unwrap_or(preview.since);
        let is_enough = preview.examined + preview.skipped >= EVENTS_MAX
            || units >= UNITS_MAX
            || call.monotonic().saturating_sub(started) >= TIME_MAX;
        if is_enough {
            break;
        }
    }
    Ok(preview)
}

impl Preview {
    async fn add(&mut self, pattern: &Pattern, events: &[ReportedEvent]) {
        for event in events {
            // A page of small events is a millisecond's work for each pattern.
            tokio::task::coop::consume_budget().await;
            match matches(pattern, event).await {
                Some(is_match) => {
                    self.examined += 1;
                    self.matched += usize::from(is_match);
                }
                None => self.skipped += 1,
            }
        }
    }
}

/// Whether `event` fits; nothing where its detail is not at hand.
async fn matches(pattern: &Pattern, event: &ReportedEvent) -> Option<bool> {
    let seen = Seen::of_reported(event)?;
    let fits = match Viewed::of(&seen) {
        Ok(viewed) => pattern.fits(&viewed).await,
        Err(error) => Err(error),
    };
    fits.inspect_err(|error| {
        tracing::debug!(event_id = %event.event_id, ?error, "an event cannot be looked at");
    })
    .ok()
}
