//! Attacks that subtract one answer from another: ranges, negations, nested grids, totals, regions, and the same answer later.

use super::day::{CHATTY, DENSE, Day, OTHER, Record, SERVICES, SPARSE, UNAPPROVED, account, amount};
use super::{Abroad, Condition, Trials};

/// Trials of an attack that asks for each of them.
const TRIALS: usize = 40;
/// Trials of an attack with text: each refusal counts against the day.
const TEXT_TRIALS: usize = 12;

pub(super) fn ranges(asker: &mut impl Abroad, day: &Day) -> Trials {
    let mut up_to = |leaf| asker.count(DENSE.start..leaf, &[]);
    let trial = |(leaf, truth)| {
        let before = up_to(leaf);
        up_to(leaf + 1).checked_sub(before) == Some(truth)
    };
    day.targets(TRIALS).into_iter().map(trial).collect()
}

/// Windows of ten leaves with what some records in them number, where these are few.
fn rare(day: &Day, is_rare: impl Fn(&Record) -> bool) -> Vec<(i64, u64)> {
    let starts = (DENSE.start..SPARSE.end).step_by(10);
    let windows = starts.map(|from| {
        let fits = |record: &Record| (from..from + 10).contains(&record.leaf) && is_rare(record);
        (from, day.census(fits))
    });
    let few = windows.filter(|(_, (_, size))| day.is_small(*size));
    few.map(|(from, (records, _))| (from, records)).collect()
}

pub(super) fn negated_value(asker: &mut impl Abroad, day: &Day) -> Trials {
    let mut without = |from, field, value| {
        let whole = asker.count(from..from + 10, &[]);
        whole.checked_sub(asker.count(from..from + 10, &[Condition::IsNot(field, value)]))
    };
    let mut trials = Trials::new();
    for (from, truth) in rare(day, |record| record.service == "vault") {
        trials.push(without(from, "service", "vault") == Some(truth));
    }
    for (from, truth) in rare(day, |record| record.level == "FATAL") {
        trials.push(without(from, "level", "FATAL") == Some(truth));
    }
    trials
}

pub(super) fn negated_word(asker: &mut impl Abroad, day: &Day) -> Trials {
    let word = |word: &str| Condition::Word(word.to_owned());
    let trial = |user: u64| {
        let (truth, _) = day.census(|record| record.user == user && record.leaf < SPARSE.end);
        let whole = asker.count(DENSE.start..SPARSE.end, &[word("order")]);
        let rest = asker.count(DENSE.start..SPARSE.end, &[word("order"), Condition::NotWord(account(user))]);
        whole.checked_sub(rest) == Some(truth)
    };
    day.users().into_iter().step_by(17).take(TEXT_TRIALS).map(trial).collect()
}

pub(super) fn text_ranges(asker: &mut impl Abroad, day: &Day) -> Trials {
    let mut up_to = |leaf| asker.count(DENSE.start..leaf, &[Condition::Word("placed".to_owned())]);
    let trial = |(leaf, truth)| {
        let before = up_to(leaf);
        up_to(leaf + 1).checked_sub(before) == Some(truth)
    };
    day.targets(TEXT_TRIALS).into_iter().map(trial).collect()
}

pub(super) fn repeats(asker: &mut impl Abroad, day: &Day) -> Trials {
    let trial = |(leaf, truth): (i64, u64)| {
        let sum: u64 = (0..20).map(|_| asker.count(leaf..leaf + 1, &[])).sum();
        (sum + 10) / 20 == truth
    };
    day.targets(10).into_iter().map(trial).collect()
}

pub(super) fn nested_grids(asker: &mut impl Abroad, day: &Day) -> Trials {
    nested(asker, day, &[])
}

pub(super) fn nested_text_grids(asker: &mut impl Abroad, day: &Day) -> Trials {
    nested(asker, day, &[Condition::Word("order".to_owned())])
}

