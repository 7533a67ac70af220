//! Takes durable records, grows a segment for each shard, and shows it at the shard's refresh. What fails is left to `repair`.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::ids::{ShardId, Timestamp};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::files;
use super::merge::remove;
use super::shared::Shared;
use super::{Segment, SegmentError};
use crate::index::growing::Growing;
use crate::limits::{BUFFER_BYTES, BUILT_AT_ONCE, SPILL_BYTES};
use crate::wal::Durable;

/// A wish that what was taken in so far is searchable now: of one shard, or of all.
pub(super) struct Refresh {
    pub(super) shard: Option<ShardId>,
    pub(super) done: oneshot::Sender<()>,
}

/// The task.
pub(super) struct Intake {
    shared: Arc<Shared>,
    /// Only shards that took something since their last refresh, and whose builder is not being fed.
    growing: HashMap<ShardId, Growing>,
    /// Shards that another thread works for: one piece of work for each, so that its segments are shown in the order of their places.
    busy: HashMap<ShardId, Busy>,
    working: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// What another thread has of a shard.
struct Busy {
    /// Whether it comes back to take in more.
    is_fed: bool,
    received_until: Option<Timestamp>,
    json_bytes: usize,
}

/// What came of it: the shard goes on growing, or its segment is shown.
struct Done {
    shard: ShardId,
    places: Option<RangeInclusive<u64>>,
    outcome: Result<Option<Growing>, SegmentError>,
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, growing: HashMap::new(), busy: HashMap::new(), working: FuturesUnordered::new() }
    }

    /// Works until the write-ahead log has stopped and everything it gave is searchable.
    pub(super) async fn run(mut self, mut durable: mpsc::Receiver<Vec<Durable>>, mut wishes: mpsc::Receiver<Refresh>) {
        let token = self.shared.tasks.token().clone();
        loop {
            let due = self.due();
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = token.cancelled() => break,
                Some(done) = self.working.next() => self.take_back(done),
                group = durable.recv() => match group {
                    Some(group) => self.take(group).await,
                    None => {
                        self.show(None).await;
                        break;
                    }
                },
                Some(wish) = wishes.recv() => {
                    while let Ok(group) = durable.try_recv() {
                        self.take(group).await;
                    }
                    self.show(wish.shard).await;
                    let _ = wish.done.send(());
                }
                () = sleep => {}
            }
            let now = Instant::now();
            while let Some(shard) = self.next_due().filter(|(due, _)| *due <= now).map(|(_, shard)| shard) {
                self.build(shard).await;
            }
        }
        while self.one_done().await {}
        self.shared.intake_ended();
    }

    fn due(&self) -> Option<Instant> {
        self.next_due().map(|(due, _)| due)
    }

    /// The shard that is to be shown next, and when; not one that is being worked for. What the log gives again at a start nobody can
    /// ask for before all of it is there: shown every second it would become many small segments.
    fn next_due(&self) -> Option<(Instant, ShardId)> {
        let idle = self.growing.iter().filter(|(shard, _)| !self.busy.contains_key(shard));
        let next = idle.map(|(shard, growing)| (growing.due(), *shard)).min();
        next.filter(|_| !self.shared.is_reading_again())
    }

    async fn take(&mut self, group: Vec<Durable>) {
        for durable in group {
            let shard = durable.shard;
            if let Some(loads) = self.shared.loads.get() {
                loads.took(shard, durable.json_bytes());
            }
            if self.busy.get(&shard).is_some_and(|busy| busy.is_fed) {
                self.until_idle(shard).await;
            }
            let worked_for = self.busy.get(&shard).and_then(|busy| busy.received_until);
            let gathered = self.growing.get(&shard).and_then(Growing::received_until).or(worked_for);
            let durable = self.shared.behind_others(durable, gathered);
            let roll = self.shared.roll();
            let ends = |until| roll.period(until) != roll.period(durable.accepted_at);
            if gathered.is_some_and(ends) {
                // Where a clock was put back a little, records count for the later period: nothing is deleted early. Where it was put back by
                // more than that counts, they are not kept as long as what came while it was ahead.
                self.build(shard).await;
            }
            let growing = self.growing.entry(shard).or_insert_with(|| Growing::begin(Instant::now()));
            growing.take(durable);
            if growing.is_to_spill() {
                self.feed(shard).await;
            }
        }
        self.make_room().await;
    }

    /// Comes back under the bound of memory: segments are made of the shards with the most. What is little waits for room, unless a
    /// thread has nothing to do.
    async fn make_room(&mut self) {
        loop {
            let worked_for: usize = self.busy.values().map(|busy| busy.json_bytes).sum();
            let gathered: usize = self.growing.values().map(Growing::json_bytes).sum();
            if worked_for + gathered < BUFFER_BYTES {
                return;
            }
            // What came to a shard behind the piece in work is small yet, and gets bigger.
            let idle = self.growing.iter().filter(|(shard, _)| !self.busy.contains_key(shard));
            let largest = idle.map(|(shard, growing)| (growing.json_bytes(), *shard)).max();
            match largest {
                Some((most, shard)) if most >= SPILL_BYTES || self.busy.len() < BUILT_AT_ONCE => {
                    self.build(shard).await
                }
                _ if self.one_done().await => {}
                _ => return,
            }
        }
    }

    /// Has the builder of a shard fed with what it has gathered.
    async fn feed(&mut self, shard: ShardId) {
        self.until_free(shard).await;
        let Some(growing) = self.growing.remove(&shard) else { return };
        let shared = Arc::clone(&self.shared);
        self.begin(shard, growing, true, move |growing| spill(&shared, shard, growing).map(Some));
    }

    /// Has a segment made of what a shard has taken in, and shown.
    async fn build(&mut self, shard: ShardId) {
        self.until_free(shard).await;
        let Some(growing) = self.growing.remove(&shard) else { return };
        let shared = Arc::clone(&self.shared);
        self.begin(shard, growing, false, move |growing| {
            let built = build(&shared, shard, growing)?;
            built.map_or(Ok(()), |segment| shared.show(&Arc::new(segment)))?;
            Ok(None)
        });
    }

    fn begin(
        &mut self,
        shard: ShardId,
        growing: Growing,
        is_fed: bool,
        work: impl FnOnce(Growing) -> Result<Option<Growing>, SegmentError> + Send + 'static,
    ) {
        let (places, received_until, json_bytes) = (growing.places(), growing.received_until(), growing.json_bytes());
        self.busy.insert(shard, Busy { is_fed, received_until, json_bytes });
        let working = self.shared.tasks.blocking(move || work(growing));
        let done = async move {
            Done { shard, places, outcome: working.await.unwrap_or(Err(SegmentError::Interrupted { shard })) }
        };
        self.working.push(done.boxed());
    }

    /// Shows what one shard has taken in, or all of them have; returns when it is shown.
    async fn show(&mut self, wanted: Option<ShardId>) {
        let is_wanted = |shard: &ShardId| wanted.is_none_or(|wanted| wanted == *shard);
        // What a builder is being fed with comes back first.
        while self.busy.iter().any(|(shard, busy)| busy.is_fed && is_wanted(shard)) && self.one_done().await {}
        let shards: Vec<_> = self.growing.keys().copied().filter(is_wanted).collect();
        for shard in shards {
            self.build(shard).await;
        }
        while self.busy.keys().any(is_wanted) && self.one_done().await {}
    }

    /// Waits until nothing is done for a shard.
    async fn until_idle(&mut self, shard: ShardId) {
        while self.busy.contains_key(&shard) && self.one_done().await {}
    }

    /// Waits until something can be done for a shard.
    async fn until_free(&mut self, shard: ShardId) {
        self.until_idle(shard).await;
        while self.working.len() >= BUILT_AT_ONCE && self.one_done().await {}
    }

    /// Waits for a piece of work; `false` where there is none.
    async fn one_done(&mut self) -> bool {
        let done = self.working.next().await;
        done.map(|done| self.take_back(done)).is_some()
    }

    fn take_back(&mut self, Done { shard, places, outcome }: Done) {
        self.busy.remove(&shard);
        match outcome {
            Ok(Some(growing)) => drop(self.growing.insert(shard, growing)),
            Ok(None) => {}
            Err(error) => self.shared.lost(shard, places, &error),
        }
    }
}

