//! Two nodes of one region: a request that comes in at the one which does not write its streams is answered as by the one that does.

use std::sync::atomic::{AtomicUsize, Ordering};

use domicile_proto::codec::{decode, encode};
use domicile_proto::message::batch::{BatchFates, NotTaken, RecordBatch, RecordFate};
use domicile_proto::message::region::{RegionAsk, RegionReply};
use domicile_proto::metadata::NodeRow;

use super::*;
use crate::limits::{CARRIED_BYTES, CARRIED_DOCUMENTS, CARRY_DEADLINE, DOCUMENTS_AT_ONCE, HELD_BYTES, TAKEN_IN_BYTES};

const OTHER: NodeId = NodeId(4);

/// The way to one node, in the frames of the link; what it says may be changed, or lost.
fn to(front: &Front, heard: impl Fn(RegionReply) -> Result<RegionReply, NoFate> + Send + Sync + 'static) -> Way {
    let (line, heard) = (Arc::clone(&front.line), Arc::new(heard));
    Way::over(move |to, ask, within| {
        assert!(within <= CARRY_DEADLINE, "whoever sent it still waits then");
        let (line, heard) = (Arc::clone(&line), Arc::clone(&heard));
        Box::pin(async move {
            assert_eq!(to.id.node, NodeId(1));
            let ask = decode::<RegionAsk>(&encode(&ask).expect("within its bound")).expect("a frame");
            let RegionAsk::Batch(batch) = ask else { panic!("{ask:?}") };
            let reply = line.take_in(batch).await.map_or_else(RegionReply::NotTaken, RegionReply::Fates);
            heard(decode::<RegionReply>(&encode(&reply).expect("within its bound")).expect("a frame"))
        })
    })
}

fn nodes(policy: &mut Policy) {
    let addr = "127.0.0.1:7443".parse().unwrap();
    for node in [NodeId(1), OTHER] {
        policy.nodes.insert(node, NodeRow { node, region: "tokyo".parse().unwrap(), addr, signature: None });
    }
}

fn give(policy: &mut Policy, stream: &str, to: NodeId) {
    let view = policy.streams.get_mut(&(TenantId(1), stream.parse().unwrap())).unwrap();
    let view = Arc::make_mut(view);
    view.shard = view.shard.map(|(shard, _)| (shard, to));
}

/// The node that writes all streams, and one beside it.
fn pair() -> (Front, Front) {
    let owner = front();
    let other = front_of(OTHER, nodes, to(&owner, Ok));
    (owner, other)
}

/// Has what becomes durable read, as the index does, so that the log goes on.
fn drained(mut front: Front) -> Front {
    let mut durable = std::mem::replace(&mut front.durable, mpsc::channel(1).1);
    front.line.tasks.spawn(Kind::Line, async move { while durable.recv().await.is_some() {} });
    front
}

fn said(mut answer: (u16, Value)) -> (u16, String) {
    for took in ["took", "took_ms"] {
        answer.1.as_object_mut().and_then(|all| all.remove(took));
    }
    (answer.0, answer.1.to_string())
}

