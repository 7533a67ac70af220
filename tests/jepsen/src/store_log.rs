//! The logs in the store that nodes share, watched as `domicile_tests` does it: here the store is a bucket or a directory.

use std::sync::Arc;

use anyhow::Result;
pub use domicile_tests::cluster::logs::{Listed, Logs, Part, Said, Shelf, Watcher, Written};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Runtime;

/// A store that is read without the product.
pub struct Opened {
    store: Arc<dyn ObjectStore>,
    waits: Runtime,
}

impl Opened {
    /// Opens it.
    ///
    /// # Errors
    /// When there is nothing to wait with.
    pub fn new(store: Arc<dyn ObjectStore>) -> Result<Self> {
        Ok(Self { store, waits: patient()? })
    }
}

impl Shelf for Opened {
    fn list(&mut self, above: &str) -> Result<Vec<Listed>> {
        let objects: Vec<ObjectMeta> =
            self.waits.block_on(self.store.list(Some(&Path::from(above))).try_collect::<Vec<_>>())?;
        let one = |object: ObjectMeta| {
            let tag = format!("{:?} {} {}", object.e_tag, object.size, object.last_modified);
            Listed { name: object.location.to_string(), tag }
        };
        Ok(objects.into_iter().map(one).collect())
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let read = async { self.store.get(&Path::from(name)).await?.bytes().await };
        Ok(self.waits.block_on(read)?.to_vec())
    }
}

fn patient() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use domicile_tests::cluster::s3::S3;
    use domicile_tests::cluster::wait_until;

    use super::*;
    use crate::bucket::{self, Bucket};
    use crate::checker::fencing;

    /// An object of this number with one record of shard 3 at this place.
    fn batch(number: u64, first: u64) -> Vec<u8> {
        let mut object = b"DMCWOBJ1\xffDW\xfe\0\0\0\0".to_vec();
        object.extend(number.to_le_bytes());
        object.extend([0; 13]);
        object.extend(1_u32.to_le_bytes());
        object.extend([0; 8]);
        for id in [3_u64, 4] {
            object.extend(id.to_le_bytes());
        }
        object.extend([0; 4]);
        object.extend(first.to_le_bytes());
        object.extend(2_u16.to_le_bytes());
        object.extend(b"b1");
        object.extend([0; 32]);
        object.push(0);
        object.extend(1_u32.to_le_bytes());
        object.extend([0; 23]);
        object.extend(u16::MAX.to_le_bytes());
        object.extend(2_u32.to_le_bytes());
        object.extend(b"{}");
        object
    }

    fn seal(shard: u64) -> Vec<u8> {
        [b"DMCSEAL1....".to_vec(), shard.to_le_bytes().into(), 2_u64.to_le_bytes().into()].concat()
    }

    fn numbers(logs: &Logs) -> Vec<u64> {
        logs.written.iter().map(|written| written.number).collect()
    }

    #[test]
    fn a_watcher_keeps_what_went_meanwhile_and_refuses_what_it_cannot_read() {
        let store = tempfile::tempdir().unwrap();
        let log = store.path().join("wal/0000000000000004");
        std::fs::create_dir_all(&log).unwrap();
        let begin = || Watcher::begin(Opened::new(bucket::directory(store.path()).unwrap()).unwrap());
        let watcher = begin();
        let first = log.join("0000000000000001");
        std::fs::write(&first, seal(1)).unwrap();
        has_looked(&watcher);
        std::fs::remove_file(first).unwrap();
        std::fs::write(log.join("0000000000000002"), seal(2)).unwrap();
        let logs = watcher.end().unwrap();
        assert_eq!(numbers(&logs), [1, 2]);
        assert_eq!(logs.left, BTreeSet::from([(4, 2)]));
        std::fs::write(log.join("0000000000000003"), b"nonsense").unwrap();
        assert!(begin().end().is_err());
    }

    /// Does something to the bucket of a real server while somebody watches; what was seen. None where there is no server.
    fn watched(change: impl AsyncFn((&dyn ObjectStore, &Watcher))) -> Option<Logs> {
        let bucket = Bucket::over(S3::start().unwrap()?, 1).unwrap();
        let objects = bucket.objects().unwrap();
        let watcher = Watcher::begin(Opened::new(Arc::clone(&objects)).unwrap());
        patient().unwrap().block_on(change((objects.as_ref(), &watcher)));
        Some(watcher.end().unwrap())
    }

    /// Waits for a whole look that began after this: the next one may be under way.
    fn has_looked(watcher: &Watcher) {
        let before = watcher.looks();
        let looked = || (watcher.looks() >= before + 2).then_some(());
        wait_until(Duration::from_secs(60), looked).expect("it goes on looking");
    }

    async fn put((store, watcher): (&dyn ObjectStore, &Watcher), number: u64, shard: u64) {
        let name = Path::from(format!("wal/0000000000000004/{number:016x}"));
        store.put(&name, seal(shard).into()).await.unwrap();
        has_looked(watcher);
    }

    #[test]
    fn a_whole_log_in_a_bucket_is_read_and_acquitted_of_all_but_emptiness() {
        let change = async |at: (&dyn ObjectStore, &Watcher)| {
            put(at, 1, 1).await;
            put(at, 2, 2).await;
            at.0.delete(&Path::from("wal/0000000000000004/0000000000000001")).await.unwrap();
        };
        let Some(logs) = watched(change) else { return };
        assert_eq!(numbers(&logs), [1, 2]);
        let found = fencing::check(&[], &logs).violations;
        assert_eq!(found, ["void: no batch was seen in any log"]);
    }

    #[test]
    fn two_objects_at_one_place_of_a_log_in_a_bucket_are_convicted() {
        let change = async |at: (&dyn ObjectStore, &Watcher)| {
            put(at, 1, 1).await;
            put(at, 1, 2).await;
        };
        let Some(logs) = watched(change) else { return };
        let found = fencing::check(&[], &logs).violations;
        assert!(found[0].contains("object 1 of the log of node 4 was two"), "{found:?}");
    }

    /// Above an object with a batch that stays, none may go.
    #[test]
    fn a_bucket_that_lost_an_object_in_the_middle_of_a_log_is_convicted() {
        let change = async |at: (&dyn ObjectStore, &Watcher)| {
            for number in 1..=3 {
                let name = Path::from(format!("wal/0000000000000004/{number:016x}"));
                at.0.put(&name, batch(number, 10 * number).into()).await.unwrap();
            }
            has_looked(at.1);
            at.0.delete(&Path::from("wal/0000000000000004/0000000000000002")).await.unwrap();
        };
        let Some(logs) = watched(change) else { return };
        let found = fencing::check(&[], &logs).violations;
        assert!(found.len() == 1 && found[0].contains("object 2 of the log of node 4 is lost"), "{found:?}");
    }

    #[test]
    fn a_bucket_that_lost_the_newest_object_of_a_log_is_convicted() {
        let change = async |at: (&dyn ObjectStore, &Watcher)| {
            put(at, 1, 1).await;
            put(at, 2, 2).await;
            at.0.delete(&Path::from("wal/0000000000000004/0000000000000002")).await.unwrap();
        };
        let Some(logs) = watched(change) else { return };
        let found = fencing::check(&[], &logs).violations;
        assert!(found[0].contains("object 2 of the log of node 4 is lost"), "{found:?}");
    }
}
