//! What the rules of each tenant have been through since the start, for its health.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error, ErrorKind, Timestamp};

/// Of how many tenants it is remembered.
const TENANTS_MAX: usize = 4096;

/// Why a tenant's records wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleFault {
    /// The code of the last error.
    pub code: &'static str,
    /// What it said, in terms that a caller may read.
    pub message: String,
    /// Since when there was one.
    pub since: Timestamp,
}

/// What the rules of a tenant have been through in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleNotes {
    /// Workflows that were started, or found to be.
    pub started: u64,
    /// Alerts that were raised.
    pub raised: u64,
    /// Events at the greatest depth that would have started a workflow.
    pub cut: u64,
    /// Actions that can never be done, such as the start of a workflow that is gone.
    pub refused: u64,
    /// Alerts over the limit of a day, which were not delivered.
    pub limited: u64,
    /// Why records wait, since the last action that was done.
    pub fault: Option<RuleFault>,
    /// When something of the kind was last cut, refused or limited, and what is to be said of it.
    pub trouble: Option<(Timestamp, String)>,
}

/// Takes notes. Of more tenants than it remembers, those go that were quiet for longest.
pub(super) struct Journal {
    clock: Arc<dyn Clock>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    recent: HashMap<TenantId, RuleNotes>,
    before: HashMap<TenantId, RuleNotes>,
}

impl Journal {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            notes: Mutex::default(),
        }
    }

    /// What is known of `tenant`.
    pub(super) fn of(&self, tenant: &TenantId) -> RuleNotes {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let held = notes.recent.get(tenant);
        let held = held.or_else(|| notes.before.get(tenant));
        held.cloned().unwrap_or_default()
    }

    pub(super) fn started(&self, tenant: &TenantId) {
        self.note(tenant, |notes, _| notes.started += 1);
    }

    pub(super) fn raised(&self, tenant: &TenantId) {
        self.note(tenant, |notes, _| notes.raised += 1);
    }

    pub(super) fn cut(&self, tenant: &TenantId, what: String) {
        self.note(tenant, |notes, now| {
            notes.cut += 1;
            notes.trouble = Some((now, what));
        });
    }

    pub(super) fn refused(&self, tenant: &TenantId, what: String) {
        self.note(tenant, |notes, now| {
            notes.refused += 1;
            notes.trouble = Some((now, what));
        });
    }

    pub(super) fn limited(&self, tenant: &TenantId, what: String) {
        self.note(tenant, |notes, now| {
            notes.limited += 1;
            notes.trouble = Some((now, what));
        });
    }

    /// Something of a record could not be done yet.
    pub(super) fn failed(&self, tenant: &TenantId, error: &Error) {
        self.note(tenant, |notes, now| {
            let since = notes.fault.as_ref().map_or(now, |fault| fault.since);
            notes.fault = Some(RuleFault {
                code: error.kind().code(),
                message: public_message(error),
                since,
            });
        });
    }

    /// Everything was done of a record that had failed before.
    pub(super) fn recovered(&self, tenant: &TenantId) {
        self.note(tenant, |notes, _| notes.fault = None);
    }

    fn note(&self, tenant: &TenantId, change: impl FnOnce(&mut RuleNotes, Timestamp)) {
        let now = self.clock.now();
        let mut guard = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = &mut *guard;
        if !notes.recent.contains_key(tenant) {
            if notes.recent.len() >= TENANTS_MAX / 2 {
                notes.before = std::mem::take(&mut notes.recent);
            }
            let held = notes.before.remove(tenant).unwrap_or_default();
            notes.recent.insert(tenant.clone(), held);
        }
        if let Some(held) = notes.recent.get_mut(tenant) {
            change(held, now);
        }
    }
}

/// What a caller may read of an error.
pub(super) fn public_message(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Internal => "an internal fault; the log has it".to_owned(),
        _ => error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::ManualClock;

    #[test]
    fn a_tenants_notes_are_its_own_and_only_so_many_are_kept() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(5)));
        let journal = Journal::new(clock);
        let tenant = |number: usize| format!("t{number}").parse::<TenantId>().unwrap();
        for number in 0..TENANTS_MAX * 3 {
            journal.started(&tenant(number));
            journal.started(&tenant(0));
        }
        assert_eq!(journal.of(&tenant(0)).started, TENANTS_MAX as u64 * 3 + 1);
        assert_eq!(journal.of(&tenant(1)), RuleNotes::default());
        assert_eq!(journal.of(&tenant(TENANTS_MAX * 3 - 1)).started, 1);
        let notes = journal.notes.lock().unwrap();
        assert!(notes.recent.len() + notes.before.len() <= TENANTS_MAX);
    }

    #[test]
    fn a_fault_lasts_from_its_first_failure_until_all_is_done() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(5)));
        let journal = Journal::new(clock.clone());
        let acme = "acme".parse().unwrap();
        let error = Error::new(ErrorKind::AwsThrottled, "too much at once");
        journal.failed(&acme, &error);
        clock.advance(std::time::Duration::from_secs(1));
        journal.failed(&acme, &Error::internal("a secret of the log"));
        let fault = journal.of(&acme).fault.unwrap();
        assert_eq!(fault.since, Timestamp::from_millis(5));
        assert_eq!(fault.code, "INTERNAL");
        assert!(!fault.message.contains("secret"));
        journal.recovered(&acme);
        assert_eq!(journal.of(&acme).fault, None);
    }
}
