//! Who calls over standard input and output: the user that the settings name, or whom each request's token names.

use super::check;
use super::environment::Environment;
use super::jwt::{JwtRead, JwtSettings};
use super::setting::{IDENTITY, ROLE, Setting, TENANT_ID, USER_ID};
use super::source::{Reader, Shown, Source};
use crate::mesh::tenant::id::InvalidId;
use crate::mesh::tenant::{Role, TenantId, UserId};

/// How a request says who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not at all: it is the user that the settings name.
    Env,
    /// By a token in each request.
    Jwt(Box<JwtSettings>),
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

/// What the settings say of who calls.
pub(crate) struct IdentityRead {
    /// Who calls over standard input and output.
    pub(crate) identity: Identity,
    /// What they say of signed tokens, which HTTP takes under either identity.
    pub(crate) jwt: JwtRead,
    /// What does nothing over standard input and output: whoever set it may believe that tokens are asked for.
    pub(crate) unused: Vec<String>,
}

impl IdentityRead {
    /// Under `jwt` keys, issuers and audiences are needed.
    pub(crate) fn read(reader: &mut Reader, environment: &Environment) -> Self {
        let words = [("env", Mode::Env), ("jwt", Mode::Jwt)];
        let mode = reader.read(&IDENTITY, Mode::Env, |text| check::word(text, &words));
        let jwt = JwtRead::read(reader, environment);
        let mut unused = Vec::new();
        match mode {
            Mode::Env => unused = jwt.given.iter().map(self::unused).collect(),
            Mode::Jwt => {
                for setting in &jwt.missing {
                    reader.mistake(setting, &Source::Default, missing(setting));
                }
            }
        }
        let identity = match (mode, &jwt.settings) {
            (Mode::Jwt, Some(settings)) => Identity::Jwt(Box::new(settings.clone())),
            _ => Identity::Env,
        };
        Self {
            identity,
            jwt,
            unused,
        }
    }
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
