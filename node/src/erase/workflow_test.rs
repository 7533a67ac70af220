//! Orders from given to gone, with a real bucket, log, keyring and ledger; and a crash at every step of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domicile_proto::ids::{NodeId, ShardId, StreamId, TenantId, Timestamp};
use domicile_proto::metadata::StreamPolicy;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use serde_json::json;

use super::*;
use crate::audit::{Event, Ledger};
use crate::classify::Classified;
use crate::clock::Clock;
use crate::erase::neighbours::Silent;
use crate::errors::Coded;
use crate::index::builder::Layout;
use crate::keys::{Day, Original, Vault, specimen};
use crate::limits::ERASE_WINDOW;
use crate::ownership::{Loads, NotProposed, Propose};
use crate::policy::{Awareness, Policy, PolicyWatch, StreamView, Suppression};
use crate::segment::specimen::record;
use crate::segment::{Opened, Shards};
use crate::store::{Faults, Store, StoreConfig};
use crate::tasks::Tasks;
use crate::tier::{DAY, Tier};
use crate::wal::{Batch, Op, Wal, WalConfig};

pub(crate) const TOKEN: &str = "‹email:abcdefghijklmnopqrstuvwxyz›";
/// One that has no sealed original.
pub(crate) const OTHER: &str = "‹email:zyxwvutsrqponmlkjihgfedcba›";
pub(crate) const TENANT: TenantId = TenantId(1);

pub(crate) struct Node {
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    tier: Tier,
    wal: Wal,
    pub(crate) shards: Shards,
    pub(crate) vault: Arc<Vault>,
    ledger: Arc<Ledger>,
    suppression: Suppression,
    pub(crate) policy: PolicyWatch,
    pub(crate) awareness: Awareness,
    pub(crate) erasure: Arc<Erasure>,
}

pub(crate) fn begin() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for part in ["keys", "ledger"] {
        std::fs::create_dir(dir.path().join(part)).unwrap();
    }
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(key.as_ref()));
    std::fs::write(dir.path().join("node.key"), pem).unwrap();
    dir
}

/// What a node sees of others.
pub(crate) struct Sight {
    pub(crate) us: NodeId,
    pub(crate) neighbours: Neighbours,
    pub(crate) rows: RowsHere,
    pub(crate) group: GroupView,
    pub(crate) propose: Propose,
}

impl Default for Sight {
    /// The only node of its region, and a group that nobody reaches.
    fn default() -> Self {
        Self {
            us: NodeId(1),
            neighbours: Neighbours::over(|_, _| Box::pin(async { Err(Silent) })),
            rows: Arc::new(|_| Box::pin(async { Ok((Vec::new(), 0)) })),
            group: GroupView::empty(),
            propose: Propose::over(|_| Box::pin(async { Err(NotProposed) })),
        }
    }
}

