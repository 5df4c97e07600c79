//! Brings the experts of a model from its file, as a policy says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use burn::tensor::Tensor;
use headwise_kernels::profile;
use headwise_models::decoder::{Decoder, ExpertFile};
use headwise_nn::Linear;
use headwise_nn::channel::{ExpertSource, Gated, Routes};
use headwise_ops::host::Host;

use super::core::Core;
use super::loads::{AT_ONCE, Shared, State};
use super::{Expert, ExpertFlow, ExpertPolicy, ExpertStatistics, ExpertsError, Path, Predictor, Recent, Sample};

/// Brings the experts of a model from its file, as a policy says.
#[derive(Debug)]
pub struct Offload {
    shared: Arc<Shared>,
    policy: ExpertPolicy,
    /// Of every mixture: its router, and how many experts a token passes.
    routers: Vec<(Linear, usize)>,
    predictor: OnceLock<Predictor>,
    recording: Mutex<Option<Vec<Sample>>>,
    /// The rows that the running forward added to the recording.
    recorded: Mutex<usize>,
    /// Its threads end when [`Shared`] is stopped.
    _threads: Vec<rayon::ThreadPool>,
}

impl Offload {
    /// For `model`, whose experts are in `file`. Every load takes `delay` longer than it does.
    pub fn new(
        model: &Decoder,
        file: ExpertFile,
        policy: ExpertPolicy,
        delay: Duration,
    ) -> Result<Arc<Self>, ExpertsError> {
        let shared_by = model.spec().shared_by;
        if shared_by > 1 {
            return Err(ExpertsError::Shared { shared_by });
        }
        let capacity = policy.bytes(&file, AT_ONCE)?;
        let bytes = (0..file.layers()).map(|layer| file.bytes(layer)).collect();
        let core = Core::new(policy.clone(), bytes, file.total_bytes(), capacity);
        let state = State {
            core,
            demanded: VecDeque::new(),
            wanted: VecDeque::new(),
            waiting: BTreeMap::new(),
            stopped: false,
        };
        let shared = Arc::new(Shared { file, delay, state: Mutex::new(state), changed: Condvar::new() });
        // Pools of one thread: packing what was read stays on the thread that has read it, and no thread that waits within it can begin to
        // serve a second time.
        let thread = |index| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| format!("experts-{index}"));
            let pool = pool.build().map_err(|error| ExpertsError::Threads { reason: error.to_string() })?;
            let shared = Arc::clone(&shared);
            pool.spawn(move || shared.serve());
            Ok(pool)
        };
        let threads = (0..AT_ONCE).map(thread).collect::<Result<_, ExpertsError>>()?;
        let routers = model.mixtures().map(|(_, mixture)| (mixture.router.clone(), mixture.spec().active)).collect();
        Ok(Arc::new(Self {
            shared,
            policy,
            routers,
            predictor: OnceLock::new(),
            recording: Mutex::new(None),
            recorded: Mutex::new(0),
            _threads: threads,
        }))
    }

    /// The policy.
    pub fn policy(&self) -> &ExpertPolicy {
        &self.policy
    }

    /// What has been found and loaded since the beginning.
    pub fn statistics(&self) -> ExpertStatistics {
        self.shared.lock().core.statistics()
    }

    /// Counts from nothing again; only the most memory is remembered.
    pub fn count_anew(&self) {
        self.shared.lock().core.count_anew();
    }

    /// Bytes that experts take now, those on their way included.
    pub fn resident_bytes(&self) -> usize {
        self.shared.lock().core.slots.bytes()
    }

    /// What foresees experts, once it has learnt.
    pub fn predictor(&self) -> Option<&Predictor> {
        self.predictor.get()
    }

    /// Foresees with `predictor` from now on; the first one counts.
    pub fn set_predictor(&self, predictor: Predictor) {
        let _ = self.predictor.set(predictor);
    }

    /// How many experts of a layer a token passes, at most.
    pub fn active(&self) -> usize {
        self.routers.iter().map(|(_, active)| *active).max().unwrap_or(0)
    }

    /// An empty path through this model's mixtures.
    pub fn path(&self) -> Path {
        let file = &self.shared.file;
        Path::new(file.layers(), (0..file.layers()).map(|layer| file.experts(layer)).max().unwrap_or(0))
    }

    /// Notes which experts every token passes from now on, until [`recorded`](Self::recorded). One forward runs at a time meanwhile.
    pub fn record(&self) {
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// What was noted, and no more.
    pub fn recorded(&self) -> Vec<Sample> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// The policy, if it foresees experts, with what foresees them.
    pub(super) fn foresight(&self) -> Option<(&ExpertFlow, &Predictor)> {
        match (&self.policy, self.predictor.get()) {
            (ExpertPolicy::ExpertFlow(flow), Some(predictor)) => Some((flow, predictor)),
            _ => None,
        }
    }

    /// A forward begins whose rows are `rows`.
    pub(crate) fn begin(&self, rows: impl Iterator<Item = Recent> + Clone) {
        if let Some(samples) = &mut *self.recording.lock().unwrap_or_else(PoisonError::into_inner) {
            let before = samples.len();
            samples.extend(rows.clone().map(|recent| Sample { recent, path: self.path() }));
            *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) = samples.len() - before;
        }
        let foreseen = self.foresee(rows);
        let mut state = self.shared.lock();
        state.core.planner.begin(foreseen);
        state.wanted = state.core.planner.wanted().into();
        self.shared.changed.notify_all();
    }

    /// What each mixture will need, what most rows expect first.
    fn foresee(&self, rows: impl Iterator<Item = Recent>) -> Vec<Vec<usize>> {
        let Some((flow, predictor)) = self.foresight() else { return Vec::new() };
        let _span = profile::span("foreseeing experts");
        let [layers, experts] = predictor.shape();
        let mut votes = vec![0usize; layers * experts];
        for recent in rows {
            let path = predictor.path(&recent, self.active(), flow.cut);
            for layer in 0..layers {
                path.of_layer(layer).into_iter().for_each(|expert| votes[layer * experts + expert] += 1);
            }
        }
        let of_layer = |layer: usize| {
            let votes = &votes[layer * experts..][..experts];
            let mut expected: Vec<usize> = (0..self.shared.file.experts(layer)).filter(|&at| votes[at] > 0).collect();
            expected.sort_by_key(|&expert| (std::cmp::Reverse(votes[expert]), expert));
            expected
        };
        (0..layers).map(of_layer).collect()
    }

    fn note(&self, layer: usize, routes: &Routes) {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(samples) = &mut *recording else { return };
        let rows = *self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let start = samples.len() - rows.min(samples.len());
        for (sample, chosen) in samples[start..].iter_mut().zip(routes.experts().chunks_exact(routes.active())) {
            chosen.iter().for_each(|&expert| sample.path.insert(layer, expert as usize));
        }
    }

    /// What the router after `layer` would choose for `x`, what most rows would first.
    fn next_gate(&self, layer: usize, x: &Tensor<2>) -> Vec<usize> {
        let (ExpertPolicy::NextGate(_), Some((router, active))) = (&self.policy, self.routers.get(layer + 1)) else {
            return Vec::new();
        };
        let scores = Host::new(router.forward(x.clone()));
        let experts = self.shared.file.experts(layer + 1);
        Routes::of(scores.as_slice(), experts, *active).busiest(experts)
    }

    /// Asks for what a layer needs: what it can use at once, pinned, and what it has to wait for.
    fn ask(&self, layer: usize, needed: &[usize], next: &[usize]) -> (Vec<Expert>, Vec<Expert>) {
        let mut state = self.shared.lock();
        let at = |&index: &usize| Expert { layer, index };
        let (ready, missing): (Vec<Expert>, Vec<Expert>) =
            needed.iter().map(at).partition(|&expert| state.core.slots.is_ready(expert));
        for &expert in &ready {
            state.core.slots.touch(expert);
            state.core.slots.pin(expert);
        }
        let mut late = 0;
        for &expert in &missing {
            *state.waiting.entry(expert).or_default() += 1;
            if state.core.slots.has(expert) {
                late += 1;
            } else {
                state.demanded.push_back(expert);
            }
        }
        let hits = &mut state.core.statistics.layers[layer];
        hits.needed += needed.len() as u64;
        hits.hits += ready.len() as u64;
        hits.late += late;
        state.core.planner.arrive(layer, needed.len(), next);
        state.wanted = state.core.planner.wanted().into();
        self.shared.changed.notify_all();
        (ready, missing)
    }

    /// Runs `expert`, which is pinned, and lets it go.
    fn run(&self, expert: Expert, run: &mut dyn FnMut(usize, &Gated)) {
        let held = self.shared.lock().core.slots.get(expert).expect("what is pinned is there");
        run(expert.index, &held);
        // Before its slot goes to another, so that memory never holds both.
        drop(held);
        let mut state = self.shared.lock();
        state.core.slots.unpin(expert);
        if state.core.planner.keeps_nothing() {
            state.core.slots.drop_unpinned(expert);
        }
        self.shared.changed.notify_all();
    }

    /// Waits until one of `missing` has come, pinned, and takes it from them.
    fn wait(&self, missing: &mut Vec<Expert>) -> Expert {
        let _span = profile::span("waiting for experts");
        let mut state = self.shared.lock();
        loop {
            let come = missing.iter().position(|&expert| state.core.slots.is_ready(expert));
            if let Some(place) = come {
                let expert = missing.swap_remove(place);
                state.core.slots.touch(expert);
                return expert;
            }
            state = self.shared.wait(state);
        }
    }
}

impl ExpertSource for Offload {
    fn visit(&self, layer: usize, x: &Tensor<2>, routes: &Routes, run: &mut dyn FnMut(usize, &Gated)) {
        self.note(layer, routes);
        let next = self.next_gate(layer, x);
        let (ready, mut missing) = self.ask(layer, &routes.needed(), &next);
        ready.into_iter().for_each(|expert| self.run(expert, run));
        while !missing.is_empty() {
            let expert = self.wait(&mut missing);
            self.run(expert, run);
        }
    }
}

impl Drop for Offload {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}
