//! Three regions of which one holds three records of one person: whatever number of that region is read abroad is too much.

use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::world::{GUARDED, OPEN};

/// A word of the three records.
pub(crate) const WORD: &str = "pelicanharbour";
/// Whose they are; replaced before anything is stored.
pub(crate) const MAIL: &str = "hanako.yamada@shop.example";
/// Somebody who occurs nowhere.
pub(crate) const NOBODY: &str = "hatori.yamano@shop.example";

/// Three regions; Frankfurt holds the three records in the guarded stream, and in the control the same without the address: with it the
/// control would not be what is stated of it.
pub(crate) fn start() -> Cluster {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    crate::world::declare(&cluster, GUARDED, &["--subject", "user"]);
    crate::world::declare(&cluster, OPEN, &["--no-personal-data"]);
    for region in REGIONS {
        cluster.command(&["dictionary", "approve", region, "service", "checkout"]).unwrap();
    }
    let frankfurt = cluster.region("frankfurt");
    for (stream, whose) in [(GUARDED, MAIL), (OPEN, "somebody")] {
        let events: Vec<Value> = (0..3).map(|index| event(index, whose)).collect();
        assert_eq!(frankfurt.bulk(stream, &bulk(&events, None), &[]).unwrap().status, 200);
        frankfurt.refresh(stream);
        assert_eq!(frankfurt.count(stream).unwrap(), 3);
    }
    let tokyo = cluster.region("tokyo");
    let seen = wait_until(Duration::from_secs(60), || {
        let answer = tokyo.es("search", "POST", &format!("/frankfurt:{OPEN}/_count"), &Value::Null).ok()?;
        (answer.status == 200 && answer.json()["count"] == 3).then_some(())
    });
    seen.expect("the control is told abroad");
    cluster
}

fn event(index: i64, whose: &str) -> Value {
    json!({
        "timestamp": utc(DAY_MS + 3_600_000 + index * 1_000),
        "level": "ERROR", "service": "checkout", "user": "u1",
        "message": format!("{WORD} paid by {whose}"),
        "attributes": {"contact": whose, "note": WORD},
    })
}

/// Questions that left a region, as its ledger counts them.
pub(crate) fn questions_sent(region: &Region) -> usize {
    let (mut after, mut sent) = (0_u64, 0);
    loop {
        let path = format!("/api/v1/ledger?after={after}&limit=1000");
        let page = region.api("audit", "GET", &path, &Value::Null).unwrap().json();
        let entries = page["entries"].as_array().cloned().unwrap_or_default();
        let is_question = |entry: &&Value| entry["entry"]["kind"] == "egress" && entry["entry"]["class"] == "Question";
        sent += entries.iter().filter(is_question).count();
        match entries.last().and_then(|last| last["number"].as_u64()) {
            Some(last) if last > after => after = last,
            _ => return sent,
        }
    }
}

/// Refusals in a region's ledger.
pub(crate) fn refusals(region: &Region) -> usize {
    let page = region.api("audit", "GET", "/api/v1/ledger?limit=1000", &Value::Null).unwrap().json();
    let entries = page["entries"].as_array().cloned().unwrap_or_default();
    entries.iter().filter(|entry| entry["entry"]["kind"] == "refused_question").count()
}
