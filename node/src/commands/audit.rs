//! `domicile audit`: checks a ledger offline, says what left in plain words, and looks for planted values.
//!
//! `verify` and `crossings` read files and nothing else: no node runs, no address is asked, and a copy on another machine is as
//! good as the place it was taken from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use domicile_proto::ids::{Region, Timestamp};

use super::double_entry::Book;
use super::honoured::Officers;
use super::pack::{self, BreachArguments, ReportArguments};
use super::profile::Profile;
use super::reconcile::{Counters, ReconcileArguments};
use super::replay::ReplayArguments;
use super::selftest::SelftestArguments;
use super::{looks, reconcile, replay, scan, selftest, wire};
use crate::audit::{
    About, Broken, Checked, Entry, Event, Finding, Passage, Peer, Unsigned, Verifier, Why, prove_entry, prove_since,
    verify,
};

#[derive(Debug, Subcommand)]
pub(super) enum AuditVerb {
    /// Make the audit pack of a tenant: a report for people, tables for tools, the ledgers themselves, sealed by the regions
    Report(ReportArguments),
    /// Check an audit pack, or the ledger of a region, offline: every file, every entry, every tile, every checkpoint
    Verify {
        /// An audit pack; or `data_dir/ledger` of a node, or a copy of the directory `log` in it; of several, what one says
        /// left the others must have
        #[arg(required = true, value_name = "DIR")]
        dirs: Vec<PathBuf>,
        /// Verifier key that you were given, or a file with it; may be repeated. Without it the key in the copy is believed
        #[arg(long, value_name = "KEY")]
        key: Vec<String>,
        /// Checkpoint that you kept from last time: the log must go on from it; may be repeated
        #[arg(long, value_name = "FILE")]
        saved: Vec<PathBuf>,
        /// The node stood still when its ledger was copied: then nothing may lie behind the newest checkpoint
        #[arg(long)]
        stopped: bool,
        /// Of a pack: key of a witness outside the deployment, `name+id+key` or a file with it; may be repeated
        #[arg(long, value_name = "KEY")]
        witness: Vec<String>,
        /// Public key of a region's officer, the 64 digits of `pki/<region>/officer.pub`, or that file: whom the region's nodes say that
        /// they honour is held against it; may be repeated
        #[arg(long, value_name = "REGION=KEY")]
        officer: Vec<String>,
        /// Of a pack: digests of the programs you trust, as `sha256sum` writes them
        #[arg(long, value_name = "FILE")]
        release: Option<PathBuf>,
        /// Of a pack: counters of the wire, as `audit reconcile` compares them
        #[command(flatten)]
        counters: Counters,
    },
    /// Ask sampled answers of an audit pack again in the regions that gave them, and compare bytes
    Replay(ReplayArguments),
    /// Attack the disclosure gate of this program on synthetic records, or make the evidence in a pack again; asks nobody
    Selftest(SelftestArguments),
    /// Compare what ledgers say that left with flow logs of the provider, or with counters of nftables, by route and hour
    Reconcile(ReconcileArguments),
    /// Say the first facts of a breach out of a pack: regions, streams, times, most records and persons, and the clocks of
    /// the laws
    Breach(BreachArguments),
    /// Print a proof that needs no log to be checked: that an entry is in it, or that it goes on from an older checkpoint
    Prove {
        /// `data_dir/ledger` of a node, or a copy of the directory `log` in it
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Number of the entry; the proof is a C2SP tlog-proof
        #[arg(long, value_name = "NUMBER", conflicts_with = "since", required_unless_present = "since")]
        entry: Option<u64>,
        /// The older checkpoint; the proof is what a C2SP witness is asked with
        #[arg(long, value_name = "FILE")]
        since: Option<PathBuf>,
    },
    /// Say what left a region and what came in, decoded, one line each
    Crossings {
        /// `data_dir/ledger` of a node, or a copy of the directory `log` in it
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// From when on, as `2026-11-21T00:00:00Z`
        #[arg(long, value_name = "TIME", value_parser = instant)]
        from: Option<Timestamp>,
        /// Until when
        #[arg(long, value_name = "TIME", value_parser = instant)]
        to: Option<Timestamp>,
        /// Only what went to this region or came from it
        #[arg(long)]
        region: Option<Region>,
    },
    /// Decode every file under a directory and look for planted values; fails where one is found
    Scan {
        /// A data directory, or a copy of one
        dir: PathBuf,
        /// File with one planted value a line, 8 characters or more each; `-` is standard input
        #[arg(long, value_name = "FILE")]
        canary: PathBuf,
    },
}

