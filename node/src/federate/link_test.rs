//! Two regions over real links, each with its own CA and its own ledger: a question, its answer, and what both ledgers say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domicile_proto::border::{Cells, EgressClass, LiteralDetector, Measured, ReleasePolicy, release};
use domicile_proto::ids::{
    KThreshold, Name, NodeId, PolicyVersion, QuestionId, RecordCount, Region, RegionNumber, ShardId, StreamId,
    SubjectCount, TenantId, TimeRange, Timestamp,
};
use domicile_proto::link::connection::{Inbound, Peer};
use domicile_proto::link::endpoint::{Link, LinkConfig};
use domicile_proto::link::limits::LinkLimits;
use domicile_proto::link::pki::{CERTIFICATE_VALIDITY, RegionCa};
use domicile_proto::message::answer::{AnswerHeader, Outcome};
use domicile_proto::message::gated::AskedBy;
use domicile_proto::message::question::{Ask, Question};
use domicile_proto::message::region::{Asker, RegionAsk};
use domicile_proto::metadata::{NodeRow, Rows, StreamPolicy};
use tokio::sync::Notify;

use super::answerer::Answerer;
use super::carried::Owner;
use super::carry::Carrier;
use super::coverage::Standing;
use super::federation::{Federation, Total};
use super::gate::{Gate, Gated, Put};
use super::question::{FederatedQuestion, OnMissing, Regions};
use super::reach::Reach;
use crate::admit::{Admitter, Rates};
use crate::aggregate::Answered;
use crate::audit::{Drawn, Entries, Event, Ledger};
use crate::clock::Clock;
use crate::limits::{FEDERATED_DEADLINE, JUDGED_QUESTIONS_OF_TENANT};
use crate::policy::{Policy, PolicyWatch, StreamView};
use crate::tasks::{Kind, Tasks};
use crate::telemetry::Metrics;

struct NoDetector;

impl LiteralDetector for NoDetector {
    fn finds_personal_data(&self, _: &str) -> bool {
        false
    }
}

const REGIONS: [&str; 2] = ["tokyo", "frankfurt"];

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn region(text: &str) -> Region {
    Region(name(text))
}

/// A gate that releases this many records.
fn gate(records: u64) -> Gate {
    Gate::over(move |put| {
        let measured = Measured { records: RecordCount(records), subjects: SubjectCount(records) };
        let cells = Cells::new((), vec![measured]).expect("one cell");
        let policy = ReleasePolicy { k: KThreshold::SUBJECTS, version: PolicyVersion(1) };
        let answered = Answered::Count(release(cells, &policy, put.header));
        Box::pin(async move { answered })
    })
}

fn measured() -> Metrics {
    Metrics::new(&crate::config::Regions::built_in().expect("built in"))
}

struct Node {
    link: Link,
    ledger: Arc<Ledger>,
}

fn node(dir: &Path, home: &str, id: u64) -> Node {
    node_with(dir, home, id, home)
}

/// One whose ledger lies apart from that of another node of its region.
fn node_with(dir: &Path, home: &str, id: u64, ledger: &str) -> Node {
    let clock = Clock::system();
    let ledger = Ledger::open(&dir.join(format!("{ledger}-ledger")), &region(home), clock.clone()).expect("new");
    let ledger = Arc::new(ledger);
    let ca = RegionCa::open(&dir.join(home), &region(home), &name("acme")).expect("a CA");
    let config = LinkConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        deployment: name("acme"),
        identity: ca.issue_node(NodeId(id), clock.now(), CERTIFICATE_VALIDITY).expect("a certificate"),
        bundles: REGIONS.map(|other| (region(other), dir.join(other).join("ca.crt"))).to_vec(),
        tls_keylog: None,
        via: BTreeMap::new(),
        limits: LinkLimits::default(),
    };
    Node { link: Link::bind(config, ledger.clone()).expect("bound"), ledger }
}

