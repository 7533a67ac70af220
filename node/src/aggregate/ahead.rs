//! Releases the closed cells of the days a question was about, before anybody asks for more of them.
//!
//! What a cell is released as is a matter of closed leaves and of the policy, never of who asks or when; so it may as well be
//! judged and kept while nobody waits. Whoever asks about another hour then reads what is released, as a repeat does. Nothing
//! leaves the region here, and what fails here is done by the next question.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::ids::{PolicyVersion, ShardId, TimeRange, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::AggregateError;
use super::answer::{self, Asked, Way};
use super::book::FieldSet;
use super::releases::Releases;
use crate::limits::{AHEAD_DEADLINE, DAYS_AHEAD, TABLES_AHEAD};
use crate::query::Budget;
use crate::segment::Segment;
use crate::tasks::Kind;

/// One day of one table of a stream, and by which policy.
pub(super) type Page = (ShardId, FieldSet, i64, PolicyVersion);

/// Up to when days were released ahead.
pub(super) struct Ahead {
    upto: Mutex<HashMap<Page, Timestamp>>,
    /// One at a time: it takes what processors have left over.
    turn: Arc<Semaphore>,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { upto: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Ahead {
    /// Days of the question with leaves that have closed since they were gone through, the last day first.
    pub(super) fn days(&self, asked: &Asked, fields: &FieldSet, now: Timestamp) -> Vec<(Page, TimeRange)> {
        let Some((shard, _)) = asked.stream.shard else { return Vec::new() };
        let closes = answer::closes(&asked.stream.policy, now);
        let range = asked.question.range;
        let (first, last) = (range.from.0.div_euclid(DAY), range.to.min(closes).0.saturating_sub(1).div_euclid(DAY));
        let upto = self.upto.lock();
        let day = |day: i64| {
            let to = Timestamp(day.saturating_add(1).saturating_mul(DAY)).min(closes);
            let page = (shard, fields.clone(), day, asked.policy.version);
            let is_new = upto.get(&page).is_none_or(|upto| *upto < to);
            is_new.then_some((page, TimeRange { from: Timestamp(day.saturating_mul(DAY)), to }))
        };
        let first = first.max(last.saturating_sub(DAYS_AHEAD - 1));
        (first..=last).rev().filter_map(day).collect()
    }

    fn note(&self, page: Page, to: Timestamp) {
        let mut upto = self.upto.lock();
        if upto.len() >= TABLES_AHEAD && !upto.contains_key(&page) {
            upto.clear();
        }
        upto.insert(page, to);
    }
}

impl Releases {
    /// Goes through the days of a question in the background, where it was answered from a table and there is anything new.
    /// `view` shows the segments as they are when a day is begun, or nothing where this node must not judge them by then.
    pub(crate) fn go_ahead(&self, asked: &Asked, view: View) {
        // Where numbers are moved, each release costs the tenant some of its budget: nothing is released that nobody asks for.
        if asked.stream.policy.noise.is_some() {
            return;
        }
        let Ok(Way::Table(fields)) = answer::way(asked) else { return };
        let days = self.ahead.days(asked, &fields, self.clock.now());
        if days.is_empty() {
            return;
        }
        let Ok(turn) = Arc::clone(&self.ahead.turn).try_acquire_owned() else { return };
        let (asked, releases) = (asked.clone(), self.clone());
        self.tasks.spawn(Kind::Timer, async move {
            let stopped = releases.tasks.token().clone();
            let done = tokio::select! {
                () = stopped.cancelled() => Ok(()),
                done = releases.release_ahead(&asked, &view, &fields, days) => done,
            };
            if let Err(error) = done {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "cells were not released ahead; whoever asks for them waits for it");
            }
            drop(turn);
        });
    }

    /// Releases what is closed of these days, each in one entry of the journal.
    pub(super) async fn release_ahead(
        &self,
        asked: &Asked,
        view: &View,
        fields: &FieldSet,
        days: Vec<(Page, TimeRange)>,
    ) -> Result<(), AggregateError> {
        // The policy of the question holds for all of it, so it is over before another one could long have come.
        let budget = Budget::until(Instant::now() + AHEAD_DEADLINE);
        // Where this is left, the work ends with it.
        let _guard = budget.token.clone().drop_guard();
        let asked = Arc::new(Asked { budget, ..asked.clone() });
        for (page, closed) in days {
            if !self.has_room_ahead(&asked).await? {
                break;
            }
            let Some(segments) = view() else { break };
            self.judged(&asked, segments, fields, closed).await?;
            self.ahead.note(page, closed.to);
        }
        Ok(())
    }

    async fn has_room_ahead(&self, asked: &Asked) -> Result<bool, AggregateError> {
        Ok(self.shelf(asked).await?.as_ref().is_some_and(|shelf| shelf.book.has_room_ahead()))
    }
}

/// The segments of a stream as they are now, if they may be judged.
pub(crate) type View = Box<dyn Fn() -> Option<Vec<Arc<Segment>>> + Send + Sync>;

/// In microseconds.
const DAY: i64 = 86_400 * Timestamp::MICROS;

#[cfg(test)]
#[path = "ahead_test.rs"]
mod tests;
