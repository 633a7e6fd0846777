//! How large and how deep what passes between states may be.

use std::io::{self, Write};

use serde_json::Value;

use super::PAYLOAD_BYTES_MAX;
use super::error::{DATA_LIMIT_EXCEEDED, StateError, StateResult};

/// How deep arrays and objects may lie in each other: what is written must be readable again.
pub(crate) const DEPTH_MAX: usize = 100;

/// Counts bytes up to a limit, and refuses to go on beyond it.
struct Counter {
    count: usize,
    limit: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.count += bytes.len();
        if self.count > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of `value` as JSON text; nothing where there are more than `limit`.
pub(super) fn size(value: &Value, limit: usize) -> Option<usize> {
    let mut counter = Counter { count: 0, limit };
    serde_json::to_writer(&mut counter, value).ok()?;
    Some(counter.count)
}

/// Whether arrays and objects in `value` lie at most `left` deep in each other.
fn is_shallow(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|item| is_shallow(item, left - 1)),
        Value::Object(members) => {
            left > 0 && members.values().all(|member| is_shallow(member, left - 1))
        }
        _ => true,
    }
}

/// Whether `value`, which is called `what`, may pass from one state to the next.
///
/// # Errors
/// `States.DataLimitExceeded` where it is larger than [`PAYLOAD_BYTES_MAX`] or deeper than [`DEPTH_MAX`].
pub(crate) fn fit(value: &Value, what: &str) -> StateResult<()> {
    if !is_shallow(value, DEPTH_MAX) {
        return Err(StateError::new(
            DATA_LIMIT_EXCEEDED,
            format!("{what} has more than {DEPTH_MAX} arrays and objects in each other"),
        ));
    }
    if size(value, PAYLOAD_BYTES_MAX).is_none() {
        return Err(StateError::new(
            DATA_LIMIT_EXCEEDED,
            format!("{what} is larger than {PAYLOAD_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}
