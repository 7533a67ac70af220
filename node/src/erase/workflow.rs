//! The workflow: takes an order, hides and shreds it at once, purges what waits together, and goes on after any crash.
//!
//! Every step can be done twice. An order is on record first, and hides; the ledger tells of it before anything is destroyed. Every
//! later step is in the ledger before it is on record, so a crash between the two leaves an entry twice and never a claim
//! without its entry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domicile_proto::ids::{ErasureId, NodeId, Region, ShardId, StreamId, TenantId, Timestamp};
use parking_lot::RwLock;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::deletion::Looks;
use super::errors::EraseError;
use super::handed::ExportLooks;
use super::neighbours::{GroupView, Neighbours, RowsHere};
use super::order::{self, Counted, Order, Records, Shredded, Step, Tracked, Whom};
use super::receipt::Signer;
use super::told::Around;
use super::whole::Stands;
use crate::audit::{Event, Ledger};
use crate::clock::Clock;
use crate::errors::Coded;
use crate::keys::{Destroyed, Target, Vault};
use crate::limits::SUPPRESS_FOR;
use crate::ownership::{Loads, Propose};
use crate::policy::{Awareness, PolicyWatch, Suppression};
use crate::segment::manifest::Manifest;
use crate::segment::{SegmentError, Shards};
use crate::store::Store;
use crate::tasks::Tasks;
use crate::tier::{DAY, Tier};

/// What it works with.
pub(crate) struct Parts {
    pub(crate) region: Region,
    pub(crate) us: NodeId,
    pub(crate) neighbours: Neighbours,
    /// How records of a person are read on this node, where another one of the region asks for them.
    pub(crate) rows: RowsHere,
    pub(crate) group: GroupView,
    pub(crate) propose: Propose,
    pub(crate) awareness: Awareness,
    /// What the shards of this node ask of it, where another one of the region wants to know.
    pub(crate) loads: Loads,
    pub(crate) store: Store,
    pub(crate) shards: Shards,
    pub(crate) suppression: Suppression,
    pub(crate) vault: Arc<Vault>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// Where copies are opened to be looked through.
    pub(crate) cache: PathBuf,
    pub(crate) policy: PolicyWatch,
    /// Days that records are kept where the policy of their stream says nothing.
    pub(crate) retention_days: u32,
    /// Days in the archive, likewise.
    pub(crate) archive_days: u32,
}

/// Erasure in this region.
pub(crate) struct Erasure {
    pub(super) parts: Parts,
    pub(super) signer: Signer,
    pub(super) records: RwLock<Records>,
    pub(super) looks: parking_lot::Mutex<Looks>,
    /// What is known of exports that have expired.
    pub(super) export_looks: parking_lot::Mutex<ExportLooks>,
    /// A purge is wanted before the window is over.
    pub(super) is_purge_due: AtomicBool,
    /// What waits is looked at now.
    pub(super) going_on: Notify,
    /// What the other nodes of the region and the group are known to know.
    pub(super) around: Around,
    /// One purge, deletion or hold at a time. Taken before `ordering`, where both are.
    pub(super) working: tokio::sync::Mutex<()>,
    /// One order or hold at a time, so that no order overtakes a hold; an order never waits for a purge.
    pub(super) ordering: tokio::sync::Mutex<()>,
    /// Where a test ends the work, as a crash would.
    #[cfg(test)]
    pub(super) ends_at: parking_lot::Mutex<Option<&'static str>>,
}

impl Erasure {
    /// With what is on record; `key` is the file of the node's own key.
    ///
    /// # Errors
    /// [`EraseError::Key`].
    pub(crate) fn new(parts: Parts, records: Records, key: &Path) -> Result<Self, EraseError> {
        Ok(Self {
            parts,
            signer: Signer::open(key)?,
            records: RwLock::new(records),
            looks: parking_lot::Mutex::default(),
            export_looks: parking_lot::Mutex::default(),
            is_purge_due: AtomicBool::new(false),
            going_on: Notify::new(),
            around: Around::default(),
            working: tokio::sync::Mutex::new(()),
            ordering: tokio::sync::Mutex::new(()),
            #[cfg(test)]
            ends_at: parking_lot::Mutex::new(None),
        })
    }

