//! Coming and going: the first node, nodes that join and leave, a leader that hands over.
//!
//! One voter per region; every other node is a learner that follows the log. A node comes in when its region's officer has
//! approved it: it has a row. So it is from the group's first moment on, in which nobody has one: a voter that asked then could
//! not be dialled, and nothing would be decided without it. The leader changes one thing after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domicile_proto::ids::NodeId;
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::metadata::{MetadataFrame, Unavailable};
use domicile_proto::metadata::Command;
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, InitializeError, RaftError};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Group, Inner};
use crate::error::MetaError;
use crate::limits::{MAX_NODES, SNAPSHOT_TIMEOUT};
use crate::raft::Member;

type Changed = Result<(), RaftError<u64, ClientWriteError<u64, Member>>>;

impl Group {
    /// Makes the group, once, with these voters; this node alone is enough, the others join.
    ///
    /// # Errors
    /// [`MetaError::Initialised`] where there is a group already; [`MetaError::Refused`] where this node is not among them.
    pub async fn initialize(&self, members: &[(NodeId, SocketAddr)]) -> Result<(), MetaError> {
        let members: BTreeMap<u64, Member> =
            members.iter().map(|(node, addr)| (node.0, Member { addr: *addr })).collect();
        self.0.raft.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_)) => MetaError::Initialised,
            RaftError::APIError(InitializeError::NotInMembers(_)) => MetaError::Refused { node: self.node() },
            RaftError::Fatal(error) => MetaError::Consensus { found: error.to_string() },
        })
    }

    /// Joins the group through any of `seeds`, as a voter or as a learner, under the address of the configuration. Returns
    /// at once where that is so already.
    ///
    /// # Errors
    /// [`MetaError::Refused`] where no officer approved this node or its region has a voter; [`MetaError::NoQuorum`] where
    /// no leader took it in time.
    pub async fn join(&self, seeds: &[(NodeId, SocketAddr)], voter: bool, within: Duration) -> Result<(), MetaError> {
        if self.0.is_member(voter) {
            return Ok(());
        }
        let (node, addr) = (self.node(), self.0.config.addr);
        self.0.ask_leader(seeds, &MetadataFrame::Join { node, addr, voter }, within).await
    }

    /// Leaves the group. A leader hands over first.
    ///
    /// # Errors
    /// [`MetaError::Refused`] for the last voter; [`MetaError::NoQuorum`] where no leader let it go in time.
    pub async fn leave(&self, within: Duration) -> Result<(), MetaError> {
        let deadline = Instant::now() + within;
        if self.0.leads() {
            self.step_down(within).await?;
        }
        let members = self.0.others();
        if members.is_empty() {
            return Err(MetaError::Refused { node: self.node() });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.0.ask_leader(&members, &MetadataFrame::Leave { node: self.node() }, left).await
    }

    /// Hands the leadership over: falls silent, so that another voter stands for election, and takes no proposals until
    /// one leads. Returns at once on a node that does not lead.
    ///
    /// # Errors
    /// [`MetaError::Refused`] where there is no other voter; [`MetaError::NoQuorum`] where no other leads in time: this
    /// node goes on.
    pub async fn step_down(&self, within: Duration) -> Result<(), MetaError> {
        if !self.0.leads() {
            return Ok(());
        }
        if self.metrics().voters.iter().all(|voter| *voter == self.node()) {
            return Err(MetaError::Refused { node: self.node() });
        }
        let _silence = Silence::of(&self.0);
        let own = self.node().0;
        let another = |leader: Option<u64>| leader.is_some_and(|leader| leader != own);
        let wait = self.0.raft.wait(Some(within));
        let outcome = wait.metrics(|metrics| another(metrics.current_leader), "another leader").await;
        outcome.map(drop).map_err(|_| MetaError::NoQuorum { waited: within })
    }
}

/// While it lives, the leader sends no heartbeats, takes no proposals and does not stand for election.
struct Silence<'a>(&'a Inner);

