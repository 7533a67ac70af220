//! The mover: carries out the plan, a few segments beside each other and not faster than it may.
//!
//! A segment that becomes cold is copied out, read back and compared with its digests, opened where it lies now, and only then takes
//! the place of the one on the disk in the manifest, which is created if absent. Killed anywhere it leaves the segment where it was
//! or where it should be, and takes up again what it finds half done. Deletes nothing for good and decides nothing: see `plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{ShardId, Timestamp};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::blocks::Blocks;
use super::errors::TierError;
use super::forget::forget;
use super::pack::{Cold, Tier};
use super::plan::{Action, Lying, Move, Place, Room, Rule, StreamHold, plan};
use crate::clock::Clock;
use crate::errors::Coded;
use crate::limits::{LIFECYCLE_LOOK, MOVES_AT_ONCE, RETENTION_LOOK};
use crate::segment::manifest::Row;
use crate::segment::plan::{Piece, is_sealed};
use crate::segment::{Archived, RollOver, Segment, SegmentError, SegmentId, Shards};

/// What the mover works with.
pub(crate) struct MoverParts {
    pub(crate) tier: Tier,
    pub(crate) shards: Shards,
    pub(crate) clock: Clock,
    /// The rules of this node's shards now.
    pub(crate) rules: Arc<dyn Fn() -> Vec<Rule> + Send + Sync>,
    /// The holds on whole streams now.
    pub(crate) holds: Arc<dyn Fn() -> Vec<StreamHold> + Send + Sync>,
    /// Room for segments on the disk; none means that age alone moves them.
    pub(crate) room: Option<Room>,
    /// Bytes a second that may be copied out by all moves together.
    pub(crate) pace: u64,
}

/// Moves the segments of this node.
pub(crate) struct Mover {
    pub(super) parts: MoverParts,
    pub(super) state: Mutex<State>,
    /// One round at a time.
    working: tokio::sync::Mutex<()>,
    /// What is due and waits, and since when it was found so by every look.
    due: Mutex<BTreeMap<(SegmentId, Action), Instant>>,
    /// Shards in whose archive nothing is left of interrupted work.
    pub(super) clean: Mutex<BTreeSet<ShardId>>,
    /// Somebody waits for the next one.
    wake: tokio::sync::Notify,
}

/// How it goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Segments moved since the node started, by what was done.
    pub(crate) moved: BTreeMap<&'static str, u64>,
    /// Code and time of the last failure that was not made good since.
    pub(crate) trouble: Option<(&'static str, Timestamp)>,
    /// Segments on their way.
    pub(crate) moving: BTreeSet<String>,
    /// Bytes that are done of segments on their way out of the archive.
    pub(crate) restoring: BTreeMap<String, u64>,
}

/// A cold segment with a cache of its own, which is empty.
pub(crate) struct Unread {
    pub(crate) segment: Arc<Segment>,
    /// Bytes that opening it takes.
    pub(crate) opening: u64,
    blocks: Blocks,
}

impl Unread {
    /// Requests and bytes that were read since it was opened.
    pub(crate) fn read(&self) -> (u64, u64) {
        self.blocks.fetched()
    }
}

impl Mover {
    /// From its parts.
    pub(crate) fn new(parts: MoverParts) -> Self {
        Self {
            parts,
            state: Mutex::default(),
            due: Mutex::default(),
            working: tokio::sync::Mutex::default(),
            wake: tokio::sync::Notify::new(),
            clean: Mutex::default(),
        }
    }

    /// What should lie elsewhere, and why.
    pub(crate) fn planned(&self) -> Vec<Move> {
        let MoverParts { rules, holds, room, clock, .. } = &self.parts;
        plan(&rules(), &self.lying(), &holds(), *room, clock.now())
    }

    /// How it goes.
    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Every durable segment, as the plan cares.
    pub(crate) fn lying(&self) -> Vec<Lying> {
        let catalog = self.parts.shards.catalog();
        let (now, roll) = (self.parts.clock.now(), self.parts.shards.roll());
        let mut lying = Vec::new();
        for shard in catalog.shards() {
            let view = catalog.view(shard);
            let archive = catalog.archive(shard);
            let is_copy = |segment: &Arc<Segment>| archive.iter().any(|one| one.id() == Some(segment.id));
            let durable: Vec<_> = view.iter().filter(|segment| !segment.is_young() && !is_copy(segment)).collect();
            lying.extend(durable.iter().enumerate().map(|(at, segment)| {
                let beside = [at.checked_sub(1).and_then(|at| durable.get(at)), durable.get(at + 1)];
                let joins = beside.into_iter().flatten().any(|other| belong(segment, other, (roll, now)));
                lying_of(segment, joins, (roll, now))
            }));
        }
        lying.extend(self.archived());
        lying
    }

