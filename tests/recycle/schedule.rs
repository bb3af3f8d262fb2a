//! Tests which steps recycle, and with which settings.

use coconut_lab::config::{Control, Curve, Mixture, Recycle};
use coconut_lab::recycle::schedule::step_settings;

fn recycled_steps(recycle: &Recycle) -> Vec<u64> {
    (1..=1000).filter(|step| step_settings(recycle, 100, 7, *step).recycles).collect()
}

#[test]
fn every_nth_step_recycles() {
    let recycle = Recycle { every: 100, ..Default::default() };
    assert_eq!(recycled_steps(&recycle), (1..=10).map(|n| 100 * n).collect::<Vec<_>>());
    assert_eq!(recycled_steps(&Recycle { every: 0, ..Default::default() }), Vec::<u64>::new());
}

#[test]
fn a_probability_curve_starts_late_and_ramps_up() {
    let probability = Curve::from_knots(vec![(0, 0.0), (500, 0.0), (1000, 1.0)]).unwrap();
    let found = recycled_steps(&Recycle { every: 1, probability, ..Default::default() });
    assert!(found.iter().all(|step| *step > 500));
    let early = found.iter().filter(|step| **step <= 750).count();
    let late = found.len() - early;
    assert!((40..90).contains(&early) && (160..220).contains(&late), "{early} {late}");
}

#[test]
fn nothing_is_recycled_if_fraction_or_weight_is_zero() {
    for recycle in [
        Recycle { every: 1, fraction: Curve::constant(0.0), ..Default::default() },
        Recycle { every: 1, weight: Curve::constant(0.0), ..Default::default() },
    ] {
        assert!(recycled_steps(&recycle).is_empty());
    }
}

#[test]
fn pass_counts_follow_the_mixture() {
    let passes = Mixture::from_entries(vec![(1, 0.9), (3, 0.1)]).unwrap();
    let recycle = Recycle { passes, ..Default::default() };
    let deep = (1..=5000).filter(|step| step_settings(&recycle, 100, 7, *step).passes == 3).count();
    assert!((420..580).contains(&deep), "{deep}");
}

#[test]
fn the_scale_follows_its_curve() {
    let scale = Curve::from_knots(vec![(0, 0.0), (10, 1.0)]).unwrap();
    assert_eq!(step_settings(&Recycle { scale, ..Default::default() }, 100, 7, 4).scale, 0.4);
}

#[test]
fn a_share_of_the_steps_feeds_the_pause_vector_in_one_pass() {
    let passes = Mixture::always(3);
    let recycle = Recycle { every: 1, passes, pause_share: 0.2, ..Default::default() };
    let found: Vec<_> = (1..=5000).map(|step| step_settings(&recycle, 100, 7, step)).collect();
    let pauses = found.iter().filter(|settings| settings.control == Control::Pause).count();
    assert!((900..1100).contains(&pauses), "{pauses}");
    assert!(
        found
            .iter()
            .all(|settings| settings.recycles && (settings.passes == 1) == (settings.control == Control::Pause))
    );
}
