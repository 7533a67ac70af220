//! The bytes of the write-ahead log: frames of batches of records, written by hand so that nothing to the left of the log needs
//! `Serialize`.
//!
//! A file begins with [`FILE_MAGIC`] and the number of its first frame. A frame is a magic that is no UTF-8, the length of its body, its
//! number, a CRC-32 over those two and the body, and the body: a version, the time of acceptance, and batches. All numbers
//! are little endian. One frame is one flush: a frame that is not whole was never acknowledged, if it is the last one.

use domicile_proto::ids::{Epoch, Level, ShardId, StreamId, TenantId, Timestamp};

use super::batch::{Outcome, ProducerBatch};
use crate::classify::Classified;
use crate::parse::Envelope;

/// Begin of every file; the digit is the version of the file.
pub(super) const FILE_MAGIC: [u8; 8] = *b"DMCWAL1\n";
/// [`FILE_MAGIC`] and the number of the first frame.
pub(super) const FILE_HEADER_BYTES: usize = 16;
const FRAME_MAGIC: [u8; 4] = [0xFF, b'D', b'W', 0xFE];
const FRAME_HEADER_BYTES: usize = 20;
const BODY_VERSION: u8 = 1;
const NO_ID: u16 = u16::MAX;

/// A batch as it is written.
pub(super) struct Entry<R> {
    pub(super) tenant: TenantId,
    pub(super) stream: StreamId,
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
    pub(super) refresh_ms: u32,
    /// Place of the first record that was created.
    pub(super) first_seq: u64,
    pub(super) producer: Option<ProducerBatch>,
    /// What was answered; `None` where every record was created.
    pub(super) outcomes: Option<Vec<Outcome>>,
    /// The records that were created.
    pub(super) records: Vec<R>,
}

/// A record as it stands in a file.
pub(super) struct Written<'a> {
    timestamp: Timestamp,
    level: Level,
    envelope: Envelope,
    subject: Option<u64>,
    pub(super) id: Option<&'a str>,
    pub(super) json: &'a [u8],
}

impl Written<'_> {
    /// The record again; `None` where its bytes are no JSON object.
    pub(super) fn reopen(&self) -> Option<Classified> {
        let id = self.id.map(Into::into);
        Classified::reopened(self.timestamp, self.level, id, self.envelope, self.subject, self.json.to_vec())
    }
}

/// What stands at a place of a file.
pub(super) enum Found<'a> {
    /// Nothing: the file ends here.
    End,
    /// A whole frame.
    Frame { number: u64, body: &'a [u8], next: usize },
    /// Something else.
    Broken,
}

/// The header of a file.
pub(super) fn file_header(first_frame: u64) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    let (magic, number) = header.split_at_mut(FILE_MAGIC.len());
    magic.copy_from_slice(&FILE_MAGIC);
    number.copy_from_slice(&first_frame.to_le_bytes());
    header
}

/// The number of a file's first frame; `None` where the file has no whole header of this version.
pub(super) fn read_file_header(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader(bytes);
    (reader.array::<8>()? == FILE_MAGIC).then(|| reader.u64()).flatten()
}

/// Whether a file begins as one whose first flush did not end: too short for a header, or zeros where it should be, and no
/// whole frame behind.
pub(super) fn is_torn_header(bytes: &[u8]) -> bool {
    let header = bytes.get(..FILE_HEADER_BYTES);
    header.is_none_or(|header| header.iter().all(|byte| *byte == 0)) && !frame_follows(bytes, 0, 0)
}

/// Leaves room for a frame's header at the end of `out` and begins its body.
pub(super) fn begin_frame(out: &mut Vec<u8>, at: Timestamp, entries: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    out.push(BODY_VERSION);
    out.extend_from_slice(&at.0.to_le_bytes());
    out.extend_from_slice(&entries.to_le_bytes());
    start
}

/// Fills in the header of the frame that began at `start`. `None` where the body is longer than a length can say.
pub(super) fn end_frame(out: &mut [u8], start: usize, number: u64) -> Option<()> {
    let (header, body) = out.get_mut(start..)?.split_at_mut_checked(FRAME_HEADER_BYTES)?;
    let length = u32::try_from(body.len()).ok()?.to_le_bytes();
    let crc = checksum(length, number, body);
    let parts = FRAME_MAGIC.into_iter().chain(length).chain(number.to_le_bytes()).chain(crc.to_le_bytes());
    header.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    Some(())
}

fn checksum(length: [u8; 4], number: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(&number.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Reads the frame at a place.
pub(super) fn frame_at(bytes: &[u8], at: usize) -> Found<'_> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Found::End;
    }
    whole_frame(rest).map_or(Found::Broken, |(number, body)| Found::Frame {
        number,
        body,
        next: at + FRAME_HEADER_BYTES + body.len(),
    })
}

