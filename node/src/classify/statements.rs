//! Officers' statements that a stream holds no personal data, held against what the detectors find in it.
//!
//! A node counts what it takes of such a stream; it is the one that writes it, and the one that answers for it. A hit is told to the
//! region's bucket before its record is written, so that no restart and no other owner loses one; how many records there were is told
//! now and then, and what is lost of it only makes the rule stricter. The name of an object is all that it says, and nothing of it is of a
//! record. What stands, and for which question, is decided in [`super::tally`].

use std::collections::HashMap;
use std::ops::{Deref, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use domicile_proto::ids::{Epoch, KThreshold, ShardId, TimeRange, Timestamp};
use domicile_proto::metadata::{Durability, Personal};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use super::rule_files::ClassifyError;
use super::tally::{Counts, Tally, Writer};
use crate::clock::Clock;
use crate::keys::Day;
use crate::limits::STATEMENT_DEADLINE;
use crate::policy::{PolicyWatch, StreamView};
use crate::store::{Store, StoreError};
use crate::tasks::{Kind, Tasks};

/// A stream as the gate treats it: as its policy says, but where the detectors contradict the statement that it holds no personal data, as
/// one of which nothing is stated. [`Statements::upheld`] makes it, and whoever asks an old answer again.
#[derive(Clone, Debug)]
pub(crate) struct Upheld {
    stream: Arc<StreamView>,
    /// The smallest group of the statement, where it is contradicted.
    stated: Option<KThreshold>,
}

impl Upheld {
    /// As one of which nothing is stated.
    pub(crate) fn contradicted(stream: &StreamView) -> Self {
        let (stated, mut stream) = (stream.policy.threshold(), stream.clone());
        stream.policy.personal = Personal::Undeclared;
        Self { stream: Arc::new(stream), stated: Some(stated) }
    }

    /// By the rules under which an answer was made, to ask it again: what comes of it is compared, and told to nobody.
    pub(crate) const fn of_then(stream: Arc<StreamView>, stated: Option<KThreshold>) -> Self {
        Self { stream, stated }
    }

    /// The stream.
    pub(crate) const fn view(&self) -> &Arc<StreamView> {
        &self.stream
    }

    /// The smallest group that the statement would have, where the detectors contradict it.
    pub(crate) const fn stated(&self) -> Option<KThreshold> {
        self.stated
    }
}

impl Deref for Upheld {
    type Target = StreamView;

    fn deref(&self) -> &StreamView {
        &self.stream
    }
}

/// Whether a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The detectors find less than the rule allows.
    Stands,
    /// They find more.
    Contradicted,
    /// What was counted cannot be read: the stream counts as one of which nothing is stated.
    Unknown,
}

impl Standing {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stands => "stands",
            Self::Contradicted => "contradicted",
            Self::Unknown => "unknown",
        }
    }
}

/// The statements of a region's streams, as one node knows them. Cheap to clone; clones share what was counted.
#[derive(Clone)]
pub(crate) struct Statements(Arc<Inner>);

struct Inner {
    store: Store,
    policy: PolicyWatch,
    clock: Clock,
    tasks: Tasks,
    writer: Writer,
    /// Where it is noted what the bucket could not be told.
    notes: Option<PathBuf>,
    streams: Mutex<HashMap<ShardId, Known>>,
}

/// What is known of one stream.
#[derive(Default)]
struct Known {
    tally: Tally,
    /// In which epoch of the shard the bucket was read: in another one somebody else may have counted meanwhile.
    read: Option<Option<Epoch>>,
    /// Days whose contradiction the bucket knows.
    told: Option<Day>,
    /// Days of which only this node's disk knows that something contradicted.
    untold: Vec<Day>,
    /// As what it was last seen, so that a change is told once.
    seen: Option<Standing>,
}

