//! Files that were broken are no backups, and a group that begins with one shares nothing with the group that was copied.

use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{ShardId, StreamId};
use domicile_proto::message::metadata::MetadataFrame;
use domicile_proto::metadata::{Applied, Command};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::apply::apply;
use crate::apply::apply_test::{assign, world};
use crate::group::{Group, GroupConfig};
use crate::transport::{Reply, Transport, TransportError};

/// Nobody can be reached.
struct Alone;

impl Transport for Alone {
    fn call(&self, _: NodeId, _: SocketAddr, _: MetadataFrame, _: Duration) -> Reply<'_> {
        Box::pin(async { Err(TransportError::Unreachable) })
    }

    fn snapshot(&self, _: NodeId, _: SocketAddr, _: MetadataFrame, _: Vec<Row>, _: Duration) -> Reply<'_> {
        Box::pin(async { Err(TransportError::Unreachable) })
    }
}

fn backup() -> Backup {
    let mut state = world();
    assert_eq!(apply(&mut state, &assign("tokyo", 1, 0)), Applied::Shard(ShardId(1), Epoch(1)));
    let making = Making {
        deployment: "domicile".parse().unwrap(),
        region: "tokyo".parse().unwrap(),
        node: NodeId(1),
        at: Timestamp(5),
        index: 41,
        term: 7,
        rows: state.row_count(),
    };
    Backup { making, state }
}

fn addr() -> SocketAddr {
    "127.0.0.1:7443".parse().unwrap()
}

