//! Whether the state machines and topics that the settings name are there, each looked at without a change.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream;
use futures::{FutureExt, StreamExt};

use super::{Finding, failed, ok, warning};
use crate::mesh::store::{States, Topics};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::aws::{AwsStates, AwsTopics, Connection};

/// The most state machines, and the most topics, that are looked at.
pub const NAMED_MAX: usize = 100;

/// How many are looked at at once.
const AT_ONCE_MAX: usize = 8;

const WORKFLOW: &str = "workflow";
const TOPIC: &str = "alert topic";

/// A state machine or a topic that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedArn {
    /// What it is called in the settings, and by whom, such as `refund` or `ops of acme`.
    pub name: String,
    /// What it stands for.
    pub arn: String,
}

/// Looks at `workflows` and `topics`, adding each finding as soon as it is there: who gives up waiting has
/// those so far.
pub async fn probe_names_into(
    connection: &Arc<Connection>,
    workflows: &[NamedArn],
    topics: &[NamedArn],
    findings: &mut Vec<Finding>,
) {
    let states = AwsStates::new(Arc::clone(connection));
    let sns = AwsTopics::new(Arc::clone(connection));
    let region = connection.region().await;
    let (states, sns, region) = (&states, &sns, region.as_str());
    let machines = workflows.iter().take(NAMED_MAX);
    let machines = machines.map(|named| machine(states, named, region).boxed());
    collect(machines.collect(), findings).await;
    let found = topics.iter().take(NAMED_MAX);
    let found = found.map(|named| topic(sns, named, region).boxed());
    collect(found.collect(), findings).await;
    for (part, count) in [(WORKFLOW, workflows.len()), (TOPIC, topics.len())] {
        if count > NAMED_MAX {
            findings.push(warning(
                part,
                format!("only the first {NAMED_MAX} of {count} have been looked at"),
                "look at the others with a tenants file that names fewer",
            ));
        }
    }
}

async fn machine(states: &AwsStates, named: &NamedArn, region: &str) -> Finding {
    match elsewhere(WORKFLOW, named, region) {
        Some(finding) => finding,
        None => told(WORKFLOW, named, states.check(&named.arn).await),
    }
}

async fn topic(sns: &AwsTopics, named: &NamedArn, region: &str) -> Finding {
    match elsewhere(TOPIC, named, region) {
        Some(finding) => finding,
        None => told(TOPIC, named, sns.check(&named.arn).await),
    }
}

async fn collect(looks: Vec<BoxFuture<'_, Finding>>, findings: &mut Vec<Finding>) {
    // In the order of the settings, so that two runs tell the same.
    let mut looked = stream::iter(looks).buffered(AT_ONCE_MAX);
    while let Some(finding) = looked.next().await {
        findings.push(finding);
    }
}

/// That it lies in another region, which no request would reach.
fn elsewhere(part: &'static str, named: &NamedArn, region: &str) -> Option<Finding> {
    let own = named.arn.split(':').nth(3).unwrap_or_default();
    (own != region).then(|| Finding {
        part,
        state: super::State::Fault,
        message: format!(
            "{}: {} lies in {own}, and the server works in {region}",
            named.name, named.arn
        ),
        fix: Some(format!("name one in {region} in {}", setting(part))),
    })
}

fn told(part: &'static str, named: &NamedArn, looked: Result<(), Error>) -> Finding {
    let NamedArn { name, arn } = named;
    let Err(error) = looked else {
        return ok(part, format!("{name}: {arn} is there"));
    };
    let finding = failed(part, &error);
    // What is missing or of the wrong type is so by its ARN; what is denied or down is told like the rest.
    let is_wrong = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotSupported)
        || error.message().contains("does not exist");
    let fix = if is_wrong {
        Some(match part {
            WORKFLOW => format!(
                "correct the ARN in {}, or create a standard state machine of that name",
                setting(part)
            ),
            _ => format!("correct the ARN in {}, or create the topic", setting(part)),
        })
    } else {
        finding.fix
    };
    Finding {
        message: format!("{name}: {arn}: {}", finding.message),
        fix,
        ..finding
    }
}

fn setting(part: &str) -> &'static str {
    match part {
        WORKFLOW => "AGENT_MESH_WORKFLOWS or the tenants file",
        _ => "AGENT_MESH_ALERT_TOPICS or the tenants file",
    }
}
