//! Records of an erased subject at every way of asking: found by none, and every other record by all.

use std::collections::BTreeSet;

use domicile_proto::ids::{TenantId, TimeRange, Timestamp};
use domicile_proto::metadata::Rows;
use serde_json::{Value as Json, json};

use super::aggs::Aggs;
use super::dates::DateContext;
use super::groups::{Cut, Plan, Subjects};
use super::specimen::{START, now, request, sample};
use super::{After, Budget, Engine, SearchRequest, Sort, Total, TrackTotal, elastic};
use crate::policy::{Scope, Suppressed, Suppression};

/// The subject of every eleventh record of the sample.
const ERASED: u64 = 3;
const EVENTS: u64 = 1_100;

fn suppression() -> Suppression {
    let list = Suppression::default();
    list.add(&Suppressed {
        order: "o".into(),
        tenant: TenantId(1),
        subjects: vec![ERASED],
        tokens: Vec::new(),
        only: None,
        until: Timestamp(i64::MAX),
        is_purged: false,
    });
    list
}

fn queries() -> Vec<Json> {
    vec![
        json!({"match_all": {}}),
        json!({"term": {"service": "cart"}}),
        json!({"term": {"level": "ERROR"}}),
        json!({"match": {"message": "payment ok"}}),
        json!({"prefix": {"request.path": "/a"}}),
        json!({"exists": {"field": "tags"}}),
        json!({"bool": {"must_not": [{"term": {"status": "404"}}]}}),
        json!({"range": {"ms": {"gte": 100}}}),
        json!({"range": {"@timestamp": {"gte": "2020-01-01T00:00:00Z"}}}),
    ]
}

#[test]
fn hidden_records_are_in_no_page_count_bucket_or_group() {
    let engine = Engine::new().unwrap();
    let (_, open) = sample(EVENTS);
    let (events, hiding) = sample(EVENTS);
    let list = suppression();
    for segment in &hiding {
        segment.sift(&list.now(), Scope::Open).unwrap();
    }
    let erased: BTreeSet<&str> =
        events.iter().zip(0..EVENTS).filter(|(_, n)| n % 11 == ERASED).map(|(event, _)| event.id.as_str()).collect();
    let dates = DateContext::utc(now());
    for query in queries() {
        let filter = elastic::filter(&query, &dates).unwrap();
        for sort in [Sort::Newest, Sort::Oldest, Sort::Score] {
            let ask = |segments: &[_]| {
                let wanted = SearchRequest { sort, ..request(filter.clone()) };
                let hits = engine.search(&wanted, segments.to_vec(), Rows::Full).unwrap();
                let ids: BTreeSet<String> = hits.rows().unwrap().into_iter().map(|row| row.id).collect();
                (ids, hits.total())
            };
            let (mut left, _) = ask(&open);
            left.retain(|id| !erased.contains(id.as_str()));
            let (found, total) = ask(&hiding);
            assert!(found == left, "{query} {sort:?}");
            assert_eq!(total, Some(Total { value: left.len() as u64, is_exact: true }), "{query} {sort:?}");
        }
        for total in [TrackTotal::Exact, TrackTotal::UpTo(1_000_000)] {
            let count = SearchRequest { size: 0, total, ..request(filter.clone()) };
            let hits = engine.search(&count, hiding.clone(), Rows::None).unwrap();
            let page = engine.search(&request(filter.clone()), hiding.clone(), Rows::Full).unwrap();
            assert_eq!(hits.total().unwrap().value, page.rows().unwrap().len() as u64, "{query}");
            let aggs = json!({"s": {"terms": {"field": "status", "size": 50, "min_doc_count": 0}}});
            let (found, _) = hits.aggregate(&Aggs::read(&aggs, &dates).unwrap()).unwrap();
            let buckets = found["s"]["buckets"].as_array().unwrap().clone();
            let sum: u64 = buckets.iter().map(|bucket| bucket["doc_count"].as_u64().unwrap()).sum();
            assert_eq!(sum, hits.total().unwrap().value, "{query}");
            let grid = Some(Cut { start: Timestamp(START), step: 60_000_000, len: 100 });
            for subjects in [Subjects::Rows, Subjects::Distinct] {
                let groups = hits.fold(&Plan { grid, slots: None, subjects, cap: 100 }).unwrap();
                let records: u64 = groups.measured().iter().map(|cell| cell.records.0).sum();
                assert_eq!(records, hits.total().unwrap().value, "{query}");
                assert!(subjects == Subjects::Rows || groups.measured().iter().all(|cell| cell.subjects.0 <= 10));
            }
        }
    }
}

#[test]
fn pages_go_on_over_hidden_records_and_rows_found_before_are_not_shown_after() {
    let engine = Engine::new().unwrap();
    let (_, segments) = sample(EVENTS);
    let list = suppression();
    let before = engine.search(&request(super::Filter::All), segments.clone(), Rows::Full).unwrap();
    for segment in &segments {
        segment.sift(&list.now(), Scope::Open).unwrap();
    }
    let left = EVENTS - EVENTS / 11;
    assert_eq!(before.rows().unwrap().len() as u64, left, "found before the order, asked for after it");
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = SearchRequest { size: 7, after, total: TrackTotal::No, ..request(super::Filter::All) };
        let rows = engine.search(&page, segments.clone(), Rows::Full).unwrap().rows().unwrap();
        let Some(last) = rows.last() else { break };
        seen += rows.len() as u64;
        after = Some(After { score: None, time: last.time, tie: Some(last.tie) });
    }
    assert_eq!(seen, left);
    // What an export gathers is what an order hides, and nothing once it is hidden.
    let wanted = list.now().of_shard(domicile_proto::ids::ShardId(7), Scope::Open);
    let budget = || Budget::until(std::time::Instant::now() + std::time::Duration::from_secs(60));
    let (_, open) = sample(EVENTS);
    assert_eq!(engine.holding(open, &wanted, TimeRange::ALL, budget()).unwrap().len() as u64, EVENTS / 11);
    assert!(engine.holding(segments, &wanted, TimeRange::ALL, budget()).unwrap().is_empty());
}
