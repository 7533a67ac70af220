//! Changes of what one region lets out or in.
//!
//! An unsigned change never displaces a signed one of a node, a key or a value, and an unsigned approval is refused whole:
//! text that no officer stands for must not enter the state (RES-2). An unsigned policy only ever narrows what is there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use domicile_proto::codec;
use domicile_proto::ids::{DictionaryId, Name, NodeId, StreamId, TenantId};
use domicile_proto::metadata::{
    AccessKey, Applied, ApprovedValue, Change, CommandRefusal, KeyRow, MAX_GROUP_FIELDS, MAX_NUMBERS,
    MAX_VALUES_PER_APPROVAL, MAX_VALUES_PER_FIELD, NodeRow, NumberField, PolicyRow, RegionalChange, Row, StreamPolicy,
    ValueRow,
};
use domicile_proto::region_key::{RegionKeyRow, RegionPublic};

use super::{Outcome, bounded};
use crate::limits::{MAX_KEYS, MAX_NODES};
use crate::state::State;

impl State {
    pub(super) fn change_region(&mut self, change: &RegionalChange) -> Outcome {
        self.require_region(&change.region)?;
        match &change.signature {
            Some(consent) => self.with_consent(change, consent),
            None => self.change_as_said(change),
        }
    }

    pub(super) fn change_as_said(&mut self, change: &RegionalChange) -> Outcome {
        match &change.change {
            Change::AddNode { node, addr } => self.add_node(change, *node, *addr),
            Change::AddKey(key) => self.add_key(change, key),
            Change::SetPolicy { tenant, stream, policy } => self.set_policy(change, *tenant, *stream, policy),
            Change::ApproveValues { tenant, field, values } => self.approve_values(change, *tenant, field, values),
            Change::SetRegionKey { key } => self.set_region_key(change, *key),
            Change::RemoveNode { node } => self.remove_signed_node(change, *node),
            Change::ApproveTransfer { to, .. } => self.approve_transfer(change, to),
        }
    }

    fn add_node(&mut self, change: &RegionalChange, node: NodeId, addr: SocketAddr) -> Outcome {
        let row = NodeRow { node, region: change.region.clone(), addr, signature: change.signature };
        match self.node(node) {
            Some(known) if *known == row => return Ok(Applied::Done),
            Some(known) if known.region != row.region => return Err(CommandRefusal::Taken),
            Some(known) if known.signature.is_some() && row.signature.is_none() => {
                return if known.addr == addr { Ok(Applied::Done) } else { Err(CommandRefusal::Taken) };
            }
            Some(_) => {}
            None => bounded(self.nodes.len() < MAX_NODES)?,
        }
        self.nodes.insert(node, row);
        self.advance_policy();
        Ok(Applied::Done)
    }

    /// A key does not change: to give it other roles, revoke it and add another.
    fn add_key(&mut self, change: &RegionalChange, key: &AccessKey) -> Outcome {
        self.require_tenant(key.tenant)?;
        let region = &change.region;
        match self.key(region, &key.id) {
            Some(known) if known.key != *key => return Err(CommandRefusal::Taken),
            Some(known) if change.signature.is_none() || known.signature == change.signature => {
                return Ok(Applied::Done);
            }
            Some(_) => {}
            None if self.key_hashed(region, &key.hash).is_some() => return Err(CommandRefusal::Taken),
            None => bounded(self.keys.len() < MAX_KEYS)?,
        }
        self.put_key(KeyRow { region: region.clone(), key: key.clone(), signature: change.signature });
        self.advance_policy();
        Ok(Applied::Done)
    }

