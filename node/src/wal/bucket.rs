//! Which batches wait for the region's store, which object they lie in, and who is told when it is there: the part of durability
//! `bucket` that decides, without a store and without waiting.
//!
//! Batches of all shards gather in one draft while the object before it is on its way. Only when an object is there are its
//! records given on and its producers answered. An object that another node took for a seal ends the shards that the seal names;
//! everything else goes into the next number.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use domicile_proto::ids::{Epoch, NodeId, ShardId, Timestamp};
use tokio::sync::oneshot;

use super::batch::{Accepted, Batch};
use super::brought::{Again, Brought, Carried};
use super::durable::Durable;
use super::errors::WalError;
use super::frame;
use super::objects;
use super::reckon::{Remembered, counts_from};
use super::seen::Sighting;
use super::stage::{Shard, Staged, into_durable, stage};
use crate::clock::Reading;
use crate::limits::WAL_UNSHIPPED_BYTES;

/// Who waits for a batch.
pub(super) type Reply = oneshot::Sender<Result<Accepted, WalError>>;

/// What waits and what lies in the store.
pub(super) struct Core {
    pub(super) node: NodeId,
    /// Number of the next object.
    next: u64,
    shards: BTreeMap<ShardId, Held>,
    /// Shards that another node took over, with the epoch from which it writes.
    deposed: BTreeMap<ShardId, Epoch>,
    open: Draft,
    flying: Option<Draft>,
    /// Objects of this log that are in the store, oldest first; seals are not among them and stay.
    kept: VecDeque<Kept>,
    /// The last place of each shard that lies in a segment in the store.
    indexed: BTreeMap<ShardId, u64>,
    /// Somebody else writes under this node's name.
    is_poisoned: bool,
    /// From when on ids are kept.
    remembered: Remembered,
    /// When the newest batch counts as accepted.
    latest: Option<Timestamp>,
}

struct Held {
    shard: Shard,
    epoch: Epoch,
}

/// An object in the making.
#[derive(Default)]
struct Draft {
    at: Timestamp,
    batches: Vec<(ShardId, Vec<u8>)>,
    given: Vec<Durable>,
    last: BTreeMap<ShardId, u64>,
    sightings: Vec<Sighting>,
    waiting: Vec<Waiting>,
    bytes: usize,
    /// An object must come of it, even an empty one.
    is_wanted: bool,
}

/// Who is told when an object is there.
pub(super) enum Waiting {
    /// The producer of a batch.
    Batch(Reply, Accepted),
    /// Whoever wants to know that all before is there.
    Barrier(oneshot::Sender<()>),
}

impl Waiting {
    /// It is there.
    pub(super) fn tell(self) {
        match self {
            Self::Batch(reply, accepted) => {
                let _ = reply.send(Ok(accepted));
            }
            Self::Barrier(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// An object of this log.
pub(super) struct Kept {
    pub(super) number: u64,
    /// Last place of each shard in it.
    pub(super) last: BTreeMap<ShardId, u64>,
    /// The ids in it.
    pub(super) sightings: Vec<Sighting>,
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.given.is_empty() && self.waiting.is_empty() && !self.is_wanted
    }

    /// Takes out everything of some shards; whose batches were in it.
    fn without(&mut self, shards: &BTreeMap<ShardId, Epoch>) -> Vec<(Reply, ShardId)> {
        self.batches.retain(|(shard, _)| !shards.contains_key(shard));
        self.given.retain(|durable| !shards.contains_key(&durable.shard));
        self.sightings.retain(|sighting| !shards.contains_key(&sighting.shard));
        self.last.retain(|shard, _| !shards.contains_key(shard));
        self.bytes = self.batches.iter().map(|(_, batch)| batch.len()).sum();
        let mut out = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Batch(reply, accepted) if shards.contains_key(&accepted.shard) => {
                    out.push((reply, accepted.shard));
                }
                other => self.waiting.push(other),
            }
        }
        out
    }
}

impl Core {
    /// A log whose objects are these; `next` is the number of the one that comes.
    pub(super) fn new(node: NodeId, next: u64, kept: VecDeque<Kept>) -> Self {
        Self {
            node,
            next,
            shards: BTreeMap::new(),
            deposed: BTreeMap::new(),
            open: Draft {
                at: Timestamp(0),
                batches: Vec::new(),
                given: Vec::new(),
                last: BTreeMap::new(),
                sightings: Vec::new(),
                waiting: Vec::new(),
                bytes: 0,
                is_wanted: false,
            },
            flying: None,
            kept,
            indexed: BTreeMap::new(),
            is_poisoned: false,
            remembered: Remembered::default(),
            latest: None,
        }
    }