#[test]
fn what_was_written_is_read_and_says_in_its_first_line_what_it_is() {
    let backup = backup();
    let bytes = backup.encode().unwrap();
    assert_eq!(Backup::read(&bytes).unwrap(), backup);
    assert!(bytes.starts_with(b"domicile metadata backup, layout 1\n{\"deployment\":\"domicile\""));
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused_as_damage() {
    let bytes = backup().encode().unwrap();
    for length in 0..bytes.len() {
        let error = Backup::read(&bytes[..length]).unwrap_err();
        assert_eq!(error.code(), "DMC-META-15", "cut off at {length}: {error}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Backup::read(&flipped).unwrap_err().code(), "DMC-META-15", "bit {bit}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(Backup::read(&longer).unwrap_err().code(), "DMC-META-15");
}

/// A file around any rows, with right checksums.
fn around(making: &Making, rows: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("{MAGIC}{LAYOUT}\n{}\n", serde_json::to_string(making).unwrap()).into_bytes();
    rows.iter().for_each(|row| bytes.extend(row));
    let digest = digest(&bytes);
    bytes.extend(digest);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_backup_panics_and_what_is_taken_is_written_and_read_again(
        changed in vec((any::<Index>(), any::<Index>(), any::<u8>()), 0..4),
        copied in vec((any::<Index>(), any::<Index>()), 0..3),
        left_out in vec(any::<Index>(), 0..2),
    ) {
        let Backup { mut making, state } = backup();
        let mut rows: Vec<Vec<u8>> = state.rows().map(|row| codec::encode(&row).unwrap()).collect();
        prop_assert_eq!(around(&making, &rows), backup().encode().unwrap());
        for (row, place, byte) in changed {
            let row = row.index(rows.len());
            let body = &mut rows[row][HEADER_BYTES..];
            body[place.index(body.len())] = byte;
            let checksum = crc32fast::hash(body).to_be_bytes();
            rows[row][HEADER_BYTES - checksum.len()..HEADER_BYTES].copy_from_slice(&checksum);
        }
        for (from, to) in copied {
            let row = rows[from.index(rows.len())].clone();
            rows.insert(to.index(rows.len()), row);
        }
        left_out.iter().for_each(|row| drop(rows.remove(row.index(rows.len()))));
        making.rows = rows.len() as u64;
        if let Ok(taken) = Backup::read(&around(&making, &rows)) {
            prop_assert_eq!(&Backup::read(&taken.encode().unwrap()).unwrap(), &taken);
            drop(taken.next_generation(NodeId(1)));
        }
    }
}

#[test]
fn another_layout_is_refused_by_its_number_and_rows_that_are_no_state_as_damage() {
    let bytes = backup().encode().unwrap();
    let signed = |mut body: Vec<u8>| {
        let checksum = digest(&body);
        body.extend(checksum);
        body
    };
    let body = &bytes[..bytes.len() - DIGEST_BYTES];
    let at = MAGIC.len();
    for layout in [b'0', b'2'] {
        let mut other = body.to_vec();
        other[at] = layout;
        let error = Backup::read(&signed(other)).unwrap_err();
        assert_eq!(error.code(), "DMC-META-14");
        assert!(error.to_string().contains(char::from(layout)), "{error}");
    }
    let mut twice = backup();
    twice.making.rows = 0;
    assert_eq!(Backup::read(&twice.encode().unwrap()).unwrap_err().code(), "DMC-META-15");
}

#[test]
fn the_next_generation_has_none_of_the_old_nodes_and_gives_out_no_number_twice() {
    let backup = backup();
    let mut state = backup.next_generation(NodeId(9)).unwrap();
    assert_eq!(state.nodes().count(), 0);
    assert_eq!(state.region_key(&"tokyo".parse().unwrap()), backup.state.region_key(&"tokyo".parse().unwrap()));
    let shard = state.shard(StreamId(1), &"tokyo".parse().unwrap()).unwrap();
    assert!(shard.epoch.0 > GENERATION_EPOCHS, "no epoch of the old group comes near");
    let other = backup.next_generation(NodeId(10)).unwrap();
    let made = |state: &State| (state.counters.tenant, state.counters.stream, state.counters.value);
    let ((tenant, stream, value), (tenant2, stream2, value2)) = (made(&state), made(&other));
    for (one, two) in [(tenant, tenant2), (stream, stream2), (value, value2)] {
        assert_eq!(one.abs_diff(two), IDS_APART, "two groups that begin with it call nothing new alike");
    }
    assert_eq!(state.counters.shard.abs_diff(other.counters.shard), SHARDS_APART);
    let other = other.shard(StreamId(1), &"tokyo".parse().unwrap()).unwrap().epoch;
    assert!(
        other.0.abs_diff(shard.epoch.0) >= EPOCHS_APART,
        "nor that of a second one that began with the same backup"
    );
    assert!(state.policy_version().0 > backup.state.policy_version().0 + 1_000_000);
    let stream = Command::CreateStream { tenant: domicile_proto::ids::TenantId(1), stream: "late".parse().unwrap() };
    let mut old = backup.state.clone();
    let (Applied::Stream(new), Applied::Stream(old)) = (apply(&mut state, &stream), apply(&mut old, &stream)) else {
        panic!("a stream is made");
    };
    assert!(new.0 >= old.0 + GENERATION_IDS - 1, "what the old group made after the backup keeps its number");
    let over = Backup {
        state: {
            let mut full = backup.state.clone();
            full.counters.tenant = u32::MAX;
            full
        },
        ..backup
    };
    assert_eq!(over.next_generation(NodeId(9)).unwrap_err().code(), "DMC-META-15");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_node_begins_a_group_with_a_backup_and_leads_it_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let meta = dir.path().join("meta");
    let (backup, ours) = (backup(), "domicile".parse().unwrap());
    let strange = backup.restore(&meta, (NodeId(9), addr()), &"other".parse().unwrap()).await.unwrap_err();
    assert_eq!(strange.code(), "DMC-META-18");
    for old in [1, 2] {
        let error = backup.restore(&meta, (NodeId(old), addr()), &ours).await.unwrap_err();
        assert_eq!(error.code(), "DMC-META-16", "node {old}");
    }
    // What an earlier try left, which was ended in the middle, is no part of a group.
    std::fs::create_dir_all(dir.path().join("meta.restored")).unwrap();
    std::fs::write(dir.path().join("meta.restored/log.redb"), b"half").unwrap();
    std::fs::create_dir_all(&meta).unwrap();
    backup.restore(&meta, (NodeId(9), addr()), &ours).await.unwrap();
    let again = backup.restore(&meta, (NodeId(9), addr()), &ours).await.unwrap_err();
    assert_eq!(again.code(), "DMC-META-17", "a second time would begin a second group");
    let config = || GroupConfig::new(NodeId(9), "tokyo".parse().unwrap(), addr(), meta.clone(), Duration::ZERO);
    for start in 0..3 {
        let group = Group::start(config(), Arc::new(Alone)).await.unwrap();
        let tenant = Command::CreateTenant { tenant: format!("tenant-{start}").parse().unwrap() };
        let applied = group.propose(tenant, Duration::from_secs(60)).await.unwrap();
        assert!(matches!(applied, Applied::Tenant(id) if id.0 > GENERATION_IDS), "{applied:?}");
        let (state, _) = group.local();
        assert!(state.tenant(&"acme".parse().unwrap()).is_some(), "what was backed up is there");
        assert!(state.tenant(&"tenant-0".parse().unwrap()).is_some(), "and what came since");
        let metrics = group.metrics();
        assert!(metrics.term > backup.making.term && metrics.voters == [NodeId(9)], "{metrics:?}");
        let copy = group.backup(Making { rows: 0, ..backup.making.clone() });
        assert!(copy.making.index > backup.making.index && copy.making.rows == copy.state.row_count());
        assert_eq!(Backup::read(&copy.encode().unwrap()).unwrap(), copy, "and it can be backed up itself");
        group.shutdown().await;
    }
}
