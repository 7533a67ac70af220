//! A route without a legal basis carries nothing: one is closed while questions flow, and opened again by its officer alone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domicile_tests::cluster::fixture::{DAY_MS, bulk, events, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

const STREAM: &str = "orders";
const LONG: Duration = Duration::from_secs(60);
/// Answers on each way before the route is closed and after.
const ANSWERS: usize = 20;

/// One answer: when it was begun and had, and what was said of the region in question.
struct Asked {
    begun: Instant,
    had: Instant,
    standing: String,
    reason: String,
}

fn ask(region: &Region, of: &str) -> Asked {
    let body =
        json!({"stream": STREAM, "ask": "count", "regions": [of], "from": utc(DAY_MS), "to": utc(DAY_MS + 3_600_000)});
    let begun = Instant::now();
    let answer = region.api("search", "POST", "/api/v1/search", &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let said = answer["coverage"].get(of).cloned().unwrap_or_else(|| panic!("{of} is not named: {answer}"));
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    Asked { begun, had: Instant::now(), standing: text("status"), reason: text("reason") }
}

/// Asks without a pause until it is told to end.
fn ask_on(region: &Region, of: &str, goes_on: &AtomicBool, answers: &Mutex<Vec<Asked>>) {
    while goes_on.load(Ordering::SeqCst) {
        let asked = ask(region, of);
        answers.lock().unwrap().push(asked);
    }
}

fn status(region: &Region) -> Value {
    region.api("admin", "GET", "/api/v1/status", &Value::Null).unwrap().json()
}

/// The route as the region's own node says it.
fn route(region: &Region, to: &str) -> Value {
    let status = status(region);
    let rows = status["transfers"].as_array().cloned().unwrap_or_default();
    rows.into_iter().find(|row| row["to"] == to).unwrap_or_else(|| panic!("no route to {to}: {status}"))
}

fn fill(cluster: &Cluster) {
    for (seed, region) in (40..).zip(cluster.regions()) {
        let (events, _) = events(seed, 600, 3);
        assert_eq!(region.bulk(STREAM, &bulk(&events, None), &[]).unwrap().status, 200);
        region.refresh(STREAM);
    }
    for asking in cluster.regions() {
        for of in REGIONS.iter().filter(|of| **of != asking.name) {
            let is_told = || (ask(&asking, of).standing == "complete").then_some(());
            wait_until(LONG, is_told).unwrap_or_else(|| panic!("{} is never told of {of}", asking.name));
        }
    }
}

/// Entries of a region's ledger that say a route was in the way, of questions not sent and of questions not answered.
fn refusals(cluster: &Cluster, region: &str) -> (usize, usize) {
    let ledger = cluster.data().join("nodes").join(region).join("data/ledger");
    // The ledger grows while it is read.
    let ledger = ledger.display().to_string();
    let told = wait_until(LONG, || cluster.command(&["audit", "crossings", &ledger]).ok()).expect("a sound ledger");
    let of = |words: &str| told.lines().filter(|line| line.contains(words)).count();
    (of("was not sent"), of("refused"))
}

#[test]
fn a_closed_route_carries_nothing_from_the_moment_its_region_knows() {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    fill(&cluster);
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    assert_eq!(route(&tokyo, "frankfurt")["open"], true);
    assert_eq!(route(&tokyo, "frankfurt")["approved_by_officer"], false);

    let goes_on = AtomicBool::new(true);
    // Frankfurt asks Tokyo, whose answers would take the route; Tokyo asks Frankfurt, whose questions would.
    let (answers, questions) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let has = |answers: &Mutex<Vec<Asked>>, from: usize| answers.lock().unwrap().len() >= from + ANSWERS;
    let (mut committed, mut applied) = (Instant::now(), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| ask_on(&frankfurt, "tokyo", &goes_on, &answers));
        scope.spawn(|| ask_on(&tokyo, "frankfurt", &goes_on, &questions));
        wait_until(LONG, || (has(&answers, 0) && has(&questions, 0)).then_some(())).expect("questions flow");
        let heads = status(&frankfurt)["ledger"]["size"].as_u64();
        let closed = json!({"commands": [{"RevokeTransfer": {"from": "tokyo", "to": "frankfurt"}}]});
        let decided = tokyo.api("admin", "POST", "/api/v1/admin/commands", &closed).unwrap();
        committed = Instant::now();
        assert_eq!(decided.json()["applied"], json!(["Done"]), "{}", decided.text());
        wait_until(LONG, || (route(&tokyo, "frankfurt")["open"] == false).then_some(())).expect("honoured");
        applied = Instant::now();
        let (were, asked) = (answers.lock().unwrap().len(), questions.lock().unwrap().len());
        wait_until(LONG, || (has(&answers, were) && has(&questions, asked)).then_some(())).expect("questions go on");
        goes_on.store(false, Ordering::SeqCst);
        assert!(status(&frankfurt)["ledger"]["size"].as_u64() > heads, "the ledger grows");
    });
    for (way, all) in [("answers", answers.into_inner().unwrap()), ("questions", questions.into_inner().unwrap())] {
        let before = all.iter().filter(|one| one.standing == "complete").count();
        assert!(before >= ANSWERS, "{way}: {before} before the route was closed");
        let later: Vec<_> = all.iter().filter(|one| one.begun > applied).collect();
        assert!(later.len() >= ANSWERS / 2, "{way}: {} after it was", later.len());
        for one in &later {
            assert_eq!(one.standing, "refused", "{way}, begun {:?} after", one.begun - applied);
            assert!(one.reason.contains("no legal basis for this route"), "{}", one.reason);
        }
        let told = all.iter().filter(|one| one.standing == "complete").map(|one| one.had).max();
        let late = told.map_or(Duration::ZERO, |told| told.saturating_duration_since(committed));
        eprintln!("{way}: the last one that was whole was had {late:?} after the commit was told");
    }
    metadata_and_heads_go_on(&cluster);
    only_the_officer_opens_it_again(&cluster);
    let (not_sent, _) = refusals(&cluster, "tokyo");
    assert!(not_sent >= ANSWERS / 2, "{not_sent} questions are told of as not sent");
    // Frankfurt asks no more as soon as it knows as well that no answer would come; who knew first is a race.
    let ((_, refused), (not_asked, _)) = (refusals(&cluster, "tokyo"), refusals(&cluster, "frankfurt"));
    assert!(refused + not_asked >= ANSWERS / 2, "{refused} refused and {not_asked} not asked are told of");
}

