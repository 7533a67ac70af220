//! Whether an address occurs is nobody's business: a key without rows cannot tell an address that occurs from one that does
//! not, by any endpoint of any region, found by the doors' own list.

use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::http;
use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::ask::bare;
use crate::small::{self, MAIL, NOBODY, WORD};
use crate::world::GUARDED;

/// Endpoints of the Elasticsearch door; the native door lists its own.
const ELASTIC: [&str; 24] = [
    "/",
    "/_search",
    "/{s}/_search",
    "/_msearch",
    "/_count",
    "/{s}/_count",
    "/_cat/indices?v",
    "/_cat/indices/{l}",
    "/_resolve/index/{l}",
    "/_resolve/cluster/{l}",
    "/_mapping",
    "/{s}/_mapping",
    "/{s}/_mapping/field/{l}",
    "/{s}/_field_caps?fields={l}",
    "/{s}/_settings",
    "/{l}",
    "/{s}/_doc/{l}",
    "/{s}/_source/{l}",
    "/{s}/_termvectors/{l}",
    "/{s}/_terms_enum",
    "/{s}/_explain/{l}",
    "/{s}/_validate/query?q={l}&explain=true",
    "/{s}/_search?q={l}",
    "/{s}/_count?q={l}",
];

/// A door with the key that is shown to it.
struct Door {
    region: Region,
    key: String,
}

#[test]
fn no_endpoint_tells_an_address_that_occurs_from_one_that_does_not() {
    let cluster = small::start();
    let doors: Vec<Door> = cluster.regions().into_iter().map(|region| door(&cluster, region)).collect();
    let mut told_apart = Vec::new();
    let mut asked = 0;
    for door in &doors {
        let native = native_paths(&door.region);
        assert!(native.len() > 10, "the document lists the native endpoints");
        let api = native.iter().map(|path| (door.region.doors.api.clone(), path.clone()));
        let es = ELASTIC.iter().map(|path| (door.region.doors.es.clone(), (*path).to_owned()));
        for (base, path) in api.chain(es) {
            for body in bodies(base == door.region.doors.api) {
                for method in ["GET", "POST"] {
                    asked += 1;
                    if door.said(method, &base, &path, &body, MAIL) != door.said(method, &base, &path, &body, NOBODY) {
                        told_apart.push(format!("{} {method} {path} {body}", door.region.name));
                    }
                }
            }
        }
    }
    eprintln!("{asked} requests, each with both addresses");
    assert!(told_apart.is_empty(), "an address is told from another by {told_apart:#?}");
    // The same comparison sees an ordinary word where it may be seen, at home: the test is not blind.
    let frankfurt = doors.iter().find(|door| door.region.name == "frankfurt").unwrap();
    let search = json!({"query": {"match": {"message": "{l}"}}});
    let said = |word: &str| frankfurt.said("POST", &frankfurt.region.doors.es, "/{s}/_search", &search, word);
    assert_ne!(said(WORD), said("nosuchword"));
}

/// A key of the region that may search and see no row.
fn door(cluster: &Cluster, region: Region) -> Door {
    let arguments = ["key", "create", "blind", "--role", "search", "--rows", "none", "--region", &region.name];
    let printed = cluster.command(&arguments).unwrap();
    let key = printed.split_whitespace().find(|word| word.starts_with("dmc_")).expect("a key").to_owned();
    let known = domicile_tests::cluster::wait_until(std::time::Duration::from_secs(30), || {
        let authorization = format!("Bearer {key}");
        let whoami = format!("{}/api/v1/whoami", region.doors.api);
        let answer = http::request("GET", &whoami, &[("Authorization", &authorization)], &[]).ok()?;
        (answer.status == 200).then_some(())
    });
    known.expect("the region knows its new key");
    Door { region, key }
}

fn native_paths(region: &Region) -> Vec<String> {
    let document = region.api("search", "GET", "/api/v1/openapi.json", &Value::Null).unwrap().json();
    let paths: Vec<String> =
        document["paths"].as_object().unwrap().keys().map(|path| path.replace("{stream}", "{l}")).collect();
    // What changes the deployment is refused to this key by role; it is asked all the same, but for what counts by itself.
    paths.into_iter().filter(|path| !["/metrics", "/api/v1/status"].contains(&path.as_str())).collect()
}

