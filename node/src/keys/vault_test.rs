//! The vault under use, faults and thieves. What a kill leaves on the disk is a copy of the directory at that moment.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use domicile_proto::ids::Timestamp;

use super::super::ring::{DAYS, SUBJECTS};
use super::super::root::local::Local;
use super::super::root::{OpenedKey, WrappableKey};
use super::super::{Bucket, Day, Destroyed, Original, Target};
use super::*;
use crate::errors::{Coded, Verdict};

const TENANT: TenantId = TenantId(7);
const STREAM: StreamId = StreamId(3);
const DAY: Day = Day(20_000);

fn region() -> Region {
    "tokyo".parse().unwrap()
}

/// A local root that can be taken away, and counts what it is asked.
struct Flaky {
    local: Local,
    is_down: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Flaky {
    fn up(&self) -> Result<(), KeysError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let source = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
        if self.is_down.load(Ordering::SeqCst) {
            Err(KeysError::OutOfReach { store: "flaky", source: source() })
        } else {
            Ok(())
        }
    }
}

impl KeyStore for Flaky {
    fn kind(&self) -> &'static str {
        "flaky"
    }
    fn wrap(&self, key: &WrappableKey<'_>, label: &[u8]) -> Result<Wrapped, KeysError> {
        self.up()?;
        self.local.wrap(key, label)
    }
    fn open(&self, wrapped: &Wrapped, label: &[u8]) -> Result<OpenedKey, KeysError> {
        self.up()?;
        self.local.open(wrapped, label)
    }
    fn rotate(&self) -> Result<u32, KeysError> {
        self.up()?;
        self.local.rotate()
    }
    fn retire_before(&self, version: u32) -> Result<(), KeysError> {
        self.up()?;
        self.local.retire_before(version)
    }
}

struct Room {
    vault: Vault,
    clock: Clock,
    is_down: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

fn room(dir: &Path) -> Room {
    let clock = Clock::standing_at(Timestamp(1_000_000_000_000_000));
    let (is_down, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let local = Local::open(&dir.join("root.key")).unwrap();
    let store = Flaky { local, is_down: Arc::clone(&is_down), calls: Arc::clone(&calls) };
    let vault = Vault::open(dir, region(), Box::new(store), clock.clone()).unwrap();
    Room { vault, clock, is_down, calls }
}

fn reopen(dir: &Path) -> Result<Vault, KeysError> {
    let store = Local::open(&dir.join("root.key"))?;
    Vault::open(dir, region(), Box::new(store), Clock::standing_at(Timestamp(0)))
}

fn original(token: &str, subject: Option<u64>, text: &str) -> Original {
    Original { token: token.into(), subject, text: Zeroizing::new(text.to_owned()), met: None }
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

#[test]
fn what_is_sealed_is_revealed_after_a_restart_and_only_to_its_tenant() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let vault = room(dir.path()).vault;
        if round == 0 {
            let originals = [original("‹email:a›", None, "a@b.de"), original("‹ip:b›", Some(9), "192.0.2.7")];
            vault.seal(TENANT, STREAM, DAY, &originals).unwrap();
        }
        assert_eq!(shown(&vault, "‹email:a›").as_deref(), Some("a@b.de"));
        assert_eq!(shown(&vault, "‹ip:b›").as_deref(), Some("192.0.2.7"));
        assert_eq!(shown(&vault, "‹email:c›"), None);
        assert!(vault.reveal(TenantId(8), "‹email:a›").unwrap().is_none());
        let all = vault.sealed_for(TENANT, 9).unwrap();
        assert_eq!(all.iter().map(|one| (one.stream, &*one.token)).collect::<Vec<_>>(), [(STREAM, "‹ip:b›")]);
        assert!(vault.sealed_for(TenantId(8), 9).unwrap().is_empty());
    }
}

#[test]
fn an_original_is_sealed_once_and_what_is_known_costs_no_write_and_no_call() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path());
    let batch = [original("t1", None, "a"), original("t1", None, "a"), original("t2", Some(1), "b")];
    room.vault.seal(TENANT, STREAM, DAY, &batch).unwrap();
    assert_eq!((room.vault.facts().originals, room.vault.facts().subjects), (2, 2));
    let calls = room.calls.load(Ordering::SeqCst);
    // Somebody else writes: a seal that wrote would wait for ever.
    let writer = room.vault.writer.lock();
    for _ in 0..100 {
        room.vault.seal(TENANT, STREAM, DAY, &batch).unwrap();
    }
    room.vault.known.lock().clear();
    room.vault.seal(TENANT, STREAM, DAY, &batch).unwrap();
    room.vault.seal(TENANT, STREAM, Day(DAY.0 - 1), &batch).unwrap();
    drop(writer);
    assert_eq!(room.calls.load(Ordering::SeqCst), calls, "the key store was asked for a record");
}

