//! The tenants of the file and of the environment, reloaded when the file changes.

mod parse;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::automation::SharedNames;
use super::mistake::{ConfigErrors, Mistakes, Place};
use super::read_bounded;
use crate::mesh::tenant::record::TenantDirectory;
use crate::mesh::tenant::{Limits, TenantId, TenantRecord, TenantStatus};
use crate::platform::FileStamp;

pub use parse::EXAMPLE;

/// The largest file of tenants, in bytes; 10,000 tenants with limits of their own take about 2 MiB.
pub const TENANTS_FILE_BYTES_MAX: u64 = 16 << 20;
/// How often the file is looked at. A change holds after two looks: between the two an editor that
/// empties a file before it writes has finished.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The tenants that are known.
#[derive(Debug)]
pub struct TenantsFile {
    path: Option<PathBuf>,
    named: Vec<(TenantId, Vec<String>)>,
    shared: SharedNames,
    current: RwLock<Arc<Tenants>>,
    seen: Mutex<Seen>,
}

/// What one look at the file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is as it was, or there is no file.
    Unchanged,
    /// It changed; whether its writer has finished, the next look will tell.
    Changing,
    /// It changed, and its tenants are in force.
    Reloaded {
        /// How many tenants are known now.
        tenants: usize,
    },
    /// It changed and is wrong; the last good one stays in force.
    Kept(ConfigErrors),
}

/// ARNs that the settings name, and what each is called there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedArns {
    /// State machines.
    pub workflows: BTreeMap<String, String>,
    /// Topics that alerts may go to.
    pub alert_topics: BTreeMap<String, String>,
}

/// The tenants of one version of the file.
#[derive(Debug, Default)]
struct Tenants {
    records: HashMap<TenantId, Arc<TenantRecord>>,
}

/// What the looks so far have seen; nothing where the file was not there.
#[derive(Debug, Default)]
struct Seen {
    applied: Option<FileStamp>,
    last: Option<FileStamp>,
}

impl TenantsFile {
    /// The tenants of the file at `path`, if there is one, and those that the environment names with the
    /// issuers whose tokens may name them; where the file knows such a tenant too, the file counts. Each
    /// may reach what is `shared` by name, unless its own of that name is something else.
    ///
    /// # Errors
    /// Every mistake in the file.
    pub fn open(
        path: Option<&Path>,
        named: Vec<(TenantId, Vec<String>)>,
        shared: SharedNames,
    ) -> Result<Self, ConfigErrors> {
        let applied = path.and_then(FileStamp::of);
        let tenants = match path {
            Some(path) => read(path, &named, &shared)?,
            None => Tenants::with(HashMap::new(), &Arc::default(), &named, &shared),
        };
        Ok(Self {
            path: path.map(Path::to_owned),
            named,
            shared,
            current: RwLock::new(Arc::new(tenants)),
            seen: Mutex::new(Seen {
                last: applied.clone(),
                applied,
            }),
        })
    }

    /// How many tenants are known.
    pub fn count(&self) -> usize {
        self.current().records.len()
    }

    /// The state machines and the topics that tenants reach, each ARN once, with what it is called.
    pub fn named(&self) -> NamedArns {
        let mut named = NamedArns::of(&self.shared);
        let current = self.current();
        let mut records: Vec<_> = current.records.values().collect();
        records.sort_by(|left, right| left.id.cmp(&right.id));
        for record in records {
            // Most tenants have none of their own.
            if !Arc::ptr_eq(&record.workflows, &self.shared.workflows) {
                own(&record.id, &record.workflows, &mut named.workflows);
            }
            if !Arc::ptr_eq(&record.alert_topics, &self.shared.alert_topics) {
                own(&record.id, &record.alert_topics, &mut named.alert_topics);
            }
        }
        named
    }

