//! How a record is represented inside a segment; known to `index`, `segment` and `query` alone.
//!
//! | field | kind | holds |
//! |---|---|---|
//! | `ts` | i64, column | time of the event in microseconds UTC |
//! | `seq` | u64, column | place of the record in its shard: newest-first order, ties, the generated `_id` |
//! | `level` | u64, postings and column | number of the level |
//! | `service`, `host` | text, one term, postings and column | the envelope fields |
//! | `trace` | u64, column | [`id_hash`] of the trace id: no postings, a column and a filter answer it |
//! | `ids` | u64, column of many | [`id_hash`] of the producer's `_id` and of every other value that looks like an id |
//! | `subject` | u64, column | keyed hash of the subject |
//! | `message` | text, words with positions | the message |
//! | `more` | text, words with positions | exception, and attributes too long for a column |
//! | `attributes` | JSON, columns | every other key of the event, nested ones by dotted path |
//! | `doc` | bytes, stored | the event itself, see `index::stored` |
//!
//! `attributes` leaves out what the other fields hold: the envelope fields where they stand in the event, and the keys in
//! [`NOT_ATTRIBUTES`]. A text of `attributes` that looks like an id is in `ids` alone, hashed with its dotted path; of it and of
//! one too long for a column, `attributes` has a date of zero, which says no more than that there is a value.

use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, JsonObjectOptions, NumericOptions, STORED, Schema, TextFieldIndexing,
    TextOptions,
};

/// Name of the tokenizer of `message` and `more`.
pub(crate) const WORDS: &str = "words";
/// Longest attribute value that goes into a column, in bytes; longer ones are words of `more`.
pub(crate) const MAX_COLUMN_BYTES: usize = 256;

/// Field under which the trace id is hashed into `trace`, however its sender spelled it.
pub(crate) const TRACE_ID: &str = "trace_id";
/// Field under which the producer's id is hashed into `ids`.
pub(crate) const PRODUCER_ID: &str = "_id";
/// Keys at the top of an event that are never attributes: `ts` and `level` hold what they say.
pub(crate) const NOT_ATTRIBUTES: [&str; 3] = ["@timestamp", "timestamp", "level"];

/// The fields of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) schema: Schema,
    pub(crate) ts: Field,
    pub(crate) seq: Field,
    pub(crate) level: Field,
    pub(crate) service: Field,
    pub(crate) host: Field,
    pub(crate) trace: Field,
    pub(crate) ids: Field,
    pub(crate) subject: Field,
    pub(crate) message: Field,
    pub(crate) more: Field,
    pub(crate) attributes: Field,
    pub(crate) doc: Field,
}

impl Fields {
    /// The layout of this build.
    pub(crate) fn new() -> Self {
        let words = || {
            let indexing = TextFieldIndexing::default()
                .set_tokenizer(WORDS)
                .set_fieldnorms(true)
                .set_index_option(IndexRecordOption::WithFreqsAndPositions);
            TextOptions::default().set_indexing_options(indexing)
        };
        let one_term = || {
            let indexing = TextFieldIndexing::default()
                .set_tokenizer("raw")
                .set_fieldnorms(false)
                .set_index_option(IndexRecordOption::Basic);
            TextOptions::default().set_indexing_options(indexing).set_fast("raw")
        };
        let mut builder = Schema::builder();
        let ts = builder.add_i64_field("ts", FAST);
        let seq = builder.add_u64_field("seq", FAST);
        let level = builder.add_u64_field("level", NumericOptions::from(FAST | INDEXED));
        let service = builder.add_text_field("service", one_term());
        let host = builder.add_text_field("host", one_term());
        let trace = builder.add_u64_field("trace", FAST);
        let ids = builder.add_u64_field("ids", FAST);
        let subject = builder.add_u64_field("subject", FAST);
        let message = builder.add_text_field("message", words());
        let more = builder.add_text_field("more", words());
        let attributes = builder
            .add_json_field("attributes", JsonObjectOptions::default().set_fast("raw").set_expand_dots_enabled());
        let doc = builder.add_bytes_field("doc", STORED);
        let schema = builder.build();
        Self { schema, ts, seq, level, service, host, trace, ids, subject, message, more, attributes, doc }
    }
}

/// The hash under which a value that looks like an id stands in `trace` and `ids`: FNV-1a over field, a zero and the value, with
/// a final mix (Fowler, Noll and Vo; the mix is that of SplitMix64). Stable for ever: it is on disk.
pub(crate) fn id_hash(field: &str, value: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in field.bytes().chain([0]).chain(value.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Whether an attribute's value is treated as an id: at least 16 bytes of hexadecimal digits and dashes with a digit and no
/// blank. Such values are nearly unique, and a column of their texts would cost more than the rest of the record.
pub(crate) fn looks_like_id(value: &str) -> bool {
    value.len() >= 16
        && value.len() <= 64
        && value.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && value.bytes().any(|b| b.is_ascii_digit())
}
