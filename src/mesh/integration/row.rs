//! Integrations, connections and pins as rows of the table, and back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use ulid::Ulid;

use super::definition::Definition;
use super::id::{ConnectionId, ServiceId};
use super::pin::PinHash;
use super::tools::is_tool_name;
use crate::mesh::store::table::{Row, VERSION_ATTRIBUTE};
use crate::mesh::tenant::UserId;
use crate::mesh::upstream::Era;
use crate::mesh::{Error, Timestamp};

const ID: &str = "id";
const DEFINITION: &str = "definition";
const LEAVING: &str = "leaving";
const CREATED_AT: &str = "created_at";
const CREATED_BY: &str = "created_by";
const REVISION: &str = "revision";
const SETTINGS: &str = "settings";
const CREDENTIALS: &str = "credentials";
const PENDING: &str = "pending";
const ATTEMPT_AT: &str = "attempt_at";
const SERVER: &str = "server";
const SERVER_VERSION: &str = "server_version";
const PROTOCOL: &str = "protocol";
const ERA: &str = "era";
const TOOLS: &str = "tools";
const APPROVED: &str = "approved";
const APPROVED_BY: &str = "approved_by";
const HELD: &str = "held";
const HELD_DEFINITION: &str = "held_definition";
const HELD_SINCE: &str = "held_since";

/// How long an attempt to connect counts as under way. It writes its credentials within a third of that, so that
/// from then on there are none to come that nobody would know of.
pub const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(60);

/// The most definitions of one tool that are approved at the same time: users may have servers of different
/// versions.
pub const APPROVED_MAX: usize = 8;

/// An integration that a tenant has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What was registered.
    pub definition: Definition,
    /// New with each registration: rows that an earlier one of the name has left count for nothing.
    pub id: Ulid,
    /// It is being removed: it can no longer be used, and its id not be registered before that has ended.
    pub leaving: bool,
    /// When it was registered.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: UserId,
    /// The version of its row, which a change of it must find.
    pub version: String,
}

/// A user's connection to an integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The integration.
    pub service: ServiceId,
    /// Whose it is.
    pub user: UserId,
    /// Which of the user's.
    pub connection: ConnectionId,
    /// The id of the registration that it belongs to.
    pub of: Ulid,
    /// New with each `integration_connect`.
    pub revision: Ulid,
    /// What fills a template's slots.
    pub settings: BTreeMap<String, String>,
    /// Where the secret store has its credentials, if there are any.
    pub credentials: Option<SecretSlot>,
    /// It is being made for the first time, and is none before that has ended.
    pub pending: bool,
    /// Since when a call is about to replace the credentials, whose secrets there may be in the other slot.
    pub attempt_at: Option<Timestamp>,
    /// Who the server said it is.
    pub server: ServerSeen,
    /// Its tools when they were last listed, by their names, and what they said.
    pub tools: Vec<(Arc<str>, PinHash)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The version of its row.
    pub version: String,
}

/// Which of the two secrets of a connection: new credentials are put where the old ones are not, and count from the
/// moment on when the row says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretSlot {
    /// The first.
    First,
    /// The second.
    Second,
}

/// Who a server said it is when it was last spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSeen {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The revision that was agreed on.
    pub protocol_version: String,
    /// The handshake that it knows.
    pub era: Option<Era>,
}

/// What is pinned of a tool.
#[derive(Clone, Debug)]
pub struct Pin {
    /// The integration.
    pub service: ServiceId,
    /// The tool.
    pub tool: Arc<str>,
    /// The id of the registration that it belongs to.
    pub of: Ulid,
    /// The definitions that may be used, the newest first; there is one at least.
    pub approved: Vec<PinHash>,
    /// The text of the newest, where there was room for it.
    pub definition: Option<Arc<RawValue>>,
    /// What the tool was last seen to say instead.
    pub held: Option<Held>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// Who has approved the newest definition; nobody where it is the first.
    pub approved_by: Option<UserId>,
    /// The version of its row.
    pub version: String,
}

/// A definition that is not approved.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its hash.
    pub hash: PinHash,
    /// Its text, where there was room for it.
    pub definition: Option<Arc<RawValue>>,
    /// Since when.
    pub since: Timestamp,
}

/// A version for a row that is about to be written: new each time, so that a lost answer to a write can be
/// told from another's write.
pub fn new_version() -> String {
    Ulid::generate().to_string()
}

impl Registered {
    /// The row.
    ///
    /// # Errors
    /// `INTERNAL` where the definition is no JSON.
    pub(in crate::mesh) fn to_row(&self) -> Result<Row, Error> {
        let definition = serde_json::to_string(&self.definition)
            .map_err(|error| Error::internal("a definition is no JSON").caused_by(error))?;
        let row = begin(&self.version, self.id, self.created_at)
            .with_text(DEFINITION, definition)
            .with_text(CREATED_BY, self.created_by.as_str());
        Ok(match self.leaving {
            true => row.with_number(LEAVING, 1),
            false => row,
        })
    }

