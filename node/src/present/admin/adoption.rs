//! The doors through which streams go from node to node: what is gone for good is adopted, a region is rebuilt from its bucket, and a
//! node gives what it has to others before maintenance.
//!
//! Says first what is lost, and goes on only where that is accepted, or nothing is. An owner is gone once the region's officer took
//! it out of the region; nothing is taken from one that is silent. What is said, is in the ledger before the shard's next epoch
//! begins. Role `admin` of the operator. Both may be repeated after any end: what was adopted is not adopted again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use domicile_proto::ids::{Epoch, Name, NodeId, ShardId, TenantId};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::placement::Look;
use super::{Admin, OPERATORS};
use crate::audit::{Adopted, Event};
use crate::limits::{ADOPTED_AT_ONCE, ADOPTED_TOGETHER, ADOPTION_WAIT};
use crate::ownership::{OwnershipError, heir, takers};
use crate::policy::{Policy, StreamView};
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::present::native::{Body, told};
use crate::receive::Failure;
use crate::segment::{Loss, Shards};

/// A desk with the shards beside it, and the look at the other nodes of the region.
pub(crate) struct Adoption {
    desk: Arc<Desk>,
    shards: Shards,
    look: Look,
}

/// The doors.
pub(crate) fn router(desk: Arc<Desk>, shards: Shards, look: Look) -> Router {
    listed()
        .into_iter()
        .fold(Router::new(), |router, (path, method)| router.route(path, method))
        .with_state(Arc::new(Adoption { desk, shards, look }))
}

/// Routes by path; every one stands in the API document.
pub(crate) fn listed() -> Vec<(&'static str, MethodRouter<Arc<Adoption>>)> {
    vec![
        ("/api/v1/admin/node/drain", post(drain)),
        ("/api/v1/admin/shards/adopt", post(adopt)),
        ("/api/v1/admin/region/rebuild", post(rebuild)),
    ]
}

/// A shard whose owner is gone.
struct Due {
    stream: Arc<StreamView>,
    shard: ShardId,
    owner: NodeId,
    seen: Epoch,
    loss: Loss,
}

/// Who has it done, and why.
struct Said {
    by: Name,
    why: Adopted,
    is_accepted: bool,
    is_plan: bool,
}

impl Said {
    fn of(admin: &Admin, why: Adopted, body: &Value) -> Self {
        let flag = |key: &str| body.get(key).and_then(Value::as_bool).unwrap_or(false);
        let by = admin.0.key().clone();
        Self { by, why, is_accepted: flag("accept_loss"), is_plan: flag("plan") }
    }
}

/// `POST /api/v1/admin/shards/adopt`: one stream.
async fn adopt(State(at): State<Arc<Adoption>>, headers: HeaderMap, body: Body) -> Response {
    let adopted = async {
        let admin = Admin::of(&at.desk, &headers)?.operator()?;
        let body = body.0?;
        let stream = at.named(&body)?;
        let due = match at.gone(&stream)? {
            Some((shard, owner, seen)) => vec![at.due(stream, (shard, owner, seen)).await?],
            None => Vec::new(),
        };
        at.carry_out(due, 0, &Said::of(&admin, Adopted::OwnerGone, &body)).await
    };
    told(adopted.await)
}

/// `POST /api/v1/admin/region/rebuild`: every stream whose owner is gone, some of them in one call.
async fn rebuild(State(at): State<Arc<Adoption>>, headers: HeaderMap, body: Body) -> Response {
    let rebuilt = async {
        let admin = Admin::of(&at.desk, &headers)?.operator()?;
        let body = body.0?;
        let said = Said::of(&admin, Adopted::RegionRebuilt, &body);
        let policy = at.desk.parts.policy.now();
        let mut found = Vec::new();
        for stream in policy.streams.values() {
            // One that another node of the region writes is not lost.
            if let Ok(Some(gone)) = at.gone(stream) {
                found.push((Arc::clone(stream), gone));
            }
        }
        if found.is_empty() {
            return Err(OwnershipError::NothingLost.into());
        }
        // What is stated is stated of all of them; what is done is done of some in each call.
        let due = found.into_iter().map(|(stream, gone)| at.due(stream, gone));
        let mut due: Vec<Due> =
            futures::stream::iter(due.collect::<Vec<_>>()).buffered(ADOPTED_AT_ONCE).try_collect().await?;
        let is_done = !said.is_plan && (said.is_accepted || due.iter().all(|one| one.loss.is_none()));
        let left = due.len().saturating_sub(ADOPTED_TOGETHER);
        if is_done {
            due.truncate(ADOPTED_TOGETHER);
        }
        at.carry_out(due, if is_done { left } else { 0 }, &said).await
    };
    told(rebuilt.await)
}

