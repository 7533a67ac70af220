//! Noise on what leaves a region: who counts in a cell, what a told number costs, and how far off it is (CBAP-1 rule R11).
//!
//! Part of a stream's policy, off unless an officer turns it on. With it a subject counts in at most [`CELLS_PER_SUBJECT`]
//! cells of a table and day and with a bounded number of records in each, every published cell is moved once by a draw of
//! [`sampler`], and every table of a day costs a share of the privacy budget. All of it is reckoned in whole numbers. Which
//! cells are published at all is not decided here: k decides it, before any noise, and the budget does not cover it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::leaf::{LeafCell, Threshold};
use crate::privacy::UnknownWord;
use sampler::Sampler;

pub mod sampler;

/// Most cells of one table and UTC day that a subject counts in. Source: CBAP-1 rule R11.
pub const CELLS_PER_SUBJECT: u32 = 16;
/// Largest loss of privacy of a subject of a tenant by one UTC day, in thousandths: an epsilon of 1. Source: CBAP-1 rule R11.
pub const MAX_EPSILON: u16 = 1_000;
/// Tables of one UTC day that the loss a stream's policy names is divided among: the total, and three sets of fields.
pub const TABLES_PER_DAY: u64 = 4;
/// Most records with which a subject may count in one cell.
pub const MAX_RECORDS: u16 = 1_000;
/// Seconds of a UTC day.
pub const DAY_S: i64 = 86_400;

/// The law that noise is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// The discrete Gaussian: the smaller error for the same loss.
    Gaussian,
    /// The discrete Laplace law.
    Laplace,
}

impl Mechanism {
    /// Its name in settings, commands and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Laplace => "laplace",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mechanism {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = [Self::Gaussian, Self::Laplace];
        known.into_iter().find(|law| law.as_str() == text).ok_or(UnknownWord::of("law of noise"))
    }
}

/// The noise of a stream, as its policy says it and as answers repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Noise {
    /// The law.
    pub mechanism: Mechanism,
    /// What a subject may lose by all tables of one UTC day together, in thousandths of epsilon, at a delta of 1e-6.
    pub epsilon: u16,
    /// With how many records a subject counts in one cell at most.
    pub records: u16,
}

impl Noise {
    /// Whether the numbers are within their bounds.
    pub const fn is_well_formed(&self) -> bool {
        1 <= self.epsilon && self.epsilon <= MAX_EPSILON && 1 <= self.records && self.records <= MAX_RECORDS
    }

    /// Whether nothing is told under this that `other` would not tell: the same law, and no larger a loss.
    pub fn is_within(&self, other: &Self) -> bool {
        self.mechanism == other.mechanism && self.epsilon <= other.epsilon && self.records <= other.records
    }

    /// What all tables of the stream and a day may cost.
    pub fn allowance(&self) -> Cost {
        Cost::of_epsilon(self.epsilon)
    }

    /// What one table of a day costs.
    pub fn cost(&self) -> Cost {
        Cost(self.allowance().0 / TABLES_PER_DAY)
    }

    /// The square of the law's scale at which a table of a day costs what it may, rounded up: the variance of the Gaussian, the
    /// square of the scale of the Laplace law.
    ///
    /// A subject changes at most [`CELLS_PER_SUBJECT`] cells by `records` each. Of the Gaussian that costs
    /// `cells * records^2 / (2 * scale^2)`; of the Laplace law, whose cells cost `records / scale` each, at most the same.
    pub fn scale_squared(&self) -> u64 {
        let reach = u128::from(CELLS_PER_SUBJECT) / 2 * u128::from(self.records).pow(2);
        let cost = u128::from(self.cost().0.max(1));
        u64::try_from((reach * u128::from(Cost::ONE)).div_ceil(cost)).unwrap_or(u64::MAX)
    }

    /// The standard deviation of one told number, in records, rounded up.
    pub fn deviation(&self) -> u64 {
        let variance = match self.mechanism {
            Mechanism::Gaussian => self.scale_squared(),
            Mechanism::Laplace => self.scale_squared().saturating_mul(2),
        };
        root_up(variance.into())
    }

    /// A number of records, moved by one draw at this scale. Less than nothing is told as nothing.
    ///
    /// # Errors
    /// What the source of randomness says, where it gives none: then nothing may be told.
    pub fn disturb<E, F>(&self, records: u64, scale_squared: u64, sampler: &mut Sampler<F>) -> Result<u64, E>
    where
        F: FnMut() -> Result<u64, E>,
    {
        let drawn = match self.mechanism {
            Mechanism::Gaussian => sampler.gaussian(scale_squared)?,
            Mechanism::Laplace => sampler.laplace(root_up(scale_squared.into()))?,
        };
        let moved = i128::from(records).saturating_add(drawn).max(0);
        Ok(u64::try_from(moved).unwrap_or(u64::MAX))
    }
}

