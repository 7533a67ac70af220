//! Buckets of single tenants and streams beside the region's: which object goes where, and where each is looked for.
//!
//! What is divided is what is named by its shard and written once under a name that nobody else takes: copies of segments. What two
//! nodes could both want to create, as manifests, journals and logs, lies in the region's bucket alone, so that the second
//! loses whatever list of buckets it has. An object is written into one bucket, read wherever it lies, and deleted in all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use domicile_proto::ids::{Name, ShardId};
use parking_lot::Mutex;

use super::bucket::{Lies, Store};
use super::errors::StoreError;

/// Above all copies of segments that are searched.
pub(crate) const COPIES: &str = "segments";
/// Above all copies in the archive.
pub(crate) const ARCHIVE: &str = "archive";
/// Above copies that were brought back from the archive.
pub(crate) const RESTORED: &str = "restored";
/// In the region's bucket, above what names every bucket that anything was ever divided into.
const NAMED: &str = "buckets";

/// Tenant and stream of a shard; none where the metadata does not know it yet.
pub(crate) type Placer = Box<dyn Fn(ShardId) -> Option<(Name, Name)> + Send + Sync>;

/// Tenant and stream of an object.
type Whose = Arc<(Name, Name)>;

/// Whose data a bucket takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) tenant: Name,
    pub(super) stream: Option<Name>,
}

impl Owner {
    /// Whether a stream's data could lie there.
    fn takes(&self, (tenant, stream): &(Name, Name)) -> bool {
        self.tenant == *tenant && self.stream.as_ref().is_none_or(|own| own == stream)
    }

    /// As a person reads it.
    pub(super) fn title(&self) -> String {
        match &self.stream {
            Some(stream) => format!("stream `{stream}` of tenant `{}`", self.tenant),
            None => format!("tenant `{}`", self.tenant),
        }
    }

    /// As a marker says it.
    pub(super) fn marked(&self) -> String {
        match &self.stream {
            Some(stream) => format!("tenant={} stream={stream}", self.tenant),
            None => format!("tenant={}", self.tenant),
        }
    }

    /// What names a bucket of it in the region's.
    fn object(&self, id: &str) -> String {
        match &self.stream {
            Some(stream) => format!("{NAMED}/stream/{}/{stream}/{id}", self.tenant),
            None => format!("{NAMED}/tenant/{}/{id}", self.tenant),
        }
    }

    /// Whose bucket such an object names.
    fn named_by(object: &str) -> Option<Self> {
        let parts: Vec<_> = object.strip_prefix(NAMED)?.strip_prefix('/')?.split('/').collect();
        match parts[..] {
            ["tenant", tenant, _] => Some(Self { tenant: tenant.parse().ok()?, stream: None }),
            ["stream", tenant, stream, _] => {
                Some(Self { tenant: tenant.parse().ok()?, stream: Some(stream.parse().ok()?) })
            }
            _ => None,
        }
    }
}

/// A bucket that the configuration names for a tenant or a stream.
pub(super) struct Own {
    pub(super) owner: Owner,
    /// Whether nothing new goes there.
    pub(super) closed: bool,
    pub(super) store: Store,
    /// Its name, as the configuration says it.
    pub(super) bucket: String,
    /// What its marker calls it.
    pub(super) id: String,
}

impl Own {
    fn named(&self) -> String {
        self.owner.object(&self.id)
    }
}

/// Where a bucket of its own lies, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct OwnLies {
    pub(crate) tenant: Name,
    pub(crate) stream: Option<Name>,
    pub(crate) lies: Lies,
}

/// The buckets beside the region's, and which shard is whose.
pub(super) struct Places {
    own: Vec<Own>,
    placer: OnceLock<Placer>,
    /// Whose each shard was last said to be, which is still to be known when its stream is gone.
    known: Mutex<BTreeMap<ShardId, Whose>>,
}

/// Of what an object, or what lies below a prefix, is a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The region's; not divided.
    Region,
    Shard(ShardId),
    /// Of more shards than one.
    Many,
}

fn part(object: &str) -> Part {
    let mut parts = object.split('/');
    if !parts.next().is_some_and(|first| [COPIES, ARCHIVE, RESTORED].contains(&first)) {
        return Part::Region;
    }
    let shard = parts.next().filter(|shard| shard.len() == 16).map(|shard| u64::from_str_radix(shard, 16));
    shard.and_then(Result::ok).map_or(Part::Many, |shard| Part::Shard(ShardId(shard)))
}

