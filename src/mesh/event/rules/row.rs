//! Rules and alerts as rows of the table, and back.

use ulid::Ulid;

use crate::mesh::event::rule::{Alert, Delivery, Rule, Trigger};
use crate::mesh::store::key::{ALERT_PREFIX, RULE_PREFIX};
use crate::mesh::store::table::{Row, VERSION_ATTRIBUTE};
use crate::mesh::tenant::{Permission, PermissionSet, UserId};
use crate::mesh::{Error, Timestamp};

const ID: &str = "id";
const PATTERN: &str = "pattern";
const DESCRIPTION: &str = "description";
const ENABLED: &str = "enabled";
const WORKFLOW: &str = "workflow";
const NATIVE: &str = "native";
const CREATED_AT: &str = "created_at";
const CREATED_BY: &str = "created_by";
const PERMISSIONS: &str = "permissions";
const RULE: &str = "rule";
const METHOD: &str = "method";
const ADDRESS: &str = "address";
const SUBSCRIPTION: &str = "subscription";
const TOPIC: &str = "topic";

const BY_MAIL: &str = "email";
const BY_TOPIC: &str = "sns";

impl Delivery {
    /// The word in arguments, answers, events and rows.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Mail { .. } => BY_MAIL,
            Self::Topic { .. } => BY_TOPIC,
        }
    }
}

impl Rule {
    /// The row, of a version of its own.
    pub(in crate::mesh) fn to_row(&self) -> Row {
        let permissions: Vec<&str> = self.permissions.iter().map(Permission::name).collect();
        let row = begin(self.id, self.created_at, &self.created_by)
            .with_text(PATTERN, self.pattern.clone())
            .with_number(ENABLED, self.enabled.into())
            .with_number(NATIVE, self.native.into())
            .with_text(PERMISSIONS, permissions.join(" "));
        let row = with_some(row, DESCRIPTION, self.description.as_deref());
        with_some(row, WORKFLOW, self.workflow.as_deref())
    }

    /// The rule in the row under `sort`.
    ///
    /// # Errors
    /// `INTERNAL` where the row is no rule's.
    pub(in crate::mesh) fn of_row(sort: &str, row: &Row) -> Result<Self, Error> {
        let read = Reading { sort, row };
        Ok(Self {
            name: read.name(RULE_PREFIX)?,
            id: read.id()?,
            pattern: read.text(PATTERN)?,
            description: row.text(DESCRIPTION).map(str::to_owned),
            enabled: read.number(ENABLED)? != 0,
            workflow: row.text(WORKFLOW).map(str::to_owned),
            native: read.number(NATIVE)? != 0,
            created_at: Timestamp::from_millis(read.number(CREATED_AT)?),
            created_by: read.user()?,
            permissions: PermissionSet::of_scope(&read.text(PERMISSIONS)?),
        })
    }
}

impl Alert {
    /// The row, of a version of its own.
    pub(in crate::mesh) fn to_row(&self) -> Row {
        let row = begin(self.id, self.created_at, &self.created_by)
            .with_text(METHOD, self.delivery.method());
        let row = match &self.trigger {
            Trigger::Rule(rule) => row.with_text(RULE, rule.clone()),
            Trigger::Pattern(pattern) => row.with_text(PATTERN, pattern.clone()),
        };
        match &self.delivery {
            Delivery::Mail {
                address,
                subscription,
            } => {
                let row = row.with_text(ADDRESS, address.clone());
                with_some(row, SUBSCRIPTION, subscription.as_deref())
            }
            Delivery::Topic { name } => row.with_text(TOPIC, name.clone()),
        }
    }

    /// The alert in the row under `sort`.
    ///
    /// # Errors
    /// `INTERNAL` where the row is no alert's.
    pub(in crate::mesh) fn of_row(sort: &str, row: &Row) -> Result<Self, Error> {
        let read = Reading { sort, row };
        let trigger = match (row.text(RULE), row.text(PATTERN)) {
            (Some(rule), None) => Trigger::Rule(rule.to_owned()),
            (None, Some(pattern)) => Trigger::Pattern(pattern.to_owned()),
            _ => return Err(read.wrong(RULE)),
        };
        let delivery = match read.text(METHOD)?.as_str() {
            BY_MAIL => Delivery::Mail {
                address: read.text(ADDRESS)?,
                subscription: row.text(SUBSCRIPTION).map(str::to_owned),
            },
            BY_TOPIC => Delivery::Topic {
                name: read.text(TOPIC)?,
            },
            _ => return Err(read.wrong(METHOD)),
        };
        Ok(Self {
            name: read.name(ALERT_PREFIX)?,
            id: read.id()?,
            trigger,
            delivery,
            created_at: Timestamp::from_millis(read.number(CREATED_AT)?),
            created_by: read.user()?,
        })
    }
}

/// What every such row begins with. Its version is new each time, so that a lost answer to a write can be
/// told from another's write.
fn begin(id: Ulid, created_at: Timestamp, created_by: &UserId) -> Row {
    Row::new()
        .with_text(VERSION_ATTRIBUTE, Ulid::generate().to_string())
        .with_text(ID, id.to_string())
        .with_number(CREATED_AT, created_at.as_millis())
        .with_text(CREATED_BY, created_by.as_str())
}

