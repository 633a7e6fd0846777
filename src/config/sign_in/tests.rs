//! Which ways to sign in the settings open, and with which of them a server refuses to listen.

use crate::config::{Config, Environment, Flags};
use crate::mesh::tenant::TenantDirectory;
use crate::mesh::tenant::{Role, SignatureAlgorithm};
use std::time::Duration;

use super::*;

const HERE: &str = "127.0.0.1:8080";

const JWT: [(&str, &str); 3] = [
    ("AGENT_MESH_JWKS", "https://id.example/keys"),
    ("AGENT_MESH_JWT_ISSUER", "https://id.example"),
    ("AGENT_MESH_JWT_AUDIENCE", "https://mesh.example"),
];

fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment = Environment {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        data_home: Some("/home/ada/.local/share".into()),
        working_dir: "/srv".into(),
        login_name: Some("ada".to_owned()),
        ..Environment::default()
    };
    Config::from_sources(&Flags::new(), &environment, None)
}

fn config(variables: &[(&str, &str)]) -> Config {
    read(variables).unwrap()
}

fn refused(config: &Config, bind: &str) -> Vec<String> {
    let checked = config.sign_in.check(bind.parse().unwrap());
    let errors = checked.err();
    let mistakes = errors.iter().flat_map(ConfigErrors::mistakes);
    mistakes.map(|mistake| mistake.name.clone()).collect()
}

#[test]
fn nothing_set_lets_nobody_in() {
    let config = config(&[]);
    let sign_in = &config.sign_in;
    assert!(sign_in.jwt.is_none() && sign_in.anonymous.is_none() && !sign_in.has_tokens());
    assert_eq!(
        sign_in.tokens_file,
        Path::new("/home/ada/.local/share/agent-mesh/tokens.toml")
    );
    assert_eq!(refused(&config, HERE), ["sign-in"]);
}

#[test]
fn each_way_to_sign_in_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let of_data = |path: &str| config(&[("AGENT_MESH_DATA_DIR", path)]);
    assert_eq!(refused(&of_data(&data), HERE), ["sign-in"]);
    std::fs::write(folder.path().join("tokens.toml"), "").unwrap();
    assert!(refused(&of_data(&data), "0.0.0.0:80").is_empty());
    let named = config(&[("AGENT_MESH_TOKENS_FILE", "later.toml")]);
    assert_eq!(named.sign_in.tokens_file, Path::new("/srv/later.toml"));
    assert!(refused(&named, "0.0.0.0:80").is_empty());
    assert!(refused(&config(&JWT), "0.0.0.0:80").is_empty());
    assert!(refused(&config(&[("AGENT_MESH_ANONYMOUS", "true")]), HERE).is_empty());
    assert!(
        read(&[("AGENT_MESH_TOKENS_FILE", &data)]).is_err(),
        "a folder"
    );
}

#[test]
fn signed_tokens_that_are_half_set_up_are_refused_though_others_are_taken() {
    for left_out in JWT {
        let given = JWT.into_iter().filter(|pair| *pair != left_out);
        let variables: Vec<_> = given.chain([("AGENT_MESH_ANONYMOUS", "true")]).collect();
        assert_eq!(refused(&config(&variables), HERE), [left_out.0]);
    }
}

#[test]
fn without_a_token_one_comes_in_on_this_machine_only() {
    let open = config(&[("AGENT_MESH_ANONYMOUS", "true")]);
    let anonymous = open.sign_in.anonymous.clone().unwrap();
    assert_eq!(
        (anonymous.tenant.as_str(), anonymous.role),
        ("local", Role::Viewer)
    );
    for here in [HERE, "127.9.9.9:1", "[::1]:8080"] {
        assert!(refused(&open, here).is_empty(), "{here}");
    }
    for elsewhere in [
        "0.0.0.0:8080",
        "[::]:8080",
        "10.0.0.1:80",
        "[::ffff:127.0.0.1]:80",
    ] {
        assert_eq!(
            refused(&open, elsewhere),
            ["AGENT_MESH_ANONYMOUS"],
            "{elsewhere}"
        );
    }
    let other = config(&[
        ("AGENT_MESH_IDENTITY", "jwt"),
        JWT[0],
        JWT[1],
        JWT[2],
        ("AGENT_MESH_ANONYMOUS", "on"),
        ("AGENT_MESH_ANONYMOUS_TENANT", "guests"),
        ("AGENT_MESH_ANONYMOUS_ROLE", "user"),
    ]);
    let anonymous = other.sign_in.anonymous.clone().unwrap();
    assert_eq!(
        (anonymous.tenant.as_str(), anonymous.role),
        ("guests", Role::User)
    );
    let known = other.tenants.find(&anonymous.tenant).unwrap();
    assert!(known.issuers.is_empty(), "no token names it");
    let off = config(&[("AGENT_MESH_ANONYMOUS_ROLE", "admin")]);
    assert!(off.sign_in.anonymous.is_none());
    assert!(
        off.warnings[0].contains("does nothing"),
        "{:?}",
        off.warnings
    );
}