/// The group decides, and other regions cosign Tokyo's ledger as it grows.
fn metadata_and_heads_go_on(cluster: &Cluster) {
    let tokyo = cluster.region("tokyo");
    cluster.command(&["tenant", "create", "after-the-route"]).unwrap();
    let cosigned = |of: &str| {
        let rows = status(&tokyo)["witnesses"].as_array().cloned().unwrap_or_default();
        let row = rows.into_iter().find(|row| row["name"].as_str().is_some_and(|name| name.contains(of)));
        row.and_then(|row| row["cosigned"].as_u64()).unwrap_or(0)
    };
    let size = status(&tokyo)["ledger"]["size"].as_u64().unwrap();
    let is_cosigned = || {
        // Each question that does not go out is one more entry to be cosigned.
        assert_eq!(ask(&tokyo, "frankfurt").standing, "refused");
        (cosigned("frankfurt") >= size).then_some(())
    };
    wait_until(LONG, is_cosigned).expect("Frankfurt cosigns what Tokyo's ledger says after the route was closed");
}

fn only_the_officer_opens_it_again(cluster: &Cluster) {
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    let listed = cluster.command(&["transfer", "list"]).unwrap();
    assert!(listed.contains("shut: closed"), "{listed}");
    let approve = |basis: &'static str, more: &[&str]| {
        let verb = ["transfer", "approve", "tokyo", "frankfurt", "--basis", basis, "--review-by", "2029-01-31"];
        cluster.command(&[&verb, more].concat())
    };
    let stranger = cluster.data().join("pki/frankfurt/officer.key").display().to_string();
    let refused = approve("adequacy", &["--officer-key", &stranger]).expect_err("another officer");
    assert!(refused.to_string().contains("officer"), "{refused:#}");
    let refused = approve("contract", &[]).expect_err("the file does not take it");
    assert!(refused.to_string().contains("does not take"), "{refused:#}");
    assert_eq!(ask(&frankfurt, "tokyo").standing, "refused");
    approve("adequacy", &[]).unwrap();
    let row = route(&tokyo, "frankfurt");
    assert_eq!((&row["open"], &row["approved_by_officer"]), (&json!(true), &json!(true)), "{row}");
    assert_eq!(row["review_by"], "2029-01-31");
    for (asking, of) in [(&frankfurt, "tokyo"), (&tokyo, "frankfurt")] {
        let is_told = || (ask(asking, of).standing == "complete").then_some(());
        wait_until(LONG, is_told).unwrap_or_else(|| panic!("{of} is told of again"));
    }
    cluster.command(&["transfer", "revoke", "tokyo", "frankfurt"]).unwrap();
    assert_eq!(route(&tokyo, "frankfurt")["shut"], "closed");
}

#[test]
fn a_region_that_does_not_hear_the_group_sends_nothing_out_and_goes_on_at_home() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    fill(&cluster);
    cluster.split().unwrap();
    let tokyo = cluster.region("tokyo");
    wait_until(LONG, || (ask(&tokyo, "frankfurt").standing == "complete").then_some(())).expect("whole");
    cluster.kill("singapore").unwrap();
    cluster.kill("frankfurt").unwrap();
    wait_until(LONG * 2, || (status(&tokyo)["answers_outward"] == false).then_some(())).expect("the lease ends");
    let before = refusals(&cluster, "tokyo").0;
    assert_eq!(ask(&tokyo, "frankfurt").standing, "unreachable");
    assert_eq!(ask(&tokyo, "tokyo").standing, "complete");
    let is_told = || (refusals(&cluster, "tokyo").0 > before).then_some(());
    wait_until(LONG, is_told).expect("the ledger says that the question was not sent");
    // The others are back: a majority is heard again.
    cluster.restart("singapore").unwrap();
    cluster.restart("frankfurt").unwrap();
    wait_until(LONG * 2, || (ask(&tokyo, "frankfurt").standing == "complete").then_some(())).expect("whole again");
}
