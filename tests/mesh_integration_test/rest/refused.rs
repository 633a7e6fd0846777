//! Who is not let in, and how they are told: no token, a wrong one, too narrow a one, a web page, another host.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::served::{ServePlan, Served, told};

const ROUTES: [(&str, &str); 5] = [
    ("GET", "/tools"),
    ("POST", "/tools/kv_list"),
    ("GET", "/resources"),
    ("GET", "/resources/read?uri=mesh://alerts"),
    ("GET", "/info"),
];

#[tokio::test]
async fn nothing_is_answered_without_a_token_that_is_accepted() {
    let served = Served::open().await;
    let nobody = served.nobody();
    for (method, path) in ROUTES {
        let method: Method = method.parse().unwrap();
        let without = told(nobody.request(method.clone(), path)).await;
        assert_eq!(without.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(without.code(), "UNAUTHENTICATED");
        assert_eq!(
            without.header("www-authenticate"),
            Some("Bearer realm=\"agent-mesh\"")
        );
        for token in [
            "mesh_01K00000000000000000000000_AAAA",
            "a.b.c",
            &"x".repeat(9000),
        ] {
            let wrong = told(served.bearer(token).request(method.clone(), path)).await;
            assert_eq!(
                (wrong.status, wrong.code().as_str()),
                (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED")
            );
            let challenge = wrong.header("www-authenticate").unwrap();
            assert!(challenge.contains("invalid_token"), "{challenge}");
        }
        for (value, status) in [("Basic YTpi", 401), ("Bearer", 400), ("Bearer a b", 400)] {
            let other = nobody
                .request(method.clone(), path)
                .header("authorization", value);
            assert_eq!(told(other).await.status.as_u16(), status, "{path} {value}");
        }
        // A token in the address is none.
        let token = served.person("ada").token().to_owned();
        let joined = if path.contains('?') { "&" } else { "?" };
        let address = format!("{path}{joined}access_token={token}");
        let told = told(nobody.request(method, &address)).await;
        assert_eq!(told.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_token_that_is_too_narrow_is_told_which_scope_it_needs() {
    let served = Served::open().await;
    let nat = served.person("nat");
    nat.ok("kv_list", json!({})).await;
    let narrow = nat.post("kv_set", r#"{"key": "a", "value": 1}"#).await;
    assert_eq!(
        (narrow.status, narrow.code().as_str()),
        (StatusCode::FORBIDDEN, "PERMISSION_DENIED")
    );
    let challenge = narrow.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("insufficient_scope") && challenge.contains("scope=\"kv.write\""),
        "{challenge}"
    );
    let narrow = nat.get("/resources").await;
    assert_eq!(narrow.status, StatusCode::FORBIDDEN);
    assert!(
        narrow
            .header("www-authenticate")
            .unwrap()
            .contains("scope=\"artifacts.read\"")
    );
    // A role that lacks it is no matter of the token.
    let denied = served
        .person("vic")
        .post("kv_set", r#"{"key": "a", "value": 1}"#)
        .await;
    assert_eq!(
        (denied.status, denied.header("www-authenticate")),
        (StatusCode::FORBIDDEN, None)
    );
}

/// Where nobody has to sign in, a page that somebody reads could have their browser call tools.
#[tokio::test]
async fn a_web_page_calls_nothing_where_nobody_has_to_sign_in() {
    let serving = ServePlan::default()
        .set("AGENT_MESH_ANONYMOUS", "true")
        .set("AGENT_MESH_ANONYMOUS_ROLE", "admin");
    let served = serving
        .tenants("[tenants.acme]\n[tenants.globex]\n[tenants.local]\n")
        .open()
        .await;
    let nobody = served.nobody();
    let who = nobody.get("/info").await.json();
    assert_eq!(who["caller"]["tenant_id"], "local");
    let body = r#"{"key": "a", "value": 1}"#;
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json",
    ] {
        let page = nobody.request(Method::POST, "/tools/kv_set");
        let page = told(page.header("content-type", media).body(body)).await;
        assert_eq!(
            (page.status, page.code().as_str()),
            (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            "{media}"
        );
    }
    let plain = told(nobody.request(Method::POST, "/tools/kv_set").body(body)).await;
    assert_eq!(
        plain.status,
        StatusCode::UNAUTHORIZED,
        "and one that says nothing of its type"
    );
    // Whoever brings a token may send what they like, but not from a foreign page, nor to a foreign name.
    let ada = served.person("ada");
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("host", "evil.example"),
    ] {
        for (method, path) in ROUTES {
            let request = ada
                .request(method.parse().unwrap(), path)
                .header(name, value);
            let refused = told(request).await;
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (StatusCode::FORBIDDEN, "FORBIDDEN"),
                "{path}"
            );
        }
    }
    assert_eq!(nobody.get("/openapi.json").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_caller_named_among_the_arguments_is_never_believed() {
    let served = Served::open().await;
    let ada = served.person("ada");
    let set = json!({"key": "a", "value": 1, "_context": {"tenantId": "globex", "userId": "bob"}});
    ada.ok("kv_set", set).await;
    assert_eq!(ada.ok("kv_get", json!({"key": "a"})).await["found"], true);
    let bob = served.person("bob").ok("kv_get", json!({"key": "a"})).await;
    assert_eq!(bob["found"], false);
    let named = json!({"key": "a", "tenant_id": "globex"});
    assert_eq!(
        ada.fail("kv_get", named).await,
        (400, "INVALID_PARAMETER".to_owned())
    );
}
