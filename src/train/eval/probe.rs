//! Owns: probing one row: tokens, entropies, nll, likeliest tokens, and states decoded pass by pass.
//! Must not know: who shows the row.
//! Invariant: a probe changes nothing, and waits for the device once (twice with placement by entropy).

use super::forward_probe::{ForwardProbe, probe_pass};
use crate::config::{Config, Control, Mixture, Recycle};
use crate::data::{Batch, Tokenizer};
use crate::model::{Transformer, flatten_rows, head, index_tensor};
use crate::recycle::passes::{self, PlacementFn, RecycledPass};
use crate::recycle::placement::RecycledPositions;
use crate::rng::RngKey;
use crate::schema::token_rows::{DecodedState, TOP_TOKENS, Thought, TokenCell, TokenProb, TokenRow};
use crate::train::TrainError;
use crate::train::step::pretraining::{placement_fn, upload_batch};
use crate::train::step::readback::Readback;
use burn::module::Module;
use burn::tensor::Tensor;

/// Maximum number of recycled positions of a row whose states are decoded.
const MAX_THOUGHTS: usize = 64;

/// Probes the first row of `batch`, with the position budget of the step or the largest of the schedule.
pub(in crate::train) fn probe_row(
    config: &Config,
    model: &Transformer,
    tokenizer: Option<&Tokenizer>,
    batch: &Batch,
    step: u64,
) -> Result<TokenRow, TrainError> {
    let batch = first_row(batch);
    let model = model.valid();
    let recycle = &config.recycle;
    let vocab_size = model.shape().vocab_size;
    let budget = match recycle.budget_at(vocab_size, step) {
        now if now.selects_any() => now,
        _ => recycle.max_budget(vocab_size),
    };
    let tokens = upload_batch(&batch, &model.device());
    let key = RngKey { seed: config.run.seed, step, ..RngKey::default() };
    let mut place = placement_fn(&batch, recycle, budget, key);
    let place = (recycle.every > 0 && budget.selects_any()).then_some::<PlacementFn>(&mut place);
    // Runs only the plain pass; the recycled passes follow below.
    let probe = ForwardProbe::run(&model, &tokens, probe_pass(recycle, recycle.scale.value_at(step), key), 1, place);
    read_row(&probe, recycle, config.probe.passes, &batch, tokenizer, step)
}

/// Probes a row whose recycled positions are known: `latents`, in as many dense passes. With `pause` they are fed the pause
/// vector. The model is with autodiff.
pub(in crate::train) fn probe_latents(
    model: &Transformer,
    tokenizer: Option<&Tokenizer>,
    batch: &Batch,
    latents: &[usize],
    pause: bool,
    step: u64,
) -> Result<TokenRow, TrainError> {
    let model = model.valid();
    let control = if pause { Control::Pause } else { Control::None };
    let recycle = Recycle { passes: Mixture::always(latents.len().max(1) as u64), control, ..Recycle::default() };
    let tokens = upload_batch(batch, &model.device());
    let positions = RecycledPositions { seq_len: batch.seq_len, rows: vec![latents.to_vec()] };
    let mut place = |_: &Tensor<1>| positions.clone();
    let place = (!latents.is_empty()).then_some::<PlacementFn>(&mut place);
    let probe = ForwardProbe::run(&model, &tokens, probe_pass(&recycle, 1.0, RngKey::default()), 1, place);
    read_row(&probe, &recycle, 1, batch, tokenizer, step)
}

/// Runs the recycled passes of a probe, and reads the row with its texts.
fn read_row(
    probe: &ForwardProbe<'_>,
    recycle: &Recycle,
    min_passes: usize,
    batch: &Batch,
    tokenizer: Option<&Tokenizer>,
    step: u64,
) -> Result<TokenRow, TrainError> {
    let vocab_size = probe.model.shape().vocab_size;
    let probed = run_recycled_passes(probe, recycle, min_passes);
    let mut row = TokenRow { step, vocab_size, ..read_probe(probe, probed.as_ref(), batch)? };
    let text = |id: u32| token_text(tokenizer, id);
    row.cells.iter_mut().for_each(|cell| cell.text = text(cell.id));
    row.fill_token_texts(text);
    Ok(row)
}

/// The states of a probed row, pass by pass.
struct ProbedRow {
    /// Hidden states at all positions after the run's last pass, `[T, D]`.
    last_states: Tensor<2>,
    positions: Vec<usize>,
    /// After pass 0, 1, …: the states preceding these N positions, then those at them, `[2·N, D]`.
    pass_states: Vec<Tensor<2>>,
    /// Whether each position is recycled, `[T]`.
    is_recycled: Vec<bool>,
}

