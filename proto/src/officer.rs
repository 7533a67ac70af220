//! The officer's key: one per region, kept off the nodes (RES-4).
//!
//! Ed25519 (RFC 8032) over the bincode of region, serial and change behind a fixed prefix, so that a signature for one
//! purpose or region is worth nothing for another. The serial grows with every consent: one that was given before another is
//! worth nothing after it. Which consent is the newest is for those who read them to remember.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::border::EgressClass;
use crate::codec;
use crate::ids::{ConsentSerial, NodeId, PolicyVersion, QuestionId, Region};
use crate::metadata::{Change, RegionalChange};
use crate::signing::{self, Pair};

/// An officer's consent: its serial, the public key it claims to come from, and an Ed25519 signature in its two halves.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficerSignature {
    serial: ConsentSerial,
    officer: [u8; 32],
    r: [u8; 32],
    s: [u8; 32],
}

/// The newest consent of one officer of a region, as the metadata group has taken it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficerRow {
    /// The region.
    pub region: Region,
    /// The consent: whose, and its serial.
    pub newest: OfficerSignature,
    /// The version of the policy it came with.
    pub version: PolicyVersion,
}

impl OfficerSignature {
    /// Its place among the officer's consents.
    pub const fn serial(&self) -> ConsentSerial {
        self.serial
    }

    /// The public key it claims to come from.
    pub const fn officer(&self) -> OfficerPublic {
        OfficerPublic(self.officer)
    }
}

impl fmt::Debug for OfficerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfficerSignature({}, {}…)", self.serial, hex::encode(self.r.get(..4).unwrap_or_default()))
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
pub struct OfficerKey(Pair);

impl OfficerKey {
    /// Draws a new key; gives its PKCS#8 form, to be written to a file with mode 0600.
    ///
    /// # Errors
    /// [`OfficerKeyError::Random`].
    pub fn generate() -> Result<Vec<u8>, OfficerKeyError> {
        Pair::generate().ok_or(OfficerKeyError::Random)
    }

    /// Reads the PKCS#8 form.
    ///
    /// # Errors
    /// [`OfficerKeyError::Malformed`].
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, OfficerKeyError> {
        Pair::from_pkcs8(bytes).map(Self).ok_or(OfficerKeyError::Malformed)
    }

    /// The public half.
    pub fn public(&self) -> OfficerPublic {
        OfficerPublic(self.0.public())
    }

    /// Consents to a change of the region's. The serial must be higher than that of every consent before.
    pub fn sign(&self, region: Region, serial: ConsentSerial, change: Change) -> RegionalChange {
        let (r, s) = self.0.sign(&signed_bytes(&region, serial, &change));
        let signature = OfficerSignature { serial, officer: self.0.public(), r, s };
        RegionalChange { region, change, signature: Some(signature) }
    }

    /// Orders a body to be destroyed: a signature of 128 hexadecimal digits. An order cannot be put twice: the body is gone.
    pub fn order(&self, order: &BodyOrder) -> String {
        let (r, s) = self.0.sign(&order.signed_bytes());
        hex::encode([r, s].concat())
    }
}

/// Why the body of an entry of a ledger is destroyed: a closed set, so that no words stand in a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderGround {
    /// It holds something about a person that should not be there.
    PersonalData,
    /// A court or an authority ordered it.
    CourtOrder,
    /// The time for which it had to be kept is over.
    RetentionOver,
}

impl OrderGround {
    /// Their names, for messages.
    pub const NAMES: &'static str = "personal_data, court_order or retention_over";

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::PersonalData => "it held something about a person",
            Self::CourtOrder => "a court or an authority ordered it",
            Self::RetentionOver => "the time for which it had to be kept was over",
        }
    }
}

/// A message whose body is to be destroyed: what is left to be said of it afterwards, so that one order stands for one message and
/// no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedBody {
    /// What stands in the tree for its entry.
    pub commitment: [u8; 32],
    /// Whether it left; else it arrived.
    pub left: bool,
    /// The region and the node at the other end.
    pub peer: (Region, NodeId),
    /// What class of thing crossed.
    pub class: EgressClass,
    /// Which question it was, or answered.
    pub question: QuestionId,
}

/// An officer's order to destroy the body of one entry of one node's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyOrder {
    /// The region.
    pub region: Region,
    /// The node whose ledger it is.
    pub node: NodeId,
    /// Number of the entry.
    pub entry: u64,
    /// What its body is.
    pub body: OrderedBody,
    /// Why.
    pub ground: OrderGround,
}

impl BodyOrder {
    fn signed_bytes(&self) -> Vec<u8> {
        let Self { region, node, entry, body, ground } = self;
        let OrderedBody { commitment, left, peer, class, question } = body;
        let mut message = b"domicile officer order body 2\0".to_vec();
        message.extend(codec::canonical(&(region, node, entry, ground)));
        message.extend(codec::canonical(&(commitment, left, peer, class, question)));
        message
    }
}

