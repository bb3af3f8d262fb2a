use super::*;
use crate::config::{self, EqualGroups, SwitchDecision, WorkDone};
use crate::data::{GraphTaskOptions, make_graph_task};
use crate::model::ModelShape;
use crate::model::accumulator::Timing;
use crate::train::step::learner::Learner;
use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

/// Questions of graphs, and a model that knows nothing.
struct Fixture {
    _dir: tempfile::TempDir,
    dataset: Dataset,
    config: Config,
    model: Transformer,
}

fn fixture(change: impl FnOnce(&mut config::Rl)) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let options = GraphTaskOptions {
        out: dir.path().join("graph"),
        seed: 0,
        train: 10,
        valid: 3,
        test: 0,
        nodes: 6,
        names: 6,
        hops: "2".parse().unwrap(),
        candidates: 2,
        extra_edges: 0.0,
        force: true,
    };
    make_graph_task(&options, &mut |_| ()).unwrap();
    let dataset = Dataset::open(&options.out).unwrap();
    let mut config = Config::default();
    config.objective.kind = ObjectiveKind::Rl;
    config.objective.separator = " ".into();
    (config.data.batch, config.data.seq_len, config.optim.weight_decay) = (5, 64, 0.1);
    config.rl.policy = "entropy:start=2.45,stop=2.4,least=1,most=2".into();
    (config.rl.prompts, config.rl.num_generations, config.rl.max_completion_length) = (2, 4, 4);
    // A reward that random rollouts differ in.
    (config.rl.price_latent, config.rl.switch_temperature) = (0.2, 0.1);
    change(&mut config.rl);
    let vocab = dataset.tokenizer().unwrap().with_markers().unwrap().vocab_size();
    let shape = config::Model { width: 16, layers: 2, heads: 2, tied: true, ..Default::default() };
    let model = Transformer::new(ModelShape::from_config(&shape, vocab, 64), 3, 0.2, &Device::flex().autodiff());
    Fixture { _dir: dir, dataset, config, model }
}

impl Fixture {
    fn objective(&self) -> RlObjective {
        RlObjective::open(&self.config, &self.dataset, ObjectiveStart::default()).unwrap()
    }

    /// Returns loss and gradients of an update, all parts together.
    fn update(&self, objective: &mut RlObjective, model: &Transformer) -> (StepRow, GradientsParams) {
        let mut batches = objective.next_batches(&self.config, model, 0).unwrap();
        let mut grads = GradientsParams::new();
        for index in 0..batches.count() {
            let found = batches.gradients(model, index, Timing::Off);
            crate::model::gradients::accumulate_gradients(model, &mut grads, found.grads);
        }
        (batches.row(1, Vec::new()), grads)
    }
}

/// Adds `by` times the gradients to all parameters.
struct Move<'a>(&'a GradientsParams, f64);

impl ModuleMapper for Move<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, _) = param.consume();
        let moved = match self.0.get::<D>(id) {
            Some(grad) => value.inner() + grad * self.1,
            None => value.inner(),
        };
        Param::initialized(id, Tensor::from_inner(moved).require_grad())
    }
}

struct SquareNorm<'a>(&'a GradientsParams, f64);

impl ModuleVisitor for SquareNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.0.get::<D>(param.id) {
            self.1 += f64::from(grad.square().sum().try_into_scalar::<f32>().unwrap());
        }
    }
}

fn weights(model: &Transformer) -> Vec<f32> {
    struct Read(Vec<f32>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().inner().try_into_vec_as::<f32>().unwrap());
        }
    }
    let mut read = Read(Vec::new());
    model.visit(&mut read);
    read.0
}

#[test]
fn updates_compute_what_the_rollouts_were_taken_with() {
    for (switch, dropout, latent_noise) in [
        (SwitchDecision::Threshold, 0.0, 0.0),
        (SwitchDecision::Learned, 0.0, 0.0),
        (SwitchDecision::Learned, 0.3, 0.5),
        (SwitchDecision::Drawn, 0.3, 0.0),
    ] {
        let fixture = fixture(|rl| {
            (rl.switch, rl.dropout, rl.latent_noise, rl.temperature) = (switch, dropout, latent_noise, 0.7);
        });
        let mut objective = fixture.objective();
        let (row, _) = fixture.update(&mut objective, &fixture.model);
        let gap = row.get(Metric::LogpDifferenceMax).unwrap();
        assert!(gap < 1e-5, "{switch:?}: {gap}");
        assert!(row.get(Metric::Latents).unwrap() > 0.0 && row.get(Metric::LatentsShare).unwrap() < 1.0);
        let iteration = objective.iteration.unwrap();
        assert!(iteration.trajectories.iter().any(|rollout| !rollout.latent_positions().is_empty()));
        // Other masks or other noise give other log-probabilities.
        let mut other = iteration.clone();
        other.settings.step += 1;
        let scored = |iteration| score_rollouts(&fixture.model.valid(), iteration, 0..8, switch).unwrap();
        assert_eq!(scored(&iteration) == scored(&other), dropout == 0.0 && latent_noise == 0.0);
    }
}

