//! The vault of this node: the keyring with the root above it. What the line, `reveal` and erasure ask.
//!
//! Calls block: on the disk, and where a key is not in memory on the key store. The key store is asked for keys of tenants
//! alone, never for a record; while it is away, keys in memory serve for a bounded time. Decides nobody's rights.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use domicile_proto::ids::{Region, StreamId, TenantId};
use parking_lot::Mutex;
use redb::{ReadableTable, ReadableTableMetadata};
use ring::hmac;
use zeroize::Zeroizing;

use super::errors::KeysError;
use super::file;
use super::known::{Fingerprints, Known};
use super::notice::{Notice, NoticeKind};
use super::pseudonym::PseudonymKeys;
use super::ring::{At, DAYS, DRAFT, FACTS, FILE, Hash, NOTICES, PENDING, Place, RETIRE, ROOTED, Ring, Rooted};
use super::ring::{SEALED, SUBJECTS, TOKENS, undated, under};
use super::root::{KeyStore, Wrapped};
use super::seal::Waiting;
use super::secret::Secret;
use crate::clock::Clock;
use crate::limits::{KEYRING_FOLD_AFTER, KEYRING_STEP_BYTES, KEYS_WITHOUT_STORE, SEALED_KNOWN};

/// What is told the name of a step.
#[cfg(test)]
type OnStep = Box<dyn FnMut(&'static str) + Send>;

/// The vault. No `Debug`.
pub(crate) struct Vault {
    pub(super) dir: PathBuf,
    pub(super) region: Region,
    pub(super) clock: Clock,
    pub(super) store: Box<dyn KeyStore>,
    pub(super) ring: ArcSwap<Ring>,
    /// Held by whoever changes the keyring.
    pub(super) writer: Mutex<()>,
    pub(super) waiting: Mutex<Vec<Waiting>>,
    pub(super) known: Mutex<Known>,
    /// Counts what makes `known` untrue; a look into the keyring from before is not remembered after.
    pub(super) epoch: AtomicU64,
    pub(super) fingerprints: Fingerprints,
    /// When the key store answered last, as [`Clock::steady`] has it: a clock that jumps makes no key store silent, and one that is
    /// set back makes no silence shorter.
    contact: Mutex<Duration>,
    lookup: hmac::Key,
    pub(super) pseudonyms: Arc<PseudonymKeys>,
    /// Told the name of each step of a destruction, so that a test can look at the disk between two of them.
    #[cfg(test)]
    pub(super) on_step: Mutex<Option<OnStep>>,
}

/// An original with the token that stands for it. No `Debug`; wiped when dropped.
#[allow(dead_code, reason = "a subject's access to their data shows the tokens as well")]
pub(crate) struct Revealed {
    pub(crate) stream: StreamId,
    pub(crate) token: Box<str>,
    pub(crate) text: Zeroizing<String>,
}

/// How the vault is, for `status` and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VaultFacts {
    /// Which kind of key store holds the root.
    pub(crate) store: &'static str,
    /// Seconds since it last answered.
    pub(crate) silent_seconds: u64,
    /// Whether it was silent for too long, so that nothing is sealed or revealed.
    pub(crate) is_expired: bool,
    /// Keys of subjects. One more says that a value was never seen before, so that it is for those alone who may see values.
    pub(crate) subjects: u64,
    /// Sealed originals; for the same ones.
    pub(crate) originals: u64,
    /// Size of the keyring on the disk, in whole steps: how it grows, for whoever looks after the disk, and nothing of one value.
    pub(crate) file_bytes: u64,
    /// Whether something was destroyed whose keys are still to be replaced.
    pub(crate) is_rewrite_due: bool,
}

