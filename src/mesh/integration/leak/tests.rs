//! Definitions with secrets in every place, and without.

use std::collections::BTreeMap;

use super::*;
use crate::mesh::ErrorKind;
use crate::mesh::integration::RemoteKind;

const CANARY: &str = "canary hunter2";

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

fn command(args: &[&str], env: &[(&str, &str)]) -> Endpoint {
    Endpoint::Stdio(Program::Command {
        command: "npx".to_owned(),
        args: args.iter().map(|&text| text.to_owned()).collect(),
        env: texts(env),
    })
}

fn remote(url: &str, headers: &[(&str, &str)]) -> Endpoint {
    Endpoint::Remote(RemoteAddress {
        kind: RemoteKind::Http,
        url: url.to_owned(),
        headers: texts(headers),
    })
}

fn github() -> String {
    ["gh", "p_", &"a1B2c3D4e5".repeat(4)].concat()
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
#[test]
fn a_secret_is_refused_wherever_it_stands_with_what_to_do_instead() {
    let key = github();
    for (endpoint, parameter, told, proposed) in [
        (
            command(&[], &[("MY_TOKEN", CANARY)]),
            "env",
            "the variable `MY_TOKEN` of `env`",
            "MY_TOKEN",
        ),
        (
            command(&[], &[("NEUTRAL", &key)]),
            "env",
            "`NEUTRAL`",
            "NEUTRAL",
        ),
        (
            Endpoint::Stdio(Program::Template {
                template: "t".to_owned(),
                env: texts(&[("SLACK_TOKEN", CANARY)]),
            }),
            "env",
            "`SLACK_TOKEN`",
            "SLACK_TOKEN",
        ),
        (
            remote("https://x.example", &[("Authorization", CANARY)]),
            "headers",
            "the header `Authorization`",
            "Authorization",
        ),
        (
            remote("https://x.example", &[("X-Other", &key)]),
            "headers",
            "`X-Other`",
            "X-Other",
        ),
        (
            command(&["-y", "pkg", &key], &[]),
            "args",
            "`args[2]`",
            "TOKEN",
        ),
        (
            command(&["--api-key", CANARY], &[]),
            "args",
            "`args[1]`",
            "api-key",
        ),
        (
            command(&["--db.password=canary"], &[]),
            "args",
            "`args[0]`",
            "db.password",
        ),
        (
            command(&["-e", "GITHUB_TOKEN=canary"], &[]),
            "args",
            "`args[1]`",
            "GITHUB_TOKEN",
        ),
        (
            command(&["--header", "X-Api-Key: canary"], &[]),
            "args",
            "`args[1]`",
            "X-Api-Key",
        ),
        (
            command(&["--config", r#"{"a":[{"braveApiKey":"canary"}]}"#], &[]),
            "args",
            "`args[1]`",
            "braveApiKey",
        ),
        (
            command(&["--config", r#""{\"password\":\"canary\"}""#], &[]),
            "args",
            "`args[1]`",
            "password",
        ),
        (
            remote("https://ada:canary@x.example/mcp", &[]),
            "url",
            "`url`",
            "TOKEN",
        ),
        (
            remote("https://ada@x.example/mcp", &[]),
            "url",
            "`url`",
            "TOKEN",
        ),
        (
            remote("https://x.example/mcp?a=b&api_key=canary#c", &[]),
            "url",
            "`url`",
            "api_key",
        ),
        (
            remote("https://x.example/mcp?sig=canary", &[]),
            "url",
            "`url`",
            "sig",
        ),
        (
            remote(&format!("https://x.example/{key}/mcp"), &[]),
            "url",
            "`url`",
            "TOKEN",
        ),
    ] {
        let error = check(&endpoint).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        assert_eq!(error.details()["parameter"], parameter, "{endpoint:?}");
        assert!(error.message().contains(told), "{error}");
        let fix = error.fix_text().unwrap();
        assert!(
            fix.contains(&format!("use_aws_mcp secrets set {proposed}`")),
            "{fix}"
        );
        assert!(fix.contains(&format!("${{secret:{proposed}}}")), "{fix}");
        let shown = format!(
            "{error:?} {fix} {:?} {:?}",
            error.details(),
            leaks(&endpoint)
        );
        assert!(
            !shown.contains("canary") && !shown.contains(&key),
            "{shown}"
        );
    }
}

#[test]
fn references_and_what_is_no_secret_pass() {
    for endpoint in [
        command(
            &[
                "-y",
                "@scope/pkg@1.2.3",
                "--token",
                "${secret:t}",
                "--token=${secret:t}",
                "--port=8080",
            ],
            &[
                ("GITHUB_TOKEN", "${secret:GITHUB_TOKEN}"),
                ("MAX_TOKENS", "4096"),
                ("TZ", "UTC"),
            ],
        ),
        command(
            &["--header", "Authorization: Bearer ${credential:token}"],
            &[],
        ),
        command(
            &["--password", "--verbose"],
            &[("USE_TOKEN", "true"), ("TOKEN", "")],
        ),
        command(
            &[
                "--token-file",
                "/run/token",
                "a:b",
                "x=y",
                "{",
                "{}",
                "\"a\"",
            ],
            &[],
        ),
        command(&["--config", r#"{"apiKey":"${secret:t}","port":1}"#], &[]),
        command(&["-e", "GITHUB_TOKEN", "image@sha256:abc"], &[]),
        command(
            &[],
            &[("GOOGLE_APPLICATION_CREDENTIALS", "/home/ada/key.json")],
        ),
        command(&["$${not:a:reference}"], &[]),
        remote(
            "https://x.example/mcp?page=2&name=ada#token=frag",
            &[
                ("Authorization", "Bearer ${secret:t}"),
                ("Accept", "text/html"),
            ],
        ),
        Endpoint::Stdio(Program::Template {
            template: "token".to_owned(),
            env: [("TOKEN".to_owned(), "${secret:t}".to_owned())].into(),
        }),
    ] {
        assert_eq!(leaks(&endpoint), [], "{endpoint:?}");
        check(&endpoint).unwrap();
    }
}

#[test]
fn what_looks_like_a_reference_is_refused_by_name() {
    for (endpoint, parameter) in [
        (command(&[], &[("A", "${HOME}")]), "env"),
        (command(&["--token=${TOKEN}"], &[]), "args"),
        (
            remote("https://x.example", &[("A", "${input:a}")]),
            "headers",
        ),
        (remote("https://x.example/${secret:a}", &[]), "url"),
    ] {
        let error = check(&endpoint).unwrap_err();
        assert_eq!(error.details()["parameter"], parameter, "{error}");
        assert!(error.fix_text().is_some());
    }
}

#[test]
fn the_secret_of_an_aws_key_is_found_beside_its_id() {
    let id = ["AK", "IA", "QWERTYUIOPASDFGH"].concat();
    let secret = "aB3/dE5+gH".repeat(4);
    let endpoint = command(&["run", &secret], &[("ONE", &id), ("OTHER", &secret)]);
    let fields: Vec<Field> = leaks(&endpoint)
        .into_iter()
        .map(|leak| leak.field)
        .collect();
    let expected = [
        Field::Variable("ONE".to_owned()),
        Field::Variable("OTHER".to_owned()),
        Field::Argument(1),
    ];
    assert_eq!(fields, expected);
    assert_eq!(
        leaks(&command(&["run", &secret], &[("OTHER", &secret)])),
        []
    );
}

#[test]
fn the_place_of_a_secret_is_what_a_reference_would_replace() {
    let places = |args: &[&str]| {
        let leaks = leaks(&command(args, &[]));
        let of = |leak: &Leak| match leak.field {
            Field::Argument(at) => args[at][leak.range.clone()].to_owned(),
            _ => String::new(),
        };
        leaks.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(places(&["--token=abc", "--token", "def"]), ["abc", "def"]);
    assert_eq!(places(&["X-Api-Key:  abc"]), ["abc"]);
    let bearer = format!("Authorization: Bearer {}", "a1b2".repeat(6));
    assert_eq!(places(&[&bearer]), ["a1b2".repeat(6)]);
}

#[test]
fn other_arguments_are_looked_at_too() {
    let key = github();
    check_text("description", "Reads issues").unwrap();
    let error = check_text("description", &format!("use {key}")).unwrap_err();
    assert_eq!(error.details()["parameter"], "description");
    check_member("settings", "folder", "/srv").unwrap();
    check_member("settings", "token", "${secret:a}").unwrap();
    for (name, text) in [("api_key", "canary"), ("folder", key.as_str())] {
        let error = check_member("settings", name, text).unwrap_err();
        assert_eq!(error.details()["parameter"], "settings");
        assert!(
            error.message().contains(&format!("settings.{name}")),
            "{error}"
        );
        assert!(!format!("{error:?}").contains(text));
    }
}

#[test]
fn hostile_names_are_shown_escaped_and_short() {
    let name = format!("\u{202e}\nTOKEN{}", "x".repeat(1000));
    let name = format!("{name}_TOKEN");
    let error = check(&command(&[], &[(&name, "canary")])).unwrap_err();
    assert!(error.message().len() < 200, "{error}");
    assert!(!error.message().contains(['\n', '\u{202e}']));
    assert!(error.fix_text().unwrap().len() < 400);
}

#[test]
fn no_text_makes_it_panic() {
    for text in [
        "=", ":", "--", "-=", "://@", "://:@", "eyJ", "eyJ..", "SG.", "SG..", ":AA", "{\"", "\"",
        "ä=ä:ä", "bearer ", "basic ä",
    ] {
        let args = ["--token", text, text];
        let _ = leaks(&command(&args, &[(text, text)]));
        let _ = leaks(&remote(text, &[(text, text)]));
        let _ = leaks(&remote(&format!("https://{text}?{text}#{text}"), &[]));
    }
}
