//! A shard of durability `bucket` comes to this node: other nodes' logs are sealed for it, then the store is read for what was
//! accepted of it.
//!
//! A seal is an object of the other node's log, created under its next number: whoever wrote the shard meets it with its next
//! object, however long it was away, and steps down. What was there before the seal was accepted, and nothing after it.
//! Whether a shard may come is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use domicile_proto::ids::{Epoch, NodeId, ShardId, Timestamp};
use futures::{StreamExt, TryStreamExt};

use super::errors::WalError;
use super::frame::{Entry, Written};
use super::ids::failed;
use super::objects::{self, LOGS, SEEN, Said};
use super::recover::{read_seen_file, sightings_of};
use super::seen::Sighting;
use super::shipper::Bucket;
use crate::classify::Classified;
use crate::store::StoreError;

/// What was accepted of a shard and lies in no segment of its newest manifest.
pub(crate) struct Tail {
    /// The last place that lies in a segment.
    pub(super) last_seq: u64,
    /// The place that comes next.
    pub(super) next_seq: u64,
    /// Batches in the order of their places; whether each lies in this node's own log, and when it was accepted.
    pub(super) batches: Vec<Logged>,
    /// The ids of the shard, oldest first.
    pub(super) sightings: Vec<Sighting>,
    /// Those of them that lie nowhere in the store yet.
    pub(super) fresh: Vec<Sighting>,
}

/// Where a shard of the disk ended, and its ids.
pub(crate) struct Handed {
    pub(super) last_seq: u64,
    pub(super) is_written: bool,
    pub(super) sightings: Vec<Sighting>,
}

impl Handed {
    /// The last place that was given out on the disk, or that lies in a segment.
    pub(crate) const fn last_place(&self) -> u64 {
        self.last_seq
    }

    /// Whether records were written there since the log was opened.
    pub(crate) const fn is_written(&self) -> bool {
        self.is_written
    }
}

/// A batch, with whether it lies in this node's own log, and when it was accepted.
type Logged = (bool, Timestamp, Entry<Classified>);

/// Batches and ids.
type Found = (Vec<Logged>, Vec<Sighting>);

/// What one object says of the shards that are wanted.
#[derive(Default)]
struct Part {
    batches: Vec<(Timestamp, Entry<Classified>)>,
    sightings: Vec<Sighting>,
}

impl Tail {
    /// Of a shard whose segments reach to a place and of which the logs hold nothing.
    pub(crate) const fn nothing_after(last_seq: u64) -> Self {
        let next_seq = last_seq + 1;
        Self { last_seq, next_seq, batches: Vec::new(), sightings: Vec::new(), fresh: Vec::new() }
    }

    /// With the ids that the shard had on the disk. Those that came into the store before are known from there.
    pub(crate) fn with(mut self, handed: Handed) -> Self {
        let known: HashSet<_> = self.sightings.iter().map(|known| (known.id, known.place_of())).collect();
        self.fresh = handed.sightings.into_iter().filter(|one| !known.contains(&(one.id, one.place_of()))).collect();
        self.sightings.extend(self.fresh.iter().cloned());
        self.sightings.sort_by_key(|sighting| sighting.at);
        self
    }

    /// Puts in order what the logs hold. A batch that was written into two logs, by the node that took it and by one that took
    /// the shard over, is there once.
    fn new(
        shard: ShardId,
        last_seq: u64,
        mut batches: Vec<Logged>,
        sightings: Vec<Sighting>,
    ) -> Result<Self, WalError> {
        // Of two that are the same, the one of this node's own log comes first.
        batches.sort_by_key(|(is_ours, _, entry)| (entry.first_seq, !is_ours));
        let mut tail = Self::nothing_after(last_seq);
        for (is_ours, accepted_at, entry) in batches {
            let behind = entry.first_seq + entry.records.len() as u64;
            if behind <= tail.next_seq {
                continue;
            }
            if entry.first_seq > tail.next_seq {
                return Err(WalError::Gap { shard, expected: tail.next_seq, found: entry.first_seq });
            }
            tail.next_seq = behind;
            tail.batches.push((is_ours, accepted_at, entry));
        }
        tail.sightings = once(sightings);
        Ok(tail)
    }

