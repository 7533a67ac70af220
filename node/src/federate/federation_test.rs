//! One question to several regions: merged, covered, failed or partial; and what a region says to the questions of others.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::border::{Cells, Measured, NumbersShape, Received, ReleasePolicy, TermsShape, release};
use domicile_proto::ids::{
    FieldId, KThreshold, Name, NodeId, PolicyVersion, RecordCount, RegionNumber, StreamId, SubjectCount, TenantId,
    TimeRange, Timestamp,
};
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::answer::AnswerHeader;
use domicile_proto::message::question::{Filter, Literal, TextMatch, TextPlace};
use domicile_proto::metadata::{NodeRow, NumberField, Rows, StreamPolicy};
use proptest::prelude::*;

use super::super::answerer::Answerer;
use super::super::reach::NoAnswer;
use super::*;
use crate::aggregate::Answered;
use crate::audit::Entries;
use crate::clock::Clock;
use crate::limits::OLDER_POLICY_LEAVES_FOR;
use crate::policy::Routes;
use crate::telemetry::Metrics;

const TENANT: TenantId = TenantId(1);
const STREAM: StreamId = StreamId(7);
const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn region(text: &str) -> Region {
    Region(name(text))
}

struct Detector;

impl LiteralDetector for Detector {
    fn finds_personal_data(&self, literal: &str) -> bool {
        literal.contains('@')
    }
}

fn policy_of(home: &str) -> Policy {
    let mut policy = Policy::empty(region(home));
    for (number, text) in ["frankfurt", "singapore", "tokyo"].into_iter().enumerate() {
        policy.regions.insert(region(text), RegionNumber(number as u16 + 1));
        let node = NodeId(number as u64 + 1);
        let addr = "127.0.0.1:7443".parse().expect("an address");
        policy.nodes.insert(node, NodeRow { node, region: region(text), addr, signature: None });
    }
    policy.routes = Routes::open_to(["frankfurt", "singapore", "tokyo"]);
    let policy_here = StreamPolicy {
        group_fields: vec![name("service")],
        text_questions: true,
        numbers: vec![NumberField { field: name("ms"), bounds: vec![10, 20, 40] }],
        ..StreamPolicy::default()
    };
    let view = StreamView {
        id: STREAM,
        tenant: TENANT,
        name: name("app"),
        fields: vec![name("service"), name("elsewhere"), name("ms")],
        policy: policy_here,
        shard: None,
    };
    policy.streams.insert((TENANT, name("app")), Arc::new(view));
    let texts = BTreeMap::from([(DictionaryId(64), "pay".to_owned()), (DictionaryId(65), "web".to_owned())]);
    let dictionary = Dictionary { approved: texts.clone(), texts };
    policy.dictionaries.insert((TENANT, name("service")), Arc::new(dictionary));
    policy
}

/// What one region measured: the cell of `pay`, of `web`, of one that only it knows, and of the rest.
type Data = [(u64, u64); 4];

fn measured(data: &Data) -> Vec<Measured> {
    data.iter()
        .map(|(records, subjects)| Measured { records: RecordCount(*records), subjects: SubjectCount(*subjects) })
        .collect()
}

const K: u64 = 5;

fn release_policy() -> ReleasePolicy {
    let k = KThreshold(std::num::NonZeroU32::new(K as u32).expect("not zero"));
    ReleasePolicy { k, version: PolicyVersion(3) }
}

/// The gate of a region that holds `data`.
fn gate_of(data: Data) -> Gate {
    Gate::over(move |put| {
        Box::pin(async move {
            match put.question.ask {
                Ask::Count => {
                    let cells = Cells::new((), measured(&data)[..1].to_vec()).expect("one cell");
                    Answered::Count(release(cells, &release_policy(), put.header))
                }
                Ask::Terms(field) => {
                    let values = vec![DictionaryId(64), DictionaryId(65), DictionaryId(99)];
                    let cells = Cells::new(TermsShape { field, values }, measured(&data)).expect("four cells");
                    Answered::Terms(release(cells, &release_policy(), put.header))
                }
                Ask::Numbers(field) => {
                    // Singapore declares other bounds than the rest.
                    let last = if put.policy.region.as_str() == "singapore" { 30 } else { 40 };
                    let shape = NumbersShape { field, bounds: vec![10, 20, last] };
                    let cells = Cells::new(shape, measured(&data)).expect("four cells");
                    Answered::Numbers(release(cells, &release_policy(), put.header))
                }
                _ => Answered::refused(put.header, RefusalCode::OutOfBounds),
            }
        })
    })
}

