//! What a command does to the state: pure and total.
//!
//! The same commands give the same state on every node, for ever: no clock, no randomness, no input or output. A command
//! that does not fit changes nothing and says why. A signature must hold for the officer it names and be newer than all of
//! that officer's before, and of the officer who let the region's nodes in; whether that is the region's officer is for the
//! region's nodes to say (RES-4). Who writes a region's shards, and how far its ledger has come, only that region's own key
//! says.
//!
//! Repeating a command at once does no harm: what exists already is answered with its id, what is already so is `Done`.

mod consent;
mod erasure;
mod regional;
mod transfer;

use domicile_proto::ids::{
    DictionaryId, Epoch, Name, NodeId, PolicyVersion, Region, RegionNumber, ShardId, StreamId, TenantId,
};
use domicile_proto::message::ledger::SignedHead;
use domicile_proto::metadata::{Applied, Command, CommandRefusal, MAX_STREAMS_PER_TENANT, ShardRow, StreamRow};
use domicile_proto::region_key::{RegionPublic, RegionWord};

use crate::limits::{MAX_REGIONS, MAX_TENANTS};
use crate::state::State;

type Outcome = Result<Applied, CommandRefusal>;

/// Applies one command; says what became of it.
pub fn apply(state: &mut State, command: &Command) -> Applied {
    let outcome = match command {
        Command::AddRegion { region } => state.add_region(region),
        Command::CreateTenant { tenant } => state.create_tenant(tenant),
        Command::CreateStream { tenant, stream } => state.create_stream(*tenant, stream),
        Command::AssignShard { stream, region, owner, seen, word } => {
            let word = word.as_ref();
            state.assign_shard(*stream, region, *owner, *seen, word)
        }
        Command::Regional(change) => state.change_region(change),
        Command::RemoveNode { node } => Ok(state.remove_node(*node)),
        Command::RevokeKey { region, id } => Ok(state.revoke_key(region, id)),
        Command::RevokeValue { region, tenant, id } => state.revoke_value(region, *tenant, *id),
        Command::RecordHead(head) => state.record_head(head),
        Command::RecordErasure(row) => state.record_erasure(row),
        Command::RevokeTransfer { from, to } => state.revoke_transfer(from, to),
    };
    outcome.unwrap_or_else(Applied::Refused)
}

impl State {
    fn add_region(&mut self, region: &Region) -> Outcome {
        if let Some(number) = self.region(region) {
            return Ok(Applied::Region(number));
        }
        bounded(self.regions.len() < MAX_REGIONS)?;
        let number = RegionNumber(self.counters.region);
        self.counters.region = number.0.checked_add(1).ok_or(CommandRefusal::TooMany)?;
        self.regions.insert(region.clone(), number);
        Ok(Applied::Region(number))
    }

    fn create_tenant(&mut self, name: &Name) -> Outcome {
        if let Some(tenant) = self.tenant(name) {
            return Ok(Applied::Tenant(tenant));
        }
        bounded(self.tenants.len() < MAX_TENANTS)?;
        let tenant = TenantId(self.counters.tenant);
        self.counters.tenant = tenant.0.checked_add(1).ok_or(CommandRefusal::TooMany)?;
        self.tenants.insert(tenant, name.clone());
        self.tenant_names.insert(name.clone(), tenant);
        Ok(Applied::Tenant(tenant))
    }

    fn create_stream(&mut self, tenant: TenantId, name: &Name) -> Outcome {
        self.require_tenant(tenant)?;
        if let Some(row) = self.stream_named(tenant, name) {
            return Ok(Applied::Stream(row.id));
        }
        let streams = self.stream_names.get(&tenant).map_or(0, std::collections::BTreeMap::len);
        bounded(streams < MAX_STREAMS_PER_TENANT)?;
        let id = StreamId(self.counters.stream);
        self.counters.stream = id.0.checked_add(1).ok_or(CommandRefusal::TooMany)?;
        self.put_stream(StreamRow { id, tenant, name: name.clone(), fields: vec![Name::level()] });
        Ok(Applied::Stream(id))
    }

