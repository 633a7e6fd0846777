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
    connections: usize,
    children: usize,
    of_tenants: HashMap<TenantId, u32>,
}

/// Which bound left no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The tenant's children.
    Tenant,
    /// All children.
    Children,
    /// All connections.
    Connections,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    census: Arc<Census>,
    child_of: Option<TenantId>,
}

impl Census {
    /// A place for a connection; `child_of` has the tenant and how many children it may have, if it is a child.
    pub(super) fn take(
        self: &Arc<Self>,
        child_of: Option<(&TenantId, u32)>,
        settings: &PoolSettings,
    ) -> Result<Place, Full> {
        let mut counts = self.lock();
        if let Some((tenant, children_max)) = child_of {
            let held = counts.of_tenants.get(tenant).copied().unwrap_or_default();
            if held >= children_max {
                return Err(Full::Tenant);
            }
            if counts.children >= settings.children_max {
                return Err(Full::Children);
            }
        }
        if counts.connections >= settings.connections_max {
            return Err(Full::Connections);
        }
        counts.connections += 1;
        if let Some((tenant, _)) = child_of {
            counts.children += 1;
            *counts.of_tenants.entry(tenant.clone()).or_default() += 1;
        }
        Ok(Place {
            census: self.clone(),
            child_of: child_of.map(|(tenant, _)| tenant.clone()),
        })
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.lock().connections
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.census.lock();
        counts.connections -= 1;
        if let Some(tenant) = &self.child_of {
            counts.children -= 1;
            if let Some(held) = counts.of_tenants.get_mut(tenant) {
                *held -= 1;
                if *held == 0 {
                    counts.of_tenants.remove(tenant);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_holds_and_a_place_comes_back() {
        let settings = PoolSettings {
            children_max: 3,
            connections_max: 4,
            ..PoolSettings::default()
        };
        let (a, b): (TenantId, TenantId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let census = Arc::new(Census::default());
        let first = census.take(Some((&a, 2)), &settings).unwrap();
        let _second = census.take(Some((&a, 2)), &settings).unwrap();
        assert_eq!(
            census.take(Some((&a, 2)), &settings).unwrap_err(),
            Full::Tenant
        );
        let _third = census.take(Some((&b, 2)), &settings).unwrap();
        assert_eq!(
            census.take(Some((&b, 2)), &settings).unwrap_err(),
            Full::Children
        );
        let remote = census.take(None, &settings).unwrap();
        assert_eq!(census.take(None, &settings).unwrap_err(), Full::Connections);
        drop(first);
        census.take(Some((&a, 2)), &settings).unwrap();
        drop(remote);
        assert_eq!(census.connections(), 2);
    }
}
