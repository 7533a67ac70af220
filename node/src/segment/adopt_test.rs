//! Shards whose records lie in the store, with real directories: nodes come and go, and the shard goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{Epoch, NodeId, ShardId, StreamId, TenantId, Timestamp};
use domicile_proto::metadata::{Durability, StreamPolicy};
use serde_json::json;

use super::manifest::Manifest;
use super::specimen::record;
use super::*;
use crate::clock::Clock;
use crate::errors::Coded;
use crate::policy::{StreamView, Suppressed, Suppression};
use crate::store::{Faults, Store, StoreConfig};
use crate::tasks::Tasks;
use crate::tier::Tier;
use crate::wal::{Accepted, Batch, Bucket, EVERYTHING, Op, Outcome, ProducerBatch, Wal, WalConfig};

const NOW: Timestamp = Timestamp(1_000_000);
pub(super) const SHARD: ShardId = ShardId(7);
/// Who is erased, in each thirteenth line.
const ERASED: &str = " \u{2039}email:aaa\u{203a}";

pub(super) struct Node {
    tasks: Tasks,
    store: Store,
    wal: Wal,
    pub(super) shards: Shards,
}

impl Node {
    /// A node with its own disk below `dir` and the bucket that all share.
    pub(super) async fn start(dir: &Path, node: u64) -> Self {
        Self::start_under(dir, node, Suppression::default()).await
    }

    async fn start_under(dir: &Path, node: u64, suppression: Suppression) -> Self {
        let (tasks, clock, own) = (Tasks::default(), Clock::standing_at(NOW), dir.join(node.to_string()));
        std::fs::create_dir_all(&own).unwrap();
        let store = Store::open(&StoreConfig { dir: dir.join("bucket") }, &"tokyo".parse().unwrap()).await.unwrap();
        let time = (clock.clone(), suppression);
        let tier = Tier::new(store.clone(), own.join("cache"), tasks.clone());
        let (segments, copies) = (own.join("segments"), tier.opener());
        let opened = Opened::open_of(&segments, store.clone(), &tasks, time, &copies, |_| None).await.unwrap();
        let opened = opened.copying(tier.copier());
        let bucket = Bucket::open(store.clone(), NodeId(node), clock.clone(), tasks.clone()).await.unwrap();
        let (config, mut indexed) = (WalConfig::new(own.join("wal")), opened.indexed());
        let given_up = opened.given_up_by(NodeId(node));
        indexed.extend(given_up.keys().map(|shard| (*shard, EVERYTHING)));
        let (wal, durable) = Wal::open_beside(&config, &indexed, clock, Some(bucket)).unwrap();
        opened.put_aside(&given_up, &wal).unwrap();
        let shards = opened.start(wal.clone(), durable).await.unwrap();
        Self { tasks, store, wal, shards }
    }

    pub(super) async fn adopt(&self, epoch: u64) -> Option<SegmentError> {
        let others = BTreeSet::from([NodeId(1), NodeId(2)]);
        self.shards.adopt(&others, &BTreeMap::from([(SHARD, Epoch(epoch))])).await.remove(&SHARD)
    }

    pub(super) async fn send(&self, number: u64, durability: Durability) -> Result<Accepted, crate::wal::WalError> {
        let who = if number.is_multiple_of(13) { ERASED } else { "" };
        self.send_text(number, &format!("line {number}{who}"), durability).await
    }

