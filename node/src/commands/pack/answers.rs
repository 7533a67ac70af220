//! What answers held that left, and what of it goes beyond rules.
//!
//! The entry of an answer names the version of the policy and the digest of the rules that it was released by; those are judged in
//! [`super::rules`]. A statement has the rules of its own version: answers under that are judged by it as well, whether their entry names rules or not.
//! A cell stays as it was published, by whatever k was then, so that of cells the floor alone is held against what is told.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::ids::{DictionaryId, FieldId, Name, QuestionId, ShardId, StreamId, Timestamp};
use domicile_proto::message::answer::{Answer, Outcome};
use domicile_proto::message::question::{Filter, Question};
use domicile_proto::officer::OfficerPublic;

use crate::aggregate::RulesDigest;
use crate::audit::{Drawn, Entry, Event, Peer};
use crate::limits::OLDER_POLICY_LEAVES_FOR;
use crate::present::auditor::{Statement, Stream};

/// The field that every stream has and every region lets out.
pub(super) const LEVEL: &str = "level";
/// From the entry that tells of a version of the policy to an answer under an older one, at most, in microseconds. Source: three times what a
/// node lets pass, which judges by a clock that nobody sets and that may part from the one in the entries by a few seconds.
const OVER_WITHIN: i64 = 60 * Timestamp::MICROS;
const _: () = assert!(OVER_WITHIN as u64 >= 3 * 1_000_000 * OLDER_POLICY_LEAVES_FOR.as_secs());
/// Grids are divisors of it, in seconds.
const WIDEST_GRID: i64 = 3_600;

/// What the answers of a ledger held: each thing with the first entry that it stands in.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Questions that arrived and are not answered, each with its entry, by who asked; none where one node asked two under one id, for nobody
    /// knows then which of them an answer is about.
    asked: BTreeMap<(Peer, QuestionId), Option<(u64, Question)>>,
    officer: Option<OfficerPublic>,
    /// The newest version of the policy that the ledger has told of, the entry that did, and its time.
    version: u64,
    since: (u64, Timestamp),
    /// What was released under it by one officer's word.
    now: BTreeMap<StreamId, Held>,
    /// How often it was told anew what holds: by a start, by another officer, by a group that began anew with a backup.
    run: u32,
    /// What was released by rules that its entry names.
    pub(super) named: BTreeMap<Under, Held>,
    /// Answers whose entry names no rules, and those of which nobody knows what was asked: how many, and the first that is so though an
    /// answer before it named rules.
    pub(super) unnamed: (u64, Option<u64>),
    pub(super) unpaired: u64,
    /// Answers of another shape than was asked for, each with the entry of its question: a region's gate has one shape for each question, and
    /// whoever asked takes no other.
    pub(super) unlike: Vec<(u64, u64)>,
    /// Versions that were told of since the start in one order with what leaves, each with its entry and the time of that.
    told: BTreeMap<u64, (u64, Timestamp)>,
    /// The last entry that says that the clock was set, and its time by the clock as it was set.
    set: (u64, Timestamp),
    pub(super) outdated: Vec<Outdated>,
    /// Answers whose entry names rules and not the smallest group: how many, and the first that is so though one before it said it.
    pub(super) without_k: (u64, Option<u64>),
    has_k: bool,
    /// Smaller groups that the ledger told of: in which run, of which stream, from which version of the policy on, and how small.
    pub(super) lowered: Vec<(u32, StreamId, u64, u32)>,
    /// Values that may be named of a field, as the ledger told: in which run and from which version of the policy on; their digest, and the
    /// entry.
    pub(super) approved: BTreeMap<(u32, Name, u64), ([u8; 32], u64)>,
}

/// An answer that left under a version of the policy long after a newer one was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outdated {
    /// Its entry, and the version that it names.
    pub(super) number: u64,
    pub(super) version: u64,
    /// The newer version, and the entry that told of it.
    pub(super) newer: u64,
    pub(super) told: u64,
}

/// What answers were released under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Under {
    pub(super) run: u32,
    pub(super) stream: StreamId,
    /// The version of the policy that the answer names, and the digest of the rules that its entry does.
    pub(super) version: u64,
    pub(super) rules: RulesDigest,
}

