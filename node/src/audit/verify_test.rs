//! What an auditor must see: every flipped bit, every entry dropped, moved, doubled or cut off, and a log that was rewritten.

use std::fs;
use std::path::Path;
use std::time::Duration;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::sum::{Sum, SumLayout};
use domicile_proto::ids::{ByteCount, FieldId, NodeId, QuestionId, Region, TenantId, TimeRange, Timestamp};
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome, RefusalCode};

use super::super::note::WitnessSigner;
use super::super::prove::{prove_entry, prove_since};
use super::super::tiles::{Record, bundle, commitments, take};
use super::super::{Ledger, Peer};
use super::*;
use crate::clock::Clock;

fn clock() -> Clock {
    Clock::standing_at(Timestamp(1_700_000_000_000_000))
}

fn tokyo() -> Region {
    "tokyo".parse().expect("a name")
}

fn hold(number: usize) -> Event {
    Event::HoldSet { hold: number.to_string().into() }
}

fn check(dir: &Path) -> Result<Checked, Broken> {
    verify(dir, None, &[], &mut |_, _| {})
}

/// A ledger of so many entries, closed.
async fn ledger(count: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(dir.path(), &tokyo(), clock()).expect("new");
    let all = (0..count).map(|number| {
        let tenant = TenantId((number % 3) as _);
        let export = Event::SubjectExported { tenant, records: 1, originals: 0 };
        ledger.record(if number % 2 == 0 { hold(number) } else { export })
    });
    assert!(futures::future::join_all(all).await.into_iter().all(|number| number.is_ok()));
    if count > 0 {
        cosign(&ledger, dir.path()).await;
    }
    ledger.close();
    dir
}

/// Publishes a checkpoint with the line of a witness.
async fn cosign(ledger: &Ledger, dir: &Path) {
    let signed = ledger.offer().await.expect("a checkpoint");
    let (name, at) = ("witness.domicile/frankfurt/3", 1_700_000_000);
    let witness = WitnessSigner::open(&dir.join("key-of-a-witness"), name, true).expect("made");
    fs::remove_file(dir.join("key-of-a-witness")).expect("it lies elsewhere");
    let (key, origin) = (witness.cosigner(), ledger.verifier().name());
    let line = key.line(origin, &signed.head, at, &witness.cosign(origin, &signed.head, at)).expect("signed");
    ledger.cosigned(signed.head, line, format!("{key}\n")).expect("told");
    ledger.publish();
}

