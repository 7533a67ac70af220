//! Two nodes of one region before the same records: whichever is asked answers as one node with all of them would, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domicile_proto::codec::{decode, encode};
use domicile_proto::ids::{ErasureId, NodeId, ShardId, StreamId, TenantId};
use domicile_proto::message::answer::Answer;
use domicile_proto::message::region::{Asker, NotSearched, RegionAsk, RegionReply, RowSearch, SearchBytes};
use domicile_proto::metadata::{AccessKey, Rows};
use serde_json::{Value, json};

use super::owners::{NoWord, Owners};
use super::world::{ADMIN, BLIND, FULL, IN_APP, INGEST, OTHER_ADMIN, SEARCH, World, ask, name};
use crate::federate::Carrier;
use crate::limits::{HOLDINGS_AT_ONCE, HOLDINGS_OF_TENANT_AT_ONCE};
use crate::policy::{Policy, Unaware};

pub(super) const FIRST: NodeId = NodeId(1);
pub(super) const SECOND: NodeId = NodeId(4);

/// The way to one other node, in the frames of the link.
pub(super) fn to(world: &World) -> Owners {
    let desk = Arc::clone(&world.desk);
    Owners::over(move |to, ask, mut arriving, _| {
        let desk = Arc::clone(&desk);
        Box::pin(async move {
            assert_eq!(to.id.node, desk.parts.node);
            let ask = decode::<RegionAsk>(&encode(&ask).expect("within its bound")).expect("a frame");
            let reply = match ask {
                RegionAsk::Search(search) => match desk.searched(search).await {
                    Ok((pieces, rows, _held)) => {
                        assert!(pieces.iter().all(|piece| arriving.take(piece)));
                        RegionReply::RowsEnd(rows)
                    }
                    Err(why) => RegionReply::NotSearched(why),
                },
                RegionAsk::Refresh(streams) => desk.refreshed(&streams).await,
                RegionAsk::Holdings(asker, streams) => desk.holdings_here(&asker, &streams).0,
                other => panic!("{other:?}"),
            };
            let reply = decode::<RegionReply>(&encode(&reply).expect("within its bound")).expect("a frame");
            Ok((arriving, reply))
        })
    })
}

fn nobody() -> Owners {
    Owners::over(|_, _, _, _| Box::pin(async { Err(NoWord::Silent) }))
}

pub(super) fn give(stream: &'static str, to: NodeId) -> impl Fn(&mut Policy) {
    move |policy| {
        let view = policy.streams.get_mut(&(TenantId(1), name(stream))).expect("a stream");
        let view = Arc::make_mut(view);
        view.shard = view.shard.map(|(shard, _)| (shard, to));
    }
}

/// What a door says, but for the time it took.
pub(super) async fn said(world: &World, key: u8, path: &str, body: &str) -> (u16, Value) {
    let router = if path.starts_with("/api/") { world.native() } else { world.elastic() };
    let answer = ask(router, key, "POST", path, body.to_owned()).await;
    let mut json = answer.json();
    let mut responses: Vec<&mut Value> = vec![];
    let (first, rest) = json.as_object_mut().map_or((None, None), |all| {
        all.remove("took_ms");
        (all.remove("took"), all.get_mut("responses"))
    });
    responses.extend(rest.and_then(Value::as_array_mut).into_iter().flatten());
    for response in responses {
        response.as_object_mut().map(|one| one.remove("took"));
    }
    assert!(first.is_none_or(|took| took.is_u64()));
    (answer.status.as_u16(), json)
}