/// A loss of privacy that adds up: zero-concentrated differential privacy, in millionths of a millionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cost(pub u64);

impl Cost {
    /// A cost of one.
    const ONE: u64 = 1_000_000_000_000;
    /// The natural logarithm of a million, in thousand-millionths, rounded up: of `1 / delta`.
    const LOG_ONE_BY_DELTA: u128 = 13_815_510_558;

    /// The largest cost whose loss is at most epsilon (in thousandths) at a delta of 1e-6, rounded down. A cost of `rho` loses
    /// `rho + 2 * sqrt(rho * ln(1 / delta))` at most, so it is the square of `sqrt(ln + epsilon) - sqrt(ln)`.
    pub fn of_epsilon(thousandths: u16) -> Self {
        // Roots are taken of thousand-millionths times 10^27, and so come out in parts of 10^18.
        let wide = 10_u128.pow(27);
        let with = (Self::LOG_ONE_BY_DELTA + u128::from(thousandths.min(MAX_EPSILON)) * 1_000_000) * wide;
        let root = with.isqrt().saturating_sub((Self::LOG_ONE_BY_DELTA * wide).isqrt() + 1);
        Self(u64::try_from(root.saturating_mul(root) / 10_u128.pow(24)).unwrap_or(0))
    }

    /// What the tables of one tenant and day may cost together, of all its streams.
    pub fn of_tenant() -> Self {
        Self::of_epsilon(MAX_EPSILON)
    }

    /// Both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// The UTC day of a leaf that begins at this second.
pub const fn day_of(start: i64) -> i64 {
    start.div_euclid(DAY_S)
}

/// Whether a subject counts in a leaf of a table at all. The leaves of a day lie in [`CELLS_PER_SUBJECT`] groups of neighbours,
/// and of each group every subject counts in one.
///
/// It depends on nothing but the subject's number, which is a keyed hash, the day and the group: so it is the same in every
/// table, on every node, after every restart and whatever came late, and a subject is never drawn a second time. Who lacks
/// the key cannot tell which leaf it is. A fresh draw each time would need a durable memory of every subject's day to keep
/// within the bound.
pub fn counts(subject: u64, start: i64, width: u32) -> bool {
    let (cells, leaves) = (i64::from(CELLS_PER_SUBJECT), DAY_S / i64::from(width.max(1)));
    let place = start.rem_euclid(DAY_S) / i64::from(width.max(1));
    let group = place * cells / leaves.max(1);
    let first = |group: i64| (group * leaves + cells - 1) / cells;
    let size = first(group + 1).saturating_sub(first(group)).max(1);
    let drawn = mix(mix(subject ^ mix(day_of(start).cast_unsigned())).wrapping_add(group.cast_unsigned()));
    (drawn % size.cast_unsigned()).cast_signed() == place - first(group)
}

/// The cells of one leaf with every subject in one of them, and with at most so many records. What belongs to no subject is
/// left out. The cells must know whose their records are: [`LeafCell::add_number`] with 1 for every record.
pub fn bound(cells: &[LeafCell], start: i64, noise: &Noise, threshold: &Threshold) -> Vec<LeafCell> {
    let mut chosen: BTreeMap<u64, (u64, usize, u64)> = BTreeMap::new();
    for (place, cell) in cells.iter().enumerate() {
        for (subject, records) in cell.numbers().into_iter().flat_map(|numbers| numbers.by()) {
            let rank = mix(mix(subject ^ mix(start.cast_unsigned())).wrapping_add(place as u64));
            let records = u64::try_from(records).unwrap_or(u64::MAX).min(noise.records.into());
            let found = chosen.entry(subject).or_insert((rank, place, records));
            if (rank, place) < (found.0, found.1) {
                *found = (rank, place, records);
            }
        }
    }
    let mut bounded = vec![LeafCell::default(); cells.len()];
    for (subject, (_, place, records)) in chosen {
        if let Some(cell) = bounded.get_mut(place) {
            (0..records).for_each(|_| cell.add(Some(subject), threshold));
        }
    }
    bounded
}

/// The smallest whole number whose square is not below.
fn root_up(square: u128) -> u64 {
    let root = square.isqrt();
    u64::try_from(root + u128::from(root * root < square)).unwrap_or(u64::MAX)
}

/// Spreads a number over all bits: one addition and three mixing steps. Source: SplitMix64 (Steele, Lea and Flood, 2014).
pub const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::ids::KThreshold;
    use crate::leaf::{Counted, LeafWidth};

    const GAUSSIAN: Noise = Noise { mechanism: Mechanism::Gaussian, epsilon: 1_000, records: 1 };

    fn loss(cost: f64) -> f64 {
        cost + 2.0 * (cost * 1e6_f64.ln()).sqrt()
    }

