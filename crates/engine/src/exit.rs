//! Early exit: a token that the first layers are sure of does not pass the others.
//!
//! After a layer, the output head reads the residual stream; if the likeliest token is likely enough, it is the answer. The layers that
//! were left out keep keys and values of that stream, so that later tokens find a pair in every layer. Prompts pass all layers.
//! Schuster et al. 2022 (CALM), arXiv:2207.07061; Xin et al. 2020 (DeeBERT), arXiv:2004.12993.

use burn::tensor::Tensor;
use headwise_kernels::rope::HeadLayout;
use headwise_nn::block::BlockSpec;
use headwise_nn::mixer::{MixContext, Segment};
use headwise_ops::host::Host;

use crate::cache::{CachePolicy, NewPairs, Place};
use crate::forward::{Stores, places};
use crate::sample::Sampler;
use crate::{Chunk, Engine, EngineError, Generation, Logits, Sequence, Wanted};

headwise_spec::family! {
    /// When a token leaves the model.
    pub enum ExitRule: "exit" {
        early_exit => EarlyExit,
    }
}

headwise_spec::method! {
    /// A token leaves after a layer that is sure of what comes next.
    ///
    /// Sure is a probability of the likeliest token of at least `confidence`, by the model's own output head. A model that was not trained
    /// for it knows late; the answer changes where an early layer is sure of something else. CALM, Schuster et al. 2022, arXiv:2207.07061.
    pub struct EarlyExit {
        /// Layers that every token passes.
        pub layer: usize = 1,
        /// The probability from which on a layer is sure; 0 is always, and leaves the other layers out.
        pub confidence: f64 = 0.9,
        /// Layers between two that are asked: asking costs the output head.
        pub every: usize = 1,
    }
}

/// What texts with an adapter are told.
pub(crate) const LEAVES: &str = "tokens cannot leave the model early in";

/// What was written with early exits.
#[derive(Clone, Debug, Default)]
pub struct ExitedText {
    /// The tokens, without the one that ended the text.
    pub ids: Vec<u32>,
    /// Whether a stop token ended the text.
    pub stopped: bool,
    /// After how many layers each forward ended.
    pub layers: Vec<usize>,
}

impl ExitedText {
    /// The mean number of layers of a token.
    pub fn mean_layers(&self) -> f64 {
        self.layers.iter().sum::<usize>() as f64 / self.layers.len().max(1) as f64
    }
}

impl EarlyExit {
    /// Whether texts of `engine` under `policy` can be written with exits.
    pub fn check(&self, engine: &Engine, policy: &CachePolicy) -> Result<(), EngineError> {
        let layers = engine.spec().layers.len();
        let refused = |reason: String| Err(EngineError::Decoding(format!("`early_exit`: {reason}")));
        match () {
            () if self.layer == 0 || self.layer > layers => {
                refused(format!("layer={} must be at least 1 and at most {layers}, the layers of the model", self.layer))
            }
            () if !(0.0..=1.0).contains(&self.confidence) => {
                refused(format!("confidence={} must be at least 0 and at most 1", self.confidence))
            }
            () if !engine.spec().layers.iter().all(remembers) => {
                refused("the layers that are left out must keep keys and values: all must mix with `softmax`, without `convolution`".into())
            }
            () if self.every == 0 => refused("every must be at least 1".into()),
            () if !policy.only_stores() => refused(format!(
                "`{policy}` looks at what the queries of every layer attend to, and a token that has left asks nothing: take a policy that \
                 only stores, such as `full` or `int8`",
            )),
            () => Ok(()),
        }
    }

    /// Whether the layer after which `passed` layers are done is asked.
    fn asks(&self, passed: usize, layers: usize) -> bool {
        passed >= self.layer && passed < layers && (passed - self.layer).is_multiple_of(self.every)
    }

    /// Reads `prompt` into `sequence` and writes on; `on_token` sees every token and returns whether to go on.
    pub fn generate(
        &self,
        engine: &Engine,
        sequence: &mut Sequence,
        prompt: &[u32],
        generation: &Generation,
        sampler: &mut Sampler,
        mut on_token: impl FnMut(u32) -> bool,
    ) -> Result<ExitedText, EngineError> {
        self.check(engine, &sequence.policy)?;
        sequence.check_plain(LEAVES)?;
        sampler.read(prompt);
        sampler.end_with(&generation.stop);
        let mut logits = engine.prefill(sequence, prompt, |_| {})?;
        let mut text = ExitedText::default();
        while text.ids.len() < generation.tokens {
            let id = sampler.try_choose(logits.last())?;
            text.stopped = sampler.ended_by(id);
            if text.stopped {
                break;
            }
            text.ids.push(id);
            let room = text.ids.len() < generation.tokens && sequence.tokens() < engine.context();
            if !on_token(id) || sampler.finished() || !room {
                break;
            }
            let (scores, layers) = engine.step_exiting(sequence, id, self)?;
            text.layers.push(layers);
            logits = scores;
        }
        Ok(text)
    }
}

