//! Proofs that leave without the log: that an entry is in it (C2SP tlog-proof), and that its newest checkpoint goes on from an older
//! one (the request of C2SP tlog-witness). Made from a log that was checked, and checked again before anybody sees them.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::merkle::{self, Hash, Head, WIDTH, leaf};
use super::note::Verifier;
use super::tiles::{self, CHECKPOINT, LOG, VERIFIER};
use super::verify::{Broken, broken, verify};

/// A log that holds, with the hashes of its entries.
struct Held {
    note: String,
    verifier: Verifier,
    head: Head,
    leaves: Vec<Hash>,
}

/// The proof that entry `number` is in the log in a directory.
///
/// # Errors
/// [`Broken`] where the log does not hold, or has no such entry.
pub(crate) fn prove_entry(dir: &Path, number: u64) -> Result<String, Broken> {
    let held = hold(dir)?;
    let none = || broken(format!("entry {number}"), "the log's newest checkpoint is over no such entry");
    let index = number.checked_sub(1).and_then(|index| usize::try_from(index).ok()).ok_or_else(none)?;
    let hash = *held.leaves.get(index).ok_or_else(none)?;
    let proof = merkle::inclusion(&held.leaves, index);
    if !merkle::includes(&held.head, index as u64, &hash, &proof) {
        return Err(none());
    }
    Ok(format!("c2sp.org/tlog-proof@v1\nindex {index}\n{}\n{}", lines(&proof), held.note))
}

/// The proof that the log in a directory goes on from an older checkpoint of it.
///
/// # Errors
/// [`Broken`] where the log does not hold, or does not go on from there.
pub(crate) fn prove_since(dir: &Path, old: &str) -> Result<String, Broken> {
    let held = hold(dir)?;
    let old = held.verifier.checkpoint(old);
    let old = old.ok_or_else(|| broken("the older checkpoint", "the log's key did not sign it"))?;
    let size = usize::try_from(old.size).unwrap_or(usize::MAX);
    let proof = merkle::consistency(&held.leaves, size);
    if !merkle::goes_on(&old, &held.head, &proof) {
        return Err(broken("the older checkpoint", "the log does not go on from it"));
    }
    Ok(format!("old {}\n{}\n{}", old.size, lines(&proof), held.note))
}

pub(super) fn lines(proof: &[Hash]) -> String {
    proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect()
}

fn hold(dir: &Path) -> Result<Held, Broken> {
    verify(dir, None, &[], &mut |_, _| {})?;
    let inner = dir.join(LOG);
    let log = if inner.is_dir() { inner } else { dir.to_path_buf() };
    let text = |name: &str| {
        std::fs::read_to_string(log.join(name)).map_err(|_| broken(name, "this file is missing or cannot be read"))
    };
    let note = text(CHECKPOINT)?;
    let verifier = Verifier::read(text(VERIFIER)?.trim_end()).ok_or_else(|| broken(VERIFIER, "this is no key"))?;
    let head = verifier.checkpoint(&note).ok_or_else(|| broken(CHECKPOINT, "the log's key did not sign this"))?;
    let leaves = leaves(&log, head.size)?;
    Ok(Held { note, verifier, head, leaves })
}

fn leaves(log: &Path, size: u64) -> Result<Vec<Hash>, Broken> {
    let mut leaves = Vec::new();
    for index in 0..size.div_ceil(WIDTH) {
        let path: PathBuf = log.join(tiles::bundle_path(index, (size - index * WIDTH).min(WIDTH)));
        let commitments = std::fs::read(&path).ok().and_then(|bytes| tiles::commitments(&bytes));
        let commitments = commitments.ok_or_else(|| broken(path.display(), "this bundle cannot be read"))?;
        leaves.extend(commitments.iter().map(|commitment| leaf(commitment)));
    }
    Ok(leaves)
}
