//! The rewrite of the keyring: a new file with new keys, under a new version of the root; then the old root is destroyed.
//!
//! Live rows are copied, keys of tenants and of the days concerned are new, and the old file loses its name. Whoever has a
//! copy of it opens nothing with the keys of today. Each step leaves a keyring that opens: until the new file has the name the
//! old one holds, and the old root is destroyed only after that.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::ids::TenantId;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::destroy::Pending;
use super::errors::KeysError;
use super::file;
use super::notice::{Notice, NoticeKind};
use super::ring::{At, Bucket, DAYS, DRAFT, FACTS, FILE, NOTICES, PENDING, Place, RETIRE, ROOTED, Ring, Rooted};
use super::ring::{SEALED, SUBJECTS, TOKENS, dated, undated};
use super::secret::Secret;
use super::vault::Vault;

impl Vault {
    /// Rewrites the keyring where something under its keys was destroyed, or in any case with all keys new.
    pub(super) fn rewrite(&self, is_wanted: bool) -> Result<(), KeysError> {
        {
            let _writer = self.writer.lock();
            let old = self.ring.load_full();
            let pending = if is_wanted { Some(Pending::All) } else { pending(&old)? };
            if let Some(pending) = pending {
                self.fold(&old)?;
                let version = self.store.rotate()?;
                self.step("root rotated");
                let (path, draft) = (self.dir.join(FILE), self.dir.join(DRAFT));
                let next = Ring::create(&draft, &self.region)?;
                self.copy(&old, &next, &pending, version)?;
                self.step("copied");
                let renamed = std::fs::rename(&draft, &path).and_then(|()| file::sync_dir_of(&path));
                renamed.map_err(|source| file::unreadable(&path, source))?;
                self.step("renamed");
                self.ring.store(Arc::new(next.renamed(&path)));
                self.touch();
            }
        }
        self.retire()
    }

    /// Destroys the versions of the root that the keyring no longer needs.
    pub(super) fn retire(&self) -> Result<(), KeysError> {
        let _writer = self.writer.lock();
        let ring = self.ring.load_full();
        let version = {
            let facts = ring.read()?.open_table(FACTS).at(&ring.path)?;
            let row = facts.get(RETIRE).at(&ring.path)?;
            row.and_then(|row| Some(u32::from_be_bytes(row.value().try_into().ok()?)))
        };
        let Some(version) = version else { return Ok(()) };
        self.store.retire_before(version)?;
        self.step("root retired");
        let transaction = ring.write()?;
        transaction.open_table(FACTS).at(&ring.path)?.remove(RETIRE).at(&ring.path)?;
        let notice = Notice { number: Some(version.into()), ..Notice::of(NoticeKind::RootDestroyed) };
        notice.put(&mut transaction.open_table(NOTICES).at(&ring.path)?, &ring.path)?;
        transaction.commit().at(&ring.path)
    }

    fn copy(&self, old: &Arc<Ring>, next: &Ring, pending: &Pending, version: u32) -> Result<(), KeysError> {
        let transaction = next.write()?;
        let tenants = self.copy_rooted(old, next, &transaction)?;
        let days = copy_subjects(old, next, &transaction, pending)?;
        let at = next.path.as_path();
        {
            let mut table = transaction.open_table(DAYS).at(at)?;
            for (bucket, key) in &days {
                let (row, above) = (bucket.to_row(), tenants.get(&bucket.tenant));
                let above = above.ok_or(KeysError::DoesNotOpen { place: "the keyring" })?;
                table.insert(row.as_slice(), above.wrap(key, &row)?.as_slice()).at(at)?;
            }
        }
        copy_rows(old, next, &transaction, SEALED)?;
        copy_rows(old, next, &transaction, TOKENS)?;
        {
            let mut notices = transaction.open_table(NOTICES).at(at)?;
            for row in old.read()?.open_table(NOTICES).at(&old.path)?.iter().at(&old.path)? {
                let (number, notice) = row.at(&old.path)?;
                notices.insert(number.value(), notice.value()).at(at)?;
            }
            let notice = Notice { number: Some(version.into()), ..Notice::of(NoticeKind::KeyringRewritten) };
            notice.put(&mut notices, at)?;
            let mut facts = transaction.open_table(FACTS).at(at)?;
            facts.insert(RETIRE, version.to_be_bytes().as_slice()).at(at)?;
        }
        transaction.commit().at(at)?;
        *next.tenants.write() = tenants;
        days.into_iter().for_each(|(bucket, key)| next.remember_day(bucket, key));
        Ok(())
    }