impl Vault {
    /// Opens the keyring in a directory, or makes one; the pseudonym key of an older node moves into it, so that tokens stay.
    ///
    /// # Errors
    /// [`KeysError`]: the key store does not answer, or a file is damaged, exposed or not this region's.
    pub(crate) fn open(dir: &Path, region: Region, store: Box<dyn KeyStore>, clock: Clock) -> Result<Self, KeysError> {
        let (path, draft) = (dir.join(FILE), dir.join(DRAFT));
        if draft.try_exists().map_err(|source| file::unreadable(&draft, source))? {
            file::remove(&draft)?;
        }
        let inherited = inherited(dir)?;
        let ring = if path.try_exists().map_err(|source| file::unreadable(&path, source))? {
            Ring::open(&path, &region)?
        } else {
            begin(dir, &region, store.as_ref(), inherited.as_ref())?
        };
        let rooted = |what: Rooted| {
            let wrapped = ring.rooted(what)?.ok_or(KeysError::DoesNotOpen { place: "the keyring" })?;
            what.open(&wrapped, store.as_ref(), &region)
        };
        let (pseudonyms, lookup) = (rooted(Rooted::Pseudonyms)?, rooted(Rooted::Lookup)?);
        if let Some(inherited) = inherited {
            if inherited.bytes() != pseudonyms.bytes() {
                return Err(KeysError::NotOurs { path, found: "`pseudonym.key` beside it is another key" });
            }
            file::remove(&dir.join(PSEUDONYM_FILE))?;
        }
        // A crash may have come between a rewrite and the end of the older root.
        let oldest = ring.all_rooted()?.iter().map(|(_, wrapped)| wrapped.version).min().unwrap_or(0);
        store.retire_before(oldest)?;
        let contact = Mutex::new(clock.steady());
        Ok(Self {
            dir: dir.to_owned(),
            pseudonyms: Arc::new(PseudonymKeys::from_secret(pseudonyms.bytes(), region.clone())),
            lookup: lookup.hmac(),
            region,
            clock,
            store,
            ring: ArcSwap::from_pointee(ring),
            writer: Mutex::new(()),
            waiting: Mutex::new(Vec::new()),
            known: Mutex::new(Known::new(SEALED_KNOWN)),
            epoch: AtomicU64::new(0),
            fingerprints: Fingerprints::new(),
            contact,
            #[cfg(test)]
            on_step: Mutex::new(None),
        })
    }

    /// The keys of tokens and subjects.
    pub(crate) fn pseudonyms(&self) -> Arc<PseudonymKeys> {
        Arc::clone(&self.pseudonyms)
    }

    #[allow(dead_code, reason = "erasure and subject access stand on it")]
    /// Under which number a subject is known: what `Original::subject` holds.
    pub(crate) fn subject_of(&self, tenant: TenantId, field: &str, value: &str) -> u64 {
        self.pseudonyms.tenant(tenant).subject(field, value)
    }

    /// A keyed hash that only nodes with this one's keys make alike: what the region says of its erasures.
    pub(crate) fn region_hash(&self, purpose: &str, bytes: &[u8]) -> [u8; 32] {
        self.pseudonyms.region_hash(purpose, bytes)
    }

    /// What the ledger says instead of a token: a hash that only this region can make again.
    pub(crate) fn commitment(&self, tenant: TenantId, token: &str) -> [u8; 32] {
        let mut commitment = [0; 32];
        let hash = self.hash("commitment", tenant, token.as_bytes());
        commitment.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        commitment
    }

    /// The original behind a token; `None` where there is none or it was erased, which nobody can tell apart.
    ///
    /// # Errors
    /// [`KeysError`]: above all [`KeysError::Expired`].
    pub(crate) fn reveal(&self, tenant: TenantId, token: &str) -> Result<Option<Revealed>, KeysError> {
        self.in_contact()?;
        self.tenant_key(tenant)?;
        let ring = self.folded()?;
        for (place, _) in self.places_of_token(&ring, tenant, token)? {
            let found = self.open_place(&ring, place, Some(self.token_hash(tenant, token)))?;
            if let Some(revealed) = found.into_iter().next() {
                return Ok(Some(revealed));
            }
        }
        Ok(None)
    }

    #[allow(dead_code, reason = "erasure and subject access stand on it")]
    /// Every original of a subject, in all streams of the tenant: for the subject's access to their data.
    ///
    /// # Errors
    /// As [`Vault::reveal`].
    pub(crate) fn sealed_for(&self, tenant: TenantId, subject: u64) -> Result<Vec<Revealed>, KeysError> {
        self.in_contact()?;
        self.tenant_key(tenant)?;
        let ring = self.folded()?;
        let mut all = Vec::new();
        for place in self.places_of_subject(&ring, tenant, self.subject_hash(tenant, Some(subject), ""))? {
            all.extend(self.open_place(&ring, place, None)?);
        }
        Ok(all)
    }

