//! Owns: the rules that hold between keys.
//! Must not know: limits of single keys (they stand in the key table), tensors.
//! Invariant: no setting that cannot act is accepted in silence.

use super::{Arch, Config, LossOn};

/// Refuses settings that cannot act together, with the reason.
pub fn check(config: &Config) -> Result<(), String> {
    let (model, optim, recycle) = (&config.model, &config.optim, &config.recycle);
    let kv_heads = if model.kv_heads == 0 { model.heads } else { model.kv_heads };
    if model.from.is_empty() {
        must(
            model.width.is_multiple_of(model.heads),
            format!("`model.width` = {} must be a multiple of `model.heads` = {}", model.width, model.heads),
        )?;
        must(
            model.heads.is_multiple_of(kv_heads),
            format!("`model.heads` = {} must be a multiple of `model.kv_heads` = {kv_heads}", model.heads),
        )?;
        must(
            model.arch == Arch::Gpt2 || (model.width / model.heads).is_multiple_of(2),
            format!(
                "rotary positions need an even head width, but `model.width` / `model.heads` = {}",
                model.width / model.heads
            ),
        )?;
        must(
            model.arch == Arch::Llama || kv_heads == model.heads,
            "`model.kv_heads` has no effect with `model.arch` = \"gpt2\"; leave it at 0".into(),
        )?;
    }
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
    let recycles = recycle.every > 0 && recycle.probability.max() > 0.0;
    must(
        !recycles || recycle.fraction.max() > 0.0,
        "`recycle.fraction` is 0 throughout, so that no recycled pass could do anything; set `recycle.every` = 0 to train without".into(),
    )?;
    must(
        !recycles || recycle.loss_on == LossOn::All || recycle.weight.max() > 0.0,
        "`recycle.weight` is 0 throughout, so that recycled passes would be computed for nothing; set `recycle.every` = 0 to train without".into(),
    )?;
    must(
        is_folder_name(&config.run.name),
        format!("`run.name` = {:?} must be a plain name, without slashes or leading dots", config.run.name),
    )
}

fn must(holds: bool, otherwise: String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn is_folder_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']) && name.len() <= 100
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
            ("recycle.weight=0", "computed for nothing"),
            ("run.name=../x", "plain name"),
        ] {
            let found = from_text("", "x.toml", &[given.into()]).unwrap_err().to_string();
            assert!(found.contains(wanted), "{given}: {found}");
        }
    }
}
