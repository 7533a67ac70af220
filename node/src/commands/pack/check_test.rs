//! What a pack must hold by the clock of whoever made it, and under which of the checks it fails.

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::count::Count;
use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::ids::{
    ByteCount, FieldId, NodeId, PolicyVersion, QuestionId, RegionNumber, ShardId, StreamId, TenantId, TimeRange,
};
use domicile_proto::message::answer::Outcome as Told;
use domicile_proto::message::ledger::{HeadOffer, SignedHead};
use domicile_proto::message::question::{Ask, Question};

use super::super::super::honoured::Officers;
use super::super::super::rehearsal::{Rehearsed, Rules};
use super::super::answers::tests::{asked as answered, by, changed, pair, statement};
use super::super::compose::Absent;
use super::super::rules::tests::wide;
use super::super::specimen::home;
use super::agree::COPIED_WITHIN;
use super::*;
use crate::audit::{About, Entry, Event, Finding, Passage, Peer};
use crate::present::auditor::{StatedErasure, Statement};
use domicile_proto::officer::OfficerPublic;

const SECOND: i64 = 1_000_000;
/// When the first copy was begun, and when the last was there: copies that took half an hour.
const BEGUN: i64 = 10_000 * SECOND;
const MADE: i64 = BEGUN + 1_800 * SECOND;

fn request() -> Request {
    let (from, to) = (Timestamp(0), Timestamp(MADE));
    let (begun_at, made_at) = (Timestamp(BEGUN), Timestamp(MADE));
    Request { format: FORMAT, tool: tool(), tenant: "default".to_owned(), from, to, begun_at, made_at }
}

fn node(region: &str) -> Peer {
    Peer { region: region.parse().expect("a name"), node: NodeId(1) }
}

fn passage(from: &str, class: EgressClass, body: Vec<u8>) -> Event {
    let bytes = ByteCount(body.len() as u64);
    Event::Ingress(Passage { peer: node(from), class, bytes, sha256: [7; 32], body, drawn: None })
}

fn question_from(region: &str) -> Event {
    let question = Question {
        id: QuestionId(1),
        tenant: TenantId(1),
        stream: StreamId(1),
        range: TimeRange { from: Timestamp(0), to: Timestamp(60 * SECOND) },
        filters: Vec::new(),
        ask: Ask::Count,
        deadline_ms: 1_000,
    };
    passage(region, EgressClass::Question, codec::encode(&question).expect("a question"))
}

/// A witness is asked to cosign a head over so many entries.
fn head_from(region: &str, size: u64) -> Event {
    let (region_number, halves) = (RegionNumber(1), [0; 32]);
    let head = SignedHead {
        region: region_number,
        size,
        root: [9; 32],
        at: Timestamp(0),
        signature_r: halves,
        signature_s: halves,
    };
    let offer = HeadOffer { head, key: [0; 32], known: 0, proof: Vec::new() };
    passage(region, EgressClass::LedgerHead, codec::encode(&offer).expect("an offer"))
}

/// Tokyo, whose ledger has five entries and says nothing, and Singapore, where this happened at this second.
fn outcome(at: i64, event: Event) -> Outcome {
    let (mut tokyo, mut singapore) = (home("tokyo", "APPI"), home("singapore", "PDPA"));
    tokyo.size = 5;
    singapore.tally.take(3, &Entry::specimen(Timestamp(at), None, event));
    for home in [&mut tokyo, &mut singapore] {
        home.statement.taken_at = Timestamp(MADE);
    }
    Outcome { request: Some(request()), homes: vec![tokyo, singapore], ..Outcome::default() }
}

fn points(outcome: &Outcome) -> Vec<u8> {
    outcome.problems.iter().map(|problem| problem.point).collect()
}

#[test]
fn what_arrived_while_copies_were_made_needs_no_counterpart_and_what_came_before_does_whatever_a_region_says() {
    for (at, wanted) in [(BEGUN - 60 * SECOND, vec![7]), (BEGUN - 59 * SECOND, vec![]), (MADE - 300 * SECOND, vec![])] {
        for taken_at in [0, BEGUN, MADE] {
            let mut outcome = outcome(at, question_from("tokyo"));
            outcome.homes[0].statement.taken_at = Timestamp(taken_at);
            outcome.double_entry(&request());
            assert_eq!(points(&outcome), wanted, "{at} {taken_at}");
        }
    }
}

#[test]
fn what_came_from_a_node_whose_ledger_is_not_here_is_counted_apart_and_the_node_is_named() {
    for (from, absent, wanted) in [
        ("tokyo", vec![], "1 arrivals; what came after"),
        (
            "frankfurt",
            vec![(("frankfurt".to_owned(), 1), Absent { is_member: false, arrivals: 1 })],
            "0 arrivals; 1 more came from nodes whose ledger is not here, and are compared with nothing; what came after",
        ),
    ] {
        let outcome = outcome(0, question_from(from));
        assert_eq!(missing(&outcome.homes).into_iter().collect::<Vec<_>>(), absent);
        let why = outcome.concluded(&Trust::default(), None).points[7].why.clone();
        assert!(why.starts_with(wanted), "{why}");
    }
}