pub(super) async fn run(
    verb: AuditVerb,
    profile: impl FnOnce() -> anyhow::Result<Profile>,
) -> anyhow::Result<ExitCode> {
    match &verb {
        AuditVerb::Report(arguments) => pack::report(arguments, &profile()?).await,
        AuditVerb::Verify { dirs, key, saved, stopped, witness, officer, release, counters } => {
            let officers = Officers::read(officer)?;
            verify_all(dirs, *stopped, (key, saved, witness, officers), (release.as_deref(), counters))
        }
        AuditVerb::Reconcile(arguments) => reconcile::run(arguments, &verifiers(&arguments.key)?),
        AuditVerb::Replay(arguments) => {
            let keys = verifiers(&arguments.key)?;
            replay::run(arguments, pack::Trust { keys, ..pack::Trust::default() }, &profile()?).await
        }
        AuditVerb::Selftest(arguments) => selftest::run(arguments).await,
        AuditVerb::Breach(arguments) => Ok(pack::breach(arguments)),
        AuditVerb::Prove { dir, entry, since } => prove(dir, *entry, since.as_deref()),
        AuditVerb::Crossings { dir, from, to, region } => crossings(dir, (*from, *to), region.as_ref()),
        AuditVerb::Scan { dir, canary } => scan::run(dir, canary),
    }
}

fn prove(dir: &Path, entry: Option<u64>, since: Option<&Path>) -> anyhow::Result<ExitCode> {
    let proof = match since {
        Some(since) => prove_since(dir, &read_note(since)?.1)?,
        None => prove_entry(dir, entry.unwrap_or_default())?,
    };
    print!("{proof}");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map(|at| Timestamp(at.as_microsecond())).map_err(|_| "write a time as `2026-11-21T00:00:00Z`".to_owned())
}

/// What left and what arrived, and how much of what there is.
#[derive(Default)]
struct Traffic {
    book: Book,
    kinds: BTreeMap<&'static str, u64>,
}

