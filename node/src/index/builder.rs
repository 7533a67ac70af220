//! Builds one segment: records in, a tantivy index of exactly one tantivy segment out.
//!
//! One thread, no clock, no queue; whoever calls it decides when a segment begins and ends and where it is written.

use std::path::Path;
use std::sync::Arc;

use domicile_proto::ids::Timestamp;
use tantivy::directory::{Directory, RamDirectory};
use tantivy::indexer::SingleSegmentIndexWriter;
use tantivy::store::{Compressor, ZstdCompressor};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Index, IndexSettings};

use super::directory::Unflushed;
use super::document::Entry;
use super::errors::IndexError;
use super::schema::Fields;
use super::words::tokenizers;
use crate::policy::{Suppression, Suppressions};
use crate::wal::Durable;

/// What all segments of this build have in common.
#[derive(Clone)]
pub(crate) struct Layout {
    pub(crate) fields: Arc<Fields>,
    pub(crate) tokenizers: TokenizerManager,
    /// Whose records become part of no segment.
    pub(crate) suppression: Suppression,
}

impl Layout {
    /// With nobody erased.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::under(Suppression::default())
    }

    /// With the suppression list of erasure.
    pub(crate) fn under(suppression: Suppression) -> Self {
        Self { fields: Arc::new(Fields::new()), tokenizers: tokenizers(), suppression }
    }

    /// How stored events are compressed: large blocks, since they hold most of a segment's bytes and newest hits lie close
    /// together.
    pub(crate) fn settings() -> IndexSettings {
        IndexSettings {
            docstore_compression: Compressor::Zstd(ZstdCompressor { compression_level: Some(DOC_LEVEL) }),
            docstore_blocksize: DOC_BLOCK_BYTES,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        }
    }
}

/// A segment that is growing.
pub(crate) struct Builder {
    layout: Layout,
    writer: SingleSegmentIndexWriter<Entry>,
    /// The directory, where it is in memory.
    memory: Option<RamDirectory>,
    /// The suppression list from the first record on.
    suppressed: Arc<Suppressions>,
    docs: u32,
    oldest: i64,
    newest: i64,
    seqs: Option<(u64, u64)>,
    received_until: Timestamp,
}

/// A segment that has been built.
pub(crate) struct Built {
    pub(crate) index: Index,
    /// Memory it takes, for a segment in memory; 0 on disk.
    pub(crate) bytes: u64,
    pub(crate) docs: u32,
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// When the last of its records was accepted.
    pub(crate) received_until: Timestamp,
    /// Version of the suppression list under which none of its records is suppressed.
    pub(crate) sifted: u64,
}

impl Builder {
    /// A segment in memory for about so many bytes of JSON.
    pub(crate) fn in_memory(layout: &Layout, json_bytes: usize) -> Result<Self, IndexError> {
        let memory = RamDirectory::create();
        Ok(Self { memory: Some(memory.clone()), ..Self::begin(layout, memory, json_bytes)? })
    }

    /// A segment in a directory, which is made and must not be there yet.
    pub(crate) fn on_disk(layout: &Layout, dir: &Path, json_bytes: usize) -> Result<Self, IndexError> {
        let refused = |source| IndexError::Directory { dir: dir.display().to_string(), source };
        std::fs::create_dir(dir).map_err(refused)?;
        let directory = Unflushed::open(dir).map_err(|error| IndexError::Build(error.into()))?;
        Self::begin(layout, directory, json_bytes)
    }

    fn begin(layout: &Layout, dir: impl Into<Box<dyn Directory>>, json_bytes: usize) -> Result<Self, IndexError> {
        // The engine takes a third of it for its first table of terms; the table grows by itself.
        let budget = json_bytes.clamp(MIN_BUDGET_BYTES, MAX_BUDGET_BYTES);
        let writer = Index::builder()
            .schema(layout.fields.schema.clone())
            .settings(Layout::settings())
            .tokenizers(layout.tokenizers.clone())
            .single_segment_index_writer(dir, budget)
            .map_err(IndexError::Build)?;
        Ok(Self {
            suppressed: layout.suppression.now(),
            layout: layout.clone(),
            writer,
            memory: None,
            docs: 0,
            oldest: i64::MAX,
            newest: i64::MIN,
            seqs: None,
            received_until: Timestamp(i64::MIN),
        })
    }

