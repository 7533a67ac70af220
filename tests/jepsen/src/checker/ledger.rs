//! LED-1: after everything that was done to them, the ledgers of all nodes are whole, go on from the checkpoints that were kept
//! on the way, and know of everything that another one says arrived from them.
//!
//! The product's own `audit verify` reads the files, offline and all nodes at once; what it said is the evidence. This judge
//! trusts no silence: a ledger that nothing was said of is a violation, and one without entries or checkpoints is void.
//!
//! A ledger that went with its machine is judged by a copy, up to what its last checkpoint signed: it is whole, and goes on from the heads
//! of it that the other regions' witnesses cosigned. Whether everything that arrived from its node had left by it is not asked:
//! what stood behind that checkpoint cannot be read. And no witness may have been shown two heads that contradict each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Verdict;

/// What was said of the ledgers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// How `audit verify` ended; none where it was killed.
    pub code: Option<i32>,
    /// Its lines.
    pub lines: Vec<String>,
    /// Region and directory of each ledger.
    pub ledgers: Vec<(String, String)>,
    /// How many checkpoints were kept on the way and had to be gone on from.
    pub kept: u64,
    /// Ledgers that went with their machines, whether or not a checkpoint of them was kept before: none of them may be among the others.
    #[serde(default)]
    pub lost: Vec<String>,
    /// What was said of copies of those, each by itself.
    #[serde(default)]
    pub gone: Vec<Gone>,
    /// By node: what its witness kept because it contradicts what it had seen.
    #[serde(default)]
    pub forks: BTreeMap<String, Vec<String>>,
}

/// What was said of the copy of a ledger that went with its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// How its node was called.
    pub name: String,
    /// Where the copy is.
    pub directory: String,
    /// How `audit verify` ended; none where it was killed.
    pub code: Option<i32>,
    /// Its lines.
    pub lines: Vec<String>,
    /// How many checkpoints were kept on the way and had to be gone on from.
    pub kept: u64,
    /// How many witnesses hold a head that had to be gone on from.
    pub witnessed: u64,
    /// Whether it has no checkpoint: its node was lost within a second or so, and nothing of it could be checked.
    #[serde(default)]
    pub is_unsigned: bool,
}

/// Judges.
pub fn check(said: &Said) -> Verdict {
    let mut verdict = Verdict::new("ledger-chain");
    verdict.count("checkpoints kept", said.kept);
    if said.kept == 0 {
        verdict.violation("void: no checkpoint was kept on the way".to_owned());
    }
    verdict.count("ledgers lost with their machines", said.lost.len() as u64);
    for (region, directory) in &said.ledgers {
        if said.lost.contains(region) {
            verdict.violation(format!("the ledger of `{region}` was lost with its machine, and is here"));
        }
        match entries_in(&said.lines, directory, SOUND) {
            None => verdict.violation(format!("nothing says that the ledger of `{region}` is sound")),
            Some(0) => verdict.violation(format!("void: the ledger of `{region}` is empty")),
            Some(entries) => verdict.count("entries", entries),
        }
    }
    accusations(&said.lines).for_each(|line| verdict.violation(line.clone()));
    if said.code != Some(0) && verdict.violations.is_empty() {
        verdict.violation(format!("the check ended with {:?} and without a reason", said.code));
    }
    check_gone(said, &mut verdict);
    for (witness, heads) in &said.forks {
        for head in heads {
            verdict.violation(format!("`{witness}` was shown heads of a ledger that contradict each other: {head}"));
        }
    }
    verdict
}

fn check_gone(said: &Said, verdict: &mut Verdict) {
    for name in &said.lost {
        if !said.gone.iter().any(|gone| gone.name == *name) {
            verdict.violation(format!("nothing was said of the ledger of `{name}`, which was lost with its machine"));
        }
    }
    for gone in &said.gone {
        let name = &gone.name;
        if gone.is_unsigned {
            verdict.count("lost ledgers whose nodes had signed nothing yet", 1);
            if gone.kept + gone.witnessed > 0 {
                verdict.violation(format!("others hold a head of the lost ledger of `{name}`, which has none"));
            }
            continue;
        }
        // As a kill in the middle of a write leaves it, and the next start of the node mends: that one finding is none here.
        let is_torn = gone.lines.iter().any(|line| is_about_its_end(line));
        verdict.count("lost ledgers that end in part of an entry", u64::from(is_torn));
        match entries_in(&gone.lines, &gone.directory, if is_torn { WITH_FINDINGS } else { SOUND }) {
            None => verdict.violation(format!("nothing says that the ledger of `{name}` was sound when it was lost")),
            Some(entries) => verdict.count("entries of lost ledgers", entries),
        }
        let is_its_end = |line: &String| is_torn && (is_about_its_end(line) || line.starts_with(WITH_FINDINGS));
        let accused: Vec<&String> = accusations(&gone.lines).filter(|line| !is_its_end(line)).collect();
        accused.iter().for_each(|line| verdict.violation(format!("lost with its machine: {line}")));
        let is_explained = gone.code == Some(0) || (is_torn && gone.code.is_some());
        if !is_explained && accused.is_empty() {
            verdict.violation(format!(
                "the check of the lost ledger of `{name}` ended with {:?} and without a reason",
                gone.code
            ));
        }
        verdict.count("heads of lost ledgers that an auditor or a witness held", gone.kept + gone.witnessed);
    }
    if !said.gone.is_empty() && said.gone.iter().all(|gone| gone.kept + gone.witnessed == 0) {
        verdict.violation("void: nobody held a head of a ledger that was lost".to_owned());
    }
}

