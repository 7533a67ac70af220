//! Places for questions, filled by tenants whose owner hangs: what others ask is answered beside them.

use std::pin::Pin;

use super::*;
use crate::limits::{
    CARRIED_QUESTIONS, FOREIGN_QUESTIONS_CARRIED, FOREIGN_QUESTIONS_CARRIED_OF_TENANT, JUDGED_QUESTIONS,
    JUDGED_QUESTIONS_OF_TENANT,
};

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

#[tokio::test]
async fn a_node_has_so_many_questions_on_their_way_and_further_ones_wait_for_them() {
    let tenants = u32::try_from(CARRIED_QUESTIONS / CARRIED_QUESTIONS_OF_TENANT).expect("few");
    let watch = watch(policy_of(&vec![OWNER; tenants as usize + 1]));
    let (carrier, asked) = hanging();
    let gate = unasked().beside(carrier);
    let put = |tenant, deadline| {
        let (policy, question) = (watch.now(), of_tenant(tenant, 1));
        let stream = Arc::clone(policy.stream(question.tenant, &name("app")).expect("known"));
        let header = AnswerHeader::new(question.id, question.range);
        Put { policy, stream, question, header, deadline, crosses: false }
    };
    let client =
        |tenant| AskedBy::Key(Asker { key: name("searches"), tenant: TenantId(tenant), rows: Rows::None }, false);
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(40));
    let fill = (1..=tenants).flat_map(|tenant| std::iter::repeat_n(tenant, CARRIED_QUESTIONS_OF_TENANT));
    let on_their_way = held(fill.map(|tenant| gate.ask(put(tenant, long), client(tenant)))).await;
    assert_eq!((on_their_way.len(), asked.load(Ordering::SeqCst)), (CARRIED_QUESTIONS, CARRIED_QUESTIONS));
    // A tenant that has none on its way.
    let more = tenants + 1;
    assert!(gate.ask(put(more, short), AskedBy::Region(region("frankfurt"))).await.is_err());
    let (said, _) = gate.ask(put(more, short), client(more)).await.expect("a word");
    assert_eq!(said.answer().outcome, Outcome::Refused(RefusalCode::Busy));
    assert_eq!(asked.load(Ordering::SeqCst), CARRIED_QUESTIONS);
    drop(on_their_way);
    let _free = held(std::iter::once(gate.ask(put(more, long), client(more)))).await;
    assert_eq!(asked.load(Ordering::SeqCst), CARRIED_QUESTIONS + 1);
}

#[tokio::test]
async fn an_owner_judges_so_many_questions_of_neighbours_at_once_and_so_many_of_one_tenant() {
    let dir = tempfile::tempdir().expect("a directory");
    let judged = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&judged);
    let endless = Gate::over(move |_| -> futures::future::BoxFuture<'static, Answered> {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    });
    let tenants = u32::try_from(JUDGED_QUESTIONS / JUDGED_QUESTIONS_OF_TENANT).expect("few");
    let owner = owner(policy_of(&vec![OWNER; tenants as usize + 1]), endless, ledger(dir.path(), "theirs"));
    let says = async |tenant, wait_ms| {
        let by = AskedBy::Region(region("frankfurt"));
        let asked = GatedQuestion { by, question: of_tenant(tenant, 1), policy: PolicyVersion::default(), wait_ms };
        owner.judged(asked).await.0.answer().outcome.clone()
    };
    let busy = Outcome::Refused(RefusalCode::Busy);
    let mut at_work = Vec::new();
    for tenant in 1..=tenants {
        at_work.extend(held((0..JUDGED_QUESTIONS_OF_TENANT).map(|_| says(tenant, 60_000))).await);
        assert_eq!(judged.load(Ordering::SeqCst), at_work.len());
        assert_eq!(says(tenant, 40).await, busy, "its share is used up");
    }
    assert_eq!(at_work.len(), JUDGED_QUESTIONS);
    let more = tenants + 1;
    assert_eq!(says(more, 40).await, busy, "the node's places are used up");
    assert_eq!(judged.load(Ordering::SeqCst), JUDGED_QUESTIONS);
    drop(at_work);
    let _free = held(std::iter::once(says(more, 60_000))).await;
    assert_eq!(judged.load(Ordering::SeqCst), JUDGED_QUESTIONS + 1);
}
