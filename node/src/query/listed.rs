//! A filter that has been worked out already: a rising list of documents, dressed as a query so that it joins the others.

use std::fmt;
use std::sync::Arc;

use tantivy::index::SegmentReader;
use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{BitSet, DocId, DocSet, Score, TERMINATED};

/// The list.
#[derive(Clone)]
pub(super) struct Listed(Arc<[DocId]>);

impl Listed {
    /// Documents in strictly rising order.
    pub(super) fn new(docs: Vec<DocId>) -> Self {
        debug_assert!(docs.is_sorted_by(|a, b| a < b), "documents rise");
        Self(docs.into())
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listed({} documents)", self.0.len())
    }
}

impl Query for Listed {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(ListedWeight(self.clone())))
    }
}

struct ListedWeight(Listed);

impl Weight for ListedWeight {
    fn scorer(&self, _: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(Box::new(ConstScorer::new(Cursor { docs: Arc::clone(&self.0.0), at: 0 }, boost)))
    }

    fn explain(&self, _: &SegmentReader, _: DocId) -> tantivy::Result<Explanation> {
        Ok(Explanation::new("listed", 1.0))
    }
}

struct Cursor {
    docs: Arc<[DocId]>,
    at: usize,
}

impl DocSet for Cursor {
    fn advance(&mut self) -> DocId {
        self.at = self.at.saturating_add(1);
        self.doc()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        let rest = self.docs.get(self.at..).unwrap_or_default();
        self.at += rest.partition_point(|doc| *doc < target);
        self.doc()
    }

    fn doc(&self) -> DocId {
        self.docs.get(self.at).copied().unwrap_or(TERMINATED)
    }

    fn size_hint(&self) -> u32 {
        u32::try_from(self.docs.len()).unwrap_or(u32::MAX)
    }
}

/// The same for many documents: one bit for each of the segment.
#[derive(Clone)]
pub(super) struct Marked(Arc<BitSet>);

impl Marked {
    pub(super) fn new(docs: BitSet) -> Self {
        Self(Arc::new(docs))
    }
}

impl fmt::Debug for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Marked({} documents)", self.0.len())
    }
}

impl Query for Marked {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(MarkedWeight(self.clone())))
    }
}

struct MarkedWeight(Marked);

impl Weight for MarkedWeight {
    fn scorer(&self, _: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(self.0.0.as_ref().clone()), boost)))
    }

    fn explain(&self, _: &SegmentReader, _: DocId) -> tantivy::Result<Explanation> {
        Ok(Explanation::new("marked", 1.0))
    }
}