fn with_some(row: Row, name: &'static str, text: Option<&str>) -> Row {
    match text {
        Some(text) => row.with_text(name, text),
        None => row,
    }
}

struct Reading<'row> {
    sort: &'row str,
    row: &'row Row,
}

impl Reading<'_> {
    /// The log names the row, never what is in it.
    fn wrong(&self, attribute: &str) -> Error {
        let sort = self.sort;
        Error::internal(format!("the row `{sort}` has no sound `{attribute}`"))
    }

    fn name(&self, prefix: &str) -> Result<String, Error> {
        let name = self.sort.strip_prefix(prefix);
        name.map(str::to_owned).ok_or_else(|| self.wrong("name"))
    }

    fn text(&self, attribute: &str) -> Result<String, Error> {
        let text = self.row.text(attribute).map(str::to_owned);
        text.ok_or_else(|| self.wrong(attribute))
    }

    fn number(&self, attribute: &str) -> Result<i64, Error> {
        let number = self.row.number(attribute);
        number.ok_or_else(|| self.wrong(attribute))
    }

    fn id(&self) -> Result<Ulid, Error> {
        Ulid::from_string(&self.text(ID)?).map_err(|_| self.wrong(ID))
    }

    fn user(&self) -> Result<UserId, Error> {
        let user = self.text(CREATED_BY)?;
        user.parse().map_err(|_| self.wrong(CREATED_BY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::tenant::Role;

    fn rule() -> Rule {
        Rule {
            name: "refunds".to_owned(),
            id: Ulid::generate(),
            pattern: r#"{"detail-type":["Order.Failed"]}"#.to_owned(),
            description: Some("starts the refund".to_owned()),
            enabled: true,
            workflow: Some("refund".to_owned()),
            native: false,
            created_at: Timestamp::from_millis(1_700_000_000_123),
            created_by: "ada".parse().unwrap(),
            permissions: Role::User.permissions(),
        }
    }

    fn alert(trigger: Trigger, delivery: Delivery) -> Alert {
        Alert {
            name: "on-call".to_owned(),
            id: Ulid::generate(),
            trigger,
            delivery,
            created_at: Timestamp::from_millis(-5),
            created_by: "ada@example.com".parse().unwrap(),
        }
    }

    fn alerts() -> Vec<Alert> {
        let mail = |subscription: Option<&str>| Delivery::Mail {
            address: "ada@example.com".to_owned(),
            subscription: subscription.map(str::to_owned),
        };
        let topic = || Delivery::Topic {
            name: "ops".to_owned(),
        };
        let by_rule = || Trigger::Rule("refunds".to_owned());
        let by_pattern = || Trigger::Pattern(r#"{"source":["shop"]}"#.to_owned());
        vec![
            alert(by_rule(), mail(None)),
            alert(by_pattern(), mail(Some("arn:aws:sns:x"))),
            alert(by_rule(), topic()),
            alert(by_pattern(), topic()),
        ]
    }

    fn without(row: Row, name: &str) -> Row {
        row.into_attributes()
            .filter(|(held, _)| held != name)
            .collect()
    }

    #[test]
    fn a_rule_reads_back_as_it_was_written() {
        let full = rule();
        let bare = Rule {
            description: None,
            enabled: false,
            workflow: None,
            native: true,
            permissions: PermissionSet::EMPTY,
            ..rule()
        };
        for rule in [full, bare] {
            let row = rule.to_row();
            assert_eq!(Rule::of_row("R#refunds", &row).unwrap(), rule);
            assert_ne!(row.version(), rule.to_row().version());
        }
    }

    #[test]
    fn an_alert_reads_back_as_it_was_written() {
        for alert in alerts() {
            let read = Alert::of_row("A#on-call", &alert.to_row()).unwrap();
            assert_eq!(read, alert);
        }
    }

    #[test]
    fn a_row_that_lacks_something_is_no_rule_and_no_alert() {
        let needed = [ID, PATTERN, ENABLED, NATIVE, CREATED_AT, CREATED_BY];
        for name in needed.into_iter().chain([PERMISSIONS]) {
            let row = without(rule().to_row(), name);
            assert!(Rule::of_row("R#refunds", &row).is_err(), "{name}");
        }
        assert!(Rule::of_row("A#refunds", &rule().to_row()).is_err());
        let (mailed, told) = (&alerts()[0], &alerts()[3]);
        for name in [ID, RULE, METHOD, ADDRESS, CREATED_AT, CREATED_BY] {
            let row = without(mailed.to_row(), name);
            assert!(Alert::of_row("A#on-call", &row).is_err(), "{name}");
        }
        let row = without(told.to_row(), TOPIC);
        assert!(Alert::of_row("A#on-call", &row).is_err());
        let both = told.to_row().with_text(RULE, "refunds");
        assert!(Alert::of_row("A#on-call", &both).is_err());
        assert!(Alert::of_row("R#on-call", &told.to_row()).is_err());
    }
}
