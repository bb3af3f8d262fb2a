//! Owns: the rules that hold between keys.
//! Must not know: limits of single keys (they stand in the key table), tensors.
//! Invariant: settings that contradict each other are refused with the reason.

use super::{Arch, Config, Flow, LossOn, Model, Placement, Reach, Recycle, Share};

/// Refuses settings that cannot act together, with the reason.
pub fn check(config: &Config) -> Result<(), String> {
    if config.model.from.is_empty() {
        shape(&config.model)?;
    }
    run(config)?;
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
    let by_threshold = matches!(recycle.share, Share::Threshold | Share::RelativeThreshold);
    let by_entropy = matches!(recycle.placement, Placement::EntropyAt | Placement::EntropyNext);
    must(
        !by_threshold || by_entropy,
        "`recycle.share` by threshold needs `recycle.placement` = \"entropy_at\" or \"entropy_next\": other placements look at no entropy".into(),
    )?;
    must(
        recycle.reach == Reach::Dense || recycle.loss_on == LossOn::Recycled,
        "`recycle.loss_on` = \"all\" needs `recycle.reach` = \"dense\": the others compute the recycled positions alone".into(),
    )?;
    must(
        recycle.reach != Reach::Joint || recycle.passes.most() == 1,
        "`recycle.reach` = \"joint\" takes one pass: later ones would need keys and values that stand for two states".into(),
    )?;
    must(
        recycle.cut == 0 || recycle.flow == Flow::Through,
        "`recycle.cut` has no effect with `recycle.flow` = \"detached\"; leave it at 0".into(),
    )
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
            ("recycle.cut=2", "no effect"),
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
            (&["recycle.reach=isolated", "recycle.loss_on=all"][..], "needs `recycle.reach` = \"dense\""),
            (&["recycle.reach=joint", "recycle.passes=2"], "takes one pass"),
            (&["recycle.share=count", "recycle.count=0"], "`recycle.count` is 0 throughout"),
        ] {
            let given: Vec<String> = given.iter().map(|set| (*set).to_owned()).collect();
            let found = from_text("", "x.toml", &given).unwrap_err().to_string();
            assert!(found.contains(wanted), "{given:?}: {found}");
        }
    }
}
