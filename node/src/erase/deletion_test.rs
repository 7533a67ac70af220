//! Retention with a moved clock, over a real bucket, log, keyring and ledger: nothing goes early, everything goes in time and
//! from everywhere, a hold wins, a clock that jumps deletes nothing, and a crash at any step is made good.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domicile_proto::ids::{ShardId, StreamId, TenantId, Timestamp};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::deletion::portion;
use super::retention::{Lying, Period, Planned};
use super::workflow_test::{Node, OTHER, TENANT, TOKEN, begin, stream};
use super::*;
use crate::keys::{Day, Original};
use crate::limits::{RETENTION_LOOK, RETENTION_SEGMENTS, SUPPRESS_FOR};
use crate::policy::Policy;
use crate::segment::SegmentId;
use crate::segment::specimen::record;
use crate::tier::{DAY, Tier};

const BEGIN: i64 = 1_000_000;
/// The day on which what was received on the first one goes, at midnight: thirty days are kept whole.
const DAYS: i64 = 31;

/// A node whose stream keeps records for 30 days, with twelve durable records of the beginning.
async fn filled(dir: &Path) -> Node {
    let node = started(dir).await;
    node.fill().await;
    node.shards.purge().await.unwrap();
    node
}

async fn started(dir: &Path) -> Node {
    let node = Node::start(dir).await;
    keep(&node, Some(30));
    node
}

fn keep(node: &Node, days: Option<u16>) {
    let mut policy = Policy::empty("tokyo".parse().unwrap());
    policy.streams.insert((TENANT, "app".parse().unwrap()), std::sync::Arc::new(stream(days)));
    node.policy.replace(policy);
}

fn turn_to_day(node: &Node, day: i64) {
    node.clock.turn_to(Timestamp(BEGIN + day * DAY));
}

/// Whether a text stands anywhere below, in a file or its name, as it is.
fn stands_below(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        has(path.as_os_str().as_encoded_bytes())
            || if path.is_dir() { stands_below(&path, text) } else { has(&std::fs::read(&path).unwrap()) }
    })
}

