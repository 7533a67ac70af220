//! Well-framed requests with bodies nobody should send: broken, deep, huge, packed to explode.

use std::io::Write;

use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::{calm_cluster, undisturbed};

#[test]
fn bodies_nobody_should_send_get_a_clear_error() {
    let cluster = calm_cluster();
    let tokyo = cluster.region("tokyo");

    for (what, body) in [
        ("no JSON", b"{\"create\":{}}\n{\"message\n".to_vec()),
        ("an action alone", b"{\"create\":{}}\n".to_vec()),
        ("no action", b"{\"message\":\"x\"}\n{\"message\":\"y\"}\n".to_vec()),
        (
            "bytes that are no text",
            [b"{\"create\":{}}\n{\"message\":\"".as_slice(), &[0xff, 0xfe, 0x80], b"\"}\n"].concat(),
        ),
        (
            "a record too deep",
            format!("{{\"create\":{{}}}}\n{}1{}\n", "{\"a\":".repeat(5_000), "}".repeat(5_000)).into_bytes(),
        ),
        (
            "an array too deep",
            format!("{{\"create\":{{}}}}\n{}{}\n", "[".repeat(50_000), "]".repeat(50_000)).into_bytes(),
        ),
        (
            "a key with a million digits",
            format!("{{\"create\":{{}}}}\n{{\"n\":{}}}\n", "9".repeat(1_000_000)).into_bytes(),
        ),
    ] {
        refused_or_named(&tokyo, what, &body, &[]);
    }
    refused_or_named(&tokyo, "no gzip", b"{\"create\":{}}\n{}\n", &[("Content-Encoding", "gzip")]);
    refused_or_named(&tokyo, "a gzip bomb", &bomb(1 << 30), &[("Content-Encoding", "gzip")]);
    undisturbed(&cluster);

    for (what, query) in [
        ("an unknown query", json!({"query": {"no_such": {}}})),
        ("a query too deep", nested(200)),
        ("too many clauses", json!({"query": {"bool": {"should": vec![json!({"term": {"level": "INFO"}}); 5_000]}}})),
        ("a negative size", json!({"size": -1})),
        ("too many hits", json!({"size": 1_000_000_000_u64})),
        (
            "too many cells",
            json!({"size": 0, "query": {"range": {"timestamp": {"gte": "1900-01-01T00:00:00Z", "lte": "2200-01-01T00:00:00Z"}}}, "aggs": {"a": {"date_histogram": {"field": "timestamp", "fixed_interval": "1ms", "min_doc_count": 0, "extended_bounds": {"min": 0, "max": 4_000_000_000_000_i64}}}}}),
        ),
        ("a broken range", json!({"query": {"range": {"timestamp": {"gte": "yesterday-ish"}}}})),
    ] {
        let answer = tokyo.es("search", "POST", "/calm/_search", &query).unwrap();
        assert_eq!(answer.status, 400, "{what}: {}", &answer.text()[..answer.text().len().min(300)]);
        assert!(
            answer.json()["error"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
            "{what}: {}",
            answer.text()
        );
    }
    for (what, question) in [
        ("no stream", json!({"regions": ["*"]})),
        ("an unknown region", json!({"stream": "calm", "regions": ["atlantis"]})),
        ("no object", json!([1, 2, 3])),
    ] {
        let answer = tokyo.api("search", "POST", "/api/v1/search", &question).unwrap();
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    }
    undisturbed(&cluster);
}

#[test]
fn a_line_of_five_megabytes_is_taken_or_refused_by_name() {
    let cluster = calm_cluster();
    let tokyo = cluster.region("tokyo");
    let line = json!({"level": "INFO", "message": "long ".repeat(1_000_000)}).to_string();
    let answer = tokyo.bulk("long", format!("{{\"create\":{{}}}}\n{line}\n").as_bytes(), &[]).unwrap();
    let status = answer.json()["items"][0]["create"]["status"].as_u64().unwrap_or_else(|| u64::from(answer.status));
    assert!([201, 400, 413].contains(&status), "{status}");
    if status == 201 {
        tokyo.refresh("long");
        assert_eq!(tokyo.count("long").unwrap(), 1);
    }
    let line = json!({"level": "INFO", "message": "x".repeat(64 << 20)}).to_string();
    let answer = tokyo.bulk("long", format!("{{\"create\":{{}}}}\n{line}\n").as_bytes(), &[]).unwrap();
    let status = if answer.status == 200 {
        answer.json()["items"][0]["create"]["status"].as_u64().unwrap()
    } else {
        u64::from(answer.status)
    };
    assert!([400, 413].contains(&status), "64 MB in one line: {status}");
    undisturbed(&cluster);
}

/// Either the whole request is refused, or every item of it that is wrong is named.
#[track_caller]
fn refused_or_named(region: &Region, what: &str, body: &[u8], headers: &[(&str, &str)]) {
    let answer = region.bulk("calm", body, headers).unwrap();
    match answer.status {
        200 => assert!(answer.text().contains("\"errors\":true"), "{what} was taken: {}", answer.text()),
        400..=499 => assert!(answer.json()["error"]["reason"].is_string(), "{what}: {}", answer.text()),
        status => panic!("{what}: {status} {}", answer.text()),
    }
}

/// Zeros that pack a thousand to one.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let block = vec![b' '; 1 << 20];
    (0..bytes >> 20).for_each(|_| packer.write_all(&block).unwrap());
    packer.finish().unwrap()
}

fn nested(depth: usize) -> Value {
    let query = (0..depth).fold(json!({"match_all": {}}), |inner, _| json!({"bool": {"must": [inner]}}));
    json!({"query": query})
}
