//! Two nodes of a region, each with its own disk, and a way between them that can be cut: an order given at one reaches the
//! other, whatever is killed or away meanwhile, and nobody says that it is done before both are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domicile_proto::ids::{ErasureId, NodeId};
use domicile_proto::message::region::{NodeStand, RegionAsk, RegionReply};
use domicile_proto::metadata::{Applied, Command, ErasureRow, ErasureState, NodeRow};
use parking_lot::Mutex;
use serde_json::json;
use tempfile::TempDir;

use super::neighbours::Silent;
use super::workflow_test::{Node, OTHER, Sight, TENANT, TOKEN, begin};
use super::*;
use crate::errors::Coded;
use crate::ownership::{NotProposed, Propose};
use crate::policy::{Policy, Unknown};
use crate::segment::specimen::record;

pub(super) const A: NodeId = NodeId(1);
pub(super) const B: NodeId = NodeId(2);

/// The way between the nodes, and the group.
#[derive(Clone)]
pub(super) struct Between {
    there: Arc<Mutex<BTreeMap<NodeId, Arc<Erasure>>>>,
    rows: Arc<Mutex<Vec<ErasureRow>>>,
    has_group: Arc<AtomicBool>,
    /// How records are read at each node.
    pub(super) read: RowsHere,
}

impl Default for Between {
    fn default() -> Self {
        let (there, rows, has_group) = Default::default();
        Self { there, rows, has_group, read: Arc::new(|_| Box::pin(async { Ok((Vec::new(), 0)) })) }
    }
}

impl Between {
    fn sight(&self, us: NodeId) -> Sight {
        let (there, rows, held) = (Arc::clone(&self.there), Arc::clone(&self.rows), self.clone());
        let neighbours = Neighbours::over(move |to, ask| {
            let found = there.lock().get(&to.id.node).cloned();
            Box::pin(async move {
                match found {
                    Some(there) => Ok(there.asked(ask).await),
                    None => Err(Silent),
                }
            })
        });
        let beyond = Arc::clone(&self.there);
        let neighbours = neighbours.gathering(move |to, ask| {
            let found = beyond.lock().get(&to.id.node).cloned();
            Box::pin(async move {
                match (found, ask) {
                    (Some(there), RegionAsk::Rows(keys, person)) => Ok(there.asked_rows(keys, person).await),
                    _ => Err(Silent),
                }
            })
        });
        let group = GroupView { rows: Arc::new(move || rows.lock().clone()) };
        let propose = Propose::over(move |command| {
            let decided = held.decide(command);
            Box::pin(async move { decided })
        });
        Sight { us, neighbours, rows: Arc::clone(&self.read), group, propose }
    }

    fn decide(&self, command: Command) -> Result<Applied, NotProposed> {
        let Command::RecordErasure(row) = command else { panic!("an erasure") };
        if !self.has_group.load(Ordering::SeqCst) {
            return Err(NotProposed);
        }
        let mut rows = self.rows.lock();
        rows.retain(|known| known.id != row.id);
        rows.push(row);
        Ok(Applied::Done)
    }

    pub(super) async fn start(&self, dir: &Path, us: NodeId) -> Node {
        let node = Node::start_with(dir, self.sight(us)).await;
        let mut policy = Policy::clone(&node.policy.now());
        for node in [A, B] {
            let addr = "127.0.0.1:7443".parse().unwrap();
            policy.nodes.insert(node, NodeRow { node, region: policy.region.clone(), addr, signature: None });
        }
        node.policy.replace(policy);
        self.join(us, &node);
        // Whoever is there has said its holds: what a node knows that has run for a while.
        let there: Vec<_> = self.there.lock().values().cloned().collect();
        for erasure in there {
            drop(erasure.hear_holds().await);
        }
        node
    }

    pub(super) fn join(&self, us: NodeId, node: &Node) {
        self.there.lock().insert(us, Arc::clone(&node.erasure));
    }

    pub(super) fn cut(&self, node: NodeId) {
        self.there.lock().remove(&node);
    }
}

/// The directories of two nodes with the same keys, as an operator gives them to the second one.
pub(super) async fn homes() -> (TempDir, TempDir) {
    let (first, second) = (begin(), begin());
    Node::start(first.path()).await.kill().await;
    for entry in std::fs::read_dir(first.path().join("keys")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), second.path().join("keys").join(entry.file_name())).unwrap();
    }
    (first, second)
}

pub(super) fn whom() -> Whom {
    Whom { subjects: vec![7], tokens: vec![TOKEN.into()], only: None }
}

