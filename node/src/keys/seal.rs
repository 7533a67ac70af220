//! Sealing: originals of a batch on their way into the keyring, before the write-ahead log has the batch.
//!
//! Each pair of subject and token is sealed once in a stream; a later day moves it under that day's key. What is known costs
//! nothing, and batches that wait for the writer share one flush.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domicile_proto::ids::{StreamId, TenantId};
use parking_lot::Mutex;
use redb::{ReadableTable, Table, WriteTransaction};
use zeroize::Zeroizing;

use super::errors::KeysError;
use super::known::Prints;
use super::notice::{Notice, NoticeKind};
use super::original::Original;
use super::ring::{At, Bucket, DAYS, Day, Hash, NOTICES, Place, Ring, SEALED, SUBJECTS, TOKENS, dated, undated};
use super::secret::Secret;
use super::vault::{Vault, packed};

type Keys<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// An original that is not known to be sealed.
struct Item {
    fingerprint: u128,
    place: Place,
    token: Hash,
    is_declared: bool,
    plain: Zeroizing<Vec<u8>>,
}

/// The new originals of one batch.
pub(super) struct Sealing {
    day: Day,
    items: Vec<Item>,
}

/// A batch that waits for the writer, and where it hears what became of it.
pub(super) type Waiting = (Arc<Sealing>, Arc<Mutex<Told>>);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Sealed,
}

impl Vault {
    /// Seals the originals of a batch of one stream, durably. To be called before the batch is written anywhere.
    ///
    /// # Errors
    /// [`KeysError`]: nothing of the batch may be written. [`KeysError::Expired`] and [`KeysError::OutOfReach`] pass by.
    pub(crate) fn seal(
        &self,
        tenant: TenantId,
        stream: StreamId,
        day: Day,
        originals: &[Original],
    ) -> Result<(), KeysError> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        let bucket = Bucket { tenant, stream, day };
        let mut items = self.unknown(bucket, originals);
        if items.is_empty() {
            return Ok(());
        }
        // In the order of the tables: neighbours lie on one page, which is then looked for once.
        items.sort_unstable_by_key(|item| item.place);
        let ring = self.ring.load_full();
        let mut present = Vec::new();
        {
            let sealed = ring.read()?.open_table(SEALED).at(&ring.path)?;
            let mut missing = Vec::with_capacity(items.len());
            for item in items {
                let row = sealed.get(item.place.sealed_row(&item.token).as_slice()).at(&ring.path)?;
                let is_there = row.map(|row| Ok::<_, KeysError>(undated(row.value())?.0 >= day)).transpose()?;
                if is_there == Some(true) { present.push(item.fingerprint) } else { missing.push(item) }
            }
            items = missing;
        }
        self.remember(epoch, present);
        if items.is_empty() {
            return Ok(());
        }
        self.in_contact()?;
        self.tenant_key(tenant)?;
        let fingerprints: Vec<u128> = items.iter().map(|item| item.fingerprint).collect();
        self.commit(Sealing { day, items })?;
        self.remember(epoch, fingerprints);
        Ok(())
    }

    /// Whether all of these are known to be sealed: what may still be written where [`Vault::seal`] failed.
    pub(crate) fn has_sealed(&self, tenant: TenantId, stream: StreamId, day: Day, originals: &[Original]) -> bool {
        self.unknown(Bucket { tenant, stream, day }, originals).is_empty()
    }

    /// Whether memory knows that this one is sealed: it needs to be held no longer.
    pub(crate) fn knows(&self, tenant: TenantId, stream: StreamId, day: Day, original: &Original) -> bool {
        let bucket = Bucket { tenant, stream, day };
        let fingerprint = self.fingerprints.of((bucket, original.subject, &original.token));
        self.known.lock().contains(fingerprint)
    }

    /// Those that memory does not know, each once.
    fn unknown(&self, bucket: Bucket, originals: &[Original]) -> Vec<Item> {
        let fingerprint = |original: &Original| self.fingerprints.of((bucket, original.subject, &original.token));
        let fingerprints: Vec<u128> = originals.iter().map(fingerprint).collect();
        let mut seen = Prints::default();
        let unknown: Vec<bool> = {
            let mut known = self.known.lock();
            fingerprints.iter().map(|print| !known.contains(*print) && seen.insert(*print)).collect()
        };
        let count = unknown.iter().filter(|is_unknown| **is_unknown).count();
        let wanted = originals.iter().zip(fingerprints).zip(unknown).filter(|(_, is_unknown)| *is_unknown);
        let item = |((original, fingerprint), _): ((&Original, u128), bool)| {
            let subject = self.subject_hash(bucket.tenant, original.subject, &original.token);
            Item {
                fingerprint,
                place: Place { subject, tenant: bucket.tenant, stream: bucket.stream },
                token: self.token_hash(bucket.tenant, &original.token),
                is_declared: original.subject.is_some(),
                plain: packed(&original.token, &original.text),
            }
        };
        let mut items = Vec::with_capacity(count);
        items.extend(wanted.map(item));
        items
    }

    /// Remembers what is durable, unless something was destroyed since it was looked up.
    fn remember(&self, epoch: u64, fingerprints: Vec<u128>) {
        let mut known = self.known.lock();
        if self.epoch.load(Ordering::SeqCst) == epoch {
            fingerprints.into_iter().for_each(|fingerprint| known.insert(fingerprint));
        }
    }

    /// Whoever comes to the writer first writes for all that wait; where that fails, each tries alone.
    fn commit(&self, sealing: Sealing) -> Result<(), KeysError> {
        let (sealing, told) = (Arc::new(sealing), Arc::new(Mutex::new(Told::Nothing)));
        self.waiting.lock().push((Arc::clone(&sealing), Arc::clone(&told)));
        let _writer = self.writer.lock();
        if *told.lock() == Told::Sealed {
            return Ok(());
        }
        let mut group = std::mem::take(&mut *self.waiting.lock());
        if !group.iter().any(|(waiting, _)| Arc::ptr_eq(waiting, &sealing)) {
            group.push((sealing, told));
        }
        let all: Vec<&Sealing> = group.iter().map(|(sealing, _)| sealing.as_ref()).collect();
        self.write(&all)?;
        group.iter().for_each(|(_, told)| *told.lock() = Told::Sealed);
        Ok(())
    }

    /// One transaction and one flush; the writer's lock is held.
    fn write(&self, group: &[&Sealing]) -> Result<(), KeysError> {
        let ring = self.ring.load_full();
        // A rewrite may have put another ring here, with the keys of the tenants it knew.
        let transaction = ring.write()?;
        let made = {
            let mut writing = Writing::new(&ring, &transaction)?;
            for sealing in group {
                for item in &sealing.items {
                    writing.put(item, sealing.day)?;
                }
            }
            writing.made
        };
        transaction.commit().at(&ring.path)?;
        made.into_iter().for_each(|(bucket, key)| ring.remember_day(bucket, key));
        Ok(())
    }
}

