//! What fails on the way to a real object store, of every kind: it is tried again or reported, and no object is lost or doubled.
//!
//! Nothing here is uploaded in parts: an object is one request (decision 13), so what can be torn is that request or its answer.

use std::time::Duration;

use bytes::Bytes;

use super::bench_test::{AZURITE_SECRET, Bench, S3_SECRET, secret};
use super::front_test::{Front, Mishap};
use super::*;
use crate::config::Backend;
use crate::errors::Coded;
use crate::limits::{STORE_CREATIONS, STORE_RETRIES};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Failures that pass, and answers that break off.
async fn what_passes_is_tried_again(store: &Store, front: &Front) {
    front.plan("PUT", "/f/1", Mishap::Answered(500, ""), 2);
    store.create("f/1", bytes("one")).await.unwrap();
    front.plan("PUT", "/f/slow", Mishap::Slow(Duration::from_millis(300)), 1);
    store.create("f/slow", bytes("slow")).await.unwrap();
    front.plan("GET", "/f/1", Mishap::Answered(503, ""), 2);
    assert_eq!(store.read("f/1").await.unwrap(), "one");
    front.plan("GET", "/f/slow", Mishap::Slow(Duration::from_millis(300)), 1);
    assert_eq!(store.read("f/slow").await.unwrap(), "slow");
    front.plan("GET", "/f/1", Mishap::CutBefore, 1);
    assert_eq!(store.read("f/1").await.unwrap(), "one");
    assert_eq!(front.left(), 0, "all of it happened");

    // An answer that breaks off is never taken for the object.
    front.plan("GET", "/f/1", Mishap::Torn, 1);
    match store.read("f/1").await {
        Ok(whole) => assert_eq!(whole, "one"),
        Err(error) => assert_eq!(error.code(), "DMC-STORE-05"),
    }
    assert_eq!(front.left(), 0);
    assert_eq!(store.read("f/1").await.unwrap(), "one");
}

/// Creations that fail for long, or whose connection breaks: before the store had them, and after it had.
async fn a_creation_ends_in_exactly_one_object(store: &Store, front: &Front) {
    front.plan("PUT", "/f/2", Mishap::Answered(500, ""), STORE_RETRIES + 1);
    assert_eq!(store.create("f/2", bytes("two")).await.err().unwrap().code(), "DMC-STORE-05");
    assert_eq!(front.left(), 0);
    store.create("f/2", bytes("two")).await.unwrap();
    front.plan("PUT", "/f/3", Mishap::DoneAndLost(500), STORE_RETRIES + 1);
    store.create("f/3", bytes("three")).await.unwrap();
    assert_eq!(front.left(), 0);
    assert_eq!(store.read("f/3").await.unwrap(), "three");

    front.plan("PUT", "/f/before", Mishap::CutBefore, 1);
    match store.create("f/before", bytes("before")).await {
        Ok(()) => {}
        Err(error) => {
            assert_eq!(error.code(), "DMC-STORE-05");
            assert_eq!(store.read("f/before").await.err().unwrap().code(), "DMC-STORE-03", "the store never had it");
            store.create("f/before", bytes("before")).await.unwrap();
        }
    }
    front.plan("PUT", "/f/after", Mishap::CutAfter, 1);
    store.create("f/after", bytes("after")).await.unwrap();
    assert_eq!(front.left(), 0, "both connections broke");
    for name in ["before", "after"] {
        assert_eq!(store.read(&format!("f/{name}")).await.unwrap(), name);
        assert_eq!(store.create(&format!("f/{name}"), bytes("more")).await.err().unwrap().code(), "DMC-STORE-02");
    }

    // Somebody else was first, and our own answer was lost: theirs stays.
    store.create("f/4", bytes("theirs")).await.unwrap();
    for lost in [Mishap::DoneAndLost(503), Mishap::CutAfter] {
        front.plan("PUT", "/f/4", lost, 1);
        let refused = store.create("f/4", bytes("ours")).await.err().unwrap().code();
        assert!(["DMC-STORE-02", "DMC-STORE-05"].contains(&refused), "{refused}: never taken for our own");
        assert_eq!(store.read("f/4").await.unwrap(), "theirs");
    }

    // It lost against something that was gone a moment later.
    front.plan("PUT", "/f/5", Mishap::Answered(412, ""), 1);
    store.create("f/5", bytes("five")).await.unwrap();
    front.plan("PUT", "/f/6", Mishap::Answered(412, ""), STORE_CREATIONS);
    assert_eq!(store.create("f/6", bytes("six")).await.err().unwrap().code(), "DMC-STORE-02");
    assert_eq!(front.left(), 0, "as often as the limit says");
}