/// `POST /api/v1/admin/node/drain`: this node leads no more, and what lies in the bucket goes to other nodes of the region.
async fn drain(State(at): State<Arc<Adoption>>, headers: HeaderMap) -> Response {
    let drained = async {
        Admin::of(&at.desk, &headers)?.operator()?;
        // Placement gives it nothing from now on, and afterwards takes what a first record begins here meanwhile. Where
        // the drain fails or nobody waits for it any more, the node is as it was.
        let draining = at.desk.parts.ownership.loads().drain();
        let (handed_over, stay) = at.hand_over().await?;
        (at.desk.parts.around.drain)().await?;
        draining.done();
        Ok(json!({"handed_over": handed_over, "stay": stay}))
    };
    told(drained.await)
}

impl Adoption {
    /// Gives every stream of this node that lies in the bucket to another node of the region, and waits until that one goes on with it;
    /// how many, and which stay. Where no other node takes streams (it answers for its load, writes into the same
    /// bucket and is not drained), all stay.
    async fn hand_over(&self) -> Result<(usize, Vec<Name>), Failure> {
        let sights = (self.look)().await.sights;
        let (parts, policy) = (&self.desk.parts, self.desk.parts.policy.now());
        let others: Vec<NodeId> = takers(&sights).filter(|node| *node != parts.node).collect();
        let ours = policy.streams.values().filter_map(|stream| {
            let (shard, _) = stream.shard.filter(|(_, owner)| *owner == parts.node)?;
            Some((stream, shard, policy.epochs.get(&shard).copied()?))
        });
        let given = ours.map(|(stream, shard, seen)| {
            let heir = heir(shard, &others);
            async move {
                let Some(heir) = heir else { return Ok(Err(stream.name.clone())) };
                if !self.shards.lies_in_store(shard).await {
                    return Ok(Err(stream.name.clone()));
                }
                let epoch = match parts.ownership.give(stream.id, heir, seen).await {
                    Some(epoch) => epoch,
                    // Somebody was faster, or the answer was lost and the decision stands.
                    None => match self.moved_on(shard, seen).await {
                        Some((owner, epoch)) if owner != parts.node => epoch,
                        Some(_) => return Ok(Err(stream.name.clone())),
                        None => {
                            return Err(Failure::from(OwnershipError::OutOfReach { stream: stream.name.clone() }));
                        }
                    },
                };
                let _ = self.shards.is_taken_up(shard, epoch, ADOPTION_WAIT).await;
                Ok(Ok(()))
            }
        });
        let given: Vec<Result<(), Name>> =
            futures::stream::iter(given.collect::<Vec<_>>()).buffer_unordered(ADOPTED_AT_ONCE).try_collect().await?;
        let handed_over = given.iter().filter(|one| one.is_ok()).count();
        Ok((handed_over, given.into_iter().filter_map(Result::err).collect()))
    }

    /// Who has a shard and in which epoch, where that is another one than was seen. The snapshot of this node has a
    /// moment to follow.
    async fn moved_on(&self, shard: ShardId, seen: Epoch) -> Option<(NodeId, Epoch)> {
        let shown = self.desk.parts.policy.shows(|policy| later(policy, shard, seen));
        tokio::time::timeout(SHOWN_WITHIN, shown).await.ok()
    }

    /// The stream that a body names.
    fn named(&self, body: &Value) -> Result<Arc<StreamView>, Failure> {
        let wrong = |place, wanted| Failure::from(PresentError::Malformed { place, wanted });
        let name = |key: &str| body.get(key).and_then(Value::as_str).map(str::parse::<Name>);
        let stream = name("stream").and_then(Result::ok).ok_or_else(|| wrong("stream", "the name of a stream"))?;
        let policy = self.desk.parts.policy.now();
        let tenant: TenantId = match name("tenant") {
            None => OPERATORS,
            Some(tenant) => {
                let known = tenant.ok().and_then(|tenant| policy.tenants.get(&tenant).copied());
                known.ok_or_else(|| wrong("tenant", "the name of a tenant"))?
            }
        };
        let view = policy.stream(tenant, &stream).cloned();
        view.ok_or_else(|| PresentError::NoIndex { index: stream.to_string() }.into())
    }

    /// The shard of a stream, its owner and its epoch, where the owner is gone for good; nothing where this node writes it, or nobody
    /// ever did.
    fn gone(&self, stream: &StreamView) -> Result<Option<(ShardId, NodeId, Epoch)>, Failure> {
        let policy = self.desk.parts.policy.now();
        let Some((shard, owner)) = stream.shard.filter(|(_, owner)| *owner != self.desk.parts.node) else {
            return Ok(None);
        };
        if policy.nodes.contains_key(&owner) {
            return Err(OwnershipError::OwnerStays { stream: stream.name.clone(), owner }.into());
        }
        Ok(policy.epochs.get(&shard).map(|epoch| (shard, owner, *epoch)))
    }

    /// What becomes of a shard without its owner.
    async fn due(
        &self,
        stream: Arc<StreamView>,
        (shard, owner, seen): (ShardId, NodeId, Epoch),
    ) -> Result<Due, Failure> {
        let failed = |error| Failure::of(&error);
        if !self.shards.shares_bucket_with(owner).await.map_err(failed)? {
            return Err(OwnershipError::OtherBucket { stream: stream.name.clone(), owner }.into());
        }
        let loss = self.shards.loss_of(shard, (owner, seen)).await.map_err(failed)?;
        Ok(Due { stream, shard, owner, seen, loss })
    }

