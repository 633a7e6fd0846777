//! The state machines and topics that the settings name: whether they are there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::late;
use super::report::Check;
use crate::config::Config;
use crate::outbound::aws::Connection;
use crate::outbound::aws::probe::{self, NamedArn};

/// The state machines and the topics that any tenant reaches by name.
pub(super) fn named(config: &Config) -> (Vec<NamedArn>, Vec<NamedArn>) {
    let named = config.tenants.named();
    let list = |names: BTreeMap<String, String>| {
        let names = names.into_iter();
        names.map(|(arn, name)| NamedArn { name, arn }).collect()
    };
    (list(named.workflows), list(named.alert_topics))
}

/// Looks at those that are named; says nothing where none are.
pub(super) async fn look(
    (workflows, topics): &(Vec<NamedArn>, Vec<NamedArn>),
    connection: &Arc<Connection>,
    time_max: Duration,
) -> Vec<Check> {
    let mut findings = Vec::new();
    let looked = probe::probe_names_into(connection, workflows, topics, &mut findings);
    let in_time = timeout(time_max, looked).await.is_ok();
    let mut checks: Vec<Check> = findings.into_iter().map(Check::from).collect();
    if !in_time {
        checks.push(late("a workflow or a topic"));
    }
    checks
}
