//! What the doctor finds on installations that are whole, new, or broken in one place.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::config::Environment;

/// Runs the doctor under these settings; how it ended and what it printed as JSON.
fn look_at(folder: &Path, variables: &[(&str, &str)]) -> (ExitStatus, Value) {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = Environment {
        variables: variables.collect(),
        data_home: Some(folder.to_owned()),
        working_dir: folder.to_owned(),
        login_name: Some("ada".to_owned()),
        ..Environment::default()
    };
    let (mut output, captured) = Output::captured();
    let arguments = Arguments { json: true };
    let status = match Config::from_sources(&BTreeMap::new(), &environment, None) {
        Ok(config) => run(&arguments, &config, &mut output),
        Err(errors) => run_unconfigured(&arguments, &errors, &mut output),
    };
    (status, serde_json::from_str(&captured.stdout()).unwrap())
}

fn check<'report>(report: &'report Value, section: &str, part: &str) -> &'report Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks
        .iter()
        .find(|check| check["section"] == section && check["part"] == part);
    found.unwrap_or_else(|| panic!("no check of {section}, {part}: {report}"))
}

/// Every fault must say what to do about it.
fn assert_fixes(report: &Value) {
    for check in report["checks"].as_array().unwrap() {
        assert!(
            check["state"] == "ok" || check["fix"].is_string(),
            "{check}"
        );
    }
}

#[test]
fn on_a_new_machine_nothing_is_wrong_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (status, report) = look_at(folder.path(), &[]);
    assert_eq!(status, ExitStatus::Success, "{report}");
    assert_eq!(report["ok"], true);
    assert_eq!(report["settings"], serde_json::json!([]));
    let found = &check(&report, "data folder", "folder")["message"];
    assert!(found.as_str().unwrap().contains("not there yet"), "{found}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_in_use_opens_and_its_settings_are_told_with_their_source() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let variables = [
        ("AGENT_MESH_DATA_DIR", data.to_str().unwrap()),
        ("AGENT_MESH_TENANT_ID", "acme"),
        ("AGENT_MESH_NOTHING", "x"),
    ];
    let (status, report) = look_at(folder.path(), &variables);
    assert_eq!(status, ExitStatus::Success, "{report}");
    for part in ["folder", "table", "bucket", "bus"] {
        assert_eq!(
            check(&report, "data folder", part)["state"],
            "ok",
            "{report}"
        );
    }
    let tenant = serde_json::json!({
        "name": "AGENT_MESH_TENANT_ID", "value": "acme", "set_by": "AGENT_MESH_TENANT_ID",
    });
    assert!(report["settings"].as_array().unwrap().contains(&tenant));
    assert_eq!(
        report["warnings"], 1,
        "a setting that there is none of: {report}"
    );
    assert_eq!(
        check(&report, "settings", "configuration")["state"],
        "warning"
    );
    assert_fixes(&report);
}

#[test]
fn each_state_machine_and_topic_that_is_named_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent-mesh");
    std::fs::create_dir_all(data.join("workflows")).unwrap();
    let definition = r#"{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}"#;
    std::fs::write(data.join("workflows/refund.asl.json"), definition).unwrap();
    let tenants = folder.path().join("tenants.toml");
    let machine = "arn:aws:states:us-west-2:000000000000:stateMachine";
    let topic = "arn:aws:sns:us-west-2:000000000000:ops";
    let text = format!(
        "[tenants.acme.workflows]\nship = \"{machine}:ship\"\n[tenants.acme.alert_topics]\nours = \"arn:aws:sns:eu-west-1:000000000000:ours\"\n"
    );
    std::fs::write(&tenants, text).unwrap();
    let (workflows, topics) = (format!("refund={machine}:refund"), format!("ops={topic}"));
    let variables = [
        ("AGENT_MESH_TENANTS_FILE", tenants.to_str().unwrap()),
        ("AGENT_MESH_WORKFLOWS", &workflows),
        ("AGENT_MESH_ALERT_TOPICS", &topics),
    ];
    let (status, report) = look_at(folder.path(), &variables);
    assert_eq!(status, ExitStatus::Found, "{report}");
    let told = |part: &str| -> Vec<(String, String)> {
        let checks = report["checks"].as_array().unwrap().iter();
        let checks = checks.filter(|check| check["part"] == part);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        checks
            .map(|check| (text(&check["state"]), text(&check["message"])))
            .collect()
    };
    let workflows = told("workflow");
    assert_eq!(
        workflows[0],
        (
            "ok".to_owned(),
            format!("refund: {machine}:refund is there")
        )
    );
    assert_eq!(workflows[1].0, "fault");
    assert!(
        workflows[1].1.starts_with("ship of acme: "),
        "{workflows:?}"
    );
    let topics = told("alert topic");
    assert_eq!(topics[0].0, "fault");
    assert!(topics[0].1.contains("lies in eu-west-1"), "{topics:?}");
    assert_eq!(
        topics[1],
        ("ok".to_owned(), format!("ops: {topic} is there"))
    );
    assert_fixes(&report);
}

#[test]
fn a_data_folder_of_a_newer_version_is_a_fault_with_its_fix() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent-mesh");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("format"), "999\n").unwrap();
    let (status, report) = look_at(folder.path(), &[]);
    assert_eq!(status, ExitStatus::Found);
    assert_eq!(report["faults"], 1, "{report}");
    let found = check(&report, "data folder", "opens");
    assert!(
        found["message"].as_str().unwrap().contains("format 999"),
        "{found}"
    );
    assert_fixes(&report);
}

