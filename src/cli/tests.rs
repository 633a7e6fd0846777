//! The command line: its flags against the table of settings, exit statuses, and what commands print.

use std::collections::BTreeSet;

use super::*;
use crate::config::setting::SETTINGS;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        data_home: Some("/home/ada/.local/share".into()),
        working_dir: "/work".into(),
        login_name: Some("ada".to_owned()),
        ..Environment::default()
    }
}

fn run_line(line: &str, variables: &[(&str, &str)]) -> (ExitStatus, String, String) {
    let (mut output, captured) = Output::captured();
    let words = line.split_whitespace().map(OsString::from);
    let words = std::iter::once(OsString::from("use_aws_mcp")).chain(words);
    let status = run(words, &environment(variables), &mut output);
    (status, captured.stdout(), captured.stderr())
}

#[test]
fn clap_finds_nothing_wrong_with_the_command_line() {
    CommandLine::command().debug_assert();
}

#[test]
fn the_flags_are_those_of_the_table_of_settings() {
    let expected: BTreeSet<String> = SETTINGS
        .iter()
        .map(|setting| setting.flag())
        .chain(["config".to_owned()])
        .collect();
    let command = CommandLine::command();
    let global: BTreeSet<String> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect();
    assert_eq!(global, expected);
    for argument in command.get_arguments() {
        assert!(argument.get_help().is_some(), "{argument}");
    }
}

#[test]
fn each_flag_reaches_its_own_setting_before_and_after_the_command() {
    for setting in SETTINGS {
        let flag = setting.flag();
        let value = setting.example;
        for line in [
            format!("use_aws_mcp --{flag}={value} config show"),
            format!("use_aws_mcp config show --{flag}={value}"),
        ] {
            let line = CommandLine::try_parse_from(line.split(' ')).unwrap();
            let flags = line.settings.flags();
            assert_eq!(flags.len(), 1, "{flag}");
            assert_eq!(flags[setting.variable], value);
        }
    }
    let bare = CommandLine::try_parse_from(["use_aws_mcp", "--read-only", "config", "show"]);
    let flags = bare.unwrap().settings.flags();
    assert_eq!(flags["AGENT_MESH_READ_ONLY"], "true");
}

#[test]
fn a_wrong_command_line_is_2_and_a_wrong_configuration_78() {
    for line in [
        "--no-such-flag",
        "no-such-command",
        "init nobody",
        "--backend azure",
        "--kv-table=",
        "config",
    ] {
        let (status, stdout, stderr) = run_line(line, &[]);
        assert_eq!(status, ExitStatus::Usage, "{line}");
        assert!(stdout.is_empty() && !stderr.is_empty(), "{line}");
    }
    let wrong = [("AGENT_MESH_KV_TABLE", "a"), ("AGENT_MESH_ROLE", "root")];
    for line in ["", "config show", "config check", "init cursor --dry-run"] {
        let (status, stdout, stderr) = run_line(line, &wrong);
        assert_eq!(status, ExitStatus::Configuration, "{line}");
        assert!(stdout.is_empty(), "{line}: {stdout}");
        assert!(
            stderr.starts_with("2 mistakes in the configuration:\n"),
            "{stderr}"
        );
        assert!(stderr.contains("AGENT_MESH_KV_TABLE") && stderr.contains("AGENT_MESH_ROLE"));
    }
}

#[test]
fn help_version_and_examples_need_no_right_configuration() {
    let wrong = [("AGENT_MESH_KV_TABLE", "a")];
    for (line, word) in [
        ("--help", "--kv-table"),
        ("--version", env!("CARGO_PKG_VERSION")),
        ("config example", "#kv_table = "),
        ("config example --tenants", "[defaults.limits]"),
        ("config example --templates", "[templates.notes.slots]"),
        ("completions bash", "use_aws_mcp"),
        ("completions fish", "claude-desktop"),
    ] {
        let (status, stdout, stderr) = run_line(line, &wrong);
        assert_eq!(status, ExitStatus::Success, "{line}: {stderr}");
        assert!(stdout.contains(word), "{line}: {stdout}");
    }
}

#[test]
fn config_show_tells_values_and_where_they_came_from() {
    let variables = [
        ("AGENT_MESH_KV_TABLE", "mine"),
        ("AGENT_MESH_KV_TABEL", "x"),
    ];
    let (status, stdout, stderr) = run_line("config show --role viewer", &variables);
    assert_eq!(status, ExitStatus::Success);
    let row = |name: &str| {
        let line = stdout.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        row("AGENT_MESH_KV_TABLE"),
        ["AGENT_MESH_KV_TABLE", "mine", "AGENT_MESH_KV_TABLE"]
    );
    assert_eq!(
        row("AGENT_MESH_ROLE"),
        ["AGENT_MESH_ROLE", "viewer", "--role"]
    );
    assert_eq!(row("AGENT_MESH_JWKS"), ["AGENT_MESH_JWKS", "-", "default"]);
    assert!(
        stdout.contains("\nBackend: aws, because AGENT_MESH_KV_TABLE names"),
        "{stdout}"
    );
    assert!(
        stderr.contains("warning: AGENT_MESH_KV_TABEL is set"),
        "{stderr}"
    );
}

#[test]
fn config_show_as_json_has_every_setting() {
    let (_, stdout, _) = run_line("config show --json --kv-table mine", &[]);
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let settings = shown["settings"].as_array().unwrap();
    assert_eq!(settings.len(), SETTINGS.len());
    let table = settings
        .iter()
        .find(|setting| setting["name"] == "AGENT_MESH_KV_TABLE")
        .unwrap();
    assert_eq!(
        *table,
        serde_json::json!({
            "name": "AGENT_MESH_KV_TABLE", "flag": "--kv-table", "key": "kv_table",
            "source": "flag", "value": "mine", "set_by": "--kv-table",
        })
    );
    assert_eq!(shown["backend"]["name"], "aws");
}

#[test]
fn config_check_says_yes_or_tells_every_mistake_as_json() {
    let (status, stdout, _) = run_line("config check", &[]);
    assert_eq!(
        (status, stdout.as_str()),
        (ExitStatus::Success, "The configuration is right.\n")
    );
    let wrong = [
        ("AGENT_MESH_KV_TABLE", "a"),
        ("AGENT_MESH_TENANTS_FILE", "/none"),
    ];
    let (status, stdout, _) = run_line("config check --json", &wrong);
    assert_eq!(status, ExitStatus::Configuration);
    let checked: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(checked["ok"], false);
    assert_eq!(checked["mistakes"].as_array().unwrap().len(), 2);
    assert_eq!(checked["mistakes"][0]["name"], "AGENT_MESH_KV_TABLE");
}

#[test]
fn a_command_is_quiet_unless_somebody_set_a_level() {
    let config = |variables: &[(&str, &str)]| {
        Config::from_sources(&Default::default(), &environment(variables), None).unwrap()
    };
    let level = |variables: &[(&str, &str)], serves| log_settings(&config(variables), serves).level;
    assert_eq!(level(&[], false), LogLevel::Error);
    assert_eq!(level(&[], true), LogLevel::Info);
    assert_eq!(level(&[("LOG_LEVEL", "info")], false), LogLevel::Info);
}
