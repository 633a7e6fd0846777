//! How Choice states are read.

use std::cmp::Ordering::{self, Equal, Greater, Less};

use serde_json::Value;

use super::super::flaw::{below, quoted};
use super::super::glob::Glob;
use super::super::machine::Choice;
use super::super::path::Path;
use super::super::rule::{Comparable, Operand, Rule, Test, Type};
use super::super::template::{bad_path, refuse_token};
use super::Reader;
use super::members::Members;

/// How deep And, Or and Not may lie in each other.
const DEPTH_MAX: usize = 16;

/// What a comparison's name ends with where its operand is a path.
const PATH: &str = "Path";

/// The orders that comparisons are named after.
const ORDERS: [(&str, &[Ordering]); 5] = [
    ("Equals", &[Equal]),
    ("LessThan", &[Less]),
    ("GreaterThan", &[Greater]),
    ("LessThanEquals", &[Less, Equal]),
    ("GreaterThanEquals", &[Greater, Equal]),
];

/// The types that comparisons are named after, with what their operands look like.
const COMPARABLES: [(&str, Comparable, &str); 4] = [
    ("String", Comparable::String, "a text"),
    ("Numeric", Comparable::Numeric, "a number"),
    ("Boolean", Comparable::Boolean, "true or false"),
    (
        "Timestamp",
        Comparable::Timestamp,
        "a time such as 2026-01-31T23:59:59Z",
    ),
];

/// The tests of types.
const TYPES: [(&str, Type); 5] = [
    ("IsNull", Type::Null),
    ("IsNumeric", Type::Numeric),
    ("IsString", Type::String),
    ("IsBoolean", Type::Boolean),
    ("IsTimestamp", Type::Timestamp),
];

impl Reader {
    /// Reads what makes a Choice.
    pub(super) fn choice(&mut self, members: &mut Members<'_>) -> Option<Choice> {
        let default = members.text("Default", &mut self.flaws).map(str::to_owned);
        members.required("Choices", &mut self.flaws)?;
        let items = members.list("Choices", &mut self.flaws)?;
        let at = members.path("Choices");
        let mut rules = Vec::new();
        let mut complete = true;
        for (index, item) in items.iter().enumerate() {
            match self.leading_rule(item, &below(&at, index)) {
                Some(rule) => rules.push(rule),
                None => complete = false,
            }
        }
        complete.then_some(Choice { rules, default })
    }

    /// A rule with the state that it leads to.
    fn leading_rule(&mut self, value: &Value, at: &str) -> Option<(Rule, String)> {
        let mut members = Members::of(value, at, &mut self.flaws)?;
        let next = members.required_text("Next", &mut self.flaws);
        let rule = self.rule(members, DEPTH_MAX);
        Some((rule?, next?.to_owned()))
    }

    fn inner_rule(&mut self, value: &Value, at: &str, depth_left: usize) -> Option<Rule> {
        let members = Members::of(value, at, &mut self.flaws)?;
        if members.names().any(|name| name == "Next") {
            let message = "only a rule at the top of 'Choices' leads on: take 'Next' out";
            self.flaws.add(&members.path("Next"), message);
            return None;
        }
        self.rule(members, depth_left)
    }

    fn rule(&mut self, mut members: Members<'_>, depth_left: usize) -> Option<Rule> {
        let Some(depth_left) = depth_left.checked_sub(1) else {
            let message = format!("more than {DEPTH_MAX} of And, Or and Not lie in each other");
            self.flaws.add(members.at(), message);
            return None;
        };
        members.text("Comment", &mut self.flaws);
        let rule = if members.get("And").is_some() {
            self.rules(&mut members, "And", depth_left).map(Rule::And)
        } else if members.get("Or").is_some() {
            self.rules(&mut members, "Or", depth_left).map(Rule::Or)
        } else if let Some(value) = members.get("Not") {
            let at = members.path("Not");
            let inner = self.inner_rule(value, &at, depth_left);
            inner.map(|rule| Rule::Not(Box::new(rule)))
        } else {
            return self.test(members);
        };
        members.finish("a rule with And, Or or Not", &mut self.flaws);
        rule
    }

    fn rules(
        &mut self,
        members: &mut Members<'_>,
        name: &'static str,
        depth_left: usize,
    ) -> Option<Vec<Rule>> {
        let at = members.path(name);
        let items = members.list(name, &mut self.flaws)?;
        let mut rules = Vec::new();
        for (index, item) in items.iter().enumerate() {
            rules.extend(self.inner_rule(item, &below(&at, index), depth_left));
        }
        (rules.len() == items.len()).then_some(rules)
    }

