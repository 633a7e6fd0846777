//! `init` on real files: every client, backups, links, permissions, and nothing touched where it should not be.

use std::fs;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::cli::output::Captured;
use crate::config::Flags;
use crate::mesh::Timestamp;

/// A user with an empty home folder.
struct Person {
    home: tempfile::TempDir,
    environment: Environment,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn person(variables: &[(&str, &str)]) -> Person {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().canonicalize().unwrap();
    let environment = Environment {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        home: Some(path.clone()),
        data_home: Some(path.join("data")),
        settings_home: Some(path.join("settings")),
        working_dir: path.join("project"),
        login_name: Some("ada".to_owned()),
        executable: Some("/opt/bin/use_aws_mcp".into()),
        ..Environment::default()
    };
    Person { home, environment }
}

impl Person {
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    fn init(&self, line: &str) -> (ExitStatus, Captured) {
        self.init_with(line, &Flags::new())
    }

    fn init_with(&self, line: &str, flags: &Flags) -> (ExitStatus, Captured) {
        let words = std::iter::once("init").chain(line.split(' '));
        let line = Line::try_parse_from(words).unwrap();
        let config = Config::from_sources(flags, &self.environment, None).unwrap();
        let (mut output, captured) = Output::captured();
        let status = run(&line.arguments, &config, &self.environment, &mut output);
        (status, captured)
    }

