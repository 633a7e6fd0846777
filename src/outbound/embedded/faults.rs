//! Faults that a test asks for: calls that are throttled, fail, hang, are slow or lose their answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most faults that wait for their call at one time.
pub(super) const FAULTS_MAX: usize = 256;

/// A service of the embedded cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The table.
    DynamoDb,
    /// The bucket.
    S3,
    /// The bus.
    EventBridge,
    /// State machines.
    States,
    /// The topics.
    Sns,
    /// The secret store.
    Secrets,
    /// Who the caller is.
    Sts,
}

/// What happens to a call instead of, or besides, its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with the service's own code for throttling; nothing is done.
    Throttle,
    /// It is answered with status 500; nothing is done.
    ServerError,
    /// It is never answered; nothing is done.
    Hang,
    /// It is done, and then the connection breaks before the answer.
    LoseAnswer,
    /// It is done after a pause.
    Delay(Duration),
}

/// The handle by which faults are asked for. Clones are the same handle. While none waits, a call pays
/// one atomic load for it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: AtomicUsize,
    faults: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    service: Service,
    operation: String,
    fault: Fault,
    times: u32,
}

impl Faults {
    /// Makes the next `times` calls of `operation` (as the service names it, such as `PutItem`; `*` is
    /// any) meet `fault`, after those that were asked for before. `false` where 256 faults
    /// wait already, and nothing is changed.
    pub fn inject(&self, service: Service, operation: &str, fault: Fault, times: u32) -> bool {
        let mut faults = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() >= FAULTS_MAX {
            return false;
        }
        if times > 0 {
            faults.push(Waiting {
                service,
                operation: operation.to_owned(),
                fault,
                times,
            });
        }
        self.0.waiting.store(faults.len(), Ordering::Release);
        true
    }

    /// Forgets every fault that still waits.
    pub fn clear(&self) {
        let mut faults = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.clear();
        self.0.waiting.store(0, Ordering::Release);
    }

    /// How many calls will still meet a fault.
    pub fn waiting(&self) -> u64 {
        let faults = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().map(|waiting| u64::from(waiting.times)).sum()
    }

    /// Whether any fault waits; all that a call pays while there is none.
    pub(super) fn any(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0
    }

    /// The fault that this call meets.
    pub(super) fn take(&self, service: Service, operation: &str) -> Option<Fault> {
        let mut faults = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let position = faults.iter().position(|waiting| {
            waiting.service == service
                && (waiting.operation == "*" || waiting.operation == operation)
        })?;
        let waiting = faults.get_mut(position)?;
        let fault = waiting.fault;
        waiting.times -= 1;
        if waiting.times == 0 {
            faults.remove(position);
        }
        self.0.waiting.store(faults.len(), Ordering::Release);
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_met_in_order_and_only_by_the_calls_they_name() {
        let faults = Faults::default();
        assert!(!faults.any());
        faults.inject(Service::DynamoDb, "PutItem", Fault::Throttle, 2);
        faults.inject(Service::DynamoDb, "*", Fault::Hang, 1);
        assert_eq!(faults.take(Service::S3, "PutItem"), None);
        assert_eq!(faults.take(Service::DynamoDb, "GetItem"), Some(Fault::Hang));
        assert_eq!(faults.take(Service::DynamoDb, "GetItem"), None);
        assert_eq!(faults.waiting(), 2);
        for _ in 0..2 {
            assert_eq!(
                faults.take(Service::DynamoDb, "PutItem"),
                Some(Fault::Throttle)
            );
        }
        assert!(!faults.any());
    }

    #[test]
    fn no_more_than_the_most_wait() {
        let faults = Faults::default();
        for _ in 0..FAULTS_MAX {
            assert!(faults.inject(Service::S3, "*", Fault::Hang, 1));
        }
        assert!(!faults.inject(Service::S3, "*", Fault::Hang, 1));
        faults.clear();
        assert!(faults.inject(Service::S3, "*", Fault::Hang, 1));
    }
}
