//! Running a search: what matches, how many, and the first page in the wanted order.
//!
//! Stretches of segments on the disk run beside each other on two threads of the engine's own, and then those in the bucket on others:
//! see `beside`. Nothing is looked at that cannot change the answer: whole segments count from their sizes and postings where they can,
//! and segments older than the last hit of a full page are passed over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domicile_proto::ids::{ShardId, TimeRange, Timestamp};
use domicile_proto::metadata::Rows;
use tantivy::columnar::Column;
use tantivy::{DocId, Executor, i64_to_u64};

use super::QueryError;
use super::beside::Beside;
use super::compile::Compiled;
use super::filter::{Filter, both};
use super::hits::{Hits, Total};
use super::visit::{Budget, Unit, compiled, units, visit, visit_scored};
use crate::limits::MAX_HITS;
use crate::ownership::Loads;
use crate::segment::Segment;

/// The order of hits. Equal ones follow each other by time, shard and place in the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
    /// The best match first.
    Score,
}

/// How exactly matches are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrackTotal {
    /// All of them.
    Exact,
    /// Exactly up to this number.
    UpTo(u64),
    /// Not at all.
    No,
}

/// The last hit of the page before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct After {
    /// Its score, where hits are sorted by score.
    pub(crate) score: Option<f32>,
    /// Its time.
    pub(crate) time: Timestamp,
    /// Its shard and place in it; without it the page goes on with the next instant.
    pub(crate) tie: Option<(ShardId, u64)>,
}

/// What is searched for. No `Debug`: the filter may be personal.
#[derive(Clone)]
pub(crate) struct SearchRequest {
    /// What matches.
    pub(crate) filter: Filter,
    /// When it happened.
    pub(crate) range: TimeRange,
    /// The order of hits.
    pub(crate) sort: Sort,
    /// Hits on the page.
    pub(crate) size: usize,
    /// Where the page begins.
    pub(crate) after: Option<After>,
    /// How matches are counted.
    pub(crate) total: TrackTotal,
    /// How long it may take.
    pub(crate) budget: Budget,
}

