//! Owns: the sign-flip test of paired differences.
//! Must not know: what differs.
//! Invariant: the given choice of signs counts, so p is never 0.

use crate::rng::{RngKey, RngPurpose, RngStream};

/// Most differences whose sign choices are all counted: two halves of 2¹⁶ sums.
const MAX_EXACT: usize = 32;
/// Sign choices that are drawn beyond that.
const DRAWS: usize = 99_999;

/// Returns the two-sided p of the sign-flip test (Fisher, 1935): the share of all `2ⁿ` choices of signs whose sum of
/// `differences` is at least as far from 0 as the given one.
///
/// With up to 32 differences all choices are counted. Beyond, 99,999 choices are drawn with a fixed seed, and p is
/// (1 + as far) / 100,000, which is valid but has a standard error of at most 0.0016 (Phipson and Smyth, 2010).
pub(super) fn sign_flip_p(differences: &[f64]) -> f64 {
    let total: f64 = differences.iter().map(|value| value.abs()).sum();
    let whole = differences.iter().sum::<f64>().abs();
    // Sums of equal size that differ by rounding count as equal.
    let limit = whole * (1.0 - 1e-12) - 1e-14 * total;
    if differences.len() <= MAX_EXACT { exact_share(differences, limit) } else { drawn_share(differences, limit) }
}

/// Counts pairs of a sum of the first half and a sum of the second half, which is sorted.
fn exact_share(differences: &[f64], limit: f64) -> f64 {
    let (first, second) = differences.split_at(differences.len() / 2);
    let (first, mut second) = (signed_sums(first), signed_sums(second));
    second.sort_unstable_by(f64::total_cmp);
    let far_with = |sum: &f64| {
        let below = second.partition_point(|other| sum + other <= -limit);
        let inside = second.partition_point(|other| sum + other < limit);
        // With a limit of 0 or less every choice is far enough.
        if limit <= 0.0 { second.len() } else { below + second.len() - inside }
    };
    let far: usize = first.iter().map(far_with).sum();
    far as f64 / (first.len() * second.len()) as f64
}

/// Returns the sums of all `2ⁿ` choices of signs.
fn signed_sums(differences: &[f64]) -> Vec<f64> {
    differences.iter().fold(vec![0.0], |sums, value| sums.iter().flat_map(|sum| [sum + value, sum - value]).collect())
}

fn drawn_share(differences: &[f64], limit: f64) -> f64 {
    let mut stream = RngKey::default().stream(RngPurpose::Bootstrap, 1);
    let far = (0..DRAWS).filter(|_| drawn_sum(differences, &mut stream).abs() >= limit).count();
    (far + 1) as f64 / (DRAWS + 1) as f64
}

fn drawn_sum(differences: &[f64], stream: &mut RngStream) -> f64 {
    let signed = |part: &[f64]| {
        let bits = stream.bits();
        part.iter().enumerate().map(|(at, value)| if bits >> at & 1 == 1 { *value } else { -value }).sum::<f64>()
    };
    differences.chunks(64).map(signed).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_together_count_every_choice() {
        let values = [0.3, -0.1, 0.4, 0.25, -0.05, 0.2, 0.1];
        let whole: f64 = values.iter().sum();
        let one_by_one = |choice: usize| -> f64 {
            values.iter().enumerate().map(|(at, value)| if choice >> at & 1 == 1 { *value } else { -value }).sum()
        };
        let far = (0..128).filter(|choice| one_by_one(*choice).abs() >= whole - 1e-9).count();
        assert_eq!(sign_flip_p(&values), far as f64 / 128.0);
        assert_eq!(sign_flip_p(&[]), 1.0);
        assert_eq!(sign_flip_p(&[2.0]), 1.0);
        assert_eq!(sign_flip_p(&[1.0, -1.0]), 1.0, "a sum of 0 is never unusual");
        assert_eq!(sign_flip_p(&[1.0; 20]), 2.0 / f64::from(1 << 20));
    }

    #[test]
    fn drawn_choices_agree_with_the_exact_count() {
        let mut stream = RngKey::default().stream(RngPurpose::Jitter, 0);
        let values: Vec<f64> = (0..MAX_EXACT).map(|_| stream.normal() + 0.3).collect();
        let limit = values.iter().sum::<f64>().abs() * (1.0 - 1e-12);
        let (exact, drawn) = (exact_share(&values, limit), drawn_share(&values, limit));
        assert!((0.001..0.5).contains(&exact) && (exact - drawn).abs() < 0.005, "{exact} {drawn}");
        let longer = [&values[..], &[0.3; 40]].concat();
        assert!((1e-5..0.1).contains(&sign_flip_p(&longer)));
    }
}
