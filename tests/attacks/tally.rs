//! The table of successes: every attack against the guarded stream, and against the control that proves it can succeed.

use domicile::attack::{FEWEST_OF_CONTROL_PER_MILLE, MOST_PER_MILLE};

/// How one attack went.
pub(crate) struct Tally {
    name: &'static str,
    rules: &'static str,
    guarded: (usize, usize),
    control: (usize, usize),
}

impl Tally {
    /// Runs the same attack on both: each gives, for every trial, whether it succeeded.
    pub(crate) fn of(name: &'static str, rules: &'static str, guarded: &[bool], control: &[bool]) -> Self {
        let count = |trials: &[bool]| (trials.iter().filter(|success| **success).count(), trials.len());
        Self { name, rules, guarded: count(guarded), control: count(control) }
    }

    fn is_held(&self) -> bool {
        self.guarded.1 > 0 && rate(self.guarded) <= MOST_PER_MILLE as f64 / 1_000.0
    }

    fn is_proven(&self) -> bool {
        self.control.1 > 0 && rate(self.control) >= FEWEST_OF_CONTROL_PER_MILLE as f64 / 1_000.0
    }
}

fn rate((successes, trials): (usize, usize)) -> f64 {
    successes as f64 / trials.max(1) as f64
}

/// Prints the table, and fails with every attack that did better than guessing and every control that proved nothing.
pub(crate) fn judge(tallies: &[Tally]) {
    eprintln!("{:<58} {:<12} {:>16} {:>16}", "attack", "rules", "guarded", "control");
    for Tally { name, rules, guarded, control } in tallies {
        let share = |of: (usize, usize)| format!("{}/{} ({:.1} %)", of.0, of.1, 100.0 * rate(of));
        eprintln!("{name:<58} {rules:<12} {:>16} {:>16}", share(*guarded), share(*control));
    }
    let names =
        |fails: fn(&Tally) -> bool| tallies.iter().filter(|one| fails(one)).map(|one| one.name).collect::<Vec<_>>();
    let succeeded = names(|one| !one.is_held());
    assert!(succeeded.is_empty(), "these attacks do better than guessing: {succeeded:?}");
    let blind = names(|one| !one.is_proven());
    assert!(blind.is_empty(), "these attacks do not even succeed against the control: {blind:?}");
}

#[test]
fn an_attack_that_succeeds_and_a_control_that_does_not_are_both_told() {
    let held = Tally::of("a", "R4", &[false; 100], &[true; 10]);
    assert!(held.is_held() && held.is_proven());
    assert!(!Tally::of("b", "R4", &[&[true; 2][..], &[false; 98]].concat(), &[true]).is_held());
    assert!(!Tally::of("c", "R4", &[], &[true]).is_held(), "no trial proves nothing");
    assert!(!Tally::of("d", "R4", &[false], &[false]).is_proven());
}
