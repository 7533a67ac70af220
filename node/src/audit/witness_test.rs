//! A witness signs one history of a log and no other: whatever is offered, in whatever order, and whenever it is killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domicile_proto::ids::{NodeId, RegionNumber, Timestamp};
use domicile_proto::message::ledger::TreeHash;

use super::super::merkle::{consistency, leaf, root_of};
use super::super::note::{Cosigner, Signer};
use super::*;

fn deployment() -> Name {
    "domicile".parse().expect("a name")
}

fn node(region: &str, node: u64) -> Peer {
    Peer { region: region.parse().expect("a name"), node: NodeId(node) }
}

fn clock() -> Clock {
    Clock::standing_at(Timestamp(1_700_000_000_000_000))
}

fn open(files: &Files, dir: &Path) -> Result<Witness, LedgerError> {
    Witness::open(files, dir, &deployment(), &node("frankfurt", 3), clock())
}

/// A log whose entries are numbers; `salt` makes another history of it.
struct Log {
    signer: Signer,
}

impl Log {
    fn of(dir: &Path, peer: &Peer) -> Self {
        let path = dir.join(format!("log-key-{}-{}", peer.region, peer.node));
        Self { signer: Signer::open(&path, &origin(&deployment(), peer), true).expect("a key") }
    }

    fn leaves(size: u64, salt: u64) -> Vec<Hash> {
        (0..size).map(|number| leaf(&(number + salt).to_be_bytes())).collect()
    }

    fn offer(&self, known: u64, size: u64, salt: u64) -> HeadOffer {
        let leaves = Self::leaves(size, salt);
        let head = Head { size, root: root_of(&leaves) };
        let (signature_r, signature_s) = halves(&self.signer.sign(&head));
        let (region, at) = (RegionNumber(1), Timestamp(0));
        let head = SignedHead { region, size, root: head.root, at, signature_r, signature_s };
        let proof = consistency(&leaves, known as usize).into_iter().map(TreeHash).collect();
        HeadOffer { head, key: *self.signer.verifier().public(), known, proof }
    }
}

fn is_cosigned(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Cosigned(_))
}

#[test]
fn a_history_that_goes_on_is_cosigned_and_an_old_size_is_told_the_known_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (witness, tokyo) = (open(&Files::default(), &dir.path().join("w")).expect("new"), node("tokyo", 1));
    let log = Log::of(dir.path(), &tokyo);
    let Verdict::Cosigned(given) = witness.consider(&tokyo, &log.offer(0, 5, 0)) else { panic!("a new log") };
    let key = Cosigner::read(&witness.verifier()).expect("a key");
    let head = Head { size: 5, root: root_of(&Log::leaves(5, 0)) };
    let signature = joined(&given.signature_r, &given.signature_s);
    let line = key.line(log.signer.verifier().name(), &head, given.at, &signature).expect("signed");
    assert_eq!(key.cosigned(&format!("{}{line}", log.signer.checkpoint(&head))), Some(1_700_000_000));
    assert!(is_cosigned(&witness.consider(&tokyo, &log.offer(5, 5, 0))), "the same head again");
    assert!(is_cosigned(&witness.consider(&tokyo, &log.offer(5, 300, 0))));
    assert_eq!(witness.consider(&tokyo, &log.offer(5, 400, 0)), Verdict::Stale { known: 300 });
    assert_eq!(witness.consider(&tokyo, &log.offer(0, 4, 0)), Verdict::Stale { known: 300 });
    assert_eq!(witness.consider(&tokyo, &HeadOffer { known: 301, ..log.offer(300, 300, 0) }), Verdict::Malformed);
    assert_eq!(witness.consider(&tokyo, &log.offer(0, 0, 0)), Verdict::Malformed, "nothing is no history");
    let singapore = node("singapore", 2);
    assert_eq!(
        witness.consider(&singapore, &log.offer(0, 5, 0)),
        Verdict::NotSigned,
        "what one node signed is no head of another"
    );
    let (mut wrong, good) = (log.offer(300, 301, 0), log.offer(300, 301, 0));
    wrong.head.signature_s[3] ^= 1;
    assert_eq!(witness.consider(&tokyo, &wrong), Verdict::NotSigned);
    assert_eq!(witness.facts(), WitnessFacts { logs: vec![(tokyo.clone(), 300)], forks: Vec::new() });
    assert!(is_cosigned(&witness.consider(&tokyo, &good)), "nothing of all this was held against it");
}