/// Every file an auditor may be given, and the tail; not the key that signs.
fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![dir.to_path_buf()], Vec::new());
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(&dir).expect("there").map(|entry| entry.expect("there").path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_none_or(|name| name != "key") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_sound_ledger_is_sound_with_and_without_its_tail() {
    for count in [0, 1, 255, 256, 257, 700] {
        let dir = ledger(count).await;
        for place in [dir.path().to_path_buf(), dir.path().join("log")] {
            let checked = check(&place).unwrap_or_else(|error| panic!("{count}: {error}"));
            assert_eq!(checked.head.expect("signed").size, count as u64);
            assert_eq!((checked.findings.len(), checked.beyond, checked.destroyed), (0, 0, 0));
        }
    }
}

#[tokio::test]
async fn every_flipped_bit_is_seen() {
    let dir = ledger(270).await;
    let files: Vec<(PathBuf, Vec<u8>)> =
        files(dir.path()).into_iter().map(|path| (path.clone(), fs::read(path).expect("there"))).collect();
    let total: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let wanted = std::env::var("DOMICILE_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    // A generator with a fixed seed: a failure names a place that can be looked at again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for trial in 0..wanted {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Small files as often as large ones, every other time.
        let (path, bytes, place) = if trial % 2 == 0 {
            let (path, bytes) = &files[(state >> 40) as usize % files.len()];
            (path, bytes, (state >> 20) as usize % bytes.len().max(1))
        } else {
            let mut place = (state >> 20) as usize % total;
            let found = files.iter().find(|(_, bytes)| {
                let is_here = place < bytes.len();
                place -= if is_here { 0 } else { bytes.len() };
                is_here
            });
            let (path, bytes) = found.expect("inside");
            (path, bytes, place)
        };
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << ((state >> 8) % 8);
        fs::write(path, &flipped).expect("written");
        let is_seen = check(dir.path()).map_or(true, |checked| !checked.findings.is_empty());
        assert!(is_seen, "trial {trial}: byte {place} of {}", path.display());
        fs::write(path, bytes).expect("written");
    }
    check(dir.path()).expect("as it was");
}

type Change = fn(&mut Vec<Record>);

/// Changes the bodies of the first bundle.
fn rewrite(dir: &Path, change: impl FnOnce(&mut Vec<Record>)) {
    let path = dir.join("log/bodies/000");
    let bytes = fs::read(&path).expect("there");
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while let Some(Kept::Whole(record)) = take(&mut rest) {
        records.push(record);
    }
    change(&mut records);
    let mut changed = Vec::new();
    records.iter().for_each(|record| record.put(&mut changed));
    fs::write(&path, changed).expect("written");
}

#[tokio::test]
async fn an_entry_dropped_moved_doubled_or_cut_off_is_seen_and_named() {
    let changes: [(&str, Change); 5] = [
        ("bodies/000, entry 8", |all| drop(all.remove(7))),
        ("bodies/000, entry 8", |all| all.swap(7, 9)),
        ("bodies/000, entry 8", |all| all.insert(7, all[6].clone())),
        ("bodies/000, entry 256", |all| drop(all.pop())),
        ("bodies/000", |all| all.push(all[0].clone())),
    ];
    for (place, change) in changes {
        let dir = ledger(300).await;
        rewrite(dir.path(), change);
        let broken = check(&dir.path().join("log")).expect_err("seen");
        assert_eq!(broken.place, place);
    }
    for path in files(ledger(300).await.path()) {
        let dir = ledger(300).await;
        let name = path.iter().skip_while(|part| *part != "log").collect::<PathBuf>();
        // Where nobody cosigned there is no such file, and a kept checkpoint may be gone; the newest one may not.
        let is_kept = name.starts_with("log/checkpoints") || name == Path::new("log/cosigned");
        if name.as_os_str().is_empty() || is_kept {
            continue;
        }
        fs::remove_file(dir.path().join(&name)).expect("removed");
        let broken = check(dir.path()).expect_err("a file is missing");
        assert!(broken.to_string().contains("missing"), "{}: {broken}", name.display());
    }
    let dir = ledger(300).await;
    fs::write(dir.path().join("log/tile/notes"), b"x").expect("written");
    assert!(check(dir.path()).is_err(), "what does not belong there is seen");
}

/// Every position, and every pair of positions.
#[tokio::test]
async fn an_entry_dropped_doubled_or_moved_is_seen_wherever_it_stands() {
    const ENTRIES: usize = 40;
    let dir = ledger(ENTRIES).await;
    let path = dir.path().join("log/bodies/000");
    let whole = fs::read(&path).expect("there");
    let mut trials = 0;
    let mut try_one = |what: &str, at: (usize, usize), change: &dyn Fn(&mut Vec<Record>)| {
        rewrite(dir.path(), change);
        if fs::read(&path).expect("there") != whole {
            assert!(check(&dir.path().join("log")).is_err(), "{what} {at:?}");
            trials += 1;
        }
        fs::write(&path, &whole).expect("as it was");
    };
    for at in 0..ENTRIES {
        try_one("dropped", (at, at), &|all| drop(all.remove(at)));
        try_one("cut off from", (at, at), &|all| all.truncate(at));
        for to in 0..ENTRIES {
            try_one("doubled", (at, to), &|all| all.insert(to, all[at].clone()));
            try_one("in the place of", (at, to), &|all| all[to] = all[at].clone());
            if at < to {
                try_one("swapped", (at, to), &|all| all.swap(at, to));
                try_one("moved", (at, to), &|all| {
                    let moved = all.remove(at);
                    all.insert(to, moved);
                });
            }
        }
    }
    assert!(trials > 4_500, "{trials} changes");
    check(dir.path()).expect("as it was");
}

/// The same with bundles and tiles that were made to fit: what is left is a log of its own, and not the one that was signed.
#[tokio::test]
async fn an_entry_dropped_anywhere_from_bodies_and_tree_alike_is_seen() {
    const ENTRIES: usize = 20;
    for at in 0..ENTRIES {
        let dir = ledger(ENTRIES).await;
        rewrite(dir.path(), |all| drop(all.remove(at)));
        let path = dir.path().join(format!("log/{}", tiles::bundle_path(0, ENTRIES as u64)));
        let mut all = commitments(&fs::read(&path).expect("there")).expect("a bundle");
        all.remove(at);
        fs::write(&path, bundle(&all)).expect("written");
        assert!(check(&dir.path().join("log")).is_err(), "entry {}", at + 1);
        fs::remove_file(&path).expect("removed");
        let narrower = dir.path().join(format!("log/{}", tiles::bundle_path(0, ENTRIES as u64 - 1)));
        fs::write(&narrower, bundle(&all)).expect("written");
        assert!(check(&dir.path().join("log")).is_err(), "entry {} and the bundle's width", at + 1);
    }
}

/// Bundles and bodies that fit each other, and tiles that follow, under the old checkpoint.
#[tokio::test]
async fn a_log_rewritten_as_a_whole_does_not_give_the_signed_root() {
    let dir = ledger(200).await;
    let bundle_path = dir.path().join("log/tile/entries/000.p/200");
    rewrite(dir.path(), |all| all[4].nonce[0] ^= 1);
    let bytes = fs::read(dir.path().join("log/bodies/000")).expect("there");
    let mut rest = &bytes[..];
    let mut all = commitments(&fs::read(&bundle_path).expect("there")).expect("whole");
    for commitment in &mut all {
        if let Some(Kept::Whole(record)) = take(&mut rest) {
            *commitment = record.commitment();
        }
    }
    fs::write(&bundle_path, bundle(&all)).expect("written");
    let hashes: Vec<Hash> = all.iter().map(|commitment| leaf(commitment)).collect();
    fs::write(dir.path().join("log/tile/0/000.p/200"), hashes.as_flattened()).expect("written");
    let broken = check(&dir.path().join("log")).expect_err("the chain, or else the root");
    assert!(broken.place.starts_with("bodies/000") || broken.place == CHECKPOINT, "{broken}");
}

#[tokio::test]
async fn a_log_that_does_not_go_on_from_a_saved_checkpoint_is_a_fork() {
    let dir = ledger(100).await;
    let note = fs::read_to_string(dir.path().join("log/checkpoint")).expect("there");
    let saved = [("saved".to_owned(), note)];
    // The same node, and a second history under the same key.
    let fork = tempfile::tempdir().expect("a directory");
    fs::copy(dir.path().join("key"), fork.path().join("key")).expect("copied");
    let ledger = Ledger::open(fork.path(), &tokyo(), clock()).expect("new");
    for (count, why) in [(50, "entries were removed"), (120, "rewritten")] {
        let all = (0..count).map(|number| ledger.record(hold(number)));
        assert!(futures::future::join_all(all).await.into_iter().all(|number| number.is_ok()));
        ledger.publish();
        let broken = verify(&fork.path().join("log"), None, &saved, &mut |_, _| {}).expect_err("a fork");
        assert!(broken.place == "saved" && broken.why.contains(why), "{broken}");
    }
    let ours = Verifier::read(fs::read_to_string(dir.path().join("log/log.vkey")).expect("there").trim());
    assert!(verify(dir.path(), ours.as_ref(), &saved, &mut |_, _| {}).is_ok());
    let other = ledger_of_another_key().await;
    assert_eq!(verify(other.path(), ours.as_ref(), &[], &mut |_, _| {}).expect_err("seen").place, VERIFIER);
}

async fn ledger_of_another_key() -> tempfile::TempDir {
    ledger(3).await
}

#[tokio::test]
async fn a_destroyed_body_is_found_and_excuses_one_gap_and_no_second() {
    let dir = ledger(30).await;
    let path = dir.path().join("log/bodies/000");
    let bytes = fs::read(&path).expect("there");
    let (mut rest, mut at) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        at.push(bytes.len() - rest.len());
        take(&mut rest).expect("whole");
    }
    let destroyed = [&bytes[..at[10]], &[0xd6], &bytes[at[11]..]].concat();
    fs::write(&path, &destroyed).expect("written");
    let checked = check(&dir.path().join("log")).expect("the tree is as it was");
    assert_eq!((checked.destroyed, checked.findings.len()), (1, 1));
    assert!(checked.findings[0].words.contains("no entry says why"), "{:?}", checked.findings);
    // Two of tenants, one called destroyed and the other withheld, as if it were somebody else's.
    let second = [&bytes[..at[5]], &[0xd7], &bytes[at[6]..at[7]], &[0xd6], &bytes[at[8]..]].concat();
    fs::write(&path, second).expect("written");
    let broken = check(&dir.path().join("log")).expect_err("two gaps, one excuse");
    assert!(broken.why.contains("withheld"), "{broken}");
}

