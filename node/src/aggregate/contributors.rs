//! Whose records a text question matched, kept so small that a day of questions fits into memory, and so that two such sets
//! can be told apart by how many subjects they differ (CBAP-1 rule R10). Never leaves the region.
//!
//! Subjects fall into buckets by their keyed hash; a bucket holds the sum of its members' hashes. Sets that differ by `n`
//! subjects differ in at most `n` buckets, so "fewer than k buckets differ" is true of every pair that is too near; where
//! two differing subjects share a bucket, a pair that is just far enough is refused as well. The same is kept of the records,
//! by bucket of their subject: a question that leaves out some records of one person is as near as one that leaves out the
//! person.

use std::collections::HashMap;

use domicile_proto::ids::TimeRange;
use domicile_proto::metadata::{Personal, Rows};
use domicile_proto::noise::mix;

use super::AggregateError;
use super::answer::{Asked, conditions};
use crate::limits::MAX_CONTRIBUTORS;
use crate::query::{Engine, Match, QueryError, SearchRequest, Sort, TrackTotal};
use crate::segment::Segment;

/// Buckets of each of the two sums.
const BUCKETS: usize = 256;

/// The set.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Contributors {
    subjects: Box<[u64; BUCKETS]>,
    records: Box<[u64; BUCKETS]>,
}

impl Default for Contributors {
    fn default() -> Self {
        Self { subjects: Box::new([0; BUCKETS]), records: Box::new([0; BUCKETS]) }
    }
}

impl Contributors {
    /// Adds a subject with the sum of its records' hashes. Each subject once.
    pub(crate) fn add(&mut self, subject: u64, records: u64) {
        let hash = mix(subject);
        let bucket = usize::try_from(hash % BUCKETS as u64).unwrap_or_default();
        for (sums, more) in [(&mut self.subjects, mix(hash)), (&mut self.records, mix(records))] {
            if let Some(sum) = sums.get_mut(bucket) {
                *sum = sum.wrapping_add(more);
            }
        }
    }

    /// Whether the two differ by somebody, and by fewer than `k`.
    pub(crate) fn is_too_near(&self, other: &Self, k: u32) -> bool {
        let differing = |a: &[u64; BUCKETS], b: &[u64; BUCKETS]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        let near = |number: usize| number > 0 && u32::try_from(number).is_ok_and(|number| number < k);
        near(differing(&self.subjects, &other.subjects)) || near(differing(&self.records, &other.records))
    }

    /// As it is kept on disk.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.subjects.iter().chain(self.records.iter()).flat_map(|sum| sum.to_be_bytes()).collect()
    }

    /// From what was kept; `None` where it is none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sums, []) = bytes.as_chunks::<8>() else { return None };
        let sums: Vec<u64> = sums.iter().map(|sum| u64::from_be_bytes(*sum)).collect();
        let (subjects, records) = sums.split_at_checked(BUCKETS)?;
        Some(Self { subjects: Box::new(subjects.try_into().ok()?), records: Box::new(records.try_into().ok()?) })
    }
}

/// The contributors of a text question over a range. Blocks and computes.
///
/// # Errors
/// [`AggregateError::Query`] where the records cannot be read in time, or are of too many subjects.
pub(super) fn contributors(
    engine: &Engine,
    segments: Vec<std::sync::Arc<Segment>>,
    asked: &Asked,
    range: TimeRange,
) -> Result<Contributors, AggregateError> {
    let request = SearchRequest {
        filter: conditions(asked),
        range,
        sort: Sort::Newest,
        size: 0,
        after: None,
        total: TrackTotal::No,
        budget: asked.budget.clone(),
    };
    let has_subjects = matches!(asked.stream.policy.personal, Personal::Subject(_));
    gather(engine, segments, &request, has_subjects).map_err(AggregateError::Query)
}

fn gather(
    engine: &Engine,
    segments: Vec<std::sync::Arc<Segment>>,
    request: &SearchRequest,
    has_subjects: bool,
) -> Result<Contributors, QueryError> {
    let hits = engine.search(request, segments, Rows::None)?;
    let parts = hits.matched(HashMap::new, |found: &mut HashMap<u64, u64>, one| note(found, one, has_subjects))?;
    let mut all: HashMap<u64, u64> = HashMap::new();
    for (subject, records) in parts.into_iter().flatten() {
        add(&mut all, subject, records)?;
    }
    let mut contributors = Contributors::default();
    all.into_iter().for_each(|(subject, records)| contributors.add(subject, records));
    Ok(contributors)
}

/// A record without a subject belongs to nobody; where the stream names no subject, each record is one.
fn note(found: &mut HashMap<u64, u64>, one: Match, has_subjects: bool) -> Result<(), QueryError> {
    let record = mix(mix(one.shard).wrapping_add(one.seq));
    match (has_subjects, one.subject) {
        (true, Some(subject)) => add(found, subject, record),
        (true, None) => Ok(()),
        (false, _) => add(found, record, record),
    }
}

