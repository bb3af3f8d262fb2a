//! Owns: the correction of several tests at once.
//! Must not know: the tests.
//! Invariant: an adjusted p is never below the given one, and the order of the tests stays.

/// Returns the p values adjusted by Holm (1979), in the given order: rejecting those up to 0.05 keeps the probability of
/// any false rejection at most 0.05, however the tests depend on each other. NaN, a test that could not be made, gives 1
/// and still counts as a test.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*one].total_cmp(&p[*other]));
    let mut adjusted = vec![1.0; p.len()];
    let mut largest = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        largest = largest.max(((p.len() - rank) as f64 * p[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_p_are_multiplied_more_and_never_overtaken() {
        let close = |found: Vec<f64>, wanted: &[f64]| {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(one, other)| (one - other).abs() < 1e-12)
        };
        assert!(close(holm(&[0.04, 0.01, 0.03]), &[0.06, 0.03, 0.06]));
        assert!(close(holm(&[0.9, f64::NAN, 0.01]), &[1.0, 1.0, 0.03]));
        assert!(close(holm(&[0.2]), &[0.2]) && holm(&[]).is_empty());
    }
}
