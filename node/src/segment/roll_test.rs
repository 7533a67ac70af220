//! Midnight with a moved clock: records of two days never share a segment, whatever ends the node in between.

use domicile_proto::ids::{ShardId, Timestamp};

use super::shards_test::{Node, texts};

const SHARD: u64 = 1;
const OTHER: u64 = 2;
const MIDNIGHT: i64 = 86_400 * Timestamp::MICROS;

/// Records of each segment and when the last of them came, oldest first.
fn held(node: &Node) -> Vec<(u32, i64)> {
    let view = node.shards.catalog().view(ShardId(SHARD));
    view.iter().rev().map(|segment| (segment.docs, segment.received_until.0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gathered_when_the_day_ends_is_a_segment_of_its_own_also_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    node.clock.turn_to(Timestamp(MIDNIGHT - 2));
    node.append(SHARD, &texts(0, 3)).await;
    node.clock.turn_to(Timestamp(MIDNIGHT - 1));
    node.append(SHARD, &texts(3, 1)).await;
    node.clock.turn_to(Timestamp(MIDNIGHT));
    node.append(SHARD, &texts(4, 2)).await;
    // Put back a little, as a clock may be: what comes counts for the day that has begun.
    node.clock.turn_to(Timestamp(MIDNIGHT - 1));
    node.append(SHARD, &texts(6, 1)).await;
    node.shards.refresh(Some(ShardId(SHARD))).await;
    let expected = [(4, MIDNIGHT - 1), (3, MIDNIGHT)];
    assert_eq!(held(&node), expected);
    let content = node.content(SHARD);
    assert_eq!(content.len(), 7);
    node.kill().await;

    // The log says when they came, and not the clock of the day on which it is read again.
    let node = Node::start(dir.path()).await.unwrap();
    assert_eq!((held(&node), node.content(SHARD)), (expected.to_vec(), content.clone()));
    node.stop().await;
    let node = Node::start(dir.path()).await.unwrap();
    assert_eq!((held(&node), node.content(SHARD)), (expected.to_vec(), content), "on the disk");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_day_is_joined_within_the_hour_though_nothing_comes_any_more_and_others_are_busy() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    for minute in 0..5 {
        node.clock.turn_to(Timestamp(MIDNIGHT - (5 - minute) * 120 * Timestamp::MICROS));
        node.append(SHARD, &texts(0, 2)).await;
        node.shards.refresh(None).await;
        node.shards.purge().await.unwrap();
    }
    assert_eq!(held(&node).len(), 5, "each is durable by itself");
    node.clock.turn_to(Timestamp(MIDNIGHT + 10 * Timestamp::MICROS));
    node.append(SHARD, &texts(0, 1)).await;
    node.shards.purge().await.unwrap();
    node.clock.turn_to(Timestamp(MIDNIGHT + 3_600 * Timestamp::MICROS));
    let joined = async {
        while held(&node).len() > 2 {
            node.append(OTHER, &texts(0, 1)).await;
            node.shards.refresh(Some(ShardId(OTHER))).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), joined).await.unwrap();
    let both = held(&node);
    assert_eq!((both[0].0, both[1].0), (10, 1), "{both:?}");
    assert!(both[0].1 < MIDNIGHT && both[1].1 > MIDNIGHT);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_takes_whose_clock_is_behind_goes_no_earlier_than_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    node.clock.turn_to(Timestamp(3 * MIDNIGHT));
    node.append(SHARD, &texts(0, 3)).await;
    node.stop().await;
    // As at a node that takes the shard over: its own log knows nothing of when the others came.
    std::fs::remove_dir_all(dir.path().join("wal")).unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    for from in [3, 4] {
        node.append(SHARD, &texts(from, 1)).await;
        node.shards.refresh(None).await;
    }
    assert_eq!(held(&node), [(3, 3 * MIDNIGHT), (1, 3 * MIDNIGHT), (1, 3 * MIDNIGHT)]);
    node.stop().await;
}
