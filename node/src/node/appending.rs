//! The last step of the left half: a batch into the log, and before it, in how many of its records something personal was found.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::ids::ShardId;
use domicile_proto::metadata::Durability;

use super::ingest::Line;
use super::unaccepted::of_wal;
use crate::classify::Classified;
use crate::keys::Day;
use crate::policy::StreamView;
use crate::receive::Failure;
use crate::wal::{Accepted, Batch, Op, Outcome, ProducerBatch, WalError};

impl Line {
    /// What nobody knows of a record that was taken would be told of nobody: a hit is kept first.
    pub(super) async fn append(
        &self,
        stream: Arc<StreamView>,
        producer: Option<ProducerBatch>,
        records: Vec<(Op, Classified)>,
    ) -> Result<Accepted, Failure> {
        let hit = || records.iter().map(|(_, one)| one).filter(|one| one.is_found());
        let (found, days) = (hit().count() as u64, hit().map(|one| Day::of(one.timestamp())).collect::<BTreeSet<_>>());
        if found > 0
            && let Some(shard) = self.not_held(&stream)
        {
            // It is tried again soon, and its hits are counted once.
            return Err(of_wal(&WalError::NotHeld { shard }));
        }
        self.statements.found(&stream, found, days).await.map_err(|error| Failure::of(&error))?;
        let batch = Batch { stream: Arc::clone(&stream), producer, records };
        let accepted = self.wal.append(batch).await.map_err(|error| of_wal(&error))?;
        self.statements.took(&stream, created(&accepted));
        Ok(accepted)
    }

    /// The shard of a stream whose log lies in the bucket, where that log does not take it yet.
    fn not_held(&self, stream: &StreamView) -> Option<ShardId> {
        let (shard, _) = stream.shard.filter(|_| stream.policy.durability == Durability::Bucket)?;
        self.wal.bucket().is_some_and(|bucket| bucket.epoch_of(shard).is_none()).then_some(shard)
    }
}

/// Records that are new: what was taken before makes no stream cleaner.
fn created(accepted: &Accepted) -> u64 {
    let new = accepted.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Created { .. }));
    if accepted.repeated { 0 } else { new.count() as u64 }
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::Epoch;

    use super::*;

    #[test]
    fn what_was_taken_before_is_not_counted_again() {
        let outcomes = vec![Outcome::Created { seq: 1 }, Outcome::Noop { seq: 1 }, Outcome::Created { seq: 2 }];
        let first = Accepted { shard: ShardId(7), epoch: Epoch(1), outcomes, repeated: false };
        assert_eq!(created(&first), 2);
        assert_eq!(created(&Accepted { repeated: true, ..first }), 0);
    }
}
