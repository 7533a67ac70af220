//! What the ledger records. A body is one JSON object in one form only, so that an auditor needs no tool of ours to read it and
//! nothing can hide in the way it is written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::ids::{
    ByteCount, Epoch, KThreshold, Name, NodeId, PolicyVersion, QuestionId, Region, ShardId, StreamId, TenantId,
    Timestamp,
};
use domicile_proto::message::answer::{Answer, Outcome, RefusalCode};
use domicile_proto::message::question::Question;
use domicile_proto::officer::OfficerPublic;
use domicile_proto::transfer::TransferBasis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::breach::BreachStep;
use super::chains::Link;
use super::destroyed::Destroyed;
use crate::keys::Notice;

/// The layout of bodies that is written and read.
const VERSION: u8 = 1;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Layout of the body.
    v: u8,
    /// When, by the region's clock, in microseconds UTC.
    pub(crate) at: Timestamp,
    #[serde(rename = "chain")]
    /// Whose chain it stands in; none for what is about no tenant, or about no one of them.
    pub(crate) tenant: Option<TenantId>,
    /// Its number in that chain, counted from 1.
    pub(crate) seq: u64,
    /// What stands in the tree for the entry before it in that chain.
    #[serde(with = "hex_digest")]
    pub(crate) prev: [u8; 32],
    /// What.
    #[serde(flatten)]
    pub(crate) event: Event,
}

impl Entry {
    pub(super) const fn new(at: Timestamp, tenant: Option<TenantId>, end: &Link, event: Event) -> Self {
        Self { v: VERSION, at, tenant, seq: end.seq + 1, prev: end.commitment, event }
    }

    /// The first of its chain.
    #[cfg(test)]
    pub(crate) fn specimen(at: Timestamp, tenant: Option<TenantId>, event: Event) -> Self {
        Self::new(at, tenant, &Link::NONE, event)
    }

    /// The next of its chain, of what is about no tenant.
    #[cfg(test)]
    pub(super) const fn specimen_behind(at: Timestamp, end: &Link, event: Event) -> Self {
        Self::new(at, None, end, event)
    }

