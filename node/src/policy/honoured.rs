//! What of its officer's consents this node has honoured, so that an old one is never honoured again (RES-4).
//!
//! The metadata group refuses old consents, but a majority of it could agree on a state in which one is back. So each node of
//! the region remembers, on its own disk: the highest serial it ever honoured, and by object (a node, a key, a stream's
//! policy, a value, a route) the serial that is in force there. A row is honoured if its serial is the one in force for its object,
//! or higher than any. What leaves the state is no longer in force, and so its old consent is worth nothing: no list of
//! revoked things is needed. A policy that was narrowed without a signature stays at least as narrow until the officer signs
//! again, and what the last honoured policy of a stream replaced before anything is stored outlives it. It also remembers which fields
//! ever named the subject of records, for records outlive the policy under which they came. Decides nothing about signatures; a node that
//! joins later knows only what it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::path::Path;

use domicile_proto::ids::{ConsentSerial, Name, NodeId, PolicyVersion, Region, StreamId, TenantId};
use domicile_proto::metadata::{ApprovedValue, Personal, StreamPolicy};
use domicile_proto::officer::OfficerPublic;
use domicile_proto::privacy::{Action, Privacy};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::errors::PolicyError;
use super::memory::{Memory, Note};

/// What a consent is about. On the disk only its digest: a value that was revoked leaves no text behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn node(node: NodeId) -> Self {
        Self::of("node", &node)
    }

    pub(super) fn key(id: &Name) -> Self {
        Self::of("key", id)
    }

    pub(super) fn policy(tenant: TenantId, stream: StreamId) -> Self {
        Self::of("policy", &(tenant, stream))
    }

    pub(super) fn value(tenant: TenantId, field: &Name, value: &ApprovedValue) -> Self {
        Self::of("value", &(tenant, field, value))
    }

    pub(super) fn route(to: &Region) -> Self {
        Self::of("route", to)
    }

    fn of(kind: &str, what: &impl Serialize) -> Self {
        // Names, numbers and texts always have a JSON form.
        let text = serde_json::to_vec(&(kind, what)).unwrap_or_default();
        Self(hex::encode(digest(&SHA256, &text)))
    }
}

/// The consent in force for an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) serial: ConsentSerial,
    /// What the policy was narrowed to since, without a signature.
    pub(super) narrowed: Option<StreamPolicy>,
}

/// What a policy has replaced or left out before a record is stored. Names of fields and closed words, as in the policy itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Protection {
    /// The field whose values are replaced by those of a subject.
    pub(super) subject: Option<Name>,
    /// Fields that are replaced whole, and the classes of which less is left than a token.
    pub(super) privacy: Privacy,
}

impl Protection {
    /// That of a policy.
    pub(super) fn of(policy: &StreamPolicy) -> Self {
        // A token is what a region leaves by itself, and looser actions are an officer's to allow.
        let leaves_less = |action: &Action| *action != Action::Pseudonymise && action.is_within(Action::Pseudonymise);
        let actions = policy.privacy.actions().iter().filter(|(_, action)| leaves_less(action)).copied();
        Self { privacy: Privacy::new(actions, policy.privacy.fields().to_vec()), ..Self::of_fields(policy) }
    }

    /// The fields alone: what they replace can be revealed again, so that nothing is lost where nobody of the region wished it.
    pub(super) fn of_fields(policy: &StreamPolicy) -> Self {
        let subject = match &policy.personal {
            Personal::Subject(field) => Some(field.clone()),
            Personal::Undeclared | Personal::No => None,
        };
        Self { subject, privacy: Privacy::new([], policy.privacy.fields().to_vec()) }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What policies that were in force ever said of the fields of a tenant's records. It only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldsOnce {
    /// Fields that named the subject; the number under which a subject is known is made with the name of its field.
    pub(crate) subjects: BTreeSet<Name>,
    /// Whether a field was declared as personal.
    pub(crate) declared: bool,
}

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) highest: ConsentSerial,
    /// The newest state that was looked at; an older one, as after a restart, revokes nothing.
    pub(super) version: PolicyVersion,
    pub(super) in_force: BTreeMap<Object, Mark>,
    /// Days that the last policy which was honoured of a stream said its records are kept; it outlives the policy.
    pub(super) kept: BTreeMap<Object, NonZeroU16>,
    /// What the last policy which was honoured of a stream protects; it outlives the policy.
    pub(super) protected: BTreeMap<Object, Protection>,
    /// Routes that were closed and not opened again since.
    pub(super) shut: BTreeSet<Object>,
    /// What was said of fields, by tenant.
    pub(super) fields: BTreeMap<TenantId, FieldsOnce>,
}

