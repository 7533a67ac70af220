//! The only place that spawns: every kind of task, and what happens when it is cancelled or fails.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A kind of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Accepts connections of one listener; ends at once on cancel.
    Listener,
    /// Serves one connection; finishes its request on cancel.
    Connection,
    /// Walks arrivals down the line; drains its queue when the doors are closed.
    Line,
    /// Serves one peer of the link; ends with the connection.
    Peer,
    /// Refreshes, merges and seals; finishes its step on cancel.
    Indexer,
    /// Follows the metadata group; ends at once on cancel.
    Follower,
    /// Housekeeping on a timer; ends at once on cancel.
    Timer,
}

/// All tasks of a node, under one token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// The token every task watches.
    pub(crate) const fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Starts a task of a kind. A panic in it is logged by the runtime and ends the task alone.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub(crate) fn spawn<F>(&self, kind: Kind, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tracing::trace!(?kind, "task started");
        tokio::spawn(self.tracker.track_future(task));
    }

    /// Runs blocking work (tantivy, hashing, fsync) off the runtime's threads.
    pub(crate) fn blocking<F, T>(&self, work: F) -> tokio::task::JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.tracker.spawn_blocking(work)
    }

    /// Asks all tasks to end and waits for them, at most until the deadline. `true` when all have ended.
    pub(crate) async fn stop(&self, deadline: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}
