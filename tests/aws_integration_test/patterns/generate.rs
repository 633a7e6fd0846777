//! Random patterns, and events that fit them about as often as not.
//!
//! What the emulator is known to answer otherwise is left out: names with dots, and absence asked of the
//! elements of a list. The corpus has both.

use agent_mesh::mesh::event::pattern::CHARS_MAX;
use serde_json::{Map, Value, json};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "é"];

const TEXTS: [&str; 16] = [
    "",
    "x",
    "X",
    "xy",
    "xyz",
    "yx",
    "a/b/c",
    "A/B",
    "straße",
    "STRASSE",
    "10.0.0.1",
    "10.1.0.9",
    "::1",
    "2001:db8::7",
    "*",
    "a\\b",
];

const NETWORKS: [&str; 5] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "0.0.0.0/0",
    "::/64",
    "2001:db8::/32",
];

const WILDCARDS: [&str; 9] = [
    "*", "x*", "*y", "x*z", "*/b/*", "a*c", "*x*y*", "\\*", "a\\\\*",
];

const NUMBERS: [f64; 9] = [-5.0, -1.5, 0.0, 0.1, 1.0, 2.0, 10.0, 1e6, 1.7e12];

/// A source of patterns and events; the same seed gives the same ones.
pub(crate) struct Generator {
    state: u64,
    /// Whether the pattern at hand may ask for absence.
    may_ask_absence: bool,
    /// Whether all values are 0 or 1, so that it is the shape of things that decides.
    is_plain: bool,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            may_ask_absence: false,
            is_plain: false,
        }
    }

    /// A pattern of an event's detail, no longer than it may be, and details.
    pub(crate) fn pattern_with_events(&mut self) -> (Value, Vec<Value>) {
        if self.one_of(4) {
            return self.entangled();
        }
        self.may_ask_absence = self.one_of(3);
        self.is_plain = self.one_of(2);
        loop {
            let inner = self.object(3, &NAMES);
            let pattern = json!({ "detail": inner });
            if pattern.to_string().len() < CHARS_MAX {
                let events = (0..4).map(|_| self.event_for(&inner)).collect();
                return (pattern, events);
            }
        }
    }

    /// A pattern that asks of one list at several places, inside and outside of `$or`, and lists whose elements
    /// hold all of it, or a part each.
    fn entangled(&mut self) -> (Value, Vec<Value>) {
        let mut part = |names: &[&str]| {
            let each = names
                .iter()
                .map(|name| ((*name).to_owned(), json!([self.below(2)])));
            Value::Object(each.collect())
        };
        let inner = json!({
            "l": {"a": part(&["x"])["x"], "$or": [part(&["b", "c"]), part(&["d"])]},
            "$or": [{"l": part(&["e"])}, {"l": part(&["f"]), "o": [1]}, {"o": [0]}],
        });
        let mut events = Vec::new();
        for _ in 0..4 {
            let elements: Vec<_> = (0..=self.below(3))
                .map(|_| {
                    let names = ["a", "b", "c", "d", "e", "f"];
                    let each = names.map(|name| (name.to_owned(), json!(self.below(2))));
                    Value::Object(each.into_iter().collect())
                })
                .collect();
            events.push(json!({"l": elements, "o": self.below(3)}));
        }
        (json!({ "detail": inner }), events)
    }

    /// The next random number (splitmix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    /// Yes, once in `count` times.
    fn one_of(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())]
    }

    /// An object of a pattern about some of `names`, none of which it gives values twice, also not in `$or`.
    /// What is asked of an object may be asked in `$or` as well, about other members.
    fn object(&mut self, depth: usize, names: &[&'static str]) -> Value {
        let mut members = Map::new();
        let mut nested = None;
        let split = 1 + self.below(names.len().min(2));
        let (own, rest) = names.split_at(split);
        for name in own {
            let test = if depth > 0 && self.one_of(3) {
                nested = Some(*name);
                self.object(depth - 1, &NAMES[..2])
            } else {
                self.list()
            };
            members.insert((*name).to_owned(), test);
        }
        if depth > 0 && !rest.is_empty() && self.one_of(3) {
            let count = 2 + self.below(2);
            let branches = (0..count).map(|_| self.branch(depth - 1, rest, nested));
            let branches = branches.collect();
            members.insert("$or".to_owned(), Value::Array(branches));
        }
        Value::Object(members)
    }

    fn branch(&mut self, depth: usize, names: &[&'static str], nested: Option<&str>) -> Value {
        let mut branch = self.object(depth, names);
        if let Some(name) = nested
            && self.one_of(2)
        {
            branch[name] = self.object(depth.min(1), &NAMES[2..]);
        }
        branch
    }

    fn list(&mut self) -> Value {
        if self.is_plain {
            return json!([self.below(2)]);
        }
        let count = 1 + self.below(3);
        Value::Array((0..count).map(|_| self.condition()).collect())
    }

    fn condition(&mut self) -> Value {
        let text = self.pick(&TEXTS);
        match self.below(14) {
            0..=3 => self.scalar(),
            4 => json!({ "prefix": text }),
            5 => json!({ "suffix": text }),
            6 => json!({"prefix": {"equals-ignore-case": text}}),
            7 => json!({"suffix": {"equals-ignore-case": text}}),
            8 => json!({ "equals-ignore-case": text }),
            9 => json!({"wildcard": self.pick(&WILDCARDS)}),
            10 => json!({"cidr": self.pick(&NETWORKS)}),
            11 => self.range(),
            12 => self.anything_but(),
            _ if self.may_ask_absence && self.one_of(2) => json!({"exists": false}),
            _ => json!({"exists": true}),
        }
    }

    fn range(&mut self) -> Value {
        let first = self.below(NUMBERS.len() - 1);
        let second = first + 1 + self.below(NUMBERS.len() - 1 - first);
        let (low, high) = (NUMBERS[first], NUMBERS[second]);
        match self.below(4) {
            0 => json!({"numeric": ["=", low]}),
            1 => json!({"numeric": [self.pick(&["<", "<="]), low]}),
            2 => json!({"numeric": [self.pick(&[">", ">="]), low]}),
            _ => json!({"numeric": [self.pick(&[">", ">="]), low, self.pick(&["<", "<="]), high]}),
        }
    }

    fn anything_but(&mut self) -> Value {
        let (text, other) = (self.pick(&TEXTS), self.pick(&TEXTS));
        let (short, shorter) = (self.pick(&TEXTS[1..]), self.pick(&TEXTS[1..]));
        let operand = match self.below(9) {
            0 => json!(text),
            1 => json!(self.pick(&NUMBERS)),
            2 => json!([text, other]),
            3 => json!([self.pick(&NUMBERS), 3]),
            4 => json!({ "prefix": short }),
            5 => json!({"suffix": [short, shorter]}),
            6 => json!({ "equals-ignore-case": text }),
            7 => json!({"equals-ignore-case": [text, other]}),
            _ => json!({"wildcard": [self.pick(&WILDCARDS), self.pick(&WILDCARDS)]}),
        };
        json!({ "anything-but": operand })
    }

    fn scalar(&mut self) -> Value {
        if self.is_plain {
            return json!(self.below(2));
        }
        match self.below(8) {
            0 => Value::Null,
            1 => json!(self.one_of(2)),
            2 => json!(self.pick(&NUMBERS)),
            3 => json!(self.below(4)),
            _ => json!(self.pick(&TEXTS)),
        }
    }

    /// An event of about the shape that `pattern` asks for.
    fn event_for(&mut self, pattern: &Value) -> Value {
        let mut members = Map::new();
        self.fill(&mut members, pattern);
        if self.one_of(3) {
            let name = self.pick(&NAMES).to_owned();
            let value = self.scalar();
            members.entry(name).or_insert(value);
        }
        Value::Object(members)
    }

    fn fill(&mut self, members: &mut Map<String, Value>, pattern: &Value) {
        for (name, test) in pattern.as_object().into_iter().flatten() {
            match test {
                Value::Array(branches) if name == "$or" => {
                    let branch = self.below(branches.len());
                    self.fill(members, &branches[branch]);
                }
                _ if self.one_of(8) => {}
                Value::Array(conditions) => {
                    let value = self.value_for(conditions);
                    members.insert(name.clone(), value);
                }
                test => {
                    let value = match members.get_mut(name) {
                        Some(Value::Object(members)) => {
                            self.fill(members, test);
                            continue;
                        }
                        Some(Value::Array(elements)) => {
                            self.fill_one(elements, test);
                            continue;
                        }
                        _ => self.nested_for(test),
                    };
                    members.insert(name.clone(), value);
                }
            }
        }
    }

    /// Adds what `test` asks to an element of a list, which may be the one that has the rest.
    fn fill_one(&mut self, elements: &mut [Value], test: &Value) {
        if elements.is_empty() {
            return;
        }
        let which = self.below(elements.len());
        if let Value::Object(members) = &mut elements[which] {
            self.fill(members, test);
        }
    }

    fn nested_for(&mut self, test: &Value) -> Value {
        let lists = !self.may_ask_absence;
        match self.below(8) {
            0 => self.scalar(),
            1..=3 if lists => {
                let count = self.below(4);
                let mut elements: Vec<_> = (0..count).map(|_| self.event_for(test)).collect();
                if self.one_of(4) {
                    elements.push(self.scalar());
                }
                if self.one_of(4) {
                    elements = vec![Value::Array(elements)];
                }
                Value::Array(elements)
            }
            _ => self.event_for(test),
        }
    }

    fn value_for(&mut self, conditions: &[Value]) -> Value {
        let which = self.below(conditions.len());
        match (self.below(10), &conditions[which]) {
            (0, _) => json!([]),
            (1, _) if !self.may_ask_absence => json!({"a": self.scalar()}),
            (2, _) => json!([self.scalar(), [self.scalar()]]),
            (3..=6, condition) => self.fitting(condition),
            _ => self.scalar(),
        }
    }

    /// A value that fits `condition` more often than not.
    fn fitting(&mut self, condition: &Value) -> Value {
        let Value::Object(operator) = condition else {
            return condition.clone();
        };
        let Some((name, operand)) = operator.iter().next() else {
            return Value::Null;
        };
        let text = operand
            .as_str()
            .or_else(|| operand["equals-ignore-case"].as_str());
        match (name.as_str(), text) {
            ("prefix", Some(text)) => json!(format!("{}z", self.cased(text))),
            ("suffix", Some(text)) => json!(format!("z{}", self.cased(text))),
            ("equals-ignore-case", Some(text)) => json!(self.cased(text)),
            ("wildcard", Some(text)) => json!(text.replace("\\\\", "\\").replace('*', "x")),
            ("numeric", _) => {
                let bound = operand[1].as_f64().unwrap_or_default();
                json!(bound + self.pick(&[0.0, 0.5, -0.5]))
            }
            _ => self.scalar(),
        }
    }

    fn cased(&mut self, text: &str) -> String {
        match self.below(3) {
            0 => text.to_uppercase(),
            1 => text.to_lowercase(),
            _ => text.to_owned(),
        }
    }
}