#[tokio::test]
async fn a_request_at_another_node_is_answered_word_for_word_as_at_the_one_that_writes_its_streams() {
    let (alone, (owner, other)) = (drained(front()), pair());
    let owner = drained(owner);
    let bulk = concat!(
        "{\"create\":{\"_id\":\"1\"}}\n{\"message\":\"mail john@example.com\",\"timestamp\":\"2026-11-20 10:00:00\"}\n",
        "{\"index\":{\"_index\":\"web-2026.11.20\"}}\n{\"message\":\"w\"}\n",
        "{\"index\":{}}\n{\"half\n",
        "{\"delete\":{\"_id\":\"1\"}}\n",
        "{\"index\":{\"_index\":\"No Name\"}}\n{}\n",
        "{\"create\":{\"_id\":\"1\"}}\n{\"message\":\"other\"}\n",
        "{\"index\":{\"_index\":\"arriving\"}}\n{\"message\":\"early\"}\n",
        "{\"index\":{\"_index\":\"people\"}}\n{\"users\":[{\"id\":\"u1\"},{\"id\":\"u2\"}]}\n",
        "{\"index\":{\"_index\":\"app-2026.11.21\"}}\n{\"message\":\"last\"}",
    );
    for (path, batch, body) in [
        ("/app-2026.11.20/_bulk", None, bulk),
        ("/app-2026.11.20/_bulk", None, bulk),
        ("/app/_doc/7", None, "{\"a\":1}"),
        ("/app/_doc/7", None, "{\"a\":1}"),
        ("/app/_doc/7", None, "{\"a\":2}"),
        ("/app/_create/7", None, "{\"a\":1}"),
        ("/app/_doc", None, "{\"a\":"),
        ("/app/_doc", None, "{\"a\":3}"),
        ("/api/v1/ingest/app?text", None, "one\n{\"a\":1}\n\nthree\n"),
        ("/api/v1/ingest/app", Some("b1"), "{\"a\":1}\n{\"a\":2}\n"),
        ("/api/v1/ingest/app", Some("b1"), "{\"a\":1}\n{\"a\":2}\n"),
        ("/api/v1/ingest/app", Some("b1"), "{\"a\":1}\n{\"a\":3}\n"),
        ("/app/_bulk", Some("b2"), "{\"index\":{}}\n{\"half\n{\"index\":{\"_id\":\"9\"}}\n{\"a\":1}\n"),
        ("/app/_bulk", Some("b2"), "{\"index\":{}}\n{\"half\n{\"index\":{\"_id\":\"9\"}}\n{\"a\":1}\n"),
        ("/arriving/_bulk", Some("b3"), "{\"index\":{}}\n{\"a\":1}\n"),
    ] {
        let wanted = said(alone.send(&alone.key, path, batch, body).await);
        let found = said(other.send(&other.key, path, batch, body).await);
        assert_eq!(found, wanted, "{path} {batch:?} {body}");
    }
    // Each record is counted where it was decided upon; what is wrong before that, where it came in.
    let (all, at_owner, at_other) = (alone.counted(), owner.counted(), other.counted());
    assert_eq!((at_owner.0 + at_other.0, at_owner.1 + at_other.1), all);
    assert_eq!(at_other.0, 0, "nothing is accepted where it only came in");

    // What is personal in an id is replaced under the owner's keys, and told of as at the owner.
    let personal = "{\"index\":{\"_id\":\"john@example.com\"}}\n{\"a\":1}\n";
    let (_, taken) = other.send(&other.key, "/app/_bulk", None, personal).await;
    let (_, again) = owner.send(&owner.key, "/app/_bulk", None, personal).await;
    assert_eq!(taken["items"][0]["index"]["_id"], again["items"][0]["index"]["_id"]);
    assert!(taken["items"][0]["index"]["status"] == 201 && !taken.to_string().contains("john"), "{taken}");
    assert_eq!(owner.rooms.taken_in.available_permits(), TAKEN_IN_BYTES);
    assert_eq!(other.rooms.carried.available_permits(), CARRIED_BYTES);
}

#[tokio::test]
async fn a_batch_is_known_again_whichever_node_it_comes_in_at() {
    let (owner, other) = pair();
    let body = "{\"a\":1}\n{\"a\":2}\n";
    let send = async |front: &Front, body: &'static str| {
        let (status, answer) = front.send(&front.key, "/api/v1/ingest/app", Some("b1"), body).await;
        (status, answer["accepted"].as_u64(), answer["repeated"].as_bool())
    };
    assert_eq!(send(&other, body).await, (200, Some(2), Some(false)));
    assert_eq!(send(&owner, body).await, (200, Some(2), Some(true)));
    assert_eq!(send(&other, body).await, (200, Some(2), Some(true)));
    assert_eq!(send(&other, "{\"a\":1}\n{\"a\":3}\n").await.0, 409);
    assert_eq!((owner.counted(), other.counted()), ((2, 2), (0, 0)), "once, at the owner");
}

