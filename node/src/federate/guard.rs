//! What a region keeps in mind of the questions of a day, so that many answers together tell no more than each alone: text
//! questions that are too near an earlier one are refused (CBAP-1 rule R10), a repeat gets the answer it got before, and new
//! questions of a tenant are counted (R12). Tenant-wide: whoever asks, from whatever region, this one's own part as well.
//!
//! The core is plain data under one lock; what must outlive a restart is in the journal before the answer is released. At
//! 00:00 UTC everything is forgotten: that a day may be compared with the next is a known limit of guarding by overlap. A day ends
//! when the clock says so and as much time has passed, so that a clock which jumps ends none.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::codec;
use domicile_proto::ids::{PolicyVersion, TenantId, Timestamp};
use domicile_proto::message::answer::{Outcome, RefusalCode};
use domicile_proto::metadata::Personal;
use parking_lot::Mutex;

use super::coverage::cells;
use super::gate::{Gated, Put};
use super::journal::{Found, Journal, Noted};
use super::predicate::{Predicate, is_text};
use crate::aggregate::Answered;
use crate::aggregate::contributors::Contributors;
use crate::audit::Drawn;
use crate::clock::Clock;
use crate::limits::{GUARDED_ANSWERS, OVERLAPS_PER_DAY, QUESTIONS_PER_DAY, TEXT_ANSWERS_KEPT};
use crate::tasks::Tasks;

const DAY: i64 = 86_400 * Timestamp::MICROS;
/// So much earlier than by the time that has passed a day may be over.
const SLACK: Duration = Duration::from_secs(3_600);
/// The shortest day.
const LEAST_DAY: Duration = Duration::from_secs(23 * 3_600);

/// The guard of this region's answers.
pub(crate) struct Guard {
    clock: Clock,
    tasks: Tasks,
    state: Mutex<State>,
}

/// What is known of a question before anything is looked up.
pub(super) enum Before {
    /// It was answered before: this is the answer.
    Repeat(Box<(Answered, Option<Drawn>)>),
    /// It is not answered.
    Refused(RefusalCode),
    /// It is looked at.
    New,
}

struct State {
    journal: Journal,
    today: Today,
    /// From when on another day may begin, as [`Clock::steady`] has it.
    ends: Duration,
    kept: VecDeque<((Predicate, PolicyVersion), Answered, Option<Drawn>)>,
}

/// One UTC day.
#[derive(Default)]
struct Today {
    day: i64,
    /// Part of what was noted cannot be read: no new text question can be judged.
    is_blind: bool,
    tenants: HashMap<TenantId, Tenant>,
    guarded: usize,
}

#[derive(Default)]
struct Tenant {
    asked: BTreeSet<Predicate>,
    released: Vec<Contributors>,
    overlaps: u32,
}

impl Guard {
    /// Opens what was noted today; blocks.
    ///
    /// # Errors
    /// Where the directory cannot be used.
    pub(crate) fn open(dir: &Path, clock: Clock, tasks: Tasks) -> io::Result<Arc<Self>> {
        let (day, ends) = (clock.now().0.div_euclid(DAY), end_of_day(&clock));
        let (journal, found) = Journal::open(dir, day)?;
        let state = State { journal, today: Today::of(day, found), ends, kept: VecDeque::new() };
        Ok(Arc::new(Self { clock, tasks, state: Mutex::new(state) }))
    }

    /// One that keeps a day of synthetic questions in mind, and nothing on a disk.
    pub(crate) fn of_rehearsal(clock: Clock, tasks: Tasks) -> Arc<Self> {
        let found = Found { noted: Vec::new(), is_damaged: false };
        let today = Today::of(clock.now().0.div_euclid(DAY), found);
        let state = State { journal: Journal::forgetful(), today, ends: end_of_day(&clock), kept: VecDeque::new() };
        Arc::new(Self { clock, tasks, state: Mutex::new(state) })
    }

    /// Judges a question by what was asked before.
    pub(super) async fn before(self: &Arc<Self>, put: Put) -> Before {
        let guard = Arc::clone(self);
        let judged = self.tasks.blocking(move || guard.look(&put)).await;
        judged.unwrap_or(Before::Refused(RefusalCode::Unavailable))
    }

    fn look(&self, put: &Put) -> Before {
        let now = self.clock.now();
        let predicate = predicate(put, now);
        let mut state = self.state.lock();
        if let Err(code) = state.turn(&self.clock) {
            return Before::Refused(code);
        }
        if let Some(answered) = state.kept(predicate, put) {
            return Before::Repeat(Box::new(answered));
        }
        match state.today.judge(put, predicate) {
            Ok(()) => Before::New,
            Err(code) => Before::Refused(code),
        }
    }