    /// Where subjects and originals are known.
    pub(crate) const fn vault(&self) -> &Arc<Vault> {
        &self.parts.vault
    }

    /// Records that came after an order and were left out, since the node started.
    pub(crate) fn late(&self) -> u64 {
        self.parts.suppression.late()
    }

    /// Takes an order about somebody who has no other names.
    #[cfg(test)]
    pub(crate) async fn order(
        &self,
        tenant: TenantId,
        whom: Whom,
        id: Option<ErasureId>,
    ) -> Result<Stands, EraseError> {
        let names = whom.clone();
        self.order_of(tenant, (whom, names), id).await
    }

    /// Takes an order; `names` is all that the same person may be called in a hold. Once this returns it survives everything;
    /// mostly it is shredded by then, and told to the other nodes of the region. With an `id` it is one that another node of the
    /// region took and could not make understood here.
    ///
    /// # Errors
    /// [`EraseError::Nobody`], [`EraseError::TooWide`], [`EraseError::Held`], [`EraseError::HoldUnseen`], [`EraseError::Unheard`];
    /// or it could not be made durable.
    pub(crate) async fn order_of(
        &self,
        tenant: TenantId,
        (whom, names): (Whom, Whom),
        id: Option<ErasureId>,
    ) -> Result<Stands, EraseError> {
        if whom.is_nobody() {
            return Err(EraseError::Nobody);
        }
        let at = self.parts.clock.now();
        let until = self.suppress_for(tenant);
        let order = Order::new(tenant, whom, (at, Timestamp(at.0.saturating_add(until))), random()?);
        let id: Box<str> = id.map_or_else(random_id, |id| Ok(id.to_string().into()))?;
        if !order.fits() {
            return Err(EraseError::TooWide);
        }
        self.hear_holds().await?;
        let problem = {
            let _ordering = self.ordering.lock().await;
            if self.records.read().orders.contains_key(&id) {
                return self.stands(tenant, &id);
            }
            if let Err(refused) = self.refuse_held(&order, &names).await {
                return Err(self.tell_refused(&order, refused).await);
            }
            // Its clock begins when it is taken: a look may have read much.
            self.enter(&id, order.given_at(self.parts.clock.now())).await?;
            self.shred(&id).await.err()
        };
        if let Some(error) = &problem {
            tracing::error!(code = error.code(), error = error as &dyn std::error::Error, "an erasure is tried again");
        }
        self.wait_for_others(&id).await;
        let mut stands = self.stands(tenant, &id)?;
        stands.problem = problem.map(|error| error.code());
        Ok(stands)
    }

    /// Makes an order durable against which no hold stands. The caller holds `ordering`.
    pub(super) async fn enter(&self, id: &str, order: Order) -> Result<(), EraseError> {
        // The entry follows: one of an order that no disk has would be asked for, and never carried out.
        order::put_order(&self.parts.store, id, &order).await?;
        self.step("ordered")?;
        let mut records = self.records.write();
        records.orders.insert(id.into(), Tracked::new(order, &self.parts.clock));
        records.open.insert(id.into());
        Ok(())
    }

    /// How long records that come back are kept out, in microseconds: longer than any stream of the tenant keeps its own.
    fn suppress_for(&self, tenant: TenantId) -> i64 {
        let policy = self.parts.policy.now();
        let own = policy.streams.values().filter(|view| view.tenant == tenant);
        let days = own.map(|view| policy.days_kept(view, self.parts.retention_days));
        let longest = i64::from(days.max().unwrap_or(0).max(self.parts.retention_days)).saturating_mul(DAY);
        let least = i64::try_from(SUPPRESS_FOR.as_micros()).unwrap_or(i64::MAX);
        least.max(longest.saturating_add(31 * DAY))
    }

