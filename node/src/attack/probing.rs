//! Attacks that need no subtraction: two questions that differ in one thing, and whether all that is said to them differs too.

use super::day::{DENSE, Day, SPARSE, account};
use super::{Abroad, Condition, Trials};

/// Whether two words can be told apart, one of which occurs.
pub(super) fn words(asker: &mut impl Abroad, day: &Day) -> Trials {
    let mut told = |user: u64| asker.said(DENSE.start..SPARSE.end, &[Condition::Word(account(user))], true);
    day.users().into_iter().step_by(31).take(12).map(|user| told(user) != told(90_000 + user)).collect()
}

/// Whether a window in which a rare value occurs can be told from one in which it does not.
pub(super) fn values(asker: &mut impl Abroad, day: &Day) -> Trials {
    let vault = |from: i64| day.census(|record| (from..from + 5).contains(&record.leaf) && record.service == "vault").1;
    let windows: Vec<i64> = SPARSE.step_by(5).collect();
    let some = windows.iter().copied().filter(|from| day.is_small(vault(*from)));
    let none = windows.iter().copied().filter(|from| vault(*from) == 0);
    let mut told = |from: i64| asker.said(from..from + 5, &[Condition::Is("service", "vault")], false);
    some.zip(none).map(|(some, none)| told(some) != told(none)).collect()
}
