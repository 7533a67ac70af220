//! A machine that is lost for good, and a newcomer with another number in its place, as the operator's guide says it. And what the
//! nodes say of it: who votes, and who writes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::{READY_WITHIN, REGIONS, wait_until, with_section};
use serde_json::Value;

use super::{Cluster, LOOK, Node, rewire, tail};
use crate::checker::replaced::{Machine, Replaced};
use crate::door::{self, Door};
use crate::env::Wiring;
use crate::ledgers::copy_all;
use crate::trio::{DATA, Extra};
use crate::workload::RUN_MARK;

/// How long everybody may take to know who votes.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// How long the nodes that share a store may take to say who writes, before one of them is lost.
const OWNERS_WITHIN: Duration = Duration::from_secs(10);

/// Who will come in the place of a machine that is lost.
pub(super) struct Newcomer {
    pub(super) place: usize,
    pub(super) extra: Extra,
    pub(super) wiring: Wiring,
    pub(super) link: SocketAddr,
}

impl Cluster {
    /// Loses the machine of a node for good: the process and everything that it ever wrote there. How many streams of this run it
    /// wrote that others share.
    ///
    /// # Errors
    /// When something of it stays, or the node had ended by itself: that is no fault of ours, and nothing to go on from.
    pub fn lose_machine(&mut self, at: usize) -> Result<u64> {
        let number = self.nodes[at].number;
        let known = || Some(self.owners()).filter(|owners| !owners.is_empty());
        // A look in which nobody answers in time is no node that writes nothing.
        let owners =
            if self.is_trio() { wait_until(OWNERS_WITHIN, known).unwrap_or_default() } else { BTreeMap::new() };
        let wrote = owners.values().filter(|owner| **owner == number).count() as u64;
        let ran = self.kill(at)?;
        ensure!(ran, "`{}` ended by itself before its machine was lost:\n{}", self.called(at), tail(&self.log(at)));
        // Nobody has it any more but the judge.
        copy_all(&self.home(at).join("data/ledger"), &self.lost_ledger(self.called(at)))?;
        std::fs::remove_dir_all(self.home(at))?;
        Ok(wrote)
    }

    /// Brings a newcomer in the place of a machine that is lost, as the operator's guide says: the lost one is taken out and the new
    /// one approved through another region, and it starts with nothing but the region's keys. Its number; it may not be ready yet.
    ///
    /// # Errors
    /// When there is none, or a command fails.
    pub fn join_newcomer(&mut self, at: usize, wrote: u64) -> Result<u64> {
        let place = self.nodes[at].place;
        let free = self.newcomers.iter().position(|newcomer| newcomer.place == place).context("a newcomer")?;
        let Newcomer { extra, wiring, link, .. } = self.newcomers.remove(free);
        let (region, lost, number) = (REGIONS[place], self.nodes[at].number, extra.number);
        let operator = self.operator();
        let node = lost.to_string();
        self.decided(
            |nodes| !nodes.contains(&lost),
            || operator.command_without(region, &["node", "remove", "--region", region, "--node", &node]),
        )?;
        let (node, addr) = (number.to_string(), link.to_string());
        self.decided(
            |nodes| nodes.contains(&number),
            || {
                let join = ["node", "join", "--region", region, "--node", &node, "--addr", &addr];
                operator.command_without(region, &join)
            },
        )?;
        let machine = Machine { region: region.to_owned(), lost, newcomer: number, wrote };
        let was = std::mem::replace(&mut self.nodes[at].called, extra.name.clone());
        self.lost.push((was, machine));
        self.nodes[at].number = number;
        self.nodes[at].prefix.clone_from(&wiring.prefix);
        let others =
            self.nodes.iter().enumerate().filter(|(other, node)| *other < REGIONS.len() && node.place != place);
        let seed = |(_, node): (usize, &Node)| -> Result<(u64, String, SocketAddr)> {
            Ok((node.number, REGIONS[node.place].to_owned(), node.region.doors.link.parse()?))
        };
        let seeds = others.map(seed).collect::<Result<Vec<_>>>()?;
        let extra = extra.behind(&self.nodes[at].region.doors)?;
        let path = self.configuration(at);
        std::fs::write(&path, extra.voting(&self.directory.join(DATA), link, &seeds)?)?;
        rewire(&path, &wiring, link, &self.key_log(at))?;
        if self.is_trio() {
            let text = std::fs::read_to_string(&path)?;
            std::fs::write(&path, with_section(&text, "store", &self.store_of(at)?))?;
        }
        self.nodes[at].region.doors.link = link.to_string();
        self.launch(at)?;
        Ok(number)
    }

