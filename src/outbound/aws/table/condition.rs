//! What must hold for a write, in the words of DynamoDB.
//!
//! Every name goes through a placeholder, since many plain words are reserved there.

use std::collections::HashMap;
use std::fmt::Write;

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{ADDITION, ItemMap, PARTITION};
use crate::mesh::Timestamp;
use crate::mesh::store::table::{Addition, Condition, EXPIRY_ATTRIBUTE, VERSION_ATTRIBUTE};

/// A condition with what its placeholders stand for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expression {
    pub(super) text: Option<String>,
    pub(super) names: Option<HashMap<String, String>>,
    pub(super) values: Option<ItemMap>,
}

/// The condition of a write.
pub(super) fn condition(condition: &Condition) -> Expression {
    match condition {
        Condition::Always => Expression::default(),
        Condition::Absent { now } => expression(
            "attribute_not_exists(#partition) OR #expiry <= :now",
            &[("#partition", PARTITION), ("#expiry", EXPIRY_ATTRIBUTE)],
            [(":now", seconds(*now))],
        ),
        Condition::Version { version, now } => expression(
            "#version = :version AND (attribute_not_exists(#expiry) OR #expiry > :now)",
            &[
                ("#version", VERSION_ATTRIBUTE),
                ("#expiry", EXPIRY_ATTRIBUTE),
            ],
            [
                (":version", AttributeValue::S(version.clone())),
                (":now", seconds(*now)),
            ],
        ),
    }
}

/// The update that adds to numbers, and its condition: no number passes its ceiling, and the addition
/// `id` is not the last that was made, which is how a repetition of it is told from a second one.
pub(super) fn addition(additions: &[Addition], id: &str) -> (String, Expression) {
    let mut names = HashMap::from([("#addition".to_owned(), ADDITION.to_owned())]);
    let mut values = HashMap::from([(":addition".to_owned(), AttributeValue::S(id.to_owned()))]);
    let mut update = "SET #addition = :addition ADD ".to_owned();
    let mut condition = "(attribute_not_exists(#addition) OR #addition <> :addition)".to_owned();
    for (position, each) in additions.iter().enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(update, "{comma}#n{position} :d{position}");
        names.insert(format!("#n{position}"), each.name.to_owned());
        values.insert(format!(":d{position}"), number(each.delta));
        if each.delta <= 0 {
            continue;
        }
        let highest = each.ceiling.saturating_sub(each.delta);
        let absent = if highest >= 0 {
            format!("attribute_not_exists(#n{position}) OR ")
        } else {
            String::new()
        };
        let _ = write!(condition, " AND ({absent}#n{position} <= :m{position})");
        values.insert(format!(":m{position}"), number(highest));
    }
    let expression = Expression {
        text: Some(condition),
        names: Some(names),
        values: Some(values),
    };
    (update, expression)
}

fn expression<const N: usize>(
    text: &str,
    names: &[(&str, &str)],
    values: [(&str, AttributeValue); N],
) -> Expression {
    let owned =
        |(placeholder, name): &(&str, &str)| ((*placeholder).to_owned(), (*name).to_owned());
    Expression {
        text: Some(text.to_owned()),
        names: Some(names.iter().map(owned).collect()),
        values: Some(values.map(|(name, value)| (name.to_owned(), value)).into()),
    }
}

fn seconds(time: Timestamp) -> AttributeValue {
    number(time.as_seconds())
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
