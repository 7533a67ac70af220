//! What is remembered across states and restarts, and what a state that was rewritten does not bring back.

use std::path::PathBuf;

use domicile_proto::ids::Name;
use domicile_proto::officer::OfficerKey;

use super::*;

fn key(id: &str) -> Object {
    Object::key(&id.parse::<Name>().expect("a name"))
}

/// One state: what stands in it, by key and serial. Gives what is honoured of it.
fn read(honoured: &mut Honoured, version: u64, rows: &[(&str, u64)]) -> Vec<String> {
    let taken: Vec<String> = rows
        .iter()
        .filter(|(id, serial)| honoured.honour(key(id), ConsentSerial(*serial)))
        .map(|(id, _)| (*id).to_owned())
        .collect();
    honoured.conclude(PolicyVersion(version)).expect("written");
    taken
}

struct Disk {
    dir: tempfile::TempDir,
    officer: OfficerPublic,
}

impl Disk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), officer: officer() }
    }

    fn open(&self) -> Honoured {
        Honoured::open(self.dir.path(), self.officer).expect("a memory")
    }

    fn file(&self) -> PathBuf {
        let mut found = std::fs::read_dir(self.dir.path()).expect("a directory");
        found.next().expect("a file").expect("a file").path()
    }
}

fn officer() -> OfficerPublic {
    OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made").public()
}

#[test]
fn what_left_the_state_does_not_come_back_under_its_old_consent() {
    let disk = Disk::new();
    let mut honoured = disk.open();
    assert_eq!(read(&mut honoured, 1, &[("a", 5), ("b", 6)]), ["a", "b"]);
    assert_eq!(read(&mut honoured, 2, &[("b", 6)]), ["b"]);
    assert_eq!(read(&mut honoured, 3, &[("a", 5), ("b", 6)]), ["b"], "replayed");
    drop(honoured);
    let mut honoured = disk.open();
    assert_eq!(read(&mut honoured, 4, &[("a", 5), ("b", 6)]), ["b"], "replayed after a restart");
    assert_eq!(read(&mut honoured, 5, &[("a", 7), ("b", 6)]), ["a", "b"], "signed again");
}

#[test]
fn an_older_consent_for_what_is_in_force_is_ignored_and_the_newer_one_ends_with_it() {
    let mut honoured = Honoured::forgetful();
    assert_eq!(read(&mut honoured, 1, &[("a", 5)]), ["a"]);
    assert_eq!(read(&mut honoured, 2, &[("a", 9)]), ["a"]);
    assert!(read(&mut honoured, 3, &[("a", 5)]).is_empty(), "rewritten to the older one");
    assert!(read(&mut honoured, 4, &[("a", 9)]).is_empty(), "what was gone once is gone");
    assert_eq!(read(&mut honoured, 5, &[("a", 10)]), ["a"]);
}

#[test]
fn a_state_from_before_the_restart_revokes_nothing_and_brings_nothing_back() {
    let disk = Disk::new();
    let mut honoured = disk.open();
    read(&mut honoured, 1, &[("a", 5), ("b", 6)]);
    read(&mut honoured, 9, &[("b", 7), ("c", 8)]);
    drop(honoured);
    let mut honoured = disk.open();
    assert!(read(&mut honoured, 1, &[("a", 5), ("b", 6)]).is_empty(), "the log is being read again");
    assert_eq!(read(&mut honoured, 9, &[("b", 7), ("c", 8)]), ["b", "c"]);
}

#[test]
fn a_version_from_the_far_future_keeps_no_revocation_from_being_seen() {
    let mut honoured = Honoured::forgetful();
    assert_eq!(read(&mut honoured, u64::MAX, &[("a", 5)]), ["a"]);
    assert!(read(&mut honoured, 3, &[]).is_empty());
    assert!(read(&mut honoured, 4, &[("a", 5)]).is_empty());
}

#[test]
fn a_policy_that_was_narrowed_stays_narrow_until_the_officer_signs_again() {
    let policy = |text_questions, refresh_ms| StreamPolicy { text_questions, refresh_ms, ..StreamPolicy::default() };
    let (open, narrow) = (policy(true, 1_000), policy(false, 1_000));
    let object = Object::policy(TenantId(1), StreamId(1));
    let disk = Disk::new();
    let state = |honoured: &mut Honoured, version, serial, wanted: &StreamPolicy| {
        assert!(honoured.honour(object.clone(), ConsentSerial(serial)));
        let found = honoured.narrow(&object, &open, wanted.clone());
        honoured.conclude(PolicyVersion(version)).expect("written");
        found
    };
    let mut honoured = disk.open();
    assert_eq!(state(&mut honoured, 1, 5, &open), open);
    assert_eq!(state(&mut honoured, 2, 5, &narrow), narrow);
    assert_eq!(state(&mut honoured, 3, 5, &open), narrow, "the narrowing was left out of the state");
    let slower = policy(false, 5_000);
    assert_eq!(state(&mut honoured, 4, 5, &slower), slower, "what lets nothing out may change");
    drop(honoured);
    let mut honoured = disk.open();
    assert_eq!(state(&mut honoured, 1, 5, &open), slower, "and after a restart");
    assert_eq!(state(&mut honoured, 5, 6, &open), open, "signed again");
}

