//! Reading a prompt of which deeper layers see fewer and fewer tokens.

use burn::tensor::{Int, Tensor, TensorData};
use headwise_nn::mixer::{LayerCache, MixContext, Segment};
use headwise_ops::host::Host;

use crate::adapter::adapted_rows;
use crate::cache::UncompStages;
use crate::forward::{Stores, places};
use crate::{Chunk, Engine, EngineError, Logits, Sequence, Wanted};

impl Engine {
    /// Reads `ids`, the first prompt of `sequence` and one that can be read, as `stages` says; `progress` is told how many tokens have been read.
    pub(crate) fn prefill_in_stages(
        &self,
        sequence: &mut Sequence,
        ids: &[u32],
        stages: &UncompStages,
        mut progress: impl FnMut(usize),
    ) -> Result<Logits, EngineError> {
        let plan = stages.plan(&self.head_scores()?.entropies(), ids.len());
        let logits = self.install(|| self.run_in_stages(sequence, ids, stages, &plan));
        progress(ids.len());
        Ok(logits)
    }

    fn run_in_stages(&self, sequence: &mut Sequence, ids: &[u32], stages: &UncompStages, plan: &[usize]) -> Logits {
        let mut chunks = [Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last }];
        let mut positions: Vec<i32> = (0..ids.len() as i32).collect();
        let mut x = self.model.embed(ids, &positions, &self.device);
        for (layer, place) in places(self.spec()).enumerate() {
            let segments = [Segment { sequence: 0, rows: 0..positions.len() }];
            let adapters = adapted_rows(&chunks, &segments);
            let mut cache = Stores::new(&mut chunks, &self.masked);
            let cache: &mut dyn LayerCache = &mut cache;
            let mut ctx =
                MixContext { layer, cache: Some(cache), adapters: &adapters, ..MixContext::new(&positions, &segments) };
            x = self.model.layer(layer, x, &mut ctx);
            // The statistics are those of the rows: before a policy evicts from the layer.
            let next = plan.get(layer + 1).copied().unwrap_or(positions.len());
            let chooses = chunks[0].store(layer).shape().sees_everything();
            let rows = (next < positions.len() && chooses).then(|| stages.choose(chunks[0].store(layer), next));
            chunks[0].hold(layer, place);
            if let Some(rows) = rows {
                positions = rows.iter().map(|&row| positions[row as usize]).collect();
                x = gather(x, &rows);
            }
        }
        chunks[0].finish();
        let logits = Host::new(self.model.head(x, &[positions.len() - 1]));
        Logits { values: logits.as_slice().to_vec(), vocabulary: self.spec().vocabulary }
    }
}

/// The rows `rows` of `x` `[1, all, dim]`.
fn gather(x: Tensor<3>, rows: &[u32]) -> Tensor<3> {
    let device = x.device();
    let indices: Vec<i64> = rows.iter().map(|&row| i64::from(row)).collect();
    x.select(1, Tensor::<1, Int>::from_data(TensorData::new(indices, [rows.len()]), &device))
}
