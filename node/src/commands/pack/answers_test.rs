//! Which answers go beyond the rules in a statement, and which are not judged by it.

use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::{DateGrid, Grid};
use domicile_proto::aggregate::histogram::FixedHistogram;
use domicile_proto::aggregate::scalars::{DistinctEstimate, Quantile};
use domicile_proto::aggregate::sum::{Sum, SumCell, SumLayout};
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::ids::{
    ByteCount, KThreshold, NodeId, PolicyVersion, RecordCount, RegionNumber, TenantId, TimeRange,
};
use domicile_proto::message::answer::{AnswerHeader, RefusalCode};
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
    Event::PolicyChanged { version: PolicyVersion(version), streams: 1, approved_values: 1, ordered: true }
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

#[test]
fn an_answer_under_an_older_version_leaves_soon_after_the_newer_one_was_told_of() {
    const SECOND: i64 = 1_000_000;
    let unordered = |version| Event::PolicyChanged {
        version: PolicyVersion(version),
        streams: 1,
        approved_values: 1,
        ordered: false,
    };
    let started = || Event::NodeStarted { node: NodeId(1), binary: [0; 32], config: [0; 32], sbom: None };
    let set = |by: i64| Event::ClockJumped { by, ordered: true, at_start: false };
    let under = |version| asked(1, &[64], 10 * MINUTE, version)[1].clone();
    let refused = || pair(Ask::Count, Outcome::Refused(RefusalCode::Busy))[1].clone();
    let found = |number, version, newer, told| vec![Outdated { number, version, newer, told }];
    for (why, entries, wanted) in [
        ("on its way for a minute", vec![(0, changed(2)), (5, changed(3)), (65, under(2))], vec![]),
        ("for longer", vec![(0, changed(2)), (5, changed(3)), (66, under(2))], found(3, 2, 3, 2)),
        ("the newest", vec![(0, changed(2)), (5, changed(3)), (9_000, under(3))], vec![]),
        (
            "the first newer one counts",
            vec![(0, changed(2)), (5, changed(3)), (60, changed(4)), (66, under(2)), (67, under(3))],
            found(4, 2, 3, 2),
        ),
        (
            "it was told of again",
            vec![(0, changed(2)), (5, changed(3)), (60, changed(3)), (66, under(2))],
            found(4, 2, 3, 2),
        ),
        ("of an earlier build", vec![(0, unordered(2)), (5, unordered(3)), (900, under(2))], vec![]),
        ("across a start", vec![(0, changed(2)), (5, changed(3)), (90, started()), (91, under(2))], vec![]),
        (
            "told of by the start",
            vec![(0, changed(2)), (5, changed(3)), (90, started()), (91, changed(3)), (152, under(2))],
            found(5, 2, 3, 4),
        ),
        ("a group that began anew", vec![(0, changed(9)), (5, changed(2)), (900, under(2))], vec![]),
        ("a refusal tells nothing", vec![(0, changed(2)), (5, changed(3)), (900, refused())], vec![]),
        (
            "the clock was set forward",
            vec![(0, changed(2)), (5, changed(3)), (900, set(880)), (900, under(2)), (960, under(2))],
            vec![],
        ),
        (
            "and a minute went by since",
            vec![(0, changed(2)), (5, changed(3)), (900, set(880)), (961, under(2))],
            found(4, 2, 3, 2),
        ),
        (
            "it was set back",
            vec![(900, changed(2)), (905, changed(3)), (0, set(-906)), (61, under(2))],
            found(4, 2, 3, 2),
        ),
        (
            "it was set before",
            vec![(900, changed(2)), (0, set(-900)), (5, changed(3)), (65, under(2)), (66, under(2))],
            found(5, 2, 3, 3),
        ),
    ] {
        let mut answers = Answers::default();
        for (number, (at, event)) in (1..).zip(entries) {
            answers.take(number, &Entry::specimen(Timestamp(at * SECOND), None, event));
        }
        assert_eq!(answers.outdated, wanted, "{why}");
    }
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

/// A question that wants this, and an answer that says that.
pub(in super::super) fn pair(ask: Ask, outcome: Outcome) -> [Event; 2] {
    let [Event::Ingress(question), Event::Egress(answer)] = asked(1, &[], 10 * MINUTE, 3) else { panic!("both") };
    let put = Question { ask, ..question.question().expect("one") };
    let given = Answer { outcome, ..answer.answer().expect("one") };
    [
        Event::Ingress(Passage { body: codec::encode(&put).expect("a question"), ..question }),
        Event::Egress(Passage { body: codec::encode(&given).expect("an answer"), ..answer }),
    ]
}

/// Rules by which `shop` may group.
const RULES: &str = r#"{"version": 1, "personal": {"Subject": "uid"}, "k": 5, "grid": "FiveMinutes", "text_questions": false,
    "fields": ["level", "shop", "price"], "group_fields": [["shop", []]], "numbers": [], "noise": null}"#;

