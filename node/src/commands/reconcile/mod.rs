//! `domicile audit reconcile`: what ledgers say that left, against counters of the wire that are not ours.
//!
//! Reads files and nothing else. A route or an hour that does not fit is named; what was counted between other machines is said.

mod logs;
mod weigh;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use domicile_proto::ids::Timestamp;

use super::pack;
use crate::audit::{Broken, Event, Verifier, verify};
use weigh::{Ledgers, Left, Outcome, Overhead, Weighed};

/// Counters of the wire, and whose addresses they name.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Counters {
    /// Flow log of AWS, Google Cloud, Azure or Alibaba Cloud, or `nft -j list counters` with counters named `FROM/TO`; may
    /// be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) flow_logs: Vec<PathBuf>,
    /// Which machine is in which region: an address and a region on each line
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// Compare from when on; default: from the first record of the counters
    #[arg(long = "wire-from", value_name = "TIME", value_parser = super::audit::instant)]
    wire_from: Option<Timestamp>,
    /// Compare until when; default: until their last
    #[arg(long = "wire-to", value_name = "TIME", value_parser = super::audit::instant)]
    wire_to: Option<Timestamp>,
}

/// What `audit reconcile` is told.
#[derive(Debug, Args)]
pub(super) struct ReconcileArguments {
    /// An audit pack; or `data_dir/ledger` of each node, or copies of the directories `log` in them
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    counters: Counters,
    /// Verifier key that you were given, or a file with it; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(super) key: Vec<String>,
}

/// What did not fit, or a sentence of what did.
pub(super) type Found = Result<String, Vec<(String, String)>>;

pub(super) fn run(arguments: &ReconcileArguments, keys: &[Verifier]) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!arguments.counters.flow_logs.is_empty(), "name the counters with --flow-logs");
    let ledgers = match ledgers(&logs_in(&arguments.dirs), keys)? {
        Ok(ledgers) => ledgers,
        Err(broken) => {
            println!("NOT SOUND: a ledger was changed or is not whole: {broken}.");
            return Ok(ExitCode::FAILURE);
        }
    };
    let (outcome, skipped) = compared(&ledgers, &arguments.counters)?;
    let found = found(&outcome, skipped);
    match &found {
        Ok(said) => println!("SOUND: {said}."),
        Err(problems) => {
            let (place, why) = problems.first().cloned().unwrap_or_default();
            let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
            println!("NOT SOUND: ledgers and wire do not fit: {place}: {why}{more}.");
        }
    }
    for weighed in &outcome.weighed {
        println!("  {}: {}", place(weighed), numbers(weighed));
    }
    if ledgers.unread > 0 {
        println!(
            "  {} entries cannot be read here, so that more on the wire than the ledger says was not judged",
            ledgers.unread
        );
    }
    if outcome.outside > 0 {
        println!("  {} bytes went between these machines and others that --nodes does not name", outcome.outside);
    }
    Ok(if found.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same for a pack that was checked.
pub(super) fn of_pack(dir: &Path, counters: &Counters) -> anyhow::Result<Found> {
    let ledgers = ledgers(&logs_in(&[dir.to_path_buf()]), &[])?;
    let ledgers = ledgers.map_err(|broken| anyhow::anyhow!("the pack was changed while it was read: {broken}"))?;
    let (outcome, skipped) = compared(&ledgers, counters)?;
    Ok(found(&outcome, skipped))
}

fn compared(ledgers: &Ledgers, counters: &Counters) -> anyhow::Result<(Outcome, u64)> {
    let (mut flows, mut skipped) = (Vec::new(), 0);
    for path in &counters.flow_logs {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("`{name}` cannot be read"))?;
        let log = logs::read(&text).with_context(|| format!("`{name}` is no flow log that this build knows"))?;
        flows.extend(log.flows);
        skipped += log.skipped;
    }
    let nodes = counters.nodes.as_deref().map(names).transpose()?.unwrap_or_default();
    let second = |at: Option<Timestamp>| at.map(|at| at.0.div_euclid(Timestamp::MICROS));
    let given = (second(counters.wire_from), second(counters.wire_to));
    Ok((weigh::weigh(ledgers, &flows, &nodes, given, &Overhead::MEASURED), skipped))
}

