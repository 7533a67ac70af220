//! LED-1: after everything that was done to them, the ledgers of all nodes are whole, go on from the checkpoints that were kept
//! on the way, and know of everything that another one says arrived from them.
//!
//! The product's own `audit verify` reads the files, offline and all nodes at once; what it said is the evidence. This judge
//! trusts no silence: a ledger that nothing was said of is a violation, and one without entries or checkpoints is void.

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
    /// Ledgers that went with their machines, whether or not a checkpoint of them was kept before: nothing can be said of them, and
    /// nothing may be.
    #[serde(default)]
    pub lost: Vec<String>,
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
        let place = format!(" in {directory} ");
        let entries = said.lines.iter().filter(|line| line.contains(&place)).find_map(|line| entries_of(line));
        match entries {
            None => verdict.violation(format!("nothing says that the ledger of `{region}` is sound")),
            Some(0) => verdict.violation(format!("void: the ledger of `{region}` is empty")),
            Some(entries) => verdict.count("entries", entries),
        }
    }
    let accuses =
        |line: &&String| ["NOT SOUND", "FINDING", "SOUND, WITH FINDINGS"].iter().any(|word| line.starts_with(word));
    let accused = said.lines.iter().filter(accuses);
    accused.for_each(|line| verdict.violation(line.clone()));
    if said.code != Some(0) && verdict.violations.is_empty() {
        verdict.violation(format!("the check ended with {:?} and without a reason", said.code));
    }
    verdict
}

/// `SOUND: the 12 entries of …`.
fn entries_of(line: &str) -> Option<u64> {
    line.strip_prefix("SOUND: the ")?.split(' ').next()?.parse().ok()
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
        }
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
    fn a_ledger_that_went_with_its_machine_is_not_asked_for_and_hides_no_other() {
        let without_frankfurt = |said: &mut Said| {
            said.ledgers.truncate(1);
            said.lines.truncate(2);
            said.lost = vec!["frankfurt".to_owned()];
        };
        // Whether or not a checkpoint of it was kept: those that must be gone on from are those of ledgers that are here.
        assert_eq!(convicted(without_frankfurt), Vec::<String>::new());
        assert_eq!(convicted(|said| said.lost = vec!["frankfurt".to_owned()]).len(), 1, "lost, and here");
        let silence = convicted(|said| {
            without_frankfurt(said);
            said.lines.clear();
        });
        assert_eq!(silence.len(), 1, "of the one that is left nothing was said");
        let stray =
            "FINDING world/tokyo/1, entry 7: this arrived from singapore/2, whose ledger does not know that it left";
        let found = convicted(|said| {
            without_frankfurt(said);
            said.lines.push(stray.to_owned());
        });
        assert_eq!(found, [stray]);
        let void = convicted(|said| {
            without_frankfurt(said);
            said.kept = 0;
        });
        assert!(void[0].starts_with("void:"), "no checkpoint of any ledger that is left");
    }
}
