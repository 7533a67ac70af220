//! The region's bucket. Objects are created once and never overwritten; a second creation loses and says so.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use ring::rand::{SecureRandom, SystemRandom};

use super::errors::StoreError;
use super::places::Places;
use super::versions::Versions;
use crate::limits::STORE_CREATIONS;

/// Where the bucket is.
#[derive(Clone, Debug)]
pub(crate) struct StoreConfig {
    /// A directory of this machine, made where it is missing. Every object is flushed before it counts as created.
    pub(crate) dir: PathBuf,
}

/// Where the bucket lies, as it was found when it was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lies {
    /// What kind of store.
    pub(crate) kind: String,
    /// The provider's own name of the place; none of a directory.
    pub(crate) location: Option<String>,
    /// Whether the provider said so, and not the configuration alone.
    pub(crate) is_told: bool,
}

/// The bucket of this region. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Whether an answer can be lost on its way. A creation then carries a mark by which it is known again.
    pub(super) is_remote: bool,
    /// What deletes for good, where the bucket keeps old versions.
    versions: Option<Arc<Versions>>,
    lies: Arc<Lies>,
    /// The class of storage of what is archived; none is the bucket's own.
    archive_class: Option<Arc<str>>,
    /// The buckets of tenants and streams beside it; none where it is itself one of those.
    pub(super) places: Option<Arc<Places>>,
    /// Which calls fail, in a test.
    #[cfg(test)]
    faults: Arc<parking_lot::Mutex<Faults>>,
    /// What was read, in a test.
    #[cfg(test)]
    pub(crate) traffic: Arc<parking_lot::Mutex<Traffic>>,
}

/// What was read of a bucket, and how long each read takes.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    pub(crate) pause: std::time::Duration,
    /// Reads that run now, and the most that ever ran beside each other.
    pub(crate) running: usize,
    pub(crate) at_once: usize,
}

/// Calls that fail as an object store does that answers 503.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Faults {
    /// Calls until then are answered.
    pub(crate) after: u64,
    /// So many fail.
    pub(crate) count: u64,
    /// They have taken effect all the same.
    pub(crate) is_done: bool,
    /// Only those of objects whose names begin so.
    pub(crate) below: &'static str,
}

impl Store {
    /// A bucket that lasts as long as it is held: for synthetic records.
    pub(crate) fn in_memory() -> Self {
        Self::over(Arc::new(object_store::memory::InMemory::new()))
    }

