//! Fails because no tenant's context can be made up: only the resolver makes one.

use agent_mesh::mesh::tenant::{Limits, TenantContext};

fn made_up<T: Default>() -> T {
    T::default()
}

fn main() {
    let _: TenantContext = made_up();
    let _: Limits = made_up();
}
