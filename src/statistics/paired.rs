//! Owns: the comparison of two arms over the seeds that both have.
//! Must not know: what the arms are.
//! Invariant: a missing run takes its seed out of the pairs; nothing is filled in.

use super::distributions::student_p;
use super::sign_flip::sign_flip_p;
use super::t_interval::SampleSpread;
use serde::Serialize;

/// The differences `a - b` over `n` seeds, with a t test (`n - 1` degrees of freedom) and a sign-flip test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// Seeds that both arms have.
    pub n: usize,
    pub mean: Option<f64>,
    /// Standard deviation of the differences, with `n - 1`; `None` with one seed.
    pub sd: Option<f64>,
    /// Standard error of the mean.
    pub se: Option<f64>,
    /// `mean / se`; `None` if all differences are equal.
    pub t: Option<f64>,
    /// Two-sided p of `t`.
    pub p_t: Option<f64>,
    /// 95 % t interval of the mean; both ends are the mean if all differences are equal.
    pub interval: Option<[f64; 2]>,
    /// Two-sided p of the sign-flip test. With `n` seeds it cannot be below `2 / 2ⁿ`: 0.25 with three. It is exact with up
    /// to 32 seeds; beyond, it is drawn with a standard error of at most 0.0016.
    pub p_sign: f64,
}

impl PairedDifference {
    /// Compares arms given by seed in the same order. `None`, and what is not finite, is a missing run; if one list is
    /// shorter, its last seeds are missing.
    pub fn new(a: &[Option<f64>], b: &[Option<f64>]) -> Self {
        let differences: Vec<f64> =
            a.iter().zip(b).filter_map(|(a, b)| Some((*a)? - (*b)?)).filter(|value| value.is_finite()).collect();
        Self::from_differences(&differences)
    }

    /// Tests finite differences against 0.
    pub fn from_differences(differences: &[f64]) -> Self {
        let n = differences.len();
        let spread = SampleSpread::from_values(differences);
        let se = spread.and_then(|spread| spread.se);
        let t = spread.zip(se.filter(|se| *se > 0.0)).map(|(spread, se)| spread.mean / se);
        Self {
            n,
            mean: spread.map(|spread| spread.mean),
            sd: spread.and_then(|spread| spread.sd),
            se,
            t,
            p_t: t.map(|t| student_p(t, n as f64 - 1.0)),
            interval: spread.and_then(|spread| spread.interval),
            p_sign: sign_flip_p(differences),
        }
    }

    /// Returns the smallest p that the sign-flip test can give with this many seeds.
    pub fn least_p_sign(&self) -> f64 {
        (2.0_f64).powi(1 - i32::try_from(self.n).unwrap_or(i32::MAX)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_runs_take_their_seed_out() {
        let (a, b) = ([Some(3.0), None, Some(5.0), Some(4.0)], [Some(1.0), Some(9.0), Some(4.0), None]);
        let found = PairedDifference::new(&a, &b);
        assert_eq!((found.n, found.mean, found.p_sign), (2, Some(1.5), 0.5));
        assert_eq!(found, PairedDifference::from_differences(&[2.0, 1.0]));
        assert_eq!(found.least_p_sign(), 0.5);
        let none = PairedDifference::new(&[], &b);
        assert_eq!((none.n, none.mean, none.interval, none.p_sign, none.least_p_sign()), (0, None, None, 1.0, 1.0));
        let equal = PairedDifference::from_differences(&[0.5; 3]);
        assert_eq!((equal.sd, equal.t, equal.p_t, equal.interval), (Some(0.0), None, None, Some([0.5, 0.5])));
        let infinite = PairedDifference::new(&[Some(f64::INFINITY), Some(1.0)], &[Some(0.0), Some(0.0)]);
        assert_eq!((infinite.n, infinite.sd), (1, None));
    }
}
