//! Physical keys: the one place that spells out how a tenant's data is laid out in table and bucket.
//!
//! Every key begins with the tenant and ends it with a character that no tenant id can hold, so the keys
//! of two tenants never meet and IAM can hold each to its own (`dynamodb:LeadingKeys`, a prefix in S3).

mod integrations;
mod secret;

pub use secret::{SECRET_ROOT, SecretKey, SecretPrefix};

use crate::mesh::Timestamp;
use crate::mesh::tenant::{TenantId, UserId};

/// What every partition key begins with; no tenant's is just this.
pub const PARTITION_ROOT: &str = "T#";

/// What every object's key begins with.
pub const OBJECT_ROOT: &str = "t/";

/// The family of a tenant's shared values.
const SHARED_VALUES: &str = "KV#T";

/// What the families begin with that workflows may make up: nothing of the server's own ever does.
pub const WORKFLOW_FAMILY: &str = "APP#";

/// The partitions that a workflow of `tenant` may use by itself, as a person reads them.
pub fn open_to_workflows(tenant: &TenantId) -> String {
    let root = format!("{PARTITION_ROOT}{tenant}#");
    format!("{root}{SHARED_VALUES} and {root}{WORKFLOW_FAMILY}<a name of yours>")
}

/// Whether a workflow of `tenant` may use the partition by itself: the tenant's shared values, and those that
/// workflows make up. All else of the table is other tenants', single users' or the server's own: what a run
/// may do, for one, stands in a row too.
pub fn is_open_to_workflows(tenant: &TenantId, partition: &str) -> bool {
    let family = partition
        .strip_prefix(PARTITION_ROOT)
        .and_then(|rest| rest.strip_prefix(tenant.as_str()))
        .and_then(|rest| rest.strip_prefix('#'));
    family.is_some_and(|family| {
        let own = family.strip_prefix(WORKFLOW_FAMILY);
        family == SHARED_VALUES || own.is_some_and(|own| !own.is_empty())
    })
}

/// A partition of the table, of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    tenant: TenantId,
    key: String,
}

/// A row of the table, of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowKey {
    partition: Partition,
    sort: String,
}

/// An object of the bucket, of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    tenant: TenantId,
    key: String,
}

/// Where a listing looks: all keys that begin with `root` and the caller's own prefix; what is listed is
/// told relative to `root`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectPrefix {
    tenant: TenantId,
    root: String,
    prefix: String,
}

impl Partition {
    /// The tenant it belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The partition key.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl RowKey {
    /// The tenant it belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.partition.tenant
    }

    /// The partition key.
    pub fn partition(&self) -> &str {
        &self.partition.key
    }

    /// The sort key.
    pub fn sort(&self) -> &str {
        &self.sort
    }
}

impl ObjectKey {
    /// The tenant it belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The key in the bucket.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl ObjectPrefix {
    /// The tenant it belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What every key in reach begins with, and what is cut off the keys that are told.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The whole prefix in the bucket: the root and the caller's own.
    pub fn full(&self) -> String {
        format!("{}{}", self.root, self.prefix)
    }
}

/// Whose values or artifacts are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The calling user's own.
    #[default]
    User,
    /// Shared by the tenant.
    Tenant,
}

impl Scope {
    /// The name in arguments and addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tenant => "tenant",
        }
    }
}

/// Forms the keys of one tenant. Only the handles of this folder, and the publisher for the tenant that a
/// record names, can make one.
#[derive(Clone, Debug)]
pub(in crate::mesh) struct Keyspace {
    tenant: TenantId,
}

impl Keyspace {
    pub(in crate::mesh) fn of(tenant: &TenantId) -> Self {
        Self {
            tenant: tenant.clone(),
        }
    }

    fn partition(&self, rest: std::fmt::Arguments<'_>) -> Partition {
        Partition {
            tenant: self.tenant.clone(),
            key: format!("{PARTITION_ROOT}{}#{rest}", self.tenant),
        }
    }

    fn object(&self, rest: std::fmt::Arguments<'_>) -> ObjectKey {
        ObjectKey {
            tenant: self.tenant.clone(),
            key: format!("{OBJECT_ROOT}{}/{rest}", self.tenant),
        }
    }

