//! Owns: the list of metrics: name, unit, type, description; one step's values of them; and the columns of the other
//! tables.
//! Must not know: who computes a metric, who draws or writes it.
//! Invariant: a column's name, unit and description stand nowhere else.

/// Version of the tables' schemas, in every part's footer.
pub const SCHEMA_VERSION: &str = "3";

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Count,
    /// Real numbers.
    Real,
    /// Text.
    Text,
    /// A moment, milliseconds since 1970 in UTC.
    Time,
    /// A list of whole numbers.
    Counts,
    /// A list of real numbers, in single precision.
    Reals,
    /// A list of yes and no.
    Flags,
}

/// One column's description.
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
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    LossPlainAtRecycled "loss_plain_at_recycled_nats" "nats" Real "Mean nll of the plain pass at the recycled positions; null on steps without any, and on those that teach the pause.";
    LossRecycledAtRecycled "loss_recycled_at_recycled_nats" "nats" Real "Mean nll of the last recycled pass at the recycled positions; null on steps without any.";
    LossPause "loss_pause_nats" "nats" Real "Mean nll at the recycled positions of a step that feeds the pause vector instead (recycle.pause_share), which then has no recycled loss; null on other steps.";
    Recycled "recycled" "positions" Count "Positions recycled in this step, all rows together; null on steps without a recycled pass.";
    RecycleProbability "recycle_probability" "" Real "Probability in force with which an eligible step carries a recycled pass.";
    RecycleFraction "recycle_fraction" "" Real "Fraction in force of a row's positions that are recycled; null where another share is chosen.";
    RecycleCount "recycle_count" "positions" Count "Positions in force that are recycled in a row; null where another share is chosen.";
    RecycleThreshold "recycle_threshold_nats" "nats" Real "Plain entropy in force from which a position is recycled; null where another share is chosen.";
    RecycledPasses "recycled_passes" "passes" Count "Recycled passes of this step; null on steps without one.";
    RecycleScale "recycle_scale" "" Real "Factor in force on what is fed of the states.";
    RecycleWeight "recycle_weight" "" Real "Weight in force of the recycled loss.";
    EntropyPlain "entropy_plain_nats" "nats" Real "Mean entropy of the plain pass's output distributions.";
    EntropyPlainAtRecycled "entropy_plain_at_recycled_nats" "nats" Real "Mean plain entropy at the recycled positions; null on steps without any, and on those that teach the pause.";
    Lr "lr" "" Real "Learning rate of this update.";
    GradNorm "grad_norm" "" Real "Global norm of the gradients before clipping.";
    StepMs "step_ms" "ms" Real "Wall time of the step.";
    PlainMs "plain_ms" "ms" Real "Wall time of the plain pass, forward and backward, without the head; null on steps that are not timed by part.";
    RecycledMs "recycled_ms" "ms" Real "The same of all recycled passes, placement included; null on steps without any. Where one backward runs over all passes, its time is shared out by operations.";
    HeadMs "head_ms" "ms" Real "Wall time of head, loss and their gradients, of all passes.";
    UpdateMs "update_ms" "ms" Real "Wall time from the last gradient to the updated weights: averaging, the readback, norm, clipping, optimizer.";
    PlainFlop "plain_flop" "flop" Real "Floating-point operations of the plain pass, forward and backward, without the head, counted from shapes.";
    RecycledFlop "recycled_flop" "flop" Real "The same of all recycled passes; null on steps without any.";
    HeadFlop "head_flop" "flop" Real "The same of head, loss and their gradients, of all passes.";
    UpdateFlop "update_flop" "flop" Real "The same of gradient norm and optimizer.";
    LatentMs "latent_ms" "ms" Real "The price of a recycled position: wall time of the recycled passes and their head, by recycled positions.";
    LatentFlop "latent_flop" "flop" Real "The same in floating-point operations.";
    SequentialMs "sequential_latent_ms" "ms" Real "The price of a state computed one after another (arXiv 2412.06769), exact where one recycled pass is the first step to it: wall time of a sequential pass, forward and backward, with a loss at as many positions, by these positions; null but where a validation measured it.";
    SequentialFlop "sequential_latent_flop" "flop" Real "The same in floating-point operations.";
    TokensPerS "tokens_per_s" "tokens/s" Real "Input tokens of the step by its wall time.";
    ShareOfPeak "share_of_peak" "" Real "Floating-point operations of the step by its wall time, as a share of the rate of the device's own matrix product, which is measured at the start; null where that is not known.";
    ValidPlain "valid_loss_plain_nats" "nats" Real "Validation: mean nll of the plain pass; null on steps without validation.";
    ValidRecycled "valid_loss_recycled_nats" "nats" Real "Validation: mean nll of the recycled pass at the recycled positions.";
    ValidPlainAtRecycled "valid_loss_plain_at_recycled_nats" "nats" Real "Validation: mean nll of the plain pass at the same positions.";
    ValidPause "valid_loss_pause_nats" "nats" Real "Validation, control: mean nll of the recycled pass at the same positions with one learned vector in the place of all states.";
    ValidMasked "valid_loss_masked_nats" "nats" Real "Validation, control: likewise with the mean token embedding.";
    ValidShuffled "valid_loss_shuffled_nats" "nats" Real "Validation, control: likewise with the state that belongs to another recycled position.";
    ValidEntropyPlain "valid_entropy_plain_at_recycled_nats" "nats" Real "Validation: mean plain entropy at the recycled positions.";
    ValidEntropyRecycled "valid_entropy_recycled_nats" "nats" Real "Validation: mean entropy of the recycled pass at the same positions.";
    ValidEntropyFalls "valid_entropy_falls" "" Real "Validation: share of the recycled positions whose entropy is lower in the recycled pass than in the plain one.";
    ValidNormRatio "valid_norm_ratio" "" Real "Validation: mean ratio of the norm of the state that is fed, raw, to that of the token embedding it meets or replaces.";
    ValidLatentCosine "valid_latent_cosine" "" Real "Validation: mean cosine between the states fed in one row; near 1 they have collapsed.";
    ValidPassChange "valid_pass_change" "" Real "Validation: mean of |h' - h| / |h'| at the recycled positions, h' being the states after the last recycled pass and h those before it.";
    ConfigVersion "config_version" "" Count "Version of the config in force: how many changes had been applied; 0 is the first.";
    Epoch "epoch" "" Count "Passes over the training split begun before this batch, less one.";
}