    /// Looks at the file, and takes its tenants once it has stopped changing. Reads the disk, so it must
    /// not be called where a call waits.
    pub fn look(&self) -> Look {
        let Some(path) = &self.path else {
            return Look::Unchanged;
        };
        let stamp = FileStamp::of(path);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if stamp == seen.applied {
                seen.last = stamp;
                return Look::Unchanged;
            }
            if stamp != seen.last {
                seen.last = stamp;
                return Look::Changing;
            }
            seen.applied = stamp;
        }
        match read(path, &self.named, &self.shared) {
            Ok(tenants) => {
                let count = tenants.records.len();
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tenants);
                Look::Reloaded { tenants: count }
            }
            Err(errors) => Look::Kept(errors),
        }
    }

    /// Looks at the file again and again, `interval` apart, until nobody else holds `self`; ends at once
    /// where there is no file. What it finds goes to the log.
    pub fn watch(
        self: &Arc<Self>,
        interval: Duration,
    ) -> impl Future<Output = ()> + Send + 'static {
        let watched = self.path.is_some().then(|| Arc::downgrade(self));
        async move {
            let Some(watched) = watched else {
                return;
            };
            loop {
                tokio::time::sleep(interval).await;
                let Some(tenants) = watched.upgrade() else {
                    return;
                };
                match tokio::task::spawn_blocking(move || tenants.look()).await {
                    Ok(look) => look.log(),
                    Err(_) => return,
                }
            }
        }
    }

    fn current(&self) -> Arc<Tenants> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TenantDirectory for TenantsFile {
    fn find(&self, tenant: &TenantId) -> Option<Arc<TenantRecord>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .records
            .get(tenant)
            .cloned()
    }
}

impl NamedArns {
    fn of(shared: &SharedNames) -> Self {
        let turned = |names: &BTreeMap<String, String>| {
            let pairs = names.iter().rev();
            pairs
                .map(|(name, arn)| (arn.clone(), name.clone()))
                .collect()
        };
        Self {
            workflows: turned(&shared.workflows),
            alert_topics: turned(&shared.alert_topics),
        }
    }
}

/// Adds the names of one tenant for ARNs that nobody has named before.
fn own(tenant: &TenantId, names: &BTreeMap<String, String>, named: &mut BTreeMap<String, String>) {
    for (name, arn) in names {
        named
            .entry(arn.clone())
            .or_insert_with(|| format!("{name} of {tenant}"));
    }
}

impl Look {
    fn log(&self) {
        match self {
            Self::Unchanged | Self::Changing => {}
            Self::Reloaded { tenants } => tracing::info!(tenants, "the tenants file was reloaded"),
            Self::Kept(errors) => tracing::error!(
                %errors,
                "the tenants file has changed and is wrong; the last good one stays in force"
            ),
        }
    }
}

impl Tenants {
    /// `records`, and the tenants that the environment names where they do not have them; the first one counts.
    fn with(
        mut records: HashMap<TenantId, Arc<TenantRecord>>,
        default_limits: &Arc<Limits>,
        named: &[(TenantId, Vec<String>)],
        shared: &SharedNames,
    ) -> Self {
        for (tenant, issuers) in named {
            records.entry(tenant.clone()).or_insert_with(|| {
                Arc::new(TenantRecord {
                    id: tenant.clone(),
                    status: TenantStatus::Active,
                    issuers: issuers.clone(),
                    event_shards: 1,
                    limits: Arc::clone(default_limits),
                    workflows: Arc::clone(&shared.workflows),
                    alert_topics: Arc::clone(&shared.alert_topics),
                })
            });
        }
        Self { records }
    }
}

/// The tenants of the file at `path`.
fn read(
    path: &Path,
    named: &[(TenantId, Vec<String>)],
    shared: &SharedNames,
) -> Result<Tenants, ConfigErrors> {
    let text = read_bounded(path, TENANTS_FILE_BYTES_MAX).or_else(|message| {
        let mut mistakes = Mistakes::default();
        mistakes.add_at(Place::new(path, 0), "tenants", message);
        mistakes.demand(None)
    })?;
    let parsed = parse::parse(path, &text, shared)?;
    let limits = &parsed.default_limits;
    Ok(Tenants::with(parsed.records, limits, named, shared))
}

#[cfg(test)]
mod tests;
