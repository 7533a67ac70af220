//! Doing the faults of a schedule, one after the other, and undoing them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::{READY_WITHIN, REGIONS, wait_until};
use serde_json::json;

use super::schedule::{Deed, Kind, Step, Turns};
use crate::bucket::mishaps::Mood;
use crate::bucket::relay::{CREATED_IN_SILENCE, Tally};
use crate::checker::availability::Fault;
use crate::clocks::Pace;
use crate::cluster::Cluster;
use crate::disk::Disks;
use crate::disk::flushes::Flush;
use crate::env::weather::Way;
use crate::history::Recorder;
use crate::trio::lose_disk;

/// How long a node may take to see that its disk has room again: it looks once a second, when it is asked.
const ROOM_SEEN_WITHIN: Duration = Duration::from_secs(10);
/// How long another node may take to write in the place of one that is silent: a lease, some rounds, and what a slow machine
/// needs.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take to see that its clock was set: it looks once a second, when it is asked.
const CLOCK_SEEN_WITHIN: Duration = Duration::from_secs(10);
/// How far a clock that is set is off, in seconds.
const OFF: i64 = 120;
/// A clock is right within so many milliseconds: the node was asked, and answered a little later.
const RIGHT_MS: i64 = 1_000;
/// How long a newcomer may take to vote, once it is ready.
const VOTES_WITHIN: Duration = Duration::from_secs(60);
/// How long the group may be without a leader: longer than any election here, and a judge of its own says whether that is right.
const LEADS_WITHIN: Duration = Duration::from_secs(60);
/// How much longer a bad day of the bucket may last until it has bitten: on a slow machine few requests come.
const BITES_WITHIN: Duration = Duration::from_secs(15);
/// Where it is judged how soon a leader is followed, how long everybody works on before the next one is lost: longer than a dial lasts
/// that was begun while the one before was away. Two lost at once is another fault.
const ONE_LEADER_EVERY: Duration = Duration::from_secs(10);
/// How long everybody works on after a deposed owner is back.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What it has done so far.
pub struct Nemesis<'a> {
    cluster: &'a mut Cluster,
    disks: Option<&'a Disks>,
    recorder: &'a Recorder,
    begun: Instant,
    /// When the fault at hand bit, where that is known to the moment.
    bit_at: Option<u64>,
    /// Whether it is judged how soon a leader is followed.
    is_timed: bool,
    /// When everybody was there again.
    whole_since: Instant,
    /// Every fault with its proof.
    pub faults: Vec<Fault>,
}

impl<'a> Nemesis<'a> {
    /// Over a running cluster.
    pub fn new(cluster: &'a mut Cluster, disks: Option<&'a Disks>, recorder: &'a Recorder, is_timed: bool) -> Self {
        let begun = Instant::now();
        Self { cluster, disks, recorder, begun, bit_at: None, is_timed, whole_since: begun, faults: Vec::new() }
    }

