//! One connection from its first attempt to its end, in one task: whatever happens, it leaves no link and no place behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::{sleep, sleep_until, timeout};

use super::Inner;
use super::census::{Claim, Full, Place};
use super::connection::Connection;
use super::slot::{Life, Outcome, Stage};
use crate::mesh::integration::news::ConnectionChanged;
use crate::mesh::upstream::{ConnectionPlan, ConnectionTarget};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::upstream::handshake::{Established, establish};
use crate::outbound::upstream::link::Link;
use crate::outbound::upstream::scrub::{Scrubber, reworded};

/// How often a place is looked for that others take in between.
const EVICTIONS_MAX: usize = 8;

/// How often a connection that is too old is looked at while it is busy.
const OVERTIME_CHECK: Duration = Duration::from_secs(1);

/// Why an open connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was not needed any more, or was told to end.
    Ended,
    /// It broke.
    Broke,
}

/// Lives `life`, after the attempt `before` of the same key has wholly ended. `is_beside`: while another connection
/// of the key is open, the place of which it is to take.
pub(super) async fn live(
    inner: Arc<Inner>,
    plan: ConnectionPlan,
    life: Arc<Life>,
    before: Option<Arc<Life>>,
    is_beside: bool,
) {
    let ended = life.ended.clone().drop_guard();
    if let Some(before) = before {
        before.stop.cancel();
        before.ended.cancelled().await;
    }
    inner.run(&plan, &life, is_beside).await;
    drop(ended);
    inner.linger(&plan, &life).await;
    inner.lock().beside.remove(&life.serial);
}

