//! One person among many, asked for at every door of the region and from abroad.

use std::path::Path;
use std::time::{Duration, Instant};

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, http, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

const STREAM: &str = "people";
const PERSONS: u64 = 20;
const EACH: u64 = 10;
/// The one who is erased: their records, and one of somebody else that names them.
const ERASED: &str = "u-7";
const ADDRESS: &str = "erika.mustermann@example.org";
/// Stands in the free text of every record of theirs, where no detector knows it.
const CANARY: &str = "hrqwzkvbnplmxctyfd";

fn events() -> Vec<Value> {
    let mut events = Vec::new();
    for n in 0..PERSONS * EACH {
        let uid = format!("u-{}", n % PERSONS);
        let mut event = json!({"timestamp": utc(DAY_MS + i64::try_from(n).unwrap() * 100), "level": "INFO", "uid": uid,
            "message": format!("order {n} of {uid}")});
        if uid == ERASED {
            event["contact"] = json!(ADDRESS);
            event["message"] = json!(format!("order {n} with {CANARY}"));
        }
        events.push(event);
    }
    events.push(json!({"timestamp": utc(DAY_MS + 50_000), "level": "WARN", "uid": "u-8",
        "message": format!("gift for {ADDRESS}")}));
    events
}

const ALL: u64 = PERSONS * EACH + 1;
const LEFT: u64 = ALL - EACH - 1;

