//! Amazon States Language with JSONPath: read once and checked as a whole, then evaluated step by step.
//!
//! Nothing here does input or output, knows the time or draws random numbers of its own: the interpreter
//! brings the [`Context`] and an [`Entropy`] whose seed it keeps with the step, so that a step taken again
//! after a crash comes out the same.

pub(crate) mod context;
mod cursor;
mod document;
pub(crate) mod error;
pub(crate) mod flaw;
mod glob;
mod intrinsic;
mod json;
pub(crate) mod machine;
mod meter;
mod path;
pub(crate) mod payload;
mod read;
pub(crate) mod resource;
pub(crate) mod retry;
mod rule;
pub(crate) mod step;
mod template;
mod time;

pub(crate) use context::{Context, Entropy, Execution, Scope};
pub(crate) use error::{StateError, StateResult};
pub(crate) use flaw::Flaw;
pub(crate) use machine::{Branches, Flow, Kind, Machine, Map, State, Task, Then};
pub(crate) use payload::fit;
pub(crate) use resource::{DynamoDbAction, Resource};
pub(crate) use retry::{find_catcher, find_retrier};
pub(crate) use step::Pause;

/// The largest definition, in bytes.
pub(crate) const DEFINITION_BYTES_MAX: usize = 1 << 20;

/// The largest input or output of a state, in bytes of JSON text.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// The longest name of a state, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 80;

/// How deep Parallel and Map states may lie in each other.
pub(crate) const FLOW_DEPTH_MAX: usize = 16;

/// The most seconds that anything may take or wait: a little more than three years.
pub(crate) const SECONDS_MAX: u64 = 99_999_999;