#[tokio::test]
async fn a_bulk_over_streams_of_several_nodes_goes_to_each_and_is_answered_in_its_order() {
    let give_web = |policy: &mut Policy| {
        nodes(policy);
        give(policy, "web", OTHER);
    };
    let nobody = || Way::over(|_, _, _| Box::pin(async { Err(NoFate::NotSent) }));
    let owner = front_of(NodeId(1), give_web, nobody());
    let other = front_of(OTHER, give_web, to(&owner, Ok));
    let line =
        |stream: &str, n: usize| format!("{{\"create\":{{\"_index\":\"{stream}\",\"_id\":\"{n}\"}}}}\n{{\"n\":{n}}}\n");
    let body: String = (0..40).map(|n| line(["app", "web", "people"][n % 3], n)).collect();
    let (status, answer) = other.send(&other.key, "/_bulk", None, body.clone()).await;
    assert_eq!((status, &answer["errors"]), (200, &json!(false)), "{answer}");
    let of = |item: &Value, what: &str| item["create"][what].to_string();
    for (n, item) in answer["items"].as_array().unwrap().iter().enumerate() {
        assert_eq!(of(item, "_id"), format!("\"{n}\""));
        assert_eq!(of(item, "_index"), format!("\"{}\"", ["app", "web", "people"][n % 3]));
    }
    assert_eq!((owner.counted(), other.counted()), ((27, 0), (13, 0)));
    // A repetition at either node: each record is known where it lies.
    let (_, again) = other.send(&other.key, "/_bulk", None, body.clone()).await;
    assert!(statuses(&again).iter().all(|status| *status == 409), "{again}");
    // The other way leads nowhere: those records alone wait, each told so.
    let (status, half) = owner.send(&owner.key, "/_bulk", None, body).await;
    assert_eq!(status, 200);
    let wanted: Vec<u64> = (0..40).map(|n| if n % 3 == 1 { 503 } else { 409 }).collect();
    assert_eq!(statuses(&half), wanted, "{half}");
    let error = &half["items"][1]["create"]["error"];
    assert!(error["code"] == "DMC-OWNERSHIP-11" && error.to_string().contains("`web`"), "{error}");
}

#[tokio::test]
async fn where_the_answer_is_lost_nobody_claims_to_know_and_under_its_id_nothing_is_taken_twice() {
    let owner = front();
    let is_lost = Arc::new(AtomicUsize::new(1));
    let lost = Arc::clone(&is_lost);
    let way = to(&owner, move |reply| if lost.swap(0, Ordering::Relaxed) > 0 { Err(NoFate::Lost) } else { Ok(reply) });
    let other = front_of(OTHER, nodes, way);
    let send = async || other.send(&other.key, "/api/v1/ingest/app", Some("b1"), "{\"a\":1}\n").await;
    let (status, answer) = send().await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("DMC-OWNERSHIP-12")), "{answer}");
    assert!(answer.to_string().contains("may have been taken"), "{answer}");
    let (status, answer) = send().await;
    assert_eq!((status, &answer["accepted"], &answer["repeated"]), (200, &json!(1), &json!(true)), "{answer}");
    assert_eq!(owner.counted(), (1, 0));

    // An answer that speaks of other records is none.
    let short = to(&owner, |reply| {
        let RegionReply::Fates(mut fates) = reply else { panic!("{reply:?}") };
        fates.fates.pop();
        Ok(RegionReply::Fates(fates))
    });
    let other = front_of(OTHER, nodes, short);
    let (status, answer) = other.send(&other.key, "/app/_doc", None, "{\"a\":1}").await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("DMC-OWNERSHIP-12")), "{answer}");
}

