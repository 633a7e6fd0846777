//! What `doctor` finds out about AWS: who the credentials are, and what they may do, by probes that
//! change nothing.

mod names;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::clients::Connection;
use super::error::{Part, fault};
use super::provision::{self, PlannedResource};
use super::{AwsBucket, AwsBus, AwsTable};
use crate::mesh::store::key::{OBJECT_ROOT, PARTITION_ROOT};
use crate::mesh::store::{Bucket, Bus, Table};
use crate::mesh::{Error, ErrorKind};

pub use names::{NAMED_MAX, NamedArn, probe_names_into};

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All is well.
    Ok,
    /// It works, but not as it should.
    Warning,
    /// It does not work.
    Fault,
}

/// What one probe found. For the operator: it may hold names, accounts and ARNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, such as `table: read`.
    pub part: &'static str,
    /// How it ended.
    pub state: State,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// Runs every probe. Nothing is created, changed or deleted. Where there are no credentials, or AWS cannot
/// be reached, that is the only finding.
pub async fn probe(connection: &std::sync::Arc<Connection>) -> Vec<Finding> {
    let mut findings = Vec::new();
    probe_into(connection, &mut findings).await;
    findings
}

/// As [`probe`], adding each finding as soon as it is there: who gives up waiting has those so far.
pub async fn probe_into(connection: &std::sync::Arc<Connection>, findings: &mut Vec<Finding>) {
    match connection.caller_identity().await {
        Ok(identity) => {
            let region = connection.region().await;
            findings.push(ok(
                "credentials",
                format!(
                    "{} in account {}, region {region}",
                    identity.arn, identity.account
                ),
            ));
            if let Some(owner) = &connection.settings().bucket_owner
                && *owner != identity.account
            {
                findings.push(warning(
                    "credentials",
                    format!("the bucket is expected to belong to another account, {owner}"),
                    "unset AGENT_MESH_BUCKET_OWNER unless that is what you mean",
                ));
            }
        }
        Err(error) => {
            findings.push(failed("credentials", &error));
            return;
        }
    }
    table(connection, findings).await;
    bucket(connection, findings).await;
    bus(connection, findings).await;
}

async fn table(connection: &std::sync::Arc<Connection>, findings: &mut Vec<Finding>) {
    let name = &connection.settings().table;
    match AwsTable::new(connection.clone()).check().await {
        Err(error) => {
            findings.push(failed("table", &error));
            // A role may lack the permission to look at it and still use it; what is not there has no more to say.
            if error.kind() != ErrorKind::AwsCredentials {
                return;
            }
        }
        Ok(()) => {
            findings.push(ok("table", format!("{name} is active")));
            match provision::table_as_found(connection).await {
                Ok(found) => differences("table: properties", &found, findings),
                Err(error) => findings.push(unknown("table: properties", &error)),
            }
        }
    }
    permissions(connection, name, findings).await;
}

/// What the credentials may do with the items of the table.
async fn permissions(
    connection: &std::sync::Arc<Connection>,
    name: &str,
    findings: &mut Vec<Finding>,
) {
    // No tenant can have this partition, so nothing is ever found under it.
    let absent = |name: &str| {
        (
            name.to_owned(),
            AttributeValue::S(PARTITION_ROOT.to_owned()),
        )
    };
    let client = connection.dynamodb(None).await;
    let read = client
        .get_item()
        .table_name(name)
        .set_key(Some(HashMap::from([absent("PK"), absent("SK")])))
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Table, error));
    findings.push(allowed("table: read", "GetItem is allowed", read));
    let queried = client
        .query()
        .table_name(name)
        .key_condition_expression("PK = :partition")
        .expression_attribute_values(":partition", AttributeValue::S(PARTITION_ROOT.to_owned()))
        .limit(1)
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Table, error));
    findings.push(allowed("table: query", "Query is allowed", queried));
    // No item can be there and not be there, so this never writes; who may not write is told so before.
    let written = client
        .put_item()
        .table_name(name)
        .set_item(Some(HashMap::from([absent("PK"), absent("SK")])))
        .condition_expression("attribute_exists(PK) AND attribute_not_exists(PK)")
        .send()
        .await;
    let written = match written {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
        {
            Ok(())
        }
        Err(error) => Err(fault(Part::Table, error)),
    };
    findings.push(allowed("table: write", "PutItem is allowed", written));
}