    /// Does what is planned now; how many segments moved. One that fails is told of and tried again by the next call.
    pub(crate) async fn carry_out(&self) -> u64 {
        self.carry_out_seen(None).await
    }

    /// The same; of a look of the node itself, what is searched no more afterwards has to be due in every look of an hour, so that a
    /// clock which is ahead for less than that puts nothing away.
    pub(crate) async fn carry_out_seen(&self, look: Option<Instant>) -> u64 {
        // Two who move the same segment would each take the other's copy for a leftover.
        let _working = self.working.lock().await;
        self.sweep_archives().await;
        let mut planned: Vec<Move> = self.planned().into_iter().filter(Move::is_due).collect();
        if let Some(at) = look {
            self.keep_waiting(&mut planned, at);
        }
        let mut moved = self.join_days(&planned).await;
        let carried = planned.into_iter().filter(|one| CARRIED.contains(&one.action));
        let mut carried = futures::stream::iter(carried.map(|one| self.carry(one))).buffer_unordered(MOVES_AT_ONCE);
        while let Some(is_moved) = carried.next().await {
            moved += u64::from(is_moved);
        }
        moved
    }

    /// Takes out of a plan what was not due for long enough.
    fn keep_waiting(&self, planned: &mut Vec<Move>, at: Instant) {
        let mut due = self.due.lock();
        let of = |one: &Move| (one.lying.segment, one.action);
        let waits = |one: &Move| matches!(one.action, Action::Archive | Action::LetGo);
        let waiting = planned.iter().filter(|one| waits(one)).map(of);
        let since: BTreeMap<_, _> = waiting.map(|of| (of, due.get(&of).copied().unwrap_or(at))).collect();
        let is_ripe = |since: &Instant| at.saturating_duration_since(*since) >= RETENTION_LOOK;
        planned.retain(|one| !waits(one) || since.get(&of(one)).is_some_and(is_ripe));
        *due = since;
    }

    /// Carries out the plan now and then, until cancelled.
    pub(crate) async fn keep_moving(self: Arc<Self>, token: CancellationToken) {
        loop {
            let next = tokio::time::timeout(LIFECYCLE_LOOK, self.wake.notified());
            if token.run_until_cancelled(next).await.is_none() {
                return;
            }
            if token.run_until_cancelled(self.carry_out_seen(Some(Instant::now()))).await.is_none() {
                return;
            }
        }
    }

    /// Has the next round begin at once.
    pub(crate) fn look_now(&self) {
        self.wake.notify_one();
    }

    async fn carry(&self, one: Move) -> bool {
        let name = one.lying.segment.to_string();
        self.state.lock().moving.insert(name.clone());
        let began = Instant::now();
        let carried = match one.action {
            Action::Archive => self.put_away(&one.lying).await,
            Action::Restore => self.restore(&one.lying, &name).await,
            Action::LetGo => self.let_go(&one.lying).await.map(|is_gone| (is_gone, 0)),
            _ => self.cool(&one.lying).await,
        };
        match &carried {
            Ok((_, bytes)) => self.keep_pace(*bytes, began).await,
            Err(_) => self.dirty(one.lying.shard),
        }
        let state = &mut *self.state.lock();
        state.moving.remove(&name);
        state.restoring.remove(&name);
        self.told_in(state, one.action, carried.map(|(is_moved, _)| is_moved))
    }

    /// Each of those who move beside each other has its share of the pace.
    async fn keep_pace(&self, bytes: u64, began: Instant) {
        let share = (self.parts.pace / MOVES_AT_ONCE as u64).max(1);
        let due = Duration::from_secs(bytes / share) + Duration::from_nanos(bytes % share * 1_000_000_000 / share);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }

    fn told(&self, action: Action, outcome: Result<bool, TierError>) -> bool {
        self.told_in(&mut self.state.lock(), action, outcome)
    }

    fn told_in(&self, state: &mut State, action: Action, outcome: Result<bool, TierError>) -> bool {
        match outcome {
            Ok(is_moved) => {
                state.trouble = None;
                if is_moved {
                    *state.moved.entry(action.as_str()).or_default() += 1;
                }
                is_moved
            }
            Err(error) => {
                let (code, error) = (error.code(), &error as &dyn std::error::Error);
                tracing::warn!(code, error, "a segment stays where it is; this is tried again");
                state.trouble = Some((code, self.parts.clock.now()));
                false
            }
        }
    }

