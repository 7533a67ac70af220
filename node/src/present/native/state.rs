//! How the node is, as it sees itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use domicile_proto::ids::{Region, Timestamp};
use domicile_proto::metadata::Rows;
use domicile_proto::officer::OfficerRow;
use serde_json::{Map, Value, json};

use crate::admit::Principal;
use crate::audit::{Standing, Trouble, WitnessFacts};
use crate::policy::{Policy, REVIEW_TOLD, Route, Shut, date_of, seconds_until};
use crate::present::admin::OPERATORS;
use crate::present::desk::{Desk, Facts};
use crate::receive::native_failure;

/// The process answers.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

pub(super) async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, (desk.parts.around.metrics)()).into_response()
}

pub(super) async fn whoami(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let who = match desk.anybody(&headers) {
        Ok(who) => who,
        Err(failure) => return native_failure(&failure),
    };
    let policy = desk.parts.policy.now();
    let tenant = policy.tenants.iter().find(|(_, id)| **id == who.tenant()).map(|(name, _)| name.to_string());
    let roles = who.roles();
    let body = json!({
        "key": who.key(), "tenant": tenant, "region": desk.parts.region, "rows": who.rows(),
        "roles": { "ingest": roles.ingest, "search": roles.search, "audit": roles.audit, "admin": roles.admin,
                   "create": roles.create, "reveal": roles.reveal },
    });
    Json(body).into_response()
}

/// The newest consent of an officer, so that the officer's tool signs with a higher serial.
fn consent(row: &OfficerRow) -> Value {
    json!({ "region": row.region, "officer": row.newest.officer(), "serial": row.newest.serial() })
}

/// How one witness of this node's ledger is.
fn about_witness((name, standing): (&String, &Standing)) -> Value {
    json!({
        "name": name, "cosigned": standing.cosigned, "at": standing.at, "trouble": standing.trouble.map(Trouble::words),
    })
}

/// What this node's own witness has seen.
fn about_own_witness((facts, key): &(WitnessFacts, String)) -> Value {
    let logs = facts.logs.iter().map(|(peer, size)| json!({ "region": peer.region, "node": peer.node, "size": size }));
    let forks = facts.forks.iter();
    let forks = forks.map(|(file, peer)| json!({ "region": peer.region, "node": peer.node, "evidence": file }));
    json!({ "key": key, "logs": logs.collect::<Vec<_>>(), "forks": forks.collect::<Vec<_>>() })
}

/// What an operator should look at, in words.
fn notes(desk: &Desk, facts: &Facts) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if facts.leader.is_none() {
        notes.push("the metadata group has no leader; local work goes on");
    }
    if desk.parts.catalog.failures() > 0 {
        notes.push("accepted records of some shard cannot be searched and nobody is answered for it: look at the disk");
    }
    if facts.is_log_poisoned {
        notes.push("the write-ahead log takes nothing more: look at the disk, then restart");
    }
    if facts.is_group_broken {
        notes.push("the log of the metadata group takes nothing more: look at the disk, then restart");
    }
    if facts.is_ledger_poisoned {
        notes.push("the ledger takes nothing more, and nothing leaves this region: look at the disk, then restart");
    }
    if facts.is_log_full {
        notes.push(
            "the disk has no room for the write-ahead log: batches are refused, questions are answered; free some",
        );
    }
    if desk.parts.catalog.unclaimed(&desk.parts.policy.now()).is_some() {
        notes.push("records lie here whose stream this node does not know: it is behind the metadata group");
    }
    if facts.has_tls_keylog {
        notes.push("the session secrets of the link are being written to a file");
    }
    let keys = desk.parts.vault.facts();
    if keys.is_expired {
        notes.push("the key store is out of reach; nothing personal is sealed or revealed");
    } else if keys.silent_seconds > SILENCE_TOLD {
        notes.push("the key store is out of reach; keys are used from memory");
    }
    if keys.is_rewrite_due {
        notes.push("a destruction of keys is not complete; it goes on by itself");
    }
    if desk.parts.awareness.lacks() {
        notes.push("an erasure of this region is not known here yet, so nothing is shown that it may concern");
    }
    if facts.witnesses.values().any(|standing| standing.trouble.is_some_and(Trouble::is_grave)) {
        notes.push("a witness does not believe this node's ledger: see `witnesses`");
    }
    if !facts.witness.0.forks.is_empty() {
        notes.push(
            "the ledger of another region contradicts itself: see `witness.forks`, keep the files, tell its officer",
        );
    }
    notes.extend(about_routes(&desk.parts.policy.now(), desk.parts.clock.now()));
    notes
}

