//! A tenant's segments go into the tenant's own bucket, named from the start or later: what lies where, what is answered, that nothing
//! of an erased person is left in either, and whose bucket is refused. A directory, and an S3 server.

use std::collections::BTreeSet;
use std::path::Path;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::s3::S3;
use domicile_tests::cluster::{Cluster, http};
use serde_json::{Value, json};

use crate::BINARY;

/// Each tenant has a stream of this name.
const STREAM: &str = "people";
const FULL: &str = "disk_mark_bytes = 1\nmove_bytes_per_second = 1000000000";
/// Records of each person in one round.
const EACH: u64 = 40;
const ERASED: &str = "u-erased";

/// A word that no detector knows: the number as letters.
fn word(round: u64, number: u64) -> String {
    let mixed = (round * 1_000 + number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..14).map(|place| char::from(b'a' + u8::try_from(mixed >> (4 * place) & 15).unwrap())).collect()
}

/// Whose records a key reaches: the tenant `acme`, or the one that there is.
struct Tenants {
    acme: Region,
    other: Region,
}

/// Both tenants with a stream each, in single nodes; `store` is Tokyo's section.
fn begun(store: impl FnOnce(&Cluster) -> String) -> (Cluster, Tenants) {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    cluster.command(&["tenant", "create", "acme"]).unwrap();
    for tenant in ["acme", "default"] {
        let made = ["stream", "create", STREAM, "--tenant", tenant, "--subject", "uid", "--region", "tokyo"];
        cluster.command(&made).unwrap();
    }
    let key =
        ["key", "create", "acme-all", "--tenant", "acme", "--role", "search", "--role", "admin", "--role", "ingest"];
    let key = cluster.command(&[&key[..], &["--rows", "full", "--region", "tokyo"]].concat()).unwrap();
    cluster
        .split_with(|cluster| {
            cluster.set("tokyo", "store", &store(cluster))?;
            cluster.set("tokyo", "lifecycle", FULL)
        })
        .unwrap();
    let other = cluster.region("tokyo");
    let mut acme = cluster.region("tokyo");
    acme.keys.values_mut().for_each(|own| key.trim().clone_into(own));
    (cluster, Tenants { acme, other })
}

/// Takes a round of records of both tenants and lets everything go cold.
fn fill(cluster: &mut Cluster, tenants: &Tenants, round: u64) {
    for region in [&tenants.acme, &tenants.other] {
        let event = |number: u64| {
            let at = DAY_MS + i64::try_from(round * 100_000 + number).unwrap();
            let (who, said) = match number % 2 {
                0 => (ERASED, word(round, number)),
                _ => ("u-kept", "nothing of note".to_owned()),
            };
            json!({"timestamp": utc(at), "level": "INFO", "uid": who, "message": format!("seen at {said}")})
        };
        let body = bulk(&(0..2 * EACH).map(event).collect::<Vec<_>>(), None);
        let answer = region.bulk(STREAM, &body, &[]).unwrap();
        assert!(answer.status == 200 && answer.json()["errors"] == json!(false), "{}", answer.text());
        region.refresh(STREAM);
    }
    cool(cluster);
    let listed = storage(cluster);
    let rows = listed["segments"].as_array().unwrap().iter().filter(|row| row["stream"] == STREAM);
    assert!(rows.clone().count() >= 2 && rows.clone().all(|row| row["tier"] == "cold"), "{listed}");
}

/// Lets everything go cold: what is in memory is on the disk once the node has stopped.
fn cool(cluster: &mut Cluster) {
    cluster.end("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    cluster.command(&["lifecycle", "run", "--region", "tokyo"]).unwrap();
}

fn storage(cluster: &Cluster) -> Value {
    let said = cluster.command(&["storage", "ls", "--region", "tokyo", "--json"]).unwrap();
    serde_json::from_str(&said).unwrap()
}

/// The shard of each tenant's stream: acme's, then the other one's.
fn shards(cluster: &Cluster, tenants: &Tenants) -> (String, String) {
    let shard = |region: &Region| {
        let listed = region.api("admin", "GET", "/api/v1/storage", &Value::Null).unwrap().json();
        let rows = listed["segments"].as_array().unwrap().iter().filter(|row| row["stream"] == STREAM);
        let own: BTreeSet<u64> = rows.map(|row| row["shard"].as_u64().unwrap()).collect();
        own
    };
    let acme = shard(&tenants.acme);
    // An operator sees the streams of every tenant.
    let all = shard(&tenants.other);
    let other = all.difference(&acme).next();
    let named = |shard: Option<&u64>| format!("{:016x}", shard.unwrap_or_else(|| panic!("{}", storage(cluster))));
    (named(acme.first()), named(other))
}

fn counts(tenants: &Tenants) -> (u64, u64) {
    (tenants.acme.count(STREAM).unwrap(), tenants.other.count(STREAM).unwrap())
}

/// Names of all files below a directory, from there.
fn below(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().display().to_string());
            }
        }
    }
    found
}

