//! A day of questions before the guard: repeats, neighbours, caps, restarts, and the time an answer takes.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::border::{Cells, Measured, ReleasePolicy, release};
use domicile_proto::ids::{KThreshold, Level, Name, QuestionId, RecordCount, StreamId, SubjectCount, TimeRange};
use domicile_proto::message::answer::AnswerHeader;
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch};
use domicile_proto::metadata::{Personal, StreamPolicy};

use super::super::gate::Gate;
use super::*;
use crate::policy::{Policy, StreamView};

const MINUTE: i64 = 60 * Timestamp::MICROS;
/// Some day, at noon.
const NOON: Timestamp = Timestamp(20_000 * DAY + DAY / 2);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// The subjects a question matches are those its literal names: `0-99` or `0-99,200`.
fn subjects(question: &Question) -> Vec<u64> {
    let Some(Filter::Text { literal, .. }) = question.filters.first() else { return (0..100).collect() };
    let part = |part: &str| match part.split_once('-') {
        Some((from, to)) => (from.parse().expect("a number")..=to.parse().expect("a number")).collect(),
        None => part.parse().into_iter().collect::<Vec<u64>>(),
    };
    literal.as_str().split(',').flat_map(part).collect()
}

struct World {
    gate: Gate,
    clock: Clock,
    looked_up: Arc<AtomicUsize>,
    /// People that have come to everything since.
    grown: Arc<AtomicUsize>,
    dir: tempfile::TempDir,
}

fn world() -> World {
    world_in(tempfile::tempdir().expect("a directory"), NOON)
}

fn world_in(dir: tempfile::TempDir, now: Timestamp) -> World {
    let clock = Clock::standing_at(now);
    let guard = Guard::open(dir.path(), clock.clone(), Tasks::default()).expect("opened");
    let looked_up = Arc::new(AtomicUsize::new(0));
    let (count, grown) = (Arc::clone(&looked_up), Arc::new(AtomicUsize::new(0)));
    let newcomers = Arc::clone(&grown);
    let gate = Gate::over(move |put: Put| {
        // Each look sees one record more: only what is kept stays the same.
        let more = count.fetch_add(1, Ordering::SeqCst) as u64;
        let mut subjects = subjects(&put.question);
        subjects.extend((0..newcomers.load(Ordering::SeqCst) as u64).map(|newcomer| 10_000 + newcomer));
        let found = subjects.len() as u64;
        let mut contributors = Contributors::default();
        subjects.iter().for_each(|subject| contributors.add(*subject, 1));
        let measured = Measured { records: RecordCount(found + more), subjects: SubjectCount(found) };
        let policy = put.policy.release(&put.stream);
        let answered = answered(put.question.ask, measured, &policy, put.header);
        Box::pin(async move { Gated { answered, contributors: Some(contributors), drawn: None } })
    });
    World { gate: gate.guarded(guard), clock, looked_up, grown, dir }
}

fn answered(ask: Ask, measured: Measured, policy: &ReleasePolicy, header: AnswerHeader) -> Answered {
    match ask {
        Ask::DateGrid(grid) => {
            let cells = Cells::new(grid, vec![measured; grid.len as usize]).expect("as many");
            Answered::DateGrid(release(cells, policy, header))
        }
        _ => Answered::Count(release(Cells::new((), vec![measured]).expect("one"), policy, header)),
    }
}

fn put(tenant: u32, id: u128, filters: Vec<Filter>) -> Put {
    let (tenant, stream) = (TenantId(tenant), StreamId(1));
    let policy = StreamPolicy { personal: Personal::Subject(name("user")), text_questions: true, ..Default::default() };
    let view = StreamView { id: stream, tenant, name: name("app"), fields: Vec::new(), policy, shard: None };
    let range = TimeRange { from: Timestamp(0), to: Timestamp(60 * MINUTE) };
    let question = Question { id: QuestionId(id), tenant, stream, range, filters, ask: Ask::Count, deadline_ms: 1_000 };
    let header = AnswerHeader::new(question.id, range);
    let policy = Arc::new(Policy::empty("tokyo".parse().expect("a name")));
    Put { policy, stream: Arc::new(view), question, header, deadline: Duration::from_secs(60), crosses: true }
}

