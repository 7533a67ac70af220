//! Looks at a ledger that a node may be writing on: what is found while files change under the reader is looked at again, a few times, before
//! anybody is told. Of one that holds still everything is told at once.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a ledger is read at most while it changes.
const LOOKS: u32 = 5;
/// How often it is seen whether files change, and how long between: a node between two steps of a checkpoint waits for its disk.
const GLANCES: u32 = 2;
const PAUSE: Duration = Duration::from_millis(250);

/// Reads until what was found is no matter of the moment, or nothing changes under the reader. `read` also says whether it may be one; `wait`
/// waits.
pub(super) fn settled<T>(
    dir: &Path,
    mut read: impl FnMut() -> T,
    mut is_passing: impl FnMut(&T) -> bool,
    wait: impl Fn(Duration),
) -> T {
    for _ in 1..LOOKS {
        let before = files(dir);
        let found = read();
        if !is_passing(&found) || !changes(dir, &before, &wait) {
            return found;
        }
    }
    read()
}

/// Whether anything is another than before, now or in a moment.
fn changes(dir: &Path, before: &Files, wait: &impl Fn(Duration)) -> bool {
    for _ in 0..GLANCES {
        if files(dir) != *before {
            return true;
        }
        wait(PAUSE);
    }
    files(dir) != *before
}

/// Of each file which one it is, how long, and when it was written, in seconds and parts of one.
type Files = BTreeMap<PathBuf, (u64, u64, i64, i64)>;

fn files(dir: &Path) -> Files {
    let (mut open, mut found) = (vec![dir.to_path_buf()], Files::new());
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok) {
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                open.push(entry.path());
            } else {
                found.insert(entry.path(), (about.ino(), about.size(), about.mtime(), about.mtime_nsec()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    /// What came of readings that find these one behind the other, and how many there were: whether each is damaged, whether files change
    /// while it is read, and while is waited for after it.
    fn looked(script: &[(bool, bool, bool)]) -> (bool, usize, usize) {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str| fs::write(dir.path().join(name), name).expect("written");
        fs::create_dir_all(dir.path().join("log/tile")).expect("made");
        write("log/checkpoint");
        let (reads, waits) = (Cell::new(0), Cell::new(0));
        let current = || script[(reads.get() - 1).min(script.len() - 1)];
        let read = || {
            reads.set(reads.get() + 1);
            let (is_damaged, changes, _) = current();
            if changes {
                write(&format!("log/tile/{}", reads.get()));
            }
            is_damaged
        };
        let wait = |_| {
            waits.set(waits.get() + 1);
            if current().2 {
                write(&format!("log/tile/{}-{}", reads.get(), waits.get()));
            }
        };
        let found = settled(dir.path(), read, |is_damaged| *is_damaged, wait);
        (found, reads.get(), waits.get())
    }

    #[test]
    fn what_is_found_while_files_change_is_looked_at_again_a_few_times() {
        for (script, wanted) in [
            // It holds, whether it is written on or not.
            (vec![(false, false, false)], (false, 1, 0)),
            (vec![(false, true, true)], (false, 1, 0)),
            // It is damaged and stands still.
            (vec![(true, false, false)], (true, 1, 2)),
            // Between a checkpoint and its tiles, once and twice; the change is seen at once or a moment later.
            (vec![(true, true, false), (false, false, false)], (false, 2, 0)),
            (vec![(true, false, true), (false, true, false)], (false, 2, 1)),
            (vec![(true, true, false), (true, false, true), (false, true, false)], (false, 3, 1)),
            // The node stopped in between, and what is there is damaged.
            (vec![(true, true, false), (true, false, false)], (true, 2, 2)),
            // Damaged, and written on for ever.
            (vec![(true, true, true)], (true, 5, 0)),
        ] {
            assert_eq!(looked(&script), wanted, "{script:?}");
        }
    }

    #[test]
    fn a_file_that_comes_grows_goes_or_gives_way_to_another_is_a_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let (log, tile, new) = (dir.path().join("log"), dir.path().join("log/tile"), dir.path().join("new"));
        fs::create_dir_all(&log).expect("made");
        fs::write(&new, b"21").expect("written");
        let mut before = files(dir.path());
        assert!(!changes(dir.path(), &before, &|_| {}));
        type Change<'a> = Box<dyn Fn() -> std::io::Result<()> + 'a>;
        let all: [(Change<'_>, &str); 4] = [
            (Box::new(|| fs::write(&tile, b"1")), "it comes"),
            (Box::new(|| fs::write(&tile, b"12")), "it grows"),
            (Box::new(|| fs::rename(&new, &tile)), "another is in its place"),
            (Box::new(|| fs::remove_file(&tile)), "it goes"),
        ];
        for (change, what) in all {
            change().expect(what);
            assert!(changes(dir.path(), &before, &|_| {}), "{what}");
            before = files(dir.path());
            assert!(!changes(dir.path(), &before, &|_| {}), "{what}");
        }
    }
}
