//! The log of a node that is gone for good: closed, and emptied of what the new owners of its shards have.
//!
//! Its own node deletes what it needs no more; nobody does once that node is none of the region's. Whose log it is decides the caller.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use domicile_proto::ids::{Epoch, NodeId, ShardId};

use super::errors::WalError;
use super::ids::{failed, list};
use super::objects::{self, LOGS, Said};
use super::recover::sightings_of;
use super::shipper::Bucket;
use crate::store::StoreError;

impl Bucket {
    /// Nodes whose logs hold more in the store than the one object that closes them.
    ///
    /// # Errors
    /// [`WalError::Store`].
    pub(crate) async fn logs(&self) -> Result<BTreeSet<NodeId>, WalError> {
        let mut objects: BTreeMap<NodeId, usize> = BTreeMap::new();
        for name in list(self.store(), LOGS).await? {
            if let Some((node, _)) = objects::place_of(LOGS, &name) {
                *objects.entry(node).or_default() += 1;
            }
        }
        Ok(objects.into_iter().filter(|(_, count)| *count > 1).map(|(node, _)| node).collect())
    }

    /// Closes the log of a node that is gone with an empty seal, and deletes its objects, oldest first, as far as every shard in them
    /// is another's by now: `settled` names the epoch from which on a shard's new owner has written all before into its own
    /// log. Their ids are kept. How many objects are left beside the one that closes it.
    ///
    /// # Errors
    /// [`WalError::Store`]; [`WalError::Foreign`], which needs a person.
    pub(crate) async fn clear(&self, node: NodeId, settled: &BTreeMap<ShardId, Epoch>) -> Result<usize, WalError> {
        let names = list(self.store(), &objects::log_of(node)).await?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| objects::place_of(LOGS, name)).map(|(_, number)| number).collect();
        numbers.sort_unstable();
        let Some(newest) = numbers.last().copied() else { return Ok(0) };
        if !self.is_seal(node, newest).await? {
            let name = objects::name(node, newest + 1);
            match self.store().create(&name, objects::seal(&BTreeMap::new())).await {
                // Another node was faster, or this one is not gone: the next call sees it.
                Err(StoreError::AlreadyThere { .. }) => return Ok(numbers.len()),
                created => created.map_err(|source| failed(&name, source))?,
            }
            numbers.push(newest + 1);
        }
        numbers.pop();
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
        Ok(0)
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
