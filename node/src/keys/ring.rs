//! The keyring: one file (redb) with every key of the region below the root, wrapped, and the sealed originals.
//!
//! Rows are found by keyed hashes, so the file says neither who is in it nor how a value reads. This file knows the tables and
//! how keys are bound to their places; what is put in, taken out or rewritten is decided beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domicile_proto::ids::{Region, StreamId, TenantId, Timestamp};
use parking_lot::RwLock;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::errors::KeysError;
use super::file;
use super::journal::Number;
use super::root::{KeyStore, OpenedKey, WrappableKey, Wrapped};
use super::secret::Secret;
use super::unfolded::{Unfolded, number};
use crate::limits::{KEYRING_CACHE_BYTES, KEYRING_DAY_KEYS};

type Rows<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// Facts about the file itself.
pub(super) const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
/// Keys under the root, by what they are for.
pub(super) const ROOTED: Rows<'_> = TableDefinition::new("rooted");
/// Keys of streams and days under the key of their tenant, by [`Bucket`].
pub(super) const DAYS: Rows<'_> = TableDefinition::new("days");
/// Keys of subjects by [`Place`]: the day, then the key under that day's.
pub(super) const SUBJECTS: Rows<'_> = TableDefinition::new("subjects");
/// Originals by place and token: the day of the last sight, then the original under the subject's key.
pub(super) const SEALED: Rows<'_> = TableDefinition::new("sealed");
/// Where a token of a declared subject lies: token, then place.
pub(super) const TOKENS: Rows<'_> = TableDefinition::new("tokens");
/// What the ledger is still to be told.
pub(super) const NOTICES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("notices");

/// The keyed hash of a subject or of a token.
pub(super) type Hash = [u8; 16];

/// A day of a region's clock, counted from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Day(pub(crate) u32);

impl Day {
    /// The day of a moment.
    pub(crate) fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0.div_euclid(86_400_000_000)).unwrap_or(0))
    }
}

/// One day of one stream: what has one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bucket {
    pub(crate) tenant: TenantId,
    pub(crate) stream: StreamId,
    pub(crate) day: Day,
}

/// Where the key of a subject lies: one for each stream it was seen in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) subject: Hash,
    pub(super) tenant: TenantId,
    pub(super) stream: StreamId,
}

impl Bucket {
    pub(super) fn to_row(self) -> [u8; 12] {
        joined(&[&self.tenant.0.to_be_bytes(), &self.stream.0.to_be_bytes(), &self.day.0.to_be_bytes()])
    }

    pub(super) fn from_row(row: &[u8]) -> Option<Self> {
        let (tenant, row) = row.split_first_chunk()?;
        let (stream, row) = row.split_first_chunk()?;
        Some(Self {
            tenant: TenantId(u32::from_be_bytes(*tenant)),
            stream: StreamId(u32::from_be_bytes(*stream)),
            day: Day(u32::from_be_bytes(row.try_into().ok()?)),
        })
    }
}

impl Place {
    pub(super) fn to_row(self) -> [u8; 24] {
        joined(&[&self.subject, &self.tenant.0.to_be_bytes(), &self.stream.0.to_be_bytes()])
    }

    /// The place, and what follows it in the row.
    pub(super) fn from_row(row: &[u8]) -> Option<(Self, &[u8])> {
        let (subject, row) = row.split_first_chunk()?;
        let (tenant, row) = row.split_first_chunk()?;
        let (stream, row) = row.split_first_chunk()?;
        let (tenant, stream) = (TenantId(u32::from_be_bytes(*tenant)), StreamId(u32::from_be_bytes(*stream)));
        Some((Self { subject: *subject, tenant, stream }, row))
    }

    /// Where an original of this place lies.
    pub(super) fn sealed_row(self, token: &Hash) -> [u8; 40] {
        joined(&[&self.to_row(), token])
    }

    /// What binds an original to its tenant, stream and token.
    pub(super) fn sealed_label(self, token: &Hash) -> [u8; 24] {
        joined(&[&self.tenant.0.to_be_bytes(), &self.stream.0.to_be_bytes(), token])
    }

