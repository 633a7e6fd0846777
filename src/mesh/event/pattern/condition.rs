//! What a pattern asks of one value: the operators, and how each is written.

use ipnet::IpNet;
use serde_json::Value;

use super::address;
use super::fault::{PatternFault, Place};
use super::fold::Folded;
use super::json::Json;
use super::number::{Bound, NumberKey, Range, exact_double};
use super::wildcard::Wildcard;

/// The operators, for whoever names another.
const OPERATORS: &str =
    "prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, cidr, exists";

/// A list of values and operators: a value fits where one of them does.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// Whether a member that is not there fits.
    pub(super) absent: bool,
    /// Whether any value fits.
    pub(super) present: bool,
    literals: Literals,
    /// Apart from the others, so that a text is read as an address once for all of them.
    networks: Vec<IpNet>,
    conditions: Vec<Condition>,
}

/// Plain values.
#[derive(Debug, Default)]
struct Literals {
    null: bool,
    yes: bool,
    no: bool,
    /// Sorted.
    texts: Vec<Box<str>>,
    /// Sorted.
    numbers: Vec<NumberKey>,
}

#[derive(Debug)]
enum Condition {
    Prefix(Box<str>),
    Suffix(Box<str>),
    FoldedPrefix(Folded),
    FoldedSuffix(Folded),
    Folded(Folded),
    Wildcard(Wildcard),
    Numeric(Range),
    AnythingBut(Excluded),
}

/// What `anything-but` excludes.
#[derive(Debug)]
enum Excluded {
    Literals(Literals),
    Conditions(Vec<Condition>),
}

/// What the lists of a pattern hold so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) values: usize,
    pub(super) wildcards: usize,
}

impl Leaf {
    /// Whether `value`, which is neither a list nor an object, fits.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        self.present
            || self.literals.contain(value)
            || self.is_in_a_network(value)
            || self
                .conditions
                .iter()
                .any(|condition| condition.accepts(value))
    }

    /// How many comparisons it takes to find out that a value does not fit; plain values are one together.
    pub(super) fn cost(&self) -> usize {
        let conditions: usize = self.conditions.iter().map(Condition::cost).sum();
        1 + self.networks.len() + conditions
    }

    fn is_in_a_network(&self, value: &Value) -> bool {
        match value {
            Value::String(text) if !self.networks.is_empty() => {
                address::address(text).is_some_and(|address| {
                    self.networks
                        .iter()
                        .any(|network| network.contains(&address))
                })
            }
            _ => false,
        }
    }

    /// Whether nothing fits but a member that is not there.
    pub(super) fn only_absent(&self) -> bool {
        let asks_of_values =
            self.present || !self.conditions.is_empty() || !self.networks.is_empty();
        self.absent && !asks_of_values && self.literals.is_empty()
    }

    /// The list that `values` is, at `place`.
    pub(super) fn parse(
        values: &[Json],
        place: &Place<'_>,
        tally: &mut Tally,
    ) -> Result<Self, PatternFault> {
        list_length(values, place)?;
        let mut leaf = Self::default();
        for (index, value) in values.iter().enumerate() {
            tally.values += 1;
            let place = place.element(index);
            match value {
                Json::Object(members) => leaf.operator(members, &place, tally)?,
                Json::List(_) => {
                    return Err(place.fault(
                        "a list of values holds no list; an event's list fits where one of its elements does",
                    ));
                }
                plain => leaf.literals.add(plain),
            }
        }
        leaf.literals.sort();
        Ok(leaf)
    }

    fn operator(
        &mut self,
        members: &[(String, Json)],
        place: &Place<'_>,
        tally: &mut Tally,
    ) -> Result<(), PatternFault> {
        let (name, operand) = only_member(members, place)?;
        let place = place.member(name);
        let condition = match name {
            "exists" => {
                match operand {
                    Json::Bool(true) => self.present = true,
                    Json::Bool(false) => self.absent = true,
                    other => return Err(wrong(&place, "true or false", other)),
                }
                return Ok(());
            }
            "cidr" => {
                let network = address::network(text(operand, &place)?);
                self.networks
                    .push(network.map_err(|what| place.fault(what))?);
                return Ok(());
            }
            "prefix" => affix(operand, &place, Condition::Prefix, Condition::FoldedPrefix)?,
            "suffix" => affix(operand, &place, Condition::Suffix, Condition::FoldedSuffix)?,
            "equals-ignore-case" => Condition::Folded(Folded::new(text(operand, &place)?)),
            "wildcard" => Condition::Wildcard(wildcard(operand, &place, tally)?),
            "numeric" => Condition::Numeric(numeric(operand, &place)?),
            "anything-but" => Condition::AnythingBut(excluded(operand, &place, tally)?),
            _ => return Err(place.fault(unknown(name))),
        };
        self.conditions.push(condition);
        Ok(())
    }
}

