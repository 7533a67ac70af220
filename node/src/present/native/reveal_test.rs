//! Who may reveal what, what the ledger says of it, and what nobody learns.

use domicile_proto::ids::{NodeId, StreamId, TenantId};
use domicile_proto::metadata::NodeRow;
use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::audit::Ledger;
use crate::keys::{Day, Original};
use crate::present::world::{ADMIN, AUDIT, REVEAL, REVEAL_REDACTED, SEARCH, World, ask};

const TOKEN: &str = "\u{2039}email:abc\u{203A}";

fn seal(world: &World, tenant: u32, token: &str, text: &str) {
    let original = Original { token: token.into(), subject: None, text: Zeroizing::new(text.to_owned()), met: None };
    world.desk.parts.vault.seal(TenantId(tenant), StreamId(1), Day(1), &[original]).unwrap();
}

async fn request(world: &World, with: u8, body: Value) -> (u16, Value) {
    let answer = ask(world.native(), with, "POST", "/api/v1/reveal", body.to_string()).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    (answer.status.as_u16(), answer.json())
}

fn reveals(ledger: &Ledger) -> Vec<Event> {
    let entries = ledger.entries_after(0).unwrap().map(|entry| entry.unwrap().1.event);
    entries.filter(|event| matches!(event, Event::Reveal { .. })).collect()
}

#[tokio::test]
async fn an_original_is_revealed_to_the_role_with_a_purpose_and_the_ledger_knows() {
    let world = World::new();
    seal(&world, 1, TOKEN, "a@b.de");
    let (status, answer) = request(&world, REVEAL, json!({"token": TOKEN, "purpose": "fraud"})).await;
    assert_eq!((status, &answer["value"], &answer["stream"]), (200, &json!("a@b.de"), &json!("app")), "{answer}");
    let token = world.desk.parts.vault.commitment(TenantId(1), TOKEN);
    assert_eq!(answer["ledger"]["token"], hex::encode(token));
    let [Event::Reveal { key, tenant, purpose, token: found }] = &reveals(&world.desk.parts.ledger)[..] else {
        panic!("one entry")
    };
    assert_eq!((key.as_str(), *tenant, *purpose, *found), ("key-8", TenantId(1), Purpose::Fraud, token));
}

#[tokio::test]
async fn without_role_clearance_or_purpose_nothing_is_looked_up() {
    let world = World::new();
    seal(&world, 1, TOKEN, "a@b.de");
    let good = json!({"token": TOKEN, "purpose": "fraud"});
    for (with, body, status, code) in [
        (SEARCH, good.clone(), 403, "DMC-ADMIT-04"),
        (ADMIN, good.clone(), 403, "DMC-ADMIT-04"),
        (AUDIT, good.clone(), 403, "DMC-ADMIT-04"),
        (REVEAL_REDACTED, good.clone(), 403, "DMC-REVEAL-01"),
        (REVEAL, json!({"token": TOKEN}), 400, "DMC-REVEAL-02"),
        (REVEAL, json!({"token": TOKEN, "purpose": "curiosity"}), 400, "DMC-REVEAL-02"),
        (REVEAL, json!({"purpose": "fraud"}), 400, "DMC-PRESENT-03"),
        (REVEAL, json!({"token": "x".repeat(257), "purpose": "fraud"}), 400, "DMC-PRESENT-03"),
    ] {
        let (found, answer) = request(&world, with, body).await;
        assert_eq!((found, answer["error"]["code"].as_str()), (status, Some(code)), "{answer}");
        assert!(!answer.to_string().contains("a@b"));
    }
    assert!(reveals(&world.desk.parts.ledger).is_empty());
}

#[tokio::test]
async fn what_was_erased_never_was_or_is_another_tenants_is_answered_alike_and_recorded() {
    let world = World::new();
    let (erased, others) = ("\u{2039}email:gone\u{203A}", "\u{2039}email:theirs\u{203A}");
    seal(&world, 1, erased, "x");
    seal(&world, 2, others, "y");
    world.desk.parts.vault.forget_token(TenantId(1), erased).unwrap();
    let mut answers = Vec::new();
    for token in [erased, others, "\u{2039}email:never\u{203A}", ""] {
        answers.push(request(&world, REVEAL, json!({"token": token, "purpose": "legal_request"})).await);
    }
    assert_eq!(answers[0].0, 404);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(reveals(&world.desk.parts.ledger).len(), 4);
}

#[tokio::test]
async fn where_the_region_has_other_nodes_the_answer_says_that_they_were_not_asked() {
    let world = World::new();
    seal(&world, 1, TOKEN, "a@b.de");
    let mut policy = Policy::clone(&world.desk.parts.policy.now());
    let home = world.desk.parts.region.clone();
    for (node, region) in [(77, home), (78, "elsewhere".parse().unwrap())] {
        let (node, addr) = (NodeId(node), "127.0.0.1:7443".parse().unwrap());
        policy.nodes.insert(node, NodeRow { node, region, addr, signature: None });
    }
    world.desk.parts.policy.replace(policy);
    let (status, answer) = request(&world, REVEAL, json!({"token": "never", "purpose": "fraud"})).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("DMC-REVEAL-04")), "{answer}");
    let said = answer.to_string();
    assert!(said.contains("node 77") && !said.contains("node 78"), "{said}");
    assert_eq!(request(&world, REVEAL, json!({"token": TOKEN, "purpose": "fraud"})).await.0, 200);
}

#[tokio::test]
async fn nothing_is_revealed_that_the_ledger_did_not_take() {
    let world = World::new();
    seal(&world, 1, TOKEN, "a@b.de");
    world.desk.parts.ledger.close();
    let (status, answer) = request(&world, REVEAL, json!({"token": TOKEN, "purpose": "fraud"})).await;
    assert!(status >= 500 && !answer.to_string().contains("a@b"), "{answer}");
}

#[tokio::test]
async fn keys_are_rotated_by_the_operator_alone_and_what_was_sealed_stays() {
    let world = World::new();
    seal(&world, 1, TOKEN, "a@b.de");
    let rotate = async |with| ask(world.native(), with, "POST", "/api/v1/admin/keys/rotate", "").await;
    for with in [SEARCH, REVEAL, crate::present::world::OTHER_ADMIN] {
        assert_eq!(rotate(with).await.status, 403);
    }
    let answer = rotate(ADMIN).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(request(&world, REVEAL, json!({"token": TOKEN, "purpose": "fraud"})).await.0, 200);
}
