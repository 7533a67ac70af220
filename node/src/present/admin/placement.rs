//! The door of placement: what each node of the region carries, what each stream asks, and what would move. Role
//! `admin` of the operator.
//!
//! Shows numbers, names of streams and nothing of a record. Moves nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use domicile_proto::ids::{Name, StreamId};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::Admin;
use crate::ownership::{Placed, Sights, Standing, Step, carried};
use crate::present::desk::Desk;
use crate::present::native::told;

/// What is seen of the region, and what would move.
pub(crate) struct Placing {
    /// Whether this node gives anything away for its load.
    pub(crate) is_on: bool,
    /// Shards that it gave away since its start.
    pub(crate) given: u64,
    pub(crate) sights: Sights,
    pub(crate) steps: Vec<Step>,
}

/// Asks the nodes of the region now.
pub(crate) type Look = Arc<dyn Fn() -> BoxFuture<'static, Placing> + Send + Sync>;

/// A desk with the look beside it.
pub(crate) struct Watch {
    desk: Arc<Desk>,
    look: Look,
}

/// The door.
pub(crate) fn router(desk: Arc<Desk>, look: Look) -> Router {
    listed()
        .into_iter()
        .fold(Router::new(), |router, (path, method)| router.route(path, method))
        .with_state(Arc::new(Watch { desk, look }))
}

/// Routes by path; every one stands in the API document.
pub(crate) fn listed() -> Vec<(&'static str, MethodRouter<Arc<Watch>>)> {
    vec![("/api/v1/admin/placement", get(show))]
}

/// `GET /api/v1/admin/placement`.
async fn show(State(at): State<Arc<Watch>>, headers: HeaderMap) -> Response {
    let shown = async {
        Admin::of(&at.desk, &headers)?.operator()?;
        let placing = (at.look)().await;
        let policy = at.desk.parts.policy.now();
        let names = policy.streams.values().map(|stream| (stream.id, stream.name.clone())).collect();
        Ok(json!({
            "region": at.desk.parts.region, "node": at.desk.parts.node, "enabled": placing.is_on, "given": placing.given,
            "nodes": nodes(&placing.sights),
            "streams": placing.sights.shards.iter().map(|one| stream(one, &names)).collect::<Vec<_>>(),
            "moves": placing.steps.iter().map(|step| step_of(step, &names)).collect::<Vec<_>>(),
        }))
    };
    told(shown.await)
}

type Names = BTreeMap<StreamId, Name>;

fn nodes(sights: &Sights) -> Vec<Value> {
    let carried = carried(&sights.nodes, &sights.shards);
    let row = |(node, standing): (_, &Standing)| {
        let (weight, streams) = carried.get(node).copied().unwrap_or_default();
        let standing = match standing {
            Standing::Takes => "takes streams",
            Standing::Keeps => "uses another bucket",
            Standing::Drained => "drained",
        };
        json!({"node": node, "standing": standing, "streams": streams, "millicores": weight / 1_000})
    };
    sights.nodes.iter().map(row).collect()
}

fn stream(placed: &Placed, names: &Names) -> Value {
    let Placed { shard, stream, owner, load, is_movable, is_settled } = placed;
    json!({
        "stream": names.get(stream), "shard": shard, "node": owner, "bytes_per_second": load.bytes,
        "cpu_millicores": load.cpu / 1_000, "millicores": load.weight() / 1_000, "movable": is_movable,
        "measured": is_settled,
    })
}

fn step_of(step: &Step, names: &Names) -> Value {
    let Step { shard, stream, from, to, weight, reason } = step;
    json!({
        "stream": names.get(stream), "shard": shard, "from": from, "to": to, "millicores": weight / 1_000,
        "why": reason.word(),
    })
}