/// Every kind of question there is, and in two of its forms, with the answer that a region gives to it.
fn kinds() -> Vec<(Ask, Aggregate)> {
    let (field, other, region) = (FieldId(1), FieldId(2), RegionNumber(1));
    let (grid, wide) = (Grid { first: 0, step: 300, len: 2 }, Grid { first: 0, step: 600, len: 1 });
    let sums = |by, grid| SumLayout { field, by, grid };
    let quantile = |per_mille| Quantile { field, per_mille, regions: vec![(region, None)] };
    let distinct = |field| DistinctEstimate { field, regions: vec![(region, Some(20))] };
    vec![
        (Ask::Count, Aggregate::Count(Count::EMPTY)),
        (Ask::DateGrid(grid), Aggregate::DateGrid(DateGrid::empty(grid))),
        (Ask::DateGrid(wide), Aggregate::DateGrid(DateGrid::empty(wide))),
        (Ask::Terms(field), Aggregate::Terms(Terms::empty(field))),
        (Ask::Terms(other), Aggregate::Terms(Terms::empty(other))),
        (Ask::TermGrid(field, grid), Aggregate::TermGrid(TermGrid::empty(field, grid))),
        (Ask::TermGrid(field, wide), Aggregate::TermGrid(TermGrid::empty(field, wide))),
        (Ask::Numbers(field), Aggregate::FixedHistogram(FixedHistogram::empty(field, vec![1, 2]))),
        (Ask::Sum(sums(None, None)), Aggregate::Sum(Sum::empty(sums(None, None)))),
        (Ask::Sum(sums(Some(other), Some(grid))), Aggregate::Sum(Sum::empty(sums(Some(other), Some(grid))))),
        (Ask::Quantile(field, 500), Aggregate::Quantile(quantile(500))),
        (Ask::Quantile(field, 950), Aggregate::Quantile(quantile(950))),
        (Ask::Distinct(field), Aggregate::DistinctEstimate(distinct(field))),
        (Ask::Distinct(other), Aggregate::DistinctEstimate(distinct(other))),
    ]
}

#[test]
fn the_fewest_records_are_found_in_every_shape_that_counts_them() {
    let rules: Rules = serde_json::from_str(RULES).expect("rules");
    let grid = Grid { first: 0, step: 300, len: 2 };
    let cell = |records| Cell::published(RecordCount(records));
    let cells = || vec![cell(9), cell(2)];
    let sum = |records| SumCell { records: RecordCount(records), total: 7, withheld: 0 };
    let (field, id) = (FieldId(1), DictionaryId(64));
    let (plain, by_value) =
        (SumLayout { field, by: None, grid: None }, SumLayout { field, by: Some(field), grid: None });
    for (ask, aggregate) in [
        (Ask::Count, Aggregate::Count(Count { cell: cell(2) })),
        (Ask::DateGrid(grid), Aggregate::DateGrid(DateGrid { grid, cells: cells() })),
        (Ask::Terms(field), Aggregate::Terms(Terms { field, cells: vec![(id, cell(2))], other: cell(9) })),
        (Ask::Terms(field), Aggregate::Terms(Terms { field, cells: vec![(id, cell(9))], other: cell(2) })),
        (
            Ask::TermGrid(field, grid),
            Aggregate::TermGrid(TermGrid { field, grid, rows: vec![(id, cells())], other: vec![cell(9); 2] }),
        ),
        (Ask::Numbers(field), Aggregate::FixedHistogram(FixedHistogram { field, bounds: vec![1], cells: cells() })),
        (Ask::Sum(plain), Aggregate::Sum(Sum { layout: plain, rows: vec![], other: vec![sum(2)] })),
        (
            Ask::Sum(by_value),
            Aggregate::Sum(Sum { layout: by_value, rows: vec![(id, vec![sum(2)])], other: vec![sum(9)] }),
        ),
    ] {
        let answer = by(&rules, pair(ask, Outcome::Aggregate(aggregate)));
        let answers = taken([vec![changed(3)], answer].concat());
        let fewest: Vec<_> = answers.named.values().map(|held| held.fewest).collect();
        assert_eq!(fewest, [[Some((2, 3)), None]], "{ask:?}");
    }
}

#[test]
fn an_answer_of_another_kind_than_its_question_is_found_and_every_other_is_judged() {
    let rules: Rules = serde_json::from_str(RULES).expect("rules");
    let kinds = kinds();
    for (asking, (ask, _)) in kinds.iter().enumerate() {
        for (answering, (_, aggregate)) in kinds.iter().enumerate() {
            let answer = by(&rules, pair(*ask, Outcome::Aggregate(aggregate.clone())));
            let answers = taken([vec![changed(3)], answer].concat());
            let judged: u64 = answers.named.values().map(|held| held.answers).sum();
            let wanted = if asking == answering { (vec![], 1) } else { (vec![(3, 2)], 0) };
            assert_eq!((answers.unlike.clone(), judged), wanted, "{ask:?} {aggregate:?}");
            assert_eq!(answers.unpaired, 0);
        }
        // What tells nothing is of no kind.
        for nothing in [Outcome::Suppressed, Outcome::Refused(RefusalCode::Busy)] {
            let answers = taken(by(&rules, pair(*ask, nothing)));
            assert_eq!((answers.unlike, answers.unpaired), (vec![], 0));
        }
    }
    // Of what nobody knows the question, nobody knows the kind.
    let [question, answer] = pair(Ask::Count, Outcome::Aggregate(Aggregate::Terms(Terms::empty(FieldId(1)))));
    for (events, why) in [
        (vec![answer.clone()], "the question is not here"),
        (vec![question.clone(), question.clone(), answer.clone()], "two were asked under one id"),
        (vec![with("singapore", question.clone()), answer.clone()], "another node asked"),
        (vec![answer.clone(), question.clone()], "it was asked behind the answer"),
    ] {
        let answers = taken(events);
        assert_eq!((answers.unlike, answers.unpaired), (vec![], 1), "{why}");
    }
}
