//! Numbers that a metric saw: count, sum, ends, distinct values, and a sketch for percentiles.

use std::collections::{BTreeMap, HashSet};

use super::collect::{BUCKET_BYTES, DISTINCT_BYTES};
use super::sum::Sum;
use crate::query::carry::{Reader, Writer};
use crate::query::visit::Budget;

/// Numbers seen by a metric.
#[derive(Clone)]
pub(super) struct Numbers {
    pub(super) count: u64,
    pub(super) sum: Sum,
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
        let (sum, distinct, sketch) = Default::default();
        Self { count: 0, sum, min: f64::INFINITY, max: f64::NEG_INFINITY, distinct, is_held: false, sketch }
    }
}

/// Percentiles are right to half a percent.
const GAMMA: f64 = 1.01;
const ONE: i32 = 100_000;

impl Numbers {
    /// The least that they take on their way to another node: whether there are any.
    pub(super) const LEAST_BYTES: usize = 1;

    /// Writes them; distinct values in their order, so that the same numbers are the same bytes.
    pub(super) fn write(&self, to: &mut Writer) {
        let is_anything = self.is_held || self.count > 0 || self.parts() > 0;
        to.option(is_anything.then_some(self), |to, numbers| {
            to.long(numbers.count);
            for parts in numbers.sum.parts() {
                to.count(parts.len());
                parts.iter().for_each(|part| to.long(part.to_bits()));
            }
            for number in [numbers.min, numbers.max] {
                to.long(number.to_bits());
            }
            let mut distinct: Vec<u64> = numbers.distinct.iter().copied().collect();
            distinct.sort_unstable();
            to.count(distinct.len());
            distinct.into_iter().for_each(|hash| to.long(hash));
            to.count(numbers.sketch.len());
            for (power, count) in &numbers.sketch {
                to.short(power.cast_unsigned());
                to.long(*count);
            }
        });
    }

    /// Reads them, and takes the room that they need.
    pub(super) fn read(from: &mut Reader<'_>, budget: &Budget) -> Option<Self> {
        let numbers = from.option(|from| {
            from.bears(budget.gather(BUCKET_BYTES))?;
            let count = from.long()?;
            let usual = from.list(8, |from| from.long().map(f64::from_bits))?;
            let large = from.list(8, |from| from.long().map(f64::from_bits))?;
            let sum = Sum::of_parts([usual, large])?;
            let mut number = || from.long().map(f64::from_bits);
            let (min, max) = (number()?, number()?);
            let distinct = from.list(8, |from| {
                from.bears(budget.gather(DISTINCT_BYTES))?;
                from.long()
            })?;
            let sketch = from.list(12, |from| {
                from.bears(budget.gather(DISTINCT_BYTES))?;
                Some((from.short()?.cast_signed(), from.long()?))
            })?;
            let rises = distinct.is_sorted_by(|a, b| a < b) && sketch.is_sorted_by(|(a, _), (b, _)| a < b);
            // What no number ever makes: percentiles are held between the least and the greatest.
            let is_odd = min.is_nan() || max.is_nan() || (count > 0 && min > max);
            let is_sound = rises && !is_odd && sketch.iter().all(|(power, _)| *power != i32::MIN);
            let (distinct, sketch) = (distinct.into_iter().collect(), sketch.into_iter().collect());
            is_sound.then_some(Self { count, sum, min, max, distinct, is_held: true, sketch })
        })?;
        Some(numbers.unwrap_or_default())
    }

    /// For a bucket that room was taken for.
    pub(super) fn held() -> Self {
        Self { is_held: true, ..Self::default() }
    }

    /// Takes a number in; whether it took room.
    pub(super) fn add(&mut self, number: f64, keeps_sketch: bool) -> bool {
        self.count += 1;
        self.sum.add(number);
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
        self.count = self.count.saturating_add(other.count);
        self.sum.merge(&other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.distinct.extend(other.distinct);
        for (power, count) in other.sketch {
            let mine = self.sketch.entry(power).or_default();
            *mine = mine.saturating_add(count);
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
            seen = seen.saturating_add(*count);
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
