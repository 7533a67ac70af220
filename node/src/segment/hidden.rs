//! The records of a segment that the suppression list of erasure hides: found once, then left out of every search, and of the
//! next segment that is made from this one.
//!
//! Found by decoding: the column of subjects, every stored event, and every text of a column, for a token that is a whole
//! value stands in its column alone. Postings are not asked: they hold parts of tokens.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tantivy::columnar::DynamicColumn;
use tantivy::schema::Value as _;
use tantivy::{BitSet, DocAddress, DocId, TantivyDocument};

use super::Segment;
use crate::policy::{Scope, Suppressions, Wanted};

/// Hidden records of a segment.
#[derive(Clone, Default)]
pub(crate) struct Hidden {
    /// Version of the suppression list that was asked.
    pub(crate) sifted: u64,
    /// One bit for each hidden record; none where nothing is hidden.
    docs: Option<Arc<BitSet>>,
    pub(crate) count: u32,
}

impl Hidden {
    /// A segment in which nothing is hidden.
    pub(super) fn nothing(sifted: u64) -> Self {
        Self { sifted, docs: None, count: 0 }
    }

    pub(crate) fn holds(&self, doc: DocId) -> bool {
        self.docs.as_ref().is_some_and(|docs| docs.contains(doc))
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.docs.is_none()
    }

    /// Leaves hidden records out of a list.
    pub(crate) fn sift(&self, docs: &mut Vec<DocId>) {
        if let Some(hidden) = &self.docs {
            docs.retain(|doc| !hidden.contains(*doc));
        }
    }

    fn and(&self, found: &[DocId], docs: u32, sifted: u64) -> Self {
        if found.is_empty() {
            return Self { sifted, ..self.clone() };
        }
        let mut all = self.docs.as_ref().map_or_else(|| BitSet::with_max_value(docs), |all| BitSet::clone(all));
        found.iter().for_each(|doc| {
            all.insert(*doc);
        });
        Self { sifted, count: u32::try_from(all.len()).unwrap_or(u32::MAX), docs: Some(Arc::new(all)) }
    }
}

impl Segment {
    /// What is hidden of it now.
    pub(crate) fn hidden(&self) -> Arc<Hidden> {
        self.hidden.load_full()
    }

    /// The segment as it was when its shard ended at a place: what came later is hidden, as what is hidden now is.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) fn as_of(&self, upto: u64) -> Result<Self, tantivy::TantivyError> {
        let hidden = self.hidden();
        let later: Vec<DocId> = if self.last_seq <= upto {
            Vec::new()
        } else {
            let seqs = self.reader().fast_fields().u64("seq")?;
            (0..self.docs).filter(|doc| seqs.first(*doc).is_none_or(|seq| seq > upto)).collect()
        };
        let hidden = ArcSwap::from_pointee(hidden.and(&later, self.docs, hidden.sifted));
        Ok(Self {
            id: self.id,
            shard: self.shard,
            docs: self.docs,
            oldest: self.oldest,
            newest: self.newest,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            bytes: self.bytes,
            dir: self.dir.clone(),
            copied: self.copied.clone(),
            built_at: self.built_at,
            received_until: self.received_until,
            fields: Arc::clone(&self.fields),
            searcher: self.searcher.clone(),
            lookups: Arc::clone(&self.lookups),
            hidden,
        })
    }

    /// Hides what the list says, if it was not asked before. Blocks and computes.
    ///
    /// # Errors
    /// The segment cannot be read; nothing of it may be shown then.
    pub(crate) fn sift(&self, list: &Suppressions, scope: Scope) -> Result<(), tantivy::TantivyError> {
        let hidden = self.hidden();
        if hidden.sifted >= list.version() && scope == Scope::Open {
            return Ok(());
        }
        let found = self.holding(&list.of_shard(self.shard, scope))?;
        #[cfg(feature = "jepsen-bugs")]
        let found =
            if self.dir.is_none() && crate::bugs::is_seeded("forget-erase-in-cold") { Vec::new() } else { found };
        self.hidden.store(Arc::new(hidden.and(&found, self.docs, list.version())));
        Ok(())
    }

    /// Every record of a subject, or with a token, whether it is hidden already or not; in rising order.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) fn holding(&self, wanted: &Wanted) -> Result<Vec<DocId>, tantivy::TantivyError> {
        if wanted.is_empty() || self.docs == 0 {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        if !wanted.subjects.is_empty()
            && let Some((column, _)) = self.reader().fast_fields().u64_lenient("subject")?
        {
            let is_wanted = |doc: &DocId| column.first(*doc).is_some_and(|subject| wanted.subjects.contains(&subject));
            found.extend((0..self.docs).filter(is_wanted));
        }
        if !wanted.tokens.is_empty() {
            self.stored_with(wanted, 0..self.docs, &mut found)?;
            self.columns_with(wanted, &mut found)?;
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Whether one of these documents holds what is wanted; of the stored copies only theirs are read.
    fn is_among(&self, wanted: &Wanted, docs: &[DocId]) -> Result<bool, tantivy::TantivyError> {
        let mut found = Vec::new();
        if !wanted.subjects.is_empty() {
            found = self.holding(&Wanted { subjects: wanted.subjects.clone(), ..Wanted::default() })?;
        }
        if !wanted.tokens.is_empty() {
            self.stored_with(wanted, docs.iter().copied(), &mut found)?;
            self.columns_with(wanted, &mut found)?;
        }
        Ok(found.iter().any(|doc| docs.binary_search(doc).is_ok()))
    }

    /// The place of the first of `kept` with a record that is one of `going` as well. Records that are hidden already are not
    /// looked at: they go whatever is said now.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(super) fn shared_with(&self, going: &Wanted, kept: &[Wanted]) -> Result<Option<usize>, tantivy::TantivyError> {
        let mut going = self.holding(going)?;
        self.hidden().sift(&mut going);
        if going.is_empty() {
            return Ok(None);
        }
        for (place, kept) in kept.iter().enumerate() {
            if self.is_among(kept, &going)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn stored_with(
        &self,
        wanted: &Wanted,
        docs: impl Iterator<Item = DocId>,
        found: &mut Vec<DocId>,
    ) -> Result<(), tantivy::TantivyError> {
        for doc in docs {
            let document: TantivyDocument = self.searcher.doc(DocAddress::new(0, doc))?;
            let bytes = document.get_first(self.fields.doc).and_then(|value| value.as_bytes());
            if bytes.is_some_and(|bytes| wanted.stands_in(bytes)) {
                found.push(doc);
            }
        }
        Ok(())
    }

    fn columns_with(&self, wanted: &Wanted, found: &mut Vec<DocId>) -> Result<(), tantivy::TantivyError> {
        for handle in self.reader().fast_fields().dynamic_subpath_column_handles("attributes")? {
            let DynamicColumn::Str(column) = handle.open()? else { continue };
            let mut ords = std::collections::BTreeSet::new();
            let mut terms = column.dictionary().stream()?;
            while terms.advance() {
                if wanted.stands_in(terms.key()) {
                    ords.insert(terms.term_ord());
                }
            }
            if !ords.is_empty() {
                found.extend((0..self.docs).filter(|doc| column.term_ords(*doc).any(|ord| ords.contains(&ord))));
            }
        }
        Ok(())
    }
}
