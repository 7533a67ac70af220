//! Ed25519 (RFC 8032) as the keys of this crate use it: a pair, its public half, a signature in two halves.
//!
//! Who may sign what, and behind which prefix, is said by the keys themselves: [`crate::officer`], [`crate::region_key`].

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// A public key.
pub(crate) type Public = [u8; 32];

/// The two halves of a signature.
pub(crate) type Halves = ([u8; 32], [u8; 32]);

/// A private key.
pub(crate) struct Pair(Ed25519KeyPair);

impl Pair {
    /// A new key in its PKCS#8 form; `None` where the machine gives no random numbers.
    pub(crate) fn generate() -> Option<Vec<u8>> {
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().map(|document| document.as_ref().to_vec())
    }

    /// Reads the PKCS#8 form.
    pub(crate) fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8(bytes).ok().map(Self)
    }

    pub(crate) fn public(&self) -> Public {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        bytes
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Halves {
        let signature = self.0.sign(message);
        let (first, second) = signature.as_ref().split_at(32);
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(first);
        s.copy_from_slice(second);
        (r, s)
    }
}

/// Whether the key signed the message.
pub(crate) fn holds(public: &Public, message: &[u8], (r, s): &Halves) -> bool {
    let mut signature = [0; 64];
    let (first, second) = signature.split_at_mut(32);
    first.copy_from_slice(r);
    second.copy_from_slice(s);
    UnparsedPublicKey::new(&ED25519, public).verify(message, &signature).is_ok()
}

/// Reads 64 hexadecimal digits.
pub(crate) fn public_from_hex(text: &str) -> Option<Public> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).ok().map(|()| bytes)
}