#[tokio::test]
async fn what_was_not_taken_is_said_not_to_have_been_taken_and_by_whom() {
    let owner = front();
    let refused = async |way: Way| {
        let other = front_of(OTHER, nodes, way);
        let (status, answer) = other.send(&other.key, "/app/_bulk", None, "{\"index\":{}}\n{\"a\":1}\n").await;
        assert_eq!(other.counted(), (0, 1));
        let error = &answer["error"];
        (status, error["code"].as_str().unwrap().to_owned(), error["reason"].as_str().unwrap().to_owned())
    };
    let told = |why: NoFate| Way::over(move |_, _, _| Box::pin(async move { Err(why) }));
    let says = |why: NotTaken| {
        Way::over(move |_, _, _| {
            let why = why.clone();
            Box::pin(async move { Ok(RegionReply::NotTaken(why)) })
        })
    };
    for (way, wanted, part) in [
        (told(NoFate::NotSent), "DMC-OWNERSHIP-11", "out of reach"),
        (told(NoFate::Unknown), "DMC-OWNERSHIP-04", "node 1"),
        (says(NotTaken::Stranger), "DMC-OWNERSHIP-11", "does not know this key"),
        (says(NotTaken::Stopping), "DMC-OWNERSHIP-11", "about to stop"),
        (says(NotTaken::Unread), "DMC-OWNERSHIP-11", "same build"),
    ] {
        let (status, code, reason) = refused(way).await;
        assert!(status == 503 && code == wanted && reason.contains(part), "{status} {code} {reason}");
    }
    // No room, at the one and at the other.
    let held = owner.rooms.taken_in.acquire_many(TAKEN_IN_BYTES as u32).await.unwrap();
    let (status, code, _) = refused(to(&owner, Ok)).await;
    assert_eq!((status, code.as_str()), (429, "DMC-RECEIVE-07"));
    drop(held);
    let other = front_of(OTHER, nodes, to(&owner, Ok));
    let held = other.rooms.carried.acquire_many(CARRIED_BYTES as u32).await.unwrap();
    let (status, _) = other.send(&other.key, "/app/_doc", None, "{\"a\":1}").await;
    assert_eq!(status, 429);
    drop(held);
    // What waits for other nodes takes no room from what belongs here.
    let documents = Arc::clone(&other.rooms.carried_documents);
    let held = documents.acquire_many(CARRIED_DOCUMENTS as u32).await.unwrap();
    assert_eq!(other.send(&other.key, "/app/_doc", None, "{\"a\":1}").await.0, 429);
    assert_eq!(other.rooms.documents.available_permits(), DOCUMENTS_AT_ONCE);
    drop(held);
    assert_eq!(other.send(&other.key, "/app/_doc", None, "{\"a\":1}").await.0, 201);
    assert_eq!(owner.counted(), (1, 0));
}

#[tokio::test]
async fn a_key_that_the_owner_does_not_let_send_brings_nothing_through_another_node() {
    for change in [
        (|policy: &mut Policy| policy.keys.clear()) as fn(&mut Policy),
        |policy| policy.keys.values_mut().for_each(|key| Arc::make_mut(key).roles.ingest = false),
        |policy| policy.keys.values_mut().for_each(|key| Arc::make_mut(key).tenant = TenantId(2)),
    ] {
        let nobody = Way::over(|_, _, _| Box::pin(async { Err(NoFate::NotSent) }));
        let owner = front_of(NodeId(1), change, nobody);
        let other = front_of(OTHER, nodes, to(&owner, Ok));
        let (status, answer) = other.send(&other.key, "/app/_doc", None, "{\"a\":1}").await;
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("DMC-OWNERSHIP-11")), "{answer}");
        assert_eq!(owner.counted(), (0, 0));
    }
    // Nor does it reach a stream of another tenant: streams are looked for among those of the key.
    let (owner, other) = pair();
    let seen = Arc::new(parking_lot::Mutex::new(None));
    let (line, kept) = (Arc::clone(&owner.line), Arc::clone(&seen));
    let way = Way::over(move |_, ask, _| {
        let (line, kept) = (Arc::clone(&line), Arc::clone(&kept));
        Box::pin(async move {
            let RegionAsk::Batch(batch) = ask else { panic!("{ask:?}") };
            *kept.lock() = Some(batch.clone());
            Ok(line.take_in(batch).await.map_or_else(RegionReply::NotTaken, RegionReply::Fates))
        })
    });
    let third = front_of(OTHER, nodes, way);
    assert_eq!(third.send(&third.key, "/app/_doc", None, "{\"a\":1}").await.0, 201);
    let batch: RecordBatch = seen.lock().take().unwrap();
    let of_nobody = RecordBatch { streams: vec![StreamId(77)], ..batch.clone() };
    let fates = owner.line.take_in(of_nobody).await.unwrap();
    assert_eq!(fates.fates, [RecordFate::NotMine]);
    let outside = RecordBatch { streams: Vec::new(), ..batch };
    assert!(matches!(owner.line.take_in(outside).await, Err(NotTaken::Unread)));
    drop(other);
}