#[tokio::test]
async fn proofs_are_made_of_every_kind_of_entry_and_of_older_checkpoints() {
    let dir = ledger(300).await;
    let note = fs::read_to_string(dir.path().join("log/checkpoint")).expect("there");
    for number in [1, 256, 257, 300] {
        let proof = prove_entry(dir.path(), number).expect("in the log");
        assert!(
            proof.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {}\n", number - 1)) && proof.ends_with(&note)
        );
    }
    assert!(prove_entry(dir.path(), 0).is_err() && prove_entry(dir.path(), 301).is_err());
    let again = Ledger::open(dir.path(), &tokyo(), clock()).expect("sound");
    again.record(hold(1)).await.expect("recorded");
    again.close();
    let proof = prove_since(dir.path(), &note).expect("it goes on");
    assert!(proof.starts_with("old 300\n") && !proof.ends_with(&note));
    assert!(prove_since(dir.path(), &note.replace("300", "299")).is_err());
}

#[tokio::test]
async fn an_erasure_that_took_too_long_or_never_happened_is_a_finding() {
    let dir = tempfile::tempdir().expect("a directory");
    for (second, events) in [
        (0, vec![("slow", true), ("lost", true), ("quick", true)]),
        (30, vec![("quick", false)]),
        (90, vec![("slow", false)]),
    ] {
        let clock = Clock::standing_at(Timestamp(second * 1_000_000));
        let ledger = Ledger::open(dir.path(), &tokyo(), clock).expect("sound");
        for (erasure, is_request) in events {
            let erasure: Box<str> = erasure.into();
            let event = if is_request {
                Event::ErasureRequested { erasure, commitment: [1; 32] }
            } else {
                Event::Shredded { erasure, hidden: 1, originals: 1 }
            };
            ledger.record(event).await.expect("recorded");
        }
        ledger.close();
    }
    let findings = check(dir.path()).expect("whole").findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].words.contains("took 90 s") && findings[1].words.contains("not carried out"), "{findings:?}");
}

