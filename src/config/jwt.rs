//! Signed tokens: where the keys are, whom the server trusts, and what a token must be like.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check;
use super::environment::Environment;
use super::setting::{
    JWKS, JWT_ALGORITHMS, JWT_AUDIENCE, JWT_CLAIM_ROLE, JWT_CLAIM_SCOPE, JWT_CLAIM_TENANT,
    JWT_CLAIM_USER, JWT_ISSUER, JWT_LEEWAY_S, JWT_LIFETIME_MAX_S, Setting,
};
use super::source::{Reader, Shown, Source, absolute};
use crate::mesh::tenant::token::{LEEWAY, LEEWAY_MAX};
use crate::mesh::tenant::{ClaimName, ClaimNames, SignatureAlgorithm};

/// What a token is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// Where the keys are.
    pub jwks: JwksSource,
    /// The issuers that are taken; at least one.
    pub issuers: Vec<String>,
    /// The audiences that are taken; at least one.
    pub audiences: Vec<String>,
    /// How tokens may be signed; at least one way.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// How long a bearer token over HTTP may live, where that is asked for. Tokens in messages have their own
    /// limit.
    pub bearer_lifetime_max: Option<Duration>,
    /// How far the clocks of issuer and server may differ.
    pub leeway: Duration,
    /// The claims that say whose a token is.
    pub claims: ClaimNames,
}

/// Where the keys that sign tokens are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// At an `https` URL, or at an `http` URL of this machine.
    Url(String),
}

/// What the settings say of signed tokens.
pub(crate) struct JwtRead {
    /// All of it; nothing where a part that is needed is not set, or wrong.
    pub(crate) settings: Option<JwtSettings>,
    /// The needed parts that are set.
    pub(crate) given: Vec<Source>,
    /// The needed parts that are not set.
    pub(crate) missing: Vec<&'static Setting>,
}

/// The longest lifetime that can be asked for: a year, in seconds.
const LIFETIME_MAX_S_MOST: u32 = 366 * 24 * 3600;

/// What stands for no claim of scopes.
const NO_SCOPES: &str = "none";

/// The needed parts.
const NEEDED: [&Setting; 3] = [&JWKS, &JWT_ISSUER, &JWT_AUDIENCE];

impl JwtRead {
    pub(crate) fn read(reader: &mut Reader, environment: &Environment) -> Self {
        let jwks = reader.read_from(&JWKS, None, |text, source| {
            JwksSource::parse(text, source, environment).map(Some)
        });
        let issuers = reader.read(&JWT_ISSUER, Vec::new(), check::list);
        let audiences = reader.read(&JWT_AUDIENCE, Vec::new(), check::list);
        let algorithms = reader.read(&JWT_ALGORITHMS, Algorithms::all(), Algorithms::parse);
        let lifetime = reader.read(&JWT_LIFETIME_MAX_S, None, |text| {
            check::number(text, 1..=LIFETIME_MAX_S_MOST).map(Some)
        });
        let leeway = reader.read(&JWT_LEEWAY_S, seconds(LEEWAY), |text| {
            check::number(text, 0..=seconds(LEEWAY_MAX))
        });
        let claims = read_claims(reader);
        let of = |wanted: bool| {
            let is_set = |setting: &Setting| reader.source(setting) != Source::Default;
            NEEDED
                .into_iter()
                .filter(move |setting| is_set(setting) == wanted)
        };
        let given: Vec<Source> = of(true).map(|setting| reader.source(setting)).collect();
        let missing: Vec<&'static Setting> = of(false).collect();
        let settings = jwks.filter(|_| missing.is_empty()).map(|jwks| JwtSettings {
            jwks,
            issuers,
            audiences,
            algorithms: algorithms.0,
            bearer_lifetime_max: lifetime.map(|seconds| Duration::from_secs(seconds.into())),
            leeway: Duration::from_secs(leeway.into()),
            claims,
        });
        Self {
            settings,
            given,
            missing,
        }
    }
}

fn read_claims(reader: &mut Reader) -> ClaimNames {
    let usual = ClaimNames::default();
    let name = |text: &str| -> Result<ClaimName, String> {
        text.parse()
            .map_err(|error: crate::mesh::tenant::token::claim::InvalidClaimName| error.to_string())
    };
    ClaimNames {
        tenant: reader.read(&JWT_CLAIM_TENANT, usual.tenant, name),
        user: reader.read(&JWT_CLAIM_USER, usual.user, name),
        role: reader.read(&JWT_CLAIM_ROLE, usual.role, name),
        scope: reader
            .read(&JWT_CLAIM_SCOPE, ScopeClaim(usual.scope), |text| {
                Ok(ScopeClaim(match text {
                    NO_SCOPES => None,
                    text => Some(name(text)?),
                }))
            })
            .0,
    }
}

/// The whole seconds of a constant.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

impl JwksSource {
    /// The file or URL that `text` names. Keys fetched in the clear could be anybody's, so plain `http` is
    /// for this machine only.
    fn parse(text: &str, source: &Source, environment: &Environment) -> Result<Self, String> {
        if !text.contains("://") {
            let path = absolute(environment, text, source);
            return existing_file(&path).map(|()| Self::File(path));
        }
        let url: http::Uri = text
            .parse()
            .map_err(|_| "it is neither a file nor a URL".to_owned())?;
        let authority = url.authority().ok_or("the URL names no host")?;
        if authority.as_str().contains('@') {
            return Err("the URL must not carry a user or a password".to_owned());
        }
        match url.scheme_str() {
            Some("https") => Ok(Self::Url(text.to_owned())),
            Some("http") if is_loopback(authority.host()) => Ok(Self::Url(text.to_owned())),
            _ => Err("the URL must begin with https://".to_owned()),
        }
    }
}

/// Nothing, if `path` is a file; a settings file that is missing should stop the start, not the first call.
pub(crate) fn existing_file(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err("it is no file".to_owned()),
        Err(error) => Err(format!("the file cannot be read: {error}")),
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The ways of signing, as one setting lists them.
struct Algorithms(Vec<SignatureAlgorithm>);

impl Algorithms {
    fn all() -> Self {
        Self(SignatureAlgorithm::ALL.to_vec())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut algorithms = Vec::new();
        for name in check::list(text)? {
            let algorithm = SignatureAlgorithm::of_name(&name).ok_or_else(|| {
                let known = SignatureAlgorithm::ALL.map(SignatureAlgorithm::name);
                format!("each is one of {}", known.join(", "))
            })?;
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        Ok(Self(algorithms))
    }
}

/// The claim of the scopes, or that there is none.
struct ScopeClaim(Option<ClaimName>);

impl Shown for Algorithms {
    fn shown(&self) -> Option<String> {
        let names: Vec<&str> = self.0.iter().map(|algorithm| algorithm.name()).collect();
        Some(names.join(","))
    }
}

impl Shown for ClaimName {
    fn shown(&self) -> Option<String> {
        Some(self.as_str().to_owned())
    }
}

impl Shown for ScopeClaim {
    fn shown(&self) -> Option<String> {
        let name = self.0.as_ref().map_or(NO_SCOPES, ClaimName::as_str);
        Some(name.to_owned())
    }
}

impl Shown for JwksSource {
    fn shown(&self) -> Option<String> {
        match self {
            Self::File(path) => path.shown(),
            Self::Url(url) => url.shown(),
        }
    }
}