/// How a region of the test behaves.
#[derive(Clone)]
enum Other {
    Answers(Data),
    Refuses(RefusalCode),
    Opens(Data, Timestamp),
    Down,
}

fn reach_of(others: BTreeMap<Region, Other>) -> Reach {
    Reach::over(move |to, question, _| {
        let other = others.get(&to.id.region).cloned();
        Box::pin(async move {
            let asked = question.question();
            let header = AnswerHeader::new(asked.id, asked.range);
            let policy = Arc::new(policy_of(to.id.region.as_str()));
            let stream = Arc::clone(policy.stream(TENANT, &name("app")).expect("known"));
            let put = |header| Put { policy, stream, question: asked.clone(), header, deadline: SECOND, crosses: true };
            let answered = match other.ok_or(NoAnswer)? {
                Other::Answers(data) => gate_of(data).answer(put(header)).await,
                Other::Refuses(code) => Answered::refused(header, code),
                Other::Opens(data, from) => {
                    gate_of(data).answer(put(AnswerHeader { open_from: Some(from), ..header })).await
                }
                Other::Down => return Err(NoAnswer),
            };
            Received::check(answered.answer().clone(), &question).map_err(|_| NoAnswer)
        })
    })
}

struct World {
    federation: Federation,
    dir: tempfile::TempDir,
}

fn world(home: Data, others: [(&str, Other); 2]) -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(dir.path(), &region("tokyo"), Clock::standing_at(Timestamp(1))).expect("new");
    let others = others.into_iter().map(|(text, other)| (region(text), other)).collect();
    let policy = PolicyWatch::new(policy_of("tokyo"));
    policy.lease().heard(Instant::now());
    let federation = Federation::new(policy, gate_of(home), reach_of(others), Arc::new(ledger), Arc::new(Detector));
    World { federation, dir }
}

fn asked(ask: Ask) -> FederatedQuestion {
    FederatedQuestion {
        tenant: TENANT,
        asker: Asker { key: name("k-1"), tenant: TENANT, rows: Rows::None },
        stream: name("app"),
        regions: Regions::All,
        range: TimeRange { from: Timestamp(0), to: Timestamp(60_000_000) },
        filters: Vec::new(),
        ask,
        on_missing: OnMissing::Partial,
        deadline: SECOND,
    }
}

fn standings(answer: &Answer) -> Vec<(&str, Standing)> {
    answer.coverage.0.iter().map(|part| (part.region.as_str(), part.standing)).collect()
}

const SOME: Data = [(100, 50), (20, 9), (7, 7), (3, 3)];

#[tokio::test]
async fn counts_of_all_regions_are_added_and_every_region_is_named() {
    let world = world(SOME, [("frankfurt", Other::Answers(SOME)), ("singapore", Other::Answers(SOME))]);
    let answer = world.federation.ask(asked(Ask::Count)).await.expect("an answer");
    assert_eq!(answer.total(), Total { value: 300, is_exact: true });
    let complete = Standing::Complete;
    assert_eq!(standings(&answer), [("frankfurt", complete), ("singapore", complete), ("tokyo", complete)]);
}

