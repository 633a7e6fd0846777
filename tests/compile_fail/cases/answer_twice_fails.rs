//! Fails because a call is answered once: publishing its event uses it up.

use agent_mesh::mesh::Error;
use agent_mesh::mesh::call::Answer;
use agent_mesh::mesh::call::stage::Begun;
use agent_mesh::mesh::service::kv::{KvGet, KvGetAnswer};

fn answer(begun: Begun<'_, KvGet>, _other: Begun<'_, KvGet>) -> [Answer<KvGetAnswer>; 2] {
    let first = begun.publish(Err(Error::internal("first")));
    let second = begun.publish(Err(Error::internal("second")));
    [first, second]
}

fn main() {
    let _ = answer;
}
