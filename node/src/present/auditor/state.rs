//! Puts a statement together from what the node knows at this moment.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::{Name, NodeId, Region, TenantId};
use domicile_proto::metadata::{Personal, Roles, Rows};
use domicile_proto::privacy::Action;

use super::statement::{
    AccessKey, Approved, Bucket, Build, Deletion, Erasure, Hold, Keys, Node, Officer, OwnBucket, Segment, Statement,
    Stream, Transfer, VERSION,
};
use super::{Desk, OPERATORS, Office};
use crate::policy::{Policy, Route, StreamView, date_of};
use crate::store::{ARCHIVE, COPIES, Lies, RESTORED, StoreError};

/// Where objects of segments lie.
#[derive(Default)]
pub(super) struct Lying {
    own: Vec<OwnBucket>,
    of: BTreeMap<String, BTreeSet<u64>>,
}

impl Bucket {
    /// Where a bucket lies, and who says so. The marker in it named this region when it was opened, or the node would not run.
    fn of(lies: &Lies, region: &Region) -> Self {
        let marker = "marker object in the bucket, checked when the node opened it";
        let source = match (&lies.location, lies.is_told) {
            (None, _) => marker.to_owned(),
            (Some(_), true) => format!("the provider's answer and the {marker}"),
            (Some(_), false) => {
                format!("ATTENTION: the configuration, for the provider does not tell; and the {marker}")
            }
        };
        let kind = if lies.kind.is_empty() { "directory of the node's machine".to_owned() } else { lies.kind.clone() };
        Self { kind, region: region.to_string(), location: lies.location.clone(), source }
    }
}

impl Office {
    /// Where the objects of the tenant's segments lie, where it has buckets of its own.
    ///
    /// # Errors
    /// The bucket.
    pub(super) async fn lying(&self, tenant: TenantId, name: &Name) -> Result<Lying, StoreError> {
        let mut lying = Lying::default();
        let own = self.store.own_lies().into_iter().enumerate().filter(|(_, own)| own.tenant == *name);
        // By the number that the store gives it.
        let mut numbers = BTreeMap::new();
        for (at, own) in own {
            let bucket = Bucket::of(&own.lies, &self.desk.parts.region);
            lying.own.push(OwnBucket { stream: own.stream.map(|stream| stream.to_string()), bucket });
            numbers.insert(at, lying.own.len() as u64);
        }
        if numbers.is_empty() {
            return Ok(lying);
        }
        let policy = self.desk.parts.policy.now();
        for view in Desk::streams_under(&policy, tenant).values() {
            let Some((shard, _)) = view.shard.filter(|(_, owner): &(_, NodeId)| *owner == self.desk.parts.node) else {
                continue;
            };
            for above in [COPIES, ARCHIVE, RESTORED] {
                for (object, at) in self.store.lying(&format!("{above}/{:016x}", shard.0)).await? {
                    // `above/shard/segment/…`
                    let Some(segment) = object.split('/').nth(2) else { continue };
                    let number = at.map_or(Some(0), |at| numbers.get(&at).copied());
                    lying.of.entry(segment.to_owned()).or_default().extend(number);
                }
            }
        }
        Ok(lying)
    }

    pub(super) fn state(&self, tenant: TenantId, name: &Name, lying: &Lying) -> Statement {
        let parts = &self.desk.parts;
        let (policy, head, vault) = (parts.policy.now(), parts.ledger.head(), parts.vault.facts());
        let nodes = policy.nodes.values().map(|row| Node { node: row.node.0, region: row.region.to_string() });
        let views = Desk::streams_under(&policy, tenant);
        Statement {
            version: VERSION,
            taken_at: parts.clock.now(),
            deployment: self.deployment.to_string(),
            region: parts.region.to_string(),
            node: parts.node.0,
            jurisdiction: self.facts.jurisdiction.clone(),
            laws: self.facts.laws().to_vec(),
            time_zone: self.facts.time_zone.iana.clone(),
            build: Build {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                sha256: self.program.clone(),
                sbom_sha256: self.sbom.clone(),
            },
            tenant: name.to_string(),
            tenant_id: u64::from(tenant.0),
            policy_version: policy.version.0,
            ledger_size: head.size,
            ledger_root: hex::encode(head.root),
            nodes: nodes.collect(),
            officers: self.officers(&policy),
            transfers: policy.routes.out.iter().map(|way| self.transfer(way)).collect(),
            streams: views.values().map(|view| self.stream(view)).collect(),
            dictionary: dictionary(&policy, tenant),
            access_keys: access_keys(&policy, tenant),
            keys: Keys {
                store: vault.store.to_owned(),
                subjects: vault.subjects,
                originals: vault.originals,
                is_rewrite_due: vault.is_rewrite_due,
            },
            bucket: Bucket::of(self.store.lies(), &parts.region),
            own_buckets: lying.own.clone(),
            segments: views.values().flat_map(|view| self.segments(view, lying)).collect(),
            erasures: self.erasures(tenant),
            holds: self
                .erasure
                .holds(tenant)
                .into_iter()
                .map(|hold| Hold { id: hold.id.into(), since: hold.since })
                .collect(),
            deletions: self.deletions(tenant),
        }
    }

