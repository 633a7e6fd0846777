//! The older dashboard: a parent that serves many tenants over one pipe, and how it calls.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, result_of};
use crate::server::Start;
use crate::token::{AUDIENCE, ISSUER, Provider};

const UNAUTHENTICATED: i64 = -32010;
const SUSPENDED: i64 = -32011;

const TENANTS: &str = r#"
[tenants.acme]
issuers = ["https://id.example"]

[tenants.globex]
issuers = ["https://id.example"]

[tenants.closed]
status = "suspended"
issuers = ["https://id.example"]
"#;

/// The member of `_meta` that carries the token.
const IDENTITY: &str = "com.agent-mesh/identity";

/// The dashboard's server process, with the MCP server that it started.
pub(crate) struct Dashboard {
    pub(crate) client: Client,
    provider: Provider,
    _folder: TempDir,
}

impl Dashboard {
    /// Starts the server for tenants that sign in by token, with further settings.
    pub(crate) fn start(further: impl FnOnce(Start) -> Start) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = Provider::new();
        std::fs::write(
            folder.path().join("keys.json"),
            provider.key_set().to_string(),
        )
        .unwrap();
        std::fs::write(folder.path().join("tenants.toml"), TENANTS).unwrap();
        let start = Start::on(folder.path())
            .set("AGENT_MESH_IDENTITY", "jwt")
            .set("AGENT_MESH_JWKS", "keys.json")
            .set("AGENT_MESH_JWT_ISSUER", ISSUER)
            .set("AGENT_MESH_JWT_AUDIENCE", AUDIENCE)
            .set("AGENT_MESH_TENANTS_FILE", "tenants.toml");
        let mut client = Client::of(further(start).spawn());
        // What its SDK asks for.
        client.initialize("2025-06-18");
        Self {
            client,
            provider,
            _folder: folder,
        }
    }

    /// A token for a user of a tenant.
    pub(crate) fn token(&self, tenant: &str, user: &str, role: &str) -> String {
        self.provider.token(tenant, user, role, 0)
    }

    /// A token that was good once.
    pub(crate) fn expired_token(&self, tenant: &str, user: &str) -> String {
        self.provider.token(tenant, user, "admin", 1000)
    }

    fn post(&mut self, token: Option<&str>, tool: &str, arguments: &Value) -> u64 {
        let mut params = json!({"name": tool, "arguments": arguments});
        if let Some(token) = token {
            params["_meta"] = json!({IDENTITY: token});
        }
        self.client.post("tools/call", params)
    }

    /// What the dashboard makes of an answer: the first text, as JSON. It ignores `isError`.
    pub(crate) fn ask(&mut self, token: &str, tool: &str, arguments: Value) -> Value {
        let id = self.post(Some(token), tool, &arguments);
        let result = result_of(self.client.answer(id));
        serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap()
    }

    /// The code of the protocol's error that a call is refused with, where it is refused.
    pub(crate) fn refusal(
        &mut self,
        token: Option<&str>,
        tool: &str,
        arguments: Value,
    ) -> Option<i64> {
        let id = self.post(token, tool, &arguments);
        self.client.answer(id)["error"]["code"].as_i64()
    }
}

/// What the dashboard puts into the arguments of every call: whom it believes to act for.
fn context(user: &str) -> Value {
    json!({"userId": user, "personalNamespace": format!("user-{user}"),
        "organizationId": "org_1", "organizationSlug": "org"})
}

fn with_context(mut arguments: Value, user: &str) -> Value {
    arguments["_context"] = context(user);
    arguments
}

#[test]
fn it_calls_by_any_of_its_names() {
    let mut dashboard = Dashboard::start(|start| start);
    let token = dashboard.token("acme", "ada", "user");
    let names = [
        ("mcp__agent-mesh__kv_set", "mcp__agent-mesh__kv_get"),
        ("mcp__aws__kv_set", "mcp__aws__kv_get"),
        ("kv.set", "kv.get"),
        ("kv_set", "kv_get"),
    ];
    for (number, (set, get)) in names.into_iter().enumerate() {
        let arguments = with_context(json!({"key": "a", "value": number}), "ada");
        let stored = dashboard.ask(&token, set, arguments);
        assert_eq!(stored["key"], "a", "{set}: {stored}");
        let found = dashboard.ask(&token, get, with_context(json!({"key": "a"}), "ada"));
        assert_eq!(found["value"], number, "{get}: {found}");
    }
    for strange in [
        "mcp__kv_get",
        "mcp__aws__nothing",
        "kv.nothing",
        "mcp__aws__kv_get__",
    ] {
        let refused = dashboard.refusal(Some(&token), strange, json!({"key": "a"}));
        assert_eq!(refused, Some(-32602), "{strange}");
    }
    dashboard.client.finish();
}

