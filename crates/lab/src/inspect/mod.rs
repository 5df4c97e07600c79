//! Where the heads of a model look: entropy, attention sinks and distance, per layer and head, over one text.
//!
//! With `p_ij` the weight of query `i` on key `j` among `T` tokens, a [`HeadRow`] has the means over all queries of
//!
//! - `entropy`: `-Σ_j p_ij ln p_ij`, in nats; `exp` of it is the number of keys that evenly shared attention would have;
//! - `sink`: the share on the first token, and `first_four` that on the first four: attention sinks (Xiao et al. 2023,
//!   arXiv:2309.17453);
//! - `distance`: `Σ_j p_ij (i - j)`, in tokens.
//!
//! `distance_of_rest` is the distance of the attention that is not on the first token: `Σ_ij p_ij (i - j) / Σ_ij p_ij` over
//! `j > 0`. Without it a head that rests on the first token cannot be told from one that looks far back.
//!
//! The model runs as always; only its cache is a [`probe`] that notes these before it returns the attention.

mod copies;
pub mod heads;
mod page;
mod picks;
mod probe;
mod reading;
mod row;
mod table;

use burn::tensor::Tensor;
use headwise_engine::{Engine, EngineError};

pub use copies::{Copies, CopiesError, RETRIEVAL_SCORE, copies};
pub use page::{PageInput, html};
pub use picks::picked_needles;
pub use reading::{Reading, SINK_HEAD};
pub use row::{HeadRow, InspectReport, TokenRow};
pub use table::table;

use probe::Probe;
use row::LayerMeans;

/// Runs `engine`'s model, called `model`, once over `ids` and returns what its heads did; `progress` is told how many layers
/// are done.
///
/// All of a text is run at once: its activations, not its attention, take memory.
pub fn inspect(
    engine: &Engine,
    model: &str,
    ids: &[u32],
    progress: impl FnMut(usize) + Send,
) -> Result<Inspection, EngineError> {
    engine.check_text(0, ids)?;
    let (_, layers) = run(engine, ids, progress);
    Ok(Inspection::new(model, ids, &layers))
}

/// What the heads of a model did over a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// One row per layer and head, in order.
    pub heads: Vec<HeadRow>,
    /// Share of all attention, of all heads and queries, that each token received.
    pub received: Vec<f64>,
    /// The same if every query had looked at all keys it sees evenly.
    pub received_evenly: Vec<f64>,
}

impl Inspection {
    fn new(model: &str, ids: &[u32], layers: &[LayerMeans]) -> Self {
        let heads = layers.iter().flat_map(|layer| layer.rows(model, ids.len())).collect();
        let attention: f64 = layers.iter().flat_map(|layer| &layer.received).sum();
        let share = |values: fn(&LayerMeans, usize) -> f64, total: f64| {
            (0..ids.len()).map(|token| layers.iter().map(|layer| values(layer, token)).sum::<f64>() / total).collect()
        };
        let evenly: f64 = layers.iter().map(|layer| (layer.heads.len() * ids.len()) as f64).sum();
        Self {
            heads,
            received: share(|layer, token| layer.received[token], attention),
            received_evenly: share(|layer, token| layer.received_evenly[token], evenly),
        }
    }

    /// The `count` tokens that received most attention, most first; `text` gives the text of a token of `ids`.
    pub fn tokens(&self, ids: &[u32], count: usize, text: impl Fn(u32) -> String) -> Vec<TokenRow> {
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by(|&a, &b| self.received[b].total_cmp(&self.received[a]).then(a.cmp(&b)));
        let row = |position: usize| TokenRow {
            position,
            text: text(ids[position]),
            share: self.received[position],
            times_even: self.received[position] / self.received_evenly[position],
        };
        order.into_iter().take(count).map(row).collect()
    }
}

/// The residual stream after the last layer, `[1, tokens, dim]`, and what every layer did.
fn run(engine: &Engine, ids: &[u32], progress: impl FnMut(usize) + Send) -> (Tensor<3>, Vec<LayerMeans>) {
    let mut probe = Probe::default();
    let x = engine.observe(ids, &mut probe, progress);
    (x, probe.layers)
}

#[cfg(test)]
mod tests;