impl Statements {
    /// Of a node that may lose its counts with its process: what it cannot tell the bucket, it does not take.
    ///
    /// # Errors
    /// [`StoreError::NoRandomness`] where the system gives no random number.
    pub(crate) fn new(store: Store, policy: PolicyWatch, clock: Clock, tasks: Tasks) -> Result<Self, StoreError> {
        let mut number = [0; 8];
        SystemRandom::new().fill(&mut number).map_err(|_| StoreError::NoRandomness)?;
        let (writer, streams) = (Writer(u64::from_be_bytes(number)), Mutex::default());
        Ok(Self(Arc::new(Inner { store, policy, clock, tasks, writer, notes: None, streams })))
    }

    /// With a directory of this node for what the bucket cannot be told, and with what was noted there; blocks.
    ///
    /// # Errors
    /// Where it cannot be read or made.
    pub(crate) fn noting_in(self, dir: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mut streams = HashMap::<ShardId, Known>::new();
        for entry in std::fs::read_dir(&dir)? {
            let name = entry?.file_name();
            let Some((shard, day)) = name.to_str().and_then(note_read) else { continue };
            let known = streams.entry(shard).or_default();
            known.tally.hear(day, self.0.writer, Counts { contradicts: true, ..Counts::default() });
            known.untold.push(day);
        }
        let Inner { store, policy, clock, tasks, writer, .. } = &*self.0;
        let (store, policy, clock, tasks) = (store.clone(), policy.clone(), clock.clone(), tasks.clone());
        let (notes, streams) = (Some(dir), Mutex::new(streams));
        Ok(Self(Arc::new(Inner { store, policy, clock, tasks, writer: *writer, notes, streams })))
    }

    fn today(&self) -> Day {
        Day::of(self.0.clock.now())
    }

    /// The stream as the gate treats it in a question about these days.
    pub(crate) async fn upheld(&self, stream: Arc<StreamView>, asked: TimeRange) -> Upheld {
        match self.standing(&stream, asked).await {
            None | Some(Standing::Stands) => Upheld { stream, stated: None },
            Some(Standing::Contradicted | Standing::Unknown) => Upheld::contradicted(&stream),
        }
    }

