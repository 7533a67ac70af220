//! What the overlap guard must not forget when the node restarts: one file for each UTC day, a line for each thing noted.
//!
//! A line is durable before the answer it is about is released. An end that is not a whole line is what a crash leaves of an
//! answer nobody was given; a broken line before the end is damage, and the guard then lets no new text question through.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domicile_proto::ids::TenantId;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::predicate::Predicate;
use crate::aggregate::contributors::Contributors;

/// Bytes of a line's checksum, in hexadecimal digits.
const CHECKSUM_DIGITS: usize = 16;

/// Something noted.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Noted {
    /// A new question of a tenant was answered.
    Asked {
        /// Whose.
        tenant: TenantId,
        /// What.
        predicate: Predicate,
    },
    /// A number about these was released.
    Released {
        /// To whom.
        tenant: TenantId,
        /// About whom: sums of keyed hashes, no list.
        contributors: String,
    },
    /// A text question was too near an earlier one.
    Overlap {
        /// Whose.
        tenant: TenantId,
    },
}

impl Noted {
    pub(super) fn released(tenant: TenantId, contributors: &Contributors) -> Self {
        Self::Released { tenant, contributors: STANDARD.encode(contributors.to_bytes()) }
    }

    /// The contributors of a line that was read.
    pub(super) fn decode(contributors: &str) -> Option<Contributors> {
        Contributors::from_bytes(&STANDARD.decode(contributors).ok()?)
    }
}

/// Files of earlier days that stay.
const EARLIER_KEPT: usize = 3;

/// What was found of a day.
pub(super) struct Found {
    pub(super) noted: Vec<Noted>,
    /// Whether something in the middle cannot be read.
    pub(super) is_damaged: bool,
}

/// The file of one day, at its end.
pub(super) struct Journal {
    /// Its directory and the file; none of one that forgets.
    at: Option<(PathBuf, File)>,
}

impl Journal {
    /// Opens or creates the file of a day, with what was noted for later days: where a clock was ahead, that was asked and answered
    /// all the same. The newest files of earlier days stay, for a clock that is set back; what lies further ahead than tomorrow goes
    /// into this one, so that it counts once. Blocks.
    ///
    /// # Errors
    /// Where the directory or the file cannot be used.
    pub(super) fn open(dir: &Path, day: i64) -> io::Result<(Self, Found)> {
        std::fs::create_dir_all(dir)?;
        let (mut earlier, mut later, mut far) = (Vec::new(), Vec::new(), Vec::new());
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            match day_of(&path) {
                Some(other) if other > day.saturating_add(1) => far.push(path),
                Some(other) if other > day => later.push(path),
                Some(other) if other == day => {}
                other => earlier.push((other, path)),
            }
        }
        earlier.sort_unstable();
        for _ in 0..EARLIER_KEPT {
            earlier.pop_if(|(other, _)| other.is_some());
        }
        for (_, path) in earlier {
            std::fs::remove_file(path)?;
        }
        let path = dir.join(format!("{day}.guard"));
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut end = whole(&mut bytes);
        far.sort_unstable();
        let mut of_far = Vec::new();
        for path in &far {
            let mut of_later = std::fs::read(path)?;
            whole(&mut of_later);
            of_far.append(&mut of_later);
        }
        // After a crash in between they are in it already. All of them at once, so that none is in it twice.
        if !of_far.is_empty() && !bytes.ends_with(&of_far) {
            bytes.append(&mut of_far);
            let draft = dir.join(format!("{day}.guard.new"));
            file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&draft)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(draft, &path)?;
            File::open(dir)?.sync_all()?;
            end = bytes.len() as u64;
        }
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.sync_all()?;
        for path in far {
            std::fs::remove_file(path)?;
        }
        for path in later {
            let mut of_later = std::fs::read(path)?;
            whole(&mut of_later);
            bytes.append(&mut of_later);
        }
        let mut found = Found { noted: Vec::new(), is_damaged: false };
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match read(line) {
                Some(noted) => found.noted.push(noted),
                None => found.is_damaged = true,
            }
        }
        File::open(dir)?.sync_all()?;
        Ok((Self { at: Some((dir.to_path_buf(), file)) }, found))
    }

    /// One that notes nothing: what is asked is synthetic, and ends with the process.
    pub(super) const fn forgetful() -> Self {
        Self { at: None }
    }

    /// Begins another day.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(super) fn turn_to(&mut self, day: i64) -> io::Result<Found> {
        let Some((dir, _)) = &self.at else { return Ok(Found { noted: Vec::new(), is_damaged: false }) };
        let (next, found) = Self::open(dir, day)?;
        *self = next;
        Ok(found)
    }

    /// Notes something durably; blocks for one flush.
    ///
    /// # Errors
    /// Where it is not certain to be durable; then nothing may be released.
    pub(super) fn note(&mut self, noted: &[Noted]) -> io::Result<()> {
        let Some((_, file)) = &mut self.at else { return Ok(()) };
        let mut lines = Vec::new();
        for one in noted {
            let json = serde_json::to_vec(one)?;
            lines.extend_from_slice(checksum(&json).as_bytes());
            lines.extend_from_slice(&json);
            lines.push(b'\n');
        }
        file.write_all(&lines)?;
        file.sync_data()
    }
}