    /// Adopts what is due, or says what that would cost.
    async fn carry_out(&self, due: Vec<Due>, left: usize, said: &Said) -> Result<Value, Failure> {
        let is_done = !said.is_plan && (said.is_accepted || due.iter().all(|one| one.loss.is_none()));
        let rows = due.iter().map(|one| async move {
            let state = if is_done { self.take(one, said).await? } else { "planned" };
            Ok::<Value, Failure>(row(one, state))
        });
        let rows: Vec<Value> =
            futures::stream::iter(rows.collect::<Vec<_>>()).buffered(ADOPTED_AT_ONCE).try_collect().await?;
        let keys = self.desk.parts.vault.facts();
        Ok(json!({
            "region": self.desk.parts.region, "node": self.desk.parts.node, "is_done": is_done,
            "streams": rows, "left": left, "keys": {"subjects": keys.subjects, "originals": keys.originals},
        }))
    }

    /// Takes one shard: what is lost is in the ledger, then its owner is shut out, then the metadata group decides, then this node
    /// takes it up. How far that came in time; what is left, this node does by itself.
    async fn take(&self, due: &Due, said: &Said) -> Result<&'static str, Failure> {
        let (parts, loss) = (&self.desk.parts, &due.loss);
        let next = Epoch(due.seen.0.saturating_add(1));
        let event = Event::ShardAdopted {
            shard: due.shard,
            epoch: next,
            from: due.owner,
            by: said.by.clone(),
            why: said.why,
            manifest: loss.manifest,
            whole: loss.is_none(),
            lost: loss.lost.records,
            kept: loss.kept.records,
            until: loss.named_until,
        };
        parts.ledger.record_of(due.stream.tenant, event).await.map_err(|error| Failure::of(&error))?;
        self.shards.give_up(due.shard, due.owner, next).await.map_err(|error| Failure::of(&error))?;
        // What was accepted of it is not here yet: no question is answered until it is.
        parts.catalog.set_whole(due.shard, false);
        let Some(epoch) = parts.ownership.take(due.stream.id, due.seen).await else {
            parts.catalog.set_whole(due.shard, true);
            return Err(OwnershipError::OutOfReach { stream: due.stream.name.clone() }.into());
        };
        let held = async {
            while self.shards.bucket().and_then(|bucket| bucket.epoch_of(due.shard)) < Some(epoch) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let is_held = tokio::time::timeout(ADOPTION_WAIT, held).await.is_ok();
        Ok(if is_held { "adopted" } else { "pending" })
    }
}

fn row(due: &Due, state: &str) -> Value {
    let Due { stream, shard, owner, seen, loss } = due;
    let sum = |sum: &crate::segment::Sum| json!({"segments": sum.segments, "records": sum.records, "bytes": sum.bytes});
    json!({
        "stream": stream.name, "shard": shard, "owner": owner, "epoch": seen, "manifest": loss.manifest,
        "durability": if loss.is_none() { "bucket" } else { "disk" }, "kept": sum(&loss.kept), "lost": sum(&loss.lost),
        "unpublished": if loss.is_none() { "none" } else { "all, and nobody knows how many" },
        "named_until": loss.named_until, "state": state,
    })
}

/// Who has a shard and in which epoch; nothing where that is still the one that was seen.
fn later(policy: &Policy, shard: ShardId, seen: Epoch) -> Option<(NodeId, Epoch)> {
    let epoch = policy.epochs.get(&shard).copied().filter(|epoch| *epoch != seen)?;
    policy.owners().get(&shard).map(|owner| (*owner, epoch))
}

/// How often it is looked whether a shard was taken up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the snapshot of this node may take to show what the group has decided for somebody else.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use domicile_proto::ids::StreamId;
    use domicile_proto::metadata::StreamPolicy;

    use super::*;

    #[test]
    fn a_shard_that_went_to_another_node_meanwhile_is_told_from_one_that_nobody_gave() {
        let shard = ShardId(1);
        let region = |owner, epoch| {
            let mut policy = Policy::empty("tokyo".parse().unwrap());
            let view = StreamView {
                id: StreamId(1),
                tenant: OPERATORS,
                name: "app".parse().unwrap(),
                fields: Vec::new(),
                policy: StreamPolicy::default(),
                shard: Some((shard, owner)),
            };
            policy.streams.insert((view.tenant, view.name.clone()), Arc::new(view));
            policy.epochs.insert(shard, epoch);
            policy
        };
        let (us, them) = (NodeId(1), NodeId(2));
        assert_eq!(later(&region(us, Epoch(3)), shard, Epoch(3)), None, "nothing was decided");
        assert_eq!(later(&region(them, Epoch(4)), shard, Epoch(3)), Some((them, Epoch(4))));
        assert_eq!(later(&region(us, Epoch(5)), shard, Epoch(3)), Some((us, Epoch(5))), "it came back");
        assert_eq!(later(&region(them, Epoch(4)), ShardId(2), Epoch(3)), None, "nobody knows the shard");
    }
}
