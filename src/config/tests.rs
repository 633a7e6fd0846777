//! Configuration as a whole: precedence, sources, every mistake at once, the backend, the documents.

use super::setting::SETTINGS;
use super::*;

pub(super) struct Given {
    flags: Flags,
    environment: Environment,
    file: Option<String>,
}

pub(super) fn given(variables: &[(&str, &str)]) -> Given {
    Given {
        flags: Flags::new(),
        environment: Environment {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            home: Some("/home/ada".into()),
            data_home: Some("/home/ada/.local/share".into()),
            working_dir: "/srv".into(),
            login_name: Some("ada".to_owned()),
            ..Environment::default()
        },
        file: None,
    }
}

impl Given {
    fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self
    }

    fn flag(mut self, variable: &'static str, value: &str) -> Self {
        self.flags.insert(variable, value.to_owned());
        self
    }

    pub(super) fn config(&self) -> Result<Config, ConfigErrors> {
        let file = self
            .file
            .as_deref()
            .map(|text| (Path::new("/etc/mesh/mesh.toml"), text));
        Config::from_sources(&self.flags, &self.environment, file)
    }

    fn ok(&self) -> Config {
        self.config().unwrap()
    }

    fn mistakes(&self) -> Vec<String> {
        let errors = self.config().unwrap_err();
        errors.mistakes().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn nothing_set_is_a_complete_configuration() {
    let config = given(&[]).ok();
    assert_eq!(config.backend.backend, Backend::Embedded);
    assert_eq!(config.resources.kv_table, "agent-mesh-kv");
    assert_eq!(config.resources.artifacts_bucket, "agent-mesh-artifacts");
    assert_eq!(config.resources.event_bus, "agent-mesh-events");
    assert_eq!(config.region, None);
    assert_eq!(
        config.data_dir,
        Path::new("/home/ada/.local/share/agent-mesh")
    );
    assert_eq!(
        config.outbox_dir,
        Path::new("/home/ada/.local/share/agent-mesh/outbox")
    );
    assert_eq!(config.caller.tenant.as_str(), "local");
    assert_eq!(config.caller.user.as_str(), "ada");
    assert_eq!(config.caller.role, crate::mesh::tenant::Role::Admin);
    assert_eq!(config.identity, Identity::Env);
    assert_eq!(config.toolsets, Toolsets::ALL);
    assert!(!config.read_only);
    assert_eq!(config.events.reads, EventReads::Each);
    assert_eq!(config.events.outbox_bytes_max, 1 << 30);
    assert_eq!(config.events.retention_days, 30);
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.log.format, LogFormat::Text);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.values.len(), SETTINGS.len());
    for (value, setting) in config.values.iter().zip(SETTINGS) {
        assert_eq!(value.setting.variable, setting.variable);
        assert_eq!(value.source, Source::Default);
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let all = given(&[("AGENT_MESH_KV_TABLE", "of-env")])
        .file("kv_table = 'of-file'\nevent_bus = 'of-file'\n")
        .flag("AGENT_MESH_KV_TABLE", "of-flag");
    let config = all.ok();
    assert_eq!(config.resources.kv_table, "of-flag");
    assert_eq!(config.resources.event_bus, "of-file");
    let source = |variable: &str| {
        let value = config
            .values
            .iter()
            .find(|value| value.setting.variable == variable)
            .unwrap();
        value.source.to_string()
    };
    assert_eq!(source("AGENT_MESH_KV_TABLE"), "--kv-table");
    assert_eq!(source("AGENT_MESH_EVENT_BUS"), "/etc/mesh/mesh.toml:2");
    assert_eq!(source("AGENT_MESH_ROLE"), "default");
    let without = given(&[("AGENT_MESH_KV_TABLE", "of-env")]).file("kv_table = 'of-file'\n");
    assert_eq!(without.ok().resources.kv_table, "of-env");
    let empty = given(&[("AGENT_MESH_KV_TABLE", " ")]).file("kv_table = 'of-file'\n");
    assert_eq!(empty.ok().resources.kv_table, "of-file");
}