/// Runs the passes of a probed row, at least `min_passes`, always fed with states. `None` without positions.
fn run_recycled_passes(probe: &ForwardProbe<'_>, recycle: &Recycle, min_passes: usize) -> Option<ProbedRow> {
    let (positions, plain) = probe.recycled.as_ref()?;
    let usual = recycle.passes.most_probable();
    let at = pick_evenly(&positions.rows[0], MAX_THOUGHTS);
    let both: Vec<usize> = at.iter().map(|t| t - 1).chain(at.iter().copied()).collect();
    let gather = index_tensor(&both, &probe.model.device());
    let mut states = plain.clone();
    let mut passes = vec![flatten_rows(&states.hidden).select(0, gather.clone())];
    let mut last = flatten_rows(&states.hidden);
    let next_states = |states, control| {
        passes::recycled_pass(probe.model, probe.tokens, states, positions, &RecycledPass { control, ..probe.pass }).0
    };
    for pass in 1..=usual.max(min_passes) {
        let after = next_states(states.clone(), Control::None);
        if pass == usual {
            last = match recycle.control {
                Control::None => flatten_rows(&after.hidden),
                control => flatten_rows(&next_states(states, control).hidden),
            };
        }
        states = after;
        passes.push(flatten_rows(&states.hidden).select(0, gather.clone()));
    }
    Some(ProbedRow { last_states: last, positions: at, pass_states: passes, is_recycled: positions.mask() })
}

/// READBACK: reads all results of a probe at once. Returns the row without texts.
fn read_probe(probe: &ForwardProbe<'_>, probed: Option<&ProbedRow>, batch: &Batch) -> Result<TokenRow, TrainError> {
    let mut hidden = vec![probe.hidden.clone()];
    if let Some(probed) = probed {
        hidden.push(probed.last_states.clone());
        hidden.extend(probed.pass_states.iter().cloned());
    }
    let top = head::top_tokens(probe.model, Tensor::cat(hidden, 0), TOP_TOKENS);
    let mut readback = Readback::default();
    readback.add(&probe.plain.nll);
    readback.add(&top.entropy);
    readback.add_ids(&top.ids);
    readback.add(&top.probs);
    let read = readback.read()?;
    let all = group_distributions(&read[1], &read[2], &read[3]);
    let (plain, rest) = all.split_at(batch.seq_len);
    let (after, rest) = rest.split_at(probed.map_or(0, |_| batch.seq_len));
    let cell = |t: usize| TokenCell {
        id: batch.tokens[t] as u32,
        text: String::new(),
        doc_start: batch.doc_start[t],
        entropy_plain: plain[t].entropy,
        entropy_recycled: after.get(t).map(|after| after.entropy),
        nll_plain: read[0][t],
        recycled: probed.is_some_and(|probed| probed.is_recycled[t]),
        top_plain: plain[t].top.clone(),
        top_recycled: after.get(t).map_or_else(Vec::new, |after| after.top.clone()),
    };
    let thoughts = probed.map_or_else(Vec::new, |probed| group_thoughts(&probed.positions, rest));
    Ok(TokenRow { cells: (0..batch.seq_len).map(cell).collect(), thoughts, ..TokenRow::default() })
}

/// Groups states by position: for each pass, `decoded` has those preceding the positions, then those at them.
fn group_thoughts(at: &[usize], decoded: &[DecodedState]) -> Vec<Thought> {
    let n = at.len();
    let thought = |(which, position): (usize, &usize)| Thought {
        position: *position,
        fed_by_pass: decoded.chunks(2 * n).map(|pass| pass[which].clone()).collect(),
        output_by_pass: decoded.chunks(2 * n).map(|pass| pass[n + which].clone()).collect(),
    };
    at.iter().enumerate().map(thought).collect()
}

/// Groups entropies and top tokens that were read back into one item for each distribution.
fn group_distributions(entropies: &[f32], ids: &[f32], probs: &[f32]) -> Vec<DecodedState> {
    let width = ids.len() / entropies.len().max(1);
    let one = |(at, entropy): (usize, &f32)| {
        let range = at * width..(at + 1) * width;
        let choice = |(id, prob): (&f32, &f32)| TokenProb { id: *id as u32, prob: *prob };
        DecodedState { entropy: *entropy, top: ids[range.clone()].iter().zip(&probs[range]).map(choice).collect() }
    };
    entropies.iter().enumerate().map(one).collect()
}

/// Returns at most `max` of `positions`, evenly spread, with the first and the last.
fn pick_evenly(positions: &[usize], max: usize) -> Vec<usize> {
    match positions.len() {
        count if count <= max => positions.to_vec(),
        count => (0..max).map(|n| positions[n * (count - 1) / (max - 1)]).collect(),
    }
}

/// Decodes ids to one line of text that is safe for a terminal: control characters are escaped.
pub(in crate::train) fn decode_text(tokenizer: Option<&Tokenizer>, ids: &[u32]) -> String {
    let Some(tokenizer) = tokenizer else { return ids.iter().map(|id| token_text(None, *id)).collect() };
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    tokenizer.decode(ids).chars().map(escape).collect()
}

fn token_text(tokenizer: Option<&Tokenizer>, id: u32) -> String {
    tokenizer.map_or_else(|| format!("{id} "), |tokenizer| tokenizer.token_text(id))
}

