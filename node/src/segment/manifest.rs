//! The manifest of a shard: which segments are durable. A numbered object in the region's store, created if absent; the newest
//! is the truth.
//!
//! Two nodes that both take themselves for the owner cannot both create the next number: the second loses. Holds nothing of
//! any record.

use std::collections::BTreeSet;

use bytes::Bytes;
use domicile_proto::ids::{Epoch, NodeId, ShardId, Timestamp};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::lost::{Left, Sum};
use super::{Archived, Copied, Segment, SegmentError, SegmentId};
use crate::store::{Store, StoreError};

/// The durable segments of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) shard: ShardId,
    /// Grows by one with every manifest of the shard; begins with 1.
    pub(crate) number: u64,
    pub(crate) body: Body,
}

/// What a manifest says, as JSON. Ids are hexadecimal texts, times are microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    version: u32,
    pub(crate) epoch: Epoch,
    /// Last place that lies in a durable segment.
    pub(crate) last_seq: u64,
    /// In the order of their places.
    pub(crate) segments: Vec<Row>,
    /// Whether every segment lies in the store as well, and what follows in the logs there. Stays once it is so.
    #[serde(default, skip_serializing_if = "is_no")]
    pub(crate) in_bucket: bool,
    /// Whether the owner of this epoch has written what it took over from others into its own log.
    #[serde(default, skip_serializing_if = "is_no")]
    pub(crate) settled: bool,
    /// Where records lie that were given up when the shard went to another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left: Option<Left>,
    /// Segments in the archive. One of which a copy is searched stands among the segments as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) archived: Vec<Archived>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_no(flag: &bool) -> bool {
    !*flag
}

/// A durable segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    id: String,
    pub(crate) docs: u32,
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) bytes: u64,
    pub(crate) built_at: Timestamp,
    pub(crate) received_until: Timestamp,
    /// Its copy in the bucket, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) copied: Option<Copied>,
    /// Whether it lies on the disk of the shard's owner beside its copy.
    #[serde(default, skip_serializing_if = "is_no")]
    pub(crate) beside: bool,
}

impl Row {
    pub(crate) fn of(segment: &Segment) -> Self {
        Self {
            id: segment.id.to_string(),
            docs: segment.docs,
            oldest: segment.oldest,
            newest: segment.newest,
            first_seq: segment.first_seq,
            last_seq: segment.last_seq,
            bytes: segment.bytes,
            built_at: segment.built_at,
            received_until: segment.received_until,
            copied: segment.copied.clone(),
            beside: false,
        }
    }

    /// Whether it lies in the bucket alone.
    pub(crate) const fn is_away(&self) -> bool {
        self.copied.is_some() && !self.beside
    }

    /// The segment's id; `None` where the manifest was not written by this build.
    pub(crate) fn id(&self) -> Option<SegmentId> {
        u128::from_str_radix(&self.id, 16).ok().map(SegmentId)
    }
}

impl Manifest {
    /// The row of a segment. One on the disk may have a copy as well, of which the manifest alone knows.
    pub(crate) fn row_of(&self, segment: &Segment) -> Row {
        let row = Row::of(segment);
        let known = self.body.segments.iter().find(|known| known.id() == Some(segment.id));
        match known.and_then(|known| known.copied.clone()).filter(|_| segment.dir.is_some()) {
            Some(copied) if self.body.in_bucket => Row { copied: Some(copied), beside: true, ..row },
            _ => row,
        }
    }

    /// What comes before the first one.
    pub(crate) fn none(shard: ShardId) -> Self {
        Self { shard, number: 0, body: Body::default() }
    }

    /// The one that follows, with other segments.
    pub(crate) fn next(&self, epoch: Epoch, last_seq: u64, segments: Vec<Row>) -> Self {
        let body = Body { version: VERSION, epoch, last_seq, segments, ..self.body.clone() };
        Self { shard: self.shard, number: self.number + 1, body }
    }

    /// The one that follows when a node begins to write the shard in another epoch: the same segments, in the store from now on.
    pub(crate) fn taken_over(&self, epoch: Epoch) -> Self {
        let body = Body { version: VERSION, epoch, in_bucket: true, settled: false, ..self.body.clone() };
        Self { shard: self.shard, number: self.number + 1, body }
    }