    /// The partition of the values of a user, or of the tenant.
    pub(in crate::mesh) fn values(&self, scope: Scope, user: &UserId) -> Partition {
        match scope {
            Scope::User => self.partition(format_args!("KV#U#{user}")),
            Scope::Tenant => self.partition(format_args!("{SHARED_VALUES}")),
        }
    }

    /// The row of a value.
    pub(in crate::mesh) fn value(&self, scope: Scope, user: &UserId, key: &str) -> RowKey {
        RowKey {
            partition: self.values(scope, user),
            sort: format!("{VALUE_PREFIX}{key}"),
        }
    }

    /// The partition of a day's events (UTC) in one shard.
    pub(in crate::mesh) fn events(&self, day: Timestamp, shard: u16) -> Partition {
        self.partition(format_args!("EV#{}#{shard}", day_name(day)))
    }

    /// The row of an event, by its ULID.
    pub(in crate::mesh) fn event(&self, time: Timestamp, shard: u16, event_id: &str) -> RowKey {
        RowKey {
            partition: self.events(time, shard),
            sort: event_id.to_owned(),
        }
    }

    /// The row that says that a day's events are spread over so many shards: in the first of them, before
    /// all events.
    pub(in crate::mesh) fn event_shards(&self, day: Timestamp, shards: u16) -> RowKey {
        RowKey {
            partition: self.events(day, 0),
            sort: format!("{SHARDS_PREFIX}{shards:03}"),
        }
    }

    /// The partition of a day's counters.
    pub(in crate::mesh) fn counters(&self, day: Timestamp) -> Partition {
        self.partition(format_args!("AG#{}", day_name(day)))
    }

    /// The row of one writer's counters for the hour in which `time` lies.
    pub(in crate::mesh) fn counter(&self, time: Timestamp, writer: &str) -> RowKey {
        let hour = time.as_seconds().div_euclid(3600).rem_euclid(24);
        RowKey {
            partition: self.counters(time),
            sort: format!("{hour:02}#{writer}"),
        }
    }

    /// The partition of a tenant's rules and alerts.
    pub(in crate::mesh) fn rules(&self) -> Partition {
        self.partition(format_args!("RULE"))
    }

    /// The row of a rule.
    pub(in crate::mesh) fn rule(&self, name: &str) -> RowKey {
        RowKey {
            partition: self.rules(),
            sort: format!("{RULE_PREFIX}{name}"),
        }
    }

    /// The row of an alert.
    pub(in crate::mesh) fn alert(&self, name: &str) -> RowKey {
        RowKey {
            partition: self.rules(),
            sort: format!("{ALERT_PREFIX}{name}"),
        }
    }

    /// The partition of a tenant's workflow runs.
    pub(in crate::mesh) fn runs(&self) -> Partition {
        self.partition(format_args!("WF"))
    }

    /// The row of a workflow run, by its ULID.
    pub(in crate::mesh) fn run(&self, run_id: &str) -> RowKey {
        RowKey {
            partition: self.runs(),
            sort: run_id.to_owned(),
        }
    }

    /// The mark that a workflow run has not ended, by its ULID: all of a tenant's are found at once.
    pub(in crate::mesh) fn running(&self, run_id: &str) -> RowKey {
        RowKey {
            partition: self.runs(),
            sort: format!("{RUNNING_PREFIX}{run_id}"),
        }
    }

    /// The partition of what a tenant's quotas are used for.
    pub(in crate::mesh) fn quotas(&self) -> Partition {
        self.partition(format_args!("Q"))
    }

    /// The row of a quota's use, such as `ARTIFACTS`.
    pub(in crate::mesh) fn quota(&self, name: &str) -> RowKey {
        RowKey {
            partition: self.quotas(),
            sort: name.to_owned(),
        }
    }

    /// The row that counts the alerts that a tenant has raised on a day.
    pub(in crate::mesh) fn alerts_raised(&self, day: Timestamp) -> RowKey {
        self.quota(&format!("ALERTS#{}", day_name(day)))
    }

    /// The row of the place that is held for what will be uploaded to `path`.
    pub(in crate::mesh) fn upload(&self, path: &str) -> RowKey {
        RowKey {
            partition: self.quotas(),
            sort: format!("{UPLOAD_PREFIX}{path}"),
        }
    }

