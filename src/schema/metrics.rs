//! Owns: the metrics (name, unit, type, description), one step's values of them, and the columns of the other tables.
//! Must not know: who computes a metric, who draws or writes it.
//! Invariant: a column's name, unit and description are written in one place only.

use crate::config::WorkDone;
use serde::{Deserialize, Serialize};

/// Version of the tables' schemas, written to every segment's footer.
pub const SCHEMA_VERSION: &str = "3";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Count,
    Real,
    Text,
    /// Times in UTC, milliseconds since 1970.
    Time,
    /// Lists of 32-bit integers.
    Counts,
    /// Lists of single-precision floats.
    Reals,
    Flags,
}

#[derive(Clone, Copy, Debug)]
pub struct ColumnSpec {
    /// Column name, which includes the unit if there is one.
    pub name: &'static str,
    /// Unit of the values; empty for pure numbers.
    pub unit: &'static str,
    pub kind: ColumnKind,
    /// Description of the values, and when they are null.
    pub doc: &'static str,
}

macro_rules! metrics {
    ($( $variant:ident $name:literal $unit:literal $kind:ident $doc:literal; )*) => {
        /// A metric: a column of the metrics table. `Metric::spec` describes it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric { $( #[doc = $doc] $variant, )* }

        impl Metric {
            pub const ALL: &'static [Metric] = &[ $( Metric::$variant, )* ];

            pub const fn spec(self) -> ColumnSpec {
                METRICS[self as usize]
            }

            /// Returns the metric of this column name, which may lack the unit at its end.
            pub fn find(name: &str) -> Option<Metric> {
                let is_named = |metric: &&Metric| {
                    let spec = metric.spec();
                    let short = spec.name.strip_suffix(spec.unit).map_or(spec.name, |name| name.trim_end_matches('_'));
                    name == spec.name || !spec.unit.is_empty() && !short.is_empty() && name == short
                };
                let exact = Self::ALL.iter().find(|metric| metric.spec().name == name);
                exact.or_else(|| Self::ALL.iter().find(is_named)).copied()
            }

            /// Returns whether the largest value is the best one. Of losses, times and all others it is the smallest.
            pub const fn larger_is_better(self) -> bool {
                matches!(
                    self,
                    Metric::Reward
                        | Metric::RewardExactMean
                        | Metric::RewardFormatMean
                        | Metric::RolloutTokensPerS
                        | Metric::ValidAccuracy
                        | Metric::ValidEntropyFalls
                        | Metric::TokensPerS
                        | Metric::ShareOfPeak
                )
            }
        }

        /// `metrics/`: one row per step.
        pub const METRICS: &[ColumnSpec] =
            &[ $( ColumnSpec { name: $name, unit: $unit, kind: ColumnKind::$kind, doc: $doc }, )* ];
    };
}

