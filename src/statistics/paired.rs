//! Owns: differences that are paired by seed: mean, t interval, t test, exact sign-flip test; Holm's adjustment.
//! Must not know: what the numbers stand for.
//! Invariant: a seed that lacks one of its two values is in no pair.

use super::distributions::{t_quantile, t_tail};
use crate::rng::{RngKey, RngPurpose};

/// Pairs up to which all choices of signs are looked at. Beyond, as many are drawn at random.
const MAX_EXACT_PAIRS: usize = 20;

/// The differences a - b of two arms over the seeds that both have.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedDifference {
    /// Number of pairs. The t test has one degree of freedom less.
    pub n: usize,
    pub mean: Option<f64>,
    /// Standard deviation of the differences, with n - 1; none with fewer than two pairs.
    pub sd: Option<f64>,
    /// Standard error of the mean.
    pub se: Option<f64>,
    /// Mean by standard error; none if all differences are equal.
    pub t: Option<f64>,
    /// Two-sided p of the t test.
    pub p_t: Option<f64>,
    /// 95 % t interval of the mean.
    pub interval: Option<[f64; 2]>,
    /// Share of all choices of signs under which the sum of the differences is at least as far from 0 (Fisher, 1935). It
    /// cannot be below 2 / 2ⁿ. Beyond 20 pairs it is estimated from 2²⁰ random choices.
    pub p_sign: f64,
}

impl PairedDifference {
    /// Compares values by seed; none if the run is missing.
    pub fn new(a: &[Option<f64>], b: &[Option<f64>]) -> Self {
        let differences: Vec<f64> = a.iter().zip(b).filter_map(|(a, b)| Some((*a)? - (*b)?)).collect();
        let (n, spread) = (differences.len(), Spread::of(&differences));
        let t = spread.se.filter(|se| *se > 0.0).map(|se| spread.mean / se);
        Self {
            n,
            mean: (n > 0).then_some(spread.mean),
            sd: spread.sd,
            se: spread.se,
            t,
            p_t: t.map(|t| 2.0 * t_tail(t, (n - 1) as f64)),
            interval: t_interval(&differences),
            p_sign: sign_flip_p(&differences),
        }
    }
}

/// Mean and spread of values.
struct Spread {
    mean: f64,
    sd: Option<f64>,
    se: Option<f64>,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        if values.len() < 2 {
            return Self { mean, sd: None, se: None };
        }
        let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        // Rounding is no spread.
        let sd = (square / (n - 1.0)).sqrt();
        let sd = if sd < 1e-12 * mean.abs().max(1.0) { 0.0 } else { sd };
        Self { mean, sd: Some(sd), se: Some(sd / n.sqrt()) }
    }
}

/// Returns the 95 % t interval of the mean of `values`; none with fewer than two.
pub fn t_interval(values: &[f64]) -> Option<[f64; 2]> {
    t_interval_at(values, 0.95)
}

/// Returns the t interval of the mean of `values` at a level, such as 0.99; none with fewer than two values.
pub fn t_interval_at(values: &[f64], level: f64) -> Option<[f64; 2]> {
    let Spread { mean, se, .. } = Spread::of(values);
    let half = match se? {
        0.0 => 0.0,
        se => t_quantile((1.0 - level) / 2.0, (values.len() - 1) as f64) * se,
    };
    Some([mean - half, mean + half])
}

/// Returns the p of the sign-flip test.
fn sign_flip_p(differences: &[f64]) -> f64 {
    let limit = differences.iter().sum::<f64>().abs() * (1.0 - 1e-12);
    if differences.len() > MAX_EXACT_PAIRS {
        return drawn_sign_flip_p(differences, limit);
    }
    // All sums of either half, then all pairs of them.
    let (first, second) = differences.split_at(differences.len() / 2);
    let (first, second) = (signed_sums(first), signed_sums(second));
    let as_far: usize = first.iter().map(|a| second.iter().filter(|b| (a + **b).abs() >= limit).count()).sum();
    as_far as f64 / (first.len() * second.len()) as f64
}

fn signed_sums(values: &[f64]) -> Vec<f64> {
    values.iter().fold(vec![0.0], |sums, value| sums.iter().flat_map(|sum| [sum + value, sum - value]).collect())
}

