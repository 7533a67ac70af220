//! Whether an address occurs is nobody's business: who has no clearance cannot tell an address that occurs from one that does
//! not, by any route of any region: not by what is found or counted, nor by what completes it, nor by statistics of a field, nor
//! by errors and headers. Routes come from the API document and from the sources of the Elasticsearch port, so that a new one is walked.

use std::collections::{BTreeMap, BTreeSet};

use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::http;
use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::ask::bare;
use crate::small::{self, MAIL, NOBODY, WORD};
use crate::world::GUARDED;

/// Where the Elasticsearch port says what it serves: searches and what surrounds them, and ingest.
const SERVED: [&str; 2] =
    [include_str!("../../node/src/present/elastic/routes.rs"), include_str!("../../node/src/receive/elastic.rs")];

/// Endpoints that Elasticsearch has and this port may come to have, where an address could be looked for.
const ELSEWHERE: [&str; 17] = [
    "/{s}/_doc/{l}",
    "/{s}/_source/{l}",
    "/{s}/_mget",
    "/{s}/_termvectors/{l}",
    "/{s}/_mtermvectors",
    "/{s}/_terms_enum",
    "/{s}/_explain/{l}",
    "/{s}/_validate/query?q={l}&explain=true",
    "/{s}/_mapping/field/{l}",
    "/{s}/_analyze",
    "/{s}/_async_search",
    "/{s}/_search/template",
    "/{s}/_rank_eval",
    "/{s}/_knn_search",
    "/{s}/_update_by_query",
    "/_sql",
    "/_suggest",
];

/// Parameters that one door or another reads, each with the address.
const PARAMETERS: &str = "q={l}&id={l}&tenant={l}&stream={l}&index={l}&field={l}&fields={l}&name={l}&filter_path={l}";

/// A door with the key that is shown to it.
struct Door {
    region: Region,
    key: Option<String>,
}

/// One request: method, address and body, in which `{l}` stands for the address that is looked for.
struct Request {
    method: &'static str,
    base: String,
    path: String,
    body: Value,
}

#[test]
fn no_route_tells_an_address_that_occurs_from_one_that_does_not() {
    let cluster = small::start();
    let doors = doors(&cluster);
    let (mut told_apart, mut asked, mut walked) = (Vec::new(), 0, BTreeSet::new());
    for door in &doors {
        for request in requests(&door.region) {
            asked += 1;
            walked.insert(request.path.clone());
            if door.said(&request, MAIL) != door.said(&request, NOBODY) {
                let Request { method, path, body, .. } = &request;
                told_apart.push(format!("{} {method} {path} {body}", door.region.name));
            }
        }
    }
    eprintln!("{asked} requests over {} routes, each with both addresses", walked.len());
    assert!(told_apart.is_empty(), "an address is told from another by {told_apart:#?}");
    // The same comparison sees an ordinary word where it may be seen, at home: the test is not blind.
    let frankfurt = doors.iter().find(|door| door.region.name == "frankfurt").unwrap();
    let (base, path) = (frankfurt.region.doors.es.clone(), "/{s}/_search".to_owned());
    let search = Request { method: "POST", base, path, body: json!({"query": {"match": {"message": "{l}"}}}) };
    assert_ne!(frankfurt.said(&search, WORD), frankfurt.said(&search, "nosuchword"));
}

/// Every region with a key that sees no row; and at home also with one that sees rows without what is personal, with the key of
/// another region, and with none.
fn doors(cluster: &Cluster) -> Vec<Door> {
    let of = |region: Region, name: &str, rows: &str| {
        let key = key(cluster, &region, name, rows);
        Door { region, key: Some(key) }
    };
    let mut doors: Vec<Door> = cluster.regions().into_iter().map(|region| of(region, "blind", "none")).collect();
    let home = || cluster.region("frankfurt");
    doors.push(of(home(), "masked", "redacted"));
    let foreign = doors.iter().find(|door| door.region.name == "tokyo").and_then(|door| door.key.clone());
    doors.push(Door { region: home(), key: foreign });
    doors.push(Door { region: home(), key: None });
    doors
}

