//! A number of places that threads take and give back, and a thread that gives its place to others while it waits for bytes: of many
//! threads that search segments in a bucket nearly all wait, and only few may compute.
//!
//! Nobody waits for a place longer than there is time for what is done in it. Knows not what that is.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// So many places: either all who wait for some compute in one, or nobody computes in them.
pub(crate) struct Places {
    most: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

thread_local! {
    /// Where the place belongs to in which this thread computes, and until when it may.
    static COMPUTES_IN: RefCell<Option<(Arc<Places>, Instant)>> = const { RefCell::new(None) };
}

/// Places that are taken until this is dropped.
pub(crate) struct Taken<'a> {
    places: &'a Places,
    count: u64,
}

/// The place in which this thread computes.
struct Computing;

impl Places {
    pub(crate) const fn of(most: u64) -> Self {
        Self { most, free: Mutex::new(most), freed: Condvar::new() }
    }

    /// Takes places once so many are free; where there are fewer in all, all of them. `None` where they are not in time.
    pub(crate) fn take(&self, count: u64, until: Instant) -> Option<Taken<'_>> {
        let count = count.min(self.most);
        // Made only where they were taken: it gives them back.
        if self.acquire(count, until) { Some(Taken { places: self, count }) } else { None }
    }

    /// Takes at most so many, and at most half of what is free, so that whoever comes next finds some; maybe none.
    pub(crate) fn take_some(&self, most: u64) -> Taken<'_> {
        let mut free = self.free.lock();
        let count = most.min(free.div_ceil(2));
        *free -= count;
        Taken { places: self, count }
    }

    /// Computes in one place, but for what is done in [`waiting`]. `None` where none is free in time.
    pub(crate) fn computing<T>(self: &Arc<Self>, until: Instant, work: impl FnOnce() -> T) -> Option<T> {
        if !self.acquire(1, until) {
            return None;
        }
        COMPUTES_IN.set(Some((Arc::clone(self), until)));
        let _computing = Computing;
        Some(work())
    }

    /// Whether so many were free in time.
    fn acquire(&self, count: u64, until: Instant) -> bool {
        let mut free = self.free.lock();
        self.freed.wait_while_until(&mut free, |free| *free < count, until);
        let is_free = *free >= count;
        if is_free {
            *free -= count;
        }
        is_free
    }

    fn give_back(&self, count: u64) {
        *self.free.lock() += count;
        // Who has waited longest may want more than this, and another one may not.
        self.freed.notify_all();
    }

    /// Where whoever waits wants one.
    fn leave(&self) {
        *self.free.lock() += 1;
        self.freed.notify_one();
    }
}

impl Taken<'_> {
    /// How many.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.places.give_back(self.count);
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        if let Some((places, _)) = COMPUTES_IN.take() {
            places.leave();
        }
    }
}

/// Does what waits and hardly computes: whoever else wants to compute has this thread's place meanwhile.
///
/// # Errors
/// Those of the work; [`io::ErrorKind::TimedOut`] where this thread has no place again in time. It computes in none then, and is to end.
pub(crate) fn waiting<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some((places, until)) = COMPUTES_IN.take() else { return work() };
    places.leave();
    let done = work();
    if !places.acquire(1, until) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    COMPUTES_IN.set(Some((places, until)));
    done
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn all_wait_together_and_no_more_compute_than_may() {
        let (places, all) = (Arc::new(Places::of(2)), Barrier::new(8));
        let (computing, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let compute = || {
            most.fetch_max(computing.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            computing.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let done = places.computing(late(), || {
                            compute();
                            // Nobody comes further until all eight are here, though there are two places.
                            assert!(waiting(|| Ok(all.wait())).is_ok());
                            compute();
                        });
                        assert!(done.is_some());
                    }
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(*places.free.lock(), 2, "all of them were given back");
    }

    #[test]
    fn a_place_is_given_back_by_whoever_panics() {
        let places = Arc::new(Places::of(1));
        for is_waiting in [false, true] {
            let waits = || waiting(|| -> io::Result<()> { panic!("there") });
            let ends = || places.computing(late(), || if is_waiting { waits() } else { panic!("here") });
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(ends)).is_err());
            assert_eq!(*places.free.lock(), 1);
        }
    }

    #[test]
    fn nobody_takes_all_and_too_much_is_all_there_is() {
        let places = Places::of(8);
        let first = places.take_some(100);
        let second = places.take_some(100);
        let third = places.take_some(1);
        assert_eq!((first.count(), second.count(), third.count()), (4, 2, 1));
        assert_eq!((places.take_some(9).count(), places.take_some(0).count()), (1, 0));
        drop((first, second, third));
        assert_eq!(places.take(1_000, late()).unwrap().count(), 8);
        assert_eq!(*places.free.lock(), 8);
    }

    #[test]
    fn nobody_waits_longer_than_there_is_time_and_what_was_not_taken_stays_free() {
        let places = Arc::new(Places::of(2));
        let taken = places.take(1, late()).unwrap();
        let soon = || Instant::now() + Duration::from_millis(20);
        assert!(places.take(2, soon()).is_none());
        let other = places.take(1, soon()).unwrap();
        assert!(places.computing(soon(), || panic!("in which place?")).is_none());
        drop(other);
        // Somebody has its place while it waits, and does not give it back before its time is up.
        let (mut other, mut outcome) = (None, None);
        places.computing(soon(), || {
            outcome = Some(waiting(|| {
                other = places.take(1, late());
                Ok(())
            }));
        });
        assert_eq!(outcome.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(*places.free.lock(), 0, "it gave nothing back that it did not have");
        drop((taken, other));
        assert_eq!(places.computing(soon(), || 7), Some(7));
    }
}
