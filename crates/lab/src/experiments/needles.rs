//! Needles that experiments hide and ask for.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, Sampler, TextModel, generate};
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

/// The percentage of `prompts` texts of `length` tokens that `engine`, the hand-built induction model, goes on with the
/// right token under `policy`.
pub(super) fn inductions(engine: &Engine, policy: &CachePolicy, length: usize, prompts: u64, seed: u64) -> f64 {
    use headwise_models::decoder::Induction;
    use headwise_tasks::TokenTask;
    let task = headwise_tasks::Induction { vocabulary: Induction::TOKENS, length: length - 1, position: None };
    let right = |prompt: &u64| {
        let sample = task.sample(seed * prompts + prompt).expect("a task that fits");
        let ids: Vec<u32> = std::iter::once(Induction::START).chain(sample.tokens).collect();
        let mut sequence = engine.sequence(policy).expect("a policy that fits");
        // The prompt ends before the last token, so that its answer comes from what the policy has kept.
        let (prompt, last) = ids.split_at(ids.len() - 1);
        engine.prefill(&mut sequence, prompt, |_| {}).expect("a prompt of known tokens");
        let logits = engine.step(&mut sequence, last[0]).expect("a known token");
        sample.queries.iter().all(|query| Sampler::greedy().choose(logits.last()) == query.answer)
    };
    100.0 * (0..prompts).filter(right).count() as f64 / prompts as f64
}