impl Literals {
    fn add(&mut self, value: &Json) {
        match value {
            Json::Null => self.null = true,
            Json::Bool(true) => self.yes = true,
            Json::Bool(false) => self.no = true,
            Json::Number(number) => self.numbers.push(NumberKey::of(number)),
            Json::Text(text) => self.texts.push(text.as_str().into()),
            Json::List(_) | Json::Object(_) => {}
        }
    }

    fn sort(&mut self) {
        self.texts.sort_unstable();
        self.numbers.sort_unstable();
    }

    fn is_empty(&self) -> bool {
        !(self.null || self.yes || self.no) && self.texts.is_empty() && self.numbers.is_empty()
    }

    fn contain(&self, value: &Value) -> bool {
        match value {
            Value::Null => self.null,
            Value::Bool(true) => self.yes,
            Value::Bool(false) => self.no,
            Value::Number(number) => {
                !self.numbers.is_empty()
                    && self.numbers.binary_search(&NumberKey::of(number)).is_ok()
            }
            // It would stand first; and to compare with its bytes, of which there are none, takes some processors
            // fifty times as long as with any others.
            Value::String(text) if text.is_empty() => {
                self.texts.first().is_some_and(|first| first.is_empty())
            }
            Value::String(text) => self
                .texts
                .binary_search_by(|known| (**known).cmp(text.as_str()))
                .is_ok(),
            Value::Array(_) | Value::Object(_) => false,
        }
    }
}

impl Condition {
    fn cost(&self) -> usize {
        match self {
            Self::AnythingBut(Excluded::Conditions(conditions)) => conditions.len(),
            _ => 1,
        }
    }

    fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::AnythingBut(excluded), value) => !excluded.holds(value),
            (Self::Numeric(range), Value::Number(number)) => range.holds(number),
            (_, Value::String(text)) => self.accepts_text(text),
            _ => false,
        }
    }

    fn accepts_text(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::FoldedPrefix(prefix) => prefix.starts(text),
            Self::FoldedSuffix(suffix) => suffix.ends(text),
            Self::Folded(folded) => folded.equals(text),
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::Numeric(_) | Self::AnythingBut(_) => false,
        }
    }
}

impl Excluded {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Literals(literals) => literals.contain(value),
            Self::Conditions(conditions) => {
                conditions.iter().any(|condition| condition.accepts(value))
            }
        }
    }
}

/// What `prefix` and `suffix` ask.
fn affix(
    operand: &Json,
    place: &Place<'_>,
    plain: fn(Box<str>) -> Condition,
    folded: fn(Folded) -> Condition,
) -> Result<Condition, PatternFault> {
    let members = match operand {
        Json::Text(text) => return Ok(plain(text.as_str().into())),
        Json::Object(members) => members,
        other => {
            return Err(wrong(
                place,
                "a string or {\"equals-ignore-case\": \"...\"}",
                other,
            ));
        }
    };
    let (name, operand) = only_member(members, place)?;
    let place = place.member(name);
    if name == "equals-ignore-case" {
        Ok(folded(Folded::new(text(operand, &place)?)))
    } else {
        Err(place.fault("only equals-ignore-case stands here"))
    }
}

fn wildcard(
    operand: &Json,
    place: &Place<'_>,
    tally: &mut Tally,
) -> Result<Wildcard, PatternFault> {
    let wildcard = Wildcard::parse(text(operand, place)?).map_err(|what| place.fault(what))?;
    tally.wildcards += wildcard.stars();
    if tally.wildcards > super::WILDCARDS_MAX {
        return Err(place.fault(format!(
            "a pattern has at most {} * in all of its wildcards; use prefix and suffix, or make two rules of it",
            super::WILDCARDS_MAX
        )));
    }
    Ok(wildcard)
}

/// What `numeric` asks: a comparison, or a lower and an upper bound.
fn numeric(operand: &Json, place: &Place<'_>) -> Result<Range, PatternFault> {
    const FORM: &str =
        "a list such as [\">\", 0] or [\">=\", 0, \"<\", 10], with =, <, <=, > or >=";
    let Json::List(terms) = operand else {
        return Err(wrong(place, FORM, operand));
    };
    let bound = |index: usize, inclusive: bool| -> Result<Bound, PatternFault> {
        let place = place.element(index);
        let value = match terms.get(index) {
            Some(Json::Number(number)) => exact_double(number).ok_or_else(|| {
                place
                    .fault("the number is too long to compare with; it has to be exact as a double")
            })?,
            Some(other) => return Err(wrong(&place, "a number", other)),
            None => return Err(place.fault("a number is missing here")),
        };
        Ok(Bound { value, inclusive })
    };
    let sign = |index: usize| match terms.get(index) {
        Some(Json::Text(sign)) => sign.as_str(),
        _ => "",
    };
    let mut range = Range::default();
    match sign(0) {
        "=" => {
            range.bottom = Some(bound(1, true)?);
            range.top = range.bottom;
        }
        first @ (">" | ">=") => range.bottom = Some(bound(1, first == ">=")?),
        last @ ("<" | "<=") => range.top = Some(bound(1, last == "<=")?),
        _ => return Err(place.element(0).fault(format!("numeric is {FORM}"))),
    }
    if terms.len() == 2 {
        return Ok(range);
    }
    let second = sign(2);
    if range.top.is_some() || !matches!(second, "<" | "<=") || terms.len() > 4 {
        return Err(place.element(2).fault(
            "a range is its lower bound and then its upper one, such as [\">=\", 0, \"<\", 10]",
        ));
    }
    range.top = Some(bound(3, second == "<=")?);
    match (range.bottom, range.top) {
        (Some(bottom), Some(top)) if bottom.value >= top.value => Err(place.fault(
            "the lower bound has to be below the upper one; for a single number write [\"=\", ...]",
        )),
        _ => Ok(range),
    }
}

