//! An answer that was released -> whether the records give it again.
//!
//! Every number is counted anew from the segments as they were when the answer was made. Of the release journal nothing is
//! taken but its layout: which records were judged together, under what threshold and in what order of values. A number that
//! was changed in the journal, in memory or on its way is therefore another one here. Nothing is released and nothing written.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::codec;
use domicile_proto::ids::{KThreshold, ShardId, TimeRange};
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome};
use domicile_proto::message::question::Ask;

use super::answer::{self, Answered, Asked, Content, Way};
use super::book::{Book, CutRow, Dictionary, Entry, FieldSet, Leaf};
use super::compose::compose;
use super::errors::AggregateError;
use super::journal::Shelf;
use super::judge::{Judge, settled};
use super::releases::Releases;
use super::rules::RuleBook;
use super::{sums, text};
use crate::audit::Drawn;
use crate::query::{Engine, Filter, LeafPlan, QueryError, Window};
use crate::segment::Segment;

/// What came of asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// The same bytes.
    Same,
    /// Other ones.
    Differs {
        /// Records that were counted then and are not there any more, where that is known.
        missing: Option<u64>,
        /// Whether the numbers fit the records in no way, whatever is missing: nothing explains that.
        has_more: bool,
    },
    /// Other ones by the rules of now. Those of then are others, and were not kept.
    OtherRules,
}

impl Asked {
    /// What an answer over these segments is drawn from.
    pub(super) fn drawn_from(&self, segments: &[Arc<Segment>], journal: u64) -> Option<Drawn> {
        self.drawn_upto(settled(segments), journal)
    }

    /// What an answer over the shard up to a place is drawn from. A stream without a shard has no records: shard 0 stands for none.
    pub(super) fn drawn_upto(&self, upto: u64, journal: u64) -> Option<Drawn> {
        let shard = self.stream.shard.map_or(ShardId(0), |(shard, _)| shard);
        let k = Some(self.stream.policy.threshold());
        Some(Drawn { shard, upto, journal, rules: self.rules(), k })
    }
}

impl Releases {
    /// Asks a question again, by the rules of then and over the segments as they were, and compares with what was told.
    ///
    /// # Errors
    /// [`AggregateError`] where the segments or the journal cannot be read in time.
    pub(crate) async fn replay(
        &self,
        asked: Asked,
        segments: Vec<Arc<Segment>>,
        drawn: Drawn,
        told: Answer,
    ) -> Result<Replayed, AggregateError> {
        // From the bucket, not from the memory of whoever answered.
        let journal = Shelf::open(&self.store, drawn.shard).await?.book;
        let then = if asked.rules() == drawn.rules { None } else { RuleBook::of_then(&self.store, &drawn).await? };
        let asked = then.map_or_else(|| asked.clone(), |rules| rules.over(&asked));
        let is_by_others = asked.rules() != drawn.rules;
        let engine = self.engine.clone();
        let work = move || again(&engine, &asked, &segments, &drawn, &journal, &told);
        let found = self.tasks.blocking(work).await.map_err(|_| AggregateError::Interrupted)??;
        Ok(if is_by_others && found != Replayed::Same { Replayed::OtherRules } else { found })
    }
}

const OTHERWISE: Replayed = Replayed::Differs { missing: None, has_more: false };

