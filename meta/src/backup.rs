//! A copy of the group's state in one file, and a new group that begins with one.
//!
//! The file is a line that says what it is, a line about its making, the state's rows as frames, and a SHA-256 over all of that. It holds
//! what the group's snapshots hold: names, policies, addresses, hashes of access keys; no key and nothing about a person.
//!
//! A group that begins with it is another group: it has none of the old one's nodes, none may begin it, and every epoch and every counter
//! of ids goes on far behind where the old one can have come. Copies nothing that lies in the regions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use domicile_proto::codec::{self, CodecError, HEADER_BYTES, Header, Message};
use domicile_proto::ids::{Epoch, Name, NodeId, PolicyVersion, Region, Timestamp};
use domicile_proto::metadata::{Counters, NodeRow, Row, ShardRow};
use openraft::storage::RaftLogStorage;
use serde::{Deserialize, Serialize};

use crate::convert;
use crate::error::MetaError;
use crate::limits::{GENERATION_EPOCHS, GENERATION_IDS, GENERATION_POLICIES, GENERATION_REGIONS};
use crate::log_store::LogStore;
use crate::machine;
use crate::raft::{LogId, Member, Membership, StoredMembership, Vote};
use crate::state::State;

/// About the making of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Making {
    /// Of which deployment.
    pub deployment: Name,
    /// Which region's node made it.
    pub region: Region,
    /// Which node.
    pub node: NodeId,
    /// When.
    pub at: Timestamp,
    /// The entry of the log up to which the state was made.
    pub index: u64,
    /// In which term.
    pub term: u64,
    /// Number of rows.
    pub rows: u64,
}

/// A backup that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// About its making.
    pub making: Making,
    /// The state.
    pub state: State,
}

/// Why a file is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is whole and of a layout that this build does not read.
    #[error(
        "the backup is of layout {found}, and this build reads layout {LAYOUT} alone; restore it with the build that made it"
    )]
    Layout {
        /// As it says.
        found: u64,
    },
    /// It is not what was written.
    #[error("the backup is damaged or cut off ({found}); take another copy of it")]
    Damaged {
        /// What was found.
        found: String,
    },
    /// A node of the old group may not begin the new one.
    #[error(
        "node {node} was a node of the group that was backed up, and none of these may begin another one; issue a certificate under a number that was never used"
    )]
    OldNode {
        /// Which.
        node: NodeId,
    },
    /// It belongs to another deployment.
    #[error("the backup is of deployment `{found}`, which is not this node's; take the backup of this one")]
    OtherDeployment {
        /// Whose it is.
        found: Name,
    },
    /// There is a part of a group already.
    #[error(
        "`{path}` holds a part of a metadata group already; restore into the empty data directory of a node that never ran"
    )]
    NotFresh {
        /// Where.
        path: String,
    },
    /// It could not be written.
    #[error("the state was not written to the disk")]
    Group(#[from] MetaError),
}

impl BackupError {
    /// The stable code, under which `docs/errors` has a page.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Layout { .. } => "DMC-META-14",
            Self::Damaged { .. } => "DMC-META-15",
            Self::OldNode { .. } => "DMC-META-16",
            Self::NotFresh { .. } => "DMC-META-17",
            Self::OtherDeployment { .. } => "DMC-META-18",
            Self::Group(error) => error.code(),
        }
    }
}

