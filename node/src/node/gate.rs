//! The gate of this region: stage 9 finds and folds, stage 10 decides and releases, stage 11 puts the question and carries
//! what was released. Home and abroad go through the same one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::NodeId;
use domicile_proto::message::answer::RefusalCode;
use domicile_proto::metadata::Personal;

use crate::aggregate::{Answered, Asked, Releases};
use crate::classify::{Statements, Upheld};
use crate::federate::{Gate, Gated, Put};
use crate::limits::{ABROAD_PERCENT, HANDOVER_WAIT};
use crate::ownership::{Giving, Patience};
use crate::policy::{Awareness, Policy, PolicyWatch, StreamView};
use crate::query::Budget;
use crate::segment::{Catalog, Segment};

/// The gate over this region's segments, as far as this node holds them: of a stream that another node of the region writes,
/// nothing is here, and nothing must not be taken for an answer; nor must less than was accepted, where a shard is not whole, nor
/// what was erased elsewhere in the region. A stream that comes to this node or goes from it is waited for.
pub(super) fn over(
    (releases, statements): (Releases, Statements),
    detector: Arc<dyn LiteralDetector + Send + Sync>,
    sees: Sees,
    awareness: Awareness,
) -> Gate {
    let counted = statements.clone();
    Gate::upholding(statements, move |put: Put, stream: Upheld| {
        let (releases, sees, detector) = (releases.clone(), sees.clone(), Arc::clone(&detector));
        let (awareness, counted) = (awareness.clone(), counted.clone());
        Box::pin(async move {
            let of = Arc::clone(&put.stream);
            let (deadline, until) = (Instant::now() + put.deadline, Instant::now() + waits(&put));
            let (around, catalog) = (sees.clone(), sees.catalog.clone());
            // Nor is a day judged of which records lie in the archive: its cells are told once, and would be told short.
            let (shard, archive, range) = (put.stream.shard, catalog.clone(), put.question.range);
            let lacks = move |shown: &[Arc<Segment>]| {
                shard.is_some_and(|(shard, _)| archive.unsearched(shard, range, shown).is_some())
            };
            // Cells are judged once for the region, by the node that has all records of the stream.
            let view = move || -> Option<Vec<Arc<Segment>>> {
                // Asked before, for what comes, and behind, for what goes: what leaves from then on is in this view still.
                let may_judge = || sees.has_all(&of) && awareness.unknown_of(of.tenant).is_none();
                let had_all = may_judge();
                let shown = of.shard.map(|(shard, _)| catalog.view(shard).iter().cloned().collect());
                (had_all && may_judge()).then(|| shown.unwrap_or_default())
            };
            let mut seen = view();
            while seen.is_none() && around.is_on_its_way(&put.stream) && Instant::now() < until {
                around.arrived(&put.stream, until.saturating_duration_since(Instant::now())).await;
                seen = view();
            }
            let Some(segments) = seen else {
                return Answered::refused(put.header, RefusalCode::Unavailable).into();
            };
            // Upheld before these records were here: a hit may have come with them. Whoever asks again is answered by what holds now.
            if stream.policy.personal == Personal::No
                && counted.upheld(Arc::clone(stream.view()), range).await.stated().is_some()
            {
                return Answered::refused(put.header, RefusalCode::Unavailable).into();
            }
            if lacks(&segments) {
                return Answered::refused(put.header, RefusalCode::Archived).into();
            }
            let budget = Budget::until(deadline);
            // Whoever gives up ends the work: the token goes with this future.
            let _guard = budget.token.clone().drop_guard();
            let Put { policy, question, header, .. } = put;
            let asked = Asked { question, stream, policy, detector, header, budget };
            let judged = releases.answer(asked.clone(), segments).await;
            releases.go_ahead(&asked, Box::new(move || view().filter(|segments| !lacks(segments))));
            if let Some(error) = judged.error {
                tracing::warn!(error = &error as &dyn std::error::Error, "a question could not be answered");
            }
            Gated { answered: judged.answered, contributors: judged.contributors, drawn: judged.drawn }
        })
    })
}

/// What this node knows of the shards that it answers for.
#[derive(Clone)]
pub(super) struct Sees {
    pub(super) us: NodeId,
    pub(super) catalog: Catalog,
    pub(super) policy: PolicyWatch,
    pub(super) giving: Giving,
}

impl Sees {
    /// By what holds now: a question may be older than the word that its stream goes to another node.
    fn has_all(&self, stream: &StreamView) -> bool {
        let policy = self.policy.now();
        let is_going = stream.shard.is_some_and(|(shard, _)| self.giving.is_under_way(shard, &policy));
        !is_going && has_all(stream, self.us, &self.catalog, &policy)
    }

    /// Waits while a stream of this node comes to it, or goes from it, at most so long.
    async fn arrived(&self, stream: &StreamView, within: Duration) {
        let mut patience = Patience::looking_until(tokio::time::Instant::now() + within);
        while self.is_on_its_way(stream) && patience.next(&self.policy).await {}
    }

