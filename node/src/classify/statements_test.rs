//! Statements over a bucket: what survives a restart, another owner and a bucket that does not answer.

use domicile_proto::ids::{NodeId, StreamId, TenantId};
use domicile_proto::metadata::StreamPolicy;

use std::sync::atomic::{AtomicBool, Ordering};

use domicile_proto::ids::KThreshold;

use super::super::stated::PREFIX;
use super::*;
use crate::store::Faults;

const DAY: i64 = 86_400 * Timestamp::MICROS;
const NOW: Timestamp = Timestamp(20_000 * DAY + DAY / 2);
const SHARD: ShardId = ShardId(7);

struct Node {
    statements: Statements,
    clock: Clock,
    watch: PolicyWatch,
}

fn policy(epoch: u64) -> Policy {
    let mut policy = Policy::empty("tokyo".parse().unwrap());
    policy.epochs.insert(SHARD, Epoch(epoch));
    policy.streams.insert((TenantId(1), stated().name), Arc::new(stated()));
    policy
}

fn node(store: &Store) -> Node {
    let (clock, watch) = (Clock::standing_at(NOW), PolicyWatch::new(policy(1)));
    let statements = Statements::new(store.clone(), watch.clone(), clock.clone(), Tasks::default()).unwrap();
    Node { statements, clock, watch }
}

fn stream(personal: Personal, durability: Durability) -> StreamView {
    StreamView {
        id: StreamId(1),
        tenant: TenantId(1),
        name: "app".parse().unwrap(),
        fields: Vec::new(),
        policy: StreamPolicy { personal, durability, ..StreamPolicy::default() },
        shard: Some((SHARD, NodeId(1))),
    }
}

fn stated() -> StreamView {
    stream(Personal::No, Durability::Bucket)
}

fn day(offset: i64) -> TimeRange {
    let from = Timestamp(NOW.0 + offset * DAY);
    TimeRange { from, to: Timestamp(from.0 + 60 * Timestamp::MICROS) }
}

impl Node {
    async fn stands(&self, asked: TimeRange) -> bool {
        self.statements.standing(&stated(), asked).await == Some(Standing::Stands)
    }

    /// A batch of records of these days, one hit among them, up to the log.
    async fn found(&self, days: &[i64]) -> Result<(), ClassifyError> {
        self.statements.found(&stated(), 1, these(days)).await
    }

    fn fallen(&self) -> u64 {
        self.statements.fallen(NodeId(1))
    }
}

fn these(days: &[i64]) -> BTreeSet<Day> {
    days.iter().map(|offset| Day::of(day(*offset).from)).collect()
}

async fn objects(store: &Store) -> usize {
    store.list(PREFIX).await.unwrap().len()
}

#[tokio::test]
async fn a_hit_is_in_the_bucket_before_its_record_is_taken_and_a_restart_forgets_none() {
    let store = Store::in_memory();
    let first = node(&store);
    first.statements.took(&stated(), 10);
    assert!(first.stands(day(0)).await);
    first.found(&[0]).await.unwrap();
    assert_eq!((objects(&store).await, first.fallen()), (2, 1), "what came, and of when it is");
    assert!(!first.stands(day(0)).await);
    // The bucket knows that this day contradicts: it is told nothing more of it.
    for _ in 0..10 {
        first.found(&[0]).await.unwrap();
    }
    assert_eq!(objects(&store).await, 2);
    for again in [first, node(&store)] {
        let upheld = again.statements.upheld(Arc::new(stated()), day(0)).await;
        assert_eq!((&upheld.policy.personal, upheld.policy.threshold()), (&Personal::Undeclared, KThreshold::RECORDS));
        assert_eq!(upheld.stated(), Some(KThreshold::NON_PERSONAL));
        again.clock.turn_to(Timestamp(NOW.0 + 7 * DAY));
        assert!(again.stands(day(7)).await && again.stands(day(2)).await, "the week is over");
        assert!(!again.stands(day(0)).await && !again.stands(day(1)).await, "but not for a question about then");
        assert!(!again.stands(TimeRange { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX) }).await);
    }
}

#[tokio::test]
async fn a_clean_stream_keeps_its_statement_and_one_hit_in_very_many_leaves_it() {
    let store = Store::in_memory();
    let node = node(&store);
    for _ in 0..100 {
        node.statements.took(&stated(), 2_000);
        node.statements.found(&stated(), 0, these(&[])).await.unwrap();
        node.statements.took(&stated(), 2_000);
    }
    let upheld = node.statements.upheld(Arc::new(stated()), day(0)).await;
    assert_eq!((&upheld.policy.personal, upheld.stated()), (&Personal::No, None));
    for hits in 1..=4 {
        node.found(&[0]).await.unwrap();
        node.statements.took(&stated(), 1);
        assert!(node.stands(day(0)).await, "{hits} of 400,00{hits}");
    }
    assert_eq!(node.fallen(), 0);
    node.found(&[0]).await.unwrap();
    assert!(!node.stands(day(0)).await, "5 of 400,004");
    assert_eq!(node.fallen(), 1);
}