/// Runs searches on two threads of its own; cloning shares them. Its calls block: they belong into `Tasks::blocking`.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(super) threads: Executor,
    /// How segments in the bucket are searched.
    pub(super) beside: Beside,
    /// Where it is measured what each shard asks of this node.
    loads: Option<Loads>,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`QueryError::Engine`] where the machine gives no threads.
    pub(crate) fn new() -> Result<Self, QueryError> {
        Ok(Self { threads: Executor::multi_thread(2, "search-")?, beside: Beside::default(), loads: None })
    }

    /// Has the time of searches counted to the shards that they go through.
    pub(crate) fn measuring(self, loads: Loads) -> Self {
        Self { loads: Some(loads), ..self }
    }

    /// Runs a search over segments of the tenant. `rows` says which rows the asker may see.
    ///
    /// # Errors
    /// [`QueryError`] where bounds, time or a segment fail.
    pub(crate) fn search(
        &self,
        request: &SearchRequest,
        segments: Vec<Arc<Segment>>,
        rows: Rows,
    ) -> Result<Hits, QueryError> {
        if request.size > MAX_HITS {
            return Err(QueryError::TooManyHits);
        }
        request.filter.check_bounds()?;
        let (range, filter) = request.filter.clone().split_time();
        let range = both(range, request.range);
        let size = if rows == Rows::None { 0 } else { request.size };
        let search = Search {
            filter: &filter,
            range,
            sort: request.sort,
            size,
            below: request.after.map(|after| Key::after(after, request.sort)),
            count_to: match request.total {
                TrackTotal::Exact => u64::MAX,
                TrackTotal::UpTo(limit) => limit,
                TrackTotal::No => 0,
            },
            budget: &request.budget,
            counted: AtomicU64::new(0),
            floor: AtomicU64::new(0),
        };
        let mut top: BinaryHeap<Reverse<Found>> = BinaryHeap::new();
        if size > 0 || search.count_to > 0 {
            for part in self.each(units(&segments, range), search.budget, |unit| search.unit(&unit))? {
                for found in part {
                    offer(&mut top, found, size);
                }
            }
        }
        let counted = search.counted.into_inner();
        let total = match request.total {
            TrackTotal::Exact => Some(Total { value: counted, is_exact: true }),
            TrackTotal::UpTo(limit) => Some(Total { value: counted.min(limit), is_exact: counted <= limit }),
            TrackTotal::No => None,
        };
        let top = top.into_sorted_vec().into_iter().map(|Reverse(found)| found).collect();
        let budget = request.budget.clone();
        Ok(Hits { engine: self.clone(), segments, filter, range, sort: request.sort, budget, total, top })
    }

    /// Runs `work` for every unit on the threads; results are in the order of the units. Those on the disk come first: after them the
    /// page is often full, and nothing is read of the bucket.
    pub(super) fn each<T: Send>(
        &self,
        units: Vec<Unit>,
        budget: &Budget,
        work: impl Fn(Unit) -> Result<T, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        self.each_of(units, usize::MAX, budget, work)
    }

    /// The same with at most so many stretches in the bucket at a time.
    pub(super) fn each_of<T: Send>(
        &self,
        units: Vec<Unit>,
        most: usize,
        budget: &Budget,
        work: impl Fn(Unit) -> Result<T, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        let work = |unit: Unit| match &self.loads {
            Some(loads) => loads.spend(unit.segment.shard, || work(unit)),
            None => work(unit),
        };
        if units.len() < 2 {
            return units.into_iter().map(work).collect();
        }
        let numbered = units.into_iter().enumerate();
        let (away, here): (Vec<_>, Vec<_>) = numbered.partition(|(_, unit)| unit.segment.is_away());
        let work = |(number, unit): (usize, Unit)| -> Result<(usize, T), QueryError> { Ok((number, work(unit)?)) };
        let mut done: Vec<(usize, T)> = if here.len() < 2 {
            here.into_iter().map(work).collect::<Result<_, _>>()?
        } else {
            self.threads.map(|unit| Ok(work(unit)), here.into_iter())?.into_iter().collect::<Result<_, _>>()?
        };
        done.extend(self.beside.each(away, most, budget, |(_, unit)| unit.segment.docs, work)?);
        done.sort_unstable_by_key(|(number, _)| *number);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    }
}

/// A hit on its way to the page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) key: Key,
    /// Place of the segment in the search's list.
    pub(super) segment: usize,
    pub(super) doc: DocId,
}

/// Where a hit stands in the wanted order: the greater, the nearer to the top. Score, time, shard, place in the shard; all
/// turned round where the oldest come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key([u64; 4]);

impl Key {
    pub(super) fn new(sort: Sort, score: f32, time: i64, shard: ShardId, seq: u64) -> Self {
        let key = [0, i64_to_u64(time), shard.0, seq];
        match sort {
            Sort::Newest => Self(key),
            Sort::Oldest => Self(key.map(|part| !part)),
            // Scores are never negative, so their bits rise with them.
            Sort::Score => Self([u64::from(score.max(0.0).to_bits()), i64_to_u64(time), shard.0, seq]),
        }
    }

    fn after(after: After, sort: Sort) -> Self {
        let (shard, seq) = after.tie.unwrap_or(match sort {
            Sort::Oldest => (ShardId(u64::MAX), u64::MAX),
            Sort::Newest | Sort::Score => (ShardId(0), 0),
        });
        Self::new(sort, after.score.unwrap_or(f32::MAX), after.time.0, shard, seq)
    }

    /// Score, time, shard and place in the shard.
    pub(super) fn open(self, sort: Sort) -> (f32, Timestamp, ShardId, u64) {
        let [score, time, shard, seq] = if sort == Sort::Oldest { self.0.map(|part| !part) } else { self.0 };
        let score = if sort == Sort::Score { f32::from_bits(u32::try_from(score).unwrap_or(0)) } else { 0.0 };
        (score, Timestamp(tantivy::u64_to_i64(time)), ShardId(shard), seq)
    }

