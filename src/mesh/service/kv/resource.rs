//! Values as resources: a value that is too large for an answer is read by its address.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{KvRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::address::{self, InvalidAddress};
use crate::mesh::store::bucket::ByteRange;
use crate::mesh::store::key::Scope;
use crate::mesh::store::values::ValueKey;
use crate::mesh::{Error, ErrorKind};

/// What every address begins with.
const ROOT: &str = "mesh://values/";

/// The media type of values.
pub const VALUE_TYPE: &str = "application/json";

/// The address of a value, or of a part of its JSON text (`?range=0-999`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueAddress {
    /// Whose it is.
    pub scope: Scope,
    /// Its key.
    pub key: ValueKey,
    /// The part that is wanted: bytes of the JSON text.
    pub range: Option<ByteRange>,
}

impl ValueAddress {
    /// The address of a whole value.
    pub fn new(scope: Scope, key: ValueKey) -> Self {
        Self {
            scope,
            key,
            range: None,
        }
    }
}

impl fmt::Display for ValueAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&address::write(
            ROOT,
            self.scope,
            self.key.as_str(),
            self.range,
        ))
    }
}

impl FromStr for ValueAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (scope, key, range) = address::read(ROOT, text)?;
        let key = ValueKey::parse("uri", key).map_err(|_| InvalidAddress)?;
        Ok(Self { scope, key, range })
    }
}

/// Reads one value, or a part of its JSON text.
#[derive(Debug)]
pub struct ValueRead {
    /// Which.
    pub address: ValueAddress,
}

/// What [`ValueRead`] answers.
#[derive(Debug, Serialize)]
pub struct ValueReadAnswer {
    /// The bytes asked for, of the value's JSON text.
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl Operation for ValueRead {
    const TOOL: Tool = Tool::ValuesRead;
    type Needs = KvRead;
    type Answer = ValueReadAnswer;

    fn subject(&self) -> Subject {
        super::subject(&self.address.key, self.address.scope)
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<ValueReadAnswer, Error> {
        let ValueAddress { scope, key, range } = &self.address;
        let Some(stored) = call.values(*scope).get(key, false).await? else {
            return Err(Error::new(ErrorKind::NotFound, "there is no such value")
                .fix("List the keys that there are with kv_list."));
        };
        let mut body = stored.text.into_bytes();
        if let Some(range) = range {
            body = part(body, *range)
                .ok_or_else(|| Error::invalid("uri", "the range lies outside the value"))?;
        }
        Ok(ValueReadAnswer { body })
    }

    fn report(answer: &ValueReadAnswer) -> Report {
        Report {
            bytes: Some(answer.body.len() as u64),
            facts: Vec::new(),
        }
    }
}

/// The part of `body` that `range` names; nothing where it lies outside.
fn part(mut body: Vec<u8>, range: ByteRange) -> Option<Vec<u8>> {
    let size = body.len();
    let position = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
    let (first, end) = match range {
        ByteRange::From(first, last) => {
            let end = last.map_or(size, |last| size.min(position(last).saturating_add(1)));
            (position(first), end)
        }
        ByteRange::Suffix(count) => (size.saturating_sub(position(count)), size),
    };
    if first >= end {
        return None;
    }
    body.truncate(end);
    Some(body.split_off(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_as_in_http() {
        let cut =
            |range| part(b"012345".to_vec(), range).map(|part| String::from_utf8(part).unwrap());
        assert_eq!(cut(ByteRange::From(1, Some(2))).as_deref(), Some("12"));
        assert_eq!(cut(ByteRange::From(4, Some(99))).as_deref(), Some("45"));
        assert_eq!(cut(ByteRange::From(5, None)).as_deref(), Some("5"));
        assert_eq!(cut(ByteRange::Suffix(2)).as_deref(), Some("45"));
        assert_eq!(cut(ByteRange::Suffix(u64::MAX)).as_deref(), Some("012345"));
        assert_eq!(cut(ByteRange::From(6, None)), None);
        assert_eq!(cut(ByteRange::From(u64::MAX, Some(u64::MAX))), None);
    }

    #[test]
    fn an_address_reads_back_and_takes_keys_that_no_artifact_has() {
        for key in ["a", "/a//../b", "é %2F?#", "a/b"] {
            let key = ValueKey::parse("key", key.to_owned()).unwrap();
            let address = ValueAddress::new(Scope::Tenant, key);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
