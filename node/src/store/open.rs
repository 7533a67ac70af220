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
use ring::rand::{SecureRandom, SystemRandom};

use super::bucket::{Lies, Store, StoreConfig};
use super::errors::StoreError;
use super::places::{Own, Owner};
use super::provider::Reached;
use super::report::judge;
use super::versions::Versions;
use crate::config::{Backend, Clouds, StoreSection};

impl Store {
    /// Opens the bucket that the configuration names and those of tenants and streams beside it; `default` is the directory where
    /// it names none.
    ///
    /// # Errors
    /// [`StoreError::Elsewhere`], [`StoreError::Copied`], [`StoreError::Untold`] before anything is written; then as
    /// [`Store::open`]; then [`StoreError::Overwrites`]. [`StoreError::Own`] says the same of a bucket beside it, and
    /// [`StoreError::Unnamed`] that one is missing in the list.
    pub(crate) async fn connect(
        config: &StoreSection,
        default: &Path,
        region: &Region,
        clouds: &Clouds,
    ) -> Result<Self, StoreError> {
        let store = Self::reach(config, default, region, clouds).await?;
        store.settle(&name_of(config, default), region, None).await?;
        let mut beside = Vec::new();
        for (at, entry) in config.buckets.iter().enumerate() {
            // The configuration was checked.
            let Some(tenant) = entry.tenant.clone() else { continue };
            let owner = Owner { tenant, stream: entry.stream.clone() };
            let bucket = name_of(&entry.store, default);
            let opened = async {
                let own = Self::reach(&entry.store, default, region, clouds).await?;
                let id = own.settle(&bucket, region, Some(&owner)).await?;
                Ok((own, id))
            };
            let title = owner.title();
            let refused = |source| StoreError::Own {
                bucket: bucket.clone(),
                owner: title.clone(),
                number: at + 1,
                source: Box::new(source),
            };
            let (own, id) = opened.await.map_err(refused)?;
            tracing::info!(%bucket, owner = %title, closed = entry.closed, "a bucket of its own");
            beside.push(Own { owner, closed: entry.closed, store: own, bucket, id });
        }
        store.beside(beside).await
    }

    /// A bucket of which the provider has said that it lies at home; nothing of it was read, and nothing written.
    async fn reach(
        config: &StoreSection,
        default: &Path,
        region: &Region,
        clouds: &Clouds,
    ) -> Result<Self, StoreError> {
        if config.kind == Backend::Directory {
            let dir = config.path.clone().unwrap_or_else(|| default.to_owned());
            return Self::in_directory(&StoreConfig { dir }).await;
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
        tracing::info!(bucket = %config.bucket, location = %config.location, "the bucket lies at home");
        Ok(Self::remote(objects, versions).lying_at(lies).archiving(config.archive_class.as_deref()))
    }

    /// Opens the bucket and checks that it belongs to the region, before anything else is read or written. An empty bucket gets a
    /// marker.
    ///
    /// # Errors
    /// [`StoreError::OtherRegion`] where the marker names another region, [`StoreError::Unmarked`] where there is none beside
    /// objects.
    #[cfg(test)]
    pub(crate) async fn open(config: &StoreConfig, region: &Region) -> Result<Self, StoreError> {
        let store = Self::in_directory(config).await?;
        store.settle(&config.dir.display().to_string(), region, None).await?;
        Ok(store)
    }

    async fn in_directory(config: &StoreConfig) -> Result<Self, StoreError> {
        let bucket = config.dir.display().to_string();
        let failed = |source| StoreError::Failed { object: bucket.clone(), source };
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.dir).await;
        made.map_err(|source| failed(object_store::Error::Generic { store: "local", source: Box::new(source) }))?;
        let objects = LocalFileSystem::new_with_prefix(&config.dir).map_err(failed)?.with_fsync(true);
        Ok(Self::over(Arc::new(objects)))
    }

    /// Sees that the bucket is this region's, and its owner's where it has one, and that what was created cannot be created
    /// again. Gives what the marker of an owner's bucket calls it.
    pub(super) async fn settle(
        &self,
        bucket: &str,
        region: &Region,
        owner: Option<&Owner>,
    ) -> Result<String, StoreError> {
        let ours = match owner {
            None => region.to_string(),
            Some(owner) => format!("{region} {} id={}", owner.marked(), random()?),
        };
        let ours = Bytes::from(ours);
        let found = match self.read_here(MARKER).await {
            Err(StoreError::Missing { .. }) => {
                let listed = self.objects.list(None).try_next().await;
                let failed = |source| super::bucket::sort(bucket, source);
                if listed.map_err(failed)?.is_some() {
                    return Err(StoreError::Unmarked { bucket: bucket.to_owned(), home: region.to_string() });
                }
                match self.create_here(false, MARKER, ours.clone()).await {
                    Err(StoreError::AlreadyThere { .. }) => self.read_here(MARKER).await?,
                    created => created.map(|()| ours.clone()).map_err(|error| without_condition(bucket, error))?,
                }
            }
            found => found?,
        };
        let id = whose(&found, bucket, region, owner)?;
        if !self.is_remote {
            // Of a directory it is known, and a node starts on a full disk.
            return Ok(id);
        }
        // The same bytes once more do no harm where they are taken, and tell that they are.
        match self.create_here(false, MARKER, found).await {
            Err(StoreError::AlreadyThere { .. }) => Ok(id),
            Ok(()) => Err(StoreError::Overwrites { bucket: bucket.to_owned() }),
            Err(error) => Err(without_condition(bucket, error)),
        }
    }
}

/// What a marker calls an owner's bucket; nothing for the region's.
fn whose(found: &[u8], bucket: &str, region: &Region, owner: Option<&Owner>) -> Result<String, StoreError> {
    let text: String = String::from_utf8_lossy(found).chars().take(300).collect();
    let (home, rest) = text.split_once(' ').unwrap_or((&text, ""));
    if home != region.as_str() {
        let found = text.chars().take(63).collect();
        return Err(StoreError::OtherRegion { bucket: bucket.to_owned(), home: region.to_string(), found });
    }
    let (marked, id) = rest.split_once(" id=").unwrap_or((rest, ""));
    let wanted = owner.map(Owner::marked).unwrap_or_default();
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if marked == wanted && (owner.is_some() == is_id) && (is_id || rest.is_empty()) {
        return Ok(id.to_owned());
    }
    let said = |marked: &str| match marked {
        "" => "the region as a whole".to_owned(),
        marked => format!("`{marked}`"),
    };
    Err(StoreError::OtherOwner { bucket: bucket.to_owned(), found: said(rest), wanted: said(&wanted) })
}

/// Random figures, by which a bucket is known wherever it is reached.
fn random() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::NoRandomness)?;
    Ok(hex::encode(bytes))
}

/// What a person calls the bucket.
fn name_of(config: &StoreSection, default: &Path) -> String {
    match (config.kind, config.prefix.as_str()) {
        (Backend::Directory, _) => config.path.as_deref().unwrap_or(default).display().to_string(),
        (_, "") => config.bucket.clone(),
        (_, prefix) => format!("{}/{prefix}", config.bucket),
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
