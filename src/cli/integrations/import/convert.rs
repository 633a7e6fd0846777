//! A client's server as an integration: its id, its arguments, and its secrets taken out of them.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::shown;
use super::source::Found;
use crate::config::Environment;
use crate::mesh::integration::id::{RESERVED, SERVICE_ID_CHARS_MAX};
use crate::mesh::integration::leak::{Field, Leak, leaks};
use crate::mesh::integration::reference::SECRET_NAME_CHARS_MAX;
use crate::mesh::integration::{
    Endpoint, Program, RemoteAddress, RemoteKind, SecretName, ServiceId,
};

/// How often one definition is looked through for a secret more; each round takes one out of each field.
const ROUNDS_MAX: usize = 16;

/// Members of a client's server that change what it does and that an integration does not have.
const UNKNOWN_HERE: [(&str, &str); 2] = [
    ("cwd", "the folder that it starts in is not carried over"),
    ("timeout", "its time limit is not carried over"),
];

/// What is to be registered. It shows names of secrets only.
#[derive(Debug)]
pub(super) struct Plan {
    /// The id.
    pub(super) service: ServiceId,
    /// The arguments of `integration_register`.
    pub(super) arguments: Value,
    /// What goes into the store.
    pub(super) secrets: BTreeMap<SecretName, SecretString>,
    /// What the person should know.
    pub(super) notes: Vec<String>,
    endpoint: Endpoint,
}

impl Plan {
    /// What would run or be reached, for a person to judge.
    pub(super) fn lines(&self) -> Vec<String> {
        let named = |what: &str, texts: &BTreeMap<String, String>| {
            let line = |(name, text): (&String, &String)| {
                format!("{what:8} {}={}", shown(name), shown(text))
            };
            texts.iter().map(line).collect::<Vec<_>>()
        };
        match &self.endpoint {
            Endpoint::Remote(address) => {
                let mut lines = vec![format!("{:8} {}", address.kind.name(), shown(&address.url))];
                lines.extend(named("header", &address.headers));
                lines
            }
            Endpoint::Stdio(Program::Command {
                command, args, env, ..
            }) => {
                let words = std::iter::once(command).chain(args);
                let words: Vec<String> = words.map(|word| quoted(word)).collect();
                let mut lines = vec![format!("runs     {}", words.join(" "))];
                lines.extend(named("env", env));
                lines
            }
            Endpoint::Stdio(Program::Template { .. }) => Vec::new(),
        }
    }
}

/// What `found` is as an integration.
///
/// # Errors
/// Why it cannot be one; shows no value.
pub(super) fn convert(found: &Found, environment: &Environment) -> Result<Plan, String> {
    let members = &found.members;
    if members.get("disabled") == Some(&Value::Bool(true)) {
        return Err("it is switched off there".to_owned());
    }
    if members.contains_key("envFile") {
        return Err(
            "its variables are in a file, which is not read; name them in `env`".to_owned(),
        );
    }
    let service = service_of(&found.name)?;
    let mut filler = Filler {
        service: &service,
        environment,
        notes: Vec::new(),
    };
    let mut endpoint = endpoint(members, &mut filler)?;
    let mut notes = filler.notes;
    for (member, note) in UNKNOWN_HERE {
        if members.contains_key(member) {
            notes.push(note.to_owned());
        }
    }
    let secrets = take_secrets(&service, &mut endpoint)?;
    Ok(Plan {
        arguments: arguments(&service, &found.name, &endpoint),
        service,
        secrets,
        notes,
        endpoint,
    })
}

/// An id made of what the client calls the server.
fn service_of(name: &str) -> Result<ServiceId, String> {
    let mapped: String = name
        .to_lowercase()
        .chars()
        .map(|character| match character {
            'a'..='z' | '0'..='9' => character,
            _ => '-',
        })
        .collect();
    let words = mapped.split('-').filter(|word| !word.is_empty());
    let mut id = words.collect::<Vec<_>>().join("-");
    if RESERVED.contains(&id.as_str()) {
        id.insert_str(0, "my-");
    }
    id.truncate(SERVICE_ID_CHARS_MAX);
    let id = id.trim_end_matches('-');
    id.parse()
        .map_err(|_| "its name has no letters or digits to make an id of".to_owned())
}

/// Replaces what clients put in the place of `${...}`.
struct Filler<'a> {
    service: &'a ServiceId,
    environment: &'a Environment,
    notes: Vec<String>,
}

impl Filler<'_> {
    /// `text` with the client's placeholders replaced: variables by their values, prompts by secrets that
    /// are to be set. What else looks like a reference of ours stands for itself.
    fn fill(&mut self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, found) = rest.split_at(at);
            filled.push_str(before);
            let inside = found
                .strip_prefix("${")
                .and_then(|rest| rest.split_once('}'));
            let Some((inside, after)) = inside else {
                filled.push('$');
                filled.push_str(found);
                return Ok(filled);
            };
            filled.push_str(&self.stands_for(inside)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn stands_for(&mut self, inside: &str) -> Result<String, String> {
        if let Some(id) = inside.strip_prefix("input:") {
            let name = secret_name(self.service, id)?;
            self.notes.push(format!(
                "the client asks for `{}`: run `use_aws_mcp secrets set {name}`",
                shown(id)
            ));
            return Ok(format!("${{secret:{name}}}"));
        }
        if inside == "userHome" {
            let home = self
                .environment
                .home
                .as_ref()
                .and_then(|path| path.to_str());
            return home
                .map(str::to_owned)
                .ok_or("there is no home folder".to_owned());
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside.strip_prefix("env:").unwrap_or(inside), None),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let value = match name.bytes().all(is_name) {
            true => self.environment.get(name).or(default),
            false => None,
        };
        // A value is no text of ours: what looks like a reference in it is none.
        value
            .map(|value| value.replace("${", "$${"))
            .ok_or_else(|| format!("it needs `${{{}}}`, which has no value here", shown(inside)))
    }

    fn texts(&mut self, value: Option<&Value>) -> Result<BTreeMap<String, String>, String> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(BTreeMap::new());
        };
        let members = value
            .as_object()
            .ok_or("its `env` or `headers` is no object")?;
        let mut texts = BTreeMap::new();
        for (name, value) in members {
            texts.insert(name.clone(), self.fill(&plain(value)?)?);
        }
        Ok(texts)
    }
}

