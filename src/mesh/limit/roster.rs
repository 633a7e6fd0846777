//! How many rules or alerts a tenant has: a row with the name of each, entered before its own row is written.
//!
//! The names are in one row that changes only as it was read, so that no two creations take the same last
//! place: what a query counts may be older than what was just written, and a number alone could not tell
//! a creation under way from one that a crash has ended. A name stays in the row until its thing is
//! deleted. Only where a tenant would be refused are the names looked after: one whose thing is not
//! there, and whose entry is older than any call lasts, was left by a crash and gives its place back.

use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use super::quota::Quota;
use crate::mesh::store::key::{Keyspace, RowKey};
use crate::mesh::store::table::{Condition, Row, VERSION_ATTRIBUTE, WriteOutcome};
use crate::mesh::store::{Metered, Table};
use crate::mesh::{Error, ErrorKind, Timestamp};

/// The most names of one roster, whatever the quota: what fits into one row of the table.
pub const NAMES_MAX: usize = 3_500;

/// From this age on an entry without a thing was left by a crash. A call lasts at most a minute.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(180);

/// How often a change is tried anew when others change the roster at the same time.
const ROUNDS_MAX: u32 = 40;

/// The longest pause before another round.
const PAUSE_MAX: Duration = Duration::from_millis(40);

/// How many entries are looked after at once.
const LOOKS_AT_ONCE: usize = 16;

const NAMES: &str = "names";

/// What the names are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RosterOf {
    /// Rules.
    Rules,
    /// Rules on the bus itself, which have a place among the rules, too.
    NativeRules,
    /// Alerts.
    Alerts,
    /// Integrations.
    Integrations,
}

impl RosterOf {
    const fn row(self) -> &'static str {
        match self {
            Self::Rules => "RULES",
            Self::NativeRules => "NATIVE_RULES",
            Self::Alerts => "ALERTS",
            Self::Integrations => "INTEGRATIONS",
        }
    }

    fn thing(self, keys: &Keyspace, name: &str) -> RowKey {
        match self {
            Self::Rules | Self::NativeRules => keys.rule(name),
            Self::Alerts => keys.alert(name),
            // No name of a roster's comes from anywhere but a parsed id.
            Self::Integrations => match name.parse() {
                Ok(service) => keys.integration(&service),
                Err(_) => keys.quota(self.row()),
            },
        }
    }
}

/// The names of one tenant's rules or alerts.
pub struct Roster {
    table: Arc<dyn Table>,
    keys: Keyspace,
    of: RosterOf,
    row: RowKey,
    allowed: u64,
}

/// What a roster has cost so far: units of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RosterUnits {
    /// Read units.
    pub read: f64,
    /// Write units.
    pub write: f64,
}

/// The roster as it was read.
struct Read {
    version: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    id: Ulid,
}

impl Roster {
    pub(in crate::mesh) fn new(
        table: Arc<dyn Table>,
        keys: Keyspace,
        of: RosterOf,
        allowed: u64,
    ) -> Self {
        Self {
            table,
            row: keys.quota(of.row()),
            keys,
            of,
            allowed: allowed.min(NAMES_MAX as u64),
        }
    }

    /// Enters `name` for a thing with this id, which is about to be written. A name that is there keeps
    /// its place and gets the new id.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` where there is no place; `OVERLOADED` where too many change the roster at once;
    /// the table's.
    pub async fn enter(
        &self,
        name: &str,
        id: Ulid,
        now: Timestamp,
        units: &mut RosterUnits,
    ) -> Result<(), Error> {
        let mut looked_after = false;
        for round in 0..ROUNDS_MAX {
            let mut read = self.read(units).await?;
            match read.entries.iter_mut().find(|entry| entry.name == name) {
                Some(entry) => entry.id = id,
                None => {
                    if read.entries.len() as u64 >= self.allowed && !looked_after {
                        looked_after = true;
                        read.entries = self.look_after(read.entries, now, units).await?;
                    }
                    let used = read.entries.len() as u64;
                    if used >= self.allowed {
                        return Err(self.refusal(used));
                    }
                    read.entries.push(Entry {
                        name: name.to_owned(),
                        id,
                    });
                }
            }
            if self.write(read, now, units).await? {
                return Ok(());
            }
            pause(round).await;
        }
        Err(contended())
    }

