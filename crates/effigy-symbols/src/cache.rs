//! What was worked out, kept while there is room: what came first goes first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// A bounded store shared by threads.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    limit: usize,
    kept: Mutex<Kept<K, V>>,
}

#[derive(Debug)]
struct Kept<K, V> {
    values: HashMap<K, (Arc<V>, usize)>,
    order: VecDeque<K>,
    cost: usize,
}

impl<K: Hash + Eq + Copy, V> Cache<K, V> {
    /// One whose values cost at most `limit` together, in bytes or whatever they are counted in; the last one is kept
    /// whatever it costs.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::new(Kept { values: HashMap::new(), order: VecDeque::new(), cost: 0 }) }
    }

    /// The value of a key, made where it is not there. Two threads may make it at the same time: that is rare, and
    /// better than that one waits for another's other value.
    pub(crate) fn get_or_make(&self, key: K, make: impl FnOnce() -> Option<(V, usize)>) -> Option<Arc<V>> {
        if let Some((value, _)) = self.lock().values.get(&key) {
            return Some(value.clone());
        }
        let (value, cost) = make()?;
        let value = Arc::new(value);
        self.lock().insert(key, value.clone(), cost, self.limit);
        Some(value)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept<K, V>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Copy, V> Kept<K, V> {
    fn insert(&mut self, key: K, value: Arc<V>, cost: usize, limit: usize) {
        match self.values.insert(key, (value, cost)) {
            Some((_, before)) => self.cost = self.cost.saturating_sub(before),
            None => self.order.push_back(key),
        }
        self.cost = self.cost.saturating_add(cost);
        while self.cost > limit && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((_, cost)) = self.values.remove(&oldest) {
                self.cost = self.cost.saturating_sub(cost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let cache = Cache::new(10);
        for key in 0..5 {
            assert_eq!(*cache.get_or_make(key, || Some((key, 4))).unwrap(), key);
        }
        assert_eq!(*cache.get_or_make(4, || None).unwrap(), 4);
        assert_eq!(*cache.get_or_make(3, || None).unwrap(), 3);
        assert!(cache.get_or_make(0, || None).is_none());
        assert_eq!(*cache.get_or_make(9, || Some((9, 1000))).unwrap(), 9);
        assert!(cache.get_or_make(9, || None).is_some());
        assert!(cache.get_or_make(4, || None).is_none());
    }
}
