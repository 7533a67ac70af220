//! Aggregations of this region's own records, for its own clients: exact, and never released to anybody else.

use serde_json::Value;

use crate::query::aggs::Aggs;
use crate::query::dates::DateContext;
use crate::query::{Hits, QueryError};

/// The `aggregations` object of a response; `None` where nothing was asked for.
///
/// # Errors
/// [`QueryError`] where an aggregation is not known or would cost too much.
pub(in crate::present) fn here(hits: &Hits, wanted: &Value, dates: &DateContext) -> Result<Option<Value>, QueryError> {
    let aggs = Aggs::read(wanted, dates)?;
    if aggs.is_empty() {
        return Ok(None);
    }
    Ok(Some(Value::Object(hits.aggregate(&aggs)?.0)))
}