    /// How many ids it brings along.
    #[cfg(test)]
    pub(super) fn ids(&self) -> usize {
        self.sightings.len()
    }

    /// How many batches lie in no segment yet.
    pub(crate) fn batches(&self) -> usize {
        self.batches.len()
    }
}

impl Bucket {
    /// Seals the logs of other nodes for some shards, each from an epoch on. Once this returns no object that is created in them
    /// later counts for these shards. May be repeated: what this node has sealed since it started it does not seal again.
    ///
    /// # Errors
    /// [`WalError::Store`]; to be tried again as a whole.
    pub(crate) async fn seal(
        &self,
        nodes: &BTreeSet<NodeId>,
        shards: &BTreeMap<ShardId, Epoch>,
    ) -> Result<(), WalError> {
        for node in nodes.iter().copied().filter(|node| *node != self.node()) {
            let new = {
                let sealed = self.sealed().lock();
                let is_new = |(shard, epoch): &(&ShardId, &Epoch)| sealed.get(&(node, **shard)) < Some(epoch);
                shards.iter().filter(is_new).map(|(shard, epoch)| (*shard, *epoch)).collect::<BTreeMap<_, _>>()
            };
            if new.is_empty() {
                continue;
            }
            self.seal_log(node, &objects::seal(&new)).await?;
            self.sealed().lock().extend(new.into_iter().map(|(shard, epoch)| ((node, shard), epoch)));
        }
        Ok(())
    }

    async fn seal_log(&self, node: NodeId, content: &Bytes) -> Result<(), WalError> {
        loop {
            let number = self.newest(node).await? + 1;
            let object = objects::name(node, number);
            match self.store().create(&object, content.clone()).await {
                Err(StoreError::AlreadyThere { .. }) => match self.store().read(&object).await {
                    // The answer to an earlier try was lost.
                    Ok(found) if found == *content => {}
                    Ok(_) | Err(StoreError::Missing { .. }) => continue,
                    Err(source) => return Err(failed(&object, source)),
                },
                created => created.map_err(|source| failed(&object, source))?,
            }
            // Objects that are no longer needed are deleted, but never the newest: where there is a newer one now, the seal took
            // a number of the past.
            if self.newest(node).await? == number {
                return Ok(());
            }
        }
    }

    /// Whether a node has a log in this store: every one that ever ran with it has, for the newest object of a log stays.
    ///
    /// # Errors
    /// [`WalError::Store`].
    pub(crate) async fn has_log_of(&self, node: NodeId) -> Result<bool, WalError> {
        Ok(self.newest(node).await? > 0)
    }

    /// Number of the newest object of a node's log; 0 where there is none.
    async fn newest(&self, node: NodeId) -> Result<u64, WalError> {
        let above = objects::log_of(node);
        let listed = self.store().list(&above).await.map_err(|source| failed(&above, source))?;
        Ok(listed.iter().filter_map(|(object, _)| objects::place_of(LOGS, object)).map(|(_, n)| n).max().unwrap_or(0))
    }

    /// What the logs of all nodes hold of some shards beyond the place up to which their segments reach, and the ids of what they
    /// held before. To be called after no other node can delete any of it. A shard of which something is missing has a
    /// [`WalError::Gap`] and needs a person.
    ///
    /// # Errors
    /// [`WalError::Store`]; [`WalError::Foreign`], which needs a person.
    pub(crate) async fn collect(
        &self,
        wanted: &BTreeMap<ShardId, u64>,
    ) -> Result<BTreeMap<ShardId, Result<Tail, WalError>>, WalError> {
        // A former owner may still let objects go that lie in segments: it keeps their ids first. So what it kept is read after the
        // logs, and once more where it put two objects together meanwhile.
        let (mut parts, _) = self.read_all(LOGS, wanted).await?;
        loop {
            let (ids, is_whole) = self.read_all(SEEN, wanted).await?;
            parts.extend(ids);
            if is_whole {
                break;
            }
        }
        let last: BTreeMap<ShardId, u64> = wanted.clone();
        let sorting = self.tasks().blocking(move || sorted(parts, &last));
        sorting.await.map_err(|_| WalError::Stopped)
    }