#[test]
fn a_value_that_memory_knows_as_sealed_is_met_again() {
    let dir = tempfile::tempdir().unwrap();
    let vault = room(dir.path()).vault;
    let (bucket, met) = (Bucket { tenant: TENANT, stream: STREAM, day: DAY }, [3; 16]);
    let meet = || vault.pseudonyms.meet(bucket, None, "email", "a@b.de");
    let (sight, before) = meet();
    let original = Original { met: Some((sight, met)), ..original("t1", None, "a@b.de") };
    assert_eq!((before, vault.knows(TENANT, STREAM, DAY, &original), meet().1), (None, false, None));
    vault.seal(TENANT, STREAM, DAY, std::slice::from_ref(&original)).unwrap();
    assert_eq!(meet().1, Some(met));
    vault.pseudonyms.met.clear();
    assert!(vault.knows(TENANT, STREAM, DAY, &original));
    assert_eq!(meet().1, Some(met));
    vault.forget_token(TENANT, "t1").unwrap();
    assert_eq!((vault.knows(TENANT, STREAM, DAY, &original), meet().1), (false, None));
}

#[test]
fn a_later_day_moves_an_original_under_its_key_and_retention_takes_what_was_not_seen_again() {
    let dir = tempfile::tempdir().unwrap();
    let vault = room(dir.path()).vault;
    let (old, new) = (original("old", Some(1), "x"), original("new", Some(1), "y"));
    vault.seal(TENANT, STREAM, DAY, &[old, original("gone", None, "z")]).unwrap();
    vault.seal(TENANT, STREAM, Day(DAY.0 + 5), &[new]).unwrap();
    assert_eq!(vault.facts().subjects, 2);
    let days = || vault.ring.load().read().unwrap().open_table(DAYS).unwrap().len().unwrap();
    assert_eq!(days(), 2);
    let taken = vault.destroy(&[Target::Days { tenant: TENANT, stream: STREAM, before: Day(DAY.0 + 1) }]).unwrap();
    assert_eq!(taken, Destroyed { subjects: 1, originals: 2 });
    assert_eq!((shown(&vault, "old"), shown(&vault, "gone")), (None, None));
    assert_eq!(shown(&vault, "new").as_deref(), Some("y"));
    assert_eq!(days(), 1, "the key of the day is gone with what lay under it");
}

