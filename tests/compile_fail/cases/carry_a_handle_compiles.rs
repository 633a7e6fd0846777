//! Compiles because the handle stays with its call.

use agent_mesh::mesh::call::grant::Granted;
use agent_mesh::mesh::call::operation::KvRead;
use agent_mesh::mesh::service::kv::KvGet;
use agent_mesh::mesh::store::key::Scope;
use agent_mesh::mesh::store::values::Values;

fn values_of_theirs<'mine, 'theirs>(
    mine: &Granted<'mine, KvGet>,
    theirs: &Granted<'theirs, KvGet>,
) -> Values<'theirs, KvRead> {
    let _ = (mine, theirs);
    theirs.values(Scope::Tenant)
}

fn main() {
    let _ = values_of_theirs;
}
