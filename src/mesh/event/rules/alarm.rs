//! Raises alerts: counts them against the limit of the day, delivers them, records that they were raised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::actions::{Step, Steps, in_time, is_final};
use super::journal::{Journal, public_message};
use super::{ALERT_RAISED, ALERTS_LIMITED, AlertRaised, RuleParts, notice};
use crate::mesh::channels::Channels;
use crate::mesh::event::outbox::Outbox;
use crate::mesh::event::record::{Event, Outcome, Priority};
use crate::mesh::event::rule::{Alert, Delivery, Rule};
use crate::mesh::store::key::{Keyspace, RowKey};
use crate::mesh::store::table::{Addition, Condition, EXPIRY_ATTRIBUTE, Row, VERSION_ATTRIBUTE};
use crate::mesh::store::{Table, Topics};
use crate::mesh::tenant::{Limits, TenantDirectory, TenantId};
use crate::mesh::{Clock, Error, ErrorKind, Timestamp};

/// Attributes of the row of a tenant's alerts of a day.
const RAISED: &str = "raised";
/// 1 once it was recorded that the limit is reached.
const TOLD: &str = "told";

/// How long the row of a day is kept.
const ROW_TIME: Duration = Duration::from_secs(3 * 86_400);

/// Of how many tenants it is remembered that their row of the day is there.
const DAYS_MAX: usize = 4096;

/// What the events are said to come from that say what became of alerts.
const TOOL: &str = "alerts";

/// An alert that an event raises, and the rule behind it where it has no pattern of its own.
pub(super) type Raised<'a> = (&'a Alert, Option<&'a Rule>);

/// Raises alerts.
pub(super) struct Alarm {
    topics: Arc<dyn Topics>,
    listeners: Arc<Channels<AlertRaised>>,
    outbox: Outbox,
    table: Arc<dyn Table>,
    tenants: Arc<dyn TenantDirectory>,
    clock: Arc<dyn Clock>,
    journal: Arc<Journal>,
    /// Rows that are there.
    days: Mutex<BTreeSet<(TenantId, i64)>>,
}

impl Alarm {
    pub(super) fn new(
        parts: &RuleParts,
        outbox: Outbox,
        table: Arc<dyn Table>,
        tenants: Arc<dyn TenantDirectory>,
        clock: Arc<dyn Clock>,
        journal: Arc<Journal>,
    ) -> Self {
        Self {
            topics: parts.topics.clone(),
            listeners: parts.alerts.clone(),
            outbox,
            table,
            tenants,
            clock,
            journal,
            days: Mutex::default(),
        }
    }

