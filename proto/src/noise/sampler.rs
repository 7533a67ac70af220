//! Exact draws of discrete Laplace and Gaussian noise: rejection over whole numbers, no floats, no rounding.
//!
//! After Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020): every decision is a coin whose
//! chance is a fraction of whole numbers, or `exp` of minus such a fraction, and coins are made of uniform whole numbers. The
//! time of a draw depends on the draw. Where the bits come from is the caller's affair.

/// Draws noise from a source of uniform 64-bit numbers.
pub struct Sampler<F> {
    source: F,
}

impl<F, E> Sampler<F>
where
    F: FnMut() -> Result<u64, E>,
{
    /// Over a source, which may fail.
    pub const fn new(source: F) -> Self {
        Self { source }
    }

    /// From the law whose chance at `x` is proportional to `exp(-|x| / scale)`.
    ///
    /// # Errors
    /// What the source says.
    pub fn laplace(&mut self, scale: u64) -> Result<i128, E> {
        let scale = u128::from(scale.max(1));
        loop {
            let part = self.below(scale)?;
            if !self.exp_minus(part, scale)? {
                continue;
            }
            let mut whole = 0_u128;
            while self.exp_minus(1, 1)? {
                whole += 1;
            }
            let size = whole.saturating_mul(scale).saturating_add(part);
            let is_negative = self.below(2)? == 1;
            // Zero has one sign, or it would be drawn twice as often as it may.
            if is_negative && size == 0 {
                continue;
            }
            let size = size.cast_signed();
            return Ok(if is_negative { -size } else { size });
        }
    }

    /// From the law whose chance at `x` is proportional to `exp(-x^2 / (2 * variance))`.
    ///
    /// # Errors
    /// What the source says.
    pub fn gaussian(&mut self, variance: u64) -> Result<i128, E> {
        let variance = u128::from(variance.max(1));
        let scale = variance.isqrt() + 1;
        loop {
            let drawn = self.laplace(u64::try_from(scale).unwrap_or(u64::MAX))?;
            let away = drawn.unsigned_abs().saturating_mul(scale).abs_diff(variance);
            let below = scale.saturating_mul(scale).saturating_mul(variance).saturating_mul(2);
            // Beyond the width of the numbers the chance is less than one in 2^1000: it is taken to be none.
            let Some(above) = away.checked_mul(away) else { continue };
            if self.exp_minus(above, below)? {
                return Ok(drawn);
            }
        }
    }

    /// A coin with the chance `exp(-above / below)`.
    fn exp_minus(&mut self, above: u128, below: u128) -> Result<bool, E> {
        for _ in 0..above / below {
            if !self.exp_minus_part(1, 1)? {
                return Ok(false);
            }
        }
        self.exp_minus_part(above % below, below)
    }

    /// The same for a fraction of at most one: coins of chance `x / 1`, `x / 2`, ... are thrown until one fails, and an odd
    /// number of throws has just this chance.
    fn exp_minus_part(&mut self, above: u128, below: u128) -> Result<bool, E> {
        let mut throws = 1_u128;
        while self.below(below.saturating_mul(throws))? < above {
            throws += 1;
        }
        Ok(throws % 2 == 1)
    }

    /// A uniform number below another: bits are drawn until they are.
    fn below(&mut self, end: u128) -> Result<u128, E> {
        let last = end.max(1) - 1;
        let mask = u128::MAX.checked_shr(last.leading_zeros()).unwrap_or(0);
        loop {
            let mut drawn = u128::from((self.source)()?);
            if last > u128::from(u64::MAX) {
                drawn = drawn << 64 | u128::from((self.source)()?);
            }
            if drawn & mask <= last {
                return Ok(drawn & mask);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    const DRAWS: u64 = 200_000;

    fn seeded(mut state: u64) -> Sampler<impl FnMut() -> Result<u64, Infallible>> {
        Sampler::new(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            Ok(mixed ^ (mixed >> 31))
        })
    }

    /// Chi-square of draws against a law that is given by its weights, over the places that are expected at least ten times
    /// and all others in one; and the degrees of freedom.
    fn chi_square(draws: &BTreeMap<i128, u64>, weight: impl Fn(f64) -> f64) -> (f64, f64) {
        const REACH: i128 = 3_000;
        let all: f64 = (-REACH..=REACH).map(|at| weight(at as f64)).sum();
        let (mut sum, mut places, mut rest, mut rest_found) = (0.0, 0.0, 0.0, 0.0);
        for at in -REACH..=REACH {
            let expected = weight(at as f64) / all * DRAWS as f64;
            let found = draws.get(&at).copied().unwrap_or(0) as f64;
            if expected >= 10.0 {
                sum += (found - expected).powi(2) / expected;
                places += 1.0;
            } else {
                rest += expected;
                rest_found += found;
            }
        }
        (sum + (rest_found - rest).powi(2) / rest.max(1e-9), places)
    }

    fn drawn(mut draw: impl FnMut() -> Result<i128, Infallible>) -> BTreeMap<i128, u64> {
        let mut found = BTreeMap::new();
        for _ in 0..DRAWS {
            let Ok(at) = draw();
            *found.entry(at).or_default() += 1;
        }
        found
    }

    /// Far in the tail of the chi-square law: mean and variance of it are known, four and a half deviations are one in 300,000.
    fn is_likely((sum, freedom): (f64, f64)) -> bool {
        sum < freedom + 4.5 * (2.0 * freedom).sqrt() + 10.0
    }

    #[test]
    fn laplace_noise_follows_its_law() {
        for (seed, scale) in [(1, 1_u64), (2, 3), (3, 10), (4, 41)] {
            let mut sampler = seeded(seed);
            let found = drawn(|| sampler.laplace(scale));
            let tested = chi_square(&found, |at| (-at.abs() / scale as f64).exp());
            assert!(is_likely(tested), "scale {scale}: {tested:?}");
            let other = chi_square(&found, |at| (-at.abs() / (scale as f64 * 1.05)).exp());
            assert!(!is_likely(other), "a law that is five in a hundred wider must be told apart: {other:?}");
        }
    }

    #[test]
    fn gaussian_noise_follows_its_law() {
        for (seed, variance) in [(5, 1_u64), (6, 2), (7, 30), (8, 1_833)] {
            let mut sampler = seeded(seed);
            let found = drawn(|| sampler.gaussian(variance));
            let tested = chi_square(&found, |at| (-at * at / (2.0 * variance as f64)).exp());
            assert!(is_likely(tested), "variance {variance}: {tested:?}");
            let other = chi_square(&found, |at| (-at * at / (2.0 * variance as f64 * 1.1)).exp());
            assert!(!is_likely(other), "a law that is five in a hundred wider must be told apart: {other:?}");
            let laplace = chi_square(&found, |at| (-at.abs() / (variance as f64 / 2.0).sqrt()).exp());
            assert!(!is_likely(laplace), "and so must one of another form: {laplace:?}");
        }
    }

    #[test]
    fn uniform_numbers_are_below_their_end_and_all_of_them_come() {
        let mut sampler = seeded(9);
        for end in [1_u128, 2, 3, 7, 64, 1 << 70] {
            let drawn: Vec<u128> = (0..2_000).map(|_| sampler.below(end)).map(|Ok(at)| at).collect();
            assert!(drawn.iter().all(|at| *at < end));
            assert!(end > 64 || (0..end).all(|at| drawn.contains(&at)));
        }
        let Ok(high) = (0..64).map(|_| sampler.below(1 << 70)).collect::<Result<Vec<_>, _>>();
        assert!(high.iter().any(|at| *at > u128::from(u64::MAX)));
    }

    #[test]
    fn a_source_that_fails_ends_the_draw() {
        let mut left = 40;
        let mut sampler = Sampler::new(|| {
            left -= 1;
            if left > 0 { Ok(0x5555_5555_5555_5555) } else { Err("no more") }
        });
        let found = (0..100).map(|_| sampler.gaussian(1_000)).find(Result::is_err);
        assert_eq!(found, Some(Err("no more")));
    }

    #[test]
    fn the_widest_noise_that_a_policy_may_ask_for_is_drawn_without_running_over() {
        let mut sampler = seeded(10);
        let noise = crate::noise::Noise { mechanism: crate::noise::Mechanism::Gaussian, epsilon: 1, records: 1_000 };
        let variance = noise.scale_squared();
        assert!(variance < 1 << 52, "{variance}");
        let Ok(drawn) = (0..200).map(|_| sampler.gaussian(variance)).collect::<Result<Vec<_>, _>>();
        let deviation = noise.deviation();
        assert!(drawn.iter().all(|at| at.unsigned_abs() < u128::from(deviation) * 8));
        assert!(drawn.iter().any(|at| at.unsigned_abs() > u128::from(deviation)));
    }
}
