//! Officers' statements that a stream holds no personal data, held against what the detectors find in it.
//!
//! A node counts what it takes of such a stream; it is the one that writes it, and the one that answers for it. A hit is told to the
//! region's bucket before its record is written, so that no restart and no other owner loses one; how many records there were is told
//! now and then, and what is lost of it only makes the rule stricter. The name of an object is all that it says, and nothing of it is of a
//! record. What stands, and for which question, is decided in [`super::tally`].

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use domicile_proto::ids::{Epoch, NodeId, ShardId, TimeRange, Timestamp};
use domicile_proto::metadata::{Durability, Personal};
use futures::future::{join_all, try_join_all};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::rule_files::ClassifyError;
use super::stated::{Said, Word, mark_name, name, name_read, note_name, note_read, places};
use super::tally::{Counts, Mark, Tally, Writer};
use super::upheld::{Standing, Upheld};
use crate::clock::Clock;
use crate::keys::Day;
use crate::limits::{STATEMENT_AGAIN, STATEMENT_DEADLINE};
use crate::policy::{Policy, PolicyWatch, StreamView};
use crate::store::{Store, StoreError};
use crate::tasks::{Kind, Tasks};

/// The statements of a region's streams, as one node knows them. Cheap to clone; clones share what was counted.
#[derive(Clone)]
pub(crate) struct Statements(Arc<Inner>);

struct Inner {
    store: Store,
    policy: PolicyWatch,
    clock: Clock,
    tasks: Tasks,
    writer: Writer,
    /// Which shards nobody else writes any more.
    takes: Takes,
    /// Where it is noted what the bucket could not be told.
    notes: Option<PathBuf>,
    streams: Mutex<HashMap<ShardId, Known>>,
}

/// Whether this node has taken a shard up by a policy, so that nobody else writes it.
pub(crate) type Takes = Arc<dyn Fn(ShardId, &Policy) -> bool + Send + Sync>;

/// What is known of one stream.
#[derive(Default)]
struct Known {
    tally: Tally,
    /// In which epoch of the shard the bucket was read once it was taken up here: in another one somebody else may have counted meanwhile.
    read: Option<Option<Epoch>>,
    /// When it could not be read, where it was not since.
    failed: Option<Instant>,
    /// What the bucket knows.
    told: BTreeSet<Word>,
    /// What only this node's disk knows.
    untold: BTreeSet<Word>,
    /// When it was last begun to tell the bucket of that.
    tried: Option<Instant>,
    /// Whether it was seen not to stand, so that a change is told once.
    fell: bool,
}

impl Known {
    /// What is still to be kept of days, for a stream of which something too much came on a day; what lies on the disk is kept where that
    /// is enough.
    fn lacks(&self, arrived: Day, mut days: BTreeSet<Day>, is_disk_enough: bool) -> BTreeSet<Word> {
        days.insert(arrived);
        let noted = self.untold.iter().filter(|_| is_disk_enough);
        let kept: Vec<&Word> = self.told.iter().chain(noted).collect();
        days.retain(|day| !kept.iter().any(|word| word.marks(*day)));
        let mut words: BTreeSet<Word> = match (days.first(), days.last()) {
            (Some(first), Some(last)) if days.len() > MARKS_AT_ONCE => BTreeSet::from([Word::Of((*first, *last))]),
            _ => days.iter().map(|day| Word::Of((*day, *day))).collect(),
        };
        words.extend(Some(Word::Arrived(arrived)).filter(|word| !kept.contains(&word)));
        words
    }

    /// Takes in what ends a statement.
    fn hear(&mut self, word: Word, writer: Writer) {
        match word {
            Word::Arrived(day) => self.tally.hear(day, writer, Counts { contradicts: true, ..Counts::default() }),
            Word::Of(mark) => self.tally.mark(mark),
        }
    }

    /// Sees whether the statement stands today, and tells it once where it does not.
    fn look(&mut self, stream: &StreamView, today: Day) {
        let falls = self.tally.falls(today);
        if falls && !self.fell {
            tracing::warn!(
                tenant = stream.tenant.0,
                stream = stream.id.0,
                "a stream is stated to hold no personal data, and the detectors find too much in it: it counts as undeclared"
            );
        }
        self.fell = falls;
    }
}