    /// Hides the records of an order and destroys the keys of its originals.
    pub(super) async fn shred(&self, id: &str) -> Result<(), EraseError> {
        let Some(tracked) = self.records.read().orders.get(id).cloned() else { return Ok(()) };
        if tracked.shredded.is_some() {
            return Ok(());
        }
        // What lies in the bucket may be out of reach; the keys lie here and go all the same.
        let hidden = self.parts.shards.suppress(tracked.suppressed(id)).await;
        if hidden.is_ok() {
            self.step("hidden")?;
        }
        // Hiding can be undone, and waits for nobody; nothing is destroyed that the ledger does not tell of.
        self.ask_for(id, &tracked).await?;
        let counted = self.count(id, &tracked, hidden.as_ref().copied().unwrap_or(0)).await?;
        let vault = Arc::clone(&self.parts.vault);
        let (tenant, order) = (tracked.order.tenant, tracked.order);
        let destroying = self.parts.tasks.blocking(move || destroy(&vault, &order));
        let destroyed = destroying.await.map_err(|_| EraseError::Stopping)??;
        let originals = destroyed.originals.max(counted.originals);
        self.step("destroyed")?;
        let hidden = hidden?.max(counted.hidden);
        // What was handed over before can hold the person, and nobody can look into it.
        self.withdraw_exports(tenant).await?;
        self.step("links taken back")?;
        let shredded = Shredded { at: self.parts.clock.now(), hidden, originals };
        let event = Event::Shredded { erasure: id.into(), hidden, originals };
        self.parts.ledger.record_of(tenant, event).await?;
        self.step("shredded told")?;
        order::put_step(&self.parts.store, (id, self.parts.us), Step::Shredded, &shredded).await?;
        if let Some(tracked) = self.records.write().orders.get_mut(id) {
            tracked.shredded = Some(shredded);
        }
        Ok(())
    }

    /// Has the ledger tell of an order before anything of it is destroyed; once more after a start in between.
    async fn ask_for(&self, id: &str, tracked: &Tracked) -> Result<(), EraseError> {
        if tracked.is_asked_for {
            return Ok(());
        }
        let asked = Event::ErasureRequested { erasure: id.into(), commitment: tracked.order.commitment() };
        self.parts.ledger.record_of(tracked.order.tenant, asked).await?;
        if let Some(tracked) = self.records.write().orders.get_mut(id) {
            tracked.is_asked_for = true;
        }
        self.step("asked for")
    }

    /// How many records an order hides and originals it destroys, on record before the first of them is gone.
    async fn count(&self, id: &str, tracked: &Tracked, hidden: u64) -> Result<Counted, EraseError> {
        if let Some(counted) = tracked.counted {
            return Ok(counted);
        }
        let (vault, order) = (Arc::clone(&self.parts.vault), tracked.order.clone());
        let counting = self.parts.tasks.blocking(move || with_targets(&order, |targets| vault.would_destroy(targets)));
        let originals = counting.await.map_err(|_| EraseError::Stopping)??.originals;
        let counted = Counted { originals, hidden };
        if let Some(tracked) = self.records.write().orders.get_mut(id) {
            tracked.counted = Some(counted);
        }
        // The keys go also where the bucket is away; then only a crash before it is back forgets the number.
        if let Err(error) = order::put_step(&self.parts.store, (id, self.parts.us), Step::Counted, &counted).await {
            tracing::warn!(code = error.code(), error = &error as &dyn std::error::Error, "a count is not on record");
        }
        Ok(counted)
    }