    async fn send_text(
        &self,
        number: u64,
        text: &str,
        durability: Durability,
    ) -> Result<Accepted, crate::wal::WalError> {
        let stream = StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: "app".parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy { refresh_ms: 30_000, durability, ..StreamPolicy::default() },
            shard: Some((SHARD, NodeId(1))),
        };
        let producer = Some(ProducerBatch { id: format!("b{number}").into(), sha256: [3; 32] });
        let records = vec![(Op::Create, record(1, None, json!({ "message": text })))];
        self.wal.append(Batch { stream: Arc::new(stream), producer, records }).await
    }

    pub(super) async fn seq(&self, number: u64) -> u64 {
        match self.send(number, Durability::Bucket).await.unwrap().outcomes[..] {
            [Outcome::Created { seq }] => seq,
            ref other => panic!("{other:?}"),
        }
    }

    /// Places that can be searched, none twice.
    pub(super) async fn places(&self) -> BTreeSet<u64> {
        self.shards.refresh(Some(SHARD)).await;
        let view = self.shards.catalog().view(SHARD);
        let reading = self.tasks.blocking(move || {
            let mut places = BTreeSet::new();
            for segment in view.iter() {
                let column = segment.reader().fast_fields().u64("seq").unwrap();
                (0..segment.docs).for_each(|doc| assert!(places.insert(column.first(doc).unwrap()), "a place twice"));
            }
            places
        });
        reading.await.unwrap()
    }

    pub(super) async fn manifest(&self) -> Manifest {
        Manifest::newest(&self.store, SHARD).await.unwrap().unwrap()
    }

    pub(super) async fn kill(self) {
        assert!(self.tasks.stop(Duration::from_secs(30)).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_moves_to_another_node_with_all_that_was_accepted_and_what_was_known() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::start(dir.path(), 1).await;
    assert!(first.adopt(1).await.is_none());
    for number in 1..=6 {
        assert_eq!(first.seq(number).await, number);
    }
    first.shards.settle(SHARD).await.unwrap();
    let rows = first.manifest().await.body.segments;
    assert!(!rows.is_empty() && rows.iter().all(|row| row.copied.is_some()), "segments lie in the store");
    for number in 7..=9 {
        first.seq(number).await;
    }

    let second = Node::start(dir.path(), 2).await;
    second.shards.catalog().set_whole(SHARD, false);
    assert!(second.adopt(2).await.is_none());
    assert!(second.shards.catalog().is_whole(SHARD));
    assert_eq!(second.places().await, (1..=9).collect());
    for number in 1..=9 {
        let again = second.send(number, Durability::Bucket).await.unwrap();
        assert!(again.repeated && again.outcomes == [Outcome::Created { seq: number }], "batch {number} is known");
    }
    assert_eq!(second.seq(10).await, 10);

    // The first one still runs and believes that the shard is its own.
    let refused = first.send(11, Durability::Bucket).await.unwrap_err();
    assert_eq!(refused.code(), "DMC-WAL-15");
    assert_eq!(first.shards.settle(SHARD).await.unwrap_err().code(), "DMC-SEGMENT-04", "nor can it publish");
    assert_eq!(first.adopt(1).await.unwrap().code(), "DMC-SEGMENT-04", "nor take it up in its old epoch");
    second.shards.settle(SHARD).await.unwrap();
    assert!(!second.manifest().await.body.settled, "not before it was looked through");
    second.shards.settle_taken().await;
    let manifest = second.manifest().await;
    assert!(manifest.body.epoch == Epoch(2) && manifest.body.settled && manifest.body.last_seq == 10);
    first.shards.leave(SHARD, Epoch(2)).await;
    first.shards.forget_what_others_have().await;
    assert!(first.shards.bucket().unwrap().held_up().is_empty(), "the first log lets go of it");

    // And back, in a later epoch.
    second.kill().await;
    assert!(first.adopt(3).await.is_none());
    assert_eq!(first.places().await, (1..=10).collect());
    assert_eq!(first.seq(11).await, 11);
    first.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_bucket_takes_nothing_over() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), 2).await;
    assert!(!node.shards.lies_in_store(SHARD).await);
    assert_eq!(node.adopt(2).await.unwrap().code(), "DMC-SEGMENT-10");
    assert!(node.shards.bucket().unwrap().epoch_of(SHARD).is_none(), "an empty shard would hide what was accepted");
    assert!(node.adopt(1).await.is_none(), "a new one is empty");
    assert!(node.shards.lies_in_store(SHARD).await);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_empty_reads_the_store_alone() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let node = Node::start(dir.path(), 1).await;
        assert!(node.adopt(1).await.is_none());
        assert_eq!(node.places().await, (1..=round * 3).collect(), "round {round}");
        for number in 1..=round * 3 {
            assert!(node.send(number, Durability::Bucket).await.unwrap().repeated, "round {round}: {number} is known");
        }
        for number in round * 3 + 1..=round * 3 + 3 {
            assert_eq!(node.seq(number).await, number);
        }
        if round % 2 == 0 {
            node.shards.settle(SHARD).await.unwrap();
        }
        node.kill().await;
        std::fs::remove_dir_all(dir.path().join("1")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_changes_to_the_bucket_brings_its_records_and_its_ids() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), 1).await;
    for number in 1..=5 {
        let accepted = node.send(number, Durability::Disk).await.unwrap();
        assert_eq!(accepted.outcomes, [Outcome::Created { seq: number }]);
    }
    assert!(node.adopt(1).await.is_none());
    assert_eq!(node.seq(6).await, 6);
    let on_disk = node.send(7, Durability::Disk).await.unwrap();
    assert_eq!(on_disk.outcomes, [Outcome::Created { seq: 7 }], "what still says `disk` goes into the store as well");
    assert_eq!(node.places().await, (1..=7).collect());
    // What was acknowledged on the disk is as safe as the disk until its segments are copied.
    node.shards.settle(SHARD).await.unwrap();
    node.kill().await;
    std::fs::remove_dir_all(dir.path().join("1")).unwrap();
    let node = Node::start(dir.path(), 1).await;
    assert!(node.adopt(1).await.is_none());
    assert_eq!(node.places().await, (1..=7).collect());
    for number in 1..=7 {
        assert!(node.send(number, Durability::Bucket).await.unwrap().repeated, "{number} is known");
    }
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bucket_took_after_a_stream_changed_to_it_is_there_at_every_start_and_its_ids_are() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), 1).await;
    for number in 1..=5 {
        node.send(number, Durability::Disk).await.unwrap();
    }
    assert!(node.adopt(1).await.is_none());
    assert_eq!(node.seq(6).await, 6);
    assert_eq!(node.send(7, Durability::Disk).await.unwrap().outcomes, [Outcome::Created { seq: 7 }]);
    node.kill().await;
    for start in 1..=4 {
        // The file of the log in which the first five lie is still there, and says nothing of what came after.
        let node = Node::start(dir.path(), 1).await;
        assert!(node.adopt(1).await.is_none(), "start {start}");
        let last = 6 + start;
        assert_eq!(node.places().await, (1..=last).collect(), "start {start}");
        for number in 1..=last {
            let again = node.send(number, Durability::Bucket).await.unwrap();
            assert!(again.repeated && again.outcomes == [Outcome::Created { seq: number }], "start {start}: {number}");
        }
        assert_eq!(node.seq(last + 1).await, last + 1);
        if start % 2 == 0 {
            // As a clean stop does: everything lies in segments.
            node.shards.settle(SHARD).await.unwrap();
        }
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_a_shard_is_taken_up_waits_for_the_bucket_though_its_policy_says_disk() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), 1).await;
    assert!(node.adopt(1).await.is_none());
    for number in 1..=3 {
        assert_eq!(node.seq(number).await, number);
    }
    node.kill().await;
    let node = Node::start(dir.path(), 1).await;
    let (sent, failed) = futures::future::join(node.send(4, Durability::Disk), node.adopt(1)).await;
    assert!(failed.is_none());
    assert_eq!(sent.unwrap().outcomes, [Outcome::Created { seq: 4 }]);
    assert_eq!(node.places().await, (1..=4).collect());
    node.kill().await;
    std::fs::remove_dir_all(dir.path().join("1")).unwrap();
    let heir = Node::start(dir.path(), 2).await;
    assert!(heir.adopt(2).await.is_none());
    assert_eq!(heir.places().await, (1..=4).collect());
    heir.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_the_disk_come_along_where_the_store_fails_once_on_the_way() {
    for (is_rolled, is_restarted) in [(false, false), (false, true), (true, false), (true, true)] {
        let whole = format!("rolled: {is_rolled}, started again: {is_restarted}");
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::start(dir.path(), 1).await;
        for number in 1..=3 {
            node.send(number, Durability::Disk).await.unwrap();
        }
        if is_rolled {
            // What is left of the log are its ids.
            node.shards.drop_whole(BTreeMap::new()).await.unwrap();
        }
        node.store.fail(Faults { count: 1, below: "seen/", ..Faults::default() });
        assert_eq!(node.adopt(1).await.unwrap().code(), "DMC-WAL-16", "{whole}");
        assert_eq!(node.store.fail(Faults::default()), 0, "{whole}: it failed where the ids are kept");
        if is_restarted {
            node.kill().await;
            node = Node::start(dir.path(), 1).await;
        }
        assert!(node.adopt(1).await.is_none(), "{whole}");
        for number in 1..=3 {
            let again = node.send(number, Durability::Bucket).await.unwrap();
            assert!(again.repeated && again.outcomes == [Outcome::Created { seq: number }], "{whole}: {number}");
        }
        assert_eq!(node.seq(4).await, 4, "{whole}");
        // From now on they are known wherever the shard goes.
        node.kill().await;
        let heir = Node::start(dir.path(), 2).await;
        assert!(heir.adopt(2).await.is_none(), "{whole}");
        for number in 1..=4 {
            assert!(heir.send(number, Durability::Bucket).await.unwrap().repeated, "{whole}: {number}");
        }
        heir.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_not_whole_where_its_heir_could_not_build_all_of_it_and_loses_nothing_when_it_goes_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::start(dir.path(), 1).await;
    assert!(first.adopt(1).await.is_none());
    for number in 1..=6 {
        first.send_text(number, &"wide ".repeat(200_000), Durability::Bucket).await.unwrap();
    }
    first.kill().await;

    let heir = Node::start(dir.path(), 2).await;
    // A file where the directory of the shard should be: nothing of the shard can reach the disk.
    let in_the_way = dir.path().join(format!("2/segments/{:016x}", SHARD.0));
    std::fs::write(&in_the_way, b"").unwrap();
    assert!(heir.adopt(2).await.is_none(), "it can be written");
    assert!(!heir.shards.catalog().is_whole(SHARD), "what is not there is not told as if it were all");
    assert!(heir.shards.shared().lost.due().is_some());
    // It goes before that is repaired, and comes back.
    heir.shards.leave(SHARD, Epoch(3)).await;
    assert!(heir.shards.shared().lost.due().is_none(), "nobody builds for a shard that left");
    std::fs::remove_file(&in_the_way).unwrap();
    assert!(heir.adopt(4).await.is_none());
    assert!(heir.shards.catalog().is_whole(SHARD) && heir.shards.shared().lost.due().is_none());
    assert_eq!(heir.places().await, (1..=6).collect());
    // And what is lost then is repaired.
    std::fs::rename(in_the_way.clone(), in_the_way.with_extension("aside")).unwrap();
    std::fs::write(&in_the_way, b"").unwrap();
    for number in 7..=12 {
        heir.send_text(number, &"wide ".repeat(200_000), Durability::Bucket).await.unwrap();
    }
    heir.shards.refresh(Some(SHARD)).await;
    assert!(!heir.shards.catalog().is_whole(SHARD));
    std::fs::remove_file(&in_the_way).unwrap();
    std::fs::rename(in_the_way.with_extension("aside"), &in_the_way).unwrap();
    heir.shards.catalog().all_whole().await;
    assert_eq!(heir.places().await, (1..=12).collect());
    heir.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_cannot_be_taken_up_seals_the_log_of_its_owner_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::start(dir.path(), 1).await;
    assert!(first.adopt(1).await.is_none());
    first.seq(1).await;
    first.shards.settle(SHARD).await.unwrap();
    let heir = Node::start(dir.path(), 2).await;
    for (name, _) in heir.store.list("segments").await.unwrap() {
        heir.store.delete(&name).await.unwrap();
    }
    let objects = async || heir.store.list("wal/0000000000000001").await.unwrap().len();
    let before = objects().await;
    for _ in 0..50 {
        assert!(heir.adopt(2).await.is_some(), "its segment is missing");
    }
    assert_eq!(objects().await, before + 1);
    assert_eq!(first.send(2, Durability::Bucket).await.unwrap_err().code(), "DMC-WAL-15", "it is sealed all the same");
    assert!(heir.adopt(3).await.is_some());
    assert_eq!(objects().await, before + 2, "a later epoch has a seal of its own");
    first.kill().await;
    heir.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_for_good_leaves_the_store_too() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), 1).await;
    assert!(node.adopt(1).await.is_none());
    for number in 1..=3 {
        node.seq(number).await;
    }
    node.shards.settle(SHARD).await.unwrap();
    node.seq(4).await;
    let gone: BTreeSet<_> = node.manifest().await.body.segments.iter().filter_map(manifest::Row::id).collect();
    node.shards.drop_whole(BTreeMap::from([(SHARD, gone.clone())])).await.unwrap();
    assert_eq!(node.places().await, BTreeSet::from([4]));
    for segment in &gone {
        // As whoever has them deleted does, and counts it.
        assert!(crate::tier::forget(&node.store, SHARD, *segment).await.unwrap() > 0, "counted once");
    }
    let objects = node.store.list("segments").await.unwrap();
    assert!(gone.iter().all(|id| objects.iter().all(|(name, _)| !name.contains(&id.to_string()))), "a copy stays");
    for (name, _) in node.store.list("wal").await.unwrap() {
        let bytes = node.store.read(&name).await.unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"line "), "{name} still holds a record");
    }
    node.kill().await;
}

