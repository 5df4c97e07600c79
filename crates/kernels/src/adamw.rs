//! The AdamW step: Adam with a weight decay that does not pass through the moments. Loshchilov and Hutter 2019,
//! arXiv:1711.05101.
//!
//! With the gradient `g` and the number of the step `t`, from 1 on, for each number of a parameter:
//!
//! `m ← β₁ m + (1 - β₁) g`, `v ← β₂ v + (1 - β₂) g²`,
//! `w ← (1 - η λ) w - η / (1 - β₁ᵗ) · m / (√(v / (1 - β₂ᵗ)) + ε)`.

use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, Simd, dispatch, slices};

/// Values worth handing to a thread.
const PART: usize = 1 << 14;

/// The settings of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate `η`.
    pub learning_rate: f64,
    /// `β₁`, the share of the first moment that stays.
    pub beta_1: f64,
    /// `β₂`, the share of the second moment that stays.
    pub beta_2: f64,
    /// `ε`, beside the root.
    pub epsilon: f64,
    /// Weight decay `λ`.
    pub weight_decay: f64,
    /// Every gradient is multiplied by this first, as when gradients are clipped by their norm; otherwise 1.
    pub gradient_scale: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 1e-2, gradient_scale: 1.0 }
    }
}

/// A parameter with its gradient and its moments, all of the same length.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// The weights `w`.
    pub weight: &'a mut [f32],
    /// The gradient `g`.
    pub gradient: &'a [f32],
    /// The first moment `m`, zero before the first step.
    pub first: &'a mut [f32],
    /// The second moment `v`, zero before the first step.
    pub second: &'a mut [f32],
}

impl AdamW {
    /// Makes step number `step`, from 1 on, with all parameters in one parallel pass.
    ///
    /// # Panics
    /// If `step` is 0 or the slices of a parameter differ in length.
    pub fn step(&self, step: u64, parameters: Vec<Parameter<'_>>) {
        assert!(step > 0, "steps are numbered from 1");
        let numbers: usize = parameters.iter().map(|parameter| parameter.weight.len()).sum();
        let _span = profile::span("AdamW").work(|| Work::bytes(7 * size_of::<f32>() * numbers));
        let factors = self.factors(step);
        let mut parts: Vec<Parameter<'_>> = parameters.into_iter().flat_map(Parameter::parts).collect();
        parallel::pieces(&mut parts, 1, |_, part| {
            for Parameter { weight, gradient, first, second } in part {
                dispatch(Update { factors, part: Parameter { weight, gradient, first, second } });
            }
        });
    }

    /// What is the same for all numbers, rounded once.
    fn factors(&self, step: u64) -> Factors {
        // At that power nothing is left of any β that differs from 1 in f64.
        let power = |beta: f64| beta.powf(step as f64);
        Factors {
            gradient: self.gradient_scale as f32,
            beta_1: self.beta_1 as f32,
            new_1: (1.0 - self.beta_1) as f32,
            beta_2: self.beta_2 as f32,
            new_2: (1.0 - self.beta_2) as f32,
            root: (1.0 / (1.0 - power(self.beta_2)).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            keep: (1.0 - self.learning_rate * self.weight_decay) as f32,
            rate: (-self.learning_rate / (1.0 - power(self.beta_1))) as f32,
        }
    }
}

impl<'a> Parameter<'a> {
    /// The parameter in pieces.
    fn parts(self) -> impl Iterator<Item = Parameter<'a>> {
        let length = self.weight.len();
        let others = [self.gradient.len(), self.first.len(), self.second.len()];
        assert!(others == [length; 3], "a gradient and moments as long as the {length} weights, not {others:?}");
        let weights = self.weight.chunks_mut(PART).zip(self.gradient.chunks(PART));
        let moments = self.first.chunks_mut(PART).zip(self.second.chunks_mut(PART));
        weights.zip(moments).map(|((weight, gradient), (first, second))| Parameter { weight, gradient, first, second })
    }
}

/// The factors in the equations above.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    beta_1: f32,
    new_1: f32,
    beta_2: f32,
    new_2: f32,
    root: f32,
    epsilon: f32,
    keep: f32,
    rate: f32,
}

/// The step of a part.
struct Update<'a> {
    factors: Factors,
    part: Parameter<'a>,
}

impl Kernel for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { factors, part } = self;
        let [beta_1, new_1] = [s.splat(factors.beta_1), s.splat(factors.new_1)];
        let [beta_2, new_2] = [s.splat(factors.beta_2), s.splat(factors.new_2)];
        let [root, epsilon] = [s.splat(factors.root), s.splat(factors.epsilon)];
        let [gradient, keep, rate] = [s.splat(factors.gradient), s.splat(factors.keep), s.splat(factors.rate)];
        slices::update(
            s,
            [[part.gradient]],
            [part.weight, part.first, part.second],
            #[inline(always)]
            |[[g]], [weight, first, second]| {
                let g = s.mul(g, gradient);
                let first = s.fma(new_1, g, s.mul(beta_1, first));
                let second = s.fma(s.mul(new_2, g), g, s.mul(beta_2, second));
                let direction = s.div(first, s.fma(s.sqrt(second), root, epsilon));
                [s.fma(rate, direction, s.mul(keep, weight)), first, second]
            },
        );
    }
}

#[cfg(test)]
mod tests;