/// Objects of a shard's segments among all of a bucket.
fn segments(objects: &BTreeSet<String>, shard: &str) -> BTreeSet<String> {
    objects.iter().filter(|object| object.starts_with(&format!("segments/{shard}/"))).cloned().collect()
}

/// Erases the person of one tenant, and lets go cold what was made anew. Only an operator has what is due purged at once.
fn erase(cluster: &mut Cluster, region: &Region, operator: &Region) {
    let told = |region: &Region, path: &str, body: &Value| {
        let answer = region.api("admin", "POST", &format!("/api/v1/subjects/{path}"), body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    let order = told(region, "erase", &json!({"subject": ERASED}));
    assert_eq!(order["state"], "shredded", "{order}");
    assert_eq!(told(operator, "purge", &json!({}))["gone"], json!(1));
    cool(cluster);
}

/// What the scanner finds in the files of a directory of the words of so many rounds.
fn scan(cluster: &Cluster, dir: &Path, rounds: u64) -> Result<String, String> {
    let words: Vec<_> = (0..rounds).flat_map(|round| (0..EACH).map(move |number| word(round, 2 * number))).collect();
    let planted = cluster.data().parent().unwrap().join(format!("words-{}", std::process::id()));
    std::fs::write(&planted, words.join("\n")).unwrap();
    let scanned =
        cluster.command(&["audit", "scan", &dir.display().to_string(), "--canary", &planted.display().to_string()]);
    std::fs::remove_file(planted).unwrap();
    scanned.map_err(|error| format!("{error:#}"))
}

/// Why a node does not start.
fn refused(cluster: &mut Cluster, region: &str) -> String {
    let refused = cluster.restart(region).expect_err("it does not start").to_string();
    let _ = cluster.end(region);
    refused
}

/// Starts Tokyo with another section `[store]`.
fn restarted(cluster: &mut Cluster, store: &str) {
    cluster.end("tokyo").unwrap();
    cluster.set("tokyo", "store", store).unwrap();
    cluster.restart("tokyo").unwrap();
}

#[test]
fn a_bucket_that_is_named_later_takes_what_comes_and_nothing_erased_is_left_in_either() {
    let (mut cluster, tenants) = begun(|_| String::new());
    let data = cluster.data().to_path_buf();
    let (region, own) = (data.join("nodes/tokyo/data/objects"), data.join("acme-own"));
    fill(&mut cluster, &tenants, 0);
    let (acme, other) = shards(&cluster, &tenants);
    let before = below(&region);
    assert!(!segments(&before, &acme).is_empty() && !segments(&before, &other).is_empty());
    assert_eq!(counts(&tenants), (2 * EACH, 2 * EACH));

    let named = format!("buckets = [{{ tenant = \"acme\", path = {:?} }}]", own.display().to_string());
    restarted(&mut cluster, &named);
    assert_eq!(counts(&tenants), (2 * EACH, 2 * EACH), "what lies in the region's bucket is answered");
    fill(&mut cluster, &tenants, 1);
    assert_eq!(counts(&tenants), (4 * EACH, 4 * EACH));
    let (old, new) = (below(&region), below(&own));
    assert_eq!(segments(&old, &acme), segments(&before, &acme), "nothing of it comes there any more");
    assert!(segments(&old, &other).len() > segments(&before, &other).len());
    assert!(!segments(&new, &acme).is_empty());
    let is_own = |object: &String| object == "domicile-region" || object.starts_with(&format!("segments/{acme}/"));
    assert!(new.iter().all(is_own), "and nothing else lies in a tenant's bucket: {new:?}");
    let listed = tenants.acme.api("admin", "GET", "/api/v1/storage", &Value::Null).unwrap().json();
    assert_eq!(listed["own_buckets"][0]["tenant"], "acme", "{listed}");
    let verified = cluster.command(&["storage", "verify", "--region", "tokyo", "--json"]).unwrap();
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert!(verified["damaged"] == 0 && verified["segments"].as_u64() >= Some(4), "{verified}");
    cluster.command(&["audit", "report", "--tenant", "acme", "--out", "lies"]).unwrap();
    let pack = data.parent().unwrap().join("lies");
    let lies = std::fs::read_to_string(pack.join("csv/segments.csv")).unwrap();
    for place in ["bucket of the region alone (a directory)", "bucket of the tenant alone (a directory)"] {
        assert!(lies.contains(place), "{lies}");
    }
    assert!(std::fs::read_to_string(pack.join("csv/buckets.csv")).unwrap().contains("the tenant"));

    for dir in [&region, &own] {
        scan(&cluster, dir, 2).expect_err("the words stand in both as long as they are there");
    }
    erase(&mut cluster, &tenants.acme, &tenants.other);
    erase(&mut cluster, &tenants.other, &tenants.other);
    assert_eq!(counts(&tenants), (2 * EACH, 2 * EACH));
    cluster.end("tokyo").unwrap();
    for dir in [&region, &own] {
        scan(&cluster, dir, 2).expect("none of them, in neither");
    }
    let (left, new) = (below(&region), below(&own));
    assert!(segments(&left, &acme).is_disjoint(&segments(&before, &acme)), "what held them is gone in the region's");
    assert!(!segments(&new, &acme).is_empty(), "and lies anew in the tenant's own");

    whose_bucket_is_refused(&mut cluster, &own, &named);
    assert_eq!(counts(&tenants), (2 * EACH, 2 * EACH), "and the right list answers as before");
}

/// Lists that are wrong. Tokyo does not run; it does afterwards.
fn whose_bucket_is_refused(cluster: &mut Cluster, own: &Path, named: &str) {
    let place =
        |tenant: &str| format!("buckets = [{{ tenant = \"{tenant}\", path = {:?} }}]", own.display().to_string());
    for (store, code, said) in [
        (String::new(), "DMC-STORE-16", "`acme`"),
        (place("default"), "DMC-STORE-15", "tenant=acme"),
        (format!("buckets = [{{ stream = \"{STREAM}\", path = \"/nowhere\" }}]"), "DMC-CONFIG-13", "`tenant`"),
    ] {
        cluster.set("tokyo", "store", &store).unwrap();
        let refused = refused(cluster, "tokyo");
        assert!(refused.contains(code) && refused.contains(said), "{store}: {refused}");
    }
    cluster.end("frankfurt").unwrap();
    cluster.set("frankfurt", "store", named).unwrap();
    let refused = refused(cluster, "frankfurt");
    assert!(refused.contains("DMC-STORE-01") && refused.contains("tenant `acme`"), "another region's: {refused}");
    cluster.set("frankfurt", "store", "").unwrap();
    cluster.restart("frankfurt").unwrap();
    cluster.set("tokyo", "store", named).unwrap();
    cluster.restart("tokyo").unwrap();
}

/// Names of all objects of an S3 bucket, old versions and marks of deletion included.
fn in_s3(server: &S3, bucket: &str) -> BTreeSet<String> {
    let listed = http::request("GET", &format!("{}/{bucket}?versions", server.endpoint()), &[], b"").unwrap();
    assert_eq!(listed.status, 200, "{}", listed.text());
    let text = listed.text();
    let keys = text.split("<Key>").skip(1);
    keys.map(|rest| rest.split("</Key>").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn in_s3_a_tenants_segments_lie_in_its_own_bucket_and_leave_no_version_behind() {
    let Some(server) = S3::start().unwrap() else { return };
    let made = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>PLACE</LocationConstraint></CreateBucketConfiguration>";
    let make = |bucket: &str, place: &str| {
        let url = format!("{}/{bucket}", server.endpoint());
        let body = made.replace("PLACE", place);
        let made = http::request("PUT", &url, &[("content-type", "application/xml")], body.as_bytes()).unwrap();
        assert_eq!(made.status, 200, "{}", made.text());
    };
    make("acme-own", "ap-northeast-1");
    make("acme-abroad", "eu-central-1");
    let versioned = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";
    let url = format!("{}/acme-own?versioning", server.endpoint());
    assert_eq!(http::request("PUT", &url, &[], versioned.as_bytes()).unwrap().status, 200);

    let mut section = String::new();
    let (mut cluster, tenants) = begun(|cluster| {
        let region = server.settings(cluster.data()).unwrap();
        let own = region.replace("acme-tokyo", "acme-own").replace('\n', ", ");
        section = format!("{region}\nbuckets = [{{ tenant = \"acme\", {own} }}]");
        section.clone()
    });
    fill(&mut cluster, &tenants, 0);
    let (acme, other) = shards(&cluster, &tenants);
    let (region, own) = (in_s3(&server, "acme-tokyo"), in_s3(&server, "acme-own"));
    assert!(segments(&region, &acme).is_empty() && !segments(&region, &other).is_empty(), "{region:?}");
    assert!(!segments(&own, &acme).is_empty() && segments(&own, &other).is_empty(), "{own:?}");
    assert_eq!(counts(&tenants), (2 * EACH, 2 * EACH));
    erase(&mut cluster, &tenants.acme, &tenants.other);
    assert_eq!(counts(&tenants), (EACH, 2 * EACH));
    let after = segments(&in_s3(&server, "acme-own"), &acme);
    assert!(!after.is_empty() && after.is_disjoint(&segments(&own, &acme)), "no version of what held them: {after:?}");
    assert!(segments(&in_s3(&server, "acme-tokyo"), &acme).is_empty());

    restarted(&mut cluster, &section);
    assert_eq!(counts(&tenants), (EACH, 2 * EACH));
    cluster.end("tokyo").unwrap();
    cluster.set("tokyo", "store", &section.replace("acme-own", "acme-abroad")).unwrap();
    let refused = refused(&mut cluster, "tokyo");
    assert!(
        refused.contains("DMC-STORE-07") && refused.contains("acme-abroad"),
        "a bucket in another place: {refused}"
    );
    assert_eq!(in_s3(&server, "acme-abroad"), BTreeSet::new(), "and not a byte in it");
}