#[tokio::test]
async fn a_region_that_is_down_is_named_and_never_silently_left_out() {
    let world = world(SOME, [("frankfurt", Other::Down), ("singapore", Other::Answers(SOME))]);
    let answer = world.federation.ask(asked(Ask::Count)).await.expect("partial");
    assert_eq!(answer.total(), Total { value: 200, is_exact: false });
    assert_eq!(standings(&answer)[0], ("frankfurt", Standing::Unreachable));
    let error = world.federation.ask(FederatedQuestion { on_missing: OnMissing::Fail, ..asked(Ask::Count) }).await;
    let error = error.expect_err("all or nothing");
    assert!(matches!(error, FederateError::Missing(_)));
    assert!(error.to_string().contains("1 of 3 regions gave no answer: `frankfurt` unreachable"), "{error}");
}

#[tokio::test]
async fn a_region_that_may_tell_nothing_is_suppressed_and_the_total_is_a_lower_bound() {
    let few: Data = [(4, 4), (0, 0), (0, 0), (0, 0)];
    let none: Data = [(0, 0); 4];
    for data in [few, none] {
        let world = world(SOME, [("frankfurt", Other::Answers(data)), ("singapore", Other::Answers(data))]);
        let answer = world.federation.ask(asked(Ask::Count)).await.expect("an answer");
        assert_eq!(answer.total(), Total { value: 100, is_exact: false });
        assert_eq!(standings(&answer)[0], ("frankfurt", Standing::Suppressed));
    }
}

#[tokio::test]
async fn refusals_and_open_cells_keep_their_names() {
    let busy = RefusalCode::Busy;
    let open = Other::Opens(SOME, Timestamp(30_000_000));
    let world = world(SOME, [("frankfurt", Other::Refuses(busy)), ("singapore", open)]);
    let answer = world.federation.ask(asked(Ask::Count)).await.expect("partial");
    let expected =
        [("frankfurt", Standing::Refused(busy)), ("singapore", Standing::Partial), ("tokyo", Standing::Complete)];
    assert_eq!(standings(&answer), expected);
    assert_eq!(answer.coverage.0[1].open_from, Some(Timestamp(30_000_000)));
    assert!(!answer.total().is_exact);
}

#[tokio::test]
async fn counts_between_other_bounds_are_not_mixed_in_and_the_region_is_named() {
    let world = world(SOME, [("frankfurt", Other::Answers(SOME)), ("singapore", Other::Answers(SOME))]);
    let answer = world.federation.ask(asked(Ask::Numbers(FieldId(2)))).await.expect("partial");
    let other = Standing::Refused(RefusalCode::OtherBounds);
    assert_eq!(standings(&answer)[1], ("singapore", other));
    let Aggregate::FixedHistogram(merged) = &answer.aggregate else { panic!("counts between bounds") };
    assert_eq!(merged.bounds, [10, 20, 40]);
    let of_one = SOME.map(|(records, subjects)| if subjects >= K { records } else { 0 });
    assert_eq!(merged.cells.iter().map(|cell| cell.records.0).collect::<Vec<_>>(), of_one.map(|count| count * 2));
}

#[tokio::test]
async fn an_id_without_a_text_is_shown_as_a_number_and_makes_the_region_partial() {
    let world = world(SOME, [("frankfurt", Other::Down), ("singapore", Other::Answers(SOME))]);
    let answer = world.federation.ask(asked(Ask::Terms(FieldId(0)))).await.expect("partial");
    assert_eq!(answer.text(DictionaryId(64)), "pay");
    assert_eq!(answer.text(DictionaryId(99)), "#99");
    assert_eq!(standings(&answer)[1], ("singapore", Standing::Partial));
}

#[tokio::test]
async fn a_personal_literal_stays_at_home_and_the_refusal_is_recorded() {
    let world = world(SOME, [("frankfurt", Other::Answers(SOME)), ("singapore", Other::Answers(SOME))]);
    let literal = Literal::try_from("hanako@example.jp".to_owned()).expect("short");
    let filters = vec![Filter::Text { how: TextMatch::Words, literal, negated: false }];
    let answer = world.federation.ask(FederatedQuestion { filters, ..asked(Ask::Count) }).await.expect("partial");
    let refused = Standing::Refused(RefusalCode::PersonalLiteral);
    assert_eq!(standings(&answer), [("frankfurt", refused), ("singapore", refused), ("tokyo", Standing::Complete)]);
    let entries = Entries::open(world.dir.path(), &region("tokyo")).expect("there");
    let events: Vec<Event> = entries.map(|entry| entry.expect("whole").1.event).collect();
    let why = Why::Code(RefusalCode::PersonalLiteral);
    assert_eq!(events, [Event::RefusedQuestion { peer: None, stream: Some(STREAM), why }]);
}

