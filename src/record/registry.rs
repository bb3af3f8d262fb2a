//! Owns: the list of metrics: name, unit, type, description; and one step's values of them.
//! Must not know: who computes a metric, who draws or writes it.
//! Invariant: a metric's name, unit and description stand nowhere else.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Count,
    /// Real numbers.
    Real,
}

/// One metric's description.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Column name; the unit is part of it.
    pub name: &'static str,
    /// Unit, empty for pure numbers.
    pub unit: &'static str,
    /// What its column holds.
    pub kind: Kind,
    /// What it is, and when it is null.
    pub doc: &'static str,
}

macro_rules! metrics {
    ($( $variant:ident $name:literal $unit:literal $kind:ident $doc:literal; )*) => {
        /// A metric; `Metric::spec` describes it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric { $( #[doc = $doc] $variant, )* }

        impl Metric {
            /// Every metric, in column order.
            pub const ALL: &'static [Metric] = &[ $( Metric::$variant, )* ];

            /// Its description.
            pub const fn spec(self) -> Spec {
                match self {
                    $( Metric::$variant => Spec { name: $name, unit: $unit, kind: Kind::$kind, doc: $doc }, )*
                }
            }
        }
    };
}

metrics! {
    Step "step" "" Count "Updates done; 0 is before the first.";
    Tokens "tokens" "tokens" Count "Input tokens seen by plain passes since the start of the run.";
    WallS "wall_s" "s" Real "Seconds since training began, pauses included.";
    LossPlain "loss_plain_nats" "nats" Real "Mean next-token nll of the plain pass, over all positions.";
    LossRecycled "loss_recycled_nats" "nats" Real "Mean nll of the last recycled pass where its loss counts, over the positions of all batches of the step; null on steps without one.";
    LossPlainAtRecycled "loss_plain_at_recycled_nats" "nats" Real "Mean nll of the plain pass at the recycled positions; null on steps without any.";
    LossRecycledAtRecycled "loss_recycled_at_recycled_nats" "nats" Real "Mean nll of the last recycled pass at the recycled positions; null on steps without any.";
    Recycled "recycled" "positions" Count "Positions recycled in this step, all rows together; null on steps without a recycled pass.";
    RecycleProbability "recycle_probability" "" Real "Probability in force with which an eligible step carries a recycled pass.";
    RecycleFraction "recycle_fraction" "" Real "Fraction in force of a row's positions that are recycled; null where another share is chosen.";
    RecycleCount "recycle_count" "positions" Count "Positions in force that are recycled in a row; null where another share is chosen.";
    RecycleThreshold "recycle_threshold_nats" "nats" Real "Plain entropy in force from which a position is recycled; null where another share is chosen.";
    RecycledPasses "recycled_passes" "passes" Count "Recycled passes of this step; null on steps without one.";
    RecycleWeight "recycle_weight" "" Real "Weight in force of the recycled loss.";
    EntropyPlain "entropy_plain_nats" "nats" Real "Mean entropy of the plain pass's output distributions.";
    EntropyPlainAtRecycled "entropy_plain_at_recycled_nats" "nats" Real "Mean plain entropy at the recycled positions; null on steps without any.";
    Lr "lr" "" Real "Learning rate of this update.";
    GradNorm "grad_norm" "" Real "Global norm of the gradients before clipping.";
    StepMs "step_ms" "ms" Real "Wall time of the step.";
    TokensPerS "tokens_per_s" "tokens/s" Real "Input tokens of the step by its wall time.";
    ValidPlain "valid_loss_plain_nats" "nats" Real "Validation: mean nll of the plain pass; null on steps without validation.";
    ValidRecycled "valid_loss_recycled_nats" "nats" Real "Validation: mean nll of the recycled pass at the recycled positions.";
    ValidPlainAtRecycled "valid_loss_plain_at_recycled_nats" "nats" Real "Validation: mean nll of the plain pass at the same positions.";
    Epoch "epoch" "" Count "Passes over the training split begun before this batch, less one.";
}

/// One step's values; what was not measured is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    values: [Option<f64>; Metric::ALL.len()],
}

impl StepRow {
    /// A row of nothing but its step.
    pub fn new(step: u64) -> Self {
        let mut row = Self { values: [None; Metric::ALL.len()] };
        row.set(Metric::Step, step as f64);
        row
    }

    /// The value of `metric`.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values[metric as usize]
    }

    /// Sets the value of `metric`.
    pub fn set(&mut self, metric: Metric, value: f64) {
        self.values[metric as usize] = Some(value);
    }

    /// Sets `metric` where there is a value.
    pub fn set_if(&mut self, metric: Metric, value: Option<f64>) {
        if value.is_some() {
            self.values[metric as usize] = value;
        }
    }

    /// Updates done.
    pub fn step(&self) -> u64 {
        self.get(Metric::Step).unwrap_or(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_described() {
        let names: HashSet<_> = Metric::ALL.iter().map(|m| m.spec().name).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        assert!(Metric::ALL.iter().all(|m| !m.spec().doc.is_empty()));
    }

    #[test]
    fn metrics_index_their_own_column() {
        for (index, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, index);
        }
    }
}
