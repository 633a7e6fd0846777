//! The commands as a person types them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;

use super::*;
use crate::mesh::store::secrets::SECRET_BYTES_MAX;

const CANARY: &str = "canary-9d2e";

fn environment(folder: &Path, variables: &[(&str, &str)]) -> Environment {
    let data = folder.join("data").to_str().unwrap().to_owned();
    let own = [("AGENT_MESH_DATA_DIR", data.as_str())];
    Environment {
        variables: own
            .iter()
            .chain(variables)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        data_home: Some(folder.to_owned()),
        working_dir: folder.to_owned(),
        login_name: Some("ada".to_owned()),
        ..Environment::default()
    }
}

fn secrets(
    folder: &Path,
    words: &[&str],
    variables: &[(&str, &str)],
) -> (ExitStatus, String, String) {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    let environment = environment(folder, variables);
    let config = Config::from_sources(&BTreeMap::new(), &environment, None).unwrap();
    let words = ["secrets"].iter().chain(words);
    let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
    let (mut output, captured) = Output::captured();
    let status = run(&line.arguments, &config, &environment, &mut output);
    let (said, faults) = (captured.stdout(), captured.stderr());
    assert!(
        !format!("{said}{faults}").contains(CANARY),
        "{said}{faults}"
    );
    (status, said, faults)
}

/// The text that is kept for the caller of `variables`.
fn kept(
    folder: &Path,
    scope: Scope,
    name: &str,
    variables: &[(&str, &str)],
) -> Option<SecretString> {
    let environment = environment(folder, variables);
    let config = Config::from_sources(&BTreeMap::new(), &environment, None).unwrap();
    let (mut output, _) = Output::captured();
    let mut found = None;
    InProcess::run(&config, &mut output, async |server, _| {
        let caller = server.caller().await.unwrap();
        let user = caller.user_id();
        #[expect(
            clippy::disallowed_methods,
            reason = "this test stands behind the seam"
        )]
        let key = crate::mesh::store::key::trial::secret(caller.tenant_id(), scope, user, name);
        found = server.secret_store().get(&key).await.unwrap();
        ExitStatus::Success
    });
    found
}

#[test]
fn a_secret_is_set_listed_by_its_name_and_removed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let variables = [("GH", CANARY)];
    let set = ["set", "GITHUB_TOKEN", "--from-env", "GH"];
    let (status, said, faults) = secrets(path, &set, &variables);
    assert_eq!(status, ExitStatus::Success, "{faults}");
    assert!(said.contains("${secret:GITHUB_TOKEN}"), "{said}");
    let found = kept(path, Scope::User, "GITHUB_TOKEN", &[]).unwrap();
    assert_eq!(found.expose_secret(), CANARY);
    fs::write(path.join("token.txt"), format!("{CANARY}-shared\n")).unwrap();
    let set = [
        "set",
        "shared",
        "--scope",
        "tenant",
        "--from-file",
        "token.txt",
    ];
    let (status, said, _) = secrets(path, &set, &[]);
    assert_eq!(status, ExitStatus::Success);
    assert!(said.contains("shared by the tenant"), "{said}");
    let found = kept(path, Scope::Tenant, "shared", &[]).unwrap();
    assert_eq!(found.expose_secret(), format!("{CANARY}-shared"));
    let (_, said, _) = secrets(path, &["list"], &[]);
    assert_eq!(said, "GITHUB_TOKEN\nshared (shared by the tenant)\n");
    let (_, said, _) = secrets(path, &["list", "--scope", "tenant"], &[]);
    assert_eq!(said, "shared\n");
    let remove = ["remove", "GITHUB_TOKEN"];
    assert_eq!(secrets(path, &remove, &[]).0, ExitStatus::Success);
    let (status, _, faults) = secrets(path, &remove, &[]);
    assert_eq!(status, ExitStatus::Failure);
    assert!(
        faults.contains("there is no secret GITHUB_TOKEN"),
        "{faults}"
    );
    assert_eq!(secrets(path, &["list", "--scope", "user"], &[]).1, "");
}