#[tokio::test]
async fn nothing_is_counted_of_streams_of_which_nothing_is_stated() {
    let store = Store::in_memory();
    let node = node(&store);
    for personal in [Personal::Undeclared, Personal::Subject("user".parse().unwrap())] {
        let view = stream(personal.clone(), Durability::Bucket);
        node.statements.found(&view, 5, these(&[0])).await.unwrap();
        assert_eq!(node.statements.standing(&view, day(0)).await, None);
        assert_eq!(node.statements.upheld(Arc::new(view), day(0)).await.policy.personal, personal);
    }
    assert_eq!(objects(&store).await, 0);
    let without = StreamView { shard: None, ..stated() };
    assert_eq!(node.statements.standing(&without, day(0)).await, Some(Standing::Stands));
}

#[tokio::test]
async fn whoever_writes_a_stream_next_counts_on_and_reads_again_in_each_epoch() {
    let store = Store::in_memory();
    let (first, second) = (node(&store), node(&store));
    first.statements.took(&stated(), 150_000);
    first.found(&[0]).await.unwrap();
    assert!(first.stands(day(0)).await && second.stands(day(0)).await, "1 of 150,000");
    // The stream goes to the second one, which has read in the epoch before.
    for node in [&first, &second] {
        node.watch.replace(policy(2));
    }
    second.found(&[0]).await.unwrap();
    assert!(!second.stands(day(0)).await, "2 of 150,000");
    assert!(first.statements.0.streams.lock()[&SHARD].read == Some(Some(Epoch(1))));
    // And comes back.
    assert!(!first.stands(day(0)).await);
}

#[tokio::test]
async fn how_many_there_were_is_told_now_and_then_and_what_is_lost_only_makes_it_stricter() {
    let store = Store::in_memory();
    let first = node(&store);
    for _ in 0..300 {
        first.statements.took(&stated(), 1_000);
    }
    first.statements.0.tasks.stop(std::time::Duration::from_secs(10)).await;
    // As 1,024 are there, and at each doubling up to 262,144.
    assert_eq!(objects(&store).await, 9);
    let second = node(&store);
    second.found(&[0]).await.unwrap();
    second.found(&[0]).await.unwrap();
    assert!(second.stands(day(0)).await, "2 of at least 262,000");
    second.found(&[0]).await.unwrap();
    assert!(!second.stands(day(0)).await, "3 of them");
}

#[tokio::test]
async fn where_the_bucket_does_not_answer_a_stream_counts_as_undeclared_and_a_hit_is_not_taken() {
    let store = Store::in_memory();
    let reader = node(&store);
    store.fail(Faults { below: PREFIX, count: u64::MAX, ..Faults::default() });
    let refused = reader.found(&[0]).await.expect_err("untold");
    assert!(matches!(refused, ClassifyError::Statement { source: Some(StoreError::Failed { .. }) }), "{refused:?}");
    let fallen = reader.statements.upheld(Arc::new(stated()), day(0)).await;
    assert_eq!(fallen.policy.threshold(), KThreshold::RECORDS);
    // An object that is none of ours is damage, and damage is no reason to believe a statement.
    store.fail(Faults::default());
    let other = node(&store);
    assert!(other.stands(day(0)).await);
    store.create(&format!("{PREFIX}/{:016x}/020000/00-1-x-counts", SHARD.0), Bytes::new()).await.unwrap();
    let blind = node(&store);
    assert_eq!(blind.statements.standing(&stated(), day(0)).await, Some(Standing::Unknown));
    assert_eq!(blind.fallen(), 1);
    assert_eq!(blind.statements.fallen(NodeId(2)), 0, "another node's stream");
    let upheld = blind.statements.upheld(Arc::new(stated()), day(0)).await;
    assert_eq!(upheld.policy.personal, Personal::Undeclared);
}

#[tokio::test]
async fn what_lies_on_a_disk_alone_is_noted_there_until_the_bucket_is_back() {
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let on_disk = stream(Personal::No, Durability::Disk);
    let open = |store: &Store| node(store).statements.noting_in(dir.path().to_owned(), Arc::new(|_, _| true)).unwrap();
    let notes = || std::fs::read_dir(dir.path()).unwrap().count();
    let first = open(&store);
    store.fail(Faults { below: PREFIX, count: u64::MAX, ..Faults::default() });
    first.found(&on_disk, 1, these(&[0])).await.expect("local work goes on");
    first.found(&on_disk, 1, these(&[0])).await.expect("the day is noted by now");
    assert_eq!((notes(), first.standing(&on_disk, day(0)).await), (2, Some(Standing::Contradicted)));
    // Under another policy the disk is not enough.
    first.found(&stated(), 1, these(&[0])).await.expect_err("untold");
    first.0.tasks.stop(std::time::Duration::from_secs(10)).await;
    // A restart while the bucket is away.
    let second = open(&store);
    assert_eq!(second.standing(&on_disk, day(0)).await, Some(Standing::Contradicted));
    store.fail(Faults::default());
    // Without a question.
    second.took(&on_disk, 1);
    second.0.tasks.stop(std::time::Duration::from_secs(10)).await;
    assert_eq!((notes(), objects(&store).await), (0, 2), "the bucket knows, and the notes are gone");
    assert_eq!(node(&store).statements.standing(&on_disk, day(0)).await, Some(Standing::Contradicted));
}

