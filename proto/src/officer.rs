//! The officer's key: one per region, kept off the nodes (RES-4).
//!
//! Ed25519 (RFC 8032) over the bincode of region and change behind a fixed prefix, so that a signature for one purpose or
//! region is worth nothing for another.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ids::Region;
use crate::metadata::{Change, RegionalChange};

/// An Ed25519 signature, in its two halves.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficerSignature {
    r: [u8; 32],
    s: [u8; 32],
}

impl OfficerSignature {
    fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (r, s) = bytes.split_at_mut(32);
        r.copy_from_slice(&self.r);
        s.copy_from_slice(&self.s);
        bytes
    }
}

impl fmt::Debug for OfficerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfficerSignature({}…)", hex::encode(self.r.get(..4).unwrap_or_default()))
    }
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfficerKeyError {
    /// Not a PKCS#8 Ed25519 key.
    #[error("the officer key is not a PKCS#8 Ed25519 key; make one with `domicile pki init`")]
    Malformed,
    /// The machine gives no random numbers.
    #[error("the machine gave no random numbers")]
    Random,
    /// Not 64 hexadecimal digits.
    #[error("an officer's public key has 64 hexadecimal digits")]
    Public,
}

/// An officer's private key.
pub struct OfficerKey(Ed25519KeyPair);

impl OfficerKey {
    /// Draws a new key; gives its PKCS#8 form, to be written to a file with mode 0600.
    ///
    /// # Errors
    /// [`OfficerKeyError::Random`].
    pub fn generate() -> Result<Vec<u8>, OfficerKeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| OfficerKeyError::Random)?;
        Ok(document.as_ref().to_vec())
    }

    /// Reads the PKCS#8 form.
    ///
    /// # Errors
    /// [`OfficerKeyError::Malformed`].
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, OfficerKeyError> {
        Ed25519KeyPair::from_pkcs8(bytes).map(Self).map_err(|_| OfficerKeyError::Malformed)
    }

    /// The public half.
    pub fn public(&self) -> OfficerPublic {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        OfficerPublic(bytes)
    }

    /// Consents to a change of the region's.
    pub fn sign(&self, region: Region, change: Change) -> RegionalChange {
        let signature = self.0.sign(&signed_bytes(&region, &change));
        let (r, s) = signature.as_ref().split_at(32);
        let mut halves = OfficerSignature { r: [0; 32], s: [0; 32] };
        halves.r.copy_from_slice(r);
        halves.s.copy_from_slice(s);
        RegionalChange { region, change, signature: Some(halves) }
    }
}

/// An officer's public key, as it stands in a node's own configuration: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OfficerPublic([u8; 32]);

impl OfficerPublic {
    /// Whether the change carries this officer's consent for its region.
    pub fn consents(&self, change: &RegionalChange) -> bool {
        change.signature.is_some_and(|signature| {
            let message = signed_bytes(&change.region, &change.change);
            UnparsedPublicKey::new(&ED25519, &self.0).verify(&message, &signature.bytes()).is_ok()
        })
    }
}

impl TryFrom<String> for OfficerPublic {
    type Error = OfficerKeyError;

    fn try_from(text: String) -> Result<Self, OfficerKeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| OfficerKeyError::Public)?;
        Ok(Self(bytes))
    }
}

impl From<OfficerPublic> for String {
    fn from(key: OfficerPublic) -> Self {
        hex::encode(key.0)
    }
}

impl fmt::Debug for OfficerPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

fn signed_bytes(region: &Region, change: &Change) -> Vec<u8> {
    let mut message = b"domicile officer consent 1\0".to_vec();
    message.extend(codec::canonical(&(region, change)));
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    fn change(node: u64) -> Change {
        Change::AddNode { node: NodeId(node), addr: "127.0.0.1:7443".parse().expect("an address") }
    }

    #[test]
    fn consent_holds_for_one_change_of_one_region() {
        let key = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        let tokyo: Region = "tokyo".parse().expect("a name");
        let signed = key.sign(tokyo.clone(), change(1));
        assert!(key.public().consents(&signed));
        assert!(!key.public().consents(&RegionalChange { change: change(2), ..signed.clone() }));
        let elsewhere = RegionalChange { region: "frankfurt".parse().expect("a name"), ..signed.clone() };
        assert!(!key.public().consents(&elsewhere));
        assert!(!key.public().consents(&RegionalChange { signature: None, ..signed.clone() }));
        let other = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        assert!(!other.public().consents(&signed));
        let text = String::from(key.public());
        assert_eq!(OfficerPublic::try_from(text).expect("hex"), key.public());
        assert!(OfficerPublic::try_from("zz".to_owned()).is_err());
    }
}