#[tokio::test]
async fn only_the_regions_that_are_named_are_asked() {
    let world = world(SOME, [("frankfurt", Other::Answers(SOME)), ("singapore", Other::Down)]);
    let only = |texts: &[&str]| Regions::Only(texts.iter().map(|text| region(text)).collect::<BTreeSet<_>>());
    let question = FederatedQuestion { regions: only(&["frankfurt"]), ..asked(Ask::Count) };
    let answer = world.federation.ask(question).await.expect("an answer");
    assert_eq!(standings(&answer), [("frankfurt", Standing::Complete)]);
    assert_eq!(answer.total(), Total { value: 100, is_exact: true });
    let unknown = world.federation.ask(FederatedQuestion { regions: only(&["mars"]), ..asked(Ask::Count) }).await;
    assert!(matches!(unknown, Err(FederateError::UnknownRegion { .. })));
    let unknown = world.federation.ask(FederatedQuestion { stream: name("other"), ..asked(Ask::Count) }).await;
    assert!(matches!(unknown, Err(FederateError::UnknownStream { .. })));
}

#[tokio::test]
async fn another_node_of_a_region_is_asked_where_the_first_is_silent() {
    let addr = "127.0.0.1:1".parse().expect("an address");
    let nodes = [1, 2].map(|node| PeerAddr { id: PeerId { region: region("frankfurt"), node: NodeId(node) }, addr });
    let reach = Reach::over(|to, question, within| {
        Box::pin(async move {
            if to.id.node == NodeId(1) {
                tokio::time::sleep(within).await;
                return Err(NoAnswer);
            }
            let header = AnswerHeader::new(question.id(), TimeRange::ALL);
            let answered = Answered::refused(header, RefusalCode::Busy);
            Received::check(answered.answer().clone(), &question).map_err(|_| NoAnswer)
        })
    });
    let policy = policy_of("tokyo");
    let view = policy.stream(TENANT, &name("app")).expect("known");
    let question = Question {
        id: QuestionId(1),
        tenant: TENANT,
        stream: STREAM,
        range: TimeRange::ALL,
        filters: Vec::new(),
        ask: Ask::Count,
        deadline_ms: 100,
    };
    let vetted = VettedQuestion::vet(question, &view.question_rules(), &Detector).expect("harmless");
    assert!(reach.ask(nodes.to_vec(), &vetted, Duration::from_millis(100)).await.is_ok());
    assert!(reach.ask(nodes[..1].to_vec(), &vetted, Duration::from_millis(20)).await.is_err());

    let reach = Reach::over(|to, question, _| {
        Box::pin(async move {
            let code = if to.id.node == NodeId(1) { RefusalCode::Unavailable } else { RefusalCode::Busy };
            let answered = Answered::refused(AnswerHeader::new(question.id(), TimeRange::ALL), code);
            Received::check(answered.answer().clone(), &question).map_err(|_| NoAnswer)
        })
    });
    let second = Duration::from_secs(1);
    let said = |received: Received| received.answer().outcome.clone();
    let by_both = reach.ask(nodes.to_vec(), &vetted, second).await.map(said).expect("an answer");
    assert_eq!(by_both, Outcome::Refused(RefusalCode::Busy), "a node that cannot answer leaves it to the next");
    let by_one = reach.ask(nodes[..1].to_vec(), &vetted, second).await.map(said).expect("an answer");
    assert_eq!(by_one, Outcome::Refused(RefusalCode::Unavailable), "what it said stands where nobody says more");
}

