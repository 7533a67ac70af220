//! TLS of client listeners: a server certificate, no client certificates, HTTP/2 and HTTP/1.1.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::crypto;
use super::errors::LinkError;
use super::rotation::{IdentityFiles, Rotating};

/// TLS for the listeners clients talk to; its certificate can be replaced while it runs.
#[derive(Clone)]
pub struct ClientTls {
    files: IdentityFiles,
    certificate: Arc<Rotating>,
    config: Arc<ServerConfig>,
}

impl ClientTls {
    /// Reads certificate and key. TLS 1.2 and 1.3, for clients are not all ours.
    ///
    /// # Errors
    /// [`LinkError::File`], [`LinkError::Pem`] or [`LinkError::Key`] names the file that is wrong.
    pub fn open(files: IdentityFiles) -> Result<Self, LinkError> {
        let provider = crypto::provider();
        let certificate = Arc::new(Rotating::new(files.read(&provider)?));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| LinkError::Tls { source })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { files, certificate, config: Arc::new(config) })
    }

    /// What turns a TCP stream into a TLS stream.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Reads certificate and key again; new connections use them.
    ///
    /// # Errors
    /// As [`ClientTls::open`]; the old ones stay in use.
    pub fn reload(&self) -> Result<(), LinkError> {
        self.certificate.replace(self.files.read(&crypto::provider())?);
        Ok(())
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("files", &self.files).finish_non_exhaustive()
    }
}