    /// A compare-and-set on the epoch, with the region's word. The same owner asking twice with the same `seen` gets the
    /// same epoch twice, so that a lost answer may be asked for again.
    fn assign_shard(
        &mut self,
        stream: StreamId,
        region: &Region,
        owner: NodeId,
        seen: Epoch,
        word: Option<&RegionWord>,
    ) -> Outcome {
        self.stream(stream).ok_or(CommandRefusal::UnknownStream)?;
        self.require_region(region)?;
        self.node(owner).filter(|row| row.region == *region).ok_or(CommandRefusal::UnknownNode)?;
        let next = Epoch(seen.0.checked_add(1).ok_or(CommandRefusal::StaleEpoch)?);
        let known = self.shard(stream, region);
        if known.map_or(Epoch(0), |row| row.epoch) != seen {
            let again = known.filter(|row| row.owner == owner && row.epoch == next);
            return again.map(|row| Applied::Shard(row.id, next)).ok_or(CommandRefusal::StaleEpoch);
        }
        let id = known.map(|row| row.id);
        // Last of all tests, for it costs more than all others together.
        let word = word.ok_or(CommandRefusal::Unsigned)?;
        let says = self.speaks_for(region)?.assigns(stream, region, owner, seen, word);
        said(says)?;
        let id = match id {
            Some(id) => id,
            None => {
                let id = ShardId(self.counters.shard);
                self.counters.shard = id.0.checked_add(1).ok_or(CommandRefusal::TooMany)?;
                id
            }
        };
        self.put_shard(ShardRow { id, stream, region: region.clone(), owner, epoch: next });
        Ok(Applied::Shard(id, next))
    }

    fn remove_node(&mut self, node: NodeId) -> Applied {
        if self.nodes.remove(&node) {
            self.advance_policy();
        }
        Applied::Done
    }

    fn revoke_key(&mut self, region: &Region, id: &Name) -> Applied {
        if let Some(hash) = self.key(region, id).map(|row| row.key.hash) {
            self.key_hashes.remove(&(region.clone(), hash));
            self.keys.remove(&(region.clone(), id.clone()));
            self.advance_policy();
        }
        Applied::Done
    }

    /// Takes the region's approval back. The text goes with its last approval; its id is never given out again.
    fn revoke_value(&mut self, region: &Region, tenant: TenantId, id: DictionaryId) -> Outcome {
        let Some(row) = self.value(id) else { return Ok(Applied::Done) };
        if row.tenant != tenant {
            return Err(CommandRefusal::UnknownTenant);
        }
        let mut row = row.clone();
        let before = row.approvals.len();
        row.approvals.retain(|(approved_by, _)| approved_by != region);
        if row.approvals.len() == before {
            return Ok(Applied::Done);
        }
        if row.approvals.is_empty() {
            self.drop_value(&row);
        } else {
            self.put_value(row);
        }
        self.advance_policy();
        Ok(Applied::Done)
    }

    /// A head only ever grows, and only by its region's word; another root of the same size is no newer head.
    fn record_head(&mut self, head: &SignedHead) -> Outcome {
        let region = self.region_numbered(head.region).ok_or(CommandRefusal::UnknownRegion)?;
        match self.head(head.region) {
            Some(known) if known == head => Ok(Applied::Done),
            Some(known) if known.size >= head.size => Err(CommandRefusal::OldHead),
            _ => {
                said(self.speaks_for(region)?.signed(head))?;
                self.heads.insert(head.region, *head);
                Ok(Applied::Done)
            }
        }
    }

    /// The key with which the region speaks; a region without one has said nothing yet.
    fn speaks_for(&self, region: &Region) -> Result<RegionPublic, CommandRefusal> {
        self.region_key(region).map(|row| row.key).ok_or(CommandRefusal::Unsigned)
    }

    fn require_region(&self, region: &Region) -> Result<(), CommandRefusal> {
        self.region(region).map(drop).ok_or(CommandRefusal::UnknownRegion)
    }

    fn require_tenant(&self, tenant: TenantId) -> Result<(), CommandRefusal> {
        self.tenant_name(tenant).map(drop).ok_or(CommandRefusal::UnknownTenant)
    }

    fn advance_policy(&mut self) -> PolicyVersion {
        self.counters.policy = PolicyVersion(self.counters.policy.0.saturating_add(1));
        self.counters.policy
    }
}

fn said(is_said: bool) -> Result<(), CommandRefusal> {
    if is_said { Ok(()) } else { Err(CommandRefusal::Forged) }
}

fn bounded(is_within: bool) -> Result<(), CommandRefusal> {
    if is_within { Ok(()) } else { Err(CommandRefusal::TooMany) }
}

#[cfg(test)]
pub(crate) mod apply_test;
