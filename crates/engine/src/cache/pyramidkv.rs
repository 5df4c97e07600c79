//! PyramidKV: SnapKV's votes, with more pairs for low layers than for high ones.
//!
//! For a mean budget `b` and `L` layers, layer `l` gets `max - l (max - min) / (L - 1)` with `min = b / beta`,
//! `max = 2 b - min`. If `max` exceeds the `T - window` pairs that can be chosen, it is cut there and `min` raised so that the
//! mean stays `b`. Where that is no pyramid (`min` below `window`, or above `max`) all layers get `b`.
//! Cai et al. 2024, arXiv:2406.02069.

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits, Needs, Plan, Protected, SnapKv, snapkv};

evicting! {
    "pyramidkv", reindex = false;
    /// SnapKV with more pairs for low layers than for high ones.
    ///
    /// Budgets fall linearly from layer to layer and their mean is the budget asked for; `beta` is how steeply. When the
    /// highest layer would get less than `window` pairs, all layers get the same and this is SnapKV.
    /// Cai et al. 2024, arXiv:2406.02069.
    pub struct PyramidKv {
        /// Last queries that vote, and last pairs that always stay.
        pub window: usize = 64,
        /// Width of the average over neighbouring keys; odd.
        pub kernel: usize = 5,
        /// The highest layer gets the mean budget divided by this; 1 gives all layers the same.
        pub beta: usize = 20,
    }
}

impl PyramidKv {
    fn votes(&self) -> SnapKv {
        SnapKv { window: self.window, kernel: self.kernel, ..SnapKv::default() }
    }
}

impl Evictor for PyramidKv {
    fn limits(&self) -> Result<Limits, String> {
        snapkv::check("pyramidkv", self.window, self.kernel)?;
        if self.beta == 0 {
            return Err("`pyramidkv`: beta=0 divides by nothing: it must be at least 1".into());
        }
        self.shared_limits()
    }

    fn needs(&self) -> Needs {
        self.votes().needs()
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        self.votes().score(store)
    }

    fn protected(&self, budget: usize) -> Protected {
        self.votes().protected(budget)
    }

    fn layer_budget(&self, plan: &Plan) -> usize {
        let Plan { layer, layers, tokens, budget } = *plan;
        layer_budget(budget as f64, tokens, layer, layers, self.window, self.beta)
    }
}

/// Pairs of layer `layer` of `layers` when the mean over the layers is `budget` and the prompt has `tokens`.
pub fn layer_budget(budget: f64, tokens: usize, layer: usize, layers: usize, window: usize, beta: usize) -> usize {
    let (tokens, window) = (tokens as f64, window as f64);
    let mut least = budget / beta as f64;
    let mut most = 2.0 * budget - least;
    if most >= tokens - window {
        most = tokens - window;
        least = 2.0 * budget - most;
    }
    if !(tokens >= most && most >= least && least >= window) {
        return budget.round_ties_even().max(1.0) as usize;
    }
    let step = if layers > 1 { (most - least) / (layers - 1) as f64 } else { 0.0 };
    (most - layer as f64 * step).round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_over_layers_is_the_budget() {
        for (budget, tokens, layers, window, beta) in [
            (512, 1024, 30, 64, 20),
            (300, 4000, 7, 8, 20),
            (301, 700, 12, 16, 3),
            (64, 2000, 30, 64, 20),
            (77, 500, 2, 8, 9),
        ] {
            let budgets: Vec<usize> =
                (0..layers).map(|layer| layer_budget(budget as f64, tokens, layer, layers, window, beta)).collect();
            assert_eq!(budgets.iter().sum::<usize>(), budget * layers, "{budgets:?}");
            assert!(budgets.is_sorted_by(|a, b| a >= b), "{budgets:?}");
        }
    }

    #[test]
    fn a_single_layer_gets_what_can_be_chosen_at_most() {
        assert_eq!(layer_budget(10.0, 1000, 0, 1, 64, 20), 10);
        assert_eq!(layer_budget(1000.0, 1000, 0, 4, 64, 20), 1000);
    }
}
