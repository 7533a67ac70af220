//! Merging obeys its laws for every shape that may cross: associative, commutative, with `empty` as identity.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

// cargo-bolero builds every test of the package with hooks that bolero alone resolves.
use bolero as _;
use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::{DateGrid, Grid};
use domicile_proto::aggregate::histogram::FixedHistogram;
use domicile_proto::aggregate::scalars::{DistinctEstimate, Quantile};
use domicile_proto::aggregate::sum::{Sum, SumCell, SumLayout};
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::ids::{DictionaryId, FieldId, RecordCount, RegionNumber};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const FIELD: FieldId = FieldId(3);

fn cell() -> impl Strategy<Value = Cell> {
    let records = prop_oneof![0..1_000_u64, Just(u64::MAX), Just(u64::MAX - 1)];
    let withheld = prop_oneof![0..4_u16, Just(u16::MAX)];
    (records, withheld).prop_map(|(records, withheld)| Cell { records: RecordCount(records), withheld })
}

fn grid() -> Grid {
    Grid { first: -2, step: 60, len: 4 }
}

fn count() -> BoxedStrategy<Aggregate> {
    cell().prop_map(|cell| Aggregate::Count(Count { cell })).boxed()
}

fn date_grid() -> BoxedStrategy<Aggregate> {
    vec(cell(), 4).prop_map(|cells| Aggregate::DateGrid(DateGrid { grid: grid(), cells })).boxed()
}

fn terms() -> BoxedStrategy<Aggregate> {
    let cells = btree_map((1..9_u32).prop_map(DictionaryId), cell(), 0..6);
    let terms = |(cells, other): (std::collections::BTreeMap<_, _>, _)| Terms {
        field: FIELD,
        cells: cells.into_iter().collect(),
        other,
    };
    (cells, cell()).prop_map(terms).prop_map(Aggregate::Terms).boxed()
}

fn term_grid() -> BoxedStrategy<Aggregate> {
    let rows = btree_map((1..9_u32).prop_map(DictionaryId), vec(cell(), 4), 0..6);
    let grid = |(rows, other): (std::collections::BTreeMap<_, _>, _)| TermGrid {
        field: FIELD,
        grid: grid(),
        rows: rows.into_iter().collect(),
        other,
    };
    (rows, vec(cell(), 4)).prop_map(grid).prop_map(Aggregate::TermGrid).boxed()
}

fn sum() -> BoxedStrategy<Aggregate> {
    let total = prop_oneof![any::<i128>(), Just(i128::MAX), Just(i128::MIN)];
    let cell = (any::<u64>(), total, any::<u16>());
    let cell = || {
        cell.clone().prop_map(|(records, total, withheld)| SumCell { records: RecordCount(records), total, withheld })
    };
    let rows = btree_map((0..9_u32).prop_map(DictionaryId), vec(cell(), 4), 0..4);
    let sum = |(rows, other): (std::collections::BTreeMap<_, _>, _)| Sum {
        layout: sum_layout(FIELD),
        rows: rows.into_iter().collect(),
        other,
    };
    (rows, vec(cell(), 4)).prop_map(sum).prop_map(Aggregate::Sum).boxed()
}

fn sum_layout(field: FieldId) -> SumLayout {
    SumLayout { field, by: Some(FieldId(9)), grid: Some(grid()) }
}

fn histogram() -> BoxedStrategy<Aggregate> {
    vec(cell(), 4)
        .prop_map(|cells| Aggregate::FixedHistogram(FixedHistogram { field: FIELD, bounds: vec![-5, 0, 5], cells }))
        .boxed()
}

fn quantile() -> BoxedStrategy<Aggregate> {
    // Few numbers, so that regions clash now and then and the refusal is part of the law.
    let regions = btree_map((0..30_u16).prop_map(RegionNumber), any::<Option<i64>>(), 0..4);
    regions
        .prop_map(|regions| {
            Aggregate::Quantile(Quantile { field: FIELD, per_mille: 950, regions: regions.into_iter().collect() })
        })
        .boxed()
}

