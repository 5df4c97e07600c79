//! What a model loses on a processor that computes the weights of its attention in another form.

use headwise_engine::{Engine, EngineError};
use headwise_kernels::attention::AttnSpec;
use headwise_kernels::integer;
use headwise_kernels::log2_softmax::log2_softmax;
use headwise_kernels::parallel;
use headwise_kernels::rope::Rope;
use headwise_nn::mixer::{LayerCache, Projected, Segment};
use headwise_ops::host::Host;

use crate::perplexity::{Perplexity, PerplexityError, nll};

headwise_spec::family! {
    /// How the weights of attention are computed.
    pub enum SoftmaxForm: "softmax_form" {
        integer_softmax => IntegerSoftmax,
        log2_softmax => Log2Softmax,
    }
}

headwise_spec::method! {
    /// In integers alone: scores in 16 bits, a polynomial of second degree for the exponential.
    ///
    /// I-BERT, Kim et al. 2021, arXiv:2101.01321. For `perplexity --softmax`, which says what a model would lose.
    pub struct IntegerSoftmax {
        /// Bits of a weight, 1 to 16: it is a multiple of 2^-bits, rounded down.
        pub bits: u32 = 8,
    }
}

headwise_spec::method! {
    /// As powers of two, so that multiplying by a weight is a shift.
    ///
    /// Those with a code beyond the bits are zero. FQ-ViT, Lin et al. 2022, arXiv:2111.13824. For `perplexity --softmax`, which says what
    /// a model would lose.
    pub struct Log2Softmax {
        /// Bits of a code, 1 to 8: the smallest weight is 2^(1 - 2^bits).
        pub bits: u32 = 4,
    }
}

impl SoftmaxForm {
    /// Whether the numbers make sense; else what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let (bits, most) = match self {
            Self::IntegerSoftmax(IntegerSoftmax { bits }) => (*bits, 16),
            Self::Log2Softmax(Log2Softmax { bits }) => (*bits, 8),
        };
        match (1..=most).contains(&bits) {
            true => Ok(()),
            false => Err(format!("bits={bits}: it must be 1 to {most}")),
        }
    }

    /// The weights of a row of `scores`.
    fn weights(&self, scores: &[f32], weights: &mut [f32]) {
        match self {
            Self::IntegerSoftmax(IntegerSoftmax { bits }) => integer::softmax(scores, scores.len(), *bits, weights),
            Self::Log2Softmax(Log2Softmax { bits }) => log2_softmax(scores, scores.len(), *bits, weights),
        }
    }

    /// The perplexity of `ids`, read at once without a cache; the tokens after the first `context`, at least one, count. `progress` is
    /// told how many layers are done.
    pub fn perplexity(
        &self,
        engine: &Engine,
        ids: &[u32],
        context: usize,
        progress: impl FnMut(usize) + Send,
    ) -> Result<Perplexity, PerplexityError> {
        /// Rows whose scores are in memory at a time.
        const ROWS: usize = 256;
        let start = context.max(1);
        if ids.len() <= start {
            return Err(PerplexityError::TooShort { tokens: ids.len(), context });
        }
        self.check().map_err(EngineError::Decoding)?;
        engine.check_text(0, ids)?;
        let mut attention = Attention { form: self };
        let x = engine.observe(&ids[..ids.len() - 1], &mut attention, progress);
        let rows: Vec<usize> = (start - 1..ids.len() - 1).collect();
        let mut nats = 0.0;
        for rows in rows.chunks(ROWS) {
            let scores = engine.install(|| Host::new(engine.model().head(x.clone(), rows)));
            let of_rows = scores.as_slice().chunks_exact(scores.as_slice().len() / rows.len());
            nats += of_rows.zip(rows).map(|(scores, &row)| nll(scores, ids[row + 1])).sum::<f64>();
        }
        let tokens = ids.len() - start;
        Ok(Perplexity { value: (nats / tokens as f64).exp(), tokens, bytes: 0 })
    }
}

/// Attention of one whole text to itself, with weights in some form. Keeps nothing.
struct Attention<'a> {
    form: &'a SoftmaxForm,
}

impl LayerCache for Attention<'_> {
    fn attend(
        &mut self,
        _: usize,
        projected: Projected<'_>,
        rope: Option<&Rope>,
        spec: &AttnSpec,
        positions: &[i32],
        _: &[Segment],
        out: &mut [f32],
    ) {
        let Projected { heads, kv_heads, head_dim, value, .. } = projected;
        let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let (query, key) = projected.rotated(rope, positions);
        parallel::pieces(out, width, |row, out| {
            let first = spec.window.map_or(0, |window| (row + 1).saturating_sub(window));
            let (mut scores, mut weights) = (Vec::new(), Vec::new());
            for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
                let channel = head / (heads / kv_heads) * head_dim;
                let query = &query[row * width + head * head_dim..][..head_dim];
                let slope = spec.alibi.as_ref().map_or(0.0, |slopes| slopes[head]);
                scores.clear();
                scores.extend((first..=row).map(|at| {
                    let key = &key[at * kv_width + channel..][..head_dim];
                    let product: f32 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                    spec.score(f64::from(product)) as f32 - slope * (row - at) as f32
                }));
                weights.resize(scores.len(), 0.0);
                self.form.weights(&scores, &mut weights);
                out.fill(0.0);
                for (at, weight) in (first..=row).zip(&weights).filter(|(_, weight)| **weight != 0.0) {
                    let value = &value[at * kv_width + channel..][..head_dim];
                    out.iter_mut().zip(value).for_each(|(out, value)| *out += weight * value);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_engine::cache::CachePolicy;
    use headwise_models::decoder::{Decoder, DecoderSpec};

    use super::*;
    use crate::perplexity;

    const MODEL: &str = r#"{ "vocabulary": 40, "dim": 32, "context": 64, "epsilon": 1e-5, "layers": [
        { "mixer": "softmax(heads=4, kv_heads=2)", "channel": "gated(hidden=32)" },
        { "mixer": "softmax(heads=2, window=9, softcap=2.0)" }, { "mixer": "softmax(heads=4, position=alibi)" }] }"#;

    fn engine() -> Engine {
        let spec: DecoderSpec = serde_json::from_str(MODEL).unwrap();
        Engine::new(Decoder::random(spec, &Device::flex()).unwrap(), 2).unwrap()
    }

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<SoftmaxForm>();
    }

    #[test]
    fn with_many_bits_a_model_says_what_it_says() {
        let (engine, ids) = (engine(), (0..50).map(|at| at * at * 7 % 40).collect::<Vec<u32>>());
        let exact = perplexity::measure(&engine, &CachePolicy::parse("f32").unwrap(), &ids, 5, |_| {}).unwrap();
        let of = |text: &str| text.parse::<SoftmaxForm>().unwrap().perplexity(&engine, &ids, 5, |_| {}).unwrap();
        let fine = of("integer_softmax(bits=16)");
        assert_eq!(fine.tokens, exact.tokens);
        assert!((fine.value / exact.value - 1.0).abs() < 2e-3, "{} for {}", fine.value, exact.value);
        let coarse = of("log2_softmax(bits=1)");
        assert!((coarse.value / exact.value - 1.0).abs() > 1e-4, "{} for {}", coarse.value, exact.value);
        assert!("log2_softmax(bits=9)".parse::<SoftmaxForm>().unwrap().check().unwrap_err().contains("bits=9"));
    }
}
