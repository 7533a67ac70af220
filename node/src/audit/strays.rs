//! Files in a log that its newest checkpoint does not need: parts of tiles from the moment before or after, which must agree with
//! the tiles that were checked, and anything else, which has no place there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::edge::Parts;
use super::verify::{Broken, broken};

/// Looks at every file that was not checked. What a running node has removed meanwhile is not there any more: nothing is said of it.
pub(super) fn check(log: &Path, checked: &BTreeSet<PathBuf>, parts: &Parts) -> Result<(), Broken> {
    let mut open = vec![log.to_path_buf()];
    while let Some(dir) = open.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if is_gone(&error) && dir != log => continue,
            entries => entries.map_err(|_| broken(dir.display(), "this directory cannot be read"))?,
        };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else if !checked.contains(&path) && path.extension().is_none_or(|end| end != "new") {
                stray(log, &path, checked, parts)?;
            }
        }
    }
    Ok(())
}

fn stray(log: &Path, path: &Path, checked: &BTreeSet<PathBuf>, parts: &Parts) -> Result<(), Broken> {
    let place = path.strip_prefix(log).unwrap_or(path).display();
    let inside = path.strip_prefix(log).unwrap_or(path);
    if inside.starts_with("bodies") {
        // Bodies behind the checkpoint are `unsigned`'s.
        return Ok(());
    }
    let parent = path.parent().filter(|parent| parent.extension().is_some_and(|end| end == "p"));
    let Some(parent) = parent.filter(|_| inside.starts_with("tile")) else {
        return if inside.starts_with("tile") && is_behind(path, checked) {
            Ok(())
        } else {
            Err(broken(place, "this file does not belong to the log"))
        };
    };
    let same = checked.iter().find(|known| **known == parent.with_extension("") || known.parent() == Some(parent));
    let Some(same) = same else { return Ok(()) };
    let held = same.strip_prefix(log).ok().and_then(|same| parts.get(same.to_str()?));
    let ours = held.map_or_else(|| std::fs::read(same), |held| Ok(held.clone()));
    let theirs = match std::fs::read(path) {
        Err(error) if is_gone(&error) => return Ok(()),
        theirs => theirs,
    };
    let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return Err(broken(place, "this file cannot be read")) };
    let shared = ours.len().min(theirs.len());
    if ours.get(..shared) == theirs.get(..shared) {
        Ok(())
    } else {
        Err(broken(place, "this part of a tile is another than the tile"))
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

/// Whether a whole tile lies behind all that were checked in its directory, or is the one that was checked as a part.
fn is_behind(path: &Path, checked: &BTreeSet<PathBuf>) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.len() != 3 || !name.bytes().all(|letter| letter.is_ascii_digit()) {
        return false;
    }
    let dir = path.parent().unwrap_or(path);
    checked.iter().filter(|known| known.parent() == Some(dir)).all(|known| known.as_path() < path)
}
