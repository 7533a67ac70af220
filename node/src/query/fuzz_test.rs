//! Whatever somebody asks, and whatever a neighbour sends, is read or refused.

use bolero::check;
use domicile_proto::ids::{ShardId, StreamId, Timestamp};

use super::dates::DateContext;
use super::hits::Row;
use super::rows::RowBatch;
use super::{elastic, human};
use crate::fuzz::{Input, cases};

fn dates() -> DateContext {
    DateContext::utc(Timestamp(1_795_132_800_000_000))
}

#[test]
fn no_query_of_elasticsearch_panics() {
    let good: Vec<Vec<u8>> = [
        r#"{"bool":{"must":[{"term":{"level":{"value":"INFO"}}}],"must_not":{"exists":{"field":"host"}},"minimum_should_match":1,"should":[{"match":{"message":"a b"}}]}}"#,
        r#"{"range":{"timestamp":{"gte":"now-1d/d","lt":"2026-11-20T00:03:00Z","time_zone":"+09:00","format":"strict_date_time"}}}"#,
        r#"{"query_string":{"query":"level:ERROR AND (took OR \"x y\"~2) host:a*","default_operator":"and"}}"#,
        r#"{"terms":{"attributes.route":["/cart",7,null]}}"#,
        r#"{"wildcard":{"message":{"value":"or?er*","case_insensitive":true}}}"#,
        r#"{"match_phrase_prefix":{"message":{"query":"took 9"}}}"#,
        r#"{"ids":{"values":["1-2"]}}"#,
        r#"{"constant_score":{"filter":{"prefix":{"service":"che"}}}}"#,
    ]
    .map(|query| query.as_bytes().to_vec())
    .into();
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        if let Ok(query) = serde_json::from_slice(&input.bytes(&good)) {
            drop(elastic::filter(&query, &dates()));
        }
    });
}

#[test]
fn no_typed_question_panics() {
    let good: Vec<Vec<u8>> = [
        "level:ERROR AND (took OR \"x y\") -host:a* service:[a TO z}",
        "timestamp:>=now-15m/m NOT _exists_:trace_id",
        "attributes.took:>900 \\(escaped\\) 東京 /no.regex/",
    ]
    .map(|query| query.as_bytes().to_vec())
    .into();
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        drop(human::filter(&String::from_utf8_lossy(&input.bytes(&good)), &dates()));
    });
}

#[test]
fn no_date_and_no_zone_panics() {
    let good: Vec<Vec<u8>> = ["now-1d/d", "2026-11-20T00:03:00.123+09:00", "2026-11||+1M/d", "1795132800000", "90m"]
        .map(|date| date.as_bytes().to_vec())
        .into();
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        let text = String::from_utf8_lossy(&bytes);
        let _ = (dates().stretch(&text), super::dates::duration(&text));
        if let Some(zone) = super::dates::zone_of(&text) {
            let _ = DateContext { zone, ..dates() }.stretch("2026-11-20T00:03");
        }
    });
}

#[test]
fn no_rows_of_a_neighbour_panic() {
    let (time, tie) = (Timestamp(1), (ShardId(1), 1));
    let given = |id: &str| Row { id: id.to_owned(), source: b"{}".to_vec(), time, tie, score: 0.0 };
    let good = RowBatch::pieces(StreamId(4), vec![given("1-2"), given("")]);
    check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        let taken: usize = RowBatch::read(&bytes)
            .map_or(0, |batch| batch.rows.iter().map(|row| row.id.len() + row.source.len()).sum());
        assert!(taken <= bytes.len(), "more came out than went in");
    });
}