fn text(literal: &str) -> Put {
    let literal = Literal::try_from(literal.to_owned()).expect("short");
    put(1, 1, vec![Filter::Text { how: TextMatch::Words, literal, negated: false }])
}

/// The `number`th of very many questions without text.
fn plain(tenant: u32, number: usize) -> Put {
    let levels = (0..10).filter(|bit| number >> bit & 1 == 1).map(|bit| Level::ALL[bit % Level::ALL.len()]);
    let levels: Vec<Level> = levels.chain([Level::Info; 1]).collect();
    let filters =
        (0..=number % 16).map(|_| Filter::Level { levels: levels.clone(), negated: number.is_multiple_of(2) });
    let mut put = put(tenant, 1, filters.collect());
    put.question.stream = StreamId(u64::try_from(number).expect("small").try_into().expect("small"));
    put
}

impl World {
    async fn outcome(&self, put: Put) -> Outcome {
        self.gate.answer(put).await.answer().outcome.clone()
    }

    async fn records(&self, put: Put) -> u64 {
        match self.outcome(put).await {
            Outcome::Aggregate(Aggregate::Count(count)) => count.cell.records.0,
            other => panic!("no count: {other:?}"),
        }
    }

    fn restarted(self) -> Self {
        self.restarted_at(NOON)
    }

    fn restarted_at(self, now: Timestamp) -> Self {
        let Self { dir, gate, .. } = self;
        drop(gate);
        world_in(dir, now)
    }
}

const OVERLAP: Outcome = Outcome::Refused(RefusalCode::Overlap);
const SPENT: Outcome = Outcome::Refused(RefusalCode::QuestionsSpent);
const UNAVAILABLE: Outcome = Outcome::Refused(RefusalCode::Unavailable);

