//! Certificates and bundles are replaced while the node runs: new handshakes use the new ones, all or none.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::errors::LinkError;
use super::identity::PeerId;
use super::trust::read_certificates;
use crate::ids::Name;

/// Where a certificate and its key lie, both PEM. The key's file has mode 0600, or at most a group that may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, followed by intermediates if there are any.
    pub cert: PathBuf,
    /// Its private key, PKCS#8.
    pub key: PathBuf,
}

impl IdentityFiles {
    /// Reads both and checks that they belong together.
    pub(super) fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, LinkError> {
        let chain = read_certificates(&self.cert)?;
        let key = read_key(&self.key)?;
        CertifiedKey::from_der(chain, key, provider)
            .map_err(|source| LinkError::Key { path: self.cert.clone(), source })
    }

    /// Whom the certificate names.
    pub(super) fn identity(&self, key: &CertifiedKey, deployment: &Name) -> Result<PeerId, LinkError> {
        let leaf = key.end_entity_cert().map_err(|source| LinkError::Key { path: self.cert.clone(), source })?;
        PeerId::of_certificate(leaf, deployment)
            .map_err(|source| LinkError::Identity { path: self.cert.clone(), source })
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, LinkError> {
    let failed = |source| LinkError::File { path: path.to_owned(), source: Arc::new(source) };
    let pem = std::fs::read(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        // A group may be how a key reaches a node that is not its owner; everybody is nobody's intention.
        if mode & 0o007 != 0 {
            return Err(LinkError::KeyMode { path: path.to_owned(), mode });
        }
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| LinkError::Pem { path: path.to_owned() })
}

/// The certificate of the moment, for both ends of a handshake.
pub(super) struct Rotating(ArcSwap<CertifiedKey>);

impl Rotating {
    pub(super) fn new(key: CertifiedKey) -> Self {
        Self(ArcSwap::from_pointee(key))
    }

    /// New handshakes use this one.
    pub(super) fn replace(&self, key: CertifiedKey) {
        self.0.store(Arc::new(key));
    }
}

impl fmt::Debug for Rotating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotating(..)")
    }
}

impl ResolvesServerCert for Rotating {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for Rotating {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
