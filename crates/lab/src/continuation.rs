//! How well a model goes on with a text under some cache policies that share the reading of its prompt.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{SharedPrefill, TextModel};

use crate::perplexity::{continuation, nll};

/// The perplexity of `count` tokens of prose after a prompt of `context` tokens under each of `policies`; `part` says which piece
/// of the prose.
///
/// # Panics
/// If a policy does not fit the model, or they cannot share a prompt.
pub fn perplexities<const N: usize>(
    model: &TextModel,
    policies: [&str; N],
    context: usize,
    count: usize,
    part: u64,
) -> [f64; N] {
    let policies = policies.map(|text| CachePolicy::parse(text).unwrap_or_else(|error| panic!("{error}")));
    let engine = &model.engine;
    let prose = model.encode(headwise_tasks::DEFAULT_TEXT).expect("plain text");
    let length = context + count;
    let parts = prose.chunks_exact(length).count().max(1);
    let ids = &prose[part as usize % parts * length..][..length];
    let together: Vec<&CachePolicy> = policies.iter().collect();
    let mut prefill = SharedPrefill::new(engine, &together).expect("policies that wait for the end of a prompt");
    let read = prefill.read(&ids[..context], |_| {}).expect("a prompt that fits");
    policies.each_ref().map(|policy| {
        let mut sequence = read.under(policy).expect("a policy that fits");
        let after = continuation(engine, &mut sequence, &ids[context..], |_| {}).expect("a text that fits");
        let total = nll(read.logits(), ids[context]) + after.iter().sum::<f64>();
        (total / count as f64).exp()
    })
}
