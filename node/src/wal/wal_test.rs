//! What the write-ahead log promises, on a disk that forgets and fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::ids::{Level, Name, NodeId, ShardId, StreamId, TenantId, Timestamp};
use domicile_proto::metadata::StreamPolicy;
use proptest::prelude::*;

use super::disk_double::{Double, Fault};
use super::log::Log;
use super::*;
use crate::classify::Classified;
use crate::errors::{Coded, Verdict};
use crate::parse::Envelope;
use crate::policy::StreamView;

pub(super) const NOW: Timestamp = Timestamp(1_000_000);
pub(super) const FILE_BYTES: u64 = 600;

pub(super) fn stream(shard: u64) -> Arc<StreamView> {
    Arc::new(StreamView {
        id: StreamId(1),
        tenant: TenantId(1),
        name: "app".parse::<Name>().unwrap(),
        fields: Vec::new(),
        policy: StreamPolicy::default(),
        shard: Some((ShardId(shard), NodeId(1))),
    })
}

pub(super) fn record(id: Option<&str>, text: &str) -> Classified {
    let json = serde_json::to_vec(&serde_json::json!({ "message": text })).unwrap();
    let envelope = Envelope { message: 0, service: 255, host: 255, trace: 255, exception: 255 };
    Classified::reopened(NOW, Level::Info, id.map(Into::into), envelope, Some(3), json).unwrap()
}

pub(super) fn batch(shard: u64, producer: Option<(&str, u8)>, records: Vec<(Op, Classified)>) -> Batch {
    let producer = producer.map(|(id, byte)| ProducerBatch { id: id.into(), sha256: [byte; 32] });
    Batch { stream: stream(shard), producer, records }
}

pub(super) fn texts(shard: u64, texts: &[&str]) -> Batch {
    batch(shard, None, texts.iter().map(|text| (Op::Index, record(None, text))).collect())
}

pub(super) fn open(disk: &Double) -> Result<Log, WalError> {
    open_after(disk, &BTreeMap::new())
}

fn open_after(disk: &Double, indexed: &BTreeMap<ShardId, u64>) -> Result<Log, WalError> {
    Log::open(Box::new(disk.clone()), indexed, FILE_BYTES, NOW.into())
}

pub(super) fn commit(log: &mut Log, batch: Batch) -> Result<Accepted, WalError> {
    log.commit(vec![batch], NOW.into()).0.pop().unwrap()
}

/// Shard, place and JSON of everything a log gives on after it was opened.
pub(super) fn replayed(log: &Log, indexed: &BTreeMap<ShardId, u64>) -> Vec<(u64, u64, String)> {
    let mut all = Vec::new();
    let take = |group: Vec<Durable>| {
        for durable in group {
            let texts = durable.records.iter().map(|record| String::from_utf8(record.json().to_vec()).unwrap());
            all.extend((durable.first_seq..).zip(texts).map(|(seq, text)| (durable.shard.0, seq, text)));
        }
        true
    };
    log.replay(indexed, take).unwrap();
    all
}

pub(super) fn newest_file(disk: &Double) -> (String, Vec<u8>) {
    use super::disk::Disk;
    let name = disk.list().unwrap().into_iter().rfind(|name| name.starts_with("log-")).unwrap();
    let bytes = disk.read(&name).unwrap();
    (name, bytes)
}

#[test]
fn a_last_frame_torn_at_any_byte_is_cut_off_and_the_others_stay() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    commit(&mut log, texts(1, &["a", "b"])).unwrap();
    let whole = newest_file(&disk).1.len();
    commit(&mut log, texts(1, &["c"])).unwrap();
    let (name, bytes) = newest_file(&disk);
    for cut in whole..bytes.len() {
        let torn = Double::default();
        torn.put(&name, bytes[..cut].to_vec());
        let mut log = open(&torn).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!(replayed(&log, &BTreeMap::new()).len(), 2, "cut at {cut}");
        let again = commit(&mut log, texts(1, &["d"])).unwrap();
        assert_eq!(again.outcomes, [Outcome::Created { seq: 3 }], "cut at {cut}");
        assert_eq!(replayed(&open(&torn).unwrap(), &BTreeMap::new()).len(), 3, "cut at {cut}");
    }
    for cut in 0..whole {
        let torn = Double::default();
        torn.put(&name, bytes[..cut].to_vec());
        let log = open(&torn).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!(replayed(&log, &BTreeMap::new()).len(), 0, "cut at {cut}");
    }
}

