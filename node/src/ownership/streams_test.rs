//! Streams that begin with their first record, and those that do not.

use std::sync::atomic::{AtomicUsize, Ordering};

use domicile_proto::ids::ShardId;
use domicile_proto::metadata::{CommandRefusal, StreamPolicy};

use super::*;
use crate::ownership::NotProposed;
use crate::policy::Policy;

const TENANT: TenantId = TenantId(1);
const US: NodeId = NodeId(1);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn with_stream(policy: &Policy, stream: &str, owner: Option<NodeId>) -> Policy {
    let mut policy = policy.clone();
    let view = StreamView {
        id: StreamId(1),
        tenant: TENANT,
        name: name(stream),
        fields: Vec::new(),
        policy: StreamPolicy::default(),
        shard: owner.map(|owner| (ShardId(1), owner)),
    };
    policy.streams.insert((TENANT, name(stream)), Arc::new(view));
    policy
}

fn empty() -> PolicyWatch {
    PolicyWatch::new(Policy::empty("tokyo".parse().expect("a name")))
}

/// A group of one that decides at once and shows it in the snapshot.
fn group(policy: &PolicyWatch, proposals: &Arc<AtomicUsize>) -> Propose {
    let (policy, proposals) = (policy.clone(), Arc::clone(proposals));
    Propose::over(move |command| {
        let (policy, proposals) = (policy.clone(), Arc::clone(&proposals));
        Box::pin(async move {
            proposals.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(match command {
                Command::CreateStream { stream, .. } => {
                    let next = with_stream(&policy.now(), stream.as_str(), None);
                    policy.replace(next);
                    Applied::Stream(StreamId(1))
                }
                Command::AssignShard { owner, seen, .. } => {
                    let next = with_stream(&policy.now(), "app", Some(owner));
                    policy.replace(next);
                    Applied::Shard(ShardId(1), Epoch(seen.0 + 1))
                }
                _ => Applied::Refused(CommandRefusal::Taken),
            })
        })
    })
}

fn out_of_reach() -> Propose {
    Propose::over(|_| Box::pin(async { Err(NotProposed) }))
}

struct Suspicious;

impl LiteralDetector for Suspicious {
    fn finds_personal_data(&self, literal: &str) -> bool {
        literal.contains("4111111111111111")
    }
}

