//! Every clause against a plain look at the events themselves.

use std::time::Instant;

use domicile_proto::ids::{Level, TimeRange, Timestamp};
use domicile_proto::metadata::Rows;
use serde_json::{Value as Json, json};

use super::dates::DateContext;
use super::specimen::{Event, START, now, request, sample};
use super::{After, Budget, Engine, Filter, QueryError, SearchRequest, Sort, Total, TrackTotal, elastic, human};
use crate::index::words::words_of;

type Expected<'a> = &'a dyn Fn(&Event) -> bool;

fn text<'a>(event: &'a Event, path: &str) -> &'a str {
    path.split('.').try_fold(&event.source, |json, key| json.get(key)).and_then(Json::as_str).unwrap_or_default()
}

fn words(event: &Event) -> Vec<String> {
    words_of(text(event, "message"))
}

fn has(event: &Event, word: &str) -> bool {
    words(event).iter().any(|w| w == word)
}

fn level(event: &Event) -> Level {
    Level::recognise(text(event, "level")).unwrap_or_default()
}

fn service(event: &Event) -> &str {
    let service = text(event, "service");
    if service.is_empty() { text(event, "app") } else { service }
}

fn ms(event: &Event) -> i64 {
    event.source["ms"].as_i64().unwrap()
}

fn tags(event: &Event) -> Vec<&str> {
    event.source["tags"].as_array().map(|tags| tags.iter().filter_map(Json::as_str).collect()).unwrap_or_default()
}

/// Ids of all hits, newest first, with their number checked against the total and against a search without rows.
fn found(engine: &Engine, segments: &[std::sync::Arc<crate::segment::Segment>], filter: Filter) -> Vec<String> {
    let hits = engine.search(&request(filter.clone()), segments.to_vec(), Rows::Redacted).unwrap();
    let ids: Vec<String> = hits.rows().unwrap().into_iter().map(|row| row.id).collect();
    let total = Total { value: ids.len() as u64, is_exact: true };
    assert_eq!(hits.total(), Some(total));
    let count = engine.search(&SearchRequest { size: 0, ..request(filter) }, segments.to_vec(), Rows::None).unwrap();
    assert_eq!(count.total(), Some(total));
    ids
}

fn expected(events: &[Event], matches: Expected<'_>) -> Vec<String> {
    let mut matching: Vec<&Event> = events.iter().filter(|event| matches(event)).collect();
    matching.sort_by_key(|event| std::cmp::Reverse(event.at));
    matching.into_iter().map(|event| event.id.clone()).collect()
}

