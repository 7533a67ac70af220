//! How long it takes until somebody is hidden and unreadable, and what a purge rewrites for all of them together.
//!
//! `DOMICILE_SUBJECTS=1000 cargo test -p domicile --lib erase::measure -- --nocapture`; a few subjects without it. How an order
//! grows with the records of a node is told by `DOMICILE_STAY`, the number of persons who stay for each who goes: 4 without it.

#![allow(clippy::print_stderr, reason = "a measurement is read by people")]

use std::time::Instant;

use domicile_proto::ids::{ShardId, StreamId, Timestamp};
use serde_json::json;

use super::Whom;
use super::workflow_test::{Node, TENANT, begin};
use crate::keys::{Day, Original};
use crate::segment::specimen::record;

/// Records of each subject, in segments of their own: everybody is in every segment.
const SEGMENTS: u64 = 8;
const IN_EACH: u64 = 5;
/// Persons who stay, for each who goes.
const STAY: u64 = 4;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn segments(node: &Node) -> (usize, u64, u64) {
    let view = node.shards.catalog().view(ShardId(1));
    (view.len(), view.iter().map(|one| one.bytes).sum(), view.iter().map(|one| u64::from(one.docs)).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_subjects_are_shredded_one_by_one_and_purged_together_with_one_rewrite_of_each_segment() {
    let erased = setting("DOMICILE_SUBJECTS", 12);
    let dir = begin();
    let node = Node::start(dir.path()).await;
    let persons = erased * (1 + setting("DOMICILE_STAY", STAY));
    for segment in 0..SEGMENTS {
        let line = |n: u64| {
            let person = n % persons;
            let event = json!({"message": format!("request {n} took {} ms in part {segment}", n * 7919 % 1000)});
            record(i64::try_from(n).unwrap(), Some(person), event)
        };
        node.append((0..persons * IN_EACH).map(line).collect()).await;
        node.shards.purge().await.unwrap();
    }
    let original = |person: u64| {
        let letters: String =
            (0..26).map(|at| char::from(b'a' + u8::try_from(person >> (2 * at) & 3).unwrap())).collect();
        let text = zeroize::Zeroizing::new(format!("p{person}"));
        Original { token: format!("‹email:{letters}›").into(), subject: Some(person), text, met: None }
    };
    let originals: Vec<_> = (0..persons).map(original).collect();
    node.vault.seal(TENANT, StreamId(1), Day::of(Timestamp(1)), &originals).unwrap();
    let (count, bytes, records) = segments(&node);

    let mut took = Vec::new();
    for subject in 0..erased {
        let begun = Instant::now();
        let stands =
            node.erasure.order(TENANT, Whom { subjects: vec![subject], ..Whom::default() }, None).await.unwrap();
        took.push(begun.elapsed());
        assert_eq!(stands.shredded.unwrap().hidden, SEGMENTS * IN_EACH);
    }
    assert_eq!(node.seen(), records - erased * SEGMENTS * IN_EACH);
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    eprintln!("{erased} subjects among {persons}, {records} records in {count} segments of {bytes} bytes together");
    eprintln!("shredded one by one: p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));

    let before: Vec<_> = node.shards.catalog().view(ShardId(1)).iter().map(|one| one.id).collect();
    let begun = Instant::now();
    assert_eq!(node.erasure.purge().await.unwrap() as u64, erased);
    let (_, after, left) = segments(&node);
    eprintln!(
        "purged together in {:?}: {bytes} bytes read and {after} written, once for each segment",
        begun.elapsed()
    );
    assert_eq!((left, node.seen()), (records - erased * SEGMENTS * IN_EACH, left), "nobody else is touched");
    let all = node.erasure.all(TENANT);
    let receipt = all.first().unwrap().receipt.as_ref().unwrap()["receipt"].as_str().unwrap();
    for id in before {
        assert_eq!(receipt.matches(&id.to_string()).count(), 1, "rewritten once");
    }
    node.kill().await;
}
