//! What answers held that left, as far as the rules that their region stated can be held against it.
//!
//! A ledger says which version of the policy an answer was released under, and a statement which rules that version has for each stream. So the
//! answers under the version of the statement are judged by it: fields, values, grid. The smallest group is not: cells stay as they were
//! published, by whatever k was then, and no entry says that k was raised.

use std::collections::BTreeMap;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::ids::{DictionaryId, FieldId, QuestionId, StreamId, Timestamp};
use domicile_proto::message::answer::{Answer, Outcome};
use domicile_proto::message::question::{Filter, Question};
use domicile_proto::officer::OfficerPublic;

use crate::audit::{Entry, Event, Peer};
use crate::present::auditor::{Statement, Stream};

/// The field that every stream has and every region lets out.
const LEVEL: &str = "level";
/// Grids are divisors of it, in seconds.
const WIDEST_GRID: i64 = 3_600;

/// What the answers of a ledger held: each thing with the first entry that it stands in.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Questions that arrived and are not answered, by who asked; none where one node asked two under one id, for nobody knows then which of
    /// them an answer is about.
    asked: BTreeMap<(Peer, QuestionId), Option<Question>>,
    officer: Option<OfficerPublic>,
    /// The newest version of the policy that the ledger has told of, the entry that did, and its time.
    version: u64,
    since: (u64, Timestamp),
    /// What was released under it by one officer's word.
    now: Held,
}

/// What was released under one version of the policy.
#[derive(Debug, Default)]
struct Held {
    groups: BTreeMap<(StreamId, FieldId), u64>,
    numbers: BTreeMap<(StreamId, FieldId), u64>,
    values: BTreeMap<(StreamId, FieldId, DictionaryId), u64>,
    /// The widest grid on which the ends of an answer and its cells lie.
    grids: BTreeMap<(StreamId, i64), u64>,
}

impl Answers {
    /// One more entry.
    pub(super) fn take(&mut self, number: u64, entry: &Entry) {
        match &entry.event {
            Event::PolicyChanged { version, .. } if version.0 != self.version => {
                (self.version, self.since, self.now) = (version.0, (number, entry.at), Held::default());
            }
            Event::OfficerHonoured { officer } if self.officer != Some(*officer) => {
                (self.officer, self.now) = (Some(*officer), Held::default());
            }
            Event::Ingress(passage) => {
                if let Some(question) = passage.question() {
                    let key = (passage.peer.clone(), question.id);
                    self.asked.entry(key).and_modify(|open| *open = None).or_insert(Some(question));
                }
            }
            Event::Egress(passage) => {
                if let Some(answer) = passage.answer() {
                    let key = (passage.peer.clone(), answer.header.question);
                    let is_clear = self.asked.get(&key).is_some_and(Option::is_some);
                    if is_clear && let Some(question) = self.asked.remove(&key).flatten() {
                        self.released(number, &question, &answer);
                    }
                }
            }
            _ => {}
        }
    }

    fn released(&mut self, number: u64, question: &Question, answer: &Answer) {
        let Outcome::Aggregate(aggregate) = &answer.outcome else { return };
        let stream = question.stream;
        if answer.header.policy.0 != self.version || !question.ask.is_answered_by(aggregate) {
            return;
        }
        let filters = question.filters.iter().filter_map(|filter| match filter {
            Filter::Value { field, .. } => Some(*field),
            _ => None,
        });
        for field in question.ask.field().into_iter().chain(filters) {
            self.now.groups.entry((stream, field)).or_insert(number);
        }
        if let Some(field) = question.ask.number() {
            self.now.numbers.entry((stream, field)).or_insert(number);
        }
        for (field, value) in values(aggregate) {
            self.now.values.entry((stream, field, value)).or_insert(number);
        }
        let covered = answer.header.covered;
        let step = question.ask.grid().map_or(0, |grid| i64::from(grid.step));
        // Whole seconds of both ends; what lies between them lies on no grid.
        let second = |at: Timestamp| if at.0 % Timestamp::MICROS == 0 { at.0 / Timestamp::MICROS } else { 1 };
        let grid = [second(covered.from), second(covered.to), step].into_iter().fold(WIDEST_GRID, common);
        self.now.grids.entry((stream, grid)).or_insert(number);
    }