#[test]
fn a_bit_flipped_before_the_last_frame_is_damage_and_not_a_torn_end() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    commit(&mut log, texts(1, &["a"])).unwrap();
    let first = newest_file(&disk).1.len();
    commit(&mut log, texts(1, &["b"])).unwrap();
    let (name, bytes) = newest_file(&disk);
    for at in 0..first {
        let flipped = Double::default();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        flipped.put(&name, bytes);
        let error = open(&flipped).err().unwrap_or_else(|| panic!("byte {at} went unnoticed"));
        assert_eq!(error.verdict(), Verdict::Broken, "byte {at}");
    }
}

#[test]
fn a_record_that_holds_the_bytes_of_a_frame_does_not_pass_for_one() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    commit(&mut log, texts(1, &["a"])).unwrap();
    let (_, frame) = newest_file(&disk);
    let smuggled = String::from_utf8_lossy(&frame[frame::FILE_HEADER_BYTES..]).into_owned();
    commit(&mut log, texts(1, &[&smuggled])).unwrap();
    let (name, bytes) = newest_file(&disk);
    let torn = Double::default();
    torn.put(&name, bytes[..bytes.len() - 1].to_vec());
    assert_eq!(replayed(&open(&torn).unwrap(), &BTreeMap::new()).len(), 1);
}

#[test]
fn files_of_another_version_and_strange_files_are_left_alone() {
    for (name, bytes) in [
        ("log-0000000000000001", b"DMCWAL2\n and much more that this build cannot read".to_vec()),
        ("notes.txt", b"hello".to_vec()),
        ("seen-0000000000000001", b"DMCSEEN1 but not whole".to_vec()),
    ] {
        let disk = Double::default();
        disk.put(name, bytes.clone());
        assert_eq!(open(&disk).err().map(|error| error.code()), Some("DMC-WAL-11"), "{name}");
        use super::disk::Disk;
        assert_eq!(disk.read(name).unwrap(), bytes);
    }
}

#[test]
fn records_missing_between_segments_and_log_are_noticed() {
    let disk = Double::default();
    let indexed = BTreeMap::from([(ShardId(1), 10)]);
    let mut log = open_after(&disk, &indexed).unwrap();
    let accepted = commit(&mut log, texts(1, &["a"])).unwrap();
    assert_eq!(accepted.outcomes, [Outcome::Created { seq: 11 }]);
    assert!(open_after(&disk, &indexed).is_ok());
    assert_eq!(open(&disk).err().map(|error| error.code()), Some("DMC-WAL-12"));
}

#[test]
fn replay_leaves_out_what_lies_in_durable_segments() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    commit(&mut log, texts(1, &["a", "b", "c"])).unwrap();
    commit(&mut log, texts(2, &["x"])).unwrap();
    let indexed = BTreeMap::from([(ShardId(1), 2)]);
    let left: Vec<_> = replayed(&open_after(&disk, &indexed).unwrap(), &indexed);
    assert_eq!(left.iter().map(|(shard, seq, _)| (*shard, *seq)).collect::<Vec<_>>(), [(1, 3), (2, 1)]);
}

