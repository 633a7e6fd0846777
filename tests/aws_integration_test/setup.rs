//! Creating the three resources, and looking at them, on every backend.

use std::sync::Arc;

use agent_mesh::mesh::store::{Bucket, Bus, Table, Topics};
use agent_mesh::mesh::{ErrorKind, SystemClock};
use agent_mesh::outbound::aws::probe::{NAMED_MAX, NamedArn, State, probe, probe_names_into};
use agent_mesh::outbound::aws::provision::{Differences, Plan, apply, plan};
use agent_mesh::outbound::aws::{AwsBucket, AwsBus, AwsTable, Connection};
use ulid::Ulid;

use crate::backend::Stage;

crate::cases![
    what_is_missing_is_planned_and_created,
    what_has_been_created_is_as_planned,
    creating_twice_changes_nothing,
    the_probes_find_all_well,
    the_probes_name_what_is_missing,
    what_is_missing_is_named_with_its_remedy,
    machines_and_topics_that_are_named_are_looked_at,
];

impl Stage {
    /// A connection whose three resources are not there.
    fn elsewhere(&self) -> Arc<Connection> {
        let run = Ulid::generate().to_string().to_lowercase();
        let mut settings = self.connection.settings().clone();
        settings.table = format!("test-other-table-{run}");
        settings.bucket = format!("test-other-bucket-{run}");
        settings.bus = format!("test-other-bus-{run}");
        Connection::new(settings, Arc::new(SystemClock::new()))
    }
}

async fn carry_out(connection: &Connection, plan: &Plan) -> Vec<String> {
    let mut steps = Vec::new();
    apply(connection, plan, Differences::Leave, |step| {
        steps.push(format!("{}: {}", step.resource, step.message));
    })
    .await
    .unwrap();
    steps
}

async fn what_is_missing_is_planned_and_created(stage: Stage) {
    let connection = stage.elsewhere();
    let before = plan(&connection).await.unwrap();
    assert!(
        before.resources.iter().all(|resource| !resource.exists),
        "{before:?}"
    );
    assert!(!before.is_complete());
    let steps = carry_out(&connection, &before).await;
    assert!(
        steps.iter().any(|step| step == "DynamoDB table: active"),
        "{steps:?}"
    );
    assert!(
        steps
            .iter()
            .any(|step| step.starts_with("S3 bucket: created")),
        "{steps:?}"
    );
    AwsTable::new(connection.clone()).check().await.unwrap();
    AwsBucket::new(connection.clone()).check().await.unwrap();
    AwsBus::new(connection).check().await.unwrap();
}

async fn what_has_been_created_is_as_planned(stage: Stage) {
    let found = plan(&stage.connection).await.unwrap();
    let differences: Vec<_> = found
        .resources
        .iter()
        .flat_map(|resource| resource.differences())
        .collect();
    assert!(differences.is_empty(), "{differences:?}");
    assert!(found.is_complete());
}

async fn creating_twice_changes_nothing(stage: Stage) {
    let connection = stage.elsewhere();
    let before = plan(&connection).await.unwrap();
    carry_out(&connection, &before).await;
    // The same old plan again, as if two people had run it at once.
    carry_out(&connection, &before).await;
    let after = plan(&connection).await.unwrap();
    assert!(carry_out(&connection, &after).await.is_empty());
    assert!(after.is_complete(), "{after:?}");
}

async fn the_probes_find_all_well(stage: Stage) {
    let findings = probe(&stage.connection).await;
    for finding in &findings {
        assert_eq!(finding.state, State::Ok, "{finding:?}");
    }
    assert!(findings.len() >= 8, "{findings:?}");
}

async fn the_probes_name_what_is_missing(stage: Stage) {
    let findings = probe(&stage.elsewhere()).await;
    for part in ["table", "bucket", "bus"] {
        let finding = findings
            .iter()
            .find(|finding| finding.part == part)
            .unwrap();
        assert_eq!(finding.state, State::Fault, "{finding:?}");
        let fix = finding.fix.as_deref().unwrap_or_default();
        assert!(fix.contains("use_aws_mcp init aws"), "{finding:?}");
    }
}

async fn what_is_missing_is_named_with_its_remedy(stage: Stage) {
    let connection = stage.elsewhere();
    let errors = [
        AwsTable::new(connection.clone()).check().await.unwrap_err(),
        AwsBucket::new(connection.clone())
            .check()
            .await
            .unwrap_err(),
        AwsBus::new(connection.clone()).check().await.unwrap_err(),
        AwsTable::new(connection.clone())
            .get(&stage.row("K#a"), false)
            .await
            .unwrap_err(),
        AwsBucket::new(connection)
            .get(&stage.object("a"), None, 10)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::AwsUnavailable, "{error:?}");
        assert!(error.fix_text().unwrap().contains("init aws"), "{error:?}");
        assert!(!error.message().contains("test-other"), "{error:?}");
    }
}

async fn machines_and_topics_that_are_named_are_looked_at(stage: Stage) {
    let named = |name: &str, arn: &str| NamedArn {
        name: name.to_owned(),
        arn: arn.to_owned(),
    };
    let topic = stage.topics.tenant_topic(&stage.tenant).await.unwrap();
    let missing = topic.replace(stage.tenant.as_str(), "absent-one");
    let elsewhere = topic.replace("us-west-2", "eu-west-1");
    let machine = topic
        .replace(":sns:", ":states:")
        .replace("agent-mesh-", "stateMachine:absent-");
    let topics = [
        named("ours", &topic),
        named("missing", &missing),
        named("elsewhere", &elsewhere),
    ];
    let machines = [named("refund", &machine)];
    let mut findings = Vec::new();
    probe_names_into(&stage.connection, &machines, &topics, &mut findings).await;
    let told: Vec<_> = findings
        .iter()
        .map(|found| (found.part, found.state))
        .collect();
    let expected = [
        ("workflow", State::Fault),
        ("alert topic", State::Ok),
        ("alert topic", State::Fault),
        ("alert topic", State::Fault),
    ];
    assert_eq!(told, expected, "{findings:?}");
    for (finding, name) in findings
        .iter()
        .zip(["refund", "ours", "missing", "elsewhere"])
    {
        assert!(finding.message.starts_with(name), "{finding:?}");
        let fix = finding.fix.as_deref().unwrap_or_default();
        assert_eq!(
            finding.state == State::Fault,
            !fix.is_empty(),
            "{finding:?}"
        );
        assert!(!fix.contains("doctor"), "{finding:?}");
    }
    let many = vec![named("ours", &topic); NAMED_MAX + 1];
    let mut findings = Vec::new();
    probe_names_into(&stage.connection, &[], &many, &mut findings).await;
    assert_eq!(findings.len(), NAMED_MAX + 1);
    assert_eq!(findings[NAMED_MAX].state, State::Warning);
}