#[test]
fn tenants_on_one_pipe_do_not_see_each_other_whatever_the_arguments_say() {
    let mut dashboard = Dashboard::start(|start| start);
    let ada = dashboard.token("acme", "ada", "admin");
    let bob = dashboard.token("acme", "bob", "admin");
    let eve = dashboard.token("globex", "ada", "admin");
    for scope in ["user", "tenant"] {
        let key = format!("plan-{scope}");
        let set = json!({"key": key, "value": "of acme", "scope": scope});
        dashboard.ask(&ada, "kv_set", with_context(set, "ada"));
        let put = json!({"key": key, "content": "of acme", "scope": scope});
        dashboard.ask(&ada, "artifacts_put", with_context(put, "ada"));
        for (token, sees) in [(&ada, true), (&bob, scope == "tenant"), (&eve, false)] {
            // She says that she is somebody else, as older dashboards do for their users.
            let get = with_context(json!({"key": key, "scope": scope}), "ada");
            for tool in ["kv_get", "artifacts_get"] {
                let found = dashboard.ask(token, tool, get.clone());
                assert_eq!(found["found"], sees, "{scope} {tool}: {found}");
            }
            let list = with_context(json!({"prefix": key, "scope": scope}), "ada");
            for tool in ["kv_list", "artifacts_list"] {
                let items = dashboard.ask(token, tool, list.clone());
                assert_eq!(
                    items["items"].as_array().unwrap().len(),
                    usize::from(sees),
                    "{items}"
                );
            }
        }
    }
    for (token, others) in [(&ada, "globex"), (&eve, "acme")] {
        let events = dashboard.ask(token, "events_query", with_context(json!({}), "ada"));
        assert!(!events["events"].as_array().unwrap().is_empty(), "{events}");
        assert!(!events.to_string().contains(others), "{events}");
    }
    let hers = dashboard.ask(&eve, "events_query", json!({"tool": "kv_set"}));
    assert_eq!(hers["events"], json!([]));
    dashboard.client.finish();
}

#[test]
fn identities_beside_the_parameters_are_dropped() {
    let mut dashboard = Dashboard::start(|start| start);
    let ada = dashboard.token("acme", "ada", "user");
    let eve = dashboard.token("globex", "eve", "user");
    dashboard.ask(
        &ada,
        "kv_set",
        json!({"key": "a", "value": "of acme", "scope": "tenant"}),
    );
    let params = json!({"name": "kv_get", "arguments": {"key": "a", "scope": "tenant"}, "_meta": {IDENTITY: eve}});
    let message = json!({"jsonrpc": "2.0", "id": 700, "method": "tools/call", "params": params,
        "tenant_id": "acme", "user_id": "ada"});
    dashboard.client.send(&message);
    let result = result_of(dashboard.client.answer(700));
    assert_eq!(result["structuredContent"]["found"], false, "{result}");
    dashboard.client.finish();
}

