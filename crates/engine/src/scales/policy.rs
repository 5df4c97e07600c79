//! The family of policies of scales, and what is wrong with a policy that cannot run.

use headwise_models::next_scale::{Choice, Drawing, NextScale, NextScaleError, NextScaleSpec};

use super::budgets::{Division, Rule};
use super::plan::ScalePlan;
use super::select::{Pool, Score, Selection};
use super::selectivity::{Calibration, Form, drafters};

headwise_spec::family! {
    /// What stays of the scales so far while a picture is drawn.
    pub enum ScalePolicy: "scales" {
        scalekv => ScaleKv,
        uniform => Uniform,
    }
}

headwise_spec::method! {
    /// Many slots for layers that look everywhere, few for the others, scale by scale.
    ///
    /// For generators that draw maps of growing size. Drafters, by the attention selectivity index that a few drawn pictures give, keep
    /// nearly everything; refiners share the rest of the same total. The kept slots of a head are those that a grid of tokens of the last
    /// map looks at, and that grid itself. Nothing goes while the cache holds no more than the budget.
    /// Li et al. 2025 (ScaleKV), arXiv:2505.19602.
    pub struct ScaleKv {
        /// Slots of each head, the mean over the layers.
        pub budget: Option<usize> = None,
        /// The same as a share of what a full cache holds when the last scale is entered.
        pub keep: Option<f64> = None,
        /// How slots are divided: `released` as in the published tables, `delta` as in the paper.
        pub rule: Rule = Rule::Released,
        /// The share of the budget that a refiner keeps at least, by `released`.
        pub least: f64 = 0.3077,
        /// The share of the budget that refiners have at the first scale that is compressed, by `delta`.
        pub first: f64 = 0.923,
        /// The share of the budget that they lose with every further scale, by `delta`.
        pub delta: f64 = 0.1077,
        /// Pairs of layer and scale that are drafters; a sixteenth if not given, at least one.
        pub drafters: Option<usize> = None,
        /// Slots of the history that count as few in the index; a tenth if not given, at most 64.
        pub top: Option<usize> = None,
        /// What the index does with the attention on those: `ratio` of what falls on the history, or `product` without dividing.
        pub index: Form = Form::Ratio,
        /// Observing tokens stand on a grid of at most so many rows and columns, which takes no more than half of a budget.
        pub grid: usize = 4,
        /// Width of the pool over neighbouring slots; odd.
        pub kernel: usize = 5,
        /// What a slot has of its neighbours: `max` or `average`.
        pub pool: Pool = Pool::Max,
        /// What an observing token gives a slot: its weight by `softmax`, or `logits` as the released scripts do.
        pub score: Score = Score::Softmax,
    }
}

headwise_spec::method! {
    /// The same number of slots for every layer: what `scalekv` is compared with.
    ///
    /// Slots are chosen as `scalekv` chooses them.
    pub struct Uniform {
        /// Slots of each head.
        pub budget: Option<usize> = None,
        /// The same as a share of what a full cache holds when the last scale is entered.
        pub keep: Option<f64> = None,
        /// Observing tokens stand on a grid of at most so many rows and columns, which takes no more than half of a budget.
        pub grid: usize = 4,
        /// Width of the pool over neighbouring slots; odd.
        pub kernel: usize = 5,
        /// What a slot has of its neighbours: `max` or `average`.
        pub pool: Pool = Pool::Max,
        /// What an observing token gives a slot: its weight by `softmax`, or `logits`.
        pub score: Score = Score::Softmax,
    }
}

/// Why a policy cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScalePolicyError {
    /// Not exactly one of `budget` and `keep`.
    #[error("`{policy}` takes either `budget` (slots of each head) or `keep` (share of the history), and {given}")]
    Budget {
        /// The policy.
        policy: String,
        /// What is there instead.
        given: &'static str,
    },
    /// A parameter is out of range.
    #[error("`{policy}`: {parameter} must be {right}")]
    Parameter {
        /// The policy.
        policy: String,
        /// The parameter and its value.
        parameter: String,
        /// What it can be.
        right: &'static str,
    },
    /// The model refuses.
    #[error(transparent)]
    Model(#[from] NextScaleError),
}

/// What every policy has.
struct Shared {
    budget: Option<usize>,
    keep: Option<f64>,
    selection: Selection,
}

impl ScalePolicy {
    fn shared(&self) -> Shared {
        match self {
            Self::ScaleKv(ScaleKv { budget, keep, score, pool, kernel, grid, .. })
            | Self::Uniform(Uniform { budget, keep, score, pool, kernel, grid }) => {
                let selection = Selection { score: *score, pool: *pool, kernel: *kernel, grid: *grid };
                Shared { budget: *budget, keep: *keep, selection }
            }
        }
    }

    /// The policy with the share `keep` where it says neither budget nor share.
    pub fn keeping(mut self, share: f64) -> Self {
        let (Self::ScaleKv(ScaleKv { budget, keep, .. }) | Self::Uniform(Uniform { budget, keep, .. })) = &mut self;
        if budget.is_none() && keep.is_none() {
            *keep = Some(share);
        }
        self
    }

    /// Whether it says how much it keeps.
    pub fn says_budget(&self) -> bool {
        let Shared { budget, keep, .. } = self.shared();
        budget.is_some() || keep.is_some()
    }