fn first_row(batch: &Batch) -> Batch {
    let width = batch.seq_len + 1;
    Batch {
        batch_size: 1,
        tokens: batch.tokens[..width].to_vec(),
        doc_start: batch.doc_start[..width].to_vec(),
        ignored: batch.ignored.iter().take(width).copied().collect(),
        ..batch.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mixture, PassScope};

    use crate::model::TokenBatch;
    use crate::train::tests::{SEQ_LEN, model};

    fn batch() -> Batch {
        let tokens = (0..2 * (SEQ_LEN as i32 + 1)).map(|at| at * 7 % 13).collect();
        Batch {
            batch_size: 2,
            seq_len: SEQ_LEN,
            tokens,
            doc_start: (0..2 * (SEQ_LEN + 1)).map(|at| at == 0).collect(),
            ..Batch::default()
        }
    }

    fn config(reach: PassScope, usual: u32) -> Config {
        let mut config = Config::default();
        config.recycle.reach = reach;
        config.recycle.every = 1;
        config.recycle.fraction = crate::config::Curve::constant(0.5);
        config.recycle.passes = Mixture::always(u64::from(usual));
        config
    }

    fn near(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-4
    }

    /// Compares up to the last digits, which depend on a row's place in a block.
    fn alike(a: &[TokenProb], b: &[TokenProb]) -> bool {
        a.len() == TOP_TOKENS && a.iter().zip(b).all(|(a, b)| a.id == b.id && near(a.prob, b.prob))
    }

    #[test]
    fn a_thought_equals_a_probe_with_as_many_passes() {
        for (reach, usual) in [(PassScope::Dense, 2), (PassScope::Joint, 4), (PassScope::Isolated, 1)] {
            let (model, config, batch) = (model(7), config(reach, usual), batch());
            let row = probe_row(&config, &model, None, &batch, 3).unwrap();
            let at: Vec<usize> = (0..SEQ_LEN).filter(|t| row.cells[*t].recycled).collect();
            assert_eq!(row.thoughts.iter().map(|thought| thought.position).collect::<Vec<_>>(), at);
            assert!(!at.is_empty());
            let max_passes = config.probe.passes.max(usual as usize);
            // By hand.
            let valid = model.valid();
            let tokens = TokenBatch::upload(&batch.tokens[..SEQ_LEN + 1], 1, SEQ_LEN, &valid.device());
            let positions = crate::recycle::placement::RecycledPositions { seq_len: SEQ_LEN, rows: vec![at] };
            let pass = probe_pass(&config.recycle, 1.0, RngKey { step: 3, ..RngKey::default() });
            let entropies = |passes: usize| -> Vec<f32> {
                let mut place = |_: &Tensor<1>| positions.clone();
                let probe = ForwardProbe::run(&valid, &tokens, pass, passes.max(1), Some(&mut place));
                let entropy = match passes {
                    0 => probe.plain.entropy,
                    _ => probe.score(flatten_rows(&probe.last_pass(Control::None).unwrap().0.hidden)).entropy,
                };
                entropy.try_into_vec_as().unwrap()
            };
            for thought in &row.thoughts {
                assert_eq!((thought.fed_by_pass.len(), thought.output_by_pass.len()), (max_passes + 1, max_passes + 1));
                for passes in 0..=max_passes {
                    let (entropies, t) = (entropies(passes), thought.position);
                    assert!(near(thought.fed_by_pass[passes].entropy, entropies[t - 1]), "{reach:?} {passes} at {t}");
                    assert!(near(thought.output_by_pass[passes].entropy, entropies[t]), "{reach:?} {passes} at {t}");
                }
                let (t, usual) = (thought.position, usual as usize);
                assert!(alike(&row.cells[t].top_recycled, &thought.output_by_pass[usual].top));
                assert!(alike(&row.cells[t].top_plain, &thought.output_by_pass[0].top));
                assert!(alike(&row.cells[t - 1].top_plain, &thought.fed_by_pass[0].top));
            }
            let choices = row.cells.iter().flat_map(|cell| &cell.top_plain);
            assert!(choices.clone().all(|choice| row.token_texts[&choice.id] == format!("{} ", choice.id)));
            assert_eq!(choices.count(), SEQ_LEN * TOP_TOKENS);
        }
    }

    #[test]
    fn a_run_without_recycling_has_no_thoughts() {
        let mut config = config(PassScope::Dense, 1);
        config.recycle.every = 0;
        let row = probe_row(&config, &model(7), None, &batch(), 3).unwrap();
        assert!(row.thoughts.is_empty() && row.cells.iter().all(|cell| cell.top_recycled.is_empty()));
        assert!(row.cells.iter().all(|cell| cell.top_plain.len() == TOP_TOKENS && cell.entropy_recycled.is_none()));
    }

    #[test]
    fn many_positions_are_thinned_evenly() {
        let all: Vec<usize> = (1..1000).collect();
        let some = pick_evenly(&all, MAX_THOUGHTS);
        assert_eq!((some.len(), some[0], some[63]), (64, 1, 999));
        assert!(some.windows(2).all(|pair| (15..=16).contains(&(pair[1] - pair[0]))), "{some:?}");
        assert_eq!(pick_evenly(&all[..64], MAX_THOUGHTS), &all[..64]);
    }
}
