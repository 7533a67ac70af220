//! What the metadata group decides: commands and state rows, as plain data.
//!
//! Metadata is a crossing too (RES-2): the only text in it is [`Name`]s and [`ApprovedValue`]s. A change that widens what a
//! region lets out or in is a [`RegionalChange`] and carries the signature of that region's officer (RES-4); the group
//! keeps it, and the region's own nodes honour it only if the signature holds against the key in their own configuration.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::ids::{
    DictionaryId, Epoch, ErasureId, KThreshold, Name, NodeId, PolicyVersion, Region, RegionNumber, ShardId, StreamId,
    TenantId, Timestamp,
};
use crate::leaf::{CLOSE_AFTER_S, LeafWidth};
use crate::message::ledger::SignedHead;
use crate::noise::Noise;
use crate::officer::{OfficerRow, OfficerSignature};
use crate::privacy::Privacy;
use crate::region_key::{RegionKeyRow, RegionPublic, RegionWord};
use crate::transfer::{Day, TransferBasis, TransferRow};

/// Most group fields one stream may declare.
pub const MAX_GROUP_FIELDS: usize = 32;
/// Most approved values of one field and tenant, in all regions together.
pub const MAX_VALUES_PER_FIELD: usize = 1_000;
/// Most values in one approval.
pub const MAX_VALUES_PER_APPROVAL: usize = 200;
/// Most commands in one batch of the proposer.
pub const MAX_BATCH: usize = 256;
/// Most streams of one tenant.
pub const MAX_STREAMS_PER_TENANT: usize = 10_000;

/// A value of a group field that an officer of its home region approved: 1 to 64 characters without control characters.
///
/// Source of the bound: CBAP-1 rule R3. Debug prints it, for it is public to all regions by decision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApprovedValue(String);

/// A text that cannot be a dictionary value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a dictionary value has 1 to 64 characters and no control characters")]
pub struct ApprovedValueError;

impl ApprovedValue {
    /// Longest value, in characters.
    pub const MAX_CHARS: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ApprovedValue {
    type Error = ApprovedValueError;

    fn try_from(text: String) -> Result<Self, ApprovedValueError> {
        let chars = text.chars().take(Self::MAX_CHARS + 1).count();
        let ok = (1..=Self::MAX_CHARS).contains(&chars) && !text.chars().any(char::is_control);
        if ok { Ok(Self(text)) } else { Err(ApprovedValueError) }
    }
}

impl From<ApprovedValue> for String {
    fn from(value: ApprovedValue) -> Self {
        value.0
    }
}

/// How many rows a key may see, and in which dress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// None; aggregates only.
    None,
    /// Rows with pseudonyms and marks instead of personal data.
    #[default]
    Redacted,
    /// Rows as far as the key's clearance goes.
    Full,
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Send records.
    pub ingest: bool,
    /// Ask questions.
    pub search: bool,
    /// Read the ledger, and nothing else.
    pub audit: bool,
    /// Change tenants, streams, keys and policy.
    pub admin: bool,
    /// Create a stream by first use.
    pub create: bool,
    /// Have originals revealed, each with a purpose and an entry of the ledger.
    pub reveal: bool,
}

/// An access key, valid in one region. The key itself is shown once and kept nowhere; this is its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Its public name.
    pub id: Name,
    /// Whose records it opens.
    pub tenant: TenantId,
    /// SHA-256 of the 256 random bits of the key.
    pub hash: [u8; 32],
    /// What it may do.
    pub roles: Roles,
    /// Which rows it may see.
    pub rows: Rows,
}

/// Whose data a stream holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Personal {
    /// Nothing is known: cells are counted in records.
    #[default]
    Undeclared,
    /// The field whose distinct values k counts.
    Subject(Name),
    /// An officer states that it holds no personal data: k is 1.
    No,
}

/// What "accepted" means for a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Flushed to the node's disk.
    #[default]
    Disk,
    /// Also created in the region's object store.
    Bucket,
}

/// Most numeric fields one stream may declare.
pub const MAX_NUMBERS: usize = 8;
/// Most bounds of one numeric field.
pub const MAX_BOUNDS: usize = 64;

/// A numeric field that may be counted abroad, between bounds that never depend on the data. Source: CBAP-1 rule R8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberField {
    /// The field.
    pub field: Name,
    /// Rising upper bounds, each inside its cell; one more cell lies above the last.
    pub bounds: Vec<i64>,
}

