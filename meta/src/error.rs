//! What can go wrong in the metadata group, with the code and the advice an operator needs.

use std::path::PathBuf;
use std::time::Duration;

use domicile_proto::ids::NodeId;

/// Something the metadata group did not do.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// The log does not open.
    #[error("the metadata log `{path}` does not open; if another process of this node runs, stop it")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the store says.
        #[source]
        source: Box<redb::Error>,
    },
    /// A file is not what was written.
    #[error("`{path}` is damaged ({found}); move the directory away and join the group anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The log holds less than was written.
    #[error(
        "`{path}` went back: it ends with write {found}, and this node has written {written}; what it voted for or \
         acknowledged may be lost, so it does not take part. Have the node leave the group, move the directory away and join anew"
    )]
    WentBack {
        /// The file.
        path: PathBuf,
        /// How many writes the mark beside it counts.
        written: u64,
        /// How many the file holds.
        found: u64,
    },
    /// The directory belongs to another node.
    #[error("`{path}` belongs to node {owner}; give each node its own directory")]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// The node it belongs to.
        owner: NodeId,
    },
    /// A file cannot be read or written.
    #[error("`{path}` cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The consensus library did not start or stopped by itself.
    #[error("the metadata group's consensus failed on this node ({found}); restart it to recover")]
    Consensus {
        /// What it says.
        found: String,
    },
    /// No majority answered in time; nothing was proposed.
    #[error("the metadata group had no reachable leader for {waited:?}; nothing was changed, try again later")]
    NoQuorum {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The command was sent and no answer came: it may be applied, now or later.
    #[error("the metadata group did not answer within {waited:?}; read the state again before you repeat the command")]
    OutcomeUnknown {
        /// How long it was waited for.
        waited: Duration,
    },
    /// Too many proposals wait already.
    #[error("too many changes of metadata wait on this node; try again later")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
    /// The group exists already.
    #[error("the metadata group is initialised already; other nodes join it")]
    Initialised,
    /// The group does not take the node in, or does not let it go.
    #[error(
        "the metadata group refuses node {node}: it must be approved by its region's officer, and a region has one voter"
    )]
    Refused {
        /// The node.
        node: NodeId,
    },
    /// The command does not fit an entry of the log.
    #[error("the command is too large for the metadata group; approve fewer values at once")]
    TooLarge,
}

impl MetaError {
    /// The stable code, under which `docs/errors` has a page.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "DMC-META-01",
            Self::Damaged { .. } => "DMC-META-02",
            Self::OtherNode { .. } => "DMC-META-03",
            Self::Io { .. } => "DMC-META-04",
            Self::Consensus { .. } => "DMC-META-05",
            Self::NoQuorum { .. } => "DMC-META-06",
            Self::OutcomeUnknown { .. } => "DMC-META-07",
            Self::Busy => "DMC-META-08",
            Self::Stopped => "DMC-META-09",
            Self::Initialised => "DMC-META-10",
            Self::Refused { .. } => "DMC-META-11",
            Self::TooLarge => "DMC-META-12",
            Self::WentBack { .. } => "DMC-META-13",
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub const fn is_not_now(&self) -> bool {
        matches!(self, Self::NoQuorum { .. } | Self::OutcomeUnknown { .. } | Self::Busy)
    }
}
