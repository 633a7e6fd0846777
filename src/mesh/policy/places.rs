//! How many questions are under way: bounded in all, and for each tenant by what is left.

use std::collections::HashMap;

use crate::mesh::tenant::TenantId;

/// The most questions that are under way at once, of all tenants.
pub const ASKED_AT_ONCE_MAX: usize = 256;

/// Counts the questions under way. A tenant may have as many as half of what is left, so that none takes the
/// last place from the others; one it may always have while there is any.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// One question's place, to be given back.
#[derive(Debug)]
pub(super) struct Place(TenantId);

impl Places {
    pub(super) fn take(&mut self, tenant: &TenantId) -> Option<Place> {
        let left = ASKED_AT_ONCE_MAX
            .checked_sub(self.taken)
            .filter(|&left| left > 0)?;
        let held = self.by_tenant.get(tenant).copied().unwrap_or_default();
        if held >= (left / 2).max(1) {
            return None;
        }
        self.taken += 1;
        self.by_tenant.insert(tenant.clone(), held + 1);
        Some(Place(tenant.clone()))
    }

    pub(super) fn give_back(&mut self, place: &Place) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(held) = self.by_tenant.get_mut(&place.0) {
            *held -= 1;
            if *held == 0 {
                self.by_tenant.remove(&place.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn one_tenant_leaves_places_for_others_and_all_are_given_back() {
        let mut places = Places::default();
        let greedy: Vec<_> = std::iter::from_fn(|| places.take(&tenant("greedy"))).collect();
        assert!((80..=90).contains(&greedy.len()), "{}", greedy.len());
        assert!(places.take(&tenant("other")).is_some());
        for place in &greedy {
            places.give_back(place);
        }
        assert_eq!((places.taken, places.by_tenant.len()), (1, 1));
    }

    #[test]
    fn the_last_place_is_given_and_no_further_one() {
        let mut places = Places::default();
        let mut taken = Vec::new();
        for number in 0..ASKED_AT_ONCE_MAX {
            taken.push(places.take(&tenant(&format!("t{number}"))).unwrap());
        }
        assert!(places.take(&tenant("late")).is_none());
        places.give_back(&taken[0]);
        assert!(places.take(&tenant("late")).is_some());
    }
}
