//! `tenants.toml`, strictly: an unknown key, a wrong type and a number out of range are all told at once.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::automation::{SharedNames, logical_name};
use crate::config::mistake::ConfigErrors;
use crate::config::toml_text::{StrictToml, integer, kind_of};
use crate::config::{arn, check};
use crate::mesh::tenant::{Limits, TenantId, TenantRecord, TenantStatus};

/// What a file of tenants says.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) records: HashMap<TenantId, Arc<TenantRecord>>,
    pub(super) default_limits: Arc<Limits>,
}

/// One limit: its name and how it gets into [`Limits`].
struct Limit {
    name: &'static str,
    range: RangeInclusive<u64>,
    set: fn(&mut Limits, u64),
}

/// The highest rate: beyond it a limit is none, and sums over many buckets could overflow.
const RATE_MAX: u64 = 1_000_000_000;
/// The highest count of things.
const COUNT_MAX: u64 = u32::MAX as u64;
/// The highest quota of bytes or objects: what a signed number of DynamoDB's still adds up exactly.
const QUOTA_MAX: u64 = i64::MAX as u64;
const SHARDS: RangeInclusive<u64> = 1..=64;

macro_rules! limits {
    ($($name:ident: $range:expr;)*) => {
        &[$(Limit {
            name: stringify!($name),
            range: $range,
            set: |limits, value| limits.$name = value.try_into().unwrap_or(limits.$name),
        }),*]
    };
}

const LIMITS: &[Limit] = limits! {
    requests_per_minute: 1..=RATE_MAX;
    calls_in_flight: 1..=COUNT_MAX;
    dynamodb_read: 1..=RATE_MAX;
    dynamodb_write: 1..=RATE_MAX;
    s3_get: 1..=RATE_MAX;
    s3_put: 1..=RATE_MAX;
    s3_list: 1..=RATE_MAX;
    eventbridge: 1..=RATE_MAX;
    sns: 1..=RATE_MAX;
    states: 1..=RATE_MAX;
    secrets: 1..=RATE_MAX;
    upstream: 1..=RATE_MAX;
    artifact_bytes: 0..=QUOTA_MAX;
    artifact_objects: 0..=QUOTA_MAX;
    rules: 0..=COUNT_MAX;
    alerts: 0..=COUNT_MAX;
    integrations: 0..=COUNT_MAX;
    children: 0..=COUNT_MAX;
    workflows_running: 0..=COUNT_MAX;
    alerts_per_day: 0..=COUNT_MAX;
};

const TENANT_KEYS: [&str; 6] = [
    "status",
    "issuers",
    "event_shards",
    "limits",
    "workflows",
    "alert_topics",
];

/// Parses the text of the file at `path`.
///
/// # Errors
/// Every mistake in it, each with its line.
pub(super) fn parse(path: &Path, text: &str, shared: &SharedNames) -> Result<Parsed, ConfigErrors> {
    let mut parser = Parser {
        toml: StrictToml::new(path, text),
        shared,
    };
    let parsed = parser.parse_root();
    parser.toml.mistakes.unless(parsed)
}

struct Parser<'text> {
    toml: StrictToml<'text>,
    shared: &'text SharedNames,
}

