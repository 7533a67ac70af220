//! The native port as clients see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use domicile_proto::ids::{Epoch, TenantId};
use serde_json::{Value, json};

use super::{listed, openapi};
use crate::policy::Policy;
use crate::present::world::{
    ADMIN, ADMIN_FULL, AUDIT, Answer, EVENTS, FULL, IN_APP, INGEST, OTHER_ADMIN, SEARCH, World, ask, name,
};

async fn post(world: &World, body: &Value) -> Answer {
    ask(world.native(), SEARCH, "POST", "/api/v1/search", body.to_string()).await
}

async fn found(world: &World, body: Value) -> Value {
    let answer = post(world, &body).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.text);
    answer.json()
}

#[test]
fn every_route_stands_in_the_document_and_nothing_else() {
    let document = openapi::whole();
    let mut described: Vec<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    let routes = listed().into_iter().chain(crate::present::admin::listed());
    let mut routes: Vec<String> = routes.map(|(path, _)| path.to_owned()).collect();
    routes.extend(crate::present::admin::subjects::listed().into_iter().map(|(path, _)| path.to_owned()));
    routes.extend(crate::present::admin::lifecycle::listed().into_iter().map(|(path, _)| path.to_owned()));
    routes.extend(crate::present::admin::adoption::listed().into_iter().map(|(path, _)| path.to_owned()));
    routes.extend(crate::present::admin::placement::listed().into_iter().map(|(path, _)| path.to_owned()));
    routes.extend(crate::present::auditor::listed().into_iter().map(|(path, _)| path.to_owned()));
    routes.push("/api/v1/ingest/{stream}".to_owned());
    routes.sort();
    described.sort();
    assert_eq!(routes, described);
    let named = document["components"]["schemas"].as_object().expect("schemas");
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap_or_default();
        assert!(named.contains_key(name), "`{name}` is referred to and not described");
    }
}

#[tokio::test]
async fn without_regions_rows_of_this_one_come_with_an_exact_total() {
    let world = World::new();
    let answer = found(&world, json!({"stream": "app", "size": 3})).await;
    assert_eq!(answer["total"], json!({"value": IN_APP, "relation": "eq"}));
    assert_eq!(answer["hits"].as_array().map(Vec::len), Some(3));
    assert!(answer["hits"][0]["source"]["message"].is_string());
    let named = found(&world, json!({"stream": "app", "size": 3, "regions": ["tokyo"]})).await;
    assert_eq!(named["hits"], answer["hits"]);
    let oldest = found(&world, json!({"stream": "app", "size": 1, "sort": "oldest"})).await;
    assert!(oldest["hits"][0]["sort"][0].as_i64() < answer["hits"][0]["sort"][0].as_i64());
    let human = found(&world, json!({"stream": "app", "query": "level:ERROR"})).await;
    let filter = found(&world, json!({"stream": "app", "filter": {"term": {"level": "ERROR"}}})).await;
    assert_eq!(human["total"], filter["total"]);
}

#[tokio::test]
async fn what_lies_in_the_archive_is_named_by_every_answer_that_lacks_it() {
    let world = World::new();
    let app = world.desk.parts.policy.now().stream(TenantId(1), &name("app")).cloned().unwrap();
    let catalog = &world.desk.parts.catalog;
    let lies = catalog.view(app.shard.unwrap().0).last().cloned().unwrap();
    let all = found(&world, json!({"stream": "app", "size": 3})).await;
    assert!(all.get("not_searched").is_none(), "{all}");
    catalog.put_away(&lies);
    let left = IN_APP - u64::from(lies.docs);
    let answer = found(&world, json!({"stream": "app", "size": 3})).await;
    assert_eq!(answer["total"], json!({"value": left, "relation": "gte"}), "no exact number");
    let missing = &answer["not_searched"][0];
    assert_eq!((&missing["stream"], &missing["records"]), (&json!("app"), &json!(lies.docs)), "{missing}");
    let refused = post(&world, &json!({"stream": "app", "size": 3, "on_missing": "fail"})).await;
    assert!(refused.status != 200 && refused.text.contains("DMC-QUERY-19"), "{}", refused.text);
    let other = found(&world, json!({"stream": "web", "size": 3})).await;
    assert!(other.get("not_searched").is_none() && other["total"]["relation"] == "eq", "{other}");

    let elastic = async |path: &str| ask(world.elastic(), SEARCH, "POST", path, "{}".to_owned()).await;
    let answer = elastic("/app/_search").await.json();
    assert_eq!(answer["_shards"]["failed"], 1, "{answer}");
    assert_eq!(answer["_shards"]["failures"][0]["reason"]["type"], "archived");
    assert_eq!(answer["hits"]["total"], json!({"value": left, "relation": "gte"}));
    let counted = elastic("/app/_count").await.json();
    assert_eq!((&counted["count"], &counted["_shards"]["failed"]), (&json!(left), &json!(1)));
    let refused = elastic("/app/_search?allow_partial_search_results=false").await;
    assert!(refused.status != 200 && refused.text.contains("lifecycle restore"), "{}", refused.text);
}

