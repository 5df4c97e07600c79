//! Why layers could not be fused.

use headwise_models::compress::CompressError;

/// Why layers could not be fused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FuseError {
    /// Parameters out of range.
    #[error("{0}")]
    Method(String),
    /// A model that cannot be made smaller.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// Layers that there are not.
    #[error("layers=[{layer}]: the model has layers 0 to {last}, each can go once, and one must stay")]
    Layer {
        /// The layer.
        layer: usize,
        /// The last layer of the model.
        last: usize,
    },
    /// Weights that cannot learn.
    #[error("`{weight}` has {rank} dimensions: only layers of matrices and vectors are fused")]
    Rank {
        /// The weight.
        weight: String,
        /// Its dimensions.
        rank: usize,
    },
    /// Weights without gradients.
    #[error("layer {layer} has packed weights, which have no gradient: load the model with trainable weights")]
    Packed {
        /// Index of the layer.
        layer: usize,
    },
    /// Training that went astray.
    #[error(
        "the group without layer {layer} has the loss {loss}: its hidden states are not finite, or learning_rate={rate} is too high"
    )]
    Diverged {
        /// The layer that goes, by its number in the original.
        layer: usize,
        /// The loss.
        loss: f64,
        /// The learning rate.
        rate: f64,
    },
}
