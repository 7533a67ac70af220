//! The doors of erasure and retention as HTTP, with a moved clock: who may, for whom, and what is answered.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use domicile_proto::ids::{Name, NodeId, ShardId, Timestamp};
use domicile_proto::metadata::{Personal, StreamPolicy};
use domicile_proto::privacy::{Action, PersonalClass, Privacy};
use serde_json::{Value, json};

use super::subjects::router;
use crate::erase::workflow_test::{Node, TENANT, TOKEN, begin, stream};
use crate::limits::EXPORT_READS_PER_SECOND;
use crate::policy::Policy;
use crate::present::owners::{NoWord, Owners};
use crate::present::world::{ADMIN, ADMIN_BLIND, ADMIN_FULL, OTHER_ADMIN, SEARCH, World, ask, send};
use crate::segment::specimen::record;

const DAY: i64 = 86_400_000_000;

/// A node whose stream `app` keeps its twelve records for 30 days, and its doors.
async fn node(dir: &std::path::Path) -> (Node, Router) {
    let node = Node::start(dir).await;
    let mut policy = Policy::empty("tokyo".parse().unwrap());
    policy.streams.insert((TENANT, "app".parse().unwrap()), Arc::new(stream(Some(30))));
    node.policy.replace(policy);
    node.fill().await;
    node.shards.purge().await.unwrap();
    let doors = router(World::new().desk, Arc::clone(&node.erasure));
    (node, doors)
}

/// A desk whose stream `app` names its subject in `user_id` and did so in `uid` before, and masks addresses now.
fn changed() -> World {
    let nobody = Owners::over(|_, _, _, _| Box::pin(async { Err(NoWord::Silent) }));
    let change = |policy: &mut Policy| {
        let app: Name = "app".parse().unwrap();
        let app = policy.streams.get_mut(&(TENANT, app)).unwrap();
        let personal = Personal::Subject("user_id".parse().unwrap());
        let privacy = Privacy::new([(PersonalClass::Email, Action::Mask)], Vec::new());
        Arc::make_mut(app).policy = StreamPolicy { personal, privacy, ..StreamPolicy::default() };
        policy.once.entry(TENANT).or_default().subjects.insert("uid".parse().unwrap());
    };
    World::beside(NodeId(1), change, nobody)
}

async fn post(doors: &Router, with: u8, path: &str, body: &Value) -> (u16, Value) {
    let answer = ask(doors.clone(), with, "POST", path, body.to_string()).await;
    (answer.status.as_u16(), answer.json())
}

