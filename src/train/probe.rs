//! Owns: looking at one row of a batch: its tokens, entropies, nll and likeliest next tokens, and what the states at its
//! recycled positions say, pass by pass.
//! Must not know: who looks at it.
//! Invariant: a look changes nothing that is trained, and waits for the device once (and once more where positions are
//! placed by entropy).

use super::TrainError;
use super::look::{Look, pass};
use super::read::Readback;
use super::step::{placer, upload};
use crate::config::{Config, Control, Recycle};
use crate::data::{Batch, Codec};
use crate::message::{Choice, Decoded, TOP, Thought, TokenCell, TokenRow};
use crate::model::{Transformer, head, index, rows};
use crate::recycle::passes::{self, Pass, Place};
use crate::rng::Draw;
use burn::module::Module;
use burn::tensor::Tensor;

/// Most recycled positions of a row whose states are followed.
const THOUGHTS: usize = 64;

/// Looks at the first row of `batch`, `step` updates after the start. The row is recycled as the config says for that
/// step, or, while the schedule has not begun, as it will be at its height.
pub(super) fn look(
    config: &Config,
    model: &Transformer,
    codec: Option<&Codec>,
    batch: &Batch,
    step: u64,
) -> Result<TokenRow, TrainError> {
    let batch = first_row(batch);
    let model = model.valid();
    let recycle = &config.recycle;
    let vocab_size = model.shape().vocab_size;
    let wanted = match recycle.wanted_at(vocab_size, step) {
        now if now.some() => now,
        _ => recycle.wanted_at_most(vocab_size),
    };
    let tokens = upload(&batch, &model.device());
    let draw = Draw { seed: config.run.seed, step, ..Draw::default() };
    let mut place = placer(&batch, recycle, wanted, draw);
    let place = (recycle.every > 0 && wanted.some()).then_some::<Place>(&mut place);
    // One pass is the plain one: the others are followed below.
    let look = Look::at(&model, &tokens, pass(recycle, recycle.scale.at(step), draw), 1, place);
    let followed = follow(&look, recycle, config.probe.passes);
    let mut row = TokenRow { step, vocab_size, ..said(&look, followed.as_ref(), &batch)? };
    let text = |id: u32| text(codec, id);
    row.cells.iter_mut().for_each(|cell| cell.text = text(cell.id));
    row.spell(text);
    Ok(row)
}

/// The states of a row, pass by pass.
struct Followed {
    /// At all positions after the last pass as the run makes it, `[T, D]`.
    last: Tensor<2>,
    /// Positions whose states are followed.
    at: Vec<usize>,
    /// After pass 0, 1, …: the states before each of these positions, then those at each, `[2·N, D]`.
    passes: Vec<Tensor<2>>,
    /// Which positions are recycled.
    mask: Vec<bool>,
}

/// Follows the states through as many passes as the run makes, or `least`; none where nothing is recycled. They are fed to
/// each pass themselves, whatever a control puts in their place.
fn follow(look: &Look<'_>, recycle: &Recycle, least: usize) -> Option<Followed> {
    let (positions, plain) = look.recycled.as_ref()?;
    let usual = recycle.passes.usual();
    let at = evenly(&positions.rows[0], THOUGHTS);
    let both: Vec<usize> = at.iter().map(|t| t - 1).chain(at.iter().copied()).collect();
    let there = index(&both, &look.model.device());
    let mut states = plain.clone();
    let mut passes = vec![rows(&states.hidden).select(0, there.clone())];
    let mut last = rows(&states.hidden);
    let again = |states, control| {
        passes::recycled(look.model, look.tokens, states, positions, &Pass { control, ..look.pass }).0
    };
    for pass in 1..=usual.max(least) {
        let after = again(states.clone(), Control::None);
        if pass == usual {
            last = match recycle.control {
                Control::None => rows(&after.hidden),
                control => rows(&again(states, control).hidden),
            };
        }
        states = after;
        passes.push(rows(&states.hidden).select(0, there.clone()));
    }
    Some(Followed { last, at, passes, mask: positions.mask() })
}