fn answerer(policy: PolicyWatch, dir: &std::path::Path) -> Answerer {
    let ledger = Ledger::open(dir, &region("tokyo"), Clock::standing_at(Timestamp(1))).expect("new");
    let metrics = Metrics::new(&crate::config::Regions::built_in().expect("built in"));
    Answerer::new(policy, gate_of(SOME), Arc::new(ledger), metrics, Arc::new(Detector))
}

#[tokio::test]
async fn questions_of_others_are_let_in_by_this_regions_own_policy() {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = PolicyWatch::new(policy_of("tokyo"));
    let answerer = answerer(policy.clone(), dir.path());
    let peer = PeerId { region: region("frankfurt"), node: NodeId(1) };
    let plain = Question {
        id: QuestionId(1),
        tenant: TENANT,
        stream: STREAM,
        range: TimeRange::ALL,
        filters: Vec::new(),
        ask: Ask::Count,
        deadline_ms: 1_000,
    };
    let outcome = async |question: Question| answerer.answer(&peer, &question).await.answer().outcome.clone();
    let refused = |code| Outcome::Refused(code);
    assert_eq!(outcome(plain.clone()).await, refused(RefusalCode::Unavailable), "the group was never heard");
    policy.lease().heard(Instant::now());
    assert!(matches!(outcome(plain.clone()).await, Outcome::Aggregate(Aggregate::Count(_))));
    let literal = |text: &str| {
        let literal = Literal::try_from(text.to_owned()).expect("short");
        vec![Filter::Text { how: TextMatch::Words, literal, negated: false }]
    };
    let in_message = |text: &str| {
        let literal = Literal::try_from(text.to_owned()).expect("short");
        vec![Filter::TextIn { place: TextPlace::Message, how: TextMatch::Words, literal, negated: true }]
    };
    let foreign_field = Filter::Value { field: FieldId(1), values: vec![DictionaryId(64)], negated: false };
    for (question, code) in [
        (Question { stream: StreamId(8), ..plain.clone() }, RefusalCode::UnknownStream),
        (Question { tenant: TenantId(2), ..plain.clone() }, RefusalCode::UnknownStream),
        (Question { ask: Ask::Terms(FieldId(1)), ..plain.clone() }, RefusalCode::FieldNotAllowed),
        (Question { ask: Ask::Terms(FieldId(9)), ..plain.clone() }, RefusalCode::FieldNotAllowed),
        (Question { filters: vec![foreign_field], ..plain.clone() }, RefusalCode::FieldNotAllowed),
        (Question { filters: literal("a@b.example"), ..plain.clone() }, RefusalCode::PersonalLiteral),
        (Question { filters: in_message("a@b.example"), ..plain.clone() }, RefusalCode::PersonalLiteral),
    ] {
        assert_eq!(outcome(question).await, refused(code));
    }
    let mut silent = policy_of("tokyo");
    let view = silent.streams.get_mut(&(TENANT, name("app"))).expect("known");
    Arc::make_mut(view).policy.text_questions = false;
    policy.replace(silent);
    for filters in [literal("time out"), in_message("time out")] {
        assert_eq!(outcome(Question { filters, ..plain.clone() }).await, refused(RefusalCode::TextNotAllowed));
    }
    let entries = Entries::open(dir.path(), &region("tokyo")).expect("there");
    assert_eq!(entries.count(), 10, "every refusal is recorded");
}