async fn bucket(connection: &std::sync::Arc<Connection>, findings: &mut Vec<Finding>) {
    let name = &connection.settings().bucket;
    if let Err(error) = AwsBucket::new(connection.clone()).check().await {
        findings.push(failed("bucket", &error));
        return;
    }
    findings.push(ok(
        "bucket",
        format!("{name} is there and of the expected owner"),
    ));
    match provision::bucket_as_found(connection).await {
        Ok(found) => differences("bucket: properties", &found, findings),
        Err(error) => findings.push(unknown("bucket: properties", &error)),
    }
    let owner = match connection.account().await {
        Ok(owner) => owner,
        Err(error) => return findings.push(failed("bucket: list", &error)),
    };
    let listed = connection
        .s3(None)
        .await
        .list_objects_v2()
        .bucket(name)
        .expected_bucket_owner(owner)
        .prefix(OBJECT_ROOT)
        .max_keys(1)
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Bucket, error));
    findings.push(allowed("bucket: list", "ListBucket is allowed", listed));
}

async fn bus(connection: &std::sync::Arc<Connection>, findings: &mut Vec<Finding>) {
    let name = &connection.settings().bus;
    let looked = AwsBus::new(connection.clone()).check().await;
    findings.push(allowed("bus", &format!("{name} is there"), looked));
}

/// What differs from what `init aws` would have created.
fn differences(part: &'static str, found: &PlannedResource, findings: &mut Vec<Finding>) {
    let before = findings.len();
    for property in found.differences() {
        let name = property.name;
        let is = property.found.as_deref().unwrap_or("unknown");
        let message = format!("{name} is {is}, expected {}", property.wanted);
        let fix = if property.can_change {
            "run `use_aws_mcp init aws --repair`"
        } else if name == "billing" {
            "provisioned capacity works, but throttles where on demand does not"
        } else {
            "it cannot be changed in place: use another one"
        };
        // Only the keys make a table unusable.
        findings.push(Finding {
            part,
            state: if name == "keys" {
                State::Fault
            } else {
                State::Warning
            },
            message,
            fix: Some(fix.to_owned()),
        });
    }
    if findings.len() == before {
        findings.push(ok(part, "as expected".to_owned()));
    }
}

fn allowed(part: &'static str, message: &str, result: Result<(), Error>) -> Finding {
    match result {
        Ok(()) => ok(part, message.to_owned()),
        Err(error) => failed(part, &error),
    }
}

fn ok(part: &'static str, message: String) -> Finding {
    Finding {
        part,
        state: State::Ok,
        message,
        fix: None,
    }
}

fn warning(part: &'static str, message: String, fix: &str) -> Finding {
    Finding {
        part,
        state: State::Warning,
        message,
        fix: Some(fix.to_owned()),
    }
}

/// The operator sees the causes, which name what AWS refused, and a remedy that does not lead back here.
fn failed(part: &'static str, error: &Error) -> Finding {
    let message = match error.causes() {
        Some(causes) => format!("{} ({causes})", error.message()),
        None => error.message().to_owned(),
    };
    let is_denied = error
        .details()
        .get("reason")
        .is_some_and(|reason| reason == "refused");
    let fix = match (error.kind(), error.fix_text()) {
        (ErrorKind::AwsCredentials, _) if is_denied => match action(part) {
            Some(action) => {
                format!("allow {action} in the policy of the role, or correct the name")
            }
            None => "correct the credentials, or the policy of the role".to_owned(),
        },
        (_, Some(fix)) if fix.contains("init aws") => {
            "run `use_aws_mcp init aws` to create it, or correct its name or AWS_REGION".to_owned()
        }
        (ErrorKind::AwsUnavailable | ErrorKind::Timeout | ErrorKind::Internal, _) | (_, None) => {
            "look at AWS_REGION, AWS_ENDPOINT_URL, the proxy and the network".to_owned()
        }
        (_, Some(fix)) => fix.to_owned(),
    };
    Finding {
        part,
        state: State::Fault,
        message,
        fix: Some(fix),
    }
}

/// What the policy must allow for a probe to pass.
fn action(part: &str) -> Option<&'static str> {
    Some(match part {
        "table" => "dynamodb:DescribeTable",
        "table: read" => "dynamodb:GetItem",
        "table: query" => "dynamodb:Query",
        "table: write" => "dynamodb:PutItem",
        "bucket" | "bucket: list" => "s3:ListBucket",
        "bus" => "events:DescribeEventBus",
        "workflow" => "states:DescribeStateMachine",
        "alert topic" => "sns:GetTopicAttributes",
        _ => return None,
    })
}

/// A server needs no permission to look at such properties; whoever sets it up may.
fn unknown(part: &'static str, error: &Error) -> Finding {
    if error.kind() == ErrorKind::AwsCredentials {
        warning(
            part,
            "the credentials may not look at them".to_owned(),
            "run `use_aws_mcp doctor` with an administrator's credentials to see them",
        )
    } else {
        failed(part, error)
    }
}