#[test]
fn a_mutation_bears_three_deliveries() {
    let mut dashboard = Dashboard::start(|start| start);
    let token = dashboard.token("acme", "ada", "user");
    let calls = [
        ("kv_set", json!({"key": "a", "value": {"n": 1}})),
        ("artifacts_put", json!({"key": "a.md", "content": "text"})),
        (
            "events_send",
            json!({"detail_type": "Order.Placed", "detail": {"n": 1}, "idempotency_key": "order-1"}),
        ),
        ("kv_delete", json!({"key": "gone"})),
    ];
    for (tool, arguments) in calls {
        let arguments = with_context(arguments, "ada");
        // It sends them again at once, without waiting for an answer.
        let ids: Vec<u64> = (0..3)
            .map(|_| dashboard.post(Some(&token), tool, &arguments))
            .collect();
        let results: Vec<Value> = ids
            .iter()
            .map(|&id| result_of(dashboard.client.answer(id)))
            .collect();
        for result in &results {
            let code = &result["structuredContent"]["error"]["code"];
            // A delivery may meet the first one at work; it is told so, and may come again.
            let busy =
                *code == "CONFLICT" && result["structuredContent"]["error"]["retryable"] == true;
            assert!(result["isError"] == false || busy, "{tool}: {result}");
        }
        assert!(
            results.iter().any(|result| result["isError"] == false),
            "{tool}: {results:?}"
        );
        if tool == "events_send" {
            let again = dashboard.ask(&token, tool, arguments.clone());
            for result in results.iter().filter(|result| result["isError"] == false) {
                assert_eq!(
                    result["structuredContent"]["event_id"], again["event_id"],
                    "{results:?}"
                );
            }
        }
    }
    assert_eq!(
        dashboard.ask(&token, "kv_get", json!({"key": "a"}))["value"],
        json!({"n": 1})
    );
    assert_eq!(
        dashboard.ask(&token, "artifacts_get", json!({"key": "a.md"}))["content"],
        "text"
    );
    dashboard.client.finish();
}

#[test]
fn without_a_good_token_nothing_of_a_tenant_is_answered() {
    let mut dashboard = Dashboard::start(|start| start);
    let get = json!({"key": "a", "_context": context("ada")});
    let stranger = Provider::new().token("acme", "ada", "admin", 0);
    let expired = dashboard.expired_token("acme", "ada");
    let unknown = dashboard.token("nowhere", "ada", "admin");
    let king = dashboard.token("acme", "ada", "king");
    let closed = dashboard.token("closed", "ada", "admin");
    for (token, code) in [
        (None, UNAUTHENTICATED),
        (Some("nonsense"), UNAUTHENTICATED),
        (Some(stranger.as_str()), UNAUTHENTICATED),
        (Some(expired.as_str()), UNAUTHENTICATED),
        (Some(unknown.as_str()), UNAUTHENTICATED),
        (Some(king.as_str()), UNAUTHENTICATED),
        (Some(closed.as_str()), SUSPENDED),
    ] {
        assert_eq!(dashboard.refusal(token, "kv_get", get.clone()), Some(code));
    }
    for method in ["resources/list", "resources/templates/list"] {
        let answer = dashboard.client.request(method, json!({}));
        assert!(
            answer["result"].get("resources").is_none(),
            "{method}: {answer}"
        );
    }
    // These belong to nobody.
    assert!(dashboard.client.request("ping", json!({}))["result"].is_object());
    assert!(dashboard.client.request("tools/list", json!({}))["result"]["tools"].is_array());
    dashboard.client.finish();
}

#[test]
fn a_role_is_held_to_what_it_may() {
    let mut dashboard = Dashboard::start(|start| start);
    let viewer = dashboard.token("acme", "vera", "viewer");
    let refused = dashboard.ask(&viewer, "kv_set", json!({"key": "a", "value": 1}));
    assert_eq!(refused["error"]["code"], "PERMISSION_DENIED", "{refused}");
    assert_eq!(
        refused["error"]["details"]["permission"], "kv.write",
        "{refused}"
    );
    assert_eq!(
        dashboard.ask(&viewer, "kv_get", json!({"key": "a"}))["found"],
        false
    );
    let list = json!({"_meta": {IDENTITY: viewer}});
    let tools = dashboard.client.request("tools/list", list);
    let names: Vec<&Value> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert!(
        names.contains(&&json!("kv_get")) && !names.contains(&&json!("kv_set")),
        "{names:?}"
    );
    dashboard.client.finish();
}

#[test]
fn nothing_is_sent_that_was_not_asked_for() {
    let mut dashboard = Dashboard::start(|start| start);
    let token = dashboard.token("acme", "ada", "admin");
    for number in 0..20 {
        let put = json!({"key": format!("a{number}"), "content": "text"});
        dashboard.ask(&token, "artifacts_put", put);
    }
    dashboard.client.finish();
    assert_eq!(dashboard.client.others(), [] as [Value; 0]);
    assert_eq!(dashboard.client.rest(), Vec::<Vec<u8>>::new());
}
