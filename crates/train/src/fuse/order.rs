//! Which layer goes next, and the layers around it that learn.

use std::ops::Range;

use headwise_models::compress::{Calibration, Influence};
use headwise_models::decoder::Decoder;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::draws::{Purpose, draws};

/// Which layer goes next. Influences are measured anew in every round, on the model as it then is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// That without which the end of the model changes least.
    #[default]
    Macro,
    /// That which changes its own input least.
    Block,
    /// Any.
    Random,
}

impl Order {
    /// The layer of `model` that goes next; `judged` is told of every layer that is measured.
    pub(super) fn next(self, model: &Decoder, calibration: &Calibration, seed: u64, judged: &mut dyn FnMut()) -> usize {
        let influence = match self {
            Self::Macro => Influence::Macro,
            Self::Block => Influence::Block,
            Self::Random => {
                let layers = model.blocks.len();
                return draws(seed, Purpose::Fusion, layers as u64, 0).random_range(0..layers);
            }
        };
        let influences = influence.measure(model, &calibration.start(model), judged);
        (0..influences.len()).min_by(|&a, &b| influences[a].total_cmp(&influences[b])).unwrap_or(0)
    }
}

/// The `size` layers of `layers` around layer `gone`: as many before it as from it on, moved where the model ends.
pub(super) fn around(gone: usize, size: usize, layers: usize) -> Range<usize> {
    let size = size.min(layers);
    let start = gone.saturating_sub(size / 2).min(layers - size);
    start..start + size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_around_the_layer_and_within_the_model() {
        // The published code: from `gone - size / 2` to `gone + size / 2 - 1`, or the first or last `size` layers.
        assert_eq!(around(10, 8, 30), 6..14);
        assert_eq!([around(0, 8, 30), around(3, 8, 30), around(4, 8, 30)], [0..8, 0..8, 0..8]);
        assert_eq!([around(26, 8, 30), around(27, 8, 30), around(29, 8, 30)], [22..30, 22..30, 22..30]);
        assert_eq!([around(1, 4, 3), around(2, 2, 3), around(0, 2, 3)], [0..3, 1..3, 0..2]);
        // An odd group has one more layer behind.
        assert_eq!(around(10, 3, 30), 9..12);
    }
}
