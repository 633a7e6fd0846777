//! Compiles because there being no run's identity is no identity.

use agent_mesh::mesh::tenant::{Presented, RunIdentity};

fn made_up<T: Default>() -> T {
    T::default()
}

fn main() {
    let _: Option<RunIdentity> = made_up();
    let _: Presented = made_up();
}
