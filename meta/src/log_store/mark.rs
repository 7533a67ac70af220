//! How far the log was written, beside the log: a small file that the database has no part in.
//!
//! A database that finds its newest commit damaged goes back to the one before, and nothing in it says that there was a
//! later one. A voter that goes on from there may vote twice in a term, or lack an entry that the group counts on it for.
//! So the number of each durable write stands here as well, and a log that holds a lower one is refused.
//!
//! Two places are written in turn, so that a torn write leaves the number before. The number is put down behind the flush of
//! its write and is not flushed itself, but with votes and at most once a second: kill -9 loses nothing, and after a loss of
//! power the file may say less than the log, never more. Knows nothing of what was written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::limits::MARK_FLUSH;

/// Bytes of one of the two places: what it is, the number, and a checksum over both.
const PLACE: usize = 20;
/// What the file is, and its layout.
const MAGIC: [u8; 8] = *b"DMCmark1";

/// The open file.
pub(super) struct Mark {
    file: File,
    written: u64,
    /// Since when something is not flushed.
    unflushed: Option<Instant>,
}

impl Mark {
    /// Where the mark of a log lies.
    pub(super) fn path_of(log: &Path) -> PathBuf {
        log.with_extension("mark")
    }

    /// Makes the file anew with a number, durably.
    pub(super) fn create(path: &Path, number: u64) -> io::Result<()> {
        let beside = path.with_extension("mark-new");
        let mut file = File::create(&beside)?;
        file.write_all(&place(number))?;
        file.write_all(&place(number))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }

    /// The highest number that was put down; `None` where there is no file, an error of kind `InvalidData` where it holds none.
    pub(super) fn read(path: &Path) -> io::Result<Option<u64>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        highest(&bytes)
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "neither of its two places is whole"))
    }

    /// Opens the file to go on from a number.
    pub(super) fn open(path: &Path, number: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file, written: number, unflushed: None })
    }

    /// The number of the last durable write.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Puts down that this write is durable.
    pub(super) fn put(&mut self, number: u64, flush: bool) -> io::Result<()> {
        let at = (number % 2) * PLACE as u64;
        self.file.write_all_at(&place(number), at)?;
        self.written = number;
        let since = *self.unflushed.get_or_insert_with(Instant::now);
        if flush || since.elapsed() >= MARK_FLUSH { self.flush() } else { Ok(()) }
    }

    /// Whether something waits for its flush.
    pub(super) const fn is_unflushed(&self) -> bool {
        self.unflushed.is_some()
    }

    /// Flushes what was put down.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.unflushed = None;
        Ok(())
    }
}

/// The higher of the numbers in two places, as far as they are whole.
fn highest(bytes: &[u8]) -> Option<u64> {
    bytes.chunks(PLACE).take(2).filter_map(number).max()
}

fn place(number: u64) -> [u8; PLACE] {
    let mut place = [0; PLACE];
    let sum = crc32fast::hash(&[MAGIC, number.to_be_bytes()].concat()).to_be_bytes();
    place.iter_mut().zip(MAGIC.into_iter().chain(number.to_be_bytes()).chain(sum)).for_each(|(to, from)| *to = from);
    place
}

fn number(found: &[u8]) -> Option<u64> {
    let (_, rest) = found.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*rest.first_chunk()?);
    (found == place(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use bolero::{TypeGenerator, check};
    use tempfile::TempDir;

    use super::*;
    use crate::fuzz::{Edit, cases, edited};

    /// What becomes a file.
    #[derive(Debug, TypeGenerator)]
    enum Input {
        /// A good one, changed here and there.
        Changed { numbers: (u64, u64), edits: Vec<Edit> },
        /// Changed places, each behind a right checksum.
        Summed { numbers: (u64, u64), edits: Vec<Edit> },
        /// Anything.
        Raw(Vec<u8>),
    }

    impl Input {
        fn bytes(&self) -> Vec<u8> {
            match self {
                Self::Raw(bytes) => bytes.clone(),
                Self::Changed { numbers: (one, other), edits } => edited(&[place(*one), place(*other)].concat(), edits),
                Self::Summed { numbers: (one, other), edits } => {
                    let bodies = [*one, *other].map(|number| edited(&place(number)[..PLACE - 4], edits));
                    bodies.iter().flat_map(|body| [body, &crc32fast::hash(body).to_be_bytes()[..]].concat()).collect()
                }
            }
        }
    }

    #[test]
    fn no_mark_panics() {
        check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            let bytes = input.bytes();
            let found = highest(&bytes);
            let is_there = |number: u64| {
                bytes.windows(PLACE).any(|here| {
                    let (body, sum) = here.split_at(PLACE - 4);
                    body == [MAGIC, number.to_be_bytes()].concat() && sum == crc32fast::hash(body).to_be_bytes()
                })
            };
            assert!(found.is_none_or(is_there), "{found:?} stands nowhere in it as a whole");
            if let Input::Changed { numbers: (one, other), edits } | Input::Summed { numbers: (one, other), edits } =
                input
                && edits.is_empty()
            {
                assert_eq!(found, Some(*one.max(other)), "what was written is read");
            }
        });
    }

    #[test]
    fn a_torn_or_changed_place_leaves_the_number_before_and_never_a_higher_one() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log.mark");
        assert_eq!(Mark::read(&path).unwrap(), None);
        Mark::create(&path, 41).unwrap();
        let mut mark = Mark::open(&path, 41).unwrap();
        mark.put(42, false).unwrap();
        assert!(mark.is_unflushed());
        mark.put(43, true).unwrap();
        assert!(!mark.is_unflushed());
        assert_eq!(Mark::read(&path).unwrap(), Some(43));
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len(), 2 * PLACE);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                fs::write(&path, &changed).unwrap();
                let wanted = if at < PLACE { 43 } else { 42 };
                assert_eq!(Mark::read(&path).unwrap(), Some(wanted), "byte {at}, bit {bit}");
            }
            fs::write(&path, &whole[..at]).unwrap();
            let found = Mark::read(&path);
            assert!(if at < PLACE { found.is_err() } else { found.unwrap() == Some(42) }, "cut at {at}");
        }
    }
}
