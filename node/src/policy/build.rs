//! The group's state -> the snapshot this region honours.
//!
//! One pass over the rows in their fixed order. Of this region's own rows only what its officer consents to is taken
//! (RES-4); of other regions only what is harmless here: which nodes there are, and the texts of dictionary ids for display.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use domicile_proto::ids::{Level, Name, Region, StreamId, TenantId};
use domicile_proto::metadata::{
    Change, KeyRow, NodeRow, Personal, PolicyRow, RegionalChange, Row, ShardRow, StreamPolicy, StreamRow, ValueRow,
};
use domicile_proto::privacy::Privacy;

use super::consent::Consents;
use super::honoured::{Object, Protection};
use super::snapshot::{Dictionary, Policy, StreamView};

/// The field whose dictionary is built in.
pub(super) const LEVEL: &str = "level";

impl Policy {
    /// Builds the snapshot of `consents`' region from the rows of the group's state.
    pub(crate) fn build(rows: impl IntoIterator<Item = Row>, consents: &mut Consents) -> Self {
        let mut build = Build::new(Self::empty(consents.region().clone()));
        for row in rows {
            build.take(row, consents);
        }
        build.keep_what_has_no_policy(consents);
        build.policy.routes.fill(consents);
        build.policy.once = consents.fields();
        consents.forget_unused();
        build.finish()
    }
}

struct Build {
    policy: Policy,
    streams: BTreeMap<StreamId, StreamView>,
    dictionaries: BTreeMap<(TenantId, Name), Dictionary>,
    /// Streams with a policy of this region, honoured or not.
    judged: BTreeSet<StreamId>,
}

impl Build {
    const fn new(policy: Policy) -> Self {
        Self { policy, streams: BTreeMap::new(), dictionaries: BTreeMap::new(), judged: BTreeSet::new() }
    }

    fn take(&mut self, row: Row, consents: &mut Consents) {
        match row {
            Row::Counters(counters) => self.policy.version = counters.policy,
            Row::Region { region, number } => {
                self.policy.regions.insert(region, number);
            }
            Row::Node(row) => self.take_node(row, consents),
            Row::Tenant { id, name } => {
                self.policy.tenants.insert(name, id);
            }
            Row::Stream(row) => self.take_stream(row),
            Row::Policy(row) => self.take_policy(&row, consents),
            Row::Shard(row) => self.take_shard(&row, consents.region()),
            Row::Key(row) => self.take_key(row, consents),
            Row::Value(row) => self.take_value(&row, consents),
            // Heads are the ledger's, not the policy's; the keys of regions are the group's own to ask.
            Row::Head(_) | Row::RegionKey(_) => {}
            // Which ones is the business of `erase`.
            Row::Erasure(row) => *self.policy.erasures.entry(row.region).or_default() += 1,
            Row::Officer(row) => self.policy.officers.push(row),
            Row::Transfer(row) => self.policy.routes.take(&row, consents),
        }
    }

    /// Nodes of other regions prove themselves by certificates of CAs this node was configured with.
    fn take_node(&mut self, row: NodeRow, consents: &mut Consents) {
        if row.region == *consents.region() {
            let change = Change::AddNode { node: row.node, addr: row.addr };
            let change = RegionalChange { region: row.region.clone(), change, signature: row.signature };
            if !consents.honour(Object::node(row.node), &change) {
                return;
            }
        }
        self.policy.nodes.insert(row.node, row);
    }

    fn take_stream(&mut self, row: StreamRow) {
        let StreamRow { id, tenant, name, fields } = row;
        let policy = StreamPolicy::default();
        self.streams.insert(id, StreamView { id, tenant, name, fields, policy, shard: None });
    }

    fn take_policy(&mut self, row: &PolicyRow, consents: &mut Consents) {
        if row.region != *consents.region() {
            return;
        }
        let Some(stream) = self.streams.get_mut(&row.stream) else { return };
        stream.policy = effective(row, stream.tenant, consents);
        consents.remember_fields(stream.tenant, &stream.policy);
        self.judged.insert(row.stream);
        if let Some(days) = kept_unhonoured(row, stream, consents) {
            self.policy.kept_longer.insert(row.stream, days);
        }
    }

    /// A policy that left the state takes no record with it, and nothing is stored in the clear that it had replaced.
    fn keep_what_has_no_policy(&mut self, consents: &Consents) {
        for stream in self.streams.values_mut().filter(|stream| !self.judged.contains(&stream.id)) {
            let object = Object::policy(stream.tenant, stream.id);
            if let Some(days) = consents.kept(&object) {
                self.policy.kept_longer.insert(stream.id, days);
            }
            stream.policy = guarded(StreamPolicy::default(), [consents.protected(&object)]);
        }
    }

    fn take_shard(&mut self, row: &ShardRow, region: &Region) {
        if row.region != *region {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&row.stream) {
            stream.shard = Some((row.id, row.owner));
            self.policy.epochs.insert(row.id, row.epoch);
        }
    }

    fn take_key(&mut self, row: KeyRow, consents: &mut Consents) {
        if row.region != *consents.region() {
            return;
        }
        let change =
            RegionalChange { region: row.region, change: Change::AddKey(row.key.clone()), signature: row.signature };
        if consents.honour(Object::key(&row.key.id), &change) {
            self.policy.keys.insert(row.key.hash, Arc::new(row.key));
        }
    }