#[test]
fn a_ledger_that_was_shown_to_be_longer_is_withheld_from() {
    let nowhere = Path::new("/nowhere");
    for (at, size, wanted) in [
        (BEGUN - 60 * SECOND, 6, vec![3]),
        (BEGUN - 59 * SECOND, 6, vec![]),
        (MADE, 6, vec![]),
        (BEGUN - 60 * SECOND, 0, vec![]),
        // No file has the root that was shown.
        (MADE, 5, vec![10]),
    ] {
        let mut outcome = outcome(at, head_from("tokyo", size));
        outcome.split_view(nowhere, &request());
        assert_eq!(points(&outcome), wanted, "{at} {size}");
    }
    let mut of_another = outcome(0, head_from("frankfurt", 6));
    of_another.split_view(nowhere, &request());
    assert_eq!(points(&of_another), [0; 0]);
}

#[test]
fn a_statement_is_made_while_the_pack_is_and_a_pack_within_a_day() {
    for (taken_at, wanted) in [
        (BEGUN, vec![]),
        (BEGUN - 60 * SECOND, vec![]),
        (BEGUN - 61 * SECOND, vec![0]),
        (MADE + 60 * SECOND, vec![]),
        (MADE + 61 * SECOND, vec![0]),
    ] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        outcome.homes[0].statement.taken_at = Timestamp(taken_at);
        outcome.moments(&request());
        assert_eq!(points(&outcome), wanted, "{taken_at}");
    }
    for begun_at in [0, MADE - COPIED_WITHIN - 1, MADE + 1] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        let request = Request { begun_at: Timestamp(begun_at), made_at: Timestamp(MADE + COPIED_WITHIN), ..request() };
        let request = if begun_at == 0 { request } else { Request { made_at: Timestamp(MADE), ..request } };
        outcome.moments(&request);
        assert!(outcome.problems.iter().any(|problem| problem.place == REQUEST), "{begun_at}: {:?}", outcome.problems);
    }
}

#[test]
fn an_erasure_that_came_while_copies_were_made_may_be_missing_in_the_ledger_and_no_older_one() {
    let stated = |ordered: i64, purged: i64| -> StatedErasure {
        let receipt = serde_json::json!({"purged_at": purged}).to_string();
        let erasure = serde_json::json!({"id": "e", "state": "gone", "ordered_at": ordered, "shredded_at": ordered + SECOND,
            "records_hidden": 1, "originals_destroyed": 1, "receipt": {"receipt": receipt}});
        serde_json::from_value(erasure).expect("an order")
    };
    let requested = || Event::ErasureRequested { erasure: "e".into(), commitment: [0; 32] };
    let shredded = || Event::Shredded { erasure: "e".into(), hidden: 1, originals: 1 };
    let old = BEGUN - 100 * SECOND;
    for (ordered, purged, events, wanted) in [
        (BEGUN + SECOND, BEGUN + 60 * SECOND, vec![], vec![]),
        (old, BEGUN + 60 * SECOND, vec![requested(), shredded()], vec![]),
        (old, BEGUN + 60 * SECOND, vec![requested()], vec![9]),
        (old, old + SECOND, vec![requested(), shredded()], vec![9]),
        (old, BEGUN + 60 * SECOND, vec![], vec![9]),
        // Nothing lies behind the pack.
        (MADE + 59 * SECOND, MADE + 60 * SECOND, vec![], vec![]),
        (MADE + 61 * SECOND, MADE + 60 * SECOND, vec![], vec![9]),
        (old, MADE + 61 * SECOND, vec![requested(), shredded()], vec![9]),
    ] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        for (number, event) in (1..).zip(events) {
            outcome.homes[0].tally.take(number, &Entry::specimen(Timestamp(ordered), None, event));
        }
        outcome.homes[0].statement.erasures.push(stated(ordered, purged));
        outcome.clocks(&request());
        assert_eq!(points(&outcome), wanted, "{ordered} {purged}");
    }
}

