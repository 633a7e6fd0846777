//! The busiest tenants by name, and all others as one: as many series as the operator has said, whoever calls.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use crate::mesh::event::Outcome;
use crate::mesh::tenant::TenantId;

/// How many tenants are watched for each that is named.
const WATCHED_PER_NAMED: usize = 4;

/// What all tenants that are not named are called; no tenant's id can be this, since ids hold no brackets.
const OTHERS: &str = "(other)";

type Counts = [u64; Outcome::ALL.len()];

/// Calls of the busiest tenants.
pub(super) struct TenantMetrics(Arc<Busiest>);

/// Which tenants are busy is found out as Misra and Gries do it: a tenant that makes more than one in `4n + 1` of
/// the calls is always among the `4n` that are watched, and watching costs the same however many there are. At
/// each reading the busiest of these are named. What a tenant is counted with began when it was named, and
/// goes to the others when it no longer is, so that no series ever falls while it is there.
struct Busiest {
    named_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How busy the tenants are that are watched.
    weights: HashMap<TenantId, u64>,
    named: HashMap<TenantId, Counts>,
    others: Counts,
}

impl TenantMetrics {
    /// Of at most `named_max` tenants; nothing where that is none.
    pub(super) fn new(registry: &mut Registry, named_max: usize) -> Option<Self> {
        let busiest = Arc::new(Busiest {
            named_max,
            state: Mutex::default(),
        });
        (named_max > 0).then(|| {
            registry.register_collector(Box::new(Arc::clone(&busiest)));
            Self(busiest)
        })
    }

    pub(super) fn ended(&self, tenant: &TenantId, outcome: Outcome) {
        self.0.count(tenant, outcome);
    }
}

impl Busiest {
    fn count(&self, tenant: &TenantId, outcome: Outcome) {
        let mut state = self.state();
        state.weigh(tenant, self.named_max * WATCHED_PER_NAMED);
        let State { named, others, .. } = &mut *state;
        let counts = named.get_mut(tenant).unwrap_or(others);
        counts[outcome as usize] += 1;
    }

    /// The counts of those who are named now, by name, and of the others.
    fn read(&self) -> (Vec<(TenantId, Counts)>, Counts) {
        let mut state = self.state();
        state.name(self.named_max);
        let mut named: Vec<_> = state.named.clone().into_iter().collect();
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        (named, state.others)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is whole at once: there is no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn weigh(&mut self, tenant: &TenantId, watched_max: usize) {
        if let Some(weight) = self.weights.get_mut(tenant) {
            *weight += 1;
        } else if self.weights.len() < watched_max {
            self.weights.insert(tenant.clone(), 1);
        } else {
            // Each weight that is lost was a call before, so that this costs a call no more than it did.
            self.weights.retain(|_, weight| {
                *weight -= 1;
                *weight > 0
            });
        }
    }

    /// Names the busiest. One that is named stays so while it is half as busy as who would take its place, lest
    /// two that are alike change places at each reading.
    fn name(&mut self, named_max: usize) {
        let named = &self.named;
        let standing = |tenant: &TenantId, weight: u64| match named.contains_key(tenant) {
            true => weight.saturating_mul(2),
            false => weight,
        };
        let mut ranked: Vec<(u64, TenantId)> = self
            .weights
            .iter()
            .map(|(tenant, weight)| (standing(tenant, *weight), tenant.clone()))
            .collect();
        ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        ranked.truncate(named_max);
        let is_ranked = |tenant: &TenantId| ranked.iter().any(|(_, ranked)| ranked == tenant);
        let others = &mut self.others;
        self.named.retain(|tenant, counts| {
            let stays = is_ranked(tenant);
            if !stays {
                others
                    .iter_mut()
                    .zip(counts)
                    .for_each(|(other, count)| *other += *count);
            }
            stays
        });
        for (_, tenant) in ranked {
            self.named.entry(tenant).or_default();
        }
    }
}

impl Collector for Busiest {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "tenant_calls",
            "Calls of the busiest tenants, counted since they are among these, and of all others, by outcome.",
            None,
            MetricType::Counter,
        )?;
        let (named, others) = self.read();
        let all = named
            .iter()
            .map(|(tenant, counts)| (tenant.as_str(), counts));
        for (tenant, counts) in all.chain([(OTHERS, &others)]) {
            for (outcome, count) in Outcome::ALL.into_iter().zip(counts) {
                let labels = [("tenant", tenant), ("outcome", outcome.name())];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Busiest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Busiest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busiest(named_max: usize) -> Busiest {
        Busiest {
            named_max,
            state: Mutex::default(),
        }
    }

    fn tenant(number: usize) -> TenantId {
        format!("tenant-{number}").parse().unwrap()
    }

    fn total(read: &(Vec<(TenantId, Counts)>, Counts)) -> u64 {
        let named = read.0.iter().flat_map(|(_, counts)| counts);
        named.chain(&read.1).sum()
    }

    #[test]
    fn who_calls_most_is_named_however_many_call() {
        let busiest = busiest(2);
        for number in 0..10_000 {
            // One call in three of each of two, and the rest of thousands.
            for tenant in [tenant(100_000), tenant(100_001), tenant(number)] {
                busiest.count(&tenant, Outcome::Ok);
            }
        }
        let read = busiest.read();
        let named: Vec<_> = read.0.iter().map(|(tenant, _)| tenant.as_str()).collect();
        assert_eq!(named, ["tenant-100000", "tenant-100001"]);
        assert_eq!(total(&read), 30_000);
        let state = busiest.state();
        assert!(state.weights.len() <= 2 * WATCHED_PER_NAMED);
        assert_eq!(state.named.len(), 2);
    }

    #[test]
    fn no_series_falls_while_it_is_there_and_nothing_is_counted_twice() {
        let busiest = busiest(1);
        let (mut before, mut calls) = (busiest.read(), 0);
        // One tenant after the other becomes the busiest.
        for phase in 0..5_usize {
            for step in 0..(1000 << phase) {
                busiest.count(&tenant(phase), Outcome::Ok);
                busiest.count(&tenant(1000 + step % 50), Outcome::Limited);
                calls += 2;
            }
            let read = busiest.read();
            assert_eq!(total(&read), calls);
            for (now, then) in read.1.iter().zip(before.1) {
                assert!(*now >= then, "the others fell");
            }
            for (tenant, counts) in &read.0 {
                let then = before.0.iter().find(|(held, _)| held == tenant);
                let then = then.map_or([0; 5], |(_, counts)| *counts);
                assert!(counts.iter().zip(then).all(|(now, then)| *now >= then));
            }
            before = read;
        }
        assert_eq!(before.0[0].0, tenant(4));
    }

    #[test]
    fn two_that_are_alike_do_not_change_places() {
        let busiest = busiest(1);
        for _ in 0..10 {
            busiest.count(&tenant(1), Outcome::Ok);
        }
        assert_eq!(busiest.read().0[0].0, tenant(1));
        for _ in 0..20 {
            busiest.count(&tenant(2), Outcome::Ok);
        }
        // Twice as busy is not yet enough, and one more is.
        assert_eq!(busiest.read().0[0].0, tenant(1));
        busiest.count(&tenant(2), Outcome::Ok);
        assert_eq!(busiest.read().0[0].0, tenant(2));
    }

    #[test]
    fn where_none_is_named_nothing_is_counted() {
        let mut registry = Registry::default();
        assert!(TenantMetrics::new(&mut registry, 0).is_none());
        assert!(TenantMetrics::new(&mut registry, 1).is_some());
        assert!(OTHERS.parse::<TenantId>().is_err());
    }
}
