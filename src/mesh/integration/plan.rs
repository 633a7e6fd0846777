//! From what is registered and what a connection was given to what is opened.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::credentials::Credentials;
use super::definition::{AuthMethod, Definition, Endpoint, Program, RemoteAddress};
use super::reference::{Place, Referents, expand};
use crate::mesh::upstream::{ClientCredentials, ConnectionSecrets, ConnectionTarget, SignIn};
use crate::mesh::{Error, ErrorKind};

/// The header that a bearer token and a password stand in, and the one that a key stands in.
const AUTHORIZATION: &str = "authorization";
const API_KEY: &str = "x-api-key";

/// What stands before a name and a password in a header.
const BASIC: &str = "Basic ";

/// The field of credentials that is no secret: what a token is to be good for, in words that errors need.
const SCOPE: &str = "scope";

/// The texts of a definition that may hold references.
pub fn texts(endpoint: &Endpoint) -> Vec<&str> {
    let (args, members): (&[String], _) = match endpoint {
        Endpoint::Stdio(Program::Template { env, .. }) => (&[], env),
        Endpoint::Stdio(Program::Command { args, env, .. }) => (args, env),
        Endpoint::Remote(RemoteAddress { headers, .. }) => (&[], headers),
    };
    args.iter()
        .chain(members.values())
        .map(String::as_str)
        .collect()
}

/// What the argument is called that those texts stand in.
pub const fn parameter(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Stdio(_) => "env",
        Endpoint::Remote(_) => "headers",
    }
}

/// Refuses credentials that lack what the method of signing in needs.
///
/// # Errors
/// `INVALID_PARAMETER` that names what is missing.
pub fn require(auth: AuthMethod, credentials: &Credentials) -> Result<(), Error> {
    let missing: Vec<_> = auth
        .needs()
        .iter()
        .filter(|name| credentials.get(name).is_none())
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "`credentials` lacks {}, which `{}` needs",
        missing.join(", "),
        auth.name()
    );
    Err(Error::invalid("credentials", message).fix(format!(
        "Give integration_connect `credentials` with {}.",
        auth.needs().join(", ")
    )))
}

/// What is opened, with every reference replaced.
///
/// # Errors
/// What a reference stands for is missing, or cannot stand there.
pub fn target(
    definition: &Definition,
    settings: &BTreeMap<String, String>,
    credentials: &Credentials,
    referents: &Referents,
) -> Result<ConnectionTarget, Error> {
    let expanded = |members: &BTreeMap<String, String>, place: Place| {
        let texts = members.iter();
        let texts = texts.map(|(name, text)| Ok((name.clone(), expand(text, referents, place)?)));
        texts.collect::<Result<BTreeMap<_, _>, Error>>()
    };
    Ok(match &definition.endpoint {
        Endpoint::Stdio(Program::Template { template, env }) => ConnectionTarget::Template {
            template: template.clone(),
            slots: settings.clone(),
            env: expanded(env, Place::Process)?,
        },
        Endpoint::Stdio(Program::Command { command, args, env }) => {
            let args = args
                .iter()
                .map(|text| expand(text, referents, Place::Process));
            ConnectionTarget::Command {
                command: command.clone(),
                args: args.collect::<Result<_, _>>()?,
                env: expanded(env, Place::Process)?,
            }
        }
        Endpoint::Remote(address) => {
            let mut headers = expanded(&address.headers, Place::Header)?;
            let sign_in = sign_in(definition.auth, credentials, &mut headers)?;
            ConnectionTarget::Remote {
                kind: address.kind,
                url: address.url.clone(),
                headers,
                sign_in,
            }
        }
    })
}

/// What of `target` must never be shown: what its references stand for, what the connection was given to sign
/// in with, and what a header that was made of them holds. The texts of a definition are no secrets by themselves.
pub fn secrets(
    target: &ConnectionTarget,
    credentials: &Credentials,
    referents: &Referents,
) -> ConnectionSecrets {
    let given = credentials.fields();
    let given = given.filter_map(|(name, text)| (name.as_str() != SCOPE).then_some(text));
    let held: Vec<_> = given.chain(referents.texts()).collect();
    let has_one = |text: &&SecretString| {
        let text = text.expose_secret();
        text.starts_with(BASIC) || held.iter().any(|held| text.contains(held.expose_secret()))
    };
    let headers = match target {
        ConnectionTarget::Remote { headers, .. } => headers.values().filter(has_one).collect(),
        ConnectionTarget::Command { .. } | ConnectionTarget::Template { .. } => Vec::new(),
    };
    ConnectionSecrets::new(held.iter().copied().chain(headers))
}

