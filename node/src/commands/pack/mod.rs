//! The audit pack: `domicile audit report` makes one, `domicile audit verify` checks it.
//!
//! paper (what is said) -> pages, print, JSON and CSV (how). The paper is composed of what the regions stated and signed and of
//! what their ledgers come to, and of nothing else: whoever checks a pack writes it again and compares the bytes.

mod answers;
mod breach;
mod chapters;
mod check;
mod collect;
mod compose;
mod files;
mod letters;
mod lineage;
mod map;
#[cfg(test)]
mod measure_test;
mod open;
mod orders;
mod pages;
mod paper;
mod print;
mod rules;
#[cfg(test)]
mod specimen;
mod tally;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use domicile_proto::ids::{Name, Timestamp};

use super::profile::Profile;
use super::reconcile::{self, Counters};
use super::rehearsal::{Evidence, Rules};
pub(super) use chapters::attacks as attack_words;
pub(super) use check::regions;
use check::{Outcome, Verdict};
#[cfg(test)]
pub(crate) use lineage::wrong_in;
pub(super) use open::Trust;

/// What `audit report` is told.
#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// Whose pack
    #[arg(long, default_value = "default")]
    tenant: Name,
    /// Days in UTC, both inclusive, as `2026-11-01..2026-11-30`; default: the last 31 days
    #[arg(long, value_name = "FROM..TO", value_parser = period)]
    period: Option<(Timestamp, Timestamp)>,
    /// `all` of the profile, or names of regions with commas
    #[arg(long, default_value = "all")]
    regions: String,
    /// A directory that is made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Two days, the second of them inclusive.
fn period(text: &str) -> Result<(Timestamp, Timestamp), String> {
    let wrong = || "write two days as `2026-11-01..2026-11-30`".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let day = |text: &str| text.trim().parse::<jiff::civil::Date>().map_err(|_| wrong());
    let begin = |day: jiff::civil::Date| {
        day.to_zoned(jiff::tz::TimeZone::UTC)
            .map(|day| Timestamp(day.timestamp().as_microsecond()))
            .map_err(|_| wrong())
    };
    let (from, to) = (begin(day(from)?)?, begin(day(to)?.tomorrow().map_err(|_| wrong())?)?);
    if from < to { Ok((from, to)) } else { Err("the second day is before the first".to_owned()) }
}

/// Which program writes a report.
pub(super) fn tool() -> String {
    format!("domicile {}", env!("CARGO_PKG_VERSION"))
}

pub(super) async fn report(arguments: &ReportArguments, profile: &Profile) -> anyhow::Result<ExitCode> {
    let now = crate::clock::Clock::system().now();
    let today = now.0 - now.0.rem_euclid(DAY);
    let period = arguments.period.unwrap_or((Timestamp(today - 30 * DAY), Timestamp(today + DAY)));
    let regions = profile.select(&arguments.regions)?;
    if regions.is_empty() {
        bail!("no region is named");
    }
    let wanted = collect::Wanted { tenant: arguments.tenant.clone(), period, regions, out: arguments.out.clone() };
    let outcome = collect::collect(&wanted, profile).await?;
    let out = wanted.out.display();
    println!("The pack is in {out}. Read {out}/report.html or {out}/report.pdf.");
    Ok(told(&wanted.out, &outcome))
}

/// What the attack suite came to, out of a pack that holds, and the rules of every stream as the regions stated them; else the exit
/// code, and it was told why.
pub(super) fn evidence(dir: &Path, trust: &Trust) -> Result<(Evidence, Vec<(String, Rules)>), ExitCode> {
    let outcome = check::check(dir, trust, None);
    match outcome.evidence.clone().filter(|_| outcome.is_sound()) {
        Some(evidence) => Ok((evidence, compose::attacked(&outcome.homes))),
        None => {
            told(dir, &outcome);
            Err(ExitCode::FAILURE)
        }
    }
}

/// What `audit breach` is told.
#[derive(Debug, Args)]
pub(super) struct BreachArguments {
    /// An audit pack of the tenant; it is checked first
    #[arg(value_name = "PACK")]
    pack: PathBuf,
    /// Times of the records that are concerned, from when on, as `2026-11-21T00:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = super::audit::instant)]
    from: Timestamp,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = super::audit::instant)]
    to: Timestamp,
    /// When somebody learnt of it; default: now
    #[arg(long, value_name = "TIME", value_parser = super::audit::instant)]
    learned: Option<Timestamp>,
    /// A region that is concerned; may be repeated. Default: all in the pack
    #[arg(long)]
    region: Vec<domicile_proto::ids::Region>,
}

/// The first facts of a breach. A pack that does not hold gives none.
pub(super) fn breach(arguments: &BreachArguments) -> ExitCode {
    let outcome = check::check(&arguments.pack, &Trust::default(), None);
    if !outcome.is_sound() {
        return told(&arguments.pack, &outcome);
    }
    let learned = arguments.learned.unwrap_or_else(|| crate::clock::Clock::system().now());
    let concerned: Vec<String> = arguments.region.iter().map(ToString::to_string).collect();
    let window = tally::Period { from: arguments.from, to: arguments.to };
    print!("{}", breach::facts(&outcome.homes, &concerned, window, learned));
    ExitCode::SUCCESS
}

