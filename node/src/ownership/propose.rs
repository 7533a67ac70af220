//! The way to the metadata group, as those who may propose hold it.

use std::sync::Arc;
use std::time::Duration;

use domicile_meta::group::Group;
use domicile_proto::metadata::{Applied, Command};
use futures::future::BoxFuture;

/// Nobody decided: no leader, no majority, or the time ran out. The command may still be decided later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the metadata group is out of reach; try again when a majority of the regions is connected")]
pub(crate) struct NotProposed;

type Call = dyn Fn(Command) -> BoxFuture<'static, Result<Applied, NotProposed>> + Send + Sync;

/// Proposes one command to the metadata group and waits for what becomes of it.
#[derive(Clone)]
pub(crate) struct Propose(Arc<Call>);

impl Propose {
    /// Over a way to the group.
    pub(crate) fn over<F>(call: F) -> Self
    where
        F: Fn(Command) -> BoxFuture<'static, Result<Applied, NotProposed>> + Send + Sync + 'static,
    {
        Self(Arc::new(call))
    }

    /// Over this node's part in the group.
    pub(crate) fn to(group: Group, within: Duration) -> Self {
        Self::over(move |command| {
            let group = group.clone();
            Box::pin(async move {
                group.propose(command, within).await.map_err(|error| {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a command was not decided");
                    NotProposed
                })
            })
        })
    }

    /// Proposes and waits.
    pub(crate) async fn decide(&self, command: Command) -> Result<Applied, NotProposed> {
        (self.0)(command).await
    }
}
