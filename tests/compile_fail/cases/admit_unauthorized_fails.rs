//! Fails because only a call that the operator's policy does not stand against is admitted.

use agent_mesh::mesh::call::stage::{Authorized, Judged};
use agent_mesh::mesh::service::kv::KvGet;

fn admit(judged: Judged<'_, KvGet>, authorized: Authorized<'_, KvGet>) {
    let _ = (&judged, &authorized);
    let _ = Authorized::admit(judged);
}

fn main() {
    let _ = admit;
}
