//! Attention of training and of decoding. Inputs are uniform with variance 1; outputs are allocated before the clock starts,
//! gradients too.

use headwise_kernels::attention::{
    AttnSpec, Dims, InputGradients, Inputs, Rows, RowsMut, Segment, Shape, StatsOut, Upstream, View4, View4Mut, attend,
    backward, forward,
};
use headwise_kernels::kv::{Codec, KeyValues};
use headwise_kernels::parallel;

use super::plan::Run;
use super::{BenchRow, Params, Times};

/// Pseudo-random numbers of mean 0 and variance 1, the same for the same seed (SplitMix64).
pub(super) fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let number = |index: usize| {
        let mut x = (seed << 40).wrapping_add(index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x >> 40) as f32 / (1 << 24) as f32 - 0.5) * 12f32.sqrt()
    };
    (0..length).map(number).collect()
}

/// Tensors of causal self-attention.
struct Tensors {
    dims: Dims,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
}

impl Tensors {
    fn new(run: &Run<'_>) -> Self {
        let [batch, heads, tokens, head_dim] = run.shape.sides();
        let dims = Dims { batch, heads, kv_heads: heads, queries: tokens, keys: tokens, head_dim, value_dim: head_dim };
        let [query, key, value] = [1, 2, 3].map(|seed| numbers(run.shape.elements(), seed));
        Self { dims, query, key, value }
    }

    fn view<'a>(&self, data: &'a [f32]) -> View4<'a> {
        View4::contiguous(data, self.dims.heads, self.dims.queries, self.dims.head_dim)
    }

    fn view_mut<'a>(&self, data: &'a mut [f32]) -> View4Mut<'a> {
        View4Mut::heads_first(data, self.dims.heads, self.dims.queries, self.dims.head_dim)
    }

    fn inputs(&self) -> Inputs<'_> {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|data| self.view(data));
        Inputs { query, key, value, bias: None }
    }

    /// Operations of one product of queries and visible keys.
    fn product_flops(&self) -> f64 {
        let Dims { batch, heads, queries, head_dim, .. } = self.dims;
        2.0 * (batch * heads * head_dim) as f64 * visible_pairs(queries)
    }
}

/// Pairs of a query and a key that is not after it.
pub(super) fn visible_pairs(tokens: usize) -> f64 {
    0.5 * tokens as f64 * (tokens as f64 + 1.0)
}

/// `attention_forward`
pub(super) fn forward_rows(run: &Run<'_>) -> Vec<BenchRow> {
    let tensors = Tensors::new(run);
    let (inputs, spec) = (tensors.inputs(), AttnSpec::causal(tensors.dims.head_dim));
    let (mut out, mut lse) = (vec![0.0; tensors.dims.output()], vec![0.0; tensors.dims.lse()]);
    let times = Times::of_calls(run.repeats(7, 0.5), || {
        forward(&spec, &tensors.dims, &inputs, tensors.view_mut(&mut out), &mut lse);
    });
    vec![BenchRow::new(run.name, run.params("f32"), times, Some(2.0 * tensors.product_flops()), None)]
}

/// `attention_train`: forward and backward.
pub(super) fn train(run: &Run<'_>) -> Vec<BenchRow> {
    let tensors = Tensors::new(run);
    let (inputs, spec) = (tensors.inputs(), AttnSpec::causal(tensors.dims.head_dim));
    let d_out = numbers(tensors.dims.output(), 4);
    let (mut out, mut lse) = (vec![0.0; tensors.dims.output()], vec![0.0; tensors.dims.lse()]);
    let mut gradients = [0; 3].map(|_| vec![0.0; tensors.dims.output()]);
    let times = Times::of_calls(run.repeats(7, 0.5), || {
        forward(&spec, &tensors.dims, &inputs, tensors.view_mut(&mut out), &mut lse);
        let upstream = Upstream { out: tensors.view(&out), lse: &lse, d_out: tensors.view(&d_out), d_lse: None };
        let [query, key, value] = gradients.each_mut().map(|gradient| tensors.view_mut(gradient));
        let gradients = InputGradients { query, key, value };
        std::hint::black_box(backward(&spec, &tensors.dims, &inputs, &upstream, gradients, false));
    });
    vec![BenchRow::new(run.name, run.params("f32"), times, Some(7.0 * tensors.product_flops()), None)]
}

/// Codecs whose reading is measured.
const CODECS: [Codec; 4] = [Codec::F32, Codec::F16, Codec::Bf16, Codec::Int8];

/// `attention_decode`: one query per sequence; three query heads share a key-value head where they divide.
///
/// In a model every layer reads its own cache, so calls rotate over many.
pub(super) fn decode(run: &Run<'_>) -> Vec<BenchRow> {
    let [batch, heads, keys, head_dim] = run.shape.sides();
    let kv_heads = if heads.is_multiple_of(3) { heads / 3 } else { heads };
    let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
    let (spec, width) = (AttnSpec::causal(head_dim), heads * head_dim);
    let query = numbers(batch * width, 1);
    let mut out = vec![0.0; batch * width];
    let measure = |codec: Codec| {
        let caches = caches(run, codec, batch * kv_heads, keys, head_dim);
        let bytes: usize = caches[0].iter().map(|pairs| pairs.bytes().coded()).sum();
        let mut next = caches.iter().cycle();
        // As in a model, whose threads are awake when a layer attends.
        let times = parallel::team(|| {
            Times::of_calls(run.repeats(50, 0.5), || {
                let Some(cache) = next.next() else { return };
                let segments = cache.chunks(kv_heads).enumerate();
                let segments: Vec<_> = segments.map(|(row, heads)| Segment { rows: row..row + 1, heads }).collect();
                let (query, out) = (Rows { data: &query, stride: width }, RowsMut { data: &mut out, stride: width });
                attend(&spec, shape, query, &segments, out, &mut StatsOut::default());
            })
        });
        let params = Params { kv_heads: Some(kv_heads), ..run.params(codec.name()) };
        let flops = 4.0 * (batch * heads * keys * head_dim) as f64;
        BenchRow::new(run.name, params, times, Some(flops), Some(bytes as f64))
    };
    CODECS.map(measure).into()
}

/// Stores of `heads` heads, as many sets of them as calls rotate over.
fn caches(run: &Run<'_>, codec: Codec, heads: usize, keys: usize, head_dim: usize) -> Vec<Vec<KeyValues>> {
    let rows = numbers(2 * head_dim * 64, 2);
    let store = || {
        let mut pairs = KeyValues::new(codec, head_dim, head_dim);
        for position in 0..keys {
            let (key, value) = rows[position % 64 * 2 * head_dim..][..2 * head_dim].split_at(head_dim);
            pairs.append(key, value, position as i32);
        }
        pairs
    };
    let copies = run.copies(heads * keys * codec.pair_bytes(head_dim, head_dim));
    (0..copies).map(|_| (0..heads).map(|_| store()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_mean_0_and_variance_1() {
        let numbers = numbers(1 << 16, 5);
        let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / numbers.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert_ne!(numbers[..8], super::numbers(8, 6));
    }
}
