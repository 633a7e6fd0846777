//! Whether a policy service decides about each call, and how it is asked.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::jwt::is_loopback;
use super::setting::{
    AUTHORIZER_CACHE_MS, AUTHORIZER_KEY, AUTHORIZER_KEY_FILE, AUTHORIZER_TIMEOUT_MS,
    AUTHORIZER_URL, Setting,
};
use super::source::{Reader, Shown, Source};
use super::{check, secret_file};

/// A policy service that is asked about each call.
#[derive(Clone, Debug)]
pub struct AuthorizerSettings {
    /// Its address, below which `/verify` lies: `https`, or `http` on this machine.
    pub url: String,
    /// What it knows us by.
    pub key: Option<SecretString>,
    /// How long one question may take.
    pub timeout: Duration,
    /// How long an answer is remembered; zero remembers none.
    pub remember_for: Duration,
}

impl AuthorizerSettings {
    /// The longest that one question may take, in milliseconds.
    pub const TIMEOUT_MS_MOST: u32 = 10_000;
    /// The shortest that one question may take, in milliseconds.
    pub const TIMEOUT_MS_LEAST: u32 = 10;
    /// The longest that an answer may be remembered, in milliseconds.
    pub const CACHE_MS_MOST: u32 = 60_000;
    /// How long a key may be, in bytes.
    pub const KEY_BYTES_MOST: usize = 4096;

    pub(crate) fn read(reader: &mut Reader, warnings: &mut Vec<String>) -> Option<Self> {
        let url = reader.read(&AUTHORIZER_URL, None, |text| service_url(text).map(Some));
        let given = reader.read(&AUTHORIZER_KEY, Key(None), |text| visible(text).map(Key));
        let file = reader.read_path(&AUTHORIZER_KEY_FILE, None, |_| Ok(()));
        let (least, most) = (Self::TIMEOUT_MS_LEAST, Self::TIMEOUT_MS_MOST);
        let timeout_ms = reader.read(&AUTHORIZER_TIMEOUT_MS, 500, |text| {
            check::number(text, least..=most)
        });
        let cache_ms = reader.read(&AUTHORIZER_CACHE_MS, 5000, |text| {
            check::number(text, 0..=Self::CACHE_MS_MOST)
        });
        let is_set = |reader: &Reader, setting: &Setting| reader.source(setting) != Source::Default;
        if !is_set(reader, &AUTHORIZER_URL) {
            let others = [
                &AUTHORIZER_KEY,
                &AUTHORIZER_KEY_FILE,
                &AUTHORIZER_TIMEOUT_MS,
                &AUTHORIZER_CACHE_MS,
            ];
            let useless = others.into_iter().filter(|setting| is_set(reader, setting));
            warnings.extend(useless.map(|setting| {
                let (name, needed) = (setting.variable, AUTHORIZER_URL.variable);
                format!("{name} is set but does nothing while {needed} is not: no policy service is asked")
            }));
        }
        let key = read_key(reader, given.0, file);
        let url = url?;
        if key.is_none() {
            warnings.push(format!(
                "{} is set without a key, so the policy service cannot tell who asks; set {}",
                AUTHORIZER_URL.variable, AUTHORIZER_KEY_FILE.variable
            ));
        }
        Some(Self {
            url,
            key,
            timeout: Duration::from_millis(timeout_ms.into()),
            remember_for: Duration::from_millis(cache_ms.into()),
        })
    }
}

/// The key, which a file gives where one is named.
fn read_key(
    reader: &mut Reader,
    given: Option<SecretString>,
    file: Option<PathBuf>,
) -> Option<SecretString> {
    let Some(path) = file else { return given };
    let key = secret_file::read(&path, 1..=AuthorizerSettings::KEY_BYTES_MOST);
    let key = key.and_then(|key| visible(key.expose_secret()));
    key.unwrap_or_else(|message| {
        let source = reader.source(&AUTHORIZER_KEY_FILE);
        reader.mistake(&AUTHORIZER_KEY_FILE, &source, message);
        None
    })
}

/// A key that is not shown.
struct Key(Option<SecretString>);

impl Shown for Key {
    fn shown(&self) -> Option<String> {
        self.0.as_ref().map(|_| String::new())
    }
}

/// A key as a header can hold it.
fn visible(text: &str) -> Result<Option<SecretString>, String> {
    let fits = (1..=AuthorizerSettings::KEY_BYTES_MOST).contains(&text.len());
    match fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Some(SecretString::from(text))),
        false => Err("a key is 1 to 4096 visible ASCII characters".to_owned()),
    }
}

/// The address of a policy service. Whoever could answer in its place would decide, so plain `http` is for
/// this machine only.
fn service_url(text: &str) -> Result<String, String> {
    let url: http::Uri = text.parse().map_err(|_| "it is no URL".to_owned())?;
    let authority = url.authority().ok_or("the URL names no host")?;
    if authority.as_str().contains('@') || url.query().is_some() || text.contains('#') {
        return Err("the URL must not carry a user, a password, a query or a fragment".to_owned());
    }
    match url.scheme_str() {
        Some("https") => Ok(text.to_owned()),
        Some("http") if is_loopback(authority.host()) => Ok(text.to_owned()),
        _ => Err("the URL must begin with https://, or with http:// on this machine".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_reached_by_https_or_on_this_machine() {
        for right in [
            "https://policy.example",
            "https://policy.example:8443/v1/",
            "http://127.0.0.1:9",
            "http://localhost/a",
            "http://[::1]:80",
        ] {
            assert_eq!(service_url(right).as_deref(), Ok(right));
        }
        for wrong in [
            "policy.example",
            "http://policy.example",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "https://user@policy.example",
            "https://policy.example/?a=1",
            "https://policy.example/#a",
            "/srv/policy",
        ] {
            assert!(service_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_what_a_header_can_hold() {
        assert!(visible(&"k".repeat(4096)).is_ok());
        for wrong in ["", "a b", "ä", "a\n", &"k".repeat(4097)] {
            assert!(visible(wrong).is_err());
        }
    }
}
