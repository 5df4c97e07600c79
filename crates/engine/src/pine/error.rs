//! Why segments cannot be read as a set.

/// Why segments cannot be read as a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentsError {
    /// No segment.
    #[error("there is no segment: a set has at least one")]
    None,
    /// A segment without tokens.
    #[error("segment {number} is empty: each must have at least one token")]
    Empty {
        /// Which, counted from one in the order given.
        number: usize,
    },
    /// A second set in a text.
    #[error("the text has a set of {segments} segments already: a text takes one set")]
    Second {
        /// Segments of the first.
        segments: usize,
    },
    /// A layer that knows distances in another way than by rotation.
    #[error(
        "layer {layer} has `position={position}`: every head puts the segments of a set in an order of its own, which takes rotary \
         positions or none; read them in the order given"
    )]
    Position {
        /// The layer.
        layer: usize,
        /// Its positions.
        position: &'static str,
    },
    /// A layer that goes from token to token.
    #[error(
        "layer {layer}, `{mixer}`, keeps a state that moves on from token to token, so the order of segments is in it: read them in the \
         order given"
    )]
    State {
        /// The layer.
        layer: usize,
        /// Its mixer.
        mixer: &'static str,
    },
    /// Positions that are added to tokens.
    #[error(
        "the model adds `{position}` positions to its tokens: every head puts the segments of a set in an order of its own, which takes \
         rotary positions or none; read them in the order given"
    )]
    InputPosition {
        /// Its positions.
        position: &'static str,
    },
    /// A policy that does more than store.
    #[error(
        "`{policy}` cannot hold a set of segments: {reason}; use `full` or a storage codec: `f32`, `bf16`, `int8`, `int4`, `kivi4` or \
         `kivi2`"
    )]
    Policy {
        /// The whole policy.
        policy: String,
        /// Why.
        reason: &'static str,
    },
    /// Nothing after the segments.
    #[error(
        "nothing stands after the segments: say what is to be done with them (--suffix), since the answer follows that"
    )]
    NothingAfter,
}