    /// Asks the key store whether it still opens what it wrapped, replaces keys where that is due, and folds a journal that is
    /// old.
    ///
    /// # Errors
    /// What the key store or the disk says; nothing is lost by it.
    pub(crate) fn tend(&self) -> Result<(), KeysError> {
        let folded = self.fold_old();
        let ring = self.ring.load_full();
        let wrapped = ring.rooted(Rooted::Lookup)?.ok_or(KeysError::DoesNotOpen { place: "the keyring" })?;
        match Rooted::Lookup.open(&wrapped, self.store.as_ref(), &self.region) {
            Ok(_) => self.touch(),
            // A rewrite may have ended the version that was read above.
            Err(_) if !Arc::ptr_eq(&ring, &self.ring.load_full()) => {}
            Err(error) => {
                if self.is_expired() {
                    self.ring.load().forget_keys();
                }
                return Err(error);
            }
        }
        if self.is_rewrite_due()? {
            self.rewrite(false)?;
        }
        self.retire().and(folded)
    }

    /// New versions of all keys but those of subjects and pseudonyms, from the root down; the older root is destroyed.
    ///
    /// # Errors
    /// [`KeysError`]: nothing has changed, or the older root is destroyed at the next try or start.
    pub(crate) fn rotate(&self) -> Result<(), KeysError> {
        self.rewrite(true)
    }

    /// How the vault is.
    pub(crate) fn facts(&self) -> VaultFacts {
        let ring = self.ring.load();
        let count = |table| {
            let read = ring.read().ok()?;
            read.open_table(table).ok()?.len().ok()
        };
        let (subjects, originals) = ring.unfolded.counts();
        let bytes = std::fs::metadata(&ring.path).map_or(0, |file| file.len());
        VaultFacts {
            store: self.store.kind(),
            silent_seconds: self.silent_for().as_secs(),
            is_expired: self.is_expired(),
            subjects: count(SUBJECTS).unwrap_or(0).saturating_add(subjects),
            originals: count(SEALED).unwrap_or(0).saturating_add(originals),
            file_bytes: bytes.div_ceil(KEYRING_STEP_BYTES).saturating_mul(KEYRING_STEP_BYTES),
            is_rewrite_due: self.is_rewrite_due().unwrap_or(true),
        }
    }

    /// What happened to keys and is not in the ledger yet, with its number.
    ///
    /// # Errors
    /// [`KeysError::Keyring`].
    pub(crate) fn notices(&self) -> Result<Vec<(u64, Notice)>, KeysError> {
        let ring = self.ring.load();
        let table = ring.read()?.open_table(NOTICES).at(&ring.path)?;
        let mut notices = Vec::new();
        for row in table.iter().at(&ring.path)? {
            let (number, bytes) = row.at(&ring.path)?;
            notices.extend(Notice::from_row(bytes.value()).map(|notice| (number.value(), notice)));
        }
        Ok(notices)
    }

    /// The ledger has the notices up to this number.
    ///
    /// # Errors
    /// [`KeysError::Keyring`]; the ledger will have them twice.
    pub(crate) fn noted(&self, last: u64) -> Result<(), KeysError> {
        let _writer = self.writer.lock();
        let ring = self.ring.load();
        let transaction = ring.write()?;
        transaction.open_table(NOTICES).at(&ring.path)?.retain_in(..=last, |_, _| false).at(&ring.path)?;
        transaction.commit().at(&ring.path)
    }

    /// The keyring with every row in its tree.
    pub(super) fn folded(&self) -> Result<Arc<Ring>, KeysError> {
        let ring = self.ring.load_full();
        if ring.unfolded.is_empty() {
            return Ok(ring);
        }
        let _writer = self.writer.lock();
        let ring = self.ring.load_full();
        self.fold(&ring)?;
        Ok(ring)
    }

    /// Folds the journal into the tree, where there is anything in it; the writer's lock is held.
    pub(super) fn fold(&self, ring: &Ring) -> Result<(), KeysError> {
        if !ring.unfolded.is_empty() {
            ring.fold()?;
            self.step("folded");
            ring.end_journal();
        }
        Ok(())
    }

    /// Folds a journal that is old.
    fn fold_old(&self) -> Result<(), KeysError> {
        let since = self.ring.load().unfolded.since();
        let now = self.clock.steady();
        let is_old = since.is_some_and(|since| now.saturating_sub(since) >= KEYRING_FOLD_AFTER);
        if is_old { self.folded().map(drop) } else { Ok(()) }
    }

