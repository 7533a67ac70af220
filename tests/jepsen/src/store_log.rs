//! What the nodes of a region write into its store for durability `bucket`: a watcher that reads every object of their logs while
//! it is there, and a reader of its own for the bytes, so that the product's is not believed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// How often the watcher looks: objects come a few a second and stay for many.
const EVERY: Duration = Duration::from_millis(100);

/// One object of a node's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Whose log.
    pub node: u64,
    /// Its place in the log.
    pub number: u64,
    /// What it says.
    pub said: Said,
}

/// What an object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// From which epoch on another node writes which shards.
    Seal(BTreeMap<u64, u64>),
    /// Batches.
    Batches(Vec<Part>),
}

/// A batch in an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// Of which shard.
    pub shard: u64,
    /// In which epoch it was taken.
    pub epoch: u64,
    /// Place of its first record.
    pub first: u64,
    /// How many records.
    pub records: u64,
    /// The producer's name for it; empty where there is none.
    pub batch: String,
}

/// Reads the logs below a store until it is told to stop.
pub struct Watcher {
    store: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

type Seen = BTreeMap<(u64, u64), Said>;

impl Watcher {
    /// Begins.
    pub fn begin(store: &Path) -> Self {
        let (store, is_over) = (store.to_owned(), Arc::<AtomicBool>::default());
        let (below, over) = (store.clone(), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::new();
            while !over.load(Ordering::SeqCst) {
                look(&below, &mut seen);
                std::thread::sleep(EVERY);
            }
            seen
        });
        Self { store, is_over, thread: Some(thread) }
    }