#[tokio::test]
async fn a_histogram_without_a_range_covers_the_archive_too() {
    let world = World::new();
    let app = world.desk.parts.policy.now().stream(TenantId(1), &name("app")).cloned().unwrap();
    let catalog = &world.desk.parts.catalog;
    let view = catalog.view(app.shard.unwrap().0);
    let covered = async || {
        let asked = json!({"stream": "app", "regions": ["tokyo"], "ask": {"histogram": 60}});
        found(&world, asked).await["result"]["range"].clone()
    };
    let all = covered().await;
    assert!(all["from"].is_number() && view.len() > 1, "{all}");
    for lies in view.iter() {
        catalog.put_away(lies);
        assert_eq!(covered().await, all, "{}", lies.first_seq);
    }
}

#[tokio::test]
async fn every_region_that_was_asked_is_named() {
    let world = World::new();
    let answer = found(&world, json!({"stream": "app", "regions": ["*"]})).await;
    assert_eq!(answer["total"]["relation"], "gte");
    assert_eq!(answer["missing"], json!(["singapore"]));
    let statuses: Vec<_> =
        ["frankfurt", "singapore", "tokyo"].map(|region| answer["coverage"][region]["status"].clone()).into();
    assert_eq!(statuses, ["complete", "unreachable", "complete"]);
    assert!(answer["coverage"]["tokyo"]["took_ms"].is_number());
    assert!(answer.get("hits").is_none(), "rows were not asked for");
    let whole = found(&world, json!({"stream": "app", "regions": ["tokyo", "frankfurt"], "size": 2})).await;
    assert_eq!(whole["hits"].as_array().map(Vec::len), Some(2));
    let failed = post(&world, &json!({"stream": "app", "regions": ["*"], "on_missing": "fail"})).await;
    assert_eq!(failed.status, 502);
    let error = failed.json()["error"].clone();
    assert_eq!(error["code"], "DMC-FEDERATE-03");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("singapore")), "{error}");
}

#[tokio::test]
async fn asks_and_aggregations_give_cells_that_add_up() {
    let world = World::new();
    let range = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:05:00Z"});
    let body = json!({
        "stream": "app", "regions": ["tokyo", "frankfurt"], "range": range, "ask": "count",
        "aggregations": {"count": {}, "histogram": {"interval": "1m"}, "terms": {"field": "level"},
                         "terms_histogram": {"field": "service", "interval": "1m"}},
    });
    let answer = found(&world, body).await;
    let total = answer["total"]["value"].as_u64().expect("a total");
    assert_eq!(answer["result"]["count"]["count"], total);
    let count = |cell: &Value| cell["count"].as_u64().expect("a count");
    let parts = &answer["aggregations"];
    let minutes = parts["histogram"]["histogram"].as_array().expect("cells");
    assert_eq!(minutes.len(), 5);
    assert_eq!(minutes.iter().map(|cell| count(&cell["cell"])).sum::<u64>(), total);
    let rows = parts["terms"]["terms"].as_array().expect("rows");
    let levels: u64 = rows.iter().map(|row| count(&row["cells"])).sum();
    assert_eq!(levels + count(&parts["terms"]["__other__"]), total);
    let grid = &parts["terms_histogram"];
    let rows = grid["terms"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|row| row["value"].clone()).collect::<Vec<_>>(), ["cart", "checkout"]);
    let of_row = |cells: &Value| cells.as_array().expect("cells").iter().map(count).sum::<u64>();
    let sum: u64 = rows.iter().map(|row| of_row(&row["cells"])).sum();
    assert_eq!(sum + of_row(&grid["__other__"]), total);
    for ask in [json!({"terms": "level"}), json!({"histogram": 60}), json!({"terms": "level", "histogram": "1m"})] {
        found(&world, json!({"stream": "app", "regions": ["*"], "last": "1h", "ask": ask})).await;
    }
}