/// Where an object goes, and where it may lie.
struct Route<'a> {
    /// Where a new one is created; none where nobody can tell yet.
    target: Option<&'a Store>,
    /// The entry of the target; none where it is the region's bucket.
    entry: Option<&'a Own>,
    /// Every bucket that it may lie in, the target first.
    all: Vec<&'a Store>,
}

impl Places {
    pub(super) fn new(own: Vec<Own>) -> Self {
        Self { own, placer: OnceLock::new(), known: Mutex::default() }
    }

    fn whose(&self, shard: ShardId) -> Option<Whose> {
        match self.placer.get().and_then(|placer| placer(shard)) {
            Some(found) => {
                let found = Arc::new(found);
                self.known.lock().insert(shard, Arc::clone(&found));
                Some(found)
            }
            None => self.known.lock().get(&shard).cloned(),
        }
    }

    fn of(&self, part: Part) -> Option<Whose> {
        match part {
            Part::Shard(shard) => self.whose(shard),
            Part::Region | Part::Many => None,
        }
    }

    fn route<'a>(&'a self, region: &'a Store, whose: Option<&(Name, Name)>) -> Route<'a> {
        let Some(whose) = whose else {
            let all = std::iter::once(region).chain(self.own.iter().map(|own| &own.store)).collect();
            return Route { target: self.own.is_empty().then_some(region), entry: None, all };
        };
        let mut own: Vec<_> = self.own.iter().filter(|own| own.owner.takes(whose)).collect();
        own.sort_by_key(|own| (own.closed, own.owner.stream.is_none()));
        let entry = own.first().copied().filter(|own| !own.closed);
        let stores = own.iter().map(|own| &own.store);
        let all = match entry {
            Some(_) => stores.chain([region]).collect(),
            None => std::iter::once(region).chain(stores).collect(),
        };
        Route { target: Some(entry.map_or(region, |own| &own.store)), entry, all }
    }

    /// Every bucket that anything of this part was ever divided into; refused where this node's configuration lacks one.
    async fn complete(&self, region: &Store, whose: Option<&(Name, Name)>) -> Result<BTreeSet<String>, StoreError> {
        let listed: BTreeSet<_> = region.list_here(NAMED).await?.into_iter().map(|(object, _)| object).collect();
        let ours: BTreeSet<_> = self.own.iter().map(Own::named).collect();
        let lacks = |object: &&String| {
            let owner = Owner::named_by(object);
            // What cannot be read may be anybody's.
            let concerns = whose.is_none_or(|whose| owner.is_none_or(|owner| owner.takes(whose)));
            concerns && !ours.contains(*object)
        };
        let Some(object) = listed.iter().find(lacks) else { return Ok(listed) };
        let owner = Owner::named_by(object).map_or_else(|| "somebody".to_owned(), |owner| owner.title());
        let bucket = region.read_here(object).await.unwrap_or_default();
        let bucket = String::from_utf8_lossy(&bucket).chars().take(200).collect();
        Err(StoreError::Unnamed { bucket, owner, object: object.clone() })
    }
}

/// The region's store over the buckets beside it.
impl Store {
    /// With buckets beside it. What each is called is written into this one before anything is written into that one.
    ///
    /// # Errors
    /// [`StoreError::Unnamed`] where one was used before that is not among them.
    pub(super) async fn beside(self, own: Vec<Own>) -> Result<Self, StoreError> {
        let places = Places::new(own);
        let named = places.complete(&self, None).await?;
        for own in &places.own {
            let is_done = own.closed && own.store.is_empty().await?;
            // What takes nothing and holds nothing is not named again: its record was deleted, and other nodes have let go of it.
            if !is_done && !named.contains(&own.named()) {
                self.name(own).await?;
            }
            if is_done {
                let (bucket, object) = (&own.bucket, own.named());
                tracing::info!(%bucket, %object, "a closed bucket is empty: delete this object of the region's bucket, then take the entry out of `store.buckets` of every node");
            }
        }
        Ok(self.over_places(places))
    }

    async fn name(&self, own: &Own) -> Result<(), StoreError> {
        match self.create_here(false, &own.named(), Bytes::from(own.bucket.clone())).await {
            Err(StoreError::AlreadyThere { .. }) => Ok(()),
            named => named,
        }
    }

    /// Says whose each shard is. Before, nothing is created that could belong into a bucket of its own; the first one who says
    /// it is believed.
    pub(crate) fn placed_by(&self, placer: Placer) {
        if let Some(places) = &self.places {
            let _ = places.placer.set(placer);
        }
    }

