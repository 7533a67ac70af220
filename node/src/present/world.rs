//! A desk for tests: a region with real segments and a real gate; of the other two regions one answers and one is down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use domicile_proto::border::{LiteralDetector, Received};
use domicile_proto::ids::{
    DictionaryId, Epoch, Name, NodeId, PolicyVersion, Region, RegionNumber, ShardId, StreamId, TenantId,
};
use domicile_proto::message::answer::AnswerHeader;
use domicile_proto::metadata::{
    AccessKey, Applied, Command, CommandRefusal, NodeRow, NumberField, Personal, Roles, Rows, StreamPolicy,
};
use domicile_proto::officer::OfficerKey;
use serde_json::Value;
use tower::ServiceExt;

use super::desk::{Desk, Facts, Parts, Surroundings};
use super::owners::{NoWord, Owners};
use crate::admit::{Admitter, Rates, key_digest};
use crate::aggregate::{Asked, Releases};
use crate::audit::Ledger;
use crate::classify::{Classifier, Defaults, RuleFiles, Statements};
use crate::clock::Clock;
use crate::federate::{Answerer, Carrier, Federation, Gate, NoAnswer, Owner, Reach};
use crate::index::builder::Layout;
use crate::keys::PseudonymKeys;
use crate::ownership::{Ownership, Propose};
use crate::policy::{Awareness, Dictionary, Policy, PolicyWatch, StreamView};
use crate::query::specimen::{Event, now, sample};
use crate::query::{Budget, Engine};
use crate::receive::Failure;
use crate::segment::specimen::{durable, record, segment};
use crate::segment::{Catalog, Segment};
use crate::store::Store;
use crate::tasks::Tasks;
use crate::telemetry::Metrics;

/// Events in the world; three quarters of them in `app`, the rest in `web`.
pub(super) const EVENTS: u64 = 400;
/// How many of them are in `app`.
pub(super) const IN_APP: u64 = 300;

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn region(text: &str) -> Region {
    Region(name(text))
}

struct Detector;

impl LiteralDetector for Detector {
    fn finds_personal_data(&self, literal: &str) -> bool {
        literal.contains('@') || literal.contains("hanako")
    }
}

/// The world.
pub(super) struct World {
    pub(super) desk: Arc<Desk>,
    /// Judges what neighbours carry here.
    pub(super) owner: Arc<Owner>,
    pub(super) events: Vec<Event>,
    pub(super) officer: OfficerKey,
    pub(super) proposals: Arc<AtomicUsize>,
    pub(super) refreshes: Arc<AtomicUsize>,
    /// Whether the log of this world finds no room.
    pub(super) is_log_full: Arc<AtomicBool>,
    /// Whether neither the ledger nor the log of the group takes anything.
    pub(super) is_broken: Arc<AtomicBool>,
    /// Whether the node is about to stop.
    pub(super) is_leaving: Arc<AtomicBool>,
    _dir: tempfile::TempDir,
}

/// A key of this region, by its number.
pub(super) fn key(number: u8) -> String {
    format!("dmc_tokyo_{}", hex::encode([number; 32]))
}

pub(super) const ADMIN: u8 = 1;
pub(super) const SEARCH: u8 = 2;
pub(super) const INGEST: u8 = 3;
/// Searches and sees no rows.
pub(super) const BLIND: u8 = 4;
/// Administers another tenant.
pub(super) const OTHER_ADMIN: u8 = 5;
/// Reads the ledger.
pub(super) const AUDIT: u8 = 6;
/// Searches and sees rows as far as there are any.
pub(super) const FULL: u8 = 7;
/// Sees originals.
pub(super) const REVEAL: u8 = 8;
/// Has the role and not the clearance.
pub(super) const REVEAL_REDACTED: u8 = 9;
/// Administers and sees no rows.
pub(super) const ADMIN_BLIND: u8 = 10;
/// Administers and sees rows as far as there are any.
pub(super) const ADMIN_FULL: u8 = 11;

