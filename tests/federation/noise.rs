//! Noise through public doors: turned on by a command, drawn once whatever is killed, paid for once, never told exactly when its
//! budget is spent, and turned off by the region's officer alone.

use std::thread;
use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, cell_counts, tables, visits};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

const STREAM: &str = "visits";
const HOURS: i64 = 24;
const PERSONS: i64 = 200;

/// Frankfurt's numbers of a day, asked in Tokyo: what Frankfurt says, without what differs by itself.
fn asked(asker: &Region, day: i64, ask: &Value) -> Value {
    let millis = |hours: i64| DAY_MS + hours * 3_600_000;
    let range = json!({"gte": millis(day * HOURS), "lt": millis((day + 1) * HOURS), "format": "epoch_millis"});
    let body = json!({"stream": STREAM, "regions": ["frankfurt"], "on_missing": "partial", "ask": ask,
        "filter": {"range": {"timestamp": range}}});
    let answer = asker.api("search", "POST", "/api/v1/search", &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let said = &answer["coverage"]["frankfurt"];
    json!({"result": answer["result"], "noise": said["noise"], "status": said["status"], "code": said["code"]})
}

/// Waits until Frankfurt answers, and tells what.
fn answered(asker: &Region, day: i64, ask: &Value) -> Value {
    let found = wait_until(READY_WITHIN, || {
        let said = asked(asker, day, ask);
        (said["status"] != "unreachable" && said["code"] != "Unavailable").then_some(said)
    });
    found.unwrap_or_else(|| panic!("no answer: {}", asked(asker, day, ask)))
}

fn noise(cluster: &Cluster, more: &[&str]) -> Result<String, String> {
    let command = [&["stream", "noise", STREAM, "--region", "frankfurt"][..], more].concat();
    cluster.command(&command).map_err(|error| format!("{error:#}"))
}

#[test]
fn noise_is_drawn_and_paid_for_once_though_the_node_is_killed_and_only_its_officer_turns_it_off() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let made = ["stream", "create", STREAM, "--tenant", "default", "--subject", "user", "--grid", "3600"];
    let fields = ["--group-field", "service", "--group-field", "zone", "--group-field", "rack"];
    let regions = ["--region", "tokyo", "--region", "singapore", "--region", "frankfurt"];
    cluster.command(&[&made[..], &fields, &regions].concat()).unwrap();
    noise(&cluster, &["--law", "gaussian"]).unwrap();
    cluster.split().unwrap();
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    for part in visits(-2 * HOURS..HOURS, PERSONS).chunks(2_400) {
        let answer = frankfurt.bulk(STREAM, &bulk(part, None), &[]).unwrap();
        assert!(answer.status == 200 && answer.json()["errors"] == json!(false), "{}", answer.text());
    }
    frankfurt.refresh(STREAM);
    let (tables, one_more) = tables();
    let first = wait_until(READY_WITHIN, || Some(asked(&tokyo, 0, &tables[0])).filter(|said| !said["noise"].is_null()));
    let first = first.unwrap_or_else(|| panic!("no noise: {}", asked(&tokyo, 0, &tables[0])));
    let exact = cell_counts(&first["result"]).iter().filter(|count| **count == u64::try_from(PERSONS).unwrap()).count();
    assert!(exact < 6, "most of 24 hours are told otherwise than they are: {first}");
    let second = answered(&tokyo, 0, &tables[1]);

    // Killed while it is asked for a third table: whatever it has said by then it says again.
    let asking = {
        let (tokyo, third) = (tokyo.clone(), tables[2].clone());
        thread::spawn(move || asked(&tokyo, 0, &third))
    };
    cluster.kill("frankfurt").unwrap();
    let during = asking.join().unwrap();
    cluster.restart("frankfurt").unwrap();
    assert_eq!(answered(&tokyo, 0, &tables[0]), first, "the same numbers");
    assert_eq!(answered(&tokyo, 0, &tables[1]), second, "of each table");
    let third = answered(&tokyo, 0, &tables[2]);
    assert!(!third["noise"].is_null(), "{third}");
    assert!(during["noise"].is_null() || during == third, "told once: {during}, then {third}");
    let fourth = answered(&tokyo, 0, &tables[3]);
    assert!(!fourth["noise"].is_null(), "what was begun when it was killed is paid for once: {fourth}");

    // The day is spent, and stays so whoever is killed; another day is not.
    let spent = |when: &str| {
        let said = answered(&tokyo, 0, &one_more);
        assert_eq!((&said["status"], &said["code"]), (&json!("refused"), &json!("NoiseSpent")), "{when}: {said}");
        assert!(cell_counts(&said["result"]).iter().all(|count| *count == 0), "{when}: {said}");
    };
    spent("before");
    cluster.kill("frankfurt").unwrap();
    cluster.restart("frankfurt").unwrap();
    spent("after kill -9");
    for (table, told) in tables.iter().zip([&first, &second, &third, &fourth]) {
        assert_eq!(&answered(&tokyo, 0, table), told, "{table}");
    }
    assert!(!answered(&tokyo, -1, &one_more)["noise"].is_null(), "another day has its own");

    // More noise needs no signature; less needs the officer's, and what was told stays as it was told.
    noise(&cluster, &["--law", "gaussian", "--epsilon", "0.5"]).unwrap();
    let nobody = cluster.data().join("no-such-key").display().to_string();
    for widening in [&["--law", "gaussian"][..], &["--off"]] {
        let refused = noise(&cluster, &[widening, &["--officer-key", &nobody]].concat());
        assert!(refused.is_err(), "{widening:?} is the officer's");
    }
    spent("while it is on");
    noise(&cluster, &["--off"]).unwrap();
    let people = u64::try_from(PERSONS).unwrap();
    let off = wait_until(Duration::from_secs(30), || {
        Some(answered(&tokyo, -2, &tables[0])).filter(|said| said["noise"].is_null() && said["status"] != "refused")
    });
    let off = off.expect("Frankfurt has heard it");
    assert!(cell_counts(&off["result"]).iter().all(|count| *count == people), "an officer has signed that: {off}");
    assert_eq!(answered(&tokyo, 0, &tables[0])["result"], first["result"], "what was drawn is drawn for ever");
    let never = answered(&tokyo, 0, &one_more);
    assert!(
        cell_counts(&never["result"]).iter().all(|count| *count == 0),
        "and nothing exact comes beside it: {never}"
    );
}