    /// The buckets beside this one, as they were found when they were opened.
    pub(crate) fn own_lies(&self) -> Vec<OwnLies> {
        let own = self.places.iter().flat_map(|places| &places.own);
        own.map(|own| OwnLies {
            tenant: own.owner.tenant.clone(),
            stream: own.owner.stream.clone(),
            lies: own.store.lies().clone(),
        })
        .collect()
    }

    /// Every object below a prefix of one shard with the number of the bucket in [`Self::own_lies`] that it lies in, or none for
    /// this one.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(crate) async fn lying(&self, prefix: &str) -> Result<Vec<(String, Option<usize>)>, StoreError> {
        let Some((places, whose)) = self.divided(prefix) else {
            return Ok(self.list_here(prefix).await?.into_iter().map(|(object, _)| (object, None)).collect());
        };
        places.complete(self, whose.as_deref()).await?;
        let mut found: Vec<_> = self.list_here(prefix).await?.into_iter().map(|(object, _)| (object, None)).collect();
        for (number, own) in places.own.iter().enumerate() {
            if whose.as_deref().is_none_or(|whose| own.owner.takes(whose)) {
                let listed = own.store.list_here(prefix).await?;
                found.extend(listed.into_iter().map(|(object, _)| (object, Some(number))));
            }
        }
        Ok(found)
    }

    /// Of what an object is a part that is divided; none where it is the region's.
    fn parted(&self, object: &str) -> Option<(&Places, Part)> {
        let places = self.places.as_deref()?;
        Some((places, part(object))).filter(|(_, part)| *part != Part::Region)
    }

    /// Whose an object is that is divided; none where it is the region's.
    fn divided(&self, object: &str) -> Option<(&Places, Option<Whose>)> {
        let (places, part) = self.parted(object)?;
        Some((places, places.of(part)))
    }

    /// Creates an object where it belongs, if it is nowhere.
    pub(super) async fn create_in(&self, is_archived: bool, object: &str, content: Bytes) -> Result<(), StoreError> {
        let Some((places, whose)) = self.divided(object) else {
            return self.create_here(is_archived, object, content).await;
        };
        let named = places.complete(self, whose.as_deref()).await?;
        let route = places.route(self, whose.as_deref());
        // Where no bucket was ever divided, it does not matter whose it is.
        let target = route.target.ok_or_else(|| StoreError::Unplaced { object: object.to_owned() })?;
        if let Some(own) = route.entry
            && !named.contains(&own.named())
        {
            self.name(own).await?;
        }
        for other in route.all.iter().skip(1) {
            if other.is_there(object).await? {
                return Err(StoreError::AlreadyThere { object: object.to_owned() });
            }
        }
        target.create_here(is_archived, object, content).await
    }

    /// Reads an object wherever it lies.
    pub(super) async fn read_in<F>(&self, object: &str, read: impl Fn(Self) -> F) -> Result<Bytes, StoreError>
    where
        F: Future<Output = Result<Bytes, StoreError>>,
    {
        let Some((places, part)) = self.parted(object) else { return read(self.clone()).await };
        if places.own.is_empty() {
            return match read(self.clone()).await {
                Err(missing @ StoreError::Missing { .. }) => {
                    places.complete(self, places.of(part).as_deref()).await?;
                    Err(missing)
                }
                found => found,
            };
        }
        let whose = places.of(part);
        for store in places.route(self, whose.as_deref()).all {
            match read(store.clone()).await {
                Err(StoreError::Missing { .. }) => {}
                found => return found,
            }
        }
        places.complete(self, whose.as_deref()).await?;
        Err(StoreError::Missing { object: object.to_owned() })
    }

    /// Lists what lies in any bucket; an object that lies in two is listed once.
    pub(super) async fn list_in(&self, prefix: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let Some((places, whose)) = self.divided(prefix) else { return self.list_here(prefix).await };
        places.complete(self, whose.as_deref()).await?;
        let mut objects = BTreeMap::new();
        for store in places.route(self, whose.as_deref()).all.iter().rev() {
            objects.extend(store.list_here(prefix).await?);
        }
        Ok(objects.into_iter().collect())
    }

    /// Deletes an object in every bucket; the one that is read first goes last.
    pub(super) async fn delete_in(&self, object: &str) -> Result<(), StoreError> {
        let Some((places, whose)) = self.divided(object) else { return self.delete_here(object).await };
        for store in places.route(self, whose.as_deref()).all.iter().rev() {
            store.delete_here(object).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "places_test.rs"]
mod tests;