#[test]
fn every_mistake_is_told_at_once_by_the_name_that_was_written() {
    let wrong = given(&[
        ("AGENT_MESH_KV_TABLE", "a"),
        ("AGENT_MESH_BUCKET_OWNER", "12"),
        ("AGENT_MESH_BACKEND", "azure"),
        ("AGENT_MESH_TENANT_ID", "ACME"),
        ("AGENT_MESH_USER_ID", "a b"),
        ("AGENT_MESH_ROLE", "root"),
        ("AWS_DEFAULT_REGION", "Oregon!"),
        ("AGENT_MESH_TOOLSETS", "kv,event"),
        ("RUST_LOG", "a=b=c=d"),
    ])
    .file("artifacts_bucket = 'No'\nkv_tabel = 'x'\nread_only = 3\n[nested]\na = 1\n")
    .flag("AGENT_MESH_EVENT_RETENTION_DAYS", "0")
    .flag("AGENT_MESH_OUTBOX_BYTES_MAX", "1GB");
    let mistakes = wrong.mistakes();
    let starts = [
        "AGENT_MESH_BACKEND: \"azure\": it is one of aws, embedded",
        "AGENT_MESH_KV_TABLE: \"a\": a table's name",
        "AWS_DEFAULT_REGION: \"Oregon!\": a region",
        "AGENT_MESH_BUCKET_OWNER: \"12\": an account is 12 digits",
        "AGENT_MESH_TENANT_ID: \"ACME\": a tenant id",
        "AGENT_MESH_USER_ID: \"a b\": a user id",
        "AGENT_MESH_ROLE: \"root\": it is one of viewer, user, admin",
        "AGENT_MESH_TOOLSETS: \"kv,event\": \"event\": it is one of kv, artifacts, events, workflows, integrations; did you mean `events`?",
        "--outbox-bytes-max: \"1GB\": it is a number of bytes from 1 MiB to 1024 GiB",
        "--event-retention-days: \"0\": it is a whole number from 1 to 3650",
        "RUST_LOG: \"a=b=c=d\": ",
        "/etc/mesh/mesh.toml:1: artifacts_bucket: \"No\": a bucket's name",
        "/etc/mesh/mesh.toml:2: kv_tabel: there is no such setting; did you mean `kv_table`?",
        "/etc/mesh/mesh.toml:3: read_only: it must be true or false, not a whole number",
        "/etc/mesh/mesh.toml:4: nested: there is no such setting",
    ];
    assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
    for (mistake, start) in mistakes.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}\n{start}");
    }
}

#[test]
fn every_setting_refuses_a_wrong_text_or_shows_a_right_one() {
    for setting in SETTINGS {
        let wrong = given(&[(setting.variable, "\u{1f980}=/,")]);
        match wrong.config() {
            Err(errors) => assert_eq!(errors.mistakes()[0].name, setting.variable),
            Ok(config) => {
                let value = config.value(setting).unwrap();
                assert_ne!(value.source, Source::Default, "{}", setting.variable);
                assert!(value.value.as_deref().unwrap().contains('\u{1f980}'));
            }
        }
    }
}

#[test]
fn a_variable_that_is_no_setting_is_a_warning_with_the_nearest_name() {
    let config = given(&[
        ("AGENT_MESH_KV_TABEL", "x"),
        ("AGENT_MESH_TEST_REQUIRE", "ministack"),
        ("AGENT_MESH_EMPTY", ""),
        ("AGENT_MESH_COLOUR", "red"),
        ("OTHER", "x"),
    ])
    .ok();
    let warnings = config.warnings.join("\n");
    assert_eq!(config.warnings.len(), 2, "{warnings}");
    assert!(warnings.contains("AGENT_MESH_KV_TABEL"), "{warnings}");
    assert!(warnings.contains("did you mean `AGENT_MESH_KV_TABLE`?"));
    assert_eq!(warnings.matches("did you mean").count(), 1, "{warnings}");
}

