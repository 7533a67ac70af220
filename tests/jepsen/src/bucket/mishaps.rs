//! What happens to requests on a bad day, dealt from a seed: of each hand every kind comes once at least, in an order that is drawn,
//! so that a short fault has them all. What creates something where nothing is has a hand of its own.

use std::time::Duration;

use domicile_tests::cluster::fixture::Dice;

/// Which day it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Every request is passed on and answered.
    #[default]
    Fair,
    /// Requests are refused, cut off, or done and never answered.
    Failing,
    /// Answers are late.
    Slow,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// It is answered with this status, and the server never sees it.
    Refused(u16),
    /// The connection is cut off before the server sees it.
    CutOff,
    /// The server does it, and the connection is cut off before the answer.
    DoneInSilence,
    /// The answer takes so much longer.
    Late(Duration),
}

impl Mishap {
    /// What it is counted as.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::CutOff => "cut off",
            Self::DoneInSilence => "done in silence",
            Self::Late(_) => "late",
        }
    }
}

/// One hand of a failing day: half of the requests pass.
const FAILING: [Option<Mishap>; 8] = [
    Some(Mishap::Refused(503)),
    Some(Mishap::Refused(500)),
    Some(Mishap::CutOff),
    Some(Mishap::DoneInSilence),
    None,
    None,
    None,
    None,
];
/// A late answer takes so long at least and at most, in milliseconds.
const LATE_MS: (u64, u64) = (100, 2_000);

/// A deck for requests of one kind.
pub(super) struct Deck {
    dice: Dice,
    hand: Vec<Option<Mishap>>,
}

impl Deck {
    /// From a seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), hand: Vec::new() }
    }

    /// What happens to the next request.
    pub(super) fn draw(&mut self, mood: Mood) -> Option<Mishap> {
        match mood {
            Mood::Fair => None,
            Mood::Slow => {
                let (least, most) = LATE_MS;
                let late = Duration::from_millis(least + self.dice.below(most - least));
                (self.dice.below(2) == 0).then_some(Mishap::Late(late))
            }
            Mood::Failing => {
                if self.hand.is_empty() {
                    self.hand = FAILING.to_vec();
                }
                let at = usize::try_from(self.dice.below(self.hand.len() as u64)).unwrap_or(0);
                self.hand.swap_remove(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hand_has_every_kind_and_a_seed_is_an_order() {
        let draw = |seed, mood, number: usize| {
            let mut deck = Deck::new(seed);
            (0..number).map(|_| deck.draw(mood)).collect::<Vec<_>>()
        };
        let one = draw(7, Mood::Failing, 32);
        assert_eq!(one, draw(7, Mood::Failing, 32));
        assert_ne!(one, draw(8, Mood::Failing, 32));
        for hand in one.chunks(FAILING.len()) {
            assert!(FAILING.iter().all(|kind| hand.contains(kind)), "{hand:?}");
        }
        let late = draw(7, Mood::Slow, 100);
        let times: Vec<Duration> = late
            .iter()
            .flatten()
            .map(|mishap| if let Mishap::Late(time) = mishap { *time } else { Duration::ZERO })
            .collect();
        assert!((30..70).contains(&times.len()), "about half");
        assert!(times.iter().all(|time| (LATE_MS.0..LATE_MS.1).contains(&(time.as_millis() as u64))));
        assert!(draw(7, Mood::Fair, 9).iter().all(Option::is_none));
    }
}
