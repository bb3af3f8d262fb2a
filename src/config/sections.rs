//! Owns: every section and key of a config file: type, default, documentation, limit, live or frozen.
//! Must not know: tensors, terminals, files.
//! Invariant: every key has a default, so a recipe lists only what it changes.

use super::choices::{
    Arch, BestCheckpointBy, Control, CurriculumMethod, Dtype, EqualGroups, Feedback, GeneratedDataset, GradientFlow,
    ImportanceLevel, LatentOrder, LossPositions, LrDecay, Notify, ObjectiveKind, OptimizerReset, PassScope, Placement,
    RewardScale, RlLoss, SelectionRule, StateTransform, SwitchDecision,
};
use super::keys::Limit::{Above, Any, AtLeast, Within};
use super::keys::sections;
use super::{Curve, Mixture};

sections! {
    /// `[run]`: name, length, folder and device of the run.
    Run = "run" {
        /// Name of the run. Its folder is `<run.dir>/<date-time>-<name>`.
        Frozen name: String = "run".into(), Any;
        /// Folder in which run folders are created.
        Frozen dir: String = "checkpoints".into(), Any;
        /// Seed of the random streams for weights, data order and placements.
        Frozen seed: u64 = 0, Any;
        /// Number of updates (optimizer steps) in the run, at most.
        Live steps: u64 = 2000, AtLeast(1.0);
        /// Input tokens after which the run ends, if `steps` updates are not done before. It ends with the step that reaches
        /// them, and the learning rate decays until then. 0: no limit.
        Live max_tokens: u64 = 0, Any;
        /// Floating-point operations after which the run ends, in the same way, as the metric `total_flop` counts them. 0: no
        /// limit.
        Live max_flop: f64 = 0.0, AtLeast(0.0);
        /// Pauses the run before its next step while true. Edit the value in the config file to pause or resume a run
        /// from outside.
        Live paused: bool = false, Any;
        /// Device to train on: `cpu`, `cuda`, `cuda:1`, `wgpu`, or `auto`. `auto` uses CUDA if it is built in and a GPU
        /// responds, otherwise the CPU.
        Frozen device: String = "auto".into(), Any;
        /// Number format of matrix products: `f32`, or `bf16` on a GPU that supports it. Parameters, norms, softmax,
        /// losses and the optimizer are always f32.
        Frozen dtype: Dtype = Dtype::F32, Any;
        /// Keeps only each block's input and computes the block again in the backward pass (arXiv
        /// 1604.06174). This saves memory and takes about a third more time.
        Frozen activation_checkpointing: bool = false, Any;
    }

    /// `[data]`: the token shards and how they are packed into batches.
    Data = "data" {
        /// Folder of token shards, or a single Parquet file.
        Frozen dir: String = "datasets/prosqa".into(), Any;
        /// Dataset to generate if `data.dir` does not exist: `prosqa`, or `none` to require that `data.dir` exists.
        /// ProsQA is the question task of arXiv 2412.06769.
        Frozen make: GeneratedDataset = GeneratedDataset::None, Any;
        /// Number of records generated for the training split if `data.make` generates the dataset.
        Frozen make_train: usize = 12000, AtLeast(1.0);
        /// Number of records generated for the validation split, and again for the test split, if `data.make` generates
        /// the dataset.
        Frozen make_held_out: usize = 500, AtLeast(1.0);
        /// Reads all shards once before the first step, so that a damaged shard is refused early; this takes about one
        /// second per 40 million tokens. If false, a damaged row group is refused when training reaches it.
        Frozen check: bool = true, Any;
        /// Accepts data that was made with another tokenizer than that of the model in `model.from`. If false, such data is
        /// refused, because its token ids mean something else.
        Frozen any_tokenizer: bool = false, Any;
        /// Seed of the questions that `data.make` generates. It is not `run.seed`, so that runs of other seeds learn the same
        /// questions.
        Frozen make_seed: u64 = 0, Any;
        /// Rows per batch (B).
        Frozen batch: usize = 8, Within(1.0, 65536.0);
        /// Positions per row (T), in tokens.
        Frozen seq_len: usize = 256, Within(2.0, 1048576.0);
        /// Visits row groups and documents in an order drawn from the seed, with a new order every epoch. If false,
        /// they are visited in file order.
        Frozen shuffle: bool = true, Any;
        /// Batches that the loader thread reads ahead.
        Frozen prefetch: usize = 4, Within(1.0, 1024.0);
    }

    /// `[model]`: the decoder-only transformer.
    Model = "model" {
        /// Folder with a Hugging Face `config.json` and `model.safetensors` to start from. Empty: a new model with the
        /// shape given by the other `[model]` keys.
        Frozen from: String = String::new(), Any;
        /// Model family: `gpt2` or `llama`.
        Frozen arch: Arch = Arch::Llama, Any;
        /// Width of the hidden states (D).
        Frozen width: usize = 128, Within(2.0, 65536.0);
        /// Number of transformer blocks.
        Frozen layers: usize = 4, Within(1.0, 1024.0);
        /// Number of attention heads (H).
        Frozen heads: usize = 4, Within(1.0, 1024.0);
        /// Number of key/value heads for `llama` (grouped-query attention, arXiv 2305.13245). 0: as many as
        /// `model.heads`.
        Frozen kv_heads: usize = 0, Within(0.0, 1024.0);
        /// Hidden width of the MLP. 0: 4·width for `gpt2`, and 8/3·width rounded up to a multiple of 32 for `llama`.
        Frozen mlp_width: usize = 0, Within(0.0, 1048576.0);
        /// Shares the token embedding's matrix with the output head (arXiv 1608.05859). `gpt2` always does.
        Frozen tied: bool = false, Any;
        /// Maximum number of positions the model supports. 0: `data.seq_len`.
        Frozen max_len: usize = 0, Within(0.0, 1048576.0);
        /// Vocabulary size (V), in tokens. 0: the dataset's.
        Frozen vocab_size: usize = 0, Within(0.0, 16777216.0);
        /// Standard deviation of initial weights. Projections that end a residual branch use this divided by
        /// √(2·layers), as GPT-2 does.
        Frozen init_std: f64 = 0.02, Within(0.0, 10.0);
        /// Base of the rotary position angles of `llama` (arXiv 2104.09864).
        Frozen rope_theta: f64 = 10000.0, Above(1.0);
    }

    /// `[optim]`: AdamW (Loshchilov and Hutter, arXiv 1711.05101) and its learning rate.
    Optim = "optim" {
        /// Peak learning rate, reached at the end of the warm-up.
        Live lr: f64 = 1e-3, Within(0.0, 10.0);
        /// Learning rate at the last step, unless `decay` is `constant`.
        Live min_lr: f64 = 1e-5, Within(0.0, 10.0);
        /// Steps over which the learning rate rises linearly to `lr`. 0: no warm-up.
        Live warmup: u64 = 100, Any;
        /// Shape of the learning-rate decay after the warm-up: `constant`, `cosine` (arXiv 1608.03983) or `linear`.
        Live decay: LrDecay = LrDecay::Cosine, Any;
        /// AdamW's decay rate of the first moment, per update.
        Frozen beta1: f64 = 0.9, Within(0.0, 0.999999);
        /// AdamW's decay rate of the second moment, per update.
        Frozen beta2: f64 = 0.99, Within(0.0, 0.9999999);
        /// AdamW's epsilon, added to the denominator so that the update stays finite if the second moment is 0.
        Frozen eps: f64 = 1e-8, Within(1e-30, 1.0);
        /// Decoupled weight decay, applied to matrices only and not to norms and biases. 0: none.
        Frozen weight_decay: f64 = 0.1, Within(0.0, 10.0);
        /// Global gradient norm above which gradients are scaled down to it (arXiv 1211.5063). 0: no clipping.
        Live clip: f64 = 1.0, AtLeast(0.0);
        /// Batches whose gradients are averaged into one update.
        Frozen accumulate: usize = 1, Within(1.0, 65536.0);
    }

    /// `[recycle]`: when, where and how hidden states are fed back (Müller 2025, after arXiv 2412.06769).
    Recycle = "recycle" {
        /// Every n-th step is eligible to carry recycled passes. 0: no step recycles.
        Live every: u64 = 4, Any;
        /// Probability that an eligible step carries recycled passes. A number or a curve over steps.
        Live probability: Curve = Curve::constant(1.0), Within(0.0, 1.0);
        /// Rule that sets how many positions of a row are recycled: `fraction`, `count`, `threshold` (entropy in nats)
        /// or `relative_threshold` (entropy as a share of ln V).
        Live share | "selection": SelectionRule = SelectionRule::Fraction, Any;
        /// Fraction of a row's positions that are recycled, with `share = "fraction"`: at least one position, or none
        /// if 0. A number or a curve over steps.
        Live fraction: Curve = Curve::constant(0.125), Within(0.0, 1.0);
        /// Positions per row that are recycled, with `share = "count"`. A number or a curve over steps; rounded to a
        /// whole number.
        Live count: Curve = Curve::constant(8.0), AtLeast(0.0);
        /// Plain entropy at or above which a position is recycled, with `share` `threshold` (in nats) or
        /// `relative_threshold` (1 is ln V). A number or a curve over steps.
        Live threshold: Curve = Curve::constant(0.5), AtLeast(0.0);
        /// Which positions are recycled: `random`, `span` (runs of neighbours), `entropy_at` (where the plain output is
        /// most uncertain) or `entropy_next` (right after those positions).
        Live placement: Placement = Placement::Random, Any;
        /// Positions per run, with `placement = "span"`.
        Live span: usize = 4, Within(1.0, 65536.0);
        /// Positions a recycled pass computes: `dense` (all), `isolated` (the recycled ones, attending to plain keys
        /// and values) or `joint` (the recycled ones, attending to earlier recycled positions in place of their plain ones).
        Live reach | "scope": PassScope = PassScope::Dense, Any;
        /// Recycled passes per step; pass k is fed the states of pass k-1. A number, or a mixture `[[1,
        /// 0.97], [3, 0.03]]` (passes, probability) drawn again at each step.
        Live passes: Mixture = Mixture::always(1), Any;
        /// Weights of the losses of pass 1, 2, …; the last weight also holds for all later passes. Empty: only the last
        /// pass of a step counts.
        Live pass_weights: Vec<f64> = Vec::new(), Within(0.0, 1000.0);
        /// How the state of the preceding position becomes an input: `replace` the token embedding, `add` to it with a
        /// learned scale, or `gated` by it with two learned matrices (arXiv 2608.08888).
        Frozen feedback: Feedback = Feedback::Replace, Any;
        /// Transform of the state before it is fed back: `raw`, `rescaled` (to the root mean square of the token
        /// embeddings) or `projected` (by a learned matrix).
        Frozen state: StateTransform = StateTransform::Raw, Any;
        /// Initial value of the learned scale of `feedback = "add"`.
        Frozen add_scale: f64 = 0.1, Within(-10.0, 10.0);
        /// Factor on the state that is fed back. A number or a curve over steps.
        Live scale: Curve = Curve::constant(1.0), Within(0.0, 100.0);
        /// Uniform noise added to the state during training, from -jitter to +jitter times its root mean square. 0: no
        /// noise.
        Live jitter: f64 = 0.0, Within(0.0, 10.0);
        /// Longest plain prefix of a row, as a fraction of the row; its length is drawn uniformly from 0 to this for
        /// each row, and no position in it is recycled. 0: no prefix.
        Live prefix: f64 = 0.0, Within(0.0, 1.0);
        /// Control arm of an experiment: `none`, or what training feeds instead of the states: `pause` (arXiv
        /// 2310.02226), `masked` or `shuffled`. Validation measures all controls in any case.
        Live control: Control = Control::None, Any;
        /// Fraction of the recycling steps that feed the pause vector instead of all states, so that model and vector
        /// learn the `pause` control (arXiv 2310.02226). 0: none; the vector is then fitted at validations only.
        Live pause_share: f64 = 0.0, Within(0.0, 1.0);
        /// Whether gradients cross between passes: `detached` (no) or `through` (yes).
        Live flow | "backprop": GradientFlow = GradientFlow::Detached, Any;
        /// Number of links between passes that gradients cross, counted back from the last pass, with `flow = "through"`.
        /// 0: all.
        Live cut | "backprop_passes": usize = 0, Within(0.0, 64.0);
        /// Positions at which the loss of a recycled pass counts: `recycled` or `all`.
        Live loss_on: LossPositions = LossPositions::Recycled, Any;
        /// Weight of the recycled loss, relative to the plain loss at 1. A number or a curve over steps.
        Live weight: Curve = Curve::constant(1.0), Within(0.0, 1000.0);
    }

    /// `[objective]`: what the run learns; with `kind = "curriculum"`, the stages of COCONUT (Hao et al., arXiv 2412.06769).
    Objective = "objective" {
        /// What the run learns: `pretraining` (token shards, with recycled passes), `curriculum` (questions whose steps
        /// become latents stage by stage) or `rl` (rewards of rollouts that answer questions, see `[rl]`). The other keys
        /// of this section are for `curriculum`; `rl` uses `separator`. Both use nothing of `[recycle]` but `feedback` and
        /// `state`.
        Frozen kind: ObjectiveKind = ObjectiveKind::Pretraining, Any;
        /// What a row is made of: `coconut`, or a baseline: `cot`, `no_cot`, `pause`, `pause_multipass`, `no_thought`,
        /// `no_curriculum`, `icot`, `frontier`.
        Frozen method: CurriculumMethod = CurriculumMethod::Coconut, Any;
        /// Text after the question and after each step.
        Frozen separator: String = "\n".into(), Any;
        /// Puts a begin and an end marker around the latents.
        Frozen markers: bool = true, Any;
        /// Latents for each dropped step.
        Frozen c_thought: usize = 1, Within(1.0, 64.0);
        /// The last stage that keeps text. Stage s drops the first s steps; the stage after this one drops all.
        Frozen max_latent_stage: usize = 6, Within(0.0, 64.0);
        /// Gives every question latents for `max_latent_stage` steps in the last stage, even if it has fewer steps.
        Frozen pad_latent_to_max: bool = true, Any;
        /// Epochs of a stage, if `steps_per_stage` is 0.
        Live epochs_per_stage: u64 = 5, AtLeast(1.0);
        /// Updates of a stage. 0: `epochs_per_stage` decides.
        Live steps_per_stage: u64 = 0, Any;
        /// The stage that the run begins with.
        Frozen first_stage: usize = 0, Within(0.0, 65.0);
        /// Probability that a row takes a stage drawn from 0 to its number of steps instead of the current stage.
        Live uniform_prob: f64 = 0.0, Within(0.0, 1.0);
        /// When the optimizer forgets its moments: `never`, `stage` or `epoch`.
        Frozen reset_optimizer: OptimizerReset = OptimizerReset::Never, Any;
        /// How latents are computed: `sequential` (one after another) or `parallel` (passes over whole rows).
        Live latents: LatentOrder = LatentOrder::Sequential, Any;
        /// Passes over whole rows with `latents = "parallel"`. 0: as many as latents, which gives the same states.
        Live latent_passes: usize = 0, Within(0.0, 64.0);
        /// Whether gradients flow through the fed states: `through`, or `detached`.
        Live flow: GradientFlow = GradientFlow::Through, Any;
        /// Step tokens that each stage of `icot` removes.
        Frozen remove_per_stage: usize = 8, Within(1.0, 65536.0);
    }

    /// `[rl]`: reinforcement learning with `objective.kind = "rl"`: groups of rollouts, rewards, and group-relative policy
    /// optimization (GRPO, arXiv 2402.03300). Keys that the trainer of TRL has, have its names.
    Rl = "rl" {
        /// Switch policy of the rollouts, in the grammar of `generate --policy`. A change applies from the next rollouts on.
        Live policy: String = "entropy:start=0.5,stop=0.3,least=1,most=8".into(), Any;
        /// How a rollout decides where the policy compares an entropy with a threshold: `threshold`, `sampled`, `drawn` or
        /// `learned`.
        Frozen switch: SwitchDecision = SwitchDecision::Threshold, Any;
        /// Temperature of random decisions, in nats: a latent has the probability 1 / (1 + exp((threshold - entropy) /
        /// temperature)).
        Live switch_temperature: f64 = 0.1, Above(0.0);
        /// Prompts of an iteration. Each has `num_generations` rollouts.
        Frozen prompts: usize = 8, Within(1.0, 65536.0);
        /// Rollouts of a prompt: a group.
        Frozen num_generations: usize = 8, Within(2.0, 4096.0);
        /// Updates that learn from the same rollouts.
        Frozen num_iterations: usize = 1, Within(1.0, 64.0);
        /// Most tokens of a rollout, its end token included. Latents do not count.
        Live max_completion_length: usize = 64, Within(1.0, 1048576.0);
        /// Temperature that tokens are sampled with; their log-probabilities are those of this temperature.
        Live temperature: f64 = 1.0, Within(0.01, 100.0);
        /// How the losses of events become the loss of an update: `grpo`, `bnpo`, `dr_grpo` or `dapo`.
        Frozen loss_type: RlLoss = RlLoss::Dapo, Any;
        /// What advantages are divided by: `group`, `batch` or `none`.
        Frozen scale_rewards: RewardScale = RewardScale::Group, Any;
        /// What has an importance ratio: `token` or `sequence`.
        Frozen importance_sampling_level: ImportanceLevel = ImportanceLevel::Token, Any;
        /// The ratio is clipped below at 1 - epsilon.
        Live epsilon: f64 = 0.2, Within(0.0, 1.0);
        /// The ratio is clipped above at 1 + epsilon_high. 0: as `epsilon`.
        Live epsilon_high: f64 = 0.0, Within(0.0, 100.0);
        /// Weight of the KL divergence from the model that the run began with (k3 estimate). 0: none.
        Frozen beta: f64 = 0.0, Within(0.0, 1000.0);
        /// Leaves rollouts without an end of their own out of the loss.
        Live mask_truncated_completions: bool = false, Any;
        /// Share of the events whose policy loss counts: those of highest entropy (arXiv 2506.01939). 1: all.
        Live top_entropy_quantile: f64 = 1.0, Within(0.0, 1.0);
        /// Whether gradients flow through the fed states. Without it they are constants.
        Frozen through: bool = true, Any;
        /// Groups with equal rewards: `keep` or `drop`.
        Live equal_groups: EqualGroups = EqualGroups::Keep, Any;
        /// Probability of dropping a channel of what attention and MLP add, by a mask that a rollout keeps from its first
        /// position to its last, and in its update (after arXiv 2606.10184). 0: none.
        Live dropout: f64 = 0.0, Within(0.0, 0.99);
        /// Standard deviation of normal noise on a fed state, relative to its root mean square. Each latent of a rollout
        /// keeps its noise in the update. 0: none.
        Live latent_noise: f64 = 0.0, Within(0.0, 10.0);
        /// Weight of the reward for a right answer (1 or 0).
        Live reward_exact: f64 = 1.0, Within(-1000.0, 1000.0);
        /// Weight of the reward for a completion that ends by itself and states an answer of the kind asked for (1 or 0).
        Live reward_format: f64 = 0.0, Within(-1000.0, 1000.0);
        /// Price of a token: the reward falls by this for each.
        Live price_token: f64 = 0.0, Within(-1000.0, 1000.0);
        /// Price of a latent: the reward falls by this for each.
        Live price_latent: f64 = 0.0, Within(-1000.0, 1000.0);
    }

    /// `[dropout]`: numbers that are set to 0 at random while the model learns (Srivastava et al., 2014). Masks are drawn
    /// from the run's seed, so a resumed run continues exactly. Validation and generation drop nothing.
    Dropout = "dropout" {
        /// Probability of dropping a number of the first block's inputs (GPT-2's `embd_pdrop`). 0: none.
        Live embedding: f64 = 0.0, Within(0.0, 0.99);
        /// Probability of dropping a probability of attention (`attn_pdrop`). 0: none.
        Live attention: f64 = 0.0, Within(0.0, 0.99);
        /// Probability of dropping a number that attention or MLP adds to the residual stream (`resid_pdrop`). 0: none.
        Live residual: f64 = 0.0, Within(0.0, 0.99);
    }

    /// `[probe]`: forward probes of single rows for the entropy heatmap, timing of a step's parts, and norms of the layers.
    Probe = "probe" {
        /// Steps between two forward probes of a row, in runs with a screen. 0: no probes.
        Live every: u64 = 10, Any;
        /// Minimum number of recycled passes in a forward probe. The states fed and the outputs are decoded after each
        /// pass.
        Live passes: usize = 3, Within(1.0, 64.0);
        /// Steps between two steps that are timed by part; on a GPU, a timed step waits for the device after each part.
        /// 0: no step is timed.
        Live cost: u64 = 1, Any;
        /// Steps between two steps at which norms of weights, gradients, updates and activations are measured for each layer,
        /// with histograms. The first step is measured, too. A measured step holds a second copy of the weights for a moment,
        /// and takes a few percent longer. 0: never.
        Live layers_every: u64 = 50, Any;
    }

    /// `[eval]`: validation on the validation split.
    Eval = "eval" {
        /// Steps between two validations. 0: only at the start and the end of the run.
        Live every: u64 = 200, Any;
        /// Batches per validation.
        Live batches: usize = 4, Within(1.0, 1000000.0);
        /// Updates of the pause vector before each validation, with the model held fixed, unless training has updated
        /// it since the last one. The `pause` control then shows what a constant can do for a model not trained on it;
        /// 0: no updates.
        Live pause_steps: usize = 8, Within(0.0, 10000.0);
        /// Validations between two measurements of the sequential latent cost (arXiv 2412.06769), from the first
        /// validation after step 0 on. It runs a sequential pass over one validation batch; 0: never.
        Live sequential_every: usize = 10, Any;
        /// Prompts of the validation split that the model continues at each validation, by greedy decoding. 0: none.
        Live samples: usize = 1, Within(0.0, 16.0);
        /// Maximum number of tokens generated per sample.
        Live sample_tokens: usize = 24, Within(1.0, 1024.0);
        /// Also runs a validation before the first step.
        Frozen at_start: bool = true, Any;
    }

    /// `[checkpoint]`: when checkpoints are written, and how many are kept.
    Checkpoint = "checkpoint" {
        /// Steps between two checkpoints. 0: by time only.
        Live every: u64 = 0, Any;
        /// Seconds between two checkpoints during the run. 0: by steps only.
        Live seconds: f64 = 300.0, Within(0.0, 1e9);
        /// Writes a checkpoint at the end of the run. A run that is stopped early always writes one.
        Live at_end: bool = true, Any;
        /// Number of newest checkpoints to keep. 0: all.
        Live keep: usize = 3, Any;
        /// Also keeps every checkpoint whose step is a multiple of this. 0: none.
        Live keep_every: u64 = 0, Any;
        /// Writes a checkpoint after each validation that is better than all before, and keeps the best one (RUN@best):
        /// `none`, `accuracy` or `loss`. In a curriculum a validation of a later stage counts as better, and one of an
        /// earlier stage, to which a changed config may go back, does not count. It is always
        /// measured on the validation split; no run ever reads the test split.
        Live best: BestCheckpointBy = BestCheckpointBy::None, Any;
    }

    /// `[record]`: how metrics and other tables are written.
    Record = "record" {
        /// Maximum age, in seconds, of rows that a killed process or a power cut can lose. Rows of that age are synced
        /// to disk.
        Live sync_seconds: f64 = 2.0, Within(0.001, 3600.0);
        /// Steps after which rows are synced to disk, even before `sync_seconds` have passed.
        Live sync_rows: usize = 1000, Within(1.0, 10000000.0);
        /// Rows per Parquet segment (`part-NNNNN.parquet`). Other programs can read a segment as soon as it is written.
        Live part_rows: usize = 5000, Within(1.0, 10000000.0);
        /// Seconds after which rows become a Parquet segment, even if there are fewer than `part_rows`.
        Live part_seconds: f64 = 60.0, Within(0.001, 1e9);
        /// Steps between two forward probes that are recorded in `tokens/`, with their entropies. 0: none.
        Live token_every: u64 = 100, Any;
        /// Updates between two iterations of reinforcement learning whose rollouts are recorded in `rollouts/`. 0: none.
        Live rollouts_every: u64 = 5, Any;
        /// Seconds between two rows of the `system/` table. 0: no rows.
        Live system_seconds: f64 = 10.0, Within(0.0, 1e9);
        /// Also writes the metrics of each step as event files of TensorBoard, in `tensorboard/` of the run folder. Rows
        /// before it was set are not written there.
        Live tensorboard: bool = false, Any;
        /// Command that a shell runs at every alert and at the end of the run, with the facts as a line of JSON on its
        /// standard input (`event`, `topic`, `text`, `step`, `run`), for example to send a message. Empty: none. It has your
        /// rights: read a foreign recipe before you run it.
        Live hook: String = String::new(), Any;
    }

    /// `[dashboard]`: the screen.
    Dashboard = "dashboard" {
        /// Maximum redraws per second.
        Live fps: u32 = 20, Within(1.0, 30.0);
        /// Weight of past values in the smoothed loss curves (exponential moving average). 0: raw values only.
        Live smoothing: f64 = 0.9, Within(0.0, 0.999);
        /// How the dashboard tells of a new alert, or of the end of the run, while the terminal's window is not in focus:
        /// `none`, `bell`, or `desktop` (the bell and a desktop notification by OSC 9 or OSC 777). A terminal that does not
        /// report its focus is always told.
        Live notify: Notify = Notify::Bell, Any;
        /// Seconds between two progress lines of a headless run.
        Live line_seconds: f64 = 10.0, Within(0.001, 1e9);
    }
}