metrics! {
    Step "step" "" Count "Number of updates done. 0 is before the first update.";
    Tokens "tokens" "tokens" Count "Input tokens processed by plain passes since the start of the run.";
    TotalFlop "total_flop" "flop" Real "Floating-point operations of all updates since the start of the run, rollouts included, validations not; null if an older version began the run.";
    WallS "wall_s" "s" Real "Seconds since training began, including pauses.";
    LossPlain "loss_plain_nats" "nats" Real "Mean next-token NLL of the plain pass over all positions.";
    LossRecycled "loss_recycled_nats" "nats" Real "Mean NLL of the last recycled pass at the positions where its loss counts (recycle.loss_on), over all batches of the step; null on steps without recycled passes.";
    LossPlainAtRecycled "loss_plain_at_recycled_nats" "nats" Real "Mean NLL of the plain pass at the recycled positions; null on steps without recycled positions and on steps that feed the pause vector.";
    LossRecycledAtRecycled "loss_recycled_at_recycled_nats" "nats" Real "Mean NLL of the last recycled pass at the recycled positions; null on steps without recycled positions.";
    LossPause "loss_pause_nats" "nats" Real "Mean NLL at the recycled positions of a step that feeds the pause vector (recycle.pause_share) and so has no recycled loss; null on other steps.";
    LossQuestions "loss_questions_nats" "nats" Real "Mean NLL of what questions are trained on, kept steps and answers; null in pre-training.";
    EntropyQuestions "entropy_questions_nats" "nats" Real "Mean entropy of the output distributions at the same positions; null in pre-training.";
    Stage "stage" "" Count "Stage of the curriculum; null in pre-training.";
    Latents "latents" "positions" Count "Latents in this step, over all rows; null in pre-training.";
    RlLoss "rl_loss" "" Real "Loss of the update of reinforcement learning (rl.loss_type), with the KL term; null otherwise.";
    Reward "reward" "" Real "Mean reward of the rollouts that this update learns from. TRL's name, as are those of the next metrics.";
    RewardStd "reward_std" "" Real "Standard deviation (n - 1) of their rewards.";
    FracRewardZeroStd "frac_reward_zero_std" "" Real "Share of the rollouts in groups whose rewards are all equal, which teach nothing.";
    RewardExactMean "rewards/exact/mean" "" Real "Share of the rollouts with the right answer.";
    RewardExactStd "rewards/exact/std" "" Real "Standard deviation of the same.";
    RewardFormatMean "rewards/format/mean" "" Real "Share of the rollouts that end by themselves and state an answer of the kind asked for.";
    RewardFormatStd "rewards/format/std" "" Real "Standard deviation of the same.";
    RewardTokensMean "rewards/tokens/mean" "tokens" Real "Mean of minus the number of tokens, which rl.price_token weighs.";
    RewardTokensStd "rewards/tokens/std" "tokens" Real "Standard deviation of the same.";
    RewardLatentsMean "rewards/latents/mean" "latents" Real "Mean of minus the number of latents, which rl.price_latent weighs.";
    RewardLatentsStd "rewards/latents/std" "latents" Real "Standard deviation of the same.";
    Kl "kl" "nats" Real "Mean k3 estimate of the KL divergence from the reference model over counted events; null if rl.beta is 0.";
    RlEntropy "entropy" "nats" Real "Mean entropy of the output distributions at counted events, at rl.temperature.";
    ClipLowMean "clip_ratio/low_mean" "" Real "Share of the counted events whose ratio is clipped below; of rollouts with importance_sampling_level sequence.";
    ClipLowMin "clip_ratio/low_min" "" Real "The smallest such share of a rollout; null if no event counts.";
    ClipHighMean "clip_ratio/high_mean" "" Real "Share of the counted events whose ratio is clipped above; of rollouts with importance_sampling_level sequence.";
    ClipHighMax "clip_ratio/high_max" "" Real "The largest such share of a rollout; null if no event counts.";
    ClipRegionMean "clip_ratio/region_mean" "" Real "Share that is clipped below or above.";
    CompletionMeanLength "completions/mean_length" "tokens" Real "Mean number of tokens of a rollout.";
    CompletionMinLength "completions/min_length" "tokens" Real "Smallest number of tokens of a rollout.";
    CompletionMaxLength "completions/max_length" "tokens" Real "Largest number of tokens of a rollout.";
    CompletionClippedRatio "completions/clipped_ratio" "" Real "Share of the rollouts that were cut off before their end token.";
    TerminatedMeanLength "completions/mean_terminated_length" "tokens" Real "Mean number of tokens of the rollouts that ended by themselves; 0 if there are none.";
    TerminatedMinLength "completions/min_terminated_length" "tokens" Real "Smallest such number.";
    TerminatedMaxLength "completions/max_terminated_length" "tokens" Real "Largest such number.";
    LogpDifferenceMean "sampling/sampling_logp_difference/mean" "nats" Real "Mean absolute difference between the log-probabilities of the rollouts and those that the first update of the iteration computed again, over tokens and sampled decisions; null at later updates of an iteration.";
    LogpDifferenceMax "sampling/sampling_logp_difference/max" "nats" Real "The largest such difference.";
    LatentsShare "latents/share" "" Real "Share of the generated positions that are latents.";
    LatentsMeanLength "latents/mean_length" "latents" Real "Mean number of latents of a thought; null if there is none.";
    SwitchRate "switch/rate" "" Real "Share of the decisions with a choice that chose a latent; null if there was no such decision.";
    EntropyBeforeThoughts "latents/entropy_before" "nats" Real "Mean entropy of the output before a thought; null if there is none.";
    EntropyAfterThoughts "latents/entropy_after" "nats" Real "Mean entropy of the output after a thought's last latent; null if there is none.";
    RolloutMs "rollout_ms" "ms" Real "Wall time of the rollouts that were made for this update; null if none were.";
    RolloutTokensPerS "rollout_tokens_per_s" "tokens/s" Real "Generated tokens and latents of these rollouts by second, without the pass over the prompts, as `generate` reports it.";
    Recycled "recycled" "positions" Count "Positions recycled in this step, over all rows; null on steps without recycled passes.";
    RecycleProbability "recycle_probability" "" Real "Current probability that an eligible step carries recycled passes.";
    RecycleFraction "recycle_fraction" "" Real "Current fraction of a row's positions that are recycled; null if recycle.share is not fraction.";
    RecycleCount "recycle_count" "positions" Count "Current number of positions recycled per row; null if recycle.share is not count.";
    RecycleThreshold "recycle_threshold_nats" "nats" Real "Current plain entropy at or above which a position is recycled; null if recycle.share is not a threshold.";
    RecycledPasses "recycled_passes" "passes" Count "Recycled passes of this step; null on steps without recycled passes.";
    RecycleScale "recycle_scale" "" Real "Current factor on the states that are fed back.";
    RecycleWeight "recycle_weight" "" Real "Current weight of the recycled loss.";
    EntropyPlain "entropy_plain_nats" "nats" Real "Mean entropy of the output distributions of the plain pass.";
    EntropyPlainAtRecycled "entropy_plain_at_recycled_nats" "nats" Real "Mean plain entropy at the recycled positions; null on steps without recycled positions and on steps that feed the pause vector.";
    Lr "lr" "" Real "Learning rate of this update.";
    GradNorm "grad_norm" "" Real "Global norm of the gradients before clipping.";
    StepMs "step_ms" "ms" Real "Wall time of the step.";
    PlainMs "plain_ms" "ms" Real "Wall time of the plain pass, forward and backward, without the head; null on steps that are not timed by part.";
    RecycledMs "recycled_ms" "ms" Real "Wall time of all recycled passes, forward and backward, including placement and without the head; null on steps without recycled passes. If one backward pass covers all passes, its time is divided by operation count.";
    HeadMs "head_ms" "ms" Real "Wall time of head, loss and their gradients, over all passes; null on steps that are not timed by part.";
    UpdateMs "update_ms" "ms" Real "Wall time from the last gradient to the updated weights: averaging, readback, norm, clipping, optimizer.";
    PlainFlop "plain_flop" "flop" Real "Floating-point operations of the plain pass, forward and backward, without the head, counted from tensor shapes.";
    RecycledFlop "recycled_flop" "flop" Real "Floating-point operations of all recycled passes, forward and backward, without the head; null on steps without recycled passes.";
    HeadFlop "head_flop" "flop" Real "Floating-point operations of head, loss and their gradients, over all passes.";
    UpdateFlop "update_flop" "flop" Real "Floating-point operations of gradient norm and optimizer.";
    RolloutFlop "rollout_flop" "flop" Real "Floating-point operations of the rollouts that were made for the update, forward only; null if none were.";
    LatentMs "latent_ms" "ms" Real "Cost of a recycled position: wall time of the recycled passes and their heads, divided by the number of recycled positions.";
    LatentFlop "latent_flop" "flop" Real "Cost of a recycled position: floating-point operations of the recycled passes and their heads, divided by the number of recycled positions.";
    SequentialMs "sequential_latent_ms" "ms" Real "Cost of a latent computed sequentially (arXiv 2412.06769): wall time of a sequential pass, forward and backward, with a loss at as many positions, divided by their number; null except where a validation measured it. One recycled pass is the first step towards these exact latents.";
    SequentialFlop "sequential_latent_flop" "flop" Real "Cost of a latent computed sequentially (arXiv 2412.06769): floating-point operations of the same sequential pass, divided by its number of positions; null except where a validation measured it.";
    TokensPerS "tokens_per_s" "tokens/s" Real "Input tokens of the step divided by its wall time.";
    ShareOfPeak "share_of_peak" "" Real "Floating-point operations per second of the step, as a share of the best rate known: that of the device's own matrix product, the best of several at the start, or of a faster step of this process since; null if the product's rate is unknown.";
    ValidPlain "valid_loss_plain_nats" "nats" Real "Validation: mean NLL of the plain pass; null on steps without validation.";
    ValidRecycled "valid_loss_recycled_nats" "nats" Real "Validation: mean NLL of the recycled pass at the recycled positions.";
    ValidPlainAtRecycled "valid_loss_plain_at_recycled_nats" "nats" Real "Validation: mean NLL of the plain pass at the recycled positions.";
    ValidPause "valid_loss_pause_nats" "nats" Real "Validation, control: mean NLL of the recycled pass at the recycled positions, with one learned vector in place of all states (arXiv 2310.02226).";
    ValidMasked "valid_loss_masked_nats" "nats" Real "Validation, control: mean NLL of the recycled pass at the recycled positions, with the mean token embedding in place of all states.";
    ValidShuffled "valid_loss_shuffled_nats" "nats" Real "Validation, control: mean NLL of the recycled pass at the recycled positions, each fed the state of another position: of another row if the batch has one, else of another recycled position.";
    ValidEntropyPlain "valid_entropy_plain_at_recycled_nats" "nats" Real "Validation: mean plain entropy at the recycled positions.";
    ValidEntropyRecycled "valid_entropy_recycled_nats" "nats" Real "Validation: mean entropy of the recycled pass at the recycled positions.";
    ValidEntropyFalls "valid_entropy_falls" "" Real "Validation: share of the recycled positions whose entropy is lower in the recycled pass than in the plain pass.";
    ValidNormRatio "valid_norm_ratio" "" Real "Validation: mean ratio of the norm of the raw state that is fed to the norm of the token embedding that it replaces or joins.";
    ValidLatentCosine "valid_latent_cosine" "" Real "Validation: mean cosine similarity between the states fed in one row. Near 1, the states have collapsed.";
    ValidPassChange "valid_pass_change" "" Real "Validation: mean of |h' - h| / |h'| at the recycled positions, where h' are the states after the last recycled pass and h the states before it.";
    ValidQuestions "valid_loss_questions_nats" "nats" Real "Validation: mean NLL of the kept steps and the answers in the rows of the current stage; null in pre-training.";
    ValidAccuracy "valid_accuracy" "" Real "Validation: share of the questions that are answered rightly, greedily, with the latents of the current stage; null in pre-training.";
    ValidAccuracyZeroed "valid_accuracy_zeroed" "" Real "Validation, control: the same share with zeros in place of all latents; null if no latent was fed.";
    ValidAccuracyTransplanted "valid_accuracy_transplanted" "" Real "Validation, control: the same share with the states of another question in place of all latents.";
    ValidAnswerTokens "valid_answer_tokens" "tokens" Real "Validation: mean number of generated tokens of an answer; null except in reinforcement learning.";
    ValidAnswerLatents "valid_answer_latents" "latents" Real "Validation: mean number of latents of an answer; null except in reinforcement learning.";
    ConfigVersion "config_version" "" Count "Version of the current config: the number of changes applied so far. 0 is the first config.";
    Epoch "epoch" "" Count "Epoch of the training split that this batch belongs to, counted from 0.";
}