#[test]
fn destruction_takes_all_of_its_target_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let vault = room(dir.path()).vault;
    let other = StreamId(4);
    vault.seal(TENANT, STREAM, DAY, &[original("a", Some(1), "1"), original("b", Some(1), "2")]).unwrap();
    vault.seal(TENANT, STREAM, DAY, &[original("a", Some(2), "1"), original("c", None, "3")]).unwrap();
    vault.seal(TENANT, other, DAY, &[original("d", Some(1), "4")]).unwrap();
    vault.seal(TenantId(8), STREAM, DAY, &[original("a", Some(1), "5")]).unwrap();
    assert_eq!(vault.destroy_subject(TENANT, 1).unwrap(), Destroyed { subjects: 2, originals: 3 });
    assert_eq!((shown(&vault, "b"), shown(&vault, "d")), (None, None));
    assert_eq!(shown(&vault, "a").as_deref(), Some("1"), "another subject has the same value");
    assert_eq!(shown(&vault, "c").as_deref(), Some("3"));
    assert_eq!(vault.reveal(TenantId(8), "a").unwrap().unwrap().text.as_str(), "5");
    assert_eq!(vault.destroy_subject(TENANT, 1).unwrap(), Destroyed::default(), "again");

    vault.seal(TENANT, STREAM, DAY, &[original("e", Some(2), "6")]).unwrap();
    assert_eq!(vault.forget_token(TENANT, "a").unwrap(), Destroyed { subjects: 0, originals: 1 });
    assert_eq!((shown(&vault, "a"), shown(&vault, "e").as_deref()), (None, Some("6")));
    assert_eq!(vault.forget_token(TENANT, "c").unwrap(), Destroyed { subjects: 1, originals: 1 });
    assert_eq!(vault.forget_token(TENANT, "e").unwrap(), Destroyed { subjects: 1, originals: 1 });
    assert_eq!((vault.facts().subjects, vault.facts().originals), (1, 1), "the other tenant's");
    // What comes again is sealed again.
    vault.seal(TENANT, STREAM, DAY, &[original("a", Some(1), "1")]).unwrap();
    assert_eq!(shown(&vault, "a").as_deref(), Some("1"));
}

#[test]
fn a_copy_from_before_a_destruction_opens_with_no_key_of_today() {
    let (dir, stolen) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = room(dir.path()).vault;
    vault.seal(TENANT, STREAM, DAY, &[original("victim", Some(1), "secret"), original("stays", Some(2), "x")]).unwrap();
    copy(dir.path(), stolen.path());
    let control = reopen(stolen.path()).unwrap();
    assert_eq!(shown(&control, "victim").as_deref(), Some("secret"), "the thief's copy is good");
    drop(control);

    vault.destroy_subject(TENANT, 1).unwrap();
    // Today's root file over the old keyring: the old version of the root is gone.
    std::fs::copy(dir.path().join("root.key"), stolen.path().join("root.key")).unwrap();
    assert!(matches!(reopen(stolen.path()), Err(KeysError::DoesNotOpen { .. })));
    // And every key that is in memory today, tried on every row of old.
    let today = vault.ring.load_full();
    let old = Ring::open(&stolen.path().join(FILE), &region()).unwrap();
    *old.tenants.write() = today.tenants.read().clone();
    let reading = old.read().unwrap();
    let days = reading.open_table(DAYS).unwrap();
    for row in days.iter().unwrap() {
        let (row, _) = row.unwrap();
        let bucket = Bucket::from_row(row.value()).unwrap();
        assert!(old.day_key(&days, bucket).is_err(), "today's key of the tenant opens an old day");
    }
    let todays_days = today.read().unwrap().open_table(DAYS).unwrap();
    let mut tried = 0;
    for row in reading.open_table(SUBJECTS).unwrap().iter().unwrap() {
        let (row, value) = row.unwrap();
        let (place, _) = Place::from_row(row.value()).unwrap();
        let (day, wrapped) = undated(value.value()).unwrap();
        let key = today.day_key(&todays_days, place.on(day)).unwrap().expect("somebody of that day stays");
        assert!(key.open_key(wrapped, &place.label(day)).is_none(), "today's key of the day opens an old subject");
        tried += 1;
    }
    assert_eq!(tried, 2);
    assert_eq!(shown(&vault, "stays").as_deref(), Some("x"), "while the others are there");
}

