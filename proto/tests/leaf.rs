//! The law of suppression: whoever has all tables of a leaf, and can solve equations, learns nothing about fewer than k.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::num::NonZeroU32;

// cargo-bolero builds every test of the package with hooks that bolero alone resolves.
use bolero as _;
use domicile_proto::ids::KThreshold;
use domicile_proto::leaf::{Counted, LeafCell, MAX_LEAF_CELLS, Table, Tally, Threshold};
use domicile_proto::numbers::{self, Sums};
use proptest::prelude::*;

const K: u32 = 3;
const PRIME: i64 = 1_000_000_007;

/// A record: values of three fields, and its subject.
type Record = ([usize; 3], Option<u64>);

fn threshold(counted: Counted) -> Threshold {
    Threshold { k: KThreshold(NonZeroU32::new(K).unwrap()), counted }
}

/// Every set of at most two of the fields.
const SETS: [&[usize]; 7] = [&[], &[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]];

#[derive(Debug)]
struct Leaf {
    sizes: [usize; 3],
    records: Vec<Record>,
    threshold: Threshold,
}

impl Leaf {
    fn place(&self, set: &[usize], values: &[usize; 3]) -> usize {
        set.iter().fold(0, |place, field| place * self.sizes[*field] + values[*field])
    }

    fn dims(&self, set: &[usize]) -> Vec<usize> {
        set.iter().map(|field| self.sizes[*field]).collect()
    }

    fn table(&self, set: &[usize]) -> Table {
        let dims = self.dims(set);
        let mut cells = vec![LeafCell::default(); dims.iter().product()];
        for (values, subject) in &self.records {
            cells[self.place(set, values)].add(*subject, &self.threshold);
        }
        Table::judge(&dims, &cells, &self.threshold).unwrap()
    }

    /// The table of a set whose last field is the third, taken for a number; its last value is that of none.
    fn numbers(&self, set: &[usize]) -> (Table, Sums) {
        let dims = self.dims(set);
        let mut cells = vec![LeafCell::default(); dims.iter().product()];
        for (at, (values, subject)) in self.records.iter().enumerate() {
            let cell = &mut cells[self.place(set, values)];
            cell.add(*subject, &self.threshold);
            if values[2] + 1 < self.sizes[2] {
                let by = match self.threshold.counted {
                    Counted::Subjects => *subject,
                    Counted::Records => Some(at as u64),
                };
                cell.add_number(numbers::PARTS, by);
            }
        }
        numbers::judge(&dims, set.len() - 1, &cells, &self.threshold).unwrap()
    }

    /// Combinations of all three values.
    fn combinations(&self) -> Vec<[usize; 3]> {
        let [a, b, c] = self.sizes;
        (0..a * b * c).map(|n| [n / (b * c), n / c % b, n % c]).collect()
    }

    /// Which combinations a cell sums up.
    fn equation(&self, set: &[usize], place: usize) -> Vec<i64> {
        self.combinations().iter().map(|values| i64::from(self.place(set, values) == place)).collect()
    }

    /// Subjects in some cells of a table, or records where those are counted; and whether there is any record.
    fn size(&self, set: &[usize], places: &BTreeSet<usize>) -> (usize, bool) {
        let inside: Vec<_> = self.records.iter().filter(|(v, _)| places.contains(&self.place(set, v))).collect();
        let size = match self.threshold.counted {
            Counted::Subjects => inside.iter().filter_map(|(_, subject)| *subject).collect::<BTreeSet<_>>().len(),
            Counted::Records => inside.len(),
        };
        (size, !inside.is_empty())
    }

    fn is_small(&self, set: &[usize], places: &BTreeSet<usize>) -> bool {
        let (size, is_there) = self.size(set, places);
        is_there && size < K as usize
    }
}

/// What can be reckoned from published sums.
#[derive(Default)]
struct Solver(Vec<(usize, Vec<i64>)>);