#[test]
fn what_rules_and_workflows_may_reach_is_read_and_reaches_every_tenant() {
    use crate::mesh::tenant::record::TenantDirectory;

    let machine = "arn:aws:states:us-west-2:123456789012:stateMachine:refund";
    let topic = "arn:aws:sns:us-west-2:123456789012:ops";
    let role = "arn:aws:iam::123456789012:role/events";
    let workflows = format!("refund={machine}, again={machine}:PROD");
    let config = given(&[
        ("AGENT_MESH_WORKFLOWS", &workflows),
        ("AGENT_MESH_ALERT_DOMAINS", "Example.com"),
        ("AGENT_MESH_NATIVE_RULES_MAX", "300"),
        ("AGENT_MESH_EVENTS_ROLE_ARN", role),
    ])
    .file(&format!("alert_topics = ['ops={topic}']\n"))
    .ok();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let automation = &config.automation;
    assert_eq!(
        automation.shared.workflows["again"],
        format!("{machine}:PROD")
    );
    assert_eq!(automation.shared.alert_topics["ops"], topic);
    assert_eq!(automation.alert_domains, ["example.com"]);
    assert_eq!(automation.native_rules_max, 300);
    assert_eq!(automation.events_role_arn.as_deref(), Some(role));
    let shown = config.value(&setting::WORKFLOWS).unwrap().value.clone();
    assert_eq!(
        shown,
        Some(format!("again={machine}:PROD,refund={machine}"))
    );
    let local = config.tenants.find(&config.caller.tenant).unwrap();
    assert_eq!(local.workflows["refund"], machine);
    assert_eq!(local.alert_topics["ops"], topic);
    assert_eq!(given(&[]).ok().automation, AutomationSettings::default());
}

#[test]
fn native_rules_and_their_role_are_warned_of_where_one_is_set_alone() {
    let rules = given(&[("AGENT_MESH_NATIVE_RULES_MAX", "1")]).ok().warnings;
    assert!(
        rules[0].contains("without AGENT_MESH_EVENTS_ROLE_ARN"),
        "{rules:?}"
    );
    let role = "arn:aws:iam::123456789012:role/events";
    let role = given(&[("AGENT_MESH_EVENTS_ROLE_ARN", role)]).ok().warnings;
    assert!(role[0].contains("does nothing"), "{role:?}");
    assert_eq!(
        given(&[("AGENT_MESH_NATIVE_RULES_MAX", "301")])
            .mistakes()
            .len(),
        1
    );
}

#[test]
fn the_backend_follows_from_what_is_named_and_says_why() {
    let resources = [
        "AGENT_MESH_KV_TABLE",
        "AGENT_MESH_ARTIFACTS_BUCKET",
        "AGENT_MESH_EVENT_BUS",
    ];
    for bits in 0..8_u8 {
        let named: Vec<(&str, &str)> = resources
            .iter()
            .enumerate()
            .filter(|(index, _)| bits & (1 << index) != 0)
            .map(|(_, name)| (*name, "some-name"))
            .collect();
        for explicit in [None, Some("aws"), Some("embedded")] {
            let mut variables = named.clone();
            variables.push(("AWS_REGION", "eu-central-1"));
            variables.push(("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"));
            if let Some(backend) = explicit {
                variables.push(("AGENT_MESH_BACKEND", backend));
            }
            let choice = given(&variables).ok().backend;
            let expected = match (explicit, bits) {
                (Some("aws"), _) => Backend::Aws,
                (Some(_), _) | (None, 0) => Backend::Embedded,
                (None, _) => Backend::Aws,
            };
            assert_eq!(choice.backend, expected, "{variables:?}");
            assert!(
                choice.reason.starts_with(expected.name()),
                "{}",
                choice.reason
            );
            let because = match (explicit, named.first()) {
                (Some(_), _) => "AGENT_MESH_BACKEND says so",
                (None, Some((name, _))) => name,
                (None, None) => "because none of AGENT_MESH_KV_TABLE, ",
            };
            assert!(choice.reason.contains(because), "{}", choice.reason);
        }
    }
    let by_file = given(&[]).file("event_bus = 'mine'\n").ok().backend;
    assert_eq!(by_file.backend, Backend::Aws);
    assert!(
        by_file.reason.contains("/etc/mesh/mesh.toml:1"),
        "{}",
        by_file.reason
    );
}

#[test]
fn the_region_is_the_one_that_was_named() {
    assert_eq!(given(&[]).ok().region, None);
    let region = |variables: &[(&str, &str)]| given(variables).ok().region.unwrap();
    assert_eq!(region(&[("AWS_DEFAULT_REGION", "eu-west-1")]), "eu-west-1");
    assert_eq!(
        region(&[
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_REGION", "eu-west-2")
        ]),
        "eu-west-2"
    );
    let file = given(&[("AWS_DEFAULT_REGION", "eu-west-1")]).file("region = 'us-east-1'\n");
    assert_eq!(file.ok().region.as_deref(), Some("eu-west-1"));
    let flag = given(&[("AWS_REGION", "eu-west-1")]).flag("AWS_REGION", "us-east-1");
    assert_eq!(flag.ok().region.as_deref(), Some("us-east-1"));
}