#[test]
fn a_person_reaches_what_the_role_allows_and_no_other_persons_secrets() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let as_user = |user: &'static str, role: &'static str| {
        [
            ("AGENT_MESH_TENANT_ID", "acme"),
            ("AGENT_MESH_USER_ID", user),
            ("AGENT_MESH_ROLE", role),
            ("GH", CANARY),
        ]
    };
    let set = ["set", "a", "--from-env", "GH"];
    let shared = ["set", "a", "--from-env", "GH", "--scope", "tenant"];
    assert_eq!(
        secrets(path, &set, &as_user("ada", "user")).0,
        ExitStatus::Success
    );
    for (words, variables) in [
        (&shared[..], as_user("ada", "user")),
        (&set[..], as_user("vic", "viewer")),
        (&["list"], as_user("vic", "viewer")),
        (&["list", "--scope", "tenant"], as_user("ada", "user")),
        (
            &["remove", "a", "--scope", "tenant"],
            as_user("ada", "user"),
        ),
    ] {
        let (status, said, faults) = secrets(path, words, &variables);
        assert_eq!(
            (status, said.as_str()),
            (ExitStatus::Failure, ""),
            "{words:?}"
        );
        assert!(faults.contains("lacks the permission"), "{faults}");
    }
    assert_eq!(
        secrets(path, &shared, &as_user("root", "admin")).0,
        ExitStatus::Success
    );
    assert_eq!(secrets(path, &["list"], &as_user("ada", "user")).1, "a\n");
    assert_eq!(secrets(path, &["list"], &as_user("bob", "user")).1, "");
    let (status, ..) = secrets(path, &["remove", "a"], &as_user("bob", "user"));
    assert_eq!(status, ExitStatus::Failure);
    assert!(kept(path, Scope::User, "a", &as_user("ada", "user")).is_some());
    // Another tenant's user of the same name is somebody else.
    assert_eq!(
        secrets(path, &["list"], &[("AGENT_MESH_USER_ID", "ada")]).1,
        ""
    );
}

#[test]
fn what_cannot_be_set_is_told_before_anything_is_opened() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("large"), "x".repeat(SECRET_BYTES_MAX + 1)).unwrap();
    fs::write(path.join("empty"), "\n").unwrap();
    for (words, told) in [
        (["--from-env", "NONE"], "the variable NONE is not set"),
        (["--from-file", "none"], "No such file"),
        (["--from-file", "large"], "at most 16 KiB"),
        (["--from-file", "empty"], "no secret in it"),
    ] {
        let words: Vec<&str> = ["set", "a"].iter().chain(&words).copied().collect();
        let (status, _, faults) = secrets(path, &words, &[]);
        assert_eq!(status, ExitStatus::Usage);
        assert!(faults.contains(told), "{faults}");
    }
    assert!(!path.join("data").exists());
}

#[test]
fn a_secret_is_never_an_argument_and_names_are_checked() {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        _arguments: Arguments,
    }
    let parses = |words: &[&str]| {
        let words = ["secrets"].iter().chain(words);
        <Line as clap::Parser>::try_parse_from(words).is_ok()
    };
    assert!(parses(&["set", "a.b_c-1"]));
    for words in [
        &["set", "a", CANARY][..],
        &["set", "a", "--value", CANARY],
        &["set", "a b"],
        &["set", ""],
        &["set", "a/b"],
        &["set", &"x".repeat(65)],
        &["set", "a", "--from-env", "X", "--from-file", "y"],
        &["set", "a", "--scope", "all"],
    ] {
        assert!(!parses(words), "{words:?}");
    }
}

#[test]
fn under_tokens_nobody_is_anybody_here() {
    let folder = TempDir::new().unwrap();
    let keys = folder.path().join("keys.json");
    fs::write(&keys, r#"{"keys":[]}"#).unwrap();
    let variables = [
        ("AGENT_MESH_IDENTITY", "jwt"),
        ("AGENT_MESH_JWKS", keys.to_str().unwrap()),
        ("AGENT_MESH_JWT_ISSUER", "https://id.example"),
        ("AGENT_MESH_JWT_AUDIENCE", "agent-mesh"),
    ];
    let (status, _, faults) = secrets(folder.path(), &["list"], &variables);
    assert_eq!(status, ExitStatus::Failure);
    assert!(faults.contains("identity jwt"), "{faults}");
}