    /// Its bytes, the only ones it has.
    pub(super) fn body(&self) -> Vec<u8> {
        // Plain data always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a body; `None` where it is no entry of this layout, or not in the one form.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(body).ok()?;
        (read.v == VERSION && read.body() == body).then_some(read)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Event {
    /// Something is about to leave the region; written before its first byte.
    Egress(Passage),
    /// Something arrived from another region; written before anybody sees it.
    Ingress(Passage),
    /// A question was refused: to another region (`peer` asked), or to one who asked here (`peer` is none).
    RefusedQuestion {
        /// Who asked.
        peer: Option<Peer>,
        /// About what, where that is known.
        stream: Option<StreamId>,
        /// Why.
        why: Why,
    },
    /// From now on smaller groups of a stream may be counted abroad.
    ThresholdLowered {
        /// Of which stream.
        stream: StreamId,
        /// The smallest group until now.
        from: KThreshold,
        /// The smallest group from now on.
        to: KThreshold,
        /// The version of the policy that says so.
        policy: PolicyVersion,
    },
    /// From now on another version of the policy holds.
    PolicyChanged {
        /// Which.
        version: PolicyVersion,
        /// Streams that it knows, of all tenants.
        streams: u64,
        /// Values that may be named abroad under it.
        approved_values: u64,
        /// Whether what leaves under an older version is held against this entry, in one order with it. Earlier builds did not look.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ordered: bool,
    },
    /// A node entered the deployment or left it, as this region learnt it.
    MembershipChanged {
        /// Which.
        peer: Peer,
        /// Whether it entered.
        entered: bool,
    },
    /// From now on other values of a field may be named abroad, or fewer.
    ValuesApproved {
        /// Whose.
        tenant: TenantId,
        /// Which field.
        field: Name,
        /// Values that are new.
        added: u64,
        /// Values that may be named no more.
        removed: u64,
        /// SHA-256 of all that may be named from now on: each in the order of their ids, with a line feed behind it.
        #[serde(with = "hex_digest")]
        approved: [u8; 32],
        /// The version of the policy that says so.
        policy: PolicyVersion,
    },
    /// The node started.
    NodeStarted {
        /// Which.
        node: NodeId,
        /// SHA-256 of the program that runs.
        #[serde(with = "hex_digest")]
        binary: [u8; 32],
        /// SHA-256 of its configuration, every default written out.
        #[serde(with = "hex_digest")]
        config: [u8; 32],
        /// SHA-256 of the list of what it was built of; earlier builds had none.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "hex_digest_or_none")]
        sbom: Option<[u8; 32]>,
    },
    /// The clock went otherwise than time did: somebody set it, or had the machine stand still.
    ClockJumped {
        /// How far, in microseconds; backward below zero.
        by: i64,
        /// Whether all that stands before has times of the clock as it was, and all that stands behind of the clock as it is now.
        /// Earlier builds told of it up to a minute later.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ordered: bool,
        /// Whether a start found it: its clock was before the newest entry, and nobody knows how much time went by meanwhile.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        at_start: bool,
    },
    /// A segment is about to be durable: the next manifest of its shard names it. Twice after a crash.
    SegmentPublished {
        /// Of which shard.
        shard: ShardId,
        /// Number of the manifest.
        manifest: u64,
        /// Id of the segment.
        segment: Box<str>,
        /// Records in it.
        records: u64,
        /// Size of its files.
        bytes: ByteCount,
        /// SHA-256 of its files: of each name, length and content, in the order of names.
        #[serde(with = "hex_digest")]
        sha256: [u8; 32],
        /// Places in the log of the shard between which its records lie: the first and the last. Segments do not overlap, so it was made
        /// of those that lay there until this manifest, and of the log where there was none yet. Earlier builds did not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        places: Option<[u64; 2]>,
    },
    /// A segment is about to be gone: the next manifest of its shard does without it, and its files go then. Twice after a crash.
    SegmentDeleted {
        /// Of which shard.
        shard: ShardId,
        /// Number of the manifest.
        manifest: u64,
        /// Id of the segment.
        segment: Box<str>,
    },
    /// Bytes of metadata to and from one peer, within one minute.
    Metadata {
        /// With whom.
        peer: Peer,
        /// Bytes that left.
        sent: u64,
        /// Bytes that came.
        received: u64,
        /// In how many frames they left and came; earlier builds counted none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        frames: Option<[u64; 2]>,
    },
    /// A peer began more questions or heads of its ledger than are let in; these were turned away unread, within one minute.
    TurnedAway {
        /// Who.
        peer: Peer,
        /// How many.
        exchanges: u64,
    },
    /// An erasure was ordered. The commitment is a salted hash; the salt lies with the order.
    ErasureRequested {
        /// Id of the order.
        erasure: Box<str>,
        /// Over salt, tenant and whom.
        #[serde(with = "hex_digest")]
        commitment: [u8; 32],
    },
    /// An erasure was refused, for a legal hold stands against it.
    ErasureRefused {
        /// Id of the hold.
        hold: Box<str>,
        /// As in `ErasureRequested`.
        #[serde(with = "hex_digest")]
        commitment: [u8; 32],
    },
    /// Records were hidden from every search and the keys of their originals destroyed. Twice after a crash.
    Shredded {
        /// Id of the order.
        erasure: Box<str>,
        /// Records hidden.
        hidden: u64,
        /// Originals destroyed.
        originals: u64,
    },
    /// Every segment with a hidden record was made anew, and a scan found none left.
    Purged {
        /// Id of the order.
        erasure: Box<str>,
        /// Segments made anew, for all orders that waited together.
        segments: u64,
        /// Records removed, for all of them.
        removed: u64,
        /// SHA-256 of the signed receipt.
        #[serde(with = "hex_digest")]
        receipt: [u8; 32],
    },
    /// Records past their retention are about to be deleted for good; written before anything goes.
    RetentionBegun {
        /// Id of the deletion.
        deletion: Box<str>,
        /// Of which tenant.
        tenant: TenantId,
        /// Segments.
        segments: u64,
        /// Records in them.
        records: u64,
        /// SHA-256 of the plan, which names each segment with its digest.
        #[serde(with = "hex_digest")]
        plan: [u8; 32],
    },
    /// They are gone: out of the manifest, off the disk, out of the log and the bucket. Twice after a crash.
    RetentionDropped {
        /// Id of the deletion.
        deletion: Box<str>,
        /// Of which tenant.
        tenant: TenantId,
        /// Segments.
        segments: u64,
        /// Records that were in them.
        records: u64,
        /// SHA-256 of the signed evidence.
        #[serde(with = "hex_digest")]
        evidence: [u8; 32],
    },
    /// A legal hold was set.
    HoldSet {
        /// Its id.
        hold: Box<str>,
    },
    /// A legal hold was released.
    HoldReleased {
        /// Its id.
        hold: Box<str>,
    },
    /// Everything about one subject was handed over to an administrator.
    SubjectExported {
        /// Of which tenant.
        tenant: TenantId,
        /// Records.
        records: u64,
        /// Originals that were opened for it.
        originals: u64,
    },
    /// Something happened to keys.
    Key(Notice),
    /// An original is about to be revealed, or was asked for in vain; written before the answer.
    Reveal {
        /// Public name of the access key.
        key: Name,
        /// Whose token.
        tenant: TenantId,
        /// For what.
        purpose: Purpose,
        /// Keyed hash of the token, which this region alone can make again.
        #[serde(with = "hex_digest")]
        token: [u8; 32],
    },
    /// A ledger in the form of earlier builds was put aside as it is, beside this one. Twice after a crash.
    EarlierLedger {
        /// How many bytes.
        bytes: u64,
        /// Their SHA-256.
        #[serde(with = "hex_digest")]
        sha256: [u8; 32],
    },
    /// A question that was put here did not go to a region: nothing may, or the policy is not known to be the newest.
    NotSent {
        /// Which region.
        to: Region,
        /// About what.
        stream: StreamId,
        /// Why.
        why: Why,
    },
    /// A breach of personal data was opened in the register, or something was done about it. No words stand here.
    Breach {
        /// Its id.
        breach: Box<str>,
        /// Whose data.
        tenant: TenantId,
        /// What.
        step: BreachStep,
        /// When, as the officer says.
        when: Timestamp,
    },
    /// From now on what is released here goes to a region, or does no more.
    RouteChanged {
        /// Which region.
        to: Region,
        /// Whether it goes there.
        open: bool,
        /// On which legal basis, where there is one.
        basis: Option<TransferBasis>,
        /// The version of the policy that says so.
        policy: PolicyVersion,
        /// Whether what leaves is decided in one order with this entry. Earlier builds let out what was on its way for a moment longer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ordered: bool,
    },
    /// The end of the file was not a whole entry when the node started; it was put aside beside the ledger.
    TornTail {
        /// How many bytes.
        bytes: u64,
        /// Their SHA-256.
        #[serde(with = "hex_digest")]
        sha256: [u8; 32],
    },
    /// An export of a subject was kept in the region behind a link; written before it is there.
    ExportKept {
        /// Of which tenant.
        tenant: TenantId,
        /// Its public name.
        export: Box<str>,
        /// From when on it can be read no more.
        until: Timestamp,
    },
    /// An export is about to be given to somebody who has its link.
    ExportRead {
        /// Of which tenant.
        tenant: TenantId,
        /// Its public name.
        export: Box<str>,
    },
    /// A segment is about to lie elsewhere: the next manifest of its shard says so, and where it lay it goes then. Twice after a
    /// crash.
    SegmentMoved {
        /// Of which shard.
        shard: ShardId,
        /// Number of the manifest.
        manifest: u64,
        /// Id of the segment.
        segment: Box<str>,
        /// To which tier: `cold`, `disk` or `archive`.
        to: Box<str>,
        /// Size of it there.
        bytes: ByteCount,
        /// SHA-256 of the footer of its copy; nothing but zeros where it comes back to the disk.
        #[serde(with = "hex_digest")]
        sha256: [u8; 32],
    },
    /// A shard is about to be taken from an owner that is gone for good; written before its next epoch begins. Twice after a crash.
    ShardAdopted {
        /// Which.
        shard: ShardId,
        /// The epoch that begins.
        epoch: Epoch,
        /// Who wrote it until now.
        from: NodeId,
        /// Public name of the access key of whoever said so.
        by: Name,
        /// Why.
        why: Adopted,
        /// Number of its newest manifest; 0 where there was none.
        manifest: u64,
        /// Whether all that was accepted lies in the bucket; else what its owner had not published is lost, however much that was.
        whole: bool,
        /// Records that the manifest named and that are lost.
        lost: u64,
        /// Records that it named and that are kept.
        kept: u64,
        /// Until when what it named was received.
        until: Option<Timestamp>,
    },
    /// The body of an entry is about to be destroyed, by an officer's order.
    BodyDestroyed(Destroyed),
    /// Whose signature the node honours for its region from this start on: with another officer other rules hold, whatever the
    /// version of the policy.
    OfficerHonoured {
        /// The officer's public key.
        officer: OfficerPublic,
    },
}

/// Why a shard was taken from its owner: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Adopted {
    /// Its owner is gone for good.
    OwnerGone,
    /// The whole region was lost but for its bucket.
    RegionRebuilt,
}

impl Event {
    /// The tenant it is about, as far as it says so itself.
    pub(super) fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Egress(passage) | Self::Ingress(passage) => passage.question().map(|question| question.tenant),
            Self::SubjectExported { tenant, .. }
            | Self::ExportKept { tenant, .. }
            | Self::ExportRead { tenant, .. }
            | Self::Reveal { tenant, .. }
            | Self::Breach { tenant, .. }
            | Self::RetentionBegun { tenant, .. }
            | Self::RetentionDropped { tenant, .. }
            | Self::ValuesApproved { tenant, .. } => Some(*tenant),
            Self::Key(notice) => notice.tenant,
            _ => None,
        }
    }

    /// Whether it is a head of a ledger, or what a witness said to one.
    pub(super) fn is_about_heads(&self) -> bool {
        matches!(self, Self::Egress(passage) | Self::Ingress(passage) if passage.class == EgressClass::LedgerHead)
    }

    /// The region that something leaves for which may go there on an open route alone: questions and what is released. A refusal tells
    /// nothing, and metadata and heads of ledgers keep the group and the witnesses together.
    pub(crate) fn needs_route(&self) -> Option<&Region> {
        let Self::Egress(passage) = self else { return None };
        let is_free = matches!(passage.class, EgressClass::Refusal | EgressClass::LedgerHead | EgressClass::Metadata);
        (!is_free).then_some(&passage.peer.region)
    }

    /// The version of the policy under which an answer that leaves was released, where it tells anything.
    pub(super) fn released_under(&self) -> Option<PolicyVersion> {
        let Self::Egress(passage) = self else { return None };
        let Answer { header, outcome } = passage.answer()?;
        matches!(outcome, Outcome::Aggregate(_)).then_some(header.policy)
    }

    /// Most bytes of its body: the frame in base64, and what surrounds it.
    pub(super) fn most_bytes(&self) -> usize {
        let frame = match self {
            Self::Egress(passage) | Self::Ingress(passage) => passage.body.len(),
            _ => 0,
        };
        frame.div_ceil(3) * 4 + SURROUNDING_BYTES
    }
}

