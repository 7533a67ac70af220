//! The releases of this node: the books of all streams it was asked about, and the way every question takes through them.
//!
//! One question at a time changes a book. What is judged is durable in the region's bucket before an answer is made from it.

use std::collections::HashMap;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, TimeRange};
use domicile_proto::message::answer::{AnswerHeader, RefusalCode};
use domicile_proto::message::question::Ask;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::ahead::Ahead;
use super::answer::{self, Answered, Asked, Content, Way};
use super::book::FieldSet;
use super::compose::compose;
use super::contributors::{Contributors, contributors};
use super::errors::AggregateError;
use super::journal::Shelf;
use super::judge::{Judge, settled};
use super::spent::Spent;
use super::sums;
use super::text;
use crate::audit::Drawn;
use crate::clock::Clock;
use crate::limits::BOOKS;
use crate::query::Engine;
use crate::segment::Segment;
use crate::store::Store;
use crate::tasks::Tasks;

/// A stream's shelf, read when it is first needed and again after another node was faster.
type Slot = Arc<Turn<Option<Shelf>>>;

/// The releases. Cheap to clone; clones share the books.
#[derive(Clone)]
pub(crate) struct Releases {
    pub(super) engine: Engine,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    shelves: Arc<Mutex<HashMap<ShardId, Slot>>>,
    spent: Arc<Spent>,
    pub(super) ahead: Arc<Ahead>,
}

/// What came of a question.
pub(crate) struct Judged {
    /// What may be told.
    pub(crate) answered: Answered,
    /// What failed, for this region's own log.
    pub(crate) error: Option<AggregateError>,
    /// Whom the answer of a text question is about; `None` for other questions.
    pub(crate) contributors: Option<Contributors>,
    /// What the answer was drawn from.
    pub(crate) drawn: Option<Drawn>,
}

impl Releases {
    /// Over the segments that questions bring along; books are kept in the region's bucket.
    pub(crate) fn new(engine: Engine, store: Store, clock: Clock, tasks: Tasks) -> Self {
        let spent = Arc::new(Spent::new(store.clone()));
        Self { engine, store, clock, tasks, shelves: Arc::default(), spent, ahead: Arc::default() }
    }

    /// Books in memory.
    #[cfg(test)]
    pub(super) fn books(&self) -> usize {
        self.shelves.lock().len()
    }

    /// Answers a question over the segments of this region's shard of the stream.
    ///
    /// Whatever happens there is an answer; where something failed the error comes with it, for this region's own log.
    pub(crate) async fn answer(&self, asked: Asked, segments: Vec<Arc<Segment>>) -> Judged {
        let way = match answer::way(&asked) {
            Ok(way) => way,
            Err(code) => return Judged::refused(answer::header(&asked, None).0, code, None),
        };
        let now = if matches!(way, Way::Direct) { None } else { Some(self.clock.now()) };
        let (header, range) = answer::header(&asked, now);
        let judged = match way {
            Way::Direct => self.measured(asked, segments, header, range).await,
            Way::Text => self.text(asked, segments, header, range).await,
            Way::Table(fields) => self.tallied(asked, segments, fields, header, range).await,
        };
        judged.unwrap_or_else(|error| Judged::refused(header, error.refusal(), Some(error)))
    }

    async fn measured(
        &self,
        asked: Asked,
        segments: Vec<Arc<Segment>>,
        header: AnswerHeader,
        range: TimeRange,
    ) -> Result<Judged, AggregateError> {
        let (engine, drawn) = (self.engine.clone(), asked.drawn_from(&segments, 0));
        let work = move || {
            let content = match asked.question.ask {
                Ask::Sum(_) => Content::Summed(sums::measure(&engine, &segments, &asked, range)?),
                _ => Content::Measured(answer::measure(&engine, segments, &asked, range)?),
            };
            answer::put(content, &asked, header)
        };
        let answered = self.tasks.blocking(work).await.map_err(|_| AggregateError::Interrupted)??;
        Ok(Judged::answered(answered, None, drawn))
    }

