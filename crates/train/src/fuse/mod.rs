//! FuseGPT: layers that go leave what they knew to their neighbours. Pei et al. 2024, arXiv:2411.14507.
//!
//! Round by round, the layer `f` that matters least goes. In the group of layers around it every matrix `W_t` of the others becomes
//! `W_t + B A + (C₁ C₂) ⊙ W_f` and every bias `b_t + c ⊙ b_f`. `W_t`, `W_f` and `b_f` stay as they are; `B`, `C₁` and `c` are zero at first,
//! so that learning begins where leaving `f` out ends. From what enters the group in the model as it is now, the group learns to give
//! what it gave with `f`. Then the sums become the weights: the model is as small and fast as one without `f`, and later rounds see the
//! weights as they have become. Layers of another type than `f` learn `B A` alone.
//!
//! The paper counts a group without `f`, its code and this one with it.

mod error;
mod group;
mod order;
#[cfg(test)]
mod tests;
mod tune;
mod weights;

use std::fmt;
use std::ops::Range;

use headwise_models::compress::{Calibration, Step, check_layers};
use headwise_models::decoder::Decoder;
use serde::{Deserialize, Serialize};

pub use error::FuseError;
pub use group::FusedGroup;
pub use order::Order;
pub use tune::Lesson;

use order::around;

headwise_spec::family! {
    /// How what layers knew moves into others.
    pub enum Fusion: "fusion" {
        fuse => Fuse,
    }
}

headwise_spec::method! {
    /// Leaves layers out, and lets their neighbours learn what those did.
    ///
    /// Layer by layer: W + B A + (C1 C2) * W_of_the_layer_that_goes for every matrix of the layers around it, trained for what the group
    /// gave before, and then folded into W. Needs a calibration text. FuseGPT, Pei et al. 2024, arXiv:2411.14507.
    pub struct Fuse {
        /// Share of the layers that go, rounded up.
        pub share: f64 = 0.25,
        /// These layers go, one after the other, instead of a share; layers count from 0 in the model as it was.
        pub layers: Option<Vec<usize>> = None,
        /// Which layer goes next: `macro` (the end of the model changes least), `block` (it changes its input least) or `random`.
        pub order: Order = Order::Macro,
        /// Windows of the calibration text by which layers are judged.
        pub judged: usize = 8,
        /// Layers that learn together, counting the one that goes.
        pub group: usize = 8,
        /// Rank of B A and of C1 C2; at most the smaller side of a matrix.
        pub rank: usize = 128,
        /// Times that a group reads the calibration text; with 0 layers go and nothing is learned.
        pub epochs: usize = 20,
        /// Windows in a step.
        pub batch: usize = 1,
        /// Learning rate of C1, C2 and the coefficients of biases, at the beginning of half a cosine; ten times as much for few steps.
        pub learning_rate: f64 = 1e-3,
        /// The same of A, B, biases and norms.
        pub slow_learning_rate: f64 = 9.65e-6,
        /// What a group learns to give: `group` (what it gives with the layer that goes, as published) or `model` (what the model as it was
        /// has there, which mends what earlier rounds broke as well).
        pub target: Aim = Aim::Group,
        /// Weight of the mean square error of the group's output.
        pub mse: f64 = 1.0,
        /// Weight of the divergence between the softmax of both outputs over the channels.
        pub kl: f64 = 0.1,
        /// Of what is drawn at random.
        pub seed: u64 = 0,
    }
}

/// What a group learns to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// What the layers of the group give with the layer that goes.
    #[default]
    Group,
    /// What the model as it was has there.
    Model,
}

/// What became of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// The layers that went, in their order, by their numbers in the model as it was.
    pub gone: Vec<usize>,
    /// How many layers there were.
    pub layers: usize,
    /// The loss of every group before and after learning; none if nothing was to be learned.
    pub losses: Vec<[f64; 2]>,
}

impl fmt::Display for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gone, layers, losses } = self;
        let names: Vec<String> = gone.iter().map(usize::to_string).collect();
        let names = if names.is_empty() { "none".into() } else { names.join(", ") };
        let done = if losses.is_empty() { "left out" } else { "fused into their neighbours" };
        write!(f, "{} of {layers} layers {done}: {names}", gone.len())?;
        if losses.is_empty() {
            return Ok(());
        }
        let [before, after] = [0, 1].map(|at| losses.iter().map(|loss| loss[at]).sum::<f64>() / losses.len() as f64);
        write!(f, "; mean loss of their groups {before:.4} before and {after:.4} after learning")
    }
}

impl Fuse {
    /// An error if the parameters make no method.
    pub fn check(&self) -> Result<(), FuseError> {
        let error = |message: String| Err(FuseError::Method(message));
        if !(0.0..1.0).contains(&self.share) {
            return error(format!("share={}: the share left out is at least 0 and below 1", self.share));
        }
        let counts = [("judged", self.judged, 1), ("group", self.group, 2), ("rank", self.rank, 1)];
        for (name, value, least) in counts.into_iter().chain([("batch", self.batch, 1)]) {
            if value < least {
                return error(format!("{name}={value}: it must be at least {least}"));
            }
        }
        let rates = [("learning_rate", self.learning_rate), ("slow_learning_rate", self.slow_learning_rate)];
        for (name, value) in rates.into_iter().chain([("mse", self.mse), ("kl", self.kl)]) {
            if !(value.is_finite() && value >= 0.0) {
                return error(format!("{name}={value}: it must be a finite number and not below 0"));
            }
        }
        if self.mse == 0.0 && self.kl == 0.0 {
            return error("mse=0 and kl=0: one of them must be above 0, else there is nothing to learn".into());
        }
        Ok(())
    }