impl Optim {
    /// Returns the learning rate of update `step` (the first is 1) in a run of `steps` updates.
    pub fn lr_at(&self, step: u64, steps: u64) -> f64 {
        if step <= self.warmup {
            return self.lr * step as f64 / self.warmup.max(1) as f64;
        }
        let span = steps.saturating_sub(self.warmup).max(1) as f64;
        let progress = ((step - self.warmup) as f64 / span).min(1.0);
        let remaining = match self.decay {
            LrDecay::Constant => return self.lr,
            LrDecay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            LrDecay::Linear => 1.0 - progress,
        };
        self.min_lr + (self.lr - self.min_lr) * remaining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_warms_up_to_its_peak_and_ends_at_its_least() {
        let optim = |decay| Optim { lr: 1.0, min_lr: 0.1, warmup: 10, decay, ..Default::default() };
        for (decay, step, lr) in [
            (LrDecay::Cosine, 1, 0.1),
            (LrDecay::Cosine, 10, 1.0),
            (LrDecay::Cosine, 60, 0.55),
            (LrDecay::Cosine, 110, 0.1),
            (LrDecay::Cosine, 999, 0.1),
            (LrDecay::Linear, 5, 0.5),
            (LrDecay::Linear, 35, 0.775),
            (LrDecay::Linear, 110, 0.1),
            (LrDecay::Constant, 5, 0.5),
            (LrDecay::Constant, 110, 1.0),
        ] {
            let found = optim(decay).lr_at(step, 110);
            assert!((found - lr).abs() < 1e-12, "{decay:?} at {step}: {found}");
        }
        let none = Optim { warmup: 0, ..optim(LrDecay::Linear) };
        assert!(none.lr_at(1, 100) < 1.0 && none.lr_at(1, 100) > 0.98);
    }
}