impl NumberField {
    /// Whether there are bounds, not too many, and they rise.
    pub fn is_well_formed(&self) -> bool {
        (1..=MAX_BOUNDS).contains(&self.bounds.len()) && self.bounds.is_sorted_by(|a, b| a < b)
    }
}

/// Days after their receipt at which records reach the next tier; `None` is the day of the region's file. Where one stands before
/// another that should be reached first, the later day holds for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Segments of a day are merged into one and never written again.
    pub warm_after_days: Option<NonZeroU16>,
    /// They lie in the region's object store alone, and are searched there.
    pub cold_after_days: Option<NonZeroU16>,
    /// They lie in the archive, and are searched only where somebody had them restored.
    pub archive_after_days: Option<NonZeroU16>,
    /// Days in the archive after which they are deleted for good; `None` is the region's validity, or the stream's own retention
    /// where it has one. Retention ends them in any case.
    pub archive_days: Option<NonZeroU16>,
}

impl Lifecycle {
    /// Whether the days that are named do not fall from tier to tier.
    pub fn is_well_formed(&self) -> bool {
        let named = [self.warm_after_days, self.cold_after_days, self.archive_after_days];
        named.into_iter().flatten().is_sorted()
    }
}

/// What one region lets out of one stream, and how it treats its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPolicy {
    /// Whose data it holds.
    pub personal: Personal,
    /// Smallest group; `None` is the default of `personal`.
    pub k: Option<KThreshold>,
    /// Fields that may group or filter abroad.
    pub group_fields: Vec<Name>,
    /// Whether text literals of other regions are answered.
    pub text_questions: bool,
    /// What happens to personal data before anything is stored.
    pub privacy: Privacy,
    /// What an acknowledged batch has survived.
    pub durability: Durability,
    /// Time from receipt to searchable, in milliseconds; 100 to 30,000.
    pub refresh_ms: u32,
    /// Offset of time stamps without a zone, in minutes east of UTC; `None` is the region's zone.
    pub utc_offset_minutes: Option<i16>,
    /// Width of the leaf cells that leave the region.
    pub grid: LeafWidth,
    /// How long after its end a leaf cell closes, in seconds.
    pub close_after_s: u32,
    /// Numeric fields that may be counted abroad.
    pub numbers: Vec<NumberField>,
    /// Days after their receipt at which records are deleted for good; `None` is the period of the region's file.
    pub retention_days: Option<NonZeroU16>,
    /// Noise on what leaves the region; only of a stream whose subjects are known.
    pub noise: Option<Noise>,
    /// When they reach which tier before that.
    pub lifecycle: Lifecycle,
}

impl Default for StreamPolicy {
    /// The most restrictive policy: what a stream has before an officer signs another.
    fn default() -> Self {
        Self {
            personal: Personal::Undeclared,
            k: None,
            group_fields: Vec::new(),
            text_questions: false,
            privacy: Privacy::default(),
            durability: Durability::Disk,
            refresh_ms: 1_000,
            utc_offset_minutes: None,
            grid: LeafWidth::Minute,
            close_after_s: CLOSE_AFTER_S,
            numbers: Vec::new(),
            retention_days: None,
            noise: None,
            lifecycle: Lifecycle::default(),
        }
    }
}

impl StreamPolicy {
    /// The threshold that holds: the declared one, never below the floor for personal data.
    pub fn threshold(&self) -> KThreshold {
        match (&self.personal, self.k) {
            (Personal::No, k) => k.unwrap_or(KThreshold::NON_PERSONAL),
            (Personal::Subject(_), k) => k.unwrap_or(KThreshold::SUBJECTS).max(KThreshold::FLOOR),
            (Personal::Undeclared, k) => k.unwrap_or(KThreshold::RECORDS).max(KThreshold::RECORDS),
        }
    }

    /// Whether this policy lets out nothing that `other` does not, replaces at least what `other` replaces, and keeps what is
    /// acknowledged as `other` does, where and as long: such a change needs no signature.
    pub fn is_within(&self, other: &Self) -> bool {
        self.lets_out_no_more_than(other) && self.subject_of(other).is_none()
    }

