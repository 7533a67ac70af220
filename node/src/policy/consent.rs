//! Whether the region's officer consents (RES-4), asked of every widening row at every build and remembered in between.
//!
//! The key is the one in the node's own configuration. A signature is checked once: what held for the same bytes before
//! holds again. Whether the consent is still good is asked of what this node has honoured. Does not decide what follows.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use domicile_proto::ids::{PolicyVersion, Region, TenantId};
use domicile_proto::metadata::{RegionalChange, StreamPolicy};
use domicile_proto::officer::OfficerPublic;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use super::errors::PolicyError;
use super::honoured::{FieldsOnce, Honoured, Object, Protection};
use super::routes::FileRoute;

/// The officer of one region, with a memory of the changes that were looked at.
pub(crate) struct Consents {
    region: Region,
    officer: OfficerPublic,
    known: BTreeMap<[u8; 32], bool>,
    /// The verdicts used since the last [`Consents::forget_unused`].
    used: BTreeMap<[u8; 32], bool>,
    honoured: Arc<Mutex<Honoured>>,
    /// Routes out of the region, as its own file has them.
    routes: Arc<BTreeMap<Region, FileRoute>>,
}

impl Consents {
    /// The officer of `region`, by the key in this node's own configuration, and what of its consents was honoured.
    pub(crate) fn new(region: Region, officer: OfficerPublic, honoured: Honoured) -> Self {
        let honoured = Arc::new(Mutex::new(honoured));
        let routes = Arc::default();
        Self { region, officer, known: BTreeMap::new(), used: BTreeMap::new(), honoured, routes }
    }

    /// With the routes that the region's own file opens; without, all of them are shut.
    pub(crate) fn with_routes(self, routes: BTreeMap<Region, FileRoute>) -> Self {
        Self { routes: Arc::new(routes), ..self }
    }

    /// The same officer without the memory of verdicts.
    pub(super) fn fresh(&self) -> Self {
        let (known, used) = (BTreeMap::new(), BTreeMap::new());
        Self {
            region: self.region.clone(),
            officer: self.officer,
            known,
            used,
            honoured: Arc::clone(&self.honoured),
            routes: Arc::clone(&self.routes),
        }
    }

    /// The region it speaks for.
    pub(crate) const fn region(&self) -> &Region {
        &self.region
    }

    /// Whether the change is one of this region and carries its officer's consent.
    pub(crate) fn hold(&mut self, change: &RegionalChange) -> bool {
        if change.region != self.region || change.signature.is_none() {
            return false;
        }
        let Ok(bytes) = serde_json::to_vec(change) else { return false };
        let mut place = [0; 32];
        place.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        let verdict = self.used.get(&place).or_else(|| self.known.get(&place)).copied();
        let verdict = verdict.unwrap_or_else(|| self.officer.consents(change));
        self.used.insert(place, verdict);
        verdict
    }

    /// Whether a change about the object is honoured: its consent holds, and no newer state has taken it back.
    pub(super) fn honour(&mut self, object: Object, change: &RegionalChange) -> bool {
        let consent = change.signature.filter(|_| self.hold(change));
        consent.is_some_and(|consent| self.honoured.lock().honour(object, consent.serial()))
    }

    /// What is in force of a policy that is honoured, where the state wants `wanted` under it.
    pub(super) fn narrow(&self, object: &Object, signed: &StreamPolicy, wanted: StreamPolicy) -> StreamPolicy {
        self.honoured.lock().narrow(object, signed, wanted)
    }

    /// Remembers how long an honoured policy keeps records.
    pub(super) fn keep(&self, object: &Object, days: Option<NonZeroU16>) {
        self.honoured.lock().keep(object, days);
    }

    /// How long the last honoured policy keeps them.
    pub(super) fn kept(&self, object: &Object) -> Option<NonZeroU16> {
        self.honoured.lock().kept(object)
    }

    /// Remembers what an honoured policy protects.
    pub(super) fn protect(&self, object: &Object, protection: Protection) {
        self.honoured.lock().protect(object, protection);
    }

    /// What the last honoured policy protects.
    pub(super) fn protected(&self, object: &Object) -> Protection {
        self.honoured.lock().protected(object)
    }

    /// Remembers which fields a policy that is in force names.
    pub(super) fn remember_fields(&self, tenant: TenantId, policy: &StreamPolicy) {
        self.honoured.lock().remember_fields(tenant, policy);
    }

    /// What policies in force ever said of fields.
    pub(super) fn fields(&self) -> BTreeMap<TenantId, FieldsOnce> {
        self.honoured.lock().fields()
    }

    /// A route as the region's own file has it.
    pub(super) fn file_route(&self, to: &Region) -> Option<&FileRoute> {
        self.routes.get(to)
    }

    /// All routes of the region's own file.
    pub(super) fn file_routes(&self) -> impl Iterator<Item = (&Region, &FileRoute)> {
        self.routes.iter()
    }

    /// Remembers that a route was closed.
    pub(super) fn shut(&self, object: &Object) {
        self.honoured.lock().shut(object);
    }

    /// Remembers that a route was opened by an approval that is honoured.
    pub(super) fn open(&self, object: &Object) {
        self.honoured.lock().open_route(object);
    }

    /// Whether a route was closed and not opened again.
    pub(super) fn is_shut(&self, object: &Object) -> bool {
        self.honoured.lock().is_shut(object)
    }

    /// Ends the reading of a state; what was honoured in it is on the disk when this returns.
    ///
    /// # Errors
    /// [`PolicyError::Write`]: the state has to be read again, and nothing new in it will be honoured.
    pub(super) fn conclude(&self, version: PolicyVersion) -> Result<(), PolicyError> {
        self.honoured.lock().conclude(version)
    }

    /// Forgets what was not asked about since the last call, so that the memory never outgrows the state.
    pub(crate) fn forget_unused(&mut self) {
        self.known = std::mem::take(&mut self.used);
    }
}
