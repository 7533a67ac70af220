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
use redb::ReadOnlyTable;
use zeroize::Zeroizing;

use super::errors::KeysError;
use super::known::Prints;
use super::notice::{Notice, NoticeKind};
use super::original::Original;
use super::ring::{At, Bucket, DAYS, Day, Hash, NOTICES, Place, Ring, SEALED, SUBJECTS, dated, undated};
use super::secret::{Random, Secret};
use super::unfolded::{Of, Staged};
use super::vault::{Vault, packed};

type Keys = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// An original that is not known to be sealed.
struct Item {
    fingerprint: u128,
    place: Place,
    token: Hash,
    is_declared: bool,
    plain: Zeroizing<Vec<u8>>,
    /// How it was sealed on an earlier day, as the tree had it.
    before: Option<Vec<u8>>,
}

/// The new originals of one batch.
pub(super) struct Sealing {
    day: Day,
    items: Vec<Item>,
    /// Which tree was looked into, and the number of its last change then.
    ring: Arc<Ring>,
    as_of: u64,
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
        self.seal_unknown(epoch, Bucket { tenant, stream, day }, originals)?;
        // Whoever destroys empties both memories under this lock.
        let _known = self.known.lock();
        if self.epoch.load(Ordering::SeqCst) == epoch {
            self.pseudonyms.met.remember(originals.iter().filter_map(|original| original.met));
        }
        Ok(())
    }

    fn seal_unknown(&self, epoch: u64, bucket: Bucket, originals: &[Original]) -> Result<(), KeysError> {
        let Bucket { tenant, day, .. } = bucket;
        let mut items = self.unknown(bucket, originals);
        if items.is_empty() {
            return Ok(());
        }
        let ring = self.ring.load_full();
        let as_of = ring.unfolded.changes();
        let mut present = Vec::new();
        items = missing(&ring, items, day, &mut present)?;
        self.remember(epoch, present);
        if items.is_empty() {
            return Ok(());
        }
        self.in_contact()?;
        self.tenant_key(tenant)?;
        let fingerprints: Vec<u128> = items.iter().map(|item| item.fingerprint).collect();
        self.commit(Sealing { day, items, ring, as_of })?;
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
        let mut known = self.known.lock();
        let is_known = known.contains(fingerprint);
        if is_known {
            self.pseudonyms.met.remember(original.met.into_iter());
        }
        is_known
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
                before: None,
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

    /// One frame of the journal and one flush; the writer's lock is held.
    fn write(&self, group: &[&Sealing]) -> Result<(), KeysError> {
        // A rewrite may have put another ring here, with the keys of the tenants it knew.
        let ring = self.ring.load_full();
        if ring.unfolded.is_full() {
            self.fold(&ring)?;
        }
        let mut writing = Writing::new(&ring)?;
        writing.staged = Staged::expecting(group.iter().map(|sealing| sealing.items.len()).sum());
        for sealing in group {
            let is_current = Arc::ptr_eq(&sealing.ring, &ring) && sealing.as_of == ring.unfolded.changes();
            for item in &sealing.items {
                writing.put(item, sealing.day, is_current)?;
            }
        }
        let staged = writing.staged;
        ring.unfolded.keep(&ring.path, staged, self.clock.steady())
    }
}

/// Those that are not sealed on this day or a later one, in the order of the tree; fingerprints of the others are `present`.
fn missing(ring: &Ring, mut items: Vec<Item>, day: Day, present: &mut Vec<u128>) -> Result<Vec<Item>, KeysError> {
    // The journal first: what is folded meanwhile is found in the tree.
    let mut is_there = |item: &Item, value: &[u8]| {
        let is_there = undated(value)?.0 >= day;
        if is_there {
            present.push(item.fingerprint);
        }
        Ok::<_, KeysError>(is_there)
    };
    {
        let unfolded = ring.unfolded.rows.read();
        let mut missing = Vec::with_capacity(items.len());
        for item in items {
            match unfolded.find(Of::Sealed, &item.place.sealed_row(&item.token)) {
                Some(row) if is_there(&item, row)? => {}
                _ => missing.push(item),
            }
        }
        items = missing;
    }
    // In the order of the tree: neighbours lie on one page, which is then looked for once.
    items.sort_unstable_by_key(|item| item.place);
    let sealed = ring.read()?.open_table(SEALED).at(&ring.path)?;
    let mut missing = Vec::with_capacity(items.len());
    for mut item in items {
        match sealed.get(item.place.sealed_row(&item.token).as_slice()).at(&ring.path)? {
            Some(row) if is_there(&item, row.value())? => continue,
            row => item.before = row.map(|row| row.value().to_vec()),
        }
        missing.push(item);
    }
    Ok(missing)
}

/// What one group adds to the keyring.
struct Writing<'r> {
    ring: &'r Ring,
    path: &'r Path,
    // The tree as it is: only whoever holds the writer's lock changes it.
    days: Keys,
    subjects: Keys,
    sealed: Keys,
    /// Keys of days that this group made.
    made: BTreeMap<Bucket, Arc<Secret>>,
    staged: Staged,
    random: Random,
}

