//! What rules, alerts and workflows may reach: state machines, topics, mail domains, native rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::setting::{ALERT_DOMAINS, ALERT_TOPICS, EVENTS_ROLE_ARN, NATIVE_RULES_MAX, WORKFLOWS};
use super::source::{Reader, Shown, Source};
use super::{arn, check};

/// What rules, alerts and workflows may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutomationSettings {
    /// What every tenant may reach by name.
    pub shared: SharedNames,
    /// The domains that alerts may be mailed to, in lower case, without their subdomains.
    pub alert_domains: Vec<String>,
    /// How many native rules a tenant may have on the bus.
    pub native_rules_max: u32,
    /// The role that EventBridge takes to start what a native rule names.
    pub events_role_arn: Option<String>,
}

/// The names that the operator gives to every tenant, each with the ARN that it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedNames {
    /// State machines.
    pub workflows: Arc<BTreeMap<String, String>>,
    /// Topics that alerts may go to.
    pub alert_topics: Arc<BTreeMap<String, String>>,
}

/// Names with their ARNs, as one setting holds them.
#[derive(Default)]
struct Named(BTreeMap<String, String>);

/// The longest logical name of a state machine or topic, in bytes.
pub const LOGICAL_NAME_BYTES_MAX: usize = 64;

impl AutomationSettings {
    /// The most native rules that a tenant may be allowed: as many as a bus has by default.
    pub const NATIVE_RULES_MOST: u32 = 300;

    pub(crate) fn read(reader: &mut Reader, warnings: &mut Vec<String>) -> Self {
        let workflows = reader.read(&WORKFLOWS, Named::default(), |text| {
            Named::parse(text, arn::machine)
        });
        let alert_domains = reader.read(&ALERT_DOMAINS, Vec::new(), domains);
        let alert_topics = reader.read(&ALERT_TOPICS, Named::default(), |text| {
            Named::parse(text, arn::topic)
        });
        let native_rules_max = reader.read(&NATIVE_RULES_MAX, 0, |text| {
            check::number(text, 0..=Self::NATIVE_RULES_MOST)
        });
        let events_role_arn = reader.read(&EVENTS_ROLE_ARN, None, |text| arn::role(text).map(Some));
        let role_is_set = reader.source(&EVENTS_ROLE_ARN) != Source::Default;
        if native_rules_max > 0 && !role_is_set {
            warnings.push(format!(
                "{} allows native rules, but without {} none of them can start a workflow",
                NATIVE_RULES_MAX.variable, EVENTS_ROLE_ARN.variable
            ));
        }
        if native_rules_max == 0 && role_is_set {
            warnings.push(format!(
                "{} does nothing while {} is 0",
                EVENTS_ROLE_ARN.variable, NATIVE_RULES_MAX.variable
            ));
        }
        Self {
            shared: SharedNames {
                workflows: Arc::new(workflows.0),
                alert_topics: Arc::new(alert_topics.0),
            },
            alert_domains,
            native_rules_max,
            events_role_arn,
        }
    }
}

impl Named {
    /// The names that `text` lists as `name=ARN`, separated by commas; everything wrong is told at once.
    fn parse(text: &str, arn: impl Fn(&str) -> Result<String, String>) -> Result<Self, String> {
        let mut named = BTreeMap::new();
        let mut wrong = Vec::new();
        for item in check::list(text)? {
            let Some((name, value)) = item.split_once('=') else {
                wrong.push(format!("\"{item}\" must be written as name=ARN"));
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            if let Err(message) = logical_name(name) {
                wrong.push(format!("\"{name}\": {message}"));
            }
            match arn(value) {
                Err(message) => wrong.push(format!("{name}: {message}")),
                Ok(value) => {
                    if named.insert(name.to_owned(), value).is_some() {
                        wrong.push(format!("{name} is named twice"));
                    }
                }
            }
        }
        if wrong.is_empty() {
            Ok(Self(named))
        } else {
            Err(wrong.join("; "))
        }
    }
}

/// The name by which tenants know a state machine or a topic.
pub(crate) fn logical_name(text: &str) -> Result<(), String> {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (1..=LOGICAL_NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().next().is_some_and(alphanumeric)
        && text
            .bytes()
            .all(|byte| alphanumeric(byte) || b"._-".contains(&byte));
    if fits {
        Ok(())
    } else {
        Err("a name is 1 to 64 of a-z, 0-9 and . _ -, and begins with a letter or digit".to_owned())
    }
}

/// Mail domains separated by commas, in lower case.
fn domains(text: &str) -> Result<Vec<String>, String> {
    let mut domains = Vec::new();
    let mut wrong = Vec::new();
    for item in check::list(text)? {
        let domain = item.to_ascii_lowercase();
        if !check::is_host(&domain) {
            wrong.push(format!(
                "\"{item}\" must be a mail domain, like example.com"
            ));
        } else if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    if wrong.is_empty() {
        Ok(domains)
    } else {
        Err(wrong.join("; "))
    }
}

impl Shown for Named {
    fn shown(&self) -> Option<String> {
        let items: Vec<String> = self
            .0
            .iter()
            .map(|(name, arn)| format!("{name}={arn}"))
            .collect();
        items.shown()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_at_their_edges() {
        for good in ["a", "0", "refund-2.b_c", &"a".repeat(64)] {
            assert_eq!(logical_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "_a",
            "A",
            "a b",
            "a=b",
            "ä",
            &"a".repeat(65),
        ] {
            assert!(logical_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_wrong_with_a_list_of_names_is_told_at_once() {
        let list = "a=arn:aws:sns:us-west-2:123456789012:x, B=arn:aws:sns:us-west-2:123456789012:x,\
                    c,d=x,a=arn:aws:sns:us-west-2:123456789012:y";
        let message = Named::parse(list, arn::topic)
            .map(|named| named.0)
            .unwrap_err();
        for part in [
            "\"B\": a name is",
            "\"c\" must be written as name=ARN",
            "d: it must be a topic's ARN",
            "a is named twice",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(message.matches("; ").count(), 3, "{message}");
    }

    #[test]
    fn domains_are_hosts_in_lower_case_each_once() {
        assert_eq!(
            domains("Example.com, mail.example.org,example.COM").unwrap(),
            ["example.com", "mail.example.org"]
        );
        let long = ["a".repeat(63).as_str(); 4].join(".");
        for bad in [
            "@example.com",
            "*.example.com",
            "-a.com",
            "a..b",
            "a_b.com",
            &long,
        ] {
            assert!(domains(bad).is_err(), "{bad}");
        }
    }
}
