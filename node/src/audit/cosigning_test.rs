//! Rounds over witnesses in this process, and one outside over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use domicile_proto::ids::{NodeId, Timestamp};
use tokio::net::TcpListener;

use super::super::Event;
use super::super::files::Files;
use super::super::merkle::{Hash, Head, goes_on};
use super::super::note::{Verifier, WitnessSigner};
use super::super::verify::verify;
use super::super::witness::Witness;
use super::*;

const US: RegionNumber = RegionNumber(1);

fn deployment() -> Name {
    "domicile".parse().expect("a name")
}

fn node(region: &str, node: u64) -> Peer {
    Peer { region: region.parse().expect("a name"), node: NodeId(node) }
}

fn clock() -> Clock {
    Clock::standing_at(Timestamp(1_700_000_000_000_000))
}

fn ledger(dir: &Path) -> Arc<Ledger> {
    Arc::new(Ledger::open(&dir.join("ledger"), &"tokyo".parse().expect("a name"), clock()).expect("a ledger"))
}

async fn grow(ledger: &Ledger, count: usize) {
    let all = (0..count).map(|number| ledger.record(Event::HoldSet { hold: number.to_string().into() }));
    assert!(join_all(all).await.into_iter().all(|number| number.is_ok()));
}

/// Witnesses of two regions, and how often they were asked.
struct World {
    witnesses: Vec<(Peer, Arc<Witness>)>,
    asked: Arc<AtomicUsize>,
    is_cut_off: Arc<AtomicBool>,
}

impl World {
    fn new(dir: &Path) -> Self {
        let open = |peer: Peer| {
            let place = dir.join(format!("witness-{}", peer.region));
            let witness = Witness::open(&Files::default(), &place, &deployment(), &peer, clock()).expect("a witness");
            (peer, Arc::new(witness))
        };
        let witnesses = vec![open(node("frankfurt", 3)), open(node("singapore", 2))];
        Self { witnesses, asked: Arc::default(), is_cut_off: Arc::default() }
    }

    fn peers(&self) -> Vec<Peer> {
        self.witnesses.iter().map(|(peer, _)| peer.clone()).collect()
    }

    fn cosigning(&self, ledger: &Arc<Ledger>, outside: Vec<Outside>) -> Cosigning {
        let (witnesses, asked, is_cut_off) =
            (self.witnesses.clone(), Arc::clone(&self.asked), Arc::clone(&self.is_cut_off));
        let ask = move |to: Peer, offer: HeadOffer| -> BoxFuture<'static, Option<Verdict>> {
            asked.fetch_add(1, Ordering::SeqCst);
            let witness = witnesses.iter().find(|(peer, _)| *peer == to).map(|(_, witness)| Arc::clone(witness));
            let is_reached = to.region.to_string() == "frankfurt" || !is_cut_off.load(Ordering::SeqCst);
            Box::pin(async move {
                witness.filter(|_| is_reached).map(|witness| witness.consider(&node("tokyo", 1), &offer))
            })
        };
        Cosigning::new(Arc::clone(ledger), deployment(), clock(), Box::new(ask), outside).expect("sound")
    }
}

fn cosigners(dir: &Path) -> Vec<String> {
    verify(&dir.join("ledger/log"), None, &[], &mut |_, _| {}).expect("sound").cosigners
}

fn trouble(cosigning: &Cosigning, name: &str) -> Option<Trouble> {
    cosigning.standings().get(name).and_then(|standing| standing.trouble)
}

const FRANKFURT: &str = "witness.domicile/frankfurt/3";
const SINGAPORE: &str = "witness.domicile/singapore/2";

#[tokio::test]
async fn checkpoints_carry_the_lines_of_other_regions_and_quiet_ledgers_ask_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let (world, mut held) = (World::new(dir.path()), ledger(dir.path()));
    for count in [3, 400, 700] {
        grow(&held, count).await;
        let cosigning = world.cosigning(&held, Vec::new());
        cosigning.round(US, &world.peers()).await.expect("a round");
        let asked = world.asked.load(Ordering::SeqCst);
        cosigning.round(US, &world.peers()).await.expect("nothing to say");
        assert_eq!(world.asked.load(Ordering::SeqCst), asked, "nothing new, nobody asked");
        grow(&held, 1).await;
        cosigning.round(US, &world.peers()).await.expect("a round");
        assert_eq!(world.asked.load(Ordering::SeqCst), asked + 2, "who is known is asked once");
        let size = held.head().size;
        assert!(cosigning.standings().values().all(|standing| standing.cosigned == size && standing.trouble.is_none()));
        held.close();
        assert_eq!(cosigners(dir.path()), [FRANKFURT, SINGAPORE]);
        // Who starts again knows nothing of what witnesses know, and is told.
        held = ledger(dir.path());
    }
}

