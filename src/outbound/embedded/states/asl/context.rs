//! The context object (`$$`) and the seed of what looks random: all that a state sees but its input.

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

/// The context object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Context(Value);

impl Context {
    /// That of an execution that has entered no state yet.
    pub(crate) fn new(execution: &Execution) -> Self {
        Self(json!({
            "Execution": {
                "Id": execution.id,
                "Input": execution.input,
                "StartTime": execution.started_at.to_string(),
                "Name": execution.name,
                "RoleArn": execution.role,
                "RedriveCount": 0,
            },
            "StateMachine": {"Id": execution.machine_id, "Name": execution.machine_name},
        }))
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
        &self.0
    }

    fn with(&self, name: &str, value: Value) -> Self {
        let mut members = match &self.0 {
            Value::Object(members) => members.clone(),
            _ => Map::new(),
        };
        members.insert(name.to_owned(), value);
        Self(Value::Object(members))
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
