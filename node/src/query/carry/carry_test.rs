//! What is carried comes back; what several nodes found is what one would have found.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bolero::check;
use domicile_proto::ids::{ShardId, StreamId, TimeRange, Timestamp};
use domicile_proto::metadata::Rows;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{Arriving, Carried, Part, merged};
use crate::errors::Coded;
use crate::fuzz::{Input, cases};
use crate::limits::{MAX_CLAUSES, MAX_FILTER_DEPTH, MAX_HITS, MAX_PAGE_BYTES, PART_BYTES};
use crate::query::aggs::Aggs;
use crate::query::dates::DateContext;
use crate::query::filter::{Filter, Joined, Value};
use crate::query::hits::{Row, Total};
use crate::query::specimen::{START, now, request, sample};
use crate::query::{After, Budget, Engine, QueryError, SearchRequest, Sort, TrackTotal};
use crate::segment::{Segment, Unsearched};

fn budget() -> Budget {
    Budget::until(Instant::now() + Duration::from_secs(60))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,12}".prop_map(Value::Text),
        any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()).prop_map(Value::Number),
        any::<i64>().prop_map(Value::Whole),
        any::<bool>().prop_map(Value::Truth),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Value>> {
    prop_oneof![Just(Bound::Unbounded), value().prop_map(Bound::Included), value().prop_map(Bound::Excluded)]
}

fn range() -> impl Strategy<Value = TimeRange> {
    any::<(i64, i64)>().prop_map(|(from, to)| TimeRange { from: Timestamp(from), to: Timestamp(to) })
}

fn filter() -> impl Strategy<Value = Filter> {
    let text = || ".{0,12}";
    let leaf = prop_oneof![
        Just(Filter::All),
        Just(Filter::None),
        (text(), value()).prop_map(|(field, value)| Filter::Term { field, value }),
        (text(), proptest::collection::vec(value(), 0..4)).prop_map(|(field, values)| Filter::Terms { field, values }),
        (text(), text(), any::<bool>()).prop_map(|(field, text, every)| Filter::Words { field, text, every }),
        (text(), text(), any::<bool>()).prop_map(|(field, text, open)| Filter::Phrase { field, text, open }),
        (text(), text()).prop_map(|(field, text)| Filter::Prefix { field, text }),
        (text(), bound(), bound()).prop_map(|(field, from, to)| Filter::Range { field, from, to }),
        range().prop_map(Filter::Time),
        text().prop_map(|field| Filter::Exists { field }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let list = || proptest::collection::vec(inner.clone(), 0..3);
        let least = proptest::option::of(0_usize..5);
        (list(), list(), list(), list(), least).prop_map(|(must, filter, should, must_not, minimum_should_match)| {
            Filter::Bool(Box::new(Joined { must, filter, should, must_not, minimum_should_match }))
        })
    })
}

fn carried(filter: Filter) -> Carried {
    Carried { request: request(filter), aggregations: None, now: now(), is_wanted_whole: false }
}