    fn server(&self, file: &str, key: &str) -> serde_json::Value {
        let text = fs::read_to_string(self.path(file)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value[key]["agent-mesh"].clone()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

const FILES: [(&str, &str, &str); 7] = [
    (
        "claude-desktop",
        "settings/Claude/claude_desktop_config.json",
        "mcpServers",
    ),
    ("claude-code", ".claude.json", "mcpServers"),
    ("cursor", ".cursor/mcp.json", "mcpServers"),
    ("vscode", "settings/Code/User/mcp.json", "servers"),
    (
        "claude-code --scope project",
        "project/.mcp.json",
        "mcpServers",
    ),
    (
        "cursor --scope project",
        "project/.cursor/mcp.json",
        "mcpServers",
    ),
    (
        "vscode --scope project",
        "project/.vscode/mcp.json",
        "servers",
    ),
];

#[test]
fn each_client_finds_the_server_in_its_own_file_and_a_second_run_does_nothing() {
    let person = person(&[]);
    for (line, file, key) in FILES {
        let (status, said) = person.init(line);
        assert_eq!(status, ExitStatus::Success, "{}", said.stderr());
        assert!(
            said.stdout().contains(" has this server now, in "),
            "{}",
            said.stdout()
        );
        assert_eq!(person.server(file, key)["command"], "/opt/bin/use_aws_mcp");
        let before = fs::read(person.path(file)).unwrap();
        let (status, said) = person.init(line);
        assert_eq!(status, ExitStatus::Success);
        assert!(
            said.stdout().starts_with("Nothing to do: "),
            "{}",
            said.stdout()
        );
        assert_eq!(fs::read(person.path(file)).unwrap(), before);
    }
    assert_eq!(person.files(".cursor"), ["mcp.json"]);
    let (status, said) = person.init("claude-desktop --scope project");
    assert_eq!(status, ExitStatus::Failure);
    assert!(said.stderr().contains("--scope"), "{}", said.stderr());
}

#[test]
fn settings_that_are_set_go_along_and_secrets_do_not() {
    let person = person(&[
        ("AGENT_MESH_TENANT_ID", "acme"),
        ("AGENT_MESH_DATA_DIR", "mesh"),
        (
            "AGENT_MESH_STATE_KEYS",
            "8B8TzTrlZ6SSjMXgqvlvWCsyaZoVcWgSRHdNqGYTqIk=",
        ),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_PROFILE", "work"),
        ("AWS_CONFIG_FILE", "~/aws.ini"),
        ("AWS_SECRET_ACCESS_KEY", "hidden-secret"),
        ("LOG_LEVEL", "debug"),
        ("OTHER", "x"),
    ]);
    let flags = Flags::from([("AGENT_MESH_TOOLSETS", "events,kv".to_owned())]);
    let (_, said) = person.init_with("cursor", &flags);
    let env = person.server(".cursor/mcp.json", "mcpServers")["env"].clone();
    assert_eq!(
        env,
        serde_json::json!({
            "AGENT_MESH_DATA_DIR": person.path("project/mesh"),
            "AGENT_MESH_TENANT_ID": "acme",
            "AGENT_MESH_TOOLSETS": "kv,events",
            "AWS_CONFIG_FILE": person.path("aws.ini"),
            "AWS_PROFILE": "work",
            "AWS_REGION": "eu-west-1",
        })
    );
    assert!(
        said.stderr().contains("AWS_SECRET_ACCESS_KEY"),
        "{}",
        said.stderr()
    );
    assert!(!said.stderr().contains("hidden-secret"));
}

#[test]
fn a_data_folder_that_only_the_shell_knows_is_written_down() {
    let person = person(&[("XDG_DATA_HOME", "/elsewhere")]);
    person.init("cursor");
    let server = person.server(".cursor/mcp.json", "mcpServers");
    assert_eq!(
        server["env"]["AGENT_MESH_DATA_DIR"],
        serde_json::json!(person.path("data/agent-mesh"))
    );
}

#[test]
fn a_settings_file_goes_along_as_an_argument() {
    let person = person(&[]);
    let path = person.path("mesh.toml");
    fs::write(&path, "role = 'viewer'\n").unwrap();
    let config = Config::load(&Flags::new(), &person.environment, Some(&path)).unwrap();
    let entry = Entry::of(&config, &person.environment).unwrap();
    assert_eq!(entry.args, ["--config", path.to_str().unwrap()]);
    assert!(entry.env.is_empty());
}

#[test]
fn a_dry_run_shows_the_change_and_writes_nothing() {
    let person = person(&[]);
    let (status, said) = person.init("cursor --dry-run");
    assert_eq!(status, ExitStatus::Success);
    assert!(
        said.stdout().contains("\n+    \"agent-mesh\": {\n"),
        "{}",
        said.stdout()
    );
    assert!(!person.path(".cursor").exists());
}

#[test]
fn the_file_as_it_was_is_kept_under_a_name_of_its_own() {
    let person = person(&[]);
    let path = person.path("mcp.json");
    fs::write(&path, "{\"theme\": 1}\n").unwrap();
    let now = Timestamp::from_seconds(1_700_000_000);
    for number in 0..3 {
        let file = ClientFile::read(&path).unwrap();
        file.replace(&format!("{{\"n\": {number}}}\n"), now)
            .unwrap();
    }
    let names = [
        "mcp.json",
        "mcp.json.20231114T221320Z-2.bak",
        "mcp.json.20231114T221320Z-3.bak",
        "mcp.json.20231114T221320Z.bak",
    ];
    let found: Vec<String> = person
        .files("")
        .into_iter()
        .filter(|name| name.contains("mcp"))
        .collect();
    assert_eq!(found, names);
    let first = fs::read_to_string(person.path(names[3])).unwrap();
    assert_eq!(first, "{\"theme\": 1}\n");
    let last = fs::read_to_string(person.path(names[2])).unwrap();
    assert_eq!(last, "{\"n\": 1}\n");
}

#[test]
fn a_file_that_is_no_json_is_left_as_it_was() {
    let person = person(&[]);
    let path = person.path("broken.json");
    let broken = "{\n  \"mcpServers\": {\n    oops\n";
    fs::write(&path, broken).unwrap();
    let line = format!("cursor --path {}", path.display());
    let (status, said) = person.init(&line);
    assert_eq!(status, ExitStatus::Failure);
    let place = format!("{}:3:5: ", path.display());
    assert!(said.stderr().contains(&place), "{}", said.stderr());
    assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    assert_eq!(person.files(""), ["broken.json"]);
}

#[test]
fn a_file_that_changed_in_the_meantime_is_left_as_it_is() {
    let person = person(&[]);
    let path = person.path("mcp.json");
    let now = Timestamp::from_seconds(0);
    fs::write(&path, "{}").unwrap();
    let read = ClientFile::read(&path).unwrap();
    fs::write(&path, "{\"new\": 1}").unwrap();
    assert!(read.replace("x", now).unwrap_err().contains("meantime"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"new\": 1}");
    let none = ClientFile::read(&person.path("none.json")).unwrap();
    fs::write(person.path("none.json"), "{}").unwrap();
    assert!(none.replace("x", now).is_err());
    assert_eq!(fs::read_to_string(person.path("none.json")).unwrap(), "{}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_permissions_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let person = person(&[]);
    let (real, link) = (person.path("dotfiles.json"), person.path("mcp.json"));
    fs::write(&real, "{}\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, &link).unwrap();
    let (status, said) = person.init(&format!("cursor --path {}", link.display()));
    assert_eq!(status, ExitStatus::Success, "{}", said.stderr());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("agent-mesh"));
    for name in person
        .files("")
        .iter()
        .filter(|name| name.contains("dotfiles"))
    {
        let mode = fs::metadata(person.path(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640, "{name}");
    }
    assert_eq!(person.files("").len(), 3);
    let dangling = person.path("dangling.json");
    symlink(Path::new("/no/such/file"), &dangling).unwrap();
    let (status, said) = person.init(&format!("cursor --path {}", dangling.display()));
    assert_eq!(status, ExitStatus::Failure);
    assert!(said.stderr().contains("leads nowhere"), "{}", said.stderr());
}

#[test]
fn what_cannot_be_a_clients_file_is_refused() {
    let person = person(&[]);
    let folder = person.path("folder");
    fs::create_dir(&folder).unwrap();
    assert!(ClientFile::read(&folder).unwrap_err().contains("no file"));
    let binary = person.path("binary");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    assert!(ClientFile::read(&binary).unwrap_err().contains("UTF-8"));
    let large = fs::File::create(person.path("large")).unwrap();
    large.set_len(file::CLIENT_FILE_BYTES_MAX).unwrap();
    assert!(ClientFile::read(&person.path("large")).is_ok());
    large.set_len(file::CLIENT_FILE_BYTES_MAX + 1).unwrap();
    assert!(
        ClientFile::read(&person.path("large"))
            .unwrap_err()
            .contains("too large")
    );
}
