//! What all requests share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwise_engine::TextModel;
use headwise_engine::cache::CachePolicy;
use headwise_engine::schedule::ScheduleLimits;

use crate::api::ApiError;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::names::Names;
use crate::remembered::Remembered;
use crate::served::{Served, prompts_of, shares};

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cache policy of requests that name none.
    pub policy: CachePolicy,
    /// Keys of which requests must have one; anyone may ask if there is none.
    pub keys: Keys,
    /// Whether fields that are not known are left out instead of refused.
    pub lenient: bool,
    /// The origin whose pages may ask, or `*` for any; no other than this server's if none.
    pub cors: Option<String>,
    /// Bytes that a request may have.
    pub body_bytes: usize,
    /// Most tokens of an answer; as many as the context holds if none.
    pub answer_tokens: Option<usize>,
    /// How long an answer may take; as long as it does if none.
    pub answer_time: Option<Duration>,
    /// Seconds in which the head and the body of a request must have come.
    pub request_seconds: u64,
    /// Seconds that answers have to end when the server is asked to stop.
    pub drain_seconds: u64,
    /// A directory in which earlier prompts are kept from one process to the next.
    pub prompts: Option<PathBuf>,
    /// What the scheduler takes on.
    pub schedule: ScheduleLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: CachePolicy::full(),
            keys: Keys::default(),
            lenient: false,
            cors: None,
            body_bytes: 4 << 20,
            answer_tokens: None,
            answer_time: None,
            request_seconds: 30,
            drain_seconds: 30,
            prompts: None,
            schedule: ScheduleLimits::default(),
        }
    }
}

/// A server: its models, and what they share.
pub struct App {
    /// The models, in the order in which they are told, and after them those with adapters; requests that name none are for the first.
    pub models: Vec<Arc<Served>>,
    /// How the server is set up.
    pub options: Options,
    /// What has been counted.
    pub metrics: Metrics,
    /// Conversations that can be gone on with by name.
    pub remembered: Remembered,
    /// Names of answers.
    pub names: Arc<Names>,
    stopping: AtomicBool,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nothing to serve.
    #[error("there is no model to serve: at least one is needed")]
    NoModel,
    /// Two models with one name.
    #[error(
        "two models or adapters are called `{name}`, and requests could not tell them apart: write NAME=MODEL for one of them, such as \
         `other={name}`"
    )]
    SameName {
        /// The name.
        name: String,
    },
    /// A thread could not be started.
    #[error("the thread of a model could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl App {
    /// Starts a thread for each of `models`, which share the memory of `options` so that all can hold equally many tokens, and run on the
    /// threads of the first. Adapters of a model have its thread and its memory.
    pub fn new(mut models: Vec<TextModel>, options: Options) -> Result<Self, StartError> {
        check_names(models.iter().map(|model| model.name.as_str()).chain(models.iter().flat_map(names_of_adapters)))?;
        if let Some((first, others)) = models.split_first_mut() {
            others.iter_mut().for_each(|other| other.engine.run_on_threads_of(&first.engine));
        }
        let several = models.len() > 1;
        let names = Arc::new(Names::new());
        let mut metrics = Metrics::new(several);
        let shares = shares(&models, options.schedule);
        let start = |(index, (model, schedule)): (usize, (TextModel, _))| {
            let prompts = options.prompts.clone();
            let prompts = prompts.map(|all| if several { prompts_of(&all, index, &model.name) } else { all });
            let times = metrics.times(&model.name);
            Served::start(model, &options, schedule, prompts, times, names.clone()).map(Arc::new)
        };
        let mut models: Vec<Arc<Served>> =
            models.into_iter().zip(shares).enumerate().map(start).collect::<Result<_, _>>()?;
        let adapted = |served: &Arc<Served>| -> Vec<Arc<Served>> {
            served.model.engine.adapters().iter().map(|named| Arc::new(served.adapted(named))).collect()
        };
        let adapted: Vec<Arc<Served>> = models.iter().flat_map(adapted).collect();
        models.extend(adapted);
        let remembered = Remembered::default();
        Ok(Self { models, options, metrics, remembered, names, stopping: AtomicBool::new(false) })
    }

    /// From now on no request is taken.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the server is about to end.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The model that a request `asked` for; the first if it named none.
    pub fn model(&self, asked: Option<&str>) -> Result<Arc<Served>, ApiError> {
        let found = match asked {
            None => self.models.first(),
            Some(asked) => self.models.iter().find(|served| served.name() == asked),
        };
        let names = || self.models.iter().map(|served| served.name());
        found.cloned().ok_or_else(|| ApiError::unknown_model(asked.unwrap_or_default(), names()))
    }
}

fn names_of_adapters(model: &TextModel) -> impl Iterator<Item = &str> {
    model.engine.adapters().iter().map(|named| named.name.as_str())
}

/// The time of `seconds`, or what is wrong with it.
pub fn time_limit(seconds: f64) -> Result<Duration, String> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| format!("{seconds}: it must be a number of seconds above 0"))
}

/// Whether there is a name and no two of `names` are the same.
pub fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), StartError> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(StartError::SameName { name: name.to_owned() });
        }
        seen.push(name);
    }
    if seen.is_empty() { Err(StartError::NoModel) } else { Ok(()) }
}