#[tokio::test]
async fn what_the_owner_before_still_writes_is_known_once_the_shard_is_taken_up() {
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let (before, is_taken_up) = (node(&store), Arc::new(AtomicBool::new(false)));
    let Node { statements, clock, watch } = node(&store);
    let looks = Arc::clone(&is_taken_up);
    let takes = Arc::new(move |_, _: &Policy| looks.load(Ordering::SeqCst));
    let after = Node { statements: statements.noting_in(dir.path().to_owned(), takes).unwrap(), clock, watch };
    // The policy names the next owner already, and the one before has not heard of it.
    after.watch.replace(policy(2));
    assert!(after.stands(day(0)).await, "nothing is there yet");
    before.found(&[0]).await.unwrap();
    is_taken_up.store(true, Ordering::SeqCst);
    assert!(!after.stands(day(0)).await);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_does_not_answer_is_not_asked_by_every_batch() {
    let store = Store::in_memory();
    let (node, known) = (node(&store), node(&store));
    known.found(&[0]).await.unwrap();
    store.fail(Faults { below: PREFIX, count: u64::MAX, ..Faults::default() });
    known.found(&[0]).await.expect("the bucket knows of this day");
    node.found(&[0]).await.expect_err("not read");
    store.fail(Faults::default());
    node.found(&[0]).await.expect_err("not asked again yet");
    tokio::time::advance(STATEMENT_AGAIN).await;
    node.found(&[0]).await.unwrap();
}

#[tokio::test]
async fn days_of_which_a_hit_is_stay_withheld_though_it_came_much_later() {
    let store = Store::in_memory();
    let first = node(&store);
    first.found(&[-300, -100]).await.unwrap();
    first.found(&(-60..-40).collect::<Vec<_>>()).await.unwrap();
    for node in [first, node(&store)] {
        node.clock.turn_to(Timestamp(NOW.0 + 30 * DAY));
        for withheld in [-301, -300, -100, -60, -50, -41, 0] {
            assert!(!node.stands(day(withheld)).await, "{withheld}");
        }
        for told in [-303, -200, -62, -39, -3, 3, 30] {
            assert!(node.stands(day(told)).await, "{told}");
        }
    }
}

#[tokio::test]
async fn what_is_withheld_by_the_rate_of_a_week_alone_is_not_told_after_it() {
    let store = Store::in_memory();
    let first = node(&store);
    first.statements.took(&stated(), 150_000);
    first.clock.turn_to(Timestamp(NOW.0 + DAY));
    first.found(&[1]).await.unwrap();
    assert!(first.stands(day(1)).await, "1 of 150,000");
    // What it was one of has left the week.
    first.clock.turn_to(Timestamp(NOW.0 + 7 * DAY));
    assert!(!first.stands(day(7)).await);
    for node in [first, node(&store)] {
        node.clock.turn_to(Timestamp(NOW.0 + 30 * DAY));
        assert!(!node.stands(day(1)).await && !node.stands(day(7)).await && node.stands(day(4)).await);
    }
}

#[test]
fn a_name_says_what_was_counted_and_nothing_else_is_taken_for_one() {
    let (writer, day) = (Writer(u64::MAX), Day(20_000));
    for counts in [
        Counts::default(),
        Counts { classified: 7, found: 1, contradicts: true },
        Counts { classified: u64::MAX, found: u64::MAX, contradicts: false },
    ] {
        let name = name(SHARD, day, writer, counts);
        assert_eq!(name_read(SHARD, &name), Some(Said::Counted(day, writer, counts)), "{name}");
        assert_eq!(name_read(ShardId(8), &name), None);
        assert_eq!(name_read(SHARD, &format!("{name}-1")), None);
    }
    let mark = (day, Day(20_007));
    assert_eq!(name_read(SHARD, &mark_name(SHARD, mark)), Some(Said::Of(mark)));
    for word in [Word::Arrived(day), Word::Of(mark)] {
        assert_eq!(note_read(&note_name(SHARD, word)), Some((SHARD, word)));
    }
    assert_eq!(note_read("lost+found"), None);
}
