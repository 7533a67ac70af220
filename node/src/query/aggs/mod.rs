//! Aggregations of Elasticsearch over hits, for this region's own clients alone: what they give is not released and never
//! crosses a border.
//!
//! [`request`] reads them, [`collect`] gathers stretch by stretch, [`render`] writes what clients expect.

mod collect;
mod numbers;
mod render;
mod request;

#[cfg(test)]
mod aggs_test;

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};

use self::collect::{Gatherer, Node};
pub(crate) use self::request::Aggs;
use super::QueryError;
use super::hits::Hits;
use super::visit::{compiled, units, visit};

impl Hits {
    /// Aggregates all hits (not only the page). Gives the object `aggregations` and the number of hits.
    ///
    /// # Errors
    /// [`QueryError`] where there are too many buckets, a segment cannot be read or the time is up.
    pub(crate) fn aggregate(&self, aggs: &Aggs) -> Result<(Map<String, Json>, u64), QueryError> {
        let empty: Vec<Node> = aggs.0.iter().map(|_| Node::default()).collect();
        // Stretches are merged as they end: what two of them have in common is held once.
        let whole = Mutex::new((empty, 0));
        self.engine.each(units(&self.segments, self.range), |unit| {
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
            let mut whole = whole.lock();
            whole.1 += matched;
            for (node, part) in whole.0.iter_mut().zip(nodes) {
                node.merge(part, &self.budget);
            }
            Ok(())
        })?;
        let (whole, matched) = whole.into_inner();
        Ok((render::object(aggs, &whole)?, matched))
    }
}
