//! What must not compile, and which traits must stay absent (RES-1).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says so where it skips itself"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

// cargo-bolero builds every test of the package with hooks that bolero alone resolves.
use bolero as _;
use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::histogram::FixedHistogram;
use domicile_proto::aggregate::scalars::DistinctEstimate;
use domicile_proto::aggregate::sum::{Sum, SumLayout};
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::relayed::Relayed;
use domicile_proto::border::{
    Cells, CrossesBorder, LiteralDetector, Measured, Nothing, QuestionRules, Received, ReceivedQuestion, Released,
    VettedQuestion,
};
use domicile_proto::ids::{FieldId, QuestionId, RegionNumber, StreamId, TenantId, TimeRange};
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, QuestionError, TextMatch, TextPlace};

/// Fails to compile, with an ambiguity, as soon as the type has the trait: both blanket impls then fit.
macro_rules! lacks {
    ($type:ty: $($bound:tt)+) => {{
        trait Ambiguous<A> { fn name() {} }
        struct HasIt;
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $($bound)+> Ambiguous<HasIt> for T {}
        <$type as Ambiguous<_>>::name();
    }};
}

#[test]
fn nothing_that_is_not_released_can_be_serialised_and_nothing_that_arrived_becomes_released() {
    lacks!(Cells<Count>: serde::Serialize);
    lacks!(Measured: serde::Serialize);
    lacks!(Received: serde::Serialize);
    lacks!(ReceivedQuestion: serde::Serialize);
    lacks!(Released<Count>: serde::Serialize);
    lacks!(Released<Count>: serde::de::DeserializeOwned);
    lacks!(Released<Count>: From<Received>);
    lacks!(Relayed: serde::de::DeserializeOwned);
    lacks!(Relayed: From<Received>);
    lacks!(Relayed: From<Answer>);
    lacks!(VettedQuestion: serde::de::DeserializeOwned);
    lacks!(VettedQuestion: From<ReceivedQuestion>);
    lacks!(Cells<Count>: Clone);
    lacks!(String: CrossesBorder);
    lacks!(Vec<u8>: CrossesBorder);
    lacks!(Released<Nothing>: Default);
}

/// Under any compiler: each program fails, with the codes of its golden file. Codes are stable; the words around them are not.
#[test]
fn programs_that_would_break_the_border_do_not_compile() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fail");
    let copies = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fail");
    let _ = std::fs::remove_dir_all(&copies);
    std::fs::create_dir_all(&copies).expect("made");
    let names = programs(&goldens);
    assert!(names.len() >= 11, "{names:?}");
    for name in &names {
        std::fs::copy(goldens.join(name), copies.join(name)).expect("copied");
    }
    // Without golden files, and told to write them: it fails only where a program compiles.
    let again = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "what_the_compiler_says_of_copies", "--ignored", "--nocapture"])
        .env("TRYBUILD", "overwrite")
        .env(COPIES, &copies)
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{}\n{said}", String::from_utf8_lossy(&again.stdout));
    for name in &names {
        let said = name.replace(".rs", ".stderr");
        let (found, wanted) = (codes(&copies.join(&said)), codes(&goldens.join(&said)));
        assert!(!wanted.is_empty() && wanted.is_subset(&found), "{name}: {found:?} instead of {wanted:?}");
    }
}

#[test]
#[ignore = "a part of programs_that_would_break_the_border_do_not_compile, which starts it"]
fn what_the_compiler_says_of_copies() {
    let Some(copies) = std::env::var_os(COPIES) else { return };
    trybuild::TestCases::new().compile_fail(Path::new(&copies).join("*.rs"));
}

