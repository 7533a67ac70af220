//! Midnight with many streams, by a moved clock: segments of the two days stay apart, nothing is refused or lost, and the metadata
//! group has nothing to do.
//!
//! 1,000 streams in a build for release (`cargo test --release`), 250 in one that is slow; `DOMICILE_MIDNIGHT_STREAMS` says another number.

use std::collections::BTreeMap;
use std::time::Duration;

use domicile_tests::cluster::fixture::utc;
use domicile_tests::cluster::moved::{DAY, machine_now};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, REGIONS, http, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::moved::{json_of, rows_of};

/// Streams that one request names.
const TOGETHER: usize = 125;
/// What everything may take that a slow machine does beside other things.
const WITHIN: Duration = Duration::from_secs(120);

fn number_of_streams() -> usize {
    let usual = if cfg!(debug_assertions) { 250 } else { 1_000 };
    std::env::var("DOMICILE_MIDNIGHT_STREAMS").ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

/// Names by the request that they go with.
fn names() -> Vec<Vec<String>> {
    let all: Vec<usize> = (0..number_of_streams()).collect();
    let together = all.chunks(TOGETHER).enumerate();
    together.map(|(at, some)| some.iter().map(|number| format!("night-{at}-{number}")).collect()).collect()
}

/// Creates the streams as an operator does who has many.
fn create(tokyo: &Region, names: &[Vec<String>]) {
    let tenants = tokyo.api("admin", "GET", "/api/v1/admin/tenants", &Value::Null).unwrap().json();
    let row = tenants["tenants"].as_array().unwrap().iter().find(|row| row["name"] == "default").unwrap();
    for some in names {
        let command = |name: &String| json!({"CreateStream": {"tenant": row["id"], "stream": name}});
        let commands: Vec<Value> = some.iter().map(command).collect();
        let answer = tokyo.api("admin", "POST", "/api/v1/admin/commands", &json!({"commands": commands})).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// One record for each stream; none is refused.
fn write(tokyo: &Region, names: &[Vec<String>], at: u64, message: &str) {
    for some in names {
        let mut body = String::new();
        for name in some {
            let event =
                json!({"timestamp": utc(i64::try_from(at * 1_000).unwrap()), "level": "INFO", "message": message});
            body.push_str(&format!("{}\n{event}\n", json!({"create": {"_index": name}})));
        }
        let key = tokyo.authorization("ingest");
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/x-ndjson")];
        let answer = http::request("POST", &format!("{}/_bulk", tokyo.doors.es), &headers, body.as_bytes()).unwrap();
        assert_eq!((answer.status, &answer.json()["errors"]), (200, &json!(false)), "{message}: {}", answer.text());
    }
}

/// How many records of every stream are found, in all and with this word.
fn found(tokyo: &Region, names: &[Vec<String>], word: &str) -> Option<(u64, u64)> {
    let count = |query: &Value| {
        let counted = names.iter().map(|some| {
            let answer = tokyo.es("search", "POST", &format!("/{}/_count", some.join(",")), &json!({"query": query}));
            answer.ok().filter(|answer| answer.status == 200).and_then(|answer| answer.json()["count"].as_u64())
        });
        counted.sum::<Option<u64>>()
    };
    Some((count(&json!({"match_all": {}}))?, count(&json!({"match": {"message": word}}))?))
}

/// The last entry of the metadata log that each region has applied, once all have the same.
fn metadata(cluster: &Cluster) -> u64 {
    let applied = |region: &Region| {
        let text = http::request("GET", &region.doors.metrics, &[], b"").ok()?.text();
        let line = text.lines().find_map(|line| line.strip_prefix("domicile_meta_applied_index "))?.to_owned();
        line.trim().parse::<f64>().ok()
    };
    let same = || {
        let all: Option<Vec<f64>> = cluster.regions().iter().map(applied).collect();
        all.filter(|all| all.len() == REGIONS.len() && all.iter().all(|one| *one == all[0])).map(|all| all[0])
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index is a small whole number")]
    let index = wait_until(WITHIN, same).expect("the regions agree on the metadata log") as u64;
    index
}

/// A segment: whether its records came before midnight, its tier, its records.
type Lying = (bool, String, u64);

/// Segments by stream and shard. None has records of both sides of a midnight.
fn by_shard(cluster: &Cluster, midnight: u64) -> BTreeMap<(String, u64), Vec<Lying>> {
    let midnight_us = midnight * 1_000_000;
    let mut shards: BTreeMap<(String, u64), Vec<Lying>> = BTreeMap::new();
    for row in rows_of(&json_of(cluster, &["storage", "ls"])) {
        let name = row["stream"].as_str().unwrap().to_owned();
        if !name.starts_with("night-") || row["records"] == 0 {
            continue;
        }
        // The records say by themselves when they were sent.
        let is_before = |key: &str| row[key].as_u64().unwrap() < midnight_us;
        assert_eq!(is_before("oldest"), is_before("newest"), "records of two days in one segment: {row}");
        assert_eq!(is_before("received_until"), is_before("newest"), "{row}");
        let (tier, records) = (row["tier"].as_str().unwrap().to_owned(), row["records"].as_u64().unwrap());
        let shard = row["shard"].as_u64().unwrap();
        shards.entry((name, shard)).or_default().push((is_before("newest"), tier, records));
    }
    shards
}

#[test]
fn many_streams_pass_midnight_and_the_metadata_group_has_nothing_to_do() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let midnight = (machine_now(cluster.data()).unwrap() / DAY + 2) * DAY;
    cluster.split_with(|cluster| cluster.set_clock(midnight - 1_200)).unwrap();
    let (tokyo, names) = (cluster.region("tokyo"), names());
    let streams = number_of_streams();
    let of_all = |each: usize| (streams * each) as u64;
    create(&tokyo, &names);
    write(&tokyo, &names, midnight - 1_000, "early");
    let before = metadata(&cluster);
    assert!(before >= of_all(1), "each stream was created: {before}");

    // A record of each waits for its refresh when the day ends.
    cluster.set_clock(midnight - 120).unwrap();
    write(&tokyo, &names, midnight - 120, "late");
    cluster.set_clock(midnight + 1).unwrap();
    write(&tokyo, &names, midnight + 1, "new");
    let all = wait_until(WITHIN, || found(&tokyo, &names, "new").filter(|(all, _)| *all >= of_all(3)));
    assert_eq!(all, Some((of_all(3), of_all(1))), "all of them, once");
    let keys = |all: &BTreeMap<(String, u64), Vec<Lying>>| all.keys().cloned().collect::<Vec<_>>();
    let shards = keys(&by_shard(&cluster, midnight));
    assert_eq!(shards.len(), streams, "each stream has one shard");

    // A leader that is elected anew on a busy machine writes one entry, and nothing else does.
    let quiet = |before: u64, after: u64, when: &str| assert!(after <= before + 1, "{before} to {after}, {when}");
    let passed = metadata(&cluster);
    quiet(before, passed, "at midnight");

    // What lay in the log alone is of its day again after kill -9.
    cluster.kill("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    cluster.set_clock(midnight + 300).unwrap();
    let tokyo = cluster.region("tokyo");
    let all = wait_until(WITHIN, || found(&tokyo, &names, "late").filter(|(all, _)| *all >= of_all(3)));
    assert_eq!(all, Some((of_all(3), of_all(1))), "after kill -9");
    assert_eq!(keys(&by_shard(&cluster, midnight)), shards);

    let again = metadata(&cluster);

    // An hour later nothing is left of the day but one segment of each stream, though nothing came any more.
    cluster.set_clock(midnight + 3_700).unwrap();
    let mut last = BTreeMap::new();
    let joined = wait_until(WITHIN, || {
        last = by_shard(&cluster, midnight);
        let is_joined = |all: &Vec<Lying>| {
            let of_day: Vec<_> = all.iter().filter(|(is_before, ..)| *is_before).collect();
            of_day.len() == 1 && of_day[0].1 != "memory" && of_day[0].2 == 2
        };
        (keys(&last) == shards && last.values().all(is_joined)).then_some(())
    });
    let open = last.iter().find(|(_, all)| all.iter().filter(|(is_before, ..)| *is_before).count() != 1);
    assert!(joined.is_some(), "one of {}: {open:?}", last.len());
    assert_eq!(found(&tokyo, &names, "early"), Some((of_all(3), of_all(1))), "joined");

    let closed = metadata(&cluster);
    quiet(again, closed, "in the hour after it");
    eprintln!(
        "{streams} streams: the metadata log was at {before} and {passed} around midnight, {again} and {closed} after"
    );
}
