//! What of a tenant's privacy budget is spent, by UTC day: one object of the region's bucket for each charge, numbered and
//! created if absent, and never deleted. A charge is durable before anything it pays for is drawn; it is never given back,
//! whatever becomes of the answer.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use domicile_proto::ids::{ShardId, TenantId};
use domicile_proto::noise::{Cost, Noise};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as Turn;

use super::AggregateError;
use super::book::FieldSet;
use crate::limits::NOISE_ACCOUNTS;
use crate::store::{Store, StoreError};

/// The table of a set of fields, of one stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Series {
    pub(super) shard: ShardId,
    pub(super) fields: FieldSet,
}

/// What one table of a day costs, and how wide its noise is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Charge {
    version: u32,
    series: Series,
    cost: Cost,
    scale_squared: u64,
}

impl Charge {
    /// `None` where it is none of this version.
    fn read(content: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(content).ok().filter(|charge| charge.version == VERSION)
    }
}

/// All charges of one tenant and day, in the order of their numbers.
type Account = Vec<Charge>;
type Slot = Arc<Turn<Option<Account>>>;

/// The accounts that were looked at lately.
pub(super) struct Spent {
    store: Store,
    accounts: Mutex<HashMap<(TenantId, i64), Slot>>,
}

impl Spent {
    pub(super) fn new(store: Store) -> Self {
        Self { store, accounts: Mutex::default() }
    }

    /// Pays for tables of one day that are not paid for yet. How wide the noise of each is, squared, in their order: at least
    /// as wide as the policy says now.
    ///
    /// # Errors
    /// [`AggregateError::NoiseSpent`] where not all of them can be paid for; then none of them is. [`AggregateError::Journal`]
    /// and [`AggregateError::Damaged`] where the account cannot be read or written.
    pub(super) async fn pay(
        &self,
        tenant: TenantId,
        day: i64,
        series: &[Series],
        noise: &Noise,
    ) -> Result<Vec<u64>, AggregateError> {
        let slot = self.slot(tenant, day);
        let mut slot = slot.lock().await;
        // Taken out while it is changed: an account that is left half way is read again.
        let mut account = match slot.take() {
            Some(account) => account,
            None => self.read(tenant, day).await?,
        };
        loop {
            let open = unpaid(&account, series);
            let Some(next) = open.first() else { break };
            if !affords(&account, &open, noise) {
                *slot = Some(account);
                return Err(AggregateError::NoiseSpent);
            }
            let (version, scale_squared) = (VERSION, noise.scale_squared());
            let charge = Charge { version, series: (*next).clone(), cost: noise.cost(), scale_squared };
            if self.write(&name(tenant, day, account.len()), &charge).await? {
                account.push(charge);
            } else {
                account = self.read(tenant, day).await?;
            }
        }
        let scale = |wanted: &Series| {
            let paid = account.iter().find(|charge| charge.series == *wanted).map_or(0, |charge| charge.scale_squared);
            paid.max(noise.scale_squared())
        };
        let scales = series.iter().map(scale).collect();
        *slot = Some(account);
        Ok(scales)
    }

    fn slot(&self, tenant: TenantId, day: i64) -> Slot {
        let mut accounts = self.accounts.lock();
        if accounts.len() >= NOISE_ACCOUNTS && !accounts.contains_key(&(tenant, day)) {
            accounts.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(accounts.entry((tenant, day)).or_default())
    }

    async fn read(&self, tenant: TenantId, day: i64) -> Result<Account, AggregateError> {
        let listed = self.store.list(&prefix(tenant, day)).await.map_err(AggregateError::Journal)?;
        let mut account = Account::new();
        for (object, _) in listed {
            let damaged = || AggregateError::Damaged { object: object.clone() };
            if object != name(tenant, day, account.len()) {
                return Err(damaged());
            }
            let content = self.store.read(&object).await.map_err(AggregateError::Journal)?;
            account.push(Charge::read(&content).ok_or_else(damaged)?);
        }
        Ok(account)
    }

    /// Writes a charge; false where another node of the region was faster: what it has spent counts.
    async fn write(&self, name: &str, charge: &Charge) -> Result<bool, AggregateError> {
        let content = serde_json::to_vec(charge).map_err(|_| AggregateError::Damaged { object: name.to_owned() })?;
        match self.store.create(name, Bytes::from(content)).await {
            Ok(()) => Ok(true),
            Err(StoreError::AlreadyThere { .. }) => Ok(false),
            Err(error) => Err(AggregateError::Journal(error)),
        }
    }

    /// Accounts in memory.
    #[cfg(test)]
    pub(super) fn accounts(&self) -> usize {
        self.accounts.lock().len()
    }
}

fn unpaid<'a>(account: &Account, series: &'a [Series]) -> Vec<&'a Series> {
    series.iter().filter(|wanted| account.iter().all(|charge| charge.series != **wanted)).collect()
}