/// `check(op, id known before, same bytes, expected)`.
#[test]
fn a_known_id_is_taken_once() {
    use Outcome::{Conflict, Created, Noop};
    for (op, bytes, expected) in [
        (Op::Create, "first", Conflict),
        (Op::Create, "other", Conflict),
        (Op::Index, "first", Noop { seq: 1 }),
        (Op::Index, "other", Conflict),
    ] {
        for how in ["in one batch", "in one group", "one after the other", "after a restart", "after its file is gone"]
        {
            let disk = Double::default();
            let mut log = open(&disk).unwrap();
            let first = || (Op::Index, record(Some("id"), "first"));
            let second = (op, record(Some("id"), bytes));
            let (one, two) = match how {
                "in one batch" => {
                    let accepted = commit(&mut log, batch(1, None, vec![first(), second])).unwrap();
                    (accepted.outcomes[0], accepted.outcomes[1])
                }
                "in one group" => {
                    let group = vec![batch(1, None, vec![first()]), batch(1, None, vec![second])];
                    let answers: Vec<_> = log.commit(group, NOW.into()).0.into_iter().map(Result::unwrap).collect();
                    (answers[0].outcomes[0], answers[1].outcomes[0])
                }
                _ => {
                    let one = commit(&mut log, batch(1, None, vec![first()])).unwrap().outcomes[0];
                    let mut indexed = BTreeMap::new();
                    if how == "after its file is gone" {
                        indexed.insert(ShardId(1), 1);
                        commit(&mut log, texts(9, &[&"x".repeat(1_000)])).unwrap();
                        commit(&mut log, texts(9, &["y"])).unwrap();
                        log.release(&indexed, NOW.into()).unwrap();
                        commit(&mut log, texts(9, &["z"])).unwrap();
                        indexed.insert(ShardId(9), 1);
                        log.release(&indexed, NOW.into()).unwrap();
                        assert!(replayed(&log, &BTreeMap::new()).iter().all(|(shard, ..)| *shard == 9));
                    }
                    if how.starts_with("after") {
                        log = open_after(&disk, &indexed).unwrap();
                    }
                    (one, commit(&mut log, batch(1, None, vec![second])).unwrap().outcomes[0])
                }
            };
            assert_eq!((one, two), (Created { seq: 1 }, expected), "{op:?} {bytes} {how}");
            let other_shard = commit(&mut log, batch(2, None, vec![(Op::Create, record(Some("id"), "first"))]));
            assert_eq!(other_shard.unwrap().outcomes, [Created { seq: 1 }]);
        }
    }
}

#[test]
fn a_batch_sent_again_gets_its_first_answer_and_other_bytes_a_conflict() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    let records = || {
        let id = |text| record(Some("same"), text);
        vec![(Op::Index, id("a")), (Op::Index, id("a")), (Op::Index, id("b")), (Op::Index, record(None, "c"))]
    };
    let group = vec![batch(1, Some(("b1", 7)), records()), batch(1, Some(("b1", 7)), records())];
    let answers: Vec<_> = log.commit(group, NOW.into()).0.into_iter().map(Result::unwrap).collect();
    use Outcome::{Conflict, Created, Noop};
    assert_eq!(answers[0].outcomes, [Created { seq: 1 }, Noop { seq: 1 }, Conflict, Created { seq: 2 }]);
    assert!(!answers[0].repeated && answers[1].repeated);
    assert_eq!(answers[0].outcomes, answers[1].outcomes);
    for _ in 0..3 {
        let again = commit(&mut log, batch(1, Some(("b1", 7)), records())).unwrap();
        assert!(again.repeated && again.outcomes == answers[0].outcomes);
        let other = commit(&mut log, batch(1, Some(("b1", 8)), records()));
        assert_eq!(other.err().map(|error| (error.code(), error.verdict())), Some(("DMC-WAL-05", Verdict::Refused)));
        log = open(&disk).unwrap();
    }
    assert_eq!(replayed(&log, &BTreeMap::new()).len(), 2, "nothing was taken twice");
}

#[test]
fn a_batch_of_nothing_but_known_ids_is_remembered_too() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    let same = || vec![(Op::Index, record(Some("id"), "a"))];
    commit(&mut log, batch(1, None, same())).unwrap();
    let first = commit(&mut log, batch(1, Some(("b", 1)), same())).unwrap();
    let again = commit(&mut open(&disk).unwrap(), batch(1, Some(("b", 1)), same())).unwrap();
    assert!(again.repeated && again.outcomes == first.outcomes && again.outcomes == [Outcome::Noop { seq: 1 }]);
}

