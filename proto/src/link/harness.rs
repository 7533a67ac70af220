//! What the tests of the link share: two regions with their CAs, nodes that answer, a ledger that remembers, and a raw
//! peer that may send anything. Only for tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls_pki_types::UnixTime;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::connection::{Inbound, Peer};
use super::crossing::{BoxFuture, Crossing, CrossingLedger, LedgerRefused};
use super::crypto;
use super::endpoint::{Link, LinkConfig};
use super::errors::LinkError;
use super::identity::{PeerAddr, PeerId};
use super::limits::LinkLimits;
use super::pki::{CERTIFICATE_VALIDITY, RegionCa};
use super::protocol::Protocol;
use super::rotation::{IdentityFiles, Rotating};
use super::trust::{AnyNode, OneNode, Trust};
use crate::aggregate::count::Count;
use crate::border::{
    Cells, EgressClass, LiteralDetector, Measured, QuestionRules, ReleasePolicy, VettedQuestion, release,
};
use crate::ids::{
    KThreshold, Name, NodeId, PolicyVersion, QuestionId, RecordCount, Region, ShardId, StreamId, SubjectCount,
    TenantId, TimeRange, Timestamp,
};
use crate::message::answer::AnswerHeader;
use crate::message::batch::{BatchFates, RecordFate};
use crate::message::gated::DrawnFrom;
use crate::message::ledger::{HeadOffer, SignedHead, TreeHash, Verdict};
use crate::message::metadata::MetadataFrame;
use crate::message::question::{Ask, Question};
use crate::message::region::{NodeStand, RegionAsk, RegionReply, RowBytes};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn now() -> Timestamp {
    Timestamp(i64::try_from(UnixTime::now().as_secs()).expect("before the year 292278994") * Timestamp::MICROS)
}

pub(super) fn region(name: &str) -> Region {
    name.parse().expect("a name")
}

/// Two regions and their CAs on disk.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) deployment: Name,
    pub(super) cas: BTreeMap<Region, RegionCa>,
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let deployment: Name = "acme".parse().expect("a name");
        let made = ["tokyo", "frankfurt"].map(|name| {
            let ca = RegionCa::init(&dir.path().join(name), &region(name), &deployment, now()).expect("a CA");
            (region(name), ca)
        });
        Self { dir, deployment, cas: made.into_iter().collect() }
    }

    pub(super) fn config(&self, home: &str, node: u64) -> LinkConfig {
        let ca = &self.cas[&region(home)];
        let files = ca.node_files(NodeId(node));
        if !files.cert.try_exists().expect("a readable directory") {
            ca.issue_node(NodeId(node), now(), CERTIFICATE_VALIDITY).expect("a certificate");
        }
        LinkConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            deployment: self.deployment.clone(),
            identity: files,
            bundles: self.cas.iter().map(|(region, ca)| (region.clone(), ca.bundle())).collect(),
            tls_keylog: None,
            via: BTreeMap::new(),
            limits: LinkLimits::default(),
        }
    }

    /// A node that answers, counts and acknowledges.
    pub(super) fn node(&self, home: &str, node: u64) -> Node {
        Node::start(self.config(home, node))
    }

    /// A certificate with any names, signed by the CA in a directory.
    pub(super) fn forge(&self, ca_dir: &Path, file: &str, uris: &[&str]) -> IdentityFiles {
        let read = |name: &str| std::fs::read_to_string(ca_dir.join(name)).expect("a file of the CA");
        let ca_key = KeyPair::from_pem(&read("ca.key")).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), ca_key).expect("a CA");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().expect("ASCII")));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        let path = |ending: &str| self.dir.path().join(format!("{file}.{ending}"));
        let files = IdentityFiles { cert: path("crt"), key: path("key") };
        std::fs::write(&files.cert, certificate.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        let owner_alone = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&files.key, owner_alone).expect("a mode");
        files
    }

    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn trust(&self) -> Arc<ArcSwap<Trust>> {
        let bundles: Vec<_> = self.cas.iter().map(|(region, ca)| (region.clone(), ca.bundle())).collect();
        let trust = Trust::read(&self.deployment, &bundles, &crypto::provider()).expect("bundles");
        Arc::new(ArcSwap::from_pointee(trust))
    }

    /// A peer with any certificate and protocol name that says what it likes.
    pub(super) async fn raw(
        &self,
        identity: &IdentityFiles,
        alpn: &str,
        to: &Node,
    ) -> Result<(Endpoint, Connection), quinn::ConnectionError> {
        let certified = identity.read(&crypto::provider()).expect("certificate and key");
        let mut tls = rustls::ClientConfig::builder_with_provider(crypto::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OneNode::new(self.trust(), to.link.identity().clone())))
            .with_client_cert_resolver(Arc::new(Rotating::new(certified)));
        tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a suite")));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let connecting = endpoint.connect_with(config, to.addr().addr, "node.domicile.internal").expect("dialled");
        let connection = connecting.await?;
        Ok((endpoint, connection))
    }

    /// A listener with any certificate, that says nothing.
    pub(super) fn raw_listener(&self, identity: &IdentityFiles) -> Endpoint {
        let certified = identity.read(&crypto::provider()).expect("certificate and key");
        let mut tls = rustls::ServerConfig::builder_with_provider(crypto::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(Arc::new(AnyNode(self.trust())))
            .with_cert_resolver(Arc::new(Rotating::new(certified)));
        tls.alpn_protocols = vec![b"domicile-query/1".to_vec()];
        let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("a suite")));
        Endpoint::server(config, "127.0.0.1:0".parse().expect("an address")).expect("a socket")
    }
}

