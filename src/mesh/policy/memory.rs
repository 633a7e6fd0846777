//! Answers of the policy service that still hold, bounded for each tenant.

use std::collections::HashMap;
use std::time::Duration;

use super::Decision;
use crate::mesh::tenant::TenantId;

/// The most answers that are remembered of one tenant.
pub const REMEMBERED_PER_TENANT_MAX: usize = 256;

/// The most answers that are remembered of all tenants.
pub const REMEMBERED_MAX: usize = 65_536;

/// How often answers that no longer hold are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// What an answer is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    /// The hash of everything else that the answer may depend on.
    pub(super) asked: [u8; 32],
}

/// The answers. A tenant's push out only others of the same tenant.
#[derive(Debug, Default)]
pub(super) struct Memory {
    by_tenant: HashMap<TenantId, HashMap<[u8; 32], Held>>,
    count: usize,
    swept_at: Duration,
}

#[derive(Debug)]
struct Held {
    decision: Decision,
    until: Duration,
}

impl Memory {
    pub(super) fn get(&self, key: &Key, now: Duration) -> Option<Decision> {
        let held = self.by_tenant.get(&key.tenant)?.get(&key.asked)?;
        (now < held.until).then(|| held.decision.clone())
    }

    pub(super) fn put(&mut self, key: &Key, decision: Decision, until: Duration, now: Duration) {
        if now.saturating_sub(self.swept_at) >= SWEEP_INTERVAL || self.count >= REMEMBERED_MAX {
            self.sweep(now);
        }
        let is_full = self.count >= REMEMBERED_MAX;
        let held = self.by_tenant.entry(key.tenant.clone()).or_default();
        let before = held.len();
        if !held.contains_key(&key.asked) && (is_full || before >= REMEMBERED_PER_TENANT_MAX) {
            // Only what the same tenant has makes room.
            let first = held.iter().min_by_key(|(_, held)| held.until);
            if let Some(first) = first.map(|(asked, _)| *asked) {
                held.remove(&first);
            }
        }
        if !is_full || held.len() < before || held.contains_key(&key.asked) {
            held.insert(key.asked, Held { decision, until });
        }
        self.count = self.count + held.len() - before;
        if held.is_empty() {
            self.by_tenant.remove(&key.tenant);
        }
    }

    fn sweep(&mut self, now: Duration) {
        self.by_tenant.retain(|_, held| {
            held.retain(|_, held| now < held.until);
            !held.is_empty()
        });
        self.count = self.by_tenant.values().map(HashMap::len).sum();
        self.swept_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: Duration = Duration::from_secs(5);

    fn key(tenant: &str, number: usize) -> Key {
        let mut asked = [0; 32];
        asked[..8].copy_from_slice(&number.to_be_bytes());
        Key {
            tenant: tenant.parse().unwrap(),
            asked,
        }
    }

    #[test]
    fn an_answer_holds_until_its_moment_and_not_at_it() {
        let mut memory = Memory::default();
        memory.put(&key("acme", 1), Decision::Allowed, UNTIL, Duration::ZERO);
        let before = UNTIL - Duration::from_nanos(1);
        assert_eq!(memory.get(&key("acme", 1), before), Some(Decision::Allowed));
        assert_eq!(memory.get(&key("acme", 1), UNTIL), None);
        assert_eq!(memory.get(&key("acme", 2), before), None);
        assert_eq!(memory.get(&key("other", 1), before), None);
    }

    #[test]
    fn a_tenant_pushes_out_only_its_own_answers() {
        let mut memory = Memory::default();
        memory.put(&key("quiet", 0), Decision::Allowed, UNTIL, Duration::ZERO);
        for number in 0..=REMEMBERED_PER_TENANT_MAX {
            let until = UNTIL + Duration::from_nanos(number as u64);
            memory.put(
                &key("busy", number),
                Decision::Allowed,
                until,
                Duration::ZERO,
            );
        }
        assert_eq!(memory.count, REMEMBERED_PER_TENANT_MAX + 1);
        assert!(memory.get(&key("quiet", 0), Duration::ZERO).is_some());
        assert!(memory.get(&key("busy", 0), Duration::ZERO).is_none());
        assert!(memory.get(&key("busy", 1), Duration::ZERO).is_some());
    }

    #[test]
    fn all_together_are_bounded_and_a_newcomer_pushes_nobody_out() {
        let mut memory = Memory::default();
        let tenants = REMEMBERED_MAX / REMEMBERED_PER_TENANT_MAX;
        for tenant in 0..tenants {
            for number in 0..REMEMBERED_PER_TENANT_MAX {
                let key = key(&format!("t{tenant}"), number);
                memory.put(&key, Decision::Allowed, UNTIL, Duration::ZERO);
            }
        }
        assert_eq!(memory.count, REMEMBERED_MAX);
        memory.put(&key("late", 0), Decision::Allowed, UNTIL, Duration::ZERO);
        assert_eq!(memory.get(&key("late", 0), Duration::ZERO), None);
        assert_eq!(
            (memory.count, memory.by_tenant.len()),
            (REMEMBERED_MAX, tenants)
        );
        memory.put(&key("t0", 9_999), Decision::Allowed, UNTIL, Duration::ZERO);
        assert!(memory.get(&key("t0", 9_999), Duration::ZERO).is_some());
        memory.put(&key("late", 0), Decision::Allowed, UNTIL * 2, UNTIL);
        assert_eq!(memory.count, 1, "what no longer holds is forgotten");
    }
}
