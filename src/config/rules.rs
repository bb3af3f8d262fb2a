//! Owns: the rules between keys.
//! Must not know: the limits of single keys (the key table has them), tensors.
//! Invariant: settings that contradict each other are refused, with the reason.

use super::budget::SELECTION_KEYS;
use super::{
    Arch, BestCheckpointBy, Config, Control, Feedback, GradientFlow, LossPositions, Model, ObjectiveKind, PassScope,
    Placement, Recycle, SelectionRule, StateTransform,
};

/// Checks the rules between keys. Returns the reason if two settings contradict each other.
pub fn check(config: &Config) -> Result<(), String> {
    if config.model.from.is_empty() {
        check_shape(&config.model)?;
    }
    check_run(config)?;
    ensure(
        !config.run.activation_checkpointing
            || config.recycle.flow == GradientFlow::Detached
            || config.recycle.reach == PassScope::Dense,
        "`run.activation_checkpointing` with `recycle.flow` = \"through\" needs `recycle.reach` = \"dense\": other values need gradients of keys and values, which checkpointing does not keep".into(),
    )?;
    ensure(
        config.objective.kind.learns_questions() || config.checkpoint.best != BestCheckpointBy::Accuracy,
        "`checkpoint.best` = \"accuracy\" needs `objective.kind` = \"curriculum\" or \"rl\": pre-training answers no \
         questions; set it to \"loss\""
            .into(),
    )?;
    match config.objective.kind {
        ObjectiveKind::Pretraining => check_recycle(&config.recycle),
        ObjectiveKind::Curriculum => check_curriculum(config),
        ObjectiveKind::Rl => check_rl(config),
    }
}

fn check_rl(config: &Config) -> Result<(), String> {
    ensure(
        config.recycle.feedback == Feedback::Replace,
        "`objective.kind` = \"rl\" needs `recycle.feedback` = \"replace\": no token stands in the place of a latent"
            .into(),
    )?;
    let dropout = &config.dropout;
    ensure(
        [dropout.embedding, dropout.attention, dropout.residual] == [0.0; 3],
        "`objective.kind` = \"rl\" needs `[dropout]` without rates, because rollouts and updates would drop different \
         numbers; set `rl.dropout`, whose masks they share"
            .into(),
    )?;
    ensure(
        config.checkpoint.best != BestCheckpointBy::Loss,
        "`checkpoint.best` = \"loss\" has no meaning with `objective.kind` = \"rl\"; set it to \"accuracy\"".into(),
    )?;
    ensure(
        config.optim.accumulate == 1,
        format!(
            "`optim.accumulate` = {} must be 1 with `objective.kind` = \"rl\": an update learns from all rollouts, \
             `data.batch` at a time",
            config.optim.accumulate
        ),
    )?;
    ensure(
        config.rl.epsilon_high == 0.0 || config.rl.epsilon_high >= config.rl.epsilon,
        format!(
            "`rl.epsilon_high` = {} must be 0 (as `rl.epsilon`) or at least `rl.epsilon` = {}",
            config.rl.epsilon_high, config.rl.epsilon
        ),
    )?;
    let weights = [config.rl.reward_exact, config.rl.reward_format, config.rl.price_token, config.rl.price_latent];
    ensure(
        weights.iter().any(|weight| *weight != 0.0),
        "`rl.reward_exact`, `rl.reward_format`, `rl.price_token` and `rl.price_latent` are all 0: there is no reward"
            .into(),
    )
}

fn check_curriculum(config: &Config) -> Result<(), String> {
    let objective = &config.objective;
    ensure(
        config.recycle.feedback == Feedback::Replace,
        "`objective.kind` = \"curriculum\" needs `recycle.feedback` = \"replace\": no token stands in the place of a latent"
            .into(),
    )?;
    ensure(
        objective.max_latent_stage > 0 || !objective.method.has_latents(),
        "`objective.max_latent_stage` = 0 leaves no latents; set `objective.method` = \"cot\" to train without them"
            .into(),
    )?;
    ensure(
        objective.first_stage <= objective.max_latent_stage + 1,
        format!(
            "`objective.first_stage` = {} is beyond the last stage, `objective.max_latent_stage` + 1 = {}",
            objective.first_stage,
            objective.max_latent_stage + 1
        ),
    )
}

fn check_shape(model: &Model) -> Result<(), String> {
    let kv_heads = if model.kv_heads == 0 { model.heads } else { model.kv_heads };
    let (width, heads) = (model.width, model.heads);
    ensure(
        width.is_multiple_of(heads),
        format!("`model.width` = {width} must be a multiple of `model.heads` = {heads}"),
    )?;
    ensure(
        heads.is_multiple_of(kv_heads),
        format!("`model.heads` = {heads} must be a multiple of `model.kv_heads` = {kv_heads}"),
    )?;
    ensure(
        model.arch == Arch::Gpt2 || (width / heads).is_multiple_of(2),
        format!("rotary positions need an even head width, but `model.width` / `model.heads` = {}", width / heads),
    )?;
    ensure(
        model.arch == Arch::Llama || kv_heads == heads,
        "`model.kv_heads` has no effect with `model.arch` = \"gpt2\"; leave it at 0".into(),
    )
}

