//! What one node found: its page, its count, its buckets, and what it did not search; and how the parts of several nodes become one.

use domicile_proto::ids::{ShardId, StreamId, Timestamp};

use super::{Reader, VERSION, Writer};
use crate::limits::{PART_BYTES, ROWS_PIECE_BYTES};
use crate::query::QueryError;
use crate::query::aggs::{Aggs, Gathered};
use crate::query::hits::{Row, Total};
use crate::query::search::{Key, Sort, TrackTotal};
use crate::query::visit::Budget;
use crate::segment::Unsearched;

/// What one node found. No `Debug`.
#[derive(Default)]
pub(crate) struct Part {
    /// Its page, in the wanted order.
    pub(crate) rows: Vec<Row>,
    /// How many records match; `None` where that was not asked for.
    pub(crate) total: Option<Total>,
    /// Its buckets, where something is aggregated.
    pub(crate) gathered: Option<Gathered>,
    /// What lies in the archive and was not searched.
    pub(crate) unsearched: Vec<(StreamId, Unsearched)>,
    /// Bytes of its records that took room on the page of the search already; none of what another node sent.
    pub(crate) on_page: usize,
}

impl Part {
    /// As pieces of bytes, in their order. Room for them is taken from the budget, which the caller keeps until they have gone.
    ///
    /// # Errors
    /// [`QueryError::TooCostly`], [`QueryError::Crowded`].
    pub(crate) fn pieces(&self, budget: &Budget) -> Result<Vec<Vec<u8>>, QueryError> {
        let mut to = Writer::default();
        to.byte(VERSION);
        to.count(self.rows.len());
        for row in &self.rows {
            to.long(row.time.0.cast_unsigned());
            to.long(row.tie.0.0);
            to.long(row.tie.1);
            to.short(row.score.to_bits());
            to.text(&row.id);
            to.bytes(&row.source);
        }
        to.option(self.total, |to, total| {
            to.long(total.value);
            to.flag(total.is_exact);
        });
        to.count(self.unsearched.len());
        for (stream, missing) in &self.unsearched {
            to.short(stream.0);
            to.long(missing.segments);
            to.long(missing.records);
            to.long(missing.bytes);
            to.long(missing.oldest.0.cast_unsigned());
            to.long(missing.newest.0.cast_unsigned());
        }
        to.option(self.gathered.as_ref(), |to, gathered| gathered.write(to));
        if to.0.len() > PART_BYTES {
            return Err(QueryError::TooCostly);
        }
        budget.gather(to.0.len())?;
        Ok(to.0.chunks(ROWS_PIECE_BYTES).map(<[u8]>::to_vec).collect())
    }

    fn read(bytes: &[u8], aggs: &Aggs, budget: &Budget) -> Result<Option<Self>, QueryError> {
        let mut from = Reader::new(bytes);
        let part = Self::read_from(&mut from, aggs, budget);
        match from.refused.take() {
            Some(error) => Err(error),
            None => Ok(part.filter(|_| from.is_over())),
        }
    }

    fn read_from(from: &mut Reader<'_>, aggs: &Aggs, budget: &Budget) -> Option<Self> {
        if from.byte()? != VERSION {
            return None;
        }
        let rows = from.list(ROW_BYTES, |from| {
            let time = Timestamp(from.long()?.cast_signed());
            let tie = (ShardId(from.long()?), from.long()?);
            let score = f32::from_bits(from.short()?);
            let (id, source) = (from.text()?, from.bytes()?.to_vec());
            from.bears(budget.page(source.len()))?;
            Some(Row { id, source, time, tie, score })
        })?;
        let total = from.option(|from| Some(Total { value: from.long()?, is_exact: from.flag()? }))?;
        let unsearched = from.list(UNSEARCHED_BYTES, |from| {
            let stream = StreamId(from.short()?);
            let (segments, records, bytes) = (from.long()?, from.long()?, from.long()?);
            let mut at = || from.long().map(|micros| Timestamp(micros.cast_signed()));
            let (oldest, newest) = (at()?, at()?);
            Some((stream, Unsearched { segments, records, bytes, oldest, newest }))
        })?;
        let gathered = from.option(|from| Gathered::read(from, aggs, budget))?;
        Some(Self { rows, total, gathered, unsearched, on_page: 0 })
    }
}

