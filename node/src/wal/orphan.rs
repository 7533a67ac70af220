//! The log of a node that is gone for good: closed, and emptied of what the new owners of its shards have.
//!
//! Its own node deletes what it needs no more; nobody does once that node is none of the region's. Whose log it is decides the caller.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use domicile_proto::ids::{Epoch, NodeId, ShardId};
use futures::future::try_join_all;

use super::errors::WalError;
use super::ids::{failed, list};
use super::objects::{self, LOGS, Said};
use super::recover::sightings_of;
use super::shipper::Bucket;
use crate::store::StoreError;

impl Bucket {
    /// Nodes whose logs hold more in the store than one object, and more than this node left of them.
    ///
    /// # Errors
    /// [`WalError::Store`].
    pub(crate) async fn logs(&self) -> Result<BTreeSet<NodeId>, WalError> {
        let mut objects: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for name in list(self.store(), LOGS).await? {
            if let Some((node, number)) = objects::place_of(LOGS, &name) {
                objects.entry(node).or_default().push(number);
            }
        }
        let emptied = self.emptied().lock();
        let is_open = |(node, numbers): &(NodeId, Vec<u64>)| numbers.len() > 1 && emptied.get(node) != Some(numbers);
        Ok(objects.into_iter().filter(is_open).map(|(node, _)| node).collect())
    }

    /// Closes the log of a node that is gone with an empty seal where none closes it, and deletes its objects, oldest first, as far as
    /// every shard in them is another's by now: `settled` names the epoch from which on a shard's new owner has written all before
    /// into its own log. Their ids are kept. How many objects are left beside those that close it.
    ///
    /// The seals at its end all stay, for the node may not be gone but paused: it goes on behind the last object it wrote, and has to
    /// meet each of them.
    ///
    /// # Errors
    /// [`WalError::Store`]; [`WalError::Foreign`], which needs a person.
    pub(crate) async fn clear(&self, node: NodeId, settled: &BTreeMap<ShardId, Epoch>) -> Result<usize, WalError> {
        let names = list(self.store(), &objects::log_of(node)).await?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| objects::place_of(LOGS, name)).map(|(_, number)| number).collect();
        numbers.sort_unstable();
        let Some(newest) = numbers.last().copied() else { return Ok(0) };
        let mut seals = numbers.split_off(numbers.len().saturating_sub(self.seals_at_the_end(node, &numbers).await?));
        if seals.is_empty() {
            let name = objects::name(node, newest + 1);
            match self.store().create(&name, objects::seal(&BTreeMap::new())).await {
                // Another node was faster, or this one is not gone: the next call sees it.
                Err(StoreError::AlreadyThere { .. }) => return Ok(numbers.len()),
                created => created.map_err(|source| failed(&name, source))?,
            }
            seals.push(newest + 1);
        }
        let mut left = numbers.len();
        for number in numbers {
            let name = objects::name(node, number);
            let bytes = match self.store().read(&name).await {
                Err(StoreError::Missing { .. }) => Bytes::new(),
                read => read.map_err(|source| failed(&name, source))?,
            };
            if !bytes.is_empty() {
                let said = objects::read(&bytes, number).ok_or_else(|| WalError::Foreign { file: name.clone() })?;
                if let Said::Batches(at, entries) = said {
                    let is_elsewhere =
                        |shard: ShardId, epoch: Epoch| settled.get(&shard).is_some_and(|since| *since > epoch);
                    if !entries.iter().all(|entry| is_elsewhere(entry.shard, entry.epoch)) {
                        return Ok(left);
                    }
                    self.keep_ids(entries.iter().flat_map(|entry| sightings_of(entry, at)).collect()).await?;
                }
                self.store().delete(&name).await.map_err(|source| failed(&name, source))?;
            }
            left -= 1;
        }
        self.emptied().lock().insert(node, seals);
        Ok(0)
    }

    async fn seals_at_the_end(&self, node: NodeId, numbers: &[u64]) -> Result<usize, WalError> {
        let mut count = 0;
        for some in numbers.rchunks(READS_AT_ONCE) {
            let are_seals = try_join_all(some.iter().map(|number| self.is_seal(node, *number))).await?;
            let seals = are_seals.iter().rev().take_while(|is_seal| **is_seal).count();
            count += seals;
            if seals < some.len() {
                break;
            }
        }
        Ok(count)
    }

    async fn is_seal(&self, node: NodeId, number: u64) -> Result<bool, WalError> {
        let name = objects::name(node, number);
        match self.store().read(&name).await {
            Err(StoreError::Missing { .. }) => Ok(false),
            read => {
                let bytes = read.map_err(|source| failed(&name, source))?;
                let said = objects::read(&bytes, number).ok_or(WalError::Foreign { file: name })?;
                Ok(matches!(said, Said::Seal(_)))
            }
        }
    }
}

/// Objects read at once.
const READS_AT_ONCE: usize = 16;