fn found(outcome: &Outcome, skipped: u64) -> Found {
    let problem = |weighed: &Weighed| Some((place(weighed), format!("{} ({})", weighed.problem?, numbers(weighed))));
    let mut problems: Vec<(String, String)> = outcome.weighed.iter().filter_map(problem).collect();
    if skipped > 0 {
        problems.push(("the flow log".to_owned(), format!("it says itself that it left out records, {skipped} times")));
    }
    if outcome.weighed.is_empty() {
        problems.push(("the counters".to_owned(), "they say nothing of a route between these regions".to_owned()));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let routes: std::collections::BTreeSet<_> = outcome.weighed.iter().map(|weighed| &weighed.route).collect();
    let (hours, routes) = (outcome.weighed.len(), routes.len());
    Ok(format!(
        "in {hours} route-hours on {routes} routes the wire carried what the ledgers say, and no more than its overhead"
    ))
}

fn place(weighed: &Weighed) -> String {
    let at =
        jiff::Timestamp::from_second(weighed.span.0).map_or_else(|_| weighed.span.0.to_string(), |at| at.to_string());
    format!("{} to {}, from {at} on for {} s", weighed.route.0, weighed.route.1, weighed.span.1 - weighed.span.0)
}

fn numbers(weighed: &Weighed) -> String {
    let Weighed { ledger, wire, most, .. } = weighed;
    format!("{ledger} bytes in the ledger, {wire} on the wire, at most {most} explained")
}

/// The ledgers in directories; a pack has several.
fn logs_in(dirs: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in dirs {
        if pack::is_pack(dir) {
            found.extend(pack::regions(dir).into_iter().map(|region| dir.join("regions").join(region).join("log")));
        } else {
            found.push(dir.clone());
        }
    }
    found
}

fn ledgers(dirs: &[PathBuf], keys: &[Verifier]) -> anyhow::Result<Result<Ledgers, Broken>> {
    let mut all = Ledgers::default();
    for dir in dirs {
        let home = if dir.join("log").is_dir() { dir.join("log") } else { dir.clone() };
        let checkpoint = std::fs::read_to_string(home.join("checkpoint"));
        let checkpoint = checkpoint.with_context(|| format!("`{}` is no ledger", dir.display()))?;
        let origin = checkpoint.lines().next().unwrap_or_default().to_owned();
        let own = origin.rsplit('/').nth(1).context("the log has no region in its name")?.to_owned();
        let key = keys.iter().find(|key| key.name() == origin);
        anyhow::ensure!(key.is_some() || keys.is_empty(), "no key that you gave is for `{origin}`");
        let mut take = |region: &str, at: Timestamp, bytes: u64, messages: u64| {
            if region != own {
                let left = Left { at: at.0.div_euclid(Timestamp::MICROS), bytes, messages };
                all.left.entry((own.clone(), region.to_owned())).or_default().push(left);
            }
        };
        let checked = verify(dir, key, &[], &mut |_, entry| match &entry.event {
            Event::Egress(passage) => take(passage.peer.region.as_str(), entry.at, passage.bytes.0, 1),
            Event::Metadata { peer, sent, .. } => take(peer.region.as_str(), entry.at, *sent, 0),
            _ => {}
        });
        match checked {
            Ok(checked) => all.unread += checked.withheld + checked.destroyed,
            Err(broken) => return Ok(Err(broken)),
        }
        all.regions.insert(own);
    }
    Ok(Ok(all))
}

/// An address and a region on each line; what follows `#` is for people.
fn names(path: &Path) -> anyhow::Result<BTreeMap<IpAddr, String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    let mut names = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = || format!("`{}`, line {}: write an address and a region", path.display(), number + 1);
        match words[..] {
            [] => {}
            [address, region] => drop(names.insert(address.parse().with_context(place)?, region.to_owned())),
            _ => anyhow::bail!(place()),
        }
    }
    Ok(names)
}