pub(super) async fn status(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let who = match desk.anybody(&headers) {
        Ok(who) => who,
        Err(failure) => return native_failure(&failure),
    };
    let facts = (desk.parts.around.facts)();
    let (policy, now) = (desk.parts.policy.now(), desk.parts.clock.now());
    let region_of = |node: &domicile_proto::ids::NodeId| policy.nodes.get(node).map(|row| row.region.to_string());
    let round_trips: Map<String, Value> = facts
        .round_trips
        .iter()
        .filter_map(|(node, millis)| Some((region_of(node)?, json!((millis * 10.0).round() / 10.0))))
        .collect();
    let shards = desk.parts.catalog.shards();
    let segments: usize = shards.iter().map(|shard| desk.parts.catalog.view(*shard).iter().count()).sum();
    let head = desk.parts.ledger.head();
    let notes = notes(&desk, &facts);
    let has_failed = desk.parts.catalog.failures() > 0;
    let nodes = policy.nodes.values().map(|row| json!({"node": row.node, "region": row.region, "link": row.addr}));
    let nodes: Vec<Value> = nodes.collect();
    let is_stopped = facts.is_log_poisoned || facts.is_group_broken || facts.is_ledger_poisoned;
    let body = json!({
        "region": desk.parts.region,
        "time_ms": now.0.div_euclid(1_000),
        "nodes": nodes,
        "node": desk.parts.node,
        "state": if has_failed || is_stopped { "failed" } else { "ready" },
        "policy": policy.version,
        "consents": policy.officers.iter().map(consent).collect::<Vec<_>>(),
        "leader": facts.leader.map(|node| json!({ "node": node, "region": region_of(&node) })),
        "answers_outward": !desk.parts.policy.lease().is_over(std::time::Instant::now()),
        "ledger": { "size": head.size, "root": hex::encode(head.root) },
        "witnesses": facts.witnesses.iter().map(about_witness).collect::<Vec<_>>(),
        "witness": about_own_witness(&facts.witness),
        "tls_keylog": facts.has_tls_keylog,
        "streams": policy.streams.len(),
        "erasures": policy.erasures,
        "transfers": policy.routes.out.iter().map(|way| about_route(way, now)).collect::<Vec<_>>(),
        "meta": { "leader": facts.leader, "term": facts.term, "voters": facts.voters },
        "round_trips_ms": round_trips,
        "shards": shards.len(),
        "segments": segments,
        "ledger_entries": head.size,
        "keys": about_keys(&desk, &who),
        "notes": notes,
    });
    Json(body).into_response()
}

/// What has to be said of the routes out of this region.
fn about_routes(policy: &Policy, now: Timestamp) -> Vec<&'static str> {
    let open = policy.routes.out.values().filter(|route| route.shut.is_none());
    let nearest = open.map(|route| seconds_until(route.review_by, now)).min();
    let review = match nearest {
        Some(left) if left < 0 => Some("the legal basis of a route should have been looked at by now: see `transfers`"),
        Some(left) if left < REVIEW_TOLD => {
            Some("the legal basis of a route has to be looked at within a month: see `transfers`")
        }
        _ => None,
    };
    let is_closed = policy.routes.out.values().any(|route| route.shut.is_some());
    let closed = is_closed.then_some("a route out of this region is closed: see `transfers`");
    review.into_iter().chain(closed).collect()
}

/// How a route out of this region stands.
fn about_route((to, route): (&Region, &Route), now: Timestamp) -> Value {
    json!({
        "to": to, "open": route.shut.is_none(), "shut": route.shut.map(Shut::words), "basis": route.basis,
        "review_by": date_of(route.review_by), "review_in_days": seconds_until(route.review_by, now).div_euclid(86_400),
        "approved_by_officer": route.said.is_some_and(|(_, serial)| serial.is_some()),
        "policy": route.said.map(|(version, _)| version),
    })
}

/// How the keys are. How many there are is of all tenants together, and says of a value that was just sent whether it was seen before:
/// that is for an operator whose key sees values anyway.
pub(in crate::present) fn about_keys(desk: &Desk, who: &Principal) -> Value {
    let keys = desk.parts.vault.facts();
    let mut about = json!({
        "store": keys.store, "silent_seconds": keys.silent_seconds, "usable": !keys.is_expired,
        "file_bytes": keys.file_bytes, "rewrite_due": keys.is_rewrite_due,
    });
    let is_cleared = who.roles().admin && who.tenant() == OPERATORS && who.rows() == Rows::Full;
    if let Some(about) = about.as_object_mut().filter(|_| is_cleared) {
        about.insert("subjects".to_owned(), json!(keys.subjects));
        about.insert("originals".to_owned(), json!(keys.originals));
    }
    about
}

/// After how many seconds of silence `status` says that the key store is away: three of its checks.
const SILENCE_TOLD: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Routes;

    #[test]
    fn a_review_is_told_of_a_month_ahead_and_louder_when_it_is_late() {
        let mut policy = Policy::empty("tokyo".parse().expect("a name"));
        policy.routes = Routes::open_to(["frankfurt", "singapore"]);
        // The day of both reviews.
        let day = 20_970 * 86_400;
        let told =
            |policy: &Policy, seconds: i64| about_routes(policy, Timestamp(seconds * Timestamp::MICROS)).join("; ");
        assert_eq!(told(&policy, day - REVIEW_TOLD), "");
        assert!(told(&policy, day - REVIEW_TOLD + 1).contains("within a month"));
        assert!(told(&policy, day + 1).contains("should have been looked at"));
        for route in policy.routes.out.values_mut() {
            route.shut = Some(Shut::Revoked);
        }
        assert_eq!(told(&policy, day + 1), "a route out of this region is closed: see `transfers`");
    }
}