fn check_all(cases: Vec<(Json, Expected<'_>)>) {
    let engine = Engine::new().unwrap();
    let (events, segments) = sample(600);
    for (query, matches) in cases {
        let filter =
            elastic::filter(&query, &DateContext::utc(now())).unwrap_or_else(|error| panic!("{query}: {error}"));
        let wanted = expected(&events, matches);
        assert!(found(&engine, &segments, filter) == wanted, "{query}: {} are wanted", wanted.len());
    }
}

#[test]
fn clauses_on_values_match_what_the_events_hold() {
    check_all(vec![
        (json!({"match_all": {}}), &|_| true),
        (json!({"match_none": {}}), &|_| false),
        (json!({"term": {"level": "ERROR"}}), &|e| level(e) == Level::Error),
        (json!({"term": {"level.keyword": {"value": "Warning"}}}), &|e| level(e) == Level::Warn),
        (json!({"terms": {"severity": ["info", "debug"]}}), &|e| matches!(level(e), Level::Info | Level::Debug)),
        (json!({"term": {"level": "loud"}}), &|_| false),
        (json!({"term": {"service": "cart"}}), &|e| service(e) == "cart"),
        (json!({"terms": {"service.keyword": ["cart", "billing", "none"]}}), &|e| service(e) != "checkout"),
        (json!({"prefix": {"service": "c"}}), &|e| service(e) != "billing"),
        (json!({"term": {"ms": 7}}), &|e| ms(e) == 7),
        (json!({"term": {"ms": "7"}}), &|e| ms(e) == 7),
        (json!({"term": {"status.raw": "404"}}), &|e| text(e, "status") == "404"),
        (json!({"match": {"status": 404}}), &|e| text(e, "status") == "404"),
        (json!({"term": {"ratio": 1.5}}), &|e| e.source["ratio"].as_f64() == Some(1.5)),
        (json!({"term": {"cached": true}}), &|e| e.source["cached"] == true),
        (json!({"term": {"tags": "red"}}), &|e| tags(e).contains(&"red")),
        (json!({"terms": {"tags": ["blue", "green"]}}), &|e| tags(e).iter().any(|tag| *tag != "red")),
        (json!({"term": {"request.path": "/a/1"}}), &|e| text(e, "request.path") == "/a/1"),
        (json!({"prefix": {"request.path": {"value": "/a"}}}), &|e| text(e, "request.path").starts_with("/a")),
        (json!({"wildcard": {"request.path": "/a/*"}}), &|e| text(e, "request.path").starts_with("/a/")),
        (json!({"exists": {"field": "ratio"}}), &|e| e.source.get("ratio").is_some()),
        (json!({"exists": {"field": "request"}}), &|_| true),
        (json!({"exists": {"field": "nowhere"}}), &|_| false),
        (json!({"exists": {"field": "request.id"}}), &|_| true),
        (json!({"exists": {"field": "message"}}), &|_| true),
        (json!({"term": {"trace_id": format!("{:032x}", 1_000_000_010)}}), &|e| {
            text(e, "trace_id") == format!("{:032x}", 1_000_000_010)
        }),
        (json!({"term": {"request.id": "00000003-aaaa-bbbb"}}), &|e| text(e, "request.id") == "00000003-aaaa-bbbb"),
        (json!({"ids": {"values": ["own-25", "7-3", "1f-29", "9-3", "x"]}}), &|e| {
            ["own-25", "7-3", "1f-29"].contains(&e.id.as_str())
        }),
        (json!({"constant_score": {"filter": {"term": {"app": "cart"}}}}), &|e| service(e) == "cart"),
    ]);
}

#[test]
fn clauses_on_words_match_what_the_messages_hold() {
    check_all(vec![
        (json!({"match": {"message": "TIMEOUT"}}), &|e| has(e, "timeout")),
        (json!({"match": {"message": "timeout payment"}}), &|e| has(e, "timeout") || has(e, "payment")),
        (json!({"match": {"message": {"query": "timeout payment", "operator": "AND"}}}), &|e| {
            has(e, "timeout") && has(e, "payment")
        }),
        (json!({"match": {"message": "…"}}), &|_| false),
        (json!({"match_phrase": {"message": "timeout payment"}}), &|e| {
            words(e).windows(2).any(|pair| pair == ["timeout", "payment"])
        }),
        (json!({"match_phrase": {"message": "card-7"}}), &|e| words(e).windows(2).any(|pair| pair == ["card", "7"])),
        (json!({"match_phrase_prefix": {"message": "ok conn"}}), &|e| {
            words(e).windows(2).any(|pair| pair[0] == "ok" && pair[1].starts_with("conn"))
        }),
        (json!({"prefix": {"message": "conn"}}), &|e| words(e).iter().any(|word| word.starts_with("conn"))),
        (json!({"wildcard": {"message": {"value": "connecti*"}}}), &|e| has(e, "connection")),
        (json!({"match_phrase": {"message": "東京都"}}), &|e| text(e, "message").contains("東京都")),
        (json!({"match": {"message": "京"}}), &|e| text(e, "message").contains("東京都")),
        (json!({"multi_match": {"query": "timeout", "fields": ["message^3", "note"]}}), &|e| has(e, "timeout")),
        (json!({"match": {"note": "slow disk"}}), &|e| text(e, "note").to_lowercase().contains("disk")),
        (json!({"match_phrase": {"note": "slow disk"}}), &|e| text(e, "note") == "Slow disk found"),
        (json!({"query_string": {"query": "timeout AND -level:info"}}), &|e| {
            has(e, "timeout") && level(e) != Level::Info
        }),
        (json!({"query_string": {"query": "timeout payment"}}), &|e| has(e, "timeout") || has(e, "payment")),
    ]);
}

#[test]
fn ranges_and_joined_clauses_match_what_they_say() {
    let minute = 60_000_000;
    let after = |e: &Event, minutes: i64| e.at >= START + minutes * minute;
    check_all(vec![
        (json!({"range": {"ms": {"gte": 100, "lt": 200}}}), &|e| (100..200).contains(&ms(e))),
        (json!({"range": {"ms": {"gt": 99.5, "lte": "200"}}}), &|e| (100..=200).contains(&ms(e))),
        (json!({"range": {"ratio": {"gt": 1.5, "lte": 3}}}), &|e| {
            e.source["ratio"].as_f64().is_some_and(|ratio| 1.5 < ratio && ratio <= 3.0)
        }),
        (json!({"range": {"status": {"gte": "3", "lt": "5"}}}), &|e| text(e, "status") == "404"),
        (json!({"range": {"level": {"gte": "WARN"}}}), &|e| level(e) >= Level::Warn),
        (json!({"range": {"@timestamp": {"gte": "2026-01-01T00:05", "lt": "2026-01-01 00:07:00"}}}), &|e| {
            after(e, 5) && !after(e, 7)
        }),
        (json!({"range": {"@timestamp": {"gt": "now-1h+4m/m", "lte": "2026-01-01T00:06"}}}), &|e| {
            after(e, 5) && !after(e, 7)
        }),
        (json!({"range": {"timestamp": {"gte": START / 1_000 + 300_000, "format": "epoch_millis"}}}), &|e| after(e, 5)),
        (json!({"range": {"@timestamp": {"gte": "2026-01-01T09:05", "time_zone": "+09:00"}}}), &|e| after(e, 5)),
        (json!({"bool": {"must_not": {"range": {"@timestamp": {"gte": "2026-01-01T00:05"}}}}}), &|e| !after(e, 5)),
        (json!({"bool": {"must": [{"term": {"level": "error"}}], "filter": {"range": {"ms": {"lt": 250}}}}}), &|e| {
            level(e) == Level::Error && ms(e) < 250
        }),
        (json!({"bool": {"should": [{"term": {"level": "error"}}, {"range": {"ms": {"lt": 50}}}]}}), &|e| {
            level(e) == Level::Error || ms(e) < 50
        }),
        (json!({"bool": {"filter": [{"term": {"level": "error"}}], "should": [{"match_none": {}}]}}), &|e| {
            level(e) == Level::Error
        }),
        (
            json!({"bool": {"filter": [{"range": {"@timestamp": {"gte": "2026-01-01T00:05"}}}],
            "should": [{"match_none": {}}]}}),
            &|e| after(e, 5),
        ),
        (
            json!({"bool": {"minimum_should_match": 2, "should": [
            {"term": {"level": "error"}}, {"range": {"ms": {"lt": 250}}}, {"term": {"status": "500"}}]}}),
            &|e| {
                [level(e) == Level::Error, ms(e) < 250, text(e, "status") == "500"].into_iter().filter(|b| *b).count()
                    >= 2
            },
        ),
        (
            json!({"bool": {"minimum_should_match": "100%", "should": [
            {"match_all": {}}, {"range": {"ms": {"lt": 250}}}]}}),
            &|e| ms(e) < 250,
        ),
        (json!({"bool": {}}), &|_| true),
        (json!({"bool": {"must_not": [{"match_all": {}}]}}), &|_| false),
        (json!({"bool": {"must_not": [{"term": {"level": "error"}}, {"term": {"service": "cart"}}]}}), &|e| {
            level(e) != Level::Error && service(e) != "cart"
        }),
    ]);
}

#[test]
fn what_people_type_finds_the_same() {
    let engine = Engine::new().unwrap();
    let (events, segments) = sample(600);
    let cases: Vec<(&str, Expected<'_>)> = vec![
        ("level:ERROR timeout -service:cart", &|e| {
            level(e) == Level::Error && has(e, "timeout") && service(e) != "cart"
        }),
        ("\"timeout payment\" OR ms:>=450", &|e| {
            ms(e) >= 450 || words(e).windows(2).any(|pair| pair == ["timeout", "payment"])
        }),
        ("ms:[10 TO 20} level:(warn OR error)", &|e| {
            (10..20).contains(&ms(e)) && matches!(level(e), Level::Warn | Level::Error)
        }),
        ("request.path:/a/* NOT conn*", &|e| {
            text(e, "request.path").starts_with("/a/") && !words(e).iter().any(|word| word.starts_with("conn"))
        }),
        ("0000000000000000000000003b9aca0b", &|e| text(e, "trace_id").ends_with("3b9aca0b")),
    ];
    for (query, matches) in cases {
        let filter = human::filter(query, &DateContext::utc(now())).unwrap();
        let wanted = expected(&events, matches);
        assert!(!wanted.is_empty() && found(&engine, &segments, filter) == wanted, "{query}: {}", wanted.len());
    }
}

#[test]
fn what_is_not_known_is_refused_by_its_name() {
    for (query, named) in [
        (json!({"regexp": {"message": "a.*"}}), "regexp"),
        (json!({"bool": {"muss": []}}), "muss"),
        (json!({"range": {"ms": {"above": 1}}}), "above"),
        (json!({"term": {"ms": {"a": {}}}}), "term.a"),
        (json!({"term": {"ms": {"value": {}}}}), "ms"),
        (json!({"wildcard": {"message": "*a"}}), "message"),
        (json!({"match": {"message": {"query": "a", "operator": "xor"}}}), "operator"),
        (json!({"range": {"@timestamp": {"gte": "gestern"}}}), "@timestamp"),
        (json!({"range": {"message": {"gte": "a"}}}), "message"),
        (json!({"range": {"error.stack_trace": {"gte": "a"}}}), "error.stack_trace"),
        (json!({"range": {"trace_id": {"lt": "7"}}}), "trace_id"),
        (json!({"range": {"_id": {"gt": "own-1"}}}), "_id"),
        (json!({"prefix": {"trace.id": "00"}}), "trace.id"),
        (json!({"wildcard": {"_id": "own-*"}}), "_id"),
        (json!({"prefix": {"@timestamp": "2026"}}), "@timestamp"),
        (json!({"match": {"message": {"query": "a", "fuzziness": "AUTO"}}}), "fuzziness"),
        (json!({"match": {"message": {"query": "a b c", "minimum_should_match": 2}}}), "minimum_should_match"),
        (json!({"match": {"message": {"query": "a", "analyzer": "x"}}}), "analyzer"),
        (json!({"term": {"service": {"value": "A", "case_insensitive": true}}}), "case_insensitive"),
        (json!({"prefix": {"service": {"value": "A", "case_insensitive": true}}}), "case_insensitive"),
        (json!({"multi_match": {"query": "a", "type": "cross_fields"}}), "multi_match.type"),
        (json!({"query_string": {"query": "a", "fuzzy_prefix_length": 1}}), "fuzzy_prefix_length"),
        (json!({}), "query"),
        (json!([]), "query"),
    ] {
        match elastic::filter(&query, &DateContext::utc(now())) {
            Err(error @ (QueryError::Unknown { .. } | QueryError::Malformed { .. })) => {
                assert_eq!(error.elastic_type(), "parsing_exception");
                assert!(error.to_string().contains(named), "{error}");
            }
            _ => panic!("{query} should be refused"),
        }
    }
    let deep = (0..200).fold(json!({"match_all": {}}), |inner, _| json!({"bool": {"must": inner}}));
    assert!(matches!(elastic::filter(&deep, &DateContext::utc(now())), Err(QueryError::TooDeep)));
}

#[test]
fn pages_follow_each_other_without_gap_or_repeat_in_every_order() {
    let engine = Engine::new().unwrap();
    let (events, segments) = sample(500);
    let filter = elastic::filter(&json!({"match": {"message": "timeout payment"}}), &DateContext::utc(now())).unwrap();
    for sort in [Sort::Newest, Sort::Oldest, Sort::Score] {
        let whole = SearchRequest { sort, ..request(filter.clone()) };
        let whole = engine.search(&whole, segments.clone(), Rows::Full).unwrap().rows().unwrap();
        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let page = SearchRequest { sort, size: 7, after, ..request(filter.clone()) };
            let hits = engine.search(&page, segments.clone(), Rows::Full).unwrap();
            assert_eq!(hits.total().map(|total| total.value), Some(whole.len() as u64));
            let rows = hits.rows().unwrap();
            let Some(last) = rows.last() else { break };
            let score = (sort == Sort::Score).then_some(last.score);
            after = Some(After { score, time: last.time, tie: Some(last.tie) });
            paged.extend(rows.into_iter().map(|row| row.id));
        }
        assert!(paged == whole.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), "{sort:?}");
        let in_order = match sort {
            Sort::Newest => whole.windows(2).all(|pair| pair[0].time >= pair[1].time),
            Sort::Oldest => whole.windows(2).all(|pair| pair[0].time <= pair[1].time),
            Sort::Score => whole.windows(2).all(|pair| pair[0].score >= pair[1].score) && whole[0].score > 0.0,
        };
        assert!(in_order && whole.len() > 50, "{sort:?}");
        for row in &whole {
            let event = events.iter().find(|event| event.id == row.id).unwrap();
            assert!(serde_json::from_slice::<Json>(&row.source).unwrap() == event.source, "{}", row.id);
        }
    }
}