fn excluded(
    operand: &Json,
    place: &Place<'_>,
    tally: &mut Tally,
) -> Result<Excluded, PatternFault> {
    match operand {
        Json::Object(members) => {
            let (name, operand) = only_member(members, place)?;
            excluded_conditions(name, operand, &place.member(name), tally)
        }
        Json::List(values) => excluded_literals(values, place, tally),
        Json::Text(_) | Json::Number(_) => {
            let mut literals = Literals::default();
            literals.add(operand);
            Ok(Excluded::Literals(literals))
        }
        other => Err(wrong(
            place,
            "a string, a number, a list of either, or one of prefix, suffix, equals-ignore-case and wildcard",
            other,
        )),
    }
}

fn excluded_literals(
    values: &[Json],
    place: &Place<'_>,
    tally: &mut Tally,
) -> Result<Excluded, PatternFault> {
    list_length(values, place)?;
    let mut literals = Literals::default();
    for (index, value) in values.iter().enumerate() {
        if !matches!(value, Json::Text(_) | Json::Number(_)) {
            return Err(wrong(&place.element(index), "a string or a number", value));
        }
        tally.values += 1;
        literals.add(value);
    }
    if !literals.texts.is_empty() && !literals.numbers.is_empty() {
        return Err(place.fault("the list holds either strings or numbers; write one list of each"));
    }
    literals.sort();
    Ok(Excluded::Literals(literals))
}

fn excluded_conditions(
    name: &str,
    operand: &Json,
    place: &Place<'_>,
    tally: &mut Tally,
) -> Result<Excluded, PatternFault> {
    let mut one = |operand: &Json, place: &Place<'_>| -> Result<Condition, PatternFault> {
        tally.values += 1;
        let value = text(operand, place)?;
        match name {
            "prefix" | "suffix" if value.is_empty() => {
                Err(place.fault("without a character every string is excluded; name one or more"))
            }
            "prefix" => Ok(Condition::Prefix(value.into())),
            "suffix" => Ok(Condition::Suffix(value.into())),
            "equals-ignore-case" => Ok(Condition::Folded(Folded::new(value))),
            "wildcard" => Ok(Condition::Wildcard(wildcard(operand, place, tally)?)),
            _ => Err(place.fault(
                "anything-but takes prefix, suffix, equals-ignore-case and wildcard, or plain values",
            )),
        }
    };
    let conditions = match operand {
        Json::List(operands) => {
            list_length(operands, place)?;
            let each = operands.iter().enumerate();
            each.map(|(index, operand)| one(operand, &place.element(index)))
                .collect::<Result<_, _>>()?
        }
        operand => vec![one(operand, place)?],
    };
    Ok(Excluded::Conditions(conditions))
}

fn list_length(values: &[Json], place: &Place<'_>) -> Result<(), PatternFault> {
    let most = super::VALUES_MAX;
    if values.is_empty() {
        return Err(place.fault(
            "an empty list fits nothing; name a value, or [{\"exists\": false}] for a member that is not there",
        ));
    }
    if values.len() > most {
        return Err(place.fault(format!(
            "a list has at most {most} values; make two rules of it"
        )));
    }
    Ok(())
}

fn only_member<'a>(
    members: &'a [(String, Json)],
    place: &Place<'_>,
) -> Result<(&'a str, &'a Json), PatternFault> {
    match members {
        [(name, operand)] => Ok((name, operand)),
        [] => Err(place.fault(format!("name an operator: {OPERATORS}"))),
        [_, (second, _), ..] => Err(place.member(second).fault(
            "an object in a list holds one operator; give each its own object, of which one has to fit",
        )),
    }
}

fn text<'a>(operand: &'a Json, place: &Place<'_>) -> Result<&'a str, PatternFault> {
    match operand {
        Json::Text(text) => Ok(text),
        other => Err(wrong(place, "a string", other)),
    }
}

fn wrong(place: &Place<'_>, wanted: &str, found: &Json) -> PatternFault {
    place.fault(format!("{wanted} belongs here, not {}", found.kind()))
}

fn unknown(name: &str) -> String {
    let nearest = OPERATORS
        .split(", ")
        .find(|known| strsim::damerau_levenshtein(known, name) <= 2);
    match nearest {
        Some(nearest) => format!("there is no such operator; did you mean {nearest}?"),
        None => format!("there is no such operator; the operators are {OPERATORS}"),
    }
}
