//! What can go wrong with an order of erasure.

use domicile_proto::ids::NodeId;

use crate::audit::LedgerError;
use crate::errors::{Coded, Verdict};
use crate::keys::KeysError;
use crate::limits::{EXPORT_LINK_HOURS, EXPORT_LINKS};
use crate::segment::SegmentError;
use crate::store::StoreError;
use crate::tier::TierError;

/// Why an order was refused or did not come further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EraseError {
    /// Nobody is named.
    #[error(
        "the order names nobody: no stream of this tenant declares a subject, or nothing in the value is personal; name a token, or the right streams"
    )]
    Nobody,
    /// A legal hold stands against it.
    #[error("legal hold `{hold}` stands against it; release the hold first, if the law allows it")]
    Held {
        /// Which.
        hold: Box<str>,
    },
    /// There is none of that id.
    #[error("there is no erasure or hold `{id}` of this tenant in this region; look at the list")]
    Unknown {
        /// What was asked for.
        id: Box<str>,
    },
    /// The scan after the rewrite found something.
    #[error(
        "{left} records of erasure `{order}` are still there after the rewrite; it is not reported as done and is tried again"
    )]
    Left {
        /// Which.
        order: Box<str>,
        /// How many.
        left: u64,
    },
    /// A record of an order does not read.
    #[error(
        "object `{object}` is no order of this build; restore it from a copy of the bucket, for without it what was erased may be shown again"
    )]
    Damaged {
        /// Which object.
        object: String,
    },
    /// Receipts cannot be signed.
    #[error(
        "the key in `{path}` signs no receipts; give this node an ECDSA P-256 key in PKCS #8, as `domicile pki` makes"
    )]
    Key {
        /// Which file.
        path: String,
    },
    /// Something that was deleted is found again.
    #[error(
        "segment `{segment}` of deletion `{deletion}` is still there; it is not reported as done and is tried again"
    )]
    Stays {
        /// Which deletion.
        deletion: Box<str>,
        /// Which segment.
        segment: Box<str>,
    },
    /// The bucket.
    #[error("the order could not be read or written")]
    Store(#[from] StoreError),
    /// The keyring.
    #[error("keys could not be destroyed yet; the order is hidden from every search and is tried again")]
    Keys(#[from] KeysError),
    /// Segments.
    #[error("segments could not be made anew yet; the order is tried again")]
    Segments(#[from] SegmentError),
    /// Copies in the bucket.
    #[error("copies in the bucket could not be made anew yet; the order is tried again")]
    Copies(#[from] TierError),
    /// The ledger.
    #[error("the ledger could not be written, so nothing is done")]
    Ledger(#[from] LedgerError),
    /// More is named than one order holds.
    #[error("the order names more subjects, tokens or streams than one order holds; give it stream by stream")]
    TooWide,
    /// This node was away, and does not know what was erased meanwhile.
    #[error(
        "this node has not heard yet what was erased while it was away, so it shows nothing; it asks every other node of its region each second and goes on when all have answered; `domicile subject status` names those that have not: bring them back, or take out with `domicile node remove` those that are lost"
    )]
    Away,
    /// An order exists that this node does not have.
    #[error(
        "erasure `{order}` exists in this region and this node does not know whom it means, so it shows nothing of the tenant; it asks the other nodes, or is told by itself: `domicile subject erase --id {order}`"
    )]
    Missing {
        /// Which order.
        order: Box<str>,
    },
    /// A node of the region has not shredded an order in time.
    #[error(
        "erasure `{order}` is older than a minute and not shredded at every node of the region; `domicile subject status` names them"
    )]
    Overdue {
        /// Which order.
        order: Box<str>,
    },
    /// Another node's tokens are made under other keys.
    #[error(
        "the tokens of that node are made under other keys, so it cannot know whom the order means; tell it by itself: `domicile subject erase --id ID`"
    )]
    OtherKeys,
    /// Another node cannot be told.
    #[error("that node of the region cannot be told; the order is kept for it")]
    Untold,
    /// Nothing lies behind a link.
    #[error(
        "nothing lies behind this link: it has expired, an erasure took it back, or it is not whole; ask whoever sent it for a new one"
    )]
    NoExport,
    /// An erasure came while records were read.
    #[error("an erasure was ordered while the export was read, so nothing of it is kept; export again")]
    Overtaken,
    /// The time is none a link can have.
    #[error("a link is good for 1 to {EXPORT_LINK_HOURS} hours; give `link_hours` within that")]
    LinkHours,
    /// There are as many links as may be.
    #[error("the tenant has {EXPORT_LINKS} links that have not expired; wait for one, or write the export to a file")]
    Links,
    /// Another node of the region has not said which legal holds it has.
    #[error(
        "node {node} of this region has not said its legal holds and has been silent for {seconds} s at least, so nothing is erased or deleted here: one may stand against it; bring that node back, or take it out with `domicile node remove --node {node}`"
    )]
    Unheard {
        /// Which node.
        node: NodeId,
        /// Seconds for which it has said nothing.
        seconds: u64,
    },
    /// Another node holds part of what is wanted and does not give it.
    #[error(
        "node {node} of this region holds part of what is asked for and {why}; nothing is given, for half of what is known of a person is a wrong answer: ask again, or look at `domicile subject status`"
    )]
    Elsewhere {
        /// Which node.
        node: NodeId,
        /// Why it does not give it.
        why: &'static str,
    },
    /// Records of streams that were given up lie on this disk, where no erasure reaches them.
    #[error(
        "records that this node had accepted lie in `{dir}`, given up while it was away and reached by no erasure; look what is in it, then delete it"
    )]
    Aside {
        /// Which directory.
        dir: String,
    },
    /// Nobody can see whether a legal hold stands against it.
    #[error(
        "legal hold `{hold}` may stand against it: {why}; nothing is erased that may be held. Make it readable, or release the hold, if the law allows it"
    )]
    HoldUnseen {
        /// Which hold.
        hold: Box<str>,
        /// What cannot be looked through.
        why: &'static str,
    },
    /// The node stops.
    #[error("the node stops; the order goes on at its next start")]
    Stopping,
}

