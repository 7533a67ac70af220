//! A shard of durability `disk` whose owner is gone for good, with real directories: it goes on elsewhere with what lay in the bucket,
//! and its owner, back again, neither answers nor writes.

use std::collections::BTreeSet;
use std::time::Duration;

use domicile_proto::ids::{Epoch, NodeId};
use domicile_proto::metadata::Durability;

use super::adopt_test::{Node, SHARD};
use crate::errors::Coded;

const OWNER: NodeId = NodeId(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lay_on_the_disk_of_an_owner_is_lost_and_counted_and_stays_there_unanswered() {
    let dir = tempfile::tempdir().unwrap();
    let owner = Node::start(dir.path(), 1).await;
    for number in 1..=5 {
        owner.send(number, Durability::Disk).await.unwrap();
    }
    owner.shards.settle(SHARD).await.unwrap();
    for number in 6..=7 {
        owner.send(number, Durability::Disk).await.unwrap();
    }
    owner.kill().await;

    let other = Node::start(dir.path(), 2).await;
    assert!(other.shards.shares_bucket_with(OWNER).await.unwrap());
    assert!(!other.shards.shares_bucket_with(NodeId(3)).await.unwrap(), "a node that never used the bucket");
    let loss = other.shards.loss_of(SHARD, (OWNER, Epoch(1))).await.unwrap();
    assert!(!loss.is_none());
    assert_eq!((loss.manifest > 0, loss.lost.records, loss.kept.records), (true, 5, 0));
    assert!(loss.named_until.is_some(), "and when it was published");
    assert_eq!(other.adopt(2).await.unwrap().code(), "DMC-SEGMENT-10", "nothing is given up unasked");
    other.shards.give_up(SHARD, OWNER, Epoch(2)).await.unwrap();
    let number = other.manifest().await.number;
    other.shards.give_up(SHARD, OWNER, Epoch(2)).await.unwrap();
    assert_eq!(other.manifest().await.number, number, "done once");
    // Whoever did that was interrupted: it is lost all the same, and the next try says so.
    let again = other.shards.loss_of(SHARD, (OWNER, Epoch(1))).await.unwrap();
    assert!(!again.is_none());
    assert_eq!((again.manifest, again.lost, again.kept), (number, loss.lost, loss.kept));
    assert_eq!(again.named_until, loss.named_until);
    assert!(other.adopt(2).await.is_none());
    assert!(other.places().await.is_empty());
    assert_eq!(other.seq(8).await, 6, "places go on behind the last that was named");
    let whole = async |owner| other.shards.loss_of(SHARD, owner).await.unwrap().is_none();
    assert!(whole((NodeId(2), Epoch(2))).await, "from now on all of it lies in the bucket");
    assert!(whole((OWNER, Epoch(3))).await, "also where it comes back to who lost it");

    // It was not gone: twice started, it keeps what it had and shows nothing of it.
    for start in 1..=2 {
        let owner = Node::start(dir.path(), 1).await;
        assert!(owner.places().await.is_empty(), "start {start}");
        assert_eq!(owner.send(9, Durability::Disk).await.unwrap_err().code(), "DMC-WAL-15", "start {start}");
        let aside = owner.shards.set_aside().unwrap().expect("something is put aside");
        let kept: Vec<_> = std::fs::read_dir(aside.join(format!("{:016x}", SHARD.0))).unwrap().collect();
        assert!(kept.len() >= 2, "the segment and the file of the log");
        owner.kill().await;
    }
    assert_eq!(other.places().await, [6].into());

    // It is given the shard again: what it writes from now on lies in the bucket, and nothing of that is put aside.
    other.shards.settle(SHARD).await.unwrap();
    other.kill().await;
    let mut kept = BTreeSet::new();
    for number in 10..12 {
        let owner = Node::start(dir.path(), 1).await;
        let aside = owner.shards.set_aside().unwrap().expect("something is put aside");
        let found = std::fs::read_dir(aside.join(format!("{:016x}", SHARD.0))).unwrap();
        let found: BTreeSet<_> = found.map(|entry| entry.unwrap().file_name()).collect();
        assert!(kept.is_empty() || kept == found, "{found:?}");
        kept = found;
        assert!(owner.adopt(3).await.is_none());
        assert_eq!(owner.seq(number).await, number - 3);
        owner.shards.settle(SHARD).await.unwrap();
        assert_eq!(owner.places().await, (6..=number - 3).collect());
        owner.kill().await;
        // As a crash leaves it: a segment that no manifest came to name. It is of the time since, and goes at the next start.
        std::fs::create_dir(dir.path().join(format!("1/segments/{:016x}/{number:032x}", SHARD.0))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_only_paused_publishes_nothing_more_and_then_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, other) = (Node::start(dir.path(), 1).await, Node::start(dir.path(), 2).await);
    owner.send(1, Durability::Disk).await.unwrap();
    owner.shards.settle(SHARD).await.unwrap();
    other.shards.give_up(SHARD, OWNER, Epoch(2)).await.unwrap();
    // It has not heard of it: what its own disk takes until it publishes is what was accepted to be lost.
    owner.send(2, Durability::Disk).await.unwrap();
    assert_eq!(owner.shards.settle(SHARD).await.unwrap_err().code(), "DMC-SEGMENT-04");
    let refused = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Err(refused) = owner.send(3, Durability::Disk).await {
                return refused;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(refused.await.unwrap().code(), "DMC-WAL-15");
    assert!(other.adopt(2).await.is_none());
    assert_eq!(other.seq(4).await, 2);
    owner.kill().await;
    other.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_lies_in_the_bucket_loses_nothing_and_one_in_a_later_epoch_is_not_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, other) = (Node::start(dir.path(), 1).await, Node::start(dir.path(), 2).await);
    assert!(owner.adopt(1).await.is_none());
    for number in 1..=3 {
        owner.seq(number).await;
    }
    assert!(other.shards.loss_of(SHARD, (OWNER, Epoch(1))).await.unwrap().is_none());
    other.shards.give_up(SHARD, OWNER, Epoch(2)).await.unwrap();
    assert!(other.adopt(2).await.is_none());
    assert_eq!(other.places().await, (1..=3).collect());
    owner.kill().await;
    other.kill().await;

    let dir = tempfile::tempdir().unwrap();
    let (owner, other) = (Node::start(dir.path(), 1).await, Node::start(dir.path(), 2).await);
    owner.send(1, Durability::Disk).await.unwrap();
    owner.shards.settle(SHARD).await.unwrap();
    let stale = other.shards.give_up(SHARD, OWNER, Epoch(1)).await.unwrap_err();
    assert_eq!(stale.code(), "DMC-SEGMENT-04", "its owner writes in that epoch");
    owner.kill().await;
    other.kill().await;
}