impl Statements {
    /// Of a node that may lose its counts with its process, and takes every shard to be its own: what it cannot tell the bucket, it does
    /// not take.
    ///
    /// # Errors
    /// [`StoreError::NoRandomness`] where the system gives no random number.
    pub(crate) fn new(store: Store, policy: PolicyWatch, clock: Clock, tasks: Tasks) -> Result<Self, StoreError> {
        let mut number = [0; 8];
        SystemRandom::new().fill(&mut number).map_err(|_| StoreError::NoRandomness)?;
        let (writer, streams) = (Writer(u64::from_be_bytes(number)), Mutex::default());
        let takes: Takes = Arc::new(|_, _| true);
        Ok(Self(Arc::new(Inner { store, policy, clock, tasks, writer, takes, notes: None, streams })))
    }

    /// With a directory of this node for what the bucket cannot be told, and with what was noted there, at a node that knows which shards
    /// it has taken up; blocks.
    ///
    /// # Errors
    /// Where it cannot be read or made.
    pub(crate) fn noting_in(self, dir: PathBuf, takes: Takes) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mut streams = HashMap::<ShardId, Known>::new();
        for entry in std::fs::read_dir(&dir)? {
            let name = entry?.file_name();
            let Some((shard, word)) = name.to_str().and_then(note_read) else { continue };
            let known = streams.entry(shard).or_default();
            known.hear(word, self.0.writer);
            known.untold.insert(word);
        }
        let Inner { store, policy, clock, tasks, writer, .. } = &*self.0;
        let (store, policy, clock, tasks) = (store.clone(), policy.clone(), clock.clone(), tasks.clone());
        let (notes, streams) = (Some(dir), Mutex::new(streams));
        Ok(Self(Arc::new(Inner { store, policy, clock, tasks, writer: *writer, takes, notes, streams })))
    }

    fn today(&self) -> Day {
        Day::of(self.0.clock.now())
    }

    /// The stream as the gate treats it in a question about these days.
    pub(crate) async fn upheld(&self, stream: Arc<StreamView>, asked: TimeRange) -> Upheld {
        match self.standing(&stream, asked).await {
            None | Some(Standing::Stands) => Upheld::of_then(stream, None),
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
        if is_read.is_ok() {
            // Else this node's own counts alone would decide for good.
            self.mark(stream, shard, today).await;
        }
        let mut streams = self.0.streams.lock();
        let known = streams.entry(shard).or_default();
        known.look(stream, today);
        Some(match is_read {
            _ if known.tally.contradicts(today, &days) => Standing::Contradicted,
            Ok(()) => Standing::Stands,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(tenant = stream.tenant.0, stream = stream.id.0, error, "a statement cannot be checked");
                Standing::Unknown
            }
        })
    }

    /// Where the rate of the week alone withholds, marks the days of which it does: else they would be told exactly after the week.
    async fn mark(&self, stream: &StreamView, shard: ShardId, today: Day) {
        let words = {
            let mut streams = self.0.streams.lock();
            let known = streams.entry(shard).or_default();
            if !known.tally.falls_unmarked(today) {
                return;
            }
            let mut words = known.lacks(today, known.tally.found_on(today), true);
            words.retain(|word| matches!(word, Word::Of(_)));
            words.iter().for_each(|word| known.hear(*word, self.0.writer));
            words
        };
        if let Err(error) = self.keep(stream, shard, words).await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "a mark is not kept; the next question tries again");
        }
    }

    /// As [`Self::standing`], of questions about this moment.
    pub(crate) async fn standing_now(&self, stream: &StreamView) -> Option<Standing> {
        let now = self.0.clock.now();
        self.standing(stream, TimeRange { from: now, to: now }).await
    }

    /// Streams of a node whose statements do not stand today, or could not be checked when that was last tried.
    pub(crate) fn fallen(&self, us: NodeId) -> u64 {
        let (policy, today, streams) = (self.0.policy.now(), self.today(), self.0.streams.lock());
        let ours = policy.streams.values().filter(|view| view.shard.is_some_and(|(_, owner)| owner == us));
        let known = ours.filter_map(|view| streams.get(&counted(view)?));
        known.filter(|known| known.failed.is_some() || known.tally.falls(today)).count() as u64
    }

    /// Keeps that something was found in records of a stream, which are of these days, before they are written: the bucket is told first.
    /// Nothing is told where it knows already that this day contradicts.
    ///
    /// # Errors
    /// [`ClassifyError::Statement`] where the bucket cannot be told, and nothing on this node's disk keeps it: the records are not taken.
    pub(crate) async fn found(
        &self,
        stream: &StreamView,
        found: u64,
        days: BTreeSet<Day>,
    ) -> Result<(), ClassifyError> {
        let Some(shard) = counted(stream).filter(|_| found > 0) else { return Ok(()) };
        let (day, on_disk) = (self.today(), stream.policy.durability == Durability::Disk);
        let mut more = Counts { found, ..Counts::default() };
        {
            let mut streams = self.0.streams.lock();
            let known = streams.entry(shard).or_default();
            self.tell_soon(shard, known);
            if known.lacks(day, days.clone(), on_disk).is_empty() {
                known.tally.count(day, self.0.writer, more);
                known.look(stream, day);
                return Ok(());
            }
        }
        // What others counted this week makes one more hit too much, or one more of many.
        let read = self.read(shard).await;
        if read.is_err() && !on_disk {
            return read;
        }
        more.contradicts = read.is_err();
        let (counts, words) = {
            let mut streams = self.0.streams.lock();
            let known = streams.entry(shard).or_default();
            let counts = known.tally.count(day, self.0.writer, more);
            known.tally.forget_before(day);
            known.look(stream, day);
            let days = days.into_iter().chain(known.tally.found_on(day)).collect();
            let words = known.lacks(day, days, on_disk);
            if counts.contradicts {
                words.iter().for_each(|word| known.hear(*word, self.0.writer));
            }
            (counts, words)
        };
        if counts.contradicts {
            return self.keep(stream, shard, words).await;
        }
        let Err(error) = self.create(&name(shard, day, self.0.writer, counts)).await else { return Ok(()) };
        // Whether one more hit is too much cannot be told of a day that is not told whole.
        if self.note(stream, shard, words).await { Ok(()) } else { Err(error) }
    }

    /// Counts records of a stream that were written.
    pub(crate) fn took(&self, stream: &StreamView, classified: u64) {
        let Some(shard) = counted(stream).filter(|_| classified > 0) else { return };
        let day = self.today();
        let name = {
            let mut streams = self.0.streams.lock();
            let known = streams.entry(shard).or_default();
            self.tell_soon(shard, known);
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
            // Whoever created it said the same.
            Ok(Ok(()) | Err(StoreError::AlreadyThere { .. })) => Ok(()),
            Ok(Err(error)) => Err(ClassifyError::Statement { source: Some(error) }),
            Err(_) => Err(ClassifyError::Statement { source: None }),
        }
    }

    /// Reads what others counted, where that is not known in this epoch of the shard.
    async fn read(&self, shard: ShardId) -> Result<(), ClassifyError> {
        let policy = self.0.policy.now();
        let epoch = policy.epochs.get(&shard).copied();
        {
            let streams = self.0.streams.lock();
            let known = streams.get(&shard);
            if known.is_some_and(|known| known.read == Some(epoch)) {
                return Ok(());
            }
            // A bucket that does not answer is not waited for again by each batch and each question.
            if known.and_then(|known| known.failed).is_some_and(|failed| failed.elapsed() < STATEMENT_AGAIN) {
                return Err(ClassifyError::Statement { source: None });
            }
        }
        // Before the look: until the log of the owner before is sealed, that one may still write a hit and its record.
        let is_taken_up = (self.0.takes)(shard, &policy);
        let heard = self.listed(shard).await;
        let mut streams = self.0.streams.lock();
        let known = streams.entry(shard).or_default();
        known.failed = heard.is_err().then(Instant::now);
        let (heard, marks) = heard?;
        known.tally.merge(&heard);
        known.told.extend(marks.into_iter().map(Word::Of));
        known.read = is_taken_up.then_some(epoch);
        Ok(())
    }

    /// What the bucket knows of the week, with all marks.
    async fn listed(&self, shard: ShardId) -> Result<(Tally, Vec<Mark>), ClassifyError> {
        let places = places(shard, self.today());
        let listing = try_join_all(places.iter().map(|place| self.0.store.list(place)));
        let listed = tokio::time::timeout(STATEMENT_DEADLINE, listing).await;
        let listed = listed.map_err(|_| ClassifyError::Statement { source: None })?;
        let listed = listed.map_err(|error| ClassifyError::Statement { source: Some(error) })?;
        let (mut heard, mut marks) = (Tally::default(), Vec::new());
        for (object, _) in listed.into_iter().flatten() {
            match name_read(shard, &object) {
                Some(Said::Counted(day, writer, counts)) => heard.hear(day, writer, counts),
                Some(Said::Of(mark)) => {
                    heard.mark(mark);
                    marks.push(mark);
                }
                None => return Err(ClassifyError::Statement { source: Some(StoreError::Name { object }) }),
            }
        }
        Ok((heard, marks))
    }

    /// Tells the bucket what ends a statement, or notes it on the disk, for a stream whose records lie there alone.
    async fn keep(&self, stream: &StreamView, shard: ShardId, words: BTreeSet<Word>) -> Result<(), ClassifyError> {
        let told = join_all(words.iter().map(|word| self.tell(shard, *word))).await;
        let (mut left, mut failed) = (BTreeSet::new(), None);
        for (word, told) in words.into_iter().zip(told) {
            if let Err(error) = told {
                left.insert(word);
                failed = Some(error);
            }
        }
        let Some(error) = failed else { return Ok(()) };
        if self.note(stream, shard, left).await { Ok(()) } else { Err(error) }
    }

    /// Tells the bucket what ends a statement.
    async fn tell(&self, shard: ShardId, word: Word) -> Result<(), ClassifyError> {
        let name = match word {
            Word::Arrived(day) => {
                let counts = self.0.streams.lock().get(&shard).map(|known| known.tally.of(day, self.0.writer));
                name(shard, day, self.0.writer, Counts { contradicts: true, ..counts.unwrap_or_default() })
            }
            Word::Of(mark) => mark_name(shard, mark),
        };
        self.create(&name).await?;
        self.0.streams.lock().entry(shard).or_default().told.insert(word);
        Ok(())
    }

    /// Notes on this node's disk what ends a statement, for a stream whose records lie there alone. Says whether it is noted.
    async fn note(&self, stream: &StreamView, shard: ShardId, words: BTreeSet<Word>) -> bool {
        let on_disk = stream.policy.durability == Durability::Disk;
        let Some(dir) = self.0.notes.clone().filter(|_| on_disk) else { return false };
        let noted = words.clone();
        let writing = self.0.tasks.blocking(move || -> std::io::Result<()> {
            for word in noted {
                std::fs::File::create(dir.join(note_name(shard, word)))?.sync_all()?;
            }
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
        words.iter().for_each(|word| known.hear(*word, self.0.writer));
        known.untold.extend(words);
        known.look(stream, self.today());
        true
    }

    /// Begins to tell the bucket what only this node's disk knows, where there is any and it was not tried just now.
    fn tell_soon(&self, shard: ShardId, known: &mut Known) {
        if known.untold.is_empty() || known.tried.is_some_and(|tried| tried.elapsed() < STATEMENT_AGAIN) {
            return;
        }
        known.tried = Some(Instant::now());
        let statements = self.clone();
        self.0.tasks.spawn(Kind::Line, async move { statements.tell_late(shard).await });
    }

    /// Tells the bucket what only this node's disk knows.
    async fn tell_late(&self, shard: ShardId) {
        let untold = self.0.streams.lock().get(&shard).map(|known| known.untold.clone()).unwrap_or_default();
        for word in untold {
            if self.tell(shard, word).await.is_err() {
                return;
            }
            if let Some(dir) = &self.0.notes {
                drop(std::fs::remove_file(dir.join(note_name(shard, word))));
            }
            self.0.streams.lock().entry(shard).or_default().untold.remove(&word);
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

/// No store takes exception to it.
const CONTENT: &[u8] = b"1\n";
/// From so many records of a day on it is told that they were twice as many.
const LEAST_TOLD: u64 = 1 << 10;
/// Days of the records of one batch that are marked each for itself; of more, all between the first and the last are.
const MARKS_AT_ONCE: usize = 8;

#[cfg(test)]
#[path = "statements_test.rs"]
mod tests;