    /// Whether what is stated of a stream stands; nothing where nothing is stated of it.
    pub(crate) async fn standing(&self, stream: &StreamView, asked: TimeRange) -> Option<Standing> {
        if stream.policy.personal != Personal::No {
            return None;
        }
        // Without a shard there is no record, and nobody in it.
        let Some((shard, _)) = stream.shard else { return Some(Standing::Stands) };
        let is_read = self.read(shard).await;
        self.tell_late(shard).await;
        let (today, days) = (self.today(), days_of(asked));
        let mut streams = self.0.streams.lock();
        let known = streams.entry(shard).or_default();
        let standing = match is_read {
            _ if known.tally.contradicts(today, &days) => Standing::Contradicted,
            Ok(()) => Standing::Stands,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(tenant = stream.tenant.0, stream = stream.id.0, error, "a statement cannot be checked");
                Standing::Unknown
            }
        };
        known.seen = Some(standing);
        Some(standing)
    }

    /// As [`Self::standing`], of questions about this moment.
    pub(crate) async fn standing_now(&self, stream: &StreamView) -> Option<Standing> {
        let now = self.0.clock.now();
        self.standing(stream, TimeRange { from: now, to: now }).await
    }

    /// Streams whose statements were not seen to stand when they were last looked at, or when a record came.
    pub(crate) fn fallen(&self) -> u64 {
        let streams = self.0.streams.lock();
        streams.values().filter(|known| !matches!(known.seen, None | Some(Standing::Stands))).count() as u64
    }

    /// Counts records of a stream of which something was found in some, before they are written: the bucket is told first. Nothing is told
    /// where it knows already that this day contradicts.
    ///
    /// # Errors
    /// [`ClassifyError::Statement`] where the bucket cannot be told, and nothing on this node's disk keeps it: the records are not taken.
    pub(crate) async fn found(&self, stream: &StreamView, classified: u64, found: u64) -> Result<(), ClassifyError> {
        let Some(shard) = counted(stream).filter(|_| found > 0) else { return Ok(()) };
        // What others counted this week makes one more hit too much, or one more of many.
        let read = self.read(shard).await;
        if read.is_err() && stream.policy.durability != Durability::Disk {
            return read;
        }
        let day = self.today();
        let (counts, is_news) = {
            let mut streams = self.0.streams.lock();
            let known = streams.entry(shard).or_default();
            let more = Counts { classified, found, contradicts: read.is_err() };
            let counts = known.tally.count(day, self.0.writer, more);
            known.tally.forget_before(day);
            if counts.contradicts && (known.told == Some(day) || known.untold.contains(&day)) {
                return Ok(());
            }
            let is_news = counts.contradicts && known.seen != Some(Standing::Contradicted);
            if counts.contradicts {
                known.seen = Some(Standing::Contradicted);
            }
            (counts, is_news)
        };
        if is_news {
            tracing::warn!(
                tenant = stream.tenant.0,
                stream = stream.id.0,
                "a stream is stated to hold no personal data, and the detectors find too much in it: it counts as undeclared"
            );
        }
        match self.create(&name(shard, day, self.0.writer, counts)).await {
            Ok(()) => {
                if counts.contradicts {
                    self.0.streams.lock().entry(shard).or_default().told = Some(day);
                }
                Ok(())
            }
            Err(error) => {
                if self.note(stream, shard, day).await {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Counts records of a stream that were written, in which nothing was found.
    pub(crate) fn took(&self, stream: &StreamView, classified: u64) {
        let Some(shard) = counted(stream) else { return };
        let day = self.today();
        let name = {
            let mut streams = self.0.streams.lock();
            let known = streams.entry(shard).or_default();
            let before = known.tally.of(day, self.0.writer).classified;
            let counts = known.tally.count(day, self.0.writer, Counts { classified, ..Counts::default() });
            let is_more = counts.classified >= LEAST_TOLD && counts.classified.ilog2() > before.max(1).ilog2();
            if before == 0 {
                known.tally.forget_before(day);
            }
            is_more.then(|| name(shard, day, self.0.writer, counts))
        };
        if let Some(name) = name {
            let statements = self.clone();
            self.0.tasks.spawn(Kind::Line, async move {
                if let Err(error) = statements.create(&name).await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "how much was classified is not told");
                }
            });
        }
    }

    /// Creates an object whose name is all it says.
    async fn create(&self, name: &str) -> Result<(), ClassifyError> {
        let creating = self.0.store.create(name, Bytes::from_static(CONTENT));
        match tokio::time::timeout(STATEMENT_DEADLINE, creating).await {
            // Nobody else has the number of this run: the answer to an earlier try was lost.
            Ok(Ok(()) | Err(StoreError::AlreadyThere { .. })) => Ok(()),
            Ok(Err(error)) => Err(ClassifyError::Statement { source: Some(error) }),
            Err(_) => Err(ClassifyError::Statement { source: None }),
        }
    }

    /// Reads what others counted, where that is not known in this epoch of the shard.
    async fn read(&self, shard: ShardId) -> Result<(), ClassifyError> {
        let epoch = self.0.policy.now().epochs.get(&shard).copied();
        if self.0.streams.lock().get(&shard).is_some_and(|known| known.read == Some(epoch)) {
            return Ok(());
        }
        let prefix = format!("{PREFIX}/{:016x}", shard.0);
        let listed = tokio::time::timeout(STATEMENT_DEADLINE, self.0.store.list(&prefix)).await;
        let listed = listed.map_err(|_| ClassifyError::Statement { source: None })?;
        let listed = listed.map_err(|error| ClassifyError::Statement { source: Some(error) })?;
        let mut heard = Tally::default();
        for (object, _) in listed {
            let Some((day, writer, counts)) = name_read(&prefix, &object) else {
                return Err(ClassifyError::Statement { source: Some(StoreError::Name { object }) });
            };
            heard.hear(day, writer, counts);
        }
        heard.forget_before(self.today());
        let mut streams = self.0.streams.lock();
        let known = streams.entry(shard).or_default();
        known.tally.merge(&heard);
        known.read = Some(epoch);
        Ok(())
    }

    /// Notes on this node's disk that a day contradicts, for a stream whose records lie there alone. Says whether it is noted.
    async fn note(&self, stream: &StreamView, shard: ShardId, day: Day) -> bool {
        let on_disk = stream.policy.durability == Durability::Disk;
        let Some(dir) = self.0.notes.clone().filter(|_| on_disk) else { return false };
        let writing = self.0.tasks.blocking(move || -> std::io::Result<()> {
            std::fs::File::create(dir.join(note_name(shard, day)))?.sync_all()?;
            std::fs::File::open(&dir)?.sync_all()
        });
        match writing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "what contradicts a statement cannot be noted on the disk");
                return false;
            }
            Err(_) => return false,
        }
        let mut streams = self.0.streams.lock();
        let known = streams.entry(shard).or_default();
        // Whether one more hit is too much cannot be told of a day that is not told whole.
        known.tally.hear(day, self.0.writer, Counts { contradicts: true, ..Counts::default() });
        if !known.untold.contains(&day) {
            known.untold.push(day);
        }
        known.seen = Some(Standing::Contradicted);
        true
    }

    /// Tells the bucket what only this node's disk knows.
    async fn tell_late(&self, shard: ShardId) {
        let untold = self.0.streams.lock().get(&shard).map(|known| known.untold.clone()).unwrap_or_default();
        for day in untold {
            let counts = self.0.streams.lock().get(&shard).map(|known| known.tally.of(day, self.0.writer));
            let name = name(shard, day, self.0.writer, counts.unwrap_or_default());
            if self.create(&name).await.is_err() {
                return;
            }
            if let Some(dir) = &self.0.notes {
                drop(std::fs::remove_file(dir.join(note_name(shard, day))));
            }
            let mut streams = self.0.streams.lock();
            let known = streams.entry(shard).or_default();
            known.untold.retain(|untold| *untold != day);
            known.told = known.told.max(Some(day));
        }
    }
}