#[tokio::test]
async fn numbers_come_between_declared_bounds_with_their_percentiles() {
    let world = World::new();
    let answer = found(&world, json!({"stream": "app", "regions": ["*"], "ask": {"numbers": "ms"}})).await;
    let all: Vec<u64> =
        world.events.iter().take(IN_APP as usize).map(|event| event.source["ms"].as_u64().expect("a number")).collect();
    let mut below = 0;
    let rows = answer["result"]["numbers"].as_array().expect("cells");
    let ends: Vec<_> = rows.iter().map(|row| row["upto"].as_u64()).collect();
    assert_eq!(ends, [Some(99), Some(199), Some(399), None]);
    for row in rows {
        let is_inside = |ms: &&u64| row["above"].as_u64().is_none_or(|above| **ms > above);
        let count =
            all.iter().filter(is_inside).filter(|ms| row["upto"].as_u64().is_none_or(|upto| **ms <= upto)).count();
        // Frankfurt holds what Tokyo holds.
        assert_eq!(row["cell"]["count"], json!(count * 2), "{row}");
        if below * 2 < all.len() && (below + count) * 2 >= all.len() {
            let median = &answer["result"]["percentiles"]["50"];
            assert_eq!((&median["above"], &median["upto"]), (&row["above"], &row["upto"]));
        }
        below += count;
    }
    assert_eq!(below, all.len());
    let stays = post(&world, &json!({"stream": "app", "regions": ["*"], "ask": {"numbers": "status"}})).await;
    assert_eq!(stays.status, 400, "{}", stays.text);
}

#[tokio::test]
async fn a_personal_literal_leaves_the_others_refused() {
    let world = World::new();
    let answer = found(&world, json!({"stream": "app", "regions": ["*"], "query": "hanako"})).await;
    assert_eq!(answer["coverage"]["frankfurt"]["status"], "refused");
    assert_eq!(answer["coverage"]["frankfurt"]["code"], "PersonalLiteral");
    assert!(
        answer["coverage"]["frankfurt"]["reason"].as_str().is_some_and(|reason| reason.contains("ask in the region"))
    );
}

#[tokio::test]
async fn the_ledger_is_read_by_auditors_alone_and_page_by_page() {
    let world = World::new();
    for _ in 0..3 {
        found(&world, json!({"stream": "app", "regions": ["*"], "query": "hanako"})).await;
    }
    let page = ask(world.native(), AUDIT, "GET", "/api/v1/ledger?after=1&limit=1", "").await.json();
    assert_eq!(page["head"]["size"], 3);
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&page["entries"][0]["number"], &page["entries"][0]["entry"]["kind"]),
        (&json!(2), &json!("refused_question"))
    );
    assert_eq!(page["next"], 2);
    assert!(!page.to_string().contains("hanako"));
    assert_eq!(ask(world.native(), ADMIN, "GET", "/api/v1/ledger", "").await.status, 403);
    // An auditor of another tenant learns that there are entries, and nothing of them.
    let policy = &world.desk.parts.policy;
    let mut next = Policy::clone(&policy.now());
    for key in next.keys.values_mut().filter(|key| key.roles.audit) {
        Arc::make_mut(key).tenant = TenantId(2);
    }
    policy.replace(next);
    let theirs = ask(world.native(), AUDIT, "GET", "/api/v1/ledger", "").await.json();
    assert_eq!((&theirs["entries"], &theirs["next"]), (&json!([]), &json!(3)));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let world = World::new();
    for (body, status) in [
        (json!({"regions": ["*"]}), 400),
        (json!([1, 2, 3]), 400),
        (json!({"stream": "app", "unknown": 1}), 400),
        (json!({"stream": "missing"}), 404),
        (json!({"stream": "missing", "regions": ["*"]}), 404),
        (json!({"stream": "app", "regions": ["atlantis"]}), 400),
        (json!({"stream": "app", "last": "soon"}), 400),
        (json!({"stream": "app", "range": {"from": "yesterday-ish", "to": "now"}}), 400),
        (json!({"stream": "app", "size": 1_000_000}), 400),
        (json!({"stream": "app", "regions": ["*"], "ask": {"terms": "trace_id"}}), 400),
        (json!({"stream": "app", "regions": ["*"], "ask": {"histogram": 1}}), 400),
        (json!({"stream": "app", "regions": ["*"], "ask": {"numbers": "ms", "terms": "level"}}), 400),
        (json!({"stream": "app", "regions": ["*"], "aggregations": {"median": {}}}), 400),
        (json!({"stream": "app", "query": "level:(ERROR"}), 400),
    ] {
        let answer = post(&world, &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        let error = answer.json()["error"].clone();
        for part in ["code", "message", "action"] {
            assert!(error[part].as_str().is_some_and(|text| !text.is_empty()), "{body}: {error}");
        }
    }
    assert_eq!(ask(world.native(), SEARCH, "POST", "/api/v1/search", "{").await.status, 400);
    assert_eq!(ask(world.native(), INGEST, "POST", "/api/v1/search", "{}").await.status, 403);
    assert_eq!(
        ask(world.native(), SEARCH, "GET", "/api/v1/nothing", "").await.json()["error"]["code"],
        "DMC-PRESENT-05"
    );
}