    /// A text question, with those it is about.
    async fn text(
        &self,
        asked: Asked,
        segments: Vec<Arc<Segment>>,
        header: AnswerHeader,
        closed: TimeRange,
    ) -> Result<Judged, AggregateError> {
        let (engine, drawn) = (self.engine.clone(), asked.drawn_from(&segments, 0));
        let work = move || {
            let content = text::tally(&engine, &segments, &asked, header.covered, closed)?;
            let contributors = contributors(&engine, segments, &asked, closed)?;
            Ok(Judged::answered(answer::put(content, &asked, header)?, Some(contributors), drawn))
        };
        self.tasks.blocking(work).await.map_err(|_| AggregateError::Interrupted)?
    }

    async fn tallied(
        &self,
        asked: Asked,
        segments: Vec<Arc<Segment>>,
        fields: FieldSet,
        header: AnswerHeader,
        closed: TimeRange,
    ) -> Result<Judged, AggregateError> {
        answer::check_cells(&asked)?;
        let (asked, upto) = (Arc::new(asked), settled(&segments));
        let slot = self.judged(&asked, segments, &fields, closed).await?;
        let work = move || {
            let shelf = slot.as_ref().ok_or(AggregateError::Interrupted)?;
            let (book, drawn) = (&shelf.book, asked.drawn_upto(upto, shelf.number()));
            let content = match asked.question.ask {
                Ask::Sum(_) => Content::Summed(compose(&asked, book, &fields, header.covered, closed)),
                _ => Content::Tallied(compose(&asked, book, &fields, header.covered, closed)),
            };
            let noise = asked.stream.policy.noise.or_else(|| book.noise(closed));
            let header = AnswerHeader { late_withheld: book.has_late(closed), noise, ..header };
            Ok(Judged::answered(answer::put(content, &asked, header)?, None, drawn))
        };
        self.tasks.blocking(work).await.map_err(|_| AggregateError::Interrupted)?
    }

    /// The shelf with everything judged and kept that the question needs of a closed range.
    pub(super) async fn judged(
        &self,
        asked: &Arc<Asked>,
        segments: Vec<Arc<Segment>>,
        fields: &FieldSet,
        closed: TimeRange,
    ) -> Result<OwnedMutexGuard<Option<Shelf>>, AggregateError> {
        let mut slot = self.shelf(asked).await?;
        let (engine, of, by) = (self.engine.clone(), Arc::clone(asked), fields.clone());
        // The guard goes along, so that nobody else changes the book even where this caller has gone.
        let work = move || {
            let judge = Judge { engine: &engine, segments: &segments, asked: &of, closed };
            let entry = match slot.as_mut() {
                Some(shelf) => judge.next_entry(&mut shelf.book, &by),
                None => Err(AggregateError::Interrupted),
            };
            (slot, entry)
        };
        let (mut slot, draft) = self.tasks.blocking(work).await.map_err(|_| AggregateError::Interrupted)?;
        let entry = draft?.told(&self.spent, asked.stream.tenant, asked.shard()).await?;
        if !entry.is_empty() {
            // Taken out until it is kept: a shelf that is left half way is read again.
            let mut shelf = slot.take().ok_or(AggregateError::Interrupted)?;
            shelf.keep(&self.store, &entry).await?;
            *slot = Some(shelf);
        }
        Ok(slot)
    }

    /// The shelf of the question's stream, read from the bucket where it is not here.
    pub(super) async fn shelf(&self, asked: &Asked) -> Result<OwnedMutexGuard<Option<Shelf>>, AggregateError> {
        let shard = asked.shard();
        let slot = {
            let mut shelves = self.shelves.lock();
            if shelves.len() >= BOOKS && !shelves.contains_key(&shard) {
                shelves.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
            Arc::clone(shelves.entry(shard).or_default())
        };
        let mut slot = slot.lock_owned().await;
        if slot.is_none() {
            *slot = Some(Shelf::open(&self.store, shard).await?);
        }
        Ok(slot)
    }
}

impl Judged {
    const fn answered(answered: Answered, contributors: Option<Contributors>, drawn: Option<Drawn>) -> Self {
        Self { answered, error: None, contributors, drawn }
    }

    const fn refused(header: AnswerHeader, code: RefusalCode, error: Option<AggregateError>) -> Self {
        Self { answered: Answered::refused(header, code), error, contributors: None, drawn: None }
    }
}
