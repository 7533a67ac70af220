//! Who may vouch for whom: one CA per region, and none beside it (RES-4).
//!
//! A certificate is read first for the region it claims, and then must chain to the CA of exactly that region: the CA of
//! Tokyo cannot make a node of Frankfurt. Names of hosts mean nothing here; the SPIFFE id takes their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::errors::LinkError;
use super::identity::{IdentityError, PeerId};
use crate::ids::{Name, Region};

/// Why a peer is not taken for what it says it is.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrustError {
    /// It names nobody.
    #[error("the peer's certificate names no node")]
    Identity(#[from] IdentityError),
    /// No bundle for the region it names.
    #[error("no CA is known for `{0}`, the region the peer's certificate names; add its bundle if it belongs here")]
    UnknownRegion(Region),
    /// The CA of the region it names did not sign it, or not for now or for this purpose.
    #[error("the CA of `{region}` does not vouch for the peer's certificate")]
    NotVouched {
        /// The region it names.
        region: Region,
        /// What the check of the chain found.
        source: Error,
    },
    /// Somebody else of the deployment.
    #[error("the peer is {found}, {wanted} was meant; correct the address")]
    OtherPeer {
        /// Who was meant.
        wanted: PeerId,
        /// Who answered.
        found: PeerId,
    },
}

/// The CA bundles of all regions, as they are at one time.
#[derive(Debug)]
pub(super) struct Trust {
    deployment: Name,
    regions: BTreeMap<Region, RegionTrust>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct RegionTrust {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Reads the bundles: one PEM file for each region, with one certificate or, while a CA is replaced, several.
    pub(super) fn read(
        deployment: &Name,
        bundles: &[(Region, PathBuf)],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, LinkError> {
        let mut regions = BTreeMap::new();
        for (region, path) in bundles {
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|source| LinkError::Key { path: path.clone(), source })?;
            }
            let roots = Arc::new(roots);
            let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                .build()
                .map_err(|_| LinkError::Pem { path: path.clone() })?;
            regions.insert(region.clone(), RegionTrust { roots, clients });
        }
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { deployment: deployment.clone(), regions, algorithms })
    }

    /// Says at WARN where peers will refuse a certificate of our own: it is expired, or of a CA that is not in the bundle.
    /// The node goes on, for what it does at home needs no link.
    pub(super) fn warn_unless_vouched(&self, own: &CertifiedKey) {
        let Some((leaf, chain)) = own.cert.split_first() else { return };
        if let Err(error) = self.verify_client(leaf, chain, UnixTime::now()) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "peers will refuse this node's certificate; issue a new one"
            );
        }
    }

    /// Whether there is a bundle for the region.
    pub(super) fn knows(&self, region: &Region) -> bool {
        self.regions.contains_key(region)
    }

    fn claim(&self, leaf: &CertificateDer<'_>) -> Result<(PeerId, &RegionTrust), TrustError> {
        let peer = PeerId::of_certificate(leaf, &self.deployment)?;
        match self.regions.get(&peer.region) {
            Some(region) => Ok((peer, region)),
            None => Err(TrustError::UnknownRegion(peer.region)),
        }
    }

    fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<PeerId, TrustError> {
        let (peer, trust) = self.claim(leaf)?;
        let verdict = ParsedCertificate::try_from(leaf).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(&parsed, &trust.roots, chain, now, self.algorithms.all)
        });
        verdict.map_err(|source| TrustError::NotVouched { region: peer.region.clone(), source })?;
        Ok(peer)
    }

    fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<PeerId, TrustError> {
        let (peer, trust) = self.claim(leaf)?;
        let verdict = trust.clients.verify_client_cert(leaf, chain, now);
        verdict.map_err(|source| TrustError::NotVouched { region: peer.region.clone(), source })?;
        Ok(peer)
    }
}

/// The certificates of a PEM file; at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let pem =
        std::fs::read(path).map_err(|source| LinkError::File { path: path.to_owned(), source: Arc::new(source) })?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(LinkError::Pem { path: path.to_owned() }),
    }
}

/// Checks whoever dials us.
#[derive(Debug)]
pub(super) struct AnyNode(pub(super) Arc<ArcSwap<Trust>>);

/// Checks whoever answers a dial: it must be the one that was meant. Keeps why it was not.
#[derive(Debug)]
pub(super) struct OneNode {
    trust: Arc<ArcSwap<Trust>>,
    wanted: PeerId,
    refusal: Mutex<Option<TrustError>>,
}

impl OneNode {
    pub(super) const fn new(trust: Arc<ArcSwap<Trust>>, wanted: PeerId) -> Self {
        Self { trust, wanted, refusal: Mutex::new(None) }
    }

    /// Why the peer was refused, if it was.
    pub(super) fn refusal(&self) -> Option<TrustError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), TrustError> {
        let found = self.trust.load().verify_server(leaf, chain, now)?;
        if found == self.wanted { Ok(()) } else { Err(TrustError::OtherPeer { wanted: self.wanted.clone(), found }) }
    }
}

impl ServerCertVerifier for OneNode {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(leaf, chain, now).map(|()| ServerCertVerified::assertion()).map_err(|error| {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            refused(error)
        })
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.trust.load().algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.load().algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A node has one certificate and needs no hint; a stranger learns no region from us.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.load().verify_client(leaf, chain, now).map(|_| ClientCertVerified::assertion()).map_err(refused)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.load().algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().algorithms.supported_schemes()
    }
}

fn refused(error: TrustError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}
