//! How long calls took: counts in buckets that grow by a fifth, exact enough for percentiles.

use serde::{Deserialize, Serialize};

/// What each bucket's upper bound is to the one before: a percentile read from the middle of its bucket
/// is within 10 % (the square root of 1.2 is 1.095).
const GROWTH: f64 = 1.2;

/// The lower bound of the first bucket, in milliseconds; what took less is counted there.
const FIRST_MS: f64 = 0.01;

/// The last bucket begins at about 12 minutes; what took longer is counted there.
const LAST_BUCKET: u8 = 99;

/// Counts by bucket; only buckets that have any are kept, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(Vec<(u8, u64)>);

impl Histogram {
    /// Counts `calls` that took `millis` each.
    pub fn add(&mut self, millis: f64, calls: u64) {
        self.add_to(bucket_of(millis), calls);
    }

    /// Counts everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, calls) in &other.0 {
            self.add_to(bucket, calls);
        }
    }

    /// How many calls have been counted.
    pub fn calls(&self) -> u64 {
        self.0.iter().map(|&(_, calls)| calls).sum()
    }

    /// In how many milliseconds the given share (0 to 1) of the calls were done, within 10 %.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let calls = self.calls();
        let rank = ((calls as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for &(bucket, held) in &self.0 {
            seen += held;
            if seen >= rank {
                let middle = FIRST_MS * GROWTH.powf(f64::from(bucket) + 0.5);
                return Some((middle * 1000.0).round() / 1000.0);
            }
        }
        None
    }

    /// Bytes of memory behind it.
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<(u8, u64)>()
    }

    fn add_to(&mut self, bucket: u8, calls: u64) {
        match self.0.binary_search_by_key(&bucket, |&(held, _)| held) {
            Ok(at) => self.0[at].1 += calls,
            Err(at) => self.0.insert(at, (bucket.min(LAST_BUCKET), calls)),
        }
    }
}

fn bucket_of(millis: f64) -> u8 {
    // Negative and absurd durations end in the first bucket, a cast of NaN too.
    let bucket = (millis / FIRST_MS).ln() / GROWTH.ln();
    (bucket.floor() as u8).min(LAST_BUCKET)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extremes_are_counted_in_the_outer_buckets() {
        for (millis, bucket) in [
            (-1.0, 0),
            (f64::NAN, 0),
            (0.0, 0),
            (FIRST_MS, 0),
            (f64::INFINITY, LAST_BUCKET),
            (1e12, LAST_BUCKET),
        ] {
            assert_eq!(bucket_of(millis), bucket, "{millis}");
        }
        assert_eq!(Histogram::default().percentile(0.5), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_within_a_tenth(mut durations in prop::collection::vec(0.02_f64..600_000.0, 1..300)) {
            let mut histogram = Histogram::default();
            let mut halves = (Histogram::default(), Histogram::default());
            for (at, &millis) in durations.iter().enumerate() {
                histogram.add(millis, 1);
                if at % 2 == 0 { halves.0.add(millis, 1) } else { halves.1.add(millis, 1) }
            }
            halves.0.merge(&halves.1);
            prop_assert_eq!(&halves.0, &histogram);
            durations.sort_by(f64::total_cmp);
            for share in [0.5, 0.95, 0.99] {
                let rank = (durations.len() as f64 * share).ceil() as usize;
                let exact = durations[rank.max(1) - 1];
                let estimate = histogram.percentile(share).unwrap();
                prop_assert!((estimate / exact - 1.0).abs() <= 0.1, "{} for {}", estimate, exact);
            }
        }
    }
}