    /// The newest version of the policy that the ledger has told of: its number, the entry that told it, and the time of that.
    pub(super) const fn newest(&self) -> (u64, u64, Timestamp) {
        (self.version, self.since.0, self.since.1)
    }

    /// Where answers held what the rules in a statement do not let out, or are of a stream that it does not have: the entry, and what. Of
    /// streams that hold nobody there is nothing to say, and none of answers under another version of the policy than the statement's.
    pub(super) fn differ(&self, statement: &Statement) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        if statement.policy_version != self.version {
            return found;
        }
        let mut unstated: BTreeMap<StreamId, u64> = BTreeMap::new();
        for ((id, _), number) in &self.now.grids {
            if statement.streams.iter().all(|stream| stream.id != u64::from(id.0)) {
                let first = unstated.entry(*id).or_insert(*number);
                *first = (*first).min(*number);
            }
        }
        let missing = |id: StreamId| format!("the answer is of stream {}, which the statement does not have", id.0);
        found.extend(unstated.into_iter().map(|(id, number)| (number, missing(id))));
        for stream in statement.streams.iter().filter(|stream| stream.personal != "no") {
            let Some(id) = u32::try_from(stream.id).ok().map(StreamId) else { continue };
            let mut say =
                |number: &u64, what: String| found.push((*number, format!("{what} of stream `{}`", stream.name)));
            let lets = |field: &FieldId, out: &[String]| {
                let name = stream.fields.get(usize::from(field.0));
                name.is_some_and(|name| name == LEVEL || out.contains(name))
            };
            for ((_, field), number) in own(&self.now.groups, |(of, _)| *of == id) {
                if !lets(field, &stream.group_fields) {
                    say(
                        number,
                        format!("the answer is by field {}, which the policy of its time does not let out,", field.0),
                    );
                }
            }
            for ((_, field), number) in own(&self.now.numbers, |(of, _)| *of == id) {
                if !lets(field, &stream.numbers) {
                    say(
                        number,
                        format!("the answer counts field {}, which the policy of its time does not let out,", field.0),
                    );
                }
            }
            for ((_, field, value), number) in own(&self.now.values, |(of, ..)| *of == id) {
                if !is_approved(statement, stream, *field, *value) {
                    say(
                        number,
                        format!("the answer names value {} of field {}, which was not approved,", value.0, field.0),
                    );
                }
            }
            for ((_, grid), number) in own(&self.now.grids, |(of, _)| *of == id) {
                if i64::try_from(stream.grid_s).is_ok_and(|wanted| wanted > 0 && grid % wanted != 0) {
                    say(number, format!("the answer does not lie on the grid of {} s", stream.grid_s));
                }
            }
        }
        found
    }
}

/// The parts of a list that are of one stream.
fn own<K, V>(all: &BTreeMap<K, V>, is_own: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
    all.iter().filter(move |(key, _)| is_own(key))
}

/// Levels are approved everywhere.
fn is_approved(statement: &Statement, stream: &Stream, field: FieldId, value: DictionaryId) -> bool {
    let Some(name) = stream.fields.get(usize::from(field.0)) else { return false };
    name == LEVEL || statement.dictionary.iter().any(|one| one.field == *name && one.id == u64::from(value.0))
}

/// The values that an aggregate names.
fn values(aggregate: &Aggregate) -> Vec<(FieldId, DictionaryId)> {
    match aggregate {
        Aggregate::Terms(terms) => terms.cells.iter().map(|(value, _)| (terms.field, *value)).collect(),
        Aggregate::TermGrid(grid) => grid.rows.iter().map(|(value, _)| (grid.field, *value)).collect(),
        _ => Vec::new(),
    }
}

