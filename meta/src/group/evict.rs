//! Taking out members whose node was removed: a machine that is lost cannot leave by itself.
//!
//! Every node remembers which removals it saw, and whichever leads takes those members out. A member that never had a row
//! (the first ones, before their officers approved them) is left alone. The task is ended when the group stops.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::ids::NodeId;

use super::{Group, Inner};

/// Watches for ever.
pub(super) async fn run(group: Group) {
    let mut state = group.0.machine.watch();
    let mut changes = group.0.raft.metrics();
    let mut known = approved(&state.borrow_and_update());
    let mut removed: BTreeSet<NodeId> = BTreeSet::new();
    loop {
        let now = approved(&state.borrow_and_update());
        changes.mark_unchanged();
        removed.extend(known.difference(&now));
        // A removed node cannot join again without a row, so what is not in the group is done with.
        removed.retain(|node| !now.contains(node) && group.0.is_in_group(*node));
        known = now;
        let is_done = removed.is_empty() || !group.0.leads() || group.take_out(&removed).await;
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            _ = changes.changed(), if !removed.is_empty() => {}
            () = tokio::time::sleep(group.0.timing.heartbeat), if !is_done => {}
        }
    }
}

impl Group {
    /// Whether none of the removed nodes is a member any more.
    async fn take_out(&self, removed: &BTreeSet<NodeId>) -> bool {
        if removed.contains(&self.node()) {
            return self.step_down(self.0.timing.election_max.saturating_mul(2)).await.is_ok();
        }
        let mut is_done = true;
        for node in removed {
            let inner = Arc::clone(&self.0);
            let _one_at_a_time = inner.changing.lock().await;
            let is_out = matches!(inner.changed(inner.dismiss(*node)).await, Some(Ok(())));
            tracing::info!(%node, is_out, "a removed node leaves the metadata group");
            is_done &= is_out;
        }
        is_done
    }
}

impl Inner {
    fn is_in_group(&self, node: NodeId) -> bool {
        self.raft.metrics().borrow().membership_config.membership().get_node(&node.0).is_some()
    }
}

fn approved(state: &crate::state::State) -> BTreeSet<NodeId> {
    state.nodes().map(|row| row.node).collect()
}
