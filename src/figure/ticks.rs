//! Owns: the range of a figure's axis, its ticks, their labels, and where a value lies on it.
//! Must not know: pixels, what is drawn.
//! Invariant: a range is finite and not empty, that of a logarithmic axis above 0; ticks lie within it.

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AxisScale {
    #[default]
    Linear,
    /// By the logarithm: values up to 0 are left out.
    Log,
}

/// The values from one end of an axis to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ValueRange {
    pub low: f64,
    pub high: f64,
    pub scale: AxisScale,
}

/// A value on an axis with its label.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub value: f64,
    pub label: String,
}

/// The ticks of an axis. Labels are to be multiplied by ten to the power of `exponent`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TickSet {
    pub ticks: Vec<Tick>,
    pub exponent: i32,
}

impl ValueRange {
    /// Returns the range that covers `values`, those that are not finite (or have no logarithm) left out. Without any value it is
    /// 0 to 1, or 1 to 10.
    pub fn covering(values: impl Iterator<Item = f64>, scale: AxisScale) -> Self {
        let shown = values.filter(|value| is_drawable(*value, scale));
        let ends = shown.fold(None, |ends: Option<(f64, f64)>, value| {
            Some(ends.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        let (low, high) = match (ends, scale) {
            (Some(ends), _) => ends,
            (None, AxisScale::Linear) => (0.0, 1.0),
            (None, AxisScale::Log) => (1.0, 10.0),
        };
        Self { low, high, scale }.widened_if_empty()
    }

    /// Gives a range of a single value some extent around it.
    fn widened_if_empty(self) -> Self {
        let Self { low, high, scale } = self;
        // A range that is narrower than the precision of its numbers counts as a single value.
        if high - low > low.abs().max(high.abs()) * 1e-12 {
            return self;
        }
        match scale {
            AxisScale::Linear if low == 0.0 => Self { low: -1.0, high: 1.0, scale },
            AxisScale::Linear => Self { low: low - low.abs() * 0.1, high: high + high.abs() * 0.1, scale },
            AxisScale::Log => Self { low: (low / 2.0).max(f64::MIN_POSITIVE), high: (high * 2.0).min(f64::MAX), scale },
        }
    }

    /// Widens the range by `share` of its extent at either end.
    pub fn with_margin(self, share: f64) -> Self {
        let Self { low, high, scale } = self;
        let wider = match scale {
            // Halves first: the extent of two finite numbers may not be finite.
            AxisScale::Linear => {
                let margin = (high / 2.0 - low / 2.0) * 2.0 * share;
                Self { low: low - margin, high: high + margin, scale }
            }
            AxisScale::Log => {
                let factor = 10f64.powf((high.log10() - low.log10()) * share);
                Self { low: low / factor, high: high * factor, scale }
            }
        };
        if wider.low.is_finite() && wider.high.is_finite() && (scale == AxisScale::Linear || wider.low > 0.0) {
            wider
        } else {
            self
        }
    }

    /// Returns where `value` lies: 0 at the low end, 1 at the high end. None if the axis has no place for it.
    pub fn fraction_of(&self, value: f64) -> Option<f64> {
        if !is_drawable(value, self.scale) {
            return None;
        }
        let place = |value: f64| match self.scale {
            AxisScale::Linear => value / 2.0,
            AxisScale::Log => value.log10(),
        };
        Some((place(value) - place(self.low)) / (place(self.high) - place(self.low)))
    }

    /// Returns about `wanted` ticks at most, at least two where round values allow it.
    pub fn ticks(&self, wanted: usize) -> TickSet {
        let wanted = wanted.max(2);
        // Less than a decade has too few powers of ten.
        if self.scale == AxisScale::Log && self.high / self.low >= 8.0 {
            let ticks = self.log_values(wanted).into_iter().map(|value| Tick { value, label: power_label(value) });
            return TickSet { ticks: ticks.collect(), exponent: 0 };
        }
        let (values, step) = self.linear_values(wanted);
        let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let exponent = exponent_of(largest);
        let unit = 10f64.powi(exponent);
        let decimals = (-(step / unit).log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
        // A step of 2.5 needs a decimal more than its power of ten.
        let decimals = decimals + usize::from(!is_whole(step / unit * 10f64.powi(decimals as i32)));
        let label = |value: f64| format!("{:.decimals$}", value / unit).replace('-', "−");
        TickSet { ticks: values.iter().map(|value| Tick { value: *value, label: label(*value) }).collect(), exponent }
    }

    /// Returns multiples of a round step, and the step.
    fn linear_values(&self, wanted: usize) -> (Vec<f64>, f64) {
        let rough = (self.high / 2.0 - self.low / 2.0) / wanted as f64 * 2.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough);
        let (first, last) = ((self.low / step - 1e-9).ceil(), (self.high / step + 1e-9).floor());
        let count = (last - first).clamp(0.0, 2.0 * wanted as f64) as usize;
        // Adding 0 turns `-0.0` into 0.
        ((0..=count).map(|index| (first + index as f64) * step + 0.0).collect(), step)
    }

    /// Returns powers of ten, with 2 and 5 times (or 3 times) them if there is room; with too many decades only every few.
    fn log_values(&self, wanted: usize) -> Vec<f64> {
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let multiples = |factors: &'static [f64]| -> Vec<f64> {
            let all = powers.clone().flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
            all.filter(|value| *value >= self.low * 0.999_999 && *value <= self.high * 1.000_001).collect()
        };
        let choices: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
        choices.into_iter().map(multiples).find(|values| values.len() <= wanted).unwrap_or_else(|| {
            let all = multiples(&[1.0]);
            let every = all.len().div_ceil(wanted);
            all.into_iter().step_by(every).collect()
        })
    }
}

/// Whether an axis of this scale has a place for `value`.
fn is_drawable(value: f64, scale: AxisScale) -> bool {
    value.is_finite() && (scale == AxisScale::Linear || value > 0.0)
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6
}

/// Returns the power of ten, a multiple of three, that the labels of large and of tiny values leave out.
fn exponent_of(largest: f64) -> i32 {
    if largest == 0.0 || (1e-3..1e5).contains(&largest) { 0 } else { (largest.log10() / 3.0).floor() as i32 * 3 }
}

/// Returns the label of a tick on a logarithmic axis: plain from 0.001 to 9999, else with a power of ten.
fn power_label(value: f64) -> String {
    let power = value.log10().floor() as i32;
    let factor = (value / 10f64.powi(power)).round() as i32;
    match (power, factor) {
        (0..=3, _) => format!("{value:.0}"),
        (-3..0, _) => format!("{value:.0$}", -power as usize),
        (_, 1) => power_text(power),
        _ => format!("{factor}·{}", power_text(power)),
    }
}

/// Returns ten to the power of `exponent` with raised digits.
pub(super) fn power_text(exponent: i32) -> String {
    let raise = |digit: char| match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' => '⁰',
        digit => digit.to_digit(10).and_then(|digit| char::from_u32('⁰' as u32 + digit)).unwrap_or(digit),
    };
    format!("10{}", exponent.to_string().chars().map(raise).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(low: f64, high: f64) -> ValueRange {
        ValueRange { low, high, scale: AxisScale::Linear }
    }

    fn labels(range: ValueRange, wanted: usize) -> Vec<String> {
        range.ticks(wanted).ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_within() {
        assert_eq!(labels(linear(0.0, 2000.0), 4), ["0", "500", "1000", "1500", "2000"]);
        assert_eq!(labels(linear(-0.31, 0.42), 4), ["−0.2", "0.0", "0.2", "0.4"]);
        assert_eq!(labels(linear(2.31, 2.38), 3), ["2.325", "2.350", "2.375"]);
        let large = linear(0.0, 3e6).ticks(4);
        assert_eq!((large.exponent, large.ticks[1].label.as_str()), (6, "1"));
        for (low, high) in [(1e-9, 2e-9), (-1e300, 1e300), (5.0, 5.0 + 1e-9), (-f64::MAX, f64::MAX)] {
            let found = linear(low, high).ticks(5).ticks;
            assert!((1..=11).contains(&found.len()), "{low} {high}: {found:?}");
            let slack = (high / 2.0 - low / 2.0) * 1e-6;
            assert!(found.iter().all(|tick| tick.value >= low - slack && tick.value <= high + slack), "{found:?}");
        }
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten() {
        let log = |low, high| ValueRange { low, high, scale: AxisScale::Log };
        assert_eq!(labels(log(1.0, 100.0), 3), ["1", "10", "100"]);
        assert_eq!(labels(log(0.5, 20.0), 6), ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(labels(log(1e-5, 1e6), 4), ["10⁻⁵", "0.01", "10", "10⁴"]);
        assert_eq!(labels(log(2.0, 4.0), 4), ["2.0", "2.5", "3.0", "3.5", "4.0"]);
        assert_eq!(log(1.0, 100.0).fraction_of(10.0), Some(0.5));
        assert_eq!(log(1.0, 100.0).fraction_of(0.0), None);
    }

    #[test]
    fn ranges_cover_what_can_be_drawn() {
        let values = [f64::NAN, -3.0, 0.0, 7.0, f64::INFINITY];
        assert_eq!(ValueRange::covering(values.into_iter(), AxisScale::Linear), linear(-3.0, 7.0));
        let log = ValueRange::covering(values.into_iter(), AxisScale::Log);
        assert_eq!((log.low, log.high), (3.5, 14.0));
        for scale in [AxisScale::Linear, AxisScale::Log] {
            for value in [0.0, 5.0, -3.0, f64::MAX, f64::MIN_POSITIVE, f64::NAN] {
                let range = ValueRange::covering([value].into_iter(), scale).with_margin(0.05);
                assert!(range.low < range.high && range.low.is_finite(), "{value}: {range:?}");
                assert!(range.fraction_of(value).is_none_or(|at| (0.0..=1.0).contains(&at)), "{value}: {range:?}");
            }
        }
    }
}
