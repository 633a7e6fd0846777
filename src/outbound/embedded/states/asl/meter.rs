//! How much one evaluation may do, so that no definition and no input keeps a worker for long.

use serde_json::Value;

use super::error::{DATA_LIMIT_EXCEEDED, StateError, StateResult};
use super::payload;

/// The most nodes that the paths of one evaluation may visit.
const STEPS_MAX: u64 = 2_000_000;

/// The most bytes of JSON text that one evaluation may copy or make, whatever of it is kept.
const BYTES_MAX: usize = 4 << 20;

/// What is left to one evaluation.
#[derive(Debug)]
pub(super) struct Meter {
    steps_left: u64,
    bytes_left: usize,
}

impl Meter {
    /// A full one.
    pub(super) fn new() -> Self {
        Self {
            steps_left: STEPS_MAX,
            bytes_left: BYTES_MAX,
        }
    }

    /// Takes `count` steps.
    pub(super) fn step(&mut self, count: usize) -> StateResult<()> {
        let left = self.steps_left.checked_sub(count as u64);
        self.steps_left = left.ok_or_else(|| {
            StateError::runtime(format!(
                "the paths of this state visit more than {STEPS_MAX} nodes: use fewer '..' and filters, or a smaller input"
            ))
        })?;
        Ok(())
    }

    /// Makes `count` bytes.
    pub(super) fn make(&mut self, count: usize) -> StateResult<()> {
        let left = self.bytes_left.checked_sub(count);
        self.bytes_left = left.ok_or_else(|| {
            StateError::new(
                DATA_LIMIT_EXCEEDED,
                format!("this state puts together more than {BYTES_MAX} bytes"),
            )
        })?;
        Ok(())
    }

    /// A copy of `value`, paid for.
    pub(super) fn copy(&mut self, value: &Value) -> StateResult<Value> {
        let size = payload::size(value, self.bytes_left).unwrap_or(usize::MAX);
        self.make(size)?;
        Ok(value.clone())
    }
}