#[tokio::test]
async fn a_repeat_gets_the_answer_it_got_before_under_its_own_number() {
    let world = world();
    let first = world.gate.answer(text("0-99")).await.answer().clone();
    let mut again = text("0-99");
    again.question.id = QuestionId(2);
    again.header = AnswerHeader { ledger_size: 7, ..AnswerHeader::new(QuestionId(2), TimeRange::ALL) };
    let second = world.gate.answer(again).await.answer().clone();
    assert_eq!(second.outcome, first.outcome, "though a look would see more records by now");
    assert_eq!((second.header.question, second.header.ledger_size), (QuestionId(2), 7));
    assert_eq!(second.header.covered, first.header.covered);
    assert_eq!(world.looked_up.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_text_question_that_differs_by_less_than_k_subjects_is_refused_whichever_came_first() {
    for (first, second, expected) in [
        ("0-99", "0-100", true),
        ("0-100", "0-99", true),
        ("0-99", "1-100", true),
        ("0-99", "0-103", true),
        ("0-99", "0-199", false),
        ("0-99", "200-299", false),
    ] {
        let world = world();
        assert_eq!(world.records(text(first)).await, subjects(&text(first).question).len() as u64);
        assert_eq!(world.outcome(text(second)).await == OVERLAP, expected, "{first} then {second}");
    }
}

#[tokio::test]
async fn what_was_refused_is_not_compared_with_and_every_earlier_answer_of_the_day_is() {
    let world = world();
    world.records(text("0-99")).await;
    assert_eq!(world.outcome(text("0-100")).await, OVERLAP);
    world.records(text("0-199")).await;
    assert_eq!(world.outcome(text("1-199")).await, OVERLAP);
    world.records(text("300-399")).await;
    assert_eq!(world.outcome(text("0-98")).await, OVERLAP, "near the first of three");
}

#[tokio::test]
async fn nobody_and_too_few_are_told_alike_whatever_was_asked_before() {
    let world = world();
    for literal in ["none", "1", "1-4", "1-3", "2-5"] {
        let Outcome::Aggregate(Aggregate::Count(count)) = world.outcome(text(literal)).await else {
            panic!("suppressed")
        };
        assert!(!count.cell.is_exact(), "`{literal}`");
    }
    world.records(text("0-99")).await;
    for literal in ["nobody", "1,2"] {
        assert!(matches!(world.outcome(text(literal)).await, Outcome::Aggregate(_)), "`{literal}`");
    }
}

#[tokio::test]
async fn a_thousand_new_questions_of_a_tenant_are_answered_in_a_day_and_repeats_for_ever() {
    let mut world = world();
    for number in 0..QUESTIONS_PER_DAY {
        assert_ne!(world.outcome(plain(1, number)).await, SPENT, "question {number}");
    }
    assert_eq!(world.outcome(plain(1, QUESTIONS_PER_DAY)).await, SPENT);
    assert_eq!(world.outcome(text("0-99")).await, SPENT);
    assert_ne!(world.outcome(plain(1, 0)).await, SPENT, "a repeat is free");
    assert_ne!(world.outcome(plain(2, QUESTIONS_PER_DAY)).await, SPENT, "another tenant has its own");
    world = world.restarted();
    assert_eq!(world.outcome(plain(1, QUESTIONS_PER_DAY)).await, SPENT, "a restart gives nothing back");
    world.clock.pass(Duration::from_secs(12 * 3_600));
    assert_ne!(world.outcome(plain(1, QUESTIONS_PER_DAY)).await, SPENT, "a new day");
    world.clock.turn_to(NOON);
    assert_ne!(world.outcome(plain(1, QUESTIONS_PER_DAY)).await, SPENT, "a clock that goes back brings no day back");
}

#[tokio::test]
async fn a_clock_that_jumps_ends_no_day_and_what_was_asked_while_it_was_wrong_counts() {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let mut world = world();
    world.records(text("0-99")).await;
    world.clock.turn_to(Timestamp(NOON.0 + 5 * DAY));
    assert_eq!(world.outcome(text("0-100")).await, OVERLAP, "a day has not passed");
    world = world.restarted_at(Timestamp(NOON.0 + DAY));
    assert_ne!(world.outcome(text("0-100")).await, OVERLAP, "nobody knows how long it stood still");
    world.records(text("300-399")).await;
    for _ in 0..2 {
        world = world.restarted();
        assert_eq!(world.outcome(text("0-98")).await, OVERLAP, "what was asked before it was ahead");
        assert_eq!(world.outcome(text("300-398")).await, OVERLAP, "and meanwhile");
    }
    // A day that ends by a clock far ahead is followed by one of the clock that is right.
    world.clock.pass(hours(10));
    world.clock.turn_to(Timestamp(NOON.0 + 50 * DAY));
    assert_eq!(world.outcome(text("0-98")).await, OVERLAP, "at ten in the evening");
    world.clock.pass(hours(1));
    world.records(text("600-699")).await;
    world.clock.turn_to(Timestamp(NOON.0 + 2 * DAY));
    assert_eq!(world.outcome(text("600-698")).await, OVERLAP, "one day in 23 hours");
    world.clock.pass(hours(24));
    assert_eq!(world.outcome(text("600-698")).await, OVERLAP, "for the last time");
    world.clock.pass(hours(24));
    world.records(text("600-698")).await;
}

#[tokio::test]
async fn many_refusals_for_overlap_end_the_text_questions_of_the_day() {
    let mut world = world();
    let first = world.records(text("0-999")).await;
    for near in 0..OVERLAPS_PER_DAY {
        assert_eq!(world.outcome(text(&format!("0-999,{}", 2_000 + near))).await, OVERLAP);
    }
    world = world.restarted();
    assert_eq!(world.outcome(text("5000-5999")).await, OVERLAP, "though it is near nothing");
    assert_eq!(world.looked_up.load(Ordering::SeqCst), 0, "and nobody looked");
    assert_eq!(first, 1_000);
    assert!(matches!(world.outcome(plain(1, 3)).await, Outcome::Aggregate(_)), "other questions go on");
}

#[tokio::test]
async fn a_restart_forgets_no_answer_and_damage_lets_no_text_question_through() {
    let mut world = world();
    world.records(text("0-99")).await;
    world = world.restarted();
    assert_eq!(world.outcome(text("0-100")).await, OVERLAP);
    world.records(text("0-99")).await;
    let file = std::fs::read_dir(world.dir.path()).expect("there").next().expect("one").expect("readable").path();
    let mut bytes = std::fs::read(&file).expect("there");
    bytes[30] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    world = world.restarted();
    assert_eq!(world.outcome(text("500-599")).await, UNAVAILABLE);
    assert!(matches!(world.outcome(plain(1, 3)).await, Outcome::Aggregate(_)));
    world.clock.pass(Duration::from_secs(24 * 3_600));
    world.records(text("500-599")).await;
}

#[tokio::test]
async fn a_number_about_unknown_people_is_not_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let guard = Guard::open(dir.path(), Clock::standing_at(NOON), Tasks::default()).expect("opened");
    let gate = Gate::over(|put: Put| {
        let measured = Measured { records: RecordCount(9), subjects: SubjectCount(9) };
        let answered = answered(put.question.ask, measured, &put.policy.release(&put.stream), put.header);
        Box::pin(async move { answered })
    });
    let gate = gate.guarded(guard);
    assert_eq!(gate.answer(text("word")).await.answer().outcome, UNAVAILABLE);
    assert!(matches!(gate.answer(plain(1, 1)).await.answer().outcome, Outcome::Aggregate(_)));
}

#[tokio::test]
async fn an_answer_larger_than_an_answer_may_be_is_refused_by_name() {
    let world = World { looked_up: Arc::new(AtomicUsize::new(1 << 40)), ..world() };
    let dir = tempfile::tempdir().expect("a directory");
    let guard = Guard::open(dir.path(), Clock::standing_at(NOON), Tasks::default()).expect("opened");
    let huge = Gate::over(|put: Put| {
        let measured = Measured { records: RecordCount(u64::MAX / 2), subjects: SubjectCount(9) };
        let answered = answered(put.question.ask, measured, &put.policy.release(&put.stream), put.header);
        Box::pin(async move { answered })
    });
    let huge = huge.guarded(guard);
    let grid = |len| {
        let mut put = plain(1, 1);
        put.question.ask = Ask::DateGrid(Grid { first: 0, step: 60, len });
        put
    };
    assert!(matches!(huge.answer(grid(1_000)).await.answer().outcome, Outcome::Aggregate(_)));
    let too_large = Outcome::Refused(RefusalCode::AnswerTooLarge);
    assert_eq!(huge.answer(grid(10_000)).await.answer().outcome, too_large);
    assert!(
        matches!(world.outcome(grid(10_000)).await, Outcome::Aggregate(_)),
        "ten thousand cells of small numbers fit"
    );
}

#[tokio::test]
async fn what_only_this_region_hears_is_neither_counted_nor_compared() {
    let world = world();
    let at_home = |literal: &str| Put { crosses: false, ..text(literal) };
    world.records(at_home("0-99")).await;
    world.records(at_home("0-100")).await;
    world.records(text("0-101")).await;
    assert_eq!(world.outcome(text("0-102")).await, OVERLAP);
    world.records(at_home("0-102")).await;
}

#[tokio::test]
async fn where_k_is_one_there_is_nobody_to_guard() {
    let world = world();
    let open = |literal: &str| {
        let mut put = text(literal);
        let personal = StreamPolicy { personal: Personal::No, ..put.stream.policy.clone() };
        put.stream = Arc::new(StreamView { policy: personal, ..StreamView::clone(&put.stream) });
        put
    };
    world.records(open("0-99")).await;
    world.records(open("0-100")).await;
}

#[test]
fn more_answers_than_can_be_kept_in_mind_are_for_another_day() {
    let mut today = Today { guarded: GUARDED_ANSWERS - 1, ..Today::default() };
    let some = Contributors::default();
    let mut other = Contributors::default();
    (0..100).for_each(|subject| other.add(subject, 1));
    assert_eq!(today.compare(&text("a"), &some, true), Ok(true));
    today.tenants.entry(TenantId(1)).or_default().released.push(some.clone());
    today.guarded += 1;
    assert_eq!(today.compare(&text("a"), &some, true), Ok(false), "the same again takes no room");
    assert_eq!(today.compare(&text("a"), &other, true), Err(RefusalCode::Busy));
}

#[tokio::test]
async fn an_answer_that_is_no_longer_kept_is_made_and_judged_anew() {
    let world = world();
    let first = world.records(text("0-99")).await;
    let blocks = |number: usize| format!("{}-{}", 1_000 * (number + 1), 1_000 * (number + 1) + 9);
    for number in 0..TEXT_ANSWERS_KEPT {
        let mut put = text(&blocks(number));
        put.question.tenant = TenantId(2 + u32::from(number >= 512));
        world.records(put).await;
    }
    let again = world.records(text("0-99")).await;
    assert!(again > first, "it was looked up again: {first} and {again}");
}

/// A gate that takes this long and finds so many subjects, and does not if there are none.
fn slow(millis: u64, subjects: u64) -> Gate {
    Gate::over(move |put: Put| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            let policy = ReleasePolicy { k: KThreshold(NonZeroU32::MIN), version: PolicyVersion(1) };
            let measured = Measured { records: RecordCount(subjects), subjects: SubjectCount(subjects) };
            answered(put.question.ask, measured, &policy, put.header)
        })
    })
}