#[tokio::test]
async fn a_stream_that_is_on_its_way_to_another_node_goes_in_no_circle() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = {
        let asked = Arc::clone(&asked);
        Way::over(move |_, _, _| {
            asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Err(NoFate::NotSent) })
        })
    };
    let give_app = |policy: &mut Policy| {
        nodes(policy);
        give(policy, "app", OTHER);
    };
    // The first one thinks that the second writes it, and the other way round.
    let owner = front_of(NodeId(1), give_app, counting);
    let other = front_of(OTHER, nodes, to(&owner, Ok));
    let body = "{\"index\":{}}\n{\"a\":1}\n{\"index\":{\"_index\":\"web\"}}\n{\"a\":2}\n";
    let (status, answer) = other.send(&other.key, "/app/_bulk", None, body).await;
    assert_eq!((status, statuses(&answer)), (200, vec![503, 201]), "{answer}");
    let error = &answer["items"][0]["index"]["error"];
    assert!(error["code"] == "DMC-OWNERSHIP-11" && error.to_string().contains("does not write it"), "{answer}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_large_body_is_carried_in_pieces_and_under_an_id_whole_or_not_at_all() {
    let (mut owner, other) = pair();
    let count = 3 * PIECE_BYTES / 100_000;
    let filler = "x".repeat(99_980);
    let body: String = (0..count).map(|n| format!("{{\"n\":{n},\"m\":\"{filler}\"}}\n")).collect();
    let mut durable = std::mem::replace(&mut owner.durable, mpsc::channel(1).1);
    let reader = tokio::task::spawn_blocking(move || {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            for group in durable.blocking_recv().unwrap() {
                numbers.extend(group.records.iter().filter_map(|record| record.source().get("n")?.as_u64()));
            }
        }
        (numbers, durable)
    });
    let (status, answer) = other.send(&other.key, "/api/v1/ingest/app", None, body.clone()).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(count)), "{answer}");
    let (numbers, _durable) = reader.await.unwrap();
    assert!(numbers.into_iter().eq(0..count as u64), "in their order");

    let (status, answer) = other.send(&other.key, "/api/v1/ingest/app", Some("large"), body).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("DMC-OWNERSHIP-13")), "{answer}");
    assert_eq!(owner.counted(), (count as u64, 0));
}

#[tokio::test]
async fn a_node_whose_line_has_ended_takes_nothing_from_a_neighbour() {
    let (owner, other) = pair();
    assert_eq!(other.send(&other.key, "/app/_doc", None, "{\"a\":1}").await.0, 201);
    owner.rooms.places.close();
    let (status, answer) = other.send(&other.key, "/app/_doc", None, "{\"a\":1}").await;
    assert!(status == 503 && answer.to_string().contains("about to stop"), "{answer}");
}

/// Says of all records of a batch that they are not this node's.
fn not_mine(ask: &RegionAsk) -> RegionReply {
    let RegionAsk::Batch(batch) = ask else { panic!("{ask:?}") };
    let fates = vec![RecordFate::NotMine; batch.records.len()];
    RegionReply::Fates(BatchFates { fates, failures: Vec::new(), ids: Vec::new(), repeated: false })
}