impl Node {
    /// The only node of its region.
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_with(dir, Sight::default()).await
    }

    /// In the order of the node: what is on record is on the list before a segment is opened.
    pub(crate) async fn start_with(dir: &Path, sight: Sight) -> Self {
        let Sight { us, neighbours, rows, group, propose } = sight;
        let (tasks, clock) = (Tasks::default(), Clock::standing_at(Timestamp(1_000_000)));
        let region: domicile_proto::ids::Region = "tokyo".parse().unwrap();
        let store = Store::open(&StoreConfig { dir: dir.join("bucket") }, &region).await.unwrap();
        let records = Records::read(&store, us, &clock).await.unwrap();
        let suppression = Suppression::default();
        records.orders.iter().for_each(|(id, tracked)| suppression.add(&tracked.suppressed(id)));
        let segments = dir.join("segments");
        let tier = Tier::new(store.clone(), dir.join("cache"), tasks.clone());
        let copies = tier.opener();
        let opened =
            Opened::open(&segments, store.clone(), &tasks, clock.clone(), suppression.clone(), &copies).await.unwrap();
        let opened = opened.archiving(tier.archive_purger()).sparing(records.doomed_by(us));
        let (wal, durable) = Wal::open(&WalConfig::new(dir.join("wal")), &opened.indexed(), clock.clone()).unwrap();
        let ledger = Arc::new(Ledger::open(&dir.join("ledger"), &region, clock.clone()).unwrap());
        ledger.record(Event::NodeStarted { node: us, binary: [0; 32], config: [0; 32], sbom: None }).await.unwrap();
        let shards = opened.telling(Arc::clone(&ledger)).start(wal.clone(), durable).await.unwrap();
        let vault = Arc::new(specimen::vault(&dir.join("keys"), region.clone(), clock.clone()));
        let (policy, awareness) = (PolicyWatch::new(Policy::empty(region.clone())), Awareness::default());
        let parts = Parts {
            region,
            us,
            neighbours,
            rows,
            group,
            propose,
            awareness: awareness.clone(),
            loads: Loads::new(Duration::from_secs(60)),
            store: store.clone(),
            shards: shards.clone(),
            suppression: suppression.clone(),
            vault: Arc::clone(&vault),
            ledger: Arc::clone(&ledger),
            clock: clock.clone(),
            tasks: tasks.clone(),
            cache: dir.join("cache"),
            policy: policy.clone(),
            retention_days: 545,
            archive_days: 180,
        };
        let erasure = Arc::new(Erasure::new(parts, records, &dir.join("node.key")).unwrap());
        Self { tasks, clock, store, tier, wal, shards, vault, ledger, suppression, policy, awareness, erasure }
    }

    /// Ten records of others, one of subject 7 and one with the token, whose original is sealed.
    pub(crate) async fn fill(&self) {
        let text = zeroize::Zeroizing::new("erika@example.org".to_owned());
        let original = Original { token: TOKEN.into(), subject: Some(7), text, met: None };
        self.vault.seal(TENANT, StreamId(1), Day::of(Timestamp(1)), &[original]).unwrap();
        let mut records: Vec<_> = (0..10).map(|n| record(n, Some(100), json!({"message": format!("n {n}")}))).collect();
        records.push(record(11, Some(7), json!({"message": "seven"})));
        records.push(record(12, None, json!({"user": TOKEN})));
        self.append(records).await;
    }

    pub(crate) async fn append(&self, records: Vec<Classified>) {
        let records = records.into_iter().map(|record| (Op::Create, record)).collect();
        self.wal.append(Batch { stream: Arc::new(stream(None)), producer: None, records }).await.unwrap();
        self.shards.refresh(None).await;
    }

    /// Ends the next step of what takes the erased out of the archive, as a crash would.
    pub(crate) fn end_archiving_at(&self, step: Option<&'static str>) {
        *self.tier.ends_at.lock() = step;
    }

    pub(crate) fn seen(&self) -> u64 {
        self.shards.catalog().totals(ShardId(1)).docs
    }

    pub(crate) fn is_revealed(&self) -> bool {
        self.vault.reveal(TENANT, TOKEN).unwrap().is_some()
    }

    pub(crate) fn suppresses_nothing(&self) -> bool {
        self.suppression.now().of_stream(TENANT, StreamId(1)).is_empty()
    }

    /// Kinds of the ledger's entries.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let entries = self.ledger.entries_after(0).unwrap().map(|entry| entry.unwrap().1.event);
        let kind = |event| match event {
            Event::ErasureRequested { .. } => Some("requested"),
            Event::ErasureRefused { .. } => Some("refused"),
            Event::Shredded { .. } => Some("shredded"),
            Event::Purged { .. } => Some("purged"),
            Event::RetentionBegun { .. } => Some("deletion begun"),
            Event::RetentionDropped { .. } => Some("deleted"),
            Event::HoldSet { .. } => Some("held"),
            Event::HoldReleased { .. } => Some("released"),
            _ => None,
        };
        entries.filter_map(kind).collect()
    }

    /// Entries of the ledger, with their chains.
    pub(crate) fn entries(&self) -> Vec<crate::audit::Entry> {
        self.ledger.entries_after(0).unwrap().map(|entry| entry.unwrap().1).collect()
    }

    /// Ends as kill -9 would.
    pub(crate) async fn kill(self) {
        let Self { tasks, wal, ledger, erasure, vault, shards, .. } = self;
        assert!(tasks.stop(Duration::from_secs(30)).await);
        wal.stop().await;
        let entries: Vec<_> = ledger.entries_after(0).unwrap().map(|entry| entry.unwrap().1).collect();
        assert_eq!(crate::commands::pack::wrong_in(&entries), [""; 0], "what segments were made of");
        drop((ledger, erasure, vault, shards));
    }
}

