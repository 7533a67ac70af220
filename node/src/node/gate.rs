//! The gate of this region: stage 9 finds and folds, stage 10 decides and releases, stage 11 puts the question and carries
//! what was released. Home and abroad go through the same one.

use std::sync::Arc;
use std::time::Instant;

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::NodeId;
use domicile_proto::message::answer::RefusalCode;

use crate::aggregate::{self, Asked, Releases};
use crate::federate::{Answered, Gate, Gated, Put};
use crate::query::Budget;
use crate::segment::{Segment, Shards};

/// The gate over this region's segments, as far as this node holds them: of a stream that another node of the region writes,
/// nothing is here, and nothing must not be taken for an answer; nor a part while records cannot become searchable.
pub(super) fn over(
    releases: Releases,
    shards: Shards,
    detector: Arc<dyn LiteralDetector + Send + Sync>,
    us: NodeId,
) -> Gate {
    Gate::over(move |put: Put| {
        let (releases, shards, detector) = (releases.clone(), shards.clone(), Arc::clone(&detector));
        Box::pin(async move {
            // Cells are judged once for the region, by the node that has all records of the stream; nothing must not be taken
            // for an answer.
            let is_elsewhere = put.stream.shard.is_some_and(|(_, owner)| owner != us);
            // Records that were accepted and cannot be found would make every number too small.
            if is_elsewhere || shards.is_failed() {
                return Answered::refused(put.header, RefusalCode::Unavailable).into();
            }
            let budget = Budget::until(Instant::now() + put.deadline);
            // Whoever gives up ends the work: the token goes with this future.
            let _guard = budget.token.clone().drop_guard();
            let shard = put.stream.shard.map(|(shard, _)| shard);
            let segments: Vec<Arc<Segment>> =
                shard.map(|shard| shards.catalog().view(shard).iter().cloned().collect()).unwrap_or_default();
            let Put { policy, stream, question, header, .. } = put;
            let judged = releases.answer(Asked { question, stream, policy, detector, header, budget }, segments).await;
            if let Some(error) = judged.error {
                tracing::warn!(error = &error as &dyn std::error::Error, "a question could not be answered");
            }
            Gated { answered: carried(judged.answered), contributors: judged.contributors }
        })
    })
}

/// What was released, in the words of the stage that carries it.
fn carried(answered: aggregate::Answered) -> Answered {
    match answered {
        aggregate::Answered::Count(released) => Answered::Count(released),
        aggregate::Answered::DateGrid(released) => Answered::DateGrid(released),
        aggregate::Answered::Terms(released) => Answered::Terms(released),
        aggregate::Answered::TermGrid(released) => Answered::TermGrid(released),
        aggregate::Answered::Numbers(released) => Answered::Numbers(released),
        aggregate::Answered::Nothing(released) => Answered::Nothing(released),
    }
}
