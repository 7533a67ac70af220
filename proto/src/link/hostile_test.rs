//! The link against peers that lie about who they are or send what is no message.

use std::sync::Arc;

use quinn::{Connection, ConnectionError, ReadError, ReadToEndError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::endpoint::Link;
use super::errors::{GivenUp, LinkError};
use super::harness::{Memory, Node, World, now, question, region};
use super::identity::{IdentityError, PeerAddr, PeerId};
use super::pki::RegionCa;
use super::protocol::Protocol;
use super::rotation::IdentityFiles;
use super::trust::TrustError;
use crate::codec::{self, HEADER_BYTES};
use crate::ids::{Level, NodeId};
use crate::message::answer::{Answer, Outcome, RefusalCode};
use crate::message::question::{Filter, MAX_FILTERS, Question};

/// Certificates that must open no link, with what is wrong with them.
fn forgeries(world: &World) -> Vec<(&'static str, IdentityFiles)> {
    let tokyo = world.path_of("tokyo");
    let rogue = world.path_of("rogue");
    RegionCa::init(&rogue, &region("tokyo"), &world.deployment, now()).expect("a CA of somebody else");
    let forge = |ca, name, uris: &[&str]| (name, world.forge(ca, name, uris));
    vec![
        forge(&tokyo, "no-uri", &[]),
        forge(&tokyo, "two-uris", &["spiffe://tokyo.acme/node/5", "spiffe://tokyo.acme/node/6"]),
        forge(&tokyo, "no-region", &["spiffe://acme/node/5"]),
        forge(&tokyo, "other-deployment", &["spiffe://tokyo.other/node/5"]),
        forge(&tokyo, "unknown-region", &["spiffe://atlantis.acme/node/5"]),
        forge(&tokyo, "region-of-another-ca", &["spiffe://frankfurt.acme/node/5"]),
        forge(&rogue, "foreign-ca", &["spiffe://tokyo.acme/node/5"]),
    ]
}

#[tokio::test]
async fn a_forged_certificate_opens_no_link() {
    let world = World::new();
    let there = world.node("frankfurt", 2);
    for (name, identity) in forgeries(&world) {
        // The refusal comes during the handshake or, as TLS 1.3 allows, right after it.
        let refused = match world.raw(&identity, "domicile-query/1", &there).await {
            Err(error) => error,
            Ok((_endpoint, connection)) => connection.closed().await,
        };
        assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{name}: {refused}");
    }
    let good = world.node("tokyo", 1);
    assert_eq!(good.count_at(&there.addr()).await.expect("an answer"), 7);
    assert_eq!(there.came().len(), 1, "only the good one came in");
}

#[tokio::test]
async fn a_forged_certificate_answers_no_dial() {
    let world = World::new();
    for (name, identity) in forgeries(&world) {
        let here = world.node("tokyo", 1);
        let listener = world.raw_listener(&identity);
        let home = if name == "region-of-another-ca" { "frankfurt" } else { "tokyo" };
        let id = PeerId { region: region(home), node: NodeId(5) };
        let to = PeerAddr { id: id.clone(), addr: listener.local_addr().expect("an address") };
        let answering = async {
            if let Some(incoming) = listener.accept().await {
                // Fails, for the dialling side refuses.
                let _ = incoming.await;
            }
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            peer = here.link.peer(&to, Protocol::Query) => peer.expect_err("nobody of ours"),
            () = answering => unreachable!("it never ends"),
        };
        let LinkError::Untrusted { source, .. } = error else { panic!("{name}: {error}") };
        let expected = match name {
            "no-uri" => matches!(*source, TrustError::Identity(IdentityError::UriNames { found: 0 })),
            "two-uris" => matches!(*source, TrustError::Identity(IdentityError::UriNames { found: 2 })),
            "no-region" | "other-deployment" => {
                matches!(*source, TrustError::Identity(IdentityError::TrustDomain))
            }
            "unknown-region" => matches!(*source, TrustError::UnknownRegion(_)),
            _ => matches!(&*source, TrustError::NotVouched { region, .. } if *region == id.region),
        };
        assert!(expected, "{name}: {source}");
    }
}

#[tokio::test]
async fn a_node_does_not_start_with_a_certificate_that_names_nobody() {
    let world = World::new();
    for (name, identity) in forgeries(&world) {
        let config = super::endpoint::LinkConfig { identity, ..world.config("tokyo", 1) };
        let bound = Link::bind(config, Arc::new(Memory::default()));
        match name {
            "no-uri" | "two-uris" | "no-region" | "other-deployment" => {
                assert!(matches!(bound.err(), Some(LinkError::Identity { .. })), "{name}");
            }
            "unknown-region" => assert!(matches!(bound.err(), Some(LinkError::NoBundle { .. })), "{name}"),
            // Names a node; only the others can see that nobody vouches for it.
            _ => assert!(bound.is_ok(), "{name}"),
        }
    }
}

#[tokio::test]
async fn a_protocol_of_another_name_is_refused() {
    let world = World::new();
    let there = world.node("frankfurt", 2);
    let identity = world.config("tokyo", 1).identity;
    for alpn in ["domicile-query/2", "h3", "domicile-query"] {
        let refused = world.raw(&identity, alpn, &there).await.err();
        assert!(matches!(refused, Some(ConnectionError::ConnectionClosed(_))), "{alpn}: {refused:?}");
    }
    assert!(world.raw(&identity, "domicile-query/1", &there).await.is_ok());
}

async fn say(connection: &Connection, bytes: &[u8], is_finished: bool) -> Result<Vec<u8>, ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
    // Fails where the peer has stopped reading already.
    let _ = send.write_all(bytes).await;
    if is_finished {
        let _ = send.finish();
    }
    receive.read_to_end(1 << 20).await
}