#[tokio::test]
async fn nothing_is_told_to_a_region_to_which_there_is_no_route() {
    let dir = tempfile::tempdir().expect("a directory");
    let closed = PolicyWatch::new(Policy { routes: Routes::open_to(["singapore"]), ..policy_of("tokyo") });
    closed.lease().heard(Instant::now());
    let ledger = Arc::new(Ledger::open(dir.path(), &region("tokyo"), Clock::standing_at(Timestamp(1))).expect("new"));
    let metrics = Metrics::new(&crate::config::Regions::built_in().expect("built in"));
    let answerer = |policy: PolicyWatch, gate| {
        Answerer::new(policy, gate, Arc::clone(&ledger), metrics.clone(), Arc::new(Detector))
    };
    let plain = Question {
        id: QuestionId(1),
        tenant: TENANT,
        stream: STREAM,
        range: TimeRange::ALL,
        filters: Vec::new(),
        ask: Ask::Count,
        deadline_ms: 1_000,
    };
    let of = |text: &str| PeerId { region: region(text), node: NodeId(1) };
    let refused = Outcome::Refused(RefusalCode::NoTransferBasis);
    let shut = answerer(closed.clone(), gate_of(SOME));
    assert_eq!(shut.answer(&of("frankfurt"), &plain).await.answer().outcome, refused);
    assert!(matches!(shut.answer(&of("singapore"), &plain).await.answer().outcome, Outcome::Aggregate(_)));
    // The route is closed while the question is looked at: what was found stays here.
    let open = PolicyWatch::new(policy_of("tokyo"));
    open.lease().heard(Instant::now());
    let (closing, answering) = (open.clone(), gate_of(SOME));
    let gate = Gate::over(move |put| {
        closing.replace(Policy { routes: Routes::default(), ..policy_of("tokyo") });
        let answering = answering.clone();
        Box::pin(async move { answering.answer(put).await })
    });
    let late = answerer(open, gate).answer(&of("frankfurt"), &plain).await;
    assert_eq!(late.answer().outcome, refused);
    let why = Why::Code(RefusalCode::NoTransferBasis);
    let entries = Entries::open(dir.path(), &region("tokyo")).expect("there");
    let told = entries.map(|entry| entry.expect("whole").1.event);
    let told = told.filter(|event| matches!(event, Event::RefusedQuestion { why: found, .. } if *found == why));
    assert_eq!(told.count(), 2, "each refusal is recorded");
}

#[tokio::test]
async fn nothing_is_told_under_a_policy_that_was_over_for_long_when_it_would_leave() {
    let old = release_policy().version;
    for (held_up, is_told) in [(OLDER_POLICY_LEAVES_FOR, true), (OLDER_POLICY_LEAVES_FOR * 2, false)] {
        let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::standing_at(Timestamp(1)));
        let ledger = Arc::new(Ledger::open(dir.path(), &region("tokyo"), clock.clone()).expect("new"));
        let policy = PolicyWatch::new(policy_of("tokyo"));
        policy.lease().heard(Instant::now());
        let told_of = |version| Event::PolicyChanged { version, streams: 1, approved_values: 0, ordered: true };
        ledger.record(told_of(old)).await.expect("recorded");
        // A newer version is told of while the question is looked at, and the machine stands still.
        let (telling, answering) = (Arc::clone(&ledger), gate_of(SOME));
        let gate = Gate::over(move |put| {
            let (telling, clock, answering) = (Arc::clone(&telling), clock.clone(), answering.clone());
            Box::pin(async move {
                telling.record(told_of(PolicyVersion(old.0 + 1))).await.expect("recorded");
                clock.pass(held_up);
                answering.answer(put).await
            })
        });
        let metrics = Metrics::new(&crate::config::Regions::built_in().expect("built in"));
        let answerer = Answerer::new(policy, gate, ledger, metrics, Arc::new(Detector));
        let question = Question {
            id: QuestionId(1),
            tenant: TENANT,
            stream: STREAM,
            range: TimeRange::ALL,
            filters: Vec::new(),
            ask: Ask::Count,
            deadline_ms: 1_000,
        };
        let asking = PeerId { region: region("frankfurt"), node: NodeId(1) };
        let answered = answerer.answer(&asking, &question).await;
        let refused = Outcome::Refused(RefusalCode::Unavailable);
        assert_eq!(answered.answer().outcome == refused, !is_told, "{held_up:?}");
        assert_eq!(matches!(answered.answer().outcome, Outcome::Aggregate(_)), is_told);
    }
}