/// What was released of one stream under one version of the policy.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How many answers, the first of them, and the shard that it was drawn from.
    pub(super) answers: u64,
    pub(super) first: u64,
    pub(super) shard: ShardId,
    groups: BTreeMap<FieldId, u64>,
    numbers: BTreeMap<FieldId, u64>,
    values: BTreeMap<(FieldId, DictionaryId), u64>,
    /// The widest grid on which the ends of an answer and its cells lie.
    grids: BTreeMap<i64, u64>,
    /// The first answer to a question with words.
    worded: Option<u64>,
    /// The smallest groups that entries say, each with the first of them.
    pub(super) k: BTreeMap<u32, u64>,
    /// The fewest records that an answer counts without noise, with its entry: to questions with words, and to others.
    pub(super) fewest: [Option<(u64, u64)>; 2],
}

/// What rules let out of a stream.
#[derive(Debug, Default)]
pub(super) struct Lets<'a> {
    /// Which stream, and by which rules, in words.
    pub(super) of: String,
    /// In the order of their ids.
    pub(super) fields: Vec<&'a str>,
    pub(super) groups: Vec<&'a str>,
    pub(super) numbers: Vec<&'a str>,
    pub(super) values: BTreeSet<(&'a str, u64)>,
    pub(super) grid_s: u64,
    pub(super) has_words: bool,
}

impl Answers {
    /// One more entry.
    pub(super) fn take(&mut self, number: u64, entry: &Entry) {
        self.tell(number, entry);
        match &entry.event {
            Event::NodeStarted { .. } => self.run += 1,
            Event::PolicyChanged { version, .. } if version.0 != self.version => {
                self.run += u32::from(version.0 < self.version);
                (self.version, self.since, self.now) = (version.0, (number, entry.at), BTreeMap::new());
            }
            Event::OfficerHonoured { officer } if self.officer != Some(*officer) => {
                self.run += 1;
                (self.officer, self.now) = (Some(*officer), BTreeMap::new());
            }
            Event::ThresholdLowered { stream, to, policy, .. } => {
                self.lowered.push((self.run, *stream, policy.0, to.get()));
            }
            Event::ValuesApproved { field, approved, policy, .. } => {
                self.approved.insert((self.run, field.clone(), policy.0), (*approved, number));
            }
            Event::Ingress(passage) => {
                if let Some(question) = passage.question() {
                    let key = (passage.peer.clone(), question.id);
                    self.asked.entry(key).and_modify(|open| *open = None).or_insert(Some((number, question)));
                }
            }
            Event::Egress(passage) => {
                if let Some(answer) = passage.answer() {
                    let key = (passage.peer.clone(), answer.header.question);
                    let is_clear = self.asked.get(&key).is_some_and(Option::is_some);
                    let question = if is_clear { self.asked.remove(&key).flatten() } else { None };
                    self.leaves(number, entry.at, &answer);
                    self.answered(number, question, &answer, passage.drawn);
                }
            }
            _ => {}
        }
    }

    /// Which versions this run of the node told of, and when, by a clock that may be set in between.
    fn tell(&mut self, number: u64, entry: &Entry) {
        match &entry.event {
            // No answer is on its way across a start.
            Event::NodeStarted { .. } => self.told.clear(),
            Event::ClockJumped { .. } => self.set = (number, entry.at),
            Event::PolicyChanged { version, ordered, .. } => {
                if self.told.last_key_value().is_some_and(|(newest, _)| version.0 < *newest) {
                    self.told.clear();
                }
                if *ordered {
                    self.told.entry(version.0).or_insert((number, entry.at));
                }
            }
            _ => {}
        }
    }

    /// An answer leaves: no node lets it out that long after the entry that told of a newer version. Where the clock was set since, the time is
    /// counted from then.
    fn leaves(&mut self, number: u64, at: Timestamp, answer: &Answer) {
        let version = answer.header.policy.0;
        let is_released = matches!(answer.outcome, Outcome::Aggregate(_));
        let newer = self.told.range(version.saturating_add(1)..).next().filter(|_| is_released);
        if let Some((newer, (told, told_at))) = newer {
            let since = if self.set.0 > *told { self.set.1 } else { *told_at };
            if at.0.saturating_sub(since.0) > OVER_WITHIN {
                self.outdated.push(Outdated { number, version, newer: *newer, told: *told });
            }
        }
    }

