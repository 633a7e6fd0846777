//! The proof that a call was admitted: it holds the call's place, and settles what the call costs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cost::{self, Cost, Direction};
use super::limiter::{Inner, Slot, millis};

/// A call that was admitted. Only [`Limiter::admit`](super::Limiter::admit) makes one, and it cannot be
/// copied. The call's place is free again when this is dropped; what the call was charged stays charged.
#[must_use = "the call is in flight only as long as this lives"]
pub struct Admission {
    inner: Arc<Inner>,
    slot: Arc<Slot>,
    charged: Cost,
}

impl Admission {
    /// Holds a place that was taken for a tenant, both of the tenant and of the server.
    pub(super) fn of(inner: &Arc<Inner>, slot: Arc<Slot>, charged: Cost) -> Self {
        Self {
            inner: Arc::clone(inner),
            slot,
            charged,
        }
    }

    /// Corrects the charge in `direction` to the `actual` units that the call has cost so far, all its
    /// requests together: the difference to what was charged before is given back (at most up to a full
    /// bucket) or taken, into debt if need be. `now` is of the monotonic clock.
    pub fn settle(&mut self, direction: Direction, actual: f64, now: Duration) {
        let actual = cost::thousandths(actual);
        let charged = self.charged.thousandths(direction);
        if actual == charged {
            return;
        }
        let mut buckets = self.slot.buckets();
        buckets.refill(millis(now));
        match actual.checked_sub(charged) {
            Some(more) => buckets.charge(direction, more),
            None => buckets.refund(direction, charged - actual),
        }
        drop(buckets);
        self.charged.set_thousandths(direction, actual);
    }

    /// What the call has been charged.
    pub fn charged(&self) -> &Cost {
        &self.charged
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        // The tenant's count first, so that the tenants' counts never add up to more than the places.
        self.slot.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.inner.places.release();
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Admission")
            .field("charged", &self.charged)
            .finish_non_exhaustive()
    }
}