impl Marks {
    pub(super) fn set_period(&mut self, object: Object, days: Option<NonZeroU16>) {
        match days {
            Some(days) => drop(self.kept.insert(object, days)),
            None => drop(self.kept.remove(&object)),
        }
    }

    pub(super) fn set_protection(&mut self, object: Object, protection: Protection) {
        if protection.is_empty() {
            self.protected.remove(&object);
        } else {
            self.protected.insert(object, protection);
        }
    }

    /// Whether it was not known before.
    pub(super) fn add_subject(&mut self, tenant: TenantId, field: Name) -> bool {
        self.fields.entry(tenant).or_default().subjects.insert(field)
    }

    /// Whether it was not known before.
    pub(super) fn add_declared(&mut self, tenant: TenantId) -> bool {
        !std::mem::replace(&mut self.fields.entry(tenant).or_default().declared, true)
    }

    pub(super) fn set_shut(&mut self, object: Object, is_shut: bool) {
        if is_shut {
            self.shut.insert(object);
        } else {
            self.shut.remove(&object);
        }
    }
}

/// The consents a node has honoured.
pub(crate) struct Honoured {
    marks: Marks,
    /// The highest serial before the state that is being read: what is higher is new.
    before: ConsentSerial,
    /// Objects honoured in the state that is being read, and in the one before it in this process.
    present: BTreeSet<Object>,
    previous: BTreeSet<Object>,
    notes: Vec<Note>,
    /// Periods that count once they are written down.
    periods: Vec<(Object, Option<NonZeroU16>)>,
    /// Protections that count once they are written down.
    protections: Vec<(Object, Protection)>,
    /// Routes that are open again once that is written down.
    opened: Vec<Object>,
    memory: Option<Memory>,
    /// Nothing new is honoured: it could not be written down.
    is_stuck: bool,
}

impl Honoured {
    /// What a node remembers in `dir` of this officer's consents; each officer key has a memory of its own.
    pub(crate) fn open(dir: &Path, officer: OfficerPublic) -> Result<Self, PolicyError> {
        let (memory, marks) = Memory::open(dir, officer)?;
        Ok(Self::with(marks, Some(memory)))
    }

    /// A memory that ends with the process.
    #[cfg(test)]
    pub(super) fn forgetful() -> Self {
        Self::with(Marks::default(), None)
    }

    pub(super) fn with(marks: Marks, memory: Option<Memory>) -> Self {
        let before = marks.highest;
        let (present, previous) = (BTreeSet::new(), BTreeSet::new());
        let (notes, periods, protections, opened) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { marks, before, present, previous, notes, periods, protections, opened, memory, is_stuck: false }
    }

    /// Whether a consent that holds is to be honoured for the object, and remembers that it was.
    pub(super) fn honour(&mut self, object: Object, serial: ConsentSerial) -> bool {
        let is_in_force = self.marks.in_force.get(&object).is_some_and(|mark| mark.serial == serial);
        if !is_in_force {
            if serial <= self.before || self.is_stuck {
                return false;
            }
            self.set(&object, Mark { serial, narrowed: None });
            self.marks.highest = self.marks.highest.max(serial);
        }
        self.present.insert(object);
        true
    }

    /// The policy in force where `wanted` stands in the state under the consent that is honoured for the object.
    pub(super) fn narrow(&mut self, object: &Object, signed: &StreamPolicy, wanted: StreamPolicy) -> StreamPolicy {
        let Some(mark) = self.marks.in_force.get(object) else { return wanted };
        // Nodes of before remembered narrowings that gave the subject up.
        let known = mark.narrowed.clone().map(|narrowed| narrowed.protecting_as(signed));
        if let Some(narrowed) = known.filter(|narrowed| !wanted.is_within(narrowed)) {
            return narrowed;
        }
        let narrowed = Some(wanted.clone()).filter(|wanted| wanted != signed);
        if narrowed != mark.narrowed {
            let serial = mark.serial;
            self.set(object, Mark { serial, narrowed });
        }
        wanted
    }

