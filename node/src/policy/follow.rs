//! Follows the metadata group: every change of its state becomes a new snapshot, every word of its leader renews the lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_meta::group::Group;
use tokio_util::sync::CancellationToken;

use super::consent::Consents;
use super::snapshot::{Policy, PolicyWatch};
use crate::audit::{Event, Ledger};
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
            record_lowered(&watch.now(), &policy, ledger).await;
            watch.replace(policy);
            consents
        }
        Err(error) => {
            tracing::error!(%error, "the policy could not be built; the last one holds");
            spare
        }
    }
}

/// A lowered threshold lies in the ledger before it holds.
async fn record_lowered(before: &Policy, after: &Policy, ledger: &Ledger) {
    for (stream, from, to) in after.lowered_since(before) {
        let event = Event::ThresholdLowered { stream, from, to, policy: after.version };
        if let Err(error) = ledger.record(event).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a lowered threshold is not recorded");
        }
    }
}
