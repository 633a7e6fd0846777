//! The commands as a person types them, and what is left of a token afterwards.

use std::fs;
use std::path::Path;

use clap::Parser as _;

use super::*;
use crate::cli::CommandLine;
use crate::config::{Environment, Flags};

const TENANTS: &str = "[tenants.acme]\n";

/// Runs the command of a whole command line in `folder`, with the tenants `local` and `acme`.
fn run_line(folder: &Path, line: &str) -> (ExitStatus, String, String) {
    let tenants = folder.join("tenants.toml");
    fs::write(&tenants, TENANTS).unwrap();
    let variables = [
        ("AGENT_MESH_DATA_DIR", folder.join("data")),
        ("AGENT_MESH_TENANTS_FILE", tenants),
    ];
    let environment = Environment {
        variables: variables
            .into_iter()
            .map(|(name, path)| (name.to_owned(), path.to_str().unwrap().to_owned()))
            .collect(),
        data_home: Some(folder.to_owned()),
        working_dir: folder.to_owned(),
        login_name: Some("ada".to_owned()),
        ..Environment::default()
    };
    let config = Config::from_sources(&Flags::new(), &environment, None).unwrap();
    let words = ["use_aws_mcp", "tokens"].into_iter().chain(line.split(' '));
    let parsed = match CommandLine::try_parse_from(words) {
        Ok(parsed) => parsed,
        Err(error) => return (ExitStatus::Usage, String::new(), error.to_string()),
    };
    let Some(crate::cli::Command::Tokens(arguments)) = parsed.command else {
        panic!("{line}");
    };
    let (mut output, captured) = Output::captured();
    let status = run(&arguments, &config, &mut output);
    (status, captured.stdout(), captured.stderr())
}

fn listed(folder: &Path) -> Vec<Value> {
    let (status, stdout, stderr) = run_line(folder, "list --json");
    assert_eq!(status, ExitStatus::Success, "{stderr}");
    let list: Value = serde_json::from_str(&stdout).unwrap();
    list["tokens"].as_array().unwrap().clone()
}

#[test]
fn a_token_is_shown_once_listed_without_its_text_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let line = "create --tenant acme --user ada --role user --scope kv.read,kv.write --scope events.read \
                --expires 90d";
    let (status, stdout, stderr) = run_line(folder.path(), line);
    assert_eq!(status, ExitStatus::Success, "{stderr}");
    let token = stdout.trim();
    let (id, secret) = token
        .strip_prefix("mesh_")
        .unwrap()
        .split_once('_')
        .unwrap();
    assert_eq!((id.len(), secret.len()), (26, 43), "{token}");
    assert!(stderr.contains(id) && !stderr.contains(secret), "{stderr}");
    let path = folder.path().join("data/tokens.toml");
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept.contains(id) && !kept.contains(secret), "{kept}");
    let tokens = listed(folder.path());
    assert_eq!(tokens.len(), 1);
    let (seen, expires) = (&tokens[0], tokens[0]["expires"].as_str().unwrap());
    assert_eq!(
        (&seen["id"], &seen["tenant"], &seen["user"], &seen["role"]),
        (&json!(id), &json!("acme"), &json!("ada"), &json!("user"))
    );
    assert_eq!(
        seen["scopes"],
        json!(["kv.read", "kv.write", "events.read"])
    );
    let lived = |text: &str| text.parse::<Timestamp>().unwrap();
    let lifetime = lived(expires).since(lived(seen["created"].as_str().unwrap()));
    assert_eq!(lifetime, Duration::from_secs(90 * 24 * 3600));
    let (_, shown, _) = run_line(folder.path(), "list");
    assert!(shown.contains(id) && !shown.contains(secret), "{shown}");

    let (status, _, stderr) = run_line(folder.path(), &format!("revoke {id}"));
    assert_eq!(status, ExitStatus::Success, "{stderr}");
    assert!(listed(folder.path()).is_empty());
    let (status, _, stderr) = run_line(folder.path(), &format!("revoke {id}"));
    assert_eq!(status, ExitStatus::Failure);
    assert!(
        stderr.contains(id) && stderr.contains("tokens list"),
        "{stderr}"
    );
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/tokens.toml");
    for _ in 0..2 {
        run_line(
            folder.path(),
            "create --tenant local --user ada --role admin",
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert_eq!(listed(folder.path()).len(), 2);
}

#[test]
fn what_would_be_refused_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let (status, stdout, stderr) = run_line(
        folder.path(),
        "create --tenant nobody --user ada --role user",
    );
    assert_eq!(status, ExitStatus::Failure);
    assert!(stdout.is_empty() && stderr.contains("nobody"), "{stderr}");
    for usage in [
        "create --tenant acme --user ada",
        "create --tenant acme --role user",
        "create --user ada --role user",
        "create --tenant ACME --user ada --role user",
        "create --tenant acme --user a#a --role user",
        "create --tenant acme --user ada --role root",
        "create --tenant acme --user ada --role user --scope kv.everything",
        "create --tenant acme --user ada --role user --expires 90",
        "create --tenant acme --user ada --role user --expires 0d",
        "create --tenant acme --user ada --role user --expires -1d",
        "revoke mesh_x",
        "",
    ] {
        let (status, stdout, _) = run_line(folder.path(), usage);
        assert_eq!(status, ExitStatus::Usage, "{usage}");
        assert!(stdout.is_empty(), "{usage}: {stdout}");
    }
    assert!(listed(folder.path()).is_empty());
}

#[test]
fn a_lifetime_is_parsed_at_its_edges() {
    for (text, seconds) in [
        ("1m", 60),
        ("2h", 7200),
        ("90d", 7_776_000),
        ("2w", 1_209_600),
        ("3660d", 316_224_000),
    ] {
        assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for bad in [
        "",
        "d",
        "90",
        "0d",
        "3661d",
        "1y",
        "90 d",
        "1.5d",
        "99999999999999999999d",
        "18446744073709551615w",
    ] {
        assert!(lifetime(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_broken_file_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let path = data.join("tokens.toml");
    fs::write(&path, "[[tokens]]\nid = 5\n").unwrap();
    for line in ["create --tenant acme --user ada --role user", "list"] {
        let (status, stdout, stderr) = run_line(folder.path(), line);
        assert_eq!(status, ExitStatus::Failure, "{line}");
        assert!(stdout.is_empty(), "{line}: {stdout}");
        assert!(
            stderr.contains("tokens.toml: line 2") && stderr.contains("doctor"),
            "{stderr}"
        );
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "[[tokens]]\nid = 5\n");
}