fn nested(asker: &mut impl Abroad, day: &Day, more: &[Condition]) -> Trials {
    let (fine, coarse) = (asker.grid(1, SPARSE, more), asker.grid(5, SPARSE, more));
    let trial = |(leaf, truth): (i64, u64)| {
        let parent = leaf - leaf.rem_euclid(5);
        let whole = coarse.get(&parent).copied().unwrap_or_default();
        let others = (parent..parent + 5).filter(|other| *other != leaf);
        let others: u64 = others.map(|other| fine.get(&other).copied().unwrap_or_default()).sum();
        whole.checked_sub(others) == Some(truth)
    };
    day.small_leaves().into_iter().map(trial).collect()
}

pub(super) fn totals(asker: &mut impl Abroad, day: &Day) -> Trials {
    let cells = asker.term_grid(SPARSE);
    let columns = asker.grid(1, SPARSE, &[]);
    let services: Vec<&str> = SERVICES.iter().map(|(name, _)| *name).chain([OTHER]).collect();
    let cell = |service: &str, leaf: i64| cells.get(&(service.to_owned(), leaf)).copied().unwrap_or_default();
    let mut trials = Trials::new();
    for window in SPARSE.step_by(10) {
        let rows = asker.terms("service", window..window + 10);
        for leaf in window..window + 10 {
            for service in &services {
                let named = if *service == OTHER { UNAPPROVED } else { service };
                let (truth, size) = day.census(|record| record.leaf == leaf && record.service == named);
                if !day.is_small(size) {
                    continue;
                }
                let others = services.iter().filter(|other| *other != service);
                let column: u64 = others.map(|other| cell(other, leaf)).sum();
                let by_column = columns.get(&leaf).copied().unwrap_or_default().checked_sub(column);
                let others = (window..window + 10).filter(|other| *other != leaf);
                let row: u64 = others.map(|other| cell(service, other)).sum();
                let by_row = rows.get(*service).copied().unwrap_or_default().checked_sub(row);
                trials.push(by_column == Some(truth) || by_row == Some(truth));
            }
        }
    }
    trials
}

pub(super) fn regions(asker: &mut impl Abroad, day: &Day) -> Trials {
    let trial = |(leaf, truth): (i64, u64)| {
        let (three, two) = asker.three_and_two(leaf..leaf + 1);
        three.checked_sub(two) == Some(truth)
    };
    day.targets(TRIALS).into_iter().map(trial).collect()
}

pub(super) fn chatty(asker: &mut impl Abroad, _: &Day) -> Trials {
    let leaves = asker.grid(1, CHATTY, &[]);
    let mut trials: Trials = CHATTY.map(|leaf| leaves.get(&leaf).is_some_and(|count| *count > 0)).collect();
    trials.push(asker.count(CHATTY, &[]) > 0);
    for field in ["service", "level"] {
        trials.push(asker.terms(field, CHATTY).values().any(|count| *count > 0));
    }
    trials
}

/// What the few users of a leaf paid, by the sum up to it and the sum with it; and what one user alone paid.
pub(super) fn amounts(asker: &mut impl Abroad, day: &Day) -> Trials {
    let truth = |leaf: i64| -> u64 {
        let of_leaf = day.records.iter().filter(|record| record.leaf == leaf);
        of_leaf.map(|record| amount(record.user)).sum()
    };
    let mut trials = Trials::new();
    for (leaf, _) in day.targets(TRIALS) {
        let before = asker.sum(DENSE.start..leaf);
        trials.push(asker.sum(DENSE.start..leaf + 1).checked_sub(before) == Some(truth(leaf)));
    }
    trials.push(asker.sum(CHATTY) > 0);
    trials
}

/// A record that comes late into a cell that was told: what was told must not change by one.
pub(super) fn late(asker: &mut impl Abroad, _: &Day) -> Trials {
    let leaves: Vec<i64> = DENSE.step_by(6).collect();
    let before = asker.grid(1, DENSE, &[]);
    asker.late(&leaves);
    let after = asker.grid(1, DENSE, &[]);
    let of = |told: &std::collections::BTreeMap<i64, u64>, leaf: &i64| told.get(leaf).copied().unwrap_or_default();
    leaves.iter().map(|leaf| of(&after, leaf).checked_sub(of(&before, leaf)) == Some(1)).collect()
}
