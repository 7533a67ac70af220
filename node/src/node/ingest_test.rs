//! From a request to the write-ahead log and back, with the real stages and only the metadata group played.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use domicile_proto::ids::{NodeId, StreamId, TenantId};
use domicile_proto::metadata::{AccessKey, Personal, Roles, Rows, StreamPolicy};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::super::carry::NoFate;
use super::*;
use crate::admit::{Rates, key_digest};
use crate::classify::{Defaults, RuleFiles, Statements};
use crate::clock::Clock;
use crate::config::Regions;
use crate::keys::{Vault, specimen};
use crate::limits::{MAX_BYTES_IN_FLIGHT, PROPOSE_DEADLINE, REPLY_DEADLINE};
use crate::ownership::{NotProposed, Propose};
use crate::policy::{Policy, PolicyWatch, Suppressed, tokens_in};
use crate::receive::{Inlet, elastic, native};
use crate::store::Store;
use crate::tasks::Kind;
use crate::wal::{Durable, WalConfig};

/// What is held is held for this long, so that what lasts is told soon.
const PATIENCE: Duration = Duration::from_millis(300);

struct Front {
    line: Arc<Line>,
    router: axum::Router,
    durable: mpsc::Receiver<Vec<Durable>>,
    key: String,
    weak: String,
    vault: Arc<Vault>,
    suppression: Suppression,
    clock: Clock,
    rooms: Arc<Rooms>,
    metrics: Metrics,
    _dir: tempfile::TempDir,
}

fn policy(key: &str, weak: &str) -> Policy {
    let mut policy = Policy::empty("tokyo".parse().unwrap());
    for (name, text, create) in [("strong", key, true), ("weak", weak, false)] {
        let roles = Roles { ingest: true, create, ..Roles::default() };
        let hash = key_digest(text);
        let row = AccessKey { id: name.parse().unwrap(), tenant: TenantId(1), hash, roles, rows: Rows::None };
        policy.keys.insert(hash, Arc::new(row));
    }
    let of_people = Personal::Subject("users.id".parse().unwrap());
    for (id, name, personal) in [
        (1, "app", Personal::Undeclared),
        (2, "web", Personal::Undeclared),
        (3, "people", of_people),
        (9, "arriving", Personal::Undeclared),
    ] {
        let name: Name = name.parse().unwrap();
        let view = StreamView {
            id: StreamId(id),
            tenant: TenantId(1),
            name: name.clone(),
            fields: Vec::new(),
            policy: StreamPolicy { personal, ..StreamPolicy::default() },
            shard: Some((ShardId(u64::from(id)), NodeId(1))),
        };
        policy.streams.insert((TenantId(1), name), Arc::new(view));
    }
    policy
}

fn front() -> Front {
    let nobody = Way::over(|_, _, _| Box::pin(async { Err(NoFate::NotSent) }));
    front_of(NodeId(1), |_| {}, nobody)
}

