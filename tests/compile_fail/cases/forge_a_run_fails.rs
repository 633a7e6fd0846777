//! Fails because no workflow run's identity can be made up: only the mesh makes one, of a run in its rows.

use agent_mesh::mesh::tenant::{Presented, RunIdentity};

fn made_up<T: Default>() -> T {
    T::default()
}

fn main() {
    let _: RunIdentity = made_up();
    let _: Presented = made_up();
}
