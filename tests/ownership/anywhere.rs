//! Three nodes of one region, each of which writes a stream: whichever is asked answers alike, for all of them. While an owner is
//! away the answer is refused or is whole, and never smaller.

use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::handed::{THIRD, third};

/// Streams, in the order of the nodes that write them.
pub(crate) const STREAMS: [&str; 3] = ["orders", "visits", "scraps"];
const NODES: [&str; 3] = ["tokyo", SECOND, THIRD];
pub(crate) const EACH: u64 = 240;
/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);

fn questions() -> Vec<Value> {
    vec![
        json!({"size": 50, "sort": [{"@timestamp": "desc"}], "track_total_hits": true}),
        json!({"size": 20, "from": 15, "sort": [{"@timestamp": "asc"}], "query": {"term": {"level": "INFO"}}}),
        json!({"size": 900, "query": {"match": {"message": "took"}}, "track_total_hits": 100}),
        json!({"size": 0, "track_total_hits": true, "aggs": {
            "levels": {"terms": {"field": "level"}, "aggs": {
                "minutes": {"date_histogram": {"field": "timestamp", "fixed_interval": "1m"}}}},
            "hosts": {"cardinality": {"field": "host"}}}}),
        json!({"size": 3, "query": {"ids": {"values": ["scraps-7", "orders-9", "visits-0", "nowhere-1"]}}}),
    ]
}

/// What a node says to a search, but for the time it took.
fn said(node: &Region, role: &str, path: &str, body: &Value) -> (u16, Value) {
    let answer = node.es(role, "POST", path, body).unwrap();
    let mut json = answer.json();
    if let Some(all) = json.as_object_mut() {
        all.remove("took");
    }
    (answer.status, json)
}

fn whole(node: &Region, path: &str, body: &Value) -> Value {
    let (status, found) = said(node, "search", path, body);
    assert_eq!(status, 200, "{path} {body}: {found}");
    found
}

fn hits(found: &Value) -> Vec<(String, String)> {
    let hits = found["hits"]["hits"].as_array().unwrap_or_else(|| panic!("no hits: {found}"));
    hits.iter().map(|hit| (hit["_index"].to_string(), hit["_id"].to_string())).collect()
}

/// Three nodes with one bucket.
pub(crate) fn started() -> (Cluster, [Region; 3]) {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let mut last = None;
    let second = Second::beside(&mut cluster, |second, cluster| {
        second.share_bucket(cluster)?;
        last = Some(third(cluster, &second.region(cluster))?);
        Ok(())
    });
    let (second, last) = (second.unwrap(), last.unwrap());
    second.approve(&cluster).unwrap();
    cluster.command(&["node", "join", "--region", "tokyo", "--node", "5", "--addr", &last.doors.link]).unwrap();
    let nodes = [cluster.region("tokyo"), second.region(&cluster), last];
    for (node, name) in nodes.iter().zip(NODES).skip(1) {
        cluster.launch(name).unwrap();
        wait_until(LONG, || node.is_ready().then_some(())).expect("the node is ready");
    }
    (cluster, nodes)
}

