//! Keys of every format, made up as the services give them out, and what only looks like one.

use super::*;

/// `length` characters that no scanner of sources takes for a key as they stand here.
fn made_up(alphabet: &str, length: usize) -> String {
    let characters: Vec<char> = alphabet.chars().collect();
    (0..length)
        .map(|at| characters[(at * 7 + at / 3) % characters.len()])
        .collect()
}

const HEX: &str = "0123456789abcdef";
const BASE62: &str = "aB3dE5gH7jK9mN1pQ4sT6vW8yZ0";

#[test]
fn every_format_of_the_table_is_found_and_one_character_less_is_not() {
    for format in &FORMATS {
        let alphabet = match format.characters {
            Hex => HEX,
            Upper => "A2B3C4D5E6F7GHJ",
            Alphanumeric | Word | Url | Solid | Dotted => BASE62,
        };
        for prefix in format.prefixes {
            let key = [prefix, made_up(alphabet, format.least).as_str()].concat();
            for text in [
                key.clone(),
                format!("x={key}"),
                format!("\"{key}\" y"),
                format!("/{key}"),
            ] {
                let found = find(&text).unwrap_or_else(|| panic!("{prefix}"));
                assert!(
                    text[found.range.clone()].contains(prefix),
                    "{prefix}: {found:?}"
                );
            }
            let found = format.find(&key).unwrap();
            assert_eq!((found.what, found.range), (format.what, 0..key.len()));
            assert_eq!(format.find(&key[..key.len() - 1]), None, "{prefix}");
            assert_eq!(format.find(&format!("a{key}")), None, "{prefix}");
        }
    }
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
#[test]
fn keys_as_services_give_them_out_are_known() {
    let jwt = [
        "eyJ",
        "hbGciOiJIUzI1NiJ9",
        ".",
        "eyJ",
        "zdWIiOiJhZGEifQ",
        ".",
        &made_up(BASE62, 43),
    ]
    .concat();
    let pem = |kind: &str| ["-----BEGIN ", kind, "PRIVATE KEY-----\nMIIE"].concat();
    let url =
        |scheme: &str, info: &str| [scheme, "://", info, "@", "db.example.com/x?y=1"].concat();
    let vectors: Vec<(&str, String)> = vec![
        (
            "a GitHub token",
            ["gh", "p_", &made_up(BASE62, 36)].concat(),
        ),
        (
            "a GitHub token",
            ["gh", "o_", &made_up(BASE62, 36)].concat(),
        ),
        (
            "a GitHub token",
            ["github", "_pat_11ABCDEFG0", &made_up(BASE62, 30)].concat(),
        ),
        (
            "a GitLab token",
            ["gl", "pat-", &made_up("aB-c_9", 20)].concat(),
        ),
        (
            "a Slack token",
            ["xo", "xb-1234567890-", &made_up(BASE62, 24)].concat(),
        ),
        (
            "a Slack webhook",
            ["https://hooks.slack", ".com/services/T", "0A1B2C3D4/B0/x"].concat(),
        ),
        (AWS_KEY_ID, ["AK", "IA", "QWERTYUIOPASDFGH"].concat()),
        (AWS_KEY_ID, ["AS", "IA", "QWERTYUIOPASDF23"].concat()),
        (
            "an OpenAI API key",
            ["sk", "-proj-", &made_up(BASE62, 48)].concat(),
        ),
        ("an OpenAI API key", ["sk", "-", &made_up(HEX, 32)].concat()),
        (
            "an Anthropic API key",
            ["sk", "-ant-api03-", &made_up(BASE62, 80)].concat(),
        ),
        (
            "a Stripe key",
            ["sk", "_live_", &made_up(BASE62, 24)].concat(),
        ),
        (
            "a Google API key",
            ["AI", "za", "SyD", &made_up("aB-c_9", 32)].concat(),
        ),
        ("an npm token", ["np", "m_", &made_up(BASE62, 36)].concat()),
        (
            "a PyPI token",
            ["py", "pi-AgEIcHlwaS5vcmc", &made_up(BASE62, 90)].concat(),
        ),
        ("a JSON web token", jwt),
        ("a private key", pem("RSA ")),
        ("a private key", pem("OPENSSH ")),
        ("a private key", pem("")),
        ("a URL with user info", url("postgres", "app:hunter2")),
        ("a URL with user info", url("https", "ada")),
        ("a URL with user info", url("git+https", "ada:x")),
        (
            "a Hugging Face token",
            ["h", "f_", &made_up(BASE62, 34)].concat(),
        ),
        (
            "a SendGrid key",
            ["S", "G.", &made_up(BASE62, 22), ".", &made_up(BASE62, 43)].concat(),
        ),
        ("a Twilio key", ["S", "K", &made_up(HEX, 32)].concat()),
        (
            "a Linear key",
            ["lin", "_api_", &made_up(BASE62, 40)].concat(),
        ),
        (
            "a Notion token",
            ["secr", "et_", &made_up(BASE62, 43)].concat(),
        ),
        (
            "a Notion token",
            ["nt", "n_", &made_up(BASE62, 46)].concat(),
        ),
        (
            "a Databricks token",
            ["da", "pi", &made_up(HEX, 32)].concat(),
        ),
        (
            "a DigitalOcean token",
            ["dop", "_v1_", &made_up(HEX, 64)].concat(),
        ),
        (
            "an Airtable token",
            ["pa", "t", &made_up(BASE62, 14), ".", &made_up(HEX, 64)].concat(),
        ),
        (
            "a Telegram bot token",
            ["123456789", ":AA", &made_up(BASE62, 33)].concat(),
        ),
        (
            "credentials of a header Authorization",
            ["Bear", "er ", &made_up(BASE62, 24)].concat(),
        ),
        (
            "credentials of a header Authorization",
            ["Ba", "sic ", "YWRhOmh1bnRlcjI="].concat(),
        ),
    ];
    for (what, text) in vectors {
        let found = find(&text);
        assert_eq!(found.map(|found| found.what), Some(what), "{text}");
    }
}

#[test]
fn what_only_looks_like_a_key_is_left_alone() {
    for text in [
        "",
        "d670460b4b4aece5915caf5c68d12f560a9fe3e4",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        "123e4567-e89b-12d3-a456-426614174000",
        "01J8ZQ5V7K3N2M4P6R8T0W1X3Y",
        "/usr/local/lib/node_modules/@modelcontextprotocol/server-github/dist/index.js",
        "C:\\Users\\ada\\AppData\\Local\\Programs\\node.exe",
        "@modelcontextprotocol/server-filesystem@2025.8.21",
        "ghcr.io/github/github-mcp-server:v0.13.0",
        "git+ssh://git@github.com/acme/tools.git@v1.2.3",
        "ssh://git@example.com:22/x",
        "https://example.com/@ada/page?x=1",
        "https://example.com:8443/a:b@c",
        "postgres://app@db.example.com/x",
        "postgres://app:${secret:db}@db.example.com/x",
        "https://${secret:token}@example.com/x",
        "mailto:ada@example.com",
        "npm_config_registry=https://registry.example.com/",
        "pypi-mirror-for-internal-packages-2024",
        "hf_hub_download",
        "/opt/sk-learn-models-2024-large/sk-loading-spinner-container-v2",
        "task-force-one-hundred-and-twenty-three-4",
        "glpat-is-the-prefix-of-a-token",
        "xoxo",
        "AKIA",
        "AIzawa",
        "dapi",
        "secret_manager_endpoint",
        "eyJhbGciOiJub25lIn0",
        "1.2.3-beta.4+build.5",
        "Bearer",
        "bearer of good news",
        "basic authentication",
        "Basic dGVzdA==",
        "10:30:45",
        "1234567890:short",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "SGDB.example.v1",
        "2026-11-20T15:31:14.000Z",
        "patch-2024-11-20-with-a-rather-long-name-that-goes-on-and-on-and-on-and-on-and-on",
    ] {
        assert_eq!(find(text), None, "{text}");
    }
}

#[test]
fn the_place_of_a_key_is_the_key_alone() {
    let key = ["gh", "p_", &made_up(BASE62, 36)].concat();
    let text = format!("ä --token={key}, and more");
    assert_eq!(text[find(&text).unwrap().range], key);
    let text = "postgres://app:hunter2@db/x?y@z";
    assert_eq!(&text[find(text).unwrap().range], "hunter2");
    let text = format!("Authorization: Bearer {}==", made_up(BASE62, 20));
    let range = find(&text).unwrap().range;
    assert_eq!(range, "Authorization: Bearer ".len()..text.len());
}

#[test]
fn a_secret_access_key_is_no_hash() {
    let key = made_up("aB3/dE5+", 40);
    for text in [key.clone(), format!("x={key},y"), format!("short {key}")] {
        assert_eq!(&text[aws_secret(&text).unwrap().range], key);
    }
    for text in [
        "d670460b4b4aece5915caf5c68d12f560a9fe3e4".to_owned(),
        made_up("aB3/dE5+", 39),
        made_up("aB3/dE5+", 41),
        String::new(),
    ] {
        assert_eq!(aws_secret(&text), None, "{text}");
    }
}
