//! One run: a fresh cluster, clients at work, faults from a seed, healing, last reads, judgement, a directory full of evidence.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use domicile_tests::cluster::decrypt::decrypt;
use domicile_tests::cluster::relay::Capture;
use domicile_tests::cluster::require::runs;
use domicile_tests::cluster::{READY_WITHIN, wait_until};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::bucket::mishaps::Mood;
use crate::checker::availability::{self, Fault};
use crate::checker::double_entry::Crossings;
use crate::checker::failover;
use crate::checker::ledger::Said;
use crate::checker::replaced::Replaced;
use crate::checker::{self, Verdict};
use crate::cluster::{Cluster, Shape};
use crate::disk::{Disks, Format};
use crate::env::network;
use crate::history::{self, Operation, Recorder};
use crate::ledgers::{self, Kept, Places, keep_checkpoints};
use crate::nemesis::{Kind, Needs, Nemesis, Step, schedule};
use crate::pages;
use crate::report::Report;
use crate::store_log::{Logs, Opened, Watcher};
use crate::workload::{Stage, Workload, canary, control};

/// What the regions sent each other, in the evidence.
const CAPTURE: &str = "wan.pcap";
/// What opens it, put together of what every node wrote.
const CAPTURE_KEYS: &str = "wan.keys";
/// What was said of the ledgers, in the evidence.
const LEDGERS: &str = "ledgers.json";
/// What the nodes that share a store wrote into their logs in it.
const LOGS: &str = "store-logs.json";
/// Which machines were lost and replaced.
const REPLACED: &str = "replaced.json";
/// What crossed, by the ledger of each node.
const CROSSINGS: &str = "crossings.json";
/// What had crossed by what lost nodes had signed.
const CROSSINGS_OF_LOST: &str = "crossings-of-lost.json";

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The product.
    pub binary: PathBuf,
    /// Where the evidence goes; a new directory is made in it.
    pub out: PathBuf,
    /// Where the schedule and the clients' dice begin.
    pub seed: u64,
    /// How long clients work, in seconds.
    pub seconds: u64,
    /// For how many seconds what comes through must be enough; no more than they work, and less where a slow machine is given time.
    pub enough_for: u64,
    /// What they do.
    pub workload: Workload,
    /// What is done to the cluster.
    pub nemesis: Vec<Kind>,
    /// The file system of the nodes; none for the machine's own.
    pub disk: Option<Format>,
    /// Set in the environment of every node.
    pub environment: Vec<(String, String)>,
    /// How far the regions are apart, which the nodes are told; where none is said they are not, and are told of 100 ms.
    pub round_trip: Option<Duration>,
    /// `netns`, `loopback`, or empty for the better of those that work here.
    pub net: String,
}

/// Runs it; the report, and where the evidence lies.
///
/// # Errors
/// When the cluster does not start, a node does not come back, or a last read is not answered: that is a failure as well.
pub fn run(plan: &Plan) -> Result<(Report, PathBuf)> {
    let names: Vec<&str> = plan.nemesis.iter().map(|kind| kind.name()).collect();
    let first = names.first().copied().unwrap_or("none");
    let cell = format!("{}-{}-{}", plan.workload.name(), if names.len() > 1 { "mix" } else { first }, plan.seed);
    let evidence = fresh(&plan.out, &cell)?;
    let work = tempfile::Builder::new().prefix("domicile-jepsen-").tempdir()?;
    let outcome = judge_run(plan, work.path(), &evidence);
    let left = std::fs::read_dir(work.path()).into_iter().flatten().flatten().map(|entry| entry.path());
    for log in left.filter(|path| path.extension().is_some_and(|ending| ending == "log")) {
        let _ = std::fs::copy(&log, evidence.join(log.file_name().unwrap_or_default()));
    }
    let report = outcome.with_context(|| format!("{cell}; evidence in {}", evidence.display()))?;
    Ok((report, evidence))
}