    /// The one that follows when a shard of durability `disk` is given up where it lay: only what lies in the bucket is left of it,
    /// and places go on behind the last that was named.
    pub(crate) fn given_up(&self, epoch: Epoch, owner: NodeId) -> Self {
        let kept = self.body.segments.iter().filter(|row| row.copied.is_some());
        let segments = kept.map(|row| Row { beside: false, ..row.clone() }).collect();
        let lost = Sum::of(self.body.segments.iter().filter(|row| row.copied.is_none()));
        let left = Some(Left { node: owner, after: self.body.last_seq, lost, named_until: self.named_until() });
        let body =
            Body { version: VERSION, epoch, segments, in_bucket: true, settled: false, left, ..self.body.clone() };
        Self { shard: self.shard, number: self.number + 1, body }
    }

    /// Until when what it names was received.
    pub(super) fn named_until(&self) -> Option<Timestamp> {
        self.body.segments.iter().map(|row| row.received_until).max()
    }

    /// The newest manifest of a shard.
    ///
    /// # Errors
    /// [`SegmentError::Store`], [`SegmentError::Manifest`].
    pub(crate) async fn newest(store: &Store, shard: ShardId) -> Result<Option<Self>, SegmentError> {
        for _ in 0..TRIES {
            let listed = store.list(&format!("{PREFIX}/{:016x}", shard.0)).await;
            let listed = listed.map_err(|source| SegmentError::Store { shard, source })?;
            let newest = listed.into_iter().filter_map(|(object, _)| Some((parse(&object)?.1, object))).max();
            let Some((number, object)) = newest else { return Ok(None) };
            match store.read(&object).await {
                // Another one has come meanwhile, and this one went.
                Err(StoreError::Missing { .. }) => {}
                read => {
                    let content = read.map_err(|source| SegmentError::Store { shard, source })?;
                    let body = serde_json::from_slice::<Body>(&content).ok().filter(|body| body.version == VERSION);
                    return body
                        .map(|body| Some(Self { shard, number, body }))
                        .ok_or(SegmentError::Manifest { object });
                }
            }
        }
        Err(SegmentError::Interrupted { shard })
    }

    /// Name of its object.
    fn object(&self) -> String {
        format!("{PREFIX}/{:016x}/manifest-{:010}", self.shard.0, self.number)
    }

    /// Creates its object, then deletes the one before. Since older ones are deleted, a number that is free again proves
    /// nothing by itself: the creation counts only if no newer one is there afterwards. May be repeated after an error: an object
    /// that is there and says the same is ours, for segments have random ids.
    ///
    /// # Errors
    /// [`SegmentError::Deposed`] where another node has created it.
    pub(crate) async fn publish(&self, store: &Store) -> Result<(), SegmentError> {
        let content = serde_json::to_vec(&self.body).unwrap_or_default();
        let deposed = || SegmentError::Deposed { shard: self.shard, number: self.number };
        let failed = |source| SegmentError::Store { shard: self.shard, source };
        match store.create(&self.object(), Bytes::from(content.clone())).await {
            Err(StoreError::AlreadyThere { .. }) => match store.read(&self.object()).await {
                Ok(found) if found == content => {}
                // One that is gone by now was deleted by whoever created the next one.
                Ok(_) | Err(StoreError::Missing { .. }) => return Err(deposed()),
                Err(source) => return Err(failed(source)),
            },
            created => created.map_err(failed)?,
        }
        let listed = store.list(&format!("{PREFIX}/{:016x}", self.shard.0)).await;
        let listed = listed.map_err(failed)?;
        if listed.iter().filter_map(|(object, _)| parse(object)).any(|(_, number)| number > self.number) {
            return Err(deposed());
        }
        if self.number > 1 {
            let before = Self { number: self.number - 1, ..Self::none(self.shard) };
            // Left over, it costs a few bytes; the next start deletes it.
            let _ = store.delete(&before.object()).await;
        }
        Ok(())
    }

