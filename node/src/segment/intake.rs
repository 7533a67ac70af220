//! Takes durable records, grows a segment for each shard, and shows it at the shard's refresh. What fails is left to `repair`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::ids::ShardId;
use tokio::sync::{mpsc, oneshot};

use super::files;
use super::merge::remove;
use super::shared::Shared;
use super::{Segment, SegmentError};
use crate::index::growing::Growing;
use crate::limits::BUFFER_BYTES;
use crate::wal::Durable;

/// A wish that what was taken in so far is searchable now: of one shard, or of all.
pub(super) struct Refresh {
    pub(super) shard: Option<ShardId>,
    pub(super) done: oneshot::Sender<()>,
}

/// The task.
pub(super) struct Intake {
    pub(super) shared: Arc<Shared>,
    /// Only shards that took something since their last refresh.
    pub(super) growing: HashMap<ShardId, Growing>,
}

impl Intake {
    /// Works until the write-ahead log has stopped and everything it gave is searchable.
    pub(super) async fn run(mut self, mut durable: mpsc::Receiver<Vec<Durable>>, mut wishes: mpsc::Receiver<Refresh>) {
        let token = self.shared.tasks.token().clone();
        loop {
            let due = self.growing.values().map(Growing::due).min();
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = token.cancelled() => break,
                group = durable.recv() => match group {
                    Some(group) => self.take(group).await,
                    None => {
                        self.refresh(|_, _| true).await;
                        break;
                    }
                },
                Some(wish) = wishes.recv() => {
                    while let Ok(group) = durable.try_recv() {
                        self.take(group).await;
                    }
                    self.refresh(|shard, _| wish.shard.is_none_or(|wanted| wanted == shard)).await;
                    let _ = wish.done.send(());
                }
                () = sleep => {}
            }
            let now = Instant::now();
            self.refresh(|_, growing| growing.due() <= now).await;
        }
        self.shared.intake_ended();
    }

    async fn take(&mut self, group: Vec<Durable>) {
        for durable in group {
            let shard = durable.shard;
            if let Some(loads) = self.shared.loads.get() {
                loads.took(shard, durable.json_bytes());
            }
            let gathered = self.growing.get(&shard).and_then(Growing::received_until);
            let durable = self.shared.behind_others(durable, gathered);
            let roll = self.shared.roll();
            let ends = |until| roll.period(until) != roll.period(durable.accepted_at);
            if gathered.is_some_and(ends) {
                // Where a clock was put back a little, records count for the later period: nothing is deleted early. Where it was put back by
                // more than that counts, they are not kept as long as what came while it was ahead.
                self.refresh(|other, _| other == shard).await;
            }
            let growing = self.growing.entry(shard).or_insert_with(|| Growing::begin(Instant::now()));
            growing.take(durable);
            if growing.is_to_spill() {
                self.spill(shard).await;
            }
        }
        let total: usize = self.growing.values().map(Growing::json_bytes).sum();
        if total >= BUFFER_BYTES
            && let Some(largest) = self.growing.iter().max_by_key(|(_, growing)| growing.json_bytes())
        {
            let largest = *largest.0;
            self.refresh(|shard, _| shard == largest).await;
        }
    }

    /// Feeds what a shard has gathered to its builder.
    async fn spill(&mut self, shard: ShardId) {
        let Some(growing) = self.growing.remove(&shard) else { return };
        let places = growing.places();
        let shared = Arc::clone(&self.shared);
        let fed = self.shared.tasks.blocking(move || spill(&shared, shard, growing)).await;
        match fed.unwrap_or(Err(SegmentError::Interrupted { shard })) {
            Ok(growing) => drop(self.growing.insert(shard, growing)),
            Err(error) => self.shared.lost(shard, places, &error),
        }
    }

    /// Shows what the wanted shards have taken in.
    async fn refresh(&mut self, wanted: impl Fn(ShardId, &Growing) -> bool) {
        let shards: Vec<_> =
            self.growing.iter().filter(|(shard, growing)| wanted(**shard, growing)).map(|(s, _)| *s).collect();
        if shards.is_empty() {
            return;
        }
        let due: Vec<_> = shards.into_iter().filter_map(|shard| self.growing.remove_entry(&shard)).collect();
        let taken: Vec<_> = due.iter().map(|(shard, growing)| (*shard, growing.places())).collect();
        let shared = Arc::clone(&self.shared);
        let work = move || {
            for (shard, growing) in due {
                let places = growing.places();
                let built = build(&shared, shard, growing);
                let shown = built.and_then(|built| built.map_or(Ok(()), |segment| shared.show(&Arc::new(segment))));
                if let Err(error) = shown {
                    shared.lost(shard, places, &error);
                }
            }
        };
        if self.shared.tasks.blocking(work).await.is_err() {
            for (shard, places) in taken {
                self.shared.lost(shard, places, &SegmentError::Interrupted { shard });
            }
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