macro_rules! columns {
    ($( $(#[doc = $about:literal])* $table:ident { $( $name:literal $unit:literal $kind:ident $doc:literal; )* } )*) => { $(
        $(#[doc = $about])*
        pub const $table: &[ColumnSpec] =
            &[ $( ColumnSpec { name: $name, unit: $unit, kind: ColumnKind::$kind, doc: $doc }, )* ];
    )* };
}

columns! {
    /// `events/`: one row per event, or per value that is measured occasionally.
    EVENTS {
        "step" "" Count "Updates done when it happened.";
        "tokens" "tokens" Count "Input tokens processed before it.";
        "time" "" Time "Time of the event, UTC.";
        "kind" "" Text "Kind of event: start, resume, end, pause, validation, sample, checkpoint, asked and answered (in the playground) or alert.";
        "name" "" Text "Name within the kind: the metric, or a word; for a sample, the prompt.";
        "value" "" Real "Value of the metric, in its unit; for a sample, the mean entropy of its tokens' distributions in nats; null if the event has no value.";
        "text" "" Text "Description in words; for a sample, the continuation; for an answer, all of it as JSON; null if the value says it all.";
    }
    /// `export changes`: one row per config key that was changed or refused, and per note.
    CHANGES {
        "step" "" Count "First step that the change applies to.";
        "tokens" "tokens" Count "Input tokens processed before that step.";
        "time" "" Time "Time at which the change was applied, refused or noted, UTC.";
        "version" "" Count "Version of the config after the change.";
        "change_set" "" Text "Id shared by keys that were changed together. It stays the same when the change is replayed.";
        "key" "" Text "Config key as section.key; null for notes and for a file that could not be read.";
        "old" "" Text "Previous value, as JSON.";
        "new" "" Text "New or refused value, as JSON.";
        "source" "" Text "Source of the change: a file, the keyboard, or a replayed change.";
        "outcome" "" Text "applied, refused, or noted (nothing was changed; a person wrote a note).";
        "reason" "" Text "Reason of the refusal, or the text of the note.";
    }
    /// `tokens/`: one row per forward probe of a row of tokens. Each list has one entry per position. The lists of
    /// likeliest tokens have five per position (or the whole of a smaller vocabulary), position after position.
    TOKENS {
        "step" "" Count "Updates done when the row was probed.";
        "token_ids" "" Counts "Ids of the input tokens.";
        "document_starts" "" Flags "Whether a document begins at the position.";
        "entropy_plain_nats" "nats" Reals "Entropy of the plain pass's output distribution.";
        "entropy_recycled_nats" "nats" Reals "Entropy of the recycled pass's output distribution; null if there was no recycled pass.";
        "nll_plain_nats" "nats" Reals "NLL of the next token in the plain pass.";
        "recycled" "" Flags "Whether the position was recycled.";
        "top_ids_plain" "" Counts "Ids of the 5 likeliest next tokens after the plain pass, the likeliest first, position after position; null if not recorded.";
        "top_probs_plain" "" Reals "Probabilities of the tokens in top_ids_plain.";
        "top_ids_recycled" "" Counts "Ids of the 5 likeliest next tokens after the recycled pass, ordered as top_ids_plain; null if there was no recycled pass.";
        "top_probs_recycled" "" Reals "Probabilities of the tokens in top_ids_recycled.";
    }
    /// `thoughts/`: one row per pass and recycled position (at most 64 positions) of a row in `tokens/`.
    THOUGHTS {
        "step" "" Count "Updates done when the row was probed.";
        "position" "" Count "Recycled position t in the row, counted from 0.";
        "pass" "" Count "Pass number: 0 is the plain pass, k the k-th recycled pass.";
        "token_id" "" Count "Id of the token at t, which recycling hides.";
        "fed_entropy_nats" "nats" Real "Entropy of the head's output for the state at t-1 after this pass. The next pass is fed this state at t.";
        "fed_top_ids" "" Counts "Ids of the likeliest tokens of that output, the likeliest first.";
        "fed_top_probs" "" Reals "Probabilities of the tokens in fed_top_ids.";
        "entropy_nats" "nats" Real "Entropy of the output distribution at t after this pass.";
        "top_ids" "" Counts "Ids of the likeliest tokens of that output, the likeliest first.";
        "top_probs" "" Reals "Probabilities of the tokens in top_ids.";
    }
    /// `layers/`: one row per layer of the model, at every `probe.layers_every`-th step. A layer is the embedding, attention
    /// or MLP of a block with the norm before it, the last norm, the head, or the feedback.
    LAYERS {
        "step" "" Count "Number of updates done, including the measured one.";
        "layer_index" "" Count "Place of the layer in the model, counted from 0.";
        "layer" "" Text "Name of the layer: embedding, block 0 attention, block 0 mlp, …, last norm, head (unless it is tied to the embedding), feedback.";
        "params" "" Count "Number of parameters of the layer. Norms divided by its square root are root mean squares.";
        "weight_norm" "" Real "L2 norm of the parameters before the update.";
        "grad_norm" "" Real "L2 norm of the gradient before clipping, summed over the passes and averaged over the batches of the step, as the optimizer gets it; null if the step trains nothing of the layer.";
        "update_norm" "" Real "L2 norm of the update: parameters after minus before it; null if the step trains nothing of the layer.";
        "update_ratio" "" Real "update_norm divided by weight_norm; null if either is missing or all parameters are 0.";
        "activation_rms" "" Real "Root mean square of the residual stream after the layer, over the step's first forward pass, the plain pass over its first batch; for the last norm that of the hidden states; null for head and feedback.";
        "activation_max" "" Real "Largest magnitude of the same numbers.";
        "weight_histogram" "" Counts "Magnitudes of the parameters before the update, of a sample of at most 65,536 of the layer: how many are below 2^-28 (zeros included), from 2^-28 to 2^-27, and so on to 2^2, and how many are larger; 32 counts.";
        "grad_histogram" "" Counts "The same of the gradient, at the same places; null if the step trains nothing of the layer.";
    }
    /// `rollouts/`: one row per rollout of an iteration of reinforcement learning. Each list has one entry per generated
    /// position.
    ROLLOUTS {
        "step" "" Count "Updates done when the rollout was made.";
        "group" "" Count "Index of its prompt in the iteration, counted from 0.";
        "rollout" "" Count "Index of the rollout in its group, counted from 0.";
        "prompt" "" Text "The question.";
        "right_answer" "" Text "The right answer.";
        "text" "" Text "The completion. A latent is written as its likeliest tokens: ⟨4 10⟩.";
        "reward" "" Real "Weighted sum of the rewards.";
        "advantage" "" Real "Advantage in the group; 0 if all rewards of the group are equal.";
        "exact" "" Real "1 if the answer is right, else 0.";
        "format" "" Real "1 if the completion ends by itself and states an answer of the kind asked for, else 0.";
        "truncated" "" Count "1 if the rollout was cut off before its end token, else 0.";
        "tokens" "tokens" Count "Number of generated tokens.";
        "latents" "latents" Count "Number of latents.";
        "token_ids" "" Counts "Id of the token at the position; -1 for a latent.";
        "entropy_nats" "nats" Reals "Entropy of the output distribution that the position was decided by.";
        "log_prob_nats" "nats" Reals "Log-probability of the token at rl.temperature; 0 for a latent and for an inserted marker.";
    }
    /// Output of `lens`: one row per latent.
    LENS {
        "prompt" "" Count "Index of the prompt in the dataset, counted from 0.";
        "policy" "" Text "Switch policy that produced the latent.";
        "control" "" Text "none, or shuffled if another row's state was fed instead.";
        "thought" "" Count "Index of the thought within the prompt, counted from 0.";
        "latent" "" Count "Index of the latent within the thought, counted from 0.";
        "position" "" Count "Position of the latent in the row, counted from 0.";
        "entropy_nats" "nats" Real "Entropy of the head's output for the state that is fed.";
        "candidates" "" Real "Effective number of candidate tokens: e to the power of entropy_nats.";
        "after_entropy_nats" "nats" Real "Entropy of the output distribution at the latent's position.";
        "top_ids" "" Counts "Ids of the likeliest tokens that the state decodes to, the likeliest first.";
        "top_probs" "" Reals "Probabilities of the tokens in top_ids.";
        "beam_overlap" "" Real "Share of the tokens that a beam of plain continuations reaches at the position that are among top_ids; null except for a prompt's first thought.";
    }
    /// Output of `eval --thought-tests`: one row per test.
    THOUGHT_TESTS {
        "questions" "" Text "File of the questions.";
        "policy" "" Text "Switch policy that the questions are answered under.";
        "test" "" Text "What is changed about the thought.";
        "count" "" Count "Number of questions that the test is about.";
        "latents" "" Real "Mean number of latents.";
        "accuracy" "" Real "Share of the questions that are answered rightly.";
        "accuracy_low" "" Real "Lower end of its 95 % bootstrap interval, over questions; null for a single question.";
        "accuracy_high" "" Real "Upper end of this interval.";
        "difference" "" Real "Accuracy minus that of the unchanged thought, on the same questions.";
        "difference_low" "" Real "Lower end of its 95 % bootstrap interval, over questions; null for a single question.";
        "difference_high" "" Real "Upper end of this interval.";
        "only_unchanged" "" Count "Questions answered rightly by the unchanged thought, and wrongly under the test.";
        "only_under_test" "" Count "Questions answered rightly under the test, and wrongly by the unchanged thought.";
        "p" "" Real "Two-sided p of McNemar's exact test on these two counts.";
        "follows_donor" "" Real "Share of the answers that are right for the question that the states came from, of those whose own right answer is another; null unless states are transplanted.";
    }
    /// `system/`: one row every `record.system_seconds` seconds.
    SYSTEM {
        "step" "" Count "Updates done by then.";
        "time" "" Time "Time of the measurement, UTC.";
        "process_cpu" "" Real "Average CPU use of this process since the last row, in cores.";
        "process_bytes" "bytes" Count "Resident memory of this process.";
        "memory_used_bytes" "bytes" Count "Memory in use on the machine.";
        "memory_bytes" "bytes" Count "Total memory of the machine.";
        "disk_free_bytes" "bytes" Count "Free space on the disk that holds the run folder; null if unknown.";
        "machine_cpu" "" Real "Average CPU use of the whole machine since the last row, in cores.";
        "machine_cores" "" Count "Number of CPU cores of the machine.";
        "gpu_load" "" Real "Share of recent time in which the GPU was busy; null without a GPU that reports it.";
        "gpu_memory_used_bytes" "bytes" Count "Memory in use on the GPU; null without a GPU that reports it.";
        "gpu_memory_bytes" "bytes" Count "Total memory of the GPU; null without a GPU that reports it.";
    }
}

/// One row of the metrics table: a step's values. A metric that was not measured is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    values: [Option<f64>; Metric::ALL.len()],
}

impl StepRow {
    pub fn new(step: u64) -> Self {
        let mut row = Self { values: [None; Metric::ALL.len()] };
        row.set(Metric::Step, step as f64);
        row
    }

    /// Returns the value of `metric`, if it was measured.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values[metric as usize]
    }

    pub fn set(&mut self, metric: Metric, value: f64) {
        self.values[metric as usize] = Some(value);
    }

    /// Sets the value of `metric` if `value` is some; otherwise leaves it as it is.
    pub fn set_if_some(&mut self, metric: Metric, value: Option<f64>) {
        if value.is_some() {
            self.values[metric as usize] = value;
        }
    }

    /// Returns the number of updates done.
    pub fn step(&self) -> u64 {
        self.get(Metric::Step).unwrap_or(0.0) as u64
    }

    /// Returns the floating-point operations of the step.
    pub fn flop(&self) -> f64 {
        let parts =
            [Metric::PlainFlop, Metric::RecycledFlop, Metric::HeadFlop, Metric::UpdateFlop, Metric::RolloutFlop];
        parts.into_iter().filter_map(|part| self.get(part)).sum()
    }

    /// Returns the work that the run has done after the step.
    pub fn work_done(&self) -> WorkDone {
        let tokens = self.get(Metric::Tokens).unwrap_or(0.0) as u64;
        WorkDone { step: self.step(), tokens, flop: self.get(Metric::TotalFlop) }
    }
}

