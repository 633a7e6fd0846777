//! Tokens: one that is good, and each way in which one is not.

use std::sync::LazyLock;

use base64::Engine;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::mesh::tenant::key_set::KeySet;
use crate::mesh::tenant::test_key::{TestKey, key_set, message};

const NOW: i64 = 1_790_000_000;

static KEY: LazyLock<TestKey> = LazyLock::new(|| TestKey::new("EdDSA", "key-1"));

fn settings() -> TokenSettings {
    TokenSettings::of_messages(
        vec![
            "https://id.example".to_owned(),
            "https://second.example".to_owned(),
        ],
        vec!["mesh".to_owned(), "https://mesh.example".to_owned()],
    )
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example",
        "aud": "mesh",
        "iat": NOW,
        "exp": NOW + 300,
        "sub": "ada",
        "tenant_id": "acme",
        "role": "user",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn verify_by(key: &TestKey, token: &str, now_ms: i64) -> Result<Claims, Refusal> {
    verify_under(&settings(), key, token, now_ms)
}

fn verify_under(
    settings: &TokenSettings,
    key: &TestKey,
    token: &str,
    now_ms: i64,
) -> Result<Claims, Refusal> {
    let keys = KeySet::parse(key_set(&[key]).as_bytes()).unwrap();
    let unverified = Unverified::parse(token)?;
    let key = keys.find(unverified.kid()).ok_or(Refusal::UnknownKey)?;
    let claims = unverified.verify(&key, &settings.claims)?;
    claims.check(settings, Timestamp::from_millis(now_ms))?;
    Ok(claims)
}

fn verify(token: &str) -> Result<Claims, Refusal> {
    verify_by(&KEY, token, NOW * 1000)
}

fn refusal(claims: &Value) -> Option<Refusal> {
    verify(&KEY.token(claims)).err()
}

fn refusal_of_header(change: impl Fn(&mut Value)) -> Option<Refusal> {
    let mut header = KEY.header();
    change(&mut header);
    verify(&KEY.token_of(&header.to_string(), &claims().to_string())).err()
}

#[test]
fn a_token_of_each_algorithm_says_who_calls() {
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let key = TestKey::new(algorithm, "key-1");
        let token = key.token(&claims());
        let claims = verify_by(&key, &token, NOW * 1000).unwrap();
        assert_eq!(claims.tenant.as_str(), "acme");
        assert_eq!((claims.subject.as_str(), claims.role), ("ada", Role::User));
        assert_eq!(claims.permissions(), Role::User.permissions());
        assert_eq!(claims.ends(LEEWAY), Timestamp::from_seconds(NOW + 305));
        assert_eq!(claims.org_id, None);
        let foreign = TestKey::new(algorithm, "key-1");
        let refused = verify_by(&foreign, &token, NOW * 1000);
        assert_eq!(refused.err(), Some(Refusal::Signature), "{algorithm}");
    }
}

#[test]
fn a_token_that_nobody_signed_is_refused() {
    for alg in ["none", "None", "NONE", ""] {
        let header = json!({"alg": alg, "kid": "key-1"}).to_string();
        let token = format!("{}.", message(&header, &claims().to_string()));
        assert_eq!(verify(&token).err(), Some(Refusal::Algorithm), "{alg}");
    }
    let signed = KEY.token(&claims());
    let unsigned = signed.rsplit_once('.').unwrap().0;
    assert_eq!(
        verify(&format!("{unsigned}.")).err(),
        Some(Refusal::Signature)
    );
}

/// The oldest trick: the public key, which everybody has, as the secret of a symmetric signature.
#[test]
fn a_public_key_is_no_secret() {
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let key = TestKey::new(algorithm, "key-1");
        let header = json!({"alg": "HS256", "kid": "key-1"}).to_string();
        let message = message(&header, &claims().to_string());
        let member = if algorithm == "RS256" { "n" } else { "x" };
        let public = key.jwk()[member].as_str().unwrap().to_owned();
        for secret in [public.clone().into_bytes(), bytes_of(&public).unwrap()] {
            let secret = jsonwebtoken::EncodingKey::from_secret(&secret);
            let signature = jsonwebtoken::crypto::sign(
                message.as_bytes(),
                &secret,
                jsonwebtoken::Algorithm::HS256,
            );
            let token = format!("{message}.{}", signature.unwrap());
            assert_eq!(
                verify_by(&key, &token, NOW * 1000).err(),
                Some(Refusal::Algorithm)
            );
        }
    }
}

