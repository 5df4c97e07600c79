//! What a comparison of ways to hold experts will do, checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use headwise_engine::experts::ExpertPolicy;

use super::{ExpertsComparisonError, TinyMixture};

/// The policies of a comparison that names none.
pub const POLICIES: [&str; 4] =
    ["on_demand", "lru(capacity=0.25)", "next_gate(capacity=0.25)", "expertflow(capacity=0.25)"];

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct ExpertsComparison {
    /// Policies such as `lru(capacity=0.25)`; empty: [`POLICIES`].
    pub policies: Vec<String>,
    /// The folder of a model with mixtures; none trains a small one.
    pub model: Option<PathBuf>,
    /// The small one, if it is trained.
    pub tiny: TinyMixture,
    /// Texts of a batch; two batches take turns.
    pub batch: usize,
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens that are read after it, one at a time.
    pub tokens: usize,
    /// By which every load is slowed down.
    pub delay: Duration,
    /// Threads; 0 uses all processors.
    pub threads: usize,
    /// Of the small model.
    pub seed: u64,
}

impl Default for ExpertsComparison {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            model: None,
            tiny: TinyMixture::default(),
            batch: 4,
            prompt: 48,
            tokens: 48,
            delay: Duration::ZERO,
            threads: 0,
            seed: 0,
        }
    }
}

/// A checked comparison, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) comparison: ExpertsComparison,
    pub(super) policies: Vec<ExpertPolicy>,
}

impl ExpertsComparison {
    /// Checks what can be without the model.
    pub fn plan(&self) -> Result<Plan, ExpertsComparisonError> {
        let numbers = [("--batch", self.batch), ("--prompt", self.prompt), ("--tokens", self.tokens)];
        if let Some((option, _)) = numbers.into_iter().find(|&(_, number)| number == 0) {
            return Err(ExpertsComparisonError::Zero { option });
        }
        let given: Vec<&str> = self.policies.iter().map(String::as_str).collect();
        let policies = if given.is_empty() { &POLICIES[..] } else { &given };
        let read = |&text: &&str| {
            let policy: ExpertPolicy = headwise_spec::from_text(text)
                .map_err(|source| ExpertsComparisonError::Spec { policy: text.into(), source })?;
            policy.check()?;
            Ok(policy)
        };
        let policies = policies.iter().map(read).collect::<Result<_, ExpertsComparisonError>>()?;
        Ok(Plan { comparison: self.clone(), policies })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExpertsComparison { batch, tokens, delay, .. } = self.comparison;
        write!(
            f,
            "{} policies beside the whole model: two batches of {batch} texts, {tokens} tokens of each, loads {} ms slower than they are",
            self.policies.len(),
            delay.as_secs_f64() * 1e3
        )
    }
}
