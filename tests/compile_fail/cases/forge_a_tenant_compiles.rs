//! Compiles because there being no context is no context.

use agent_mesh::mesh::tenant::{Limits, TenantContext};

fn made_up<T: Default>() -> T {
    T::default()
}

fn main() {
    let _: Option<TenantContext> = made_up();
    let _: Limits = made_up();
}
