//! Three nodes of one region, each of which writes a stream: a batch may come in at any of them and is taken once, by the one that
//! writes its stream. While that one is away, whoever sends is told so, and nothing is lost or doubled.

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::http::{self, Response};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::{Value, json};
use std::time::Duration;

use crate::anywhere::{EACH, STREAMS, filled, started};
use crate::handed::THIRD;

/// Events in one batch.
const FEW: u64 = 20;
/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);
/// What may be said of a stream whose node is away or on its way to another one.
const AWAY: [&str; 4] = ["DMC-OWNERSHIP-11", "DMC-OWNERSHIP-12", "DMC-WAL-14", "DMC-WAL-15"];

fn send(node: &Region, stream: &str, id: &str, seed: u64) -> Response {
    let (drawn, _) = events(seed, FEW, 2);
    node.bulk(stream, &bulk(&drawn, None), &[("X-Domicile-Batch", id)]).unwrap()
}

/// What was said of each record of a batch that was taken whole.
fn taken(answer: &Response) -> Vec<(String, String)> {
    let json = answer.json();
    assert!(answer.status == 200 && json["errors"] == json!(false), "{} {json}", answer.status);
    let items = json["items"].as_array().unwrap().iter().map(|item| item.as_object().unwrap().values().next().unwrap());
    items.map(|item| (item["_id"].to_string(), item["_seq_no"].to_string())).collect()
}

fn counts(nodes: &[Region], wanted: [u64; 3]) {
    for node in nodes {
        for (stream, wanted) in STREAMS.iter().zip(wanted) {
            let refreshed = || {
                let answer = node.es("ingest", "POST", &format!("/{stream}/_refresh"), &Value::Null).ok()?;
                (answer.status == 200).then_some(())
            };
            wait_until(LONG, refreshed).expect("a refresh");
            assert_eq!(node.count(stream).unwrap(), wanted, "{stream} at {}", node.doors.es);
        }
    }
}

