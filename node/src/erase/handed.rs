//! Exports of a subject that wait in the region behind a link: sealed under a key that only the link holds, and gone when it expires.
//!
//! `exports/<tenant>/<expiry>-<name>` in the region's bucket. The node keeps neither the link nor anything that opens what lies
//! there. An erasure of the tenant takes all of its links back, for an export may hold the person in somebody else's record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use domicile_proto::ids::{TenantId, Timestamp};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::errors::EraseError;
use super::workflow::Erasure;
use crate::audit::Event;
use crate::errors::Coded;
use crate::keys::LinkKey;
use crate::limits::{EXPORT_LINK_HOURS, EXPORT_LINKS};
use crate::store::StoreError;

/// What an administrator gets for an export that stays in the region.
pub(crate) struct Link {
    /// The last part of the address. Whoever has it reads the export. No `Debug`.
    pub(crate) text: Zeroizing<String>,
    /// The public name of the export, as the ledger has it.
    pub(crate) name: String,
    /// From when on there is nothing behind it.
    pub(crate) until: Timestamp,
}

/// What is known of exports beside what the bucket says.
#[derive(Default)]
pub(super) struct ExportLooks {
    last: Option<Instant>,
    /// Objects that had expired at the last look.
    expired: BTreeSet<String>,
    /// When the links that this node made since its start are over, as [`Clock::steady`](crate::clock::Clock::steady) has it: no
    /// clock that is set back makes them longer.
    ends: BTreeMap<String, Duration>,
}

/// What was known of a tenant before its records were read for an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before(usize);

impl Erasure {
    /// To be taken before the records of an export are read.
    pub(crate) fn before_export(&self, tenant: TenantId) -> Before {
        let records = self.records.read();
        Before(records.orders.values().filter(|tracked| tracked.order.tenant == tenant).count())
    }

    /// Keeps an export in the region until so many hours are over, and makes the link to it.
    ///
    /// # Errors
    /// [`EraseError::LinkHours`], [`EraseError::Links`], [`EraseError::Overtaken`]; or it could not be made durable.
    pub(crate) async fn keep_export(
        &self,
        tenant: TenantId,
        lines: &[u8],
        hours: u64,
        before: Before,
    ) -> Result<Link, EraseError> {
        let hours = u32::try_from(hours).ok().filter(|hours| (1..=EXPORT_LINK_HOURS).contains(hours));
        let hours = hours.ok_or(EraseError::LinkHours)?;
        let (now, steady) = (self.parts.clock.now(), self.parts.clock.steady());
        if self.kept_exports(&format!("{EXPORTS}/{tenant}")).await?.iter().filter(|kept| kept.until > now).count()
            >= EXPORT_LINKS
        {
            return Err(EraseError::Links);
        }
        let (key, until) = (LinkKey::random()?, Timestamp(now.0.saturating_add(i64::from(hours) * HOUR)));
        let (name, object) = (key.name(), object(tenant, until, &key));
        self.parts.ledger.record(Event::ExportKept { tenant, export: name.clone().into(), until }).await?;
        let sealed = key.seal(lines, &object)?;
        let lives = Duration::from_secs(u64::from(hours) * 3_600);
        self.export_looks.lock().ends.insert(object.clone(), steady + lives);
        self.parts.store.create(&object, Bytes::from(sealed)).await?;
        self.step("export kept")?;
        // An order that came meanwhile took back the links there were; this one may be younger.
        if self.before_export(tenant) != before {
            self.parts.store.delete(&object).await?;
            return Err(EraseError::Overtaken);
        }
        let text = Zeroizing::new(format!("{tenant}-{:x}-{}", until.0, *key.text()));
        Ok(Link { text, name, until })
    }

    /// What lies behind a link, and whose it is. That it was read is in the ledger before.
    ///
    /// # Errors
    /// [`EraseError::NoExport`], whatever the reason is; or the ledger or the bucket does not answer.
    pub(crate) async fn open_export(&self, link: &str) -> Result<(TenantId, Zeroizing<Vec<u8>>), EraseError> {
        let (tenant, until, key) = read(link).ok_or(EraseError::NoExport)?;
        if until <= self.parts.clock.now() {
            return Err(EraseError::NoExport);
        }
        let object = object(tenant, until, &key);
        if self.export_looks.lock().is_over(&object, self.parts.clock.steady()) {
            return Err(EraseError::NoExport);
        }
        let sealed = match self.parts.store.read(&object).await {
            Err(StoreError::Missing { .. }) => return Err(EraseError::NoExport),
            read => read?,
        };
        let lines = key.open(&sealed, &object).ok_or(EraseError::NoExport)?;
        self.parts.ledger.record(Event::ExportRead { tenant, export: key.name().into() }).await?;
        Ok((tenant, lines))
    }

