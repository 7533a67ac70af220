//! The Elasticsearch port as clients see it: shapes, numbers, pages, other regions, errors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::present::world::{
    ADMIN, AUDIT, Answer, BLIND, EVENTS, IN_APP, INGEST, OTHER_ADMIN, SEARCH, World, ask, send,
};

async fn call(world: &World, method: &str, path: &str, body: Value) -> Answer {
    ask(world.elastic(), SEARCH, method, path, body.to_string()).await
}

async fn found(world: &World, path: &str, body: Value) -> Value {
    let answer = call(world, "POST", path, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn levels(world: &World) -> BTreeMap<String, u64> {
    let mut levels = BTreeMap::new();
    for event in world.events.iter().take(IN_APP as usize) {
        *levels.entry(event.source["level"].as_str().expect("a level").to_uppercase()).or_default() += 1;
    }
    levels
}

fn buckets(aggregation: &Value) -> BTreeMap<String, u64> {
    let list = aggregation["buckets"].as_array().expect("buckets").iter();
    list.map(|bucket| {
        let key = bucket["key"].as_str().map_or_else(|| bucket["key"].to_string(), str::to_owned);
        (key, bucket["doc_count"].as_u64().expect("a count"))
    })
    .filter(|(_, count)| *count > 0)
    .collect()
}

#[tokio::test]
async fn every_response_names_the_product_and_is_compact() {
    let world = World::new();
    for (method, path) in [
        ("GET", "/"),
        ("HEAD", "/"),
        ("HEAD", "/app"),
        ("HEAD", "/nothing"),
        ("GET", "/_license"),
        ("GET", "/_xpack"),
        ("GET", "/_nodes/_all/http"),
        ("GET", "/_cluster/health?wait_for_status=yellow"),
        ("GET", "/_cat/indices?format=json"),
        ("GET", "/no/such/path"),
        ("PATCH", "/app/_search"),
    ] {
        let answer = ask(world.elastic(), SEARCH, method, path, Body::empty()).await;
        assert_eq!(answer.headers["x-elastic-product"], "Elasticsearch", "{method} {path}");
        assert!(!answer.text.contains("\": "), "{}", answer.text);
    }
    let root = call(&world, "GET", "/", Value::Null).await.json();
    assert_eq!(root["tagline"], "You Know, for Search");
    assert!(root["version"]["number"].as_str().expect("a version").starts_with("8."));
    assert_eq!(ask(world.elastic(), SEARCH, "HEAD", "/app", Body::empty()).await.status, 200);
    assert_eq!(ask(world.elastic(), SEARCH, "HEAD", "/nothing", Body::empty()).await.status, 404);
}

#[tokio::test]
async fn totals_and_aggregations_equal_an_independent_count() {
    let world = World::new();
    let body = json!({
        "size": 0, "track_total_hits": true,
        "aggs": {"levels": {"terms": {"field": "level", "size": 20}},
                 "minutes": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}}},
    });
    let answer = found(&world, "/app/_search", body).await;
    assert_eq!(answer["hits"]["total"], json!({"value": IN_APP, "relation": "eq"}));
    assert_eq!(buckets(&answer["aggregations"]["levels"]), levels(&world));
    assert_eq!(buckets(&answer["aggregations"]["minutes"]).values().sum::<u64>(), IN_APP);
    assert_eq!(found(&world, "/_all/_count", Value::Null).await["count"], EVENTS);
    assert_eq!(found(&world, "/app,web-2026.01.01/_count", Value::Null).await["count"], EVENTS);
    let errors = found(&world, "/app/_count", json!({"query": {"term": {"level": "ERROR"}}})).await;
    assert_eq!(errors["count"].as_u64(), levels(&world).get("ERROR").copied());
}

#[tokio::test]
async fn search_after_walks_every_record_once_in_either_direction() {
    let world = World::new();
    for way in ["desc", "asc"] {
        let mut seen = BTreeSet::new();
        let mut after = Value::Null;
        let mut times = Vec::new();
        loop {
            let body = json!({"size": 37, "sort": [{"@timestamp": way}], "search_after": after});
            let answer = found(&world, "/app,web/_search", body).await;
            let hits = answer["hits"]["hits"].as_array().expect("hits").clone();
            let Some(last) = hits.last() else { break };
            after = last["sort"].clone();
            for hit in &hits {
                assert!(seen.insert(hit["_id"].as_str().expect("an id").to_owned()), "twice: {hit}");
                times.push(hit["sort"][0].as_i64().expect("a time"));
            }
        }
        assert_eq!(seen.len() as u64, EVENTS);
        assert!(if way == "asc" { times.is_sorted() } else { times.iter().rev().is_sorted() });
    }
}

