//! Names and ARNs of state machines and executions.

use crate::outbound::embedded::{ACCOUNT, REGION};

/// The longest name of an execution, in characters.
const NAME_CHARS_MAX: usize = 80;

/// What Step Functions does not take in names besides white space and control characters.
const FORBIDDEN: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";

/// The ARN of the machine `name`.
pub(crate) fn machine_arn(name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}")
}

/// The ARN of the execution `name` of `machine`.
pub(super) fn execution_arn(machine: &str, name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:{machine}:{name}")
}

/// The ARN of the role that a machine is said to run as. There are no roles here: what an execution may do
/// follows from whose it is.
pub(super) fn role_arn(machine: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{machine}")
}

/// Why an ARN leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// It is no ARN of that kind.
    Invalid,
    /// It is one of another account or region, of a version or of an alias.
    Elsewhere,
}

/// The name in the ARN of a machine.
pub(super) fn machine_of(arn: &str) -> Result<&str, Astray> {
    let name = resource(arn, "stateMachine")?;
    if name.contains(':') {
        return Err(Astray::Elsewhere);
    }
    Ok(name)
}

/// The names of machine and execution in the ARN of an execution.
pub(super) fn execution_of(arn: &str) -> Result<(&str, &str), Astray> {
    let name = resource(arn, "execution")?;
    match name.split_once(':') {
        Some((machine, name)) if !name.is_empty() && !name.contains(':') => Ok((machine, name)),
        _ => Err(Astray::Invalid),
    }
}

fn resource<'a>(arn: &'a str, kind: &str) -> Result<&'a str, Astray> {
    let mut parts = arn.splitn(7, ':');
    let head = [parts.next(), parts.next(), parts.next()];
    let (region, account) = (parts.next(), parts.next());
    let is_kind = parts.next() == Some(kind);
    match parts.next() {
        Some(name) if head == [Some("arn"), Some("aws"), Some("states")] && is_kind => {
            if name.is_empty() {
                Err(Astray::Invalid)
            } else if (region, account) != (Some(REGION), Some(ACCOUNT)) {
                Err(Astray::Elsewhere)
            } else {
                Ok(name)
            }
        }
        _ => Err(Astray::Invalid),
    }
}

/// Whether an execution may have that name.
pub(super) fn is_execution_name(name: &str) -> bool {
    let is_allowed = |character: char| {
        !character.is_whitespace() && !character.is_control() && !FORBIDDEN.contains(character)
    };
    (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_lead_back_to_names() {
        assert_eq!(machine_of(&machine_arn("refund")), Ok("refund"));
        let execution = execution_arn("refund", "acme-1");
        assert_eq!(execution_of(&execution), Ok(("refund", "acme-1")));
        for arn in [
            "",
            "refund",
            "arn:aws:states",
            "arn:aws:sns:us-west-2:000000000000:x",
            &execution,
        ] {
            assert_eq!(machine_of(arn), Err(Astray::Invalid), "{arn}");
        }
        for arn in [
            "arn:aws:states:us-east-1:000000000000:stateMachine:refund",
            "arn:aws:states:us-west-2:123456789012:stateMachine:refund",
            "arn:aws:states:us-west-2:000000000000:stateMachine:refund:1",
        ] {
            assert_eq!(machine_of(arn), Err(Astray::Elsewhere), "{arn}");
        }
        assert_eq!(execution_of(&machine_arn("refund")), Err(Astray::Invalid));
        assert_eq!(
            execution_of("arn:aws:states:us-west-2:000000000000:execution:refund"),
            Err(Astray::Invalid)
        );
    }

    #[test]
    fn names_of_executions_are_those_of_step_functions() {
        for name in [
            "a",
            "acme-01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "ä.b+c",
            &"x".repeat(80),
        ] {
            assert!(is_execution_name(name), "{name}");
        }
        for name in ["", "a b", "a:b", "a/b", "a\u{7}", &"x".repeat(81)] {
            assert!(!is_execution_name(name), "{name}");
        }
    }
}
