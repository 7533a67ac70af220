//! How long an answer to a text question takes, hit or miss: ten thousand of each through the guard and the padding, over a real
//! released table. A measurement, to be run by hand on a quiet machine; that the padding is there on every path is proven with
//! a turned clock in `guard_test.rs`.
//!
//! `cargo test -p domicile --lib federate::timing -- --ignored --nocapture`

#![allow(clippy::print_stderr, reason = "a measurement says what it found")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::{NodeId, QuestionId, ShardId, StreamId, TenantId, TimeRange, Timestamp};
use domicile_proto::message::answer::AnswerHeader;
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch};
use domicile_proto::metadata::{Personal, StreamPolicy};
use serde_json::json;

use super::gate::{Gate, Gated, Put};
use super::guard::Guard;
use crate::aggregate::{Answered, Asked, Releases};
use crate::classify::Upheld;
use crate::clock::Clock;
use crate::index::builder::Layout;
use crate::policy::{Policy, StreamView};
use crate::query::{Budget, Engine};
use crate::segment::specimen::{durable, record, segment};
use crate::store::Store;
use crate::tasks::Tasks;

/// Questions of each kind. Source: compliance test T9.
const SAMPLES: u64 = 10_000;
/// New questions of one tenant: half of what it may ask in a day, hits and misses together.
const OF_A_TENANT: u64 = 500;
const MINUTE: i64 = 60 * Timestamp::MICROS;

struct Nothing;

impl LiteralDetector for Nothing {
    fn finds_personal_data(&self, _: &str) -> bool {
        false
    }
}

/// A gate over 20,000 records of as many accounts as there are samples of a tenant, each with a word of its own.
fn gate(dir: &std::path::Path) -> Gate {
    let clock = Clock::standing_at(Timestamp(120 * MINUTE));
    let event = |n: u64| {
        let account = n % OF_A_TENANT;
        let at = i64::try_from(n % 3_600).expect("small") * Timestamp::MICROS;
        record(at, Some(account), json!({"level": "INFO", "message": format!("order placed by account{account}")}))
    };
    let segments = vec![segment(&Layout::new(), durable(1, 1, (0..20_000).map(event).collect()))];
    let releases = Releases::new(Engine::new().expect("threads"), Store::in_memory(), clock.clone(), Tasks::default());
    let guard = Guard::open(dir, clock, Tasks::default()).expect("opened");
    let over = Gate::over(move |put: Put| {
        let (releases, segments) = (releases.clone(), segments.clone());
        Box::pin(async move {
            let Put { policy, stream, question, header, deadline, .. } = put;
            let budget = Budget::until(Instant::now() + deadline);
            let stream = Upheld::of_then(stream, None);
            let asked = Asked { question, stream, policy, detector: Arc::new(Nothing), header, budget };
            let judged = releases.answer(asked, segments).await;
            Gated { answered: judged.answered, contributors: judged.contributors, drawn: judged.drawn }
        })
    });
    over.guarded(guard)
}

fn put(number: u64, word: String) -> Put {
    let tenant = TenantId(u32::try_from(number / OF_A_TENANT).expect("small") + 1);
    let policy = StreamPolicy {
        personal: Personal::Subject("user".parse().expect("a name")),
        text_questions: true,
        ..StreamPolicy::default()
    };
    let name = "app".parse().expect("a name");
    let shard = Some((ShardId(1), NodeId(1)));
    let view = StreamView { id: StreamId(1), tenant, name, fields: Vec::new(), policy, shard };
    let literal = Literal::try_from(word).expect("short");
    let question = Question {
        id: QuestionId(number.into()),
        tenant,
        stream: StreamId(1),
        range: TimeRange { from: Timestamp(0), to: Timestamp(60 * MINUTE) },
        filters: vec![Filter::Text { how: TextMatch::Words, literal, negated: false }],
        ask: Ask::Count,
        deadline_ms: 10_000,
    };
    let header = AnswerHeader::new(question.id, question.range);
    let policy = Arc::new(Policy::empty("tokyo".parse().expect("a name")));
    Put { policy, stream: Arc::new(view), question, header, deadline: Duration::from_secs(10), crosses: true }
}

fn welch(a: &[f64], b: &[f64]) -> (f64, f64, f64) {
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
    let spread = |samples: &[f64]| {
        let mean = mean(samples);
        let sum: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
        sum / (samples.len() as f64 - 1.0) / samples.len() as f64
    };
    (mean(a), mean(b), (mean(a) - mean(b)).abs() / (spread(a) + spread(b)).sqrt())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of some four minutes: it says what it found and depends on a quiet machine"]
async fn hits_and_misses_of_text_questions_take_the_same_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let gate = gate(dir.path());
    let (mut hits, mut misses) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES {
        // In turn, and which of the two first in turn as well, so that nothing that drifts falls on one kind alone.
        for is_hit in [number % 2 == 0, number % 2 == 1] {
            let word = if is_hit { "account" } else { "nobody" };
            let put = put(number, format!("{word}{}", number % OF_A_TENANT));
            let began = Instant::now();
            let answered = gate.answer(put).await;
            let took = began.elapsed().as_secs_f64() * 1_000.0;
            assert!(matches!(answered, Answered::Count(_)), "{:?}", answered.answer());
            if is_hit { &mut hits } else { &mut misses }.push(took);
        }
    }
    let (hit, miss, t) = welch(&hits, &misses);
    eprintln!("{SAMPLES} hits {hit:.3} ms, {SAMPLES} misses {miss:.3} ms, Welch's t {t:.2} (below 4.5 is none)");
}