impl Life {
    fn tell(&self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Inner {
    /// A place, if need be of a connection that nobody uses.
    async fn place(&self, plan: &ConnectionPlan, is_beside: bool) -> Result<Place, Error> {
        let tenant = &plan.key.tenant;
        let children_max = usize::try_from(plan.children_max).unwrap_or(usize::MAX);
        let claim = Claim {
            tenant,
            // One more for as long as it takes to replace one.
            children_max: is_child(&plan.target)
                .then(|| children_max.saturating_add(usize::from(is_beside))),
        };
        let mut full = Full::Connections;
        for _ in 0..EVICTIONS_MAX {
            full = match self.census.take(claim, &self.settings) {
                Ok(place) => return Ok(place),
                Err(full) => full,
            };
            if full == Full::Quota {
                break;
            }
            let donors = self.census.donors(tenant, full);
            let evicted = self.lock().evict(|key, connection| {
                let is_fitting = full != Full::Children || connection.is_child();
                donors.get(&key.tenant).filter(|_| is_fitting).copied()
            });
            match evicted {
                Some(evicted) => evicted.ended.cancelled().await,
                None => break,
            }
        }
        Err(self.no_place(plan, full))
    }

    fn no_place(&self, plan: &ConnectionPlan, full: Full) -> Error {
        let in_use = match full {
            Full::Quota => {
                return Error::new(
                    ErrorKind::QuotaExceeded,
                    format!("the tenant has {} child processes already", plan.children_max),
                )
                .fix("Disconnect an integration that is not needed, or wait until one has been idle.");
            }
            Full::Share => format!(
                "all {} connections to integrated servers that the tenant may have are in use",
                self.settings.tenant_connections_max
            ),
            Full::Children | Full::Connections => {
                "as many connections to integrated servers are in use as this server may have"
                    .to_owned()
            }
        };
        Error::new(ErrorKind::Overloaded, in_use)
            .fix("Try again in a moment.")
            .retry_after(Duration::from_secs(1))
    }

    /// Connects and keeps what was opened until it ends.
    async fn run(&self, plan: &ConnectionPlan, life: &Life, is_beside: bool) {
        let (mut place, mut link) = (None, None);
        let attempt = async {
            place = Some(self.place(plan, is_beside).await?);
            establish(&*self.links, plan, &self.settings, &mut link).await
        };
        let established = tokio::select! {
            biased;
            () = life.over() => Err(unavailable("the connection was ended while it was being opened")),
            done = timeout(self.settings.connect_time_max, attempt) => done.unwrap_or_else(|_| {
                Err(unavailable("the server did not answer in time"))
            }),
        };
        // The place is free before anybody can learn of the end, so that it is not found taken.
        match established {
            Ok(established) => {
                let end = self.keep(plan, life, established, link.as_deref()).await;
                drop((link, place));
                if end == End::Ended {
                    self.lock().remove_of_life(&plan.key, life);
                }
            }
            Err(error) => {
                let error = with_last_words(error, plan, link.as_deref());
                self.end_link(link.as_deref()).await;
                drop((link, place));
                self.failed(plan, life, &error);
                self.announce(plan);
                life.tell(Err(Arc::new(error)));
            }
        }
    }

    async fn keep(
        &self,
        plan: &ConnectionPlan,
        life: &Life,
        established: Established,
        link: Option<&dyn Link>,
    ) -> End {
        let Established { session, identity } = established;
        let core = session.core().clone();
        let clock = self.clock.clone();
        let connection = Arc::new(Connection::new(
            core.clone(),
            identity,
            clock,
            &plan.target,
            self.metrics.clone(),
        ));
        self.opened(plan, life, &connection);
        self.announce(plan);
        life.tell(Ok(connection.clone()));
        let end = self.watch(plan, life, &connection).await;
        // From here on calls find the session closed.
        core.end_with(unavailable("the connection was ended"));
        if end == End::Broke {
            let error = with_last_words(core.end(), plan, link);
            tracing::debug!(service = %plan.key.service, "the connection to a server broke");
            self.broke(plan, life, &error);
        }
        self.end_link(link).await;
        drop(session);
        end
    }

    /// Waits until the connection breaks, is told to end, or is not needed any more.
    async fn watch(&self, plan: &ConnectionPlan, life: &Life, connection: &Connection) -> End {
        let core = connection.core();
        let mut listings = core.tools.listings();
        let mut old_at = connection.opened() + self.settings.lifetime_max;
        let mut is_retired = false;
        loop {
            let idle_at = connection.used() + self.settings.idle_max;
            let now = Instant::now();
            if (now >= idle_at || now >= old_at) && core.end_if_idle() {
                return End::Ended;
            }
            if now >= old_at + self.settings.overtime_max {
                return End::Ended;
            }
            let mut next = idle_at.min(old_at);
            if next <= now {
                next = now + OVERTIME_CHECK;
            }
            tokio::select! {
                biased;
                () = life.stop.cancelled() => return End::Ended,
                () = core.closed().cancelled() => return End::Broke,
                () = life.retired.cancelled(), if !is_retired => {
                    is_retired = true;
                    old_at = old_at.min(Instant::now());
                }
                Ok(()) = listings.changed() => self.announce(plan),
                () = sleep_until(next) => {}
            }
        }
    }

    /// Tells whoever watches the tenant that the connection or its tools have changed.
    fn announce(&self, plan: &ConnectionPlan) {
        let key = Arc::new(plan.key.clone());
        self.changes.announce(ConnectionChanged(key));
    }

    async fn end_link(&self, link: Option<&dyn Link>) {
        if let Some(link) = link
            && timeout(self.settings.close_time_max, link.close())
                .await
                .is_err()
        {
            tracing::warn!("a connection to a server did not end in time and was dropped");
        }
    }

    /// No attempt was made; what was known before is known still.
    fn refused(&self, plan: &ConnectionPlan, life: &Life) {
        let mut slots = self.lock();
        if let Some(slot) = slots.of_life(&plan.key, life) {
            slot.stage = Stage::Broken;
            if !slot.has_broken {
                slots.remove_of_life(&plan.key, life);
            }
        }
    }

    fn failed(&self, plan: &ConnectionPlan, life: &Life, error: &Error) {
        if life.is_over() || !counts(error.kind()) {
            return self.refused(plan, life);
        }
        if let Some(slot) = self.lock().of_life(&plan.key, life) {
            slot.stage = Stage::Broken;
            slot.fault = Some(error.message().to_owned());
            slot.breaker
                .fail(&self.settings, error.wait(), life.share());
        }
    }

    fn opened(&self, plan: &ConnectionPlan, life: &Life, connection: &Arc<Connection>) {
        let now = self.clock.now();
        if let Some(slot) = self.lock().of_life(&plan.key, life) {
            slot.stage = Stage::Open;
            slot.connection = Some(connection.clone());
            slot.restarts = slot.restarts.saturating_add(u32::from(slot.has_broken));
            slot.since = now;
        }
    }

    fn broke(&self, plan: &ConnectionPlan, life: &Life, error: &Error) {
        if let Some(slot) = self.lock().of_life(&plan.key, life) {
            slot.break_off(&self.settings);
            slot.fault = Some(error.message().to_owned());
        }
    }

    /// While it is broken and nobody connects again: its tools are told until the grace ends, its failures until
    /// they no longer count; then it is as if it had never been.
    async fn linger(&self, plan: &ConnectionPlan, life: &Life) {
        let grace_end = match self.lock().of_life(&plan.key, life) {
            Some(slot) if slot.stage == Stage::Broken => slot.broke_at + self.settings.grace,
            _ => return,
        };
        tokio::select! {
            () = life.over() => return,
            () = sleep_until(grace_end) => {}
        }
        let last = match self.lock().of_life(&plan.key, life) {
            Some(slot) => slot.connection.take(),
            None => return,
        };
        if let Some(last) = last {
            last.core().tools.forget();
        }
        self.announce(plan);
        tokio::select! {
            () = life.over() => {}
            () = sleep(self.settings.failure_window) => {
                self.lock().remove_of_life(&plan.key, life);
            }
        }
    }
}

/// Whether a process is started to reach `target`.
fn is_child(target: &ConnectionTarget) -> bool {
    match target {
        ConnectionTarget::Command { .. } | ConnectionTarget::Template { .. } => true,
        ConnectionTarget::Remote { .. } => false,
    }
}

/// Whether trying again may help, so that it is not tried again at once.
fn counts(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::InvalidParameter
            | ErrorKind::NotSupported
            | ErrorKind::QuotaExceeded
            | ErrorKind::Overloaded
            | ErrorKind::NotFound
            | ErrorKind::PermissionDenied
    )
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::UpstreamUnavailable, message)
}

/// The error with what the child wrote last, where it does not tell that already, and without secrets.
fn with_last_words(error: Error, plan: &ConnectionPlan, link: Option<&dyn Link>) -> Error {
    let scrubber = Scrubber::of(plan);
    let error = scrubber.clean_error(error);
    let words = link.and_then(|link| link.last_words());
    let words = words.map(|words| scrubber.show(&words));
    match words {
        Some(words) if is_news(&words, &error) => {
            let told = format!("{}; it last wrote: {words}", error.message());
            reworded(&error, told)
        }
        _ => error,
    }
}

fn is_news(words: &str, error: &Error) -> bool {
    !words.is_empty() && counts(error.kind()) && !error.message().contains(words)
}
