//! What HTTP clients are answered that may not do what they ask for, and where they are sent for a token.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::mesh::error::{Error, ErrorKind};
use crate::mesh::tenant::Refusal;

const METADATA: &str = "https://mesh.example/.well-known/oauth-protected-resource/mcp";

fn resource(public_url: &str) -> ProtectedResource {
    let issuers = vec!["https://id.example/realms/a".to_owned()];
    ProtectedResource::new(public_url, issuers, true).unwrap()
}

fn by_issuers() -> SignIn {
    SignIn::by_issuers(resource("https://mesh.example"))
}

fn headers(values: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn told(challenge: &Challenge) -> &str {
    let value = challenge.www_authenticate.as_ref();
    value.map_or("", |value| value.to_str().unwrap())
}

#[test]
fn without_a_token_a_client_is_told_where_to_get_one_and_no_error() {
    let challenge = by_issuers().refused(IdentityError::Missing);
    assert_eq!(challenge.status, StatusCode::UNAUTHORIZED);
    let told = told(&challenge);
    let start = format!("Bearer resource_metadata=\"{METADATA}\", scope=\"kv.read kv.write ");
    assert!(told.starts_with(&start), "{told}");
    assert!(!told.contains("error"), "{told}");
    let unscoped = ProtectedResource::new("https://mesh.example", Vec::new(), false).unwrap();
    let challenge = SignIn::by_issuers(unscoped).refused(IdentityError::Missing);
    assert_eq!(
        challenge.www_authenticate.unwrap(),
        format!("Bearer resource_metadata=\"{METADATA}\"")
    );
    let challenge = SignIn::by_operator().refused(IdentityError::Missing);
    assert_eq!(
        challenge.www_authenticate.unwrap(),
        "Bearer realm=\"agent-mesh\""
    );
}

#[test]
fn every_token_that_is_not_accepted_gets_the_same_answer() {
    let refusals = [
        Refusal::TooLarge,
        Refusal::Malformed,
        Refusal::Algorithm,
        Refusal::UnknownKey,
        Refusal::Signature,
        Refusal::MissingClaim("role"),
        Refusal::WrongClaim("aud"),
        Refusal::Issuer,
        Refusal::Audience,
        Refusal::Expired,
        Refusal::NotYetValid,
        Refusal::Tenant,
        Refusal::Kind,
        Refusal::Unknown,
    ];
    let answers = refusals.map(|refusal| by_issuers().refused(refusal.into()));
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0].status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        told(&answers[0]),
        format!(
            "Bearer resource_metadata=\"{METADATA}\", error=\"invalid_token\", \
             error_description=\"The token is not accepted\""
        )
    );
    let by_operator = SignIn::by_operator().refused(Refusal::Expired.into());
    assert!(
        told(&by_operator).starts_with("Bearer realm=\"agent-mesh\", error=\"invalid_token\""),
        "{by_operator:?}"
    );
}