    /// Judges an answer by what was released before, and keeps it in mind.
    pub(super) async fn after(self: &Arc<Self>, put: Put, gated: Gated) -> (Answered, Option<Drawn>) {
        if matches!(gated.answered.answer().outcome, Outcome::Refused(_)) {
            return (gated.answered, None);
        }
        let header = put.header;
        let refused = |code| (Answered::refused(header, code), None);
        if codec::encode(gated.answered.answer()).is_err() {
            return refused(RefusalCode::AnswerTooLarge);
        }
        let guard = Arc::clone(self);
        let judged = self.tasks.blocking(move || guard.release(&put, gated)).await;
        judged.unwrap_or(Err(RefusalCode::Unavailable)).unwrap_or_else(refused)
    }

    fn release(&self, put: &Put, gated: Gated) -> Result<(Answered, Option<Drawn>), RefusalCode> {
        let now = self.clock.now();
        let predicate = predicate(put, now);
        let mut state = self.state.lock();
        state.turn(&self.clock)?;
        // Another may have asked the same meanwhile.
        if let Some(answered) = state.kept(predicate, put) {
            return Ok(answered);
        }
        state.today.judge(put, predicate)?;
        let mut noted = Vec::new();
        let tenant = put.question.tenant;
        let is_new = !state.today.tenants.entry(tenant).or_default().asked.contains(&predicate);
        if is_new {
            noted.push(Noted::Asked { tenant, predicate });
        }
        let told = told(put, gated.answered.answer().outcome.clone(), gated.contributors)?;
        if let Some(contributors) = &told {
            match state.today.compare(put, contributors, is_new) {
                Ok(true) => noted.push(Noted::released(tenant, contributors)),
                Ok(false) => {}
                Err(code) => {
                    if code == RefusalCode::Overlap {
                        state.overlapped(put);
                    }
                    return Err(code);
                }
            }
        }
        state.note(&noted)?;
        let Today { tenants, guarded, .. } = &mut state.today;
        let of_tenant = tenants.entry(tenant).or_default();
        of_tenant.asked.insert(predicate);
        if let Some(contributors) = told.filter(|told| !of_tenant.released.contains(told)) {
            of_tenant.released.push(contributors);
            *guarded += 1;
        }
        if is_text(&put.question) {
            state.keep(predicate, put, (&gated.answered, gated.drawn));
        }
        Ok((gated.answered, gated.drawn))
    }
}

/// When the day of a clock is over, as [`Clock::steady`] has it, and an hour before: clocks are corrected by a little.
fn end_of_day(clock: &Clock) -> Duration {
    let left = u64::try_from(DAY - clock.now().0.rem_euclid(DAY)).unwrap_or_default();
    (clock.steady() + Duration::from_micros(left)).saturating_sub(SLACK)
}

/// The question, as far as its cells are closed by now.
fn predicate(put: &Put, now: Timestamp) -> Predicate {
    let policy = &put.stream.policy;
    let width = i64::from(policy.grid.seconds()) * Timestamp::MICROS;
    let ripe = now.0.saturating_sub(i64::from(policy.close_after_s) * Timestamp::MICROS);
    Predicate::of(&put.question, Timestamp(ripe.div_euclid(width).saturating_mul(width)))
}

/// Whom something is told about, where there is somebody to guard. An answer without a published number tells the same of
/// nobody and of too few: it is kept out of all comparison, or a refusal could tell the two apart.
fn told(put: &Put, outcome: Outcome, found: Option<Contributors>) -> Result<Option<Contributors>, RefusalCode> {
    let Outcome::Aggregate(aggregate) = outcome else { return Ok(None) };
    let is_personal = put.stream.policy.personal != Personal::No;
    let is_guarded = is_personal && is_text(&put.question) && put.policy.release(&put.stream).k.get() > 1;
    if !is_guarded || !is_telling(&aggregate) {
        return Ok(None);
    }
    found.map(Some).ok_or(RefusalCode::Unavailable)
}

fn is_telling(aggregate: &Aggregate) -> bool {
    cells(aggregate).iter().any(|cell| cell.is_exact() || cell.records.0 > 0)
}

impl State {
    /// Begins another day where one is over by the clock and as much time has passed: whatever the clock is set to, there is one day
    /// in 23 hours, and it is that of the clock again when these are over.
    fn turn(&mut self, clock: &Clock) -> Result<(), RefusalCode> {
        let day = clock.now().0.div_euclid(DAY);
        if day == self.today.day || clock.steady() < self.ends {
            return Ok(());
        }
        let found = self.journal.turn_to(day).map_err(|error| unusable(&error))?;
        self.ends = end_of_day(clock).max(self.ends + LEAST_DAY);
        self.today = Today::of(day, found);
        self.kept.clear();
        Ok(())
    }

