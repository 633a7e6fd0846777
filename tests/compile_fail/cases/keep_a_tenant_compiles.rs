//! Compiles because an id may be copied: it opens nothing.

use agent_mesh::mesh::tenant::TenantContext;

fn copy<T: Clone>(value: &T) -> T {
    value.clone()
}

fn keep(context: &TenantContext) {
    let _ = copy(context.tenant_id());
}

fn main() {
    let _ = keep;
}
