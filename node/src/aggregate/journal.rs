//! The release journal of a stream: numbered objects in the region's bucket, created if absent. What was released once is
//! read from here for ever, whatever machine the region runs on.
//!
//! From time to time the book is written down as a whole and what it sums up is deleted. Two nodes that both take themselves
//! for the owner cannot both write the next entry.

use bytes::Bytes;
use domicile_proto::ids::ShardId;

use super::AggregateError;
use super::book::{Book, Entry};
use crate::limits::JOURNAL_ENTRIES;
use crate::store::{Store, StoreError};

/// A book with its place in the journal.
pub(super) struct Shelf {
    pub(super) book: Book,
    shard: ShardId,
    /// Number of the last entry.
    number: u64,
    /// Number of the last entry that stands for all before it.
    whole: u64,
}

impl Shelf {
    /// Reads the journal.
    ///
    /// # Errors
    /// [`AggregateError::Journal`] where it cannot be read, [`AggregateError::Damaged`] where it is not what was written.
    pub(super) async fn open(store: &Store, shard: ShardId) -> Result<Self, AggregateError> {
        let mut objects = list(store, shard).await?;
        let whole = objects.iter().filter(|object| object.is_whole).map(|object| object.number).max().unwrap_or(0);
        objects.retain(|object| (object.number, object.is_whole) == (whole, true) || object.number > whole);
        let mut shelf = Self { book: Book::default(), shard, number: whole, whole };
        for object in objects {
            let damaged = || AggregateError::Damaged { object: object.name.clone() };
            if !object.is_whole && object.number != shelf.number + 1 {
                return Err(damaged());
            }
            let content = store.read(&object.name).await.map_err(AggregateError::Journal)?;
            let entry = serde_json::from_slice::<Entry>(&content).map_err(|_| damaged())?;
            shelf.book.apply(&entry).map_err(|_| damaged())?;
            shelf.number = object.number;
        }
        Ok(shelf)
    }

    /// Number of the newest entry.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Keeps an entry, and then takes it in. Durable once this returns.
    ///
    /// # Errors
    /// [`AggregateError::Overtaken`] where another node has written the next entry: the journal must be read again.
    pub(super) async fn keep(&mut self, store: &Store, entry: &Entry) -> Result<(), AggregateError> {
        let (name, next) = (name(self.shard, self.number + 1, false), self.number + 1);
        let mut entry = entry.clone();
        entry.cuts.iter_mut().for_each(|cut| cut.journal = next);
        write(store, &name, &entry).await?;
        // Entries that a whole one sums up are gone, so that a number that is free proves nothing by itself.
        let newer = list(store, self.shard).await?;
        if newer.iter().any(|object| object.number > next || (object.is_whole && object.number >= next)) {
            return Err(AggregateError::Overtaken);
        }
        self.number = next;
        self.book.apply(&entry).map_err(|_| AggregateError::Damaged { object: name })?;
        if self.number - self.whole >= JOURNAL_ENTRIES {
            self.sum_up(store).await?;
        }
        Ok(())
    }

    async fn sum_up(&mut self, store: &Store) -> Result<(), AggregateError> {
        write(store, &name(self.shard, self.number, true), &self.book.whole()).await?;
        self.whole = self.number;
        for object in list(store, self.shard).await? {
            if (object.number, object.is_whole) < (self.number, true) {
                // Left over, it costs a few bytes; the next whole entry deletes it.
                let _ = store.delete(&object.name).await;
            }
        }
        Ok(())
    }
}

struct Object {
    number: u64,
    is_whole: bool,
    name: String,
}

async fn write(store: &Store, name: &str, entry: &Entry) -> Result<(), AggregateError> {
    let content = serde_json::to_vec(entry).map_err(|_| AggregateError::Damaged { object: name.to_owned() })?;
    store.create(name, Bytes::from(content)).await.map_err(|error| match error {
        StoreError::AlreadyThere { .. } => AggregateError::Overtaken,
        error => AggregateError::Journal(error),
    })
}

/// The objects of a journal in the order of their numbers; of one number, the entry before what sums it up.
async fn list(store: &Store, shard: ShardId) -> Result<Vec<Object>, AggregateError> {
    let listed = store.list(&format!("{PREFIX}/{:016x}", shard.0)).await.map_err(AggregateError::Journal)?;
    let mut objects: Vec<_> = listed.into_iter().filter_map(|(name, _)| parse(name)).collect();
    objects.sort_by_key(|object| (object.number, object.is_whole));
    Ok(objects)
}

fn name(shard: ShardId, number: u64, is_whole: bool) -> String {
    format!("{PREFIX}/{:016x}/{number:010}-{}", shard.0, if is_whole { WHOLE } else { ENTRY })
}

fn parse(name: String) -> Option<Object> {
    let (number, kind) = name.rsplit('/').next()?.split_once('-')?;
    let is_whole = match kind {
        WHOLE => true,
        ENTRY => false,
        _ => return None,
    };
    Some(Object { number: number.parse().ok()?, is_whole, name })
}

const PREFIX: &str = "released";
const WHOLE: &str = "whole";
const ENTRY: &str = "entry";

#[cfg(test)]
#[path = "journal_test.rs"]
mod tests;