    /// Leaves layers of `model`, which has trainable weights, out and fuses them into others. `progress` is told how far the work is.
    pub fn run(
        &self,
        model: &mut Decoder,
        calibration: &Calibration,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Fused, FuseError> {
        self.check()?;
        check_layers(model)?;
        let layers = model.blocks.len();
        let rounds = self.rounds(layers)?;
        let judged = calibration.first(self.judged);
        let mut work =
            Work::new(self, layers, rounds, [calibration, &judged].map(|text| text.windows().len()), progress);
        let original = (self.target == Aim::Model).then(|| model.clone());
        let mut numbers: Vec<usize> = (0..layers).collect();
        let mut fused = Fused { gone: Vec::new(), layers, losses: Vec::new() };
        for round in 0..rounds {
            let left = numbers.len();
            let named = self.layers.as_ref().and_then(|names| names.get(round));
            let gone = match named.and_then(|name| numbers.iter().position(|number| number == name)) {
                Some(gone) => gone,
                None => self.order.next(model, &judged, self.seed, &mut || work.judged(left)),
            };
            if self.epochs > 0 {
                let diverged = |loss| FuseError::Diverged { layer: numbers[gone], loss, rate: self.learning_rate };
                let group = around(gone, self.group, left);
                let mut lesson = Lesson::of(model, calibration, group.clone());
                if let Some(original) = &original {
                    // Layers that went between the group and what is behind it are its to make up for.
                    let end = numbers.get(group.end).copied().unwrap_or(layers);
                    let text = calibration.start(original);
                    let through = |hidden, layer| text.layer(original, layer, hidden);
                    lesson.target = (0..end).fold(text.hidden.clone(), through);
                }
                work.read();
                fused.losses.push(self.learn(model, &lesson, (group, gone), &mut work, &diverged)?);
            }
            let kept: Vec<usize> = (0..left).filter(|&layer| layer != gone).collect();
            model.keep_layers(&kept);
            fused.gone.push(numbers.remove(gone));
        }
        Ok(fused)
    }

    /// How many layers of so many go.
    fn rounds(&self, layers: usize) -> Result<usize, FuseError> {
        let Some(names) = &self.layers else {
            // A share of a whole number of layers must not become one more by rounding.
            return Ok(((layers as f64 * self.share - 1e-9).ceil().max(0.0) as usize).min(layers - 1));
        };
        let wrong = |at: usize| names[at] >= layers || names[..at].contains(&names[at]) || at + 1 >= layers;
        let wrong = (0..names.len()).find(|&at| wrong(at));
        wrong.map_or(Ok(names.len()), |at| Err(FuseError::Layer { layer: names[at], last: layers - 1 }))
    }

    /// Lets the layers `group` learn what they lose with layer `gone`; the loss before and after.
    fn learn(
        &self,
        model: &mut Decoder,
        lesson: &Lesson,
        (group, gone): (Range<usize>, usize),
        work: &mut Work<'_>,
        diverged: &dyn Fn(f64) -> FuseError,
    ) -> Result<[f64; 2], FuseError> {
        let others = || group.clone().filter(|&layer| layer != gone);
        let measure = |model: &Decoder| {
            let text = &lesson.text;
            let found = others().fold(text.hidden.clone(), |hidden, layer| text.layer(model, layer, hidden));
            let loss = lesson.loss(self, found);
            if loss.is_finite() { Ok(loss) } else { Err(diverged(loss)) }
        };
        let before = measure(model)?;
        let fused = FusedGroup::new(model, group.clone(), gone, self.rank, self.seed)?;
        let fused = lesson.teach(self, fused, &mut |windows| work.learned(windows)).map_err(diverged)?;
        for (layer, block) in others().zip(fused.folded()) {
            model.blocks[layer] = block;
        }
        Ok([before, measure(model)?])
    }
}

/// How much of the work is done, counted in windows that pass a layer.
struct Work<'a> {
    step: Step,
    /// What learning adds for every window: there and back through the group, and its weights as often.
    learned: usize,
    /// What every window of the calibration text costs before learning.
    read: usize,
    judged_windows: usize,
    macro_influence: bool,
    tell: &'a mut dyn FnMut(Step),
}

impl<'a> Work<'a> {
    fn new(
        fuse: &Fuse,
        layers: usize,
        rounds: usize,
        [windows, judged_windows]: [usize; 2],
        tell: &'a mut dyn FnMut(Step),
    ) -> Self {
        let learned = 6 * (fuse.group.min(layers) - 1);
        let read = layers * windows * if fuse.target == Aim::Model { 2 } else { 1 };
        let macro_influence = fuse.order == Order::Macro;
        let mut work = Self { step: Step { done: 0, parts: 0 }, learned, read, judged_windows, macro_influence, tell };
        let judged = match (&fuse.layers, fuse.order) {
            (Some(_), _) | (None, Order::Random) => 0,
            _ => (0..rounds).map(|round| (layers - round) * work.layer(layers - round)).sum(),
        };
        let learning = if fuse.epochs == 0 { 0 } else { work.read + fuse.epochs * windows * learned };
        work.step.parts = judged + rounds * learning;
        (work.tell)(work.step);
        work
    }

    /// What judging a layer of so many costs.
    fn layer(&self, layers: usize) -> usize {
        self.judged_windows * if self.macro_influence { layers.div_ceil(2) } else { 1 }
    }

    fn add(&mut self, parts: usize) {
        self.step.done += parts;
        (self.tell)(self.step);
    }

    fn judged(&mut self, layers: usize) {
        self.add(self.layer(layers));
    }

    fn read(&mut self) {
        self.add(self.read);
    }

    fn learned(&mut self, windows: usize) {
        self.add(windows * self.learned);
    }
}
