//! Finding one tool among thousands: an index of what tools say, and the ranking of a query over it.
//!
//! The score is BM25 over words whose weight depends on where they stand: a name counts more than a title,
//! and that more than a description or a parameter. What says more of the words that were asked for comes
//! first, and whoever asks by a tool's own name gets that one.

mod words;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::id::ServiceId;
use super::pin::readable;
use super::tools::{KnownTool, KnownTools};
use super::view::Owned;
use words::{is_filler, words};

/// The most tools that are indexed for one user.
pub const TOOLS_MAX: usize = 20_000;

/// The most words of one tool that are looked at, and of one query.
const TOOL_WORDS_MAX: usize = 500;
const QUERY_WORDS_MAX: usize = 32;

/// How deep the parameters of a tool are looked at.
const DEPTH_MAX: usize = 3;

/// What a word weighs where it stands.
const IN_NAME: f32 = 4.0;
const IN_TITLE: f32 = 2.5;
const IN_SERVICE: f32 = 1.5;
const IN_PARAMETER: f32 = 1.0;
const IN_DESCRIPTION: f32 = 1.0;
const IN_PARAMETER_TEXT: f32 = 0.4;

/// BM25: how soon more of the same word counts no more, and how much a long text counts against it.
const SATURATION: f32 = 1.2;
const LENGTH_SHARE: f32 = 0.6;

/// What a word counts that only begins with one that was asked for, how many such are looked at, and from
/// how many characters on.
const PREFIX_SHARE: f32 = 0.4;
const PREFIX_TERMS_MAX: usize = 24;
const PREFIX_CHARS_MIN: usize = 3;

/// How much more a tool counts whose name is what was asked for.
const OWN_NAME: f32 = 3.0;

/// One tool of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Found<'index> {
    /// The connection.
    pub owned: &'index Arc<Owned>,
    /// The tool.
    pub tool: &'index KnownTool,
}

/// What the tools of some connections say.
#[derive(Debug, Default)]
pub struct Index {
    sources: Vec<(Arc<Owned>, Arc<KnownTools>)>,
    documents: Vec<Document>,
    /// Sorted, and each with the documents that have it and its weight there.
    terms: Vec<(Box<str>, Postings)>,
    length_mean: f32,
}

/// The documents that have a word, by their numbers, and what it weighs in each.
type Postings = Vec<(u32, f32)>;

#[derive(Debug)]
struct Document {
    source: u32,
    tool: u32,
    length: f32,
}

impl Index {
    /// Of the tools of some connections, in their order.
    pub fn of(sources: Vec<(Arc<Owned>, Arc<KnownTools>)>) -> Self {
        let mut terms: HashMap<Box<str>, Postings> = HashMap::new();
        let mut documents = Vec::new();
        for (source, (owned, tools)) in sources.iter().enumerate() {
            let service = service_words(owned);
            for (position, tool) in tools.iter().enumerate() {
                if documents.len() == TOOLS_MAX {
                    break;
                }
                let Ok(number) = u32::try_from(documents.len()) else {
                    break;
                };
                let weights = weights_of(tool, &service);
                documents.push(Document {
                    source: u32::try_from(source).unwrap_or(u32::MAX),
                    tool: u32::try_from(position).unwrap_or(u32::MAX),
                    length: weights.values().sum(),
                });
                for (word, weight) in weights {
                    terms.entry(word).or_default().push((number, weight));
                }
            }
        }
        let total: f32 = documents.iter().map(|document| document.length).sum();
        #[expect(clippy::cast_precision_loss, reason = "there are at most 20,000")]
        let count = documents.len().max(1) as f32;
        let mut terms: Vec<_> = terms.into_iter().collect();
        terms.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self {
            sources,
            documents,
            terms,
            length_mean: (total / count).max(1.0),
        }
    }

    /// Whether it is of these and no others.
    pub fn is_of(&self, sources: &[(Arc<Owned>, Arc<KnownTools>)]) -> bool {
        let same = |((owned, tools), (other, others)): (&(_, _), &(_, _))| {
            Arc::ptr_eq(owned, other) && Arc::ptr_eq(tools, others)
        };
        self.sources.len() == sources.len() && self.sources.iter().zip(sources).all(same)
    }

