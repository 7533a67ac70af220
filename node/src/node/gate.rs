//! The gate of this region: stage 9 finds and folds, stage 10 decides and releases, stage 11 puts the question and carries
//! what was released. Home and abroad go through the same one.

use std::sync::Arc;
use std::time::Instant;

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::NodeId;
use domicile_proto::message::answer::RefusalCode;

use crate::aggregate::{self, Asked};
use crate::federate::{Answered, Gate, Put};
use crate::query::{Budget, Engine};
use crate::segment::{Catalog, Segment};
use crate::tasks::Tasks;

/// The gate over this region's segments, as far as this node holds them: of a stream that another node of the region writes,
/// nothing is here, and nothing must not be taken for an answer.
pub(super) fn over(
    node: NodeId,
    engine: Engine,
    catalog: Catalog,
    detector: Arc<dyn LiteralDetector + Send + Sync>,
    tasks: Tasks,
) -> Gate {
    Gate::over(move |put: Put| {
        let (engine, catalog, detector, tasks) =
            (engine.clone(), catalog.clone(), Arc::clone(&detector), tasks.clone());
        Box::pin(async move {
            let header = put.header;
            if put.stream.shard.is_some_and(|(_, owner)| owner != node) {
                return Answered::refused(header, RefusalCode::Unavailable);
            }
            let budget = Budget::until(Instant::now() + put.deadline);
            // Whoever gives up ends the work: the token goes with this future.
            let _guard = budget.token.clone().drop_guard();
            let answering = tasks.blocking(move || {
                let shard = put.stream.shard.map(|(shard, _)| shard);
                let segments: Vec<Arc<Segment>> =
                    shard.map(|shard| catalog.view(shard).iter().cloned().collect()).unwrap_or_default();
                let asked = Asked {
                    question: &put.question,
                    stream: &put.stream,
                    policy: &put.policy,
                    detector: detector.as_ref(),
                    header: put.header,
                    budget,
                };
                let (answered, error) = aggregate::answer(&engine, segments, &asked);
                if let Some(error) = error {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a question could not be answered");
                }
                answered
            });
            match answering.await {
                Ok(answered) => carried(answered),
                Err(_) => Answered::refused(header, RefusalCode::Unavailable),
            }
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
        aggregate::Answered::Nothing(released) => Answered::Nothing(released),
    }
}