    /// When what was accepted last counts as accepted.
    pub(super) const fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// Goes on behind objects of this log of which the last was accepted at `latest`.
    pub(super) fn go_on(&mut self, latest: Option<Timestamp>) {
        self.latest = latest;
    }

    /// Ids are on record, and the time by them is this, maybe that of another node.
    pub(super) fn recall(&mut self, by_record: Option<Timestamp>, now: Reading) {
        self.remembered.recall(by_record, now);
    }

    /// Ids from before are forgotten.
    pub(super) fn since(&mut self, now: Reading) -> Timestamp {
        self.remembered.since(now)
    }

    /// The epoch in which this node writes a shard.
    pub(super) fn epoch_of(&self, shard: ShardId) -> Option<Epoch> {
        self.shards.get(&shard).map(|held| held.epoch)
    }

    /// The epoch from which another node writes a shard, as its seal says.
    pub(super) fn deposed_by(&self, shard: ShardId) -> Option<Epoch> {
        self.deposed.get(&shard).copied()
    }

    /// Every shard that another node writes, as its seal says, and since which epoch.
    pub(super) fn deposed(&self) -> BTreeMap<ShardId, Epoch> {
        self.deposed.clone()
    }

    /// Shards of which something lies in the objects of this log.
    pub(super) fn mentioned(&self) -> BTreeSet<ShardId> {
        self.kept.iter().flat_map(|kept| kept.last.keys().copied()).collect()
    }

    fn unshipped(&self) -> usize {
        self.open.bytes + self.flying.as_ref().map_or(0, |flying| flying.bytes)
    }

    /// Takes a batch into the open draft. `reply` is told once the store has it, or at once why it is not taken.
    pub(super) fn append(&mut self, batch: Batch, now: Reading, reply: Reply) {
        match self.try_append(batch, now) {
            Err(refused) => drop(reply.send(Err(refused))),
            Ok((accepted, is_new)) => self.wait(Waiting::Batch(reply, accepted), is_new),
        }
    }

    fn try_append(&mut self, batch: Batch, now: Reading) -> Result<(Accepted, bool), WalError> {
        let (shard, _) = batch.stream.shard.ok_or(WalError::NoShard)?;
        let bytes = self.unshipped();
        if self.is_poisoned {
            return Err(WalError::Poisoned { dir: objects::log_of(self.node) });
        }
        let is_deposed = self.deposed.contains_key(&shard);
        let Some(held) = self.shards.get_mut(&shard) else {
            return Err(if is_deposed { WalError::Deposed { shard } } else { WalError::NotHeld { shard } });
        };
        if bytes >= WAL_UNSHIPPED_BYTES {
            return Err(WalError::StoreBehind { bytes });
        }
        self.remembered.note(now);
        let at = counts_from(self.latest, now.wall);
        let staged = stage(&mut held.shard, (shard, held.epoch), batch, (at, now), &mut self.open.sightings)?;
        let is_new = staged.is_new();
        let Staged { entry, accepted } = staged;
        if is_new {
            // Of two days the later one, where the clock was put back: nothing of the object goes early.
            self.open.at = self.open.at.max(at);
            self.latest = Some(at);
            let mut written =
                Vec::with_capacity(256 + entry.records.iter().map(|r| r.json().len() + 64).sum::<usize>());
            frame::put_entry(&mut written, &entry);
            self.open.bytes += written.len();
            self.open.batches.push((shard, written));
            if let Some(durable) = into_durable(entry, at) {
                self.open.last.insert(shard, durable.last_seq());
                self.open.given.push(durable);
            }
        }
        Ok((accepted, is_new))
    }

