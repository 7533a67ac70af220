//! Follows the metadata group: every change of its state becomes a new snapshot, every word of its leader renews the lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_meta::group::Group;
use domicile_proto::metadata::NodeRow;
use tokio_util::sync::CancellationToken;

use super::consent::Consents;
use super::snapshot::{Policy, PolicyWatch};
use crate::audit::{Event, Ledger, Peer};
use crate::errors::Coded;

/// How often the lease is renewed; a fraction of the lease.
const HEARD_INTERVAL: Duration = Duration::from_secs(1);

/// Replaces the snapshot with every change until the token is cancelled. What was known before a restart is known at once.
pub(crate) async fn follow(
    group: Group,
    watch: PolicyWatch,
    mut consents: Consents,
    ledger: Arc<Ledger>,
    token: CancellationToken,
) {
    let mut changes = group.watch();
    loop {
        let state = Arc::clone(&changes.borrow_and_update());
        consents = rebuild(&watch, &ledger, consents, move |consents| Policy::build(state.rows(), consents)).await;
        loop {
            if let Some(since) = group.local().1.since_contact
                && let Some(heard) = Instant::now().checked_sub(since)
            {
                watch.lease().heard(heard);
            }
            tokio::select! {
                () = token.cancelled() => return,
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = tokio::time::sleep(HEARD_INTERVAL) => {}
            }
        }
    }
}

/// Verifying hundreds of new signatures takes milliseconds: off the runtime's threads.
async fn rebuild<F>(watch: &PolicyWatch, ledger: &Ledger, mut consents: Consents, build: F) -> Consents
where
    F: Fn(&mut Consents) -> Policy + Send + 'static,
{
    let spare = consents.fresh();
    let built = tokio::task::spawn_blocking(move || {
        let mut policy = build(&mut consents);
        if let Err(error) = consents.conclude(policy.version) {
            tracing::error!(code = error.code(), %error, "nothing that widens is honoured any more; the rest is");
            policy = build(&mut consents);
        }
        (policy, consents)
    });
    match built.await {
        Ok((policy, consents)) => {
            tracing::info!(version = policy.version.0, streams = policy.streams.len(), "a new policy holds");
            record_changes(&watch.now(), &policy, ledger).await;
            watch.replace(policy);
            consents
        }
        Err(error) => {
            tracing::error!(%error, "the policy could not be built; the last one holds");
            spare
        }
    }
}

/// What changes lies in the ledger before it holds. What was so before this start is not told again, but for the version.
async fn record_changes(before: &Policy, after: &Policy, ledger: &Ledger) {
    let mut events = Vec::new();
    if after.version != before.version {
        let approved_values = after.dictionaries.values().map(|dictionary| dictionary.approved.len() as u64).sum();
        let streams = after.streams.len() as u64;
        events.push(Event::PolicyChanged { version: after.version, streams, approved_values });
    }
    if before.version.0 > 0 {
        let change = |row: &NodeRow, entered| {
            let peer = Peer { region: row.region.clone(), node: row.node };
            Event::MembershipChanged { peer, entered }
        };
        let entered = after.nodes.iter().filter(|(id, _)| !before.nodes.contains_key(id));
        events.extend(entered.map(|(_, row)| change(row, true)));
        let left = before.nodes.iter().filter(|(id, _)| !after.nodes.contains_key(id));
        events.extend(left.map(|(_, row)| change(row, false)));
    }
    for (stream, from, to) in after.lowered_since(before) {
        events.push(Event::ThresholdLowered { stream, from, to, policy: after.version });
    }
    for event in events {
        if let Err(error) = ledger.record(event).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a change of policy is not recorded");
        }
    }
}