    /// Raises the alerts of `event`, but for `steps`.
    ///
    /// # Errors
    /// What is worth trying again; everything else has been done.
    pub(super) async fn raise_all(
        &self,
        event: &Event,
        alerts: &[Raised<'_>],
        steps: &mut Steps,
    ) -> Result<(), Error> {
        if alerts.is_empty() {
            return Ok(());
        }
        self.count_all(event, alerts, steps).await?;
        let may = |steps: &Steps, alert: &Alert| {
            steps.contains(&Step::Counted(alert.id)) && !steps.contains(&Step::Delivered(alert.id))
        };
        let due = alerts.iter().filter(|(alert, _)| may(steps, alert));
        let due: Vec<&Alert> = due.map(|(alert, _)| *alert).collect();
        let mut left = self.mail_all(event, &due, steps).await;
        left = left.and(self.tell_topics(event, &due, steps).await);
        for &(alert, rule) in alerts {
            let is_delivered = steps.contains(&Step::Delivered(alert.id));
            if is_delivered && !steps.contains(&Step::Recorded(alert.id)) {
                let is_lost = steps.contains(&Step::Undeliverable(alert.id));
                match self.record(event, alert, rule, is_lost) {
                    Ok(()) => {
                        steps.insert(Step::Recorded(alert.id));
                    }
                    Err(error) => left = left.and(Err(error)),
                }
            }
        }
        left
    }

    /// Counts the alerts that have not been: all at once where the day has room for all of them.
    async fn count_all(
        &self,
        event: &Event,
        alerts: &[Raised<'_>],
        steps: &mut Steps,
    ) -> Result<(), Error> {
        let is_new = |alert: &Alert| {
            !steps.contains(&Step::Counted(alert.id)) && !steps.contains(&Step::Limited(alert.id))
        };
        let new = alerts.iter().filter(|(alert, _)| is_new(alert));
        let new: Vec<&Alert> = new.map(|(alert, _)| *alert).collect();
        if new.is_empty() {
            return Ok(());
        }
        let tenant = &event.tenant_id;
        let limit = self.limit(tenant);
        let now = self.clock.now();
        let row = Keyspace::of(tenant).alerts_raised(now);
        self.begin_day(tenant, &row, now).await?;
        if self.add(&row, RAISED, new.len() as i64, limit).await? {
            steps.extend(new.iter().map(|alert| Step::Counted(alert.id)));
            return Ok(());
        }
        let mut is_full = false;
        for alert in new {
            is_full = is_full || !self.add(&row, RAISED, 1, limit).await?;
            if is_full {
                self.limit_one(event, alert, limit, &row).await?;
                steps.insert(Step::Limited(alert.id));
            } else {
                steps.insert(Step::Counted(alert.id));
            }
        }
        Ok(())
    }

    fn limit(&self, tenant: &TenantId) -> i64 {
        let record = self.tenants.find(tenant);
        let of = |limits: &Limits| i64::from(limits.alerts_per_day);
        record.map_or_else(|| of(&Limits::default()), |record| of(&record.limits))
    }

    /// Makes the row of a day, so that it goes by itself.
    async fn begin_day(
        &self,
        tenant: &TenantId,
        row: &RowKey,
        now: Timestamp,
    ) -> Result<(), Error> {
        let day = (tenant.clone(), now.as_seconds().div_euclid(86_400));
        let days = || self.days.lock().unwrap_or_else(PoisonError::into_inner);
        if days().contains(&day) {
            return Ok(());
        }
        let fresh = Row::new()
            .with_text(VERSION_ATTRIBUTE, Ulid::generate().to_string())
            .with_number(RAISED, 0)
            .with_number(EXPIRY_ATTRIBUTE, now.plus(ROW_TIME).as_seconds());
        let put = self.table.put(row, fresh, Condition::Absent { now });
        in_time(put).await?;
        let mut days = days();
        if days.len() >= DAYS_MAX {
            days.clear();
        }
        days.insert(day);
        Ok(())
    }

    async fn add(
        &self,
        row: &RowKey,
        name: &'static str,
        delta: i64,
        ceiling: i64,
    ) -> Result<bool, Error> {
        let addition = [Addition {
            name,
            delta,
            ceiling,
        }];
        Ok(in_time(self.table.add(row, &addition)).await?.value)
    }

    /// An alert is over the limit: it is not delivered, and once a day that is recorded.
    async fn limit_one(
        &self,
        event: &Event,
        alert: &Alert,
        limit: i64,
        row: &RowKey,
    ) -> Result<(), Error> {
        let tenant = &event.tenant_id;
        if self.add(row, TOLD, 1, 1).await? {
            tracing::warn!(%tenant, limit, "a tenant's alerts of the day are used up; further ones are not delivered");
            let now = self.clock.now();
            let millis = now.as_millis().max(0).unsigned_abs();
            let event_id = Ulid::from_parts(millis, Ulid::generate().random());
            let data = json!({ "alert": alert.name, "limit": limit, "event_id": event.event_id });
            let told = self.event(event, alert, (event_id, now), ALERTS_LIMITED, &data)?;
            if let Err(error) = self.outbox.append(&told) {
                self.add(row, TOLD, -1, 1).await?;
                return Err(error);
            }
        }
        let what =
            format!("the limit of {limit} alerts a day is reached; further ones are not delivered");
        self.journal.limited(tenant, what);
        Ok(())
    }

    /// One mail for all alerts that are mailed.
    async fn mail_all(
        &self,
        event: &Event,
        due: &[&Alert],
        steps: &mut Steps,
    ) -> Result<(), Error> {
        let mut mailed = Vec::new();
        let mut addresses = BTreeSet::new();
        for alert in due {
            if let Delivery::Mail { address, .. } = &alert.delivery {
                mailed.push(*alert);
                addresses.insert(address.clone());
            }
        }
        if mailed.is_empty() {
            return Ok(());
        }
        let tenant = &event.tenant_id;
        let notice = notice::to_people(event, &mailed, addresses.into_iter().collect());
        let sent = in_time(async {
            let topic = self.topics.tenant_topic(tenant).await?;
            self.topics.publish(tenant, &topic, &notice).await
        });
        self.delivered(event, &mailed, sent.await, steps)
    }

    /// One notice to each of the operator's topics.
    async fn tell_topics(
        &self,
        event: &Event,
        due: &[&Alert],
        steps: &mut Steps,
    ) -> Result<(), Error> {
        let tenant = &event.tenant_id;
        let mut topics: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
        for alert in due {
            if let Delivery::Topic { name } = &alert.delivery {
                topics.entry(name).or_default().push(*alert);
            }
        }
        let mut left = Ok(());
        for (name, alerts) in topics {
            let record = self.tenants.find(tenant);
            let topic = record.and_then(|record| record.alert_topics.get(name).cloned());
            let sent = match topic {
                Some(topic) => {
                    let notice = notice::to_topic(event, &alerts)?;
                    in_time(self.topics.publish(tenant, &topic, &notice)).await
                }
                None => Err(Error::new(
                    ErrorKind::NotFound,
                    format!("there is no topic `{name}`"),
                )),
            };
            left = left.and(self.delivered(event, &alerts, sent, steps));
        }
        left
    }

    /// Notes how a delivery ended; one that can never be made counts as made.
    fn delivered(
        &self,
        event: &Event,
        alerts: &[&Alert],
        sent: Result<(), Error>,
        steps: &mut Steps,
    ) -> Result<(), Error> {
        let tenant = &event.tenant_id;
        if let Err(error) = sent {
            if !is_final(error.kind()) {
                return Err(error);
            }
            for alert in alerts {
                tracing::error!(%tenant, alert = alert.name, event_id = %event.event_id, ?error, "an alert cannot be delivered");
                let message = public_message(&error);
                let what = format!(
                    "the alert `{}` could not be delivered: {message}",
                    alert.name
                );
                self.journal.refused(tenant, what);
                steps.insert(Step::Undeliverable(alert.id));
            }
        }
        steps.extend(alerts.iter().map(|alert| Step::Delivered(alert.id)));
        Ok(())
    }

    /// Records that an alert was raised, and tells those who listen.
    fn record(
        &self,
        event: &Event,
        alert: &Alert,
        rule: Option<&Rule>,
        is_lost: bool,
    ) -> Result<(), Error> {
        let mut data = serde_json::Map::new();
        data.insert("alert".to_owned(), alert.name.as_str().into());
        if let Some(rule) = rule {
            data.insert("rule".to_owned(), rule.name.as_str().into());
        }
        data.insert("method".to_owned(), alert.delivery.method().into());
        data.insert("event_id".to_owned(), event.event_id.to_string().into());
        if is_lost {
            data.insert("delivered".to_owned(), false.into());
        }
        let identity = (raised_id(event, alert), event.time);
        let raised = self.event(event, alert, identity, ALERT_RAISED, &data.into())?;
        self.outbox.append(&raised)?;
        let (tenant, event_id) = (&event.tenant_id, event.event_id);
        tracing::info!(%tenant, alert = alert.name, rule = rule.map(|rule| &rule.name), %event_id, "an alert was raised");
        self.journal.raised(tenant);
        self.listeners.announce(AlertRaised {
            tenant: tenant.clone(),
            alert: alert.name.clone(),
            event_id,
            time: event.time,
        });
        Ok(())
    }

    /// An event about an alert, which `cause` has led to.
    fn event(
        &self,
        cause: &Event,
        alert: &Alert,
        (event_id, time): (Ulid, Timestamp),
        detail_type: &'static str,
        data: &serde_json::Value,
    ) -> Result<Event, Error> {
        let data = serde_json::value::to_raw_value(data)
            .map_err(|cause| Error::internal("an event's data is no JSON").caused_by(cause))?;
        Ok(Event {
            event_id,
            time,
            detail_type: detail_type.into(),
            tenant_id: cause.tenant_id.clone(),
            user_id: alert.created_by.clone(),
            org_id: None,
            tool: TOOL.into(),
            outcome: Outcome::Ok,
            error_code: None,
            count: None,
            request_id: cause.request_id,
            trace_id: cause.trace_id.clone(),
            duration_ms: 0.0,
            bytes: None,
            source: None,
            priority: Priority::Medium,
            tags: None,
            cause: Some(cause.event_id),
            depth: cause.depth.saturating_add(1),
            data,
        })
    }
}

/// The id of the event that says that `event` has raised `alert`: the same each time, so that what is
/// matched again is recorded as the same event. Its time is the event's.
fn raised_id(event: &Event, alert: &Alert) -> Ulid {
    let mut hash = Sha256::new();
    hash.update(event.tenant_id.as_str());
    hash.update(b"#alert#");
    hash.update(alert.id.0.to_be_bytes());
    hash.update(event.event_id.0.to_be_bytes());
    let digest = hash.finalize();
    let mut random = [0; 16];
    random[6..].copy_from_slice(&digest[..10]);
    Ulid::from_parts(event.event_id.timestamp_ms(), u128::from_be_bytes(random))
}
