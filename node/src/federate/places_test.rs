//! Places for questions, filled by tenants whose owner hangs: what others ask is answered beside them.

use std::pin::Pin;

use super::*;
use crate::limits::{CARRIED_QUESTIONS, FOREIGN_QUESTIONS_CARRIED, FOREIGN_QUESTIONS_CARRIED_OF_TENANT};

/// A policy with a stream of each of the first tenants, and who owns it.
fn policy_of(owners: &[NodeId]) -> Policy {
    let mut policy = policy();
    policy.streams.clear();
    for (number, owner) in (1..).zip(owners) {
        let (id, tenant) = (StreamId(number), TenantId(number));
        let shard = Some((ShardId(number.into()), *owner));
        let (fields, stream) = (Vec::new(), StreamPolicy::default());
        let view = StreamView { id, tenant, name: name("app"), fields, policy: stream, shard };
        policy.streams.insert((tenant, name("app")), Arc::new(view));
    }
    policy
}

fn of_tenant(number: u32, id: u128) -> Question {
    Question { tenant: TenantId(number), stream: StreamId(number), ..question(id) }
}

/// Has each of them go as far as it comes; it keeps its place there for as long as it is kept.
async fn held<F: Future>(asking: impl Iterator<Item = F>) -> Vec<Pin<Box<F>>> {
    let mut held: Vec<_> = asking.map(Box::pin).collect();
    for one in &mut held {
        assert!(one.as_mut().now_or_never().is_none(), "it hangs");
        // So that the next one has a whole turn of the runtime for itself.
        tokio::task::yield_now().await;
    }
    held
}

/// A way to owners of which none ever answers, and how many questions are on it.
fn hanging() -> (Carrier, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let carrier = Carrier::over(OTHER, move |_, _, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    });
    (carrier, asked)
}

#[tokio::test]
async fn what_is_owned_here_is_answered_while_the_owners_of_others_hang() {
    let dir = tempfile::tempdir().expect("a directory");
    let hanging_tenants = u32::try_from(FOREIGN_QUESTIONS_CARRIED / FOREIGN_QUESTIONS_CARRIED_OF_TENANT).expect("few");
    // One more hangs, and the last one's stream is of this node.
    let (more, ours) = (hanging_tenants + 1, hanging_tenants + 2);
    let owners: Vec<NodeId> = (1..=ours).map(|tenant| if tenant == ours { OTHER } else { OWNER }).collect();
    let (carrier, asked) = hanging();
    let (gate, judged) = gate(None);
    let here = answerer(watch(policy_of(&owners)), gate.beside(carrier), ledger(dir.path(), "ours"));
    let says = async |tenant, id| {
        let question = Question { deadline_ms: 60_000, ..of_tenant(tenant, id) };
        here.answer(&frankfurt(), &question).await.answer().outcome.clone()
    };
    let fill = |tenant| (0..FOREIGN_QUESTIONS_CARRIED_OF_TENANT).map(move |id| (tenant, id as u128));
    let of_one = held(fill(1).map(|(tenant, id)| says(tenant, id))).await;
    assert_eq!(asked.load(Ordering::SeqCst), CARRIED_QUESTIONS_OF_TENANT, "the rest waits for these");
    assert!(matches!(says(ours, 1_000).await, Outcome::Aggregate(_)));

    let of_others = held((2..more).flat_map(fill).map(|(tenant, id)| says(tenant, id))).await;
    assert_eq!(of_one.len() + of_others.len(), FOREIGN_QUESTIONS_CARRIED);
    assert_eq!(asked.load(Ordering::SeqCst), CARRIED_QUESTIONS);
    assert!(matches!(says(ours, 1_001).await, Outcome::Aggregate(_)));
    // Those of a tenant that has its share, and those beyond the places of the node, do not even wait.
    let free = async { drop((of_one, of_others)) };
    let (beyond_share, beyond_all, ()) = tokio::join!(says(1, 1_002), says(more, 1_003), free);
    // The next node may have a place.
    let unavailable = Outcome::Refused(RefusalCode::Unavailable);
    assert_eq!([beyond_share, beyond_all], [unavailable.clone(), unavailable]);
    assert_eq!(asked.load(Ordering::SeqCst), CARRIED_QUESTIONS);
    assert_eq!(judged.load(Ordering::SeqCst), 2);
}