#[test]
fn forgetting_one_value_of_a_subject_gives_the_others_a_key_that_never_saw_it() {
    let (dir, stolen) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = room(dir.path()).vault;
    vault.seal(TENANT, STREAM, DAY, &[original("gone", Some(1), "secret"), original("stays", Some(1), "x")]).unwrap();
    copy(dir.path(), stolen.path());
    vault.forget_token(TENANT, "gone").unwrap();
    let place = Place { subject: vault.subject_hash(TENANT, Some(1), ""), tenant: TENANT, stream: STREAM };
    let today = vault.ring.load_full();
    let (reading, thief) = (today.read().unwrap(), Ring::open(&stolen.path().join(FILE), &region()).unwrap());
    let subjects = reading.open_table(SUBJECTS).unwrap();
    let row = subjects.get(place.to_row().as_slice()).unwrap().unwrap();
    let (day, wrapped) = undated(row.value()).unwrap();
    let above = today.day_key(&reading.open_table(DAYS).unwrap(), place.on(day)).unwrap().unwrap();
    let key = above.open_key(wrapped, &place.label(day)).unwrap();
    let sealed = thief.read().unwrap().open_table(SEALED).unwrap();
    let token = vault.token_hash(TENANT, "gone");
    let old = sealed.get(place.sealed_row(&token).as_slice()).unwrap().unwrap();
    assert!(key.open(undated(old.value()).unwrap().1, &place.sealed_label(&token)).is_none());
    assert_eq!(shown(&vault, "stays").as_deref(), Some("x"));
}

#[test]
fn a_kill_at_any_step_of_a_destruction_leaves_a_keyring_that_opens_and_goes_on() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = room(dir.path()).vault;
    vault.seal(TENANT, STREAM, DAY, &[original("victim", Some(1), "secret"), original("stays", Some(2), "x")]).unwrap();
    let before = copies.path().join("before");
    copy(dir.path(), &before);
    vault.folded().unwrap();
    let (from, to, steps) = (dir.path().to_owned(), copies.path().to_owned(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&steps);
    *vault.on_step.lock() = Some(Box::new(move |step| {
        copy(&from, &to.join(step));
        seen.lock().push(step);
    }));
    vault.destroy_subject(TENANT, 1).unwrap();
    let steps = steps.lock().clone();
    assert_eq!(steps, ["taken out", "root rotated", "copied", "renamed", "root retired"]);
    for step in steps {
        let dir = copies.path().join(step);
        let vault = reopen(&dir).unwrap_or_else(|error| panic!("after `{step}`: {error}"));
        assert_eq!(shown(&vault, "victim"), None, "after `{step}`");
        assert_eq!(shown(&vault, "stays").as_deref(), Some("x"), "after `{step}`");
        if step == "taken out" || step == "copied" {
            assert!(vault.facts().is_rewrite_due, "after `{step}`: done falsely");
        }
        vault.destroy_subject(TENANT, 1).unwrap();
        assert!(!vault.facts().is_rewrite_due, "after `{step}`");
        assert_eq!(shown(&vault, "stays").as_deref(), Some("x"), "after `{step}`, made good");
        assert!(!dir.join(DRAFT).try_exists().unwrap());
        // What the thief had is of no use now, however the destruction came about.
        let thief = copies.path().join(format!("thief {step}"));
        copy(&before, &thief);
        std::fs::copy(dir.join("root.key"), thief.join("root.key")).unwrap();
        assert!(reopen(&thief).is_err(), "after `{step}`");
    }
}

#[test]
fn a_kill_at_any_step_of_a_rotation_loses_nothing() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = room(dir.path()).vault;
    vault.seal(TENANT, STREAM, DAY, &[original("a", Some(1), "1"), original("b", None, "2")]).unwrap();
    let token = vault.pseudonyms().tenant(TENANT).token("email", "a@b.de");
    let (from, to) = (dir.path().to_owned(), copies.path().to_owned());
    *vault.on_step.lock() = Some(Box::new(move |step| copy(&from, &to.join(step))));
    vault.rotate().unwrap();
    vault.rotate().unwrap();
    for step in ["root rotated", "copied", "renamed", "root retired"] {
        let vault = reopen(&copies.path().join(step)).unwrap_or_else(|error| panic!("after `{step}`: {error}"));
        vault.tend().unwrap();
        assert_eq!((shown(&vault, "a").as_deref(), shown(&vault, "b").as_deref()), (Some("1"), Some("2")));
        assert_eq!(vault.pseudonyms().tenant(TENANT).token("email", "a@b.de"), token);
        vault.seal(TENANT, STREAM, DAY, &[original("c", None, "3")]).unwrap();
    }
    let roots = std::fs::read_to_string(dir.path().join("root.key")).unwrap();
    assert_eq!(roots.lines().count(), 1, "older versions are gone");
    assert!(roots.starts_with("3 "), "two rotations later");
}