    /// Has something decided: asks until it is so, for the group may be without a leader and an answer may be lost.
    fn decided(&self, is_so: impl Fn(&BTreeSet<u64>) -> bool, ask: impl Fn() -> Result<String>) -> Result<()> {
        let mut last = String::new();
        let decided = wait_until(READY_WITHIN, || {
            if let Err(error) = ask() {
                last = format!("{error:#}");
            }
            self.members().is_some_and(|nodes| is_so(&nodes)).then_some(())
        });
        decided.with_context(|| format!("not decided: {last}"))
    }

    fn status(&self, at: usize) -> Option<Value> {
        let said = door::json(self.region(at), Door::Native, "admin", "/api/v1/status", &Value::Null, LOOK)?;
        (said.0 == 200).then_some(said.1)
    }

    /// The nodes of the deployment, as the first says it that speaks.
    fn members(&self) -> Option<BTreeSet<u64>> {
        let status = (0..self.nodes.len()).filter(|at| self.runs(*at)).find_map(|at| self.status(at))?;
        Some(status["nodes"].as_array()?.iter().filter_map(|row| row["node"].as_u64()).collect())
    }

    /// By node: who votes, as it says.
    pub fn voters(&self) -> BTreeMap<String, BTreeSet<u64>> {
        let said = |at: usize| {
            let status = self.status(at)?;
            let voters = status.pointer("/meta/voters")?.as_array()?.iter().filter_map(Value::as_u64).collect();
            Some((self.nodes[at].called.clone(), voters))
        };
        // Whoever runs and does not say so is there with nobody.
        let or_nobody = |at: usize| said(at).unwrap_or_else(|| (self.nodes[at].called.clone(), BTreeSet::new()));
        (0..self.nodes.len()).filter(|at| self.runs(*at)).map(or_nobody).collect()
    }

    /// By stream of what nodes share: who writes it, as the first of them says that speaks.
    pub fn owners(&self) -> BTreeMap<String, u64> {
        let listed = |at: usize| {
            let said = door::json(self.region(at), Door::Native, "search", "/api/v1/streams", &Value::Null, LOOK)?;
            let streams = said.1["streams"].as_array()?.clone();
            let one = |stream: &Value| Some((stream["name"].as_str()?.to_owned(), stream["owner"].as_u64()?));
            Some(streams.iter().filter_map(one).filter(|(name, _)| name.contains(RUN_MARK)).collect())
        };
        let shared = self.targets().into_iter().filter(|at| self.is_trio() && self.runs(*at));
        shared.filter_map(listed).next().unwrap_or_default()
    }

    /// What became of machines that were lost, when everybody had time to take note of it.
    pub fn replaced(&self) -> Replaced {
        let look = || Replaced {
            machines: self.lost.iter().map(|(_, machine)| machine.clone()).collect(),
            voters: self.voters(),
            owners: self.owners(),
            is_shared: self.is_trio(),
        };
        wait_until(SETTLED_WITHIN, || Some(look()).filter(Replaced::is_settled)).unwrap_or_else(look)
    }

    /// How the nodes were called whose machines are lost.
    fn lost(&self) -> Vec<String> {
        self.lost.iter().map(|(name, _)| name.clone()).collect()
    }

    fn lost_ledger(&self, called: &str) -> PathBuf {
        self.directory.join(format!("{called}.ledger"))
    }

    /// By node whose machine is lost: a copy of its ledger as it was then, and how witnesses name what they have seen of it.
    pub fn lost_ledgers(&self) -> Vec<(String, PathBuf, String)> {
        let one = |(called, machine): &(String, Machine)| {
            (called.clone(), self.lost_ledger(called), format!("{}-{}", machine.region, machine.lost))
        };
        self.lost.iter().map(one).collect()
    }

    /// Where every node wrote the secrets of its links, those that are lost as well: nobody loses the evidence.
    pub fn key_logs(&self) -> Vec<PathBuf> {
        let called = self.nodes.iter().map(|node| node.called.clone()).chain(self.lost());
        called.map(|name| self.directory.join(format!("{name}.keys"))).collect()
    }
}
