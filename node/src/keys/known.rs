//! Which originals were sealed already, as far as memory goes: what costs steady ingest nothing.
//!
//! Two halves: the young one fills, then becomes the old one, whose contents are forgotten. Forgetting costs a look into the
//! keyring and is never wrong.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// The memory. Holds keyed hashes, never a token.
pub(super) struct Known {
    young: Prints,
    old: Prints,
    half: usize,
}

/// A set of fingerprints. They are keyed hashes already and are not hashed again.
pub(super) type Prints = HashSet<u128, BuildHasherDefault<AsItIs>>;

/// Half of a fingerprint as its hash.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[allow(clippy::cast_possible_truncation, reason = "half of it is enough")]
    fn write_u128(&mut self, print: u128) {
        self.0 = print as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes the hashes: 128 bits under keys that no sender knows.
pub(super) struct Fingerprints(RandomState, RandomState);

impl Fingerprints {
    pub(super) fn new() -> Self {
        Self(RandomState::new(), RandomState::new())
    }

    pub(super) fn of(&self, thing: impl Hash) -> u128 {
        let half = |state: &RandomState| u128::from(state.hash_one(&thing));
        half(&self.0) << 64 | half(&self.1)
    }
}

impl Known {
    /// Remembers at least `half` and at most twice as many.
    pub(super) fn new(half: usize) -> Self {
        Self { young: Prints::default(), old: Prints::default(), half }
    }

    /// Whether it is remembered; what is asked for stays young.
    pub(super) fn contains(&mut self, fingerprint: u128) -> bool {
        if self.young.contains(&fingerprint) {
            return true;
        }
        let is_known = self.old.contains(&fingerprint);
        if is_known {
            self.insert(fingerprint);
        }
        is_known
    }

    pub(super) fn insert(&mut self, fingerprint: u128) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint);
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut known = Known::new(100);
        known.insert(7);
        for number in 1_000..2_000 {
            known.insert(number);
            assert!(known.contains(7), "asked for all the time");
            assert!(known.young.len() + known.old.len() <= 200);
        }
        assert!(!known.contains(1_000), "never asked for again");
        known.clear();
        assert!(!known.contains(7));
    }

    #[test]
    fn fingerprints_tell_apart_what_differs_and_differ_by_process() {
        let (one, other) = (Fingerprints::new(), Fingerprints::new());
        assert_eq!(one.of(("a", 1)), one.of(("a", 1)));
        assert_ne!(one.of(("a", 1)), one.of(("a", 2)));
        assert_ne!(one.of("a"), other.of("a"));
    }
}