/// The shard of a stream of which it is stated that it holds no personal data.
fn counted(stream: &StreamView) -> Option<ShardId> {
    let shard = stream.shard.map(|(shard, _)| shard);
    shard.filter(|_| stream.policy.personal == Personal::No)
}

/// The days that a range touches.
fn days_of(range: TimeRange) -> RangeInclusive<Day> {
    let last = Timestamp(range.to.0.saturating_sub(1).max(range.from.0));
    Day::of(range.from)..=Day::of(last)
}

fn name(shard: ShardId, day: Day, writer: Writer, counts: Counts) -> String {
    let Counts { classified, found, contradicts } = counts;
    let word = if contradicts { CONTRADICTS } else { COUNTS };
    format!("{PREFIX}/{:016x}/{:06}/{:016x}-{classified}-{found}-{word}", shard.0, day.0, writer.0)
}

/// What the name of an object says; `None` where it is none of ours.
fn name_read(prefix: &str, name: &str) -> Option<(Day, Writer, Counts)> {
    let (day, counts) = name.strip_prefix(prefix)?.strip_prefix('/')?.split_once('/')?;
    let mut parts = counts.split('-');
    let writer = Writer(u64::from_str_radix(parts.next()?, 16).ok()?);
    let (classified, found) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let contradicts = match parts.next()? {
        CONTRADICTS => true,
        COUNTS => false,
        _ => return None,
    };
    parts.next().is_none().then_some((Day(day.parse().ok()?), writer, Counts { classified, found, contradicts }))
}

fn note_name(shard: ShardId, day: Day) -> String {
    format!("{:016x}-{:06}", shard.0, day.0)
}

fn note_read(name: &str) -> Option<(ShardId, Day)> {
    let (shard, day) = name.split_once('-')?;
    Some((ShardId(u64::from_str_radix(shard, 16).ok()?), Day(day.parse().ok()?)))
}

const PREFIX: &str = "stated";
const CONTRADICTS: &str = "contradicts";
const COUNTS: &str = "counts";
/// No store takes exception to it.
const CONTENT: &[u8] = b"1\n";
/// From so many records of a day on it is told that they were twice as many.
const LEAST_TOLD: u64 = 1 << 16;

#[cfg(test)]
#[path = "statements_test.rs"]
mod tests;