#[tokio::test]
async fn a_clock_that_was_set_makes_no_erasure_late_and_none_in_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Clock::standing_at(Timestamp(1_000_000_000));
    let ledger = Ledger::open(dir.path(), &tokyo(), clock.clone()).expect("new");
    let asked = |erasure: &str| Event::ErasureRequested { erasure: erasure.into(), commitment: [1; 32] };
    let done = |erasure: &str| Event::Shredded { erasure: erasure.into(), hidden: 1, originals: 1 };
    let pass = |seconds| clock.pass(Duration::from_secs(seconds));
    let set_by = |micros: i64| clock.turn_to(Timestamp(clock.now().0 + micros));
    // One second at a clock that is set two minutes forward meanwhile, and back.
    for (erasure, by) in [("forward", 120_000_000), ("back", -120_000_000)] {
        ledger.record(asked(erasure)).await.expect("recorded");
        set_by(by);
        pass(1);
        ledger.record(done(erasure)).await.expect("recorded");
    }
    // An hour of which the clock shows nothing; and one that is still asked for, a second ago.
    ledger.record(asked("hidden")).await.expect("recorded");
    pass(3_600);
    set_by(-3_600_000_000);
    ledger.record(done("hidden")).await.expect("recorded");
    ledger.record(asked("open")).await.expect("recorded");
    set_by(86_400_000_000);
    pass(1);
    ledger.record(done("nobody's")).await.expect("recorded");
    ledger.close();
    let findings = check(dir.path()).expect("whole").findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].words.contains("took 3600 s"), "{findings:?}");
}