/// Whether a directory is a pack.
pub(super) fn is_pack(dir: &Path) -> bool {
    [files::MANIFEST, files::REQUEST].iter().any(|name| dir.join(name).is_file())
}

/// Checks the pack in a directory and says how it is.
pub(super) fn verify(
    dir: &Path,
    trust: &Trust,
    release: Option<&Path>,
    counters: &Counters,
) -> anyhow::Result<ExitCode> {
    let release = release.map(std::fs::read_to_string).transpose()?;
    let mut outcome = check::check(dir, trust, release.as_deref());
    if outcome.is_sound() && !counters.flow_logs.is_empty() {
        outcome.weighed(reconcile::of_pack(dir, counters)?);
    }
    Ok(told(dir, &outcome))
}

/// A pack that holds.
pub(super) struct Sound {
    pub(super) tenant: String,
    pub(super) homes: Vec<SoundHome>,
}

/// A node of one.
pub(super) struct SoundHome {
    pub(super) region: String,
    pub(super) node: u64,
    /// Its place in the pack.
    pub(super) place: String,
    pub(super) origin: String,
}

/// Checks the pack in a directory; `None` where it does not hold.
pub(super) fn sound(dir: &Path, trust: &Trust) -> Option<Sound> {
    let outcome = check::check(dir, trust, None);
    let tenant = outcome.request.as_ref().filter(|_| outcome.is_sound())?.tenant.clone();
    let home = |home: &compose::Home| SoundHome {
        region: home.name().to_owned(),
        node: home.statement.node,
        place: home.place.clone(),
        origin: home.origin.clone(),
    };
    Some(Sound { tenant, homes: outcome.homes.iter().map(home).collect() })
}

/// One sentence first, the checks after it.
fn told(dir: &Path, outcome: &Outcome) -> ExitCode {
    match (&outcome.request, outcome.problems.first()) {
        (Some(request), None) => {
            println!("{}", sound_in_words(request, outcome.homes.iter().filter(|home| home.is_first()).count()));
        }
        (_, Some(first)) => {
            let more = outcome.problems.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            println!("NOT SOUND: the audit pack in {} was changed or does not hold: {first}{more}.", dir.display());
        }
        (None, None) => println!("NOT SOUND: {} is no audit pack.", dir.display()),
    }
    for point in &outcome.points {
        let verdict = match point.verdict {
            Verdict::Holds => "holds",
            Verdict::Fails => "FAILS",
            Verdict::NotApplicable => "not applicable",
        };
        let number = if point.number == 0 { String::new() } else { point.number.to_string() };
        println!("{number:>3}  {verdict:<14}  {}: {}", point.name, point.why);
    }
    for line in outcome.answers.iter().chain(&outcome.officers) {
        println!("     {line}");
    }
    if outcome.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is said of a pack that holds. The moment is for the reader to compare with when the pack was asked for.
fn sound_in_words(request: &compose::Request, regions: usize) -> String {
    format!(
        "SOUND: the audit pack of tenant `{}` from {} up to {} is whole and as {} sealed it. It was begun at {}, \
         by the clock of whoever made it.",
        request.tenant,
        tally::day(request.from),
        tally::day(request.to),
        regions_in_words(regions),
        tally::instant(request.begun_at)
    )
}

fn regions_in_words(count: usize) -> String {
    if count == 1 { "its region".to_owned() } else { format!("its {count} regions") }
}

/// In microseconds.
const DAY: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_that_holds_says_when_it_was_begun_however_many_regions_are_in_it() {
        let (begun_at, made_at) = (Timestamp(2 * DAY + 61_000_000), Timestamp(3 * DAY));
        let (tool, tenant) = (tool(), "default".to_owned());
        let (format, from, to) = (compose::FORMAT, Timestamp(0), Timestamp(DAY));
        let request = compose::Request { format, tool, tenant, from, to, begun_at, made_at };
        for (regions, whose) in [(1, "its region"), (3, "its 3 regions")] {
            let said = sound_in_words(&request, regions);
            let wanted =
                format!("up to 1970-01-02 is whole and as {whose} sealed it. It was begun at 1970-01-03T00:01:01Z,");
            assert!(said.starts_with("SOUND: ") && said.contains(&wanted), "{said}");
        }
    }

    #[test]
    fn a_period_is_two_days_with_the_second_inside() {
        let (from, to) = period("2026-11-01..2026-11-30").expect("two days");
        assert_eq!((to.0 - from.0) / DAY, 30);
        assert_eq!(period("2026-11-01..2026-11-01").map(|(from, to)| to.0 - from.0), Ok(DAY));
        for wrong in ["2026-11-02..2026-11-01", "2026-11-02", "..", "a..b", "2026-02-30..2026-03-01"] {
            assert!(period(wrong).is_err(), "{wrong}");
        }
    }
}
