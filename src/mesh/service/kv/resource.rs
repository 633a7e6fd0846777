//! Values as resources: a value that is too large for an answer is read by its address.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{KvRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::address::{Address, Addressed, cut};
use crate::mesh::store::values::ValueKey;
use crate::mesh::{Error, ErrorKind};

/// The media type of values.
pub const VALUE_TYPE: &str = "application/json";

/// The address of a value; a range is one of bytes of its JSON text.
pub type ValueAddress = Address<ValueKey>;

impl Addressed for ValueKey {
    const ROOT: &'static str = "mesh://values/";

    fn of(text: String) -> Option<Self> {
        Self::parse("uri", text).ok()
    }

    fn text(&self) -> &str {
        self.as_str()
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
            body = cut(body, *range)
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
