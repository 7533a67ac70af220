//! What holds on each way from one region to another, and what happened to the datagrams on it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domicile_tests::cluster::fixture::Dice;
use serde::{Deserialize, Serialize};

/// Regions there are.
pub const REGIONS: usize = 3;

/// One direction between two regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Nothing passes.
    pub is_cut: bool,
    /// Milliseconds on the way.
    pub delay_ms: u64,
    /// Milliseconds more or less, drawn anew for each datagram; so they also overtake each other.
    pub jitter_ms: u64,
    /// Lost, of a million.
    pub loss_ppm: u64,
    /// Sent twice, of a million.
    pub twice_ppm: u64,
}

/// Counted since the beginning.
#[derive(Debug, Default)]
pub struct Counts {
    /// That arrived.
    pub passed: AtomicU64,
    /// That a cut swallowed.
    pub cut: AtomicU64,
    /// That were lost at random.
    pub lost: AtomicU64,
    /// That were late.
    pub delayed: AtomicU64,
}

/// All ways, and the dice that are thrown on them.
#[derive(Debug)]
pub struct Weather {
    ways: Mutex<[[Way; REGIONS]; REGIONS]>,
    /// Milliseconds on each way from one region to another when nothing is done to it.
    apart_ms: AtomicU64,
    dice: Mutex<u64>,
    /// What happened.
    pub counts: [[Counts; REGIONS]; REGIONS],
}

impl Weather {
    /// Fair weather.
    pub fn fair(seed: u64) -> Self {
        Self { ways: Mutex::default(), apart_ms: AtomicU64::new(0), dice: Mutex::new(seed), counts: Default::default() }
    }

    /// Fair weather again.
    pub fn clear(&self) {
        let delay_ms = self.apart_ms.load(Ordering::Relaxed);
        self.set_all(Way::default());
        for (from, to) in (0..REGIONS).flat_map(|from| (0..REGIONS).map(move |to| (from, to))) {
            self.set(from, to, |way| way.delay_ms = if from == to { 0 } else { delay_ms });
        }
    }

    /// Sets the regions so far apart, from now on and after every fault.
    pub fn set_apart(&self, round_trip: Duration) {
        self.apart_ms.store(u64::try_from(round_trip.as_millis() / 2).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.clear();
    }

    /// Changes one direction.
    pub fn set(&self, from: usize, to: usize, change: impl FnOnce(&mut Way)) {
        change(&mut self.ways.lock().unwrap()[from][to]);
    }

    /// Changes all directions.
    pub fn set_all(&self, way: Way) {
        *self.ways.lock().unwrap() = [[way; REGIONS]; REGIONS];
    }

    /// After which delays a datagram arrives: none when it is lost, two when it is doubled.
    pub fn fate(&self, from: usize, to: usize) -> Vec<Duration> {
        let way = self.ways.lock().unwrap()[from][to];
        let counts = &self.counts[from][to];
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        if way.is_cut {
            count(&counts.cut);
            return Vec::new();
        }
        if way == Way::default() {
            count(&counts.passed);
            return vec![Duration::ZERO];
        }
        let mut state = self.dice.lock().unwrap();
        *state = state.wrapping_add(1);
        let mut dice = Dice::new(*state);
        drop(state);
        if dice.below(1_000_000) < way.loss_ppm {
            count(&counts.lost);
            return Vec::new();
        }
        let copies = 1 + usize::from(dice.below(1_000_000) < way.twice_ppm);
        (0..copies)
            .map(|_| {
                let late = way.delay_ms + dice.below(2 * way.jitter_ms + 1);
                count(if way.delay_ms > 0 { &counts.delayed } else { &counts.passed });
                Duration::from_millis(late.saturating_sub(way.jitter_ms))
            })
            .collect()
    }

    /// What a fault would leave as its trace: datagrams cut, lost or delayed so far.
    pub fn traces(&self) -> u64 {
        let of = |counts: &Counts| {
            [&counts.cut, &counts.lost, &counts.delayed].iter().map(|one| one.load(Ordering::Relaxed)).sum::<u64>()
        };
        self.counts.iter().flatten().map(of).sum()
    }

    /// Datagrams that a cut swallowed.
    pub fn swallowed(&self) -> u64 {
        self.counts.iter().flatten().map(|counts| counts.cut.load(Ordering::Relaxed)).sum()
    }

    /// Datagrams that arrived.
    pub fn arrived(&self) -> u64 {
        let of = |counts: &Counts| counts.passed.load(Ordering::Relaxed) + counts.delayed.load(Ordering::Relaxed);
        self.counts.iter().flatten().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_has_its_own_weather_and_counts_what_it_does() {
        let weather = Weather::fair(1);
        weather.set(0, 1, |way| way.is_cut = true);
        assert!(weather.fate(0, 1).is_empty());
        assert_eq!(weather.fate(1, 0), [Duration::ZERO]);
        weather.set(1, 2, |way| *way = Way { delay_ms: 115, jitter_ms: 10, loss_ppm: 200_000, ..Way::default() });
        let fates: Vec<_> = (0..1_000).map(|_| weather.fate(1, 2)).collect();
        let lost = fates.iter().filter(|fate| fate.is_empty()).count();
        assert!((120..280).contains(&lost), "{lost} of 1,000 lost at 20 %");
        let late = fates.iter().flatten().map(Duration::as_millis);
        assert!(late.clone().all(|ms| (105..=125).contains(&ms)) && late.clone().min() != late.max());
        assert_eq!((weather.swallowed(), weather.traces()), (1, 1_001));
    }

    #[test]
    fn regions_stay_apart_after_a_fault_and_no_region_is_apart_from_itself() {
        let weather = Weather::fair(1);
        weather.set_apart(Duration::from_millis(230));
        weather.set_all(Way { is_cut: true, ..Way::default() });
        assert!(weather.fate(0, 2).is_empty());
        weather.clear();
        assert_eq!((weather.fate(0, 2), weather.fate(1, 1)), (vec![Duration::from_millis(115)], vec![Duration::ZERO]));
    }
}
