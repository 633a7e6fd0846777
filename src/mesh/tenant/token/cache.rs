//! Tokens that have been verified, so that a caller who sends one again pays for a hash only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// How many tokens are remembered at most.
pub(in crate::mesh::tenant) const TOKENS_MAX: usize = 4096;

/// What a token is remembered by. The token itself is not kept.
pub(in crate::mesh::tenant) type Fingerprint = [u8; 32];

/// The fingerprint of a token.
pub(in crate::mesh::tenant) fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token.as_bytes()).into()
}

/// Up to [`TOKENS_MAX`] values by fingerprint. It keeps two generations: what is used moves into the
/// newer one, and when that is full the older one is dropped, so that whatever was used within the
/// last `TOKENS_MAX / 2` insertions is still there and nothing is ever searched for the oldest.
#[derive(Debug)]
pub(in crate::mesh::tenant) struct TokenCache<V> {
    generations: Mutex<Generations<V>>,
    generation_max: usize,
}

#[derive(Debug)]
struct Generations<V> {
    newer: HashMap<Fingerprint, V>,
    older: HashMap<Fingerprint, V>,
}

impl<V: Clone> TokenCache<V> {
    /// An empty cache of at most `tokens_max` tokens.
    pub(in crate::mesh::tenant) fn new(tokens_max: usize) -> Self {
        Self {
            generations: Mutex::new(Generations {
                newer: HashMap::new(),
                older: HashMap::new(),
            }),
            generation_max: (tokens_max / 2).max(1),
        }
    }

    /// What is remembered of a token.
    pub(in crate::mesh::tenant) fn find(&self, token: &Fingerprint) -> Option<V> {
        let mut generations = self.lock();
        if let Some(value) = generations.newer.get(token) {
            return Some(value.clone());
        }
        let value = generations.older.remove(token)?;
        generations.insert(*token, value.clone(), self.generation_max);
        Some(value)
    }

    /// Remembers a token.
    pub(in crate::mesh::tenant) fn insert(&self, token: Fingerprint, value: V) {
        let mut generations = self.lock();
        generations.older.remove(&token);
        generations.insert(token, value, self.generation_max);
    }

    /// Forgets a token.
    pub(in crate::mesh::tenant) fn forget(&self, token: &Fingerprint) {
        let mut generations = self.lock();
        generations.newer.remove(token);
        generations.older.remove(token);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations<V>> {
        // A panic cannot leave the maps half-changed, so what they hold is still good.
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Generations<V> {
    fn insert(&mut self, token: Fingerprint, value: V, generation_max: usize) {
        if self.newer.len() >= generation_max && !self.newer.contains_key(&token) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(token, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> Fingerprint {
        fingerprint(&number.to_string())
    }

    fn held(cache: &TokenCache<usize>) -> usize {
        let generations = cache.lock();
        generations.newer.len() + generations.older.len()
    }

    #[test]
    fn it_holds_so_many_tokens_and_no_more() {
        let cache = TokenCache::new(8);
        for number in 0..8 {
            cache.insert(token(number), number);
            assert_eq!(held(&cache), number + 1);
        }
        for number in 8..1000 {
            cache.insert(token(number), number);
            assert!(held(&cache) <= 8);
            for recent in number - 3..=number {
                let generations = cache.lock();
                assert!(
                    generations.newer.contains_key(&token(recent))
                        || generations.older.contains_key(&token(recent)),
                    "{recent} of {number}"
                );
            }
        }
        assert_eq!(cache.find(&token(0)), None);
    }

    #[test]
    fn a_token_in_use_outlives_any_number_of_others() {
        let cache = TokenCache::new(8);
        cache.insert(token(0), 0);
        for number in 1..1000 {
            cache.insert(token(number), number);
            if number % 3 == 0 {
                assert_eq!(cache.find(&token(0)), Some(0), "after {number}");
            }
        }
        cache.forget(&token(0));
        assert_eq!(cache.find(&token(0)), None);
    }
}