/// By its signed ledger, which the other regions cosign; its own word for when it came is asked for nowhere.
#[test]
fn a_node_that_came_after_an_order_is_held_to_its_clock_from_then_on() {
    let (ordered, came) = (SECOND, BEGUN - 1_000 * SECOND);
    let started = || Event::NodeStarted { node: NodeId(1), binary: [0; 32], config: [0; 32], sbom: None };
    let put_aside = || Event::EarlierLedger { bytes: 1, sha256: [0; 32] };
    for (first, approved, shredded, wanted) in [
        (started(), came, came + 60 * SECOND, vec![]),
        (started(), came, came + 61 * SECOND, vec![9]),
        (started(), ordered, came, vec![9]),
        // Its clock was ahead when it came, and was set right.
        (started(), came + 500 * SECOND, came + 61 * SECOND, vec![9]),
        // It was there before: only its ledger is new.
        (put_aside(), came, came + SECOND, vec![9]),
    ] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        let policy = Event::PolicyChanged { version: PolicyVersion(0), streams: 1, approved_values: 1, ordered: true };
        let requested = Event::ErasureRequested { erasure: "e".into(), commitment: [0; 32] };
        let hidden = Event::Shredded { erasure: "e".into(), hidden: 0, originals: 0 };
        // It may run for long before it is approved.
        let told = [(first, 0), (policy, approved), (started(), came), (requested, came), (hidden, shredded)];
        for (number, (event, at)) in (1..).zip(told) {
            outcome.homes[0].tally.take(number, &Entry::specimen(Timestamp(at), None, event));
        }
        let erasure = serde_json::json!({"id": "e", "state": "shredded", "ordered_at": ordered, "shredded_at": shredded,
            "records_hidden": 0, "originals_destroyed": 0, "receipt": null});
        outcome.homes[0].statement.erasures.push(serde_json::from_value(erasure).expect("an order"));
        outcome.homes[0].statement.taken_at = Timestamp(BEGUN);
        outcome.clocks(&request());
        assert_eq!(points(&outcome), wanted, "{approved} {shredded}");
    }
}

#[test]
fn what_is_gone_has_a_receipt_and_no_order_that_is_under_way_is_left_out() {
    let erasure: Box<str> = "e".into();
    let events = [
        Event::ErasureRequested { erasure: erasure.clone(), commitment: [0; 32] },
        Event::Shredded { erasure: erasure.clone(), hidden: 1, originals: 1 },
        Event::Purged { erasure, segments: 1, removed: 1, receipt: [7; 32] },
    ];
    let told = |count: usize, at: i64| {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        for (number, event) in (1..).zip(&events[..count]) {
            outcome.homes[0].tally.take(number, &Entry::specimen(Timestamp(at), None, event.clone()));
        }
        outcome
    };
    let mut bare = told(3, SECOND);
    let erasure = serde_json::json!({"id": "e", "state": "gone", "ordered_at": SECOND, "shredded_at": SECOND, "records_hidden": 1,
        "originals_destroyed": 1, "receipt": null});
    bare.homes[0].statement.erasures.push(serde_json::from_value(erasure).expect("an order"));
    bare.clocks(&request());
    assert!(points(&bare) == [9] && bare.problems[0].why.contains("no receipt"), "{:?}", bare.problems);
    for (count, at, wanted) in [
        (1, BEGUN - 60 * SECOND, vec![9]),
        (2, BEGUN - 60 * SECOND, vec![9]),
        (1, BEGUN - 59 * SECOND, vec![]),
        (3, BEGUN - 60 * SECOND, vec![]),
    ] {
        let mut outcome = told(count, at);
        outcome.clocks(&request());
        assert_eq!(points(&outcome), wanted, "{count} {at}");
    }
}

#[test]
fn a_statement_is_of_no_older_policy_than_the_ledger() {
    let old = BEGUN - 60 * SECOND;
    for (stated, at, wanted) in [
        (3, old, vec![]),
        (2, old, vec![6]),
        (0, old, vec![6]),
        // An entry about a version is written before it holds.
        (2, old + SECOND, vec![]),
        (4, old, vec![]),
    ] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        let changed = Event::PolicyChanged { version: PolicyVersion(3), streams: 1, approved_values: 1, ordered: true };
        outcome.homes[0].tally.take(1, &Entry::specimen(Timestamp(at), None, changed));
        outcome.homes[0].statement.policy_version = stated;
        outcome.policies(Path::new("/nowhere"), &request());
        assert_eq!(points(&outcome), wanted, "{stated} {at}");
    }
}

#[test]
fn an_answer_of_another_kind_than_its_question_fails_with_its_entry() {
    let count = || Told::Aggregate(Aggregate::Count(Count::EMPTY));
    for (ask, wanted) in [(Ask::Count, vec![]), (Ask::Distinct(FieldId(1)), vec![6])] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        for (number, event) in (1..).zip([vec![changed(3)], pair(ask, count()).to_vec()].concat()) {
            outcome.homes[0].tally.take(number, &Entry::specimen(Timestamp(SECOND), None, event));
        }
        outcome.homes[0].statement = Statement { policy_version: 4, ..outcome.homes[0].statement.clone() };
        outcome.policies(Path::new("/nowhere"), &request());
        assert_eq!(points(&outcome), wanted, "{:?}", outcome.problems);
        if let [Problem { place, why, .. }] = &outcome.problems[..] {
            assert!(place.ends_with(", entry 3") && why.contains("another kind than its question, which is entry 2"));
        }
    }
}