    /// Reads `Variable` and the one operator beside it.
    fn test(&mut self, mut members: Members<'_>) -> Option<Rule> {
        let variable = members.required_text("Variable", &mut self.flaws);
        let mut tests = Vec::new();
        for name in members.names() {
            if matches!(name, "Variable" | "Next" | "Comment") {
                continue;
            }
            let Some(known) = operators().find(|known| known == name) else {
                let message = self.unknown(name);
                self.flaws.add(&members.path(name), message);
                return None;
            };
            tests.push(known);
        }
        let [operator] = tests.as_slice() else {
            let message = if tests.is_empty() {
                "a comparison is missing, such as 'StringEquals' or 'IsPresent'".to_owned()
            } else {
                format!(
                    "a rule has one comparison, not {}: join several with 'And'",
                    tests.join(" and ")
                )
            };
            self.flaws.add(members.at(), message);
            return None;
        };
        let at = members.path(operator);
        let value = members.value(operator)?;
        let test = operand(operator, value).map_err(|message| self.flaws.add(&at, message));
        let variable = path(variable?).map_err(|message| {
            self.flaws.add(&members.path("Variable"), message);
        });
        Some(Rule::Test {
            variable: variable.ok()?,
            test: test.ok()?,
        })
    }

    fn unknown(&self, name: &str) -> String {
        match name {
            "Condition" => {
                "'Condition' belongs to JSONata, which is not supported: write 'Variable' and a comparison"
                    .to_owned()
            }
            "Assign" => {
                "variables are not supported: carry the value in a state's output".to_owned()
            }
            _ => format!(
                "there is no comparison {}: they are IsPresent, IsNull, IsNumeric, IsString, IsBoolean, IsTimestamp, StringMatches, and {{String, Numeric, Boolean, Timestamp}}{{Equals, LessThan, GreaterThan, LessThanEquals, GreaterThanEquals}}, each also with Path",
                quoted(name)
            ),
        }
    }
}

/// Every comparison of an order: its name, as what, which orders pass, what its operand looks like.
fn comparisons() -> impl Iterator<Item = (String, Comparable, &'static [Ordering], &'static str)> {
    COMPARABLES
        .into_iter()
        .flat_map(|(kind_name, kind, example)| {
            ORDERS
                .into_iter()
                .filter(move |(order_name, _)| {
                    kind != Comparable::Boolean || *order_name == "Equals"
                })
                .map(move |(order_name, orders)| {
                    (format!("{kind_name}{order_name}"), kind, orders, example)
                })
        })
}

fn operators() -> impl Iterator<Item = String> {
    let compared = comparisons().flat_map(|(name, ..)| [format!("{name}{PATH}"), name]);
    let others = ["IsPresent", "StringMatches"].map(str::to_owned);
    let types = TYPES.map(|(name, _)| name.to_owned());
    compared.chain(others).chain(types)
}

/// Reads the operand of an operator.
fn operand(operator: &str, value: &Value) -> Result<Test, String> {
    let boolean = || {
        value
            .as_bool()
            .ok_or_else(|| "it must be true or false".to_owned())
    };
    if operator == "IsPresent" {
        return boolean().map(Test::IsPresent);
    }
    if let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == operator) {
        return boolean().map(|expected| Test::Is(*kind, expected));
    }
    if operator == "StringMatches" {
        let pattern = value.as_str().ok_or("it must be a text")?;
        return Glob::parse(pattern).map(Test::Matches);
    }
    let plain = operator.strip_suffix(PATH);
    let name = plain.unwrap_or(operator);
    let Some((_, kind, orders, example)) = comparisons().find(|known| known.0 == name) else {
        return Err("there is no such comparison".to_owned());
    };
    let operand = if plain.is_some() {
        Operand::Path(path(value.as_str().ok_or("it must be a path")?)?)
    } else if kind.takes(value) {
        Operand::Fixed(value.clone())
    } else {
        return Err(format!("it must be {example}"));
    };
    Ok(Test::Compare {
        operator: operator.to_owned(),
        kind,
        orders,
        operand,
    })
}

fn path(text: &str) -> Result<Path, String> {
    let path = Path::parse(text).map_err(|why| bad_path(text, &why))?;
    refuse_token(&path).map(|()| path)
}
