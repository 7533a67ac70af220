//! A clock that is turned by hand, one for each life, and every processor with lives of its own.
//!
//! The log of a node is the real one on a real file, written by a thread; so the clock goes on a few milliseconds at a time, each
//! after a moment of real time in which nobody waits for a disk, and a seed fixes what is done and at which step, not every
//! interleaving.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use domicile_meta::group::Group;
use parking_lot::Mutex;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::time::advance;

/// How far the clock is turned at once, in milliseconds: a tenth of a heartbeat.
const TURN_MS: u64 = 10;

thread_local! {
    /// Whose disks the clock of this thread waits for; none where it is not turned.
    static WAITED_FOR: RefCell<Option<Vec<Group>>> = const { RefCell::new(None) };
}

/// Has the clock of this thread stand while this part of a group waits for its disk.
pub(crate) fn wait_for_disk_of(group: &Group) {
    WAITED_FOR.with_borrow_mut(|waited| waited.iter_mut().for_each(|waited| waited.push(group.clone())));
}

/// Seeds of one run, from `DOMICILE_SIMULATION_SEEDS`; as many as a check runs unless somebody asks for others.
pub(crate) fn seeds(usual: u64) -> Range<u64> {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let first = number("DOMICILE_SEED", 1);
    first..first + number("DOMICILE_SIMULATION_SEEDS", usual)
}

/// Lives all seeds, on each processor one after the other.
pub(crate) fn on_every_processor(seeds: Range<u64>, life: impl Fn(u64) + Sync) {
    let (left, places, life) = (Mutex::new(seeds), sched_getaffinity(None).unwrap(), &life);
    std::thread::scope(|scope| {
        for place in (0..CpuSet::MAX_CPU).filter(|place| places.is_set(*place)) {
            let left = &left;
            scope.spawn(move || {
                stay_at(place);
                while let Some(seed) = { left.lock().next() } {
                    life(seed);
                }
            });
        }
    });
}

/// Has this thread, and what it starts from now on, live on one processor alone; for a life that is not one of many.
pub(crate) fn on_one_processor() {
    let places = sched_getaffinity(None).unwrap();
    stay_at((0..CpuSet::MAX_CPU).find(|place| places.is_set(*place)).unwrap());
}

/// The clock and all who write live on one processor: where the machine takes it away from them, it stands for all. Turned on
/// another one, it would go on for hours while nobody can answer.
fn stay_at(place: usize) {
    let mut here = CpuSet::new();
    here.set(place);
    sched_setaffinity(None, &here).unwrap();
}

/// Lives one life on a clock of its own.
pub(crate) fn on_a_turned_clock<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let _waiting = Waiting::begin();
        tokio::select! {
            lived = life => lived,
            () = turn() => unreachable!("the clock is turned for ever"),
        }
    })
}

/// While it lives, the clock of this thread waits for disks. Ended with the life, also one that panics: a group outlives no runtime.
struct Waiting;

impl Waiting {
    fn begin() -> Self {
        WAITED_FOR.set(Some(Vec::new()));
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITED_FOR.set(None);
    }
}

/// Turns the clock, and leaves the threads that write real files the time they need. While the sleep runs the clock does not
/// turn by itself.
async fn turn() {
    loop {
        let is_flushing = || WAITED_FOR.with_borrow(|waited| waited.iter().flatten().any(|group| group.is_flushing()));
        loop {
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(500))).await.unwrap();
            if !is_flushing() {
                break;
            }
        }
        advance(Duration::from_millis(TURN_MS)).await;
    }
}
