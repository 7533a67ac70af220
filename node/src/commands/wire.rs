//! Frames in plain words, for an auditor: what is in a decrypted capture or in the bodies of a ledger.

use anyhow::Context;
use domicile_proto::aggregate::Aggregate;
use domicile_proto::codec::{self, CodecError, HEADER_BYTES, Header, MAGIC, Message};
use domicile_proto::ids::{TimeRange, Timestamp};
use domicile_proto::message::answer::{Answer, Outcome};
use domicile_proto::message::health::Probe;
use domicile_proto::message::ledger::{HeadOffer, SignedHead, Verdict};
use domicile_proto::message::metadata::{Entry, MetadataFrame, SnapshotHead, Vote};
use domicile_proto::message::question::{Filter, Question};
use domicile_proto::metadata::Row;

use super::arguments::WireVerb;

pub(super) fn run(verb: &WireVerb) -> anyhow::Result<()> {
    let WireVerb::Decode { file } = verb;
    let bytes = std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let found = frames(&bytes);
    for frame in &found.frames {
        println!("{:>10}  {:>8} bytes  {}", frame.at, frame.bytes, frame.words);
    }
    eprintln!("{} frame(s); {} byte(s) lie outside of frames", found.frames.len(), found.outside);
    Ok(())
}

struct Found {
    frames: Vec<Frame>,
    outside: usize,
}

struct Frame {
    at: usize,
    bytes: usize,
    words: String,
}

fn frames(bytes: &[u8]) -> Found {
    let mut found = Found { frames: Vec::new(), outside: 0 };
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let frame = Header::read(rest).ok().and_then(|header| {
            let length = HEADER_BYTES.checked_add(header.length)?;
            Some((header, rest.get(..length)?))
        });
        match frame {
            Some((header, frame)) => {
                found.frames.push(Frame { at, bytes: frame.len(), words: words(header, frame) });
                at += frame.len();
            }
            None => {
                let step =
                    memchr::memmem::find(rest.get(1..).unwrap_or_default(), &MAGIC).map_or(rest.len(), |to| to + 1);
                found.outside += step;
                at += step;
            }
        }
    }
    found
}

/// One frame in plain words.
pub(super) fn frame_words(frame: &[u8]) -> String {
    Header::read(frame).map_or_else(|error| unreadable(&error), |header| words(header, frame))
}

fn words(header: Header, frame: &[u8]) -> String {
    match header.kind {
        Question::KIND => said(frame, question),
        Answer::KIND => said(frame, answer_words),
        Probe::KIND => said(frame, |_: &Probe| "probe: is the peer there?".to_owned()),
        SignedHead::KIND => said(frame, |head: &SignedHead| {
            format!(
                "ledger head: region number {}, {} entries, root {}",
                head.region,
                head.size,
                hex::encode(head.root)
            )
        }),
        HeadOffer::KIND => said(frame, |offer: &HeadOffer| {
            let (size, root) = (offer.head.size, hex::encode(offer.head.root));
            let proof = offer.proof.len();
            format!(
                "ledger head to cosign: {size} entries, root {root}, a proof of {proof} hashes from {}",
                offer.known
            )
        }),
        Verdict::KIND => said(frame, |verdict: &Verdict| match verdict {
            Verdict::Cosigned(given) => format!("witness: cosigned at {} s, key {}", given.at, hex::encode(given.key)),
            other => format!("witness: {other:?}"),
        }),
        MetadataFrame::KIND => said(frame, |frame: &MetadataFrame| format!("metadata: {frame:?}")),
        Entry::KIND => said(frame, |entry: &Entry| format!("metadata entry: {entry:?}")),
        Vote::KIND => said(frame, |vote: &Vote| format!("vote: {vote:?}")),
        SnapshotHead::KIND => said(frame, |head: &SnapshotHead| format!("snapshot: {} rows", head.rows)),
        Row::KIND => said(frame, |row: &Row| format!("metadata row: {row:?}")),
        kind => format!("a frame of kind {kind}, which this build does not know"),
    }
}

