//! Secrets among the arguments of a command and in URLs.

use serde_json::Value;

use super::{Field, Found, Leak, format, name, refers};

/// Parts of a query that carry what signs a URL.
const SIGNATURES: [&str; 3] = ["sig", "signature", "x-amz-signature"];

/// Every argument that holds a secret.
pub(super) fn leaks(args: &[String]) -> Vec<Leak> {
    let mut leaks = Vec::new();
    for (at, text) in args.iter().enumerate() {
        let flag = at.checked_sub(1).and_then(|before| args.get(before));
        let found = in_one(text).or_else(|| after_flag(flag?, text));
        leaks.extend(found.map(|found| Leak::new(Field::Argument(at), found)));
    }
    leaks
}

/// A secret that an argument holds by itself.
fn in_one(text: &str) -> Option<Found> {
    assigned(text, '=')
        .or_else(|| assigned(text, ':'))
        .or_else(|| in_json(text))
        .or_else(|| {
            // The flag that stands before the key names it.
            let mut found = format::find(text)?;
            let before = text.get(..found.range.start).unwrap_or_default();
            let named = before.split_once(['=', ':']).map(|(name, _)| name);
            found.name = named.filter(|name| is_plain_name(name)).map(str::to_owned);
            Some(found)
        })
}

/// `--token=...`, `TOKEN=...`, `Authorization: ...`.
fn assigned(text: &str, separator: char) -> Option<Found> {
    let (name, value) = text.split_once(separator)?;
    // `token://host` names no secret, it is an address.
    let is_secret = is_plain_name(name)
        && name::is_of_a_secret(name)
        && !value.starts_with("//")
        && !name::allows(name, value)
        && !refers(value);
    if !is_secret {
        return None;
    }
    let start = text.len() - value.trim_start().len();
    let mut found = format::find(text).unwrap_or(Found::new(name::BY_ITS_NAME, start..text.len()));
    found.name = Some(name.to_owned());
    Some(found)
}

/// A value behind a flag that is an argument of its own.
fn after_flag(flag: &str, text: &str) -> Option<Found> {
    let is_secret = flag.starts_with('-')
        && is_plain_name(flag)
        && name::is_of_a_secret(flag)
        && !text.starts_with('-')
        && !name::allows(flag, text)
        && !refers(text);
    is_secret.then(|| Found {
        what: name::BY_ITS_NAME,
        range: 0..text.len(),
        name: Some(flag.to_owned()),
    })
}

fn is_plain_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// A member of a JSON object that is passed as one argument, also as JSON within JSON.
fn in_json(text: &str) -> Option<Found> {
    let whole = 0..text.len();
    if !text.trim_start().starts_with(['{', '[', '"']) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let value = match &value {
        Value::String(inner) => serde_json::from_str(inner).ok()?,
        _ => value,
    };
    let (name, what) = in_value(&value)?;
    Some(Found {
        what,
        range: whole,
        name: Some(name),
    })
}

fn in_value(value: &Value) -> Option<(String, &'static str)> {
    match value {
        Value::Array(items) => items.iter().find_map(in_value),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let Value::String(text) = value else {
                return in_value(value);
            };
            let found = super::in_named(name, text)?;
            Some((name.clone(), found.what))
        }),
        _ => None,
    }
}

/// A secret in a URL: user info, a part of the query, or a key of a known format anywhere.
pub(super) fn in_url(url: &str) -> Option<Found> {
    let after_scheme = url.find("://").map_or(0, |at| at + "://".len());
    let rest = url.get(after_scheme..).unwrap_or_default();
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if let Some((info, _)) = authority.rsplit_once('@') {
        let range = after_scheme..after_scheme + info.len();
        return Some(Found::new("a URL with user info", range));
    }
    if let Some(found) = format::find(url) {
        return Some(found);
    }
    let query_at = url.find('?')? + 1;
    let query = url.get(query_at..)?.split('#').next()?;
    form_urlencoded::parse(query.as_bytes()).find_map(|(name, text)| {
        let is_signature = SIGNATURES.contains(&name.to_ascii_lowercase().as_str());
        let mut found = match super::in_named(&name, &text) {
            Some(found) => found,
            None if is_signature && !text.is_empty() => Found::new("a signature", 0..0),
            None => return None,
        };
        // Decoded, its place in the URL is no longer known.
        found.range = query_at..query_at + query.len();
        found.name = Some(name.into_owned());
        Some(found)
    })
}