    /// [`Self::is_within`] without a look at the subject, which decides what is stored in the clear. It is the metadata group's
    /// rule alone: the same commands give the same state for ever, so it stays as it was. A region's own nodes honour what stands
    /// under it as [`Self::protecting_as`] says.
    pub fn lets_out_no_more_than(&self, other: &Self) -> bool {
        let same_count = self.personal == other.personal || self.personal == Personal::Undeclared;
        same_count
            && self.threshold() >= other.threshold()
            && self.group_fields.iter().all(|field| other.group_fields.contains(field))
            && (!self.text_questions || other.text_questions)
            && self.grid >= other.grid
            && self.close_after_s >= other.close_after_s
            && self.privacy.is_within(&other.privacy)
            && self.numbers.iter().all(|number| other.numbers.contains(number))
            && self.durability == other.durability
            && self.retention_days == other.retention_days
            && other.noise.is_none_or(|theirs| self.noise.is_some_and(|ours| ours.is_within(&theirs)))
            && self.lifecycle == other.lifecycle
    }

    /// This policy with the subject of `other`, where it has another or none. What is counted are subjects again, and no fewer of
    /// them than the records it demanded.
    #[must_use]
    pub fn protecting_as(self, other: &Self) -> Self {
        let Some(field) = self.subject_of(other) else { return self };
        let k = Some(self.threshold().max(other.threshold()));
        Self { personal: Personal::Subject(field.clone()), k, ..self }
    }

    /// The subject that `other` declares and this policy does not.
    fn subject_of<'a>(&self, other: &'a Self) -> Option<&'a Name> {
        match &other.personal {
            Personal::Subject(field) if self.personal != other.personal => Some(field),
            Personal::Subject(_) | Personal::Undeclared | Personal::No => None,
        }
    }
}

/// A change that may widen what one region lets out or in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node joins the region.
    AddNode {
        /// Its id, as in its certificate.
        node: NodeId,
        /// Where its link listens.
        addr: SocketAddr,
    },
    /// An access key is valid.
    AddKey(AccessKey),
    /// A stream's policy in the region is replaced.
    SetPolicy {
        /// Of which tenant.
        tenant: TenantId,
        /// Of which stream.
        stream: StreamId,
        /// What holds from now on.
        policy: StreamPolicy,
    },
    /// Values of a group field may cross.
    ApproveValues {
        /// Of which tenant.
        tenant: TenantId,
        /// Of which field.
        field: Name,
        /// The values.
        values: Vec<ApprovedValue>,
    },
    /// The region's nodes speak with this key, and with no other.
    SetRegionKey {
        /// The key.
        key: RegionPublic,
    },
    /// A node of the region is taken out, wherever that is said: all its machines may be lost.
    RemoveNode {
        /// Which.
        node: NodeId,
    },
    /// What the region releases may go to another one.
    ApproveTransfer {
        /// The region that receives.
        to: Region,
        /// On which legal basis.
        basis: TransferBasis,
        /// The day by which the basis is looked at again.
        review_by: Day,
    },
}

/// A [`Change`] with the region it widens and the signature of that region's officer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionalChange {
    /// The region that is widened.
    pub region: Region,
    /// What changes.
    pub change: Change,
    /// Signature over both and its own serial; `None` on a change that narrows.
    pub signature: Option<OfficerSignature>,
}

/// What may be proposed to the metadata group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A region becomes known and gets a number.
    AddRegion {
        /// Its name.
        region: Region,
    },
    /// A tenant is created.
    CreateTenant {
        /// Its name.
        tenant: Name,
    },
    /// A stream is created with the most restrictive policy everywhere.
    CreateStream {
        /// Of which tenant.
        tenant: TenantId,
        /// Its name.
        stream: Name,
    },
    /// A node of the region becomes the owner of the stream's shard there, in a new epoch.
    AssignShard {
        /// Of which stream.
        stream: StreamId,
        /// In which region.
        region: Region,
        /// The new owner; a node of that region.
        owner: NodeId,
        /// The epoch the proposer saw; the command is refused if another was faster. 0 for a shard that is new.
        seen: Epoch,
        /// The region's word for it; without, the command is refused.
        word: Option<RegionWord>,
    },
    /// Something that may widen what a region lets out or in.
    Regional(RegionalChange),
    /// A node leaves.
    RemoveNode {
        /// Which.
        node: NodeId,
    },
    /// A key is no longer valid.
    RevokeKey {
        /// In which region.
        region: Region,
        /// Which.
        id: Name,
    },
    /// A value may no longer cross from a region.
    RevokeValue {
        /// In which region.
        region: Region,
        /// Of which tenant.
        tenant: TenantId,
        /// Which.
        id: DictionaryId,
    },
    /// A region's newest ledger head.
    RecordHead(SignedHead),
    /// An order of erasure exists in a region, and how far all nodes of the region have come with it.
    RecordErasure(ErasureRow),
    /// From now on nothing the region answers or asks goes to another one.
    RevokeTransfer {
        /// The region that sends.
        from: Region,
        /// The region that receives.
        to: Region,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// Done, or done before.
    Done,
    /// The region has this number.
    Region(RegionNumber),
    /// The tenant has this id.
    Tenant(TenantId),
    /// The stream has this id.
    Stream(StreamId),
    /// The shard has this id and epoch.
    Shard(ShardId, Epoch),
    /// The values have these ids, in the order they were given.
    Values(Vec<DictionaryId>),
    /// The command does not fit the state.
    Refused(CommandRefusal),
}