fn whole_frame(rest: &[u8]) -> Option<(u64, &[u8])> {
    let mut reader = Reader(rest);
    if reader.array::<4>()? != FRAME_MAGIC {
        return None;
    }
    let length = reader.array::<4>()?;
    let number = reader.u64()?;
    let crc = reader.u32()?;
    let body = reader.take(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
    (checksum(length, number, body) == crc).then_some((number, body))
}

/// Whether a whole frame of number `at_least` or more begins anywhere from `from` on: then what stands before it is damage, not
/// the torn end of a crash.
pub(super) fn frame_follows(bytes: &[u8], from: usize, at_least: u64) -> bool {
    let rest = bytes.get(from..).unwrap_or_default();
    memchr::memmem::find_iter(rest, &FRAME_MAGIC).any(|place| {
        let frame = rest.get(place..).and_then(whole_frame);
        frame.is_some_and(|(number, _)| number >= at_least)
    })
}

/// Appends a batch to the body of a frame.
pub(super) fn put_entry(out: &mut Vec<u8>, entry: &Entry<Classified>) {
    out.extend_from_slice(&entry.tenant.0.to_le_bytes());
    out.extend_from_slice(&entry.stream.0.to_le_bytes());
    out.extend_from_slice(&entry.shard.0.to_le_bytes());
    out.extend_from_slice(&entry.epoch.0.to_le_bytes());
    out.extend_from_slice(&entry.refresh_ms.to_le_bytes());
    out.extend_from_slice(&entry.first_seq.to_le_bytes());
    put_text(out, entry.producer.as_ref().map(|producer| &*producer.id));
    if let Some(producer) = &entry.producer {
        out.extend_from_slice(&producer.sha256);
    }
    put_outcomes(out, entry.outcomes.as_deref());
    out.extend_from_slice(&(entry.records.len() as u32).to_le_bytes());
    entry.records.iter().for_each(|record| put_record(out, record));
}

fn put_record(out: &mut Vec<u8>, record: &Classified) {
    let envelope = record.envelope();
    out.extend_from_slice(&record.timestamp().0.to_le_bytes());
    out.push(record.level() as u8);
    out.extend([envelope.message, envelope.service, envelope.host, envelope.trace, envelope.exception]);
    out.push(u8::from(record.subject().is_some()));
    out.extend_from_slice(&record.subject().unwrap_or_default().to_le_bytes());
    put_text(out, record.id());
    out.extend_from_slice(&(record.json().len() as u32).to_le_bytes());
    out.extend_from_slice(record.json());
}

fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.extend_from_slice(&NO_ID.to_le_bytes()),
        Some(text) => {
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Appends what was answered; `None` for "every record was created".
pub(super) fn put_outcomes(out: &mut Vec<u8>, outcomes: Option<&[Outcome]>) {
    out.push(u8::from(outcomes.is_some()));
    let Some(outcomes) = outcomes else { return };
    out.extend_from_slice(&(outcomes.len() as u32).to_le_bytes());
    for outcome in outcomes {
        let (tag, seq) = match *outcome {
            Outcome::Created { seq } => (0, seq),
            Outcome::Noop { seq } => (1, seq),
            Outcome::Conflict => (2, 0),
        };
        out.push(tag);
        out.extend_from_slice(&seq.to_le_bytes());
    }
}

/// Reads the body of a frame: when it was accepted, and its batches. `None` where it is none of this version.
pub(super) fn read_body(body: &[u8]) -> Option<(Timestamp, Vec<Entry<Written<'_>>>)> {
    let mut reader = Reader(body);
    if reader.u8()? != BODY_VERSION {
        return None;
    }
    let at = Timestamp(reader.i64()?);
    let count = reader.u32()?;
    let entries = (0..count).map(|_| read_entry(&mut reader)).collect::<Option<Vec<_>>>()?;
    reader.0.is_empty().then_some((at, entries))
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Option<Entry<Written<'a>>> {
    let tenant = TenantId(reader.u32()?);
    let stream = StreamId(reader.u32()?);
    let shard = ShardId(reader.u64()?);
    let epoch = Epoch(reader.u64()?);
    let refresh_ms = reader.u32()?;
    let first_seq = reader.u64()?;
    let producer = match reader.text()? {
        Some(id) => Some(ProducerBatch { id: id.into(), sha256: reader.array()? }),
        None => None,
    };
    let outcomes = reader.outcomes()?;
    let count = reader.u32()?;
    let records = (0..count).map(|_| read_record(reader)).collect::<Option<Vec<_>>>()?;
    Some(Entry { tenant, stream, shard, epoch, refresh_ms, first_seq, producer, outcomes, records })
}

fn read_record<'a>(reader: &mut Reader<'a>) -> Option<Written<'a>> {
    let timestamp = Timestamp(reader.i64()?);
    let level = Level::from_number(u64::from(reader.u8()?))?;
    let [message, service, host, trace, exception] = reader.array()?;
    let envelope = Envelope { message, service, host, trace, exception };
    let has_subject = reader.u8()? == 1;
    let subject = reader.u64().map(|subject| has_subject.then_some(subject))?;
    let id = reader.text()?;
    let length = usize::try_from(reader.u32()?).ok()?;
    Some(Written { timestamp, level, envelope, subject, id, json: reader.take(length)? })
}

/// Bytes that are read from the front.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Option<Option<&'a str>> {
        match self.array().map(u16::from_le_bytes)? {
            NO_ID => Some(None),
            length => std::str::from_utf8(self.take(usize::from(length))?).ok().map(Some),
        }
    }

    pub(super) fn outcomes(&mut self) -> Option<Option<Vec<Outcome>>> {
        if self.u8()? == 0 {
            return Some(None);
        }
        let count = self.u32()?;
        let outcomes = (0..count).map(|_| {
            let tag = self.u8()?;
            let seq = self.u64()?;
            match tag {
                0 => Some(Outcome::Created { seq }),
                1 => Some(Outcome::Noop { seq }),
                2 => Some(Outcome::Conflict),
                _ => None,
            }
        });
        outcomes.collect::<Option<Vec<_>>>().map(Some)
    }
}
