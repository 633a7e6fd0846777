//! How `serve` listens: where, by which names, with which certificate, for how many, and how it ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use secrecy::SecretSlice;

use super::check;
use super::jwt::existing_file;
use super::setting::{
    ALLOWED_HOSTS, BIND, CONNECTIONS_MAX, CORS_CREDENTIALS, CORS_HEADERS, CORS_MAX_AGE_S,
    CORS_ORIGINS, DRAIN_DELAY_MS, DRAIN_TIME_MS, PUBLIC_URL, STATE_KEYS, STREAMS_MAX, TLS_CERT,
    TLS_KEY,
};
use super::source::{Reader, Shown, Source};

/// Where `serve` listens unless it is told otherwise.
const DEFAULT_BIND: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// The length of a key that seals, in bytes.
const STATE_KEY_BYTES: usize = 32;

/// The longest wait that an operator can ask for, in milliseconds.
const DRAIN_MS_MOST: u32 = 300_000;

/// How `serve` listens.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The address and port.
    pub bind: SocketAddr,
    /// The address by which clients reach it, without a slash at its end.
    pub public_url: Option<String>,
    /// Further names that it is known by, in lower case.
    pub allowed_hosts: Vec<String>,
    /// What web pages may do.
    pub cors: CorsSettings,
    /// The certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The keys that seal what clients carry; none where each process has its own.
    pub state_keys: Vec<SecretSlice<u8>>,
    /// The most connections.
    pub connections_max: usize,
    /// The most sessions with an open stream.
    pub streams_max: usize,
    /// How long new requests are taken once it is told to end.
    pub drain_delay: Duration,
    /// How long requests may take to end after that.
    pub drain_time: Duration,
}

/// What web pages may do; nothing where no origin is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsSettings {
    /// Whose pages, as browsers write them.
    pub origins: Vec<String>,
    /// Further headers that they may send.
    pub headers: Vec<HeaderName>,
    /// Whether browsers send along what they know of this server.
    pub credentials: bool,
    /// For how long a browser need not ask again.
    pub max_age: Duration,
}

/// Keys, of which only the number is shown.
#[derive(Clone, Default)]
struct Keys(Vec<SecretSlice<u8>>);

impl Shown for Keys {
    fn shown(&self) -> Option<String> {
        match self.0.len() {
            0 => None,
            1 => Some("1 key".to_owned()),
            count => Some(format!("{count} keys")),
        }
    }
}

/// Names of headers, as they are shown.
#[derive(Clone, Default)]
struct Headers(Vec<HeaderName>);

