//! `tokens`: makes, lists and revokes the static tokens by which clients sign in over HTTP.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use ulid::Ulid;

use super::output::Paint;
use super::{ExitStatus, Output, tell_text};
use crate::config::Config;
use crate::config::setting::TENANTS_FILE;
use crate::mesh::tenant::{
    Permission, PermissionSet, Role, StaticToken, TenantDirectory, TenantId, UserId,
};
use crate::mesh::{Clock, SystemClock, Timestamp};
use crate::outbound::tokens::{self, NewToken, TokensFault, TokensFile};

/// The longest that a token may be said to live: ten years. One that is to live longer is given no end.
const LIFETIME_MAX: Duration = Duration::from_secs(3660 * 24 * 3600);

/// The arguments of `tokens`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token: printed once, and only its hash is kept
    Create(Create),
    /// List the tokens that there are; their texts are kept nowhere
    List(List),
    /// Revoke a token: servers refuse it within seconds
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The tenant whose calls it makes; one of the tenants file, or the one that the settings name
    #[arg(long)]
    tenant: TenantId,
    /// The user who calls
    #[arg(long)]
    user: UserId,
    /// What the user is to the tenant
    // It stands in place of the setting of that name, which is about somebody else.
    #[arg(id = "AGENT_MESH_ROLE", long = "role", value_name = "ROLE",
          value_parser = PossibleValuesParser::new(["viewer", "user", "admin"]))]
    role: String,
    /// The permissions that the role is narrowed to, such as kv.read,events.read [default: all of the role]
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', value_parser = permission)]
    scopes: Vec<Permission>,
    /// How long it is accepted: a number with m, h, d or w, such as 90d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Its id, which is the part of the token between `mesh_` and the next `_`
    id: Ulid,
}

fn permission(text: &str) -> Result<Permission, String> {
    Permission::named(text).ok_or_else(|| {
        let known = Permission::ALL.map(Permission::name);
        format!("the permissions are {}", known.join(", "))
    })
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => 0,
    };
    let lifetime = number.parse::<u64>().ok();
    let lifetime = lifetime.and_then(|number| number.checked_mul(seconds));
    lifetime
        .map(Duration::from_secs)
        .filter(|lifetime| !lifetime.is_zero() && *lifetime <= LIFETIME_MAX)
        .ok_or_else(|| "it is a number with m, h, d or w, from 1m to 3660d".to_owned())
}

/// Makes, lists or revokes.
pub(super) fn run(arguments: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    let now = SystemClock::new().now();
    let done = match &arguments.command {
        Command::Create(create) => self::create(create, config, now, output),
        Command::List(list) => self::list(list, config, now, output),
        Command::Revoke(revoke) => self::revoke(revoke, config, output),
    };
    done.unwrap_or_else(|fault| {
        let path = config.sign_in.tokens_file.display();
        let fix = "`use_aws_mcp doctor` tells what is wrong with it";
        tell_text(&format!("{path}: {fault}"), None, Some(fix), output);
        ExitStatus::Failure
    })
}

fn create(
    create: &Create,
    config: &Config,
    now: Timestamp,
    output: &mut Output,
) -> Result<ExitStatus, TokensFault> {
    let tenant = &create.tenant;
    if config.tenants.find(tenant).is_none() {
        let message = format!("there is no tenant {tenant}, so its tokens would be refused");
        let fix = format!(
            "add [tenants.{tenant}] to the file of {}, or name the tenant of the settings",
            TENANTS_FILE.variable
        );
        tell_text(&message, None, Some(&fix), output);
        return Ok(ExitStatus::Failure);
    }
    let Ok(role) = create.role.parse::<Role>() else {
        return Ok(ExitStatus::Usage);
    };
    let new = NewToken {
        tenant: tenant.clone(),
        user: create.user.clone(),
        role,
        scope: (!create.scopes.is_empty()).then(|| PermissionSet::of(&create.scopes)),
        expires: create.expires.map(|lifetime| now.plus(lifetime)),
    };
    let path = &config.sign_in.tokens_file;
    let (text, token) = tokens::create(path, new, now)?;
    // The token alone goes to stdout, so that a script can take it from there.
    output.line(text.expose_secret());
    let until = match token.expires {
        Some(end) => format!("It is accepted until {end}."),
        None => "It is accepted until it is revoked.".to_owned(),
    };
    output.error(&format!(
        "{} {until}\nIt is shown this once; {} has its hash. Revoke it with `use_aws_mcp tokens revoke {}`.",
        Paint::Good.on("The token is made."),
        path.display(),
        token.id
    ));
    Ok(ExitStatus::Success)
}

fn list(
    list: &List,
    config: &Config,
    now: Timestamp,
    output: &mut Output,
) -> Result<ExitStatus, TokensFault> {
    let tokens = TokensFile::open(&config.sign_in.tokens_file)?.tokens();
    if list.json {
        let shown: Vec<Value> = tokens.iter().map(|token| shown(token, now)).collect();
        output.json(&json!({ "tokens": shown }));
        return Ok(ExitStatus::Success);
    }
    for token in tokens {
        let ends = match token.expires {
            Some(end) if token.is_expired(now) => Paint::Bad.on(format!("expired {end}")),
            Some(end) => Paint::Faint.on(format!("until {end}")),
            None => Paint::Faint.on("no end".to_owned()),
        };
        let scopes = match token.scope {
            Some(scope) => format!(" ({})", names(scope).join(" ")),
            None => String::new(),
        };
        output.line(format!(
            "{}  {} {} {}{scopes}  {ends}",
            token.id,
            token.tenant,
            token.user,
            token.role.name(),
        ));
    }
    Ok(ExitStatus::Success)
}

fn shown(token: &StaticToken, now: Timestamp) -> Value {
    let mut shown = json!({
        "id": token.id.to_string(),
        "tenant": token.tenant,
        "user": token.user,
        "role": token.role.name(),
        "created": token.created,
        "expired": token.is_expired(now),
    });
    if let Some(scope) = token.scope {
        shown["scopes"] = json!(names(scope));
    }
    if let Some(end) = token.expires {
        shown["expires"] = json!(end);
    }
    shown
}

fn names(scope: PermissionSet) -> Vec<&'static str> {
    scope.iter().map(Permission::name).collect()
}

fn revoke(
    revoke: &Revoke,
    config: &Config,
    output: &mut Output,
) -> Result<ExitStatus, TokensFault> {
    let id = revoke.id;
    if tokens::revoke(&config.sign_in.tokens_file, id)? {
        let done = format!("{id} is revoked; servers refuse it within seconds.");
        output.line(Paint::Good.on(done));
        return Ok(ExitStatus::Success);
    }
    let message = format!("there is no token {id}");
    let fix = "`use_aws_mcp tokens list` tells which there are";
    tell_text(&message, None, Some(fix), output);
    Ok(ExitStatus::Failure)
}

#[cfg(test)]
mod tests;