    const fn time_part(&self) -> u64 {
        let [_, time, _, _] = self.0;
        time
    }
}

fn offer(top: &mut BinaryHeap<Reverse<Found>>, found: Found, size: usize) {
    if top.len() < size {
        top.push(Reverse(found));
    } else if top.peek().is_some_and(|Reverse(last)| found.key > last.key) {
        top.pop();
        top.push(Reverse(found));
    }
}

/// One search as its units see it.
struct Search<'a> {
    filter: &'a Filter,
    range: TimeRange,
    sort: Sort,
    size: usize,
    below: Option<Key>,
    count_to: u64,
    budget: &'a Budget,
    counted: AtomicU64,
    /// Time part of the worst hit on any full page so far: nothing below it gets onto the page.
    floor: AtomicU64,
}

impl Search<'_> {
    fn unit(&self, unit: &Unit) -> Result<Vec<Found>, QueryError> {
        self.budget.check()?;
        let wanted = self.may_hold_hits(unit);
        let still_counting = self.counted.load(Ordering::Relaxed) <= self.count_to && self.count_to > 0;
        if !wanted && !still_counting {
            return Ok(Vec::new());
        }
        let compiled = compiled(self.filter, unit, self.sort == Sort::Score && self.size > 0, self.budget)?;
        let known = self.count_of(unit, &compiled)?;
        if let Some(count) = known {
            self.counted.fetch_add(count, Ordering::Relaxed);
        }
        let counts = still_counting && known.is_none();
        if known == Some(0) || (!wanted && !counts) {
            return Ok(Vec::new());
        }
        let mut page = Page::new(self, unit)?;
        if matches!(compiled, Compiled::All) && unit.is_inside && self.sort != Sort::Score && !counts {
            page.walk_all()?;
        } else if self.sort == Sort::Score && self.size > 0 {
            let mut count = 0;
            visit_scored(unit, compiled, self.range, self.budget, &mut |doc, score| {
                count += 1;
                page.offer(doc, score);
            })?;
            if counts {
                self.counted.fetch_add(count, Ordering::Relaxed);
            }
        } else {
            visit(unit, compiled, self.range, self.budget, &mut |docs| {
                if counts {
                    self.counted.fetch_add(docs.len() as u64, Ordering::Relaxed);
                }
                if wanted {
                    page.offer_block(docs);
                }
                Ok(wanted || self.counted.load(Ordering::Relaxed) <= self.count_to)
            })?;
        }
        Ok(page.into_found())
    }

    /// Whether a hit of the unit could still get onto the page.
    fn may_hold_hits(&self, unit: &Unit) -> bool {
        let best = match self.sort {
            Sort::Newest => i64_to_u64(unit.segment.newest.0),
            Sort::Oldest => !i64_to_u64(unit.segment.oldest.0),
            Sort::Score => u64::MAX,
        };
        self.size > 0 && best >= self.floor.load(Ordering::Relaxed)
    }

    /// Time part of the hit that the page begins behind.
    fn ceiling(&self) -> u64 {
        self.below.filter(|_| self.sort != Sort::Score).map_or(u64::MAX, |below| below.time_part())
    }

    /// How many documents of the unit match, where that is known without looking at them.
    fn count_of(&self, unit: &Unit, compiled: &Compiled) -> Result<Option<u64>, QueryError> {
        Ok(match compiled {
            Compiled::None => Some(0),
            _ if !unit.hidden.is_empty() => None,
            Compiled::All if unit.is_inside => Some(u64::from(unit.docs.end - unit.docs.start)),
            Compiled::Term(term) if unit.is_inside && unit.is_whole() => {
                Some(u64::from(unit.segment.reader().inverted_index(term.field())?.doc_freq(term)?))
            }
            // The first stretch speaks for the whole segment, unless its other stretches are looked at anyway.
            Compiled::Term(term) if unit.is_inside && self.size == 0 => {
                let freq = || -> Result<u32, QueryError> {
                    Ok(unit.segment.reader().inverted_index(term.field())?.doc_freq(term)?)
                };
                Some(if unit.docs.start == 0 { u64::from(freq()?) } else { 0 })
            }
            _ => None,
        })
    }
}

