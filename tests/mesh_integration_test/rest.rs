//! The façade for those who have no MCP client: the same answers, statuses that fit, and nobody else's things.

mod refused;
mod wire;

use agent_mesh::mesh::call::tool::Tool;
use agent_mesh::outbound::embedded::{Fault, Service};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::served::{ServePlan, Served, told};
use crate::support::upstreams::tool;

/// The names of the tools in a list.
fn names(list: &Value) -> Vec<&str> {
    let tools = list["tools"].as_array().expect("tools");
    let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
    names.collect()
}

#[tokio::test]
async fn tools_are_listed_for_whoever_asks_and_answer_their_results() {
    let served = Served::open().await;
    let (amy, vic) = (served.person("amy"), served.person("vic"));
    let all = amy.get("/tools").await.json();
    let listed = Tool::ALL.into_iter().filter(|tool| tool.is_listed());
    assert_eq!(names(&all), listed.map(Tool::name).collect::<Vec<_>>());
    let set = &all["tools"][names(&all)
        .iter()
        .position(|name| *name == "kv_set")
        .unwrap()];
    for member in [
        "title",
        "description",
        "inputSchema",
        "outputSchema",
        "annotations",
    ] {
        assert!(!set[member].is_null(), "{member}");
    }
    let few = vic.get("/tools").await.json();
    assert!(names(&few).contains(&"kv_get") && !names(&few).contains(&"kv_set"));

    // As it was written, to the digit.
    let stored = amy.post(
        "kv_set",
        r#"{"key": "a", "value": {"x": 1.50, "y": 12345678901234567890.1}}"#,
    );
    assert_eq!(stored.await.json()["key"], "a");
    for name in ["kv_get", "mcp__mesh__kv_get", "kv.get"] {
        let got = amy.post(name, r#"{"key": "a"}"#).await;
        assert_eq!(got.status, StatusCode::OK);
        assert!(
            got.text
                .contains(r#""value":{"x": 1.50, "y": 12345678901234567890.1}"#),
            "{got:?}"
        );
        assert_eq!(got.header("cache-control"), Some("no-store"));
    }
    let absent = amy.ok("kv_get", json!({"key": "b"})).await;
    assert_eq!(absent, json!({"key": "b", "found": false}));
    // No arguments, and any content type.
    assert_eq!(amy.post("kv_list", "").await.json()["items"][0]["key"], "a");
    assert_eq!(amy.post("kv_list", " \n").await.status, StatusCode::OK);
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json",
        "x",
    ] {
        let call = amy.request(Method::POST, "/tools/kv_list");
        let call = call.header("content-type", media).body(r#"{"maxKeys": 1}"#);
        assert_eq!(
            told(call).await.status,
            StatusCode::BAD_REQUEST,
            "{media}: unknown argument"
        );
        let call = amy.request(Method::POST, "/tools/kv_list");
        let call = call.header("content-type", media).body(r#"{"limit": 1}"#);
        assert_eq!(told(call).await.status, StatusCode::OK, "{media}");
    }
}

#[tokio::test]
async fn every_kind_of_failure_has_its_status_and_says_when_to_come_back() {
    let tenants = "[tenants.acme]\n[tenants.acme.limits]\nartifact_objects = 1\n[tenants.globex]\n\
                   [tenants.globex.limits]\nrequests_per_minute = 2\n";
    let served = ServePlan::default().tenants(tenants).open().await;
    let (ada, amy, vic) = (
        served.person("ada"),
        served.person("amy"),
        served.person("vic"),
    );
    ada.ok("kv_set", json!({"key": "a", "value": 1})).await;
    let artifact = json!({"key": "a", "content": "x"});
    ada.ok("artifacts_put", artifact).await;
    let table: [(&str, Value, u16, &str); 9] = [
        ("kv_get", json!({"kye": "a"}), 400, "INVALID_PARAMETER"),
        ("kv_list", json!({"cursor": "x"}), 400, "INVALID_PARAMETER"),
        (
            "integration_test",
            json!({"service_id": "none"}),
            404,
            "NOT_FOUND",
        ),
        ("nope", json!({}), 404, "NOT_FOUND"),
        ("files__read", json!({}), 404, "NOT_FOUND"),
        (
            "kv_set",
            json!({"key": "a", "value": 2, "if_absent": true}),
            409,
            "CONFLICT",
        ),
        (
            "artifacts_put",
            json!({"key": "b", "content": "x"}),
            403,
            "QUOTA_EXCEEDED",
        ),
        (
            "kv_set",
            json!({"key": "b", "value": "x".repeat(400 << 10)}),
            413,
            "TOO_LARGE",
        ),
        (
            "artifacts_get",
            json!({"key": "a", "as": "url"}),
            501,
            "NOT_SUPPORTED",
        ),
    ];
    for (tool, arguments, status, code) in table {
        let failed = ada.fail(tool, arguments).await;
        assert_eq!(failed, (status, code.to_owned()), "{tool}");
    }
    let denied = (403, "PERMISSION_DENIED".to_owned());
    assert_eq!(
        vic.fail("kv_set", json!({"key": "a", "value": 1})).await,
        denied
    );
    let faults = served.faults();
    faults.inject(Service::DynamoDb, "GetItem", Fault::Throttle, 50);
    let throttled = (503, "AWS_THROTTLED".to_owned());
    assert_eq!(amy.fail("kv_get", json!({"key": "a"})).await, throttled);
    faults.clear();

    let bob = served.person("bob");
    for _ in 0..2 {
        bob.ok("kv_get", json!({"key": "a"})).await;
    }
    let limited = bob.post("kv_get", r#"{"key": "a"}"#).await;
    assert_eq!(
        (limited.status.as_u16(), limited.code().as_str()),
        (429, "RATE_LIMITED")
    );
    let wait = limited.json()["error"]["retry_after_ms"].as_u64().unwrap();
    assert_eq!(
        limited.header("retry-after"),
        Some(wait.div_ceil(1000).to_string().as_str())
    );
    let page = bob.get("/resources").await;
    assert_eq!(
        (page.status.as_u16(), page.code().as_str()),
        (429, "RATE_LIMITED")
    );
    assert!(page.header("retry-after").is_some());
}

#[tokio::test]
async fn resources_are_listed_and_read() {
    let served = Served::open().await;
    let ada = served.person("ada");
    let text = json!({"key": "a b/ü.txt", "content": "grün"});
    let stored = ada.ok("artifacts_put", text).await;
    ada.ok(
        "artifacts_put",
        json!({"key": "bytes", "content_base64": "AP8="}),
    )
    .await;
    let list = ada.get("/resources").await.json();
    let resources = list["resources"].as_array().unwrap();
    assert!(resources.iter().any(|one| one["uri"] == "mesh://alerts"));
    assert!(resources.iter().any(|one| one["uri"] == stored["uri"]));
    let cursor = list["nextCursor"].as_str().expect("then the tenant's");
    let rest = ada.get(&format!("/resources?cursor={cursor}")).await.json();
    assert_eq!(rest, json!({"resources": []}));

    let read = async |uri: &str| {
        let uri: String = form_urlencoded::byte_serialize(uri.as_bytes()).collect();
        ada.get(&format!("/resources/read?uri={uri}")).await
    };
    let uri = stored["uri"].as_str().unwrap();
    let contents = read(uri).await.json();
    assert_eq!(contents["contents"][0]["text"], "grün");
    assert_eq!(contents["contents"][0]["uri"], uri);
    let part = read(&format!("{uri}?range=0-1")).await.json();
    assert_eq!(part["contents"][0]["text"], "gr");
    let bytes = read("mesh://artifacts/user/bytes").await.json();
    assert_eq!(bytes["contents"][0]["blob"], "AP8=");
    let alerts = read("mesh://alerts").await.json();
    assert_eq!(alerts["contents"][0]["mimeType"], "application/json");

    for (uri, status) in [
        ("mesh://artifacts/user/none", 404),
        ("https://elsewhere.example/", 404),
        ("", 404),
    ] {
        let told = read(uri).await;
        assert_eq!(
            (told.status.as_u16(), told.code().as_str()),
            (status, "NOT_FOUND"),
            "{uri}"
        );
    }
    for path in [
        "/resources?cursor=x",
        "/resources?uri=mesh://alerts",
        "/resources/read",
        "/resources/read?uri=a&uri=b",
        "/tools?cursor=x",
        "/info?x",
    ] {
        let told = ada.get(path).await;
        assert_eq!(
            (told.status.as_u16(), told.code().as_str()),
            (400, "INVALID_PARAMETER"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn whoever_asks_is_told_who_that_is_and_by_which_limits() {
    let served = Served::open().await;
    let nat = served.person("nat").get("/info").await.json();
    assert_eq!(nat["name"], "agent-mesh");
    assert_eq!(nat["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(nat["protocol_versions"].as_array().map(Vec::len), Some(5));
    assert_eq!(nat["limits"]["body_bytes"], 16 << 20);
    assert_eq!(nat["limits"]["calls_in_flight"], 64);
    let caller = json!({
        "tenant_id": "acme", "user_id": "nat", "role": "user", "permissions": ["kv.read"],
    });
    assert_eq!(nat["caller"], caller);
    let bob = served.person("bob").get("/info").await.json();
    assert_eq!(bob["caller"]["tenant_id"], "globex");
    assert!(
        bob["caller"]["permissions"]
            .to_string()
            .contains("integration.manage")
    );
}

/// A tenant's things by another tenant's token: as what is not there at all.
#[tokio::test]
async fn a_stranger_sees_nothing_of_another_tenant() {
    let served = Served::open().await;
    let (ada, bob, vic) = (
        served.person("ada"),
        served.person("bob"),
        served.person("vic"),
    );
    for scope in ["user", "tenant"] {
        let secret = json!({"key": "s", "value": "of acme", "scope": scope});
        ada.ok("kv_set", secret).await;
        let secret = json!({"key": "s", "content": "of acme", "scope": scope});
        ada.ok("artifacts_put", secret).await;
    }
    let mine = ada.get("/resources").await.json();
    let cursor = mine["nextCursor"].as_str().expect("a cursor");
    let requests = [
        "/tools".to_owned(),
        "/info".to_owned(),
        "/resources".to_owned(),
        format!("/resources?cursor={cursor}"),
        "/resources/read?uri=mesh://artifacts/tenant/s".to_owned(),
        "/resources/read?uri=mesh://artifacts/user/s".to_owned(),
        "/resources/read?uri=mesh://values/tenant/s".to_owned(),
    ];
    for path in requests {
        let told = bob.get(&path).await;
        assert!(!told.text.contains("acme"), "{path}: {told:?}");
    }
    let foreign = bob
        .get("/resources/read?uri=mesh://artifacts/tenant/s")
        .await;
    let absent = bob
        .get("/resources/read?uri=mesh://artifacts/tenant/n")
        .await;
    assert_eq!(
        (foreign.status, absent.status),
        (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND)
    );
    for scope in ["user", "tenant"] {
        let seen = bob.ok("kv_get", json!({"key": "s", "scope": scope})).await;
        assert_eq!(seen, json!({"key": "s", "found": false}));
    }
    // Within the tenant what is the user's own stays so.
    let shared = json!({"key": "s", "scope": "tenant"});
    assert_eq!(vic.ok("kv_get", shared).await["value"], "of acme");
    assert_eq!(vic.ok("kv_get", json!({"key": "s"})).await["found"], false);
}

#[tokio::test]
async fn tools_of_other_servers_answer_what_those_say() {
    let served = Served::open().await;
    let amy = served.person("amy");
    let url = "https://notes.example/mcp";
    served
        .scripts
        .at(url)
        .show(&[tool("search", "Finds notes.")]);
    let notes = json!({"service_id": "notes", "name": "Notes", "server_type": "http", "url": url,
        "direct_tools": ["search"]});
    amy.ok("integration_register", notes).await;
    amy.ok("integration_connect", json!({"service_id": "notes"}))
        .await;
    let listed = amy.get("/tools").await.json();
    assert_eq!(names(&listed).last(), Some(&"notes__search"));

    let proxied = json!({"tool_name": "notes.search", "arguments": {"text": "x"}});
    let proxied = amy.ok("mcp_proxy", proxied).await;
    let direct = amy.ok("notes__search", json!({"text": "x"})).await;
    for result in [&proxied, &direct] {
        assert_eq!(
            result["structuredContent"],
            json!({"called": "search"}),
            "{result}"
        );
        assert_eq!(
            result["_meta"]["com.agent-mesh/origin"]["service_id"],
            "notes"
        );
    }
    let list = amy.post("notes__search", "[1]").await;
    assert_eq!(
        (list.status.as_u16(), list.code().as_str()),
        (400, "INVALID_PARAMETER")
    );
    // Another tenant has no such tool.
    let bob = served.person("bob");
    assert_eq!(
        bob.fail("notes__search", json!({})).await,
        (404, "NOT_FOUND".to_owned())
    );
}

/// What the description shows is what is taken, and no secret of anybody is in it.
#[tokio::test]
async fn everything_is_described_to_everybody_and_the_examples_are_taken() {
    let served = Served::open().await;
    let amy = served.person("amy");
    amy.ok("kv_set", json!({"key": "a", "value": 1})).await;
    let told = served.nobody().get("/openapi.json").await;
    assert_eq!(told.status, StatusCode::OK);
    for secret in ["acme", "globex", "amy", amy.token()] {
        assert!(!told.text.contains(secret), "{secret}");
    }
    let document = told.json();
    let paths = document["paths"].as_object().unwrap();
    let listed = amy.get("/tools").await.json();
    for tool in listed["tools"].as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        let call = &paths[&format!("/tools/{name}")]["post"];
        let body = &call["requestBody"]["content"]["application/json"];
        assert_eq!(body["schema"], tool["inputSchema"], "{name}");
        let result = &call["responses"]["200"]["content"]["application/json"]["schema"];
        if !tool["outputSchema"].is_null() {
            assert_eq!(*result, tool["outputSchema"], "{name}");
        }
        let example = body["examples"]["call"]["value"].to_string();
        let told = amy.post(name, example.clone()).await;
        let invalid = told.status == StatusCode::BAD_REQUEST;
        assert!(
            !invalid && told.status != StatusCode::INTERNAL_SERVER_ERROR,
            "{name} {example}: {told:?}"
        );
        let status = told.status.as_u16().to_string();
        assert!(
            !call["responses"][&status].is_null(),
            "{name}: {status} is not described"
        );
    }
    assert_eq!(paths.len(), names(&listed).len() + 6);
}

#[tokio::test]
async fn what_is_not_offered_is_neither_listed_nor_described_nor_called() {
    let serving = ServePlan::default()
        .set("AGENT_MESH_TOOLSETS", "kv")
        .set("AGENT_MESH_READ_ONLY", "true");
    let served = serving.open().await;
    let amy = served.person("amy");
    assert_eq!(
        names(&amy.get("/tools").await.json()),
        ["kv_get", "kv_list"]
    );
    let document = served.nobody().get("/openapi.json").await;
    assert!(!document.text.contains("/tools/kv_set") && !document.text.contains("/tools/{name}"));
    let missing = (404, "NOT_FOUND".to_owned());
    assert_eq!(
        amy.fail("kv_set", json!({"key": "a", "value": 1})).await,
        missing
    );
    let resources = amy.get("/resources").await.json();
    assert_eq!(resources, json!({"resources": []}));
}
