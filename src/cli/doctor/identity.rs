//! Who calls: the user of the settings, or the keys that verify tokens; what the tenants file says; who signs in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::report::Check;
use super::sign_in;
use crate::app;
use crate::config::setting::TENANTS_FILE;
use crate::config::{Config, Identity, JwksSource, JwtSettings};
use crate::mesh::Clock;
use crate::mesh::tenant::{TenantDirectory, TenantStatus};
use crate::outbound::jwks::Jwks;

/// The identity and the tenants.
pub(super) async fn look(
    config: &Config,
    clock: &Arc<dyn Clock>,
    time_max: Duration,
) -> Vec<Check> {
    let mut checks = match &config.identity {
        Identity::Env => vec![caller(config)],
        Identity::Jwt(_) => Vec::new(),
    };
    // Over HTTP they are used under either identity.
    if let Some(settings) = &config.sign_in.jwt {
        checks.push(keys(settings, clock, time_max).await);
    }
    checks.push(tenants(config));
    checks.extend(sign_in::look(config, clock.now()));
    checks
}

/// The one user whom every call is taken for.
fn caller(config: &Config) -> Check {
    let caller = &config.caller;
    let who = format!(
        "env: every call is that of {} ({}) in tenant {}",
        caller.user,
        caller.role.name(),
        caller.tenant
    );
    let suspended = config
        .tenants
        .find(&caller.tenant)
        .is_some_and(|tenant| tenant.status == TenantStatus::Suspended);
    if suspended {
        let message = format!("{who}, which is suspended, so every call is refused");
        return Check::fault(
            "caller",
            message,
            "set its status to active in the tenants file",
        );
    }
    Check::ok("caller", who)
}

/// The keys that verify tokens: whether they can be had now.
async fn keys(settings: &JwtSettings, clock: &Arc<dyn Clock>, time_max: Duration) -> Check {
    let place = match &settings.jwks {
        JwksSource::File(path) => path.display().to_string(),
        JwksSource::Url(url) => url.clone(),
    };
    let fix = "make it a JWKS with EdDSA, ES256 or RS256 keys that this machine can read, or correct \
               AGENT_MESH_JWKS; with LOG_LEVEL=warn this command tells what was wrong with it";
    let location = match app::sign_in::jwks_location(settings) {
        Ok(location) => location,
        Err(error) => return Check::fault("keys", format!("{place}: {error:?}"), fix),
    };
    let jwks = Jwks::new(location, Arc::clone(clock));
    match timeout(time_max, jwks.load()).await {
        Ok(Ok(keys)) if keys.is_empty() => {
            Check::fault("keys", format!("{place} has no key that can be used"), fix)
        }
        Ok(Ok(keys)) => Check::ok(
            "keys",
            format!(
                "{} keys of {place}; issuers {}; audiences {}",
                keys.len(),
                settings.issuers.join(", "),
                settings.audiences.join(", ")
            ),
        ),
        Ok(Err(_)) | Err(_) => Check::fault(
            "keys",
            format!("{place} cannot be read as a set of keys"),
            fix,
        ),
    }
}

/// The tenants that are known.
fn tenants(config: &Config) -> Check {
    let file = config
        .value(&TENANTS_FILE)
        .and_then(|value| value.value.as_deref());
    let count = config.tenants.count();
    match (file, &config.identity) {
        (Some(file), _) => Check::ok("tenants", format!("{count} known, with {file}")),
        (None, Identity::Env) => {
            Check::ok("tenants", format!("no file; only {}", config.caller.tenant))
        }
        (None, Identity::Jwt(_)) if config.caller.tenant_is_named => {
            Check::ok("tenants", format!("no file; only {}", config.caller.tenant))
        }
        (None, Identity::Jwt(_)) => Check::fault(
            "tenants",
            "none is known, so every token is refused",
            "set AGENT_MESH_TENANTS_FILE (`use_aws_mcp config example --tenants` prints one)",
        ),
    }
}