    /// Looks once more and ends: everything that was seen, in the order of each log.
    ///
    /// # Errors
    /// When an object that lies there to the end cannot be read.
    pub fn end(mut self) -> Result<Vec<Written>> {
        self.is_over.store(true, Ordering::SeqCst);
        let mut seen = self.thread.take().context("a thread")?.join().map_err(|_| anyhow::anyhow!("the watcher"))?;
        look(&self.store, &mut seen);
        for (node, number, path) in listed(&self.store) {
            ensure!(seen.contains_key(&(node, number)), "{} is no object of a log", path.display());
        }
        Ok(seen.into_iter().map(|((node, number), said)| Written { node, number, said }).collect())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn look(store: &Path, seen: &mut Seen) {
    let known: BTreeSet<(u64, u64)> = seen.keys().copied().collect();
    for (node, number, path) in listed(store) {
        // An object never changes; one that is gone between two looks was not needed any more.
        if !known.contains(&(node, number))
            && let Some(said) = std::fs::read(path).ok().and_then(|bytes| read(&bytes, number))
        {
            seen.insert((node, number), said);
        }
    }
}

/// Node, number and path of every object of every log.
fn listed(store: &Path) -> Vec<(u64, u64, PathBuf)> {
    let names = |dir: &Path| -> Vec<(u64, PathBuf)> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let number =
            |path: &Path| u64::from_str_radix(path.file_name()?.to_str().filter(|it| it.len() == 16)?, 16).ok();
        entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect()
    };
    let logs = names(&store.join("wal"));
    let of = |(node, log): (u64, PathBuf)| names(&log).into_iter().map(move |(number, path)| (node, number, path));
    logs.into_iter().flat_map(of).collect()
}

/// What an object of this number says; none where it is none.
pub fn read(bytes: &[u8], number: u64) -> Option<Said> {
    let mut rest = Bytes(bytes);
    match rest.take(8)? {
        b"DMCSEAL1" => {
            rest.take(4)?;
            let mut shards = BTreeMap::new();
            while !rest.0.is_empty() {
                shards.insert(rest.u64()?, rest.u64()?);
            }
            Some(Said::Seal(shards))
        }
        b"DMCWOBJ1" => {
            rest.take(8)?;
            (rest.u64()? == number).then_some(())?;
            // A checksum, a version, a time.
            rest.take(4 + 1 + 8)?;
            let count = rest.u32()?;
            let parts = (0..count).map(|_| rest.part()).collect::<Option<Vec<_>>>()?;
            rest.0.is_empty().then_some(Said::Batches(parts))
        }
        _ => None,
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// A text that may be missing.
    fn text(&mut self) -> Option<Option<&'a str>> {
        match self.u16()? {
            u16::MAX => Some(None),
            length => std::str::from_utf8(self.take(usize::from(length))?).ok().map(Some),
        }
    }

    fn part(&mut self) -> Option<Part> {
        // Tenant and stream.
        self.take(8)?;
        let (shard, epoch) = (self.u64()?, self.u64()?);
        // How often it becomes searchable.
        self.take(4)?;
        let first = self.u64()?;
        let batch = self.text()?.map(str::to_owned);
        if batch.is_some() {
            self.take(32)?;
        }
        if self.take(1)? != [0] {
            let outcomes = usize::try_from(self.u32()?).ok()?;
            self.take(outcomes.checked_mul(9)?)?;
        }
        let records = self.u32()?;
        for _ in 0..records {
            // Time, level, envelope, whether there is a subject, and the subject.
            self.take(8 + 1 + 5 + 1 + 8)?;
            self.text()?;
            let length = usize::try_from(self.u32()?).ok()?;
            self.take(length)?;
        }
        Some(Part { shard, epoch, first, records: u64::from(records), batch: batch.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_and_nothing_else_is_read_as_one() {
        let mut seal = b"DMCSEAL1....".to_vec();
        for number in [7_u64, 2] {
            seal.extend(number.to_le_bytes());
        }
        assert_eq!(read(&seal, 9), Some(Said::Seal(BTreeMap::from([(7, 2)]))));
        assert_eq!(read(&seal[..20], 9), None);
        assert_eq!(read(b"something", 1), None);
    }

    #[test]
    fn a_batch_is_read_and_stands_for_its_own_number_alone() {
        let mut object = b"DMCWOBJ1\xffDW\xfe\0\0\0\0".to_vec();
        object.extend(5_u64.to_le_bytes());
        object.extend([0; 13]);
        object.extend(1_u32.to_le_bytes());
        object.extend([0; 8]);
        for number in [3_u64, 4] {
            object.extend(number.to_le_bytes());
        }
        object.extend([0; 4]);
        object.extend(11_u64.to_le_bytes());
        object.extend(2_u16.to_le_bytes());
        object.extend(b"b1");
        object.extend([0; 32]);
        object.push(0);
        object.extend(1_u32.to_le_bytes());
        object.extend([0; 23]);
        object.extend(u16::MAX.to_le_bytes());
        object.extend(2_u32.to_le_bytes());
        object.extend(b"{}");
        let part = Part { shard: 3, epoch: 4, first: 11, records: 1, batch: "b1".to_owned() };
        assert_eq!(read(&object, 5), Some(Said::Batches(vec![part])));
        assert_eq!(read(&object, 6), None);
        assert_eq!(read(&object[..object.len() - 1], 5), None);
    }

    #[test]
    fn a_watcher_keeps_what_went_meanwhile_and_refuses_what_it_cannot_read() {
        let store = tempfile::tempdir().unwrap();
        let log = store.path().join("wal/0000000000000004");
        std::fs::create_dir_all(&log).unwrap();
        let seal =
            |shard: u64| [b"DMCSEAL1....".to_vec(), shard.to_le_bytes().into(), 2_u64.to_le_bytes().into()].concat();
        let watcher = Watcher::begin(store.path());
        let first = log.join("0000000000000001");
        std::fs::write(&first, seal(1)).unwrap();
        std::thread::sleep(4 * EVERY);
        std::fs::remove_file(first).unwrap();
        std::fs::write(log.join("0000000000000002"), seal(2)).unwrap();
        let numbers: Vec<u64> = watcher.end().unwrap().iter().map(|written| written.number).collect();
        assert_eq!(numbers, [1, 2]);
        std::fs::write(log.join("0000000000000003"), b"nonsense").unwrap();
        assert!(Watcher::begin(store.path()).end().is_err());
    }
}
