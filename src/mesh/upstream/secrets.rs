//! What one connection must never be quoted with: its secrets, however they are spelled, those learnt while it lives among them.

mod spelling;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::mesh::integration::written::map_texts;

/// The shortest text that is taken for a secret, in characters; what is shorter stands in every other sentence.
const SECRET_CHARS_MIN: usize = 4;

/// How many secrets that were learnt while the connection lives are known at once; the oldest go first.
const LEARNT_MAX: usize = 16;

/// What stands for a secret.
const MASK: &str = "[secret]";

/// The scheme of a header whose secret holds another one: a name and a password.
const BASIC: &str = "Basic";

/// The secrets of one connection, shared by all who quote its server. Shows none of them.
#[derive(Clone, Default)]
pub struct ConnectionSecrets(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    given: Vec<SecretString>,
    learnt: VecDeque<SecretString>,
    /// Finds every spelling of all of them; nothing where there is none to be found.
    finder: Option<Finder>,
}

struct Finder {
    all: AhoCorasick,
    spellings: Vec<SecretString>,
    longest_bytes: usize,
}

impl ConnectionSecrets {
    /// Those of a connection as it is planned.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut known = Known::default();
        for secret in secrets {
            known.given.extend(parts(secret.expose_secret()));
        }
        known.sort_out();
        Self(Arc::new(RwLock::new(known)))
    }

    /// One more from now on, such as a token that was fetched.
    pub fn learn(&self, secret: &SecretString) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for part in parts(secret.expose_secret()) {
            let is_part = |other: &SecretString| other.expose_secret() == part.expose_secret();
            if known.given.iter().chain(&known.learnt).any(is_part) {
                continue;
            }
            if known.learnt.len() >= LEARNT_MAX {
                known.learnt.pop_front();
            }
            known.learnt.push_back(part);
        }
        known.sort_out();
    }

    /// `text` with a mask in the place of each secret.
    pub fn mask<'text>(&self, text: &'text str) -> Cow<'text, str> {
        match &self.known().finder {
            Some(finder) => masked(text, &finder.find(text)),
            None => Cow::Borrowed(text),
        }
    }

    /// The same of a text that was cut: what may be the beginning of a secret at its end is masked too.
    pub fn mask_cut<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let known = self.known();
        let Some(finder) = &known.finder else {
            return Cow::Borrowed(text);
        };
        let mut found = finder.find(text);
        if let Some(from) = finder.begun(text) {
            merge(&mut found, from..text.len());
        }
        masked(text, &found)
    }

    /// The same of the text of a JSON value, within its texts and names of members alone, so that it stays JSON.
    pub fn mask_json<'text>(&self, json: &'text str) -> Cow<'text, str> {
        let known = self.known();
        let Some(finder) = &known.finder else {
            return Cow::Borrowed(json);
        };
        map_texts(json, |text| match masked(text, &finder.find(text)) {
            Cow::Owned(masked) => Some(masked),
            Cow::Borrowed(_) => None,
        })
    }

    /// The most bytes that one of them takes up in a text.
    pub fn longest_bytes(&self) -> usize {
        let known = self.known();
        let finder = known.finder.as_ref();
        finder.map_or(0, |finder| finder.longest_bytes)
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ConnectionSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        let count = known.given.len() + known.learnt.len();
        write!(formatter, "ConnectionSecrets({count})")
    }
}

impl Known {
    /// Makes the finder anew.
    fn sort_out(&mut self) {
        let all = self.given.iter().chain(&self.learnt);
        let mut spellings: Vec<String> = all
            .flat_map(|secret| spelling::all(secret.expose_secret()))
            .collect();
        spellings.sort_unstable();
        spellings.dedup();
        // Letters of either case, since headers, percent signs and escapes of JSON come in both.
        let built = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&spellings);
        self.finder = built
            .ok()
            .filter(|_| !spellings.is_empty())
            .map(|all| Finder {
                all,
                longest_bytes: spellings.iter().map(String::len).max().unwrap_or_default(),
                spellings: spellings.into_iter().map(SecretString::from).collect(),
            });
    }
}

impl Finder {
    /// Where `text` has secrets, in order and apart from each other.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for matched in self.all.find_overlapping_iter(text) {
            merge(&mut found, matched.range());
        }
        found
    }

    /// Where the beginning of a secret is at the end of `text`.
    fn begun(&self, text: &str) -> Option<usize> {
        let longest = |spelling: &SecretString| {
            let spelling = spelling.expose_secret();
            (SECRET_CHARS_MIN..spelling.len())
                .rev()
                .filter_map(|end| spelling.get(..end))
                .find(|begun| text.ends_with(begun))
                .map(str::len)
        };
        let longest = self.spellings.iter().filter_map(longest).max();
        longest.map(|longest| text.len() - longest)
    }
}

/// The secret, and what is one by itself within it: what stands behind the scheme of a header, and the password
/// of a name and a password.
fn parts(secret: &str) -> Vec<SecretString> {
    let mut parts = vec![secret, secret.trim()];
    let mut pair = None;
    if let Some((scheme, rest)) = secret.trim().split_once(' ')
        && scheme.bytes().all(|byte| byte.is_ascii_alphabetic())
    {
        parts.push(rest.trim());
        pair = decoded(rest.trim()).filter(|_| scheme.eq_ignore_ascii_case(BASIC));
    }
    if let Some(pair) = &pair {
        parts.push(pair);
        parts.extend(pair.split_once(':').map(|(_, password)| password));
    }
    parts.retain(|part| part.chars().count() >= SECRET_CHARS_MIN);
    parts.dedup();
    parts.into_iter().map(SecretString::from).collect()
}

fn decoded(base64: &str) -> Option<String> {
    let bytes = STANDARD.decode(base64).ok()?;
    String::from_utf8(bytes).ok()
}

/// Takes up `next`, which ends where the last one does or later.
fn merge(found: &mut Vec<Range<usize>>, mut next: Range<usize>) {
    while let Some(last) = found.pop_if(|last| last.end >= next.start) {
        next.start = next.start.min(last.start);
        next.end = next.end.max(last.end);
    }
    found.push(next);
}

fn masked<'text>(text: &'text str, found: &[Range<usize>]) -> Cow<'text, str> {
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for range in found {
        // A spelling is a text, so it begins and ends where characters do.
        clean.push_str(text.get(from..range.start).unwrap_or_default());
        clean.push_str(MASK);
        from = range.end;
    }
    clean.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests;