    /// Takes records of the shard that follow those already taken. Records of erased subjects keep their places and are left out.
    pub(crate) fn add(&mut self, durable: Durable) -> Result<(), IndexError> {
        let (first, last) = (durable.first_seq, durable.last_seq());
        if durable.records.is_empty() {
            return Ok(());
        }
        debug_assert!(self.seqs.is_none_or(|(_, taken)| first > taken), "places of a shard rise");
        self.received_until = self.received_until.max(durable.accepted_at);
        let wanted = self.suppressed.of_stream(durable.tenant, durable.stream);
        for (seq, record) in (first..).zip(durable.records) {
            if wanted.hides(record.subject(), record.id(), record.json()) {
                self.layout.suppression.count_late();
                continue;
            }
            let at = record.timestamp().0;
            self.oldest = self.oldest.min(at);
            self.newest = self.newest.max(at);
            let entry = Entry::new(&self.layout.fields, seq, record);
            self.writer.add_document(entry).map_err(IndexError::Build)?;
            self.docs += 1;
        }
        self.seqs = Some((self.seqs.map_or(first, |(begin, _)| begin), last));
        Ok(())
    }

    /// Finishes the segment; `None` where no record was added.
    pub(crate) fn finish(self) -> Result<Option<Built>, IndexError> {
        let Some((first_seq, last_seq)) = self.seqs else { return Ok(None) };
        let mut index = self.writer.finalize().map_err(IndexError::Build)?;
        index.set_tokenizers(self.layout.tokenizers.clone());
        Ok(Some(Built {
            index,
            bytes: self.memory.map_or(0, |memory| memory.total_mem_usage() as u64),
            docs: self.docs,
            // Without a record in it a segment has no times.
            oldest: Timestamp(if self.docs == 0 { 0 } else { self.oldest }),
            newest: Timestamp(if self.docs == 0 { 0 } else { self.newest }),
            first_seq,
            last_seq,
            received_until: self.received_until,
            sifted: self.suppressed.version(),
        }))
    }
}