/// An officer's public key, as it stands in a node's own configuration: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OfficerPublic([u8; 32]);

impl OfficerPublic {
    /// Whether the change carries this officer's consent for its region.
    pub fn consents(&self, change: &RegionalChange) -> bool {
        change.signature.is_some_and(|signature| {
            let message = signed_bytes(&change.region, signature.serial, &change.change);
            signature.officer == self.0 && signing::holds(&self.0, &message, &(signature.r, signature.s))
        })
    }
}

impl OfficerPublic {
    /// Whether this officer signed the order.
    pub fn orders(&self, order: &BodyOrder, signature: &str) -> bool {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        let halves = signature.split_at_checked(64);
        let is_read = halves.is_some_and(|(first, second)| {
            hex::decode_to_slice(first, &mut r).is_ok() && hex::decode_to_slice(second, &mut s).is_ok()
        });
        is_read && signing::holds(&self.0, &order.signed_bytes(), &(r, s))
    }
}

impl TryFrom<String> for OfficerPublic {
    type Error = OfficerKeyError;

    fn try_from(text: String) -> Result<Self, OfficerKeyError> {
        signing::public_from_hex(&text).map(Self).ok_or(OfficerKeyError::Public)
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

fn signed_bytes(region: &Region, serial: ConsentSerial, change: &Change) -> Vec<u8> {
    let mut message = b"domicile officer consent 2\0".to_vec();
    message.extend(codec::canonical(&(region, serial, change)));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(node: u64) -> Change {
        Change::AddNode { node: NodeId(node), addr: "127.0.0.1:7443".parse().expect("an address") }
    }

    #[test]
    fn an_order_holds_for_one_message_of_one_node_and_one_ground() {
        let key = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        let region: Region = "tokyo".parse().expect("a name");
        let body = OrderedBody {
            commitment: [7; 32],
            left: true,
            peer: ("singapore".parse().expect("a name"), NodeId(2)),
            class: EgressClass::Question,
            question: QuestionId(9),
        };
        let order = BodyOrder { region, node: NodeId(1), entry: 7, body, ground: OrderGround::PersonalData };
        let of = |change: fn(&mut OrderedBody)| {
            let mut body = order.body.clone();
            change(&mut body);
            BodyOrder { body, ..order.clone() }
        };
        let signature = key.order(&order);
        assert!(key.public().orders(&order, &signature));
        for other in [
            BodyOrder { entry: 8, ..order.clone() },
            BodyOrder { node: NodeId(2), ..order.clone() },
            BodyOrder { ground: OrderGround::CourtOrder, ..order.clone() },
            BodyOrder { region: "frankfurt".parse().expect("a name"), ..order.clone() },
            of(|body| body.commitment = [8; 32]),
            of(|body| body.left = false),
            of(|body| body.peer.1 = NodeId(3)),
            of(|body| body.peer.0 = "frankfurt".parse().expect("a name")),
            of(|body| body.class = EgressClass::Count),
            of(|body| body.question = QuestionId(10)),
        ] {
            assert!(!key.public().orders(&other, &signature), "{other:?}");
        }
        let stranger = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        assert!(!stranger.public().orders(&order, &signature));
        for broken in
            ["", "zz", &signature[1..], &signature.replace(|c: char| c == signature.as_bytes()[0] as char, "x")]
        {
            assert!(!key.public().orders(&order, broken), "{broken}");
        }
    }

    #[test]
    fn consent_holds_for_one_change_of_one_region() {
        let key = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        let tokyo: Region = "tokyo".parse().expect("a name");
        let signed = key.sign(tokyo.clone(), ConsentSerial(7), change(1));
        assert_eq!(signed.signature.map(|signature| signature.serial()), Some(ConsentSerial(7)));
        assert!(key.public().consents(&signed));
        assert!(!key.public().consents(&RegionalChange { change: change(2), ..signed.clone() }));
        let elsewhere = RegionalChange { region: "frankfurt".parse().expect("a name"), ..signed.clone() };
        assert!(!key.public().consents(&elsewhere));
        assert!(!key.public().consents(&RegionalChange { signature: None, ..signed.clone() }));
        let other = OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made");
        assert!(!other.public().consents(&signed));
        let relabelled = |serial, officer| {
            let signature = signed.signature.map(|signature| OfficerSignature { serial, officer, ..signature });
            RegionalChange { signature, ..signed.clone() }
        };
        assert!(key.public().consents(&relabelled(ConsentSerial(7), key.public().0)), "nothing was changed");
        assert!(!key.public().consents(&relabelled(ConsentSerial(8), key.public().0)), "an old consent made newer");
        let foreign = relabelled(ConsentSerial(7), other.public().0);
        assert!(!key.public().consents(&foreign) && !other.public().consents(&foreign), "another officer's name");
        let text = String::from(key.public());
        assert_eq!(OfficerPublic::try_from(text).expect("hex"), key.public());
        assert!(OfficerPublic::try_from("zz".to_owned()).is_err());
    }
}
