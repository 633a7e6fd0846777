//! Fails because an operation does only what the permission it declared allows.

use agent_mesh::mesh::call::grant::Granted;
use agent_mesh::mesh::service::kv::{KvDelete, KvGet};
use agent_mesh::mesh::store::key::Scope;
use agent_mesh::mesh::store::values::{ValueCondition, ValueKey};

fn delete(reading: &Granted<'_, KvGet>, deleting: &Granted<'_, KvDelete>, key: &ValueKey) {
    let _ = (reading, deleting);
    let values = reading.values(Scope::User);
    drop(values.delete(key, ValueCondition::Always));
}

fn main() {
    let _ = delete;
}
