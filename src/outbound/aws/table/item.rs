//! Rows to items of DynamoDB and back.

use std::borrow::Cow;
use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::Blob;
use bytes::Bytes;

use crate::mesh::store::key::RowKey;
use crate::mesh::store::table::{Attribute, Row};

/// The attribute of the partition key.
pub(super) const PARTITION: &str = "PK";

/// The attribute of the sort key.
pub(super) const SORT: &str = "SK";

/// Where a row keeps the id of the last addition to its numbers; no caller sees it.
pub(super) const ADDITION: &str = "last_addition";

/// An item, or its keys.
pub(super) type ItemMap = HashMap<String, AttributeValue>;

/// The keys of a row.
pub(super) fn key_of(key: &RowKey) -> ItemMap {
    HashMap::from([
        (
            PARTITION.to_owned(),
            AttributeValue::S(key.partition().to_owned()),
        ),
        (SORT.to_owned(), AttributeValue::S(key.sort().to_owned())),
    ])
}

/// The item of a row.
pub(super) fn item_of(key: &RowKey, row: Row) -> ItemMap {
    let mut item = key_of(key);
    for (name, attribute) in row.into_attributes() {
        item.insert(name.into_owned(), value_of(attribute));
    }
    item
}

fn value_of(attribute: Attribute) -> AttributeValue {
    match attribute {
        Attribute::Text(text) => AttributeValue::S(text),
        Attribute::Number(number) => AttributeValue::N(number.to_string()),
        Attribute::Bytes(bytes) => AttributeValue::B(Blob::new(Vec::from(bytes))),
    }
}

/// The row of an item, in the order of its names. Attributes that we do not write (other types, numbers
/// with fractions) are left out.
pub(super) fn row_of(item: ItemMap) -> Row {
    let mut attributes: Vec<(Cow<'static, str>, Attribute)> = item
        .into_iter()
        .filter(|(name, _)| ![PARTITION, SORT, ADDITION].contains(&name.as_str()))
        .filter_map(|(name, value)| Some((Cow::Owned(name), attribute_of(value)?)))
        .collect();
    attributes.sort_by(|(left, _), (right, _)| left.cmp(right));
    attributes.into_iter().collect()
}

fn attribute_of(value: AttributeValue) -> Option<Attribute> {
    match value {
        AttributeValue::S(text) => Some(Attribute::Text(text)),
        AttributeValue::N(number) => whole_number(&number).map(Attribute::Number),
        AttributeValue::B(blob) => Some(Attribute::Bytes(Bytes::from(blob.into_inner()))),
        _ => None,
    }
}

/// The value of a number as DynamoDB writes it, which may be `1E+2` for 100.
fn whole_number(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (mantissa, exponent) = text.split_once(['E', 'e'])?;
    let exponent: u32 = exponent
        .strip_prefix('+')
        .unwrap_or(exponent)
        .parse()
        .ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u32::try_from(fraction.len()).ok()?;
    let shift = exponent.checked_sub(digits)?;
    let number: i64 = format!("{whole}{fraction}").parse().ok()?;
    number.checked_mul(10_i64.checked_pow(shift)?)
}

/// The text of an attribute.
pub(super) fn text(value: Option<AttributeValue>) -> Option<String> {
    match value {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_way_that_dynamodb_writes_whole_ones() {
        assert_eq!(whole_number("-42"), Some(-42));
        assert_eq!(whole_number("1E+2"), Some(100));
        assert_eq!(whole_number("1.5e3"), Some(1500));
        assert_eq!(whole_number("1.55E1"), None);
        assert_eq!(whole_number("9223372036854775807"), Some(i64::MAX));
        assert_eq!(whole_number("1E+19"), None);
    }

    #[test]
    fn keys_and_our_own_mark_are_no_attributes_of_a_row() {
        let item = HashMap::from([
            (PARTITION.to_owned(), AttributeValue::S("p".to_owned())),
            (SORT.to_owned(), AttributeValue::S("s".to_owned())),
            (ADDITION.to_owned(), AttributeValue::S("a".to_owned())),
            ("empty".to_owned(), AttributeValue::S(String::new())),
            ("list".to_owned(), AttributeValue::L(Vec::new())),
        ]);
        assert_eq!(row_of(item), Row::new().with_text("empty", ""));
    }
}