/// The same with its references as they are, for asking whether it may be opened at all.
pub fn outline(endpoint: &Endpoint) -> ConnectionTarget {
    let plain = |members: &BTreeMap<String, String>| {
        let texts = members.iter();
        texts
            .map(|(name, text)| (name.clone(), SecretString::from(text.as_str())))
            .collect()
    };
    match endpoint {
        Endpoint::Stdio(Program::Template { template, env }) => ConnectionTarget::Template {
            template: template.clone(),
            slots: BTreeMap::new(),
            env: plain(env),
        },
        Endpoint::Stdio(Program::Command { command, args, env }) => ConnectionTarget::Command {
            command: command.clone(),
            args: args
                .iter()
                .map(|text| SecretString::from(text.as_str()))
                .collect(),
            env: plain(env),
        },
        Endpoint::Remote(address) => ConnectionTarget::Remote {
            kind: address.kind,
            url: address.url.clone(),
            headers: plain(&address.headers),
            sign_in: SignIn::Headers,
        },
    }
}

/// Refuses a free command where who calls is told by tokens, whenever it was registered.
///
/// # Errors
/// `NOT_SUPPORTED`.
pub fn require_allowed(endpoint: &Endpoint, serves_many: bool) -> Result<(), Error> {
    match endpoint {
        Endpoint::Stdio(Program::Command { .. }) if serves_many => Err(Error::new(
            ErrorKind::NotSupported,
            "this server starts no commands of its users",
        )
        .fix("Register one of the operator's templates (`template`), or a remote server (`url`).")
        .detail("parameter", "command")),
        _ => Ok(()),
    }
}

fn sign_in(
    auth: AuthMethod,
    credentials: &Credentials,
    headers: &mut BTreeMap<String, SecretString>,
) -> Result<SignIn, Error> {
    require(auth, credentials)?;
    let field = |name: &str| credentials.get(name).map(ExposeSecret::expose_secret);
    let text = |name: &str| field(name).unwrap_or_default().to_owned();
    match auth {
        AuthMethod::None => {}
        AuthMethod::ApiKey => add(headers, API_KEY, text("api_key"))?,
        AuthMethod::Bearer => add(headers, AUTHORIZATION, format!("Bearer {}", text("token")))?,
        AuthMethod::Basic => {
            let (name, password) = (text("username"), text("password"));
            let pair = STANDARD.encode(format!("{name}:{password}"));
            add(headers, AUTHORIZATION, format!("{BASIC}{pair}"))?;
        }
        AuthMethod::ClientCredentials => {
            return Ok(SignIn::ClientCredentials(ClientCredentials {
                token_url: text("token_url"),
                client_id: text("client_id").into(),
                client_secret: text("client_secret").into(),
                scope: field("scope").map(str::to_owned),
            }));
        }
    }
    Ok(SignIn::Headers)
}