#[test]
fn a_key_store_that_is_down_is_borne_for_a_while_and_then_nothing_new_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let Room { vault, clock, is_down, .. } = room(dir.path());
    vault.seal(TENANT, STREAM, DAY, &[original("a", None, "1")]).unwrap();
    is_down.store(true, Ordering::SeqCst);
    clock.pass(KEYS_WITHOUT_STORE);
    vault.tend().unwrap_err();
    vault.seal(TENANT, STREAM, DAY, &[original("b", None, "2")]).expect("from keys in memory");
    assert_eq!(shown(&vault, "b").as_deref(), Some("2"));
    let other = vault.seal(TenantId(8), STREAM, DAY, &[original("b", None, "2")]).unwrap_err();
    assert!(matches!(other, KeysError::OutOfReach { .. }), "a tenant without a key cannot be protected: {other}");

    clock.pass(Duration::from_secs(60));
    assert!(vault.facts().is_expired && vault.facts().silent_seconds == 16 * 60);
    let refused = vault.seal(TENANT, STREAM, DAY, &[original("c", None, "3")]).unwrap_err();
    assert_eq!((refused.code(), refused.verdict()), ("DMC-KEYS-09", Verdict::NotNow(30)));
    assert!(matches!(vault.reveal(TENANT, "a"), Err(KeysError::Expired { .. })));
    vault.seal(TENANT, STREAM, DAY, &[original("a", None, "1")]).expect("is protected already");
    vault.tend().unwrap_err();
    assert!(vault.ring.load().tenants.read().is_empty(), "keys are forgotten");

    is_down.store(false, Ordering::SeqCst);
    vault.tend().unwrap();
    vault.seal(TENANT, STREAM, DAY, &[original("c", None, "3")]).unwrap();
    assert_eq!((shown(&vault, "a").as_deref(), shown(&vault, "c").as_deref()), (Some("1"), Some("3")));
}

#[test]
fn a_clock_that_jumps_makes_no_key_store_silent_and_one_that_is_set_back_makes_no_silence_shorter() {
    let dir = tempfile::tempdir().unwrap();
    let Room { vault, clock, is_down, .. } = room(dir.path());
    let (right, day) = (clock.now().0, 86_400 * Timestamp::MICROS);
    clock.turn_to(Timestamp(right + day));
    assert!(!vault.facts().is_expired);
    vault.seal(TENANT, STREAM, DAY, &[original("a", None, "1")]).expect("it answered a moment ago");
    is_down.store(true, Ordering::SeqCst);
    clock.turn_to(Timestamp(right - day));
    clock.pass(KEYS_WITHOUT_STORE + Duration::from_secs(1));
    assert!(vault.facts().is_expired && matches!(vault.reveal(TENANT, "a"), Err(KeysError::Expired { .. })));
}

#[test]
fn a_destruction_without_the_key_store_is_unreadable_at_once_and_not_called_done() {
    let dir = tempfile::tempdir().unwrap();
    let Room { vault, is_down, .. } = room(dir.path());
    vault.seal(TENANT, STREAM, DAY, &[original("a", Some(1), "1")]).unwrap();
    is_down.store(true, Ordering::SeqCst);
    assert!(matches!(vault.destroy_subject(TENANT, 1), Err(KeysError::OutOfReach { .. })));
    assert_eq!(shown(&vault, "a"), None);
    assert!(vault.facts().is_rewrite_due);
    is_down.store(false, Ordering::SeqCst);
    vault.tend().unwrap();
    assert!(!vault.facts().is_rewrite_due);
}

