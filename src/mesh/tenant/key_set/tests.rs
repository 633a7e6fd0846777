//! Key sets: what is read, what is passed over, what is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::mesh::tenant::test_key::{TestKey, key_set};

fn parse(keys: Value) -> Result<KeySet, InvalidKeySet> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

fn with(mut jwk: Value, member: &str, value: Value) -> Value {
    jwk[member] = value;
    jwk
}

fn without(mut jwk: Value, member: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(member);
    jwk
}

#[test]
fn keys_of_each_kind_are_read_and_verify_what_they_signed() {
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let (key, other) = (TestKey::new(algorithm, "a"), TestKey::new(algorithm, "b"));
        let set = KeySet::parse(key_set(&[&key, &other]).as_bytes()).unwrap();
        assert_eq!(set.len(), 2);
        let token = key.token(&json!({}));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let found = set.find("a").unwrap();
        assert_eq!(
            SignatureAlgorithm::of_name(algorithm),
            Some(found.algorithm())
        );
        assert!(found.verifies(message.as_bytes(), &signature));
        assert!(!found.verifies(b"another message", &signature));
        assert!(!found.verifies(message.as_bytes(), &signature[1..]));
        assert!(!found.verifies(message.as_bytes(), &[]));
        let other = set.find("b").unwrap();
        assert!(!other.verifies(message.as_bytes(), &signature));
    }
}

#[test]
fn a_key_may_leave_out_its_algorithm_and_its_use() {
    let jwk = without(without(TestKey::new("EdDSA", "a").jwk(), "alg"), "use");
    assert_eq!(parse(json!([jwk])).unwrap().len(), 1);
    let jwk = with(jwk, "key_ops", json!(["verify"]));
    assert_eq!(parse(json!([jwk])).unwrap().len(), 1);
}

#[test]
fn a_key_that_cannot_be_used_is_passed_over_and_the_others_are_read() {
    let good = TestKey::new("EdDSA", "good").jwk();
    let (edwards, curve) = (
        TestKey::new("EdDSA", "a").jwk(),
        TestKey::new("ES256", "a").jwk(),
    );
    let rsa = TestKey::new("RS256", "a").jwk();
    let modulus = |bytes: usize, first: u8| {
        let mut number = vec![0xff; bytes];
        number[0] = first;
        json!(URL_SAFE_NO_PAD.encode(number))
    };
    let useless = [
        json!("no object"),
        json!({}),
        json!({"kty": "oct", "kid": "a", "alg": "HS256", "k": "c2VjcmV0"}),
        without(edwards.clone(), "kid"),
        with(edwards.clone(), "kid", json!("")),
        with(edwards.clone(), "kid", json!(7)),
        with(
            edwards.clone(),
            "kid",
            json!("k".repeat(KEY_ID_BYTES_MAX + 1)),
        ),
        with(edwards.clone(), "use", json!("enc")),
        with(edwards.clone(), "key_ops", json!(["sign"])),
        with(edwards.clone(), "alg", json!("ES256")),
        with(edwards.clone(), "crv", json!("Ed448")),
        with(edwards.clone(), "d", edwards["x"].clone()),
        with(edwards.clone(), "x", json!("AAAA")),
        with(edwards, "x", json!("not base64url!")),
        with(curve.clone(), "crv", json!("P-384")),
        with(curve.clone(), "alg", json!("ES384")),
        with(curve.clone(), "y", json!("AAAA")),
        without(curve, "x"),
        with(rsa.clone(), "alg", json!("PS256")),
        with(rsa.clone(), "alg", json!("HS256")),
        with(rsa.clone(), "n", modulus(256, 0x7f)),
        with(rsa.clone(), "n", modulus(1025, 0x01)),
        with(rsa.clone(), "e", json!("AQ")),
        with(rsa.clone(), "e", json!("AQAA")),
        with(rsa, "e", json!("")),
    ];
    for key in useless {
        let set = parse(json!([key, good])).unwrap();
        assert_eq!(set.len(), 1, "{key}");
        assert!(set.find("good").is_some(), "{key}");
    }
}

#[test]
fn sizes_are_counted_at_their_edges() {
    let rsa = TestKey::new("RS256", "a").jwk();
    for (bytes, first, usable) in [
        (256, 0x80, 1),
        (256, 0x7f, 0),
        (257, 0x00, 1),
        (1024, 0xff, 1),
        (1025, 0x01, 0),
    ] {
        let mut number = vec![0xff; bytes];
        number[0] = first;
        let jwk = with(rsa.clone(), "n", json!(URL_SAFE_NO_PAD.encode(number)));
        assert_eq!(
            parse(json!([jwk])).unwrap().len(),
            usable,
            "{bytes} {first}"
        );
    }
    let edwards = TestKey::new("EdDSA", "a").jwk();
    let longest = with(edwards, "kid", json!("k".repeat(KEY_ID_BYTES_MAX)));
    assert_eq!(parse(json!([longest])).unwrap().len(), 1);
}

#[test]
fn a_set_with_two_keys_of_one_name_or_too_many_is_refused() {
    let (one, two) = (TestKey::new("EdDSA", "a"), TestKey::new("ES256", "a"));
    let refused = KeySet::parse(key_set(&[&one, &two]).as_bytes());
    assert!(matches!(refused, Err(InvalidKeySet::Duplicate(kid)) if kid == "a"));
    let encrypts = with(two.jwk(), "use", json!("enc"));
    assert_eq!(parse(json!([one.jwk(), encrypts])).unwrap().len(), 1);

    let many = |count: usize| {
        let jwk = one.jwk();
        (0..count)
            .map(|number| with(jwk.clone(), "kid", json!(number.to_string())))
            .collect::<Vec<_>>()
    };
    assert_eq!(parse(json!(many(KEYS_MAX))).unwrap().len(), KEYS_MAX);
    let refused = parse(json!(many(KEYS_MAX + 1)));
    assert!(matches!(refused, Err(InvalidKeySet::TooMany(count)) if count == KEYS_MAX + 1));
}

#[test]
fn what_is_no_set_is_refused_and_an_empty_set_is_one() {
    for text in ["", "[]", "{}", "{\"keys\": {}}", "<html>", "{\"keys\": []"] {
        assert!(
            matches!(KeySet::parse(text.as_bytes()), Err(InvalidKeySet::Json(_))),
            "{text}"
        );
    }
    assert!(parse(json!([])).unwrap().is_empty());
}
