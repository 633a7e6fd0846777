//! How the parts are that a call goes through, each by itself and in bounded time.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;

use super::Backplane;
use crate::mesh::tenant::TenantId;
use crate::mesh::upstream::Phase;
use crate::mesh::{Clock, Error};

/// How long a part may take to tell how it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many of a tenant's workflows are looked at.
const WORKFLOWS_CHECKED_MAX: usize = 10;

/// An event that waits longer than this makes the publisher degraded.
const BACKLOG_AGE_MAX_MS: u64 = 60_000;

/// The share of the outbox from which on it is degraded.
const OUTBOX_SHARE_MAX: f64 = 0.5;

/// How long what became of a rule makes its part degraded.
const RULE_TROUBLE_TIME: Duration = Duration::from_secs(3600);

/// How a part is; a later one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Healthy,
    /// It works, late or in part.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl Status {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How one part is.
#[derive(Clone, Debug, Serialize)]
pub struct PartHealth {
    /// Which.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// How long it took to tell, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// What is to be said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

/// The parts that one call may ask.
pub struct Health<'call> {
    backplane: &'call Backplane,
    tenant: &'call TenantId,
}

impl Backplane {
    /// How the parts are that all tenants share, each asked by itself and in bounded time.
    pub(in crate::mesh) async fn shared_parts(&self) -> Vec<PartHealth> {
        let clock = self.clock.as_ref();
        let (table, bucket, bus) = futures::join!(
            ask(clock, "table", self.table.check()),
            ask(clock, "bucket", self.bucket.check()),
            ask(clock, "bus", self.bus.check()),
        );
        vec![table, bucket, bus]
    }
}

impl<'call> Health<'call> {
    pub(super) fn new(backplane: &'call Backplane, tenant: &'call TenantId) -> Self {
        Self { backplane, tenant }
    }

    /// Asks every part at once.
    pub async fn check(&self) -> Vec<PartHealth> {
        let Backplane {
            table, bucket, bus, ..
        } = self.backplane;
        let (table, bucket, bus, workflows) = futures::join!(
            self.ask("table", table.check()),
            self.ask("bucket", bucket.check()),
            self.ask("bus", bus.check()),
            self.workflows(),
        );
        let [history, publisher] = self.ways();
        vec![
            table,
            bucket,
            bus,
            history,
            self.outbox(),
            publisher,
            self.rules(),
            workflows,
            self.integrations(),
        ]
    }

    /// Whether the tenant's workflows are there to be started. One that is not leaves the others as they
    /// are.
    async fn workflows(&self) -> PartHealth {
        let mut part = self.ask("workflows", self.broken_workflow()).await;
        if part.status == Status::Unhealthy {
            part.status = Status::Degraded;
        }
        part
    }

    /// Whether the connections to integrated servers that the tenant's users have open here work. Whose they
    /// are is told to nobody else: `integration_list` shows each user their own.
    fn integrations(&self) -> PartHealth {
        let upstreams = self.backplane.integrations.upstreams();
        let states = upstreams.states(Some(self.tenant));
        let own = states
            .iter()
            .filter(|state| state.key.tenant == *self.tenant);
        let phases: Vec<_> = own.map(|state| state.phase).collect();
        let count = |of: Phase| phases.iter().filter(|phase| **phase == of).count();
        let (degraded, down) = (count(Phase::Degraded), count(Phase::Down));
        let (status, message) = match degraded + down {
            0 => (Status::Healthy, None),
            broken => (
                Status::Degraded,
                Some(format!(
                    "{broken} of {} connections to integrations do not work; integration_list shows yours",
                    phases.len()
                )),
            ),
        };
        PartHealth {
            name: "integrations",
            status,
            latency_ms: None,
            message,
            details: Some(serde_json::json!({
                "connected": count(Phase::Connected),
                "degraded": degraded,
                "down": down,
            })),
        }
    }

    /// The first of the tenant's workflows that cannot be started, as an error.
    async fn broken_workflow(&self) -> Result<(), Error> {
        let Backplane {
            workflows, runs, ..
        } = self.backplane;
        let states = &runs.parts().states;
        let names = workflows.all(self.tenant).await?;
        let checks = names.iter().take(WORKFLOWS_CHECKED_MAX).map(async |name| {
            let check = workflows.check(self.tenant, name, states.as_ref());
            check.await.map_err(|error| {
                let message = format!("the workflow `{name}`: {}", public_message(&error));
                Error::new(error.kind(), message).caused_by(error)
            })
        });
        let results = futures::future::join_all(checks).await;
        results.into_iter().collect()
    }

    async fn ask(
        &self,
        name: &'static str,
        check: impl Future<Output = Result<(), Error>>,
    ) -> PartHealth {
        ask(self.backplane.clock.as_ref(), name, check).await
    }