/// READBACK: all that is read of a look, at once; but for texts.
fn said(look: &Look<'_>, followed: Option<&Followed>, batch: &Batch) -> Result<TokenRow, TrainError> {
    let mut hidden = vec![look.hidden.clone()];
    if let Some(followed) = followed {
        hidden.push(followed.last.clone());
        hidden.extend(followed.passes.iter().cloned());
    }
    let likely = head::top(look.model, Tensor::cat(hidden, 0), TOP);
    let mut readback = Readback::default();
    readback.add(&look.plain.nll);
    readback.add(&likely.entropy);
    readback.add_ids(&likely.ids);
    readback.add(&likely.probs);
    let read = readback.now()?;
    let all = decoded(&read[1], &read[2], &read[3]);
    let (plain, rest) = all.split_at(batch.seq_len);
    let (after, rest) = rest.split_at(followed.map_or(0, |_| batch.seq_len));
    let cell = |t: usize| TokenCell {
        id: batch.tokens[t] as u32,
        text: String::new(),
        doc_start: batch.doc_start[t],
        entropy_plain: plain[t].entropy,
        entropy_recycled: after.get(t).map(|after| after.entropy),
        nll_plain: read[0][t],
        recycled: followed.is_some_and(|followed| followed.mask[t]),
        top_plain: plain[t].top.clone(),
        top_recycled: after.get(t).map_or_else(Vec::new, |after| after.top.clone()),
    };
    let thoughts = followed.map_or_else(Vec::new, |followed| thoughts(&followed.at, rest));
    Ok(TokenRow { cells: (0..batch.seq_len).map(cell).collect(), thoughts, ..TokenRow::default() })
}

/// `decoded` holds, pass by pass, what the states before each of the positions `at` say, then those at each.
fn thoughts(at: &[usize], decoded: &[Decoded]) -> Vec<Thought> {
    let n = at.len();
    let thought = |(which, position): (usize, &usize)| Thought {
        position: *position,
        fed: decoded.chunks(2 * n).map(|pass| pass[which].clone()).collect(),
        out: decoded.chunks(2 * n).map(|pass| pass[n + which].clone()).collect(),
    };
    at.iter().enumerate().map(thought).collect()
}

/// What was read of so many distributions.
fn decoded(entropies: &[f32], ids: &[f32], probs: &[f32]) -> Vec<Decoded> {
    let width = ids.len() / entropies.len().max(1);
    let one = |(at, entropy): (usize, &f32)| {
        let own = at * width..(at + 1) * width;
        let choice = |(id, prob): (&f32, &f32)| Choice { id: *id as u32, prob: *prob };
        Decoded { entropy: *entropy, top: ids[own.clone()].iter().zip(&probs[own]).map(choice).collect() }
    };
    entropies.iter().enumerate().map(one).collect()
}

/// At most `most` of `positions`, first and last among them.
fn evenly(positions: &[usize], most: usize) -> Vec<usize> {
    match positions.len() {
        count if count <= most => positions.to_vec(),
        count => (0..most).map(|n| positions[n * (count - 1) / (most - 1)]).collect(),
    }
}

/// What ids say; control characters escaped, so that it is one line and does nothing to a terminal.
pub(super) fn words(codec: Option<&Codec>, ids: &[u32]) -> String {
    let Some(codec) = codec else { return ids.iter().map(|id| text(None, *id)).collect() };
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    codec.decode(ids).chars().map(escape).collect()
}

fn text(codec: Option<&Codec>, id: u32) -> String {
    codec.map_or_else(|| format!("{id} "), |codec| codec.piece(id))
}