fn check_run(config: &Config) -> Result<(), String> {
    let (model, optim, steps) = (&config.model, &config.optim, config.run.steps);
    ensure(
        model.max_len == 0 || model.max_len >= config.data.seq_len,
        format!("`model.max_len` = {} must be 0 or at least `data.seq_len` = {}", model.max_len, config.data.seq_len),
    )?;
    ensure(
        optim.min_lr <= optim.lr,
        format!("`optim.min_lr` = {} must be at most `optim.lr` = {}", optim.min_lr, optim.lr),
    )?;
    let name = &config.run.name;
    ensure(
        is_folder_name(name),
        format!(
            "`run.name` = {name:?} must be a plain name of at most 100 bytes, without slashes, control characters or leading dots"
        ),
    )?;
    ensure(steps <= MAX_STEPS, format!("`run.steps` = {steps} must be at most {MAX_STEPS}"))
}

fn check_recycle(recycle: &Recycle) -> Result<(), String> {
    if recycle.every == 0 || recycle.probability.max() == 0.0 {
        return Ok(());
    }
    let always_zero = |key: &str| {
        format!(
            "`recycle.{key}` is 0 at every step, so no step can recycle; set `recycle.every` = 0 to train without recycling"
        )
    };
    ensure(recycle.max_budget(1).selects_any(), always_zero(recycle.selection_key().name))?;
    ensure(recycle.weight.max() > 0.0, always_zero("weight"))?;
    let weights = &recycle.pass_weights;
    ensure(weights.is_empty() || weights.iter().any(|weight| *weight > 0.0), always_zero("pass_weights"))?;
    let last_weight = |passes: usize| weights.get(passes - 1).or(weights.last()).copied().unwrap_or(1.0);
    match recycle.passes.pass_counts().find(|passes| last_weight(*passes) == 0.0) {
        Some(passes) => Err(format!(
            "`recycle.pass_weights` gives pass {passes} the weight 0, but it is the last pass of steps with {passes} passes: its result would not be used"
        )),
        None => Ok(()),
    }?;
    ensure(
        !matches!(recycle.share, SelectionRule::Threshold | SelectionRule::RelativeThreshold)
            || matches!(recycle.placement, Placement::EntropyAt | Placement::EntropyNext),
        "`recycle.share` = \"threshold\" or \"relative_threshold\" needs `recycle.placement` = \"entropy_at\" or \"entropy_next\": other placements do not use entropy".into(),
    )?;
    ensure(
        recycle.reach == PassScope::Dense || recycle.loss_on == LossPositions::Recycled,
        "`recycle.loss_on` = \"all\" needs `recycle.reach` = \"dense\": other values compute only the recycled positions".into(),
    )?;
    ensure(
        recycle.feedback != Feedback::Gated || recycle.state != StateTransform::Projected,
        "`recycle.state` = \"projected\" has no effect with `recycle.feedback` = \"gated\", which already applies a learned matrix to the state".into(),
    )?;
    ensure(
        !(matches!(recycle.control, Control::Pause | Control::Masked) && recycle.passes.max_passes() > 1),
        "`recycle.control` = \"pause\" or \"masked\" allows one pass only: no state of the previous pass is fed, so further passes would repeat it".into(),
    )
}

/// Returns a message for each setting that differs from its default but has no effect with the others, with the reason.
/// A run starts all the same and logs them. A run that does not recycle is skipped: its validations use the settings.
pub fn ineffective_settings(config: &Config) -> Vec<String> {
    let (recycle, default) = (&config.recycle, &Recycle::default());
    let mut messages = Vec::new();
    if recycle.every == 0 {
        return messages;
    }
    if recycle.probability.max() == 0.0 {
        messages.push("`recycle.probability` is 0 at every step, so no step recycles".into());
    }
    let mut report = |idle: bool, key: &str, needs: &str| {
        if idle {
            messages.push(format!("`{key}` has no effect without {needs}"));
        }
    };
    for key in &SELECTION_KEYS {
        let rules: Vec<String> = key.rules.iter().map(|rule| format!("\"{}\"", <&str>::from(rule))).collect();
        let is_set = (key.curve)(recycle) != (key.curve)(default);
        let (path, needs) = (format!("recycle.{}", key.name), format!("`share` = {}", rules.join(" or ")));
        report(is_set && !key.rules.contains(&recycle.share), &path, &needs);
    }
    let spans = recycle.placement == Placement::Span;
    report(recycle.span != default.span && !spans, "recycle.span", "`placement` = \"span\"");
    let adds = recycle.feedback == Feedback::Add;
    report(recycle.add_scale != default.add_scale && !adds, "recycle.add_scale", "`feedback` = \"add\"");
    let (through, most) = (recycle.flow == GradientFlow::Through, recycle.passes.max_passes());
    report(recycle.cut != 0 && !through, "recycle.cut", "`flow` = \"through\"");
    report(
        recycle.cut >= most && through,
        "recycle.cut",
        "more `passes`: gradients cross fewer links than `cut` anyway",
    );
    report(recycle.pass_weights.len() > most, "recycle.pass_weights", "as many `passes` as weights");
    let pauses = recycle.control == Control::Pause;
    report(
        recycle.pause_share > 0.0 && pauses,
        "recycle.pause_share",
        "another `control`: with \"pause\" every recycling step feeds the pause vector",
    );
    let states = recycle.pause_share < 1.0 && !matches!(recycle.control, Control::Pause | Control::Masked);
    let fed = "states that are fed: a control replaces them";
    report(!states && recycle.state != StateTransform::Raw, "recycle.state", fed);
    report(!states && through && recycle.reach == PassScope::Dense, "recycle.flow", fed);
    report(recycle.pause_share == 1.0 && most > 1, "recycle.passes", fed);
    messages
}