proptest! {
    #[test]
    fn a_search_that_is_carried_comes_back_and_nothing_shorter_or_longer_is_taken(
        filter in filter(),
        range in range(),
        (sort, total, limit) in (0..3_usize, 0..3_usize, any::<u64>()),
        size in 0..=MAX_HITS,
        after in proptest::option::of((proptest::option::of(0_f32..9.0), any::<i64>(), proptest::option::of(any::<(u64, u64)>()))),
        aggregations in proptest::option::of(".{0,20}"),
        (at, is_wanted_whole) in any::<(i64, bool)>(),
        cut: prop::sample::Index,
    ) {
        let sort = [Sort::Newest, Sort::Oldest, Sort::Score][sort];
        let total = [TrackTotal::No, TrackTotal::Exact, TrackTotal::UpTo(limit)][total];
        let after = after.map(|(score, time, tie)| {
            After { score, time: Timestamp(time), tie: tie.map(|(shard, seq)| (ShardId(shard), seq)) }
        });
        let request = SearchRequest { filter, range, sort, size, after, total, budget: budget() };
        let carried = Carried { request, aggregations, now: Timestamp(at), is_wanted_whole };
        let bytes = carried.write();
        let read = Carried::read(&bytes, budget()).expect("a search");
        prop_assert!(read.request.filter == carried.request.filter);
        prop_assert_eq!(read.request.range, range);
        prop_assert_eq!(
            (read.request.sort, read.request.size, read.request.after, read.request.total),
            (sort, size, after, total)
        );
        prop_assert_eq!((&read.aggregations, read.now), (&carried.aggregations, carried.now));
        prop_assert_eq!(read.is_wanted_whole, is_wanted_whole);
        prop_assert!(Carried::read(&bytes[..cut.index(bytes.len())], budget()).is_none());
        prop_assert!(Carried::read(&[&bytes[..], &[0]].concat(), budget()).is_none());
    }
}

#[test]
fn a_search_beyond_the_bounds_of_one_is_not_read() {
    let reads = |carried: &Carried| Carried::read(&carried.write(), budget()).is_some();
    let wide = |clauses| Filter::any((1..clauses).map(|n| Filter::term("a", n.to_string())).collect());
    assert!(reads(&carried(wide(MAX_CLAUSES))));
    assert!(!reads(&carried(wide(MAX_CLAUSES + 1))));
    let deep = |depth| (1..depth).fold(Filter::term("a", "b"), |inner: Filter, _| inner.negated());
    assert!(reads(&carried(deep(MAX_FILTER_DEPTH))));
    assert!(!reads(&carried(deep(MAX_FILTER_DEPTH + 1))));
    let mut large = carried(Filter::All);
    large.request.size = MAX_HITS + 1;
    assert!(!reads(&large));
    let mut other = carried(Filter::All).write();
    other[0] += 1;
    assert!(Carried::read(&other, budget()).is_none(), "another version");
}

fn payment() -> Filter {
    Filter::Words { field: "message".to_owned(), text: "payment".to_owned(), every: true }
}

const AGGS: &str = r#"{
    "by_level": {"terms": {"field": "level"}, "aggs": {
        "by_minute": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}},
        "fast": {"stats": {"field": "ms"}}}},
    "services": {"cardinality": {"field": "service"}},
    "spread": {"percentiles": {"field": "ms"}},
    "ratios": {"terms": {"field": "ratio"}},
    "cached": {"terms": {"field": "cached"}},
    "steps": {"range": {"field": "ms", "ranges": [{"to": 100}, {"from": 100}]}},
    "errors": {"filter": {"term": {"level": "error"}}},
    "nothing": {"terms": {"field": "no.such"}}
}"#;

fn aggs() -> Aggs {
    let wanted: Json = serde_json::from_str(AGGS).unwrap();
    Aggs::read(&wanted, &DateContext::utc(now())).unwrap_or_else(|error| panic!("{error}"))
}

/// What one node finds over these segments.
fn found(segments: &[Arc<Segment>], request: &SearchRequest) -> Part {
    let hits = Engine::new().unwrap().search(request, segments.to_vec(), Rows::Redacted).unwrap();
    let gathered = Some(hits.gather(&aggs()).unwrap());
    Part { rows: hits.rows().unwrap(), total: hits.total(), gathered, ..Part::default() }
}

/// The same, by way of the link.
fn carried_over(part: &Part) -> Part {
    let mut arriving = Arriving::new(&budget());
    for piece in part.pieces(&budget()).unwrap() {
        assert!(arriving.take(&piece));
    }
    arriving.read(part.rows.len() as u64, &aggs()).unwrap().expect("a part")
}

type Shown = (Vec<(String, Vec<u8>, i64, (u64, u64), u32)>, Option<Total>, Json);

