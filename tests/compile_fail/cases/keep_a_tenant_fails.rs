//! Fails because a tenant's context cannot be copied to be used for a later request.

use agent_mesh::mesh::tenant::TenantContext;

fn copy<T: Clone>(value: &T) -> T {
    value.clone()
}

fn keep(context: &TenantContext) {
    let _ = copy(context);
}

fn main() {
    let _ = keep;
}