    fn is_on_its_way(&self, stream: &StreamView) -> bool {
        let policy = self.policy.now();
        let lies = policy.stream(stream.tenant, &stream.name).and_then(|view| view.shard);
        lies.is_some_and(|(shard, owner)| {
            let is_going = self.giving.is_under_way(shard, &policy);
            // Where taking it up has failed, nobody knows how long that lasts.
            let is_coming = !self.catalog.is_taken_up(shard, &policy) && self.catalog.is_whole(shard);
            owner == self.us && (is_going || is_coming)
        })
    }
}

/// How long a question waits for its stream, so that there is time left to answer it.
fn waits(put: &Put) -> Duration {
    let share = if put.crosses { put.deadline * ABROAD_PERCENT / 100 } else { put.deadline / 2 };
    share.min(HANDOVER_WAIT)
}

/// Whether every accepted record of a stream can be searched on this node, but for what is younger than a refresh.
fn has_all(stream: &StreamView, node: NodeId, catalog: &Catalog, policy: &Policy) -> bool {
    match stream.shard {
        Some((shard, owner)) => owner == node && catalog.is_whole(shard) && catalog.is_taken_up(shard, policy),
        None => catalog.unclaimed(policy).is_none(),
    }
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{Epoch, QuestionId, ShardId, StreamId, TenantId, TimeRange, Timestamp};
    use domicile_proto::message::answer::{AnswerHeader, Outcome};
    use domicile_proto::message::question::{Ask, Question};
    use domicile_proto::metadata::StreamPolicy;

    use super::*;
    use crate::index::builder::Layout;
    use crate::segment::specimen::{durable, record, segment};

    struct Nobody;

    impl LiteralDetector for Nobody {
        fn finds_personal_data(&self, _: &str) -> bool {
            false
        }
    }

    #[test]
    fn a_node_answers_for_what_it_owns_as_long_as_all_of_it_can_be_searched() {
        let (us, other, catalog) = (NodeId(1), NodeId(2), Catalog::default());
        let stream = |shard| StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: "app".parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy::default(),
            shard,
        };
        let empty = Policy::empty("tokyo".parse().unwrap());
        let answers = |stream: &StreamView, node| has_all(stream, node, &catalog, &empty);
        let ours = stream(Some((ShardId(7), us)));
        assert!(answers(&ours, us) && answers(&stream(None), us));
        assert!(!answers(&ours, other));
        let mut handed = Policy::empty("tokyo".parse().unwrap());
        handed.epochs.insert(ShardId(7), Epoch(3));
        let sees =
            Sees { us, catalog: catalog.clone(), policy: PolicyWatch::new(handed.clone()), giving: Giving::default() };
        for (taken, is_ours_whole) in [(None, false), (Some(2), false), (Some(3), true)] {
            taken.into_iter().for_each(|epoch| catalog.set_taken_up(ShardId(7), Epoch(epoch)));
            let found = has_all(&ours, us, &catalog, &handed);
            assert_eq!(found, is_ours_whole, "the group gave it to this node, which took it up in {taken:?}");
            assert_eq!(sees.has_all(&ours), is_ours_whole);
        }
        // A question that came before the word that its stream is another node's is not answered with what is left of it.
        handed.epochs.insert(ShardId(7), Epoch(4));
        sees.policy.replace(handed.clone());
        assert!(!sees.has_all(&ours));
        handed.epochs.insert(ShardId(7), Epoch(3));
        sees.policy.replace(handed);
        assert!(sees.has_all(&ours));
        catalog.set_whole(ShardId(7), false);
        assert!(!answers(&ours, us));
        assert!(answers(&stream(Some((ShardId(8), us))), us));
        catalog.set_whole(ShardId(7), true);
        assert!(answers(&ours, us));
    }

    #[tokio::test]
    async fn of_a_day_with_a_record_in_the_archive_nothing_is_told_and_of_any_other_it_is() {
        let (us, day) = (NodeId(1), 86_400 * Timestamp::MICROS);
        let stream = Arc::new(StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: "app".parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy::default(),
            shard: Some((ShardId(7), us)),
        });
        let records = durable(7, 1, vec![record(day + 5, None, serde_json::json!({"message": "m"}))]);
        let lies = segment(&Layout::new(), records);
        let catalog = Catalog::of([Arc::clone(&lies)]);
        let releases = Releases::new(
            crate::query::Engine::new().unwrap(),
            crate::store::Store::in_memory(),
            crate::clock::Clock::standing_at(Timestamp(30 * day)),
            crate::tasks::Tasks::default(),
        );
        let empty = Policy::empty("tokyo".parse().unwrap());
        let watch = PolicyWatch::new(empty.clone());
        let (store, clock) = (crate::store::Store::in_memory(), crate::clock::Clock::standing_at(Timestamp(30 * day)));
        let statements = Statements::new(store, watch.clone(), clock, crate::tasks::Tasks::default()).unwrap();
        let sees = Sees { us, catalog: catalog.clone(), policy: watch, giving: Giving::default() };
        let gate = over((releases, statements), Arc::new(Nobody), sees, Awareness::default());
        let policy = Arc::new(empty);
        let asked = async |from: i64, to: i64| {
            let range = TimeRange { from: Timestamp(from), to: Timestamp(to) };
            let question = Question {
                id: QuestionId(1),
                tenant: TenantId(1),
                stream: StreamId(1),
                range,
                filters: Vec::new(),
                ask: Ask::Count,
                deadline_ms: 5_000,
            };
            let header = AnswerHeader::new(question.id, range);
            let (policy, stream) = (Arc::clone(&policy), Arc::clone(&stream));
            let deadline = Duration::from_secs(5);
            let answered = gate.answer(Put { policy, stream, question, header, deadline, crosses: false }).await;
            answered.answer().outcome == Outcome::Refused(RefusalCode::Archived)
        };
        assert!(!asked(0, 3 * day).await, "all of it is searched");
        catalog.put_away(&lies);
        assert!(asked(0, 3 * day).await);
        assert!(asked(2 * day - 60 * Timestamp::MICROS, 2 * day).await, "the same day, at an hour without records");
        assert!(!asked(2 * day, 3 * day).await && !asked(0, day).await, "other days are told");
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_falls_while_its_stream_comes_to_this_node_is_not_answered_by() {
        let (us, shard, day) = (NodeId(1), ShardId(7), 86_400 * Timestamp::MICROS);
        let stream = Arc::new(StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: "app".parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy { personal: Personal::No, ..StreamPolicy::default() },
            shard: Some((shard, us)),
        });
        let mut policy = Policy::empty("tokyo".parse().unwrap());
        policy.epochs.insert(shard, Epoch(2));
        policy.streams.insert((TenantId(1), stream.name.clone()), Arc::clone(&stream));
        for is_hit in [true, false] {
            let (watch, catalog, store) =
                (PolicyWatch::new(policy.clone()), Catalog::default(), crate::store::Store::in_memory());
            let (clock, tasks) =
                (crate::clock::Clock::standing_at(Timestamp(30 * day)), crate::tasks::Tasks::default());
            let of = || Statements::new(store.clone(), watch.clone(), clock.clone(), tasks.clone()).unwrap();
            let (dir, taking) = (tempfile::tempdir().unwrap(), catalog.clone());
            let takes = Arc::new(move |shard, policy: &Policy| taking.is_taken_up(shard, policy));
            let (before, ours) = (of(), of().noting_in(dir.path().to_owned(), takes).unwrap());
            let engine = crate::query::Engine::new().unwrap();
            let releases = Releases::new(engine, store.clone(), clock.clone(), tasks.clone());
            let sees = Sees { us, catalog: catalog.clone(), policy: watch.clone(), giving: Giving::default() };
            let gate = over((releases, ours), Arc::new(Nobody), sees, Awareness::default());
            let range = TimeRange { from: Timestamp(0), to: Timestamp(day) };
            let (id, filters) = (QuestionId(1), Vec::new());
            let question = Question {
                id,
                tenant: TenantId(1),
                stream: StreamId(1),
                range,
                filters,
                ask: Ask::Count,
                deadline_ms: 5_000,
            };
            let header = AnswerHeader::new(id, range);
            let put = Put {
                policy: Arc::new(policy.clone()),
                stream: Arc::clone(&stream),
                question,
                header,
                deadline: Duration::from_secs(5),
                crosses: false,
            };
            let mut asking = Box::pin(gate.answer(put));
            // Time goes on here once there is nothing left to do but to wait for the stream.
            tokio::time::timeout(Duration::from_millis(1), &mut asking).await.expect_err("the stream is on its way");
            if is_hit {
                before.found(&stream, 1, [crate::keys::Day(30)].into()).await.unwrap();
            }
            catalog.set_taken_up(shard, Epoch(2));
            watch.replace(policy.clone());
            let is_refused = asking.await.answer().outcome == Outcome::Refused(RefusalCode::Unavailable);
            assert_eq!(is_refused, is_hit);
        }
    }

    #[test]
    fn a_stream_without_a_shard_is_not_said_to_be_empty_where_records_lie_that_belong_to_nobody() {
        let stream = |name: &str, shard| StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: name.parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy::default(),
            shard,
        };
        let records = durable(7, 1, vec![record(1, None, serde_json::json!({"message": "m"}))]);
        let catalog = Catalog::of([segment(&Layout::new(), records)]);
        let mut policy = Policy::empty("tokyo".parse().unwrap());
        let asked = stream("app", None);
        assert!(!has_all(&asked, NodeId(1), &catalog, &policy));
        let owner = stream("web", Some((ShardId(7), NodeId(1))));
        policy.streams.insert((TenantId(1), owner.name.clone()), Arc::new(owner));
        assert!(has_all(&asked, NodeId(1), &catalog, &policy));
    }
}
