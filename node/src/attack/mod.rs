//! The attacks: what somebody in another region can learn about one person by asking questions that are all allowed.
//!
//! Pure: a day of synthetic records with the truth about it ([`day`]), what an attacker can ask ([`Abroad`]), and what is made
//! of the answers ([`all`]). The whole-system tests ask through public doors, `domicile audit selftest` asks the disclosure gate
//! of this build; both run these very attacks. Nothing of the product is named here, and no record of anybody's.

pub mod day;
mod differencing;
mod probing;

use std::collections::BTreeMap;
use std::ops::Range;

use day::Day;

/// One condition of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A field has this value.
    Is(&'static str, &'static str),
    /// A field has another value, or none.
    IsNot(&'static str, &'static str),
    /// The message has this word.
    Word(String),
    /// The message does not have this word.
    NotWord(String),
}

/// What an attacker in another region can ask of a stream, and reads out of the answers: as much as there is, marks of
/// withholding not heeded. What is refused reads as nothing. Time is told in leaves of the day.
pub trait Abroad {
    /// The number of records, as it is told.
    fn count(&mut self, range: Range<i64>, conditions: &[Condition]) -> u64;
    /// Numbers by the first leaf of each cell of so many leaves; what is not told is not there.
    fn grid(&mut self, step: i64, range: Range<i64>, conditions: &[Condition]) -> BTreeMap<i64, u64>;
    /// Numbers by value of a field, [`day::OTHER`] among them.
    fn terms(&mut self, field: &'static str, range: Range<i64>) -> BTreeMap<String, u64>;
    /// Numbers by service and leaf.
    fn term_grid(&mut self, range: Range<i64>) -> BTreeMap<(String, i64), u64>;
    /// The sum of the amounts, as it is told.
    fn sum(&mut self, range: Range<i64>) -> u64;
    /// The number of records of three regions together, and of the two that are not attacked.
    fn three_and_two(&mut self, range: Range<i64>) -> (u64, u64);
    /// All that is said to a question of their number, or of their numbers by service, without what differs from one asking to the
    /// next, or from one range to another, by itself.
    fn said(&mut self, range: Range<i64>, conditions: &[Condition], by_service: bool) -> String;
    /// One more record of somebody new arrives late in each of these leaves.
    fn late(&mut self, leaves: &[i64]);
}

/// What of it succeeded, trial by trial.
pub type Trials = Vec<bool>;

/// How one attack goes.
type Run<A> = fn(&mut A, &Day) -> Trials;

/// One attack.
pub struct Attack<A> {
    /// What is tried, in words.
    pub name: &'static str,
    /// The rules that stand against it.
    pub rules: &'static str,
    /// What one who asks nothing gets by guessing.
    pub guess: Guess,
    run: Run<A>,
}

/// What a guess is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// The commonest number of records of a small group.
    Commonest,
    /// One of two.
    Coin,
    /// Nothing can be guessed: what is looked for is told or it is not.
    Nothing,
}

impl<A: Abroad> Attack<A> {
    const fn new(name: &'static str, rules: &'static str, guess: Guess, run: Run<A>) -> Self {
        Self { name, rules, guess, run }
    }

    /// Tries it on everything of the day that is worth it.
    pub fn run(&self, asker: &mut A, day: &Day) -> Trials {
        (self.run)(asker, day)
    }
}

impl Guess {
    /// In thousandths of the trials.
    pub fn per_mille(self, day: &Day) -> u64 {
        match self {
            Self::Commonest => day.commonest_per_mille(),
            Self::Coin => 500,
            Self::Nothing => 0,
        }
    }
}

/// Most successes per thousand trials against a stream that is guarded. What one says by guessing is worth more.
pub const MOST_PER_MILLE: u64 = 10;
/// Fewest successes per thousand trials against the control, or the attack proves nothing.
pub const FEWEST_OF_CONTROL_PER_MILLE: u64 = 500;

/// All attacks on answers, in the order in which they are run: the last changes the day.
pub fn all<A: Abroad>() -> Vec<Attack<A>> {
    use Guess::{Coin, Commonest, Nothing};
    vec![
        Attack::new("whether a user's word occurs", "R5 R10", Coin, probing::words),
        Attack::new("whether a rare approved value occurs", "R4 R5", Coin, probing::values),
        Attack::new("one minute out of two ranges", "R4 R6", Commonest, differencing::ranges),
        Attack::new("everything minus everything but a rare value", "R4 R7", Commonest, differencing::negated_value),
        Attack::new("everything minus everything but a user's word", "R4 R10", Commonest, differencing::negated_word),
        Attack::new("one minute out of two ranges of a text question", "R4 R10", Commonest, differencing::text_ranges),
        Attack::new("the mean of many repeats", "R5", Commonest, differencing::repeats),
        Attack::new("a minute out of five, by the grid above it", "R6 R7", Commonest, differencing::nested_grids),
        Attack::new(
            "a minute out of five of a text question, the same way",
            "R7 R10",
            Commonest,
            differencing::nested_text_grids,
        ),
        Attack::new("a value of a minute out of row and column totals", "R7", Commonest, differencing::totals),
        Attack::new("a minute of one region out of the total of three", "R7", Commonest, differencing::regions),
        Attack::new("one user with ten thousand records", "R4", Nothing, differencing::chatty),
        Attack::new("the amounts of a minute out of two sums", "R6 R8", Nothing, differencing::amounts),
        Attack::new("a late record, by the same answer before and after", "R6", Nothing, differencing::late),
    ]
}
