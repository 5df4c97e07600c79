//! Needles that experiments hide and ask for.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Sampler, TextModel, generate};
use headwise_models::decoder::Weights;
use headwise_models::pull;
use headwise_tasks::Request;

/// Needle prompts of one kind.
pub(super) struct Needles {
    /// The task.
    pub task: &'static str,
    /// Tokens of a prompt.
    pub length: usize,
    /// How many are asked.
    pub prompts: u64,
    pub seed: u64,
}

impl Needles {
    /// The percentage that `model` finds under the cache policy `cache`, at depths from start to end.
    pub fn found(&self, model: &TextModel, cache: &str) -> f64 {
        let task = headwise_tasks::find(self.task).expect("it is one of the tasks");
        let policy = CachePolicy::parse(cache).expect("a policy of this experiment");
        let frame = model.encode_turn("x", "").map_or(0, |ids| ids.len());
        let count = |text: &str| model.encode(text).map_or(0, |ids| ids.len()) + frame;
        let score = |prompt: u64| {
            let depth = (prompt as f32 + 0.5) / self.prompts as f32;
            let request = Request::new(self.length, &count).seed(self.seed * 1000 + prompt).depth(depth);
            let sample = task.sample(&request).expect("a task that fits");
            let ids = model.encode_turn(&sample.user_turn(), &sample.answer_prefix).expect("plain text");
            let mut sequence = model.engine.sequence(&policy).expect("a policy that fits");
            let mut written = Vec::new();
            // The score of an answer that is there already is known.
            let go_on = |id| {
                written.push(id);
                sample.score(&model.tokenizer.decode(&written, true)) < 100.0
            };
            let generation = model.generation(task.answer_tokens());
            generate(&model.engine, &mut sequence, &ids, &generation, &mut Sampler::greedy(), go_on)
                .expect("a prompt that fits");
            sample.score(&model.tokenizer.decode(&written, true))
        };
        (0..self.prompts).map(score).sum::<f64>() / self.prompts as f64
    }
}

/// The model that comes with the program.
pub(super) fn embedded() -> TextModel {
    TextModel::embedded(Weights::Stored, 0).expect("it comes with the program")
}

/// SmolLM2-135M, if it has been pulled.
pub(super) fn smollm2() -> Option<TextModel> {
    TextModel::open(&pull::resolve("smollm2-135m").ok()?, Weights::Stored, 0).ok()
}