/// What surrounds a frame in a body, or a body without one, at most.
const SURROUNDING_BYTES: usize = 2 << 10;

/// For what an original may be revealed: a closed set, so that nothing personal is written here either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// To look into an attack or a breach.
    SecurityIncident,
    /// To look into fraud.
    Fraud,
    /// An order of a court or an authority.
    LegalRequest,
    /// The subject asked for it.
    SubjectRequest,
    /// To help a customer who asked for help.
    CustomerSupport,
}

impl Purpose {
    /// Their names, for messages.
    pub(crate) const NAMES: &'static str =
        "security_incident, fraud, legal_request, subject_request or customer_support";
}

/// The node at the other end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Its region, by its certificate.
    pub(crate) region: Region,
    /// The node, by its certificate.
    pub(crate) node: NodeId,
}

impl Peer {
    /// The node whose log has this name.
    pub(crate) fn of_log(origin: &str) -> Option<Self> {
        let mut parts = origin.rsplit('/');
        let node = parts.next()?.parse().ok().map(NodeId)?;
        Some(Self { region: parts.next()?.parse().ok()?, node })
    }
}

/// One message over the border.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passage {
    /// The node at the other end.
    pub(crate) peer: Peer,
    /// What class of thing.
    pub(crate) class: EgressClass,
    /// Size of the frame on the wire.
    pub(crate) bytes: ByteCount,
    /// SHA-256 of the frame.
    #[serde(with = "hex_digest")]
    pub(crate) sha256: [u8; 32],
    /// The frame itself.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(crate) body: Vec<u8>,
    /// Of an answer that leaves: what it was drawn from, so that it can be asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) drawn: Option<Drawn>,
}