/// Blocks and computes.
fn again(
    engine: &Engine,
    asked: &Asked,
    segments: &[Arc<Segment>],
    drawn: &Drawn,
    journal: &Book,
    told: &Answer,
) -> Result<Replayed, AggregateError> {
    let Ok(way) = answer::way(asked) else { return Ok(OTHERWISE) };
    let segments = as_of(segments, drawn.upto)?;
    let covered = answer::covered_by(asked, &way);
    let header = AnswerHeader { covered, late_withheld: false, ..told.header };
    let end = told.header.open_from.map_or(covered.to, |open| open.min(covered.to));
    let closed = TimeRange { from: covered.from, to: end.max(covered.from) };
    let span = (covered, closed);
    let (now, counted) = match way {
        Way::Direct => {
            let content = match asked.question.ask {
                Ask::Sum(_) => Content::Summed(sums::measure(engine, &segments, asked, closed)?),
                _ => Content::Measured(answer::measure(engine, segments, asked, closed)?),
            };
            (answer::put(content, asked, header)?, None)
        }
        Way::Text => (answer::put(text::tally(engine, &segments, asked, covered, closed)?, asked, header)?, None),
        Way::Table(ref fields) => {
            let recount = Recount { engine, segments: &segments, asked, drawn, journal, closed };
            let (book, mut counted) = recount.book(fields, Kind::AsThen)?;
            let header = AnswerHeader { late_withheld: counted.has_late, ..header };
            let now = put_together(asked, &book, fields, span, header)?;
            if counted.missing > 0 {
                // Whatever is missing, no number was larger than what is there and what is missing together.
                let (book, _) = recount.book(fields, Kind::Whole)?;
                let whole = put_together(asked, &book, fields, span, header)?;
                let most = cells(&whole.answer().outcome).into_iter().map(|records| records + counted.missing);
                counted.has_more |= cells(&told.outcome).into_iter().zip(most).any(|(told, most)| told > most);
            }
            // A record that came late and was erased since was told of, and is told of no more.
            counted.missing += u64::from(told.header.late_withheld && !counted.has_late);
            (now, Some(counted))
        }
    };
    // Byte by byte, as it crossed: the time it took and the head of the ledger are those of then.
    let late_withheld = counted.as_ref().is_some_and(|counted| counted.has_late);
    let again = Answer { header: AnswerHeader { late_withheld, ..header }, outcome: now.answer().outcome.clone() };
    if codec::encode(&again).ok() == codec::encode(told).ok() {
        return Ok(Replayed::Same);
    }
    Ok(match (way, counted) {
        (Way::Table(_), Some(Counted { has_cuts: true, missing, has_more, .. })) => {
            Replayed::Differs { missing: Some(missing), has_more }
        }
        (Way::Direct, _) => uncounted(&told.outcome, &again.outcome),
        _ => OTHERWISE,
    })
}

/// Sums of the cells of a book, put through the border.
fn put_together(
    asked: &Asked,
    book: &Book,
    fields: &FieldSet,
    (covered, closed): (TimeRange, TimeRange),
    header: AnswerHeader,
) -> Result<Answered, AggregateError> {
    let content = match asked.question.ask {
        Ask::Sum(_) => Content::Summed(compose(asked, book, fields, covered, closed)),
        _ => Content::Tallied(compose(asked, book, fields, covered, closed)),
    };
    answer::put(content, asked, header)
}

/// Of an answer that was measured as it is: how many records it counted that are not counted any more.
fn uncounted(told: &Outcome, now: &Outcome) -> Replayed {
    let (told, now) = (cells(told), cells(now));
    if told.is_empty() || told.len() != now.len() {
        return OTHERWISE;
    }
    let pairs = || told.iter().zip(&now);
    let missing = pairs().map(|(told, now)| told.saturating_sub(*now)).sum();
    Replayed::Differs { missing: Some(missing), has_more: pairs().any(|(told, now)| now > told) }
}

/// Records of each cell of an answer that counts; none of one that says something else.
fn cells(outcome: &Outcome) -> Vec<u64> {
    let Outcome::Aggregate(aggregate) = outcome else { return Vec::new() };
    let cells: Vec<Cell> = match aggregate {
        Aggregate::Count(count) => vec![count.cell],
        Aggregate::DateGrid(grid) => grid.cells.clone(),
        Aggregate::Terms(terms) => terms.cells.iter().map(|(_, cell)| *cell).chain([terms.other]).collect(),
        Aggregate::TermGrid(grid) => grid.rows.iter().flat_map(|(_, row)| row).chain(&grid.other).copied().collect(),
        Aggregate::FixedHistogram(histogram) => histogram.cells.clone(),
        Aggregate::Sum(_) | Aggregate::Quantile(_) | Aggregate::DistinctEstimate(_) => Vec::new(),
    };
    cells.iter().map(|cell| cell.records.0).collect()
}

/// The segments as they were when their shard ended at a place.
fn as_of(segments: &[Arc<Segment>], upto: u64) -> Result<Vec<Arc<Segment>>, AggregateError> {
    let then = segments.iter().filter(|segment| segment.first_seq <= upto);
    let then =
        then.map(
            |segment| {
                if segment.last_seq <= upto { Ok(Arc::clone(segment)) } else { segment.as_of(upto).map(Arc::new) }
            },
        );
    then.collect::<Result<_, _>>().map_err(|source| AggregateError::Query(QueryError::from(source)))
}

/// What was found where the journal says that records were judged together.
#[derive(Default)]
struct Counted {
    has_cuts: bool,
    missing: u64,
    has_more: bool,
    has_late: bool,
}

/// How a book is counted anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Judged as it was: a generation that is not whole any more gives no table.
    AsThen,
    /// All that is there, with nothing withheld. For comparison alone; told to nobody.
    Whole,
}

/// Counts a book anew along the layout of another.
struct Recount<'a> {
    engine: &'a Engine,
    segments: &'a [Arc<Segment>],
    asked: &'a Asked,
    drawn: &'a Drawn,
    journal: &'a Book,
    closed: TimeRange,
}