#[test]
fn totals_stop_where_they_may_and_rows_stay_where_they_must() {
    let engine = Engine::new().unwrap();
    let (events, segments) = sample(400);
    let up_to = |limit| SearchRequest { size: 3, total: TrackTotal::UpTo(limit), ..request(Filter::All) };
    let total = |request: &SearchRequest| engine.search(request, segments.clone(), Rows::Full).unwrap().total();
    assert_eq!(total(&up_to(10)), Some(Total { value: 10, is_exact: false }));
    assert_eq!(total(&up_to(400)), Some(Total { value: 400, is_exact: true }));
    assert_eq!(total(&SearchRequest { total: TrackTotal::No, ..up_to(1) }), None);
    let hits = engine.search(&request(Filter::All), segments.clone(), Rows::None).unwrap();
    assert!(hits.rows().unwrap().is_empty() && hits.total().is_some_and(|total| total.value == 400));
    let newest = SearchRequest { size: 5, total: TrackTotal::No, ..request(Filter::All) };
    let rows = engine.search(&newest, segments.clone(), Rows::Redacted).unwrap().rows().unwrap();
    let ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
    assert!(ids == expected(&events, &|_| true)[..5]);
    let range = TimeRange { from: Timestamp(START + 90_000_000), to: Timestamp(START + 120_000_000) };
    let inside = SearchRequest { range, ..request(Filter::All) };
    let wanted = expected(&events, &|event| range.contains(Timestamp(event.at)));
    let rows = engine.search(&inside, segments, Rows::Redacted).unwrap().rows().unwrap();
    assert!(!wanted.is_empty() && rows.into_iter().map(|row| row.id).eq(wanted));
}

