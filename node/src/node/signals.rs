//! When a node is to stop: SIGINT, SIGTERM, or the end of standard input where a parent holds the other end.

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use super::NodeError;

/// Ends when the node is told to stop. Signals are heard from this call on.
pub(super) fn told_to_stop(has_parent: bool) -> Result<impl Future<Output = ()>, NodeError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = parent_is_gone(), if has_parent => {}
        }
    })
}

/// Ends when standard input ends: the parent closed it, or is no more.
async fn parent_is_gone() {
    let mut byte = [0];
    let mut stdin = tokio::io::stdin();
    while stdin.read(&mut byte).await.is_ok_and(|length| length > 0) {}
}
