//! The table of tools as a client sees it, and what becomes of arguments that do not fit it.

use agent_mesh::mesh::call::tool::{Effect, Tool};
use serde_json::{Value, json};

use crate::support::calls::{prepare_integration, prepare_run, sample};
use crate::support::schema::breaches;
use crate::support::{Failure, Plan, World};

/// The largest list of tools, and the largest tool in it, in bytes.
const LIST_BYTES_MAX: usize = 48_000;
const TOOL_BYTES_MAX: usize = 2_500;

/// The shortest description that can say what, when, when not and what comes back: characters.
const DESCRIPTION_CHARS_MIN: usize = 100;

fn listed() -> impl Iterator<Item = Tool> {
    Tool::ALL.into_iter().filter(|tool| tool.is_listed())
}

#[tokio::test]
async fn every_tool_is_listed_whole_and_in_order() {
    let world = World::open().await;
    let caller = world.caller().await;
    let text = caller.request("tools/list", json!({})).await.unwrap();
    assert!(text.len() <= LIST_BYTES_MAX, "{} bytes", text.len());
    assert_eq!(
        text,
        caller.request("tools/list", json!({})).await.unwrap(),
        "always the same"
    );
    let names: Vec<_> = listed().map(Tool::name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(
        (caller.tool_names().await, &sorted),
        (sorted.iter().map(ToString::to_string).collect(), &names)
    );
    for (tool, shown) in listed().zip(caller.tools().await) {
        let name = tool.name();
        assert!(
            shown.to_string().len() <= TOOL_BYTES_MAX,
            "{name}: {} bytes",
            shown.to_string().len()
        );
        assert!(format!("mcp__agent-mesh__{name}").len() <= 64, "{name}");
        assert!(
            shown["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty()),
            "{name}"
        );
        let description = shown["description"].as_str().unwrap();
        assert!(
            description.chars().count() >= DESCRIPTION_CHARS_MIN,
            "{name}: {description}"
        );
        let hints = &shown["annotations"];
        let reads = matches!(tool.effect(), Effect::Read | Effect::Health);
        assert_eq!(hints["readOnlyHint"], reads, "{name}");
        assert!(!reads || hints["destructiveHint"] == false, "{name}");
        assert_eq!(hints["openWorldHint"], tool.reaches_outside(), "{name}");
        hold_schemas(name, &shown);
    }
}

fn hold_schemas(name: &str, shown: &Value) {
    let input = &shown["inputSchema"];
    assert_eq!(
        (&input["type"], &input["additionalProperties"]),
        (&json!("object"), &json!(false)),
        "{name}"
    );
    for (property, schema) in input["properties"].as_object().unwrap() {
        let described = schema["description"]
            .as_str()
            .is_some_and(|text| text.len() > 5);
        assert!(described, "{name}.{property} is not described");
        if let Some(default) = schema.get("default") {
            assert!(
                breaches(schema, default).is_empty(),
                "{name}.{property}: its default"
            );
        }
    }
    for required in input
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        assert!(
            input["properties"]
                .get(required.as_str().unwrap())
                .is_some(),
            "{name}: {required}"
        );
    }
    if name == Tool::McpProxy.name() {
        assert!(
            shown.get("outputSchema").is_none(),
            "its results are others'"
        );
        return;
    }
    let output = &shown["outputSchema"];
    assert_eq!(output["type"], "object", "{name}");
    let error = json!({"error": {
        "code": "X", "message": "y", "fix": "z", "retryable": true, "retry_after_ms": 5,
        "request_id": "01", "details": {"a": 1},
    }});
    assert_eq!(
        breaches(output, &error),
        Vec::<String>::new(),
        "{name} admits errors"
    );
    assert!(
        !breaches(output, &json!({"error": {"code": 5}})).is_empty(),
        "{name}: and holds them"
    );
}

#[tokio::test]
async fn every_sample_fits_its_schema_and_works() {
    let world = World::open().await;
    let caller = world.caller().await;
    prepare_run(&caller).await;
    prepare_integration(&caller).await;
    for (tool, shown) in listed().zip(caller.tools().await) {
        let found = breaches(&shown["inputSchema"], &sample(tool));
        assert!(found.is_empty(), "{}: {found:?}", tool.name());
        // That results fit their schemas is held for every answer that is read.
        caller.ok(tool.name(), sample(tool)).await;
    }
}

/// Values that `schema` does not admit, by its type.
fn wrong_values(schema: &Value) -> Vec<Value> {
    let Some(kind) = schema.get("type").and_then(Value::as_str) else {
        return Vec::new();
    };
    let mut wrong = match kind {
        "string" => vec![json!(5), json!(true), json!(["x"]), json!({"x": 1})],
        "boolean" => vec![json!("true"), json!(1), json!([])],
        "integer" => vec![json!("5"), json!(1.5), json!(true), json!([5])],
        "number" => vec![json!("5"), json!(false), json!([5])],
        "object" => vec![json!("{}"), json!(5), json!(["x"]), json!(true)],
        "array" => vec![json!("x"), json!(5), json!({"0": "x"})],
        other => panic!("no wrong values for `{other}`"),
    };
    if schema.get("enum").is_some() {
        wrong.extend([json!("no such word"), json!("")]);
    }
    if let Some(least) = schema.get("minimum").and_then(Value::as_f64) {
        wrong.push(json!(least - 1.0));
    }
    if let Some(most) = schema.get("maximum").and_then(Value::as_f64) {
        wrong.push(json!(most + 1.0));
    }
    wrong
}

#[tokio::test]
async fn a_wrong_value_of_any_argument_is_named() {
    let world = World::open().await;
    let caller = world.caller().await;
    let mut tried = 0;
    for (tool, shown) in listed().zip(caller.tools().await) {
        let name = tool.name();
        for (property, schema) in shown["inputSchema"]["properties"].as_object().unwrap() {
            for wrong in wrong_values(schema) {
                let mut arguments = sample(tool);
                arguments[property] = wrong.clone();
                let failure = caller.fail(name, arguments).await;
                assert_eq!(
                    failure.code(),
                    "INVALID_PARAMETER",
                    "{name}.{property} = {wrong}"
                );
                assert_eq!(
                    failure.parameter(),
                    *property,
                    "{name}.{property} = {wrong}: {failure:?}"
                );
                assert!(failure.message().contains(property), "{failure:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried} wrong values");
}

#[tokio::test]
async fn a_missing_or_unknown_argument_is_named() {
    let world = World::open().await;
    let caller = world.caller().await;
    for (tool, shown) in listed().zip(caller.tools().await) {
        let name = tool.name();
        let input = &shown["inputSchema"];
        for required in input
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let required = required.as_str().unwrap();
            let mut arguments = sample(tool);
            arguments.as_object_mut().unwrap().remove(required);
            let failure = caller.fail(name, arguments).await;
            let told = (failure.code().to_owned(), failure.parameter());
            assert_eq!(
                told,
                ("INVALID_PARAMETER".to_owned(), required.to_owned()),
                "{name}"
            );
            assert!(failure.fix().is_some(), "{name}.{required}");
        }
        let mut arguments = sample(tool);
        arguments["tenant_id"] = json!("globex");
        let failure = caller.fail(name, arguments).await;
        let told = (failure.code().to_owned(), failure.parameter());
        assert_eq!(
            told,
            ("INVALID_PARAMETER".to_owned(), "tenant_id".to_owned()),
            "{name}"
        );
        assert!(failure.fix().is_some(), "{name}");
    }
    let failure = caller
        .fail("kv_get", json!({"key": "a", "scpoe": "user"}))
        .await;
    assert_eq!(failure.fix(), Some("Did you mean `scope`?"));
    for arguments in ["[]", "5", "\"a\"", r#"{"key":"a","key":"b"}"#] {
        match caller.call_text("kv_get", arguments).await {
            Ok(answer) => assert_eq!(
                Failure::of(answer.value()).parameter(),
                "arguments",
                "{arguments}"
            ),
            Err(fault) => assert_eq!(fault.code, -32602, "{arguments}"),
        }
    }
}

#[tokio::test]
async fn toolsets_and_read_only_narrow_the_list_and_the_calls() {
    let narrow = [
        (
            ("AGENT_MESH_TOOLSETS", "kv"),
            vec!["kv_delete", "kv_get", "kv_list", "kv_set"],
        ),
        (
            ("AGENT_MESH_TOOLSETS", "artifacts"),
            vec![
                "artifacts_delete",
                "artifacts_get",
                "artifacts_list",
                "artifacts_put",
            ],
        ),
        (
            ("AGENT_MESH_TOOLSETS", "kv,events"),
            vec![
                "events_analytics",
                "events_create_alert",
                "events_create_rule",
                "events_delete_alert",
                "events_delete_rule",
                "events_health_check",
                "events_list_rules",
                "events_query",
                "events_send",
                "kv_delete",
                "kv_get",
                "kv_list",
                "kv_set",
            ],
        ),
        (
            ("AGENT_MESH_TOOLSETS", "events"),
            vec![
                "events_analytics",
                "events_create_alert",
                "events_create_rule",
                "events_delete_alert",
                "events_delete_rule",
                "events_health_check",
                "events_list_rules",
                "events_query",
                "events_send",
            ],
        ),
        (
            ("AGENT_MESH_READ_ONLY", "true"),
            vec![
                "artifacts_get",
                "artifacts_list",
                "events_analytics",
                "events_health_check",
                "events_list_rules",
                "events_query",
                "integration_list",
                "integration_test",
                "kv_get",
                "kv_list",
                "mcp_list_tools",
                "workflow_list",
                "workflow_status",
            ],
        ),
        (
            ("AGENT_MESH_TOOLSETS", "integrations"),
            vec![
                "integration_approve",
                "integration_connect",
                "integration_disconnect",
                "integration_list",
                "integration_register",
                "integration_test",
                "integration_unregister",
                "mcp_list_tools",
                "mcp_proxy",
            ],
        ),
        (
            ("AGENT_MESH_TOOLSETS", "workflows"),
            vec![
                "workflow_list",
                "workflow_start",
                "workflow_status",
                "workflow_stop",
            ],
        ),
    ];
    for ((variable, value), offered) in narrow {
        let world = Plan::default().set(variable, value).open().await;
        let caller = world.caller().await;
        assert_eq!(caller.tool_names().await, offered, "{variable}={value}");
        for tool in listed() {
            let answer = caller.call(tool.name(), sample(tool)).await;
            if offered.contains(&tool.name()) {
                let answer = answer.unwrap();
                // Where nothing can be started there is no run to be asked for.
                let is_known = !["there is no run", "there is no integration"]
                    .iter()
                    .any(|what| answer.text.contains(what));
                assert!(
                    !(answer.is_error && is_known),
                    "{variable}={value} {}",
                    tool.name()
                );
            } else {
                let fault = answer.unwrap_err();
                assert_eq!(fault.code, -32602, "{variable}={value} {}", tool.name());
            }
        }
        let resources = caller.request("resources/list", json!({})).await;
        let alerts = offered.contains(&"events_query");
        let changing = alerts || offered.contains(&"artifacts_get");
        let has_resources = changing || offered.contains(&"kv_get");
        assert_eq!(resources.is_ok(), has_resources, "{variable}={value}");
        assert_eq!(
            resources.is_ok_and(|listed| listed.contains("mesh://alerts")),
            alerts,
            "{variable}={value}"
        );
        let shown = caller.client.initialize("2025-11-25").await;
        let watched = shown["capabilities"]["resources"].get("subscribe").cloned();
        assert_eq!(
            watched,
            has_resources.then(|| json!(changing)),
            "{variable}={value}: what can be watched"
        );
        let instructions = shown["instructions"].as_str().unwrap();
        for family in ["kv_*", "artifacts_*", "events_*", "integration_*"] {
            let named = offered
                .iter()
                .any(|name| name.starts_with(family.trim_end_matches('*')));
            assert_eq!(
                instructions.contains(family),
                named,
                "{variable}={value} {family}"
            );
        }
    }
}

#[tokio::test]
async fn a_tool_answers_to_the_names_that_clients_call_it_by() {
    let world = World::open().await;
    let caller = world.caller().await;
    for name in [
        "kv_set",
        "kv.set",
        "mcp__agent-mesh__kv_set",
        "mcp__aws__kv_set",
        "mcp__aws__kv.set",
    ] {
        let set = caller.ok(name, json!({"key": "a", "value": name})).await;
        assert_eq!(set["key"], "a", "{name}");
        assert_eq!(
            caller.ok("kv.get", json!({"key": "a"})).await["value"],
            name
        );
    }
    for name in [
        "",
        "kv",
        "kv_gett",
        "KV_GET",
        "kv__get",
        "mcp__kv_get",
        "mcp__a__mcp__b__kv_gett",
        "resources/read",
        "agent.run",
        "kv get",
        &"k".repeat(300),
    ] {
        let fault = caller.fault(name, json!({"key": "a"})).await;
        assert_eq!(fault.code, -32602, "{name}");
        assert!(fault.message.len() < 300, "{name}");
    }
}
