//! Nodes of a group: one in each of three regions, and more on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domicile_meta::error::MetaError;
use domicile_meta::group::{Group, GroupConfig, GroupMetrics};
use domicile_proto::ids::{ConsentSerial, Name, NodeId, Region};
use domicile_proto::link::identity::PeerId;
use domicile_proto::metadata::{Applied, Change, Command};
use domicile_proto::officer::OfficerKey;
use tempfile::TempDir;

use crate::network::{Network, Port};
use crate::turned::wait_for_disk_of;

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Long enough to be sure that nothing will come: the longest election and more.
pub(crate) const SHORT: Duration = Duration::from_secs(2);

/// More entries than are ever needed for a snapshot of every ten.
const MOST_FILLED: usize = 5_000;

pub(crate) const REGIONS: [&str; 3] = ["tokyo", "singapore", "frankfurt"];

pub(crate) struct Cluster {
    pub(crate) network: Network,
    pub(crate) groups: Vec<Group>,
    directories: Vec<TempDir>,
    officer: OfficerKey,
    consents: AtomicU64,
    snapshot_every: u64,
}

impl Cluster {
    /// An empty network whose nodes take a snapshot every so many entries and keep none behind it.
    pub(crate) fn empty(snapshot_every: u64) -> Self {
        Self {
            network: Network::default(),
            groups: Vec::new(),
            directories: Vec::new(),
            officer: OfficerKey::from_pkcs8(&OfficerKey::generate().unwrap()).unwrap(),
            consents: AtomicU64::new(1),
            snapshot_every,
        }
    }

    /// The first voter, and a node in each of the other two regions that may join.
    pub(crate) async fn of_one_and_two(snapshot_every: u64) -> Self {
        let mut cluster = Self::empty(snapshot_every);
        for region in REGIONS {
            cluster.start(region).await;
        }
        cluster.groups[0].initialize(&[(NodeId(1), addr(1))]).await.unwrap();
        for (place, name) in REGIONS.iter().enumerate() {
            cluster.decide(0, Command::AddRegion { region: region(name) }).await;
            cluster.approve(place as u64 + 1, name).await;
        }
        cluster
    }

    /// Three voters, one for each region.
    pub(crate) async fn of_three(snapshot_every: u64) -> Self {
        let cluster = Self::of_one_and_two(snapshot_every).await;
        for group in &cluster.groups[1..] {
            group.join(&[(NodeId(1), addr(1))], true, LONG).await.unwrap();
        }
        cluster.groups[0].until(LONG, |group| group.voters.len() == 3).await.unwrap();
        cluster
    }

    /// Starts one more node, as yet unknown to the others.
    pub(crate) async fn start(&mut self, region_name: &str) -> usize {
        self.directories.push(TempDir::new().unwrap());
        let place = self.directories.len() - 1;
        let group = self.open(place, region_name).await.unwrap();
        self.groups.push(group);
        place
    }

    pub(crate) async fn stop(&self, place: usize) {
        self.network.unplug(self.groups[place].node());
        self.groups[place].shutdown().await;
    }

    /// Starts a stopped node again.
    pub(crate) async fn restart(&mut self, place: usize) {
        let region = self.groups[place].region().clone();
        self.groups[place] = self.open(place, region.as_str()).await.unwrap();
    }

    async fn open(&self, place: usize, region_name: &str) -> Result<Group, MetaError> {
        let node = NodeId(place as u64 + 1);
        let directory = self.directories[place].path().to_owned();
        let mut config = GroupConfig::new(node, region(region_name), addr(node.0), directory, Duration::ZERO);
        config.snapshot_every = self.snapshot_every;
        config.keep_entries = 0;
        let own = PeerId { region: region(region_name), node };
        let group = Group::start(config, Arc::new(Port { network: self.network.clone(), own })).await?;
        self.network.plug_in(&group);
        wait_for_disk_of(&group);
        Ok(group)
    }

    pub(crate) fn directory(&self, place: usize) -> &std::path::Path {
        self.directories[place].path()
    }

    /// The command's outcome, through a node; asked again where it is unknown.
    pub(crate) async fn decide(&self, place: usize, command: Command) -> Applied {
        loop {
            match self.groups[place].propose(command.clone(), LONG).await {
                Err(MetaError::OutcomeUnknown { .. }) => {}
                decided => return decided.unwrap(),
            }
        }
    }

    pub(crate) async fn approve(&self, node: u64, region_name: &str) {
        let change = Change::AddNode { node: NodeId(node), addr: addr(node) };
        assert_eq!(self.decide(0, self.signed(region_name, change)).await, Applied::Done);
    }

    pub(crate) fn signed(&self, region_name: &str, change: Change) -> Command {
        let serial = ConsentSerial(self.consents.fetch_add(1, Ordering::Relaxed));
        Command::Regional(self.officer.sign(region(region_name), serial, change))
    }

    /// Creates tenants `<prefix>-0` and so on.
    pub(crate) async fn fill(&self, place: usize, prefix: &str, count: usize) {
        for n in 0..count {
            let applied = self.decide(place, tenant(&format!("{prefix}-{n}"))).await;
            assert!(matches!(applied, Applied::Tenant(_)));
        }
    }

    /// Creates tenants until what the node knows of the group is as wanted: a snapshot that was being made while the last
    /// entries came is followed by another one only when more of them come.
    pub(crate) async fn fill_until(&self, place: usize, prefix: &str, is_wanted: impl Fn(&GroupMetrics) -> bool) {
        for n in 0..MOST_FILLED {
            if is_wanted(&self.groups[place].metrics()) {
                return;
            }
            self.decide(place, tenant(&format!("{prefix}-{n}"))).await;
        }
        panic!("{MOST_FILLED} entries later: {:?}", self.groups[place].metrics());
    }

    /// The place of the node that leads, once all running nodes of `places` agree on one of them.
    pub(crate) async fn leader_among(&self, places: &[usize]) -> usize {
        loop {
            let group = &self.groups[places[0]];
            let known = group.until(LONG, |group| group.leader.is_some()).await.unwrap().leader;
            let place = known.map_or(0, |leader| leader.0 as usize - 1);
            if places.contains(&place) && self.groups[place].leads() {
                return place;
            }
            group.until(LONG, |now| now.leader != known).await.unwrap();
        }
    }

    pub(crate) async fn stop_all(&self) {
        for place in 0..self.groups.len() {
            self.stop(place).await;
        }
    }
}

/// Waits until the local copy of a node knows a tenant.
pub(crate) async fn knows_tenant(group: &Group, text: &str) {
    let name = name(text);
    let mut state = group.watch();
    let known = tokio::time::timeout(LONG, state.wait_for(|state| state.tenant(&name).is_some())).await;
    known.expect("in time").expect("the group runs");
}

pub(crate) fn tenant(text: &str) -> Command {
    Command::CreateTenant { tenant: name(text) }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn region(text: &str) -> Region {
    text.parse().unwrap()
}

pub(crate) fn addr(node: u64) -> std::net::SocketAddr {
    ([127, 0, 0, 1], 7000 + node as u16).into()
}