    /// Takes `name` out again, if it stands there for the thing with this id.
    ///
    /// # Errors
    /// As [`Self::enter`]; what stays behind is looked after later.
    pub async fn leave(
        &self,
        name: &str,
        id: Ulid,
        now: Timestamp,
        units: &mut RosterUnits,
    ) -> Result<(), Error> {
        for round in 0..ROUNDS_MAX {
            let mut read = self.read(units).await?;
            let before = read.entries.len();
            read.entries
                .retain(|entry| entry.name != name || entry.id != id);
            if read.entries.len() == before || self.write(read, now, units).await? {
                return Ok(());
            }
            pause(round).await;
        }
        Err(contended())
    }

    fn refusal(&self, used: u64) -> Error {
        match self.of {
            RosterOf::Rules => Quota::Rules.exceeded(self.allowed, used, 1),
            RosterOf::Alerts => Quota::Alerts.exceeded(self.allowed, used, 1),
            RosterOf::Integrations => Quota::Integrations.exceeded(self.allowed, used, 1),
            RosterOf::NativeRules => Error::new(
                ErrorKind::QuotaExceeded,
                format!(
                    "the tenant has {used} of the {} native rules that it may have",
                    self.allowed
                ),
            )
            .fix(
                "Leave `native` out, delete a native rule (events_delete_rule), or ask whoever runs the \
                 server to raise AGENT_MESH_NATIVE_RULES_MAX.",
            )
            .detail("quota", "native_rules")
            .detail("allowed", self.allowed)
            .detail("used", used),
        }
    }

    /// The entries without those that a crash has left.
    async fn look_after(
        &self,
        entries: Vec<Entry>,
        now: Timestamp,
        units: &mut RosterUnits,
    ) -> Result<Vec<Entry>, Error> {
        let oldest_under_way = now
            .minus(LEFT_BEHIND_AFTER)
            .as_millis()
            .max(0)
            .unsigned_abs();
        let mut kept = Vec::with_capacity(entries.len());
        for some in entries.chunks(LOOKS_AT_ONCE) {
            let looks = some.iter().map(async |entry| {
                if entry.id.timestamp_ms() >= oldest_under_way {
                    return Ok((true, 0.0));
                }
                let key = self.of.thing(&self.keys, &entry.name);
                let found = self.table.get(&key, true).await?;
                Ok::<_, Error>((found.value.is_some(), found.units))
            });
            for (entry, look) in some.iter().zip(futures::future::join_all(looks).await) {
                let (is_there, cost) = look?;
                units.read += cost;
                if is_there {
                    kept.push(entry.clone());
                }
            }
        }
        Ok(kept)
    }

    async fn read(&self, units: &mut RosterUnits) -> Result<Read, Error> {
        let Metered { value, units: cost } = self.table.get(&self.row, true).await?;
        units.read += cost;
        let Some(row) = value else {
            return Ok(Read {
                version: None,
                entries: Vec::new(),
            });
        };
        let names = row.text(NAMES).unwrap_or_default();
        let entries = names.split_terminator(' ').map(Entry::parse);
        Ok(Read {
            version: row.version().map(str::to_owned),
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    /// Writes the roster if it is still as it was read.
    async fn write(
        &self,
        read: Read,
        now: Timestamp,
        units: &mut RosterUnits,
    ) -> Result<bool, Error> {
        let names: String = read.entries.iter().map(Entry::text).collect();
        let row = Row::new()
            .with_text(VERSION_ATTRIBUTE, Ulid::generate().to_string())
            .with_text(NAMES, names);
        let condition = match read.version {
            Some(version) => Condition::Version { version, now },
            None => Condition::Absent { now },
        };
        let written = self.table.put(&self.row, row, condition).await?;
        units.write += written.units;
        Ok(matches!(written.value, WriteOutcome::Done { .. }))
    }
}

impl Entry {
    /// Names hold neither spaces nor colons.
    fn text(&self) -> String {
        format!("{}:{} ", self.name, self.id)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let unreadable = || Error::internal("a roster of names cannot be read");
        let (name, id) = text.split_once(':').ok_or_else(unreadable)?;
        let id = id
            .parse()
            .map_err(|cause: ulid::DecodeError| unreadable().caused_by(cause))?;
        Ok(Self {
            name: name.to_owned(),
            id,
        })
    }
}

/// A pause of a length by chance, so that those who met once do not meet again.
async fn pause(round: u32) {
    let most = PAUSE_MAX.min(Duration::from_millis(1 << round.min(10)));
    let chance = (Ulid::generate().random() & 0xff) as f64 / 255.0;
    tokio::time::sleep(most.mul_f64(chance)).await;
}

fn contended() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        "too many rules, alerts or integrations of the tenant are being made at once",
    )
    .fix("Repeat the call after a second.")
}

#[cfg(test)]
mod tests;