    /// Whether all parameters are in their ranges.
    pub fn check(&self) -> Result<(), ScalePolicyError> {
        let policy = || headwise_spec::to_text(self);
        let wrong = |parameter: String, right| Err(ScalePolicyError::Parameter { policy: policy(), parameter, right });
        let Shared { budget, keep, selection } = self.shared();
        match (budget, keep) {
            (Some(_), Some(_)) => Err(ScalePolicyError::Budget { policy: policy(), given: "both are given" })?,
            (None, None) => Err(ScalePolicyError::Budget { policy: policy(), given: "neither is given" })?,
            (Some(0), _) => wrong("budget=0".into(), "at least 1")?,
            (_, Some(share)) if !(share > 0.0 && share <= 1.0) => {
                wrong(format!("keep={share}"), "above 0 and at most 1")?;
            }
            _ => {}
        }
        if selection.grid == 0 {
            wrong("grid=0".into(), "at least 1")?;
        }
        if selection.kernel.is_multiple_of(2) {
            wrong(format!("kernel={}", selection.kernel), "odd")?;
        }
        let Self::ScaleKv(scalekv) = self else { return Ok(()) };
        let shares = [("least", scalekv.least), ("first", scalekv.first), ("delta", scalekv.delta)];
        if let Some((name, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            wrong(format!("{name}={share}"), "from 0 to 1")?;
        }
        if scalekv.top == Some(0) {
            wrong("top=0".into(), "at least 1")?;
        }
        Ok(())
    }

    /// Slots of each head, the mean over the layers, in a model of `spec`.
    pub fn budget(&self, spec: &NextScaleSpec) -> usize {
        let Shared { budget, keep, .. } = self.shared();
        let whole = spec.history(spec.scales.len() - 1);
        budget.unwrap_or_else(|| ((keep.unwrap_or(1.0) * whole as f64).round() as usize).max(1))
    }

    /// The plan for `model`, whose pictures `calibration` are drawn to see how its layers attend.
    ///
    /// # Errors
    /// If a parameter is out of its range, or the model cannot draw `calibration`.
    pub fn prepare(&self, model: &NextScale, calibration: &Drawing) -> Result<ScalePlan, ScalePolicyError> {
        self.check()?;
        let indices = match self {
            Self::ScaleKv(scalekv) => {
                let mut measured = Calibration::new(scalekv.top);
                model.draw(calibration, &mut measured)?;
                measured.indices(scalekv.index)
            }
            Self::Uniform(_) => Vec::new(),
        };
        self.plan(model.spec(), &indices)
    }

    /// The plan for a model of `spec` whose layers have the selectivity `indices`, by scale, then layer; `uniform` needs none.
    ///
    /// # Errors
    /// If a parameter is out of its range.
    pub fn plan(&self, spec: &NextScaleSpec, indices: &[Vec<f64>]) -> Result<ScalePlan, ScalePolicyError> {
        self.check()?;
        let uniform = self.budget(spec);
        let compressed: Vec<usize> = (1..spec.scales.len()).filter(|&scale| spec.history(scale) > uniform).collect();
        let mut slots = vec![None; spec.scales.len()];
        let mut held = vec![0; spec.layers];
        match self {
            Self::Uniform(_) => compressed.iter().for_each(|&scale| slots[scale] = Some(vec![uniform; spec.layers])),
            Self::ScaleKv(scalekv) => {
                let pairs = compressed.len() * spec.layers;
                let count = scalekv.drafters.unwrap_or_else(|| (pairs / 16).max(1)).min(pairs);
                let drafts = drafters(indices, &compressed, count);
                let mut number = 0;
                for (scale, slots) in slots.iter_mut().enumerate().skip(1) {
                    held.iter_mut().for_each(|held| *held += spec.scales[scale - 1].pow(2));
                    if !compressed.contains(&scale) {
                        continue;
                    }
                    let of_drafters =
                        held.iter().zip(&drafts[scale]).filter(|(_, drafts)| **drafts).map(|(&held, _)| held);
                    let (drafters, available) = (of_drafters.clone().count(), of_drafters.min().unwrap_or(uniform));
                    let division = Division { uniform, available, layers: spec.layers, drafters };
                    let divided = scalekv.divide(&division, number);
                    let of = |&drafts: &bool| if drafts { divided.drafter } else { divided.refiner };
                    let layers: Vec<usize> = drafts[scale].iter().map(of).collect();
                    held.iter_mut().zip(&layers).for_each(|(held, &slots)| *held = slots.min(*held));
                    *slots = Some(layers);
                    number += 1;
                }
            }
        }
        Ok(ScalePlan::new(slots, self.shared().selection))
    }

    /// How pictures are drawn from which a policy learns how layers attend: ten, or one of each class if there are fewer.
    pub fn calibration(classes: usize, seed: u64) -> Drawing {
        let classes = (0..classes).cycle().step_by((classes / 10).max(1)).take(classes.min(10)).collect();
        Drawing { classes, guidance: 0.0, choice: Choice::DRAW, seed }
    }
}

impl ScaleKv {
    /// The slots for compressed scale `number`.
    fn divide(&self, division: &Division, number: usize) -> super::budgets::Slots {
        let uniform = division.uniform as f64;
        match self.rule {
            Rule::Released => division.released((self.least * uniform).ceil() as usize),
            Rule::Delta => {
                let share = self.first - self.delta * number as f64;
                division.delta(((share * uniform).round() as usize).max(1))
            }
        }
    }
}
