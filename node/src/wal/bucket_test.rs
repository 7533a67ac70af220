//! What durability `bucket` promises, in a store that fails any call, answers late or not at all, and with owners that come and go:
//! nothing acknowledged is lost or doubled, and of two that take themselves for the owner one steps down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{Epoch, NodeId, ShardId, Timestamp};
use domicile_proto::metadata::Durability;
use tokio::sync::{mpsc, oneshot};

use super::brought::Brought;
use super::bucket::Core;
use super::disk_sim::Dice;
use super::objects::{self, Said};
use super::shipper::Bucket;
use super::wal_test::{NOW, batch, record};
use super::*;
use crate::clock::Clock;
use crate::errors::{Coded, Verdict};
use crate::limits::{MAX_DECOMPRESSED_BYTES, STORE_ACK_DEADLINE, WAL_OBJECT_EVERY, WAL_UNSHIPPED_BYTES};
use crate::store::{Faults, Store};
use crate::tasks::Tasks;

const SHARDS: [u64; 2] = [1, 2];
const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];

/// A node that writes into the bucket; what it gave on.
pub(super) struct Node {
    pub(super) bucket: Bucket,
    tasks: Tasks,
    given: mpsc::Receiver<Vec<Durable>>,
}

impl Node {
    async fn start(store: &Store, node: NodeId) -> Result<Self, WalError> {
        Self::start_at(store, node, Clock::standing_at(NOW)).await
    }

    pub(super) async fn start_at(store: &Store, node: NodeId, clock: Clock) -> Result<Self, WalError> {
        let tasks = Tasks::default();
        let bucket = Bucket::open(store.clone(), node, clock, tasks.clone()).await?;
        let (durable, given) = mpsc::channel(4_096);
        let run = bucket.clone().run(durable, tasks.token().clone());
        tasks.spawn(crate::tasks::Kind::Indexer, run);
        Ok(Self { bucket, tasks, given })
    }

    /// Writes the shards from now on: seals the others' logs, reads what lies there. What was given on.
    async fn take_over(&mut self, epoch: u64, indexed: &BTreeMap<ShardId, u64>) -> Result<Places, WalError> {
        let sealed = SHARDS.iter().map(|shard| (ShardId(*shard), Epoch(epoch))).collect();
        self.bucket.seal(&BTreeSet::from(NODES), &sealed).await?;
        let wanted = SHARDS.iter().map(|shard| (ShardId(*shard), indexed.get(&ShardId(*shard)).copied().unwrap_or(0)));
        for (shard, tail) in self.bucket.collect(&wanted.collect()).await? {
            self.bucket.hold(shard, Epoch(epoch), tail?).await?;
        }
        Ok(self.taken())
    }

    /// What was given on since.
    fn taken(&mut self) -> Places {
        let mut places = Places::new();
        while let Ok(group) = self.given.try_recv() {
            for durable in group {
                for (seq, record) in (durable.first_seq..).zip(&durable.records) {
                    let json: serde_json::Value = serde_json::from_slice(record.json()).unwrap();
                    let text = json["message"].as_str().unwrap().to_owned();
                    assert!(places.insert((durable.shard.0, seq), text).is_none(), "{seq} was given on twice");
                }
            }
        }
        places
    }

    pub(super) fn kill(self) {
        self.tasks.token().cancel();
    }
}

/// Texts by shard and place.
type Places = BTreeMap<(u64, u64), String>;

fn in_bucket(shard: u64, id: &str, texts: &[String]) -> Batch {
    let mut batch = batch(shard, Some((id, 7)), texts.iter().map(|text| (Op::Index, record(None, text))).collect());
    Arc::make_mut(&mut batch.stream).policy.durability = Durability::Bucket;
    batch
}

pub(super) fn one(shard: u64, id: &str) -> Batch {
    in_bucket(shard, id, &[id.to_owned()])
}

#[derive(Clone)]
struct Sent {
    shard: u64,
    id: String,
    texts: Vec<String>,
}

