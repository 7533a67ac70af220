//! Destruction: keys of subjects and single originals, for erasure and retention.
//!
//! First the rows go, in one durable transaction that also says which keys above them must be replaced: from then on nothing
//! of them can be revealed. Then the keyring is rewritten (`rewrite`), so that a copy of the old file is of no use either. A
//! crash between the two is made good by the next `tend` or by the same call again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use domicile_proto::ids::{StreamId, TenantId};
use redb::{ReadableTable, Table, WriteTransaction};

use super::errors::KeysError;
use super::notice::{Notice, NoticeKind};
use super::ring::{At, Bucket, DAYS, Day, FACTS, NOTICES, PENDING, Place, Ring, SEALED, SUBJECTS, TOKENS};
use super::ring::{dated, undated, under};
use super::secret::Secret;
use super::vault::Vault;
use crate::limits::KEYRING_PENDING;

#[allow(dead_code, reason = "erasure and retention stand on it")]
/// What is to be destroyed.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// Everything of a subject, in all streams of the tenant.
    Subject {
        /// Whose.
        tenant: TenantId,
        /// The number of `Vault::subject_of`.
        subject: u64,
    },
    /// Everything of a subject in these streams.
    SubjectIn {
        /// Whose.
        tenant: TenantId,
        /// The number of `Vault::subject_of`.
        subject: u64,
        /// Which streams.
        streams: &'a [StreamId],
    },
    /// The original behind a token, whoever's it is.
    Token {
        /// Whose.
        tenant: TenantId,
        /// As it stands in records.
        token: &'a str,
    },
    /// What was last seen in a stream before a day: for retention.
    Days {
        /// Whose.
        tenant: TenantId,
        /// Which stream.
        stream: StreamId,
        /// The first day that stays.
        before: Day,
    },
}

#[allow(dead_code, reason = "erasure tells the numbers")]
/// What was destroyed. Nothing at all where it had been destroyed before, or was never there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Destroyed {
    /// Keys of subjects.
    pub(crate) subjects: u64,
    /// Originals.
    pub(crate) originals: u64,
}

impl Vault {
    #[allow(dead_code, reason = "erasure and retention stand on it")]
    /// Destroys all of this: unreadable at once, and once this returns also to whoever has a copy of the keyring from before
    /// together with all keys of today.
    ///
    /// # Errors
    /// [`KeysError`]. Where the key store is away the originals may be gone and older keys not yet: repeat it, or wait for
    /// `tend`. It must not be reported as done.
    pub(crate) fn destroy(&self, targets: &[Target<'_>]) -> Result<Destroyed, KeysError> {
        let destroyed = self.take_out(targets)?;
        self.step("taken out");
        self.rewrite(false)?;
        Ok(destroyed)
    }

    /// What [`Vault::destroy`] of this would destroy now. Changes nothing.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn would_destroy(&self, targets: &[Target<'_>]) -> Result<Destroyed, KeysError> {
        self.reach_keys(targets)?;
        let _writer = self.writer.lock();
        let ring = self.ring.load_full();
        let transaction = ring.write()?;
        let found = self.take_all(targets, &ring, &transaction)?;
        transaction.abort().at(&ring.path)?;
        Ok(found)
    }