#[test]
fn a_batch_is_taken_once_whichever_node_of_the_region_it_comes_in_at() {
    let (mut cluster, nodes) = started();
    filled(&cluster, &nodes);
    let mut wanted = [EACH; 3];

    // Under an id: taken at the first node it comes in at, known at the others, and with other bytes refused by all of them.
    for (at, node) in nodes.iter().enumerate() {
        for (number, stream) in STREAMS.into_iter().enumerate() {
            let id = format!("{stream}-{at}");
            let seed = 700 + 10 * at as u64 + number as u64;
            let first = taken(&send(node, stream, &id, seed));
            assert_eq!(first.len() as u64, FEW);
            wanted[number] += FEW;
            for other in &nodes {
                assert_eq!(taken(&send(other, stream, &id, seed)), first, "{id} again");
                assert_eq!(send(other, stream, &id, seed + 1_000).status, 409, "{id} with other bytes");
            }
        }
    }
    let native = |node: &Region, id: &str, line: &str| {
        let (url, key) = (format!("{}/api/v1/ingest/visits", node.doors.api), node.authorization("ingest"));
        let headers = [("Authorization", key.as_str()), ("X-Domicile-Batch", id)];
        http::request("POST", &url, &headers, line.as_bytes()).unwrap()
    };
    let said =
        nodes.each_ref().map(|node| native(node, "native", "{\"message\":\"one\"}\n{\"message\":\"two\"}\n").json());
    let told = said.map(|said| (said["accepted"].as_u64(), said["repeated"].as_bool()));
    assert_eq!(told, [(Some(2), Some(false)), (Some(2), Some(true)), (Some(2), Some(true))]);
    wanted[1] += 2;
    counts(&nodes, wanted);

    // Without an id, for all streams at once: each record where it belongs, and found as soon as it is answered.
    for (at, node) in nodes.iter().enumerate() {
        let line = |n: usize| {
            let stream = STREAMS[n % 3];
            format!(
                "{{\"create\":{{\"_index\":\"{stream}\"}}}}\n{{\"message\":\"mixed {at} {n}\",\"level\":\"INFO\"}}\n"
            )
        };
        let body: String = (0..30).map(line).collect();
        let answer = node.bulk("orders", body.as_bytes(), &[]).unwrap();
        assert_eq!(taken(&answer).len(), 30);
        let in_order = answer.json()["items"].as_array().unwrap().iter().enumerate().all(|(n, item)| {
            item["create"]["_index"] == json!(STREAMS[n % 3]) && item["create"]["status"] == json!(201)
        });
        assert!(in_order, "{}", answer.text());
        wanted = wanted.map(|count| count + 10);
    }
    counts(&nodes, wanted);
    for (at, node) in nodes.iter().enumerate() {
        let path = format!("/scraps/_doc/shown-{at}?refresh=true");
        assert_eq!(node.es("ingest", "PUT", &path, &json!({"message": "shown at once"})).unwrap().status, 201);
        wanted[2] += 1;
        assert_eq!(nodes[(at + 1) % 3].count("scraps").unwrap(), wanted[2], "found when it is answered");
    }

    // An id of a record is one id at all nodes.
    let doc = |node: &Region, path: &str, n: u64| node.es("ingest", "PUT", path, &json!({"n": n})).unwrap();
    assert_eq!(doc(&nodes[0], "/visits/_create/one", 1).status, 201);
    wanted[1] += 1;
    for node in &nodes {
        assert_eq!(doc(node, "/visits/_create/one", 1).status, 409);
        assert_eq!(doc(node, "/visits/_doc/one", 2).status, 409);
        let again = doc(node, "/visits/_doc/one", 1);
        assert_eq!((again.status, &again.json()["result"]), (200, &json!("noop")));
    }

    // A key that may not send brings nothing in, whoever writes the stream.
    let mut reader = nodes[0].clone();
    reader.keys.insert("ingest".to_owned(), nodes[0].keys["search"].clone());
    for stream in STREAMS {
        assert_eq!(send(&reader, stream, "reader", 1).status, 403);
    }

    // An owner is killed. Until another node has taken its stream over, whoever sends is told to come again.
    cluster.kill(THIRD).unwrap();
    let alive = &nodes[..2];
    let (mut refusals, mut number) = (0, 0);
    let took_over = wait_until(LONG, || {
        let node = &alive[number % 2];
        let (drawn, _) = events(4_000, FEW, 2);
        let answer = node.bulk("scraps", &bulk(&drawn, None), &[("X-Domicile-Batch", "after")]).unwrap();
        // What does not lie with the dead node is taken all the while.
        for (stream, at) in [("orders", 0), ("visits", 1)] {
            let id = format!("meanwhile-{number}");
            taken(&send(node, stream, &id, 5_000 + number as u64));
            wanted[at] += FEW;
        }
        number += 1;
        if answer.status == 200 && answer.json()["errors"] == json!(false) {
            return Some(());
        }
        let text = answer.text();
        assert!(AWAY.iter().any(|code| text.contains(code)), "{} {text}", answer.status);
        assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{} {text}", answer.status);
        refusals += 1;
        None
    });
    took_over.expect("another node takes the stream over, and the batch");
    assert!(refusals > 0, "its node was missed");
    for node in alive {
        taken(&send(node, "scraps", "after", 4_000));
    }
    wanted[2] += FEW;
    counts(alive, wanted);

    // And it comes back as a node like the others.
    cluster.launch(THIRD).unwrap();
    cluster.wait_for(THIRD, LONG, || nodes[2].is_ready()).unwrap();
    let back = wait_until(LONG, || (send(&nodes[2], "scraps", "back", 4_100).status == 200).then_some(()));
    back.expect("a batch is taken there");
    wanted[2] += FEW;
    counts(&nodes, wanted);
}
