//! Which state machine a tenant means by the name of a workflow.

use std::sync::Arc;

use crate::mesh::store::{Reply, States};
use crate::mesh::tenant::{TenantDirectory, TenantId};
use crate::mesh::{Error, ErrorKind};

/// The longest name of a workflow: characters of `[A-Za-z0-9_-]`, as Step Functions allows them.
pub const NAME_CHARS_MAX: usize = 80;

/// The most names that an error tells.
const NAMES_TOLD_MAX: usize = 50;

/// The state machines that are there without being given to a tenant: those of the embedded cloud.
pub trait LocalMachines: Send + Sync + 'static {
    /// Their names, in order.
    fn names(&self) -> Reply<'_, Vec<String>>;

    /// The ARN of the machine of that name, whether or not there is one.
    fn machine(&self, name: &str) -> String;

    /// Whether there is one of that name that can be started.
    fn check<'a>(&'a self, name: &'a str) -> Reply<'a, ()>;
}

/// The names under which tenants know state machines.
#[derive(Clone)]
pub struct WorkflowNames {
    tenants: Arc<dyn TenantDirectory>,
    local: Option<Arc<dyn LocalMachines>>,
}

impl WorkflowNames {
    /// The names that the operator has given each tenant; where there are `local` machines, a tenant may
    /// use those too, and its own names come first.
    pub fn new(tenants: Arc<dyn TenantDirectory>, local: Option<Arc<dyn LocalMachines>>) -> Self {
        Self { tenants, local }
    }

    /// The ARN of the machine that `tenant` means by `name`. For a local one it says only what its ARN
    /// would be: starting it tells whether it is there.
    pub fn machine(&self, tenant: &TenantId, name: &str) -> Option<String> {
        let given = self.tenants.find(tenant);
        let given = given.and_then(|record| record.workflows.get(name).cloned());
        given.or_else(|| {
            let local = self.local.as_ref().filter(|_| is_name(name));
            local.map(|local| local.machine(name))
        })
    }

    /// Whether what `tenant` means by `name` can be started.
    ///
    /// # Errors
    /// Why it cannot.
    pub(in crate::mesh) async fn check(
        &self,
        tenant: &TenantId,
        name: &str,
        states: &dyn States,
    ) -> Result<(), Error> {
        let given = self.tenants.find(tenant);
        match (
            given.as_ref().and_then(|record| record.workflows.get(name)),
            &self.local,
        ) {
            (Some(machine), _) => states.check(machine).await,
            (None, Some(local)) => local.check(name).await,
            (None, None) => Ok(()),
        }
    }

    /// Every name that `tenant` may start, in order.
    ///
    /// # Errors
    /// Where the local machines cannot be listed.
    pub async fn all(&self, tenant: &TenantId) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = match self.tenants.find(tenant) {
            Some(record) => record.workflows.keys().cloned().collect(),
            None => Vec::new(),
        };
        if let Some(local) = &self.local {
            names.extend(local.names().await?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// That there is no workflow `name`, and which there are.
    pub async fn unknown(&self, tenant: &TenantId, name: &str) -> Error {
        let error = Error::new(
            ErrorKind::NotFound,
            format!("there is no workflow `{}`", shortened(name)),
        )
        .detail("parameter", "name");
        let names = match self.all(tenant).await {
            Ok(names) => names,
            Err(cause) => return error.caused_by(cause),
        };
        let fix = match (names.len(), &self.local) {
            (0, Some(_)) => "There are none yet: put `<name>.asl.json` into the folder `workflows` of the data folder.".to_owned(),
            (0, None) => "The tenant has none: ask whoever runs the server to map a name to a state machine.".to_owned(),
            (count, _) => {
                let told = names[..count.min(NAMES_TOLD_MAX)].join(", ");
                let more = if count > NAMES_TOLD_MAX { ", and more" } else { "" };
                format!("Use one of: {told}{more}.")
            }
        };
        error.fix(fix)
    }
}

/// Whether a machine can have that name.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// `name` as far as an error repeats it.
fn shortened(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::mesh::tenant::{TenantRecord, TenantStatus};

    struct Directory;

    impl TenantDirectory for Directory {
        fn find(&self, tenant: &TenantId) -> Option<Arc<TenantRecord>> {
            (tenant.as_str() == "acme").then(|| {
                Arc::new(TenantRecord {
                    id: tenant.clone(),
                    status: TenantStatus::Active,
                    issuers: Vec::new(),
                    event_shards: 1,
                    limits: Arc::default(),
                    workflows: Arc::new(
                        [("refund".to_owned(), "arn:acme-refund".to_owned())].into(),
                    ),
                    alert_topics: Default::default(),
                })
            })
        }
    }

    struct Folder(Vec<String>);

    impl LocalMachines for Folder {
        fn names(&self) -> Reply<'_, Vec<String>> {
            async { Ok(self.0.clone()) }.boxed()
        }

        fn machine(&self, name: &str) -> String {
            format!("arn:local:{name}")
        }

        fn check<'a>(&'a self, _name: &'a str) -> Reply<'a, ()> {
            async { Ok(()) }.boxed()
        }
    }

    fn names(local: Option<Vec<String>>) -> WorkflowNames {
        let local = local.map(|names| Arc::new(Folder(names)) as Arc<dyn LocalMachines>);
        WorkflowNames::new(Arc::new(Directory), local)
    }

    #[tokio::test]
    async fn a_tenant_knows_its_own_names_and_no_other_tenants() {
        let (acme, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let names = names(None);
        assert_eq!(
            names.machine(&acme, "refund").as_deref(),
            Some("arn:acme-refund")
        );
        assert_eq!(names.machine(&other, "refund"), None);
        assert_eq!(names.all(&other).await.unwrap(), Vec::<String>::new());
        let error = names.unknown(&other, "refund").await;
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.fix_text().unwrap().contains("The tenant has none"));
        let error = names.unknown(&acme, &"x".repeat(1000)).await;
        assert_eq!(error.fix_text(), Some("Use one of: refund."));
        assert!(error.message().len() < 200);
    }

    #[tokio::test]
    async fn local_machines_come_after_the_tenants_own() {
        let acme = "acme".parse().unwrap();
        let names = names(Some(vec!["hello".to_owned(), "refund".to_owned()]));
        assert_eq!(
            names.machine(&acme, "refund").as_deref(),
            Some("arn:acme-refund")
        );
        assert_eq!(
            names.machine(&acme, "hello").as_deref(),
            Some("arn:local:hello")
        );
        for wrong in ["", "../x", "a.b", "a/b", "ä", &"x".repeat(81)] {
            assert_eq!(names.machine(&acme, wrong), None, "{wrong}");
        }
        assert_eq!(names.all(&acme).await.unwrap(), ["hello", "refund"]);
    }
}