fn shown(part: &Part) -> Shown {
    let row = |row: &Row| {
        let tie = (row.tie.0.0, row.tie.1);
        (row.id.clone(), row.source.clone(), row.time.0, tie, row.score.to_bits())
    };
    let gathered = part.gathered.as_ref().expect("something is aggregated");
    (part.rows.iter().map(row).collect(), part.total, Json::Object(gathered.shown(&aggs()).unwrap()))
}

#[test]
fn a_part_that_is_carried_shows_what_it_showed() {
    let (_, segments) = sample(400);
    for sort in [Sort::Newest, Sort::Oldest, Sort::Score] {
        let request = SearchRequest { sort, size: 60, ..request(payment()) };
        let part = found(&segments, &request);
        assert!(part.rows.len() == 60);
        assert_eq!(shown(&carried_over(&part)), shown(&part));
    }
    let missing = Unsearched { segments: 2, records: 9, bytes: 70, oldest: Timestamp(-3), newest: Timestamp(8) };
    let part = Part { unsearched: vec![(StreamId(5), missing)], ..Part::default() };
    let back = carried_over(&part);
    assert!(
        back.unsearched == part.unsearched && back.rows.is_empty() && back.total.is_none() && back.gathered.is_none()
    );
}

#[test]
fn what_two_nodes_found_is_what_one_would_have_found_page_after_page() {
    let (_, segments) = sample(400);
    let (ours, theirs): (Vec<_>, Vec<_>) = segments.iter().cloned().partition(|segment| segment.shard == ShardId(7));
    assert!(!ours.is_empty() && !theirs.is_empty());
    for filter in [Filter::All, payment(), Filter::None] {
        for sort in [Sort::Newest, Sort::Oldest, Sort::Score] {
            for total in [TrackTotal::Exact, TrackTotal::UpTo(20), TrackTotal::UpTo(400), TrackTotal::No] {
                let mut after = None;
                let mut rows = 0;
                loop {
                    let request = SearchRequest { sort, total, size: 37, after, ..request(filter.clone()) };
                    let whole = found(&segments, &request);
                    let parts = vec![found(&ours, &request), carried_over(&found(&theirs, &request))];
                    let joined = merged(parts, sort, 37, total, &budget()).unwrap();
                    assert_eq!(shown(&joined), shown(&whole));
                    rows += joined.rows.len();
                    let Some(last) = joined.rows.last() else { break };
                    let score = (sort == Sort::Score).then_some(last.score);
                    after = Some(After { score, time: last.time, tie: Some(last.tie) });
                }
                assert_eq!(rows == 400, filter == Filter::All);
            }
        }
    }
}

#[test]
fn a_count_is_exact_only_where_every_part_is() {
    let of = |value, is_exact| Part { total: Some(Total { value, is_exact }), ..Part::default() };
    let sum = |parts, total| {
        let total = merged(parts, Sort::Newest, 10, total, &budget()).unwrap().total?;
        Some((total.value, total.is_exact))
    };
    assert_eq!(sum(vec![of(3, true), of(4, true)], TrackTotal::Exact), Some((7, true)));
    assert_eq!(sum(vec![of(3, true), of(4, false)], TrackTotal::Exact), Some((7, false)));
    assert_eq!(sum(vec![of(6, true), of(4, true)], TrackTotal::UpTo(10)), Some((10, true)));
    assert_eq!(sum(vec![of(6, true), of(5, true)], TrackTotal::UpTo(10)), Some((10, false)));
    assert_eq!(sum(vec![of(10, false), of(0, true)], TrackTotal::UpTo(10)), Some((10, false)));
    assert_eq!(sum(vec![of(3, true)], TrackTotal::No), None);
}

fn row(source: usize) -> Row {
    let (time, tie) = (Timestamp(1), (ShardId(1), 1));
    Row { id: "a".to_owned(), source: vec![b'a'; source], time, tie, score: 0.0 }
}

