//! What matched: a handle on sets of documents, not rows. No `Serialize` and no `Debug`, so that it can be put into no
//! message and no log; rows come out of it one page at a time, for whoever may see them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, TimeRange, Timestamp};
use tantivy::columnar::StrColumn;
use tantivy::schema::Value as _;
use tantivy::store::StoreReader;
use tantivy::{DocId, TantivyDocument, TantivyError};

use super::QueryError;
use super::filter::Filter;
use super::search::{Engine, Found, Sort};
use super::visit::Budget;
use crate::index::stored::Stored;
use crate::segment::Segment;

/// How many records match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Total {
    /// The number.
    pub(crate) value: u64,
    /// Whether it is all of them, or at least so many.
    pub(crate) is_exact: bool,
}

/// One row of a page, for eyes of this region. No `Debug`, no `Serialize`.
pub(crate) struct Row {
    /// The producer's `_id`, or the generated one.
    pub(crate) id: String,
    /// The event as compact JSON, as it was stored: cleaned of personal data before it touched a disk.
    pub(crate) source: Vec<u8>,
    /// When it happened.
    pub(crate) time: Timestamp,
    /// Its shard and place in it; with `time`, what `search_after` takes.
    pub(crate) tie: (ShardId, u64),
    /// How well it matches; 0 unless hits are sorted by score.
    pub(crate) score: f32,
}

/// Columns of attributes that stored copies were completed from, by segment and key.
type Columns = HashMap<(usize, String), Option<StrColumn>>;

/// The handle.
pub(crate) struct Hits {
    pub(super) engine: Engine,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) filter: Filter,
    pub(super) range: TimeRange,
    pub(super) sort: Sort,
    pub(super) budget: Budget,
    pub(super) total: Option<Total>,
    pub(super) top: Vec<Found>,
}

impl Hits {
    /// How many records match; `None` where that was not asked for.
    pub(crate) const fn total(&self) -> Option<Total> {
        self.total
    }

    /// The page, in its order. Empty for a key that may see no rows.
    ///
    /// # Errors
    /// [`QueryError`] where a segment cannot be read or the time is up.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, QueryError> {
        // Documents that lie beside each other are read beside each other: the store keeps them in blocks.
        let mut places: Vec<usize> = (0..self.top.len()).collect();
        places.sort_by_key(|place| self.top.get(*place).map(|found| (found.segment, found.doc)));
        let of = |place: &usize| self.top.get(*place).and_then(|found| self.segments.get(found.segment));
        let is_away = |place: &usize| of(place).is_some_and(|segment| segment.is_away());
        let (away, here): (Vec<_>, Vec<_>) = places.into_iter().partition(is_away);
        let mut rows = self.read(&here)?;
        // Each segment in the bucket is waited for beside the others.
        let same =
            |one: &usize, next: &usize| self.top.get(*one).map(|f| f.segment) == self.top.get(*next).map(|f| f.segment);
        let away: Vec<&[usize]> = away.chunk_by(same).collect();
        let records = |places: &&[usize]| places.first().and_then(of).map_or(0, |segment| segment.docs);
        let read = self.engine.beside.each(away, usize::MAX, &self.budget, records, |places| self.read(places))?;
        rows.extend(read.into_iter().flatten());
        rows.sort_unstable_by_key(|(place, _)| *place);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    /// The rows at some places of the page; none where one was erased meanwhile.
    fn read(&self, places: &[usize]) -> Result<Vec<(usize, Row)>, QueryError> {
        let mut columns = Columns::new();
        let mut store: Option<(usize, StoreReader)> = None;
        let mut rows = Vec::new();
        for place in places {
            self.budget.check()?;
            let Some(found) = self.top.get(*place) else { continue };
            let Some(row) = self.row(found, &mut columns, &mut store)? else { continue };
            self.budget.page(row.source.len())?;
            rows.push((*place, row));
        }
        Ok(rows)
    }

    /// `store` is the one that was read last: beside each other lie rows of the same segment, and of the same block.
    fn row(
        &self,
        found: &Found,
        columns: &mut Columns,
        store: &mut Option<(usize, StoreReader)>,
    ) -> Result<Option<Row>, QueryError> {
        let Some(segment) = self.segments.get(found.segment) else { return Ok(None) };
        // It may have been erased since it was found.
        if segment.hidden().holds(found.doc) {
            return Ok(None);
        }
        let opened = match store.take().filter(|(of, _)| *of == found.segment) {
            Some(opened) => opened,
            None => (found.segment, segment.reader().get_store_reader(1)?),
        };
        let (_, reader) = store.insert(opened);
        let document: TantivyDocument = reader.get(found.doc)?;
        let bytes = document.get_first(segment.fields.doc).and_then(|value| value.as_bytes());
        let (score, time, shard, seq) = found.key.open(self.sort);
        let mut unread = None;
        let stored = bytes.and_then(|bytes| {
            Stored::decode(bytes, time, |key| {
                let token = token_of(segment, (found.segment, key), found.doc, columns);
                token.unwrap_or_else(|error| {
                    unread = Some(error);
                    None
                })
            })
        });
        // A token that is out of reach is not one that is not there.
        if let Some(error) = unread {
            return Err(error);
        }
        Ok(stored.map(|stored| Row {
            id: stored.id.map_or_else(|| generated_id(shard, seq), str::to_owned),
            source: stored.json.into_owned(),
            time,
            tie: (shard, seq),
            score,
        }))
    }
}

/// The `_id` of a record whose producer gave none.
pub(crate) fn generated_id(shard: ShardId, seq: u64) -> String {
    format!("{:x}-{seq:x}", shard.0)
}

/// The token of a record under a key of its attributes; none where the record has none.
fn token_of(
    segment: &Segment,
    (place, key): (usize, &str),
    doc: DocId,
    columns: &mut Columns,
) -> Result<Option<String>, QueryError> {
    let column = match columns.entry((place, key.to_owned())) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(segment.reader().fast_fields().str(&format!("attributes.{key}"))?),
    };
    let Some((column, ord)) = column.as_ref().and_then(|column| Some((column, column.term_ords(doc).next()?))) else {
        return Ok(None);
    };
    let mut text = String::new();
    Ok(column.ord_to_str(ord, &mut text).map_err(TantivyError::from)?.then_some(text))
}