    /// Over objects of this machine.
    pub(super) fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self::with(objects, false, None)
    }

    /// With where it lies.
    pub(super) fn lying_at(self, lies: Lies) -> Self {
        Self { lies: Arc::new(lies), ..self }
    }

    /// With the class of storage of what is archived.
    pub(super) fn archiving(self, class: Option<&str>) -> Self {
        Self { archive_class: class.map(Arc::from), ..self }
    }

    /// With the buckets beside it.
    pub(super) fn over_places(self, places: Places) -> Self {
        Self { places: Some(Arc::new(places)), ..self }
    }

    /// Where it lies.
    pub(crate) fn lies(&self) -> &Lies {
        &self.lies
    }

    /// Over objects behind a network.
    pub(super) fn remote(objects: Arc<dyn ObjectStore>, versions: Option<Versions>) -> Self {
        Self::with(objects, true, versions.map(Arc::new))
    }

    fn with(objects: Arc<dyn ObjectStore>, is_remote: bool, versions: Option<Arc<Versions>>) -> Self {
        Self {
            objects,
            is_remote,
            versions,
            lies: Arc::default(),
            archive_class: None,
            places: None,
            #[cfg(test)]
            faults: Arc::default(),
            #[cfg(test)]
            traffic: Arc::default(),
        }
    }

    /// Has calls fail from now on; what of the faults before did not happen.
    #[cfg(test)]
    pub(crate) fn fail(&self, faults: Faults) -> u64 {
        std::mem::replace(&mut *self.faults.lock(), faults).count
    }

    #[cfg(test)]
    async fn read_of(&self, bytes: u64) {
        let pause = {
            let mut traffic = self.traffic.lock();
            traffic.reads += 1;
            traffic.bytes += bytes;
            traffic.running += 1;
            traffic.at_once = traffic.at_once.max(traffic.running);
            traffic.pause
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let running = &mut self.traffic.lock().running;
        *running = running.saturating_sub(1);
    }

    #[cfg(test)]
    fn answered(&self, object: &str, is_done: bool) -> Result<(), StoreError> {
        let mut faults = self.faults.lock();
        if faults.is_done != is_done || faults.count == 0 || !object.starts_with(faults.below) {
            return Ok(());
        }
        if faults.after > 0 {
            faults.after -= 1;
            return Ok(());
        }
        faults.count -= 1;
        drop(faults);
        let source = object_store::Error::Generic { store: "test", source: "503 Slow Down".into() };
        Err(StoreError::Failed { object: object.to_owned(), source })
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "a test lets calls fail here")]
    const fn answered(&self, _: &str, _: bool) -> Result<(), StoreError> {
        Ok(())
    }

    /// Creates an object; durable once this returns. A creation whose answer was lost, and which is made again, knows its own.
    ///
    /// # Errors
    /// [`StoreError::AlreadyThere`] where somebody else created one of that name, whatever it holds. After
    /// [`StoreError::Failed`] it may be there.
    pub(crate) async fn create(&self, object: &str, content: Bytes) -> Result<(), StoreError> {
        self.create_in(false, object, content).await
    }

    /// The same, in the class of storage of what is archived. Where the configuration names none, in that of everything else.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub(crate) async fn create_archived(&self, object: &str, content: Bytes) -> Result<(), StoreError> {
        self.create_in(true, object, content).await
    }

    /// Creates it in this bucket, whoever's it is.
    pub(super) async fn create_here(&self, is_archived: bool, object: &str, content: Bytes) -> Result<(), StoreError> {
        self.answered(object, false)?;
        let class = self.archive_class.as_deref().filter(|_| is_archived);
        let (at, mark) = (path(object)?, self.mark()?);
        let mut left = STORE_CREATIONS;
        loop {
            let class = class.map(|class| (Attribute::StorageClass, class.to_owned()));
            let marked = mark.iter().map(|mark| (Attribute::Metadata(MARK.into()), mark.clone()));
            let attributes: Attributes = marked.chain(class).collect();
            let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
            let put = self.objects.put_opts(&at, content.clone().into(), options).await;
            let Err(error) = put.map_err(|error| sort(object, error)) else { break };
            let Some(mark) = &mark else { return Err(error) };
            left -= 1;
            match self.mark_of(&at).await {
                Ok(Some(found)) if found == *mark => break,
                // Whoever was there has gone: the place is free.
                Err(object_store::Error::NotFound { .. })
                    if left > 0 && matches!(error, StoreError::AlreadyThere { .. }) => {}
                _ => return Err(error),
            }
        }
        self.answered(object, true)
    }

    /// By what a creation is known again.
    fn mark(&self) -> Result<Option<String>, StoreError> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::NoRandomness)?;
        Ok(self.is_remote.then(|| hex::encode(bytes)))
    }

    async fn mark_of(&self, at: &Path) -> object_store::Result<Option<String>> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.objects.get_opts(at, options).await?;
        Ok(found.attributes.get(&Attribute::Metadata(MARK.into())).map(|mark| mark.as_ref().to_owned()))
    }

    /// Whether nothing lies in this bucket but its marker.
    pub(super) async fn is_empty(&self) -> Result<bool, StoreError> {
        let listed = self.objects.list(None).take(2).try_collect::<Vec<_>>().await;
        Ok(listed.map_err(|error| sort("", error))?.len() <= 1)
    }

    /// Whether an object of that name lies in this bucket.
    pub(super) async fn is_there(&self, object: &str) -> Result<bool, StoreError> {
        match self.objects.head(&path(object)?).await.map_err(|error| sort(object, error)) {
            Err(StoreError::Missing { .. }) => Ok(false),
            found => found.map(|_| true),
        }
    }

    /// The whole content of an object.
    pub(crate) async fn read(&self, object: &str) -> Result<Bytes, StoreError> {
        self.read_in(object, |store| async move { store.read_here(object).await }).await
    }

    /// The same, of this bucket alone.
    pub(super) async fn read_here(&self, object: &str) -> Result<Bytes, StoreError> {
        self.answered(object, false)?;
        let found = self.objects.get(&path(object)?).await.map_err(|error| sort(object, error))?;
        #[cfg(test)]
        self.read_of(found.meta.size).await;
        found.bytes().await.map_err(|error| sort(object, error))
    }

    /// A part of the content of an object.
    pub(crate) async fn read_range(&self, object: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = |store: Self| {
            let range = range.clone();
            async move { store.read_range_here(object, range).await }
        };
        self.read_in(object, read).await
    }

    async fn read_range_here(&self, object: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.answered(object, false)?;
        #[cfg(test)]
        self.read_of(range.end.saturating_sub(range.start)).await;
        self.objects.get_range(&path(object)?, range).await.map_err(|error| sort(object, error))
    }

    /// Names and sizes of all objects whose name begins with whole parts of `prefix`, in rising order.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, StoreError> {
        self.list_in(prefix).await
    }

    /// The same, of this bucket alone.
    pub(super) async fn list_here(&self, prefix: &str) -> Result<Vec<(String, u64)>, StoreError> {
        self.answered(prefix, false)?;
        let listed = self.objects.list(Some(&path(prefix)?));
        let mut objects: Vec<_> = listed
            .map_ok(|object| (object.location.to_string(), object.size))
            .try_collect()
            .await
            .map_err(|error| sort(prefix, error))?;
        objects.sort_unstable();
        Ok(objects)
    }

    /// Deletes an object, and every old version of it where the bucket keeps some; one that is not there is no error.
    pub(crate) async fn delete(&self, object: &str) -> Result<(), StoreError> {
        self.delete_in(object).await
    }

    /// The same, in this bucket alone.
    pub(super) async fn delete_here(&self, object: &str) -> Result<(), StoreError> {
        self.answered(object, false)?;
        if let Some(versions) = &self.versions {
            path(object)?;
            versions.delete(object).await?;
            return self.answered(object, true);
        }
        match self.objects.delete(&path(object)?).await.map_err(|error| sort(object, error)) {
            Err(StoreError::Missing { .. }) => {}
            deleted => deleted?,
        }
        self.answered(object, true)
    }
}

