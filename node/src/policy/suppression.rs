//! The suppression list of erasure: whose records this region shows to nobody, from the order on until the order expires.
//!
//! Asked by `index` before a record becomes part of a segment and by `segment` for every segment that is opened. Holds keyed
//! hashes and tokens, never a value; `erase` fills it from orders that are durable already. In memory, replaced whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use domicile_proto::ids::{ShardId, StreamId, TenantId, Timestamp};

/// One order, as far as records are concerned. No `Debug`: it says whose records were erased.
#[derive(Clone)]
pub(crate) struct Suppressed {
    /// Id of the order.
    pub(crate) order: Box<str>,
    pub(crate) tenant: TenantId,
    /// Records of these subjects.
    pub(crate) subjects: Vec<u64>,
    /// Records that hold one of these tokens.
    pub(crate) tokens: Vec<Box<str>>,
    /// Only these streams, with the shards they had when the order came; none means all streams of the tenant.
    pub(crate) only: Option<Vec<(StreamId, Option<ShardId>)>>,
    /// Until when.
    pub(crate) until: Timestamp,
    /// Whether every segment of this node was rewritten without them: only what comes from elsewhere is looked at again.
    pub(crate) is_purged: bool,
}

impl Suppressed {
    /// Whether it concerns what a shard holds.
    pub(crate) fn concerns(&self, shard: ShardId) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|(_, known)| *known == Some(shard)))
    }

    /// What it hides.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted { subjects: self.subjects.iter().copied().collect(), tokens: self.tokens.iter().cloned().collect() }
    }
}

/// The list as it is at one moment. No `Debug`.
#[derive(Default)]
pub(crate) struct Suppressions {
    version: u64,
    entries: Vec<Suppressed>,
}

/// Which entries are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that this node's own segments may still hold.
    Open,
    /// All of them: for what was stored before and comes back.
    All,
}

/// What must not be shown of one shard. No `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) subjects: BTreeSet<u64>,
    pub(crate) tokens: BTreeSet<Box<str>>,
}

impl Wanted {
    pub(crate) fn is_empty(&self) -> bool {
        self.subjects.is_empty() && self.tokens.is_empty()
    }

    /// Whether a record is meant: by its subject, or by a token in its id or its event.
    pub(crate) fn hides(&self, subject: Option<u64>, id: Option<&str>, event: &[u8]) -> bool {
        subject.is_some_and(|subject| self.subjects.contains(&subject))
            || id.is_some_and(|id| self.stands_in(id.as_bytes()))
            || self.stands_in(event)
    }

    /// Whether a text holds one of the tokens.
    pub(crate) fn stands_in(&self, text: &[u8]) -> bool {
        !self.tokens.is_empty() && tokens_in(text).any(|token| self.tokens.contains(token))
    }
}

/// The list, for whoever needs it. Cheap to clone; clones show the same.
#[derive(Clone, Default)]
pub(crate) struct Suppression(Arc<ArcSwap<Suppressions>>, Arc<AtomicU64>);

impl Suppression {
    /// The list as it is now.
    pub(crate) fn now(&self) -> Arc<Suppressions> {
        self.0.load_full()
    }