    /// How the place is found by the token.
    pub(super) fn token_row(self, token: &Hash) -> [u8; 40] {
        joined(&[token, &self.to_row()])
    }

    pub(super) const fn on(self, day: Day) -> Bucket {
        Bucket { tenant: self.tenant, stream: self.stream, day }
    }

    /// What binds a subject's key to its place and day.
    pub(super) fn label(self, day: Day) -> [u8; 28] {
        joined(&[&self.to_row(), &day.0.to_be_bytes()])
    }
}

/// Parts one behind another, on the stack: rows and labels are made for every value that is sealed.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut whole = [0; N];
    let mut at = 0;
    for part in parts {
        if let Some(room) = whole.get_mut(at..at + part.len()) {
            room.copy_from_slice(part);
        }
        at += part.len();
    }
    debug_assert_eq!(at, N, "the parts are as long as the whole");
    whole
}

/// A day, then bytes: the form of the rows of subjects and originals.
pub(super) fn dated(day: Day, bytes: &[u8]) -> Vec<u8> {
    [&day.0.to_be_bytes()[..], bytes].concat()
}

/// The halves of a dated row.
pub(super) fn undated(row: &[u8]) -> Result<(Day, &[u8]), KeysError> {
    let (day, bytes) = row.split_first_chunk().ok_or(KeysError::DoesNotOpen { place: "the keyring" })?;
    Ok((Day(u32::from_be_bytes(*day)), bytes))
}

/// What a key directly under the root is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rooted {
    /// The root of all pseudonyms.
    Pseudonyms,
    /// The key of the hashes that rows are found by.
    Lookup,
    /// The key of a tenant.
    Tenant(TenantId),
}

impl Rooted {
    pub(super) fn to_row(self) -> Vec<u8> {
        match self {
            Self::Pseudonyms => b"pseudonyms".to_vec(),
            Self::Lookup => b"lookup".to_vec(),
            Self::Tenant(tenant) => [&b"tenant"[..], &tenant.0.to_be_bytes()].concat(),
        }
    }

    pub(super) fn from_row(row: &[u8]) -> Option<Self> {
        match row {
            b"pseudonyms" => Some(Self::Pseudonyms),
            b"lookup" => Some(Self::Lookup),
            _ => Some(Self::Tenant(TenantId(u32::from_be_bytes(row.strip_prefix(b"tenant")?.try_into().ok()?)))),
        }
    }

    pub(super) fn label(self, region: &Region) -> Vec<u8> {
        [b"domicile/keyring/1\0", region.as_str().as_bytes(), b"\0", &self.to_row()].concat()
    }

    pub(super) fn wrap(self, key: &Secret, store: &dyn KeyStore, region: &Region) -> Result<Wrapped, KeysError> {
        store.wrap(&WrappableKey(key), &self.label(region))
    }

    pub(super) fn open(self, wrapped: &Wrapped, store: &dyn KeyStore, region: &Region) -> Result<Secret, KeysError> {
        let OpenedKey(key) = store.open(wrapped, &self.label(region))?;
        Ok(key)
    }
}

/// An open keyring file with the keys that were unwrapped. A rewrite makes another one.
pub(super) struct Ring {
    pub(super) path: PathBuf,
    database: Database,
    /// Rows of subjects, originals and tokens that the tables lack.
    pub(super) unfolded: Unfolded,
    pub(super) tenants: RwLock<BTreeMap<TenantId, Arc<Secret>>>,
    days: RwLock<BTreeMap<Bucket, Arc<Secret>>>,
}

/// Says of a failure of the database which file it concerns.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, KeysError>;
}

impl<T, E: Into<redb::Error>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, KeysError> {
        self.map_err(|error| KeysError::Keyring { path: path.to_owned(), source: Box::new(error.into()) })
    }
}

