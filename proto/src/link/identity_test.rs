//! Certificates of peers: any bytes, good ones that are changed, and whole ones with any names.

#[path = "../../tests/edits/mod.rs"]
mod edits;

use std::panic::AssertUnwindSafe;

use bolero::{TypeGenerator, check};
use edits::Edit;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::*;
use crate::ids::Timestamp;
use crate::link::pki::{CERTIFICATE_VALIDITY, RegionCa};

/// Bytes that a length, a tag, a number or a name may be made of.
const TELLING: [u8; 16] = [0, 1, 2, 127, 128, 129, 130, 255, 0x30, 0x86, b'/', b'.', b':', b'0', b'9', b'+'];

/// How many inputs a target gets in an ordinary test run.
fn cases() -> usize {
    edits::cases(1_500)
}

/// What becomes a certificate.
#[derive(Debug, TypeGenerator)]
enum Certificate {
    /// A good one, changed here and there.
    Changed(Vec<Edit>),
    /// A whole one with changed SPIFFE ids: at most three, none of them where there are none.
    Named(Vec<Vec<Edit>>),
    /// Anything.
    Raw(Vec<u8>),
}

const SPIFFE_ID: &str = "spiffe://tokyo.acme/node/7";

impl Certificate {
    fn names(&self) -> Vec<String> {
        let Self::Named(names) = self else { return Vec::new() };
        let name = |edits: &Vec<Edit>| {
            let text = edits::edited(SPIFFE_ID.as_bytes(), edits, &TELLING, &[]);
            // A certificate has ASCII there.
            text.into_iter().map(|byte| char::from(byte & 0x7f)).collect()
        };
        names.iter().take(3).map(name).collect()
    }

    fn der(&self, good: &[u8], key: &KeyPair) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Changed(edits) => edits::edited(good, edits, &TELLING, &[]),
            Self::Named(_) => {
                let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
                let uris = self.names().into_iter().map(|name| SanType::URI(name.try_into().expect("ASCII")));
                params.subject_alt_names.extend(uris);
                params.self_signed(key).expect("a certificate").der().to_vec()
            }
        }
    }
}

#[test]
fn no_certificate_of_a_peer_panics() {
    let (dir, deployment) = (tempfile::tempdir().expect("a directory"), "acme".parse::<Name>().expect("a name"));
    let tokyo = "tokyo".parse().expect("a name");
    let ca = RegionCa::init(dir.path(), &tokyo, &deployment, Timestamp(0)).expect("a CA");
    let files = ca.issue_node(NodeId(7), Timestamp(0), CERTIFICATE_VALIDITY).expect("a certificate");
    let good = CertificateDer::from_pem_file(files.cert).expect("a certificate");
    let us = PeerId { region: tokyo, node: NodeId(7) };
    assert_eq!(PeerId::of_certificate(&good, &deployment), Ok(us));
    // It is only signed with.
    let key = AssertUnwindSafe(KeyPair::generate().expect("a key"));
    check!().with_iterations(cases()).with_type::<Certificate>().for_each(|input| {
        let der = CertificateDer::from(input.der(&good, &key));
        let peer = PeerId::of_certificate(&der, &deployment);
        if let Ok(peer) = &peer {
            let id = peer.spiffe_id(&deployment);
            assert!(der.windows(id.len()).any(|here| here == id.as_bytes()), "{id} stands nowhere in it");
        }
        if let Certificate::Named(_) = input {
            let names = input.names();
            let [name] = &names[..] else { return assert!(peer.is_err(), "{names:?}") };
            assert_eq!(peer, PeerId::from_spiffe_id(name, &deployment), "{name}");
        }
    });
}