    /// The keys under the root, under its new version: those of tenants new, the others the same for ever.
    fn copy_rooted(
        &self,
        old: &Arc<Ring>,
        next: &Ring,
        transaction: &WriteTransaction,
    ) -> Result<BTreeMap<TenantId, Arc<Secret>>, KeysError> {
        let mut tenants = BTreeMap::new();
        let mut table = transaction.open_table(ROOTED).at(&next.path)?;
        for (what, wrapped) in old.all_rooted()? {
            let key = match what {
                Rooted::Tenant(tenant) => {
                    // Needed in memory, for what lies under it is opened now.
                    self.tenant_key(tenant)?;
                    Secret::random()?
                }
                Rooted::Pseudonyms | Rooted::Lookup => what.open(&wrapped, self.store.as_ref(), &self.region)?,
            };
            let wrapped = what.wrap(&key, self.store.as_ref(), &self.region)?;
            table.insert(what.to_row().as_slice(), wrapped.to_row().as_slice()).at(&next.path)?;
            if let Rooted::Tenant(tenant) = what {
                tenants.insert(tenant, Arc::new(key));
            }
        }
        Ok(tenants)
    }
}

fn pending(ring: &Ring) -> Result<Option<Pending>, KeysError> {
    let facts = ring.read()?.open_table(FACTS).at(&ring.path)?;
    Ok(facts.get(PENDING).at(&ring.path)?.map(|row| Pending::from_row(row.value())))
}

/// Keys of subjects: those under a day that is concerned go under its new key. The keys of all days that are still needed.
fn copy_subjects(
    old: &Ring,
    next: &Ring,
    transaction: &WriteTransaction,
    pending: &Pending,
) -> Result<BTreeMap<Bucket, Arc<Secret>>, KeysError> {
    let does_not_open = || KeysError::DoesNotOpen { place: "the keyring" };
    let reading = old.read()?;
    let (days, subjects) = (reading.open_table(DAYS).at(&old.path)?, reading.open_table(SUBJECTS).at(&old.path)?);
    let mut copied = transaction.open_table(SUBJECTS).at(&next.path)?;
    let mut keys: BTreeMap<Bucket, Arc<Secret>> = BTreeMap::new();
    for row in subjects.iter().at(&old.path)? {
        let (row, value) = row.at(&old.path)?;
        let (place, _) = Place::from_row(row.value()).ok_or_else(does_not_open)?;
        let (day, wrapped) = undated(value.value())?;
        let bucket = place.on(day);
        let above = old.day_key(&days, bucket)?.ok_or_else(does_not_open)?;
        let is_concerned = pending.concerns(bucket);
        let new = match keys.get(&bucket) {
            Some(key) => Arc::clone(key),
            None => {
                let key = if is_concerned { Arc::new(Secret::random()?) } else { Arc::clone(&above) };
                keys.insert(bucket, Arc::clone(&key));
                key
            }
        };
        if is_concerned {
            let label = place.label(day);
            let key = above.open_key(wrapped, &label).ok_or_else(does_not_open)?;
            copied.insert(row.value(), dated(day, &new.wrap(&key, &label)?).as_slice()).at(&next.path)?;
        } else {
            copied.insert(row.value(), value.value()).at(&next.path)?;
        }
    }
    Ok(keys)
}

fn copy_rows(
    old: &Ring,
    next: &Ring,
    transaction: &WriteTransaction,
    table: TableDefinition<'static, &'static [u8], &'static [u8]>,
) -> Result<(), KeysError> {
    let mut copied = transaction.open_table(table).at(&next.path)?;
    for row in old.read()?.open_table(table).at(&old.path)?.iter().at(&old.path)? {
        let (key, value) = row.at(&old.path)?;
        copied.insert(key.value(), value.value()).at(&next.path)?;
    }
    Ok(())
}
