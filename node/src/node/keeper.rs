//! Keeps the vault: asks the key store now and then, makes good what a crash left, and tells the ledger what became of keys.

use std::sync::Arc;

use crate::audit::{Event, Ledger};
use crate::keys::Vault;
use crate::limits::KEY_STORE_CHECK;
use crate::tasks::Tasks;

/// Until the node stops.
pub(super) async fn keep(vault: Arc<Vault>, ledger: Arc<Ledger>, tasks: Tasks) {
    let token = tasks.token().clone();
    let mut was_well = true;
    loop {
        let tended = Arc::clone(&vault);
        let outcome = tasks.blocking(move || tended.tend()).await;
        match outcome {
            Ok(Ok(())) if !was_well => {
                tracing::info!("the key store answers again");
                was_well = true;
            }
            Ok(Err(error)) if was_well => {
                tracing::error!(error = &error as &dyn std::error::Error, "keys are used from memory");
                was_well = false;
            }
            _ => {}
        }
        tell(&vault, &ledger, &tasks).await;
        if token.run_until_cancelled(tokio::time::sleep(KEY_STORE_CHECK)).await.is_none() {
            return;
        }
    }
}

/// Notices go into the ledger in their order, and out of the keyring once they are durable there.
async fn tell(vault: &Arc<Vault>, ledger: &Ledger, tasks: &Tasks) {
    let read = Arc::clone(vault);
    let Ok(Ok(notices)) = tasks.blocking(move || read.notices()).await else { return };
    let mut last = None;
    for (number, notice) in notices {
        if ledger.record(Event::Key(notice)).await.is_err() {
            break;
        }
        last = Some(number);
    }
    let Some(last) = last else { return };
    let noted = Arc::clone(vault);
    if let Ok(Err(error)) = tasks.blocking(move || noted.noted(last)).await {
        tracing::error!(error = &error as &dyn std::error::Error, "the ledger will hold notices of keys twice");
    }
}
