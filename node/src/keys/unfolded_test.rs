//! The journal and the tree as one keyring: kills between them, limits, faults, and destructions that must stay.

use std::sync::Arc;

use domicile_proto::ids::{Region, StreamId, TenantId, Timestamp};
use redb::ReadableTableMetadata;
use zeroize::Zeroizing;

use super::*;
use crate::clock::Clock;
use crate::keys::ring::FILE;
use crate::keys::{Day, Original, Vault, specimen};
use crate::limits::{KEYRING_FOLD_AFTER, KEYRING_STEP_BYTES};

const TENANT: TenantId = TenantId(7);
const STREAM: StreamId = StreamId(3);
const DAY: Day = Day(20_000);

fn region() -> Region {
    "tokyo".parse().unwrap()
}

fn open(dir: &Path) -> Vault {
    specimen::vault(dir, region(), Clock::standing_at(Timestamp(1_000_000_000_000_000)))
}

fn original(token: &str, subject: Option<u64>, text: &str) -> Original {
    Original { token: token.into(), subject, text: Zeroizing::new(text.to_owned()), met: None }
}

fn seal(vault: &Vault, token: &str, subject: Option<u64>, text: &str) {
    vault.seal(TENANT, STREAM, DAY, &[original(token, subject, text)]).unwrap();
}

fn shown(vault: &Vault, token: &str) -> Option<String> {
    vault.reveal(TENANT, token).unwrap().map(|revealed| revealed.text.to_string())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn in_tree(vault: &Vault) -> u64 {
    vault.ring.load().read().unwrap().open_table(SEALED).unwrap().len().unwrap()
}

#[test]
fn one_value_more_is_not_seen_in_the_size_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path());
    let before = vault.facts().file_bytes;
    assert_eq!(before, KEYRING_STEP_BYTES, "a new keyring has something, and less than a step");
    for number in 0..16 {
        seal(&vault, &format!("t{number}"), None, &format!("v{number}"));
        assert_eq!(vault.facts().file_bytes, before);
    }
    vault.folded().unwrap();
    assert_eq!((vault.facts().originals, vault.facts().file_bytes), (16, before));
}

#[test]
fn what_is_sealed_survives_a_kill_before_during_and_after_a_fold() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = open(dir.path());
    for (number, subject) in [None, Some(1), Some(1), None].into_iter().enumerate() {
        seal(&vault, &format!("t{number}"), subject, &format!("v{number}"));
        // A kill right after each answer.
        copy(dir.path(), &copies.path().join(format!("sealed {number}")));
    }
    assert_eq!(in_tree(&vault), 0, "sealing does not write into the tree");
    assert_eq!((vault.facts().originals, vault.facts().subjects), (4, 3));
    let (from, to) = (dir.path().to_owned(), copies.path().to_owned());
    *vault.on_step.lock() = Some(Box::new(move |step| copy(&from, &to.join(step))));
    vault.folded().unwrap();
    copy(dir.path(), &copies.path().join("after"));
    assert_eq!((in_tree(&vault), vault.facts().originals, vault.facts().subjects), (4, 4, 3));
    assert!(!dir.path().join(JOURNAL_FILE).try_exists().unwrap());
    for (name, count) in
        [("sealed 0", 1), ("sealed 1", 2), ("sealed 2", 3), ("sealed 3", 4), ("folded", 4), ("after", 4)]
    {
        let dir = copies.path().join(name);
        let vault = open(&dir);
        assert_eq!(vault.facts().originals, count, "after `{name}`");
        for number in 0..count {
            assert_eq!(shown(&vault, &format!("t{number}")), Some(format!("v{number}")), "after `{name}`");
        }
        assert!(!dir.join(JOURNAL_FILE).try_exists().unwrap(), "after `{name}`");
    }
}

#[test]
fn a_frame_cut_short_costs_its_own_batch_and_no_other() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = open(dir.path());
    seal(&vault, "first", None, "1");
    let whole = std::fs::metadata(dir.path().join(JOURNAL_FILE)).unwrap().len();
    seal(&vault, "second", Some(2), "2");
    let bytes = std::fs::read(dir.path().join(JOURNAL_FILE)).unwrap();
    for cut in (usize::try_from(whole).unwrap()..bytes.len()).step_by(17) {
        let at = copies.path().join(cut.to_string());
        copy(dir.path(), &at);
        std::fs::write(at.join(JOURNAL_FILE), bytes.get(..cut).unwrap()).unwrap();
        let vault = open(&at);
        assert_eq!(shown(&vault, "first").as_deref(), Some("1"), "cut at {cut}");
        assert_eq!(shown(&vault, "second"), None, "cut at {cut}");
        seal(&vault, "second", Some(2), "2");
        assert_eq!(shown(&vault, "second").as_deref(), Some("2"), "cut at {cut}");
    }
}

