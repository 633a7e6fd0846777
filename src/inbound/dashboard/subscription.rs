//! Live events: a subscription tells its connection what is recorded, until it or the connection ends.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::message::{Fault, Members, Message};
use super::{Desk, SUBSCRIPTIONS_MAX};
use crate::inbound::tool::events::query::filter_of;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::live::{EventFeed, Told};
use crate::mesh::service::events::EventsWatch;
use crate::mesh::tenant::{IdentityError, Permission};

/// How long events are told without asking again whether their reader may read them.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

/// Begins a subscription.
pub(super) async fn begin(desk: &Arc<Desk>, message: &Message<'_>) -> Result<Members, Fault> {
    if !desk.shared.catalog.offers(Tool::EventsQuery) {
        return Err(Fault::not_offered());
    }
    let request = desk.head().into_request(None);
    let filter = filter_of(message.filter.map_or("{}", RawValue::get));
    let watch = filter.map(|filter| EventsWatch { filter });
    let answer = desk.shared.backplane.call(request, watch).await;
    let answer = answer.map_err(Fault::identity)?;
    let request_id = answer.request_id();
    let feed = answer.into_result();
    let feed = feed.map_err(|error| Fault::failed(&error, request_id))?;
    let name = desk.next_number().to_string();
    let stop = CancellationToken::new();
    {
        let mut subscriptions = desk.subscriptions();
        if subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(Fault::quota(
                &format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions"),
                "End one with unsubscribe_events first.",
            ));
        }
        subscriptions.insert(name.clone(), stop.clone().drop_guard());
    }
    // The connection is not kept by what it is told.
    let (desk, own) = (Arc::clone(desk), name.clone());
    tokio::spawn(async move {
        let cancelled = desk.cancelled.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = cancelled.cancelled() => {}
            () = tell(&desk, &own, feed) => {}
        }
    });
    Ok(format!("\"subscription\":{}", Value::from(name)))
}

/// Ends a subscription, or all.
pub(super) fn end(desk: &Desk, message: &Message<'_>) -> Result<Members, Fault> {
    let mut subscriptions = desk.subscriptions();
    let ended = match message.subscription.as_deref() {
        None => {
            let count = subscriptions.len();
            subscriptions.clear();
            count
        }
        Some(name) => match subscriptions.remove(name) {
            Some(_) => 1,
            None => {
                return Err(Fault::not_found(
                    "there is no such subscription",
                    "Name one that subscribe_events has answered, or none to end all.",
                ));
            }
        },
    };
    Ok(format!("\"ended\":{ended}"))
}

async fn tell(desk: &Desk, name: &str, mut feed: EventFeed) {
    let name = Value::from(name);
    let mut trusted_until = Instant::now() + TRUSTED_FOR;
    while let Some(told) = feed.next().await {
        if Instant::now() >= trusted_until {
            match may_still(desk, &feed).await {
                Ok(true) => trusted_until = Instant::now() + TRUSTED_FOR,
                // Keys that cannot be had now say nothing of the caller; the token itself still ends the connection.
                Err(IdentityError::KeysUnavailable) => {}
                Ok(false) | Err(_) => return desk.expelled.cancel(),
            }
        }
        let text = match told {
            Told::Event(event) => {
                let Ok(event) = serde_json::to_string(&*event) else {
                    continue;
                };
                format!("{{\"type\":\"event\",\"subscription\":{name},\"event\":{event}}}")
            }
            Told::Missed(count) => {
                format!("{{\"type\":\"lagged\",\"subscription\":{name},\"missed\":{count}}}")
            }
        };
        let text = text.replace(['\n', '\r'], " ");
        if desk.outgoing.send(text).await.is_err() {
            return;
        }
    }
}

/// Whether the caller may still read these events.
async fn may_still(desk: &Desk, feed: &EventFeed) -> Result<bool, IdentityError> {
    let caller = desk.caller().await?;
    let holds = |permission| caller.permissions().contains(permission);
    let is_own = feed.is_only_of(caller.user_id());
    Ok(holds(Permission::EventsRead) && (is_own || holds(Permission::EventsReadAll)))
}