#[test]
fn what_arrives_takes_the_room_of_its_search_and_gives_it_back() {
    let part = Part { rows: vec![row(100), row(100)], ..Part::default() };
    let pieces = part.pieces(&budget()).unwrap();
    let mut short = Arriving::new(&budget());
    assert!(short.take(&pieces[0]));
    assert!(short.read(1, &Aggs::default()).unwrap().is_none(), "one row was said, and two came");

    let mut cut = Arriving::new(&budget());
    assert!(cut.take(&pieces[0][..pieces[0].len() - 1]));
    assert!(cut.read(2, &Aggs::default()).unwrap().is_none(), "not all of it came");

    let mut twice = Arriving::new(&budget());
    assert!(twice.take(&pieces[0]));
    twice.begin_again();
    assert!(twice.take(&pieces[0]));
    assert_eq!(twice.read(2, &Aggs::default()).unwrap().map(|part| part.rows.len()), Some(2));

    let mut large = Arriving::new(&budget());
    let piece = vec![0; PART_BYTES / 2];
    assert!(large.take(&piece) && large.take(&piece) && !large.take(&[0]));
    assert_eq!(large.refused().map(|error| error.code()), Some("DMC-QUERY-08"));
}

#[test]
fn a_page_takes_the_room_of_what_it_shows_and_searches_of_one_request_share_it() {
    let half = Part { rows: vec![row(MAX_PAGE_BYTES / 2 + 1)], ..Part::default() };
    let arrived = || {
        let mut arriving = Arriving::new(&budget());
        assert!(half.pieces(&budget()).unwrap().iter().all(|piece| arriving.take(piece)));
        arriving.read(1, &Aggs::default()).unwrap().expect("a part")
    };
    let shared = budget();
    let page = |size| {
        let parts = vec![arrived(), arrived(), arrived()];
        merged(parts, Sort::Newest, size, TrackTotal::No, &shared.share(None)).map(|page| page.rows.len())
    };
    assert_eq!(page(1).ok(), Some(1), "what three nodes sent is more than a page, and one row of it is shown");
    assert_eq!(page(1).err().map(|error| error.code()), Some("DMC-QUERY-14"), "a second page of the same request");
    let own = Part { on_page: MAX_PAGE_BYTES / 2 + 1, ..arrived() };
    let alone = budget();
    assert!(alone.page(own.on_page).is_ok());
    assert!(merged(vec![own], Sort::Newest, 1, TrackTotal::No, &alone).is_ok(), "it took its room when it was read");
}

/// What never was gathered for these aggregations would leave something out of a sum, or stand in the way of its rendering.
#[test]
fn buckets_of_another_shape_are_no_part() {
    let (_, segments) = sample(40);
    let part = found(&segments, &SearchRequest { size: 0, ..request(Filter::All) });
    let read = |wanted: &Aggs| {
        let mut arriving = Arriving::new(&budget());
        assert!(part.pieces(&budget()).unwrap().iter().all(|piece| arriving.take(piece)));
        arriving.read(0, wanted).unwrap().is_some()
    };
    let of = |change: &dyn Fn(&mut Json)| {
        let mut wanted: Json = serde_json::from_str(AGGS).unwrap();
        change(&mut wanted);
        Aggs::read(&wanted, &DateContext::utc(now())).unwrap()
    };
    assert!(read(&of(&|_| ())));
    assert!(!read(&Aggs::default()), "none");
    assert!(!read(&of(&|wanted| drop(wanted.as_object_mut().unwrap().remove("spread")))), "fewer");
    let fewer = |wanted: &mut Json| drop(wanted["by_level"]["aggs"].as_object_mut().unwrap().remove("fast"));
    assert!(!read(&of(&fewer)), "fewer below");
    let dates = |wanted: &mut Json| {
        let by_level = wanted["by_level"].as_object_mut().unwrap();
        by_level.remove("terms");
        by_level
            .insert("date_histogram".to_owned(), serde_json::json!({"field": "@timestamp", "fixed_interval": "1m"}));
    };
    assert!(!read(&of(&dates)), "of other keys");
}