    fn officers(&self, policy: &Policy) -> Vec<Officer> {
        let row = |row: &domicile_proto::officer::OfficerRow| Officer {
            region: row.region.to_string(),
            key: String::from(row.newest.officer()),
            serial: row.newest.serial().0,
            policy_version: row.version.0,
            is_honoured_here: row.newest.officer() == self.desk.parts.officer,
        };
        policy.officers.iter().map(row).collect()
    }

    fn transfer(&self, (to, route): (&Region, &Route)) -> Transfer {
        let file = self.facts.transfers.iter().find(|way| way.to == *to);
        Transfer {
            to: to.to_string(),
            what: file.map_or_else(String::new, |way| way.what_travels().to_owned()),
            basis: route.basis.map_or_else(|| "undecided".to_owned(), |basis| basis.to_string()),
            review_by: date_of(route.review_by),
            is_open: route.shut.is_none(),
            shut: route.shut.map(|shut| shut.words().to_owned()),
            admissible: file.map_or_else(Vec::new, |way| way.admissible().map(ToString::to_string).collect()),
            countries: file.map_or_else(Vec::new, |way| way.countries().to_vec()),
            policy_version: route.said.map(|(version, _)| version.0),
            officer_serial: route.said.and_then(|(_, serial)| serial).map(|serial| serial.0),
        }
    }

    fn stream(&self, view: &StreamView) -> Stream {
        let personal = match &view.policy.personal {
            Personal::Undeclared => "undeclared".to_owned(),
            Personal::Subject(field) => format!("subject {field}"),
            Personal::No => "no".to_owned(),
        };
        let own = view.policy.privacy.actions().iter().copied();
        let detectors = self.facts.detectors().chain(own);
        let detectors = detectors.map(|(class, action)| (class.to_string(), action_words(action))).collect();
        let lying = view.shard.map(|(shard, _)| self.desk.parts.catalog.view(shard)).unwrap_or_default();
        let archive = view.shard.map(|(shard, _)| self.desk.parts.catalog.archive(shard)).unwrap_or_default();
        let kept = archive.iter().filter(|one| lying.iter().all(|segment| Some(segment.id) != one.id()));
        let kept: Vec<_> = kept.map(|one| (one.row.docs, one.row.received_until)).collect();
        let lying: Vec<_> = lying.iter().map(|one| (one.docs, one.received_until)).chain(kept).collect();
        let days = view.policy.retention_days.map_or_else(|| self.facts.retention_days(), |days| u32::from(days.get()));
        Stream {
            id: u64::from(view.id.0),
            name: view.name.to_string(),
            personal,
            k: u64::from(view.policy.threshold().get()),
            fields: view.fields.iter().map(ToString::to_string).collect(),
            group_fields: view.policy.group_fields.iter().map(ToString::to_string).collect(),
            numbers: view.policy.numbers.iter().map(|number| number.field.to_string()).collect(),
            has_text_questions: view.policy.text_questions,
            grid_s: u64::from(view.policy.grid.seconds()),
            close_after_s: u64::from(view.policy.close_after_s),
            noise: view.policy.noise,
            detectors,
            retention_days: u64::from(days),
            records: lying.iter().map(|(docs, _)| u64::from(*docs)).sum(),
            oldest_received_until: lying.iter().map(|(_, received_until)| *received_until).min(),
        }
    }