    /// How many records were left out of segments since the node started, because they came after an order.
    pub(crate) fn late(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    /// Counts one.
    pub(crate) fn count_late(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds an order. Whoever shows segments must look at them again: see `Catalog::enforce`.
    pub(crate) fn add(&self, entry: &Suppressed) {
        self.0.rcu(|list| {
            let mut entries: Vec<_> = list.entries.iter().filter(|known| known.order != entry.order).cloned().collect();
            entries.push(entry.clone());
            Suppressions { version: list.version + 1, entries }
        });
    }

    /// Notes that an order was purged; what is hidden stays hidden.
    pub(crate) fn purged(&self, order: &str) {
        self.0.rcu(|list| {
            let mut entries = list.entries.clone();
            entries.iter_mut().filter(|entry| &*entry.order == order).for_each(|entry| entry.is_purged = true);
            Suppressions { version: list.version, entries }
        });
    }

    /// Forgets orders that were purged and whose time is over.
    pub(crate) fn expire(&self, now: Timestamp) {
        self.0.rcu(|list| {
            let stays = |entry: &&Suppressed| !entry.is_purged || entry.until > now;
            Suppressions { version: list.version, entries: list.entries.iter().filter(stays).cloned().collect() }
        });
    }
}

impl Suppressions {
    /// Grows with every order; 0 where there never was one.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// What must not be shown of the records of a shard.
    pub(crate) fn of_shard(&self, shard: ShardId, scope: Scope) -> Wanted {
        let mut wanted = Wanted::default();
        for entry in self.entries.iter().filter(|entry| scope == Scope::All || !entry.is_purged) {
            if entry.concerns(shard) {
                wanted.subjects.extend(&entry.subjects);
                wanted.tokens.extend(entry.tokens.iter().cloned());
            }
        }
        wanted
    }

    /// What must not be shown of records that come into a stream now.
    pub(crate) fn of_stream(&self, tenant: TenantId, stream: StreamId) -> Wanted {
        let mut wanted = Wanted::default();
        for entry in self.entries.iter().filter(|entry| entry.tenant == tenant) {
            let only = entry.only.as_ref();
            if only.is_none_or(|only| only.iter().any(|(known, _)| *known == stream)) {
                wanted.subjects.extend(&entry.subjects);
                wanted.tokens.extend(entry.tokens.iter().cloned());
            }
        }
        wanted
    }
}

/// The pseudonym tokens in a text, as they stand there. A mark (`‹email›`, `‹card:*1111›`) is none: it stands for many.
pub(crate) fn tokens_in(text: &[u8]) -> impl Iterator<Item = &str> {
    memchr::memmem::find_iter(text, OPENING).filter_map(|at| {
        let rest = text.get(at..)?;
        let end = memchr::memmem::find(rest.get(..LONGEST.min(rest.len()))?, CLOSING)?;
        let (_, word) = std::str::from_utf8(rest.get(OPENING.len()..end)?).ok()?.split_once(':')?;
        let is_token = word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        std::str::from_utf8(rest.get(..end + CLOSING.len())?).ok().filter(|_| is_token)
    })
}

const OPENING: &[u8] = "\u{2039}".as_bytes();
const CLOSING: &[u8] = "\u{203A}".as_bytes();
/// Longest token, in bytes: 64 of the class and 64 of the word, with colon and marks.
const LONGEST: usize = 144;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(order: &str, only: Option<Vec<(StreamId, Option<ShardId>)>>) -> Suppressed {
        Suppressed {
            order: order.into(),
            tenant: TenantId(1),
            subjects: vec![7],
            tokens: vec!["‹email:aaa›".into()],
            only,
            until: Timestamp(100),
            is_purged: false,
        }
    }

    #[test]
    fn an_order_for_one_stream_concerns_its_shard_and_no_other() {
        let list = Suppression::default();
        assert_eq!(list.now().version(), 0);
        list.add(&entry("a", Some(vec![(StreamId(3), Some(ShardId(30)))])));
        let now = list.now();
        assert_eq!(now.version(), 1);
        assert!(now.of_shard(ShardId(30), Scope::Open).subjects.contains(&7));
        assert!(now.of_shard(ShardId(31), Scope::Open).is_empty());
        assert!(!now.of_stream(TenantId(1), StreamId(3)).is_empty());
        assert!(now.of_stream(TenantId(1), StreamId(4)).is_empty());
        assert!(now.of_stream(TenantId(2), StreamId(3)).is_empty(), "another tenant's");
    }

    #[test]
    fn a_purged_order_still_meets_what_comes_back_until_its_time_is_over() {
        let list = Suppression::default();
        list.add(&entry("a", None));
        list.purged("a");
        let now = list.now();
        assert!(now.of_shard(ShardId(1), Scope::Open).is_empty());
        assert!(!now.of_shard(ShardId(1), Scope::All).is_empty());
        assert!(!now.of_stream(TenantId(1), StreamId(1)).is_empty());
        list.expire(Timestamp(99));
        assert!(!list.now().of_shard(ShardId(1), Scope::All).is_empty());
        list.expire(Timestamp(100));
        assert!(list.now().of_shard(ShardId(1), Scope::All).is_empty());
    }

    #[test]
    fn an_order_that_is_not_purged_never_expires() {
        let list = Suppression::default();
        list.add(&entry("a", None));
        list.expire(Timestamp(i64::MAX));
        assert!(!list.now().of_shard(ShardId(1), Scope::Open).is_empty());
    }

    #[test]
    fn tokens_are_seen_wherever_they_stand_and_whole() {
        let text = "{\"a\":\"x‹email:aaa›y‹ip:b›\",\"‹email:cc›\":\"‹email:open\"}";
        let found: Vec<_> = tokens_in(text.as_bytes()).collect();
        assert_eq!(found, ["‹email:aaa›", "‹ip:b›", "‹email:cc›"]);
        let list = Suppression::default();
        list.add(&entry("a", None));
        let wanted = list.now().of_shard(ShardId(1), Scope::Open);
        assert!(wanted.stands_in(text.as_bytes()));
        assert!(!wanted.stands_in("‹email:aaab›".as_bytes()));
        assert_eq!(tokens_in("‹email› ‹card:*1111› ‹subject:*_nna›".as_bytes()).count(), 0, "marks are of many");
    }
}