    /// The integration in the row under `sort`.
    ///
    /// # Errors
    /// `INTERNAL` where the row is no integration's.
    pub(in crate::mesh) fn of_row(sort: &str, row: &Row) -> Result<Self, Error> {
        let read = Reading { sort, row };
        let definition: Definition = serde_json::from_str(&read.text(DEFINITION)?)
            .map_err(|error| read.wrong(DEFINITION).caused_by(error))?;
        Ok(Self {
            definition,
            id: read.id()?,
            leaving: row.number(LEAVING).is_some(),
            created_at: read.created_at()?,
            created_by: read.parse(CREATED_BY)?,
            version: read.text(VERSION_ATTRIBUTE)?,
        })
    }
}

impl SecretSlot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The one that is not `used`.
    pub const fn beside(used: Option<Self>) -> Self {
        match used {
            Some(Self::First) => Self::Second,
            Some(Self::Second) | None => Self::First,
        }
    }

    const fn number(slot: Option<Self>) -> i64 {
        match slot {
            None => 0,
            Some(Self::First) => 1,
            Some(Self::Second) => 2,
        }
    }

    fn of_number(number: Option<i64>) -> Option<Self> {
        let of_number = |slot: &Self| number == Some(Self::number(Some(*slot)));
        Self::ALL.into_iter().find(of_number)
    }
}

impl Connected {
    /// Whether a call is replacing it at `now`.
    pub fn is_attempted(&self, now: Timestamp) -> bool {
        let max = i64::try_from(ATTEMPT_TIME_MAX.as_millis()).unwrap_or(i64::MAX);
        self.attempt_at.is_some_and(|at| {
            let age = now.as_millis().saturating_sub(at.as_millis());
            age.saturating_abs() < max
        })
    }

    /// The row.
    ///
    /// # Errors
    /// `INTERNAL` where the settings are no JSON.
    pub(in crate::mesh) fn to_row(&self) -> Result<Row, Error> {
        let settings = serde_json::to_string(&self.settings)
            .map_err(|error| Error::internal("settings are no JSON").caused_by(error))?;
        let mut tools = String::new();
        for (name, hash) in &self.tools {
            let _ = writeln!(tools, "{name} {hash}");
        }
        let ServerSeen {
            name,
            version,
            protocol_version,
            era,
        } = &self.server;
        let row = begin(&self.version, self.of, self.created_at)
            .with_text(REVISION, self.revision.to_string())
            .with_text(SETTINGS, settings)
            .with_number(CREDENTIALS, SecretSlot::number(self.credentials))
            .with_text(SERVER, name)
            .with_text(SERVER_VERSION, version)
            .with_text(PROTOCOL, protocol_version)
            .with_text(TOOLS, tools);
        let row = match era {
            Some(Era::Sessions) => row.with_text(ERA, "sessions"),
            Some(Era::Stateless) => row.with_text(ERA, "stateless"),
            None => row,
        };
        let row = match self.attempt_at {
            Some(at) => row.with_number(ATTEMPT_AT, at.as_millis()),
            None => row,
        };
        Ok(match self.pending {
            true => row.with_number(PENDING, 1),
            false => row,
        })
    }

    /// The connection in the row under `sort`, of which `id` is all behind the prefix.
    ///
    /// # Errors
    /// `INTERNAL` where the row is no connection's.
    pub(in crate::mesh) fn of_row(sort: &str, id: &str, row: &Row) -> Result<Self, Error> {
        let read = Reading { sort, row };
        let mut parts = id.splitn(3, '#');
        let mut part = || parts.next().unwrap_or_default();
        let (service, user, connection) = (part(), part(), part());
        let settings = serde_json::from_str(&read.text(SETTINGS)?)
            .map_err(|error| read.wrong(SETTINGS).caused_by(error))?;
        let tools = read.text(TOOLS)?;
        let tools: Option<Vec<_>> = tools.lines().map(read_tool).collect();
        Ok(Self {
            service: service.parse().map_err(|_| read.wrong("service"))?,
            user: user.parse().map_err(|_| read.wrong("user"))?,
            connection: connection.parse().map_err(|_| read.wrong("connection"))?,
            of: read.id()?,
            revision: read.parse(REVISION)?,
            settings,
            credentials: SecretSlot::of_number(row.number(CREDENTIALS)),
            pending: row.number(PENDING).is_some(),
            attempt_at: row.number(ATTEMPT_AT).map(Timestamp::from_millis),
            server: ServerSeen {
                name: read.text(SERVER)?,
                version: read.text(SERVER_VERSION)?,
                protocol_version: read.text(PROTOCOL)?,
                era: match row.text(ERA) {
                    Some("sessions") => Some(Era::Sessions),
                    Some("stateless") => Some(Era::Stateless),
                    _ => None,
                },
            },
            tools: tools.ok_or_else(|| read.wrong(TOOLS))?,
            created_at: read.created_at()?,
            version: read.text(VERSION_ATTRIBUTE)?,
        })
    }
}