    /// Every shard all of whose segments lie in the store: their copies come and go with their manifest.
    ///
    /// # Errors
    /// As [`Self::read_all`].
    pub(crate) async fn all_in_bucket(store: &Store) -> Result<BTreeSet<ShardId>, SegmentError> {
        let all = Self::read_all(store).await?;
        Ok(all.into_iter().filter(|manifest| manifest.body.in_bucket).map(|manifest| manifest.shard).collect())
    }

    /// The newest manifest of every shard of the bucket; older ones are deleted.
    pub(crate) async fn read_all(store: &Store) -> Result<Vec<Self>, SegmentError> {
        let listed = store.list(PREFIX).await.map_err(|source| SegmentError::Store { shard: ShardId(0), source })?;
        let mut newest: Vec<(ShardId, u64, String)> = Vec::new();
        for (object, _) in listed {
            let Some((shard, number)) = parse(&object) else { continue };
            match newest.last_mut() {
                Some(last) if last.0 == shard => {
                    let _ = store.delete(&last.2).await;
                    *last = (shard, number, object);
                }
                _ => newest.push((shard, number, object)),
            }
        }
        let read = newest.into_iter().map(|(shard, number, object)| async move {
            let content = match store.read(&object).await {
                // Its owner, another node, has published the next one meanwhile.
                Err(StoreError::Missing { .. }) => {
                    let newest = Self::newest(store, shard).await?;
                    return newest.ok_or(SegmentError::Manifest { object });
                }
                read => read.map_err(|source| SegmentError::Store { shard, source })?,
            };
            let body = serde_json::from_slice::<Body>(&content).ok().filter(|body| body.version == VERSION);
            body.map(|body| Self { shard, number, body }).ok_or(SegmentError::Manifest { object })
        });
        futures::stream::iter(read).buffered(READS_AT_ONCE).try_collect().await
    }
}

fn parse(object: &str) -> Option<(ShardId, u64)> {
    let (shard, name) = object.strip_prefix(PREFIX)?.strip_prefix('/')?.split_once('/')?;
    let number = name.strip_prefix("manifest-")?.parse().ok()?;
    Some((ShardId(u64::from_str_radix(shard, 16).ok()?), number))
}

