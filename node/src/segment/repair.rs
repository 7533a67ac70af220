//! Builds again what could not become a segment: the records are read from the write-ahead log, shard by shard, with growing
//! pauses, until their segment is there.
//!
//! Until then the shard is not whole and no question about it is answered; once it is, the log behind it is released as
//! always. Does not touch records that intake still holds.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::ids::ShardId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::SegmentError;
use super::intake::{build, spill};
use super::shared::Shared;
use crate::index::growing::Growing;
use crate::limits::{RETRY_LONGEST, RETRY_SHORTEST};
use crate::wal::Wal;

/// When something that failed is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) due: Instant,
    pause: Duration,
}

impl Retry {
    /// After the first failure.
    pub(super) fn first(now: Instant) -> Self {
        Self { due: now + RETRY_SHORTEST, pause: RETRY_SHORTEST }
    }

    /// After one more.
    pub(super) fn next(self, now: Instant) -> Self {
        let pause = (self.pause * 2).min(RETRY_LONGEST);
        Self { due: now + pause, pause }
    }
}

/// Places of a shard, oldest first; each stretch becomes one segment.
type Queue = VecDeque<RangeInclusive<u64>>;

/// Places that are in no segment, though they were given on by the log.
#[derive(Default)]
pub(super) struct Lost {
    shards: Mutex<BTreeMap<ShardId, (Queue, Retry)>>,
    changed: Notify,
}

impl Lost {
    /// Places more. `true` where nothing of the shard was lost before.
    pub(super) fn add(&self, shard: ShardId, places: RangeInclusive<u64>) -> bool {
        let mut shards = self.shards.lock();
        let is_first = !shards.contains_key(&shard);
        let (lost, _) = shards.entry(shard).or_insert_with(|| (Queue::new(), Retry::first(Instant::now())));
        lost.push_back(places);
        self.changed.notify_one();
        is_first
    }

    /// When the next shard is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.shards.lock().values().map(|(_, retry)| retry.due).min()
    }

    /// The oldest places of each shard that is due.
    fn oldest(&self, now: Instant) -> Vec<(ShardId, RangeInclusive<u64>)> {
        let shards = self.shards.lock();
        let due = shards.iter().filter(|(_, (_, retry))| retry.due <= now);
        due.filter_map(|(shard, (lost, _))| Some((*shard, lost.front()?.clone()))).collect()
    }

    /// Shows a segment of places, if they are still the oldest that are lost of the shard; then they are lost no more. Whether it was
    /// shown. Nothing can be forgotten meanwhile.
    pub(super) fn mend<E>(
        &self,
        shard: ShardId,
        places: &RangeInclusive<u64>,
        show: impl FnOnce() -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut shards = self.shards.lock();
        let Some((lost, retry)) = shards.get_mut(&shard).filter(|(lost, _)| lost.front() == Some(places)) else {
            return Ok(false);
        };
        show()?;
        lost.pop_front();
        // What failed for the same reason goes through now.
        *retry = Retry { due: Instant::now(), ..Retry::first(Instant::now()) };
        if lost.is_empty() {
            shards.remove(&shard);
        }
        Ok(true)
    }

    /// Does something unless anything of a shard is lost. Whether it was done.
    pub(super) fn unless_any(&self, shard: ShardId, work: impl FnOnce()) -> bool {
        let shards = self.shards.lock();
        let is_done = !shards.contains_key(&shard);
        if is_done {
            work();
        }
        is_done
    }

    /// The shard left this node, or its records are given once more: nothing of it is to be built again.
    pub(super) fn forget(&self, shard: ShardId) {
        self.shards.lock().remove(&shard);
    }

    fn failed_again(&self, shard: ShardId) {
        if let Some((_, retry)) = self.shards.lock().get_mut(&shard) {
            *retry = retry.next(Instant::now());
        }
    }
}

/// The task.
pub(super) struct Repairer {
    pub(super) shared: Arc<Shared>,
    pub(super) wal: Wal,
}

impl Repairer {
    /// Works until the node stops; what is not repaired by then is in the log.
    pub(super) async fn run(self) {
        let token = self.shared.tasks.token().clone();
        loop {
            let due = self.shared.lost.due();
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = token.cancelled() => return,
                () = self.shared.lost.changed.notified() => {}
                () = sleep => {}
            }
            for (shard, places) in self.shared.lost.oldest(Instant::now()) {
                match self.repair(shard, places).await {
                    Ok(true) if self.shared.whole_again(shard) => {
                        tracing::info!(%shard, "all records of the shard can be searched again");
                    }
                    Ok(_) => {}
                    // Told once, when the shard failed; counted since.
                    Err(error) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "shard is not whole yet");
                        self.shared.count_retry();
                        self.shared.lost.failed_again(shard);
                    }
                }
            }
        }
    }

    /// Whether it is shown now; not where the shard left meanwhile.
    async fn repair(&self, shard: ShardId, places: RangeInclusive<u64>) -> Result<bool, SegmentError> {
        let again = self.wal.again(shard, places.clone()).await?;
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let mut growing = Growing::begin(Instant::now());
            for durable in again {
                growing.take(shared.behind_others(durable, growing.received_until()));
                if growing.is_to_spill() {
                    growing = spill(&shared, shard, growing)?;
                }
            }
            let segment = build(&shared, shard, growing)?;
            shared.show_mended(shard, &places, segment)
        };
        self.shared.tasks.blocking(work).await.unwrap_or(Err(SegmentError::Interrupted { shard }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let now = Instant::now();
        let mut retry = Retry::first(now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push((retry.due - now).as_secs());
            retry = retry.next(now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_shard_is_whole_when_the_last_of_its_places_is_and_waits_after_a_failure() {
        let lost = Lost::default();
        assert!(lost.add(ShardId(1), 1..=4) && !lost.add(ShardId(1), 9..=9) && lost.add(ShardId(2), 1..=1));
        let soon = Instant::now() + RETRY_SHORTEST;
        assert_eq!(lost.oldest(soon), [(ShardId(1), 1..=4), (ShardId(2), 1..=1)]);
        lost.failed_again(ShardId(2));
        assert_eq!(lost.oldest(soon), [(ShardId(1), 1..=4)]);
        let mend = |places| lost.mend(ShardId(1), &places, || Ok::<_, ()>(())).unwrap();
        assert!(lost.mend(ShardId(1), &(1..=4), || Err(())).is_err() && mend(1..=4));
        assert!(!lost.unless_any(ShardId(1), || panic!("not whole")));
        assert_eq!(lost.oldest(Instant::now()), [(ShardId(1), 9..=9)], "at once, and in order");
        assert!(mend(9..=9) && lost.oldest(soon).is_empty() && lost.unless_any(ShardId(1), || {}));
    }

    #[test]
    fn what_was_forgotten_while_it_was_built_is_not_shown() {
        let lost = Lost::default();
        lost.add(ShardId(1), 1..=4);
        lost.forget(ShardId(1));
        assert!(lost.due().is_none());
        let show = || -> Result<(), ()> { panic!("it would be there twice") };
        assert!(!lost.mend(ShardId(1), &(1..=4), show).unwrap());
        lost.add(ShardId(1), 3..=4);
        assert!(!lost.mend(ShardId(1), &(1..=4), show).unwrap(), "nor over what is lost now");
    }
}
