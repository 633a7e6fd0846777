//! ARNs of the operator's own things, checked as far as their text can be.

/// The parts of an ARN: `arn:partition:service:region:account:resource`.
struct Arn<'text> {
    service: &'text str,
    region: &'text str,
    account: &'text str,
    resource: &'text str,
}

const MACHINE: &str = "it must be a state machine's ARN, like arn:aws:states:us-west-2:123456789012:stateMachine:refund";
const TOPIC: &str = "it must be a topic's ARN, like arn:aws:sns:us-west-2:123456789012:ops";
const ROLE: &str = "it must be a role's ARN, like arn:aws:iam::123456789012:role/agent-mesh-events";

/// The longest name of a state machine, of a version or of an alias, in characters.
const MACHINE_NAME_CHARS_MAX: usize = 80;
/// The longest name of a topic, in characters.
const TOPIC_NAME_CHARS_MAX: usize = 256;
/// The longest name of a role, in characters.
const ROLE_NAME_CHARS_MAX: usize = 64;
/// The longest path of a role with its slashes, in characters.
const ROLE_PATH_CHARS_MAX: usize = 512;

/// The ARN of a state machine, which may name a version or an alias. Whether it is an express one, only
/// Step Functions can tell.
pub(crate) fn machine(text: &str) -> Result<String, String> {
    let resource = regional(text, "states").ok_or(MACHINE)?;
    let rest = resource.strip_prefix("stateMachine:").ok_or(MACHINE)?;
    let (name, qualifier) = match rest.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (rest, None),
    };
    let qualified = |text: &str| {
        (1..=MACHINE_NAME_CHARS_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    let named = (1..=MACHINE_NAME_CHARS_MAX).contains(&name.chars().count())
        && name.chars().all(in_machine_name);
    if named && qualifier.is_none_or(qualified) {
        Ok(text.to_owned())
    } else {
        Err(MACHINE.to_owned())
    }
}

/// The ARN of a topic. A FIFO topic wants a group for each message, which a notice does not have.
pub(crate) fn topic(text: &str) -> Result<String, String> {
    let name = regional(text, "sns").ok_or(TOPIC)?;
    if name.ends_with(".fifo") {
        return Err("a FIFO topic cannot take notices; name a standard one".to_owned());
    }
    if fits(name, TOPIC_NAME_CHARS_MAX, b"_-") {
        Ok(text.to_owned())
    } else {
        Err(TOPIC.to_owned())
    }
}

/// The ARN of a role.
pub(crate) fn role(text: &str) -> Result<String, String> {
    let arn = Arn::parse(text).ok_or(ROLE)?;
    let path_and_name = arn.resource.strip_prefix("role/").ok_or(ROLE)?;
    let (path, name) = path_and_name
        .rsplit_once('/')
        .unwrap_or(("", path_and_name));
    let right = arn.service == "iam"
        && arn.region.is_empty()
        && fits(name, ROLE_NAME_CHARS_MAX, b"+=,.@_-")
        && path.len() < ROLE_PATH_CHARS_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    if right {
        Ok(text.to_owned())
    } else {
        Err(ROLE.to_owned())
    }
}

impl<'text> Arn<'text> {
    /// The parts of `text`, where it is shaped as an ARN with an account.
    fn parse(text: &'text str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (arn, partition) = (parts.next()?, parts.next()?);
        let parsed = Self {
            service: parts.next()?,
            region: parts.next()?,
            account: parts.next()?,
            resource: parts.next()?,
        };
        let in_partition = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        let right = arn == "arn"
            && partition.starts_with("aws")
            && partition.bytes().all(in_partition)
            && super::check::account(parsed.account).is_ok();
        right.then_some(parsed)
    }
}

/// The resource of an ARN of a `service` that is in a region.
fn regional<'text>(text: &'text str, service: &str) -> Option<&'text str> {
    let arn = Arn::parse(text)?;
    let right = arn.service == service && super::check::region(arn.region).is_ok();
    right.then_some(arn.resource)
}

fn fits(name: &str, chars_max: usize, besides: &[u8]) -> bool {
    (1..=chars_max).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || besides.contains(&byte))
}

/// Whether Step Functions allows `character` in a machine's name.
fn in_machine_name(character: char) -> bool {
    !character.is_whitespace()
        && !character.is_control()
        && !"<>{}[]?*\"#%\\^|~`$&,;:/".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_may_name_a_version_or_an_alias() {
        let long = format!(
            "arn:aws:states:us-west-2:123456789012:stateMachine:{}",
            "m".repeat(80)
        );
        for good in [
            "arn:aws:states:us-west-2:123456789012:stateMachine:refund",
            "arn:aws-us-gov:states:us-gov-west-1:123456789012:stateMachine:Refund_v2.1",
            "arn:aws:states:us-west-2:123456789012:stateMachine:refund:7",
            "arn:aws:states:us-west-2:123456789012:stateMachine:refund:PROD",
            &long,
        ] {
            assert_eq!(machine(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "refund",
            "arn",
            "arn:aws:states:us-west-2:123456789012:stateMachine:",
            "arn:aws:states:us-west-2:123456789012:stateMachine:refund:",
            "arn:aws:states:us-west-2:123456789012:stateMachine:refund:1:2",
            "arn:aws:states:us-west-2:123456789012:stateMachine:re fund",
            "arn:aws:states:us-west-2:123456789012:stateMachine:re/fund",
            "arn:aws:states:us-west-2:123456789012:execution:refund:1",
            "arn:aws:states::123456789012:stateMachine:refund",
            "arn:aws:states:us-west-2:12345678901:stateMachine:refund",
            "arn:aws:sns:us-west-2:123456789012:stateMachine:refund",
            "arn:azure:states:us-west-2:123456789012:stateMachine:refund",
            &format!("{long}m"),
        ] {
            assert_eq!(machine(bad), Err(MACHINE.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_topic_is_a_standard_one() {
        let edge = format!("arn:aws:sns:us-west-2:123456789012:{}", "t".repeat(256));
        assert_eq!(topic(&edge).as_ref(), Ok(&edge));
        for bad in [
            "ops",
            "arn:aws:sns:us-west-2:123456789012:",
            "arn:aws:sns:us-west-2:123456789012:ops:0c4b-subscription",
            "arn:aws:sns:us-west-2:123456789012:op s",
            "arn:aws:sqs:us-west-2:123456789012:ops",
            &format!("{edge}t"),
        ] {
            assert_eq!(topic(bad), Err(TOPIC.to_owned()), "{bad}");
        }
        let message = topic("arn:aws:sns:us-west-2:123456789012:ops.fifo").unwrap_err();
        assert!(message.contains("FIFO"), "{message}");
    }

    #[test]
    fn a_role_may_have_a_path_and_is_in_no_region() {
        for good in [
            "arn:aws:iam::123456789012:role/agent-mesh-events",
            "arn:aws-cn:iam::123456789012:role/team/a/events+1",
        ] {
            assert_eq!(role(good).as_deref(), Ok(good));
        }
        for bad in [
            "arn:aws:iam:us-west-2:123456789012:role/events",
            "arn:aws:iam::123456789012:user/events",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:iam::123456789012:role/a b/events",
            "arn:aws:sts::123456789012:role/events",
            "events",
        ] {
            assert_eq!(role(bad), Err(ROLE.to_owned()), "{bad}");
        }
    }
}