    fn outbox(&self) -> PartHealth {
        let stats = self.backplane.outbox.stats();
        let handed = self.backplane.publisher.stats().hand_over;
        let share = stats.bytes as f64 / stats.bytes_max.max(1) as f64;
        let (status, message) = if stats.is_disk_full {
            (
                Status::Unhealthy,
                Some("its disk is full: calls are refused until there is room".to_owned()),
            )
        } else if share >= 1.0 || stats.disk_bytes >= stats.bytes_max {
            (
                Status::Unhealthy,
                Some("full: calls are refused until events are published".to_owned()),
            )
        } else if share >= OUTBOX_SHARE_MAX {
            (
                Status::Degraded,
                Some("filling up: events wait for the history or the bus".to_owned()),
            )
        } else {
            (Status::Healthy, None)
        };
        let mut details = serde_json::json!({
            "waiting_bytes": self.backplane.outbox.held(self.tenant),
        });
        // What waits for everybody is no tenant's to know.
        if !self.backplane.serves_many {
            details = serde_json::json!({
                "waiting_events": stats.records,
                "waiting_bytes": stats.bytes,
                "torn_records": stats.torn_records,
                "adopted_events": stats.adopted_records + handed.adopted_records,
                "handed_over_events": handed.handed_over_records,
                "unreadable_hand_overs": handed.unreadable_objects,
            });
        }
        PartHealth {
            name: "outbox",
            status,
            latency_ms: None,
            message,
            details: Some(details),
        }
    }

    /// The history and the bus, as the publisher finds them.
    fn ways(&self) -> [PartHealth; 2] {
        let stats = self.backplane.publisher.stats();
        let late = stats
            .oldest_age_ms
            .is_some_and(|age| age > BACKLOG_AGE_MAX_MS);
        [("history", stats.history), ("publisher", stats.bus)].map(|(name, way)| {
            let (status, message) = match &way.fault {
                Some(fault) => (
                    Status::Degraded,
                    Some(format!(
                        "events wait ({}). Nothing is lost: they follow when it is back.",
                        fault.code
                    )),
                ),
                None if late => (Status::Degraded, Some("events arrive late".to_owned())),
                None => (Status::Healthy, None),
            };
            let details = (!self.backplane.serves_many).then(|| {
                serde_json::json!({
                    "waiting_events": way.records,
                    "refused_events": way.set_aside,
                    "oldest_age_ms": stats.oldest_age_ms.unwrap_or_default(),
                })
            });
            PartHealth {
                name,
                status,
                latency_ms: None,
                message,
                details,
            }
        })
    }
}

impl Health<'_> {
    /// The rules of the tenant: what waits for them, and what could not be done.
    fn rules(&self) -> PartHealth {
        let publisher = &self.backplane.publisher;
        let (notes, waiting_bytes) = publisher.rules(self.tenant);
        let now = self.backplane.clock.now();
        let trouble = notes.trouble.as_ref();
        let recent = trouble.filter(|(at, _)| now.since(*at) < RULE_TROUBLE_TIME);
        let message = match (&notes.fault, recent) {
            (Some(fault), _) => Some(format!(
                "events wait for what rules do about them ({}: {}). Nothing is lost: it is tried again.",
                fault.code, fault.message
            )),
            (None, Some((at, what))) => Some(format!("{what} (last at {at})")),
            (None, None) => None,
        };
        let status = match message {
            Some(_) => Status::Degraded,
            None => Status::Healthy,
        };
        let mut details = serde_json::json!({
            "waiting_bytes": waiting_bytes,
            "started_workflows": notes.started,
            "raised_alerts": notes.raised,
            "cut_chains": notes.cut,
            "refused_actions": notes.refused,
            "alerts_over_limit": notes.limited,
        });
        if !self.backplane.serves_many {
            details["waiting_events"] = publisher.stats().rules.records.into();
        }
        PartHealth {
            name: "rules",
            status,
            latency_ms: None,
            message,
            details: Some(details),
        }
    }
}

/// How the part `name` is, by what `check` says in bounded time.
async fn ask(
    clock: &dyn Clock,
    name: &'static str,
    check: impl Future<Output = Result<(), Error>>,
) -> PartHealth {
    let started = clock.monotonic();
    let answer = tokio::time::timeout(PATIENCE, check).await;
    let latency = clock.monotonic().saturating_sub(started);
    let (status, message) = match answer {
        Ok(Ok(())) => (Status::Healthy, None),
        Ok(Err(error)) => (Status::Unhealthy, Some(public_message(&error))),
        Err(_) => (
            Status::Unhealthy,
            Some(format!("no answer within {PATIENCE:?}")),
        ),
    };
    let latency_ms = Some((latency.as_secs_f64() * 1e6).round() / 1e3);
    PartHealth {
        name,
        status,
        latency_ms,
        message,
        details: None,
    }
}

/// What a caller may read of a part's failure.
fn public_message(error: &Error) -> String {
    let what = match error.kind() {
        crate::mesh::ErrorKind::Internal => "it failed; the log has the cause",
        _ => error.message(),
    };
    match error.fix_text() {
        Some(fix) => format!("{what}. {fix}"),
        None => what.to_owned(),
    }
}
