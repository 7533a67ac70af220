//! What was judged and is not told yet -> the entry of the journal. Where the stream's policy wants noise, every number is
//! paid for and moved here, once; there is no other way from a draft to an entry (CBAP-1 rule R11).

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::{ShardId, TenantId};
use domicile_proto::noise::{Noise, day_of, sampler::Sampler};
use ring::rand::{SecureRandom, SystemRandom};

use super::AggregateError;
use super::book::{Entry, FieldSet};
use super::spent::{Series, Spent};

/// Judged cells as they were measured. Not serialisable, and kept nowhere.
pub(super) struct Draft {
    pub(super) entry: Entry,
    pub(super) noise: Option<Noise>,
}

impl Draft {
    /// What may be kept and told.
    ///
    /// # Errors
    /// [`AggregateError::NoiseSpent`] where a day cannot pay for a table, [`AggregateError::NoRandomness`] where the system
    /// gives no random numbers, and what [`Spent::pay`] says.
    pub(super) async fn told(self, spent: &Spent, tenant: TenantId, shard: ShardId) -> Result<Entry, AggregateError> {
        let Self { mut entry, noise } = self;
        let Some(noise) = noise else { return Ok(entry) };
        let scales = pay(&entry, spent, tenant, shard, &noise).await?;
        let scale = |start: i64, fields: &FieldSet| scales.get(&day_of(start)).and_then(|day| day.get(fields)).copied();
        let random = SystemRandom::new();
        let mut sampler = Sampler::new(move || {
            let mut bytes = [0; 8];
            random.fill(&mut bytes).map_err(|_| AggregateError::NoRandomness)?;
            Ok(u64::from_le_bytes(bytes))
        });
        for cut in &mut entry.cuts {
            let scale = scale(cut.start, &FieldSet::new()).ok_or(AggregateError::NoiseSpent)?;
            if let Some(told) = &mut cut.noisy {
                told.records = noise.disturb(told.records, scale, &mut sampler)?;
            }
        }
        for row in entry.tables.iter_mut().filter(|row| !row.cells.is_empty()) {
            let scale = scale(row.start, &row.field_set()).ok_or(AggregateError::NoiseSpent)?;
            for (_, records) in &mut row.cells {
                *records = noise.disturb(*records, scale, &mut sampler)?;
            }
        }
        Ok(entry)
    }
}

/// How wide the noise of each table is, by day.
type Scales = BTreeMap<i64, BTreeMap<FieldSet, u64>>;

async fn pay(
    entry: &Entry,
    spent: &Spent,
    tenant: TenantId,
    shard: ShardId,
    noise: &Noise,
) -> Result<Scales, AggregateError> {
    let mut wanted: BTreeMap<i64, BTreeSet<FieldSet>> = BTreeMap::new();
    let cuts = entry.cuts.iter().map(|cut| (cut.start, FieldSet::new()));
    let rows = entry.tables.iter().filter(|row| !row.cells.is_empty()).map(|row| (row.start, row.field_set()));
    for (start, fields) in cuts.chain(rows) {
        wanted.entry(day_of(start)).or_default().insert(fields);
    }
    let mut scales = Scales::new();
    for (day, fields) in wanted {
        let series: Vec<Series> = fields.into_iter().map(|fields| Series { shard, fields }).collect();
        let paid = spent.pay(tenant, day, &series, noise).await?;
        scales.insert(day, series.into_iter().map(|series| series.fields).zip(paid).collect());
    }
    Ok(scales)
}
