//! The files of a pack: their names, those that follow from the others, and the manifest over all of them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ring::digest::{Context as Digest, SHA256};

use super::pages::pages;
use super::paper::Paper;
use super::print::print;
use crate::limits::PACK_FILE_BYTES;

/// What was asked for.
pub(super) const REQUEST: &str = "request.json";
/// What the attack suite came to.
pub(super) const ATTACKS: &str = "attacks.json";
/// SHA-256 of every file but this one and its seals, as `sha256sum` writes it.
pub(super) const MANIFEST: &str = "SHA256SUMS";
/// Directory with one directory for each node, under its place.
pub(super) const REGIONS: &str = "regions";

/// Place of a further node of a region: the first has the region's name alone. No name of a region has such a sign.
pub(super) fn place_of(region: &domicile_proto::ids::Region, node: u64) -> String {
    format!("{region}{BESIDE}{node}")
}

/// Between a region's name and the number of a further node.
pub(super) const BESIDE: char = '+';

/// Name of the note with which a node seals the manifest.
pub(super) fn seal_of(place: &str) -> String {
    format!("{MANIFEST}.{place}.note")
}

/// The files that follow from the report, with their bytes.
pub(super) fn derived(paper: &Paper) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    files.insert("report.html".to_owned(), pages(paper).into_bytes());
    files.insert("report.pdf".to_owned(), print(paper));
    let mut json = serde_json::to_string_pretty(paper)?;
    json.push('\n');
    files.insert("report.json".to_owned(), json.into_bytes());
    for table in paper.sections.iter().flat_map(|section| &section.tables) {
        files.insert(format!("csv/{}.csv", table.name), table.csv().into_bytes());
    }
    Ok(files)
}

/// Every file under a directory, as it is named from there, in order. What is neither file nor directory is refused.
pub(super) fn list(dir: &Path) -> anyhow::Result<Vec<String>> {
    let (mut open, mut found) = (vec![PathBuf::new()], Vec::new());
    while let Some(inside) = open.pop() {
        let here = dir.join(&inside);
        let entries = std::fs::read_dir(&here).with_context(|| format!("`{}` cannot be read", here.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path.to_string_lossy().into_owned());
            } else {
                bail!("`{}` is no file and no directory; a pack has nothing else", path.display());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// SHA-256 of a file, in hexadecimal digits.
pub(super) fn digest_of(path: &Path) -> anyhow::Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    let (mut digest, mut piece) = (Digest::new(&SHA256), vec![0; 64 << 10]);
    loop {
        let read = file.read(&mut piece).with_context(|| format!("`{}` cannot be read", path.display()))?;
        if read == 0 {
            return Ok(hex::encode(digest.finish()));
        }
        digest.update(piece.get(..read).unwrap_or_default());
    }
}

/// A file of a pack that is read whole.
pub(super) fn read(dir: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = dir.join(name);
    let (file, mut bytes) = (std::fs::File::open(&path), Vec::new());
    let file = file.with_context(|| format!("`{name}` cannot be read"))?;
    file.take(PACK_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("`{name}` cannot be read"))?;
    if bytes.len() as u64 > PACK_FILE_BYTES {
        bail!("`{name}` has more than {PACK_FILE_BYTES} bytes; no pack of ours has such a file");
    }
    Ok(bytes)
}

/// The manifest of the files under a directory.
pub(super) fn manifest(dir: &Path) -> anyhow::Result<String> {
    let mut lines = String::new();
    for name in list(dir)?.iter().filter(|name| !name.starts_with(MANIFEST)) {
        lines.push_str(&format!("{}  {name}\n", digest_of(&dir.join(name))?));
    }
    Ok(lines)
}

/// Where the files under a directory differ from a manifest: a file with what is wrong with it.
pub(super) fn differences(dir: &Path, manifest: &str, seals: &[String]) -> anyhow::Result<Vec<(String, &'static str)>> {
    let mut wanted = BTreeMap::new();
    let mut found = Vec::new();
    for line in manifest.lines() {
        match line.split_once("  ") {
            Some((digest, name)) => {
                wanted.insert(name, digest);
            }
            None => found.push((MANIFEST.to_owned(), "it has a line that names no file")),
        }
    }
    for name in list(dir)? {
        if name == MANIFEST || seals.contains(&name) {
            continue;
        }
        match wanted.remove(name.as_str()) {
            None => found.push((name, "the manifest does not name this file")),
            Some(digest) if digest != digest_of(&dir.join(&name))? => {
                found.push((name, "it was changed after the manifest was written"));
            }
            Some(_) => {}
        }
    }
    found.extend(wanted.into_keys().map(|name| (name.to_owned(), "it is missing")));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_a_missing_and_an_added_file_are_named_each() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("csv")).expect("made");
        for name in ["a", "b", "csv/c"] {
            std::fs::write(dir.path().join(name), name).expect("written");
        }
        let manifest = manifest(dir.path()).expect("read");
        std::fs::write(dir.path().join(MANIFEST), &manifest).expect("written");
        assert_eq!(differences(dir.path(), &manifest, &[]).expect("read"), []);
        std::fs::write(dir.path().join("a"), "A").expect("written");
        std::fs::remove_file(dir.path().join("b")).expect("removed");
        std::fs::write(dir.path().join("csv/d"), "").expect("written");
        let names: Vec<String> =
            differences(dir.path(), &manifest, &[]).expect("read").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "csv/d", "b"]);
        let link = std::os::unix::fs::symlink("a", dir.path().join("e"));
        assert!(link.is_ok() && list(dir.path()).is_err(), "a link leads elsewhere");
    }

    #[test]
    fn a_file_that_no_pack_has_is_not_read_into_memory() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = std::fs::File::create(dir.path().join("large")).expect("made");
        file.set_len(PACK_FILE_BYTES + 1).expect("sparse");
        assert!(read(dir.path(), "large").is_err());
        file.set_len(PACK_FILE_BYTES).expect("sparse");
        assert!(read(dir.path(), "large").is_ok());
    }
}