/// Feeds what was gathered to the builder of the shard.
pub(super) fn spill(shared: &Shared, shard: ShardId, mut growing: Growing) -> Result<Growing, SegmentError> {
    let (_, dir) = shared.files.place(shard)?;
    let fed = shared.spend(shard, || growing.spill(&shared.layout, || dir.clone()));
    if fed.is_err() {
        // Where there is no room, what is half written should not stay until the next start.
        remove(growing.dir().cloned().or(Some(dir)));
    }
    fed.map(|()| growing).map_err(|source| SegmentError::Build { shard, source })
}

/// Makes a segment of what was gathered.
pub(super) fn build(shared: &Shared, shard: ShardId, growing: Growing) -> Result<Option<Segment>, SegmentError> {
    let begun = growing.dir().cloned();
    let built = shared.spend(shard, || growing.finish(&shared.layout)).map_err(|source| {
        remove(begun);
        SegmentError::Build { shard, source }
    })?;
    let Some((built, dir)) = built else { return Ok(None) };
    // A segment on disk has the name of its directory.
    let named = dir.as_ref().and_then(|dir| u128::from_str_radix(dir.file_name()?.to_str()?, 16).ok());
    let id = named.map_or_else(files::fresh_id, super::SegmentId);
    files::open_built(&shared.layout, (id, shard), built, dir, shared.clock.now()).map(Some)
}