/// A key of the region that may search and see these rows.
fn key(cluster: &Cluster, region: &Region, name: &str, rows: &str) -> String {
    let arguments = ["key", "create", name, "--role", "search", "--rows", rows, "--region", &region.name];
    let printed = cluster.command(&arguments).unwrap();
    let key = printed.split_whitespace().find(|word| word.starts_with("dmc_")).expect("a key").to_owned();
    let known = domicile_tests::cluster::wait_until(std::time::Duration::from_secs(30), || {
        let authorization = format!("Bearer {key}");
        let whoami = format!("{}/api/v1/whoami", region.doors.api);
        let answer = http::request("GET", &whoami, &[("Authorization", &authorization)], &[]).ok()?;
        (answer.status == 200).then_some(())
    });
    known.expect("the region knows its new key");
    key
}

/// Every request of the walk.
fn requests(region: &Region) -> Vec<Request> {
    let (api, es) = (region.doors.api.clone(), region.doors.es.clone());
    let native = native_routes(region);
    assert!(native.len() > 40, "the document lists the native routes: {}", native.len());
    let served = served();
    assert!(served.len() > 50, "the sources list the routes of the Elasticsearch port: {served:?}");
    let port = served.iter().map(String::as_str).chain(ELSEWHERE);
    let port = port.map(|path| (path.to_owned(), ["GET", "POST", "PUT", "DELETE"].into()));
    let of = |base: String, is_native: bool, routes: Vec<(String, BTreeSet<&'static str>)>| {
        let bodies = bodies(is_native);
        let walk = routes.into_iter().flat_map(|(path, methods)| variants(&path, &methods, &bodies));
        walk.map(|(method, path, body)| Request { method, base: base.clone(), path, body }).collect::<Vec<_>>()
    };
    let port = port.collect();
    of(api, true, native).into_iter().chain(of(es, false, port)).collect()
}