impl Engine {
    /// Continues `sequence` by one token, which may leave early; returns the scores after it and the layers that it passed.
    pub fn step_exiting(
        &self,
        sequence: &mut Sequence,
        id: u32,
        exit: &EarlyExit,
    ) -> Result<(Logits, usize), EngineError> {
        exit.check(self, &sequence.policy)?;
        sequence.check_plain(LEAVES)?;
        self.check_text(sequence.tokens, &[id])?;
        Ok(self.install(|| self.run_exiting(sequence, id, exit)))
    }

    fn run_exiting(&self, sequence: &mut Sequence, id: u32, exit: &EarlyExit) -> (Logits, usize) {
        let (layers, positions) = (self.spec().layers.len(), [sequence.tokens as i32]);
        let segments = [Segment { sequence: 0, rows: 0..1 }];
        let mut chunks = [Chunk { sequence, ids: &[id], prompt_ends: true, wanted: Wanted::Last }];
        let mut x = self.model.embed(&[id], &positions, &self.device);
        let mut answer = None;
        for (index, place) in places(self.spec()).enumerate() {
            if answer.is_some() {
                self.remember(&mut chunks[0], index, place, &x, positions);
                continue;
            }
            let mut cache = Stores::new(&mut chunks, &self.masked);
            let mut ctx =
                MixContext { layer: index, cache: Some(&mut cache), ..MixContext::new(&positions, &segments) };
            x = self.model.layer(index, x, &mut ctx);
            chunks[0].hold(index, place);
            if exit.asks(index + 1, layers) {
                let scores = Host::new(self.model.head(x.clone(), &[0])).as_slice().to_vec();
                if probability_of_likeliest(&scores) >= exit.confidence {
                    answer = Some((scores, index + 1));
                }
            }
        }
        chunks[0].finish();
        let (values, passed) =
            answer.unwrap_or_else(|| (Host::new(self.model.head(x, &[0])).as_slice().to_vec(), layers));
        (Logits { vocabulary: values.len(), values }, passed)
    }

    /// Gives layer `index` keys and values of the stream `x` `[1, 1, dim]`, and nothing else.
    fn remember(&self, chunk: &mut Chunk<'_>, index: usize, place: Place, x: &Tensor<3>, positions: [i32; 1]) {
        let block = self.model.block(index);
        let Some(mixer) = block.mixer.softmax() else { return };
        let input = match &block.mixer_norms.before {
            Some(norm) => norm.forward(x.clone()),
            None => x.clone(),
        };
        let [raw_key, value] = mixer.keys_and_values(input).map(Host::new);
        let mut key = raw_key.as_slice().to_vec();
        if let Some(rope) = mixer.rope() {
            let sizes = mixer.spec().sizes(self.spec().dim);
            let (heads, head_dim) = (sizes.kv_heads, sizes.head_dim);
            rope.rotate(&mut key, HeadLayout { row_stride: heads * head_dim, heads, head_dim }, &positions);
        }
        let pairs = NewPairs { raw_key: raw_key.as_slice(), key: &key, value: value.as_slice(), positions: &positions };
        chunk.sequence.layers[index].append(pairs);
        chunk.hold(index, place);
    }
}

/// Whether a layer keeps keys and values, and nothing else of a text.
fn remembers(layer: &BlockSpec) -> bool {
    layer.mixer.softmax().is_some_and(|mixer| mixer.convolution.is_none())
}

/// The probability of the likeliest token.
fn probability_of_likeliest(scores: &[f32]) -> f64 {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    1.0 / scores.iter().map(|&score| f64::from(score - most).exp()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<ExitRule>();
    }

    #[test]
    fn layers_are_asked_from_the_first_on_but_not_the_last() {
        let exit = EarlyExit { layer: 2, every: 3, ..EarlyExit::default() };
        assert_eq!((1..=9).filter(|&passed| exit.asks(passed, 9)).collect::<Vec<_>>(), [2, 5, 8]);
        assert_eq!((1..=8).filter(|&passed| exit.asks(passed, 8)).collect::<Vec<_>>(), [2, 5]);
        assert!((probability_of_likeliest(&[0.0, 3f32.ln(), 0.0]) - 0.6).abs() < 1e-6);
    }
}
