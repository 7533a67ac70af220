//! One table of the state: an ordered map whose copies share what they have in common.
//!
//! A copy costs one reference count; the first change after a copy clones the map of pointers, never the rows. So the
//! state can be handed out whole after every entry. It knows nothing of rows, commands or their rules.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// An ordered map, copied on write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table<K, V>(Arc<BTreeMap<K, Arc<V>>>);

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Arc::new(BTreeMap::new()))
    }
}

impl<K: Ord + Clone, V: PartialEq> Table<K, V> {
    /// The row under `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// All rows, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let entries: Iter<'_, K, Arc<V>> = self.0.iter();
        entries.map(|(key, row)| (key, row.as_ref()))
    }

    /// The rows whose keys lie within a range, by key.
    pub(crate) fn within(&self, keys: RangeInclusive<K>) -> impl Iterator<Item = (&K, &V)> {
        self.0.range(keys).map(|(key, row)| (key, row.as_ref()))
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts a row in its place; an equal row that is there already is left alone.
    pub(crate) fn insert(&mut self, key: K, row: V) {
        if self.get(&key) != Some(&row) {
            Arc::make_mut(&mut self.0).insert(key, Arc::new(row));
        }
    }

    /// The row under `key`, to be changed; an empty one where there was none.
    pub(crate) fn entry(&mut self, key: K) -> &mut V
    where
        V: Clone + Default,
    {
        Arc::make_mut(Arc::make_mut(&mut self.0).entry(key).or_default())
    }

    /// Takes a row out; whether there was one.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        self.0.contains_key(key) && Arc::make_mut(&mut self.0).remove(key).is_some()
    }

    /// Whether both are the very same copy: cheap, and `false` proves nothing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