/// A route with the address in the place of each parameter, in the query and in every body.
fn variants(path: &str, methods: &BTreeSet<&'static str>, bodies: &[Value]) -> Vec<(&'static str, String, Value)> {
    // A stream that there is, and else the address; and once more with the address in all places.
    let placed = |stream: &str| {
        path.split('/')
            .map(|part| match part {
                "{stream}" | "{index}" => stream.to_owned(),
                part if part.starts_with('{') && !["{s}", "{l}"].contains(&part) => "{l}".to_owned(),
                part => part.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("/")
    };
    let places: BTreeSet<String> = [placed("{s}"), placed("{l}")].into();
    let looks = ["search", "count", "field_caps", "terms_enum", "explain", "validate", "reveal", "export"];
    let looks = looks.iter().any(|word| path.contains(word));
    let mut requests = Vec::new();
    for place in places {
        // Of a stream that is called like the address there is nothing to be found.
        let bodies = if looks && place == placed("{s}") { bodies } else { &bodies[..2] };
        let with = if place.contains('?') { place.clone() } else { format!("{place}?{PARAMETERS}") };
        for method in methods {
            requests.push((*method, with.clone(), Value::Null));
            let takes_a_body = ["GET", "POST"].contains(method);
            let bodies = if takes_a_body { bodies } else { &bodies[..1] };
            requests.extend(bodies.iter().map(|body| (*method, place.clone(), body.clone())));
        }
    }
    requests
}

/// Routes of the document with their methods, and GET and POST besides. What counts by itself is left out.
fn native_routes(region: &Region) -> Vec<(String, BTreeSet<&'static str>)> {
    let document = region.api("search", "GET", "/api/v1/openapi.json", &Value::Null).unwrap().json();
    let named: BTreeMap<String, Value> = serde_json::from_value(document["paths"].clone()).unwrap();
    let counts = ["/metrics", "/api/v1/status"];
    let methods = |route: &Value| {
        let known = ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter();
        known.filter(|method| ["GET", "POST"].contains(method) || !route[method.to_lowercase()].is_null()).collect()
    };
    let routes = named.iter().filter(|(path, _)| !counts.contains(&path.as_str()));
    routes.map(|(path, route)| (path.clone(), methods(route))).collect()
}

/// Every path that stands in the sources of the Elasticsearch port, and each of those that have no parameter with a name behind it.
fn served() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for source in SERVED {
        let parts = source.split("\"/").skip(1).filter_map(|rest| rest.split('"').next());
        paths.extend(parts.filter(|part| !part.contains([' ', '\n'])).map(|part| format!("/{part}")));
    }
    let named: Vec<String> =
        paths.iter().filter(|path| path.len() > 1 && !path.contains('{')).map(|path| format!("{path}/{{l}}")).collect();
    paths.extend(named);
    paths
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
        let whom = json!({"name": "{l}", "subject": "{l}", "value": "{l}", "token": "{l}", "purpose": "{l}"});
        let mut bodies: Vec<Value> = vec![whom];
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
        return bodies;
    }
    let mut bodies: Vec<Value> =
        queries.iter().map(|query| json!({"query": query, "track_total_hits": true})).collect();
    bodies.push(json!({"query": queries[0], "explain": true, "profile": true, "highlight": {"fields": {"*": {}}}}));
    bodies.push(json!({"size": 0, "aggs": {"x": {"terms": {"field": "attributes.contact", "include": "{l}"}}}}));
    bodies.push(json!({"size": 0, "aggs": {"x": {"filter": queries[0]}}}));
    bodies.push(json!({"size": 0, "aggs": {"x": {"filters": {"filters": {"a": queries[1]}}}}}));
    for field in ["user", "attributes.contact"] {
        for aggregation in ["cardinality", "value_count", "stats", "min", "significant_terms", "rare_terms"] {
            bodies.push(json!({"size": 0, "query": queries[0], "aggs": {"x": {aggregation: {"field": field}}}}));
        }
        bodies.push(json!({"field": field, "string": "{l}", "index_filter": queries[0]}));
    }
    bodies.push(json!({"suggest": {"x": {"text": "{l}", "term": {"field": "message"}}}}));
    bodies.push(json!({"suggest": {"x": {"prefix": "{l}", "completion": {"field": "attributes.contact"}}}}));
    bodies.push(json!({"collapse": {"field": "user"}, "query": queries[1], "post_filter": queries[5]}));
    bodies.push(json!({"rescore": {"query": {"rescore_query": queries[0]}}, "min_score": 0.1}));
    bodies.push(json!({"sort": [{"_score": "desc"}], "search_after": ["{l}"], "track_scores": true}));
    bodies.push(json!({"size": 0, "aggs": {"x": {"terms": {"script": {"source": "'{l}'"}}}}}));
    bodies.push(json!({"field": "attributes.contact", "string": "{l}"}));
    bodies.push(json!({"fields": ["{l}"]}));
    bodies
}

impl Door {
    /// Status, headers and body, without the address and without what differs by itself.
    fn said(&self, request: &Request, literal: &str) -> String {
        let path = request.path.replace("{s}", GUARDED).replace("{l}", &literal.replace('@', "%40"));
        let mut body = match &request.body {
            Value::Null => String::new(),
            body => body.to_string().replace("{l}", literal),
        };
        if path.contains("_msearch") && !body.is_empty() {
            body = format!("{{\"index\":\"{GUARDED}\"}}\n{body}\n");
        }
        let authorization = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(authorization.as_deref().map(|key| ("Authorization", key)));
        let answer =
            http::request(request.method, &format!("{}{path}", request.base), &headers, body.as_bytes()).unwrap();
        let names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
        let text = answer.text();
        let parsed = serde_json::from_str::<Value>(&text).map_or(text, |value| bare(&value).to_string());
        // Both have the same length, so that an offset in an error text is the same.
        let parsed =
            [literal, &literal.replace('@', "%40")].iter().fold(parsed, |text, one| text.replace(one, "LITERAL"));
        format!("{} {names:?} {parsed}", answer.status)
    }
}

#[test]
fn the_two_addresses_look_alike() {
    assert_eq!(MAIL.len(), NOBODY.len());
    assert_eq!(MAIL.find('@'), NOBODY.find('@'));
}
