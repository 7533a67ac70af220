//! Decides who a request comes from, and whether its tenant has room for it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use domicile_proto::ids::TenantId;
use domicile_proto::message::region::Asker;
use domicile_proto::metadata::Roles;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};

use super::credential;
use super::errors::AdmitError;
use super::principal::Principal;
use crate::limits::{TENANT_BYTES_PER_SECOND, TENANT_RATES, TENANT_REQUESTS_PER_SECOND};
use crate::policy::PolicyWatch;
use crate::receive::{Arrival, Knock};

/// How much one tenant may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Requests a second; raising it lets one tenant crowd out the others.
    pub(crate) requests_per_second: NonZeroU32,
    /// Bytes of unpacked bodies a second; the largest request is as large as this.
    pub(crate) bytes_per_second: NonZeroU32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            requests_per_second: NonZeroU32::new(TENANT_REQUESTS_PER_SECOND).unwrap_or(NonZeroU32::MIN),
            bytes_per_second: NonZeroU32::new(TENANT_BYTES_PER_SECOND).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// An arrival whose sender is known and may send. Its one constructor is [`Admitter::admit`].
pub(crate) struct Admitted {
    arrival: Arrival,
    principal: Principal,
}

impl Admitted {
    /// What was sent, and by whom; the only tenant it can name is the key's own.
    pub(crate) fn open(self) -> (Principal, Arrival) {
        (self.principal, self.arrival)
    }
}

/// The doorkeeper of a region.
pub(crate) struct Admitter {
    policy: PolicyWatch,
    requests: DefaultKeyedRateLimiter<TenantId>,
    bytes: DefaultKeyedRateLimiter<TenantId>,
    clock: DefaultClock,
}

impl Admitter {
    /// Over the newest policy, with the same rates for every tenant.
    pub(crate) fn new(policy: PolicyWatch, rates: Rates) -> Self {
        Self {
            policy,
            requests: RateLimiter::keyed(Quota::per_second(rates.requests_per_second)),
            bytes: RateLimiter::keyed(Quota::per_second(rates.bytes_per_second)),
            clock: DefaultClock::default(),
        }
    }

