//! Fails because an answer is made only from the call whose event has been recorded.

use agent_mesh::mesh::Error;
use agent_mesh::mesh::call::Answer;
use agent_mesh::mesh::call::stage::Begun;
use agent_mesh::mesh::service::kv::{KvGet, KvGetAnswer};

fn answer(begun: Begun<'_, KvGet>, outcome: Result<KvGetAnswer, Error>) -> Answer<KvGetAnswer> {
    let _ = &begun;
    outcome
}

fn main() {
    let _ = answer;
}