#[test]
fn on_aws_the_shared_default_tenant_is_warned_of() {
    let aws = given(&[("AGENT_MESH_BACKEND", "aws")]).ok();
    assert!(aws.warnings[0].contains("AGENT_MESH_TENANT_ID"));
    let named = given(&[
        ("AGENT_MESH_BACKEND", "aws"),
        ("AGENT_MESH_TENANT_ID", "acme"),
    ])
    .ok();
    assert!(named.warnings.is_empty());
    assert_eq!(named.caller.role, crate::mesh::tenant::Role::User);
}

#[test]
fn a_login_name_that_fits_no_user_id_is_hashed() {
    let mut odd = given(&[]);
    odd.environment.login_name = Some("Ada Lovelace".to_owned());
    let user = odd.ok().caller.user;
    assert!(user.as_str().starts_with('~'), "{user}");
    odd.environment.login_name = None;
    assert_eq!(odd.ok().caller.user.as_str(), "user");
}

#[test]
fn tokens_need_keys_issuers_and_audiences() {
    let mistakes = given(&[("AGENT_MESH_IDENTITY", "jwt")]).mistakes();
    assert_eq!(mistakes.len(), 3);
    for (mistake, name) in mistakes.iter().zip([
        "AGENT_MESH_JWKS",
        "AGENT_MESH_JWT_ISSUER",
        "AGENT_MESH_JWT_AUDIENCE",
    ]) {
        assert!(mistake.starts_with(name), "{mistake}");
    }
    let unused = given(&[("AGENT_MESH_JWT_ISSUER", "https://id")]).ok();
    assert!(unused.warnings.is_empty(), "{:?}", unused.warnings);
    assert!(unused.stdio_warnings[0].contains("does nothing while AGENT_MESH_IDENTITY is env"));
}

fn jwt(jwks: &str, more: &[(&str, &str)]) -> Given {
    let mut variables = vec![
        ("AGENT_MESH_IDENTITY", "jwt"),
        ("AGENT_MESH_JWKS", jwks),
        ("AGENT_MESH_JWT_ISSUER", "https://a, https://b"),
        ("AGENT_MESH_JWT_AUDIENCE", "mesh"),
    ];
    variables.extend(more);
    given(&variables)
}

#[test]
fn keys_come_from_a_file_from_https_or_from_this_machine() {
    for url in [
        "https://id.example/keys",
        "http://127.0.0.1:8080/k",
        "http://[::1]/k",
        "http://localhost/k",
    ] {
        let Identity::Jwt(settings) = jwt(url, &[]).ok().identity else {
            panic!("{url}");
        };
        assert_eq!(settings.jwks, JwksSource::Url(url.to_owned()));
        assert_eq!(settings.issuers, ["https://a", "https://b"]);
        assert_eq!(settings.audiences, ["mesh"]);
    }
    for bad in [
        "http://id.example/keys",
        "http://127.0.0.1.evil.example/k",
        "https://user:password@id.example/k",
        "ftp://id.example/k",
        "/no/such/keys.json",
        "https://",
    ] {
        assert_eq!(jwt(bad, &[]).mistakes().len(), 1, "{bad}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let Identity::Jwt(settings) = jwt(file.path().to_str().unwrap(), &[]).ok().identity else {
        panic!("a file of keys");
    };
    assert_eq!(settings.jwks, JwksSource::File(file.path().to_owned()));
}

#[test]
fn under_tokens_only_a_named_tenant_is_known_without_a_file() {
    use crate::mesh::tenant::record::TenantDirectory;

    let unnamed = jwt("https://id.example/keys", &[]).ok();
    assert_eq!(unnamed.tenants.count(), 0);
    assert!(unnamed.warnings[0].contains("every token will be refused"));
    let named = jwt(
        "https://id.example/keys",
        &[("AGENT_MESH_TENANT_ID", "acme")],
    )
    .ok();
    let record = named.tenants.find(&"acme".parse().unwrap()).unwrap();
    assert_eq!(record.issuers, ["https://a", "https://b"]);
}

#[test]
fn mistakes_of_the_tenants_file_are_told_with_all_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tenants.toml");
    std::fs::write(&path, "[tenants.BAD]\n[tenants.good]\nstatus = 1\n").unwrap();
    let both = given(&[
        ("AGENT_MESH_TENANTS_FILE", path.to_str().unwrap()),
        ("AGENT_MESH_ROLE", "root"),
    ]);
    assert_eq!(both.mistakes().len(), 3);
    let missing = given(&[("AGENT_MESH_TENANTS_FILE", "nowhere.toml")]).mistakes();
    assert!(
        missing[0].starts_with("AGENT_MESH_TENANTS_FILE: "),
        "{missing:?}"
    );
}

