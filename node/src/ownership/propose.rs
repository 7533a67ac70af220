//! The way to the metadata group, as those who may propose hold it.

use std::sync::Arc;
use std::time::Duration;

use domicile_meta::group::Group;
use domicile_proto::ids::PolicyVersion;
use domicile_proto::metadata::{Applied, Command};
use futures::future::BoxFuture;

use crate::policy::{Policy, PolicyWatch};

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

    /// Over this node's part in the group. Whoever has an answer finds it true here: a key is valid, a tenant is there. Where
    /// this node lags behind for as long as it may take to decide, the decision stands all the same.
    pub(crate) fn to(group: Group, policy: PolicyWatch, within: Duration) -> Self {
        Self::over(move |command| {
            let (group, policy) = (group.clone(), policy.clone());
            Box::pin(async move {
                let applied = group.propose(command.clone(), within).await.map_err(|error| {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a command was not decided");
                    NotProposed
                })?;
                let decided = group.watch().borrow().policy_version();
                let holds = policy.shows(|policy| holds(&command, decided, policy).then_some(()));
                let is_refused = matches!(applied, Applied::Refused(_));
                if !is_refused && tokio::time::timeout(within, holds).await.is_err() {
                    tracing::warn!(version = decided.0, "this node's policy lags behind a decision");
                }
                Ok(applied)
            })
        })
    }

    /// Proposes and waits.
    pub(crate) async fn decide(&self, command: Command) -> Result<Applied, NotProposed> {
        (self.0)(command).await
    }
}

/// Whether a snapshot has what was decided; names do not count in the version of the policy.
fn holds(command: &Command, decided: PolicyVersion, policy: &Policy) -> bool {
    match command {
        Command::CreateTenant { tenant } => policy.tenants.contains_key(tenant),
        Command::CreateStream { tenant, stream } => policy.stream(*tenant, stream).is_some(),
        _ => policy.version >= decided,
    }
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::TenantId;

    use super::*;

    #[test]
    fn a_decision_holds_once_the_snapshot_has_it() {
        let mut policy = Policy::empty("tokyo".parse().expect("a name"));
        let acme: domicile_proto::ids::Name = "acme".parse().expect("a name");
        let tenant = Command::CreateTenant { tenant: acme.clone() };
        let stream = Command::CreateStream { tenant: TenantId(2), stream: acme.clone() };
        let revoke = Command::RevokeKey { region: policy.region.clone(), id: acme.clone() };
        let decided = PolicyVersion(3);
        for command in [&tenant, &stream, &revoke] {
            assert!(!holds(command, decided, &policy), "{command:?}");
        }
        policy.tenants.insert(acme, TenantId(2));
        assert!(holds(&tenant, decided, &policy));
        policy.version = decided;
        assert!(holds(&revoke, decided, &policy) && !holds(&stream, decided, &policy));
    }
}