#[derive(Default)]
struct Told {
    acked: Places,
    by_id: BTreeMap<String, Vec<Outcome>>,
    doubtful: Vec<Sent>,
    indexed: BTreeMap<ShardId, u64>,
    number: u64,
}

impl Told {
    fn draw(&mut self, dice: &mut Dice) -> Sent {
        self.number += 1;
        let number = self.number;
        let texts = (0..1 + dice.below(4)).map(|n| format!("{number}-{n}")).collect();
        Sent { shard: 1 + dice.below(2), id: format!("b{number}"), texts }
    }

    fn note(&mut self, sent: &Sent, answer: Result<Accepted, WalError>, whole: &str) {
        let accepted = match answer {
            Ok(accepted) => accepted,
            Err(error) => {
                assert!(matches!(error.verdict(), Verdict::NotNow(_)), "{whole}: {error}");
                self.doubtful.push(sent.clone());
                return;
            }
        };
        if let Some(before) = self.by_id.get(&sent.id) {
            assert!(accepted.repeated && accepted.outcomes == *before, "{whole}: {} was taken twice", sent.id);
        }
        for (outcome, text) in accepted.outcomes.iter().zip(&sent.texts) {
            let Outcome::Created { seq } = outcome else { panic!("{whole}: {outcome:?} without an id") };
            let before = self.acked.insert((sent.shard, *seq), text.clone());
            assert!(before.is_none_or(|before| before == *text), "{whole}: {seq} was given twice");
        }
        self.by_id.insert(sent.id.clone(), accepted.outcomes);
    }

    /// Everything acknowledged is there at its place, and nothing else but whole batches in doubt.
    fn check(&self, found: &Places, whole: &str) {
        let is_open = |place: &(u64, u64)| self.indexed.get(&ShardId(place.0)).is_none_or(|last| *last < place.1);
        for (place, text) in self.acked.iter().filter(|(place, _)| is_open(place)) {
            assert_eq!(found.get(place), Some(text), "{whole}: lost, or changed, at {place:?}");
        }
        let texts: BTreeSet<&String> = found.values().collect();
        assert_eq!(texts.len(), found.len(), "{whole}: a record is there twice");
        let known: BTreeSet<&String> = self.acked.values().collect();
        let mut extra: BTreeSet<&String> = texts.difference(&known).copied().collect();
        for sent in &self.doubtful {
            let there = sent.texts.iter().filter(|text| texts.contains(text)).count();
            assert!(there == 0 || there == sent.texts.len(), "{whole}: a part of {} is there", sent.id);
            extra.retain(|text| !sent.texts.contains(text));
        }
        assert!(extra.is_empty(), "{whole}: {extra:?} was never sent, or refused");
    }
}

