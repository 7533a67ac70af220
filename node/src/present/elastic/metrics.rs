//! Metrics of a search over several regions: what Elasticsearch calls them, and what of them regions publish. No extremes:
//! the smallest and the largest number are each one record's.

use domicile_proto::aggregate::histogram::FixedHistogram;
use domicile_proto::aggregate::scalars::DistinctEstimate;
use domicile_proto::aggregate::sum::SumCell;
use serde_json::{Map, Value, json};

use crate::present::ask::Wanted;
use crate::present::errors::PresentError;

/// A metric that travels.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Metric {
    /// The sum of published sums.
    Sum(String),
    /// The mean of the records in published sums.
    Mean(String),
    /// Percentiles of published counts between bounds.
    Percentiles(String, Vec<f64>),
    /// Between how many and how many values regions publish.
    Cardinality(String),
}

/// What regions answered for a metric, of all streams.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) sum: SumCell,
    pub(super) histogram: Option<FixedHistogram>,
    /// At least and at most.
    pub(super) distinct: (u64, u64),
    pub(super) withheld: u64,
}

impl Metric {
    /// Reads the body of an aggregation; `None` where it is no metric.
    ///
    /// # Errors
    /// [`PresentError::Unsupported`] for metrics that say something of single records, and for options that are not known.
    pub(super) fn read(body: &Value) -> Result<Option<Self>, PresentError> {
        if let Some(what) = EXTREMES.iter().copied().find(|what| body.get(*what).is_some()) {
            let instead = "the smallest and the largest number are each one record's and never leave a region; use `avg`, `sum` and `percentiles`, or ask in the region itself";
            return Err(PresentError::Unsupported { what, instead });
        }
        let field = |body: &Value, known: &[&str]| {
            let is_known = body.as_object().is_some_and(|body| body.keys().all(|key| known.contains(&key.as_str())));
            body.get("field").and_then(Value::as_str).filter(|_| is_known).map(str::to_owned)
        };
        let wrong = |what| PresentError::Unsupported { what, instead: "other regions are asked with `field` alone" };
        Ok(Some(if let Some(sum) = body.get("sum") {
            Self::Sum(field(sum, &["field"]).ok_or_else(|| wrong("this form of `sum`"))?)
        } else if let Some(mean) = body.get("avg") {
            Self::Mean(field(mean, &["field"]).ok_or_else(|| wrong("this form of `avg`"))?)
        } else if let Some(distinct) = body.get("cardinality") {
            let known = ["field", "precision_threshold"];
            Self::Cardinality(field(distinct, &known).ok_or_else(|| wrong("this form of `cardinality`"))?)
        } else if let Some(percentiles) = body.get("percentiles") {
            let known = ["field", "percents", "tdigest"];
            let wrong = || PresentError::Unsupported {
                what: "this form of `percentiles`",
                instead: "other regions are asked with `field` and `percents` between 0 and 100",
            };
            Self::Percentiles(field(percentiles, &known).ok_or_else(wrong)?, percents(percentiles).ok_or_else(wrong)?)
        } else {
            return Ok(None);
        }))
    }

    /// What regions are asked for it.
    pub(super) fn wanted(&self, by: Option<String>, step: Option<u32>) -> Wanted {
        match self {
            Self::Sum(field) | Self::Mean(field) => Wanted::Sum { field: field.clone(), by, step },
            Self::Percentiles(field, _) => Wanted::Numbers(field.clone()),
            Self::Cardinality(field) => Wanted::Distinct(field.clone()),
        }
    }

    /// Whether there is one for each bucket of another aggregation.
    pub(super) const fn is_for_buckets(&self) -> bool {
        matches!(self, Self::Sum(_) | Self::Mean(_))
    }

    /// As it stands in an answer: `withheld` says of how many regions something is missing.
    pub(super) fn present(&self, found: &Found) -> Value {
        let mut shown = Map::new();
        let withheld = found.withheld.max(found.sum.withheld.into());
        match self {
            Self::Sum(_) => {
                drop(shown.insert("value".to_owned(), json!(mean(&found.sum).map(|_| total_of(&found.sum)))))
            }
            Self::Mean(_) => drop(shown.insert("value".to_owned(), json!(mean(&found.sum)))),
            Self::Percentiles(_, percents) => {
                let one = |percent: &f64| {
                    let value = found.histogram.as_ref().and_then(|histogram| percentile(histogram, *percent));
                    (format!("{percent:?}"), json!(value))
                };
                shown.insert("values".to_owned(), Value::Object(percents.iter().map(one).collect()));
            }
            Self::Cardinality(_) => {
                let (at_least, at_most) = found.distinct;
                shown.insert("value".to_owned(), json!(at_least));
                shown.insert("at_least".to_owned(), json!(at_least));
                shown.insert("at_most".to_owned(), json!(at_most));
            }
        }
        if withheld > 0 {
            shown.insert("withheld".to_owned(), json!(withheld));
        }
        Value::Object(shown)
    }
}