/// How many records each door shows: of the person, and in all.
fn doors(region: &Region) -> Vec<(&'static str, u64, u64)> {
    let person = json!({"bool": {"minimum_should_match": 1, "should": [
        {"term": {"uid": ERASED}}, {"match_phrase": {"message": ADDRESS}}, {"term": {"contact": ADDRESS}}]}});
    let all = json!({"match_all": {}});
    let es = |path: &str, body: &Value| {
        let answer = region.es("full", "POST", path, body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    let count = |query: &Value| es(&format!("/{STREAM}/_count"), &json!({"query": query}))["count"].as_u64().unwrap();
    let hits = |query: &Value| {
        let body = json!({"size": 1000, "track_total_hits": true, "query": query});
        let found = es(&format!("/{STREAM}/_search"), &body);
        let rows = found["hits"]["hits"].as_array().unwrap().len() as u64;
        assert_eq!(found["hits"]["total"]["value"].as_u64().unwrap(), rows);
        rows
    };
    let paged = |query: &Value| {
        let (mut after, mut rows) = (Value::Null, 0);
        loop {
            let mut body = json!({"size": 7, "query": query, "sort": [{"timestamp": "asc"}]});
            if !after.is_null() {
                body["search_after"] = after.clone();
            }
            let found = es(&format!("/{STREAM}/_search"), &body);
            let page = found["hits"]["hits"].as_array().unwrap().clone();
            let Some(last) = page.last() else { return rows };
            rows += page.len() as u64;
            after = last["sort"].clone();
        }
    };
    let bucket = |query: &Value| {
        let aggs = json!({"ids": {"terms": {"field": "uid", "size": 100}}, "when": {"date_histogram": {"field": "timestamp", "fixed_interval": "1s"}}});
        let found = es(&format!("/{STREAM}/_search"), &json!({"size": 0, "query": query, "aggs": aggs}));
        let sum = |name: &str| {
            let buckets = found["aggregations"][name]["buckets"].as_array().unwrap();
            buckets.iter().map(|bucket| bucket["doc_count"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!(sum("ids"), sum("when"));
        sum("ids")
    };
    vec![
        ("count", count(&person), count(&all)),
        ("hits", hits(&person), hits(&all)),
        ("pages", paged(&person), paged(&all)),
        ("buckets", bucket(&person), bucket(&all)),
    ]
}

fn told(region: &Region, path: &str, body: &Value) -> (u16, Value) {
    let method = if body.is_null() { "GET" } else { "POST" };
    let answer = region.api("admin", method, &format!("/api/v1/subjects/{path}"), body).unwrap();
    (answer.status, answer.json())
}

/// Whether a text stands in a file that is stored as it is.
fn stands_below(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let has = |bytes: Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        if path.is_dir() { stands_below(&path, text) } else { std::fs::read(&path).is_ok_and(has) }
    })
}

/// Decodes every file of every node and looks for the planted text.
fn scan(cluster: &Cluster) -> Result<String, String> {
    let planted = cluster.data().parent().unwrap().join(format!("planted-{}", std::process::id()));
    std::fs::write(&planted, CANARY).unwrap();
    let scanned = cluster.command(&[
        "audit",
        "scan",
        &cluster.data().display().to_string(),
        "--canary",
        &planted.display().to_string(),
    ]);
    std::fs::remove_file(planted).unwrap();
    scanned.map_err(|error| format!("{error:#}"))
}

#[test]
fn an_erased_person_is_found_at_no_door_and_everybody_else_at_all_of_them() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let made = ["stream", "create", STREAM, "--tenant", "default", "--subject", "uid", "--region", "tokyo"];
    cluster.command(&[&made[..], &["--retention-days", "90"]].concat()).unwrap();
    let key = ["key", "create", "full", "--tenant", "default", "--role", "search", "--role", "admin"];
    let key = cluster.command(&[&key[..], &["--rows", "full", "--region", "tokyo"]].concat()).unwrap();
    let key = key.trim().to_owned();
    cluster.split().unwrap();
    // The key with which the person can be looked for by value.
    let with_key = |cluster: &Cluster| {
        let mut region = cluster.region("tokyo");
        region.keys.insert("full".to_owned(), key.clone());
        region
    };
    let tokyo = with_key(&cluster);
    let body = bulk(&events(), None);
    assert_eq!(tokyo.bulk(STREAM, &body, &[]).unwrap().status, 200);
    tokyo.refresh(STREAM);
    for (door, person, all) in doors(&tokyo) {
        assert_eq!((person, all), (EACH + 1, ALL), "{door}, before");
    }
    let seen = scan(&cluster).expect_err("the scanner sees what is there");
    assert!(!seen.to_string().contains("\n0 files hold"), "{seen}");
    let retention = |verb: &str| cluster.command(&["retention", verb, "--region", "tokyo"]).unwrap();
    assert!(retention("plan").contains("\"retention_days\": 90"));
    assert!(retention("run").contains("\"deletions\": []") && retention("status").trim() == "[]");
    assert!(
        told(&tokyo, "erase", &json!({"subject": "nobody-here"})).0 == 200,
        "an order for nobody's records is one too"
    );
    let exported = tokyo.api("admin", "POST", "/api/v1/subjects/export", &json!({"subject": ERASED})).unwrap();
    assert_eq!((exported.status, exported.text().lines().count() as u64), (200, EACH));
    assert!(!exported.text().contains(ADDRESS));
    let named = json!({"subject": ERASED, "values": [ADDRESS]});
    let refused = tokyo.api("admin", "POST", "/api/v1/subjects/export", &named).unwrap();
    assert!(refused.status == 403 && refused.text().contains("DMC-PRESENT-17"), "its rows are redacted");
    let exported = tokyo.api("full", "POST", "/api/v1/subjects/export", &named).unwrap();
    assert_eq!(exported.text().matches(ADDRESS).count() as u64, EACH);
    // No detector knows this value, and the declared subject holds a token of it all the same.
    let exported = tokyo.api("full", "POST", "/api/v1/subjects/export", &json!({"value": "u-9"})).unwrap();
    assert_eq!(exported.text().matches("\"uid\":\"u-9\"").count() as u64, EACH, "{}", exported.status);
    let export = ["subject", "export", "--subject", ERASED, "--link", "2", "--region", "tokyo"];
    let link = cluster.command(&export).unwrap().trim().to_owned();
    let opened = http::request("GET", &link, &[], b"").unwrap();
    assert_eq!((opened.status, opened.text().lines().count() as u64), (200, EACH), "{}", opened.text());
    let wanted = json!({"subject": ERASED, "values": [ADDRESS], "link_hours": 2});
    let kept = tokyo.api("full", "POST", "/api/v1/subjects/export", &wanted).unwrap().json();
    let link = format!("{}{}", tokyo.doors.api, kept["path"].as_str().unwrap());
    let opened = http::request("GET", &link, &[], b"").unwrap();
    assert_eq!((opened.status, opened.text().matches(ADDRESS).count() as u64), (200, EACH), "{}", opened.text());
    let refused = tokyo.api("search", "POST", "/api/v1/subjects/erase", &named).unwrap();
    assert_eq!(refused.status, 403, "a searcher may not");

    let whom = json!({"subject": ERASED, "value": ADDRESS});
    let (_, hold) = told(&tokyo, "hold", &json!({"streams": [STREAM]}));
    let (status, refusal) = told(&tokyo, "erase", &whom);
    assert_eq!(status, 409, "{refusal}");
    assert!(refusal.to_string().contains("DMC-ERASE-02"));
    assert_eq!(told(&tokyo, "release", &hold).0, 200);

    let began = Instant::now();
    let (status, order) = told(&tokyo, "erase", &whom);
    eprintln!("shredded within {:?}", began.elapsed());
    assert_eq!((status, order["state"].as_str()), (200, Some("shredded")), "{order}");
    assert_eq!(order["records_hidden"], json!(EACH + 1));
    assert_eq!(http::request("GET", &link, &[], b"").unwrap().status, 404, "the link is taken back");
    let not_exported = |region: &Region, when: &str| {
        let exported = region.api("full", "POST", "/api/v1/subjects/export", &named).unwrap();
        let records = exported.text().lines().count();
        assert_eq!((exported.status, records), (200, 0), "an export made {when}: {}", exported.text());
    };
    let hidden = |region: &Region, when: &str| {
        for (door, person, all) in doors(region) {
            assert_eq!((person, all), (0, LEFT), "{door}, {when}");
        }
        not_exported(region, when);
    };
    hidden(&tokyo, "shredded");
    let frankfurt = cluster.region("frankfurt");
    let abroad = json!({"size": 0, "track_total_hits": true, "query": {"match_all": {}}});
    let total = frankfurt.federated(&["tokyo"], STREAM, &abroad)["hits"]["total"]["value"].as_u64();
    assert_eq!(total, Some(LEFT), "asked from abroad");

    cluster.kill("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    let tokyo = with_key(&cluster);
    // The log is read again behind open doors; at no moment does it show what was erased.
    let again = wait_until(Duration::from_secs(20), || {
        let count = tokyo.count(STREAM).ok()?;
        assert!(count <= LEFT, "{count} records are shown");
        (count == LEFT).then_some(())
    });
    again.expect("everybody else is back");
    hidden(&tokyo, "after kill -9");
    // Late duplicates are taken as always, and the person's are never seen.
    assert_eq!(tokyo.bulk(STREAM, &body, &[]).unwrap().json()["errors"], json!(false));
    tokyo.refresh(STREAM);
    for (door, person, all) in doors(&tokyo) {
        assert_eq!((person, all), (0, 2 * LEFT), "{door}, with duplicates");
    }
    let (status, purged) = told(&tokyo, "purge", &json!({}));
    assert_eq!((status, &purged["gone"]), (200, &json!(2)), "{purged}");
    let id = order["id"].as_str().unwrap();
    let (_, gone) = told(&tokyo, &format!("status?id={id}"), &Value::Null);
    assert_eq!((gone["state"].as_str(), &gone["percent"]), (Some("gone"), &json!(100)), "{gone}");
    assert!(gone["receipt"]["signature"].is_string());
    for (door, person, all) in doors(&tokyo) {
        assert_eq!((person, all), (0, 2 * LEFT), "{door}, gone");
    }
    not_exported(&tokyo, "when all is gone");
    assert_eq!(gone["nodes"], json!([{"node": 1, "state": "gone", "problem": null}]), "{gone}");
    assert_eq!((&gone["not_shredded_at"], &gone["not_gone_at"]), (&json!([]), &json!([])), "{gone}");
    assert!(gone["region_receipt"]["signature"].is_string(), "{gone}");
    for clear in [ADDRESS, "\"uid\":\"u-7\""] {
        assert!(!stands_below(cluster.data(), clear), "a file holds it");
    }
    cluster.kill("tokyo").unwrap();
    scan(&cluster).expect("a scan that decodes every file finds nothing of the person");
    cluster.restart("tokyo").unwrap();
    let tokyo = cluster.region("tokyo");
    let back = wait_until(Duration::from_secs(20), || tokyo.count(STREAM).ok().filter(|count| *count == 2 * LEFT));
    back.expect("everybody else is back, once");
}
