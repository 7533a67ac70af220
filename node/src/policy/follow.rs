//! Follows the metadata group: every change of its state becomes a new snapshot, every word of its leader renews the lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_meta::group::Group;
use domicile_proto::metadata::NodeRow;
use ring::digest::{Context, SHA256};
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

/// Dictionaries in which other values are approved than before. What was approved before this start is not told again.
fn approvals(before: &Policy, after: &Policy) -> Vec<Event> {
    let none = BTreeMap::new();
    let changed = after.dictionaries.iter().filter_map(|((tenant, field), dictionary)| {
        let was = before.dictionaries.get(&(*tenant, field.clone())).map_or(&none, |dictionary| &dictionary.approved);
        let added = dictionary.approved.keys().filter(|id| !was.contains_key(id)).count();
        let removed = was.keys().filter(|id| !dictionary.approved.contains_key(id)).count();
        let mut context = Context::new(&SHA256);
        for value in dictionary.approved.values() {
            context.update(value.as_bytes());
            context.update(b"\n");
        }
        let mut approved = [0; 32];
        approved.copy_from_slice(context.finish().as_ref());
        let (tenant, field, policy) = (*tenant, field.clone(), after.version);
        let (added, removed) = (added as u64, removed as u64);
        (added + removed > 0).then_some(Event::ValuesApproved { tenant, field, added, removed, approved, policy })
    });
    if before.version.0 == 0 { Vec::new() } else { changed.collect() }
}

/// Routes out of this region that were opened or closed, or stand on another basis than before. The first policy of a start tells of all
/// of them: one may have changed while the node was away, or in the moment before it went.
fn routes(before: &Policy, after: &Policy) -> Vec<Event> {
    if after.version.0 == 0 {
        return Vec::new();
    }
    let changed = after.routes.out.iter().filter_map(|(to, route)| {
        let known = before.routes.out.get(to).filter(|_| before.version.0 > 0);
        let is_same =
            known.is_some_and(|known| (known.shut.is_none(), known.basis) == (route.shut.is_none(), route.basis));
        let (to, open, basis, policy) = (to.clone(), route.shut.is_none(), route.basis, after.version);
        (!is_same).then_some(Event::RouteChanged { to, open, basis, policy, ordered: true })
    });
    changed.collect()
}

/// What changes lies in the ledger before it holds. What was so before this start is not told again, but for the version and the routes.
async fn record_changes(before: &Policy, after: &Policy, ledger: &Ledger) {
    let mut events = Vec::new();
    if after.version != before.version {
        let approved_values = after.dictionaries.values().map(|dictionary| dictionary.approved.len() as u64).sum();
        let streams = after.streams.len() as u64;
        events.push(Event::PolicyChanged { version: after.version, streams, approved_values, ordered: true });
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
    events.extend(routes(before, after));
    events.extend(approvals(before, after));
    let events = events.into_iter().map(|event| (None, event));
    let lowered = after.lowered_since(before).into_iter().map(|(stream, from, to)| {
        let tenant = after.streams.values().find(|view| view.id == stream).map(|view| view.tenant);
        (tenant, Event::ThresholdLowered { stream, from, to, policy: after.version })
    });
    for (tenant, event) in events.chain(lowered) {
        let recorded = match tenant {
            Some(tenant) => ledger.record_of(tenant, event).await,
            None => ledger.record(event).await,
        };
        if let Err(error) = recorded {
            tracing::error!(error = &error as &dyn std::error::Error, "a change of policy is not recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{DictionaryId, NodeId, PolicyVersion, TenantId, Timestamp};

    use super::super::routes::{Routes, Shut};
    use super::super::snapshot::Dictionary;
    use super::*;
    use crate::clock::Clock;

    fn policy(version: u64) -> Policy {
        Policy { version: PolicyVersion(version), ..Policy::empty("tokyo".parse().expect("a name")) }
    }

    fn with_values(mut policy: Policy, values: &[(u32, &str)]) -> Policy {
        let values: BTreeMap<_, _> = values.iter().map(|(id, text)| (DictionaryId(*id), (*text).to_owned())).collect();
        let dictionary = Dictionary { texts: values.clone(), approved: values };
        policy.dictionaries.insert((TenantId(1), "service".parse().expect("a name")), Arc::new(dictionary));
        policy
    }

    #[test]
    fn a_start_tells_of_every_route_once_and_later_of_those_that_change() {
        let open = || Routes::open_to(["frankfurt", "singapore"]);
        let with = |version, routes| Policy { routes, ..policy(version) };
        let told = |before: &Policy, after: &Policy| -> Vec<(String, bool)> {
            let told = routes(before, after).into_iter();
            let route = |event| match event {
                Event::RouteChanged { to, open, .. } => Some((to.to_string(), open)),
                _ => None,
            };
            told.filter_map(route).collect()
        };
        let all = [("frankfurt".to_owned(), true), ("singapore".to_owned(), true)];
        // What the file opens is known before the group is heard.
        let nothing_heard = with(0, open());
        assert_eq!(told(&policy(0), &nothing_heard), []);
        assert_eq!(told(&nothing_heard, &with(7, open())), all, "the ledger may say otherwise of any of them");
        let mut closed = open();
        closed.out.get_mut(&"frankfurt".parse().expect("a name")).expect("there").shut = Some(Shut::Revoked);
        assert_eq!(told(&with(7, open()), &with(8, closed.clone())), [("frankfurt".to_owned(), false)]);
        assert_eq!(told(&with(8, closed.clone()), &with(9, closed)), []);
    }

    #[tokio::test]
    async fn what_changes_in_the_policy_lies_in_the_ledger() {
        let dir = tempfile::tempdir().expect("a directory");
        let (region, clock) = ("tokyo".parse().expect("a name"), Clock::standing_at(Timestamp(1)));
        let ledger = Ledger::open(dir.path(), &region, clock).expect("a new ledger");
        let frankfurt = NodeRow {
            node: NodeId(3),
            region: "frankfurt".parse().expect("a name"),
            addr: "127.0.0.1:1".parse().expect("an address"),
            signature: None,
        };
        let first = with_values(policy(4), &[(1, "cart")]);
        let mut second = with_values(policy(5), &[(2, "login"), (3, "search")]);
        second.nodes.insert(NodeId(3), frankfurt);
        record_changes(&policy(0), &first, &ledger).await;
        record_changes(&first, &second, &ledger).await;
        record_changes(&second, &policy(6), &ledger).await;
        let told: Vec<_> = ledger.entries_after(0).expect("there").map(|entry| entry.expect("whole").1).collect();
        let peer = Peer { region: "frankfurt".parse().expect("a name"), node: NodeId(3) };
        let changed = |version, approved_values| Event::PolicyChanged {
            version: PolicyVersion(version),
            streams: 0,
            approved_values,
            ordered: true,
        };
        let mut approved = [0; 32];
        approved.copy_from_slice(ring::digest::digest(&SHA256, b"login\nsearch\n").as_ref());
        let values = Event::ValuesApproved {
            tenant: TenantId(1),
            field: "service".parse().expect("a name"),
            added: 2,
            removed: 1,
            approved,
            policy: PolicyVersion(5),
        };
        let events: Vec<Event> = told.iter().map(|entry| entry.event.clone()).collect();
        let expected = [
            changed(4, 1),
            changed(5, 2),
            Event::MembershipChanged { peer: peer.clone(), entered: true },
            values,
            changed(6, 0),
            Event::MembershipChanged { peer, entered: false },
        ];
        assert_eq!(events, expected);
        assert_eq!(told[3].tenant, Some(TenantId(1)), "what is about a tenant stands in its chain");
    }
}