#[test]
fn what_was_destroyed_does_not_come_back_from_a_journal_that_was_kept() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = open(dir.path());
    seal(&vault, "victim", Some(1), "secret");
    seal(&vault, "stays", Some(2), "x");
    copy(dir.path(), kept.path());
    vault.destroy_subject(TENANT, 1).unwrap();
    assert_eq!(shown(&vault, "victim"), None, "it lay in the journal when it was destroyed");
    drop(vault);
    for _ in 0..2 {
        std::fs::copy(kept.path().join(JOURNAL_FILE), dir.path().join(JOURNAL_FILE)).unwrap();
        let vault = open(dir.path());
        assert_eq!((shown(&vault, "victim"), shown(&vault, "stays").as_deref()), (None, Some("x")));
        seal(&vault, "new", None, "y");
        assert_eq!(shown(&vault, "new").as_deref(), Some("y"));
    }
}

#[test]
fn a_batch_that_waits_while_its_subject_is_destroyed_is_sealed_under_a_new_key() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Arc::new(open(dir.path()));
    seal(&vault, "victim", Some(1), "secret");
    vault.folded().unwrap();
    // Something to fold, so that the destruction stops where a test can look.
    seal(&vault, "other", Some(2), "x");
    let (hooked, thread) = (Arc::clone(&vault), Arc::new(Mutex::new(None)));
    let running = Arc::clone(&thread);
    *vault.on_step.lock() = Some(Box::new(move |step| {
        // Once: the batch itself may be folded before the keyring is rewritten.
        if step == "folded" && running.lock().is_none() {
            let vault = Arc::clone(&hooked);
            // On a later day: the old original is to be moved, and was read before it is destroyed.
            let sealing = move || {
                vault.seal(TENANT, STREAM, Day(DAY.0 + 1), &[original("victim", Some(1), "secret")]).unwrap();
            };
            *running.lock() = Some(std::thread::spawn(sealing));
            while hooked.waiting.lock().is_empty() {
                std::thread::yield_now();
            }
        }
    }));
    vault.destroy_subject(TENANT, 1).unwrap();
    thread.lock().take().unwrap().join().unwrap();
    *vault.on_step.lock() = None;
    assert_eq!(shown(&vault, "victim").as_deref(), Some("secret"), "what came after is sealed and opens");
    assert_eq!(shown(&vault, "other").as_deref(), Some("x"));
}

#[test]
fn a_full_journal_is_folded_before_it_takes_more() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path());
    let text = "x".repeat(1 << 20);
    let size = || std::fs::metadata(dir.path().join(JOURNAL_FILE)).unwrap().len();
    for number in 0..KEYRING_JOURNAL_BYTES >> 20 {
        assert_eq!(in_tree(&vault), 0, "before the limit");
        seal(&vault, &format!("t{number}"), None, &text);
    }
    assert!(size() >= KEYRING_JOURNAL_BYTES, "the limit was reached");
    seal(&vault, "last", None, "y");
    assert_eq!(in_tree(&vault), KEYRING_JOURNAL_BYTES >> 20);
    assert!(size() < 1_000);
    assert_eq!((shown(&vault, "t0"), shown(&vault, "last").as_deref()), (Some(text), Some("y")));
}

#[test]
fn rows_that_are_old_are_folded_when_the_keys_are_tended() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::standing_at(Timestamp(1_000_000_000_000_000));
    let vault = specimen::vault(dir.path(), region(), clock.clone());
    seal(&vault, "a", None, "1");
    clock.pass(KEYRING_FOLD_AFTER - Duration::from_micros(1));
    vault.tend().unwrap();
    assert_eq!(in_tree(&vault), 0, "not old yet");
    // A clock that is set back makes nothing younger.
    clock.turn_to(Timestamp(0));
    clock.pass(Duration::from_micros(1));
    vault.tend().unwrap();
    assert_eq!(in_tree(&vault), 1);
    seal(&vault, "b", None, "2");
    vault.tend().unwrap();
    assert_eq!(in_tree(&vault), 1, "what came since is young");
}

