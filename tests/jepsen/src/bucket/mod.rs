//! What nodes share: a directory, or the bucket of a real S3 server with a relay of our own before it. Either is read as an object
//! store, and the server itself is asked, never the relay: what is true there is true whatever day it is.

mod message;
pub mod mishaps;
pub mod relay;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use domicile_tests::cluster::require::runs;
use domicile_tests::cluster::s3::S3;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;

use relay::Relay;

/// A bucket behind a relay.
pub struct Bucket {
    server: S3,
    /// What stands before it.
    pub relay: Relay,
}

impl Bucket {
    /// What is missing for one; nothing where all is there.
    pub fn missing() -> Option<String> {
        let is_there = std::env::var_os("DOMICILE_MOTO").is_some() || runs("moto_server");
        (!is_there).then(|| "`moto_server`, an S3 server".to_owned())
    }

    /// Starts the server, with a bucket in Tokyo, and the relay.
    ///
    /// # Errors
    /// When either does not start.
    pub fn start(seed: u64) -> Result<Self> {
        Self::over(S3::start()?.context("no S3 server")?, seed)
    }

    /// Puts the relay before a server.
    ///
    /// # Errors
    /// When it does not start.
    pub fn over(server: S3, seed: u64) -> Result<Self> {
        let address = server.endpoint().trim_start_matches("http://").parse()?;
        Ok(Self { relay: Relay::before(address, seed)?, server })
    }

    /// Opens a door of the relay for a node; the lines of its section `[store]`.
    ///
    /// # Errors
    /// When the socket is none, or a file cannot be written.
    pub fn settings(&self, node: &str, listener: TcpListener, data: &Path) -> Result<String> {
        let endpoint = format!("http://{}", listener.local_addr()?);
        self.relay.open(node, listener)?;
        self.server.settings_behind(&endpoint, data)
    }

    /// What lies in the bucket, as the server says it.
    ///
    /// # Errors
    /// When there is no client for it.
    pub fn objects(&self) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(s3(self.server.endpoint()).build()?))
    }
}

/// A client of the bucket of an S3 server.
fn s3(endpoint: &str) -> AmazonS3Builder {
    domicile_proto::link::crypto::install_default_provider();
    AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .with_bucket_name("acme-tokyo")
        .with_region("ap-northeast-1")
        .with_access_key_id("test")
        .with_secret_access_key("test")
}

/// What lies in a directory.
///
/// # Errors
/// When it cannot be made.
pub fn directory(path: &Path) -> Result<Arc<dyn ObjectStore>> {
    std::fs::create_dir_all(path)?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(path)?))
}
