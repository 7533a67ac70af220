//! Wall clocks that are set while a log lives, before it is opened again, and at the node that takes its shards over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domicile_proto::ids::{Epoch, NodeId, ShardId, StreamId, TenantId};
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::super::brought::Brought;
use super::super::bucket::Core;
use super::super::bucket_test::{Node, one};
use super::super::disk_double::Double;
use super::super::frame::Entry;
use super::super::log::Log;
use super::super::objects::{self, Said};
use super::super::wal_test::{FILE_BYTES, batch, record};
use super::super::{Batch, Op, Tail, Wal, WalConfig};
use super::*;
use crate::clock::Clock;
use crate::store::Store;

const SECOND: i64 = Timestamp::MICROS;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// 1 January 2027, UTC.
const NOW: Timestamp = Timestamp(1_798_761_600 * SECOND);
const SHARD: ShardId = ShardId(1);

fn after(micros: i64) -> Timestamp {
    Timestamp(NOW.0 + micros)
}

fn reading(wall: Timestamp, ran_micros: i64) -> Reading {
    Reading { wall, ran: Duration::from_micros(u64::try_from(ran_micros).unwrap()) }
}

/// So long that each has a file of the log for itself.
fn sent(id: &str) -> Batch {
    batch(SHARD.0, Some((id, 7)), vec![(Op::Index, record(None, &id.repeat(1_000)))])
}