#[test]
fn an_answer_under_a_version_that_was_over_for_long_fails_with_its_entry() {
    for (late, wanted) in [(60, vec![]), (61, vec![6])] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        let [asked, told] = pair(Ask::Count, Told::Aggregate(Aggregate::Count(Count::EMPTY)));
        let entries = [(1, changed(3)), (1, asked), (2, changed(4)), (2 + late, told)];
        for (number, (at, event)) in (1..).zip(entries) {
            outcome.homes[0].tally.take(number, &Entry::specimen(Timestamp(at * SECOND), None, event));
        }
        outcome.homes[0].statement = Statement { policy_version: 4, ..outcome.homes[0].statement.clone() };
        outcome.policies(Path::new("/nowhere"), &request());
        assert_eq!(points(&outcome), wanted, "{:?}", outcome.problems);
        if let [Problem { place, why, .. }] = &outcome.problems[..] {
            assert!(place.ends_with(", entry 4") && why.contains("after entry 3 told of version 4"), "{place}: {why}");
        }
    }
}

#[test]
fn an_old_rule_that_is_forged_fails_at_its_page_and_answers_are_counted_by_the_version_that_they_name() {
    let (dir, rules) = (tempfile::tempdir().expect("a directory"), wide());
    let file = super::super::rules::place_of("tokyo", &rules.digest());
    std::fs::create_dir_all(dir.path().join(REGIONS).join("tokyo/rules")).expect("made");
    let whole = serde_json::to_string(&rules).expect("plain");
    for (page, wanted) in [(whole.clone(), vec![]), (whole.replace("\"k\":5", "\"k\":3"), vec![6])] {
        std::fs::write(dir.path().join(&file), page).expect("written");
        let mut outcome = outcome(0, head_from("tokyo", 1));
        outcome.homes[0].statement = Statement { region: "tokyo".to_owned(), ..statement() };
        let answer = by(&rules, answered(2, &[70], 60 * SECOND, 2));
        for (number, event) in (1..).zip([vec![changed(2)], answer, vec![changed(3)]].concat()) {
            outcome.homes[0].tally.take(number, &Entry::specimen(Timestamp(SECOND), None, event));
        }
        outcome.policies(dir.path(), &request());
        assert_eq!(points(&outcome), wanted, "{:?}", outcome.problems);
        if wanted.is_empty() {
            assert_eq!(outcome.answers, ["answers of tokyo judged by the rules of their policy version: 1 under 2"]);
        } else {
            let [Problem { place, why, .. }] = &outcome.problems[..] else { panic!("one") };
            assert!(*place == file && why.contains("entry 3 names them for policy version 2"), "{place}: {why}");
        }
    }
}

#[test]
fn a_segment_that_an_erasure_replaced_does_not_come_back_and_a_receipt_is_the_one_of_the_ledger() {
    let said = serde_json::json!({"purged_at": 2 * SECOND, "segments": [{"before": {"segment": "old"}, "after": {"segment": "new"}}]});
    let receipt = serde_json::json!({"receipt": said.to_string(), "signature": "s"});
    let known: [u8; 32] =
        ring::digest::digest(&ring::digest::SHA256, receipt.to_string().as_bytes()).as_ref().try_into().expect("32");
    let published = |segment: &str| Event::SegmentPublished {
        shard: ShardId(1),
        manifest: 1,
        segment: segment.into(),
        records: 1,
        bytes: ByteCount(1),
        sha256: [0; 32],
        places: None,
    };
    let purged = |receipt: [u8; 32]| Event::Purged { erasure: "e".into(), segments: 1, removed: 1, receipt };
    let order = |receipt: [u8; 32]| {
        let erasure: Box<str> = "e".into();
        [
            Event::ErasureRequested { erasure: erasure.clone(), commitment: [0; 32] },
            Event::Shredded { erasure, hidden: 1, originals: 1 },
            purged(receipt),
        ]
    };
    for (before, receipt_of_ledger, after, wanted) in [
        (vec![published("old"), published("new")], known, vec![published("other")], None),
        (vec![published("old")], known, vec![published("new")], None),
        (
            vec![published("old")],
            known,
            vec![published("old")],
            Some("segment old, which was made anew for it, is there again by entry 5"),
        ),
        (vec![published("old")], [7; 32], vec![], Some("its receipt is not the one")),
        // The purge was done again, for its first receipt could not be put away.
        (vec![], [7; 32], vec![published("old"), purged(known), published("new")], None),
        (
            vec![],
            [7; 32],
            vec![published("old"), purged(known), published("old")],
            Some("segment old, which was made anew for it, is there again by entry 6"),
        ),
    ] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        let events = [before, order(receipt_of_ledger).to_vec(), after].concat();
        for (number, event) in (1..).zip(events) {
            outcome.homes[0].tally.take(number, &Entry::specimen(Timestamp(SECOND), None, event));
        }
        let erasure = serde_json::json!({"id": "e", "state": "gone", "ordered_at": SECOND, "shredded_at": SECOND, "records_hidden": 1,
            "originals_destroyed": 1, "receipt": receipt});
        outcome.homes[0].statement.erasures.push(serde_json::from_value(erasure).expect("an order"));
        outcome.clocks(&request());
        let found: Vec<&str> = outcome.problems.iter().map(|problem| problem.why.as_str()).collect();
        match wanted {
            None => assert_eq!(found, [""; 0]),
            Some(wanted) => assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}"),
        }
    }
}