fn verify_all(
    dirs: &[PathBuf],
    is_stopped: bool,
    (keys, saved, witnesses, officers): (&[String], &[PathBuf], &[String], Officers),
    (release, counters): (Option<&Path>, &Counters),
) -> anyhow::Result<ExitCode> {
    let keys = verifiers(keys)?;
    let saved = saved.iter().map(|path| read_note(path)).collect::<anyhow::Result<Vec<_>>>()?;
    if let [dir] = dirs
        && pack::is_pack(dir)
    {
        let key = |given: &String| std::fs::read_to_string(given).unwrap_or_else(|_| given.clone()).trim().to_owned();
        let witnesses = witnesses.iter().map(key).collect();
        return pack::verify(dir, &pack::Trust { keys, saved, witnesses, officers }, release, counters);
    }
    let (mut logs, mut regions, mut is_sound) = (Vec::new(), Vec::new(), true);
    for dir in dirs {
        match verify_one(dir, &keys, &saved) {
            Ok((mut checked, traffic)) => {
                if is_stopped && checked.unsigned.bytes > 0 {
                    checked.findings.push(Finding::new(About::End, UNSIGNED.to_owned()));
                }
                let us = Peer::of_log(&checked.origin);
                let us = us.map_or_else(|| (String::new(), 0), |Peer { region, node }| (region.to_string(), node.0));
                if let Err(why) = officers.holds(&us.0, &checked.officers) {
                    checked.findings.push(Finding::new(About::Officer, why));
                }
                is_sound &= checked.findings.is_empty();
                tell(dir, &checked, &traffic, !keys.is_empty());
                officers.lines(&us.0, us.1, &checked.officers).iter().for_each(|line| println!("  {line}"));
                regions.push(us.0);
                logs.push((checked, traffic));
            }
            Err(broken) => {
                is_sound = false;
                println!("NOT SOUND: the ledger in {} was changed or is not whole: {broken}.", dir.display());
            }
        }
    }
    for region in officers.without(&regions.iter().map(String::as_str).collect::<Vec<_>>()) {
        is_sound = false;
        println!("FINDING you gave a key of the officer of {region}, and no ledger of it that can be read");
    }
    for line in unmatched(&logs) {
        is_sound = false;
        println!("FINDING {line}");
    }
    println!(
        "Not checked here: answers against the policy of their time, bytes on the wire, replay, binaries, whose the witnesses' keys are."
    );
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const UNSIGNED: &str = "something lies behind the newest checkpoint, and a node that stopped leaves nothing there";

fn verify_one(dir: &Path, keys: &[Verifier], saved: &[(String, String)]) -> anyhow::Result<(Checked, Traffic)> {
    let origin = |note: &str| note.lines().next().unwrap_or_default().to_owned();
    let own = origin(&note_of(dir).unwrap_or_default());
    let key = keys.iter().find(|key| key.name() == own);
    if key.is_none() && !keys.is_empty() {
        bail!("no key that you gave is for `{own}`");
    }
    let saved: Vec<(String, String)> = saved.iter().filter(|(_, note)| origin(note) == own).cloned().collect();
    let read = || -> Result<_, Broken> {
        let mut traffic = Traffic::default();
        let checked = verify(dir, key, &saved, &mut |number, entry| traffic.take(number, entry))?;
        Ok((checked, traffic))
    };
    // A running node is in the middle of something, or destroys a body while its ledger is read. What is found twice of a gap is so.
    let mut gaps: Option<Vec<Finding>> = None;
    let is_passing = |found: &Result<(Checked, Traffic), Broken>| {
        let Ok((checked, _)) = found else { return true };
        let is_about = |about: About| checked.findings.iter().any(|finding| finding.about == about);
        let before = gaps.replace(checked.findings.clone());
        is_about(About::End) || is_about(About::Gap) && before.as_ref() != Some(&checked.findings)
    };
    Ok(looks::settled(dir, read, is_passing, std::thread::sleep)?)
}

/// The newest checkpoint of the ledger, or the log, in a directory.
fn note_of(dir: &Path) -> Option<String> {
    [dir.join("log/checkpoint"), dir.join("checkpoint")].iter().find_map(|path| std::fs::read_to_string(path).ok())
}

impl Traffic {
    fn take(&mut self, number: u64, entry: &Entry) {
        self.book.take(number, entry);
        match &entry.event {
            Event::Egress(_) => *self.kinds.entry("messages left").or_default() += 1,
            Event::Ingress(_) => *self.kinds.entry("messages arrived").or_default() += 1,
            Event::RefusedQuestion { .. } => *self.kinds.entry("questions were refused").or_default() += 1,
            Event::BodyDestroyed(_) => {
                *self.kinds.entry("bodies were destroyed by an officer's order").or_default() += 1;
            }
            Event::Purged { .. } => *self.kinds.entry("erasures were completed").or_default() += 1,
            Event::Reveal { .. } => *self.kinds.entry("originals were asked for").or_default() += 1,
            _ => {}
        }
    }
}

/// What arrived here and is not in the log of the region that is said to have sent it.
fn unmatched(logs: &[(Checked, Traffic)]) -> Vec<String> {
    let named = logs.iter().filter_map(|(checked, traffic)| Some((checked, traffic, Peer::of_log(&checked.origin)?)));
    let named: Vec<_> = named.collect();
    let mut found = Vec::new();
    for (checked, traffic, us) in &named {
        for (_, theirs, them) in named.iter().filter(|(.., them)| them != us) {
            let missing = traffic.book.missing(us, them, &theirs.book);
            found.extend(missing.into_iter().map(|(number, _)| {
                format!(
                    "{}, entry {number}: this arrived from {}/{}, whose ledger does not know that it left (or is an older copy)",
                    checked.origin, them.region, them.node
                )
            }));
        }
    }
    found
}

fn tell(dir: &Path, checked: &Checked, traffic: &Traffic, is_pinned: bool) {
    let (size, root) = checked.head.map_or((0, String::new()), |head| (head.size, hex::encode(head.root)));
    let verdict = match (checked.findings.is_empty(), checked.unsigned.bytes) {
        (true, 0) => "SOUND",
        (true, _) => "SOUND AS FAR AS IT IS SIGNED",
        (false, _) => "SOUND, WITH FINDINGS",
    };
    let behind = match checked.unsigned {
        Unsigned { bytes: 0, .. } => String::new(),
        Unsigned { entries, bytes } => {
            format!("; behind them lie {entries} that nobody signed ({bytes} bytes), which prove nothing")
        }
    };
    println!(
        "{verdict}: the {size} entries of {} in {} are whole and as they were signed{behind}.",
        checked.origin,
        dir.display()
    );
    for finding in &checked.findings {
        println!("FINDING {}, {finding}", checked.origin);
    }
    for (what, count) in &traffic.kinds {
        println!("  {count} {what}");
    }
    println!("  root {root}");
    println!("  {} checkpoint(s) in one line, {} bodies destroyed", checked.checkpoints, checked.destroyed);
    if !checked.cosigners.is_empty() {
        println!(
            "  cosigned by {}; their keys stand in the copy, and an auditor asks each of them",
            checked.cosigners.join(", ")
        );
    }
    if checked.beyond > 0 {
        println!("  {} entries are durable and not under a checkpoint yet", checked.beyond);
    }
    if !is_pinned {
        println!("  the key was taken from the copy itself; give the one you were handed with --key");
    }
}

fn verifiers(texts: &[String]) -> anyhow::Result<Vec<Verifier>> {
    texts.iter().map(|text| verifier(text)).collect()
}

fn verifier(text: &str) -> anyhow::Result<Verifier> {
    let read = Verifier::read(text.trim()).or_else(|| Verifier::read(std::fs::read_to_string(text).ok()?.trim()));
    read.with_context(|| format!("`{text}` is no verifier key (`name+id+key`) and no file with one"))
}

fn read_note(path: &Path) -> anyhow::Result<(String, String)> {
    let note = std::fs::read_to_string(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    Ok((path.display().to_string(), note))
}

fn crossings(
    dir: &Path,
    (from, to): (Option<Timestamp>, Option<Timestamp>),
    region: Option<&Region>,
) -> anyhow::Result<ExitCode> {
    let (mut messages, mut bytes) = (0_u64, 0_u64);
    let checked = verify(dir, None, &[], &mut |number, entry| {
        let is_asked = from.is_none_or(|from| from <= entry.at) && to.is_none_or(|to| entry.at < to);
        let (way, passage) = match &entry.event {
            Event::Egress(passage) => (Way::Left, passage),
            Event::Ingress(passage) => (Way::Arrived, passage),
            other => {
                if let Some((peer, said)) = withheld(other).filter(|_| is_asked)
                    && region.is_none_or(|region| peer == Some(region))
                {
                    println!("{number}  {}  {said}", at(entry.at));
                }
                return;
            }
        };
        if is_asked && region.is_none_or(|region| *region == passage.peer.region) {
            if way == Way::Left {
                (messages, bytes) = (messages + 1, bytes + passage.bytes.0);
            }
            println!("{}", line(number, entry.at, way, passage));
        }
    });
    match checked {
        Ok(checked) => {
            eprintln!("{messages} message(s) of {bytes} bytes left; the ledger of {} is sound", checked.origin);
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            eprintln!("NOT SOUND: what stands above ends where the ledger does not hold: {broken}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What did not cross, and why; and which way was opened or closed. With the region it is about, where it is about one.
fn withheld(event: &Event) -> Option<(Option<&Region>, String)> {
    match event {
        Event::NotSent { to, stream, why } => {
            Some((Some(to), format!("a question about stream {stream} was not sent to {to}: {}", reason(why))))
        }
        Event::RefusedQuestion { peer: Some(peer), why, .. } => {
            let Peer { region, node } = peer;
            Some((Some(region), format!("a question of {region} (node {node}) was refused: {}", reason(why))))
        }
        Event::RefusedQuestion { peer: None, why, .. } => {
            Some((None, format!("a question that was put here was refused: {}", reason(why))))
        }
        Event::BodyDestroyed(gone) => {
            let way = if gone.left { "left" } else { "arrived" };
            let why = gone.ground.words();
            Some((
                None,
                format!("the body of entry {}, which {way}, was destroyed by an officer's order: {why}", gone.entry),
            ))
        }
        Event::RouteChanged { to, open, basis, policy, .. } => {
            let basis = basis.map_or_else(|| "no basis".to_owned(), |basis| basis.to_string());
            let said = if *open { format!("opened, {basis}") } else { "closed".to_owned() };
            Some((Some(to), format!("the route to {to} was {said}, policy {}", policy.0)))
        }
        _ => None,
    }
}

fn reason(why: &Why) -> &'static str {
    match why {
        Why::Code(code) => code.explain(),
        Why::NotExpressible => "it cannot be put into the words that may travel",
    }
}

fn at(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Left,
    Arrived,
}

fn line(number: u64, at: Timestamp, way: Way, passage: &Passage) -> String {
    let at = self::at(at);
    let way = if way == Way::Left { "left for" } else { "arrived from" };
    let Passage { peer, bytes, .. } = passage;
    let said = passage.answer().map_or_else(|| wire::frame_words(&passage.body), |answer| wire::answer_words(&answer));
    format!("{number}  {at}  {way} {} (node {}), {} bytes: {said}", peer.region, peer.node, bytes.0)
}
