//! Everything about somebody: the records that an erasure would hide, as rows, for the subject's access to their data.

use std::sync::Arc;

use domicile_proto::ids::TimeRange;

use super::QueryError;
use super::filter::Filter;
use super::hits::{Hits, Row};
use super::search::{Engine, Found, Key, Sort};
use super::visit::Budget;
use crate::limits::EXPORT_RECORDS;
use crate::policy::Wanted;
use crate::segment::Segment;

impl Engine {
    /// Rows of subjects and with tokens, oldest first. Decodes every segment.
    ///
    /// # Errors
    /// [`QueryError`]: a segment cannot be read, the time is up, or there are more than one answer holds.
    pub(crate) fn holding(
        &self,
        segments: Vec<Arc<Segment>>,
        wanted: &Wanted,
        range: TimeRange,
        budget: Budget,
    ) -> Result<Vec<Row>, QueryError> {
        let mut top = Vec::new();
        for (place, segment) in segments.iter().enumerate().filter(|(_, segment)| segment.docs > 0) {
            budget.check()?;
            let columns = segment.reader().fast_fields();
            let (times, seqs) = (columns.i64("ts")?, columns.u64("seq")?);
            for doc in segment.holding(wanted)? {
                let (time, seq) = (times.first(doc).unwrap_or_default(), seqs.first(doc).unwrap_or_default());
                let key = Key::new(Sort::Oldest, 0.0, time, segment.shard, seq);
                top.push(Found { key, segment: place, doc });
            }
            if top.len() > EXPORT_RECORDS {
                return Err(QueryError::TooManyHits);
            }
        }
        top.sort_unstable_by_key(|found| std::cmp::Reverse(found.key));
        let (engine, filter, sort) = (self.clone(), Filter::All, Sort::Oldest);
        Hits { engine, segments, filter, range, sort, budget, total: None, top }.rows()
    }
}