/// A text, or a number or a switch as one.
fn plain(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err("one of its values is no text".to_owned()),
    }
}

fn endpoint(members: &Map<String, Value>, filler: &mut Filler<'_>) -> Result<Endpoint, String> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    if let Some(command) = text("command") {
        let mut args = Vec::new();
        let given = members.get("args").filter(|value| !value.is_null());
        for value in given.map_or(Ok(&Vec::new()), |value| {
            value.as_array().ok_or("its `args` is no list")
        })? {
            args.push(filler.fill(&plain(value)?)?);
        }
        return Ok(Endpoint::Stdio(Program::Command {
            command: filler.fill(command)?,
            args,
            env: filler.texts(members.get("env"))?,
        }));
    }
    let url = text("url").or_else(|| text("serverUrl"));
    let url = url.ok_or("it has neither a command nor a URL")?;
    let url = filler.fill(url)?;
    let kind = match text("type").or_else(|| text("transport")) {
        Some("http" | "streamable-http" | "streamableHttp" | "streamable_http") => RemoteKind::Http,
        Some("sse") => RemoteKind::Sse,
        Some("ws" | "websocket") => RemoteKind::Websocket,
        Some(other) => return Err(format!("its type `{}` is not known", shown(other))),
        None if url.starts_with("wss://") || url.starts_with("ws://") => RemoteKind::Websocket,
        None if url.trim_end_matches('/').ends_with("/sse") => RemoteKind::Sse,
        None => RemoteKind::Http,
    };
    Ok(Endpoint::Remote(RemoteAddress {
        kind,
        url,
        headers: filler.texts(members.get("headers"))?,
    }))
}

/// Takes every secret out of `endpoint` and leaves references in their places.
fn take_secrets(
    service: &ServiceId,
    endpoint: &mut Endpoint,
) -> Result<BTreeMap<SecretName, SecretString>, String> {
    let mut secrets = BTreeMap::new();
    for _ in 0..ROUNDS_MAX {
        let found = leaks(endpoint);
        if found.is_empty() {
            return Ok(secrets);
        }
        for leak in found {
            let name = free_name(service, &leak.name, &secrets)?;
            let text = field(endpoint, &leak)
                .ok_or("its URL holds a secret; an integration sends secrets in headers only")?;
            let secret = text.get(leak.range.clone()).unwrap_or_default().to_owned();
            text.replace_range(leak.range, &format!("${{secret:{name}}}"));
            secrets.insert(name, SecretString::from(secret.replace("$${", "${")));
        }
    }
    Err("it holds more secrets than can be told apart".to_owned())
}

/// The text of the field in which a secret was found; none for one that cannot hold a reference.
fn field<'a>(endpoint: &'a mut Endpoint, leak: &Leak) -> Option<&'a mut String> {
    match (endpoint, &leak.field) {
        (Endpoint::Stdio(Program::Command { env, .. }), Field::Variable(name)) => env.get_mut(name),
        (Endpoint::Stdio(Program::Command { args, .. }), Field::Argument(at)) => args.get_mut(*at),
        (Endpoint::Remote(address), Field::Header(name)) => address.headers.get_mut(name),
        _ => None,
    }
}

/// A name for a secret of `service` that none of `taken` has.
fn free_name(
    service: &ServiceId,
    name: &str,
    taken: &BTreeMap<SecretName, SecretString>,
) -> Result<SecretName, String> {
    let mut candidate = secret_name(service, name)?;
    let mut number = 2;
    while taken.contains_key(&candidate) {
        candidate = secret_name(service, &format!("{number}-{name}"))?;
        number += 1;
    }
    Ok(candidate)
}

fn secret_name(service: &ServiceId, name: &str) -> Result<SecretName, String> {
    let allowed =
        |&character: &char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let name = format!("{service}-{name}");
    let name: String = name
        .chars()
        .filter(allowed)
        .take(SECRET_NAME_CHARS_MAX)
        .collect();
    name.parse()
        .map_err(|_| "a secret of it has no name".to_owned())
}

fn arguments(service: &ServiceId, name: &str, endpoint: &Endpoint) -> Value {
    let mut arguments = json!({
        "service_id": service.as_str(),
        "name": title(name, service),
        "server_type": endpoint.server_type(),
    });
    match endpoint {
        Endpoint::Stdio(Program::Command {
            command, args, env, ..
        }) => {
            arguments["command"] = json!(command);
            arguments["args"] = json!(args);
            arguments["env"] = json!(env);
        }
        Endpoint::Remote(address) => {
            arguments["url"] = json!(address.url);
            arguments["headers"] = json!(address.headers);
        }
        Endpoint::Stdio(Program::Template { .. }) => {}
    }
    arguments
}

/// The client's name for it, where it can be shown to others.
fn title(name: &str, service: &ServiceId) -> String {
    let fits =
        (1..=100).contains(&name.len()) && name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match fits {
        true => name.to_owned(),
        false => service.to_string(),
    }
}

/// A word of a command as a person reads it: quoted where it would not be one word otherwise.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@=+,%$~^".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", shown(word)),
    }
}