async fn took(gate: &Gate, put: Put) -> Duration {
    let began = tokio::time::Instant::now();
    gate.answer(put).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn text_answers_leave_at_whole_steps_hit_or_miss_or_refused() {
    for (millis, subjects, steps) in
        [(0, 0, 1), (1, 0, 1), (9, 50, 1), (10, 50, 1), (11, 0, 2), (13, 50, 2), (95, 1, 10)]
    {
        // The clock of the runtime ticks in milliseconds and may be one late.
        let late = took(&slow(millis, subjects), text("word")).await.saturating_sub(crate::limits::TEXT_STEP * steps);
        assert!(late <= Duration::from_millis(1), "{millis} ms, {subjects} subjects: {late:?} late");
    }
    let refused = Put { deadline: Duration::from_millis(12), ..text("word") };
    let took_refused = took(&slow(1_000, 1), refused).await;
    assert!((20..=21).contains(&took_refused.as_millis()), "{took_refused:?}");
    let whole = took(&slow(3, 1), plain(1, 1)).await;
    assert!((3..=4).contains(&whole.as_millis()), "a question without text waits for nothing: {whole:?}");
    let at_home = took(&slow(3, 1), Put { crosses: false, ..text("word") }).await;
    assert!((3..=4).contains(&at_home.as_millis()), "nor does one that stays here: {at_home:?}");
}

/// Release once, also of text questions and after a restart: the same records give the same answer, others give none.
#[tokio::test]
async fn a_text_question_of_before_a_restart_is_answered_from_the_same_records_or_not_at_all() {
    let world = world();
    assert_eq!(world.records(text("0-49")).await, 50);
    let world = world.restarted();
    assert_eq!(world.records(text("0-49")).await, 50, "nothing has changed");
    let world = world.restarted();
    // Far more than the threshold: no neighbour of what was told, and yet another answer to the same question.
    world.grown.store(40, Ordering::SeqCst);
    assert_eq!(world.outcome(text("0-49")).await, OVERLAP);
    assert!(matches!(world.outcome(text("100-149")).await, Outcome::Aggregate(_)), "a new question is answered");
}
