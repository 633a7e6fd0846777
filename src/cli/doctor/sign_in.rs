//! Signing in over HTTP: which ways are open, and what is wrong with the file of static tokens.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::report::Check;
use crate::config::{Config, SignInSettings};
use crate::mesh::Timestamp;
use crate::mesh::tenant::{Anonymous, StaticToken, TenantDirectory, TenantId};
use crate::outbound::tokens::TokensFile;
use crate::platform::is_open_to_others;

/// The ways to sign in, and the static tokens where there is a file of them.
pub(super) fn look(config: &Config, now: Timestamp) -> Vec<Check> {
    let sign_in = &config.sign_in;
    let mut checks = vec![ways(sign_in)];
    if sign_in.tokens_file.exists() {
        checks.push(tokens(config, &sign_in.tokens_file, now));
    }
    checks
}

/// Which ways are open.
fn ways(sign_in: &SignInSettings) -> Check {
    const PART: &str = "sign-in";
    let missing: Vec<&str> = sign_in.jwt_missing().collect();
    if !missing.is_empty() {
        return Check::warning(
            PART,
            "signed tokens are half set up, so `serve` would not start",
            format!("set {} too", missing.join(" and ")),
        );
    }
    let signed = sign_in.jwt.as_ref().map(|jwt| {
        let issuers = jwt.issuers.join(", ");
        format!("tokens that {issuers} signed")
    });
    let kept = sign_in.has_tokens().then(|| "static tokens".to_owned());
    let open = sign_in
        .anonymous
        .as_ref()
        .map(|Anonymous { tenant, role }| {
            let role = role.name();
            format!("no token, on this machine only, as {role} of tenant {tenant}")
        });
    let ways: Vec<String> = [signed, kept, open].into_iter().flatten().collect();
    Check::ok(
        PART,
        match ways.is_empty() {
            true => "over HTTP: nobody could sign in, so `serve` would not start".to_owned(),
            false => format!("over HTTP by {}", ways.join("; by ")),
        },
    )
}

/// What is wrong with the file of static tokens, or how many there are.
fn tokens(config: &Config, path: &Path, now: Timestamp) -> Check {
    const PART: &str = "tokens";
    let place = path.display();
    let tokens = match TokensFile::open(path) {
        Ok(file) => file.tokens(),
        Err(fault) => {
            return Check::fault(
                PART,
                format!("{place}: {fault}"),
                "correct the file, or move it away and make the tokens anew with `use_aws_mcp tokens create`",
            );
        }
    };
    let expired = tokens.iter().filter(|token| token.is_expired(now)).count();
    let found = format!(
        "{} of {place}, {expired} of them expired",
        counted(tokens.len())
    );
    if path.metadata().is_ok_and(|file| is_open_to_others(&file)) {
        let fix = format!("chmod 600 {place}");
        return Check::warning(PART, format!("{found}; others may read it"), fix);
    }
    let stray = stray(config, &tokens);
    if !stray.is_empty() {
        let message = format!(
            "{found}; no tenant is known of the name {}",
            stray.join(", ")
        );
        let fix = "add it to the tenants file, or revoke its tokens";
        return Check::warning(PART, message, fix);
    }
    Check::ok(PART, found)
}

/// The tenants of tokens that nobody knows.
fn stray(config: &Config, tokens: &[Arc<StaticToken>]) -> Vec<String> {
    let tenants: BTreeSet<&TenantId> = tokens.iter().map(|token| &token.tenant).collect();
    tenants
        .into_iter()
        .filter(|tenant| config.tenants.find(tenant).is_none())
        .map(ToString::to_string)
        .collect()
}

fn counted(count: usize) -> String {
    match count {
        1 => "1 token".to_owned(),
        count => format!("{count} tokens"),
    }
}