    /// Where the originals lie that [`Vault::destroy`] of subjects and tokens would destroy now: the stream, and what tells one from
    /// another. Changes nothing; days are not looked for.
    ///
    /// # Errors
    /// [`KeysError::Keyring`].
    pub(crate) fn originals_of(&self, targets: &[Target<'_>]) -> Result<BTreeSet<(StreamId, Vec<u8>)>, KeysError> {
        let ring = self.folded()?;
        let sealed = ring.read()?.open_table(SEALED).at(&ring.path)?;
        let mut found = BTreeSet::new();
        for target in targets {
            let mut whole = Vec::new();
            match target {
                Target::Subject { tenant, subject } => {
                    whole = self.places_of_subject(&ring, *tenant, self.subject_hash(*tenant, Some(*subject), ""))?;
                }
                Target::SubjectIn { tenant, subject, streams } => {
                    whole = self.places_of_subject(&ring, *tenant, self.subject_hash(*tenant, Some(*subject), ""))?;
                    whole.retain(|place| streams.contains(&place.stream));
                }
                Target::Token { tenant, token } => {
                    let hash = self.token_hash(*tenant, token);
                    for (place, is_declared) in self.places_of_token(&ring, *tenant, token)? {
                        if is_declared {
                            found.insert((place.stream, place.sealed_row(&hash).to_vec()));
                        } else {
                            whole.push(place);
                        }
                    }
                }
                Target::Days { .. } => {}
            }
            for place in whole {
                let rows = under(&sealed, &place.to_row(), &ring.path)?;
                found.extend(rows.into_iter().map(|(row, _)| (place.stream, row)));
            }
        }
        Ok(found)
    }

    #[allow(dead_code, reason = "erasure and retention stand on it")]
    /// [`Vault::destroy`] of one subject.
    pub(crate) fn destroy_subject(&self, tenant: TenantId, subject: u64) -> Result<Destroyed, KeysError> {
        self.destroy(&[Target::Subject { tenant, subject }])
    }

    #[allow(dead_code, reason = "erasure and retention stand on it")]
    /// [`Vault::destroy`] of one token.
    pub(crate) fn forget_token(&self, tenant: TenantId, token: &str) -> Result<Destroyed, KeysError> {
        self.destroy(&[Target::Token { tenant, token }])
    }

    /// Has the keys at hand that destroying these needs.
    fn reach_keys(&self, targets: &[Target<'_>]) -> Result<(), KeysError> {
        // Originals that stay beside a destroyed one get a new key, for which their tenant's key is needed.
        for target in targets {
            if let Target::Token { tenant, token } = target {
                let ring = self.folded()?;
                let places = self.places_of_token(&ring, *tenant, token)?;
                if places.iter().any(|(_, is_declared)| *is_declared) {
                    self.in_contact()?;
                    self.tenant_key(*tenant)?;
                }
            }
        }
        Ok(())
    }

    fn take_out(&self, targets: &[Target<'_>]) -> Result<Destroyed, KeysError> {
        self.reach_keys(targets)?;
        let _writer = self.writer.lock();
        let ring = self.ring.load_full();
        self.fold(&ring)?;
        let transaction = ring.write()?;
        let destroyed = self.take_all(targets, &ring, &transaction)?;
        if destroyed != Destroyed::default() {
            transaction.commit().at(&ring.path)?;
            ring.unfolded.changed();
            let mut known = self.known.lock();
            self.epoch.fetch_add(1, Ordering::SeqCst);
            known.clear();
            self.pseudonyms.met.clear();
        }
        Ok(destroyed)
    }

    fn take_all(
        &self,
        targets: &[Target<'_>],
        ring: &Ring,
        transaction: &WriteTransaction,
    ) -> Result<Destroyed, KeysError> {
        let mut taking = Taking::new(ring, transaction)?;
        for target in targets {
            match target {
                Target::Subject { tenant, subject } => {
                    let subject = self.subject_hash(*tenant, Some(*subject), "");
                    for place in self.places_of_subject(ring, *tenant, subject)? {
                        taking.place(place)?;
                    }
                }
                Target::SubjectIn { tenant, subject, streams } => {
                    let subject = self.subject_hash(*tenant, Some(*subject), "");
                    let places = self.places_of_subject(ring, *tenant, subject)?;
                    for place in places.into_iter().filter(|place| streams.contains(&place.stream)) {
                        taking.place(place)?;
                    }
                }
                Target::Token { tenant, token } => {
                    let hash = self.token_hash(*tenant, token);
                    for (place, is_declared) in self.places_of_token(ring, *tenant, token)? {
                        if is_declared { taking.token(place, &hash)? } else { taking.place(place)? }
                    }
                }
                Target::Days { tenant, stream, before } => taking.days(*tenant, *stream, *before)?,
            }
        }
        taking.finish(transaction)
    }

    /// A place where a test may look at the disk.
    #[cfg(test)]
    pub(super) fn step(&self, name: &'static str) {
        if let Some(look) = self.on_step.lock().as_mut() {
            look(name);
        }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "a test looks here")]
    pub(super) const fn step(&self, _: &'static str) {}
}

type Keys<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// The tables of one transaction, and what was taken out of them.
struct Taking<'t> {
    ring: &'t Ring,
    path: &'t Path,
    days: Keys<'t>,
    subjects: Keys<'t>,
    sealed: Keys<'t>,
    tokens: Keys<'t>,
    concerned: BTreeSet<Bucket>,
    destroyed: Destroyed,
}

impl<'t> Taking<'t> {
    fn new(ring: &'t Ring, transaction: &'t WriteTransaction) -> Result<Self, KeysError> {
        let path = ring.path.as_path();
        Ok(Self {
            ring,
            path,
            days: transaction.open_table(DAYS).at(path)?,
            subjects: transaction.open_table(SUBJECTS).at(path)?,
            sealed: transaction.open_table(SEALED).at(path)?,
            tokens: transaction.open_table(TOKENS).at(path)?,
            concerned: BTreeSet::new(),
            destroyed: Destroyed::default(),
        })
    }

    /// The key of a place, with all that is sealed under it.
    fn place(&mut self, place: Place) -> Result<(), KeysError> {
        let row = place.to_row();
        let day = match self.subjects.remove(row.as_slice()).at(self.path)? {
            Some(value) => undated(value.value())?.0,
            None => return Ok(()),
        };
        self.concerned.insert(place.on(day));
        self.destroyed.subjects += 1;
        for (row, _) in under(&self.sealed, &row, self.path)? {
            self.original(place, &row)?;
        }
        Ok(())
    }

    fn original(&mut self, place: Place, row: &[u8]) -> Result<(), KeysError> {
        if self.sealed.remove(row).at(self.path)?.is_none() {
            return Ok(());
        }
        self.destroyed.originals += 1;
        if let Some(token) = row.last_chunk::<16>() {
            self.tokens.remove(place.token_row(token).as_slice()).at(self.path)?;
        }
        Ok(())
    }

    /// One original of a declared subject; the subject's other originals get a new key.
    fn token(&mut self, place: Place, token: &[u8; 16]) -> Result<(), KeysError> {
        let does_not_open = || KeysError::DoesNotOpen { place: "the keyring" };
        let before = self.destroyed.originals;
        self.original(place, &place.sealed_row(token))?;
        if self.destroyed.originals == before {
            return Ok(());
        }
        let row = place.to_row();
        let rest = under(&self.sealed, &row, self.path)?;
        if rest.is_empty() {
            return self.place(place);
        }
        let (day, wrapped) = match self.subjects.get(row.as_slice()).at(self.path)? {
            Some(value) => {
                let (day, wrapped) = undated(value.value())?;
                (day, wrapped.to_vec())
            }
            None => return Ok(()),
        };
        let above = self.ring.day_key(&self.days, place.on(day))?.ok_or_else(does_not_open)?;
        let old = above.open_key(&wrapped, &place.label(day)).ok_or_else(does_not_open)?;
        let new = Secret::random()?;
        for (row, value) in rest {
            let label = place.sealed_label(row.last_chunk().ok_or_else(does_not_open)?);
            let (seen, bytes) = undated(&value)?;
            let plain = old.open(bytes, &label).ok_or_else(does_not_open)?;
            self.sealed.insert(row.as_slice(), dated(seen, &new.seal(&plain, &label)?).as_slice()).at(self.path)?;
        }
        let wrapped = above.wrap(&new, &place.label(day))?;
        self.subjects.insert(row.as_slice(), dated(day, &wrapped).as_slice()).at(self.path)?;
        self.concerned.insert(place.on(day));
        Ok(())
    }

    /// Originals of a stream whose last day has passed; with the last of them goes the subject's key.
    fn days(&mut self, tenant: TenantId, stream: StreamId, before: Day) -> Result<(), KeysError> {
        let mut places = Vec::new();
        let mut originals = Vec::new();
        for row in self.subjects.iter().at(self.path)? {
            let (key, value) = row.at(self.path)?;
            let Some((place, _)) = Place::from_row(key.value()) else { continue };
            if place.tenant == tenant && place.stream == stream && undated(value.value())?.0 < before {
                places.push(place);
            }
        }
        for place in places {
            self.place(place)?;
        }
        for row in self.sealed.iter().at(self.path)? {
            let (key, value) = row.at(self.path)?;
            let Some((place, _)) = Place::from_row(key.value()) else { continue };
            if place.tenant == tenant && place.stream == stream && undated(value.value())?.0 < before {
                originals.push((place, key.value().to_vec()));
            }
        }
        for (place, row) in originals {
            self.original(place, &row)?;
        }
        Ok(())
    }

    /// Says in the same transaction which keys are to be replaced, and what the ledger is to be told.
    fn finish(self, transaction: &WriteTransaction) -> Result<Destroyed, KeysError> {
        let Self { path, concerned, destroyed, .. } = self;
        if destroyed == Destroyed::default() {
            return Ok(destroyed);
        }
        let mut facts = transaction.open_table(FACTS).at(path)?;
        let mut pending = match facts.get(PENDING).at(path)? {
            Some(rows) => Pending::from_row(rows.value()),
            None => Pending::Some(BTreeSet::new()),
        };
        pending.add(concerned);
        facts.insert(PENDING, pending.to_row().as_slice()).at(path)?;
        let mut notices = transaction.open_table(NOTICES).at(path)?;
        let number = destroyed.subjects.saturating_add(destroyed.originals);
        let notice = Notice { number: Some(number), ..Notice::of(NoticeKind::OriginalsDestroyed) };
        notice.put(&mut notices, path)?;
        Ok(destroyed)
    }
}

/// The days of streams whose keys are to be replaced.
pub(super) enum Pending {
    /// These.
    Some(BTreeSet<Bucket>),
    /// Every one.
    All,
}

impl Pending {
    /// An unreadable row means all: too many keys replaced harm nobody.
    pub(super) fn from_row(row: &[u8]) -> Self {
        let (rows, rest) = row.as_chunks::<BUCKET_BYTES>();
        let buckets: Option<BTreeSet<Bucket>> = rows.iter().map(|row| Bucket::from_row(row)).collect();
        match buckets {
            Some(buckets) if rest.is_empty() => Self::Some(buckets),
            _ => Self::All,
        }
    }

    fn to_row(&self) -> Vec<u8> {
        match self {
            Self::Some(buckets) => buckets.iter().flat_map(|bucket| bucket.to_row()).collect(),
            Self::All => vec![0],
        }
    }

    fn add(&mut self, concerned: BTreeSet<Bucket>) {
        if let Self::Some(buckets) = self {
            buckets.extend(concerned);
            if buckets.len() > KEYRING_PENDING {
                *self = Self::All;
            }
        }
    }

    pub(super) fn concerns(&self, bucket: Bucket) -> bool {
        match self {
            Self::Some(buckets) => buckets.contains(&bucket),
            Self::All => true,
        }
    }
}

/// Tenant, stream, day.
const BUCKET_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_every_key_is_replaced_and_a_restart_knows_it() {
        let bucket =
            |day: usize| Bucket { tenant: TenantId(1), stream: StreamId(2), day: Day(u32::try_from(day).unwrap()) };
        let mut pending = Pending::Some(BTreeSet::new());
        pending.add((0..KEYRING_PENDING).map(bucket).collect());
        assert!(pending.concerns(bucket(0)) && !pending.concerns(bucket(KEYRING_PENDING)), "one by one");
        let again = Pending::from_row(&pending.to_row());
        assert!(again.concerns(bucket(1)) && !again.concerns(bucket(KEYRING_PENDING)));
        pending.add([bucket(KEYRING_PENDING)].into());
        assert!(pending.concerns(bucket(KEYRING_PENDING + 1)));
        assert!(Pending::from_row(&pending.to_row()).concerns(bucket(KEYRING_PENDING + 1)));
    }
}
