//! Attacks on the doors, beside those on answers: sketches and rows, values one by one, error texts, names of things.

use domicile::attack::day::UNAPPROVED;
use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::ask::{bare, search};
use crate::tally::Tally;
use crate::world::{GUARDED, World};

/// All of them, each against the guarded stream and against the control.
pub(crate) fn run(world: &World) -> Vec<Tally> {
    let home = |stream: &str| (world.cluster.region("frankfurt"), stream.to_owned());
    let abroad = |stream: &str| (world.asker(), format!("frankfurt:{stream}"));
    vec![
        Tally::of("a sketch, an extreme or a row", "R1", &sketches(abroad(GUARDED)), &sketches(home(GUARDED))),
        Tally::of("whether an unapproved value occurs", "R3", &unapproved(world, true), &unapproved(world, false)),
        Tally::of("a word of a record in an error text", "R1", &errors(abroad(GUARDED)), &rows(home(GUARDED))),
        Tally::of("a word of a record in a name", "R2", &names(&world.asker()), &rows(home(GUARDED))),
    ]
}

/// Aggregations and options that give more than a number of a cell.
fn sketches((asker, index): (Region, String)) -> Vec<bool> {
    let of = |kind: &str, more: Value| {
        let mut body = json!({"field": "user"});
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        json!({"size": 0, "aggs": {"x": {kind: body}}})
    };
    let bodies = [
        of("cardinality", json!({})),
        of("extended_stats", json!({"field": "amount"})),
        of("value_count", json!({"field": "service"})),
        of("min", json!({"field": "timestamp"})),
        of("max", json!({"field": "timestamp"})),
        of("stats", json!({"field": "timestamp"})),
        of("terms", json!({})),
        of("terms", json!({"field": "message"})),
    ];
    let told = |body: &Value| {
        let answer = search(&asker, &index, body);
        !answer["aggregations"]["x"].is_null()
    };
    bodies.iter().map(told).collect()
}

/// Whether a value nobody approved can be told from one that does not occur: abroad, and at home as the control.
fn unapproved(world: &World, is_abroad: bool) -> Vec<bool> {
    let (asker, index) = match is_abroad {
        true => (world.asker(), format!("frankfurt:{GUARDED}")),
        false => (world.cluster.region("frankfurt"), GUARDED.to_owned()),
    };
    let told = |value: &str, path: &str, body: Value| {
        let text = asker.es("search", "POST", path, &body).unwrap().text().replace(value, "VALUE");
        serde_json::from_str(&text).map_or(text, |answer: Value| bare(&answer).to_string())
    };
    let differ = |path: String, body: fn(&str) -> Value| {
        told(UNAPPROVED, &path, body(UNAPPROVED)) != told("projecty", &path, body("projecty"))
    };
    vec![
        differ(format!("/{index}/_search"), |value| json!({"size": 0, "query": {"term": {"service": value}}})),
        differ(format!("/{index}/_search"), |value| json!({"size": 0, "query": {"terms": {"service": [value]}}})),
        differ(format!("/{index}/_count"), |value| json!({"query": {"term": {"service.keyword": value}}})),
        differ(
            format!("/{index}/_search"),
            |value| json!({"size": 0, "query": {"bool": {"must_not": [{"match": {"service": value}}]}}}),
        ),
    ]
}

/// Requests that fail, each in its own way: none of their texts has a word of a record.
fn errors((asker, index): (Region, String)) -> Vec<bool> {
    let bodies = [
        json!({"query": {"no_such": {}}}),
        json!({"query": {"match": {"no.such.field": "x"}}}),
        json!({"query": {"range": {"user": {"gte": "x"}}}}),
        json!({"query": {"query_string": {"query": "((("}}}),
        json!({"aggs": {"x": {"terms": {"field": "message"}}}}),
        json!({"aggs": {"x": {"date_histogram": {"field": "user", "fixed_interval": "1ms"}}}}),
        json!({"sort": [{"user": "asc"}]}),
        json!({"script_fields": {"x": {"script": "doc['user'].value"}}, "explain": true, "profile": true}),
    ];
    let body_of = |body: &Value| asker.es("search", "POST", &format!("/{index}/_search"), body).unwrap().text();
    bodies.iter().map(|body| holds_a_record(&body_of(body))).collect()
}

/// Everything that names things, at the asker's doors.
fn names(asker: &Region) -> Vec<bool> {
    let es = [
        "/_cat/indices?v",
        "/_mapping",
        "/_field_caps?fields=*",
        "/_resolve/index/*",
        "/_settings",
        "/_resolve/cluster",
    ];
    let of_frankfurt = format!("/frankfurt:{GUARDED}/_field_caps?fields=*");
    let api = ["/api/v1/streams", "/api/v1/status", "/metrics", "/api/v1/admin/dictionary", "/api/v1/admin/streams"];
    let es = es.into_iter().chain([of_frankfurt.as_str()]);
    let es = es.map(|path| asker.es("search", "GET", path, &Value::Null).unwrap().text());
    let api = api.into_iter().map(|path| asker.api("admin", "GET", path, &Value::Null).unwrap().text());
    es.chain(api).map(|text| holds_a_record(&text)).collect()
}

/// The control of both: at home, rows hold the words that are looked for.
fn rows((asker, index): (Region, String)) -> Vec<bool> {
    let answer = asker.es("search", "POST", &format!("/{index}/_search"), &json!({"size": 5})).unwrap();
    vec![holds_a_record(&answer.text())]
}

fn holds_a_record(text: &str) -> bool {
    text.contains("order placed") || text.contains("account") || text.contains(UNAPPROVED)
}