/// Whether all of these can be paid for: from what the tenant has for a day, and from what each stream has of it.
fn affords(account: &Account, open: &[&Series], noise: &Noise) -> bool {
    let mut all = account.iter().fold(Cost::default(), |sum, charge| sum.plus(charge.cost));
    open.iter().all(|series| {
        let of_stream = |shard: ShardId| {
            let paid = account.iter().filter(|charge| charge.series.shard == shard).map(|charge| charge.cost);
            let asked = open.iter().take_while(|other| *other != series).filter(|other| other.shard == shard);
            paid.chain(asked.map(|_| noise.cost())).fold(noise.cost(), Cost::plus)
        };
        all = all.plus(noise.cost());
        all <= Cost::of_tenant() && of_stream(series.shard) <= noise.allowance()
    })
}

fn prefix(tenant: TenantId, day: i64) -> String {
    format!("{PREFIX}/{}/{day}", tenant.0)
}

fn name(tenant: TenantId, day: i64, number: usize) -> String {
    format!("{}/{number:010}", prefix(tenant, day))
}

const PREFIX: &str = "noise";
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use domicile_proto::noise::{Mechanism, TABLES_PER_DAY};

    use super::*;
    use crate::fuzz::{Input, cases};

    const TENANT: TenantId = TenantId(3);
    const WHOLE: Noise = Noise { mechanism: Mechanism::Gaussian, epsilon: 1_000, records: 1 };

    fn series(shard: u64, field: &str) -> Series {
        Series { shard: ShardId(shard), fields: vec![field.parse().unwrap()] }
    }

    fn is_spent(paid: &Result<Vec<u64>, AggregateError>) -> bool {
        matches!(paid, Err(AggregateError::NoiseSpent))
    }

    #[test]
    fn no_charge_panics() {
        let (version, series) = (VERSION, series(1, "level"));
        let charge = Charge { version, series, cost: WHOLE.cost(), scale_squared: WHOLE.scale_squared() };
        let good = vec![serde_json::to_vec(&charge).unwrap()];
        assert_eq!(Charge::read(&good[0]), Some(charge));
        bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            if let Some(charge) = Charge::read(&input.bytes(&good)) {
                assert_eq!(Charge::read(&serde_json::to_vec(&charge).unwrap()), Some(charge));
            }
        });
    }

    #[tokio::test]
    async fn a_day_pays_for_so_many_tables_and_a_table_is_paid_for_once() {
        let store = Store::in_memory();
        let spent = Spent::new(store.clone());
        for table in 0..TABLES_PER_DAY {
            let paid = spent.pay(TENANT, 7, &[series(1, &format!("f{table}"))], &WHOLE).await.unwrap();
            assert_eq!(paid, [WHOLE.scale_squared()]);
        }
        let more = series(1, "more");
        assert!(is_spent(&spent.pay(TENANT, 7, std::slice::from_ref(&more), &WHOLE).await));
        assert!(is_spent(&spent.pay(TENANT, 7, &[series(2, "more")], &WHOLE).await), "streams share a tenant's day");
        assert!(spent.pay(TENANT, 7, &[series(1, "f0"), series(1, "f3")], &WHOLE).await.is_ok(), "paid for already");
        assert!(spent.pay(TENANT, 8, std::slice::from_ref(&more), &WHOLE).await.is_ok(), "another day");
        assert!(spent.pay(TenantId(4), 7, std::slice::from_ref(&more), &WHOLE).await.is_ok(), "another tenant");
        // What is spent stays spent, whatever node asks and after any stop.
        let other = Spent::new(store);
        assert!(is_spent(&other.pay(TENANT, 7, &[more], &WHOLE).await));
        assert!(other.pay(TENANT, 7, &[series(1, "f1")], &WHOLE).await.is_ok());
    }

    #[tokio::test]
    async fn what_cannot_be_paid_as_a_whole_is_not_paid_in_part() {
        let spent = Spent::new(Store::in_memory());
        let asked: Vec<Series> = (0..=TABLES_PER_DAY).map(|table| series(1, &format!("f{table}"))).collect();
        assert!(is_spent(&spent.pay(TENANT, 7, &asked, &WHOLE).await));
        let (_, fewer) = asked.split_first().unwrap();
        assert_eq!(spent.pay(TENANT, 7, fewer, &WHOLE).await.unwrap().len(), fewer.len());
    }

    #[tokio::test]
    async fn streams_of_less_noise_allowance_share_the_day_and_none_takes_more_than_its_own() {
        let spent = Spent::new(Store::in_memory());
        let half = Noise { epsilon: 500, ..WHOLE };
        let mut paid = 0;
        for shard in 1..=10 {
            for table in 0..TABLES_PER_DAY {
                paid += usize::from(spent.pay(TENANT, 7, &[series(shard, &format!("f{table}"))], &half).await.is_ok());
            }
            assert!(is_spent(&spent.pay(TENANT, 7, &[series(shard, "more")], &half).await), "stream {shard}");
        }
        // Losses add up by their squares: of half the loss there is room for nearly four.
        assert_eq!(paid, 15);
    }

    #[tokio::test]
    async fn two_nodes_that_spend_at_once_spend_no_more_than_there_is() {
        let store = Store::in_memory();
        let (one, two) = (Spent::new(store.clone()), Spent::new(store));
        let mut paid = 0;
        for table in 0..TABLES_PER_DAY {
            for (spent, shard) in [(&one, 1), (&two, 2)] {
                let asked = series(shard, &format!("f{table}"));
                paid += u64::from(spent.pay(TENANT, 7, &[asked], &WHOLE).await.is_ok());
            }
        }
        assert_eq!(paid, TABLES_PER_DAY);
    }

    #[tokio::test]
    async fn a_policy_that_became_narrower_widens_the_noise_of_what_is_paid_already() {
        let spent = Spent::new(Store::in_memory());
        let asked = [series(1, "f")];
        let (narrow, before) = (Noise { epsilon: 100, ..WHOLE }, spent.pay(TENANT, 7, &asked, &WHOLE).await.unwrap());
        let after = spent.pay(TENANT, 7, &asked, &narrow).await.unwrap();
        assert!(after == [narrow.scale_squared()] && after > before);
        let back = spent.pay(TENANT, 7, &asked, &WHOLE).await.unwrap();
        assert_eq!(back, before);
        // And one that became wider does not narrow it: what was paid for was paid at that width.
        let (wide, other) = (WHOLE, [series(1, "g")]);
        let first = spent.pay(TENANT, 8, &other, &narrow).await.unwrap();
        assert_eq!(spent.pay(TENANT, 8, &other, &wide).await.unwrap(), first);
        assert!(is_spent(&spent.pay(TENANT, 7, &other, &narrow).await), "the day of before has cost more than that");
    }

    #[tokio::test]
    async fn an_account_that_is_damaged_or_cannot_be_read_pays_nothing() {
        let store = Store::in_memory();
        store.create(&name(TENANT, 7, 0), Bytes::from_static(b"{}")).await.unwrap();
        let paid = Spent::new(store.clone()).pay(TENANT, 7, &[series(1, "f")], &WHOLE).await;
        assert!(matches!(paid, Err(AggregateError::Damaged { .. })));
        store.create(&name(TENANT, 8, 1), Bytes::from_static(b"{}")).await.unwrap();
        let paid = Spent::new(store).pay(TENANT, 8, &[series(1, "f")], &WHOLE).await;
        assert!(matches!(paid, Err(AggregateError::Damaged { .. })), "a charge is missing");
    }

    #[tokio::test]
    async fn no_more_accounts_are_kept_in_memory_than_there_may_be() {
        let spent = Spent::new(Store::in_memory());
        for day in 0..=NOISE_ACCOUNTS as i64 {
            spent.pay(TENANT, day, &[], &WHOLE).await.unwrap();
            assert!(spent.accounts() <= NOISE_ACCOUNTS);
        }
    }
}