#[tokio::test]
async fn a_witness_that_is_away_keeps_no_other_from_cosigning_and_is_asked_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (world, held) = (World::new(dir.path()), ledger(dir.path()));
    grow(&held, 5).await;
    let cosigning = world.cosigning(&held, Vec::new());
    world.is_cut_off.store(true, Ordering::SeqCst);
    cosigning.round(US, &world.peers()).await.expect("a round");
    assert_eq!(trouble(&cosigning, SINGAPORE), Some(Trouble::OutOfReach));
    assert_eq!(trouble(&cosigning, FRANKFURT), None);
    world.is_cut_off.store(false, Ordering::SeqCst);
    cosigning.round(US, &world.peers()).await.expect("asked again though nothing is new");
    assert_eq!(trouble(&cosigning, SINGAPORE), None);
    held.close();
    assert_eq!(cosigners(dir.path()), [FRANKFURT, SINGAPORE]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("there").map(|entry| entry.expect("there")) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { assert!(std::fs::copy(entry.path(), to).is_ok()) }
    }
}

#[tokio::test]
async fn an_old_copy_of_a_ledger_is_found_out_by_its_witnesses() {
    let dir = tempfile::tempdir().expect("a directory");
    let (world, held) = (World::new(dir.path()), ledger(dir.path()));
    grow(&held, 5).await;
    held.close();
    copy(&dir.path().join("ledger"), &dir.path().join("copy"));
    let held = ledger(dir.path());
    grow(&held, 20).await;
    world.cosigning(&held, Vec::new()).round(US, &world.peers()).await.expect("a round");
    held.close();
    std::fs::remove_dir_all(dir.path().join("ledger")).expect("removed");
    copy(&dir.path().join("copy"), &dir.path().join("ledger"));
    let held = ledger(dir.path());
    let cosigning = world.cosigning(&held, Vec::new());
    cosigning.round(US, &world.peers()).await.expect("a round");
    assert_eq!(trouble(&cosigning, FRANKFURT), Some(Trouble::Ahead { known: 25 }));
    grow(&held, 40).await;
    cosigning.round(US, &world.peers()).await.expect("a round");
    for name in [FRANKFURT, SINGAPORE] {
        assert_eq!(trouble(&cosigning, name), Some(Trouble::Forked { known: 25 }));
    }
    assert!(world.witnesses.iter().all(|(_, witness)| witness.facts().forks.len() == 1), "and it is on record there");
    held.close();
    assert!(cosigners(dir.path()).is_empty(), "nobody cosigned the second history");
}

#[tokio::test]
async fn a_witness_is_believed_with_the_key_it_had_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let (world, held) = (World::new(dir.path()), ledger(dir.path()));
    grow(&held, 5).await;
    world.cosigning(&held, Vec::new()).round(US, &world.peers()).await.expect("a round");
    held.close();
    std::fs::remove_dir_all(dir.path().join("witness-frankfurt")).expect("removed");
    let (world, held) = (World::new(dir.path()), ledger(dir.path()));
    grow(&held, 1).await;
    let cosigning = world.cosigning(&held, Vec::new());
    cosigning.round(US, &world.peers()).await.expect("a round");
    assert_eq!(trouble(&cosigning, FRANKFURT), Some(Trouble::OtherKey));
    held.close();
    assert_eq!(cosigners(dir.path()), [SINGAPORE]);
}

/// A witness as the specification has it, which knows one log by its key.
struct Elsewhere {
    signer: WitnessSigner,
    log: Verifier,
    known: Mutex<Head>,
    is_down: AtomicBool,
}