    /// Does a schedule of a run that lasts so long. What there is no time left for is left out, and written down.
    ///
    /// # Errors
    /// When a fault cannot be done, or a node does not come back.
    pub fn follow(&mut self, steps: &[Step], time: Duration) -> Result<()> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut turns = Turns::new(millis(time));
        let mut left_out = 0;
        for step in steps {
            if !turns.takes(step, millis(self.begun.elapsed())) {
                left_out += 1;
                continue;
            }
            let due = Duration::from_millis(step.at_ms);
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
            let mut deed = step.deed;
            let name = deed.kind.name();
            deed.region = self.target(deed);
            let region = match deed.kind {
                kind if is_everywhere(kind) => String::new(),
                kind if is_of_network(kind) => REGIONS[deed.region].to_owned(),
                _ => self.cluster.name(deed.region).to_owned(),
            };
            self.recorder.nemesis(name, json!(region), json!({"for_ms": step.for_ms, "outward": deed.is_outward}));
            let from = self.recorder.now();
            let done = self.exert(deed, Duration::from_millis(step.for_ms));
            let (from, until) = (self.bit_at.take().unwrap_or(from), self.recorder.now());
            let bites = done.with_context(|| format!("`{name}` at `{region}`"))?;
            self.recorder.nemesis(&format!("end of {name}"), json!(region), json!({"bites": bites}));
            let is_abroad_only = matches!(deed.kind, Kind::Cut | Kind::OneWay | Kind::Flap);
            let name = name.to_owned();
            self.faults.push(Fault { name, region, from, until, bites, is_abroad_only });
        }
        if left_out > 0 {
            self.recorder.nemesis("left out", json!(""), json!({"steps": left_out}));
        }
        Ok(())
    }

    /// Where a fault is done: in which region, where it is one of the network, else to which node.
    fn target(&self, deed: Deed) -> usize {
        let targets = self.cluster.targets();
        let any = targets[deed.region % targets.len()];
        match deed.kind {
            kind if is_of_network(kind) => deed.region,
            Kind::KillLeader => {
                if self.is_timed {
                    std::thread::sleep(ONE_LEADER_EVERY.saturating_sub(self.whole_since.elapsed()));
                }
                // The one before is back, and everybody knows of who leads now.
                let agreed = wait_until(LEADS_WITHIN, || self.cluster.leader_of_all());
                agreed.or_else(|| self.cluster.leader()).unwrap_or(deed.region)
            }
            Kind::Depose => {
                let writes = |at: &usize| self.written(self.cluster.number(*at)).len();
                targets.iter().copied().max_by_key(writes).unwrap_or(any)
            }
            Kind::Replace => deed.loses(self.cluster.is_trio()),
            // The first one votes in the metadata group and is a witness of other ledgers: its disk is no part of this.
            Kind::LoseDisk => targets[1 + deed.region % (targets.len() - 1)],
            _ => any,
        }
    }

    /// Streams that are written in this run, by the node that writes them; clients reach it through any door.
    fn written(&self, number: u64) -> Vec<String> {
        let owners = self.cluster.owners();
        let its = owners.into_iter().filter(|(_, owner)| *owner == number).map(|(stream, _)| stream);
        let takers = self.recorder.takers();
        its.filter(|stream| takers.contains_key(&json!(["tokyo", stream]).to_string())).collect()
    }

    /// Stops the node that writes, until another one writes everything that it wrote and has taken a batch of it; then lets it go on.
    fn depose(&mut self, at: usize, hold: Duration) -> Result<u64> {
        let (name, number, from) = (self.cluster.name(at).to_owned(), self.cluster.number(at), Instant::now());
        let its = self.written(number);
        let is_stopped = self.cluster.pause(at, true);
        let began = self.recorder.now();
        let is_taken = wait_until(TAKEN_WITHIN, || {
            let (owners, takers) = (self.cluster.owners(), self.recorder.takers());
            let is_others = |stream: &String| {
                let taker = takers.get(&json!(["tokyo", stream]).to_string());
                let is_taken = taker.is_some_and(|taker| taker.time > began && taker.door != name);
                is_taken && owners.get(stream).is_some_and(|owner| *owner != number)
            };
            its.iter().all(is_others).then_some(())
        });
        std::thread::sleep(hold.saturating_sub(from.elapsed()));
        let goes_on = self.cluster.pause(at, false);
        ensure!(is_taken.is_some(), "nobody wrote in the place of `{name}` within {TAKEN_WITHIN:?}");
        std::thread::sleep(AFTERMATH);
        Ok(if is_stopped && goes_on { its.len() as u64 } else { 0 })
    }

    /// Sets a node's clock, and sets it right again. Twice, where the node says so.
    fn turn(&mut self, at: usize, pace: Pace, hold: Duration) -> Result<u64> {
        let is_off = |off: i64| match pace {
            Pace::Off(seconds) => (off - seconds * 1_000).abs() < RIGHT_MS,
            Pace::Double | Pace::Right => off > RIGHT_MS,
        };
        self.cluster.set_clock(at, pace)?;
        let begun = Instant::now();
        let went = wait_until(CLOCK_SEEN_WITHIN, || self.cluster.clock_off_ms(at).filter(|off| is_off(*off)));
        std::thread::sleep(hold.saturating_sub(begun.elapsed()));
        self.cluster.set_clock(at, Pace::Right)?;
        let is_right = |off: &i64| off.abs() < RIGHT_MS;
        let back = wait_until(CLOCK_SEEN_WITHIN, || self.cluster.clock_off_ms(at).filter(is_right));
        Ok(u64::from(went.is_some()) * u64::from(back.is_some()) * 2)
    }

    /// Has the flushes of a node fail or last. A node that cannot go on after that is started again, as its operator would.
    fn flushes(&mut self, at: usize, flush: Flush, hold: Duration) -> Result<u64> {
        let Some(between) = self.cluster.come_between(at, flush)? else { return Ok(0) };
        std::thread::sleep(hold);
        let bites = between.go()?;
        let is_well = wait_until(ROOM_SEEN_WITHIN, || {
            (self.cluster.ended(at).is_some() || self.cluster.is_ready(at)).then_some(())
        });
        if self.cluster.ended(at).is_some() || is_well.is_none() {
            self.cluster.kill(at)?;
            self.back(&[at])?;
        }
        Ok(bites)
    }

    /// Gives the bucket a bad day. A failing one bites where something was created and whoever created it was not told; a slow one
    /// where an answer was late.
    fn store(&mut self, mood: Mood, hold: Duration) -> Result<u64> {
        let bucket = self.cluster.bucket().context("no bucket of a server")?;
        let before = bucket.relay.tally();
        bucket.relay.set(mood);
        let look = || {
            let mut done = bucket.relay.tally();
            done.iter_mut().for_each(|(what, number)| *number -= before.get(what).copied().unwrap_or_default());
            done.retain(|_, number| *number > 0);
            done
        };
        let is_told = |(what, _): &(&String, &u64)| mood != Mood::Failing || what.ends_with(CREATED_IN_SILENCE);
        let bites = |done: &Tally| -> u64 { done.iter().filter(is_told).map(|(_, number)| number).sum() };
        std::thread::sleep(hold);
        wait_until(BITES_WITHIN, || (bites(&look()) > 0).then_some(()));
        bucket.relay.set(Mood::Fair);
        let done = look();
        self.recorder.nemesis("done by the relay", json!(""), json!(done));
        Ok(bites(&done))
    }

    /// Loses a machine, and has a newcomer take its place in the group. It must come to vote.
    fn replace(&mut self, at: usize, hold: Duration) -> Result<u64> {
        let wrote = self.cluster.lose_machine(at)?;
        std::thread::sleep(hold);
        let newcomer = self.cluster.join_newcomer(at, wrote)?;
        let took = self.cluster.wait_until_ready(at, READY_WITHIN)?;
        self.recorder.nemesis("newcomer", json!(newcomer), json!({"ms": took.as_millis() as u64}));
        let votes = || self.cluster.voters().values().all(|voters| voters.contains(&newcomer)).then_some(());
        wait_until(VOTES_WITHIN, votes)
            .with_context(|| format!("newcomer {newcomer} does not vote: {:?}", self.cluster.voters()))?;
        Ok(1)
    }

    fn lose_disk(&mut self, at: usize, hold: Duration) -> Result<u64> {
        self.cluster.kill(at)?;
        let gone = lose_disk(&self.cluster.home(at))?;
        std::thread::sleep(hold);
        self.back(&[at])?;
        Ok(gone)
    }

    /// Does one fault, holds it, and undoes it. How often it was seen to bite.
    fn exert(&mut self, deed: Deed, hold: Duration) -> Result<u64> {
        let one = [deed.region];
        match deed.kind {
            Kind::KillOne => self.kill(&one, hold),
            Kind::KillLeader => self.kill_leader(deed.region, hold),
            Kind::KillAll => self.kill(&self.everybody(), hold),
            Kind::Depose => self.depose(deed.region, hold),
            Kind::LoseDisk => self.lose_disk(deed.region, hold),
            Kind::Replace => self.replace(deed.region, hold),
            Kind::Pause => {
                let is_stopped = self.cluster.pause(deed.region, true);
                std::thread::sleep(hold);
                let goes_on = self.cluster.pause(deed.region, false);
                Ok(u64::from(is_stopped && goes_on))
            }
            Kind::Cut | Kind::Half | Kind::OneWay => {
                let before = self.cluster.net.weather().swallowed();
                self.cut(deed, true);
                std::thread::sleep(hold);
                self.cut(deed, false);
                Ok(self.cluster.net.weather().swallowed() - before)
            }
            Kind::Flap => {
                let before = self.cluster.net.weather().swallowed();
                let until = Instant::now() + hold;
                while Instant::now() < until {
                    for is_cut in [true, false] {
                        self.cut(deed, is_cut);
                        std::thread::sleep(Duration::from_millis(350));
                    }
                }
                Ok(self.cluster.net.weather().swallowed() - before)
            }
            Kind::Wan => {
                let before = self.cluster.net.weather().traces();
                // 30 ms each way: the groups of these runs are told that the round trip is none.
                let way = Way { is_cut: false, delay_ms: 30, jitter_ms: 10, loss_ppm: 20_000, twice_ppm: 5_000 };
                self.cluster.net.weather().set_all(way);
                std::thread::sleep(hold);
                self.cluster.net.weather().clear();
                Ok(self.cluster.net.weather().traces() - before)
            }
            Kind::Clock => self.turn(deed.region, Pace::Off(if deed.is_outward { OFF } else { -OFF }), hold),
            Kind::Drift => self.turn(deed.region, Pace::Double, hold),
            Kind::SyncError => self.flushes(deed.region, Flush::Fails, hold),
            Kind::SyncSlow => self.flushes(deed.region, Flush::Lasts, hold),
            Kind::StoreError => self.store(Mood::Failing, hold),
            Kind::StoreSlow => self.store(Mood::Slow, hold),
            Kind::PowerOne => self.power(&one, hold),
            Kind::PowerAll => self.power(&self.everybody(), hold),
            Kind::DiskFull => {
                let disks = self.disks.context("no disks of the cluster's own")?;
                let filled = disks.fill(deed.region)?;
                let until = Instant::now() + hold;
                // The first batch that is refused makes the node say that it takes none.
                let said = wait_until(hold, || (!self.cluster.is_ready(deed.region)).then_some(()));
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                disks.empty(deed.region)?;
                // It sees by itself that there is room again.
                let is_back = wait_until(ROOM_SEEN_WITHIN, || self.cluster.is_ready(deed.region).then_some(()));
                // A node that could not go on without its disk is started again, as its operator would.
                if self.cluster.ended(deed.region).is_some() || is_back.is_none() {
                    self.cluster.kill(deed.region)?;
                    self.back(&one)?;
                }
                Ok(u64::from(filled && said.is_some()))
            }
        }
    }

    fn everybody(&self) -> Vec<usize> {
        (0..self.cluster.len()).collect()
    }

    fn cut(&self, deed: Deed, is_cut: bool) {
        let weather = self.cluster.net.weather();
        let here = deed.region;
        let others: Vec<usize> = (0..REGIONS.len()).filter(|other| *other != here).collect();
        let abroad = if deed.kind == Kind::Half { &others[..1] } else { &others[..] };
        for other in abroad {
            let both = deed.kind != Kind::OneWay;
            if both || deed.is_outward {
                weather.set(here, *other, |way| way.is_cut = is_cut);
            }
            if both || !deed.is_outward {
                weather.set(*other, here, |way| way.is_cut = is_cut);
            }
        }
    }

    fn kill(&mut self, regions: &[usize], hold: Duration) -> Result<u64> {
        let mut bites = 0;
        for region in regions {
            bites += u64::from(self.cluster.kill(*region)?);
        }
        std::thread::sleep(hold);
        self.back(regions)?;
        Ok(bites)
    }

    /// Kills the leader, which comes back when another node leads: one that is back before leads on.
    fn kill_leader(&mut self, at: usize, hold: Duration) -> Result<u64> {
        let bites = u64::from(self.cluster.kill(at)?);
        self.bit_at = Some(self.recorder.now());
        std::thread::sleep(hold);
        wait_until(LEADS_WITHIN, || self.cluster.leader().filter(|leader| *leader != at));
        self.back(&[at])?;
        Ok(bites)
    }

    fn power(&mut self, regions: &[usize], hold: Duration) -> Result<u64> {
        let disks = self.disks.context("no disks of the cluster's own")?;
        let mut bites = 0;
        // Power goes from the machine and its disk at once: a node that outlived its disk by a moment could still acknowledge
        // what the kernel, which calls a flush done that the end of the file system overtook, told it was safe.
        for region in regions {
            ensure!(self.cluster.pause(*region, true), "`{}` does not stop", self.cluster.name(*region));
        }
        for region in regions {
            bites += u64::from(disks.cut_power(*region)?);
        }
        for region in regions {
            self.cluster.kill(*region)?;
        }
        for region in regions {
            disks.remount(*region)?;
        }
        std::thread::sleep(hold);
        self.back(regions)?;
        Ok(bites)
    }

    /// Starts nodes and waits until they take and answer.
    fn back(&mut self, regions: &[usize]) -> Result<()> {
        for region in regions {
            self.cluster.launch(*region)?;
        }
        for region in regions {
            let took = self.cluster.wait_until_ready(*region, READY_WITHIN)?;
            self.recorder.nemesis("back", json!(self.cluster.name(*region)), json!({"ms": took.as_millis() as u64}));
        }
        self.whole_since = Instant::now();
        Ok(())
    }
}

fn is_everywhere(kind: Kind) -> bool {
    matches!(kind, Kind::KillAll | Kind::PowerAll | Kind::Wan | Kind::StoreError | Kind::StoreSlow)
}

const fn is_of_network(kind: Kind) -> bool {
    matches!(kind, Kind::Cut | Kind::Half | Kind::OneWay | Kind::Flap | Kind::Wan)
}