#[test]
fn gradients_are_those_of_central_differences() {
    for (switch, beta) in [(SwitchDecision::Threshold, 0.0), (SwitchDecision::Learned, 0.3)] {
        let fixture = fixture(|rl| {
            (rl.switch, rl.beta, rl.num_iterations, rl.latent_noise) = (switch, beta, 9, 0.2);
            (rl.epsilon, rl.epsilon_high) = (0.9, 9.0);
        });
        let mut objective = fixture.objective();
        let (_, first) = fixture.update(&mut objective, &fixture.model);
        objective.count_update();
        // Away from the policy of the rollouts, so that ratios and divergences are not trivial.
        let moved = fixture.model.clone().map(&mut Move(&first, -0.02));
        let (row, grads) = fixture.update(&mut objective, &moved);
        assert!(row.get(Metric::LogpDifferenceMax).is_none(), "only the first update of an iteration measures it");
        let mut norm = SquareNorm(&grads, 0.0);
        moved.visit(&mut norm);
        let mut loss = |by: f64| {
            let (row, _) = fixture.update(&mut objective, &moved.clone().map(&mut Move(&grads, by)));
            row.get(Metric::RlLoss).unwrap()
        };
        let by = 1e-2 / norm.1.sqrt();
        let slope = (loss(by) - loss(-by)) / (2.0 * by);
        assert!(norm.1 > 1e-4 && (slope / norm.1 - 1.0).abs() < 0.02, "{switch:?}: {slope} {}", norm.1);
    }
}

#[test]
fn equal_rewards_change_no_weight_and_no_moment() {
    for beta in [0.0, 0.1] {
        let mut fixture = fixture(|rl| (rl.price_latent, rl.reward_exact, rl.beta) = (0.0, 0.0, beta));
        let mut learner = Learner::new(fixture.model.clone(), &fixture.config.optim);
        let step = |fixture: &Fixture, objective: &mut RlObjective, learner: &mut Learner| {
            let model = learner.model.clone();
            let mut batches = objective.next_batches(&fixture.config, &model, learner.step).unwrap();
            let (row, error) = learner.update_on(&fixture.config, &WorkDone::default(), &mut *batches).unwrap();
            drop(batches);
            objective.count_update();
            assert!(error.is_none());
            row
        };
        let mut objective = fixture.objective();
        let before = weights(&learner.model);
        let row = step(&fixture, &mut objective, &mut learner);
        assert_eq!((row.get(Metric::FracRewardZeroStd), learner.step), (Some(1.0), 1));
        assert!(before == weights(&learner.model));
        // The first update that teaches something is the first one of a new optimizer.
        fixture.config.rl.price_latent = 0.2;
        let mut other = Learner::new(fixture.model.clone(), &fixture.config.optim);
        other.step = 1;
        let mut again = fixture.objective();
        again.position = objective.position.clone();
        let rows = [step(&fixture, &mut objective, &mut learner), step(&fixture, &mut again, &mut other)];
        assert_eq!(rows[0].get(Metric::GradNorm), rows[1].get(Metric::GradNorm));
        assert!(before != weights(&learner.model) && weights(&learner.model) == weights(&other.model));
    }
}

#[test]
fn dropped_groups_leave_the_denominators() {
    let losses = [EqualGroups::Keep, EqualGroups::Drop].map(|equal_groups| {
        let fixture = fixture(|rl| rl.equal_groups = equal_groups);
        let mut objective = fixture.objective();
        let iteration = objective.make_iteration(&fixture.config, &fixture.model, 0).unwrap();
        // The second group teaches nothing.
        let mut iteration = RlIteration { updates_done: 0, ..iteration };
        (4..8).for_each(|rollout| (iteration.advantages[rollout], iteration.is_equal[rollout]) = (0.0, true));
        (0..4).for_each(|rollout| iteration.is_equal[rollout] = false);
        iteration.advantages[..4].copy_from_slice(&[1.0, -0.5, -0.25, -0.25]);
        objective.iteration = Some(iteration);
        let (_, grads) = fixture.update(&mut objective, &fixture.model);
        let mut norm = SquareNorm(&grads, 0.0);
        fixture.model.visit(&mut norm);
        norm.1
    });
    assert!(losses[1] > 1.5 * losses[0], "{losses:?}");
}

#[test]
fn policies_that_replace_tokens_are_refused() {
    let fixture = fixture(|rl| rl.policy = "trend:dwell=2,at=own".into());
    let error =
        RlObjective::open(&fixture.config, &fixture.dataset, ObjectiveStart::default()).err().unwrap().to_string();
    assert!(error.contains("rl.policy") && error.contains("at=next"), "{error}");
    assert_eq!(check_policy(&fixture.config).unwrap_err().to_string(), error);
}
