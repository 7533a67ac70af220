//! Planned hand-overs: who meets a stream on its way from one node of the region to another tries again, for a bounded time.
//!
//! A node that gives a stream away says nothing of it from before the metadata group is asked until it knows what was decided: the other
//! one may have taken it up by then, and accepted records that are not here. Decides not which streams go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{Epoch, ShardId};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::{HANDOVER_WAIT, HELD_LONGEST, HELD_SHORTEST};
use crate::policy::{Policy, PolicyWatch};

/// What another try may change about something that was refused or not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Nothing.
    #[default]
    No,
    /// Its stream is on its way from one node to another: in a moment it may be taken or answered.
    Moving,
    /// It may be taken or answered where the stream lies with another node by now.
    Elsewhere,
}

/// How long something is tried again.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Instant,
    pause: Duration,
    longest: Duration,
}

impl Patience {
    /// Until this moment. What is tried again is sent or asked again: rarely, where it takes long.
    pub(crate) const fn until(until: Instant) -> Self {
        Self { until, pause: HELD_SHORTEST, longest: HELD_LONGEST }
    }

    /// The same for what costs nothing: it is looked at often.
    pub(crate) const fn looking_until(until: Instant) -> Self {
        Self { until, pause: HELD_SHORTEST, longest: HELD_SHORTEST }
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits for the next try: a pause that becomes longer, and is over where the policy changes. `false` where the time is up, or the
    /// node stops: it is answered for by others then.
    pub(crate) async fn next(&mut self, policy: &PolicyWatch) -> bool {
        if self.is_over() {
            return false;
        }
        let stopping = policy.stopping().clone();
        stopping.run_until_cancelled(self.pause(policy)).await.is_some()
    }

    async fn pause(&mut self, policy: &PolicyWatch) {
        let mut changes = policy.changes();
        let until = self.until.min(Instant::now() + self.pause);
        // However often the policy changes, not more often than this.
        tokio::time::sleep_until(until.min(Instant::now() + HELD_SHORTEST)).await;
        drop(tokio::time::timeout_at(until, changes.changed()).await);
        self.pause = (self.pause * 2).min(self.longest);
    }
}

/// Shards that this node gives away and of which it does not know yet what came of it. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Giving(Arc<Mutex<BTreeMap<ShardId, (Epoch, Instant)>>>);

impl Giving {
    /// A shard is given away after an epoch.
    pub(crate) fn begin(&self, shard: ShardId, seen: Epoch) {
        let now = Instant::now();
        let mut giving = self.0.lock();
        giving.retain(|_, (_, until)| *until > now);
        giving.insert(shard, (seen, now + HANDOVER_WAIT));
    }

    /// It was not.
    pub(super) fn refused(&self, shard: ShardId) {
        self.0.lock().remove(&shard);
    }

    /// Whether a shard may be another node's by now, and the policy does not say so yet. Where nothing is heard of it, this node goes on as
    /// before after a while: the group may be out of reach.
    pub(crate) fn is_under_way(&self, shard: ShardId, policy: &Policy) -> bool {
        let Some((seen, until)) = self.0.lock().get(&shard).copied() else { return false };
        policy.epochs.get(&shard).is_none_or(|epoch| *epoch <= seen) && Instant::now() < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(epoch: u64) -> Policy {
        let mut policy = Policy::empty("tokyo".parse().unwrap());
        policy.epochs.insert(ShardId(7), Epoch(epoch));
        policy
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_is_given_away_is_under_way_until_the_policy_says_so_or_nothing_is_heard_for_long() {
        let giving = Giving::default();
        assert!(!giving.is_under_way(ShardId(7), &policy(3)));
        giving.begin(ShardId(7), Epoch(3));
        assert!(giving.is_under_way(ShardId(7), &policy(3)) && !giving.is_under_way(ShardId(8), &policy(3)));
        assert!(giving.is_under_way(ShardId(7), &policy(2)), "whoever looks at an older policy");
        assert!(!giving.is_under_way(ShardId(7), &policy(4)), "the group gave it to another node");
        tokio::time::advance(HANDOVER_WAIT).await;
        assert!(!giving.is_under_way(ShardId(7), &policy(3)), "nobody knows, and it is answered for again");
        giving.begin(ShardId(7), Epoch(3));
        giving.refused(ShardId(7));
        assert!(!giving.is_under_way(ShardId(7), &policy(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_again_more_and_more_rarely_at_once_where_the_policy_changes_and_not_for_ever_nor_in_a_stop() {
        let watch = PolicyWatch::new(policy(1));
        let begun = Instant::now();
        let mut patience = Patience::until(begun + HANDOVER_WAIT);
        let mut tries = 0;
        while patience.next(&watch).await {
            tries += 1;
        }
        assert_eq!(begun.elapsed(), HANDOVER_WAIT);
        let most = HANDOVER_WAIT.div_duration_f64(HELD_LONGEST);
        assert!(f64::from(tries) > most && f64::from(tries) < most + 8.0, "{tries}");

        let begun = Instant::now();
        let mut patience = Patience::until(begun + HANDOVER_WAIT);
        while begun.elapsed() < 4 * HELD_LONGEST {
            assert!(patience.next(&watch).await);
        }
        let changes = async {
            tokio::time::sleep(HELD_SHORTEST * 2).await;
            watch.replace(policy(2));
        };
        let begun = Instant::now();
        let (is_tried, ()) = tokio::join!(patience.next(&watch), changes);
        assert!(is_tried && begun.elapsed() == HELD_SHORTEST * 2, "{:?}", begun.elapsed());

        let stops = async {
            tokio::time::sleep(HELD_SHORTEST / 2).await;
            watch.stop();
        };
        let begun = Instant::now();
        let (is_tried, ()) = tokio::join!(patience.next(&watch), stops);
        assert!(!is_tried && begun.elapsed() < HELD_SHORTEST, "the node stops: {:?}", begun.elapsed());
        assert!(!patience.next(&watch).await && begun.elapsed() < HELD_SHORTEST, "nor does anybody begin to wait");
    }
}
