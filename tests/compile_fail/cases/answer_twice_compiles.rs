//! Compiles because each call is answered once.

use agent_mesh::mesh::Error;
use agent_mesh::mesh::call::Answer;
use agent_mesh::mesh::call::stage::Begun;
use agent_mesh::mesh::service::kv::{KvGet, KvGetAnswer};

fn answer(begun: Begun<'_, KvGet>, _other: Begun<'_, KvGet>) -> [Answer<KvGetAnswer>; 2] {
    let first = begun.publish(Err(Error::internal("first")));
    let second = _other.publish(Err(Error::internal("second")));
    [first, second]
}

fn main() {
    let _ = answer;
}