fn was_refused(answer: Result<Vec<u8>, ReadToEndError>) -> bool {
    let malformed = quinn::VarInt::from_u32(GivenUp::Malformed.wire());
    matches!(answer, Err(ReadToEndError::Read(ReadError::Reset(code))) if code == malformed)
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_connection_lives() {
    let world = World::new();
    let there = world.node("frankfurt", 2);
    let identity = world.config("tokyo", 1).identity;
    let (_endpoint, connection) =
        world.raw(&identity, "domicile-query/1", &there).await.expect("a certificate of ours");
    let good = codec::encode(&question(1)).expect("encoded");
    let change = |at: usize, to: &[u8]| {
        let mut frame = good.clone();
        frame[at..at + to.len()].copy_from_slice(to);
        frame
    };
    let cases = [
        ("no magic", change(0, b"GET "), true),
        ("an answer", change(4, &[2]), true),
        ("another version", change(5, &[good[5] + 1]), true),
        // Not finished: it must be refused by its length alone, with no byte of the body there.
        ("an announced length of 4 GiB", change(6, &u32::MAX.to_be_bytes())[..HEADER_BYTES].to_vec(), false),
        ("one byte over the limit", change(6, &(16_385_u32).to_be_bytes())[..HEADER_BYTES].to_vec(), false),
        ("another checksum", change(10, &[!good[10]]), true),
        ("half a frame", good[..good.len() / 2].to_vec(), true),
        ("half a header", good[..5].to_vec(), true),
        ("nothing", Vec::new(), true),
        ("two frames", [good.clone(), good.clone()].concat(), true),
        ("one byte more", [good.clone(), vec![0]].concat(), true),
    ];
    for (name, bytes, is_finished) in cases {
        assert!(was_refused(say(&connection, &bytes, is_finished).await), "{name}");
    }
    assert_eq!(there.begun(), Vec::<&str>::new(), "the node saw none of them");
    assert!(there.ledger.classes().is_empty());
    let answer = say(&connection, &good, true).await.expect("the same connection still answers");
    assert!(codec::decode::<Answer>(&answer).is_ok());
}

#[tokio::test]
async fn a_stream_that_was_reset_is_never_taken_for_a_whole_message() {
    let world = World::new();
    let there = world.node("frankfurt", 2);
    let identity = world.config("tokyo", 1).identity;
    let (_endpoint, connection) =
        world.raw(&identity, "domicile-query/1", &there).await.expect("a certificate of ours");
    let good = codec::encode(&question(1)).expect("encoded");
    for length in [1, HEADER_BYTES, good.len() - 1, good.len()] {
        let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
        send.write_all(&good[..length]).await.expect("written");
        send.reset(quinn::VarInt::from_u32(0)).expect("reset");
        assert!(receive.read_to_end(1 << 20).await.is_err(), "{length}");
    }
    assert_eq!(there.begun(), Vec::<&str>::new());
    say(&connection, &good, true).await.expect("an answer");
    assert_eq!(there.begun(), ["question"]);
}

#[tokio::test]
async fn a_question_out_of_bounds_is_refused_before_the_node_sees_it() {
    let world = World::new();
    let there = world.node("frankfurt", 2);
    let identity = world.config("tokyo", 1).identity;
    let (_endpoint, connection) =
        world.raw(&identity, "domicile-query/1", &there).await.expect("a certificate of ours");
    let filter = Filter::Level { levels: vec![Level::Error], negated: false };
    let wide = Question { filters: vec![filter; MAX_FILTERS + 1], ..question(1) };
    let answer = say(&connection, &codec::encode(&wide).expect("encoded"), true).await.expect("an answer");
    let answer: Answer = codec::decode(&answer).expect("an answer");
    assert_eq!(answer.outcome, Outcome::Refused(RefusalCode::OutOfBounds));
    assert_eq!(there.begun(), Vec::<&str>::new());
    assert_eq!(there.ledger.classes().len(), 2, "the question and its refusal are in the ledger");
}

#[tokio::test]
async fn a_question_on_a_raft_connection_is_an_error() {
    let world = World::new();
    let there: Node = world.node("frankfurt", 2);
    let identity = world.config("tokyo", 1).identity;
    let (_endpoint, connection) = world.raw(&identity, "domicile-raft/1", &there).await.expect("a certificate of ours");
    let frame = codec::encode(&question(1)).expect("encoded");
    assert!(was_refused(say(&connection, &frame, true).await));
    assert_eq!(there.begun(), ["metadata"], "begun, and nothing of it taken");
}

#[tokio::test]
async fn a_region_takes_no_more_connections_than_its_share() {
    let world = World::new();
    let mut config = world.config("frankfurt", 2);
    config.limits.connections_of_region = 1;
    let there = Node::start(config);
    let (first, second, near) = (world.node("tokyo", 1), world.node("tokyo", 3), world.node("frankfurt", 4));
    assert_eq!(first.count_at(&there.addr()).await.expect("an answer"), 7);
    let refused = second.count_at(&there.addr()).await.expect_err("the region's share is taken");
    assert!(refused.is_unreachable(), "{refused}");
    assert_eq!(near.count_at(&there.addr()).await.expect("an answer"), 7);
    assert_eq!(first.count_at(&there.addr()).await.expect("an answer"), 7);
}

#[test]
fn a_damaged_certificate_is_never_more_than_refused() {
    let world = World::new();
    let identity = world.config("tokyo", 1).identity;
    let pem = std::fs::read(&identity.cert).expect("a certificate");
    let good = CertificateDer::from_pem_slice(&pem).expect("a certificate");
    let honest = PeerId { region: region("tokyo"), node: NodeId(1) };
    assert_eq!(PeerId::of_certificate(&good, &world.deployment).as_ref(), Ok(&honest));
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = good.to_vec();
            bytes[at] ^= flip;
            // Must not panic. Whether it names somebody is all the same: its signature does not hold.
            let _ = PeerId::of_certificate(&CertificateDer::from(bytes), &world.deployment);
        }
        let cut = CertificateDer::from(good[..at].to_vec());
        assert!(PeerId::of_certificate(&cut, &world.deployment).is_err());
    }
}