macro_rules! columns {
    ($( $(#[doc = $about:literal])* $table:ident { $( $name:literal $unit:literal $kind:ident $doc:literal; )* } )*) => { $(
        $(#[doc = $about])*
        pub const $table: &[Spec] =
            &[ $( Spec { name: $name, unit: $unit, kind: Kind::$kind, doc: $doc }, )* ];
    )* };
}

columns! {
    /// `events/`: one line a thing that happened or was measured now and then.
    EVENTS {
        "step" "" Count "Updates done when it happened.";
        "tokens" "tokens" Count "Input tokens seen until then.";
        "time" "" Time "When.";
        "kind" "" Text "start, resume, validation, sample, checkpoint, pause, alert, end.";
        "name" "" Text "What of that kind: the metric, or a word; of a sample, the prompt.";
        "value" "" Real "The metric's value, in its unit; of a sample, the mean entropy of its tokens' distributions, nats; null where the event has none.";
        "text" "" Text "In words; of a sample, the continuation; null where the value says it.";
    }
    /// `changes/`: one line a key that was changed, or was to be.
    CHANGES {
        "step" "" Count "The first step that it holds for.";
        "tokens" "tokens" Count "Input tokens seen before that step.";
        "time" "" Time "When it was taken up.";
        "version" "" Count "Version of the config after it.";
        "change_set" "" Text "What was changed together has one, and keeps it when it is done again.";
        "key" "" Text "section.key; null where a file could not be read at all.";
        "old" "" Text "The value before, as JSON.";
        "new" "" Text "The value after, or the one that was refused, as JSON.";
        "source" "" Text "Who changed it: a file, the keys, a recorded change done again.";
        "outcome" "" Text "applied, refused, or noted: nothing was changed, a person wrote something down.";
        "reason" "" Text "Why it was refused, or what was noted.";
    }
    /// `tokens/`: one line a row that was looked at; all lists have one entry a position, but for the likeliest tokens, of
    /// which each position has five (or the whole of a smaller vocabulary), one position after another.
    TOKENS {
        "step" "" Count "Updates done when it was looked at.";
        "token_ids" "" Counts "Ids of the input tokens.";
        "document_starts" "" Flags "Whether a document begins there.";
        "entropy_plain_nats" "nats" Reals "Entropy of the plain pass's output.";
        "entropy_recycled_nats" "nats" Reals "Entropy of the recycled pass's output; null where none was made.";
        "nll_plain_nats" "nats" Reals "Plain nll of the next token.";
        "recycled" "" Flags "Whether the position's input was recycled.";
        "top_ids_plain" "" Counts "Ids of the 5 likeliest next tokens after the plain pass, the likeliest first, position after position; null where they were not recorded.";
        "top_probs_plain" "" Reals "Their probabilities.";
        "top_ids_recycled" "" Counts "The same after the recycled pass; null where none was made.";
        "top_probs_recycled" "" Reals "Their probabilities.";
    }
    /// `thoughts/`: one line a pass and a recycled position (at most 64 of a row) of a row in `tokens/`.
    THOUGHTS {
        "step" "" Count "Updates done when it was looked at.";
        "position" "" Count "The recycled position, t.";
        "pass" "" Count "0: the plain pass; else the recycled pass.";
        "token_id" "" Count "Id of the token at t, which recycling hides.";
        "fed_entropy_nats" "nats" Real "Entropy of what the head makes of the state at t-1 after this pass, which the next pass is fed at t.";
        "fed_top_ids" "" Counts "Its likeliest tokens, the likeliest first.";
        "fed_top_probs" "" Reals "Their probabilities.";
        "entropy_nats" "nats" Real "Entropy of the output at t after this pass.";
        "top_ids" "" Counts "Its likeliest tokens, the likeliest first.";
        "top_probs" "" Reals "Their probabilities.";
    }
    /// What `lens` writes: one line a latent.
    LENS {
        "prompt" "" Count "Which prompt of the data set, counted from 0.";
        "policy" "" Text "The policy that led to it.";
        "control" "" Text "none, or shuffled: another row's state was fed in its place.";
        "thought" "" Count "Which thought of the prompt, counted from 0.";
        "latent" "" Count "Which latent of the thought, counted from 0.";
        "position" "" Count "The position that it stands at.";
        "entropy_nats" "nats" Real "Entropy of what the head makes of the state that is fed.";
        "candidates" "" Real "e to that entropy: how many tokens, each as likely as the other, would have it.";
        "after_entropy_nats" "nats" Real "Entropy of the output at its position.";
        "top_ids" "" Counts "What the state decodes to: ids of the likeliest tokens, the likeliest first.";
        "top_probs" "" Reals "Their probabilities.";
        "beam_overlap" "" Real "Share of the tokens that a beam of plain continuations reaches at the position, that are among the likeliest; null but for a prompt's first thought.";
    }
    /// `system/`: one line every `record.system_seconds`.
    SYSTEM {
        "step" "" Count "Updates done by then.";
        "time" "" Time "When.";
        "process_cpu" "" Real "Processor time of this process, in cores.";
        "process_bytes" "bytes" Count "Memory of this process that is resident.";
        "memory_used_bytes" "bytes" Count "Memory in use on the machine.";
        "memory_bytes" "bytes" Count "Memory of the machine.";
        "disk_free_bytes" "bytes" Count "Room on the disk that holds the run folder.";
        "machine_cpu" "" Real "Processor time of the whole machine, in cores.";
        "machine_cores" "" Count "Cores of the machine.";
        "gpu_load" "" Real "Share of the last moments in which something ran on the GPU; null without one that says.";
        "gpu_memory_used_bytes" "bytes" Count "Memory in use on the GPU.";
        "gpu_memory_bytes" "bytes" Count "Memory of the GPU.";
    }
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
    fn the_other_tables_columns_are_unique_and_described() {
        for table in [EVENTS, CHANGES, TOKENS, THOUGHTS, SYSTEM] {
            let names: HashSet<_> = table.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), table.len());
            assert!(table.iter().all(|column| !column.doc.is_empty()));
            assert_eq!(table[0].name, "step", "rows are cut by it");
        }
    }

    #[test]
    fn metrics_index_their_own_column() {
        for (index, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, index);
        }
    }
}
