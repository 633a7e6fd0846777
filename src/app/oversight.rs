//! Joins what oversees calls: the operator's policy service, and the audit log.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{AuthorizerSettings, Config};
use crate::mesh::audit::Audit;
use crate::mesh::policy::{Policy, PolicySettings};
use crate::mesh::{Clock, Error};
use crate::outbound::audit::{AuditFile, AuditFileSettings, Seal};
use crate::outbound::authorizer::PolicyService;

/// The operator's policy about calls: that of a service, or none.
pub(crate) fn policy(config: &Config, clock: &Arc<dyn Clock>) -> Result<Policy, Error> {
    let Some(settings) = &config.authorizer else {
        return Ok(Policy::off());
    };
    let service = policy_service(settings)?;
    let settings = PolicySettings {
        timeout: settings.timeout,
        remember_for: settings.remember_for,
    };
    Ok(Policy::asking(
        Arc::new(service),
        settings,
        Arc::clone(clock),
    ))
}

/// The policy service that the settings name.
pub(crate) fn policy_service(settings: &AuthorizerSettings) -> Result<PolicyService, Error> {
    let service = PolicyService::new(&settings.url, settings.key.as_ref(), settings.timeout);
    service.map_err(|error| Error::internal("the policy service cannot be used").caused_by(error))
}

/// The way to the audit log, where one is kept.
pub(crate) fn audit(config: &Config, clock: &Arc<dyn Clock>) -> Result<Audit, Error> {
    let Some(settings) = &config.audit else {
        return Ok(Audit::off());
    };
    let settings = AuditFileSettings {
        path: settings.log.clone(),
        bytes_max: settings.bytes_max,
        is_required: settings.is_required,
        seal: audit_seal(settings.key.as_ref())?,
    };
    let file = AuditFile::open(settings, Arc::clone(clock))?;
    Ok(Audit::to(Arc::new(file)))
}

/// What the lines of an audit log are sealed with.
pub(crate) fn audit_seal(key: Option<&SecretString>) -> Result<Seal, Error> {
    let keyed = |key: &SecretString| Seal::keyed(key.expose_secret().as_bytes());
    let seal = key.map_or(Ok(Seal::Plain), keyed);
    seal.map_err(|error| Error::internal("the audit log's key cannot be used").caused_by(error))
}
