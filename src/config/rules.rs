//! Owns: the rules that hold between keys.
//! Must not know: limits of single keys (they stand in the key table), tensors.
//! Invariant: settings that contradict each other are refused with the reason.

use super::{Arch, Config, Control, Feedback, Flow, LossOn, Model, Placement, Reach, Recycle, Share, State};

/// Refuses settings that cannot act together, with the reason.
pub fn check(config: &Config) -> Result<(), String> {
    if config.model.from.is_empty() {
        shape(&config.model)?;
    }
    run(config)?;
    must(
        !config.run.activation_checkpointing
            || config.recycle.flow == Flow::Detached
            || config.recycle.reach == Reach::Dense,
        "`run.activation_checkpointing` with `recycle.flow` = \"through\" needs `recycle.reach` = \"dense\": the others send gradient into keys and values, which are not kept".into(),
    )?;
    recycling(&config.recycle)
}

fn shape(model: &Model) -> Result<(), String> {
    let kv_heads = if model.kv_heads == 0 { model.heads } else { model.kv_heads };
    let (width, heads) = (model.width, model.heads);
    must(
        width.is_multiple_of(heads),
        format!("`model.width` = {width} must be a multiple of `model.heads` = {heads}"),
    )?;
    must(
        heads.is_multiple_of(kv_heads),
        format!("`model.heads` = {heads} must be a multiple of `model.kv_heads` = {kv_heads}"),
    )?;
    must(
        model.arch == Arch::Gpt2 || (width / heads).is_multiple_of(2),
        format!(
            "rotary positions need an even head width, but `model.width` / `model.heads` = {}",
            width / heads
        ),
    )?;
    must(
        model.arch == Arch::Llama || kv_heads == heads,
        "`model.kv_heads` has no effect with `model.arch` = \"gpt2\"; leave it at 0".into(),
    )
}

fn run(config: &Config) -> Result<(), String> {
    let (model, optim, steps) = (&config.model, &config.optim, config.run.steps);
    must(
        model.max_len == 0 || model.max_len >= config.data.seq_len,
        format!(
            "`model.max_len` = {} must be 0 or at least `data.seq_len` = {}",
            model.max_len, config.data.seq_len
        ),
    )?;
    must(
        optim.min_lr <= optim.lr,
        format!("`optim.min_lr` = {} must not be above `optim.lr` = {}", optim.min_lr, optim.lr),
    )?;
    let name = &config.run.name;
    must(
        is_folder_name(name),
        format!(
            "`run.name` = {name:?} must be a plain name of at most 100 bytes, without slashes, control characters or leading dots"
        ),
    )?;
    must(steps <= MOST_STEPS, format!("`run.steps` = {steps} must not be above {MOST_STEPS}"))
}

fn recycling(recycle: &Recycle) -> Result<(), String> {
    if recycle.every == 0 || recycle.probability.max() == 0.0 {
        return Ok(());
    }
    let idle = |key: &str| {
        format!(
            "`recycle.{key}` is 0 throughout, so that no step could recycle; set `recycle.every` = 0 to train without"
        )
    };
    must(recycle.share != Share::Fraction || recycle.fraction.max() > 0.0, idle("fraction"))?;
    must(recycle.share != Share::Count || recycle.count.max() >= 0.5, idle("count"))?;
    must(recycle.weight.max() > 0.0, idle("weight"))?;
    let weights = &recycle.pass_weights;
    must(weights.is_empty() || weights.iter().any(|weight| *weight > 0.0), idle("pass_weights"))?;
    let last = |passes: usize| weights.get(passes - 1).or(weights.last()).copied().unwrap_or(1.0);
    match recycle.passes.depths().find(|passes| last(*passes) == 0.0) {
        Some(passes) => Err(format!(
            "`recycle.pass_weights` gives pass {passes} the weight 0, but steps of {passes} passes end with it: it would be computed for nothing"
        )),
        None => Ok(()),
    }?;
    must(
        !by_threshold(recycle) || by_entropy(recycle),
        "`recycle.share` by threshold needs `recycle.placement` = \"entropy_at\" or \"entropy_next\": other placements look at no entropy".into(),
    )?;
    must(
        recycle.reach == Reach::Dense || recycle.loss_on == LossOn::Recycled,
        "`recycle.loss_on` = \"all\" needs `recycle.reach` = \"dense\": the others compute the recycled positions alone".into(),
    )?;
    must(
        recycle.feedback != Feedback::Gated || recycle.state != State::Projected,
        "`recycle.state` = \"projected\" has no effect with `recycle.feedback` = \"gated\", which has a matrix of its own for the state".into(),
    )?;
    must(
        !(matches!(recycle.control, Control::Pause | Control::Masked) && recycle.passes.most() > 1),
        "`recycle.control` = \"pause\" or \"masked\" takes one pass: nothing is taken from the pass before, so that all would be the same".into(),
    )
}

fn by_threshold(recycle: &Recycle) -> bool {
    matches!(recycle.share, Share::Threshold | Share::RelativeThreshold)
}

fn by_entropy(recycle: &Recycle) -> bool {
    matches!(recycle.placement, Placement::EntropyAt | Placement::EntropyNext)
}

