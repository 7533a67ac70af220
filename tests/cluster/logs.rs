//! What the nodes of a region write into its store for durability `bucket`: a watcher that reads every object of their logs while
//! it is there, and a reader of its own for the bytes, so that the product's is not believed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// How often the watcher looks: objects come a few a second and stay for many.
const EVERY: Duration = Duration::from_millis(100);
/// Above all logs.
const LOGS: &str = "wal";

/// Everything that was seen of the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// Every object, in the order of each log. A place that held two different ones is here with both.
    pub written: Vec<Written>,
    /// What lay there in the end: node and number.
    pub left: BTreeSet<(u64, u64)>,
}

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

/// Where objects lie, as a watcher asks.
pub trait Shelf: Send + 'static {
    /// What lies below a name.
    ///
    /// # Errors
    /// When the store does not say.
    fn list(&mut self, above: &str) -> Result<Vec<Listed>>;

    /// The bytes of an object.
    ///
    /// # Errors
    /// When the store does not give them.
    fn read(&mut self, name: &str) -> Result<Vec<u8>>;
}

/// An object that lies there.
pub struct Listed {
    /// Its name.
    pub name: String,
    /// By which the store tells it from another one of its name.
    pub tag: String,
}

/// Reads the logs of a store until it is told to stop.
pub struct Watcher {
    is_over: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    thread: Option<JoinHandle<(Seen, Box<dyn Shelf>)>>,
}

/// Node and number.
type Place = (u64, u64);
/// What lay at each place, one after the other.
type Seen = BTreeMap<Place, Vec<Sight>>;

/// An object as it was seen.
struct Sight {
    tag: String,
    /// Of its bytes.
    hash: u64,
    said: Said,
}

impl Watcher {
    /// Begins.
    #[must_use]
    pub fn begin(shelf: impl Shelf) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let looks = Arc::<AtomicU64>::default();
        let (over, counted) = (Arc::clone(&is_over), Arc::clone(&looks));
        let mut shelf: Box<dyn Shelf> = Box::new(shelf);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::new();
            while !over.load(Ordering::SeqCst) {
                // What cannot be read now is read at the next look, or at the last one, which must be right.
                let _ = look(shelf.as_mut(), &mut seen);
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(EVERY);
            }
            (seen, shelf)
        });
        Self { is_over, looks, thread: Some(thread) }
    }

    /// How often it has looked.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    /// Looks once more and ends: everything that was seen.
    ///
    /// # Errors
    /// When the store does not say what lies there, or an object that lies there to the end cannot be read.
    pub fn end(mut self) -> Result<Logs> {
        self.is_over.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("a thread")?;
        let (mut seen, mut shelf) = thread.join().map_err(|_| anyhow::anyhow!("the watcher"))?;
        let left = look(shelf.as_mut(), &mut seen)?;
        for (place, object) in &left {
            let is_read = seen.get(place).is_some_and(|sights| sights.iter().any(|sight| sight.tag == object.tag));
            ensure!(is_read, "{} is no object of a log", object.name);
        }
        let left = left.into_keys().collect();
        let one = |((node, number), sights): (Place, Vec<Sight>)| {
            sights.into_iter().map(move |sight| Written { node, number, said: sight.said })
        };
        Ok(Logs { written: seen.into_iter().flat_map(one).collect(), left })
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

/// Reads what was not read yet; what lies there. An object never changes, so one with another tag is another one, and one that is
/// gone between two looks was not needed any more.
fn look(shelf: &mut dyn Shelf, seen: &mut Seen) -> Result<BTreeMap<Place, Listed>> {
    let objects = shelf.list(LOGS)?;
    let listed: BTreeMap<Place, Listed> =
        objects.into_iter().filter_map(|object| Some((place(&object.name)?, object))).collect();
    for ((node, number), object) in &listed {
        let sights = seen.entry((*node, *number)).or_default();
        if sights.iter().any(|sight| sight.tag == object.tag) {
            continue;
        }
        let Ok(bytes) = shelf.read(&object.name) else { continue };
        let Some(said) = read(&bytes, *number) else { continue };
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        match sights.last_mut().filter(|sight| sight.hash == hash) {
            Some(sight) => sight.tag.clone_from(&object.tag),
            None => sights.push(Sight { tag: object.tag.clone(), hash, said }),
        }
    }
    Ok(listed)
}

/// `wal/<node>/<number>`, in sixteen digits each.
fn place(object: &str) -> Option<Place> {
    let mut parts = object.strip_prefix(LOGS)?.strip_prefix('/')?.split('/');
    let mut number = || u64::from_str_radix(parts.next().filter(|part| part.len() == 16)?, 16).ok();
    let place = (number()?, number()?);
    parts.next().is_none().then_some(place)
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

    #[test]
    fn a_batch_is_read_and_stands_for_its_own_number_alone() {
        let object = batch(5, 11);
        let part = Part { shard: 3, epoch: 4, first: 11, records: 1, batch: "b1".to_owned() };
        assert_eq!(read(&object, 5), Some(Said::Batches(vec![part])));
        assert_eq!(read(&object, 6), None);
        assert_eq!(read(&object[..object.len() - 1], 5), None);
    }
}
