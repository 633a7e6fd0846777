//! Cursors: opaque text that says where a listing goes on, and for which call it was given.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version of what a cursor holds; another one opens nothing.
const VERSION: u8 = 1;

/// The longest cursor that is looked at: bytes.
const BYTES_MAX: usize = 8 * 1024;

/// A cursor that does not fit the call, was not made by this server, or is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor does not belong to this call; leave `cursor` out to start from the beginning")]
pub struct InvalidCursor;

#[derive(Serialize, Deserialize)]
struct Cursor {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "f")]
    filters: String,
    #[serde(rename = "p")]
    position: String,
}

/// A cursor to go on at `position` in a listing with these `filters`. It holds nothing of the tenant: who
/// uses it sees what is its own.
pub fn seal(position: &str, filters: &[&str]) -> String {
    let cursor = Cursor {
        version: VERSION,
        filters: hash(filters),
        position: position.to_owned(),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
}

/// The position in `cursor`, if it was given for a listing with the same `filters`.
pub fn open(cursor: &str, filters: &[&str]) -> Result<String, InvalidCursor> {
    if cursor.len() > BYTES_MAX {
        return Err(InvalidCursor);
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
    let cursor: Cursor = serde_json::from_slice(&bytes).map_err(|_| InvalidCursor)?;
    if cursor.version != VERSION || cursor.filters != hash(filters) {
        return Err(InvalidCursor);
    }
    Ok(cursor.position)
}

fn hash(filters: &[&str]) -> String {
    let mut hash = Sha256::new();
    for filter in filters {
        hash.update((filter.len() as u64).to_be_bytes());
        hash.update(filter);
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_for_the_call_it_was_given_for() {
        let cursor = seal("reports/é#1", &["kv_list", "user", "reports/"]);
        assert_eq!(
            open(&cursor, &["kv_list", "user", "reports/"]).as_deref(),
            Ok("reports/é#1")
        );
    }

    #[test]
    fn a_cursor_of_another_call_or_a_damaged_one_opens_nothing() {
        let cursor = seal("a", &["kv_list", "user", "ab", "c"]);
        for filters in [
            ["kv_list", "user", "a", "bc"],
            ["kv_list", "tenant", "ab", "c"],
        ] {
            assert_eq!(open(&cursor, &filters), Err(InvalidCursor));
        }
        for damaged in [
            "",
            "!",
            "e30",
            &cursor[..cursor.len() - 1],
            &"a".repeat(BYTES_MAX + 1),
        ] {
            assert_eq!(
                open(damaged, &["kv_list", "user", "ab", "c"]),
                Err(InvalidCursor),
                "{damaged}"
            );
        }
    }
}