/// A ledger in memory that can be told to refuse.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) crossings: Mutex<Vec<(&'static str, EgressClass, Vec<u8>)>>,
    pub(super) refuses: AtomicBool,
    pub(super) metadata: Mutex<(u64, u64)>,
    pub(super) turned_away: AtomicU64,
}

impl Memory {
    pub(super) fn classes(&self) -> Vec<(&'static str, EgressClass)> {
        self.crossings.lock().expect("not poisoned").iter().map(|(way, class, _)| (*way, *class)).collect()
    }

    fn record(&self, way: &'static str, crossing: Crossing) -> Result<(), LedgerRefused> {
        assert_eq!(crossing.bytes.0, crossing.body.len() as u64);
        if self.refuses.load(Ordering::SeqCst) {
            return Err(LedgerRefused);
        }
        self.crossings.lock().expect("not poisoned").push((way, crossing.class, crossing.body));
        Ok(())
    }
}

impl CrossingLedger for Memory {
    fn departing(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        Box::pin(async move { self.record("departing", crossing) })
    }

    fn arrived(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        Box::pin(async move { self.record("arrived", crossing) })
    }

    fn turned_away(&self, _: &PeerId) {
        self.turned_away.fetch_add(1, Ordering::SeqCst);
    }

    fn metadata_bytes(&self, _: &PeerId, sent: u64, received: u64) {
        let mut metadata = self.metadata.lock().expect("not poisoned");
        metadata.0 += sent;
        metadata.1 += received;
    }
}

/// A node: answers questions with a count of 7, metadata with `Done`, and remembers who came and what was begun.
pub(super) struct Node {
    pub(super) link: Link,
    pub(super) ledger: Arc<Memory>,
    pub(super) came: Arc<Mutex<Vec<(PeerId, Protocol, bool)>>>,
    pub(super) begun: Arc<Mutex<Vec<&'static str>>>,
    pub(super) tasks: TaskTracker,
}

impl Node {
    pub(super) fn start(config: LinkConfig) -> Self {
        let ledger = Arc::new(Memory::default());
        let link = bind(config, Arc::clone(&ledger));
        let node = Self { link, ledger, came: Arc::default(), begun: Arc::default(), tasks: TaskTracker::new() };
        let (link, came, begun, tasks) =
            (node.link.clone(), Arc::clone(&node.came), Arc::clone(&node.begun), node.tasks.clone());
        node.tasks.spawn(async move {
            while let Some(accepted) = link.accept().await {
                let is_foreign = matches!(accepted.peer, Peer::Foreign(_));
                came.lock().expect("not poisoned").push((accepted.peer.id().clone(), accepted.protocol, is_foreign));
                tasks.spawn(serve(accepted.peer, Arc::clone(&begun)));
            }
        });
        node
    }

    pub(super) fn addr(&self) -> PeerAddr {
        PeerAddr { id: self.link.identity().clone(), addr: self.link.local_addr() }
    }

    pub(super) fn begun(&self) -> Vec<&'static str> {
        self.begun.lock().expect("not poisoned").clone()
    }

    pub(super) fn came(&self) -> Vec<(PeerId, Protocol, bool)> {
        self.came.lock().expect("not poisoned").clone()
    }

    /// Asks another node and returns the published count.
    pub(super) async fn count_at(&self, to: &PeerAddr) -> Result<u64, LinkError> {
        let peer = self.link.peer(to, Protocol::Query).await?;
        let received = peer.ask(&vetted(1), PATIENCE).await?;
        let crate::message::answer::Outcome::Aggregate(crate::aggregate::Aggregate::Count(count)) =
            received.answer().outcome.clone()
        else {
            panic!("a count was asked for")
        };
        Ok(count.cell.records.0)
    }
}

/// Binds; waits for a port that was in use a moment ago, for a socket lives until its last task has ended.
fn bind(config: LinkConfig, ledger: Arc<Memory>) -> Link {
    let begun = std::time::Instant::now();
    loop {
        match Link::bind(config.clone(), Arc::clone(&ledger) as _) {
            Err(LinkError::Bind { .. }) if begun.elapsed() < PATIENCE => std::thread::yield_now(),
            bound => return bound.expect("a link"),
        }
    }
}