fn drawn_sign_flip_p(differences: &[f64], limit: f64) -> f64 {
    const DRAWS: u64 = 1 << MAX_EXACT_PAIRS;
    let mut stream = RngKey::default().stream(RngPurpose::Bootstrap, 0);
    let mut draw = || {
        let mut bits = 0;
        let signed = differences.iter().enumerate().map(|(index, value)| {
            if index % 64 == 0 {
                bits = stream.bits();
            }
            if bits >> (index % 64) & 1 == 0 { *value } else { -value }
        });
        signed.sum::<f64>().abs() >= limit
    };
    let as_far = (0..DRAWS).filter(|_| draw()).count() as f64;
    // The given choice of signs is one of them.
    (as_far + 1.0) / (DRAWS as f64 + 1.0)
}

/// Returns p-values adjusted for all of them (Holm, 1979), in the given order.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut adjusted, mut largest) = (vec![0.0; p.len()], 0.0_f64);
    for (rank, index) in order.into_iter().enumerate() {
        largest = largest.max(((p.len() - rank) as f64 * p[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normals(seed: u64) -> impl FnMut() -> f64 {
        let mut stream = RngKey { seed, ..RngKey::default() }.stream(RngPurpose::Bootstrap, 1);
        move || stream.normal()
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        // Two arms share what a seed does to both; their own noise differs.
        for n in [3, 5, 10] {
            let (mut normal, truth, mut covered) = (normals(n as u64), 0.3, 0);
            for _ in 0..1000 {
                let pairs: Vec<[Option<f64>; 2]> = (0..n)
                    .map(|_| {
                        let shared = 5.0 * normal();
                        [Some(shared + truth + 0.2 * normal()), Some(shared + 0.2 * normal())]
                    })
                    .collect();
                let values = |arm: usize| pairs.iter().map(|pair| pair[arm]).collect::<Vec<_>>();
                let [low, high] = PairedDifference::new(&values(0), &values(1)).interval.unwrap();
                covered += usize::from(low <= truth && truth <= high);
            }
            assert!((930..=970).contains(&covered), "n = {n}: {covered} of 1000");
        }
    }

    #[test]
    fn equal_arms_are_told_apart_in_few_families() {
        // Six equal arms, all fifteen pairs, five seeds: by adjusted p, and by intervals for all at once.
        let (mut normal, families) = (normals(9), 2000);
        let (mut by_p, mut by_interval) = (0, 0);
        for _ in 0..families {
            let arms: Vec<Vec<Option<f64>>> = (0..6).map(|_| (0..5).map(|_| Some(normal())).collect()).collect();
            let pairs = (0..6).flat_map(|a| (a + 1..6).map(move |b| (a, b)));
            let differences: Vec<Vec<f64>> = pairs
                .map(|(a, b)| arms[a].iter().zip(&arms[b]).map(|(a, b)| a.unwrap() - b.unwrap()).collect())
                .collect();
            let p = |values: &Vec<f64>| {
                let given: Vec<_> = values.iter().copied().map(Some).collect();
                PairedDifference::new(&given, &[Some(0.0); 5]).p_t.unwrap()
            };
            let p: Vec<f64> = differences.iter().map(p).collect();
            by_p += usize::from(holm(&p).iter().any(|p| *p < 0.05));
            let level = 1.0 - 0.05 / 15.0;
            let excludes = |[low, high]: [f64; 2]| low > 0.0 || high < 0.0;
            by_interval += usize::from(differences.iter().any(|d| excludes(t_interval_at(d, level).unwrap())));
        }
        assert!(
            by_p * 100 <= 5 * families && by_interval * 100 <= 5 * families,
            "{by_p} and {by_interval} of {families}"
        );
        assert!(by_interval > 0, "a test that never rejects says nothing");
    }

    #[test]
    fn many_pairs_are_drawn() {
        let mut normal = normals(4);
        let values: Vec<f64> = (0..40).map(|_| normal() + 0.25).collect();
        let given: Vec<_> = values.iter().copied().map(Some).collect();
        let found = PairedDifference::new(&given, &[Some(0.0); 40]);
        // With so many pairs the two tests agree.
        assert!((found.p_sign - found.p_t.unwrap()).abs() < 0.02, "{found:?}");
        let far = PairedDifference::new(&[Some(1.0); 30], &[Some(0.0); 30]);
        assert!(far.p_sign < 1e-5 && far.p_sign > 0.0);
    }

    #[test]
    fn without_pairs_there_is_no_number() {
        let none = PairedDifference::new(&[Some(1.0), None], &[None, Some(2.0)]);
        assert_eq!((none.n, none.mean, none.interval, none.p_sign), (0, None, None, 1.0));
    }
}
