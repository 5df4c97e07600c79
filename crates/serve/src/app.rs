//! What all requests share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use headwise_engine::TextModel;
use headwise_engine::cache::CachePolicy;
use headwise_engine::constrain::{ConstraintError, ConstraintFactory};
use headwise_engine::schedule::ScheduleLimits;

use crate::api::ApiError;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::remembered::Remembered;
use crate::worker::Worker;

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
            request_seconds: 30,
            drain_seconds: 30,
            prompts: None,
            schedule: ScheduleLimits::default(),
        }
    }
}

/// A model that is served.
pub struct App {
    /// The model.
    pub model: Arc<TextModel>,
    /// The thread that runs it.
    pub worker: Worker,
    /// How the server is set up.
    pub options: Options,
    /// What has been counted.
    pub metrics: Metrics,
    /// Conversations that can be gone on with by name.
    pub remembered: Remembered,
    /// When the server began, in seconds since 1970.
    pub created: u64,
    constraints: OnceLock<Result<ConstraintFactory, ConstraintError>>,
    stopping: AtomicBool,
    asked: AtomicU64,
}

impl App {
    /// Starts the model's thread.
    pub fn new(model: TextModel, options: Options) -> std::io::Result<Self> {
        let model = Arc::new(model);
        let worker = Worker::start(model.clone(), options.schedule, options.prompts.clone())?;
        let metrics = Metrics::default();
        Ok(Self {
            model,
            worker,
            options,
            metrics,
            remembered: Remembered::default(),
            created: now(),
            constraints: OnceLock::new(),
            stopping: AtomicBool::new(false),
            asked: AtomicU64::new(0),
        })
    }

    /// From now on no request is taken.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the server is about to end.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Checks that the model `asked` for, if any, is the one that is served.
    pub fn check_model(&self, asked: Option<&str>) -> Result<(), ApiError> {
        match asked {
            Some(asked) if asked != self.model.name => Err(ApiError::unknown_model(asked, &self.model.name)),
            _ => Ok(()),
        }
    }

    /// What holds answers to a form; made when first asked for.
    pub fn constraints(&self) -> Result<&ConstraintFactory, ConstraintError> {
        let made = self.constraints.get_or_init(|| ConstraintFactory::new(&self.model.tokenizer));
        made.as_ref().map_err(Clone::clone)
    }

    /// A number that no other request has.
    pub fn number(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for an answer, such as `chatcmpl-18f3…`.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{:x}{:06x}", self.created, self.number())
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
