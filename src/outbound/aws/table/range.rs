//! A range of sort keys to the one condition on them that DynamoDB allows in a query.

use std::cmp::Ordering;
use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{ItemMap, PARTITION, SORT};
use crate::mesh::store::table::Range;

/// The most rows of one page.
pub(super) const LIMIT_MAX: u32 = 1000;

/// The sort keys to read, in order of their bytes; both ends are included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    low: Option<String>,
    high: Option<String>,
    /// Go on after this key, which lies within.
    pub(super) after: Option<String>,
}

/// The bounds of `range`; none where no key can lie within.
pub(super) fn bounds(range: &Range) -> Option<Bounds> {
    let prefix = (!range.prefix.is_empty()).then(|| range.prefix.clone());
    let low = match (&prefix, &range.from) {
        (Some(prefix), Some(from)) => Some(prefix.max(from).clone()),
        (prefix, from) => prefix.as_ref().or(from.as_ref()).cloned(),
    };
    let end = successor(&range.prefix);
    let high = match (end, &range.to) {
        (Some(end), Some(to)) => Some(end.min(to.clone())),
        (end, to) => end.or_else(|| to.clone()),
    };
    if let (Some(low), Some(high)) = (&low, &high)
        && low > high
    {
        return None;
    }
    let mut bounds = Bounds {
        low,
        high,
        after: None,
    };
    if let Some(after) = &range.after {
        // DynamoDB refuses to go on after a key outside of the condition.
        let beyond = if range.descending {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        match bounds.place(after) {
            Ordering::Equal => bounds.after = Some(after.clone()),
            place if place == beyond => return None,
            _ => {}
        }
    }
    Some(bounds)
}

impl Bounds {
    /// Where `key` lies: before, within or behind.
    fn place(&self, key: &str) -> Ordering {
        if self.low.as_deref().is_some_and(|low| key < low) {
            Ordering::Less
        } else if self.high.as_deref().is_some_and(|high| key > high) {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }

    /// Whether rows of `range` may come after `sort`, where a page ended.
    pub(super) fn may_follow(&self, sort: &str, range: &Range) -> bool {
        sort.starts_with(&range.prefix) || (range.descending && sort > range.prefix.as_str())
    }

    /// The condition for rows of `partition`, with what its placeholders stand for.
    pub(super) fn condition(
        &self,
        partition: &str,
        names: &mut HashMap<String, String>,
    ) -> (String, ItemMap) {
        names.insert("#partition".to_owned(), PARTITION.to_owned());
        let mut values = ItemMap::from([(
            ":partition".to_owned(),
            AttributeValue::S(partition.to_owned()),
        )]);
        let mut bind = |placeholder: &str, key: &String| {
            values.insert(placeholder.to_owned(), AttributeValue::S(key.clone()));
        };
        let sort_condition = match (&self.low, &self.high) {
            (None, None) => return ("#partition = :partition".to_owned(), values),
            (Some(low), None) => {
                bind(":low", low);
                "#sort >= :low"
            }
            (None, Some(high)) => {
                bind(":high", high);
                "#sort <= :high"
            }
            (Some(low), Some(high)) => {
                bind(":low", low);
                bind(":high", high);
                "#sort BETWEEN :low AND :high"
            }
        };
        names.insert("#sort".to_owned(), SORT.to_owned());
        (
            format!("#partition = :partition AND {sort_condition}"),
            values,
        )
    }
}

/// The attributes that are wanted, as a projection; none means all.
pub(super) fn projection(attributes: &[&'static str]) -> (Option<String>, HashMap<String, String>) {
    if attributes.is_empty() {
        return (None, HashMap::new());
    }
    let mut names = HashMap::from([("#sort".to_owned(), SORT.to_owned())]);
    let mut text = "#sort".to_owned();
    for (position, attribute) in attributes.iter().enumerate() {
        if attributes[..position].contains(attribute) {
            continue;
        }
        text.push_str(&format!(", #a{position}"));
        names.insert(format!("#a{position}"), (*attribute).to_owned());
    }
    (Some(text), names)
}

/// The least text that is greater than every text that begins with `prefix`; none where there is none.
/// The order of UTF-8 bytes is that of characters.
fn successor(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: &str) -> Range {
        Range {
            prefix: prefix.to_owned(),
            limit: 10,
            ..Range::default()
        }
    }

    #[test]
    fn the_successor_steps_over_what_is_no_character() {
        assert_eq!(successor("K#"), Some("K$".to_owned()));
        assert_eq!(successor("a\u{D7FF}"), Some("a\u{E000}".to_owned()));
        assert_eq!(successor("a\u{10FFFF}"), Some("b".to_owned()));
        assert_eq!(successor("\u{10FFFF}"), None);
        assert_eq!(successor(""), None);
    }

    #[test]
    fn a_range_that_holds_no_key_is_no_question_to_ask() {
        let mut empty = range("a");
        empty.from = Some("az".to_owned());
        empty.to = Some("ab".to_owned());
        assert_eq!(bounds(&empty), None);
        let mut finished = range("a");
        finished.after = Some("c".to_owned());
        assert_eq!(bounds(&finished), None);
        finished.descending = true;
        assert!(bounds(&finished).unwrap().after.is_none());
    }

    #[test]
    fn a_prefix_from_the_first_to_the_last_character_has_an_end() {
        let bounds = bounds(&range("K#a")).unwrap();
        assert_eq!(bounds.low.as_deref(), Some("K#a"));
        assert_eq!(bounds.high.as_deref(), Some("K#b"));
    }
}