impl Coded for EraseError {
    fn code(&self) -> &'static str {
        match self {
            Self::Nobody => "DMC-ERASE-01",
            Self::Held { .. } => "DMC-ERASE-02",
            Self::Unknown { .. } => "DMC-ERASE-03",
            Self::Left { .. } => "DMC-ERASE-04",
            Self::Damaged { .. } => "DMC-ERASE-05",
            Self::Key { .. } => "DMC-ERASE-06",
            Self::Stopping => "DMC-ERASE-07",
            Self::Stays { .. } => "DMC-ERASE-08",
            Self::Away => "DMC-ERASE-09",
            Self::Missing { .. } => "DMC-ERASE-10",
            Self::Overdue { .. } => "DMC-ERASE-11",
            Self::OtherKeys => "DMC-ERASE-12",
            Self::Untold => "DMC-ERASE-13",
            Self::TooWide => "DMC-ERASE-14",
            Self::NoExport => "DMC-ERASE-16",
            Self::Overtaken => "DMC-ERASE-17",
            Self::LinkHours => "DMC-ERASE-18",
            Self::Links => "DMC-ERASE-19",
            Self::Unheard { .. } => "DMC-ERASE-15",
            Self::Elsewhere { .. } => "DMC-ERASE-20",
            Self::Aside { .. } => "DMC-ERASE-21",
            Self::HoldUnseen { .. } => "DMC-ERASE-22",
            Self::Store(source) => source.code(),
            Self::Keys(source) => source.code(),
            Self::Segments(source) => source.code(),
            Self::Copies(source) => source.code(),
            Self::Ledger(source) => source.code(),
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Nobody | Self::Held { .. } | Self::Unknown { .. } | Self::TooWide => Verdict::Refused,
            Self::NoExport | Self::LinkHours | Self::Links | Self::HoldUnseen { .. } => Verdict::Refused,
            Self::Overtaken => Verdict::NotNow(1),
            Self::Elsewhere { .. } => Verdict::NotNow(5),
            Self::Away | Self::Missing { .. } | Self::Unheard { .. } => Verdict::NotNow(2),
            Self::Left { .. } | Self::Stays { .. } | Self::Aside { .. } | Self::Stopping => Verdict::NotNow(30),
            Self::Overdue { .. } | Self::OtherKeys | Self::Untold => Verdict::NotNow(30),
            Self::Damaged { .. } | Self::Key { .. } => Verdict::Broken,
            Self::Store(source) => source.verdict(),
            Self::Keys(source) => source.verdict(),
            Self::Segments(source) => source.verdict(),
            Self::Copies(source) => source.verdict(),
            Self::Ledger(source) => source.verdict(),
        }
    }
}