    fn segments(&self, view: &StreamView, places: &Lying) -> Vec<Segment> {
        let Some((shard, _)) = view.shard.filter(|(_, owner): &(_, NodeId)| *owner == self.desk.parts.node) else {
            return Vec::new();
        };
        let lying = self.desk.parts.catalog.view(shard);
        let row = |segment: &std::sync::Arc<crate::segment::Segment>| Segment {
            stream: view.name.to_string(),
            id: segment.id.to_string(),
            records: u64::from(segment.docs),
            bytes: segment.bytes,
            oldest: segment.oldest,
            newest: segment.newest,
            received_until: segment.received_until,
            is_on_disk: segment.dir.is_some(),
            is_in_bucket: segment.copied.is_some(),
            lies_in: places.of.get(&segment.id.to_string()).cloned().unwrap_or_default(),
        };
        let mut rows: Vec<Segment> = lying.iter().map(row).collect();
        let archive = self.desk.parts.catalog.archive(shard);
        // One of which a copy is searched has its row.
        let kept = archive.iter().filter(|one| lying.iter().all(|segment| Some(segment.id) != one.id()));
        rows.extend(kept.map(|one| Segment {
            stream: view.name.to_string(),
            id: one.id().map(|id| id.to_string()).unwrap_or_default(),
            records: u64::from(one.row.docs),
            bytes: one.bytes(),
            oldest: one.row.oldest,
            newest: one.row.newest,
            received_until: one.row.received_until,
            is_on_disk: false,
            is_in_bucket: true,
            lies_in: one.id().and_then(|id| places.of.get(&id.to_string()).cloned()).unwrap_or_default(),
        }));
        rows.sort_unstable_by_key(|row| (row.received_until, row.id.clone()));
        rows
    }

    fn erasures(&self, tenant: TenantId) -> Vec<Erasure> {
        let row = |stands: crate::erase::Stands| Erasure {
            id: stands.id.into(),
            state: stands.progress.as_str().to_owned(),
            ordered_at: stands.ordered_at,
            shredded_at: stands.shredded.map(|shredded| shredded.at),
            records_hidden: stands.shredded.map(|shredded| shredded.hidden),
            originals_destroyed: stands.shredded.map(|shredded| shredded.originals),
            receipt: stands.receipt,
        };
        let mut rows: Vec<Erasure> = self.erasure.all(tenant).into_iter().map(row).collect();
        rows.sort_by(|a, b| (a.ordered_at, &a.id).cmp(&(b.ordered_at, &b.id)));
        rows
    }

    fn deletions(&self, tenant: TenantId) -> Vec<Deletion> {
        let rows = self.erasure.deletions(tenant).into_iter();
        // As `erase` tells them, with names of its own.
        rows.filter_map(|row| serde_json::from_value(row).ok()).collect()
    }
}

fn dictionary(policy: &Policy, tenant: TenantId) -> Vec<Approved> {
    let own = policy.dictionaries.iter().filter(|((owner, _), _)| *owner == tenant);
    let rows = own.flat_map(|((_, field), dictionary)| {
        dictionary.approved.iter().map(move |(id, value)| Approved {
            field: field.to_string(),
            id: u64::from(id.0),
            value: value.clone(),
        })
    });
    rows.collect()
}

fn access_keys(policy: &Policy, tenant: TenantId) -> Vec<AccessKey> {
    let own = policy.keys.values().filter(|key| key.tenant == tenant || key.tenant == OPERATORS);
    let mut rows: Vec<AccessKey> = own
        .map(|key| {
            let rows = match key.rows {
                Rows::None => "none",
                Rows::Redacted => "redacted",
                Rows::Full => "full",
            };
            AccessKey {
                name: key.id.to_string(),
                roles: roles(key.roles),
                rows: rows.to_owned(),
                is_operators: key.tenant == OPERATORS,
            }
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn roles(roles: Roles) -> Vec<String> {
    let has = [
        (roles.ingest, "ingest"),
        (roles.create, "create"),
        (roles.search, "search"),
        (roles.audit, "audit"),
        (roles.admin, "admin"),
        (roles.reveal, "reveal"),
    ];
    has.iter().filter(|(has, _)| *has).map(|(_, role)| (*role).to_owned()).collect()
}

fn action_words(action: Action) -> String {
    match action {
        Action::Keep(basis) => format!("keep ({basis})"),
        other => other.as_str().to_owned(),
    }
}
