//! Files of the four clients as people have them, before and after.

use super::*;

fn entry() -> Entry {
    Entry {
        command: "/opt/bin/use_aws_mcp".to_owned(),
        args: Vec::new(),
        env: [("AWS_REGION".to_owned(), "eu-west-1".to_owned())].into(),
    }
}

fn bare() -> Entry {
    Entry {
        env: [].into(),
        ..entry()
    }
}

fn merged(text: &str, client: Client, entry: &Entry) -> String {
    let after = merge(text, client, entry).unwrap().unwrap();
    assert_eq!(
        merge(&after, client, entry),
        Ok(None),
        "a second run:\n{after}"
    );
    after
}

fn message(text: &str) -> String {
    merge(text, Client::Cursor, &entry())
        .unwrap_err()
        .to_string()
}

const CLIENTS: [Client; 4] = [
    Client::ClaudeDesktop,
    Client::ClaudeCode,
    Client::Cursor,
    Client::Vscode,
];

#[test]
fn a_missing_or_empty_file_becomes_a_whole_one() {
    for text in ["", "\n", "  \n\n", "{}", "{\n}\n"] {
        for client in CLIENTS {
            let after = merged(text, client, &entry());
            let value: Value = serde_json::from_str(&after).unwrap();
            let server = &value[client.servers_key()]["agent-mesh"];
            assert_eq!(server["command"], "/opt/bin/use_aws_mcp", "{after}");
            assert_eq!(server["args"], json!([]));
            assert_eq!(server["env"], json!({"AWS_REGION": "eu-west-1"}));
            assert_eq!(server.get("type").is_some(), client.wants_type());
        }
    }
    assert_eq!(
        merged("", Client::ClaudeCode, &bare()),
        r#"{
  "mcpServers": {
    "agent-mesh": {
      "type": "stdio",
      "command": "/opt/bin/use_aws_mcp",
      "args": []
    }
  }
}
"#
    );
}

#[test]
fn claude_desktop_keeps_its_other_servers_and_settings() {
    let before = r#"{
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/ada"]
    }
  },
  "scale": 1.50
}
"#;
    assert_eq!(
        merged(before, Client::ClaudeDesktop, &entry()),
        r#"{
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/ada"]
    },
    "agent-mesh": {
      "command": "/opt/bin/use_aws_mcp",
      "args": [],
      "env": {
        "AWS_REGION": "eu-west-1"
      }
    }
  },
  "scale": 1.50
}
"#
    );
}

#[test]
fn visual_studio_code_keeps_comments_tabs_and_trailing_commas() {
    let before = "{\n\t// what I need at work\n\t\"inputs\": [],\n\t\"servers\": {\n\t\t/* old */\n\t\t\"git\": { \"type\": \"stdio\", \"command\": \"git-mcp\", }, // keep\n\t},\n}\n";
    let after = merged(before, Client::Vscode, &bare());
    assert_eq!(
        after,
        "{\n\t// what I need at work\n\t\"inputs\": [],\n\t\"servers\": {\n\t\t/* old */\n\t\t\"git\": { \"type\": \"stdio\", \"command\": \"git-mcp\", }, // keep\n\t\t\"agent-mesh\": {\n\t\t\t\"type\": \"stdio\",\n\t\t\t\"command\": \"/opt/bin/use_aws_mcp\",\n\t\t\t\"args\": [],\n\t\t},\n\t},\n}\n"
    );
}

#[test]
fn cursor_keeps_windows_line_ends_and_a_byte_order_mark() {
    let before = "\u{feff}{\r\n    \"mcpServers\": {\r\n        \"a\": {\r\n            \"url\": \"https://a\"\r\n        }\r\n    }\r\n}\r\n";
    let after = merged(before, Client::Cursor, &entry());
    assert!(after.starts_with('\u{feff}'));
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
    assert!(
        after.contains("        \"agent-mesh\": {\r\n            \"command\""),
        "{after}"
    );
    assert!(after.contains("\"url\": \"https://a\"\r\n"));
}