    /// Purges every order that is shredded; how many. Each segment is made anew at most once for all of them.
    ///
    /// # Errors
    /// What keeps it; no order is told gone then that is not.
    pub(crate) async fn purge(&self) -> Result<usize, EraseError> {
        let _working = self.working.lock().await;
        self.finish_deletions().await?;
        // An order that comes from here on is the next purge's: what was made anew before may still hold it.
        let is_due = |tracked: &Tracked| tracked.progress() == Progress::Shredded;
        let records = self.records.read().clone();
        let due: Vec<_> = records.orders.into_iter().filter(|(_, tracked)| is_due(tracked)).collect();
        // Copies in the bucket come first, and also where no order waits: one from before an erasure may have been put back.
        let tier = Tier::new(self.parts.store.clone(), self.parts.cache.clone(), self.parts.tasks.clone());
        let moving = self.parts.shards.moving().write().await;
        let named = self.parts.shards.catalog().copied();
        // Copies of durability `bucket` come and go with their manifest, and those of another node's shards with that node.
        let kept_apart = Manifest::all_in_bucket(&self.parts.store).await?;
        let owners = self.parts.policy.now().owners();
        let is_ours = |shard: ShardId| {
            !kept_apart.contains(&shard) && owners.get(&shard).is_none_or(|owner| *owner == self.parts.us)
        };
        // A cold copy of what lies in the archive is no segment: made anew it would have an id that nobody looks for.
        for shard in self.parts.shards.catalog().archives() {
            self.parts.shards.sweep_archive(shard).await?;
        }
        let now = self.parts.clock.now();
        let mut rewritten = tier.purge(self.parts.shards.layout(), (&named, is_ours), now).await?;
        self.step("copies made anew")?;
        if due.is_empty() {
            return Ok(0);
        }
        // What is not taken up yet, or cannot be read, may hold whom nobody looked for there: nothing is gone before it was.
        if let Some(shard) = self.parts.shards.catalog().lacking() {
            return Err(SegmentError::NotWhole { shard }.into());
        }
        rewritten.extend(self.parts.shards.purge().await?);
        drop(moving);
        self.step("rewritten")?;
        if let Some(dir) = self.parts.shards.set_aside()? {
            return Err(EraseError::Aside { dir: dir.display().to_string() });
        }
        for (id, tracked) in &due {
            // An original that was being sealed while the order came in got a key after they were destroyed.
            let (vault, order) = (Arc::clone(&self.parts.vault), tracked.order.clone());
            let destroying = self.parts.tasks.blocking(move || destroy(&vault, &order));
            destroying.await.map_err(|_| EraseError::Stopping)??;
            let left = self.parts.shards.count(tracked.suppressed(id)).await?;
            if left > 0 {
                return Err(EraseError::Left { order: id.clone(), left });
            }
            let Some(shredded) = tracked.shredded else { continue };
            let at = self.parts.clock.now();
            let names = (&**id, self.parts.region.as_str());
            let receipt = self.signer.receipt(names, tracked, shredded, (at, &rewritten))?;
            let segments = u64::try_from(rewritten.len()).unwrap_or(u64::MAX);
            let removed = rewritten.iter().map(|one| u64::from(one.removed)).sum();
            let event = Event::Purged { erasure: id.clone(), segments, removed, receipt: sha256(&receipt) };
            self.parts.ledger.record_of(tracked.order.tenant, event).await?;
            self.step("gone told")?;
            order::put_step(&self.parts.store, (id, self.parts.us), Step::Gone, &receipt).await?;
            self.parts.suppression.purged(id);
            if let Some(tracked) = self.records.write().orders.get_mut(id) {
                tracked.receipt = Some(receipt);
            }
        }
        self.conclude().await?;
        Ok(due.len())
    }

    /// How an order stands, as far as this node has it on record.
    ///
    /// # Errors
    /// [`EraseError::Unknown`].
    pub(crate) fn stands(&self, tenant: TenantId, id: &str) -> Result<Stands, EraseError> {
        let unknown = || EraseError::Unknown { id: id.chars().take(80).collect::<String>().into() };
        let records = self.records.read();
        let tracked = records.orders.get(id).filter(|tracked| tracked.order.tenant == tenant).ok_or_else(unknown)?;
        let number = id.parse().map_err(|_| unknown())?;
        Ok(self.as_it_stands(number, Some(tracked), &BTreeMap::new()))
    }

    /// All orders of a tenant, as far as this node has them on record.
    pub(crate) fn all(&self, tenant: TenantId) -> Vec<Stands> {
        let records = self.records.read();
        let own = records.orders.iter().filter(|(_, tracked)| tracked.order.tenant == tenant);
        let own = own.filter_map(|(id, tracked)| Some((id.parse().ok()?, tracked)));
        own.map(|(id, tracked)| self.as_it_stands(id, Some(tracked), &BTreeMap::new())).collect()
    }

