//! Pages of keys, in the order of their UTF-8, with what they have in common up to a delimiter.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::params;

use super::{Fault, ObjectStore};
use crate::mesh::Timestamp;

/// The most keys and common prefixes of one page.
pub(super) const PAGE_MAX: usize = 1000;

/// The first byte of a continuation token: the version of what follows.
const TOKEN_VERSION: u8 = 1;

/// Which keys to list.
#[derive(Clone, Debug, Default)]
pub(in crate::outbound::embedded) struct Asked {
    pub(in crate::outbound::embedded) prefix: String,
    pub(in crate::outbound::embedded) delimiter: String,
    /// Only keys after this one.
    pub(in crate::outbound::embedded) after: Option<String>,
    /// Where a page before ended.
    pub(in crate::outbound::embedded) token: Option<String>,
    pub(in crate::outbound::embedded) most: usize,
}

/// An object in a listing.
#[derive(Clone, Debug)]
pub(in crate::outbound::embedded) struct Listed {
    pub(in crate::outbound::embedded) key: String,
    pub(in crate::outbound::embedded) size: i64,
    pub(in crate::outbound::embedded) etag: String,
    pub(in crate::outbound::embedded) modified: Timestamp,
}

/// One page.
#[derive(Clone, Debug, Default)]
pub(in crate::outbound::embedded) struct Listing {
    pub(in crate::outbound::embedded) objects: Vec<Listed>,
    pub(in crate::outbound::embedded) prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub(in crate::outbound::embedded) next: Option<String>,
}

impl Listing {
    fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

impl ObjectStore {
    /// One page of the keys of `bucket`.
    pub(in crate::outbound::embedded) fn list(
        &self,
        bucket: &str,
        asked: &Asked,
    ) -> Result<Listing, Fault> {
        self.require_bucket(bucket)?;
        let most = asked.most.min(PAGE_MAX);
        let mut from = first(asked)?;
        let mut page = Listing::default();
        if most == 0 {
            return Ok(page);
        }
        loop {
            // One more than fits tells whether there is a next page.
            let wanted = most + 1 - page.len();
            let rows = self.rows(bucket, &asked.prefix, &from, wanted)?;
            let ended = rows.len() < wanted;
            let mut skipped = None;
            for row in rows {
                if page.len() == most {
                    page.next = Some(token(row.key.as_bytes()));
                    return Ok(page);
                }
                match common_prefix(&row.key, asked) {
                    None => page.objects.push(row),
                    Some(prefix) => {
                        let next = successor(prefix.as_bytes());
                        page.prefixes.push(prefix);
                        skipped = Some(next);
                        break;
                    }
                }
            }
            match skipped {
                // The rest of these rows may share the prefix: go on behind all that do.
                Some(Some(next)) => from = next,
                Some(None) => return Ok(page),
                None if ended => return Ok(page),
                None => match page.objects.last() {
                    Some(last) => from = just_after(last.key.as_bytes()),
                    None => return Ok(page),
                },
            }
        }
    }

    fn rows(
        &self,
        bucket: &str,
        prefix: &str,
        from: &[u8],
        most: usize,
    ) -> Result<Vec<Listed>, Fault> {
        let from = from.max(prefix.as_bytes());
        let end = successor(prefix.as_bytes());
        self.index.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT key, size, etag, modified_ms FROM objects
                     WHERE bucket = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3)
                     ORDER BY key LIMIT ?4",
                )?
                .query_map(params![bucket, from, end, most], |row| {
                    let key: Vec<u8> = row.get(0)?;
                    Ok(Listed {
                        key: String::from_utf8_lossy(&key).into_owned(),
                        size: row.get(1)?,
                        etag: row.get(2)?,
                        modified: Timestamp::from_millis(row.get(3)?),
                    })
                })?
                .collect()
        })
    }
}

/// Where the page begins.
fn first(asked: &Asked) -> Result<Vec<u8>, Fault> {
    if let Some(token) = &asked.token {
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| Fault::InvalidToken)?;
        return match bytes.split_first() {
            Some((&TOKEN_VERSION, from)) => Ok(from.to_vec()),
            _ => Err(Fault::InvalidToken),
        };
    }
    let Some(after) = &asked.after else {
        return Ok(Vec::new());
    };
    // A key within a common prefix stands for the whole of it, which S3 then does not show again.
    match common_prefix(after, asked) {
        Some(prefix) if after.starts_with(&asked.prefix) => {
            Ok(successor(prefix.as_bytes()).unwrap_or_else(|| just_after(after.as_bytes())))
        }
        _ => Ok(just_after(after.as_bytes())),
    }
}

fn token(from: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(from.len() + 1);
    bytes.push(TOKEN_VERSION);
    bytes.extend_from_slice(from);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn common_prefix(key: &str, asked: &Asked) -> Option<String> {
    if asked.delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(asked.prefix.as_str())?;
    let at = rest.find(asked.delimiter.as_str())?;
    let end = asked.prefix.len() + at + asked.delimiter.len();
    key.get(..end).map(str::to_owned)
}

/// The least bytes after all that begin with `prefix`; none where there are no such.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

fn just_after(key: &[u8]) -> Vec<u8> {
    let mut bytes = key.to_vec();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_is_after_everything_with_the_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(&[b'a', 0xff, 0xff]), Some(b"b".to_vec()));
        assert_eq!(successor(&[0xff]), None);
        assert_eq!(successor(b""), None);
    }

    #[test]
    fn a_token_of_another_version_is_refused() {
        let asked = |token: String| Asked {
            token: Some(token),
            ..Asked::default()
        };
        assert_eq!(first(&asked(token(b"k"))).unwrap(), b"k");
        for wrong in ["", "!", &URL_SAFE_NO_PAD.encode([2, b'k'])] {
            assert!(matches!(
                first(&asked(wrong.to_owned())),
                Err(Fault::InvalidToken)
            ));
        }
    }
}
