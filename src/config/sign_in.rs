//! How clients sign in over HTTP: by signed tokens, by static ones, or, on this machine alone, by none.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::check;
use super::identity::DEFAULT_TENANT;
use super::jwt::{JwtRead, JwtSettings};
use super::mistake::{ConfigErrors, Mistakes};
use super::setting::{
    ANONYMOUS, ANONYMOUS_ROLE, ANONYMOUS_TENANT, JWKS, JWT_ISSUER, Setting, TOKENS_FILE,
};
use super::source::{Reader, Source};
use crate::mesh::tenant::id::InvalidId;
use crate::mesh::tenant::{Anonymous, Role, TenantId};

/// How clients sign in over HTTP. What is said by `AGENT_MESH_IDENTITY` is for standard input and output.
#[derive(Clone, Debug)]
pub struct SignInSettings {
    /// By signed tokens.
    pub jwt: Option<JwtSettings>,
    /// The file of the static tokens, absolute. It need not exist.
    pub tokens_file: PathBuf,
    /// Whether somebody named that file.
    pub tokens_file_is_named: bool,
    /// Whether requests without a token are let in, and as whom.
    pub anonymous: Option<Anonymous>,
    /// What signed tokens need and is not set, where some of it is.
    jwt_missing: Vec<&'static Setting>,
}

impl SignInSettings {
    pub(crate) fn read(
        reader: &mut Reader,
        jwt: &JwtRead,
        data_dir: Option<&Path>,
        warnings: &mut Vec<String>,
    ) -> Option<Self> {
        let beside = data_dir.map(|folder| folder.join("tokens.toml"));
        let tokens_file = reader.read_path(&TOKENS_FILE, beside, not_a_folder);
        let is_open = reader.read(&ANONYMOUS, false, check::switch);
        let tenant = reader.read(
            &ANONYMOUS_TENANT,
            DEFAULT_TENANT.parse::<TenantId>().ok(),
            |text| {
                text.parse()
                    .map(Some)
                    .map_err(|error: InvalidId| error.to_string())
            },
        );
        let words = [Role::Viewer, Role::User, Role::Admin].map(|role| (role.name(), role));
        let role = reader.read(&ANONYMOUS_ROLE, Role::Viewer, |text| {
            check::word(text, &words)
        });
        for setting in [&ANONYMOUS_TENANT, &ANONYMOUS_ROLE] {
            let source = reader.source(setting);
            if !is_open && source != Source::Default {
                let off = ANONYMOUS.variable;
                warnings.push(format!(
                    "{source} is set but does nothing while {off} is off"
                ));
            }
        }
        let is_begun = !jwt.given.is_empty();
        Some(Self {
            jwt: jwt.settings.clone(),
            tokens_file_is_named: reader.source(&TOKENS_FILE) != Source::Default,
            tokens_file: tokens_file?,
            anonymous: tenant
                .filter(|_| is_open)
                .map(|tenant| Anonymous { tenant, role }),
            jwt_missing: jwt.missing.iter().copied().filter(|_| is_begun).collect(),
        })
    }

    /// Whether there may be static tokens: a file was named, or is there.
    pub fn has_tokens(&self) -> bool {
        self.tokens_file_is_named || self.tokens_file.exists()
    }

    /// The variables that signed tokens need and nobody has set, where some of them are set.
    pub fn jwt_missing(&self) -> impl Iterator<Item = &'static str> {
        self.jwt_missing.iter().map(|setting| setting.variable)
    }

    /// Whether these settings will do for a server that listens at `bind`.
    ///
    /// # Errors
    /// Every mistake: nobody could sign in, signed tokens are half set up, or everybody could come in
    /// without signing in from other machines.
    pub fn check(&self, bind: SocketAddr) -> Result<(), ConfigErrors> {
        let mut mistakes = Mistakes::default();
        for setting in &self.jwt_missing {
            let message = format!("signed tokens need it too; for example {}", setting.example);
            mistakes.add(setting.variable, message);
        }
        if self.anonymous.is_some() && !bind.ip().is_loopback() {
            let message = format!(
                "requests without a token are let in on this machine only, and {bind} can be reached from \
                 others; listen on 127.0.0.1, or let clients sign in"
            );
            mistakes.add(ANONYMOUS.variable, message);
        }
        let is_closed = self.jwt.is_none() && self.anonymous.is_none() && !self.has_tokens();
        if is_closed && self.jwt_missing.is_empty() {
            let message = format!(
                "nobody could sign in: make a token with `use_aws_mcp tokens create`, or set {} and {} for \
                 signed ones, or {} on this machine",
                JWKS.variable, JWT_ISSUER.variable, ANONYMOUS.variable
            );
            mistakes.add("sign-in", message);
        }
        mistakes.unless(())
    }
}

fn not_a_folder(path: &Path) -> Result<(), String> {
    match path.is_dir() {
        true => Err("it is a folder".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
