//! The pseudonym key of this region: one secret in the keyring, one derived key for each tenant.
//!
//! Under it the same value of a tenant gets the same token everywhere in the region, and never the same one as in another
//! region. Nodes of one region share the secret. It does not reveal: the way back is the keyring's.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::ids::{Region, TenantId};
use parking_lot::RwLock;
use ring::hmac;

use super::known::{Met, Sight};
use super::ring::Bucket;

/// The pseudonym keys of all tenants of a region. No `Debug`.
pub(crate) struct PseudonymKeys {
    root: hmac::Key,
    region: Region,
    tenants: RwLock<BTreeMap<TenantId, Arc<TenantPseudonyms>>>,
    pub(super) met: Met,
}

/// The keys of one tenant.
pub(crate) struct TenantPseudonyms {
    tokens: hmac::Key,
    subjects: hmac::Key,
}

impl PseudonymKeys {
    /// From a secret that is known already.
    pub(crate) fn from_secret(secret: &[u8; 32], region: Region) -> Self {
        Self { root: hmac::Key::new(hmac::HMAC_SHA256, secret), region, tenants: RwLock::default(), met: Met::new() }
    }

    /// A keyed hash that every node with these keys makes alike, and nobody else can.
    pub(crate) fn region_hash(&self, purpose: &str, bytes: &[u8]) -> [u8; 32] {
        let label = format!("domicile/region/{purpose}/1\0{}", self.region);
        let key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.root, label.as_bytes()).as_ref());
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&key, bytes).as_ref());
        out
    }

    /// A value where it was met, and the hash of its token if its original is known to be sealed there.
    pub(crate) fn meet(
        &self,
        bucket: Bucket,
        subject: Option<u64>,
        class: &str,
        value: &str,
    ) -> (Sight, Option<[u8; 16]>) {
        let sight = self.met.sight(bucket, subject, class, value);
        (sight, self.met.token(sight))
    }

    /// The keys of a tenant.
    pub(crate) fn tenant(&self, tenant: TenantId) -> Arc<TenantPseudonyms> {
        if let Some(keys) = self.tenants.read().get(&tenant) {
            return Arc::clone(keys);
        }
        let derive = |purpose: &str| {
            let label = format!("domicile/{purpose}/1\0{}\0{tenant}", self.region);
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.root, label.as_bytes()).as_ref())
        };
        let keys = Arc::new(TenantPseudonyms { tokens: derive("token"), subjects: derive("subject") });
        Arc::clone(self.tenants.write().entry(tenant).or_insert(keys))
    }
}

impl TenantPseudonyms {
    /// The first 16 bytes of the keyed hash of a value of a class.
    pub(crate) fn token(&self, class: &str, value: &str) -> [u8; 16] {
        first(&self.tokens, class, value)
    }

    /// The keyed hash under which a subject is counted.
    pub(crate) fn subject(&self, field: &str, value: &str) -> u64 {
        u64::from_be_bytes(first(&self.subjects, field, value))
    }
}

fn first<const N: usize>(key: &hmac::Key, class: &str, value: &str) -> [u8; N] {
    let mut context = hmac::Context::with_key(key);
    context.update(class.as_bytes());
    context.update(&[0]);
    context.update(value.as_bytes());
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Region {
        "tokyo".parse().unwrap()
    }

    #[test]
    fn what_a_region_hashes_is_no_other_regions_and_no_other_keys() {
        let keys = PseudonymKeys::from_secret(&[1; 32], region());
        let hash = keys.region_hash("erasure", b"7");
        assert_eq!(hash, PseudonymKeys::from_secret(&[1; 32], region()).region_hash("erasure", b"7"));
        let abroad = PseudonymKeys::from_secret(&[1; 32], "frankfurt".parse().unwrap());
        assert_ne!(hash, abroad.region_hash("erasure", b"7"));
        assert_ne!(hash, PseudonymKeys::from_secret(&[2; 32], region()).region_hash("erasure", b"7"));
        assert_ne!(hash, keys.region_hash("mark", b"7"));
        assert_ne!(hash, keys.region_hash("erasure", b"8"));
    }

    #[test]
    fn tenants_regions_classes_and_purposes_never_share_a_token() {
        let keys = PseudonymKeys::from_secret(&[1; 32], region());
        let abroad = PseudonymKeys::from_secret(&[1; 32], "frankfurt".parse().unwrap());
        let token = keys.tenant(TenantId(1)).token("email", "a@b.de");
        assert_ne!(token, keys.tenant(TenantId(2)).token("email", "a@b.de"));
        assert_ne!(token, abroad.tenant(TenantId(1)).token("email", "a@b.de"));
        assert_ne!(token, keys.tenant(TenantId(1)).token("card", "a@b.de"));
        assert_ne!(token[..8], keys.tenant(TenantId(1)).subject("email", "a@b.de").to_be_bytes());
    }
}