fn keys() -> BTreeMap<[u8; 32], Arc<AccessKey>> {
    let none = Roles::default();
    let all = [
        (ADMIN, TenantId(1), Roles { admin: true, ..none }, Rows::Redacted),
        (SEARCH, TenantId(1), Roles { search: true, ..none }, Rows::Redacted),
        (INGEST, TenantId(1), Roles { ingest: true, create: true, ..none }, Rows::Redacted),
        (BLIND, TenantId(1), Roles { search: true, ..none }, Rows::None),
        (AUDIT, TenantId(1), Roles { audit: true, ..none }, Rows::None),
        (FULL, TenantId(1), Roles { search: true, ..none }, Rows::Full),
        (REVEAL, TenantId(1), Roles { reveal: true, ..none }, Rows::Full),
        (REVEAL_REDACTED, TenantId(1), Roles { reveal: true, ..none }, Rows::Redacted),
        (ADMIN_BLIND, TenantId(1), Roles { admin: true, ..none }, Rows::None),
        (ADMIN_FULL, TenantId(1), Roles { admin: true, ..none }, Rows::Full),
        (OTHER_ADMIN, TenantId(2), Roles { admin: true, search: true, ..none }, Rows::Redacted),
    ];
    let key = |(number, tenant, roles, rows)| {
        let hash = key_digest(&key(number));
        (hash, Arc::new(AccessKey { id: name(&format!("key-{number}")), tenant, hash, roles, rows }))
    };
    all.into_iter().map(key).collect()
}

fn policy() -> Policy {
    let mut policy = Policy::empty(region("tokyo"));
    policy.version = PolicyVersion(4);
    policy.tenants = BTreeMap::from([(name("default"), TenantId(1)), (name("rival"), TenantId(2))]);
    for (number, text) in [(1, "tokyo"), (2, "frankfurt"), (3, "singapore")] {
        policy.regions.insert(region(text), RegionNumber(number));
        let node = NodeId(number.into());
        let addr = "127.0.0.1:7443".parse().expect("an address");
        policy.nodes.insert(node, NodeRow { node, region: region(text), addr, signature: None });
    }
    policy.routes = crate::policy::Routes::open_to(["frankfurt", "singapore"]);
    let open = StreamPolicy {
        personal: Personal::No,
        group_fields: vec![name("level"), name("service")],
        text_questions: true,
        numbers: vec![NumberField { field: name("ms"), bounds: vec![99, 199, 399] }],
        ..StreamPolicy::default()
    };
    for (id, stream, shard) in [(1, "app", 7), (2, "web", 0x1f)] {
        let view = StreamView {
            id: StreamId(id),
            tenant: TenantId(1),
            name: name(stream),
            fields: open.group_fields.iter().cloned().chain([name("ms")]).collect(),
            policy: open.clone(),
            shard: Some((ShardId(shard), NodeId(1))),
        };
        policy.streams.insert((TenantId(1), name(stream)), Arc::new(view));
    }
    let texts: BTreeMap<_, _> = [(64, "cart"), (65, "checkout")].map(|(id, t)| (DictionaryId(id), t.to_owned())).into();
    let dictionary = Dictionary { approved: texts.clone(), texts };
    policy.dictionaries.insert((TenantId(1), name("service")), Arc::new(dictionary));
    policy.keys = keys();
    policy
}

fn classifier() -> Classifier {
    let keys = Arc::new(PseudonymKeys::from_secret(&[7; 32], region("tokyo")));
    Classifier::new(keys, Defaults::new("JP", []), RuleFiles::default())
}

/// The real gate over segments.
fn gate(releases: Releases, catalog: Catalog, statements: Statements) -> Gate {
    Gate::upholding(statements, move |put, stream| {
        let segments: Vec<Arc<Segment>> =
            put.stream.shard.map(|(shard, _)| catalog.view(shard).iter().cloned().collect()).unwrap_or_default();
        let releases = releases.clone();
        Box::pin(async move {
            let asked = Asked {
                question: put.question,
                stream,
                policy: put.policy,
                detector: Arc::new(Detector),
                header: put.header,
                budget: Budget::until(Instant::now() + put.deadline),
            };
            releases.answer(asked, segments).await.answered
        })
    })
}

/// Frankfurt holds what Tokyo holds; Singapore is down.
fn reach(gate: Gate, policy: PolicyWatch) -> Reach {
    Reach::over(move |to, question, deadline| {
        let (gate, policy) = (gate.clone(), policy.now());
        Box::pin(async move {
            if to.id.region.as_str() != "frankfurt" {
                return Err(NoAnswer);
            }
            let asked = question.question().clone();
            let stream = policy.stream_by_id(asked.tenant, asked.stream).cloned().ok_or(NoAnswer)?;
            let header = AnswerHeader::new(asked.id, asked.range);
            let put = crate::federate::Put { policy, stream, question: asked, header, deadline, crosses: true };
            let answered = gate.answer(put).await;
            Received::check(answered.answer().clone(), &question).map_err(|_| NoAnswer)
        })
    })
}

