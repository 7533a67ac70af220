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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;
    use crate::errors::Coded;
    use crate::index::builder::Layout;
    use crate::segment::specimen::{durable, record, segment};

    #[test]
    fn an_export_holds_as_many_records_as_it_may_and_one_more_is_refused_whole() {
        let layout = Layout::new();
        let of = |subject: u64, count: usize, first: u64| {
            let records = (0..count).map(|n| record(i64::try_from(n).unwrap(), Some(subject), json!({}))).collect();
            segment(&layout, durable(3, first, records))
        };
        let (full, one) = (of(7, EXPORT_RECORDS, 1), of(7, 1, 1_000_000));
        let wanted = Wanted { subjects: [7].into(), ..Wanted::default() };
        let engine = Engine::new().unwrap();
        let export = |segments: &[&Arc<Segment>]| {
            let segments = segments.iter().map(|segment| Arc::clone(segment)).collect();
            let budget = Budget::until(Instant::now() + Duration::from_secs(600));
            engine.holding(segments, &wanted, TimeRange::ALL, budget).map(|rows| rows.len())
        };
        assert_eq!(export(&[&full]).unwrap(), EXPORT_RECORDS);
        assert_eq!(export(&[&one, &full]).err().unwrap().code(), "DMC-QUERY-06");
    }
}
