//! When a node is to stop: at SIGINT, or at the end of standard input where a parent holds the other end, at once; at SIGTERM, as
//! supervisors send it, after it has said for a while that it is not ready and has served on, so that nobody comes to a closed door.

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::NodeError;

/// What the node is told from outside.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    has_parent: bool,
}

/// How a node is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At once.
    Now,
    /// After it has said that it is not ready.
    WithFarewell,
}

impl Signals {
    /// Signals are heard from this call on.
    pub(super) fn listen(has_parent: bool) -> Result<Self, NodeError> {
        let interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Signals)?;
        let terminate = signal(SignalKind::terminate()).map_err(NodeError::Signals)?;
        Ok(Self { interrupt, terminate, has_parent })
    }

    /// Ends when the node is told to stop.
    pub(super) async fn told_to_stop(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Now,
            () = parent_is_gone(), if self.has_parent => Stop::Now,
            _ = self.terminate.recv() => Stop::WithFarewell,
        }
    }
}

/// Ends when standard input ends: the parent closed it, or is no more.
async fn parent_is_gone() {
    let mut byte = [0];
    let mut stdin = tokio::io::stdin();
    while stdin.read(&mut byte).await.is_ok_and(|length| length > 0) {}
}