fn path(object: &str) -> Result<Path, StoreError> {
    Path::parse(object).map_err(|_| StoreError::Name { object: object.to_owned() })
}

pub(super) fn sort(object: &str, error: object_store::Error) -> StoreError {
    let object = object.to_owned();
    match error {
        error if is_denial(&error) => StoreError::Denied { object, source: Box::new(error) },
        object_store::Error::AlreadyExists { .. } => StoreError::AlreadyThere { object },
        object_store::Error::NotFound { .. } => StoreError::Missing { object },
        source => StoreError::Failed { object, source },
    }
}

/// Whether credentials are what was refused. S3 says so of expired ones as of a malformed request, and names it in the text.
fn is_denial(error: &object_store::Error) -> bool {
    use object_store::Error::{Generic, PermissionDenied, Unauthenticated};
    match error {
        PermissionDenied { .. } | Unauthenticated { .. } => true,
        Generic { source, .. } => {
            let text = source.to_string();
            ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "RequestTimeTooSkewed"]
                .iter()
                .any(|code| text.contains(&format!("<Code>{code}</Code>")))
        }
        _ => false,
    }
}

/// The mark's name; a word that every provider takes.
const MARK: &str = "creation";

#[cfg(test)]
mod tests {
    use super::super::open::MARKER;
    use super::*;
    use crate::errors::Coded;

    async fn open(dir: &std::path::Path, region: &str) -> Result<Store, StoreError> {
        Store::open(&StoreConfig { dir: dir.join("bucket") }, &region.parse().unwrap()).await
    }

    #[tokio::test]
    async fn refuses_a_bucket_of_another_region_and_writes_nothing_into_it() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), "tokyo").await.unwrap();
        open(dir.path(), "tokyo").await.unwrap();
        let refused = open(dir.path(), "frankfurt").await.err().unwrap();
        assert_eq!(refused.code(), "DMC-STORE-01");
        assert!(refused.to_string().contains("`tokyo`") && refused.to_string().contains("`frankfurt`"));
        let names: Vec<_> = std::fs::read_dir(dir.path().join("bucket")).unwrap().collect();
        assert_eq!(names.len(), 1);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&dir.path().join("bucket").metadata().unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "nobody else looks into it");
    }

    #[tokio::test]
    async fn refuses_a_bucket_with_objects_that_nobody_marked_and_writes_nothing_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let stranger = dir.path().join("bucket").join("photos").join("1.jpg");
        std::fs::create_dir_all(stranger.parent().unwrap()).unwrap();
        open(dir.path(), "tokyo").await.unwrap();
        std::fs::remove_file(dir.path().join("bucket").join(MARKER)).unwrap();
        std::fs::write(&stranger, b"x").unwrap();
        let refused = open(dir.path(), "tokyo").await.err().unwrap();
        assert_eq!(refused.code(), "DMC-STORE-06");
        assert!(!dir.path().join("bucket").join(MARKER).try_exists().unwrap());
        std::fs::remove_file(&stranger).unwrap();
        open(dir.path(), "tokyo").await.unwrap();
    }

    #[tokio::test]
    async fn an_object_is_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), "tokyo").await.unwrap();
        let creations = (0..8_u8).map(|n| store.create("a/b", Bytes::from(vec![n; 100])));
        let created = futures::future::join_all(creations).await;
        assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 1);
        assert!(created.iter().all(|created| created.as_ref().err().is_none_or(|e| e.code() == "DMC-STORE-02")));
        let winner = u8::try_from(created.iter().position(Result::is_ok).unwrap()).unwrap();
        assert_eq!(store.read("a/b").await.unwrap(), vec![winner; 100]);
    }

    #[tokio::test]
    async fn objects_are_read_in_part_listed_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), "tokyo").await.unwrap();
        for name in ["s/2/m", "s/1/m", "t/1"] {
            store.create(name, Bytes::from_static(b"0123456789")).await.unwrap();
        }
        assert_eq!(store.read_range("t/1", 2..5).await.unwrap(), "234");
        let listed = store.list("s").await.unwrap();
        assert_eq!(listed, [("s/1/m".to_owned(), 10), ("s/2/m".to_owned(), 10)]);
        store.delete("t/1").await.unwrap();
        store.delete("t/1").await.unwrap();
        assert_eq!(store.read("t/1").await.err().unwrap().code(), "DMC-STORE-03");
        assert_eq!(store.read("../escape").await.err().unwrap().code(), "DMC-STORE-04");
    }
}