    /// A signed policy replaces all before it and gives its group fields their ids; an unsigned one is kept beside the
    /// signed one, which it may only narrow, and so needs no new ids.
    fn set_policy(
        &mut self,
        change: &RegionalChange,
        tenant: TenantId,
        stream: StreamId,
        policy: &StreamPolicy,
    ) -> Outcome {
        self.require_tenant(tenant)?;
        let stream_row = self.stream(stream).filter(|row| row.tenant == tenant);
        let mut stream_row = stream_row.ok_or(CommandRefusal::UnknownStream)?.clone();
        bounded(policy.group_fields.len() <= MAX_GROUP_FIELDS && policy.numbers.len() <= MAX_NUMBERS)?;
        bounded(policy.privacy.is_bounded() && policy.numbers.iter().all(NumberField::is_well_formed))?;
        bounded(policy.noise.is_none_or(|noise| noise.is_well_formed()))?;
        bounded(policy.lifecycle.is_well_formed())?;
        let place = (stream, change.region.clone());
        let empty = PolicyRow { stream, region: change.region.clone(), signed: None, unsigned: None };
        let mut row = self.policies.get(&place).cloned().unwrap_or(empty);
        if change.signature.is_some() {
            if row.unsigned.is_none() && row.signed.as_ref().is_some_and(|(_, known)| known == change) {
                return Ok(Applied::Done);
            }
            for field in policy.group_fields.iter().chain(policy.numbers.iter().map(|number| &number.field)) {
                if !stream_row.fields.contains(field) {
                    stream_row.fields.push(field.clone());
                }
            }
            bounded(stream_row.fields.len() <= MAX_GROUP_FIELDS)?;
            self.streams.insert(stream, stream_row);
            row.signed = Some((self.advance_policy(), change.clone()));
            row.unsigned = None;
        } else {
            if row.unsigned.as_ref().is_some_and(|(_, known)| known == policy) {
                return Ok(Applied::Done);
            }
            if !policy.lets_out_no_more_than(&in_force(&row)) {
                return Err(CommandRefusal::Unsigned);
            }
            row.unsigned = Some((self.advance_policy(), policy.clone()));
        }
        self.policies.insert(place, row);
        Ok(Applied::Done)
    }

    /// With a consent from anywhere; without one it is a command, and must come from the region.
    fn remove_signed_node(&mut self, change: &RegionalChange, node: NodeId) -> Outcome {
        if change.signature.is_none() {
            return Err(CommandRefusal::Unsigned);
        }
        if self.node(node).is_some_and(|row| row.region != change.region) {
            return Err(CommandRefusal::UnknownNode);
        }
        Ok(self.remove_node(node))
    }

    /// Only with a consent: whoever sets it speaks for the region. No policy changes with it.
    fn set_region_key(&mut self, change: &RegionalChange, key: RegionPublic) -> Outcome {
        if change.signature.is_none() {
            return Err(CommandRefusal::Unsigned);
        }
        let row = RegionKeyRow { region: change.region.clone(), key, signature: change.signature };
        self.region_keys.insert(change.region.clone(), row);
        Ok(Applied::Done)
    }

    fn approve_values(
        &mut self,
        change: &RegionalChange,
        tenant: TenantId,
        field: &Name,
        values: &[ApprovedValue],
    ) -> Outcome {
        self.require_tenant(tenant)?;
        bounded(values.len() <= MAX_VALUES_PER_APPROVAL)?;
        if change.signature.is_none() {
            return Err(CommandRefusal::Unsigned);
        }
        let mut next = self.counters.value;
        let mut rows: BTreeMap<&ApprovedValue, ValueRow> = BTreeMap::new();
        let mut ids: Vec<DictionaryId> = Vec::with_capacity(values.len());
        let mut added = 0;
        for value in values {
            if let Some(row) = rows.get(value) {
                ids.push(row.id);
                continue;
            }
            let row = match self.value_id(tenant, field, value).and_then(|id| self.value(id)) {
                Some(known) => approved(known.clone(), change),
                None => {
                    let id = DictionaryId(next);
                    next = next.checked_add(1).ok_or(CommandRefusal::TooMany)?;
                    added += 1;
                    let (field, value) = (field.clone(), value.clone());
                    approved(ValueRow { id, tenant, field, value, approvals: Vec::new() }, change)
                }
            };
            // A row that outgrew its frame could not be in any snapshot.
            bounded(codec::encode(&Row::Value(row.clone())).is_ok())?;
            ids.push(row.id);
            rows.insert(value, row);
        }
        bounded(self.values_of(tenant, field).count() + added <= MAX_VALUES_PER_FIELD)?;
        self.counters.value = next;
        let is_new = rows.values().any(|row| self.value(row.id) != Some(row));
        rows.into_values().for_each(|row| self.put_value(row));
        if is_new {
            self.advance_policy();
        }
        Ok(Applied::Values(ids))
    }
}

/// The policy that the row's changes leave, for whoever takes the signature to be the officer's.
fn in_force(row: &PolicyRow) -> StreamPolicy {
    let signed = row.signed.as_ref().and_then(|(_, change)| match &change.change {
        Change::SetPolicy { policy, .. } => Some(policy),
        _ => None,
    });
    row.unsigned.as_ref().map(|(_, policy)| policy).or(signed).cloned().unwrap_or_default()
}

/// The row with the region's approval, in place of an earlier one of the same region.
fn approved(mut row: ValueRow, change: &RegionalChange) -> ValueRow {
    row.approvals.retain(|(region, _)| *region != change.region);
    row.approvals.push((change.region.clone(), change.clone()));
    row.approvals.sort_by(|(a, _), (b, _)| a.cmp(b));
    row
}
