//! Compiles because an id may be read: it opens nothing.

use agent_mesh::mesh::tenant::{TenantContext, TenantId};

fn read<T: for<'text> serde::Deserialize<'text>>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn main() {
    let _: Option<TenantContext> = None;
    let _: Option<TenantId> = read("\"acme\"");
}
