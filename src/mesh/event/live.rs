//! Events as they are recorded: what this process puts into its outbox, for those who watch their tenant.
//!
//! It is no second way out. Who falls behind is told how much was missed and finds it in the history; events of
//! other processes, and those whose outcome nobody learned, are found only there.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::history::{Filter, ReportedEvent, Traits};
use super::record::Event;
use crate::mesh::channels::{Channels, TenantNews};
use crate::mesh::tenant::{TenantId, UserId};

/// The largest detail that is told, in bytes; a larger one is left out and said so.
pub const DETAIL_BYTES_MAX: usize = 16 << 10;

/// What is recorded, for those who watch. Where nobody does, it costs one look.
#[derive(Debug, Default)]
pub struct LiveEvents(Channels<Recorded>);

/// One event.
#[derive(Clone, Debug)]
struct Recorded {
    tenant: TenantId,
    event: Arc<ReportedEvent>,
}

impl TenantNews for Recorded {
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// The events of one tenant that fit a filter, from when it was made.
#[derive(Debug)]
pub struct EventFeed {
    recorded: Receiver<Recorded>,
    filter: Filter,
}

/// What one who watches is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// An event that fits.
    Event(Arc<ReportedEvent>),
    /// So many events were missed, of which any may have fitted.
    Missed(u64),
}

impl LiveEvents {
    /// The events of `tenant` that fit `filter`, from now on.
    pub(in crate::mesh) fn watch(&self, tenant: &TenantId, filter: Filter) -> EventFeed {
        EventFeed {
            recorded: self.0.watch(tenant),
            filter,
        }
    }

    /// Tells of `events`, which are all of `tenant`.
    pub(super) fn tell(&self, tenant: &TenantId, events: &[Event]) {
        if !self.0.may_be_watched(tenant) {
            return;
        }
        for event in events {
            self.0.announce(Recorded {
                tenant: tenant.clone(),
                event: Arc::new(reported(event)),
            });
        }
    }
}

impl EventFeed {
    /// Whether it tells nothing but what `user` did.
    pub fn is_only_of(&self, user: &UserId) -> bool {
        self.filter.user_id.as_ref() == Some(user)
    }

    /// What comes next; nothing any more where the process ends. Dropped while it waits, it loses nothing.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            match self.recorded.recv().await {
                Ok(Recorded { event, .. }) if self.filter.fits(&traits(&event)) => {
                    return Some(Told::Event(event));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(count)) => return Some(Told::Missed(count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Serialize for EventFeed {
    /// Nothing of it is for the client.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

fn traits(event: &ReportedEvent) -> Traits<'_> {
    Traits {
        detail_type: &event.detail_type,
        source: event.source.as_deref(),
        tool: &event.tool,
        outcome: event.outcome,
        priority: event.priority,
        user_id: &event.user_id,
        tags: event.tags.as_ref(),
    }
}

/// The event as the history will tell it.
fn reported(event: &Event) -> ReportedEvent {
    let bytes = event.data.get().len();
    let is_told = bytes <= DETAIL_BYTES_MAX;
    ReportedEvent {
        event_id: event.event_id,
        time: event.time,
        detail_type: event.detail_type.clone().into_owned(),
        source: event.source.clone(),
        detail: is_told.then(|| event.data.clone()),
        truncated: !is_told,
        detail_bytes: (!is_told).then_some(bytes as u64),
        uri: None,
        tool: event.tool.clone().into_owned(),
        outcome: event.outcome,
        error_code: event.error_code.clone().map(std::borrow::Cow::into_owned),
        count: event.count,
        priority: event.priority,
        user_id: event.user_id.as_str().to_owned(),
        tags: event.tags.clone(),
        request_id: event.request_id,
        duration_ms: event.duration_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::channels::WAITING_MAX;
    use crate::mesh::event::fakes::event;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_watcher_hears_of_its_tenant_what_fits() {
        let live = LiveEvents::default();
        let filter = Filter {
            source: Some("till".to_owned()),
            ..Filter::default()
        };
        let mut feed = live.watch(&tenant("acme"), filter);
        let mut fitting = event("acme", 1_700_000_000_000);
        fitting.source = Some("till".to_owned());
        live.tell(&tenant("acme"), &[event("acme", 1_700_000_000_000)]);
        live.tell(&tenant("other"), std::slice::from_ref(&fitting));
        live.tell(&tenant("acme"), std::slice::from_ref(&fitting));
        let Some(Told::Event(told)) = feed.next().await else {
            panic!("an event");
        };
        assert_eq!(told.event_id, fitting.event_id);
        assert_eq!(told.detail.as_ref().unwrap().get(), fitting.data.get());
    }

    #[tokio::test]
    async fn who_falls_behind_is_told_how_far_and_large_details_are_left_out() {
        let live = LiveEvents::default();
        let mut feed = live.watch(&tenant("acme"), Filter::default());
        let mut large = event("acme", 1_700_000_000_000);
        let text = serde_json::json!({"text": "x".repeat(DETAIL_BYTES_MAX)});
        large.data = serde_json::value::to_raw_value(&text).unwrap();
        for _ in 0..WAITING_MAX + 3 {
            live.tell(&tenant("acme"), std::slice::from_ref(&large));
        }
        assert!(matches!(feed.next().await, Some(Told::Missed(3))));
        let Some(Told::Event(told)) = feed.next().await else {
            panic!("an event");
        };
        assert!(told.truncated && told.detail.is_none());
        assert!(told.detail_bytes.unwrap() > DETAIL_BYTES_MAX as u64);
    }
}
