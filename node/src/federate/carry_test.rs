//! Two nodes of one region, of which one owns the stream: whichever is asked, that one judges, once, and nothing stands for it where it
//! is not heard.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::border::{Cells, LiteralDetector, Measured, ReleasePolicy, release};
use domicile_proto::codec::{decode, encode};
use domicile_proto::ids::{
    KThreshold, Name, NodeId, PolicyVersion, QuestionId, RecordCount, Region, RegionNumber, ShardId, StreamId,
    SubjectCount, TenantId, TimeRange, Timestamp,
};
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome, RefusalCode};
use domicile_proto::message::gated::{AskedBy, GatedQuestion};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch};
use domicile_proto::message::region::{Asker, RegionAsk};
use domicile_proto::metadata::{AccessKey, NodeRow, Roles, Rows, StreamPolicy};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::answerer::Answerer;
use super::carried::Owner;
use super::carry::{Carrier, Unheard};
use super::coverage::Standing;
use super::federation::{Federation, Total};
use super::gate::{Gate, Gated, Put, Timer};
use super::question::{FederatedQuestion, OnMissing, Regions};
use super::reach::{NoAnswer, Reach};
use crate::admit::{Admitter, Rates, key_digest};
use crate::aggregate::Answered;
use crate::audit::{Drawn, Entries, Event, Ledger, Why};
use crate::clock::Clock;
use crate::limits::{CARRIED_QUESTIONS_OF_TENANT, FEDERATED_DEADLINE, MOVE_HEARD, TEXT_STEP};
use crate::policy::{Policy, PolicyWatch, Routes, StreamView};
use crate::telemetry::Metrics;

#[path = "places_test.rs"]
mod places;

const OWNER: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(4);
const TENANT: TenantId = TenantId(1);
const STREAM: StreamId = StreamId(2);
const DRAWN: Drawn = Drawn { shard: ShardId(7), upto: 70, journal: 3, rules: [9; 32], k: Some(KThreshold::SUBJECTS) };

struct Nothing;