/// One of a node of the region, under a policy that is changed, with a way to the others.
fn front_of(node: NodeId, change: impl FnOnce(&mut Policy), way: Way) -> Front {
    let dir = tempfile::tempdir().unwrap();
    let (key, weak) = (format!("dmc_tokyo_{}", "0a".repeat(32)), format!("dmc_tokyo_{}", "0b".repeat(32)));
    let mut policy = policy(&key, &weak);
    change(&mut policy);
    let watch = PolicyWatch::new(policy);
    let (clock, tasks) = (Clock::standing_at(Timestamp(1_795_176_000_000_000)), Tasks::default());
    let (wal, durable) = Wal::open(&WalConfig::new(dir.path().into()), &BTreeMap::new(), clock.clone()).unwrap();
    let nobody = Propose::over(|_| Box::pin(async { Err(NotProposed) }));
    let admitter = Arc::new(Admitter::new(watch.clone(), Rates::default()));
    let vault = specimen::vault(dir.path(), "tokyo".parse().unwrap(), clock.clone());
    let vault = Arc::new(vault);
    let suppression = Suppression::default();
    let rooms = Line::room_for_work();
    let classifier = Classifier::new(vault.pseudonyms(), Defaults::new("JP", []), RuleFiles::default());
    let detector = Arc::new(classifier.clone());
    let metrics = Metrics::new(&Regions::built_in().unwrap());
    let statements = Statements::new(Store::in_memory(), watch.clone(), clock.clone(), tasks.clone()).unwrap();
    let line = Arc::new(Line {
        statements,
        admitter: Arc::clone(&admitter),
        classifier,
        vault: Arc::clone(&vault),
        suppression: suppression.clone(),
        ownership: Arc::new(Ownership::new(node, None, watch, nobody, detector, PROPOSE_DEADLINE)),
        days: Days::behind(clock.clone(), wal.latest()),
        wal: Arc::new(wal),
        zone: Zone::named("Asia/Tokyo").unwrap(),
        tasks: tasks.clone(),
        metrics: metrics.clone(),
        refresh: None,
        // Of the last stream nobody knows yet.
        knows: Arc::new(|shard| shard != ShardId(9)),
        work: Arc::clone(&rooms),
        way,
        patience: PATIENCE,
    });
    let (inlet, inbox) =
        Inlet::new(8, MAX_BYTES_IN_FLIGHT, REPLY_DEADLINE, admitter.knock(), clock.clone(), tasks.clone());
    tasks.spawn(Kind::Line, Arc::clone(&line).run(inbox));
    let router = elastic::router(inlet.clone()).merge(native::router(inlet));
    Front { line, router, durable, key, weak, vault, suppression, clock, rooms, metrics, _dir: dir }
}

