//! The state of the metadata group: plain data and look-ups.
//!
//! Tables keyed by ids, and beside them the ways from names to ids. No input or output, no clock, no randomness; the only
//! way to change it is [`crate::apply::apply`]. Whether an officer is the right one is for
//! the region's own nodes to say (RES-4).

mod rows;
mod table;

use std::collections::BTreeMap;

use domicile_proto::ids::{
    DictionaryId, ErasureId, FIRST_APPROVED_ID, FieldId, Name, NodeId, PolicyVersion, Region, RegionNumber, ShardId,
    StreamId, TenantId,
};
use domicile_proto::message::ledger::SignedHead;
use domicile_proto::metadata::{
    ApprovedValue, Counters, ErasureRow, KeyRow, NodeRow, PolicyRow, ShardRow, StreamRow, ValueRow,
};
use domicile_proto::officer::{OfficerPublic, OfficerRow};
use domicile_proto::region_key::RegionKeyRow;
use domicile_proto::transfer::TransferRow;

pub use self::rows::RowsError;
pub(crate) use self::table::Table;

/// SHA-256 of an access key.
pub type KeyHash = [u8; 32];

/// The approved values of one tenant, by field and text.
pub(crate) type Dictionary = BTreeMap<Name, BTreeMap<ApprovedValue, DictionaryId>>;

/// Everything the metadata group has decided. A clone is cheap: it shares all rows with the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(crate) counters: Counters,
    pub(crate) regions: Table<Region, RegionNumber>,
    pub(crate) nodes: Table<NodeId, NodeRow>,
    pub(crate) tenants: Table<TenantId, Name>,
    pub(crate) tenant_names: Table<Name, TenantId>,
    pub(crate) streams: Table<StreamId, StreamRow>,
    pub(crate) stream_names: Table<TenantId, BTreeMap<Name, StreamId>>,
    pub(crate) policies: Table<(StreamId, Region), PolicyRow>,
    pub(crate) shards: Table<(StreamId, Region), ShardRow>,
    pub(crate) shard_places: Table<ShardId, (StreamId, Region)>,
    pub(crate) keys: Table<(Region, Name), KeyRow>,
    pub(crate) key_hashes: Table<(Region, KeyHash), Name>,
    pub(crate) values: Table<DictionaryId, ValueRow>,
    pub(crate) dictionaries: Table<TenantId, Dictionary>,
    pub(crate) heads: Table<RegionNumber, SignedHead>,
    pub(crate) officers: Table<(Region, OfficerPublic), OfficerRow>,
    pub(crate) region_keys: Table<Region, RegionKeyRow>,
    pub(crate) erasures: Table<(Region, ErasureId), ErasureRow>,
    pub(crate) transfers: Table<(Region, Region), TransferRow>,
}

impl Default for State {
    /// What holds before the first command.
    fn default() -> Self {
        Self {
            counters: Counters {
                region: 1,
                tenant: 1,
                stream: 1,
                shard: 1,
                value: FIRST_APPROVED_ID,
                policy: PolicyVersion(0),
            },
            regions: Table::default(),
            nodes: Table::default(),
            tenants: Table::default(),
            tenant_names: Table::default(),
            streams: Table::default(),
            stream_names: Table::default(),
            policies: Table::default(),
            shards: Table::default(),
            shard_places: Table::default(),
            keys: Table::default(),
            key_hashes: Table::default(),
            values: Table::default(),
            dictionaries: Table::default(),
            heads: Table::default(),
            officers: Table::default(),
            region_keys: Table::default(),
            erasures: Table::default(),
            transfers: Table::default(),
        }
    }
}

impl State {
    /// The version of the policy as a whole: grows with every change of what a region lets out or in.
    pub fn policy_version(&self) -> PolicyVersion {
        self.counters.policy
    }

    /// The number of a region.
    pub fn region(&self, region: &Region) -> Option<RegionNumber> {
        self.regions.get(region).copied()
    }

    /// The region with a number.
    pub fn region_numbered(&self, number: RegionNumber) -> Option<&Region> {
        self.regions.iter().find(|(_, other)| **other == number).map(|(region, _)| region)
    }

    /// All regions, by name.
    pub fn regions(&self) -> impl Iterator<Item = (&Region, RegionNumber)> {
        self.regions.iter().map(|(region, number)| (region, *number))
    }

    /// A node.
    pub fn node(&self, node: NodeId) -> Option<&NodeRow> {
        self.nodes.get(&node)
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRow> {
        self.nodes.iter().map(|(_, row)| row)
    }

    /// The tenant with a name.
    pub fn tenant(&self, name: &Name) -> Option<TenantId> {
        self.tenant_names.get(name).copied()
    }

    /// The name of a tenant.
    pub fn tenant_name(&self, tenant: TenantId) -> Option<&Name> {
        self.tenants.get(&tenant)
    }

    /// All tenants, by id.
    pub fn tenants(&self) -> impl Iterator<Item = (TenantId, &Name)> {
        self.tenants.iter().map(|(tenant, name)| (*tenant, name))
    }

    /// A stream.
    pub fn stream(&self, stream: StreamId) -> Option<&StreamRow> {
        self.streams.get(&stream)
    }

    /// The stream of a tenant with a name.
    pub fn stream_named(&self, tenant: TenantId, name: &Name) -> Option<&StreamRow> {
        self.stream(*self.stream_names.get(&tenant)?.get(name)?)
    }

    /// All streams of a tenant, by name.
    pub fn streams_of(&self, tenant: TenantId) -> impl Iterator<Item = &StreamRow> {
        let ids = self.stream_names.get(&tenant).into_iter().flat_map(BTreeMap::values);
        ids.filter_map(|stream| self.stream(*stream))
    }

    /// All streams, by id.
    pub fn streams(&self) -> impl Iterator<Item = &StreamRow> {
        self.streams.iter().map(|(_, row)| row)
    }

    /// The id of a field of a stream, for ever.
    pub fn field(&self, stream: StreamId, name: &Name) -> Option<FieldId> {
        let place = self.stream(stream)?.fields.iter().position(|field| field == name)?;
        u16::try_from(place).ok().map(FieldId)
    }

    /// What is known of a stream's policy in a region; without a row the most restrictive policy holds.
    pub fn policy(&self, stream: StreamId, region: &Region) -> Option<&PolicyRow> {
        self.policies.get(&(stream, region.clone()))
    }

    /// All policies, by stream and region.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyRow> {
        self.policies.iter().map(|(_, row)| row)
    }