#[test]
fn a_key_is_for_its_own_algorithm_only() {
    for (signs, says) in [("EdDSA", "ES256"), ("ES256", "RS256"), ("RS256", "EdDSA")] {
        let key = TestKey::new(signs, "key-1");
        let header = json!({"alg": says, "kid": "key-1"}).to_string();
        let token = key.token_of(&header, &claims().to_string());
        assert_eq!(
            verify_by(&key, &token, NOW * 1000).err(),
            Some(Refusal::KeyAlgorithm)
        );
    }
    for alg in [
        "HS512", "ES384", "PS256", "RS512", "ES256K", "eddsa", "EdDSA ",
    ] {
        let refused = refusal_of_header(|header| header["alg"] = alg.into());
        assert_eq!(refused, Some(Refusal::Algorithm), "{alg}");
    }
}

#[test]
fn a_header_names_its_key_and_brings_none() {
    assert_eq!(refusal_of_header(|_| ()), None);
    for member in ["jku", "x5u", "jwk", "x5c", "crit"] {
        for value in [
            json!("https://evil.example/keys"),
            KEY.jwk(),
            json!([]),
            json!(null),
        ] {
            let refused = refusal_of_header(|header| header[member] = value.clone());
            assert_eq!(refused, Some(Refusal::ForbiddenHeader(member)), "{value}");
        }
    }
    let without = refusal_of_header(|header| {
        header.as_object_mut().unwrap().remove("kid");
    });
    assert_eq!(without, Some(Refusal::NoKeyId));
    let named = |kid: Value| refusal_of_header(|header| header["kid"] = kid.clone());
    assert_eq!(named(json!("")), Some(Refusal::NoKeyId));
    assert_eq!(named(json!(null)), Some(Refusal::NoKeyId));
    assert_eq!(named(json!(1)), Some(Refusal::Malformed));
    assert_eq!(named(json!("key-2")), Some(Refusal::UnknownKey));
    assert_eq!(
        named(json!("k".repeat(KEY_ID_BYTES_MAX))),
        Some(Refusal::UnknownKey)
    );
    assert_eq!(
        named(json!("k".repeat(KEY_ID_BYTES_MAX + 1))),
        Some(Refusal::NoKeyId)
    );
}