/// The best hits of one unit.
struct Page<'a> {
    search: &'a Search<'a>,
    unit: &'a Unit,
    times: Column<i64>,
    seqs: Column<u64>,
    top: BinaryHeap<Reverse<Found>>,
    buffer: Vec<i64>,
}

impl<'a> Page<'a> {
    fn new(search: &'a Search<'a>, unit: &'a Unit) -> Result<Self, QueryError> {
        let columns = unit.segment.reader().fast_fields();
        let (times, seqs) = (columns.i64("ts")?, columns.u64("seq")?);
        Ok(Self { search, unit, times, seqs, top: BinaryHeap::new(), buffer: Vec::new() })
    }

    fn offer(&mut self, doc: DocId, score: f32) {
        let time = self.times.first(doc).unwrap_or_default();
        self.offer_at(doc, score, time);
    }

    fn offer_at(&mut self, doc: DocId, score: f32, time: i64) {
        let search = self.search;
        let seq = self.seqs.first(doc).unwrap_or_default();
        let key = Key::new(search.sort, score, time, self.unit.segment.shard, seq);
        if search.below.is_some_and(|below| key >= below) {
            return;
        }
        offer(&mut self.top, Found { key, segment: self.unit.place, doc }, search.size);
        if search.sort != Sort::Score && self.top.len() == search.size {
            let worst = self.top.peek().map_or(0, |Reverse(found)| found.key.time_part());
            search.floor.fetch_max(worst, Ordering::Relaxed);
        }
    }

    fn offer_block(&mut self, docs: &[DocId]) {
        let mut times = std::mem::take(&mut self.buffer);
        times.resize(docs.len(), 0);
        self.times.values.get_vals(docs, &mut times);
        let ceiling = self.search.ceiling();
        for (doc, time) in docs.iter().zip(&times) {
            let part = if self.search.sort == Sort::Oldest { !i64_to_u64(*time) } else { i64_to_u64(*time) };
            if part >= self.search.floor.load(Ordering::Relaxed) && part <= ceiling {
                self.offer_at(*doc, 0.0, *time);
            }
        }
        self.buffer = times;
    }

    /// Every document matches: walks from the end where the first hits probably are, and lets the column sift.
    fn walk_all(&mut self) -> Result<(), QueryError> {
        const STEP: u32 = 1 << 15;
        let all = self.unit.docs.clone();
        let steps = (all.end - all.start).div_ceil(STEP);
        let mut docs = Vec::new();
        for step in 0..steps {
            self.search.budget.check()?;
            let from_start = if self.search.sort == Sort::Newest { steps - 1 - step } else { step };
            let start = all.start + from_start * STEP;
            let stretch = start..all.end.min(start + STEP);
            let (floor, ceiling) = (self.search.floor.load(Ordering::Relaxed), self.search.ceiling());
            let times = match self.search.sort {
                Sort::Oldest => tantivy::u64_to_i64(!ceiling)..=tantivy::u64_to_i64(!floor),
                Sort::Newest | Sort::Score => tantivy::u64_to_i64(floor)..=tantivy::u64_to_i64(ceiling),
            };
            docs.clear();
            if times.is_empty() || *times.start() > self.times.max_value() || *times.end() < self.times.min_value() {
                return Ok(());
            }
            self.times.get_docids_for_value_range(times, stretch, &mut docs);
            self.unit.hidden.sift(&mut docs);
            if self.search.sort == Sort::Newest {
                docs.reverse();
            }
            self.offer_block(&docs);
        }
        Ok(())
    }

    fn into_found(self) -> Vec<Found> {
        self.top.into_iter().map(|Reverse(found)| found).collect()
    }
}
