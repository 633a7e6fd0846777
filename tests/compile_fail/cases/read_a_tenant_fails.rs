//! Fails because no tenant's context can be read from what a client sends.

use agent_mesh::mesh::tenant::{TenantContext, TenantId};

fn read<T: for<'text> serde::Deserialize<'text>>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn main() {
    let _: Option<TenantContext> = read("\"acme\"");
    let _: Option<TenantId> = read("\"acme\"");
}