#[test]
fn claude_code_changes_only_its_own_entry_in_a_file_full_of_state() {
    let before = r#"{"numStartups":42,"projects":{"/work":{"mcpServers":{"agent-mesh":{"command":"other"}}}},"mcpServers":{"x":{"command":"x"}}}"#;
    let after = merged(before, Client::ClaudeCode, &bare());
    assert!(after.starts_with(r#"{"numStartups":42,"projects":{"/work":{"mcpServers":{"agent-mesh":{"command":"other"}}}},"mcpServers":{"#), "{after}");
    let value: Value = serde_json::from_str(&after).unwrap();
    assert_eq!(value["mcpServers"]["x"]["command"], "x");
    assert_eq!(value["mcpServers"]["agent-mesh"]["type"], "stdio");
}

#[test]
fn an_entry_that_is_there_is_brought_up_to_date_and_keeps_what_was_added_by_hand() {
    let before = r#"{
  "mcpServers": {
    "agent-mesh": {
      "command": "/old/use_aws_mcp", // moved soon
      "args": ["--read-only"],
      "env": {
        "AWS_REGION": "us-east-1",
        "MY_OWN": "stays"
      },
      "disabled": false
    }
  }
}
"#;
    let after = merged(before, Client::Cursor, &entry());
    let expected = before
        .replace("/old/use_aws_mcp", "/opt/bin/use_aws_mcp")
        .replace("us-east-1", "eu-west-1");
    assert_eq!(after, expected);
    let same = before.replace("/old/use_aws_mcp", "/opt/bin/use_aws_mcp");
    assert_eq!(merge(&same, Client::Cursor, &bare()), Ok(None));
}

#[test]
fn arguments_are_compared_as_values_and_not_as_text() {
    let entry = Entry {
        args: vec!["--config".to_owned(), "/m.toml".to_owned()],
        ..bare()
    };
    let before = "{\"mcpServers\": {\"agent-mesh\": {\"command\": \"\\/opt/bin/use_aws_mcp\", \"args\": [\n\"--config\", // mine\n\"/m.toml\"]}}}";
    assert_eq!(merge(before, Client::Cursor, &entry), Ok(None));
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (text, place) in [
        ("{\n  \"mcpServers\": {\n", "2:17: "),
        ("{\n  \"a\": 1\n  \"b\": 2\n}", "2:"),
        ("{\"a\": 'x'}", "1:7: "),
        ("{a: 1}", "1:2: "),
        ("{} {}", "1:4: "),
    ] {
        let message = message(text);
        assert!(message.starts_with(place), "{text:?}: {message}");
        assert!(message.contains("no valid JSON"), "{message}");
    }
}

#[test]
fn what_is_no_object_where_one_must_be_is_refused() {
    for (text, expected) in [
        ("[]", "the file holds no JSON object"),
        ("{\"mcpServers\": null}", "`mcpServers` is no object"),
        (
            "{\"mcpServers\": {\"agent-mesh\": 1}}",
            "`mcpServers.agent-mesh` is no object",
        ),
        (
            "{\"mcpServers\": {\"agent-mesh\": {\"url\": \"x\"}}}",
            "names a url",
        ),
        (
            "{\"mcpServers\": {\"agent-mesh\": {\"env\": []}}}",
            "`env` is no object",
        ),
        (
            "{\"mcpServers\": {}, \"mcpServers\": {}}",
            "`mcpServers` stands there twice",
        ),
        (
            "{\"mcpServers\": {\"agent-mesh\": {}, \"agent\\u002dmesh\": {}}}",
            "`agent-mesh` stands there twice in `mcpServers`",
        ),
    ] {
        assert!(
            message(text).contains(expected),
            "{text}: {}",
            message(text)
        );
    }
}