impl Parser<'_> {
    fn parse_root(&mut self) -> Parsed {
        let Some(root) = self.toml.parse() else {
            return Parsed::default();
        };
        self.toml
            .refuse_unknown(&root, "", &["defaults", "tenants"]);
        let mut limits = Limits::default();
        if let Some(defaults) = self.toml.table(&root, "", "defaults") {
            self.toml.refuse_unknown(defaults, "defaults.", &["limits"]);
            if let Some(table) = self.toml.table(defaults, "defaults.", "limits") {
                self.read_limits(table, "defaults.limits.", &mut limits);
            }
        }
        let default_limits = Arc::new(limits);
        let mut records = HashMap::new();
        if let Some(tenants) = self.toml.table(&root, "", "tenants") {
            for (key, value) in tenants {
                if let Some(record) = self.read_tenant(key, value, &default_limits) {
                    records.insert(record.id.clone(), Arc::new(record));
                }
            }
        }
        Parsed {
            records,
            default_limits,
        }
    }

    /// One tenant; nothing where its id is none or it is no table.
    fn read_tenant(
        &mut self,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        default_limits: &Arc<Limits>,
    ) -> Option<TenantRecord> {
        let name = format!("tenants.{}", key.get_ref());
        let id = key.get_ref().parse::<TenantId>();
        if let Err(error) = &id {
            self.toml
                .mistakes
                .add_at(self.toml.text.place_of(key), &name, error.to_string());
        }
        let table = self.toml.as_table(value, &name)?;
        let prefix = format!("{name}.");
        self.toml.refuse_unknown(table, &prefix, &TENANT_KEYS);
        let limits = match self.toml.table(table, &prefix, "limits") {
            None => Arc::clone(default_limits),
            Some(own) => {
                let mut limits = Limits::clone(default_limits);
                self.read_limits(own, &format!("{prefix}limits."), &mut limits);
                Arc::new(limits)
            }
        };
        let (machines, topics) = (&self.shared.workflows, &self.shared.alert_topics);
        let workflows = self.read_names(table, &prefix, "workflows", machines, arn::machine);
        let alert_topics = self.read_names(table, &prefix, "alert_topics", topics, arn::topic);
        Some(TenantRecord {
            id: id.ok()?,
            status: self.read_status(table, &prefix),
            issuers: self.read_issuers(table, &prefix),
            event_shards: self
                .read_number(table, &prefix, "event_shards", &SHARDS)
                .and_then(|shards| shards.try_into().ok())
                .unwrap_or(1),
            limits,
            workflows,
            alert_topics,
        })
    }

    fn read_status(&mut self, table: &DeTable<'_>, prefix: &str) -> TenantStatus {
        let words = [
            ("active", TenantStatus::Active),
            ("suspended", TenantStatus::Suspended),
        ];
        let Some(value) = table.get("status") else {
            return TenantStatus::Active;
        };
        let status = match value.get_ref() {
            DeValue::String(text) => check::word(text, &words),
            other => Err(format!("it must be a text, not {}", kind_of(other))),
        };
        status.unwrap_or_else(|message| {
            self.toml.mistake(value, format!("{prefix}status"), message);
            TenantStatus::Active
        })
    }

    fn read_issuers(&mut self, table: &DeTable<'_>, prefix: &str) -> Vec<String> {
        let Some(value) = table.get("issuers") else {
            return Vec::new();
        };
        let name = format!("{prefix}issuers");
        let DeValue::Array(items) = value.get_ref() else {
            let message = format!(
                "it must be a list of texts, not {}",
                kind_of(value.get_ref())
            );
            self.toml.mistake(value, name, message);
            return Vec::new();
        };
        let mut issuers = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) if !text.trim().is_empty() => {
                    issuers.push(text.trim().to_owned());
                }
                DeValue::String(_) => self.toml.mistake(item, &name, "an issuer is empty"),
                other => {
                    let message = format!("an issuer must be a text, not {}", kind_of(other));
                    self.toml.mistake(item, &name, message);
                }
            }
        }
        issuers
    }

    fn read_limits(&mut self, table: &DeTable<'_>, prefix: &str, limits: &mut Limits) {
        let names: Vec<&str> = LIMITS.iter().map(|limit| limit.name).collect();
        self.toml.refuse_unknown(table, prefix, &names);
        for limit in LIMITS {
            if let Some(value) = self.read_number(table, prefix, limit.name, &limit.range) {
                (limit.set)(limits, value);
            }
        }
    }

    fn read_number(
        &mut self,
        table: &DeTable<'_>,
        prefix: &str,
        key: &str,
        range: &RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => integer(number)
                .and_then(|number| u64::try_from(number).ok())
                .filter(|number| range.contains(number))
                .ok_or_else(|| {
                    let (least, most) = (range.start(), range.end());
                    format!("{number} is not within {least} and {most}")
                }),
            other => Err(format!("it must be a whole number, not {}", kind_of(other))),
        };
        match number {
            Ok(number) => Some(number),
            Err(message) => {
                self.toml.mistake(value, format!("{prefix}{key}"), message);
                None
            }
        }
    }

    /// The names of the table at `key`, each with its ARN, besides those that every tenant has; a tenant
    /// without names of its own has no copy of them.
    fn read_names(
        &mut self,
        table: &DeTable<'_>,
        prefix: &str,
        key: &str,
        shared: &Arc<BTreeMap<String, String>>,
        check: fn(&str) -> Result<String, String>,
    ) -> Arc<BTreeMap<String, String>> {
        let Some(entries) = self.toml.table(table, prefix, key) else {
            return Arc::clone(shared);
        };
        let mut names = BTreeMap::clone(shared);
        for (entry, value) in entries {
            let logical: &str = entry.get_ref();
            let name = format!("{prefix}{key}.{logical}");
            if let Err(message) = logical_name(logical) {
                self.toml.mistake(entry, &name, message);
            }
            let arn = match value.get_ref() {
                DeValue::String(text) => check(text.trim()),
                other => Err(format!("it must be a text, not {}", kind_of(other))),
            };
            match arn {
                Ok(arn) => {
                    names.insert(logical.to_owned(), arn);
                }
                Err(message) => self.toml.mistake(value, name, message),
            }
        }
        Arc::new(names)
    }
}

/// A file of tenants with a word on each of its settings; it parses, and its limits are the defaults.
pub const EXAMPLE: &str = r#"# Tenants and what each may use. Read at start, and again whenever it changes; a file that is wrong
# is told in the log and the last good one stays in force.

# What a tenant may use that says nothing else. Rates are per second, a burst is one second's worth.
[defaults.limits]
requests_per_minute = 60000
calls_in_flight = 64
dynamodb_read = 1000              # units of 4 KiB
dynamodb_write = 500              # units of 1 KiB
s3_get = 500
s3_put = 350
s3_list = 10
eventbridge = 1000
sns = 100
states = 100
secrets = 100
upstream = 200
# What a tenant may have.
artifact_bytes = 107374182400
artifact_objects = 100000
rules = 50
alerts = 20
integrations = 50
children = 16
workflows_running = 100
alerts_per_day = 1000             # what the tenant's alerts send, mails and notices together

# One table for each tenant; its name is 1 to 32 of a-z, 0-9 and -.
[tenants.acme]
status = "active"                 # or "suspended": every call is refused
issuers = ["https://id.acme.example"] # whose tokens may name this tenant; the first one's subjects are plain user ids
event_shards = 1                  # over how many partitions a day's events are spread: 1 to 64

# Only what differs from the defaults.
[tenants.acme.limits]
requests_per_minute = 6000

# State machines that it may start and topics that its alerts may go to, by the names that it knows them
# by, besides those of AGENT_MESH_WORKFLOWS and AGENT_MESH_ALERT_TOPICS; the same name here wins.
[tenants.acme.workflows]
refund = "arn:aws:states:us-west-2:123456789012:stateMachine:refund"
[tenants.acme.alert_topics]
ops = "arn:aws:sns:us-west-2:123456789012:acme-ops"
"#;

#[cfg(test)]
mod tests;
