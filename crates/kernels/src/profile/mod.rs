//! Where the time goes, by operation.
//!
//! [`start`] begins a profile, [`finish`] ends it. In between, kernels and whoever calls them open a [`span`] for the length
//! of each operation:
//!
//! ```
//! # use headwise_kernels::profile::{self, Work};
//! profile::start();
//! let (x, mut y) = (vec![1.0f32; 64], 0.0);
//! {
//!     let _span = profile::span("sum").work(|| Work::bytes(size_of_val(&x[..])));
//!     y += x.iter().sum::<f32>();
//! }
//! let profile = profile::finish();
//! assert_eq!((profile.operations[0].name, profile.operations[0].calls), ("sum", 1));
//! # assert_eq!(y, 64.0);
//! ```
//!
//! An operation has its own wall time: spans inside it are taken off, so the times of all operations and the time between
//! them ([`Profile::between`]) add up to the whole. [`whole`] opens a span that counts what is inside as itself.
//!
//! There is one profile per process, and it follows one line of control: the thread that called [`start`], and threads that
//! it hands its work over to with [`handed`] and waits for. What helps it (the other workers of a parallel kernel) and
//! what has nothing to do with it records nothing: a kernel's time is that of its caller, however many threads it takes.
//!
//! While no profile runs, a span costs one relaxed load of an atomic.

mod recorder;

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use recorder::{Opened, Recorder};

/// Whether a profile runs.
static RUNS: AtomicBool = AtomicBool::new(false);

static RECORDER: Mutex<Recorder> = Mutex::new(Recorder::new());

thread_local! {
    /// Whether the profile follows this thread.
    static FOLLOWED: Cell<bool> = const { Cell::new(false) };
}

/// Arithmetic and memory traffic that an operation needs by definition; zero where it is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Operations on numbers.
    pub flops: f64,
    /// Bytes that must be read and written once.
    pub bytes: f64,
}

impl Work {
    /// Bytes moved, arithmetic not counted.
    pub fn bytes(bytes: usize) -> Self {
        Self { flops: 0.0, bytes: bytes as f64 }
    }
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.flops += other.flops;
        self.bytes += other.bytes;
    }
}

/// What was spent on the operations of one name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operation {
    /// The name.
    pub name: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// Its own wall time, operations inside it left out.
    pub time: Duration,
    /// What it did in that time.
    pub work: Work,
}

/// Where the time went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Wall time from the start to the end.
    pub wall: Duration,
    /// The operations, the most time first.
    pub operations: Vec<Operation>,
}

impl Profile {
    /// Time outside all operations.
    pub fn between(&self) -> Duration {
        self.wall.saturating_sub(self.operations.iter().map(|operation| operation.time).sum())
    }
}

/// Begins a profile that follows this thread; one that runs already is dropped.
pub fn start() {
    FOLLOWED.set(true);
    recorder().start(Instant::now());
    RUNS.store(true, Ordering::Relaxed);
}

/// What was recorded since [`start`] or the last lap; recording goes on from zero. `None` while no profile follows this
/// thread.
///
/// Operations that are under way are divided: this lap does not have them, the next one has what is left of them.
pub fn lap() -> Option<Profile> {
    follows().then(|| recorder().lap(Instant::now()))
}

/// Ends the profile; empty, and nothing ends, if none follows this thread.
pub fn finish() -> Profile {
    if !follows() {
        return Profile::default();
    }
    FOLLOWED.set(false);
    RUNS.store(false, Ordering::Relaxed);
    recorder().finish(Instant::now())
}

/// `work` for a thread that does it in this one's place: a profile that follows this thread goes along, and comes back
/// when `work` returns.
pub fn handed<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let follows = follows();
    move || {
        let _returned = Returned(FOLLOWED.replace(follows));
        work()
    }
}

/// Puts back whether this thread is followed.
struct Returned(bool);

impl Drop for Returned {
    fn drop(&mut self) {
        FOLLOWED.set(self.0);
    }
}

/// Records an operation called `name` until the result is dropped; spans opened meanwhile are taken off its time.
#[inline]
pub fn span(name: &'static str) -> Span {
    open(name, false)
}

/// As [`span`], but what is opened meanwhile counts as this operation, its work included: for an operation made of others.
#[inline]
pub fn whole(name: &'static str) -> Span {
    open(name, true)
}

#[inline]
fn open(name: &'static str, whole: bool) -> Span {
    let opened = if follows() { Some(recorder().open(name, whole, Instant::now())) } else { None };
    Span { opened, thread: PhantomData }
}

/// An operation that is under way.
#[derive(Debug)]
#[must_use = "a span lasts until it is dropped: bind it to a name"]
pub struct Span {
    /// None if it is not recorded.
    opened: Option<Opened>,
    /// A span belongs to the thread that opened it.
    thread: PhantomData<*const ()>,
}

impl Span {
    /// Adds to what the operation does; `work` is called only if the operation is recorded.
    #[inline]
    pub fn work(self, work: impl FnOnce() -> Work) -> Self {
        if let Some(opened) = &self.opened {
            let work = work();
            recorder().add(opened, work);
        }
        self
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let Some(opened) = self.opened.take() {
            recorder().close(&opened, Instant::now());
        }
    }
}

/// Whether a profile runs and follows this thread.
#[inline]
fn follows() -> bool {
    RUNS.load(Ordering::Relaxed) && FOLLOWED.get()
}

/// The recorder. Only the followed thread asks for it, so it never waits.
fn recorder() -> MutexGuard<'static, Recorder> {
    RECORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
