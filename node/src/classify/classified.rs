//! A record that may touch a disk: everything personal that was found in it has been replaced (PRI-1).

use domicile_proto::ids::{Level, Timestamp};
use serde_json::{Map, Value};

use crate::keys::Original;
use crate::parse::{Envelope, Record};

/// A record after the detectors. The write-ahead log takes nothing else. No `Debug`, no `Serialize`.
pub(crate) struct Classified {
    timestamp: Timestamp,
    level: Level,
    id: Option<Box<str>>,
    envelope: Envelope,
    subject: Option<u64>,
    source: Map<String, Value>,
    json: Vec<u8>,
    originals: Vec<Original>,
    /// Whether a detector found anything personal in it.
    found: bool,
}

impl Classified {
    /// Closes a record whose `source` has been cleaned. `subject` is the keyed hash of its subject, where the stream names one.
    pub(super) fn close(record: Record, subject: Option<u64>, mut originals: Vec<Original>, found: bool) -> Self {
        // Sealed once for each token, however often it stands in the record.
        originals.sort_by(|a, b| a.token.cmp(&b.token));
        originals.dedup_by(|a, b| a.token == b.token);
        let mut json = Vec::with_capacity(JSON_BYTES);
        // A map of JSON values always serialises.
        let _ = serde_json::to_writer(&mut json, &record.source);
        Self {
            timestamp: record.timestamp,
            level: record.level,
            id: record.id,
            envelope: record.envelope,
            subject,
            source: record.source,
            json,
            originals,
            found,
        }
    }

    /// A record as it comes back from the write-ahead log, where only classified records are ever written. `None` where
    /// the bytes are not a JSON object. What was found in it was counted before it was written.
    pub(crate) fn reopened(
        timestamp: Timestamp,
        level: Level,
        id: Option<Box<str>>,
        envelope: Envelope,
        subject: Option<u64>,
        json: Vec<u8>,
    ) -> Option<Self> {
        let source = serde_json::from_slice(&json).ok()?;
        Some(Self { timestamp, level, id, envelope, subject, source, json, originals: Vec::new(), found: false })
    }

    pub(crate) const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    pub(crate) const fn level(&self) -> Level {
        self.level
    }

    /// The producer's id.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(crate) const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Keyed hash of the subject; what k counts.
    pub(crate) const fn subject(&self) -> Option<u64> {
        self.subject
    }

    /// Whether a detector found anything personal in a record on its way to the log.
    pub(crate) const fn is_found(&self) -> bool {
        self.found
    }

    /// The cleaned event.
    pub(crate) const fn source(&self) -> &Map<String, Value> {
        &self.source
    }

    /// The values that tokens of this record stand for, each once: they are sealed before the record is written.
    pub(crate) fn take_originals(&mut self) -> Vec<Original> {
        std::mem::take(&mut self.originals)
    }

    /// The cleaned event as compact JSON.
    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }
}

/// Room an event begins with, in bytes: most fit, and growing costs more than the rest of writing them.
const JSON_BYTES: usize = 512;