    fn note(&mut self, noted: &[Noted]) -> Result<(), RefusalCode> {
        if noted.is_empty() {
            return Ok(());
        }
        self.journal.note(noted).map_err(|error| {
            // Whether the line is there is not known: nothing new can be judged for the rest of the day.
            self.today.is_blind = true;
            unusable(&error)
        })
    }

    fn overlapped(&mut self, put: &Put) {
        let (tenant, stream) = (put.question.tenant, put.question.stream);
        let of_tenant = self.today.tenants.entry(tenant).or_default();
        of_tenant.overlaps = of_tenant.overlaps.saturating_add(1);
        let refused_today = of_tenant.overlaps;
        tracing::warn!(
            tenant = tenant.0,
            stream = stream.0,
            refused_today,
            "a text question is too near an earlier one"
        );
        // Refused it is either way.
        let _ = self.note(&[Noted::Overlap { tenant }]);
    }

    fn kept(&self, predicate: Predicate, put: &Put) -> Option<(Answered, Option<Drawn>)> {
        let key = (predicate, put.policy.version);
        let (_, answered, drawn) = self.kept.iter().find(|(kept, ..)| *kept == key)?;
        Some((answered.repeat(&put.header), *drawn))
    }

    fn keep(&mut self, predicate: Predicate, put: &Put, (answered, drawn): (&Answered, Option<Drawn>)) {
        if self.kept.len() >= TEXT_ANSWERS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(((predicate, put.policy.version), answered.clone(), drawn));
    }
}

fn unusable(error: &io::Error) -> RefusalCode {
    tracing::error!(%error, "what was asked today cannot be noted; new questions of other regions are refused");
    RefusalCode::Unavailable
}

impl Today {
    fn of(day: i64, found: Found) -> Self {
        let mut today = Self { day, is_blind: found.is_damaged, ..Self::default() };
        for noted in found.noted {
            match noted {
                Noted::Asked { tenant, predicate } => {
                    today.tenants.entry(tenant).or_default().asked.insert(predicate);
                }
                Noted::Released { tenant, contributors } => match Noted::decode(&contributors) {
                    Some(contributors) => {
                        today.tenants.entry(tenant).or_default().released.push(contributors);
                        today.guarded += 1;
                    }
                    None => today.is_blind = true,
                },
                Noted::Overlap { tenant } => today.tenants.entry(tenant).or_default().overlaps += 1,
            }
        }
        if today.is_blind {
            tracing::error!(
                "part of what was asked today cannot be read; new text questions are refused until 00:00 UTC"
            );
        }
        today
    }

    /// Whether a question that is no repeat may be looked at.
    fn judge(&self, put: &Put, predicate: Predicate) -> Result<(), RefusalCode> {
        let of_tenant = self.tenants.get(&put.question.tenant);
        let is_new = of_tenant.is_none_or(|tenant| !tenant.asked.contains(&predicate));
        if is_new && of_tenant.is_some_and(|tenant| tenant.asked.len() >= QUESTIONS_PER_DAY) {
            return Err(RefusalCode::QuestionsSpent);
        }
        if !is_text(&put.question) {
            return Ok(());
        }
        if self.is_blind {
            return Err(RefusalCode::Unavailable);
        }
        if of_tenant.is_some_and(|tenant| tenant.overlaps >= OVERLAPS_PER_DAY) {
            return Err(RefusalCode::Overlap);
        }
        Ok(())
    }

    /// Whether contributors are new to the guard; refused where they are too near earlier ones. A question that was answered
    /// today, and whose answer is not kept any more (a restart, or too many since), is answered again from exactly the same
    /// records or not at all: what was released once is never released otherwise.
    fn compare(&self, put: &Put, contributors: &Contributors, is_new: bool) -> Result<bool, RefusalCode> {
        let k = put.policy.release(&put.stream).k.get();
        let earlier = self.tenants.get(&put.question.tenant).map_or(&[][..], |tenant| &tenant.released);
        if earlier.iter().any(|earlier| contributors.is_too_near(earlier, k)) {
            return Err(RefusalCode::Overlap);
        }
        if earlier.contains(contributors) {
            return Ok(false);
        }
        if !is_new {
            return Err(RefusalCode::Overlap);
        }
        if self.guarded >= GUARDED_ANSWERS { Err(RefusalCode::Busy) } else { Ok(true) }
    }
}

#[cfg(test)]
#[path = "guard_test.rs"]
mod tests;