#[test]
fn a_pack_of_another_format_is_refused_and_one_by_another_program_is_checked_as_every_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let asked = |more: &[(&str, Option<serde_json::Value>)]| {
        let mut said = serde_json::to_value(request()).expect("plain");
        let fields = said.as_object_mut().expect("fields");
        for (name, value) in more {
            match value {
                Some(value) => drop(fields.insert((*name).to_owned(), value.clone())),
                None => drop(fields.remove(*name)),
            }
        }
        std::fs::write(dir.path().join(REQUEST), said.to_string()).expect("written");
        let mut outcome = Outcome::default();
        let is_ours = outcome.asked(dir.path());
        assert_eq!(is_ours, outcome.request.is_some() && outcome.is_sound());
        outcome
    };
    for other in [None, Some(1.into()), Some((FORMAT + 1).into())] {
        let refused = asked(&[("format", other), ("tool", Some("domicile 9.9.9".into())), ("begun_at", None)]);
        let [problem] = &refused.problems[..] else { panic!("{:?}", refused.problems) };
        assert!(problem.point == 0 && problem.why.contains("`domicile 9.9.9`"), "{problem}");
        assert!(problem.why.contains("check it with the program that made it"), "{problem}");
    }
    assert!(!asked(&[("begun_at", None)]).is_sound(), "a request of this format has every field");
    // Whichever program it names, the report and the evidence are held against what this one makes.
    let mut outcome = asked(&[("tool", Some("another".into()))]);
    let rules = Rules { k: 50, ..Rules::DEFAULT };
    let run = Rehearsed { rules, streams: vec!["tokyo/shop".to_owned()], attacks: Vec::new() };
    let (tool, program_sha256) = ("another".to_owned(), String::new());
    outcome.evidence =
        Some(Evidence { version: 1, tool, program_sha256, seed: 1, runs: vec![run], left_out: Vec::new() });
    outcome.homes.push(home("tokyo", "APPI"));
    outcome.evidence_fits();
    outcome.follows(dir.path(), &outcome.request.clone().expect("read"));
    let places: Vec<&str> = outcome.problems.iter().map(|problem| problem.place.as_str()).collect();
    assert!(places.contains(&ATTACKS) && places.contains(&"report.json"), "{places:?}");
}

#[test]
fn a_segment_out_of_what_was_gone_fails_and_names_its_entry() {
    let came = |manifest: u64, segment: &str, places: [u64; 2]| Event::SegmentPublished {
        shard: ShardId(1),
        manifest,
        segment: segment.into(),
        records: 1 + places[1] - places[0],
        bytes: ByteCount(1),
        sha256: [0; 32],
        places: Some(places),
    };
    let due =
        Event::RetentionBegun { deletion: "d".into(), tenant: TenantId(1), segments: 1, records: 5, plan: [0; 32] };
    let gone = Event::SegmentDeleted { shard: ShardId(1), manifest: 3, segment: "a".into() };
    let honest = vec![came(1, "a", [1, 5]), came(2, "b", [6, 9]), due, gone];
    for (events, wanted) in [(honest.clone(), vec![]), ([honest, vec![came(4, "again", [2, 5])]].concat(), vec![9])] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        for (number, event) in (1..).zip(events) {
            outcome.homes[0].tally.take(number, &Entry::specimen(Timestamp(SECOND), None, event));
        }
        outcome.lineage(&request());
        assert_eq!(points(&outcome), wanted, "{:?}", outcome.problems);
        if let [problem] = &outcome.problems[..] {
            assert_eq!(problem.place, "ledger.domicile/tokyo/1, entry 5");
            assert!(problem.why.ends_with("where nothing lay any more"), "{problem}");
        } else {
            let told = outcome.concluded(&Trust::default(), None).points[9].why.clone();
            assert!(told.ends_with("0 orders; 2 segments, each of what lay there until then"), "{told}");
        }
    }
}