#[test]
fn a_batch_the_disk_refused_is_not_sealed_and_the_next_one_is() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path());
    // No journal can be begun where a directory has its name.
    let path = dir.path().join(JOURNAL_FILE);
    std::fs::create_dir(&path).unwrap();
    let refused = vault.seal(TENANT, STREAM, DAY, &[original("a", None, "1")]);
    assert!(matches!(refused, Err(KeysError::Journal { .. })));
    assert!(!vault.has_sealed(TENANT, STREAM, DAY, &[original("a", None, "1")]));
    std::fs::remove_dir(&path).unwrap();
    seal(&vault, "a", None, "1");

    vault.ring.load().unfolded.open.lock().journal = Some(Journal::on_a_full_disk());
    let refused = vault.seal(TENANT, STREAM, DAY, &[original("b", None, "2")]);
    assert!(matches!(refused, Err(KeysError::Journal { .. })));
    assert!(!vault.has_sealed(TENANT, STREAM, DAY, &[original("b", None, "2")]));
    assert_eq!(vault.facts().originals, 1);
    // What was durable goes into the tree, and a new journal is begun.
    seal(&vault, "c", None, "3");
    assert_eq!(in_tree(&vault), 1);
    for (token, text) in [("a", Some("1")), ("b", None), ("c", Some("3"))] {
        assert_eq!(shown(&vault, token).as_deref(), text, "{token}");
    }
    drop(vault);
    assert_eq!(shown(&open(dir.path()), "c").as_deref(), Some("3"));
}

#[test]
fn a_journal_whose_first_frame_the_disk_refused_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path());
    vault.ring.load().unfolded.open.lock().journal = Some(Journal::on_a_full_disk());
    let refused = vault.seal(TENANT, STREAM, DAY, &[original("a", None, "1")]);
    assert!(matches!(refused, Err(KeysError::Journal { .. })));
    // What a write that was cut short left behind.
    std::fs::write(dir.path().join(JOURNAL_FILE), b"half a frame").unwrap();
    for (token, text) in [("b", "2"), ("c", "3")] {
        seal(&vault, token, None, text);
    }
    drop(vault);
    let vault = open(dir.path());
    for (token, text) in [("a", None), ("b", Some("2")), ("c", Some("3"))] {
        assert_eq!(shown(&vault, token).as_deref(), text, "{token}");
    }
}

#[test]
fn a_keyring_from_before_journals_is_taken_over_and_an_older_program_refuses_it_then() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path());
    seal(&vault, "old", Some(1), "1");
    let ring = vault.folded().unwrap();
    let format = |ring: &Ring| {
        let facts = ring.read().unwrap().open_table(FACTS).unwrap();
        facts.get("format").unwrap().unwrap().value().to_vec()
    };
    let transaction = ring.write().unwrap();
    {
        let mut facts = transaction.open_table(FACTS).unwrap();
        facts.insert("format", [1].as_slice()).unwrap();
        facts.remove(JOURNAL).unwrap();
    }
    transaction.commit().unwrap();
    assert_eq!(format(&ring), [1]);
    drop((ring, vault));
    for round in 0..2 {
        let vault = open(dir.path());
        assert_eq!(format(&vault.ring.load()), [2]);
        assert_eq!(shown(&vault, "old").as_deref(), Some("1"));
        assert_eq!(shown(&vault, "new").as_deref(), (round == 1).then_some("2"));
        seal(&vault, "new", Some(1), "2");
    }
}

#[test]
fn the_journal_holds_no_value_no_token_and_no_subject_in_the_clear_and_nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path());
    seal(&vault, "‹email:7q2canary›", Some(0x1122_3344_5566_7788), "a@b.de");
    let path = dir.path().join(JOURNAL_FILE);
    let bytes = std::fs::read(&path).unwrap();
    for hidden in ["7q2canary".as_bytes(), b"a@b.de", &0x1122_3344_5566_7788_u64.to_be_bytes()] {
        assert!(!bytes.windows(hidden.len()).any(|window| window == hidden));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(dir.path().join(FILE).try_exists().unwrap());
}

#[test]
fn a_damaged_journal_stops_the_start_instead_of_losing_what_was_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path());
    seal(&vault, "a", None, "1");
    seal(&vault, "b", None, "2");
    drop(vault);
    let path = dir.path().join(JOURNAL_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let found = Ring::open(&dir.path().join(FILE), &region());
    assert!(matches!(found, Err(KeysError::Damaged { .. })));
}
