//! Segments in the bucket searched beside each other: on each of them a question waits several times for bytes, so that many are
//! searched at once, each on a thread of its own, while few threads compute.
//!
//! Bounded for all questions of a node together: threads, records of the segments that are open in them, and threads that compute. Every
//! question has at least the thread that it came on, so none waits for another's threads; segments of many
//! records may wait for each other.

use std::panic::resume_unwind;
use std::sync::Arc;

use parking_lot::Mutex;

use super::QueryError;
use super::visit::Budget;
use crate::limits::{COLD_COMPUTING, COLD_RECORDS_AT_ONCE, COLD_THREADS};
use crate::segment::places::Places;

/// What all questions of a node share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Beside(Arc<Shared>);

struct Shared {
    threads: Places,
    records: Places,
    computing: Arc<Places>,
}

impl Default for Beside {
    fn default() -> Self {
        let computing = Arc::new(Places::of(COLD_COMPUTING));
        Self(Arc::new(Shared {
            threads: Places::of(COLD_THREADS),
            records: Places::of(COLD_RECORDS_AT_ONCE),
            computing,
        }))
    }
}

impl Beside {
    /// Without other threads.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        let computing = Arc::new(Places::of(1));
        Self(Arc::new(Shared { threads: Places::of(0), records: Places::of(1), computing }))
    }

    /// Does the work for each item, begun in their order, on this thread and others; on at most `most`
    /// together; `records` says how many records there are in the segment that an item opens. Results are in the order of the items. The first failure ends it,
    /// and so does the end of the time, also of one that still waits for others.
    pub(super) fn each<I: Send, T: Send>(
        &self,
        items: Vec<I>,
        most: usize,
        budget: &Budget,
        records: impl Fn(&I) -> u32 + Sync,
        work: impl Fn(I) -> Result<T, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let others = self.0.threads.take_some(items.len().min(most).saturating_sub(1) as u64);
        let left = Mutex::new(items.into_iter().enumerate());
        let run = || {
            let mut done = Vec::new();
            loop {
                let Some((number, item)) = left.lock().next() else { return Ok(done) };
                let room = self.0.records.take(records(&item).into(), budget.deadline);
                let result = room.and_then(|_room| self.0.computing.computing(budget.deadline, || work(item)));
                match result.unwrap_or(Err(QueryError::Deadline)) {
                    Ok(result) => done.push((number, result)),
                    Err(error) => {
                        left.lock().by_ref().for_each(drop);
                        // What failed because the time was up says something else of itself, or nothing.
                        return Err(budget.check().err().unwrap_or(error));
                    }
                }
            }
        };
        let parts = std::thread::scope(|scope| {
            let name = || std::thread::Builder::new().name("cold".to_owned());
            // Where the machine gives no thread there is one less.
            let others: Vec<_> = (0..others.count()).filter_map(|_| name().spawn_scoped(scope, run).ok()).collect();
            let mut parts = vec![run()];
            for other in others {
                parts.push(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            parts
        });
        let mut all = Vec::new();
        for part in parts {
            all.extend(part?);
        }
        all.sort_by_key(|(number, _)| *number);
        Ok(all.into_iter().map(|(_, result)| result).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::segment::places::waiting;

    #[allow(clippy::unnecessary_wraps, reason = "what waits may fail")]
    fn pause() -> std::io::Result<()> {
        std::thread::yield_now();
        Ok(())
    }

    fn budget() -> Budget {
        Budget::until(Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn items_wait_together_and_results_keep_their_order() {
        let (beside, all) = (Beside::default(), Barrier::new(16));
        let work = |item: usize| {
            assert!(waiting(|| Ok(all.wait())).is_ok());
            Ok(item * 2)
        };
        let done = beside.each((0..48).collect(), usize::MAX, &budget(), |_| 1, work).unwrap();
        assert_eq!(done, (0..48).map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(beside.each(Vec::<u8>::new(), usize::MAX, &budget(), |_| 1, |_| Ok(())).unwrap(), Vec::<()>::new());
    }

    #[test]
    fn no_more_are_done_together_than_may_be() {
        let (beside, open, most) = (Beside::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_| {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            assert!(waiting(pause).is_ok());
            open.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        beside.each((0..200).collect::<Vec<u32>>(), 3, &budget(), |_| 1, work).unwrap();
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn segments_of_many_records_are_not_open_beside_each_other() {
        let (beside, open, most) = (Beside::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let half = u32::try_from(COLD_RECORDS_AT_ONCE / 2).unwrap();
        let work = |_| {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            assert!(waiting(pause).is_ok());
            open.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        beside.each((0..100).collect(), usize::MAX, &budget(), |_| half, work).unwrap();
        assert!(most.load(Ordering::SeqCst) <= 2);
        beside.each((0..100).collect(), usize::MAX, &budget(), |_| u32::MAX, work).unwrap();
    }

    #[test]
    fn a_failure_ends_it_and_nothing_stays_taken() {
        let (beside, begun) = (Beside::default(), AtomicUsize::new(0));
        let work = |item: usize| {
            begun.fetch_add(1, Ordering::SeqCst);
            if item == 0 { Err(QueryError::Deadline) } else { Ok(()) }
        };
        assert!(matches!(
            beside.each((0..10_000).collect(), usize::MAX, &budget(), |_| 1, work),
            Err(QueryError::Deadline)
        ));
        begun.store(0, Ordering::SeqCst);
        assert!(Beside::alone().each((0..10).collect(), usize::MAX, &budget(), |_| 1, work).is_err());
        assert_eq!(begun.load(Ordering::SeqCst), 1, "without another thread it is done on this one, and ends at once");
        assert_eq!(beside.0.threads.take_some(COLD_THREADS).count(), COLD_THREADS / 2);
        let all = beside.0.records.take(COLD_RECORDS_AT_ONCE, Instant::now()).unwrap();
        assert_eq!(all.count(), COLD_RECORDS_AT_ONCE);
    }

    #[test]
    fn whoever_waits_for_others_longer_than_it_may_is_told_that_its_time_is_up() {
        let beside = Beside::default();
        let soon = || Budget::until(Instant::now() + Duration::from_millis(20));
        let never = |_: i32| -> Result<(), QueryError> { panic!("there is no place for it") };
        let ask = |budget: &Budget| beside.each(vec![1, 2, 3], usize::MAX, budget, |_| 1, never);
        let records = beside.0.records.take(COLD_RECORDS_AT_ONCE, Instant::now()).unwrap();
        assert!(matches!(ask(&soon()), Err(QueryError::Deadline)), "segments of others are open");
        drop(records);
        let computing = beside.0.computing.take(COLD_COMPUTING, Instant::now()).unwrap();
        assert!(matches!(ask(&soon()), Err(QueryError::Deadline)), "others compute");
        drop(computing);
        // A read that came back too late for a place, in the words of whoever read.
        let budget = soon();
        let late = |_| {
            while budget.check().is_ok() {
                std::thread::yield_now();
            }
            Err::<(), _>(QueryError::TooCostly)
        };
        assert!(matches!(beside.each(vec![1], usize::MAX, &budget, |_| 1, late), Err(QueryError::Deadline)));
        assert!(
            beside.each(vec![1, 2, 3], usize::MAX, &self::budget(), |_| 1, Ok).is_ok(),
            "all places were given back"
        );
    }
}