/// Bodies in which a literal stands wherever one may; `{l}` is the literal.
fn bodies(is_native: bool) -> Vec<Value> {
    let queries = [
        json!({"match": {"message": "{l}"}}),
        json!({"match_phrase": {"message": "{l}"}}),
        json!({"match_phrase_prefix": {"message": "{l}"}}),
        json!({"prefix": {"message": "{l}"}}),
        json!({"wildcard": {"message": "*{l}*"}}),
        json!({"term": {"attributes.contact": "{l}"}}),
        json!({"term": {"contact.keyword": "{l}"}}),
        json!({"terms": {"user": ["{l}"]}}),
        json!({"query_string": {"query": "\"{l}\""}}),
        json!({"simple_query_string": {"query": "{l}"}}),
        json!({"multi_match": {"query": "{l}", "fields": ["*"]}}),
        json!({"bool": {"must_not": [{"match": {"message": "{l}"}}]}}),
        json!({"fuzzy": {"message": "{l}"}}),
        json!({"regexp": {"message": ".*{l}.*"}}),
        json!({"ids": {"values": ["{l}"]}}),
    ];
    if is_native {
        let regions = [json!([]), json!(["frankfurt"]), json!(["*"])];
        let mut bodies: Vec<Value> = Vec::new();
        for regions in regions {
            let with = |more: Value| {
                let mut body = json!({"stream": GUARDED, "regions": regions, "ask": "count"});
                body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                body
            };
            bodies.extend(queries.iter().map(|query| with(json!({"filter": query}))));
            bodies.push(with(json!({"query": "{l}"})));
            bodies.push(with(json!({"query": "message:\"{l}\"", "size": 10})));
        }
        bodies.push(json!({"name": "{l}"}));
        return bodies;
    }
    let mut bodies: Vec<Value> =
        queries.iter().map(|query| json!({"query": query, "track_total_hits": true})).collect();
    bodies.push(json!({"query": queries[0], "explain": true, "profile": true, "highlight": {"fields": {"*": {}}}}));
    bodies.push(json!({"size": 0, "aggs": {"x": {"terms": {"field": "attributes.contact", "include": "{l}"}}}}));
    bodies.push(json!({"size": 0, "aggs": {"x": {"filter": queries[0]}}}));
    bodies.push(json!({"size": 0, "aggs": {"x": {"filters": {"filters": {"a": queries[1]}}}}}));
    bodies.push(json!({"suggest": {"x": {"text": "{l}", "term": {"field": "message"}}}}));
    bodies.push(json!({"field": "attributes.contact", "string": "{l}"}));
    bodies.push(json!({"fields": ["{l}"]}));
    bodies
}

impl Door {
    /// Status and body, without the literal and without what differs by itself.
    fn said(&self, method: &str, base: &str, path: &str, body: &Value, literal: &str) -> String {
        let path = path.replace("{s}", GUARDED).replace("{l}", &literal.replace('@', "%40"));
        let mut body = body.to_string().replace("{l}", literal);
        if path.contains("_msearch") {
            body = format!("{{\"index\":\"{GUARDED}\"}}\n{body}\n");
        }
        let authorization = format!("Bearer {}", self.key);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let answer = http::request(method, &format!("{base}{path}"), &headers, body.as_bytes()).unwrap();
        let text = answer.text();
        let parsed = serde_json::from_str::<Value>(&text).map_or(text, |value| bare(&value).to_string());
        // Both have the same length, so that an offset in an error text is the same.
        let parsed =
            [literal, &literal.replace('@', "%40")].iter().fold(parsed, |text, one| text.replace(one, "LITERAL"));
        format!("{} {parsed}", answer.status)
    }
}

#[test]
fn the_two_addresses_look_alike() {
    assert_eq!(MAIL.len(), NOBODY.len());
    assert_eq!(MAIL.find('@'), NOBODY.find('@'));
}