impl Ring {
    /// A new and empty file, in the place of any that is there.
    pub(super) fn create(path: &Path, region: &Region) -> Result<Self, KeysError> {
        let file = file::create(path).map_err(|source| file::unreadable(path, source))?;
        let journal = number()?;
        let ring = Self::over(path, builder().create_file(file).at(path)?, Unfolded::new(journal));
        let transaction = ring.write()?;
        {
            let mut facts = transaction.open_table(FACTS).at(path)?;
            facts.insert(FORMAT, FORMAT_VERSION).at(path)?;
            facts.insert(JOURNAL, journal.as_slice()).at(path)?;
            facts.insert(REGION, region.as_str().as_bytes()).at(path)?;
            for table in [ROOTED, DAYS, SUBJECTS, SEALED, TOKENS] {
                transaction.open_table(table).at(path)?;
            }
            transaction.open_table(NOTICES).at(path)?;
        }
        transaction.commit().at(path)?;
        Ok(ring)
    }

    /// The file that is there, with what its journal holds beyond it.
    pub(super) fn open(path: &Path, region: &Region) -> Result<Self, KeysError> {
        let mut ring = Self::over(path, builder().open(path).at(path)?, Unfolded::new(Number::default()));
        let not_ours = |found| KeysError::NotOurs { path: path.to_owned(), found };
        let number = {
            let facts = ring.read()?.open_table(FACTS).map_err(|_| not_ours("it is no keyring"))?;
            let format = facts.get(FORMAT).at(path)?;
            let is_known = |format: &[u8]| format == FORMAT_VERSION || format == BEFORE_JOURNALS;
            if !format.is_some_and(|format| is_known(format.value())) {
                return Err(not_ours("another version of this program made it"));
            }
            if facts.get(REGION).at(path)?.is_none_or(|found| found.value() != region.as_str().as_bytes()) {
                return Err(not_ours("it is another region's"));
            }
            facts.get(JOURNAL).at(path)?.and_then(|number| number.value().try_into().ok())
        };
        match number {
            Some(number) => ring.unfolded = Unfolded::recovered(path, number)?,
            None => ring.have_journals()?,
        }
        if !ring.unfolded.is_empty() {
            ring.fold()?;
        }
        ring.end_journal();
        Ok(ring)
    }

    /// A keyring of the time when every row went into the tree at once has a journal from now on.
    fn have_journals(&mut self) -> Result<(), KeysError> {
        let number = number()?;
        let transaction = self.write()?;
        {
            let mut facts = transaction.open_table(FACTS).at(&self.path)?;
            facts.insert(FORMAT, FORMAT_VERSION).at(&self.path)?;
            facts.insert(JOURNAL, number.as_slice()).at(&self.path)?;
        }
        transaction.commit().at(&self.path)?;
        self.unfolded = Unfolded::new(number);
        Ok(())
    }

    fn over(path: &Path, database: Database, unfolded: Unfolded) -> Self {
        Self { path: path.to_owned(), database, unfolded, tenants: RwLock::default(), days: RwLock::default() }
    }

    /// The same file under another name.
    pub(super) fn renamed(self, path: &Path) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    pub(super) fn read(&self) -> Result<ReadTransaction, KeysError> {
        self.database.begin_read().at(&self.path)
    }

    /// Durable once it is committed.
    pub(super) fn write(&self) -> Result<WriteTransaction, KeysError> {
        self.database.begin_write().at(&self.path)
    }

    /// A key under the root as it lies in the file.
    pub(super) fn rooted(&self, what: Rooted) -> Result<Option<Wrapped>, KeysError> {
        let table = self.read()?.open_table(ROOTED).at(&self.path)?;
        let row = table.get(what.to_row().as_slice()).at(&self.path)?;
        row.map(|row| Wrapped::from_row(row.value()).ok_or(KeysError::DoesNotOpen { place: "the keyring" })).transpose()
    }

    /// All keys under the root.
    pub(super) fn all_rooted(&self) -> Result<Vec<(Rooted, Wrapped)>, KeysError> {
        let table = self.read()?.open_table(ROOTED).at(&self.path)?;
        let mut all = Vec::new();
        for row in table.iter().at(&self.path)? {
            let (key, value) = row.at(&self.path)?;
            let read = Rooted::from_row(key.value()).zip(Wrapped::from_row(value.value()));
            all.push(read.ok_or(KeysError::DoesNotOpen { place: "the keyring" })?);
        }
        Ok(all)
    }