    /// Records in the ledger that everything about somebody was handed over.
    ///
    /// # Errors
    /// The ledger does not take it: nothing may be handed over then.
    pub(crate) async fn tell_export(&self, tenant: TenantId, records: u64, originals: u64) -> Result<(), EraseError> {
        self.parts.ledger.record(Event::SubjectExported { tenant, records, originals }).await?;
        Ok(())
    }

    /// Goes on with what was interrupted, purges when a window is over, and forgets what has expired, until cancelled.
    pub(crate) async fn keep_going(self: Arc<Self>, token: CancellationToken) {
        loop {
            if let Err(error) = self.tend().await {
                tracing::error!(
                    code = error.code(),
                    error = &error as &dyn std::error::Error,
                    "an erasure is tried again"
                );
            }
            self.tend_retention(tokio::time::Instant::now()).await;
            self.tend_exports(tokio::time::Instant::now()).await;
            let rest = async {
                tokio::select! {
                    () = self.going_on.notified() => {}
                    () = tokio::time::sleep(LOOK_AFTER) => {}
                }
            };
            if token.run_until_cancelled(rest).await.is_none() {
                return;
            }
        }
    }

    /// One round of it.
    ///
    /// # Errors
    /// What keeps an order; it is tried again.
    pub(crate) async fn tend(&self) -> Result<(), EraseError> {
        let now = self.parts.clock.now();
        let records = self.records.read().clone();
        let mut failed = Ok(());
        for (id, _) in records.orders.iter().filter(|(_, tracked)| tracked.progress() == Progress::Ordered) {
            let _ordering = self.ordering.lock().await;
            // One that waits for something keeps no other waiting.
            failed = failed.and(self.shred(id).await);
        }
        failed?;
        let mut shredded = records.orders.values().filter(|tracked| tracked.progress() == Progress::Shredded);
        let is_due = shredded.any(|tracked| tracked.waits(&self.parts.clock).is_zero());
        if self.is_purge_due.swap(false, Ordering::AcqRel) || is_due {
            self.purge().await?;
        }
        self.parts.suppression.expire(now);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn step(&self, name: &'static str) -> Result<(), EraseError> {
        if *self.ends_at.lock() == Some(name) { Err(EraseError::Stopping) } else { Ok(()) }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "a test ends the work here")]
    pub(super) const fn step(&self, _: &'static str) -> Result<(), EraseError> {
        Ok(())
    }
}

fn destroy(vault: &Vault, order: &Order) -> Result<Destroyed, EraseError> {
    Ok(with_targets(order, |targets| vault.destroy(targets))?)
}

fn with_targets<T>(order: &Order, work: impl FnOnce(&[Target<'_>]) -> T) -> T {
    with_targets_of(order.tenant, &order.whom, work)
}

/// What an erasure would destroy. A token loses its original in all streams of the tenant, whichever of them are named.
pub(super) fn with_targets_of<T>(tenant: TenantId, whom: &Whom, work: impl FnOnce(&[Target<'_>]) -> T) -> T {
    let streams: Option<Vec<StreamId>> =
        whom.only.as_ref().map(|only| only.iter().map(|(stream, _)| *stream).collect());
    let subjects = whom.subjects.iter().map(|subject| match &streams {
        None => Target::Subject { tenant, subject: *subject },
        Some(streams) => Target::SubjectIn { tenant, subject: *subject, streams },
    });
    let tokens = whom.tokens.iter().map(|token| Target::Token { tenant, token });
    work(&subjects.chain(tokens).collect::<Vec<_>>())
}

/// A fresh id: 128 random bits.
pub(super) fn random_id() -> Result<Box<str>, EraseError> {
    Ok(hex::encode(random()?).get(..ID_LETTERS).unwrap_or_default().into())
}

fn random() -> Result<[u8; 32], EraseError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| crate::keys::KeysError::NoRandomness)?;
    Ok(bytes)
}

pub(super) fn sha256(receipt: &Value) -> [u8; 32] {
    let mut digest = [0; 32];
    let bytes = serde_json::to_vec(receipt).unwrap_or_default();
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
    digest
}

/// How often what waits is looked at.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// Letters of an id: 128 random bits.
const ID_LETTERS: usize = 32;