#[test]
fn the_pseudonym_key_of_an_older_node_moves_in_and_its_tokens_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pseudonym.key");
    let write = |bytes: &[u8]| file::replace(&path, bytes).unwrap();
    write(&[7; 32]);
    let old = PseudonymKeys::from_secret(&[7; 32], region()).tenant(TENANT).token("email", "a@b.de");
    for _ in 0..2 {
        let vault = room(dir.path()).vault;
        assert_eq!(vault.pseudonyms().tenant(TENANT).token("email", "a@b.de"), old);
        assert!(!path.try_exists().unwrap(), "no longer in the clear");
    }
    // As after a crash between the two.
    write(&[7; 32]);
    assert_eq!(room(dir.path()).vault.pseudonyms().tenant(TENANT).token("email", "a@b.de"), old);
    write(&[8; 32]);
    assert!(matches!(reopen(dir.path()), Err(KeysError::NotOurs { .. })));
    write(&[8; 31]);
    assert!(matches!(reopen(dir.path()), Err(KeysError::Damaged { .. })));
}

#[test]
fn a_keyring_of_another_region_or_of_nothing_is_refused_and_nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    drop(room(dir.path()));
    let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let store = || Box::new(Local::open(&dir.path().join("root.key")).unwrap());
    let clock = || Clock::standing_at(Timestamp(0));
    let abroad = Vault::open(dir.path(), "frankfurt".parse().unwrap(), store(), clock());
    assert!(matches!(abroad, Err(KeysError::NotOurs { .. })));
    std::fs::write(dir.path().join(FILE), b"not a keyring").unwrap();
    assert!(matches!(reopen(dir.path()), Err(KeysError::Keyring { .. })));
}

#[test]
fn batches_of_many_threads_are_all_sealed_while_keys_are_rotated_and_subjects_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let vault = room(dir.path()).vault;
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let vault = &vault;
            scope.spawn(move || {
                for round in 0..10_u64 {
                    let tenant = TenantId(u32::try_from(7 + round % 2).unwrap());
                    let token = format!("t{thread}-{round}");
                    vault.seal(tenant, STREAM, DAY, &[original(&token, Some(thread), &token)]).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..3 {
                vault.rotate().unwrap();
                vault.destroy_subject(TENANT, 99).unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..10 {
                vault.folded().unwrap();
            }
        });
    });
    for (thread, round) in (0..4).flat_map(|thread| (0..10).map(move |round| (thread, round))) {
        let token = format!("t{thread}-{round}");
        let revealed = vault.reveal(TenantId(7 + round % 2), &token).unwrap().expect(&token);
        assert_eq!(revealed.text.as_str(), token);
    }
}

#[test]
fn the_file_holds_no_value_no_token_and_no_subject_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let vault = room(dir.path()).vault;
    vault.seal(TENANT, STREAM, DAY, &[original("‹email:7q2canary›", Some(0x1122_3344_5566_7788), "a@b.de")]).unwrap();
    vault.rotate().unwrap();
    let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
    for hidden in ["7q2canary".as_bytes(), b"a@b.de", &0x1122_3344_5566_7788_u64.to_be_bytes()] {
        assert!(!bytes.windows(hidden.len()).any(|window| window == hidden));
    }
}

#[test]
fn the_ledger_is_told_of_every_key_made_and_destroyed_until_it_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let vault = room(dir.path()).vault;
    vault.seal(TENANT, STREAM, DAY, &[original("a", Some(1), "1")]).unwrap();
    vault.destroy_subject(TENANT, 1).unwrap();
    let kinds: Vec<NoticeKind> = vault.notices().unwrap().iter().map(|(_, notice)| notice.what).collect();
    use NoticeKind::*;
    let wanted = [KeyringCreated, TenantKeyCreated, DayKeyCreated, OriginalsDestroyed, KeyringRewritten, RootDestroyed];
    assert_eq!(kinds, wanted);
    vault.noted(3).unwrap();
    assert_eq!(reopen_after(vault, dir.path()).notices().unwrap().len(), 2);
}

fn reopen_after(vault: Vault, dir: &Path) -> Vault {
    drop(vault);
    reopen(dir).unwrap()
}