/// Settings that were changed from their defaults but have no effect beside the others, each with the reason: a run
/// starts all the same, and says so. A run that does not recycle still validates by them.
pub fn idle(config: &Config) -> Vec<String> {
    let (recycle, default) = (&config.recycle, &Recycle::default());
    let mut found = Vec::new();
    if recycle.every == 0 {
        return found;
    }
    if recycle.probability.max() == 0.0 {
        found.push("`recycle.probability` is 0 throughout: no step recycles".into());
    }
    let mut say = |idle: bool, key: &str, needs: &str| {
        if idle {
            found.push(format!("`{key}` has no effect without {needs}"));
        }
    };
    let by_fraction = recycle.share == Share::Fraction;
    say(recycle.fraction != default.fraction && !by_fraction, "recycle.fraction", "`share` = \"fraction\"");
    let by_count = recycle.share == Share::Count;
    say(recycle.count != default.count && !by_count, "recycle.count", "`share` = \"count\"");
    let thresholds = recycle.threshold != default.threshold;
    say(thresholds && !by_threshold(recycle), "recycle.threshold", "a `share` by threshold");
    let spans = recycle.placement == Placement::Span;
    say(recycle.span != default.span && !spans, "recycle.span", "`placement` = \"span\"");
    let adds = recycle.feedback == Feedback::Add;
    say(recycle.add_scale != default.add_scale && !adds, "recycle.add_scale", "`feedback` = \"add\"");
    let (through, most) = (recycle.flow == Flow::Through, recycle.passes.most());
    say(recycle.cut != 0 && !through, "recycle.cut", "`flow` = \"through\"");
    say(recycle.cut >= most && through, "recycle.cut", "more passes than it keeps borders");
    say(recycle.pass_weights.len() > most, "recycle.pass_weights", "as many `passes` as it has weights");
    let pauses = recycle.control == Control::Pause;
    say(
        recycle.pause_share > 0.0 && pauses,
        "recycle.pause_share",
        "another `control`: all steps feed the pause",
    );
    let states = recycle.pause_share < 1.0 && !matches!(recycle.control, Control::Pause | Control::Masked);
    let fed = "states that are fed: something else stands in their place";
    say(!states && recycle.state != State::Raw, "recycle.state", fed);
    say(!states && through && recycle.reach == Reach::Dense, "recycle.flow", fed);
    say(recycle.pause_share == 1.0 && most > 1, "recycle.passes", fed);
    found
}

/// Step numbers stay exact as floating-point numbers, which metrics are.
const MOST_STEPS: u64 = 1 << 53;

fn must(holds: bool, otherwise: String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn is_folder_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !['/', '\\'].contains(&c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) && name.len() <= 100
}

#[cfg(test)]
mod tests {
    use super::super::from_text;

    #[test]
    fn settings_that_cannot_act_together_are_refused_with_the_reason() {
        for (given, wanted) in [
            ("model.heads=3", "must be a multiple of `model.heads` = 3"),
            ("model.kv_heads=3", "must be a multiple of `model.kv_heads` = 3"),
            ("model.max_len=8", "at least `data.seq_len`"),
            ("optim.min_lr=1.0", "must not be above"),
            ("recycle.fraction=0", "`recycle.fraction` is 0 throughout"),
            ("recycle.weight=0", "`recycle.weight` is 0 throughout"),
            ("run.name=../x", "plain name"),
            ("run.name=a\u{7}b", "plain name"),
            ("recycle.pass_weights=[0.0]", "`recycle.pass_weights` is 0 throughout"),
            ("recycle.share=threshold", "look at no entropy"),
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
            (&["recycle.control=pause", "recycle.passes=2"], "takes one pass"),
            (&["recycle.feedback=gated", "recycle.state=projected"], "has a matrix of its own"),
            (
                &["recycle.passes=[[1, 0.9], [3, 0.1]]", "recycle.pass_weights=[0, 0, 1]"],
                "gives pass 1 the weight 0",
            ),
            (&["recycle.passes=2", "recycle.pass_weights=[1, 0]"], "gives pass 2 the weight 0"),
            (&["recycle.share=count", "recycle.count=0"], "`recycle.count` is 0 throughout"),
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
            (&["recycle.flow=through", "recycle.cut=1"], "`recycle.cut` has no effect without more passes"),
            (&["recycle.pass_weights=[1, 2]"], "`recycle.pass_weights` has no effect"),
            (&["recycle.control=masked", "recycle.flow=through"], "`recycle.flow` has no effect"),
            (&["recycle.control=pause", "recycle.state=rescaled"], "`recycle.state` has no effect"),
            (&["recycle.control=pause", "recycle.pause_share=0.1"], "`recycle.pause_share` has no effect"),
            (&["recycle.pause_share=1", "recycle.passes=2"], "`recycle.passes` has no effect"),
            (&["recycle.probability=0"], "`recycle.probability` is 0 throughout"),
        ] {
            let given: Vec<String> = given.iter().map(|set| (*set).to_owned()).collect();
            let config = from_text("", "x.toml", &given).unwrap();
            let found = super::idle(&config);
            assert!(found.len() == 1 && found[0].contains(wanted), "{given:?}: {found:?}");
        }
        assert!(super::idle(&Default::default()).is_empty());
    }
}