/// An answer in plain words: which question, what kind of numbers and how many of them.
pub(super) fn answer_words(answer: &Answer) -> String {
    let Answer { header, outcome } = answer;
    let said = match outcome {
        Outcome::Suppressed => "nothing, for the groups were too small".to_owned(),
        Outcome::Refused(code) => format!("no: {}", code.explain()),
        Outcome::Aggregate(aggregate) => {
            let shape = match aggregate {
                Aggregate::Count(_) => "one count",
                Aggregate::DateGrid(_) => "counts over time",
                Aggregate::Terms(_) => "counts by approved value",
                Aggregate::TermGrid(_) => "counts by approved value and time",
                Aggregate::Sum(_) => "one sum",
                Aggregate::FixedHistogram(_) => "counts between declared bounds",
                Aggregate::Quantile(_) => "quantiles",
                Aggregate::DistinctEstimate(_) => "counts of distinct values",
            };
            format!("{shape}, {} cell(s): {aggregate:?}", aggregate.cells())
        }
    };
    format!("answer to question {} under policy {}: {said}", header.question, header.policy)
}

fn said<M: Message>(frame: &[u8], words: impl Fn(&M) -> String) -> String {
    match codec::decode::<M>(frame) {
        Ok(message) => words(&message),
        Err(error) => unreadable(&error),
    }
}

fn unreadable(error: &CodecError) -> String {
    format!("unreadable: {error}")
}

/// A question with its literals in the clear: showing them is what the auditor came for.
fn question(question: &Question) -> String {
    let filters: Vec<String> = question
        .filters
        .iter()
        .map(|filter| match filter {
            Filter::Text { how, literal, negated } => {
                format!("{}text {how:?} {:?}", if *negated { "not " } else { "" }, literal.as_str())
            }
            Filter::TextIn { place, how, literal, negated } => {
                let not = if *negated { "not " } else { "" };
                format!("{not}text of the {place:?} {how:?} {:?}", literal.as_str())
            }
            other => format!("{other:?}"),
        })
        .collect();
    format!(
        "question {}: tenant {}, stream {}, {}, {:?}, where [{}], within {} ms",
        question.id,
        question.tenant,
        question.stream,
        times(question.range),
        question.ask,
        filters.join(" and "),
        question.deadline_ms
    )
}

/// A range of time as a person reads it; beyond what a calendar has there is no bound.
fn times(range: TimeRange) -> String {
    let time = |at: Timestamp| jiff::Timestamp::from_microsecond(at.0).ok().filter(|_| at.0.unsigned_abs() < FAR);
    match (time(range.from), time(range.to)) {
        (Some(from), Some(to)) => format!("records from {from} up to {to}"),
        (Some(from), None) => format!("records from {from} on"),
        (None, Some(to)) => format!("records up to {to}"),
        (None, None) => "records of all times".to_owned(),
    }
}

/// Further from 1970 than any record, in microseconds: 3,000 years.
const FAR: u64 = 3_000 * 366 * 86_400 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_read_them() {
        let range = |from, to| times(TimeRange { from: Timestamp(from), to: Timestamp(to) });
        assert_eq!(times(TimeRange::ALL), "records of all times");
        assert_eq!(range(0, 60_000_000), "records from 1970-01-01T00:00:00Z up to 1970-01-01T00:01:00Z");
        assert_eq!(range(0, i64::MAX), "records from 1970-01-01T00:00:00Z on");
        assert_eq!(range(i64::MIN, 0), "records up to 1970-01-01T00:00:00Z");
    }

    #[test]
    fn frames_are_found_between_other_bytes() {
        let probe = codec::encode(&Probe { nonce: 7 }).expect("small");
        let mut bytes = b"junk".to_vec();
        bytes.extend(&probe);
        bytes.extend(&probe);
        bytes.extend(b"DMCL\x02\x01\xff\xff\xff\xff half");
        let found = frames(&bytes);
        assert_eq!(found.frames.len(), 2);
        assert_eq!(found.frames[0].at, 4);
        assert!(found.frames.iter().all(|frame| frame.words.contains("probe")));
        assert_eq!(found.outside, bytes.len() - 2 * probe.len());
    }

    #[test]
    fn a_damaged_frame_is_shown_as_unreadable() {
        let mut probe = codec::encode(&Probe { nonce: 7 }).expect("small");
        *probe.last_mut().expect("a body") ^= 1;
        assert!(frames(&probe).frames[0].words.starts_with("unreadable"));
        assert!(frames(b"").frames.is_empty());
    }
}