fn fresh(out: &Path, cell: &str) -> Result<PathBuf> {
    for number in 0.. {
        let directory = out.join(if number == 0 { cell.to_owned() } else { format!("{cell}.{number}") });
        std::fs::create_dir_all(out)?;
        match std::fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("no directory is free")
}

/// What the faults of a run need of its cluster.
fn shape_of(plan: &Plan, steps: &[Step]) -> Result<Shape> {
    let needs = |needs: Needs| plan.nemesis.iter().find(|kind| kind.needs() == needs);
    let shape = plan.workload.shape();
    let is_shared = |kind: &&Kind| matches!(kind.needs(), Needs::Neighbours | Needs::Bucket);
    if let Some(kind) = plan.nemesis.iter().find(is_shared).filter(|_| !shape.is_trio) {
        anyhow::bail!("`{}` needs nodes that share a store; `{}` has none", kind.name(), plan.workload.name());
    }
    if let Some(kind) = needs(Needs::Newcomers).filter(|_| !matches!(plan.workload, Workload::Shared | Workload::Meta))
    {
        anyhow::bail!("`{}` loses what lies on one machine alone, as `{}` has it", kind.name(), plan.workload.name());
    }
    let lost = steps.iter().filter(|step| step.deed.kind == Kind::Replace);
    let losses = lost.map(|step| step.deed.loses(shape.is_trio)).collect();
    let bucket = needs(Needs::Bucket).map(|_| plan.seed);
    let round_trip = plan.round_trip;
    Ok(Shape { has_clocks: needs(Needs::Clocks).is_some(), bucket, losses, round_trip, ..shape })
}

fn judge_run(plan: &Plan, work: &Path, evidence: &Path) -> Result<Report> {
    let (mut net, lack) = network(&plan.net, plan.seed)?;
    let mut skipped: Vec<String> = lack.into_iter().collect();
    let capture = Capture::create(&evidence.join(CAPTURE))?;
    net.tap(Arc::clone(&capture));
    net.weather().set_apart(plan.round_trip.unwrap_or_default());
    let net_name = net.name();
    let steps = schedule(plan.seed, &plan.nemesis, plan.seconds * 1_000);
    let shape = shape_of(plan, &steps)?;
    let (is_trio, loses_first) = (shape.is_trio, shape.losses.contains(&0));
    let mut disks = None;
    let prepare = |homes: &[PathBuf]| {
        if let Some(format) = plan.disk {
            disks = Some(Disks::mount(work, homes, format)?);
        }
        Ok(())
    };
    let mut cluster = Cluster::start(&plan.binary, work, net, plan.environment.clone(), shape, prepare)?;
    if let Some(disks) = &disks {
        disks.flush()?;
    }
    let recorder = Recorder::create(&evidence.join("history.jsonl"))?;
    let regions = cluster.regions();
    let going = AtomicBool::new(true);
    let run = control(plan.seed);
    let (tokyo, sharing, operator) = (cluster.speaker("tokyo")?, cluster.sharing(), cluster.operator());
    let stage = Stage {
        regions: &regions,
        sharing: &sharing,
        operator: &operator,
        recorder: &recorder,
        going: &going,
        run: &run,
        seed: plan.seed,
        loses_first,
        tokyo: &tokyo,
    };
    let watcher =
        is_trio.then(|| Ok::<_, anyhow::Error>(Watcher::begin(Opened::new(cluster.objects()?)?))).transpose()?;
    plan.workload.prepare(&stage)?;
    let mut kept = keep_checkpoints(&cluster, evidence, 0);
    let (faults, healed) = exert(plan, &mut cluster, disks.as_ref(), &stage, &steps)?;
    plan.workload.read(&stage)?;
    kept.extend(keep_checkpoints(&cluster, evidence, 1));
    // What is there now must be there after another crash of everything.
    if plan.workload.is_kept() {
        crash_everything(&mut cluster)?;
        plan.workload.read(&stage)?;
    }
    gather(plan, cluster, kept, watcher, evidence)?;
    capture.flush()?;
    let events = recorder.events()?;
    let operations = history::operations(&events);
    let lines: Vec<String> = steps.iter().map(|step| serde_json::to_string(step).unwrap_or_default()).collect();
    std::fs::write(evidence.join("nemesis.jsonl"), lines.join("\n") + "\n")?;
    let mut verdicts = plan.workload.judge(&operations);
    verdicts.extend(judge_logs(plan.workload, &operations, evidence)?);
    verdicts.push(availability::check(&operations, &faults, &plan.workload.floors(plan.enough_for)));
    verdicts.push(failover::check(&operations, &faults, plan.round_trip));
    verdicts.extend(judge_left(evidence)?);
    match judge_capture(evidence, plan.seed)? {
        Some(verdict) => verdicts.push(verdict),
        None => skipped.push("tshark: nobody looked into what the regions sent each other".to_owned()),
    }
    if capture.left_out() > 0 {
        skipped.push(format!("the capture was full: {} packets are not in it", capture.left_out()));
    }
    let report = Report {
        seed: plan.seed,
        seconds: plan.seconds,
        enough_for: plan.enough_for,
        workload: plan.workload.name().to_owned(),
        nemesis: plan.nemesis.iter().map(|kind| kind.name().to_owned()).collect(),
        net: net_name.to_owned(),
        round_trip_ms: plan.round_trip.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        disk: plan.disk.map(Format::name).unwrap_or_default().to_owned(),
        skipped,
        phases: availability::phases(&operations, &faults),
        faults,
        healed_ms: u64::try_from(healed.as_millis()).unwrap_or(u64::MAX),
        verdicts,
    };
    report.write(evidence, &operations)?;
    Ok(report)
}

/// Ends the cluster, and puts what it leaves into the evidence.
fn gather(plan: &Plan, cluster: Cluster, kept: Vec<Kept>, watcher: Option<Watcher>, evidence: &Path) -> Result<()> {
    if plan.nemesis.contains(&Kind::Replace) {
        std::fs::write(evidence.join(REPLACED), serde_json::to_vec_pretty(&cluster.replaced())?)?;
    }
    for log in cluster.key_logs() {
        let name = log.file_name().context("a name")?.to_owned();
        std::fs::copy(&log, evidence.join(&name)).with_context(|| format!("no key log `{}`", name.display()))?;
    }
    let places = Places::of(&cluster);
    // It outlives the nodes, and so does what the watcher reads.
    let server = cluster.bucket();
    drop(cluster);
    let said = ledgers::look(&plan.binary, &places, &kept, evidence)?;
    std::fs::write(evidence.join(LEDGERS), serde_json::to_vec_pretty(&said)?)?;
    if let Some(watcher) = watcher {
        std::fs::write(evidence.join(LOGS), serde_json::to_vec(&watcher.end()?)?)?;
    }
    drop(server);
    // Read when every node has ended: each then published all that it has.
    let crossings: Crossings =
        places.ledgers.iter().map(|(_, ledger)| pages::crossings(ledger)).collect::<Result<_>>()?;
    std::fs::write(evidence.join(CROSSINGS), serde_json::to_vec(&crossings)?)?;
    let signed = places.gone.iter().filter(|(_, ledger, _)| ledgers::has_signed(ledger));
    let of_lost: Crossings = signed.map(|(_, ledger, _)| pages::signed_crossings(ledger)).collect::<Result<_>>()?;
    Ok(std::fs::write(evidence.join(CROSSINGS_OF_LOST), serde_json::to_vec(&of_lost)?)?)
}

fn crash_everything(cluster: &mut Cluster) -> Result<()> {
    for region in 0..cluster.len() {
        cluster.kill(region)?;
        cluster.launch(region)?;
    }
    for region in 0..cluster.len() {
        cluster.wait_until_ready(region, READY_WITHIN)?;
    }
    Ok(())
}

/// Judges what the nodes left behind: machines that were replaced, ledgers, and what crossed by them.
fn judge_left(evidence: &Path) -> Result<Vec<Verdict>> {
    let replaced: Option<Replaced> = read_if_there(&evidence.join(REPLACED))?;
    let of_lost: Option<Crossings> = read_if_there(&evidence.join(CROSSINGS_OF_LOST))?;
    let said: Said = serde_json::from_slice(&std::fs::read(evidence.join(LEDGERS))?)?;
    let crossings = serde_json::from_slice(&std::fs::read(evidence.join(CROSSINGS))?)?;
    let lost = replaced.as_ref().map(Replaced::lost).unwrap_or_default();
    let mut verdicts: Vec<Verdict> = replaced.iter().map(checker::replaced::check).collect();
    verdicts.push(checker::ledger::check(&said));
    verdicts.push(checker::double_entry::check(&crossings, &lost, &of_lost.unwrap_or_default()));
    Ok(verdicts)
}

fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn judge_logs(workload: Workload, operations: &[Operation], evidence: &Path) -> Result<Option<Verdict>> {
    if !workload.shape().is_trio {
        return Ok(None);
    }
    let logs: Logs = serde_json::from_slice(&std::fs::read(evidence.join(LOGS))?)?;
    Ok(Some(checker::fencing::check(operations, &logs)))
}

/// Opens what the regions sent each other and looks for what was planted; none where the machine has no tshark.
fn judge_capture(evidence: &Path, seed: u64) -> Result<Option<Verdict>> {
    if !runs("tshark") {
        return Ok(None);
    }
    let named = std::fs::read_dir(evidence)?.flatten().map(|entry| entry.path());
    let logs: Vec<PathBuf> = named
        .filter(|path| path.extension().is_some_and(|ending| ending == "keys") && !path.ends_with(CAPTURE_KEYS))
        .collect();
    let plain = decrypt(Path::new("tshark"), &evidence.join(CAPTURE), &logs)?;
    Ok(Some(checker::canary::check(&plain, &canary(seed), &control(seed))))
}

/// Clients and nemesis side by side, then everything healed: the faults, and how long the healing took.
fn exert(
    plan: &Plan,
    cluster: &mut Cluster,
    disks: Option<&Disks>,
    stage: &Stage<'_>,
    steps: &[Step],
) -> Result<(Vec<Fault>, Duration)> {
    let begun = Instant::now();
    let faults = std::thread::scope(|scope| {
        scope.spawn(|| plan.workload.work(stage));
        // The clients end also when a fault cannot be done, so that the failure is seen and not waited for.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut nemesis = Nemesis::new(cluster, disks, stage.recorder, plan.round_trip.is_some());
            let done = nemesis.follow(steps, Duration::from_secs(plan.seconds));
            (nemesis.faults, done)
        }));
        if done.as_ref().is_ok_and(|(_, done)| done.is_ok()) {
            std::thread::sleep(Duration::from_secs(plan.seconds).saturating_sub(begun.elapsed()));
        }
        stage.going.store(false, Ordering::SeqCst);
        match done {
            Ok((faults, done)) => done.map(|()| faults),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let healing = Instant::now();
    cluster.net.weather().clear();
    if let Some(bucket) = cluster.bucket() {
        bucket.relay.set(Mood::Fair);
    }
    for region in 0..cluster.len() {
        if cluster.ended(region).is_some() {
            let name = cluster.name(region);
            anyhow::bail!("`{name}` ended by itself:\n{}", crate::cluster::tail(&cluster.log(region)));
        }
        cluster.wait_until_ready(region, READY_WITHIN)?;
    }
    wait_until(READY_WITHIN, || cluster.leader()).context("no leader after everything was healed")?;
    stage.recorder.nemesis("healed", json!(""), json!({"ms": healing.elapsed().as_millis() as u64}));
    Ok((faults, healing.elapsed()))
}

/// Judges a history again, from the evidence alone.
///
/// # Errors
/// When the evidence is not whole.
pub fn replay(evidence: &Path) -> Result<Report> {
    let mut report: Report = serde_json::from_slice(&std::fs::read(evidence.join("report.json"))?)?;
    let operations: Vec<Operation> = history::operations(&history::read(&evidence.join("history.jsonl"))?);
    let workload = Workload::named(&report.workload)?;
    let enough_for = if report.enough_for == 0 { report.seconds } else { report.enough_for };
    report.verdicts = workload.judge(&operations);
    report.verdicts.extend(judge_logs(workload, &operations, evidence)?);
    report.verdicts.push(availability::check(&operations, &report.faults, &workload.floors(enough_for)));
    let round_trip = report.round_trip_ms.map(Duration::from_millis);
    report.verdicts.push(failover::check(&operations, &report.faults, round_trip));
    report.verdicts.extend(judge_left(evidence)?);
    report.verdicts.extend(judge_capture(evidence, report.seed)?);
    report.phases = availability::phases(&operations, &report.faults);
    Ok(report)
}
