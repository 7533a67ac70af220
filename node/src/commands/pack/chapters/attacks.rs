//! What the attack suite came to against the gate of the program that made this pack, under the rules of its streams.

use super::super::super::rehearsal::{Attacked, Evidence, Guards, Rehearsed, Rules, Verdict};
use super::super::compose::Home;
use super::super::paper::{Section, Table};

/// Tests of the protection, as the law wants them done regularly.
pub(in super::super) fn attacks(homes: &[Home], evidence: Option<&Evidence>) -> Section {
    let section = Section::new("attacks", "What attacks on the published numbers came to");
    let columns =
        ["Rules", "Attack", "Stands against it", "Worked", "Bar, and a guess", "Without a threshold", "Outcome"];
    let table = Table::new("attacks", "Attacks, each on synthetic records", &columns, "none was run.");
    let Some(evidence) = evidence else {
        return section.say("The program that made this pack attacked nothing.").table(table);
    };
    let here: Vec<String> =
        homes.iter().filter(|home| home.statement.build.sha256 == evidence.program_sha256).map(Home::label).collect();
    let same = if here.len() == homes.len() {
        "every node of this pack".to_owned()
    } else if here.is_empty() {
        "ATTENTION: no node of this pack; make one with the program that they run".to_owned()
    } else {
        format!("ATTENTION: {} alone", here.join(", "))
    };
    let by = [[evidence.tool.clone(), evidence.program_sha256.clone(), evidence.seed.to_string(), same]];
    let rules = evidence
        .runs
        .iter()
        .zip(1..)
        .map(|(run, number)| [number.to_string(), words(&run.rules), run.streams.join(", "), verdict(run)]);
    let rows = evidence
        .runs
        .iter()
        .zip(1..)
        .flat_map(|(run, number)| run.attacks.iter().map(move |one| row(number, run, one)));
    let left_out = evidence
        .left_out
        .iter()
        .map(|stream| [stream.clone(), "ATTENTION: not attacked, for there are too many different rules".to_owned()]);
    section
        .say("An attacker in another region asks only what is allowed, and reckons. The program that made this pack tried it on its own disclosure gate, under the rules of the streams in it, on synthetic records drawn from a seed. No record of anybody was read.")
        .say("Do not believe this list: `domicile audit selftest --pack PACK` makes it again without a network, and the same program must come to the same numbers. With `--seed` it draws other records.")
        .table(Table::new("attacks-by", "Which program attacked itself", &["Program", "SHA-256 of its file", "Seed", "Runs on"], "none.").rows(by))
        .table(Table::new("attacked-rules", "Rules that were attacked", &["Rules", "What they say", "Streams with them", "Outcome"], "none.").rows(rules))
        .table(table.rows(rows))
        .table(Table::new("not-attacked", "Streams whose rules were not attacked", &["Stream", "State"], "none.").rows(left_out))
}

/// Rules in a sentence.
pub(in super::super::super) fn words(rules: &Rules) -> String {
    let Rules { guards, k, grid_s, close_after_s, text_questions, noise } = rules;
    let group = match guards {
        Guards::Subjects => format!("at least {k} persons in every cell"),
        Guards::Records => format!("at least {k} records in every cell, for nobody declared whose they are"),
        Guards::Nobody if *k <= 1 => "no threshold: an officer stated that nobody is in it".to_owned(),
        Guards::Nobody => format!("at least {k} records in every cell; an officer stated that nobody is in it"),
    };
    let texts = if *text_questions { "questions for words are answered" } else { "no questions for words" };
    let noise = noise.map_or("no noise".to_owned(), |noise| {
        format!(
            "noise ({}, epsilon {}.{:03} a day), left out here: the attacks must fail without it",
            noise.mechanism.as_str(),
            noise.epsilon / 1_000,
            noise.epsilon % 1_000
        )
    });
    format!("{group}; cells of {grid_s} s, closed after {close_after_s} s; {texts}; {noise}")
}

/// One run in a sentence; what begins with ATTENTION must not be overlooked.
pub(in super::super::super) fn verdict(run: &Rehearsed) -> String {
    let (held, succeeded, all) = (run.count(Verdict::Held), run.count(Verdict::Succeeded), run.attacks.len());
    let blind = match run.count(Verdict::Blind) {
        0 => String::new(),
        blind => format!(" {blind} could prove nothing."),
    };
    match (run.rules.guards, succeeded) {
        (_, 0) if held == all => format!("All {all} attacks failed."),
        (Guards::Nobody, 0) => format!("{held} of {all} attacks failed, none succeeded.{blind}"),
        (_, 0) => format!("ATTENTION: {held} of {all} attacks failed, none succeeded.{blind}"),
        (Guards::Nobody, _) => format!(
            "ATTACKS SUCCEED: {succeeded} of {all}. Nothing guards a person here; that there is none is the officer's word.{blind}"
        ),
        (_, _) => format!("ATTENTION: ATTACKS SUCCEED: {succeeded} of {all} tell of groups that are too small.{blind}"),
    }
}

fn row(number: i32, run: &Rehearsed, one: &Attacked) -> [String; 7] {
    let share = |successes: u64, tries: u64| {
        format!(
            "{successes} of {tries} ({})",
            percent(successes.saturating_mul(1_000).checked_div(tries).unwrap_or_default())
        )
    };
    [
        number.to_string(),
        one.name.clone(),
        one.rules.clone(),
        share(one.successes, one.tries),
        format!("{}, {}", percent(one.bar_per_mille), percent(one.guess_per_mille)),
        share(one.control_successes, one.control_tries),
        outcome(run.rules.guards, one).to_owned(),
    ]
}

/// What came of one attack, in words.
pub(in super::super::super) fn outcome(guards: Guards, one: &Attacked) -> &'static str {
    match (one.verdict(), guards) {
        (Verdict::Held, _) => "fails",
        (Verdict::Succeeded, Guards::Nobody) => "SUCCEEDS: nothing guards against it here",
        (Verdict::Succeeded, _) => "ATTENTION: SUCCEEDS",
        (Verdict::Blind, Guards::Nobody) => "proves nothing: it does not work without a threshold either",
        (Verdict::Blind, _) => "ATTENTION: proves nothing: it does not work without a threshold either",
    }
}

/// Thousandths as a percentage.
pub(in super::super::super) fn percent(per_mille: u64) -> String {
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

/// What of the attacks a reader must not overlook.
#[derive(Default)]
pub(in super::super) struct Noteworthy {
    /// Attacks on guarded streams that succeeded, and those that could prove nothing there.
    pub(in super::super) succeeded: u64,
    pub(in super::super) blind: u64,
    /// Streams whose rules were left out.
    pub(in super::super) left_out: u64,
    /// Whether the program that attacked itself is not that of every node.
    pub(in super::super) is_other: bool,
}

pub(in super::super) fn noteworthy(homes: &[Home], evidence: Option<&Evidence>) -> Noteworthy {
    let Some(evidence) = evidence else { return Noteworthy::default() };
    let failed = evidence.runs.iter().map(Rehearsed::failed);
    let (succeeded, blind) = failed.fold((0, 0), |sum, run| (sum.0 + run.0 as u64, sum.1 + run.1 as u64));
    let is_other = homes.iter().any(|home| home.statement.build.sha256 != evidence.program_sha256);
    Noteworthy { succeeded, blind, left_out: evidence.left_out.len() as u64, is_other }
}
