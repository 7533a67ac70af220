//! Every match by its subject and its place in the shard: what the overlap guard of the release keeps in mind.
//!
//! Only numbers come out: a keyed hash of the subject and the record's place. No row, no value.

use tantivy::DocId;

use super::QueryError;
use super::hits::Hits;
use super::visit::{compiled, units, visit};

/// One match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// Keyed hash of its subject, where it has one.
    pub(crate) subject: Option<u64>,
    /// The shard it lies in.
    pub(crate) shard: u64,
    /// Its place there.
    pub(crate) seq: u64,
}

impl Hits {
    /// Gives every match (not only the page) to a collector; one collector for each stretch of a segment.
    ///
    /// # Errors
    /// [`QueryError`] where a segment cannot be read or the time is up.
    pub(crate) fn matched<T: Send>(
        &self,
        begin: impl Fn() -> T + Sync,
        add: impl Fn(&mut T, Match) -> Result<(), QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        self.engine.each(units(&self.segments, self.range), &self.budget, |unit| {
            let columns = unit.segment.reader().fast_fields();
            let (seqs, subjects) = (columns.u64("seq")?, columns.u64("subject")?);
            let shard = unit.segment.shard.0;
            let mut collector = begin();
            let mut one = |doc: DocId| {
                let seq = seqs.first(doc).unwrap_or_default();
                add(&mut collector, Match { subject: subjects.first(doc), shard, seq })
            };
            visit(&unit, compiled(&self.filter, &unit, false, &self.budget)?, self.range, &self.budget, &mut |docs| {
                docs.iter().try_for_each(|doc| one(*doc))?;
                Ok(true)
            })?;
            Ok(collector)
        })
    }
}