impl<'a> Silence<'a> {
    fn of(inner: &'a Inner) -> Self {
        inner.is_handing_over.store(true, Ordering::Release);
        inner.raft.runtime_config().heartbeat(false);
        inner.raft.runtime_config().elect(false);
        Self(inner)
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        self.0.raft.runtime_config().heartbeat(true);
        self.0.raft.runtime_config().elect(true);
        self.0.is_handing_over.store(false, Ordering::Release);
    }
}

impl Inner {
    pub(super) async fn take_join(&self, from: &PeerId, addr: SocketAddr, voter: bool) -> MetadataFrame {
        if !self.leads() {
            return MetadataFrame::Unavailable(Unavailable::NotLeader(self.leader()));
        }
        let _one_at_a_time = self.changing.lock().await;
        if !self.may_join(from, voter) {
            return MetadataFrame::Unavailable(Unavailable::Refused);
        }
        settled(self.changed(self.admit(from.node, addr, voter)).await)
    }

    pub(super) async fn take_leave(&self, node: NodeId) -> MetadataFrame {
        if !self.leads() || node == self.config.node {
            return MetadataFrame::Unavailable(Unavailable::NotLeader(self.leader().filter(|leader| *leader != node)));
        }
        let _one_at_a_time = self.changing.lock().await;
        // Its vote goes while it can still be dialled: of two voters both must agree to be one. Only then it goes out of the
        // nodes that others know, and out of the group, of which it need not see anything any more.
        let unvoted = self.changed(self.unvote(node)).await;
        if !matches!(unvoted, Some(Ok(()))) {
            return settled(unvoted);
        }
        if let Err(unavailable) = self.write(vec![Command::RemoveNode { node }]).await {
            return MetadataFrame::Unavailable(unavailable);
        }
        settled(self.changed(self.dismiss(node)).await)
    }

    /// What became of a change of the members; none where nobody can say: it took too long, or another leader came meanwhile, whose
    /// snapshot took the place of the log in which the change stood, so that it is answered neither way.
    pub(super) async fn changed(&self, change: impl Future<Output = Changed>) -> Option<Changed> {
        let mut changes = self.raft.metrics();
        let term = changes.borrow_and_update().current_term;
        tokio::select! {
            biased;
            changed = timeout(SNAPSHOT_TIMEOUT, change) => changed.ok(),
            () = self.is_overtaken(changes, term) => None,
        }
    }

    /// Makes a voter a learner.
    async fn unvote(&self, node: NodeId) -> Changed {
        if self.standing(node).1 {
            let nodes = BTreeSet::from([node.0]);
            self.raft.change_membership(ChangeMembers::RemoveVoters(nodes), true).await?;
        }
        Ok(())
    }

