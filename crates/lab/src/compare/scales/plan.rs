//! A comparison of policies of scales: checked, then run.

use std::fmt;
use std::time::Instant;

use headwise_engine::scales::ScalePolicy;
use headwise_models::next_scale::NextScaleSpec;
use headwise_tasks::ColouredShapes;
use headwise_train::next_scale::NextScaleTraining;

use super::{ScaleRow, ScalesError, Subject};
use crate::compare::Moment;

/// The policies that are compared if none is named.
const CACHES: [&str; 2] = ["scalekv", "uniform"];
/// The shares kept if none is named.
const KEEP: [f64; 2] = [0.25, 0.1];
/// The share of the time that training takes.
const TRAINING: f64 = 0.95;

/// What is to be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleComparison {
    /// Policies as text; `scalekv` and `uniform` if empty.
    pub caches: Vec<String>,
    /// Shares kept by policies that do not say; a quarter and a tenth if empty.
    pub keep: Vec<f64>,
    /// Width and height of the maps of all scales.
    pub scales: Vec<usize>,
    /// Steps of the transformer.
    pub steps: u64,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for ScaleComparison {
    fn default() -> Self {
        let scales = vec![1, 2, 4, 8];
        let steps = NextScaleTraining::micro(&scales, 0).steps;
        Self { caches: Vec::new(), keep: Vec::new(), scales, steps, seed: 0 }
    }
}

/// A checked comparison.
#[derive(Clone, Debug)]
pub struct Plan {
    policies: Vec<ScalePolicy>,
    training: NextScaleTraining,
}

/// What a policy drew.
#[derive(Clone, Debug, PartialEq)]
pub struct Strip {
    /// Canonical text of the policy, or `full`.
    pub policy: String,
    /// Red, green and blue of every pixel from 0 to 255, picture after picture, one for each class.
    pub pixels: Vec<f32>,
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// The full cache's row, then one for each policy.
    pub rows: Vec<ScaleRow>,
    /// What they drew by the likeliest codes, in the same order.
    pub strips: Vec<Strip>,
}

impl ScaleComparison {
    /// Checks everything.
    ///
    /// # Errors
    /// If a policy, a share or the scales make no sense.
    pub fn plan(&self) -> Result<Plan, ScalesError> {
        if self.steps == 0 {
            return Err(ScalesError::Zero { option: "--steps" });
        }
        if let Some(&share) = self.keep.iter().find(|share| !(**share > 0.0 && **share <= 1.0)) {
            return Err(ScalesError::Keep(share));
        }
        NextScaleSpec::micro(&self.scales, ColouredShapes::CLASSES).check().map_err(ScalesError::Scales)?;
        let keep = if self.keep.is_empty() { KEEP.to_vec() } else { self.keep.clone() };
        let caches: Vec<&str> = match &self.caches[..] {
            [] => CACHES.to_vec(),
            named => named.iter().map(String::as_str).collect(),
        };
        let mut policies: Vec<ScalePolicy> = Vec::new();
        for text in caches {
            let cache = || text.to_owned();
            let policy: ScalePolicy =
                headwise_spec::from_text(text).map_err(|source| ScalesError::Cache { cache: cache(), source })?;
            let each = if policy.says_budget() {
                vec![policy]
            } else {
                keep.iter().map(|&share| policy.clone().keeping(share)).collect()
            };
            for policy in each {
                policy.check().map_err(|source| ScalesError::Policy { cache: cache(), source })?;
                if !policies.contains(&policy) {
                    policies.push(policy);
                }
            }
        }
        let training = NextScaleTraining { steps: self.steps, ..NextScaleTraining::micro(&self.scales, self.seed) };
        Ok(Plan { policies, training })
    }
}

impl Plan {
    /// The policies, in the order in which they run.
    pub fn policies(&self) -> &[ScalePolicy] {
        &self.policies
    }