/// Largest number of steps that metrics, which are f64, represent exactly.
const MAX_STEPS: u64 = 1 << 53;

fn ensure(holds: bool, message: String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message) }
}

fn is_folder_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !['/', '\\'].contains(&c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) && name.len() <= 100
}

#[cfg(test)]
mod tests {
    use crate::config::from_text;

    #[test]
    fn settings_that_cannot_act_together_are_refused_with_the_reason() {
        for (given, wanted) in [
            ("model.heads=3", "must be a multiple of `model.heads` = 3"),
            ("model.kv_heads=3", "must be a multiple of `model.kv_heads` = 3"),
            ("model.max_len=8", "at least `data.seq_len`"),
            ("optim.min_lr=1.0", "must be at most"),
            ("recycle.fraction=0", "`recycle.fraction` is 0 at every step"),
            ("recycle.weight=0", "`recycle.weight` is 0 at every step"),
            ("run.name=../x", "plain name"),
            ("run.name=a\u{7}b", "plain name"),
            ("recycle.pass_weights=[0.0]", "`recycle.pass_weights` is 0 at every step"),
            ("recycle.share=threshold", "do not use entropy"),
        ] {
            for loss_on in ["all", "recycled"] {
                let given = [given.to_owned(), format!("recycle.loss_on={loss_on}")];
                let found = from_text("", "x.toml", &given).unwrap_err().to_string();
                assert!(found.contains(wanted), "{given:?}: {found}");
            }
        }
    }

    #[test]
    fn reaches_refuse_what_they_cannot_do() {
        for (given, wanted) in [
            (
                &["run.activation_checkpointing=true", "recycle.flow=through", "recycle.reach=joint"][..],
                "`run.activation_checkpointing` with",
            ),
            (&["recycle.reach=isolated", "recycle.loss_on=all"][..], "needs `recycle.reach` = \"dense\""),
            (&["recycle.control=pause", "recycle.passes=2"], "allows one pass only"),
            (&["recycle.feedback=gated", "recycle.state=projected"], "already applies a learned matrix"),
            (&["recycle.passes=[[1, 0.9], [3, 0.1]]", "recycle.pass_weights=[0, 0, 1]"], "gives pass 1 the weight 0"),
            (&["recycle.passes=2", "recycle.pass_weights=[1, 0]"], "gives pass 2 the weight 0"),
            (&["recycle.share=count", "recycle.count=0"], "`recycle.count` is 0 at every step"),
        ] {
            let given: Vec<String> = given.iter().map(|set| (*set).to_owned()).collect();
            let found = from_text("", "x.toml", &given).unwrap_err().to_string();
            assert!(found.contains(wanted), "{given:?}: {found}");
        }
    }

    #[test]
    fn settings_without_effect_are_named() {
        for (given, wanted) in [
            (&["recycle.count=3"][..], "`recycle.count` has no effect"),
            (&["recycle.share=count", "recycle.fraction=0.5"], "`recycle.fraction` has no effect"),
            (&["recycle.threshold=3"], "`recycle.threshold` has no effect"),
            (&["recycle.span=3"], "`recycle.span` has no effect"),
            (&["recycle.add_scale=3"], "`recycle.add_scale` has no effect"),
            (&["recycle.cut=2"], "`recycle.cut` has no effect without `flow`"),
            (&["recycle.flow=through", "recycle.cut=1"], "`recycle.cut` has no effect without more `passes`"),
            (&["recycle.pass_weights=[1, 2]"], "`recycle.pass_weights` has no effect"),
            (&["recycle.control=masked", "recycle.flow=through"], "`recycle.flow` has no effect"),
            (&["recycle.control=pause", "recycle.state=rescaled"], "`recycle.state` has no effect"),
            (&["recycle.control=pause", "recycle.pause_share=0.1"], "`recycle.pause_share` has no effect"),
            (&["recycle.pause_share=1", "recycle.passes=2"], "`recycle.passes` has no effect"),
            (&["recycle.probability=0"], "`recycle.probability` is 0 at every step"),
        ] {
            let given: Vec<String> = given.iter().map(|set| (*set).to_owned()).collect();
            let config = from_text("", "x.toml", &given).unwrap();
            let found = super::ineffective_settings(&config);
            assert!(found.len() == 1 && found[0].contains(wanted), "{given:?}: {found:?}");
        }
        assert!(super::ineffective_settings(&Default::default()).is_empty());
    }
}
