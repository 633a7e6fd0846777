//! Who calls: the user that the settings name, or whom each request's token names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::check;
use super::environment::Environment;
use super::setting::{IDENTITY, JWKS, JWT_AUDIENCE, JWT_ISSUER, ROLE, Setting, TENANT_ID, USER_ID};
use super::source::{Reader, Shown, Source, absolute};
use crate::mesh::tenant::id::InvalidId;
use crate::mesh::tenant::{Role, TenantId, UserId};

/// How a request says who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not at all: it is the user that the settings name.
    Env,
    /// By a token in each request.
    Jwt(JwtSettings),
}

/// What a token is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// Where the keys are.
    pub jwks: JwksSource,
    /// The issuers that are taken; at least one.
    pub issuers: Vec<String>,
    /// The audiences that are taken; at least one.
    pub audiences: Vec<String>,
}

/// Where the keys that sign tokens are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// At an `https` URL, or at an `http` URL of this machine.
    Url(String),
}

/// The user that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCaller {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The role.
    pub role: Role,
    /// Whether somebody named the tenant; under `jwt` an unnamed one is nobody's.
    pub tenant_is_named: bool,
}

/// The tenant of whoever names none.
pub const DEFAULT_TENANT: &str = "local";
/// The user where the system knows no login name.
const DEFAULT_USER: &str = "user";
/// Stands for an issuer where a login name that fits no user id is hashed.
const LOGIN_ISSUER: &str = "login-name";

#[derive(Clone, Copy)]
enum Mode {
    Env,
    Jwt,
}

impl LocalCaller {
    /// The caller that the settings name; nothing only where its tenant is a mistake.
    pub(crate) fn read(reader: &mut Reader, environment: &Environment) -> Option<Self> {
        let tenant = reader.read(
            &TENANT_ID,
            DEFAULT_TENANT.parse::<TenantId>().ok(),
            |text| {
                text.parse()
                    .map(Some)
                    .map_err(|error: InvalidId| error.to_string())
            },
        )?;
        let login = environment.login_name.as_deref().unwrap_or(DEFAULT_USER);
        let user = reader.read(
            &USER_ID,
            UserId::of_subject(LOGIN_ISSUER, login, true),
            |text| text.parse().map_err(|error: InvalidId| error.to_string()),
        );
        let default = if tenant.as_str() == DEFAULT_TENANT {
            Role::Admin
        } else {
            Role::User
        };
        let words = [Role::Viewer, Role::User, Role::Admin].map(|role| (role.name(), role));
        let role = reader.read(&ROLE, default, |text| check::word(text, &words));
        Some(Self {
            tenant,
            user,
            role,
            tenant_is_named: reader.source(&TENANT_ID) != Source::Default,
        })
    }
}

impl Identity {
    /// How the settings say that requests are identified. Under `jwt` keys, issuers and audiences are
    /// needed; under `env` they do nothing, which is worth a warning: whoever set them may believe that
    /// tokens are asked for.
    pub(crate) fn read(
        reader: &mut Reader,
        environment: &Environment,
        warnings: &mut Vec<String>,
    ) -> Self {
        let words = [("env", Mode::Env), ("jwt", Mode::Jwt)];
        let mode = reader.read(&IDENTITY, Mode::Env, |text| check::word(text, &words));
        let jwks = reader.read_from(&JWKS, None, |text, source| {
            JwksSource::parse(text, source, environment).map(Some)
        });
        let issuers = reader.read(&JWT_ISSUER, Vec::new(), check::list);
        let audiences = reader.read(&JWT_AUDIENCE, Vec::new(), check::list);
        for setting in [&JWKS, &JWT_ISSUER, &JWT_AUDIENCE] {
            let source = reader.source(setting);
            match (mode, &source) {
                (Mode::Jwt, Source::Default) => reader.mistake(setting, &source, missing(setting)),
                (Mode::Env, source) if *source != Source::Default => {
                    warnings.push(unused(source));
                }
                _ => {}
            }
        }
        match (mode, jwks) {
            (Mode::Jwt, Some(jwks)) => Self::Jwt(JwtSettings {
                jwks,
                issuers,
                audiences,
            }),
            _ => Self::Env,
        }
    }
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

fn missing(setting: &Setting) -> String {
    format!(
        "it is needed under {}=jwt; for example {}",
        IDENTITY.variable, setting.example
    )
}

fn unused(source: &Source) -> String {
    format!(
        "{source} is set but does nothing while {} is env: calls are not asked for a token",
        IDENTITY.variable
    )
}

impl Shown for Mode {
    fn shown(&self) -> Option<String> {
        let name = match self {
            Self::Env => "env",
            Self::Jwt => "jwt",
        };
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

impl Shown for TenantId {
    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Shown for UserId {
    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Shown for Role {
    fn shown(&self) -> Option<String> {
        Some(self.name().to_owned())
    }
}