    fn take_value(&mut self, row: &ValueRow, consents: &mut Consents) {
        let dictionary = self.dictionaries.entry((row.tenant, row.field.clone())).or_default();
        dictionary.texts.insert(row.id, row.value.as_str().to_owned());
        let ours = row.approvals.iter().find(|(region, _)| region == consents.region());
        if ours.is_some_and(|(_, change)| covers(change, row) && consents.honour(value(row), change)) {
            dictionary.approved.insert(row.id, row.value.as_str().to_owned());
        }
    }

    fn finish(self) -> Policy {
        let Self { mut policy, streams, dictionaries, judged: _ } = self;
        policy.streams =
            streams.into_values().map(|stream| ((stream.tenant, stream.name.clone()), Arc::new(stream))).collect();
        policy.dictionaries =
            dictionaries.into_iter().map(|(place, dictionary)| (place, Arc::new(dictionary))).collect();
        policy
    }
}

fn value(row: &ValueRow) -> Object {
    Object::value(row.tenant, &row.field, &row.value)
}

/// What holds of a row of this region: the signed policy if it is honoured, narrowed by the unsigned one after it if that lets
/// nothing out beyond what was in force before; else the most restrictive one. No unsigned one gives the subject up, and the most
/// restrictive one replaces what this policy and the last honoured one replace: nobody of the region may have wished that it is
/// not honoured, and what was stored in the clear cannot be taken back.
fn effective(row: &PolicyRow, of_tenant: TenantId, consents: &mut Consents) -> StreamPolicy {
    let object = Object::policy(of_tenant, row.stream);
    let signed = row.signed.as_ref().and_then(|(_, change)| match &change.change {
        Change::SetPolicy { tenant, stream, policy }
            if *tenant == of_tenant && *stream == row.stream && consents.honour(object.clone(), change) =>
        {
            Some(policy.clone())
        }
        _ => None,
    });
    let Some(signed) = signed else {
        let said = said_unhonoured(row, of_tenant).map(Protection::of_fields).unwrap_or_default();
        return guarded(narrowed(row, StreamPolicy::default()), [consents.protected(&object), said]);
    };
    consents.keep(&object, signed.retention_days);
    let holds = consents.narrow(&object, &signed, narrowed(row, signed.clone()));
    consents.protect(&object, Protection::of(&holds));
    holds
}

/// What the unsigned policy of a row leaves of the one before it.
fn narrowed(row: &PolicyRow, base: StreamPolicy) -> StreamPolicy {
    match &row.unsigned {
        Some((_, narrower)) if narrower.lets_out_no_more_than(&base) => narrower.clone().protecting_as(&base),
        _ => base,
    }
}

/// The signed policy of a row as it stands there, whoever signed it.
fn said_unhonoured(row: &PolicyRow, of_tenant: TenantId) -> Option<&StreamPolicy> {
    match row.signed.as_ref().map(|(_, change)| &change.change)? {
        Change::SetPolicy { tenant, stream, policy } if *tenant == of_tenant && *stream == row.stream => Some(policy),
        _ => None,
    }
}

/// A policy nobody signed, with these protections besides. The first subject is the subject, so that erasures find it; what is
/// counted are at least as many subjects as it demanded records. Another one is a field that is replaced whole.
fn guarded(policy: StreamPolicy, protections: impl IntoIterator<Item = Protection>) -> StreamPolicy {
    let mut actions = policy.privacy.actions().to_vec();
    let mut fields = policy.privacy.fields().to_vec();
    let mut subject: Option<Name> = None;
    for Protection { subject: named, privacy } in protections {
        actions.extend_from_slice(privacy.actions());
        fields.extend_from_slice(privacy.fields());
        if subject.is_none() {
            subject = named;
        } else {
            fields.extend(named.filter(|named| subject.as_ref() != Some(named)));
        }
    }
    let mut seen = BTreeSet::new();
    fields.retain(|field| seen.insert(field.clone()));
    let k = subject.as_ref().map(|_| policy.threshold()).or(policy.k);
    let personal = subject.map_or(policy.personal, Personal::Subject);
    StreamPolicy { personal, k, privacy: Privacy::new(actions, fields), ..policy }
}

/// Where a policy is not honoured: how long it, or the last one that was, keeps records; what is longer. Deleting early cannot be
/// taken back, and a policy may come to be unhonoured without anybody having wished it, as when the officer's key changes.
fn kept_unhonoured(row: &PolicyRow, stream: &StreamView, consents: &mut Consents) -> Option<NonZeroU16> {
    let object = Object::policy(stream.tenant, row.stream);
    let (_, change) = row.signed.as_ref()?;
    if consents.honour(object.clone(), change) {
        return None;
    }
    let said = said_unhonoured(row, stream.tenant).and_then(|policy| policy.retention_days);
    said.max(consents.kept(&object))
}

/// Whether an approval speaks of this very value.
fn covers(change: &RegionalChange, row: &ValueRow) -> bool {
    match &change.change {
        Change::ApproveValues { tenant, field, values } => {
            *tenant == row.tenant && *field == row.field && values.contains(&row.value)
        }
        _ => false,
    }
}

/// The built-in dictionary of levels: the same everywhere, approved everywhere.
pub(super) fn level_dictionary() -> Dictionary {
    let texts: BTreeMap<_, _> =
        Level::ALL.into_iter().map(|level| (level.dictionary_id(), level.as_str().to_owned())).collect();
    Dictionary { approved: texts.clone(), texts }
}

#[cfg(test)]
#[path = "build_test.rs"]
mod tests;