#[tokio::test]
async fn status_and_streams_say_what_there_is() {
    let world = World::new();
    let status = ask(world.native(), SEARCH, "GET", "/api/v1/status", "").await.json();
    assert_eq!(status["leader"], json!({"node": 2, "region": "frankfurt"}));
    assert_eq!(status["round_trips_ms"]["frankfurt"], 70.3);
    assert_eq!(status["tls_keylog"], false);
    assert_eq!(status["time_ms"], world.desk.parts.clock.now().0.div_euclid(1_000));
    assert!(status["ledger"]["root"].as_str().is_some_and(|root| root.len() == 64));
    let streams = ask(world.native(), SEARCH, "GET", "/api/v1/streams", "").await.json();
    let names: Vec<_> =
        streams["streams"].as_array().expect("a list").iter().map(|stream| stream["name"].clone()).collect();
    assert_eq!(names, ["app", "web"]);
    let mut policy = (*world.desk.parts.policy.now()).clone();
    let view = policy.streams.values().next().expect("a stream").clone();
    let (shard, _) = view.shard.expect("a shard");
    policy.epochs.insert(shard, Epoch(6));
    let told = super::streams::about(&view, &policy);
    assert_eq!((&told["shard"], &told["owner"], &told["epoch"]), (&json!(shard), &json!(1), &json!(6)));
    let none = ask(world.native(), OTHER_ADMIN, "GET", "/api/v1/streams", "").await.json();
    assert_eq!(none["streams"], json!([]), "another tenant's streams are not told of");
    let made = ask(world.native(), ADMIN, "POST", "/api/v1/streams", "{\"name\":\"fresh\"}").await;
    assert_eq!((made.status.as_u16(), made.json()["k"].clone()), (200, json!(50)));
    assert_eq!(ask(world.native(), ADMIN, "POST", "/api/v1/streams", "{\"name\":\"hanako\"}").await.status, 400);
    assert_eq!(ask(world.native(), SEARCH, "POST", "/api/v1/streams", "{\"name\":\"more\"}").await.status, 403);
    assert_eq!(EVENTS, 400);
}

#[tokio::test]
async fn how_many_values_are_sealed_is_told_to_nobody_who_may_not_see_them() {
    let world = World::new();
    for with in [SEARCH, INGEST, AUDIT, FULL, ADMIN, OTHER_ADMIN, ADMIN_FULL] {
        let keys = ask(world.native(), with, "GET", "/api/v1/status", "").await.json()["keys"].clone();
        assert_eq!(keys["usable"], true, "{keys}");
        for count in ["originals", "subjects"] {
            assert_eq!(keys.get(count).is_some(), with == ADMIN_FULL, "{with}: {keys}");
        }
    }
}

#[tokio::test]
async fn where_accepted_records_cannot_be_searched_nothing_is_answered_and_the_node_is_not_ready() {
    let world = World::new();
    let catalog = world.desk.parts.catalog.clone();
    let ready = async || ask(world.native(), SEARCH, "GET", "/readyz", "").await.status;
    assert_eq!(ready().await, 200);
    let all = |is_whole| catalog.shards().into_iter().for_each(|shard| catalog.set_whole(shard, is_whole));
    all(false);
    assert_eq!(ready().await, 503);
    let answer = post(&world, &json!({"stream": "app", "size": 3})).await;
    assert!(answer.status == 503 && answer.text.contains("DMC-SEGMENT-10"), "{}", answer.text);
    all(true);
    assert_eq!(ready().await, 200);
    found(&world, json!({"stream": "app", "size": 3})).await;
}

