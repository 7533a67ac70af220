//! Text questions: no table can hold all of them, so each has leaf cells of its own, judged like those of the released table.
//! Whatever range, grid or total is asked for is a sum of published leaves, so that answers to the same conditions, subtracted
//! from each other, hold nothing but leaves. Other conditions are the overlap guard's to compare.

use std::sync::Arc;

use domicile_proto::ids::TimeRange;
use domicile_proto::leaf::{MAX_LEAF_CELLS, Table, Tally};
use domicile_proto::message::question::Ask;
use domicile_proto::numbers::{SumTally, Sums};

use super::AggregateError;
use super::answer::{Asked, Content, check_cells, conditions, slots};
use super::compose::{Adds, Buckets};
use super::judge::judged;
use super::sums;
use crate::query::{Engine, LeafPlan, Slots, Window};
use crate::segment::Segment;

/// The sums that answer a text question, in the order of [`super::compose::compose`]. Blocks and computes.
///
/// # Errors
/// [`AggregateError`] where the cells are too many or the segments cannot be read in time.
pub(super) fn tally(
    engine: &Engine,
    segments: &[Arc<Segment>],
    asked: &Asked,
    covered: TimeRange,
    closed: TimeRange,
) -> Result<Content, AggregateError> {
    check_cells(asked)?;
    if matches!(asked.question.ask, Ask::Sum(_)) {
        let fields = sums::fields(asked);
        let rows = sums::rows(&fields);
        let sums = add_up::<SumTally>(engine, segments, asked, (covered, closed), fields, rows, |(_, sums)| sums)?;
        return Ok(Content::Summed(sums));
    }
    let fields: Vec<Slots> = slots(asked).into_iter().collect();
    let rows = fields.first().map_or(1, |slots| slots.len + 1);
    let tallies = add_up::<Tally>(engine, segments, asked, (covered, closed), fields, rows, |(table, _)| table)?;
    Ok(Content::Tallied(tallies))
}

fn add_up<T: Adds>(
    engine: &Engine,
    segments: &[Arc<Segment>],
    asked: &Asked,
    (covered, closed): (TimeRange, TimeRange),
    fields: Vec<Slots>,
    rows: usize,
    part: impl Fn((Table, Sums)) -> T::Table,
) -> Result<Vec<T>, AggregateError> {
    let (width, threshold) = (asked.stream.policy.grid.seconds(), asked.threshold());
    let numeric = fields.iter().position(Slots::is_numeric);
    let dims: Vec<usize> = fields.iter().map(Slots::cells).collect();
    if dims.iter().product::<usize>() > MAX_LEAF_CELLS {
        return Err(AggregateError::TooManyCells);
    }
    let all = |_| vec![Window { after: 0, upto: u64::MAX }];
    let plan = LeafPlan { width, fields, threshold, filter: conditions(asked), is_sampled: false, windows: &all };
    let leaves = engine.tabulate(segments, closed, &plan, &asked.budget).map_err(AggregateError::Query)?;

    let buckets = Buckets { grid: asked.question.ask.grid(), covered };
    let mut sums = vec![vec![T::default(); buckets.len()]; rows];
    let mut filled = vec![0_i64; buckets.len()];
    for ((start, _), cells) in &leaves {
        let Some(bucket) = buckets.of(*start, width) else { continue };
        if let Some(filled) = filled.get_mut(bucket) {
            *filled += i64::from(width);
        }
        let table = part(judged(&dims, numeric, cells, &threshold)?);
        // The last place of a field is that of records without a value: they stand in no row.
        for (place, row) in sums.iter_mut().enumerate() {
            if let Some(sum) = row.get_mut(bucket) {
                sum.put(&table, place);
            }
        }
    }
    // A leaf in which nothing matches and one in which too little does look the same: a hole.
    for (bucket, filled) in filled.iter().enumerate() {
        if *filled == 0 || *filled != buckets.seconds() {
            sums.iter_mut().filter_map(|row| row.get_mut(bucket)).for_each(T::skip);
        }
    }
    Ok(sums.into_iter().flatten().collect())
}