async fn serve(peer: Peer, begun: Arc<Mutex<Vec<&'static str>>>) {
    while let Ok(inbound) = peer.next().await {
        match inbound {
            Inbound::Question(question, reply) => {
                begun.lock().expect("not poisoned").push("question");
                let header = AnswerHeader::new(question.question().id, question.question().range);
                let measured = vec![Measured { records: RecordCount(7), subjects: SubjectCount(7) }];
                let cells = Cells::<Count>::new((), measured).expect("one cell");
                let policy = ReleasePolicy { k: KThreshold::SUBJECTS, version: PolicyVersion(1) };
                // Fails where the asker has gone; the asker's side of the test sees it.
                let _ = peer.answer(reply, &release(cells, &policy, header)).await;
            }
            Inbound::Metadata(mut stream) => {
                begun.lock().expect("not poisoned").push("metadata");
                let mut whole = false;
                loop {
                    match stream.recv().await {
                        Ok(Some(_)) => {}
                        Ok(None) => {
                            whole = true;
                            break;
                        }
                        Err(_) => break,
                    }
                }
                if whole {
                    begun.lock().expect("not poisoned").push("whole");
                    let _ = stream.send(&MetadataFrame::Done).await;
                    let _ = stream.finish();
                }
            }
            Inbound::LedgerHead(offer, to) => {
                begun.lock().expect("not poisoned").push("head");
                let _ = peer.cosign(to, &Verdict::Stale { known: offer.head.size + 1 }).await;
            }
            Inbound::Region(ask, to) => {
                begun.lock().expect("not poisoned").push("region");
                let Peer::Neighbour(neighbour) = &peer else { panic!("a neighbour asks") };
                let mut to = to;
                let reply = match ask {
                    RegionAsk::How(orders) => RegionReply::Stands(vec![NodeStand::Unknown; orders.len()]),
                    // Three pieces of a kilobyte, and then, where nobody is meant, nothing more at all.
                    RegionAsk::Rows(_, person) => {
                        for byte in 0..3 {
                            let _ = neighbour.send_rows(&mut to, RowBytes(vec![byte; 1_024])).await;
                        }
                        if person.subjects.is_empty() {
                            continue;
                        }
                        RegionReply::RowsEnd(3)
                    }
                    // As many pieces of a kilobyte as there are streams.
                    RegionAsk::Search(search) => {
                        for _ in &search.streams {
                            let _ = neighbour.send_rows(&mut to, RowBytes(vec![7; 1_024])).await;
                        }
                        RegionReply::RowsEnd(search.streams.len() as u64)
                    }
                    // As many records as there are, and nothing where there is no stream: an older build, or one that ends.
                    RegionAsk::Batch(batch) if batch.streams.is_empty() => continue,
                    // A count of 70 records, and of the question before that where it is number 9.
                    RegionAsk::Gated(asked) => {
                        let id = QuestionId(if asked.question.id.0 == 9 { 8 } else { asked.question.id.0 });
                        let measured = vec![Measured { records: RecordCount(70), subjects: SubjectCount(70) }];
                        let cells = Cells::<Count>::new((), measured).expect("one cell");
                        let policy = ReleasePolicy { k: KThreshold::SUBJECTS, version: PolicyVersion(1) };
                        let released = release(cells, &policy, AnswerHeader::new(id, asked.question.range));
                        let drawn = DrawnFrom { shard: ShardId(3), upto: 70, journal: 1, rules: [2; 32], k: None };
                        let _ = neighbour.bring(to, &released, (asked.wait_ms > 0).then_some(drawn)).await;
                        continue;
                    }
                    RegionAsk::Batch(batch) => RegionReply::Fates(BatchFates {
                        fates: vec![RecordFate::Created(batch.body.0.len() as u64); batch.records.len()],
                        failures: Vec::new(),
                        ids: Vec::new(),
                        repeated: false,
                    }),
                    _ => panic!("orders are asked after, and records"),
                };
                let _ = neighbour.say(to, &reply).await;
            }
        }
    }
}

struct Finds;

impl LiteralDetector for Finds {
    fn finds_personal_data(&self, _: &str) -> bool {
        false
    }
}

pub(super) fn question(id: u128) -> Question {
    Question {
        id: QuestionId(id),
        tenant: TenantId(1),
        stream: StreamId(1),
        range: TimeRange { from: Timestamp(0), to: Timestamp(60 * Timestamp::MICROS) },
        filters: Vec::new(),
        ask: Ask::Count,
        deadline_ms: 1_000,
    }
}

pub(super) fn vetted(id: u128) -> VettedQuestion {
    VettedQuestion::vet(question(id), &QuestionRules { fields: 0, text_questions: false }, &Finds).expect("in bounds")
}

pub(super) fn head(size: u64) -> HeadOffer {
    let head = SignedHead {
        region: crate::ids::RegionNumber(1),
        size,
        root: [1; 32],
        at: Timestamp(0),
        signature_r: [2; 32],
        signature_s: [3; 32],
    };
    HeadOffer { head, key: [4; 32], known: 0, proof: vec![TreeHash([5; 32])] }
}
