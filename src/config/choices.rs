//! Owns: the values of the config keys that choose one of several words.
//! Must not know: which keys there are.
//! Invariant: a word in a config file is the variant's name in snake case.

use super::keys::{KeyKind, KeyType};
use serde::{Deserialize, Serialize};

/// Declares enums whose variants are written in snake case in TOML.
macro_rules! text_enums {
    ($($(#[doc = $about:literal])* $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident ),* $(,)? })*) => {$(
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[derive(strum::VariantNames, strum::EnumString, strum::IntoStaticStr)]
        #[serde(rename_all = "snake_case")]
        #[strum(serialize_all = "snake_case")]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )* }

        impl KeyType for $name {
            const KIND: KeyKind = KeyKind::Choice(<Self as strum::VariantNames>::VARIANTS);
        }
    )*};
}

text_enums! {
    /// Model family whose architecture the decoder follows.
    Arch {
        /// GPT-2: learned positions, LayerNorm with biases, tanh-GELU, tied head.
        Gpt2,
        /// Llama: rotary positions, RMSNorm, SwiGLU, grouped-query attention.
        Llama,
    }

    /// Number format of the operands of matrix products.
    Dtype {
        /// 32-bit floating point.
        F32,
        /// 16-bit bfloat: the exponent range of f32 with 8 bits of precision.
        Bf16,
    }

    /// Dataset that is generated if `data.dir` does not exist.
    GeneratedDataset {
        /// Generates nothing; `data.dir` must exist.
        None,
        /// ProsQA-style questions from the built-in generator (after arXiv 2412.06769).
        Prosqa,
    }

    /// What the best checkpoint is chosen by, always on the validation split.
    BestCheckpointBy {
        /// None is chosen.
        None,
        /// The share of the questions that are answered rightly: the highest.
        Accuracy,
        /// The mean loss: the lowest. In pre-training that of the plain pass.
        Loss,
    }

    /// How the dashboard tells of an alert, or of the end of the run, while its window is not in focus.
    Notify {
        /// Not at all.
        None,
        /// By the terminal's bell.
        Bell,
        /// By the bell and a desktop notification, if the terminal can show one (OSC 9 or OSC 777).
        Desktop,
    }

    /// How the learning rate decays after the warm-up.
    LrDecay {
        /// No decay: the learning rate stays at `lr`.
        Constant,
        /// Half a cosine down to `min_lr` (arXiv 1608.03983).
        Cosine,
        /// A straight line down to `min_lr`.
        Linear,
    }

    /// Which positions are recycled.
    Placement {
        /// Positions drawn uniformly.
        Random,
        /// Runs of `span` neighbouring positions, drawn uniformly.
        Span,
        /// The positions whose own plain output has the largest entropy.
        EntropyAt,
        /// The positions that follow the plain outputs with the largest entropy.
        EntropyNext,
    }

    /// Rule that sets how many positions of a row are recycled.
    SelectionRule {
        /// `recycle.fraction` of the row.
        Fraction,
        /// `recycle.count` positions.
        Count,
        /// All positions whose plain entropy is at least `recycle.threshold` nats.
        Threshold,
        /// All positions whose plain entropy is at least `recycle.threshold` · ln V.
        RelativeThreshold,
    }

    /// Which positions a recycled pass computes.
    PassScope {
        /// All positions of the row.
        Dense,
        /// Only the recycled positions, each attending to the keys and values of the plain pass.
        Isolated,
        /// Only the recycled positions. Each attends to earlier recycled positions instead of their plain counterparts.
        Joint,
    }

    /// How the state `h` is combined with the token embedding `e` into an input.
    Feedback {
        /// `h` replaces the token embedding.
        Replace,
        /// `e + a·h` with a learned scale `a` that starts at `add_scale`.
        Add,
        /// The token gates the state: `(W_u h) ⊙ σ(W_g e)` (Full-Bandwidth Transformer, arXiv 2608.08888).
        Gated,
    }

    /// Transform of the state before it is fed back.
    StateTransform {
        /// The state as it is, after the final norm.
        Raw,
        /// The state, rescaled to the measured root mean square of the token embeddings.
        Rescaled,
        /// The state, multiplied by a learned matrix that starts as the identity.
        Projected,
    }

    /// What replaces the state, to measure whether the state matters.
    Control {
        /// Nothing: the state itself is fed.
        None,
        /// One learned vector, the same at all positions (a pause token, arXiv 2310.02226).
        Pause,
        /// The mean of all token embeddings.
        Masked,
        /// The state of another recycled position.
        Shuffled,
    }

    /// Whether gradients cross the border between two passes.
    GradientFlow {
        /// A pass treats the states of the previous pass as constants.
        Detached,
        /// Gradients flow back through all passes.
        Through,
    }

    /// What a run learns.
    ObjectiveKind {
        /// The next token of token shards, with recycled passes.
        Pretraining,
        /// The answers of questions with steps, which are replaced by latents stage by stage (arXiv 2412.06769).
        Curriculum,
        /// Rollouts that answer questions and earn rewards: reinforcement learning by groups (GRPO, arXiv 2402.03300).
        Rl,
    }

    /// What a question's row is made of (arXiv 2412.06769 and its baselines).
    CurriculumMethod {
        /// Latents in the place of the first steps, then the other steps and the answer.
        Coconut,
        /// All steps as text, then the answer.
        Cot,
        /// The answer alone.
        NoCot,
        /// As `coconut`, with one learned vector in the place of every state; all in one pass (arXiv 2310.02226).
        Pause,
        /// As `pause`, but computed one after another as latents are.
        PauseMultipass,
        /// As `coconut`, without latents and markers: steps are dropped and nothing takes their place.
        NoThought,
        /// The last stage of `coconut` from the first step on.
        NoCurriculum,
        /// Step tokens are dropped one by one (internalized chain of thought, arXiv 2405.14838).
        Icot,
        /// Latents, then any node at their distance; in the last stage, the target (arXiv 2505.12514).
        Frontier,
    }

    /// In which order the latents of a row are computed.
    LatentOrder {
        /// One after another, with cached keys and values.
        Sequential,
        /// By passes over the whole row, each fed with the states of the one before (Jacobi iteration).
        Parallel,
    }

    /// When the optimizer forgets its moments.
    OptimizerReset {
        /// Never.
        Never,
        /// At the start of every stage, as the published README says.
        Stage,
        /// At the start of every epoch, as the published code does.
        Epoch,
    }

    /// How a rollout decides between a token and a latent where its policy compares an entropy with a threshold.
    SwitchDecision {
        /// As the policy says.
        Threshold,
        /// At random around the threshold, anew at each decision. Decisions are not learned from.
        Sampled,
        /// As the policy says, around a threshold that is drawn once for each rollout.
        Drawn,
        /// As `sampled`, and a decision's log-probability counts in the loss beside those of tokens.
        Learned,
    }

    /// How the losses of events become the loss of an update. The names are those of TRL.
    RlLoss {
        /// Mean over rollouts of each rollout's mean over its events (arXiv 2402.03300).
        Grpo,
        /// Mean over the events of each batch.
        Bnpo,
        /// Sum over events, divided by rollouts times `rl.max_completion_length` (arXiv 2503.20783).
        DrGrpo,
        /// Mean over the events of the whole update (arXiv 2503.14476).
        Dapo,
    }

    /// What the difference from the mean reward of the group is divided by.
    RewardScale {
        /// The standard deviation of the group's rewards.
        Group,
        /// The standard deviation of all rewards of the iteration.
        Batch,
        /// Nothing (arXiv 2503.20783).
        None,
    }

    /// What has an importance ratio of its own.
    ImportanceLevel {
        /// Each token (and learned decision).
        Token,
        /// The whole rollout (GSPO, arXiv 2507.18071).
        Sequence,
    }

    /// What becomes of groups whose rewards are all equal, which have no advantage.
    EqualGroups {
        /// They stay in the denominators of the loss.
        Keep,
        /// They are left out of the loss.
        Drop,
    }

    /// Positions at which the loss of a recycled pass counts.
    LossPositions {
        /// The recycled positions only.
        Recycled,
        /// All positions of the row.
        All,
    }

}

impl ObjectiveKind {
    /// Whether it learns from questions with answers, whose rows may have markers and latents.
    pub fn learns_questions(self) -> bool {
        matches!(self, Self::Curriculum | Self::Rl)
    }
}

impl CurriculumMethod {
    /// Whether its rows have places where something else than a token is fed.
    pub fn has_latents(self) -> bool {
        !matches!(self, Self::Cot | Self::NoCot | Self::NoThought | Self::Icot)
    }

    /// Whether it feeds the pause vector instead of states.
    pub fn feeds_pause(self) -> bool {
        matches!(self, Self::Pause | Self::PauseMultipass)
    }
}
