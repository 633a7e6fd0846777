//! What an auditor is told of: each call that ended, and each request whose identity was refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ulid::Ulid;

use crate::mesh::call::arguments::ArgumentsHash;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::Event;
use crate::mesh::tenant::{IdentityError, Role};
use crate::mesh::{Error, Timestamp};

/// How many requests without an identity have a line of their own in one second; the others of that second
/// are one line with their count, so that strangers cannot fill the disk.
pub const REFUSED_LINES_PER_SECOND_MAX: u32 = 20;

/// A log that keeps what happened, in order.
pub trait AuditLog: Send + Sync + 'static {
    /// Whether what happens next could be recorded; asked before a call begins.
    ///
    /// # Errors
    /// `OVERLOADED`, where calls must not go on unrecorded.
    fn ready(&self) -> Result<(), Error>;

    /// Records `entry`. When this returns, the kernel has it or it is kept for the next try.
    fn record(&self, entry: &AuditEntry<'_>);
}

/// One thing that happened.
#[derive(Debug)]
pub enum AuditEntry<'event> {
    /// A call ended, or a limit refused several.
    Call {
        /// What is recorded of it anyway.
        event: &'event Event,
        /// The caller's role, where one call is meant.
        role: Option<Role>,
        /// Its arguments, where one call is meant.
        arguments: Option<ArgumentsHash>,
    },
    /// A request's identity was refused.
    Refused {
        /// When.
        time: Timestamp,
        /// The tool or method that was to be called, where that is known.
        tool: Option<Tool>,
        /// Why.
        error: IdentityError,
        /// The request.
        request_id: Ulid,
        /// How many such this stands for, where they are more than one.
        count: u32,
    },
}

/// The way to the log, if there is one. Clones are the same.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    log: Arc<dyn AuditLog>,
    strangers: Mutex<Strangers>,
}

/// Refused identities of one second.
#[derive(Default)]
struct Strangers {
    second: i64,
    told: u32,
    /// Those that have no line yet: the last of them, and how many they are.
    untold: Option<(Timestamp, Option<Tool>, IdentityError, Ulid, u32)>,
}

impl Audit {
    /// Nothing is kept.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Everything goes to `log`.
    pub fn to(log: Arc<dyn AuditLog>) -> Self {
        Self(Some(Arc::new(Inner {
            log,
            strangers: Mutex::default(),
        })))
    }

    /// Whether anything is kept.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a call may begin.
    pub(in crate::mesh) fn ready(&self) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |inner| inner.log.ready())
    }

    /// One call ended with `event`.
    pub(in crate::mesh) fn call(
        &self,
        event: &Event,
        role: Role,
        arguments: Option<ArgumentsHash>,
    ) {
        if let Some(inner) = &self.0 {
            inner.log.record(&AuditEntry::Call {
                event,
                role: Some(role),
                arguments,
            });
        }
    }

    /// A limit refused the calls that `event` stands for.
    pub(in crate::mesh) fn refused_calls(&self, event: &Event) {
        if let Some(inner) = &self.0 {
            inner.log.record(&AuditEntry::Call {
                event,
                role: None,
                arguments: None,
            });
        }
    }

    /// The identity of a request was refused. Transports that refuse by themselves say so here as well.
    pub fn refused_identity(
        &self,
        error: IdentityError,
        tool: Option<Tool>,
        request_id: Ulid,
        now: Timestamp,
    ) {
        let Some(inner) = &self.0 else { return };
        let mut strangers = inner.strangers();
        inner.tell_untold(&mut strangers, now);
        if strangers.told < REFUSED_LINES_PER_SECOND_MAX {
            strangers.told += 1;
            inner.log.record(&AuditEntry::Refused {
                time: now,
                tool,
                error,
                request_id,
                count: 1,
            });
            return;
        }
        let count = strangers
            .untold
            .map_or(1, |(.., count)| count.saturating_add(1));
        strangers.untold = Some((now, tool, error, request_id, count));
    }

    /// Records what was held back and is due; called every now and then.
    pub(in crate::mesh) fn flush_due(&self, now: Timestamp) {
        if let Some(inner) = &self.0 {
            inner.tell_untold(&mut inner.strangers(), now);
        }
    }

    /// Records all that was held back.
    pub(in crate::mesh) fn flush_all(&self) {
        if let Some(inner) = &self.0 {
            inner.tell_rest(&mut inner.strangers());
        }
    }
}

impl Inner {
    /// Begins another second, if one has begun, with a line for those of the last one.
    fn tell_untold(&self, strangers: &mut Strangers, now: Timestamp) {
        if strangers.second == now.as_seconds() {
            return;
        }
        strangers.second = now.as_seconds();
        strangers.told = 0;
        self.tell_rest(strangers);
    }

    fn tell_rest(&self, strangers: &mut Strangers) {
        if let Some((time, tool, error, request_id, count)) = strangers.untold.take() {
            self.log.record(&AuditEntry::Refused {
                time,
                tool,
                error,
                request_id,
                count,
            });
        }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<u32>>);

    impl AuditLog for Lines {
        fn ready(&self) -> Result<(), Error> {
            Ok(())
        }

        fn record(&self, entry: &AuditEntry<'_>) {
            if let AuditEntry::Refused { count, .. } = entry {
                self.0.lock().unwrap().push(*count);
            }
        }
    }

    #[test]
    fn a_flood_of_strangers_is_so_many_lines_a_second_and_one_for_the_others() {
        let lines = Arc::new(Lines::default());
        let audit = Audit::to(lines.clone());
        let now = Timestamp::from_seconds(100);
        let refuse = |now| audit.refused_identity(IdentityError::Missing, None, Ulid::nil(), now);
        (0..REFUSED_LINES_PER_SECOND_MAX).for_each(|_| refuse(now));
        audit.flush_due(now);
        assert_eq!(lines.0.lock().unwrap().len(), 20);
        (0..3).for_each(|_| refuse(now));
        assert_eq!(lines.0.lock().unwrap().len(), 20, "those beyond wait");
        audit.flush_due(Timestamp::from_millis(100_999));
        assert_eq!(lines.0.lock().unwrap().len(), 20);
        audit.flush_due(Timestamp::from_seconds(101));
        refuse(Timestamp::from_seconds(101));
        assert_eq!(lines.0.lock().unwrap()[20..], [3, 1]);
        (0..21).for_each(|_| refuse(Timestamp::from_seconds(101)));
        audit.flush_all();
        assert_eq!(lines.0.lock().unwrap().last(), Some(&2));
    }
}