    /// Whose key the request shows. Keys are looked up by their digest, so the time it takes says nothing about them.
    ///
    /// # Errors
    /// [`AdmitError::Missing`], `Malformed` and `Unknown`: 401.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AdmitError> {
        let digest = credential::shown(headers)?;
        let policy = self.policy.now();
        policy.keys.get(&digest).map(|key| Principal::of(key)).ok_or(AdmitError::Unknown)
    }

    /// The same, for somebody who needs a role.
    ///
    /// # Errors
    /// Those of [`Self::authenticate`], and [`AdmitError::Role`]: 403.
    pub(crate) fn authorise(
        &self,
        headers: &HeaderMap,
        role: &'static str,
        has: impl FnOnce(Roles) -> bool,
    ) -> Result<Principal, AdmitError> {
        let principal = self.authenticate(headers)?;
        if has(principal.roles()) { Ok(principal) } else { Err(AdmitError::Role { role }) }
    }

    /// For whom another node of the region asks, if the key may search by what this node knows of it; who sees no more rows than both
    /// nodes allow. The key itself was shown there.
    pub(crate) fn vouched(&self, asker: &Asker) -> Option<Principal> {
        self.shown_elsewhere(asker).filter(|who| who.roles().search || who.roles().admin)
    }

    /// For whom another node of the region brings records, if the key may send some by what this node knows of it.
    pub(crate) fn brought(&self, asker: &Asker) -> Option<Principal> {
        self.shown_elsewhere(asker).filter(|who| who.roles().ingest)
    }

    /// The holder of a key that was shown at another node of the region, by what this one knows of it; who sees no more rows than both
    /// nodes allow.
    fn shown_elsewhere(&self, asker: &Asker) -> Option<Principal> {
        let policy = self.policy.now();
        let key = policy.keys.values().find(|key| key.id == asker.key && key.tenant == asker.tenant)?;
        Some(Principal::of(key).seeing(asker.rows))
    }

    /// Who may not send is turned away before its body is read.
    pub(crate) fn knock(self: &Arc<Self>) -> Knock {
        let admitter = Arc::clone(self);
        Arc::new(move |headers| {
            let principal = admitter.authorise(headers, "ingest", |roles| roles.ingest)?;
            admitter.request(principal.tenant())?;
            Ok(())
        })
    }

    /// Counts one request of a tenant.
    ///
    /// # Errors
    /// [`AdmitError::RequestRate`] when there were too many: 429.
    pub(crate) fn request(&self, tenant: TenantId) -> Result<(), AdmitError> {
        self.requests.check_key(&tenant).map_err(|until| AdmitError::RequestRate { retry_after: self.seconds(&until) })
    }

    /// Admits an arrival; its bytes count against the tenant's rate, its request was counted when it knocked.
    ///
    /// # Errors
    /// Those of [`Self::authorise`], and the byte rate: 429.
    pub(crate) fn admit(&self, arrival: Arrival) -> Result<Admitted, AdmitError> {
        let principal = self.authorise(&arrival.headers, "ingest", |roles| roles.ingest)?;
        self.charge(principal.tenant(), arrival.body.len())?;
        Ok(Admitted { arrival, principal })
    }

    /// Counts bytes of a tenant.
    ///
    /// # Errors
    /// [`AdmitError::ByteRate`] when there were too many: 429; [`AdmitError::TooLarge`] when there always would be: 413.
    pub(crate) fn charge(&self, tenant: TenantId, bytes: usize) -> Result<(), AdmitError> {
        let Some(bytes) = u32::try_from(bytes).map_err(|_| AdmitError::TooLarge).map(NonZeroU32::new)? else {
            return Ok(());
        };
        match self.bytes.check_key_n(&tenant, bytes) {
            Err(_) => Err(AdmitError::TooLarge),
            Ok(Err(until)) => Err(AdmitError::ByteRate { retry_after: self.seconds(&until) }),
            Ok(Ok(())) => {
                if self.bytes.len() > TENANT_RATES {
                    self.bytes.retain_recent();
                    self.requests.retain_recent();
                }
                Ok(())
            }
        }
    }

    fn seconds(&self, until: &NotUntil<<DefaultClock as governor::clock::Clock>::Instant>) -> u32 {
        let wait = until.wait_time_from(self.clock.now()).max(Duration::from_secs(1));
        u32::try_from(wait.as_secs()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use domicile_proto::metadata::{AccessKey, Rows};

    use super::*;
    use crate::admit::key_digest;
    use crate::policy::Policy;

    fn admitter(rates: Rates) -> (Arc<Admitter>, String) {
        let key = format!("dmc_tokyo_{}", "0a".repeat(32));
        let mut policy = Policy::empty("tokyo".parse().unwrap());
        let roles = Roles { ingest: true, ..Roles::default() };
        let hash = key_digest(&key);
        let row = AccessKey { id: "k1".parse().unwrap(), tenant: TenantId(7), hash, roles, rows: Rows::None };
        policy.keys.insert(hash, Arc::new(row));
        (Arc::new(Admitter::new(PolicyWatch::new(policy), rates)), key)
    }

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(authorization).unwrap());
        headers
    }

    #[test]
    fn a_key_is_known_in_every_dress_and_nothing_else_is() {
        let (admitter, key) = admitter(Rates::default());
        let other = key.replace("0a", "0b");
        let pair = |text: &str| STANDARD.encode(text);
        for (shown, expected) in [
            (format!("ApiKey {key}"), Ok(7)),
            (format!("apikey  {key} "), Ok(7)),
            (format!("ApiKey {}", pair(&format!("k1:{key}"))), Ok(7)),
            (format!("ApiKey {}", pair(&format!("any:{key}"))), Ok(7)),
            (format!("Bearer {key}"), Ok(7)),
            (format!("Basic {}", pair(&format!("elastic:{key}"))), Ok(7)),
            (format!("Bearer {other}"), Err(AdmitError::Unknown)),
            (format!("Bearer {}", key.replace("tokyo", "frankfurt")), Err(AdmitError::Unknown)),
            (format!("Bearer {}", key.to_uppercase()), Err(AdmitError::Malformed)),
            (format!("Bearer {key}0"), Err(AdmitError::Malformed)),
            ("Bearer ".to_owned(), Err(AdmitError::Malformed)),
            ("Bearer".to_owned(), Err(AdmitError::Malformed)),
            ("Digest x".to_owned(), Err(AdmitError::Malformed)),
            ("Basic !!!".to_owned(), Err(AdmitError::Malformed)),
            (format!("Basic {}", pair("no colon")), Err(AdmitError::Malformed)),
            (format!("Basic {}", pair(&format!("{key}:"))), Err(AdmitError::Malformed)),
        ] {
            let found = admitter.authenticate(&headers(&shown)).map(|principal| principal.tenant().0);
            assert_eq!(found, expected);
        }
        assert_eq!(admitter.authenticate(&HeaderMap::new()).err(), Some(AdmitError::Missing));
        let role = admitter.authorise(&headers(&format!("Bearer {key}")), "search", |roles| roles.search);
        assert_eq!(role.err(), Some(AdmitError::Role { role: "search" }));
    }

    #[test]
    fn whom_a_neighbour_asks_for_is_looked_up_here_and_sees_no_more_than_both_nodes_allow() {
        let mut policy = Policy::empty("tokyo".parse().unwrap());
        let search = Roles { search: true, ..Roles::default() };
        let send = Roles { ingest: true, ..Roles::default() };
        for (id, roles, rows) in
            [("reads", search, Rows::Redacted), ("sees", search, Rows::Full), ("sends", send, Rows::Full)]
        {
            let hash = key_digest(id);
            let row = AccessKey { id: id.parse().unwrap(), tenant: TenantId(7), hash, roles, rows };
            policy.keys.insert(hash, Arc::new(row));
        }
        let admitter = Admitter::new(PolicyWatch::new(policy), Rates::default());
        let seen = |key: &str, tenant, rows| {
            let asker = Asker { key: key.parse().unwrap(), tenant: TenantId(tenant), rows };
            let found = admitter.vouched(&asker)?;
            assert_eq!((found.key(), found.tenant()), (&asker.key, asker.tenant));
            assert_eq!(found.asker().rows, found.rows());
            Some(found.rows())
        };
        assert_eq!(seen("reads", 7, Rows::Full), Some(Rows::Redacted), "this node knows the key as one that sees less");
        assert_eq!(seen("sees", 7, Rows::Redacted), Some(Rows::Redacted), "the other one does");
        assert_eq!(seen("sees", 7, Rows::None), Some(Rows::None));
        assert_eq!(seen("sees", 7, Rows::Full), Some(Rows::Full));
        assert_eq!(seen("sees", 8, Rows::Full), None, "of another tenant");
        assert_eq!(seen("sends", 7, Rows::Full), None, "may not search");
        assert_eq!(seen("nobody", 7, Rows::Full), None);

        let brought = |key: &str, tenant| {
            let asker = Asker { key: key.parse().unwrap(), tenant: TenantId(tenant), rows: Rows::Full };
            admitter.brought(&asker).map(|who| who.tenant())
        };
        assert_eq!(brought("sends", 7), Some(TenantId(7)));
        assert_eq!(brought("sends", 8), None, "of another tenant");
        assert_eq!(brought("sees", 7), None, "may not send");
        assert_eq!(brought("nobody", 7), None);
    }

    #[test]
    fn refusals_have_the_status_that_clients_expect() {
        for (error, status, retry) in [
            (AdmitError::Missing, 401, None),
            (AdmitError::Unknown, 401, None),
            (AdmitError::Role { role: "ingest" }, 403, None),
            (AdmitError::RequestRate { retry_after: 3 }, 429, Some(3)),
            (AdmitError::TooLarge, 413, None),
        ] {
            let failure = crate::receive::Failure::from(error);
            assert_eq!((failure.status, failure.retry_after), (status, retry));
        }
    }

    #[test]
    fn a_tenant_has_its_rate_and_no_other_tenant_pays_for_it() {
        let few = NonZeroU32::new(3).unwrap();
        let (admitter, key) = admitter(Rates { requests_per_second: few, bytes_per_second: few });
        let knock = admitter.knock();
        let shown = headers(&format!("Bearer {key}"));
        for _ in 0..3 {
            assert!(knock(&shown).is_ok());
        }
        assert_eq!(knock(&shown).map_err(|failure| (failure.status, failure.retry_after)), Err((429, Some(1))));
        assert!(admitter.request(TenantId(8)).is_ok());
        assert_eq!(admitter.charge(TenantId(7), 4), Err(AdmitError::TooLarge));
        assert_eq!(admitter.charge(TenantId(7), 3), Ok(()));
        assert_eq!(admitter.charge(TenantId(7), 3), Err(AdmitError::ByteRate { retry_after: 1 }));
        assert_eq!(admitter.charge(TenantId(7), 0), Ok(()));
    }
}
