//! Span corruption: runs of tokens are replaced by a sentinel each, and said at the end, each after its sentinel.
//!
//! `a b [c d] e [f] g` becomes `a b S₀ e S₁ g E S₀ c d S₁ f E`, of which only what follows the first `E` is asked for. Raffel et
//! al. 2020, arXiv:1910.10683; for a decoder alone as in Tay et al. 2022, arXiv:2205.05131.

use headwise_models::decoder::Sentinels;
use rand::RngExt;

use super::{Document, TokenTarget, TokenView};
use crate::draws::Draws;

headwise_spec::method! {
    /// Runs of tokens are replaced by a sentinel each, and said at the end.
    ///
    /// Raffel et al. 2020, arXiv:1910.10683.
    pub struct SpanCorruptionSpec {
        /// Share of the tokens that are hidden.
        pub share: f64 = 0.15,
        /// Mean length of a run.
        pub length: f64 = 3.0,
        /// The first sentinel, the others follow it; none is the one after `end` and all tokens of texts.
        pub sentinel: Option<u32> = None,
        /// Sentinels that there are: no more runs are hidden.
        pub sentinels: u32 = 32,
        /// The token that ends the shown text, and the answer; none is one more than texts have.
        pub end: Option<u32> = None,
    }
}

impl SpanCorruptionSpec {
    /// The same with tokens of its own for texts whose ids are below `vocabulary`.
    pub(super) fn resolved(&self, vocabulary: usize) -> Self {
        let vocabulary = u32::try_from(vocabulary).unwrap_or(u32::MAX);
        let end = self.end.unwrap_or(vocabulary);
        let sentinel = self.sentinel.unwrap_or_else(|| vocabulary.max(end.saturating_add(1)));
        Self { sentinel: Some(sentinel), end: Some(end), ..self.clone() }
    }

    /// The tokens that it brings, once [`resolved`](Self::resolved).
    pub(super) fn brought(&self) -> Option<Sentinels> {
        Some(Sentinels { first: self.sentinel?, count: self.sentinels, end: self.end? })
    }

    /// What is shown of `ids`, and the answer.
    fn cut(&self, ids: &[u32], draws: &mut Draws) -> (Vec<u32>, Vec<u32>) {
        let SpanCorruptionSpec { share, length, .. } = *self;
        let Some(Sentinels { first: sentinel, count: sentinels, end }) = self.brought() else {
            panic!("an objective is built after `sentinel` and `end` are resolved");
        };
        // A run begins so often that the wanted share is hidden.
        let begin = (share / (length * (1.0 - share))).clamp(0.0, 1.0);
        let go_on = (1.0 - 1.0 / length.max(1.0)).clamp(0.0, 1.0);
        let (mut shown, mut answer, mut runs, mut hidden) = (Vec::new(), Vec::new(), 0, false);
        for &id in ids {
            let was = hidden;
            hidden = if was { draws.random_bool(go_on) } else { runs < sentinels && draws.random_bool(begin) };
            if hidden && !was {
                shown.push(sentinel + runs);
                answer.push(sentinel + runs);
                runs += 1;
            }
            if hidden { &mut answer } else { &mut shown }.push(id);
        }
        shown.push(end);
        answer.push(end);
        (shown, answer)
    }

    /// Adds what is shown of a text, and what is asked about it.
    pub(super) fn ask(&self, document: &Document, draws: &mut Draws, view: &mut TokenView, target: &mut TokenTarget) {
        let (mut text, answer) = self.cut(&document.ids, draws);
        let first = view.ids.len() + text.len() - 1;
        text.extend(&answer[..answer.len() - 1]);
        view.push(&text);
        answer.into_iter().enumerate().for_each(|(place, id)| target.push(first + place, id, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Objective, ObjectiveSpec};
    use super::*;
    use crate::draws::{Purpose, draws};
    use crate::loss::Loss;

    #[test]
    fn shown_text_and_answer_make_the_text_again() {
        let ids: Vec<u32> = (0..200).collect();
        let objective = SpanCorruptionSpec::default().resolved(256);
        let mut hidden = 0;
        for step in 0..200 {
            let (shown, answer) = objective.cut(&ids, &mut draws(3, Purpose::Corruption, step, 0));
            let mut runs: Vec<Vec<u32>> = Vec::new();
            for &id in &answer[..answer.len() - 1] {
                match id >= 257 {
                    true => runs.push(Vec::new()),
                    false => runs.last_mut().unwrap().push(id),
                }
            }
            hidden += runs.iter().map(Vec::len).sum::<usize>();
            let restored: Vec<u32> = shown[..shown.len() - 1]
                .iter()
                .flat_map(|&id| if id >= 257 { runs[(id - 257) as usize].clone() } else { vec![id] })
                .collect();
            assert_eq!(restored, ids);
        }
        let share = hidden as f64 / (200.0 * 200.0);
        assert!((share - 0.15).abs() < 0.02, "{share}");
    }

    #[test]
    fn the_answer_is_asked_for_after_the_text() {
        let document = Document::text(&(0..60).collect::<Vec<_>>());
        let objective = ObjectiveSpec::from(SpanCorruptionSpec::default()).resolved(256, None).build(Loss::default());
        let (view, target) = objective.corrupt(&vec![document], &mut draws(1, Purpose::Corruption, 0, 0));
        assert_eq!(view.ids[target.rows[0]], 256);
        for (&row, &id) in target.rows.iter().zip(&target.ids) {
            assert!(view.ids.get(row + 1).is_none_or(|&next| next == id));
        }
        assert_eq!(target.ids.last(), Some(&256));
    }
}
