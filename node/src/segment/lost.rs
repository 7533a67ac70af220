//! A shard whose owner is gone for good: what is lost of it, and how it is given up where it lay.
//!
//! Only what lies in the bucket comes along; of durability `disk` that is what had moved there. A manifest of the next epoch says so
//! before anybody else writes the shard, so that its owner, should it come back, publishes nothing more. Who may give a shard up
//! is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use domicile_proto::ids::{Epoch, NodeId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use super::SegmentError;
use super::manifest::{Manifest, Row};
use super::shards::{Opened, Shards};
use crate::wal::{EVERYTHING, Wal};

/// A disk on which accepted records of a shard may lie that are in none of its segments, nor in any log: whoever wrote them was taken
/// for gone for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Left {
    /// Whose disk.
    pub(crate) node: NodeId,
    /// The last place that its newest manifest named.
    pub(crate) after: u64,
    /// What that manifest named and lay there alone.
    #[serde(default)]
    pub(crate) lost: Sum,
    /// Until when what it named was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) named_until: Option<Timestamp>,
}

/// Segments, and what is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sum {
    pub(crate) segments: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Sum {
    pub(super) fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        rows.into_iter().fold(Self::default(), |Self { segments, records, bytes }, row| Self {
            segments: segments + 1,
            records: records + u64::from(row.docs),
            bytes: bytes + row.bytes,
        })
    }
}

/// What becomes of a shard without the disk of its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Number of its newest manifest; 0 where there is none.
    pub(crate) manifest: u64,
    /// Whether everything that was accepted lay in the bucket.
    in_bucket: bool,
    /// What the manifest names and lies in the bucket.
    pub(crate) kept: Sum,
    /// What the manifest names and lay on that disk alone.
    pub(crate) lost: Sum,
    /// Until when what the manifest names was received; of what came later nothing is known but that it lay on that disk.
    pub(crate) named_until: Option<Timestamp>,
}

impl Loss {
    /// Whether nothing is lost.
    pub(crate) const fn is_none(&self) -> bool {
        self.in_bucket
    }

    fn of(manifest: &Manifest, (owner, seen): (NodeId, Epoch)) -> Self {
        let (number, is_later) = (manifest.number, manifest.body.epoch > seen);
        // Somebody began to adopt it and did not end: what that one gave up is lost, and this manifest names the rest.
        if let Some(left) = manifest.body.left.filter(|left| is_later && left.node == owner) {
            let kept = Sum::of(&manifest.body.segments);
            return Self { manifest: number, in_bucket: false, kept, lost: left.lost, named_until: left.named_until };
        }
        let in_bucket = manifest.body.in_bucket;
        let (kept, lost): (Vec<&Row>, Vec<&Row>) =
            manifest.body.segments.iter().partition(|row| in_bucket || row.copied.is_some());
        let named_until = manifest.named_until();
        Self { manifest: number, in_bucket, kept: Sum::of(kept), lost: Sum::of(lost), named_until }
    }
}

impl Shards {
    /// What is lost of a shard without the disk of its owner, who wrote it in the epoch that was seen, also where that was given up and
    /// nobody went on. Whoever puts all of it into the bucket says so in a manifest before it takes the first batch; of one without a
    /// manifest nothing is known.
    ///
    /// # Errors
    /// [`SegmentError::Store`], [`SegmentError::Manifest`].
    pub(crate) async fn loss_of(&self, shard: ShardId, owner: (NodeId, Epoch)) -> Result<Loss, SegmentError> {
        let newest = Manifest::newest(self.store(), shard).await?;
        Ok(newest.map_or_else(Loss::default, |manifest| Loss::of(&manifest, owner)))
    }

    /// Whether a node keeps its objects in the bucket of this one: else nothing here says anything about its shards.
    ///
    /// # Errors
    /// [`SegmentError::Log`].
    pub(crate) async fn shares_bucket_with(&self, node: NodeId) -> Result<bool, SegmentError> {
        let Some(bucket) = self.bucket() else { return Ok(false) };
        Ok(bucket.has_log_of(node).await?)
    }

