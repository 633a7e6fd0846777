//! The way past the rules: what they say of each record is done before it leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::task::JoinSet;
use ulid::Ulid;

use super::lane::Lane;
use super::sink::{Record, Sent, Sink, Verdict};
use crate::mesh::Error;
use crate::mesh::event::rules::{Actions, Steps};
use crate::mesh::tenant::TenantId;

/// Does what the rules of each record's tenant say.
pub(super) struct RulesSink {
    /// None where there are no rules at all, and records just pass.
    actions: Option<Arc<Actions>>,
    /// What has been done of records of which something is left to do.
    unfinished: Arc<Unfinished>,
    renewals: JoinSet<()>,
}

/// By tenant and event. Each is one of a record that waits to be tried again, of which there are so many.
#[derive(Default)]
struct Unfinished(Mutex<HashMap<(TenantId, Ulid), Steps>>);

impl RulesSink {
    pub(super) fn new(actions: Option<Arc<Actions>>) -> Self {
        Self {
            actions,
            unfinished: Arc::default(),
            renewals: JoinSet::new(),
        }
    }
}

impl Sink for RulesSink {
    // What one record leads to takes its own time, so none waits for another one's.
    const BATCH_MAX: usize = 1;
    const BATCH_BYTES_MAX: usize = 4 << 20;
    const BATCHES_MAX: usize = 64;
    const TENANT_BATCH_MAX: usize = 16;
    const TENANT_RECORDS_MAX: usize = 8;
    const LINGER_LONGEST: Duration = Duration::from_millis(10);
    const LINGER_UNWANTED: Duration = Duration::from_millis(50);

    fn weigh(record: &Record) -> usize {
        record.bytes as usize
    }

    fn wants(&mut self, tenant: &TenantId) -> bool {
        let Some(actions) = &self.actions else {
            return false;
        };
        let (is_wanted, is_due) = actions.wants(tenant);
        if is_due {
            while self.renewals.try_join_next().is_some() {}
            let (actions, tenant) = (actions.clone(), tenant.clone());
            self.renewals
                .spawn(async move { actions.renew(&tenant).await });
        }
        is_wanted
    }

    async fn admit(&mut self, _record: &Record, _lane: &Lane) -> Result<(), Error> {
        Ok(())
    }

    fn send(&self, records: Vec<Record>) -> BoxFuture<'static, Sent> {
        let (actions, unfinished) = (self.actions.clone(), self.unfinished.clone());
        async move {
            let Some(actions) = actions else {
                let verdicts = records.iter().map(|_| Verdict::Done).collect();
                return Sent {
                    records,
                    result: Ok(verdicts),
                };
            };
            let acts = records
                .iter()
                .map(|record| unfinished.act(&actions, record));
            let result = Ok(join_all(acts).await);
            Sent { records, result }
        }
        .boxed()
    }
}

impl Unfinished {
    async fn act(&self, actions: &Actions, record: &Record) -> Verdict {
        let event = &record.event;
        let name = (event.tenant_id.clone(), event.event_id);
        let held = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held().remove(&name);
        let has_failed = before.is_some();
        let mut steps = before.unwrap_or_default();
        match actions.act(event, &mut steps).await {
            Ok(()) => {
                if has_failed {
                    actions.recovered(&event.tenant_id);
                }
                Verdict::Done
            }
            Err(error) => {
                held().insert(name, steps);
                Verdict::Retry(error)
            }
        }
    }
}