#[tokio::test]
async fn sources_totals_and_paths_are_cut_as_asked() {
    let world = World::new();
    let answer = found(&world, "/app/_search?size=1&_source_includes=level", Value::Null).await;
    let source = answer["hits"]["hits"][0]["_source"].as_object().expect("a source").clone();
    assert_eq!(source.keys().collect::<Vec<_>>(), ["level"]);
    let answer = found(&world, "/app/_search", json!({"size": 1, "_source": false})).await;
    assert!(answer["hits"]["hits"][0].get("_source").is_none());
    let excluded = json!({"size": 1, "_source": {"excludes": ["message"]}});
    let source = found(&world, "/app/_search", excluded).await["hits"]["hits"][0]["_source"].clone();
    assert!(source.get("message").is_none() && source.get("level").is_some());
    let answer = found(&world, "/app/_search?rest_total_hits_as_int=true", json!({"size": 0})).await;
    assert_eq!(answer["hits"]["total"], IN_APP);
    let answer = found(&world, "/app/_search", json!({"size": 0, "track_total_hits": 10})).await;
    assert_eq!(answer["hits"]["total"], json!({"value": 10, "relation": "gte"}));
    let answer = call(&world, "GET", "/app/_search?filter_path=hits.total.value&size=0", Value::Null).await;
    assert_eq!(answer.text, format!("{{\"hits\":{{\"total\":{{\"value\":{}}}}}}}", IN_APP));
    let first = found(&world, "/app/_search", json!({"size": 5, "sort": [{"timestamp": "desc"}]})).await;
    let second = found(&world, "/app/_search", json!({"size": 2, "from": 3, "sort": [{"timestamp": "desc"}]})).await;
    assert_eq!(second["hits"]["hits"][0]["_id"], first["hits"]["hits"][3]["_id"]);
}

#[tokio::test]
async fn other_regions_give_numbers_and_never_rows() {
    let world = World::new();
    let body = json!({
        "size": 5, "query": {"range": {"@timestamp": {"gte": "2026-01-01T00:00:00Z", "lt": "2026-01-01T00:05:00Z"}}},
        "aggs": {"levels": {"terms": {"field": "level.keyword"}},
                 "minutes": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}}},
    });
    let alone = found(&world, "/app/_search", body.clone()).await;
    let answer = found(&world, "/tokyo:app,frankfurt:app,singapore:app/_search", body).await;
    let own = alone["hits"]["total"]["value"].as_u64().expect("a total");
    assert!(own > 100);
    assert_eq!(answer["hits"]["total"], json!({"value": 2 * own, "relation": "gte"}), "two of three regions");
    let twice = |of: &Value| buckets(of).into_iter().map(|(key, count)| (key, 2 * count)).collect::<BTreeMap<_, _>>();
    for name in ["levels", "minutes"] {
        assert_eq!(buckets(&answer["aggregations"][name]), twice(&alone["aggregations"][name]), "{name}");
    }
    let clusters = &answer["_clusters"];
    assert_eq!((clusters["total"].as_u64(), clusters["skipped"].as_u64()), (Some(3), Some(1)));
    assert_eq!(clusters["details"]["singapore"]["status"], "skipped");
    assert_eq!(clusters["details"]["singapore"]["residency"]["coverage"], "unreachable");
    assert_eq!(clusters["details"]["frankfurt"]["status"], "partial");
    assert_eq!(clusters["details"]["frankfurt"]["residency"]["rows_withheld"], true);
    assert_eq!(clusters["details"]["tokyo"]["status"], "successful");
    let hits = answer["hits"]["hits"].as_array().expect("hits");
    assert_eq!(hits.len(), 5);
    assert!(hits.iter().all(|hit| hit["_index"] == "tokyo:app"));
    let mixed = found(&world, "/tokyo:web,frankfurt:app,*:app/_search", json!({"size": 0})).await;
    let indices = ["tokyo", "frankfurt"].map(|region| mixed["_clusters"]["details"][region]["indices"].clone());
    assert_eq!(indices, ["app,web", "app"], "each region is named with what it was asked for");
    let away = found(&world, "/frankfurt:app/_search", json!({"size": 5})).await;
    assert!(away["hits"]["hits"].as_array().expect("hits").is_empty());
    let all = found(&world, "/*:app/_count", Value::Null).await;
    assert_eq!(all["_clusters"]["total"], 3);
}