#[test]
fn what_cannot_be_written_down_is_not_honoured_and_revocations_still_are() {
    let disk = Disk::new();
    let mut honoured = disk.open();
    read(&mut honoured, 1, &[("a", 5), ("b", 6)]);
    let marks = honoured.marks.clone();
    let mut honoured = Honoured::with(marks, Some(Memory::unwritable(&disk.file())));
    assert!(honoured.honour(key("a"), ConsentSerial(5)) && honoured.honour(key("c"), ConsentSerial(7)));
    let error = honoured.conclude(PolicyVersion(2)).expect_err("the file is read-only");
    assert!(matches!(error, PolicyError::Write { .. }));
    for version in [2, 3] {
        assert_eq!(read(&mut honoured, version, &[("a", 5), ("b", 6), ("c", 7), ("d", 8)]), ["a"]);
    }
    assert!(read(&mut honoured, 4, &[]).is_empty());
    assert!(read(&mut honoured, 5, &[("a", 5)]).is_empty());
}

#[test]
fn a_torn_end_is_cut_off_and_damage_keeps_the_node_from_starting() {
    let disk = Disk::new();
    let mut honoured = disk.open();
    read(&mut honoured, 1, &[("a", 5)]);
    let whole = std::fs::read(disk.file()).expect("read");
    read(&mut honoured, 2, &[("a", 5), ("b", 6), ("c", 7)]);
    let longer = std::fs::read(disk.file()).expect("read");
    for cut in whole.len()..longer.len() {
        std::fs::write(disk.file(), &longer[..cut]).expect("written");
        let marks = disk.open().marks;
        assert_eq!((marks.highest, marks.in_force.len()), (ConsentSerial(5), 1), "cut at {cut}");
    }
    for at in 0..whole.len() - 1 {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(disk.file(), &damaged).expect("written");
        let opened = Honoured::open(disk.dir.path(), disk.officer).map(drop);
        assert!(matches!(opened, Err(PolicyError::Damaged { .. })), "byte {at}");
    }
}

#[test]
fn each_officer_key_has_a_memory_of_its_own() {
    let disk = Disk::new();
    read(&mut disk.open(), 1, &[("a", 500)]);
    let mut other = Honoured::open(disk.dir.path(), officer()).expect("a memory");
    assert_eq!(read(&mut other, 2, &[("a", 3)]), ["a"], "a new key begins anew");
    assert!(read(&mut disk.open(), 3, &[("b", 400)]).is_empty(), "the old key goes on where it was");
}

#[test]
fn the_file_holds_no_text_of_what_it_remembers() {
    let disk = Disk::new();
    let mut honoured = disk.open();
    let (field, value) =
        ("service".parse().expect("a name"), ApprovedValue::try_from("cart".to_owned()).expect("a value"));
    assert!(honoured.honour(Object::value(TenantId(1), &field, &value), ConsentSerial(1)));
    honoured.conclude(PolicyVersion(1)).expect("written");
    let text = String::from_utf8(std::fs::read(disk.file()).expect("read")).expect("text");
    assert!(!text.contains("cart") && !text.contains("service"));
}

#[test]
fn what_was_protected_outlives_the_policy_and_a_restart() {
    let disk = Disk::new();
    let field = |text: &str| text.parse::<Name>().expect("a name");
    let policy = StreamPolicy {
        personal: Personal::Subject(field("user")),
        privacy: Privacy::new([], vec![field("seat")]),
        ..StreamPolicy::default()
    };
    let protection = Protection::of(&policy);
    let mut honoured = disk.open();
    honoured.protect(&key("a"), protection.clone());
    assert_eq!(honoured.protected(&key("a")), Protection::default(), "not before it is written down");
    read(&mut honoured, 1, &[("a", 5)]);
    read(&mut honoured, 2, &[]);
    drop(honoured);
    for _ in 0..2 {
        assert_eq!(disk.open().protected(&key("a")), protection, "and the file that was written anew has it");
    }
    let mut honoured = disk.open();
    honoured.protect(&key("a"), Protection::of(&StreamPolicy::default()));
    read(&mut honoured, 3, &[]);
    drop(honoured);
    assert_eq!(disk.open().protected(&key("a")), Protection::default());
}

#[test]
fn how_long_records_are_kept_outlives_the_policy_and_a_restart() {
    let disk = Disk::new();
    let days = |days: u16| days.try_into().ok();
    let mut honoured = disk.open();
    honoured.keep(&key("a"), days(400));
    assert_eq!(honoured.kept(&key("a")), None, "not before it is written down");
    read(&mut honoured, 1, &[("a", 5)]);
    read(&mut honoured, 2, &[]);
    drop(honoured);
    for _ in 0..2 {
        assert_eq!(disk.open().kept(&key("a")), days(400), "and the file that was written anew has it");
    }
    let mut honoured = disk.open();
    honoured.keep(&key("a"), None);
    read(&mut honoured, 3, &[]);
    drop(honoured);
    assert_eq!(disk.open().kept(&key("a")), None);
}

#[test]
fn fields_are_known_after_a_restart_and_under_the_next_officers_key() {
    let disk = Disk::new();
    let personal = Personal::Subject("uid".parse().expect("a name"));
    let mut honoured = disk.open();
    honoured.remember_fields(TenantId(1), &StreamPolicy { personal, ..StreamPolicy::default() });
    honoured.conclude(PolicyVersion(1)).expect("written");
    drop(honoured);
    let known = FieldsOnce { subjects: ["uid".parse().expect("a name")].into(), declared: false };
    let known = BTreeMap::from([(TenantId(1), known)]);
    for _ in 0..2 {
        assert_eq!(disk.open().fields(), known, "and the file that was written anew has it");
    }
    let next = || Honoured::open(disk.dir.path(), officer()).expect("a memory");
    assert_eq!(next().fields(), known, "records outlive the key under which their policy was signed");
    assert_eq!(next().fields(), known);
}