/// Lives of owners drawn from a seed. Some are killed, some are pushed aside and go on writing, as one does that was paused.
async fn live(seed: u64, faults: bool) {
    let mut dice = Dice(seed);
    let store = Store::in_memory();
    let mut told = Told::default();
    let mut aside: Vec<Node> = Vec::new();
    let mut again: Vec<Sent> = Vec::new();
    for epoch in 1..=6 {
        let whole = format!("seed {seed}, epoch {epoch}");
        let us = NODES[usize::try_from(dice.below(2)).unwrap()];
        // A node has one process.
        aside.retain(|node| node.bucket.node() != us);
        if faults {
            store.fail(Faults {
                after: dice.below(12),
                count: dice.below(3),
                is_done: dice.below(2) == 0,
                ..Faults::default()
            });
        }
        let taken = async {
            let mut node = Node::start(&store, us).await?;
            let found = node.take_over(epoch, &told.indexed).await?;
            Ok::<_, WalError>((node, found))
        };
        let (mut node, found) = match taken.await {
            Ok(taken) => taken,
            Err(error) => {
                assert!(faults, "{whole}: {error}");
                continue;
            }
        };
        told.check(&found, &whole);
        let mut doubtful = std::mem::take(&mut told.doubtful);
        for (place, text) in &found {
            told.acked.entry(*place).or_insert_with(|| text.clone());
        }
        doubtful.retain(|sent| !sent.texts.iter().any(|text| found.values().any(|found| found == text)));
        for _ in 0..6 {
            if faults && dice.below(2) == 0 {
                store.fail(Faults {
                    after: dice.below(4),
                    count: dice.below(4),
                    is_done: dice.below(2) == 0,
                    ..Faults::default()
                });
            }
            let mut group: Vec<Sent> = (0..1 + dice.below(5)).map(|_| told.draw(&mut dice)).collect();
            group.extend(again.pop());
            let answers = group.iter().map(|sent| node.bucket.append(in_bucket(sent.shard, &sent.id, &sent.texts)));
            for (sent, answer) in group.iter().zip(futures::future::join_all(answers).await) {
                told.note(sent, answer, &whole);
            }
            // One that was pushed aside writes nothing, whatever it believes.
            for old in &aside {
                let late = told.draw(&mut dice);
                let answer = old.bucket.append(in_bucket(late.shard, &late.id, &late.texts)).await;
                assert!(matches!(answer, Err(WalError::Deposed { .. })), "{whole}: a deposed owner took {}", late.id);
            }
            again.extend(group);
            if dice.below(3) == 0 {
                for (shard, seq) in told.acked.keys() {
                    let last = told.indexed.entry(ShardId(*shard)).or_default();
                    *last = (*last).max(*seq);
                }
                node.bucket.release(&told.indexed);
            }
        }
        node.taken();
        if dice.below(2) == 0 { node.kill() } else { aside.push(node) }
    }
    store.fail(Faults::default());
    let mut last = Node::start(&store, NodeId(1)).await.unwrap();
    let found = last.take_over(7, &told.indexed).await.unwrap();
    told.check(&found, &format!("seed {seed}, in the end"));
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_lives_lose_and_double_nothing_and_one_owner_writes() {
    for seed in 0..300 {
        live(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_lives_survive_a_store_that_fails_any_call_and_answers_too_late() {
    for seed in 1_000..1_300 {
        live(seed, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_away_meets_the_seal_with_what_it_has_not_yet_written() {
    let store = Store::in_memory();
    let mut old = Node::start(&store, NodeId(1)).await.unwrap();
    old.take_over(1, &BTreeMap::new()).await.unwrap();
    old.bucket.append(one(1, "first")).await.unwrap();
    // Paused with a batch in its hands: the store is out of its reach until the other one has taken over.
    let (mut new, waiting) = {
        store.fail(Faults { after: 0, count: u64::MAX, is_done: false, ..Faults::default() });
        let mut waiting = Box::pin(old.bucket.append(one(1, "second")));
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.fail(Faults::default());
        (Node::start(&store, NodeId(2)).await.unwrap(), waiting)
    };
    // The object of the paused one may come first, and then it counts; here the seal does.
    let sealed = BTreeMap::from([(ShardId(1), Epoch(2))]);
    new.bucket.seal(&BTreeSet::from(NODES), &sealed).await.unwrap();
    let refused = waiting.await.unwrap_err();
    assert_eq!((refused.code(), refused.verdict()), ("DMC-WAL-15", Verdict::NotNow(1)));
    let mut tails = new.bucket.collect(&BTreeMap::from([(ShardId(1), 0)])).await.unwrap();
    new.bucket.hold(ShardId(1), Epoch(2), tails.remove(&ShardId(1)).unwrap().unwrap()).await.unwrap();
    assert_eq!(new.taken(), Places::from([((1, 1), "first".to_owned())]));
    assert_eq!(new.bucket.append(one(1, "second")).await.unwrap().outcomes, [Outcome::Created { seq: 2 }]);
    assert!(new.bucket.append(one(1, "first")).await.unwrap().repeated, "what was taken before is known here");
    // Its other shard is still its own, and what it writes of it lies behind the seal.
    assert_eq!(old.bucket.append(one(2, "other")).await.unwrap().outcomes, [Outcome::Created { seq: 1 }]);
    let stale = old.bucket.hold(ShardId(1), Epoch(1), Tail::nothing_after(0)).await;
    assert!(matches!(stale, Err(WalError::Deposed { .. })), "an old epoch is not taken up again");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_paused_while_it_was_removed_meets_every_seal_when_it_goes_on() {
    let store = Store::in_memory();
    let paused = Node::start(&store, NodeId(1)).await.unwrap();
    for shard in SHARDS {
        paused.bucket.hold(ShardId(shard), Epoch(1), Tail::nothing_after(0)).await.unwrap();
        paused.bucket.append(one(shard, &format!("first of {shard}"))).await.unwrap();
    }
    let mut heirs = Vec::new();
    for (shard, node) in SHARDS.map(ShardId).into_iter().zip([2, 3]) {
        let heir = Node::start(&store, NodeId(node)).await.unwrap();
        heir.bucket.seal(&BTreeSet::from([NodeId(1)]), &BTreeMap::from([(shard, Epoch(2))])).await.unwrap();
        let tail = heir.bucket.collect(&BTreeMap::from([(shard, 0)])).await.unwrap().remove(&shard).unwrap();
        heir.bucket.hold(shard, Epoch(2), tail.unwrap()).await.unwrap();
        heirs.push(heir);
    }
    let (log, settled) = (objects::log_of(NodeId(1)), SHARDS.map(|shard| (ShardId(shard), Epoch(2))).into());
    for heir in &heirs {
        assert!(heir.bucket.logs().await.unwrap().contains(&NodeId(1)));
        assert_eq!(heir.bucket.clear(NodeId(1), &settled).await.unwrap(), 0);
        assert!(!heir.bucket.logs().await.unwrap().contains(&NodeId(1)), "nothing is left to do");
    }
    for (name, _) in store.list(&log).await.unwrap() {
        let bytes = store.read(&name).await.unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"first"), "{name} still holds a record");
    }
    for shard in SHARDS {
        let refused = paused.bucket.append(one(shard, &format!("second of {shard}"))).await;
        assert!(matches!(refused, Err(WalError::Deposed { .. })), "shard {shard}: {refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_seal_says_only_what_no_seal_of_this_node_has_said() {
    let store = Store::in_memory();
    let node = Node::start(&store, NodeId(2)).await.unwrap();
    let seal = async |shards: &[(u64, u64)]| {
        let shards = shards.iter().map(|(shard, epoch)| (ShardId(*shard), Epoch(*epoch))).collect();
        let sealed = node.bucket.seal(&BTreeSet::from(NODES), &shards).await;
        let log = store.list(&objects::log_of(NodeId(1))).await;
        sealed.map(|()| log.unwrap())
    };
    store.fail(Faults { count: 1, below: "wal/", ..Faults::default() });
    assert!(seal(&[(1, 2)]).await.is_err());
    assert_eq!(seal(&[(1, 2)]).await.unwrap().len(), 1, "what failed is not taken for done");
    assert_eq!(seal(&[(1, 2)]).await.unwrap().len(), 1);
    let log = seal(&[(1, 2), (2, 5)]).await.unwrap();
    let [_, (newest, _)] = &log[..] else { panic!("{log:?}") };
    let bytes = store.read(newest).await.unwrap();
    let Some(Said::Seal(said)) = objects::read(&bytes, 2) else { panic!("a seal") };
    assert_eq!(said, BTreeMap::from([(ShardId(2), Epoch(5))]));
    assert_eq!(seal(&[(1, 3), (2, 5)]).await.unwrap().len(), 3, "a later epoch");
}

#[tokio::test(start_paused = true)]
async fn ids_whose_objects_go_while_another_node_takes_over_are_known_there() {
    let store = Store::in_memory();
    let mut old = Node::start(&store, NodeId(1)).await.unwrap();
    old.take_over(1, &BTreeMap::new()).await.unwrap();
    for id in ["first", "second", "third"] {
        old.bucket.append(one(1, id)).await.unwrap();
    }
    old.bucket.release(&BTreeMap::from([(ShardId(1), 1)]));
    old.bucket.oldest().await;
    assert_eq!(store.list("seen").await.unwrap().len(), 1);

    let new = Node::start(&store, NodeId(2)).await.unwrap();
    new.bucket.seal(&BTreeSet::from(NODES), &BTreeMap::from([(ShardId(1), Epoch(2))])).await.unwrap();
    // It takes a second to read an object, and in the middle of it the old owner lets another one go.
    store.traffic.lock().pause = Duration::from_secs(1);
    let left = store.list("wal").await.unwrap().len();
    let letting_go = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        old.bucket.release(&BTreeMap::from([(ShardId(1), 2)]));
        old.bucket.oldest().await;
        assert!(store.list("wal").await.unwrap().len() < left);
    };
    let wanted = BTreeMap::from([(ShardId(1), 2)]);
    let (found, ()) = futures::future::join(new.bucket.collect(&wanted), letting_go).await;
    let tail = found.unwrap().remove(&ShardId(1)).unwrap().unwrap();
    new.bucket.hold(ShardId(1), Epoch(2), tail).await.unwrap();
    for id in ["first", "second", "third"] {
        assert!(new.bucket.append(one(1, id)).await.unwrap().repeated, "{id} was taken before");
    }
}

#[tokio::test(start_paused = true)]
async fn what_many_shards_write_in_a_second_is_four_objects() {
    let store = Store::in_memory();
    let mut node = Node::start(&store, NodeId(1)).await.unwrap();
    for shard in 1..=40 {
        node.bucket.hold(ShardId(shard), Epoch(1), Tail::nothing_after(0)).await.unwrap();
    }
    let (begun, before) = (tokio::time::Instant::now(), node.bucket.puts());
    let producers = (1..=40).map(|shard| {
        let bucket = node.bucket.clone();
        async move {
            for n in 0..20 {
                bucket.append(one(shard, &format!("{shard}-{n}"))).await.unwrap();
            }
        }
    });
    futures::future::join_all(producers).await;
    let (puts, seconds) = (node.bucket.puts() - before, begun.elapsed().as_secs_f64());
    assert!(puts >= 20, "{puts}: each of a producer's batches waits for the one before");
    assert!(puts as f64 <= 1.0 + seconds / WAL_OBJECT_EVERY.as_secs_f64(), "{puts} objects in {seconds} s");
    assert_eq!(node.taken().len(), 800);
}

/// Every owner writes once more what the logs of others hold, so that an id is in more and more of them.
#[tokio::test(start_paused = true)]
async fn ids_are_there_once_however_often_a_shard_changes_hands() {
    const BATCHES: usize = 40;
    let store = Store::in_memory();
    let mut first = Node::start(&store, NodeId(1)).await.unwrap();
    first.bucket.hold(ShardId(1), Epoch(1), Tail::nothing_after(0)).await.unwrap();
    for number in 0..BATCHES {
        first.bucket.append(one(1, &number.to_string())).await.unwrap();
    }
    drop(first.taken());
    let mut nodes = [Node::start(&store, NodeId(2)).await.unwrap(), first];
    for epoch in 2..12 {
        let node = &mut nodes[epoch % 2];
        let sealed = BTreeMap::from([(ShardId(1), Epoch(epoch as u64))]);
        node.bucket.seal(&BTreeSet::from(NODES), &sealed).await.unwrap();
        let found = node.bucket.collect(&BTreeMap::from([(ShardId(1), 0)])).await.unwrap().remove(&ShardId(1)).unwrap();
        let tail = found.unwrap();
        assert_eq!((tail.batches(), tail.ids()), (BATCHES, BATCHES), "epoch {epoch}");
        node.bucket.hold(ShardId(1), Epoch(epoch as u64), tail).await.unwrap();
        drop(node.taken());
        assert!(node.bucket.append(one(1, "7")).await.unwrap().repeated, "epoch {epoch}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_holds_producers_off_and_takes_in_the_end_what_it_was_sent() {
    let store = Store::in_memory();
    let node = Node::start(&store, NodeId(1)).await.unwrap();
    let early = node.bucket.append(one(1, "early")).await.unwrap_err();
    assert_eq!((early.code(), early.verdict()), ("DMC-WAL-14", Verdict::NotNow(1)));
    node.bucket.hold(ShardId(1), Epoch(1), Tail::nothing_after(0)).await.unwrap();
    store.fail(Faults { after: 0, count: u64::MAX, is_done: false, ..Faults::default() });
    let begun = tokio::time::Instant::now();
    let doubt = node.bucket.append(one(1, "a")).await.unwrap_err();
    assert_eq!((doubt.code(), doubt.verdict()), ("DMC-WAL-13", Verdict::NotNow(5)));
    assert!(begun.elapsed() >= STORE_ACK_DEADLINE);
    let large = "x".repeat(WAL_UNSHIPPED_BYTES);
    assert!(large.len() < 2 * MAX_DECOMPRESSED_BYTES);
    let large = node.bucket.append(in_bucket(1, "b", &[large])).await.unwrap_err();
    assert_eq!(large.code(), "DMC-WAL-13", "what fits below the limit is kept");
    let behind = node.bucket.append(one(1, "c")).await.unwrap_err();
    assert_eq!((behind.code(), behind.verdict()), ("DMC-WAL-06", Verdict::NotNow(5)));
    store.fail(Faults::default());
    let again = node.bucket.append(one(1, "a")).await;
    let again = match again {
        Err(error) if error.code() == "DMC-WAL-06" => {
            node.bucket.given().await;
            node.bucket.append(one(1, "a")).await.unwrap()
        }
        again => again.unwrap(),
    };
    assert!(again.repeated && again.outcomes == [Outcome::Created { seq: 1 }], "{again:?}");
    assert_eq!(node.bucket.append(one(1, "c")).await.unwrap().outcomes, [Outcome::Created { seq: 3 }]);
}

#[tokio::test(start_paused = true)]
async fn objects_go_when_their_records_lie_in_segments_and_their_ids_stay() {
    let store = Store::in_memory();
    let mut node = Node::start(&store, NodeId(1)).await.unwrap();
    node.take_over(1, &BTreeMap::new()).await.unwrap();
    for n in 0..40 {
        node.bucket.append(one(1 + n % 2, &format!("b{n}"))).await.unwrap();
    }
    let behind = node.bucket.roll().await.unwrap();
    assert!(node.bucket.oldest().await < behind, "nothing lies in a segment yet");
    node.bucket.release(&BTreeMap::from([(ShardId(1), 20)]));
    assert!(node.bucket.oldest().await < behind, "the other shard holds them up");
    let indexed = BTreeMap::from([(ShardId(1), 20), (ShardId(2), 20)]);
    node.bucket.release(&indexed);
    assert_eq!(node.bucket.oldest().await, behind);
    assert!(!store.list("wal").await.unwrap().is_empty(), "the newest stays: its number tells what comes next");
    assert_eq!(store.list("seen").await.unwrap().len(), 1);
    node.kill();
    let mut node = Node::start(&store, NodeId(2)).await.unwrap();
    assert_eq!(node.take_over(2, &indexed).await.unwrap(), Places::new());
    for n in 0..40 {
        assert!(node.bucket.append(one(1 + n % 2, &format!("b{n}"))).await.unwrap().repeated, "batch {n} is known");
    }
    assert_eq!(node.bucket.append(one(1, "new")).await.unwrap().outcomes, [Outcome::Created { seq: 21 }]);
}

#[tokio::test(start_paused = true)]
async fn objects_go_by_and_by_and_batches_are_taken_in_between() {
    let store = Store::in_memory();
    let node = Node::start(&store, NodeId(1)).await.unwrap();
    node.bucket.hold(ShardId(1), Epoch(1), Tail::nothing_after(0)).await.unwrap();
    for n in 0..50 {
        node.bucket.append(one(1, &format!("b{n}"))).await.unwrap();
    }
    let objects = async || store.list("wal").await.unwrap().len();
    let before = objects().await;
    // Sixteen are deleted, then the store takes the batch, and then it takes nothing more.
    store.fail(Faults { after: 16 + 1, count: u64::MAX, below: "wal/", ..Faults::default() });
    node.bucket.release(&BTreeMap::from([(ShardId(1), 50)]));
    node.bucket.append(one(1, "next")).await.unwrap();
    assert_eq!(objects().await, before + 1 - 16);
    // The others go where nothing else happens, but for the last few, which are not worth their requests.
    store.fail(Faults::default());
    node.bucket.release(&BTreeMap::from([(ShardId(1), 50)]));
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(objects().await, before + 1 - 48);
    node.bucket.oldest().await;
    assert_eq!(objects().await, 1, "whoever asks for it has all deleted");
}

#[tokio::test(start_paused = true)]
async fn records_are_given_again_from_the_objects_that_hold_them() {
    let store = Store::in_memory();
    let mut node = Node::start(&store, NodeId(1)).await.unwrap();
    node.take_over(1, &BTreeMap::new()).await.unwrap();
    for n in 0..4 {
        node.bucket.append(in_bucket(1, &format!("b{n}"), &[format!("{n}a"), format!("{n}b")])).await.unwrap();
    }
    let again = node.bucket.again(ShardId(1), &(4..=7)).await.unwrap();
    let places: Vec<u64> = again.iter().flat_map(|durable| durable.first_seq..=durable.last_seq()).collect();
    assert_eq!(places, [4, 5, 6, 7]);
    assert!(matches!(node.bucket.again(ShardId(1), &(8..=9)).await, Err(WalError::Gap { expected: 9, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_some_of_what_was_accepted_is_not_taken_over() {
    let store = Store::in_memory();
    let mut node = Node::start(&store, NodeId(1)).await.unwrap();
    node.take_over(1, &BTreeMap::new()).await.unwrap();
    for n in 0..3 {
        node.bucket.append(one(1, &format!("b{n}"))).await.unwrap();
    }
    node.kill();
    let listed = store.list("wal/0000000000000001").await.unwrap();
    let (second, _) = &listed[listed.len() - 2];
    store.delete(second).await.unwrap();
    let mut node = Node::start(&store, NodeId(2)).await.unwrap();
    let refused = node.take_over(2, &BTreeMap::new()).await.unwrap_err();
    assert!(matches!(refused, WalError::Gap { shard: ShardId(1), expected: 2, found: 3 }), "{refused}");
}

#[test]
fn an_object_counts_for_the_later_of_two_days_where_the_clock_was_put_back() {
    let mut core = Core::new(NodeId(1), 1, VecDeque::new());
    let brought = Brought::of(ShardId(1), Tail::nothing_after(0), NOW.into());
    core.hold(brought, Epoch(1), NOW.into(), oneshot::channel().0);
    drop((core.take_off(), core.landed()));
    let day = Timestamp(NOW.0 + 86_400 * Timestamp::MICROS);
    for (id, at) in [("a", day), ("b", NOW)] {
        core.append(one(1, id), at.into(), oneshot::channel().0);
    }
    assert!(core.take_off());
    let (_, number, bytes) = core.object().unwrap();
    let Some(Said::Batches(at, _)) = objects::read(&bytes, number) else { panic!("batches") };
    assert_eq!(at, day);
}