#[test]
fn a_search_ends_with_its_time_or_its_caller() {
    let engine = Engine::new().unwrap();
    let (_, segments) = sample(100);
    let late = SearchRequest { budget: Budget::until(Instant::now()), ..request(Filter::All) };
    assert!(matches!(engine.search(&late, segments.clone(), Rows::Full), Err(QueryError::Deadline)));
    let gone = request(Filter::All);
    gone.budget.token.cancel();
    assert!(matches!(engine.search(&gone, segments.clone(), Rows::Full), Err(QueryError::Cancelled)));
    let wide = SearchRequest { size: 10_001, ..request(Filter::All) };
    assert!(matches!(engine.search(&wide, segments, Rows::Full), Err(QueryError::TooManyHits)));
}

/// Events with one message each, in one segment.
fn segment_of(sources: Vec<Json>) -> Vec<std::sync::Arc<crate::segment::Segment>> {
    use crate::segment::specimen::{durable, record, segment};
    let records = sources.into_iter().map(|source| record(START, None, source)).collect();
    vec![segment(&crate::index::builder::Layout::new(), durable(7, 1, records))]
}

#[test]
fn what_has_no_column_exists_and_is_refused_to_whoever_wants_its_order() {
    let engine = Engine::new().unwrap();
    let id = "00000003-aaaa-bbbb-cccc";
    let segments = segment_of(vec![
        json!({"message": "a", "request_id": id}),
        json!({"message": "b", "sql": "x".repeat(257)}),
        json!({"message": "c", "request_id": null}),
    ]);
    let count = |query: Json| {
        let filter = elastic::filter(&query, &DateContext::utc(now()))?;
        let hits = engine.search(&request(filter), segments.clone(), Rows::Full)?;
        Ok::<_, QueryError>(hits.rows()?.len())
    };
    for (query, wanted) in [
        (json!({"exists": {"field": "request_id"}}), 1),
        (json!({"exists": {"field": "sql"}}), 1),
        (json!({"bool": {"must_not": {"exists": {"field": "sql"}}}}), 2),
        (json!({"term": {"request_id": id}}), 1),
        (json!({"term": {"request_id": true}}), 0),
        (json!({"prefix": {"nowhere": "a"}}), 0),
    ] {
        assert_eq!(count(query.clone()).unwrap_or_else(|error| panic!("{error}")), wanted, "{query}");
    }
    for query in [
        json!({"prefix": {"request_id": "0000"}}),
        json!({"range": {"request_id": {"gte": "0"}}}),
        json!({"prefix": {"sql": "x"}}),
        json!({"term": {"sql": "x".repeat(257)}}),
    ] {
        assert!(matches!(count(query.clone()), Err(QueryError::Apart { .. })), "{query}");
    }
    let hits = engine.search(&request(Filter::All), segments.clone(), Rows::Full).unwrap();
    for aggs in [json!({"a": {"terms": {"field": "request_id"}}}), json!({"a": {"cardinality": {"field": "sql"}}})] {
        let read = super::aggs::Aggs::read(&aggs, &DateContext::utc(now())).unwrap();
        assert!(matches!(hits.aggregate(&read), Err(QueryError::Apart { .. })), "{aggs}");
    }
}