#[test]
fn signed_tokens_are_taken_over_http_under_either_identity() {
    let env = config(&JWT);
    assert_eq!(env.identity, crate::config::Identity::Env);
    let jwt = env.sign_in.jwt.unwrap();
    assert_eq!(jwt.algorithms, SignatureAlgorithm::ALL);
    assert_eq!(jwt.bearer_lifetime_max, None);
    assert_eq!(jwt.leeway, Duration::from_secs(5));
    assert_eq!(jwt.claims, crate::mesh::tenant::ClaimNames::default());
    assert_eq!(env.stdio_warnings.len(), 3, "{:?}", env.stdio_warnings);
    let named = config(&[JWT[0], JWT[1], JWT[2], ("AGENT_MESH_TENANT_ID", "acme")]);
    let acme = named.tenants.find(&"acme".parse().unwrap()).unwrap();
    assert_eq!(acme.issuers, ["https://id.example"]);
    let unnamed = config(&JWT)
        .tenants
        .find(&"local".parse().unwrap())
        .unwrap();
    assert!(
        unnamed.issuers.is_empty(),
        "nobody named the tenant `local`"
    );
}

#[test]
fn what_a_token_must_be_like_is_read_at_its_edges() {
    let with = |name, value| read(&[JWT[0], JWT[1], JWT[2], (name, value)]);
    let jwt = |name, value| with(name, value).unwrap().sign_in.jwt.unwrap();
    let some = jwt("AGENT_MESH_JWT_ALGORITHMS", "ES256, EdDSA, ES256");
    let names = some.algorithms.iter().map(|algorithm| algorithm.name());
    assert_eq!(names.collect::<Vec<_>>(), ["ES256", "EdDSA"]);
    let lifetime = |text| jwt("AGENT_MESH_JWT_LIFETIME_MAX_S", text).bearer_lifetime_max;
    assert_eq!(lifetime("1"), Some(Duration::from_secs(1)));
    assert_eq!(
        lifetime("31622400"),
        Some(Duration::from_secs(366 * 24 * 3600))
    );
    let leeway = |text| jwt("AGENT_MESH_JWT_LEEWAY_S", text).leeway.as_secs();
    assert_eq!((leeway("0"), leeway("60")), (0, 60));
    let scope = |text| jwt("AGENT_MESH_JWT_CLAIM_SCOPE", text).claims.scope;
    assert_eq!(scope("none"), None);
    assert_eq!(scope("scp").unwrap().as_str(), "scp");
    let tenant = jwt("AGENT_MESH_JWT_CLAIM_TENANT", "https://example.com/tenant");
    assert_eq!(tenant.claims.tenant.as_str(), "https://example.com/tenant");
    for (name, bad) in [
        ("AGENT_MESH_JWT_ALGORITHMS", "HS256"),
        ("AGENT_MESH_JWT_ALGORITHMS", "none"),
        ("AGENT_MESH_JWT_ALGORITHMS", "ES256,"),
        ("AGENT_MESH_JWT_LIFETIME_MAX_S", "0"),
        ("AGENT_MESH_JWT_LIFETIME_MAX_S", "31622401"),
        ("AGENT_MESH_JWT_LEEWAY_S", "61"),
        ("AGENT_MESH_JWT_CLAIM_USER", "a..b"),
        ("AGENT_MESH_ANONYMOUS_ROLE", "root"),
        ("AGENT_MESH_ANONYMOUS_TENANT", "NO"),
    ] {
        assert_eq!(
            with(name, bad).unwrap_err().mistakes().len(),
            1,
            "{name}={bad}"
        );
    }
}