/// Level of zstd for stored events: 7 % smaller than 3 for 6 % more time of building; 9 gains 2 % more and costs a quarter.
const DOC_LEVEL: i32 = 6;
/// Stored events compressed together, in bytes: 17 % smaller than 128 KiB; a hit costs a millisecond for its block.
const DOC_BLOCK_BYTES: usize = 512 << 10;
/// Least and most the engine is told to plan for, in bytes.
const MIN_BUDGET_BYTES: usize = 1 << 20;
const MAX_BUDGET_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tantivy::TantivyDocument;
    use tantivy::Term;
    use tantivy::collector::Count;
    use tantivy::query::TermQuery;
    use tantivy::schema::{IndexRecordOption, Value};

    use super::super::schema::id_hash;
    use super::super::stored::Stored;
    use super::*;
    use crate::segment::Segment;
    use crate::segment::specimen::{durable, record, segment};

    fn event() -> serde_json::Value {
        json!({
            "@timestamp": "2026-01-01T00:00:00Z", "level": "error", "_id": "own-id",
            "message": "Connection to 東京 timed out", "service": {"name": "cart", "version": "1.2"}, "host": "h1",
            "trace_id": "0123456789abcdef0123456789abcdef", "request": {"id": "1a2b3c4d-1a2b-3c4d-1a2b-3c4d5e6f7a8b"},
            "ms": 12.5, "retries": 3, "ok": true, "tags": ["a", "b"], "none": null, "a.b": "dotted",
            "stack_trace": "at Main.java", "long": "x".repeat(200) + " needle " + &"y".repeat(200),
        })
    }

    fn stored_json(segment: &Segment, doc: u32) -> Vec<u8> {
        let document: TantivyDocument = segment.searcher.doc(tantivy::DocAddress::new(0, doc)).unwrap();
        let bytes = document.get_first(segment.fields.doc).unwrap().as_bytes().unwrap();
        let at = segment.reader().fast_fields().i64("ts").unwrap().first(doc).unwrap();
        Stored::decode(bytes, Timestamp(at), |_| None).unwrap().json.into_owned()
    }

    #[test]
    fn words_of_an_event_are_found_and_the_event_comes_back() {
        let layout = Layout::new();
        let segment = segment(&layout, durable(9, 5, vec![record(1_000, Some(77), event())]));
        let fields = &layout.fields;
        assert_eq!((segment.docs, segment.first_seq, segment.last_seq, segment.oldest.0), (1, 5, 5, 1_000));
        for (field, text, found) in [
            (fields.message, "connection", 1),
            (fields.message, "東京", 1),
            (fields.message, "at", 0),
            (fields.more, "main", 1),
            (fields.more, "needle", 1),
            (fields.service, "cart", 1),
            (fields.host, "h1", 1),
        ] {
            let query = TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::Basic);
            assert_eq!(segment.searcher.search(&query, &Count).unwrap(), found, "{text}");
        }
        let mut expected = event();
        expected.as_object_mut().unwrap().shift_remove("_id");
        assert!(serde_json::from_slice::<serde_json::Value>(&stored_json(&segment, 0)).unwrap() == expected);
    }

    #[test]
    fn columns_of_an_event_are_where_the_layout_says() {
        let layout = Layout::new();
        let segment = segment(&layout, durable(9, 5, vec![record(1_000, Some(77), event())]));
        let columns = segment.reader().fast_fields();
        assert_eq!(columns.u64("seq").unwrap().first(0), Some(5));
        assert_eq!(columns.i64("ts").unwrap().first(0), Some(1_000));
        assert_eq!(columns.u64("level").unwrap().first(0), Some(6));
        assert_eq!(columns.u64("subject").unwrap().first(0), Some(77));
        let trace = id_hash("trace_id", "0123456789abcdef0123456789abcdef");
        assert_eq!(columns.u64("trace").unwrap().first(0), Some(trace));
        let ids: Vec<u64> = columns.u64("ids").unwrap().values_for_doc(0).collect();
        let request = id_hash("request.id", "1a2b3c4d-1a2b-3c4d-1a2b-3c4d5e6f7a8b");
        assert_eq!(ids, [id_hash("_id", "own-id"), request]);
        assert_eq!(columns.f64("attributes.ms").unwrap().first(0), Some(12.5));
        assert_eq!(columns.i64("attributes.retries").unwrap().first(0), Some(3));
        assert_eq!(columns.bool("attributes.ok").unwrap().first(0), Some(true));
        for (path, is_there) in [
            ("attributes.service.version", true),
            ("attributes.service.name", false),
            ("attributes.tags", true),
            ("attributes.a.b", true),
            ("attributes.message", false),
            ("attributes.host", false),
            ("attributes.trace_id", false),
            ("attributes.request.id", false),
            ("attributes.long", false),
            ("attributes.@timestamp", false),
            ("attributes.stack_trace", false),
        ] {
            assert_eq!(columns.str(path).unwrap().is_some(), is_there, "{path}");
        }
    }

    #[test]
    fn hostile_keys_and_values_become_a_segment_and_nothing_is_lost() {
        let layout = Layout::new();
        let mut deep = json!("end");
        for _ in 0..30 {
            deep = json!({ "d": deep });
        }
        let events = [
            json!({"\u{0}": "zero", "\u{1}": {"\u{1}\u{0}": 1}, "": {"": ""}, ".": ".", "..a..": [[[]], {}, null]}),
            json!({"deep": deep, "big": u64::MAX, "small": i64::MIN, "float": 1e308, "message": "", "service": ""}),
            json!({"x": 1}),
            json!({"x": "text"}),
            json!({"x": true}),
            json!({"x": {"y": 2}}),
            json!({"x": -1.5}),
            json!({"service": "s".repeat(100_000), "message": "m".repeat(70_000)}),
            json!({}),
        ];
        let records: Vec<_> = events.iter().map(|event| record(1, None, event.clone())).collect();
        let docs = u32::try_from(records.len()).unwrap();
        let segment = segment(&layout, durable(1, 1, records));
        assert_eq!(segment.docs, docs);
        for (doc, event) in (0..docs).zip(&events) {
            assert!(stored_json(&segment, doc) == serde_json::to_vec(event).unwrap());
        }
    }

    #[test]
    fn a_builder_without_records_builds_nothing() {
        let layout = Layout::new();
        let mut builder = Builder::in_memory(&layout, 0).unwrap();
        builder.add(durable(1, 1, Vec::new())).unwrap();
        assert!(builder.finish().unwrap().is_none());
    }
}