/// As a door shows it: how far the region is, and each node.
fn stands(node: &Node, id: &str) -> (Progress, Vec<(NodeId, Option<Progress>)>) {
    let stands = node.erasure.stands(TENANT, id).unwrap();
    (stands.everywhere, stands.nodes.iter().map(|at| (at.node, at.progress)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shredded_at_both_nodes_and_done_when_both_are_through() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    a.fill().await;
    b.fill().await;
    assert_eq!((a.seen(), b.seen()), (12, 12));
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    a.erasure.tell_round().await;
    assert_eq!((a.seen(), b.seen()), (10, 10));
    assert!(!a.is_revealed() && !b.is_revealed());
    let shredded = Some(Progress::Shredded);
    assert_eq!(stands(&a, &id), (Progress::Shredded, vec![(A, shredded), (B, shredded)]));
    assert_eq!(b.kinds(), ["requested", "shredded"], "both ledgers have it");

    a.erasure.purge().await.unwrap();
    a.erasure.tell_round().await;
    let half = a.erasure.stands(TENANT, &id).unwrap();
    assert_eq!((half.progress, half.everywhere), (Progress::Gone, Progress::Shredded));
    assert!(half.receipt.is_some() && half.region_receipt.is_none(), "not done before both are");
    b.erasure.purge().await.unwrap();
    a.erasure.tell_round().await;
    b.erasure.tell_round().await;
    for node in [&a, &b] {
        let whole = node.erasure.stands(TENANT, &id).unwrap();
        assert_eq!(whole.everywhere, Progress::Gone);
        let said: serde_json::Value =
            serde_json::from_str(whole.region_receipt.unwrap()["receipt"].as_str().unwrap()).unwrap();
        let named: Vec<_> = said["nodes"].as_array().unwrap().iter().map(|at| at["node"].as_u64().unwrap()).collect();
        assert!(named.contains(&1) && named.contains(&2), "{said}");
        assert!(said["nodes"].as_array().unwrap().iter().all(|at| at["receipt_sha256"].is_string()), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_told_is_named_and_told_when_it_is_back_also_after_a_crash_of_the_one_that_tells() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    a.fill().await;
    b.fill().await;
    between.cut(B);
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    a.erasure.tell_round().await;
    assert_eq!((a.seen(), b.seen()), (10, 12));
    let at = a.erasure.stands(TENANT, &id).unwrap();
    assert_eq!((at.progress, at.everywhere), (Progress::Shredded, Progress::Ordered));
    assert_eq!((at.nodes[1].node, at.nodes[1].progress, at.nodes[1].problem), (B, None, Some("DMC-ERASE-13")));
    a.erasure.purge().await.unwrap();
    assert!(a.erasure.stands(TENANT, &id).unwrap().region_receipt.is_none());

    between.cut(A);
    a.kill().await;
    let a = between.start(first.path(), A).await;
    assert_eq!(stands(&a, &id).0, Progress::Ordered, "still not there");
    between.join(B, &b);
    a.erasure.tell_round().await;
    assert_eq!((b.seen(), stands(&a, &id).0), (10, Progress::Shredded));
    // What it said is on record: not even silence makes it unsaid.
    between.cut(B);
    between.cut(A);
    a.kill().await;
    let a = between.start(first.path(), A).await;
    assert_eq!(stands(&a, &id).0, Progress::Shredded);
    between.join(B, &b);
    b.erasure.purge().await.unwrap();
    a.erasure.tell_round().await;
    assert!(a.erasure.stands(TENANT, &id).unwrap().region_receipt.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_is_killed_at_any_step_of_it_takes_the_order_once() {
    for end in ["ordered", "hidden", "destroyed", "shredded told"] {
        let (between, (first, second)) = (Between::default(), homes().await);
        let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
        b.fill().await;
        *b.erasure.ends_at.lock() = Some(end);
        let id = {
            between.cut(B);
            let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
            between.join(B, &b);
            a.erasure.tell_round().await;
            id
        };
        assert_ne!(stands(&a, &id).0, Progress::Shredded, "{end}: not claimed early");
        between.cut(B);
        b.kill().await;
        let b = between.start(second.path(), B).await;
        a.erasure.tell_round().await;
        b.erasure.tend().await.unwrap();
        a.erasure.tell_round().await;
        assert_eq!((b.seen(), stands(&a, &id).0), (10, Progress::Shredded), "{end}");
        assert!(!b.is_revealed(), "{end}");
        assert_eq!(b.erasure.all(TENANT).len(), 1, "{end}: one order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_shows_nothing_before_its_neighbour_told_it_though_the_group_knows_of_nothing() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    b.fill().await;
    between.cut(B);
    b.kill().await;
    // Nobody reaches the group when the order is given, and then the one that took it dies.
    a.erasure.order(TENANT, whom(), None).await.unwrap();
    a.erasure.record_round().await;
    assert!(between.rows.lock().is_empty());
    between.cut(A);

    // Before the first policy is there, the node does not take itself to be alone.
    let early = Node::start_with(second.path(), between.sight(B)).await;
    early.erasure.begin([A, B]);
    let someone = Whom { subjects: vec![55], ..Whom::default() };
    assert_eq!(early.erasure.order(TENANT, someone, None).await.err().unwrap().code(), "DMC-ERASE-15");
    early.erasure.purge().await.unwrap();
    assert!(early.erasure.all(TENANT).iter().all(|stands| stands.region_receipt.is_none()));
    early.kill().await;

    let b = between.start(second.path(), B).await;
    b.erasure.begin([A, B]);
    between.has_group.store(true, Ordering::SeqCst);
    b.erasure.tell_round().await;
    assert_eq!(b.awareness.unknown_of(TENANT), Some(Unknown::Away), "the group knows of no order, and there is one");
    let named = b.erasure.silent();
    let (node, keeps) = (named[0].node, (named[0].keeps_answers, named[0].keeps_orders));
    assert_eq!((named.len(), node, keeps), (1, A, (true, true)), "the status says for whom it waits");
    between.join(A, &a);
    b.erasure.tell_round().await;
    assert!(b.awareness.unknown_of(TENANT).is_none() && b.erasure.silent().is_empty());
    assert_eq!(b.seen(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_waits_for_nobody_who_was_taken_out_of_the_region_and_hides_the_tenant_of_an_order_of_theirs() {
    let (between, (first, second)) = (Between::default(), homes().await);
    between.has_group.store(true, Ordering::SeqCst);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    b.fill().await;
    between.cut(B);
    b.kill().await;
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    a.erasure.record_round().await;
    between.cut(A);
    let b = between.start(second.path(), B).await;
    b.erasure.begin([A, B]);
    b.erasure.tell_round().await;
    assert_eq!(b.awareness.unknown_of(TENANT), Some(Unknown::Away));
    // `domicile node remove`: the group says that there is no such node.
    let mut policy = Policy::clone(&b.policy.now());
    policy.nodes.remove(&A);
    b.policy.replace(policy);
    b.erasure.tell_round().await;
    let number: ErasureId = id.parse().unwrap();
    assert_eq!(b.awareness.unknown_of(TENANT), Some(Unknown::Order(number)), "the group has heard of the order");
    assert!(b.awareness.unknown_of(domicile_proto::ids::TenantId(9)).is_none(), "other tenants are shown");
    b.erasure.order(TENANT, whom(), Some(number)).await.unwrap();
    b.erasure.tell_round().await;
    assert!(b.awareness.unknown_of(TENANT).is_none());
    assert_eq!(b.seen(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_shares_its_bucket_with_one_that_is_silent_reads_there_what_that_one_took() {
    let (between, (first, second)) = (Between::default(), homes().await);
    std::fs::remove_dir_all(second.path().join("bucket"))
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .unwrap();
    std::os::unix::fs::symlink(first.path().join("bucket"), second.path().join("bucket")).unwrap();
    let a = between.start(first.path(), A).await;
    let before = a.erasure.order(TENANT, whom(), None).await.err().unwrap().code();
    assert_eq!(before, "DMC-ERASE-15", "the other one was never heard");
    let b = between.start(second.path(), B).await;
    b.erasure.begin([A, B]);
    assert_eq!(b.awareness.unknown_of(TENANT), Some(Unknown::Away));
    // Taken after the other one had read the bucket, and told to nobody.
    between.cut(B);
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    between.cut(A);
    assert!(b.erasure.all(TENANT).is_empty());
    b.erasure.tell_round().await;
    let order = b.erasure.stands(TENANT, &id).unwrap();
    assert_eq!((order.progress, b.awareness.unknown_of(TENANT)), (Progress::Shredded, None));
    between.join(A, &a);
    between.join(B, &b);
    a.erasure.tell_round().await;
    assert_eq!(stands(&a, &id).0, Progress::Shredded, "and it is one order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_nobody_in_the_region_made_hides_nothing_and_one_that_the_region_made_does() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    let region = a.policy.now().region.clone();
    let at = domicile_proto::ids::Timestamp(1);
    let (id, commitment) = (ErasureId(5), [9; 32]);
    let row = |proof| ErasureRow {
        region: region.clone(),
        id,
        tenant: TENANT,
        commitment,
        proof,
        at,
        state: ErasureState::Gone,
    };
    between.rows.lock().push(row([0; 16]));
    between.cut(B);
    a.erasure.tell_round().await;
    assert!(a.awareness.lacks(), "until every neighbour has said that it has none");
    between.join(B, &b);
    a.erasure.tell_round().await;
    assert!(!a.awareness.lacks());
    *between.rows.lock() = vec![row(a.erasure.proof(id, TENANT, &commitment))];
    a.erasure.tell_round().await;
    assert_eq!(a.awareness.unknown_of(TENANT), Some(Unknown::Order(id)), "it is the region's own");
    a.erasure.order(TENANT, whom(), Some(id)).await.unwrap();
    a.erasure.tell_round().await;
    assert!(!a.awareness.lacks(), "told by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_with_other_keys_is_named_shows_nothing_and_is_told_by_itself() {
    let (between, first, second) = (Between::default(), begin(), begin());
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    b.fill().await;
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    a.erasure.tell_round().await;
    let at = a.erasure.stands(TENANT, &id).unwrap();
    assert_eq!((at.everywhere, at.nodes[1].problem), (Progress::Ordered, Some("DMC-ERASE-12")));
    assert!(b.awareness.unknown_of(TENANT).is_some(), "it cannot hide whom it does not know");
    b.erasure.order(TENANT, whom(), Some(id.parse().unwrap())).await.unwrap();
    b.erasure.tell_round().await;
    a.erasure.tell_round().await;
    assert_eq!(stands(&a, &id).0, Progress::Shredded);
    assert!(b.awareness.unknown_of(TENANT).is_none() && b.seen() == 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_a_neighbour_stands_and_is_named_until_it_is_released() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    b.fill().await;
    // Set while nobody could be told of it, as the order at the other one was given.
    between.cut(A);
    let hold = b.erasure.hold(TENANT, whom()).await.unwrap().id;
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    for _ in 0..3 {
        a.erasure.tell_round().await;
    }
    assert_eq!(a.erasure.stands(TENANT, &id).unwrap().nodes[1].problem, Some("DMC-ERASE-02"));
    assert_eq!(b.kinds(), ["held", "refused"], "once, however often it is asked");
    assert_eq!((b.seen(), b.awareness.lacks()), (12, false));
    between.join(A, &a);
    b.erasure.release(TENANT, &hold).await.unwrap();
    a.erasure.tell_round().await;
    assert_eq!((b.seen(), stands(&a, &id).0), (10, Progress::Shredded));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_neither_for_a_purge_nor_for_the_group_and_the_group_learns_no_more_than_a_commitment() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    a.fill().await;
    let purging = a.erasure.working.lock().await;
    let stood = a.erasure.order(TENANT, whom(), None).await.unwrap();
    assert_eq!(stood.progress, Progress::Shredded, "while a purge runs and nobody reaches the group");
    drop(purging);
    a.erasure.record_round().await;
    assert!(between.rows.lock().is_empty());
    between.has_group.store(true, Ordering::SeqCst);
    a.erasure.tell_round().await;
    a.erasure.record_round().await;
    let row = between.rows.lock()[0].clone();
    assert_eq!((row.id.to_string().as_str(), row.state), (&*stood.id, ErasureState::Shredded));
    let said = serde_json::to_string(&row).unwrap();
    assert!(!said.contains(TOKEN) && !said.contains("email"), "{said}");
    // Two orders about one person: nothing in their rows is the same but the region and the tenant.
    let again = a.erasure.order(TENANT, whom(), None).await.unwrap();
    a.erasure.record_round().await;
    let other = between.rows.lock().iter().find(|row| row.id.to_string() == *again.id).cloned().unwrap();
    assert!(other.commitment != row.commitment && other.proof != row.proof);
    a.erasure.tell_round().await;
    a.erasure.purge().await.unwrap();
    b.erasure.purge().await.unwrap();
    a.erasure.tell_round().await;
    a.erasure.record_round().await;
    assert!(between.rows.lock().iter().all(|row| row.state == ErasureState::Gone));
    assert!(a.erasure.unrecorded().is_empty());
    between.rows.lock().clear();
    assert!(a.erasure.unrecorded().is_empty(), "what the group has forgotten stays so");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_are_told_and_listed_page_by_page() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let a = between.start(first.path(), A).await;
    // Alone in its region until now.
    a.policy.replace(Policy::empty("tokyo".parse().unwrap()));
    for subject in 0..70 {
        a.erasure.order(TENANT, Whom { subjects: vec![subject], ..Whom::default() }, None).await.unwrap();
    }
    let b = between.start(second.path(), B).await;
    b.erasure.begin([A]);
    b.erasure.tell_round().await;
    assert_eq!(b.erasure.all(TENANT).len(), 70);
    assert!(!b.awareness.lacks());
    let RegionReply::Stands(stands) = b.erasure.asked(RegionAsk::How(vec![ErasureId(1)])).await else {
        panic!("stands")
    };
    assert_eq!(stands, [NodeStand::Unknown]);
    let wide = Whom { subjects: (0..2_000).collect(), ..Whom::default() };
    assert_eq!(a.erasure.order(TENANT, wide, None).await.err().unwrap().code(), "DMC-ERASE-14");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_set_at_one_node_stands_at_the_other_and_is_released_at_either() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    a.fill().await;
    let hold = b.erasure.hold(TENANT, whom()).await.unwrap();
    assert!(hold.not_held_at.is_empty(), "the other one has it before this one says so");
    let refused = async |node: &Node| node.erasure.order(TENANT, whom(), None).await.err().map(|error| error.code());
    assert_eq!(refused(&a).await, Some("DMC-ERASE-02"));
    assert_eq!((a.seen(), a.kinds()), (12, vec!["held", "refused"]), "and its ledger says so");

    // It is on the other one's own disk: the one that set it is away, and comes back to find it released.
    between.cut(B);
    between.cut(A);
    a.kill().await;
    let a = between.start(first.path(), A).await;
    assert_eq!(refused(&a).await, Some("DMC-ERASE-15"), "the other one may have one more");
    let due = a.erasure.drop_due(None).await;
    assert_eq!(due.err().unwrap().code(), "DMC-ERASE-15", "and nothing is deleted by age");
    between.join(B, &b);
    assert_eq!(refused(&a).await, Some("DMC-ERASE-02"));
    assert!(a.erasure.drop_due(None).await.is_ok());
    between.cut(B);
    assert_eq!(a.erasure.drop_due(None).await.err().unwrap().code(), "DMC-ERASE-15", "each time anew");
    a.erasure.release(TENANT, &hold.id).await.unwrap();
    assert_eq!(refused(&b).await, Some("DMC-ERASE-02"));
    between.join(B, &b);
    a.erasure.tell_round().await;
    assert!(b.erasure.holds(TENANT).is_empty());
    // A release is final: whoever still tells of the hold does not bring it back.
    b.erasure.tell_round().await;
    a.erasure.tell_round().await;
    assert!(a.erasure.holds(TENANT).is_empty() && b.erasure.holds(TENANT).is_empty());
    assert_eq!(refused(&b).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_names_the_node_that_could_not_be_told_until_it_is() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    between.cut(A);
    let hold = b.erasure.hold(TENANT, whom()).await.unwrap();
    assert_eq!(hold.not_held_at, [A]);
    assert_eq!(b.erasure.holds(TENANT)[0].not_held_at, [A]);
    between.join(A, &a);
    b.erasure.tell_round().await;
    assert!(b.erasure.holds(TENANT)[0].not_held_at.is_empty());
    assert_eq!(a.erasure.order(TENANT, whom(), None).await.err().unwrap().code(), "DMC-ERASE-02");
    let wide = Whom { subjects: (0..2_000).collect(), ..Whom::default() };
    assert_eq!(b.erasure.hold(TENANT, wide).await.err().unwrap().code(), "DMC-ERASE-14", "it could not be told");
    // More than one message holds, and all of them are there.
    for subject in 0..70 {
        a.erasure.hold(TENANT, Whom { subjects: vec![subject], ..Whom::default() }).await.unwrap();
    }
    between.cut(B);
    b.kill().await;
    let b = between.start(second.path(), B).await;
    assert_eq!(b.erasure.holds(TENANT).len(), 71);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_looks_through_its_own_records_for_who_is_held_and_says_so_once() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    b.append(vec![record(13, Some(100), json!({"user": OTHER}))]).await;
    let hold = b.erasure.hold(TENANT, Whom { subjects: vec![100], ..Whom::default() }).await.unwrap().id;
    let ordered = Whom { tokens: vec![OTHER.into()], ..Whom::default() };
    let id = a.erasure.order(TENANT, ordered, None).await.unwrap().id;
    for _ in 0..3 {
        a.erasure.tell_round().await;
    }
    assert_eq!(a.erasure.stands(TENANT, &id).unwrap().nodes[1].problem, Some("DMC-ERASE-02"));
    assert_eq!((b.kinds(), b.seen(), b.awareness.lacks()), (vec!["held", "refused"], 1, false));
    b.erasure.release(TENANT, &hold).await.unwrap();
    a.erasure.tell_round().await;
    assert_eq!((b.seen(), stands(&a, &id).0), (0, Progress::Shredded));
}
