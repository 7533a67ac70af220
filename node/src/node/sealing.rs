//! Between classify and wal: what the detectors took out of records is sealed before a byte of them is written (PRI-1).
//!
//! Where it cannot be sealed, the records it came from are refused and the others go on. Decides nothing about keys.

use domicile_proto::ids::Timestamp;

use super::ingest::Group;
use crate::keys::{Day, KeysError, Original, Vault};
use crate::policy::Suppression;
use crate::receive::Failure;

/// Seals the originals of a group. Records whose originals are not sealed are taken out of it, with their places; all of them
/// where the group is `whole`, so that a producer's batch is never taken in part.
pub(super) fn seal(
    (vault, suppression): (&Vault, &Suppression),
    group: &mut Group,
    received_at: Timestamp,
    whole: bool,
) -> Vec<(usize, Failure)> {
    let (tenant, stream, day) = (group.stream.tenant, group.stream.id, Day::of(received_at));
    let erased = suppression.now().of_stream(group.stream.tenant, group.stream.id);
    let mut all: Vec<Original> = Vec::new();
    let mut ends = Vec::with_capacity(group.records.len());
    for (_, record) in &mut group.records {
        let mut originals = record.take_originals();
        // Most were seen before: dropped here, a large batch holds only what is new.
        originals.retain(|original| !vault.knows(tenant, stream, day, original));
        // A record of an erased subject becomes part of no segment; its originals get no key again.
        if !originals.is_empty() && !erased.hides(record.subject(), record.id(), record.json()) {
            all.append(&mut originals);
        }
        ends.push(all.len());
    }
    if all.is_empty() {
        return Vec::new();
    }
    let Err(error) = vault.seal(tenant, stream, day, &all) else { return Vec::new() };
    tracing::warn!(%tenant, error = &error as &dyn std::error::Error, "records with personal data are refused");
    let failure = of_keys(&error);
    let mut from = 0;
    let is_safe: Vec<bool> = ends
        .into_iter()
        .map(|to| {
            let own = all.get(from..to).unwrap_or_default();
            from = to;
            !whole && vault.has_sealed(tenant, stream, day, own)
        })
        .collect();
    let mut refused = Vec::new();
    let places = std::mem::take(&mut group.places);
    let ids = std::mem::take(&mut group.ids);
    let records = std::mem::take(&mut group.records);
    for (((place, id), record), is_safe) in places.into_iter().zip(ids).zip(records).zip(is_safe) {
        if is_safe {
            group.places.push(place);
            group.ids.push(id);
            group.records.push(record);
        } else {
            refused.push((place, failure.clone()));
        }
    }
    refused
}

/// 503 with a time to come back while the key store is away; 500 where a person must look.
fn of_keys(error: &KeysError) -> Failure {
    Failure::of(error)
}
