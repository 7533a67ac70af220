//! An officer's consent is good once, and only until the officer gives another (RES-4).
//!
//! Whoever kept an old signed change could otherwise undo a revocation with it. The serial of the newest consent is kept by
//! region and officer: a member that signs with a key of its own moves only that key's serial, never the officer's. The very
//! newest change may come again, for an answer may be lost; it is answered for what it did and done no second time.
//!
//! A region's officer is whoever let its nodes in: as long as one of them stands, nobody else signs for the region. So nothing
//! that an officer granted is displaced, and no text or field comes in, by a signature with a key of one's own. Where all its
//! nodes were taken out, another key begins by letting one in.

use domicile_proto::ids::{DictionaryId, Region};
use domicile_proto::metadata::{Applied, Change, CommandRefusal, RegionalChange};
use domicile_proto::officer::{OfficerPublic, OfficerRow, OfficerSignature};

use super::Outcome;
use crate::limits::MAX_OFFICERS_PER_REGION;
use crate::state::State;

impl State {
    /// The change, if its signature holds and is newer than every one before; else what its first coming did, or why not.
    pub(super) fn with_consent(&mut self, change: &RegionalChange, consent: &OfficerSignature) -> Outcome {
        let officer = consent.officer();
        if let Some(known) = self.officer(&change.region, officer)
            && consent.serial() <= known.newest.serial()
        {
            let is_newest = known.newest == *consent;
            return self.in_effect(change).filter(|_| is_newest).ok_or(CommandRefusal::OldSerial);
        }
        if !self.lets_sign(&change.region, officer, &change.change) {
            return Err(CommandRefusal::OtherOfficer);
        }
        // Last of all tests, for it costs more than all others together.
        if !officer.consents(change) {
            return Err(CommandRefusal::Forged);
        }
        let applied = self.change_as_said(change)?;
        self.remember(&change.region, officer, *consent);
        Ok(applied)
    }

    /// What the change did when it came first, where that still holds as it left it.
    fn in_effect(&self, change: &RegionalChange) -> Option<Applied> {
        let region = &change.region;
        let holds = match &change.change {
            Change::AddNode { node, addr } => {
                self.node(*node).is_some_and(|row| row.addr == *addr && row.signature == change.signature)
            }
            Change::AddKey(key) => {
                self.key(region, &key.id).is_some_and(|row| row.key == *key && row.signature == change.signature)
            }
            Change::SetPolicy { stream, .. } => self.policy(*stream, region).is_some_and(|row| {
                row.unsigned.is_none() && row.signed.as_ref().is_some_and(|(_, known)| known == change)
            }),
            Change::SetRegionKey { key } => {
                self.region_key(region).is_some_and(|row| row.key == *key && row.signature == change.signature)
            }
            Change::RemoveNode { node } => self.node(*node).is_none(),
            Change::ApproveTransfer { to, .. } => {
                self.transfer(region, to).is_some_and(|row| row.approval.as_ref() == Some(change))
            }
            Change::ApproveValues { tenant, field, values } => {
                let approved = |id: &DictionaryId| {
                    let row = self.value(*id);
                    row.is_some_and(|row| row.approvals.iter().any(|(place, known)| place == region && known == change))
                };
                let ids = values.iter().map(|value| self.value_id(*tenant, field, value).filter(approved));
                return ids.collect::<Option<Vec<_>>>().map(Applied::Values);
            }
        };
        holds.then_some(Applied::Done)
    }

    /// Whether the region takes this officer's word for the change.
    fn lets_sign(&self, region: &Region, officer: OfficerPublic, change: &Change) -> bool {
        let nodes = self.nodes().filter(|row| row.region == *region);
        let mut hosts = nodes.filter_map(|row| row.signature).map(|consent| consent.officer()).peekable();
        if hosts.peek().is_some() {
            return hosts.any(|host| host == officer);
        }
        let mut known = self.officers().filter(|row| row.region == *region).peekable();
        matches!(change, Change::AddNode { .. })
            || known.peek().is_none()
            || known.any(|row| row.newest.officer() == officer)
    }

    fn remember(&mut self, region: &Region, officer: OfficerPublic, newest: OfficerSignature) {
        let place = (region.clone(), officer);
        if self.officers.get(&place).is_none() {
            let others = self.officers().filter(|row| row.region == *region);
            let (count, silent) = others.fold((0, None::<&OfficerRow>), |(count, silent), row| {
                let longer = silent.filter(|silent| silent.version <= row.version).or(Some(row));
                (count + 1, longer)
            });
            let forgotten = silent.filter(|_| count >= MAX_OFFICERS_PER_REGION).map(|row| row.newest.officer());
            if let Some(forgotten) = forgotten {
                self.officers.remove(&(region.clone(), forgotten));
            }
        }
        let version = self.policy_version();
        self.officers.insert(place, OfficerRow { region: region.clone(), newest, version });
    }
}
