//! The Elasticsearch API at the root of its own port; ingest is `receive`'s. Searching through it is not there yet.

use std::sync::Arc;

use axum::Router;

use super::desk::Desk;

/// Routes besides ingest: none yet.
pub(crate) fn router(_: Arc<Desk>) -> Router {
    Router::new()
}

pub(super) mod aggregations {
    //! Aggregations of this region's own records in Elasticsearch's shape: not there yet.

    use serde_json::Value;

    use crate::query::dates::DateContext;
    use crate::query::{Hits, QueryError};

    /// Folds hits.
    pub(crate) fn here(_: &Hits, _: &Value, _: &DateContext) -> Result<Value, QueryError> {
        Ok(Value::Null)
    }
}
