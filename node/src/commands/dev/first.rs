//! The first minutes of a deployment, as an operator and three officers would spend them: begin the group, issue keys,
//! declare streams, approve what may be named abroad, and ask the first question.

use anyhow::Context;
use domicile_proto::ids::Name;
use domicile_proto::metadata::{Change, Command, Personal, Roles, Rows, StreamPolicy};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::samples::{INFRA_STREAM, SERVICES, SHOP_STREAM};
use super::super::{admin, cluster};
use super::LOOK;
use super::layout::{Keys, Layout, Place};

/// The keys of each region: what the ready file calls them, and what they open. `profile` is for the client's profile.
const KEYS: [(&str, Roles); 5] = [
    ("admin", Roles { ingest: false, search: false, audit: false, admin: true, create: false, reveal: false }),
    ("ingest", Roles { ingest: true, search: false, audit: false, admin: false, create: true, reveal: false }),
    ("search", Roles { ingest: false, search: true, audit: false, admin: false, create: false, reveal: false }),
    ("audit", Roles { ingest: false, search: false, audit: true, admin: false, create: false, reveal: false }),
    ("profile", Roles { ingest: true, search: true, audit: true, admin: true, create: true, reveal: false }),
];

/// Begins the group on the first node, with every region's nodes and keys; nothing where that was done before.
pub(super) async fn begin(layout: &Layout) -> anyhow::Result<()> {
    if layout.has_done("group") {
        return Ok(());
    }
    let Some(first) = layout.regions.first() else { return Ok(()) };
    let mut keys = Keys::default();
    let mut commands = Vec::new();
    for place in &layout.regions {
        let officer = place.officer()?;
        commands.push(officer.consent(Change::AddNode { node: place.node, addr: place.link() }));
        commands.extend(officer.region_key());
        for (role, roles) in KEYS {
            let id: Name = format!("dev-{role}").parse()?;
            let (secret, key) = admin::draw_key(&place.region, id, cluster::FIRST_TENANT, roles, Rows::Redacted)?;
            commands.push(officer.consent(Change::AddKey(key)));
            keys.0.entry(place.region.clone()).or_default().insert(role.to_owned(), secret);
        }
    }
    // Kept before they are valid: a key that is valid and lost would be worse.
    layout.keep_keys(&keys)?;
    cluster::init(&first.door("")?, &commands).await?;
    layout.note_done("group")
}

/// Waits until every region knows its keys, and writes the client's profile.
pub(super) async fn wait_for_keys(layout: &Layout) -> anyhow::Result<()> {
    let keys = keys(layout)?;
    for place in &layout.regions {
        let door = place.door(keys.of(&place.region, "profile"))?;
        loop {
            let answer = door.request(Method::GET, "/api/v1/status").send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                break;
            }
            sleep(LOOK).await;
        }
    }
    super::page::write_profile(layout, &keys)
}

/// The keys of this directory, wherever this start has them from.
pub(super) fn keys(layout: &Layout) -> anyhow::Result<Keys> {
    if !layout.keys.0.is_empty() && layout.has_done("group") {
        let path = layout.data.join("keys.json");
        return serde_json::from_slice(&std::fs::read(&path)?).context("the keys of this directory are damaged");
    }
    serde_json::from_slice(&std::fs::read(layout.data.join("keys.json"))?).context("the keys are damaged")
}

/// Creates the streams of the samples, with the policy of each region's officer; nothing where that was done before.
pub(super) async fn declare_streams(layout: &Layout) -> anyhow::Result<()> {
    if layout.has_done("streams") {
        return Ok(());
    }
    let Some(first) = layout.regions.first() else { return Ok(()) };
    let keys = keys(layout)?;
    let door = first.door(keys.of(&first.region, "profile"))?;
    let service: Name = "service".parse()?;
    let level: Name = "level".parse()?;
    let shop = StreamPolicy {
        personal: Personal::Subject("user".parse()?),
        group_fields: vec![level.clone(), service.clone()],
        text_questions: true,
        ..StreamPolicy::default()
    };
    let infra = StreamPolicy { personal: Personal::No, ..shop.clone() };
    let mut commands: Vec<Command> = Vec::new();
    for (name, policy) in [(SHOP_STREAM, shop), (INFRA_STREAM, infra)] {
        let stream = admin::create_stream(&door, cluster::FIRST_TENANT, &name.parse()?).await?;
        for place in &layout.regions {
            let change = Change::SetPolicy { tenant: cluster::FIRST_TENANT, stream, policy: policy.clone() };
            commands.push(place.officer()?.after_newest_at(&door).await?.consent(change));
        }
    }
    for place in &layout.regions {
        let values = SERVICES.iter().map(|service| (*service).to_owned()).collect();
        commands.extend(admin::approvals(&place.officer()?, cluster::FIRST_TENANT, &service, values)?);
    }
    admin::submit(&door, &commands).await?;
    layout.note_done("streams")
}

/// Asks a federated question until all regions have answered completely.
pub(super) async fn wait_for_answer(layout: &Layout) -> anyhow::Result<()> {
    let keys = keys(layout)?;
    for place in &layout.regions {
        while !all_answer(place, &keys, layout.regions.len()).await? {
            sleep(LOOK).await;
        }
    }
    Ok(())
}

async fn all_answer(place: &Place, keys: &Keys, wanted: usize) -> anyhow::Result<bool> {
    let question = json!({
        "stream": INFRA_STREAM, "regions": ["*"], "on_missing": "partial", "ask": "count", "size": 0,
    });
    let door = place.door(keys.of(&place.region, "search"))?;
    let Ok(answer) = door.post("/api/v1/search", &question).await else { return Ok(false) };
    Ok(answered(&answer) == wanted)
}

/// How many regions have answered: completely, or but for what is still open.
fn answered(answer: &Value) -> usize {
    let said = |said: &Value| {
        matches!(said.get("status").and_then(Value::as_str), Some("complete" | "partial" | "suppressed"))
    };
    match answer.get("coverage") {
        Some(Value::Object(by_name)) => by_name.values().filter(|value| said(value)).count(),
        Some(Value::Array(list)) => list.iter().filter(|value| said(value)).count(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regions_that_answered_are_counted() {
        let answer = json!({"coverage": {
            "a": {"status": "complete"}, "b": {"status": "unreachable"}, "c": {"status": "refused"}
        }});
        assert_eq!(answered(&answer), 1);
        assert_eq!(answered(&json!({"coverage": [{"region": "a", "status": "partial"}]})), 1);
        assert_eq!(answered(&json!({})), 0);
    }
}
