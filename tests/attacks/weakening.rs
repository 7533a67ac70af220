//! The caller cannot weaken the release: whatever options stand in a request, a region that may tell nothing tells nothing.

use domicile_tests::cluster::fixture::DAY_MS;
use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::small::{self, WORD};
use crate::world::{GUARDED, OPEN};

#[test]
fn no_option_of_a_request_makes_a_region_tell_what_it_withholds() {
    let cluster = small::start();
    let tokyo = cluster.region("tokyo");
    let mut told_by_control = 0;
    for body in bodies() {
        let refused = elastic(&tokyo, GUARDED, &body);
        assert!(refused.as_ref().is_none_or(|answer| !tells(answer)), "{body} is answered with {refused:?}");
        told_by_control += usize::from(elastic(&tokyo, OPEN, &body).is_some_and(|answer| tells(&answer)));
        let many = format!("{{\"index\":\"frankfurt:{GUARDED}\"}}\n{body}\n");
        let many = tokyo.es_lines("search", "/_msearch", &many);
        assert!(!tells(&many), "{body} is answered by _msearch with {many}");
    }
    for (filter, is_counted) in filters() {
        let counted = |stream: &str| {
            let body = json!({"query": filter});
            let answer = tokyo.es("search", "POST", &format!("/frankfurt:{stream}/_count"), &body).unwrap();
            assert!([200, 400].contains(&answer.status), "{filter}: {}", answer.text());
            if answer.status == 200 { answer.json() } else { Value::Null }
        };
        assert!(!tells(&counted(GUARDED)), "{filter} is counted");
        assert_eq!(tells(&counted(OPEN)), is_counted, "{filter} in the control");
        let native = json!({"stream": GUARDED, "regions": ["frankfurt"], "filter": filter, "ask": "count", "size": 10});
        let answer = tokyo.api("search", "POST", "/api/v1/search", &native).unwrap();
        assert!([200, 400].contains(&answer.status), "{filter}: {}", answer.text());
        assert!(answer.status == 400 || !tells(&answer.json()), "{filter} is answered with {}", answer.text());
    }
    for body in native_bodies() {
        let answer = tokyo.api("search", "POST", "/api/v1/search", &body).unwrap();
        assert!([200, 400].contains(&answer.status), "{body}: {}", answer.text());
        assert!(answer.status == 400 || !tells(&answer.json()), "{body} is answered with {}", answer.text());
    }
    assert!(told_by_control >= 10, "only {told_by_control} requests are answered of the control: the test is blind");
}

/// The answer of the Elasticsearch door; none where it refuses.
fn elastic(asker: &Region, stream: &str, body: &Value) -> Option<Value> {
    let answer = asker.es("search", "POST", &format!("/frankfurt:{stream}/_search"), body).unwrap();
    assert!([200, 400].contains(&answer.status), "{body}: {} {}", answer.status, answer.text());
    (answer.status == 200).then(|| answer.json())
}

/// Whether an answer holds a number above nothing, a row, or a word of a record.
fn tells(answer: &Value) -> bool {
    if answer.to_string().contains(WORD) {
        return true;
    }
    match answer {
        Value::Object(object) => object.iter().any(|(key, value)| match key.as_str() {
            "doc_count" | "value" | "count" | "sum_other_doc_count" => value.as_f64().is_some_and(|value| value > 0.0),
            "hits" => value.as_array().is_some_and(|hits| !hits.is_empty()) || tells(value),
            "timed_out" => false,
            _ => tells(value),
        }),
        Value::Array(list) => list.iter().any(tells),
        _ => false,
    }
}

fn minute() -> (i64, i64) {
    (DAY_MS + 3_600_000, DAY_MS + 3_660_000)
}