    /// Takes back every link of a tenant; how many.
    pub(super) async fn withdraw_exports(&self, tenant: TenantId) -> Result<usize, EraseError> {
        let kept = self.kept_exports(&format!("{EXPORTS}/{tenant}")).await?;
        for export in &kept {
            self.parts.store.delete(&export.object).await?;
        }
        Ok(kept.len())
    }

    /// Deletes exports whose link has expired, every now and then. What has expired goes when two looks in a row found it so: a clock
    /// that is ahead for less than that takes nobody's export away.
    pub(super) async fn tend_exports(&self, at: Instant) {
        let is_fresh = |last: &Instant| at.saturating_duration_since(*last) < LOOK_AFTER;
        if self.export_looks.lock().last.as_ref().is_some_and(is_fresh) {
            return;
        }
        match self.drop_expired_exports().await {
            Ok(_) => self.export_looks.lock().last = Some(at),
            Err(error) => {
                let (code, error) = (error.code(), &error as &dyn std::error::Error);
                tracing::error!(code, error, "exports that have expired are still there; this is tried again");
            }
        }
    }

    /// Deletes exports whose link is over, or had expired at the look before as well; how many.
    pub(super) async fn drop_expired_exports(&self) -> Result<usize, EraseError> {
        let (now, steady) = (self.parts.clock.now(), self.parts.clock.steady());
        let kept = self.kept_exports(EXPORTS).await?;
        let due: Vec<&Kept> = {
            let looks = self.export_looks.lock();
            let is_due = |export: &&Kept| {
                let twice = export.until <= now && looks.expired.contains(&export.object);
                twice || looks.is_over(&export.object, steady)
            };
            kept.iter().filter(is_due).collect()
        };
        for export in &due {
            self.parts.store.delete(&export.object).await?;
        }
        let looks = &mut *self.export_looks.lock();
        looks.ends.retain(|_, end| *end > steady);
        looks.expired = kept.iter().filter(|export| export.until <= now).map(|export| export.object.clone()).collect();
        Ok(due.len())
    }

    async fn kept_exports(&self, prefix: &str) -> Result<Vec<Kept>, EraseError> {
        let listed = self.parts.store.list(prefix).await?;
        Ok(listed.into_iter().map(|(object, _)| Kept { until: expiry(&object), object }).collect())
    }
}

impl ExportLooks {
    /// Whether the time of a link has passed, by no clock that can be set.
    fn is_over(&self, object: &str, steady: Duration) -> bool {
        self.ends.get(object).is_some_and(|end| *end <= steady)
    }
}

struct Kept {
    object: String,
    until: Timestamp,
}

/// An object that is named otherwise is nobody's, and has expired.
fn expiry(object: &str) -> Timestamp {
    let name = object.rsplit('/').next().and_then(|name| name.split_once('-'));
    let until = name.and_then(|(until, _)| i64::from_str_radix(until, 16).ok());
    Timestamp(until.unwrap_or_default())
}

fn object(tenant: TenantId, until: Timestamp, key: &LinkKey) -> String {
    format!("{EXPORTS}/{tenant}/{:016x}-{}", until.0, key.name())
}

/// Whether a text has the form of a link.
pub(crate) fn is_link(text: &str) -> bool {
    read(text).is_some()
}

/// Tenant, expiry and key of a link.
fn read(link: &str) -> Option<(TenantId, Timestamp, LinkKey)> {
    let mut parts = link.splitn(3, '-');
    let tenant = parts.next()?.parse().ok().map(TenantId)?;
    let until = i64::from_str_radix(parts.next()?, 16).ok().filter(|until| *until >= 0).map(Timestamp)?;
    Some((tenant, until, LinkKey::read(parts.next()?)?))
}

const EXPORTS: &str = "exports";
/// In microseconds.
const HOUR: i64 = 3_600 * Timestamp::MICROS;
/// How often exports that have expired are looked for: they can be read no more, and wait to be deleted.
const LOOK_AFTER: Duration = Duration::from_secs(3_600);

#[cfg(test)]
#[path = "handed_test.rs"]
mod tests;