    /// The shard of a stream in a region.
    pub fn shard(&self, stream: StreamId, region: &Region) -> Option<&ShardRow> {
        self.shards.get(&(stream, region.clone()))
    }

    /// The shard with an id.
    pub fn shard_with_id(&self, shard: ShardId) -> Option<&ShardRow> {
        self.shards.get(self.shard_places.get(&shard)?)
    }

    /// All shards, by stream and region.
    pub fn shards(&self) -> impl Iterator<Item = &ShardRow> {
        self.shards.iter().map(|(_, row)| row)
    }

    /// An access key of a region by its public name.
    pub fn key(&self, region: &Region, id: &Name) -> Option<&KeyRow> {
        self.keys.get(&(region.clone(), id.clone()))
    }

    /// An access key of a region by its hash.
    pub fn key_hashed(&self, region: &Region, hash: &KeyHash) -> Option<&KeyRow> {
        self.key(region, self.key_hashes.get(&(region.clone(), *hash))?)
    }

    /// All access keys, by region and name.
    pub fn keys(&self) -> impl Iterator<Item = &KeyRow> {
        self.keys.iter().map(|(_, row)| row)
    }

    /// A dictionary value.
    pub fn value(&self, id: DictionaryId) -> Option<&ValueRow> {
        self.values.get(&id)
    }

    /// The id of a text in a tenant's dictionary.
    pub fn value_id(&self, tenant: TenantId, field: &Name, value: &ApprovedValue) -> Option<DictionaryId> {
        self.dictionaries.get(&tenant)?.get(field)?.get(value).copied()
    }

    /// All dictionary values of one field of a tenant, by text.
    pub fn values_of(&self, tenant: TenantId, field: &Name) -> impl Iterator<Item = &ValueRow> {
        let texts = self.dictionaries.get(&tenant).and_then(|fields| fields.get(field));
        texts.into_iter().flat_map(BTreeMap::values).filter_map(|id| self.value(*id))
    }

    /// All dictionary values, by id.
    pub fn values(&self) -> impl Iterator<Item = &ValueRow> {
        self.values.iter().map(|(_, row)| row)
    }

    /// The newest ledger head of a region.
    pub fn head(&self, region: RegionNumber) -> Option<&SignedHead> {
        self.heads.get(&region)
    }

    /// The newest ledger heads, by region.
    pub fn heads(&self) -> impl Iterator<Item = &SignedHead> {
        self.heads.iter().map(|(_, head)| head)
    }

    /// The newest consent of an officer of a region.
    pub fn officer(&self, region: &Region, officer: OfficerPublic) -> Option<&OfficerRow> {
        self.officers.get(&(region.clone(), officer))
    }

    /// The newest consents, by region and officer.
    pub fn officers(&self) -> impl Iterator<Item = &OfficerRow> {
        self.officers.iter().map(|(_, row)| row)
    }

    /// The key a region's nodes speak with.
    pub fn region_key(&self, region: &Region) -> Option<&RegionKeyRow> {
        self.region_keys.get(region)
    }

    /// The keys the regions' nodes speak with, by region.
    pub fn region_keys(&self) -> impl Iterator<Item = &RegionKeyRow> {
        self.region_keys.iter().map(|(_, row)| row)
    }

    /// An order of erasure of a region.
    pub fn erasure(&self, region: &Region, id: ErasureId) -> Option<&ErasureRow> {
        self.erasures.get(&(region.clone(), id))
    }

    /// All orders of erasure of a region, by id.
    pub fn erasures_of(&self, region: &Region) -> impl Iterator<Item = &ErasureRow> {
        let keys = (region.clone(), ErasureId(0))..=(region.clone(), ErasureId(u128::MAX));
        self.erasures.within(keys).map(|(_, row)| row)
    }

    /// What is said of the route from one region to another.
    pub fn transfer(&self, from: &Region, to: &Region) -> Option<&TransferRow> {
        self.transfers.get(&(from.clone(), to.clone()))
    }

    /// Whether nothing was written between the two copies; cheap, and `false` proves nothing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.counters == other.counters
            && self.regions.is_same(&other.regions)
            && self.nodes.is_same(&other.nodes)
            && self.tenants.is_same(&other.tenants)
            && self.streams.is_same(&other.streams)
            && self.policies.is_same(&other.policies)
            && self.shards.is_same(&other.shards)
            && self.keys.is_same(&other.keys)
            && self.values.is_same(&other.values)
            && self.heads.is_same(&other.heads)
            && self.officers.is_same(&other.officers)
            && self.region_keys.is_same(&other.region_keys)
            && self.erasures.is_same(&other.erasures)
            && self.transfers.is_same(&other.transfers)
    }
}
