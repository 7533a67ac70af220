//! The same laws for every real object store: an S3 server (moto), one of this process (s3s), Azurite, a Google Cloud Storage
//! server; then what is S3's alone.

use bytes::Bytes;
use hyper::http::Method;

use super::bench_test::{Bench, S3_SECRET, open, secret};
use super::front_test::Mishap;
use crate::config::{StoreSection, Vouched};
use crate::errors::Coded;

/// What holds of every kind.
async fn keeps_the_laws(bench: &Bench) {
    let store = bench.open("frankfurt").await.unwrap();
    bench.open("frankfurt").await.unwrap();
    assert_eq!(bench.open("tokyo").await.err().unwrap().code(), "DMC-STORE-01");

    let creations = (0..8_u8).map(|n| store.create("a/b", Bytes::from(vec![n; 100])));
    let created = futures::future::join_all(creations).await;
    assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 1, "{created:?}");
    assert!(created.iter().all(|created| created.as_ref().err().is_none_or(|e| e.code() == "DMC-STORE-02")));
    let winner = u8::try_from(created.iter().position(Result::is_ok).unwrap()).unwrap();
    assert_eq!(store.read("a/b").await.unwrap(), vec![winner; 100]);

    for name in ["s/2/m", "s/1/m", "t/1"] {
        store.create(name, Bytes::from_static(b"0123456789")).await.unwrap();
    }
    assert_eq!(store.read_range("t/1", 2..5).await.unwrap(), "234");
    assert_eq!(store.list("s").await.unwrap(), [("s/1/m".to_owned(), 10), ("s/2/m".to_owned(), 10)]);
    store.delete("t/1").await.unwrap();
    store.delete("t/1").await.unwrap();
    assert_eq!(store.read("t/1").await.err().unwrap().code(), "DMC-STORE-03");
    store.create("t/1", Bytes::from_static(b"again")).await.unwrap();

    // The store did it and said 503: the one who did it knows, and everybody else loses.
    bench.front.plan("PUT", "/lost/1", Mishap::DoneAndLost(503), 1);
    store.create("lost/1", Bytes::from_static(b"mine")).await.unwrap();
    assert_eq!(store.create("lost/1", Bytes::from_static(b"mine")).await.err().unwrap().code(), "DMC-STORE-02");
    assert_eq!(store.read("lost/1").await.unwrap(), "mine");
    assert_eq!(bench.front.left(), 0, "the answer was lost");

    // A prefix is a bucket of its own.
    let section = StoreSection { prefix: "below/it".to_owned(), ..bench.section.clone() };
    let inner = open(&section, "frankfurt").await.unwrap();
    inner.create("a/b", Bytes::from_static(b"other")).await.unwrap();
    assert_eq!(store.read("below/it/a/b").await.unwrap(), "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3server_of_this_process_keeps_the_laws() {
    keeps_the_laws(&Bench::s3s().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_with_another_key_is_refused_and_what_a_server_does_not_say_is_not_taken_for_good() {
    let mut bench = Bench::s3s().await;
    for vouched in [vec![], vec![Vouched::Location], vec![Vouched::Replication]] {
        bench.section.vouched = vouched;
        assert_eq!(bench.refused().await, "DMC-STORE-09", "{:?}", bench.section.vouched);
    }
    bench.section.vouched = vec![Vouched::Location, Vouched::Replication];
    for wrong in [S3_SECRET.replace("key = test", "key = tset"), S3_SECRET.replace("id = test", "id = tset")] {
        secret(bench.dir.path(), &wrong);
        assert_eq!(bench.refused().await, "DMC-STORE-10", "{wrong}");
    }
    let written = bench.front.seen().into_iter().filter(|seen| seen.starts_with("PUT") || seen.starts_with("POST"));
    assert_eq!(written.collect::<Vec<_>>(), Vec::<String>::new());
    secret(bench.dir.path(), S3_SECRET);
    assert_eq!(bench.refused().await, "opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3server_keeps_the_laws() {
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    keeps_the_laws(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_laws_and_an_account_that_copies_itself_away_is_refused() {
    let Some(bench) = Bench::azure().await else { return };
    keeps_the_laws(&bench).await;
    // Whose rights end at the container is told nothing of the account.
    bench.front.forget();
    bench.front.plan("HEAD", "comp=properties", Mishap::Answered(403, ""), 2);
    assert_eq!(bench.refused().await, "DMC-STORE-09");
    let vouched = vec![Vouched::Location, Vouched::Replication];
    let section = StoreSection { vouched, ..bench.section.clone() };
    assert!(open(&section, "frankfurt").await.is_ok());
    assert_eq!(open(&section, "frankfurt").await.err().unwrap().code(), "DMC-STORE-08", "vouched for and contradicted");
    assert_eq!(bench.refused().await, "DMC-STORE-08");
    let absent = StoreSection { bucket: "nowhere-to-be-found".to_owned(), ..section };
    assert_eq!(open(&absent, "frankfurt").await.err().map(|e| e.code()), Some("DMC-STORE-13"));
}

#[tokio::test(flavor = "multi_thread")]
async fn google_cloud_storage_keeps_the_laws_and_a_bucket_elsewhere_is_refused() {
    let Some(mut bench) = Bench::gcs(false).await else { return };
    keeps_the_laws(&bench).await;
    bench.section.location = "europe-west4".to_owned();
    assert_eq!(bench.refused().await, "DMC-STORE-07");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_in_google_cloud_storage_takes_every_generation() {
    let Some(bench) = Bench::gcs(true).await else { return };
    let store = bench.open("frankfurt").await.unwrap();
    bench.front.seen();
    // The emulator keeps generations and cannot delete one: some are listed here as Google documents them.
    let listed = r#"{"kind": "storage#objects", "items": [
        {"name": "p/1", "generation": "17"}, {"name": "p/1", "generation": "18"}, {"name": "p/10", "generation": "19"}]}"#;
    bench.front.plan("GET", "versions", Mishap::Answered(200, r#"{"nextPageToken": "a page without anything"}"#), 1);
    bench.front.plan("GET", "pageToken=a%20page", Mishap::Answered(200, listed), 1);
    bench.front.plan("DELETE", "generation=17", Mishap::Answered(503, ""), 1);
    bench.front.plan("DELETE", "generation", Mishap::Answered(204, ""), 3);
    store.delete("p/1").await.unwrap();
    let seen = bench.front.seen();
    for part in ["/storage/v1/b/acme-frankfurt/o/p%2F1?generation=17", "p%2F1?generation=18"] {
        assert!(seen.iter().any(|seen| seen.starts_with("DELETE") && seen.ends_with(part)), "{part}: {seen:?}");
    }
    assert!(!seen.iter().any(|seen| seen.contains("generation=19")), "another object: {seen:?}");
    bench.front.forget();
    bench.front.plan("GET", "versions", Mishap::Answered(200, "what is this"), 1);
    assert_eq!(store.delete("p/1").await.err().unwrap().code(), "DMC-STORE-05", "not taken for an empty list");
    // One that lists what it says it deleted is not asked for ever, and nothing is called gone.
    store.create("p/1", Bytes::from_static(b"erased")).await.unwrap();
    assert_eq!(store.delete("p/1").await.err().unwrap().code(), "DMC-STORE-05");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_looked_at_before_a_byte_is_written() {
    let Some(bench) = Bench::s3("us-east-1").await else { return };
    assert_eq!(bench.refused().await, "DMC-STORE-07", "elsewhere");
    // Only its older answer is left, and it says the same.
    bench.front.plan("HEAD", "", Mishap::Answered(200, ""), 1);
    assert_eq!(bench.refused().await, "DMC-STORE-07");
    // Neither does it tell.
    bench.front.plan("HEAD", "", Mishap::Answered(200, ""), 1);
    bench.front.plan("GET", "location", Mishap::Answered(501, ""), 6);
    assert_eq!(bench.refused().await, "DMC-STORE-09");
    bench.front.forget();
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    bench.front.plan("GET", "replication", Mishap::Answered(403, ""), 1);
    assert_eq!(bench.refused().await, "DMC-STORE-09", "nothing of copies");
    let endless: String = " ".repeat(crate::limits::STORE_REPORT_BYTES) + "ReplicationConfigurationNotFoundError";
    bench.front.plan("GET", "replication", Mishap::Answered(404, Box::leak(endless.into_boxed_str())), 1);
    assert_eq!(bench.refused().await, "DMC-STORE-09", "what stands behind the limit is not read");
    bench
        .put(
            "/acme-frankfurt?versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        )
        .await;
    bench.put("/copies", "<CreateBucketConfiguration><LocationConstraint>ap-northeast-1</LocationConstraint></CreateBucketConfiguration>").await;
    bench
        .put("/copies?versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        .await;
    let rule = "<ReplicationConfiguration><Role>r</Role><Rule><ID>1</ID><Priority>1</Priority><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::copies</Bucket></Destination></Rule></ReplicationConfiguration>";
    bench.put("/acme-frankfurt?replication", rule).await;
    assert_eq!(bench.refused().await, "DMC-STORE-08", "copied");
    let error = bench.open("frankfurt").await.err().unwrap().to_string();
    assert!(error.contains("arn:aws:s3:::copies"), "{error}");
    let written = bench.front.seen().into_iter().filter(|seen| seen.starts_with("PUT") || seen.starts_with("POST"));
    assert_eq!(written.collect::<Vec<_>>(), Vec::<String>::new());

    let absent = StoreSection { bucket: "nowhere-to-be-found".to_owned(), ..bench.section.clone() };
    assert_eq!(open(&absent, "frankfurt").await.err().map(|e| e.code()), Some("DMC-STORE-13"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_overwrites_is_refused() {
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    bench.open("frankfurt").await.unwrap();
    bench.front.plan("PUT", "domicile-region", Mishap::Without("if-none-match"), 1);
    assert_eq!(bench.refused().await, "DMC-STORE-12");
    assert_eq!(bench.refused().await, "opened");
    // As OSS answers in its form of S3, whether the bucket is empty or in use.
    let refusal = "<Error><Code>NotImplemented</Code></Error>";
    bench.front.plan("PUT", "domicile-region", Mishap::Answered(501, refusal), crate::limits::STORE_RETRIES + 1);
    assert_eq!(bench.refused().await, "DMC-STORE-12");
    assert_eq!(bench.refused().await, "opened");
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    bench.front.plan("PUT", "domicile-region", Mishap::Answered(501, refusal), crate::limits::STORE_RETRIES + 1);
    assert_eq!(bench.refused().await, "DMC-STORE-12");
    assert_eq!(bench.refused().await, "opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_every_old_version() {
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    let versioned = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    bench.put("/acme-frankfurt?versioning", versioned).await;
    let store = bench.open("frankfurt").await.unwrap();
    for name in ["p/1", "p/10"] {
        store.create(name, Bytes::from_static(b"erased")).await.unwrap();
    }
    // Somebody deleted it by hand: the bytes are there still.
    bench.ask(Method::DELETE, "/acme-frankfurt/p/1").await;
    assert!(bench.get("/acme-frankfurt?versions&prefix=p/1").await.contains("<DeleteMarker>"));
    bench.front.plan("DELETE", "p/1", Mishap::Answered(503, ""), 1);
    store.delete("p/1").await.unwrap();
    let left = bench.get("/acme-frankfurt?versions&prefix=p/1").await;
    assert!(!left.contains("<Key>p/1</Key>") && left.contains("<Key>p/10</Key>"), "{left}");
    bench.front.plan("DELETE", "p/10", Mishap::Answered(403, ""), 1);
    assert_eq!(store.delete("p/10").await.err().unwrap().code(), "DMC-STORE-10");
    store.delete("p/10").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_is_sent_with_the_encryption_that_was_asked_for() {
    let Some(mut bench) = Bench::s3("eu-central-1").await else { return };
    for (text, header) in [
        ("encryption = \"sse_s3\"", "AES256"),
        ("encryption = \"sse_kms\"\nkms_key = \"arn:aws:kms:eu-central-1:123456789012:key/k\"", "aws:kms"),
    ] {
        bench.section.s3 = toml::from_str(text).unwrap();
        bench.section.prefix = header.replace(':', "-");
        let store = bench.open("frankfurt").await.unwrap();
        store.create("o", Bytes::from_static(b"x")).await.unwrap();
        let answer = bench.ask(Method::HEAD, &format!("/acme-frankfurt/{}/o", bench.section.prefix)).await;
        let found = answer.headers().get("x-amz-server-side-encryption").map(|value| value.to_str().unwrap());
        assert_eq!(found, Some(header));
    }
}