fn first_row(batch: &Batch) -> Batch {
    let width = batch.seq_len + 1;
    Batch {
        batch: 1,
        tokens: batch.tokens[..width].to_vec(),
        doc_start: batch.doc_start[..width].to_vec(),
        ..batch.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mixture, Reach};
    use crate::data::Position;
    use crate::model::Tokens;
    use crate::train::tests::{SEQ_LEN, model};

    fn batch() -> Batch {
        let tokens = (0..2 * (SEQ_LEN as i32 + 1)).map(|at| at * 7 % 13).collect();
        Batch {
            batch: 2,
            seq_len: SEQ_LEN,
            tokens,
            doc_start: (0..2 * (SEQ_LEN + 1)).map(|at| at == 0).collect(),
            after: Position::default(),
            epoch: 0,
        }
    }

    fn config(reach: Reach, usual: u32) -> Config {
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

    /// But for the last digits, which hang on where in a block a row stands.
    fn alike(a: &[Choice], b: &[Choice]) -> bool {
        a.len() == TOP && a.iter().zip(b).all(|(a, b)| a.id == b.id && near(a.prob, b.prob))
    }

    #[test]
    fn a_thought_is_what_a_look_with_as_many_passes_says() {
        for (reach, usual) in [(Reach::Dense, 2), (Reach::Joint, 4), (Reach::Isolated, 1)] {
            let (model, config, batch) = (model(7), config(reach, usual), batch());
            let row = look(&config, &model, None, &batch, 3).unwrap();
            let at: Vec<usize> = (0..SEQ_LEN).filter(|t| row.cells[*t].recycled).collect();
            assert_eq!(row.thoughts.iter().map(|thought| thought.position).collect::<Vec<_>>(), at);
            assert!(!at.is_empty());
            let most = config.probe.passes.max(usual as usize);
            // By hand.
            let valid = model.valid();
            let tokens = Tokens::upload(&batch.tokens[..SEQ_LEN + 1], 1, SEQ_LEN, &valid.device());
            let positions = crate::recycle::placement::Positions { seq_len: SEQ_LEN, rows: vec![at] };
            let pass = pass(&config.recycle, 1.0, Draw { step: 3, ..Draw::default() });
            let said = |passes: usize| -> Vec<f32> {
                let mut place = |_: &Tensor<1>| positions.clone();
                let look = Look::at(&valid, &tokens, pass, passes.max(1), Some(&mut place));
                let entropy = match passes {
                    0 => look.plain.entropy,
                    _ => look.said(rows(&look.last(Control::None).unwrap().0.hidden)).entropy,
                };
                entropy.try_into_vec_as().unwrap()
            };
            for thought in &row.thoughts {
                assert_eq!((thought.fed.len(), thought.out.len()), (most + 1, most + 1));
                for passes in 0..=most {
                    let (said, t) = (said(passes), thought.position);
                    assert!(near(thought.fed[passes].entropy, said[t - 1]), "{reach:?} {passes} at {t}");
                    assert!(near(thought.out[passes].entropy, said[t]), "{reach:?} {passes} at {t}");
                }
                let (t, usual) = (thought.position, usual as usize);
                assert!(alike(&row.cells[t].top_recycled, &thought.out[usual].top));
                assert!(alike(&row.cells[t].top_plain, &thought.out[0].top));
                assert!(alike(&row.cells[t - 1].top_plain, &thought.fed[0].top));
            }
            let choices = row.cells.iter().flat_map(|cell| &cell.top_plain);
            assert!(choices.clone().all(|choice| row.words[&choice.id] == format!("{} ", choice.id)));
            assert_eq!(choices.count(), SEQ_LEN * TOP);
        }
    }

    #[test]
    fn a_run_without_recycling_has_no_thoughts() {
        let mut config = config(Reach::Dense, 1);
        config.recycle.every = 0;
        let row = look(&config, &model(7), None, &batch(), 3).unwrap();
        assert!(row.thoughts.is_empty() && row.cells.iter().all(|cell| cell.top_recycled.is_empty()));
        assert!(row.cells.iter().all(|cell| cell.top_plain.len() == TOP && cell.entropy_recycled.is_none()));
    }

    #[test]
    fn of_many_positions_some_are_followed_evenly() {
        let all: Vec<usize> = (1..1000).collect();
        let some = evenly(&all, THOUGHTS);
        assert_eq!((some.len(), some[0], some[63]), (64, 1, 999));
        assert!(some.windows(2).all(|pair| (15..=16).contains(&(pair[1] - pair[0]))), "{some:?}");
        assert_eq!(evenly(&all[..64], THOUGHTS), &all[..64]);
    }
}
