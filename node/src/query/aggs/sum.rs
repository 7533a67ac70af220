//! A sum of fractions that is rounded once, when it is shown: the same numbers come to the same sum, in whatever order and in whichever
//! stretches they are added.
//!
//! It is kept as parts that together are the sum without any rounding (Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997).

/// The sum.
#[derive(Clone, Default)]
pub(super) struct Sum {
    /// Of usual numbers: parts without a bit in common, the smallest first.
    usual: Vec<f64>,
    /// Of numbers so large that a few of them are more than a number may be, each smaller by [`SCALE`].
    large: Vec<f64>,
}

/// From here on a number is large: as many smaller ones as can be counted are no more than a number may be.
const LARGE: f64 = f64::from_bits((1_023 + 900) << 52);
/// Large ones are kept smaller by this; a power of two changes none of their digits.
const SCALE: f64 = f64::from_bits((1_023 + 128) << 52);
/// More than as many numbers as can be counted come to.
const MOST: f64 = f64::from_bits((1_023 + 970) << 52);
/// More parts than any numbers leave: a number has 53 of some 2,100 bits.
const MOST_PARTS: usize = 64;

impl Sum {
    /// Adds a number. What is no number, or more than any, is in no record.
    pub(super) fn add(&mut self, number: f64) {
        if number.abs() < LARGE {
            add_to(&mut self.usual, number);
        } else if number.is_finite() {
            add_to(&mut self.large, number / SCALE);
        }
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &Self) {
        other.usual.iter().for_each(|part| add_to(&mut self.usual, *part));
        other.large.iter().for_each(|part| add_to(&mut self.large, *part));
    }

    /// The number that is nearest to the sum.
    pub(super) fn value(&self) -> f64 {
        if self.large.is_empty() {
            return rounded(&self.usual);
        }
        let mut all = self.large.clone();
        self.usual.iter().for_each(|part| add_to(&mut all, part / SCALE));
        rounded(&all) * SCALE
    }

    /// Its parts, first the usual ones.
    pub(super) fn parts(&self) -> [&[f64]; 2] {
        [&self.usual, &self.large]
    }

    /// Of parts that came from another node; `None` where they are none.
    pub(super) fn of_parts([usual, large]: [Vec<f64>; 2]) -> Option<Self> {
        let is_part = |part: &f64| part.abs() < MOST && *part != 0.0;
        let is_sound = [&usual, &large].into_iter().all(|parts| parts.len() <= MOST_PARTS && parts.iter().all(is_part));
        is_sound.then_some(Self { usual, large })
    }
}

/// Adds a number to parts without losing a bit: what a sum of two is rounded by is a number too.
fn add_to(parts: &mut Vec<f64>, number: f64) {
    let mut sum = number;
    parts.retain_mut(|part| {
        let (more, less) = if sum.abs() < part.abs() { (*part, sum) } else { (sum, *part) };
        sum = more + less;
        *part = less - (sum - more);
        *part != 0.0
    });
    if sum != 0.0 {
        parts.push(sum);
    }
}

/// The number nearest to the sum of parts, the even one of two.
#[allow(clippy::float_cmp, reason = "exactly half of a digit, or not")]
fn rounded(parts: &[f64]) -> f64 {
    let mut smaller = parts.iter().rev().copied();
    let mut sum = smaller.next().unwrap_or(0.0);
    while let Some(part) = smaller.next() {
        let more = sum + part;
        let lost = part - (more - sum);
        sum = more;
        if lost == 0.0 {
            continue;
        }
        // Half of the last digit was lost, and what comes says to which side: the rounding did not know it.
        let rest = smaller.next().unwrap_or(0.0);
        if (lost > 0.0 && rest > 0.0) || (lost < 0.0 && rest < 0.0) {
            let twice = lost * 2.0;
            let other = sum + twice;
            if other - sum == twice {
                sum = other;
            }
        }
        break;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(numbers: &[f64]) -> f64 {
        let mut sum = Sum::default();
        numbers.iter().for_each(|number| sum.add(*number));
        sum.value()
    }

    #[test]
    fn what_a_sum_of_two_would_lose_is_not_lost() {
        for (numbers, expected) in [
            (&[][..], 0.0),
            (&[0.1; 10][..], 1.0),
            (&[1e16, 1.0, -1e16], 1.0),
            (&[1e308, 1e308, -1e308], 1e308),
            (&[1e308, -1e308, 5e-324, 0.25], 0.25),
            (&[f64::MAX, f64::MAX], f64::INFINITY),
            (&[f64::MAX, 1.0, -f64::MAX], 1.0),
            // Half of the last digit, and a little to one side or the other.
            (&[9_007_199_254_740_992.0, 1.0], 9_007_199_254_740_992.0),
            (&[9_007_199_254_740_992.0, 1.0, 1e-300], 9_007_199_254_740_994.0),
            (&[9_007_199_254_740_994.0, 1.0, -1e-300], 9_007_199_254_740_994.0),
            (&[-9_007_199_254_740_992.0, -1.0, -1e-300], -9_007_199_254_740_994.0),
        ] {
            assert_eq!(sum(numbers).to_bits(), f64::to_bits(expected), "{numbers:?}");
        }
    }

    #[test]
    fn parts_of_nobody_are_not_taken() {
        for odd in [f64::NAN, f64::INFINITY, 1e300, 0.0] {
            assert!(Sum::of_parts([vec![1.0, odd], Vec::new()]).is_none(), "{odd}");
        }
        assert!(Sum::of_parts([vec![1.0; MOST_PARTS + 1], Vec::new()]).is_none());
    }

    proptest! {
        #[test]
        fn the_same_numbers_are_the_same_sum_in_any_order_and_in_any_stretches(
            numbers in proptest::collection::vec(any::<f64>().prop_filter("of a record", |number| number.is_finite()), 0..40),
            order in any::<u64>(),
            cuts in proptest::collection::vec(0..40_usize, 0..5),
        ) {
            let expected = sum(&numbers);
            let mut other = numbers.clone();
            // Any order will do.
            other.sort_by_key(|number| number.to_bits().wrapping_mul(order | 1));
            prop_assert_eq!(sum(&other).to_bits(), expected.to_bits());
            let (mut whole, mut rest) = (Sum::default(), &other[..]);
            for cut in cuts {
                let (some, left) = rest.split_at(cut.min(rest.len()));
                let mut part = Sum::default();
                some.iter().for_each(|number| part.add(*number));
                let [usual, large] = part.parts();
                let part = Sum::of_parts([usual.to_vec(), large.to_vec()]);
                whole.merge(&part.expect("what was made is taken"));
                rest = left;
            }
            rest.iter().for_each(|number| whole.add(*number));
            prop_assert_eq!(whole.value().to_bits(), expected.to_bits());
        }
    }
}
