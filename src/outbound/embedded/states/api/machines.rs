//! The operations on state machines themselves.

use std::sync::Arc;

use serde_json::{Value, json};

use super::request::{DescribeStateMachine, ListStateMachines, ValidateDefinition};
use super::{
    Answered, PAGE_DEFAULT, Refusal, blocking, machine_name, missing, page, parse, with_token,
};
use crate::outbound::embedded::states::asl::Machine;
use crate::outbound::embedded::states::disk::DiskFault;
use crate::outbound::embedded::states::event::seconds;
use crate::outbound::embedded::states::name::{machine_arn, role_arn};
use crate::outbound::embedded::states::runner::Runner;

pub(super) async fn describe_machine(runner: &Arc<Runner>, body: &[u8]) -> Answered {
    let request: DescribeStateMachine = parse(body)?;
    let name = machine_name(&request.state_machine_arn)?.to_owned();
    let (reader, wanted) = (Arc::clone(runner), name.clone());
    let (text, modified) = blocking(move || reader.definitions.text(&wanted))
        .await?
        .map_err(|why| missing(&request.state_machine_arn, why))?;
    Ok(json!({
        "stateMachineArn": machine_arn(&name),
        "name": name,
        "status": "ACTIVE",
        "definition": text,
        "roleArn": role_arn(&name),
        "type": "STANDARD",
        "creationDate": seconds(modified),
        "loggingConfiguration": {"level": "OFF", "includeExecutionData": false},
    }))
}

pub(super) async fn list_machines(runner: &Arc<Runner>, body: &[u8]) -> Answered {
    let request: ListStateMachines = parse(body)?;
    let (limit, from) = page(request.max_results, request.next_token.as_deref())?;
    let from = from.map_or(0, |from| usize::try_from(from).unwrap_or(0));
    let reader = Arc::clone(runner);
    let listed = blocking(move || reader.definitions.list())
        .await?
        .map_err(|error| Refusal::Disk(DiskFault::Storage(error.into())))?;
    let machines: Vec<Value> = listed
        .iter()
        .skip(from)
        .take(limit)
        .map(|(name, modified)| {
            json!({
                "stateMachineArn": machine_arn(name),
                "name": name,
                "type": "STANDARD",
                "creationDate": seconds(*modified),
            })
        })
        .collect();
    let next = from + machines.len();
    let next = (next < listed.len()).then(|| i64::try_from(next).unwrap_or(i64::MAX));
    Ok(with_token(json!({"stateMachines": machines}), next))
}

pub(super) async fn validate(body: &[u8]) -> Answered {
    let request: ValidateDefinition = parse(body)?;
    let most = request
        .max_results
        .filter(|most| *most > 0)
        .unwrap_or(PAGE_DEFAULT);
    let flaws = blocking(move || Machine::parse(&request.definition).err())
        .await?
        .unwrap_or_default();
    let diagnostics: Vec<Value> = flaws
        .iter()
        .take(most)
        .map(|flaw| {
            json!({
                "severity": "ERROR",
                "code": "SCHEMA_VALIDATION_FAILED",
                "message": flaw.message,
                "location": flaw.path,
            })
        })
        .collect();
    Ok(json!({
        "result": if flaws.is_empty() { "OK" } else { "FAIL" },
        "diagnostics": diagnostics,
        "truncated": flaws.len() > diagnostics.len(),
    }))
}