    /// Trains the generator and draws under every policy. `said` is told how far it is.
    ///
    /// # Errors
    /// If training diverges.
    pub fn run(&self, said: &mut dyn FnMut(&Moment<'_>)) -> Result<Compared, ScalesError> {
        let started = Instant::now();
        let model = self.training.run(&mut |moment| {
            let part = if moment.transformer { "the transformer learns" } else { "the autoencoder learns" };
            let doing = format!("{part}, loss {:.3}", moment.loss);
            // A step of the transformer takes longer, but not so much that the bar would lie.
            let done = TRAINING * moment.step as f64 / moment.steps as f64;
            said(&Moment::new(&doing, done, started.elapsed()));
        })?;
        let subject = Subject::new(model, self.training.seed)?;
        let full = subject.full();
        let strip = |row: &ScaleRow, pixels: &[f32]| Strip { policy: row.policy.clone(), pixels: pixels.to_vec() };
        let mut compared = Compared { strips: vec![strip(&full, &subject.likeliest().pixels)], rows: vec![full] };
        for (number, policy) in self.policies.iter().enumerate() {
            let text = headwise_spec::to_text(policy);
            let done = TRAINING + (1.0 - TRAINING) * number as f64 / self.policies.len() as f64;
            said(&Moment::new(&format!("drawing with {text}"), done, started.elapsed()));
            let (row, drawn) = subject.measure(policy).map_err(|source| ScalesError::Policy { cache: text, source })?;
            compared.strips.push(strip(&row, &drawn.pixels));
            compared.rows.push(row);
        }
        Ok(compared)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NextScaleTraining { spec, autoencoder_steps, steps, pictures, .. } = &self.training;
        let maps: Vec<String> = spec.scales.iter().map(|side| format!("{side} × {side}")).collect();
        writeln!(
            f,
            "a generator of {size} × {size} pixels learns {} coloured shapes: maps of {}, {} layers of {} channels,",
            spec.classes,
            maps.join(", "),
            spec.layers,
            spec.dim,
            size = spec.size,
        )?;
        writeln!(
            f,
            "{autoencoder_steps} steps of the autoencoder, {steps} of the transformer, {pictures} pictures each; it draws with"
        )?;
        let policies: Vec<String> = self.policies.iter().map(headwise_spec::to_text).collect();
        write!(f, "  full, {}", policies.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(caches: &[&str], keep: &[f64]) -> Result<Plan, ScalesError> {
        let caches = caches.iter().map(|&text| text.to_owned()).collect();
        ScaleComparison { caches, keep: keep.to_vec(), ..ScaleComparison::default() }.plan()
    }

    #[test]
    fn policies_that_do_not_say_take_every_share_and_none_runs_twice() {
        let names = |plan: Plan| plan.policies().iter().map(headwise_spec::to_text).collect::<Vec<_>>();
        let default = names(planned(&[], &[]).unwrap());
        assert_eq!(default, ["scalekv(keep=0.25)", "scalekv(keep=0.1)", "uniform(keep=0.25)", "uniform(keep=0.1)"]);
        let given = names(planned(&["scalekv(budget=4)", "uniform", "uniform(keep=0.5)"], &[0.5]).unwrap());
        assert_eq!(given, ["scalekv(budget=4)", "uniform(keep=0.5)"]);
        assert!(planned(&[], &[]).unwrap().to_string().contains("maps of 1 × 1, 2 × 2, 4 × 4, 8 × 8"));
    }

    #[test]
    fn mistakes_are_found_before_anything_runs() {
        let error = |caches: &[&str], keep: &[f64]| planned(caches, keep).unwrap_err().to_string();
        let unknown = error(&["scalekw"], &[]);
        assert!(unknown.contains("--cache scalekw") && unknown.contains("scalekv"), "{unknown}");
        assert!(error(&["uniform(keep=2)"], &[]).contains("keep=2 must be above 0"));
        assert!(error(&[], &[0.0]).contains("--keep 0"));
        let comparison = ScaleComparison { scales: vec![1, 5], ..ScaleComparison::default() };
        assert!(comparison.plan().unwrap_err().to_string().contains("--scales: pictures of 16 pixels"));
        let comparison = ScaleComparison { steps: 0, ..ScaleComparison::default() };
        assert!(comparison.plan().unwrap_err().to_string().contains("--steps is 0"));
    }
}