/// How `audit verify` begins where nothing is to be looked at.
const SOUND: &str = "SOUND";
/// And where something is.
const WITH_FINDINGS: &str = "SOUND, WITH FINDINGS";
/// What it says of a ledger whose node was killed in the middle of a write.
const ENDS_IN_PART: &str = "it ends in part of an entry, as after a crash";

fn is_about_its_end(line: &str) -> bool {
    line.starts_with("FINDING") && line.contains(ENDS_IN_PART)
}

/// What was said of the ledger in a directory, in a line that begins so: how many entries are whole.
fn entries_in(lines: &[String], directory: &str, begins: &str) -> Option<u64> {
    let place = format!(" in {directory} ");
    lines.iter().filter(|line| line.contains(&place)).find_map(|line| entries_of(line, begins))
}

fn accusations(lines: &[String]) -> impl Iterator<Item = &String> {
    let accuses = |line: &&String| ["NOT SOUND", "FINDING", WITH_FINDINGS].iter().any(|word| line.starts_with(word));
    lines.iter().filter(accuses)
}

/// `SOUND: the 12 entries of …`.
fn entries_of(line: &str, begins: &str) -> Option<u64> {
    line.strip_prefix(begins)?.strip_prefix(": the ")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Said {
        let line = |region: &str| {
            format!("SOUND: the 12 entries of world/{region}/1 in /w/{region} are whole and as they were signed.")
        };
        let regions = ["tokyo", "frankfurt"];
        Said {
            code: Some(0),
            lines: regions.iter().flat_map(|region| [line(region), "  3 messages left".to_owned()]).collect(),
            ledgers: regions.iter().map(|region| ((*region).to_owned(), format!("/w/{region}"))).collect(),
            kept: 2,
            lost: Vec::new(),
            gone: Vec::new(),
            forks: BTreeMap::from([("tokyo".to_owned(), Vec::new())]),
        }
    }

    /// The ledger of Frankfurt is lost, and two witnesses hold heads of it.
    fn lose_frankfurt(said: &mut Said) {
        said.ledgers.truncate(1);
        let lines = said.lines.split_off(2);
        said.lost = vec!["frankfurt".to_owned()];
        let (name, directory) = ("frankfurt".to_owned(), "/w/frankfurt".to_owned());
        said.gone = vec![Gone { name, directory, code: Some(0), lines, kept: 1, witnessed: 2, is_unsigned: false }];
    }

    fn convicted(change: impl FnOnce(&mut Said)) -> Vec<String> {
        let mut said = sound();
        change(&mut said);
        check(&said).violations
    }

    #[test]
    fn whole_ledgers_are_acquitted_and_counted() {
        let verdict = check(&sound());
        assert!(verdict.violations.is_empty());
        assert_eq!((verdict.counts["entries"], verdict.counts["checkpoints kept"]), (24, 2));
    }

    #[test]
    fn a_changed_ledger_and_an_arrival_that_never_left_are_convicted() {
        let changed = "NOT SOUND: the ledger in /w/tokyo was changed or is not whole: `log/tile/0/000`: no.";
        let found = convicted(|said| {
            said.lines[0] = changed.to_owned();
            said.code = Some(1);
        });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.contains(&changed.to_owned()));
        let stray =
            "FINDING world/frankfurt/1, entry 7: this arrived from tokyo/1, whose ledger does not know that it left";
        assert_eq!(convicted(|said| said.lines.push(stray.to_owned())), [stray]);
        let late =
            "SOUND, WITH FINDINGS: the 12 entries of world/tokyo/1 in /w/tokyo are whole and as they were signed.";
        assert_eq!(convicted(|said| said.lines[0] = late.to_owned()).len(), 2);
    }

    #[test]
    fn silence_is_convicted() {
        assert_eq!(convicted(|said| drop(said.lines.remove(2))).len(), 1, "nothing was said of one ledger");
        assert_eq!(convicted(|said| said.lines.clear()).len(), 2);
        assert_eq!(convicted(|said| said.code = None).len(), 1, "the check was killed");
        assert_eq!(convicted(|said| said.code = Some(1)).len(), 1, "it failed without a reason");
    }

    #[test]
    fn a_run_in_which_nothing_could_have_been_found_is_void() {
        assert!(convicted(|said| said.kept = 0)[0].starts_with("void:"));
        let empty = |said: &mut Said| said.lines[0] = said.lines[0].replace("12", "0");
        assert!(convicted(empty)[0].starts_with("void:"));
    }

    #[test]
    fn a_ledger_that_went_with_its_machine_is_judged_by_its_copy_and_hides_no_other() {
        let mut lost = sound();
        lose_frankfurt(&mut lost);
        let verdict = check(&lost);
        assert_eq!(verdict.violations, Vec::<String>::new());
        assert_eq!((verdict.counts["entries"], verdict.counts["entries of lost ledgers"]), (12, 12));
        assert_eq!(verdict.counts["heads of lost ledgers that an auditor or a witness held"], 3);
        assert_eq!(convicted(|said| said.lost = vec!["frankfurt".to_owned()]).len(), 2, "lost, and here, and no copy");
        let silence = convicted(|said| {
            lose_frankfurt(said);
            said.lines.clear();
        });
        assert_eq!(silence.len(), 1, "of the one that is left nothing was said");
        let stray =
            "FINDING world/tokyo/1, entry 7: this arrived from singapore/2, whose ledger does not know that it left";
        let found = convicted(|said| {
            lose_frankfurt(said);
            said.lines.push(stray.to_owned());
        });
        assert_eq!(found, [stray]);
        let void = convicted(|said| {
            lose_frankfurt(said);
            said.kept = 0;
        });
        assert!(void[0].starts_with("void:"), "no checkpoint of any ledger that is left");
    }

    #[test]
    fn a_lost_ledger_that_does_not_go_on_from_what_others_hold_of_it_is_convicted() {
        let of_gone = |change: fn(&mut Gone)| {
            convicted(|said| {
                lose_frankfurt(said);
                change(&mut said.gone[0]);
            })
        };
        let altered = of_gone(|gone| {
            gone.lines = vec!["NOT SOUND: the ledger in /w/frankfurt was changed or is not whole: no.".to_owned()];
            gone.code = Some(1);
        });
        assert!(altered.iter().any(|what| what.starts_with("lost with its machine: NOT SOUND")), "{altered:?}");
        assert_eq!(of_gone(|gone| gone.lines.clear()).len(), 1, "nothing was said of it");
        assert_eq!(of_gone(|gone| gone.code = None).len(), 1, "the check was killed");
        assert_eq!(of_gone(|gone| gone.name = "singapore".to_owned()).len(), 1, "another one was judged");
        assert!(of_gone(|gone| (gone.kept, gone.witnessed) = (0, 0))[0].starts_with("void:"));
        let forgotten = of_gone(|gone| gone.is_unsigned = true);
        assert_eq!(forgotten, ["others hold a head of the lost ledger of `frankfurt`, which has none"]);
        let young = of_gone(|gone| (gone.kept, gone.witnessed, gone.is_unsigned) = (0, 0, true));
        assert!(
            young.iter().all(|what| what.starts_with("void:")),
            "it said nothing, and there is no other: {young:?}"
        );
        let without_copy = convicted(|said| {
            lose_frankfurt(said);
            said.gone.clear();
        });
        assert_eq!(without_copy, ["nothing was said of the ledger of `frankfurt`, which was lost with its machine"]);
    }

    #[test]
    fn a_lost_ledger_may_end_in_part_of_an_entry_and_that_excuses_nothing_else() {
        let torn = |more: &str, change: fn(&mut Gone)| {
            let mut said = sound();
            lose_frankfurt(&mut said);
            let gone = &mut said.gone[0];
            gone.code = Some(1);
            gone.lines[0] = gone.lines[0].replace("SOUND:", "SOUND, WITH FINDINGS:");
            gone.lines.push(format!("FINDING world/frankfurt/1, `tail-1`: {ENDS_IN_PART}; start the node once"));
            gone.lines.extend((!more.is_empty()).then(|| more.to_owned()));
            change(gone);
            check(&said)
        };
        let verdict = torn("", |_| {});
        assert_eq!(verdict.violations, Vec::<String>::new());
        let counts = ["entries of lost ledgers", "lost ledgers that end in part of an entry"];
        assert_eq!(counts.map(|count| verdict.counts[count]), [12, 1]);
        assert_eq!(verdict.counts["heads of lost ledgers that an auditor or a witness held"], 3);
        let late = "FINDING world/frankfurt/1, entry 7: the erasure of entry 3 took 90 s, not 60";
        assert_eq!(torn(late, |_| {}).violations, [format!("lost with its machine: {late}")]);
        assert_eq!(
            torn("", |gone| drop(gone.lines.remove(0))).violations.len(),
            1,
            "nothing says that the rest is whole"
        );
        assert_eq!(torn("", |gone| gone.code = None).violations.len(), 1, "the check was killed");
        assert!(torn("", |gone| (gone.kept, gone.witnessed) = (0, 0)).violations[0].starts_with("void:"));
        // Of a ledger that is still there the node was started once more.
        let here = convicted(|said| {
            said.lines.push(format!("FINDING world/tokyo/1, `tail-1`: {ENDS_IN_PART}; start the node once"));
        });
        assert_eq!(here.len(), 1);
    }

    #[test]
    fn heads_that_contradict_each_other_are_convicted_whoever_saw_them() {
        let forked = |said: &mut Said| said.forks.extend([("tokyo".to_owned(), vec!["singapore-2-7-ab".to_owned()])]);
        assert!(convicted(forked)[0].contains("singapore-2-7-ab"));
    }
}
