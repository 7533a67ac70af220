//! Standing for election in place of a candidate whose log is shorter.
//!
//! A voter that knows of more refuses such a candidate, and rightly. Left to the consensus library (openraft 0.9) it then waits until its
//! own time has come, which is an election and a half longer where it was itself refused so once before, however long ago. Nobody else can
//! win meanwhile, so it stands at once. An election is always safe; this only says when.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use domicile_proto::message::metadata::{LogPlace, Vote};
use openraft::raft::VoteResponse;
use tokio::time::timeout;

use super::Inner;
use crate::convert;
use crate::raft;

/// Most terms that a candidate may be ahead: each costs a flush to pass. One that is further ahead is passed by the library in its time.
const MOST_TERMS: usize = 8;

impl Inner {
    /// To be called with what was answered to a candidate.
    pub(super) fn stand_instead_of(self: &Arc<Self>, vote: &Vote, last: Option<&LogPlace>, answer: &VoteResponse<u64>) {
        let is_shorter = last.map(convert::log_id) < answer.last_log_id;
        let is_without_leader = self.since_contact().is_some_and(|since| since > self.timing.lease);
        if answer.vote_granted || !is_shorter || !is_without_leader || self.is_handing_over.load(Ordering::Acquire) {
            return;
        }
        let (inner, candidate) = (Arc::clone(self), convert::vote(vote));
        let own = self.raft.metrics().borrow().vote;
        let has_voted_for = own.leader_id().voted_for();
        let of_these = [Some(self.config.node.0), Some(vote.node.0)];
        if !own.is_committed() && !of_these.contains(&has_voted_for) {
            // Whom this node has just voted for may lead already.
            return;
        }
        self.tasks.spawn(async move {
            tokio::select! {
                () = inner.stop.cancelled() => {}
                () = inner.pass(candidate) => {}
            }
        });
    }

    /// Stands for election in a term that passes the candidate's: of two votes in one term that of the higher node stands.
    async fn pass(&self, candidate: raft::Vote) {
        let mut changes = self.raft.metrics();
        for _ in 0..MOST_TERMS {
            let own = changes.borrow_and_update().vote;
            if own > candidate || self.raft.trigger().elect().await.is_err() {
                return;
            }
            let stands = changes.wait_for(|now| now.vote > own);
            if !timeout(self.timing.heartbeat, stands).await.is_ok_and(|stands| stands.is_ok()) {
                return;
            }
        }
    }
}
