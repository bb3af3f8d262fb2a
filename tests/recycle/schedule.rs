//! Which steps recycle, and with which numbers.

use coconut_lab::config::{self, Curve, Mixture, Recycle};
use coconut_lab::recycle::placement::Share;
use coconut_lab::recycle::schedule::{at, widest};

fn steps(recycle: &Recycle) -> Vec<u64> {
    (1..=1000).filter(|step| at(recycle, 100, 7, *step).recycles).collect()
}

#[test]
fn every_nth_step() {
    let recycle = Recycle { every: 100, ..Default::default() };
    assert_eq!(steps(&recycle), (1..=10).map(|n| 100 * n).collect::<Vec<_>>());
    assert_eq!(steps(&Recycle { every: 0, ..Default::default() }), Vec::<u64>::new());
}

#[test]
fn starts_late_and_ramps_up() {
    let probability = Curve::through(vec![(0, 0.0), (500, 0.0), (1000, 1.0)]).unwrap();
    let found = steps(&Recycle { every: 1, probability, ..Default::default() });
    assert!(found.iter().all(|step| *step > 500));
    let early = found.iter().filter(|step| **step <= 750).count();
    let late = found.len() - early;
    assert!((40..90).contains(&early) && (160..220).contains(&late), "{early} {late}");
}

#[test]
fn nothing_is_recycled_where_fraction_or_weight_is_nothing() {
    for recycle in [
        Recycle { every: 1, fraction: Curve::constant(0.0), ..Default::default() },
        Recycle { every: 1, weight: Curve::constant(0.0), ..Default::default() },
    ] {
        assert!(steps(&recycle).is_empty());
    }
}

#[test]
fn deeper_steps_are_as_frequent_as_the_mixture_says() {
    let passes = Mixture::of(vec![(1, 0.9), (3, 0.1)]).unwrap();
    let recycle = Recycle { passes, ..Default::default() };
    let deep = (1..=5000).filter(|step| at(&recycle, 100, 7, *step).passes == 3).count();
    assert!((420..580).contains(&deep), "{deep}");
}

#[test]
fn shares_and_scale_are_what_the_config_says() {
    let scale = Curve::through(vec![(0, 0.0), (10, 1.0)]).unwrap();
    let of = |share| at(&Recycle { share, scale: scale.clone(), ..Default::default() }, 100, 7, 4);
    assert_eq!(of(config::Share::Fraction).share, Share::Fraction(0.125));
    assert_eq!(of(config::Share::Count).share, Share::Count(8));
    assert_eq!(of(config::Share::Threshold).share, Share::Above(0.5));
    assert_eq!(of(config::Share::RelativeThreshold).share, Share::Above(0.5 * 100_f64.ln()));
    assert_eq!(of(config::Share::Count).scale, 0.4);
}

#[test]
fn validations_look_at_the_widest_share() {
    let curve = Curve::through(vec![(0, 0.25), (10, 0.75), (20, 0.5)]).unwrap();
    let recycle =
        |share| Recycle { share, fraction: curve.clone(), threshold: curve.clone(), ..Default::default() };
    assert_eq!(widest(&recycle(config::Share::Fraction), 9), Share::Fraction(0.75));
    assert_eq!(widest(&recycle(config::Share::Threshold), 9), Share::Above(0.25));
}
