//! The one cryptographic provider of the process: ring, chosen explicitly.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

/// The provider every TLS configuration of this crate names.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes it the default of the process, for libraries that do not name one. Does nothing where there is one already.
pub fn install_default_provider() {
    // The error is the provider that came first; the process goes on with that one.
    let _ = ring::default_provider().install_default();
}
