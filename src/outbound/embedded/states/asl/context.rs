//! The context object (`$$`) and the seed of what looks random: all that a state sees but its input.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::mesh::Timestamp;

/// An execution, as its context object names it.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    /// Its ARN.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// What it was started with.
    pub(crate) input: Value,
    /// When it was started.
    pub(crate) started_at: Timestamp,
    /// The machine's ARN.
    pub(crate) machine_id: String,
    /// The machine's name.
    pub(crate) machine_name: String,
    /// The ARN of the role that it runs as.
    pub(crate) role: String,
}

/// The context object. It is put together only where something asks for it: most states do not, and an
/// execution's input may be large.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    execution: Arc<Value>,
    /// The members that change from state to state.
    others: BTreeMap<&'static str, Arc<Value>>,
    whole: OnceLock<Value>,
}

impl Context {
    /// That of an execution that has entered no state yet.
    pub(crate) fn new(execution: &Execution) -> Self {
        let of_execution = json!({
            "Id": execution.id,
            "Input": execution.input,
            "StartTime": execution.started_at.to_string(),
            "Name": execution.name,
            "RoleArn": execution.role,
            "RedriveCount": 0,
        });
        let machine = json!({"Id": execution.machine_id, "Name": execution.machine_name});
        Self {
            execution: Arc::new(of_execution),
            others: BTreeMap::from([("StateMachine", Arc::new(machine))]),
            whole: OnceLock::new(),
        }
    }

    /// This one, in a state that was entered then and has been tried again so often.
    #[must_use]
    pub(crate) fn enter(&self, state: &str, entered_at: Timestamp, retries: u64) -> Self {
        self.with(
            "State",
            json!({"Name": state, "EnteredTime": entered_at.to_string(), "RetryCount": retries}),
        )
    }

    /// This one, for the item of a Map at that place.
    #[must_use]
    pub(crate) fn item(&self, index: usize, value: Value) -> Self {
        self.with("Map", json!({"Item": {"Index": index, "Value": value}}))
    }

    /// As JSON.
    pub(crate) fn value(&self) -> &Value {
        self.whole.get_or_init(|| {
            let mut members = Map::new();
            members.insert("Execution".to_owned(), Value::clone(&self.execution));
            for (name, value) in &self.others {
                members.insert((*name).to_owned(), Value::clone(value));
            }
            Value::Object(members)
        })
    }

    fn with(&self, name: &'static str, value: Value) -> Self {
        let mut others = self.others.clone();
        others.insert(name, Arc::new(value));
        Self {
            execution: Arc::clone(&self.execution),
            others,
            whole: OnceLock::new(),
        }
    }
}

/// Numbers that look random and are the same for the same seed.
///
/// The interpreter makes the seed from something secret of the execution and the step, so that a step that
/// is taken again after a crash draws the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Entropy {
    key: [u8; 32],
    drawn: u64,
}

impl Entropy {
    /// The numbers of a seed.
    pub(crate) fn new(seed: &[u8]) -> Self {
        Self {
            key: Sha256::digest(seed).into(),
            drawn: 0,
        }
    }

    /// The next 16 bytes.
    pub(super) fn bytes(&mut self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(self.drawn.to_be_bytes());
        self.drawn = self.drawn.wrapping_add(1);
        let mut bytes = [0; 16];
        for (byte, drawn) in bytes.iter_mut().zip(hash.finalize()) {
            *byte = drawn;
        }
        bytes
    }

    /// The next number below `limit`; zero where that is zero.
    pub(super) fn below(&mut self, limit: u128) -> u128 {
        // The remainder of 128 bits by at most 64 is as good as even.
        u128::from_be_bytes(self.bytes())
            .checked_rem(limit)
            .unwrap_or(0)
    }

    /// The next number from 0 to before 1.
    pub(super) fn fraction(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }
}

/// What templates are evaluated in.
#[derive(Debug)]
pub(crate) struct Scope<'s> {
    /// The context object.
    pub(crate) context: &'s Context,
    /// Where `States.UUID` and `States.MathRandom` draw from.
    pub(crate) entropy: &'s mut Entropy,
}

impl<'s> Scope<'s> {
    /// Both.
    pub(crate) fn new(context: &'s Context, entropy: &'s mut Entropy) -> Self {
        Self { context, entropy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context::new(&Execution {
            id: "id".to_owned(),
            name: "run".to_owned(),
            input: json!({"a": 1}),
            started_at: Timestamp::from_seconds(0),
            machine_id: "machine id".to_owned(),
            machine_name: "machine".to_owned(),
            role: "role".to_owned(),
        })
    }

    #[test]
    fn a_context_tells_of_execution_machine_state_and_item() {
        let time = Timestamp::from_millis(1500);
        let outer = context().enter("Outer", time, 2).item(0, json!("outer"));
        let inner = outer.item(1, json!({"b": 2})).enter("Inner", time, 0);
        assert_eq!(inner.value()["Execution"]["Input"], json!({"a": 1}));
        assert_eq!(
            inner.value()["StateMachine"],
            json!({"Id": "machine id", "Name": "machine"})
        );
        assert_eq!(
            inner.value()["Map"]["Item"],
            json!({"Index": 1, "Value": {"b": 2}})
        );
        let state =
            json!({"Name": "Inner", "EnteredTime": "1970-01-01T00:00:01.500Z", "RetryCount": 0});
        assert_eq!(inner.value()["State"], state);
        assert_eq!(outer.value()["State"]["RetryCount"], 2);
        assert_eq!(outer.value()["Map"]["Item"]["Value"], "outer");
        assert_eq!(context().value().get("State"), None);
    }

    #[test]
    fn numbers_are_those_of_their_seed_and_spread_evenly() {
        let draw = |seed: &[u8]| {
            let mut entropy = Entropy::new(seed);
            (0..1000).map(|_| entropy.below(10)).collect::<Vec<_>>()
        };
        let drawn = draw(b"one");
        assert_eq!(drawn, draw(b"one"));
        assert_ne!(drawn, draw(b"two"));
        for digit in 0..10 {
            let count = drawn.iter().filter(|found| **found == digit).count();
            assert!((60..140).contains(&count), "{digit} came {count} times");
        }
        let mut entropy = Entropy::new(b"one");
        assert_eq!(entropy.below(0), 0);
        assert!((0..100).all(|_| (0.0..1.0).contains(&entropy.fraction())));
    }
}
