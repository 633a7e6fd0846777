//! What a server says back of the secrets that it was given, in all the ways that it may be written.

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;

fn of(secrets: &[&str]) -> ConnectionSecrets {
    let secrets: Vec<_> = secrets
        .iter()
        .map(|secret| SecretString::from(*secret))
        .collect();
    ConnectionSecrets::new(&secrets)
}

#[test]
fn a_secret_is_masked_in_every_spelling() {
    let secret = "p\u{e4}ss w\"rd/+?>canary";
    let secrets = of(&[secret]);
    let quoted = serde_json::to_string(secret).unwrap();
    let mut said = vec![
        secret.to_owned(),
        secret.to_ascii_uppercase(),
        quoted,
        r#"p\u00e4ss w\"rd/+?>canary"#.to_owned(),
        "p%C3%A4ss%20w%22rd%2F%2B%3F%3Ecanary".to_owned(),
        "p%C3%A4ss%20w%22rd/%2B%3F%3Ecanary".to_owned(),
        "p%C3%A4ss%20w%22rd/+?%3Ecanary".to_owned(),
        "p%c3%a4ss%20w%22rd%2f%2b%3f%3ecanary".to_owned(),
        "p%C3%A4ss+w%22rd%2F%2B%3F%3Ecanary".to_owned(),
    ];
    for around in ["", "u", "us", "use", "user:"] {
        let text = format!("{around}{secret}{around}");
        said.extend([STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]);
    }
    for said in said {
        let shown = secrets.mask(&said).into_owned();
        assert!(shown.contains(MASK), "{said}: {shown}");
        // Of base64, a character on each side may have bits of it.
        assert!(shown.replace(MASK, "").len() <= 16, "{said}: {shown}");
        assert!(!shown.to_lowercase().contains("canary"), "{shown}");
    }
    assert!(!format!("{secrets:?}").contains("canary"));
}

#[test]
fn what_is_behind_a_scheme_and_a_password_by_itself_are_secrets_too() {
    let pair = STANDARD.encode("ada:p:w-canary");
    let secrets = of(&["Bearer tok-canary", &format!("Basic {pair}")]);
    for said in [
        "no tok-canary",
        "no Bearer tok-canary",
        "ada:p:w-canary",
        "password p:w-canary",
        &format!("<{pair}>"),
    ] {
        let shown = secrets.mask(said);
        assert!(shown.contains(MASK) && !shown.contains("canary"), "{shown}");
    }
    assert_eq!(secrets.mask("the Basic Bearer"), "the Basic Bearer");
}

#[test]
fn what_is_too_short_is_no_secret() {
    let secrets = of(&["abc", "wxyz", "\u{e4}\u{e4}\u{e4}", "", "  "]);
    assert_eq!(
        secrets.mask("abc wxyz \u{e4}\u{e4}\u{e4} YWJj"),
        format!("abc {MASK} \u{e4}\u{e4}\u{e4} YWJj")
    );
    assert_eq!(of(&[]).mask("abc"), "abc");
    assert_eq!(of(&[]).longest_bytes(), 0);
}

#[test]
fn secrets_that_overlap_leave_nothing_of_either() {
    let secrets = of(&["canary", "nary-two", "can"]);
    assert_eq!(secrets.mask("a canary-two b"), format!("a {MASK} b"));
    assert_eq!(
        secrets.mask("canarycanary nary-two"),
        format!("{MASK} {MASK}")
    );
}

#[test]
fn a_secret_is_learnt_while_the_connection_lives_and_the_oldest_is_forgotten() {
    let secrets = of(&["given-canary"]);
    let quoting = secrets.clone();
    let token = |number: usize| SecretString::from(format!("token-{number:03}"));
    for number in 0..LEARNT_MAX {
        secrets.learn(&token(number));
        secrets.learn(&token(number));
    }
    assert_eq!(
        quoting.mask("token-000 given-canary"),
        format!("{MASK} {MASK}")
    );
    secrets.learn(&token(LEARNT_MAX));
    assert_eq!(quoting.mask("token-000"), "token-000");
    assert_eq!(
        quoting.mask("token-001 token-016 given-canary"),
        format!("{MASK} {MASK} {MASK}")
    );
}

#[test]
fn a_secret_that_was_cut_is_masked_as_far_as_it_goes() {
    let secrets = of(&["canary-0123456789"]);
    assert_eq!(secrets.mask_cut("a canary-0123"), format!("a {MASK}"));
    assert_eq!(
        secrets.mask_cut("canary-0123456789 cana"),
        format!("{MASK} {MASK}")
    );
    assert_eq!(secrets.mask_cut("a can"), "a can");
    assert_eq!(secrets.mask("a canary-0123"), "a canary-0123");
}

#[test]
fn json_stays_json() {
    let secrets = of(&["4321", "s3\"cr\nt"]);
    let cases = [
        (r#"{"a":4321,"b":"x4321"}"#, r#"{"a":4321,"b":"x[secret]"}"#),
        (
            r#"["\"4321\\",4321,"s3\"cr\nt"]"#,
            r#"["\"[secret]\\",4321,"[secret]"]"#,
        ),
        // However a text is escaped, and JSON that stands in a text.
        (
            r#"["x\u00343\u00321","\ud800 s3\"cr\u000at"]"#,
            r#"["x[secret]","\\ud800 [secret]"]"#,
        ),
        (
            r#"["{\"a\":\"s3\\\"cr\\nt\"}"]"#,
            r#"["{\"a\":\"[secret]\"}"]"#,
        ),
        (r#"{"4321":[1.50e400]}"#, r#"{"[secret]":[1.50e400]}"#),
        (r#"["", 43210, "4321"]"#, r#"["", 43210, "[secret]"]"#),
    ];
    for (said, shown) in cases {
        assert_eq!(secrets.mask_json(said), shown);
    }
}