fn distinct() -> BoxedStrategy<Aggregate> {
    let regions = btree_map((0..30_u16).prop_map(RegionNumber), any::<Option<u64>>(), 0..4);
    regions
        .prop_map(|regions| {
            Aggregate::DistinctEstimate(DistinctEstimate { field: FIELD, regions: regions.into_iter().collect() })
        })
        .boxed()
}

fn empty_of(aggregate: &Aggregate) -> Aggregate {
    match aggregate {
        Aggregate::Count(_) => Aggregate::Count(Count::EMPTY),
        Aggregate::DateGrid(a) => Aggregate::DateGrid(DateGrid::empty(a.grid)),
        Aggregate::Terms(a) => Aggregate::Terms(Terms::empty(a.field)),
        Aggregate::TermGrid(a) => Aggregate::TermGrid(TermGrid::empty(a.field, a.grid)),
        Aggregate::Sum(a) => Aggregate::Sum(Sum::empty(a.layout)),
        Aggregate::FixedHistogram(a) => Aggregate::FixedHistogram(FixedHistogram::empty(a.field, a.bounds.clone())),
        Aggregate::Quantile(a) => Aggregate::Quantile(Quantile::empty(a.field, a.per_mille)),
        Aggregate::DistinctEstimate(a) => Aggregate::DistinctEstimate(DistinctEstimate::empty(a.field)),
    }
}

fn check(a: Aggregate, b: Aggregate, c: Aggregate) -> Result<(), TestCaseError> {
    for one in [&a, &b, &c] {
        prop_assert!(one.is_well_formed());
        prop_assert_eq!(one.clone().merge(empty_of(one)), Ok(one.clone()));
        prop_assert_eq!(empty_of(one).merge(one.clone()), Ok(one.clone()));
    }
    let merge = |x: &Aggregate, y: &Aggregate| x.clone().merge(y.clone()).ok();
    prop_assert_eq!(merge(&a, &b), merge(&b, &a));
    let left = merge(&a, &b).and_then(|ab| merge(&ab, &c));
    let right = merge(&b, &c).and_then(|bc| merge(&a, &bc));
    prop_assert_eq!(&left, &right);
    prop_assert!(left.is_none_or(|merged| merged.is_well_formed()));
    Ok(())
}

macro_rules! laws {
    ($($name:ident: $strategy:ident;)*) => {
        proptest! {
            $(#[test]
            fn $name(a in $strategy(), b in $strategy(), c in $strategy()) {
                check(a, b, c)?;
            })*
        }
    };
}

laws! {
    counts_merge_by_the_laws: count;
    date_grids_merge_by_the_laws: date_grid;
    terms_merge_by_the_laws: terms;
    term_grids_merge_by_the_laws: term_grid;
    sums_merge_by_the_laws: sum;
    histograms_merge_by_the_laws: histogram;
    quantiles_merge_by_the_laws: quantile;
    distinct_estimates_merge_by_the_laws: distinct;
}

proptest! {
    #[test]
    fn different_shapes_never_merge(a in count(), b in date_grid(), c in terms(), d in sum()) {
        for (x, y) in [(&a, &b), (&b, &c), (&c, &d), (&d, &a)] {
            prop_assert!(x.clone().merge(y.clone()).is_err());
        }
        let other_field = Aggregate::Sum(Sum::empty(sum_layout(FieldId(4))));
        prop_assert!(d.merge(other_field).is_err());
    }

    #[test]
    fn merging_adds_what_is_published_and_counts_who_withheld(a in 0..1_000_u64, b in 0..1_000_u64) {
        let published = |n| Count { cell: Cell::published(RecordCount(n)) };
        let both = published(a).merge(published(b)).expect("counts merge");
        prop_assert_eq!(both.cell, Cell::published(RecordCount(a + b)));
        let hole = both.merge(Count { cell: Cell::WITHHELD }).expect("counts merge");
        prop_assert_eq!(hole.cell, Cell { records: RecordCount(a + b), withheld: 1 });
        prop_assert!(!hole.cell.is_exact());
    }
}
