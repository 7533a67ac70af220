//! Three nodes of one region are restarted one after the other: each is drained, told to stop, and started again. Meanwhile whoever goes
//! by `/readyz`, as a load balancer does, is refused nothing: no batch, no search, no number that another region asks for; and no answer
//! is smaller than what was acknowledged before its question began. Nothing is sent or asked a second time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::http::Response;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::SECOND;
use domicile_tests::cluster::{Cluster, wait_until};
use serde_json::{Value, json};

use crate::anywhere::started;
use crate::handed::THIRD;

const NODES: [&str; 3] = ["tokyo", SECOND, THIRD];
/// Streams, in the order of the nodes that write them first.
const STREAMS: [&str; 3] = ["orders", "visits", "scraps"];
/// Events in one batch.
const EACH: u64 = 20;
/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);
/// Rounds over all nodes where nothing else is wanted.
const ROUNDS: &str = "DOMICILE_ROLLS";

/// What happened to one stream.
#[derive(Default)]
struct Written {
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

/// Everybody who writes and asks, and what they were told that they should not be.
struct Roll {
    nodes: [Region; 3],
    frankfurt: Region,
    streams: [Written; 3],
    is_over: AtomicBool,
    searched: AtomicU64,
    from_abroad: AtomicU64,
    began: Instant,
    stage: Mutex<String>,
    wrong: Mutex<Vec<String>>,
}

impl Roll {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn enters(&self, stage: String) {
        eprintln!("{:7.2} {stage}", self.began.elapsed().as_secs_f64());
        *self.stage.lock().unwrap() = stage;
    }

    fn is_wrong(&self, what: &str, begun: Instant) {
        let (at, took) = (self.began.elapsed().as_secs_f64(), begun.elapsed());
        let stage = self.stage.lock().unwrap().clone();
        let told = format!("{at:7.2} ({stage}, after {took:?}) {what}");
        eprintln!("{told}");
        self.wrong.lock().unwrap().push(told);
    }

    /// The next node that says at this moment that it is ready; somebody always is.
    fn ready(&self, turn: &mut usize) -> Option<&Region> {
        let begun = Instant::now();
        for _ in 0..3 * self.nodes.len() {
            *turn += 1;
            let node = &self.nodes[*turn % self.nodes.len()];
            if node.is_ready() {
                return Some(node);
            }
        }
        self.is_wrong("no node is ready", begun);
        None
    }

    /// What a node says that was ready a moment before: it is asked once, and it must answer.
    fn told(&self, what: &str, turn: &mut usize, ask: impl Fn(&Region) -> anyhow::Result<Response>) -> Option<Value> {
        let node = self.ready(turn)?;
        let begun = Instant::now();
        match ask(node) {
            Ok(answer) if answer.status == 200 => Some(answer.json()),
            Ok(answer) => {
                self.is_wrong(&format!("{what} at {}: {} {}", node.doors.es, answer.status, answer.text()), begun);
                None
            }
            Err(error) => {
                self.is_wrong(&format!("{what} at {}: {error:#}", node.doors.es), begun);
                None
            }
        }
    }

    /// Sends batch after batch, every other one without an id of its own, so that one which was taken twice would be seen.
    fn write(&self, at: usize) {
        let (stream, written) = (STREAMS[at], &self.streams[at]);
        let (mut turn, mut number) = (at, 0_u64);
        while !self.is_over() {
            number += 1;
            let id = format!("{stream}-{number}");
            let (drawn, _) = events(900 + number, EACH, 2);
            let with_id = number.is_multiple_of(2);
            let body = bulk(&drawn, with_id.then_some(&id));
            let header = [("X-Domicile-Batch", id.as_str())];
            written.begun.fetch_add(1, Ordering::SeqCst);
            let begun = Instant::now();
            let more = if with_id { &header[..] } else { &[] };
            let Some(answer) = self.told(&format!("batch {id}"), &mut turn, |node| node.bulk(stream, &body, more))
            else {
                continue;
            };
            if answer["errors"] == json!(false) {
                written.acknowledged.fetch_add(1, Ordering::SeqCst);
            } else {
                self.is_wrong(&format!("batch {id}: {answer}"), begun);
            }
        }
    }

    /// How many records of a stream are acknowledged, and how many there may be at most from then on.
    fn acknowledged(&self, at: usize) -> u64 {
        self.streams[at].acknowledged.load(Ordering::SeqCst) * EACH
    }