impl Found {
    /// Adds the number of distinct values of one stream: values of several streams may be the same ones.
    pub(super) fn add_distinct(&mut self, estimate: &DistinctEstimate) {
        let (least, most) = estimate.interval();
        self.distinct = (self.distinct.0.max(least), self.distinct.1.saturating_add(most));
        self.withheld += estimate.regions.iter().filter(|(_, value)| value.is_none()).count() as u64;
    }

    /// Adds the counts of one stream; of other bounds they cannot be added.
    pub(super) fn add_histogram(&mut self, histogram: &FixedHistogram) {
        self.withheld += histogram.cells.iter().filter(|cell| !cell.is_exact()).count() as u64;
        self.histogram = match self.histogram.take() {
            None => Some(histogram.clone()),
            Some(before) => {
                let merged = FixedHistogram { field: before.field, ..histogram.clone() }.merge(before.clone());
                Some(merged.unwrap_or(before))
            }
        };
    }
}

/// The mean of what was added up; `None` where nothing is published.
#[allow(clippy::cast_precision_loss, reason = "a mean is a float")]
pub(in crate::present) fn mean(cell: &SumCell) -> Option<f64> {
    (cell.records.0 > 0).then(|| cell.total as f64 / cell.records.0 as f64)
}

/// A sum as JSON can hold it.
#[allow(clippy::cast_precision_loss, reason = "beyond 64 bits there is no other number in JSON")]
pub(in crate::present) fn total_of(cell: &SumCell) -> Value {
    i64::try_from(cell.total).map_or_else(|_| json!(cell.total as f64), |total| json!(total))
}

/// A percentage in thousandths; `None` outside of 0 to 100, both excluded, and where it is finer than that.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared with the range before")]
pub(in crate::present) fn per_mille(percent: f64) -> Option<u16> {
    let thousandths = percent * 10.0;
    let is_whole = (thousandths - thousandths.round()).abs() < 1e-6;
    (is_whole && (0.5..999.5).contains(&thousandths)).then_some(thousandths.round() as u16)
}

/// A percentile of published counts: in the cell it falls into, as if the numbers lay evenly between its bounds.
#[allow(clippy::cast_precision_loss, reason = "an estimate between two bounds")]
fn percentile(histogram: &FixedHistogram, percent: f64) -> Option<f64> {
    let all: u64 = histogram.cells.iter().map(|cell| cell.records.0).sum();
    let rank = all as f64 * percent / 100.0;
    let mut below = 0.0;
    for (place, cell) in histogram.cells.iter().enumerate().filter(|(_, cell)| cell.records.0 > 0) {
        let here = cell.records.0 as f64;
        if below + here >= rank {
            let upper = histogram.bounds.get(place).or_else(|| histogram.bounds.last())?;
            let lower = place
                .checked_sub(1)
                .map_or_else(|| (*upper).min(0), |at| histogram.bounds.get(at).copied().unwrap_or(*upper));
            return Some((*upper - lower) as f64 * ((rank - below) / here).clamp(0.0, 1.0) + lower as f64);
        }
        below += here;
    }
    None
}

fn percents(body: &Value) -> Option<Vec<f64>> {
    let Some(named) = body.get("percents") else { return Some(PERCENTS.to_vec()) };
    let named: Option<Vec<f64>> = named.as_array()?.iter().map(Value::as_f64).collect();
    named.filter(|named| named.iter().all(|percent| *percent > 0.0 && *percent < 100.0))
}

/// Metrics that say something of single records.
const EXTREMES: [&str; 7] = ["min", "max", "stats", "extended_stats", "top_hits", "top_metrics", "boxplot"];
/// What Elasticsearch shows unless others are named.
const PERCENTS: [f64; 7] = [1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0];

#[cfg(test)]
mod tests {
    use domicile_proto::aggregate::cell::Cell;
    use domicile_proto::ids::{FieldId, RecordCount};

    use super::*;

    #[test]
    fn a_percentile_lies_between_the_bounds_of_its_cell() {
        let cells = [50, 0, 50].map(|records| Cell::published(RecordCount(records))).to_vec();
        let histogram = FixedHistogram { field: FieldId(1), bounds: vec![10, 20], cells };
        for (percent, value) in [(25.0, 5.0), (50.0, 10.0), (75.0, 20.0), (99.0, 20.0)] {
            assert_eq!(percentile(&histogram, percent), Some(value), "{percent}");
        }
        let nothing = FixedHistogram::empty(FieldId(1), vec![10, 20]);
        assert_eq!(percentile(&nothing, 50.0), None);
    }

    #[test]
    fn extremes_are_refused_by_name_and_thousandths_are_whole() {
        for body in EXTREMES.map(|what| json!({what: {"field": "ms"}})) {
            assert!(matches!(Metric::read(&body), Err(PresentError::Unsupported { .. })), "{body}");
        }
        assert!(Metric::read(&json!({"sum": {"field": "ms", "script": "1"}})).is_err());
        assert_eq!(Metric::read(&json!({"terms": {"field": "level"}})).expect("none"), None);
        for (percent, expected) in [(95.0, Some(950)), (99.9, Some(999)), (0.0, None), (100.0, None), (99.95, None)] {
            assert_eq!(per_mille(percent), expected, "{percent}");
        }
    }
}
