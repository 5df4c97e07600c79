//! Making constraints from forms, within limits.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwise_models::tokenizer::Tokenizer;
use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};

use super::cache::{Cache, Key};
use super::error::first_line;
use super::{Constraint, ConstraintError, ConstraintSpec, vocabulary};

/// What preparing a form may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConstraintLimits {
    /// Time until there is an answer; default 1 s.
    pub time: Duration,
    /// Bytes of the form's text; default 128 KiB.
    pub bytes: usize,
}

impl Default for ConstraintLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(1), bytes: 128 << 10 }
    }
}

/// Bounds of the library's work, each in units of its own: they end the work of most forms that explode long before the time does,
/// and bound the memory of a text.
fn bounds() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 500_000,
        max_grammar_size: 50_000,
        max_lexer_states: 20_000,
        step_lexer_fuel: 100_000,
        step_max_items: 20_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// Stack of a thread that compiles: rules may be nested as deep as a form is long. Pages that are not touched take no memory.
const STACK: usize = 256 << 20;

/// Forms that are compiled at the same time, those included that nobody waits for any more.
const RUNNING: usize = 4;

/// Makes the constraints for one tokenizer; shared by all threads.
pub struct ConstraintFactory {
    parsers: Arc<ParserFactory>,
    ends: Arc<[u32]>,
    words: Arc<[Vec<u8>]>,
    cache: Mutex<Cache>,
    running: Arc<Running>,
}

impl ConstraintFactory {
    /// A factory for the texts of `tokenizer`.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, ConstraintError> {
        let (tree, ends) = vocabulary::tree(tokenizer)?;
        let failed = |error: &dyn fmt::Display| ConstraintError::Vocabulary(first_line(&error.to_string()));
        let slices = SlicedBiasComputer::general_slices();
        let mut parsers =
            ParserFactory::new(&tree, InferenceCapabilities::default(), &slices).map_err(|error| failed(&error))?;
        parsers.quiet();
        *parsers.limits_mut() = bounds();
        let words =
            (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.token_bytes(id).unwrap_or_default()).collect();
        let (cache, running) = (Mutex::default(), Arc::default());
        Ok(Self { parsers: Arc::new(parsers), ends: ends.into(), words, cache, running })
    }

    /// A constraint for a text that has not begun. Takes up to `limits.time`, so it is no work for a thread that runs a model; a
    /// form that was used before is at hand.
    pub fn compile(&self, spec: &ConstraintSpec, limits: &ConstraintLimits) -> Result<Constraint, ConstraintError> {
        let key: Key = (spec.what(), spec.text());
        if key.1.len() > limits.bytes {
            return Err(ConstraintError::TooLong { what: key.0, bytes: key.1.len(), most: limits.bytes });
        }
        let held = self.cache().get(&key);
        let matcher = match held {
            Some(matcher) => matcher,
            None => {
                let matcher = self.compile_aside(spec, limits)?;
                self.cache().put(key, matcher.deep_clone());
                matcher
            }
        };
        Ok(Constraint { matcher, ends: self.ends.clone(), words: self.words.clone(), before: None })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Nothing that panics holds it half changed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles `spec` on a thread of its own, which is left alone when its time is up: its bounds end it soon after.
    fn compile_aside(&self, spec: &ConstraintSpec, limits: &ConstraintLimits) -> Result<Matcher, ConstraintError> {
        let what = spec.what();
        let started = Instant::now();
        let place = Place::take(&self.running, limits.time).ok_or(ConstraintError::Busy { running: RUNNING })?;
        let (sender, receiver) = sync_channel(1);
        let (parsers, spec) = (self.parsers.clone(), spec.clone());
        let work = move || {
            let _place = place;
            // Nobody may be listening any more.
            let _ = sender.send(compile(&parsers, &spec));
        };
        let thread = std::thread::Builder::new().name("headwise-constraint".into()).stack_size(STACK);
        thread.spawn(work).map_err(|_| ConstraintError::Busy { running: RUNNING })?;
        match receiver.recv_timeout(limits.time.saturating_sub(started.elapsed())) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => Err(ConstraintError::Time { what, limit: limits.time }),
            Err(RecvTimeoutError::Disconnected) => {
                Err(ConstraintError::Invalid { what, reason: first_line("panic: ") })
            }
        }
    }
}

/// Compiles `spec` and looks for the first token: a form that nothing can begin is said to be wrong here, and one whose first step is
/// beyond the bounds of a step stops no model.
fn compile(parsers: &ParserFactory, spec: &ConstraintSpec) -> Result<Matcher, ConstraintError> {
    let invalid = |error: &str| {
        let reason = match error.contains("NoExtension") {
            true => "no text of the model's tokens follows it".into(),
            false => first_line(error),
        };
        ConstraintError::Invalid { what: spec.what(), reason }
    };
    let mut matcher = Matcher::new(parsers.create_parser(spec.grammar()?));
    match matcher.compute_mask() {
        Err(error) => Err(invalid(&matcher.get_error().unwrap_or(error.to_string()))),
        Ok(_) => Ok(matcher),
    }
}

/// How many forms are being compiled.
#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    ended: Condvar,
}

/// One of the places for forms that are compiled at the same time.
struct Place(Arc<Running>);

impl Place {
    /// A place, once there is one; none if there is none within `time`.
    fn take(running: &Arc<Running>, time: Duration) -> Option<Self> {
        let count = running.count.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |count: &mut usize| *count >= RUNNING;
        let (mut count, waited) =
            running.ended.wait_timeout_while(count, time, full).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && *count >= RUNNING {
            return None;
        }
        *count += 1;
        Some(Self(running.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_one();
    }
}

impl fmt::Debug for ConstraintFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConstraintFactory").field("ends", &self.ends).finish_non_exhaustive()
    }
}
