//! Owns: every section and key of a config file: type, default, documentation, limit, live or frozen.
//! Must not know: tensors, terminals, files.
//! Invariant: every key has a default, so that a recipe is short.

use super::keys::Limit::{self, Above, Any, AtLeast, Within};
use super::keys::section;
use super::{Curve, Mixture};
use serde::{Deserialize, Serialize};

/// Declares an enum that is written in snake case.
macro_rules! choice {
    ($(#[doc = $about:literal])* $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident ),* $(,)? }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )* }
    };
}

choice! {
    /// Which family's details the decoder follows.
    Arch {
        /// Learned positions, LayerNorm with biases, tanh-GELU, tied head.
        Gpt2,
        /// Rotary positions, RMSNorm, SwiGLU, grouped-query attention.
        Llama,
    }
}

choice! {
    /// The numbers that products are made of.
    Dtype {
        /// 32 bits.
        F32,
        /// 16 bits, as many of them exponent as 32 have.
        Bf16,
    }
}

choice! {
    /// A dataset that can be made here when `data.dir` is not there.
    Make {
        /// Nothing is made: `data.dir` must exist.
        None,
        /// ProsQA-style questions from our own generator.
        Prosqa,
    }
}

choice! {
    /// How the learning rate falls after the warm-up.
    Decay {
        /// Not at all.
        Constant,
        /// A half cosine down to `min_lr`.
        Cosine,
        /// A straight line down to `min_lr`.
        Linear,
    }
}

choice! {
    /// Which positions are recycled.
    Placement {
        /// Drawn uniformly.
        Random,
        /// Runs of `span` neighbours, drawn uniformly.
        Span,
        /// Where the plain output at the position itself has the largest entropy.
        EntropyAt,
        /// After the positions where the plain output has the largest entropy.
        EntropyNext,
    }
}

choice! {
    /// What says how many positions of a row are recycled.
    Share {
        /// `recycle.fraction` of the row.
        Fraction,
        /// `recycle.count` positions.
        Count,
        /// All whose plain entropy is at least `recycle.threshold` nats.
        Threshold,
        /// All whose plain entropy is at least `recycle.threshold` · ln V.
        RelativeThreshold,
    }
}

choice! {
    /// What the recycled pass computes.
    Reach {
        /// All positions.
        Dense,
        /// The recycled positions alone, each against the plain pass's keys and values.
        Isolated,
        /// The recycled positions alone, each seeing the earlier recycled ones in place of their plain twins.
        Joint,
    }
}

choice! {
    /// How the state `h` becomes an input, beside the token's embedding `e`.
    Feedback {
        /// The state stands in the place of the embedding.
        Replace,
        /// `e + a·h` with a learned scale `a` that starts at `add_scale`.
        Add,
        /// The token gates the state: `(W_u h) ⊙ σ(W_g e)` (Full-Bandwidth Transformer, arXiv 2608.08888).
        Gated,
    }
}

choice! {
    /// What is taken of the state before it is fed.
    State {
        /// The state as it is, after the last norm.
        Raw,
        /// The state brought to the root mean square of the token embeddings, as measured.
        Rescaled,
        /// The state through a learned matrix, which starts as the identity.
        Projected,
    }
}

choice! {
    /// What stands in the place of the state, to measure whether the state matters.
    Control {
        /// The state itself.
        None,
        /// One learned vector, the same at all positions (a pause token, arXiv 2310.02226).
        Pause,
        /// The mean of all token embeddings.
        Masked,
        /// The state that belongs to another recycled position.
        Shuffled,
    }
}

choice! {
    /// Whether gradient crosses between passes.
    Flow {
        /// What a pass takes from the one before is a constant.
        Detached,
        /// Gradient flows through all passes.
        Through,
    }
}

choice! {
    /// Where the recycled pass's loss counts.
    LossOn {
        /// At the recycled positions alone.
        Recycled,
        /// At all positions.
        All,
    }
}

section! {
    /// `[run]`: name, length, place and device of the run.
    Run = "run" {
        /// Name of the run; its folder is `<run.dir>/<date-time>-<name>`.
        Frozen name: String = "run".into(), Any;
        /// Where run folders are made.
        Frozen dir: String = "checkpoints".into(), Any;
        /// Seed of weights, data order and placements.
        Frozen seed: u64 = 0, Any;
        /// Number of updates.
        Live steps: u64 = 2000, AtLeast(1.0);
        /// Hold before the next step while it is true. A way to pause a run from elsewhere: save the file.
        Live paused: bool = false, Any;
        /// `auto` (CUDA where it is built in and answers, else the CPU), `cpu`, `cuda`, `cuda:1`, `wgpu`.
        Frozen device: String = "auto".into(), Any;
        /// What matrix products are made of: `f32`, or `bf16` on a GPU that has it. Parameters, norms, softmax, losses and the
        /// optimizer are f32 in any case.
        Frozen dtype: Dtype = Dtype::F32, Any;
        /// A block keeps its input alone, and is computed once more in the backward pass: less memory, a third more time.
        Frozen activation_checkpointing: bool = false, Any;
    }
}

section! {
    /// `[data]`: the token shards and how they are packed.
    Data = "data" {
        /// Folder of token shards, or one Parquet file.
        Frozen dir: String = "datasets/prosqa".into(), Any;
        /// `prosqa`: make that dataset if `dir` is not there; `none`: `dir` must exist.
        Frozen make: Make = Make::None, Any;
        /// Records of the training split where `make` makes it.
        Frozen make_train: usize = 12000, AtLeast(1.0);
        /// Records of the validation and of the test split where `make` makes them.
        Frozen make_held_out: usize = 500, AtLeast(1.0);
        /// Read all shards through once before training, so that a damaged one is refused before the first step. Takes
        /// about a second for 40 million tokens; without it a damaged row group is refused when it is reached.
        Frozen check: bool = true, Any;
        /// Rows a batch (B).
        Frozen batch: usize = 8, Within(1.0, 65536.0);
        /// Positions a row (T).
        Frozen seq_len: usize = 256, Within(2.0, 1048576.0);
        /// Visit row groups and documents in an order drawn from the seed, anew every epoch.
        Frozen shuffle: bool = true, Any;
        /// Batches read ahead by the loader's thread.
        Frozen prefetch: usize = 4, Within(1.0, 1024.0);
    }
}

section! {
    /// `[model]`: the decoder-only transformer.
    Model = "model" {
        /// Folder with a Hugging Face `config.json` and `model.safetensors` to start from; empty: a fresh model
        /// of the shape below.
        Frozen from: String = String::new(), Any;
        /// `gpt2` or `llama`.
        Frozen arch: Arch = Arch::Llama, Any;
        /// Width (D).
        Frozen width: usize = 128, Within(2.0, 65536.0);
        /// Blocks.
        Frozen layers: usize = 4, Within(1.0, 1024.0);
        /// Attention heads (H).
        Frozen heads: usize = 4, Within(1.0, 1024.0);
        /// Key/value heads of `llama`; 0: as many as `heads`.
        Frozen kv_heads: usize = 0, Within(0.0, 1024.0);
        /// Width of the MLP; 0: 4·width for `gpt2`, 8/3·width rounded up to a multiple of 32 for `llama`.
        Frozen mlp_width: usize = 0, Within(0.0, 1048576.0);
        /// Head shares the token embedding's matrix. `gpt2` always does.
        Frozen tied: bool = false, Any;
        /// Largest position the model can take; 0: `data.seq_len`.
        Frozen max_len: usize = 0, Within(0.0, 1048576.0);
        /// Vocabulary (V); 0: the dataset's.
        Frozen vocab_size: usize = 0, Within(0.0, 16777216.0);
        /// Standard deviation of fresh weights; projections that end a residual branch have it divided by √(2·layers).
        Frozen init_std: f64 = 0.02, Within(0.0, 10.0);
        /// Base of `llama`'s rotary angles.
        Frozen rope_theta: f64 = 10000.0, Above(1.0);
    }
}

section! {
    /// `[optim]`: AdamW (Loshchilov and Hutter, arXiv 1711.05101) and its learning rate.
    Optim = "optim" {
        /// Peak learning rate, reached at the end of the warm-up.
        Live lr: f64 = 1e-3, Within(0.0, 10.0);
        /// Learning rate at the last step.
        Live min_lr: f64 = 1e-5, Within(0.0, 10.0);
        /// Steps of linear warm-up.
        Live warmup: u64 = 100, Any;
        /// `constant`, `cosine` or `linear`, after the warm-up.
        Live decay: Decay = Decay::Cosine, Any;
        /// Decay of the first moment.
        Frozen beta1: f64 = 0.9, Within(0.0, 0.999999);
        /// Decay of the second moment.
        Frozen beta2: f64 = 0.99, Within(0.0, 0.9999999);
        /// Keeps the update finite where the second moment is nothing.
        Frozen eps: f64 = 1e-8, Within(1e-30, 1.0);
        /// Decoupled weight decay, on matrices alone (not on norms and biases).
        Frozen weight_decay: f64 = 0.1, Within(0.0, 10.0);
        /// Global gradient norm above which gradients are scaled down; 0: never.
        Live clip: f64 = 1.0, AtLeast(0.0);
        /// Batches whose gradients are averaged into one update.
        Frozen accumulate: usize = 1, Within(1.0, 65536.0);
    }
}

section! {
    /// `[recycle]`: when, where and how hidden states are fed back (Müller 2025, after arXiv 2412.06769).
    Recycle = "recycle" {
        /// Every n-th step may carry a recycled pass; 0: none does.
        Live every: u64 = 4, Any;
        /// With which probability such a step does. A number or a curve over steps.
        Live probability: Curve = Curve::constant(1.0), Within(0.0, 1.0);
        /// What says how many positions of a row are recycled: `fraction`, `count`, `threshold` (entropy, nats) or
        /// `relative_threshold` (entropy, in shares of ln V).
        Live share: Share = Share::Fraction, Any;
        /// Fraction of a row's positions that are recycled, at least one. A number or a curve over steps.
        Live fraction: Curve = Curve::constant(0.125), Within(0.0, 1.0);
        /// Positions a row that are recycled, with `share = "count"`. A number or a curve over steps.
        Live count: Curve = Curve::constant(8.0), AtLeast(0.0);
        /// Plain entropy from which a position is recycled, with `share` `threshold` (nats) or `relative_threshold`
        /// (1 is ln V). A number or a curve over steps.
        Live threshold: Curve = Curve::constant(0.5), AtLeast(0.0);
        /// `random`; `span`: runs of neighbours; `entropy_at`: where the plain output at the position is the most
        /// uncertain; `entropy_next`: after the most uncertain ones.
        Live placement: Placement = Placement::Random, Any;
        /// Positions a run, with `placement = "span"`.
        Live span: usize = 4, Within(1.0, 65536.0);
        /// `dense`: the recycled pass computes all positions; `isolated`: the recycled ones alone; `joint`: those,
        /// seeing earlier recycled ones.
        Live reach: Reach = Reach::Dense, Any;
        /// Recycled passes a step; pass k is fed by pass k-1. A number, or a mixture `[[1, 0.97], [3, 0.03]]`
        /// (passes, probability), drawn anew at each step.
        Live passes: Mixture = Mixture::always(1), Any;
        /// Weights of the passes' losses, the first pass first; the last one holds for all later passes. Empty: the last
        /// pass of a step alone counts.
        Live pass_weights: Vec<f64> = Vec::new(), Within(0.0, 1000.0);
        /// How the state of the position before becomes an input. `replace`: in the place of the token's embedding;
        /// `add`: added to it, with a learned scale; `gated`: gated by it, with two learned matrices.
        Frozen feedback: Feedback = Feedback::Replace, Any;
        /// What is taken of the state: `raw`; `rescaled`: brought to the root mean square of the token embeddings;
        /// `projected`: through a learned matrix.
        Frozen state: State = State::Raw, Any;
        /// First value of the learned scale of `feedback = "add"`.
        Frozen add_scale: f64 = 0.1, Within(-10.0, 10.0);
        /// Multiplies whatever is fed of the state. A number or a curve over steps.
        Live scale: Curve = Curve::constant(1.0), Within(0.0, 100.0);
        /// Uniform noise on the state while training, from -jitter to jitter times its root mean square; 0: none.
        Live jitter: f64 = 0.0, Within(0.0, 10.0);
        /// Every row begins with a plain prefix, whose length is drawn anew each time, uniformly from nothing to this
        /// fraction of the row: no position in it is recycled. 0: none.
        Live prefix: f64 = 0.0, Within(0.0, 1.0);
        /// `none`, or what training puts in the place of the state: `pause`, `masked` or `shuffled`. The arm of an
        /// experiment; validations measure all of them anyway.
        Live control: Control = Control::None, Any;
        /// Share of the recycling steps that feed the pause vector in the place of all states, so that model and vector
        /// learn it: a `pause` control that the model knows. 0: none, and the vector alone is fitted at validations.
        Live pause_share: f64 = 0.0, Within(0.0, 1.0);
        /// `detached` or `through`: whether gradient crosses between passes.
        Live flow: Flow = Flow::Detached, Any;
        /// With `flow = "through"`: borders between passes that gradient crosses, counted from the last; 0: all.
        Live cut: usize = 0, Within(0.0, 64.0);
        /// `recycled` or `all`: the positions at which the recycled pass's loss counts.
        Live loss_on: LossOn = LossOn::Recycled, Any;
        /// Weight of the recycled loss beside the plain loss. A number or a curve over steps.
        Live weight: Curve = Curve::constant(1.0), Within(0.0, 1000.0);
    }
}

section! {
    /// `[probe]`: looks at single rows, for the entropy heatmap, and at where a step's time goes.
    Probe = "probe" {
        /// Steps between two looks at a row; 0: never.
        Live every: u64 = 10, Any;
        /// Recycled passes that a look follows the states through, where the run does not make more: what is fed and what
        /// comes out, decoded after each.
        Live passes: usize = 3, Within(1.0, 64.0);
        /// Steps between two that are timed by part; 0: none is. On a GPU a timed step waits for the device after every
        /// part of its work.
        Live cost: u64 = 1, Any;
    }
}

section! {
    /// `[eval]`: validation on its own shards.
    Eval = "eval" {
        /// Steps between two validations; 0: only at start and end.
        Live every: u64 = 200, Any;
        /// Validation batches each time.
        Live batches: usize = 4, Within(1.0, 1000000.0);
        /// Updates of the pause vector before each validation, on the first batch of the step before, the model held
        /// fixed; none where training has taught it since the last validation. The `pause` control then shows what a
        /// constant can do to a model that does not know it (`recycle.pause_share` makes one that does).
        Live pause_steps: usize = 8, Within(0.0, 10000.0);
        /// Validations between two measurements of what a latent costs one after another, as after pre-training: a
        /// sequential pass over one validation batch. The first is at the first validation after step 0; 0: none.
        Live sequential_every: usize = 10, Any;
        /// Prompts of the validation split that the model goes on with at each validation, taking the likeliest token each
        /// time; 0: none.
        Live samples: usize = 1, Within(0.0, 16.0);
        /// Tokens that it writes for each, at most.
        Live sample_tokens: usize = 24, Within(1.0, 1024.0);
        /// Validate before the first step too.
        Frozen at_start: bool = true, Any;
    }
}

section! {
    /// `[checkpoint]`: when all that resuming needs is written, and how much of it is kept.
    Checkpoint = "checkpoint" {
        /// Steps between two checkpoints; 0: by time alone.
        Live every: u64 = 0, Any;
        /// Seconds between two checkpoints on the way; 0: by steps alone.
        Live seconds: f64 = 300.0, Within(0.0, 1e9);
        /// Write one at the end of the run. A run that is stopped on the way always does.
        Live at_end: bool = true, Any;
        /// Checkpoints that are kept, the newest; 0: all.
        Live keep: usize = 3, Any;
        /// Checkpoints of every so many steps are kept besides; 0: none.
        Live keep_every: u64 = 0, Any;
    }
}

section! {
    /// `[record]`: how metrics and the like are written.
    Record = "record" {
        /// Seconds after which what was measured is safe from a killed process and a power cut: the most that can be lost.
        Live sync_seconds: f64 = 2.0, Within(0.001, 3600.0);
        /// Steps after which it is, even if they took less time.
        Live sync_rows: usize = 1000, Within(1.0, 10000000.0);
        /// Rows of a part; a part can be read by others as soon as it is there.
        Live part_rows: usize = 5000, Within(1.0, 10000000.0);
        /// Seconds after which what is not yet in a part becomes one.
        Live part_seconds: f64 = 60.0, Within(0.001, 1e9);
        /// Steps between two rows of tokens that are recorded, with their entropies; 0: none is.
        Live token_every: u64 = 100, Any;
        /// Seconds between two rows of the system table; 0: none is written.
        Live system_seconds: f64 = 10.0, Within(0.0, 1e9);
    }
}

section! {
    /// `[dashboard]`: the screen.
    Dashboard = "dashboard" {
        /// Most redraws a second.
        Live fps: u32 = 20, Within(1.0, 30.0);
        /// Weight of the past in the smoothed loss curves; 0 shows the raw points alone.
        Live smoothing: f64 = 0.9, Within(0.0, 0.999);
        /// Seconds between two lines of a headless run.
        Live line_seconds: f64 = 10.0, Within(0.001, 1e9);
    }
}

impl Optim {
    /// The learning rate of `step` (1 is the first update) in a run of `steps` updates.
    pub fn lr_at(&self, step: u64, steps: u64) -> f64 {
        if step <= self.warmup {
            return self.lr * step as f64 / self.warmup.max(1) as f64;
        }
        let span = steps.saturating_sub(self.warmup).max(1) as f64;
        let gone = ((step - self.warmup) as f64 / span).min(1.0);
        let left = match self.decay {
            Decay::Constant => return self.lr,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * gone).cos()),
            Decay::Linear => 1.0 - gone,
        };
        self.min_lr + (self.lr - self.min_lr) * left
    }
}

/// A number must be finite whatever else its key allows.
pub(crate) fn allowed(limit: Limit, number: f64) -> bool {
    !number.is_nan() && limit.allows(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_warms_up_to_its_peak_and_ends_at_its_least() {
        let optim = |decay| Optim { lr: 1.0, min_lr: 0.1, warmup: 10, decay, ..Default::default() };
        for (decay, step, lr) in [
            (Decay::Cosine, 1, 0.1),
            (Decay::Cosine, 10, 1.0),
            (Decay::Cosine, 60, 0.55),
            (Decay::Cosine, 110, 0.1),
            (Decay::Cosine, 999, 0.1),
            (Decay::Linear, 5, 0.5),
            (Decay::Linear, 35, 0.775),
            (Decay::Linear, 110, 0.1),
            (Decay::Constant, 5, 0.5),
            (Decay::Constant, 110, 1.0),
        ] {
            let found = optim(decay).lr_at(step, 110);
            assert!((found - lr).abs() < 1e-12, "{decay:?} at {step}: {found}");
        }
        let none = Optim { warmup: 0, ..optim(Decay::Linear) };
        assert!(none.lr_at(1, 100) < 1.0 && none.lr_at(1, 100) > 0.98);
    }
}