    /// What the objects below a name say, and whether all that were listed were still there.
    async fn read_all(
        &self,
        above: &str,
        wanted: &BTreeMap<ShardId, u64>,
    ) -> Result<(Vec<(bool, Part)>, bool), WalError> {
        let listed = self.store().list(above).await.map_err(|source| failed(above, source))?;
        let wanted = Arc::new(wanted.clone());
        let reads: Vec<_> = listed
            .into_iter()
            .filter_map(|(object, _)| {
                let (node, number) = objects::place_of(above, &object)?;
                let (wanted, bucket, is_log) = (Arc::clone(&wanted), self.clone(), above == LOGS);
                Some(async move {
                    let bytes = match bucket.store().read(&object).await {
                        Err(StoreError::Missing { .. }) => return Ok(None),
                        found => found.map_err(|source| failed(&object, source))?,
                    };
                    let reading = bucket.tasks().blocking(move || {
                        if is_log { part_of(&bytes, number, &wanted) } else { ids_of(&bytes, &wanted) }
                    });
                    let part = reading.await.map_err(|_| WalError::Stopped)?;
                    part.map(|part| Some((node == bucket.node(), part))).ok_or(WalError::Foreign { file: object })
                })
            })
            .collect();
        let parts: Vec<_> = futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let is_whole = parts.iter().all(Option::is_some);
        Ok((parts.into_iter().flatten().collect(), is_whole))
    }
}

/// What all objects together say of each shard.
fn sorted(parts: Vec<(bool, Part)>, last: &BTreeMap<ShardId, u64>) -> BTreeMap<ShardId, Result<Tail, WalError>> {
    let mut found: BTreeMap<ShardId, Found> = last.keys().map(|shard| (*shard, Found::default())).collect();
    for (is_ours, part) in parts {
        for (accepted_at, entry) in part.batches {
            if let Some((batches, _)) = found.get_mut(&entry.shard) {
                batches.push((is_ours, accepted_at, entry));
            }
        }
        for sighting in part.sightings {
            if let Some((_, sightings)) = found.get_mut(&sighting.shard) {
                sightings.push(sighting);
            }
        }
    }
    let tails = found.into_iter().map(|(shard, (batches, sightings))| {
        let last_seq = last.get(&shard).copied().unwrap_or_default();
        (shard, Tail::new(shard, last_seq, batches, sightings))
    });
    tails.collect()
}

/// Each id once, oldest first. A batch lies in the log of everybody who took the shard over before it was in a segment, and its ids
/// stay where its object went; the newest says how long it is to be remembered.
fn once(mut sightings: Vec<Sighting>) -> Vec<Sighting> {
    sightings.sort_by_key(|sighting| sighting.at);
    let mut known = HashSet::new();
    let mut newest: Vec<_> = sightings.into_iter().rev().filter(|one| known.insert((one.id, one.place_of()))).collect();
    newest.reverse();
    newest
}

fn part_of(bytes: &[u8], number: u64, wanted: &BTreeMap<ShardId, u64>) -> Option<Part> {
    let mut part = Part::default();
    if let Said::Batches(at, entries) = objects::read(bytes, number)? {
        for entry in entries {
            let Some(last_seq) = wanted.get(&entry.shard) else { continue };
            part.sightings.extend(sightings_of(&entry, at));
            if entry.first_seq + entry.records.len() as u64 > last_seq + 1 {
                part.batches.push((at, reopened(entry)?));
            }
        }
    }
    Some(part)
}

fn ids_of(bytes: &[u8], wanted: &BTreeMap<ShardId, u64>) -> Option<Part> {
    let sightings = read_seen_file(bytes)?;
    // How old they are is not for the clock of this node to say.
    let is_wanted = |sighting: &Sighting| wanted.contains_key(&sighting.shard);
    Some(Part { batches: Vec::new(), sightings: sightings.into_iter().filter(is_wanted).collect() })
}

fn reopened(entry: Entry<Written<'_>>) -> Option<Entry<Classified>> {
    let Entry { tenant, stream, shard, epoch, refresh_ms, first_seq, producer, outcomes, records } = entry;
    let records = records.iter().map(Written::reopen).collect::<Option<Vec<_>>>()?;
    Some(Entry { tenant, stream, shard, epoch, refresh_ms, first_seq, producer, outcomes, records })
}

/// Objects read at once: enough to hide a round trip to a bucket.
const READS_AT_ONCE: usize = 16;
