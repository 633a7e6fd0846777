//! Copies of what the table has, bounded in number and weight: those used of late stay, the others go.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A copy and how old it is.
#[derive(Debug)]
pub(super) struct Copy<V> {
    /// What was read.
    pub(super) value: Arc<V>,
    /// When it was last known to be what the table has.
    pub(super) since: Duration,
    /// When it was read whole.
    pub(super) read: Duration,
    /// About how many bytes it takes up.
    pub(super) weight: usize,
    /// Whether somebody has been told to renew it.
    pub(super) is_renewed: bool,
    /// Whether the table is known to have something newer: it is used for nothing but to be renewed.
    pub(super) is_stale: bool,
}

/// Copies, those that were used of late and those that were used before: when there are too many of the
/// former, the latter go and they take their place.
#[derive(Debug)]
pub(super) struct Copies<K, V> {
    recent: HashMap<K, Copy<V>>,
    before: HashMap<K, Copy<V>>,
    recent_weight: usize,
    count_max: usize,
    weight_max: usize,
    /// What is being read, to be told of changes meanwhile.
    reads: Vec<(K, Weak<AtomicBool>)>,
    /// Whose turn it is to read a key: one at a time.
    turns: HashMap<K, Weak<Turn>>,
}

/// What is held while a key is read.
pub(super) type Turn = tokio::sync::Mutex<()>;

/// A read that has begun. What it finds is stale where this process has changed it meanwhile.
#[derive(Debug)]
pub(super) struct Reading(Arc<AtomicBool>);

impl<V> Clone for Copy<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

impl<K: Eq + Hash + Clone, V> Copies<K, V> {
    pub(super) fn new(count_max: usize, weight_max: usize) -> Self {
        Self {
            recent: HashMap::new(),
            before: HashMap::new(),
            recent_weight: 0,
            count_max,
            weight_max,
            reads: Vec::new(),
            turns: HashMap::new(),
        }
    }

    /// A read of `key` begins. There are as many of them as are held, and no more.
    pub(super) fn begin(&mut self, key: &K) -> Reading {
        let is_overtaken = Arc::new(AtomicBool::new(false));
        self.reads.retain(|(_, read)| read.strong_count() > 0);
        self.reads
            .push((key.clone(), Arc::downgrade(&is_overtaken)));
        Reading(is_overtaken)
    }

    /// What is locked while `key` is read, so that who comes meanwhile finds what was read.
    pub(super) fn turn(&mut self, key: &K) -> Arc<Turn> {
        if let Some(turn) = self.turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        self.turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::default());
        self.turns.insert(key.clone(), Arc::downgrade(&turn));
        turn
    }

    pub(super) fn find<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut Copy<V>>
    where
        K: Borrow<Q>,
    {
        if !self.recent.contains_key(key) {
            let (key, copy) = self.before.remove_entry(key)?;
            self.put(key, copy);
        }
        self.recent.get_mut(key)
    }

    /// Keeps what was read.
    pub(super) fn keep(&mut self, key: K, mut copy: Copy<V>, reading: &Reading) {
        let held = self.recent.get(&key).or_else(|| self.before.get(&key));
        if held.is_some_and(|held| held.since > copy.since) {
            return;
        }
        copy.is_stale = reading.0.load(Ordering::Relaxed);
        self.remove(&key);
        self.put(key, copy);
    }

    /// What the table has of some keys has changed: what was read before is not used any more.
    pub(super) fn changed(&mut self, is_one: impl Fn(&K) -> bool) {
        for (_, read) in self.reads.iter().filter(|(key, _)| is_one(key)) {
            if let Some(is_overtaken) = read.upgrade() {
                is_overtaken.store(true, Ordering::Relaxed);
            }
        }
        let all = self.recent.iter_mut().chain(self.before.iter_mut());
        for (_, copy) in all.filter(|(key, _)| is_one(key)) {
            copy.is_stale = true;
        }
    }

    fn put(&mut self, key: K, copy: Copy<V>) {
        let is_full = self.recent.len() >= self.count_max / 2
            || self.recent_weight + copy.weight > self.weight_max / 2;
        if is_full {
            self.before = std::mem::take(&mut self.recent);
            self.recent_weight = 0;
        }
        self.recent_weight += copy.weight;
        self.recent.insert(key, copy);
    }

    fn remove(&mut self, key: &K) {
        self.before.remove(key);
        if let Some(copy) = self.recent.remove(key) {
            self.recent_weight -= copy.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(value: u32, weight: usize) -> Copy<u32> {
        Copy {
            value: Arc::new(value),
            since: Duration::ZERO,
            read: Duration::ZERO,
            weight,
            is_renewed: false,
            is_stale: false,
        }
    }

    #[test]
    fn what_was_used_of_late_stays_and_the_rest_goes() {
        for (count_max, weight_max) in [(8, usize::MAX), (usize::MAX, 8)] {
            let mut copies = Copies::new(count_max, weight_max);
            let keep = |copies: &mut Copies<u32, u32>, key| {
                let reading = copies.begin(&key);
                copies.keep(key, copy(key, 1), &reading);
            };
            for key in 0..5_u32 {
                keep(&mut copies, key);
            }
            assert!(copies.find(&0).is_some(), "used again");
            for key in 5..8 {
                keep(&mut copies, key);
            }
            let held: Vec<_> = (0..8)
                .filter(|key| copies.recent.contains_key(key) || copies.before.contains_key(key))
                .collect();
            assert!(
                held.contains(&0) && !held.contains(&1) && held.len() <= 8,
                "{held:?}"
            );
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_stale_and_of_nobody_else() {
        let mut copies = Copies::new(8, 8);
        let (a, b) = (copies.begin(&"a"), copies.begin(&"b"));
        copies.changed(|key| *key == "a");
        copies.keep("a", copy(1, 1), &a);
        copies.keep("b", copy(1, 1), &b);
        assert!(copies.find("a").unwrap().is_stale && !copies.find("b").unwrap().is_stale);
        let again = copies.begin(&"a");
        copies.keep("a", copy(2, 1), &again);
        let held = copies.find("a").unwrap();
        assert!(!held.is_stale && *held.value == 2);
        copies.changed(|key| *key == "a");
        assert!(copies.find("a").unwrap().is_stale && !copies.find("b").unwrap().is_stale);
    }

    #[test]
    fn what_is_known_of_reads_goes_with_them() {
        let mut copies = Copies::<u32, u32>::new(8, 8);
        for key in 0..100 {
            drop(copies.begin(&key));
            let (turn, same) = (copies.turn(&key), copies.turn(&key));
            assert!(Arc::ptr_eq(&turn, &same));
        }
        let _held = copies.begin(&0);
        let _turn = copies.turn(&0);
        assert_eq!((copies.reads.len(), copies.turns.len()), (1, 1));
    }
}