fn said(deletion: &Value) -> Value {
    serde_json::from_str(deletion["evidence"]["receipt"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_past_its_period_goes_from_everywhere_with_signed_evidence_and_nothing_goes_before() {
    let dir = begin();
    let node = filled(dir.path()).await;
    let old = node.shards.catalog().view(ShardId(1)).first().cloned().unwrap();
    let tier = Tier::new(node.store.clone(), dir.path().join("cache"), node.tasks.clone());
    tier.copy_out(&old).await.unwrap();
    let (id, digest) = (old.id.to_string(), hex::encode(node.shards.digest(old).await.unwrap()));
    node.clock.turn_to(Timestamp(DAYS * DAY - 1));
    assert!(node.erasure.drop_due(None).await.unwrap().is_empty(), "a microsecond early");
    assert_eq!(node.seen(), 12);
    turn_to_day(&node, DAYS);
    node.append(vec![record(13, Some(100), json!({"message": "young"}))]).await;
    assert!(node.erasure.drop_due(Some(TenantId(2))).await.unwrap().is_empty(), "another tenant's");

    let ids = node.erasure.drop_due(Some(TENANT)).await.unwrap();
    assert_eq!((ids.len(), node.seen()), (1, 1), "what came later stays");
    assert!(!node.is_revealed(), "its originals have lost their keys");
    assert!(!stands_below(&dir.path().join("segments"), &id) && !stands_below(&dir.path().join("wal"), TOKEN));
    assert!(node.store.list("segments").await.unwrap().is_empty(), "the copy in the bucket went with it");
    assert_eq!(node.kinds(), ["deletion begun", "deleted"]);
    assert!(node.erasure.deletions(TenantId(2)).is_empty());

    let [told] = node.erasure.deletions(TENANT).try_into().unwrap();
    let evidence = &told["evidence"];
    let bytes = |field: &str| STANDARD.decode(evidence[field].as_str().unwrap()).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, bytes("public_key"));
    key.verify(evidence["receipt"].as_str().unwrap().as_bytes(), &bytes("signature")).unwrap();
    let said = said(&told);
    assert_eq!((&said["segments"][0]["segment"], &said["segments"][0]["sha256"]), (&json!(id), &json!(digest)));
    assert_eq!((&said["records"], &said["originals_destroyed"]), (&json!(12), &json!(1)));
    assert!(said["objects_of_copies_deleted"].as_u64().unwrap() >= 2);
    node.kill().await;

    // It stays gone, what came later is found again, and nothing is deleted twice.
    let node = started(dir.path()).await;
    node.shards.refresh(None).await;
    turn_to_day(&node, DAYS + 1);
    assert!(node.seen() == 1 && node.erasure.drop_due(None).await.unwrap().is_empty());
    assert_eq!(node.erasure.deletions(TENANT), [told]);
    node.append(vec![record(14, Some(100), json!({"message": "younger"}))]).await;
    node.shards.purge().await.unwrap();
    assert_eq!(node.seen(), 2);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_a_crash_interrupts_at_any_step_is_finished_and_never_told_before() {
    for step in ["deletion planned", "segments deleted", "originals destroyed", "deletion told"] {
        let dir = begin();
        let node = filled(dir.path()).await;
        turn_to_day(&node, DAYS);
        *node.erasure.ends_at.lock() = Some(step);
        assert!(node.erasure.drop_due(None).await.is_err(), "{step}");
        assert!(node.erasure.deletions(TENANT).iter().all(|one| one["evidence"].is_null()), "{step}");
        node.kill().await;

        // The hold that is set now is too late for what was begun, and the clock may say what it likes.
        let node = started(dir.path()).await;
        let of_stream = Whom { only: Some(vec![(StreamId(1), None)]), ..Whom::default() };
        node.erasure.hold(TENANT, of_stream).await.unwrap();
        node.erasure.look_for_due(Instant::now()).await.unwrap();
        assert_eq!(node.seen(), 0, "{step}");
        let [told] = node.erasure.deletions(TENANT).try_into().unwrap_or_else(|_| panic!("one; {step}"));
        assert_eq!((&told["state"], &said(&told)["records"]), (&json!("gone"), &json!(12)), "{step}");
        let shards = std::fs::read_dir(dir.path().join("segments")).unwrap();
        let left: usize = shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum();
        assert_eq!(left, 0, "{step}");
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deletion_names_keeps_its_id_until_it_is_gone_though_neighbours_are_joined() {
    let dir = begin();
    let node = filled(dir.path()).await;
    for number in 13..16 {
        node.append(vec![record(number, Some(100), json!({"message": "of the same day"}))]).await;
        node.shards.purge().await.unwrap();
    }
    let ids = |node: &Node| -> Vec<SegmentId> {
        node.shards.catalog().view(ShardId(1)).iter().rev().map(|segment| segment.id).collect()
    };
    let named = ids(&node);
    assert_eq!(named.len(), 4, "each is durable by itself");
    turn_to_day(&node, DAYS);
    *node.erasure.ends_at.lock() = Some("deletion planned");
    assert!(node.erasure.drop_due(None).await.is_err());
    // Something new comes, and the shard is looked at: its small neighbours of a day that is over are due to be joined.
    node.append(vec![record(20, Some(100), json!({"message": "young"}))]).await;
    node.shards.settle(ShardId(1)).await.unwrap();
    assert_eq!(ids(&node)[..4], named);
    node.kill().await;

    let node = started(dir.path()).await;
    turn_to_day(&node, DAYS);
    node.append(vec![record(21, Some(100), json!({"message": "younger"}))]).await;
    node.shards.settle(ShardId(1)).await.unwrap();
    assert_eq!(ids(&node)[..4], named, "after a start as well");
    node.erasure.look_for_due(Instant::now()).await.unwrap();
    assert_eq!(node.seen(), 2);
    let [told] = node.erasure.deletions(TENANT).try_into().unwrap_or_else(|_| panic!("one deletion"));
    assert_eq!((&told["state"], &said(&told)["records"]), (&json!("gone"), &json!(15)));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_on_a_stream_or_on_one_person_in_it_wins_over_the_period() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn_to_day(&node, DAYS);
    let of_stream = Whom { only: Some(vec![(StreamId(1), None)]), ..Whom::default() };
    let of_person = Whom { subjects: vec![7], ..Whom::default() };
    let of_token = Whom { tokens: vec![TOKEN.into()], ..Whom::default() };
    for held in [of_stream, of_person, of_token] {
        let hold = node.erasure.hold(TENANT, held).await.unwrap().id;
        assert!(node.erasure.drop_due(None).await.unwrap().is_empty());
        let planned = node.erasure.retention_plan_with_persons(None).await.unwrap();
        assert!(planned.iter().all(|one| one.fate == Fate::Held(hold.clone())));
        assert!(node.seen() == 12 && node.is_revealed());
        node.erasure.release(TENANT, &hold).await.unwrap();
    }
    // Somebody who has no record in the segment is no reason to keep it; the originals stay while anybody is held.
    node.erasure.hold(TENANT, Whom { subjects: vec![99], ..Whom::default() }).await.unwrap();
    assert_eq!(node.erasure.drop_due(None).await.unwrap().len(), 1);
    assert!(node.seen() == 0 && node.is_revealed());
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_and_comes_back_deletes_nothing_and_one_that_stays_does() {
    let dir = begin();
    let node = filled(dir.path()).await;
    let begun = Instant::now();
    let look = async |looks: u32, more: Duration| {
        node.erasure.look_for_due(begun + looks * RETENTION_LOOK + more).await.unwrap();
    };
    turn_to_day(&node, 400);
    look(0, Duration::ZERO).await;
    look(1, Duration::ZERO).await;
    assert_eq!(node.seen(), 0, "an hour apart and both times due");
    node.fill().await;
    node.shards.purge().await.unwrap();
    turn_to_day(&node, 800);
    look(2, Duration::ZERO).await;
    look(2, RETENTION_LOOK / 2).await;
    assert_eq!(node.seen(), 12, "one look is not enough, however often it is asked for");
    turn_to_day(&node, 401);
    look(3, Duration::ZERO).await;
    turn_to_day(&node, 800);
    look(4, Duration::ZERO).await;
    assert_eq!(node.seen(), 12, "it was not due in between");
    look(5, Duration::ZERO).await;
    assert_eq!(node.seen(), 0);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_between_two_looks_takes_no_keys_of_days_that_stay() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn_to_day(&node, 10);
    let text = zeroize::Zeroizing::new("later@example.org".to_owned());
    let original = Original { token: OTHER.into(), subject: Some(9), text, met: None };
    node.vault.seal(TENANT, StreamId(1), Day::of(node.clock.now()), &[original]).unwrap();
    node.append(vec![record(13, Some(9), json!({"user": OTHER}))]).await;
    node.shards.purge().await.unwrap();
    let begun = Instant::now();
    turn_to_day(&node, DAYS);
    node.erasure.look_for_due(begun).await.unwrap();
    turn_to_day(&node, DAYS + 300);
    *node.erasure.ends_at.lock() = Some("segments deleted");
    assert!(node.erasure.look_for_due(begun + RETENTION_LOOK).await.is_err());
    *node.erasure.ends_at.lock() = None;
    // What the plan says is done after the crash as well.
    node.erasure.finish_deletions().await.unwrap();
    assert_eq!(node.seen(), 1, "the first day went, and only it");
    assert!(!node.is_revealed(), "with its original");
    assert!(node.vault.reveal(TENANT, OTHER).unwrap().is_some(), "the record is there, and so is its original");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_period_of_its_own_a_stream_has_the_regions_and_an_unknown_one_is_never_deleted() {
    let dir = begin();
    let node = filled(dir.path()).await;
    keep(&node, None);
    turn_to_day(&node, 545);
    assert!(node.erasure.drop_due(None).await.unwrap().is_empty());
    node.policy.replace(Policy::empty("tokyo".parse().unwrap()));
    turn_to_day(&node, 100_000);
    assert!(node.erasure.drop_due(None).await.unwrap().is_empty(), "nobody knows the stream");
    keep(&node, None);
    turn_to_day(&node, 546);
    assert_eq!(node.erasure.drop_due(None).await.unwrap().len(), 1);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_erased_is_kept_out_for_longer_than_any_stream_keeps_its_records() {
    let dir = begin();
    let node = filled(dir.path()).await;
    keep(&node, Some(4_000));
    node.erasure.order(TENANT, Whom { subjects: vec![7], ..Whom::default() }, None).await.unwrap();
    node.erasure.purge().await.unwrap();
    let least = i64::try_from(SUPPRESS_FOR.as_micros()).unwrap() / DAY;
    for (day, is_kept_out) in [(least + 1, true), (4_001, true), (4_032, false)] {
        turn_to_day(&node, day);
        node.erasure.tend().await.unwrap();
        assert_eq!(!node.suppresses_nothing(), is_kept_out, "day {day}");
    }
    node.kill().await;
}

#[test]
fn one_deletion_names_no_more_segments_than_it_may() {
    let planned = |tenant: u32, segment: usize| Planned {
        period: Period {
            tenant: TenantId(tenant),
            stream: StreamId(1),
            name: "app".parse().unwrap(),
            shard: ShardId(1),
            days: 1,
            archive_for: None,
        },
        lying: Lying {
            segment: SegmentId(segment as u128),
            shard: ShardId(1),
            records: 1,
            bytes: 1,
            received_until: Timestamp(1),
            is_durable: true,
            archived: None,
        },
        fate: Fate::Due,
    };
    let mut all: Vec<_> = (0..RETENTION_SEGMENTS + 7).map(|segment| planned(1, segment)).collect();
    all.push(planned(2, 0));
    all.push(Planned { fate: Fate::Held("h".into()), ..planned(2, 1) });
    let taken = portion(all, |_| true);
    let of = |tenant| taken.iter().filter(|one| one.period.tenant == TenantId(tenant)).count();
    assert_eq!((of(1), of(2)), (RETENTION_SEGMENTS, 1), "each tenant by itself, and nothing that is held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_policy_is_no_longer_honoured_loses_nothing_that_was_to_be_kept() {
    let dir = begin();
    let node = filled(dir.path()).await;
    let mut policy = Policy::clone(&node.policy.now());
    let view = policy.streams.values().next().unwrap().clone();
    policy.kept_longer.insert(StreamId(1), 60.try_into().unwrap());
    assert_eq!(policy.archive_for(&view, 30), None, "nor does the archive end it by what is no longer honoured");
    node.policy.replace(policy);
    turn_to_day(&node, DAYS + 1);
    assert!(node.erasure.drop_due(None).await.unwrap().is_empty(), "past the first period, not past the longer one");
    keep(&node, Some(30));
    assert_eq!(node.erasure.drop_due(None).await.unwrap().len(), 1, "an officer's policy holds again");
}
