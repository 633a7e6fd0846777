//! Ids of events: in the order in which they are made, also within one millisecond.

use std::sync::{Mutex, PoisonError};

use ulid::Ulid;

use crate::mesh::Timestamp;

/// The room that is left above the first id of a millisecond, so that counting on never overflows.
const HEADROOM_BITS: u32 = 8;

/// Makes ids that grow as long as the clock does not go back.
#[derive(Debug, Default)]
pub struct IdSequence(Mutex<Option<Ulid>>);

impl IdSequence {
    /// The next id of the moment `now`: greater than the last one of the same millisecond.
    pub fn next(&self, now: Timestamp) -> Ulid {
        let time = now.as_millis().max(0).unsigned_abs();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match *last {
            Some(last) if last.timestamp_ms() == time => Ulid::from_parts(time, last.random() + 1),
            _ => Ulid::from_parts(time, Ulid::generate().random() >> HEADROOM_BITS),
        };
        *last = Some(id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_moment_are_in_the_order_they_were_made() {
        let sequence = IdSequence::default();
        let now = Timestamp::from_seconds(1_000);
        let ids: Vec<_> = (0..1000).map(|_| sequence.next(now)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.iter().all(|id| id.timestamp_ms() == 1_000_000));
    }

    #[test]
    fn a_clock_that_goes_back_makes_ids_of_its_own_time() {
        let sequence = IdSequence::default();
        sequence.next(Timestamp::from_seconds(2));
        assert_eq!(
            sequence.next(Timestamp::from_seconds(1)).timestamp_ms(),
            1_000
        );
    }
}