#[tokio::test]
async fn what_comes_in_for_a_stream_on_its_way_is_held_and_taken_once_where_it_arrives() {
    for (batch, body) in [(None, "{\"a\":1}\n{\"a\":2}\n"), (Some("b1"), "{\"a\":1}\n{\"half\n{\"a\":2}\n")] {
        let owner = front();
        let (tries, way) = (Arc::new(AtomicUsize::new(0)), to(&owner, Ok));
        let count = Arc::clone(&tries);
        let way = Way::over(move |to, ask, within| {
            if count.fetch_add(1, Ordering::Relaxed) < 2 {
                let reply = not_mine(&ask);
                return Box::pin(async move { Ok(reply) });
            }
            (way.0)(to, ask, within)
        });
        let other = front_of(OTHER, nodes, way);
        let path = "/api/v1/ingest/app";
        let (status, answer) = other.send(&other.key, path, batch, body).await;
        assert_eq!((status, &answer["accepted"], &answer["repeated"]), (200, &json!(2), &json!(false)), "{answer}");
        assert_eq!((tries.load(Ordering::Relaxed), owner.counted().0, other.counted().0), (3, 2, 0));
        assert_eq!(other.rooms.held.available_permits(), HELD_BYTES);
        assert_eq!(other.rooms.carried.available_permits(), CARRIED_BYTES);
        assert_eq!(other.rooms.carried_documents.available_permits(), CARRIED_DOCUMENTS);
        if batch.is_some() {
            let (status, again) = owner.send(&owner.key, path, batch, body).await;
            assert_eq!((status, &again["accepted"], &again["repeated"]), (200, &json!(2), &json!(true)), "{again}");
        }
    }
}

#[tokio::test]
async fn what_an_owner_did_not_take_goes_to_whoever_has_the_stream_by_then() {
    for first in [Ok(RegionReply::NotTaken(NotTaken::Stopping)), Err(NoFate::NotSent)] {
        let known: Arc<std::sync::OnceLock<PolicyWatch>> = Arc::default();
        let (tries, hears) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&known));
        let count = Arc::clone(&tries);
        let way = Way::over(move |_, _, _| {
            count.fetch_add(1, Ordering::Relaxed);
            let watch = hears.get().unwrap();
            let mut next = Policy::clone(&watch.now());
            give(&mut next, "app", OTHER);
            watch.replace(next);
            let first = first.clone();
            Box::pin(async move { first })
        });
        let other = front_of(OTHER, nodes, way);
        known.set(other.line.ownership.policy().clone()).ok().unwrap();
        let body = "{\"index\":{\"_id\":\"7\"}}\n{\"a\":1}\n{\"index\":{\"_id\":\"8\"}}\n{\"a\":2}\n";
        let (status, answer) = other.send(&other.key, "/app/_bulk", None, body).await;
        assert_eq!((status, statuses(&answer)), (200, vec![201, 201]), "{answer}");
        assert_eq!((tries.load(Ordering::Relaxed), other.counted()), (1, (2, 0)));
    }
}

#[tokio::test]
async fn what_lasts_is_refused_after_a_while_and_at_once_where_too_much_is_held() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let way = Way::over(move |_, ask, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let reply = not_mine(&ask);
        Box::pin(async move { Ok(reply) })
    });
    let other = front_of(OTHER, nodes, way);
    let send = async || {
        let begun = std::time::Instant::now();
        let (status, answer) = other.send(&other.key, "/app/_doc", None, "{\"a\":1}").await;
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("DMC-OWNERSHIP-11")), "{answer}");
        begun.elapsed()
    };
    assert!(send().await >= PATIENCE);
    assert!(tries.swap(0, Ordering::Relaxed) > 2);
    let held = other.rooms.held.acquire_many(HELD_BYTES as u32).await.unwrap();
    send().await;
    assert_eq!(tries.swap(0, Ordering::Relaxed), 1, "nobody waits");
    drop(held);
    send().await;
    assert!(tries.load(Ordering::Relaxed) > 2);
    assert_eq!((other.counted(), other.rooms.held.available_permits()), ((0, 3), HELD_BYTES));
}