/// The least that a row takes: time, shard, place, score and two lengths.
const ROW_BYTES: usize = 8 + 8 + 8 + 4 + 4 + 4;
/// What a stream in the archive takes.
const UNSEARCHED_BYTES: usize = 4 + 5 * 8;

/// Bytes of a part as they come in, within the room of the search that waits for them.
pub(crate) struct Arriving {
    budget: Budget,
    bytes: Vec<u8>,
    refused: Option<QueryError>,
}

impl Arriving {
    /// For a search.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self { budget: budget.off_page(), bytes: Vec::new(), refused: None }
    }

    /// Takes one more piece; false where there is no room for it.
    pub(crate) fn take(&mut self, piece: &[u8]) -> bool {
        let length = self.bytes.len().saturating_add(piece.len());
        let taken = if length > PART_BYTES { Err(QueryError::TooCostly) } else { self.budget.gather(piece.len()) };
        match taken {
            Ok(()) => self.bytes.extend_from_slice(piece),
            Err(error) => self.refused = Some(error),
        }
        self.refused.is_none()
    }

    /// Why a piece was not taken.
    pub(crate) fn refused(&mut self) -> Option<QueryError> {
        self.refused.take()
    }

    /// Nothing of what came counts: it comes once more.
    pub(crate) fn begin_again(&mut self) {
        self.budget.give_back(self.bytes.len());
        self.bytes.clear();
        self.refused = None;
    }

    /// What came, whole: `None` where it is no part, or one of other rows than these many, or of other aggregations.
    ///
    /// # Errors
    /// [`QueryError::PageTooLarge`], [`QueryError::TooCostly`], [`QueryError::Crowded`].
    pub(crate) fn read(self, rows: u64, aggs: &Aggs) -> Result<Option<Part>, QueryError> {
        let part = Part::read(&self.bytes, aggs, &self.budget);
        self.budget.give_back(self.bytes.len());
        Ok(part?.filter(|part| u64::try_from(part.rows.len()) == Ok(rows)))
    }
}

/// The parts of several nodes as if one had found them all: the first `size` rows of all in the wanted order, counts added up, buckets
/// joined. One part stays as it is. What other nodes sent takes room on the page now: the rows that are shown.
///
/// # Errors
/// [`QueryError::PageTooLarge`].
pub(crate) fn merged(
    parts: Vec<Part>,
    sort: Sort,
    size: usize,
    total: TrackTotal,
    budget: &Budget,
) -> Result<Part, QueryError> {
    let mut whole = Part::default();
    let is_one = parts.len() == 1;
    let (mut sum, mut is_exact) = (0_u64, true);
    for part in parts {
        whole.rows.extend(part.rows);
        whole.unsearched.extend(part.unsearched);
        whole.on_page += part.on_page;
        if let Some(part) = part.total {
            sum = sum.saturating_add(part.value);
            is_exact &= part.is_exact;
        }
        match (&mut whole.gathered, part.gathered) {
            (Some(mine), Some(more)) => mine.merge(more, budget),
            (mine @ None, more) => *mine = more,
            (Some(_), None) => {}
        }
    }
    if !is_one {
        let key = |row: &Row| Key::new(sort, row.score, row.time.0, row.tie.0, row.tie.1);
        whole.rows.sort_by_cached_key(|row| std::cmp::Reverse(key(row)));
        whole.rows.truncate(size);
    }
    let shown: usize = whole.rows.iter().map(|row| row.source.len()).sum();
    budget.page(shown.saturating_sub(whole.on_page))?;
    whole.total = match total {
        TrackTotal::No => None,
        TrackTotal::Exact => Some(Total { value: sum, is_exact }),
        TrackTotal::UpTo(limit) => Some(Total { value: sum.min(limit), is_exact: is_exact && sum <= limit }),
    };
    Ok(whole)
}
