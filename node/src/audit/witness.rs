//! The witness: cosigns heads of other nodes' ledgers, and never two that contradict each other (C2SP tlog-witness).
//!
//! It has a key of its own and files of its own. What it has seen of a log is durable before it signs, so that no kill makes it
//! forget, and one lock is held from the look at the old size to the signature. A head that does not go on from the one it knows is
//! refused, and both are kept. Which logs there are and how a head comes here is not known here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use domicile_proto::ids::Name;
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::ledger::{Cosignature, HeadOffer, MAX_PROOF, SignedHead, Verdict};
use parking_lot::Mutex;

use super::entry::Peer;
use super::errors::LedgerError;
use super::files::Files;
use super::merkle::{Hash, Head, goes_on};
use super::note::{Verifier, WitnessSigner};
use super::prove::lines;
use crate::clock::Clock;
use crate::limits::{CHECKPOINT_BYTES, WITNESS_EVIDENCE_OF_REGION, WITNESSED_LOGS_OF_REGION};

/// Directory of what was seen of each log.
const LOGS: &str = "logs";
/// Directory of what contradicts it.
const EVIDENCE: &str = "evidence";

/// The witness of this node. Shared.
pub(crate) struct Witness {
    files: Files,
    dir: PathBuf,
    deployment: Name,
    clock: Clock,
    signer: WitnessSigner,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    logs: BTreeMap<Peer, Log>,
    forks: BTreeMap<String, Peer>,
}

/// The newest head of a log that was cosigned here.
struct Log {
    verifier: Verifier,
    head: Head,
    note: String,
}

/// What may be known of the witness: numbers and names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WitnessFacts {
    /// Logs that it cosigns, with the size of the newest head of each.
    pub(crate) logs: Vec<(Peer, u64)>,
    /// Files of evidence, each with the node whose ledger contradicts itself.
    pub(crate) forks: Vec<(String, Peer)>,
}

/// The name of a node's log.
pub(super) fn origin(deployment: &Name, node: &Peer) -> String {
    format!("ledger.{deployment}/{}/{}", node.region, node.node)
}

/// The name of a node's witness.
pub(super) fn witness_name(deployment: &Name, node: &Peer) -> String {
    format!("witness.{deployment}/{}/{}", node.region, node.node)
}

impl Witness {
    /// Opens or creates the witness of a node in a directory of its own.
    ///
    /// # Errors
    /// [`LedgerError`] where it cannot be opened, or where something it remembers was altered: without its memory it signs nothing.
    pub(crate) fn of_node(dir: &Path, deployment: &Name, us: &PeerId, clock: Clock) -> Result<Self, LedgerError> {
        Self::open(&Files::default(), dir, deployment, &us.into(), clock)
    }

