//! A team: threads of a pool that stay awake between the many short parallel regions of one piece of work.
//!
//! To wake a thread of a pool costs 6 to 35 µs; a decoded token has 150 regions in 3 ms. Inside [`team`] the calling thread
//! *leads*. A region is a closure and a number of tickets: the leader publishes it, takes tickets itself until there are
//! none, and returns when all are finished. *Helpers*, other threads of the pool, watch for tickets and take them too. Nobody
//! waits for a helper that is late or busy elsewhere: what it does not take, others do.
//!
//! Watching is bounded. A helper that finds no ticket for some microseconds does other work of the pool if there is any, and
//! soon leaves, so its thread is the pool's again; the leader invites new helpers with the next region. So a team is never
//! slower than the pool, and what runs between its regions knows nothing of it.

use std::any::Any;
use std::cell::{RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::ahead::{Ahead, Order, Reading};

/// What a region runs: `body(worker, workers)`.
type Body<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// How this thread takes part in teams.
enum Role {
    /// Not at all: regions go to rayon.
    Free,
    /// It waits for tickets. What it does for the pool meanwhile goes to rayon.
    Helper,
    /// It started the team, which runs its regions.
    Leader(Arc<Team>),
    /// It is inside a region: regions in it run on this thread alone.
    Worker,
}

thread_local! {
    static ROLE: RefCell<Role> = const { RefCell::new(Role::Free) };
}

/// A role for some time; the one before comes back when this is dropped.
struct Playing(Role);

impl Playing {
    fn new(role: Role) -> Self {
        Self(ROLE.replace(role))
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        ROLE.replace(std::mem::replace(&mut self.0, Role::Free));
    }
}

/// Runs `work` with the threads of the current pool as a team, which all regions inside it use.
///
/// Outside a pool, inside another team and with a single thread this is only a call of `work`.
pub fn team<T>(work: impl FnOnce() -> T) -> T {
    /// Lets the helpers go, after a panic too.
    struct Ending<'a>(&'a Team);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.ended.store(true, Ordering::Relaxed);
        }
    }
    let taken = ROLE.with_borrow(|role| matches!(role, Role::Leader(_) | Role::Worker));
    if taken || rayon::current_thread_index().is_none() || rayon::current_num_threads() == 1 {
        return work();
    }
    let team = Arc::new(Team::new());
    let _leading = Playing::new(Role::Leader(team.clone()));
    let _ending = Ending(&team);
    work()
}

/// Runs `body` once for each of `workers` on the team of this thread; false if it has none.
pub(super) fn run(workers: usize, body: &Body<'_>) -> bool {
    let team = ROLE.with_borrow(|role| match role {
        Role::Leader(team) => Some(Some(team.clone())),
        Role::Worker => Some(None),
        Role::Free | Role::Helper => None,
    });
    match team {
        Some(Some(team)) => team.run(workers, body),
        Some(None) => (0..workers).for_each(|worker| body(worker, workers)),
        None => return false,
    }
    true
}

/// The next region of this thread's team, if it leads one, reads `reading`.
pub(crate) fn reads(reading: &Arc<Reading>) {
    ROLE.with_borrow(|role| {
        if let Role::Leader(team) = role {
            team.order.note(reading);
        }
    });
}

/// What leader and helpers share. Counters that different threads wait for lie in different lines of the cache.
struct Team {
    leader: Thread,
    region: UnsafeCell<Region>,
    /// Tickets of the region that nobody has taken.
    tickets: Line<AtomicUsize>,
    /// Tickets of the region that are not finished.
    unfinished: Line<AtomicUsize>,
    /// What idle helpers read ahead.
    order: Order,
    /// Helpers that watch, and invitations that nobody has followed yet.
    helpers: AtomicUsize,
    /// The first panic of the region.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    ended: AtomicBool,
}

/// A line of the cache, and the one that is fetched with it.
#[derive(Default)]
#[repr(align(128))]
struct Line<T>(T);

/// The closure of a region and how many tickets it has.
#[derive(Clone, Copy, Default)]
struct Region {
    body: Option<*const Body<'static>>,
    workers: usize,
}

// SAFETY: `region` alone is not safe to share. The leader writes it while there are no unfinished tickets and then publishes
// tickets (release). It is read only by who took a ticket (acquire), and before that ticket is finished (release); the
// leader sees that all are (acquire) before it writes again. So no write meets a read or another write. The closure behind
// the pointer is `Sync`.
unsafe impl Sync for Team {}
// SAFETY: as above; a team is nowhere bound to a thread.
unsafe impl Send for Team {}

