//! Why a record cannot be taken into its stream here and now.

use domicile_proto::ids::{Name, NodeId};
use domicile_proto::metadata::CommandRefusal;

use crate::errors::{Coded, Verdict};

/// Why a stream cannot be written here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OwnershipError {
    /// The stream does not exist and the key may not create it.
    #[error(
        "there is no stream `{stream}` and this key may not create one; ask an admin for it, or for a key with `create`"
    )]
    MayNotCreate {
        /// Which.
        stream: Name,
    },
    /// The metadata group cannot be reached to create the stream or to assign its shard.
    #[error(
        "stream `{stream}` is new and the metadata group is out of reach; streams that are known are still taken, try again"
    )]
    OutOfReach {
        /// Which.
        stream: Name,
    },
    /// The group refused.
    #[error("the metadata group refuses stream `{stream}`: {refusal}")]
    Refused {
        /// Which.
        stream: Name,
        /// Why.
        refusal: CommandRefusal,
    },
    /// Another node of this region writes the shard.
    #[error("stream `{stream}` lies with node {owner} of this region; send and ask there")]
    OwnedElsewhere {
        /// Which.
        stream: Name,
        /// By whom.
        owner: NodeId,
    },
    /// The name of a new stream holds what looks like personal data. It is not repeated.
    #[error("the name of the new stream looks like personal data, and names are told to every region; choose another")]
    Personal,
    /// The tenant makes streams faster than one may.
    #[error(
        "the tenant makes new streams faster than one may, which all regions have to keep; send to streams that exist, or again after the time in `Retry-After`"
    )]
    TooFast {
        /// Seconds until there is room.
        retry_after: u32,
    },
    /// A shard may only be taken from an owner that its region's officer took out of the region.
    #[error(
        "stream `{stream}` lies with node {owner}, which is still a node of this region; where its machine is gone for good have the officer sign `domicile node remove --node {owner}` first"
    )]
    OwnerStays {
        /// Which.
        stream: Name,
        /// By whom.
        owner: NodeId,
    },
    /// The owner's objects lie in another bucket, or on its own disk.
    #[error(
        "node {owner}, which wrote stream `{stream}`, never used the bucket of this node; adopt it on a node that has that bucket in `[store]`: from here nothing would be kept, and nothing would keep node {owner} from writing on"
    )]
    OtherBucket {
        /// Which.
        stream: Name,
        /// By whom.
        owner: NodeId,
    },
    /// The node that holds the stream was asked and does not answer.
    #[error(
        "stream `{stream}` lies with node {owner} of this region, which {why}; an answer without it would be wrong: ask again after the time in `Retry-After`"
    )]
    NoWord {
        /// Which.
        stream: Name,
        /// With whom.
        owner: NodeId,
        /// What became of the question.
        why: &'static str,
    },
    /// Records could not be brought to the node that writes the stream.
    #[error(
        "stream `{stream}` lies with node {owner} of this region, which {why}; none of these records was taken, send them again after the time in `Retry-After`"
    )]
    NotCarried {
        /// Which.
        stream: Name,
        /// With whom.
        owner: NodeId,
        /// Why not.
        why: &'static str,
    },
    /// Records were brought to the node that writes the stream, and no word came back.
    #[error(
        "stream `{stream}` lies with node {owner} of this region, which did not say what became of these records; they may have been taken: send the same request again, with `X-Domicile-Batch` nothing is taken twice"
    )]
    Unheard {
        /// Which.
        stream: Name,
        /// With whom.
        owner: NodeId,
    },
    /// A batch under one id goes to the node that writes the stream in one message, and this one is larger.
    #[error(
        "stream `{stream}` lies with node {owner} of this region, and a batch with `X-Domicile-Batch` that comes in elsewhere may take {limit} bytes; send smaller batches, each with its own id, or send this one to that node"
    )]
    TooLargeToCarry {
        /// Which.
        stream: Name,
        /// With whom.
        owner: NodeId,
        /// The limit, in bytes.
        limit: usize,
    },
    /// No shard of the region has lost its owner.
    #[error(
        "nothing is to be rebuilt: every stream of this region that was ever written lies with one of its nodes; take out nodes that are gone for good with `domicile node remove` first, and find what a rebuild did in the ledger as `shard_adopted`"
    )]
    NothingLost,
}

impl Coded for OwnershipError {
    fn code(&self) -> &'static str {
        match self {
            Self::MayNotCreate { .. } => "DMC-OWNERSHIP-01",
            Self::OutOfReach { .. } => "DMC-OWNERSHIP-02",
            Self::Refused { .. } => "DMC-OWNERSHIP-03",
            Self::OwnedElsewhere { .. } => "DMC-OWNERSHIP-04",
            Self::Personal => "DMC-OWNERSHIP-05",
            Self::TooFast { .. } => "DMC-OWNERSHIP-06",
            Self::OwnerStays { .. } => "DMC-OWNERSHIP-07",
            Self::OtherBucket { .. } => "DMC-OWNERSHIP-08",
            Self::NothingLost => "DMC-OWNERSHIP-09",
            Self::NoWord { .. } => "DMC-OWNERSHIP-10",
            Self::NotCarried { .. } => "DMC-OWNERSHIP-11",
            Self::Unheard { .. } => "DMC-OWNERSHIP-12",
            Self::TooLargeToCarry { .. } => "DMC-OWNERSHIP-13",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::MayNotCreate { .. } | Self::Refused { .. } | Self::Personal => Verdict::Refused,
            Self::OwnerStays { .. } | Self::OtherBucket { .. } | Self::NothingLost => Verdict::Refused,
            Self::TooFast { retry_after } => Verdict::NotNow(*retry_after),
            Self::OutOfReach { .. } => Verdict::NotNow(RETRY_SECONDS),
            // The owner may be about to change, and a client that balances over nodes finds it by itself.
            Self::OwnedElsewhere { .. } | Self::NoWord { .. } => Verdict::NotNow(1),
            Self::NotCarried { .. } | Self::Unheard { .. } | Self::TooLargeToCarry { .. } => Verdict::NotNow(1),
        }
    }
}

/// What a client is told to wait for the metadata group, in seconds: an election on loopback takes half of it.
const RETRY_SECONDS: u32 = 5;