    /// Takes a node in. Where its vote is half given, by a leader that went before it was done, it is given to the end: what is
    /// answered before both sets are one would be a group that goes on needing a majority of each.
    async fn admit(&self, node: NodeId, addr: SocketAddr, voter: bool) -> Changed {
        let (known, _) = self.standing(node);
        let member = Member { addr };
        match known {
            Some(known) if known == member => {}
            Some(_) => {
                let moved = ChangeMembers::SetNodes(BTreeMap::from([(node.0, member)]));
                self.raft.change_membership(moved, true).await?;
            }
            // A voter must have caught up before its vote counts.
            None => drop(self.raft.add_learner(node.0, member, voter).await?),
        }
        if voter && !self.votes_for_good(node) {
            self.raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([node.0])), true).await?;
        }
        Ok(())
    }

    pub(super) async fn dismiss(&self, node: NodeId) -> Changed {
        let nodes = BTreeSet::from([node.0]);
        match self.standing(node) {
            (None, _) => {}
            (Some(_), true) => drop(self.raft.change_membership(ChangeMembers::RemoveVoters(nodes), false).await?),
            (Some(_), false) => drop(self.raft.change_membership(ChangeMembers::RemoveNodes(nodes), false).await?),
        }
        Ok(())
    }

    /// Where a member's link listens, and whether it votes: in any set of voters, while one takes the place of another.
    fn standing(&self, node: NodeId) -> (Option<Member>, bool) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        (members.get_node(&node.0).copied(), members.voter_ids().any(|voter| voter == node.0))
    }

    /// Whether there is one set of voters, and the node is in it.
    fn votes_for_good(&self, node: NodeId) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let sets = metrics.membership_config.membership().get_joint_config();
        sets.len() == 1 && sets.iter().all(|voters| voters.contains(&node.0))
    }

    fn is_member(&self, voter: bool) -> bool {
        let node = self.config.node;
        let (known, _) = self.standing(node);
        known == Some(Member { addr: self.config.addr }) && (!voter || self.votes_for_good(node))
    }

    fn may_join(&self, from: &PeerId, voter: bool) -> bool {
        let node = from.node;
        let state = self.machine.watch();
        let state = state.borrow();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        let Some(row) = state.node(node) else { return false };
        let region_of = |voter: u64| state.node(NodeId(voter)).map(|row| &row.region);
        let has_other_voter = members.voter_ids().any(|other| other != node.0 && region_of(other) == Some(&row.region));
        row.region == from.region && !(voter && has_other_voter) && members.nodes().count() < MAX_NODES
    }

    fn others(&self) -> Vec<(NodeId, SocketAddr)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership().nodes().map(|(node, member)| (NodeId(*node), member.addr));
        members.filter(|(node, _)| *node != self.config.node).collect()
    }

    /// Asks one after the other until the leader says that it is done. Who joins may lead by then: with half a vote it stands for
    /// election as well as those who have a whole one.
    async fn ask_leader(
        &self,
        seeds: &[(NodeId, SocketAddr)],
        frame: &MetadataFrame,
        within: Duration,
    ) -> Result<(), MetaError> {
        let asked = timeout_at(Instant::now() + within, async {
            let mut next = 0;
            loop {
                let Some((node, addr)) = seeds.get(next % seeds.len().max(1)) else {
                    return Err(MetaError::NoQuorum { waited: within });
                };
                next += 1;
                let answered = match frame {
                    MetadataFrame::Join { addr, voter, .. } if self.leads() => {
                        let own = PeerId { region: self.config.region.clone(), node: self.config.node };
                        Ok(self.take_join(&own, *addr, *voter).await)
                    }
                    _ => self.transport.call(*node, *addr, frame.clone(), within).await,
                };
                match answered {
                    Ok(MetadataFrame::Done) => return Ok(()),
                    Ok(MetadataFrame::Unavailable(Unavailable::Refused)) => {
                        return Err(MetaError::Refused { node: self.config.node });
                    }
                    Ok(MetadataFrame::Unavailable(Unavailable::NotLeader(Some(leader)))) => {
                        if let Some(place) = seeds.iter().position(|(seed, _)| *seed == leader) {
                            next = place;
                        }
                        tokio::time::sleep(self.timing.heartbeat / 4).await;
                    }
                    _ => tokio::time::sleep(self.timing.heartbeat).await,
                }
            }
        });
        asked.await.unwrap_or(Err(MetaError::NoQuorum { waited: within }))
    }
}

fn settled(changed: Option<Changed>) -> MetadataFrame {
    match changed {
        Some(Ok(())) => MetadataFrame::Done,
        Some(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
            MetadataFrame::Unavailable(Unavailable::NotLeader(to.leader_id.map(NodeId)))
        }
        Some(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
            tracing::info!(%error, "a change of the members did not happen");
            MetadataFrame::Unavailable(Unavailable::NoQuorum)
        }
        Some(Err(RaftError::Fatal(_))) => MetadataFrame::Unavailable(Unavailable::Stopped),
        None => MetadataFrame::Unavailable(Unavailable::NoQuorum),
    }
}
