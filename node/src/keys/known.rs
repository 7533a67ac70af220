//! Which originals were sealed already, as far as memory goes: what costs steady ingest nothing.
//!
//! Two halves: the young one fills, then becomes the old one, whose contents are forgotten. Forgetting costs a look into the
//! keyring and is never wrong. [`Met`] is the same one stage earlier: the token of a value that is sealed, without the keyed
//! hashes that make one.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use parking_lot::Mutex;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::ring::Bucket;
use crate::limits::TOKENS_MET;

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

/// Makes the hashes: 128 bits under a key that no sender knows.
pub(super) struct Fingerprints([u64; 2]);

impl Fingerprints {
    pub(super) fn new() -> Self {
        // Two words that a keyed hash under random keys makes are a random key.
        let state = RandomState::new();
        Self([state.hash_one(0_u8), state.hash_one(1_u8)])
    }

    pub(super) fn of(&self, thing: impl Hash) -> u128 {
        let mut sip = self.begin();
        thing.hash(&mut sip);
        sip.finish128().as_u128()
    }

    /// Of a thing in two parts, of which the first says how long it is.
    fn of_bytes(&self, head: &[u8], rest: &[u8]) -> u128 {
        let mut sip = self.begin();
        sip.write(head);
        sip.write(rest);
        sip.finish128().as_u128()
    }

    fn begin(&self) -> SipHasher13 {
        let [one, other] = self.0;
        SipHasher13::new_with_keys(one, other)
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

/// Tokens of values that are sealed where they were met, on the day they were met. Whoever destroys an original empties it.
///
/// A table of pairs: a value has its place in one pair, a line of the processor's memory, and takes it from the one that was met
/// longer ago.
pub(crate) struct Met {
    prints: Fingerprints,
    pairs: Mutex<Vec<Pair>>,
}

/// A value at a place: a keyed hash of what it is, where it stands and whose it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight(u128);

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Pair([(u128, [u8; 16]); 2]);

impl Met {
    pub(super) fn new() -> Self {
        Self { prints: Fingerprints::new(), pairs: Mutex::default() }
    }

    /// The sight of a value of a class in a bucket.
    pub(super) fn sight(&self, bucket: Bucket, subject: Option<u64>, class: &str, value: &str) -> Sight {
        // All that is not the value at once, for each piece that is hashed costs: no class has as many letters as would not fit.
        let mut head = [0; 96];
        let number = subject.unwrap_or(0).to_be_bytes();
        let kind = [u8::from(subject.is_some()), u8::try_from(class.len()).unwrap_or(u8::MAX)];
        let bucket = bucket.to_row();
        let parts = bucket.iter().chain(&number).chain(&kind).chain(class.as_bytes());
        let length = head.iter_mut().zip(parts).map(|(to, from)| *to = *from).count();
        Sight(self.prints.of_bytes(head.get(..length).unwrap_or_default(), value.as_bytes()))
    }

    /// The hash of its token, where the original is sealed as far as memory goes.
    pub(super) fn token(&self, sight: Sight) -> Option<[u8; 16]> {
        let mut pairs = self.pairs.lock();
        let Pair([young, old]) = pair_of(&mut pairs, sight)?;
        if old.0 == sight.0 {
            std::mem::swap(young, old);
        }
        (young.0 == sight.0).then_some(young.1)
    }

    pub(super) fn remember(&self, sights: impl Iterator<Item = (Sight, [u8; 16])>) {
        let mut sights = sights.filter(|(sight, _)| sight.0 != 0).peekable();
        if sights.peek().is_none() {
            return;
        }
        let mut pairs = self.pairs.lock();
        if pairs.is_empty() {
            *pairs = vec![Pair::default(); TOKENS_MET / 2];
        }
        for (sight, token) in sights {
            if let Some(Pair([young, old])) = pair_of(&mut pairs, sight) {
                if young.0 != sight.0 {
                    *old = *young;
                }
                *young = (sight.0, token);
            }
        }
    }

    pub(super) fn clear(&self) {
        self.pairs.lock().clear();
    }
}

fn pair_of(pairs: &mut [Pair], Sight(print): Sight) -> Option<&mut Pair> {
    let place = usize::try_from(print % (TOKENS_MET as u128 / 2)).ok()?;
    pairs.get_mut(place)
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{StreamId, TenantId};

    use super::super::ring::Day;
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
    fn tokens_in_memory_have_a_bound_and_the_one_met_longer_ago_makes_room() {
        let (met, room) = (Met::new(), TOKENS_MET as u128);
        let remember = |number: u128| met.remember([(Sight(number), number.to_be_bytes())].into_iter());
        let knows = |number: u128| met.token(Sight(number)) == Some(number.to_be_bytes());
        (1..=room).for_each(remember);
        assert!((1..=room).all(knows), "each has its place");
        remember(room + 7);
        assert!(knows(room + 7) && knows(7 + room / 2) && !knows(7));
        assert!(knows(7 + room / 2), "asked for last");
        remember(2 * room + 7);
        assert!(knows(7 + room / 2) && knows(2 * room + 7) && !knows(room + 7));
        assert_eq!(met.pairs.lock().len(), TOKENS_MET / 2);
        remember(0);
        assert_eq!(Met::new().token(Sight(0)), None);
        met.clear();
        assert!(!knows(8));
    }

    #[test]
    fn a_sight_is_of_all_that_makes_it() {
        let met = Met::new();
        let bucket = |stream, day| Bucket { tenant: TenantId(1), stream: StreamId(stream), day: Day(day) };
        let others = [
            met.sight(bucket(1, 1), None, "ip", "a@b.de"),
            met.sight(bucket(1, 1), None, "email", "a@b.d"),
            met.sight(bucket(1, 1), None, "emaila", "@b.de"),
            met.sight(bucket(1, 1), Some(0), "email", "a@b.de"),
            met.sight(bucket(1, 1), Some(1), "email", "a@b.de"),
            met.sight(bucket(2, 1), None, "email", "a@b.de"),
            met.sight(bucket(1, 2), None, "email", "a@b.de"),
            Met::new().sight(bucket(1, 1), None, "email", "a@b.de"),
        ];
        let one = || met.sight(bucket(1, 1), None, "email", "a@b.de");
        assert!(one() == one() && others.iter().all(|other| *other != one()));
        let long = |last: &str| met.sight(bucket(1, 1), None, &format!("{}{last}", "r".repeat(63)), "a");
        assert!(long("") == long("") && long("") != long("r"));
    }

    #[test]
    fn fingerprints_tell_apart_what_differs_and_differ_by_process() {
        let (one, other) = (Fingerprints::new(), Fingerprints::new());
        assert_eq!(one.of(("a", 1)), one.of(("a", 1)));
        assert_ne!(one.of(("a", 1)), one.of(("a", 2)));
        assert_ne!(one.of("a"), other.of("a"));
    }
}