impl Pin {
    /// The row.
    pub(in crate::mesh) fn to_row(&self) -> Row {
        let approved: Vec<_> = self.approved.iter().map(ToString::to_string).collect();
        let mut row =
            begin(&self.version, self.of, self.created_at).with_text(APPROVED, approved.join(" "));
        if let Some(definition) = &self.definition {
            row = row.with_text(DEFINITION, definition.get());
        }
        if let Some(user) = &self.approved_by {
            row = row.with_text(APPROVED_BY, user.as_str());
        }
        if let Some(held) = &self.held {
            row = row
                .with_text(HELD, held.hash.to_string())
                .with_number(HELD_SINCE, held.since.as_millis());
            if let Some(definition) = &held.definition {
                row = row.with_text(HELD_DEFINITION, definition.get());
            }
        }
        row
    }

    /// The pin in the row under `sort`, of which `id` is all behind the prefix.
    ///
    /// # Errors
    /// `INTERNAL` where the row is no pin's.
    pub(in crate::mesh) fn of_row(sort: &str, id: &str, row: &Row) -> Result<Self, Error> {
        let read = Reading { sort, row };
        let (service, tool) = id.split_once('#').unwrap_or_default();
        if !is_tool_name(tool) {
            return Err(read.wrong("tool"));
        }
        let approved = read.text(APPROVED)?;
        let approved: Result<Vec<PinHash>, _> = approved.split(' ').map(str::parse).collect();
        let held = match row.text(HELD) {
            None => None,
            Some(hash) => Some(Held {
                hash: hash.parse().map_err(|_| read.wrong(HELD))?,
                definition: read.json(HELD_DEFINITION)?,
                since: Timestamp::from_millis(row.number(HELD_SINCE).unwrap_or_default()),
            }),
        };
        Ok(Self {
            service: service.parse().map_err(|_| read.wrong("service"))?,
            tool: tool.into(),
            of: read.id()?,
            approved: approved.map_err(|_| read.wrong(APPROVED))?,
            definition: read.json(DEFINITION)?,
            held,
            created_at: read.created_at()?,
            approved_by: match row.text(APPROVED_BY) {
                Some(_) => Some(read.parse(APPROVED_BY)?),
                None => None,
            },
            version: read.text(VERSION_ATTRIBUTE)?,
        })
    }

    /// Whether a tool that says what `hash` is of may be used.
    pub fn approves(&self, hash: PinHash) -> bool {
        self.approved.contains(&hash)
    }

    /// The same with `held` approved by `user`.
    #[must_use]
    pub fn approving(&self, held: &Held, user: &UserId) -> Self {
        let mut approved = vec![held.hash];
        approved.extend(self.approved.iter().filter(|hash| **hash != held.hash));
        approved.truncate(APPROVED_MAX);
        Self {
            approved,
            definition: held.definition.clone(),
            held: None,
            approved_by: Some(user.clone()),
            version: new_version(),
            ..self.clone()
        }
    }

    /// About how many bytes its texts have.
    pub fn text_bytes(&self) -> usize {
        let of = |definition: &Option<Arc<RawValue>>| {
            definition.as_ref().map_or(0, |text| text.get().len())
        };
        of(&self.definition) + self.held.as_ref().map_or(0, |held| of(&held.definition))
    }
}

fn read_tool(line: &str) -> Option<(Arc<str>, PinHash)> {
    let (name, hash) = line.split_once(' ')?;
    let hash = hash.parse().ok()?;
    is_tool_name(name).then(|| (name.into(), hash))
}

fn begin(version: &str, id: Ulid, created_at: Timestamp) -> Row {
    Row::new()
        .with_text(VERSION_ATTRIBUTE, version)
        .with_text(ID, id.to_string())
        .with_number(CREATED_AT, created_at.as_millis())
}

struct Reading<'row> {
    sort: &'row str,
    row: &'row Row,
}

impl Reading<'_> {
    /// The log names the row, never what is in it.
    fn wrong(&self, attribute: &str) -> Error {
        let sort = self.sort;
        Error::internal(format!("the row `{sort}` has no sound `{attribute}`"))
    }

    fn text(&self, attribute: &str) -> Result<String, Error> {
        let text = self.row.text(attribute).map(str::to_owned);
        text.ok_or_else(|| self.wrong(attribute))
    }

    fn parse<T: std::str::FromStr>(&self, attribute: &str) -> Result<T, Error> {
        self.text(attribute)?
            .parse()
            .map_err(|_| self.wrong(attribute))
    }

    fn id(&self) -> Result<Ulid, Error> {
        self.parse(ID)
    }

    fn created_at(&self) -> Result<Timestamp, Error> {
        let millis = self.row.number(CREATED_AT);
        let millis = millis.ok_or_else(|| self.wrong(CREATED_AT))?;
        Ok(Timestamp::from_millis(millis))
    }

    fn json(&self, attribute: &str) -> Result<Option<Arc<RawValue>>, Error> {
        let text = self.row.text(attribute).map(str::to_owned);
        let json = text.map(RawValue::from_string).transpose();
        let json = json.map_err(|error| self.wrong(attribute).caused_by(error))?;
        Ok(json.map(Arc::from))
    }
}

#[cfg(test)]
mod tests;