impl Front {
    async fn send(&self, key: &str, path: &str, batch: Option<&str>, body: impl Into<Body>) -> (u16, Value) {
        let mut request = Request::post(path).header("authorization", format!("ApiKey {key}"));
        if path.contains("text") {
            request = request.header("content-type", "text/plain");
        }
        if let Some(batch) = batch {
            request = request.header("x-domicile-batch", batch);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

impl Front {
    /// Records accepted and refused, as they are scraped.
    fn counted(&self) -> (u64, u64) {
        let text = self.metrics.text();
        let of = |name: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(&format!("domicile_receive_{name}_records_total ")));
            line.unwrap().parse().unwrap()
        };
        (of("accepted"), of("refused"))
    }
}

fn statuses(answer: &Value) -> Vec<u64> {
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|item| item.as_object().unwrap().values().next().unwrap()["status"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn every_document_of_a_request_has_its_own_outcome_in_its_own_place() {
    let mut front = front();
    let body = concat!(
        "{\"create\":{\"_id\":\"1\"}}\n{\"message\":\"mail john@example.com\",\"timestamp\":\"2026-11-20 10:00:00\"}\n",
        "{\"index\":{\"_index\":\"web-2026.11.20\"}}\n{\"message\":\"w\"}\n",
        "{\"index\":{}}\n{\"half\n",
        "{\"delete\":{\"_id\":\"1\"}}\n",
        "{\"index\":{\"_index\":\"No Name\"}}\n{}\n",
        "{\"create\":{\"_id\":\"1\"}}\n{\"message\":\"other\"}\n",
        "{\"index\":{\"_index\":\"app-2026.11.21\"}}\n{\"message\":\"last\"}",
    );
    let (status, answer) = front.send(&front.key, "/app-2026.11.20/_bulk", None, body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["errors"], json!(true));
    assert_eq!(statuses(&answer), [201, 201, 400, 400, 400, 409, 201], "{answer}");
    assert_eq!(front.counted(), (3, 4), "accepted and refused");
    assert_eq!(answer["items"][2]["index"]["error"]["type"], "document_parsing_exception");
    assert_eq!(answer["items"][4]["index"]["error"]["type"], "invalid_index_name_exception");
    assert_eq!(answer["items"][0]["create"]["_index"], "app-2026.11.20");
    assert_eq!(answer["items"][0]["create"]["_id"], "1");

    let mut records = Vec::new();
    while records.len() < 3 {
        records.extend(front.durable.recv().await.unwrap().into_iter().flat_map(|durable| durable.records));
    }
    let mail = records.iter().find(|record| record.id() == Some("1")).unwrap();
    let json = String::from_utf8(mail.json().to_vec()).unwrap();
    assert!(!json.contains("john") && json.contains("\u{2039}email:"), "{json}");
    // 10:00 in the region's zone.
    assert_eq!(mail.timestamp().0, "2026-11-20T01:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond());
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_answered_again_and_other_bytes_are_a_conflict() {
    let front = front();
    let send = async |body: &'static str| front.send(&front.key, "/api/v1/ingest/app", Some("b1"), body).await;
    let (status, first) = send("{\"a\":1}\n{\"a\":2}\n").await;
    assert_eq!((status, &first["accepted"], &first["repeated"]), (200, &json!(2), &json!(false)), "{first}");
    let (status, again) = send("{\"a\":1}\n{\"a\":2}\n").await;
    assert_eq!((status, &again["accepted"], &again["repeated"]), (200, &json!(2), &json!(true)), "{again}");
    let (status, other) = send("{\"a\":1}\n{\"a\":3}\n").await;
    assert_eq!(status, 409, "{other}");
    assert_eq!(front.counted(), (2, 2), "what is repeated is not counted again");
}

#[tokio::test]
async fn an_id_is_taken_once_and_the_same_bytes_again_are_a_no_op() {
    let front = front();
    let send = async |path: &'static str, body: &'static str| front.send(&front.key, path, None, body).await;
    assert_eq!(send("/app/_doc/7", "{\"a\":1}").await.0, 201);
    let (status, again) = send("/app/_doc/7", "{\"a\":1}").await;
    assert_eq!((status, &again["result"]), (200, &json!("noop")));
    let (status, other) = send("/app/_doc/7", "{\"a\":2}").await;
    assert_eq!((status, &other["error"]["type"]), (409, &json!("version_conflict_engine_exception")));
    assert_eq!(send("/app/_create/7", "{\"a\":1}").await.0, 409);
    let (status, bad) = send("/app/_doc", "{\"a\":").await;
    assert_eq!((status, &bad["error"]["code"]), (400, &json!("DMC-PARSE-06")), "{bad}");
}

#[tokio::test]
async fn a_record_of_two_subjects_is_refused_by_its_field_and_the_others_go_in() {
    let front = front();
    let body = concat!(
        "{\"index\":{}}\n{\"users\":[{\"id\":\"u1\"},{\"id\":\"u2\"}]}\n",
        "{\"index\":{}}\n{\"users\":[{\"id\":\"u1\"},{\"id\":\"u1\"}]}\n",
    );
    let (status, answer) = front.send(&front.key, "/people/_bulk", None, body).await;
    assert_eq!((status, statuses(&answer)), (200, vec![400, 201]), "{answer}");
    let refused = answer["items"][0].to_string();
    assert!(refused.contains("DMC-CLASSIFY-05") && refused.contains("users.id"), "{refused}");
    assert!(!refused.contains("u1") && !refused.contains("u2"), "{refused}");
}

#[tokio::test]
async fn known_streams_are_taken_while_the_metadata_group_is_out_of_reach_and_new_ones_are_told_to_wait() {
    let front = front();
    let new = "{\"index\":{\"_index\":\"new\"}}\n{\"a\":1}\n";
    let (status, answer) = front.send(&front.key, "/_bulk", None, new).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("DMC-OWNERSHIP-02")), "{answer}");
    let (status, answer) = front.send(&front.weak, "/_bulk", None, new).await;
    assert_eq!((status, statuses(&answer)), (200, vec![404]), "{answer}");
    let both = format!("{{\"index\":{{\"_index\":\"app\"}}}}\n{{\"a\":1}}\n{new}");
    let (status, answer) = front.send(&front.key, "/_bulk", None, both).await;
    assert_eq!((status, statuses(&answer)), (200, vec![201, 503]), "{answer}");
}

#[tokio::test]
async fn hostile_requests_fail_alone() {
    let front = front();
    let many: String = (0..300).map(|n| format!("{{\"index\":{{\"_index\":\"s{n}\"}}}}\n{{}}\n")).collect();
    for (path, body, status, code) in [
        ("/app/_bulk", String::new(), 400, "DMC-PARSE-14"),
        ("/app/_bulk", "nonsense\n{}\n".to_owned(), 400, "DMC-PARSE-01"),
        ("/app/_bulk", "{\"index\":{}}\n".to_owned(), 400, "DMC-PARSE-02"),
        ("/_bulk", many, 400, "DMC-PARSE-13"),
        ("/api/v1/ingest/No%20Name", "{}".to_owned(), 400, "DMC-PARSE-04"),
    ] {
        let (found, answer) = front.send(&front.key, path, None, body).await;
        let text = answer.to_string();
        assert!(found == status && text.contains(code), "{path}: {found} {text}");
    }
    let (status, _) = front.send("dmc_tokyo_00", "/app/_bulk", None, "x").await;
    assert_eq!(status, 401);
    let (status, answer) = front.send(&front.key, "/api/v1/ingest/app?text", None, "one\ntwo\n").await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
}

#[tokio::test]
async fn a_batch_id_stands_for_one_stream_and_for_no_more_than_the_room_for_work() {
    let front = front();
    let one = "{\"index\":{\"_index\":\"app-2026.11.20\"}}\n{\"a\":1}\n{\"index\":{\"_index\":\"app\"}}\n{\"a\":2}\n";
    let (status, answer) = front.send(&front.key, "/_bulk", Some("one"), one).await;
    assert_eq!((status, statuses(&answer)), (200, vec![201, 201]), "two names of one stream: {answer}");
    let two = format!("{one}{{\"index\":{{\"_index\":\"web\"}}}}\n{{\"a\":1}}\n");
    let (status, answer) = front.send(&front.key, "/_bulk", Some("two"), two.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("DMC-INGEST-03")), "{answer}");
    let (status, answer) = front.send(&front.key, "/_bulk", None, two).await;
    assert_eq!((status, statuses(&answer)), (200, vec![201; 3]), "without an id: {answer}");

    let many = "x\n".repeat(WORK_BYTES / DOCUMENT_BYTES + 1);
    let (status, answer) = front.send(&front.key, "/api/v1/ingest/app?text", Some("many"), many).await;
    assert!(status == 413 && answer.to_string().contains("DMC-INGEST-02"), "{answer}");
    let large = format!("{}\n", "x".repeat(6 << 20)).repeat(6);
    let (status, answer) = front.send(&front.key, "/api/v1/ingest/app?text", Some("large"), large).await;
    assert!(status == 413 && answer.to_string().contains("DMC-INGEST-02"), "{answer}");
}

#[tokio::test]
async fn a_body_of_letters_is_refused_before_its_documents_fill_the_memory_and_the_room_comes_back() {
    let front = front();
    let body = "x\n".repeat(MAX_DOCUMENTS_PER_REQUEST + 1);
    let (status, answer) = front.send(&front.key, "/api/v1/ingest/app?text", None, body).await;
    assert!(status == 413 && answer.to_string().contains("DMC-PARSE-15"), "{answer}");
    let (status, answer) = front.send(&front.key, "/api/v1/ingest/app?text", None, "x\ny\n").await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
    assert_eq!(front.rooms.documents.available_permits(), DOCUMENTS_AT_ONCE);
    assert_eq!(front.rooms.bytes.available_permits(), WORK_BYTES);
}

#[tokio::test]
async fn documents_wait_for_room_and_are_taken_when_there_is_some() {
    let front = front();
    let held = Arc::clone(&front.rooms.documents).acquire_many_owned(DOCUMENTS_AT_ONCE as u32).await.unwrap();
    let mut sending = std::pin::pin!(front.send(&front.key, "/api/v1/ingest/app?text", None, "x\n"));
    tokio::select! {
        biased;
        _ = &mut sending => panic!("there was no room"),
        () = async { for _ in 0..100 { tokio::task::yield_now().await } } => {}
    }
    drop(held);
    assert_eq!(sending.await.0, 200);
}

#[tokio::test]
async fn a_body_larger_than_a_piece_goes_down_in_pieces_and_nothing_is_lost_or_reordered() {
    let Front { router, mut durable, key, weak: _, _dir, .. } = front();
    let count = 3 * PIECE_BYTES / 100_000;
    let filler = "x".repeat(99_980);
    let body: String = (0..count).map(|n| format!("{{\"n\":{n},\"m\":\"{filler}\"}}\n")).collect();
    let reader = tokio::task::spawn_blocking(move || {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            for group in durable.blocking_recv().unwrap() {
                numbers.extend(group.records.iter().filter_map(|record| record.source().get("n")?.as_u64()));
            }
        }
        numbers
    });
    let request = Request::post("/api/v1/ingest/app").header("authorization", format!("ApiKey {}", key));
    let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(reader.await.unwrap().into_iter().eq(0..count as u64));
}

#[test]
fn pieces_end_where_they_are_full_and_hold_one_document_at_least() {
    let place = |bytes: usize| Ok(0..bytes - DOCUMENT_BYTES);
    let document = |bytes| Document { action: Action::Index, index: "a".into(), id: None, place: place(bytes) };
    let documents =
        [document(PIECE_BYTES), document(PIECE_BYTES / 2), document(PIECE_BYTES / 2), document(DOCUMENT_BYTES)];
    assert_eq!(end_of_piece(&documents, 0, false), 1);
    assert_eq!(end_of_piece(&documents, 1, false), 3);
    assert_eq!(end_of_piece(&documents, 3, false), 4);
    assert_eq!(end_of_piece(&documents, 0, true), 4);
}

#[tokio::test]
async fn what_a_detector_takes_out_is_sealed_before_the_record_is_durable() {
    let mut front = front();
    let body = "{\"message\":\"mail John@Example.com from 198.51.100.7\"}\n";
    assert_eq!(front.send(&front.key, "/api/v1/ingest/app", None, body).await.0, 200);
    let durable = front.durable.recv().await.unwrap();
    let json = String::from_utf8(durable[0].records[0].json().to_vec()).unwrap();
    let tokens = json
        .split('\u{2039}')
        .skip(1)
        .map(|rest| format!("\u{2039}{}", rest.split_inclusive('\u{203A}').next().unwrap()));
    let revealed: Vec<String> =
        tokens.map(|token| front.vault.reveal(TenantId(1), &token).unwrap().unwrap().text.to_string()).collect();
    assert_eq!(revealed, ["John@Example.com", "198.51.100.7"]);
}

#[tokio::test]
async fn without_the_key_store_lines_with_new_personal_data_wait_and_the_others_go_in() {
    let front = front();
    let send = async |batch: Option<&'static str>, body: &'static str| {
        front.send(&front.key, "/api/v1/ingest/app", batch, body).await
    };
    let known = "{\"message\":\"from known@example.com\"}\n";
    assert_eq!(send(None, known).await.0, 200);
    let root = front._dir.path().join("root.key");
    std::fs::rename(&root, root.with_extension("away")).unwrap();
    front.clock.pass(Duration::from_secs(16 * 60));
    let mixed =
        "{\"message\":\"plain\"}\n{\"message\":\"from new@example.com\"}\n{\"message\":\"from known@example.com\"}\n";
    let (status, answer) = send(None, mixed).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
    let rejected = &answer["rejections"][0];
    assert_eq!((&rejected["record"], &rejected["status"]), (&json!(2), &json!(503)), "{answer}");
    assert_eq!(rejected["error"]["code"], "DMC-KEYS-09");
    assert!(!answer.to_string().contains("new@"), "{answer}");
    let (status, answer) = send(None, "{\"message\":\"from new@example.com\"}\n").await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("DMC-KEYS-09")), "a status to come back for: {answer}");
    let (status, answer) = send(Some("b9"), mixed).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("DMC-KEYS-09")), "whole or not at all: {answer}");
    std::fs::rename(root.with_extension("away"), &root).unwrap();
    front.vault.tend().unwrap();
    let (status, answer) = send(Some("b9"), mixed).await;
    assert_eq!((status, &answer["accepted"], &answer["repeated"]), (200, &json!(3), &json!(false)), "{answer}");
}