#[test]
fn ids_are_forgotten_after_a_day_and_their_files_go() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    let id = || batch(1, None, vec![(Op::Create, record(Some("id"), &"x".repeat(1_000)))]);
    commit(&mut log, id()).unwrap();
    commit(&mut log, texts(2, &["later"])).unwrap();
    let indexed = BTreeMap::from([(ShardId(1), 1)]);
    log.release(&indexed, NOW.into()).unwrap();
    use super::disk::Disk;
    let seen_files = || disk.list().unwrap().iter().filter(|name| name.starts_with("seen-")).count();
    assert_eq!(seen_files(), 1);
    assert_eq!(commit(&mut log, id()).unwrap().outcomes, [Outcome::Conflict]);
    let tomorrow = Timestamp(NOW.0 + 24 * 3_600 * Timestamp::MICROS + 1);
    let answers = log.commit(vec![id()], tomorrow.into()).0;
    assert_eq!(answers[0].as_ref().unwrap().outcomes, [Outcome::Created { seq: 2 }]);
    log.release(&indexed, tomorrow.into()).unwrap();
    assert_eq!(seen_files(), 0);
}

#[test]
fn a_failed_flush_poisons_the_log_until_it_is_opened_again() {
    for fault in [Fault::Sync, Fault::Cut] {
        let disk = Double::default();
        let mut log = open(&disk).unwrap();
        commit(&mut log, texts(1, &["kept"])).unwrap();
        disk.break_with(fault);
        if fault == Fault::Cut {
            disk.break_with(Fault::NoRoom);
        }
        for _ in 0..3 {
            let (answers, durable) = log.commit(vec![texts(1, &["lost"]), texts(2, &["lost"])], NOW.into());
            assert!(durable.is_empty());
            for answer in answers {
                let error = answer.unwrap_err();
                assert_eq!((error.code(), error.verdict()), ("DMC-WAL-07", Verdict::Broken), "{fault:?}");
            }
        }
        for share in [0, 128, 255] {
            let log = open(&disk.after_crash(share)).unwrap();
            assert_eq!(replayed(&log, &BTreeMap::new()).first().unwrap().2, r#"{"message":"kept"}"#);
        }
    }
}

#[test]
fn a_full_disk_refuses_and_nothing_of_the_batch_stays() {
    for before in [0, 1] {
        let disk = Double::default();
        let mut log = open(&disk).unwrap();
        (0..before).for_each(|_| drop(commit(&mut log, texts(1, &["first"])).unwrap()));
        disk.break_with(Fault::NoRoom);
        let again = || batch(1, Some(("b", 1)), vec![(Op::Create, record(Some("id"), "a"))]);
        let error = commit(&mut log, again()).unwrap_err();
        assert_eq!((error.code(), error.verdict()), ("DMC-WAL-03", Verdict::NotNow(30)));
        let taken = commit(&mut log, again()).unwrap();
        assert_eq!((taken.repeated, taken.outcomes), (false, vec![Outcome::Created { seq: before + 1 }]));
        let log = open(&disk).unwrap();
        assert_eq!(replayed(&log, &BTreeMap::new()).len() as u64, before + 1);
    }
}

#[test]
fn a_file_goes_only_when_every_shard_in_it_is_durable_elsewhere() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    let large = "x".repeat(1_000);
    for _ in 0..3 {
        log.commit(vec![texts(1, &[&large]), texts(2, &[&large])], NOW.into());
    }
    use super::disk::Disk;
    let files = || disk.list().unwrap().len();
    assert_eq!(files(), 3);
    for (one, two, left) in [(1, 0, 3), (3, 0, 3), (3, 1, 2), (3, 2, 1), (3, 3, 1)] {
        log.release(&BTreeMap::from([(ShardId(1), one), (ShardId(2), two)]), NOW.into()).unwrap();
        assert_eq!(files(), left, "shards 1 and 2 durable up to {one} and {two}");
    }
}

#[test]
fn a_stream_that_cannot_be_kept_as_it_asks_is_refused() {
    let mut log = open(&Double::default()).unwrap();
    let mut view = StreamView::clone(&stream(1));
    view.shard = None;
    let refused = |log: &mut Log, view: &StreamView| {
        let batch = Batch { stream: Arc::new(view.clone()), producer: None, records: Vec::new() };
        commit(log, batch).err().map(|error| error.code())
    };
    assert_eq!(refused(&mut log, &view), Some("DMC-WAL-01"));
    view.shard = stream(1).shard;
    view.policy.durability = domicile_proto::metadata::Durability::Bucket;
    assert_eq!(refused(&mut log, &view), Some("DMC-WAL-14"));
}

