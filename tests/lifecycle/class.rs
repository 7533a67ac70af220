//! What is archived lies in an S3 server in the class of storage that the configuration names, everything else does not, and it comes
//! back from there: a real node with a moved clock, and what the server itself says of each object.

use domicile_tests::cluster::fixture::{DAY_MS, utc};
use domicile_tests::cluster::moved::DAY;
use domicile_tests::cluster::s3::S3;
use domicile_tests::cluster::{http, wait_until};
use serde_json::Value;

use crate::moved::{STREAM, WITHIN, begun_with, fill, json_of, moved, rows, tier};

/// As somebody whom the server knows; it takes any signature.
const KNOWN: (&str, &str) = (
    "authorization",
    "AWS4-HMAC-SHA256 Credential=test/20260101/ap-northeast-1/s3/aws4_request, SignedHeaders=host, Signature=x",
);

/// Every object of the bucket, with the class that the server names when it is asked for that object.
fn classes(server: &S3) -> Vec<(String, Option<String>)> {
    let bucket = format!("{}/acme-tokyo", server.endpoint());
    let listed = http::request("GET", &format!("{bucket}?list-type=2"), &[KNOWN], b"").unwrap();
    assert_eq!(listed.status, 200, "{}", listed.text());
    let listed = listed.text();
    assert!(listed.contains("<IsTruncated>false</IsTruncated>"), "{listed}");
    let names = listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
    let class = |name: &str| {
        let head = http::request("HEAD", &format!("{bucket}/{name}"), &[KNOWN], b"").unwrap();
        assert_eq!(head.status, 200, "{name}");
        (name.to_owned(), head.header("x-amz-storage-class").map(str::to_owned))
    };
    names.map(class).collect()
}

#[test]
fn what_is_archived_lies_in_the_class_that_is_named_and_comes_back_from_there() {
    let Some(server) = S3::start().unwrap() else { return };
    let policy =
        ["--warm-after-days", "1", "--cold-after-days", "2", "--archive-after-days", "4", "--archive-days", "30"];
    let (mut cluster, first) = begun_with(&[&policy[..], &["--retention-days", "90"]].concat(), |cluster| {
        let store = server.settings(cluster.data())?;
        cluster.set("tokyo", "store", &format!("{store}\narchive_class = \"GLACIER_IR\""))
    });
    let at = |days: u64| first + days * DAY + DAY / 2 + 7_200;
    fill(&cluster, first + DAY / 2, 6, 1_000);
    let (before, total, _) = rows(&cluster.region("tokyo"));
    assert_eq!(total, 1_000);
    cluster.set_clock(at(2)).unwrap();
    moved(&cluster, &[tier("cold", 1_000)]);
    let all = classes(&server);
    assert!(all.iter().any(|(name, _)| name.starts_with("segments/")), "{all:?}");
    assert!(all.iter().all(|(_, class)| class.is_none()), "nothing is archived yet: {all:?}");

    cluster.set_clock(at(4)).unwrap();
    moved(&cluster, &[tier("archived", 1_000)]);
    let (archived, rest): (Vec<_>, Vec<_>) =
        classes(&server).into_iter().partition(|(name, _)| name.starts_with("archive/"));
    assert!(archived.len() >= 2, "a part and a footer at least: {archived:?}");
    assert!(archived.iter().all(|(_, class)| class.as_deref() == Some("GLACIER_IR")), "{archived:?}");
    assert!(!rest.is_empty() && rest.iter().all(|(_, class)| class.is_none()), "and nothing else: {rest:?}");
    assert_eq!(rows(&cluster.region("tokyo")).1, 0, "no question reads the archive");

    let day = &utc(DAY_MS)[..10];
    let range = ["--stream", STREAM, "--from", day, "--to", day, "--days", "3", "--region", "tokyo"];
    cluster.command(&[&["lifecycle", "restore"][..], &range].concat()).unwrap();
    let mut status = Value::Null;
    let restored = wait_until(WITHIN, || {
        status = json_of(&cluster, &["lifecycle", "status"])["restores"][0].clone();
        (status["state"] == "restored").then_some(())
    });
    assert!(restored.is_some(), "{status}");
    let (again, total, missing) = rows(&cluster.region("tokyo"));
    assert_eq!((again, total, missing), (before.clone(), 1_000, Value::Null), "as before, byte for byte");
    let (copies, rest): (Vec<_>, Vec<_>) =
        classes(&server).into_iter().partition(|(name, _)| name.starts_with("restored/"));
    assert!(!copies.is_empty() && copies.iter().all(|(_, class)| class.is_none()), "what is searched: {copies:?}");
    assert!(archived.iter().all(|object| rest.contains(object)), "and the archive stays: {rest:?}");

    cluster.kill("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    let tokyo = cluster.region("tokyo");
    let back = wait_until(WITHIN, || (rows(&tokyo).0 == before).then_some(()));
    assert!(back.is_some(), "after kill -9: {:?}", rows(&tokyo));
}