/// First and last losses of a run, in nats, and what stands beside them: accuracy and reward. The field names are those of `state.json` in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossSummary {
    pub plain: Option<(f64, f64)>,
    pub recycled: Option<(f64, f64)>,
    /// Plain loss at validations.
    pub valid: Option<(f64, f64)>,
    /// Recycled loss at the recycled positions, and the plain one there, at validations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_recycled: Option<(f64, f64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_plain_at_recycled: Option<(f64, f64)>,
    /// Loss of the questions of a curriculum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions: Option<(f64, f64)>,
    /// Share of the validation questions that were answered rightly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<(f64, f64)>,
    /// Mean reward of rollouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<(f64, f64)>,
    pub recycled_steps: u64,
}

impl LossSummary {
    /// Updates the losses with the metrics of the next step.
    pub fn update(&mut self, row: &StepRow) {
        let losses = [
            (&mut self.plain, Metric::LossPlain),
            (&mut self.recycled, Metric::LossRecycled),
            (&mut self.valid, Metric::ValidPlain),
            (&mut self.valid_recycled, Metric::ValidRecycled),
            (&mut self.valid_plain_at_recycled, Metric::ValidPlainAtRecycled),
            (&mut self.questions, Metric::LossQuestions),
            (&mut self.accuracy, Metric::ValidAccuracy),
            (&mut self.reward, Metric::Reward),
        ];
        for (ends, metric) in losses {
            if let Some(loss) = row.get(metric) {
                *ends = Some((ends.map_or(loss, |(first, _)| first), loss));
            }
        }
        self.recycled_steps += u64::from(row.get(Metric::Recycled).is_some());
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
        for table in [EVENTS, CHANGES, TOKENS, THOUGHTS, LAYERS, ROLLOUTS, SYSTEM] {
            let names: HashSet<_> = table.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), table.len());
            assert!(table.iter().all(|column| !column.doc.is_empty()));
            assert_eq!(table[0].name, "step", "tables are truncated by it");
        }
    }

    #[test]
    fn metrics_are_found_with_and_without_their_unit() {
        for (name, metric) in [
            ("valid_loss_plain_nats", Some(Metric::ValidPlain)),
            ("valid_loss_plain", Some(Metric::ValidPlain)),
            ("lr", Some(Metric::Lr)),
            ("tokens", Some(Metric::Tokens)),
            ("step", Some(Metric::Step)),
            ("", None),
            ("loss", None),
        ] {
            assert_eq!(Metric::find(name), metric, "{name}");
        }
        assert!(Metric::ALL.iter().all(|metric| Metric::find(metric.spec().name) == Some(*metric)));
    }

    #[test]
    fn metrics_index_their_own_column() {
        for (index, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, index);
        }
    }
}