    /// The key of a tenant in memory; made where there is none.
    pub(super) fn tenant_key(&self, tenant: TenantId) -> Result<Arc<Secret>, KeysError> {
        loop {
            let ring = self.ring.load_full();
            if let Some(key) = ring.tenant(tenant) {
                return Ok(key);
            }
            let what = Rooted::Tenant(tenant);
            let key = match ring.rooted(what)? {
                Some(wrapped) => match what.open(&wrapped, self.store.as_ref(), &self.region) {
                    // A rewrite put another key in its place meanwhile, and ended the root of this one.
                    Err(_) if !Arc::ptr_eq(&ring, &self.ring.load_full()) => continue,
                    opened => opened?,
                },
                None => {
                    let key = Secret::random()?;
                    let wrapped = what.wrap(&key, self.store.as_ref(), &self.region)?;
                    if !self.keep_tenant_key(&ring, tenant, &wrapped)? {
                        continue;
                    }
                    key
                }
            };
            self.touch();
            ring.tenants.write().entry(tenant).or_insert_with(|| Arc::new(key));
        }
    }

    /// `false` where somebody else made one, or the file is another one by now.
    fn keep_tenant_key(&self, ring: &Arc<Ring>, tenant: TenantId, wrapped: &Wrapped) -> Result<bool, KeysError> {
        let _writer = self.writer.lock();
        if !Arc::ptr_eq(ring, &self.ring.load_full()) || ring.rooted(Rooted::Tenant(tenant))?.is_some() {
            return Ok(false);
        }
        let transaction = ring.write()?;
        {
            let row = Rooted::Tenant(tenant).to_row();
            let mut rooted = transaction.open_table(ROOTED).at(&ring.path)?;
            rooted.insert(row.as_slice(), wrapped.to_row().as_slice()).at(&ring.path)?;
            let mut notices = transaction.open_table(NOTICES).at(&ring.path)?;
            let notice = Notice { tenant: Some(tenant), ..Notice::of(NoticeKind::TenantKeyCreated) };
            notice.put(&mut notices, &ring.path)?;
        }
        transaction.commit().at(&ring.path)?;
        Ok(true)
    }

    /// Whether keys in memory may still be used.
    pub(super) fn in_contact(&self) -> Result<(), KeysError> {
        if self.is_expired() { Err(KeysError::expired()) } else { Ok(()) }
    }

    pub(super) fn touch(&self) {
        *self.contact.lock() = self.clock.steady();
    }

    fn silent_for(&self) -> Duration {
        self.clock.steady().saturating_sub(*self.contact.lock())
    }

    fn is_expired(&self) -> bool {
        self.silent_for() > KEYS_WITHOUT_STORE
    }

    fn is_rewrite_due(&self) -> Result<bool, KeysError> {
        let ring = self.ring.load();
        let facts = ring.read()?.open_table(FACTS).at(&ring.path)?;
        Ok(facts.get(PENDING).at(&ring.path)?.is_some() || facts.get(RETIRE).at(&ring.path)?.is_some())
    }

    /// By which rows are found: of the declared subject, else of the token itself, for then the value is the person.
    pub(super) fn subject_hash(&self, tenant: TenantId, subject: Option<u64>, token: &str) -> Hash {
        match subject {
            Some(subject) => first(self.hash("subject", tenant, &subject.to_be_bytes()).as_ref()),
            None => first(self.hash("itself", tenant, token.as_bytes()).as_ref()),
        }
    }

    pub(super) fn token_hash(&self, tenant: TenantId, token: &str) -> Hash {
        first(self.hash("token", tenant, token.as_bytes()).as_ref())
    }