    fn most(&self, at: usize) -> u64 {
        self.streams[at].begun.load(Ordering::SeqCst) * EACH
    }

    fn is_right(&self, what: &str, (at, least): (usize, u64), found: &Value, begun: Instant) {
        let most = self.most(at);
        if !found.as_u64().is_some_and(|found| (least..=most).contains(&found)) {
            self.is_wrong(&format!("{what}: {found} and not {least} to {most}"), begun);
        }
    }

    /// Asks one stream after the other: what was acknowledged is found after a refresh, whichever nodes are asked for both.
    fn search(&self) {
        let (mut turn, mut at) = (0, 0);
        while !self.is_over() {
            at = (at + 1) % STREAMS.len();
            let (stream, least) = (STREAMS[at], self.acknowledged(at));
            let path = |what: &str| format!("/{stream}/{what}");
            let (refresh, count, search) = (path("_refresh"), path("_count"), path("_search"));
            let begun = Instant::now();
            if self.told(&refresh, &mut turn, |node| node.es("ingest", "POST", &refresh, &Value::Null)).is_none() {
                continue;
            }
            let all = json!({"query": {"match_all": {}}});
            if let Some(told) = self.told(&count, &mut turn, |node| node.es("search", "POST", &count, &all)) {
                self.is_right(&count, (at, least), &told["count"], begun);
            }
            let all = json!({"size": 3, "track_total_hits": true});
            if let Some(told) = self.told(&search, &mut turn, |node| node.es("search", "POST", &search, &all)) {
                self.is_right(&search, (at, least), &told["hits"]["total"]["value"], begun);
                if told["timed_out"] != json!(false) || told["_shards"]["failed"] != json!(0) {
                    self.is_wrong(&format!("{search}: {told}"), begun);
                }
            }
            self.searched.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Asks Tokyo from Frankfurt, which must hear all of it.
    fn ask_from_abroad(&self) {
        let (mut turn, mut at) = (0, 0);
        while !self.is_over() {
            at = (at + 1) % STREAMS.len();
            let (stream, least) = (STREAMS[at], self.acknowledged(at));
            let refresh = format!("/{stream}/_refresh");
            let begun = Instant::now();
            if self.told(&refresh, &mut turn, |node| node.es("ingest", "POST", &refresh, &Value::Null)).is_none() {
                continue;
            }
            let told = asked_from_abroad(&self.frankfurt, stream);
            let what = format!("tokyo:{stream} from Frankfurt");
            if told["missing"] == json!([]) && told["total"]["relation"] == "eq" {
                self.is_right(&what, (at, least), &told["total"]["value"], begun);
            } else {
                self.is_wrong(&format!("{what}: {told}"), begun);
            }
            self.from_abroad.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until everybody has got further; says what is wrong where somebody has not.
    fn goes_on(&self) {
        let so_far = |all: &[&AtomicU64]| all.iter().map(|one| one.load(Ordering::SeqCst)).collect::<Vec<_>>();
        let counted: Vec<&AtomicU64> = self
            .streams
            .iter()
            .map(|written| &written.acknowledged)
            .chain([&self.searched, &self.from_abroad])
            .collect();
        let before = so_far(&counted);
        let begun = Instant::now();
        let further = || so_far(&counted).iter().zip(&before).all(|(now, before)| now > &(before + 2));
        if wait_until(LONG, || further().then_some(())).is_none() {
            self.is_wrong(&format!("somebody does not go on: {before:?} and {:?}", so_far(&counted)), begun);
        }
    }
}

/// What Frankfurt is told of a stream of Tokyo, or why it is not.
fn asked_from_abroad(frankfurt: &Region, stream: &str) -> Value {
    let body = json!({"stream": stream, "regions": ["tokyo"], "on_missing": "fail", "ask": "count"});
    match frankfurt.api("search", "POST", "/api/v1/search", &body) {
        Ok(answer) if answer.status == 200 => answer.json(),
        Ok(answer) => json!({"status": answer.status, "text": answer.text()}),
        Err(error) => json!({"error": format!("{error:#}")}),
    }
}

/// A stream at each node, known to all of them and to Frankfurt.
fn begin(cluster: &Cluster, nodes: &[Region; 3]) {
    for (stream, node) in STREAMS.into_iter().zip(nodes) {
        let create = ["stream", "create", stream, "--no-personal-data", "--durability", "bucket"];
        cluster.command(&[&create[..], &["--region", "tokyo", "--region", "frankfurt"]].concat()).unwrap();
        let (drawn, _) = events(1, EACH, 1);
        let body = bulk(&drawn, Some("first"));
        let sent = wait_until(LONG, || {
            let answer = node.bulk(stream, &body, &[("X-Domicile-Batch", "first")]).ok()?;
            (answer.status == 200 && answer.json()["errors"] == json!(false)).then_some(())
        });
        sent.expect("the node writes the stream");
    }
    let frankfurt = cluster.region("frankfurt");
    for stream in STREAMS {
        let is_known = || nodes.iter().all(|node| node.count(stream).ok() == Some(EACH));
        let refreshed = wait_until(LONG, || {
            let _ = nodes[0].es("ingest", "POST", &format!("/{stream}/_refresh"), &Value::Null);
            (is_known() && asked_from_abroad(&frankfurt, stream)["total"]["value"] == json!(EACH)).then_some(())
        });
        refreshed.unwrap_or_else(|| panic!("all know {stream}: {}", asked_from_abroad(&frankfurt, stream)));
    }
}

/// Drains a node, which gives its streams away; ends it as a supervisor does, and starts it again.
fn restart(cluster: &mut Cluster, roll: &Roll, at: usize) {
    let (name, node) = (NODES[at], &roll.nodes[at]);
    roll.enters(format!("{name} is drained"));
    let drained = wait_until(LONG, || {
        let answer = node.api("admin", "POST", "/api/v1/admin/node/drain", &json!({})).unwrap();
        (answer.status == 200).then(|| answer.json())
    });
    let drained = drained.expect("it is drained");
    assert_eq!(drained["stay"], json!([]), "another node has each of its streams");
    roll.enters(format!("{name} was drained of {}", drained["handed_over"]));
    roll.goes_on();
    roll.enters(format!("{name} ends"));
    cluster.terminate(name).unwrap();
    roll.enters(format!("{name} is away"));
    roll.goes_on();
    roll.enters(format!("{name} starts"));
    cluster.launch(name).unwrap();
    wait_until(LONG, || node.is_ready().then_some(())).expect("it is back");
    roll.enters(format!("{name} is back"));
    roll.goes_on();
}

#[test]
fn a_rolling_restart_of_a_region_refuses_no_batch_and_fails_no_question() {
    let rounds: usize = std::env::var(ROUNDS).map_or(1, |rounds| rounds.parse().unwrap());
    let (mut cluster, nodes) = started();
    begin(&cluster, &nodes);
    let roll = Roll {
        frankfurt: cluster.region("frankfurt"),
        nodes,
        streams: Default::default(),
        is_over: AtomicBool::new(false),
        searched: AtomicU64::new(0),
        from_abroad: AtomicU64::new(0),
        began: Instant::now(),
        stage: Mutex::new("before".to_owned()),
        wrong: Mutex::default(),
    };
    for written in &roll.streams {
        written.begun.store(1, Ordering::SeqCst);
        written.acknowledged.store(1, Ordering::SeqCst);
    }
    std::thread::scope(|scope| {
        let (roll, cluster) = (&roll, &mut cluster);
        for at in 0..STREAMS.len() {
            scope.spawn(move || roll.write(at));
        }
        scope.spawn(|| roll.search());
        scope.spawn(|| roll.ask_from_abroad());
        // Whatever goes wrong here, the others end.
        let _ends = Ends(&roll.is_over);
        roll.goes_on();
        for at in (0..rounds).flat_map(|_| 0..NODES.len()) {
            restart(cluster, roll, at);
        }
    });
    roll.enters("all were restarted".to_owned());
    for (at, stream) in STREAMS.into_iter().enumerate() {
        let wanted = roll.acknowledged(at);
        for node in &roll.nodes {
            node.refresh(stream);
            assert_eq!(node.count(stream).unwrap(), wanted, "{stream}: every acknowledged batch, once");
        }
        let told = asked_from_abroad(&roll.frankfurt, stream);
        assert_eq!(told["total"]["value"], json!(wanted), "{stream} from abroad: {told}");
    }
    let (searched, from_abroad) = (&roll.searched, &roll.from_abroad);
    eprintln!("{searched:?} searches, {from_abroad:?} questions from abroad, {} batches", roll.acknowledged(0) / EACH);
    let wrong = roll.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{} refusals:\n{}", wrong.len(), wrong.join("\n"));
}

/// Says that it is over when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
