//! Files that a full disk leaves behind, and records that are given again.

use std::collections::BTreeMap;

use domicile_proto::ids::ShardId;

use super::super::disk::Disk;
use super::super::disk_double::{Double, Fault};
use super::super::wal_test::{FILE_BYTES, commit, newest_file, open, replayed, texts};
use crate::errors::Coded;

#[test]
fn a_file_that_found_no_room_when_it_was_made_does_not_stop_the_next_start() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    commit(&mut log, texts(1, &["a"])).unwrap();
    while newest_file(&disk).1.len() < usize::try_from(FILE_BYTES).unwrap() {
        commit(&mut log, texts(1, &["more"])).unwrap();
    }
    let before = replayed(&log, &BTreeMap::new()).len();
    for _ in 0..2 {
        disk.break_with(Fault::Create);
        assert_eq!(commit(&mut log, texts(1, &["lost"])).err().map(|error| error.code()), Some("DMC-WAL-03"));
    }
    commit(&mut log, texts(1, &["kept"])).unwrap();
    let mut log = open(&disk).unwrap_or_else(|error| panic!("two empty files in the middle: {error}"));
    assert_eq!(replayed(&log, &BTreeMap::new()).len(), before + 1);
    commit(&mut log, texts(1, &["after"])).unwrap();
    assert_eq!(replayed(&open(&disk).unwrap(), &BTreeMap::new()).len(), before + 2);
}

#[test]
fn an_emptied_file_in_the_middle_is_damage_all_the_same() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    for _ in 0..40 {
        commit(&mut log, texts(1, &["some text"])).unwrap();
    }
    let mut names: Vec<_> = disk.list().unwrap().into_iter().filter(|name| name.starts_with("log-")).collect();
    names.sort_unstable();
    assert!(names.len() > 2, "{names:?}");
    disk.put(&names[1], Vec::new());
    assert_eq!(open(&disk).err().map(|error| error.code()), Some("DMC-WAL-09"));
}

#[test]
fn records_are_given_again_from_any_place_to_any_other() {
    let disk = Double::default();
    let mut log = open(&disk).unwrap();
    let mut written = Vec::new();
    for n in 0..30 {
        let (a, b) = (format!("a{n}"), format!("b{n}"));
        commit(&mut log, texts(1, &[&a, &b])).unwrap();
        commit(&mut log, texts(2, &["other"])).unwrap();
        written.extend([a, b]);
    }
    for first in 1..=60_u64 {
        for last in first..=60 {
            let again = log.reread(ShardId(1), &(first..=last)).unwrap();
            let texts: Vec<String> = again
                .iter()
                .flat_map(|durable| &durable.records)
                .map(|record| record.source()["message"].as_str().unwrap().to_owned())
                .collect();
            let wanted = &written[usize::try_from(first).unwrap() - 1..usize::try_from(last).unwrap()];
            assert_eq!((again[0].first_seq, texts.as_slice()), (first, wanted));
        }
    }
    assert_eq!(log.reread(ShardId(1), &(59..=61)).err().map(|error| error.code()), Some("DMC-WAL-12"));
    assert_eq!(log.reread(ShardId(3), &(1..=1)).err().map(|error| error.code()), Some("DMC-WAL-12"));
}