fn proposals(policy: &PolicyWatch, count: &Arc<AtomicUsize>) -> Propose {
    let (policy, count) = (policy.clone(), Arc::clone(count));
    Propose::over(move |command| {
        count.fetch_add(1, Ordering::SeqCst);
        let mut next = Policy::clone(&policy.now());
        let applied = match command {
            Command::CreateStream { tenant, stream } => {
                let view = StreamView {
                    id: StreamId(9),
                    tenant,
                    name: stream.clone(),
                    fields: Vec::new(),
                    policy: StreamPolicy::default(),
                    shard: None,
                };
                next.streams.insert((tenant, stream), Arc::new(view));
                Applied::Stream(StreamId(9))
            }
            Command::AssignShard { stream, owner, .. } => {
                for view in next.streams.values_mut().filter(|view| view.id == stream) {
                    Arc::make_mut(view).shard = Some((ShardId(99), owner));
                }
                Applied::Shard(ShardId(99), Epoch(1))
            }
            Command::RecordHead(_) => Applied::Refused(CommandRefusal::OldHead),
            _ => Applied::Done,
        };
        policy.replace(next);
        Box::pin(async move { Ok(applied) })
    })
}

fn around(refreshes: &Arc<AtomicUsize>, [is_log_full, is_broken, is_leaving]: [&Arc<AtomicBool>; 3]) -> Surroundings {
    let (refreshes, is_log_full, is_broken) = (Arc::clone(refreshes), Arc::clone(is_log_full), Arc::clone(is_broken));
    let is_leaving = Arc::clone(is_leaving);
    Surroundings {
        facts: Arc::new(move || Facts {
            leader: Some(NodeId(2)),
            term: 3,
            voters: vec![NodeId(1), NodeId(2), NodeId(3)],
            round_trips: BTreeMap::from([(NodeId(2), 70.25)]),
            has_tls_keylog: false,
            witnesses: BTreeMap::new(),
            witness: Default::default(),
            is_leaving: is_leaving.load(Ordering::SeqCst),
            is_log_poisoned: false,
            is_log_full: is_log_full.load(Ordering::SeqCst),
            is_group_broken: is_broken.load(Ordering::SeqCst),
            is_ledger_poisoned: is_broken.load(Ordering::SeqCst),
        }),
        refresh: Arc::new(move |shards| {
            refreshes.fetch_add(shards.len(), Ordering::SeqCst);
            Box::pin(async {})
        }),
        begin: Arc::new(|_| Box::pin(async { Ok::<(), Failure>(()) })),
        drain: Arc::new(|| Box::pin(async { Ok(()) })),
        leave: Arc::new(|| Box::pin(async { Ok(()) })),
        backup: Arc::new(|| b"a backup".to_vec()),
        metrics: Arc::new(|| "# EOF\n".to_owned()),
    }
}

impl World {
    /// A new one.
    pub(super) fn new() -> Self {
        Self::of(policy(), classifier(), None)
    }

    /// One of another node of the region, whose policy is changed and which asks the others so; its segments are those of [`Self::new`].
    pub(super) fn beside(node: NodeId, change: impl FnOnce(&mut Policy), owners: Owners) -> Self {
        Self::carrying(node, change, owners, None)
    }

    /// As [`Self::beside`], with a way for questions behind the gate.
    pub(super) fn carrying(
        node: NodeId,
        change: impl FnOnce(&mut Policy),
        owners: Owners,
        carrier: Option<Carrier>,
    ) -> Self {
        let mut policy = policy();
        let near = "127.0.0.1:7443".parse().expect("an address");
        for node in [NodeId(4), NodeId(5)] {
            policy.nodes.insert(node, NodeRow { node, region: region("tokyo"), addr: near, signature: None });
        }
        change(&mut policy);
        Self::at(node, policy, (classifier(), None), owners, carrier)
    }