    #[test]
    fn what_a_day_may_cost_loses_no_more_than_epsilon_and_hardly_less() {
        for epsilon in [1, 10, 100, 250, 500, 1_000_u16] {
            let lost = loss(Cost::of_epsilon(epsilon).0 as f64 / 1e12);
            let wanted = f64::from(epsilon) / 1_000.0;
            assert!(lost <= wanted && lost > wanted * 0.999, "{epsilon}: {lost}");
        }
        assert_eq!(Cost::of_epsilon(u16::MAX), Cost::of_tenant(), "nobody may lose more than one");
        assert!(GAUSSIAN.allowance() == Cost::of_tenant() && GAUSSIAN.cost().0 * TABLES_PER_DAY <= Cost::of_tenant().0);
    }

    #[test]
    fn all_tables_of_a_day_together_cost_what_they_may() {
        for (epsilon, records) in [(1_000, 1), (500, 7), (1, 1_000), (10, 3)] {
            let noise = Noise { epsilon, records, ..GAUSSIAN };
            let scale = noise.scale_squared() as f64;
            let cost = 16.0 * f64::from(records).powi(2) / (2.0 * scale);
            assert!(cost * 1e12 <= noise.cost().0 as f64 * (1.0 + 1e-9), "{noise:?}");
            assert!(loss(cost * TABLES_PER_DAY as f64) <= f64::from(epsilon) / 1_000.0, "{noise:?}");
            let laplace = Noise { mechanism: Mechanism::Laplace, ..noise };
            let each = f64::from(records) / root_up(laplace.scale_squared().into()) as f64;
            assert!(16.0 * each.powi(2) / 2.0 <= cost * (1.0 + 1e-9), "{laplace:?}");
        }
        assert_eq!(GAUSSIAN.deviation(), 43);
    }

    #[test]
    fn a_subject_counts_in_sixteen_leaves_of_a_day_whatever_their_width() {
        for width in [LeafWidth::Minute, LeafWidth::FiveMinutes, LeafWidth::Hour].map(LeafWidth::seconds) {
            let mut filled = 0;
            for subject in 0..200_u64 {
                for day in [-1, 0, 20_000_i64] {
                    let starts = (0..DAY_S / i64::from(width)).map(|leaf| day * DAY_S + leaf * i64::from(width));
                    let leaves = starts.filter(|start| counts(subject, *start, width)).count();
                    assert_eq!(leaves, CELLS_PER_SUBJECT as usize, "subject {subject}, width {width}");
                }
                filled += usize::from(counts(subject, 0, width));
            }
            let share = 200 * 16 * width as usize / DAY_S as usize;
            assert!(filled < 200 && (width == 60 || filled.abs_diff(share) < 60), "{filled} of about {share}");
        }
    }

    #[test]
    fn in_a_leaf_a_subject_counts_in_one_cell_and_with_few_records() {
        let threshold = Threshold { k: KThreshold(NonZeroU32::MIN), counted: Counted::Subjects };
        let noise = Noise { records: 3, ..GAUSSIAN };
        let mut cells = vec![LeafCell::default(); 4];
        for (place, cell) in cells.iter_mut().enumerate() {
            for subject in 0..100_u64 {
                for _ in 0..=place {
                    cell.add(Some(subject), &threshold);
                    cell.add_number(1, Some(subject));
                }
            }
            cell.add(None, &threshold);
            cell.add_number(1, None);
        }
        let bounded = bound(&cells, 600, &noise, &threshold);
        let records = bounded.iter().map(|cell| cell.records().0).collect::<Vec<_>>();
        let subjects: Vec<u64> = (1..).zip(&records).map(|(most, records)| records / most.min(3)).collect();
        assert_eq!(subjects.iter().sum::<u64>(), 100, "each once: {records:?}");
        assert!(subjects.iter().all(|subjects| (8..50).contains(subjects)), "and spread over the cells: {subjects:?}");
        let again = bound(&cells, 600, &noise, &threshold);
        assert_eq!(records, again.iter().map(|cell| cell.records().0).collect::<Vec<_>>());
    }

    #[test]
    fn only_the_same_law_at_no_larger_a_loss_is_within() {
        let less = Noise { epsilon: 999, ..GAUSSIAN };
        let laplace = Noise { mechanism: Mechanism::Laplace, ..less };
        let more = Noise { records: 2, ..GAUSSIAN };
        assert!(less.is_within(&GAUSSIAN) && GAUSSIAN.is_within(&more) && GAUSSIAN.is_within(&GAUSSIAN));
        assert!(!GAUSSIAN.is_within(&less) && !laplace.is_within(&GAUSSIAN) && !more.is_within(&GAUSSIAN));
        let of = |epsilon, records| Noise { epsilon, records, ..GAUSSIAN };
        assert!(of(1, 1).is_well_formed() && of(1_000, 1_000).is_well_formed());
        assert!(![of(0, 1), of(1_001, 1), of(1, 0), of(1, 1_001)].iter().any(Noise::is_well_formed));
    }
}
