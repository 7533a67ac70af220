//! Attacks on the gate itself, beside those on its answers: words in frames, scalars over few, time, other bytes when asked again.

use std::ops::Range;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::ids::{DictionaryId, FieldId};
use domicile_proto::message::answer::Outcome;
use domicile_proto::message::question::{Ask, Filter, Literal, TextMatch};

use super::region::{AMOUNT, Region, SERVICE, filter, row};
use crate::attack::day::{CHATTY, DENSE, Day, Record, SERVICES, SPARSE, UNAPPROVED, account};
use crate::attack::{Abroad, Condition, Trials};

/// A word that is in a record and looks like nobody's data.
const WORD: &str = "placed";

/// Whether bytes hold a word of a record: as it is, in capital letters, backward, or in hexadecimal digits.
pub(super) fn holds_a_word(bytes: &[u8]) -> bool {
    let lower = bytes.to_ascii_lowercase();
    let words = ["account", "order", WORD, UNAPPROVED].into_iter().chain(SERVICES.iter().map(|(name, _)| *name));
    words.into_iter().any(|word| {
        let backward: String = word.chars().rev().collect();
        [word.to_owned(), backward, hex::encode(word)]
            .iter()
            .any(|form| lower.windows(form.len()).any(|window| window == form.as_bytes()))
    })
}

/// Every frame of the run.
pub(super) fn frames(region: &Region) -> Trials {
    region.frames.iter().map(|frame| holds_a_word(frame)).collect()
}

/// The control of what looks for words: records at home hold them.
pub(super) fn rows(day: &Day) -> Trials {
    let rows = day.records.iter().step_by(97).map(|record| row(record).to_string());
    rows.map(|row| holds_a_word(row.as_bytes())).collect()
}

/// Questions that go wrong, each in its own way, with words of a record in them: neither the answer nor what this region writes
/// into its own log repeats one.
pub(super) fn errors(region: &mut Region) -> Trials {
    let text = |text: &str| {
        let literal = Literal::try_from(text.to_owned()).ok();
        literal.map(|literal| Filter::Text { how: TextMatch::Phrase, literal, negated: false })
    };
    let word = || text("order placed by account1").into_iter().collect::<Vec<_>>();
    let fine = Grid { first: 0, step: 1, len: 5 };
    let long = Grid { first: 0, step: 60, len: u32::MAX };
    let value = Filter::Value { field: FieldId(9), values: vec![DictionaryId(64)], negated: false };
    let backward = Range { start: DENSE.end, end: DENSE.start };
    let wrong: Vec<(Range<i64>, Vec<Filter>, Ask)> = vec![
        (DENSE, text("account1@shop.example").into_iter().collect(), Ask::Count),
        (DENSE, text("account1 4539578763621486").into_iter().collect(), Ask::Count),
        (DENSE, vec![value], Ask::Count),
        (DENSE, word(), Ask::Terms(FieldId(9))),
        (DENSE, word(), Ask::DateGrid(fine)),
        (DENSE, word(), Ask::TermGrid(SERVICE, long)),
        (DENSE, word(), Ask::Quantile(AMOUNT, 2_000)),
        (DENSE, word(), Ask::Quantile(SERVICE, 500)),
        (backward, word(), Ask::Count),
        (-1_000_000..1_000_000, word(), Ask::Count),
        (DENSE, (0..200).flat_map(|_| word()).collect(), Ask::Count),
    ];
    let mut trials = Trials::new();
    for (range, filters, ask) in wrong {
        let (frames, errors) = (region.frames.len(), region.errors.lock().len());
        let _ = region.put(range, filters, ask, true);
        let frames = region.frames.iter().skip(frames).any(|frame| holds_a_word(frame));
        let errors = region.errors.lock().iter().skip(errors).any(|error| holds_a_word(error.as_bytes()));
        trials.push(frames || errors);
    }
    trials
}

/// A distinct number and a quantile over few: of small leaves, and of one user alone.
pub(super) fn scalars(region: &mut Region, day: &Day) -> Trials {
    let leaves = day.small_leaves().into_iter().take(20).map(|(leaf, _)| leaf..leaf + 1).chain([CHATTY]);
    let asks = [Ask::Distinct(SERVICE), Ask::Quantile(AMOUNT, 500)];
    let mut trials = Trials::new();
    for range in leaves {
        for ask in asks {
            let (answer, _) = region.put(range.clone(), Vec::new(), ask, true);
            trials.push(match answer.outcome {
                Outcome::Aggregate(Aggregate::DistinctEstimate(told)) => {
                    told.regions.iter().any(|(_, value)| value.is_some())
                }
                Outcome::Aggregate(Aggregate::Quantile(told)) => told.regions.iter().any(|(_, value)| value.is_some()),
                _ => false,
            });
        }
    }
    trials
}

/// Whether a word that occurs can be told from one that does not by how long the answer takes.
pub(super) fn times(region: &mut Region, crosses: bool) -> Trials {
    let mut took = |user: u64| {
        let filters = filter(&Condition::Word(account(user))).into_iter().collect();
        region.put(DENSE.start..SPARSE.end, filters, Ask::Count, crosses).1
    };
    (1..=20).map(|user| took(user) != took(80_000 + user)).collect()
}

/// Whether the same question is answered otherwise when it is put again; `grows` by one record in between, where nothing is
/// released once.
pub(super) fn again(region: &mut Region, grows: bool) -> Trials {
    let mut trials = Trials::new();
    for leaf in DENSE.step_by(3) {
        let before = region.said(leaf..leaf + 1, &[], true);
        if grows {
            let record = Record { leaf, user: 2_000_000, service: "checkout", level: "INFO" };
            region.take_in(&[record]).ok();
        }
        trials.push((0..5).any(|_| region.said(leaf..leaf + 1, &[], true) != before));
    }
    trials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_record_is_found_however_it_is_written() {
        for told in ["an Account9", "redro", "6f72646572", "xxCHECKOUTxx"] {
            assert!(holds_a_word(told.as_bytes()), "{told}");
        }
        assert!(!holds_a_word(b"\x00\x01 refused: too few"));
    }
}
