//! What is known of the ledgers of a run: checkpoints that were kept on the way, what the product's own `audit verify` says of them when
//! nobody runs, and what witnesses hold of those that went with their machines.
//!
//! Of a ledger that went with its machine the suite keeps a copy that no operator would have. It is as it was when the node was killed:
//! what its last checkpoint signed can be judged, what stood behind that cannot. Nothing here judges.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::checker::ledger::{Gone, Said};
use crate::cluster::Cluster;

/// A checkpoint of a node's ledger that was kept: whose, and where.
pub type Kept = (String, PathBuf);

/// Where everything lies when the nodes have ended.
pub struct Places {
    /// By node, as it is called: its ledger.
    pub ledgers: Vec<(String, PathBuf)>,
    /// By node: what its witness has seen.
    witnesses: Vec<(String, PathBuf)>,
    /// By node whose machine is lost: the copy of its ledger, and the node as witnesses name its file.
    pub gone: Vec<(String, PathBuf, String)>,
}

impl Places {
    /// Of a cluster that may end then.
    pub fn of(cluster: &Cluster) -> Self {
        let part = |at: usize, part: &str| (cluster.called(at).to_owned(), cluster.home(at).join("data").join(part));
        let each = |name: &'static str| (0..cluster.len()).map(move |at| part(at, name)).collect();
        let gone = cluster.lost_ledgers();
        Self { ledgers: each("ledger"), witnesses: each("witness"), gone }
    }
}

/// Copies what every ledger has signed by now, as an auditor would: it must be gone on from. Where there is no checkpoint yet,
/// none is kept.
pub fn keep_checkpoints(cluster: &Cluster, evidence: &Path, number: u32) -> Vec<Kept> {
    let keep = |at: usize| {
        let name = cluster.called(at);
        let to = evidence.join(format!("{name}-{number}.checkpoint"));
        let from = cluster.home(at).join("data/ledger/log/checkpoint");
        std::fs::copy(from, &to).is_ok().then(|| (name.to_owned(), to))
    };
    (0..cluster.len()).filter_map(keep).collect()
}

/// Copies a directory with everything in it.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy_all(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Has all ledgers checked at once, with nobody running, and each that went with its machine by itself; what was said.
///
/// # Errors
/// When `audit verify` cannot be run, or what a witness has seen cannot be read.
pub fn look(binary: &Path, places: &Places, kept: &[Kept], evidence: &Path) -> Result<Said> {
    let is_gone = |name: &str| places.gone.iter().any(|(gone, ..)| gone == name);
    let (of_gone, kept): (Vec<&Kept>, Vec<&Kept>) = kept.iter().partition(|(name, _)| is_gone(name));
    let ledgers: Vec<&Path> = places.ledgers.iter().map(|(_, at)| at.as_path()).collect();
    let notes: Vec<&Path> = kept.iter().map(|(_, note)| note.as_path()).collect();
    let (code, lines) = verify(binary, &ledgers, &notes)?;
    let mut gone = Vec::new();
    for (name, ledger, file) in &places.gone {
        let mut notes: Vec<PathBuf> =
            of_gone.iter().filter(|(of, _)| of == name).map(|(_, note)| note.clone()).collect();
        let kept = notes.len() as u64;
        notes.extend(witnessed(places, file, evidence)?);
        let paths: Vec<&Path> = notes.iter().map(PathBuf::as_path).collect();
        let is_unsigned = !has_signed(ledger);
        let (code, lines) = if is_unsigned { (None, Vec::new()) } else { verify(binary, &[ledger], &paths)? };
        let (name, directory) = (name.clone(), ledger.display().to_string());
        gone.push(Gone { name, directory, code, lines, kept, witnessed: notes.len() as u64 - kept, is_unsigned });
    }
    Ok(Said {
        code,
        lines,
        ledgers: places.ledgers.iter().map(|(name, at)| (name.clone(), at.display().to_string())).collect(),
        kept: kept.len() as u64,
        lost: places.gone.iter().map(|(name, ..)| name.clone()).collect(),
        gone,
        forks: forks(places)?,
    })
}

/// Whether the node of a ledger lived long enough to sign a checkpoint.
pub fn has_signed(ledger: &Path) -> bool {
    ledger.join("log/checkpoint").is_file()
}

fn verify(binary: &Path, ledgers: &[&Path], notes: &[&Path]) -> Result<(Option<i32>, Vec<String>)> {
    let mut verify = Command::new(binary);
    verify.args(["audit", "verify"]).args(ledgers);
    for note in notes {
        verify.arg("--saved").arg(note);
    }
    let output = verify.output().context("`audit verify`")?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()))
}

/// The newest head of a node's ledger that each witness cosigned, as a note in the evidence.
fn witnessed(places: &Places, file: &str, evidence: &Path) -> Result<Vec<PathBuf>> {
    let mut notes = Vec::new();
    for (witness, seen) in &places.witnesses {
        let text = match std::fs::read_to_string(seen.join("logs").join(file)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        // Whose key it is stands before the note.
        let (_, note) = text.split_once('\n').with_context(|| format!("what `{witness}` has seen of {file}"))?;
        let to = evidence.join(format!("{file}-by-{witness}.checkpoint"));
        std::fs::write(&to, note)?;
        notes.push(to);
    }
    Ok(notes)
}

/// Heads that contradict another one of the same ledger, as the witnesses kept them.
fn forks(places: &Places) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    for (witness, seen) in &places.witnesses {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(seen.join("evidence")).with_context(|| format!("the witness of `{witness}`"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        found.insert(witness.clone(), names);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_witnesses_hold_of_a_lost_ledger_is_found_by_its_name_and_so_is_what_contradicts() {
        let work = tempfile::tempdir().unwrap();
        let witnesses = ["tokyo", "frankfurt"].map(|name| (name.to_owned(), work.path().join(name)));
        for (name, seen) in &witnesses {
            std::fs::create_dir_all(seen.join("logs")).unwrap();
            std::fs::create_dir_all(seen.join("evidence")).unwrap();
            std::fs::write(seen.join("logs/singapore-2"), format!("key\norigin by {name}\n7\nroot\n")).unwrap();
        }
        std::fs::remove_file(work.path().join("tokyo/logs/singapore-2")).unwrap();
        std::fs::write(work.path().join("tokyo/evidence/singapore-2-7-ab"), "known").unwrap();
        let places = Places { ledgers: Vec::new(), witnesses: witnesses.into(), gone: Vec::new() };
        let found = witnessed(&places, "singapore-2", work.path()).unwrap();
        let [note] = &found[..] else { panic!("{found:?}") };
        assert_eq!(std::fs::read_to_string(note).unwrap(), "origin by frankfurt\n7\nroot\n");
        assert!(witnessed(&places, "singapore-3", work.path()).unwrap().is_empty());
        let forks = forks(&places).unwrap();
        assert_eq!((forks["tokyo"].len(), forks["frankfurt"].len()), (1, 0));
    }

    #[test]
    fn a_copy_has_everything_that_was_there() {
        let work = tempfile::tempdir().unwrap();
        let (from, to) = (work.path().join("from"), work.path().join("to"));
        std::fs::create_dir_all(from.join("log/tile")).unwrap();
        std::fs::write(from.join("log/tile/000"), "hashes").unwrap();
        copy_all(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("log/tile/000")).unwrap(), "hashes");
    }
}