#[test]
fn a_finding_stands_under_the_check_that_it_is_about() {
    for (about, name) in [
        (About::Gap, "no entry of the tenant is withheld"),
        (About::Clock, "erasures within their clocks, and no segment out of what was gone"),
        (About::End, "the root follows from every entry and tile"),
    ] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        outcome.homes[0].findings.push(Finding::new(about, "entry 4: something".to_owned()));
        outcome.findings();
        let outcome = outcome.concluded(&Trust::default(), None);
        let failed = outcome.points.iter().filter(|point| point.verdict == Verdict::Fails);
        let failed: Vec<(&str, &str)> = failed.map(|point| (point.name, point.why.as_str())).collect();
        assert_eq!(failed, [(name, "`ledger.domicile/tokyo/1`: entry 4: something")], "{about:?}");
    }
}

#[test]
fn the_officers_whom_nodes_honour_are_told_and_held_against_what_the_reader_brought() {
    let key = |digits: &str| OfficerPublic::try_from(digits.repeat(32)).expect("a key");
    let given = |texts: &[String]| Trust { officers: Officers::read(texts).expect("keys"), ..Trust::default() };
    let (right, other) = (format!("tokyo={}", "aa".repeat(32)), format!("tokyo={}", "bb".repeat(32)));
    let elsewhere = format!("frankfurt={}", "aa".repeat(32));
    for (trust, wanted) in [
        (given(&[]), vec![]),
        (given(std::slice::from_ref(&right)), vec![]),
        (given(&[right.clone(), other.clone()]), vec![]),
        (given(&[other]), vec![1]),
        (given(&[right, elsewhere]), vec![1]),
    ] {
        let mut outcome = outcome(0, head_from("tokyo", 1));
        outcome.homes[0].officers.push((2, key("aa")));
        outcome.officers(&trust);
        assert_eq!(points(&outcome), wanted, "{:?}", trust.officers);
        let line = format!("officer of tokyo, by node 1 from entry 2 on: {}", "aa".repeat(32));
        assert!(outcome.officers.len() == 1 && outcome.officers[0].starts_with(&line), "{:?}", outcome.officers);
    }
}

const DAY: i64 = 86_400 * SECOND;

/// Two nodes of one region, both of them in every statement.
fn neighbours(request: &Request) -> Outcome {
    let mut homes = vec![home("tokyo", "APPI"), home("tokyo", "APPI")];
    homes[1].place = format!("tokyo{}2", super::super::files::BESIDE);
    homes[1].statement.node = 2;
    for home in &mut homes {
        let nodes = serde_json::json!([{"node": 1, "region": "tokyo"}, {"node": 2, "region": "tokyo"}]);
        home.statement.nodes = serde_json::from_value(nodes).expect("nodes");
        home.statement.taken_at = request.made_at;
    }
    Outcome { request: Some(request.clone()), homes, ..Outcome::default() }
}

/// Forty days after the moment from which the times of these tests count.
fn much_later() -> Request {
    Request { begun_at: Timestamp(40 * DAY), made_at: Timestamp(40 * DAY + 60 * SECOND), ..request() }
}

fn asked(commitment: u8) -> Event {
    Event::ErasureRequested { erasure: "e".into(), commitment: [commitment; 32] }
}

fn hidden() -> Event {
    Event::Shredded { erasure: "e".into(), hidden: 1, originals: 1 }
}

fn refused() -> Event {
    Event::ErasureRefused { hold: "h".into(), commitment: [1; 32] }
}

fn gone() -> Event {
    let receipt = receipt(0).to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, receipt.as_bytes());
    Event::Purged { erasure: "e".into(), segments: 0, removed: 0, receipt: digest.as_ref().try_into().expect("32") }
}

/// Of a purge an hour and so many seconds after the order.
fn receipt(more: i64) -> serde_json::Value {
    serde_json::json!({"receipt": serde_json::json!({"purged_at": (3_600 + more) * SECOND, "segments": []}).to_string()})
}

/// These entries, each at its second, in the ledger of a node.
fn enter(outcome: &mut Outcome, place: usize, entries: &[(i64, Event)]) {
    for (number, (at, event)) in (1..).zip(entries) {
        outcome.homes[place].tally.take(number, &Entry::specimen(Timestamp(at * SECOND), None, event.clone()));
    }
}

/// The node states the order, given at one second and hidden at another.
fn state(outcome: &mut Outcome, place: usize, state: &str, ordered: i64, shredded: Option<i64>) {
    let receipt = (state == "gone").then(|| receipt(0));
    let erasure = serde_json::json!({"id": "e", "state": state, "ordered_at": ordered * SECOND,
        "shredded_at": shredded.map(|at| at * SECOND), "records_hidden": 1, "originals_destroyed": 1, "receipt": receipt});
    outcome.homes[place].statement.erasures.push(serde_json::from_value(erasure).expect("an order"));
}

