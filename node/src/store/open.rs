//! The bucket is opened: looked at before it is spoken to, then asked whose it is, then tried. In this order, and nothing is
//! written before the provider has said where the bucket lies.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use domicile_proto::ids::Region;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;

use super::bucket::{Lies, Store, StoreConfig};
use super::errors::StoreError;
use super::provider::Reached;
use super::report::judge;
use super::versions::Versions;
use crate::config::{Backend, Clouds, StoreSection};

impl Store {
    /// Opens the bucket that the configuration names; `default` is the directory where it names none.
    ///
    /// # Errors
    /// [`StoreError::Elsewhere`], [`StoreError::Copied`], [`StoreError::Untold`] before anything is written; then as
    /// [`Store::open`]; then [`StoreError::Overwrites`].
    pub(crate) async fn connect(
        config: &StoreSection,
        default: &Path,
        region: &Region,
        clouds: &Clouds,
    ) -> Result<Self, StoreError> {
        if config.kind == Backend::Directory {
            let dir = config.path.clone().unwrap_or_else(|| default.to_owned());
            return Self::open(&StoreConfig { dir }, region).await;
        }
        let reached = Reached::by(config)?;
        let report = reached.report(config).await?;
        for vouched in judge(config, region, clouds, &report)? {
            tracing::warn!(bucket = %config.bucket, ?vouched, "the provider does not tell this; the configuration vouches for it");
        }
        let objects = prefixed(reached.objects(), &config.prefix);
        if report.keeps_deleted {
            tracing::warn!(bucket = %config.bucket, "the bucket keeps what is deleted: erased records are gone only when its rule says so");
        }
        let versions = report.keeps_versions.then(|| Versions { reached, config: config.clone() });
        let lies = Lies {
            kind: config.kind.as_str().to_owned(),
            location: report.location.clone().or_else(|| Some(config.location.clone())),
            is_told: report.location.is_some(),
        };
        let store = Self::remote(objects, versions).lying(lies).archiving(config.archive_class.as_deref());
        store.settle(&config.bucket, region).await?;
        tracing::info!(bucket = %config.bucket, location = %config.location, "the bucket lies at home");
        Ok(store)
    }

    /// Opens the bucket and checks that it belongs to the region, before anything else is read or written. An empty bucket gets a
    /// marker.
    ///
    /// # Errors
    /// [`StoreError::OtherRegion`] where the marker names another region, [`StoreError::Unmarked`] where there is none beside
    /// objects.
    pub(crate) async fn open(config: &StoreConfig, region: &Region) -> Result<Self, StoreError> {
        let bucket = config.dir.display().to_string();
        let failed = |source| StoreError::Failed { object: bucket.clone(), source };
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.dir).await;
        made.map_err(|source| failed(object_store::Error::Generic { store: "local", source: Box::new(source) }))?;
        let objects = LocalFileSystem::new_with_prefix(&config.dir).map_err(failed)?.with_fsync(true);
        let store = Self::over(Arc::new(objects));
        store.settle(&bucket, region).await?;
        Ok(store)
    }

    /// Sees that the bucket is this region's, and that what was created cannot be created again.
    async fn settle(&self, bucket: &str, region: &Region) -> Result<(), StoreError> {
        let ours = || Bytes::copy_from_slice(region.as_str().as_bytes());
        let found = match self.read(MARKER).await {
            Err(StoreError::Missing { .. }) => {
                let listed = self.objects.list(None).try_next().await;
                let failed = |source| super::bucket::sort(bucket, source);
                if listed.map_err(failed)?.is_some() {
                    return Err(StoreError::Unmarked { bucket: bucket.to_owned(), home: region.to_string() });
                }
                match self.create(MARKER, ours()).await {
                    Err(StoreError::AlreadyThere { .. }) => self.read(MARKER).await?,
                    created => created.map(|()| ours()).map_err(|error| without_condition(bucket, error))?,
                }
            }
            found => found?,
        };
        if found != region.as_str().as_bytes() {
            let found = String::from_utf8_lossy(&found).chars().take(63).collect();
            return Err(StoreError::OtherRegion { bucket: bucket.to_owned(), home: region.to_string(), found });
        }
        if !self.is_remote {
            // Of a directory it is known, and a node starts on a full disk.
            return Ok(());
        }
        // The same bytes once more do no harm where they are taken, and tell that they are.
        match self.create(MARKER, ours()).await {
            Err(StoreError::AlreadyThere { .. }) => Ok(()),
            Ok(()) => Err(StoreError::Overwrites { bucket: bucket.to_owned() }),
            Err(error) => Err(without_condition(bucket, error)),
        }
    }
}

/// Some stores refuse the condition of a creation instead of ignoring it, and call it not implemented: no time will heal that.
fn without_condition(bucket: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Failed { source, .. } if source.to_string().contains("<Code>NotImplemented</Code>") => {
            StoreError::Overwrites { bucket: bucket.to_owned() }
        }
        error => error,
    }
}

fn prefixed(objects: Arc<dyn ObjectStore>, prefix: &str) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() { objects } else { Arc::new(PrefixStore::new(objects, prefix)) }
}

/// Names the region a bucket belongs to.
pub(super) const MARKER: &str = "domicile-region";