/// A stream at each node, with [`EACH`] records.
pub(crate) fn filled(cluster: &Cluster, nodes: &[Region; 3]) {
    for (number, (stream, node)) in STREAMS.into_iter().zip(nodes).enumerate() {
        let create = ["stream", "create", stream, "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
        cluster.command(&create).unwrap();
        let (drawn, _) = events(40 + number as u64, EACH, 5);
        let body = bulk(&drawn, Some(stream));
        let sent = wait_until(READY_WITHIN, || {
            let answer = node.bulk(stream, &body, &[("X-Domicile-Batch", stream)]).ok()?;
            (answer.status == 200 && answer.json()["errors"] == json!(false)).then_some(())
        });
        sent.expect("the node writes the stream");
    }
    // Whichever node is asked to: as soon as it knows who writes what, everything can be searched.
    for node in nodes {
        let refreshed = wait_until(READY_WITHIN, || {
            let answer = node.es("ingest", "POST", "/orders,visits,scraps/_refresh", &Value::Null).ok()?;
            (answer.status == 200 && node.count("orders,visits,scraps").ok()? == 3 * EACH).then_some(())
        });
        refreshed.expect("a refresh and a count by any node");
    }
}

#[test]
fn any_node_of_a_region_answers_for_all_of_them_or_says_which_one_is_silent() {
    let (mut cluster, nodes) = started();
    filled(&cluster, &nodes);
    let [first, second, third] = &nodes;

    // One node answers what the owner does, of one stream and of all of them.
    for stream in ["orders", "visits", "scraps", "orders,visits", "orders,visits,scraps", "*"] {
        for body in questions() {
            let path = format!("/{stream}/_search");
            let wanted = whole(first, &path, &body);
            for node in [second, third] {
                assert_eq!(whole(node, &path, &body).to_string(), wanted.to_string(), "{path} {body}");
            }
        }
        let streams = if stream == "*" { 3 } else { stream.split(',').count() as u64 };
        for node in &nodes {
            assert_eq!(node.count(stream).unwrap(), streams * EACH, "{stream}");
        }
    }
    let native = json!({"stream": "visits", "size": 9, "query": "level:INFO"});
    let of = |node: &Region| {
        let answer = node.api("search", "POST", "/api/v1/search", &native).unwrap().json();
        (answer["hits"].clone(), answer["total"].clone())
    };
    assert!(
        of(first).0.as_array().is_some_and(|hits| hits.len() == 9)
            && of(first) == of(second)
            && of(second) == of(third)
    );

    // Pages that are asked of one node after the other go on where the last one ended.
    let (mut seen, mut after, mut turn) = (Vec::new(), Value::Null, 0);
    loop {
        let mut body = json!({"size": 70, "sort": [{"@timestamp": "desc"}, "_shard_doc"]});
        if !after.is_null() {
            body["search_after"] = after.clone();
        }
        let found = whole(&nodes[turn % 3], "/orders,visits,scraps/_search", &body);
        let Some(last) = found["hits"]["hits"].as_array().unwrap().last() else { break };
        after = last["sort"].clone();
        seen.extend(hits(&found));
        turn += 1;
    }
    let everything = json!({"size": 1_000, "sort": [{"@timestamp": "desc"}]});
    assert_eq!(seen, hits(&whole(first, "/orders,visits,scraps/_search", &everything)));
    assert_eq!(seen.len() as u64, 3 * EACH);

    // A key that may see no rows sees none through another node either.
    let made = cluster.command(&["key", "create", "blind", "--region", "tokyo", "--role", "search", "--rows", "none"]);
    let made = made.unwrap();
    let secret = made.split_whitespace().find(|word| word.starts_with("dmc_tokyo_")).expect("the key is printed");
    let mut blind = second.clone();
    blind.keys.insert("search".to_owned(), secret.to_owned());
    let counted = wait_until(READY_WITHIN, || {
        let (status, found) = said(&blind, "search", "/scraps/_search", &json!({"track_total_hits": true}));
        (status == 200).then_some(found)
    });
    let counted = counted.expect("both nodes know the key");
    assert_eq!((&counted["hits"]["total"]["value"], &counted["hits"]["hits"]), (&json!(EACH), &json!([])));

    // An owner is killed. Until another node has taken its stream over, nobody answers with less.
    let wanted = whole(first, "/orders,visits,scraps/_search", &everything);
    cluster.kill(THIRD).unwrap();
    let mut refusals = 0;
    let back = wait_until(LONG, || {
        let mut is_whole = true;
        for node in [first, second] {
            for (path, body) in [("/orders,visits,scraps/_search", &everything), ("/scraps/_count", &json!({}))] {
                let (status, found) = said(node, "search", path, body);
                if status == 200 {
                    let is_all = if path.ends_with("_count") { found["count"] == json!(EACH) } else { found == wanted };
                    assert!(is_all, "{path}: an answer is whole or none: {found}");
                    continue;
                }
                let code = found["error"]["code"].as_str().unwrap_or_default().to_owned();
                assert!([503, 504].contains(&status), "{status} {found}");
                let known = ["DMC-OWNERSHIP-10", "DMC-QUERY-09", "DMC-SEGMENT-10", "DMC-ERASE-09"];
                assert!(known.contains(&code.as_str()), "{found}");
                refusals += usize::from(code == "DMC-OWNERSHIP-10");
                is_whole = false;
            }
            // What does not lie with the dead node is answered all the while.
            assert_eq!(node.count("orders,visits").unwrap(), 2 * EACH);
        }
        is_whole.then_some(())
    });
    assert!(back.is_some(), "another node takes the stream over");
    assert!(refusals > 0, "its owner was missed by name");
    assert_eq!(hits(&whole(second, "/orders,visits,scraps/_search", &everything)), seen);
}