#[tokio::test]
async fn a_question_does_not_leave_where_there_is_no_route_or_no_word_of_the_group() {
    let heard = Instant::now();
    for (case, routes, heard, expected, code) in [
        (
            "no route",
            Routes::open_to(["singapore"]),
            Some(heard),
            Standing::Refused(RefusalCode::NoTransferBasis),
            RefusalCode::NoTransferBasis,
        ),
        (
            "never heard of the group",
            Routes::open_to(["frankfurt", "singapore"]),
            None,
            Standing::Unreachable,
            RefusalCode::Unavailable,
        ),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::open(dir.path(), &region("tokyo"), Clock::standing_at(Timestamp(1))).expect("new");
        let policy = PolicyWatch::new(Policy { routes, ..policy_of("tokyo") });
        if let Some(heard) = heard {
            policy.lease().heard(heard);
        }
        let others = [("frankfurt", Other::Answers(SOME)), ("singapore", Other::Answers(SOME))];
        let reach = reach_of(others.into_iter().map(|(text, other)| (region(text), other)).collect());
        let federation = Federation::new(policy, gate_of(SOME), reach, Arc::new(ledger), Arc::new(Detector));
        let answer = federation.ask(asked(Ask::Count)).await.expect("partial");
        assert_eq!(standings(&answer)[0], ("frankfurt", expected), "{case}");
        assert_eq!(standings(&answer)[2], ("tokyo", Standing::Complete), "{case}: at home all goes on");
        drop(federation);
        let entries = Entries::open(dir.path(), &region("tokyo")).expect("there");
        let (to, stream, why) = (region("frankfurt"), STREAM, Why::Code(code));
        let event = Event::NotSent { to, stream, why };
        assert!(entries.map(|entry| entry.expect("whole").1.event).any(|told| told == event), "{case}");
    }
}

#[tokio::test]
async fn a_gate_that_is_too_slow_is_a_refusal_with_its_reason() {
    let slow = Gate::over(|_| Box::pin(std::future::pending::<Answered>()));
    let policy = Arc::new(policy_of("tokyo"));
    let stream = Arc::clone(policy.stream(TENANT, &name("app")).expect("known"));
    let question = Question {
        id: QuestionId(1),
        tenant: TENANT,
        stream: STREAM,
        range: TimeRange::ALL,
        filters: Vec::new(),
        ask: Ask::Count,
        deadline_ms: 10,
    };
    let header = AnswerHeader::new(question.id, question.range);
    let put = Put { policy, stream, question, header, deadline: Duration::from_millis(10), crosses: true };
    assert_eq!(slow.answer(put).await.answer().outcome, Outcome::Refused(RefusalCode::Deadline));
}

fn data() -> impl Strategy<Value = Data> {
    let cell = (0_u64..1_000, 0_u64..12).prop_map(|(records, subjects)| (records.max(subjects), subjects));
    proptest::array::uniform4(cell)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The answer holds exactly the cells each region released, and says how many regions withheld theirs.
    #[test]
    fn an_answer_is_the_merge_of_what_each_region_released(home in data(), a in data(), b in data()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let answer = runtime.block_on(async {
            let world = world(home, [("frankfurt", Other::Answers(a)), ("singapore", Other::Answers(b))]);
            world.federation.ask(asked(Ask::Terms(FieldId(0)))).await.expect("an answer")
        });
        let Aggregate::Terms(terms) = &answer.aggregate else { panic!("another shape") };
        let found: Vec<_> = terms.cells.iter().map(|(_, cell)| *cell).chain([terms.other]).collect();
        for (place, cell) in found.iter().enumerate() {
            let parts = [home[place], a[place], b[place]];
            let records: u64 = parts.iter().filter(|(_, subjects)| *subjects >= K).map(|(records, _)| records).sum();
            let withheld = parts.iter().filter(|(_, subjects)| *subjects < K).count();
            prop_assert_eq!(cell.records.0, records);
            prop_assert_eq!(usize::from(cell.withheld), withheld);
        }
        let all: u64 = answer.coverage.0.iter().map(|region| region.withheld_cells).sum();
        prop_assert_eq!(all, found.iter().map(|cell| u64::from(cell.withheld)).sum::<u64>());
    }
}
