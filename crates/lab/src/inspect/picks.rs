//! What each layer would pick of a needle, as the cache policy `gemfilter` has one pick.
//!
//! In every prompt a layer picks an eighth of the tokens with its last queries; what counts is the share of the tokens of the needle's value
//! that are among them, as a mean over prompts. Whether the model answers plays no part. Shi et al. 2024, arXiv:2409.17422.

use std::ops::Range;

use headwise_engine::TextModel;
use headwise_engine::cache::GemFilter;

use super::copies::{CopiesError, places, sample};

/// Share of the tokens that are picked.
const KEEP: f64 = 0.125;

/// The share of needles' values that each layer of `model` picks, 0–1, over `prompts` prompts of `length` tokens, at depths from start to
/// end; none for layers that do not see a whole prompt. `progress` is told how many are done.
pub fn picked_needles(
    model: &TextModel,
    length: usize,
    prompts: usize,
    seed: u64,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Option<f64>>, CopiesError> {
    let method = GemFilter { keep: Some(KEEP), ..GemFilter::default() };
    let mut shares: Vec<Option<f64>> = vec![None; model.engine.spec().layers.len()];
    for prompt in 0..prompts {
        let sample = sample(model, length, [prompt, prompts], seed)?;
        let ids = model.encode_turn(&sample.user_turn(), &sample.answer_prefix)?;
        model.engine.check_text(0, &ids)?;
        let value = places(&model.tokenizer, &ids, 0, &sample.expected[0]).unwrap_or_default();
        for (share, picked) in shares.iter_mut().zip(method.picked_by_layers(&model.engine, &ids)?) {
            let Some(picked) = picked else { continue };
            *share.get_or_insert(0.0) += share_of(&value, &picked) / prompts as f64;
        }
        progress(prompt + 1);
    }
    Ok(shares)
}

/// The share of the places `value` that are `picked`.
fn share_of(value: &Range<usize>, picked: &[usize]) -> f64 {
    picked.iter().filter(|token| value.contains(token)).count() as f64 / value.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use headwise_models::decoder::Weights;

    use super::*;

    #[test]
    fn a_share_for_every_layer() {
        let model = TextModel::embedded(Weights::Stored, 2).unwrap();
        let mut done = 0;
        let shares = picked_needles(&model, 600, 3, 1, |prompt| done = prompt).unwrap();
        assert_eq!((done, shares.len()), (3, 6));
        // The first two layers have windows.
        assert!(shares[..2].iter().all(Option::is_none) && shares[2..].iter().all(Option::is_some), "{shares:?}");
        assert!(shares.iter().flatten().all(|share| (0.0..=1.001).contains(share)), "{shares:?}");
        assert_eq!(
            [share_of(&(3..7), &[0, 3, 4, 7, 9]), share_of(&(3..7), &[3, 4, 5, 6]), share_of(&(0..0), &[0])],
            [0.5, 1.0, 0.0]
        );
        assert!(matches!(picked_needles(&model, 10, 1, 0, |_| {}), Err(CopiesError::Task(_))));
    }
}
