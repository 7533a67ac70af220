//! The write-ahead log under many tasks at once, and at its limits.

use std::collections::BTreeMap;

use domicile_proto::ids::ShardId;

use super::disk::Disk;
use super::disk_double::{Double, Fault};
use super::wal_test::{FILE_BYTES, NOW, batch, record, texts};
use super::*;
use crate::clock::Clock;
use crate::errors::Coded;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_from_many_tasks_come_out_once_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = WalConfig { dir: dir.path().join("wal"), file_bytes: 4_096 };
    let nothing = BTreeMap::new();
    let (wal, mut durable) = Wal::open(&config, &nothing, Clock::standing_at(NOW)).unwrap();
    let reader = async {
        let mut count = 0;
        while let Some(group) = durable.recv().await {
            count += group.iter().map(|durable| durable.records.len()).sum::<usize>();
        }
        count
    };
    let writers = async {
        let tasks = (0..20).map(|n| {
            let wal = wal.clone();
            async move {
                for round in 0..10 {
                    let accepted = wal.append(texts(n % 3, &["a", "b"])).await.unwrap();
                    assert_eq!(accepted.outcomes.len(), 2, "round {round}");
                }
            }
        });
        futures::future::join_all(tasks).await;
        wal.stop().await;
    };
    let (count, ()) = tokio::join!(reader, writers);
    assert_eq!(count, 400);
    assert!(matches!(wal.append(texts(1, &["late"])).await, Err(WalError::Stopped)));

    let (again, mut durable) = Wal::open(&config, &nothing, Clock::standing_at(NOW)).unwrap();
    let mut places = std::collections::BTreeSet::new();
    while places.len() < 400 {
        for durable in durable.recv().await.unwrap() {
            for (seq, _) in (durable.first_seq..).zip(&durable.records) {
                assert!(places.insert((durable.shard, seq)));
            }
        }
    }
    let stopping = again.stop();
    tokio::join!(stopping, async { assert!(durable.recv().await.is_none()) });
}

#[tokio::test]
async fn a_full_queue_is_busy_and_loses_nothing_that_was_acknowledged() {
    let (wal, mut durable) =
        Wal::on(Box::new(Double::default()), FILE_BYTES, &BTreeMap::new(), Clock::standing_at(NOW)).unwrap();
    let many = crate::limits::WAL_QUEUE * 4;
    let appends = futures::future::join_all((0..many).map(|_| wal.append(texts(1, &["x"]))));
    let mut taken = 0;
    let take = async {
        while let Some(group) = durable.recv().await {
            taken += group.iter().map(|durable| durable.records.len()).sum::<usize>();
        }
    };
    let ((answers, ()), ()) = tokio::join!(
        async {
            let answers = appends.await;
            (answers, wal.stop().await)
        },
        take
    );
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(accepted, taken);
    assert!(answers.iter().any(|answer| matches!(answer, Err(WalError::Busy { .. }))), "{accepted} of {many}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(WalError::Busy { .. }))));
}

#[tokio::test]
async fn an_id_that_is_too_long_is_refused_and_the_longest_allowed_comes_back() {
    let disk = Double::default();
    let clock = Clock::standing_at(NOW);
    let (wal, mut durable) = Wal::on(Box::new(disk), FILE_BYTES, &BTreeMap::new(), clock).unwrap();
    let with = |record_id: usize, batch_id: usize| {
        let records = vec![(Op::Create, record(Some(&"r".repeat(record_id)), "x"))];
        batch(1, Some((&"b".repeat(batch_id), 1)), records)
    };
    for (record_id, batch_id) in [(513, 1), (1, 513), (70_000, 1)] {
        let refused = wal.append(with(record_id, batch_id)).await.err().map(|error| error.code());
        assert_eq!(refused, Some("DMC-WAL-04"), "{record_id} {batch_id}");
    }
    wal.append(with(512, 512)).await.unwrap();
    let group = durable.recv().await.unwrap();
    assert_eq!(group[0].records[0].id().map(str::len), Some(512));
    wal.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_said_until_a_batch_or_a_look_finds_room() {
    let disk = Double::default();
    let clock = Clock::standing_at(NOW);
    let (wal, mut durable) = Wal::on(Box::new(disk.clone()), FILE_BYTES, &BTreeMap::new(), clock).unwrap();
    let append = |text: &'static str| wal.append(texts(1, &[text]));
    append("fits").await.unwrap();
    assert!(!wal.is_full());
    let full = async || {
        disk.break_with(Fault::NoRoom);
        assert!(matches!(append("does not").await, Err(WalError::NoRoom { .. })));
    };

    full().await;
    append("fits again").await.unwrap();
    assert!(!wal.is_full(), "a batch that was written says that there is room");

    full().await;
    // Asking has it looked for; the first look finds none, and the next one is not due yet.
    disk.break_with(Fault::Publish);
    for _ in 0..3 {
        assert!(wal.is_full());
        wal.roll().await.unwrap();
    }
    while wal.is_full() {
        wal.roll().await.unwrap();
    }
    assert_eq!(disk.list().unwrap().iter().filter(|name| name.contains("room")).count(), 0);

    wal.append(batch(1, None, vec![(Op::Create, record(Some(&"r".repeat(513)), "x"))])).await.unwrap_err();
    assert!(!wal.is_full(), "a batch that is refused for what it is says nothing of the disk");
    drop(durable.recv().await);
    wal.stop().await;
}

#[tokio::test]
async fn files_of_what_was_given_up_give_nothing_and_stay_until_they_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let config = WalConfig { dir: dir.path().join("wal"), file_bytes: FILE_BYTES };
    let (wal, mut durable) = Wal::open(&config, &BTreeMap::new(), Clock::standing_at(NOW)).unwrap();
    wal.append(texts(1, &["only here"])).await.unwrap();
    drop(durable.recv().await);
    wal.stop().await;

    let shard = ShardId(1);
    let given_up = BTreeMap::from([(shard, EVERYTHING)]);
    let (again, mut durable) = Wal::open(&config, &given_up, Clock::standing_at(NOW)).unwrap();
    again.given().await;
    assert!(durable.try_recv().is_err(), "another node writes the shard");
    let files = again.files_behind(shard, 0);
    assert!(files.len() == 1 && files.iter().all(|file| file.is_file()), "nobody put it aside yet: {files:?}");
    assert!(!again.is_on_disk(shard), "nor is it this node's to hand over");
    again.release(&given_up);
    again.oldest().await.unwrap();
    assert!(!files.iter().any(|file| file.is_file()), "{files:?}");
    let stopping = again.stop();
    tokio::join!(stopping, async { assert!(durable.recv().await.is_none()) });
}