#[tokio::test]
async fn an_answer_was_entered_as_what_it_is() {
    let range = TimeRange { from: Timestamp(0), to: Timestamp(1) };
    let frame = |outcome| codec::encode(&Answer { header: AnswerHeader::new(QuestionId(1), range), outcome });
    let sum = SumLayout { field: FieldId(1), by: None, grid: None };
    let aggregates = [Aggregate::Count(Count::EMPTY), Aggregate::Sum(Sum::empty(sum))].map(Outcome::Aggregate);
    let outcomes = aggregates.into_iter().chain([Outcome::Suppressed, Outcome::Refused(RefusalCode::Busy)]);
    let is = [EgressClass::Count, EgressClass::Sum, EgressClass::Refusal, EgressClass::Refusal];
    for (outcome, is) in outcomes.zip(is) {
        let body = frame(outcome.clone()).expect("an answer");
        let classes = [EgressClass::Count, EgressClass::Sum, EgressClass::Refusal];
        for (class, left) in classes.into_iter().flat_map(|class| [(class, true), (class, false)]) {
            let (bytes, sha256) = (ByteCount(body.len() as u64), sha256(&[&body]));
            let peer = Peer { region: "frankfurt".parse().expect("a name"), node: NodeId(3) };
            let passage = Passage { peer, class, bytes, sha256, body: body.clone(), drawn: None };
            let dir = tempfile::tempdir().expect("a directory");
            let ledger = Ledger::open(dir.path(), &tokyo(), clock()).expect("new");
            let event = if left { Event::Egress(passage) } else { Event::Ingress(passage) };
            ledger.record(event).await.expect("written");
            cosign(&ledger, dir.path()).await;
            ledger.close();
            let checked = check(dir.path());
            // A sum that arrived was entered as a count by earlier builds.
            let is_old = !left && (class, is) == (EgressClass::Count, EgressClass::Sum);
            if class == is || is_old {
                assert_eq!(checked.expect("sound").findings.len(), 0, "{outcome:?}");
            } else {
                let broken = checked.expect_err("entered as something else").to_string();
                assert!(broken.contains("another class than its entry says"), "{outcome:?} as {class:?}: {broken}");
            }
        }
    }
}

#[tokio::test]
async fn another_implementation_gives_the_same_root() {
    let dir = ledger(700).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/check_ledger.py");
    let run = || std::process::Command::new("python3").arg(script).arg(dir.path().join("log")).output();
    let Ok(said) = run() else {
        assert!(std::env::var("DOMICILE_REQUIRE").is_err(), "python3 is missing");
        return;
    };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let root = check(dir.path()).expect("sound").head.expect("signed").root;
    assert!(said.contains("700 entries, 700 bodies") && said.contains(&hex::encode(root)), "{said}");
    rewrite(dir.path(), |all| all[5].nonce[0] ^= 1);
    assert!(!run().expect("it ran before").status.success(), "it sees a changed body");
}