#[test]
fn the_bytes_of_a_frame_stay() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    commit(&mut log, batch(1, Some(("b", 9)), vec![(Op::Create, record(Some("id"), "a"))])).unwrap();
    let golden = concat!(
        "444d4357414c310a0100000000000000ff4457fe870000000100000000000000a74ccfcd0140420f0000000000010000",
        "00010000000100000001000000000000000100000000000000e803000001000000000000000100620909090909090909",
        "090909090909090909090909090909090909090909090909000100000040420f00000000000300ffffffff0103000000",
        "00000000020069640f0000007b226d657373616765223a2261227d",
    );
    assert_eq!(hex::encode(newest_file(&disk).1), golden);
}

#[derive(Clone, Debug)]
enum Step {
    Batch { shard: u64, producer: Option<u8>, ids: Vec<Option<u8>> },
    Index,
    Crash(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = proptest::collection::vec(proptest::option::of(0..6_u8), 1..5);
    let batch = (1..3_u64, proptest::option::of(0..6_u8), ids).prop_map(|(shard, producer, ids)| Step::Batch {
        shard,
        producer,
        ids,
    });
    proptest::collection::vec(
        prop_oneof![8 => batch, 2 => Just(Step::Index), 1 => any::<u8>().prop_map(Step::Crash)],
        1..40,
    )
}

proptest! {
    /// The model is a list of what was acknowledged. After any crash the log and the durable segments together hold it,
    /// each record once and in place.
    #[test]
    fn after_any_crash_every_acknowledged_record_is_there_exactly_once(steps in steps(), last in any::<u8>()) {
        let mut disk = Double::default();
        let mut indexed = BTreeMap::new();
        let mut log = open(&disk).unwrap();
        let mut model: BTreeMap<(u64, u64), String> = BTreeMap::new();
        let mut serial = 0;
        for step in steps.into_iter().chain([Step::Crash(last)]) {
            match step {
                Step::Batch { shard, producer, ids } => {
                    serial += 1;
                    // A producer that sends an id again sends the same bytes; other batches have bytes of their own.
                    let tag = producer.map_or_else(|| format!("s{serial}"), |producer| format!("p{producer}"));
                    let records: Vec<_> = ids.iter().enumerate().map(|(n, id)| {
                        let text = id.map_or_else(|| format!("{tag}-{n}"), |id| format!("id{id}"));
                        (Op::Index, record(id.map(|id| id.to_string()).as_deref(), &text))
                    }).collect();
                    let texts: Vec<_> = records.iter()
                        .map(|(_, record)| String::from_utf8(record.json().to_vec()).unwrap()).collect();
                    let name = producer.map(|producer| producer.to_string());
                    let accepted = commit(&mut log, batch(shard, name.as_deref().map(|name| (name, 0)), records)).unwrap();
                    if accepted.repeated {
                        continue;
                    }
                    for (outcome, text) in accepted.outcomes.iter().zip(texts) {
                        match outcome {
                            Outcome::Created { seq } => {
                                prop_assert!(model.insert((shard, *seq), text).is_none(), "a place was given twice");
                            }
                            Outcome::Noop { seq } => prop_assert_eq!(model.get(&(shard, *seq)), Some(&text)),
                            Outcome::Conflict => prop_assert!(false, "same id, same bytes"),
                        }
                    }
                }
                Step::Index => {
                    for (shard, seq) in model.keys() {
                        indexed.insert(ShardId(*shard), *seq);
                    }
                    log.release(&indexed, NOW.into()).unwrap();
                }
                Step::Crash(share) => {
                    disk = disk.after_crash(share);
                    log = open_after(&disk, &indexed).unwrap();
                    let beyond = |shard: u64, seq: u64| indexed.get(&ShardId(shard)).is_none_or(|last| seq > *last);
                    let expected: Vec<_> = model.iter().filter(|((shard, seq), _)| beyond(*shard, *seq))
                        .map(|((shard, seq), text)| (*shard, *seq, text.clone())).collect();
                    let mut found = replayed(&log, &indexed);
                    found.sort();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_as_a_frame_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = frame::read_body(&bytes);
        let _ = frame::frame_at(&bytes, 0);
        let _ = frame::frame_follows(&bytes, 0, 0);
    }
}