#[test]
fn relative_paths_start_from_where_they_were_written() {
    let both = given(&[("AGENT_MESH_DATA_DIR", "data")]).file("outbox_dir = 'outbox'\n");
    assert_eq!(both.ok().data_dir, Path::new("/srv/data"));
    assert_eq!(both.ok().outbox_dir, Path::new("/etc/mesh/outbox"));
    let home = given(&[("AGENT_MESH_DATA_DIR", "~/mesh")]).ok();
    assert_eq!(home.data_dir, Path::new("/home/ada/mesh"));
    assert_eq!(home.outbox_dir, Path::new("/home/ada/mesh/outbox"));
}

#[test]
fn a_user_without_a_home_must_name_a_folder() {
    let mut homeless = given(&[]);
    homeless.environment.data_home = None;
    assert!(homeless.mistakes()[0].starts_with("AGENT_MESH_DATA_DIR: "));
    homeless
        .environment
        .variables
        .insert("AGENT_MESH_DATA_DIR".to_owned(), "/data".to_owned());
    assert_eq!(homeless.ok().data_dir, Path::new("/data"));
}

#[test]
fn a_config_file_that_cannot_be_read_is_told_with_all_others() {
    let wrong = given(&[("AGENT_MESH_ROLE", "root")]);
    let errors = Config::load(
        &wrong.flags,
        &wrong.environment,
        Some(Path::new("gone.toml")),
    )
    .unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.mistakes().len(), 2, "{text}");
    assert!(text.contains("/srv/gone.toml: --config: "), "{text}");
}

#[test]
fn a_config_file_is_read_up_to_its_limit() {
    let most = usize::try_from(CONFIG_FILE_BYTES_MAX).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.toml");
    let right = given(&[]);
    let load = |text: String| {
        std::fs::write(&path, text).unwrap();
        Config::load(&right.flags, &right.environment, Some(&path))
    };
    let config = load(format!("role = 'viewer'\n{}", "#".repeat(most - 16))).unwrap();
    assert_eq!(config.caller.role, crate::mesh::tenant::Role::Viewer);
    assert_eq!(config.file, Some(path.clone()));
    assert!(load(format!("role = 'viewer'\n{}", "#".repeat(most - 15))).is_err());
}

#[test]
fn the_example_file_parses_with_every_line_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let [tenants, templates] =
        ["tenants.toml", "templates.toml"].map(|name| folder.path().join(name));
    std::fs::write(&tenants, "").unwrap();
    std::fs::write(&templates, "").unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "k".repeat(64)).unwrap();
    let text = example();
    assert_eq!(given(&[]).file(&text).ok().values.len(), SETTINGS.len());
    let switched_on: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let on = given(&[])
        .file(&switched_on)
        .flag(
            "AGENT_MESH_AUDIT_LOG",
            folder.path().join("audit.jsonl").to_str().unwrap(),
        )
        .flag("AGENT_MESH_TLS_CERT", key.to_str().unwrap())
        .flag("AGENT_MESH_TLS_KEY", key.to_str().unwrap())
        .flag("AGENT_MESH_AUDIT_KEY_FILE", key.to_str().unwrap())
        .flag("AGENT_MESH_AUTHORIZER_KEY_FILE", key.to_str().unwrap())
        .flag("AGENT_MESH_TENANTS_FILE", tenants.to_str().unwrap())
        .flag("AGENT_MESH_TEMPLATES_FILE", templates.to_str().unwrap());
    for value in on.ok().values {
        assert_ne!(value.source, Source::Default, "{}", value.setting.variable);
    }
}

#[test]
fn the_table_of_the_documents_has_a_row_for_each_setting() {
    let table = settings_table_markdown();
    assert_eq!(table.lines().count(), SETTINGS.len() + 2);
    for (row, setting) in table.lines().skip(2).zip(SETTINGS) {
        assert!(
            row.starts_with(&format!("| `{}`", setting.variable)),
            "{row}"
        );
        assert_eq!(row.matches(" | ").count(), 3, "{row}");
    }
}