#[tokio::test]
async fn what_comes_late_of_an_erased_person_is_answered_as_always_and_gets_no_key_again() {
    let mut front = front();
    let body = "{\"message\":\"mail late@example.com\"}\n{\"message\":\"mail other@example.com\"}\n";
    let tokens = async |front: &mut Front| {
        let sent = front.send(&front.key, "/api/v1/ingest/app", None, body).await;
        assert_eq!((sent.0, &sent.1["accepted"]), (200, &json!(2)));
        let durable = front.durable.recv().await.unwrap();
        let token = |record: &Classified| tokens_in(record.json()).next().unwrap().to_owned();
        durable[0].records.iter().map(token).collect::<Vec<_>>()
    };
    let first = tokens(&mut front).await;
    front.suppression.add(&Suppressed {
        order: "o".into(),
        tenant: TenantId(1),
        subjects: Vec::new(),
        tokens: vec![first[0].as_str().into()],
        only: None,
        until: Timestamp(i64::MAX),
        is_purged: false,
    });
    front.vault.forget_token(TenantId(1), &first[0]).unwrap();
    assert_eq!(tokens(&mut front).await, first);
    assert!(front.vault.reveal(TenantId(1), &first[0]).unwrap().is_none());
    assert!(front.vault.reveal(TenantId(1), &first[1]).unwrap().is_some());
}