impl Elsewhere {
    fn add_checkpoint(&self, body: &str) -> (StatusCode, String) {
        if self.is_down.load(Ordering::SeqCst) {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        let (request, note) = body.split_once("\n\n").expect("a proof, and then a note");
        let mut lines = request.lines();
        let old: u64 = lines.next().and_then(|line| line.strip_prefix("old ")?.parse().ok()).expect("an old size");
        let hash = |line: &str| -> Hash {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD.decode(line).expect("base64");
            bytes.try_into().expect("a hash")
        };
        let proof: Vec<Hash> = lines.map(hash).collect();
        let Some(head) = self.log.checkpoint(note) else { return (StatusCode::FORBIDDEN, String::new()) };
        let mut known = self.known.lock();
        if old != known.size || (head.size == known.size && head.root != known.root) {
            return (StatusCode::CONFLICT, format!("{}\n", known.size));
        }
        if known.size > 0 && !goes_on(&known, &head, &proof) {
            return (StatusCode::UNPROCESSABLE_ENTITY, String::new());
        }
        *known = head;
        let (name, at) = (self.log.name(), 1_700_000_001);
        let line = self.signer.cosigner().line(name, &head, at, &self.signer.cosign(name, &head, at));
        (StatusCode::OK, line.expect("signed"))
    }
}

async fn elsewhere(dir: &Path, ledger: &Ledger) -> (Arc<Elsewhere>, SocketAddr) {
    let signer = WitnessSigner::open(&dir.join("elsewhere"), "witness.example.org", true).expect("a key");
    let known = Mutex::new(Head { size: 0, root: [0; 32] });
    let is_down = AtomicBool::new(false);
    let witness = Arc::new(Elsewhere { signer, log: ledger.verifier().clone(), known, is_down });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let served = Arc::clone(&witness);
    let router = Router::new()
        .route("/prefix/add-checkpoint", post(move |body: String| async move { served.add_checkpoint(&body) }));
    crate::tasks::Tasks::default().spawn(crate::tasks::Kind::Listener, async move {
        axum::serve(listener, router).await.expect("served");
    });
    (witness, addr)
}

#[tokio::test]
async fn a_witness_outside_the_deployment_cosigns_over_http() {
    let dir = tempfile::tempdir().expect("a directory");
    let (world, held) = (World::new(dir.path()), ledger(dir.path()));
    let (theirs, addr) = elsewhere(dir.path(), &held).await;
    let key = theirs.signer.cosigner().to_string();
    let outside = |key: &str| Outside::new(&format!("http://{addr}/prefix/"), key).expect("a key");
    let cosigning = world.cosigning(&held, vec![outside(&key)]);
    let standing = || trouble(&cosigning, "witness.example.org");
    for count in [3, 300, 5] {
        grow(&held, count).await;
        cosigning.round(US, &world.peers()).await.expect("a round");
        assert_eq!((standing(), theirs.known.lock().size), (None, held.head().size));
    }
    // It has seen a head that this process does not know of: 409 says which, and the round goes on from there.
    let again = world.cosigning(&held, vec![outside(&key)]);
    grow(&held, 1).await;
    again.round(US, &world.peers()).await.expect("a round");
    assert_eq!(trouble(&again, "witness.example.org"), None);
    theirs.is_down.store(true, Ordering::SeqCst);
    grow(&held, 1).await;
    again.round(US, &world.peers()).await.expect("a round");
    assert_eq!(trouble(&again, "witness.example.org"), Some(Trouble::OutOfReach));
    theirs.is_down.store(false, Ordering::SeqCst);
    held.publish();
    assert_eq!(cosigners(dir.path()), [FRANKFURT, SINGAPORE], "the newest one; the one outside was away");
    again.round(US, &world.peers()).await.expect("a round");
    held.publish();
    assert_eq!(cosigners(dir.path()), ["witness.domicile/frankfurt/3", SINGAPORE, "witness.example.org"]);
    // It knows another history of this log, of one size and then of a smaller one.
    let size = held.head().size;
    for (known, expected) in [(size + 1, size + 1), (size - 7, size - 7)] {
        *theirs.known.lock() = Head { size: known, root: [9; 32] };
        grow(&held, 1).await;
        again.round(US, &world.peers()).await.expect("a round");
        assert_eq!(trouble(&again, "witness.example.org"), Some(Trouble::Forked { known: expected }));
    }
    // Who answers with another key is somebody else.
    let other = WitnessSigner::open(&dir.path().join("other"), "witness.example.org", true).expect("a key");
    *theirs.known.lock() = Head { size: 0, root: [0; 32] };
    let deceived = world.cosigning(&held, vec![outside(&other.cosigner().to_string())]);
    deceived.round(US, &[]).await.expect("a round");
    assert_eq!(trouble(&deceived, "witness.example.org"), Some(Trouble::OtherKey));
    assert!(Outside::new("http://127.0.0.1", "witness.example.org").is_none(), "a name is no key");
}