#[test]
fn what_is_written_twice_is_refused() {
    let header = KEY.header().to_string();
    let claims_text = claims().to_string();
    let twice = claims_text.replacen('{', r#"{"tenant_id":"other","#, 1);
    assert_eq!(
        verify(&KEY.token_of(&header, &twice)).err(),
        Some(Refusal::Malformed)
    );
    let disguised = claims_text.replacen('{', r#"{"tenant\u005fid":"other","#, 1);
    assert_eq!(
        verify(&KEY.token_of(&header, &disguised)).err(),
        Some(Refusal::Malformed)
    );
    let header = header.replacen('{', r#"{"alg":"ES256","#, 1);
    assert_eq!(
        verify(&KEY.token_of(&header, &claims_text)).err(),
        Some(Refusal::Malformed)
    );
}

#[test]
fn each_needed_claim_is_needed() {
    for name in ["iss", "aud", "exp", "iat", "sub", "tenant_id", "role"] {
        let mut lacking = claims();
        lacking.as_object_mut().unwrap().remove(name);
        assert_eq!(refusal(&lacking), Some(Refusal::MissingClaim(name)));
        assert_eq!(
            refusal(&with(name, json!(null))),
            Some(Refusal::WrongClaim(name))
        );
        assert_eq!(
            refusal(&with(name, json!({"a": 1}))),
            Some(Refusal::WrongClaim(name))
        );
    }
}

#[test]
fn each_claim_is_as_it_must_be() {
    let wrong = [
        ("role", json!("owner")),
        ("role", json!("Admin")),
        ("role", json!([])),
        ("role", json!(["owner", "Admin"])),
        ("role", json!(["admin", 7])),
        ("tenant_id", json!("ACME")),
        ("tenant_id", json!("a#b")),
        ("tenant_id", json!(["acme"])),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("iss", json!(["https://id.example"])),
        ("aud", json!(7)),
        ("aud", json!(["mesh", 7])),
        ("exp", json!((NOW + 300).to_string())),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("iat", json!(true)),
        ("nbf", json!("soon")),
        ("nbf", json!(null)),
        ("scope", json!(["kv.read", 7])),
        ("scope", json!(7)),
        ("scope", json!(null)),
        ("org_id", json!("")),
        ("org_id", json!("a\nb")),
        ("org_id", json!("o".repeat(ORG_ID_BYTES_MAX + 1))),
    ];
    for (name, value) in wrong {
        assert_eq!(
            refusal(&with(name, value.clone())),
            Some(Refusal::WrongClaim(name)),
            "{value}"
        );
    }
    let longest = json!("o".repeat(ORG_ID_BYTES_MAX));
    assert_eq!(refusal(&with("org_id", longest)), None);
    assert_eq!(refusal(&with("whatever", json!({"else": [1]}))), None);
}

#[test]
fn issuer_and_audience_are_the_servers_own() {
    assert_eq!(refusal(&with("iss", json!("https://second.example"))), None);
    for issuer in [
        "https://id.example/",
        "https://evil.example",
        "HTTPS://ID.EXAMPLE",
        "",
    ] {
        assert_eq!(
            refusal(&with("iss", json!(issuer))),
            Some(Refusal::Issuer),
            "{issuer}"
        );
    }
    assert_eq!(
        refusal(&with("aud", json!(["other", "https://mesh.example"]))),
        None
    );
    for audience in [
        json!("other"),
        json!(["other"]),
        json!([]),
        json!("mesh2"),
        json!(""),
    ] {
        let refused = refusal(&with("aud", audience.clone()));
        assert_eq!(refused, Some(Refusal::Audience), "{audience}");
    }
}

#[test]
fn a_server_that_trusts_nobody_accepts_nobody() {
    let nobody = TokenSettings::of_bearers(Vec::new(), Vec::new());
    let claims = verify(&KEY.token(&claims())).unwrap();
    let now = Timestamp::from_seconds(NOW);
    assert_eq!(claims.check(&nobody, now), Err(Refusal::Issuer));
    let somebody = TokenSettings::of_bearers(settings().issuers, Vec::new());
    assert_eq!(claims.check(&somebody, now), Err(Refusal::Audience));
}

#[test]
fn a_token_ends_five_seconds_after_it_says() {
    let token = KEY.token(&claims());
    let at = |millis: i64| verify_by(&KEY, &token, (NOW + 300) * 1000 + millis).err();
    assert_eq!(at(0), None);
    assert_eq!(at(4_999), None);
    assert_eq!(at(5_000), Some(Refusal::Expired));
    assert_eq!(at(6_000), Some(Refusal::Expired));
    assert_eq!(at(i64::MAX / 2), Some(Refusal::Expired));
}

#[test]
fn a_token_begins_at_most_five_seconds_from_now() {
    let token = KEY.token(&claims());
    let at = |millis: i64| verify_by(&KEY, &token, NOW * 1000 + millis).err();
    assert_eq!(at(-5_000), None);
    assert_eq!(at(-5_001), Some(Refusal::NotYetValid));
    let starting =
        |millis: i64| refusal(&with("nbf", json!((NOW * 1000 + millis) as f64 / 1000.0)));
    assert_eq!(starting(-60_000), None);
    assert_eq!(starting(5_000), None);
    assert_eq!(starting(5_001), Some(Refusal::NotYetValid));
}

#[test]
fn a_token_lives_for_three_hundred_seconds_at_most() {
    let living = |seconds: f64| refusal(&with("exp", json!(NOW as f64 + seconds)));
    assert_eq!(living(300.0), None);
    assert_eq!(living(300.001), Some(Refusal::Lifetime));
    assert_eq!(living(301.0), Some(Refusal::Lifetime));
    assert_eq!(living(1.0), None);
    assert_eq!(living(0.0), Some(Refusal::Lifetime));
    assert_eq!(living(-1.0), Some(Refusal::Lifetime));
    assert_eq!(refusal(&with("iat", json!(0))), Some(Refusal::Lifetime));
}

#[test]
fn a_scope_narrows_and_never_widens() {
    let permissions = |role: &str, scope: &str| {
        let mut claims = with("scope", json!(scope));
        claims["role"] = role.into();
        let claims = verify(&KEY.token(&claims)).unwrap();
        claims
            .permissions()
            .iter()
            .map(|permission| permission.name())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        permissions("user", "kv.read openid kv.write"),
        ["kv.read", "kv.write"]
    );
    assert_eq!(
        permissions("viewer", "kv.read kv.write rules.manage"),
        ["kv.read"]
    );
    assert!(permissions("admin", "").is_empty());
    assert!(permissions("admin", "openid profile").is_empty());
}

#[test]
fn of_a_list_of_roles_the_greatest_counts_and_scopes_may_be_a_list() {
    let seen = |role: Value, scope: Value| {
        let mut claims = with("role", role);
        claims["scope"] = scope;
        let claims = verify(&KEY.token(&claims)).unwrap();
        (claims.role, claims.permissions().iter().count())
    };
    let both = json!(["kv.read kv.write", "events.read", "openid"]);
    assert_eq!(
        seen(json!(["offline_access", "user", "viewer"]), both),
        (Role::User, 3)
    );
    assert_eq!(seen(json!(["viewer"]), json!([])), (Role::Viewer, 0));
}

#[test]
fn claims_may_have_other_names() {
    let mut settings = settings();
    settings.claims = ClaimNames {
        tenant: "https://example.com/tenant".parse().unwrap(),
        user: "preferred_username".parse().unwrap(),
        role: "realm_access.roles".parse().unwrap(),
        scope: None,
    };
    let verify = |claims: &Value| verify_under(&settings, &KEY, &KEY.token(claims), NOW * 1000);
    let named = json!({
        "iss": "https://id.example", "aud": "mesh", "iat": NOW, "exp": NOW + 300,
        "https://example.com/tenant": "acme", "preferred_username": "ada",
        "realm_access": {"roles": ["offline_access", "admin"]}, "scope": "openid",
        "sub": "another", "tenant_id": "another", "role": "viewer",
    });
    let claims = verify(&named).unwrap();
    assert_eq!(
        (claims.tenant.as_str(), claims.subject.as_str()),
        ("acme", "ada")
    );
    assert_eq!(claims.role, Role::Admin);
    assert_eq!(claims.permissions(), Role::Admin.permissions());
    for (name, told) in [
        ("https://example.com/tenant", "of the tenant"),
        ("preferred_username", "of the user"),
        ("realm_access", "of the role"),
    ] {
        let mut lacking = named.clone();
        lacking.as_object_mut().unwrap().remove(name);
        let refused = verify(&lacking).err();
        assert_eq!(refused, Some(Refusal::MissingClaim(told)));
    }
}

#[test]
fn bearers_live_for_as_long_as_the_operator_lets_them() {
    let year = json!(NOW + 366 * 24 * 3600);
    let of_bearers = TokenSettings::of_bearers(settings().issuers, settings().audiences);
    let under = |settings: &TokenSettings, claims: &Value| {
        verify_under(settings, &KEY, &KEY.token(claims), NOW * 1000).err()
    };
    let mut undated = with("exp", year.clone());
    undated.as_object_mut().unwrap().remove("iat");
    assert_eq!(under(&of_bearers, &with("exp", year.clone())), None);
    assert_eq!(under(&of_bearers, &undated), None);
    assert_eq!(
        under(&of_bearers, &with("exp", json!(NOW))),
        Some(Refusal::Lifetime),
        "no time at all"
    );
    let mut an_hour = of_bearers;
    an_hour.lifetime_max = Some(Duration::from_secs(3600));
    let lived = |seconds: i64| under(&an_hour, &with("exp", json!(NOW + seconds)));
    assert_eq!(lived(3600), None);
    assert_eq!(lived(3601), Some(Refusal::Lifetime));
    assert_eq!(
        under(&an_hour, &undated),
        Some(Refusal::MissingClaim("iat"))
    );
}

#[test]
fn clocks_may_differ_by_what_the_operator_says() {
    let mut settings = settings();
    for leeway in [Duration::ZERO, LEEWAY_MAX] {
        settings.leeway = leeway;
        let millis = i64::try_from(leeway.as_millis()).unwrap();
        let at = |now_ms| verify_under(&settings, &KEY, &KEY.token(&claims()), now_ms).err();
        assert_eq!(at(NOW * 1000 - millis), None);
        assert_eq!(at(NOW * 1000 - millis - 1), Some(Refusal::NotYetValid));
        assert_eq!(at((NOW + 300) * 1000 + millis - 1), None);
        assert_eq!(at((NOW + 300) * 1000 + millis), Some(Refusal::Expired));
    }
}

#[test]
fn a_token_is_looked_at_up_to_its_limit() {
    let padded = |length: usize| {
        let token = |filler: usize| {
            let padding = "x".repeat(filler);
            KEY.token_of(
                &KEY.header().to_string(),
                &with("pad", json!(padding)).to_string(),
            )
        };
        (0..TOKEN_BYTES_MAX)
            .map(token)
            .find(|token| token.len() >= length)
            .unwrap()
    };
    let token = padded(TOKEN_BYTES_MAX - 1);
    assert!(token.len() <= TOKEN_BYTES_MAX);
    assert_eq!(verify(&token).err(), None);
    assert_eq!(
        verify(&padded(TOKEN_BYTES_MAX + 1)).err(),
        Some(Refusal::TooLarge)
    );
    assert_eq!(
        verify(&".".repeat(100 << 20)).err(),
        Some(Refusal::TooLarge)
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let token = KEY.token(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let malformed = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{token}."),
        format!("{token}.x"),
        format!(".{token}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}.{signature} "),
        format!(" {token}"),
        format!("Bearer {token}"),
        format!("{payload}.{payload}.{signature}"),
        format!("e30.{payload}.{signature}"),
    ];
    for text in malformed {
        assert_eq!(verify(&text).err(), Some(Refusal::Malformed), "{text}");
    }
    let no_object = KEY.token_of(&KEY.header().to_string(), "\"claims\"");
    assert_eq!(verify(&no_object).err(), Some(Refusal::Malformed));
}

#[test]
fn no_refusal_repeats_what_the_token_says() {
    let mut strange = with("tenant_id", json!("SECRET"));
    strange["role"] = "SECRET".into();
    let refused = refusal(&strange).unwrap();
    assert!(!format!("{refused} {refused:?}").contains("SECRET"));
}

proptest! {
    /// Whatever one byte is changed to, the token is no longer believed.
    #[test]
    fn a_changed_token_is_refused(position in any::<prop::sample::Index>(), byte in 0x21_u8..0x7f) {
        let token = KEY.token(&claims());
        let mut changed = token.clone().into_bytes();
        let index = position.index(changed.len());
        prop_assume!(changed[index] != byte);
        changed[index] = byte;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert!(verify(&changed).is_err(), "{changed}");
    }

    #[test]
    fn no_text_makes_the_verifier_panic(text in "\\PC{0,64}", header in "\\PC{0,64}", payload in "\\PC{0,64}") {
        prop_assert!(verify(&text).is_err());
        let encoded = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        prop_assert!(verify(&encoded).is_err());
    }

    /// Every moment is on one side of the rule, as a plain statement of it says.
    #[test]
    fn time_is_judged_as_the_rule_says(iat in -400_i64..400, lifetime in -2_i64..320, nbf in prop::option::of(-20_i64..20)) {
        let mut claims = with("iat", json!(NOW + iat));
        claims["exp"] = json!(NOW + iat + lifetime);
        if let Some(nbf) = nbf {
            claims["nbf"] = json!(NOW + nbf);
        }
        let accepted = (1..=300).contains(&lifetime)
            && iat <= 5
            && nbf.is_none_or(|nbf| nbf <= 5)
            && iat + lifetime + 5 > 0;
        prop_assert_eq!(refusal(&claims).is_none(), accepted);
    }
}
