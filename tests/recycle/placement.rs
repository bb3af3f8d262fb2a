//! Tests which positions are recycled.

use coconut_lab::config::PositionBudget;
use coconut_lab::recycle::placement::{PlacementRows, entropy_at, entropy_next, random, span};
use coconut_lab::rng::RngKey;
use proptest::prelude::*;

fn placement_rows(doc_start: &[bool], seq_len: usize) -> PlacementRows<'_> {
    seeded_rows(doc_start, seq_len, 0, 1)
}

fn seeded_rows(doc_start: &[bool], seq_len: usize, seed: u64, step: u64) -> PlacementRows<'_> {
    PlacementRows { seq_len, doc_start, max_prefix_fraction: 0.0, rng_key: RngKey { seed, step, ..RngKey::default() } }
}

#[test]
fn the_most_uncertain_positions_are_selected_and_ties_go_to_the_earlier() {
    let starts = [true, false, false, true, false, false];
    let entropy = [9.0, 1.0, 2.0, 9.0, 2.0, f32::NAN];
    let found = entropy_at(placement_rows(&starts, 6), PositionBudget::Fraction(0.34), &entropy);
    assert_eq!(found.rows, vec![vec![2, 4]]);
    assert_eq!(entropy_at(placement_rows(&starts, 6), PositionBudget::Fraction(0.1), &entropy).rows, vec![vec![2]]);
}

#[test]
fn rows_with_few_eligible_positions_recycle_all_of_them() {
    assert_eq!(random(placement_rows(&[true; 4], 4), PositionBudget::Fraction(0.9)).count(), 0);
    let one = [true, true, false, true];
    assert_eq!(random(placement_rows(&one, 4), PositionBudget::Fraction(0.9)).rows, vec![vec![2]]);
}

#[test]
fn every_eligible_position_is_drawn_equally_often() {
    let starts = [false; 8];
    let mut seen = [0; 8];
    for step in 0..7000 {
        for t in &random(seeded_rows(&starts, 8, 3, step), PositionBudget::Fraction(0.125)).rows[0] {
            seen[*t] += 1;
        }
    }
    assert_eq!(seen[0], 0);
    assert!(seen[1..].iter().all(|n| (880..1120).contains(n)), "{seen:?}");
}

#[test]
fn rows_and_batches_are_sampled_independently() {
    let starts = [false; 128];
    let budget = PositionBudget::Count(8);
    let two = random(placement_rows(&starts, 64), budget).rows;
    assert_ne!(two[0], two[1]);
    // The positions of a row do not depend on the content of preceding rows.
    let mut other = starts;
    other[1..64].fill(true);
    assert_eq!(random(placement_rows(&other, 64), budget).rows[1], two[1]);
    let next = PlacementRows {
        rng_key: RngKey { batch: 1, ..placement_rows(&starts, 64).rng_key },
        ..placement_rows(&starts, 64)
    };
    assert_ne!(random(next, budget).rows, two);
}

#[test]
fn entropy_next_recycles_into_the_position_after_the_uncertain_one() {
    let starts = [true, false, false, true, false, false];
    let entropy = [3.0, 1.0, 2.0, 9.0, 2.0, 8.0];
    // 2 is excluded because position 3 begins a document, 5 because it has no next position.
    let found = entropy_next(placement_rows(&starts, 6), PositionBudget::Count(2), &entropy);
    assert_eq!(found.rows, vec![vec![1, 4]]);
    let above = |min_entropy| {
        entropy_next(placement_rows(&starts, 6), PositionBudget::EntropyAtLeast(min_entropy), &entropy).rows[0].clone()
    };
    assert_eq!(above(2.0), [1, 4, 5]);
    assert_eq!(above(99.0), [0; 0]);
}

#[test]
fn spans_are_contiguous_and_stop_at_document_starts() {
    let mut starts = [false; 64];
    starts[20] = true;
    for step in 0..200 {
        let found = span(seeded_rows(&starts, 64, 9, step), PositionBudget::Count(12), 4).rows[0].clone();
        assert_eq!(found.len(), 12);
        assert!(!found.contains(&20));
        let is_alone = |t: &usize| !found.contains(&(t + 1)) && !found.contains(&(t - 1));
        // A span is shortened only by a document's start, a position already selected, or the row's end.
        assert!(found.iter().filter(|t| is_alone(t)).count() <= 6, "{found:?}");
    }
    assert_eq!(span(seeded_rows(&starts, 64, 9, 1), PositionBudget::Fraction(1.0), 4).count(), 62);
}

#[test]
fn nothing_in_the_sampled_plain_prefix_is_recycled() {
    let (starts, mut lengths) = ([false; 100], Vec::new());
    for step in 0..400 {
        let rows = PlacementRows { max_prefix_fraction: 0.6, ..seeded_rows(&starts, 100, 1, step) };
        let found = random(rows, PositionBudget::Fraction(1.0)).rows[0].clone();
        assert_eq!(found, (found[0]..100).collect::<Vec<_>>(), "every position after the prefix is eligible");
        lengths.push(found[0]);
    }
    assert!(lengths.iter().all(|length| (1..=60).contains(length)));
    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
    assert!((25.0..35.0).contains(&mean), "{mean}");
}

proptest! {
    #[test]
    fn positions_ascend_skip_document_starts_and_ignore_other_rows(
        starts in proptest::collection::vec(any::<bool>(), 24),
        entropy in proptest::collection::vec(0.0f32..5.0, 24),
        fraction in 0.01f64..1.0, length in 1usize..6, seed in any::<u64>(), step in any::<u64>(),
    ) {
        let rows = seeded_rows(&starts, 8, seed, step);
        let expected = ((fraction * 8.0).round() as usize).max(1);
        let budget = PositionBudget::Fraction(fraction);
        let placements = || [
            random(rows, budget),
            span(rows, budget, length),
            entropy_at(rows, budget, &entropy),
            entropy_next(rows, budget, &entropy),
        ];
        for placed in placements() {
            for (row, positions) in placed.rows.iter().enumerate() {
                let eligible = (1..8).filter(|t| !starts[row * 8 + t]).count();
                prop_assert_eq!(positions.len(), expected.min(eligible));
                prop_assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(positions.iter().all(|t| *t >= 1 && !starts[row * 8 + t]));
            }
            prop_assert_eq!(placed.mask().iter().filter(|m| **m).count(), placed.count());
        }
        // The content of other rows does not affect the first.
        let (mut others, mut elsewhere) = (starts.clone(), entropy.clone());
        others[8..].iter_mut().for_each(|start| *start = !*start);
        elsewhere[8..].iter_mut().for_each(|nats| *nats = 5.0 - *nats);
        let rows = seeded_rows(&others, 8, seed, step);
        let again = [
            random(rows, budget),
            span(rows, budget, length),
            entropy_at(rows, budget, &elsewhere),
            entropy_next(rows, budget, &elsewhere),
        ];
        for (placed, again) in placements().iter().zip(&again) {
            prop_assert_eq!(&placed.rows[0], &again.rows[0]);
        }
    }
}
