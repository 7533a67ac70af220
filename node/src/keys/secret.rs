//! 256 secret bits, and what is done with them: AES-256-GCM-SIV, which forgives a repeated nonce, with random nonces.
//!
//! No `Debug`, no `Display`, no `Serialize`; wiped when dropped. Where a secret is kept is not decided here.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Key, Nonce};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::errors::KeysError;

/// A key. Wiped when dropped.
pub(super) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// A new one.
    pub(super) fn random() -> Result<Self, KeysError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| KeysError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// A new one out of many.
    pub(super) fn drawn(random: &mut Random) -> Result<Self, KeysError> {
        random.draw().map(Self)
    }

    /// One that is known already; `None` where the bytes are not 32.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 32] = bytes.try_into().ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The same bits as a key for keyed hashes.
    pub(super) fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice())
    }

    /// Nonce, ciphertext and tag.
    pub(super) fn seal(&self, plain: &[u8], aad: &[u8]) -> Result<Vec<u8>, KeysError> {
        let mut nonce = [0; NONCE];
        SystemRandom::new().fill(&mut nonce).map_err(|_| KeysError::NoRandomness)?;
        self.seal_under(nonce, plain, aad)
    }

    /// [`Secret::seal`], with a nonce out of many.
    pub(super) fn seal_drawing(&self, random: &mut Random, plain: &[u8], aad: &[u8]) -> Result<Vec<u8>, KeysError> {
        self.seal_under(*random.draw()?, plain, aad)
    }

    fn seal_under(&self, nonce: [u8; NONCE], plain: &[u8], aad: &[u8]) -> Result<Vec<u8>, KeysError> {
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), Payload { msg: plain, aad });
        // Fails only beyond 64 GiB.
        let sealed = sealed.map_err(|_| KeysError::DoesNotOpen { place: "memory" })?;
        let mut out = Vec::with_capacity(NONCE + sealed.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// What was sealed; `None` where a bit of it, of the data beside it or of the key is another.
    pub(super) fn open(&self, sealed: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let plain = self.cipher().decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad }).ok()?;
        Some(Zeroizing::new(plain))
    }

    /// Another key, sealed under this one.
    pub(super) fn wrap(&self, key: &Self, aad: &[u8]) -> Result<Vec<u8>, KeysError> {
        self.seal(key.0.as_slice(), aad)
    }

    /// [`Secret::wrap`], with a nonce out of many.
    pub(super) fn wrap_drawing(&self, random: &mut Random, key: &Self, aad: &[u8]) -> Result<Vec<u8>, KeysError> {
        self.seal_drawing(random, key.0.as_slice(), aad)
    }

    /// A key that was wrapped under this one.
    pub(super) fn open_key(&self, wrapped: &[u8], aad: &[u8]) -> Option<Self> {
        Self::from_slice(&self.open(wrapped, aad)?)
    }

    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new(&Key::<Aes256GcmSiv>::from(*self.0))
    }
}

/// Random bytes of the system, asked for by the page: asking for each key costs more than the rest of making it. Each is given
/// once.
pub(super) struct Random {
    page: Zeroizing<[u8; RANDOM_BYTES]>,
    /// How many of them were given.
    given: usize,
}

impl Random {
    pub(super) fn new() -> Self {
        Self { page: Zeroizing::new([0; RANDOM_BYTES]), given: RANDOM_BYTES }
    }

    fn draw<const N: usize>(&mut self) -> Result<Zeroizing<[u8; N]>, KeysError> {
        const { assert!(N <= RANDOM_BYTES) }
        if self.given + N > RANDOM_BYTES {
            SystemRandom::new().fill(self.page.as_mut_slice()).map_err(|_| KeysError::NoRandomness)?;
            self.given = 0;
        }
        let mut drawn = Zeroizing::new([0; N]);
        let page = self.page.get_mut(self.given..).and_then(|page| page.first_chunk_mut::<N>());
        let page = page.ok_or(KeysError::NoRandomness)?;
        std::mem::swap(page, &mut *drawn);
        self.given += N;
        Ok(drawn)
    }
}

/// Random bytes that are asked for at once.
const RANDOM_BYTES: usize = 4_096;
/// Bytes of a nonce.
const NONCE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sealed_opens_under_its_key_and_label_alone(
            plain in proptest::collection::vec(any::<u8>(), 0..200), flip in any::<usize>(), bit in 0..8_u8,
        ) {
            let (key, other) = (Secret::random().unwrap(), Secret::random().unwrap());
            let sealed = key.seal(&plain, b"label").unwrap();
            let opened = key.open(&sealed, b"label");
            prop_assert_eq!(opened.as_deref(), Some(&plain));
            prop_assert!(key.open(&sealed, b"labe").is_none());
            prop_assert!(other.open(&sealed, b"label").is_none());
            let mut broken = sealed.clone();
            let place = flip % broken.len();
            broken[place] ^= 1 << bit;
            prop_assert!(key.open(&broken, b"label").is_none());
            prop_assert!(key.open(&sealed[..sealed.len() - 1], b"label").is_none());
        }
    }

    #[test]
    fn the_published_vector_of_the_cipher_is_met() {
        // RFC 8452, appendix C.2: AES-256, key and nonce as given there, 8 bytes of plaintext, no further data.
        let mut key = [0; 32];
        key[0] = 1;
        let mut sealed = vec![0; NONCE];
        sealed[0] = 3;
        sealed.extend_from_slice(&hex::decode("c2ef328e5c71c83b843122130f7364b761e0b97427e3df28").unwrap());
        let plain = Secret::from_slice(&key).unwrap().open(&sealed, b"").unwrap();
        assert_eq!(hex::encode(&*plain), "0100000000000000");
    }

    #[test]
    fn two_seals_of_one_value_share_nothing() {
        let key = Secret::random().unwrap();
        let (first, second) = (key.seal(b"a@b.de", b"").unwrap(), key.seal(b"a@b.de", b"").unwrap());
        assert_ne!(first[..NONCE], second[..NONCE]);
        assert_ne!(first[NONCE..], second[NONCE..]);
    }

    #[test]
    fn drawn_bytes_are_given_once_over_the_end_of_every_page() {
        let mut random = Random::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 * RANDOM_BYTES / 32 {
            assert!(seen.insert(*random.draw::<32>().unwrap()), "the same key twice");
            assert!(seen.len() == 1 || random.draw::<12>().unwrap().iter().any(|byte| *byte != 0));
        }
        let left = random.page.get(..random.given).unwrap();
        assert!(left.iter().all(|byte| *byte == 0), "what was given is wiped");
    }
}
