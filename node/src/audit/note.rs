//! Checkpoints as signed notes (C2SP signed-note and tlog-checkpoint): the key that signs them, and what checks one.
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

/// Who signed, as others know them: name and public key, written `name+id+key`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    name: String,
    public: [u8; 32],
}

impl Verifier {
    /// The name, for a log its origin.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = sha256(&[self.name.as_bytes(), b"\n", &[ED25519_KIND], &self.public]);
        [a, b, c, d]
    }

    /// Reads `name+id+key`; `None` where it is none, or of another algorithm.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = STANDARD.decode(key).ok()?;
        let (kind, public) = key.split_first()?;
        let public: [u8; 32] = public.try_into().ok()?;
        let is_named = !name.is_empty() && !name.chars().any(char::is_whitespace);
        let read = Self { name: name.to_owned(), public };
        (is_named && *kind == ED25519_KIND && hex::encode(read.id()) == id).then_some(read)
    }

    /// The text of a note, if this key signed it.
    pub(super) fn open<'a>(&self, note: &'a str) -> Option<&'a str> {
        let end = note.rfind("\n\n")? + 1;
        let (text, signatures) = note.split_at_checked(end)?;
        let signatures = signatures.strip_prefix('\n')?.strip_suffix('\n')?;
        let mut is_signed = false;
        for line in signatures.split('\n') {
            let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
            let signature = STANDARD.decode(signature).ok()?;
            let (id, signature) = signature.split_first_chunk::<4>()?;
            if name != self.name || *id != self.id() {
                continue;
            }
            UnparsedPublicKey::new(&ED25519, &self.public).verify(text.as_bytes(), signature).ok()?;
            is_signed = true;
        }
        is_signed.then_some(text)
    }

    /// The lines that the holder of this key said under a title, if it signed them.
    pub(crate) fn said(&self, title: &str, note: &str) -> Option<Vec<String>> {
        let mut lines = self.open(note)?.strip_suffix('\n')?.split('\n');
        (lines.next()? == title && lines.next()? == self.name).then(|| lines.map(str::to_owned).collect())
    }

    /// The checkpoint in a note, if this key signed it and it is of this log.
    pub(crate) fn checkpoint(&self, note: &str) -> Option<Head> {
        let text = self.open(note)?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        let head = Head { size: size.parse().ok()?, root };
        (origin == self.name && head.size.to_string() == size && lines.next().is_none()).then_some(head)
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![ED25519_KIND];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

/// Signs the checkpoints of one log.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// The key in a file, which is made (mode 0600) where there is none and `may_make`.
    pub(super) fn open(path: &Path, origin: &str, may_make: bool) -> Result<Self, LedgerError> {
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
        Ok(Self { pair, verifier: Verifier { name: origin.to_owned(), public } })
    }

    pub(super) const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The signed note of a head.
    pub(super) fn checkpoint(&self, head: &Head) -> String {
        self.sign(&format!("{}\n{}\n{}\n", self.verifier.name, head.size, STANDARD.encode(head.root)))
    }

    /// A signed note that is no checkpoint: a title, the name of the log, and lines.
    pub(super) fn says(&self, title: &str, lines: &[String]) -> String {
        self.sign(&format!("{title}\n{}\n{}\n", self.verifier.name, lines.join("\n")))
    }

    fn sign(&self, text: &str) -> String {
        let mut signature = self.verifier.id().to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n— {} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
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