/// Adds a header, unless the definition says itself where the secret goes: a header of that name, or for a key
/// any reference to it.
fn add(
    headers: &mut BTreeMap<String, SecretString>,
    name: &str,
    text: String,
) -> Result<(), Error> {
    let is_given = headers.keys().any(|given| given.eq_ignore_ascii_case(name));
    let is_used = headers
        .values()
        .any(|given| given.expose_secret().contains(&text));
    if is_given || (name == API_KEY && is_used) {
        return Ok(());
    }
    if text.chars().any(char::is_control) {
        let message = "`credentials` has control characters, which no header can hold";
        return Err(Error::invalid("credentials", message));
    }
    headers.insert(name.to_owned(), SecretString::from(text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::integration::{Reference, RemoteKind};

    fn credentials(fields: &[(&str, &str)]) -> Credentials {
        let fields = fields.iter();
        let fields = fields.map(|(name, text)| ((*name).to_owned(), SecretString::from(*text)));
        Credentials::of(fields).unwrap()
    }

    fn definition(auth: AuthMethod, headers: &[(&str, &str)]) -> Definition {
        let headers = headers.iter();
        let headers = headers.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Definition {
            service: "a".parse().unwrap(),
            name: "A".to_owned(),
            endpoint: Endpoint::Remote(RemoteAddress {
                kind: RemoteKind::Http,
                url: "https://a.example/mcp".to_owned(),
                headers: headers.collect(),
            }),
            auth,
            description: None,
            category: None,
            capabilities: Vec::new(),
            direct_tools: Vec::new(),
        }
    }

    fn headers_of(definition: &Definition, given: &Credentials) -> Vec<(String, String)> {
        let mut referents = Referents::default();
        for (name, text) in given.fields() {
            referents.insert(Reference::Credential(name.clone()), text.clone());
        }
        let target = target(definition, &BTreeMap::new(), given, &referents).unwrap();
        let ConnectionTarget::Remote { headers, .. } = target else {
            panic!("a remote one");
        };
        let headers = headers.into_iter();
        headers
            .map(|(name, text)| (name, text.expose_secret().to_owned()))
            .collect()
    }

    #[test]
    fn each_method_signs_in_where_servers_look_for_it() {
        let of = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
        let key = credentials(&[("api_key", "k")]);
        assert_eq!(
            headers_of(&definition(AuthMethod::ApiKey, &[]), &key),
            of("x-api-key", "k")
        );
        let own = definition(
            AuthMethod::ApiKey,
            &[("X-Key", "Key ${credential:api_key}")],
        );
        assert_eq!(headers_of(&own, &key), of("X-Key", "Key k"));
        let token = credentials(&[("token", "t")]);
        let bearer = definition(AuthMethod::Bearer, &[]);
        assert_eq!(headers_of(&bearer, &token), of("authorization", "Bearer t"));
        let own = definition(
            AuthMethod::Bearer,
            &[("Authorization", "token ${credential:token}")],
        );
        assert_eq!(headers_of(&own, &token), of("Authorization", "token t"));
        let pair = credentials(&[("username", "ada"), ("password", "p:w")]);
        let basic = definition(AuthMethod::Basic, &[]);
        assert_eq!(
            headers_of(&basic, &pair),
            of("authorization", "Basic YWRhOnA6dw==")
        );
        let broken = credentials(&[("token", "t\r\nx: y")]);
        let none = Referents::default();
        assert!(target(&bearer, &BTreeMap::new(), &broken, &none).is_err());
    }

    #[test]
    fn all_that_a_connection_is_given_is_secret_and_nothing_that_is_registered() {
        let shown = |auth, headers: &[(&str, &str)], given: &[(&str, &str)], said: &str| {
            let (definition, given) = (definition(auth, headers), credentials(given));
            let mut referents = Referents::default();
            let text = SecretString::from("canary-key");
            referents.insert(Reference::Secret("key".parse().unwrap()), text);
            let target = target(&definition, &BTreeMap::new(), &given, &referents).unwrap();
            secrets(&target, &given, &referents).mask(said).into_owned()
        };
        let said =
            "Basic YWRhLWNhbmFyeTpwOnctY2FuYXJ5, p:w-canary, ada-canary, us-west-2, canary-key";
        let basic = [("username", "ada-canary"), ("password", "p:w-canary")];
        let headers = [("X-Region", "us-west-2"), ("X-Key", "Key ${secret:key}")];
        let masked = shown(AuthMethod::Basic, &headers, &basic, said);
        assert_eq!(masked, "[secret], [secret], [secret], us-west-2, [secret]");

        let client = [
            ("client_id", "id-canary"),
            ("client_secret", "canary-1"),
            ("token_url", "https://id.example/canary"),
            ("scope", "read write"),
        ];
        let said = "id-canary canary-1 https://id.example/canary may not read write";
        let masked = shown(AuthMethod::ClientCredentials, &[], &client, said);
        assert_eq!(masked, "[secret] [secret] [secret] may not read write");
    }

    #[test]
    fn what_a_method_needs_is_named() {
        let error = require(AuthMethod::Basic, &credentials(&[("username", "ada")])).unwrap_err();
        assert_eq!(error.details()["parameter"], "credentials");
        assert!(error.message().contains("password") && !error.message().contains("ada"));
        for method in AuthMethod::ALL {
            let given: Vec<_> = method.needs().iter().map(|name| (*name, "x")).collect();
            require(method, &credentials(&given)).unwrap();
        }
    }
}
