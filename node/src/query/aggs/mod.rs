//! Aggregations of Elasticsearch over hits, for this region's own clients alone: what they give is not released and never
//! crosses a border.
//!
//! [`request`] reads them, [`collect`] gathers stretch by stretch, [`render`] writes what clients expect; [`carried`] is what was
//! gathered on its way to another node of the region.

mod carried;
mod collect;
mod numbers;
mod render;
mod request;
mod sum;

#[cfg(test)]
mod aggs_test;

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};

use self::collect::{Gatherer, Node};
pub(crate) use self::request::Aggs;
use super::QueryError;
use super::hits::Hits;
use super::visit::{Budget, compiled, units, visit};
use crate::limits::COLD_GATHERED_AT_ONCE;

/// Buckets and numbers before they are written out: those of several nodes become one. No `Debug`.
#[derive(Default)]
pub(crate) struct Gathered {
    nodes: Vec<Node>,
    matched: u64,
}

impl Gathered {
    /// Takes in what another node gathered for the same aggregations; the room of what both had is given back.
    pub(super) fn merge(&mut self, other: Self, budget: &Budget) {
        self.matched = self.matched.saturating_add(other.matched);
        for (node, part) in self.nodes.iter_mut().zip(other.nodes) {
            node.merge(part, budget);
        }
    }

    /// The object `aggregations`.
    ///
    /// # Errors
    /// [`QueryError::TooManyBuckets`].
    pub(crate) fn shown(&self, aggs: &Aggs) -> Result<Map<String, Json>, QueryError> {
        render::object(aggs, &self.nodes)
    }
}

impl Hits {
    /// Aggregates all hits (not only the page).
    ///
    /// # Errors
    /// [`QueryError`] where there are too many buckets, a segment cannot be read or the time is up.
    pub(crate) fn gather(&self, aggs: &Aggs) -> Result<Gathered, QueryError> {
        let empty: Vec<Node> = aggs.0.iter().map(|_| Node::default()).collect();
        // Stretches are merged as they end: what two of them have in common is held once, but for those that are under way.
        let whole = Mutex::new(Gathered { nodes: empty, matched: 0 });
        self.engine.each_of(units(&self.segments, self.range), COLD_GATHERED_AT_ONCE, &self.budget, |unit| {
            let mut gatherers = Vec::new();
            for (_, agg) in &aggs.0 {
                gatherers.push(Gatherer::new(agg, &unit, &self.budget)?);
            }
            let mut parents = Vec::new();
            let mut matched = 0;
            let compiled = compiled(&self.filter, &unit, false, &self.budget)?;
            visit(&unit, compiled, self.range, &self.budget, &mut |docs| {
                parents.resize(docs.len(), 0);
                matched += docs.len() as u64;
                for gatherer in &mut gatherers {
                    gatherer.gather(docs, &parents)?;
                }
                Ok(true)
            })?;
            let mut nodes = Vec::new();
            for gatherer in gatherers {
                nodes.extend(gatherer.finish(1)?);
            }
            whole.lock().merge(Gathered { nodes, matched }, &self.budget);
            Ok(())
        })?;
        Ok(whole.into_inner())
    }

    /// The object `aggregations` at once, and the number of hits.
    #[cfg(test)]
    pub(crate) fn aggregate(&self, aggs: &Aggs) -> Result<(Map<String, Json>, u64), QueryError> {
        let gathered = self.gather(aggs)?;
        Ok((gathered.shown(aggs)?, gathered.matched))
    }
}