/// Why a command does not fit the state: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandRefusal {
    /// No such region.
    UnknownRegion,
    /// No such node, or not of that region.
    UnknownNode,
    /// No such tenant.
    UnknownTenant,
    /// No such stream, or not of that tenant.
    UnknownStream,
    /// Another node was faster.
    StaleEpoch,
    /// A bound of this file would be broken.
    TooMany,
    /// The id is taken by something else.
    Taken,
    /// The ledger head is older than the one that is known.
    OldHead,
    /// The change brings text in, or widens a policy, and carries no officer's signature; or the region has not said it.
    Unsigned,
    /// The signature is not that of the officer it names, or not the region's.
    Forged,
    /// The officer has consented to something newer since.
    OldSerial,
    /// Another officer let the region's nodes in.
    OtherOfficer,
    /// It takes something from a region and comes from a node of another.
    OtherRegion,
}

impl fmt::Display for CommandRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownRegion => "the region is not known to the metadata group",
            Self::UnknownNode => "the node is not known to the metadata group, or not in that region",
            Self::UnknownTenant => "the tenant is not known to the metadata group",
            Self::UnknownStream => "the stream is not known to the metadata group, or belongs to another tenant",
            Self::StaleEpoch => "another node took the shard first; read its state again",
            Self::TooMany => "a bound of the metadata group is reached; remove something first",
            Self::Taken => "the id is in use for something else; choose another",
            Self::OldHead => "a newer ledger head of that region is known",
            Self::Unsigned => "the command carries no signature of the region that it is about; have it signed there",
            Self::Forged => "the signature does not hold for this change; have it signed again",
            Self::OldSerial => "the officer has signed a newer change of the region since; have this one signed again",
            Self::OtherOfficer => {
                "the signature is not of the officer who let the region's nodes in; have it signed by that one"
            }
            Self::OtherRegion => "the command takes something from another region; give it to a node of that region",
        })
    }
}

/// One row of the metadata group's state; a snapshot is a sequence of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::large_enum_variant,
    reason = "rows are looked at one at a time; a box would cost each of them an allocation"
)]
pub enum Row {
    /// The counters ids are drawn from.
    Counters(Counters),
    /// A region.
    Region {
        /// Its name.
        region: Region,
        /// Its number.
        number: RegionNumber,
    },
    /// A node.
    Node(NodeRow),
    /// A tenant.
    Tenant {
        /// Its id.
        id: TenantId,
        /// Its name.
        name: Name,
    },
    /// A stream.
    Stream(StreamRow),
    /// A stream's policy in one region.
    Policy(PolicyRow),
    /// A shard.
    Shard(ShardRow),
    /// An access key.
    Key(KeyRow),
    /// A dictionary value.
    Value(ValueRow),
    /// A region's newest ledger head.
    Head(SignedHead),
    /// The newest consent of an officer.
    Officer(OfficerRow),
    /// The key a region's nodes speak with.
    RegionKey(RegionKeyRow),
    /// An order of erasure.
    Erasure(ErasureRow),
    /// A route of the transfer register.
    Transfer(TransferRow),
}

/// The counters ids are drawn from; each holds the next free number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Next region.
    pub region: u16,
    /// Next tenant.
    pub tenant: u32,
    /// Next stream.
    pub stream: u32,
    /// Next shard.
    pub shard: u64,
    /// Next dictionary value.
    pub value: u32,
    /// The version of the policy as a whole.
    pub policy: PolicyVersion,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its id.
    pub node: NodeId,
    /// Its region.
    pub region: Region,
    /// Where its link listens.
    pub addr: SocketAddr,
    /// The officer's consent.
    pub signature: Option<OfficerSignature>,
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRow {
    /// Its id.
    pub id: StreamId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: Name,
    /// Every field any region's policy ever allowed, in the order of their first mention: a [`crate::ids::FieldId`] is a
    /// place in this list and keeps its meaning for ever.
    pub fields: Vec<Name>,
}