/// Acknowledged, and not in the listing yet: its place is taken all the same.
async fn what_a_listing_hides_is_there(store: &Store, front: &Front, listing: &'static str) {
    front.plan("GET", listing, Mishap::Hidden("f/1"), 1);
    let hidden = store.list("f").await.unwrap();
    assert!(!hidden.is_empty() && hidden.iter().all(|(name, _)| name != "f/1"), "{hidden:?}");
    assert_eq!(store.create("f/1", bytes("again")).await.err().unwrap().code(), "DMC-STORE-02");
    assert!(store.list("f").await.unwrap().iter().any(|(name, _)| name == "f/1"));
}

/// Deletions whose answer is lost have been done, and those that never came are done by the next.
async fn a_deletion_can_be_asked_for_again(store: &Store, front: &Front, method: &'static str, part: &'static str) {
    for mishap in [Mishap::Answered(503, ""), Mishap::DoneAndLost(503), Mishap::CutBefore, Mishap::CutAfter] {
        store.create("g/1", bytes("gone")).await.unwrap();
        front.plan(method, part, mishap, 1);
        if let Err(error) = store.delete("g/1").await {
            assert_eq!(error.code(), "DMC-STORE-05");
            store.delete("g/1").await.unwrap();
        }
        assert_eq!(front.left(), 0);
        assert_eq!(store.read("g/1").await.err().unwrap().code(), "DMC-STORE-03");
    }
}

/// Credentials that ran out are named as that; no attempt is made with them again.
async fn credentials_that_ran_out_are_named(store: &Store, front: &Front, answer: (u16, &'static str)) {
    front.plan("PUT", "/f/7", Mishap::Answered(answer.0, answer.1), 1);
    assert_eq!(store.create("f/7", bytes("seven")).await.err().unwrap().code(), "DMC-STORE-10");
    front.plan("GET", "/f/1", Mishap::Answered(403, ""), 1);
    assert_eq!(store.read("f/1").await.err().unwrap().code(), "DMC-STORE-10");
    assert_eq!(front.left(), 0);
}

/// All of it, before one kind of store.
async fn a_bad_day(bench: &Bench) {
    let (store, front) = (bench.open("frankfurt").await.unwrap(), &bench.front);
    let (listing, expired) = match bench.section.kind {
        Backend::Azure => ("comp=list", (401, "")),
        Backend::Gcs => ("list-type", (401, "")),
        _ => ("list-type", (400, "<Error><Code>ExpiredToken</Code></Error>")),
    };
    what_passes_is_tried_again(&store, front).await;
    a_creation_ends_in_exactly_one_object(&store, front).await;
    what_a_listing_hides_is_there(&store, front, listing).await;
    // Each client has its own way to ask for a deletion.
    store.create("g/0", bytes("seen")).await.unwrap();
    front.seen();
    store.delete("g/0").await.unwrap();
    let asked = front.seen().first().cloned().unwrap_or_default();
    let (method, part) = match asked.split_once(' ') {
        Some(("DELETE", _)) => ("DELETE", "/g/1"),
        Some(("POST", target)) if target.contains("delete") => ("POST", "delete"),
        Some(("POST", target)) if target.contains("comp=batch") => ("POST", "comp=batch"),
        _ => panic!("{asked}: no deletion as we know it"),
    };
    a_deletion_can_be_asked_for_again(&store, front, method, part).await;
    credentials_that_ran_out_are_named(&store, front, expired).await;
    store.create("f/7", bytes("seven")).await.unwrap();
}

/// A file of credentials that is gone is named, and one that is there again is taken up without a restart.
async fn a_file_of_credentials_is_taken_up_again(bench: &Bench, text: &str) {
    let store = bench.open("frankfurt").await.unwrap();
    std::fs::remove_file(bench.section.credentials_file.as_ref().unwrap()).unwrap();
    assert_eq!(store.read("f/1").await.err().unwrap().code(), "DMC-STORE-05");
    secret(bench.dir.path(), text);
    assert_eq!(store.read("f/1").await.unwrap(), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_day_of_an_s3server_of_this_process_loses_and_doubles_nothing() {
    let bench = Bench::s3s().await;
    a_bad_day(&bench).await;
    a_file_of_credentials_is_taken_up_again(&bench, S3_SECRET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_day_of_an_s3server_loses_and_doubles_nothing() {
    let Some(bench) = Bench::s3("eu-central-1").await else { return };
    a_bad_day(&bench).await;
    a_file_of_credentials_is_taken_up_again(&bench, S3_SECRET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_day_of_azure_loses_and_doubles_nothing() {
    let Some(bench) = Bench::azure().await else { return };
    a_bad_day(&bench).await;
    a_file_of_credentials_is_taken_up_again(&bench, AZURITE_SECRET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_day_of_google_cloud_storage_loses_and_doubles_nothing() {
    let Some(bench) = Bench::gcs(false).await else { return };
    a_bad_day(&bench).await;
}