impl Solver {
    fn reduce(&self, row: &mut [i64]) {
        for (lead, known) in &self.0 {
            let factor = row[*lead];
            if factor != 0 {
                row.iter_mut().zip(known).for_each(|(x, y)| *x = (*x - factor * y % PRIME).rem_euclid(PRIME));
            }
        }
    }

    fn learn(&mut self, mut row: Vec<i64>) {
        self.reduce(&mut row);
        let Some(lead) = row.iter().position(|x| *x != 0) else { return };
        let inverse = power(row[lead], PRIME - 2);
        row.iter_mut().for_each(|x| *x = *x * inverse % PRIME);
        self.0.push((lead, row));
    }

    fn knows(&self, mut row: Vec<i64>) -> bool {
        self.reduce(&mut row);
        row.iter().all(|x| *x == 0)
    }
}

fn power(base: i64, exponent: i64) -> i64 {
    if exponent == 0 {
        return 1;
    }
    let half = power(base * base % PRIME, exponent / 2);
    if exponent % 2 == 1 { half * base % PRIME } else { half }
}

fn nothing_small_can_be_reckoned(leaf: &Leaf, third_is_number: bool) -> Result<(), TestCaseError> {
    let mut solver = Solver::default();
    let mut tables: Vec<_> = SETS.iter().map(|set| leaf.table(set)).collect();
    for (set, table) in SETS.iter().zip(&mut tables).filter(|(set, _)| third_is_number && set.contains(&2)) {
        let (counts, sums) = leaf.numbers(set);
        *table = counts;
        // Every number is 1 here, so that a sum tells as much as a count: of the records that have a number.
        for (row, records, total) in sums.cells() {
            prop_assert_eq!(*records as i64, *total);
            let bounds = leaf.sizes[2];
            let mut sum = vec![0; leaf.combinations().len()];
            for bound in 0..bounds - 1 {
                let place = *row as usize * bounds + bound;
                sum.iter_mut().zip(leaf.equation(set, place)).for_each(|(x, y)| *x += y);
            }
            solver.learn(sum);
        }
    }
    if tables[0].cells().is_empty() {
        prop_assert!(tables.iter().all(|table| table.cells().is_empty()), "a leaf below k publishes nothing");
    }
    for (set, table) in SETS.iter().zip(&tables) {
        for (place, records) in table.cells() {
            let place = *place as usize;
            let count = leaf.records.iter().filter(|(values, _)| leaf.place(set, values) == place).count();
            prop_assert_eq!(*records as usize, count);
            prop_assert!(leaf.size(set, &[place].into()).0 >= K as usize, "published below k");
            solver.learn(leaf.equation(set, place));
        }
    }
    for (set, table) in SETS.iter().zip(&tables) {
        let len: usize = leaf.dims(set).iter().product();
        let told: BTreeSet<_> = table.cells().iter().map(|(place, _)| *place as usize).collect();
        let withheld: Vec<_> =
            (0..len).filter(|place| !told.contains(place) && leaf.size(set, &[*place].into()).1).collect();
        // Any few of the withheld cells together, as far as there are not too many ways to choose them.
        let most = if withheld.len() <= 11 { 1_u32 << withheld.len() } else { 0 };
        let chosen = |bits: u32| -> BTreeSet<usize> {
            withheld.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, place)| *place).collect()
        };
        let singles = withheld.iter().map(|place| BTreeSet::from([*place]));
        for places in singles.chain((1..most).map(chosen)) {
            if leaf.is_small(set, &places) {
                let mut sum = vec![0; leaf.combinations().len()];
                for place in &places {
                    sum.iter_mut().zip(leaf.equation(set, *place)).for_each(|(x, y)| *x += y);
                }
                prop_assert!(!solver.knows(sum), "cells {:?} of fields {:?} can be reckoned", places, set);
            }
        }
    }
    Ok(())
}

