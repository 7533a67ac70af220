//! Retention carried out: what is past its period is deleted for good, and the evidence of it is signed.
//!
//! A deletion is of one tenant. Its plan names every segment with its digest and is on record before anything goes; then the
//! segments leave the manifest, the disk, the log and the bucket, and the originals of their days lose their keys; then the
//! evidence is signed. A crash in between is made good from the plan: a deletion that was begun is always finished.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domicile_proto::ids::{Name, NodeId, ShardId, StreamId, TenantId, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::errors::EraseError;
use super::order::{self, Records};
use super::retention::{Fate, Lying, Period, Planned, plan};
use super::workflow::{Erasure, random_id, sha256};
use crate::audit::Event;
use crate::errors::Coded;
use crate::keys::{Day, Target};
use crate::limits::{RETENTION_LOOK, RETENTION_SEGMENTS};
use crate::policy::Wanted;
use crate::segment::{Segment, SegmentId, Whole};
use crate::tier::{self, DAY, StreamHold};

/// The plan of a deletion, as it is on record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deletion {
    version: u32,
    pub(crate) tenant: TenantId,
    pub(crate) at: Timestamp,
    /// Whose segments they are: other nodes of the region may have the same bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    rows: Vec<Row>,
}

/// A segment that goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    stream: StreamId,
    name: Name,
    shard: ShardId,
    days: u32,
    segment: String,
    sha256: String,
    records: u32,
    bytes: u64,
    received_until: Timestamp,
    /// Since when it lay in the archive, and for how many days it was kept there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    archived_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    archive_days: Option<u32>,
}

/// A deletion and its evidence.
#[derive(Clone)]
pub(crate) struct Deleted {
    pub(crate) deletion: Deletion,
    /// Signed, as JSON; none while it is under way.
    pub(crate) evidence: Option<Value>,
}

impl Deletion {
    fn segments(&self) -> u64 {
        u64::try_from(self.rows.len()).unwrap_or(u64::MAX)
    }

    fn records(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.records)).sum()
    }

    fn ids(&self) -> impl Iterator<Item = (ShardId, SegmentId)> {
        self.rows.iter().filter_map(|row| Some((row.shard, SegmentId(u128::from_str_radix(&row.segment, 16).ok()?))))
    }
}

/// Since when segments were seen to be due, by the machine's steady clock and not by that of the region.
#[derive(Default)]
pub(super) struct Looks {
    last: Option<Instant>,
    due: BTreeSet<SegmentId>,
}

impl Records {
    /// Deletions that this node began and did not finish.
    fn begun_by(&self, us: NodeId) -> impl Iterator<Item = (&Box<str>, &Deletion)> {
        let open = self.deletions.iter().filter(|(_, deleted)| deleted.evidence.is_none());
        let open = open.map(|(id, deleted)| (id, &deleted.deletion));
        open.filter(move |(_, deletion)| deletion.node.is_none_or(|node| node == us))
    }

    /// The segments that such a deletion names.
    pub(crate) fn doomed_by(&self, us: NodeId) -> impl Iterator<Item = SegmentId> {
        self.begun_by(us).flat_map(|(_, deletion)| deletion.ids().map(|(_, segment)| segment))
    }
}

impl Erasure {
    /// The fate of every segment, of one tenant or of all.
    pub(crate) fn retention_plan(&self, tenant: Option<TenantId>) -> Vec<Planned> {
        let policy = self.parts.policy.now();
        let known = policy.streams.values().filter(|view| tenant.is_none_or(|tenant| tenant == view.tenant));
        let periods: Vec<Period> = known
            .filter_map(|view| {
                let days = policy.days_kept(view, self.parts.retention_days);
                let archive_for = policy.archive_for(view, self.parts.archive_days);
                let (stream, name) = (view.id, view.name.clone());
                view.shard.map(|(shard, _)| Period { tenant: view.tenant, stream, name, shard, days, archive_for })
            })
            .collect();
        let archived = self.archived();
        let ids: BTreeSet<SegmentId> = archived.iter().map(|one| one.segment).collect();
        // A copy of what lies in the archive goes together with it.
        let shown = self.segments().iter().map(lying_of).filter(|one| !ids.contains(&one.segment)).collect::<Vec<_>>();
        let lying: Vec<Lying> = shown.into_iter().chain(archived).collect();
        plan(&periods, &lying, &self.stream_holds(), self.parts.clock.now())
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        let catalog = self.parts.shards.catalog();
        catalog.shards().into_iter().flat_map(|shard| catalog.view(shard).to_vec()).collect()
    }