impl<'r> Writing<'r> {
    fn new(ring: &'r Ring) -> Result<Self, KeysError> {
        let (path, reading) = (ring.path.as_path(), ring.read()?);
        Ok(Self {
            ring,
            path,
            days: reading.open_table(DAYS).at(path)?,
            subjects: reading.open_table(SUBJECTS).at(path)?,
            sealed: reading.open_table(SEALED).at(path)?,
            made: BTreeMap::new(),
            staged: Staged::default(),
            random: Random::new(),
        })
    }

    /// `is_current` where the item knows how the tree is.
    fn put(&mut self, item: &Item, day: Day, is_current: bool) -> Result<(), KeysError> {
        let row = item.place.sealed_row(&item.token);
        let before = match self.waiting(Of::Sealed, &row) {
            Some(value) => Some(value),
            None if is_current => item.before.clone(),
            None => self.in_tree(&self.sealed, &row)?,
        };
        let before = before.as_deref().map(undated).transpose()?;
        if before.is_some_and(|(before, _)| before >= day) {
            return Ok(());
        }
        // A token that is its own subject has a key where it is sealed, and nowhere else.
        let key = self.subject_key(item.place, day, item.is_declared || before.is_some())?;
        let value = match before {
            Some((_, bytes)) => dated(day, bytes),
            None => {
                self.staged.originals += 1;
                dated(day, &key.seal_drawing(&mut self.random, &item.plain, &item.place.sealed_label(&item.token))?)
            }
        };
        self.staged.put(Of::Sealed, &row, &value);
        if item.is_declared {
            self.staged.put(Of::Tokens, &item.place.token_row(&item.token), &[]);
        }
        Ok(())
    }

    /// The key of a subject, under the key of its last day; a new one where there is none.
    fn subject_key(&mut self, place: Place, day: Day, may_exist: bool) -> Result<Secret, KeysError> {
        let does_not_open = || KeysError::DoesNotOpen { place: "the keyring" };
        let row = place.to_row();
        let before = match may_exist.then(|| self.waiting(Of::Subjects, &row)) {
            Some(Some(value)) => Some(value),
            Some(None) => self.in_tree(&self.subjects, &row)?,
            None => None,
        };
        let key = match before.as_deref().map(undated).transpose()? {
            Some((before, wrapped)) => {
                let above = self.day_key(place.on(before))?.ok_or_else(does_not_open)?;
                let key = above.open_key(wrapped, &place.label(before)).ok_or_else(does_not_open)?;
                if before >= day {
                    return Ok(key);
                }
                key
            }
            None => {
                self.staged.subjects += 1;
                Secret::drawn(&mut self.random)?
            }
        };
        let above = match self.day_key(place.on(day))? {
            Some(above) => above,
            None => self.make_day_key(place.on(day))?,
        };
        let wrapped = above.wrap_drawing(&mut self.random, &key, &place.label(day))?;
        self.staged.put(Of::Subjects, &row, &dated(day, &wrapped));
        Ok(key)
    }

    /// A row of this group or of the journal.
    fn waiting(&self, of: Of, row: &[u8]) -> Option<Vec<u8>> {
        let found = self.staged.rows.find(of, row).map(<[u8]>::to_vec);
        found.or_else(|| self.ring.unfolded.rows.read().find(of, row).map(<[u8]>::to_vec))
    }

    fn in_tree(&self, table: &Keys, row: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
        Ok(table.get(row).at(self.path)?.map(|value| value.value().to_vec()))
    }

    fn day_key(&self, bucket: Bucket) -> Result<Option<Arc<Secret>>, KeysError> {
        match self.made.get(&bucket) {
            Some(key) => Ok(Some(Arc::clone(key))),
            None => self.ring.day_key(&self.days, bucket),
        }
    }

    /// Durable before anything lies under it.
    fn make_day_key(&mut self, bucket: Bucket) -> Result<Arc<Secret>, KeysError> {
        let (ring, path) = (self.ring, self.path);
        let tenant = ring.tenant(bucket.tenant).ok_or_else(KeysError::expired)?;
        let (key, row) = (Arc::new(Secret::drawn(&mut self.random)?), bucket.to_row());
        let transaction = ring.write()?;
        {
            let wrapped = tenant.wrap_drawing(&mut self.random, &key, &row)?;
            transaction.open_table(DAYS).at(path)?.insert(row.as_slice(), wrapped.as_slice()).at(path)?;
            let Bucket { tenant, stream, day } = bucket;
            let kind = Notice::of(NoticeKind::DayKeyCreated);
            let notice = Notice { tenant: Some(tenant), stream: Some(stream), day: Some(day), ..kind };
            notice.put(&mut transaction.open_table(NOTICES).at(path)?, path)?;
        }
        transaction.commit().at(path)?;
        ring.remember_day(bucket, Arc::clone(&key));
        self.made.insert(bucket, Arc::clone(&key));
        Ok(key)
    }
}
