//! A number of places that threads take and give back, and a thread that gives its place to others while it waits for bytes: of many
//! threads that search segments in a bucket nearly all wait, and only few may compute.
//!
//! Knows not what is done in a place.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// So many places: either all who wait for some compute in one, or nobody computes in them.
pub(crate) struct Places {
    most: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

thread_local! {
    /// Where the place belongs to in which this thread computes.
    static COMPUTES_IN: RefCell<Option<Arc<Places>>> = const { RefCell::new(None) };
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

    /// Takes places once so many are free; where there are fewer in all, all of them.
    pub(crate) fn take(&self, count: u64) -> Taken<'_> {
        let count = count.min(self.most);
        self.acquire(count);
        Taken { places: self, count }
    }

    /// Takes at most so many, and at most half of what is free, so that whoever comes next finds some; maybe none.
    pub(crate) fn take_some(&self, most: u64) -> Taken<'_> {
        let mut free = self.free.lock();
        let count = most.min(free.div_ceil(2));
        *free -= count;
        Taken { places: self, count }
    }

    /// Computes in one place, but for what is done in [`waiting`].
    pub(crate) fn computing<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        self.acquire(1);
        COMPUTES_IN.set(Some(Arc::clone(self)));
        let _computing = Computing;
        work()
    }

    fn acquire(&self, count: u64) {
        let mut free = self.free.lock();
        self.freed.wait_while(&mut free, |free| *free < count);
        *free -= count;
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
        if let Some(places) = COMPUTES_IN.take() {
            places.leave();
        }
    }
}

/// Does what waits and hardly computes: whoever else wants to compute has this thread's place meanwhile.
pub(crate) fn waiting<T>(work: impl FnOnce() -> T) -> T {
    let Some(places) = COMPUTES_IN.take() else { return work() };
    places.leave();
    let done = work();
    places.acquire(1);
    COMPUTES_IN.set(Some(places));
    done
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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
                        places.computing(|| {
                            compute();
                            // Nobody comes further until all eight are here, though there are two places.
                            waiting(|| all.wait());
                            compute();
                        });
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
            let ends = || places.computing(|| if is_waiting { waiting(|| panic!("there")) } else { panic!("here") });
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
        assert_eq!(places.take(1_000).count(), 8);
        assert_eq!(*places.free.lock(), 8);
    }
}