pub(crate) fn stream(retention_days: Option<u16>) -> StreamView {
    let retention_days = retention_days.map(|days| days.try_into().unwrap());
    StreamView {
        id: StreamId(1),
        tenant: TENANT,
        name: "app".parse().unwrap(),
        fields: Vec::new(),
        policy: StreamPolicy { refresh_ms: 30_000, retention_days, ..StreamPolicy::default() },
        shard: Some((ShardId(1), NodeId(1))),
    }
}

fn whom() -> Whom {
    Whom { subjects: vec![7], tokens: vec![TOKEN.into()], only: None }
}

/// Which segments come and go, with digests, and whose erasure it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_that_come_and_go_lie_in_the_ledger_and_an_erasure_in_the_chain_of_its_tenant() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    // So that what will be made anew is durable before.
    node.shards.purge().await.unwrap();
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    node.erasure.purge().await.unwrap();
    let entries = node.entries();
    let mut held: BTreeMap<&str, (u64, [u8; 32])> = BTreeMap::new();
    let (mut came, mut went) = (0, 0);
    for entry in &entries {
        match &entry.event {
            Event::SegmentPublished { segment, records, sha256, bytes, .. } => {
                assert!(bytes.0 > 0 && *sha256 != [0; 32]);
                held.insert(segment, (*records, *sha256));
                came += 1;
            }
            Event::SegmentDeleted { segment, .. } => {
                assert!(held.remove(&**segment).is_some(), "what goes had come");
                went += 1;
            }
            Event::ErasureRequested { .. } | Event::Shredded { .. } | Event::Purged { .. } => {
                assert_eq!(entry.tenant, Some(TENANT));
            }
            _ => {}
        }
    }
    assert!(came > went && went > 0, "{came} came, {went} went");
    for view in node.shards.catalog().view(ShardId(1)).iter() {
        let digest = node.shards.digest(Arc::clone(view)).await.unwrap();
        assert_eq!(held.remove(&*view.id.to_string()), Some((view.docs.into(), digest)), "what is there is on record");
    }
    assert!(held.is_empty(), "and nothing else");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_hidden_and_shredded_at_once_and_gone_with_a_receipt_that_verifies() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    assert!(node.seen() == 12 && node.is_revealed());
    let stands = node.erasure.order(TENANT, whom(), None).await.unwrap();
    assert_eq!((stands.progress, stands.shredded.unwrap().hidden, stands.percent), (Progress::Shredded, 2, 50));
    assert_eq!(stands.shredded.unwrap().originals, 1);
    assert!(node.seen() == 10 && !node.is_revealed());
    assert!(node.erasure.stands(TenantId(2), &stands.id).is_err(), "another tenant's");

    node.erasure.tend().await.unwrap();
    assert_eq!(node.erasure.stands(TENANT, &stands.id).unwrap().progress, Progress::Shredded, "the window is open");
    node.clock.turn_to(Timestamp(1_000_000 + i64::try_from(ERASE_WINDOW.as_micros()).unwrap()));
    node.erasure.tend().await.unwrap();
    let gone = node.erasure.stands(TENANT, &stands.id).unwrap();
    assert_eq!((gone.progress, gone.percent, gone.gone_in_seconds), (Progress::Gone, 100, None));
    assert_eq!(node.kinds(), ["requested", "shredded", "purged"]);

    let receipt = gone.receipt.unwrap();
    let bytes = |field: &str| STANDARD.decode(receipt[field].as_str().unwrap()).unwrap();
    let said = receipt["receipt"].as_str().unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, bytes("public_key"));
    key.verify(said.as_bytes(), &bytes("signature")).unwrap();
    assert!(key.verify(said.replace('1', "2").as_bytes(), &bytes("signature")).is_err());
    for secret in ["7}", TOKEN, "\"subjects\""] {
        assert!(!said.contains(secret), "the receipt names nobody");
    }
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_ahead_when_an_order_came_does_not_put_its_purge_off() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    let right = node.clock.now();
    node.clock.turn_to(Timestamp(right.0 + DAY));
    let id = node.erasure.order(TENANT, whom(), None).await.unwrap().id;
    node.clock.turn_to(right);
    node.clock.pass(ERASE_WINDOW - Duration::from_secs(1));
    node.erasure.tend().await.unwrap();
    let waits = node.erasure.stands(TENANT, &id).unwrap();
    assert_eq!((waits.progress, waits.gone_in_seconds), (Progress::Shredded, Some(1)), "others may still join it");
    node.clock.pass(Duration::from_secs(1));
    node.erasure.tend().await.unwrap();
    assert_eq!(node.erasure.stands(TENANT, &id).unwrap().progress, Progress::Gone);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_at_any_step_nothing_is_shown_and_the_order_comes_to_its_end() {
    for step in
        ["ordered", "asked for", "hidden", "destroyed", "links taken back", "shredded told", "rewritten", "gone told"]
    {
        let dir = begin();
        let node = Node::start(dir.path()).await;
        node.fill().await;
        *node.erasure.ends_at.lock() = Some(step);
        let ordered = node.erasure.order(TENANT, whom(), None).await;
        if let Ok(stands) = &ordered {
            let is_shredded = ["rewritten", "gone told"].contains(&step);
            assert_eq!(stands.progress == Progress::Shredded, is_shredded, "no claim before its time; {step}");
        }
        assert!(node.erasure.purge().await.is_err() || node.erasure.all(TENANT).iter().all(|o| o.receipt.is_none()));
        node.kill().await;

        let node = Node::start(dir.path()).await;
        node.shards.refresh(None).await;
        assert_eq!(node.seen(), 10, "hidden before anybody can ask; {step}");
        node.erasure.tend().await.unwrap();
        assert!(!node.is_revealed(), "{step}");
        node.erasure.purge().await.unwrap();
        let [one] = node.erasure.all(TENANT).try_into().unwrap_or_else(|_| panic!("one order; {step}"));
        assert_eq!(one.progress, Progress::Gone, "{step}");
        let there: u64 = node.shards.catalog().view(ShardId(1)).iter().map(|segment| u64::from(segment.docs)).sum();
        assert_eq!((node.seen(), there), (10, 10), "{step}");
        // The second try destroys nothing any more, and what the first one destroyed is told all the same.
        assert_eq!(one.shredded.unwrap().originals, 1, "{step}");
        let receipt = one.receipt.unwrap();
        let said: serde_json::Value = serde_json::from_str(receipt["receipt"].as_str().unwrap()).unwrap();
        assert_eq!(said["originals_destroyed"], json!(1), "{step}");
        // Records of the log that were hidden before anybody counted them are not read back into a segment.
        if !["ordered", "asked for", "hidden"].contains(&step) {
            assert_eq!(said["records_hidden"], json!(2), "{step}");
        }
        for kind in ["requested", "shredded", "purged"] {
            assert!(node.kinds().contains(&kind), "{kind} is in the ledger; {step}");
        }
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legal_hold_refuses_until_it_is_released_and_both_are_in_the_ledger() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    let of_token = Whom { subjects: Vec::new(), ..whom() };
    let of_stream = Whom { only: Some(vec![(StreamId(1), None)]), ..Whom::default() };
    for held in [of_token, of_stream] {
        let hold = node.erasure.hold(TENANT, held).await.unwrap().id;
        let refused = node.erasure.order(TENANT, whom(), None).await.err().unwrap();
        assert_eq!(refused.code(), "DMC-ERASE-02");
        assert!(refused.to_string().contains(&*hold));
        assert!(node.seen() == 12 && node.is_revealed(), "nothing has changed");
        assert!(node.erasure.release(TenantId(2), &hold).await.is_err(), "another tenant's");
        node.erasure.release(TENANT, &hold).await.unwrap();
    }
    // A hold survives a restart, and one on another person or stream is no obstacle.
    let hold = node.erasure.hold(TENANT, Whom { tokens: Vec::new(), ..whom() }).await.unwrap().id;
    node.erasure
        .hold(TENANT, Whom { only: Some(vec![(StreamId(2), None)]), subjects: vec![8], ..Whom::default() })
        .await
        .unwrap();
    node.kill().await;
    let node = Node::start(dir.path()).await;
    assert_eq!(node.erasure.order(TENANT, whom(), None).await.err().unwrap().code(), "DMC-ERASE-02");
    node.erasure.release(TENANT, &hold).await.unwrap();
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    assert_eq!(node.erasure.order(TENANT, Whom::default(), None).await.err().unwrap().code(), "DMC-ERASE-01");
    assert_eq!(node.kinds().iter().filter(|kind| **kind == "refused").count(), 3);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_made_anew_and_one_from_before_that_comes_back_is_hidden_and_goes_with_the_next_purge() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    node.shards.purge().await.unwrap();
    let tier = Tier::new(node.store.clone(), dir.path().join("opened"), node.tasks.clone());
    let before = node.shards.catalog().view(ShardId(1)).first().cloned().unwrap();
    let cold = tier.copy_out(&before).await.unwrap();
    drop(before);
    let (copies, aside) = (dir.path().join("bucket").join("segments"), dir.path().join("aside"));
    let copied = |from: &Path, to: &Path| {
        let place = Path::new("0000000000000001").join(cold.id.to_string());
        std::fs::create_dir_all(to.join(&place)).unwrap();
        for entry in std::fs::read_dir(from.join(&place)).unwrap() {
            let name = entry.unwrap().file_name();
            std::fs::copy(from.join(&place).join(&name), to.join(&place).join(&name)).unwrap();
        }
    };
    copied(&copies, &aside);
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    node.erasure.purge().await.unwrap();
    let [anew] = tier.copies(|_| true).await.unwrap().try_into().unwrap();
    assert_ne!(anew.id, cold.id);
    let layout = Layout::under(node.suppression.clone());
    let back = tier.open(&layout, &anew).await.unwrap();
    assert_eq!((back.docs, back.hidden().count), (10, 0));
    let [one] = node.erasure.all(TENANT).try_into().unwrap();
    let said = one.receipt.unwrap()["receipt"].as_str().unwrap().to_owned();
    for id in [cold.id, anew.id] {
        assert!(said.contains(&id.to_string()), "the receipt names what the copy was and is");
    }
    let left = |dir: &Path| {
        std::fs::read_dir(dir)
            .map_or(0, |entries| entries.filter(|e| e.as_ref().unwrap().file_name() != "anew").count())
    };
    assert_eq!(left(&dir.path().join("cache")), 0, "nothing of it stays in the cache");

    copied(&aside, &copies);
    let back = tier.open(&layout, &cold).await.unwrap();
    assert_eq!((back.docs, back.hidden().count), (12, 2), "hidden before anybody can ask");
    assert_eq!(node.erasure.purge().await.unwrap(), 0, "no order waits");
    assert!(tier.open(&layout, &cold).await.is_err(), "and gone all the same");
    for copy in tier.copies(|_| true).await.unwrap() {
        let back = tier.open(&layout, &copy).await.unwrap();
        assert_eq!((back.docs, back.hidden().count), (10, 0));
    }
    // The list outlives the purge, and ends when its time is over.
    node.clock.turn_to(Timestamp(2_000_000 + 577 * 24 * 3_600 * 1_000_000));
    node.erasure.tend().await.unwrap();
    assert!(node.suppresses_nothing());
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_to_the_bucket_fails_an_erasure_ends_with_nothing_left_and_is_never_told_gone_before() {
    for is_done in [false, true] {
        for after in 0.. {
            let dir = begin();
            let node = Node::start(dir.path()).await;
            node.fill().await;
            node.shards.purge().await.unwrap();
            let tier = Tier::new(node.store.clone(), dir.path().join("opened"), node.tasks.clone());
            let first = node.shards.catalog().view(ShardId(1)).first().cloned().unwrap();
            tier.copy_out(&first).await.unwrap();
            drop(first);
            node.store.fail(Faults { after, count: 2, is_done, ..Faults::default() });
            // Who was refused asks again; who was answered waits.
            while node.erasure.order(TENANT, whom(), None).await.is_err() {}
            for _ in 0..6 {
                // Whatever fails here is tried again.
                drop((node.erasure.tend().await, node.erasure.purge().await));
                if node.erasure.all(TENANT).iter().all(|one| one.progress == Progress::Gone) {
                    assert_eq!((node.seen(), node.is_revealed()), (10, false), "{after} {is_done}");
                }
            }
            let left = node.store.fail(Faults::default());
            node.kill().await;

            let node = Node::start(dir.path()).await;
            node.shards.refresh(None).await;
            node.erasure.tend().await.unwrap();
            node.erasure.purge().await.unwrap();
            assert!(node.erasure.all(TENANT).iter().all(|one| one.progress == Progress::Gone), "{after} {is_done}");
            let there: u64 = node.shards.catalog().view(ShardId(1)).iter().map(|one| u64::from(one.docs)).sum();
            assert_eq!((node.seen(), there, node.is_revealed()), (10, 10, false), "{after} {is_done}");
            let tier = Tier::new(node.store.clone(), dir.path().join("opened"), node.tasks.clone());
            for copy in tier.copies(|_| true).await.unwrap() {
                assert_eq!(copy.row.docs, 10, "{after} {is_done}");
            }
            let (mut asked, mut done) = (BTreeSet::new(), BTreeSet::new());
            for entry in node.entries() {
                match entry.event {
                    Event::ErasureRequested { erasure, .. } => drop(asked.insert(erasure)),
                    Event::Purged { erasure, .. } => drop(done.insert(erasure)),
                    _ => {}
                }
            }
            assert_eq!(asked, done, "nothing is asked for in the ledger that no disk has; {after} {is_done}");
            node.kill().await;
            if left == 2 {
                assert!(after > 5, "the faults were reached");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_cannot_be_read_again_keeps_the_node_from_starting() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    let id = node.erasure.order(TENANT, whom(), None).await.unwrap().id;
    let object = format!("erasure/{id}/order");
    node.store.delete(&object).await.unwrap();
    node.store.create(&object, bytes::Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(Records::read(&node.store, NodeId(1), &node.clock).await.err().unwrap().code(), "DMC-ERASE-05");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_held_is_held_whatever_an_order_calls_them() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    node.append(vec![record(13, Some(100), json!({"user": OTHER}))]).await;
    let by_token = |token: &str| Whom { tokens: vec![token.into()], ..Whom::default() };
    let by_subject = |subject: u64| Whom { subjects: vec![subject], ..Whom::default() };
    // The original of the first token is sealed as one of subject 7; the second one stands in a record of subject 100.
    for (held, ordered) in [
        (by_subject(7), by_token(TOKEN)),
        (by_token(TOKEN), by_subject(7)),
        (by_subject(100), by_token(OTHER)),
        (by_token(OTHER), by_subject(100)),
    ] {
        let hold = node.erasure.hold(TENANT, held).await.unwrap().id;
        let refused = node.erasure.order(TENANT, ordered, None).await.err().unwrap();
        assert_eq!(refused.code(), "DMC-ERASE-02");
        assert!(refused.to_string().contains(&*hold), "{refused}");
        assert!(node.seen() == 13 && node.is_revealed(), "nothing has changed");
        node.erasure.release(TENANT, &hold).await.unwrap();
    }
    assert_eq!(node.kinds().iter().filter(|kind| **kind == "refused").count(), 4);
    // Names that an order says beside those that it erases by are compared, and erase nobody.
    let hold = node.erasure.hold(TENANT, by_subject(99)).await.unwrap().id;
    let ordered = (by_token(TOKEN), Whom { subjects: vec![99], ..by_token(TOKEN) });
    assert_eq!(node.erasure.order_of(TENANT, ordered, None).await.err().unwrap().code(), "DMC-ERASE-02");
    node.erasure.release(TENANT, &hold).await.unwrap();
    // Somebody else who is held is no obstacle.
    node.erasure.hold(TENANT, by_subject(100)).await.unwrap();
    let stands = node.erasure.order(TENANT, by_token(TOKEN), None).await.unwrap();
    assert_eq!((stands.shredded.unwrap().hidden, node.seen(), node.is_revealed()), (1, 12, false));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_stream_keeps_its_originals_from_an_order_about_another_one() {
    let dir = begin();
    let node = Node::start(dir.path()).await;
    node.fill().await;
    let text = zeroize::Zeroizing::new("erika@example.org".to_owned());
    let original = Original { token: TOKEN.into(), subject: None, text, met: None };
    node.vault.seal(TENANT, StreamId(2), Day::of(Timestamp(1)), &[original]).unwrap();
    let only = |stream: u32| Some(vec![(StreamId(stream), Some(ShardId(u64::from(stream))))]);
    let hold = node.erasure.hold(TENANT, Whom { only: only(2), ..Whom::default() }).await.unwrap().id;
    let of_token = || Whom { tokens: vec![TOKEN.into()], only: only(1), ..Whom::default() };
    assert_eq!(node.erasure.order(TENANT, of_token(), None).await.err().unwrap().code(), "DMC-ERASE-02");
    assert!(node.seen() == 12 && node.is_revealed(), "nothing has changed");
    // A subject loses no original outside of the streams that are named.
    let of_subject = Whom { subjects: vec![7], only: only(1), ..Whom::default() };
    node.erasure.order(TENANT, of_subject, None).await.unwrap();
    assert!(node.seen() == 11 && node.is_revealed(), "the original of the held stream is there");
    node.erasure.release(TENANT, &hold).await.unwrap();
    node.erasure.order(TENANT, of_token(), None).await.unwrap();
    assert!(node.seen() == 10 && !node.is_revealed());
    node.kill().await;
}