const PREFIX: &str = "shards";
const VERSION: u32 = 1;
/// How often the newest manifest is looked for while newer ones come.
const TRIES: usize = 8;
/// Manifests read at once at start: enough to hide a round trip to a bucket.
const READS_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Coded;
    use crate::fuzz::{Input, cases};
    use crate::store::StoreConfig;

    fn row(id: u128) -> Row {
        let at = Timestamp(5);
        let id = SegmentId(id).to_string();
        Row {
            id,
            docs: 1,
            oldest: at,
            newest: at,
            first_seq: 1,
            last_seq: 1,
            bytes: 9,
            built_at: at,
            received_until: at,
            copied: None,
            beside: false,
        }
    }

    async fn store(dir: &std::path::Path) -> Store {
        Store::open(&StoreConfig { dir: dir.to_owned() }, &"tokyo".parse().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn of_two_owners_the_second_loses_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let none = Manifest::none(ShardId(7));
        let (one, two) = (none.next(Epoch(1), 1, vec![row(1)]), none.next(Epoch(1), 1, vec![row(2)]));
        one.publish(&store).await.unwrap();
        let lost = two.publish(&store).await.err().unwrap();
        assert_eq!(lost.code(), "DMC-SEGMENT-04");
        assert_eq!(Manifest::read_all(&store).await.unwrap(), [one]);
    }

    #[tokio::test]
    async fn an_owner_that_was_cut_off_after_creating_a_manifest_goes_on_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let one = Manifest::none(ShardId(7)).next(Epoch(1), 1, vec![row(1)]);
        let content = Bytes::from(serde_json::to_vec(&one.body).unwrap());
        store.create(&one.object(), content).await.unwrap();
        one.publish(&store).await.unwrap();
        one.next(Epoch(1), 2, vec![row(1), row(2)]).publish(&store).await.unwrap();
        assert_eq!(one.publish(&store).await.err().unwrap().code(), "DMC-SEGMENT-04", "the next one is there");
    }

    #[tokio::test]
    async fn a_number_that_was_used_and_deleted_cannot_be_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let mut newest = Manifest::none(ShardId(7));
        for last_seq in 1..4 {
            newest = newest.next(Epoch(1), last_seq, vec![row(1)]);
            newest.publish(&store).await.unwrap();
        }
        let stale = Manifest::none(ShardId(7)).next(Epoch(1), 9, vec![row(2)]);
        assert_eq!(stale.publish(&store).await.err().unwrap().code(), "DMC-SEGMENT-04");
        assert_eq!(Manifest::read_all(&store).await.unwrap(), [newest]);
    }

    #[tokio::test]
    async fn the_newest_manifest_of_each_shard_is_the_truth() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let mut expected = Vec::new();
        for shard in 1..4 {
            let mut manifest = Manifest::none(ShardId(shard));
            for last_seq in 1..=shard * 4 {
                manifest = manifest.next(Epoch(1), last_seq, vec![row(u128::from(last_seq))]);
                manifest.publish(&store).await.unwrap();
            }
            expected.push(manifest);
        }
        let stale = Manifest { number: 2, ..Manifest::none(ShardId(3)) };
        store.create(&stale.object(), Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(Manifest::read_all(&store).await.unwrap(), expected);
        assert_eq!(store.list(PREFIX).await.unwrap().len(), 3, "one each is left");
    }

    #[tokio::test]
    async fn a_manifest_that_is_no_manifest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let manifest = Manifest::none(ShardId(1)).next(Epoch(1), 0, Vec::new());
        store.create(&manifest.object(), Bytes::from_static(b"{\"version\":2}")).await.unwrap();
        let error = Manifest::read_all(&store).await.err().unwrap();
        assert_eq!(error.code(), "DMC-SEGMENT-05");
        assert!(error.to_string().contains("manifest-0000000001"));
    }

    #[test]
    fn no_manifest_panics() {
        let manifest = Manifest::none(ShardId(1)).next(Epoch(1), 3, vec![row(255), row(7)]);
        let given_up = manifest.given_up(Epoch(2), NodeId(3));
        let good: Vec<Vec<u8>> = [&manifest, &given_up, &given_up.taken_over(Epoch(9))]
            .iter()
            .map(|manifest| serde_json::to_vec(&manifest.body).unwrap())
            .collect();
        bolero::check!().with_iterations(cases()).with_type::<(Input, u64)>().for_each(|(input, number)| {
            let Ok(body) = serde_json::from_slice::<Body>(&input.bytes(&good)) else { return };
            let manifest = Manifest { shard: ShardId(1), number: number / 2, body };
            let left = manifest.given_up(Epoch(u64::MAX), NodeId(1));
            assert!(left.number > manifest.number && left.body.segments.len() <= manifest.body.segments.len());
            assert!(manifest.taken_over(Epoch(2)).body.segments == manifest.body.segments);
            assert_eq!(parse(&manifest.object()), Some((ShardId(1), manifest.number)));
        });
    }

    #[test]
    fn the_json_of_a_manifest_stays() {
        let manifest = Manifest::none(ShardId(1)).next(Epoch(1), 3, vec![row(255)]);
        let golden = r#"{"version":1,"epoch":1,"last_seq":3,"segments":[{"id":"000000000000000000000000000000ff","docs":1,"oldest":5,"newest":5,"first_seq":1,"last_seq":1,"bytes":9,"built_at":5,"received_until":5}]}"#;
        assert_eq!(serde_json::to_string(&manifest.body).unwrap(), golden);
        assert_eq!(serde_json::from_str::<Body>(golden).unwrap(), manifest.body);
        assert_eq!(parse(&manifest.object()), Some((ShardId(1), 1)));
        let object = "segments/0000000000000001/ff".to_owned();
        let copied = Copied { object, sha256: "00".repeat(32), bytes: 4, at: Timestamp(6) };
        let moved = manifest.next(Epoch(1), 3, vec![Row { copied: Some(copied), ..row(255) }]);
        let text = serde_json::to_string(&moved.body).unwrap();
        let end = format!(
            r#""copied":{{"object":"segments/0000000000000001/ff","sha256":"{}","bytes":4,"at":6}}}}]}}"#,
            "00".repeat(32)
        );
        assert!(text.ends_with(&end), "{text}");
        assert_eq!(serde_json::from_str::<Body>(&text).unwrap(), moved.body);
    }
}