    /// Copies a segment out and lets it lie there. Whether it does, and its size: not where it changed meanwhile.
    async fn cool(&self, lying: &Lying) -> Result<(bool, u64), TierError> {
        let MoverParts { tier, shards, clock, .. } = &self.parts;
        let moving = shards.moving().read().await;
        let view = shards.catalog().view(lying.shard);
        let found = view.iter().find(|segment| segment.id == lying.segment && segment.dir.is_some()).cloned();
        let Some(segment) = found.filter(|segment| segment.hidden().is_empty()) else { return Ok((false, 0)) };
        let cold = self.copied(&segment).await?;
        let bytes = tier.verify(&cold, |_| {}).await?;
        tier.step("verified")?;
        let mut cold = cold;
        cold.row.copied = Some(cold.named_by(bytes, clock.now()));
        let there = tier.open_in_place(shards.layout(), &cold).await?;
        let failed = |source: SegmentError| TierError::Open { segment: cold.id, source: Box::new(source) };
        let is_moved = shards.switch(Arc::new(there)).await.map_err(failed)?;
        if !is_moved && !shards.is_in_bucket(cold.shard) && !shards.catalog().copied().contains(&cold.id) {
            let stored = |source| TierError::Store { segment: cold.id, source: Box::new(source) };
            forget(&tier.store, cold.shard, cold.id).await.map_err(stored)?;
        }
        // A purge need not wait for what is only slow on purpose.
        drop(moving);
        Ok((is_moved, bytes))
    }

    /// The copy of a segment: made now, or found whole where a move was interrupted.
    async fn copied(&self, segment: &Segment) -> Result<Cold, TierError> {
        let tier = &self.parts.tier;
        if self.parts.shards.is_in_bucket(segment.shard) {
            // Its manifest names the copy: it is found, or made with the next manifest.
            let cold = tier.copy_at(segment.shard, segment.id).await?;
            return tier.verify(&cold, |_| {}).await.map(|_| cold);
        }
        if super::is_copied(&tier.store, segment.shard, segment.id).await.is_ok_and(|is_there| is_there) {
            if let Ok(cold) = tier.copy_at(segment.shard, segment.id).await
                && tier.verify(&cold, |_| {}).await.is_ok()
            {
                return Ok(cold);
            }
            let stored = |source| TierError::Store { segment: segment.id, source: Box::new(source) };
            forget(&tier.store, segment.shard, segment.id).await.map_err(stored)?;
        }
        let cold = tier.copy_out(segment).await?;
        tier.step("copied")?;
        Ok(cold)
    }

    /// Reads a durable segment again, all of it, and compares it with its checksums; how many bytes.
    ///
    /// # Errors
    /// [`TierError::Damaged`] or [`TierError::Altered`] names the first file or object that is not what it was.
    pub(crate) async fn verify(&self, segment: Arc<Segment>) -> Result<u64, TierError> {
        let tier = &self.parts.tier;
        if let Some(cold) = Cold::named(segment.shard, &Row::of(&segment)) {
            return tier.verify(&cold, |_| {}).await;
        }
        if segment.is_young() {
            return Err(TierError::Young { segment: segment.id });
        }
        let checking = move || {
            let found = segment.searcher.index().validate_checksum();
            let bad = found.map_err(|source| SegmentError::Open { segment: segment.id, source });
            let bad = bad.map_err(|source| TierError::Open { segment: segment.id, source: Box::new(source) })?;
            match bad.into_iter().next() {
                Some(file) => Err(TierError::Damaged { segment: segment.id, file: file.display().to_string() }),
                None => Ok(segment.bytes),
            }
        };
        tier.blocking(checking).await
    }