    /// Closes a shard to its owner from an epoch on: what it writes into its log of the store counts no more, and it publishes
    /// nothing. What lay on its disk alone is given up. May be repeated.
    ///
    /// # Errors
    /// [`SegmentError::Deposed`] where the shard is in a later epoch; [`SegmentError::Store`], [`SegmentError::Log`].
    pub(crate) async fn give_up(&self, shard: ShardId, owner: NodeId, epoch: Epoch) -> Result<(), SegmentError> {
        let Some(bucket) = self.bucket() else { return Err(SegmentError::NotWhole { shard }) };
        bucket.seal(&BTreeSet::from([owner]), &BTreeMap::from([(shard, epoch)])).await?;
        for _ in 0..TRIES {
            let newest = Manifest::newest(self.store(), shard).await?.unwrap_or_else(|| Manifest::none(shard));
            if newest.body.in_bucket {
                return Ok(());
            }
            if newest.body.epoch >= epoch {
                return Err(SegmentError::Deposed { shard, number: newest.number });
            }
            match newest.given_up(epoch, owner).publish(self.store()).await {
                // Its owner is not gone: it published once more, and that counts.
                Err(SegmentError::Deposed { .. }) => {}
                published => return published,
            }
        }
        Err(SegmentError::Deposed { shard, number: 0 })
    }

    /// The epoch in which a shard is, as the store says.
    ///
    /// # Errors
    /// [`SegmentError::Store`], [`SegmentError::Manifest`].
    pub(crate) async fn epoch_in_store(&self, shard: ShardId) -> Result<Epoch, SegmentError> {
        Ok(Manifest::newest(self.store(), shard).await?.map_or(Epoch(0), |manifest| manifest.body.epoch))
    }

    /// Waits until another node has taken a shard up in an epoch that it was given; whether it did in time. One that is late takes it
    /// up all the same: it is the group's word.
    pub(crate) async fn is_taken_up(&self, shard: ShardId, epoch: Epoch, within: Duration) -> bool {
        let taken = async {
            while self.epoch_in_store(shard).await.map_or(true, |found| found < epoch) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(within, taken).await.is_ok()
    }

    /// Where records lie that this node had accepted and that were given up while it was away.
    ///
    /// # Errors
    /// [`SegmentError::Disk`].
    pub(crate) fn set_aside(&self) -> Result<Option<PathBuf>, SegmentError> {
        self.shared().files.aside()
    }
}

impl Opened {
    /// Shards that were given up while their records lay on the disk of this node, with the last place that was not.
    pub(crate) fn given_up_by(&self, node: NodeId) -> BTreeMap<ShardId, u64> {
        let left = self.of_bucket().filter_map(|manifest| Some((manifest.shard, manifest.body.left?)));
        left.filter(|(_, left)| left.node == node).map(|(shard, left)| (shard, left.after)).collect()
    }

    /// Puts aside what lies on this disk alone of shards that were given up, so that nothing answers with it and nothing deletes it:
    /// the files of segments that no manifest names, and every file of the log with a record behind the last place. Only then may
    /// the log let go of them. To be called before anything else removes files.
    ///
    /// # Errors
    /// [`SegmentError::Disk`].
    pub(crate) fn put_aside(&self, shards: &BTreeMap<ShardId, u64>, wal: &Wal) -> Result<(), SegmentError> {
        for (shard, after) in shards {
            let logs = wal.files_behind(*shard, *after);
            let manifest = self.of_bucket().find(|manifest| manifest.shard == *shard);
            let found = manifest.map_or(Ok(None), |manifest| self.files().put_aside(manifest, *after, &logs))?;
            if let Some(dir) = found {
                let (dir, logs) = (dir.display().to_string(), logs.len());
                tracing::error!(
                    %shard, dir, logs,
                    "another node adopted the shard while this one was away: what was accepted here and nowhere else is put aside, and is neither searched nor erased there"
                );
            }
        }
        // The log need not keep them as well from now on.
        wal.release(&shards.keys().map(|shard| (*shard, EVERYTHING)).collect());
        Ok(())
    }
}

/// How often a manifest of the new epoch is tried while the owner before still publishes.
const TRIES: usize = 8;
/// How often it is looked whether a shard was taken up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