#[test]
fn a_second_history_is_refused_and_both_are_kept_over_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    let (place, tokyo) = (dir.path().join("w"), node("tokyo", 1));
    let log = Log::of(dir.path(), &tokyo);
    let witness = open(&Files::default(), &place).expect("new");
    assert!(is_cosigned(&witness.consider(&tokyo, &log.offer(0, 10, 0))));
    drop(witness);
    let witness = open(&Files::default(), &place).expect("sound");
    let forked = Verdict::Forked { known: 10 };
    assert_eq!(witness.consider(&tokyo, &log.offer(10, 10, 7)), forked, "the same size, another root");
    assert_eq!(witness.consider(&tokyo, &log.offer(0, 10, 7)), forked, "whatever it says is known");
    assert_eq!(witness.consider(&tokyo, &log.offer(10, 20, 7)), forked, "a proof of another history");
    assert_eq!(witness.consider(&tokyo, &HeadOffer { proof: Vec::new(), ..log.offer(10, 20, 0) }), forked);
    // Another key for the same node is no other log of it.
    let other = tempfile::tempdir().expect("a directory");
    assert_eq!(witness.consider(&tokyo, &Log::of(other.path(), &tokyo).offer(10, 20, 0)), Verdict::NotSigned);
    let facts = witness.facts();
    assert_eq!(facts.logs, [(tokyo.clone(), 10)]);
    assert_eq!(facts.forks.len(), 3, "{:?}", facts.forks);
    assert!(facts.forks.iter().all(|(_, peer)| *peer == tokyo));
    drop(witness);
    let witness = open(&Files::default(), &place).expect("sound");
    assert_eq!(witness.facts(), facts);
    let evidence = std::fs::read_to_string(place.join("evidence").join(&facts.forks[0].0)).expect("kept");
    let verifier = log.signer.verifier();
    let signed: Vec<&str> = evidence.split("\noffered:\n").collect();
    let known = signed[0].split_once(&format!("{verifier}\n")).expect("its key").1;
    let offered = signed[1].split_once("\nproof:\n").expect("a proof").0;
    let heads = [known, offered].map(|note| verifier.checkpoint(note).expect("signed by the log itself"));
    assert_eq!((heads[0].size, heads[1].size), (10, 10));
    assert_ne!(heads[0].root, heads[1].root, "an auditor needs nobody's word for it");
    assert!(is_cosigned(&witness.consider(&tokyo, &log.offer(10, 20, 0))), "the first history still goes on");
}

/// Ends the writing after every number of steps there is.
#[test]
fn ended_between_any_two_writes_it_never_signs_two_histories() {
    let (mut steps, mut is_cut_short) = (0, true);
    while is_cut_short {
        let dir = tempfile::tempdir().expect("a directory");
        let (place, tokyo) = (dir.path().join("w"), node("tokyo", 1));
        let log = Log::of(dir.path(), &tokyo);
        drop(open(&Files::default(), &place).expect("new"));
        let left = Arc::new(AtomicI64::new(steps));
        let witness = open(&Files { left: Some(Arc::clone(&left)), ..Files::default() }, &place).expect("sound");
        let first = [3, 6, 9].map(|size| is_cosigned(&witness.consider(&tokyo, &log.offer(size - 3, size, 0))));
        is_cut_short = left.load(Ordering::SeqCst) < 0;
        drop(witness);
        let again = open(&Files::default(), &place).expect("sound");
        let known = again.facts().logs.first().map_or(0, |(_, size)| *size);
        let signed = first.iter().filter(|is_cosigned| **is_cosigned).count() as u64 * 3;
        assert!(known >= signed, "after {steps} steps: {signed} were cosigned, {known} are remembered");
        for size in [3, 6, 9].into_iter().filter(|size| *size <= signed) {
            assert!(!is_cosigned(&again.consider(&tokyo, &log.offer(0, size, 7))), "after {steps} steps");
            assert!(
                !is_cosigned(&again.consider(&tokyo, &log.offer(known, size.max(known), 7))),
                "after {steps} steps"
            );
        }
        steps += 1;
    }
    assert!(steps > 12, "there are more steps than {steps}");
}

/// Where the child of the test below works.
const CHILD: &str = "DOMICILE_WITNESS_CHILD";

