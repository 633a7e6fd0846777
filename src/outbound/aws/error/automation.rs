//! What Step Functions and SNS call their faults, where it is theirs alone.

use super::DOCTOR;
use crate::mesh::{Error, ErrorKind};

/// The failure that a code of Step Functions stands for, where no other service has it.
pub(super) fn of_states(code: &str, message: &str) -> Option<Error> {
    Some(match code {
        "StateMachineDoesNotExist" | "StateMachineDeleting" => Error::new(
            ErrorKind::NotFound,
            "the state machine of this workflow does not exist",
        )
        .fix(format!(
            "the operator corrects its ARN in AGENT_MESH_WORKFLOWS or tenants.toml; {DOCTOR}"
        )),
        "InvalidArn" => Error::new(
            ErrorKind::NotFound,
            "the state machine of this workflow is not one that the server can reach",
        )
        .fix(format!(
            "the operator names one of the server's own region in AGENT_MESH_WORKFLOWS or tenants.toml; {DOCTOR}"
        )),
        "StateMachineTypeNotSupported" => express(),
        // Only the embedded cloud reads definitions when an execution is started.
        "InvalidDefinition" => Error::new(
            ErrorKind::NotSupported,
            format!("the definition of this workflow is wrong: {}", flaws(message)),
        )
        .fix("`use_aws_mcp workflows check` says what is wrong with it"),
        "InvalidExecutionInput" => Error::invalid(
            "input",
            "the workflow does not take this input: it must be JSON of at most 256 KiB",
        )
        .fix("pass a smaller JSON value, and store large content as an artifact"),
        _ => return None,
    })
}

/// What is said of a definition, without the words that Step Functions puts around it.
fn flaws(message: &str) -> &str {
    message
        .split_once('\'')
        .and_then(|(_, rest)| rest.strip_suffix('\''))
        .unwrap_or(message)
}

/// The failure that a workflow is an express one.
pub(in super::super) fn express() -> Error {
    Error::new(
        ErrorKind::NotSupported,
        "the state machine of this workflow is an express one, whose runs cannot be followed",
    )
    .fix("the operator names a standard state machine for it")
}

/// The failure that a code of SNS stands for, where no other service has it. Emulators append `Exception`.
pub(super) fn of_topics(code: &str, message: &str) -> Option<Error> {
    Some(match code.trim_end_matches("Exception") {
        "NotFound" | "ResourceNotFound" => {
            Error::new(ErrorKind::AwsUnavailable, "the topic does not exist").fix(format!(
                "try again: a tenant's own topic is made anew; one of AGENT_MESH_ALERT_TOPICS the operator \
                 corrects, and {DOCTOR}"
            ))
        }
        "InvalidParameter" | "InvalidParameterValue" if is_about_address(message) => {
            Error::invalid("email", "this is no address that mail can be sent to")
                .fix("pass one address, such as ada@example.com")
        }
        "FilterPolicyLimitExceeded" | "SubscriptionLimitExceeded" | "TopicLimitExceeded" => {
            Error::new(
                ErrorKind::QuotaExceeded,
                "no more mail subscriptions can be made",
            )
            .fix(
                "delete alerts that mail to other addresses, or ask whoever runs the server to have the \
                 SNS quotas of its account raised",
            )
        }
        "KMSDisabled" | "KMSInvalidState" | "KMSNotFound" | "KMSOptInRequired" => Error::new(
            ErrorKind::AwsUnavailable,
            "the key that the topic is encrypted with cannot be used",
        )
        .fix(format!("the operator enables the key; {DOCTOR}")),
        _ => return None,
    })
}

/// SNS names the parameter in words only.
fn is_about_address(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["endpoint", "email"]
        .iter()
        .any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::super::{Part, of_code};
    use super::*;

    #[test]
    fn a_wrong_definition_says_what_is_wrong_with_it() {
        let message = "Invalid State Machine Definition: '/States/A: it has no 'Type''";
        let error = of_states("InvalidDefinition", message).unwrap();
        let told = "the definition of this workflow is wrong: /States/A: it has no 'Type'";
        assert_eq!(error.message(), told);
    }

    const CODES: [(Part, &str, &str, u16, ErrorKind); 20] = [
        (
            Part::States,
            "StateMachineDoesNotExist",
            "",
            400,
            ErrorKind::NotFound,
        ),
        (
            Part::States,
            "StateMachineDeleting",
            "",
            400,
            ErrorKind::NotFound,
        ),
        (Part::States, "InvalidArn", "", 400, ErrorKind::NotFound),
        (
            Part::States,
            "StateMachineTypeNotSupported",
            "",
            400,
            ErrorKind::NotSupported,
        ),
        (
            Part::States,
            "InvalidDefinition",
            "",
            400,
            ErrorKind::NotSupported,
        ),
        (
            Part::States,
            "InvalidExecutionInput",
            "",
            400,
            ErrorKind::InvalidParameter,
        ),
        (
            Part::States,
            "ExecutionLimitExceeded",
            "",
            400,
            ErrorKind::AwsThrottled,
        ),
        (
            Part::States,
            "KmsAccessDeniedException",
            "",
            400,
            ErrorKind::AwsCredentials,
        ),
        (Part::Topics, "NotFound", "", 404, ErrorKind::AwsUnavailable),
        (
            Part::Topics,
            "NotFoundException",
            "",
            404,
            ErrorKind::AwsUnavailable,
        ),
        (
            Part::Topics,
            "InvalidParameter",
            "Invalid parameter: Email address",
            400,
            ErrorKind::InvalidParameter,
        ),
        (
            Part::Topics,
            "InvalidParameter",
            "Invalid parameter: Subject",
            400,
            ErrorKind::Internal,
        ),
        (
            Part::Topics,
            "FilterPolicyLimitExceeded",
            "",
            403,
            ErrorKind::QuotaExceeded,
        ),
        (
            Part::Topics,
            "SubscriptionLimitExceeded",
            "",
            403,
            ErrorKind::QuotaExceeded,
        ),
        (
            Part::Topics,
            "KMSDisabled",
            "",
            400,
            ErrorKind::AwsUnavailable,
        ),
        (
            Part::Topics,
            "KMSThrottling",
            "",
            400,
            ErrorKind::AwsThrottled,
        ),
        (Part::Topics, "Throttled", "", 429, ErrorKind::AwsThrottled),
        (
            Part::Topics,
            "AuthorizationError",
            "",
            403,
            ErrorKind::AwsCredentials,
        ),
        (
            Part::Topics,
            "ConcurrentAccess",
            "",
            400,
            ErrorKind::AwsUnavailable,
        ),
        (Part::Table, "NotFound", "", 404, ErrorKind::Internal),
    ];

    #[test]
    fn every_code_of_their_own_has_its_kind_and_a_remedy() {
        for (part, code, message, status, kind) in CODES {
            let error = of_code(part, code, message, status, None);
            assert_eq!(error.kind(), kind, "{code}");
            assert!(
                kind == ErrorKind::Internal || error.fix_text().is_some(),
                "{code}: {error}"
            );
        }
    }
}
