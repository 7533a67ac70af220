//! A stream goes from one node of the region to another while it is asked for: the question is answered where it lies then, and never with
//! less than all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domicile_proto::ids::{Epoch, NodeId, ShardId};
use serde_json::json;

use super::moving::wanted_still;
use super::owners::Owners;
use super::owners_test::{FIRST, SECOND, give, said, to};
use super::world::{INGEST, SEARCH, World, ask};
use crate::limits::HANDOVER_WAIT;
use crate::policy::Policy;

const APP: ShardId = ShardId(7);
/// Every question that goes to the owner of a stream.
const QUESTIONS: [(u8, &str, &str); 4] = [
    (SEARCH, "/app/_search", r#"{"size": 3, "track_total_hits": true}"#),
    (SEARCH, "/app,web/_count", "{}"),
    (SEARCH, "/api/v1/search", r#"{"stream": "app", "size": 2}"#),
    (INGEST, "/app/_refresh", ""),
];

/// The policy of a node by which `app` lies with another one from now on, in a later epoch.
fn moves(world: &World, owner: NodeId) {
    let mut next = Policy::clone(&world.desk.parts.policy.now());
    give("app", owner)(&mut next);
    next.epochs.insert(APP, Epoch(2));
    world.desk.parts.policy.replace(next);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_has_not_heard_yet_that_it_is_one_is_asked_again() {
    let whole = World::new();
    for (key, path, body) in QUESTIONS {
        let wanted = said(&whole, key, path, body).await;
        assert_eq!(wanted.0, 200, "{path}");
        let first = Arc::new(World::beside(FIRST, give("app", SECOND), Owners::over(|_, _, _, _| panic!("a circle"))));
        let (asked, way, hears) = (Arc::new(AtomicUsize::new(0)), to(&first), Arc::clone(&first));
        let count = Arc::clone(&asked);
        let way = Owners::over(move |to, ask, arriving, within| {
            // `web` it knows all the while.
            if count.fetch_add(1, Ordering::SeqCst) == 2 {
                let mut heard = Policy::clone(&hears.desk.parts.policy.now());
                give("app", FIRST)(&mut heard);
                hears.desk.parts.policy.replace(heard);
            }
            way.ask(to, ask, arriving, within)
        });
        let second = World::beside(SECOND, |_| {}, way);
        assert_eq!(said(&second, key, path, body).await, wanted, "{path}");
        assert_eq!(asked.load(Ordering::SeqCst), 3, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gives_a_stream_away_says_nothing_of_it_and_asks_the_new_owner_once_it_knows_him() {
    let whole = World::new();
    for (key, path, body) in QUESTIONS {
        let wanted = said(&whole, key, path, body).await;
        let second = World::beside(SECOND, |policy| give("app", SECOND)(policy), to(&whole));
        let first = World::beside(FIRST, |_| {}, to(&second));
        first.desk.parts.ownership.giving().begin(APP, Epoch(1));
        let heard = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(first.refreshes.load(Ordering::SeqCst) + second.refreshes.load(Ordering::SeqCst), 0);
            moves(&first, SECOND);
        };
        let begun = tokio::time::Instant::now();
        let (found, ()) = tokio::join!(said(&first, key, path, body), heard);
        assert_eq!(found, wanted, "{path}");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{path}: {:?}", begun.elapsed());
        let refreshes = second.refreshes.load(Ordering::SeqCst);
        assert_eq!(refreshes, usize::from(path.ends_with("_refresh")), "{path}: where it lies");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_comes_to_a_node_is_waited_for_and_one_that_does_not_come_is_refused() {
    for (key, path, body) in QUESTIONS {
        let world = World::new();
        moves(&world, FIRST);
        let begun = tokio::time::Instant::now();
        let arrives = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.desk.parts.catalog.set_taken_up(APP, Epoch(2));
        };
        let ((status, found), ()) = tokio::join!(said(&world, key, path, body), arrives);
        assert!(status == 200 && begun.elapsed() >= Duration::from_secs(1), "{path}: {found}");
        // One that is looked for in vain is refused after a bounded time.
        let world = World::new();
        moves(&world, FIRST);
        let begun = tokio::time::Instant::now();
        let (status, found) = said(&world, key, path, body).await;
        assert_eq!((status, &found["error"]["code"]), (503, &json!("DMC-SEGMENT-10")), "{path}: {found}");
        let took = begun.elapsed();
        assert!(took >= HANDOVER_WAIT && took < HANDOVER_WAIT * 2, "{path}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_list_of_streams_waits_as_a_search_does() {
    let world = World::new();
    moves(&world, FIRST);
    let arrives = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.desk.parts.catalog.set_taken_up(APP, Epoch(2));
    };
    let list = ask(world.elastic(), SEARCH, "GET", "/_cat/indices", "");
    let (listed, ()) = tokio::join!(list, arrives);
    assert_eq!(listed.status, 200, "{}", listed.text);
}

#[tokio::test]
async fn work_that_nobody_waits_for_ends_and_what_it_held_is_given_back() {
    let held = Arc::new(());
    let work = {
        let held = Arc::clone(&held);
        async move {
            std::future::pending::<()>().await;
            drop(held);
        }
    };
    assert!(wanted_still(work, std::future::ready(())).await.is_none());
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(wanted_still(async { 7 }, std::future::pending()).await, Some(7));
}
