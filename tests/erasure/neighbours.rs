//! Two nodes of one region, each with a stream of its own: an order given at one is carried out at both, whichever is killed or
//! away, and the region is never said to be further than its slowest node.

use std::time::{Duration, Instant};

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, http, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

const PERSONS: u64 = 5;
const EACH: u64 = 4;
const ALL: u64 = PERSONS * EACH;
/// What is promised for a region, with room for a machine that builds other things meanwhile.
const SHREDDED_WITHIN: Duration = Duration::from_secs(60);

fn events() -> Vec<Value> {
    let event = |n: u64| {
        json!({"timestamp": utc(DAY_MS + i64::try_from(n).unwrap() * 100), "level": "INFO",
            "uid": format!("u-{}", n % PERSONS), "message": format!("order {n}")})
    };
    (0..ALL).map(event).collect()
}

fn told(region: &Region, path: &str, body: &Value) -> Value {
    let method = if body.is_null() { "GET" } else { "POST" };
    let answer = region.api("admin", method, &format!("/api/v1/subjects/{path}"), body).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn erase(region: &Region, person: &str) -> (String, Value) {
    let order = told(region, "erase", &json!({"subject": person}));
    (order["id"].as_str().unwrap().to_owned(), order)
}

/// Waits until the region stands so.
fn until_stands(region: &Region, id: &str, wanted: &str) -> Value {
    let found = wait_until(SHREDDED_WITHIN, || {
        let stands = told(region, &format!("status?id={id}"), &Value::Null);
        (stands["state"] == wanted).then_some(stands)
    });
    found.unwrap_or_else(|| panic!("not {wanted}: {}", told(region, &format!("status?id={id}"), &Value::Null)))
}

/// Waits until a node shows so many records of a stream, and looks at every answer on the way: none may show more than `most`.
fn until_shows(region: &Region, stream: &str, (wanted, most): (u64, u64)) {
    let shown = wait_until(READY_WITHIN, || {
        let count = region.count(stream).ok()?;
        assert!(count <= most, "{stream} shows {count}, at most {most} may be seen");
        (count == wanted).then_some(())
    });
    shown.unwrap_or_else(|| panic!("{stream}: {:?}", region.count(stream)));
}

/// One order after another, each until both nodes have shredded it; how many. `DOMICILE_SUBJECTS` says so, else a few.
fn many(tokyo: &Region, second: &Region) -> u64 {
    let persons: u64 = std::env::var("DOMICILE_SUBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let event = |n: u64| {
        json!({"timestamp": utc(DAY_MS + i64::try_from(n).unwrap()), "level": "INFO",
            "uid": format!("m-{}", n % persons), "message": format!("part {n}")})
    };
    let body = bulk(&(0..persons * EACH).map(event).collect::<Vec<_>>(), None);
    for (region, stream) in [(tokyo, "first"), (second, "second")] {
        assert_eq!(region.bulk(stream, &body, &[]).unwrap().status, 200);
        region.refresh(stream);
    }
    let mut took = Vec::new();
    for person in 0..persons {
        let begun = Instant::now();
        let (id, order) = erase(tokyo, &format!("m-{person}"));
        if order["state"] != "shredded" {
            until_stands(tokyo, &id, "shredded");
        }
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    eprintln!("{persons} orders, shredded at both nodes: p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
    persons
}

/// Everything about a person, from either node and behind a link of either: what both hold.
fn exported_at_either(tokyo: &Region, second: &Region) {
    let export = |region: &Region, body: &Value| {
        let answer = region.api("admin", "POST", "/api/v1/subjects/export", body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    };
    let whole = export(tokyo, &json!({"subject": "u-4"})).text().to_owned();
    assert_eq!(whole.lines().count() as u64, 2 * EACH, "{whole}");
    for stream in ["first", "second"] {
        assert_eq!(whole.matches(&format!("\"stream\":\"{stream}\"")).count() as u64, EACH, "{whole}");
    }
    assert_eq!(export(second, &json!({"subject": "u-4"})).text(), whole, "the same, whichever is asked");
    assert!(export(second, &json!({"subject": "nobody"})).text().is_empty());
    let wanted = json!({"subject": "u-4", "streams": ["second"], "values": ["u-4"]});
    let own = tokyo.api("cleared", "POST", "/api/v1/subjects/export", &wanted).unwrap();
    assert_eq!(own.text().matches("\"uid\":\"u-4\"").count() as u64, EACH, "their own value: {}", own.text());
    let link = export(second, &json!({"subject": "u-4", "link_hours": 1})).json();
    assert_eq!(link["records"], json!(2 * EACH), "{link}");
    let opened = http::request("GET", &format!("{}{}", second.doors.api, link["path"].as_str().unwrap()), &[], b"");
    assert_eq!(opened.unwrap().text(), whole);
}

#[test]
fn an_order_at_one_node_is_carried_out_at_the_other_whoever_is_killed_or_away() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    for stream in ["first", "second"] {
        let made = ["stream", "create", stream, "--tenant", "default", "--subject", "uid", "--region", "tokyo"];
        cluster.command(&made).unwrap();
    }
    let key =
        ["key", "create", "cleared", "--tenant", "default", "--role", "admin", "--rows", "full", "--region", "tokyo"];
    let key = cluster.command(&key).unwrap().trim().to_owned();
    let node = Second::beside(&mut cluster, |_, _| Ok(())).unwrap();
    node.join(&mut cluster).unwrap();
    let (mut tokyo, second) = (cluster.region("tokyo"), node.region(&cluster));
    tokyo.keys.insert("cleared".to_owned(), key);
    let body = bulk(&events(), None);
    assert_eq!(tokyo.bulk("first", &body, &[]).unwrap().status, 200);
    let taken = wait_until(READY_WITHIN, || {
        let answer = second.bulk("second", &body, &[]).ok()?;
        (answer.status == 200 && answer.json()["errors"] == json!(false)).then_some(())
    });
    taken.expect("the second node takes records");
    tokyo.refresh("first");
    second.refresh("second");
    assert_eq!((tokyo.count("first").unwrap(), second.count("second").unwrap()), (ALL, ALL));

    exported_at_either(&tokyo, &second);

    // Given at one, shredded at both, gone when both are.
    let (id, _) = erase(&tokyo, "u-1");
    let stands = until_stands(&tokyo, &id, "shredded");
    assert_eq!(stands["nodes"].as_array().unwrap().len(), 2, "{stands}");
    assert_eq!((tokyo.count("first").unwrap(), second.count("second").unwrap()), (ALL - EACH, ALL - EACH));
    for region in [&tokyo, &second] {
        let stands = told(region, &format!("status?id={id}"), &Value::Null);
        assert_eq!(stands["records_hidden"], json!(2 * EACH), "of both nodes, whichever is asked: {stands}");
    }
    let purged = told(&second, "purge", &json!({}));
    assert_eq!((&purged["begun_at"], &purged["not_begun_at"]), (&json!([1]), &json!([])), "{purged}");
    let receipt = |region: &Region| {
        let found = wait_until(SHREDDED_WITHIN, || {
            let stands = told(region, &format!("status?id={id}"), &Value::Null);
            stands["region_receipt"]["signature"].is_string().then_some(stands)
        });
        found.expect("a receipt for the region")
    };
    assert_eq!(receipt(&tokyo)["state"], json!("gone"));
    assert_eq!(receipt(&second)["state"], json!("gone"), "whichever node is asked");

    let many = many(&tokyo, &second);
    assert_eq!((tokyo.count("first").unwrap(), second.count("second").unwrap()), (ALL - EACH, ALL - EACH));

    // Killed when the order comes: it is named, and shows nothing of the person when it is back.
    cluster.kill(SECOND).unwrap();
    let (id, order) = erase(&tokyo, "u-2");
    assert_eq!((order["state"].as_str(), &order["not_shredded_at"]), (Some("ordered"), &json!([4])), "{order}");
    assert_eq!(tokyo.count("first").unwrap(), ALL - 2 * EACH);
    let stands = told(&tokyo, &format!("status?id={id}"), &Value::Null);
    let lost = &stands["nodes"][1];
    assert!(lost["node"] == 4 && lost["silent_for_seconds"].is_u64(), "{stands}");
    assert!(lost["what_to_do"].as_str().unwrap().contains("domicile node remove --node 4"), "{stands}");
    let export = tokyo.api("admin", "POST", "/api/v1/subjects/export", &json!({"subject": "u-4"})).unwrap();
    assert!(
        export.status == 503 && export.text().contains("DMC-ERASE-20"),
        "half of it is no answer: {}",
        export.text()
    );
    cluster.launch(SECOND).unwrap();
    until_shows(&second, "second", (ALL - 2 * EACH, ALL - 2 * EACH));
    until_stands(&tokyo, &id, "shredded");

    // Away while the order was given, and the one that took it is away when it comes back: it waits for that one, whatever the
    // group knows.
    cluster.kill(SECOND).unwrap();
    let (id, _) = erase(&tokyo, "u-3");
    let singapore = cluster.region("singapore");
    let row = wait_until(SHREDDED_WITHIN, || {
        let status = singapore.api("admin", "GET", "/api/v1/status", &Value::Null).ok()?.json();
        (status["erasures"]["tokyo"] == json!(3 + many)).then_some(status)
    });
    let row = row.expect("the group knows that there is an order");
    assert!(!row.to_string().contains("u-3"), "and not whom it means");
    cluster.kill("tokyo").unwrap();
    cluster.launch(SECOND).unwrap();
    let refused = wait_until(READY_WITHIN, || {
        let answer = second.es("search", "POST", "/second/_count", &json!({"query": {"match_all": {}}})).ok()?;
        assert_ne!(answer.status, 200, "it shows nothing before it knows whom: {}", answer.text());
        answer.text().contains("DMC-ERASE-09").then_some(())
    });
    refused.expect("it has not heard of everything");
    assert!(!second.is_ready());
    let named = told(&second, "status", &Value::Null)["silent_nodes"].clone();
    assert_eq!((&named[0]["node"], &named[0]["keeps_answers_back"]), (&json!(1), &json!(true)), "{named}");
    assert_eq!(named[0]["keeps_new_orders_back"], json!(true), "{named}");
    assert_eq!(second.bulk("second", &body, &[]).unwrap().status, 200, "records are taken all the while");
    cluster.restart("tokyo").unwrap();
    let tokyo = cluster.region("tokyo");
    until_shows(&second, "second", (2 * (ALL - 3 * EACH), 2 * (ALL - 3 * EACH)));
    until_stands(&tokyo, &id, "shredded");
    until_stands(&second, &id, "shredded");
}