#[test]
fn numbers_that_no_record_has_are_no_part() {
    let (_, segments) = sample(40);
    let wanted = serde_json::json!({"fast": {"stats": {"field": "ms"}}});
    let aggs = Aggs::read(&wanted, &DateContext::utc(now())).unwrap();
    let hits = Engine::new().unwrap().search(&request(Filter::All), segments.to_vec(), Rows::None).unwrap();
    let part = Part { gathered: Some(hits.gather(&aggs).unwrap()), ..Part::default() };
    let good = part.pieces(&budget()).unwrap().concat();
    let reads = |bytes: &[u8]| {
        let mut arriving = Arriving::new(&budget());
        assert!(arriving.take(bytes));
        arriving.read(0, &aggs).unwrap().is_some()
    };
    assert!(reads(&good));
    // The least and the greatest stand before the lengths of two empty lists.
    let (least, greatest) = (good.len() - 24, good.len() - 16);
    let with = |place: usize, number: f64| {
        let mut bytes = good.clone();
        bytes[place..place + 8].copy_from_slice(&number.to_bits().to_be_bytes());
        bytes
    };
    assert!(reads(&with(least, f64::MIN)), "the test knows where they stand");
    for bytes in [with(least, f64::MAX), with(greatest, f64::MIN), with(least, f64::NAN), with(greatest, f64::NAN)] {
        assert!(!reads(&bytes));
    }
}

#[test]
fn who_asks_another_node_is_refused_in_the_words_of_the_one_that_refused() {
    let field = || "name".to_owned();
    let broken = || tantivy::TantivyError::SystemError("x".to_owned());
    let away = QueryError::Away(broken());
    let all = [
        QueryError::TooCostly,
        QueryError::TooManyClauses,
        QueryError::TooDeep,
        QueryError::Crowded,
        QueryError::Deadline,
        QueryError::PageTooLarge,
        QueryError::TooManyBeginnings,
        QueryError::Apart { field: field() },
        QueryError::Personal,
        away,
        QueryError::Engine(broken()),
    ];
    for error in all {
        let heard = QueryError::heard(&error.told()).expect("a matter of the search");
        assert_eq!((heard.code(), heard.to_string()), (error.code(), error.to_string()));
    }
    assert_eq!(QueryError::heard(&QueryError::Cancelled.told()).map(|error| error.code()), Some("DMC-QUERY-09"));
    assert!(QueryError::heard(&QueryError::TooManyHits.told()).is_none());
}

#[test]
fn nothing_that_a_neighbour_carries_panics() {
    let mut search = carried(Filter::every(vec![
        Filter::term("level", "ERROR"),
        Filter::Range { field: "ms".to_owned(), from: Bound::Included(Value::Whole(3)), to: Bound::Unbounded },
        Filter::Time(TimeRange { from: Timestamp(START), to: now() }),
    ]));
    search.aggregations = Some(AGGS.to_owned());
    let good = vec![search.write()];
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        drop(Carried::read(&input.bytes(&good), budget()));
    });
    let (_, segments) = sample(40);
    let good = found(&segments, &SearchRequest { size: 3, ..request(Filter::All) }).pieces(&budget()).unwrap();
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        let mut arriving = Arriving::new(&budget());
        if arriving.take(&bytes)
            && let Ok(Some(part)) = arriving.read(3, &aggs())
        {
            let taken: usize = part.rows.iter().map(|row| row.id.len() + row.source.len()).sum();
            assert!(taken <= bytes.len(), "more came out than went in");
            let joined = merged(vec![part, Part::default()], Sort::Newest, 3, TrackTotal::Exact, &budget()).unwrap();
            if let Some(gathered) = joined.gathered {
                drop(gathered.shown(&aggs()));
            }
        }
    });
}