    /// Remembers how long an honoured policy keeps records.
    pub(super) fn keep(&mut self, object: &Object, days: Option<NonZeroU16>) {
        if self.marks.kept.get(object).copied() != days {
            self.notes.push(Note::Kept(object.clone(), days));
            self.periods.push((object.clone(), days));
        }
    }

    /// What the last honoured policy said of it.
    pub(super) fn kept(&self, object: &Object) -> Option<NonZeroU16> {
        self.marks.kept.get(object).copied()
    }

    /// Remembers what an honoured policy protects.
    pub(super) fn protect(&mut self, object: &Object, protection: Protection) {
        if self.protected(object) != protection {
            self.notes.push(Note::Protected(object.clone(), protection.clone()));
            self.protections.push((object.clone(), protection));
        }
    }

    /// What the last honoured policy protects.
    pub(super) fn protected(&self, object: &Object) -> Protection {
        self.marks.protected.get(object).cloned().unwrap_or_default()
    }

    /// Remembers which fields a policy that is in force names; that counts at once.
    pub(super) fn remember_fields(&mut self, tenant: TenantId, policy: &StreamPolicy) {
        if let Personal::Subject(field) = &policy.personal
            && self.marks.add_subject(tenant, field.clone())
        {
            self.notes.push(Note::Subject(tenant, field.clone()));
        }
        if !policy.privacy.fields().is_empty() && self.marks.add_declared(tenant) {
            self.notes.push(Note::Declared(tenant));
        }
    }

    /// What was ever said of fields.
    pub(super) fn fields(&self) -> BTreeMap<TenantId, FieldsOnce> {
        self.marks.fields.clone()
    }

    /// Remembers that a route was closed; that counts at once.
    pub(super) fn shut(&mut self, object: &Object) {
        if self.marks.shut.insert(object.clone()) {
            self.notes.push(Note::Shut(object.clone(), true));
        }
    }

    /// Remembers that a route was opened by an approval that is honoured.
    pub(super) fn open_route(&mut self, object: &Object) {
        if self.is_shut(object) {
            self.notes.push(Note::Shut(object.clone(), false));
            self.opened.push(object.clone());
        }
    }

    /// Whether a route was closed and not opened again.
    pub(super) fn is_shut(&self, object: &Object) -> bool {
        self.marks.shut.contains(object)
    }

    fn set(&mut self, object: &Object, mark: Mark) {
        self.notes.push(Note::InForce(object.clone(), mark.clone()));
        self.marks.in_force.insert(object.clone(), mark);
    }

    /// Ends the reading of a state: what is no longer in it is no longer in force, and all of it is written down.
    ///
    /// # Errors
    /// [`PolicyError::Write`]: what the state brought that is new must not be honoured; the state has to be read again.
    pub(super) fn conclude(&mut self, version: PolicyVersion) -> Result<(), PolicyError> {
        let is_newer = version > self.marks.version;
        let gone = |object: &Object| !self.present.contains(object) && (is_newer || self.previous.contains(object));
        let gone: Vec<Object> = self.marks.in_force.keys().filter(|object| gone(object)).cloned().collect();
        for object in gone {
            self.marks.in_force.remove(&object);
            self.notes.push(Note::Gone(object));
        }
        self.previous = std::mem::take(&mut self.present);
        if is_newer {
            self.marks.version = version;
        }
        let (notes, periods) = (std::mem::take(&mut self.notes), std::mem::take(&mut self.periods));
        let (protections, opened) = (std::mem::take(&mut self.protections), std::mem::take(&mut self.opened));
        if let Some(memory) = self.memory.as_mut().filter(|_| !notes.is_empty() && !self.is_stuck) {
            let written = memory.write(&notes, &self.marks);
            if let Err(error) = written {
                self.is_stuck = true;
                self.forget_new();
                return Err(error);
            }
        }
        periods.into_iter().for_each(|(object, days)| self.marks.set_period(object, days));
        protections.into_iter().for_each(|(object, protection)| self.marks.set_protection(object, protection));
        opened.into_iter().for_each(|object| self.marks.set_shut(object, false));
        self.before = self.marks.highest;
        Ok(())
    }

    /// Takes back what was new: it is not on the disk. What is gone stays gone.
    fn forget_new(&mut self) {
        let before = self.before;
        self.marks.in_force.retain(|_, mark| mark.serial <= before);
        self.marks.highest = before;
    }
}

#[cfg(test)]
#[path = "honoured_test.rs"]
mod tests;