impl Shown for Headers {
    fn shown(&self) -> Option<String> {
        let names: Vec<&str> = self.0.iter().map(HeaderName::as_str).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

/// An address, as it is shown.
struct Address(SocketAddr);

impl Shown for Address {
    fn shown(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

impl HttpSettings {
    pub(crate) fn read(reader: &mut Reader) -> Self {
        let bind = reader.read(&BIND, Address(DEFAULT_BIND), |text| {
            text.parse().map(Address).map_err(|_| {
                "it is an address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned()
            })
        });
        let public_url = reader.read(&PUBLIC_URL, None, |text| public_url(text).map(Some));
        let allowed_hosts = reader.read(&ALLOWED_HOSTS, Vec::new(), hosts);
        let cors = CorsSettings::read(reader);
        let tls = read_tls(reader);
        let state_keys = reader.read(&STATE_KEYS, Keys::default(), keys);
        let connections = reader.read(&CONNECTIONS_MAX, 16_384, |text| {
            check::number(text, 16..=1_000_000)
        });
        let streams = reader.read(&STREAMS_MAX, 4096, |text| {
            check::number(text, 4..=1_000_000)
        });
        let millis = |text: &str| check::number(text, 0..=DRAIN_MS_MOST);
        let delay = reader.read(&DRAIN_DELAY_MS, 0, millis);
        let time = reader.read(&DRAIN_TIME_MS, 10_000, millis);
        Self {
            bind: bind.0,
            public_url,
            allowed_hosts,
            cors,
            tls,
            state_keys: state_keys.0,
            connections_max: count(connections),
            streams_max: count(streams),
            drain_delay: Duration::from_millis(delay.into()),
            drain_time: Duration::from_millis(time.into()),
        }
    }

    /// The names by which requests may call it: those that are named, and that of its public address.
    pub fn hosts(&self) -> Vec<String> {
        let public = self.public_url.as_deref();
        let public = public.and_then(|url| url.parse::<http::Uri>().ok());
        let public = public.and_then(|url| url.host().map(str::to_ascii_lowercase));
        self.allowed_hosts.iter().cloned().chain(public).collect()
    }

    /// What is set in a way in which no client could reach it.
    pub(crate) fn unreachable(&self) -> Option<String> {
        let is_open = !self.bind.ip().to_canonical().is_loopback();
        (is_open && self.hosts().is_empty()).then(|| {
            format!(
                "{} is reached from other machines by its address only: name the host that clients call it \
                 by in {} or {}",
                BIND.variable, PUBLIC_URL.variable, ALLOWED_HOSTS.variable
            )
        })
    }
}

impl CorsSettings {
    fn read(reader: &mut Reader) -> Self {
        let origins = reader.read(&CORS_ORIGINS, Vec::new(), origins);
        let headers = reader.read(&CORS_HEADERS, Headers::default(), headers);
        let credentials = reader.read(&CORS_CREDENTIALS, false, check::switch);
        let max_age = reader.read(&CORS_MAX_AGE_S, 600, |text| check::number(text, 0..=86_400));
        Self {
            origins,
            headers: headers.0,
            credentials,
            max_age: Duration::from_secs(max_age.into()),
        }
    }
}

/// Both files, or neither.
fn read_tls(reader: &mut Reader) -> Option<(PathBuf, PathBuf)> {
    let file = |path: &Path| existing_file(path);
    let certificate = reader.read_path(&TLS_CERT, None, file);
    let key = reader.read_path(&TLS_KEY, None, file);
    let is_named = |setting, reader: &Reader| reader.source(setting) != Source::Default;
    match (is_named(&TLS_CERT, reader), is_named(&TLS_KEY, reader)) {
        (true, false) => {
            let source = reader.source(&TLS_CERT);
            let message = format!("it needs its key in {}", TLS_KEY.variable);
            reader.mistake(&TLS_CERT, &source, message);
        }
        (false, true) => {
            let source = reader.source(&TLS_KEY);
            let message = format!("it needs its certificate in {}", TLS_CERT.variable);
            reader.mistake(&TLS_KEY, &source, message);
        }
        _ => {}
    }
    certificate.zip(key)
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn public_url(text: &str) -> Result<String, String> {
    let wrong = || "it is written like https://mesh.example".to_owned();
    let url: http::Uri = text.parse().map_err(|_| wrong())?;
    let fits = matches!(url.scheme_str(), Some("http" | "https"))
        && url.host().is_some_and(|host| !host.is_empty())
        && url.query().is_none()
        && !text.contains(['@', '#']);
    match fits {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(wrong()),
    }
}

fn hosts(text: &str) -> Result<Vec<String>, String> {
    let names = check::list(text)?;
    let names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    match names.iter().find(|name| !check::is_host(name)) {
        Some(name) => Err(format!(
            "\"{name}\" is no name of a host; ports are left out"
        )),
        None => Ok(names),
    }
}

fn origins(text: &str) -> Result<Vec<String>, String> {
    let origins = check::list(text)?;
    let is_origin = |origin: &str| {
        let url = origin.parse::<http::Uri>().ok();
        url.is_some_and(|url| {
            let host = url.host().is_some_and(|host| !host.is_empty());
            let is_web = matches!(url.scheme_str(), Some("http" | "https"));
            is_web
                && host
                && !origin.ends_with('/')
                && url.path() == "/"
                && !origin.contains(['@', '?', '#'])
        })
    };
    match origins.iter().find(|origin| !is_origin(origin)) {
        Some(origin) => Err(format!(
            "\"{origin}\" is no origin: it is written like https://app.example, without a path"
        )),
        None => Ok(origins),
    }
}

fn headers(text: &str) -> Result<Headers, String> {
    let names = check::list(text)?;
    let names = names.iter().map(|name| {
        let parsed = name.parse::<HeaderName>();
        parsed.map_err(|_| format!("\"{name}\" is no name of a header"))
    });
    names.collect::<Result<Vec<_>, _>>().map(Headers)
}

fn keys(text: &str) -> Result<Keys, String> {
    let keys = check::list(text)?;
    let keys = keys.iter().enumerate().map(|(index, key)| {
        let bytes = STANDARD.decode(key).ok();
        let bytes = bytes.filter(|bytes| bytes.len() == STATE_KEY_BYTES);
        bytes.map(SecretSlice::from).ok_or_else(|| {
            format!(
                "key {} is no base64 of {STATE_KEY_BYTES} bytes; `openssl rand -base64 32` makes one",
                index + 1
            )
        })
    });
    keys.collect::<Result<Vec<_>, _>>().map(Keys)
}