    fn answered(&mut self, number: u64, question: Option<(u64, Question)>, answer: &Answer, drawn: Option<Drawn>) {
        let Outcome::Aggregate(aggregate) = &answer.outcome else { return };
        if drawn.is_none() {
            let is_behind = !self.named.is_empty();
            self.unnamed.0 += 1;
            self.unnamed.1 = self.unnamed.1.or_else(|| is_behind.then_some(number));
        }
        let Some((asked, question)) = question else {
            self.unpaired += 1;
            return;
        };
        if !question.ask.is_answered_by(aggregate) {
            self.unlike.push((number, asked));
            return;
        }
        if let Some(Drawn { shard, rules, k, .. }) = drawn {
            let (run, stream, version) = (self.run, question.stream, answer.header.policy.0);
            let held = self.named.entry(Under { run, stream, version, rules });
            let held = held.or_insert_with(|| Held { shard, ..Held::default() });
            held.released(number, &question, answer, aggregate);
            match k {
                Some(k) => {
                    self.has_k = true;
                    held.k.entry(k.get()).or_insert(number);
                }
                None => {
                    self.without_k.0 += 1;
                    self.without_k.1 = self.without_k.1.or_else(|| self.has_k.then_some(number));
                }
            }
        }
        if answer.header.policy.0 == self.version {
            self.now.entry(question.stream).or_default().released(number, &question, answer, aggregate);
        }
    }

    /// The newest version of the policy that the ledger has told of: its number, the entry that told it, and the time of that.
    pub(super) const fn newest(&self) -> (u64, u64, Timestamp) {
        (self.version, self.since.0, self.since.1)
    }

    /// Whether nothing was told anew since the answers under these.
    pub(super) const fn is_now(&self, under: &Under) -> bool {
        under.run == self.run
    }

    /// The rules that entries of answers name, each with a shard under which they were kept.
    pub(super) fn pages(&self) -> BTreeMap<RulesDigest, ShardId> {
        self.named.iter().map(|(under, held)| (under.rules, held.shard)).collect()
    }

    /// Where answers held what the rules in a statement do not let out, or are of a stream that it does not have: the entry, and what. Of
    /// streams that hold nobody there is nothing to say, and none of answers under another version of the policy than the statement's.
    pub(super) fn differ(&self, statement: &Statement) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        if statement.policy_version != self.version {
            return found;
        }
        for (id, held) in &self.now {
            let Some(stream) = statement.streams.iter().find(|stream| stream.id == u64::from(id.0)) else {
                found
                    .push((held.first, format!("the answer is of stream {}, which the statement does not have", id.0)));
                continue;
            };
            if stream.personal != "no" {
                found.extend(held.beyond(&stated(statement, stream)));
            }
        }
        found
    }
}

/// What a statement lets out of a stream.
fn stated<'a>(statement: &'a Statement, stream: &'a Stream) -> Lets<'a> {
    Lets {
        of: format!("stream `{}`", stream.name),
        fields: stream.fields.iter().map(String::as_str).collect(),
        groups: stream.group_fields.iter().map(String::as_str).collect(),
        numbers: stream.numbers.iter().map(String::as_str).collect(),
        values: statement.dictionary.iter().map(|one| (one.field.as_str(), one.id)).collect(),
        grid_s: stream.grid_s,
        has_words: stream.has_text_questions,
    }
}

impl Held {
    fn released(&mut self, number: u64, question: &Question, answer: &Answer, aggregate: &Aggregate) {
        self.answers += 1;
        if self.first == 0 {
            self.first = number;
        }
        for filter in &question.filters {
            match filter {
                Filter::Level { .. } => {}
                Filter::Value { field, .. } => drop(self.groups.entry(*field).or_insert(number)),
                Filter::Text { .. } | Filter::TextIn { .. } => self.worded = self.worded.or(Some(number)),
            }
        }
        if let Some(field) = question.ask.field() {
            self.groups.entry(field).or_insert(number);
        }
        if let Some(field) = question.ask.number() {
            self.numbers.entry(field).or_insert(number);
        }
        for named in values(aggregate) {
            self.values.entry(named).or_insert(number);
        }
        let is_worded = question.filters.iter().any(|filter| filter.literal().is_some());
        if answer.header.noise.is_none()
            && let Some(records) = counts(aggregate).filter(|records| *records > 0).min()
        {
            let [plain, worded] = &mut self.fewest;
            let fewest = if is_worded { worded } else { plain };
            *fewest = fewer(*fewest, (records, number));
        }
        let covered = answer.header.covered;
        let step = question.ask.grid().map_or(0, |grid| i64::from(grid.step));
        // Whole seconds of both ends; what lies between them lies on no grid.
        let second = |at: Timestamp| if at.0 % Timestamp::MICROS == 0 { at.0 / Timestamp::MICROS } else { 1 };
        let grid = [second(covered.from), second(covered.to), step].into_iter().fold(WIDEST_GRID, common);
        self.grids.entry(grid).or_insert(number);
    }