    fn archived(&self) -> Vec<Lying> {
        let catalog = self.parts.shards.catalog();
        let of = |shard: ShardId| {
            let archive = catalog.archive(shard);
            let lying = archive.iter().filter_map(|one| {
                Some(Lying {
                    segment: one.id()?,
                    shard,
                    records: one.row.docs,
                    bytes: one.bytes(),
                    received_until: one.row.received_until,
                    is_durable: true,
                    archived: Some(one.since),
                })
            });
            lying.collect::<Vec<_>>()
        };
        catalog.archives().into_iter().flat_map(of).collect()
    }

    /// The holds on whole streams.
    pub(crate) fn stream_holds(&self) -> Vec<StreamHold> {
        let records = self.records.read();
        let of_streams = records.holds.iter().filter(|(_, hold)| hold.whom.is_nobody());
        let streams = |only: &Vec<(StreamId, Option<ShardId>)>| only.iter().map(|(stream, _)| *stream).collect();
        let hold = of_streams.map(|(id, hold)| StreamHold {
            id: id.clone(),
            tenant: hold.tenant,
            streams: hold.whom.only.as_ref().map(streams),
        });
        hold.collect()
    }

    /// Holds on persons that may have records in a stream.
    fn person_holds(&self, period: &Period) -> Vec<(Box<str>, Wanted)> {
        let records = self.records.read();
        let touching = records.holds.iter().filter(|(_, hold)| {
            let only = hold.whom.only.as_ref();
            let is_of_stream = only.is_none_or(|only| only.iter().any(|(stream, _)| *stream == period.stream));
            hold.tenant == period.tenant && !hold.whom.is_nobody() && is_of_stream
        });
        let wanted = touching.map(|(id, hold)| {
            let subjects = hold.whom.subjects.iter().copied().collect();
            (id.clone(), Wanted { subjects, tokens: hold.whom.tokens.iter().cloned().collect() })
        });
        wanted.collect()
    }

    /// Deletes what is past its retention, of one tenant or of all; the ids of the deletions. Where a person is held, a segment
    /// with a record of theirs stays whole.
    ///
    /// # Errors
    /// What keeps it; what was begun is finished by the next call.
    pub(crate) async fn drop_due(&self, tenant: Option<TenantId>) -> Result<Vec<Box<str>>, EraseError> {
        self.hear_holds_anew().await?;
        let _working = self.working.lock().await;
        self.finish_deletions().await?;
        let planned = self.retention_plan_with_persons(tenant).await?;
        self.delete(portion(planned, |_| true)).await
    }

