//! Checkpoints as signed notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature): the keys that sign them, and what checks one.
//!
//! The private key is a file beside the log, never in it. What is believed is decided by whoever pins the verifier key.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::errors::LedgerError;
use super::merkle::{Head, sha256};

/// Ed25519 in a signed note.
const ED25519_KIND: u8 = 1;
/// A timestamped Ed25519 cosignature in a signed note.
const COSIGNATURE_KIND: u8 = 4;

/// A public key with the name it signs under, written `name+id+key`.
#[derive(Clone, PartialEq, Eq)]
struct NamedKey {
    kind: u8,
    name: String,
    public: [u8; 32],
}

impl NamedKey {
    fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = sha256(&[self.name.as_bytes(), b"\n", &[self.kind], &self.public]);
        [a, b, c, d]
    }

    fn read(text: &str, wanted: u8) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = STANDARD.decode(key).ok()?;
        let (kind, public) = key.split_first()?;
        let public: [u8; 32] = public.try_into().ok()?;
        let is_named = !name.is_empty() && !name.chars().any(char::is_whitespace);
        let read = Self { kind: *kind, name: name.to_owned(), public };
        (is_named && *kind == wanted && hex::encode(read.id()) == id).then_some(read)
    }

    fn is_of(&self, line: &Line<'_>) -> bool {
        line.name == self.name && line.id == self.id()
    }

    fn checks(&self, signed: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(signed, signature).is_ok()
    }

    fn line(&self, signature: &[u8]) -> String {
        let bytes = [&self.id(), signature].concat();
        format!("— {} {}\n", self.name, STANDARD.encode(bytes))
    }
}

impl std::fmt::Display for NamedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![self.kind];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

/// A line of a note that says who signed it.
struct Line<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// A note: its text, and the lines under it; `None` where it is none.
fn parts(note: &str) -> Option<(&str, Vec<Line<'_>>)> {
    let end = note.rfind("\n\n")? + 1;
    let (text, signatures) = note.split_at_checked(end)?;
    let signatures = signatures.strip_prefix('\n')?.strip_suffix('\n')?;
    let lines = signatures.split('\n').map(|line| {
        let (name, bytes) = line.strip_prefix("— ")?.split_once(' ')?;
        let bytes = STANDARD.decode(bytes).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        Some(Line { name, id: *id, signature: signature.to_vec() })
    });
    Some((text, lines.collect::<Option<_>>()?))
}

/// The text of the checkpoint of a log.
fn text_of(origin: &str, head: &Head) -> String {
    format!("{origin}\n{}\n{}\n", head.size, STANDARD.encode(head.root))
}

/// Who signs the checkpoints of a log, as others know it; its name is the log's origin.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier(NamedKey);

impl Verifier {
    /// The key of a log.
    pub(super) fn of(origin: &str, public: [u8; 32]) -> Self {
        Self(NamedKey { kind: ED25519_KIND, name: origin.to_owned(), public })
    }

    /// The name, for a log its origin.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// The key alone.
    pub(super) const fn public(&self) -> &[u8; 32] {
        &self.0.public
    }

    /// Reads `name+id+key`; `None` where it is none, or of another algorithm.
    pub(crate) fn read(text: &str) -> Option<Self> {
        NamedKey::read(text, ED25519_KIND).map(Self)
    }

