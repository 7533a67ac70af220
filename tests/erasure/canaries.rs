//! Thousands of planted words of one person: after the purge a scan that decodes every file of every node finds none of them.
//!
//! `DOMICILE_WORDS` says how many, 10,000 for the bar; else fewer.

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

const STREAM: &str = "planted";
const WORDS: u64 = 1_000;
const PIECE: usize = 1_000;
/// Everybody else's records.
const OTHERS: u64 = 500;

/// A word that no detector knows and that occurs nowhere else.
fn word(number: u64) -> String {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..14).map(|place| char::from(b'a' + u8::try_from(mixed >> (4 * place) & 15).unwrap())).collect()
}

fn event(number: u64, person: &str, message: &str) -> Value {
    let at = DAY_MS + i64::try_from(number).unwrap();
    json!({"timestamp": utc(at), "level": "INFO", "uid": person, "message": message, "note": {"part": message}})
}

/// What the scanner says of so many words: nothing, or where they are.
fn scan(cluster: &Cluster, words: u64) -> Result<String, String> {
    let planted = cluster.data().parent().unwrap().join(format!("words-{}", std::process::id()));
    std::fs::write(&planted, (0..words).map(word).collect::<Vec<_>>().join("\n")).unwrap();
    let (data, list) = (cluster.data().display().to_string(), planted.display().to_string());
    let scanned = cluster.command(&["audit", "scan", &data, "--canary", &list]);
    std::fs::remove_file(planted).unwrap();
    scanned.map_err(|error| format!("{error:#}"))
}

#[test]
fn of_all_planted_words_none_is_found_in_any_file_after_the_purge() {
    let words = std::env::var("DOMICILE_WORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(WORDS);
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let made = ["stream", "create", STREAM, "--tenant", "default", "--subject", "uid", "--region", "tokyo"];
    cluster.command(&made).unwrap();
    cluster.split().unwrap();
    let tokyo = cluster.region("tokyo");
    let planted = (0..words).map(|number| event(number, "erika", &format!("seen at {}", word(number))));
    let others = (0..OTHERS).map(|number| event(number, &format!("u-{}", number % 7), &format!("request {number}")));
    for part in planted.chain(others).collect::<Vec<_>>().chunks(PIECE) {
        let answer = tokyo.bulk(STREAM, &bulk(part, None), &[]).unwrap();
        assert!(answer.status == 200 && answer.json()["errors"] == json!(false), "{}", answer.text());
    }
    tokyo.refresh(STREAM);
    assert_eq!(tokyo.count(STREAM).unwrap(), words + OTHERS);
    scan(&cluster, words).expect_err("the scanner sees them as long as they are there");

    let told = |path: &str, body: &Value| {
        let answer = tokyo.api("admin", "POST", &format!("/api/v1/subjects/{path}"), body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    let order = told("erase", &json!({"subject": "erika"}));
    assert_eq!((&order["state"], &order["records_hidden"]), (&json!("shredded"), &json!(words)), "{order}");
    assert_eq!(told("purge", &json!({}))["gone"], json!(1));
    assert_eq!(tokyo.count(STREAM).unwrap(), OTHERS);
    cluster.kill("tokyo").unwrap();
    scan(&cluster, words).expect("none of them");
    cluster.restart("tokyo").unwrap();
    let tokyo = cluster.region("tokyo");
    let back = wait_until(READY_WITHIN, || tokyo.count(STREAM).ok().filter(|count| *count == OTHERS));
    back.expect("and everybody else is there");
}