    /// The same of one that lies in the archive.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn verify_archived(&self, shard: ShardId, archived: &Archived) -> Result<u64, TierError> {
        let lost = || TierError::Altered { object: format!("the archive of shard {shard}") };
        self.parts.tier.verify(&Cold::named(shard, &archived.row).ok_or_else(lost)?, |_| {}).await
    }

    /// A cold segment as one of which nothing has been read but what opening takes; none where it lies on the disk.
    ///
    /// # Errors
    /// Any [`TierError`].
    pub(crate) async fn unread(&self, segment: &Segment) -> Result<Option<Unread>, TierError> {
        let Some(cold) = Cold::named(segment.shard, &Row::of(segment)) else { return Ok(None) };
        let blocks = Blocks::default();
        let tier = self.parts.tier.clone().with_blocks(blocks.clone());
        let segment = Arc::new(tier.open_in_place(self.parts.shards.layout(), &cold).await?);
        let opening = tier.footer_bytes(&cold).await?;
        Ok(Some(Unread { segment, opening, blocks }))
    }

    /// Joins what is left of each day that became warm; how many segments there were.
    async fn join_days(&self, planned: &[Move]) -> u64 {
        let warm: BTreeSet<_> =
            planned.iter().filter(|one| one.action == Action::Warm).map(|one| one.lying.segment).collect();
        let (catalog, now) = (self.parts.shards.catalog(), self.parts.clock.now());
        let roll = self.parts.shards.roll();
        let mut moved = 0;
        for shard in planned.iter().map(|one| one.lying.shard).collect::<BTreeSet<ShardId>>() {
            for run in runs(&catalog.view(shard), &warm, (roll, now)) {
                let parts: BTreeSet<_> = run.iter().map(|segment| segment.id).collect();
                let count = parts.len() as u64;
                let _moving = self.parts.shards.moving().read().await;
                let joined = self.parts.shards.join(shard, parts).await;
                let failed = |source| TierError::Open { segment: SegmentId(0), source: Box::new(source) };
                moved += if self.told(Action::Warm, joined.map_err(failed)) { count } else { 0 };
            }
        }
        moved
    }
}

/// Neighbours that become warm together.
fn runs(view: &[Arc<Segment>], warm: &BTreeSet<SegmentId>, time: (RollOver, Timestamp)) -> Vec<Vec<Arc<Segment>>> {
    let most = WARM_BYTES.min(time.0.bytes());
    let mut runs: Vec<Vec<Arc<Segment>>> = Vec::new();
    for segment in view.iter().filter(|segment| warm.contains(&segment.id)) {
        let fits = |run: &&mut Vec<Arc<Segment>>| {
            let bytes: u64 = run.iter().map(|one| one.bytes).sum();
            let docs: u64 = run.iter().map(|one| u64::from(one.docs)).sum();
            run.last().is_some_and(|last| belong(last, segment, time))
                && bytes + segment.bytes <= most
                && docs + u64::from(segment.docs) <= WARM_DOCS
        };
        match runs.last_mut().filter(fits) {
            Some(run) => run.push(Arc::clone(segment)),
            None => runs.push(vec![Arc::clone(segment)]),
        }
    }
    runs.retain(|run| run.len() > 1);
    runs
}

/// Whether two neighbours on the disk are of one period, sealed, and small enough to be one.
fn belong(a: &Segment, b: &Segment, (roll, now): (RollOver, Timestamp)) -> bool {
    let fits = |segment: &Segment| segment.dir.is_some() && is_sealed(&Piece::of(segment, roll), roll, now);
    let period = |segment: &Segment| roll.period(segment.received_until);
    let most = WARM_BYTES.min(roll.bytes());
    let are_neighbours = a.last_seq + 1 == b.first_seq || b.last_seq + 1 == a.first_seq;
    let is_small = a.bytes + b.bytes <= most && u64::from(a.docs) + u64::from(b.docs) <= WARM_DOCS;
    fits(a) && fits(b) && period(a) == period(b) && are_neighbours && is_small
}

fn lying_of(segment: &Segment, joins: bool, (roll, now): (RollOver, Timestamp)) -> Lying {
    let place = match (&segment.copied, is_sealed(&Piece::of(segment, roll), roll, now) && !joins) {
        (Some(_), _) => Place::Cold,
        (None, true) => Place::Warm,
        (None, false) => Place::Hot,
    };
    Lying {
        segment: segment.id,
        shard: segment.shard,
        records: segment.docs,
        bytes: segment.bytes,
        received_until: segment.received_until,
        first_seq: segment.first_seq,
        place,
        is_hiding: !segment.hidden().is_empty(),
        archive: None,
    }
}

/// What is carried out segment by segment.
const CARRIED: [Action; 4] = [Action::Cool, Action::Archive, Action::Restore, Action::LetGo];
/// Largest segment that the rest of a period is merged into, in bytes: what is larger gains little.
const WARM_BYTES: u64 = 2 << 30;
/// Most records of it.
const WARM_DOCS: u64 = 20_000_000;
