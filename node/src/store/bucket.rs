//! The region's bucket. Objects are created once and never overwritten; a second creation loses and says so.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use domicile_proto::ids::Region;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::errors::StoreError;

/// Where the bucket is.
#[derive(Clone, Debug)]
pub(crate) struct StoreConfig {
    /// A directory of this machine, made where it is missing. Every object is flushed before it counts as created.
    pub(crate) dir: PathBuf,
}

/// The bucket of this region. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Which calls fail, in a test.
    #[cfg(test)]
    faults: Arc<parking_lot::Mutex<Faults>>,
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
}

impl Store {
    /// Opens the bucket and checks that it belongs to the region, before anything else is read or written. An empty bucket gets a
    /// marker.
    ///
    /// # Errors
    /// [`StoreError::OtherRegion`] where the marker names another region, [`StoreError::Unmarked`] where there is none beside
    /// objects.
    pub(crate) async fn open(config: &StoreConfig, region: &Region) -> Result<Self, StoreError> {
        let bucket = config.dir.display().to_string();
        let failed = |source| StoreError::Failed { object: bucket.clone(), source };
        let made = tokio::fs::create_dir_all(&config.dir).await;
        made.map_err(|source| failed(object_store::Error::Generic { store: "local", source: Box::new(source) }))?;
        let objects = LocalFileSystem::new_with_prefix(&config.dir).map_err(failed)?.with_fsync(true);
        let store = Self::over(Arc::new(objects));
        let found = match store.read(MARKER).await {
            Err(StoreError::Missing { .. }) => {
                let listed = store.objects.list(None).try_next().await;
                if listed.map_err(failed)?.is_some() {
                    return Err(StoreError::Unmarked { bucket, home: region.to_string() });
                }
                match store.create(MARKER, Bytes::copy_from_slice(region.as_str().as_bytes())).await {
                    Err(StoreError::AlreadyThere { .. }) => store.read(MARKER).await?,
                    created => return created.map(|()| store),
                }
            }
            found => found?,
        };
        if found != region.as_str().as_bytes() {
            let found = String::from_utf8_lossy(&found).chars().take(63).collect();
            return Err(StoreError::OtherRegion { bucket, home: region.to_string(), found });
        }
        Ok(store)
    }

    /// A bucket that lasts as long as it is held.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self::over(Arc::new(object_store::memory::InMemory::new()))
    }

    fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            objects,
            #[cfg(test)]
            faults: Arc::default(),
        }
    }

    /// Has calls fail from now on; what of the faults before did not happen.
    #[cfg(test)]
    pub(crate) fn fail(&self, faults: Faults) -> u64 {
        std::mem::replace(&mut *self.faults.lock(), faults).count
    }

    #[cfg(test)]
    fn answered(&self, object: &str, is_done: bool) -> Result<(), StoreError> {
        let mut faults = self.faults.lock();
        if faults.is_done != is_done || faults.count == 0 {
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

    /// Creates an object; durable once this returns.
    ///
    /// # Errors
    /// [`StoreError::AlreadyThere`] where there is one of that name, whatever it holds.
    pub(crate) async fn create(&self, object: &str, content: Bytes) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.answered(object, false)?;
        let put = self.objects.put_opts(&path(object)?, content.into(), options).await;
        put.map_err(|error| sort(object, error))?;
        self.answered(object, true)
    }

    /// The whole content of an object.
    pub(crate) async fn read(&self, object: &str) -> Result<Bytes, StoreError> {
        self.answered(object, false)?;
        let found = self.objects.get(&path(object)?).await.map_err(|error| sort(object, error))?;
        found.bytes().await.map_err(|error| sort(object, error))
    }

    /// A part of the content of an object.
    #[allow(dead_code, reason = "cold segments are searched in place through it")]
    pub(crate) async fn read_range(&self, object: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.objects.get_range(&path(object)?, range).await.map_err(|error| sort(object, error))
    }

    /// Names and sizes of all objects whose name begins with whole parts of `prefix`, in rising order.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, StoreError> {
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

    /// Deletes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, object: &str) -> Result<(), StoreError> {
        self.answered(object, false)?;
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

fn sort(object: &str, error: object_store::Error) -> StoreError {
    let object = object.to_owned();
    match error {
        object_store::Error::AlreadyExists { .. } => StoreError::AlreadyThere { object },
        object_store::Error::NotFound { .. } => StoreError::Missing { object },
        source => StoreError::Failed { object, source },
    }
}

/// Names the region a bucket belongs to.
const MARKER: &str = "domicile-region";

#[cfg(test)]
mod tests {
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