    /// Told with the open draft, or with the object that is on its way where nothing is newer; at once where all is there.
    fn wait(&mut self, waiting: Waiting, is_new: bool) {
        match &mut self.flying {
            _ if is_new || !self.open.is_empty() => self.open.waiting.push(waiting),
            Some(flying) => flying.waiting.push(waiting),
            None => waiting.tell(),
        }
    }

    /// Tells when everything before is in the store.
    pub(super) fn barrier(&mut self, done: oneshot::Sender<()>) {
        self.wait(Waiting::Barrier(done), false);
    }

    /// An object that holds nothing, so that those before it may go. Its number at the earliest.
    pub(super) fn roll(&mut self, now: Reading, done: oneshot::Sender<()>) -> u64 {
        self.open.at = self.open.at.max(counts_from(self.latest, now.wall));
        self.open.is_wanted = true;
        self.open.waiting.push(Waiting::Barrier(done));
        self.next + u64::from(self.flying.is_some())
    }

    /// Begins to write a shard after what a manifest and the logs say was accepted. What lies in logs of other nodes is written
    /// here once more, and what lies in no segment yet is given on; `done` is told when both is so.
    pub(super) fn hold(&mut self, brought: Brought, epoch: Epoch, now: Reading, done: oneshot::Sender<()>) {
        let Brought { shard, held, last_seq, by_record, batches } = brought;
        self.recall(by_record, now);
        self.open.at = self.open.at.max(counts_from(self.latest, now.wall));
        for Carried { again, durable } in batches {
            let last = durable.as_ref().map(Durable::last_seq);
            if let Some(Again { written, accepted_at, sightings }) = again {
                self.open.bytes += written.len();
                // The clock of the node that took it may be ahead of this one's.
                self.open.at = self.open.at.max(counts_from(Some(accepted_at), now.wall));
                self.open.batches.push((shard, written));
                self.open.sightings.extend(sightings);
                self.open.last.extend(last.map(|last| (shard, last)));
            }
            self.open.given.extend(durable);
        }
        self.latest = self.latest.max(Some(self.open.at));
        self.indexed.insert(shard, last_seq);
        self.deposed.remove(&shard);
        self.shards.insert(shard, Held { shard: held, epoch });
        self.wait(Waiting::Barrier(done), true);
    }

    /// Ends a shard: nothing of it is taken any more. What is on its way goes on.
    pub(super) fn end(&mut self, shard: ShardId, by: Epoch) {
        self.shards.remove(&shard);
        self.deposed.insert(shard, by);
    }

    /// Whether there is something to do.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.flying.is_none()
    }

    /// Closes the draft; `true` where it needs an object.
    pub(super) fn take_off(&mut self) -> bool {
        if self.flying.is_none() && !self.open.is_empty() {
            self.flying = Some(std::mem::take(&mut self.open));
        }
        self.flying.as_ref().is_some_and(|flying| flying.is_wanted || !flying.batches.is_empty())
    }

    /// Whether the open draft needs an object.
    pub(super) fn needs_object(&self) -> bool {
        self.open.is_wanted || !self.open.batches.is_empty()
    }

    /// Name, number and bytes of the object that is on its way; nothing where a seal left nothing of it.
    pub(super) fn object(&self) -> Option<(String, u64, Bytes)> {
        let flying = self.flying.as_ref().filter(|flying| flying.is_wanted || !flying.batches.is_empty())?;
        let bytes = objects::object(self.next, flying.at, flying.batches.iter().map(|(_, batch)| batch.as_slice()))?;
        Some((objects::name(self.node, self.next), self.next, bytes))
    }

    /// The object is there, or none was needed: what is given on, and who is told.
    pub(super) fn landed(&mut self) -> (Vec<Durable>, Vec<Waiting>) {
        let Some(flying) = self.flying.take() else { return (Vec::new(), Vec::new()) };
        if flying.is_wanted || !flying.batches.is_empty() {
            self.kept.push_back(Kept { number: self.next, last: flying.last, sightings: flying.sightings });
            self.next += 1;
        }
        (flying.given, flying.waiting)
    }