#[test]
fn a_phrase_that_may_go_on_in_too_many_ways_is_refused_and_not_cut() {
    let engine = Engine::new().unwrap();
    for (words, is_refused) in [(crate::limits::MAX_EXPANSIONS, false), (crate::limits::MAX_EXPANSIONS + 1, true)] {
        let segments = segment_of((0..words).map(|n| json!({"message": format!("alpha word{n}")})).collect());
        let query = json!({"match_phrase_prefix": {"message": "alpha word"}});
        let filter = elastic::filter(&query, &DateContext::utc(now())).unwrap();
        let found = engine.search(&request(filter), segments, Rows::Full);
        match found {
            Ok(hits) => assert!(!is_refused && hits.total().is_some_and(|total| total.value == words as u64)),
            Err(error) => assert!(is_refused && matches!(error, QueryError::TooManyBeginnings), "{error}"),
        }
    }
}

#[test]
fn a_page_and_all_pages_of_one_request_have_a_bound_in_bytes() {
    let engine = Engine::new().unwrap();
    let (_, segments) = sample(100);
    let whole = Budget::until(Instant::now() + std::time::Duration::from_secs(60));
    whole.page(crate::limits::MAX_PAGE_BYTES - 100).unwrap();
    let page = |budget: &Budget| {
        let request = SearchRequest { budget: budget.share(None), ..request(Filter::All) };
        engine.search(&request, segments.clone(), Rows::Full).unwrap().rows().map(|rows| rows.len())
    };
    assert!(matches!(page(&whole), Err(QueryError::PageTooLarge)));
    assert_eq!(page(&Budget::until(whole.deadline)).unwrap(), 100);
    let shorter = whole.share(Some(std::time::Duration::ZERO));
    assert!(shorter.deadline < whole.deadline && matches!(shorter.check(), Err(QueryError::Deadline)));
}