/// The greatest common divisor.
const fn common(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

#[cfg(test)]
mod tests {
    use domicile_proto::aggregate::cell::Cell;
    use domicile_proto::aggregate::date_grid::Grid;
    use domicile_proto::aggregate::term_grid::TermGrid;
    use domicile_proto::aggregate::terms::Terms;
    use domicile_proto::border::EgressClass;
    use domicile_proto::codec;
    use domicile_proto::ids::{ByteCount, NodeId, PolicyVersion, RecordCount, TenantId, TimeRange};
    use domicile_proto::message::answer::AnswerHeader;
    use domicile_proto::message::question::Ask;

    use super::super::specimen::home;
    use super::*;
    use crate::audit::Passage;

    const MINUTE: i64 = 60 * Timestamp::MICROS;

    fn passage(class: EgressClass, body: Vec<u8>) -> Passage {
        let peer = Peer { region: "tokyo".parse().expect("a name"), node: NodeId(1) };
        let bytes = ByteCount(body.len() as u64);
        Passage { peer, class, bytes, sha256: [0; 32], body, drawn: None }
    }

    fn changed(version: u64) -> Event {
        Event::PolicyChanged { version: PolicyVersion(version), streams: 1, approved_values: 1 }
    }

    fn honoured(digits: &str) -> Event {
        Event::OfficerHonoured { officer: OfficerPublic::try_from(digits.repeat(32)).expect("a key") }
    }

    /// A question arrives and its answer leaves: by which field, the values it names, up to when, and under which version.
    fn asked(by: u16, named: &[u32], until: i64, version: u64) -> [Event; 2] {
        let range = TimeRange { from: Timestamp(0), to: Timestamp(until) };
        let (id, field) = (QuestionId(7), FieldId(by));
        let question = Question {
            id,
            tenant: TenantId(1),
            stream: StreamId(1),
            range,
            filters: Vec::new(),
            ask: Ask::Terms(field),
            deadline_ms: 1_000,
        };
        let cell = Cell::published(RecordCount(9));
        let cells = named.iter().map(|value| (DictionaryId(*value), cell)).collect();
        let outcome = Outcome::Aggregate(Aggregate::Terms(Terms { field, cells, other: Cell::EMPTY }));
        let header = AnswerHeader { policy: PolicyVersion(version), ..AnswerHeader::new(id, range) };
        let (question, answer) = (codec::encode(&question), codec::encode(&Answer { header, outcome }));
        [
            Event::Ingress(passage(EgressClass::Question, question.expect("a question"))),
            Event::Egress(passage(EgressClass::Terms, answer.expect("an answer"))),
        ]
    }

    /// Under version 3: fields `level`, `shop` and `price` of which the second may group, value 64 of it approved, a grid of five minutes.
    fn statement() -> Statement {
        let mut statement = home("frankfurt", "GDPR").statement;
        statement.policy_version = 3;
        let stream = statement.streams.first_mut().expect("one");
        stream.fields = ["level", "shop", "price"].map(str::to_owned).to_vec();
        (stream.group_fields, stream.grid_s) = (vec!["shop".to_owned()], 300);
        statement.dictionary = serde_json::from_str(r#"[{"field": "shop", "id": 64, "value": "a"}]"#).expect("one");
        statement
    }

    fn taken(events: Vec<Event>) -> Answers {
        let mut answers = Answers::default();
        for (number, event) in (1..).zip(events) {
            answers.take(number, &Entry::specimen(Timestamp(1), None, event));
        }
        answers
    }

    /// What does not fit the statement.
    fn found(events: Vec<Event>) -> Vec<(u64, String)> {
        taken(events).differ(&statement())
    }

    #[test]
    fn an_answer_under_the_version_of_the_statement_holds_what_its_rules_let_out() {
        let under = |answer: [Event; 2]| [vec![changed(2), honoured("aa"), changed(3)], answer.to_vec()].concat();
        assert_eq!(found(under(asked(1, &[64], 10 * MINUTE, 3))), []);
        assert_eq!(found(under(asked(0, &[1, 2], 10 * MINUTE, 3))), [], "levels may be named everywhere");
        for (answer, wanted) in [
            (
                asked(2, &[], 10 * MINUTE, 3),
                "by field 2, which the policy of its time does not let out, of stream `shop`",
            ),
            (asked(9, &[], 10 * MINUTE, 3), "by field 9"),
            (asked(1, &[64, 65], 10 * MINUTE, 3), "names value 65 of field 1"),
            (asked(1, &[64], 9 * MINUTE, 3), "does not lie on the grid of 300 s"),
            (asked(1, &[64], 10 * MINUTE + 1, 3), "does not lie on the grid"),
        ] {
            let found = found(under(answer));
            assert!(found.len() == 1 && found[0].0 == 5 && found[0].1.contains(wanted), "{wanted}: {found:?}");
        }
    }

    #[test]
    fn answers_under_other_rules_are_not_judged_by_these() {
        let wrong = || asked(2, &[], 9 * MINUTE, 3).to_vec();
        let before = || vec![changed(3)];
        assert_eq!(found([before(), wrong()].concat()).len(), 2, "the test is not blind");
        for (events, why) in [
            ([before(), asked(2, &[], 9 * MINUTE, 2).to_vec()].concat(), "of the version before"),
            ([before(), wrong(), vec![changed(4)]].concat(), "the statement is of another version"),
            ([before(), wrong(), vec![changed(2), changed(3)]].concat(), "the group began anew with a backup"),
            (
                [vec![honoured("aa")], before(), wrong(), vec![honoured("bb")]].concat(),
                "the rules are another officer's",
            ),
            ([before(), wrong().split_off(1)].concat(), "nobody knows what was asked"),
        ] {
            assert_eq!(found(events), [], "{why}");
        }
    }

    #[test]
    fn the_cells_of_an_answer_lie_on_the_grid_as_its_ends_do() {
        assert_eq!((common(3_600, 0), common(3_600, 540), common(-600, 3_600)), (3_600, 180, 600));
        let grid = Grid { first: 0, step: 60, len: 10 };
        let [Event::Ingress(passage), Event::Egress(given)] = asked(1, &[], 10 * MINUTE, 3) else { panic!("both") };
        let question = Question { ask: Ask::TermGrid(FieldId(1), grid), ..passage.question().expect("one") };
        let asked = codec::encode(&question).expect("a question");
        let outcome = Outcome::Aggregate(Aggregate::TermGrid(TermGrid::empty(FieldId(1), grid)));
        let answer = codec::encode(&Answer { outcome, ..given.answer().expect("one") }).expect("an answer");
        let asked = Event::Ingress(Passage { body: asked, ..passage });
        let class = EgressClass::TermGrid;
        let found = found(vec![changed(3), asked, Event::Egress(Passage { class, body: answer, ..given })]);
        assert!(found.len() == 1 && found[0].1.contains("the grid of 300 s"), "{found:?}");
    }

    #[test]
    fn an_answer_under_the_version_of_the_statement_is_of_a_stream_that_it_has() {
        let events = [vec![changed(3)], asked(1, &[64], 10 * MINUTE, 3).to_vec()].concat();
        let answers = taken(events);
        assert_eq!((answers.differ(&statement()), answers.newest()), (Vec::new(), (3, 1, Timestamp(1))));
        let other = Statement { streams: Vec::new(), ..statement() };
        assert_eq!(
            answers.differ(&other),
            [(3, "the answer is of stream 1, which the statement does not have".to_owned())]
        );
        assert_eq!(answers.differ(&Statement { policy_version: 4, ..other }), [], "of another version");
    }

    /// The same with another region at the other end.
    fn with(region: &str, event: Event) -> Event {
        let peer = Peer { region: region.parse().expect("a name"), node: NodeId(1) };
        match event {
            Event::Ingress(passage) => Event::Ingress(Passage { peer, ..passage }),
            Event::Egress(passage) => Event::Egress(Passage { peer, ..passage }),
            other => other,
        }
    }

    #[test]
    fn an_answer_is_held_against_the_question_that_it_answers_and_no_other() {
        let [asked_well, answered_well] = asked(1, &[64], 10 * MINUTE, 3);
        let [asked_badly, answered_badly] = asked(2, &[], 10 * MINUTE, 3);
        let both = |second: Event, first: Event| vec![changed(3), asked_well.clone(), second, first];
        // Two nodes drew one id.
        let elsewhere = |event: &Event| with("singapore", event.clone());
        let mut events = both(elsewhere(&asked_badly), answered_well.clone());
        assert_eq!(found(events.clone()), [], "the answer to the first of them");
        events.push(elsewhere(&answered_badly));
        let of_second = found(events);
        assert!(of_second.len() == 1 && of_second[0].0 == 5, "{of_second:?}");
        // One node asked twice under it: nobody knows which of the two is answered.
        assert_eq!(found(both(asked_badly.clone(), answered_badly.clone())), []);
        let mut again = both(answered_well.clone(), asked_badly.clone());
        again.push(answered_badly);
        assert_eq!(found(again).len(), 1, "the first was answered by then");
        assert_eq!(found(vec![changed(3), asked_badly, answered_well]), [], "that is no answer to this");
    }
}