/// Not a test: what the test below kills.
#[test]
#[ignore = "runs as the child of another test"]
#[allow(clippy::print_stdout, reason = "this is how the parent hears of it")]
fn the_child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let (tokyo, witness) = (node("tokyo", 1), open(&Files::default(), &dir.join("w")).expect("sound"));
    let log = Log::of(&dir, &tokyo);
    let mut known = witness.facts().logs.first().map_or(0, |(_, size)| *size);
    loop {
        assert!(is_cosigned(&witness.consider(&tokyo, &log.offer(known, known + 1, 0))));
        known += 1;
        println!("\ncosigned {known}");
    }
}

#[test]
fn killed_at_any_moment_it_refuses_a_fork_of_whatever_it_had_cosigned() {
    let dir = tempfile::tempdir().expect("a directory");
    let tokyo = node("tokyo", 1);
    drop(open(&Files::default(), &dir.path().join("w")).expect("new"));
    let log = Log::of(dir.path(), &tokyo);
    for round in 1..=6_usize {
        let mut child = Command::new(std::env::current_exe().expect("a test program"))
            .args(["--exact", "audit::witness::tests::the_child_that_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let said =
            lines.map(|line| line.expect("text")).filter_map(|line| line.strip_prefix("cosigned ")?.parse().ok());
        let told: u64 = said.take(round * 7).last().expect("it cosigned");
        child.kill().expect("killed");
        child.wait().expect("gone");
        let witness = open(&Files::default(), &dir.path().join("w")).expect("sound");
        let known = witness.facts().logs[0].1;
        assert!(known >= told, "it had said {told} and remembers {known}");
        assert_eq!(witness.consider(&tokyo, &log.offer(known, known, 7)), Verdict::Forked { known });
        assert_eq!(witness.consider(&tokyo, &log.offer(known, known + 5, 7)), Verdict::Forked { known });
    }
    assert_eq!(open(&Files::default(), &dir.path().join("w")).expect("sound").facts().forks.len(), 12);
}

#[test]
fn what_it_remembers_is_not_believed_where_it_was_altered() {
    let dir = tempfile::tempdir().expect("a directory");
    let (place, tokyo) = (dir.path().join("w"), node("tokyo", 1));
    let log = Log::of(dir.path(), &tokyo);
    assert!(is_cosigned(&open(&Files::default(), &place).expect("new").consider(&tokyo, &log.offer(0, 9, 0))));
    let path = place.join("logs/tokyo-1");
    let bytes = std::fs::read(&path).expect("there");
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        std::fs::write(&path, &wrong).expect("written");
        assert!(matches!(open(&Files::default(), &place), Err(LedgerError::Damaged { .. })), "byte {at}");
    }
    std::fs::write(&path, &bytes).expect("written");
    std::fs::remove_file(place.join("key")).expect("removed");
    assert!(matches!(open(&Files::default(), &place), Err(LedgerError::Key { .. })), "no new key for an old memory");
}

#[test]
fn a_region_with_too_many_logs_and_a_log_with_too_many_histories_fill_no_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let witness = open(&Files::default(), &dir.path().join("w")).expect("new");
    let signers = tempfile::tempdir().expect("a directory");
    let offer = |peer: &Peer| Log::of(signers.path(), peer).offer(0, 2, 0);
    for number in 0..WITNESSED_LOGS_OF_REGION as u64 {
        let peer = node("tokyo", number);
        assert!(is_cosigned(&witness.consider(&peer, &offer(&peer))), "{number}");
    }
    let (more, elsewhere) = (node("tokyo", 9_999), node("singapore", 1));
    assert_eq!(witness.consider(&more, &offer(&more)), Verdict::Unavailable);
    assert!(is_cosigned(&witness.consider(&elsewhere, &offer(&elsewhere))), "another region has its own places");
    let log = Log::of(signers.path(), &elsewhere);
    for salt in 0..WITNESS_EVIDENCE_OF_REGION as u64 + 3 {
        assert_eq!(witness.consider(&elsewhere, &log.offer(2, 2, salt + 5)), Verdict::Forked { known: 2 });
    }
    let kept = || std::fs::read_dir(dir.path().join("w/evidence")).expect("there").count();
    assert_eq!((witness.facts().forks.len(), kept()), (WITNESS_EVIDENCE_OF_REGION, WITNESS_EVIDENCE_OF_REGION));
    let (other, signer) = (node("tokyo", 7), Log::of(signers.path(), &node("tokyo", 7)));
    assert_eq!(witness.consider(&other, &signer.offer(2, 2, 5)), Verdict::Forked { known: 2 });
    assert_eq!(kept(), WITNESS_EVIDENCE_OF_REGION + 1, "a region gone bad takes no place from the others");
}