fn policy(home: &str, nodes: [&Node; 2]) -> PolicyWatch {
    let mut policy = Policy::empty(region(home));
    for (number, (text, node)) in (1_u16..).zip(REGIONS.into_iter().zip(nodes)) {
        policy.regions.insert(region(text), RegionNumber(number));
        let (id, addr) = (NodeId(number.into()), node.link.local_addr());
        policy.nodes.insert(id, NodeRow { node: id, region: region(text), addr, signature: None });
    }
    policy.routes = crate::policy::Routes::open_to(REGIONS);
    let view = StreamView {
        id: StreamId(1),
        tenant: TenantId(1),
        name: name("app"),
        fields: Vec::new(),
        policy: StreamPolicy::default(),
        shard: None,
    };
    policy.streams.insert((TenantId(1), name("app")), Arc::new(view));
    let watch = PolicyWatch::new(policy);
    watch.lease().heard(Instant::now());
    watch
}

fn question() -> FederatedQuestion {
    FederatedQuestion {
        tenant: TenantId(1),
        asker: Asker { key: name("k-1"), tenant: TenantId(1), rows: Rows::None },
        stream: name("app"),
        regions: Regions::All,
        range: TimeRange { from: Timestamp(0), to: Timestamp(60_000_000) },
        filters: Vec::new(),
        ask: Ask::Count,
        on_missing: OnMissing::Partial,
        deadline: Duration::from_secs(10),
    }
}

