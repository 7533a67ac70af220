//! Sums of a stream that an officer declared free of personal data: measured as they are. And how the fields of any sum are
//! laid out where it has leaf cells of its own.

use std::num::NonZeroU32;
use std::sync::Arc;

use domicile_proto::ids::{KThreshold, TimeRange};
use domicile_proto::leaf::{Counted, Threshold};
use domicile_proto::numbers::SumTally;

use super::AggregateError;
use super::answer::{Asked, check_cells, conditions, group_slots, slots};
use super::compose::Buckets;
use crate::query::{Engine, LeafPlan, Slots, Window};
use crate::segment::Segment;

/// Width of the pieces of time a sum without a grid is gathered in, in seconds: a day, so that a year has few of them.
const PIECE: u32 = 86_400;

/// The fields of a sum: the group field, if there is one, and the numeric field, which counts fastest.
pub(super) fn fields(asked: &Asked) -> Vec<Slots> {
    asked.question.ask.field().and_then(|_| group_slots(asked)).into_iter().chain(slots(asked)).collect()
}

/// Rows of a sum over such fields: one for each approved value and one for all others, or one in all.
pub(super) fn rows(fields: &[Slots]) -> usize {
    fields.first().filter(|slots| !slots.is_numeric()).map_or(1, |slots| slots.len + 1)
}

/// The sums that answer a question, in the order of [`super::compose::compose`]. Blocks and computes.
///
/// # Errors
/// [`AggregateError`] where the cells are too many or the segments cannot be read in time.
pub(super) fn measure(
    engine: &Engine,
    segments: &[Arc<Segment>],
    asked: &Asked,
    range: TimeRange,
) -> Result<Vec<SumTally>, AggregateError> {
    check_cells(asked)?;
    let grid = asked.question.ask.grid();
    let width = grid.map_or(PIECE, |grid| grid.step);
    let threshold = Threshold { k: KThreshold(NonZeroU32::MIN), counted: Counted::Records };
    let (fields, filter) = (fields(asked), conditions(asked));
    let along = fields.last().map_or(1, Slots::cells);
    let buckets = Buckets { grid, covered: range };
    let mut sums = vec![vec![SumTally::default(); buckets.len()]; rows(&fields)];
    let all = |_| vec![Window { after: 0, upto: u64::MAX }];
    let plan = LeafPlan { width, fields, threshold, filter, is_sampled: false, windows: &all };
    let leaves = engine.tabulate(segments, range, &plan, &asked.budget).map_err(AggregateError::Query)?;
    for ((start, _), cells) in &leaves {
        let Some(bucket) = buckets.of(*start, width) else { continue };
        // The last row of cells is that of records without a value of the group field: it stands in no row.
        for (row, cells) in sums.iter_mut().zip(cells.chunks(along)) {
            if let Some(sum) = row.get_mut(bucket) {
                let with_a_number = cells.iter().take(along - 1);
                with_a_number.for_each(|cell| sum.add_measured(cell, &asked.threshold()));
            }
        }
    }
    Ok(sums.into_iter().flatten().collect())
}
