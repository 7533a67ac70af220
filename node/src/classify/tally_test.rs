//! The rule at its borders, and that what is heard twice, late or in another order comes to the same.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const US: Writer = Writer(1);
const OTHER: Writer = Writer(2);
const NOW: Day = Day(20_000);

fn counts(classified: u64, found: u64) -> Counts {
    Counts { classified, found, contradicts: false }
}

fn heard(words: &[(u32, Writer, Counts)]) -> Tally {
    let mut tally = Tally::default();
    words.iter().for_each(|(day, writer, counts)| tally.hear(Day(NOW.0 - 10 + day), *writer, *counts));
    tally
}

/// Of a question about today.
fn falls(tally: &Tally, today: Day) -> bool {
    tally.contradicts(today, &(today..=today))
}

#[test]
fn one_record_in_a_hundred_thousand_is_too_much_and_one_in_one_more_is_not() {
    for (classified, found, is_too_much) in [
        (0, 0, false),
        (1, 0, false),
        (u64::MAX, 0, false),
        (1, 1, true),
        (10, 1, true),
        (99_999, 1, true),
        (100_000, 1, true),
        (100_001, 1, false),
        (300_000, 3, true),
        (300_001, 3, false),
        // What was found is told before its records are counted.
        (0, 1, true),
        (u64::MAX, u64::MAX, true),
    ] {
        assert_eq!(counts(classified, found).are_too_many(), is_too_much, "{found} of {classified}");
        assert_eq!(falls(&heard(&[(10, US, counts(classified, found))]), NOW), is_too_much);
    }
}

#[test]
fn a_week_is_seven_days_of_all_who_counted() {
    // 1 of 60,000 here and 0 of 60,000 there are 1 of 120,000.
    let spread = heard(&[(10, US, counts(60_000, 1)), (10, OTHER, counts(30_000, 0)), (4, OTHER, counts(30_000, 0))]);
    assert!(!falls(&spread, NOW));
    // A day later the first of the seven days is out, and the same hit is too much of what is left.
    assert!(falls(&spread, Day(NOW.0 + 1)));
    // The hit itself is out after the seventh day, and no day contradicted for itself.
    assert!(falls(&spread, Day(NOW.0 + 6)) && !falls(&spread, Day(NOW.0 + 7)));
    // A clock that was set back leaves nothing out.
    assert!(falls(&heard(&[(10, US, counts(10, 1))]), Day(NOW.0 - 400)));
}

#[test]
fn a_day_that_contradicts_does_so_for_its_week_and_for_ever_for_questions_about_it() {
    let mut tally = Tally::default();
    assert!(!tally.count(NOW, US, counts(150_000, 1)).contradicts);
    assert!(tally.count(NOW, US, counts(1, 1)).contradicts, "2 of 150,001");
    // What comes after dilutes nothing.
    assert!(tally.count(NOW, US, counts(10_000_000, 0)).contradicts && falls(&tally, NOW));
    let after = Day(NOW.0 + 7);
    assert!(falls(&tally, Day(NOW.0 + 6)) && !falls(&tally, after));
    tally.forget_before(Day(NOW.0 + 1_000));
    let asked = |first: u32, last: u32| tally.contradicts(after, &(Day(first)..=Day(last)));
    assert!(asked(NOW.0, NOW.0) && asked(0, u32::MAX) && asked(NOW.0 - 1, NOW.0 - 1) && asked(NOW.0 + 1, NOW.0 + 3));
    assert!(!asked(NOW.0 - 9, NOW.0 - 2) && !asked(NOW.0 + 2, NOW.0 + 9));
    assert!(!asked(NOW.0 + 9, NOW.0 - 9), "a range that is turned around");
}

#[test]
fn days_without_a_contradiction_are_let_go_after_their_week() {
    let mut tally = heard(&[(3, US, counts(10, 0)), (4, US, counts(10, 0)), (10, US, counts(10, 0))]);
    tally.forget_before(NOW);
    assert_eq!(tally, heard(&[(4, US, counts(10, 0)), (10, US, counts(10, 0))]));
}

type Word = (u32, Writer, Counts);

fn words() -> impl Strategy<Value = Vec<Word>> {
    let word = (0_u32..12, 1_u64..4, 0_u64..400_000, 0_u64..4, prop::bool::weighted(0.1));
    vec(
        word.prop_map(|(day, writer, classified, found, contradicts)| {
            (day, Writer(writer), Counts { classified, found, contradicts })
        }),
        0..12,
    )
}

proptest! {
    #[test]
    fn tallies_merge_in_any_order_and_any_number_of_times(a in words(), b in words(), c in words()) {
        let [a, b, c] = [a, b, c].map(|words| heard(&words));
        let merged = |parts: &[&Tally]| {
            let mut all = Tally::default();
            parts.iter().for_each(|part| all.merge(part));
            all
        };
        let all = merged(&[&a, &b, &c]);
        prop_assert_eq!(&merged(&[&c, &a, &b]), &all);
        prop_assert_eq!(&merged(&[&a, &merged(&[&b, &c])]), &all);
        prop_assert_eq!(&merged(&[&b, &a, &all, &c, &a]), &all);
    }

    #[test]
    fn what_is_told_piece_by_piece_is_what_was_counted(pieces in vec((0_u32..3, 0_u64..200_000, 0_u64..2), 1..20)) {
        let (mut ours, mut told) = (Tally::default(), Vec::new());
        let mut plain = (0_u64, 0_u64, false);
        for (day, classified, found) in pieces {
            let counts = ours.count(Day(NOW.0 + day), US, counts(classified, found));
            told.push((Day(NOW.0 + day), counts));
            plain = (plain.0 + classified, plain.1 + found, plain.2);
            // By the plain words of the rule, over all days, which lie in one week.
            plain.2 |= found > 0 && plain.1 * 100_000 >= plain.0;
        }
        let mut theirs = Tally::default();
        told.iter().rev().for_each(|(day, counts)| theirs.hear(*day, US, *counts));
        prop_assert_eq!(&theirs, &ours);
        let today = Day(NOW.0 + 2);
        let by_rate = plain.1 > 0 && plain.1 * 100_000 >= plain.0;
        prop_assert_eq!(falls(&theirs, today), plain.2 || by_rate);
    }

    /// One more hit never brings a statement back.
    #[test]
    fn more_that_is_found_only_makes_a_statement_fall(words in words(), day in 4_u32..11) {
        let mut tally = heard(&words);
        let fell = falls(&tally, NOW);
        tally.count(Day(NOW.0 - 10 + day), US, Counts { classified: 1, found: 1, contradicts: false });
        prop_assert!(!fell || falls(&tally, NOW));
    }
}