/// A stream's policy in one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// Of which stream.
    pub stream: StreamId,
    /// In which region.
    pub region: Region,
    /// The newest change that carried a signature, whether it holds or not, and the version it came with.
    pub signed: Option<(PolicyVersion, RegionalChange)>,
    /// The newest change without a signature since then, and the version it came with.
    pub unsigned: Option<(PolicyVersion, StreamPolicy)>,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRow {
    /// Its id.
    pub id: ShardId,
    /// Of which stream.
    pub stream: StreamId,
    /// In which region.
    pub region: Region,
    /// Who writes it.
    pub owner: NodeId,
    /// In which epoch.
    pub epoch: Epoch,
}

/// An access key of one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// In which region.
    pub region: Region,
    /// The key.
    pub key: AccessKey,
    /// The officer's consent.
    pub signature: Option<OfficerSignature>,
}

/// How far every node of a region has come with an order of erasure; it only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ErasureState {
    /// It was given.
    Ordered,
    /// Nobody in the region can find or read what it means.
    Shredded,
    /// It is physically gone at every node of the region.
    Gone,
}

/// What the group knows of an order of erasure: that there is one, and how far it is. Of whom it says nothing (RES-2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRow {
    /// In which region.
    pub region: Region,
    /// Which.
    pub id: ErasureId,
    /// Whose records.
    pub tenant: TenantId,
    /// SHA-256 over a salt that stays in the region, and whom the order means.
    pub commitment: [u8; 32],
    /// Keyed hash over id, tenant and commitment that only the region's own nodes can make or check.
    pub proof: [u8; 16],
    /// When it was given.
    pub at: Timestamp,
    /// How far it is.
    pub state: ErasureState,
}

/// A dictionary value and the regions it may cross from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueRow {
    /// Its id.
    pub id: DictionaryId,
    /// Of which tenant.
    pub tenant: TenantId,
    /// Of which field.
    pub field: Name,
    /// The text.
    pub value: ApprovedValue,
    /// By region, the signed approval it came with.
    pub approvals: Vec<(Region, RegionalChange)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn of(personal: Personal) -> StreamPolicy {
        StreamPolicy { personal, ..StreamPolicy::default() }
    }

    #[test]
    fn a_subject_is_given_up_by_no_narrowing() {
        let user = of(Personal::Subject(name("user")));
        let unsaid = StreamPolicy { k: Some(KThreshold::RECORDS), ..of(Personal::Undeclared) };
        // A field that is declared is replaced as well, but its records are counted one by one and erased by value alone.
        let declared = StreamPolicy { privacy: Privacy::new([], vec![name("user")]), ..unsaid.clone() };
        let other = StreamPolicy { k: Some(KThreshold::RECORDS), ..of(Personal::Subject(name("session"))) };
        for wanted in [&unsaid, &declared, &other, &of(Personal::No)] {
            assert!(!wanted.is_within(&user), "{wanted:?}");
        }
        let narrower = StreamPolicy { k: Some(KThreshold::RECORDS), ..user.clone() };
        assert!(narrower.is_within(&user) && !user.is_within(&narrower) && user.is_within(&user));
        assert!(unsaid.is_within(&of(Personal::No)) && unsaid.is_within(&of(Personal::Undeclared)));
    }

    #[test]
    fn declared_fields_are_given_up_by_no_narrowing() {
        let privacy = Privacy::new([], vec![name("seat")]);
        let declared = StreamPolicy { privacy, ..of(Personal::Subject(name("user"))) };
        assert!(!of(Personal::Subject(name("user"))).is_within(&declared));
        assert!(declared.is_within(&declared));
    }

    #[test]
    fn what_the_group_took_for_narrower_is_honoured_with_the_subject() {
        let user = StreamPolicy { group_fields: vec![name("service")], ..of(Personal::Subject(name("user"))) };
        let unsaid = of(Personal::Undeclared);
        assert!(unsaid.lets_out_no_more_than(&user), "the group's rule is that of its log");
        let honoured = unsaid.clone().protecting_as(&user);
        assert_eq!(honoured.personal, user.personal);
        assert_eq!(honoured.threshold(), KThreshold::RECORDS);
        assert!(honoured.is_within(&user) && honoured.group_fields.is_empty());
        assert_eq!(honoured.clone().protecting_as(&user), honoured);
        assert_eq!(unsaid.clone().protecting_as(&of(Personal::No)), unsaid);
    }
}