#[test]
fn other_refusals_are_no_matter_of_the_token() {
    let sign_in = by_issuers();
    let suspended = sign_in.refused(IdentityError::Suspended);
    assert_eq!(suspended.status, StatusCode::FORBIDDEN);
    assert_eq!(suspended.www_authenticate, None);
    let later = sign_in.refused(IdentityError::KeysUnavailable);
    assert_eq!(later.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(later.retry_after.is_some_and(|wait| wait > Duration::ZERO));
    let foreign = sign_in.refused(IdentityError::Foreign);
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
}

#[test]
fn a_scope_that_is_too_narrow_is_answered_with_the_one_that_is_needed() {
    let challenge = by_issuers().out_of_scope(Permission::KvWrite);
    assert_eq!(challenge.status, StatusCode::FORBIDDEN);
    assert_eq!(
        told(&challenge),
        format!(
            "Bearer resource_metadata=\"{METADATA}\", error=\"insufficient_scope\", scope=\"kv.write\", \
             error_description=\"The scope of the token leaves this out\""
        )
    );
}

#[test]
fn the_token_is_read_from_one_header_of_the_scheme_bearer() {
    let sign_in = by_issuers();
    assert_eq!(sign_in.token(&HeaderMap::new()), Ok(None));
    for good in [
        "Bearer a.b-c_~+/d==",
        "bearer a.b-c_~+/d==",
        "BEARER  a.b-c_~+/d== ",
    ] {
        let found = headers(&[good.as_bytes()]);
        assert_eq!(sign_in.token(&found), Ok(Some("a.b-c_~+/d==")), "{good}");
    }
    let status = |values: &[&[u8]]| sign_in.token(&headers(values)).unwrap_err().status;
    for malformed in [
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a,b",
        "Bearer =",
        "Bearer a=b",
    ] {
        assert_eq!(
            status(&[malformed.as_bytes()]),
            StatusCode::BAD_REQUEST,
            "{malformed}"
        );
    }
    assert_eq!(status(&[b"Bearer \xff"]), StatusCode::BAD_REQUEST);
    assert_eq!(status(&[b"Bearer a", b"Bearer a"]), StatusCode::BAD_REQUEST);
    for other in ["Basic YTpi", "", "Digest x", "Bearera b", "a.b.c"] {
        let refused = sign_in.token(&headers(&[other.as_bytes()])).unwrap_err();
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{other}");
        assert!(!told(&refused).contains("error"), "{other}: {refused:?}");
    }
}

#[test]
fn no_answer_repeats_a_token() {
    let sign_in = by_issuers();
    for value in ["Bearer canary canary", "Canary canary", "Bearer \"canary\""] {
        let refused = sign_in.token(&headers(&[value.as_bytes()])).unwrap_err();
        assert!(!format!("{refused:?}").to_lowercase().contains("canary"));
    }
}

#[test]
fn the_metadata_names_the_resource_that_the_client_called() {
    let resource = resource("https://Mesh.Example/");
    let root = resource.metadata_at(WELL_KNOWN).unwrap();
    assert_eq!(root["resource"], "https://mesh.example");
    let metadata = resource.metadata_at("/.well-known/oauth-protected-resource/mcp");
    let metadata = metadata.unwrap();
    assert_eq!(metadata["resource"], "https://mesh.example/mcp");
    assert_eq!(
        metadata["authorization_servers"],
        json!(["https://id.example/realms/a"])
    );
    assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    assert_eq!(metadata["resource_name"], "Agent Mesh");
    let scopes = metadata["scopes_supported"].as_array().unwrap();
    assert_eq!(scopes.len(), Permission::ALL.len());
    assert!(!scopes.contains(&Value::from("offline_access")));
    assert_eq!(resource.metadata_url(), METADATA);
    for other in [
        "/",
        "/.well-known/oauth-protected-resource/sse",
        "/.well-known/oauth-protected-resourcex",
        "/mcp",
    ] {
        assert_eq!(resource.metadata_at(other), None, "{other}");
    }
}

#[test]
fn a_server_below_a_folder_is_found_with_and_without_it() {
    let resource = resource("https://example.com:8443/tools/mesh/");
    assert_eq!(
        resource.metadata_url(),
        "https://example.com:8443/.well-known/oauth-protected-resource/tools/mesh/mcp"
    );
    for path in ["/tools/mesh/mcp", "/mcp"] {
        let found = resource
            .metadata_at(&format!("{WELL_KNOWN}{path}"))
            .unwrap();
        assert_eq!(found["resource"], "https://example.com:8443/tools/mesh/mcp");
    }
    let root = resource
        .metadata_at(&format!("{WELL_KNOWN}/tools/mesh"))
        .unwrap();
    assert_eq!(root["resource"], "https://example.com:8443/tools/mesh");
}

#[test]
fn a_public_url_is_an_address_and_nothing_more() {
    for good in [
        "http://127.0.0.1:8080",
        "https://mesh.example/a",
        "http://[::1]:8080/",
    ] {
        assert!(
            ProtectedResource::new(good, Vec::new(), true).is_ok(),
            "{good}"
        );
    }
    for bad in [
        "",
        "mesh.example",
        "/mcp",
        "ftp://mesh.example",
        "https://",
        "https://a@mesh.example",
        "https://mesh.example?a",
        "https://mesh.example/#a",
        "https://mesh.example/\"",
        "https://mesh.example/a b",
    ] {
        assert_eq!(
            ProtectedResource::new(bad, Vec::new(), true),
            Err(InvalidPublicUrl),
            "{bad}"
        );
    }
}

#[test]
fn only_what_a_scope_leaves_out_is_left_for_the_transport() {
    let denied = || Error::new(ErrorKind::PermissionDenied, "no").detail("permission", "kv.write");
    assert_eq!(missing_scope(&denied()), None, "the role lacks it");
    let narrow = denied().detail("scope", "kv.write");
    assert_eq!(missing_scope(&narrow), Some(Permission::KvWrite));
    let other = Error::new(ErrorKind::NotFound, "no").detail("scope", "kv.write");
    assert_eq!(missing_scope(&other), None);
    let slot = ScopeSlot::default();
    let mut extensions = rmcp::model::Extensions::new();
    ScopeSlot::note(&extensions, missing_scope(&narrow));
    assert_eq!(slot.missing(), None, "no transport asked for it");
    extensions.insert(slot.clone());
    ScopeSlot::note(&extensions, None);
    assert_eq!(slot.missing(), None);
    ScopeSlot::note(&extensions, missing_scope(&narrow));
    assert_eq!(slot.missing(), Some(Permission::KvWrite));
}
