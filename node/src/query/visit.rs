//! Walking over matching documents: stretches of segments, newest first, in blocks, within a budget.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domicile_proto::ids::TimeRange;
use tantivy::query::EnableScoring;
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, TERMINATED};
use tokio_util::sync::CancellationToken;

use super::QueryError;
use super::compile::Compiled;
use super::filter::Filter;
use crate::limits::{GATHERED_BYTES, GATHERED_BYTES_ON_NODE, MAX_PAGE_BYTES};
use crate::segment::{Hidden, Segment};

/// How long a search may take and what it may hold, and whether anybody still waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// When it must end.
    pub(crate) deadline: Instant,
    /// Cancelled when the caller has gone.
    pub(crate) token: CancellationToken,
    /// Bytes that are gathered at this moment, over all stretches.
    gathered: Arc<Gathered>,
    /// Bytes of records that were put on pages, of all searches of one request.
    paged: Arc<AtomicUsize>,
    /// Those of this search.
    on_page: Arc<AtomicUsize>,
}

/// Bytes of one search; given back when it ends.
#[derive(Debug, Default)]
struct Gathered(AtomicUsize);

/// Bytes of all searches of the process.
static ON_NODE: AtomicUsize = AtomicUsize::new(0);

impl Drop for Gathered {
    fn drop(&mut self) {
        ON_NODE.fetch_sub(*self.0.get_mut(), Ordering::Relaxed);
    }
}

impl Budget {
    /// Until this instant, whatever happens.
    pub(crate) fn until(deadline: Instant) -> Self {
        let (gathered, paged, on_page) = Default::default();
        Self { deadline, token: CancellationToken::new(), gathered, paged, on_page }
    }

    /// For one of several searches of the same request: the same end at the latest, and the same room for pages.
    pub(crate) fn share(&self, within: Option<Duration>) -> Self {
        let own = within.map(|within| Instant::now() + within);
        let deadline = own.map_or(self.deadline, |own| own.min(self.deadline));
        Self { paged: Arc::clone(&self.paged), ..Self::until(deadline) }
    }

    /// For what another node sends: the same end and the same room, and no page yet: more comes than is shown.
    pub(super) fn off_page(&self) -> Self {
        Self { paged: Arc::default(), on_page: Arc::default(), ..self.clone() }
    }