fn leaves() -> impl Strategy<Value = Leaf> {
    let sizes = [2..5_usize, 2..5_usize, 1..4_usize];
    (sizes, 0..5_u32, any::<bool>()).prop_flat_map(|(sizes, skew, by_records)| {
        // Skewed values give the sparse corners that suppression is about.
        let value = move |size: usize| (0..size, 0..size).prop_map(move |(a, b)| if skew > 1 { a.min(b) } else { a });
        let record = (value(sizes[0]), value(sizes[1]), value(sizes[2]), prop::option::weighted(0.95, 0..12_u64));
        let records = prop::collection::vec(record.prop_map(|(a, b, c, subject)| ([a, b, c], subject)), 0..60);
        records.prop_map(move |records| {
            let counted = if by_records { Counted::Records } else { Counted::Subjects };
            Leaf { sizes, records, threshold: threshold(counted) }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn no_group_below_k_can_be_reckoned_from_all_tables_together(leaf in leaves()) {
        nothing_small_can_be_reckoned(&leaf, false)?;
    }

    #[test]
    fn no_group_below_k_can_be_reckoned_from_counts_and_sums_of_numbers_together(mut leaf in leaves(), bounds in 1..4_usize) {
        leaf.sizes[2] = bounds + 1;
        leaf.records.iter_mut().enumerate().for_each(|(at, (values, _))| values[2] = (values[2] + at) % (bounds + 1));
        nothing_small_can_be_reckoned(&leaf, true)?;
    }

    /// Rule R8: neither a sum that is told nor what is left of a larger one is one person's.
    #[test]
    fn no_sum_of_one_person_can_be_reckoned(amounts in prop::collection::vec((0..3_usize, 0..9_u64, prop_oneof![1..20_i128, 1..2_000_i128]), 0..60)) {
        let threshold = threshold(Counted::Subjects);
        let mut cells = vec![LeafCell::default(); 6];
        for (row, subject, amount) in &amounts {
            cells[row * 2].add(Some(*subject), &threshold);
            cells[row * 2].add_number(amount * numbers::PARTS, Some(*subject));
        }
        let (_, sums) = numbers::judge(&[3, 2], 1, &cells, &threshold).unwrap();
        let of = |rows: &[usize]| {
            let mut by = std::collections::BTreeMap::<u64, i128>::new();
            amounts.iter().filter(|(row, ..)| rows.contains(row)).for_each(|(_, subject, amount)| *by.entry(*subject).or_default() += amount);
            let mut sizes: Vec<_> = by.into_values().collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes
        };
        let is_safe = |sizes: &[i128]| {
            let all: i128 = sizes.iter().sum();
            sizes.len() >= K as usize && sizes[0] * 100 <= all * 85 && (all - sizes[0] - sizes[1]) * 100 >= sizes[0] * 10
        };
        let told: Vec<usize> = sums.cells().iter().map(|(row, ..)| *row as usize).collect();
        for (row, _, total) in sums.cells() {
            let sizes = of(&[*row as usize]);
            prop_assert_eq!(i128::from(*total), sizes.iter().sum::<i128>());
            prop_assert!(is_safe(&sizes), "told: {:?}", sizes);
        }
        let rest: Vec<usize> = (0..3).filter(|row| !told.contains(row)).collect();
        prop_assert!(told.is_empty() || of(&rest).is_empty() || is_safe(&of(&rest)), "left over: {:?}", of(&rest));
    }

    #[test]
    fn the_order_of_records_makes_no_difference(leaf in leaves(), seed in any::<u64>()) {
        let mut other = leaf.records.clone();
        other.sort_by_key(|(values, subject)| (values.iter().sum::<usize>() as u64 ^ seed).wrapping_mul(seed | 1) ^ subject.unwrap_or(0));
        let shuffled = Leaf { sizes: leaf.sizes, records: other, threshold: leaf.threshold };
        for set in SETS {
            prop_assert_eq!(leaf.table(set), shuffled.table(set));
        }
    }
}

fn cells(subjects: &[&[u64]]) -> Vec<LeafCell> {
    let threshold = threshold(Counted::Subjects);
    let cell = |subjects: &&[u64]| {
        let mut cell = LeafCell::default();
        subjects.iter().for_each(|subject| cell.add(Some(*subject), &threshold));
        cell
    };
    subjects.iter().map(cell).collect()
}

fn published(dims: &[usize], subjects: &[&[u64]]) -> Vec<(u32, u64)> {
    Table::judge(dims, &cells(subjects), &threshold(Counted::Subjects)).unwrap().cells().to_vec()
}

#[test]
fn one_small_cell_takes_the_smallest_published_one_with_it() {
    assert_eq!(published(&[3], &[&[1, 2, 3, 4], &[1, 2, 3], &[9]]), [(0, 4)]);
    // Two small cells that are a group together need no third.
    assert_eq!(published(&[3], &[&[1, 2, 3], &[7, 8], &[9]]), [(0, 3)]);
    // The same two subjects twice are still two.
    assert_eq!(published(&[4], &[&[1, 2, 3], &[1, 2, 3, 4], &[8, 9], &[8, 9]]), [(1, 4)]);
}

#[test]
fn many_records_of_one_subject_are_one_subject() {
    let chatty = vec![7; 10_000];
    assert_eq!(published(&[], &[&chatty]), []);
    assert_eq!(published(&[2], &[&chatty, &[1, 2, 3]]), []);
    // Records without a subject fill no group.
    let mut cell = LeafCell::default();
    (0..100).for_each(|_| cell.add(None, &threshold(Counted::Subjects)));
    assert!(Table::judge(&[], &[cell], &threshold(Counted::Subjects)).unwrap().cells().is_empty());
}

#[test]
fn a_small_cell_of_two_fields_cannot_be_reckoned_along_either() {
    let many: &[u64] = &[1, 2, 3, 4];
    let more: &[u64] = &[1, 2, 3, 4, 5];
    let told = published(&[3, 3], &[&[1], many, more, many, more, more, more, more, more]);
    let told: Vec<_> = told.iter().map(|(place, _)| *place).collect();
    // The small one, one beside it, one below it, and the corner between: a block of two by two.
    assert_eq!(told, [2, 5, 6, 7, 8]);
}

#[test]
fn nothing_and_too_little_look_the_same() {
    let nothing = published(&[3], &[&[1, 2, 3], &[4, 5, 6, 7], &[]]);
    assert_eq!(nothing, [(0, 3), (1, 4)]);
    let table = Table::reopen(nothing, vec![]).unwrap();
    let mut tally = Tally::default();
    tally.add(&table, 0);
    assert_eq!((tally.records().0, tally.is_whole()), (3, true));
    tally.add(&table, 2);
    assert_eq!((tally.records().0, tally.is_whole()), (3, false));
}

#[test]
fn tables_out_of_bounds_are_refused() {
    let threshold = threshold(Counted::Records);
    let judge = |dims: &[usize], len: usize| Table::judge(dims, &vec![LeafCell::default(); len], &threshold).is_ok();
    assert!(judge(&[MAX_LEAF_CELLS], MAX_LEAF_CELLS) && judge(&[2, 3], 6) && judge(&[0], 0) && judge(&[2, 0], 0));
    assert!(!judge(&[MAX_LEAF_CELLS + 1], MAX_LEAF_CELLS + 1));
    assert!(!judge(&[2, 3], 5) && !judge(&[2, 2, 2], 8) && !judge(&[usize::MAX, 3], 5));
    assert!(
        Table::reopen(vec![(1, 5), (1, 5)], vec![]).is_none() && Table::reopen(vec![(2, 5), (1, 5)], vec![]).is_none()
    );
}
