//! Heads that keep everything while the others do not.

use headwise_models::decoder::DecoderSpec;

use super::{PolicyError, StoreShape};
use crate::heads::fades;

/// Which key-value heads a policy keeps whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeHeads {
    /// The retrieval heads that are found; see [`crate::heads`].
    Detected,
    /// These, each `[layer, key-value head]`.
    Given(Vec<[usize; 2]>),
}

/// The heads of a layer that keep everything, and how many do in the whole model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeShare {
    /// The key-value heads of this layer.
    pub heads: Vec<usize>,
    /// Those of all layers that evict and have no ALiBi.
    pub whole: usize,
    /// Key-value heads of all layers that evict and have no ALiBi, whole or not.
    pub all: usize,
}

impl WholeShare {
    /// The share of layer `layer` of `model` if the heads `whole`, each `[layer, key-value head]`, keep everything.
    pub(super) fn of(model: &DecoderSpec, whole: &[[usize; 2]], layer: usize) -> Self {
        // How far heads with ALiBi see is known: none of them is whole or not.
        let layers = model.layers.iter().filter(|layer| !fades(layer));
        let shapes = layers.map(|layer| StoreShape::of(layer, model.dim));
        Self {
            heads: whole.iter().filter(|[at, _]| *at == layer).map(|[_, head]| *head).collect(),
            whole: whole.iter().filter(|[at, _]| !fades(&model.layers[*at])).count(),
            all: shapes.filter(StoreShape::sees_everything).map(|shape| shape.kv_heads).sum(),
        }
    }

    /// Checks that `model` has the heads `whole`, and evicts from them.
    pub(super) fn check(model: &DecoderSpec, whole: &[[usize; 2]]) -> Result<(), PolicyError> {
        check_heads(model, whole, "key-value", |sizes| sizes.kv_heads)
    }
}

/// Checks that `model` has `heads`, each `[layer, head]`, in layers that policies act on; `count` says how many of the `kind` a layer
/// has.
pub(super) fn check_heads(
    model: &DecoderSpec,
    heads: &[[usize; 2]],
    kind: &str,
    count: impl Fn(StoreShape) -> usize,
) -> Result<(), PolicyError> {
    for &[layer, head] in heads {
        let wrong = |reason| Err(PolicyError::NoSuchHead { layer, head, reason });
        let Some(shape) = model.layers.get(layer).map(|layer| StoreShape::of(layer, model.dim)) else {
            return wrong(format!("the model has {} layers, counted from 0", model.layers.len()));
        };
        let count = count(shape);
        if head >= count {
            return wrong(format!("the layer has {count} {kind} heads, counted from 0"));
        }
        if let Some(window) = shape.window {
            return wrong(format!("the layer has a sliding window of {window} tokens, which policies leave alone"));
        }
    }
    Ok(())
}
