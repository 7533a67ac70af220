//! Requests drawn at random: every door, every clause, every aggregation, with a planted value wherever a text may stand.

use domicile_tests::cluster::REGIONS;
use domicile_tests::cluster::fixture::Dice;
use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

/// How many requests are drawn, unless `DOMICILE_CASES` says otherwise.
const CASES: u64 = 150;

/// Sends random requests to random doors; what they answer does not matter, what crosses meanwhile does.
pub(crate) fn send(regions: &[Region], stream: &str, word: &str) {
    let cases = std::env::var("DOMICILE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let mut dice = Dice::new(4_242);
    for case in 0..cases {
        let region = &regions[pick(&mut dice, regions.len())];
        let status = one(&mut dice, region, stream, word);
        assert!(status < 500, "case {case} is answered with {status}");
    }
}

fn pick(dice: &mut Dice, bound: usize) -> usize {
    usize::try_from(dice.below(bound as u64)).unwrap()
}

fn one(dice: &mut Dice, region: &Region, stream: &str, word: &str) -> u16 {
    let index = index(dice, stream);
    let body = json!({
        "size": dice.below(3), "query": query(dice, word, 3), "aggs": {word: aggregation(dice, word, 2)},
        "track_total_hits": dice.below(2) == 0, "timeout": format!("{}ms", 1 + dice.below(5_000)),
    });
    let lone = json!({"size": 0, "query": query(dice, word, 3)});
    let answer = match dice.below(6) {
        0 => region.es("search", "POST", &format!("/{index}/_search"), &body),
        1 => region.es("search", "POST", &format!("/{index}/_search"), &lone),
        2 => region.es("search", "POST", &format!("/{index}/_count"), &json!({"query": query(dice, word, 2)})),
        3 => region.es("search", "GET", &format!("/{index}/_search?q={word}"), &Value::Null),
        4 => region.es("search", "GET", &format!("/{word}:{index},{index}/_field_caps?fields={word}"), &Value::Null),
        _ => region.api("search", "POST", "/api/v1/search", &native(dice, stream, word)),
    };
    answer.unwrap().status
}

fn index(dice: &mut Dice, stream: &str) -> String {
    let first = pick(dice, REGIONS.len());
    let number = 1 + pick(dice, REGIONS.len());
    let named = (0..number).map(|step| format!("{}:{stream}", REGIONS[(first + step) % REGIONS.len()]));
    named.collect::<Vec<_>>().join(",")
}

fn field<'a>(dice: &mut Dice, word: &'a str) -> &'a str {
    ["message", "level", "service", "host", "trace_id", "attributes.note", "timestamp", word][pick(dice, 8)]
}

fn query(dice: &mut Dice, word: &str, depth: u64) -> Value {
    let text = match dice.below(5) {
        0 => "order".to_owned(),
        1 => format!("{word} seen"),
        2 => word.to_lowercase(),
        3 => word.chars().rev().collect(),
        _ => word.to_owned(),
    };
    let field = field(dice, word);
    match dice.below(if depth == 0 { 8 } else { 10 }) {
        0 => json!({"match_all": {}}),
        1 => json!({"match": {field: text}}),
        2 => json!({"match_phrase": {field: text}}),
        3 => json!({"term": {field: text}}),
        4 => json!({"terms": {field: [text, "ERROR"]}}),
        5 => json!({"prefix": {field: text}}),
        6 => json!({"range": {"timestamp": {"gte": "2026-11-20T09:00:00Z", "lt": "2026-11-20T10:00:00Z"}}}),
        7 => json!({"query_string": {"query": format!("{field}:{text}")}}),
        _ => {
            let part = |dice: &mut Dice| vec![query(dice, word, depth - 1)];
            json!({"bool": {"must": part(dice), "must_not": part(dice), "should": part(dice), "filter": part(dice)}})
        }
    }
}

fn aggregation(dice: &mut Dice, word: &str, depth: u64) -> Value {
    let field = field(dice, word);
    let mut body = match dice.below(6) {
        0 => json!({"terms": {"field": field, "min_doc_count": 0, "missing": word}}),
        1 => json!({"date_histogram": {"field": "timestamp", "fixed_interval": "1m", "min_doc_count": 0}}),
        2 => json!({"filter": query(dice, word, 1)}),
        3 => json!({"cardinality": {"field": field}}),
        4 => json!({"top_hits": {"size": 3}}),
        _ => json!({"terms": {"field": "level"}}),
    };
    if depth > 0 && dice.below(2) == 0 {
        body["aggs"] = json!({word: aggregation(dice, word, depth - 1)});
    }
    body
}

fn native(dice: &mut Dice, stream: &str, word: &str) -> Value {
    let ask = match dice.below(4) {
        0 => json!("count"),
        1 => json!({"terms": field(dice, word)}),
        2 => json!({"histogram": 60}),
        _ => json!({"terms": "level", "histogram": 60}),
    };
    let regions = if dice.below(2) == 0 { json!(["*"]) } else { json!([REGIONS[pick(dice, 3)]]) };
    let mut body = json!({
        "stream": stream, "regions": regions, "ask": ask, "size": dice.below(2),
        "range": {"from": "2026-11-20T09:00:00Z", "to": "2026-11-20T10:00:00Z"},
    });
    match dice.below(3) {
        0 => body["query"] = json!(format!("level:ERROR {word}")),
        1 => body["filter"] = query(dice, word, 2),
        _ => {}
    }
    body
}
