//! Fails because no admission can be made up: only the limiter admits.

use agent_mesh::mesh::limit::{Admission, Limiter};

fn made_up<T: Default>() -> T {
    T::default()
}

fn main() {
    let _: Admission = made_up();
    let _: Limiter = made_up();
}