#[tokio::test]
async fn cells_of_an_open_range_say_which_range_they_cover() {
    let world = World::new();
    let aggs = json!({"t": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}}});
    let open = found(&world, "/frankfurt:app/_search", json!({"size": 0, "aggs": aggs})).await;
    let range = &open["aggregations"]["t"]["range"];
    assert!(range["reason"].as_str().is_some_and(|reason| reason.contains("open")), "{range}");
    assert!(range["from"].as_i64() < range["to"].as_i64());
    let query = json!({"range": {"@timestamp": {"gte": "2026-01-01T00:00:00Z", "lt": "2026-01-01T00:03:00Z"}}});
    let closed = found(&world, "/frankfurt:app/_search", json!({"size": 0, "query": query, "aggs": aggs})).await;
    assert!(closed["aggregations"]["t"].get("range").is_none());
    // At home the cells are those of the records, to the first and the last.
    let body = json!({"stream": "app", "regions": ["tokyo"], "ask": {"histogram": 60}}).to_string();
    let home = ask(world.native(), SEARCH, "POST", "/api/v1/search", body).await.json();
    let cells = home["result"]["histogram"].as_array().expect("cells");
    let count = |cell: &Value| cell["cell"]["count"].as_u64().expect("a count");
    assert_eq!(cells.iter().map(count).sum::<u64>(), IN_APP);
    assert!(count(&cells[0]) > 0 && cells.last().is_some_and(|last| count(last) > 0), "{} cells", cells.len());
    assert!(home["result"]["range"].is_object());
}

#[tokio::test]
async fn nested_aggregations_travel_both_ways_round() {
    let world = World::new();
    let time = json!({"field": "@timestamp", "fixed_interval": "1m"});
    let query = json!({"range": {"@timestamp": {"gte": "2026-01-01T00:00:00Z", "lt": "2026-01-01T00:03:00Z"}}});
    let body = json!({"size": 0, "query": query, "aggs": {
        "a": {"terms": {"field": "level"}, "aggs": {"t": {"date_histogram": time}}},
        "b": {"date_histogram": time, "aggs": {"l": {"terms": {"field": "level"}}}},
    }});
    let answer = found(&world, "/frankfurt:app/_search", body).await;
    let count = |bucket: &Value| bucket["doc_count"].as_u64().expect("a count");
    for (outer, inner) in [("a", "t"), ("b", "l")] {
        let list = answer["aggregations"][outer]["buckets"].as_array().expect("buckets").clone();
        assert!(!list.is_empty());
        for bucket in &list {
            let parts: u64 = bucket[inner]["buckets"].as_array().expect("inner").iter().map(count).sum();
            assert_eq!(parts, count(bucket), "{outer}: {bucket}");
        }
        let all: u64 = list.iter().map(count).sum();
        assert_eq!(Some(all), answer["hits"]["total"]["value"].as_u64());
    }
}

#[tokio::test]
async fn what_does_not_travel_is_refused_with_advice() {
    let world = World::new();
    for body in [
        json!({"query": {"term": {"status": "500"}}}),
        json!({"query": {"exists": {"field": "level"}}}),
        json!({"size": 0, "aggs": {"a": {"max": {"field": "ms"}}}}),
        json!({"size": 0, "aggs": {"a": {"terms": {"field": "trace_id"}}}}),
        json!({"size": 0, "aggs": {"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1s"}}}}),
    ] {
        let answer = call(&world, "POST", "/frankfurt:app/_search", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        let reason = answer.json()["error"]["reason"].as_str().expect("a reason").to_owned();
        assert!(reason.contains("region"), "{reason}");
    }
}

