//! Owns: which config was in force at which step; the live numbers of a config, and their course over the run.
//! Must not know: how a number is drawn, who changes it.
//! Invariant: bounded; what is said of a past step is what held then, of a future one what holds as things are.

use crate::config::{Change, Config, Curve, Key, Limit, Share};
use std::sync::OnceLock;
use toml::Value;

/// Most changes that are kept apart; the oldest go first, but for the beginning.
const MOST: usize = 512;

/// A number that may change while a run goes on.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// Its key.
    pub key: &'static Key,
    /// Whether it is a whole number.
    pub whole: bool,
    /// Whether it may be a curve over steps.
    pub curved: bool,
}

impl Number {
    /// Whether it is the learning rate, which is drawn as that of the update: the key is its peak.
    pub fn is_lr(&self) -> bool {
        (self.key.section, self.key.name) == ("optim", "lr")
    }

    /// What values it may have.
    pub fn limit(&self) -> Limit {
        self.key.limit
    }
}

/// All live numbers: those that say most of the recycling first, then in the order of the key table.
pub fn numbers() -> &'static [Number] {
    static NUMBERS: OnceLock<Vec<Number>> = OnceLock::new();
    NUMBERS.get_or_init(|| {
        let table = Config::default();
        let mut found: Vec<Number> = Config::keys()
            .filter(|key| key.change == Change::Live)
            .filter_map(|key| {
                let whole = match table.value(key) {
                    Value::Integer(_) => true,
                    Value::Float(_) => false,
                    _ => return None,
                };
                Some(Number { key, whole, curved: is_curve(key) })
            })
            .collect();
        let rank = |number: &Number| {
            FIRST.iter().position(|path| number.key.path() == **path).unwrap_or(FIRST.len())
        };
        found.sort_by_key(rank);
        found
    })
}

/// What says most of the recycling.
const FIRST: [&str; 10] = [
    "recycle.probability",
    "recycle.fraction",
    "recycle.count",
    "recycle.threshold",
    "recycle.weight",
    "optim.lr",
    "recycle.scale",
    "recycle.every",
    "recycle.passes",
    "optim.clip",
];

/// Whether a key takes a curve: whether it reads one back.
fn is_curve(key: &Key) -> bool {
    let knots = Value::Array(vec![knot(0, 0.5), knot(9, 0.6)]);
    crate::config::change::with(&Config::default(), [(key, &knots)], "curve")
        .is_ok_and(|config| config.value(key) == knots)
}

/// `[step, value]` as TOML.
pub fn knot(step: u64, value: f64) -> Value {
    Value::Array(vec![Value::Integer(step as i64), Value::Float(value)])
}

/// The numbers of `config` that mean something in it: of the four ways to say a share, the one that is chosen.
pub fn used(config: &Config) -> Vec<usize> {
    let share = match config.recycle.share {
        Share::Fraction => "fraction",
        Share::Count => "count",
        Share::Threshold | Share::RelativeThreshold => "threshold",
    };
    let idle = |number: &Number| {
        let name = number.key.name;
        number.key.section == "recycle" && ["fraction", "count", "threshold"].contains(&name) && name != share
    };
    numbers().iter().enumerate().filter(|(_, number)| !idle(number)).map(|(index, _)| index).collect()
}

/// A config and the first step that it holds for.
#[derive(Clone, Debug)]
pub struct Era {
    /// The first step.
    pub step: u64,
    /// The config.
    pub config: Config,
    /// Its live numbers, in the order of [`numbers`]; none where it is no number there.
    pub curves: Vec<Option<Curve>>,
}

impl Era {
    fn of(step: u64, config: &Config) -> Self {
        let curves = numbers().iter().map(|number| as_curve(number, &config.value(number.key))).collect();
        Self { step, config: config.clone(), curves }
    }

    /// Number `index` at `step`. The learning rate is that of the update.
    fn at(&self, index: usize, step: u64) -> Option<f64> {
        if numbers()[index].is_lr() {
            return Some(self.config.optim.lr_at(step, self.config.run.steps));
        }
        self.curves[index].as_ref().map(|curve| curve.at(step))
    }
}

fn as_curve(number: &Number, value: &Value) -> Option<Curve> {
    match value {
        Value::Integer(number) => Some(Curve::constant(*number as f64)),
        Value::Float(number) => Some(Curve::constant(*number)),
        // A mixture looks like one, too.
        Value::Array(_) if number.curved => value.clone().try_into::<Curve>().ok(),
        _ => None,
    }
}

/// The configs of a run.
#[derive(Clone, Debug, Default)]
pub struct Eras {
    all: Vec<Era>,
}

impl Eras {
    /// Begins with `config`.
    pub fn begin(config: &Config) -> Self {
        Self { all: vec![Era::of(0, config)] }
    }

    /// `config` holds from `step` on.
    pub fn push(&mut self, step: u64, config: &Config) {
        self.all.retain(|era| era.step < step || era.step == 0);
        if self.all.len() == MOST {
            self.all.remove(1);
        }
        self.all.push(Era::of(step, config));
    }

    /// The one in force now.
    pub fn last(&self) -> Option<&Era> {
        self.all.last()
    }

    /// Number `index` at `step`; of steps after `now` as planned.
    pub fn at(&self, index: usize, step: u64, now: u64) -> Option<f64> {
        let era = match self.all.partition_point(|era| era.step <= step) {
            _ if step > now => self.all.last(),
            0 => self.all.first(),
            after => self.all.get(after - 1),
        };
        era?.at(index, step)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn index(path: &str) -> usize {
        numbers().iter().position(|number| number.key.path() == path).unwrap()
    }

    #[test]
    fn live_numbers_are_found_in_the_key_table() {
        let [fraction, every, lr] =
            ["recycle.fraction", "recycle.every", "optim.lr"].map(|path| numbers()[index(path)]);
        assert!(fraction.curved && !fraction.whole);
        assert!(every.whole && !every.curved);
        assert!(!lr.curved);
        assert!(numbers().iter().all(|number| number.key.path() != "data.batch"), "frozen");
        let used = used(&Config::default());
        assert!(used.contains(&index("recycle.fraction")) && !used.contains(&index("recycle.count")));
    }

    #[test]
    fn the_past_is_what_held_and_the_future_what_holds() {
        let (mut config, fraction) = (Config::default(), index("recycle.fraction"));
        config.recycle.fraction = Curve::constant(0.1);
        let mut eras = Eras::begin(&config);
        config.recycle.fraction = Curve::through(vec![(100, 0.2), (200, 0.4)]).unwrap();
        eras.push(150, &config);
        assert_eq!(eras.at(fraction, 120, 160), Some(0.1));
        assert_eq!(eras.at(fraction, 160, 160), config.recycle.fraction.at(160).into());
        assert_eq!(eras.at(fraction, 190, 160), config.recycle.fraction.at(190).into());
        // Pressed twice at one boundary: the later holds.
        config.recycle.fraction = Curve::constant(0.9);
        eras.push(150, &config);
        assert_eq!(eras.at(fraction, 150, 160), Some(0.9));
    }

    #[test]
    fn it_stays_bounded_and_keeps_its_beginning() {
        let config = Config::default();
        let mut eras = Eras::begin(&config);
        (1..5000).for_each(|step| eras.push(step, &config));
        assert_eq!(eras.all.len(), MOST);
        assert_eq!(eras.all[0].step, 0);
    }
}