impl Backup {
    /// The bytes of the file.
    ///
    /// # Errors
    /// A row is larger than a frame may be.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut bytes = format!("{MAGIC}{LAYOUT}\n").into_bytes();
        // Plain data always serialises.
        bytes.extend(serde_json::to_vec(&self.making).unwrap_or_default());
        bytes.push(b'\n');
        for row in self.state.rows() {
            bytes.extend(codec::encode(&row)?);
        }
        let digest = digest(&bytes);
        bytes.extend(digest);
        Ok(bytes)
    }

    /// Reads a file. Nothing of one that is not whole is taken.
    ///
    /// # Errors
    /// [`BackupError::Damaged`], [`BackupError::Layout`].
    pub fn read(bytes: &[u8]) -> Result<Self, BackupError> {
        let damaged = |found: &str| BackupError::Damaged { found: found.to_owned() };
        let body = bytes.len().checked_sub(DIGEST_BYTES).and_then(|at| bytes.split_at_checked(at));
        let (body, checksum) = body.ok_or_else(|| damaged("it is too short"))?;
        let text = body.strip_prefix(MAGIC.as_bytes()).ok_or_else(|| damaged("it does not begin as one"))?;
        if digest(body) != checksum {
            return Err(damaged("its checksum is another one"));
        }
        let (layout, rest) = line(text).ok_or_else(|| damaged("it says no layout"))?;
        let found = std::str::from_utf8(layout).ok().and_then(|text| text.parse().ok());
        match found {
            Some(LAYOUT) => {}
            Some(found) => return Err(BackupError::Layout { found }),
            None => return Err(damaged("its layout is no number")),
        }
        let (making, mut rest) = line(rest).ok_or_else(|| damaged("it does not say how it was made"))?;
        let making: Making = serde_json::from_slice(making).map_err(|_| damaged("how it was made cannot be read"))?;
        let mut rows: Vec<Row> = Vec::new();
        while !rest.is_empty() {
            rows.push(next(&mut rest).map_err(|error| damaged(&error.to_string()))?);
        }
        if rows.len() as u64 != making.rows {
            return Err(damaged("rows are missing"));
        }
        let state = State::from_rows(rows).map_err(|error| damaged(&error.to_string()))?;
        Ok(Self { making, state })
    }

    /// The state that another group begins with on a node: none of the old nodes, and whatever is counted goes on far behind. Two
    /// groups that begin with one backup, on two nodes, have no epoch in common, so that the bucket gives a shard to one of them; nor is what
    /// they make new called alike.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] where a number would run over.
    pub fn next_generation(&self, first: NodeId) -> Result<State, BackupError> {
        let over = || BackupError::Damaged { found: "a counter is near its end".to_owned() };
        let Counters { region, tenant, stream, shard, value, policy } = self.state.counters;
        let place = first.0 % NODES_APART;
        let apart = u32::try_from(place).map_or(u32::MAX, |place| place.saturating_mul(IDS_APART));
        let ids = GENERATION_IDS.saturating_add(apart);
        let counters = Counters {
            region: region.checked_add(GENERATION_REGIONS).ok_or_else(over)?,
            tenant: tenant.checked_add(ids).ok_or_else(over)?,
            stream: stream.checked_add(ids).ok_or_else(over)?,
            shard: shard.checked_add(u64::from(GENERATION_IDS) + place * SHARDS_APART).ok_or_else(over)?,
            value: value.checked_add(ids).ok_or_else(over)?,
            policy: PolicyVersion(policy.0.checked_add(GENERATION_POLICIES).ok_or_else(over)?),
        };
        let epochs = GENERATION_EPOCHS.saturating_add(place.saturating_mul(EPOCHS_APART));
        let rows = self.state.rows().filter_map(|row| match row {
            Row::Counters(_) => Some(Ok(Row::Counters(counters))),
            Row::Node(NodeRow { .. }) => None,
            Row::Shard(row) => {
                let epoch = row.epoch.0.checked_add(epochs).map(Epoch);
                Some(epoch.ok_or_else(over).map(|epoch| Row::Shard(ShardRow { epoch, ..row })))
            }
            other => Some(Ok(other)),
        });
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        State::from_rows(rows).map_err(|error| BackupError::Damaged { found: error.to_string() })
    }

    /// Lays the state down in a directory as that of a group whose one voter is this node, which has not run yet.
    ///
    /// # Errors
    /// [`BackupError`]; then the directory holds nothing that a node takes part with.
    pub async fn restore(
        &self,
        directory: &Path,
        (node, addr): (NodeId, SocketAddr),
        deployment: &Name,
    ) -> Result<(), BackupError> {
        if *deployment != self.making.deployment {
            return Err(BackupError::OtherDeployment { found: self.making.deployment.clone() });
        }
        if node == self.making.node || self.state.node(node).is_some() {
            return Err(BackupError::OldNode { node });
        }
        let state = self.next_generation(node)?;
        let io = |source| MetaError::Io { path: directory.to_owned(), source };
        let is_used = match std::fs::read_dir(directory) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(io(error).into()),
        };
        if is_used {
            return Err(BackupError::NotFresh { path: directory.display().to_string() });
        }
        // Made whole under another name: what was interrupted is no part of a group.
        let beside = directory.with_extension("restored");
        match std::fs::remove_dir_all(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error).into()),
            _ => {}
        }
        std::fs::create_dir_all(&beside).map_err(io)?;
        let term = self.making.term.saturating_add(1);
        let last: LogId = convert::log_id(&domicile_proto::message::metadata::LogPlace {
            term,
            node,
            index: self.making.index.saturating_add(1),
        });
        let members = BTreeMap::from([(node.0, Member { addr })]);
        let membership = Membership::new(vec![BTreeSet::from([node.0])], members);
        let meta = convert::meta_of(Some(last), StoredMembership::new(Some(last), membership));
        machine::write_first(&beside.join("snapshot"), &meta, &state).map_err(io)?;
        let mut log = LogStore::open(&beside.join("log.redb"), node)?;
        let voted = log.save_vote(&Vote::new(term, node.0)).await;
        let closing = log.clone();
        let closed = tokio::task::spawn_blocking(move || closing.close()).await;
        let failed = |found: String| MetaError::Consensus { found };
        voted.map_err(|error| failed(error.to_string()))?;
        closed.map_err(|error| failed(error.to_string()))?;
        if directory.try_exists().map_err(io)? {
            std::fs::remove_dir(directory).map_err(io)?;
        }
        std::fs::rename(&beside, directory).map_err(io)?;
        let above = directory.parent().unwrap_or(directory);
        std::fs::File::open(above).and_then(|above| above.sync_all()).map_err(io)?;
        Ok(())
    }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

fn next<M: Message>(rest: &mut &[u8]) -> Result<M, CodecError> {
    let wanted = HEADER_BYTES + Header::read(rest)?.expect::<M>()?;
    let frame = rest.get(..wanted).ok_or(CodecError::Truncated { found: rest.len(), wanted })?;
    *rest = rest.get(wanted..).unwrap_or_default();
    codec::decode(frame)
}

fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}

/// What the first line begins with; the number of the layout follows.
const MAGIC: &str = "domicile metadata backup, layout ";
const LAYOUT: u64 = 1;
const DIGEST_BYTES: usize = 32;
/// Nodes whose groups are kept apart by their epochs.
const NODES_APART: u64 = 1 << 12;
/// Epochs between those of two of them: more than a shard has owners.
const EPOCHS_APART: u64 = 1 << 28;

/// Tenants, streams and values between those of two of them: more than are made before somebody sees that there are two.
const IDS_APART: u32 = 1 << 16;
/// Shards between those of two of them.
const SHARDS_APART: u64 = 1 << 32;

const _: () = assert!(NODES_APART * EPOCHS_APART <= GENERATION_EPOCHS);
const _: () = assert!(NODES_APART * IDS_APART as u64 <= 1 << 28);

#[cfg(test)]
#[path = "backup_test.rs"]
mod tests;