/// Whether an object of a log holds a record.
async fn holds_records(store: &Store, node: u64) -> bool {
    let mut holds = false;
    for (name, _) in store.list(&format!("wal/{node:016x}")).await.unwrap() {
        holds |= store.read(&name).await.unwrap().windows(5).any(|window| window == b"line ");
    }
    holds
}

/// The second node, which took the shard over when the first one was killed with four records.
async fn heir_of_four(dir: &Path) -> Node {
    let first = Node::start(dir, 1).await;
    assert!(first.adopt(1).await.is_none());
    for number in 1..=4 {
        first.seq(number).await;
    }
    first.kill().await;
    let second = Node::start(dir, 2).await;
    assert!(second.adopt(2).await.is_none());
    second
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_node_that_took_over_and_is_gone_too_stays_until_its_heir_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let second = heir_of_four(dir.path()).await;
    second.shards.settle_taken().await;
    second.kill().await;
    let third = Node::start(dir.path(), 3).await;
    // The group gave it the shard, and it has not begun to read.
    let (known, epochs) = (BTreeSet::from([NodeId(3)]), BTreeMap::from([(SHARD, Epoch(3))]));
    third.shards.clear_logs_of_others_than(&known, &epochs).await.unwrap();
    assert!(holds_records(&third.store, 2).await, "the copies of the second one are the only ones");
    assert!(third.adopt(3).await.is_none());
    assert_eq!(third.places().await, (1..=4).collect());
    third.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_node_that_is_gone_for_good_is_emptied_and_its_ids_stay_known() {
    let dir = tempfile::tempdir().unwrap();
    let second = heir_of_four(dir.path()).await;
    let (known, epochs) = (BTreeSet::from([NodeId(2)]), BTreeMap::from([(SHARD, Epoch(2))]));
    second.shards.clear_logs_of_others_than(&known, &epochs).await.unwrap();
    assert!(holds_records(&second.store, 1).await, "nothing goes before the new owner has said that it has it");
    second.shards.settle_taken().await;
    let both = BTreeSet::from([NodeId(1), NodeId(2)]);
    second.shards.clear_logs_of_others_than(&both, &epochs).await.unwrap();
    assert!(holds_records(&second.store, 1).await, "nor that of a node which may come back");
    second.shards.clear_logs_of_others_than(&known, &epochs).await.unwrap();
    assert!(!holds_records(&second.store, 1).await);
    assert_eq!(second.store.list("wal/0000000000000001").await.unwrap().len(), 1, "what closes it stays");
    second.shards.settle(SHARD).await.unwrap();
    second.kill().await;
    std::fs::remove_dir_all(dir.path().join("2")).unwrap();
    let second = Node::start(dir.path(), 2).await;
    assert!(second.adopt(2).await.is_none());
    assert_eq!(second.places().await, (1..=4).collect());
    for number in 1..=4 {
        assert!(second.send(number, Durability::Bucket).await.unwrap().repeated, "{number} is known");
    }
    second.kill().await;
}

/// Whether a log or a segment in the store, unpacked or not, names who is erased.
async fn names_the_erased(node: &Node) -> bool {
    for segment in node.shards.catalog().view(SHARD).iter() {
        let wanted = crate::policy::Wanted { tokens: BTreeSet::from([ERASED.trim().into()]), ..Default::default() };
        if node.shards.holds(Arc::clone(segment), wanted).await.unwrap() {
            return true;
        }
    }
    let mut names = false;
    for (name, _) in node.store.list("wal/0000000000000002").await.unwrap() {
        let bytes = node.store.read(&name).await.unwrap();
        names |= bytes.windows(ERASED.len()).any(|window| window == ERASED.as_bytes());
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_and_purged_here_does_not_come_back_with_a_shard_that_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::start(dir.path(), 1).await;
    assert!(first.adopt(1).await.is_none());
    for number in 10..=16 {
        first.seq(number).await;
    }
    first.shards.settle(SHARD).await.unwrap();
    for number in 24..=30 {
        first.seq(number).await;
    }
    first.kill().await;

    // The second node carried the order out long ago, for all it had; the first never did.
    let list = Suppression::default();
    list.add(&Suppressed {
        order: "a".into(),
        tenant: TenantId(1),
        subjects: Vec::new(),
        tokens: vec![ERASED.trim().into()],
        only: None,
        until: Timestamp(i64::MAX),
        is_purged: false,
    });
    list.purged("a");
    let second = Node::start_under(dir.path(), 2, list).await;
    assert!(second.adopt(2).await.is_none());
    let hidden = |node: &Node| node.shards.catalog().totals(SHARD).docs;
    assert_eq!(hidden(&second), 12, "of 14 lines, two are hidden at once");
    assert!(names_the_erased(&second).await, "and are still there");
    second.shards.settle_taken().await;
    assert!(second.manifest().await.body.settled);
    assert_eq!(hidden(&second), 12);
    assert!(!names_the_erased(&second).await, "before anything says that it is settled, they are gone");
    let copies = second.store.list("segments").await.unwrap();
    let named: Vec<_> = second.manifest().await.body.segments.into_iter().filter_map(|row| row.copied).collect();
    assert!(copies.iter().all(|(name, _)| named.iter().any(|copied| name.starts_with(&copied.object))), "{copies:?}");
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_no_manifest_names_goes_with_the_next_purge_and_a_deposed_node_deletes_none() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::start(dir.path(), 1).await;
    assert!(first.adopt(1).await.is_none());
    first.seq(1).await;
    first.shards.settle(SHARD).await.unwrap();
    let put_back = object_of(SHARD, SegmentId(99));
    let put = async || first.store.create(&format!("{put_back}/000000"), vec![1].into()).await.unwrap();
    put().await;
    first.shards.purge().await.unwrap();
    assert!(first.store.list(&put_back).await.unwrap().is_empty());
    let second = Node::start(dir.path(), 2).await;
    assert!(second.adopt(2).await.is_none());
    put().await;
    assert_eq!(first.shards.purge().await.unwrap_err().code(), "DMC-SEGMENT-04");
    assert!(!first.store.list(&put_back).await.unwrap().is_empty(), "it may be the new owner's");
    first.kill().await;
    second.kill().await;
}
