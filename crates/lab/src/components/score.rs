//! The scores by which evicting cache policies rank tokens.

use burn::tensor::Tensor;
use headwise_engine::cache::{Attended, CacheMethod, Evictor, LayerStore, NewPairs, Part, StoreShape};
use headwise_kernels::attention::AttnSpec;
use headwise_kernels::kv::Codec;
use headwise_kernels::rope::{Rope, Scaling, inverse_frequencies};
use headwise_ops::host::Host;
use headwise_spec::{Call, Family, Value};

use super::ComponentError;
use super::arrays::{Flat, Tensors, tensor};
use super::interface::{Interface, Length, TensorSpec};
use super::op::check_groups;

/// Base of the angles when no frequencies are given.
const THETA: f64 = 10000.0;

/// The score of `method`; an error if it has none or its parameters are wrong.
pub(super) fn evictor(method: &CacheMethod) -> Result<std::sync::Arc<dyn Evictor>, ComponentError> {
    let Part::Evictor(evictor) = limited(method)?.part() else {
        let scores = |name: &&str| {
            let part = headwise_spec::from_text::<CacheMethod>(name).map(|method| method.part());
            matches!(part, Ok(Part::Evictor(_)))
        };
        let scoring = CacheMethod::NAMES.iter().copied().filter(scores).collect();
        return Err(ComponentError::NoScore { name: method.name(), scoring });
    };
    evictor.limits().map_err(ComponentError::Parameter)?;
    Ok(evictor)
}

/// `method` with some limit: a score does not depend on it, but the other parameters are checked together with it.
fn limited(method: &CacheMethod) -> Result<CacheMethod, ComponentError> {
    let mut call: Call = method.to_call()?;
    let given =
        ["budget", "keep", "bytes"].iter().any(|name| call.args.get(*name).is_some_and(|value| *value != Value::None));
    if call.args.contains_key("keep") && !given {
        call = call.with("keep", 0.5);
    }
    Ok(CacheMethod::parse(&call)?)
}

/// What a score takes and gives.
pub(super) fn interface() -> Interface {
    let heads = |name, heads| TensorSpec::symbolic(name, ["batch", heads, "tokens", "head_dim"]);
    let frequencies = Length::Share { symbol: "head_dim", times: 1, parts: 2 };
    Interface {
        inputs: vec![
            heads("query", "heads"),
            heads("key", "kv_heads"),
            heads("value", "kv_heads"),
            heads("query_raw", "heads"),
            heads("key_raw", "kv_heads"),
            TensorSpec::float("inv_freq", [frequencies]).or_none(),
        ],
        parameters: Vec::new(),
        outputs: vec![TensorSpec::symbolic("score", ["batch", "kv_heads", "tokens"])],
    }
}

/// The score of every token, from a store that has seen the whole text.
pub(super) fn run(evictor: &dyn Evictor, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
    let [batch, heads, tokens, head_dim] = tensors.float::<4>("query").dims();
    let kv_heads = tensors.float::<4>("key").dims()[1];
    check_groups(heads, kv_heads)?;
    let rope = rope(tensors, head_dim)?;
    let [query, raw_query, key, raw_key, value] =
        ["query", "query_raw", "key", "key_raw", "value"].map(|name| Rows::of(tensors, name));
    let positions: Vec<i32> = (0..tokens as i32).collect();
    let shape = StoreShape { heads, kv_heads, head_dim, window: None };
    let mut scores = Vec::with_capacity(batch * kv_heads * tokens);
    for text in 0..batch {
        let mut store = LayerStore::new(0, shape, Codec::F32, evictor.needs(), false);
        let (raw_key, key, value) = (raw_key.text(text), key.text(text), value.text(text));
        store.append(NewPairs { raw_key, key, value, positions: &positions });
        let rows = Attended { raw_query: raw_query.text(text), query: query.text(text), lse: &[] };
        store.observe(rows, &AttnSpec::causal(head_dim), Some(&rope));
        scores.extend(evictor.score(&store).into_iter().flatten());
    }
    let elements = tensor(scores, tensors.device());
    Ok(vec![("score", Flat { shape: vec![batch, kv_heads, tokens], elements })])
}

/// The rotation of the text, which some policies look ahead with.
fn rope(tensors: &Tensors, head_dim: usize) -> Result<Rope, ComponentError> {
    if head_dim % 2 == 1 {
        let text = format!("head_dim = {head_dim} must be even: channels turn in pairs");
        return Err(ComponentError::Lengths(text));
    }
    let frequencies = match tensors.find::<1>("inv_freq") {
        Some(given) => Host::new(given).as_slice().to_vec(),
        None => inverse_frequencies(head_dim, THETA, Scaling::None),
    };
    Ok(Rope::new(frequencies, 1.0, false))
}

/// `[batch, tokens, heads · head_dim]`, as projections give it.
struct Rows {
    host: Host,
    length: usize,
}

impl Rows {
    fn of(tensors: &Tensors, name: &str) -> Self {
        let x: Tensor<4> = tensors.float(name);
        let [_, heads, tokens, head_dim] = x.dims();
        Self { host: Host::new(x.swap_dims(1, 2)), length: heads * tokens * head_dim }
    }

    fn text(&self, index: usize) -> &[f32] {
        &self.host.as_slice()[index * self.length..][..self.length]
    }
}