    /// The plan, where segments with a record of a person who is held are held too. Decodes what is due in streams with such a
    /// hold.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(crate) async fn retention_plan_with_persons(
        &self,
        tenant: Option<TenantId>,
    ) -> Result<Vec<Planned>, EraseError> {
        let mut planned = self.retention_plan(tenant);
        for one in planned.iter_mut().filter(|one| one.fate == Fate::Due) {
            let holds = self.person_holds(&one.period);
            if one.lying.archived.is_some() {
                // Nobody looks into the archive for it: what may hold a record of theirs stays.
                if let Some((hold, _)) = holds.into_iter().next() {
                    one.fate = Fate::Held(hold);
                }
                continue;
            }
            let Some(segment) = self.segment(one.lying.shard, one.lying.segment) else { continue };
            for (hold, wanted) in holds {
                if self.parts.shards.holds(Arc::clone(&segment), wanted).await? {
                    one.fate = Fate::Held(hold);
                    break;
                }
            }
        }
        Ok(planned)
    }

    fn segment(&self, shard: ShardId, id: SegmentId) -> Option<Arc<Segment>> {
        self.parts.shards.catalog().view(shard).iter().find(|segment| segment.id == id).cloned()
    }

    /// A look at what is due, now and then. A segment goes when two looks in a row found it so: a clock that jumps and comes
    /// back deletes nothing.
    pub(super) async fn look_for_due(&self, at: Instant) -> Result<(), EraseError> {
        let working = self.working.lock().await;
        self.finish_deletions().await?;
        if self.looks.lock().last.is_some_and(|last| at.saturating_duration_since(last) < RETENTION_LOOK) {
            return Ok(());
        }
        // Where somebody is silent the next look is as late as any: nothing goes early for it.
        self.looks.lock().last = Some(at);
        drop(working);
        // A hold that is being told meanwhile waits for whoever works, so nobody works while the others are asked.
        self.hear_holds_anew().await?;
        let _working = self.working.lock().await;
        let planned = self.retention_plan_with_persons(None).await?;
        let due = planned.iter().filter(|one| one.fate == Fate::Due).map(|one| one.lying.segment).collect();
        let before = std::mem::replace(&mut *self.looks.lock(), Looks { last: Some(at), due }).due;
        self.delete(portion(planned, |one| before.contains(&one.lying.segment))).await.map(|_| ())
    }

    async fn delete(&self, due: Vec<Planned>) -> Result<Vec<Box<str>>, EraseError> {
        let mut of_tenants: BTreeMap<TenantId, Vec<Row>> = BTreeMap::new();
        // What is merged from here on would be deleted under an id that it no longer has.
        self.parts.shards.spare(due.iter().map(|one| one.lying.segment)).await?;
        for one in due {
            let tenant = one.period.tenant;
            if let Some(row) = self.row_of(one).await? {
                of_tenants.entry(tenant).or_default().push(row);
            }
        }
        let mut deletions = Vec::new();
        for (tenant, rows) in of_tenants {
            let (id, at) = (random_id()?, self.parts.clock.now());
            let deletion = Deletion { version: VERSION, tenant, at, node: Some(self.parts.us), rows };
            let plan = plan_digest(&deletion);
            let (segments, records) = (deletion.segments(), deletion.records());
            let event = Event::RetentionBegun { deletion: id.clone(), tenant, segments, records, plan };
            self.parts.ledger.record(event).await?;
            order::put_deletion(&self.parts.store, &id, "plan", &deletion).await?;
            self.records.write().deletions.insert(id.clone(), Deleted { deletion, evidence: None });
            self.step("deletion planned")?;
            self.carry_out(&id).await?;
            deletions.push(id);
        }
        Ok(deletions)
    }

    /// A segment as the plan of a deletion has it; none where it is gone.
    async fn row_of(&self, planned: Planned) -> Result<Option<Row>, EraseError> {
        let Planned { period, lying, .. } = planned;
        let sha256 = match (lying.archived, self.segment(lying.shard, lying.segment)) {
            (Some(_), _) => {
                let archive = self.parts.shards.catalog().archive(lying.shard);
                let known = archive.iter().find(|one| one.id() == Some(lying.segment));
                let Some(copied) = known.and_then(|one| one.row.copied.as_ref()) else { return Ok(None) };
                copied.digest().unwrap_or_default()
            }
            (None, Some(segment)) => self.parts.shards.digest(segment).await?,
            (None, None) => return Ok(None),
        };
        Ok(Some(Row {
            stream: period.stream,
            name: period.name,
            shard: lying.shard,
            days: period.days,
            segment: lying.segment.to_string(),
            sha256: hex::encode(sha256),
            records: lying.records,
            bytes: lying.bytes,
            received_until: lying.received_until,
            archived_at: lying.archived,
            archive_days: lying.archived.and(period.archive_for),
        }))
    }

    /// Finishes what was begun. The caller holds the place of whoever works.
    pub(super) async fn finish_deletions(&self) -> Result<(), EraseError> {
        let open: Vec<_> = self.records.read().begun_by(self.parts.us).map(|(id, _)| id.clone()).collect();
        for id in open {
            self.carry_out(&id).await?;
        }
        Ok(())
    }

    async fn carry_out(&self, id: &str) -> Result<(), EraseError> {
        let Some(Deleted { deletion, .. }) = self.records.read().deletions.get(id).cloned() else { return Ok(()) };
        let mut gone = Whole::new();
        for (shard, segment) in deletion.ids() {
            gone.entry(shard).or_default().insert(segment);
        }
        let moving = self.parts.shards.moving().write().await;
        self.parts.shards.drop_whole(gone).await?;
        self.step("segments deleted")?;
        let mut objects = 0;
        for (shard, segment) in deletion.ids() {
            objects += tier::forget_all(&self.parts.store, shard, segment).await?;
        }
        let originals = self.destroy_days(&deletion).await?;
        self.step("originals destroyed")?;
        self.nothing_stays(id, &deletion).await?;
        drop(moving);
        let evidence = self.signer.sign(&self.said(id, &deletion, (objects, originals)))?;
        let (tenant, segments, records) = (deletion.tenant, deletion.segments(), deletion.records());
        let sha256 = sha256(&evidence);
        let event = Event::RetentionDropped { deletion: id.into(), tenant, segments, records, evidence: sha256 };
        self.parts.ledger.record(event).await?;
        self.step("deletion told")?;
        order::put_deletion(&self.parts.store, id, "evidence", &evidence).await?;
        if let Some(deleted) = self.records.write().deletions.get_mut(id) {
            deleted.evidence = Some(evidence);
        }
        Ok(())
    }

    /// Destroys originals that were last seen before the period began, but for streams in which anybody is held. None that is younger
    /// than the segments that go: the clock may have jumped since they were found to be due.
    async fn destroy_days(&self, deletion: &Deletion) -> Result<u64, EraseError> {
        let holds = self.stream_holds();
        let mut streams = BTreeMap::new();
        for row in &deletion.rows {
            let period = Period {
                tenant: deletion.tenant,
                stream: row.stream,
                name: row.name.clone(),
                shard: row.shard,
                days: row.days,
                archive_for: None,
            };
            if self.person_holds(&period).is_empty()
                && !holds.iter().any(|hold| hold.concerns(period.tenant, period.stream))
            {
                let (_, until) = streams.entry(row.stream).or_insert((row.days, row.received_until));
                *until = row.received_until.max(*until);
            }
        }
        let (vault, tenant, at) = (Arc::clone(&self.parts.vault), deletion.tenant, deletion.at);
        let destroying = self.parts.tasks.blocking(move || {
            let targets = streams.into_iter().map(|(stream, (days, until))| {
                let begun = Day::of(Timestamp(at.0.saturating_sub(i64::from(days).saturating_mul(DAY))));
                let before = begun.min(Day::of(Timestamp(until.0.saturating_add(DAY))));
                Target::Days { tenant, stream, before }
            });
            vault.destroy(&targets.collect::<Vec<_>>())
        });
        Ok(destroying.await.map_err(|_| EraseError::Stopping)??.originals)
    }

    /// Looks again, at all places.
    async fn nothing_stays(&self, id: &str, deletion: &Deletion) -> Result<(), EraseError> {
        for (shard, segment) in deletion.ids() {
            let catalog = self.parts.shards.catalog();
            let is_shown = catalog.view(shard).iter().any(|one| one.id == segment)
                || catalog.archive(shard).iter().any(|one| one.id() == Some(segment));
            if is_shown || tier::is_anywhere(&self.parts.store, shard, segment).await? {
                return Err(EraseError::Stays { deletion: id.into(), segment: segment.to_string().into() });
            }
        }
        Ok(())
    }

    fn said(&self, id: &str, deletion: &Deletion, (objects, originals): (u64, u64)) -> Value {
        json!({
            "version": 1, "deletion": id, "region": self.parts.region, "tenant": deletion.tenant,
            "planned_at": deletion.at, "deleted_at": self.parts.clock.now(),
            "plan_sha256": hex::encode(plan_digest(deletion)),
            "segments": deletion.rows, "records": deletion.records(),
            "objects_of_copies_deleted": objects, "originals_destroyed": originals,
            "proves": "these segments were past their retention, left the manifest, the disk of this node, its write-ahead log, the bucket and its archive; it does not prove that no copy was made elsewhere",
        })
    }

    /// Deletions of a tenant, each with its evidence.
    pub(crate) fn deletions(&self, tenant: TenantId) -> Vec<Value> {
        let records = self.records.read();
        let own = records.deletions.iter().filter(|(_, deleted)| deleted.deletion.tenant == tenant);
        let mut own: Vec<_> = own.collect();
        own.sort_unstable_by_key(|(_, deleted)| deleted.deletion.at);
        let told = own.into_iter().map(|(id, Deleted { deletion, evidence })| {
            json!({
                "id": id, "state": if evidence.is_some() { "gone" } else { "under way" }, "planned_at": deletion.at,
                "segments": deletion.segments(), "records": deletion.records(), "evidence": evidence,
            })
        });
        told.collect()
    }

    /// One round of retention; an error is told and tried again.
    pub(super) async fn tend_retention(&self, at: Instant) {
        if let Err(error) = self.look_for_due(at).await {
            let (code, error) = (error.code(), &error as &dyn std::error::Error);
            tracing::error!(code, error, "records past their retention are still there; this is tried again");
        }
    }
}

/// What is due and wanted, as much of each tenant as one deletion names.
pub(super) fn portion(planned: Vec<Planned>, wanted: impl Fn(&Planned) -> bool) -> Vec<Planned> {
    let mut taken: BTreeMap<TenantId, usize> = BTreeMap::new();
    let due = planned.into_iter().filter(|one| one.fate == Fate::Due && wanted(one));
    due.filter(|one| {
        let taken = taken.entry(one.period.tenant).or_default();
        *taken += 1;
        *taken <= RETENTION_SEGMENTS
    })
    .collect()
}

fn lying_of(segment: &Arc<Segment>) -> Lying {
    Lying {
        segment: segment.id,
        shard: segment.shard,
        records: segment.docs,
        bytes: segment.bytes,
        received_until: segment.received_until,
        is_durable: !segment.is_young(),
        archived: None,
    }
}

fn plan_digest(deletion: &Deletion) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, &serde_json::to_vec(deletion).unwrap_or_default()).as_ref());
    sum
}

const VERSION: u32 = 1;