async fn get(doors: &Router, with: u8, path: &str) -> (u16, Value) {
    let answer = ask(doors.clone(), with, "GET", path, "").await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_is_shown_and_run_through_the_doors_and_a_hold_wins_there_too() {
    let dir = begin();
    let (node, doors) = node(dir.path()).await;
    let run = "/api/v1/retention/run";
    let due = async || get(&doors, ADMIN, "/api/v1/retention").await.1["streams"][0].clone();
    let early = due().await;
    assert_eq!((&early["stream"], &early["retention_days"]), (&json!("app"), &json!(30)));
    assert_eq!((&early["kept"]["records"], &early["due"]["records"]), (&json!(12), &json!(0)));
    assert_eq!(early["next_due_at"], json!(Timestamp(31 * DAY)));
    assert_eq!(post(&doors, ADMIN, run, &json!({})).await, (200, json!({"deletions": []})));

    node.clock.turn_to(Timestamp(31 * DAY));
    for (with, body) in [(SEARCH, json!({})), (OTHER_ADMIN, json!({"tenant": "default"}))] {
        assert_eq!(post(&doors, with, run, &body).await.0, 403, "{with}");
    }
    assert_eq!(get(&doors, SEARCH, "/api/v1/retention").await.0, 403);
    assert_eq!(post(&doors, OTHER_ADMIN, run, &json!({})).await, (200, json!({"deletions": []})), "has nothing due");
    assert_eq!(get(&doors, OTHER_ADMIN, "/api/v1/retention").await.1["streams"], json!([]));
    let (status, hold) = post(&doors, ADMIN, "/api/v1/subjects/hold", &json!({"token": TOKEN})).await;
    assert_eq!(status, 200, "{hold}");
    let held = due().await;
    assert_eq!((&held["held"]["records"], &held["held"]["segments"][0]["hold"]), (&json!(12), &hold["id"]));
    assert_eq!(post(&doors, ADMIN, run, &json!({})).await, (200, json!({"deletions": []})));
    assert_eq!(post(&doors, ADMIN, "/api/v1/subjects/release", &hold).await.0, 200);

    let (status, ran) = post(&doors, ADMIN, run, &json!({"tenant": "default"})).await;
    assert_eq!((status, ran["deletions"].as_array().unwrap().len()), (200, 1), "{ran}");
    let (_, shown) = get(&doors, ADMIN, "/api/v1/retention?tenant=default").await;
    assert_eq!((&shown["streams"], &shown["deletions"][0]["id"]), (&json!([]), &ran["deletions"][0]));
    assert!(shown["deletions"][0]["evidence"]["signature"].is_string());
    assert_eq!(get(&doors, OTHER_ADMIN, "/api/v1/retention").await.1["deletions"], json!([]));
    assert!(node.shards.catalog().view(ShardId(1)).is_empty());
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_is_ordered_shown_and_purged_through_the_doors_by_whom_it_concerns() {
    let dir = begin();
    let (node, doors) = node(dir.path()).await;
    let whom = json!({"token": TOKEN});
    for (with, body) in [(SEARCH, whom.clone()), (OTHER_ADMIN, json!({"token": TOKEN, "tenant": "default"}))] {
        for path in ["erase", "hold", "export"] {
            assert_eq!(post(&doors, with, &format!("/api/v1/subjects/{path}"), &body).await.0, 403, "{path} {with}");
        }
    }
    assert_eq!((node.seen(), node.is_revealed()), (12, true));
    for wrong in [json!({}), json!({"token": "no token"}), json!({"token": ""})] {
        let (status, refused) = post(&doors, ADMIN, "/api/v1/subjects/erase", &wrong).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused.to_string().contains("DMC-ERASE-01"), "{refused}");
    }
    let (status, refused) = post(&doors, ADMIN, "/api/v1/subjects/erase", &json!({"streams": ["none"]})).await;
    assert!(status == 400 && !refused.to_string().contains("none\""), "{refused}");

    let (status, order) = post(&doors, ADMIN, "/api/v1/subjects/erase", &whom).await;
    assert_eq!((status, &order["state"], &order["records_hidden"]), (200, &json!("shredded"), &json!(1)), "{order}");
    assert!(!order.to_string().contains(TOKEN) && node.seen() == 11 && !node.is_revealed());
    let id = order["id"].as_str().unwrap();
    let status = format!("/api/v1/subjects/status?id={id}");
    assert_eq!(get(&doors, OTHER_ADMIN, &status).await.0, 404, "another tenant's");
    assert_eq!(get(&doors, OTHER_ADMIN, "/api/v1/subjects/status").await.1["erasures"], json!([]));
    assert_eq!(post(&doors, OTHER_ADMIN, "/api/v1/subjects/purge", &json!({})).await.0, 403, "the operator's");
    assert_eq!(
        post(&doors, ADMIN, "/api/v1/subjects/purge", &json!({})).await,
        (200, json!({"gone": 1, "begun_at": [], "not_begun_at": []}))
    );
    let (_, gone) = get(&doors, ADMIN, &status).await;
    assert_eq!((&gone["state"], &gone["percent"]), (&json!("gone"), &json!(100)));
    assert!(gone["receipt"]["signature"].is_string() && !gone.to_string().contains(TOKEN));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_shows_no_more_than_the_rows_of_its_key() {
    let dir = begin();
    let (node, doors) = node(dir.path()).await;
    let by_token = json!({"token": TOKEN, "value": null, "values": []});
    let by_value = json!({"value": "alice@example.com"});
    let with_values = json!({"token": TOKEN, "values": ["alice@example.com"]});
    let in_a_link = json!({"token": TOKEN, "link_hours": 24});
    for (with, body, status) in [
        (ADMIN_BLIND, &by_token, 403),
        (ADMIN_BLIND, &by_value, 403),
        (ADMIN_BLIND, &in_a_link, 403),
        (ADMIN, &by_value, 403),
        (ADMIN, &with_values, 403),
        (ADMIN_FULL, &by_value, 200),
        (ADMIN_FULL, &with_values, 200),
    ] {
        let answer = ask(doors.clone(), with, "POST", "/api/v1/subjects/export", body.to_string()).await;
        assert_eq!(answer.status.as_u16(), status, "{with} {body}: {}", answer.text);
        assert_eq!(answer.text.contains("DMC-PRESENT-17"), status == 403, "{}", answer.text);
    }
    let answer = ask(doors.clone(), ADMIN, "POST", "/api/v1/subjects/export", by_token.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_stays_in_the_region_behind_a_link_that_needs_no_key_and_is_tried_so_often() {
    let dir = begin();
    let (node, doors) = node(dir.path()).await;
    let export = "/api/v1/subjects/export";
    let wanted = json!({"token": TOKEN, "link_hours": 24});
    assert_eq!(post(&doors, SEARCH, export, &wanted).await.0, 403);
    for wrong in [json!(0), json!("24"), json!(169), json!(-1)] {
        let (status, refused) = post(&doors, ADMIN, export, &json!({"token": TOKEN, "link_hours": wrong})).await;
        assert!(status == 400 && refused.to_string().contains("DMC-ERASE-18"), "{refused}");
    }
    let (status, kept) = post(&doors, ADMIN, export, &wanted).await;
    assert_eq!(status, 200, "{kept}");
    let path = kept["path"].as_str().unwrap().to_owned();
    // The world's desk has no records of this person: the export is empty, and the link leads to it all the same.
    let bare = |path: &str| send(doors.clone(), Request::get(path).body(Body::empty()).unwrap());
    let opened = bare(&path).await;
    assert_eq!((opened.status.as_u16(), opened.text.as_str()), (200, ""));
    assert!(opened.headers["cache-control"] == "no-store" && opened.headers["referrer-policy"] == "no-referrer");
    let refused = bare(&format!("{path}00")).await;
    assert!(refused.status == 404 && refused.text.contains("DMC-ERASE-16"), "{}", refused.text);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..EXPORT_READS_PER_SECOND.get() * 4 {
        seen.insert(bare(&path).await.status.as_u16());
    }
    assert_eq!(seen, [200, 429].into());
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_from_before_a_policy_changed_are_erased_by_the_same_names() {
    let dir = begin();
    let (node, world) = (Node::start(dir.path()).await, changed());
    let subject = node.vault.subject_of(TENANT, "uid", "u-9");
    let address = "erika@example.org";
    let token = world.desk.parts.classifier.written_ever(address, TENANT, &[]).into_iter().next().unwrap();
    node.append(vec![record(1, Some(subject), json!({"m": "one"})), record(2, None, json!({"m": token}))]).await;
    let doors = router(Arc::clone(&world.desk), Arc::clone(&node.erasure));
    assert_eq!(node.seen(), 2);
    for body in [json!({"subject": "u-9"}), json!({"value": address})] {
        let (status, order) = post(&doors, ADMIN, "/api/v1/subjects/erase", &body).await;
        assert_eq!((status, &order["records_hidden"]), (200, &json!(1)), "{order}");
    }
    assert_eq!(node.seen(), 0);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_on_a_person_stands_whichever_of_their_names_an_order_says() {
    let dir = begin();
    let (node, world) = (Node::start(dir.path()).await, changed());
    let doors = router(Arc::clone(&world.desk), Arc::clone(&node.erasure));
    let (erase, hold, release) = ("/api/v1/subjects/erase", "/api/v1/subjects/hold", "/api/v1/subjects/release");
    for (held, ordered) in [("subject", "value"), ("value", "subject")] {
        let (status, set) = post(&doors, ADMIN, hold, &json!({held: "u-9"})).await;
        assert_eq!(status, 200, "{set}");
        let (status, refused) = post(&doors, ADMIN, erase, &json!({ordered: "u-9"})).await;
        assert!(status == 409 && refused.to_string().contains("DMC-ERASE-02"), "{refused}");
        let (status, _) = post(&doors, ADMIN, erase, &json!({ordered: "u-8"})).await;
        assert_eq!(status, 200, "somebody else");
        assert_eq!(post(&doors, ADMIN, release, &set).await.0, 200);
    }
    node.kill().await;
}