fn searches(stream: &str) -> Vec<(String, String)> {
    let aggs = json!({
        "levels": {"terms": {"field": "level"}, "aggs": {"ms": {"avg": {"field": "ms"}}}},
        "minutes": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}},
        "services": {"cardinality": {"field": "service"}},
        "spread": {"percentiles": {"field": "ms"}},
    });
    let bodies = [
        json!({}),
        json!({"size": 7, "from": 5, "sort": [{"@timestamp": "desc"}]}),
        json!({"size": 7, "sort": [{"@timestamp": "asc"}], "track_total_hits": true}),
        json!({"size": 500, "query": {"match": {"message": "payment"}}, "track_total_hits": 20}),
        json!({"size": 3, "query": {"bool": {"must": [{"term": {"level": "error"}}], "must_not": [{"exists": {"field": "ratio"}}]}},
            "sort": [{"@timestamp": "desc"}], "track_total_hits": false}),
        json!({"size": 0, "aggs": aggs, "track_total_hits": true}),
        json!({"size": 2, "query": {"range": {"@timestamp": {"gte": "now-1h"}}}, "aggs": aggs}),
        json!({"size": 1, "query": {"ids": {"values": ["own-5", "own-10"]}}}),
        json!({"size": 1, "_source": ["level"], "query": {"query_string": {"query": "level:ERROR OR connect*"}}}),
    ];
    let mut all: Vec<_> = bodies.iter().map(|body| (format!("/{stream}/_search"), body.to_string())).collect();
    all.push((format!("/{stream}/_count"), json!({"query": {"term": {"level": "info"}}}).to_string()));
    let lines: String = bodies.iter().map(|body| format!("{{}}\n{body}\n")).collect();
    all.push((format!("/{stream}/_msearch"), lines));
    all
}

async fn answer_alike(a: &World, b: &World, stream: &str) {
    for (path, body) in searches(stream) {
        for key in [SEARCH, FULL, ADMIN, BLIND] {
            let (status, wanted) = said(a, key, &path, &body).await;
            assert_eq!(status, 200, "{wanted}");
            let (status, found) = said(b, key, &path, &body).await;
            assert_eq!((status, found.to_string()), (200, wanted.to_string()), "{path} {body}");
        }
    }
}

#[tokio::test]
async fn a_node_without_a_stream_answers_word_for_word_as_the_node_that_writes_it() {
    let owner = World::new();
    let other = World::beside(SECOND, |_| {}, to(&owner));
    for stream in ["app", "web", "app,web", "*"] {
        answer_alike(&owner, &other, stream).await;
    }
    for body in [
        json!({"stream": "app", "size": 4}),
        json!({"stream": "web", "size": 4, "query": "level:ERROR", "sort": "oldest"}),
        json!({"stream": "app", "on_missing": "fail", "filter": {"term": {"level": "warn"}}}),
    ] {
        let wanted = said(&owner, SEARCH, "/api/v1/search", &body.to_string()).await;
        assert!(wanted.0 == 200 && wanted.1["total"].is_object(), "{wanted:?}");
        assert_eq!(said(&other, SEARCH, "/api/v1/search", &body.to_string()).await, wanted);
    }
    let (_, blind) = said(&other, BLIND, "/app/_search", "{}").await;
    assert_eq!(blind["hits"]["hits"], json!([]), "a key without rows sees none anywhere");
}

#[tokio::test]
async fn pages_over_streams_of_several_nodes_go_on_where_the_last_one_ended() {
    let whole = World::new();
    let first = World::beside(FIRST, give("web", SECOND), nobody());
    let second = World::beside(SECOND, give("web", SECOND), to(&first));
    let first = World::beside(FIRST, give("web", SECOND), to(&second));
    for world in [&first, &second] {
        answer_alike(&whole, world, "app,web").await;
        answer_alike(&whole, world, "*").await;
    }
    let mut pages = BTreeMap::new();
    for (place, world) in [&whole, &first, &second].into_iter().enumerate() {
        let mut after = Value::Null;
        let mut ids = Vec::new();
        loop {
            let mut body = json!({"size": 33, "sort": [{"@timestamp": "desc"}, "_shard_doc"]});
            if !after.is_null() {
                body["search_after"] = after.clone();
            }
            let (_, found) = said(world, SEARCH, "/app,web/_search", &body.to_string()).await;
            let hits = found["hits"]["hits"].as_array().expect("hits").clone();
            let Some(last) = hits.last() else { break };
            after = last["sort"].clone();
            ids.extend(hits.iter().map(|hit| (hit["_index"].to_string(), hit["_id"].to_string())));
        }
        pages.insert(place, ids);
    }
    assert!(pages[&0].len() > IN_APP as usize);
    assert!(pages[&0] == pages[&1] && pages[&0] == pages[&2]);
}

