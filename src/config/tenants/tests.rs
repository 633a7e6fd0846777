//! The tenants file: who is known, when a change holds, and what a wrong change does.

use std::fs;

use super::*;

const GOOD: &str = "[tenants.acme]\n";
const MORE: &str = "[tenants.acme]\nstatus = \"suspended\"\n[tenants.beta]\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(text);
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("tenants.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn open(&self) -> TenantsFile {
        TenantsFile::open(Some(&self.path()), Vec::new(), SharedNames::default()).unwrap()
    }
}

fn id(text: &str) -> TenantId {
    text.parse().unwrap()
}

#[test]
fn the_tenant_of_the_environment_is_known_with_the_files_defaults_and_no_other_is() {
    let folder = Folder::with("[defaults.limits]\nrules = 3\n");
    let named = vec![(id("local"), vec!["https://id".to_owned()])];
    let tenants =
        TenantsFile::open(Some(&folder.path()), named.clone(), SharedNames::default()).unwrap();
    let record = tenants.find(&id("local")).unwrap();
    assert_eq!(record.limits.rules, 3);
    assert_eq!(record.issuers, ["https://id"]);
    assert_eq!(tenants.find(&id("other")), None);
    let alone = TenantsFile::open(None, named, SharedNames::default()).unwrap();
    assert_eq!(*alone.find(&id("local")).unwrap().limits, Limits::default());
    assert_eq!(alone.look(), Look::Unchanged);
}

#[test]
fn what_the_file_says_of_the_tenant_of_the_environment_counts() {
    let folder = Folder::with("[tenants.local]\nstatus = \"suspended\"\n");
    let named = vec![(id("local"), vec!["https://id".to_owned()])];
    let tenants = TenantsFile::open(Some(&folder.path()), named, SharedNames::default()).unwrap();
    let record = tenants.find(&id("local")).unwrap();
    assert_eq!(record.status, TenantStatus::Suspended);
    assert!(record.issuers.is_empty());
}

#[test]
fn every_tenant_may_reach_what_is_shared_also_after_a_reload() {
    let shared = SharedNames {
        workflows: Arc::new([("refund".to_owned(), "arn".to_owned())].into()),
        alert_topics: Arc::new([("ops".to_owned(), "arn".to_owned())].into()),
    };
    let folder = Folder::with(GOOD);
    let named = vec![(id("local"), Vec::new())];
    let tenants = TenantsFile::open(Some(&folder.path()), named, shared).unwrap();
    folder.write(MORE);
    tenants.look();
    assert_eq!(tenants.look(), Look::Reloaded { tenants: 3 });
    for tenant in ["acme", "beta", "local"] {
        let record = tenants.find(&id(tenant)).unwrap();
        assert_eq!(record.workflows["refund"], "arn", "{tenant}");
        assert_eq!(record.alert_topics["ops"], "arn", "{tenant}");
    }
}

#[test]
fn what_is_named_is_listed_once_whoever_names_it() {
    let machine = |name: &str| format!("arn:aws:states:us-west-2:123456789012:stateMachine:{name}");
    let shared = SharedNames {
        workflows: Arc::new([("refund".to_owned(), machine("a"))].into()),
        alert_topics: Arc::default(),
    };
    let text = format!(
        "[tenants.acme.workflows]\nrefund = \"{}\"\nagain = \"{}\"\n[tenants.beta.workflows]\nship = \"{}\"\n",
        machine("b"),
        machine("a"),
        machine("b"),
    );
    let folder = Folder::with(&text);
    let tenants = TenantsFile::open(Some(&folder.path()), Vec::new(), shared).unwrap();
    let named: Vec<(String, String)> = tenants.named().workflows.into_iter().collect();
    let expected = [("a", "refund"), ("b", "refund of acme")];
    assert_eq!(
        named,
        expected.map(|(arn, name)| (machine(arn), name.to_owned()))
    );
    assert!(tenants.named().alert_topics.is_empty());
}

#[test]
fn a_change_holds_once_the_file_has_stopped_changing() {
    let folder = Folder::with(GOOD);
    let tenants = folder.open();
    assert_eq!(tenants.look(), Look::Unchanged);
    folder.write("");
    assert_eq!(tenants.look(), Look::Changing);
    assert!(tenants.find(&id("acme")).is_some());
    folder.write(MORE);
    assert_eq!(tenants.look(), Look::Changing);
    assert_eq!(tenants.look(), Look::Reloaded { tenants: 2 });
    let acme = tenants.find(&id("acme")).unwrap();
    assert_eq!(acme.status, TenantStatus::Suspended);
    assert!(tenants.find(&id("beta")).is_some());
    assert_eq!(tenants.look(), Look::Unchanged);
}

#[test]
fn a_wrong_change_keeps_the_last_good_one_and_is_told_once() {
    let folder = Folder::with(GOOD);
    let tenants = folder.open();
    folder.write("[tenants.ACME]\n[tenants.beta]\nstatsu = 1\n");
    tenants.look();
    let Look::Kept(errors) = tenants.look() else {
        panic!("a wrong file must not hold");
    };
    assert_eq!(errors.mistakes().len(), 2);
    assert!(tenants.find(&id("acme")).is_some());
    assert!(tenants.find(&id("beta")).is_none());
    assert_eq!(tenants.look(), Look::Unchanged);
    folder.write(MORE);
    tenants.look();
    assert_eq!(tenants.look(), Look::Reloaded { tenants: 2 });
}

#[test]
fn a_file_that_goes_away_keeps_the_last_good_one_and_may_come_back() {
    let folder = Folder::with(GOOD);
    let tenants = folder.open();
    fs::remove_file(folder.path()).unwrap();
    tenants.look();
    assert!(matches!(tenants.look(), Look::Kept(_)));
    assert_eq!(tenants.look(), Look::Unchanged);
    assert!(tenants.find(&id("acme")).is_some());
    folder.write(MORE);
    tenants.look();
    assert_eq!(tenants.look(), Look::Reloaded { tenants: 2 });
}

#[test]
fn a_file_moved_into_place_with_the_same_size_is_seen() {
    let folder = Folder::with("[tenants.aa]\n");
    let tenants = folder.open();
    let next = folder.path().with_extension("next");
    fs::write(&next, "[tenants.bb]\n").unwrap();
    fs::rename(&next, folder.path()).unwrap();
    tenants.look();
    assert_eq!(tenants.look(), Look::Reloaded { tenants: 1 });
    assert!(tenants.find(&id("bb")).is_some());
}

#[test]
fn a_file_that_is_too_large_is_refused_and_one_at_the_edge_is_not() {
    let most = usize::try_from(TENANTS_FILE_BYTES_MAX).unwrap();
    let folder = Folder::with(&format!("#{}", "x".repeat(most - 1)));
    assert_eq!(folder.open().count(), 0);
    folder.write(&format!("#{}", "x".repeat(most)));
    let errors =
        TenantsFile::open(Some(&folder.path()), Vec::new(), SharedNames::default()).unwrap_err();
    assert!(
        errors.to_string().contains("larger than 16 MiB"),
        "{errors}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_watched_file_is_reloaded_and_the_watch_ends_with_its_last_holder() {
    let folder = Folder::with(GOOD);
    let tenants = Arc::new(folder.open());
    let watch = tokio::spawn(tenants.watch(Duration::from_millis(5)));
    folder.write(MORE);
    let reloaded = async {
        while tenants.find(&id("beta")).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reloaded)
        .await
        .unwrap();
    drop(tenants);
    tokio::time::timeout(Duration::from_secs(10), watch)
        .await
        .unwrap()
        .unwrap();
}
