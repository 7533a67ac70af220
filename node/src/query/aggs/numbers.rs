//! Numbers that a metric saw: count, sum, ends, distinct values, and a sketch for percentiles.

use std::collections::{BTreeMap, HashSet};

use super::collect::{BUCKET_BYTES, DISTINCT_BYTES};
use crate::query::visit::Budget;

/// Numbers seen by a metric.
#[derive(Clone)]
pub(super) struct Numbers {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) distinct: HashSet<u64>,
    /// Whether room was taken for it.
    is_held: bool,
    /// Counts by power of [`GAMMA`], negative numbers below 0.
    sketch: BTreeMap<i32, u64>,
}

impl Default for Numbers {
    fn default() -> Self {
        let (distinct, sketch) = (HashSet::new(), BTreeMap::new());
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, distinct, is_held: false, sketch }
    }
}

/// Percentiles are right to half a percent.
const GAMMA: f64 = 1.01;
const ONE: i32 = 100_000;

impl Numbers {
    /// For a bucket that room was taken for.
    pub(super) fn held() -> Self {
        Self { is_held: true, ..Self::default() }
    }

    /// Takes a number in; whether it took room.
    pub(super) fn add(&mut self, number: f64, keeps_sketch: bool) -> bool {
        self.count += 1;
        self.sum += number;
        self.min = self.min.min(number);
        self.max = self.max.max(number);
        if !keeps_sketch {
            return false;
        }
        #[allow(clippy::cast_possible_truncation, reason = "the power of a finite number fits")]
        let power = if number == 0.0 { 0 } else { (number.abs().ln() / GAMMA.ln()).ceil() as i32 + ONE };
        let steps = self.sketch.len();
        *self.sketch.entry(if number < 0.0 { -power } else { power }).or_default() += 1;
        self.sketch.len() > steps
    }

    /// Takes the numbers of another stretch in; the room of what both had is given back.
    pub(super) fn merge(&mut self, other: Self, budget: &Budget) {
        let both = self.parts() + other.parts();
        if self.is_held && other.is_held {
            budget.give_back(BUCKET_BYTES);
        }
        self.is_held |= other.is_held;
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.distinct.extend(other.distinct);
        for (power, count) in other.sketch {
            *self.sketch.entry(power).or_default() += count;
        }
        budget.give_back((both - self.parts()) * DISTINCT_BYTES);
    }

    /// Distinct values and steps of the sketch.
    fn parts(&self) -> usize {
        self.distinct.len() + self.sketch.len()
    }

    /// The percentile, or `None` where nothing was seen.
    pub(super) fn percentile(&self, percent: f64) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        #[allow(clippy::cast_precision_loss, reason = "a rank")]
        let rank = percent / 100.0 * last as f64;
        let mut seen = 0_u64;
        for (power, count) in &self.sketch {
            seen += count;
            #[allow(clippy::cast_precision_loss, reason = "a rank")]
            if seen as f64 > rank {
                let size = match power {
                    0 => 0.0,
                    _ => 2.0 * GAMMA.powi(power.abs() - ONE) / (GAMMA + 1.0),
                };
                let number = if *power < 0 { -size } else { size };
                return Some(number.clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }
}
