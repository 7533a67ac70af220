//! The ids of batches and records whose objects are gone, as they lie in the region's store for as long as they are remembered.
//!
//! Decides not which objects go.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use domicile_proto::ids::{NodeId, Timestamp};

use super::errors::WalError;
use super::objects::{self, SEEN};
use super::recover::{read_seen_file, seen_file};
use super::seen::Sighting;
use crate::store::{Store, StoreError};

/// The ids of objects that are gone, as they lie in the store.
#[derive(Default)]
pub(super) struct Ids {
    /// Number of the next object.
    next: u64,
    /// Numbers, each with the time of its newest id.
    objects: VecDeque<(u64, Timestamp)>,
    /// What lies in the newest, as long as it is small and more may be put with it.
    newest: Vec<Sighting>,
}

impl Ids {
    /// What an earlier life of the node left, and the times of the ids in it.
    pub(super) async fn read(store: &Store, node: NodeId) -> Result<(Self, Vec<Timestamp>), WalError> {
        let (mut objects, mut times) = (VecDeque::new(), Vec::new());
        for name in list(store, &objects::seen_of(node)).await? {
            let Some((_, number)) = objects::place_of(SEEN, &name) else { continue };
            let bytes = store.read(&name).await.map_err(|source| failed(&name, source))?;
            let sightings = read_seen_file(&bytes).ok_or(WalError::Foreign { file: name })?;
            times.extend(sightings.iter().map(|one| one.at));
            times.dedup();
            objects.push_back((number, sightings.iter().map(|one| one.at).max().unwrap_or_default()));
        }
        let next = objects.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
        Ok((Self { next, objects, newest: Vec::new() }, times))
    }

    /// Keeps ids; those that are old enough to be forgotten go. What an interrupted call kept is kept twice, which says no more.
    pub(super) async fn keep(
        &mut self,
        store: &Store,
        node: NodeId,
        mut more: Vec<Sighting>,
        since: Timestamp,
    ) -> Result<(), WalError> {
        more.retain(|sighting| sighting.at >= since);
        if !more.is_empty() {
            let joined: Vec<Sighting> = self.newest.iter().filter(|one| one.at >= since).cloned().chain(more).collect();
            let number = self.next;
            // Whatever becomes of it, the number is used.
            self.next += 1;
            let name = objects::seen_name(node, number);
            let content = Bytes::from(seen_file(&joined.iter().collect::<Vec<_>>()));
            store.create(&name, content).await.map_err(|source| failed(&name, source))?;
            let replaced = (!self.newest.is_empty()).then(|| self.objects.pop_back()).flatten();
            self.objects.push_back((number, joined.iter().map(|one| one.at).max().unwrap_or_default()));
            self.newest = if joined.len() < IDS_TOGETHER { joined } else { Vec::new() };
            if let Some((before, _)) = replaced {
                // Left over it says nothing that is not true.
                let _ = store.delete(&objects::seen_name(node, before)).await;
            }
        }
        // One with ids of a clock that was ahead holds up no other.
        let mut at = 0;
        while let Some((number, newest)) = self.objects.get(at).copied() {
            if newest >= since {
                at += 1;
                continue;
            }
            let name = objects::seen_name(node, number);
            store.delete(&name).await.map_err(|source| failed(&name, source))?;
            if at + 1 == self.objects.len() {
                self.newest.clear();
            }
            self.objects.remove(at);
        }
        Ok(())
    }
}

/// Names of all objects below one.
pub(super) async fn list(store: &Store, above: &str) -> Result<Vec<String>, WalError> {
    let listed = store.list(above).await.map_err(|source| failed(above, source))?;
    Ok(listed.into_iter().map(|(name, _)| name).collect())
}

pub(super) fn failed(object: &str, source: StoreError) -> WalError {
    WalError::Store { object: object.to_owned(), source: Arc::new(source) }
}

/// Ids that are put together into one object, before another one is begun.
const IDS_TOGETHER: usize = 16_384;