    /// The key of a tenant, where it was unwrapped.
    pub(super) fn tenant(&self, tenant: TenantId) -> Option<Arc<Secret>> {
        self.tenants.read().get(&tenant).cloned()
    }

    /// The key of a day that was unwrapped, or unwraps it out of the rows; `None` where there is none.
    pub(super) fn day_key(
        &self,
        days: &impl ReadableTable<&'static [u8], &'static [u8]>,
        bucket: Bucket,
    ) -> Result<Option<Arc<Secret>>, KeysError> {
        if let Some(key) = self.days.read().get(&bucket) {
            return Ok(Some(Arc::clone(key)));
        }
        let row = bucket.to_row();
        let Some(wrapped) = days.get(row.as_slice()).at(&self.path)? else { return Ok(None) };
        let tenant = self.tenant(bucket.tenant).ok_or_else(KeysError::expired)?;
        let key = tenant.open_key(wrapped.value(), &row).ok_or(KeysError::DoesNotOpen { place: "the keyring" })?;
        let key = Arc::new(key);
        self.remember_day(bucket, Arc::clone(&key));
        Ok(Some(key))
    }

    /// Keeps an unwrapped key of a day in memory; only ever one that is durable.
    pub(super) fn remember_day(&self, bucket: Bucket, key: Arc<Secret>) {
        let mut days = self.days.write();
        if days.len() >= KEYRING_DAY_KEYS {
            days.clear();
        }
        days.insert(bucket, key);
    }

    /// Forgets every key that was unwrapped.
    pub(super) fn forget_keys(&self) {
        self.tenants.write().clear();
        self.days.write().clear();
    }
}

/// A row as it stands in a table: key and value.
type Bytes = (Vec<u8>, Vec<u8>);

/// The rows whose key begins with `prefix`, in order.
pub(super) fn under(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
    path: &Path,
) -> Result<Vec<Bytes>, KeysError> {
    let mut found = Vec::new();
    for row in table.range::<&[u8]>(prefix..).at(path)? {
        let (key, value) = row.at(path)?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(found)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(KEYRING_CACHE_BYTES);
    builder
}

/// Name of the file.
pub(super) const FILE: &str = "keyring.redb";
/// A rewrite on its way to that name.
pub(super) const DRAFT: &str = "keyring.next";
const FORMAT: &str = "format";
const REGION: &str = "region";
/// The layout this build reads and writes.
const FORMAT_VERSION: &[u8] = &[2];
/// The layout of a file without a journal beside it, which this build reads as well.
const BEFORE_JOURNALS: &[u8] = &[1];
/// The number of the journal whose rows the tables lack.
pub(super) const JOURNAL: &str = "journal";
/// Days of streams whose keys must be replaced, because something under them was destroyed.
pub(super) const PENDING: &str = "pending";
/// The version of the root whose predecessors are to be destroyed.
pub(super) const RETIRE: &str = "retire";

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{StreamId, TenantId, Timestamp};

    use super::*;
    use crate::clock::Clock;
    use crate::keys::{Original, specimen};

    #[test]
    fn keys_of_days_in_memory_have_a_bound_and_one_that_was_forgotten_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::standing_at(Timestamp(1));
        let vault = specimen::vault(dir.path(), "tokyo".parse().unwrap(), clock);
        let (tenant, stream, token) = (TenantId(1), StreamId(1), "‹email:abcdefghijklmnopqrstuvwxyz›");
        let text = zeroize::Zeroizing::new("erika@example.org".to_owned());
        vault
            .seal(tenant, stream, Day(1), &[Original { token: token.into(), subject: None, text, met: None }])
            .unwrap();
        let ring = vault.ring.load_full();
        let key = Arc::new(Secret::random().unwrap());
        for day in 2..=u32::try_from(KEYRING_DAY_KEYS).unwrap() + 1 {
            ring.remember_day(Bucket { tenant, stream, day: Day(day) }, Arc::clone(&key));
            assert!(ring.days.read().len() <= KEYRING_DAY_KEYS);
        }
        assert!(!ring.days.read().contains_key(&Bucket { tenant, stream, day: Day(1) }), "the limit was reached");
        assert!(vault.reveal(tenant, token).unwrap().is_some());
    }
}