    /// Gives the room on the page back that this search took: it is tried once more from the beginning.
    pub(crate) fn clear_page(&self) {
        self.paged.fetch_sub(self.on_page.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// # Errors
    /// [`QueryError::Cancelled`], [`QueryError::Deadline`].
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.token.is_cancelled() {
            return Err(QueryError::Cancelled);
        }
        if Instant::now() >= self.deadline { Err(QueryError::Deadline) } else { Ok(()) }
    }

    /// Takes room for so many bytes more.
    ///
    /// # Errors
    /// [`QueryError::TooCostly`] beyond what one search may hold, [`QueryError::Crowded`] beyond what all may.
    pub(super) fn gather(&self, bytes: usize) -> Result<(), QueryError> {
        let own = self.gathered.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let all = ON_NODE.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if own > GATHERED_BYTES {
            return Err(QueryError::TooCostly);
        }
        if all > GATHERED_BYTES_ON_NODE { Err(QueryError::Crowded) } else { Ok(()) }
    }

    /// Gives room back that was taken.
    pub(super) fn give_back(&self, bytes: usize) {
        self.gathered.0.fetch_sub(bytes, Ordering::Relaxed);
        ON_NODE.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes room on the page for a record.
    ///
    /// # Errors
    /// [`QueryError::PageTooLarge`].
    pub(super) fn page(&self, bytes: usize) -> Result<(), QueryError> {
        self.on_page.fetch_add(bytes, Ordering::Relaxed);
        let paged = self.paged.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if paged > MAX_PAGE_BYTES { Err(QueryError::PageTooLarge) } else { Ok(()) }
    }
}

/// A stretch of one segment.
#[derive(Clone)]
pub(super) struct Unit {
    /// Place of the segment in the search's list.
    pub(super) place: usize,
    pub(super) segment: Arc<Segment>,
    pub(super) docs: Range<DocId>,
    /// Whether all records of the segment lie in the range of time.
    pub(super) is_inside: bool,
    /// Records of erased subjects: no search sees them.
    pub(super) hidden: Arc<Hidden>,
}

impl Unit {
    /// Whether it is the whole segment.
    pub(super) fn is_whole(&self) -> bool {
        self.docs == (0..self.segment.docs)
    }
}

/// Documents in one stretch at most: small enough for two threads to share one large segment.
const STRETCH: u32 = 1 << 19;
/// Documents in one block.
const BLOCK: usize = 2_048;

/// Stretches of all segments that reach into the range, newest first.
pub(super) fn units(segments: &[Arc<Segment>], range: TimeRange) -> Vec<Unit> {
    let mut units = Vec::new();
    for (place, segment) in segments.iter().enumerate() {
        if segment.docs == 0 || range.to <= range.from || segment.newest < range.from || range.to <= segment.oldest {
            continue;
        }
        let is_inside = range.from <= segment.oldest && segment.newest < range.to;
        let stretches = segment.docs.div_ceil(STRETCH);
        let step = segment.docs.div_ceil(stretches);
        let hidden = segment.hidden();
        for number in (0..stretches).rev() {
            let docs = number * step..((number + 1) * step).min(segment.docs);
            units.push(Unit { place, segment: Arc::clone(segment), docs, is_inside, hidden: Arc::clone(&hidden) });
        }
    }
    units.sort_by_key(|unit| std::cmp::Reverse(unit.segment.newest));
    units
}

/// Compiles the filter for the unit.
pub(super) fn compiled(filter: &Filter, unit: &Unit, scored: bool, budget: &Budget) -> Result<Compiled, QueryError> {
    Compiled::new(filter, &unit.segment, unit.docs.clone(), scored, budget)
}

/// Calls `each` with blocks of matching documents of the unit, in rising order, until it says `false`.
pub(super) fn visit(
    unit: &Unit,
    compiled: Compiled,
    range: TimeRange,
    budget: &Budget,
    each: &mut dyn FnMut(&[DocId]) -> Result<bool, QueryError>,
) -> Result<(), QueryError> {
    let mut inside = InTime::new(unit, range)?;
    let mut block: Vec<DocId> = Vec::with_capacity(BLOCK);
    let query = match compiled {
        Compiled::None => return Ok(()),
        Compiled::All => {
            let mut next = unit.docs.start;
            while next < unit.docs.end {
                let end = unit.docs.end.min(next.saturating_add(BLOCK as u32));
                block.clear();
                block.extend(next..end);
                next = end;
                budget.check()?;
                inside.retain(&mut block);
                unit.hidden.sift(&mut block);
                if !block.is_empty() && !each(&block)? {
                    return Ok(());
                }
            }
            return Ok(());
        }
        other => other.into_query(),
    };
    let reader = unit.segment.reader();
    let weight = query.weight(EnableScoring::disabled_from_searcher(&unit.segment.searcher))?;
    let mut scorer = weight.scorer(reader, 1.0)?;
    if scorer.doc() < unit.docs.start {
        scorer.seek(unit.docs.start);
    }
    let mut buffer = [0; COLLECT_BLOCK_BUFFER_LEN];
    loop {
        block.clear();
        let mut ended = false;
        while block.len() + buffer.len() <= BLOCK && !ended {
            let found = scorer.fill_buffer(&mut buffer);
            let found = buffer.get(..found).unwrap_or_default();
            let kept = found.partition_point(|doc| *doc < unit.docs.end);
            ended = kept < buffer.len();
            block.extend(found.iter().take(kept));
        }
        budget.check()?;
        inside.retain(&mut block);
        unit.hidden.sift(&mut block);
        if (!block.is_empty() && !each(&block)?) || ended {
            return Ok(());
        }
    }
}

/// Calls `each` with matching documents of the unit and their scores.
pub(super) fn visit_scored(
    unit: &Unit,
    compiled: Compiled,
    range: TimeRange,
    budget: &Budget,
    each: &mut dyn FnMut(DocId, f32),
) -> Result<(), QueryError> {
    let inside = InTime::new(unit, range)?;
    let query = compiled.into_query();
    let weight = query.weight(EnableScoring::enabled_from_searcher(&unit.segment.searcher))?;
    let mut scorer = weight.scorer(unit.segment.reader(), 1.0)?;
    let mut doc = scorer.doc();
    if doc < unit.docs.start {
        doc = scorer.seek(unit.docs.start);
    }
    let mut seen = 0_usize;
    while doc != TERMINATED && doc < unit.docs.end {
        if seen.is_multiple_of(BLOCK) {
            budget.check()?;
        }
        seen += 1;
        if inside.holds(doc) && !unit.hidden.holds(doc) {
            each(doc, scorer.score());
        }
        doc = scorer.advance();
    }
    Ok(())
}

/// Leaves out documents that lie outside the range of time, where a segment reaches beyond it.
struct InTime {
    column: Option<tantivy::columnar::Column<i64>>,
    range: TimeRange,
    times: Vec<i64>,
}

impl InTime {
    fn new(unit: &Unit, range: TimeRange) -> Result<Self, QueryError> {
        let column = if unit.is_inside { None } else { Some(unit.segment.reader().fast_fields().i64("ts")?) };
        Ok(Self { column, range, times: Vec::new() })
    }

    fn retain(&mut self, docs: &mut Vec<DocId>) {
        let Some(column) = &self.column else { return };
        self.times.resize(docs.len(), 0);
        column.values.get_vals(docs, &mut self.times);
        let mut times = self.times.iter();
        docs.retain(|_| times.next().is_some_and(|ts| self.range.from.0 <= *ts && *ts < self.range.to.0));
    }

    fn holds(&self, doc: DocId) -> bool {
        self.column
            .as_ref()
            .is_none_or(|column| column.first(doc).is_some_and(|ts| self.range.from.0 <= ts && ts < self.range.to.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_is_tried_again_leaves_nothing_on_the_page_and_takes_nothing_of_others_off_it() {
        let request = Budget::until(Instant::now());
        let (first, second) = (request.share(None), request.share(None));
        first.page(MAX_PAGE_BYTES / 2).unwrap();
        second.page(MAX_PAGE_BYTES / 2).unwrap();
        second.off_page().page(MAX_PAGE_BYTES).unwrap();
        assert!(matches!(first.page(2), Err(QueryError::PageTooLarge)));
        second.clear_page();
        second.clear_page();
        assert!(second.page(MAX_PAGE_BYTES / 2 - 2).is_ok());
        assert!(matches!(second.page(1), Err(QueryError::PageTooLarge)));
    }
}
