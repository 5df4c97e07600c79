//! The thread that runs the model, and what the others know of it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use headwise_engine::TextModel;
use headwise_engine::schedule::{Counters, Request, ScheduleLimits, Scheduler};
use tokio::sync::oneshot;

impl Published {
    fn of(scheduler: &Scheduler<'_>) -> Self {
        let mut caches = BTreeMap::new();
        for (policy, bytes) in scheduler.caches() {
            *caches.entry(policy.to_string()).or_default() += bytes;
        }
        Self { counters: scheduler.counters(), caches }
    }
}

/// Runs a model's scheduler on a thread of its own. Dropping it waits for the forward that runs.
pub struct Worker {
    orders: Option<Sender<Order>>,
    published: Arc<Mutex<Published>>,
    thread: Option<JoinHandle<()>>,
}

/// What a scheduler says after every forward.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// What it has done and is doing.
    pub counters: Counters,
    /// The policies of the texts that are read and written, and the bytes of the caches of each.
    pub caches: BTreeMap<String, usize>,
}

/// Work on the model that is no text to be written; done between two forwards.
type Task = Box<dyn FnOnce(&TextModel) + Send>;

enum Order {
    Request(Box<Request>),
    Task(Task),
}

impl Worker {
    /// Starts the thread for `model`. Earlier prompts come from the directory `prompts` and go there in the end, if there is one.
    pub fn start(model: Arc<TextModel>, limits: ScheduleLimits, prompts: Option<PathBuf>) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let counters = Counters { limit_bytes: limits.bytes, free_bytes: limits.bytes, ..Counters::default() };
        let published = Arc::new(Mutex::new(Published { counters, ..Published::default() }));
        let publishes = published.clone();
        let run = move || {
            let mut scheduler = Scheduler::new(&model.engine, limits);
            if let Some(prompts) = &prompts {
                load(&mut scheduler, prompts);
            }
            run(&model, &mut scheduler, &receiver, &publishes);
            if let Some(Err(error)) = prompts.map(|prompts| scheduler.save_prompts(&prompts)) {
                tracing::error!(%error, "earlier prompts could not be kept");
            }
        };
        let thread = std::thread::Builder::new().name("model".into()).spawn(run)?;
        Ok(Self { orders: Some(sender), published, thread: Some(thread) })
    }

    /// Hands `request` over; its listener hears what becomes of it. False if the thread is gone.
    pub fn submit(&self, request: Request) -> bool {
        self.order(Order::Request(Box::new(request)))
    }

    /// Does `work` between two forwards; none if it failed or the thread is gone.
    pub async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&TextModel) -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let task: Task = Box::new(move |model| {
            // Whoever asked may have left.
            if !sender.is_closed() {
                let _ = sender.send(work(model));
            }
        });
        if self.order(Order::Task(task)) { receiver.await.ok() } else { None }
    }

    fn order(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok())
    }

    /// What the scheduler has done and is doing, as of its last forward.
    pub fn counters(&self) -> Counters {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).counters
    }

    /// The same, and the caches that there are.
    pub fn published(&self) -> Published {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn load(scheduler: &mut Scheduler<'_>, prompts: &Path) {
    let loaded = scheduler.load_prompts(prompts);
    for (path, error) in loaded.passed_over {
        tracing::warn!(path = %path.display(), %error, "an earlier prompt was passed over");
    }
    tracing::info!(prompts = loaded.prompts, "earlier prompts were loaded");
}

fn run(model: &TextModel, scheduler: &mut Scheduler<'_>, orders: &Receiver<Order>, published: &Mutex<Published>) {
    loop {
        // With nothing to do, the thread sleeps until there is.
        let mut order =
            if scheduler.idle() { orders.recv().map_err(|_| TryRecvError::Disconnected) } else { orders.try_recv() };
        loop {
            match order {
                Ok(Order::Request(request)) => scheduler.submit(*request),
                Ok(Order::Task(task)) => {
                    if catch_unwind(AssertUnwindSafe(|| task(model))).is_err() {
                        tracing::error!("a task failed");
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
            order = orders.try_recv();
        }
        // Requests that were being answered see their listeners go; the next ones are answered again.
        if catch_unwind(AssertUnwindSafe(|| scheduler.step())).is_err() {
            tracing::error!("a forward failed: all requests that were being answered are dropped");
            scheduler.clear();
        }
        *published.lock().unwrap_or_else(PoisonError::into_inner) = Published::of(scheduler);
    }
}
