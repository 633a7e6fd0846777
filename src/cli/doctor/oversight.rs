//! What oversees calls: whether the policy service answers, and whether the audit log can be written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use ulid::Ulid;

use super::data_folder;
use super::report::Check;
use crate::app::oversight::policy_service;
use crate::config::{AuditSettings, AuthorizerSettings, Config};
use crate::mesh::Error;
use crate::mesh::call::arguments::ArgumentsHash;
use crate::mesh::call::operation::Subject;
use crate::mesh::call::tool::Tool;
use crate::mesh::policy::{Authorizer as _, Question, Ruling};

/// The call that the policy service is asked about: it changes nothing, and it is not made.
const ASKED: Tool = Tool::EventsHealthCheck;

/// The policy service and the audit log.
pub(super) async fn look(config: &Config, time_max: Duration) -> Vec<Check> {
    let policy = match &config.authorizer {
        None => Check::ok(
            "policy",
            "no service is asked; roles alone decide".to_owned(),
        ),
        Some(settings) => policy(settings, config, time_max).await,
    };
    let mut checks = vec![policy];
    match &config.audit {
        None => checks.push(Check::ok("audit log", "none is kept".to_owned())),
        Some(settings) => checks.extend(audit_log(settings)),
    }
    checks
}

async fn policy(settings: &AuthorizerSettings, config: &Config, time_max: Duration) -> Check {
    let url = &settings.url;
    let fix = "see that the service runs, that AGENT_MESH_AUTHORIZER_URL leads to it and that it knows the key; \
               until then every call is refused";
    match timeout(time_max, ask(settings, config)).await {
        Ok(Ok(ruling)) => {
            let verb = if ruling.allow { "allows" } else { "denies" };
            let (user, tenant) = (&config.caller.user, &config.caller.tenant);
            let message = format!("{url} {verb} {} to {user} of {tenant}", ASKED.name());
            Check::ok("policy", message)
        }
        Ok(Err(error)) => {
            let cause = error.causes().unwrap_or_default();
            Check::fault("policy", format!("{url} does not decide: {cause}"), fix)
        }
        Err(_) => Check::fault("policy", format!("{url} does not answer"), fix),
    }
}

async fn ask(settings: &AuthorizerSettings, config: &Config) -> Result<Ruling, Error> {
    let service = policy_service(settings)?;
    let question = Question {
        tenant_id: config.caller.tenant.clone(),
        user_id: config.caller.user.clone(),
        role: config.caller.role.name(),
        tool: ASKED.name(),
        permission: ASKED.permission().name(),
        arguments_sha256: ArgumentsHash::of("{}"),
        subject: Subject::none(),
        request_id: Ulid::generate(),
        trace_id: None,
    };
    let ruling = service.verify(Arc::new(question)).await;
    ruling.map_err(|error| Error::internal("the policy service does not decide").caused_by(error))
}

fn audit_log(settings: &AuditSettings) -> Vec<Check> {
    let folder = settings.log.parent().unwrap_or(Path::new("."));
    let log = settings.log.display();
    let sealed = match &settings.key {
        Some(_) => "sealed with the key",
        None => "sealed with a plain hash, which whoever may write it can make anew",
    };
    let unwritable = match settings.is_required {
        true => "calls are refused while it cannot be written",
        false => "calls go on while it cannot be written",
    };
    vec![
        data_folder::writable("audit log's folder", folder, "AGENT_MESH_AUDIT_LOG"),
        Check::ok("audit log", format!("{log}, {sealed}; {unwritable}")),
    ]
}