impl Team {
    /// A team led by this thread.
    fn new() -> Self {
        Self {
            leader: std::thread::current(),
            region: UnsafeCell::default(),
            tickets: Line::default(),
            unfinished: Line::default(),
            order: Order::default(),
            helpers: AtomicUsize::new(0),
            panic: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// Runs a region; only the leader calls this, and never inside a region.
    fn run(self: &Arc<Self>, workers: usize, body: &Body<'_>) {
        // SAFETY: the lifetime is forgotten, but the pointer is used only between taking a ticket and finishing it, and this
        // function does not return before all tickets are finished.
        let body = unsafe { std::mem::transmute::<*const Body<'_>, *const Body<'static>>(body) };
        // SAFETY: the last region ended with all tickets finished, so nobody reads.
        unsafe { *self.region.get() = Region { body: Some(body), workers } };
        self.unfinished.0.store(workers, Ordering::Relaxed);
        // Publishes all of the above. Those who take a later ticket see it too: their exchanges continue this release.
        self.tickets.0.store(workers, Ordering::SeqCst);
        self.invite(workers - 1);
        while self.take_ticket().is_some() {}
        let watch = Watch::new();
        // What all tickets did is visible here: each ended with a release on this counter.
        while self.unfinished.0.load(Ordering::Acquire) > 0 {
            if watch.is_over() {
                // Who finishes the last ticket wakes this thread, now or before it falls asleep.
                std::thread::park();
            } else {
                std::hint::spin_loop();
            }
        }
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Sees to it that there are `wanted` helpers.
    fn invite(self: &Arc<Self>, wanted: usize) {
        // Sequentially consistent with `help`: a helper that is still counted here sees the tickets published before.
        while self.helpers.load(Ordering::SeqCst) < wanted {
            self.helpers.fetch_add(1, Ordering::Relaxed);
            let team = self.clone();
            rayon::spawn(move || team.help());
        }
    }

    /// Takes a ticket of the current region and works on it. Which worker of how many it was; `None` if there is no ticket.
    fn take_ticket(&self) -> Option<(usize, usize)> {
        // A look costs the leader nothing; an exchange would take the line of the cache from it.
        if self.tickets.0.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let taken = self.tickets.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |left| left.checked_sub(1));
        let left = taken.ok()?;
        // SAFETY: a ticket was taken and is not finished, so the region is published and stays as it is.
        let Region { body, workers } = unsafe { *self.region.get() };
        let working = Playing::new(Role::Worker);
        let result = catch_unwind(AssertUnwindSafe(|| {
            if let Some(body) = body {
                // SAFETY: the leader keeps the closure alive until this ticket is finished.
                unsafe { (*body)(workers - left, workers) };
            }
        }));
        drop(working);
        if let Err(panic) = result {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
        if self.unfinished.0.fetch_sub(1, Ordering::Release) == 1 {
            self.leader.unpark();
        }
        Some((workers - left, workers))
    }

    /// Follows an invitation: takes tickets until none has come for a while.
    fn help(&self) {
        // The leader itself may come across an invitation, and so may a helper of another team.
        let is_free = ROLE.with_borrow(|role| matches!(role, Role::Free));
        let _helping = is_free.then(|| Playing::new(Role::Helper));
        let mut watch = Watch::new();
        let (mut worker, mut ahead) = (None, Ahead::default());
        while is_free && !self.ended.load(Ordering::Relaxed) && !watch.is_over() {
            if let taken @ Some(_) = self.take_ticket() {
                (worker, watch) = (taken, Watch::new());
            } else if worker.is_some_and(|worker| ahead.step(&self.order, worker)) {
                // Looks for a ticket again at once.
            } else if watch.is_late() && rayon::yield_now() == Some(rayon::Yield::Executed) {
                watch = Watch::new();
            } else {
                std::hint::spin_loop();
            }
        }
        self.helpers.fetch_sub(1, Ordering::SeqCst);
        // The leader counted on this helper if it published tickets before the line above.
        while is_free && self.take_ticket().is_some() {}
    }
}

/// How long to watch a counter: longer than most gaps between the regions of a forward.
const WATCHING: Duration = Duration::from_micros(60);
/// After how long a helper looks for other work too.
const LATE: Duration = Duration::from_micros(10);

/// A bounded wait.
struct Watch(Instant);

impl Watch {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn is_late(&self) -> bool {
        self.0.elapsed() > LATE
    }

    fn is_over(&self) -> bool {
        self.0.elapsed() > WATCHING
    }
}

#[cfg(test)]
mod tests;