/// What an answer was drawn from: as much of a shard as could be searched then, and the rules of then. Numbers and a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drawn {
    /// The shard.
    pub(crate) shard: ShardId,
    /// Last place in it that was counted.
    pub(crate) upto: u64,
    /// Number of the newest entry of the release journal that it was composed from; 0 where none was.
    pub(crate) journal: u64,
    /// SHA-256 of the rules that decide what such an answer holds: those of the stream, and the values that may be named.
    #[serde(with = "hex_digest")]
    pub(crate) rules: [u8; 32],
    /// The smallest group that might be told of by the policy of then; earlier builds did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) k: Option<KThreshold>,
}

impl Passage {
    /// The question, where it is one.
    pub(crate) fn question(&self) -> Option<Question> {
        (self.class == EgressClass::Question).then(|| codec::decode(&self.body).ok()).flatten()
    }

    /// The answer, where it is one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        let is_other = matches!(self.class, EgressClass::Question | EgressClass::Metadata | EgressClass::LedgerHead);
        (!is_other).then(|| codec::decode(&self.body).ok()).flatten()
    }

    /// The question that it answers, where it is an answer.
    pub(super) fn answered(&self) -> Option<QuestionId> {
        self.answer().map(|answer| answer.header.question)
    }
}

/// Without the body: a question may hold a literal.
impl std::fmt::Debug for Passage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { peer, class, bytes, .. } = self;
        f.debug_struct("Passage")
            .field("peer", peer)
            .field("class", class)
            .field("bytes", bytes)
            .finish_non_exhaustive()
    }
}

/// Why a question was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// A reason that the asker is told.
    Code(RefusalCode),
    /// It could not be put into the words that may travel.
    NotExpressible,
}

mod hex_digest_or_none {
    use serde::{Deserializer, Serializer};

    #[allow(clippy::ref_option, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(digest: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => super::hex_digest::serialize(digest, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
        super::hex_digest::deserialize(deserializer).map(Some)
    }
}

pub(super) mod hex_digest {
    use super::{Deserialize, Deserializer, Serializer};

    pub(in crate::audit) fn serialize<S: Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(digest))
    }

    pub(in crate::audit) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).map_err(serde::de::Error::custom)?;
        Ok(digest)
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(from)?).map_err(serde::de::Error::custom)
}