#[tokio::test]
async fn a_batch_sent_again_is_known_though_the_clock_was_set_ahead_and_the_node_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = WalConfig { dir: dir.path().join("wal"), file_bytes: FILE_BYTES };
    let clock = Clock::standing_at(NOW);
    let (wal, mut durable) = Wal::open(&config, &BTreeMap::new(), clock.clone()).unwrap();
    wal.append(sent("a")).await.unwrap();
    drop(durable.recv().await);
    clock.turn_to(after(25 * HOUR));
    assert!(wal.append(sent("a")).await.unwrap().repeated, "in memory");
    wal.append(sent("b")).await.unwrap();
    drop(durable.recv().await);
    let indexed = BTreeMap::from([(SHARD, 1)]);
    wal.release(&indexed);
    wal.oldest().await.unwrap();
    let of_ids = || std::fs::read_dir(&config.dir).unwrap().map(|file| file.unwrap().file_name());
    let seen_files = || of_ids().filter(|name| name.to_str().unwrap().starts_with("seen-")).count();
    assert_eq!(seen_files(), 1, "the file of the batch went, and its id was kept");
    wal.stop().await;

    for days in [2, 400] {
        clock.turn_to(after(days * DAY));
        let (again, mut durable) = Wal::open(&config, &indexed, clock.clone()).unwrap();
        drop(durable.recv().await);
        clock.turn_to(after((days + 2) * DAY));
        again.release(&indexed);
        again.oldest().await.unwrap();
        assert_eq!(seen_files(), 1, "{days} days");
        for id in ["a", "b"] {
            assert!(again.append(sent(id)).await.unwrap().repeated, "{id} after {days} days");
        }
        again.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_ahead_knows_what_the_one_before_it_took() {
    let store = Store::in_memory();
    let clock = Clock::standing_at(NOW);
    let old = Node::start_at(&store, NodeId(1), clock.clone()).await.unwrap();
    old.bucket.hold(SHARD, Epoch(1), Tail::nothing_after(0)).await.unwrap();
    for id in ["a", "b", "c"] {
        old.bucket.append(one(SHARD.0, id)).await.unwrap();
    }
    clock.turn_to(after(25 * HOUR));
    old.bucket.release(&BTreeMap::from([(SHARD, 2)]));
    old.bucket.oldest().await;
    assert_eq!(store.list("seen").await.unwrap().len(), 1, "ids of objects that are gone");
    // The last life finds what the one before it wrote once more, and let go.
    for (epoch, days) in [(2, 3), (3, 9)] {
        let new = Node::start_at(&store, NodeId(2), Clock::standing_at(after(days * DAY))).await.unwrap();
        new.bucket.seal(&BTreeSet::from([NodeId(1)]), &BTreeMap::from([(SHARD, Epoch(epoch))])).await.unwrap();
        let tail = new.bucket.collect(&BTreeMap::from([(SHARD, 2)])).await.unwrap().remove(&SHARD).unwrap();
        new.bucket.hold(SHARD, Epoch(epoch), tail.unwrap()).await.unwrap();
        for id in ["a", "b", "c"] {
            assert!(new.bucket.append(one(SHARD.0, id)).await.unwrap().repeated, "{id} after {days} days");
        }
        new.bucket.release(&BTreeMap::from([(SHARD, 3)]));
        new.bucket.oldest().await;
        new.kill();
    }
}

#[test]
fn what_comes_while_the_clock_is_behind_counts_for_no_earlier_time_than_what_came_before() {
    let disk = Double::default();
    let nothing = BTreeMap::new();
    let clock = Clock::standing_at(NOW);
    let open = || Log::open(Box::new(disk.clone()), &nothing, FILE_BYTES, clock.reading()).unwrap();
    let next = |log: &mut Log, number: u64, at: Timestamp| {
        clock.turn_to(at);
        log.commit(vec![sent(&number.to_string())], clock.reading()).1.remove(0).accepted_at
    };
    let mut log = open();
    assert_eq!(next(&mut log, 0, NOW), NOW);
    assert_eq!(next(&mut log, 1, after(-DAY)), NOW);
    // A machine that lost its time, also after a start.
    let mut log = open();
    assert_eq!(next(&mut log, 2, Timestamp(0)), NOW);
    let mut replayed = Vec::new();
    log.replay(&nothing, |group| {
        replayed.extend(group.iter().map(|durable| durable.accepted_at));
        true
    })
    .unwrap();
    assert_eq!(replayed, [NOW; 3], "the frames say so too");
    // One that was years ahead for a moment does not have all that follows kept for years.
    let far = after(3_000 * DAY);
    assert_eq!(next(&mut log, 3, far), far);
    let mut log = open();
    assert_eq!(next(&mut log, 4, after(1)), after(1));
    assert_eq!(next(&mut log, 5, NOW), after(1));
}

#[test]
fn an_object_counts_for_no_earlier_time_than_those_before_it_and_what_was_taken_over_in_it() {
    let (mut core, no_one) = (Core::new(NodeId(1), 1, VecDeque::new()), || oneshot::channel().0);
    let landed = |core: &mut Core| {
        assert!(core.take_off());
        let (_, number, bytes) = core.object().unwrap();
        let Some(Said::Batches(at, _)) = objects::read(&bytes, number) else { panic!("batches") };
        (at, core.landed().0.remove(0).accepted_at)
    };
    let brought = Brought::of(SHARD, Tail::nothing_after(0), reading(NOW, 0));
    core.hold(brought, Epoch(1), reading(NOW, 0), oneshot::channel().0);
    drop((core.take_off(), core.landed()));
    for (id, at) in [("a", NOW), ("b", after(-DAY))] {
        core.append(one(SHARD.0, id), reading(at, 0), no_one());
        assert_eq!(landed(&mut core), (NOW, NOW), "{id}");
    }
    let (tenant, stream, shard, epoch) = (TenantId(1), StreamId(1), ShardId(2), Epoch(1));
    let (producer, outcomes, records) = (None, None, vec![record(None, "x")]);
    let entry = Entry { tenant, stream, shard, epoch, refresh_ms: 5, first_seq: 1, producer, outcomes, records };
    let batches = vec![(false, after(DAY), entry)];
    let tail = Tail { next_seq: 2, batches, ..Tail::nothing_after(0) };
    core.hold(Brought::of(shard, tail, reading(NOW, 0)), Epoch(2), reading(NOW, 0), oneshot::channel().0);
    assert_eq!(landed(&mut core), (after(DAY), after(DAY)), "by the clock of the node that took it");
    core.append(one(SHARD.0, "c"), reading(NOW, 0), no_one());
    assert_eq!(landed(&mut core), (after(DAY), after(DAY)), "and so does what comes after it");
    // What is taken over while the clock is behind counts for no earlier time either.
    let (producer, outcomes, records) = (None, None, vec![record(None, "y")]);
    let entry = Entry { tenant, stream, shard, epoch, refresh_ms: 5, first_seq: 2, producer, outcomes, records };
    let tail = Tail { next_seq: 3, batches: vec![(false, NOW, entry)], ..Tail::nothing_after(1) };
    core.hold(
        Brought::of(shard, tail, reading(after(-DAY), 0)),
        Epoch(3),
        reading(after(-DAY), 0),
        oneshot::channel().0,
    );
    assert!(core.take_off());
    let (_, number, bytes) = core.object().unwrap();
    assert!(matches!(objects::read(&bytes, number), Some(Said::Batches(at, _)) if at == after(DAY)));
}

#[test]
fn a_time_counts_from_the_latest_one_unless_that_is_far_ahead_of_a_clock_that_may_be_right() {
    let week = i64::try_from(PUT_BACK_MOST.as_micros()).unwrap();
    let long_ago = Timestamp(EARLIEST.0 - 1);
    for (latest, now, expected) in [
        (None, NOW, NOW),
        (Some(after(-1)), NOW, NOW),
        (Some(after(1)), NOW, after(1)),
        (Some(after(week)), NOW, after(week)),
        (Some(after(week + 1)), NOW, NOW),
        (Some(NOW), Timestamp(0), NOW),
        (Some(NOW), long_ago, NOW),
        (None, long_ago, long_ago),
    ] {
        assert_eq!(counts_from(latest, now), expected, "{latest:?} {now:?}");
    }
}

#[test]
fn a_day_of_the_record_is_counted_back_from_its_newest_and_a_silence_counts_as_six_hours() {
    let at = |hours: &[i64]| by_record(hours.iter().map(|hour| after(hour * HOUR)).collect());
    assert_eq!(by_record(Vec::new()), None);
    assert_eq!(at(&[0]), Some(after(DAY)), "nothing is forgotten");
    let hourly: Vec<i64> = (0..100).collect();
    assert_eq!(at(&hourly), Some(after(99 * HOUR)));
    assert_eq!(at(&[30, 5, 0]), Some(after(DAY)), "all of it lies within a day but for silences");
    assert_eq!(at(&[0, 100, 200, 300, 400, 500]), Some(after(124 * HOUR)), "four silences are a day");
}

proptest! {
    /// However the wall clock goes, no id is forgotten before the process ran a day since, and while the clock is right every id is
    /// within two hours after that.
    #[test]
    fn an_id_is_kept_for_a_day_of_the_process_however_the_wall_clock_goes(
        steps in proptest::collection::vec((0..8 * HOUR, prop_oneof![5 => Just(0), 1 => -40 * DAY..40 * DAY]), 1..120),
    ) {
        let (mut remembered, mut ran, mut set) = (Remembered::default(), 0, 0);
        let (mut latest, mut seen) = (None, Vec::new());
        for (pause, turn) in steps {
            (ran, set) = (ran + pause, set + turn);
            let now = reading(after(ran + set), ran);
            let since = remembered.since(now);
            let kept = |(at, noted): &(Timestamp, i64)| ran - noted > DAY || *at >= since;
            prop_assert!(seen.iter().all(kept), "forgotten early");
            let at = counts_from(latest, now.wall);
            latest = Some(at);
            seen.push((at, ran));
        }
        // A day and two hours on, by a clock that nobody sets any more.
        let end = ran + DAY + 2 * HOUR;
        let since = (ran..=end).step_by(usize::try_from(HOUR).unwrap()).fold(NOW, |_, ran| {
            remembered.since(reading(after(ran + set), ran))
        });
        prop_assert!(since > after(ran + set), "kept for ever");
        prop_assert!(remembered.stretches.len() <= 27);
    }
}
