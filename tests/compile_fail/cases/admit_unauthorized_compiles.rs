//! Compiles because the call has been authorized.

use agent_mesh::mesh::call::stage::{Authorized, Judged};
use agent_mesh::mesh::service::kv::KvGet;

fn admit(judged: Judged<'_, KvGet>, authorized: Authorized<'_, KvGet>) {
    let _ = (&judged, &authorized);
    let _ = Authorized::admit(authorized);
}

fn main() {
    let _ = admit;
}