    /// Every tool, or every one of `service`, in the order of connections and names.
    pub fn all<'index>(
        &'index self,
        service: Option<&'index ServiceId>,
    ) -> impl Iterator<Item = Found<'index>> {
        let found = self
            .documents
            .iter()
            .filter_map(|document| self.found(document));
        found.filter(move |found| service.is_none_or(|service| *service == found.owned.row.service))
    }

    /// The tools that have to do with `query`, the best first.
    pub fn ranked<'index>(
        &'index self,
        query: &str,
        service: Option<&ServiceId>,
    ) -> Vec<Found<'index>> {
        let mut asked: Vec<String> = words(query).take(QUERY_WORDS_MAX).collect();
        if asked.iter().any(|word| !is_filler(word)) {
            asked.retain(|word| !is_filler(word));
        }
        asked.dedup();
        let scores = self.scores(&asked);
        let own_name: String = asked.concat();
        let mut ranked: Vec<(f32, usize)> = Vec::new();
        for (number, (score, matched)) in scores.into_iter().enumerate() {
            if matched == 0 {
                continue;
            }
            let found = self
                .documents
                .get(number)
                .and_then(|document| self.found(document));
            let Some(found) = found else {
                continue;
            };
            if service.is_some_and(|service| *service != found.owned.row.service) {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "there are at most 32 words")]
            let share = matched as f32 / asked.len().max(1) as f32;
            let own = if is_named(found, &own_name) {
                OWN_NAME
            } else {
                1.0
            };
            ranked.push((score * (0.4 + 0.6 * share) * own, number));
        }
        ranked.sort_by(|(one, first), (other, second)| {
            other.total_cmp(one).then_with(|| first.cmp(second))
        });
        let found = ranked.into_iter().filter_map(|(_, number)| {
            self.documents
                .get(number)
                .and_then(|document| self.found(document))
        });
        found.collect()
    }

    /// For each document its score, and how many of the words it has.
    fn scores(&self, asked: &[String]) -> Vec<(f32, u32)> {
        let mut scores = vec![(0.0_f32, 0_u32); self.documents.len()];
        let mut of_word: HashMap<u32, f32> = HashMap::new();
        for word in asked {
            of_word.clear();
            let first = self.terms.partition_point(|(term, _)| **term < **word);
            let rest = self.terms.get(first..).unwrap_or_default();
            let begun = rest
                .iter()
                .take_while(|(term, _)| term.starts_with(word.as_str()));
            for (term, postings) in begun.take(PREFIX_TERMS_MAX) {
                let share = match **term == **word {
                    true => 1.0,
                    false if word.chars().count() >= PREFIX_CHARS_MIN => PREFIX_SHARE,
                    false => continue,
                };
                let rarity = self.rarity(postings.len());
                for (number, weight) in postings {
                    let score = share * rarity * self.saturated(*number, *weight);
                    let held = of_word.entry(*number).or_default();
                    *held = held.max(score);
                }
            }
            for (number, score) in &of_word {
                if let Some((sum, matched)) = scores.get_mut(*number as usize) {
                    *sum += score;
                    *matched += 1;
                }
            }
        }
        scores
    }

    #[expect(clippy::cast_precision_loss, reason = "there are at most 20,000")]
    fn rarity(&self, having: usize) -> f32 {
        let (all, having) = (self.documents.len() as f32, having as f32);
        (1.0 + (all - having + 0.5) / (having + 0.5)).ln()
    }

    fn saturated(&self, number: u32, weight: f32) -> f32 {
        let length = self
            .documents
            .get(number as usize)
            .map_or(0.0, |document| document.length);
        let norm = 1.0 - LENGTH_SHARE + LENGTH_SHARE * length / self.length_mean;
        weight * (SATURATION + 1.0) / (weight + SATURATION * norm)
    }

    fn found(&self, document: &Document) -> Option<Found<'_>> {
        let (owned, tools) = self.sources.get(document.source as usize)?;
        let tool = tools.get(document.tool as usize)?;
        Some(Found { owned, tool })
    }
}

/// Whether a tool, alone or with its service, is named by the words that were put together to `name`.
fn is_named(found: Found<'_>, name: &str) -> bool {
    let own: String = words(&found.tool.name).collect();
    if own == name {
        return true;
    }
    let service: String = words(found.owned.row.service.as_str()).collect();
    name.strip_prefix(service.as_str()) == Some(&own)
}

fn service_words(owned: &Owned) -> Vec<String> {
    let definition = &owned.registered.definition;
    let texts = [definition.service.as_str(), definition.name.as_str()];
    let of_words = definition.capabilities.iter().chain(&definition.category);
    let texts = texts.into_iter().chain(of_words.map(String::as_str));
    texts.flat_map(words).take(TOOL_WORDS_MAX / 4).collect()
}

/// The words of a tool, by what they weigh together. Of one that is held back only the name counts: nothing
/// that it says now is to lead to it.
fn weights_of(tool: &KnownTool, service: &[String]) -> HashMap<Box<str>, f32> {
    let mut bag = Bag::default();
    bag.add(&tool.name, IN_NAME);
    for word in service {
        bag.add_word(word, IN_SERVICE);
    }
    if tool.is_held_back() {
        return bag.weights;
    }
    let definition = Value::Object(readable(&tool.definition));
    let text = |value: &Value, name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    bag.add(&text(&definition, "title"), IN_TITLE);
    if let Some(annotations) = definition.get("annotations") {
        bag.add(&text(annotations, "title"), IN_TITLE);
    }
    bag.add(&text(&definition, "description"), IN_DESCRIPTION);
    if let Some(schema) = definition.get("inputSchema") {
        bag.add_parameters(schema, DEPTH_MAX);
    }
    bag.weights
}

#[derive(Default)]
struct Bag {
    weights: HashMap<Box<str>, f32>,
    count: usize,
}

impl Bag {
    fn add(&mut self, text: &str, weight: f32) {
        for word in words(text) {
            if self.count >= TOOL_WORDS_MAX {
                return;
            }
            self.add_word(&word, weight);
        }
    }

    fn add_word(&mut self, word: &str, weight: f32) {
        if is_filler(word) {
            return;
        }
        self.count += 1;
        match self.weights.get_mut(word) {
            Some(held) => *held += weight,
            None => {
                self.weights.insert(word.into(), weight);
            }
        }
    }

    fn add_parameters(&mut self, schema: &Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        if let Some(items) = schema.get("items") {
            self.add_parameters(items, depth);
        }
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        for (name, property) in properties {
            self.add(name, IN_PARAMETER);
            for text in ["title", "description"] {
                let text = property.get(text).and_then(Value::as_str);
                self.add(text.unwrap_or_default(), IN_PARAMETER_TEXT);
            }
            self.add_parameters(property, depth);
        }
    }
}

#[cfg(test)]
mod tests;
