//! Owns: the comparison of two sets of answers to the same questions.
//! Must not know: what differs between the two.
//! Invariant: only questions that one of the two answers rightly decide.

/// Questions that only one of two conditions answers rightly, and the probability of such a difference by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedAnswers {
    pub only_first: usize,
    pub only_second: usize,
    /// Two-sided p of McNemar's exact test (McNemar, 1947): the binomial test of the two counts against one half.
    pub p: f64,
}

impl PairedAnswers {
    /// Compares answers to the same questions in the same order.
    pub fn new(first: &[bool], second: &[bool]) -> Self {
        let only = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| **a && !**b).count();
        let (only_first, only_second) = (only(first, second), only(second, first));
        Self { only_first, only_second, p: binomial_p(only_first.min(only_second), only_first + only_second) }
    }
}

/// Returns the two-sided p of at most `fewer` successes in `trials` with probability one half.
fn binomial_p(fewer: usize, trials: usize) -> f64 {
    // From term to term, ln C(n, k) - n ln 2 changes by ln (n-k) - ln (k+1).
    let mut term = -(trials as f64) * std::f64::consts::LN_2;
    let mut sum = 0.0;
    for k in 0..=fewer {
        sum += term.exp();
        term += ((trials - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_test_gives_the_reference_values() {
        // min(1, 2 · Σ C(n, i) / 2ⁿ) in exact arithmetic; the fourth is from the oracle of statistics.
        for (fewer, trials, p) in [
            (0, 0, 1.0),
            (0, 1, 1.0),
            (0, 6, 0.03125),
            (9, 50, 5.614_100_093_254_137e-6),
            (1, 5, 0.375),
            (3, 12, 0.145_996_093_75),
            (6, 12, 1.0),
            (40, 120, 0.000_330_400_018_391_320_7),
        ] {
            let found = binomial_p(fewer, trials);
            assert!((found - p).abs() < 1e-9, "{fewer} of {trials}: {found}");
        }
        let answers = PairedAnswers::new(&[true, true, false, true], &[true, false, true, false]);
        assert_eq!((answers.only_first, answers.only_second), (2, 1));
        assert!(binomial_p(400, 2000) > 0.0, "no underflow");
    }
}