/// Under the compiler the golden files were written with: word for word, so that a program fails for its own reason.
#[test]
fn the_compiler_gives_the_reason_that_was_meant() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("a compiler");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.starts_with(GOLDEN_COMPILER) {
        // The same words and the same switch as in tests/cluster/require.rs.
        let everything_is_required = std::env::var("DOMICILE_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!everything_is_required, "`{GOLDEN_COMPILER}x` is missing and DOMICILE_REQUIRE=all");
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        eprintln!("SKIPPED: {name}: `{GOLDEN_COMPILER}x` is missing");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}

/// The compiler whose words stand in `fail/*.stderr`.
const GOLDEN_COMPILER: &str = "rustc 1.95.";
/// Where the copies of the programs lie.
const COPIES: &str = "DOMICILE_FAIL_COPIES";

fn programs(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    names.filter(|name| name.ends_with(".rs")).collect()
}

/// The codes of the errors in what a compiler said.
fn codes(path: &Path) -> BTreeSet<String> {
    let said = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let code = |line: &str| Some(line.strip_prefix("error[")?.split_once(']')?.0.to_owned());
    said.lines().filter_map(code).collect()
}

/// The law of the four sends, read off the source: whoever adds a fifth must come by here.
#[test]
fn a_foreign_peer_can_be_told_four_things() {
    let source = include_str!("../src/link/foreign.rs");
    let mut found: Vec<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub async fn ").or_else(|| line.trim().strip_prefix("pub fn ")))
        .filter_map(|rest| rest.split(['(', '<']).next())
        .collect();
    found.sort_unstable();
    let expected = ["answer", "ask", "cosign", "ledger_head", "metadata", "next"];
    assert_eq!(found, expected, "`next` receives, `cosign` says back what a witness has to say; the others send");
}

struct FindsNothing;

impl LiteralDetector for FindsNothing {
    fn finds_personal_data(&self, _: &str) -> bool {
        false
    }
}

/// A token names a person to everybody who has seen it beside the person; no detector of originals knows it.
#[test]
fn a_token_that_stands_for_somebody_leaves_no_region_and_neither_does_a_piece_of_it() {
    let vet_under = |text_questions, literal: &str| {
        let literal = Literal::try_from(literal.to_owned()).expect("short");
        let (how, negated) = (TextMatch::Prefix, true);
        let forms = [
            Filter::Text { how, literal: literal.clone(), negated },
            Filter::TextIn { place: TextPlace::Exception, how, literal, negated },
        ];
        let vetted = forms.map(|filter| {
            let (tenant, stream, range, filters) = (TenantId(1), StreamId(1), TimeRange::ALL, vec![filter]);
            let id = QuestionId(1);
            let question = Question { id, tenant, stream, range, filters, ask: Ask::Count, deadline_ms: 1 };
            VettedQuestion::vet(question, &QuestionRules { fields: 0, text_questions }, &FindsNothing).map(drop)
        });
        assert_eq!(vetted[0], vetted[1], "whichever text it is asked of");
        vetted[0]
    };
    let vet = |literal: &str| vet_under(true, literal);
    assert_eq!(vet_under(false, "timeout"), Err(QuestionError::TextNotAllowed));
    for token in [
        "\u{2039}email:mzxw6ytboi2dgnrtgy4tembvgq\u{203a}",
        "email:mzxw6ytboi2dgnrtgy4tembvgq",
        "MZXW6YTBOI2DGNRTGY4TEMBVGQ",
        "paid by mzxw6ytboi2dgnrtgy4tembvgq today",
        "mzxw6ytboi2dgnr",
        "\u{2039}email",
    ] {
        assert_eq!(vet(token), Err(QuestionError::PersonalLiteral), "{token}");
    }
    for word in
        ["timeout", "connection refused", "order66", "e5f7", "kubernetes", "checkout-service", "\u{6ce8}\u{6587}"]
    {
        assert_eq!(vet(word), Ok(()), "{word}");
    }
}

/// Rule R1: what arrives is of the closed set, and of the shape that was asked for.
#[test]
fn an_answer_in_another_shape_than_was_asked_for_is_not_taken() {
    let rules = QuestionRules { fields: 4, text_questions: false };
    let layout = SumLayout { field: FieldId(1), by: None, grid: None };
    let asks =
        [Ask::Count, Ask::Terms(FieldId(1)), Ask::Numbers(FieldId(1)), Ask::Sum(layout), Ask::Distinct(FieldId(1))];
    let answers = [
        Aggregate::Count(Count::EMPTY),
        Aggregate::Terms(Terms::empty(FieldId(1))),
        Aggregate::FixedHistogram(FixedHistogram::empty(FieldId(1), vec![5])),
        Aggregate::Sum(Sum::empty(layout)),
        Aggregate::DistinctEstimate(DistinctEstimate { field: FieldId(1), regions: vec![(RegionNumber(2), None)] }),
    ];
    for (asked, ask) in asks.into_iter().enumerate() {
        let (tenant, stream, range, filters) = (TenantId(1), StreamId(1), TimeRange::ALL, Vec::new());
        let question = Question { id: QuestionId(1), tenant, stream, range, filters, ask, deadline_ms: 1 };
        let vetted = VettedQuestion::vet(question, &rules, &FindsNothing).expect("allowed");
        for (found, aggregate) in answers.iter().enumerate() {
            let header = AnswerHeader::new(vetted.id(), vetted.question().range);
            let answer = Answer { header, outcome: Outcome::Aggregate(aggregate.clone()) };
            assert_eq!(Received::check(answer, &vetted).is_ok(), asked == found, "{ask:?}: {aggregate:?}");
        }
    }
}
