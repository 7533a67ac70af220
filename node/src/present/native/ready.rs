//! Whether the node is ready, and for what: taking records and answering questions fail apart from each other, and a load
//! balancer may send one kind of request here and not the other.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::present::desk::Desk;

type Told = (StatusCode, String);

/// Ready from the start: the doors open last, when what the log holds can be searched, and nothing local waits for an election.
/// Not ready where the node is about to stop, where one of the two cannot be done, or where the node needs a restart to hear of decisions or to write its ledger; the body has
/// a line for each.
pub(super) async fn ready(State(desk): State<Arc<Desk>>) -> Told {
    if let Some(why) = is_leaving(&desk) {
        return told(Some(why));
    }
    let all = [
        ("ingest", cannot_ingest(&desk)),
        ("search", cannot_search(&desk)),
        ("group", cannot_follow(&desk)),
        ("ledger", cannot_record(&desk)),
    ];
    if all.iter().all(|(_, why)| why.is_none()) {
        return told(None);
    }
    let line = |(what, why): &(&str, Option<&str>)| match why {
        None => format!("[+]{what} ok\n"),
        Some(why) => format!("[-]{what} failed: {why}\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, all.iter().map(line).collect())
}

/// Whether it takes records.
pub(super) async fn for_ingest(State(desk): State<Arc<Desk>>) -> Told {
    told(is_leaving(&desk).or_else(|| cannot_ingest(&desk)))
}

/// Whether it answers questions.
pub(super) async fn for_search(State(desk): State<Arc<Desk>>) -> Told {
    told(is_leaving(&desk).or_else(|| cannot_search(&desk)))
}

fn told(why: Option<&str>) -> Told {
    why.map_or_else(|| (StatusCode::OK, "ok\n".to_owned()), |why| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")))
}

/// Why nobody should come anew, if so: what comes all the same is taken and answered.
fn is_leaving(desk: &Desk) -> Option<&'static str> {
    (desk.parts.around.facts)().is_leaving.then_some("the node is about to stop; it serves on for a moment")
}

/// Why records are not taken, if so.
fn cannot_ingest(desk: &Desk) -> Option<&'static str> {
    let facts = (desk.parts.around.facts)();
    if facts.is_log_poisoned {
        Some("the write-ahead log stopped; look at the disk, then restart the node (DMC-WAL-07)")
    } else if facts.is_log_full {
        Some("the disk has no room for the write-ahead log; free some (DMC-WAL-03)")
    } else {
        None
    }
}

/// Why the node does not hear what is decided, if so: it goes on with what it knows, and less and less of that is right.
fn cannot_follow(desk: &Desk) -> Option<&'static str> {
    let is_broken = (desk.parts.around.facts)().is_group_broken;
    is_broken.then_some(
        "this node's part in the metadata group stopped; look at the disk, then restart the node (DMC-META-05)",
    )
}

/// Why nothing leaves the region and nothing is erased or revealed, if so.
fn cannot_record(desk: &Desk) -> Option<&'static str> {
    let is_poisoned = (desk.parts.around.facts)().is_ledger_poisoned;
    is_poisoned.then_some("the ledger stopped; look at the disk, then restart the node (DMC-AUDIT-04)")
}

/// Why some question is not answered, if so: records that cannot be searched, or that may have been erased, or that belong to
/// a stream this node does not know.
fn cannot_search(desk: &Desk) -> Option<&'static str> {
    let parts = &desk.parts;
    if parts.catalog.failures() > 0 {
        Some("accepted records of some shard cannot be searched now (DMC-SEGMENT-10)")
    } else if parts.awareness.lacks() {
        Some("an erasure of this region is not known here yet (DMC-ERASE-09)")
    } else if parts.catalog.unclaimed(&parts.policy.now()).is_some() {
        Some("records lie here whose stream is not known: the node is behind the metadata group (DMC-SEGMENT-12)")
    } else {
        None
    }
}
