//! Whatever a disk or the region's store gives back is read or refused.

use std::collections::BTreeMap;

use bolero::check;
use domicile_proto::ids::{Epoch, ShardId};

use super::batch::Op;
use super::disk::Disk;
use super::disk_double::Double;
use super::frame::{self, Found};
use super::objects::{self, Said};
use super::recover::{read_seen_file, reopen, seen_file, sightings_of};
use super::wal_test::{NOW, batch, commit, newest_file, open, record};
use crate::fuzz::{Input, cases};

/// Bodies of frames as a log writes them.
fn bodies() -> Vec<Vec<u8>> {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    let mut bodies = Vec::new();
    for (id, records) in [
        (None, vec![(Op::Index, record(None, "one"))]),
        (Some(("batch", 7)), vec![(Op::Create, record(Some("id"), "two")), (Op::Create, record(Some("id"), "two"))]),
        (Some(("other", 8)), vec![(Op::Index, record(None, "東京")), (Op::Create, record(Some("id"), "else"))]),
    ] {
        commit(&mut log, batch(1, id, records)).unwrap();
        log.roll();
        let (_, file) = newest_file(&disk);
        match frame::frame_at(&file, frame::FILE_HEADER_BYTES) {
            Found::Frame { body, .. } => bodies.push(body.to_vec()),
            _ => panic!("a file holds the frame that was written"),
        }
    }
    assert!(disk.list().unwrap().len() >= 3);
    bodies
}

/// A frame with a good head around any body, so that the body is looked at.
fn framed(body: &[u8], before: &[u8]) -> Vec<u8> {
    let mut bytes = before.to_vec();
    let start = frame::begin_frame(&mut bytes, NOW, 0);
    bytes.truncate(bytes.len() - 13);
    bytes.extend_from_slice(body);
    frame::end_frame(&mut bytes, start, 7).unwrap();
    bytes
}

#[test]
fn no_frame_of_the_log_panics() {
    let good = bodies();
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let body = input.bytes(&good);
        let bytes = framed(&body, b"");
        let Found::Frame { number: 7, body: found, next } = frame::frame_at(&bytes, 0) else { panic!("it is whole") };
        assert!(found == body && next == bytes.len());
        for entry in frame::read_body(found).map(|(_, entries)| entries).unwrap_or_default() {
            let (first, count) = (entry.first_seq, entry.records.len() as u64);
            let _ = sightings_of(&entry, NOW);
            if let Some(Some(durable)) = reopen(entry, NOW, 0) {
                assert!(durable.first_seq >= first && durable.records.len() as u64 <= count);
            }
        }
        let _ = frame::read_file_header(&body);
        let _ = (frame::is_torn_header(&body), frame::frame_follows(&body, 0, 0), frame::frame_at(&body, 1));
    });
}

#[test]
fn no_object_of_the_log_panics() {
    let good = bodies();
    let magic = objects::object(7, NOW, std::iter::empty()).unwrap()[..8].to_vec();
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let body = input.bytes(&good);
        assert!(objects::read(&framed(&body, &magic), 8).is_none(), "it stands for its own number alone");
        if let Some(Said::Batches(_, entries)) = objects::read(&framed(&body, &magic), 7) {
            entries.into_iter().for_each(|entry| drop(reopen(entry, NOW, 3)));
        }
        let _ = objects::read(&body, 7);
    });
}

#[test]
fn no_seal_panics() {
    let whole = objects::seal(&BTreeMap::from([(ShardId(7), Epoch(2)), (ShardId(u64::MAX), Epoch(5))]));
    let good = vec![whole[12..].to_vec(), Vec::new()];
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let rest = input.bytes(&good);
        let bytes = [&whole[..8], &crc32fast::hash(&rest).to_le_bytes(), &rest].concat();
        match objects::read(&bytes, 7) {
            Some(Said::Seal(shards)) => assert!(shards.len() <= rest.len() / 16 && rest.len() % 16 == 0),
            Some(Said::Batches(..)) => panic!("a seal holds no batch"),
            None => assert!(rest.len() % 16 != 0),
        }
    });
}

#[test]
fn no_file_of_ids_panics() {
    let mut good = Vec::new();
    for body in bodies() {
        let (_, entries) = frame::read_body(&body).unwrap();
        let sightings: Vec<_> = entries.iter().flat_map(|entry| sightings_of(entry, NOW)).collect();
        good.push(seen_file(&sightings.iter().collect::<Vec<_>>()));
    }
    let (magic, good): (Vec<_>, Vec<_>) = good.iter().map(|file| (file[..8].to_vec(), file[12..].to_vec())).unzip();
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let rest = input.bytes(&good);
        let bytes = [&magic[0][..], &crc32fast::hash(&rest).to_le_bytes(), &rest].concat();
        if let Some(sightings) = read_seen_file(&bytes) {
            let again = seen_file(&sightings.iter().collect::<Vec<_>>());
            assert_eq!(read_seen_file(&again).map(|read| read.len()), Some(sightings.len()));
        }
    });
}