#[tokio::test]
async fn grafana_gets_one_answer_for_each_panel() {
    let world = World::new();
    let body = concat!(
        "{\"search_type\":\"query_then_fetch\",\"ignore_unavailable\":true,\"index\":\"app,missing\"}\n",
        "{\"size\":0,\"aggs\":{\"2\":{\"terms\":{\"field\":\"level\",\"min_doc_count\":0},\"aggs\":{\"3\":{\"date_histogram\":",
        "{\"field\":\"@timestamp\",\"fixed_interval\":\"1m\",\"min_doc_count\":0,\"format\":\"epoch_millis\"}}}}}}\n",
        "{\"index\":\"missing\"}\n{}\n",
        "{\"index\":[\"web\"]}\n{\"size\":1}\n",
    );
    let answer = ask(world.elastic(), SEARCH, "POST", "/_msearch?max_concurrent_shard_requests=5", body).await;
    let responses = answer.json()["responses"].as_array().expect("responses").clone();
    let statuses: Vec<_> = responses.iter().map(|response| response["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(200), Some(404), Some(200)]);
    assert!(!responses[0]["aggregations"]["2"]["buckets"].as_array().expect("buckets").is_empty());
    assert_eq!(responses[1]["error"]["type"], "index_not_found_exception");
    assert_eq!(responses[2]["hits"]["hits"][0]["_index"], "web");
    assert_eq!(ask(world.elastic(), SEARCH, "POST", "/_msearch", "{}\n").await.status, 400);
}

#[tokio::test]
async fn errors_have_the_shape_clients_read() {
    let world = World::new();
    for (method, path, body, status, kind) in [
        ("POST", "/missing/_search", "{}", 404, "index_not_found_exception"),
        ("POST", "/mars:app/_search", "{}", 404, "no_such_remote_cluster_exception"),
        ("POST", "/app/_search", "{", 400, "parsing_exception"),
        ("POST", "/app/_search", "[]", 400, "parsing_exception"),
        ("POST", "/app/_search", "{\"size\":-1}", 400, "parsing_exception"),
        ("POST", "/app/_search", "{\"size\":1000000000}", 400, "illegal_argument_exception"),
        ("POST", "/app/_search", "{\"query\":{\"no_such\":{}}}", 400, "parsing_exception"),
        ("POST", "/app/_search", "{\"sort\":[{\"ms\":\"asc\"}]}", 400, "parsing_exception"),
        ("POST", "/app/_search?scroll=1m", "{}", 400, "illegal_argument_exception"),
        ("POST", "/_search/scroll", "{}", 400, "illegal_argument_exception"),
        ("POST", "/app/_pit?keep_alive=1m", "", 400, "illegal_argument_exception"),
        ("DELETE", "/app", "", 400, "illegal_argument_exception"),
        ("GET", "/_index_template/logstash", "", 404, "resource_not_found_exception"),
        ("GET", "/a/b/c", "", 404, "resource_not_found_exception"),
        ("PUT", "/app", "{}", 403, "security_exception"),
    ] {
        let answer = ask(world.elastic(), SEARCH, method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text);
        let error = answer.json();
        assert_eq!(error["error"]["type"], kind, "{method} {path} {body}");
        assert_eq!(error["status"], status);
        assert!(error["error"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
        assert!(error["error"]["root_cause"].is_array() && error["error"]["code"].is_string());
    }
    let bare = Request::get("/").body(Body::empty()).expect("a request");
    assert_eq!(send(world.elastic(), bare).await.status, 401);
    assert_eq!(ask(world.elastic(), 77, "GET", "/app/_search", "").await.status, 401, "an unknown key");
    assert_eq!(ask(world.elastic(), INGEST, "GET", "/app/_search", "").await.status, 403, "a key without the role");
    assert_eq!(ask(world.elastic(), OTHER_ADMIN, "POST", "/app/_count", "").await.status, 404, "another tenant's name");
}

#[tokio::test]
async fn a_key_without_rows_counts_and_sees_none() {
    let world = World::new();
    let answer = ask(world.elastic(), BLIND, "POST", "/app/_search", "{\"size\":10}").await.json();
    assert_eq!(answer["hits"]["total"]["value"], IN_APP);
    assert!(answer["hits"]["hits"].as_array().expect("hits").is_empty());
}

#[tokio::test]
async fn streams_are_made_described_and_refreshed() {
    let world = World::new();
    let made = ask(world.elastic(), INGEST, "PUT", "/fresh-2026.01.02", "{}").await;
    assert_eq!(made.text, "{\"acknowledged\":true,\"shards_acknowledged\":true,\"index\":\"fresh\"}");
    let again = ask(world.elastic(), ADMIN, "PUT", "/fresh", "").await;
    assert_eq!(
        (again.status.as_u16(), again.json()["error"]["type"].clone()),
        (400, json!("resource_already_exists_exception"))
    );
    assert_eq!(ask(world.elastic(), INGEST, "PUT", "/Not%20A%20Name", "").await.status, 400);
    assert_eq!(found(&world, "/fresh/_count", Value::Null).await["count"], 0);
    let mapping = call(&world, "GET", "/app/_mapping", Value::Null).await.json();
    assert_eq!(mapping["app"]["mappings"]["properties"]["@timestamp"]["type"], "date");
    assert_eq!(mapping["app"]["mappings"]["properties"]["level"]["fields"]["keyword"]["type"], "keyword");
    let caps = call(&world, "GET", "/app*/_field_caps?fields=le*", Value::Null).await.json();
    assert_eq!(caps["fields"].as_object().expect("fields").keys().collect::<Vec<_>>(), ["level"]);
    assert_eq!(call(&world, "POST", "/app,web/_refresh", Value::Null).await.json()["_shards"]["successful"], 2);
    assert_eq!(world.refreshes.load(Ordering::SeqCst), 2);
    let indices = call(&world, "GET", "/_cat/indices?format=json", Value::Null).await.json();
    let app = indices.as_array().expect("a list").iter().find(|row| row["index"] == "app").expect("app");
    assert_eq!(app["docs.count"], IN_APP.to_string());
    let plain = call(&world, "GET", "/_cat/indices/app", Value::Null).await;
    assert!(plain.text.starts_with("green open app ") && plain.text.lines().count() == 1, "{}", plain.text);
    let regions = call(&world, "GET", "/_resolve/cluster/*:app", Value::Null).await.json();
    assert_eq!(regions["frankfurt"]["matching_indices"], true);
    let connected = ["tokyo", "frankfurt", "singapore"].map(|region| regions[region]["connected"].clone());
    assert_eq!(connected, [true, true, false], "the link to singapore is down");
}

#[tokio::test]
async fn a_packed_body_is_read_and_a_bomb_is_not() {
    use std::io::Write;
    let world = World::new();
    let packed = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let send_packed = async |body: Vec<u8>| {
        let request = Request::post("/app/_search")
            .header("Authorization", format!("Bearer {}", crate::present::world::key(SEARCH)))
            .header("Content-Encoding", "gzip")
            .body(Body::from(body))
            .expect("a request");
        send(world.elastic(), request).await.status.as_u16()
    };
    assert_eq!(send_packed(packed(b"{\"size\":0}")).await, 200);
    assert_eq!(send_packed(packed(&vec![b' '; 64 << 20])).await, 400);
    assert_eq!(send_packed(b"{}".to_vec()).await, 400);
}

#[tokio::test]
async fn empty_cells_are_shown_between_full_ones_and_beyond_them_only_on_request() {
    let world = World::new();
    let ask = async |more: Value| {
        let mut time = json!({"field": "@timestamp", "fixed_interval": "1m"});
        time.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let body = json!({"size": 0, "aggs": {"t": {"date_histogram": time}}});
        let answer = found(&world, "/frankfurt:app/_search", body).await;
        let buckets = answer["aggregations"]["t"]["buckets"].as_array().expect("buckets").clone();
        buckets.iter().map(|bucket| bucket["doc_count"].as_u64().expect("a count")).collect::<Vec<_>>()
    };
    let between = ask(json!({})).await;
    assert!(between.first().is_some_and(|count| *count > 0) && between.last().is_some_and(|count| *count > 0));
    let full = ask(json!({"min_doc_count": 1})).await;
    assert!(full.iter().all(|count| *count > 0));
    assert_eq!(full.iter().sum::<u64>(), between.iter().sum::<u64>());
    assert!(ask(json!({"extended_bounds": {"min": 0, "max": 1}})).await.len() > 1_000);
}

#[tokio::test]
async fn hostile_patterns_are_answered_at_once_and_long_lists_refused() {
    let world = World::new();
    let stars = format!("{}x", "*".repeat(100));
    for (path, status) in [
        (format!("/{stars}/_search"), 200),
        (format!("/{stars}:{stars}/_search"), 404),
        (format!("/app/_field_caps?fields={stars}"), 200),
        (format!("/_resolve/cluster/{stars}:{stars}"), 200),
        (format!("/app/_search?filter_path={}x", "**.".repeat(200)), 200),
        (format!("/{}/_search", "*".repeat(600)), 400),
        (format!("/app/_field_caps?fields={}", "a,".repeat(300) + "a"), 400),
        (format!("/_resolve/cluster/{}", "a,".repeat(300) + "a"), 400),
        (format!("/app/_search?filter_path={}x", "**.".repeat(300)), 400),
    ] {
        let answer = call(&world, "GET", &path, Value::Null).await;
        assert_eq!(answer.status, status, "{}: {}", &path[..40], answer.text);
    }
    let body = json!({"_source": vec!["a"; 300]});
    assert_eq!(call(&world, "POST", "/app/_search", body).await.status, 400);
}

#[tokio::test]
async fn an_index_with_a_personal_name_is_not_made_and_a_refresh_needs_a_role() {
    let world = World::new();
    let made = ask(world.elastic(), ADMIN, "PUT", "/hanako-2026.01.01", Body::empty()).await;
    assert_eq!(made.status, 400, "{}", made.text);
    assert!(made.text.contains("DMC-OWNERSHIP-05") && !made.text.contains("hanako"), "{}", made.text);
    assert_eq!(world.proposals.load(Ordering::SeqCst), 0);
    for (who, status) in [(AUDIT, 403), (SEARCH, 200), (INGEST, 200)] {
        assert_eq!(ask(world.elastic(), who, "POST", "/app/_refresh", Body::empty()).await.status, status);
    }
}

#[tokio::test]
async fn a_tenant_has_its_share_of_searches_and_leaves_the_rest_to_others() {
    use crate::limits::SEARCHES_OF_TENANT_AT_ONCE;
    use domicile_proto::ids::TenantId;
    let world = World::new();
    let places = || world.desk.permit(TenantId(1)).ok();
    let held: Vec<_> = (0..SEARCHES_OF_TENANT_AT_ONCE).filter_map(|_| places()).collect();
    assert_eq!(held.len(), SEARCHES_OF_TENANT_AT_ONCE);
    let busy = call(&world, "POST", "/app/_search", json!({})).await;
    assert_eq!((busy.status.as_u16(), busy.headers.contains_key("retry-after")), (429, true), "{}", busy.text);
    assert_eq!(ask(world.elastic(), OTHER_ADMIN, "POST", "/_search", "{}").await.status, 200);
    drop(held);
    assert_eq!(call(&world, "POST", "/app/_search", json!({})).await.status, 200);
}

#[tokio::test]
async fn words_of_q_are_alternatives_unless_the_caller_says_otherwise() {
    let world = World::new();
    let has = |word: &str, event: &crate::query::specimen::Event| {
        event.source["message"].as_str().is_some_and(|text| text.to_lowercase().split(' ').any(|w| w == word))
    };
    let count = |matches: &dyn Fn(&crate::query::specimen::Event) -> bool| {
        world.events.iter().take(IN_APP as usize).filter(|event| matches(event)).count() as u64
    };
    let either = count(&|event| has("payment", event) || has("timeout", event));
    let both = count(&|event| has("payment", event) && has("timeout", event));
    assert!(both < either);
    for (path, wanted) in [
        ("/app/_count?q=payment%20timeout", either),
        ("/app/_count?q=payment%20timeout&default_operator=OR", either),
        ("/app/_count?q=payment%20timeout&default_operator=and", both),
        ("/app/_count?q=payment%20AND%20timeout", both),
        ("/app/_count?q=payment%20timeout&df=level", 0),
    ] {
        assert_eq!(found(&world, path, Value::Null).await["count"], wanted, "{path}");
    }
    assert_eq!(call(&world, "GET", "/app/_count?q=a&default_operator=xor", Value::Null).await.status, 400);
}

#[tokio::test]
async fn what_would_change_the_hits_and_is_not_here_is_named() {
    let world = World::new();
    for name in ["min_score", "collapse", "rescore", "suggest", "knn", "slice", "terminate_after"] {
        let answer = call(&world, "POST", "/app/_search", json!({name: {"x": 1}})).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text.contains(name), "{}", answer.text);
    }
    // A slip of the finger finds nothing, and not everything.
    for (path, body) in [
        ("/app/_search", json!({"quary": {"term": {"level": "ERROR"}}})),
        ("/app/_count", json!({"filter": {"term": {"level": "ERROR"}}})),
        ("/tokyo:app/_search", json!({"size": 0, "agg": {}})),
    ] {
        let answer = call(&world, "POST", path, body.clone()).await;
        assert!(answer.status == 400 && answer.text.contains("DMC-QUERY-01"), "{body}: {}", answer.text);
    }
    // What clients send and what only dresses the answer is passed over.
    let dressed = json!({"query": {"match_all": {}}, "script_fields": {}, "stored_fields": ["*"], "highlight": {}});
    assert_eq!(call(&world, "POST", "/app/_search", dressed).await.status, 200);
}