#[tokio::test]
async fn a_record_makes_no_stream_of_a_personal_name_through_any_door() {
    let front = front();
    let bulk = "{\"index\":{\"_index\":\"user-4111111111111111\"}}\n{\"a\":1}\n";
    let (status, answer) = front.send(&front.key, "/app/_bulk", None, bulk).await;
    assert_eq!((status, statuses(&answer)), (200, vec![400]), "{answer}");
    let error = &answer["items"][0]["index"]["error"];
    assert_eq!(error["code"], "DMC-OWNERSHIP-05");
    assert!(!error.to_string().contains("4111"), "{error}");
    for path in ["/user-4111111111111111/_doc", "/api/v1/ingest/user-4111111111111111"] {
        let (status, answer) = front.send(&front.key, path, None, "{\"a\":1}\n").await;
        assert_eq!(status, 400, "{path}: {answer}");
        assert!(answer.to_string().contains("DMC-OWNERSHIP-05"), "{path}: {answer}");
    }
    // A filter out of bounds is refused before a record is taken.
    let path = format!("/app/_bulk?filter_path={}x", "**.".repeat(300));
    assert_eq!(front.send(&front.key, &path, None, "{\"index\":{}}\n{\"a\":1}\n").await.0, 400);
}

#[tokio::test]
async fn a_shard_whose_log_is_not_known_here_yet_takes_nothing_onto_the_disk() {
    let front = front();
    let body = "{\"index\":{}}\n{\"message\":\"early\"}\n{\"index\":{\"_index\":\"web\"}}\n{\"message\":\"known\"}\n";
    let (status, answer) = front.send(&front.key, "/arriving/_bulk", None, body).await;
    assert_eq!((status, statuses(&answer)), (200, vec![503, 201]), "{answer}");
    assert!(answer.to_string().contains("DMC-WAL-14"), "{answer}");
}

#[path = "carry_test.rs"]
mod carry;