    /// One with a further stream `people`, of records in which the classifier has made tokens.
    pub(super) fn with_people(events: Vec<Value>) -> Self {
        let mut policy = policy();
        let view = StreamView {
            id: StreamId(3),
            tenant: TenantId(1),
            name: name("people"),
            fields: vec![name("level"), name("service")],
            policy: StreamPolicy {
                personal: Personal::No,
                text_questions: true,
                group_fields: vec![name("level"), name("service")],
                ..StreamPolicy::default()
            },
            shard: Some((ShardId(0x2a), NodeId(1))),
        };
        let classifier = classifier();
        let clean = |event: Value| {
            let text = event.to_string();
            let clean = classifier.pseudonymise("", &text, &view).unwrap_or(text);
            record(now().0, None, serde_json::from_str(&clean).expect("still JSON"))
        };
        let records = durable(0x2a, 1, events.into_iter().map(clean).collect());
        let people = segment(&Layout::new(), records);
        policy.streams.insert((TenantId(1), name("people")), Arc::new(view));
        Self::of(policy, classifier, Some(people))
    }

    fn of(policy: Policy, classifier: Classifier, more: Option<Arc<Segment>>) -> Self {
        let nobody = Owners::over(|_, _, _, _| Box::pin(async { Err(NoWord::Silent) }));
        Self::at(NodeId(1), policy, (classifier, more), nobody, None)
    }

    fn at(
        node: NodeId,
        policy: Policy,
        (classifier, more): (Classifier, Option<Arc<Segment>>),
        owners: Owners,
        carrier: Option<Carrier>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::standing_at(now());
        let officer = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        let policy = PolicyWatch::new(policy);
        policy.lease().heard(Instant::now());
        let ledger = Arc::new(Ledger::open(dir.path(), &region("tokyo"), clock.clone()).expect("new"));
        let (events, segments) = sample(EVENTS);
        let segments = segments.into_iter().chain(more);
        let (engine, catalog) = (Engine::new().expect("threads"), Catalog::of(segments));
        let releases = Releases::new(engine.clone(), Store::in_memory(), clock.clone(), Tasks::default());
        let store = Store::in_memory();
        let statements = Statements::new(store, policy.clone(), clock.clone(), Tasks::default()).expect("random");
        let gate = gate(releases, catalog.clone(), statements.clone());
        let reach = reach(gate.clone(), policy.clone());
        let detector = Arc::new(Detector);
        let admitter = Arc::new(Admitter::new(policy.clone(), Rates::default()));
        let metrics = Metrics::new(&crate::config::Regions::built_in().expect("built in"));
        let answerer = Answerer::new(policy.clone(), gate.clone(), Arc::clone(&ledger), metrics, detector.clone());
        let owner = Arc::new(Owner::new(node, Arc::new(answerer), Arc::clone(&admitter)));
        let gate = match carrier {
            Some(carrier) => gate.beside(carrier),
            None => gate,
        };
        let federation = Federation::new(policy.clone(), gate, reach, Arc::clone(&ledger), detector.clone());
        let (proposed, refreshed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (is_log_full, is_broken, is_leaving) = (Arc::default(), Arc::default(), Arc::default());
        let propose = proposals(&policy, &proposed);
        let ownership =
            Ownership::new(node, None, policy.clone(), propose.clone(), detector.clone(), Duration::from_secs(1));
        let desk = Desk::new(Parts {
            awareness: Awareness::default(),
            region: region("tokyo"),
            node,
            officer: officer.public(),
            policy,
            admitter,
            engine,
            catalog,
            federation: Arc::new(federation),
            owners,
            ownership: Arc::new(ownership),
            propose,
            ledger,
            vault: Arc::new(crate::keys::specimen::vault(dir.path(), region("tokyo"), clock.clone())),
            detector,
            classifier,
            statements,
            clock,
            tasks: Tasks::default(),
            around: around(&refreshed, [&is_log_full, &is_broken, &is_leaving]),
        });
        Self {
            desk,
            owner,
            events,
            officer,
            proposals: proposed,
            refreshes: refreshed,
            is_log_full,
            is_broken,
            is_leaving,
            _dir: dir,
        }
    }

    /// The Elasticsearch port, as the node puts it together.
    pub(super) fn elastic(&self) -> Router {
        let router = super::elastic::router(Arc::clone(&self.desk));
        router.layer(axum::middleware::from_fn(crate::receive::elastic::product))
    }

    /// The native port, as the node puts it together.
    pub(super) fn native(&self) -> Router {
        super::native::router(Arc::clone(&self.desk)).merge(super::admin::router(Arc::clone(&self.desk)))
    }
}

/// A response, read whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
}

/// Asks a router.
pub(super) async fn ask(router: Router, with: u8, method: &str, path: &str, body: impl Into<Body>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Authorization", format!("Bearer {}", key(with)))
        .body(body.into())
        .expect("a request");
    send(router, request).await
}

/// Sends a request as it is.
pub(super) async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("whole");
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("text") }
}