#[tokio::test]
async fn an_owner_that_says_nothing_makes_the_whole_answer_fail_and_is_named() {
    let world = World::beside(SECOND, give("web", SECOND), nobody());
    for (path, body) in [
        ("/app/_search", "{}"),
        ("/app,web/_search", "{}"),
        ("/app/_count", "{}"),
        ("/app/_refresh", ""),
        ("/api/v1/search", r#"{"stream": "app", "on_missing": "partial"}"#),
    ] {
        let router = if path.starts_with("/api/") { world.native() } else { world.elastic() };
        let answer = ask(router, SEARCH, "POST", path, body).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text);
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(
            answer.text.contains("DMC-OWNERSHIP-10") && answer.text.contains("`app` lies with node 1"),
            "{}",
            answer.text
        );
    }
    let (status, many) = said(&world, SEARCH, "/_msearch", "{\"index\":\"app\"}\n{}\n{\"index\":\"web\"}\n{}\n").await;
    assert_eq!((status, &many["responses"][0]["error"]["code"]), (200, &json!("DMC-OWNERSHIP-10")), "{many}");
    assert_eq!(many["responses"][1]["status"], 200, "what this node holds it answers: {many}");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_was_carried_once_is_not_carried_again() {
    // The first node heard that the second one writes the stream; the second one has not yet.
    let first =
        World::beside(FIRST, give("app", SECOND), Owners::over(|_, _, _, _| panic!("asks nobody for a neighbour")));
    let second = World::beside(SECOND, |_| {}, to(&first));
    let (status, found) = said(&second, SEARCH, "/app/_search", "{}").await;
    assert_eq!((status, &found["error"]["code"]), (503, &json!("DMC-OWNERSHIP-10")), "{found}");
    assert!(found.to_string().contains("on its way to another one"), "{found}");
    let (status, found) = said(&second, INGEST, "/app/_refresh", "").await;
    assert_eq!((status, &found["error"]["code"]), (503, &json!("DMC-OWNERSHIP-10")), "{found}");
}

#[tokio::test]
async fn the_node_that_answers_looks_the_key_up_itself() {
    let owner = World::new();
    let search = |key: &str, rows| RowSearch {
        asker: Asker { key: name(key), tenant: TenantId(1), rows },
        streams: vec![StreamId(1)],
        wait_ms: 10_000,
        wanted: SearchBytes(vec![1, 2, 3]),
    };
    let refused = async |search| owner.desk.searched(search).await.err();
    assert_eq!(refused(search("nobody", Rows::Full)).await, Some(NotSearched::Stranger));
    let sends = search(&format!("key-{INGEST}"), Rows::Full);
    assert_eq!(refused(sends).await, Some(NotSearched::Stranger), "a key that may not search");
    let mine = search(&format!("key-{SEARCH}"), Rows::Full);
    assert_eq!(
        refused(RowSearch { streams: vec![StreamId(77)], ..mine.clone() }).await,
        Some(NotSearched::NotMine(StreamId(77)))
    );
    let foreign = Asker { tenant: TenantId(2), ..mine.asker.clone() };
    assert_eq!(refused(RowSearch { asker: foreign, ..mine.clone() }).await, Some(NotSearched::Stranger));
    assert_eq!(refused(mine).await, Some(NotSearched::Unread), "no search");

    // Where one of the two nodes has not heard yet that a key sees less, it sees less already.
    let less = |policy: &mut Policy| {
        for key in policy.keys.values_mut().filter(|key| key.id == name(&format!("key-{SEARCH}"))) {
            *key = Arc::new(AccessKey { rows: Rows::None, ..AccessKey::clone(key) });
        }
    };
    let sees_less = World::beside(SECOND, less, to(&owner));
    let (_, found) = said(&sees_less, SEARCH, "/app/_search", "{}").await;
    assert_eq!((&found["hits"]["hits"], &found["hits"]["total"]["value"]), (&json!([]), &json!(IN_APP)), "{found}");
    let owner = World::beside(FIRST, less, nobody());
    let sees_more = World::beside(SECOND, |_| {}, to(&owner));
    let (_, found) = said(&sees_more, SEARCH, "/app/_search", "{}").await;
    assert_eq!((&found["hits"]["hits"], &found["hits"]["total"]["value"]), (&json!([]), &json!(IN_APP)), "{found}");
}

#[tokio::test]
async fn what_the_owner_refuses_is_refused_in_the_same_words_and_so_is_what_only_the_asked_node_may_not_show() {
    let owner = World::new();
    let other = World::beside(SECOND, |_| {}, to(&owner));
    let personal = json!({"query": {"match": {"message": "hanako@example.org"}}}).to_string();
    let cases = [("/app/_search", personal.as_str()), ("/app/_count", personal.as_str())];
    for (path, body) in cases {
        let (status, refused) = said(&owner, SEARCH, path, body).await;
        assert_eq!(said(&other, SEARCH, path, body).await, (status, refused.clone()), "{path}");
        assert_eq!((status, &refused["error"]["code"]), (403, &json!("DMC-QUERY-12")), "{refused}");
    }
    owner.desk.parts.catalog.set_whole(ShardId(7), false);
    let refused = said(&owner, SEARCH, "/app/_search", "{}").await;
    assert_eq!(refused.1["error"]["code"], "DMC-SEGMENT-10");
    assert_eq!(said(&other, SEARCH, "/app/_search", "{}").await, refused);
    owner.desk.parts.catalog.set_whole(ShardId(7), true);

    let unaware = |of: &[(TenantId, ErasureId)], was_away| Unaware { was_away, of: of.iter().copied().collect() };
    for lacks in [unaware(&[(TenantId(1), ErasureId(7))], false), unaware(&[], true)] {
        owner.desk.parts.awareness.set(lacks.clone());
        let refused = said(&owner, SEARCH, "/app/_search", "{}").await;
        assert!(refused.0 == 503 && refused.1.to_string().contains("DMC-ERASE-"), "{refused:?}");
        assert_eq!(said(&other, SEARCH, "/app/_search", "{}").await, refused);
        owner.desk.parts.awareness.set(Unaware::default());
        other.desk.parts.awareness.set(lacks);
        assert_eq!(said(&other, SEARCH, "/app/_search", "{}").await, refused, "only the node that is asked lacks it");
        other.desk.parts.awareness.set(Unaware::default());
    }
    assert_eq!(said(&other, SEARCH, "/app/_search", "{}").await.0, 200);
}

#[tokio::test]
async fn a_refresh_reaches_the_nodes_that_write_the_streams() {
    let first = World::beside(FIRST, give("web", SECOND), nobody());
    let second = World::beside(SECOND, give("web", SECOND), to(&first));
    let (status, said) = said(&second, INGEST, "/app,web/_refresh", "").await;
    assert_eq!((status, &said["_shards"]["successful"]), (200, &json!(2)), "{said}");
    let refreshes = |world: &World| world.refreshes.load(Ordering::SeqCst);
    assert_eq!((refreshes(&first), refreshes(&second)), (1, 1));
}

/// The way of questions behind the gate to one other node, in the frames of the link.
fn carrying_to(world: &World) -> Carrier {
    let owner = Arc::clone(&world.owner);
    Carrier::over(SECOND, move |_, asked, _| {
        let owner = Arc::clone(&owner);
        let frame = encode(&RegionAsk::Gated(asked)).expect("within its bound");
        let Ok(RegionAsk::Gated(asked)) = decode(&frame) else { panic!("another frame") };
        Box::pin(async move {
            let (answered, drawn) = owner.judged(asked).await;
            let frame = encode(answered.answer()).expect("the owner's answer is a frame");
            assert_eq!(decode::<Answer>(&frame).as_ref(), Ok(answered.answer()));
            Ok((answered, drawn))
        })
    })
}

#[tokio::test]
async fn numbers_behind_the_gate_are_the_same_at_a_node_without_the_stream() {
    let owner = World::new();
    let (asked, way) = (Arc::new(AtomicUsize::new(0)), to(&owner));
    let count = Arc::clone(&asked);
    let counted = Owners::over(move |to, ask, arriving, within| {
        assert!(matches!(ask, RegionAsk::Holdings(..)), "{ask:?}");
        count.fetch_add(1, Ordering::SeqCst);
        way.ask(to, ask, arriving, within)
    });
    let other = World::carrying(SECOND, |_| {}, counted, Some(carrying_to(&owner)));
    let every = json!({
        "count": {}, "histogram": {"interval": "1m"}, "terms": {"field": "level"}, "numbers": {"field": "ms"},
        "sum": {"field": "ms", "by": "service", "interval": "1h"}, "distinct": {"field": "service"},
        "quantile": {"field": "ms", "percent": 95}, "terms_histogram": {"field": "level", "interval": "1h"},
    });
    let numbers = async |world: &World, key, body: &Value| {
        let (status, said) = said(world, key, "/api/v1/search", &body.to_string()).await;
        let regions = said["coverage"].as_object().cloned().unwrap_or_default();
        let standings: Vec<_> = regions.iter().map(|(name, said)| (name.clone(), said["status"].clone())).collect();
        (status, said["result"].clone(), said["aggregations"].clone(), said["total"].clone(), standings)
    };
    for (body, ends) in [
        (json!({"stream": "app", "ask": "count"}), 0),
        (json!({"stream": "app", "ask": {"histogram": 60}}), 1),
        (json!({"stream": "app", "aggregations": every}), 1),
        (json!({"stream": "app", "ask": "count", "regions": ["*"], "query": "level:ERROR"}), 0),
        (json!({"stream": "app", "aggregations": {"histogram": {"interval": "1h"}}, "regions": ["*"]}), 0),
    ] {
        for key in [SEARCH, BLIND, ADMIN] {
            let before = asked.load(Ordering::SeqCst);
            let wanted = numbers(&owner, key, &body).await;
            assert!(wanted.0 == 200 && wanted.3["value"].as_u64().is_some_and(|value| value > 0), "{wanted:?}");
            assert_eq!(numbers(&other, key, &body).await, wanted, "{body}");
            assert_eq!(asked.load(Ordering::SeqCst), before + ends, "the ends of a stream are asked for once: {body}");
        }
    }
    // A key of another tenant sees no stream at all.
    let (status, said) = said(&other, OTHER_ADMIN, "/api/v1/search", r#"{"stream": "app", "ask": "count"}"#).await;
    assert_eq!((status, &said["error"]["code"]), (404, &json!("DMC-PRESENT-01")), "{said}");
}

#[tokio::test]
async fn a_histogram_without_a_range_is_refused_where_the_owner_says_nothing_of_what_it_holds() {
    let owner = World::new();
    let deaf = World::carrying(SECOND, |_| {}, nobody(), Some(carrying_to(&owner)));
    for wanted in [
        json!({"stream": "app", "ask": {"histogram": 60}}),
        json!({"stream": "app", "ask": {"histogram": 60}, "on_missing": "partial"}),
        json!({"stream": "app", "aggregations": {"count": {}, "histogram": {"interval": "1m"}}}),
    ] {
        let (status, said) = said(&deaf, SEARCH, "/api/v1/search", &wanted.to_string()).await;
        assert_eq!((status, &said["error"]["code"]), (503, &json!("DMC-OWNERSHIP-10")), "{said}");
    }
    let (status, said) = said(&deaf, SEARCH, "/api/v1/search", r#"{"stream": "app", "ask": "count"}"#).await;
    assert!(status == 200 && said["total"]["value"].as_u64().is_some_and(|value| value > 0), "{said}");
}

#[tokio::test]
async fn a_list_of_the_streams_names_what_all_nodes_of_the_region_hold_or_says_who_is_silent() {
    let list = async |world: &World, key, path: &str| {
        let answer = ask(world.elastic(), key, "GET", path, "").await;
        (answer.status.as_u16(), answer.text)
    };
    let whole = World::new();
    let first = World::beside(FIRST, give("web", SECOND), nobody());
    let second = World::beside(SECOND, give("web", SECOND), to(&first));
    for path in ["/_cat/indices?format=json", "/_cat/indices", "/_cat/indices/app?format=json", "/_cat/indices/web"] {
        for key in [SEARCH, BLIND, ADMIN] {
            let wanted = list(&whole, key, path).await;
            assert_eq!(wanted.0, 200, "{wanted:?}");
            assert_eq!(list(&second, key, path).await, wanted, "{path}");
        }
        assert_eq!(list(&second, INGEST, path).await.0, 403, "a key that may not search");
    }
    let (_, named) = list(&second, SEARCH, "/_cat/indices?format=json").await;
    assert!(named.contains(&format!(r#""docs.count":"{IN_APP}""#)), "{named}");
    let (_, named) = list(&second, OTHER_ADMIN, "/_cat/indices?format=json").await;
    assert_eq!(named.trim(), "[]", "another tenant has no streams");

    let alone = World::beside(SECOND, give("web", SECOND), nobody());
    for path in ["/_cat/indices", "/_cat/indices?format=json", "/_cat/indices/app"] {
        let (status, said) = list(&alone, SEARCH, path).await;
        assert!(status == 503 && said.contains("DMC-OWNERSHIP-10") && said.contains("node 1"), "{status} {said}");
    }
    assert_eq!(list(&alone, SEARCH, "/_cat/indices/web").await.0, 200, "what lies here is said");
    first.desk.parts.catalog.set_whole(ShardId(7), false);
    let (status, said) = list(&second, SEARCH, "/_cat/indices").await;
    assert!(status == 503 && said.contains("DMC-SEGMENT-10"), "{status} {said}");
}

#[tokio::test]
async fn an_owner_says_to_so_many_neighbours_at_once_what_its_streams_hold() {
    let owner = World::new();
    let other = World::beside(SECOND, |_| {}, to(&owner));
    let list = async || ask(other.elastic(), SEARCH, "GET", "/_cat/indices", "").await.status.as_u16();
    let says = |key: u8, tenant, streams: &[StreamId]| {
        let asker = Asker { key: name(&format!("key-{key}")), tenant: TenantId(tenant), rows: Rows::None };
        owner.desk.holdings_here(&asker, streams)
    };
    let hold = |count, key, tenant, streams: &[StreamId]| -> Vec<_> {
        let held = (0..count).map(|_| says(key, tenant, streams)).collect::<Vec<_>>();
        assert!(held.iter().all(|(reply, place)| matches!(reply, RegionReply::Holdings(_)) && place.is_some()));
        held
    };
    let mut held = hold(HOLDINGS_OF_TENANT_AT_ONCE, SEARCH, 1, &[StreamId(1)]);
    assert_eq!(says(SEARCH, 1, &[StreamId(1)]).0, RegionReply::NotSearched(NotSearched::Busy));
    assert_eq!(list().await, 429, "whoever asked is told so");
    let others = hold(HOLDINGS_AT_ONCE - HOLDINGS_OF_TENANT_AT_ONCE, OTHER_ADMIN, 2, &[]);
    drop(held.pop());
    let last = hold(1, SEARCH, 1, &[StreamId(2)]);
    assert_eq!(list().await, 429);
    drop((held, last));
    assert_eq!(list().await, 200);
    drop(others);
}