/// Cuts an end that is not a whole line; how many bytes are left.
fn whole(bytes: &mut Vec<u8>) -> u64 {
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    bytes.len() as u64
}

/// The day of a file.
fn day_of(path: &Path) -> Option<i64> {
    path.file_name()?.to_str()?.strip_suffix(".guard")?.parse().ok()
}

fn checksum(json: &[u8]) -> String {
    let mut digits = hex::encode(digest(&SHA256, json));
    digits.truncate(CHECKSUM_DIGITS);
    digits
}

fn read(line: &[u8]) -> Option<Noted> {
    let (sum, json) = line.split_at_checked(CHECKSUM_DIGITS)?;
    if checksum(json).as_bytes() == sum { serde_json::from_slice(json).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_the_guard_panics() {
        let good = vec![
            serde_json::to_vec(&Noted::Overlap { tenant: TenantId(3) }).unwrap(),
            serde_json::to_vec(&Noted::released(TenantId(3), &Contributors::default())).unwrap(),
        ];
        bolero::check!().with_iterations(crate::fuzz::cases()).with_type::<crate::fuzz::Input>().for_each(|input| {
            let json = input.bytes(&good);
            let line = [checksum(&json).as_bytes(), &json].concat();
            if let Some(Noted::Released { contributors, .. }) = read(&line) {
                drop(Noted::decode(&contributors));
            }
            drop(read(&json));
        });
    }

    fn overlap(tenant: u32) -> Noted {
        Noted::Overlap { tenant: TenantId(tenant) }
    }

    #[test]
    fn what_was_noted_is_found_again_and_other_days_are_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut journal, found) = Journal::open(dir.path(), 5).expect("new");
        assert!(found.noted.is_empty() && !found.is_damaged);
        let mut contributors = Contributors::default();
        contributors.add(1, 2);
        journal.note(&[overlap(1), Noted::released(TenantId(2), &contributors)]).expect("written");
        let (mut journal, found) = Journal::open(dir.path(), 5).expect("there");
        let [Noted::Overlap { tenant: TenantId(1) }, Noted::Released { contributors: kept, .. }] = &found.noted[..]
        else {
            panic!("two lines")
        };
        assert!(Noted::decode(kept) == Some(contributors));
        for day in 6..=9 {
            assert!(journal.turn_to(day).expect("turned").noted.is_empty());
        }
        assert!(Journal::open(dir.path(), 5).expect("there").1.noted.is_empty(), "a day that is over is forgotten");
    }

    #[test]
    fn what_was_noted_while_a_clock_was_ahead_or_behind_counts_on_the_day_on_which_it_is_right() {
        let dir = tempfile::tempdir().expect("a directory");
        let tenants = |day| {
            let tenant = |noted: &Noted| match noted {
                Noted::Overlap { tenant } => tenant.0,
                _ => panic!("no other lines"),
            };
            let mut found: Vec<_> = Journal::open(dir.path(), day).expect("there").1.noted.iter().map(tenant).collect();
            found.sort_unstable();
            found
        };
        let note = |day, tenant| {
            let (mut journal, _) = Journal::open(dir.path(), day).expect("there");
            journal.note(&[overlap(tenant)]).expect("written");
        };
        note(5, 1);
        note(6, 2);
        note(5, 3);
        assert_eq!((tenants(5), tenants(6)), (vec![1, 2, 3], vec![2]), "tomorrow's counts today, and may be right");
        note(400, 4);
        let far = dir.path().join("400.guard");
        let kept = std::fs::read(&far).expect("there");
        assert_eq!(tenants(6), [2, 4], "what was asked before, and meanwhile");
        assert_eq!(tenants(6), [2, 4], "once, and durably");
        std::fs::write(&far, kept).expect("written");
        assert_eq!(tenants(6), [2, 4], "also after a crash before the other file was removed");
        assert_eq!(tenants(5), [1, 2, 3, 4], "a day behind");
        assert!(tenants(7).is_empty(), "and not on the next day");
    }

    #[test]
    fn a_torn_end_is_cut_and_a_broken_line_is_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("5.guard");
        let (mut journal, _) = Journal::open(dir.path(), 5).expect("new");
        journal.note(&[overlap(1), overlap(2)]).expect("written");
        let whole = std::fs::read(&path).expect("there");
        for cut in 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("cut");
            let (_, found) = Journal::open(dir.path(), 5).expect("opened");
            assert!(!found.is_damaged, "cut at {cut}");
            assert_eq!(found.noted.len(), whole[..cut].iter().filter(|byte| **byte == b'\n').count());
        }
        for at in 0..whole.len() / 2 - 1 {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            std::fs::write(&path, &broken).expect("broken");
            assert!(Journal::open(dir.path(), 5).expect("opened").1.is_damaged, "byte {at}");
        }
    }
}