/// What is to be looked at, and proves nothing.
fn is_doubtful(outcome: Outcome) -> bool {
    let point = outcome.concluded(&Trust::default(), None).points[9].clone();
    assert_eq!(point.verdict, Verdict::Holds, "{}", point.why);
    point.why.contains("ATTENTION")
}

#[test]
fn an_erasure_is_held_to_the_first_word_of_its_region_and_to_the_entries_of_its_node() {
    let (hour, request) = (3_600_i64, much_later());
    for (why, entries, ordered, shredded, wanted) in [
        ("in time", vec![(1, asked(1)), (2, hidden())], 0, 2, vec![]),
        ("taken late, and stated as in time", vec![(5 * hour, asked(1)), (5 * hour, hidden())], 0, 10, vec![9, 9]),
        (
            "taken late, and said to be ordered late",
            vec![(5 * hour, asked(1)), (5 * hour, hidden())],
            5 * hour,
            5 * hour,
            vec![9],
        ),
        ("in time, and stated otherwise", vec![(1, asked(1)), (2, hidden())], 0, 50, vec![9]),
        ("a minute of its clock before", vec![(-60, asked(1)), (-59, hidden())], 0, -59, vec![]),
        (
            "a crash before it was on record",
            vec![(1, asked(1)), (2, hidden()), (300, asked(1)), (301, hidden())],
            0,
            301,
            vec![],
        ),
        (
            "on record by the first of both",
            vec![(1, asked(1)), (2, hidden()), (300, asked(1)), (301, hidden())],
            0,
            2,
            vec![],
        ),
    ] {
        let mut outcome = neighbours(&request);
        enter(&mut outcome, 0, &[(0, asked(1)), (1, hidden()), (hour, gone())]);
        state(&mut outcome, 0, "gone", 0, Some(1));
        let done = entries.last().map_or(0, |(at, _): &(i64, Event)| *at).max(hour);
        enter(&mut outcome, 1, &[entries, vec![(done, gone())]].concat());
        state(&mut outcome, 1, "gone", ordered, Some(shredded));
        let receipt = receipt(done - hour);
        outcome.homes[1].statement.erasures[0].receipt = Some(receipt);
        outcome.homes[1].tally.receipts.clear();
        outcome.clocks(&request);
        assert_eq!(points(&outcome), wanted, "{why}: {:?}", outcome.problems);
    }
}

#[test]
fn what_was_made_anew_too_late_stays_late_and_its_receipt_has_the_time_of_the_entry() {
    let (day, hour, request) = (86_400_i64, 3_600_i64, much_later());
    let started = || Event::NodeStarted { node: NodeId(1), binary: [0; 32], config: [0; 32], sbom: None };
    let policy = || Event::PolicyChanged { version: PolicyVersion(0), streams: 1, approved_values: 1, ordered: true };
    for (came, purged, stated, wanted) in [
        (None, hour, hour, vec![]),
        (None, 7 * day, 7 * day, vec![]),
        (None, 30 * day, 30 * day, vec![9]),
        (None, 30 * day, hour, vec![9, 9]),
        (None, hour, 2 * hour, vec![9]),
        (Some(20 * day), 21 * day, 21 * day, vec![]),
        (Some(20 * day), 21 * day + 1, 21 * day + 1, vec![9]),
    ] {
        let mut outcome = neighbours(&request);
        outcome.homes.truncate(1);
        let at = came.unwrap_or(1);
        let came = came.map_or_else(Vec::new, |came| vec![(came, started()), (came, policy())]);
        enter(&mut outcome, 0, &[came, vec![(at, asked(1)), (at, hidden()), (purged, gone())]].concat());
        state(&mut outcome, 0, "gone", 0, Some(at));
        outcome.homes[0].statement.erasures[0].receipt = Some(receipt(stated - hour));
        outcome.homes[0].tally.receipts.clear();
        outcome.clocks(&request);
        assert_eq!(points(&outcome), wanted, "{at} {purged} {stated}: {:?}", outcome.problems);
    }
}

