//! Which answers go beyond the rules in a statement, and which are not judged by it.

use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::ids::{ByteCount, KThreshold, NodeId, PolicyVersion, RecordCount, TenantId, TimeRange};
use domicile_proto::message::answer::AnswerHeader;
use domicile_proto::message::question::Ask;

use super::super::specimen::home;
use super::*;
use crate::aggregate::Rules;
use crate::audit::Passage;

pub(in super::super) const MINUTE: i64 = 60 * Timestamp::MICROS;

fn passage(class: EgressClass, body: Vec<u8>) -> Passage {
    let peer = Peer { region: "tokyo".parse().expect("a name"), node: NodeId(1) };
    let bytes = ByteCount(body.len() as u64);
    Passage { peer, class, bytes, sha256: [0; 32], body, drawn: None }
}

pub(in super::super) fn changed(version: u64) -> Event {
    Event::PolicyChanged { version: PolicyVersion(version), streams: 1, approved_values: 1 }
}

pub(in super::super) fn honoured(digits: &str) -> Event {
    Event::OfficerHonoured { officer: OfficerPublic::try_from(digits.repeat(32)).expect("a key") }
}

/// A question arrives and its answer leaves: by which field, the values it names, up to when, and under which version.
pub(in super::super) fn asked(by: u16, named: &[u32], until: i64, version: u64) -> [Event; 2] {
    counted((by, named, &[]), until, version, 9)
}

/// The same with conditions, and with so many records of each value.
pub(in super::super) fn counted(
    (by, named, filters): (u16, &[u32], &[Filter]),
    until: i64,
    version: u64,
    records: u64,
) -> [Event; 2] {
    let range = TimeRange { from: Timestamp(0), to: Timestamp(until) };
    let (id, field) = (QuestionId(7), FieldId(by));
    let question = Question {
        id,
        tenant: TenantId(1),
        stream: StreamId(1),
        range,
        filters: filters.to_vec(),
        ask: Ask::Terms(field),
        deadline_ms: 1_000,
    };
    let cell = Cell::published(RecordCount(records));
    let cells = named.iter().map(|value| (DictionaryId(*value), cell)).collect();
    let outcome = Outcome::Aggregate(Aggregate::Terms(Terms { field, cells, other: Cell::EMPTY }));
    let header = AnswerHeader { policy: PolicyVersion(version), ..AnswerHeader::new(id, range) };
    let (question, answer) = (codec::encode(&question), codec::encode(&Answer { header, outcome }));
    [
        Event::Ingress(passage(EgressClass::Question, question.expect("a question"))),
        Event::Egress(passage(EgressClass::Terms, answer.expect("an answer"))),
    ]
}

/// A question and its answer, whose entry names these rules.
pub(in super::super) fn by(rules: &Rules, pair: [Event; 2]) -> Vec<Event> {
    under(rules, Some(rules.numbers_of().0), pair)
}

/// The same, and it says this of the smallest group.
pub(in super::super) fn under(rules: &Rules, k: Option<KThreshold>, [asked, answered]: [Event; 2]) -> Vec<Event> {
    let drawn = Some(Drawn { shard: ShardId(1), upto: 1, journal: 1, rules: rules.digest(), k });
    match answered {
        Event::Egress(passage) => vec![asked, Event::Egress(Passage { drawn, ..passage })],
        other => vec![asked, other],
    }
}

/// Under version 3: fields `level`, `shop` and `price` of which the second may group, value 64 of it approved, a grid of five minutes.
pub(in super::super) fn statement() -> Statement {
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
        (asked(2, &[], 10 * MINUTE, 3), "by field 2, which the policy of its time does not let out, of stream `shop`"),
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
        ([vec![honoured("aa")], before(), wrong(), vec![honoured("bb")]].concat(), "the rules are another officer's"),
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
