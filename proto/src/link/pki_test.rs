//! The development PKI and the TLS of client listeners.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::crypto;
use super::harness::{World, now, region};
use super::pki::{CERTIFICATE_VALIDITY, PkiError, RegionCa, describe};
use super::tls::ClientTls;
use crate::ids::{NodeId, Timestamp};
use crate::metadata::Change;

#[test]
fn keys_are_created_for_their_owner_alone_and_never_overwritten() {
    let world = World::new();
    let ca = &world.cas[&region("tokyo")];
    let node = ca.issue_node(NodeId(1), now(), CERTIFICATE_VALIDITY).expect("a certificate");
    let server = ca.issue_server(&["localhost".to_owned()], now(), CERTIFICATE_VALIDITY).expect("a certificate");
    #[cfg(unix)]
    for path in [&node.key, &server.key, &world.path_of("tokyo/ca.key"), &ca.officer_key()] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let before = std::fs::read(&node.key).expect("a key");
    for again in [
        ca.issue_node(NodeId(1), now(), CERTIFICATE_VALIDITY).map(drop),
        ca.issue_server(&[], now(), CERTIFICATE_VALIDITY).map(drop),
        RegionCa::init(&world.path_of("tokyo"), &region("tokyo"), &world.deployment, now()).map(drop),
    ] {
        assert!(matches!(again, Err(PkiError::Exists { .. })), "{again:?}");
    }
    assert_eq!(std::fs::read(&node.key).expect("a key"), before);
    ca.renew_node(NodeId(1), now(), CERTIFICATE_VALIDITY).expect("renewed");
    ca.renew_node(NodeId(1), now(), CERTIFICATE_VALIDITY).expect("renewed again");
    assert_ne!(std::fs::read(&node.key).expect("a key"), before);
}

#[test]
fn a_ca_issues_for_its_own_region_and_a_certificate_can_be_described() {
    let world = World::new();
    let ca = &world.cas[&region("tokyo")];
    let at = Timestamp::from_millis(1_800_000_000_000);
    let node = ca.issue_node(NodeId(7), at, CERTIFICATE_VALIDITY).expect("a certificate");
    let found = describe(&node.cert).expect("a certificate");
    assert_eq!(found.uris, ["spiffe://tokyo.acme/node/7"]);
    assert_eq!((found.subject.as_str(), found.issuer.as_str()), ("CN=node 7 of tokyo", "CN=tokyo.acme"));
    assert!(!found.is_ca && found.hosts.is_empty());
    assert!(found.not_before < at && found.not_after > at);
    assert!(describe(&ca.bundle()).expect("a CA").is_ca);
    let server = ca.issue_server(&["localhost".to_owned(), "127.0.0.1".to_owned()], at, CERTIFICATE_VALIDITY);
    let found = describe(&server.expect("a certificate").cert).expect("a certificate");
    assert_eq!((found.uris.len(), found.hosts), (0, vec!["localhost".to_owned(), "127.0.0.1".to_owned()]));
    let wrong = RegionCa::open(&world.path_of("tokyo"), &region("frankfurt"), &world.deployment);
    assert!(matches!(wrong.err(), Some(PkiError::OtherRegion { .. })));
}

#[test]
fn the_officer_key_of_a_region_consents() {
    let world = World::new();
    let ca = &world.cas[&region("tokyo")];
    let key = ca.read_officer().expect("a key");
    let public = std::fs::read_to_string(ca.officer_public()).expect("a key");
    let public = crate::officer::OfficerPublic::try_from(public).expect("hexadecimal");
    let change = Change::AddNode { node: NodeId(1), addr: "127.0.0.1:7443".parse().expect("an address") };
    assert!(public.consents(&key.sign(region("tokyo"), crate::ids::ConsentSerial(1), change)));
}

#[tokio::test]
async fn client_listeners_speak_tls_with_the_issued_certificate_and_take_a_new_one() {
    let world = World::new();
    let ca = &world.cas[&region("tokyo")];
    let files = ca.issue_server(&["localhost".to_owned()], now(), CERTIFICATE_VALIDITY).expect("a certificate");
    let tls = ClientTls::open(files.clone()).expect("a certificate and its key");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.bundle()).expect("a CA")).expect("a CA");
    let mut config = rustls::ClientConfig::builder_with_provider(crypto::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A resumed session would show the certificate of the first.
    config.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let leaf = async || {
        let (near, far) = tokio::io::duplex(4_096);
        let name = ServerName::try_from("localhost").expect("a name");
        let (client, server) = tokio::join!(connector.connect(name, near), tls.acceptor().accept(far));
        let (mut client, mut server) = (client.expect("trusted"), server.expect("accepted"));
        server.write_all(b"hello").await.expect("written");
        server.flush().await.expect("written");
        let mut said = [0; 5];
        client.read_exact(&mut said).await.expect("read");
        assert_eq!(&said, b"hello");
        client.get_ref().1.peer_certificates().expect("a chain")[0].clone()
    };
    let first = leaf().await;
    for path in [&files.cert, &files.key] {
        std::fs::remove_file(path).expect("removed");
    }
    assert!(tls.reload().is_err());
    assert_eq!(leaf().await, first, "a reload that fails changes nothing");
    ca.issue_server(&["localhost".to_owned()], now(), CERTIFICATE_VALIDITY).expect("a certificate");
    tls.reload().expect("a certificate and its key");
    assert_ne!(leaf().await, first);
}