    /// The text of a note, if this key signed it.
    pub(super) fn open<'a>(&self, note: &'a str) -> Option<&'a str> {
        let (text, lines) = parts(note)?;
        let mut ours = lines.iter().filter(|line| self.0.is_of(line)).peekable();
        ours.peek()?;
        ours.all(|line| self.0.checks(text.as_bytes(), &line.signature)).then_some(text)
    }

    /// The lines that the holder of this key said under a title, if it signed them.
    pub(crate) fn said(&self, title: &str, note: &str) -> Option<Vec<String>> {
        let mut lines = self.open(note)?.strip_suffix('\n')?.split('\n');
        (lines.next()? == title && lines.next()? == self.name()).then(|| lines.map(str::to_owned).collect())
    }

    /// The checkpoint in a note, if this key signed it and it is of this log.
    pub(crate) fn checkpoint(&self, note: &str) -> Option<Head> {
        let text = self.open(note)?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        let head = Head { size: size.parse().ok()?, root };
        (origin == self.name() && head.size.to_string() == size && lines.next().is_none()).then_some(head)
    }

    /// The signed note of a head that was signed elsewhere; `None` where this key did not sign it.
    pub(super) fn note_of(&self, head: &Head, signature: &[u8; 64]) -> Option<String> {
        let text = text_of(self.name(), head);
        let is_signed = self.0.checks(text.as_bytes(), signature);
        is_signed.then(|| format!("{text}\n{}", self.0.line(signature)))
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Who cosigns the checkpoints of other logs (C2SP tlog-cosignature, version 1), as others know it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Cosigner(NamedKey);

impl Cosigner {
    /// The key of a witness.
    pub(super) fn of(name: &str, public: [u8; 32]) -> Self {
        Self(NamedKey { kind: COSIGNATURE_KIND, name: name.to_owned(), public })
    }

    /// The name of the witness.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Reads `name+id+key`; `None` where it is none, or of another algorithm.
    pub(crate) fn read(text: &str) -> Option<Self> {
        NamedKey::read(text, COSIGNATURE_KIND).map(Self)
    }

    /// When this witness cosigned a note, in seconds since 1970; `None` where it did not, or not this text.
    pub(crate) fn cosigned(&self, note: &str) -> Option<u64> {
        let (text, lines) = parts(note)?;
        let mut newest = None;
        for line in lines.iter().filter(|line| self.0.is_of(line)) {
            let (at, signature) = line.signature.split_first_chunk::<8>()?;
            let at = u64::from_be_bytes(*at);
            if !self.0.checks(cosigned_text(at, text).as_bytes(), signature) {
                return None;
            }
            newest = newest.max(Some(at));
        }
        newest
    }

    /// The line under the checkpoint of a head; `None` where this witness did not sign it.
    pub(super) fn line(&self, origin: &str, head: &Head, at: u64, signature: &[u8; 64]) -> Option<String> {
        let is_signed = self.0.checks(cosigned_text(at, &text_of(origin, head)).as_bytes(), signature);
        is_signed.then(|| self.0.line(&[&at.to_be_bytes()[..], signature].concat()))
    }
}

impl std::fmt::Display for Cosigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn cosigned_text(at: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {at}\n{text}")
}

/// Whether every line under a note is of the log or of one of these witnesses, and each of them is sound. A line of a stranger proves
/// nothing, and one that was changed looks like a stranger's.
pub(crate) fn has_no_strangers(note: &str, log: &Verifier, witnesses: &[Cosigner]) -> bool {
    let Some((_, lines)) = parts(note) else { return false };
    let is_known = |line: &Line<'_>| {
        let of_witness = witnesses.iter().any(|one| one.0.is_of(line) && one.cosigned(note).is_some());
        of_witness || (log.0.is_of(line) && log.open(note).is_some())
    };
    lines.iter().all(is_known)
}

/// Signs the checkpoints of one log.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// The key in a file, which is made (mode 0600) where there is none and `may_make`.
    pub(super) fn open(path: &Path, origin: &str, may_make: bool) -> Result<Self, LedgerError> {
        let (pair, public) = open_key(path, may_make)?;
        Ok(Self { pair, verifier: Verifier::of(origin, public) })
    }

    pub(super) const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The signed note of a head.
    pub(super) fn checkpoint(&self, head: &Head) -> String {
        let text = text_of(self.verifier.name(), head);
        format!("{text}\n{}", self.verifier.0.line(&self.sign(head)))
    }

    /// A signed note that is no checkpoint: a title, the name of the log, and lines.
    pub(super) fn says(&self, title: &str, lines: &[String]) -> String {
        let text = format!("{title}\n{}\n{}\n", self.verifier.name(), lines.join("\n"));
        format!("{text}\n{}", self.verifier.0.line(&signature(&self.pair, &text)))
    }

    /// The signature over the checkpoint of a head.
    pub(super) fn sign(&self, head: &Head) -> [u8; 64] {
        signature(&self.pair, &text_of(self.verifier.name(), head))
    }
}

/// Cosigns the checkpoints of other logs.
pub(super) struct WitnessSigner {
    pair: Ed25519KeyPair,
    cosigner: Cosigner,
}

impl WitnessSigner {
    /// As [`Signer::open`].
    pub(super) fn open(path: &Path, name: &str, may_make: bool) -> Result<Self, LedgerError> {
        let (pair, public) = open_key(path, may_make)?;
        Ok(Self { pair, cosigner: Cosigner::of(name, public) })
    }

    pub(super) const fn cosigner(&self) -> &Cosigner {
        &self.cosigner
    }

    pub(super) const fn public(&self) -> &[u8; 32] {
        &self.cosigner.0.public
    }

    /// The cosignature over the checkpoint of a head of a log.
    pub(super) fn cosign(&self, origin: &str, head: &Head, at: u64) -> [u8; 64] {
        signature(&self.pair, &cosigned_text(at, &text_of(origin, head)))
    }
}

fn signature(pair: &Ed25519KeyPair, text: &str) -> [u8; 64] {
    let mut bytes = [0; 64];
    // An Ed25519 signature has 64 bytes.
    bytes.copy_from_slice(pair.sign(text.as_bytes()).as_ref());
    bytes
}

