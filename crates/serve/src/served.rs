//! What requests can ask for by name: a model that the server has, or one with an adapter.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headwise_engine::cache::CachePolicy;
use headwise_engine::constrain::{ConstraintError, ConstraintFactory};
use headwise_engine::schedule::ScheduleLimits;
use headwise_engine::{Adapter, NamedAdapter, TextModel, TokenTexts};
use tokio::sync::Semaphore;

use crate::Options;
use crate::metrics::Times;
use crate::names::Names;
use crate::worker::Worker;

/// Most answers that are written in fillings at the same time.
const MOST_FILLINGS: usize = 64;

/// A model on a thread of its own, and what requests for it need.
///
/// A model with an adapter is served under a name of its own and shares everything else with the model, its thread included: their texts share forwards.
#[derive(Clone)]
pub struct Served {
    /// The model.
    pub model: Arc<TextModel>,
    /// What changes its projections for requests that ask for this name, if anything does.
    pub adapter: Option<Arc<Adapter>>,
    /// The thread that runs it.
    pub worker: Arc<Worker>,
    /// The cache policy of requests that name none.
    pub policy: CachePolicy,
    /// Whether what a request names and nobody knows is left out instead of refused.
    pub lenient: bool,
    /// Most tokens of an answer; as many as the context holds if none.
    pub answer_tokens: Option<usize>,
    /// How long an answer may take; as long as it does if none.
    pub answer_time: Option<Duration>,
    /// What it may take on: its share of the memory of the server.
    pub schedule: ScheduleLimits,
    /// How long its requests took.
    pub times: Times,
    /// Names of answers.
    pub names: Arc<Names>,
    /// Places for answers that are written in fillings, each of which keeps a thread.
    pub fillings: Arc<Semaphore>,
    name: String,
    constraints: Arc<OnceLock<Result<ConstraintFactory, ConstraintError>>>,
    token_texts: Arc<OnceLock<Arc<TokenTexts>>>,
}

impl Served {
    /// Starts the thread of `model`, which may take `schedule`; `prompts` is its directory of earlier prompts.
    pub(crate) fn start(
        model: TextModel,
        options: &Options,
        schedule: ScheduleLimits,
        prompts: Option<PathBuf>,
        times: Times,
        names: Arc<Names>,
    ) -> std::io::Result<Self> {
        let model = Arc::new(model);
        let worker = Arc::new(Worker::start(model.clone(), schedule, prompts)?);
        let policy = options.policy.clone();
        let (name, constraints, token_texts) = (model.name.clone(), Arc::default(), Arc::default());
        let fillings = Arc::new(Semaphore::new(schedule.texts.min(MOST_FILLINGS)));
        let (lenient, answer_tokens, answer_time) = (options.lenient, options.answer_tokens, options.answer_time);
        Ok(Self {
            model,
            adapter: None,
            worker,
            policy,
            lenient,
            answer_tokens,
            answer_time,
            schedule,
            times,
            names,
            fillings,
            name,
            constraints,
            token_texts,
        })
    }

    /// The same model with `named`.
    pub(crate) fn adapted(&self, named: &NamedAdapter) -> Self {
        Self { name: named.name.clone(), adapter: Some(named.adapter.clone()), ..self.clone() }
    }

    /// The name that requests ask for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the model, if this is one with an adapter.
    pub fn parent(&self) -> Option<&str> {
        self.adapter.as_ref().map(|_| self.model.name.as_str())
    }

    /// What holds answers to a form; made when first asked for.
    pub fn constraints(&self) -> Result<&ConstraintFactory, ConstraintError> {
        let made = self.constraints.get_or_init(|| ConstraintFactory::new(&self.model.tokenizer));
        made.as_ref().map_err(Clone::clone)
    }

    /// What every token says; made when first asked for.
    pub fn token_texts(&self) -> Arc<TokenTexts> {
        self.token_texts.get_or_init(|| Arc::new(TokenTexts::of(&self.model.tokenizer))).clone()
    }

    /// A name for an answer, such as `chatcmpl-18f3…`.
    pub fn id(&self, prefix: &str) -> String {
        self.names.id(prefix)
    }
}

/// What each of `models` may have of `whole`: of the memory as much as lets all of them hold equally many tokens.
pub fn shares(models: &[TextModel], whole: ScheduleLimits) -> Vec<ScheduleLimits> {
    let tokens = models.iter().map(|model| model.engine.context()).min().unwrap_or(0);
    let bytes: Vec<usize> = models.iter().map(|model| model.engine.uncompressed_bytes(tokens).max(1)).collect();
    let total: u128 = bytes.iter().map(|&bytes| bytes as u128).sum();
    let part = |whole: usize, bytes: usize| (whole as u128 * bytes as u128 / total) as usize;
    let share = |&bytes: &usize| ScheduleLimits {
        bytes: part(whole.bytes, bytes),
        prefix_bytes: part(whole.prefix_bytes, bytes),
        shared_bytes: part(whole.shared_bytes, bytes),
        ..whole
    };
    bytes.iter().map(share).collect()
}

/// The directory below `all` in which earlier prompts of the model number `index`, called `name`, are kept if there are several.
pub(crate) fn prompts_of(all: &Path, index: usize, name: &str) -> PathBuf {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    all.join(format!("{index}-{}", name.chars().map(plain).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_stay_below_theirs() {
        for name in ["../../etc", "/etc", "..", "a/b:c"] {
            let found = prompts_of(Path::new("kept"), 1, name);
            assert_eq!(found.parent(), Some(Path::new("kept")), "{name}");
            assert!(found.file_name().is_some_and(|name| name.to_str().unwrap().starts_with("1-")), "{name}");
        }
    }
}
