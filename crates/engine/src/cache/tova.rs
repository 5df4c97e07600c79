//! TOVA: the last query decides, for all heads of a layer together.
//!
//! `score_j = mean_h p_hj` of the last row over all query heads `h` of the layer, so that every head keeps the same tokens. The
//! last token always stays. Oren et al. 2024, arXiv:2401.06104.

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits, Needs, Protected};

evicting! {
    "tova", reindex = false;
    /// Keeps the tokens that the last query attends to, the same ones in every head of a layer.
    ///
    /// A token's score is the attention of the last row, averaged over all heads. With `slack=0` one token leaves per step,
    /// as in the paper. Oren et al. 2024, arXiv:2401.06104.
    pub struct Tova {}
}

impl Evictor for Tova {
    fn limits(&self) -> Result<Limits, String> {
        self.shared_limits()
    }

    fn needs(&self) -> Needs {
        Needs { query_window: 1, ..Needs::default() }
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        let attention = store.window_attention(1);
        let positions: Vec<&[i32]> = store.pairs().iter().map(|pairs| pairs.positions()).collect();
        mean_over_heads(&attention, &positions)
    }

    fn protected(&self, _budget: usize) -> Protected {
        Protected { sinks: 0, recent: 1 }
    }

    fn undividable(&self) -> Option<&'static str> {
        Some("it keeps the same tokens in every head")
    }
}

/// Gives every slot the mean `attention` `[kv_heads][slots]` that its token receives, over the heads that still hold the token.
/// `positions` `[kv_heads][slots]` tell which token a slot holds.
pub fn mean_over_heads(attention: &[Vec<f32>], positions: &[&[i32]]) -> Vec<Vec<f32>> {
    let index = |position: i32| usize::try_from(position).unwrap_or(0);
    let tokens = positions.iter().filter_map(|positions| positions.last()).map(|&last| index(last) + 1).max();
    let mut tokens = vec![(0.0f32, 0.0f32); tokens.unwrap_or(0)];
    for (attention, positions) in attention.iter().zip(positions) {
        for (attention, &position) in attention.iter().zip(*positions) {
            let (sum, heads) = &mut tokens[index(position)];
            *sum += attention;
            *heads += 1.0;
        }
    }
    let mean = |&position: &i32| tokens[index(position)].0 / tokens[index(position)].1;
    positions.iter().map(|positions| positions.iter().map(mean).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_heads_agree_on_a_token() {
        let attention = [vec![0.5, 0.3, 0.2], vec![0.1, 0.9]];
        let scores = mean_over_heads(&attention, &[&[0, 4, 7], &[4, 7]]);
        assert_eq!(scores, [vec![0.5, 0.2, 0.55], vec![0.2, 0.55]]);
        assert_eq!(mean_over_heads(&[vec![], vec![]], &[&[], &[]]), [vec![0.0; 0], vec![]]);
    }
}