    /// Another node took the number for a seal: this one writes those shards no more.
    pub(super) fn sealed(&mut self, shards: &BTreeMap<ShardId, Epoch>) {
        self.next += 1;
        let is_newer = |(shard, epoch): (&ShardId, &Epoch)| {
            let ends = self.shards.get(shard).is_none_or(|held| held.epoch < *epoch);
            ends.then_some((*shard, *epoch))
        };
        let ended: BTreeMap<ShardId, Epoch> = shards.iter().filter_map(is_newer).collect();
        #[cfg(feature = "jepsen-bugs")]
        let ended = if crate::bugs::is_seeded("no-fence") { BTreeMap::new() } else { ended };
        for (shard, epoch) in &ended {
            self.end(*shard, *epoch);
        }
        let mut out = self.open.without(&ended);
        out.extend(self.flying.as_mut().map(|flying| flying.without(&ended)).unwrap_or_default());
        for (reply, shard) in out {
            let _ = reply.send(Err(WalError::Deposed { shard }));
        }
    }

    /// Somebody else wrote an object of this log that is no seal: nothing more is taken before a restart.
    pub(super) fn poison(&mut self) {
        self.is_poisoned = true;
        let drafts = [Some(std::mem::take(&mut self.open)), self.flying.take()];
        for waiting in drafts.into_iter().flatten().flat_map(|draft| draft.waiting) {
            if let Waiting::Batch(reply, _) = waiting {
                let _ = reply.send(Err(WalError::Poisoned { dir: objects::log_of(self.node) }));
            }
        }
    }

    pub(super) const fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Says up to which place shards lie in segments that are in the store.
    pub(super) fn release(&mut self, durable: &BTreeMap<ShardId, u64>) {
        for (shard, last) in durable.iter().filter(|(shard, _)| self.shards.contains_key(shard)) {
            let known = self.indexed.entry(*shard).or_default();
            *known = (*known).max(*last);
        }
    }

    /// Everything of a shard that lies in this log lies elsewhere as well: its new owner has it.
    pub(super) fn forget(&mut self, shard: ShardId) {
        if !self.shards.contains_key(&shard) {
            self.indexed.insert(shard, u64::MAX);
        }
    }

    /// Shards that hold up objects and are not written here any more.
    pub(super) fn held_up(&self) -> BTreeSet<ShardId> {
        let is_open = |shard: &ShardId| !self.shards.contains_key(shard) && self.indexed.get(shard) != Some(&u64::MAX);
        self.mentioned().into_iter().filter(is_open).collect()
    }

    /// The oldest objects that are no longer needed, so many at most: their numbers, and their ids. The newest object of a log always
    /// stays, so that nobody takes a number of the past for the next one.
    pub(super) fn releasable(&self, most: usize) -> (Vec<u64>, Vec<Sighting>) {
        let is_done = |kept: &&Kept| {
            let lies = |(shard, last): (&ShardId, &u64)| self.indexed.get(shard) >= Some(last);
            kept.number + 1 < self.next && kept.last.iter().all(lies)
        };
        let gone: Vec<&Kept> = self.kept.iter().take_while(is_done).take(most).collect();
        let numbers = gone.iter().map(|kept| kept.number).collect();
        (numbers, gone.iter().flat_map(|kept| kept.sightings.iter().cloned()).collect())
    }

    /// They are gone.
    pub(super) fn dropped(&mut self, numbers: &[u64]) {
        self.kept.retain(|kept| !numbers.contains(&kept.number));
    }

    /// Number of the oldest object, or of the next one.
    pub(super) fn oldest(&self) -> u64 {
        self.kept.front().map_or(self.next, |kept| kept.number)
    }

    /// Numbers of the objects that hold records of a shard from a place on.
    pub(super) fn holding(&self, shard: ShardId, from: u64) -> Vec<u64> {
        let holds = |kept: &&Kept| kept.last.get(&shard).is_some_and(|last| *last >= from);
        self.kept.iter().filter(holds).map(|kept| kept.number).collect()
    }
}