fn suspicious() -> Arc<dyn LiteralDetector + Send + Sync> {
    Arc::new(Suspicious)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn many_first_records_make_one_stream() {
    let policy = empty();
    let proposals = Arc::new(AtomicUsize::new(0));
    let ownership = Ownership::new(US, None, policy.clone(), group(&policy, &proposals), suspicious(), SECOND);
    let app = name("app");
    let all = futures::future::join_all((0..50).map(|_| ownership.stream(TENANT, &app, true))).await;
    for view in all {
        assert_eq!(view.expect("created").shard, Some((ShardId(1), US)));
    }
    assert_eq!(proposals.load(Ordering::SeqCst), 2, "one for the stream, one for its shard");
}

#[tokio::test]
async fn a_known_stream_is_taken_with_the_group_out_of_reach() {
    let policy = empty();
    policy.replace(with_stream(&policy.now(), "app", Some(US)));
    let ownership = Ownership::new(US, None, policy, out_of_reach(), suspicious(), SECOND);
    assert!(ownership.stream(TENANT, &name("app"), false).await.is_ok());
    let error = ownership.stream(TENANT, &name("new"), true).await.expect_err("no group");
    assert_eq!(error, OwnershipError::OutOfReach { stream: name("new") });
}

#[tokio::test]
async fn a_silent_group_is_given_up_at_the_deadline() {
    let silent = Propose::over(|_| Box::pin(std::future::pending()));
    let ownership = Ownership::new(US, None, empty(), silent, suspicious(), Duration::from_millis(20));
    let error = ownership.stream(TENANT, &name("new"), true).await.expect_err("no group");
    assert_eq!(error, OwnershipError::OutOfReach { stream: name("new") });
}

#[tokio::test]
async fn a_key_without_create_makes_no_stream() {
    let policy = empty();
    let proposals = Arc::new(AtomicUsize::new(0));
    let ownership = Ownership::new(US, None, policy.clone(), group(&policy, &proposals), suspicious(), SECOND);
    let error = ownership.stream(TENANT, &name("app"), false).await.expect_err("not allowed");
    assert_eq!(error, OwnershipError::MayNotCreate { stream: name("app") });
    assert_eq!(proposals.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_stream_known_elsewhere_gets_its_shard_here_without_create() {
    let policy = empty();
    policy.replace(with_stream(&policy.now(), "app", None));
    let proposals = Arc::new(AtomicUsize::new(0));
    let ownership = Ownership::new(US, None, policy.clone(), group(&policy, &proposals), suspicious(), SECOND);
    assert!(ownership.stream(TENANT, &name("app"), false).await.is_ok());
    assert_eq!(proposals.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_owner_is_named_and_not_pushed_aside() {
    let policy = empty();
    policy.replace(with_stream(&policy.now(), "app", Some(NodeId(2))));
    let ownership = Ownership::new(US, None, policy, out_of_reach(), suspicious(), SECOND);
    let error = ownership.stream(TENANT, &name("app"), true).await.expect_err("not ours");
    assert_eq!(error, OwnershipError::OwnedElsewhere { stream: name("app"), owner: NodeId(2) });
}

#[tokio::test]
async fn a_name_that_looks_personal_becomes_no_stream_and_is_not_repeated() {
    let policy = empty();
    let proposals = Arc::new(AtomicUsize::new(0));
    let ownership = Ownership::new(US, None, policy.clone(), group(&policy, &proposals), suspicious(), SECOND);
    let error = ownership.stream(TENANT, &name("user-4111111111111111"), true).await.expect_err("personal");
    assert_eq!(error, OwnershipError::Personal);
    assert!(!error.to_string().contains("4111"));
    assert_eq!(proposals.load(Ordering::SeqCst), 0, "nothing went to the group");
}

#[tokio::test]
async fn a_tenant_makes_so_many_streams_in_a_while_and_another_pays_nothing_for_it() {
    let policy = empty();
    let refusing = Propose::over(|_| Box::pin(async { Ok(Applied::Refused(CommandRefusal::TooMany)) }));
    let ownership = Ownership::new(US, None, policy, refusing, suspicious(), SECOND);
    let most = usize::try_from(NEW_STREAMS_AT_ONCE.get()).expect("small");
    let mut held_back = 0;
    for n in 0..most + 20 {
        match ownership.stream(TENANT, &name(&format!("s{n}")), true).await.expect_err("refused") {
            OwnershipError::Refused { .. } => {}
            OwnershipError::TooFast { retry_after } => {
                assert!(n >= most && retry_after >= 1);
                held_back += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(held_back > 0, "nobody was held back");
    let other = ownership.stream(TenantId(2), &name("first"), true).await.expect_err("refused");
    assert!(matches!(other, OwnershipError::Refused { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_decided_of_a_stream_that_goes_is_asked_once_more_and_then_it_is_known() {
    type Said = fn() -> Result<Applied, NotProposed>;
    let answers: [(Said, Option<Epoch>, bool); 4] = [
        // The first word was lost: this one gives it away.
        (|| Ok(Applied::Shard(ShardId(1), Epoch(4))), Some(Epoch(4)), true),
        // The first one did, and the policy will say so.
        (|| Ok(Applied::Refused(CommandRefusal::StaleEpoch)), None, true),
        // It may not go there, and is answered for at once.
        (|| Ok(Applied::Refused(CommandRefusal::UnknownNode)), None, false),
        (|| Err(NotProposed), None, true),
    ];
    for (second, epoch, is_silent) in answers {
        let policy = empty();
        let mut known = with_stream(&policy.now(), "app", Some(US));
        known.epochs.insert(ShardId(1), Epoch(3));
        policy.replace(known);
        let asked: Arc<Mutex<Vec<Command>>> = Arc::default();
        let heard = Arc::clone(&asked);
        let propose = Propose::over(move |command| {
            heard.lock().push(command);
            let answer = if heard.lock().len() == 1 { Err(NotProposed) } else { second() };
            Box::pin(async { answer })
        });
        let key = RegionKey::from_text(&RegionKey::generate().expect("random")).expect("just made");
        let ownership = Ownership::new(US, Some(key), policy.clone(), propose, suspicious(), SECOND);
        assert_eq!(ownership.give(StreamId(1), NodeId(2), Epoch(3)).await, epoch);
        let asked = asked.lock();
        assert!(asked.len() == 2 && asked[0] == asked[1], "the same word, which counts once");
        assert_eq!(ownership.giving().is_under_way(ShardId(1), &policy.now()), is_silent);
    }
}
