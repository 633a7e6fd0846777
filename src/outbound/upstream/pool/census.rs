//! How many connections and children there are: a place is taken before one is opened and given back when it is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::settings::PoolSettings;
use crate::mesh::tenant::TenantId;

/// The places that are taken.
#[derive(Debug, Default)]
pub(super) struct Census {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Held,
    of_tenants: HashMap<TenantId, Held>,
}

/// How many places are held.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    connections: usize,
    children: usize,
}

/// Whose place it is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    /// The tenant.
    pub(super) tenant: &'a TenantId,
    /// How many children the tenant may have, if it is a child.
    pub(super) children_max: Option<usize>,
}

/// Which bound left no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The tenant's quota of children.
    Quota,
    /// The tenant's share of the connections.
    Share,
    /// All children.
    Children,
    /// All connections.
    Connections,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    census: Arc<Census>,
    tenant: TenantId,
    is_child: bool,
}

impl Held {
    fn add(&mut self, is_child: bool) {
        self.connections += 1;
        self.children += usize::from(is_child);
    }

    fn remove(&mut self, is_child: bool) {
        self.connections -= 1;
        self.children -= usize::from(is_child);
    }
}

impl Census {
    /// A place for a connection.
    pub(super) fn take(
        self: &Arc<Self>,
        claim: Claim<'_>,
        settings: &PoolSettings,
    ) -> Result<Place, Full> {
        let Claim {
            tenant,
            children_max,
        } = claim;
        let mut counts = self.lock();
        let held = counts.of_tenants.get(tenant).copied().unwrap_or_default();
        let is_child = children_max.is_some();
        if children_max.is_some_and(|max| held.children >= max) {
            return Err(Full::Quota);
        }
        if held.connections >= settings.tenant_connections_max {
            return Err(Full::Share);
        }
        if is_child && counts.all.children >= settings.children_max {
            return Err(Full::Children);
        }
        if counts.all.connections >= settings.connections_max {
            return Err(Full::Connections);
        }
        counts.all.add(is_child);
        counts
            .of_tenants
            .entry(tenant.clone())
            .or_default()
            .add(is_child);
        Ok(Place {
            census: self.clone(),
            tenant: tenant.clone(),
            is_child,
        })
    }

    /// From whom a place may be taken for `tenant`, and how many each of them holds: from those who hold more
    /// than it does, and from itself.
    pub(super) fn donors(&self, tenant: &TenantId, full: Full) -> HashMap<TenantId, usize> {
        let counts = self.lock();
        let count = |held: &Held| match full {
            Full::Quota | Full::Children => held.children,
            Full::Share | Full::Connections => held.connections,
        };
        let own = counts.of_tenants.get(tenant).map_or(0, count);
        let is_all = matches!(full, Full::Children | Full::Connections);
        let held = counts.of_tenants.iter();
        held.map(|(of, held)| (of, count(held)))
            .filter(|(of, held)| *of == tenant || (is_all && *held > own))
            .map(|(of, held)| (of.clone(), held))
            .collect()
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.lock().all.connections
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.census.lock();
        counts.all.remove(self.is_child);
        if let Some(held) = counts.of_tenants.get_mut(&self.tenant) {
            held.remove(self.is_child);
            if held.connections == 0 {
                counts.of_tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(tenant: &TenantId) -> Claim<'_> {
        Claim {
            tenant,
            children_max: Some(2),
        }
    }

    fn remote(tenant: &TenantId) -> Claim<'_> {
        Claim {
            tenant,
            children_max: None,
        }
    }

    #[test]
    fn each_bound_holds_and_a_place_comes_back() {
        let settings = PoolSettings {
            children_max: 3,
            connections_max: 5,
            tenant_connections_max: 3,
            ..PoolSettings::default()
        };
        let (a, b): (TenantId, TenantId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let census = Arc::new(Census::default());
        let take = |claim| census.take(claim, &settings);
        let first = take(child(&a)).unwrap();
        let _second = take(child(&a)).unwrap();
        assert_eq!(take(child(&a)).unwrap_err(), Full::Quota);
        let own = take(remote(&a)).unwrap();
        assert_eq!(take(remote(&a)).unwrap_err(), Full::Share);
        let _third = take(child(&b)).unwrap();
        assert_eq!(take(child(&b)).unwrap_err(), Full::Children);
        let fifth = take(remote(&b)).unwrap();
        assert_eq!(take(remote(&b)).unwrap_err(), Full::Connections);
        drop(first);
        let again = take(child(&a)).unwrap();
        drop((own, fifth, again));
        assert_eq!(census.connections(), 2);
    }

    #[test]
    fn places_are_taken_from_who_holds_more_and_from_oneself() {
        let settings = PoolSettings::default();
        let names = ["few", "own", "same", "many"];
        let tenants: Vec<TenantId> = names.iter().map(|name| name.parse().unwrap()).collect();
        let census = Arc::new(Census::default());
        let held = tenants.iter().zip([1, 2, 2, 3]);
        let places: Vec<_> = held
            .flat_map(|(tenant, count)| (0..count).map(move |_| remote(tenant)))
            .map(|claim| census.take(claim, &settings).unwrap())
            .collect();
        let own = &tenants[1];
        let donors = census.donors(own, Full::Connections);
        let expected = [(own.clone(), 2), (tenants[3].clone(), 3)];
        assert_eq!(donors, HashMap::from(expected));
        let donors = census.donors(own, Full::Share);
        assert_eq!(donors, HashMap::from([(own.clone(), 2)]));
        drop(places);
        assert!(census.donors(own, Full::Connections).is_empty());
    }
}
