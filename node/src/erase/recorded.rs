//! What the metadata group is told of an order: a salted commitment, and how far every node of the region is (RES-2).
//!
//! Follows behind the work and is never waited for: an order is shredded first. Every node of the region tells it; the group
//! keeps what is furthest.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::ids::ErasureId;
use domicile_proto::metadata::{Command, ErasureRow, ErasureState};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::workflow::Erasure;
use crate::limits::{ERASE_PROPOSALS, ERASE_TELL_EVERY};

impl Erasure {
    /// Tells the group until cancelled.
    pub(crate) async fn keep_recording(self: Arc<Self>, token: CancellationToken) {
        loop {
            let round = async {
                self.record_round().await;
                tokio::time::sleep(ERASE_TELL_EVERY).await;
            };
            if token.run_until_cancelled(round).await.is_none() {
                return;
            }
        }
    }

    /// Proposes once what the group does not have yet; the next round tries again what did not get through.
    pub(super) async fn record_round(&self) {
        let mut due = self.unrecorded();
        let propose = |row| self.parts.propose.decide(Command::RecordErasure(row));
        // One goes ahead: where nobody decides, the others need not ask.
        let Some(first) = due.pop() else { return };
        if propose(first).await.is_err() {
            tracing::debug!("the metadata group has not every erasure of this region yet");
            return;
        }
        let rest = futures::stream::iter(due.into_iter().map(propose)).buffer_unordered(ERASE_PROPOSALS);
        rest.for_each(|_| async {}).await;
    }

    /// What the group lacks. An order that is gone everywhere and that it does not know any more, it has forgotten.
    pub(super) fn unrecorded(&self) -> Vec<ErasureRow> {
        let known: BTreeMap<ErasureId, ErasureState> =
            (self.parts.group.rows)().into_iter().map(|row| (row.id, row.state)).collect();
        let (records, others) = (self.records.read(), self.others());
        let unfinished = known.iter().filter(|(_, state)| **state < ErasureState::Gone).map(|(id, _)| id.to_string());
        let mut ids: Vec<Box<str>> = unfinished.map(Into::into).chain(records.open.iter().cloned()).collect();
        ids.sort_unstable();
        ids.dedup();
        let rows = ids.into_iter().filter_map(|id| {
            let (tracked, number) = (records.orders.get(&id)?, id.parse::<ErasureId>().ok()?);
            let state = match tracked.everywhere(&others) {
                // What is gone is only told so with its receipt.
                Progress::Gone if tracked.region.is_some() => ErasureState::Gone,
                Progress::Gone | Progress::Shredded => ErasureState::Shredded,
                Progress::Ordered => ErasureState::Ordered,
            };
            if known.get(&number).is_some_and(|known| *known >= state) {
                return None;
            }
            let (tenant, commitment) = (tracked.order.tenant, tracked.order.commitment());
            let proof = self.proof(number, tenant, &commitment);
            let region = self.parts.region.clone();
            Some(ErasureRow { region, id: number, tenant, commitment, proof, at: tracked.order.at, state })
        });
        rows.collect()
    }
}
