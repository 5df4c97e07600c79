//! The thread that runs the model, and what the others know of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use headwise_engine::TextModel;
use headwise_engine::schedule::{Counters, Request, ScheduleLimits, Scheduler};
use tokio::sync::oneshot;

/// Runs a model's scheduler on a thread of its own. Dropping it waits for the forward that runs.
pub struct Worker {
    orders: Option<Sender<Order>>,
    counters: Arc<Mutex<Counters>>,
    thread: Option<JoinHandle<()>>,
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
        let counters = Arc::new(Mutex::new(Counters::default()));
        let published = counters.clone();
        let run = move || {
            let mut scheduler = Scheduler::new(&model.engine, limits);
            if let Some(prompts) = &prompts {
                load(&mut scheduler, prompts);
            }
            run(&model, &mut scheduler, &receiver, &published);
            if let Some(Err(error)) = prompts.map(|prompts| scheduler.save_prompts(&prompts)) {
                tracing::error!(%error, "earlier prompts could not be kept");
            }
        };
        let thread = std::thread::Builder::new().name("model".into()).spawn(run)?;
        Ok(Self { orders: Some(sender), counters, thread: Some(thread) })
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
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
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

fn run(model: &TextModel, scheduler: &mut Scheduler<'_>, orders: &Receiver<Order>, published: &Mutex<Counters>) {
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
        *published.lock().unwrap_or_else(PoisonError::into_inner) = scheduler.counters();
    }
}