    /// What is not let out by rules: the entry, and what.
    pub(super) fn beyond(&self, lets: &Lets<'_>) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        let mut say = |number: &u64, what: String| found.push((*number, format!("{what} of {}", lets.of)));
        let is_out = |field: &FieldId, out: &[&str]| {
            let name = lets.fields.get(usize::from(field.0));
            name.is_some_and(|name| *name == LEVEL || out.contains(name))
        };
        for (field, number) in self.groups.iter().filter(|(field, _)| !is_out(field, &lets.groups)) {
            say(number, format!("the answer is by field {}, which the policy of its time does not let out,", field.0));
        }
        for (field, number) in self.numbers.iter().filter(|(field, _)| !is_out(field, &lets.numbers)) {
            say(number, format!("the answer counts field {}, which the policy of its time does not let out,", field.0));
        }
        // Levels are approved everywhere.
        let is_approved = |field: &FieldId, value: &DictionaryId| {
            let name = lets.fields.get(usize::from(field.0));
            name.is_some_and(|name| *name == LEVEL || lets.values.contains(&(*name, u64::from(value.0))))
        };
        for ((field, value), number) in self.values.iter().filter(|((field, value), _)| !is_approved(field, value)) {
            say(number, format!("the answer names value {} of field {}, which was not approved,", value.0, field.0));
        }
        if let (Some(number), false) = (&self.worded, lets.has_words) {
            say(
                number,
                "the answer is to a question with words, which the policy of its time does not take,".to_owned(),
            );
        }
        for (grid, number) in &self.grids {
            if i64::try_from(lets.grid_s).is_ok_and(|wanted| wanted > 0 && grid % wanted != 0) {
                say(number, format!("the answer does not lie on the grid of {} s", lets.grid_s));
            }
        }
        found
    }
}

/// The values that an aggregate names.
fn values(aggregate: &Aggregate) -> Vec<(FieldId, DictionaryId)> {
    match aggregate {
        Aggregate::Terms(terms) => terms.cells.iter().map(|(value, _)| (terms.field, *value)).collect(),
        Aggregate::TermGrid(grid) => grid.rows.iter().map(|(value, _)| (grid.field, *value)).collect(),
        _ => Vec::new(),
    }
}

/// The records that an aggregate counts, cell by cell; of a sum those whose numbers it adds up, which are judged as a cell of their own.
fn counts(aggregate: &Aggregate) -> impl Iterator<Item = u64> {
    let all = |cells: &[Cell]| cells.iter().map(|cell| cell.records.0).collect();
    match aggregate {
        Aggregate::Count(count) => all(&[count.cell]),
        Aggregate::DateGrid(grid) => all(&grid.cells),
        Aggregate::Terms(terms) => {
            all(&terms.cells.iter().map(|(_, cell)| *cell).chain([terms.other]).collect::<Vec<_>>())
        }
        Aggregate::TermGrid(grid) => {
            all(&grid.rows.iter().flat_map(|(_, cells)| cells).chain(&grid.other).copied().collect::<Vec<_>>())
        }
        Aggregate::FixedHistogram(histogram) => all(&histogram.cells),
        Aggregate::Sum(sum) => {
            sum.rows.iter().flat_map(|(_, cells)| cells).chain(&sum.other).map(|cell| cell.records.0).collect()
        }
        Aggregate::Quantile(_) | Aggregate::DistinctEstimate(_) => Vec::new(),
    }
    .into_iter()
}

/// The one with the smaller number; the first of those that are alike.
fn fewer<N: Copy + PartialOrd>(known: Option<(N, u64)>, one: (N, u64)) -> Option<(N, u64)> {
    known.filter(|known| known.0 <= one.0).or(Some(one))
}

/// The greatest common divisor.
const fn common(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

#[cfg(test)]
#[path = "answers_test.rs"]
pub(super) mod tests;
