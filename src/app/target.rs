//! Where this process's events are bound for, told without asking AWS.

use crate::config::{Backend, Config};
use crate::mesh::event::Target;

/// Where this process's events are bound for: another process with the same target may publish them.
pub(crate) fn target(config: &Config, region: String) -> Target {
    let (endpoint, account) = match config.backend.backend {
        Backend::Embedded => (config.data_dir.display().to_string(), String::new()),
        Backend::Aws => (
            config.aws.endpoint_url.clone().unwrap_or_default(),
            account(config),
        ),
    };
    Target {
        backend: config.backend.backend.name().to_owned(),
        endpoint,
        region,
        account,
        table: config.resources.kv_table.clone(),
        bus: config.resources.event_bus.clone(),
    }
}

/// What tells the account of this process from another one without asking AWS: its number where the
/// settings have it, else the profile or the long-lived key that leads to it.
fn account(config: &Config) -> String {
    let key = config
        .aws
        .access_key_id
        .clone()
        .filter(|key| key.starts_with("AKIA"));
    config
        .bucket_owner
        .clone()
        .or_else(|| config.aws.profile.clone())
        .or(key)
        .unwrap_or_default()
}
