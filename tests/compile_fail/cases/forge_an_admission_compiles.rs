//! Compiles because there being no admission is no admission.

use agent_mesh::mesh::limit::{Admission, Limiter};

fn made_up<T: Default>() -> T {
    T::default()
}

fn main() {
    let _: Option<Admission> = made_up();
    let _: Limiter = made_up();
}