impl LiteralDetector for Nothing {
    fn finds_personal_data(&self, _: &str) -> bool {
        false
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn region(text: &str) -> Region {
    Region(name(text))
}

fn policy() -> Policy {
    let mut policy = Policy::empty(region("tokyo"));
    for (number, text, node) in [(1, "frankfurt", NodeId(2)), (2, "tokyo", OWNER), (2, "tokyo", OTHER)] {
        policy.regions.insert(region(text), RegionNumber(number));
        let addr = "127.0.0.1:7443".parse().expect("an address");
        policy.nodes.insert(node, NodeRow { node, region: region(text), addr, signature: None });
    }
    policy.routes = Routes::open_to(["frankfurt", "tokyo"]);
    let view = StreamView {
        id: STREAM,
        tenant: TENANT,
        name: name("app"),
        fields: Vec::new(),
        policy: StreamPolicy { text_questions: true, ..StreamPolicy::default() },
        shard: Some((ShardId(7), OWNER)),
    };
    policy.streams.insert((TENANT, name("app")), Arc::new(view));
    for (id, tenant, roles) in [
        ("searches", TENANT, Roles { search: true, ..Roles::default() }),
        ("sends", TENANT, Roles { ingest: true, ..Roles::default() }),
        ("rival", TenantId(2), Roles { search: true, ..Roles::default() }),
    ] {
        let hash = key_digest(id);
        policy.keys.insert(hash, Arc::new(AccessKey { id: name(id), tenant, hash, roles, rows: Rows::None }));
    }
    policy
}

fn watch(policy: Policy) -> PolicyWatch {
    let watch = PolicyWatch::new(policy);
    watch.lease().heard(Instant::now());
    watch
}

fn question(id: u128) -> Question {
    let range = TimeRange { from: Timestamp(0), to: Timestamp(60_000_000) };
    let (tenant, stream) = (TENANT, STREAM);
    Question { id: QuestionId(id), tenant, stream, range, filters: Vec::new(), ask: Ask::Count, deadline_ms: 5_000 }
}

fn of_seventy(header: AnswerHeader) -> Answered {
    let measured = Measured { records: RecordCount(70), subjects: SubjectCount(70) };
    let cells = Cells::new((), vec![measured]).expect("one cell");
    let policy = ReleasePolicy { k: KThreshold::SUBJECTS, version: PolicyVersion(1) };
    Answered::Count(release(cells, &policy, header))
}

/// A gate that releases 70 records, or refuses; and how often it was asked.
fn gate(refuses: Option<RefusalCode>) -> (Gate, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let gate = Gate::over(move |put: Put| {
        count.fetch_add(1, Ordering::SeqCst);
        let answered = refuses.map_or_else(|| of_seventy(put.header), |code| Answered::refused(put.header, code));
        Box::pin(async move { Gated { answered, contributors: None, drawn: Some(DRAWN) } })
    });
    (gate, asked)
}

/// A gate of a node that owns nothing: whoever asks it has made a mistake.
fn unasked() -> Gate {
    Gate::over(|put: Put| -> futures::future::BoxFuture<'static, Answered> { panic!("{:?} was judged", put.question) })
}

fn ledger(dir: &Path, name: &str) -> Arc<Ledger> {
    let clock = Clock::standing_at(Timestamp(1));
    Arc::new(Ledger::open(&dir.join(name), &region("tokyo"), clock).expect("new"))
}

fn answerer(policy: PolicyWatch, gate: Gate, ledger: Arc<Ledger>) -> Arc<Answerer> {
    let metrics = Metrics::new(&crate::config::Regions::built_in().expect("built in"));
    Arc::new(Answerer::new(policy, gate, ledger, metrics, Arc::new(Nothing)))
}

fn owner(policy: Policy, gate: Gate, ledger: Arc<Ledger>) -> Arc<Owner> {
    let watch = watch(policy);
    let admitter = Arc::new(Admitter::new(watch.clone(), Rates::default()));
    Arc::new(Owner::new(OWNER, answerer(watch, gate, ledger), admitter))
}

/// The way to the owner, in the frames of the link.
fn to(owner: Arc<Owner>) -> Carrier {
    Carrier::over(OTHER, move |to, asked, _| {
        assert_eq!(to.id, PeerId { region: region("tokyo"), node: OWNER });
        let frame = encode(&RegionAsk::Gated(asked)).expect("within its bound");
        let Ok(RegionAsk::Gated(asked)) = decode(&frame) else { panic!("another frame") };
        let owner = Arc::clone(&owner);
        Box::pin(async move {
            let (answered, drawn) = owner.judged(asked).await;
            // What is no frame never comes.
            let frame = encode(answered.answer()).map_err(|_| Unheard)?;
            assert_eq!(decode::<Answer>(&frame).as_ref(), Ok(answered.answer()));
            Ok((answered, drawn))
        })
    })
}

fn silent() -> Carrier {
    Carrier::over(OTHER, |_, _, _| Box::pin(async { Err(Unheard) }))
}

fn events(dir: &Path, name: &str) -> Vec<Event> {
    let entries = Entries::open(&dir.join(name), &region("tokyo")).expect("there");
    let told = entries.map(|entry| entry.expect("whole").1.event);
    told.filter(|event| !matches!(event, Event::NodeStarted { .. })).collect()
}

fn refusals(dir: &Path, name: &str) -> Vec<Why> {
    let whys = events(dir, name).into_iter().filter_map(|event| match event {
        Event::RefusedQuestion { why, .. } => Some(why),
        _ => None,
    });
    whys.collect()
}

fn frankfurt() -> PeerId {
    PeerId { region: region("frankfurt"), node: NodeId(2) }
}

#[tokio::test]
async fn what_another_region_asks_of_any_node_the_owner_judges_once_and_the_answer_leaves_as_it_was_released() {
    let dir = tempfile::tempdir().expect("a directory");
    let (theirs, ours) = (ledger(dir.path(), "theirs"), ledger(dir.path(), "ours"));
    let (gate, judged) = gate(None);
    let owner = owner(policy(), gate.clone(), Arc::clone(&theirs));
    let here = answerer(watch(policy()), unasked().beside(to(owner)), Arc::clone(&ours));
    let there = answerer(watch(policy()), gate, Arc::clone(&theirs));

    let by_any = here.answer(&frankfurt(), &question(7)).await;
    assert_eq!(judged.load(Ordering::SeqCst), 1);
    let by_owner = there.answer(&frankfurt(), &question(7)).await;
    assert_eq!(by_any.answer().outcome, by_owner.answer().outcome);
    let head = by_any.answer().header;
    assert_eq!((head.question, head.ledger_size), (QuestionId(7), ours.head().size), "it leaves by this node's ledger");
    assert_eq!(refusals(dir.path(), "ours"), []);
    assert_eq!(refusals(dir.path(), "theirs"), []);
}

#[tokio::test]
async fn what_was_judged_under_a_version_that_never_held_here_goes_no_further() {
    let of = |version| Policy { version: PolicyVersion(version), ..policy() };
    for (before, after, passes) in [(1, None, true), (0, Some(1), true), (0, Some(2), false), (2, None, false)] {
        let dir = tempfile::tempdir().expect("a directory");
        let (gate, judged) = gate(None);
        let owner = owner(of(2), gate, ledger(dir.path(), "theirs"));
        let here = watch(of(before));
        let way = to(owner).under(here.clone());
        let answerer = answerer(here.clone(), unasked().beside(way), ledger(dir.path(), "ours"));
        let follows = async {
            if let Some(version) = after {
                here.replace(of(version));
            }
        };
        let (peer, question) = (frankfurt(), question(7));
        let (answered, ()) = tokio::join!(answerer.answer(&peer, &question), follows);
        let outcome = answered.answer().outcome.clone();
        let is_told = matches!(outcome, Outcome::Aggregate(_));
        assert_eq!((is_told, judged.load(Ordering::SeqCst)), (passes, 1), "{before} {after:?}: {outcome:?}");
        assert!(passes || outcome == Outcome::Refused(RefusalCode::Unavailable), "{outcome:?}");
    }
}

#[tokio::test]
async fn what_the_owner_refuses_is_refused_in_its_words_and_recorded_once_where_it_was_asked() {
    for code in [RefusalCode::Busy, RefusalCode::Archived, RefusalCode::NoiseSpent, RefusalCode::Overlap] {
        let dir = tempfile::tempdir().expect("a directory");
        let (theirs, ours) = (ledger(dir.path(), "theirs"), ledger(dir.path(), "ours"));
        let owner = owner(policy(), gate(Some(code)).0, theirs);
        let here = answerer(watch(policy()), unasked().beside(to(owner)), ours);
        assert_eq!(here.answer(&frankfurt(), &question(7)).await.answer().outcome, Outcome::Refused(code));
        assert_eq!(refusals(dir.path(), "ours"), [Why::Code(code)]);
        assert_eq!(refusals(dir.path(), "theirs"), []);
    }
}

fn federated() -> FederatedQuestion {
    FederatedQuestion {
        tenant: TENANT,
        asker: Asker { key: name("searches"), tenant: TENANT, rows: Rows::None },
        stream: name("app"),
        regions: Regions::Only([region("tokyo")].into()),
        range: question(1).range,
        filters: Vec::new(),
        ask: Ask::Count,
        on_missing: OnMissing::Partial,
        deadline: Duration::from_secs(5),
    }
}

#[tokio::test]
async fn a_client_of_any_node_is_told_what_the_owner_releases_and_of_one_that_is_silent_no_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let (gate, judged) = gate(None);
    let owner = owner(policy(), gate, ledger(dir.path(), "theirs"));
    let nowhere = || Reach::over(|_, _, _| Box::pin(async { Err(NoAnswer) }));
    let asked_at = |carrier, of: &str| {
        let (gate, ledger) = (unasked().beside(carrier), ledger(dir.path(), of));
        Federation::new(watch(policy()), gate, nowhere(), ledger, Arc::new(Nothing))
    };
    let heard = asked_at(to(owner), "heard");
    let answer = heard.ask(federated()).await.expect("an answer");
    assert_eq!((answer.total(), judged.load(Ordering::SeqCst)), (Total { value: 70, is_exact: true }, 1));
    // A key that the owner does not know as one that searches is told nothing.
    let stranger = Asker { key: name("sends"), tenant: TENANT, rows: Rows::None };
    let refused =
        heard.ask(FederatedQuestion { asker: stranger, ..federated() }).await.expect("an answer without numbers");
    assert_eq!(refused.coverage.missing(), [(region("tokyo"), Standing::Refused(RefusalCode::Unavailable))]);
    assert_eq!((refused.total().value, judged.load(Ordering::SeqCst)), (0, 1));

    let unheard = asked_at(silent(), "unheard");
    let answer = unheard.ask(federated()).await.expect("an answer without numbers");
    assert_eq!(answer.total(), Total { value: 0, is_exact: false });
    assert_eq!(answer.coverage.missing(), [(region("tokyo"), Standing::Unreachable)]);
    assert!(unheard.ask(FederatedQuestion { on_missing: OnMissing::Fail, ..federated() }).await.is_err());

    // Another region hears that this one cannot answer, and may ask another of its nodes.
    let here = answerer(watch(policy()), unasked().beside(silent()), ledger(dir.path(), "ours"));
    let said = here.answer(&frankfurt(), &question(7)).await.answer().outcome.clone();
    assert_eq!(said, Outcome::Refused(RefusalCode::Unavailable));
    assert_eq!(refusals(dir.path(), "ours"), [Why::Code(RefusalCode::Unavailable)]);
}

#[tokio::test]
async fn the_owner_trusts_no_neighbour_with_its_own_policy() {
    let dir = tempfile::tempdir().expect("a directory");
    let theirs = ledger(dir.path(), "theirs");
    let (gate, judged) = gate(None);
    let asker = |key: &str, tenant| Asker { key: name(key), tenant, rows: Rows::None };
    let says = async |policy: Policy, by: AskedBy, question: Question| {
        let owner = owner(policy, gate.clone(), Arc::clone(&theirs));
        let asked = GatedQuestion { by, question, policy: PolicyVersion::default(), wait_ms: 5_000 };
        owner.judged(asked).await.0.answer().outcome.clone()
    };
    let abroad = || AskedBy::Region(region("frankfurt"));
    let shut = Policy { routes: Routes::open_to(["tokyo"]), ..policy() };
    let mut moved = policy();
    let view = moved.streams.get_mut(&(TENANT, name("app"))).expect("known");
    Arc::make_mut(view).shard = Some((ShardId(7), OTHER));
    let long = Question { ask: Ask::Quantile(domicile_proto::ids::FieldId(0), 5_000), ..question(1) };
    for (by, policy, question, code) in [
        (abroad(), shut, question(1), RefusalCode::NoTransferBasis),
        (AskedBy::Region(region("tokyo")), policy(), question(1), RefusalCode::NoTransferBasis),
        (abroad(), policy(), Question { stream: StreamId(9), ..question(1) }, RefusalCode::UnknownStream),
        (abroad(), policy(), long, RefusalCode::OutOfBounds),
        (abroad(), moved, question(1), RefusalCode::Unavailable),
        (AskedBy::Key(asker("nobody", TENANT), false), policy(), question(1), RefusalCode::Unavailable),
        (AskedBy::Key(asker("sends", TENANT), false), policy(), question(1), RefusalCode::Unavailable),
        (AskedBy::Key(asker("rival", TenantId(2)), false), policy(), question(1), RefusalCode::Unavailable),
    ] {
        assert_eq!(says(policy, by.clone(), question).await, Outcome::Refused(code), "{by:?}");
    }
    assert_eq!(judged.load(Ordering::SeqCst), 0, "nothing of it came before the gate");
    assert!(matches!(says(policy(), abroad(), question(1)).await, Outcome::Aggregate(_)));
    let ours = AskedBy::Key(asker("searches", TENANT), true);
    assert!(matches!(says(policy(), ours, question(1)).await, Outcome::Aggregate(_)));
    assert_eq!(refusals(dir.path(), "theirs"), [], "a refusal lies where it was asked");
}

#[tokio::test]
async fn an_owner_judges_by_no_older_policy_than_that_of_the_node_that_was_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let (gate, judged) = gate(None);
    let behind = watch(policy());
    let admitter = Arc::new(Admitter::new(behind.clone(), Rates::default()));
    let owner = Owner::new(OWNER, answerer(behind.clone(), gate, ledger(dir.path(), "theirs")), admitter);
    let says = async |version, wait_ms| {
        let by = AskedBy::Region(region("frankfurt"));
        let asked = GatedQuestion { by, question: question(1), policy: PolicyVersion(version), wait_ms };
        owner.judged(asked).await.0.answer().outcome.clone()
    };
    assert_eq!(says(1, 40).await, Outcome::Refused(RefusalCode::Unavailable));
    assert_eq!(judged.load(Ordering::SeqCst), 0, "it is refused before it is judged");
    // One that hears of the change while it waits answers.
    let hears = async {
        tokio::task::yield_now().await;
        behind.replace(Policy { version: PolicyVersion(1), ..policy() });
    };
    let (said, ()) = tokio::join!(says(1, 60_000), hears);
    assert!(matches!(said, Outcome::Aggregate(_)), "{said:?}");
    for version in [0, 1] {
        assert!(matches!(says(version, 5_000).await, Outcome::Aggregate(_)), "{version}");
    }
    assert_eq!(says(2, 40).await, Outcome::Refused(RefusalCode::Unavailable));
}

#[tokio::test]
async fn an_answer_that_is_too_large_to_be_carried_is_refused_in_words_and_the_region_is_not_silent() {
    let dir = tempfile::tempdir().expect("a directory");
    let huge = Gate::over(|put: Put| {
        let Ask::DateGrid(grid) = put.question.ask else { panic!("a grid is asked for") };
        let measured = Measured { records: RecordCount(1 << 48), subjects: SubjectCount(70) };
        let cells = Cells::new(grid, vec![measured; grid.len as usize]).expect("as many");
        let policy = ReleasePolicy { k: KThreshold::SUBJECTS, version: PolicyVersion(1) };
        let answered = Answered::DateGrid(release(cells, &policy, put.header));
        Box::pin(async move { answered })
    });
    let owner = owner(policy(), huge, ledger(dir.path(), "theirs"));
    let nowhere = Reach::over(|_, _, _| Box::pin(async { Err(NoAnswer) }));
    let (gate, ours) = (unasked().beside(to(owner)), ledger(dir.path(), "ours"));
    let asked = Federation::new(watch(policy()), gate, nowhere, ours, Arc::new(Nothing));
    let cells = async |len| {
        let grid = Grid { first: 0, step: 60, len };
        let question = FederatedQuestion { range: grid.range(), ask: Ask::DateGrid(grid), ..federated() };
        asked.ask(question).await.expect("an answer").coverage.missing()
    };
    assert_eq!(cells(1_000).await, []);
    assert_eq!(cells(10_000).await, [(region("tokyo"), Standing::Refused(RefusalCode::AnswerTooLarge))]);
}

#[tokio::test]
async fn where_this_node_has_no_place_another_region_asks_the_next_node_and_a_client_is_told_that_it_is_busy() {
    let endless = Carrier::over(OTHER, |_, _, _| Box::pin(std::future::pending()));
    let gate = unasked().beside(endless);
    let watch = watch(policy());
    let put = |deadline| Put {
        policy: watch.now(),
        stream: Arc::clone(watch.now().stream(TENANT, &name("app")).expect("known")),
        header: AnswerHeader::new(question(1).id, question(1).range),
        question: question(1),
        deadline,
        crosses: false,
    };
    let client = || AskedBy::Key(Asker { key: name("searches"), tenant: TENANT, rows: Rows::None }, false);
    let held = (0..CARRIED_QUESTIONS_OF_TENANT).map(|_| gate.ask(put(Duration::from_secs(60)), client()));
    let mut holding: FuturesUnordered<_> = held.collect();
    assert!(holding.next().now_or_never().is_none(), "each has a place and waits");
    let short = Duration::from_millis(40);
    assert!(gate.ask(put(short), AskedBy::Region(region("frankfurt"))).await.is_err());
    let (said, _) = gate.ask(put(short), client()).await.expect("a word");
    assert_eq!(said.answer().outcome, Outcome::Refused(RefusalCode::Busy));
}

#[tokio::test]
async fn an_answer_to_a_text_question_leaves_at_a_whole_step_that_covers_the_way_to_the_owner() {
    let literal = Literal::try_from("refused".to_owned()).expect("short");
    let filters = vec![Filter::Text { how: TextMatch::Words, literal, negated: false }];
    let asked = Question { filters, ..question(7) };
    let watch = watch(policy());
    for (way, steps) in [(0, 1), (3, 1), (13, 2), (20, 2), (21, 3)] {
        for is_heard in [true, false] {
            let timer = Timer::turned();
            let began = timer.now();
            let turning = timer.clone();
            let carrier = Carrier::over(OTHER, move |_, asked, within| {
                assert!(Duration::from_millis(asked.wait_ms.into()) <= within * 9 / 10 + Duration::from_millis(1));
                assert!(within <= FEDERATED_DEADLINE * 2 / 5, "the asking region waits for half");
                turning.turn(Duration::from_millis(way));
                let header = AnswerHeader::new(asked.question.id, asked.question.range);
                Box::pin(async move { if is_heard { Ok((of_seventy(header), None)) } else { Err(Unheard) } })
            });
            let gate = unasked().timed(timer.clone()).beside(carrier);
            let put = Put {
                policy: watch.now(),
                stream: Arc::clone(watch.now().stream(TENANT, &name("app")).expect("known")),
                header: AnswerHeader::new(asked.id, asked.range),
                question: asked.clone(),
                deadline: FEDERATED_DEADLINE,
                crosses: true,
            };
            let heard = gate.ask(put, AskedBy::Region(region("frankfurt"))).await;
            assert_eq!(heard.is_ok(), is_heard);
            assert_eq!(timer.now() - began, TEXT_STEP * steps, "{way} ms, heard: {is_heard}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_to_another_node_is_asked_for_there_and_one_that_stays_is_not_asked_for_twice() {
    let third = NodeId(5);
    for (says, moves, is_told) in [
        (Some(RefusalCode::Unavailable), true, true),
        (Some(RefusalCode::Unavailable), false, false),
        (Some(RefusalCode::Busy), true, false),
        (None, false, false),
    ] {
        let mut policy = policy();
        let addr = "127.0.0.1:7443".parse().expect("an address");
        policy.nodes.insert(third, NodeRow { node: third, region: region("tokyo"), addr, signature: None });
        let watch = watch(policy.clone());
        let (asked, begun) = (Arc::new(parking_lot::Mutex::new(Vec::new())), tokio::time::Instant::now());
        let heard = Arc::clone(&asked);
        let way = Carrier::over(OTHER, move |to, asked, within| {
            heard.lock().push((to.id.node, within + begun.elapsed()));
            let header = AnswerHeader::new(asked.question.id, asked.question.range);
            let is_third = to.id.node == third;
            Box::pin(async move {
                if is_third {
                    return Ok((of_seventy(header), Some(DRAWN)));
                }
                says.map(|code| (Answered::refused(header, code), None)).ok_or(Unheard)
            })
        });
        let gate = unasked().beside(way.under(watch.clone()));
        let stream = Arc::clone(policy.stream(TENANT, &name("app")).expect("known"));
        let question = question(1);
        let header = AnswerHeader::new(question.id, question.range);
        let deadline = Duration::from_secs(10);
        let put = Put { policy: watch.now(), stream, question, header, deadline, crosses: false };
        let asker = Asker { key: name("searches"), tenant: TENANT, rows: Rows::None };
        let moving = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let view = policy.streams.get_mut(&(TENANT, name("app"))).expect("known");
            Arc::make_mut(view).shard = Some((ShardId(7), if moves { third } else { OWNER }));
            watch.replace(policy);
        };
        let asking = async { (gate.ask(put, AskedBy::Key(asker, false)).await, begun.elapsed()) };
        let ((answered, took), ()) = tokio::join!(asking, moving);
        let is_released =
            answered.is_ok_and(|(answered, _)| matches!(answered.answer().outcome, Outcome::Aggregate(_)));
        assert_eq!(is_released, is_told, "{says:?} {moves}");
        let asked = asked.lock().clone();
        let nodes: Vec<NodeId> = asked.iter().map(|(node, _)| *node).collect();
        assert_eq!(nodes, if is_told { vec![OWNER, third] } else { vec![OWNER] }, "{says:?} {moves}");
        assert!(asked.iter().all(|(_, until)| *until <= deadline), "in the time that is left: {asked:?}");
        let waits = says == Some(RefusalCode::Unavailable) && !moves;
        assert_eq!(took >= MOVE_HEARD, waits, "{says:?} {moves}: {took:?}");
    }
}

/// A newer policy may not let a question in that an older one did: what comes of it is found to be older before it leaves.
#[tokio::test(start_paused = true)]
async fn a_question_whose_stream_comes_here_is_judged_by_the_rules_that_it_was_let_in_under() {
    let mut policy = policy();
    let watch = watch(policy.clone());
    let way = Carrier::over(OTHER, |_, asked, _| {
        let header = AnswerHeader::new(asked.question.id, asked.question.range);
        Box::pin(async move { Ok((Answered::refused(header, RefusalCode::Unavailable), None)) })
    });
    let judged = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&judged);
    let gate = Gate::over(move |put: Put| {
        seen.lock().push((put.policy.version, put.stream.policy.text_questions, put.stream.shard));
        Box::pin(async move { of_seventy(put.header) })
    });
    let gate = gate.beside(way.under(watch.clone()));
    let stream = Arc::clone(policy.stream(TENANT, &name("app")).expect("known"));
    let rules = (policy.version, stream.policy.text_questions);
    let question = question(1);
    let header = AnswerHeader::new(question.id, question.range);
    let put = Put { policy: watch.now(), stream, question, header, deadline: Duration::from_secs(10), crosses: false };
    let asker = Asker { key: name("searches"), tenant: TENANT, rows: Rows::None };
    let moving = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let view = Arc::make_mut(policy.streams.get_mut(&(TENANT, name("app"))).expect("known"));
        view.shard = Some((ShardId(7), OTHER));
        view.policy.text_questions = !rules.1;
        policy.version = PolicyVersion(rules.0.0 + 1);
        watch.replace(policy);
    };
    let (answered, ()) = tokio::join!(gate.ask(put, AskedBy::Key(asker, false)), moving);
    assert!(answered.is_ok());
    assert_eq!(*judged.lock(), [(rules.0, rules.1, Some((ShardId(7), OTHER)))]);
}