    fn hash(&self, purpose: &str, tenant: TenantId, what: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.lookup);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(&tenant.0.to_be_bytes());
        context.update(what);
        context.sign()
    }

    /// The places of a subject of a tenant, one for each stream.
    pub(super) fn places_of_subject(
        &self,
        ring: &Ring,
        tenant: TenantId,
        subject: Hash,
    ) -> Result<Vec<Place>, KeysError> {
        let table = ring.read()?.open_table(SUBJECTS).at(&ring.path)?;
        let prefix = [&subject[..], &tenant.0.to_be_bytes()].concat();
        let rows = under(&table, &prefix, &ring.path)?;
        Ok(rows.iter().filter_map(|(key, _)| Place::from_row(key)).map(|(place, _)| place).collect())
    }

    /// The places in which a token is sealed, and whether each has a declared subject.
    pub(super) fn places_of_token(
        &self,
        ring: &Ring,
        tenant: TenantId,
        token: &str,
    ) -> Result<Vec<(Place, bool)>, KeysError> {
        let itself = self.places_of_subject(ring, tenant, self.subject_hash(tenant, None, token))?;
        let table = ring.read()?.open_table(TOKENS).at(&ring.path)?;
        let rows = under(&table, &self.token_hash(tenant, token), &ring.path)?;
        let declared = rows.iter().filter_map(|(key, _)| Place::from_row(key.get(16..)?)).map(|(place, _)| place);
        let declared = declared.filter(|place| place.tenant == tenant);
        Ok(itself.into_iter().map(|place| (place, false)).chain(declared.map(|place| (place, true))).collect())
    }

    /// The originals of a place, or the one of a token. The tenant's key must be in memory.
    fn open_place(&self, ring: &Ring, place: Place, token: Option<Hash>) -> Result<Vec<Revealed>, KeysError> {
        let does_not_open = || KeysError::DoesNotOpen { place: "the keyring" };
        let transaction = ring.read()?;
        let (days, subjects) =
            (transaction.open_table(DAYS).at(&ring.path)?, transaction.open_table(SUBJECTS).at(&ring.path)?);
        let sealed = transaction.open_table(SEALED).at(&ring.path)?;
        let Some(row) = subjects.get(place.to_row().as_slice()).at(&ring.path)? else { return Ok(Vec::new()) };
        let (day, wrapped) = undated(row.value())?;
        let above = ring.day_key(&days, place.on(day))?.ok_or_else(does_not_open)?;
        let key = above.open_key(wrapped, &place.label(day)).ok_or_else(does_not_open)?;
        let prefix = token.map_or_else(|| place.to_row().to_vec(), |token| place.sealed_row(&token).to_vec());
        let mut opened = Vec::new();
        for (row, value) in under(&sealed, &prefix, &ring.path)? {
            let token = row.last_chunk::<16>().ok_or_else(does_not_open)?;
            let (_, value) = undated(&value)?;
            let plain = key.open(value, &place.sealed_label(token)).ok_or_else(does_not_open)?;
            opened.push(unpacked(place.stream, &plain).ok_or_else(does_not_open)?);
        }
        Ok(opened)
    }
}

/// A token and its original as they are sealed together.
pub(super) fn packed(token: &str, text: &str) -> Zeroizing<Vec<u8>> {
    let length = u16::try_from(token.len()).unwrap_or(u16::MAX);
    let mut plain = Zeroizing::new(Vec::with_capacity(2 + token.len() + text.len()));
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(token.as_bytes());
    plain.extend_from_slice(text.as_bytes());
    plain
}

pub(super) fn unpacked(stream: StreamId, plain: &[u8]) -> Option<Revealed> {
    let (length, rest) = plain.split_first_chunk()?;
    let (token, text) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let text = Zeroizing::new(std::str::from_utf8(text).ok()?.to_owned());
    Some(Revealed { stream, token: std::str::from_utf8(token).ok()?.into(), text })
}

/// The pseudonym key of a node that had no keyring yet.
fn inherited(dir: &Path) -> Result<Option<Secret>, KeysError> {
    let path = dir.join(PSEUDONYM_FILE);
    let Some(bytes) = file::read(&path)? else { return Ok(None) };
    Secret::from_slice(&bytes).map(Some).ok_or(KeysError::Damaged { path })
}

/// The first keyring of a node; it has its name once it is whole.
fn begin(dir: &Path, region: &Region, store: &dyn KeyStore, inherited: Option<&Secret>) -> Result<Ring, KeysError> {
    let (path, draft) = (dir.join(FILE), dir.join(DRAFT));
    let ring = Ring::create(&draft, region)?;
    let fresh = Secret::random()?;
    let lookup = Secret::random()?;
    let transaction = ring.write()?;
    {
        let mut rooted = transaction.open_table(ROOTED).at(&draft)?;
        for (what, key) in [(Rooted::Pseudonyms, inherited.unwrap_or(&fresh)), (Rooted::Lookup, &lookup)] {
            let wrapped = what.wrap(key, store, region)?;
            rooted.insert(what.to_row().as_slice(), wrapped.to_row().as_slice()).at(&draft)?;
        }
        let mut notices = transaction.open_table(NOTICES).at(&draft)?;
        Notice::of(NoticeKind::KeyringCreated).put(&mut notices, &draft)?;
    }
    transaction.commit().at(&draft)?;
    let renamed = std::fs::rename(&draft, &path).and_then(|()| file::sync_dir_of(&path));
    renamed.map_err(|source| file::unreadable(&path, source))?;
    Ok(ring.renamed(&path))
}

fn first(hash: &[u8]) -> Hash {
    let mut out = [0; 16];
    out.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    out
}

/// Where a node without a keyring kept the root of its pseudonyms.
const PSEUDONYM_FILE: &str = "pseudonym.key";

#[cfg(test)]
#[path = "vault_test.rs"]
mod tests;
