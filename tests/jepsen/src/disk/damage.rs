//! One flipped bit, or a file cut short, in any file of a stopped node: it must be noticed, or do no harm. A wrong answer that
//! nothing warns of is what must not be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::fixture::{Dice, bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{READY_WITHIN, wait_until};
use serde_json::Value;

use crate::cluster::{Cluster, Shape, tail};
use crate::door::Sent;
use crate::env::loopback::LoopbackNet;
use crate::run::Plan;
use crate::workload::ingest::{batches, post};

/// Batches that lie in the region before it is damaged.
const BATCHES: u64 = 60;
/// Documents of each.
const DOCUMENTS: u64 = 20;
/// How long a damaged node may take to be ready or to give up.
const DECIDES_WITHIN: Duration = Duration::from_secs(30);
/// What the log says where the end of the newest file of the write-ahead log is taken for the torn end of a crash.
const TORN_END: &str = "cut off a batch that was never acknowledged";

/// What became of the rounds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// By kind of file and outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Wrong answers without a warning, and files that could not be restored.
    pub violations: Vec<String>,
}

/// Damages one file after the other, each time beginning from the same state: of every part of the node, or of one alone.
///
/// # Errors
/// When the cluster does not run without damage.
pub fn rounds(plan: &Plan, number: u64, only: Option<&str>) -> Result<Found> {
    let work = tempfile::Builder::new().prefix("domicile-jepsen-").tempdir()?;
    let net = Box::new(LoopbackNet::new(plan.seed));
    let mut cluster =
        Cluster::start(&plan.binary, work.path(), net, plan.environment.clone(), Shape::default(), |_| Ok(()))?;
    let victim = 0;
    let region = cluster.region(victim).clone();
    let expected = plant(&region)?;
    ensure!(batches(&region, STREAM).as_ref() == Some(&expected), "not even the undamaged region is right");
    // Some records must lie in the write-ahead log alone.
    cluster.kill(victim)?;
    let (data, saved) = (cluster.home(victim).join("data"), work.path().join("saved"));
    copy(&data, &saved)?;
    let mut dice = Dice::new(plan.seed);
    let mut found = Found::default();
    for round in 0..number {
        std::fs::remove_dir_all(&data)?;
        copy(&saved, &data)?;
        let mut files = kinds(&data)?;
        files.retain(|kind, _| only.is_none_or(|part| kind.split('/').next() == Some(part)));
        ensure!(!files.is_empty(), "there is no such part of a node");
        let kind = files.keys().nth(usize::try_from(round).unwrap_or(0) % files.len()).context("files")?.clone();
        let of_kind = &files[&kind];
        let file = &of_kind[usize::try_from(dice.below(of_kind.len() as u64)).unwrap_or(0)];
        let what = spoil(file, &mut dice)?;
        let name = file.strip_prefix(&data).unwrap_or(file).display().to_string();
        let _ = std::fs::remove_file(cluster.log(victim));
        let outcome = look(&mut cluster, victim, &expected)?;
        cluster.kill(victim)?;
        if outcome.starts_with("WRONG") {
            found.violations.push(format!("round {round}: {name}, {what}: {outcome}"));
        }
        let short = outcome.split(':').next().unwrap_or_default();
        *found.outcomes.entry(format!("{kind}, {short}")).or_default() += 1;
    }
    std::fs::remove_dir_all(&data)?;
    copy(&saved, &data)?;
    cluster.launch(victim)?;
    cluster.wait_until_ready(victim, READY_WITHIN)?;
    ensure!(batches(&region, STREAM).as_ref() == Some(&expected), "the restored region is not right");
    Ok(found)
}

const STREAM: &str = "damage";

fn plant(region: &Region) -> Result<BTreeMap<String, u64>> {
    let mut expected = BTreeMap::new();
    for number in 0..BATCHES {
        let batch = format!("b{number}");
        let (mut drawn, _) = events(number, DOCUMENTS, 1);
        drawn.iter_mut().for_each(|event| event["service"] = Value::from(batch.as_str()));
        let body = bulk(&drawn, None);
        let taken = wait_until(READY_WITHIN, || match post(region, &format!("/{STREAM}/_bulk"), &batch, &body) {
            Sent::Answered(answer) if answer.status == 200 => Some(()),
            _ => None,
        });
        taken.with_context(|| format!("`{}` takes nothing", region.name))?;
        if number == BATCHES / 2 {
            batches(region, STREAM).context("half of it can be read")?;
        }
        expected.insert(batch, DOCUMENTS);
    }
    Ok(expected)
}

/// Starts the damaged node and sees what it says.
fn look(cluster: &mut Cluster, victim: usize, expected: &BTreeMap<String, u64>) -> Result<String> {
    cluster.launch(victim)?;
    let said = wait_until(DECIDES_WITHIN, || {
        if cluster.ended(victim).is_some() {
            return Some("does not start, and says why");
        }
        cluster.is_ready(victim).then_some("ready")
    });
    let log = std::fs::read_to_string(cluster.log(victim)).unwrap_or_default();
    match said {
        None => return Ok("is never ready".to_owned()),
        Some("ready") => {}
        Some(refused) if log.contains("DMC-") => return Ok(refused.to_owned()),
        Some(_) => return Ok(format!("does not start, without a code: {}", tail(&cluster.log(victim)))),
    }
    let region = cluster.region(victim).clone();
    // What the log gives back is searchable with the next refresh, not at once.
    let mut last = None;
    wait_until(Duration::from_secs(5), || {
        last = batches(&region, STREAM).or_else(|| last.take());
        (last.as_ref() == Some(expected)).then_some(())
    });
    let read = last;
    let log = std::fs::read_to_string(cluster.log(victim)).unwrap_or_default();
    Ok(match read {
        None => "starts, and refuses or flags the answer".to_owned(),
        Some(read) if read == *expected => "starts, and every answer is right".to_owned(),
        Some(_) if log.contains(TORN_END) => "starts, takes it for a torn end and warns".to_owned(),
        Some(read) => {
            let there: u64 = read.values().sum();
            format!("WRONG: {there} of {} records and no warning", expected.values().sum::<u64>())
        }
    })
}

/// Files by the part of the node they belong to, those with content.
fn kinds(data: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut open = vec![data.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.metadata()?.len() > 0 {
                let inside = path.strip_prefix(data)?;
                let part = inside.components().next().context("a part")?.as_os_str().to_string_lossy().into_owned();
                let end = path.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
                let is_fixed = end.len() < 8 && !end.chars().any(|letter| letter.is_ascii_digit());
                let kind = if is_fixed { format!("{part}/*{end}") } else { part };
                kinds.entry(kind).or_default().push(path);
            }
        }
    }
    kinds.values_mut().for_each(|files| files.sort());
    Ok(kinds)
}

/// Flips one bit, or cuts the file short. What was done.
fn spoil(file: &Path, dice: &mut Dice) -> Result<String> {
    let mut bytes = std::fs::read(file)?;
    let at = usize::try_from(dice.below(bytes.len() as u64))?;
    let what = if dice.below(3) == 0 {
        bytes.truncate(at);
        format!("cut at {at}")
    } else {
        bytes[at] ^= 1 << dice.below(8);
        format!("a bit of byte {at} of {}", bytes.len())
    };
    std::fs::write(file, bytes)?;
    Ok(what)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(done.success(), "copying {}", from.display());
    Ok(())
}