/// The tables of one transaction, and the keys it makes.
struct Writing<'t> {
    ring: &'t Ring,
    path: &'t Path,
    days: Keys<'t>,
    subjects: Keys<'t>,
    sealed: Keys<'t>,
    tokens: Keys<'t>,
    notices: Table<'t, u64, &'static [u8]>,
    made: BTreeMap<Bucket, Arc<Secret>>,
}

impl<'t> Writing<'t> {
    fn new(ring: &'t Ring, transaction: &'t WriteTransaction) -> Result<Self, KeysError> {
        let path = ring.path.as_path();
        Ok(Self {
            ring,
            path,
            days: transaction.open_table(DAYS).at(path)?,
            subjects: transaction.open_table(SUBJECTS).at(path)?,
            sealed: transaction.open_table(SEALED).at(path)?,
            tokens: transaction.open_table(TOKENS).at(path)?,
            notices: transaction.open_table(NOTICES).at(path)?,
            made: BTreeMap::new(),
        })
    }

    fn put(&mut self, item: &Item, day: Day) -> Result<(), KeysError> {
        let row = item.place.sealed_row(&item.token);
        let before = match self.sealed.get(row.as_slice()).at(self.path)? {
            Some(value) => {
                let (day, bytes) = undated(value.value())?;
                Some((day, bytes.to_vec()))
            }
            None => None,
        };
        if before.as_ref().is_some_and(|(before, _)| *before >= day) {
            return Ok(());
        }
        let key = self.subject_key(item.place, day)?;
        let bytes = match before {
            Some((_, bytes)) => bytes,
            None => key.seal(&item.plain, &item.place.sealed_label(&item.token))?,
        };
        self.sealed.insert(row.as_slice(), dated(day, &bytes).as_slice()).at(self.path)?;
        if item.is_declared {
            let row = item.place.token_row(&item.token);
            self.tokens.insert(row.as_slice(), [].as_slice()).at(self.path)?;
        }
        Ok(())
    }

    /// The key of a subject, under the key of its last day.
    fn subject_key(&mut self, place: Place, day: Day) -> Result<Secret, KeysError> {
        let does_not_open = || KeysError::DoesNotOpen { place: "the keyring" };
        let row = place.to_row();
        let before = match self.subjects.get(row.as_slice()).at(self.path)? {
            Some(value) => {
                let (day, wrapped) = undated(value.value())?;
                Some((day, wrapped.to_vec()))
            }
            None => None,
        };
        let key = match before {
            Some((before, wrapped)) => {
                let above = self.day_key(place.on(before))?.ok_or_else(does_not_open)?;
                let key = above.open_key(&wrapped, &place.label(before)).ok_or_else(does_not_open)?;
                if before >= day {
                    return Ok(key);
                }
                key
            }
            None => Secret::random()?,
        };
        let above = match self.day_key(place.on(day))? {
            Some(above) => above,
            None => self.make_day_key(place.on(day))?,
        };
        let wrapped = above.wrap(&key, &place.label(day))?;
        self.subjects.insert(row.as_slice(), dated(day, &wrapped).as_slice()).at(self.path)?;
        Ok(key)
    }

    fn day_key(&self, bucket: Bucket) -> Result<Option<Arc<Secret>>, KeysError> {
        match self.made.get(&bucket) {
            Some(key) => Ok(Some(Arc::clone(key))),
            None => self.ring.day_key(&self.days, bucket),
        }
    }

    fn make_day_key(&mut self, bucket: Bucket) -> Result<Arc<Secret>, KeysError> {
        let tenant = self.ring.tenant(bucket.tenant).ok_or_else(KeysError::expired)?;
        let (key, row) = (Arc::new(Secret::random()?), bucket.to_row());
        self.days.insert(row.as_slice(), tenant.wrap(&key, &row)?.as_slice()).at(self.path)?;
        let Bucket { tenant, stream, day } = bucket;
        let kind = Notice::of(NoticeKind::DayKeyCreated);
        let notice = Notice { tenant: Some(tenant), stream: Some(stream), day: Some(day), ..kind };
        notice.put(&mut self.notices, self.path)?;
        self.made.insert(bucket, Arc::clone(&key));
        Ok(key)
    }
}