#[test]
fn a_suspended_tenant_and_keys_that_cannot_be_read_are_faults() {
    let folder = tempfile::tempdir().unwrap();
    let tenants = folder.path().join("tenants.toml");
    std::fs::write(&tenants, "[tenants.acme]\nstatus = \"suspended\"\n").unwrap();
    let variables = [
        ("AGENT_MESH_TENANTS_FILE", tenants.to_str().unwrap()),
        ("AGENT_MESH_TENANT_ID", "acme"),
    ];
    let (status, report) = look_at(folder.path(), &variables);
    assert_eq!(status, ExitStatus::Found);
    assert_eq!(check(&report, "identity", "caller")["state"], "fault");

    let keys = folder.path().join("keys.json");
    let variables = [
        ("AGENT_MESH_IDENTITY", "jwt"),
        ("AGENT_MESH_JWKS", keys.to_str().unwrap()),
        ("AGENT_MESH_JWT_ISSUER", "https://id.example"),
        ("AGENT_MESH_JWT_AUDIENCE", "agent-mesh"),
    ];
    for text in ["no JSON", r#"{"keys":[]}"#] {
        std::fs::write(&keys, text).unwrap();
        let (status, report) = look_at(folder.path(), &variables);
        assert_eq!(status, ExitStatus::Found, "{text}");
        assert_eq!(
            check(&report, "identity", "keys")["state"],
            "fault",
            "{text}"
        );
        assert_eq!(
            check(&report, "identity", "tenants")["state"],
            "fault",
            "{text}"
        );
        assert_fixes(&report);
    }
}

#[test]
fn a_wrong_configuration_is_told_mistake_by_mistake_and_ends_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("AGENT_MESH_KV_TABLE", "a"), ("AGENT_MESH_ROLE", "root")];
    let (status, report) = look_at(folder.path(), &variables);
    assert_eq!(status, ExitStatus::Configuration);
    assert_eq!(
        (&report["ok"], &report["faults"]),
        (&false.into(), &2.into())
    );
    assert!(report.get("settings").is_none());
    assert_fixes(&report);
}

#[test]
fn for_people_each_check_has_a_line_and_a_fix_stands_below_its_fault() {
    let mut report = Report::new(Some(Vec::new()));
    report.extend(
        "aws",
        vec![
            Check::ok("bus", "there"),
            Check::fault("table", "gone", "make it"),
        ],
    );
    let (mut output, captured) = Output::captured();
    report.print(false, &mut output);
    let told = captured.stdout();
    assert!(
        told.contains("\naws\n  ok       bus    there\n  fault    table  gone\n"),
        "{told}"
    );
    assert!(
        told.contains("\n                  fix: make it\n\n1 fault.\n"),
        "{told}"
    );
}

#[test]
fn the_ways_to_sign_in_are_told_and_what_is_wrong_with_the_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let place = path.to_str().unwrap().to_owned();
    let look = |variables: &[(&str, &str)]| {
        let (status, report) = look_at(folder.path(), variables);
        assert_fixes(&report);
        (status, report)
    };
    let said = |report: &Value, part: &str| {
        let check = check(report, "identity", part);
        let text = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
        (text("state"), text("message"))
    };
    let (_, report) = look(&[]);
    let (state, message) = said(&report, "sign-in");
    assert!(state == "ok" && message.contains("nobody"), "{message}");
    let (_, report) = look(&[("AGENT_MESH_JWT_ISSUER", "https://id.example")]);
    assert_eq!(said(&report, "sign-in").0, "warning", "{report}");

    let new = crate::outbound::tokens::NewToken {
        tenant: "local".parse().unwrap(),
        user: "robot".parse().unwrap(),
        role: crate::mesh::tenant::Role::User,
        scope: None,
        expires: Some(crate::mesh::Timestamp::from_seconds(1)),
    };
    let now = crate::mesh::Timestamp::from_seconds(0);
    crate::outbound::tokens::create(&path, new, now).unwrap();
    let variables = [
        ("AGENT_MESH_TOKENS_FILE", place.as_str()),
        ("AGENT_MESH_ANONYMOUS", "true"),
    ];
    let (status, report) = look(&variables);
    assert_eq!(status, ExitStatus::Success, "{report}");
    let (_, message) = said(&report, "sign-in");
    for part in ["static tokens", "viewer of tenant local"] {
        assert!(message.contains(part), "{message}");
    }
    let (state, message) = said(&report, "tokens");
    assert_eq!(state, "ok", "{message}");
    assert!(message.starts_with("1 token of ") && message.contains("1 of them expired"));

    let (_, report) = look(&[variables[0], ("AGENT_MESH_TENANT_ID", "acme")]);
    let (state, message) = said(&report, "tokens");
    assert!(state == "warning" && message.contains("local"), "{message}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let (_, report) = look(&variables);
        assert_eq!(said(&report, "tokens").0, "warning", "{report}");
    }
    std::fs::write(&path, "[[tokens]]\n").unwrap();
    let (status, report) = look(&variables);
    assert_eq!(status, ExitStatus::Found, "{report}");
    assert_eq!(said(&report, "tokens").0, "fault", "{report}");
}

#[test]
fn a_policy_service_that_does_not_answer_is_a_fault_and_an_audit_log_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let variables = [
        ("AGENT_MESH_AUTHORIZER_URL", nobody.as_str()),
        ("AGENT_MESH_AUDIT_LOG", "audit.jsonl"),
    ];
    let (status, report) = look_at(folder.path(), &variables);
    assert_eq!(status, ExitStatus::Found, "{report}");
    assert_fixes(&report);
    let policy = check(&report, "oversight", "policy");
    assert_eq!(policy["state"], "fault", "{policy}");
    assert!(policy["message"].as_str().unwrap().contains(&nobody));
    let audit = &check(&report, "oversight", "audit log")["message"];
    assert!(audit.as_str().unwrap().contains("plain hash"), "{audit}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
