//! What must never be, whatever the network does, and what must be once it is healed. Simulated groups are looked at with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domicile_meta::group::Group;
use domicile_meta::state::State;
use domicile_proto::ids::{NodeId, TenantId};
use domicile_proto::metadata::Applied;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::cluster::{LONG, knows_tenant, name, tenant};

/// Patience of a proposal.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often nodes are compared before they differ for good: for longer than whoever asked one of them could have waited.
const LOOKS: usize = 10;

/// What was seen so far and must hold for ever.
#[derive(Default)]
pub(crate) struct Seen {
    /// Who led in a term.
    leaders: BTreeMap<u64, NodeId>,
    /// The highest term and the last applied index of each running node.
    pub(crate) progress: BTreeMap<usize, (u64, Option<u64>)>,
}

pub(crate) type Decided = Arc<Mutex<BTreeMap<String, TenantId>>>;

/// Asks a node for a tenant: whoever is answered hears the same id, for ever.
pub(crate) async fn ask(group: Group, text: String, decided: Decided, seed: u64) {
    if let Ok(Applied::Tenant(id)) = group.propose(tenant(&text), PATIENCE).await {
        let known = *decided.lock().entry(text.clone()).or_insert(id);
        assert_eq!(known, id, "seed {seed}: `{text}` got two ids");
        // What this node has answered, a reading that begins now must see.
        if let Ok(state) = group.linearizable(PATIENCE).await {
            assert_eq!(state.tenant(&name(&text)), Some(id), "seed {seed}: a stale reading of `{text}`");
        }
    }
}

/// One leader in a term; terms and applied entries never go back while a node runs.
pub(crate) fn look<'a>(running: impl Iterator<Item = (usize, &'a Group)>, seen: &mut Seen, seed: u64) {
    for (place, group) in running {
        // Of one moment: who leads a moment later may do so in another term.
        let now = group.metrics();
        if now.leader == Some(group.node()) {
            let first = *seen.leaders.entry(now.term).or_insert_with(|| group.node());
            assert_eq!(first, group.node(), "seed {seed}: two leaders in term {}", now.term);
        }
        let before = seen.progress.insert(place, (now.term, now.applied)).unwrap_or_default();
        assert!(before.0 <= now.term, "seed {seed}: the term of {place} went back");
        assert!(before.1 <= now.applied, "seed {seed}: {place} applied less than before");
        assert!(now.applied <= now.last_log, "seed {seed}: {place} applied what is not in its log");
    }
}

/// The state that all nodes came to. What nobody waits for any more may still be decided between two looks.
async fn same(groups: &[Group], seed: u64) -> Arc<State> {
    for _ in 0..LOOKS {
        let there = groups[0].linearizable(LONG).await.unwrap();
        let mut is_same = true;
        for group in groups {
            is_same &= *group.linearizable(LONG).await.unwrap() == *there;
        }
        if is_same {
            return there;
        }
        sleep(PATIENCE / 8).await;
    }
    let applied: Vec<_> = groups.iter().map(Group::metrics).collect();
    panic!("seed {seed}: they came to different things: {applied:?}");
}

/// Healed, the group decides, and every node comes to hold everything that was decided and the same as all others.
pub(crate) async fn converge(groups: &[Group], decided: &Decided, seed: u64) -> usize {
    let last = format!("s{seed}-last");
    loop {
        // Whoever leads now, an answer comes; a single proposal may meet the election.
        if let Ok(Applied::Tenant(id)) = groups[0].propose(tenant(&last), LONG).await {
            decided.lock().insert(last.clone(), id);
            break;
        }
    }
    for group in groups {
        knows_tenant(group, &last).await;
    }
    let decided = decided.lock().clone();
    let there = same(groups, seed).await;
    for (text, id) in &decided {
        assert_eq!(there.tenant(&name(text)), Some(*id), "seed {seed}: `{text}` was decided and is gone");
    }
    decided.len()
}