impl Recount<'_> {
    /// The cuts that were there when the answer was made, by leaf.
    fn cuts<'b>(&self, leaf: &'b Leaf) -> impl Iterator<Item = (u32, &'b CutRow)> + use<'b> {
        let journal = self.drawn.journal;
        (0..)
            .zip(leaf.generations.iter().map(|generation| &generation.cut))
            .filter(move |(_, cut)| cut.journal <= journal)
    }

    /// A book of counted numbers, with the table of these fields where the journal has one.
    fn book(&self, fields: &FieldSet, kind: Kind) -> Result<(Book, Counted), AggregateError> {
        let (mut book, mut counted) = (Book::default(), Counted::default());
        let found = self.count()?;
        let dictionaries: Vec<Dictionary> = self.journal.dictionaries().to_vec();
        let mut entry = Entry { version: Entry::VERSION, dictionaries, ..Entry::default() };
        for (start, leaf) in self.journal.inside(self.closed) {
            let mut last = None;
            for (place, cut) in self.cuts(leaf) {
                let now = found.get(&(start, place as usize)).copied().unwrap_or_default();
                counted.has_cuts = true;
                counted.missing += cut.records.saturating_sub(now);
                counted.has_more |= now > cut.records;
                entry.cuts.push(CutRow { records: now, ..cut.clone() });
                last = Some(place as usize + 1);
            }
            // What lies behind the last of them came late.
            let late = last.and_then(|last| found.get(&(start, last))).copied().unwrap_or_default();
            counted.has_late |= late > 0 && leaf.width == self.asked.stream.policy.grid.seconds();
        }
        let damaged = |_| AggregateError::Damaged { object: "released".to_owned() };
        book.apply(&entry).map_err(damaged)?;
        if !fields.is_empty() {
            let tables = self.tables(&book, fields, (kind, &found))?;
            book.apply(&tables).map_err(damaged)?;
        }
        Ok((book, counted))
    }

    /// Records of every cut, and of what came behind the last one of a leaf.
    fn count(&self) -> Result<BTreeMap<(i64, usize), u64>, AggregateError> {
        let mut found = BTreeMap::new();
        let mut by_width: BTreeMap<u32, BTreeMap<i64, Vec<Window>>> = BTreeMap::new();
        for (start, leaf) in self.journal.inside(self.closed) {
            let mut windows: Vec<Window> =
                self.cuts(leaf).map(|(_, cut)| Window { after: cut.after, upto: cut.upto }).collect();
            if let Some(last) = windows.last().copied() {
                windows.push(Window { after: last.upto, upto: self.drawn.upto.max(last.upto) });
                by_width.entry(leaf.width).or_default().insert(start, windows);
            }
        }
        for (width, leaves) in by_width {
            let windows = |start: i64| leaves.get(&start).cloned().unwrap_or_default();
            let (threshold, filter) = (self.asked.threshold(), Filter::All);
            let (fields, is_sampled) = (Vec::new(), false);
            let plan = LeafPlan { width, fields, threshold, filter, is_sampled, windows: &windows };
            let cells = self.engine.tabulate(self.segments, self.closed, &plan, &self.asked.budget);
            for (key, cells) in cells.map_err(AggregateError::Query)? {
                found.insert(key, cells.iter().map(|cell| cell.records().0).sum());
            }
        }
        Ok(found)
    }

    /// The tables of these fields, judged again where the journal says that they were.
    fn tables(
        &self,
        book: &Book,
        fields: &FieldSet,
        (kind, found): (Kind, &BTreeMap<(i64, usize), u64>),
    ) -> Result<Entry, AggregateError> {
        let judge = Judge { engine: self.engine, segments: self.segments, asked: self.asked, closed: self.closed };
        let mut entry = Entry { version: Entry::VERSION, ..Entry::default() };
        let mut alike = BTreeMap::new();
        for (start, leaf) in self.journal.inside(self.closed) {
            for (place, cut) in self.cuts(leaf) {
                let generation = leaf.generations.get(place as usize);
                let Some(generation) = generation.filter(|generation| generation.tables.contains_key(fields)) else {
                    continue;
                };
                let numbers: Vec<u32> = fields.iter().filter_map(|name| generation.fields.get(name)).copied().collect();
                let records = found.get(&(start, place as usize)).copied().unwrap_or_default();
                let whole = CutRow { records, k: KThreshold::NON_PERSONAL, by_records: true, ..cut.clone() };
                let cut = if kind == Kind::Whole { &whole } else { cut };
                judge.again(&mut alike, (start, place), cut, numbers);
            }
        }
        for (alike, targets) in alike {
            judge.judge(book, fields, alike, targets, &mut entry)?;
        }
        Ok(entry)
    }
}