/// Requests to `_search`, each with something that weakens the threshold elsewhere.
fn bodies() -> Vec<Value> {
    let (from, to) = minute();
    let time = |more: Value| {
        let mut time = json!({"field": "timestamp", "fixed_interval": "1m"});
        time.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"size": 0, "aggs": {"t": {"date_histogram": time}}})
    };
    let terms = |more: Value| {
        let mut terms = json!({"field": "service"});
        terms.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"size": 0, "aggs": {"s": {"terms": terms}}})
    };
    let with = |more: Value| {
        let mut body = json!({"query": {"match_all": {}}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let agg = |agg: Value| json!({"size": 0, "aggs": {"x": agg}});
    vec![
        time(json!({"min_doc_count": 0})),
        time(json!({"min_doc_count": 0, "extended_bounds": {"min": from, "max": to}})),
        time(json!({"hard_bounds": {"min": from, "max": to}})),
        time(json!({"missing": "2026-11-20T01:00:00Z"})),
        time(json!({"fixed_interval": "1ms"})),
        time(json!({"offset": "+1s"})),
        time(json!({"keyed": true})),
        terms(json!({"min_doc_count": 0})),
        terms(json!({"shard_min_doc_count": 0, "show_term_doc_count_error": true})),
        terms(json!({"missing": "none", "size": 10_000})),
        terms(json!({"include": "check.*", "order": {"_count": "asc"}})),
        terms(json!({"script": "doc['service'].value"})),
        terms(json!({"field": "level"})),
        agg(json!({"filters": {"filters": {"a": {"match_all": {}}, "b": {"term": {"level": "ERROR"}}}}})),
        agg(json!({"filter": {"match_all": {}}})),
        agg(json!({"global": {}})),
        agg(json!({"missing": {"field": "service"}})),
        agg(json!({"cardinality": {"field": "user"}})),
        agg(json!({"top_hits": {"size": 3}})),
        agg(json!({"significant_text": {"field": "message"}})),
        agg(json!({"composite": {"sources": [{"s": {"terms": {"field": "service"}}}]}})),
        agg(json!({"scripted_metric": {"map_script": "1"}})),
        agg(json!({"min": {"field": "timestamp"}})),
        agg(json!({"terms": {"field": "service"}, "aggs": {"y": {"terms": {"field": "level"}}}})),
        agg(
            json!({"terms": {"field": "service"}, "aggs": {"y": {"date_histogram": {"field": "timestamp", "fixed_interval": "1m"}}}}),
        ),
        agg(json!({"terms": {"field": "service"}, "aggs": {"y": {"top_hits": {}}}})),
        with(json!({"size": 10})),
        with(json!({"size": 10, "explain": true, "version": true, "seq_no_primary_term": true})),
        with(json!({"profile": true})),
        with(json!({"track_total_hits": true})),
        with(json!({"track_total_hits": 1})),
        with(json!({"size": 0, "terminate_after": 1})),
        with(json!({"size": 0, "timeout": "1ms"})),
        with(json!({"min_score": 0})),
        with(json!({"script_fields": {"x": {"script": "doc['user'].value"}}})),
        with(
            json!({"runtime_mappings": {"x": {"type": "keyword", "script": "emit('a')"}}, "aggs": {"x": {"terms": {"field": "x"}}}}),
        ),
        with(json!({"fields": ["*"], "docvalue_fields": ["user"], "stored_fields": ["*"], "_source": true})),
        with(json!({"highlight": {"fields": {"message": {}}}})),
        with(json!({"suggest": {"x": {"text": "pelican", "term": {"field": "message"}}}})),
        with(json!({"collapse": {"field": "user"}})),
        with(json!({"rescore": {"query": {"rescore_query": {"match_all": {}}}}})),
        with(json!({"sort": ["_doc"], "search_after": [0]})),
        with(json!({"indices_boost": [{GUARDED: 2}], "stats": ["x"], "preference": "_local"})),
        json!({"query": {"match_all": {}}, "post_filter": {"term": {"level": "ERROR"}}}),
        json!({"query": {"function_score": {"query": {"match_all": {}}}}}),
        json!({"query": {"script": {"script": "true"}}}),
        json!({"knn": {"field": "x", "query_vector": [1], "k": 1, "num_candidates": 1}}),
    ]
}

/// Filters that say "all" in roundabout ways, or name one person; and whether the control counts something for them.
fn filters() -> Vec<(Value, bool)> {
    let all = json!({"match_all": {}});
    let error = json!({"term": {"level": "ERROR"}});
    let info = json!({"term": {"level": "INFO"}});
    vec![
        (all.clone(), true),
        (error.clone(), true),
        (json!({"bool": {"must_not": [info]}}), true),
        (json!({"bool": {"must_not": [{"bool": {"must_not": [error]}}]}}), true),
        (json!({"bool": {"should": [error, error], "minimum_should_match": 1}}), true),
        (json!({"bool": {"should": [error, error], "minimum_should_match": 2}}), true),
        (json!({"bool": {"should": [error], "minimum_should_match": 0}}), true),
        (json!({"bool": {"filter": [{"bool": {"must": [{"bool": {"filter": [all]}}]}}]}}), true),
        (json!({"constant_score": {"filter": error}}), true),
        (json!({"terms": {"service": ["checkout", "checkout"]}}), true),
        (json!({"match": {"message": WORD}}), true),
        (json!({"prefix": {"message": "pelican"}}), true),
        (json!({"match_phrase": {"message": format!("{WORD} paid")}}), true),
        (json!({"wildcard": {"message": "pel*"}}), true),
        (json!({"regexp": {"message": "pel.*"}}), false),
        (json!({"fuzzy": {"message": "pelicanharbor"}}), false),
        (json!({"exists": {"field": "user"}}), false),
        (json!({"term": {"user": "u1"}}), false),
        (json!({"ids": {"values": ["1"]}}), false),
        (json!({"script": {"script": "true"}}), false),
    ]
}

/// Bodies of the native door that ask for more than a region tells.
fn native_bodies() -> Vec<Value> {
    let with = |more: Value| {
        let mut body = json!({"stream": GUARDED, "regions": ["frankfurt"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    vec![
        with(json!({"ask": "count", "size": 100})),
        with(json!({"ask": {"terms": "service"}})),
        with(json!({"ask": {"terms": "user"}})),
        with(json!({"ask": {"histogram": 60}, "last": "7d"})),
        with(json!({"ask": {"terms": "level", "histogram": 60}, "last": "7d"})),
        with(json!({"ask": {"histogram": 1}, "last": "7d"})),
        with(json!({"aggregations": {"count": {"min_doc_count": 0}, "terms": {"field": "service"}}})),
        with(json!({"aggregations": {"cardinality": {"field": "user"}}})),
        with(json!({"k": 1, "ask": "count"})),
        with(json!({"ask": "count", "deadline_ms": 1})),
        with(json!({"ask": "count", "query": "-level:INFO"})),
        with(json!({"ask": "count", "query": WORD})),
        with(json!({"ask": "rows"})),
    ]
}
