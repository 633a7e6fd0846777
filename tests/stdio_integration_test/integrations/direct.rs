//! Tools of a scripted server listed beside our own: called by their names, and told of when they change.

use serde_json::{Value, json};

use super::{SCRIPTED, python, repository, start, unmarked};
use crate::client::Client;

/// The tools of integrated servers that are listed.
fn direct(client: &mut Client) -> Vec<String> {
    let listed = client.request("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().expect("tools").iter();
    let names = tools.map(|tool| tool["name"].as_str().expect("a name").to_owned());
    names.filter(|name| name.contains("__")).collect()
}

fn called(client: &mut Client, name: &str, arguments: Value) -> Value {
    let id = client.post(
        "tools/call",
        json!({"name": name, "arguments": arguments,
        "_meta": {"progressToken": "p"}}),
    );
    client.answer(id)["result"].clone()
}

#[test]
fn chosen_tools_are_called_as_they_are_and_told_of_when_they_change() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    assert_eq!(direct(&mut client), Vec::<String>::new());
    let script = repository(SCRIPTED).display().to_string();
    client.ask(
        "integration_register",
        json!({"service_id": "scripted", "name": "Scripted", "server_type": "stdio", "command": python,
               "args": ["-S", "-E", &script], "direct_tools": ["raw", "count", "grow*", "none"]}),
    );
    client.ask("integration_connect", json!({"service_id": "scripted"}));
    wait_for_change(&mut client);
    let first = ["scripted__count", "scripted__grow", "scripted__raw"];
    assert_eq!(direct(&mut client), first);

    let result = r#"{"content":[{"type":"hologram","rays":[1.50,-0.0]}],"unknown":"member"}"#;
    let given: Value = serde_json::from_str(result).unwrap();
    for name in ["scripted__raw", "mcp__agent-mesh__scripted__raw"] {
        let passed = called(&mut client, name, json!({"result": result}));
        assert_eq!(unmarked(passed), given, "{name}");
    }
    let counted = called(&mut client, "scripted__count", json!({"to": 3}));
    assert_eq!(counted["content"][0]["text"], "counted");
    let steps = client.others().iter();
    let steps = steps.filter(|other| other["method"] == "notifications/progress");
    assert_eq!(steps.count(), 3);
    let refused = called(&mut client, "scripted__echo", json!({"text": "x"}));
    assert_eq!(refused["structuredContent"]["error"]["code"], "NOT_FOUND");

    // The server says that it has one tool more; nobody has to ask it.
    called(&mut client, "scripted__grow", json!({}));
    wait_for_change(&mut client);
    assert_eq!(
        direct(&mut client),
        [
            "scripted__count",
            "scripted__grow",
            "scripted__grown_0",
            "scripted__raw"
        ]
    );
    let grown = called(&mut client, "scripted__grown_0", json!({}));
    assert_eq!(grown["content"][0]["text"], "grown_0");
    client.ask("integration_disconnect", json!({"service_id": "scripted"}));
    wait_for_change(&mut client);
    assert_eq!(direct(&mut client), Vec::<String>::new());
}

/// Waits until one more change has been told than were waited for before.
fn wait_for_change(client: &mut Client) {
    let method = "notifications/tools/list_changed";
    if client.take_other(method) {
        return;
    }
    loop {
        let message = client.message().expect("a message");
        if message["method"] == method {
            return;
        }
    }
}
