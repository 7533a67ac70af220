//! `domicile audit scan`: decodes every file under a directory and says where a planted value lies.
//!
//! Segments are walked term by term, column by column and event by event, compressed files are unpacked, and every file is
//! read as it is: write-ahead log, manifests, metadata log, ledger, keyring and logs hold what they hold uncompressed. Before
//! that the scanner is shown a planted value in each place; one that is blind does not begin.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::canary::{Canaries, Disguise};
use crate::segment::walk;

/// What was looked at, and what was found.
#[derive(Default)]
struct Report {
    files: u64,
    bytes: u64,
    segments: u64,
    pieces: u64,
    found: BTreeMap<PathBuf, BTreeSet<(String, Disguise)>>,
    unread: Vec<(PathBuf, String)>,
}

pub(super) fn run(dir: &Path, canary: &Path) -> anyhow::Result<ExitCode> {
    let text =
        if canary.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(canary) };
    let canaries = Canaries::read(&text.with_context(|| format!("`{}` cannot be read", canary.display()))?)?;
    check_sight(&canaries)?;
    let report = scan(dir, &canaries)?;
    for (path, places) in &report.found {
        for (place, Disguise { line, form }) in places {
            println!("FOUND planted value {line} {form} in {place}: {}", path.display());
        }
    }
    for (path, why) in &report.unread {
        println!("NOT READ {}: {why}", path.display());
    }
    let Report { files, bytes, segments, pieces, found, unread } = &report;
    eprintln!("{files} files with {bytes} bytes, of them {segments} segments with {pieces} decoded pieces");
    eprintln!("{} files hold a planted value, {} could not be read", found.len(), unread.len());
    Ok(if found.is_empty() && unread.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scanner must see each value in a segment and in a file, or its silence says nothing.
fn check_sight(canaries: &Canaries) -> anyhow::Result<()> {
    for value in &canaries.values {
        let mut seen = BTreeSet::new();
        walk::control(value, &mut |place, bytes| {
            if !canaries.find_in(bytes).is_empty() {
                seen.insert(place.to_owned());
            }
        })?;
        let is_seen = |part: &str| seen.iter().any(|place| place.starts_with(part));
        if !["a term", "a column", "a stored event"].iter().all(|part| is_seen(part)) {
            bail!("the scanner does not see a value that was planted in a segment; its silence would say nothing");
        }
    }
    Ok(())
}

fn scan(dir: &Path, canaries: &Canaries) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).with_context(|| format!("`{}` cannot be read", dir.display()))?;
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                report.file(&path, canaries);
            }
        }
        if dir.join(SEGMENT_MARK).is_file() {
            report.segment(&dir, canaries);
        }
    }
    Ok(report)
}

impl Report {
    fn note(&mut self, path: &Path, place: &str, disguises: BTreeSet<Disguise>) {
        if !disguises.is_empty() {
            let places = self.found.entry(path.to_owned()).or_default();
            places.extend(disguises.into_iter().map(|disguise| (place.to_owned(), disguise)));
        }
    }

    fn segment(&mut self, dir: &Path, canaries: &Canaries) {
        self.segments += 1;
        let mut found = Vec::new();
        let mut pieces = 0;
        let walked = walk::directory(dir, &mut |place, bytes| {
            pieces += 1;
            let disguises = canaries.find_in(bytes);
            if !disguises.is_empty() {
                found.push((place.to_owned(), disguises));
            }
        });
        self.pieces += pieces;
        found.into_iter().for_each(|(place, disguises)| self.note(dir, &place, disguises));
        if let Err(error) = walked {
            self.unread.push((dir.to_owned(), super::chain(&error.into())));
        }
    }

    fn file(&mut self, path: &Path, canaries: &Canaries) {
        self.files += 1;
        self.note(path, "the name", canaries.find_in(path.as_os_str().as_encoded_bytes()));
        if let Err(error) = self.contents(path, canaries) {
            self.unread.push((path.to_owned(), error.to_string()));
        }
    }

    fn contents(&mut self, path: &Path, canaries: &Canaries) -> io::Result<()> {
        let mut head = [0; 4];
        let read = std::fs::File::open(path)?.read(&mut head)?;
        let head = head.get(..read).unwrap_or_default();
        self.bytes += self.stream(path, "the bytes", std::fs::File::open(path)?, canaries)?;
        let file = std::fs::File::open(path)?;
        if head.starts_with(&[0x1f, 0x8b]) {
            self.stream(path, "the unpacked bytes", flate2::read::MultiGzDecoder::new(file), canaries)?;
        } else if head == [0x28, 0xb5, 0x2f, 0xfd] {
            self.stream(path, "the unpacked bytes", zstd::Decoder::new(file)?, canaries)?;
        }
        Ok(())
    }

    /// Piece by piece, each with the end of the one before, so that a value on the seam is seen.
    fn stream(&mut self, path: &Path, place: &str, mut from: impl Read, canaries: &Canaries) -> io::Result<u64> {
        let mut total = 0;
        let mut piece: Vec<u8> = Vec::with_capacity(PIECE_BYTES + canaries.longest);
        loop {
            let read = from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            if read == 0 {
                return Ok(total);
            }
            total += u64::try_from(read).unwrap_or(u64::MAX);
            self.note(path, place, canaries.find_in(&piece));
            let kept = piece.len().saturating_sub(canaries.longest);
            piece.drain(..kept);
        }
    }
}

/// The file by which a segment's directory is known.
const SEGMENT_MARK: &str = "meta.json";
/// Bytes read at once.
const PIECE_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const VALUE: &str = "hrqwzkvbnplmxctyfd@example.org";

    #[test]
    fn a_value_is_found_in_files_packed_files_and_on_the_seam_of_two_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let canaries = Canaries::read(VALUE).unwrap();
        check_sight(&canaries).unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        put("clean", b"nothing here");
        assert!(scan(dir.path(), &canaries).unwrap().found.is_empty());
        let mut seam = vec![b'x'; PIECE_BYTES - 10];
        seam.extend_from_slice(VALUE.as_bytes());
        put("seam", &seam);
        put("zstd", &zstd::encode_all(VALUE.as_bytes(), 3).unwrap());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(VALUE.repeat(50).as_bytes()).unwrap();
        put("gzip", &gzip.finish().unwrap());
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        put("deep/hex", hex::encode(VALUE).as_bytes());
        put(&format!("deep/{VALUE}.log"), b"");
        let report = scan(dir.path(), &canaries).unwrap();
        let names: Vec<_> = report.found.keys().map(|path| path.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        let named = PathBuf::from(format!("deep/{VALUE}.log"));
        assert_eq!(names, [PathBuf::from("deep/hex"), named, "gzip".into(), "seam".into(), "zstd".into()]);
        assert_eq!(report.files, 6);
    }

    #[test]
    fn a_segment_is_walked_and_one_that_cannot_be_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SEGMENT_MARK), b"{}").unwrap();
        let report = scan(dir.path(), &Canaries::read(VALUE).unwrap()).unwrap();
        assert_eq!((report.segments, report.unread.len()), (1, 1), "silence about it would be a lie");
    }
}