/// Class and digest of everything that crossed, in order; `true` for what left.
fn crossings(dir: &Path, home: &str) -> Vec<(bool, EgressClass, [u8; 32])> {
    let entries = Entries::open(&dir.join(format!("{home}-ledger")), &region(home)).expect("there");
    let of = |event| match event {
        Event::Egress(passage) => Some((true, passage.class, passage.sha256)),
        Event::Ingress(passage) => Some((false, passage.class, passage.sha256)),
        _ => None,
    };
    entries.filter_map(|entry| of(entry.expect("whole").1.event)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_and_its_answer_lie_in_both_ledgers_and_a_lost_region_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    for home in REGIONS {
        RegionCa::init(&dir.path().join(home), &region(home), &name("acme"), Clock::system().now()).expect("a CA");
    }
    let (tokyo, frankfurt) = (node(dir.path(), "tokyo", 1), node(dir.path(), "frankfurt", 2));
    let tasks = Tasks::default();
    let there = policy("frankfurt", [&tokyo, &frankfurt]);
    let detector = Arc::new(NoDetector);
    let (ledger, metrics) = (Arc::clone(&frankfurt.ledger), measured());
    let answerer = Arc::new(Answerer::new(there, gate(70), ledger, metrics.clone(), detector.clone()));
    let (accepting, served) = (frankfurt.link.clone(), tasks.clone());
    tasks.spawn(Kind::Listener, async move {
        while let Some(accepted) = accepting.accept().await {
            let answering = Arc::clone(&answerer).serve(accepted.peer, served.clone());
            served.spawn(Kind::Peer, answering);
        }
    });
    let here = policy("tokyo", [&tokyo, &frankfurt]);
    let reach = Reach::by(tokyo.link.clone());
    let federation = Federation::new(here, gate(50), reach, Arc::clone(&tokyo.ledger), detector);

    let answer = federation.ask(question()).await.expect("an answer");
    assert_eq!(answer.total(), Total { value: 120, is_exact: true });
    let (asked, answered) = (crossings(dir.path(), "tokyo"), crossings(dir.path(), "frankfurt"));
    let classes =
        |of: &[(bool, EgressClass, [u8; 32])]| of.iter().map(|(out, class, _)| (*out, *class)).collect::<Vec<_>>();
    assert_eq!(classes(&asked), [(true, EgressClass::Question), (false, EgressClass::Count)]);
    assert_eq!(classes(&answered), [(false, EgressClass::Question), (true, EgressClass::Count)]);
    let digests = |of: &[(bool, EgressClass, [u8; 32])]| of.iter().map(|(_, _, digest)| *digest).collect::<Vec<_>>();
    assert_eq!(digests(&asked), digests(&answered), "both sides saw the same bytes");
    let ledger = answer.coverage.0.iter().find(|said| said.region == region("frankfurt")).and_then(|said| said.ledger);
    assert_eq!(ledger.map(|(size, _)| size), Some(1), "the answer states the ledger of the region that gave it");

    let told = r#"domicile_federate_answered_cells_total{peer="tokyo",standing="whole"} 1"#;
    assert!(metrics.text().contains(told), "{}", metrics.text());

    frankfurt.link.close("the region is lost").await;
    let began = Instant::now();
    let answer = federation.ask(question()).await.expect("partial");
    assert!(began.elapsed() < Duration::from_secs(11));
    assert_eq!(answer.total(), Total { value: 50, is_exact: false });
    assert_eq!(answer.coverage.missing(), [(region("frankfurt"), Standing::Unreachable)]);
    tokyo.link.close("the test ends").await;
    tasks.stop(Duration::from_secs(5)).await;
}

/// Answers what neighbours carry to an owner until its link closes.
async fn judge(link: Link, owner: Arc<Owner>, tasks: Tasks) {
    while let Some(accepted) = link.accept().await {
        let Peer::Neighbour(neighbour) = accepted.peer else { continue };
        while let Ok(Inbound::Region(RegionAsk::Gated(asked), to)) = neighbour.next().await {
            let (owner, neighbour) = (Arc::clone(&owner), neighbour.clone());
            tasks.spawn(Kind::Peer, async move { owner.answer(&neighbour, asked, to).await });
        }
    }
}

/// Node 3 of the region, which owns the stream from now on.
fn owning(dir: &Path, here: &PolicyWatch, gate: Gate) -> (Node, Arc<Owner>) {
    let (id, node) = (NodeId(3), node_with(dir, "tokyo", 3, "owner"));
    let mut known = Policy::clone(&here.now());
    let addr = node.link.local_addr();
    known.nodes.insert(id, NodeRow { node: id, region: region("tokyo"), addr, signature: None });
    let view = known.streams.get_mut(&(TenantId(1), name("app"))).expect("known");
    Arc::make_mut(view).shard = Some((ShardId(7), id));
    here.replace(known);
    let judging = Answerer::new(here.clone(), gate, Arc::clone(&node.ledger), measured(), Arc::new(NoDetector));
    let admitter = Arc::new(Admitter::new(here.clone(), Rates::default()));
    (node, Arc::new(Owner::new(id, Arc::new(judging), admitter)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_released_leaves_by_the_ledger_of_the_node_that_was_asked_with_what_it_was_drawn_from() {
    let dir = tempfile::tempdir().expect("a directory");
    for home in REGIONS {
        RegionCa::init(&dir.path().join(home), &region(home), &name("acme"), Clock::system().now()).expect("a CA");
    }
    let (asked, frankfurt) = (node(dir.path(), "tokyo", 1), node(dir.path(), "frankfurt", 2));
    let here = policy("tokyo", [&asked, &frankfurt]);
    let drawn = Drawn { shard: ShardId(7), upto: 70, journal: 3, rules: [9; 32], k: Some(KThreshold::SUBJECTS) };
    let (tasks, detector) = (Tasks::default(), Arc::new(NoDetector));
    let releasing = Gate::over(move |put: Put| {
        let gate = gate(70);
        Box::pin(async move { Gated { answered: gate.answer(put).await, contributors: None, drawn: Some(drawn) } })
    });
    let (owning, owner) = owning(dir.path(), &here, releasing);
    tasks.spawn(Kind::Listener, judge(owning.link.clone(), owner, tasks.clone()));

    let carrying = gate(1).beside(Carrier::by(NodeId(1), asked.link.clone()));
    let answerer = Answerer::new(here, carrying, Arc::clone(&asked.ledger), measured(), detector.clone());
    let (accepting, served, answerer) = (asked.link.clone(), tasks.clone(), Arc::new(answerer));
    tasks.spawn(Kind::Listener, async move {
        while let Some(accepted) = accepting.accept().await {
            let answering = Arc::clone(&answerer).serve(accepted.peer, served.clone());
            served.spawn(Kind::Peer, answering);
        }
    });
    let there = policy("frankfurt", [&asked, &frankfurt]);
    let reach = Reach::by(frankfurt.link.clone());
    let federation = Federation::new(there, gate(50), reach, Arc::clone(&frankfurt.ledger), detector);
    let answer = federation.ask(FederatedQuestion { regions: Regions::Only([region("tokyo")].into()), ..question() });
    assert_eq!(answer.await.expect("an answer").total(), Total { value: 70, is_exact: true });

    let events = |home: &str, of: &str| {
        let entries = Entries::open(&dir.path().join(format!("{of}-ledger")), &region(home)).expect("there");
        entries.map(|entry| entry.expect("whole").1.event).collect::<Vec<_>>()
    };
    let crossed = events("tokyo", "tokyo").into_iter().filter_map(|event| match event {
        Event::Ingress(passage) => Some((passage.class, None)),
        Event::Egress(passage) => Some((passage.class, passage.drawn)),
        _ => None,
    });
    assert_eq!(crossed.collect::<Vec<_>>(), [(EgressClass::Question, None), (EgressClass::Count, Some(drawn))]);
    let is_crossing = |event: &Event| matches!(event, Event::Ingress(_) | Event::Egress(_));
    assert!(!events("tokyo", "owner").iter().any(is_crossing), "between two nodes of a region nothing crosses");
    for link in [asked.link, frankfurt.link, owning.link] {
        link.close("the test ends").await;
    }
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_its_asker_gave_up_ends_at_the_owner_and_leaves_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    for home in REGIONS {
        RegionCa::init(&dir.path().join(home), &region(home), &name("acme"), Clock::system().now()).expect("a CA");
    }
    let (asked, frankfurt) = (node(dir.path(), "tokyo", 1), node(dir.path(), "frankfurt", 2));
    let here = policy("tokyo", [&asked, &frankfurt]);
    let (came, hangs) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(true)));
    let (coming, hanging) = (Arc::clone(&came), Arc::clone(&hangs));
    let judging = Gate::over(move |put: Put| {
        let (gate, hangs) = (gate(70), hanging.load(Ordering::SeqCst));
        coming.notify_one();
        Box::pin(async move { if hangs { std::future::pending().await } else { gate.answer(put).await } })
    });
    let tasks = Tasks::default();
    let (owning, owner) = owning(dir.path(), &here, judging);
    tasks.spawn(Kind::Listener, judge(owning.link.clone(), owner, tasks.clone()));

    let carrier = Carrier::by(NodeId(1), asked.link.clone());
    let (policy, id) = (here.now(), QuestionId(1));
    let stream = Arc::clone(policy.stream(TenantId(1), &name("app")).expect("known"));
    let range = question().range;
    let (tenant, filters, ask) = (TenantId(1), Vec::new(), Ask::Count);
    let put = Put {
        question: Question { id, tenant, stream: stream.id, range, filters, ask, deadline_ms: 10_000 },
        header: AnswerHeader::new(id, range),
        // As long as any question has at its owner: none ends by itself while the others come.
        deadline: FEDERATED_DEADLINE * 5 / 2,
        crosses: false,
        policy,
        stream,
    };
    let carried = async || carrier.carry(NodeId(3), &put, AskedBy::Region(region("frankfurt"))).await;
    for _ in 0..=JUDGED_QUESTIONS_OF_TENANT {
        tokio::select! {
            told = carried() => panic!("it came to no place: {:?}", told.map(|(answered, _)| answered.answer().outcome.clone())),
            () = came.notified() => {}
        }
    }
    hangs.store(false, Ordering::SeqCst);
    let (answered, _) = carried().await.expect("an answer");
    assert!(matches!(answered.answer().outcome, Outcome::Aggregate(_)), "{:?}", answered.answer().outcome);
    for link in [asked.link, frankfurt.link, owning.link] {
        link.close("the test ends").await;
    }
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_where_the_own_ledger_refuses() {
    let dir = tempfile::tempdir().expect("a directory");
    for home in REGIONS {
        RegionCa::init(&dir.path().join(home), &region(home), &name("acme"), Clock::system().now()).expect("a CA");
    }
    let (tokyo, frankfurt) = (node(dir.path(), "tokyo", 1), node(dir.path(), "frankfurt", 2));
    let accepting = frankfurt.link.clone();
    let tasks = Tasks::default();
    tasks.spawn(Kind::Listener, async move { while accepting.accept().await.is_some() {} });
    let here = policy("tokyo", [&tokyo, &frankfurt]);
    let reach = Reach::by(tokyo.link.clone());
    let federation = Federation::new(here, gate(50), reach, Arc::clone(&tokyo.ledger), Arc::new(NoDetector));
    tokyo.ledger.close();
    let answer = federation.ask(question()).await.expect("partial");
    assert_eq!(answer.coverage.missing(), [(region("frankfurt"), Standing::Unreachable)]);
    assert!(crossings(dir.path(), "frankfurt").is_empty(), "no byte of it arrived");
    tokyo.link.close("the test ends").await;
    frankfurt.link.close("the test ends").await;
    tasks.stop(Duration::from_secs(5)).await;
}