#[tokio::test]
async fn readiness_says_what_the_node_can_do_and_what_not() {
    let world = World::new();
    let ready = async |path: &str| {
        let answer = ask(world.native(), SEARCH, "GET", path, "").await;
        (answer.status.as_u16(), answer.text)
    };
    let ok = (200, "ok\n".to_owned());
    for path in ["/readyz", "/readyz/ingest", "/readyz/search"] {
        assert_eq!(ready(path).await, ok, "{path}");
    }

    world.is_log_full.store(true, Ordering::SeqCst);
    let (status, text) = ready("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        text.starts_with("[-]ingest failed: ")
            && text.contains("DMC-WAL-03")
            && text.ends_with("[+]search ok\n[+]group ok\n[+]ledger ok\n"),
        "{text}"
    );
    assert_eq!(ready("/readyz/search").await, ok, "questions are answered all the while");
    assert_eq!(ready("/readyz/ingest").await.0, 503);
    let status = ask(world.native(), SEARCH, "GET", "/api/v1/status", "").await.text;
    assert!(status.contains("no room for the write-ahead log"), "{status}");
    world.is_log_full.store(false, Ordering::SeqCst);
    assert_eq!(ready("/readyz").await, ok);

    // A node that is about to stop serves on, and nobody should come anew.
    world.is_leaving.store(true, Ordering::SeqCst);
    for path in ["/readyz", "/readyz/ingest", "/readyz/search"] {
        let (status, text) = ready(path).await;
        assert!(status == 503 && text.contains("about to stop"), "{path}: {text}");
    }
    found(&world, json!({"stream": "app", "size": 3})).await;
    world.is_leaving.store(false, Ordering::SeqCst);

    // A node that hears no decision and writes no ledger works on, and wants to be started again.
    world.is_broken.store(true, Ordering::SeqCst);
    let (status, text) = ready("/readyz").await;
    assert!(status == 503 && text.starts_with("[+]ingest ok\n[+]search ok\n[-]group failed: "), "{text}");
    assert!(text.contains("[-]ledger failed: "), "{text}");
    for path in ["/readyz/ingest", "/readyz/search"] {
        assert_eq!(ready(path).await, ok, "{path}");
    }
    let status = ask(world.native(), SEARCH, "GET", "/api/v1/status", "").await.json();
    assert_eq!((&status["state"], status["notes"].as_array().map(Vec::len)), (&json!("failed"), Some(2)), "{status}");
    world.is_broken.store(false, Ordering::SeqCst);
    assert_eq!(ready("/readyz").await, ok);

    let catalog = world.desk.parts.catalog.clone();
    catalog.shards().into_iter().for_each(|shard| catalog.set_whole(shard, false));
    assert_eq!(ready("/readyz/ingest").await, ok);
    let (status, text) = ready("/readyz").await;
    assert!(status == 503 && text.starts_with("[+]ingest ok\n[-]search failed: "), "{text}");
}

#[tokio::test]
async fn a_node_that_knows_less_than_it_holds_does_not_say_that_there_is_nothing() {
    let world = World::new();
    let mut behind = Policy::clone(&world.desk.parts.policy.now());
    let view = behind.streams.get_mut(&(TenantId(1), "app".parse().expect("a name"))).expect("known");
    let shard = std::mem::take(&mut Arc::make_mut(view).shard);
    world.desk.parts.policy.replace(behind.clone());
    let answer = post(&world, &json!({"stream": "app", "size": 3})).await;
    assert!(answer.status == 503 && answer.text.contains("DMC-SEGMENT-12"), "{}", answer.text);
    let (ready, search) = ("/readyz", "/readyz/search");
    for path in [ready, search] {
        let answer = ask(world.native(), SEARCH, "GET", path, "").await;
        assert!(answer.status == 503 && answer.text.contains("DMC-SEGMENT-12"), "{}", answer.text);
    }
    // The other stream has its shard, so that what it says is whole.
    found(&world, json!({"stream": "web", "size": 3})).await;

    let view = behind.streams.get_mut(&(TenantId(1), "app".parse().expect("a name"))).expect("known");
    Arc::make_mut(view).shard = shard;
    world.desk.parts.policy.replace(behind);
    assert_eq!(ask(world.native(), SEARCH, "GET", ready, "").await.status, 200);
    found(&world, json!({"stream": "app", "size": 3})).await;
}