    pub(super) fn open(
        files: &Files,
        dir: &Path,
        deployment: &Name,
        us: &Peer,
        clock: Clock,
    ) -> Result<Self, LedgerError> {
        let opened = |source| LedgerError::Open { path: dir.to_path_buf(), source };
        for part in [LOGS, EVIDENCE] {
            std::fs::create_dir_all(dir.join(part)).map_err(opened)?;
        }
        let mut seen = Seen::default();
        for path in whole(&dir.join(LOGS)).map_err(opened)? {
            let (peer, log) = read(&path, deployment)?;
            seen.logs.insert(peer, log);
        }
        for path in whole(&dir.join(EVIDENCE)).map_err(opened)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let peer = named(&name).ok_or(LedgerError::Damaged { path, offset: 0 })?;
            seen.forks.insert(name, peer);
        }
        let is_new = seen.logs.is_empty();
        let signer = WitnessSigner::open(&dir.join("key"), &witness_name(deployment, us), is_new)?;
        let (files, dir, deployment) = (files.clone(), dir.to_path_buf(), deployment.clone());
        Ok(Self { files, dir, deployment, clock, signer, seen: Mutex::new(seen) })
    }

    /// What it says to a head that a node offers. Blocks while it is made durable.
    pub(crate) fn consider(&self, node: &Peer, offer: &HeadOffer) -> Verdict {
        match self.judge(node, offer) {
            Ok(verdict) => verdict,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(region = %node.region, node = node.node.0, error, "the witness could not write");
                Verdict::Unavailable
            }
        }
    }

    fn judge(&self, node: &Peer, offer: &HeadOffer) -> io::Result<Verdict> {
        let origin = origin(&self.deployment, node);
        let verifier = Verifier::of(&origin, offer.key);
        let head = Head { size: offer.head.size, root: offer.head.root };
        let Some(note) = verifier.note_of(&head, &signature(&offer.head)) else { return Ok(Verdict::NotSigned) };
        if head.size == 0 || offer.known > head.size || offer.proof.len() > MAX_PROOF {
            return Ok(Verdict::Malformed);
        }
        let proof: Vec<Hash> = offer.proof.iter().map(|hash| hash.0).collect();
        let mut seen = self.seen.lock();
        let known = seen.logs.get(node);
        match known {
            Some(log) if log.verifier != verifier => {
                self.keep(&mut seen, node, &head, &note, &proof)?;
                return Ok(Verdict::NotSigned);
            }
            // Two signed heads of one size: nothing can explain them, whatever the offer says of what is known.
            Some(log) if log.head.size == head.size && log.head.root != head.root => {
                let known = log.head.size;
                self.keep(&mut seen, node, &head, &note, &proof)?;
                return Ok(Verdict::Forked { known });
            }
            Some(log) if log.head.size != offer.known => return Ok(Verdict::Stale { known: log.head.size }),
            Some(log) if !goes_on(&log.head, &head, &proof) => {
                let known = log.head.size;
                self.keep(&mut seen, node, &head, &note, &proof)?;
                return Ok(Verdict::Forked { known });
            }
            None if offer.known != 0 => return Ok(Verdict::Stale { known: 0 }),
            None if !proof.is_empty() => return Ok(Verdict::Malformed),
            None if seen.logs.keys().filter(|peer| peer.region == node.region).count() >= WITNESSED_LOGS_OF_REGION => {
                return Ok(Verdict::Unavailable);
            }
            _ => {}
        }
        // Durable first: whatever ends this process from here on, no other head of this size is ever signed.
        self.files.replace(&self.dir.join(LOGS).join(file_name(node)), format!("{verifier}\n{note}").as_bytes())?;
        seen.logs.insert(node.clone(), Log { verifier, head, note });
        let at = u64::try_from(self.clock.now().0 / 1_000_000).unwrap_or(0);
        let (signature_r, signature_s) = halves(&self.signer.cosign(&origin, &head, at));
        Ok(Verdict::Cosigned(Cosignature { key: *self.signer.public(), at, signature_r, signature_s }))
    }

    /// Keeps a head that contradicts the one that is known, beside it.
    fn keep(&self, seen: &mut Seen, node: &Peer, head: &Head, note: &str, proof: &[Hash]) -> io::Result<()> {
        let name = format!("{}-{}-{}", file_name(node), head.size, hex::encode(head.root.get(..8).unwrap_or_default()));
        let of_region = seen.forks.values().filter(|peer| peer.region == node.region).count();
        if !seen.forks.contains_key(&name) && of_region < WITNESS_EVIDENCE_OF_REGION {
            let known = seen.logs.get(node);
            let known = known.map(|log| format!("{}\n{}", log.verifier, log.note)).unwrap_or_default();
            let text = format!("known:\n{known}\noffered:\n{note}\nproof:\n{}", lines(proof));
            self.files.replace(&self.dir.join(EVIDENCE).join(&name), text.as_bytes())?;
            seen.forks.insert(name.clone(), node.clone());
        }
        tracing::error!(
            region = %node.region, node = node.node.0, size = head.size, evidence = name,
            "the ledger of another region contradicts itself; its head was not cosigned"
        );
        Ok(())
    }

    /// How it is.
    pub(crate) fn facts(&self) -> WitnessFacts {
        let seen = self.seen.lock();
        WitnessFacts {
            logs: seen.logs.iter().map(|(peer, log)| (peer.clone(), log.head.size)).collect(),
            forks: seen.forks.iter().map(|(name, peer)| (name.clone(), peer.clone())).collect(),
        }
    }

    /// Its key, as auditors want it: `name+id+key`.
    pub(crate) fn verifier(&self) -> String {
        self.signer.cosigner().to_string()
    }
}

/// A signature out of its halves.
pub(super) fn signature(head: &SignedHead) -> [u8; 64] {
    joined(&head.signature_r, &head.signature_s)
}

pub(super) fn joined(first: &[u8; 32], second: &[u8; 32]) -> [u8; 64] {
    let mut bytes = [0; 64];
    let (to_first, to_second) = bytes.split_at_mut(32);
    to_first.copy_from_slice(first);
    to_second.copy_from_slice(second);
    bytes
}

/// The halves of a signature, as they stand in messages.
pub(super) fn halves(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut first, mut second) = ([0; 32], [0; 32]);
    let (from_first, from_second) = signature.split_at(32);
    first.copy_from_slice(from_first);
    second.copy_from_slice(from_second);
    (first, second)
}

fn file_name(node: &Peer) -> String {
    format!("{}-{}", node.region, node.node)
}

/// Whose evidence a file is, by its name.
fn named(name: &str) -> Option<Peer> {
    let mut parts = name.rsplitn(4, '-').skip(2);
    let node = domicile_proto::ids::NodeId(parts.next()?.parse().ok()?);
    Some(Peer { node, region: parts.next()?.parse().ok()? })
}

/// The files in a directory that were written as a whole.
fn whole(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "new") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What is known of a log.
fn read(path: &Path, deployment: &Name) -> Result<(Peer, Log), LedgerError> {
    let opened = |source| LedgerError::Open { path: path.to_path_buf(), source };
    let damaged = || LedgerError::Damaged { path: path.to_path_buf(), offset: 0 };
    if std::fs::metadata(path).map_err(opened)?.len() > CHECKPOINT_BYTES {
        return Err(damaged());
    }
    let text = String::from_utf8(std::fs::read(path).map_err(opened)?).map_err(|_| damaged())?;
    let parsed = || {
        let (verifier, note) = text.split_once('\n')?;
        let (region, node) = path.file_name()?.to_str()?.rsplit_once('-')?;
        let node = domicile_proto::ids::NodeId(node.parse().ok()?);
        let peer = Peer { region: region.parse().ok()?, node };
        let verifier = Verifier::read(verifier).filter(|verifier| verifier.name() == origin(deployment, &peer))?;
        let head = verifier.checkpoint(note)?;
        Some((peer, Log { verifier, head, note: note.to_owned() }))
    };
    parsed().ok_or_else(damaged)
}

#[cfg(test)]
#[path = "witness_test.rs"]
mod tests;