    /// The row of an idempotency key: `hash` is of the user and the key.
    pub(in crate::mesh) fn idempotency(&self, tool: &str, hash: &str) -> RowKey {
        RowKey {
            partition: self.partition(format_args!("IDEM")),
            sort: format!("{tool}#{hash}"),
        }
    }

    /// An artifact.
    pub(in crate::mesh) fn artifact(&self, scope: Scope, user: &UserId, key: &str) -> ObjectKey {
        match scope {
            Scope::User => self.object(format_args!("u/{user}/{key}")),
            Scope::Tenant => self.object(format_args!("t/{key}")),
        }
    }

    /// All artifacts of a scope whose keys begin with `prefix`.
    pub(in crate::mesh) fn artifacts(
        &self,
        scope: Scope,
        user: &UserId,
        prefix: &str,
    ) -> ObjectPrefix {
        let root = self.artifact(scope, user, "").key;
        ObjectPrefix {
            tenant: self.tenant.clone(),
            root,
            prefix: prefix.to_owned(),
        }
    }

    /// All artifacts of the tenant, of every user, for counting them.
    pub(in crate::mesh) fn all_objects(&self) -> ObjectPrefix {
        let root = self.object(format_args!("")).key;
        ObjectPrefix {
            tenant: self.tenant.clone(),
            root,
            prefix: String::new(),
        }
    }

    /// Where one of the tenant's objects lies below the root of them all.
    pub(in crate::mesh) fn path_of<'a>(&self, object: &'a ObjectKey) -> &'a str {
        let root = self.all_objects().root;
        object.key.strip_prefix(&root).unwrap_or_default()
    }

    /// The object at such a path.
    pub(in crate::mesh) fn at_path(&self, path: &str) -> ObjectKey {
        self.object(format_args!("{path}"))
    }

    /// The body of an event that is too large for its row.
    pub(in crate::mesh) fn event_body(&self, event_id: &str) -> ObjectKey {
        self.object(format_args!("ev/{event_id}"))
    }

    /// The `number`-th object of events that a process could not publish before it ended. Keys of one
    /// writer sort by their numbers.
    pub(in crate::mesh) fn hand_over(&self, writer: &str, number: u32) -> ObjectKey {
        self.object(format_args!("outbox/{writer}-{number:06}"))
    }

    /// Everything that processes have handed over of the tenant's events.
    pub(in crate::mesh) fn hand_overs(&self) -> ObjectPrefix {
        ObjectPrefix {
            tenant: self.tenant.clone(),
            root: self.object(format_args!("outbox/")).key,
            prefix: String::new(),
        }
    }
}

/// Keys for tests of what lies behind the seams, which stand outside of the path of a call. Clippy bans it
/// everywhere else.
#[doc(hidden)]
pub mod trial;

/// What the sort key of a value begins with.
pub(in crate::mesh) const VALUE_PREFIX: &str = "K#";

/// What the sort key of a rule begins with.
pub(in crate::mesh) const RULE_PREFIX: &str = "R#";

/// What the sort key of an alert begins with.
pub(in crate::mesh) const ALERT_PREFIX: &str = "A#";

/// What the sort key of an integration, a connection and a pin begins with.
pub(in crate::mesh) const INTEGRATION_PREFIX: &str = "I#";
pub(in crate::mesh) const CONNECTION_PREFIX: &str = "C#";
pub(in crate::mesh) const PIN_PREFIX: &str = "P#";

/// What the sort key of a place for an upload begins with. No name of a quota holds a `#`.
pub(in crate::mesh) const UPLOAD_PREFIX: &str = "UPLOAD#";

/// What the sort key of the mark of a running workflow begins with. No ULID begins so, and all of them
/// sort before it.
pub(in crate::mesh) const RUNNING_PREFIX: &str = "~";

/// What the sort key of a row begins with that says over how many shards a day's events are spread. No
/// ULID begins so, and all of them sort after it.
pub(in crate::mesh) const SHARDS_PREFIX: &str = "#";

/// The day of `time` in UTC, as `yyyymmdd`.
fn day_name(time: Timestamp) -> String {
    let text = time.to_string();
    text.chars().take(10).filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests;