fn open_key(path: &Path, may_make: bool) -> Result<(Ed25519KeyPair, [u8; 32]), LedgerError> {
    let wrong = || LedgerError::Key { path: path.to_path_buf() };
    let is_there = path.try_exists().map_err(|_| wrong())?;
    if !is_there {
        if !may_make {
            return Err(wrong());
        }
        make(path).map_err(|source| LedgerError::Open { path: path.to_path_buf(), source })?;
    }
    let pkcs8 = std::fs::read(path).map_err(|source| LedgerError::Open { path: path.to_path_buf(), source })?;
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| wrong())?;
    let public = pair.public_key().as_ref().try_into().map_err(|_| wrong())?;
    Ok((pair, public))
}

/// A new key, whole or not there.
fn make(path: &Path) -> std::io::Result<()> {
    let pkcs8 =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| std::io::Error::other("no random bytes"))?;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(pkcs8.as_ref())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of golang.org/x/mod/sumdb/note, whose format C2SP signed-note is.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n\n\
                        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn signer(dir: &Path) -> Signer {
        Signer::open(&dir.join("key"), "ledger.domicile/tokyo", true).expect("made")
    }

    #[test]
    fn the_published_example_is_read_and_checked() {
        let peter = Verifier::read(PETER).expect("a key");
        assert_eq!(peter.to_string(), PETER);
        assert!(peter.open(NOTE).expect("signed").starts_with("If you think"));
        assert!(peter.open(&NOTE.replace("problem is", "problem was")).is_none());
        assert!(Verifier::read(&PETER.replace("c74f20a3", "c74f20a4")).is_none());
    }

    #[test]
    fn no_bit_of_a_checkpoint_or_of_its_key_may_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let signer = signer(dir.path());
        let head = Head { size: 300, root: [9; 32] };
        let note = signer.checkpoint(&head);
        assert_eq!(signer.verifier().checkpoint(&note), Some(head));
        let key = signer.verifier().to_string();
        for (place, bit) in (0..note.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            let mut flipped = note.clone().into_bytes();
            flipped[place] ^= 1 << bit;
            let read = String::from_utf8(flipped).ok().and_then(|note| signer.verifier().checkpoint(&note));
            assert_eq!(read, None, "byte {place}, bit {bit}");
        }
        for (place, bit) in (0..key.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            let mut flipped = key.clone().into_bytes();
            flipped[place] ^= 1 << bit;
            let read = String::from_utf8(flipped).ok().and_then(|key| Verifier::read(&key)?.checkpoint(&note));
            assert_eq!(read, None, "byte {place}, bit {bit}");
        }
    }

    /// Every line of a note is of the log or of a known witness, and a flipped bit makes it neither.
    #[test]
    fn no_bit_of_a_cosigned_checkpoint_may_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let (log, head) = (signer(dir.path()), Head { size: 300, root: [9; 32] });
        let witness = WitnessSigner::open(&dir.path().join("w"), "witness.domicile/frankfurt/3", true).expect("made");
        let origin = log.verifier().name();
        let (at, cosigner) = (1_700_000_000, witness.cosigner().clone());
        let line = cosigner.line(origin, &head, at, &witness.cosign(origin, &head, at)).expect("signed");
        let note = format!("{}{line}", log.checkpoint(&head));
        assert_eq!(log.verifier().checkpoint(&note), Some(head));
        assert_eq!(cosigner.cosigned(&note), Some(at));
        assert_eq!(cosigner.cosigned(&log.checkpoint(&head)), None);
        assert!(cosigner.line(origin, &Head { size: 301, ..head }, at, &witness.cosign(origin, &head, at)).is_none());
        let witnesses = [Cosigner::read(&cosigner.to_string()).expect("a key")];
        assert!(has_no_strangers(&note, log.verifier(), &witnesses) && !has_no_strangers(&note, log.verifier(), &[]));
        assert!(
            Verifier::read(&cosigner.to_string()).is_none() && Cosigner::read(&log.verifier().to_string()).is_none()
        );
        for (place, bit) in (0..note.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            let mut flipped = note.clone().into_bytes();
            flipped[place] ^= 1 << bit;
            let is_sound = String::from_utf8(flipped).is_ok_and(|note| {
                log.verifier().checkpoint(&note).is_some() && has_no_strangers(&note, log.verifier(), &witnesses)
            });
            assert!(!is_sound, "byte {place}, bit {bit}");
        }
    }

    #[test]
    fn a_key_is_kept_is_private_and_is_not_made_twice() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let first = signer(dir.path()).verifier().to_string();
        assert_eq!(signer(dir.path()).verifier().to_string(), first);
        let mode = std::fs::metadata(dir.path().join("key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_file(dir.path().join("key")).expect("removed");
        let lost = Signer::open(&dir.path().join("key"), "ledger.domicile/tokyo", false);
        assert!(matches!(lost, Err(LedgerError::Key { .. })));
    }
}