#[test]
fn an_order_is_at_every_node_of_its_region_that_was_there() {
    let (day, request) = (86_400_i64, much_later());
    let begun = 40 * day;
    let came = |at: i64| {
        let started = Event::NodeStarted { node: NodeId(2), binary: [0; 32], config: [0; 32], sbom: None };
        let policy = Event::PolicyChanged { version: PolicyVersion(0), streams: 1, approved_values: 1, ordered: true };
        vec![(at, started), (at, policy)]
    };
    for (why, ordered, entries, wanted) in [
        ("it was there, and has neither", 0, vec![], vec![9]),
        ("it came later, and has neither", 0, came(day), vec![9]),
        ("it came a minute before the pack", 0, came(begun - 60), vec![9]),
        ("it came with the pack", 0, came(begun - 59), vec![]),
        ("the order was over when it came", -396 * day, came(day), vec![]),
        ("the order was nearly over when it came", -390 * day, came(day), vec![9]),
        ("a minute before the pack", begun - 60, vec![], vec![9]),
        ("on its way", begun - 59, vec![], vec![]),
        ("by its ledger", 0, vec![(1, asked(1)), (2, hidden())], vec![]),
    ] {
        let mut outcome = neighbours(&request);
        enter(&mut outcome, 0, &[(ordered, asked(1)), (ordered, hidden()), (ordered + 3_600, gone())]);
        state(&mut outcome, 0, "gone", ordered, Some(ordered));
        outcome.homes[0].statement.erasures[0].receipt = Some(receipt(ordered));
        outcome.homes[0].tally.receipts.clear();
        enter(&mut outcome, 1, &entries);
        let lacking: Vec<String> = Orders::of(&outcome.homes).lacking(&request).iter().map(|one| one.words()).collect();
        let is_named =
            lacking.iter().all(|words| words.contains("and node 2 neither states it nor has an entry about it"));
        assert!(lacking.len() == wanted.len() && is_named, "{why}: {lacking:?}");
        outcome.clocks(&request);
        let place = format!("{REGIONS}/{}/statement.json, erasure e", outcome.homes[1].place);
        let found = outcome.problems.iter().filter(|one| one.place == place && one.why.contains("neither"));
        assert_eq!(found.map(|one| one.point).collect::<Vec<u8>>(), wanted, "{why}: {:?}", outcome.problems);
    }
}

#[test]
fn what_a_hold_other_keys_or_a_node_that_left_explains_is_to_be_looked_at_and_no_offence() {
    let (day, request) = (86_400_i64, much_later());
    for (why, entries, is_stated, is_member, wanted) in [
        ("told in time", vec![(1, asked(1)), (2, hidden())], true, true, false),
        ("held still", vec![(1, refused())], false, true, true),
        ("released", vec![(1, refused()), (9 * day, asked(1)), (9 * day, hidden())], true, true, true),
        ("other keys", vec![(3 * day, asked(2)), (3 * day, hidden())], true, true, true),
        ("taken out", vec![], false, false, true),
    ] {
        let mut outcome = neighbours(&request);
        enter(&mut outcome, 0, &[(0, asked(1)), (1, hidden()), (3_600, gone())]);
        state(&mut outcome, 0, "gone", 0, Some(1));
        let shredded = entries.last().map_or(0, |(at, _): &(i64, Event)| *at);
        let is_anew = entries.first().is_some_and(|(_, event)| *event == asked(2));
        let purged = vec![(shredded + 3_600, gone())];
        let entries = if is_stated { [entries, purged].concat() } else { entries };
        enter(&mut outcome, 1, &entries);
        if is_stated {
            state(&mut outcome, 1, "gone", if is_anew { shredded } else { 0 }, Some(shredded));
            outcome.homes[1].statement.erasures[0].receipt = Some(receipt(shredded));
            outcome.homes[1].tally.receipts.clear();
        }
        for home in &mut outcome.homes {
            home.statement.nodes.truncate(if is_member { 2 } else { 1 });
        }
        outcome.clocks(&request);
        assert_eq!(points(&outcome), [0; 0], "{why}: {:?}", outcome.problems);
        assert_eq!(is_doubtful(outcome), wanted, "{why}");
    }
    // A hold against one order excuses nothing about another one.
    let mut outcome = neighbours(&request);
    enter(&mut outcome, 0, &[(0, asked(2)), (1, hidden())]);
    state(&mut outcome, 0, "shredded", 0, Some(1));
    enter(&mut outcome, 1, &[(1, refused())]);
    outcome.clocks(&request);
    assert!(outcome.problems.iter().any(|one| one.why.contains("neither")), "{:?}", outcome.problems);
}

/// The report of one node with nothing in it, and what stands beside it: another outcome than this is another format. Raise `FORMAT` then;
/// where no release has this one yet, write the new digest here.
#[test]
fn a_format_is_one_report_and_one_list_of_attacks() {
    let homes = [home("tokyo", "APPI")];
    let files = derived(&compose(&request(), &homes, None)).expect("written");
    let attacks = super::super::super::rehearsal::listed();
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "report.pdf" && *name != "report.html") {
        digest.update(name.as_bytes());
        digest.update(bytes);
    }
    digest.update(format!("{attacks:?}").as_bytes());
    let found = hex::encode(digest.finish());
    assert_eq!((FORMAT, found.as_str()), (3, "2d62470835c75927f6ff83d082c2f638d5013412439c8319f2f0d98f7ec29649"));
}
