//! `domicile audit selftest`: attacks the disclosure gate of this program, here, without a node and without a network; and makes the
//! evidence in an audit pack again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::pack::{self, Trust, attack_words};
use super::rehearsal::{Evidence, Guards, Rules, SEED, rehearse};

/// What `audit selftest` is told.
#[derive(Debug, Args)]
pub(super) struct SelftestArguments {
    /// An audit pack: its streams' rules and its seed are taken, and what comes out is compared with what stands in it
    #[arg(long, value_name = "PACK")]
    pack: Option<PathBuf>,
    /// What the synthetic records are drawn from; any number does
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Smallest number of persons in a cell, as the policy would say it (without `--pack`)
    #[arg(long, value_name = "K", conflicts_with = "pack")]
    k: Option<u32>,
    /// As if an officer had stated that nobody is in the stream: nothing is guarded then (without `--pack`)
    #[arg(long, conflicts_with = "pack")]
    no_personal_data: bool,
    /// Print the evidence as it stands in a pack
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &SelftestArguments) -> anyhow::Result<ExitCode> {
    let (kept, stated) = match &arguments.pack {
        Some(pack) => match pack::evidence(pack, &Trust::default()) {
            Ok((evidence, stated)) => (Some(evidence), Some(stated)),
            Err(unsound) => return Ok(unsound),
        },
        None => (None, None),
    };
    let seed = arguments.seed.or_else(|| kept.as_ref().map(|kept| kept.seed)).unwrap_or(SEED);
    let evidence = rehearse(seed, wanted(arguments, stated)).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&evidence)?);
    } else {
        tell(&evidence);
    }
    let is_same = kept.filter(|kept| kept.seed == seed).map(|kept| compared(&kept, &evidence));
    let is_held = evidence.runs.iter().all(|run| run.failed() == (0, 0));
    Ok(if is_held && is_same.unwrap_or(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of a pack the rules that the regions stated, and not those which the evidence in it names.
fn wanted(arguments: &SelftestArguments, stated: Option<Vec<(String, Rules)>>) -> Vec<(String, Rules)> {
    if let Some(stated) = stated {
        return stated;
    }
    let guards = if arguments.no_personal_data { Guards::Nobody } else { Guards::Subjects };
    let unguarded = if arguments.no_personal_data { 1 } else { Rules::DEFAULT.k };
    vec![("synthetic".to_owned(), Rules { guards, k: arguments.k.unwrap_or(unguarded), ..Rules::DEFAULT })]
}

fn tell(evidence: &Evidence) {
    for run in &evidence.runs {
        println!("{}", attack_words::verdict(run));
        println!("  {}: {}", run.streams.join(", "), attack_words::words(&run.rules));
        for one in &run.attacks {
            println!(
                "  {:<58} {:<9} {:>4} of {:<4} (bar {}, guessing {}, without a threshold {} of {})  {}",
                one.name,
                one.rules,
                one.successes,
                one.tries,
                attack_words::percent(one.bar_per_mille),
                attack_words::percent(one.guess_per_mille),
                one.control_successes,
                one.control_tries,
                attack_words::outcome(run.rules.guards, one)
            );
        }
    }
    for stream in &evidence.left_out {
        println!("{stream}: not attacked, for there are too many different rules");
    }
    println!("{} ({}), seed {}", evidence.tool, evidence.program_sha256, evidence.seed);
}

/// Whether the evidence in a pack is what comes out here: another program that comes to other numbers has not shown these.
fn compared(kept: &Evidence, made: &Evidence) -> bool {
    let is_same = kept.runs == made.runs && kept.left_out == made.left_out;
    let is_program = kept.program_sha256 == made.program_sha256;
    match (is_same, is_program) {
        (true, true) => eprintln!("The same program came to the same numbers as in the pack."),
        (true, false) => eprintln!("Another program than the pack's came to the same numbers."),
        (false, true) => eprintln!("NOT THE SAME: this very program comes to other numbers than stand in the pack."),
        (false, false) => eprintln!(
            "NOT THE SAME: another program than the pack's came to other numbers; ask with the pack's: {}",
            kept.program_sha256
        ),
    }
    is_same
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Rehearsed;
    use super::*;

    #[test]
    fn other_numbers_are_a_failure_whichever_program_made_them() {
        let run =
            |streams: &str| Rehearsed { rules: Rules::DEFAULT, streams: vec![streams.to_owned()], attacks: Vec::new() };
        let evidence = |program: &str, streams: &str| Evidence {
            version: 1,
            tool: String::new(),
            program_sha256: program.to_owned(),
            seed: SEED,
            runs: vec![run(streams)],
            left_out: Vec::new(),
        };
        for program in ["a", "b"] {
            assert!(compared(&evidence("a", "tokyo/shop"), &evidence(program, "tokyo/shop")));
            assert!(!compared(&evidence("a", "tokyo/shop"), &evidence(program, "tokyo/web")));
        }
    }
}