fn add(found: &mut HashMap<u64, u64>, subject: u64, records: u64) -> Result<(), QueryError> {
    let sum = found.entry(subject).or_default();
    *sum = sum.wrapping_add(records);
    if found.len() > MAX_CONTRIBUTORS { Err(QueryError::TooCostly) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::index::builder::Layout;
    use crate::query::{Budget, Filter};
    use crate::segment::specimen::{durable, record, segment};

    fn of(members: &[(u64, u64)]) -> Contributors {
        let mut contributors = Contributors::default();
        members.iter().for_each(|(subject, records)| contributors.add(*subject, *records));
        contributors
    }

    proptest! {
        /// What the guard promises: no two sets that differ by 1 to k-1 subjects pass, however large they are.
        #[test]
        fn sets_that_differ_by_less_than_k_are_always_too_near(
            shared in prop::collection::btree_set(any::<u64>(), 0..400),
            own in prop::collection::btree_set(any::<u64>(), 1..30),
            k in 2..40_u32,
        ) {
            let own: Vec<u64> = own.difference(&shared).copied().collect();
            let shared: Vec<(u64, u64)> = shared.into_iter().map(|subject| (subject, 7)).collect();
            let more = [shared.clone(), own.iter().map(|subject| (*subject, 7)).collect()].concat();
            let (a, b) = (of(&shared), of(&more));
            if !own.is_empty() && own.len() < k as usize {
                prop_assert!(a.is_too_near(&b, k) && b.is_too_near(&a, k));
            }
            prop_assert!(!a.is_too_near(&a, k), "a set is not near itself: it is the same");
        }

        #[test]
        fn what_is_kept_is_read_again(members in prop::collection::vec(any::<(u64, u64)>(), 0..50)) {
            let contributors = of(&members);
            let bytes = contributors.to_bytes();
            prop_assert_eq!(bytes.len(), 2 * BUCKETS * 8);
            prop_assert!(Contributors::from_bytes(&bytes) == Some(contributors));
            prop_assert!(Contributors::from_bytes(&bytes[1..]).is_none());
        }
    }

    #[test]
    fn sets_that_differ_by_many_are_far_enough_and_records_of_few_are_not() {
        let some: Vec<(u64, u64)> = (0..100).map(|subject| (subject, 1)).collect();
        let more: Vec<(u64, u64)> = (0..120).map(|subject| (subject, 1)).collect();
        assert!(!of(&some).is_too_near(&of(&more), 5));
        let mut without_a_record = some.clone();
        without_a_record[3].1 = 2;
        assert!(of(&some).is_too_near(&of(&without_a_record), 5), "the same people, another record of one of them");
        assert!(
            !of(&some).is_too_near(&of(&without_a_record), 1),
            "a stream without personal data has nothing to guard"
        );
    }

    #[test]
    fn the_records_of_a_region_are_gathered_by_subject_whatever_their_segment() {
        let event = |word: &str| json!({"message": word});
        let layout = Layout::new();
        let first = vec![record(1, Some(1), event("a x")), record(2, Some(2), event("a")), record(3, None, event("a"))];
        let second = vec![record(4, Some(1), event("a")), record(5, Some(3), event("b"))];
        let segments = vec![segment(&layout, durable(1, 1, first)), segment(&layout, durable(1, 4, second))];
        let engine = Engine::new().unwrap();
        let gathered = |words: &str, has_subjects| {
            let request = SearchRequest {
                filter: Filter::Words { field: "message".to_owned(), text: words.to_owned(), every: true },
                range: TimeRange::ALL,
                sort: Sort::Newest,
                size: 0,
                after: None,
                total: TrackTotal::No,
                budget: Budget::until(Instant::now() + Duration::from_secs(60)),
            };
            gather(&engine, segments.clone(), &request, has_subjects).unwrap()
        };
        let whole = gathered("a", true);
        assert!(whole == gathered("a", true));
        assert!(whole.is_too_near(&gathered("a x", true), 2), "subject 1 lacks a record, subject 2 is gone");
        assert!(!whole.is_too_near(&gathered("b", true), 3), "three subjects differ");
        assert!(whole.is_too_near(&gathered("b", true), 4));
        assert!(gathered("none", true) == Contributors::default());
        assert!(gathered("a", false).is_too_near(&gathered("b", false), 6), "five records differ");
        assert!(!gathered("a", false).is_too_near(&gathered("b", false), 5));
    }

    #[test]
    fn more_contributors_than_are_kept_in_mind_are_too_costly() {
        let mut found: HashMap<u64, u64> = (0..MAX_CONTRIBUTORS as u64).map(|subject| (subject, 1)).collect();
        assert!(add(&mut found, 1, 1).is_ok(), "one of them again");
        assert!(matches!(add(&mut found, u64::MAX, 1), Err(QueryError::TooCostly)));
    }
}
